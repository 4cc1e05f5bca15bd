//! A container's life: created, started, paused, killed, entered, deleted.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use support::{Bundle, Container, Finish as _, lacks, privileged, processes_of, read, seconds, wait_until};

// Create, start, state, delete.

#[test]
fn a_created_container_waits_for_start() {
    privileged!();
    let container = Bundle::new("waits").shell("echo started; exec sleep 1000").created();
    assert_eq!(container.status(), "created");
    assert_eq!(container.stdout(), "");
    container.start().ok();
    container.wait_output("started\n");
    assert_eq!(container.status(), "running");
}

#[test]
fn state_goes_from_created_to_running_to_stopped_to_gone() {
    privileged!();
    let container = Bundle::new("states").sleeping().created();
    assert_eq!(container.status(), "created");
    assert_eq!(container.state()["pid"], container.pid());
    container.start().ok();
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.pid());
    container.kill("KILL").ok();
    container.wait_status("stopped");
    assert_eq!(container.state()["pid"], 0);
    container.delete().ok();
    container.call("state", &[]).refused().says("does not exist");
    container.leaves_nothing();
}

#[test]
fn the_first_process_becomes_a_child_of_the_caller_which_gets_its_status() {
    privileged!();
    let container = Bundle::new("reparent").shell("exit 42").created();
    let parent = read(format!("/proc/{}/stat", container.pid()));
    let parent = parent.rsplit_once(") ").expect("stat").1.split(' ').nth(1).map(str::to_owned);
    assert_eq!(parent, Some(std::process::id().to_string()));
    container.start().ok();
    assert_eq!(container.wait_exit(), 42);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
}

#[test]
fn when_create_returns_the_cgroup_is_final() {
    privileged!();
    let container = Bundle::new("final").sleeping().created();
    let cgroup = || read(format!("/proc/{}/cgroup", container.pid()));
    let before = cgroup();
    let directory = container.cgroup_file("pids", "");
    let name = directory.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    // crun has a cgroup of its own below systemd's.
    let ends = [format!("/{name}"), format!("/{name}/container")];
    assert!(before.lines().any(|line| ends.iter().any(|end| line.ends_with(end))), "{before}");
    container.start().ok();
    assert_eq!(cgroup(), before);
}

#[test]
fn an_id_is_used_only_once() {
    privileged!();
    let container = Bundle::new("twice").sleeping().started();
    let again =
        container.runtime.command(["create", "--bundle"]).arg(container.bundle.path()).arg(container.id()).finish();
    again.refused().says("exist");
    assert_eq!(container.status(), "running");
    container.exec(["true"]).ok();
}

#[test]
fn a_running_container_cannot_be_started() {
    privileged!();
    let container = Bundle::new("startrun").sleeping().started();
    container.start().refused();
    assert_eq!(container.status(), "running");
}

#[test]
fn a_stopped_container_cannot_be_started() {
    privileged!();
    let container = Bundle::new("startstop").started();
    container.wait_status("stopped");
    container.start().refused();
    assert_eq!(container.status(), "stopped");
}

