//! linux.resources: limits that are set, and that bite.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{
    Bundle, Container, Finish as _, cgroup2_only, controllers, lacks, privileged, read, seconds, wait_until,
};

fn limited(name: &str, resource: &str, value: Value) -> Bundle {
    Bundle::new(name).set(&format!("/linux/resources/{resource}"), value)
}

/// A value of the container's cgroup: the file of version 1 or of version 2.
fn value(container: &Container, controller: &str, v1: &str, v2: &str) -> String {
    read(container.cgroup_file(controller, if cgroup2_only() { v2 } else { v1 }))
}

// Memory.

#[test]
fn the_memory_limit_is_set() {
    controllers!("memory");
    let memory = json!({ "limit": 33_554_432, "reservation": 16_777_216 });
    let container = limited("memory", "memory", memory).sleeping().started();
    assert_eq!(value(&container, "memory", "memory.limit_in_bytes", "memory.max"), "33554432");
    assert_eq!(value(&container, "memory", "memory.soft_limit_in_bytes", "memory.low"), "16777216");
}

#[test]
fn a_process_over_the_memory_limit_is_killed() {
    controllers!("memory");
    let bundle = limited("oomkill", "memory", json!({ "limit": 16_777_216 }));
    // A variable of 64 MB in the shell.
    let script = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo survived";
    let outcome = bundle.args(["sh", "-c", script]).run();
    assert!(!outcome.stdout().contains("survived"), "{outcome:?}");
    assert_ne!(outcome.code(), 0, "{outcome:?}");
}

