//! Class D: a mount target that is a directory when it is checked and a link to the host when it is used (CVE-2021-30465,
//! CVE-2019-18837, CVE-2023-27561, CVE-2024-45310).
#![forbid(unsafe_code)]

use super::loot::{Attacker, Canary, Loot, mount_table_hook, rounds};
use crate::support::{self, Bundle, Container, Finish as _, privileged, seconds};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Many creates with mounts below `PLACE/swap`, where `place` (seen by the container at `inside`) is the attacker's and
/// `swap` is by turns a directory and a link to `target`.
fn race(name: &str, bundle: Bundle, place: &Path, inside: &str, target: &Path, canary: &Canary, loot: &mut Loot) {
    fs::create_dir_all(place.join("swap")).expect("a directory of the attacker");
    fs::create_dir_all(place.join("swap/masked")).expect("a directory of the attacker");
    symlink(target, place.join("other")).expect("a link of the attacker");
    let source = bundle.dir("source");
    let file = bundle.file("source-file", "");
    let log = bundle.path().join("mounts.log");
    let hook = mount_table_hook(&bundle, &log);
    let below = |path: &str| format!("{inside}/swap{path}");
    let bundle = bundle
        .mount(&below("/tmpfs"), "tmpfs", "tmpfs", &["nosuid", "size=64k"])
        .mount(&below("/deep/er"), "tmpfs", "tmpfs", &["nosuid", "size=64k"])
        .mount(&below("/bind"), "bind", &source, &["bind"])
        .mount(&below("/file"), "bind", &file, &["bind", "ro"])
        .mount(&below(""), "bind", &source, &["bind"])
        .push("/linux/maskedPaths", below("/masked"))
        .push("/linux/readonlyPaths", below("/masked"))
        .set("/hooks/createContainer", hook)
        .writable();
    let container = Container::new(bundle);
    let mut attacker = Attacker::start("swap", [place.join("swap"), place.join("other")]);
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..rounds(200, 1000) {
        match container.run_command(&[]).finish_within(seconds(10)).code() {
            0 => ran += 1,
            _ => refused += 1,
        }
    }
    assert!(attacker.is_alive(), "{name}: the racer ended early");
    drop(attacker);
    println!("{name}: {ran} containers ran, {refused} were refused");
    canary.look_for_traces(loot);
    let log = support::read(log);
    // Both outcomes are right, but a test in which no container got as far as its mounts has tested nothing.
    assert!(ran > 0, "{name}: no container got past its mounts");
    canary.look_for_mounts("container", &log, &container.bundle.rootfs(), loot);
}

#[test]
fn d_cve_2021_30465_mounts_on_a_shared_volume_stay_in_the_rootfs() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("volume");
    let volume = bundle.dir("volume");
    let bundle = bundle.mount("/vol", "bind", &volume, &["bind"]);
    race("absolute link", bundle, &volume, "/vol", canary.path(), &canary, &mut loot);
    loot.must_be_empty();
}

#[test]
fn d_cve_2021_30465_mounts_on_a_shared_volume_stay_in_the_rootfs_with_dots() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("dots");
    let volume = bundle.dir("volume");
    let bundle = bundle.mount("/vol", "bind", &volume, &["bind"]);
    race("relative link", bundle, &volume, "/vol", &canary.relative(), &canary, &mut loot);
    loot.must_be_empty();
}

#[test]
fn d_cve_2024_45310_mount_points_made_in_a_shared_rootfs_stay_in_it() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("rootrace");
    let rootfs = bundle.rootfs();
    race("shared rootfs", bundle, &rootfs, "", canary.path(), &canary, &mut loot);
    loot.must_be_empty();
}

