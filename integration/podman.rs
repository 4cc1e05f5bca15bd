//! Debian's podman, with the runtime under test named by path: what `podman` does with a local root file system.
//!
//! `cargo test --test podman` as root; `RUNTIME=/usr/sbin/runc cargo test --test podman` for a peer.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod island;
mod support;

use island::{Island, needs};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use support::{Bundle, Finish as _, Kind, Outcome, seconds, wait_until};

/// A podman with directories of its own and one root file system.
struct Podman {
    island: Island,
    bundle: Bundle,
}

impl Podman {
    fn new() -> Self {
        let mut island = Island::new("podman", &["conmon"]);
        // Podman's storage library mounts its graph root onto itself at the first call, and keeps it.
        let podman = |island: &Island| Self::command(island, &["info"]).finish().ok();
        podman(&island);
        island.settle();
        Self { island, bundle: Bundle::new("podman") }
    }

    /// `podman GLOBAL-OPTIONS ARGS…`.
    fn command(island: &Island, args: &[&str]) -> Command {
        let dir = island.dir();
        let mut command = island.command("podman");
        command.arg("--runtime").arg(island::runtime()).arg("--root").arg(dir.join("root"));
        command.arg("--runroot").arg(dir.join("run")).arg("--tmpdir").arg(dir.join("tmp"));
        command.args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"]);
        command.args(args);
        command
    }

    /// `podman ARGS…` to its end.
    fn call(&self, args: &[&str]) -> Outcome {
        Self::command(&self.island, args).finish()
    }

    /// `podman run OPTIONS… --rootfs DIR COMMAND…`.
    fn run_command(&self, options: &[&str], command: &[&str]) -> Command {
        let mut run = Self::command(&self.island, &["run", "--network", "none", "--log-driver", "k8s-file"]);
        run.args(["--cgroup-parent", &format!("/{}", self.island.name)]);
        run.args(options);
        run.arg("--rootfs").arg(self.bundle.rootfs()).args(command);
        run
    }

    /// A shell script run in a container that is removed when it ends.
    fn run(&self, options: &[&str], script: &str) -> Outcome {
        self.run_command(&[&["--rm"], options].concat(), &["sh", "-c", script]).finish()
    }

    /// A detached container named `box`; returns its id.
    fn detached(&self, options: &[&str], script: &str) -> String {
        let options = [&["--detach", "--name", "box"], options].concat();
        self.run_command(&options, &["sh", "-c", script]).finish().ok().trimmed()
    }

    /// A field of `podman inspect box`, as Go prints it.
    fn inspect(&self, field: &str) -> String {
        self.call(&["inspect", "--format", &format!("{{{{{field}}}}}"), "box"]).ok().trimmed()
    }

    /// Removes the container named `box`, running or not.
    fn remove(&self) {
        self.call(&["rm", "--force", "--time", "0", "box"]).ok();
        self.call(&["ps", "--all", "--quiet"]).ok().prints("");
    }
}

#[test]
fn run_passes_output_input_and_status() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    let outcome = podman.run(&[], "echo to output; echo to error >&2; exit 7");
    let outcome = outcome.exits(7).prints("to output").says("to error");
    assert!(!outcome.stderr().contains("to output"), "{outcome:?}");
    podman.run(&["--env", "GIFT=box", "--workdir", "/tmp"], "echo $GIFT in $PWD").ok().prints("box in /tmp");
    let mut cat = podman.run_command(&["--rm", "--interactive"], &["cat"]);
    cat.finish_with("through standard input").ok().prints("through standard input");
    podman.call(&["ps", "--all", "--quiet"]).ok().prints("");
}

#[test]
fn a_command_that_cannot_be_run_has_the_status_shells_give() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    for program in ["no-such-program", "/no/such-program"] {
        let outcome = podman.run_command(&["--rm"], &[program]).finish().exits(127).says("such-program");
        assert!(outcome.stderr().contains("not found") || outcome.stderr().contains("o such file"), "{outcome:?}");
    }
    let file = podman.bundle.rootfs().join("data");
    fs::write(&file, "not a program").expect("a file in the rootfs");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode of the file");
    podman.run_command(&["--rm"], &["/data"]).finish().exits(126).says("permission denied");
    podman.call(&["ps", "--all", "--quiet"]).ok().prints("");

    podman.detached(&[], "sleep 1000");
    podman.call(&["exec", "box", "no-such-program"]).exits(127).says("such-program");
    podman.call(&["exec", "box", "/data"]).exits(126).says("permission denied");
    podman.remove();
}

#[test]
fn a_directory_cannot_be_run() {
    needs!("podman", "conmon");
    if Kind::of_runtime() == Kind::Runc && !support::is_older("runc", "1.2") {
        return support::skip("runc since 1.2 has only words for it that Podman does not know");
    }
    let podman = Podman::new();
    podman.run_command(&["--rm"], &["/bin"]).finish().exits(126).says("permission denied");
    podman.detached(&[], "sleep 1000");
    podman.call(&["exec", "box", "/bin"]).exits(126).says("permission denied");
    podman.remove();
}

