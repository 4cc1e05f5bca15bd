//! Options of mounts, annotations and devices that are crun's, or that runc and crun agree on beyond the specification: what Podman
//! offers its users.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, read};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;

/// Root of the container is 100000 on the host.
fn in_user_namespace(name: &str) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    Bundle::new(name).namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}

/// Runs the container in a mount namespace of the host's in which `script` has done something; `$1` is the bundle.
fn in_view(container: &Container, script: &str, words: &[&str]) -> Outcome {
    let run = container.run_command(&[]);
    let mut view = Command::new("unshare");
    view.args(["--mount", "sh", "-ec", &format!("{script}\nshift\nexec \"$@\""), "sh"]).arg(container.bundle.path());
    view.args(words).arg(run.get_program()).args(run.get_args());
    view.finish()
}

/// What the host has read-only it has so for a reason that root of a user namespace does not know. `rw` is what engines say of every
/// volume that is not read-only itself.
#[test]
fn a_user_namespace_takes_no_protection_off_a_source() {
    privileged!();
    let script =
        "mount -t tmpfs -o mode=777 volume \"$1/volume\"; mount -o remount,bind,ro,nosuid,nodev,noexec \"$1/volume\"";
    for options in
        [&["rbind", "rw"][..], &["bind", "rw", "suid", "dev", "exec"], &["rbind"], &["rbind", "rw", "rprivate"]]
    {
        let bundle = in_user_namespace("locked");
        let volume = bundle.dir("volume");
        fs::create_dir(bundle.rootfs().join("v")).expect("a mount point");
        let look = "echo x >/v/x || echo held; grep ' /v ' /proc/self/mountinfo";
        let container = Container::new(bundle.mount("/v", "bind", &volume, options).shell(look));
        let seen = in_view(&container, script, &[]).ok().stdout();
        assert!(seen.starts_with("held"), "{options:?}: {seen}");
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            let flags = seen.split(" /v ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            assert!(flags.split(',').any(|has| has == flag), "{options:?}: {flag} is gone: {seen}");
        }
    }
    lacks!("crun" < "never": "a refusal of rrw");
    let bundle = in_user_namespace("locked");
    let volume = bundle.dir("volume");
    let container = Container::new(bundle.mount("/v", "bind", &volume, &["rbind", "rrw"]).shell("echo x >/v/x"));
    in_view(&container, script, &[]).refused();
    container.leaves_nothing();
}

/// Without a user namespace the caller is root of the host, and may.
#[test]
fn root_of_the_host_may_make_a_source_writable() {
    privileged!();
    lacks!("runc" < "1.2": "rw for a source that is read-only");
    let script = "mount -t tmpfs volume \"$1/volume\"; mount -o remount,bind,ro \"$1/volume\"";
    let bundle = Bundle::new("unlocked");
    let volume = bundle.dir("volume");
    let container =
        Container::new(bundle.mount("/v", "bind", &volume, &["rbind", "rw"]).shell("echo x >/v/x; cat /v/x"));
    in_view(&container, script, &[]).ok().prints("x");
}

/// `/proc/self/cwd` is the container's own root by then: nothing of the host is in this process any more (CVE-2024-21626).
#[test]
fn a_working_directory_by_way_of_proc_is_in_the_container() {
    privileged!();
    for cwd in ["/proc/self/cwd", "/proc/self/root", "/proc/1/cwd", "/proc/self/root/tmp"] {
        let script = "pwd -P; ls .; [ . -ef / ] || [ . -ef /tmp ] && echo inside";
        let bundle = Bundle::new("cwdproc").set("/process/cwd", cwd).shell(script);
        let seen = bundle.run().ok().stdout();
        assert!(seen.trim_end().ends_with("inside"), "{cwd}: {seen}");
    }
    let started = Bundle::new("cwdprocexec").sleeping().started();
    let exec = started.exec_command(&["--cwd", "/proc/self/cwd"], &["pwd"]).finish();
    exec.ok().prints("/");
    // What leads out, were something of the host open, is refused, and says so.
    for cwd in ["/proc/self/fd/7", "/proc/self/fd/8"] {
        let bundle = Bundle::new("cwdfd").set("/process/cwd", cwd).shell("pwd");
        bundle.run().refused().explains("cwd");
    }
}

#[test]
fn the_callers_groups_stay_with_root_too() {
    privileged!();
    lacks!("runc" < "never": "run.oci.keep_original_groups");
    for (value, groups) in [("1", "7 8"), ("0", "")] {
        let bundle = Bundle::new("rootgroups")
            .set("/annotations", json!({ "run.oci.keep_original_groups": value }))
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .shell("sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status");
        let container = Container::new(bundle);
        let run = container.run_command(&[]);
        let mut grouped = Command::new("setpriv");
        grouped.args(["--groups", "7,8"]).arg(run.get_program()).args(run.get_args());
        grouped.finish().ok().prints(groups);
    }
}