#[test]
fn a_running_container_is_not_deleted_without_force() {
    privileged!();
    let container = Bundle::new("delrun").sleeping().started();
    container.delete().refused();
    assert_eq!(container.status(), "running");
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn deleting_a_created_container_kills_it() {
    privileged!();
    lacks!("crun" < "never": "delete of a created container without --force");
    let container = Bundle::new("delcreated").created();
    container.delete().ok();
    container.leaves_nothing();
}

#[test]
fn deleting_what_does_not_exist_fails_and_with_force_succeeds() {
    privileged!();
    let container = Container::new(Bundle::new("delnone"));
    container.delete().refused().says("does not exist");
    lacks!("crun" < "never": "a silent delete --force of an unknown id");
    container.delete_force().ok();
}

#[test]
fn deleting_wipes_a_state_directory_without_a_state() {
    privileged!();
    lacks!("crun" < "never": "a delete --force of a directory without a state file");
    let container = Container::new(Bundle::new("delhalf"));
    fs::create_dir_all(container.runtime.root.join(container.id())).expect("a half-made state directory");
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn delete_ends_processes_that_outlived_the_first_one() {
    privileged!();
    lacks!("runc" < "1.2": "an end to processes that outlive the first in a shared pid namespace on delete");
    let container = Bundle::new("outlive").without_namespace("pid").shell("sleep 1000 & exit 0").started();
    container.wait_status("stopped");
    wait_until("one process is left", seconds(5), || processes_of(container.id()).len() == 1);
    container.delete_force().ok();
    container.leaves_nothing();
}

// Run.

#[test]
fn run_returns_the_status_of_the_container() {
    privileged!();
    Bundle::new("status").shell("exit 7").run().exits(7);
    Bundle::new("status").shell("kill -9 $$").without_namespace("pid").run().exits(137);
}

#[test]
fn run_hands_over_the_three_standard_streams() {
    privileged!();
    let container = Container::new(Bundle::new("streams").shell("cat; echo error >&2"));
    let outcome = container.run_command(&[]).finish_with("some input\n").ok();
    assert_eq!(outcome.stdout(), "some input\n");
    assert_eq!(outcome.stderr(), "error\n");
}

#[test]
fn run_deletes_the_container_at_its_end() {
    privileged!();
    let container = Container::new(Bundle::new("runend"));
    container.run().ok();
    container.leaves_nothing();
    container.run().ok();
}

#[test]
fn run_with_keep_leaves_a_stopped_container() {
    privileged!();
    lacks!("crun" < "1.9": "run --keep");
    let container = Container::new(Bundle::new("keep").shell("exit 3"));
    container.run_command(&["--keep"]).finish().exits(3);
    assert_eq!(container.status(), "stopped");
    container.delete().ok();
    container.leaves_nothing();
}

#[test]
fn run_detached_returns_while_the_container_runs() {
    privileged!();
    let container = Container::new(Bundle::new("detach").sleeping());
    let pid_file = container.pid_file();
    let outcome = container.run_command(&["--detach", "--pid-file", &pid_file.to_string_lossy()]).finish();
    container.keep(outcome.ok());
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.pid());
}

/// Whoever waits for the end of a container does not keep others from it.
#[test]
fn a_run_in_the_foreground_leaves_the_container_to_other_commands() {
    privileged!();
    let container = Container::new(Bundle::new("foreground").sleeping());
    let mut run = container.run_command(&[]).spawn().expect("run");
    wait_until("it runs", seconds(10), || container.call("state", &[]).stdout().contains("\"running\""));
    container.call("pause", &[]).ok();
    assert_eq!(container.status(), "paused");
    container.call("resume", &[]).ok();
    container.delete().refused().says("not stopped");
    container.delete_force().ok();
    assert_eq!(run.wait().expect("run ends").code(), Some(137));
    container.leaves_nothing();
}

#[test]
fn run_passes_signals_on_to_the_container() {
    privileged!();
    let container =
        Container::new(Bundle::new("forward").shell("trap 'echo got; exit 9' TERM; echo up; sleep 1000 & wait"));
    let mut run = container.run_command(&[]).stdout(Stdio::piped()).spawn().expect("run");
    let mut output = run.stdout.take().expect("piped");
    let mut line = [0; 3];
    output.read_exact(&mut line).expect("the container's first line");
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGTERM).expect("signal the runtime");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the container's last line");
    assert_eq!(rest, "got\n");
    assert_eq!(run.wait().expect("run ends").code(), Some(9));
}

#[test]
fn output_through_a_pipe_ends_when_the_container_ends() {
    privileged!();
    let container = Container::new(Bundle::new("pipe").shell("read line; echo \"$line\"; exit 0"));
    let mut create = container.create_command(&[]);
    let mut create = create.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("create");
    let (mut input, mut output) = (create.stdin.take().expect("piped"), create.stdout.take().expect("piped"));
    assert!(create.wait().expect("create ends").success());
    container.start().ok();
    input.write_all(b"through\n").expect("write to the container");
    let mut all = String::new();
    // Ends only when nothing, not even a descriptor kept by a runtime process, holds the pipe.
    output.read_to_string(&mut all).expect("read to the end");
    assert_eq!(all, "through\n");
}

#[test]
fn eight_containers_start_at_once() {
    privileged!();
    std::thread::scope(|scope| {
        let run = |n: i32| move || Bundle::new("many").shell(&format!("echo {n}")).run().ok().prints(&n.to_string());
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(run(n))).collect();
        threads.into_iter().for_each(|thread| drop(thread.join().expect("a run")));
    });
}

// Kill.

#[test]
fn kill_sends_term_unless_told_otherwise() {
    privileged!();
    let container = Bundle::new("killterm").shell("trap 'exit 5' TERM; echo up; sleep 1000 & wait").started();
    container.wait_output("up");
    container.call("kill", &[]).ok();
    assert_eq!(container.wait_exit(), 5);
}

