//! checkpoint and restore, with the CRIU of PATH or the one that `make setup` fetches.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, probe, read, seconds, skip, wait_until};

/// A PATH with a CRIU that works on this kernel.
fn path() -> Option<&'static OsString> {
    static PATH: OnceLock<Option<OsString>> = OnceLock::new();
    let own = std::env::var_os("PATH").unwrap_or_default();
    let fetched = Path::new(env!("CARGO_BIN_EXE_pent")).ancestors().map(|above| above.join("criu/bin"));
    let fetched = fetched.filter(|bin| bin.join("criu").is_file()).map(|bin| {
        let all = std::iter::once(bin).chain(std::env::split_paths(&own));
        std::env::join_paths(all).expect("a PATH")
    });
    let works = |path: &OsString| {
        let check = Command::new("sh").args(["-c", "criu check"]).env("PATH", path).output();
        check.is_ok_and(|output| output.status.success())
    };
    PATH.get_or_init(|| std::iter::once(own.clone()).chain(fetched).find(works)).as_ref()
}

macro_rules! with_criu {
    () => {
        privileged!();
        lacks!("crun" < "never": "CRIU in Debian's build");
        if path().is_none() {
            return skip("CRIU does not work on this host");
        }
    };
}

const COUNTING: &str = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/n; sleep 0.1; done";

/// Starts a container with /dev/null for its streams, which it has a node of itself.
fn started(bundle: Bundle) -> Container {
    let container = Container::new(bundle);
    let mut create = container.create_command(&[]);
    let created = create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(created.expect("create").success());
    container.start().ok();
    container
}

/// A container that counts in its own memory and tmpfs.
fn counting(bundle: Bundle) -> Container {
    let container = started(bundle.shell(COUNTING));
    goes_on(&container);
    container
}

fn count(container: &Container) -> u64 {
    read(format!("/proc/{}/root/dev/shm/n", container.pid())).parse().unwrap_or(0)
}

#[track_caller]
fn goes_on(container: &Container) {
    let now = count(container);
    wait_until("it counts", seconds(10), || count(container) >= now + 2);
    assert_eq!(container.status(), "running");
}

fn checkpoint_command(container: &Container, options: &[&str]) -> Command {
    let (images, work) = (container.bundle.path().join("images"), container.bundle.path().join("work"));
    let mut command = container.runtime.command(["checkpoint", "--image-path"]);
    command.arg(images).arg("--work-path").arg(work).args(options).arg(container.id());
    command.env("PATH", path().expect("a CRIU"));
    command
}

#[track_caller]
fn checkpoint(container: &Container, options: &[&str]) -> Outcome {
    checkpoint_command(container, options).finish_within(seconds(120))
}

fn restore_command(container: &Container, options: &[&str]) -> Command {
    let path = container.bundle.path();
    let mut command = container.runtime.command(["restore", "--image-path"]);
    command.arg(path.join("images")).arg("--work-path").arg(path.join("work")).args(options);
    command.args(["-no-subreaper", "--bundle"]).arg(path).arg("--pid-file").arg(container.pid_file());
    command.arg(container.id()).env("PATH", self::path().expect("a CRIU"));
    command
}

#[track_caller]
fn restore(container: &Container, options: &[&str]) {
    let options = [&["--detach"], options].concat();
    container.keep(restore_command(container, &options).finish_within(seconds(120))).ok();
}

/// Restores what was checkpointed from another configuration, or other images: it is refused, and nothing is left.
#[track_caller]
fn cannot_restore(container: &Container) -> Outcome {
    let outcome = restore_command(container, &["--detach"]).finish_within(seconds(120)).exits(1);
    container.leaves_nothing();
    outcome
}

#[test]
fn a_container_goes_on_where_it_was() {
    with_criu!();
    // The harness gives it files for streams.
    lacks!("runc" < "never": "checkpoints of streams that are files");
    let container = Bundle::new("criu").shell(COUNTING).started();
    goes_on(&container);
    let flags = flags_of(&container);
    checkpoint(&container, &[]).ok();
    container.call("state", &[]).refused().says("does not exist");
    let before = support::cgroup_dirs(container.id());
    assert!(before.is_empty(), "{before:?}");
    restore(&container, &[]);
    let restored = count(&container);
    assert!(restored >= 3, "{restored}");
    goes_on(&container);
    // What is around it is what was asked for.
    let status = read(format!("/proc/{}/status", container.pid()));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000020000420"), "{status}");
    assert_eq!(flags_of(&container), flags);
    assert!(flags.iter().any(|flag| flag == "/ ro"), "{flags:?}");
    in_its_cgroup(&container);
    container.sh("test ! -s /proc/keys && echo inside").ok().prints("inside");
    container.kill("KILL").ok();
    assert_eq!(container.wait_exit(), 137);
}

