//! Bad configurations and what is said about them, all findings of one configuration at once, as snapshots.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use pent::report::Severity;
use pent::spec::{Context, default_json, parse, validate};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a user is told about these bytes: every finding, with its hint.
fn told(bytes: &[u8], context: Context) -> String {
    let found = match parse(bytes) {
        Ok(loaded) => {
            let mut found = loaded.warnings;
            found.extend(validate(&loaded.spec, &context));
            found
        }
        Err(found) => found,
    };
    let mut text = String::new();
    for diagnostic in &found {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(text, "{severity}: {diagnostic}").expect("write to a string");
        if let Some(hint) = &diagnostic.hint {
            writeln!(text, "  hint: {hint}").expect("write to a string");
        }
    }
    if text.is_empty() { "nothing\n".into() } else { text }
}

const ROOT: Context = Context { needs_process: true, rootless: false };

/// The default configuration with values replaced, added, or (null) removed, at paths of JSON pointers.
fn changed(changes: Value) -> String {
    let mut config: Value = serde_json::from_str(&default_json(None, true)).expect("JSON");
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        match config.pointer_mut(parent).expect("the parent exists") {
            Value::Object(members) if value.is_null() => drop(members.remove(name)),
            Value::Object(members) => drop(members.insert(name.to_owned(), value)),
            Value::Array(list) => list[name.parse::<usize>().expect("an index")] = value,
            _ => panic!("no parent at {pointer}"),
        }
    }
    told(config.to_string().as_bytes(), ROOT)
}

/// One snapshot of many small cases, each with its name.
macro_rules! cases {
    ($name:ident, $($case:expr => $told:expr),* $(,)?) => {
        #[test]
        fn $name() {
            let mut text = String::new();
            $( writeln!(text, "# {}\n{}", $case, $told).expect("write to a string"); )*
            insta::assert_snapshot!(text);
        }
    };
}

cases! { not_json,
    "empty" => told(b" \n", ROOT),
    "trailing comma" => told(b"{\n  \"ociVersion\": \"1.0.0\",\n}", ROOT),
    "cut off" => told(b"{\"ociVersion\": \"1.0", ROOT),
    "comment" => told(b"{ // mine\n}", ROOT),
    "single quotes" => told(b"{'ociVersion': '1.0.0'}", ROOT),
    "trailing text" => told(b"{} x", ROOT),
    "byte order mark" => told(b"\xef\xbb\xbf{}", ROOT),
    "not UTF-8" => told(b"{\"ociVersion\": \"\xff\"}", ROOT),
    "another document" => told(b"[1]", ROOT),
    "control character" => told(b"{\"a\": \"\x01\"}", ROOT),
    "deep" => told("[".repeat(1000).as_bytes(), ROOT),
}

cases! { wrong_types,
    "string for array" => changed(json!({"/process/args": "sh"})),
    "string for boolean" => changed(json!({"/root/readonly": "true"})),
    "string for number" => changed(json!({"/process/user/uid": "0x0"})),
    "number in quotes" => changed(json!({"/process/user/uid": "1000"})),
    "number for string" => changed(json!({"/process/env/0": 7})),
    "uid beyond 32 bits" => changed(json!({"/process/user/uid": 4_294_967_296_u64})),
    "negative uid" => changed(json!({"/process/user/uid": -1})),
    "fraction" => changed(json!({"/process/oomScoreAdj": 1.5})),
    "limit beyond 64 bits" => changed(json!({"/linux/resources/memory": {"limit": 18_446_744_073_709_551_615_u64}})),
    "array for object" => changed(json!({"/process": []})),
    "capabilities as an array" => changed(json!({"/process/capabilities": ["CAP_CHOWN"]})),
    "annotation that is no string" => changed(json!({"/annotations": {"a.b": 1, "c": {"d": 2}}})),
    "null in a list" => changed(json!({"/mounts": [null]})),
    "two at once" => changed(json!({"/process/terminal": 1, "/hostname": ["x"]})),
    "whole file" => told(b"7", ROOT),
}

