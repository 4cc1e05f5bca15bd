//! What a configuration becomes, on fixtures of hosts.
#![forbid(unsafe_code)]

use super::*;
use crate::cgroup::DEFAULT_RULES;
use proptest::prelude::*;
use serde_json::{Value, json};

const V1_MOUNTS: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 31 0:39 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
";

fn hybrid() -> Layout {
    Layout::parse_mountinfo(V1_MOUNTS)
}

fn unified() -> Layout {
    Layout::V2 { mount: "/sys/fs/cgroup".into() }
}

struct Case {
    layout: Layout,
    own: OwnCgroup,
    path: Option<&'static str>,
    rootless: bool,
    driver: Driver,
    version: &'static str,
}

impl Case {
    fn on(layout: Layout) -> Self {
        let own = OwnCgroup::parse("0::/user.slice/session.scope\n");
        Self { layout, own, path: Some("/default/web"), rootless: false, driver: Driver::Cgroupfs, version: "1.2.0" }
    }

    fn compile(&self, resources: Value) -> Result<CgroupPlan, Vec<Diagnostic>> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        compile(&Input {
            layout: &self.layout,
            own: &self.own,
            driver: self.driver,
            cgroups_path: self.path,
            id: "web",
            resources: Some(&resources),
            default_devices: DEFAULT_RULES,
            rootless: self.rootless,
            oci_version: self.version,
            owner: None,
            user_manager: None,
            annotations: None,
        })
    }

    /// `FILE=VALUE` of every write.
    fn writes(&self, resources: Value) -> Vec<String> {
        let plan = self.compile(resources).unwrap();
        plan.limits.writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    /// `PATH: MESSAGE` of every error.
    fn errors(&self, resources: Value) -> Vec<String> {
        self.compile(resources).unwrap_err().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn memory_on_version_two() {
    let case = Case::on(unified());
    let all = json!({"memory": {"limit": 67108864, "swap": 100663296, "reservation": 33554432}});
    assert_eq!(case.writes(all.clone()), ["memory.swap.max=33554432", "memory.max=67108864", "memory.low=33554432"]);
    let plan = case.compile(all).unwrap();
    assert_eq!(plan.controllers, ["memory"]);
    assert_eq!(plan.limits.writes[1].spec_path, "linux.resources.memory.limit");
    assert_eq!(case.writes(json!({"memory": {"limit": -1}})), ["memory.swap.max=max", "memory.max=max"]);
    assert_eq!(case.writes(json!({"memory": {"limit": 4096, "swap": -1}})), ["memory.swap.max=max", "memory.max=4096"]);
    assert_eq!(case.writes(json!({"memory": {"limit": 0, "swap": 0}})), [""; 0]);
    assert_eq!(
        case.errors(json!({"memory": {"swap": 4096}})),
        ["linux.resources.memory.swap: unable to set swap limit without memory limit"]
    );
    assert!(case.errors(json!({"memory": {"limit": -5}}))[0].contains("invalid memory value: -5"));
}

#[test]
fn memory_on_version_one() {
    let case = Case::on(hybrid());
    let all = json!({"memory": {"limit": 4096, "swap": 8192, "reservation": 2048, "swappiness": 10, "disableOOMKiller": true}});
    assert_eq!(
        case.writes(all.clone()),
        [
            "memory.limit_in_bytes=4096",
            "memory.memsw.limit_in_bytes=8192",
            "memory.soft_limit_in_bytes=2048",
            "memory.swappiness=10",
            "memory.oom_control=1",
        ]
    );
    assert!(case.compile(all).unwrap().limits.writes[0].retry, "limit and swap depend on each other");
    assert_eq!(
        case.writes(json!({"memory": {"limit": -1}})),
        ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
    );
    assert!(case.errors(json!({"memory": {"swappiness": 101}}))[0].contains("valid range is 0-100"));
}

#[test]
fn what_is_not_done_is_warned_about() {
    let resources = json!({
        "memory": {"limit": 4096, "kernel": 4096, "kernelTCP": 4096, "swappiness": 1, "disableOOMKiller": true, "useHierarchy": false},
        "cpu": {"realtimeRuntime": 5, "realtimePeriod": 5},
        "blockIO": {"leafWeight": 10},
        "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 5}]},
    });
    let plan = Case::on(unified()).compile(resources).unwrap();
    let paths: Vec<_> = plan.warnings.iter().map(|found| found.path.trim_start_matches("linux.resources.")).collect();
    assert_eq!(
        paths,
        [
            "memory.kernel",
            "memory.kernelTCP",
            "memory.swappiness",
            "memory.disableOOMKiller",
            "memory.useHierarchy",
            "blockIO.leafWeight",
            "cpu.realtimeRuntime",
            "cpu.realtimePeriod",
            "network.classID",
            "network.priorities",
        ]
    );
    // What callers send without meaning anything is not worth a warning.
    let silent = json!({"memory": {"disableOOMKiller": false, "kernel": -1, "useHierarchy": true}, "network": {}});
    assert_eq!(Case::on(unified()).compile(silent).unwrap().warnings, []);
}

#[test]
fn processors_on_version_two() {
    let case = Case::on(unified());
    let all =
        json!({"cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 1000, "cpus": "0-1", "mems": "0"}});
    assert_eq!(
        case.writes(all.clone()),
        ["cpu.weight=100", "cpu.max.burst=1000", "cpu.max=50000 100000", "cpuset.cpus=0-1", "cpuset.mems=0",]
    );
    assert_eq!(case.compile(all).unwrap().controllers, ["cpu", "cpuset"]);
    assert_eq!(case.writes(json!({"cpu": {"idle": 1, "shares": 2}})), ["cpu.weight=1", "cpu.idle=1"]);
    assert_eq!(case.writes(json!({"cpu": {"idle": 0, "shares": 2}})), ["cpu.idle=0", "cpu.weight=1"]);
    assert_eq!(case.writes(json!({"cpu": {"quota": -1}})), ["cpu.max=max"]);
    assert_eq!(case.writes(json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}})), [""; 0]);
    assert!(case.errors(json!({"cpu": {"idle": 2}}))[0].starts_with("linux.resources.cpu.idle: 2 is neither"));
    assert!(case.errors(json!({"cpu": {"cpus": "0-1; rm"}}))[0].contains("is not a list"));
}

#[test]
fn processors_on_version_one() {
    let case = Case::on(hybrid());
    let all = json!({"cpu": {"shares": 512, "quota": -1, "period": 50000, "burst": 1, "realtimeRuntime": 7, "realtimePeriod": 9, "cpus": "1"}});
    assert_eq!(
        case.writes(all),
        [
            "cpuset.cpus=1",
            "cpu.rt_period_us=9",
            "cpu.rt_runtime_us=7",
            "cpu.shares=512",
            "cpu.cfs_burst_us=1",
            "cpu.cfs_period_us=50000",
            "cpu.cfs_quota_us=-1",
        ]
    );
    assert!(case.errors(json!({"cpu": {"shares": 1}}))[0].contains("the minimum allowed cpu-shares is 2"));
    assert!(case.errors(json!({"cpu": {"shares": 262145}}))[0].contains("the maximum allowed cpu-shares is 262144"));
}

#[test]
fn tasks_depend_on_the_version_of_the_specification() {
    let mut case = Case::on(unified());
    assert_eq!(case.writes(json!({"pids": {"limit": 100}})), ["pids.max=100"]);
    assert_eq!(case.writes(json!({"pids": {"limit": -1}})), ["pids.max=max"]);
    for old in ["1.0.2-dev", "1.2.1", "", "x"] {
        case.version = old;
        assert_eq!(case.writes(json!({"pids": {"limit": 0}})), [""; 0], "{old}");
    }
    for new in ["1.3.0", "1.3", "1.4.0-rc.1", "2.0.0"] {
        case.version = new;
        assert_eq!(case.writes(json!({"pids": {"limit": 0}})), ["pids.max=1"], "{new}");
    }
}

#[test]
fn block_devices() {
    let io = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}, {"major": 7, "minor": 1, "rate": 0}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 300}],
    }});
    let case = Case::on(unified());
    assert_eq!(
        case.writes(io.clone()),
        ["io.bfq.weight=500", "io.bfq.weight=8:0 10", "io.max=7:1 rbps=max", "io.max=8:0 rbps=600 wiops=300",]
    );
    let plan = case.compile(io.clone()).unwrap();
    let other = IfMissing::Else { file: "io.weight".to_owned(), value: "4950".to_owned() };
    assert_eq!(plan.limits.writes[0].if_missing, other);
    assert_eq!(plan.limits.writes[3].spec_path, "linux.resources.blockIO.throttleReadBpsDevice[0]");
    assert_eq!(
        Case::on(hybrid()).writes(io),
        [
            "blkio.weight=500",
            "blkio.weight_device=8:0 10",
            "blkio.throttle.read_bps_device=8:0 600",
            "blkio.throttle.read_bps_device=7:1 0",
            "blkio.throttle.write_iops_device=8:0 300",
        ]
    );
    assert!(case.errors(json!({"blockIO": {"weight": 9}}))[0].contains("is not between 10 and 1000"));
}