#[test]
fn kill_takes_a_signal_by_number_and_by_either_name() {
    privileged!();
    for signal in ["9", "KILL", "SIGKILL"] {
        let container = Bundle::new("killname").sleeping().started();
        container.kill(signal).ok();
        assert_eq!(container.wait_exit(), 137, "{signal}");
    }
    let container = Bundle::new("killname").shell("trap 'exit 5' USR1; echo up; sleep 1000 & wait").started();
    container.wait_output("up");
    container.kill("10").ok();
    assert_eq!(container.wait_exit(), 5);
}

#[test]
fn a_container_that_waits_for_start_ends_when_asked() {
    privileged!();
    lacks!("crun" < "never": "an init that hears signals before start");
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let container = Bundle::new("killcreated").sleeping().created();
        container.kill(signal).ok();
        container.wait_status("stopped");
    }
    // The program has its own say again.
    let container =
        Bundle::new("killstarted").shell("trap 'echo heard' TERM; echo up; sleep 1000 & wait; wait").created();
    container.start().ok();
    container.wait_output("up\n");
    container.kill("TERM").ok();
    container.wait_output("up\nheard\n");
    assert_eq!(container.status(), "running");
}

#[test]
fn kill_refuses_an_unknown_signal() {
    privileged!();
    lacks!("crun" < "1.9": "a check of the signal's name");
    let container = Bundle::new("killbad").sleeping().started();
    for signal in ["NOSUCH", "-1", "999"] {
        let outcome = container.runtime.call(["kill", "--", container.id(), signal]);
        assert_ne!(outcome.code(), 0, "{outcome:?}");
    }
    assert_eq!(container.status(), "running");
}

#[test]
fn kill_of_a_created_container_ends_it() {
    privileged!();
    let container = Bundle::new("killcreated").created();
    container.kill("KILL").ok();
    assert_eq!(container.wait_exit(), 137);
    assert_eq!(container.status(), "stopped");
}

#[test]
fn kill_of_a_stopped_container_says_it_is_not_running() {
    privileged!();
    let container = Bundle::new("killstopped").started();
    container.wait_status("stopped");
    container.kill("KILL").refused().says("not running");
}

#[test]
fn kill_all_reaches_every_process() {
    privileged!();
    let script = "for i in 1 2 3; do sh -c 'trap \"\" TERM; sleep 1000' & done; echo up; wait";
    let container = Bundle::new("killall").without_namespace("pid").shell(script).started();
    container.wait_output("up");
    container.runtime.call(["kill", "--all", container.id(), "KILL"]).ok();
    wait_until("all are gone", seconds(10), || processes_of(container.id()).is_empty());
}

#[test]
fn kill_all_reaches_processes_whose_first_process_is_gone() {
    privileged!();
    let container = Bundle::new("killorphans").without_namespace("pid").shell("sleep 1000 & exit 0").started();
    container.wait_status("stopped");
    container.runtime.call(["kill", "--all", container.id(), "9"]).ok();
    wait_until("all are gone", seconds(10), || processes_of(container.id()).is_empty());
}

/// `cgroup.kill` passes it by, and /proc calls it a zombie.
#[test]
fn a_process_that_has_lost_its_first_thread_is_alive_and_can_be_killed() {
    privileged!();
    lacks!("runc" < "never": "a sight of processes without their first thread", "crun" < "never": "the same");
    let container = Bundle::new("leaderless").with_probe("leaderless").args(["leaderless"]).started();
    container.wait_output("up");
    wait_until("its first thread has ended", seconds(5), || is_leaderless(container.pid()));
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_status("stopped");
    container.delete().ok();
    container.leaves_nothing();
}

#[test]
fn kill_all_and_delete_reach_processes_that_have_lost_their_first_thread() {
    privileged!();
    lacks!("runc" < "1.2": "an end to every process in a shared pid namespace", "crun" < "never": "the same");
    let script = "leaderless & exec sleep 1000";
    let bundle = || Bundle::new("leaderless").with_probe("leaderless").without_namespace("pid").shell(script);
    let others = |container: &Container| {
        let procs = read(container.cgroup_file("pids", "cgroup.procs"));
        procs.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != container.pid()).collect::<Vec<i32>>()
    };
    for all in [true, false] {
        let container = bundle().started();
        container.wait_output("up");
        let [other] = others(&container)[..] else { panic!("one process beside the first") };
        wait_until("its first thread has ended", seconds(5), || is_leaderless(other));
        if all {
            container.runtime.call(["kill", "--all", container.id(), "KILL"]).ok();
            wait_until("all are gone", seconds(10), || others(&container).is_empty());
        }
        container.delete_force().ok();
        assert!(!is_leaderless(other));
        container.leaves_nothing();
    }
}

