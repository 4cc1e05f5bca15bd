//! The cgroup code on the host's own hierarchies, version 1 and version 2: make, limit, fill, freeze, kill, delete.
//!
//! Needs root; prints `skip: …` and passes without. Every cgroup is below `pent-test-cgroup`, and removed.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use oci_spec::runtime::LinuxResources;
use pent::cgroup::{
    Cgroup, CgroupPlan, DEFAULT_RULES, Driver, Error, Input, Layout, OwnCgroup, UpdateContext, compile,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PREFIX: &str = "/pent-test-cgroup";
const CONTEXT: UpdateContext<'static> = UpdateContext { rootless: false, oci_version: "1.2.0" };

/// The host's version 1 hierarchies, or why the test cannot run.
fn v1() -> Result<Layout, &'static str> {
    match probe()? {
        layout @ Layout::V1 { .. } => Ok(layout),
        _ => Err("the host has no version 1 hierarchies"),
    }
}

/// The host's version 2 tree, taken alone, or why the test cannot run.
fn v2() -> Result<Layout, &'static str> {
    match probe()? {
        layout @ Layout::V2 { .. } => Ok(layout),
        Layout::V1 { unified: Some(unified), .. } => Ok(Layout::V2 { mount: unified.mount }),
        _ => Err("the host has no version 2 tree"),
    }
}

fn probe() -> Result<Layout, &'static str> {
    if !nix::unistd::geteuid().is_root() && std::env::var_os(AS_NOBODY).is_none() {
        return Err("needs root");
    }
    Ok(Layout::probe(&OwnCgroup::probe().unwrap(), true).unwrap())
}

macro_rules! or_skip {
    ($layout:expr) => {
        match $layout {
            Ok(layout) => layout,
            Err(reason) => {
                println!("skip: {reason}");
                return;
            }
        }
    };
}

fn plan(layout: &Layout, name: &str, resources: Value) -> CgroupPlan {
    plan_at(layout, &format!("{PREFIX}/{name}"), resources)
}

fn plan_at(layout: &Layout, path: &str, resources: Value) -> CgroupPlan {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    compile(&Input {
        layout,
        own: &OwnCgroup::default(),
        driver: Driver::Cgroupfs,
        cgroups_path: Some(path),
        id: "test",
        resources: Some(&resources),
        default_devices: DEFAULT_RULES,
        rootless: false,
        oci_version: "1.2.0",
        owner: None,
        user_manager: None,
        annotations: None,
    })
    .unwrap()
}

/// A cgroup that is killed and removed whatever the test does.
struct Made(Cgroup);

impl Made {
    fn new(plan: &CgroupPlan) -> Self {
        Self(Cgroup::create(plan).unwrap())
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.directory(controller).join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }

    fn directory(&self, controller: &str) -> PathBuf {
        self.0.place(controller).unwrap().directory()
    }

    fn update(&self, resources: Value) -> Result<(), Error> {
        self.0.update(&serde_json::from_value(resources).unwrap(), CONTEXT).map(drop)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // The test may be failing already: what can be cleaned up is.
        drop(self.0.kill_all(libc::SIGKILL));
        drop(self.0.delete());
        for place in self.0.places() {
            drop(fs::remove_dir(place.mount.join(PREFIX.trim_start_matches('/'))));
        }
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap()
}

/// A shell that waits for a line before it does `script`, so that it can be placed first.
fn waiting(script: &str) -> Child {
    let script = format!("read line; {script}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn release(child: &mut Child) {
    writeln!(child.stdin.take().unwrap()).unwrap();
}

/// What the child printed, and its exit code unless it was killed.
fn finish(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code(), text)
}

fn cgroups_of(pid: u32) -> OwnCgroup {
    OwnCgroup::parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap())
}

