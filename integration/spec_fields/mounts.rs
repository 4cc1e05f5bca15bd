//! mounts, root, masked and read-only paths: what is where in the container's file tree.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Kind, lacks, privileged};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A directory on the host with a tmpfs mounted in its subdirectory `sub`, unmounted at the end.
pub(super) struct MountedTree(TempDir);

impl MountedTree {
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pent-test-tree-").tempdir().expect("directory");
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).expect("subdirectory");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &sub, Some("tmpfs"), flags, None::<&str>).expect("mount a tmpfs");
        fs::write(sub.join("inside"), "below\n").expect("file in the tmpfs");
        fs::write(dir.path().join("top"), "top\n").expect("file beside it");
        Self(dir)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for MountedTree {
    fn drop(&mut self) {
        nix::mount::umount2(&self.path().join("sub"), nix::mount::MntFlags::MNT_DETACH).expect("unmount");
    }
}

// Binds.

#[test]
fn a_bind_mount_shows_a_directory_of_the_host() {
    privileged!();
    let bundle = Bundle::new("bind");
    let volume = bundle.dir("volume");
    fs::write(volume.join("a"), "content\n").expect("file");
    let bundle = bundle.mount("/v", "bind", &volume, &["bind"]).shell("cat /v/a; echo written >/v/b");
    let container = Container::new(bundle);
    container.run().ok().prints("content");
    assert_eq!(fs::read_to_string(container.bundle.path().join("volume/b")).expect("b"), "written\n");
}

#[test]
fn a_bind_mount_needs_no_type_and_its_source_may_be_relative_to_the_bundle() {
    privileged!();
    let bundle = Bundle::new("bindrel");
    fs::write(bundle.dir("volume").join("a"), "content\n").expect("file");
    let bundle = bundle.push("/mounts", json!({ "destination": "/v", "source": "volume", "options": ["rbind", "rw"] }));
    bundle.args(["cat", "/v/a"]).run().ok().prints("content");
}

#[test]
fn bind_leaves_mounts_below_out_and_rbind_brings_them() {
    privileged!();
    let tree = MountedTree::new();
    let script = "cat /v/top; cat /v/sub/inside 2>/dev/null || echo none";
    let bundle = |option| Bundle::new("rbind").mount("/v", "bind", tree.path(), &[option]).shell(script);
    bundle("bind").run().ok().prints("top\nnone");
    bundle("rbind").run().ok().prints("top\nbelow");
}

#[test]
fn a_file_is_bound_onto_a_file() {
    privileged!();
    let bundle = Bundle::new("bindfile");
    let file = bundle.file("resolv.conf", "nameserver 127.0.0.1\n");
    fs::write(bundle.rootfs().join("etc/resolv.conf"), "of the image\n").expect("file");
    let bundle = bundle.mount("/etc/resolv.conf", "bind", &file, &["rbind", "ro"]);
    bundle.shell("cat /etc/resolv.conf; echo x >>/etc/resolv.conf").run().exits(1).prints("nameserver 127.0.0.1");
}

#[test]
fn a_missing_target_is_made_as_the_source_is() {
    privileged!();
    let bundle = Bundle::new("target");
    let (file, volume) = (bundle.file("f", "file\n"), bundle.dir("volume"));
    let bundle =
        bundle.mount("/new/deep/file", "bind", &file, &["bind"]).mount("/new/other/dir", "bind", &volume, &["bind"]);
    bundle.shell("cat /new/deep/file; [ -d /new/other/dir ] && echo dir").run().ok().prints("file\ndir");
}

#[test]
fn links_on_the_way_to_a_target_are_followed_inside_the_rootfs() {
    privileged!();
    let bundle = Bundle::new("linktarget");
    let volume = bundle.dir("volume");
    fs::write(volume.join("a"), "seen\n").expect("file");
    symlink("/var/real", bundle.rootfs().join("absolute")).expect("link");
    symlink("../../../../../var/real", bundle.rootfs().join("var/up")).expect("link");
    fs::create_dir_all(bundle.rootfs().join("var/real")).expect("target");
    let bundle = bundle.mount("/absolute/x", "bind", &volume, &["bind"]).mount("/var/up/y", "bind", &volume, &["bind"]);
    bundle.shell("cat /var/real/x/a /var/real/y/a").run().ok().prints("seen\nseen");
}