#[test]
fn a_link_is_copied_mounted_or_mounted_on_when_asked() {
    privileged!();
    lacks!("runc" < "never": "copy-symlink, src-nofollow and dest-nofollow", "crun" < "1.9": "all three of them");
    let case = |name: &str, options: &[&str], script: &str, prepare: &dyn Fn(&Bundle)| {
        let bundle = Bundle::new(name).writable();
        let volume = bundle.dir("volume");
        fs::write(volume.join("file"), "of the host\n").expect("file");
        symlink("file", volume.join("link")).expect("link");
        prepare(&bundle);
        Container::new(bundle.mount("/x", "bind", volume.join("link"), options).shell(script)).run()
    };
    let link_to = |to: &'static str| move |bundle: &Bundle| symlink(to, bundle.rootfs().join("x")).expect("link");
    let nothing = |_: &Bundle| ();
    case("copylink", &["bind", "copy-symlink"], "readlink /x", &nothing).ok().prints("file");
    case("copysame", &["bind", "copy-symlink"], "readlink /x", &link_to("file")).ok().prints("file");
    case("copyother", &["bind", "copy-symlink"], "true", &link_to("other")).refused();
    case("both", &["bind", "copy-symlink", "src-nofollow"], "true", &nothing).refused();
    // Followed, as without the option.
    case("follow", &["bind"], "cat /x", &nothing).ok().prints("of the host");
    let onto = "readlink /x; grep -c ' /x ' /proc/self/mountinfo";
    case("onlink", &["bind", "src-nofollow", "dest-nofollow"], onto, &link_to("etc/passwd")).ok().prints("file\n1");
    let file = "cat /x; grep -c root /etc/passwd";
    case("destlink", &["bind", "dest-nofollow"], file, &link_to("etc/passwd")).ok().prints("of the host\n1");
    // Not through the link out of the container either.
    case("destout", &["bind", "dest-nofollow"], "cat /x", &link_to("../../../../etc/passwd"))
        .ok()
        .prints("of the host");
}

#[test]
fn a_mount_maps_ids_as_its_option_says() {
    privileged!();
    lacks!("runc" < "never": "idmap=", "crun" < "1.8": "idmap=");
    let owner = |options: &[&str], bundle: Bundle| {
        let volume = bundle.dir("volume");
        fs::create_dir(bundle.rootfs().join("v")).expect("a mount point");
        chown(&volume, Some(5), Some(6)).expect("owner");
        Container::new(bundle.mount("/v", "bind", &volume, options).args(["stat", "-c", "%u:%g", "/v"])).run()
    };
    let mapped = owner(&["bind", "idmap=uids=0-100-10;gids=0-200-3#3-300-10"], Bundle::new("idmapoption"));
    if mapped.stderr().contains("may not support id-mapped mounts") {
        return crate::support::skip("the file system of /tmp has no id-mapped mounts");
    }
    mapped.ok().prints("105:303");
    owner(&["rbind", "idmap=uids=@0-0-10;gids=@0-0-10"], in_user_namespace("idmaprelative")).ok().prints("5:6");
    lacks!("crun" < "never": "a message for a mapping that is none");
    for wrong in ["idmap=uids=0-1-10", "idmap=uids=0-1;gids=0-1-1", "idmap=", "idmap=uids=@0-1-1;gids=@0-1-1"] {
        owner(&["bind", wrong], Bundle::new("idmapwrong")).refused().says("map");
    }
}

#[test]
fn a_system_call_that_is_not_known_stops_the_container_when_asked() {
    privileged!();
    lacks!("runc" < "never": "run.oci.seccomp_fail_unknown_syscall");
    let bundle = || {
        let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["no_such_call"], "action": "SCMP_ACT_ERRNO" }] });
        Bundle::new("failunknown").set("/linux/seccomp", filter)
    };
    bundle().run().ok();
    let strict = bundle().set("/annotations", json!({ "run.oci.seccomp_fail_unknown_syscall": "1" }));
    strict.run().refused().explains("no_such_call");
}

/// `--userns=auto --network=host`, which Podman offers.
#[test]
fn sysfs_without_a_network_namespace_is_the_hosts_read_only() {
    privileged!();
    lacks!("runc" < "never": "sysfs in a user namespace without a network namespace");
    let bundle = in_user_namespace("hostsysfs").without_namespace("network");
    let script = "[ -d /sys/class ] && echo there; grep -c ' /sys ro,' /proc/self/mountinfo";
    let container = Container::new(bundle.shell(script));
    container.run().ok().prints("there\n1");
    container.leaves_nothing();
}

