//! Plans, without root: what is decided for known bundles (snapshots), and what holds for every bundle (properties).
#![forbid(unsafe_code)]

use pent::cgroup::{Driver, Hierarchy, Layout, OwnCgroup};
use pent::host::{Binary, Host};
use pent::plan::op::{Child, Namespace, Parent, Point, Prepare};
use pent::plan::{ExecRequest, Hardening, Options, Plan, Request, compile, compile_exec, order};
use pent::report::Diagnostic;
use pent::spec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[path = "plan/hardening.rs"]
mod hardening;

const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

fn host(cgroup: Layout) -> Host {
    Host {
        euid: 0,
        egid: 0,
        capabilities: ALL_CAPABILITIES,
        last_capability: 40,
        in_user_namespace: false,
        setgroups_denied: false,
        cgroup,
        own_cgroup: OwnCgroup::parse("0::/system.slice/containerd.service\n"),
        user_manager: None,
        apparmor: false,
        selinux: false,
        procfs_pidns: true,
        seccomp_wait_killable: true,
        rlimits: std::collections::BTreeMap::new(),
        lacks_kcore: false,
        lacks_time_namespace: false,
        landlock_abi: 7,
        binary: Binary {
            path: Some(PathBuf::from("/usr/local/bin/pent")),
            uid: 0,
            shared_write: false,
            readonly: false,
            switchable: true,
        },
    }
}

fn v2() -> Host {
    host(Layout::V2 { mount: "/sys/fs/cgroup".into() })
}

fn v1() -> Host {
    let hierarchy = |names: &[&str]| Hierarchy {
        mount: Path::new("/sys/fs/cgroup").join(names.join(",").trim_start_matches("name=")),
        root: "/".into(),
        controllers: names.iter().map(ToString::to_string).collect(),
    };
    let hierarchies = [
        &["cpu", "cpuacct"][..],
        &["memory"],
        &["pids"],
        &["devices"],
        &["freezer"],
        &["cpuset"],
        &["blkio"],
        &["name=systemd"],
    ];
    host(Layout::V1 { hierarchies: hierarchies.map(hierarchy).into(), unified: None })
}

fn ordinary_user() -> Host {
    Host { euid: 1000, egid: 1000, capabilities: 0, ..v2() }
}

fn default_config() -> Value {
    serde_json::from_str(&spec::default_json(None, true)).expect("JSON")
}

fn rootless_config() -> Value {
    serde_json::from_str(&spec::default_json(Some(spec::Owner { uid: 1000, gid: 1000 }), true)).expect("JSON")
}

fn plan(config: &Value, host: &Host) -> Result<Plan, Vec<Diagnostic>> {
    hardened(config, host, &Hardening::default())
}

fn hardened(config: &Value, host: &Host, hardening: &Hardening) -> Result<Plan, Vec<Diagnostic>> {
    let loaded = spec::parse(config.to_string().as_bytes())?;
    let options = Options::default();
    compile(&Request {
        id: "box",
        bundle: Path::new("/bundle"),
        spec: &loaded.spec,
        host,
        options: &options,
        hardening,
    })
}

/// What a kubelet asks for: mounts of its own, limits, masks, a profile, namespaces of the pod's sandbox.
fn kubernetes() -> Value {
    let mut config = default_config();
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    for (destination, options) in [
        ("/etc/hosts", json!(["rbind", "rprivate", "rw"])),
        ("/dev/termination-log", json!(["rbind", "rprivate", "rw"])),
        ("/etc/resolv.conf", json!(["rbind", "rprivate", "ro"])),
        ("/var/run/secrets/kubernetes.io/serviceaccount", json!(["rbind", "rprivate", "rro"])),
        ("/data", json!(["rbind", "rslave", "nosuid", "nodev"])),
    ] {
        mounts.push(json!({ "destination": destination, "type": "bind", "source": format!("/pod{destination}"), "options": options }));
    }
    let docker: Value =
        serde_json::from_slice(include_bytes!("fixtures/docker-default-seccomp.json")).expect("Docker's profile");
    config["linux"]["seccomp"] = json!({
        "defaultAction": docker["defaultAction"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{ "names": ["read", "write", "exit_group", "execve", "prctl"], "action": "SCMP_ACT_ALLOW" }],
    });
    config["linux"]["cgroupsPath"] = json!("/kubepods/burstable/pod1/box");
    config["linux"]["resources"] = json!({
        "memory": { "limit": 268_435_456, "swap": 268_435_456 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 },
        "pids": { "limit": 128 },
        "devices": [{ "allow": false, "access": "rwm" }],
    });
    config["linux"]["namespaces"] = json!([
        { "type": "pid" }, { "type": "mount" }, { "type": "cgroup" },
        { "type": "network", "path": "/proc/4711/ns/net" },
        { "type": "ipc", "path": "/proc/4711/ns/ipc" },
        { "type": "uts", "path": "/proc/4711/ns/uts" },
    ]);
    config["hostname"] = Value::Null;
    config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "0" });
    config["process"]["terminal"] = json!(false);
    config["process"]["oomScoreAdj"] = json!(985);
    config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [2000] });
    config["process"]["args"] = json!(["/bin/server", "--port", "8080"]);
    config
}

