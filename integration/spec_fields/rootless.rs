//! A runtime called by an ordinary user: a single mapping, or newuidmap with ranges of /etc/subuid.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, skip};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

/// nobody: has no ranges, owns nothing.
const USER: u32 = 65_534;

fn bundle(name: &str, uids: Value, gids: Value) -> Bundle {
    Bundle::new(name).rootless(&uids, &gids)
}

fn single(name: &str) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    Bundle::new(name).rootless(&map, &map)
}

#[test]
fn an_ordinary_user_runs_a_container_with_a_single_mapping() {
    privileged!();
    let container = Container::rootless(single("rootless").shell("id -u; cat /proc/self/uid_map; echo $$"), USER);
    let stdout = container.run().ok().stdout();
    let words: Vec<&str> = stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", &USER.to_string(), "1", "1"]);
    container.leaves_nothing();
}

/// What a killed sandbox of root's left, under an id that has come round again.
#[test]
fn a_cgroup_of_root_s_with_the_same_name_is_not_used() {
    privileged!();
    let hierarchy = Path::new("/sys/fs/cgroup/cpu");
    // On version 2 alone a user may write nowhere, and nothing is tried.
    if !hierarchy.join("tasks").exists() {
        return;
    }
    lacks!("runc" < "never": "lenience with cgroups of somebody else");
    lacks!("crun" < "never": "lenience with cgroups of somebody else");
    let container = Container::rootless(single("rootlesssame").shell("echo ran"), USER);
    let theirs = hierarchy.join(container.id());
    fs::create_dir(&theirs).expect("a cgroup");
    let seen = container.run();
    fs::remove_dir(&theirs).expect("it is as it was");
    seen.ok().prints("ran");
    container.leaves_nothing();
}

#[test]
fn an_ordinary_user_creates_enters_and_deletes_a_container() {
    privileged!();
    let container = Container::rootless(single("rootlesslife").shell("echo up; sleep 1000"), USER);
    fs::set_permissions(container.bundle.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    container.create().ok();
    assert_eq!(container.status(), "created");
    container.start().ok();
    container.wait_output("up");
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
    assert!(status.contains(&format!("Uid:\t{USER}\t{USER}")), "{status}");
    container.sh("id -u; hostname").ok().prints("0\npent-test");
    container.kill("KILL").ok();
    container.wait_status("stopped");
    container.delete().ok();
    container.leaves_nothing();
}

#[test]
fn an_ordinary_user_mounts_only_what_the_user_may_see() {
    privileged!();
    let bundle = single("rootlessmount");
    let volume = bundle.dir("volume");
    fs::write(volume.join("mine"), "mine\n").expect("file");
    let bundle =
        bundle.mount("/v", "bind", &volume, &["rbind", "ro"]).shell("cat /v/mine; cat /v/x 2>/dev/null || echo no");
    Container::rootless(bundle, USER).run().ok().prints("mine\nno");
}

/// Rootless Podman asks for this on cgroup version 1: no cgroup can be made there, and the container stays in the caller's.
#[test]
fn a_cgroup_mount_shows_the_callers_cgroup_where_none_can_be_made() {
    privileged!();
    let bundle = single("rootlesscgroup").without_namespace("cgroup");
    let bundle = bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
    let script = "find /sys/fs/cgroup -name cgroup.procs | head -n 1 | wc -l";
    let container = Container::rootless(bundle.shell(script), USER);
    container.run().ok().prints("1");
    container.leaves_nothing();
}

#[test]
fn a_mapping_the_user_has_no_right_to_is_refused() {
    privileged!();
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }, { "containerID": 1, "hostID": 0, "size": 1 }]);
    let container = Container::rootless(bundle("rootlessbad", map.clone(), map), USER);
    assert_eq!(container.run().code(), 1);
    container.leaves_nothing();
}

/// A container of the user with a range of ids, where `newuidmap` is there to map it.
fn ranged(name: &str) -> Option<Bundle> {
    if !Path::new("/usr/bin/newuidmap").is_file() || !Path::new("/etc/subuid").is_file() {
        skip("newuidmap (Debian package uidmap) is not installed");
        return None;
    }
    let map = json!([
        { "containerID": 0, "hostID": USER, "size": 1 },
        { "containerID": 1, "hostID": 500_000, "size": 65_536 },
    ]);
    Some(bundle(name, map.clone(), map))
}

