//! Classes F and G: `/dev/null`, `/dev/console`, `/dev/pts` or `/dev` itself are the image's (CVE-2025-31133,
//! CVE-2025-52565, CVE-2025-62161, CVE-2026-41579, CVE-2026-47766).
#![forbid(unsafe_code)]

use super::loot::{Attacker, Canary, DOCKER, Loot, looking, mount_table_hook, result, rounds, with_capabilities};
use crate::support::{self, Bundle, Container, Finish as _, privileged, seconds};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// What the masks are looked at with. domainname stands for core_pattern: a writable file of procfs that is the
/// container's own, so that nothing of the host changes where the attack works.
const MASKED: [&str; 6] = [
    "stat /proc/timer_list",
    "write /proc/timer_list owned",
    "stat /secret",
    "read /secret",
    "stat /proc/sysrq-trigger",
    "domainname",
];

/// A bundle with a masked file of procfs and one of the image, and with `/dev` as the image has it.
fn masking(name: &str) -> Bundle {
    let bundle = looking(Bundle::new(name), &MASKED).push("/linux/maskedPaths", "/secret").writable();
    fs::write(bundle.rootfs().join("secret"), "the secret\n").expect("a file to mask");
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(bundle, |bundle, path| bundle.without_mount(path))
}

fn take_masks(output: &str, loot: &mut Loot) {
    if output.is_empty() {
        // runc takes a stream for /dev/null when its device number is that of what /dev/null leads to.
        return loot.take("the standard streams were exchanged for the image's /dev/null");
    }
    for attempt in ["stat /proc/timer_list", "stat /secret"] {
        let got = result(output, attempt);
        // A kernel without timer_list has nothing to mask.
        loot.take_if(got != "char 1:3" && got != "ENOENT", || format!("{attempt}: {got}"));
    }
    let secret = result(output, "read /secret");
    loot.take_if(secret.contains("secret"), || format!("read /secret: {secret}"));
    let name = result(output, "domainname");
    loot.take_if(name.contains("owned"), || {
        "a write to a masked file set domainname, in core_pattern's place".to_owned()
    });
}

