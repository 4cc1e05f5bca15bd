//! Debian's own containerd with the runtime under test in runc's place: what `ctr` can ask of a container.
//!
//! `cargo test --test containerd` as root; `RUNTIME=/usr/sbin/runc cargo test --test containerd` for a peer.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod island;
mod support;

use island::{Island, needs};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Bundle, Finish as _, Outcome, seconds, wait_until};

const IMAGE: &str = "pent.test/busybox:1";

/// A containerd of the test's own, with the busybox image, and containers that are all removed when it is dropped.
struct Containerd {
    island: Island,
    snapshotter: &'static str,
}

impl Containerd {
    fn new() -> Self {
        let mut island = Island::new("containerd", &[]);
        let dir = island.dir().to_owned();
        let config = format!(
            r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[debug]
level = "warn"
[grpc]
address = "{dir}/socket"
[ttrpc]
address = "{dir}/socket.ttrpc"
"#,
            dir = dir.display()
        );
        fs::write(dir.join("config.toml"), config).expect("containerd's configuration");
        let mut daemon = island.command("containerd");
        island.start("containerd.log", daemon.arg("--config").arg(dir.join("config.toml")));

        let mut containerd = Self { island, snapshotter: "native" };
        wait_until("containerd answers", seconds(30), || containerd.ctr(&["version"]).finish().code() == 0);
        let plugins = containerd.call(&["plugins", "ls"]).ok().stdout();
        if plugins.lines().any(|line| line.contains(" overlayfs ") && line.trim_end().ends_with("ok")) {
            containerd.snapshotter = "overlayfs";
        }

        let bundle = Bundle::new("image");
        let tar = dir.join("image.tar");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/busybox-image.sh");
        Command::new(script).arg(bundle.rootfs()).arg(IMAGE).arg(&tar).finish().ok();
        let tar = tar.display().to_string();
        containerd.call(&["images", "import", "--snapshotter", containerd.snapshotter, &tar]).ok();

        let mut events = containerd.ctr(&["events"]);
        containerd.island.start("events.log", &mut events);
        let mut count = 0;
        wait_until("ctr events listens", seconds(30), || {
            count += 1;
            containerd.call(&["images", "label", IMAGE, &format!("test={count}")]).ok();
            !containerd.events("/images/update").is_empty()
        });
        containerd.island.settle();
        containerd
    }

    /// `ctr ARGS…` in a namespace named after the island, and so in a cgroup of that name.
    fn ctr(&self, args: &[&str]) -> Command {
        let mut command = self.island.command("ctr");
        command.arg("--address").arg(self.island.dir().join("socket"));
        command.args(["--namespace", &self.island.name]).args(args);
        command
    }

    /// `ctr ARGS…` to its end.
    fn call(&self, args: &[&str]) -> Outcome {
        self.ctr(args).finish()
    }

    /// `ctr run OPTIONS… IMAGE ID COMMAND…` with the runtime under test.
    fn run_command(&self, options: &[&str], id: &str, command: &[&str]) -> Command {
        let mut run = self.ctr(&["run", "--runtime", "io.containerd.runc.v2", "--snapshotter", self.snapshotter]);
        run.arg("--runc-binary").arg(island::runtime()).args(options);
        // With a configuration of its own a container has no image.
        if !options.contains(&"--config") {
            run.arg(IMAGE);
        }
        run.arg(id).args(command);
        run
    }

    /// A container run to its end and removed.
    fn run(&self, options: &[&str], script: &str) -> Outcome {
        self.run_command(&[&["--rm"], options].concat(), "once", &["sh", "-c", script]).finish()
    }

    /// What a container prints that is run to its end and removed. The shim writes it to a file: what one that ends at once
    /// writes to its client's FIFO is lost where the client has not opened that yet, because the client then gives up opening
    /// it (`io.Cancel` in `Task.Delete` of containerd's client).
    fn printed(&self, options: &[&str], script: &str) -> String {
        let log = self.island.dir().join("printed");
        let uri = format!("file://{}", log.display());
        self.run(&[options, &["--log-uri", &uri]].concat(), script).ok();
        let printed = support::read(&log);
        fs::remove_file(&log).expect("the shim's file");
        printed.trim().to_owned()
    }

