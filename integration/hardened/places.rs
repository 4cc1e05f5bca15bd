//! What of the host a profile says is not to be had: paths, however they are written, and namespaces, however they are reached.
#![forbid(unsafe_code)]

use super::held::{held, run, under};
use crate::loot::Loot;
use crate::support::{Bundle, Container, Finish as _};
use serde_json::json;
use std::fs;
use std::path::Path;

const SECRET: &str = "the host's secret";

/// A bundle beside a directory of the host that a profile forbids; the profile.
fn beside_secret(name: &str) -> (Bundle, String) {
    let bundle = Bundle::new(name);
    fs::write(bundle.dir("forbidden").join("secret"), SECRET).expect("a secret");
    let forbidden = bundle.path().join("forbidden");
    let keys = format!("version = 1\n[filesystem]\nforbidden_sources = [{forbidden:?}]\n");
    let profile = bundle.file("forbids.toml", &keys).to_string_lossy().into_owned();
    (bundle, profile)
}

/// From the bundle up and down again.
fn climbing(bundle: &Bundle, to: &str) -> String {
    let name = bundle.path().file_name().expect("a name").to_string_lossy().into_owned();
    format!("rootfs/../../{name}/{to}")
}

#[test]
fn a_forbidden_source_is_not_had_by_a_path_out_of_the_bundle() {
    held!();
    let mut loot = Loot::new(&[]);
    for kind in ["bind", "overlay"] {
        let (bundle, profile) = beside_secret("climb");
        let source = climbing(&bundle, "forbidden");
        let mount = if kind == "bind" {
            json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "ro"] })
        } else {
            let lower = format!("lowerdir={source}:rootfs");
            json!({ "destination": "/mnt", "type": "overlay", "source": "overlay", "options": [lower] })
        };
        let container = Container::new(bundle.push("/mounts", mount).shell("cat /mnt/secret"));
        let mut call = container.run_command(&[]);
        // Where containerd's shim calls from.
        call.current_dir(container.bundle.path());
        assert!(call.finish().stdout().contains(SECRET), "without the profile the attack works: {kind}");
        let held = under(&profile, &call).finish();
        loot.take_if(held.stdout().contains(SECRET), || format!("{kind}: {held:?}"));
    }
    loot.must_be_empty();
}

#[test]
fn a_forbidden_source_is_not_had_by_the_root_file_system() {
    held!();
    let mut loot = Loot::new(&[]);
    for relative in [true, false] {
        let (bundle, profile) = beside_secret("rootpath");
        let root = if relative { climbing(&bundle, "") } else { bundle.path().to_string_lossy().into_owned() };
        for name in ["proc", "dev", "sys"] {
            bundle.dir(name);
        }
        let bundle = bundle.set("/root/path", root).set("/root/readonly", true);
        let container = Container::new(bundle.args(["/rootfs/bin/busybox", "cat", "/forbidden/secret"]));
        assert!(container.run().stdout().contains(SECRET), "without the profile the attack works: {relative}");
        let held = run(&container, &profile);
        loot.take_if(held.stdout().contains(SECRET), || format!("relative {relative}: {held:?}"));
    }
    loot.must_be_empty();
}

#[test]
fn a_namespace_of_its_own_is_not_the_hosts_by_path() {
    held!();
    let mut loot = Loot::new(&[]);
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let host = Path::new("/proc/self/ns").join(file);
        let host = fs::read_link(host).expect("a namespace").to_string_lossy().into_owned();
        let path = format!("/proc/{}/ns/{file}", std::process::id());
        let bundle = Bundle::new("hostns").namespace(kind, Some(Path::new(&path))).remove("/hostname");
        let script = format!("readlink /proc/self/ns/{file}");
        let container = Container::new(bundle.set("/process/user/uid", 1000).shell(&script));
        assert!(container.run().stdout().contains(&host), "without the profile the attack works: {kind}");
        let held = run(&container, "restricted");
        loot.take_if(held.stdout().contains(&host), || format!("{kind}: {held:?}"));
    }
    loot.must_be_empty();
}

/// Root of a user namespace that is nobody outside, but may become an id that is root outside.
#[test]
fn the_hosts_root_is_not_had_by_another_id_of_a_user_namespace() {
    held!();
    let mut loot = Loot::new(&[]);
    let bundle = Bundle::new("hostroot").capabilities(&["CAP_SETUID", "CAP_SETGID"]);
    let secret = bundle.dir("volume").join("secret");
    fs::write(&secret, SECRET).expect("a secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("root's alone");
    let volume = bundle.path().join("volume").to_string_lossy().into_owned();
    let maps = json!([
        { "containerID": 0, "hostID": 100_000, "size": 65_536 }, { "containerID": 70_000, "hostID": 0, "size": 1 }
    ]);
    let bundle = bundle
        .namespace("user", None)
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps)
        .push("/mounts", json!({ "destination": "/mnt", "type": "bind", "source": volume, "options": ["bind", "ro"] }))
        .with_probe("look")
        .args(["/bin/look", "setuid", "70000", "--", "read", "/mnt/secret"]);
    let container = Container::new(bundle);
    let free = container.run();
    assert!(free.stdout().contains(SECRET), "without the profile the attack works: {free:?}");
    let held = run(&container, "build");
    loot.take_if(held.stdout().contains(SECRET), || format!("{held:?}"));
    loot.must_be_empty();
}
