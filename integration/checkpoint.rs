//! checkpoint and restore, where CRIU works: it has to fit the kernel, which `criu check` says.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::process::Command;
use std::sync::OnceLock;
use support::{Bundle, Container, Finish as _, lacks, privileged, read, seconds, skip, wait_until};

/// Whether the CRIU in PATH works on this kernel.
fn criu_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| Command::new("criu").arg("check").output().is_ok_and(|output| output.status.success()))
}

macro_rules! with_criu {
    () => {
        privileged!();
        // The harness gives every container files for streams.
        lacks!("crun" < "never": "CRIU in Debian's build", "runc" < "never": "checkpoints of streams that are files");
        if !criu_works() {
            return skip("CRIU does not work on this host");
        }
    };
}

/// A container that counts in its own memory and tmpfs.
fn counting(bundle: Bundle) -> Container {
    let container = bundle.shell("i=0; while :; do i=$((i+1)); echo $i >/dev/shm/n; sleep 0.1; done").started();
    wait_until("it counts", seconds(10), || count(&container) >= 3);
    container
}

fn count(container: &Container) -> u64 {
    read(format!("/proc/{}/root/dev/shm/n", container.pid())).parse().unwrap_or(0)
}

fn checkpoint(container: &Container, options: &[&str]) {
    let (images, work) = (container.bundle.path().join("images"), container.bundle.path().join("work"));
    let mut command = container.runtime.command(["checkpoint", "--image-path"]);
    command.arg(images).arg("--work-path").arg(work).args(options).arg(container.id()).finish_within(seconds(120)).ok();
}

fn restore(container: &Container, options: &[&str]) -> Command {
    let path = container.bundle.path();
    let mut command = container.runtime.command(["restore", "--image-path"]);
    command.arg(path.join("images")).arg("--work-path").arg(path.join("work")).args(options);
    command
        .args(["-no-subreaper", "--bundle"])
        .arg(path)
        .arg("--pid-file")
        .arg(container.pid_file())
        .arg(container.id());
    command
}

#[test]
fn a_container_goes_on_where_it_was() {
    with_criu!();
    let container = counting(Bundle::new("criu"));
    checkpoint(&container, &[]);
    container.call("state", &[]).refused().says("does not exist");
    let before = support::cgroup_dirs(container.id());
    assert!(before.is_empty(), "{before:?}");
    container.keep(restore(&container, &["--detach"]).finish_within(seconds(120))).ok();
    assert_eq!(container.status(), "running");
    let restored = count(&container);
    assert!(restored >= 3, "{restored}");
    wait_until("it goes on", seconds(10), || count(&container) > restored);
    // What is around it is what was asked for.
    let status = read(format!("/proc/{}/status", container.pid()));
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapEff:\t0000000020000420"), "{status}");
    let mounts = read(format!("/proc/{}/mountinfo", container.pid()));
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
    assert!(root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")), "{mounts}");
    assert_eq!(
        read(container.cgroup_file("pids", "cgroup.procs")).lines().next(),
        Some(container.pid().to_string().as_str())
    );
    container.sh("test ! -s /proc/keys && echo inside").ok().prints("inside");
    container.kill("KILL").ok();
    assert_eq!(container.wait_exit(), 137);
}

#[test]
fn a_container_can_be_left_running() {
    with_criu!();
    let container = counting(Bundle::new("criuleave"));
    checkpoint(&container, &["--leave-running", "--tcp-established", "--ext-unix-sk", "--shell-job", "--file-locks"]);
    let now = count(&container);
    wait_until("it goes on", seconds(10), || count(&container) > now);
    assert_eq!(container.status(), "running");
}

#[test]
fn bind_mounts_and_limits_are_given_again() {
    with_criu!();
    let bundle = Bundle::new("criubind");
    let data = bundle.dir("data");
    let bundle =
        bundle.mount("/mnt/data", "bind", &data, &["bind", "ro"]).set("/linux/resources/pids", json!({ "limit": 30 }));
    std::fs::write(data.join("file"), "of the host\n").expect("a file");
    let container = counting(bundle);
    checkpoint(&container, &[]);
    container.keep(restore(&container, &["--detach"]).finish_within(seconds(120))).ok();
    container
        .sh("cat /mnt/data/file; touch /mnt/data/x 2>/dev/null || echo read-only")
        .ok()
        .prints("of the host\nread-only");
    assert_eq!(read(container.cgroup_file("pids", "pids.max")), "30");
}

#[test]
fn what_cannot_be_saved_or_made_again_is_refused() {
    privileged!();
    lacks!("crun" < "never": "CRIU in Debian's build", "runc" < "never": "these messages");
    let container = Bundle::new("criustate").sleeping().created();
    container.call("checkpoint", &[]).exits(1).says("Container cannot be checkpointed in created state");
    drop(container);
    let container = Container::new(Bundle::new("criunone").sleeping());
    let mut command = restore(&container, &["--detach"]);
    command.finish().exits(1).says("pent.json").says("images of other runtimes");
    container.leaves_nothing();
    let running = Bundle::new("criumissing").sleeping().started();
    let mut command = running.runtime.command(["checkpoint", "--image-path"]);
    command.arg(running.bundle.path().join("i")).arg(running.id()).env("PATH", "/nonexistent");
    command.finish().exits(1).says("cannot execute criu").says("Debian package criu");
    assert_eq!(running.status(), "running");
}