/// Mount points, each with what nobody can do there.
fn flags_of(container: &Container) -> Vec<String> {
    let mounts = read(format!("/proc/{}/mountinfo", container.pid()));
    let restrictive = |flag: &&str| ["ro", "nosuid", "nodev", "noexec"].contains(flag);
    let one = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let flags: Vec<_> = fields[5].split(',').filter(restrictive).collect();
        format!("{} {}", fields[4], flags.join(","))
    };
    let mut all: Vec<_> = mounts.lines().map(one).collect();
    all.sort();
    all
}

/// All of it, in every hierarchy that limits something.
#[track_caller]
fn in_its_cgroup(container: &Container) {
    for controller in ["pids", "memory", "devices", "freezer"] {
        let inside = read(container.cgroup_file(controller, "cgroup.procs"));
        let inside: Vec<_> = inside.lines().collect();
        let first = container.pid().to_string();
        let children = read(format!("/proc/{first}/task/{first}/children"));
        for pid in std::iter::once(first.as_str()).chain(children.split_whitespace()) {
            let ended = !Path::new("/proc").join(pid).is_dir();
            assert!(ended || inside.contains(&pid), "{pid} is not in {controller}: {inside:?}");
        }
    }
}

#[test]
fn a_container_can_be_left_running() {
    with_criu!();
    let container = counting(Bundle::new("criuleave"));
    let all = ["--leave-running", "--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks"];
    checkpoint(&container, &all).ok();
    goes_on(&container);
}

#[test]
fn what_changes_is_saved_before() {
    with_criu!();
    let mut check = Command::new("criu");
    check.args(["check", "--feature", "mem_dirty_track"]).env("PATH", path().expect("a CRIU"));
    if !check.output().expect("criu").status.success() {
        return skip("the kernel does not track what memory changes");
    }
    let container = counting(Bundle::new("criupre"));
    let pre = container.bundle.path().join("pre");
    let mut command = container.runtime.command(["checkpoint", "--pre-dump", "--image-path"]);
    command.arg(&pre).arg(container.id()).env("PATH", path().expect("a CRIU")).finish_within(seconds(120)).ok();
    goes_on(&container);
    checkpoint(&container, &["--parent-path", "../pre"]).ok();
    restore(&container, &[]);
    goes_on(&container);
}

#[test]
fn bind_mounts_and_limits_are_given_again() {
    with_criu!();
    let bundle = Bundle::new("criubind");
    let data = bundle.dir("data");
    let bundle =
        bundle.mount("/mnt/data", "bind", &data, &["bind", "ro"]).set("/linux/resources/pids", json!({ "limit": 30 }));
    fs::write(data.join("file"), "of the host\n").expect("a file");
    let container = counting(bundle);
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    container
        .sh("cat /mnt/data/file; touch /mnt/data/x 2>/dev/null || echo read-only")
        .ok()
        .prints("of the host\nread-only");
    assert_eq!(read(container.cgroup_file("pids", "pids.max")), "30");
}

#[test]
fn whatever_is_done_about_cgroups_the_limits_bind() {
    with_criu!();
    lacks!("runc" < "never": "a cgroup namespace where CRIU ignores cgroups");
    for (dumped, mode, own) in [
        ("soft", "ignore", true),
        ("ignore", "ignore", true),
        ("ignore", "soft", true),
        ("full", "full", true),
        ("soft", "ignore", false),
        ("ignore", "ignore", false),
    ] {
        let bundle = Bundle::new("criucgroup").set("/linux/resources/pids", json!({ "limit": 30 }));
        let bundle = if own { bundle.namespace("cgroup", None) } else { bundle };
        let container = counting(bundle);
        checkpoint(&container, &["--manage-cgroups-mode", dumped]).ok();
        restore(&container, &["--manage-cgroups-mode", mode]);
        goes_on(&container);
        in_its_cgroup(&container);
        assert_eq!(read(container.cgroup_file("pids", "pids.max")), "30", "{mode}");
        let devices = read(container.cgroup_file("devices", "devices.list"));
        assert!(
            !devices.contains("a *:*") && (support::cgroup2_only() || devices.contains("c 1:3")),
            "{mode}: {devices}"
        );
        // Its own cgroup is all that it sees.
        if own {
            container.sh("grep -v ':/$' /proc/1/cgroup || echo no other").ok().prints("no other");
        }
        checkpoint(&container, &[]).ok();
    }
}