#[test]
fn the_default_bundle_on_version_2() {
    insta::assert_snapshot!(plan(&default_config(), &v2()).expect("a plan"));
}

#[test]
fn the_default_bundle_on_version_1() {
    insta::assert_snapshot!(plan(&default_config(), &v1()).expect("a plan"));
}

#[test]
fn the_default_bundle_of_an_ordinary_user() {
    insta::assert_snapshot!(plan(&rootless_config(), &ordinary_user()).expect("a plan"));
}

#[test]
fn a_kubernetes_like_bundle() {
    insta::assert_snapshot!(plan(&kubernetes(), &v2()).expect("a plan"));
}

/// docs/create.md explains this plan, line by line.
#[test]
fn the_document_about_create_has_the_plan() {
    let document = include_str!("../docs/create.md");
    let blocks = document.split("```text\n").skip(1).map(|part| part.split("```").next().unwrap_or_default());
    let plan = plan(&kubernetes(), &v2()).expect("a plan").to_string();
    assert_eq!(blocks.collect::<String>().trim_end(), plan.trim_end(), "update the blocks of docs/create.md");
}

#[test]
fn a_user_namespace_and_hooks() {
    let mut config = default_config();
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
    let hook = json!([{ "path": "/bin/hook", "args": ["hook", "now"], "timeout": 5 }]);
    config["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook, "startContainer": hook,
        "poststart": hook, "poststop": hook,
    });
    insta::assert_snapshot!(plan(&config, &v2()).expect("a plan"));
}

/// The container of a pod that shares its process namespace: its process is born last.
#[test]
fn a_joined_pid_namespace() {
    let mut config = kubernetes();
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "pid");
    namespaces.push(json!({ "type": "pid", "path": "/proc/4711/ns/pid" }));
    config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NPROC", "soft": 10, "hard": 20 }]);
    insta::assert_snapshot!(plan(&config, &v2()).expect("a plan"));
    let before_6_17 = plan(&config, &Host { procfs_pidns: false, ..v2() }).expect("a plan");
    let place = |wanted: fn(&Child) -> bool| before_6_17.child.iter().position(wanted).expect("the step");
    let birth = place(|op| matches!(op, Child::Birth { .. }));
    assert!(birth < place(|op| matches!(op, Child::MakeFilesystem(_))), "only a process in there can make its procfs");
}

/// The root of a cgroup namespace is the cgroup that its maker is in: the scope only after systemd has moved the process there.
#[test]
fn a_cgroup_namespace_is_made_when_systemd_has_moved_the_process() {
    let host = Host { user_manager: Some("/user.slice/user-1000.slice/user@1000.service".into()), ..ordinary_user() };
    let options = Options { cgroup_driver: Driver::Systemd, ..Options::default() };
    for (joined, procfs_pidns) in [("user", true), ("pid", true), ("pid", false), ("time", true)] {
        let mut config = rootless_config();
        config["linux"]["cgroupsPath"] = json!("user.slice:pent:box");
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != joined && namespace["type"] != "cgroup");
        namespaces.push(json!({ "type": joined, "path": format!("/proc/4711/ns/{joined}") }));
        namespaces.push(json!({ "type": "cgroup" }));
        let spec = spec::parse(config.to_string().as_bytes()).expect("a configuration").spec;
        let host = Host { procfs_pidns, ..host.clone() };
        let hardening = Hardening::default();
        let request = Request {
            id: "box",
            bundle: Path::new("/bundle"),
            spec: &spec,
            host: &host,
            options: &options,
            hardening: &hardening,
        };
        let plan = compile(&request).expect("a plan");
        assert_eq!(order::check(&plan), Ok(()));
        let place = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted).expect("the step");
        let moved = place(|op| matches!(op, Child::Meet { point: Point::UserNamespaceMapped }));
        assert!(place(|op| matches!(op, Child::UnshareCgroup)) > moved, "{joined}: {plan}");
        let early = plan.child.iter().any(|op| match op {
            Child::Birth { new } | Child::MakeNamespaces { new } => new.contains(&Namespace::Cgroup),
            _ => false,
        });
        assert!(!early && !plan.new_namespaces.contains(&Namespace::Cgroup), "{joined}: {plan}");
    }
}

