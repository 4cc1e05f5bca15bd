//! linux.seccomp with SCMP_ACT_NOTIFY: an agent outside answers for the kernel.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Kind, lacks, privileged, probe, seconds, wait_until};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

/// `probe/agent.c`, which takes up to 8 connections; ended when dropped.
struct Agent {
    process: Child,
    said: PathBuf,
}

impl Agent {
    fn start(bundle: &Bundle) -> Self {
        let said = bundle.path().join("agent.out");
        let mut command = Command::new(probe("agent"));
        // By a relative path: what names the bundle is taken for a part of the container.
        command.args(["agent.sock", "8"]).current_dir(bundle.path()).stdin(Stdio::null());
        let process = command.stdout(File::create(&said).expect("a file")).spawn().expect("the agent starts");
        let socket = bundle.path().join("agent.sock");
        wait_until("the agent listens", seconds(10), || socket.symlink_metadata().is_ok());
        Self { process, said }
    }

    /// What it was told, a connection each.
    fn told(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.said).expect("what the agent says");
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        values.collect::<Result<_, _>>().expect("the messages are JSON")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A bundle that notifies of these calls, and allows everything else.
fn notifying(names: &[&str], no_new_privs: bool) -> Bundle {
    let bundle = Bundle::new("notify");
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": bundle.path().join("agent.sock"),
        "listenerMetadata": "colour=blue",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }],
    });
    bundle.set("/linux/seccomp", filter).set("/process/noNewPrivileges", no_new_privs)
}

#[test]
fn the_agent_answers_for_the_kernel() {
    privileged!();
    for no_new_privs in [true, false] {
        let bundle = notifying(&MKDIR, no_new_privs).set("/annotations", json!({ "a.b": "c" }));
        let agent = Agent::start(&bundle);
        let container = Container::new(bundle.shell("mkdir /sys/x && test ! -e /sys/x && echo made $$"));
        container.run().ok().prints("made 1");
        let told = agent.told();
        assert_eq!(told.len(), 1, "{told:?}");
        let told = &told[0];
        assert_eq!(told["metadata"], "colour=blue");
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert!(told["ociVersion"].is_string(), "{told}");
        assert_eq!(told["state"]["id"], container.id());
        assert_eq!(told["state"]["bundle"], container.bundle.path().to_str().expect("text"));
        assert_eq!(told["state"]["annotations"]["a.b"], "c");
        assert!(told["pid"].as_i64().is_some_and(|pid| pid > 1), "{told}");
    }
}

#[test]
fn an_error_of_the_agent_is_the_call_s() {
    privileged!();
    let bundle = notifying(&["chmod", "fchmod", "fchmodat"], true).shell("touch /dev/shm/x && chmod 700 /dev/shm/x");
    let _agent = Agent::start(&bundle);
    Container::new(bundle).run().exits(1).says("no medium found");
}

#[test]
fn a_created_container_is_told_of_with_its_pid() {
    privileged!();
    let bundle = notifying(&MKDIR, true).shell("mkdir /sys/x && echo made && exec sleep 1000");
    let agent = Agent::start(&bundle);
    let container = Container::new(bundle);
    container.create().ok();
    container.start().ok();
    let pid: i64 = fs::read_to_string(container.pid_file()).expect("pid file").parse().expect("a pid");
    container.wait_output("made");
    let told = &agent.told()[0];
    assert_eq!(told["pid"], pid);
    assert_eq!(told["state"]["pid"], pid);
    // At create or at start: the runtime may choose.
    assert!(["creating", "created"].contains(&told["state"]["status"].as_str().unwrap_or_default()), "{told}");
}

#[test]
fn exec_is_told_of_as_a_process_of_its_own() {
    privileged!();
    for no_new_privs in [true, false] {
        let bundle = notifying(&MKDIR, no_new_privs).sleeping();
        let agent = Agent::start(&bundle);
        let container = Container::new(bundle);
        container.create().ok();
        container.start().ok();
        container.sh("mkdir /sys/x && echo made").ok().prints("made");
        let told = agent.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_ne!(told[1]["pid"], told[0]["pid"]);
        if Kind::of_runtime() != Kind::Crun {
            assert_eq!(told[1]["state"]["pid"], told[0]["pid"]);
            assert_eq!(told[1]["state"]["status"], "running");
        }
        assert_eq!(told[1]["metadata"], "colour=blue");
    }
}