fn is_leaderless(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:\tZ") && status.contains("Threads:\t2")
}

#[test]
fn the_end_of_the_first_process_ends_the_others() {
    privileged!();
    let container = Bundle::new("pidns").shell("sleep 1000 & sleep 1001 & exec sleep 1002").started();
    wait_until("three processes run", seconds(10), || processes_of(container.id()).len() == 3);
    container.kill("KILL").ok();
    wait_until("all are gone", seconds(10), || processes_of(container.id()).is_empty());
}

// Pause and resume.

/// A container that counts in `/shared/count` on a volume.
fn counting(name: &str) -> Container {
    let bundle = Bundle::new(name).shell("i=0; while :; do i=$((i+1)); echo $i >/shared/count; sleep 0.01; done");
    let volume = bundle.dir("volume");
    let container = bundle.mount("/shared", "bind", volume, &["bind"]).started();
    wait_until("it counts", seconds(10), || count(&container) > 0);
    container
}

fn count(container: &Container) -> u64 {
    read(container.bundle.path().join("volume/count")).parse().unwrap_or(0)
}

#[test]
fn pause_freezes_every_process_and_resume_thaws_it() {
    privileged!();
    let container = counting("pause");
    container.call("pause", &[]).ok();
    assert_eq!(container.status(), "paused");
    let at_pause = count(&container);
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(count(&container), at_pause);
    container.call("resume", &[]).ok();
    assert_eq!(container.status(), "running");
    wait_until("it counts again", seconds(10), || count(&container) > at_pause);
}

#[test]
fn a_running_container_cannot_be_resumed_nor_a_stopped_one_paused() {
    privileged!();
    lacks!("crun" < "never": "a check of the state before resume");
    let container = Bundle::new("badresume").sleeping().started();
    container.call("resume", &[]).refused();
    container.kill("KILL").ok();
    container.wait_status("stopped");
    container.call("pause", &[]).refused();
}

#[test]
fn exec_in_a_paused_container_is_refused() {
    privileged!();
    let container = counting("execpaused");
    container.call("pause", &[]).ok();
    let outcome = container.exec_command(&[], &["true"]).finish_within(seconds(5));
    assert!(!outcome.timed_out && outcome.code() != 0, "{outcome:?}");
    outcome.says("paused");
    container.call("resume", &[]).ok();
    container.exec(["true"]).ok();
}

#[test]
fn a_paused_container_can_be_killed_and_deleted_by_force() {
    privileged!();
    let container = counting("killpaused");
    container.call("pause", &[]).ok();
    container.delete_force().ok();
    container.leaves_nothing();
}

// Exec.

#[test]
fn exec_returns_output_and_status_of_its_process() {
    privileged!();
    let container = Bundle::new("exec").sleeping().started();
    let outcome = container.sh("echo out; echo err >&2; exit 11").exits(11);
    assert_eq!((outcome.stdout().as_str(), outcome.stderr().as_str()), ("out\n", "err\n"));
    container.sh("kill -9 $$").exits(137);
    container.exec_command(&[], &["cat"]).finish_with("input\n").ok().prints("input");
}

#[test]
fn exec_enters_every_namespace_and_the_cgroup_of_the_container() {
    privileged!();
    let container = Bundle::new("execns").namespace("cgroup", None).sleeping().started();
    let script = "for n in cgroup ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done";
    let inside = container.sh(script).ok().stdout();
    let first = ["cgroup", "ipc", "mnt", "net", "pid", "uts", "user"].map(|kind| {
        let link = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).expect("namespace");
        link.to_string_lossy().into_owned()
    });
    assert_eq!(inside.lines().collect::<Vec<_>>(), first);
    let outcome = container.exec_command(&["--detach"], &["sleep", "1000"]).finish().ok();
    wait_until("its process is in the cgroup", seconds(5), || {
        let all = read(container.cgroup_file("pids", "cgroup.procs"));
        all.lines().any(|pid| read(format!("/proc/{pid}/cmdline")).starts_with("sleep\u{0}1000"))
            && all.lines().count() == 3
    });
    drop(outcome);
}