#[test]
fn a_process_that_joins() {
    let config = kubernetes();
    let spec = spec::parse(config.to_string().as_bytes()).expect("a configuration").spec;
    let mut process = spec.process().clone().expect("a process");
    process.set_terminal(Some(true));
    let plan = compile_exec(&ExecRequest {
        id: "box",
        spec: &spec,
        process: &process,
        host: &v2(),
        init_pid: 4711,
        init_start_time: 1,
        preserve_fds: 0,
        cgroup_by_clone: true,
        has_cgroup: true,
        hardening: &Hardening::default(),
    });
    let plan = plan.expect("a plan");
    assert_eq!(order::check(&plan), Ok(()));
    insta::assert_snapshot!(plan);
}

/// An ordinary user's process must not run in the container from a file that the container's root, who may be that user, can write to.
#[test]
fn a_process_that_joins_an_ordinary_users_container_leaves_the_binary_behind() {
    let spec = spec::parse(rootless_config().to_string().as_bytes()).expect("a configuration").spec;
    let process = spec.process().clone().expect("a process");
    let shields = |uid: u32, shared_write: bool| {
        let host = Host { binary: Binary { uid, shared_write, readonly: false, ..v2().binary }, ..ordinary_user() };
        let request = ExecRequest {
            id: "box",
            spec: &spec,
            process: &process,
            host: &host,
            init_pid: 4711,
            init_start_time: 1,
            preserve_fds: 0,
            cgroup_by_clone: true,
            has_cgroup: false,
            hardening: &Hardening::default(),
        };
        let plan = compile_exec(&request).expect("a plan");
        assert_eq!(order::check(&plan), Ok(()));
        let place = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted);
        let birth = place(|op| matches!(op, Child::Birth { .. }));
        assert!(place(|op| matches!(op, Child::SetNonDumpable)) < birth);
        let shield = place(|op| matches!(op, Child::ShieldBinary { .. }));
        assert!(shield < birth);
        shield.is_some()
    };
    assert!(shields(1000, false) && shields(0, true));
    assert!(!shields(0, false), "root's own, which nobody in the container is");
}

#[test]
fn kernel_parameters_of_devices_with_a_dot_in_their_name() {
    let names = json!({ "net.ipv4.conf.eno2/100.rp_filter": "1", "net/ipv4/conf/eno2.200/rp_filter": "1" });
    let mut config = default_config();
    config["linux"]["sysctl"] = names;
    let plan = plan(&config, &v2()).expect("a plan");
    let set =
        plan.child.iter().find_map(|op| if let Child::WriteSysctls { values, .. } = op { Some(values) } else { None });
    let files: Vec<_> = set.expect("the step").iter().map(|(file, _)| file.to_string()).collect();
    assert_eq!(files, ["sys/net/ipv4/conf/eno2.100/rp_filter", "sys/net/ipv4/conf/eno2.200/rp_filter"]);
}

#[test]
fn a_network_namespace_is_entered_before_anything_is_done_in_it() {
    let good = plan(&default_config(), &v2()).expect("a plan");
    assert!(good.parent.contains(&Parent::MakeNetwork));
    let at = good.child.iter().position(|op| matches!(op, Child::EnterNetwork)).expect("the step");
    let mut late = good.clone();
    late.child.swap(at, at + 1);
    assert!(order::check(&late).is_err(), "after {}", late.child[at]);
    let mut lost = good.clone();
    lost.child.remove(at);
    assert!(order::check(&lost).is_err());
    let mut twice = good.clone();
    twice.new_namespaces.push(Namespace::Network);
    assert!(order::check(&twice).is_err());
    // It would belong to the host's user namespace.
    let own = plan(&rootless_config(), &v2()).expect("a plan");
    assert!(!own.parent.contains(&Parent::MakeNetwork));
    // Podman's, when it runs as an ordinary user: pent could not return to the network of the host.
    let nested = plan(&default_config(), &Host { in_user_namespace: true, ..v2() }).expect("a plan");
    assert!(!nested.parent.contains(&Parent::MakeNetwork) && nested.new_namespaces.contains(&Namespace::Network));
    let network = |kind: &str| {
        let mounts = json!([{ "destination": "/data", "type": kind, "source": "server:/x" }]);
        lines_with(&[("/mounts", mounts)], &["network namespace", "make nfs", "make tmpfs", "verify namespaces"])
    };
    insta::assert_snapshot!(network("nfs") + "\n" + &network("tmpfs"));
}

