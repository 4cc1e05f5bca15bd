//! The calls that engines make, replayed: containerd's shim (and with it Docker and nerdctl), conmon as Podman and as CRI-O use it.
//! The arguments are theirs, letter by letter and in their order.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{
    Bundle, Container, Finish as _, Outcome, Runtime, lacks, privileged, program, read, seconds, skip, wait_until,
};

/// How an engine calls: what comes before the verb, in which directory, with which environment.
struct Engine<'a> {
    global: Vec<String>,
    directory: &'a Path,
    environment: &'a [(&'a str, &'a str)],
}

impl Engine<'_> {
    /// `RUNTIME GLOBAL… ARGS…`, killed when the caller ends, as the shim and conmon see to.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program()).args(&self.global).args(args);
        command.env_clear().envs(self.environment.iter().copied()).current_dir(self.directory).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn call(&self, args: &[&str]) -> Outcome {
        self.command(args).finish()
    }

    /// A call that must succeed without a word: stderr is the container's, or goes into the engine's log.
    #[track_caller]
    fn quiet(&self, args: &[&str]) {
        let outcome = self.call(args).ok();
        assert_eq!((outcome.stdout(), outcome.stderr()), (String::new(), String::new()), "{outcome:?}");
    }
}

/// The pid that a pid file holds: digits, and nothing else.
#[track_caller]
fn pid_in(file: &Path) -> i32 {
    let text = fs::read_to_string(file).expect("the pid file");
    assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
    text.parse().expect("a pid")
}

/// What the shim writes for `exec --process`.
fn process_file(container: &Container, args: &[&str]) -> PathBuf {
    let process = json!({
        "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "terminal": false, "noNewPrivileges": true,
        "env": ["PATH=/bin:/usr/bin"],
        "capabilities": { "bounding": [], "effective": [], "permitted": [] },
    });
    container.bundle.file("process.json", &process.to_string())
}

const MAIN: &str = "echo started; trap 'echo asked; exit 7' TERM; while :; do sleep 0.1; done";

/// containerd's runc shim; Docker's calls are the same with a 64-digit id and its own root.
#[test]
fn the_calls_of_containerds_shim() {
    privileged!();
    lacks!("crun" < "never": "the update on standard input and ps in JSON, as the shim asks for them");
    let container = Container::new(Bundle::new("shim").shell(MAIN));
    let (bundle, id) = (container.bundle.path(), container.id());
    let log = bundle.join("log.json");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let root = text(&container.runtime.root);
    let engine = Engine {
        global: ["--root", &root, "--log", &text(&log), "--log-format", "json"].map(str::to_owned).into(),
        directory: bundle,
        environment: &[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")],
    };
    let pid_file = container.pid_file();
    let create = ["create", "--bundle", &text(bundle), "--pid-file", &text(&pid_file), id];
    container.keep(engine.call(&create)).ok();
    let pid = pid_in(&pid_file);
    // The shim reads it once, right after create, and watches it from then on.
    let cgroup = read(format!("/proc/{pid}/cgroup"));
    engine.quiet(&["start", id]);
    container.wait_output("started");
    assert_eq!(read(format!("/proc/{pid}/cgroup")), cgroup);

    let file = process_file(&container, &["sh", "-c", "sleep 1000"]);
    let exec_pid = bundle.join("exec.pid");
    engine.quiet(&["exec", "--process", &text(&file), "--detach", "--pid-file", &text(&exec_pid), id]);
    let both = [i64::from(pid), i64::from(pid_in(&exec_pid))];
    let mut listed: Vec<i64> = Vec::new();
    wait_until("the shell's own processes are counted", seconds(5), || {
        listed = serde_json::from_str(&engine.call(&["ps", "--format", "json", id]).ok().stdout()).expect("numbers");
        both.iter().all(|pid| listed.contains(pid))
    });
    let mut update = engine.command(&["update", "--resources=-", id]);
    update.finish_with(&json!({ "pids": { "limit": 77 } }).to_string()).ok().prints("");
    assert_eq!(read(container.cgroup_file("pids", "pids.max")), "77");
    engine.quiet(&["pause", id]);
    assert_eq!(engine.call(&["state", id]).ok().json()["status"], "paused");
    engine.quiet(&["resume", id]);
    let stats = engine.call(&["events", "--stats", id]).ok().json();
    assert_eq!(stats["type"], "stats", "{stats}");

    engine.call(&["delete", id]).refused().says(&format!("cannot delete container {id} that is not stopped: running"));
    let last: Value = serde_json::from_str(read(&log).lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "error", "{last}");
    engine.quiet(&["kill", id, "15"]);
    assert_eq!(container.wait_exit(), 7);
    assert!(container.stdout().ends_with("asked\n"), "{}", container.stdout());
    engine.quiet(&["kill", "--all", id, "9"]);
    engine.quiet(&["delete", id]);
    engine.call(&["delete", id]).refused().says("container does not exist");
    engine.quiet(&["delete", "--force", id]);
    container.leaves_nothing();
}

/// conmon gives the runtime its own standard streams; Podman's options come first, then conmon's.
fn conmon(container: &Container, global: Vec<String>, exec_options: &[&str]) {
    let (bundle, id) = (container.bundle.path(), container.id());
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let engine = Engine { global, directory: Path::new("/"), environment: &[("XDG_RUNTIME_DIR", "/run")] };
    let pid_file = container.pid_file();
    container.keep(engine.call(&["create", "--bundle", &text(bundle), "--pid-file", &text(&pid_file), id])).ok();
    let pid = pid_in(&pid_file);
    let state = engine.call(&["state", id]).ok().json();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(pid)), "{state}");
    engine.quiet(&["start", id]);
    container.wait_output("started");

    let file = process_file(container, &["sh", "-c", "echo from exec; exit 3"]);
    let exec_pid = bundle.join("exec.pid");
    let options = ["exec", "--pid-file", &text(&exec_pid), "--process", &text(&file)].map(str::to_owned);
    let options: Vec<&str> =
        options.iter().map(String::as_str).chain(exec_options.iter().copied()).chain([id]).collect();
    let exec = engine.call(&options);
    if exec_options.is_empty() {
        exec.exits(3).prints("from exec");
    } else {
        wait_until("the exec has printed", seconds(10), || exec.stdout() == "from exec\n");
        exec.ok();
    }
    pid_in(&exec_pid);

    let missing = process_file(container, &["not-there"]);
    let missing =
        engine.call(&["exec", "-d", "--pid-file", &text(&bundle.join("no.pid")), "--process", &text(&missing), id]);
    assert!(missing.code() != 0 && !bundle.join("no.pid").exists(), "{missing:?}");
    missing.says("executable file not found in $PATH");

    engine.quiet(&["kill", id, "15"]);
    assert_eq!(container.wait_exit(), 7);
    let stopped = engine.call(&["state", id]).ok().json();
    assert_eq!((&stopped["status"], &stopped["pid"]), (&json!("stopped"), &json!(0)), "{stopped}");
    engine.quiet(&["delete", "--force", id]);
    container.leaves_nothing();
}