#[test]
fn what_joins_a_restored_container_is_saved_with_it() {
    with_criu!();
    lacks!("runc" < "1.2": "time namespaces");
    let container = counting(Bundle::new("criutime"));
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    let time = |of: &str| fs::read_link(format!("/proc/{of}/ns/time")).expect("a time namespace");
    let inside = container.sh("readlink /proc/self/ns/time").ok().stdout();
    assert_eq!(Path::new(inside.trim()), time(&container.pid().to_string()));
    // What it leaves in the container has its first process for a parent then.
    container.sh("(sleep 1000 </dev/null >/dev/null 2>&1 &)").ok();
    goes_on(&container);
    let now = count(&container);
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    assert!(count(&container) >= now);
    goes_on(&container);
    container.sh("pgrep sleep | wc -l").ok();
}

#[test]
fn a_process_with_another_time_is_no_part_of_a_checkpoint() {
    with_criu!();
    lacks!("runc" < "never": "a look at what runs beside the first process");
    let container = counting(Bundle::new("criualien"));
    let group = container.cgroup_file("devices", "cgroup.procs");
    let script = format!("echo $$ >{}; exec unshare --time --kill-child sleep 1000", group.display());
    let mut alien = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().expect("a process");
    let own = format!("/proc/{0}/task/{0}/children", alien.id());
    wait_until("it is there", seconds(10), || !read(&own).is_empty());
    let refused = checkpoint(&container, &[]).exits(1);
    alien.kill().expect("an end");
    alien.wait().expect("a status");
    refused.says("another time namespace");
    goes_on(&container);
}

#[test]
fn the_pid_file_is_in_the_callers_directory() {
    with_criu!();
    let container = counting(Bundle::new("criupidfile"));
    checkpoint(&container, &[]).ok();
    let here = container.bundle.dir("here");
    let mut command = container.runtime.command(["restore", "--detach", "--pid-file", "relative.pid"]);
    let bundle = container.bundle.path();
    command.arg("--image-path").arg(bundle.join("images")).args(["--bundle", ".."]).arg(container.id());
    command.env("PATH", path().expect("a CRIU")).current_dir(&here);
    container.keep(command.finish_within(seconds(120))).ok();
    fs::rename(here.join("relative.pid"), container.pid_file()).expect("the pid file");
    goes_on(&container);
}

#[test]
fn destinations_lead_through_links() {
    with_criu!();
    let bundle = Bundle::new("criulinks");
    let data = bundle.dir("data");
    fs::write(data.join("file"), "of the host\n").expect("a file");
    fs::create_dir(bundle.rootfs().join("real")).expect("a directory");
    symlink("real", bundle.rootfs().join("link")).expect("a link");
    let container = counting(bundle.mount("/link/data", "bind", &data, &["bind"]));
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    container.sh("cat /real/data/file").ok().prints("of the host");
    goes_on(&container);
}

#[test]
fn a_place_that_leads_elsewhere_now_is_refused() {
    with_criu!();
    lacks!("runc" < "never": "a look at where mount points lead");
    let bundle = Bundle::new("criumoved");
    let data = bundle.dir("data");
    let rootfs = bundle.rootfs();
    let container = counting(bundle.mount("/real/data", "bind", &data, &["bind"]));
    checkpoint(&container, &[]).ok();
    fs::rename(rootfs.join("real"), rootfs.join("other")).expect("a rename");
    symlink("other", rootfs.join("real")).expect("a link");
    cannot_restore(&container).says("a link on the way to /real/data");
}

