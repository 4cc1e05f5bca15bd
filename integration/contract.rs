//! What callers (containerd's shim, podman, conmon, CRI-O, docker) rely on: flags, files, streams, messages, JSON.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use support::{
    Bundle, Container, Finish as _, Kind, cgroup2_only, controllers, lacks, privileged, read, seconds, wait_until,
};

// Flags.

#[test]
fn flags_are_accepted_in_gos_style() {
    privileged!();
    lacks!("crun" < "never": "flags with a single dash");
    let container = Container::new(Bundle::new("flags").by_files());
    let root = format!("-root={}", container.runtime.root.display());
    let bundle = container.bundle.path().to_string_lossy().into_owned();
    let call = |args: &[&str]| container.runtime.bare().args([&root[..], "-debug=false"]).args(args).finish();
    call(&["create", "-bundle", &bundle, "--no-pivot=false", "-no-new-keyring", container.id()]).ok();
    call(&["start", container.id()]).ok();
    container.wait_status("stopped");
    call(&["delete", "-force=true", container.id()]).ok();
    container.leaves_nothing();
}

#[test]
fn options_are_accepted_after_the_container_id() {
    privileged!();
    lacks!("crun" < "never": "options after positionals");
    lacks!("runc" < "never": "options after positionals in this version of its parser");
    let container = Container::new(Bundle::new("after").sleeping());
    let bundle = container.bundle.path().to_string_lossy().into_owned();
    container.runtime.call(["create", container.id(), "--bundle", &bundle]).ok();
    container.start().ok();
    container.runtime.call(["kill", container.id(), "KILL"]).ok();
    container.wait_status("stopped");
    container.runtime.call(["delete", container.id(), "--force"]).ok();
}

#[test]
fn the_bundle_is_the_current_directory_unless_named() {
    privileged!();
    let container = Container::new(Bundle::new("cwdbundle").args(["echo", "here"]));
    let mut command = container.runtime.command(["run", container.id()]);
    command.current_dir(container.bundle.path()).finish().ok().prints("here");
}

#[test]
fn version_prints_the_lines_that_go_runc_parses() {
    privileged!();
    let container = Container::new(Bundle::new("version"));
    let stdout = container.runtime.bare().arg("--version").finish().ok().stdout();
    let lines: Vec<&str> = stdout.lines().collect();
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!((words.len(), words[1]), (3, "version"), "{stdout}");
    assert!(words[2].starts_with(|c: char| c.is_ascii_digit()), "{stdout}");
    assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{stdout}");
    assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{stdout}");
}

#[test]
fn help_is_there_on_every_level() {
    privileged!();
    let container = Container::new(Bundle::new("help"));
    for args in [&["--help"][..], &["create", "--help"], &["exec", "--help"]] {
        assert!(container.runtime.bare().args(args).finish().ok().stdout().contains("exec") || args[0] == "create");
    }
    lacks!("crun" < "never": "the command help");
    container.runtime.bare().args(["-h"]).finish().ok();
    let outcome = container.runtime.bare().args(["help", "foo"]).finish();
    assert!((outcome.stdout() + &outcome.stderr()).contains("No help topic for 'foo'"), "{outcome:?}");
}

// The log and standard error.

fn failing_create(container: &Container, log: &str, options: &[&str]) -> support::Outcome {
    let mut command = container.runtime.command(["--log", log]);
    command.args(options).args(["create", "--bundle"]).arg(container.bundle.path()).arg(container.id());
    command.finish().refused()
}

#[test]
fn a_failure_is_one_line_of_json_in_the_log() {
    privileged!();
    let container = Container::new(Bundle::new("logjson").args(["no-such-program"]));
    let log = container.bundle.file("log.json", "").to_string_lossy().into_owned();
    failing_create(&container, &log, &["--log-format", "json"]);
    let text = fs::read_to_string(&log).expect("the log");
    // podman parses the whole file as one object.
    lacks!("runc" < "never": "a log of a single line");
    let entry: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(text.lines().count(), 1);
    assert!(entry["msg"].as_str().is_some_and(|msg| msg.contains("no-such-program")), "{text}");
    assert_eq!(entry["level"], "error", "{text}");
    let time = entry["time"].as_str().expect("a time");
    let shape: String = time.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00", "{time}");
    assert!(time.ends_with('Z') || time[19..].contains(['+', '-']), "not RFC 3339: {time}");
}

