//! The last steps of a start: who dies there, who waits, and what the program finds of its caller.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::inject::{self, Injector};
use support::{Bundle, Container, Finish as _, lacks, privileged, seconds, wait_until};

/// Skips what only pent does, or where nothing can be injected.
macro_rules! injecting {
    () => {
        privileged!();
        lacks!("runc" < "never": "a start that tells death from success", "crun" < "never": "the same");
        if !inject::is_possible() {
            return support::skip("the injector knows the registers of x86-64 only");
        }
    };
}

fn injector(container: &Container) -> Injector {
    Injector::new(inject::log_in(container.bundle.path()))
}

/// The place of the last call with this number.
fn last(calls: &[i64], number: i64) -> usize {
    calls.iter().rposition(|call| *call == number).expect("a call")
}

#[test]
fn a_process_that_is_killed_before_its_program_is_no_start() {
    injecting!();
    let container = Container::new(Bundle::new("killedstart").shell("sleep 0.2"));
    let commands = || {
        let mut create = container.runtime.command(["create", "--bundle"]);
        create.arg(container.bundle.path()).arg(container.id());
        [create, container.runtime.command(["start", container.id()])]
    };
    let seen = injector(&container).inject_first(libc::SYS_execve, "pent:[init]", "kill", &commands());
    assert!(seen.hit.contains("other pent:[init]"), "it was never killed at its exec: {seen:?}");
    assert_eq!(seen.outcome.code(), 1, "{seen:?}");
    assert!(seen.outcome.stderr().contains("ended before it executed its program"), "{seen:?}");
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn an_exec_whose_process_is_killed_before_its_program_fails() {
    injecting!();
    let container = Bundle::new("killedexec").sleeping().started();
    for options in [&["--detach"][..], &[]] {
        let commands = || [container.exec_command(options, &["true"])];
        let seen = injector(&container).inject_first(libc::SYS_execve, "pent:", "kill", &commands());
        assert!(seen.hit.contains("other pent:"), "{options:?}: it was never killed at its exec: {seen:?}");
        assert_eq!(seen.outcome.code(), 255, "{options:?} {seen:?}");
        let said = "ended before it executed its program (killed by signal 9)";
        assert!(seen.outcome.stderr().contains(said), "{options:?} {seen:?}");
    }
}

/// The maker of a process that joins ends between making it and saying so: nobody waits for either.
#[test]
fn nobody_waits_for_a_maker_that_is_gone() {
    injecting!();
    let container = Bundle::new("maker").sleeping().started();
    let commands = || [container.exec_command(&[], &["true"])];
    let (calls, _) = injector(&container).count(&commands());
    let born = last(&calls, libc::SYS_clone3);
    for how in ["kill", "5"] {
        let seen = injector(&container).inject_first(libc::SYS_sendmsg, "pent", how, &commands());
        assert!(seen.hit.contains("CALL") && !seen.hung(), "its message: {how}: {seen:?}");
    }
    for (at, how) in (born.saturating_sub(4)..(born + 32).min(calls.len())).flat_map(|at| [(at, "kill"), (at, "5")]) {
        let seen = injector(&container).inject(at, how, &commands());
        assert!(!seen.hung(), "call {at}, {how}: {seen:?}");
        let is_said = seen.outcome.code() == 0 || seen.outcome.code() >= 128 || !seen.outcome.stderr().is_empty();
        assert!(is_said, "call {at}, {how}: {seen:?}");
    }
    wait_until("nobody is left in the container", seconds(5), || {
        container.sh("ls -d /proc/[0-9]* | wc -l").trimmed() == "4"
    });
}

/// A filter under which the process can neither execute, say why, nor end as usual.
#[test]
fn a_filter_that_forbids_everything_is_an_error_that_ends() {
    privileged!();
    lacks!("runc" < "never": "an end under such a filter", "crun" < "never": "the same");
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let filter = json!({ "defaultAction": action });
        let bundle = Bundle::new("mute").set("/linux/seccomp", filter).set("/process/noNewPrivileges", true);
        let container = Container::new(bundle);
        let run = container.run_command(&[]).finish_within(seconds(10));
        assert!(!run.timed_out, "{run:?}");
        run.refused()
            .says("ended before it executed its program")
            .says("linux.seccomp lets it neither write nor send why");
        container.leaves_nothing();
        container.create().ok();
        let start = container.runtime.command(["start", container.id()]).finish_within(seconds(10));
        assert!(!start.timed_out, "{start:?}");
        start.refused().says("ended before it executed its program");
        container.delete_force().ok();
        container.leaves_nothing();
    }
}

