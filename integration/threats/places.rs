//! Class D, the places of mounts: what is below a mount is the mount's, whoever renames in the rootfs meanwhile, and a link of the
//! image lets nothing cover the root or /proc.
#![forbid(unsafe_code)]

use super::loot::{Attacker, Loot};
use crate::support::{Bundle, Container, Finish as _, Kind, privileged, seconds};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// How many victims a race has: `PENT_RACES`, or a number that CI has time for.
fn victims() -> usize {
    std::env::var("PENT_RACES").ok().and_then(|number| number.parse().ok()).unwrap_or(150)
}

/// A container that opens a kernel parameter of the host's for writing, wherever a procfs may be, and writes nothing.
const OPEN: &str = "for p in /proc /proc2; do ( : >>$p/sys/kernel/core_pattern ) 2>/dev/null && echo $p; done; exit 0";

#[test]
fn d_masks_of_proc_hold_whoever_renames_proc_meanwhile() {
    privileged!();
    let mut loot = Loot::new(&["runc", "crun"]);
    let bundle = Bundle::new("procmove").shell(OPEN).writable();
    let (proc, other) = (bundle.rootfs().join("proc"), bundle.rootfs().join("proc2"));
    fs::create_dir_all(&other).expect("a directory of the attacker");
    let container = Container::new(bundle);
    let mut attacker = Attacker::start("swap", [&proc, &other]);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..victims() {
        let outcome = container.run_command(&[]).finish_within(seconds(10));
        if outcome.code() == 0 {
            ran += 1
        } else {
            refused += 1
        }
        let opened = outcome.trimmed();
        loot.take_if(outcome.code() == 0 && !opened.is_empty(), || format!("core_pattern is writable in {opened}"));
    }
    assert!(attacker.is_alive(), "the racer ended early");
    drop(attacker);
    println!("{ran} containers ran, {refused} were refused");
    assert!(ran > 0, "no container ran: nothing was tested");
    loot.must_be_empty();
}

#[test]
fn d_links_of_the_image_let_no_volume_cover_proc_or_the_root() {
    privileged!();
    for target in ["/proc", "/proc/sys", "/proc/sys/kernel", "/", "proc/../"] {
        for options in [&["bind"][..], &["rbind", "ro"]] {
            let bundle = Bundle::new("coverlink");
            symlink(target, bundle.rootfs().join("data")).expect("a link of the image");
            let volume = bundle.dir("volume");
            let bundle = bundle.mount("/data", "bind", &volume, options).writable();
            let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
            let outcome = outcome.refused();
            if Kind::of_runtime() == Kind::Pent {
                outcome.says("a link in the image leads to");
            }
        }
    }
}

#[test]
fn d_links_that_lead_elsewhere_still_work() {
    privileged!();
    let bundle = Bundle::new("goodlinks").writable();
    let volume = bundle.dir("volume");
    fs::create_dir_all(volume.join("real")).expect("a directory");
    symlink("real", volume.join("in")).expect("a link in a volume");
    symlink("/tmp", volume.join("out")).expect("a link out of a volume");
    fs::create_dir_all(bundle.rootfs().join("tmp")).expect("a directory");
    fs::create_dir_all(bundle.rootfs().join("run")).expect("a directory");
    fs::create_dir_all(bundle.rootfs().join("var")).expect("a directory");
    symlink("/run", bundle.rootfs().join("var/run")).expect("a link of the image");
    let outcome = bundle
        .mount("/vol", "bind", &volume, &["bind"])
        .mount("/vol/in/a", "tmpfs", "tmpfs", &["size=64k"])
        .mount("/vol/out/b", "tmpfs", "tmpfs", &["size=64k"])
        .mount("/run/lock", "tmpfs", "tmpfs", &["size=64k"])
        // Covers the one before by another name.
        .mount("/var/run", "tmpfs", "tmpfs", &["size=64k"])
        .shell("cut -d' ' -f2 /proc/mounts | grep -x -e /vol/real/a -e /tmp/b -e /run | sort | tr '\\n' ' '")
        .run()
        .ok();
    assert_eq!(outcome.trimmed(), "/run /tmp/b /vol/real/a");
}