#[test]
fn mount_points_in_mounts_are_made_again() {
    with_criu!();
    let bundle = Bundle::new("criunested");
    let (outer, inner, tree) = (bundle.dir("outer"), bundle.dir("inner"), bundle.dir("tree"));
    fs::write(inner.join("file"), "inner\n").expect("a file");
    fs::write(tree.join("file"), "a file\n").expect("a file");
    let bundle = bundle
        .mount("/mnt/outer", "bind", &outer, &["bind"])
        .mount("/mnt/outer/a/inner", "bind", &inner, &["bind"])
        .mount("/mnt/outer/b", "bind", tree.join("file"), &["bind"])
        .mount("/mnt/outer/tmp", "tmpfs", "tmpfs", &["nosuid"]);
    let container = counting(bundle);
    container.sh("echo kept >/mnt/outer/tmp/x").ok();
    checkpoint(&container, &[]).ok();
    fs::remove_dir_all(outer.join("a")).expect("the inner mount point");
    fs::remove_file(outer.join("b")).expect("the inner mount point");
    fs::remove_dir(outer.join("tmp")).expect("the inner mount point");
    restore(&container, &[]);
    container.sh("cat /mnt/outer/a/inner/file /mnt/outer/b /mnt/outer/tmp/x").ok().prints("inner\na file\nkept");
    goes_on(&container);
}

#[test]
fn a_filesystem_of_the_host_stays_the_hosts() {
    with_criu!();
    // The whole of a tmpfs: not to be told from one of the container's by what of it is mounted.
    let bundle = Bundle::new("criuwhole");
    let mounted = Mounted::tmpfs();
    let data = mounted.0.path();
    fs::write(data.join("file"), "of the host\n").expect("a file");
    let container = counting(bundle.mount("/mnt/data", "bind", data, &["bind"]));
    checkpoint(&container, &[]).ok();
    fs::write(data.join("file"), "changed since\n").expect("a file");
    restore(&container, &[]);
    container.sh("cat /mnt/data/file; echo from inside >/mnt/data/new").ok().prints("changed since");
    assert_eq!(read(data.join("new")), "from inside");
}

/// A tmpfs of the host, until it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn tmpfs() -> Self {
        let at = tempfile::tempdir().expect("a directory");
        assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(at.path()).status().expect("mount").success());
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0.path()).status().is_ok_and(|status| status.success());
        assert!(done || std::thread::panicking(), "cannot unmount {}", self.0.path().display());
    }
}

#[test]
fn a_name_that_criu_cannot_be_told_is_refused() {
    with_criu!();
    lacks!("runc" < "never": "a look at the names of mount points");
    let bundle = Bundle::new("criuname");
    let data = bundle.dir("data");
    let container = counting(bundle.mount("/mnt/a]:b", "bind", &data, &["bind"]));
    checkpoint(&container, &[]).exits(1).says("/mnt/a]:b").says("mount it elsewhere");
    goes_on(&container);
}

/// The other side of a console socket, as conmon or a shim is.
struct Console {
    child: Child,
    input: ChildStdin,
    output: File,
    path: String,
}

impl Console {
    fn new(container: &Container, name: &str) -> Self {
        let directory = container.bundle.path();
        let output = tempfile::tempfile().expect("a file for the terminal's output");
        let mut child = Command::new(probe("console"))
            .arg(name)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("duplicate"))
            .spawn()
            .expect("the console probe");
        let path = directory.join(name);
        wait_until("the console socket is there", seconds(10), || path.try_exists().unwrap_or(false));
        let input = child.stdin.take().expect("piped");
        Self { child, input, output, path: path.to_string_lossy().into_owned() }
    }

    #[track_caller]
    fn wait(&self, text: &str) {
        wait_until(&format!("{text:?} is on the terminal"), seconds(15), || {
            let mut bytes = vec![0; usize::try_from(self.output.metadata().expect("length").len()).expect("length")];
            self.output.read_exact_at(&mut bytes, 0).expect("read");
            String::from_utf8_lossy(&bytes).contains(text)
        });
    }

    fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("type");
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.child.kill().expect("end the console probe");
        self.child.wait().expect("reap the console probe");
    }
}

const ECHOING: &str = "n=0; tty; while read line; do n=$((n+1)); echo \"$n: $line\"; done; exit 3";

fn on_a_terminal(name: &str) -> (Container, Console) {
    let container = Container::new(Bundle::new(name).shell(ECHOING).set("/process/terminal", true));
    let console = Console::new(&container, "first.sock");
    container.keep(container.create_command(&["--console-socket", &console.path]).finish().ok());
    container.start().ok();
    (container, console)
}