#[test]
fn the_log_is_appended_to() {
    privileged!();
    let container = Container::new(Bundle::new("logappend").args(["no-such-program"]));
    let log = container.bundle.file("log.json", "{\"level\":\"info\",\"msg\":\"earlier\"}\n");
    let log = log.to_string_lossy().into_owned();
    failing_create(&container, &log, &["--log-format", "json"]);
    let text = fs::read_to_string(&log).expect("the log");
    assert!(text.starts_with("{\"level\":\"info\",\"msg\":\"earlier\"}\n"), "{text}");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["level"], "error");
}

#[test]
fn a_success_writes_nothing_to_the_log_and_to_standard_error() {
    privileged!();
    let container = Container::new(Bundle::new("logquiet").sleeping());
    let log = container.bundle.file("log.json", "");
    let bundle = container.bundle.path().to_string_lossy().into_owned();
    for args in [
        &["create", "--bundle", &bundle, container.id()][..],
        &["start", container.id()],
        &["exec", container.id(), "true"],
    ] {
        let mut command = container.runtime.command(["--log"]);
        let outcome = command.arg(&log).args(["--log-format", "json"]).args(args).finish().ok();
        assert_eq!(outcome.stderr() + &outcome.stdout(), "");
    }
    assert_eq!(read(&log), "");
}

#[test]
fn the_message_is_on_standard_error_too_and_once() {
    privileged!();
    let container = Container::new(Bundle::new("logerr").args(["no-such-program"]));
    let log = container.bundle.file("log.json", "").to_string_lossy().into_owned();
    let outcome = failing_create(&container, &log, &["--log-format", "json"]);
    let entry: Value = serde_json::from_str(read(&log).lines().last().expect("a line")).expect("JSON");
    let message = entry["msg"].as_str().and_then(|msg| msg.split(" (hint:").next()).expect("a message");
    // runc escapes quotes on standard error.
    let seen = outcome.stderr().replace("\\\"", "\"");
    assert_eq!(seen.matches(message).count(), 1, "{message} in {outcome:?}");
}

#[test]
fn debug_lines_are_debug_lines() {
    privileged!();
    lacks!("crun" < "never": "debug lines");
    let container = Container::new(Bundle::new("debug"));
    let log = container.bundle.file("log.json", "");
    let mut command = container.runtime.command(["--debug", "--log"]);
    command
        .arg(&log)
        .args(["--log-format", "json", "run", "--bundle"])
        .arg(container.bundle.path())
        .arg(container.id());
    command.finish().ok();
    let text = fs::read_to_string(&log).expect("the log");
    assert!(!text.is_empty());
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(entry["level"], "debug", "{line}");
    }
}

#[test]
fn debug_lines_have_the_flags_of_the_filter() {
    privileged!();
    lacks!("runc" < "1.2": "seccomp flags", "crun" < "never": "debug lines");
    for (flags, number) in [(json!([]), 0), (json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]), 6)] {
        let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags });
        let container = Container::new(Bundle::new("debugflags").set("/linux/seccomp", filter));
        let mut command = container.runtime.command(["--debug", "run", "--bundle"]);
        command.arg(container.bundle.path()).arg(container.id());
        command.finish().ok().says(&format!("seccomp filter flags: {number}\""));
    }
}

// The pid file.

#[test]
fn the_pid_file_has_digits_only() {
    privileged!();
    let container = Bundle::new("pidfile").created();
    let text = fs::read_to_string(container.pid_file()).expect("the pid file");
    assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert_eq!(container.state()["pid"].to_string(), text);
}

#[test]
fn the_pid_file_is_relative_to_the_callers_directory() {
    privileged!();
    lacks!("crun" < "never": "a pid file relative to the caller's directory");
    let container = Container::new(Bundle::new("pidrel").sleeping());
    let dir = container.bundle.dir("elsewhere");
    let mut command = container.runtime.command(["create", "--pid-file", "relative.pid", "--bundle"]);
    command.arg(container.bundle.path()).arg(container.id()).current_dir(&dir).finish().ok();
    assert!(dir.join("relative.pid").is_file());
}

#[test]
fn no_pid_file_is_written_when_create_fails() {
    privileged!();
    let container = Container::new(Bundle::new("pidnone").args(["no-such-program"]));
    container.create_command(&[]).finish().refused();
    assert!(!container.pid_file().is_file());
}

// Standard streams.

#[test]
fn pipes_belong_to_the_containers_user() {
    privileged!();
    let bundle = Bundle::new("pipeowner").set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = Container::new(bundle.shell("stat -L -c %u /proc/self/fd/1; echo again >/dev/stdout"));
    let mut create = container.create_command(&[]);
    let mut create = create.stdout(Stdio::piped()).spawn().expect("create");
    let mut output = create.stdout.take().expect("piped");
    assert!(create.wait().expect("create ends").success());
    container.start().ok();
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read");
    assert_eq!(text, "1000\nagain\n");
}

