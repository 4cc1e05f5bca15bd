//! process: who runs, where, with what around it and what it may do.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, lacks, privileged, read, seconds, wait_until};
use serde_json::json;
use std::process::Command;

const CAP_SYS_RESOURCE: u64 = 1 << 24;

// Environment, directory, arguments.

#[test]
fn the_environment_is_exactly_what_is_asked() {
    privileged!();
    let env = json!(["PATH=/bin", "A=1", "B=with spaces and = signs", "HOME=/somewhere", "EMPTY="]);
    let outcome = Bundle::new("env").set("/process/env", env).args(["env"]).run().ok();
    let mut lines: Vec<String> = outcome.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["A=1", "B=with spaces and = signs", "EMPTY=", "HOME=/somewhere", "PATH=/bin"]);
}

#[test]
fn nothing_of_the_callers_environment_gets_in() {
    privileged!();
    let container = Container::new(Bundle::new("envleak").args(["env"]));
    let outcome = container.run_command(&[]).env("SECRET", "of-the-caller").finish().ok();
    assert!(!outcome.stdout().contains("of-the-caller"), "{outcome:?}");
}

#[test]
fn variables_are_given_once_and_an_empty_home_is_none() {
    privileged!();
    lacks!("runc" < "1.3": "variables given once", "crun" < "never": "variables given once");
    let env = json!(["PATH=/bin", "ONE=1", "HOME=/first", "ONE=2", "HOME="]);
    Bundle::new("envonce")
        .set("/process/env", env)
        .shell("env | grep -e ONE -e HOME | sort")
        .run()
        .ok()
        .prints("HOME=/root\nONE=2");
}

#[test]
fn home_comes_from_the_containers_passwd_when_it_is_not_set() {
    privileged!();
    let user = json!({ "uid": 1000, "gid": 1000 });
    Bundle::new("home").shell("echo $HOME").run().ok().prints("/root");
    Bundle::new("home").set("/process/user", user.clone()).shell("echo $HOME").run().ok().prints("/tmp");
    lacks!("crun" < "never": "a HOME of its own in exec");
    let container = Bundle::new("home").set("/process/user", user).sleeping().started();
    container.sh("echo $HOME").ok().prints("/tmp");
    let process =
        json!({ "cwd": "/", "args": ["sh", "-c", "echo $HOME"], "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    let file = container.bundle.file("p.json", &process.to_string());
    container.exec_command(&["--process", &file.to_string_lossy()], &[]).finish().ok().prints("/root");
}

#[test]
fn the_working_directory_is_set_and_made_when_missing() {
    privileged!();
    Bundle::new("cwd").set("/process/cwd", "/etc").args(["pwd"]).run().ok().prints("/etc");
    Bundle::new("cwd").writable().set("/process/cwd", "/made/for/it").args(["pwd"]).run().ok().prints("/made/for/it");
    let bundle = Bundle::new("cwd");
    std::os::unix::fs::symlink("/etc", bundle.rootfs().join("link")).expect("symlink");
    bundle.set("/process/cwd", "/link").args(["pwd", "-P"]).run().ok().prints("/etc");
}

#[test]
fn the_program_is_looked_up_in_the_containers_path_at_create() {
    privileged!();
    Bundle::new("path").args(["echo", "found"]).run().ok().prints("found");
    Bundle::new("path").set("/process/cwd", "/bin").args(["./echo", "relative"]).run().ok().prints("relative");
    let missing = Container::new(Bundle::new("path").args(["no-such-program"]));
    missing.create_command(&[]).finish().refused().says("executable file not found in $PATH");
    missing.leaves_nothing();
    let missing = Container::new(Bundle::new("path").args(["/no/such/program"]));
    missing.create_command(&[]).finish().refused().says("no such file or directory");
}

#[test]
fn a_program_that_cannot_be_executed_fails_create() {
    privileged!();
    lacks!("crun" < "1.9": "a look at the execute permission during create");
    let container = Container::new(Bundle::new("noexec").args(["/etc/passwd"]));
    container.create_command(&[]).finish().refused().says("permission denied");
    container.leaves_nothing();
    let container = Container::new(Bundle::new("isdir").args(["/etc"]));
    let outcome = container.create_command(&[]).finish().refused();
    let text = outcome.stderr().to_lowercase();
    assert!(text.contains("is a directory") || text.contains("permission denied"), "{outcome:?}");
}

#[test]
fn arguments_arrive_unchanged() {
    privileged!();
    let outcome = Bundle::new("args").args(["printf", "<%s>\n", "", "a b", "ü\n", "$HOME", "*"]).run().ok();
    assert_eq!(outcome.stdout(), "<>\n<a b>\n<ü\n>\n<$HOME>\n<*>\n");
}

// Ids and modes.

#[test]
fn user_and_groups_are_exactly_what_is_asked() {
    privileged!();
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 2000] });
    let bundle = Bundle::new("ids").set("/process/user", user);
    let outcome = bundle.shell("grep -E '^(Uid|Gid|Groups)' /proc/self/status").run().ok();
    let stdout = outcome.stdout();
    let lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Uid:", "1000", "1000", "1000", "1000"]);
    assert_eq!(lines[1], ["Gid:", "1001", "1001", "1001", "1001"]);
    assert!(lines[2] == ["Groups:", "5", "2000"] || lines[2] == ["Groups:", "5", "1001", "2000"], "{stdout}");
}