#[test]
fn d_paths_may_be_masked_and_closed_twice() {
    privileged!();
    let twice = json!(["/etc", "/etc", "/proc/keys", "/proc/keys", "/proc/acpi", "/var/run", "/run"]);
    let bundle = Bundle::new("twice").set("/linux/maskedPaths", twice);
    fs::create_dir_all(bundle.rootfs().join("run")).expect("a directory");
    fs::create_dir_all(bundle.rootfs().join("var")).expect("a directory");
    symlink("/run", bundle.rootfs().join("var/run")).expect("a link of the image");
    let closed = json!(["/proc/sys", "/proc/sys", "/proc/sys/net", "/proc"]);
    bundle.set("/linux/readonlyPaths", closed).run().ok();
}

#[test]
fn d_a_read_only_path_that_is_the_root_is_the_programs_root() {
    privileged!();
    let bundle = Bundle::new("closedroot").writable().set("/linux/readonlyPaths", json!(["/"]));
    let outcome = bundle.shell("touch /written 2>/dev/null && echo written; exit 0").run().ok();
    assert_eq!(outcome.trimmed(), "");
}

/// setns(2) leads to the root of the mount namespace, which a runtime in a chroot does not have as its own root.
#[test]
fn e_exec_by_a_runtime_in_a_chroot_stays_in_the_container() {
    privileged!();
    let mut loot = Loot::new(&["runc", "crun"]);
    let bundle = Bundle::new("chroot").sleeping();
    fs::write(bundle.rootfs().join("marker"), "inside\n").expect("a file of the image");
    let (there, script) = (bundle.dir("chroot"), bundle.path().join("inside.sh"));
    let container = Container::new(bundle);
    container.bundle.write();
    let line = |command: &Command| {
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        words.join(" ")
    };
    let body = format!(
        "{run} </dev/null >/dev/null && {exec}\n{delete}\n",
        run = line(&container.run_command(&["--detach"])),
        exec = line(&container.exec_command(&[], &["cat", "/marker"])),
        delete = line(&container.runtime.command(["delete", "--force", container.id()])),
    );
    fs::write(&script, body).expect("a script");
    // The host as it is, in a directory that is a mount point of a private namespace.
    let outer = "mount --rbind / \"$1\" && exec chroot \"$1\" /bin/sh \"$2\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", outer, "sh"]).arg(&there).arg(&script);
    let outcome = command.finish_within(seconds(30));
    loot.take_if(outcome.trimmed() != "inside", || format!("exec did not land in the container: {outcome:?}"));
    loot.must_be_empty();
}

/// Where the runtime reads the image's passwd, no device rules are in force yet.
#[test]
fn e_a_passwd_that_is_no_file_is_not_opened() {
    privileged!();
    for kind in [&["p"][..], &["c", "5", "1"], &["b", "259", "4095"]] {
        let bundle = Bundle::new("passwd").shell("echo $HOME");
        let passwd = bundle.rootfs().join("etc/passwd");
        fs::create_dir_all(bundle.rootfs().join("etc")).expect("a directory");
        fs::remove_file(&passwd).ok();
        Command::new("mknod").arg(&passwd).args(kind).finish().ok();
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_eq!(outcome.ok().trimmed(), "/");
    }
}

#[test]
fn e_sysctls_never_reach_the_runtimes_own_namespaces() {
    privileged!();
    for (kind, file, name) in [
        ("network", "net", "net.ipv4.ip_default_ttl"),
        ("ipc", "ipc", "kernel.msgmax"),
        ("uts", "uts", "kernel.domainname"),
    ] {
        let now = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).expect("a kernel parameter");
        let path = format!("/proc/self/ns/{file}");
        let bundle = Bundle::new("ownns").without_namespace(kind).remove("/hostname");
        let bundle = bundle.namespace(kind, Some(path.as_ref()));
        // The value that it has: should it be set after all, nothing has changed.
        bundle.set("/linux/sysctl", json!({ name: now.trim() })).run().refused();
    }
}

#[test]
fn a_hundred_thousand_sysctls_take_no_minute() {
    privileged!();
    let many: serde_json::Map<_, _> = (0..100_000).map(|n| (format!("net.ipv4.conf.x{n}.y"), json!("1"))).collect();
    let container = Container::new(Bundle::new("sysctls").set("/linux/sysctl", many));
    let outcome = container.run_command(&[]).finish_within(seconds(60));
    assert!(!outcome.timed_out, "{outcome:?}");
    outcome.refused();
}