#[test]
fn huge_pages_and_rdma() {
    let case = Case::on(unified());
    let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    assert_eq!(case.writes(huge.clone()), ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"]);
    assert_eq!(case.compile(huge.clone()).unwrap().limits.writes[1].if_missing, IfMissing::Ignore);
    let errors =
        case.errors(json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}, {"pageSize": "2MB", "limit": -1}]}));
    assert!(errors[0].starts_with("linux.resources.hugepageLimits[0].pageSize: "), "{errors:?}");
    assert!(errors[1].starts_with("linux.resources.hugepageLimits[1].limit: "), "{errors:?}");
    let rdma = json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1}}});
    assert_eq!(case.writes(rdma), ["rdma.max=mlx4_0 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"]);
    // The hybrid fixture has no hugetlb hierarchy.
    let errors = Case::on(hybrid()).errors(huge);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("cannot set hugetlb limit: the hugetlb controller is not mounted"), "{errors:?}");
    assert!(errors[0].contains("hugetlb.2MB.limit_in_bytes"), "{errors:?}");
}

#[test]
fn network_classes_on_version_one() {
    let network = json!({"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}});
    assert_eq!(Case::on(hybrid()).writes(network), ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 500"]);
}

#[test]
fn unified_settings_come_last_and_are_checked() {
    let case = Case::on(unified());
    let both = json!({"memory": {"limit": 4096}, "unified": {"memory.max": "8192", "io.max": "8:0 rbps=1\n8:1 rbps=2\n", "cgroup.max.depth": "3"}});
    assert_eq!(
        case.writes(both.clone()),
        ["memory.max=4096", "cgroup.max.depth=3", "io.max=8:0 rbps=1", "io.max=8:1 rbps=2", "memory.max=8192",]
    );
    assert_eq!(case.compile(both).unwrap().controllers, ["memory", "io"]);
    for (key, message) in [
        ("../x.max", "must be a file name (no slashes)"),
        ("memory", "must be in the form CONTROLLER.PARAMETER"),
        (".max", "must be in the form CONTROLLER.PARAMETER"),
        ("cgroup.procs", "is not a limit"),
        ("cgroup.kill", "is not a limit"),
    ] {
        let errors = case.errors(json!({"unified": {key: "1"}}));
        assert!(errors[0].contains(message), "{errors:?}");
        assert!(errors[0].starts_with(&format!("linux.resources.unified.{key}: ")), "{errors:?}");
    }
    let errors = Case::on(hybrid()).errors(json!({"unified": {"memory.max": "1"}}));
    assert_eq!(errors, ["linux.resources.unified: invalid configuration: cannot use unified on cgroup v1"]);
    assert!(Case::on(hybrid()).compile(json!({"unified": {}})).is_ok());
}

#[test]
fn a_hybrid_container_is_in_every_hierarchy() {
    let plan = Case::on(hybrid()).compile(json!({})).unwrap();
    let places: Vec<_> = plan
        .directories
        .iter()
        .map(|directory| (directory.mount.join(&directory.path).display().to_string(), directory.optional))
        .collect();
    assert_eq!(places[0], ("/sys/fs/cgroup/cpu,cpuacct/default/web".to_owned(), false));
    assert!(places.contains(&("/sys/fs/cgroup/systemd/default/web".to_owned(), true)));
    assert_eq!(places.last().unwrap(), &("/sys/fs/cgroup/unified/default/web".to_owned(), true));
    assert_eq!(places.len(), 10);
}

#[test]
fn paths_and_drivers() {
    let mut case = Case::on(unified());
    case.path = None;
    let plan = case.compile(json!({})).unwrap();
    assert_eq!(plan.directories[0].path, "user.slice/web", "beside the caller, which has processes");
    case.path = Some("/a/../../b");
    assert!(case.errors(json!({}))[0].starts_with("linux.cgroupsPath: bad sub cgroup path"));
    case.path = Some("/a");
    case.driver = Driver::Systemd;
    assert!(case.errors(json!({}))[0].contains("slice:prefix:name"));
    case.path = Some("a-b.slice:pod:web");
    let plan = case.compile(json!({"memory": {"limit": 4096}})).unwrap();
    assert_eq!(plan.directories[0].path, "a.slice/a-b.slice/pod-web.scope");
    assert_eq!(plan.scope.map(|scope| (scope.unit, scope.slice)), Some(("pod-web.scope".into(), "a-b.slice".into())));
    assert_eq!(plan.limits.writes[0].value, "4096", "systemd has rounded values, the files exact ones");
    case.driver = Driver::Disabled;
    case.compile(json!({})).unwrap();
    case.path = Some("/a");
    let plan = case.compile(json!({"devices": [{"allow": false, "access": "rwm"}]})).unwrap();
    assert_eq!((plan.directories.len(), plan.required, &plan.limits.devices), (0, false, &DevicePlan::Untouched));
    assert!(case.errors(json!({"pids": {"limit": 5}}))[0].contains("cgroups are disabled"));
    let mut case = Case::on(hybrid());
    case.driver = Driver::Systemd;
    assert!(case.errors(json!({}))[0].contains("needs cgroup version 2"));
}

#[test]
fn rootless_containers_need_a_cgroup_only_for_limits() {
    let mut case = Case::on(unified());
    case.rootless = true;
    assert!(case.compile(json!({})).unwrap().required, "a path was asked for");
    case.path = None;
    let plan = case.compile(json!({"devices": [{"allow": false, "access": "rwm"}]})).unwrap();
    assert!(!plan.required);
    assert_eq!(plan.limits.devices, DevicePlan::Untouched);
    assert!(case.compile(json!({"pids": {"limit": 5}})).unwrap().required);
    case.layout = Layout::Absent;
    assert_eq!(case.compile(json!({})).unwrap().directories, []);
    assert!(case.errors(json!({"pids": {"limit": 5}}))[0].contains("no cgroup filesystem is mounted"));
    case.rootless = false;
    assert!(case.errors(json!({}))[0].contains("no cgroup filesystem is mounted"));
}

#[test]
fn devices_need_their_controller() {
    let without: String =
        V1_MOUNTS.lines().filter(|line| !line.contains("devices")).map(|line| format!("{line}\n")).collect();
    let errors = Case::on(Layout::parse_mountinfo(&without)).errors(json!({}));
    assert_eq!(
        errors,
        ["linux.resources.devices: the devices controller is not mounted, so device rules cannot be enforced"]
    );
}

#[test]
fn devices_become_files_or_a_program() {
    let DevicePlan::Files { rules, policy } = Case::on(hybrid()).compile(json!({})).unwrap().limits.devices else {
        panic!()
    };
    assert_eq!(rules[0], "allow c *:* m");
    assert_eq!(policy.exceptions.len(), DEFAULT_RULES.len());
    let privileged = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let DevicePlan::Program { instructions, .. } = Case::on(unified()).compile(privileged).unwrap().limits.devices
    else {
        panic!()
    };
    assert_eq!(instructions, None, "what allows everything needs no program");
}

#[test]
fn every_error_is_reported_at_once() {
    let errors = Case { path: Some("/.."), ..Case::on(hybrid()) }.errors(json!({
        "cpu": {"shares": 1, "idle": 7},
        "memory": {"limit": -3},
        "devices": [{"allow": true, "access": "z"}],
    }));
    let paths: Vec<_> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "linux.cgroupsPath",
            "linux.resources.cpu.idle",
            "linux.resources.cpu.shares",
            "linux.resources.memory.limit",
            "linux.resources.devices[0].access",
        ]
    );
}

#[test]
fn an_update_speaks_of_the_resources_only() {
    let resources: LinuxResources =
        serde_json::from_value(json!({"memory": {"swap": 8192}, "cpu": {"period": 50000}})).unwrap();
    let now = Now { memory_max: Some(4096), cpu_quota: Some(7000), ..Now::default() };
    let plan = compile_update(true, &resources, DEFAULT_RULES, false, "1.2.0", now).unwrap();
    let writes: Vec<_> = plan.limits.writes.iter().map(|write| format!("{}={}", write.file, write.value)).collect();
    assert_eq!(writes, ["memory.swap.max=4096", "cpu.max=7000 50000"]);
    assert_eq!(plan.limits.writes[0].spec_path, "memory.swap");
    assert_eq!(plan.limits.devices, DevicePlan::Untouched);
    assert_eq!(plan.directories, []);
}

/// systemd is told how much of a second a quota is.
#[test]
fn an_update_of_the_quota_has_the_period_in_force() {
    let quota = |quota: i64, now| {
        let resources: LinuxResources = serde_json::from_value(json!({"cpu": {"quota": quota}})).unwrap();
        let plan = compile_update(true, &resources, DEFAULT_RULES, false, "1.2.0", now).unwrap();
        plan.limits.writes.into_iter().map(|write| write.value).collect::<Vec<_>>()
    };
    let slow = Now { cpu_period: Some(200_000), ..Now::default() };
    assert_eq!(quota(50_000, slow), ["50000 200000"]);
    assert_eq!(quota(-1, slow), ["max 200000"]);
    assert_eq!(quota(50_000, Now::default()), ["50000"]);
    assert!(quota(0, slow).is_empty());
}

#[test]
fn a_plan_can_be_printed() {
    let plan = Case::on(unified()).compile(json!({"pids": {"limit": 5}})).unwrap();
    let printed: Value = serde_json::to_value(&plan).unwrap();
    assert_eq!(printed["directories"][0]["path"], "default/web");
    assert_eq!(
        printed["writes"][0],
        json!({
            "controller": "pids", "file": "pids.max", "value": "5", "spec_path": "linux.resources.pids.limit",
        })
    );
    assert_eq!(printed["devices"]["by"], "program");
}

proptest! {
    /// Whatever is asked for, no file name leads out of the directory, and every write belongs to a setting.
    #[test]
    fn writes_stay_in_the_directory(
        limit in -2_i64..10_000,
        shares in 0_u64..300_000,
        size in "[0-9./]{0,3}[KMG]?B?",
        key in "[a-z./]{0,12}",
        cpus in "[0-9,/-]{0,6}",
        v2 in any::<bool>(),
    ) {
        let resources = json!({
            "pids": {"limit": limit},
            "memory": {"limit": limit, "swap": limit},
            "cpu": {"shares": shares, "cpus": cpus},
            "hugepageLimits": [{"pageSize": size, "limit": limit}],
            "unified": {key: "1"},
        });
        if let Ok(plan) = Case::on(if v2 { unified() } else { hybrid() }).compile(resources) {
            for write in &plan.limits.writes {
                prop_assert!(!write.file.contains('/') && !write.file.is_empty() && !write.value.contains('\n'));
                prop_assert!(write.spec_path.starts_with("linux.resources."));
            }
        }
    }
}
