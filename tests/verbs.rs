//! The verbs that act through cgroups, on real cgroups and ordinary processes. Needs root.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use pent::cgroup::{self, Cgroup, Driver, Input, Layout, OwnCgroup};
use pent::state::{Dir, Process, Root, State};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Shells in a cgroup that count as a container; everything is gone on drop.
struct Container {
    dir: TempDir,
    processes: Vec<Child>,
    cgroup: Cgroup,
}

impl Container {
    /// `None`, with a word why, where cgroups cannot be made.
    fn new(name: &str, count: usize, namespaces: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skip: making cgroups needs root");
            return None;
        }
        let own = OwnCgroup::probe().unwrap();
        let layout = Layout::probe(&own, true).unwrap();
        let path = format!("/pent-test-cli/{name}-{}", std::process::id());
        let plan = cgroup::compile(&Input {
            layout: &layout,
            own: &own,
            driver: Driver::Cgroupfs,
            cgroups_path: Some(&path),
            id: name,
            resources: None,
            default_devices: cgroup::DEFAULT_RULES,
            rootless: false,
            oci_version: "1.3.0",
            owner: None,
            user_manager: None,
            annotations: None,
        })
        .unwrap();
        let cgroup = match Cgroup::create(&plan) {
            Ok(cgroup) => cgroup,
            Err(error) => {
                println!("skip: {error}");
                return None;
            }
        };
        cgroup.apply(&plan).unwrap();
        let processes: Vec<Child> = (0..count).map(|_| waiting()).collect();
        for process in &processes {
            cgroup.add(process.id()).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let root = Root::find(Some(&dir.path().join("root"))).unwrap();
        let state = State {
            oci_version: "1.3.0".into(),
            config_version: "1.0.2".into(),
            id: "c".into(),
            init: Process::identify(i32::try_from(processes[0].id()).unwrap()).unwrap(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-23T20:05:09.5Z".into(),
            annotations: BTreeMap::new(),
            owner: 0,
            cgroup: serde_json::from_value(serde_json::to_value(&cgroup).unwrap()).unwrap(),
            namespaces: serde_json::from_str(namespaces).unwrap(),
            terminal: false,
            poststop: false,
            rdt: false,
            hardened: false,
            own_init: false,
            spelled: false,
            profiles: Vec::new(),
            landlock: None,
        };
        let state_dir = Dir::create(&root, "c").unwrap();
        state_dir.save_intent(&cgroup).unwrap();
        state_dir.save(&state).unwrap();
        Some(Self { dir, processes, cgroup })
    }

    fn pent(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pent"));
        command.arg("--root").arg(self.dir.path().join("root")).args(args).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.pent(args).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], message: &str) {
        let output = self.pent(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let message = format!("error: {message}");
        assert_eq!((output.status.code(), said.lines().next()), (Some(1), Some(message.as_str())), "{args:?}");
    }

    fn status(&self) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.says(&["state", "c"])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = serde_json::from_str(&self.says(&["ps", "--format", "json", "c"])).unwrap();
        pids.sort_unstable();
        pids
    }

    fn all(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.processes.iter().map(Child::id).collect();
        pids.sort_unstable();
        pids
    }

    fn wait_all(&mut self) {
        for process in &mut self.processes {
            process.wait().unwrap();
        }
    }

    /// The file with the memory limit; `None`, with a word why, where memory is not limited.
    fn memory_limit(&self) -> Option<PathBuf> {
        let place = self.cgroup.place("memory")?;
        let files = ["memory.max", "memory.limit_in_bytes"].map(|file| place.directory().join(file));
        let found = files.into_iter().find(|file| is_there(file));
        if found.is_none() {
            println!("skip: no memory controller");
        }
        found
    }