/// Runs the container in a view of the host where /etc/subuid and /etc/subgid give the user a range; the user is in these groups.
fn with_ranges(container: &Container, groups: &[u32]) -> Outcome {
    let ranges = container.bundle.file("ranges", &format!("{USER}:500000:65536\n"));
    let run = container.run_command(&[]);
    let mut view = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
    view.args(["--mount", "sh", "-c", script]).arg(ranges);
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    view.args(["setpriv", &format!("--groups={}", groups.join(","))]).arg(run.get_program());
    // Otherwise the harness clears them.
    view.args(run.get_args().map(|word| if word == "--clear-groups" { OsStr::new("--keep-groups") } else { word }));
    view.finish()
}

#[test]
fn newuidmap_gives_an_ordinary_user_a_range() {
    privileged!();
    let Some(bundle) = ranged("rootlessrange") else { return };
    let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = Container::rootless(bundle.shell("id -u; grep -c . /proc/self/uid_map"), USER);
    with_ranges(&container, &[USER]).ok().prints("1000\n2");
}

/// `podman run --group-add keep-groups`: what is shared with a group of the caller, which otherwise nothing in the container is in.
#[test]
fn the_callers_groups_stay_when_an_annotation_asks_for_it() {
    privileged!();
    lacks!("runc" < "never": "run.oci.keep_original_groups");
    const GROUP: u32 = 4321;
    for (value, shown) in [("1", "shared"), ("0", "no")] {
        let Some(bundle) = ranged("keepgroups") else { return };
        let shared = bundle.dir("volume").join("shared");
        fs::write(&shared, "shared\n").expect("file");
        let bundle = bundle
            .mount("/v", "bind", shared.parent().expect("a directory"), &["rbind"])
            .set("/annotations", json!({ "run.oci.keep_original_groups": value }))
            .shell("cat /v/shared 2>/dev/null || echo no");
        let container = Container::rootless(bundle, USER);
        chown(&shared, Some(0), Some(GROUP)).expect("owner");
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).expect("mode");
        with_ranges(&container, &[GROUP]).ok().prints(shown);
        container.leaves_nothing();
    }
}

/// An ordinary user's container joins the user namespace of another of theirs, as the containers of a pod do.
#[test]
fn an_ordinary_user_joins_the_user_namespace_of_another_container() {
    privileged!();
    let first = Container::rootless(single("joinfirst").sleeping(), USER);
    first.create().ok();
    first.start().ok();
    let path = format!("/proc/{}/ns/user", first.pid());
    let second = single("joinsecond").without_namespace("user").namespace("user", Some(Path::new(&path)));
    let second = Container::rootless(second.shell("readlink /proc/self/ns/user; id -u; mount | grep -c ' / '"), USER);
    let seen = second.run().ok().stdout();
    let theirs = fs::read_link(&path).expect("the namespace");
    assert_eq!(seen, format!("{}\n0\n1\n", theirs.display()));
    second.leaves_nothing();
}

/// A user namespace's root has the right that it takes.
#[test]
fn an_ordinary_user_sets_the_clocks_of_a_time_namespace() {
    privileged!();
    lacks!("runc" < "1.2": "time namespaces", "crun" < "1.9": "offsets in a user namespace");
    let bundle = single("rootlesstime").namespace("time", None);
    let bundle = bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 86_400 } }));
    let script = "sed -n 's/^boottime *//p' /proc/self/timens_offsets | tr -s ' \t' ' '";
    let container = Container::rootless(bundle.shell(script), USER);
    let seen = container.run().ok().trimmed();
    assert!(seen.trim_start().starts_with("86400"), "{seen}");
    container.leaves_nothing();
}

/// With `--all` it is no error that nobody is left, with a cgroup or without.
#[test]
fn all_of_a_stopped_container_can_be_killed() {
    privileged!();
    lacks!("runc" < "never": "kill --all without a cgroup", "crun" < "never": "kill --all of a stopped container");
    let container = Container::rootless(single("killstopped").sleeping(), USER);
    container.create().ok();
    container.start().ok();
    container.runtime.call(["kill", "--all", container.id(), "KILL"]).ok();
    container.wait_status("stopped");
    container.runtime.call(["kill", "--all", container.id(), "KILL"]).ok();
    container.kill("KILL").refused().says("container not running");
    container.delete().ok();
    container.leaves_nothing();
}