#[test]
fn a_memory_limit_of_minus_one_is_none() {
    controllers!("memory");
    let container = limited("memfree", "memory", json!({ "limit": -1 })).sleeping().started();
    let seen = value(&container, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(seen == "max" || seen.parse::<u64>().is_ok_and(|bytes| bytes > 1 << 60), "{seen}");
}

// Processes.

#[test]
fn the_pids_limit_is_set_and_bites() {
    controllers!("pids");
    let container = limited("pids", "pids", json!({ "limit": 8 })).sleeping().started();
    assert_eq!(value(&container, "pids", "pids.max", "pids.max"), "8");
    let outcome = container.sh("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; echo all");
    assert!(!outcome.stdout().contains("all"), "{outcome:?}");
}

#[test]
fn a_container_at_its_pids_limit_can_be_entered() {
    controllers!("pids");
    let script = "for i in 1 2 3; do sleep 1000 & done; echo all; wait";
    for limit in [4, 5] {
        let container = limited("pidsfull", "pids", json!({ "limit": limit })).shell(script).started();
        container.wait_output("all");
        let told = container.exec(["cat", "/proc/self/cgroup"]).ok().stdout();
        // systemd's scope has the id in its name.
        let outside = |line: &&str| !line.contains(container.id()) && *line != "0::/";
        let of_pids = told.lines().find(|line| cgroup2_only() || line.contains(":pids:")).filter(|line| !outside(line));
        assert!(of_pids.is_some(), "{told}");
        container.sh("sleep 1000 & echo one more").exits(2);
    }
}

#[test]
fn a_negative_pids_limit_is_none() {
    controllers!("pids");
    lacks!("crun" < "1.9": "a negative limit of processes");
    let container = limited("pidsfree", "pids", json!({ "limit": -1 })).sleeping().started();
    assert_eq!(value(&container, "pids", "pids.max", "pids.max"), "max");
}

// Processor.

#[test]
fn shares_quota_and_period_are_set() {
    controllers!("cpu");
    let cpu = json!({ "shares": 512, "quota": 20_000, "period": 50_000 });
    let container = limited("cpu", "cpu", cpu).sleeping().started();
    if cgroup2_only() {
        assert_eq!(read(container.cgroup_file("cpu", "cpu.max")), "20000 50000");
        // Linear from 2..262144 to 1..10000 in old versions, a curve through 1024 -> 100 in newer ones.
        let weight = read(container.cgroup_file("cpu", "cpu.weight"));
        assert!(["20", "59"].contains(&weight.as_str()), "{weight}");
    } else {
        assert_eq!(read(container.cgroup_file("cpu", "cpu.shares")), "512");
        assert_eq!(read(container.cgroup_file("cpu", "cpu.cfs_quota_us")), "20000");
        assert_eq!(read(container.cgroup_file("cpu", "cpu.cfs_period_us")), "50000");
    }
}

/// Engines send 0 for what was not given.
#[test]
fn an_update_with_a_quota_of_0_leaves_the_quota() {
    controllers!("cpu");
    let container = limited("quota0", "cpu", json!({ "quota": 20_000, "period": 100_000 })).sleeping().started();
    let update = json!({ "cpu": { "shares": 0, "quota": 0, "period": 50_000 } }).to_string();
    container.runtime.command(["update", "--resources", "-", container.id()]).finish_with(&update).ok();
    if cgroup2_only() {
        assert_eq!(read(container.cgroup_file("cpu", "cpu.max")), "20000 50000");
    } else {
        assert_eq!(read(container.cgroup_file("cpu", "cpu.cfs_quota_us")), "20000");
        assert_eq!(read(container.cgroup_file("cpu", "cpu.cfs_period_us")), "50000");
    }
}

#[test]
fn the_cpu_quota_bites() {
    controllers!("cpu");
    let bundle = limited("quota", "cpu", json!({ "quota": 10_000, "period": 100_000 }));
    let container = bundle.shell("while :; do :; done").started();
    let throttled = || {
        let stat = read(container.cgroup_file("cpu", "cpu.stat"));
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap_or("0");
        count.parse::<u64>().expect("a number")
    };
    wait_until("the container is throttled", seconds(10), || throttled() > 2);
}

#[test]
fn the_container_runs_on_the_cpus_asked_for() {
    controllers!("cpuset");
    let container = limited("cpuset", "cpu", json!({ "cpus": "0" })).sleeping().started();
    assert_eq!(value(&container, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    container.sh("grep Cpus_allowed_list /proc/self/status | cut -f2").ok().prints("0");
}

#[test]
fn processors_the_host_has_not_are_refused() {
    controllers!("cpuset");
    lacks!("crun" < "1.9": "the removal of the cgroup of a create that failed");
    let container = Container::new(limited("cpusetbad", "cpu", json!({ "cpus": "4095" })));
    container.create_command(&[]).finish().refused();
    container.leaves_nothing();
}

// Other controllers.

#[test]
fn the_block_io_weight_or_throttle_is_set() {
    controllers!("blkio");
    let throttle = json!([{ "major": 7, "minor": 0, "rate": 1_048_576 }]);
    let bundle = limited("blkio", "blockIO", json!({ "throttleReadBpsDevice": throttle }));
    if !Path::new("/sys/dev/block/7:0").is_dir() {
        return support::skip("the host has no loop device to throttle");
    }
    let container = bundle.sleeping().started();
    let seen = value(&container, "blkio", "blkio.throttle.read_bps_device", "io.max");
    assert!(["7:0 1048576", "7:0 rbps=1048576 wbps=max riops=max wiops=max"].contains(&seen.as_str()), "{seen}");
}

#[test]
fn unified_values_are_set_on_version_two_and_refused_on_version_one() {
    controllers!("pids");
    lacks!("crun" < "1.9": "the removal of the cgroup of a create that failed");
    let bundle = Bundle::new("unified").set("/linux/resources/unified", json!({ "pids.max": "9" }));
    if cgroup2_only() {
        let container = bundle.sleeping().started();
        assert_eq!(read(container.cgroup_file("pids", "pids.max")), "9");
    } else {
        let container = Container::new(bundle);
        container.create_command(&[]).finish().refused();
        container.leaves_nothing();
    }
}

// Devices.

#[test]
fn devices_outside_the_list_are_denied() {
    privileged!();
    let bundle = Bundle::new("devices").capabilities(&["CAP_MKNOD", "CAP_SYS_RAWIO"]).with_probe("probe");
    let script = "mknod /dev/shm/mem c 1 1; probe open /dev/shm/mem r; mknod /dev/disk b 254 0; probe open /dev/disk r; \
                  probe open /dev/null rw; probe open /dev/zero r; probe open /dev/tty r";
    // /dev/tty without a terminal is ENXIO: the rules let it through.
    let expected = "/dev/disk: EPERM\n/dev/null: ok\n/dev/zero: ok\n/dev/tty: ENXIO";
    let outcome = bundle.mount("/dev/shm", "tmpfs", "shm", &["dev"]).shell(script).run();
    let stdout = outcome.trimmed();
    assert!(stdout.ends_with(expected), "{outcome:?}");
    assert!(stdout.starts_with("/dev/shm/mem: E"), "{outcome:?}");
}

#[test]
fn a_listed_device_is_allowed_as_far_as_its_access_says() {
    privileged!();
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 240, "minor": 7, "access": "r" },
        { "allow": true, "type": "c", "major": 241, "access": "rw" },
    ]);
    let devices = json!([
        { "path": "/dev/one", "type": "c", "major": 240, "minor": 7 },
        { "path": "/dev/two", "type": "c", "major": 240, "minor": 8 },
        { "path": "/dev/any", "type": "c", "major": 241, "minor": 99 },
    ]);
    let bundle = Bundle::new("devicerules").with_probe("probe").set("/linux/resources/devices", rules);
    let bundle = bundle.set("/linux/devices", devices);
    let script = "probe open /dev/one r; probe open /dev/one w; probe open /dev/two r; probe open /dev/any rw";
    // Majors 240 and 241 are for local use: nothing answers, ENXIO says that the rules let the call through.
    bundle.shell(script).run().ok().prints("/dev/one: ENXIO\n/dev/one: EPERM\n/dev/two: EPERM\n/dev/any: ENXIO");
}