cases! { unknown_properties,
    "differs in case" => changed(json!({"/root/readOnly": true})),
    "differs in case, Kelvin sign" => changed(json!({"/linux/mas\u{212a}edPaths": []})),
    "one letter off" => changed(json!({"/process/noNewPrivilege": true})),
    "swapped" => changed(json!({"/linux/seccmop": {"defaultAction": "SCMP_ACT_KILL"}})),
    "in the wrong object" => changed(json!({"/linux/noNewPrivileges": true, "/seccomp": {}})),
    "harmless typo" => changed(json!({"/process/terminl": true})),
    "from the future" => changed(json!({"/linux/quantum": {"spin": "up"}})),
    "extension" => changed(json!({"/x-vendor": 1, "/com.example": {"a": 1}})),
    "in a seccomp that says nothing" => changed(json!({"/linux/seccomp": {"DefaultAction": "SCMP_ACT_KILL"}})),
    "twice" => told(br#"{"ociVersion":"1.0.0","root":{"path":"a","path":"b"},"annotations":{"k":"1","k":"2"}}"#, ROOT),
}

cases! { unknown_names,
    "capability" => changed(json!({"/process/capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_ADMN", "CAP_WARP"]}})),
    "rlimit" => changed(json!({"/process/rlimits": [{"type": "RLIMIT_NOFILES", "hard": 1, "soft": 1}]})),
    "namespace" => changed(json!({"/linux/namespaces/0": {"type": "net"}})),
    "seccomp action" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_DENY"}})),
    "seccomp architecture" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X64"]}})),
    "seccomp flag" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOGG"]}})),
    "seccomp operator" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": "=="}]}]}})),
    "device type" => changed(json!({"/linux/devices": [{"path": "/dev/x", "type": "char", "major": 1, "minor": 1}]})),
    "scheduler policy" => changed(json!({"/process/scheduler": {"policy": ""}})),
    "personality" => changed(json!({"/linux/personality": {"domain": "LINUX64"}})),
    "cpu list" => changed(json!({"/process/execCPUAffinity": {"initial": "0..3"}})),
}

cases! { missing,
    "everything" => told(b"{}", ROOT),
    "version" => changed(json!({"/ociVersion": null})),
    "root" => changed(json!({"/root": null})),
    "root.path" => changed(json!({"/root/path": null})),
    "process" => changed(json!({"/process": null})),
    "process, for create" => told(
        br#"{"ociVersion":"1.0.0","root":{"path":"r"},"linux":{"namespaces":[{"type":"mount"}]}}"#,
        Context { needs_process: false, rootless: false }),
    "args" => changed(json!({"/process/args": null})),
    "user" => changed(json!({"/process/user": null})),
    "cwd" => changed(json!({"/process/cwd": null})),
    "mount destination" => changed(json!({"/mounts/0": {"type": "proc"}})),
    "linux" => changed(json!({"/linux": null, "/hostname": null})),
}

cases! { versions,
    "0.x" => changed(json!({"/ociVersion": "0.6.0-dev"})),
    "2.x" => changed(json!({"/ociVersion": "2.0.0"})),
    "newer minor" => changed(json!({"/ociVersion": "1.9.0"})),
    "release candidate" => changed(json!({"/ociVersion": "1.0.0-rc5-dev"})),
    "not semantic" => changed(json!({"/ociVersion": "1.0"})),
    "empty" => changed(json!({"/ociVersion": ""})),
}