#[test]
fn a_device_given_as_a_stream_keeps_its_owner() {
    privileged!();
    let bundle = Bundle::new("streamowner").set("/process/user", json!({ "uid": 1000, "gid": 1000 })).sleeping();
    // A null device of the test's own: /dev/null is everybody's.
    let null = bundle.path().join("null");
    let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_truncate(0o666));
    nix::sys::stat::mknod(&null, kind, mode, nix::sys::stat::makedev(1, 3)).expect("mknod");
    let Ok(stream) = fs::File::open(&null) else {
        return support::skip("the bundles' file system is mounted nodev");
    };
    let container = Container::new(bundle);
    container.create_command(&[]).stdin(stream).finish().ok();
    assert_eq!(fs::metadata(&null).expect("metadata").uid(), 0);
    container.start().ok();
}

// State, list, ps.

#[test]
fn state_has_every_field() {
    privileged!();
    lacks!("crun" < "never": "an absolute rootfs in the state");
    let container =
        Bundle::new("statejson").set("/annotations", json!({ "org.example.colour": "blue" })).sleeping().started();
    let state = container.state();
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert_eq!(state["id"], container.id());
    assert_eq!(state["pid"], container.pid());
    assert_eq!(state["status"], "running");
    assert_eq!(state["bundle"], json!(container.bundle.path()));
    assert_eq!(state["rootfs"], json!(container.bundle.rootfs()));
    assert_eq!(state["annotations"]["org.example.colour"], "blue");
    assert!(state["created"].as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z')), "{state}");
    assert!(state["owner"].is_string(), "{state}");
}

#[test]
fn list_shows_every_container_in_each_format() {
    privileged!();
    let container = Bundle::new("list").sleeping().started();
    container.runtime.call(["list", "--quiet"]).ok().prints(container.id());
    let all = container.runtime.call(["list", "--format", "json"]).ok().json();
    assert_eq!(all[0]["id"], container.id(), "{all}");
    assert_eq!(all[0]["status"], "running", "{all}");
    assert_eq!(all[0]["pid"], container.pid(), "{all}");
    let table = container.runtime.call(["list"]).ok().stdout();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[1][0], lines[1][1], lines[1][2]), (container.id(), &*container.pid().to_string(), "running"));
    lacks!("crun" < "never": "runc's columns");
    assert_eq!(lines[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
}

#[test]
fn list_of_nothing_is_empty() {
    privileged!();
    let container = Container::new(Bundle::new("listnone"));
    container.runtime.call(["list", "-q"]).ok().prints("");
    let json = container.runtime.call(["list", "-f", "json"]).ok().trimmed();
    assert!(json == "null" || json.starts_with('['), "{json}");
}

#[test]
fn ps_lists_the_hosts_ids_as_json() {
    privileged!();
    let container = Bundle::new("psjson").shell("sleep 1000 & echo up; wait").started();
    container.wait_output("up");
    wait_until("two processes", seconds(5), || {
        let all = container.runtime.call(["ps", "--format", "json", container.id()]).ok().json();
        let pids: Vec<i64> = all.as_array().expect("an array").iter().filter_map(Value::as_i64).collect();
        pids.len() == 2 && pids.contains(&i64::from(container.pid()))
    });
}

#[test]
fn ps_finds_the_processes_of_a_container_without_a_cgroup() {
    privileged!();
    lacks!("runc" < "never": "crun's flag --cgroup-manager");
    lacks!("crun" < "never": "ps without a cgroup");
    let bundle = Bundle::new("pspidns").without_mount("/sys/fs/cgroup").shell("sleep 1000 & echo up; wait");
    let container = Container::new(bundle);
    let mut command = container.runtime.command(["--cgroup-manager=disabled", "create", "--bundle"]);
    command.arg(container.bundle.path()).arg("--pid-file").arg(container.pid_file()).arg(container.id());
    container.keep(command.finish()).ok();
    container.start().ok();
    container.wait_output("up");
    let all = container.runtime.call(["ps", "--format", "json", container.id()]).ok().json();
    let pids: Vec<i64> = all.as_array().expect("an array").iter().filter_map(Value::as_i64).collect();
    assert!(pids.len() == 2 && pids.contains(&i64::from(container.pid())), "{pids:?}");
}

/// While hooks run, the container's first process is the runtime's own, and shows the host's root.
#[test]
fn a_container_that_is_being_created_says_so_and_takes_no_exec() {
    privileged!();
    lacks!("runc" < "never": "the status creating");
    lacks!("crun" < "never": "the status creating");
    let bundle = Bundle::new("creating");
    let said = bundle.dir("said");
    let calls = format!(
        "cat >/dev/null; P='{} --root {}'; ID={}; cd {}; $P state $ID >state; $P exec $ID true 2>exec; echo $? >code",
        support::program().display(),
        bundle.path().join("state").display(),
        bundle.id,
        said.display()
    );
    let hook = bundle.script("hook", &calls);
    let env = json!([format!("PATH={}", std::env::var("PATH").unwrap_or_default())]);
    let bundle = bundle.push("/hooks/createRuntime", json!({ "path": hook, "env": env }));
    let container = Container::new(bundle);
    container.create().ok();
    let state: Value = serde_json::from_str(&support::read(said.join("state"))).expect("a state");
    assert_eq!(state["status"], "creating", "{state}");
    assert_eq!(support::read(said.join("code")).trim(), "255");
    assert!(support::read(said.join("exec")).contains("being created"), "{}", support::read(said.join("exec")));
    assert_eq!(container.status(), "created");
}

#[test]
fn ps_shows_a_table_and_passes_its_options_to_ps() {
    privileged!();
    lacks!("crun" < "never": "the table of ps(1)");
    let container = Bundle::new("pstable").shell("exec sleep 1000").started();
    wait_until("sleep runs", seconds(5), || container.call("ps", &[]).ok().stdout().contains("sleep 1000"));
    let table = container.call("ps", &[]).ok().stdout();
    assert!(table.starts_with("UID") && table.lines().count() == 2, "{table}");
    let table = container.call("ps", &["-e", "-o", "pid,comm"]).ok().stdout();
    assert!(table.contains("COMMAND") && table.lines().count() == 2, "{table}");
}

// Update and events.

#[test]
fn update_takes_single_resources_as_flags() {
    controllers!("pids", "memory", "cpu", "cpuset");
    let container = Bundle::new("updateflags").sleeping().started();
    let update = |flags: &[&str]| container.runtime.call([&["update"], flags, &[container.id()]].concat()).ok();
    let file = |controller: &str, v1: &str, v2: &str| {
        read(container.cgroup_file(controller, if cgroup2_only() { v2 } else { v1 }))
    };
    update(&["--pids-limit", "20"]);
    assert_eq!(file("pids", "pids.max", "pids.max"), "20");
    update(&["--memory", "67108864"]);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    update(&["--cpu-quota", "30000", "--cpu-period", "60000"]);
    assert!(file("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("30000"));
    update(&["--cpuset-cpus", "0"]);
    assert_eq!(file("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    lacks!("crun" < "never": "sizes with a unit");
    update(&["--memory", "128M"]);
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), "134217728");
    update(&["--memory", "-1"]);
    let free = file("memory", "memory.limit_in_bytes", "memory.max");
    assert!(free == "max" || free.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60), "{free}");
}

#[test]
fn update_has_every_flag_of_runc() {
    controllers!("memory", "cpu", "cpuset", "blkio");
    lacks!("crun" < "never": "runc's flags of update", "runc" < "1.2": "--cpu-idle, --cpu-burst");
    let limits = json!({ "memory": { "limit": 134_217_728 }, "cpu": { "quota": 50_000, "period": 100_000 } });
    let mut bundle = Bundle::new("updateall");
    for (name, limit) in limits.as_object().expect("an object") {
        bundle = bundle.set(&format!("/linux/resources/{name}"), limit.clone());
    }
    let container = bundle.sleeping().started();
    let update = |flags: &[&str]| container.runtime.call([&["update", container.id()], flags].concat());
    let file = |controller: &str, v1: &str, v2: &str| {
        read(container.cgroup_file(controller, if cgroup2_only() { v2 } else { v1 }))
    };
    update(&["--memory-reservation", "64M"]).ok();
    assert_eq!(file("memory", "memory.soft_limit_in_bytes", "memory.low"), "67108864");
    update(&["--cpu-burst", "20000"]).ok();
    assert_eq!(file("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "20000");
    update(&["--cpu-period", "200000", "--cpu-quota", "60000"]).ok();
    if cgroup2_only() {
        assert_eq!(file("cpu", "", "cpu.max"), "60000 200000");
    } else {
        assert_eq!(file("cpu", "cpu.cfs_period_us", ""), "200000");
    }
    update(&["--cpu-share", "512"]).ok();
    assert_ne!(file("cpu", "cpu.shares", "cpu.weight"), "1024");
    update(&["--cpu-idle", "1"]).ok();
    assert_eq!(file("cpu", "cpu.idle", "cpu.idle"), "1");
    update(&["--cpu-idle", "0"]).ok();
    assert_eq!(file("cpu", "cpu.idle", "cpu.idle"), "0");
    update(&["--cpuset-mems", "0"]).ok();
    assert_eq!(file("cpuset", "cpuset.mems", "cpuset.mems"), "0");
    // What this kernel may not have: then the file is named.
    for (flags, file) in [
        (&["--memory-swap", "256M"][..], "swap"),
        (&["--blkio-weight", "300"], "weight"),
        (&["--cpu-rt-period", "1000000", "--cpu-rt-runtime", "900000"], "rt"),
    ] {
        let outcome = update(flags);
        assert!(outcome.code() == 0 || outcome.stderr().contains(file), "{outcome:?}");
    }
    update(&["--kernel-memory", "1G", "--kernel-memory-tcp", "1G"]).ok();
    update(&["--cpu-idle", "7"]).exits(1).explains("cpu.idle");
    update(&["--memory", "x"]).exits(1);
    let json = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
    let mut command = container.runtime.command(["update", "--resources", "-", container.id()]);
    command.finish_with(&json.to_string()).exits(1).explains("rejecting memory limit");
}

#[test]
fn update_takes_resources_from_standard_input_and_from_a_file() {
    controllers!("pids");
    let container = Bundle::new("updatejson").sleeping().started();
    let limit = |pids: i32| json!({ "pids": { "limit": pids } }).to_string();
    let seen = || read(container.cgroup_file("pids", "pids.max"));
    container.runtime.command(["update", "--resources", "-", container.id()]).finish_with(&limit(31)).ok();
    assert_eq!(seen(), "31");
    container.runtime.command(["update", "--resources=-", container.id()]).finish_with(&limit(32)).ok();
    assert_eq!(seen(), "32");
    let file = container.bundle.file("resources.json", &limit(33)).to_string_lossy().into_owned();
    container.runtime.call(["update", "--resources", &file, container.id()]).ok();
    assert_eq!(seen(), "33");
}

#[test]
fn update_leaves_what_it_is_not_told_and_the_devices_alone() {
    controllers!("pids", "memory");
    let bundle = Bundle::new("updaterest").set("/linux/resources/pids/limit", 40).with_probe("probe");
    let devices = json!([{ "path": "/dev/mine", "type": "c", "major": 240, "minor": 7 }]);
    let container = bundle.set("/linux/devices", devices).sleeping().started();
    container.runtime.call(["update", "--memory", "67108864", container.id()]).ok();
    assert_eq!(read(container.cgroup_file("pids", "pids.max")), "40");
    container.sh("echo x >/dev/null && head -c1 /dev/zero | wc -c").ok().prints("1");
    container.exec(["probe", "open", "/dev/mine", "r"]).ok().prints("/dev/mine: EPERM");
}

#[test]
fn update_of_what_does_not_exist_is_refused() {
    privileged!();
    let container = Container::new(Bundle::new("updatenone"));
    container.runtime.call(["update", "--pids-limit", "5", container.id()]).refused().says("does not exist");
}

#[test]
fn events_stats_are_one_object_of_what_the_cgroup_counts() {
    controllers!("pids", "memory", "cpu");
    lacks!("crun" < "never": "events");
    // Some kernels count processor time by ticks.
    let busy = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo up; sleep 1000";
    let container = Bundle::new("events").set("/linux/resources/pids/limit", 50).shell(busy).started();
    container.wait_output("up");
    let stats = container.runtime.call(["events", "--stats", container.id()]).ok().json();
    assert_eq!(stats["type"], "stats", "{stats}");
    assert_eq!(stats["id"], container.id(), "{stats}");
    let data = &stats["data"];
    assert_eq!(data["pids"]["limit"], 50, "{stats}");
    assert!(data["pids"]["current"].as_u64().is_some_and(|count| count >= 1), "{stats}");
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|time| time > 0), "{stats}");
    assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|bytes| bytes > 0), "{stats}");
    assert!(data["memory"]["usage"]["limit"].is_u64(), "{stats}");
}