#[test]
fn without_additional_groups_there_are_none() {
    privileged!();
    let container = Container::new(Bundle::new("nogroups").shell("grep Groups: /proc/self/status"));
    // The caller's own groups must not leak in.
    let mut with_groups = Command::new("setpriv");
    let run = container.run_command(&[]);
    with_groups.args(["--groups", "5,2000"]).arg(run.get_program()).args(run.get_args());
    with_groups.finish().ok().prints("Groups:");
}

#[test]
fn umask_is_set_and_is_0022_otherwise() {
    privileged!();
    Bundle::new("umask").set("/process/user/umask", 0o077).shell("umask").run().ok().prints("0077");
    let container = Container::new(Bundle::new("umask").shell("umask"));
    let mut odd = Command::new("sh");
    let run = container.run_command(&[]);
    odd.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    odd.finish().ok().prints("0022");
    lacks!("runc" < "never": "the container's umask in exec", "crun" < "never": "the container's umask in exec");
    let container = Bundle::new("umask").set("/process/user/umask", 0o027).sleeping().started();
    container.sh("umask").ok().prints("0027");
}

#[test]
fn rlimits_are_set() {
    privileged!();
    let limits = json!([
        { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
        { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        { "type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152 },
    ]);
    let container = Bundle::new("rlimits").set("/process/rlimits", limits).sleeping().started();
    lacks!("runc" < "1.2": "an unspoilt soft limit of open files in exec");
    lacks!("crun" < "never": "the container's rlimits in exec");
    let script = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Ss; ulimit -Hs";
    container.sh(script).ok().prints("100\n200\n0\n1024\n2048");
    let own = std::fs::read_to_string(format!("/proc/{}/limits", container.pid())).expect("limits");
    let files = own.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["100", "200"]);
}

/// Setting the container up takes more descriptors than the program may have.
#[test]
fn few_open_files_are_enough_for_the_program() {
    privileged!();
    lacks!("runc" < "never": "a limit that its own descriptors need not keep", "crun" < "never": "the same");
    let mut bundle = Bundle::new("fewfiles");
    let volume = bundle.dir("volume");
    for number in 0..60 {
        bundle = bundle.mount(&format!("/v{number}"), "bind", &volume, &["bind"]);
    }
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 8, "hard": 8 }]);
    let container = bundle.set("/process/rlimits", limits).shell("echo $HOME; sleep 1000").started();
    container.wait_output("/");
    container.sh("ulimit -n").ok().prints("8");
}