/// With a slash at the end, only a directory would be found.
#[test]
fn hidden_paths_are_found_whatever_they_are() {
    let paths = json!(["/proc/keys/", "/proc//kcore/.", "/proc/x/../sys"]);
    let lines = lines_with(&[("/linux/maskedPaths", paths.clone()), ("/linux/readonlyPaths", paths)], &["/proc/keys"]);
    for list in lines.lines() {
        assert!(list.ends_with(" /proc/keys /proc/kcore /proc/x/../sys"), "{list}");
    }
    assert_eq!(lines.lines().count(), 2);
}

/// The default bundle changed at these pointers, and the lines of its plan that have one of these words.
fn lines_with(changes: &[(&str, Value)], words: &[&str]) -> String {
    let mut config = default_config();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).expect("an object")[key] = value.clone();
    }
    let text = match plan(&config, &v2()) {
        Ok(plan) => {
            assert_eq!(order::check(&plan), Ok(()));
            plan.to_string()
        }
        Err(found) => found.iter().map(|finding| format!("{finding}\n")).collect(),
    };
    text.lines().filter(|line| words.iter().any(|word| line.contains(word))).map(|line| format!("{line}\n")).collect()
}

/// A filter that notifies of mknod, and has this rule besides.
fn notifying(rule: Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "listenerMetadata": "colour=blue",
        "syscalls": [{ "names": ["mknod"], "action": "SCMP_ACT_NOTIFY" }, rule],
    })
}

#[test]
fn the_listener_of_a_filter_goes_to_the_agent() {
    let filter = notifying(json!({ "names": ["chown"], "action": "SCMP_ACT_ERRNO" }));
    insta::assert_snapshot!(lines_with(
        &[("/linux/seccomp", filter)],
        &["seccomp", "ListenerSent", "Started", "execute"]
    ));
    let privileged = ("/process/noNewPrivileges", json!(false));
    for (name, order) in [("chown", ["load", "capabilities", "hand"]), ("capset", ["load", "hand", "capabilities"])] {
        let filter = notifying(json!({ "names": [name], "action": "SCMP_ACT_NOTIFY" }));
        let said = lines_with(
            &[("/linux/seccomp", filter), privileged.clone()],
            &["load seccomp", "set capabilities", "hand the"],
        );
        let place = |word: &str| said.rfind(word).unwrap_or_else(|| panic!("{word} in {said}"));
        assert!(order.map(place).is_sorted(), "{said}");
    }
    for (name, action) in [("sendmsg", "NOTIFY"), ("recvmsg", "NOTIFY"), ("sendmsg", "ERRNO"), ("write", "NOTIFY")] {
        let filter = notifying(json!({ "names": [name], "action": format!("SCMP_ACT_{action}") }));
        let said = lines_with(&[("/linux/seccomp", filter)], &["seccomp"]);
        assert!(said.contains(&format!("the {name} syscall")), "{said}");
    }
}

#[test]
fn network_devices_are_there_before_the_hooks_of_the_runtime() {
    let hook = json!([{ "path": "/bin/hook" }]);
    let devices = ("/linux/netDevices", json!({ "eth1": { "name": "net%d" }, "eth0": {} }));
    let words = ["network", "MountsDone", "HooksDone", "createRuntime"];
    insta::assert_snapshot!(lines_with(&[devices, ("/hooks", json!({ "createRuntime": hook }))], &words));
}

#[test]
fn memory_processors_and_caches() {
    let changes = [
        ("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0-3,7", "flags": ["MPOL_F_STATIC_NODES"] })),
        ("/linux/intelRdt", json!({ "memBwSchema": "MB:0=20", "schemata": ["L3:0=f"], "enableMonitoring": true })),
        // For exec alone.
        ("/process/execCPUAffinity", json!({ "initial": "0", "final": "1" })),
    ];
    insta::assert_snapshot!(lines_with(&changes, &["memory policy", "service", "monitoring", "processors"]));
}