/// `podman run --userns=auto --device`: the kernel makes no node in a user namespace, but root of the host can.
#[test]
fn a_device_that_is_not_on_the_host_is_made_for_a_user_namespace() {
    privileged!();
    lacks!("runc" < "never": "a device in a user namespace that is not on the host");
    let device =
        json!({ "path": "/dev/like-zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 3, "gid": 4 });
    let bundle = in_user_namespace("madedevice").push("/linux/devices", device);
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" });
    let container = Container::new(
        bundle
            .push("/linux/resources/devices", rule)
            .shell("stat -c '%t:%T %u:%g' /dev/like-zero; head -c 3 /dev/like-zero | wc -c"),
    );
    let outcome = container.run();
    if outcome.stderr().contains("Linux before 6.15") {
        return crate::support::skip("needs Linux 6.15");
    }
    outcome.ok().prints("1:5 3:4\n3");
    container.leaves_nothing();
    // Another device than is asked for is not given, whatever its name.
    let other = json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 });
    lacks!("crun" < "never": "a comparison with the host's device");
    in_user_namespace("otherdevice").push("/linux/devices", other).run().refused();
}

/// "The runtime MUST mount entries in the listed order" (config.md): a later one may be of what an earlier one has made.
#[test]
fn a_source_may_be_what_an_earlier_mount_has_made() {
    privileged!();
    lacks!("crun" < "never": "a source that an earlier mount makes");
    for user_namespace in [false, true] {
        if user_namespace {
            lacks!("runc" < "1.2": "a source in the container's root with a user namespace");
        }
        let bundle = if user_namespace { in_user_namespace("order") } else { Bundle::new("order") };
        for place in ["first", "again", "tree"] {
            fs::create_dir(bundle.rootfs().join(place)).expect("a mount point");
        }
        let (one, two) = (bundle.dir("one"), bundle.dir("two"));
        fs::create_dir(one.join("below")).expect("a mount point");
        fs::write(one.join("name"), "one\n").expect("file");
        fs::write(two.join("name"), "two\n").expect("file");
        let rootfs = bundle.rootfs();
        let bundle = bundle
            .mount("/first", "bind", &one, &["bind"])
            .mount("/first/below", "bind", &two, &["bind"])
            .mount("/again", "bind", rootfs.join("first/below"), &["bind", "ro"])
            .mount("/tree", "bind", rootfs.join("first"), &["rbind"]);
        let script = "cat /again/name /tree/name /tree/below/name; echo >/again/x || echo ro";
        Container::new(bundle.shell(script)).run().ok().prints("two\none\ntwo\nro");
    }
    // Where no mount is in the way, it is the path on the host that counts, links in the image or not.
    let bundle = Bundle::new("order");
    let outside = bundle.file("outside", "outside\n");
    symlink(&outside, bundle.rootfs().join("link")).expect("link");
    let source = bundle.rootfs().join("link");
    bundle.mount("/tmp/x", "bind", source, &["bind"]).args(["cat", "/tmp/x"]).run().ok().prints("outside");
}

/// A link that leads nowhere on such a host is no device.
#[test]
fn dev_core_is_there_where_kcore_is() {
    privileged!();
    lacks!("crun" < "never": "a look whether there is one");
    let there = Path::new("/proc/kcore").symlink_metadata().is_ok();
    let seen = Bundle::new("core").shell("readlink /dev/core || echo none").run().ok();
    seen.prints(if there { "/proc/kcore" } else { "none" });
}

#[test]
fn a_time_namespace_with_offsets_in_a_user_namespace() {
    privileged!();
    lacks!("runc" < "1.2": "time namespaces", "crun" < "1.9": "offsets in a user namespace");
    let bundle = in_user_namespace("timeuser").namespace("time", None);
    let bundle =
        bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 86_400 }, "monotonic": { "secs": 3 } }));
    let script = "tr -s ' \\t' '  ' </proc/self/timens_offsets; cut -d. -f1 /proc/uptime";
    let container = Container::new(bundle.shell(script));
    let seen = container.run().ok().stdout();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["monotonic 3 0", "boottime 86400 0"], "{seen}");
    let here: f64 = read("/proc/uptime").split(' ').next().and_then(|text| text.parse().ok()).expect("uptime");
    let inside: f64 = lines[2].parse().expect("uptime");
    assert!((inside - here - 86_400.0).abs() < 100.0, "{seen}");
    container.leaves_nothing();
}