/// The rules are for the container: the runtime has made its nodes before they are in force.
#[test]
fn a_listed_device_is_made_even_when_the_rules_forbid_to_make_it() {
    privileged!();
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 240, "minor": 7, "access": "rwm" },
        { "allow": false, "type": "c", "major": 240, "minor": 7, "access": "m" },
    ]);
    let devices = json!([{ "path": "/dev/one", "type": "c", "major": 240, "minor": 7 }]);
    let bundle = Bundle::new("devicemade").with_probe("probe").set("/linux/resources/devices", rules);
    let bundle = bundle.set("/linux/devices", devices);
    bundle.shell("probe open /dev/one r").run().ok().prints("/dev/one: ENXIO");
}

#[test]
fn a_later_rule_takes_back_an_earlier_one() {
    privileged!();
    let rules = json!([
        { "allow": true, "access": "rwm" },
        { "allow": false, "type": "c", "major": 240, "minor": 7, "access": "r" },
    ]);
    let devices = json!([
        { "path": "/dev/one", "type": "c", "major": 240, "minor": 7 },
        { "path": "/dev/two", "type": "c", "major": 240, "minor": 8 },
    ]);
    let bundle = Bundle::new("devicelast").with_probe("probe").set("/linux/resources/devices", rules);
    let bundle = bundle
        .set("/linux/devices", devices)
        .shell("probe open /dev/one r; probe open /dev/one w; probe open /dev/two r");
    bundle.run().ok().prints("/dev/one: EPERM\n/dev/one: ENXIO\n/dev/two: ENXIO");
}

// Where the cgroup is.

#[test]
fn without_a_path_the_cgroup_is_named_after_the_container() {
    privileged!();
    let container = Bundle::new("cgnopath").remove("/linux/cgroupsPath").sleeping().started();
    let cgroup = read(format!("/proc/{}/cgroup", container.pid()));
    assert!(cgroup.lines().any(|line| line.ends_with(container.id())), "{cgroup}");
}

#[test]
fn a_deep_cgroup_path_is_made_and_the_containers_own_part_removed() {
    privileged!();
    let bundle = Bundle::new("cgdeep");
    let path = format!("/{}/a/b", bundle.id);
    let container = bundle.set("/linux/cgroupsPath", path.clone()).sleeping().started();
    let cgroup = read(format!("/proc/{}/cgroup", container.pid()));
    assert!(cgroup.lines().any(|line| line.ends_with(&path)), "{cgroup}");
    container.delete_force().ok();
    let left: Vec<PathBuf> = support::cgroup_dirs(container.id());
    assert!(left.iter().all(|dir| !dir.ends_with("a/b")), "{left:?}");
    // The parents may have been there before, so they may stay; this test made them.
    left.iter().for_each(|dir| fs::remove_dir(dir).expect("remove a parent"));
}

#[test]
fn a_cgroup_path_does_not_leave_the_hierarchy() {
    privileged!();
    lacks!("crun" < "1.9": "cgroup paths that stay in their hierarchy");
    let bundle = Bundle::new("cgdots");
    let name = bundle.id.clone();
    let container = Container::new(bundle.set("/linux/cgroupsPath", format!("/../../../../tmp/{name}/inner")));
    // Whether it is an error or taken for a path beneath the hierarchy is the runtime's choice.
    container.create_command(&[]).finish();
    for outside in ["/tmp", "/sys", "/"] {
        assert!(!Path::new(outside).join(&name).is_dir(), "made in {outside}");
    }
    container.delete_force();
    // Where it did go, /tmp/NAME in each hierarchy, the parents belong to this test.
    for dir in support::cgroup_dirs(&format!("tmp/{name}")) {
        fs::remove_dir(&dir).ok();
        dir.parent().map(fs::remove_dir);
    }
}

#[test]
fn a_process_that_makes_its_own_cgroups_is_deleted_with_them() {
    privileged!();
    lacks!("crun" < "never": "a writable mount of the container's own cgroup");
    let bundle = Bundle::new("cgnested").namespace("cgroup", None).without_mount("/sys/fs/cgroup");
    let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    let place = if cgroup2_only() { "/sys/fs/cgroup/inner" } else { "/sys/fs/cgroup/pids/inner" };
    let script = format!("mkdir {place} && sleep 1000 & sleep 0.1; echo $! >{place}/cgroup.procs && echo up; wait");
    let container = bundle.shell(&script).started();
    container.wait_output("up");
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn fifty_processes_are_killed_and_their_cgroup_removed() {
    privileged!();
    let script = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done; echo up; wait";
    let container = Bundle::new("fifty").shell(script).started();
    container.wait_output("up");
    container.delete_force().ok();
    container.leaves_nothing();
}