#[test]
fn a_link_to_a_directory_of_the_host_leads_nowhere() {
    privileged!();
    let outside = tempfile::tempdir().expect("directory");
    let bundle = Bundle::new("linkout");
    let volume = bundle.dir("volume");
    symlink(outside.path(), bundle.rootfs().join("out")).expect("link");
    // Whether it is an error or made inside the rootfs is the runtime's choice.
    let outcome = bundle.mount("/out/z", "bind", &volume, &["bind"]).run();
    assert!([0, 1].contains(&outcome.code()), "{outcome:?}");
    assert_eq!(fs::read_dir(outside.path()).expect("read").count(), 0, "something was made outside the rootfs");
}

#[test]
fn later_mounts_cover_earlier_ones() {
    privileged!();
    let bundle = Bundle::new("order");
    let (one, two) = (bundle.dir("one"), bundle.dir("two"));
    fs::write(one.join("a"), "one\n").expect("file");
    fs::create_dir(one.join("inner")).expect("directory");
    fs::write(two.join("a"), "two\n").expect("file");
    let bundle = bundle.mount("/v", "bind", &one, &["bind"]).mount("/v/inner", "bind", &two, &["bind"]);
    bundle.shell("cat /v/a /v/inner/a").run().ok().prints("one\ntwo");
}

#[test]
fn a_relative_destination_is_one_from_the_root() {
    privileged!();
    let bundle = Bundle::new("relative").mount("relative/place", "tmpfs", "tmpfs", &["size=64k"]);
    let outcome = bundle.shell("grep -c '^tmpfs /relative/place ' /proc/mounts").run().ok();
    outcome.prints("1");
}

#[test]
fn recursive_options_hold_for_a_new_filesystem_too() {
    privileged!();
    lacks!("runc" < "never": "recursive options of a new filesystem", "crun" < "1.4": "recursive options");
    let bundle =
        Bundle::new("rtmpfs").mount("/t", "tmpfs", "tmpfs", &["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime"]);
    let outcome = bundle.shell("grep ' /t ' /proc/self/mountinfo | cut -d ' ' -f 6").run().ok();
    outcome.prints("ro,nosuid,nodev,noexec,noatime");
}

#[test]
fn a_hundred_mounts_are_made() {
    privileged!();
    let bundle = Bundle::new("hundred");
    let volume = bundle.dir("volume");
    let bundle = (0..100).fold(bundle, |bundle, n| bundle.mount(&format!("/m/{n}"), "bind", &volume, &["rbind", "ro"]));
    bundle.shell("grep -c ' /m/' /proc/self/mountinfo").run().ok().prints("100");
}

#[test]
fn a_missing_source_fails_and_names_it() {
    privileged!();
    let container = Container::new(Bundle::new("nosource").mount("/v", "bind", "/no/such/source", &["bind"]));
    container.create_command(&[]).finish().refused().says("/no/such/source");
    container.leaves_nothing();
}

#[test]
fn an_unknown_type_of_file_system_fails_and_names_it() {
    privileged!();
    let container = Container::new(Bundle::new("nofs").mount("/v", "nosuchfs", "none", &[]));
    container.create_command(&[]).finish().refused().explains("nosuchfs");
    container.leaves_nothing();
}

// Other file systems.

#[test]
fn a_tmpfs_without_a_mode_has_that_of_the_directory_it_covers() {
    privileged!();
    use std::os::unix::fs::PermissionsExt as _;
    lacks!("crun" < "1.9": "modes of covered directories");
    let bundle = Bundle::new("tmpfsmode");
    let covered = bundle.rootfs().join("covered");
    fs::create_dir(&covered).expect("directory");
    fs::set_permissions(&covered, fs::Permissions::from_mode(0o2710)).expect("mode");
    let bundle = bundle.mount("/covered", "tmpfs", "tmpfs", &[]).mount("/asked", "tmpfs", "tmpfs", &["mode=0705"]);
    let bundle = bundle.mount("/new", "tmpfs", "tmpfs", &["ro"]).writable();
    bundle.shell("stat -c %a /covered /asked /new").run().ok().prints("2710\n705\n1777");
}