    fn no_cgroup_is_left(&self) {
        for place in self.cgroup.places() {
            assert!(!is_there(&place.directory()), "{}", place.directory().display());
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.cgroup.kill_all(libc::SIGKILL).unwrap();
        self.wait_all();
        self.cgroup.delete().unwrap();
        for place in self.cgroup.places() {
            // Another test may still be below it.
            drop(std::fs::remove_dir(place.directory().parent().unwrap()));
        }
    }
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// A shell that says `x` every time it is told to.
fn waiting() -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "while read line; do echo x; done"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Whether the shell answers within `patience`.
fn answers(child: &mut Child, patience: Duration) -> bool {
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut fds = [nix::poll::PollFd::new(
        std::os::fd::AsFd::as_fd(child.stdout.as_ref().unwrap()),
        nix::poll::PollFlags::POLLIN,
    )];
    let ready = nix::poll::poll(&mut fds, nix::poll::PollTimeout::try_from(patience).unwrap()).unwrap() > 0;
    if ready {
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    }
    ready
}

const OWN: &str = r#"[{"type":"pid"}]"#;
const SHARED: &str = r#"[{"type":"mount"}]"#;

#[test]
fn pause_stops_and_resume_continues() {
    let Some(mut container) = Container::new("pause", 1, OWN) else { return };
    assert!(answers(&mut container.processes[0], Duration::from_secs(10)));
    container.fails(&["resume", "c"], "container not paused");
    container.says(&["pause", "c"]);
    assert_eq!(container.status(), "paused");
    container.fails(&["pause", "c"], "container not running");
    container.fails(&["delete", "c"], "cannot delete container c that is not stopped: paused");
    assert!(!answers(&mut container.processes[0], Duration::from_millis(100)));
    container.says(&["resume", "c"]);
    assert_eq!(container.status(), "running");
    container.processes[0].stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    // A paused container can be killed, and deleted by force.
    container.says(&["pause", "c"]);
    container.says(&["kill", "c", "KILL"]);
    container.wait_all();
    assert_eq!(container.status(), "stopped");
    container.says(&["delete", "c"]);
    container.no_cgroup_is_left();
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    let Some(container) = Container::new("force", 2, SHARED) else { return };
    container.says(&["pause", "c"]);
    container.says(&["delete", "--force", "c"]);
    container.no_cgroup_is_left();
    container.fails(&["state", "c"], "container does not exist");
}

#[test]
fn kill_reaches_whom_it_should() {
    let Some(mut container) = Container::new("kill", 3, SHARED) else { return };
    assert_eq!(container.pids(), container.all());
    container.says(&["kill", "c", "0"]);
    // The first process alone.
    container.says(&["kill", "c", "TERM"]);
    container.processes[0].wait().unwrap();
    assert_eq!(container.status(), "stopped");
    assert_eq!(
        container.pids(),
        container.all().into_iter().filter(|p| *p != container.processes[0].id()).collect::<Vec<_>>()
    );
    container.fails(&["kill", "c", "TERM"], "container not running");
    // The rest, although the first is gone; by a real-time signal one at a time, which the shell does not survive.
    container.says(&["kill", "--all", "c", "RTMIN"]);
    container.wait_all();
    container.says(&["kill", "--all", "c", "9"]);
    container.fails(&["kill", "c", "KILL"], "container not running");
    container.says(&["delete", "c"]);
    container.no_cgroup_is_left();
}

#[test]
fn sigkill_in_a_shared_pid_namespace_is_for_all() {
    let Some(mut container) = Container::new("killall", 3, SHARED) else { return };
    container.processes[0].kill().unwrap();
    container.processes[0].wait().unwrap();
    container.says(&["kill", "c", "KILL"]);
    container.wait_all();
    assert!(container.pids().is_empty());
}

#[test]
fn delete_takes_what_shares_the_cgroup() {
    let Some(mut container) = Container::new("delete", 2, SHARED) else { return };
    container.processes[0].kill().unwrap();
    container.processes[0].wait().unwrap();
    container.says(&["delete", "c"]);
    container.no_cgroup_is_left();
    assert!(!container.processes[1].wait().unwrap().success());
}

#[test]
fn what_an_interrupted_create_left_goes_with_its_cgroup() {
    let Some(container) = Container::new("wipe", 1, OWN) else { return };
    std::fs::remove_file(container.dir.path().join("root/c/state.json")).unwrap();
    container.says(&["delete", "--force", "c"]);
    container.no_cgroup_is_left();
    assert!(!is_there(&container.dir.path().join("root/c")));
}

#[test]
fn ps_prints_the_lines_of_ps() {
    let Some(container) = Container::new("ps", 2, OWN) else { return };
    if Command::new("ps").output().is_err() {
        println!("skip: there is no ps(1)");
        return;
    }
    for args in [&["ps", "c"][..], &["ps", "c", "-eo", "comm,pid"]] {
        let text = container.says(args);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.lines().next().unwrap().contains("PID"));
        for pid in container.all() {
            assert!(
                text.lines().any(|line| line.split_ascii_whitespace().any(|word| word == pid.to_string())),
                "{text}"
            );
        }
    }
    container.fails(&["ps", "c", "-eo", "comm"], "couldn't find PID field in ps output");
}

#[test]
fn update_changes_limits() {
    let Some(container) = Container::new("update", 1, OWN) else { return };
    let Some(memory) = container.memory_limit() else { return };
    let limit = || std::fs::read_to_string(&memory).unwrap().trim().to_owned();
    container.says(&["update", "c", "--memory", "64M"]);
    assert_eq!(limit(), (64 << 20).to_string());
    let mut update = container.pent(&["update", "--resources=-", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    update.stdin.take().unwrap().write_all(br#"{"memory":{"limit":33554432}}"#).unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!(limit(), "33554432");
    container.says(&["update", "--memory=-1", "c"]);
    assert!(limit() == "max" || limit().len() > 15, "{}", limit());
    container.fails(&["update", "--l3-cache-schema", "L3:0=f", "c"], "Intel RDT/CAT: l3 cache schema is not enabled");
    let mut update = container.pent(&["update", "-r", "-", "c"]);
    let mut update = update.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    update.stdin.take().unwrap().write_all(br#"{"memory":{"limit":"much"}}"#).unwrap();
    let said = update.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("memory.limit"), "{said:?}");
}

fn event(reader: &mut impl BufRead) -> serde_json::Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn events_come_by_interval_until_told_to_stop() {
    let Some(container) = Container::new("events", 1, OWN) else { return };
    let once: serde_json::Value = serde_json::from_str(&container.says(&["events", "--stats", "c"])).unwrap();
    assert_eq!((&once["type"], &once["id"]), (&"stats".into(), &"c".into()));
    let mut events = container.pent(&["events", "--interval=50ms", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap());
    let started = Instant::now();
    for _ in 0..3 {
        let event = event(&mut lines);
        assert_eq!(event["type"], "stats");
        assert!(event["data"]["memory"].is_object());
    }
    assert!(started.elapsed() >= Duration::from_millis(140));
    interrupt(&events);
    assert!(events.wait().unwrap().success());
    // Without a change, the reader blocks until the end of the container ends the stream.
    let mut events = container.pent(&["events", "--interval=1h", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(events.try_wait().unwrap().is_none());
    container.says(&["kill", "c", "KILL"]);
    assert!(events.wait().unwrap().success());
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

#[test]
fn events_tell_that_memory_ran_out() {
    let Some(container) = Container::new("oom", 1, OWN) else { return };
    if container.memory_limit().is_none() {
        return;
    }
    container.says(&["update", "c", "--memory", "16M", "--memory-swap", "16M"]);
    let mut events = container.pent(&["events", "--interval=1h", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    // A process of the container that asks for more than there is; the killer may take either of the two.
    let mut eater =
        Command::new("sh").args(["-c", "read x; exec tail /dev/zero"]).stdin(Stdio::piped()).spawn().unwrap();
    container.cgroup.add(eater.id()).unwrap();
    eater.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap());
    assert_eq!(event(&mut lines), serde_json::json!({"type": "oom", "id": "c"}));
    interrupt(&events);
    assert!(events.wait().unwrap().success());
    eater.wait().unwrap();
}

#[test]
fn the_root_is_where_it_was_asked_for() {
    let Some(container) = Container::new("root", 1, OWN) else { return };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pent"));
    let relative = command.args(["--root", "root", "list", "-q"]).current_dir(container.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&relative.stdout), "c\n");
    assert!(is_there(&container.dir.path().join("root/c/state.json")));
}