    /// A container that stays, removed by [`Task::remove`].
    fn detached(&self, options: &[&str], script: &str) -> Task<'_> {
        self.run_command(&[&["--detach"], options].concat(), "task", &["sh", "-c", script]).finish().ok();
        Task { containerd: self }
    }

    /// The events published so far on a topic, as JSON.
    fn events(&self, topic: &str) -> Vec<Value> {
        let topic = format!(" {topic} ");
        let log = self.island.log("events.log");
        log.lines().filter_map(|line| serde_json::from_str(line.split_once(&topic)?.1).ok()).collect()
    }

    /// The status a process ended with, which `ctr` reports in an event; the task's own process has the task's name.
    fn exit_status(&self, id: &str) -> Value {
        let of_id = |events: Vec<Value>| events.into_iter().find(|event| event["id"] == id);
        wait_until(&format!("{id} ends"), seconds(20), || of_id(self.events("/tasks/exit")).is_some());
        of_id(self.events("/tasks/exit")).expect("waited for")["exit_status"].clone()
    }

    /// Whether the runtime keeps state of the container named `task`, in the directory the shim gives it for this namespace.
    fn has_state(&self) -> bool {
        let root = self.island.inside("/run/containerd/runc").join(&self.island.name);
        root.is_dir() && fs::symlink_metadata(root.join("task")).is_ok()
    }
}

/// A detached container named `task`.
struct Task<'a> {
    containerd: &'a Containerd,
}

impl Task<'_> {
    /// `ctr task VERB ARGS…`.
    fn call(&self, verb: &str, args: &[&str]) -> Outcome {
        self.containerd.call(&[&["task", verb], args].concat())
    }

    /// `ctr task exec` of a shell script to its end.
    fn exec(&self, id: &str, script: &str) -> Outcome {
        self.call("exec", &["--exec-id", id, "task", "sh", "-c", script])
    }

    /// The id of the first process and the status, as `ctr task ls` prints them.
    fn listed(&self) -> (i32, String) {
        let list = self.call("ls", &[]).ok().stdout();
        let line = list.lines().find(|line| line.starts_with("task ")).unwrap_or_else(|| panic!("no task in {list}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[1].parse().expect("a process id"), words[2].to_owned())
    }

    fn status(&self) -> String {
        self.listed().1
    }

    /// `ctr task metrics`.
    fn metrics(&self) -> Value {
        self.call("metrics", &["--format", "json", "task"]).ok().json()
    }

    /// The processor time its first process used, in clock ticks.
    fn ticks(&self) -> u64 {
        let stat = self.containerd.island.inside(&format!("/proc/{}/stat", self.listed().0));
        let stat = fs::read_to_string(stat).expect("the first process lives");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
    }

    /// Kills what is left and removes task and container.
    fn remove(self) {
        if self.status() != "STOPPED" {
            self.call("kill", &["--signal", "KILL", "task"]).ok();
        }
        wait_until("the task is stopped", seconds(20), || self.status() == "STOPPED");
        self.call("delete", &["task"]).ok();
        self.containerd.call(&["containers", "delete", "task"]).ok();
    }
}

/// The number at the first of these JSON pointers that exists: cgroup versions 1 and 2 are reported differently. Zeros are
/// not reported at all.
fn number(metrics: &Value, pointers: [&str; 2]) -> u64 {
    pointers.iter().find_map(|pointer| metrics.pointer(pointer)?.as_u64()).unwrap_or(0)
}

#[test]
fn runs_to_completion_with_output_and_status() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let outcome = containerd.run(&[], "echo to output; echo to error >&2; sleep 1; exit 7");
    let outcome = outcome.exits(7).prints("to output").says("to error");
    assert!(!outcome.stderr().contains("to output"), "{outcome:?}");
    assert_eq!(containerd.printed(&["--env", "GIFT=box", "--cwd", "/tmp"], "echo $GIFT in $PWD"), "box in /tmp");
    // One line, not to the end of the input: ctr forgets to pass that on when it meets it before the task starts.
    let mut head = containerd.run_command(&["--rm"], "head", &["head", "-n", "1"]);
    head.finish_with("through standard input\n").ok().prints("through standard input");
}

#[test]
fn a_failing_command_shows_the_message_of_the_runtime() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    for (id, program) in [("path", "/no/such-program"), ("name", "no-such-program")] {
        let outcome =
            containerd.run_command(&["--rm"], id, &[program]).finish().refused().says("no").says("such-program");
        let message = outcome.stderr();
        assert!(message.contains("OCI runtime create failed: "), "{outcome:?}");
        assert!(message.contains("not found") || message.contains("o such file or directory"), "{outcome:?}");
        // What containerd says when the runtime's log holds no error.
        assert!(!message.contains("did not terminate"), "{outcome:?}");
        assert!(!message.contains("unable to retrieve"), "{outcome:?}");
    }
    let task = containerd.detached(&[], "sleep 1000");
    let outcome = task.call("exec", &["--exec-id", "bad", "task", "no-such-program"]).refused();
    let outcome = outcome.says("OCI runtime exec failed: ").says("no-such-program").says("not found");
    assert!(!outcome.stderr().contains("did not terminate"), "{outcome:?}");
    assert_eq!(task.status(), "RUNNING");
    task.remove();
}

