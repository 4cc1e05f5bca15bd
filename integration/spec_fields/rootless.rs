//! A runtime called by an ordinary user: a single mapping, or newuidmap with ranges of /etc/subuid.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, privileged, skip};
use serde_json::{Value, json};
use std::fs;
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

#[test]
fn an_ordinary_user_creates_enters_and_deletes_a_container() {
    privileged!();
    let container = Container::rootless(single("rootlesslife").shell("echo up; sleep 1000"), USER);
    fs::set_permissions(container.bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode");
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

#[test]
fn a_mapping_the_user_has_no_right_to_is_refused() {
    privileged!();
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }, { "containerID": 1, "hostID": 0, "size": 1 }]);
    let container = Container::rootless(bundle("rootlessbad", map.clone(), map), USER);
    assert_eq!(container.run().code(), 1);
    container.leaves_nothing();
}

/// Runs the container in a view of the host where /etc/subuid and /etc/subgid give the user a range.
fn with_ranges(container: &Container) -> Outcome {
    let ranges = container.bundle.file("ranges", &format!("{USER}:500000:65536\n"));
    let run = container.run_command(&[]);
    let mut view = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
    view.args(["--mount", "sh", "-c", script]).arg(ranges).arg(run.get_program()).args(run.get_args());
    view.finish()
}

#[test]
fn newuidmap_gives_an_ordinary_user_a_range() {
    privileged!();
    if !Path::new("/usr/bin/newuidmap").is_file() || !Path::new("/etc/subuid").is_file() {
        return skip("newuidmap (Debian package uidmap) is not installed");
    }
    let map = json!([
        { "containerID": 0, "hostID": USER, "size": 1 },
        { "containerID": 1, "hostID": 500_000, "size": 65_536 },
    ]);
    let bundle = bundle("rootlessrange", map.clone(), map).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = Container::rootless(bundle.shell("id -u; grep -c . /proc/self/uid_map"), USER);
    with_ranges(&container).ok().prints("1000\n2");
}
