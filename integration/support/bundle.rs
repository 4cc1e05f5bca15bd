//! A bundle: a busybox root file system and a configuration equal to what `runc spec` writes, to be edited.
#![forbid(unsafe_code)]

use super::{Container, Outcome};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use tempfile::TempDir;

/// How the `cgroupsPath` begins of a container whose cgroup systemd makes, `system.slice/pt-ID.scope`.
pub(super) const SCOPE: &str = ":pt:";

/// A bundle directory of its own, removed when dropped.
pub(crate) struct Bundle {
    dir: TempDir,
    /// The container's id and the name of its cgroup.
    pub(crate) id: String,
    /// What [`Bundle::write`] writes to config.json.
    pub(crate) config: Value,
}

impl Bundle {
    /// A bundle for the test `name` that runs `true` in a read-only busybox root, without a terminal.
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("pent-test-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // /tmp, not the target directory: a container in a user namespace must be able to walk to it.
        let dir = tempfile::Builder::new().prefix(&id).tempdir().expect("a directory for the bundle");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("bundle readable by mapped ids");
        make_rootfs(&dir.path().join("rootfs"));
        let config = default_config(&id);
        Self { dir, id, config }
    }

    /// The bundle directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The root file system, writable for the test whatever `root.readonly` says.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A directory beside the rootfs, made when missing, readable by all: a volume to mount, a place for hooks to write.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.path().join(name);
        fs::create_dir_all(&dir).expect("directory in the bundle");
        dir
    }

    /// Writes a file beside the rootfs and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.path().join(name);
        fs::write(&file, content).expect("file in the bundle");
        file
    }

    /// Writes an executable shell script beside the rootfs, for hooks.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        let file = self.file(name, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("script executable");
        file
    }

    /// Sets the value at a JSON pointer, making missing objects on the way; `-` or an index past the end appends.
    #[must_use]
    pub(crate) fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *slot(&mut self.config, pointer) = value.into();
        self
    }

    /// Appends to the array at a JSON pointer, making it when missing.
    #[must_use]
    pub(crate) fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let array = slot(&mut self.config, pointer);
        if array.is_null() {
            *array = json!([]);
        }
        array.as_array_mut().expect("an array to append to").push(value.into());
        self
    }

    /// Removes the member at a JSON pointer.
    #[must_use]
    pub(crate) fn remove(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = slot(&mut self.config, parent);
        if let Some(object) = parent.as_object_mut() {
            object.remove(key).expect("the member to remove");
        } else {
            parent.as_array_mut().expect("object or array").remove(key.parse().expect("an index"));
        }
        self
    }

    /// What the container runs.
    #[must_use]
    pub(crate) fn args<const N: usize>(self, args: [&str; N]) -> Self {
        self.set("/process/args", json!(args.as_slice()))
    }

    /// What the container runs, as a script of its busybox shell.
    #[must_use]
    pub(crate) fn shell(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    /// A first process that stays until it is killed, and dies of TERM.
    #[must_use]
    pub(crate) fn sleeping(self) -> Self {
        self.shell("trap 'exit 0' TERM; sleep 1000 & wait")
    }

    /// Makes the root file system writable in the container.
    #[must_use]
    pub(crate) fn writable(self) -> Self {
        self.set("/root/readonly", false)
    }

    /// The same list in all five capability sets.
    #[must_use]
    pub(crate) fn capabilities(mut self, names: &[&str]) -> Self {
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            self = self.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        self
    }

    /// What `runc spec --rootless` writes: a user namespace with these mappings, no cgroup, no group that may not be mapped.
    #[must_use]
    pub(crate) fn rootless(self, uids: &Value, gids: &Value) -> Self {
        let mut bundle = self
            .namespace("user", None)
            .set("/linux/uidMappings", uids.clone())
            .set("/linux/gidMappings", gids.clone())
            .remove("/linux/resources")
            .remove("/linux/cgroupsPath")
            .without_mount("/sys/fs/cgroup");
        for mount in bundle.config["mounts"].as_array_mut().expect("mounts") {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        bundle
    }

    /// Its cgroup is made by the runtime itself, whoever makes those of the others.
    #[must_use]
    pub(crate) fn by_files(self) -> Self {
        let path = format!("/{}", self.id);
        self.set("/linux/cgroupsPath", path)
    }

    /// One more namespace of a new kind; replaces an entry of the same type.
    #[must_use]
    pub(crate) fn namespace(mut self, kind: &str, path: Option<&Path>) -> Self {
        self = self.without_namespace(kind);
        let mut entry = json!({ "type": kind });
        if let Some(path) = path {
            entry["path"] = json!(path);
        }
        self.push("/linux/namespaces", entry)
    }

    /// No namespace of this type: the container keeps the caller's.
    #[must_use]
    pub(crate) fn without_namespace(mut self, kind: &str) -> Self {
        let list = slot(&mut self.config, "/linux/namespaces").as_array_mut().expect("namespaces");
        list.retain(|entry| entry["type"] != kind);
        self
    }

    /// One more mount.
    #[must_use]
    pub(crate) fn mount(self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Self {
        let entry = json!({ "destination": destination, "type": kind, "source": source.as_ref(), "options": options });
        self.push("/mounts", entry)
    }

    /// No mount at this destination.
    #[must_use]
    pub(crate) fn without_mount(mut self, destination: &str) -> Self {
        let list = slot(&mut self.config, "/mounts").as_array_mut().expect("mounts");
        list.retain(|entry| entry["destination"] != destination);
        self
    }

    /// Puts the program built from `integration/probe/NAME.c` at `/bin/NAME` in the root file system.
    #[must_use]
    pub(crate) fn with_probe(self, name: &str) -> Self {
        link_or_copy(&probe(name), &self.rootfs().join("bin").join(name));
        self
    }

    /// Hands the bundle, rootfs included, to another owner: for rootless runtimes.
    pub(crate) fn chown(&self, uid: u32) {
        self.write();
        // A hard-linked busybox belongs to every test: give this bundle its own copy first.
        let busybox = self.rootfs().join("bin/busybox");
        fs::remove_file(&busybox).expect("replace busybox");
        copy_program(super::busybox(), &busybox);
        let status = Command::new("chown").args(["-hR", &format!("{uid}:{uid}")]).arg(self.path()).status();
        assert!(status.expect("chown").success(), "chown of the bundle");
    }

    /// Writes config.json.
    pub(crate) fn write(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("a configuration");
        fs::write(self.path().join("config.json"), text).expect("config.json");
    }

    /// Runs the container in the foreground to its end, and checks that nothing is left behind.
    pub(crate) fn run(self) -> Outcome {
        Container::new(self).run()
    }

    /// Creates and starts the container.
    #[track_caller]
    pub(crate) fn started(self) -> Container {
        let container = Container::new(self);
        container.create().ok();
        container.start().ok();
        container
    }

    /// Creates the container.
    #[track_caller]
    pub(crate) fn created(self) -> Container {
        let container = Container::new(self);
        container.create().ok();
        container
    }
}

/// The member a JSON pointer names, made (as null, on the way as objects) when missing.
fn slot<'a>(config: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(config, |value, key| {
        if value.is_array() {
            let array = value.as_array_mut().expect("an array");
            let index = key.parse().unwrap_or(array.len()).min(array.len());
            if index == array.len() {
                array.push(Value::Null);
            }
            return &mut array[index];
        }
        if value.is_null() {
            *value = json!({});
        }
        let object = value.as_object_mut().expect("an object on the way");
        object.entry(key.replace("~1", "/").replace("~0", "~")).or_insert(Value::Null)
    })
}