#[test]
fn f_cve_2025_31133_masks_are_null_whatever_the_images_dev_null_is() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&["runc 1.1"]);
    let host_null = canary.path().join("null");
    for target in [Path::new("/proc/sys/kernel/domainname"), &host_null, Path::new("/secret"), Path::new("zero")] {
        let bundle = masking("devnull");
        symlink(target, bundle.rootfs().join("dev/null")).expect("a link of the image");
        let outcome = Container::new(bundle).run_command(&[]).finish();
        // A runtime that refuses such an image is right as well.
        if outcome.code() == 0 {
            take_masks(&outcome.stdout(), &mut loot);
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn f_cve_2025_31133_masks_are_null_when_dev_is_a_volume_of_the_attacker() {
    privileged!();
    let mut loot = Loot::new(&["runc 1.1"]);
    let mut ran = 0;
    for kind in ["link", "file", "swapped"] {
        let bundle = masking("devvolume");
        let volume = bundle.dir("volume");
        fs::write(volume.join("plain"), "not null\n").expect("a planted file");
        match kind {
            "link" => symlink("/proc/sys/kernel/domainname", volume.join("null")).expect("a planted link"),
            _ => fs::write(volume.join("null"), "not null\n").expect("a planted file"),
        }
        symlink("/proc/sys/kernel/domainname", volume.join("other")).expect("a planted link");
        let swapped = [volume.join("null"), volume.join("other")];
        let container = Container::new(bundle.mount("/dev", "bind", &volume, &["bind", "rw"]));
        let attacker = (kind == "swapped").then(|| Attacker::start("swap", swapped));
        for _ in 0..if attacker.is_some() { rounds(100, 1000) } else { 1 } {
            let outcome = container.run_command(&[]).finish_within(seconds(10));
            if outcome.code() == 0 {
                ran += 1;
                take_masks(&outcome.stdout(), &mut loot);
            }
        }
        // The runtime may have replaced what is exchanged: then the racer has ended, and that is an end of the attack.
        drop(attacker);
    }
    println!("{ran} containers ran");
    loot.must_be_empty();
}

#[test]
fn f_masked_directories_are_empty_and_cannot_be_filled() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let attempts = ["stat /secrets/one", "create /secrets/two", "mkdir /secrets/three", "flags /secrets", "read /also"];
    let bundle =
        looking(Bundle::new("maskdir"), &attempts).writable().set("/linux/maskedPaths", json!(["/secrets", "/also"]));
    fs::create_dir(bundle.rootfs().join("secrets")).expect("a directory to mask");
    fs::write(bundle.rootfs().join("secrets/one"), "secret").expect("a file in it");
    fs::write(bundle.rootfs().join("also"), "secret").expect("a file to mask");
    let output = Container::new(bundle).run_command(&[]).finish().ok().stdout();
    for attempt in &attempts[..3] {
        let got = result(&output, attempt);
        loot.take_if(got == "ok" || got == "file", || format!("{attempt}: {got}"));
    }
    let flags = result(&output, "flags /secrets");
    loot.take_if(!flags.starts_with("ro"), || format!("the mask is mounted {flags}"));
    let also = result(&output, "read /also");
    loot.take_if(also.contains("secret"), || format!("read /also: {also}"));
    loot.must_be_empty();
}

/// Runs the container of `bundle` with a terminal of its own: the caller has one too, made by script(1)'s kin setsid.
fn run_on_a_terminal(container: &Container) -> String {
    // `script` gives its command a terminal and copies what appears there.
    let run = container.run_command(&[]);
    let words: Vec<_> = std::iter::once(run.get_program()).chain(run.get_args()).collect();
    let words: Vec<String> = words.iter().map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let outcome = Command::new("script").args(["-qec", &words.join(" "), "/dev/null"]).finish_within(seconds(20));
    outcome.stdout().replace('\r', "")
}

#[test]
fn f_cve_2025_52565_console_is_the_pty_whatever_the_images_dev_console_is() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let mut ran = 0;
    let host_console = canary.path().join("console");
    let attempts = ["stat /dev/console", "lstat /dev/console"];
    for target in [&host_console, &canary.relative().join("console"), Path::new("/inside")] {
        for own_dev in [true, false] {
            let bundle = looking(Bundle::new("console"), &attempts).set("/process/terminal", true).writable();
            fs::write(bundle.rootfs().join("inside"), "untouched").expect("a canary in the rootfs");
            symlink(target, bundle.rootfs().join("dev/console")).expect("a link of the image");
            let bundle = if own_dev { bundle } else { bundle.without_mount("/dev") };
            let log = bundle.path().join("mounts.log");
            let hook = mount_table_hook(&bundle, &log);
            let container = Container::new(bundle.set("/hooks/createContainer", hook));
            let output = run_on_a_terminal(&container);
            let inside = support::read(container.bundle.rootfs().join("inside"));
            loot.take_if(inside != "untouched", || format!("/dev/console led to a file of the image: {inside:?}"));
            if output.contains("stat /dev/console: ") {
                ran += 1;
                let console = result(&output, "stat /dev/console");
                let is_pty = console.starts_with("char 136:");
                loot.take_if(!is_pty && console != "ENOENT", || format!("/dev/console is {console}"));
            }
            canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
        }
    }
    assert!(ran > 0, "no container got as far as looking at its console");
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn f_cve_2025_52565_dev_pts_of_the_image_leads_nowhere() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    for target in [canary.path(), &canary.relative()] {
        for terminal in [false, true] {
            let bundle = looking(Bundle::new("pts"), &["stat /dev/pts", "stat /dev/ptmx"]);
            let bundle = bundle.without_mount("/dev").set("/process/terminal", terminal).writable();
            symlink(target, bundle.rootfs().join("dev/pts")).expect("a link of the image");
            symlink(canary.path().join("ptmx"), bundle.rootfs().join("dev/ptmx")).expect("a link of the image");
            let log = bundle.path().join("mounts.log");
            let hook = mount_table_hook(&bundle, &log);
            let container = Container::new(bundle.set("/hooks/createContainer", hook));
            run_on_a_terminal(&container);
            canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

/// Each default device and link, as a link of the image to the host's canary.
fn plant_links_in_dev(dev: &Path, canary: &Canary) {
    for (index, name) in ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin", "core"]
        .into_iter()
        .enumerate()
    {
        let target = match index % 2 {
            0 => canary.path().join(name),
            _ => canary.relative().join(name),
        };
        symlink(target, dev.join(name)).expect("a planted link");
    }
}

#[test]
fn g_cve_2026_41579_dev_that_is_a_link_makes_no_node_on_the_host() {
    privileged!();
    let canary = Canary::new();
    // runc before 1.3.6 removes the host's ptmx and makes links beside it.
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    for target in [canary.path(), &canary.relative()] {
        for mounts in ["all", "no /dev", "none in /dev"] {
            let bundle = with_capabilities(Bundle::new("devlink"), &DOCKER.map(str::to_owned)).writable();
            fs::remove_dir(bundle.rootfs().join("dev")).expect("replace /dev");
            symlink(target, bundle.rootfs().join("dev")).expect("a link of the image");
            let bundle = if mounts == "all" { bundle } else { bundle.without_mount("/dev") };
            let bundle = match mounts {
                "none in /dev" => ["/dev/pts", "/dev/shm", "/dev/mqueue"]
                    .iter()
                    .fold(bundle, |bundle, path| bundle.without_mount(path)),
                _ => bundle,
            };
            let log = bundle.path().join("mounts.log");
            let hook = mount_table_hook(&bundle, &log);
            let container = Container::new(bundle.set("/hooks/createContainer", hook));
            container.run_command(&[]).finish_within(seconds(10));
            canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn g_cve_2026_47766_links_in_the_images_dev_make_no_node_on_the_host() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    for own_dev in [true, false] {
        let bundle = with_capabilities(Bundle::new("devnodes"), &DOCKER.map(str::to_owned)).writable();
        plant_links_in_dev(&bundle.rootfs().join("dev"), &canary);
        let bundle = if own_dev { bundle } else { bundle.without_mount("/dev") };
        let container = Container::new(bundle);
        container.run_command(&[]).finish_within(seconds(10));
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn g_cve_2026_47766_dev_swapped_for_a_link_during_create_makes_no_node_on_the_host() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    let bundle = with_capabilities(Bundle::new("devrace"), &DOCKER.map(str::to_owned)).writable();
    symlink(canary.path(), bundle.rootfs().join("other")).expect("a link of the image");
    let swapped = [bundle.rootfs().join("dev"), bundle.rootfs().join("other")];
    let bundle = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"].iter().fold(bundle, |b, path| b.without_mount(path));
    let container = Container::new(bundle);
    let attacker = Attacker::start("swap", swapped);
    for _ in 0..rounds(100, 1000) {
        container.run_command(&[]).finish_within(seconds(10));
    }
    drop(attacker);
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn g_device_paths_with_dots_or_links_make_no_node_on_the_host() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&["runc 1.1", "crun 1.8"]);
    let (absolute, dots) = (canary.path().to_string_lossy().into_owned(), canary.relative());
    let dots = dots.to_string_lossy();
    for path in [
        format!("/dev/{dots}/node"),
        format!("{dots}/node"),
        "/link/node".to_owned(),
        "/link/deep/er/node".to_owned(),
        "/dev/link/node".to_owned(),
        "/link/null".to_owned(),
    ] {
        for own_dev in [true, false] {
            let bundle = with_capabilities(Bundle::new("devpath"), &DOCKER.map(str::to_owned)).writable();
            symlink(&absolute, bundle.rootfs().join("link")).expect("a link of the image");
            symlink(&absolute, bundle.rootfs().join("dev/link")).expect("a link of the image");
            let device =
                json!({ "path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0 });
            let bundle = if own_dev { bundle } else { bundle.without_mount("/dev") };
            let container = Container::new(bundle.push("/linux/devices", device));
            container.run_command(&[]).finish_within(seconds(10));
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}