#[test]
fn a_terminal_goes_on_at_another_console() {
    with_criu!();
    let (container, mut console) = on_a_terminal("criutty");
    console.wait("/dev/pts/0");
    console.type_in("one\n");
    console.wait("1: one");
    checkpoint(&container, &[]).ok();
    for (name, line, answer) in [("second.sock", "two\n", "2: two"), ("third.sock", "three\n", "3: three")] {
        console = Console::new(&container, name);
        restore(&container, &["--console-socket", &console.path.clone()]);
        console.wait("received 1 descriptor");
        console.type_in(line);
        console.wait(answer);
        assert_eq!(container.status(), "running");
        if name == "second.sock" {
            checkpoint(&container, &[]).ok();
        }
    }
    // Its first process is the leader of a session at this terminal.
    console.type_in("\u{4}");
    assert_eq!(container.wait_exit(), 3);
}

#[test]
fn a_terminal_goes_on_at_that_of_the_caller() {
    with_criu!();
    let (container, mut console) = on_a_terminal("criufore");
    console.type_in("one\n");
    console.wait("1: one");
    checkpoint(&container, &[]).ok();
    let restore = restore_command(&container, &[]);
    let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
    let words: Vec<_> = std::iter::once(restore.get_program()).chain(restore.get_args()).map(quote).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    let output = tempfile::NamedTempFile::new().expect("a file for the terminal's output");
    script.env("PATH", path().expect("a CRIU")).stdin(Stdio::piped()).stdout(output.reopen().expect("a file"));
    let mut script = script.spawn().expect("script");
    let mut input = script.stdin.take().expect("piped");
    // What is typed before the caller's terminal is set up is lost.
    wait_until("it answers", seconds(60), || {
        input.write_all(b"two\n").expect("type");
        std::thread::sleep(seconds(1) / 5);
        read(output.path()).contains(": two")
    });
    assert!(read(output.path()).contains("2: two"), "{:?}", read(output.path()));
    input.write_all(b"\x04").expect("type");
    assert_eq!(script.wait().expect("an end").code(), Some(3), "{:?}", read(output.path()));
    container.leaves_nothing();
}

#[test]
fn a_terminal_that_nobody_wants_or_that_is_not_there_is_refused() {
    with_criu!();
    lacks!("runc" < "never": "these messages");
    let (container, _console) = on_a_terminal("criunotty");
    checkpoint(&container, &[]).ok();
    cannot_restore(&container).says("without setting console socket");
    let container = replaced(container, "/process/terminal", json!(false));
    cannot_restore(&container).says("with a terminal, which config.json does not ask for");
    let plain = counting(Bundle::new("criuwanttty"));
    checkpoint(&plain, &[]).ok();
    let plain = replaced(plain, "/process/terminal", json!(true));
    let console = Console::new(&plain, "none.sock");
    let refused = restore_command(&plain, &["--detach", "--console-socket", &console.path]).finish_within(seconds(120));
    refused.exits(1).says("without a terminal, which config.json asks for");
    plain.leaves_nothing();
}

/// The same container of another configuration.
fn replaced(mut container: Container, pointer: &str, value: serde_json::Value) -> Container {
    let mut config = container.bundle.config.clone();
    *config.pointer_mut(pointer).expect("a field") = value;
    container.bundle.config = config;
    container.bundle.write();
    container
}

#[test]
fn a_checkpoint_that_fails_changes_nothing() {
    with_criu!();
    let container = counting(Bundle::new("criufail"));
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    checkpoint(&container, &["--page-server", &closed]).refused();
    goes_on(&container);
    checkpoint(&container, &["--parent-path", "../nothing/there"]).refused();
    goes_on(&container);
    // Then it can be checkpointed.
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    goes_on(&container);
}

#[test]
fn a_killed_checkpoint_changes_nothing() {
    with_criu!();
    lacks!("runc" < "never": "a container that goes on when its checkpoint was killed");
    for whom in ["the runtime", "criu"] {
        let container = counting(Bundle::new("criukill"));
        // Somebody listens, and never answers: CRIU waits with all processes stopped.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = silent.local_addr().expect("an address").to_string();
        let mut command = checkpoint_command(&container, &["--page-server", &server]);
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("checkpoint");
        let (connection, _) = silent.accept().expect("CRIU");
        let pid = running.id();
        let criu = read(format!("/proc/{pid}/task/{pid}/children"));
        if whom == "criu" {
            assert!(Command::new("kill").args(["-KILL", criu.trim()]).status().expect("kill").success());
        } else {
            running.kill().expect("an end");
        }
        drop(connection);
        assert!(!running.wait().expect("a status").success(), "{whom}");
        goes_on(&container);
    }
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    with_criu!();
    let container = counting(Bundle::new("criubroken"));
    checkpoint(&container, &[]).ok();
    let images = container.bundle.path().join("images");
    let (image, kept) = (images.join("mm-1.img"), images.join("kept"));
    fs::rename(&image, &kept).expect("an image");
    let mut command = restore_command(&container, &["--detach"]);
    command.finish_within(seconds(120)).refused();
    container.leaves_nothing();
    fs::rename(kept, image).expect("an image");
    restore(&container, &[]);
    goes_on(&container);
}