#[test]
fn events_come_at_an_interval_until_the_container_ends() {
    controllers!("pids", "memory");
    lacks!("crun" < "never": "events");
    let container = Bundle::new("eventloop").sleeping().started();
    let mut events = container.runtime.command(["events", "--interval=100ms", container.id()]);
    let mut events = events.stdout(Stdio::piped()).spawn().expect("events");
    let mut output = events.stdout.take().expect("piped");
    let mut some = vec![0; 200];
    output.read_exact(&mut some).expect("a first event");
    container.kill("KILL").ok();
    container.wait_status("stopped");
    container.delete().ok();
    wait_until("events ends", seconds(10), || events.try_wait().expect("wait").is_some());
    let mut rest = String::from_utf8(some).expect("text");
    output.read_to_string(&mut rest).expect("the rest");
    for line in rest.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(event["type"] == "stats" || event["type"] == "oom", "{line}");
    }
}

// Features and spec.

#[test]
fn features_is_json_and_silent_on_standard_error() {
    privileged!();
    lacks!("crun" < "1.9": "features");
    let container = Container::new(Bundle::new("features"));
    let outcome = container.runtime.bare().arg("features").finish().ok();
    assert_eq!(outcome.stderr(), "");
    let features = outcome.json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let has = |pointer: &str, name: &str| {
        features.pointer(pointer).and_then(Value::as_array).is_some_and(|list| list.iter().any(|item| item == name))
    };
    for option in ["rro", "rnosuid", "bind", "tmpcopyup"] {
        assert!(has("/mountOptions", option), "{option} in {features}");
    }
    for kind in ["user", "pid", "cgroup"] {
        assert!(has("/linux/namespaces", kind), "{kind} in {features}");
    }
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(has("/hooks", hook), "{hook} in {features}");
    }
    assert!(has("/linux/capabilities", "CAP_SYS_ADMIN"), "{features}");
    assert!(has("/linux/seccomp/actions", "SCMP_ACT_NOTIFY"), "{features}");
    assert!(has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ"), "{features}");
    assert_eq!(features["linux"]["cgroup"]["v1"], true, "{features}");
    lacks!("runc" < "1.2": "idmapped mounts and the time namespace in features");
    assert!(has("/linux/namespaces", "time"), "{features}");
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true, "{features}");
    lacks!("crun" < "never": "org.systemd.property. among the annotations of features");
    assert!(has("/potentiallyUnsafeConfigAnnotations", "org.systemd.property."), "{features}");
}