#[test]
fn d_cve_2019_18837_links_in_the_image_lead_no_mount_out() {
    privileged!();
    // Without a race: every kind of link, as the target, in the middle, dangling.
    let mut loot = Loot::new(&[]);
    let canary = Canary::new();
    let dangling = canary.path().join("not-yet");
    let magic = Path::new("/proc/self/root").join(canary.path().strip_prefix("/").expect("an absolute path"));
    for target in [canary.path(), &canary.relative(), &dangling, &magic] {
        for destination in ["/link", "/link/new", "/link/new/deeper", "/dir/../link/new"] {
            for kind in ["tmpfs", "directory", "file"] {
                let bundle = Bundle::new("links");
                symlink(target, bundle.rootfs().join("link")).expect("a link of the image");
                let (source, file) = (bundle.dir("source"), bundle.file("source-file", ""));
                let log = bundle.path().join("mounts.log");
                let hook = mount_table_hook(&bundle, &log);
                let bundle = match kind {
                    "tmpfs" => bundle.mount(destination, "tmpfs", "tmpfs", &["size=64k"]),
                    "directory" => bundle.mount(destination, "bind", source, &["bind"]),
                    _ => bundle.mount(destination, "bind", file, &["bind"]),
                };
                let container = Container::new(bundle.set("/hooks/createContainer", hook).writable());
                container.run_command(&[]).finish_within(seconds(10));
                canary.look_for_mounts("container", &support::read(log), &container.bundle.rootfs(), &mut loot);
            }
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn d_working_directory_and_rootfs_links_make_nothing_on_the_host() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    // A missing working directory is made by some runtimes: in the image, or nowhere.
    for cwd in ["/link/work", "/../../../../../../../../link/work"] {
        let bundle = Bundle::new("workdir").writable();
        symlink(canary.path(), bundle.rootfs().join("link")).expect("a link of the image");
        Container::new(bundle.set("/process/cwd", cwd)).run_command(&[]).finish_within(seconds(10));
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

/// How many directories a victim that checks before it uses makes on the host, while the racer runs.
fn made_by_the_naive(canary: &Canary) -> usize {
    let bundle = Bundle::new("metarace");
    let place = bundle.dir("volume");
    fs::create_dir_all(place.join("swap")).expect("a directory of the attacker");
    symlink(canary.path(), place.join("other")).expect("a link of the attacker");
    let attacker = Attacker::start("swap", [place.join("swap"), place.join("other")]);
    let mut victim = Command::new(support::probe("naive"));
    let outcome = victim.arg(&place).args(["swap", "20000"]).finish().ok();
    drop(attacker);
    let escaped = fs::read_dir(canary.path()).expect("the canary").flatten();
    let escaped = escaped.filter(|entry| entry.file_name().to_string_lossy().starts_with("target")).count();
    println!("the naive victim made {} directories, {escaped} of them on the host", outcome.trimmed());
    escaped
}

#[test]
fn meta_d_the_racer_beats_a_check_before_use() {
    privileged!();
    let canary = Canary::new();
    // On a machine with other work to do, the two may hardly ever run at the same time.
    assert!((0..20).any(|_| made_by_the_naive(&canary) > 0), "the racer beats nobody");
    // And the trap notices.
    let trap = std::panic::catch_unwind(|| {
        let mut loot = Loot::new(&[]);
        canary.look_for_traces(&mut loot);
        loot.must_be_empty();
    });
    assert!(trap.is_err(), "the canary does not notice what was made in it");
}

/// What an image has where a tmpfs is mounted may be copied into it (`tmpcopyup`), before any device rules are in force: a file of a
/// volume that is a device when it is opened would come with the host's rights.
#[test]
fn d_copies_for_a_tmpfs_read_no_device_in_a_files_place() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("copyup");
    let volume = bundle.dir("volume");
    let copied = bundle.dir("volume/copied");
    fs::write(copied.join("file"), "").expect("a file of the attacker");
    // It stands for a disk.
    let made = Command::new("mknod").arg(volume.join("device")).args(["c", "1", "9"]).finish();
    made.ok();
    let container = Container::new(
        bundle
            .mount("/vol", "bind", &volume, &["bind"])
            .mount("/vol/copied", "tmpfs", "tmpfs", &["tmpcopyup", "size=64k"])
            .shell("test -f /vol/copied/file && wc -c </vol/copied/file || echo not a file"),
    );
    let attacker = Attacker::start("swap", [copied.join("file"), volume.join("device")]);
    let (mut files, mut devices) = (0, 0);
    for _ in 0..rounds(100, 500) {
        let outcome = container.run_command(&[]).finish_within(seconds(10));
        match outcome.trimmed().as_str() {
            "0" => files += 1,
            "not a file" => devices += 1,
            _ => loot.take(format!("{outcome:?}")),
        }
    }
    drop(attacker);
    assert!(files > 0 && devices > 0, "{files} files and {devices} devices: the racer is too slow");
    loot.must_be_empty();
}