#[test]
fn the_calls_of_podman_through_conmon() {
    privileged!();
    // Its state has the pid of the stopped process.
    lacks!("crun" < "1.9": "pid 0 of a stopped container");
    let container = Container::new(Bundle::new("podman").shell(MAIN));
    let log = container.bundle.path().join("oci-log").to_string_lossy().into_owned();
    let root = container.runtime.root.to_string_lossy().into_owned();
    conmon(&container, vec!["--log-format=json".into(), "--log".into(), log.clone(), "--root".into(), root], &["-d"]);
    // Podman reads the whole file as one object when a call has failed, and would show an old failure for a new one.
    let lines = read(&log);
    assert_eq!(lines.lines().count(), 1, "only the failed exec: {lines}");
    assert!(lines.contains("\"level\":\"error\""), "{lines}");
}

#[test]
fn the_calls_of_crio_through_conmon() {
    privileged!();
    lacks!("crun" < "1.9": "pid 0 of a stopped container");
    let container = Container::new(Bundle::new("crio").shell(MAIN));
    let root = format!("--root={}", container.runtime.root.display());
    conmon(&container, vec![root], &[]);
}

/// What engines ask before they use a runtime at all: bare, and in an empty environment.
#[test]
fn questions_that_engines_ask_first() {
    privileged!();
    lacks!("crun" < "1.8.2": "features", "runc" < "1.1.0": "features");
    let engine = Engine { global: Vec::new(), directory: Path::new("/"), environment: &[] };
    let features = engine.call(&["features"]).ok();
    assert_eq!(features.stderr(), "");
    let features = features.json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let version = engine.call(&["--version"]).ok().stdout();
    let words: Vec<&str> = version.lines().next().unwrap_or_default().split(' ').collect();
    assert!(words.len() == 3 && words[1] == "version", "{version}");
}