#[test]
fn labels_need_their_module() {
    let said = |pointer: &str, value: &str| lines_with(&[(pointer, json!(value))], &["AppArmor", "SELinux"]);
    assert!(said("/process/apparmorProfile", "strict").contains("AppArmor is not enabled on this host"));
    assert!(said("/process/selinuxLabel", "a:b:c:s0").contains("SELinux is not enabled on this host"));
    assert!(said("/linux/mountLabel", "a:b:c:s0").contains("SELinux is not enabled on this host"));
    assert_eq!(said("/process/apparmorProfile", ""), "");
}

#[test]
fn every_finding_is_reported_at_once() {
    let mut config = kubernetes();
    config["linux"]["namespaces"] = json!([{ "type": "pid" }]);
    config["mounts"][0] = json!({ "destination": "/proc/sys", "type": "bind", "source": "/x", "options": ["bind"] });
    config["mounts"][1] = json!({ "destination": "/y" });
    config["process"]["apparmorProfile"] = json!("locked-down");
    let found = plan(&config, &v2()).expect_err("findings");
    let paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
    for path in ["linux.namespaces", "mounts[0].destination", "mounts[1].type", "process.apparmorProfile"] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
}

#[test]
fn a_refused_limit_is_all_that_is_said_of_the_cgroup() {
    let mut config = default_config();
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let swap = json!({ "memory": { "limit": 2_000_000, "swap": 1_000_000 } });
    for (host, resources) in [(v1(), json!({ "cpu": { "shares": 1 } })), (v2(), swap)] {
        config["linux"]["resources"] = resources;
        let found = plan(&config, &host).expect_err("findings");
        let paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert!(paths.len() == 1 && paths[0].starts_with("linux.resources."), "{paths:?}");
    }
}

#[test]
fn a_plan_is_json() {
    let json = serde_json::to_value(plan(&kubernetes(), &v2()).expect("a plan")).expect("JSON");
    assert_eq!(json["child"].as_array().and_then(|ops| ops.last()), Some(&json!({ "op": "execute" })));
}

