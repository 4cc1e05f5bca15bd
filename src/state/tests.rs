#![forbid(unsafe_code)]

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A root that does not exist yet, and what keeps its parent.
fn root() -> (TempDir, Root) {
    let parent = tempfile::tempdir().unwrap();
    let root = Root::find(Some(&parent.path().join("a/b"))).unwrap();
    (parent, root)
}

fn state(id: &str, init: Process) -> State {
    State {
        oci_version: "1.3.0".into(),
        config_version: "1.0.2".into(),
        id: id.into(),
        init,
        bundle: "/bundle".into(),
        rootfs: "/bundle/rootfs".into(),
        created: "2026-11-23T20:05:09.504989602Z".into(),
        annotations: BTreeMap::from([("k".into(), "v".into())]),
        owner: 0,
        cgroup: Cgroup::default(),
        namespaces: Vec::new(),
        terminal: false,
        poststop: false,
        rdt: false,
        hardened: false,
        own_init: false,
        spelled: false,
        profiles: Vec::new(),
        landlock: None,
    }
}

const NOBODY: Process = Process { pid: i32::MAX, start_time: 1 };

/// A shell that waits, under the name given; killed on drop.
struct Waiting(Child);

impl Waiting {
    fn named(name: &str) -> Self {
        let script = format!("printf %s '{name}' > /proc/$$/comm; echo; read x");
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }

    fn process(&self) -> Process {
        Process::identify(i32::try_from(self.0.id()).unwrap()).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn ids() {
    for id in ["a", "0", "A_b+c.d-e", "...", "-", "._", &"x".repeat(255)] {
        check_id(id).unwrap();
    }
    for id in ["", ".", "..", "a/b", "../x", "a b", "a\n", "ä", "a\0", "a:b", "~", "$x", &"x".repeat(256)] {
        assert!(matches!(check_id(id), Err(Error::InvalidId { .. })), "{id:?}");
    }
    assert_eq!(check_id("../x").unwrap_err().to_string(), "invalid container ID format: \"../x\"");
}

#[test]
fn a_directory_from_create_to_remove() {
    let (_parent, root) = root();
    assert!(Dir::list(&root).unwrap().is_empty());
    assert!(matches!(Dir::open(&root, "c"), Err(Error::Missing { .. })));
    assert!(matches!(Dir::open(&root, "../c"), Err(Error::InvalidId { .. })));
    assert!(matches!(Dir::create(&root, ".."), Err(Error::InvalidId { .. })));

    let dir = Dir::create(&root, "c").unwrap();
    for path in [root.path(), root.path().parent().unwrap(), dir.path()] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700, "{}", path.display());
    }
    assert_eq!(Dir::create(&root, "c").unwrap_err().to_string(), "container with given ID already exists");
    assert!(dir.load().unwrap().is_none());
    assert!(matches!(dir.load_config(), Err(Error::Missing { .. })));
    dir.save_config(b"{ }\n").unwrap();
    dir.save(&state("c", NOBODY)).unwrap();
    assert_eq!(dir.load_config().unwrap(), b"{ }\n");
    let again = Dir::open(&root, "c").unwrap();
    let loaded = again.load().unwrap().unwrap();
    assert_eq!(serde_json::to_value(&loaded).unwrap(), serde_json::to_value(state("c", NOBODY)).unwrap());
    for name in ["state.json", "config.json"] {
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }

    fs::create_dir(root.path().join("not an id")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    Dir::create(&root, "b").unwrap();
    assert_eq!(Dir::list(&root).unwrap(), ["b", "c"]);
    // Whatever an interrupted command may have left goes too.
    fs::write(dir.path().join(".state.json"), "{").unwrap();
    fs::write(dir.path().join("other"), "").unwrap();
    dir.remove().unwrap();
    assert_eq!(Dir::list(&root).unwrap(), ["b"]);
    assert!(matches!(Dir::open(&root, "c"), Err(Error::Missing { .. })));
}

#[test]
fn one_command_at_a_time() {
    let (_parent, root) = root();
    let creator = Dir::create(&root, "c").unwrap();
    assert!(!creator.is_locked_by_another().unwrap());
    let mut other = Dir::open(&root, "c").unwrap();
    assert!(other.is_locked_by_another().unwrap());
    let waiter = std::thread::spawn(move || other.lock().map(|()| other));
    std::thread::sleep(Duration::from_millis(30));
    assert!(!waiter.is_finished());
    drop(creator);
    let locked = waiter.join().unwrap().unwrap();
    // One that waited while the container was deleted finds nothing.
    let mut late = Dir::open(&root, "c").unwrap();
    let waiter = std::thread::spawn(move || late.lock());
    std::thread::sleep(Duration::from_millis(30));
    locked.remove().unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(Error::Missing { .. })));
}

