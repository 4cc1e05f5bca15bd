//! `--systemd-cgroup`: what systemd and the kernel then say of a container. Needs a machine that runs systemd, on cgroup
//! version 2 (`integration/vm`); the engines are run without an island, because systemd knows processes by the host's ids.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{
    Bundle, Container, Finish as _, Kind, Outcome, cgroup2_only, lacks, privileged, read, seconds, skip, wait_until,
};

/// Who has a session of systemd's own in the virtual machine.
const USER: u32 = 1000;

macro_rules! systemd {
    () => {
        privileged!();
        if !Path::new("/run/systemd/system").is_dir() || !cgroup2_only() {
            return skip("the host does not run systemd on cgroup version 2");
        }
    };
}

macro_rules! session {
    () => {
        systemd!();
        if !runtime_dir().join("bus").exists() {
            return skip("the user 1000 has no systemd session");
        }
    };
}

fn runtime_dir() -> PathBuf {
    PathBuf::from(format!("/run/user/{USER}"))
}

/// A container whose scope is `test.slice`'s, and its calls.
struct Scoped {
    container: Container,
    unit: String,
    /// Of the user's systemd.
    user: bool,
}

impl Scoped {
    fn new(bundle: Bundle) -> Self {
        let unit = format!("pt-{}.scope", bundle.id);
        let path = format!("test.slice:pt:{}", bundle.id);
        Self { container: Container::new(bundle.set("/linux/cgroupsPath", path)), unit, user: false }
    }