/// Where programs built or copied for the tests stay between runs.
fn store() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&dir).expect("Cargo's directory for test files");
    dir
}

/// A copy of the host's static busybox (Debian package `busybox-static`), on the file system of the build.
pub(crate) fn busybox() -> &'static Path {
    static BUSYBOX: OnceLock<PathBuf> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        let source = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.is_file())
            .expect("busybox-static is installed");
        // A copy, so that a test that spoils its binary spoils no program of the host.
        let target = store().join(format!("busybox-{}", fs::metadata(source).expect("busybox").len()));
        if !target.is_file() {
            let new = tempfile::NamedTempFile::new_in(store()).expect("a place for busybox").into_temp_path();
            copy_program(source, &new);
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("busybox executable");
            new.persist(&target).expect("keep busybox");
        }
        target
    })
}

/// The applets that get a link of their own; the others are there as `busybox NAME`. Links are most of the cost of a
/// bundle: all four hundred would triple the time of the tests.
const APPLETS: &str = "[ ash awk basename cat chgrp chmod chown chroot cmp cp cut date dd df dirname dmesg du echo env expr \
    false find free getopt grep head hexdump hostname id ifconfig ionice ip ipcs kill killall less link ln losetup ls md5sum \
    mkdir mkfifo mknod mktemp mount mountpoint mv nc nice nohup nproc nsenter od passwd paste pgrep pidof ping pivot_root \
    pkill printenv printf ps pwd readlink realpath renice reset rev rm rmdir route sed seq setpriv setsid sh sha256sum sleep \
    sort stat strings stty su sync sysctl tail tar taskset tee test time timeout top touch tr true truncate tty umount uname \
    uniq unlink unshare uptime usleep watch wc wget which who whoami xargs yes";