/// Make, add, list, freeze, thaw, kill and delete, in any layout.
fn lifecycle(layout: &Layout, name: &str) {
    let plan = plan(layout, name, json!({}));
    let made = Made::new(&plan);
    made.0.apply(&plan).unwrap();
    // The handle survives the state file.
    let state = serde_json::to_string(&made.0).unwrap();
    let kept: Cgroup = serde_json::from_str(&state).unwrap();
    assert_eq!(kept.pids(true).unwrap(), [0_u32; 0]);

    let (mut first, mut second) = (sleeper(), sleeper());
    kept.add(first.id()).unwrap();
    let below = made.directory("freezer").join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("cgroup.procs"), second.id().to_string()).unwrap();
    let mut both = vec![first.id(), second.id()];
    both.sort_unstable();
    assert_eq!(kept.place("freezer").unwrap().pids().unwrap(), [first.id()]);
    assert_eq!(kept.place("freezer").unwrap().all_pids().unwrap(), both);
    assert!(kept.pids(true).unwrap().contains(&first.id()));

    assert!(!kept.is_frozen().unwrap());
    kept.freeze().unwrap();
    assert!(kept.is_frozen().unwrap());
    assert!(matches!(Cgroup::create(&plan), Err(Error::NotEmpty { .. })));
    kept.thaw().unwrap();
    assert!(!kept.is_frozen().unwrap());
    // Everybody into the container's cgroups proper; killing works on a frozen cgroup too.
    kept.add(second.id()).unwrap();
    kept.freeze().unwrap();
    kept.kill_all(libc::SIGKILL).unwrap();
    assert_eq!(first.wait().unwrap().code(), None);
    assert_eq!(second.wait().unwrap().code(), None);

    kept.delete().unwrap();
    kept.delete().unwrap();
    assert!(!below.exists() && kept.places().iter().all(|place| !place.directory().exists()));
    assert_eq!(kept.pids(true).unwrap(), [0_u32; 0]);
    assert!(!kept.is_frozen().unwrap());
}

#[test]
fn a_life_on_version_one() {
    let layout = or_skip!(v1());
    lifecycle(&layout, "life1");
}

#[test]
fn a_life_on_version_two() {
    let layout = or_skip!(v2());
    lifecycle(&layout, "life2");
}

/// Without `cgroup.kill` (version 1 alone), processes are frozen, killed and let go.
#[test]
fn killing_works_without_the_version_two_tree() {
    let Layout::V1 { hierarchies, .. } = or_skip!(v1()) else { unreachable!("v1 gives version 1") };
    let made = Made::new(&plan(&Layout::V1 { hierarchies, unified: None }, "kill1", json!({})));
    let mut children: Vec<_> = (0..3).map(|_| sleeper()).collect();
    for child in &children {
        made.0.add(child.id()).unwrap();
    }
    made.0.freeze().unwrap();
    made.0.kill_all(libc::SIGKILL).unwrap();
    assert_eq!(children.iter_mut().map(|child| child.wait().unwrap().code()).collect::<Vec<_>>(), [None; 3]);
    assert!(!made.0.is_frozen().unwrap());
    made.0.delete().unwrap();
}

#[test]
fn a_frozen_cgroup_is_not_taken_over() {
    for (layout, name) in [(v1(), "frozen1"), (v2(), "frozen2")] {
        let Ok(layout) = layout.inspect_err(|reason| println!("skip: {reason}")) else { continue };
        let plan = plan(&layout, name, json!({}));
        let made = Made::new(&plan);
        made.0.freeze().unwrap();
        let error = Cgroup::create(&plan).unwrap_err();
        assert!(error.to_string().starts_with("container's cgroup unexpectedly frozen"), "{error}");
        made.0.thaw().unwrap();
        Cgroup::create(&plan).unwrap();
    }
}

#[test]
fn a_process_is_in_every_hierarchy() {
    let layout = or_skip!(v1());
    let made = Made::new(&plan(&layout, "every", json!({})));
    let mut child = waiting("true");
    made.0.add(child.id()).unwrap();
    let own = cgroups_of(child.id());
    let path = format!("{PREFIX}/every");
    assert!(own.v1.values().all(|place| *place == path), "{own:?}");
    if made.0.clone_dir().unwrap().is_some() {
        assert_eq!(own.unified.as_deref(), Some(path.as_str()));
    }
    // Whoever writes 0 joins: the child of a launch can do it by descriptor.
    assert!(!made.0.open_tasks_v1().unwrap().is_empty());
    release(&mut child);
    assert_eq!(finish(child).0, Some(0));
}

#[test]
fn other_signals_reach_everyone() {
    let layout = or_skip!(v2());
    let made = Made::new(&plan(&layout, "signal", json!({})));
    let mut children: Vec<_> = (0..3).map(|_| sleeper()).collect();
    for child in &children {
        made.0.add(child.id()).unwrap();
    }
    made.0.kill_all(libc::SIGTERM).unwrap();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
    assert!(!made.0.is_frozen().unwrap());
}

