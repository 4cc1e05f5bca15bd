//! mounts[].options: flags, recursive flags, id mappings, as statvfs and behaviour show them.
#![forbid(unsafe_code)]

use super::mounts::MountedTree;
use crate::support::{Bundle, lacks, privileged};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

/// The flags of a bind mount with these options, as the container's statvfs shows them.
fn bind_flags(options: &[&str]) -> String {
    let bundle = Bundle::new("flags").with_probe("probe");
    let volume = bundle.dir("volume");
    bundle
        .mount("/v", "bind", volume, &[&["rbind"], options].concat())
        .args(["probe", "mount", "/v"])
        .run()
        .ok()
        .trimmed()
}

#[test]
fn a_bind_mount_has_the_flags_asked_for() {
    privileged!();
    let plain = bind_flags(&[]);
    assert!(plain.starts_with("rw"), "{plain}");
    for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        let seen = bind_flags(&[flag]);
        assert!(seen.split(' ').any(|word| word == flag), "{flag}: {seen}");
    }
    let all = bind_flags(&["ro", "nosuid", "nodev", "noexec"]);
    assert!(all.starts_with("ro nosuid nodev noexec"), "{all}");
}

#[test]
fn the_last_of_two_contrary_options_wins() {
    privileged!();
    lacks!("crun" < "never": "an option that takes back an earlier one");
    assert!(bind_flags(&["ro", "rw"]).starts_with("rw"));
    assert!(bind_flags(&["rw", "ro"]).starts_with("ro"));
    assert!(!bind_flags(&["nosuid", "suid"]).contains("nosuid"));
}

#[test]
fn a_tmpfs_has_the_flags_asked_for() {
    privileged!();
    let bundle =
        Bundle::new("tmpflags").with_probe("probe").mount("/t", "tmpfs", "tmpfs", &["ro", "nosuid", "noexec", "nodev"]);
    let seen = bundle.args(["probe", "mount", "/t"]).run().ok().trimmed();
    assert!(seen.starts_with("ro nosuid nodev noexec"), "{seen}");
}

#[test]
fn noexec_and_nosuid_have_their_effect() {
    privileged!();
    let bundle = Bundle::new("effect");
    let volume = bundle.dir("volume");
    let program = volume.join("probe");
    crate::support::copy_program(crate::support::probe("probe"), &program);
    chown(&program, Some(0), Some(0)).expect("owner");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("setuid");
    let bundle =
        bundle.set("/process/noNewPrivileges", false).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let bundle =
        bundle.mount("/plain", "bind", &volume, &["bind"]).mount("/nosuid", "bind", &volume, &["bind", "nosuid"]);
    let bundle = bundle.mount("/noexec", "bind", &volume, &["bind", "noexec"]);
    let outcome =
        bundle.shell("/plain/probe euid; /nosuid/probe euid; /noexec/probe euid 2>&1 | grep -c denied").run().ok();
    // Where /tmp itself is nosuid, the first is 1000 too.
    assert!(["0\n1000\n1", "1000\n1000\n1"].contains(&outcome.trimmed().as_str()), "{outcome:?}");
}

#[test]
fn nosymfollow_has_its_effect() {
    privileged!();
    lacks!("crun" < "1.9": "nosymfollow");
    lacks!("runc" < "1.2": "a nosymfollow that reaches bind mounts");
    let bundle = Bundle::new("nosymfollow");
    let volume = bundle.dir("volume");
    fs::write(volume.join("file"), "content\n").expect("file");
    symlink("file", volume.join("link")).expect("link");
    let bundle = bundle.mount("/v", "bind", &volume, &["bind", "nosymfollow"]);
    bundle.shell("cat /v/file; cat /v/link 2>/dev/null || echo refused").run().ok().prints("content\nrefused");
}

/// The flags of a mount tree's top and of the mount below it.
fn tree_flags(options: &[&str]) -> (String, String) {
    let tree = MountedTree::new();
    let bundle =
        Bundle::new("tree").with_probe("probe").mount("/v", "bind", tree.path(), &[&["rbind"], options].concat());
    let stdout = bundle.shell("probe mount /v; probe mount /v/sub").run().ok().stdout();
    let (top, below) = stdout.trim().split_once('\n').expect("two lines");
    (top.to_owned(), below.to_owned())
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    privileged!();
    for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        if flag == "noatime" {
            lacks!("crun" < "1.9": "rnoatime");
        }
        let (top, below) = tree_flags(&[&format!("r{flag}")]);
        let has = |flags: &str| flags.split(' ').any(|word| word == flag);
        assert!(has(&top) && has(&below), "r{flag}: {top} / {below}");
    }
}

#[test]
fn plain_options_do_not_reach_the_mounts_below() {
    privileged!();
    let (top, below) = tree_flags(&["ro"]);
    assert!(top.starts_with("ro") && below.starts_with("rw"), "{top} / {below}");
}

/// A source that is read-only, noexec and noatime, and what lies in it; and its flags in a container with these options.
fn flags_of_a_closed_source(options: &[&str], prepare: impl FnOnce(Bundle) -> Bundle) -> String {
    use nix::mount::MsFlags;
    let tree = MountedTree::new();
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let sub = tree.path().join("sub");
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o755)).expect("mode");
    let closed = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | closed;
    nix::mount::mount(None::<&str>, &sub, None::<&str>, flags, None::<&str>).expect("remount");
    let bundle = Bundle::new("closedsource").with_probe("probe");
    let bundle = prepare(bundle).mount("/v", "bind", &sub, &[&["bind"], options].concat());
    bundle.args(["probe", "mount", "/v"]).run().ok().trimmed()
}