/// The static program built from `integration/probe/NAME.c` with gcc, built again when its source is newer.
pub(crate) fn probe(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/probe").join(format!("{name}.c"));
    let target = store().join(format!("probe-{name}"));
    let time = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if time(&target).is_none() || time(&target) < time(&source) {
        let new = store().join(format!("probe-{name}-{}", std::process::id()));
        let built = Command::new("gcc").args(["-static", "-O1", "-Wall", "-o"]).arg(&new).arg(&source).output();
        let built = built.expect("gcc (Debian package build-essential) is installed");
        assert!(built.status.success(), "{name}.c: {}", String::from_utf8_lossy(&built.stderr));
        fs::rename(&new, &target).expect("keep the probe");
    }
    target
}

/// Copies what is to be executed, by a process of its own: what other threads start meanwhile would inherit the descriptor that is
/// written to, and a program that is open for writing cannot be executed.
pub(crate) fn copy_program(source: impl AsRef<Path>, target: impl AsRef<Path>) {
    let (source, target) = (source.as_ref(), target.as_ref());
    let status = Command::new("cp").arg("--preserve=mode").arg("--").arg(source).arg(target).status();
    assert!(status.expect("cp").success(), "cp {} {}", source.display(), target.display());
}

/// A hard link where the file systems agree, else a copy.
fn link_or_copy(source: &Path, target: &Path) {
    if fs::hard_link(source, target).is_err() {
        copy_program(source, target);
    }
}

/// A root file system of busybox and the few files programs look for.
fn make_rootfs(root: &Path) {
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
        fs::create_dir_all(root.join(dir)).expect("directory of the rootfs");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode of /tmp");
    symlink("bin", root.join("sbin")).expect("/sbin");
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
        .expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\ntty:x:5:\nuser:x:1000:\n").expect("group");
    link_or_copy(busybox(), &root.join("bin/busybox"));
    for name in APPLETS.split_whitespace() {
        symlink("busybox", root.join("bin").join(name)).expect("applet");
    }
}

/// What `runc spec` writes, but without a terminal, running `true`, in a cgroup named for the container.
fn default_config(id: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "pent-test",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "cgroupsPath": if super::by_systemd() { format!("{SCOPE}{id}") } else { format!("/{id}") },
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