/// In a user namespace nobody may raise a limit: it is done before.
#[test]
fn a_hard_limit_is_raised_for_a_container_with_a_user_namespace() {
    privileged!();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    let bundle = Bundle::new("raised").namespace("user", None);
    bundle.chown(100_000);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 600, "hard": 700 }]);
    let container = Container::new(bundle.set("/process/rlimits", limits).shell("ulimit -Sn; ulimit -Hn"));
    let run = container.run_command(&[]);
    let mut low = Command::new("sh");
    low.args(["-c", "ulimit -n 500; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let outcome = low.finish();
    let status = read("/proc/self/status");
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("capabilities");
    if u64::from_str_radix(capabilities, 16).expect("a number") & CAP_SYS_RESOURCE != 0 {
        outcome.ok().prints("600\n700");
    } else {
        assert_eq!(outcome.code(), 1);
        assert!(outcome.stderr().to_lowercase().contains("rlimit"), "{outcome:?}");
    }
}

#[test]
fn oom_score_adj_is_set_and_else_left_alone() {
    privileged!();
    Bundle::new("oom")
        .set("/process/oomScoreAdj", 300)
        .args(["cat", "/proc/self/oom_score_adj"])
        .run()
        .ok()
        .prints("300");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").expect("oom_score_adj");
    Bundle::new("oom").args(["cat", "/proc/self/oom_score_adj"]).run().ok().prints(own.trim());
    lacks!("crun" < "never": "the container's oom_score_adj in exec");
    let container = Bundle::new("oom").set("/process/oomScoreAdj", 300).sleeping().started();
    container.exec(["cat", "/proc/self/oom_score_adj"]).ok().prints("300");
}

// Capabilities and no_new_privs.

/// The five sets as /proc shows them: inheritable, permitted, effective, bounding, ambient.
const SETS: &str = "grep ^Cap /proc/self/status | cut -f2 | tr '\\n' ' '";

fn sets(inheritable: u64, permitted: u64, effective: u64, bounding: u64, ambient: u64) -> String {
    [inheritable, permitted, effective, bounding, ambient].map(|set| format!("{set:016x}")).join(" ")
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

#[test]
fn the_five_capability_sets_are_what_is_asked() {
    privileged!();
    let user = json!({ "uid": 1000, "gid": 1000 });
    let bundle = || {
        Bundle::new("caps")
            .set("/process/user", user.clone())
            .set("/process/capabilities/bounding", json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]))
            .set("/process/capabilities/permitted", json!(["CAP_CHOWN", "CAP_KILL"]))
            .set("/process/capabilities/effective", json!(["CAP_KILL"]))
    };
    // execve of an ordinary file drops what is not ambient.
    bundle().shell(SETS).run().ok().prints(&sets(0, 0, 0, CHOWN | KILL | NET_RAW, 0));
    let ambient = bundle()
        .set("/process/capabilities/inheritable", json!(["CAP_KILL"]))
        .set("/process/capabilities/ambient", json!(["CAP_KILL"]));
    ambient.shell(SETS).run().ok().prints(&sets(KILL, KILL, KILL, CHOWN | KILL | NET_RAW, KILL));
}

#[test]
fn root_gets_the_bounding_set_and_no_more() {
    privileged!();
    let all = CHOWN | KILL;
    let list = json!(["CAP_CHOWN", "CAP_KILL"]);
    let bundle = Bundle::new("caproot");
    let bundle = ["bounding", "permitted", "effective"]
        .iter()
        .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), list.clone()));
    let container = bundle.sleeping().started();
    container.sh(SETS).ok().prints(&sets(0, all, all, all, 0));
}

#[test]
fn without_capabilities_there_are_none() {
    privileged!();
    let empty = json!({ "bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": [] });
    Bundle::new("nocaps").set("/process/capabilities", empty).shell(SETS).run().ok().prints(&sets(0, 0, 0, 0, 0));
}

#[test]
fn exec_gets_the_containers_capabilities_and_adds_those_asked_for() {
    privileged!();
    let list = json!(["CAP_CHOWN"]);
    let bundle = Bundle::new("capexec").set("/process/capabilities/bounding", list.clone());
    let bundle =
        bundle.set("/process/capabilities/permitted", list.clone()).set("/process/capabilities/effective", list);
    let container = bundle.sleeping().started();
    container.sh(SETS).ok().prints(&sets(0, CHOWN, CHOWN, CHOWN, 0));
    lacks!("crun" < "1.9": "exec --cap that leaves the inheritable set empty");
    let outcome = container.exec_command(&["--cap", "CAP_KILL"], &["sh", "-c", SETS]).finish().ok();
    let added = outcome.trimmed();
    let bounding = added.split(' ').nth(3).expect("bounding");
    assert_eq!(bounding, format!("{:016x}", CHOWN | KILL), "{added}");
    let outcome = container.exec_command(&["--cap", "CAP_OF_TOMORROW"], &["sh", "-c", SETS]).finish().ok();
    outcome.prints(&sets(0, CHOWN, CHOWN, CHOWN, 0));
}

#[test]
fn exec_adds_ambient_capabilities_where_they_are_inheritable() {
    privileged!();
    lacks!("runc" < "1.3": "ambient capabilities added by exec", "crun" < "never": "ambient capabilities added by exec");
    let mut bundle = Bundle::new("capambient");
    for (set, names) in [
        ("bounding", json!(["CAP_CHOWN", "CAP_KILL"])),
        ("inheritable", json!(["CAP_CHOWN", "CAP_KILL"])),
        ("permitted", json!(["CAP_CHOWN"])),
        ("effective", json!(["CAP_CHOWN"])),
        ("ambient", json!(["CAP_CHOWN"])),
    ] {
        bundle = bundle.set(&format!("/process/capabilities/{set}"), names);
    }
    let container = bundle.sleeping().started();
    let both = CHOWN | KILL;
    let outcome = container.exec_command(&["--cap", "CAP_KILL"], &["sh", "-c", SETS]).finish().ok();
    outcome.prints(&sets(both, both, both, both, both));
}

