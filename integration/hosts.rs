//! Hosts that are old, odd or hostile to assumptions: kernels without a system call, unusual file systems, names and sizes, a
//! runtime whose own file is gone, a container in a container.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, probe, program, read};

// Kernels without a system call: they answer ENOSYS.

/// `run` where these system calls do not exist.
fn run_without(numbers: &[i64], bundle: Bundle) -> (Container, Outcome) {
    let container = Container::new(bundle.args(["echo", "ran"]));
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let run = container.run_command(&[]);
    let mut command = Command::new(probe("without"));
    command.arg(numbers.join(",")).arg(run.get_program()).args(run.get_args());
    let outcome = command.finish();
    (container, outcome)
}

/// The kernel's features that pent cannot do without, by the versions that brought them: each is named when it is missing.
#[test]
fn a_kernel_that_is_too_old_is_said_to_be_and_nothing_is_left() {
    privileged!();
    lacks!("runc" < "never": "the same needs", "crun" < "never": "the same needs");
    for (number, name, since) in [
        (libc::SYS_clone3, "clone3", "5.3"),
        (libc::SYS_open_tree, "open_tree", "5.2"),
        (libc::SYS_move_mount, "move_mount", "5.2"),
        (libc::SYS_fsopen, "fsopen", "5.2"),
        (libc::SYS_fsconfig, "fsconfig", "5.2"),
        (libc::SYS_fsmount, "fsmount", "5.2"),
        (libc::SYS_openat2, "openat2", "5.6"),
        (libc::SYS_faccessat2, "faccessat2", "5.8"),
        (libc::SYS_close_range, "close_range", "5.11"),
        (libc::SYS_mount_setattr, "mount_setattr", "5.12"),
    ] {
        let (container, outcome) = run_without(&[number], Bundle::new("oldkernel"));
        outcome.refused().says(name).says(since);
        container.leaves_nothing();
    }
}

#[test]
fn what_newer_kernels_have_is_not_needed() {
    privileged!();
    let optional = [
        457, // statmount, 6.8
        458, // listmount, 6.8
        libc::SYS_landlock_create_ruleset,
        libc::SYS_keyctl,
        libc::SYS_bpf,
        libc::SYS_memfd_create,
    ];
    for number in optional {
        if support::cgroup2_only() && number == libc::SYS_bpf {
            continue; // Device rules are a program there.
        }
        let (container, outcome) = run_without(&[number], Bundle::new("plainkernel"));
        outcome.ok().prints("ran");
        container.leaves_nothing();
    }
}

// The runtime's own file.

/// Skips a test that has the runtime on a writable mount, where the kernel cannot keep containers from it.
macro_rules! shieldable {
    () => {
        if !Path::new("/proc/sys/kernel/ns_last_pid").exists() {
            return support::skip("the kernel lacks CONFIG_CHECKPOINT_RESTORE");
        }
    };
}