#[test]
fn a_detached_task_is_executed_in_killed_and_deleted() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd.detached(&[], "trap 'exit 42' TERM; while :; do sleep 0.1; done");
    assert_eq!(task.status(), "RUNNING");
    assert!(containerd.has_state(), "the runtime's state is elsewhere");
    task.exec("one", "echo inside; echo wrong >&2; exit 3").exits(3).prints("inside").says("wrong");
    let second = task.exec("two", "cat /proc/1/cmdline").ok().stdout();
    assert!(second.contains("exit 42"), "sees another first process: {second}");
    task.call("exec", &["--detach", "--exec-id", "three", "task", "sh", "-c", "echo $$ >/three; exec sleep 1000"]).ok();
    wait_until("the detached process runs", seconds(10), || task.exec("look", "test -s /three").code() == 0);
    task.call("kill", &["--exec-id", "three", "--signal", "KILL", "task"]).ok();
    assert_eq!(containerd.exit_status("three"), 137);

    task.call("kill", &["--signal", "TERM", "task"]).ok();
    assert_eq!(containerd.exit_status("task"), 42);
    wait_until("the task is stopped", seconds(10), || task.status() == "STOPPED");
    task.exec("late", "true").refused();
    task.remove();
    assert!(!containerd.has_state(), "state is left");
}

#[test]
fn a_task_that_ignores_term_is_killed_with_all_its_processes() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd.detached(&[], "trap '' TERM; sleep 1000 & sleep 1000 & >/all; wait");
    wait_until("its processes run", seconds(10), || task.exec("look", "test -e /all").code() == 0);
    let running = containerd.island.processes().len();
    task.call("kill", &["--signal", "TERM", "task"]).ok();
    task.exec("still", "true").ok();
    assert_eq!(task.status(), "RUNNING");
    task.call("kill", &["--all", "--signal", "KILL", "task"]).ok();
    assert_eq!(containerd.exit_status("task"), 137);
    wait_until("its three processes end", seconds(10), || containerd.island.processes().len() <= running - 3);
    task.remove();
}

#[test]
fn a_paused_task_uses_no_processor_time_until_resumed() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd.detached(&[], "while :; do :; done");
    wait_until("it computes", seconds(10), || task.ticks() > 2);
    task.call("pause", &["task"]).ok();
    assert_eq!(task.status(), "PAUSED");
    let before = task.ticks();
    std::thread::sleep(seconds(1) / 2);
    assert_eq!(task.ticks(), before, "it goes on computing");
    task.exec("frozen", "true").refused().says("paused");
    task.call("resume", &["task"]).ok();
    assert_eq!(task.status(), "RUNNING");
    wait_until("it computes again", seconds(10), || task.ticks() > before);
    task.exec("thawed", "true").ok();
    task.remove();
}

#[test]
fn a_terminal_has_the_size_of_the_callers() {
    needs!("containerd", "ctr", "script");
    let containerd = Containerd::new();
    let asks = "tty; until stty size | grep -qv '^0 0$'; do sleep 0.05; done; stty size; test -t 2 && exit 5";
    let run = island::on_a_terminal(&containerd.run_command(&["--rm", "--tty"], "once", &["sh", "-c", asks])).exits(5);
    assert!(run.stdout().contains("/dev/pts/0") && run.stdout().contains("33 77"), "{run:?}");

    let task = containerd.detached(&[], "sleep 1000");
    let exec = containerd.ctr(&["task", "exec", "--tty", "--exec-id", "tty", "task", "sh", "-c", asks]);
    let exec = island::on_a_terminal(&exec).exits(5);
    assert!(exec.stdout().contains("/dev/pts/0") && exec.stdout().contains("33 77"), "{exec:?}");
    task.remove();
}

#[test]
fn a_read_only_root_cannot_be_written() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let outcome = containerd.run(&["--read-only"], "echo volatile >/dev/shm/file && echo kept >/file");
    outcome.exits(1).says("/file: Read-only file system");
    assert_eq!(containerd.printed(&[], "echo kept >/file && cat /file"), "kept");
}

#[test]
fn a_memory_limit_bites_and_is_reported() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    // The first process survives: it must see the other's death, and containerd the event.
    let task = containerd.detached(
        &["--memory-limit", "33554432"],
        "dd if=/dev/zero of=/dev/null bs=200M; echo $? >/status; sleep 1000",
    );
    wait_until("dd is killed", seconds(20), || task.exec("look", "test -s /status").code() == 0);
    task.exec("status", "cat /status").ok().prints("137");
    wait_until("the event arrives", seconds(10), || !containerd.events("/tasks/oom").is_empty());
    assert_eq!(containerd.events("/tasks/oom")[0]["container_id"], "task");
    assert_eq!(number(&task.metrics(), ["/memory/usage/limit", "/memory/usage_limit"]), 33_554_432);
    task.exec("small", "dd if=/dev/zero of=/dev/null bs=4M count=1").ok();
    task.remove();
    containerd.run(&["--memory-limit", "33554432"], "exec dd if=/dev/zero of=/dev/null bs=200M").exits(137);
}