#[test]
fn no_new_privs_is_what_is_asked() {
    privileged!();
    for (asked, seen) in [(true, "1"), (false, "0")] {
        let bundle = Bundle::new("nnp").set("/process/noNewPrivileges", asked);
        bundle.shell("grep NoNewPrivs: /proc/self/status | cut -f2").run().ok().prints(seen);
    }
}

// Scheduling.

/// Runs `body` on a thread that may only use the first of its processors; with the list of all of them.
fn on_one_processor(body: impl FnOnce(&str) + Send) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;
    let all = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let first = (0..CpuSet::count()).find(|&cpu| all.is_set(cpu).expect("cpu")).expect("a processor");
    let list = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let list = list.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).expect("list").to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut one = CpuSet::new();
            one.set(first).expect("cpu");
            sched_setaffinity(Pid::from_raw(0), &one).expect("affinity");
            body(&list);
        });
    });
}

#[test]
fn the_callers_processors_are_not_the_containers() {
    privileged!();
    lacks!("runc" < "1.3": "processors reset", "crun" < "1.20": "processors reset");
    on_one_processor(|all| {
        let seen = "grep Cpus_allowed_list: /proc/self/status | cut -f2";
        let container = Bundle::new("cpus").sleeping().started();
        Bundle::new("cpusrun").shell(seen).run().ok().prints(all);
        container.sh(seen).ok().prints(all);
    });
}

#[test]
fn the_personality_is_set() {
    privileged!();
    lacks!("runc" < "1.2": "personality", "crun" < "1.9": "personality");
    let bundle = Bundle::new("personality").set("/linux/personality", json!({ "domain": "LINUX32" }));
    // Not uname's machine: not every kernel has another name for it.
    bundle.args(["cat", "/proc/self/personality"]).run().ok().prints("00000008");
}

#[test]
fn the_scheduler_is_set() {
    privileged!();
    lacks!("runc" < "1.2": "scheduler", "crun" < "1.9": "scheduler");
    let batch = json!({ "policy": "SCHED_BATCH", "nice": 5 });
    let container = Bundle::new("sched").with_probe("probe").set("/process/scheduler", batch).sleeping().started();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", container.pid())).expect("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("stat").1.split(' ').collect();
    assert_eq!((fields[16], fields[38]), ("5", "3"), "nice and policy in {stat}");
}

#[test]
fn a_process_that_is_added_can_have_a_deadline() {
    privileged!();
    lacks!("runc" < "1.2": "scheduler", "crun" < "1.9": "scheduler");
    let container = Bundle::new("deadline").sleeping().started();
    let scheduler =
        json!({ "policy": "SCHED_DEADLINE", "runtime": 100_000, "deadline": 1_000_000, "period": 1_000_000 });
    let process = json!({
        "cwd": "/", "args": ["cut", "-d", " ", "-f", "41", "/proc/self/stat"], "user": { "uid": 1000, "gid": 1000 },
        "env": ["PATH=/bin"], "scheduler": scheduler,
    });
    let file = container.bundle.file("process.json", &process.to_string());
    // 6 is SCHED_DEADLINE (proc_pid_stat(5)).
    container.exec_command(&["--process", &file.to_string_lossy()], &[]).finish().ok().prints("6");
}

#[test]
fn the_io_priority_is_set() {
    privileged!();
    lacks!("runc" < "1.2": "ioPriority", "crun" < "1.9": "ioPriority");
    let priority = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
    let bundle = Bundle::new("ioprio").with_probe("probe").set("/process/ioPriority", priority);
    bundle.args(["probe", "ioprio"]).run().ok().prints("class 2 level 6");
}

// Descriptors.