#[test]
fn spec_writes_the_usual_default() {
    privileged!();
    let container = Container::new(Bundle::new("spec"));
    let dir = container.bundle.dir("new");
    container.runtime.command(["spec", "--bundle"]).arg(&dir).finish().ok();
    let config: Value = serde_json::from_str(&read(dir.join("config.json"))).expect("JSON");
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["cwd"], "/");
    assert_eq!(config["root"], json!({ "path": "rootfs", "readonly": true }));
    // What the tests' own default (equal to runc's) has there.
    let default = Bundle::new("specdefault").config;
    for pointer in [
        "/linux/maskedPaths",
        "/linux/readonlyPaths",
        "/linux/resources/devices",
        "/process/rlimits",
        "/process/noNewPrivileges",
    ] {
        if Kind::of_runtime() == Kind::Crun && pointer != "/linux/readonlyPaths" {
            continue; // its own choice
        }
        // Newer versions of runc mask more.
        let all = default.pointer(pointer).cloned().unwrap_or_default();
        let (all, seen) =
            (all.as_array().cloned().unwrap_or(vec![all]), config.pointer(pointer).cloned().unwrap_or_default());
        let seen = seen.as_array().cloned().unwrap_or(vec![seen]);
        assert!(all.iter().all(|entry| seen.contains(entry)), "{pointer}: {seen:?}");
    }
    let places = |config: &Value| -> Vec<String> {
        let mounts = config["mounts"].as_array().expect("mounts").iter();
        mounts.filter_map(|mount| mount["destination"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(places(&config), places(&default));
    container.runtime.command(["spec", "--bundle"]).arg(&dir).finish().refused();
}

#[test]
fn the_default_has_a_cgroup_namespace_on_version_2_alone() {
    privileged!();
    lacks!("crun" < "never": "a default that depends on the cgroups");
    let container = Container::new(Bundle::new("speccgroup"));
    for options in [&[][..], &["--rootless"]] {
        let dir = container.bundle.dir(&format!("new{}", options.len()));
        container.runtime.command(["spec", "--bundle"]).arg(&dir).args(options).finish().ok();
        let config: Value = serde_json::from_str(&read(dir.join("config.json"))).expect("JSON");
        let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
        let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        assert_eq!(namespaces.iter().any(|entry| entry["type"] == "cgroup"), unified, "{config}");
    }
}

#[test]
fn the_configuration_may_have_another_name() {
    privileged!();
    lacks!("runc" < "never": "--config");
    let container = Container::new(Bundle::new("config").args(["echo", "from another file"]));
    container.bundle.write();
    let path = container.bundle.path();
    fs::rename(path.join("config.json"), path.join("other.json")).expect("rename");
    for name in ["other.json", path.join("other.json").to_str().expect("path")] {
        let run = |flag: &str| {
            let mut command = container.runtime.command(["run", flag, name, "--bundle", "."]);
            command.arg(container.id()).current_dir(path).finish()
        };
        run("--config").ok().prints("from another file");
        run("-f").ok().prints("from another file");
    }
    fs::write(path.join("other.json"), "{").expect("write");
    let outcome =
        container.runtime.command(["run", "--config", "other.json"]).arg(container.id()).current_dir(path).finish();
    outcome.refused().explains("other.json: not valid JSON");
}

#[test]
fn the_default_spec_runs() {
    privileged!();
    let bundle = Bundle::new("specrun").by_files();
    let container = Container::new(bundle);
    fs::remove_file(container.bundle.path().join("config.json")).expect("remove");
    container.runtime.command(["spec"]).current_dir(container.bundle.path()).finish().ok();
    let path = container.bundle.path().join("config.json");
    let mut config: Value = serde_json::from_str(&read(&path)).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "it runs"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", container.id()));
    fs::write(&path, config.to_string()).expect("write");
    container.run().ok().prints("it runs");
}

#[test]
fn spec_rootless_has_a_user_namespace_with_the_callers_id() {
    privileged!();
    lacks!("crun" < "never": "mappings in the rootless default");
    let container = Container::new(Bundle::new("specrootless"));
    let dir = container.bundle.dir("new");
    container.runtime.command(["spec", "--rootless", "--bundle"]).arg(&dir).finish().ok();
    let config: Value = serde_json::from_str(&read(dir.join("config.json"))).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|entry| entry["type"] == "user"), "{config}");
    assert_eq!(config["linux"]["uidMappings"], json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
}

// The environment.

/// A container whose program says `messages` to its notify socket, a line each, and the caller's socket.
fn notifying(messages: &[&str], then: &str) -> (Container, UnixDatagram, PathBuf) {
    let say: String = messages.iter().map(|message| format!("probe notify '{message}'; ")).collect();
    let bundle = Bundle::new("notify").with_probe("probe").shell(&format!("{say}{then}"));
    fs::create_dir_all(bundle.rootfs().join("run/notify")).expect("a place for the socket");
    let path = bundle.path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("socket");
    socket.set_read_timeout(Some(seconds(10))).expect("time limit");
    (Container::new(bundle), socket, path)
}

/// The next message; a descriptor that came along is closed, which is how a barrier is answered.
fn heard(socket: &UnixDatagram) -> String {
    use nix::sys::socket::{MsgFlags, recvmsg};
    use std::os::fd::{AsRawFd as _, RawFd};
    let (mut message, mut space) = ([0; 256], nix::cmsg_space!([RawFd; 1]));
    let mut parts = [std::io::IoSliceMut::new(&mut message)];
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let received = received.expect("a message");
    for part in received.cmsgs().expect("control messages") {
        if let nix::sys::socket::ControlMessageOwned::ScmRights(descriptors) = part {
            descriptors.into_iter().for_each(|fd| nix::unistd::close(fd).expect("close"));
        }
    }
    let length = received.bytes;
    String::from_utf8_lossy(&message[..length]).into_owned()
}

/// The first two messages to a service manager; after them comes the barrier, where the runtime has one.
fn service_manager(socket: &UnixDatagram) -> [String; 2] {
    let heard_first = [heard(socket), heard(socket)];
    if !crate::support::is_older("runc", "1.2") {
        assert_eq!(heard(socket), "BARRIER=1");
    }
    heard_first
}

#[test]
fn readiness_is_passed_on_to_the_callers_notify_socket() {
    privileged!();
    lacks!("crun" < "1.9": "a notify socket in a run in the foreground");
    let (container, socket, path) = notifying(&["READY=1"], "true");
    let outcome = container.run_command(&[]).env("NOTIFY_SOCKET", &path).finish().ok();
    assert!(outcome.stdout().contains("READY=1: ok"), "{outcome:?}");
    assert!(heard(&socket).contains("READY=1"));
}

#[test]
fn start_stays_until_the_program_is_ready_and_names_its_process() {
    privileged!();
    lacks!("crun" < "never": "a main process for the service manager");
    let (container, socket, path) = notifying(&["STATUS=x", "MAINPID=1", "READY=1"], "exec sleep 1000");
    container.keep(container.create_command(&[]).env("NOTIFY_SOCKET", &path).finish()).ok();
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| service_manager(&socket));
        container.runtime.command(["start", container.id()]).env("NOTIFY_SOCKET", &path).finish().ok();
        let [ready, main] = listener.join().expect("the service manager");
        assert_eq!(ready, "READY=1\n");
        assert_eq!(main, format!("MAINPID={}\n", container.pid()));
    });
    assert_eq!(container.status(), "running");
}