    /// For an ordinary user with a session.
    fn of_user(bundle: Bundle) -> Self {
        let unit = format!("pt-{}.scope", bundle.id);
        let path = format!(":pt:{}", bundle.id);
        let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
        let mut bundle = bundle
            .namespace("user", None)
            .namespace("cgroup", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map)
            .remove("/linux/resources/devices")
            .set("/linux/cgroupsPath", path);
        for mount in bundle.config["mounts"].as_array_mut().expect("mounts") {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        let container = Container::rootless(bundle, USER);
        fs::set_permissions(container.bundle.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        Self { container, unit, user: true }
    }

    /// `RUNTIME --systemd-cgroup ARGS…`.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.container.runtime.command([&["--systemd-cgroup"], args].concat());
        command.env("XDG_RUNTIME_DIR", runtime_dir()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    fn call(&self, args: &[&str]) -> Outcome {
        self.command(args).finish()
    }

    fn create(&self) -> &Self {
        let (bundle, pid) = (self.container.bundle.path(), self.container.pid_file());
        let mut command = self.command(&["create", "--bundle"]);
        command.arg(bundle).arg("--pid-file").arg(pid).arg(self.container.id());
        self.container.keep(command.finish()).ok();
        self
    }

    fn started(self) -> Self {
        self.create().call(&["start", self.container.id()]).ok();
        self
    }

    fn run(&self) -> Outcome {
        let mut command = self.command(&["run", "--bundle"]);
        command.arg(self.container.bundle.path()).arg(self.container.id()).finish()
    }

    fn delete(&self) {
        self.call(&["delete", "--force", self.container.id()]).ok();
    }

    fn systemctl(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("systemctl");
        if self.user {
            command.args(["--user", &format!("--machine={USER}@.host")]);
        }
        command.args(args).finish()
    }

    /// A property of the unit.
    fn property(&self, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, &self.unit]).ok().trimmed()
    }

    /// A file of the scope's cgroup.
    fn file(&self, name: &str) -> String {
        read(self.directory().join(name))
    }

    fn directory(&self) -> PathBuf {
        Path::new("/sys/fs/cgroup").join(self.property("ControlGroup").trim_start_matches('/'))
    }

    /// The processes in the scope; crun has them in a cgroup below it.
    fn pids(&self) -> Vec<String> {
        let directory = self.directory();
        let all = [read(directory.join("cgroup.procs")), read(directory.join("container/cgroup.procs"))].join("\n");
        all.split_whitespace().map(str::to_owned).collect()
    }

    fn is_loaded(&self) -> bool {
        self.property("LoadState") == "loaded"
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        // The container's own drop calls without --systemd-cgroup, which is for create alone; a user's needs its session.
        if self.user {
            drop(self.call(&["delete", "--force", self.container.id()]));
        }
    }
}

fn limited(name: &str, resource: &str, value: serde_json::Value) -> Bundle {
    Bundle::new(name).set(&format!("/linux/resources/{resource}"), value)
}

#[test]
fn a_scope_is_there_as_long_as_the_container() {
    systemd!();
    let scoped = Scoped::new(Bundle::new("scope").args(["sleep", "1000"])).started();
    assert_eq!(scoped.property("ActiveState"), "active");
    assert_eq!(scoped.property("Slice"), "test.slice");
    assert_eq!(scoped.property("Delegate"), "yes");
    assert!(scoped.property("ControlGroup").ends_with(&format!("/test.slice/{}", scoped.unit)));
    assert_eq!(scoped.pids(), [scoped.container.pid().to_string()], "the container and nobody else");
    let tree = Command::new("systemd-cgls").args(["--no-pager", "--unit", &scoped.unit]).finish().ok().stdout();
    assert!(tree.contains(&scoped.container.pid().to_string()), "{tree}");
    let directory = scoped.directory();
    scoped.delete();
    assert!(!scoped.is_loaded(), "the unit is left");
    assert!(!directory.exists(), "{} is left", directory.display());
}

#[test]
fn a_container_that_ends_by_itself_leaves_no_unit() {
    systemd!();
    for script in ["true", "exit 3", "kill -9 $$"] {
        let scoped = Scoped::new(Bundle::new("scopeends").shell(script));
        scoped.run();
        assert!(!scoped.is_loaded(), "{script}: the unit is left");
    }
}

#[test]
fn limits_are_those_of_the_unit_and_stay_when_systemd_reloads() {
    systemd!();
    let bundle = limited("scopelimits", "memory", json!({ "limit": 33_554_432 }))
        .set("/linux/resources/pids", json!({ "limit": 20 }))
        .set("/linux/resources/cpu", json!({ "quota": 33_333, "period": 50_000, "shares": 512 }));
    let scoped = Scoped::new(bundle.args(["sleep", "1000"])).started();
    assert_eq!(scoped.property("MemoryMax"), "33554432");
    assert_eq!(scoped.property("TasksMax"), "20");
    assert_eq!(scoped.property("CPUQuotaPerSecUSec"), "670ms");
    let weight = scoped.file("cpu.weight");
    for _ in 0..2 {
        assert_eq!((scoped.file("memory.max").as_str(), scoped.file("pids.max").as_str()), ("33554432", "20"));
        assert_eq!(scoped.file("cpu.weight"), weight);
        assert_eq!(scoped.property("CPUWeight"), weight);
        Command::new("systemctl").arg("daemon-reload").finish().ok();
    }
}

#[test]
fn a_process_over_the_memory_limit_is_killed_and_no_failed_unit_stays() {
    systemd!();
    let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo survived";
    let scoped = Scoped::new(limited("scopeoom", "memory", json!({ "limit": 16_777_216 })).args(["sh", "-c", script]));
    let outcome = scoped.run();
    assert!(!outcome.stdout().contains("survived"), "{outcome:?}");
    assert_ne!(outcome.code(), 0, "{outcome:?}");
    wait_until("the unit is forgotten", seconds(5), || !scoped.is_loaded());
}

#[test]
fn a_limit_of_one_task_leaves_room_for_the_container() {
    systemd!();
    lacks!("runc" < "never": "room for a single task", "crun" < "never": "room for a single task");
    let scoped = Scoped::new(limited("scopeone", "pids", json!({ "limit": 1 })).args(["sleep", "1000"])).started();
    assert_eq!((scoped.file("pids.max").as_str(), scoped.property("TasksMax").as_str()), ("1", "1"));
}

#[test]
fn update_changes_the_unit_and_the_files() {
    systemd!();
    let scoped =
        Scoped::new(limited("scopeupdate", "memory", json!({ "limit": 33_554_432 })).args(["sleep", "1000"])).started();
    scoped.call(&["update", "--memory", "67108864", "--pids-limit", "17", scoped.container.id()]).ok();
    assert_eq!((scoped.property("MemoryMax").as_str(), scoped.property("TasksMax").as_str()), ("67108864", "17"));
    assert_eq!((scoped.file("memory.max").as_str(), scoped.file("pids.max").as_str()), ("67108864", "17"));
    scoped.call(&["update", "--memory", "-1", scoped.container.id()]).ok();
    assert_eq!((scoped.property("MemoryMax").as_str(), scoped.file("memory.max").as_str()), ("infinity", "max"));
}

#[test]
fn every_limit_that_is_updated_is_in_force_and_known_to_systemd() {
    systemd!();
    let scoped = Scoped::new(Bundle::new("scopeall").args(["sleep", "1000"])).started();
    let mut resources = json!({
        "memory": { "limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432 },
        "pids": { "limit": 19 },
        "cpu": { "quota": 30_000, "period": 60_000, "shares": 1024 },
    });
    let mut expected = vec![
        ("memory.max", "67108864", "MemoryMax", "67108864"),
        ("memory.low", "33554432", "MemoryLow", "33554432"),
        ("memory.swap.max", "33554432", "MemorySwapMax", "33554432"),
        ("pids.max", "19", "TasksMax", "19"),
        ("cpu.max", "30000 60000", "CPUQuotaPerSecUSec", "500ms"),
    ];
    if support::has_controller("cpuset") {
        resources["cpu"]["cpus"] = json!("0");
        resources["cpu"]["mems"] = json!("0");
        expected.push(("cpuset.cpus", "0", "AllowedCPUs", "0"));
        expected.push(("cpuset.mems", "0", "AllowedMemoryNodes", "0"));
    }
    scoped.command(&["update", "--resources", "-", scoped.container.id()]).finish_with(&resources.to_string()).ok();
    let weight = scoped.file("cpu.weight");
    for _ in 0..2 {
        for (file, value, property, known) in &expected {
            assert_eq!(
                (scoped.file(file), scoped.property(property)),
                ((*value).to_owned(), (*known).to_owned()),
                "{file}"
            );
        }
        assert_eq!((scoped.file("cpu.weight"), scoped.property("CPUWeight")), (weight.clone(), weight.clone()));
        Command::new("systemctl").arg("daemon-reload").finish().ok();
    }
}

#[test]
fn an_idle_container_stays_idle_when_systemd_reloads() {
    systemd!();
    lacks!("runc" < "never": "idle as systemd knows it");
    let scoped = Scoped::new(Bundle::new("scopeidle").args(["sleep", "1000"])).started();
    for idle in ["1", "0"] {
        scoped.call(&["update", "--cpu-idle", idle, scoped.container.id()]).ok();
        for _ in 0..2 {
            assert_eq!(scoped.file("cpu.idle"), idle);
            Command::new("systemctl").arg("daemon-reload").finish().ok();
        }
    }
    assert_eq!(scoped.file("cpu.weight"), "100");
}

#[test]
fn exec_pause_ps_and_kill_work_on_the_scope() {
    systemd!();
    let scoped = Scoped::new(Bundle::new("scopeverbs").args(["sleep", "1000"])).started();
    let id = scoped.container.id();
    scoped.call(&["exec", "--detach", id, "sleep", "1000"]).ok();
    wait_until("the exec is in the scope", seconds(5), || scoped.pids().len() == 2);
    let pids = scoped.call(&["ps", "--format", "json", id]).ok().json();
    assert_eq!(pids.as_array().map(Vec::len), Some(2));
    scoped.call(&["pause", id]).ok();
    if Kind::of_runtime() != Kind::Crun {
        assert_eq!(scoped.file("cgroup.freeze"), "1");
    }
    scoped.container.wait_status("paused");
    scoped.call(&["resume", id]).ok();
    scoped.call(&["kill", id, "KILL"]).ok();
    scoped.container.wait_status("stopped");
    scoped.call(&["delete", id]).ok();
    assert!(!scoped.is_loaded());
}

#[test]
fn without_a_path_the_scope_is_named_after_runtime_and_container() {
    systemd!();
    let mut scoped = Scoped::new(Bundle::new("scopename").args(["sleep", "1000"]));
    scoped.container.bundle.config["linux"]["cgroupsPath"].take();
    scoped.container.bundle.write();
    scoped.unit = format!("{}-{}.scope", Kind::of_runtime().name(), scoped.container.id());
    let scoped = scoped.started();
    assert_eq!(scoped.property("ControlGroup"), format!("/system.slice/{}", scoped.unit));
}

#[test]
fn other_forms_of_the_path_are_refused() {
    systemd!();
    lacks!("crun" < "never": "a complaint about paths without a slice");
    for path in ["/a/b", "system.slice:only-two", "no-slice:pt:x", "a--b.slice:pt:x"] {
        let scoped = Scoped::new(Bundle::new("scopepath"));
        let container = Container::new(Bundle::new("scopepath").set("/linux/cgroupsPath", path));
        let mut command = scoped.command(&["run", "--bundle"]);
        command.arg(container.bundle.path()).arg(container.id()).finish().refused();
        container.leaves_nothing();
    }
}

#[test]
fn a_create_that_is_killed_leaves_nothing_after_delete() {
    systemd!();
    lacks!("runc" < "never": "deleting what a killed create left", "crun" < "never": "deleting what a killed create left");
    let bundle = Bundle::new("scopekilled");
    let reached = bundle.path().join("reached");
    let hook = bundle.script("hook", &format!("touch {}; sleep 3", reached.display()));
    let scoped = Scoped::new(bundle.set("/hooks/createRuntime", json!([{ "path": hook }])));
    let mut command = scoped.command(&["create", "--bundle"]);
    command.arg(scoped.container.bundle.path()).arg(scoped.container.id());
    let mut create = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the runtime starts");
    wait_until("the hook runs", seconds(20), || reached.exists());
    assert!(scoped.is_loaded());
    create.kill().expect("kill the runtime");
    create.wait().expect("its end");
    scoped.delete();
    assert!(!scoped.is_loaded(), "the unit is left");
    scoped.container.leaves_nothing();
}

#[test]
fn annotations_set_properties_of_the_scope() {
    systemd!();
    let key = |name: &str| format!("org.systemd.property.{name}");
    let bundle = Bundle::new("scopenotes")
        .set(&format!("/annotations/{}", key("TimeoutStopUSec")), "uint64 7000000")
        .set(&format!("/annotations/{}", key("Description")), "'a container of a test'");
    let scoped = Scoped::new(bundle.args(["sleep", "1000"])).started();
    assert_eq!(scoped.property("TimeoutStopUSec"), "7s");
    if Kind::of_runtime() != Kind::Crun {
        assert_eq!(scoped.property("Description"), "a container of a test");
    }
}

#[test]
fn annotations_reach_no_other_unit() {
    systemd!();
    lacks!("runc" < "never": "a list of harmless properties", "crun" < "never": "a list of harmless properties");
    for (name, value) in [("Conflicts", "['sshd.service']"), ("DeviceAllow", "[]"), ("Slice", "'-.slice'")] {
        let bundle = Bundle::new("scopeharm").set(&format!("/annotations/org.systemd.property.{name}"), value);
        let scoped = Scoped::new(bundle);
        scoped.run().refused().says(name);
        assert!(!scoped.is_loaded());
        scoped.container.leaves_nothing();
    }
}

#[test]
fn a_second_container_does_not_get_the_scope_of_the_first() {
    systemd!();
    lacks!("runc" < "never": "a message about the unit", "crun" < "never": "a message about the unit");
    let first = Scoped::new(Bundle::new("scopetwice").args(["sleep", "1000"])).started();
    let path = format!("test.slice:pt:{}", first.container.id());
    let second = Container::new(Bundle::new("scopetwice").set("/linux/cgroupsPath", path));
    let mut command = first.command(&["run", "--bundle"]);
    command.arg(second.bundle.path()).arg(second.id()).finish().refused().explains(&first.unit);
    assert_eq!(first.pids(), [first.container.pid().to_string()]);
}

// A user's own systemd.

#[test]
fn an_ordinary_user_has_scopes_with_limits() {
    session!();
    lacks!("crun" < "never": "a user that is no user of the caller's session");
    let memory = json!({ "limit": 33_554_432 });
    let scoped = Scoped::of_user(limited("userscope", "memory", memory).args(["sleep", "1000"])).started();
    assert_eq!(scoped.property("ActiveState"), "active");
    assert_eq!((scoped.property("MemoryMax").as_str(), scoped.file("memory.max").as_str()), ("33554432", "33554432"));
    assert_eq!(scoped.pids(), [scoped.container.pid().to_string()]);
    let exec = scoped.call(&["exec", scoped.container.id(), "cat", "/proc/self/cgroup"]).ok();
    if Kind::of_runtime() != Kind::Runc {
        // The cgroup namespace begins at the scope, and the process is in it; runc leaves it in the caller's cgroup.
        exec.prints("0::/");
    }
    scoped.call(&["update", "--memory", "50331648", scoped.container.id()]).ok();
    assert_eq!(scoped.file("memory.max"), "50331648");
    scoped.delete();
    assert!(!scoped.is_loaded(), "the unit is left");
}

#[test]
fn an_ordinary_user_is_born_into_the_scope_where_it_may() {
    session!();
    lacks!("crun" < "never": "a user that is no user of the caller's session");
    let scoped = Scoped::of_user(Bundle::new("userborn").shell("cat /proc/self/cgroup"));
    let mut run = Command::new("systemd-run");
    run.args(["--quiet", "--wait", "--pipe", "--user", &format!("--machine={USER}@.host")]);
    run.arg(&scoped.container.runtime.program).arg("--root").arg(&scoped.container.runtime.root);
    run.args(["--systemd-cgroup", "run", "--bundle"]).arg(scoped.container.bundle.path()).arg(scoped.container.id());
    run.finish().ok().prints("0::/");
    assert!(!scoped.is_loaded(), "the unit is left");
}

#[test]
fn a_user_without_a_session_is_told() {
    systemd!();
    lacks!("runc" < "never": "a hint", "crun" < "never": "a hint");
    let scoped = Scoped::of_user(Bundle::new("nosession"));
    let mut command = scoped.command(&["run", "--bundle"]);
    command.arg(scoped.container.bundle.path()).arg(scoped.container.id());
    command.env("XDG_RUNTIME_DIR", "/nonexistent").finish().refused().says("systemd").says("loginctl enable-linger");
}

// Engines.

/// `podman` with systemd's cgroups, as root or as the user.
fn podman(bundle: &Bundle, user: bool, args: &[&str]) -> Command {
    let store = bundle.path().join("podman");
    let mut command = if user {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--init-groups", "podman"]);
        command.env("XDG_RUNTIME_DIR", runtime_dir()).env("HOME", &store).env("USER", "user").current_dir(&store);
        command
    } else {
        Command::new("podman")
    };
    let program = support::Runtime::new("/nonexistent").program;
    command.arg("--runtime").arg(program).arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
    command.args(["--cgroup-manager", "systemd", "--storage-driver", "vfs", "--events-backend", "file"]).args(args);
    command.stdin(Stdio::null());
    command
}

fn podman_shows_its_scope(user: bool) {
    let bundle = Bundle::new(if user { "userpodman" } else { "podman" }).writable();
    let store = bundle.dir("podman");
    if user {
        bundle.chown(USER);
    }
    let rootfs = bundle.rootfs();
    let rootfs = rootfs.to_str().expect("UTF-8");
    let name = bundle.id.as_str();
    let run = ["run", "--detach", "--name", name, "--network", "none", "--memory", "48m", "--log-driver", "k8s-file"];
    podman(&bundle, user, &[&run[..], &["--rootfs", rootfs, "sleep", "1000"]].concat()).finish_within(seconds(60)).ok();
    let pid = podman(&bundle, user, &["inspect", "--format", "{{.State.Pid}}", name]).finish().ok().trimmed();
    let cgroup = read(format!("/proc/{pid}/cgroup"));
    let path = cgroup.rsplit("::/").next().expect("a cgroup").to_owned();
    assert!(path.contains(".slice/libpod-") && path.contains(".scope"), "{cgroup}");
    assert_eq!(read(Path::new("/sys/fs/cgroup").join(&path).join("memory.max")), "50331648");
    podman(&bundle, user, &["exec", name, "true"]).finish().ok();
    podman(&bundle, user, &["rm", "--force", "--time", "0", name]).finish_within(seconds(60)).ok();
    assert!(!Path::new("/sys/fs/cgroup").join(&path).exists(), "{path} is left");
    // Files of mapped ids: only podman may remove them.
    podman(&bundle, user, &["unshare", "rm", "-rf", store.to_str().expect("UTF-8")]).finish_within(seconds(60));
    drop(Command::new("umount").args(["--quiet", "--recursive", "--lazy"]).arg(store.join("root")).finish());
}

#[test]
fn podman_uses_scopes() {
    systemd!();
    podman_shows_its_scope(false);
}

#[test]
fn podman_of_an_ordinary_user_uses_scopes_of_its_session() {
    session!();
    podman_shows_its_scope(true);
}

#[test]
fn containerd_uses_scopes() {
    systemd!();
    let bundle = Bundle::new("ctr").writable();
    let dir = bundle.dir("containerd");
    let socket = dir.join("sock");
    let log = fs::File::create(dir.join("log")).expect("a log");
    let mut daemon = Command::new("containerd")
        .arg("--config")
        .arg(bundle.file("containerd.toml", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"))
        .arg("--address")
        .arg(&socket)
        .arg("--root")
        .arg(dir.join("root"))
        .arg("--state")
        .arg(dir.join("state"))
        .stdout(log.try_clone().expect("duplicate"))
        .stderr(log)
        .spawn()
        .expect("containerd is installed");
    wait_until("containerd listens", seconds(20), || socket.exists());
    let ctr = |args: &[&str]| {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&socket).args(args).stdin(Stdio::null());
        command
    };
    let program = support::Runtime::new("/nonexistent").program;
    let rootfs = bundle.rootfs();
    let path = format!("test.slice:pt:{}", bundle.id);
    let mut run = ctr(&["run", "--detach", "--runc-systemd-cgroup", "--cgroup", &path, "--memory-limit", "50331648"]);
    run.arg("--runc-binary").arg(program).arg("--rootfs").arg(rootfs).args([&bundle.id, "/bin/sleep", "1000"]);
    let ran = run.finish_within(seconds(60));
    let directory = format!("/sys/fs/cgroup/test.slice/pt-{}.scope", bundle.id);
    let limit = read(format!("{directory}/memory.max"));
    let metrics = ctr(&["tasks", "metrics", &bundle.id]).finish();
    drop(ctr(&["tasks", "kill", "--signal", "KILL", &bundle.id]).finish());
    let mut deleted = ctr(&["tasks", "delete", &bundle.id]).finish();
    for _ in 0..50 {
        if deleted.code() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        deleted = ctr(&["tasks", "delete", &bundle.id]).finish();
    }
    let left = Path::new(&directory).exists();
    drop(ctr(&["containers", "delete", &bundle.id]).finish());
    daemon.kill().expect("kill containerd");
    daemon.wait().expect("its end");
    ran.ok();
    assert_eq!(limit, "50331648");
    assert!(metrics.stdout().contains("memory"), "{metrics:?}");
    assert!(!left, "{directory} is left: {deleted:?}");
}