#[test]
fn exec_has_what_the_container_has_unless_told_otherwise() {
    privileged!();
    lacks!("crun" < "1.9": "the container's working directory and no_new_privs in exec");
    let container = Bundle::new("execas").set("/process/cwd", "/etc").sleeping().started();
    container
        .sh("pwd; echo $TERM; id -u; grep NoNewPrivs /proc/self/status")
        .ok()
        .prints("/etc\nxterm\n0\nNoNewPrivs:\t1");
    container.exec_command(&["--cwd", "/tmp"], &["pwd"]).finish().ok().prints("/tmp");
    container
        .exec_command(&["--env", "A=1", "--env", "B=2"], &["sh", "-c", "echo $A$B$TERM"])
        .finish()
        .ok()
        .prints("12xterm");
    container
        .exec_command(&["--user", "1000:5"], &["sh", "-c", "echo $(id -u) $(id -g)"])
        .finish()
        .ok()
        .prints("1000 5");
}

#[test]
fn exec_takes_a_process_from_a_file() {
    privileged!();
    let container = Bundle::new("execfile").sleeping().started();
    let process = serde_json::json!({
        "terminal": false, "cwd": "/tmp", "user": { "uid": 1000, "gid": 1000, "additionalGids": [5, 7] },
        "args": ["sh", "-c", "echo $(pwd) $(id -u) $(id -G) $COLOUR"], "env": ["PATH=/bin", "COLOUR=red"]
    });
    let file = container.bundle.file("process.json", &process.to_string());
    let file = file.to_string_lossy();
    container.exec_command(&["--process", &file], &[]).finish().ok().prints("/tmp 1000 1000 5 7 red");
}

#[test]
fn exec_detached_returns_at_once_and_writes_the_pid_file() {
    privileged!();
    let container = Bundle::new("execdetach").sleeping().started();
    let pid_file = container.bundle.path().join("exec.pid");
    let options = ["--detach", "--pid-file", &pid_file.to_string_lossy()];
    let outcome = container.exec_command(&options, &["sh", "-c", "echo in $$; sleep 1000"]).finish().ok();
    let pid = fs::read_to_string(&pid_file).expect("pid file");
    assert!(pid.bytes().all(|byte| byte.is_ascii_digit()) && !pid.is_empty(), "{pid:?}");
    let status = read(format!("/proc/{pid}/status"));
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("NSpid");
    let inner = inner.split_whitespace().last().expect("pid in the container");
    wait_until("it prints", seconds(5), || outcome.stdout() == format!("in {inner}\n"));
}

#[test]
fn exec_of_a_missing_program_fails_and_writes_no_pid_file() {
    privileged!();
    let container = Bundle::new("execmissing").sleeping().started();
    let pid_file = container.bundle.path().join("exec.pid");
    let options = ["--pid-file", &pid_file.to_string_lossy()];
    let outcome = container.exec_command(&options, &["/no/such/program"]).finish();
    assert_ne!(outcome.code(), 0);
    outcome.says("no such file or directory");
    container.exec(["no-such-program"]).says("executable file not found in $PATH");
    lacks!("crun" < "1.9": "a pid file written only when exec succeeds");
    assert!(!pid_file.is_file());
    container.exec(["no-such-program"]).exits(255);
    container.exec(["/etc/passwd"]).exits(255).says("permission denied");
}

#[test]
fn exec_in_a_stopped_container_is_refused() {
    privileged!();
    let container = Bundle::new("execstopped").started();
    container.wait_status("stopped");
    let outcome = container.exec(["true"]);
    assert_ne!(outcome.code(), 0);
    lacks!("crun" < "never": "runc's message for exec in a stopped container");
    outcome.says("cannot exec in a stopped container");
}

#[test]
fn execs_at_once_do_not_disturb_each_other() {
    privileged!();
    let container = Bundle::new("execmany").sleeping().started();
    let commands: Vec<_> = (0..12).map(|n| container.exec_command(&[], &["echo", &n.to_string()])).collect();
    std::thread::scope(|scope| {
        for (n, mut command) in commands.into_iter().enumerate() {
            scope.spawn(move || command.finish().ok().prints(&n.to_string()));
        }
    });
}

#[test]
fn the_end_of_the_container_ends_a_running_exec() {
    privileged!();
    let container = Bundle::new("execend").sleeping().started();
    let mut exec = container.exec_command(&[], &["sleep", "999"]).spawn().expect("exec");
    wait_until("it runs", seconds(10), || {
        processes_of(container.id()).iter().any(|(_, name)| name.starts_with("sleep 999"))
    });
    container.kill("KILL").ok();
    wait_until("exec ends", seconds(10), || exec.try_wait().expect("wait").is_some());
    assert_eq!(exec.wait().expect("exec ends").code(), Some(137));
}
