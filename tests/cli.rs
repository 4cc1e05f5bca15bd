//! The built binary, without privileges: what is printed where, and the exit code.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use pent::cgroup::Cgroup;
use pent::state::{Dir, Process, Root, State};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs pent in `dir` with its own state directory there.
fn pent(dir: &Path, args: &[&str]) -> Said {
    let root = dir.join("root");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pent"));
    command.arg("--root").arg(root).args(args).current_dir(dir).stdin(Stdio::null());
    said(&mut command)
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().expect("not killed"), out: text(output.stdout), err: text(output.stderr) }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn fails(dir: &Path, args: &[&str], code: i32, message: &str) -> Said {
    let said = pent(dir, args);
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {}", said.err);
    assert_eq!(said.err.lines().next(), Some(format!("error: {message}").as_str()), "{args:?}");
    assert!(said.err.lines().skip(1).all(|line| line.starts_with("hint: ")), "{args:?}: {}", said.err);
    assert!(said.err.lines().count() <= 2);
    said
}

#[track_caller]
fn prints(dir: &Path, args: &[&str], out: &str) {
    let said = pent(dir, args);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, out, ""), "{args:?}");
}

#[test]
fn version() {
    let dir = dir();
    for args in [["--version"], ["-v"], ["version"]] {
        let said = pent(dir.path(), &args);
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!((said.code, lines.len()), (0, 3));
        assert_eq!(lines[0], format!("pent version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: ") && lines[1].len() > 8);
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn help_goes_to_stdout() {
    let dir = dir();
    for args in [&["-h"][..], &["help"], &[], &["create", "-h"], &["help", "exec"]] {
        let said = pent(dir.path(), args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
        assert!(said.out.contains("Usage: pent"), "{args:?}");
    }
    fails(dir.path(), &["help", "foo"], 1, "No help topic for 'foo'");
    fails(dir.path(), &["foo", "-h"], 1, "No help topic for 'foo'");
}

#[test]
fn refusals() {
    let dir = dir();
    let (missing, invalid) = ("container does not exist", "invalid container ID format: \"../x\"");
    for verb in ["state", "kill", "delete", "pause", "resume", "ps", "events", "update"] {
        fails(dir.path(), &[verb, "nope"], 1, missing);
        fails(dir.path(), &[verb, "../x"], 1, invalid);
    }
    fails(dir.path(), &["delete", "--force", "../x"], 1, invalid);
    assert!(pent(dir.path(), &["state", &"x".repeat(256)]).err.contains("hint: use at most 255 characters"));
    fails(dir.path(), &["-foo"], 1, "flag provided but not defined: -foo");
    fails(dir.path(), &["create", "--foo", "x"], 1, "flag provided but not defined: -foo");
    fails(dir.path(), &["exec", "--foo", "x"], 255, "flag provided but not defined: -foo");
    fails(dir.path(), &["state"], 1, "\"state\" requires exactly 1 argument(s)");
    fails(dir.path(), &["kill", "x", "FOO"], 1, "unknown signal \"FOO\"");
    prints(dir.path(), &["delete", "--force", "nope"], "");
    assert!(!is_there(&dir.path().join("root")), "nothing is made by asking");
}

#[test]
fn bytes_that_are_not_utf8_do_not_panic() {
    let dir = dir();
    let odd = OsStr::from_bytes(b"\xff-\xfe");
    for (before, code) in [(&[][..], 1), (&["state"], 1), (&["--log", "l", "--root"], 0), (&["kill", "x"], 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pent"));
        let said = said(command.args(before).arg(odd).current_dir(dir.path()));
        assert_eq!(said.code, code, "{before:?}: {}", said.err);
        assert!(!said.err.contains("panicked"), "{}", said.err);
    }
}

/// podman reads the whole file as one JSON object: one line, byte for byte.
#[test]
fn a_failure_is_one_json_line_and_the_same_text_on_stderr() {
    let dir = dir();
    let log = dir.path().join("log.json");
    for (times, args) in [(1, ["state", "nope"]), (2, ["foo", "-h"]), (3, ["kill", "nope"])] {
        let args = [&["--log", "log.json", "--log-format", "json"][..], &args].concat();
        let said = pent(dir.path(), &args);
        assert_eq!(said.code, 1);
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(text.lines().count(), times);
        let line = text.lines().last().unwrap();
        let entry: BTreeMap<String, String> = serde_json::from_str(line).unwrap();
        let (message, hint) = said.err.trim_end().split_once("\nhint: ").unwrap();
        assert_eq!(entry["msg"], format!("{message} (hint: {hint})"));
        assert_rfc3339(&entry["time"]);
        let msg = serde_json::to_string(&entry["msg"]).unwrap();
        assert_eq!(line, format!("{{\"level\":\"error\",\"msg\":{msg},\"time\":\"{}\"}}", entry["time"]));
        assert!(text.ends_with("}\n"));
    }
}

#[track_caller]
fn assert_rfc3339(time: &str) {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{time}");
}

#[test]
fn text_log_is_logrus_s() {
    let dir = dir();
    let said = pent(dir.path(), &["--log", "log", "delete", "nope"]);
    assert!(said.err.starts_with("container does not exist\nhint: "), "{}", said.err);
    let text = fs::read_to_string(dir.path().join("log")).unwrap();
    let (time, rest) = text.split_at(27);
    assert_rfc3339(time.strip_prefix("time=\"").unwrap().strip_suffix('"').unwrap());
    assert!(
        rest.starts_with(" level=error msg=\"container does not exist (hint: ") && rest.ends_with(")\"\n"),
        "{text}"
    );
}

#[test]
fn json_without_a_log_goes_to_stderr_once() {
    let dir = dir();
    let said = pent(dir.path(), &["--log-format", "json", "state", "nope"]);
    let entry: BTreeMap<String, String> = serde_json::from_str(&said.err).unwrap();
    assert!(entry["msg"].starts_with("container does not exist"));
}

#[test]
fn a_log_that_cannot_be_written_hides_nothing() {
    let dir = dir();
    let said = pent(dir.path(), &["--log", "no/such/log", "state", "nope"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cannot write log ") && said.err.contains("container does not exist\n"), "{}", said.err);
}

#[test]
fn success_leaves_no_log() {
    let dir = dir();
    prints(dir.path(), &["--log", "log", "list", "-q"], "");
    assert!(!is_there(&dir.path().join("log")));
}

/// A container without a cgroup whose first process is a shell that waits; killed on drop.
struct Container {
    dir: TempDir,
    child: Child,
}

impl Container {
    fn new(id: &str, init: bool) -> Self {
        let dir = dir();
        let name = if init { pent::state::INIT_COMM.to_str().expect("ASCII") } else { "program" };
        let script = format!("printf %s '{name}' > /proc/$$/comm; echo; read x");
        let mut command = Command::new("sh");
        let mut child = command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let root = Root::find(Some(&dir.path().join("root"))).unwrap();
        let state_dir = Dir::create(&root, id).unwrap();
        let state = State {
            oci_version: "1.3.0".into(),
            config_version: "1.0.2".into(),
            id: id.into(),
            init: Process::identify(i32::try_from(child.id()).unwrap()).unwrap(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-23T20:05:09.5Z".into(),
            annotations: BTreeMap::new(),
            owner: 0,
            cgroup: Cgroup::default(),
            namespaces: serde_json::from_str(r#"[{"type":"pid"}]"#).unwrap(),
            terminal: false,
            poststop: false,
            rdt: false,
            hardened: false,
            own_init: false,
            spelled: false,
            profiles: Vec::new(),
            landlock: None,
        };
        state_dir.save_config(b"{}").unwrap();
        if init {
            std::os::unix::net::UnixListener::bind(state_dir.path().join("start")).unwrap();
        }
        state_dir.save(&state).unwrap();
        Self { dir, child }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn status(&self, id: &str) -> String {
        let said = pent(self.path(), &["state", id]);
        let state: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_running_container() {
    let mut running = Container::new("c", false);
    let pid = running.child.id();
    let path = running.path();
    prints(
        path,
        &["state", "c"],
        &format!(
            "{{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"c\",\n  \"pid\": {pid},\n  \"status\": \"running\",\n  \
             \"bundle\": \"/b\",\n  \"rootfs\": \"/b/rootfs\",\n  \"created\": \"2026-11-23T20:05:09.5Z\",\n  \
             \"owner\": \"root\"\n}}\n"
        ),
    );
    prints(path, &["list", "-q"], "c\n");
    let json = format!(
        "[{{\"ociVersion\":\"1.3.0\",\"id\":\"c\",\"pid\":{pid},\"status\":\"running\",\"bundle\":\"/b\",\
         \"rootfs\":\"/b/rootfs\",\"created\":\"2026-11-23T20:05:09.5Z\",\"owner\":\"root\"}}]\n"
    );
    prints(path, &["list", "--format", "json"], &json);
    fails(path, &["resume", "c"], 1, "container not paused");
    fails(path, &["delete", "c"], 1, "cannot delete container c that is not stopped: running");
    prints(path, &["kill", "c", "0"], "");
    prints(path, &["kill", "c", "TERM"], "");
    running.child.wait().unwrap();
    let path = running.path();
    assert_eq!(running.status("c"), "stopped");
    fails(path, &["kill", "c", "KILL"], 1, "container not running");
    fails(path, &["pause", "c"], 1, "container not running");
    fails(path, &["update", "c", "--memory", "10M"], 1, "container not running");
    fails(path, &["events", "--stats", "c"], 1, "container with id c is not running");
    prints(path, &["delete", "c"], "");
    prints(path, &["list", "-f", "json"], "[]\n");
    fails(path, &["delete", "c"], 1, "container does not exist");
}

#[test]
fn delete_kills_a_created_container_and_force_a_running_one() {
    let created = Container::new("c", true);
    assert_eq!(created.status("c"), "created");
    prints(created.path(), &["delete", "c"], "");
    fails(created.path(), &["state", "c"], 1, "container does not exist");
    let running = Container::new("c", false);
    prints(running.path(), &["delete", "--force", "c"], "");
    fails(running.path(), &["state", "c"], 1, "container does not exist");
    for mut container in [created, running] {
        assert!(!container.child.wait().unwrap().success());
    }
}

#[test]
fn what_an_interrupted_create_left() {
    let dir = dir();
    let root = Root::find(Some(&dir.path().join("root"))).unwrap();
    let leave = || Dir::create(&root, "c").unwrap().save_config(b"{}").unwrap();
    let hint = |said: Said| assert!(said.err.contains("pent delete --force c"), "{}", said.err);
    leave();
    hint(fails(dir.path(), &["state", "c"], 1, "container does not exist"));
    hint(fails(dir.path(), &["kill", "c"], 1, "container does not exist"));
    let said = pent(dir.path(), &["list"]);
    assert!(said.code == 0 && said.out.lines().count() == 1);
    assert!(said.err.starts_with("warning: container c was not completely created"), "{}", said.err);
    let said = pent(dir.path(), &["--log", "log", "--log-format", "json", "list"]);
    assert_eq!(said.err, "");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.starts_with("{\"level\":\"warning\",\"msg\":\"container c was not"), "{log}");
    // Wiped either way; an error only without --force.
    fails(dir.path(), &["delete", "c"], 1, "container does not exist");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    leave();
    prints(dir.path(), &["delete", "--force", "c"], "");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    // Half a state is no state.
    leave();
    fs::write(root.path().join("c/state.json"), "{\"id\":\"c\"").unwrap();
    assert_eq!(pent(dir.path(), &["state", "c"]).code, 1);
    assert_eq!(pent(dir.path(), &["delete", "c"]).code, 1);
    prints(dir.path(), &["delete", "--force", "c"], "");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn while_it_is_created() {
    let dir = dir();
    let root = Root::find(Some(&dir.path().join("root"))).unwrap();
    let creating = Dir::create(&root, "c").unwrap();
    let said = pent(dir.path(), &["state", "c"]);
    let state: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&state["status"], &state["pid"]), (&"creating".into(), &0.into()));
    fails(dir.path(), &["kill", "c"], 1, "container is being created");
    fails(dir.path(), &["delete", "c"], 1, "cannot delete container c that is not stopped: creating");
    prints(dir.path(), &["list", "-q"], "");
    drop(creating);
}

#[test]
fn spec_writes_once() {
    let dir = dir();
    prints(dir.path(), &["spec"], "");
    let config: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    fails(dir.path(), &["spec"], 1, "config.json exists");
    fs::create_dir(dir.path().join("b")).unwrap();
    prints(dir.path(), &["spec", "--rootless", "-bundle", "b"], "");
    let text = fs::read_to_string(dir.path().join("b/config.json")).unwrap();
    assert!(text.contains(&format!("\"hostID\": {}", nix::unistd::geteuid())), "{text}");
    let said = pent(dir.path(), &["spec", "-b", "none"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.starts_with("error: cannot create none/config.json: No such file or directory"), "{}", said.err);
}

#[test]
fn poststop_hooks_run_and_may_fail() {
    let mut container = Container::new("c", false);
    let path = container.path().to_owned();
    let marker = path.join("marker");
    let config = serde_json::json!({"hooks": {"poststop": [
        {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]},
        {"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", marker.display())]},
    ]}});
    let state_dir = path.join("root/c");
    fs::write(state_dir.join("config.json"), config.to_string()).unwrap();
    let state = fs::read_to_string(state_dir.join("state.json")).unwrap();
    let bundle = path.to_str().unwrap();
    let state = state.replace("\"poststop\":false", "\"poststop\":true").replace("\"/b\"", &format!("{bundle:?}"));
    fs::write(state_dir.join("state.json"), state).unwrap();
    container.child.kill().unwrap();
    container.child.wait().unwrap();
    let said = pent(&path, &["delete", "c"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert_eq!(said.err, "warning: error running poststop hook #0: exit status 3\n");
    let seen: serde_json::Value = serde_json::from_slice(&fs::read(marker).unwrap()).unwrap();
    assert_eq!((&seen["id"], &seen["status"], &seen["pid"]), (&"c".into(), &"stopped".into(), &0.into()));
    assert!(!is_there(&state_dir));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let running = Container::new("c", false);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pent"));
    command.arg("--root").arg(running.path().join("root")).args(["list"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
}
