//! The three configurations that every runtime is given: plain, sec (Docker's seccomp profile) and k8s (a Kubernetes-like pod).

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;

/// The cgroup below which every container of the benchmark gets its own, removed at the end.
pub(crate) const CGROUP: &str = "pent-test-bench";

/// Docker's default profile, written by its engine for a container with no extra capability.
const DOCKER_SECCOMP: &str = include_str!("../../tests/fixtures/docker-default-seccomp.json");

/// What a container is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What `runc spec` writes, without the terminal.
    Plain,
    /// Plain, with Docker's default seccomp profile.
    Sec,
    /// What a kubelet asks for: volumes, limits, containerd's masks, seccomp.
    K8s,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Sec, Self::K8s];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sec => "sec",
            Self::K8s => "k8s",
        }
    }
}

/// Which limits the machine's cgroups can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) cpu: bool,
    pub(crate) memory: bool,
    pub(crate) pids: bool,
}

/// The configuration of a container whose root file system and volumes are in `dir`.
pub(crate) fn config(kind: Kind, dir: &Path, id: &str, args: &[&str], limits: Limits) -> Result<Value> {
    let few = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut config = json!({
        "ociVersion": "1.0.2",
        "hostname": "bench",
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin", "TERM=xterm"],
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": few, "effective": few, "permitted": few },
            "noNewPrivileges": true,
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024 }],
        },
        "root": { "path": dir.join("rootfs"), "readonly": true },
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{CGROUP}/{id}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    if kind != Kind::Plain {
        config["linux"]["seccomp"] = serde_json::from_str(DOCKER_SECCOMP)?;
    }
    if kind == Kind::K8s {
        as_pod(&mut config, dir, limits)?;
    }
    Ok(config)
}

fn as_pod(config: &mut Value, dir: &Path, limits: Limits) -> Result<()> {
    let process = &mut config["process"];
    let many = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE",
    ];
    process["capabilities"] = json!({ "bounding": many, "effective": many, "permitted": many });
    process["oomScoreAdj"] = json!(985);
    process["user"]["additionalGids"] = json!([0, 10]);
    let env = process["env"].as_array_mut().context("env is an array")?;
    for name in ["SERVICE_HOST=10.96.0.1", "SERVICE_PORT=443", "SERVICE_PORT_HTTPS=443", "PORT=tcp://10.96.0.1:443"] {
        env.push(json!(format!("KUBERNETES_{name}")));
    }
    let mounts = config["mounts"].as_array_mut().context("mounts is an array")?;
    for (target, source) in VOLUMES {
        let mode = if target.starts_with("run/") || target.starts_with("etc/config") { "ro" } else { "rw" };
        let source = dir.join(source);
        mounts.push(json!({ "destination": format!("/{target}"), "type": "bind", "source": source,
            "options": ["rbind", "rprivate", mode] }));
    }
    let linux = &mut config["linux"];
    linux["maskedPaths"] = json!([
        "/proc/asound",
        "/proc/acpi",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]);
    let resources = &mut linux["resources"];
    resources["devices"] = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm" },
    ]);
    if limits.cpu {
        resources["cpu"] = json!({ "shares": 512, "quota": 50000, "period": 100_000 });
    }
    if limits.memory {
        resources["memory"] = json!({ "limit": 256 << 20 });
    }
    if limits.pids {
        resources["pids"] = json!({ "limit": 100 });
    }
    Ok(())
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Below the root file system, and beside it; a source with an extension is a file.
pub(crate) const VOLUMES: [(&str, &str); 13] = [
    ("etc/hosts", "volumes-hosts.txt"),
    ("etc/hostname", "volumes-hostname.txt"),
    ("etc/resolv.conf", "volumes-resolv.txt"),
    ("var/termination-log", "volumes-termination.txt"),
    ("run/secrets/kubernetes.io/serviceaccount", "volumes-token"),
    ("etc/config/app", "volumes-config-app"),
    ("etc/config/log", "volumes-config-log"),
    ("etc/config/tls", "volumes-config-tls"),
    ("run/secrets/database", "volumes-database"),
    ("var/cache", "volumes-cache"),
    ("var/data", "volumes-data"),
    ("var/log", "volumes-log"),
    ("tmp", "volumes-tmp"),
];