/// Engines keep the containers of all runtimes that they call in one root. To take another's for one's own, or for the
/// rest of something, is to leave a process running that nobody can stop any more.
#[test]
fn another_runtimes_containers_are_left_alone() {
    privileged!();
    lacks!("runc" < "never": "a word for it", "crun" < "never": "a word for it");
    for kind in ["runc", "crun"] {
        let Some(program) = installed(kind) else {
            skip(&format!("needs {kind}"));
            continue;
        };
        let mut theirs = Container::new(Bundle::new("theirs").args(["sleep", "1000"]));
        theirs.runtime.program = program;
        let call = |args: &[&str]| in_view_of(kind, &theirs, args).finish();
        let bundle = theirs.bundle.path().to_string_lossy().into_owned();
        let pid_file = theirs.pid_file().to_string_lossy().into_owned();
        for (step, args) in [
            ("created", &["create", "--bundle", &bundle, "--pid-file", &pid_file, theirs.id()] as &[&str]),
            ("running", &["start", theirs.id()]),
        ] {
            call(args).ok();
            let before = entries(&theirs.runtime.root.join(theirs.id()));
            let pent = Runtime::new(&theirs.runtime.root);
            for verb in ["state", "delete", "delete --force", "kill", "kill --all", "ps", "pause", "resume", "start"]
                .into_iter()
                .chain(["events --stats", "exec ID true", "update --memory 1G", "checkpoint"])
            {
                let mut words: Vec<&str> = verb.split(' ').collect();
                match words.iter().position(|word| *word == "ID") {
                    Some(place) => words[place] = theirs.id(),
                    None => words.push(theirs.id()),
                }
                let outcome = pent.call(&words).says(&format!("is {kind}'s"));
                assert_ne!(outcome.code(), 0, "{outcome:?}");
                let said = outcome.stderr();
                assert!(!said.contains("does not exist") && !said.contains("pent delete"), "{verb}: {outcome:?}");
            }
            let listed = pent.call(["list", "-q"]).ok();
            assert!(listed.stdout().is_empty() && listed.stderr().contains(kind), "{listed:?}");
            assert_eq!(entries(&theirs.runtime.root.join(theirs.id())), before, "{kind}, {step}");
            assert_eq!(call(&["state", theirs.id()]).ok().json()["status"], json!(step), "{kind}");
        }
        call(&["delete", "--force", theirs.id()]).ok();
    }
}

/// What a directory holds: names and contents of files.
fn entries(dir: &Path) -> Vec<(std::ffi::OsString, String)> {
    let content = |path: PathBuf| if path.is_file() { read(path) } else { String::new() };
    let mut found: Vec<_> = fs::read_dir(dir)
        .expect("the directory")
        .map(|e| e.expect("an entry"))
        .map(|e| (e.file_name(), content(e.path())))
        .collect();
    found.sort();
    found
}

fn installed(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// A call of another runtime; crun in a view in which there is one version of cgroups only, as it asks for.
fn in_view_of(kind: &str, theirs: &Container, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let hide = if kind == "crun" { "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"" } else { "exec \"$@\"" };
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(&theirs.runtime.program);
    command.arg("--root").arg(&theirs.runtime.root).args(args).stdin(Stdio::null());
    command
}

/// A state that another version has written is not read, but what runs by it does not run on unseen when it is forced away.
#[test]
fn a_state_of_another_version_can_be_forced_away() {
    privileged!();
    lacks!("runc" < "never": "what its versions share", "crun" < "never": "what its versions share");
    let container = Bundle::new("later").args(["sleep", "1000"]).started();
    let path = container.runtime.root.join(container.id()).join("state.json");
    let mut state: Value = serde_json::from_str(&read(&path)).expect("a state");
    state["fromAnotherVersion"] = json!(true);
    fs::write(&path, state.to_string()).expect("the state");
    container.call("state", &[]).refused().says("pent delete --force");
    container.delete().refused();
    container.delete_force().ok();
    container.leaves_nothing();
}

/// Several containers at once, as crun deletes them.
#[test]
fn delete_takes_a_regular_expression() {
    privileged!();
    lacks!("runc" < "never": "delete --regex", "crun" < "never": "a failure where a container runs");
    let base = Container::new(Bundle::new("regex").args(["sleep", "1000"]).remove("/linux/cgroupsPath"));
    let bundle = base.bundle.path().to_string_lossy().into_owned();
    let id = |number: &str| format!("{}-{number}", base.id());
    let ids = [id("1"), id("2"), id("x")];
    for id in &ids {
        base.runtime.call(["create", "--bundle", &bundle, id]).ok();
        base.runtime.call(["start", id]).ok();
    }
    let exists = || ids.each_ref().map(|id| base.runtime.call(["state", id]).code() == 0);
    base.runtime.call(["delete", "--force", "--regex", "no-such-thing$"]).ok();
    assert_eq!(exists(), [true, true, true]);
    base.runtime.call(["delete", "--regex", "(-1|-2)$"]).refused().says("not stopped");
    base.runtime.call(["delete", "--force", "--regex", "("]).refused().says("regular expression");
    // An id is never an expression unasked.
    base.runtime.call(["delete", "--force", ".*"]).refused().says("invalid container ID");
    assert_eq!(exists(), [true, true, true]);
    base.runtime.call(["delete", "--force", "--regex", "(-1|-2)$"]).ok();
    assert_eq!(exists(), [false, false, true]);
    base.runtime.call(["delete", "--force", &ids[2]]).ok();
}