/// Nobody answers for the filter of the program's execve: the start does not end by itself, but when it is asked to.
#[test]
fn a_run_that_hangs_before_its_program_ends_when_asked_to() {
    privileged!();
    lacks!("runc" < "never": "an end of a start that hangs", "crun" < "never": "the same");
    let bundle = Bundle::new("hangs");
    let agent = bundle.path().join("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&agent).expect("an agent");
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent,
        "syscalls": [{ "names": ["execve"], "action": "SCMP_ACT_NOTIFY" }]
    });
    let container = Container::new(bundle.set("/linux/seccomp", filter).args(["true"]));
    let mut run = container.run_command(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawn");
    let (_connection, _) = listener.accept().expect("the listener comes");
    // It waits in its execve, or is about to.
    std::thread::sleep(Duration::from_millis(200));
    let asked = Instant::now();
    kill(Pid::from_raw(i32::try_from(run.id()).expect("a pid")), Signal::SIGINT).expect("a signal");
    wait_until("the run ends", seconds(10), || run.try_wait().expect("wait").is_some());
    assert!(asked.elapsed() < seconds(8), "{:?}", asked.elapsed());
    let outcome = run.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(!outcome.status.success() && said.contains("interrupted before the program was executed"), "{said}");
    container.leaves_nothing();
}

#[test]
fn a_start_waits_for_a_create_that_is_under_way() {
    privileged!();
    lacks!("runc" < "never": "a state before create has finished", "crun" < "never": "the same");
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "sleep 1"], "env": ["PATH=/usr/bin:/bin"] });
    let container = Container::new(Bundle::new("early").push("/hooks/createRuntime", hook).sleeping());
    let mut create = container.create_command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn");
    wait_until("there is a state", seconds(10), || container.call("state", &[]).code() == 0);
    container.start().ok();
    assert!(create.wait().expect("wait").success());
    assert_eq!(container.status(), "running");
    container.delete_force().ok();
    container.leaves_nothing();
}

/// A user that is not root can open `/dev/stdout` and `/dev/stderr`, whatever they are and whoever is who.
#[test]
fn standard_streams_can_be_opened_again() {
    privileged!();
    lacks!("crun" < "never": "files that are the container's user's");
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65_536 }]);
    let plain = |name: &str| Bundle::new(name).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let mapped = |name: &str| {
        Bundle::new(name)
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map.clone())
    };
    let script = "echo out >/dev/stdout && echo err >/dev/stderr";
    for bundle in [
        plain("streams"),
        mapped("streamsmapped"),
        mapped("streamsboth").set("/process/user", json!({ "uid": 7, "gid": 7 })),
    ] {
        if bundle.config["linux"]["uidMappings"].is_array() && support::Kind::of_runtime() == support::Kind::Runc {
            continue; // what is not mapped stays root's there
        }
        bundle.chown(if bundle.config["linux"]["uidMappings"].is_array() { 200_000 } else { 0 });
        let container = Container::new(bundle.shell(script));
        let piped = container.run_command(&[]).stdin(Stdio::null()).output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&piped.stdout), "out\n", "{piped:?}");
        assert_eq!(String::from_utf8_lossy(&piped.stderr), "err\n", "{piped:?}");
        let log = container.bundle.file("log", "");
        let file = || fs::File::options().append(true).open(&log).expect("a log");
        let status = container.run_command(&[]).stdout(file()).stderr(file()).status().expect("runs");
        assert!(status.success(), "{}", fs::read_to_string(&log).expect("the log"));
    }
    // What is only read stays whose it was.
    let container = Container::new(plain("streamsread").args(["true"]));
    let read = container.bundle.file("input", "text");
    container.run_command(&[]).stdin(fs::File::open(&read).expect("a file")).finish().ok();
    use std::os::unix::fs::MetadataExt as _;
    if support::Kind::of_runtime() == support::Kind::Pent {
        assert_eq!(fs::metadata(&read).expect("a file").uid(), 0);
    }
}