/// As in the middle of an upgrade: the process runs, and its file is another one or none.
#[test]
fn a_runtime_whose_file_is_gone_still_makes_containers() {
    privileged!();
    lacks!("crun" < "never": "being called without a program around it, on this layout of cgroups");
    shieldable!();
    let container = Container::new(Bundle::new("gonefile").args(["echo", "ran"]));
    let copy = container.bundle.path().join("runtime-to-go");
    support::copy_program(program(), &copy);
    let script = "exec 3<\"$1\"; rm \"$1\"; shift; exec /proc/self/fd/3 \"$@\"";
    let run = container.run_command(&[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(&copy).args(run.get_args());
    command.finish().ok().prints("ran");
    assert!(!copy.exists());
    container.leaves_nothing();
}

// File systems.

/// Something mounted for a test, gone with this value.
struct Mounted(PathBuf);

impl Mounted {
    fn on(target: PathBuf, source: &str, kind: &str, flags: MsFlags, options: &str) -> Self {
        fs::create_dir_all(&target).expect("a mount point");
        let source = Path::new(source);
        mount(Some(source), &target, Some(kind), flags, Some(options)).unwrap_or_else(|e| panic!("mount {kind}: {e}"));
        Self(target)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// Moves the rootfs away and mounts over it; the lower directory.
fn lower_of(bundle: &Bundle) -> PathBuf {
    let lower = bundle.path().join("lower");
    fs::rename(bundle.rootfs(), &lower).expect("move the rootfs");
    lower
}

#[test]
fn a_rootfs_on_overlayfs() {
    privileged!();
    let bundle = Bundle::new("overlay").writable().shell("echo new > /file; cat /file; test -d /proc/1 && echo proc");
    let lower = lower_of(&bundle);
    let (upper, work) = (bundle.dir("upper"), bundle.dir("work"));
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mounted = Mounted::on(bundle.rootfs(), "overlay", "overlay", MsFlags::empty(), &options);
    let container = Container::new(bundle);
    container.run().ok().prints("new\nproc");
    drop(mounted);
    assert!(upper.join("file").exists() && !lower.join("file").exists());
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn a_rootfs_on_tmpfs() {
    privileged!();
    let bundle = Bundle::new("tmpfsroot").shell("echo ran");
    let lower = lower_of(&bundle);
    let mounted = Mounted::on(bundle.rootfs(), "tmpfs", "tmpfs", MsFlags::empty(), "size=16m");
    let mut copy = Command::new("cp");
    copy.args(["-a", &format!("{}/.", lower.display())]).arg(bundle.rootfs()).finish().ok();
    let container = Container::new(bundle);
    container.run().ok().prints("ran");
    drop(mounted);
    container.delete_force().ok();
    container.leaves_nothing();
}

/// An image on a file system of its own, from what `make` writes into the file that it is given.
fn rootfs_on(kind: &str, make: impl Fn(&Path, &Path) -> Command) {
    privileged!();
    // By a loop device, whose module is loaded when it is asked for.
    let known = Command::new("modprobe").arg(kind).status().is_ok_and(|status| status.success())
        || read("/proc/filesystems").lines().any(|line| line.trim() == kind);
    if !known || !Path::new("/dev/loop-control").exists() {
        return support::skip(&format!("the host has no {kind} on loop devices"));
    }
    let bundle = Bundle::new(kind).shell("echo ran; touch /x 2>&1 || true");
    let lower = lower_of(&bundle);
    let image = bundle.path().join("image");
    make(&lower, &image).finish().ok();
    let target = bundle.dir("rootfs");
    let mounted = Mounted(target.clone());
    Command::new("mount").args(["-o", "loop"]).args([&image, &target]).finish().ok();
    let container = Container::new(bundle);
    container.run().ok().prints("ran\ntouch: /x: Read-only file system");
    drop(mounted);
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn a_rootfs_on_btrfs() {
    rootfs_on("btrfs", |from, image| {
        let file = fs::File::create(image).and_then(|file| file.set_len(128 << 20));
        file.expect("an empty image");
        let mut command = Command::new("mkfs.btrfs");
        command.args(["--quiet", "--rootdir"]).args([from, image]);
        command
    });
}

/// One that nobody can write to, whatever the mount's flags say.
#[test]
fn a_rootfs_on_squashfs() {
    rootfs_on("squashfs", |from, image| {
        let mut command = Command::new("mksquashfs");
        command.args([from, image]).arg("-quiet");
        command
    });
}

#[test]
fn a_read_only_image_gets_no_mount_point_that_it_lacks_and_says_so() {
    privileged!();
    lacks!("crun" < "never": "an error: it mounts elsewhere");
    let bundle = Bundle::new("rofs").mount("/not/there", "tmpfs", "tmpfs", &[]).shell("echo ran");
    let lower = lower_of(&bundle);
    let bind = Mounted::on(bundle.rootfs(), &lower.to_string_lossy(), "none", MsFlags::MS_BIND, "");
    let readonly = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &bind.0, None::<&str>, readonly, None::<&str>).expect("read-only");
    let container = Container::new(bundle);
    container.run().refused().says("read-only file system").explains("/not/there");
    drop(bind);
    assert!(!lower.join("not").exists());
    container.delete_force().ok();
    container.leaves_nothing();
}

#[test]
fn a_read_only_image_with_all_its_mount_points_runs() {
    privileged!();
    let bundle = Bundle::new("roimage").shell("echo ran; touch /x 2>&1 || true");
    let lower = lower_of(&bundle);
    let bind = Mounted::on(bundle.rootfs(), &lower.to_string_lossy(), "none", MsFlags::MS_BIND, "");
    let readonly = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &bind.0, None::<&str>, readonly, None::<&str>).expect("read-only");
    let container = Container::new(bundle);
    container.run().ok().prints("ran\ntouch: /x: Read-only file system");
    drop(bind);
    container.delete_force().ok();
    container.leaves_nothing();
}

// Names and sizes.

#[test]
fn a_thousand_mounts() {
    privileged!();
    lacks!("crun" < "never": "room for a thousand mounts");
    let source = tempfile::tempdir().expect("a directory");
    let bundle = (0..1000).fold(Bundle::new("thousand"), |bundle, n| {
        bundle.mount(&format!("/m/{n}"), "bind", source.path(), &["bind", "ro"])
    });
    bundle.shell("grep -c ' /m/' /proc/self/mountinfo").run().ok().prints("1000");
}

#[test]
fn a_configuration_of_ten_megabytes() {
    privileged!();
    let bundle = (0..100).fold(Bundle::new("tenmegabytes"), |bundle, n| {
        bundle.set(&format!("/annotations/key{n}"), "x".repeat(100_000))
    });
    let container = Container::new(bundle.args(["echo", "ran"]));
    assert!(fs::metadata(container.bundle.path().join("config.json")).expect("the configuration").len() > 10_000_000);
    container.run().ok().prints("ran");
    container.leaves_nothing();
}

#[test]
fn the_longest_paths() {
    privileged!();
    // PATH_MAX is 4096 with the NUL.
    let parts = |total: usize| {
        let mut path = String::new();
        while path.len() + 201 <= total {
            path.push('/');
            path.push_str(&"d".repeat(200));
        }
        let rest = total - path.len();
        if rest > 1 {
            path.push('/');
            path.push_str(&"e".repeat(rest - 1));
        }
        path
    };
    let path = parts(4095);
    assert_eq!(path.len(), 4095);
    let bundle = Bundle::new("longpath").mount(&path, "tmpfs", "tmpfs", &[]).args(["echo", "ran"]);
    let container = Container::new(bundle);
    let outcome = container.run();
    // Whether the kernel takes it depends on where the rootfs is; it never ends in a crash, or in another place.
    assert!([0, 1].contains(&outcome.code()), "{outcome:?}");
    container.delete_force().ok();
    container.leaves_nothing();
    let container = Container::new(Bundle::new("toolong").mount(&parts(5000), "tmpfs", "tmpfs", &[]));
    container.run().refused().says("name too long");
    container.delete_force().ok();
    container.leaves_nothing();
}

/// JSON is UTF-8, and so is what it can ask for; what comes by the command line need not be.
#[test]
fn names_that_are_not_utf8_are_refused_with_a_message() {
    privileged!();
    lacks!("runc" < "never": "a check of its arguments", "crun" < "never": "a check of its arguments");
    let container = Bundle::new("latin1").sleeping().started();
    let mut exec = container.exec_command(&[], &["echo"]);
    exec.arg(OsStr::from_bytes(b"caf\xe9")).finish().exits(255).says("not UTF-8");
    let mut exec = container.exec_command(&[], &[]);
    exec.arg("--env").arg(OsStr::from_bytes(b"A=\xe9"));
    let outcome = exec.finish();
    assert_ne!(outcome.code(), 0, "{outcome:?}");
}

#[test]
fn an_environment_that_is_not_utf8_does_no_harm() {
    privileged!();
    let container = Container::new(Bundle::new("latin1env").args(["echo", "ran"]));
    let mut run = container.run_command(&[]);
    run.env("ODD", OsStr::from_bytes(b"caf\xe9")).finish().ok().prints("ran");
}

// Restrictions of the host.

#[test]
fn a_temporary_directory_without_exec() {
    privileged!();
    let container = Container::new(Bundle::new("noexectmp").args(["echo", "ran"]));
    let noexec = Mounted::on(container.bundle.path().join("tmp"), "tmpfs", "tmpfs", MsFlags::MS_NOEXEC, "size=1m");
    container.run_command(&[]).env("TMPDIR", &noexec.0).finish().ok().prints("ran");
    drop(noexec);
    container.leaves_nothing();
}

/// In a mount namespace of its own: `script` sees RUNTIME's words as its arguments.
fn in_private_mounts(script: &str, command: &Command) -> Outcome {
    let mut private = Command::new("unshare");
    private.args(["--mount", "sh", "-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    private.finish()
}

#[test]
fn a_proc_that_hides_other_processes() {
    privileged!();
    let container = Container::new(Bundle::new("hidepid").args(["echo", "ran"]));
    in_private_mounts("mount -t proc -o hidepid=2 proc /proc && exec \"$@\"", &container.run_command(&[]))
        .ok()
        .prints("ran");
    container.leaves_nothing();
}

#[test]
fn control_groups_that_are_read_only_are_an_error_that_says_so() {
    privileged!();
    lacks!("crun" < "never": "a mount namespace with all hierarchies");
    let script = "awk '$5 ~ \"^/sys/fs/cgroup\" {print $5}' /proc/self/mountinfo | \
                  while read at; do mount -o remount,bind,ro \"$at\"; done; exec \"$@\"";
    let container = Container::new(Bundle::new("rocgroup").args(["echo", "ran"]));
    in_private_mounts(script, &container.run_command(&[])).refused().says("read-only file system");
    container.leaves_nothing();
}

/// The outer container has all capabilities and the host's libraries; the inner one is an ordinary bundle.
#[test]
fn a_container_in_a_container() {
    privileged!();
    lacks!("crun" < "never": "this host's layout of cgroups inside", "runc" < "never": "the same");
    shieldable!();
    let inner = Container::new(Bundle::new("inner").args(["echo", "ran inside"]));
    let all: Vec<String> = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .map(|last| (0..=last.trim().parse().expect("a number")).map(capability).collect())
        .expect("cap_last_cap");
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let directory = inner.bundle.path().to_string_lossy().into_owned();
    let run = inner.run_command(&[]);
    let words: Vec<_> = run.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut args = vec!["/outer-runtime".to_owned()];
    args.extend(words);
    let mut bundle = Bundle::new("outer").capabilities(&all).writable().without_namespace("cgroup");
    support::copy_program(program(), bundle.rootfs().join("outer-runtime"));
    fs::set_permissions(bundle.rootfs().join("outer-runtime"), fs::Permissions::from_mode(0o755)).expect("mode");
    for library in ["/usr", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).is_dir()) {
        bundle = bundle.mount(library, "bind", library, &["rbind", "ro"]);
    }
    bundle = bundle.mount(&directory, "bind", &directory, &["rbind", "rw"]);
    bundle = bundle.without_mount("/sys/fs/cgroup").mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", &["rbind", "rw"]);
    bundle = bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths").set("/process/args", json!(args));
    let outer = Container::new(bundle.set("/process/noNewPrivileges", false));
    outer.run().ok().prints("ran inside");
    outer.leaves_nothing();
    inner.leaves_nothing();
}

/// The name of a capability by its number, as the kernel's own list has them.
fn capability(number: u32) -> String {
    let all = caps::all();
    let found = all.into_iter().find(|cap| u32::from(cap.index()) == number);
    found.map_or_else(|| format!("CAP_{number}"), |cap| cap.to_string())
}