#[test]
fn a_killed_restore_leaves_what_can_be_deleted() {
    with_criu!();
    lacks!("runc" < "never": "hooks that know the runtime");
    let bundle = Bundle::new("criushot");
    let hook = bundle.script("hook", "test -e $1 || kill -KILL $PPID; exec sleep 1");
    let once = bundle.path().join("once");
    let hooks = json!({ "createRuntime": [{ "path": hook, "args": ["hook", once] }] });
    fs::write(&once, "").expect("a file");
    let container = counting(bundle.set("/hooks", hooks));
    checkpoint(&container, &[]).ok();
    fs::remove_file(&once).expect("a file");
    let killed = restore_command(&container, &["--detach"]).finish_within(seconds(120));
    assert_eq!(killed.code(), 137, "{killed:?}");
    wait_until("CRIU has ended", seconds(20), || support::processes_of(container.id()).is_empty());
    container.delete_force().ok();
    container.leaves_nothing();
    fs::write(&once, "").expect("a file");
    restore(&container, &[]);
    goes_on(&container);
}

#[test]
fn pipes_are_those_of_the_caller() {
    with_criu!();
    let container = Container::new(Bundle::new("criupipe").shell("while read line; do echo \"got $line\"; done"));
    let piped = |mut command: Command| {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a runtime");
        let input = child.stdin.take().expect("piped");
        assert!(child.wait().expect("a status").success(), "{command:?}");
        (input, BufReader::new(child.stdout.take().expect("piped")).lines())
    };
    let answer = |(input, output): &mut (ChildStdin, Lines<BufReader<ChildStdout>>), line: &str| {
        writeln!(input, "{line}").expect("a reader");
        assert_eq!(output.next().expect("a line").expect("text"), format!("got {line}"));
    };
    let mut first = piped(container.create_command(&[]));
    container.start().ok();
    answer(&mut first, "one");
    checkpoint(&container, &[]).ok();
    drop(first);
    let mut second = piped(restore_command(&container, &["--detach"]));
    answer(&mut second, "two");
}

#[test]
fn a_terminal_of_the_host_is_that_of_the_caller() {
    with_criu!();
    lacks!("runc" < "never": "terminals of the host");
    let container = Container::new(Bundle::new("criuhosttty").shell(ECHOING));
    let on_terminal = |command: &Command, output: &Path| {
        let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
        let line = format!("{}; echo $? >{}.status; exec sleep 1000", words.join(" "), output.display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).stdin(Stdio::piped());
        script.env("PATH", path().expect("a CRIU")).stdout(File::create(output).expect("a file"));
        let script = Holder(script.spawn().expect("script"));
        let status = output.with_extension("status");
        wait_until("it is done", seconds(60), || !read(&status).is_empty());
        assert_eq!(read(&status), "0", "{}", read(output));
        script
    };
    let (first, second) = (container.bundle.path().join("first"), container.bundle.path().join("second"));
    let mut script = on_terminal(&container.create_command(&[]), &first);
    container.start().ok();
    script.0.stdin.as_mut().expect("piped").write_all(b"one\n").expect("type");
    wait_until("it answers", seconds(20), || read(&first).contains("1: one"));
    checkpoint(&container, &["--shell-job"]).ok();
    drop(script);
    let mut script = on_terminal(&restore_command(&container, &["--detach", "--shell-job"]), &second);
    script.0.stdin.as_mut().expect("piped").write_all(b"two\n").expect("type");
    wait_until("it answers", seconds(20), || read(&second).contains("2: two"));
}

#[test]
fn a_paused_container_is_restored_running() {
    with_criu!();
    let container = counting(Bundle::new("criupaused"));
    container.call("pause", &[]).ok();
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    goes_on(&container);
}

