//! Class H: mount flags that come late, or by a path the image controls (CVE-2026-115521).
#![forbid(unsafe_code)]

use super::loot::{Loot, looking, result};
use crate::support::{Bundle, Container, Finish as _, Outcome, privileged, seconds};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

/// Asserts nothing; what could be written or loosened where everything is read-only is loot.
fn take(outcome: &Outcome, attempts: &[&str], loot: &mut Loot) {
    for attempt in attempts {
        let (got, verb) = (result(&outcome.stdout(), attempt), attempt.split(' ').next());
        let gained = match verb {
            Some("flags") => !got.starts_with("ro"),
            Some("create" | "mkdir" | "write" | "rewrite" | "chmod" | "remount" | "unmount") => got.starts_with("ok"),
            _ => false,
        };
        loot.take_if(gained, || format!("{attempt}: {got}"));
    }
}

#[test]
fn h_cve_2026_115521_read_only_mounts_are_so_for_the_first_instruction() {
    privileged!();
    let attempts = [
        "create /owned",
        "mkdir /owned-dir",
        "chmod /etc/passwd",
        "write /etc/passwd owned",
        "create /ro/owned",
        "create /ro-tmpfs/owned",
        "create /ro-file",
        "create /part/kept/owned",
        "rewrite /proc/sys/kernel/core_pattern",
        "create /sys/owned",
        "flags /",
        "flags /ro",
        "flags /ro-tmpfs",
        "flags /ro-file",
        "flags /part/kept",
        "flags /proc/sys",
        "flags /sys",
        "remount /",
        "remount /ro",
        "remount /proc/sys",
        "unmount /proc/sys",
        "unmount /part/kept",
        "flags /",
    ];
    let mut loot = Loot::new(&[]);
    let bundle = looking(Bundle::new("readonly"), &attempts).push("/linux/readonlyPaths", "/part/kept");
    fs::create_dir_all(bundle.rootfs().join("part/kept")).expect("a directory to protect");
    for dir in ["ro", "ro-tmpfs"] {
        fs::create_dir(bundle.rootfs().join(dir)).expect("a mount point");
    }
    fs::write(bundle.rootfs().join("ro-file"), "").expect("a mount point");
    let (volume, file) = (bundle.dir("volume"), bundle.file("file", ""));
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("a directory all may write to");
    let bundle = bundle
        .mount("/ro", "bind", volume, &["rbind", "ro", "nosuid", "nodev", "noexec"])
        .mount("/ro-tmpfs", "tmpfs", "tmpfs", &["ro", "size=64k"])
        .mount("/ro-file", "bind", file, &["bind", "ro"]);
    let outcome = Container::new(bundle).run().ok();
    take(&outcome, &attempts, &mut loot);
    loot.must_be_empty();
}

#[test]
fn h_cve_2026_115521_root_is_read_only_whatever_lies_on_proc() {
    privileged!();
    // Flags that are set through /proc/self/fd of the container are set on nothing when /proc is the image's.
    let attempts = ["flags /", "create /owned", "flags /ro", "create /ro/owned", "create /volume-on-proc"];
    let mut loot = Loot::new(&[]);
    for planted in ["volume", "no mount", "link"] {
        let bundle = looking(Bundle::new("roproc"), &attempts);
        let (proc, source) = (bundle.dir("proc"), bundle.dir("source"));
        fs::create_dir(bundle.rootfs().join("ro")).expect("a mount point");
        for fd in 0..64 {
            let decoy = proc.join(format!("self/fd/{fd}"));
            fs::create_dir_all(&decoy).expect("a decoy");
        }
        let bundle = bundle.without_mount("/proc");
        let bundle = match planted {
            "volume" => bundle.mount("/proc", "bind", &proc, &["bind", "rw"]),
            "link" => {
                fs::remove_dir(bundle.rootfs().join("proc")).expect("replace /proc");
                symlink("/ro", bundle.rootfs().join("proc")).expect("a link of the image");
                bundle.mount("/proc", "proc", "proc", &[])
            }
            _ => bundle,
        };
        let bundle = bundle.mount("/ro", "bind", source, &["rbind", "ro"]);
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        // To refuse such an image is right as well.
        if outcome.code() == 0 {
            take(&outcome, &attempts, &mut loot);
        }
    }
    loot.must_be_empty();
}

#[test]
fn h_nosuid_nodev_noexec_and_recursive_read_only_hold_against_use() {
    privileged!();
    crate::support::lacks!("runc" < "1.1": "rro");
    let attempts =
        ["open /flags/null", "create /tree/owned", "create /tree/sub/owned", "flags /tree/sub", "flags /flags"];
    let mut loot = Loot::new(&[]);
    let bundle = looking(Bundle::new("flags"), &attempts);
    let (volume, tree) = (bundle.dir("volume"), bundle.dir("tree"));
    for dir in ["flags", "tree"] {
        fs::create_dir(bundle.rootfs().join(dir)).expect("a mount point");
    }
    fs::create_dir(tree.join("sub")).expect("a mount point");
    let made = Command::new("mknod").arg(volume.join("null")).args(["c", "1", "3"]).finish();
    assert_eq!(made.code(), 0, "{made:?}");
    crate::support::copy_program(crate::support::probe("look"), volume.join("program"));
    let bundle = bundle.mount("/flags", "bind", volume, &["bind", "nosuid", "nodev", "noexec"]).mount(
        "/tree",
        "bind",
        &tree,
        &["rbind", "rro"],
    );
    let container = Container::new(bundle);
    let run = container.run_command(&[]);
    // The mount below the tree exists in a mount namespace of the test's own.
    let script = "mount --make-rprivate / && mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", script]).arg(tree.join("sub")).arg(run.get_program()).args(run.get_args());
    let outcome = wrapped.finish().ok();
    take(&outcome, &["create /tree/owned", "create /tree/sub/owned", "flags /tree/sub"], &mut loot);
    let device = result(&outcome.stdout(), "open /flags/null");
    loot.take_if(device == "ok", || "a device on a nodev mount was opened".to_owned());
    let flags = result(&outcome.stdout(), "flags /flags");
    loot.take_if(!["nosuid", "nodev", "noexec"].iter().all(|flag| flags.contains(flag)), || format!("flags: {flags}"));
    loot.must_be_empty();
}

#[test]
fn h_program_on_a_noexec_mount_does_not_run() {
    privileged!();
    let bundle = Bundle::new("noexec");
    let volume = bundle.dir("volume");
    crate::support::copy_program(crate::support::probe("look"), volume.join("program"));
    let bundle =
        bundle.mount("/vol", "bind", volume, &["bind", "noexec"]).args(["/vol/program", "stat", "/"]).writable();
    let outcome = Container::new(bundle).run_command(&[]).finish();
    let mut loot = Loot::new(&[]);
    loot.take_if(outcome.stdout().contains("stat /: "), || "a program on a noexec mount ran".to_owned());
    loot.must_be_empty();
    assert_ne!(outcome.code(), 0);
}