#[test]
fn a_read_only_dev_is_filled_first() {
    privileged!();
    let mut bundle = Bundle::new("rodev");
    let at = bundle.config["mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .position(|m| m["destination"] == "/dev")
        .expect("/dev");
    bundle = bundle.push(&format!("/mounts/{at}/options"), "ro");
    let script = "grep -o '^tmpfs /dev tmpfs ro' /proc/mounts; ls -d /dev/null /dev/pts/ptmx; touch /dev/x 2>&1 | grep -o Read-only";
    bundle.shell(script).run().ok().prints("tmpfs /dev tmpfs ro\n/dev/null\n/dev/pts/ptmx\nRead-only");
}

#[test]
fn no_procfs_of_the_host_is_left_below_a_root_that_is_not_pivoted_to() {
    privileged!();
    lacks!("crun" < "never": "no procfs below the root");
    let names = ["CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_SYS_CHROOT"];
    for options in [&[][..], &["--no-pivot"]] {
        let bundle = Bundle::new("nopivot").capabilities(&names);
        let script = "cat /proc/self/comm; unshare -Urmpf mount -t proc none /proc 2>&1 | grep -o 'ermission denied'";
        let container = Container::new(bundle.shell(script));
        container.run_command(options).finish().ok().prints("cat\nermission denied");
    }
}

#[test]
fn a_tmpfs_has_the_size_mode_and_owner_asked_for() {
    privileged!();
    let options = ["nosuid", "size=128k", "mode=0751", "uid=1000", "gid=5"];
    let bundle = Bundle::new("tmpfs").mount("/t", "tmpfs", "tmpfs", &options).capabilities(&["CAP_DAC_OVERRIDE"]);
    let script = "stat -c '%a %u %g' /t; head -c 200000 /dev/zero >/t/x 2>/dev/null || echo full; wc -c </t/x";
    bundle.shell(script).run().ok().prints("751 1000 5\nfull\n131072");
}

#[test]
fn tmpcopyup_keeps_what_the_image_has_there() {
    privileged!();
    lacks!("crun" < "1.8.1": "tmpcopyup");
    let bundle = Bundle::new("copyup");
    fs::create_dir_all(bundle.rootfs().join("data/deep")).expect("directory");
    fs::write(bundle.rootfs().join("data/deep/file"), "kept\n").expect("file");
    symlink("deep/file", bundle.rootfs().join("data/link")).expect("link");
    let rootfs = bundle.rootfs();
    let container = Container::new(
        bundle.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]).shell("cat /data/link; echo changed >/data/deep/file"),
    );
    container.run().ok().prints("kept");
    assert_eq!(fs::read_to_string(rootfs.join("data/deep/file")).expect("file"), "kept\n");
}

#[test]
fn tmpcopyup_of_directories_without_end_is_refused() {
    privileged!();
    lacks!("runc" < "never": "a limit on what is copied up", "crun" < "never": "the same");
    let bundle = Bundle::new("copydeep").mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    fs::create_dir_all(bundle.rootfs().join("data").join("d/".repeat(200))).expect("directories");
    bundle.run().refused().says("cannot copy up /data: it has more than 128 directories in one another");
}

#[test]
fn an_overlay_is_mounted_with_its_own_options() {
    privileged!();
    let bundle = Bundle::new("overlay");
    let (lower, upper, work) = (bundle.dir("lower"), bundle.dir("upper"), bundle.dir("work"));
    fs::write(lower.join("a"), "lower\n").expect("file");
    let [lower, upper, work] = [lower, upper, work].map(|dir| dir.to_string_lossy().into_owned());
    let options = [format!("lowerdir={lower}"), format!("upperdir={upper}"), format!("workdir={work}")];
    let bundle = bundle.mount("/o", "overlay", "overlay", &options.each_ref().map(String::as_str));
    bundle.shell("cat /o/a; echo new >/o/b && cat /o/b").run().ok().prints("lower\nnew");
}

/// A string of more than 255 bytes is more than fsconfig(2) takes, and mount(2) has flags of its own.
#[test]
fn a_long_option_does_not_cost_the_others() {
    privileged!();
    let bundle = Bundle::new("longoption");
    let lower: Vec<String> = ["a", "b"].map(|name| bundle.dir(&name.repeat(200)).to_string_lossy().into_owned()).into();
    let lower = format!("lowerdir={}", lower.join(":"));
    let bundle = bundle.mount("/o", "overlay", "overlay", &[&lower, "sync", "lazytime", "nosuid"]);
    let seen = bundle.shell("grep ' /o ' /proc/self/mountinfo").run().ok().trimmed();
    let (mount, filesystem) = seen.split_once(" - overlay overlay ").expect("an overlay");
    assert!(mount.contains("nosuid"), "{seen}");
    assert!(filesystem.contains("sync") && filesystem.contains("lazytime"), "{seen}");
}