#[test]
fn an_empty_name_is_a_program_that_is_not_there() {
    privileged!();
    let container = Container::new(Bundle::new("noname").args([""]));
    container.run().refused().says("executable file not found in $PATH");
    let container = Bundle::new("nonameexec").sleeping().started();
    let exec = container.exec([""]);
    assert_eq!(exec.code(), 255, "{exec:?}");
}

#[test]
fn listen_fds_of_somebody_else_are_nobodys() {
    privileged!();
    lacks!("crun" < "never": "a look at LISTEN_PID");
    let container = Container::new(Bundle::new("stray").shell("echo \"<$LISTEN_FDS>\"; ls /proc/self/fd | grep -c 3"));
    let mut run = container.run_command(&[]);
    let outcome = run.env("LISTEN_FDS", "1").env_remove("LISTEN_PID").finish();
    assert!(outcome.stdout().starts_with("<>\n"), "{outcome:?}");
}

/// Of the runtime's namespace, as in runc; never the image's or the configuration's.
#[test]
fn hooks_without_an_environment_inherit_the_runtimes() {
    privileged!();
    lacks!("crun" < "never": "the runtime's environment", "runc" < "never": "the runtime's in createContainer");
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let bundle = Bundle::new("inherits").set("/process/env", json!(["PATH=/bin", "LD_PRELOAD=/evil.so"]));
        let file = bundle.path().join("env");
        let script = format!("env >{}", file.display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        let container = Container::new(bundle.push(&format!("/hooks/{kind}"), hook).args(["true"]));
        container.run_command(&[]).env("OF_THE_CALLER", "1").finish().ok();
        let seen = fs::read_to_string(&file).expect("the hook ran");
        assert!(seen.lines().any(|line| line == "OF_THE_CALLER=1") && !seen.contains("LD_PRELOAD"), "{kind}: {seen}");
    }
}

/// What a program asks first thing.
#[test]
fn the_size_of_the_terminal_is_there_before_the_program() {
    privileged!();
    lacks!("runc" < "never": "a size before the program", "crun" < "never": "a size before the program");
    let container = Container::new(Bundle::new("size").set("/process/terminal", true).args(["stty", "size"]));
    let sleeping = Bundle::new("sizeexec").sleeping().started();
    for (name, command) in
        [("run", container.run_command(&[])), ("exec", sleeping.exec_command(&["--tty"], &["stty", "size"]))]
    {
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        for _ in 0..10 {
            // Its input stays open: at an end of it, `script` may hang up before the program has asked.
            let typed = format!("stty cols 77 rows 33; exec {}", words.join(" "));
            let outcome = Command::new("script").args(["-qec", &typed, "/dev/null"]).stdin(Stdio::piped()).finish();
            assert!(outcome.stdout().contains("33 77"), "{name}: {outcome:?}");
        }
    }
}

#[test]
fn a_console_socket_may_have_a_long_path() {
    privileged!();
    lacks!("runc" < "never": "long paths", "crun" < "never": "long paths");
    let bundle = Bundle::new("longconsole").set("/process/terminal", true).sleeping();
    let directory = bundle.dir(&"d".repeat(150));
    let container = Container::new(bundle);
    let path = directory.join("console.sock");
    let here = fs::File::open(&directory).expect("a directory");
    use std::os::fd::AsRawFd as _;
    let short = format!("/proc/self/fd/{}/console.sock", here.as_raw_fd());
    let listener = std::os::unix::net::UnixListener::bind(short).expect("a socket");
    container.create_command(&["--console-socket", &path.to_string_lossy()]).finish().ok();
    listener.accept().expect("a connection");
    container.delete_force().ok();
    container.leaves_nothing();
}

/// Whoever waits for create, and reads what it says only then.
#[test]
fn many_warnings_do_not_fill_a_pipe() {
    privileged!();
    let unknown: Vec<String> = (0..3000).map(|n| format!("CAP_UNKNOWN_{n}")).collect();
    let names: Vec<_> =
        (0..1500).map(|n| json!({ "names": [format!("no_such_call_{n}")], "action": "SCMP_ACT_ALLOW" })).collect();
    let bundle = Bundle::new("warnings")
        .set("/process/capabilities/bounding", json!(unknown))
        .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": names }))
        .sleeping();
    let container = Container::new(bundle);
    let mut run =
        container.run_command(&["--detach"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawn");
    wait_until("create has ended", seconds(20), || run.try_wait().expect("wait").is_some());
    assert!(run.wait().expect("wait").success());
    container.delete_force().ok();
}
