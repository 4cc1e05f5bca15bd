//! What goes wrong around a container: many at once, commands that race, disks that are full, hooks that misbehave. After each,
//! nothing is left behind, and what failed said why.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Bundle, Container, Finish as _, Runtime, controllers, lacks, privileged, read, seconds, wait_until};

/// Starts all of them before the first has ended, and waits: which succeeded. What they print is not kept, since pipes could
/// fill up and files could not.
fn at_once(commands: impl Iterator<Item = Command>) -> Vec<bool> {
    let spawn = |mut command: Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    };
    let running: Vec<Child> = commands.map(spawn).collect();
    running.into_iter().map(|mut child| child.wait().expect("wait").success()).collect()
}

// Many.

#[test]
fn a_hundred_containers_are_created_started_and_deleted_at_once() {
    privileged!();
    let containers: Vec<_> = (0..100).map(|_| Container::new(Bundle::new("hundred").sleeping())).collect();
    let calls =
        |verb: fn(&Container) -> Command| assert!(at_once(containers.iter().map(verb)).into_iter().all(|ok| ok));
    calls(|container| container.create_command(&[]));
    assert!(containers.iter().all(|container| container.status() == "created"));
    calls(|container| container.runtime.command(["start", container.id()]));
    assert!(containers.iter().all(|container| container.status() == "running"));
    calls(|container| container.runtime.command(["delete", "--force", container.id()]));
    containers.iter().for_each(Container::leaves_nothing);
}

#[test]
fn a_hundred_containers_share_one_state_directory() {
    privileged!();
    let mut containers: Vec<_> = (0..100).map(|_| Container::new(Bundle::new("shared"))).collect();
    let root = tempfile::tempdir().expect("a state directory");
    containers.iter_mut().for_each(|container| container.runtime.root = root.path().to_owned());
    assert!(at_once(containers.iter().map(|container| container.run_command(&[]))).into_iter().all(|ok| ok));
    at_once(containers.iter().map(|container| container.runtime.command(["delete", container.id()])));
    containers.iter().for_each(Container::leaves_nothing);
    let list = containers[0].runtime.call(["list", "--quiet"]).ok();
    list.prints("");
}

#[test]
fn of_many_creates_with_one_id_one_wins() {
    privileged!();
    lacks!("runc" < "never": "creates that exclude each other");
    let container = Container::new(Bundle::new("oneid").sleeping());
    let won = at_once((0..20).map(|_| container.create_command(&[]))).into_iter().filter(|ok| *ok).count();
    assert_eq!(won, 1);
    assert_eq!(container.status(), "created");
    container.delete_force().ok();
    container.leaves_nothing();
}

// Races.

#[test]
fn commands_that_race_with_create_and_delete_see_a_container_or_none() {
    privileged!();
    let container = Container::new(Bundle::new("racing").sleeping());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for args in [&["state"][..], &["kill"], &["list"]] {
            let (runtime, id, done) = (Runtime::new(container.runtime.root.clone()), container.id().to_owned(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut command = runtime.command(args);
                    match args[0] {
                        "kill" => command.args([&id, "WINCH"]),
                        "state" => command.arg(&id),
                        _ => command.args(["--format", "json"]),
                    };
                    let outcome = command.finish();
                    let said = outcome.stderr();
                    let expected = ["does not exist", "not running", "stopped", "no such", "creat"];
                    let expected = expected.iter().any(|text| said.to_lowercase().contains(text));
                    assert!(outcome.code() == 0 || expected, "{outcome:?}");
                }
            });
        }
        // A failure must end the others, too: the scope waits for them.
        let rounds = std::panic::AssertUnwindSafe(|| {
            for _ in 0..30 {
                container.create().ok();
                container.start().ok();
                container.delete_force().ok();
            }
        });
        let ended = std::panic::catch_unwind(rounds);
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
    container.leaves_nothing();
}

#[test]
fn of_two_deletes_at_once_both_end_and_nothing_is_left() {
    privileged!();
    lacks!("runc" < "never": "a second delete --force that waits for the first", "crun" < "never": "the same");
    for _ in 0..20 {
        let container = Bundle::new("twodeletes").sleeping().started();
        let delete = |_| container.runtime.command(["delete", "--force", container.id()]);
        assert_eq!(at_once((0..2).map(delete)), [true, true]);
        container.leaves_nothing();
    }
}

#[test]
fn a_delete_that_races_with_start_leaves_nothing() {
    privileged!();
    for round in 0..20 {
        let container = Bundle::new("startdelete").sleeping().created();
        let mut start = container.runtime.command(["start", container.id()]);
        std::thread::scope(|scope| {
            // Its outcome depends on who was first; that it ends does not.
            scope.spawn(|| start.finish());
            std::thread::sleep(Duration::from_micros(150 * round));
            container.delete_force().ok();
        });
        container.leaves_nothing();
    }
}

// The state directory.