#[test]
fn the_default_mounts_are_of_their_types() {
    privileged!();
    let script =
        r"while read -r _ _ _ _ point rest; do echo $point ${rest##* - }; done </proc/self/mountinfo | cut -d' ' -f1,2";
    let stdout = Bundle::new("types").shell(script).run().ok().stdout();
    for line in ["/proc proc", "/dev tmpfs", "/dev/pts devpts", "/dev/shm tmpfs", "/dev/mqueue mqueue", "/sys sysfs"] {
        assert!(stdout.lines().any(|seen| seen == line), "no {line} in {stdout}");
    }
}

#[test]
fn proc_shows_only_the_containers_processes() {
    privileged!();
    let stdout = Bundle::new("proc").shell("ls /proc").run().ok().stdout();
    let numbers = stdout.lines().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(numbers.count() <= 2, "{stdout}");
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_cgroup_read_only() {
    privileged!();
    let container = Bundle::new("cgmount").namespace("cgroup", None).sleeping().started();
    let file = if crate::support::cgroup2_only() { "cgroup.procs" } else { "pids/cgroup.procs" };
    container.sh(&format!("head -n1 /sys/fs/cgroup/{file}")).ok().prints("1");
    assert_ne!(container.sh(&format!("echo 1 >/sys/fs/cgroup/{file}")).code(), 0);
    assert_ne!(container.sh("mkdir /sys/fs/cgroup/pids/x /sys/fs/cgroup/x").code(), 0);
}

#[test]
fn the_cgroup_mount_without_a_cgroup_namespace_shows_the_same_cgroup() {
    privileged!();
    if crate::support::cgroup2_only() {
        lacks!("runc" < "never": "a cgroup mount that shows no other cgroups on version 2");
    }
    let container = Bundle::new("cgmountold").sleeping().started();
    let file = if crate::support::cgroup2_only() { "cgroup.procs" } else { "pids/cgroup.procs" };
    container.sh(&format!("head -n1 /sys/fs/cgroup/{file}")).ok().prints("1");
    assert_ne!(container.sh(&format!("echo 1 >/sys/fs/cgroup/{file}")).code(), 0);
}

// The root.

#[test]
fn a_read_only_root_cannot_be_written_and_a_writable_one_can() {
    privileged!();
    Bundle::new("roroot").shell("touch /new").run().exits(1).says("read-only");
    let container = Container::new(Bundle::new("rwroot").writable().shell("echo x >/new"));
    container.run().ok();
    assert!(container.bundle.rootfs().join("new").is_file());
}

#[test]
fn the_rootfs_may_be_absolute_or_a_link() {
    privileged!();
    let bundle = Bundle::new("absroot");
    let rootfs = bundle.rootfs();
    bundle.set("/root/path", json!(rootfs)).args(["echo", "yes"]).run().ok().prints("yes");
    let bundle = Bundle::new("linkroot");
    symlink("rootfs", bundle.path().join("link")).expect("link");
    lacks!("runc" < "never": "a rootfs that is a link");
    bundle.set("/root/path", "link").args(["echo", "yes"]).run().ok().prints("yes");
}

#[test]
fn nothing_of_the_host_is_left_in_the_mount_table() {
    privileged!();
    let container = Bundle::new("table").sleeping().started();
    let table = container.exec(["cat", "/proc/1/mountinfo"]).ok().stdout();
    // Every mount is the root or below it, and the root is the rootfs.
    let root = table.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
    assert_eq!(root, 1, "{table}");
    assert!(!table.contains(" /run/") && !table.contains("/oldroot"), "{table}");
    assert!(!Path::new(&format!("/proc/{}/root/etc/shadow", container.pid())).is_file());
}

#[test]
fn mounts_of_the_container_do_not_reach_the_host() {
    privileged!();
    let before = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").lines().count();
    let tree = MountedTree::new();
    let container = Bundle::new("propagate").mount("/v", "bind", tree.path(), &["rbind"]).sleeping().started();
    drop(container);
    drop(tree);
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!table.contains("pent-test-propagate"), "{before} mounts before, now {table}");
}

// Propagation.