#[test]
fn a_container_with_a_user_namespace_goes_on() {
    with_criu!();
    lacks!("runc" < "never": "images that the container's root may read");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = Bundle::new("criuuser").namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.chown(100_000);
    let container = counting(bundle);
    checkpoint(&container, &[]).ok();
    let mode = || fs::metadata(container.bundle.path().join("images")).expect("images").permissions().mode();
    let before = mode();
    restore(&container, &[]);
    goes_on(&container);
    container.sh("echo >/dev/null && test -c /dev/null && echo a device").ok().prints("a device");
    assert_eq!(mode(), before);
}

#[test]
fn what_exec_runs_is_not_saved_and_said_so() {
    with_criu!();
    lacks!("runc" < "never": "a look at what runs beside the first process");
    let container = counting(Bundle::new("criuexec"));
    container.exec_command(&["--detach"], &["sleep", "1000"]).finish().ok();
    let outcome = checkpoint(&container, &["--leave-running"]).ok();
    outcome.says("not of what CRIU saves");
    goes_on(&container);
}

#[test]
fn a_restored_container_has_all_the_namespaces_of_its_configuration() {
    with_criu!();
    lacks!("runc" < "never": "a look at what CRIU has made");
    let container = counting(Bundle::new("criuspace").without_namespace("uts").remove("/hostname"));
    checkpoint(&container, &[]).ok();
    let mut namespaces = container.bundle.config["linux"]["namespaces"].clone();
    namespaces.as_array_mut().expect("namespaces").push(json!({ "type": "uts" }));
    let container = replaced(container, "/linux/namespaces", namespaces);
    cannot_restore(&container).says("the host's uts namespace");
}

#[test]
fn a_network_by_path_is_given_again() {
    with_criu!();
    let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().expect("a network namespace");
    let holder = Holder(holder);
    let host = fs::read_link("/proc/self/ns/net").expect("a namespace");
    let network = PathBuf::from(format!("/proc/{}/ns/net", holder.0.id()));
    wait_until("it is there", seconds(10), || fs::read_link(&network).is_ok_and(|own| own != host));
    let bundle = Bundle::new("criunet").namespace("network", Some(&network));
    let container = counting(bundle);
    checkpoint(&container, &[]).ok();
    restore(&container, &[]);
    goes_on(&container);
    let own = fs::read_link(format!("/proc/{}/ns/net", container.pid())).expect("a namespace");
    assert_eq!(own, fs::read_link(&network).expect("a namespace"));
}

struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().expect("an end");
        self.0.wait().expect("a status");
    }
}

#[test]
fn hooks_that_set_up_namespaces_run_again() {
    with_criu!();
    let bundle = Bundle::new("criuhooks");
    let log = bundle.path().join("log");
    let hook = bundle.script("hook", &format!("cat >/dev/null; echo $1 >>{}", log.display()));
    let one = |name: &str| json!([{ "path": hook, "args": ["hook", name] }]);
    let bundle = bundle.set(
        "/hooks",
        json!({ "createRuntime": one("createRuntime"), "poststart": one("poststart"), "poststop": one("poststop") }),
    );
    let container = counting(bundle);
    fs::write(&log, "").expect("a log");
    checkpoint(&container, &[]).ok();
    fs::write(&log, "").expect("a log");
    restore(&container, &[]);
    lacks!("runc" < "never": "poststart hooks at restore");
    assert_eq!(read(&log), "createRuntime\npoststart");
}

#[test]
fn what_cannot_be_saved_or_made_again_is_refused() {
    privileged!();
    lacks!("crun" < "never": "CRIU in Debian's build", "runc" < "never": "these messages");
    let container = Bundle::new("criustate").sleeping().created();
    container.call("checkpoint", &[]).exits(1).says("Container cannot be checkpointed in created state");
    drop(container);
    let container = Container::new(Bundle::new("criunone").sleeping());
    let path = container.bundle.path();
    let mut command = container.runtime.command(["restore", "--detach", "--image-path"]);
    command.arg(path.join("images")).arg("--bundle").arg(path).arg(container.id());
    command.finish().exits(1).says("pent.json").says("images of other runtimes");
    container.leaves_nothing();
    let running = Bundle::new("criumissing").sleeping().started();
    let mut command = running.runtime.command(["checkpoint", "--image-path"]);
    command.arg(running.bundle.path().join("i")).arg(running.id()).env("PATH", "/nonexistent");
    command.finish().exits(1).says("cannot execute criu").says("Debian package criu");
    assert_eq!(running.status(), "running");
}