#[test]
fn exec_runs_in_the_container() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&[], "sleep 1000; exit 42");
    let outcome = podman.call(&["exec", "box", "sh", "-c", "cat /proc/1/cmdline; echo wrong >&2; exit 3"]).exits(3);
    assert!(outcome.says("wrong").stdout().contains("exit 42"), "sees another first process");
    let mut cat =
        Podman::command(&podman.island, &["exec", "--interactive", "--env", "GIFT=box", "--workdir", "/tmp", "box"]);
    cat.args(["sh", "-c", "cat; echo $GIFT in $PWD"]);
    cat.finish_with("input\n").ok().prints("input\nbox in /tmp");
    podman.call(&["exec", "--user", "1000:1000", "box", "id", "-u"]).ok().prints("1000");
    podman.call(&["exec", "--detach", "box", "sh", "-c", "echo done >/tmp/detached"]).ok();
    wait_until("the detached exec ran", seconds(20), || {
        podman.call(&["exec", "box", "test", "-s", "/tmp/detached"]).code() == 0
    });
    podman.remove();
}

#[test]
fn stop_sends_term_and_then_kill() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&[], "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done");
    wait_until("it handles TERM", seconds(20), || podman.call(&["logs", "box"]).stdout() == "ready\n");
    podman.call(&["stop", "--time", "20", "box"]).ok();
    assert_eq!(podman.inspect(".State.Status"), "exited");
    assert_eq!(podman.inspect(".State.ExitCode"), "42");
    podman.remove();

    podman.detached(&[], "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    wait_until("it ignores TERM", seconds(20), || podman.call(&["logs", "box"]).stdout() == "ready\n");
    podman.call(&["stop", "--time", "1", "box"]).ok();
    assert_eq!(podman.inspect(".State.ExitCode"), "137");
    podman.remove();
}

#[test]
fn kill_and_wait_report_the_signal() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&[], "sleep 1000");
    podman.call(&["kill", "--signal", "KILL", "box"]).ok();
    podman.call(&["wait", "box"]).ok().prints("137");
    podman.remove();
}

#[test]
fn a_stopped_container_starts_again() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&[], "echo $$; exit 5");
    podman.call(&["wait", "box"]).ok().prints("5");
    podman.call(&["start", "--attach", "box"]).exits(5).prints("1");
    podman.remove();
}

#[test]
fn logs_keep_what_the_container_printed() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    let id = podman.detached(&[], "echo first; echo wrong >&2; echo last");
    podman.call(&["wait", "box"]).ok().prints("0");
    podman.call(&["logs", &id]).ok().prints("first\nlast").says("wrong");
    podman.remove();
}

#[test]
fn a_detached_container_with_rm_goes_when_it_ends() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&["--rm"], "sleep 1000");
    assert_eq!(podman.inspect(".State.Status"), "running");
    podman.call(&["kill", "box"]).ok();
    // By the cleanup command conmon calls, which deletes it in the runtime.
    wait_until("it is removed", seconds(20), || podman.call(&["ps", "--all", "--quiet"]).ok().stdout().is_empty());
}

#[test]
fn a_paused_container_stands_still() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&[], "while :; do date +%s%N >/tmp/now; done");
    let now = podman.bundle.rootfs().join("tmp/now");
    let written = || fs::metadata(&now).and_then(|file| file.modified()).ok();
    wait_until("it writes", seconds(20), || written().is_some());
    podman.call(&["pause", "box"]).ok();
    assert_eq!(podman.inspect(".State.Status"), "paused");
    let before = written();
    std::thread::sleep(seconds(1) / 2);
    assert_eq!(written(), before, "it goes on writing");
    podman.call(&["exec", "box", "true"]).exits(255);
    podman.call(&["unpause", "box"]).ok();
    wait_until("it writes again", seconds(20), || written() > before);
    podman.remove();
}

#[test]
fn a_terminal_is_given() {
    needs!("podman", "conmon", "script");
    let podman = Podman::new();
    let line = island::on_a_terminal(
        &podman.run_command(&["--rm", "--tty"], &["sh", "-c", "tty; test -t 0 && test -t 2 && exit 5"]),
    );
    let outcome = line.exits(5);
    assert!(outcome.stdout().contains("/dev/pts/0"), "{outcome:?}");
}

#[test]
fn a_read_only_root_cannot_be_written() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    let outcome = podman.run(&["--read-only"], "echo volatile >/tmp/file && cat /tmp/file && echo kept >/file");
    outcome.exits(1).prints("volatile").says("/file: Read-only file system");
    podman.run(&[], "echo kept >/file && cat /file").ok().prints("kept");
}

#[test]
fn limits_bite_and_an_oom_kill_is_reported() {
    needs!("podman", "conmon");
    let podman = Podman::new();
    podman.detached(&["--memory", "32m"], "exec dd if=/dev/zero of=/dev/null bs=200M");
    podman.call(&["wait", "box"]).ok().prints("137");
    // conmon 2.1 writes this file where podman 4.3 started it, and podman looks for it elsewhere.
    let noted = podman.island.dir().join("oom").is_file();
    assert!(noted || podman.inspect(".State.OOMKilled") == "true", "nobody noticed the kill");
    podman.remove();

    let forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all";
    let outcome = podman.run(&["--pids-limit", "6"], forks).says("can't fork");
    assert_eq!(outcome.stdout(), "");
}
