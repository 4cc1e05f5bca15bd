//! /dev: the default devices and links, linux.devices, and what a user namespace gets.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, lacks, privileged};
use serde_json::json;
use std::fs;

#[test]
fn the_default_devices_are_there_with_their_numbers_and_modes() {
    privileged!();
    let script = "cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty";
    let expected =
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")];
    let expected = expected.map(|(name, number)| format!("{name} character special file {number} 666")).join("\n");
    Bundle::new("dev").shell(script).run().ok().prints(&expected);
}

#[test]
fn the_default_devices_work() {
    privileged!();
    let script = "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; \
                  echo x 2>/dev/null >/dev/full || echo full";
    Bundle::new("devwork").shell(script).run().ok().prints("3\n3\nfull");
}

#[test]
fn the_default_links_are_there() {
    privileged!();
    let script = "cd /dev; for l in fd stdin stdout stderr ptmx; do readlink $l; done; echo through >>/dev/stdout";
    let expected = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\nthrough";
    Bundle::new("devlinks").shell(script).run().ok().prints(expected);
}

#[test]
fn dev_is_the_containers_own() {
    privileged!();
    let container = Container::new(Bundle::new("devown").shell("touch /dev/made && ls /dev"));
    let outcome = container.run().ok();
    assert!(!outcome.stdout().contains("vda") && !outcome.stdout().contains("sda"), "{outcome:?}");
    assert_eq!(fs::read_dir(container.bundle.rootfs().join("dev")).expect("dev").count(), 0);
}

#[test]
fn listed_devices_are_made_with_mode_and_owner() {
    privileged!();
    let devices = json!([
        { "path": "/dev/myfuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 1000, "gid": 5 },
        { "path": "/dev/deep/block", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600 },
        { "path": "/dev/fifo", "type": "p", "fileMode": 0o622 },
    ]);
    let script = "cd /dev; stat -c '%F %t:%T %a %u %g' myfuse deep/block; stat -c '%F %a' fifo";
    let expected = "character special file a:e5 640 1000 5\nblock special file 7:0 600 0 0\nfifo 622";
    Bundle::new("devlist").set("/linux/devices", devices).shell(script).run().ok().prints(expected);
}

#[test]
fn the_umask_does_not_touch_the_mode_of_a_device() {
    privileged!();
    let devices = json!([{ "path": "/dev/open", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    let bundle = Bundle::new("devumask").set("/linux/devices", devices).set("/process/user/umask", 0o077);
    bundle.shell("stat -c %a /dev/open /dev/null").run().ok().prints("666\n666");
}

#[test]
fn a_device_of_an_unknown_type_is_refused() {
    privileged!();
    lacks!("crun" < "never": "a check of the type of a device");
    let devices = json!([{ "path": "/dev/odd", "type": "x", "major": 1, "minor": 3 }]);
    let container = Container::new(Bundle::new("devtype").set("/linux/devices", devices));
    container.create_command(&[]).finish().refused();
    container.leaves_nothing();
}

#[test]
fn in_a_user_namespace_the_devices_are_the_hosts_and_work() {
    privileged!();
    let bundle = Bundle::new("devuserns");
    bundle.chown(100_000);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let script = "echo x >/dev/null && head -c 3 /dev/zero | wc -c; stat -c '%F %t:%T' /dev/null /dev/urandom";
    let expected = "3\ncharacter special file 1:3\ncharacter special file 1:9";
    bundle.shell(script).run().ok().prints(expected);
}

#[test]
fn nothing_can_be_made_into_a_device_without_the_capability() {
    privileged!();
    Bundle::new("mknod").shell("mknod /dev/mine c 1 3 || echo refused").run().ok().prints("refused");
}

#[test]
fn with_the_capability_only_allowed_devices_can_be_opened() {
    privileged!();
    lacks!("crun" < "never": "a rule to make devices under a deny-all list");
    let bundle = Bundle::new("devdeny").capabilities(&["CAP_MKNOD"]);
    let rules = json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 240, "minor": 7, "access": "rm" }]);
    let bundle = bundle.set("/linux/resources/devices", rules).with_probe("probe");
    // Major 240 is for local use, so nothing answers: ENXIO says that the rules let the call through.
    let script = "cd /dev; mknod a c 240 7; probe open a r; probe open a w; mknod mem c 1 1; probe open mem r";
    bundle.shell(script).run().ok().prints("a: ENXIO\na: EPERM\nmem: EPERM");
}