/// A small tmpfs, gone with this value.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn on(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("a directory");
        // State in a directory that others can write to is refused, and that is a tmpfs by itself.
        let options = format!("{options},mode=755");
        mount(Some("small"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("mount a tmpfs");
        Self { path }
    }

    fn remount(&self, flags: MsFlags) {
        let remounted = || mount(None::<&str>, &self.path, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>);
        // Busy as long as the container's first process has the socket that start has removed: until its exec.
        wait_until("nothing that was removed is in use", seconds(10), || remounted() != Err(Errno::EBUSY));
        remounted().expect("remount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    privileged!();
    lacks!("crun" < "never": "an error at every amount of space");
    lacks!("runc" < "never": "an error at every amount of space");
    let mut container = Container::new(Bundle::new("fulldisk"));
    container.runtime.root = container.bundle.path().join("small");
    let mut failed = 0;
    for inodes in 2..8 {
        let disk = SmallDisk::on(container.runtime.root.clone(), &format!("nr_inodes={inodes}"));
        let outcome = container.run();
        if outcome.code() != 0 {
            failed += 1;
            outcome.refused().says("no space left on device");
        }
        drop(disk);
        container.leaves_nothing();
    }
    assert!(failed > 0, "no disk was too small");
    let disk = SmallDisk::on(container.runtime.root.clone(), "size=4k");
    fs::write(disk.path.join("filler"), [0; 4096]).expect("fill the disk");
    container.run().refused().says("no space left on device");
    drop(disk);
    container.leaves_nothing();
}

#[test]
fn a_state_directory_that_becomes_read_only_is_an_error_that_can_be_mended() {
    privileged!();
    lacks!("crun" < "never": "a delete that fails when the state cannot be removed", "runc" < "never": "the same");
    let mut container = Container::new(Bundle::new("readonlystate").sleeping());
    container.runtime.root = container.bundle.path().join("small");
    let disk = SmallDisk::on(container.runtime.root.clone(), "size=1m");
    container.create().ok();
    container.start().ok();
    disk.remount(MsFlags::MS_RDONLY);
    assert_eq!(container.status(), "running");
    container.runtime.call(["run", "--bundle", &container.bundle.path().to_string_lossy(), "another"]).refused();
    container.kill("KILL").ok();
    container.wait_status("stopped");
    container.delete().refused().explains("read-only file system");
    disk.remount(MsFlags::empty());
    container.delete().ok();
    drop(disk);
    container.leaves_nothing();
}

#[test]
fn a_state_directory_that_cannot_be_made_is_an_error() {
    privileged!();
    let mut container = Container::new(Bundle::new("nostate"));
    let file = container.bundle.file("file", "");
    container.runtime.root = file.join("state");
    container.run().refused().explains("not a directory");
    container.runtime.root = container.bundle.dir("state");
}

// Hooks.

fn with_hook(bundle: Bundle, kind: &str, script: &str, timeout: Option<u32>) -> Bundle {
    let mut hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] });
    if let Some(timeout) = timeout {
        hook["timeout"] = json!(timeout);
    }
    bundle.push(&format!("/hooks/{kind}"), hook)
}

#[test]
fn a_hook_that_hangs_ends_at_its_timeout_with_all_it_started() {
    privileged!();
    lacks!("crun" < "never": "an error that names the hook", "runc" < "never": "ending what a hook has started");
    for kind in ["prestart", "createRuntime", "createContainer"] {
        // A trap and a child: neither the hook nor what it started may live on.
        let container = Container::new(with_hook(Bundle::new("hanging"), kind, "trap '' TERM; sleep 1000", Some(1)));
        let begin = Instant::now();
        container.create_command(&[]).finish().refused().says(kind);
        assert!(begin.elapsed() < seconds(10), "{kind}: {:?}", begin.elapsed());
        container.leaves_nothing();
    }
}

#[test]
fn a_hook_that_kills_the_runtime_leaves_what_delete_removes() {
    privileged!();
    lacks!("runc" < "never": "cleaning up after KILL", "crun" < "never": "cleaning up after KILL");
    for kind in ["prestart", "createRuntime"] {
        let container = Container::new(with_hook(Bundle::new("murderous"), kind, "kill -9 $PPID", None));
        let outcome = container.create_command(&[]).finish();
        assert_eq!(outcome.code(), 137, "{outcome:?}");
        container.delete_force().ok();
        container.leaves_nothing();
    }
}

#[test]
fn a_hook_that_leaves_a_process_behind_does_not_hold_up_the_container() {
    privileged!();
    lacks!("crun" < "never": "going on while a hook's child lives");
    let script = "sleep 5 >/dev/null 2>&1 </dev/null & exit 0";
    let begin = Instant::now();
    with_hook(Bundle::new("daemonhook"), "createRuntime", script, None).args(["echo", "ran"]).run().ok().prints("ran");
    assert!(begin.elapsed() < seconds(4), "{:?}", begin.elapsed());
}

// Processes.