#[test]
fn a_processor_limit_bites() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let limits = ["--cpu-quota", "10000", "--cpu-period", "100000"];
    let task = containerd.detached(&limits, "while :; do :; done");
    wait_until("it is throttled", seconds(20), || {
        number(&task.metrics(), ["/cpu/throttling/throttled_periods", "/cpu/nr_throttled"]) > 3
    });
    let before = task.ticks();
    std::thread::sleep(seconds(2));
    let used = task.ticks() - before;
    // A tenth of a processor for two seconds is 20 ticks of 10 ms; twice that is lenient, a free loop uses 200.
    assert!(used < 40 * seconds(1).as_secs(), "{used} ticks in two seconds");
    task.remove();
}

#[test]
fn a_process_limit_bites() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let bundle = Bundle::new("pids");
    // ctr has no flag for it: a configuration of our own, made from ctr's default.
    let mut config = containerd.call(&["oci", "spec"]).ok().json();
    config["root"] = json!({ "path": bundle.rootfs() });
    config["process"]["args"] = json!(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all; wait"]);
    config["process"]["env"] = json!(["PATH=/bin"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/{}/pids", containerd.island.name));
    config["linux"]["resources"]["pids"] = json!({ "limit": 6 });
    let file = bundle.file("ctr.json", &config.to_string());
    let config = file.display().to_string();
    let outcome = containerd.run_command(&["--rm", "--config", &config], "pids", &[]).finish().says("can't fork");
    assert_ne!(outcome.code(), 0, "{outcome:?}");
    assert_eq!(outcome.stdout(), "");
}

#[test]
fn metrics_report_what_a_task_uses() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd
        .detached(&[], "dd if=/dev/zero of=/dev/null bs=64k count=2000 2>/dev/null; sleep 1000 & sleep 1000 & wait");
    wait_until("all run", seconds(10), || number(&task.metrics(), ["/pids/current", "/pids/current"]) == 3);
    let metrics = task.metrics();
    assert!(number(&metrics, ["/memory/usage/usage", "/memory/usage"]) > 100_000, "{metrics:#}");
    assert!(number(&metrics, ["/cpu/usage/total", "/cpu/usage_usec"]) > 1000, "{metrics:#}");
    let table = task.call("metrics", &["task"]).ok().stdout();
    assert!(table.contains("pids.current") && table.contains("cpu"), "{table}");
    task.remove();
}

#[test]
fn ps_lists_the_processes_of_a_task() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd.detached(&[], "sleep 1000 & wait");
    let first = task.listed().0;
    task.call("exec", &["--detach", "--exec-id", "second", "task", "sleep", "1000"]).ok();
    let ps = || -> Vec<i32> {
        let table = task.call("ps", &["task"]).ok().stdout();
        table
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().next().expect("a line").parse().expect("a pid"))
            .collect()
    };
    wait_until("three processes are listed", seconds(10), || ps().len() == 3);
    let listed = ps();
    assert!(listed.contains(&first), "{listed:?} lacks {first}");
    let processes = containerd.island.processes();
    assert!(listed.iter().all(|pid| processes.contains(pid)), "{listed:?} are not all in {processes:?}");
    task.remove();
}

#[test]
fn containerds_default_seccomp_profile_is_loaded() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let asks = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\t\n'";
    assert_eq!(containerd.printed(&["--seccomp"], asks), "NoNewPrivs:1Seccomp:2");
    assert_eq!(containerd.printed(&[], asks), "NoNewPrivs:1Seccomp:0");
}

#[test]
fn a_killed_shim_takes_its_container_with_it() {
    needs!("containerd", "ctr");
    let containerd = Containerd::new();
    let task = containerd.detached(&[], "sleep 1000 & wait");
    let first = task.listed().0;
    let command = |pid: i32| fs::read_to_string(containerd.island.inside(&format!("/proc/{pid}/cmdline")));
    let is_shim = |pid: &i32| command(*pid).is_ok_and(|line| line.contains("containerd-shim"));
    let shim = containerd.island.processes().into_iter().find(is_shim).expect("a shim");
    containerd.island.command("kill").args(["-KILL", &shim.to_string()]).finish().ok();
    // containerd calls the shim's delete action, which calls `RUNTIME delete --force`.
    wait_until("the container ends", seconds(20), || containerd.island.process(first).is_empty());
    wait_until("containerd forgets the task", seconds(20), || !task.call("ls", &[]).stdout().contains("task "));
    wait_until("the runtime's state is gone", seconds(20), || !containerd.has_state());
    containerd.call(&["containers", "delete", "task"]).ok();
}