#[test]
fn a_broken_state_is_named() {
    let (_parent, root) = root();
    let dir = Dir::create(&root, "c").unwrap();
    dir.save_config(b"{}").unwrap();
    fs::write(dir.path().join("state.json"), "{\"id\":").unwrap();
    let error = dir.load().unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
    assert_eq!(error.hint().unwrap(), "`pent delete --force c` removes what is left");
    fs::write(dir.path().join("intent.json"), "[{\"mount").unwrap();
    assert!(dir.load_intent().unwrap().is_none());
}

#[test]
fn status_comes_from_the_process() {
    let (_parent, root) = root();
    let dir = Dir::create(&root, "c").unwrap();
    let status = |init| state("c", init).status(&dir).unwrap();
    assert_eq!(status(NOBODY), Status::Stopped);

    let init = Waiting::named("pent:[init]");
    let process = init.process();
    assert_eq!(status(process), Status::Running, "no gate");
    let gate = std::os::unix::net::UnixListener::bind(dir.path().join(Dir::gate_name())).unwrap();
    assert_eq!(status(process), Status::Created);
    assert_eq!(status(Process { start_time: process.start_time + 1, ..process }), Status::Stopped, "another process");
    let setup = Waiting::named("pent:[setup]");
    assert_eq!(status(setup.process()), Status::Creating);
    drop(gate);

    let other = Waiting::named("sleep");
    assert_eq!(status(other.process()), Status::Running, "a gate, but the program runs");
    dir.remove_gate().unwrap();
    dir.remove_gate().unwrap();
    assert_eq!(status(process), Status::Running);
    assert_eq!(status(setup.process()), Status::Running, "a name is not enough");

    let pidfd = process.signal(libc::SIGKILL).unwrap();
    assert!(pidfd.wait_end(Duration::from_secs(10)).unwrap());
    assert_eq!(status(process), Status::Stopped, "a zombie");
}

#[test]
fn reports_are_what_the_specification_says() {
    let state = state("c", Process { pid: 42, start_time: 1 });
    assert_eq!(
        serde_json::to_string(&state.report(Status::Running)).unwrap(),
        r#"{"ociVersion":"1.3.0","id":"c","pid":42,"status":"running","bundle":"/bundle","rootfs":"/bundle/rootfs","created":"2026-11-23T20:05:09.504989602Z","annotations":{"k":"v"},"owner":"root"}"#
    );
    assert_eq!(state.report(Status::Stopped).pid, 0);
}

#[test]
fn pid_namespaces() {
    let with = |namespaces: &str| State { namespaces: serde_json::from_str(namespaces).unwrap(), ..state("c", NOBODY) };
    assert!(with(r#"[{"type":"mount"},{"type":"pid"}]"#).has_own_pid_namespace());
    assert!(with(r#"[{"type":"pid","path":""}]"#).has_own_pid_namespace());
    assert!(!with(r#"[{"type":"pid","path":"/proc/1/ns/pid"}]"#).has_own_pid_namespace());
    assert!(!with("[]").has_own_pid_namespace());
}

#[test]
fn owners_by_name() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::/:\nme:x:1000:1000:Me:/home/me:/bin/sh\n";
    assert_eq!(find_name(passwd, 1000), Some("me"));
    assert_eq!(find_name(passwd, 7), None);
    assert_eq!(find_name(passwd, 8), None);
    assert_eq!(owner_name(u32::MAX - 7), "#4294967288");
}

#[test]
fn an_unreadable_directory_is_not_a_missing_one() {
    let (_parent, root) = root();
    let dir = Dir::create(&root, "c").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
    match Dir::open(&root, "c") {
        Ok(_) => assert!(nix::unistd::geteuid().is_root()),
        Err(error) => assert!(error.to_string().contains("Permission denied"), "{error}"),
    }
    fs::write(root.path().join("f"), "").unwrap();
    assert!(matches!(Dir::open(&root, "f"), Err(Error::Io { .. })));
    std::os::unix::fs::symlink(dir.path(), root.path().join("l")).unwrap();
    assert!(matches!(Dir::open(&root, "l"), Err(Error::Io { .. })));
}