#[test]
fn only_the_standard_descriptors_are_open() {
    privileged!();
    let container = Container::new(Bundle::new("fds").with_probe("probe").args(["probe", "fds"]));
    // Descriptors 3 to 8 of the caller, directories among them, are open and not close-on-exec.
    let mut leaky = Command::new("sh");
    let run = container.run_command(&[]);
    let script = "exec 3</ 4</etc 5</etc/passwd 6</tmp 7</ 8</; exec \"$@\"";
    leaky.args(["-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    let outcome = leaky.finish().ok();
    let stdout = outcome.stdout();
    let numbers: Vec<&str> = stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(numbers, ["0", "1", "2"], "{outcome:?}");
    let container = Bundle::new("fds").with_probe("probe").sleeping().started();
    assert_eq!(container.exec(["probe", "fds"]).ok().stdout().lines().count(), 3);
}

#[test]
fn preserve_fds_hands_over_that_many_more() {
    privileged!();
    let bundle = Bundle::new("preserve");
    let file = bundle.file("given", "content of three\n");
    let container = Container::new(bundle.shell("cat <&3; [ -e /proc/self/fd/4 ] || echo no four"));
    let run = container.run_command(&["--preserve-fds", "1"]);
    let mut with_three = Command::new("sh");
    with_three.args(["-c", "exec 3<\"$0\" 4</; exec \"$@\""]).arg(file).arg(run.get_program()).args(run.get_args());
    with_three.finish().ok().prints("content of three\nno four");
}

#[test]
fn preserve_fds_of_a_missing_descriptor_is_refused() {
    privileged!();
    lacks!("crun" < "1.9": "a check of the descriptors to preserve");
    lacks!("runc" < "never": "a check of the descriptors to preserve that its own do not fool");
    let container = Container::new(Bundle::new("preservenone"));
    let run = container.run_command(&["--preserve-fds", "2"]);
    let mut without = Command::new("sh");
    without.args(["-c", "exec 3</ 4<&-; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    without.finish().refused().explains("--preserve-fds: file descriptor 4");
    let mut without = Command::new("sh");
    without.args(["-c", "export LISTEN_FDS=2 LISTEN_PID=$$; exec 3</ 4<&-; exec \"$@\"", "sh"]).arg(run.get_program());
    let run = container.run_command(&[]);
    without.args(run.get_args()).finish().refused().explains("LISTEN_FDS: file descriptor 4");
    container.leaves_nothing();
}

#[test]
fn listen_fds_extends_the_preserved_descriptors() {
    privileged!();
    let bundle = Bundle::new("listen");
    let file = bundle.file("given", "socket\n");
    let container = Container::new(bundle.shell("cat <&3; echo $LISTEN_FDS"));
    let run = container.run_command(&[]);
    let mut with_three = Command::new("sh");
    let script = "exec 3<\"$0\"; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    with_three.args(["-c", script]).arg(file).arg(run.get_program()).args(run.get_args());
    let outcome = with_three.finish().ok();
    assert!(outcome.stdout().starts_with("socket\n"), "{outcome:?}");
}

#[test]
fn signals_start_unblocked_and_with_default_actions() {
    privileged!();
    lacks!("runc" < "never": "default signal actions when the caller ignores signals");
    lacks!("crun" < "1.9": "default signal actions when the caller ignores signals");
    let container = Container::new(Bundle::new("signals").args(["grep", "^Sig\\(Blk\\|Ign\\)", "/proc/self/status"]));
    let run = container.run_command(&[]);
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' PIPE USR1; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let stdout = ignoring.finish().ok().stdout();
    for line in stdout.lines() {
        let set = u64::from_str_radix(line.split_whitespace().last().expect("a set"), 16).expect("hexadecimal");
        // 32 and 33 are the C library's own: what the caller did with them is out of a runtime's reach.
        assert_eq!(set & !(0b11 << 31), 0, "{stdout}");
    }
    assert_eq!(stdout.lines().count(), 2);
}

#[test]
fn the_session_keyring_is_new() {
    privileged!();
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let bundle = Bundle::new("keyring").with_probe("probe").args(["probe", "keyring"]);
            bundle.run().ok().trimmed()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    let host = Command::new(crate::support::probe("probe")).arg("keyring").finish().ok().trimmed();
    assert!(!ids.contains(&host), "{ids:?} and {host}");
}

#[test]
fn the_first_process_has_a_session_and_pid_of_its_own() {
    privileged!();
    let container = Bundle::new("session").shell("echo up; exec sleep 1000").started();
    container.wait_output("up");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", container.pid())).expect("stat");
    let session: i32 =
        stat.rsplit_once(") ").expect("stat").1.split(' ').nth(3).expect("session").parse().expect("pid");
    assert_eq!(session, container.pid());
    wait_until("sleep is process 1", seconds(5), || container.sh("cat /proc/1/comm").trimmed() == "sleep");
}