/// The optional fields (`shared:1 master:2`) of a mount as the container sees it, run from a host view whose mounts are
/// all shared.
fn propagation_seen(bundle: Bundle, point: &str) -> String {
    let script = format!("grep -E '^[^ ]+ [^ ]+ [^ ]+ [^ ]+ {point} ' /proc/self/mountinfo | tail -n1");
    let container = Container::new(bundle.shell(&script));
    let run = container.run_command(&[]);
    let mut shared = Command::new("unshare");
    shared.args(["--mount", "--propagation", "shared"]).arg(run.get_program()).args(run.get_args());
    let line = shared.finish().ok().trimmed();
    line.split(' ').skip(6).take_while(|field| *field != "-").collect::<Vec<_>>().join(" ")
}

/// crun is called in a private view of its own on hosts with the hybrid cgroup layout.
fn cannot_share() -> bool {
    Kind::of_runtime() == Kind::Crun && !crate::support::cgroup2_only()
}

#[test]
fn root_propagation_is_what_is_asked() {
    privileged!();
    if cannot_share() {
        return crate::support::skip("crun 1.8.1 lacks shared host mounts in its private view of cgroup v1");
    }
    let seen =
        |propagation: &str| propagation_seen(Bundle::new("rootprop").set("/linux/rootfsPropagation", propagation), "/");
    for private in ["private", "rprivate"] {
        assert_eq!(seen(private), "", "{private}");
    }
    for slave in ["slave", "rslave"] {
        let seen = seen(slave);
        assert!(seen.starts_with("master:") && !seen.contains("shared:"), "{slave}: {seen}");
    }
    lacks!("runc" < "1.2": "a shared root");
    for shared in ["shared", "rshared"] {
        assert!(seen(shared).contains("shared:"), "{shared}");
    }
}

#[test]
fn propagation_of_one_mount_is_what_is_asked() {
    privileged!();
    if cannot_share() {
        return crate::support::skip("crun 1.8.1 lacks shared host mounts in its private view of cgroup v1");
    }
    let seen = |option: &str| {
        let bundle = Bundle::new("mountprop");
        let volume = bundle.dir("volume");
        let bundle = bundle.set("/linux/rootfsPropagation", "rslave").mount("/v", "bind", volume, &["rbind", option]);
        propagation_seen(bundle, "/v")
    };
    for private in ["private", "rprivate"] {
        assert_eq!(seen(private), "", "{private}");
    }
    assert_eq!(seen("unbindable"), "unbindable");
    assert!(seen("rslave").starts_with("master:"));
    assert!(seen("rshared").contains("shared:"));
}

// Masked and read-only paths.

#[test]
fn masked_files_read_as_nothing_and_masked_directories_as_empty() {
    privileged!();
    let bundle =
        Bundle::new("masked").set("/linux/maskedPaths", json!(["/secret", "/secrets", "/no/such", "/proc/kcore"]));
    fs::write(bundle.rootfs().join("secret"), "hidden\n").expect("file");
    fs::create_dir(bundle.rootfs().join("secrets")).expect("directory");
    fs::write(bundle.rootfs().join("secrets/a"), "hidden\n").expect("file");
    let script = "cat /secret; ls /secrets; stat -c '%F %t:%T' /secret; cat /proc/kcore; touch /secrets/x 2>/dev/null || echo no";
    bundle.writable().shell(script).run().ok().prints("character special file 1:3\nno");
}

#[test]
fn read_only_paths_cannot_be_written() {
    privileged!();
    let bundle =
        Bundle::new("ropaths").writable().set("/linux/readonlyPaths", json!(["/etc", "/proc/sys", "/no/such"]));
    let script = "touch /etc/x 2>/dev/null || echo etc; touch /var/x && echo var; \
                  echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo sys";
    bundle.shell(script).run().ok().prints("etc\nvar\nsys");
}

#[test]
fn what_is_below_a_read_only_path_is_read_only_too() {
    privileged!();
    let tree = MountedTree::new();
    let bundle = Bundle::new("robelow").mount("/v", "bind", tree.path(), &["rbind"]);
    let bundle = bundle.set("/linux/readonlyPaths", json!(["/v"])).shell("touch /v/x 2>/dev/null || echo top");
    bundle.run().ok().prints("top");
}

#[test]
fn exec_sees_the_same_masks() {
    privileged!();
    let container = Bundle::new("maskexec").set("/linux/maskedPaths", json!(["/etc/passwd"])).sleeping().started();
    container.sh("cat /etc/passwd; echo 1 >/proc/sys/kernel/msgmax").exits(1).prints("").says("read-only");
}