#[test]
fn a_cgroup_with_processes_is_not_deleted() {
    let layout = or_skip!(v2());
    let made = Made::new(&plan(&layout, "busy", json!({})));
    let mut child = sleeper();
    made.0.add(child.id()).unwrap();
    let started = Instant::now();
    let error = made.0.delete().unwrap_err();
    assert!(matches!(error, Error::Remove { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "bounded");
    child.kill().unwrap();
    child.wait().unwrap();
    made.0.delete().unwrap();
}

#[test]
fn a_container_names_its_cgroups_as_it_likes() {
    use std::os::unix::ffi::OsStrExt;
    for (layout, name) in [(v1(), "names1"), (v2(), "names2")] {
        let Ok(layout) = layout.inspect_err(|reason| println!("skip: {reason}")) else { continue };
        let made = Made::new(&plan(&layout, name, json!({})));
        for place in made.0.places() {
            fs::create_dir(place.directory().join(std::ffi::OsStr::from_bytes(b"a\xffb"))).unwrap();
        }
        assert_eq!(made.0.pids(true).unwrap(), [0_u32; 0]);
        made.0.kill_all(libc::SIGKILL).unwrap();
        made.0.delete().unwrap();
    }
}

/// The version 2 tree beside version 1 hierarchies is joined where that is possible: not where somebody else is.
#[test]
fn the_cgroup_of_somebody_else_in_a_hybrid_layout_is_left_alone() {
    let layout = or_skip!(v1());
    let Layout::V1 { unified: Some(unified), .. } = &layout else { return println!("skip: no version 2 tree") };
    let theirs = unified.mount.join("pent-test-cgroup/theirs");
    fs::create_dir_all(&theirs).unwrap();
    let mut other = sleeper();
    fs::write(theirs.join("cgroup.procs"), other.id().to_string()).unwrap();
    let made = Made::new(&plan(&layout, "theirs", json!({})));
    made.0.kill_all(libc::SIGKILL).unwrap();
    made.0.delete().unwrap();
    let alive = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    fs::remove_dir(&theirs).unwrap();
    assert!(alive);
}

#[test]
fn limits_bite_on_version_one() {
    let layout = or_skip!(v1());
    let resources = json!({
        "memory": {"limit": 33554432, "swap": 33554432, "reservation": 16777216},
        "cpu": {"shares": 512, "quota": 20000, "period": 100000},
        "pids": {"limit": 20},
    });
    let plan = plan(&layout, "limits1", resources);
    let made = Made::new(&plan);
    made.0.apply(&plan).unwrap();
    assert_eq!(made.read("memory", "memory.limit_in_bytes"), "33554432");
    assert_eq!(made.read("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(made.read("cpu", "cpu.shares"), "512");
    assert_eq!(made.read("pids", "pids.max"), "20");
    assert!(!made.read("cpuset", "cpuset.cpus").is_empty(), "inherited");

    // One process: which of several is killed, the shell among them, is the kernel's choice.
    let mut child = waiting("exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    made.0.add(child.id()).unwrap();
    let mut watch = made.0.oom_watch().unwrap();
    assert_eq!(watch.occurred().unwrap(), Some(false));
    release(&mut child);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(made.0.oom_kill_count().unwrap() >= 1);
    assert_eq!(watch.occurred().unwrap(), Some(true));

    let stats = made.0.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, 33_554_432);
    assert!(stats.memory.usage.max > 30_000_000 && stats.memory.raw.contains_key("rss"));
    assert_eq!(stats.pids.limit, 20);
    assert!(stats.cpu.usage.total > 0 && !stats.cpu.usage.percpu.is_empty());
    assert!(!stats.cpuset.cpus.is_empty());
    made.0.delete().unwrap();
    assert_eq!(watch.occurred().unwrap(), None, "the cgroup is gone");
}

#[test]
fn an_update_raises_and_lowers_in_any_order() {
    let layout = or_skip!(v1());
    let first = plan(&layout, "update1", json!({"memory": {"limit": 33554432, "swap": 67108864}}));
    let made = Made::new(&first);
    made.0.apply(&first).unwrap();
    for (limit, swap) in [(134_217_728, 268_435_456), (16_777_216, 16_777_216), (-1, -1), (33_554_432, 33_554_432)] {
        made.update(json!({"memory": {"limit": limit, "swap": swap}})).unwrap();
        if limit > 0 {
            assert_eq!(made.read("memory", "memory.limit_in_bytes"), limit.to_string());
            assert_eq!(made.read("memory", "memory.memsw.limit_in_bytes"), swap.to_string());
        }
    }
    for (quota, period) in [(50_000, 100_000), (5_000, 10_000), (500_000, 1_000_000), (-1, 100_000)] {
        made.update(json!({"cpu": {"quota": quota, "period": period}})).unwrap();
        assert_eq!(made.read("cpu", "cpu.cfs_quota_us"), quota.to_string());
        assert_eq!(made.read("cpu", "cpu.cfs_period_us"), period.to_string());
    }
    let error = made.update(json!({"cpu": {"shares": 1}, "pids": {"limit": 5}})).unwrap_err();
    assert_eq!(error.to_string(), "cpu.shares: the minimum allowed cpu-shares is 2");
}

#[test]
fn a_limit_below_the_usage_is_rejected_when_asked() {
    let layout = or_skip!(v1());
    let first = plan(&layout, "check1", json!({}));
    let made = Made::new(&first);
    // tail keeps what it may have to print, until its input ends.
    let mut child = waiting("(head -c 16000000 /dev/zero; sleep 1000) | tail -c 16000000");
    made.0.add(child.id()).unwrap();
    release(&mut child);
    let deadline = Instant::now() + Duration::from_secs(60);
    while made.0.stats().unwrap().memory.usage.usage < 8_000_000 {
        assert!(Instant::now() < deadline, "the child uses no memory");
        std::thread::sleep(Duration::from_millis(10));
    }
    let error = made.update(json!({"memory": {"limit": 1_000_000, "checkBeforeUpdate": true}})).unwrap_err();
    assert!(error.to_string().starts_with("rejecting memory limit 1000000 <= usage "), "{error}");
    made.0.kill_all(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

/// Asks a process in the cgroup to open a device.
fn can_open(made: &Made, device: &str) -> bool {
    let mut child = waiting(&format!("exec 3<{device} && echo yes"));
    made.0.add(child.id()).unwrap();
    release(&mut child);
    finish(child).1 == "yes\n"
}

fn devices_are_guarded(layout: &Layout, name: &str) {
    if fs::File::open("/dev/kmsg").is_err() {
        println!("skip: no /dev/kmsg to be refused");
        return;
    }
    let first = plan(layout, name, json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let made = Made::new(&first);
    made.0.apply(&first).unwrap();
    assert!(can_open(&made, "/dev/null"), "a default device");
    assert!(!can_open(&made, "/dev/kmsg"));
    // An update replaces the rules; twice, so that nothing piles up.
    let update = |rules: Value| made.update(json!({"devices": rules})).unwrap();
    for _ in 0..2 {
        update(json!([{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]));
        assert!(can_open(&made, "/dev/kmsg"));
        assert!(can_open(&made, "/dev/null"));
        update(json!([{"allow": false, "access": "rwm"}]));
        assert!(!can_open(&made, "/dev/kmsg"));
    }
    update(json!([{"allow": true, "access": "rwm"}]));
    assert!(can_open(&made, "/dev/kmsg"));
    update(
        json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]),
    );
    assert!(!can_open(&made, "/dev/kmsg"));
    if made.0.is_v2() {
        let dir = made.0.clone_dir().unwrap().unwrap();
        assert_eq!(pent::sys::bpf::device_program_ids(dir).unwrap().len(), 1, "replaced, not stacked");
    }
}

#[test]
fn devices_are_guarded_on_version_one() {
    let layout = or_skip!(v1());
    devices_are_guarded(&layout, "devices1");
}

/// An engine sends all rules with every update, and the kernel resets none that has cgroups below.
#[test]
fn an_update_of_what_allows_every_device_goes_by_cgroups_below() {
    let layout = or_skip!(v1());
    let everything = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let first = plan(&layout, "below1", everything.clone());
    let made = Made::new(&first);
    made.0.apply(&first).unwrap();
    fs::create_dir(made.directory("devices").join("sub")).unwrap();
    made.update(everything).unwrap();
    assert_eq!(made.read("devices", "devices.list"), "a *:* rwm");
}

#[test]
fn devices_are_guarded_on_version_two() {
    let layout = or_skip!(v2());
    if let Err(error) = pent::sys::bpf::load_device_program(&[])
        && matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS))
    {
        println!("skip: bpf(2) is not permitted here: {error}");
        return;
    }
    devices_are_guarded(&layout, "devices2");
}

#[test]
fn a_missing_controller_is_named() {
    let layout = or_skip!(v2());
    let Layout::V2 { mount } = &layout else { unreachable!("v2 gives version 2") };
    let error = Cgroup::create(&plan(&layout, "missing", json!({"unified": {"nosuch.max": "1"}}))).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("controller \"nosuch\" not available") && error.contains("unknown controller"), "{error}");
    assert!(error.starts_with("linux.resources.unified.nosuch.max: nosuch.max can't be set"), "{error}");
    assert!(!mount.join("pent-test-cgroup/missing").exists(), "nothing is left behind");
    let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
    if !available.contains("memory") {
        let error = Cgroup::create(&plan(&layout, "missing", json!({"memory": {"limit": 4096000}}))).unwrap_err();
        assert!(matches!(error, Error::Controller { .. }), "{error}");
    }
    drop(fs::remove_dir(mount.join("pent-test-cgroup")));
}

#[test]
fn a_version_two_limit_enables_its_controller() {
    let layout = or_skip!(v2());
    let Layout::V2 { mount } = &layout else { unreachable!("v2 gives version 2") };
    let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
    if !available.contains("hugetlb") || !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        println!("skip: no hugetlb controller in the version 2 tree");
        return;
    }
    let enabled = fs::read_to_string(mount.join("cgroup.subtree_control")).unwrap();
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    // Beside the other tests' cgroups, so that the controller can be taken back.
    let plan = plan_at(&layout, &format!("{PREFIX}-hugetlb"), resources);
    let made = Made::new(&plan);
    made.0.apply(&plan).unwrap();
    assert_eq!(made.read("", "hugetlb.2MB.max"), "4194304");
    assert_eq!(made.read("", "hugetlb.2MB.rsvd.max"), "4194304");
    assert!(made.0.stats().unwrap().hugetlb.contains_key("2MB"));
    drop(made);
    if !enabled.contains("hugetlb") {
        fs::write(mount.join("cgroup.subtree_control"), "-hugetlb").unwrap();
    }
}

#[test]
fn owners_get_the_files_that_are_safe_to_give() {
    use std::os::unix::fs::MetadataExt;
    let layout = or_skip!(v2());
    let mut plan = plan(&layout, "owner", json!({}));
    plan.owner = Some(1234);
    let made = Made::new(&plan);
    let owner = |name: &str| fs::metadata(made.directory("").join(name)).unwrap().uid();
    assert_eq!((owner(""), owner("cgroup.procs"), owner("cgroup.freeze")), (1234, 1234, 0));
}

#[test]
fn the_sub_cgroup_of_an_exec_stays_below() {
    let layout = or_skip!(v2());
    let made = Made::new(&plan(&layout, "sub", json!({})));
    for path in ["..", "../x", "/a/../../b"] {
        assert!(matches!(made.0.sub(path), Err(Error::BadSubPath(_))), "{path}");
    }
    fs::create_dir(made.directory("").join("inner")).unwrap();
    let mut child = sleeper();
    made.0.sub("/inner").unwrap().add(child.id()).unwrap();
    assert!(made.0.holding(child.id()).unwrap().places()[0].path.ends_with("/sub/inner"));
    assert!(matches!(made.0.holding(std::process::id()), Err(Error::BadSubPath(_))));
    assert!(cgroups_of(child.id()).unified.unwrap().ends_with("/sub/inner"));
    made.0.kill_all(libc::SIGKILL).unwrap();
    child.wait().unwrap();
}

/// The environment variable that tells this program to be the unprivileged half of a test.
const AS_NOBODY: &str = "PENT_TEST_AS_NOBODY";

fn rootless_plan(layout: &Layout, path: Option<&str>, resources: Value) -> CgroupPlan {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    compile(&Input {
        layout,
        own: &OwnCgroup::default(),
        driver: Driver::Cgroupfs,
        cgroups_path: path,
        id: "pent-test-cgroup-nobody",
        resources: Some(&resources),
        default_devices: DEFAULT_RULES,
        rootless: true,
        oci_version: "1.2.0",
        owner: None,
        user_manager: None,
        annotations: None,
    })
    .unwrap()
}

/// Without delegation: no cgroup unless limits or a path are asked for, and then an error that says why.
#[test]
fn a_rootless_user_needs_a_cgroup_only_for_limits() {
    use std::os::unix::process::CommandExt;
    let layout = or_skip!(v1().or_else(|_| v2()));
    if std::env::var_os(AS_NOBODY).is_none() {
        let name = "a_rootless_user_needs_a_cgroup_only_for_limits";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(AS_NOBODY, "1").uid(65534).gid(65534);
        match command.output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && text.contains("1 passed"), "{text}");
            }
            Err(error) => println!("skip: another user cannot run this program: {error}"),
        }
        return;
    }
    let plan = rootless_plan(&layout, None, json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let cgroup = Cgroup::create(&plan).unwrap();
    assert!(cgroup.is_none(), "{cgroup:?}");
    cgroup.apply(&plan).unwrap();
    let limited = json!({"pids": {"limit": 5}});
    let error = Cgroup::create(&rootless_plan(&layout, None, limited)).unwrap_err().to_string();
    assert!(error.starts_with("rootless needs no limits + no cgrouppath when no permission is granted"), "{error}");
    let error = Cgroup::create(&rootless_plan(&layout, Some("/pent-test-nobody"), json!({}))).unwrap_err().to_string();
    assert!(error.ends_with("Permission denied (os error 13)"), "{error}");
}
