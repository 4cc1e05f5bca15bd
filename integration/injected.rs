//! One system call of create, start, exec or delete fails, or its process is killed there: nothing starts weaker, nothing hangs,
//! failures are said, and nothing is left that `delete --force` does not take away.
//!
//! As root, and as an ordinary user without a cgroup; on the cgroup version that the machine has. `make test-faults` tries every call.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::process::Command;
use support::inject::{self, Injected, Injector, difference};
use support::{Bundle, Container, Kind, Outcome, privileged, seconds, wait_until};

/// Owns nothing on any machine.
const USER: u32 = 48_138;

/// Runs the test on a container of root's and on one of an ordinary user's.
fn as_each(name: &str, test: impl Fn(&str, Container)) {
    if Kind::of_runtime() != Kind::Pent {
        return support::skip("what others do when a call fails is theirs");
    }
    if !inject::is_possible() {
        return support::skip("the injector knows the registers of x86-64 only");
    }
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["unshare", "ptrace", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22 }]
    });
    let bundle =
        |user: &str| Bundle::new(&format!("{name}{user}")).with_probe("fences").set("/linux/seccomp", filter.clone());
    let limited = bundle("root").set("/linux/resources/pids", json!({ "limit": 16 }));
    test(&format!("{name} as root"), Container::new(limited));
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    test(&format!("{name} as {USER}"), Container::rootless(bundle("user").rootless(&map, &map), USER));
}

/// The program that says what holds it.
fn fences() -> Vec<String> {
    std::iter::once("fences".to_owned()).chain(inject::own_namespaces()).collect()
}

/// With this as its program.
fn running(mut container: Container, args: &[String]) -> Container {
    container.bundle.config["process"]["args"] = json!(args);
    container.bundle.write();
    container
}

fn create(container: &Container) -> Command {
    let mut command = container.runtime.command(["create", "--bundle"]);
    command.arg(container.bundle.path()).arg(container.id());
    command
}

fn start(container: &Container) -> Command {
    container.runtime.command(["start", container.id()])
}

/// What the program has printed, once it has printed all, or nothing when it does not run.
fn printed(outcome: &Outcome) -> String {
    if outcome.code() == 0 {
        wait_until(&format!("the program has run: {outcome:?}"), seconds(10), || outcome.stdout().ends_with("end\n"));
    }
    let begun = || !outcome.stdout().is_empty();
    // It may have been started by what has failed then.
    std::thread::sleep(std::time::Duration::from_millis(if begun() { 100 } else { 20 }));
    // A process that joins has another number each time.
    outcome.stdout().lines().filter(|line| !line.starts_with("NSpid")).map(|line| format!("{line}\n")).collect()
}

/// What is asked of every trial; `reference` is what the program prints when nothing fails.
fn judge(what: &str, seen: &Injected, reference: &str) -> &'static str {
    let (code, stdout, stderr) = (seen.outcome.code(), printed(&seen.outcome), seen.outcome.stderr());
    assert!(!seen.hung(), "{what}: it hangs: {seen:?}");
    let ran = !stdout.is_empty();
    // A hierarchy that holds no limit and is not for everybody is done without where the kernel says so.
    let refused = what.ends_with(&format!(", {}", libc::EPERM));
    let is_optional = |line: &&str| line.starts_with("0::") || line.contains("name=") || line.contains(":misc:");
    let held = |text: &str| -> String {
        text.lines().filter(|line| !refused || !is_optional(line)).map(|line| format!("{line}\n")).collect()
    };
    let less = difference(&held(reference), &held(&stdout));
    assert!(!ran || less.is_empty(), "{what}: the program has other fences than without: {less}\n{seen:?}");
    assert!(ran || code != 0, "{what}: nothing ran, and that is a success: {seen:?}");
    assert!(ran || !stderr.trim().is_empty() || code >= 128, "{what}: nothing ran, and nobody says why: {seen:?}");
    match (ran, code) {
        (true, 0) => "ran",
        (true, _) => "ran, failed at the end",
        (false, _) => "refused",
    }
}

#[test]
fn of_create_and_start() {
    privileged!();
    as_each("injectedstart", |name, container| {
        let container = running(container, &fences());
        let injector = Injector::new(inject::log_in(container.bundle.path()));
        let commands = || [create(&container), start(&container)];
        let clean = || {
            container.delete_force().ok();
            container.leaves_nothing();
        };
        let (_, plain) = injector.count(&commands());
        let reference = printed(&plain);
        clean();
        let (calls, plain) = injector.count(&commands());
        assert_eq!(printed(&plain), reference);
        clean();
        let trial = |at: usize, how: &str| injector.inject(at, how, &commands());
        inject::sampled(name, &calls, trial, |at, how, seen| {
            let what = judge(&format!("call {at}, {how}"), seen, &reference);
            clean();
            what
        });
    });
}

#[test]
fn of_exec() {
    privileged!();
    as_each("injectedexec", |name, container| {
        let container = running(container, &["sleep".to_owned(), "1000".to_owned()]);
        container.create().ok();
        container.start().ok();
        let injector = Injector::new(inject::log_in(container.bundle.path()));
        let words = fences();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let commands = || [container.exec_command(&[], &words)];
        let (calls, plain) = injector.count(&commands());
        let reference = printed(&plain);
        let (_, again) = injector.count(&commands());
        assert_eq!(printed(&again), reference);
        let trial = |at: usize, how: &str| injector.inject(at, how, &commands());
        inject::sampled(name, &calls, trial, |at, how, seen| {
            let what = judge(&format!("call {at}, {how}"), seen, &reference);
            // The container is what it was.
            let alone = || container.sh("ls -d /proc/[0-9]* | wc -l").trimmed() == "4";
            wait_until(&format!("call {at}, {how}: the container is alone again: {seen:?}"), seconds(10), alone);
            assert_eq!(container.status(), "running");
            what
        });
    });
}

#[test]
fn of_delete() {
    privileged!();
    as_each("injecteddelete", |name, container| {
        let container = running(container, &["sleep".to_owned(), "1000".to_owned()]);
        let injector = Injector::new(inject::log_in(container.bundle.path()));
        let make = || {
            container.create().ok();
            container.start().ok();
        };
        let commands = || [container.runtime.command(["delete", "--force", container.id()])];
        make();
        let (calls, _) = injector.count(&commands());
        container.leaves_nothing();
        let trial = |at: usize, how: &str| {
            make();
            injector.inject(at, how, &commands())
        };
        inject::sampled(name, &calls, trial, |at, how, seen| {
            assert!(!seen.hung(), "call {at}, {how}: it hangs: {seen:?}");
            let code = seen.outcome.code();
            let is_said = code == 0 || code >= 128 || !seen.outcome.stderr().trim().is_empty();
            assert!(is_said, "call {at}, {how}: it has failed, and nobody says why: {seen:?}");
            if code != 0 {
                container.delete_force().ok();
            }
            container.leaves_nothing();
            if code == 0 { "deleted" } else { "deleted by the next" }
        });
    });
}