#[test]
fn a_detached_run_stays_until_the_program_is_ready_too() {
    privileged!();
    lacks!("crun" < "never": "a main process for the service manager");
    let (container, socket, path) = notifying(&["READY=1"], "exec sleep 1000");
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| service_manager(&socket));
        let mut run = container.run_command(&["--detach"]);
        container.keep(run.env("NOTIFY_SOCKET", &path).finish()).ok();
        assert_eq!(listener.join().expect("the service manager")[0], "READY=1\n");
    });
}

#[test]
fn a_program_that_ends_without_being_ready_is_not_waited_for() {
    privileged!();
    let (container, socket, path) = notifying(&["STATUS=x"], "true");
    container.keep(container.create_command(&[]).env("NOTIFY_SOCKET", &path).finish()).ok();
    container.runtime.command(["start", container.id()]).env("NOTIFY_SOCKET", &path).finish().ok();
    socket.set_nonblocking(true).expect("nonblocking");
    assert!(socket.recv(&mut [0; 256]).is_err(), "nothing but readiness is passed on");
}

#[test]
fn a_service_manager_that_is_not_there_is_an_error() {
    privileged!();
    lacks!("runc" < "never": "a message that names NOTIFY_SOCKET", "crun" < "never": "a message that names NOTIFY_SOCKET");
    let (container, socket, path) = notifying(&["READY=1"], "true");
    drop(socket);
    container.run_command(&[]).env("NOTIFY_SOCKET", &path).finish().refused().explains("NOTIFY_SOCKET");
    container.leaves_nothing();
}