#[test]
fn a_fork_bomb_under_a_pids_limit_is_deleted_with_force() {
    controllers!("pids");
    lacks!("crun" < "never": "a cgroup where this test looks");
    let bundle = Bundle::new("forkbomb").set("/linux/resources/pids", json!({ "limit": 40 }));
    let bundle = bundle.with_probe("probe").args(["probe", "bomb"]);
    let container = bundle.started();
    container.wait_output("armed");
    let current = container.cgroup_file("pids", "pids.current");
    wait_until("the limit is reached", seconds(20), || read(&current).parse().unwrap_or(0) >= 39);
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn a_memory_limit_below_what_the_runtime_itself_needs_is_a_clear_error() {
    controllers!("memory");
    lacks!("runc" < "never": "a message about memory", "crun" < "never": "a message about memory");
    let bundle = Bundle::new("tinymemory").set("/linux/resources/memory", json!({ "limit": 16384 }));
    let container = Container::new(bundle);
    container.run().refused().says("memory");
    container.leaves_nothing();
}

#[test]
fn a_first_process_killed_at_any_moment_of_create_is_an_error() {
    privileged!();
    lacks!("runc" < "never": "a process of its own name", "crun" < "never": "a process of its own name");
    let container = Container::new(Bundle::new("initkilled").sleeping());
    let mut killed = 0;
    for round in 0..40 {
        let mut create =
            container.create_command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawn");
        let children = format!("/proc/{0}/task/{0}/children", create.id());
        // The first one keeps a scope of systemd for the container.
        let first = usize::from(support::by_systemd());
        let first_child = || read(&children).split_whitespace().nth(first).and_then(|pid| pid.parse().ok());
        let victim = loop {
            let ended = create.try_wait().expect("wait").is_some();
            if let Some(pid) = first_child().filter(|_| !ended) {
                break Some(pid);
            }
            if ended {
                break None;
            }
        };
        std::thread::sleep(Duration::from_micros(100 * round));
        if let Some(pid) = victim {
            // It may be gone, or the container's by now.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        let status = create.wait().expect("wait");
        if !status.success() {
            let mut said = String::new();
            create.stderr.take().expect("stderr").read_to_string(&mut said).expect("read");
            assert!(said.contains("killed by signal 9") || said.contains("died"), "{said}");
            killed += 1;
            container.leaves_nothing();
            continue;
        }
        container.delete_force().ok();
    }
    assert!(killed > 0, "it was never killed in time");
    container.leaves_nothing();
}

/// A caller that gets signals all the time, as a service manager's child may: no call ends with EINTR.
#[test]
fn signals_interrupt_no_command() {
    privileged!();
    lacks!("runc" < "never": "a promise about stray signals", "crun" < "never": "a promise about stray signals");
    let container = Container::new(Bundle::new("eintr").sleeping());
    let stormed = |mut command: Command| {
        let (out, err) = (tempfile::tempfile().expect("a file"), tempfile::NamedTempFile::new().expect("a file"));
        let err_file = err.reopen().expect("a file");
        let mut child = command.stdout(out).stderr(err_file).spawn().expect("spawn");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            // Both are ignored by default, and still interrupt what waits.
            for signal in [Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCONT] {
                kill(pid, signal).ok();
            }
        };
        assert!(status.success(), "{command:?}: {}", read(err.path()));
    };
    for _ in 0..5 {
        stormed(container.create_command(&[]));
        stormed(container.runtime.command(["start", container.id()]));
        stormed(container.exec_command(&[], &["true"]));
        stormed(container.runtime.command(["pause", container.id()]));
        stormed(container.runtime.command(["resume", container.id()]));
        stormed(container.runtime.command(["delete", "--force", container.id()]));
        container.leaves_nothing();
    }
}

// Terminals.

/// Whoever listens on the console socket and does nothing holds up nobody but itself.
#[test]
fn a_console_that_is_never_read_does_not_hold_up_create() {
    privileged!();
    let bundle = Bundle::new("slowconsole").set("/process/terminal", true).sleeping();
    let container = Container::new(bundle);
    let path = container.bundle.path().join("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a console socket");
    let create = container.create_command(&["--console-socket", &path.to_string_lossy()]).finish_within(seconds(10));
    assert!(create.code() == 0 && !create.timed_out, "{create:?}");
    // The terminal is taken only now, and the container was started without anybody at it.
    container.start().ok();
    let (mut stream, _) = listener.accept().expect("the connection");
    let mut name = [0; 64];
    assert!(stream.read(&mut name).expect("the message") > 0);
    assert_eq!(container.status(), "running");
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn a_console_that_goes_away_is_an_error_that_leaves_nothing() {
    privileged!();
    let container = Container::new(Bundle::new("goneconsole").set("/process/terminal", true).sleeping());
    let path = container.bundle.path().join("console.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a console socket"));
    container.create_command(&["--console-socket", &path.to_string_lossy()]).finish().refused().explains("console");
    container.leaves_nothing();
    assert!(Path::new(&path).exists(), "the socket is the caller's");
}