#[test]
fn the_binary_is_shielded_unless_nobody_could_write_to_it() {
    let shielded = |host: &Host, config: &Value| {
        let plan = plan(config, host).expect("a plan");
        plan.child.iter().any(|op| matches!(op, Child::ShieldBinary { .. }))
    };
    assert!(shielded(&v2(), &default_config()));
    let mut readonly = v2();
    readonly.binary.readonly = true;
    assert!(!shielded(&readonly, &default_config()));
    let mut mapped = default_config();
    mapped["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    mapped["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    mapped["linux"]["gidMappings"] = mapped["linux"]["uidMappings"].clone();
    assert!(!shielded(&v2(), &mapped), "root, its owner, has no id inside");
    mapped["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 65_536 }]);
    assert!(shielded(&v2(), &mapped), "root is root inside");
}

fn namespaces() -> impl Strategy<Value = Value> {
    let kinds = ["pid", "network", "ipc", "uts", "cgroup", "time"];
    proptest::collection::vec((0..3u8, Just(())), kinds.len()).prop_map(move |choices| {
        let mut all = vec![json!({ "type": "mount" })];
        for ((choice, ()), kind) in choices.into_iter().zip(kinds) {
            match choice {
                0 => {}
                1 => all.push(json!({ "type": kind })),
                _ => all.push(json!({ "type": kind, "path": format!("/proc/1/ns/{kind}") })),
            }
        }
        Value::Array(all)
    })
}

fn mounts() -> impl Strategy<Value = Vec<Value>> {
    let option = prop::sample::select(vec![
        "ro",
        "rro",
        "nosuid",
        "nodev",
        "noexec",
        "rbind",
        "rshared",
        "rslave",
        "private",
        "tmpcopyup",
        "size=1m",
    ]);
    let mount = (prop::sample::select(vec!["tmpfs", "bind", "proc", "sysfs", "cgroup", "mqueue"]), "/[a-z]{1,4}", prop::collection::vec(option, 0..4))
        .prop_map(|(kind, destination, options)| json!({ "type": kind, "source": "/src", "destination": destination, "options": options }));
    prop::collection::vec(mount, 0..8)
}

prop_compose! {
    fn config()(
        namespaces in namespaces(),
        mounts in mounts(),
        capabilities in prop::sample::subsequence(vec!["CAP_CHOWN", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_KILL"], 0..4),
        user in (0..70_000u32, 0..70_000u32),
        flags in any::<[bool; 6]>(),
        hooks in prop::sample::subsequence(vec!["prestart", "createRuntime", "createContainer", "startContainer"], 0..4),
    ) -> Value {
        let [terminal, readonly, no_new_privs, seccomp, user_namespace, masks] = flags;
        let mut config = default_config();
        config["linux"]["namespaces"] = namespaces;
        config["mounts"].as_array_mut().expect("mounts").extend(mounts);
        let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
        config["process"]["capabilities"] = sets.iter().map(|set| ((*set).to_owned(), json!(capabilities))).collect();
        config["process"]["user"] = json!({ "uid": user.0, "gid": user.1 });
        config["process"]["terminal"] = json!(terminal);
        config["root"]["readonly"] = json!(readonly);
        config["process"]["noNewPrivileges"] = json!(no_new_privs);
        if seccomp {
            config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
        }
        if !masks {
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        }
        if user_namespace {
            config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
            config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 70_000 }]);
            config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
        }
        for hook in hooks {
            config["hooks"][hook] = json!([{ "path": "/bin/hook" }]);
        }
        config
    }
}

proptest! {
    /// Parent and child meet in the same order, credentials are dropped in theirs, nothing of the host is touched after the
    /// change of root, and the filter is loaded after everything it could block.
    #[test]
    fn every_plan_keeps_its_promises(config in config(), version_2 in any::<bool>()) {
        let host = if version_2 { v2() } else { v1() };
        for hardening in [Hardening::default(), hardening::all()] {
            if let Ok(plan) = hardened(&config, &host, &hardening) {
                prop_assert_eq!(order::check(&plan), Ok(()));
            }
        }
    }

    /// Whoever has rights opens what is the host's; the child never does.
    #[test]
    fn a_privileged_parent_opens_every_source(config in config()) {
        if let Ok(plan) = plan(&config, &v2()) {
            let opens = |op: &Child| matches!(op, Child::CloneMount(_) | Child::OpenBinary { .. });
            prop_assert!(!plan.child.iter().any(opens));
            prop_assert!(plan.prepare.iter().any(|op| matches!(op, Prepare::CloneMount(_))));
        }
    }

    /// The same configuration gives the same plan: nothing depends on the order of a hash map.
    #[test]
    fn plans_are_deterministic(config in config()) {
        let text = |plan: Result<Plan, Vec<Diagnostic>>| plan.map(|plan| plan.to_string());
        prop_assert_eq!(text(plan(&config, &v2())), text(plan(&config, &v2())));
    }

    /// Where the child is not born in its cgroup, it moves there once, and before anything else.
    #[test]
    fn version_1_is_joined_exactly_once(config in config()) {
        if let Ok(plan) = plan(&config, &v1()) {
            let joins = |op: &Child| matches!(op, Child::JoinCgroup);
            prop_assert!(plan.child.first().is_some_and(joins));
            prop_assert_eq!(plan.child.iter().filter(|op| joins(op)).count(), 1);
        }
    }
}

#[test]
fn labels_are_set_after_the_credentials_and_before_no_new_privs() {
    let mut config = default_config();
    config["process"]["apparmorProfile"] = json!("locked-down");
    config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0:c1,c2");
    config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
    let host = Host { apparmor: true, selinux: true, ..v2() };
    let plan = plan(&config, &host).expect("a plan");
    order::check(&plan).expect("the order of every plan");
    let text = plan.to_string();
    let lines: Vec<_> =
        text.lines().filter(|line| ["label", "AppArmor", "context="].iter().any(|word| line.contains(word))).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let at = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted).expect("the operation");
    let set = at(|op| matches!(op, Child::SetExecLabel { .. }));
    assert!(at(|op| matches!(op, Child::OpenLabel { .. })) < at(|op| matches!(op, Child::SetUid { .. })));
    assert!(at(|op| matches!(op, Child::SetAmbient { .. })) < set && set < at(|op| matches!(op, Child::SetNoNewPrivs)));
}

#[test]
fn a_label_needs_its_security_module() {
    let mut config = default_config();
    config["process"]["apparmorProfile"] = json!("locked-down");
    config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
    config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    let found = plan(&config, &v2()).expect_err("findings");
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));
    for nothing in ["", "unconfined"] {
        config["process"] = default_config()["process"].clone();
        config["process"]["apparmorProfile"] = json!(nothing);
        config["linux"]["mountLabel"] = json!("");
        let plan = plan(&config, &v2()).expect("a plan");
        assert!(!plan.child.iter().any(|op| matches!(op, Child::SetExecLabel { .. })));
    }
}