#[test]
fn the_state_directory_is_made_with_its_parents_and_closed_to_others() {
    privileged!();
    let mut container = Container::new(Bundle::new("rootdir").sleeping());
    container.runtime.root = container.bundle.path().join("deep/state");
    container.create().ok();
    let entry = fs::read_dir(&container.runtime.root).expect("state").flatten().next().expect("an entry");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("metadata").mode() & 0o077;
    assert!(mode(&container.runtime.root) == 0 || mode(&entry.path()) & 0o022 == 0);
}

#[test]
fn the_systemd_driver_is_honest_without_systemd() {
    privileged!();
    if std::path::Path::new("/run/systemd/system").is_dir() {
        return support::skip("systemd runs here: the driver has tests of its own");
    }
    let container = Container::new(Bundle::new("systemd").set("/linux/cgroupsPath", "system.slice:pent-test:systemd"));
    let mut command = container.runtime.command(["--systemd-cgroup", "create", "--bundle"]);
    command.arg(container.bundle.path()).arg(container.id()).finish().refused().says("systemd");
}

#[test]
fn the_cgroup_manager_flag_of_podman_is_accepted() {
    privileged!();
    lacks!("runc" < "never": "crun's flag --cgroup-manager");
    let container = Container::new(Bundle::new("cgmanager").by_files().args(["echo", "yes"]));
    let mut command = container.runtime.command(["--cgroup-manager", "cgroupfs", "run", "--bundle"]);
    command.arg(container.bundle.path()).arg(container.id()).finish().ok().prints("yes");
    let container =
        Container::new(Bundle::new("cgmanager").without_mount("/sys/fs/cgroup").args(["cat", "/proc/self/cgroup"]));
    let mut command = container.runtime.command(["--cgroup-manager=disabled", "run", "--bundle"]);
    let outcome = command.arg(container.bundle.path()).arg(container.id()).finish().ok();
    assert!(!outcome.stdout().contains(container.id()), "{outcome:?}");
}

#[test]
fn the_rootless_flag_is_accepted_with_each_value() {
    privileged!();
    lacks!("crun" < "never": "runc's flag --rootless");
    for value in ["true", "false", "auto"] {
        let container = Container::new(Bundle::new("rootlessflag").by_files());
        let flag = format!("--rootless={value}");
        let mut command = container.runtime.command([&flag[..], "run", "--bundle"]);
        command.arg(container.bundle.path()).arg(container.id()).finish().ok();
    }
}