#[test]
fn calls_that_starting_the_program_takes_can_be_notified_of() {
    privileged!();
    for no_new_privs in [true, false] {
        let names = ["execve", "openat", "open", "read", "close", "capset", "prctl", "exit_group"];
        lacks!("runc" < "never": "capset after the filter");
        lacks!("crun" < "never": "calls of its own between loading the filter and execve");
        let bundle = notifying(&names, no_new_privs).args(["echo", "hello"]);
        let _agent = Agent::start(&bundle);
        Container::new(bundle).run().ok().prints("hello");
    }
}

#[test]
fn without_an_agent_nothing_starts() {
    privileged!();
    let container = Container::new(notifying(&MKDIR, true));
    let outcome = container.run().refused();
    if Kind::of_runtime() != Kind::Crun {
        outcome.says("failed to connect with seccomp agent");
    }
    container.leaves_nothing();
    // A path that is there, and that nobody listens at.
    let bundle = notifying(&MKDIR, true);
    drop(std::os::unix::net::UnixListener::bind(bundle.path().join("agent.sock")).expect("a socket"));
    let container = Container::new(bundle);
    let outcome = container.run().refused();
    if Kind::of_runtime() != Kind::Crun {
        outcome.says("failed to connect with seccomp agent");
    }
    container.leaves_nothing();
}

#[test]
fn an_agent_that_ends_leaves_enosys() {
    privileged!();
    lacks!("crun" < "never": "a start that an agent which ends meanwhile does not break");
    let bundle = notifying(&MKDIR, true).shell("until test -e /tmp/go; do sleep 0.1; done; mkdir /sys/x");
    let agent = Agent::start(&bundle);
    let go = bundle.rootfs().join("tmp/go");
    let container = Container::new(bundle);
    container.create().ok();
    container.start().ok();
    drop(agent);
    fs::write(go, "").expect("a file");
    assert_ne!(container.wait_exit(), 0);
    assert!(container.stderr().to_lowercase().contains("function not implemented"), "{}", container.stderr());
}

#[test]
fn without_a_rule_that_notifies_the_path_is_ignored() {
    privileged!();
    lacks!("crun" < "never": "ignorance of a path that is not needed");
    let bundle = Bundle::new("notify");
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent/agent.sock" });
    bundle.set("/linux/seccomp", filter).args(["echo", "hello"]).run().ok().prints("hello");
}

#[test]
fn the_notify_action_has_limits_and_says_so() {
    privileged!();
    let refused = |bundle: Bundle, text: &str| {
        let _agent = Agent::start(&bundle);
        let container = Container::new(bundle);
        let outcome = container.run().refused();
        if Kind::of_runtime() != Kind::Crun {
            outcome.says(text);
        }
        container.leaves_nothing();
    };
    lacks!("crun" < "never": "a refusal of SCMP_ACT_NOTIFY for write");
    refused(notifying(&["write"], true), "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    lacks!("runc" < "never": "a refusal of SCMP_ACT_NOTIFY for sendmsg");
    refused(notifying(&["sendmsg"], true), "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall");
    refused(notifying(&["recvmsg"], true), "SCMP_ACT_NOTIFY cannot be used for the recvmsg syscall");
    let denied = json!({ "names": ["sendmsg"], "action": "SCMP_ACT_ERRNO" });
    refused(notifying(&MKDIR, true).push("/linux/seccomp/syscalls", denied), "must allow the sendmsg syscall");
    refused(notifying(&MKDIR, true).set("/linux/seccomp/listenerPath", ""), "listenerPath");
    refused(notifying(&MKDIR, true).set("/linux/seccomp/listenerPath", "@abstract"), "listenerPath");
}

#[test]
fn waiting_for_an_answer_can_be_made_killable_only() {
    privileged!();
    lacks!("runc" < "1.4": "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "crun" < "1.15": "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
    let flags = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    let bundle = notifying(&MKDIR, true).set("/linux/seccomp/flags", flags);
    let _agent = Agent::start(&bundle);
    Container::new(bundle.shell("mkdir /sys/x && echo made")).run().ok().prints("made");
}

#[test]
fn start_container_hooks_have_no_descriptor_of_it() {
    privileged!();
    let script = "test $(ls /proc/self/fd | wc -l) -eq 4";
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
    let bundle = notifying(&MKDIR, true).set("/hooks", json!({ "startContainer": [hook] })).with_probe("probe");
    let _agent = Agent::start(&bundle);
    let container = Container::new(bundle.args(["probe", "fds"]));
    let outcome = container.run().ok();
    assert!(!outcome.stdout().contains("seccomp"), "{outcome:?}");
}