cases! { process,
    "no args" => changed(json!({"/process/args": []})),
    "relative cwd" => changed(json!({"/process/cwd": "tmp"})),
    "empty cwd" => changed(json!({"/process/cwd": ""})),
    "environment" => changed(json!({"/process/env": ["PATH=/bin", "NOVALUE", "=x", "A=\u{0}"]})),
    "NUL" => changed(json!({"/process/args": ["a\u{0}b"], "/hostname": "\u{0}"})),
    "uid -1" => changed(json!({"/process/user": {"uid": 4_294_967_295_u32, "gid": 4_294_967_295_u32, "additionalGids": [0, 4_294_967_295_u32]}})),
    "umask" => changed(json!({"/process/user/umask": 22_00})),
    "rlimits" => changed(json!({"/process/rlimits": [
        {"type": "RLIMIT_CORE", "soft": 2, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]})),
    "capabilities" => changed(json!({"/process/capabilities": {
        "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_SETUID"], "ambient": ["CAP_KILL"]}})),
    "oom score" => changed(json!({"/process/oomScoreAdj": -1001})),
    "I/O priority" => changed(json!({"/process/ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}})),
    "scheduler" => changed(json!({"/process/scheduler": {"policy": "SCHED_OTHER", "nice": 20, "priority": 1, "runtime": 1}})),
    "scheduler without priority" => changed(json!({"/process/scheduler": {"policy": "SCHED_FIFO"}})),
    "deadline" => changed(json!({"/process/scheduler": {"policy": "SCHED_DEADLINE", "runtime": 9000, "deadline": 8000}})),
    "console" => changed(json!({"/process/consoleSize": {"height": 70000, "width": 80}})),
}

cases! { mounts,
    "relative" => changed(json!({"/mounts/0/destination": "proc"})),
    "empty" => changed(json!({"/mounts/0/destination": ""})),
    "root" => changed(json!({"/mounts/0/destination": "/a/.."})),
    "no type" => changed(json!({"/mounts/0": {"destination": "/x", "source": "y"}})),
    "type none" => changed(json!({"/mounts/0": {"destination": "/x", "type": "none"}})),
    "bind without source" => changed(json!({"/mounts/0": {"destination": "/x", "options": ["rbind"]}})),
    "bind with a typo" => changed(json!({"/mounts/0": {"destination": "/x", "source": "/y", "options": ["rbind", "nosiud"]}})),
    "bind with data" => changed(json!({"/mounts/0": {"destination": "/x", "type": "bind", "source": "/y", "options": ["size=1k"]}})),
    "source as an option" => changed(json!({"/mounts/0": {"destination": "/x", "type": "ext4", "options": ["ro", "noload,source=/dev/sda"]}})),
    "tmpcopyup" => changed(json!({"/mounts/0/options": ["tmpcopyup"]})),
    "id mappings" => changed(json!({"/mounts/0": {"destination": "/x", "type": "tmpfs", "uidMappings": [
        {"containerID": 0, "hostID": 1, "size": 0}]}})),
    "idmap of nothing" => changed(json!({"/mounts/0": {"destination": "/x", "source": "/y", "options": ["bind", "idmap"]}})),
    "NUL" => changed(json!({"/mounts/0": {"destination": "/x\u{0}", "type": "tmpfs"}})),
}

cases! { namespaces,
    "twice" => changed(json!({"/linux/namespaces/1": {"type": "pid"}})),
    "relative path" => changed(json!({"/linux/namespaces/1": {"type": "network", "path": "netns/a"}})),
    "no mount namespace" => changed(json!({"/linux/namespaces": [{"type": "uts"}]})),
    "hostname without uts" => changed(json!({"/linux/namespaces": [{"type": "mount"}], "/domainname": "d"})),
    "long hostname" => changed(json!({"/hostname": "h".repeat(65)})),
    "mappings without user namespace" => changed(json!({"/linux/uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]})),
    "user namespace without mappings" => changed(json!({"/linux/namespaces": [{"type": "mount"}, {"type": "user"}], "/hostname": null})),
    "bad mappings" => changed(json!({"/linux/namespaces": [{"type": "mount"}, {"type": "user"}], "/hostname": null,
        "/linux/uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 9, "hostID": 5000, "size": 10},
            {"containerID": 100, "hostID": 1009, "size": 1}, {"containerID": 4_294_967_290_u32, "hostID": 1, "size": 9}],
        "/linux/gidMappings": [{"containerID": 1, "hostID": 1, "size": 1}]})),
    "unmapped user" => changed(json!({"/linux/namespaces": [{"type": "mount"}, {"type": "user"}], "/hostname": null,
        "/linux/uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "/linux/gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "/process/user": {"uid": 10, "gid": 0, "additionalGids": [5]}})),
    "rootless without user namespace" => told(default_json(None, true).as_bytes(), Context { needs_process: true, rootless: true }),
    "time offsets" => changed(json!({"/linux/timeOffsets": {"realtime": {"secs": 1}, "boottime": {"nanosecs": 1_000_000_000}}})),
    "network devices" => changed(json!({"/linux/netDevices": {"eth0": {"name": "a/b"}, "eth1": {"name": "x"}, "eth2": {"name": "x"}}})),
}

cases! { linux,
    "sysctls" => changed(json!({"/linux/sysctl": {"kernel.core_pattern": "|/x", "kernel.hostname": "h", "net.//.kernel": "1",
        "net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0", "oops": "1"}})),
    "sysctls of the host's namespaces" => changed(json!({"/linux/namespaces": [{"type": "mount"}], "/hostname": null,
        "/linux/sysctl": {"net.core.somaxconn": "1", "kernel.shmmax": "1", "fs.mqueue.msg_max": "1", "kernel.domainname": "d"}})),
    "masks" => changed(json!({"/linux/maskedPaths": ["proc/kcore", ""], "/linux/readonlyPaths": ["sys"]})),
    "propagation" => changed(json!({"/linux/rootfsPropagation": "rprivatee"})),
    "cgroup path" => changed(json!({"/linux/cgroupsPath": "/a/../../b"})),
    "devices" => changed(json!({"/linux/devices": [
        {"path": "dev/a", "type": "c", "major": -1, "minor": 1_048_576}, {"path": "/dev/b", "type": "a"},
        {"path": "/dev/c", "type": "p", "fileMode": 100_000}, {"path": "/dev/c", "type": "c", "major": 1, "minor": 3}]})),
    "hooks" => changed(json!({"/hooks": {"prestart": [{"path": "x"}], "poststop": [{"path": "/x", "timeout": 0}]}})),
    "annotations" => changed(json!({"/annotations": {"": "x"}})),
    "RDT" => changed(json!({"/linux/intelRdt": {"closID": "..", "memBwSchema": "L3:", "l3CacheSchema": "a\nb"}})),
    "memory policy" => changed(json!({"/linux/memoryPolicy": {"mode": "MPOL_INTERLEAVE", "flags": [
        "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING"]}})),
    "personality flags" => changed(json!({"/linux/personality": {"domain": "LINUX", "flags": ["X"]}})),
}

cases! { resources,
    "devices" => changed(json!({"/linux/resources/devices": [
        {"allow": true, "access": ""}, {"allow": true, "type": "p", "access": "rx", "major": -2}]})),
    "memory" => changed(json!({"/linux/resources/memory": {"limit": 10, "swap": 5, "reservation": -2, "swappiness": 101, "kernel": 1}})),
    "swap without limit" => changed(json!({"/linux/resources/memory": {"swap": 5}})),
    "cpu" => changed(json!({"/linux/resources/cpu": {"quota": 1, "burst": 2, "idle": 3, "cpus": "a-b", "mems": "0-"}})),
    "block I/O" => changed(json!({"/linux/resources/blockIO": {"weight": 5, "weightDevice": [{"major": 8, "minor": -1}],
        "throttleReadBpsDevice": [{"major": -8, "minor": 0, "rate": 1}]}})),
    "huge pages" => changed(json!({"/linux/resources/hugepageLimits": [
        {"pageSize": "2mb", "limit": 1}, {"pageSize": "1GB", "limit": 1}, {"pageSize": "1GB", "limit": 2}]})),
    "network and RDMA" => changed(json!({"/linux/resources/network": {"priorities": [{"name": "", "priority": 1}]},
        "/linux/resources/rdma": {"mlx5_1": {}}})),
    "unified" => changed(json!({"/linux/resources/unified": {"../x.y": "1"}})),
    "unified without a controller" => changed(json!({"/linux/resources/unified": {"memory": "1"}})),
}

cases! { seccomp,
    "empty rule" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": [], "action": "SCMP_ACT_ALLOW"}]}})),
    "metadata without a listener" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}})),
    "relative listener" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "agent.sock"}})),
    "incomplete rule" => changed(json!({"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "args": [{"index": 0}]}]}})),
}

#[test]
fn good_configurations_are_not_spoken_of() {
    assert_eq!(changed(json!({})), "nothing\n");
    assert_eq!(
        changed(json!({
            "/linux/namespaces": [{"type": "mount"}, {"type": "uts", "path": ""}, {"type": "user", "path": "/proc/1/ns/user"}],
            "/linux/uidMappings": [{"containerID": 0, "hostID": 0, "size": 4_294_967_295_u32}],
            "/linux/gidMappings": [{"containerID": 0, "hostID": 0, "size": 4_294_967_295_u32}],
            "/linux/rootfsPropagation": "rprivate",
            "/mounts/0": {"destination": "/x/../y", "type": "bind", "source": "data", "options": ["ro", "rprivate"]},
        })),
        "nothing\n"
    );
}

#[test]
fn nothing_is_wrong_with_what_engines_write() {
    let configs: [(&str, &[u8]); 4] = [
        ("podman", include_bytes!("fixtures/spec/podman.json")),
        ("podman --privileged", include_bytes!("fixtures/spec/podman-privileged.json")),
        ("podman --uidmap", include_bytes!("fixtures/spec/podman-uidmap.json")),
        ("containerd", include_bytes!("fixtures/spec/containerd.json")),
    ];
    for (name, config) in configs {
        assert_eq!(told(config, ROOT), "nothing\n", "{name}");
    }
}