#[test]
fn the_sources_own_flags_are_kept_when_nothing_else_is_asked() {
    privileged!();
    lacks!("crun" < "never": "a bind mount that keeps the flags of its source");
    for options in [&[][..], &["rprivate"]] {
        let seen = flags_of_a_closed_source(options, |bundle| bundle);
        assert!(seen.starts_with("ro") && seen.contains("noexec") && seen.contains("noatime"), "{options:?}: {seen}");
    }
}

/// Kubernetes' /dev/shm, say: from a noexec filesystem of the host, with the option `rw`.
#[test]
fn naming_one_flag_turns_the_others_off() {
    privileged!();
    lacks!("runc" < "1.2": "a bind mount whose flags are cleared by name");
    for options in [&["rw"][..], &["nosuid"], &["nodev", "rprivate"], &["exec"], &["nosymfollow"]] {
        let seen = flags_of_a_closed_source(options, |bundle| bundle);
        assert!(seen.starts_with("rw") && !seen.contains("noexec"), "{options:?}: {seen}");
        assert!(seen.contains("noatime"), "it is not one of them: {options:?}: {seen}");
    }
    let seen = flags_of_a_closed_source(&["ro", "relatime"], |bundle| bundle);
    assert!(seen.starts_with("ro") && !seen.contains("noexec") && !seen.contains("noatime"), "{seen}");
}

/// What the kernel locks for a mount of another user namespace (`mount_namespaces(7)`).
#[test]
fn in_a_user_namespace_flags_that_are_not_named_stay() {
    privileged!();
    lacks!("runc" < "1.2": "a remount that keeps locked flags", "crun" < "1.9": "a remount that keeps locked flags");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let seen = flags_of_a_closed_source(&["nodev"], |bundle| {
        bundle.chown(100_000);
        bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    });
    assert!(seen.starts_with("ro") && seen.contains("nodev") && seen.contains("noexec"), "{seen}");
}

#[test]
fn a_read_only_bind_of_a_noexec_source_works_in_a_user_namespace() {
    privileged!();
    lacks!("runc" < "1.2": "a remount that keeps locked flags", "crun" < "1.9": "a remount that keeps locked flags");
    let tree = MountedTree::new();
    let flags = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_NOEXEC | nix::mount::MsFlags::MS_NOSUID;
    let sub = tree.path().join("sub");
    nix::mount::mount(Some("tmpfs"), &sub, None::<&str>, flags, Some("mode=755")).expect("remount");
    fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let bundle = Bundle::new("lockedflags").with_probe("probe");
    bundle.chown(100_000);
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let seen = bundle.mount("/v", "bind", &sub, &["bind", "ro"]).args(["probe", "mount", "/v"]).run().ok().trimmed();
    assert!(seen.starts_with("ro nosuid") && seen.contains("noexec"), "{seen}");
}

#[test]
fn an_idmapped_mount_shows_the_mapped_owner() {
    privileged!();
    lacks!("runc" < "1.2": "idmapped mounts", "crun" < "1.9": "idmapped mounts without a user namespace");
    let bundle = Bundle::new("idmap");
    let volume = bundle.dir("volume");
    fs::write(volume.join("file"), "").expect("file");
    chown(volume.join("file"), Some(1000), Some(1001)).expect("owner");
    let mount = json!({
        "destination": "/v", "type": "bind", "source": volume, "options": ["bind", "idmap"],
        "uidMappings": [{ "containerID": 1000, "hostID": 7000, "size": 10 }],
        "gidMappings": [{ "containerID": 1000, "hostID": 8000, "size": 10 }],
    });
    bundle.push("/mounts", mount).args(["stat", "-c", "%u %g", "/v/file"]).run().ok().prints("7000 8001");
}

#[test]
fn ridmap_reaches_the_mounts_below_and_idmap_does_not() {
    privileged!();
    lacks!("runc" < "1.2": "idmapped mounts", "crun" < "1.9": "idmapped mounts without a user namespace");
    let tree = MountedTree::new();
    chown(tree.path().join("top"), Some(5), Some(5)).expect("owner");
    chown(tree.path().join("sub/inside"), Some(5), Some(5)).expect("owner");
    let map = json!([{ "containerID": 0, "hostID": 5000, "size": 100 }]);
    for (option, below) in [("idmap", "5"), ("ridmap", "5005")] {
        let mount = json!({
            "destination": "/v", "type": "bind", "source": tree.path(), "options": ["rbind", option],
            "uidMappings": map, "gidMappings": map,
        });
        let bundle = Bundle::new("ridmap").push("/mounts", mount);
        bundle.shell("stat -c %u /v/top /v/sub/inside").run().ok().prints(&format!("5005\n{below}"));
    }
}

#[test]
fn an_idmapped_mount_uses_the_containers_own_mapping_when_it_has_none() {
    privileged!();
    lacks!("runc" < "1.2": "idmapped mounts", "crun" < "1.9": "idmapped mounts on this kernel");
    let bundle = Bundle::new("idmapuserns");
    bundle.chown(100_000);
    let volume = bundle.dir("volume");
    fs::write(volume.join("file"), "").expect("file");
    chown(volume.join("file"), Some(1000), Some(1000)).expect("owner");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let bundle = bundle.mount("/v", "bind", &volume, &["bind", "idmap"]);
    bundle.args(["stat", "-c", "%u %g", "/v/file"]).run().ok().prints("1000 1000");
}
