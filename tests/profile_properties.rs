//! Over random bundles and profiles: a tightened configuration is never more permissive than what was asked for, nor than the
//! profile. (For the filter, see `seccomp_compose`.)
#![forbid(unsafe_code)]

use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxDeviceType, LinuxNamespaceType, LinuxSchedulerPolicy, Mount, Spec,
};
use pent::cgroup::{DEFAULT_RULES, Devices, Kind, Layout, OwnCgroup, Policy, Rule as DeviceRule};
use pent::host::{Binary, Host};
use pent::profile::{self, Mode, Profile, Reach, Rule, Tightened, Writable};
use pent::spec::capability;
use pent::spec::mount_options::{MountOptions, Spread, attr};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn host() -> Host {
    Host {
        euid: 0,
        egid: 0,
        capabilities: (1 << 41) - 1,
        last_capability: 40,
        in_user_namespace: false,
        setgroups_denied: false,
        cgroup: Layout::V2 { mount: "/sys/fs/cgroup".into() },
        own_cgroup: OwnCgroup::parse("0::/\n"),
        user_manager: None,
        rlimits: BTreeMap::from([("RLIMIT_NOFILE".to_owned(), (512, 4096)), ("RLIMIT_CORE".to_owned(), (0, u64::MAX))]),
        lacks_kcore: false,
        lacks_time_namespace: false,
        landlock_abi: 6,
        seccomp_wait_killable: true,
        apparmor: false,
        selinux: false,
        procfs_pidns: true,
        binary: Binary { path: None, uid: 0, shared_write: false, readonly: true, switchable: true },
    }
}

// What configurations ask for.

const NAMES: [&str; 8] =
    ["CHOWN", "SETUID", "SETGID", "NET_BIND_SERVICE", "KILL", "SYS_ADMIN", "NET_RAW", "SYS_PTRACE"];
const LIMITS: [&str; 5] = ["nofile", "core", "memlock", "nproc", "stack"];
const NAMESPACES: [&str; 8] = ["pid", "network", "mount", "ipc", "uts", "cgroup", "time", "user"];
const DESTINATIONS: [&str; 9] =
    ["/tmp", "/run", "/dev/shm", "/data", "/var/cache", "/proc", "/sys", "/mnt/proc", "/dev"];
const SOURCES: [&str; 8] =
    ["/", "/srv/data", "/srv", "/etc/shadow", "/var/run/docker.sock", "relative", "/home/../etc", "/dev/fuse"];
const OPTIONS: [&str; 34] = [
    "ro",
    "rw",
    "rro",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "rbind",
    "bind",
    "shared",
    "rshared",
    "rslave",
    "size=1g",
    "size=4k",
    "size=50%",
    "size=0",
    "nr_inodes=10",
    "nr_inodes=0",
    "nr_blocks=9999999",
    "size=2g,nr_inodes=0",
    "mode=1777",
    "private",
    "remount",
    "rrw",
    "rsuid",
    "rdev",
    "rexec",
    "rnosuid",
    "rnodev",
    "rnoexec",
    "lowerdir=/srv/a:/e\\tc",
    "upperdir=/srv/data/up",
];
const SYSCTLS: [&str; 4] =
    ["net.ipv4.ip_unprivileged_port_start", "kernel.msgmax", "net/ipv4/ip_forward", "fs.mqueue.msg_max"];
const VARIABLES: [&str; 6] = ["PATH=/bin", "LD_PRELOAD=/x.so", "HOME=/root", "LC_ALL=C", "SECRET=1", "EMPTY"];

fn some<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    prop::sample::subsequence(of, 0..=of.len())
}

fn maybe(of: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop::option::of(of).boxed()
}

fn object(members: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    values
        .prop_map(move |values| {
            let members = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(members.collect::<Map<_, _>>())
        })
        .boxed()
}

fn capability_names() -> BoxedStrategy<Option<Value>> {
    maybe(some(&NAMES).prop_map(|names| json!(names.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>())))
}

fn number(values: &'static [i64]) -> BoxedStrategy<Option<Value>> {
    maybe(prop::sample::select(values).prop_map(|value| json!(value)))
}

/// A change to a mount, or to the root filesystem; often of one that is there.
fn any_remount() -> impl Strategy<Value = Value> {
    let changes =
        ["ro", "rw", "rro", "rrw", "nosuid", "suid", "rnosuid", "nodev", "dev", "noexec", "exec", "rexec", "rnoexec"];
    let destinations = ["/", "/tmp", "/run", "/data", "/var", "/var/cache", "/proc", "/dev", "/dev/shm"];
    let options = prop::collection::vec(prop::sample::select(changes.to_vec()), 1..4);
    (prop::sample::select(destinations.to_vec()), any::<bool>(), options).prop_map(|(destination, bind, options)| {
        let first = if bind { vec!["bind", "remount"] } else { vec!["remount"] };
        let options = [first, options].concat();
        json!({ "destination": destination, "options": options })
    })
}

fn text(values: &'static [&'static str]) -> BoxedStrategy<Option<Value>> {
    maybe(prop::sample::select(values).prop_map(|value| json!(value)))
}

fn any_mount() -> impl Strategy<Value = Value> {
    prop_oneof![3 => any_new_mount().boxed(), 1 => any_remount().boxed()]
}

fn any_new_mount() -> impl Strategy<Value = Value> {
    let kind =
        prop::sample::select(&["bind", "tmpfs", "proc", "sysfs", "mqueue", "devpts", "cgroup", "overlay", "ext4"][..]);
    let options = prop::collection::vec(prop::sample::select(&OPTIONS[..]), 0..5);
    (prop::sample::select(&DESTINATIONS[..]), kind, prop::sample::select(&SOURCES[..]), options).prop_map(
        |(destination, kind, source, options)| {
            json!({ "destination": destination, "type": kind, "source": source, "options": options })
        },
    )
}

fn any_process() -> BoxedStrategy<Value> {
    let sets = ["bounding", "effective", "permitted", "inheritable", "ambient"];
    let rlimits = some(&LIMITS).prop_flat_map(|names| {
        let one = |name: &'static str| {
            let values = prop::sample::select(&[0u64, 1, 64, 1024, 65536, u64::MAX][..]);
            (values.clone(), values).prop_map(move |(a, b)| {
                json!({ "type": format!("RLIMIT_{}", name.to_uppercase()), "soft": a.min(b), "hard": a.max(b) })
            })
        };
        names.into_iter().map(one).collect::<Vec<_>>().prop_map(|limits| json!(limits))
    });
    let user = (prop::sample::select(&[0u32, 1, 1000][..]), prop::option::of(Just(vec![0u32, 5])))
        .prop_map(|(uid, groups)| json!({ "uid": uid, "gid": uid, "additionalGids": groups.unwrap_or_default() }));
    object(vec![
        ("user", maybe(user).prop_map(|user| user.or_else(|| Some(json!({ "uid": 0, "gid": 0 })))).boxed()),
        ("args", Just(Some(json!(["sh"]))).boxed()),
        ("cwd", Just(Some(json!("/"))).boxed()),
        ("env", maybe(some(&VARIABLES).prop_map(|env| json!(env)))),
        ("noNewPrivileges", maybe(any::<bool>().prop_map(|yes| json!(yes)))),
        ("terminal", maybe(any::<bool>().prop_map(|yes| json!(yes)))),
        ("rlimits", maybe(rlimits)),
        (
            "scheduler",
            maybe(
                prop::sample::select(&["SCHED_OTHER", "SCHED_FIFO", "SCHED_IDLE"][..])
                    .prop_map(|policy| json!({ "policy": policy })),
            ),
        ),
        (
            "ioPriority",
            maybe(
                prop::sample::select(&["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE"][..])
                    .prop_map(|class| json!({ "class": class, "priority": 4 })),
            ),
        ),
        ("consoleSize", maybe(Just(json!({ "height": 24, "width": 80 })))),
        ("oomScoreAdj", number(&[-100, 100])),
        ("apparmorProfile", maybe(Just(json!("own")))),
        ("selinuxLabel", maybe(Just(json!("a:b:c:s0")))),
        ("capabilities", maybe(object(sets.iter().map(|set| (*set, capability_names())).collect()))),
    ])
}

fn any_linux() -> BoxedStrategy<Value> {
    let namespaces = some(&NAMESPACES).prop_flat_map(|names| {
        let one = |name: &'static str| {
            any::<bool>().prop_map(move |joins| match joins && name != "user" && name != "mount" {
                true => json!({ "type": name, "path": format!("/proc/77/ns/{name}") }),
                false => json!({ "type": name }),
            })
        };
        names.into_iter().map(one).collect::<Vec<_>>().prop_map(|all| json!(all))
    });
    let device_rule = (
        any::<bool>(),
        prop::sample::select(&["a", "c", "b"][..]),
        prop::sample::select(&[-1i64, 1, 10, 8][..]),
        prop::sample::select(&[-1i64, 3, 229, 0][..]),
        prop::sample::select(&["rwm", "r", "m", "rw"][..]),
    )
        .prop_map(|(allow, typ, major, minor, access)| {
            json!({ "allow": allow, "type": typ, "major": major, "minor": minor, "access": access })
        });
    let resources = object(vec![
        ("devices", maybe(prop::collection::vec(device_rule, 0..4).prop_map(|rules| json!(rules)))),
        ("pids", maybe(prop::sample::select(&[-1i64, 0, 16, 100_000][..]).prop_map(|limit| json!({ "limit": limit })))),
        (
            "memory",
            maybe(object(vec![
                ("limit", number(&[-1, 1 << 20, 1 << 30, 1 << 40])),
                ("swap", number(&[-1, 1 << 21, 1 << 31, 1 << 41])),
                ("disableOOMKiller", maybe(any::<bool>().prop_map(|yes| json!(yes)))),
                ("reservation", number(&[1 << 20])),
            ])),
        ),
        (
            "cpu",
            maybe(object(vec![
                ("quota", number(&[-1, 0, 5000, 900_000])),
                ("period", number(&[10_000, 100_000])),
                ("burst", number(&[1000, 800_000])),
                ("realtimeRuntime", number(&[0, 950_000])),
                ("shares", number(&[1024])),
            ])),
        ),
        (
            "unified",
            maybe(object(vec![
                ("pids.max", text(&["max", "5", "100000"])),
                ("memory.max", text(&["max", "1048576", "1G", "0x10000000000"])),
                ("memory.swap.max", text(&["max", "0", "1G"])),
                ("memory.high", text(&["max"])),
                ("cpu.max", text(&["max", "max 10000", "1000", "2000 100000", "900000 100000", "900000"])),
            ])),
        ),
        ("blockIO", maybe(Just(json!({ "weight": 10 })))),
    ]);
    let devices = prop::sample::subsequence(
        vec![
            json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }),
            json!({ "path": "/dev/sda", "type": "b", "major": 8, "minor": 0 }),
            json!({ "path": "/dev/zero2", "type": "c", "major": 1, "minor": 5 }),
        ],
        0..=3,
    );
    let sysctl =
        some(&SYSCTLS).prop_map(|names| Value::Object(names.iter().map(|n| ((*n).to_owned(), json!("1"))).collect()));
    object(vec![
        ("namespaces", maybe(namespaces)),
        ("resources", maybe(resources)),
        ("devices", maybe(devices.prop_map(|all| json!(all)))),
        ("sysctl", maybe(sysctl)),
        ("netDevices", maybe(Just(json!({ "eth9": { "name": "eth0" } })))),
        ("mountLabel", maybe(Just(json!("a:b:c:s0")))),
        ("cgroupsPath", maybe(Just(json!("/a/b")))),
        ("personality", maybe(Just(json!({ "domain": "LINUX" })))),
        ("timeOffsets", maybe(Just(json!({ "monotonic": { "secs": 5, "nanosecs": 0 } })))),
        ("seccomp", maybe(Just(json!({ "defaultAction": "SCMP_ACT_ALLOW" })))),
        (
            "uidMappings",
            number(&[0, 1000, 100_000])
                .prop_map(|host| host.map(|host| json!([{ "containerID": 0, "hostID": host, "size": 65536 }])))
                .boxed(),
        ),
        ("maskedPaths", maybe(some(&["/proc/kcore", "/proc/keys"]).prop_map(|paths| json!(paths)))),
        ("readonlyPaths", maybe(some(&["/proc/sys", "/proc/bus"]).prop_map(|paths| json!(paths)))),
        (
            "rootfsPropagation",
            maybe(prop::sample::select(&["shared", "rslave", "rprivate"][..]).prop_map(|p| json!(p))),
        ),
    ])
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let hooks = some(&["/usr/bin/known", "/usr/bin/other"]).prop_map(|paths| {
        let hooks: Vec<_> = paths.iter().map(|path| json!({ "path": path })).collect();
        json!({ "createRuntime": hooks, "poststop": hooks })
    });
    let root = maybe(any::<bool>().prop_map(|yes| json!(yes)))
        .prop_map(|readonly| Some(json!({ "path": "rootfs", "readonly": readonly })));
    let spec = object(vec![
        ("ociVersion", Just(Some(json!("1.2.0"))).boxed()),
        ("process", any_process().prop_map(Some).boxed()),
        ("root", root.boxed()),
        ("hostname", maybe(Just(json!("name")))),
        ("domainname", maybe(Just(json!("domain")))),
        ("annotations", maybe(Just(json!({ "a": "b" })))),
        ("mounts", maybe(prop::collection::vec(any_mount(), 0..6).prop_map(|mounts| json!(mounts)))),
        ("hooks", maybe(hooks)),
        ("linux", maybe(any_linux())),
    ]);
    spec.prop_map(|value| {
        let mut spec: Spec = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
        // What a configuration without the member means to `plan::compile`.
        let linux = spec.linux().clone().unwrap_or_default();
        spec.set_linux(Some(linux));
        spec
    })
}

// What profiles say.

fn names(of: &'static [&'static str]) -> BoxedStrategy<Option<Value>> {
    maybe(some(of).prop_map(|names| json!(names)))
}

fn flag() -> BoxedStrategy<Option<Value>> {
    maybe(any::<bool>().prop_map(|yes| json!(yes)))
}

fn any_landlock() -> BoxedStrategy<Value> {
    let ports = || maybe(some(&[80u16, 443, 5432]).prop_map(|ports| json!(ports)));
    object(vec![
        ("required_abi", number(&[2, 4])),
        ("execute", names(&["/usr", "/usr/bin", "/opt"])),
        ("execute_entrypoint", flag()),
        ("bind_tcp", ports()),
        ("connect_tcp", ports()),
        ("scope_abstract", flag()),
        ("scope_signals", flag()),
    ])
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let writable = some(&["/tmp", "/run", "/dev/shm", "/var/cache"]).prop_map(|paths| {
        let one =
            |path: &&str| ((*path).to_owned(), json!({ "size": "64M", "inodes": 100, "noexec": path.len() != 4 }));
        Value::Object(paths.iter().map(one).collect())
    });
    let rlimits = some(&LIMITS).prop_flat_map(|names| {
        let value = prop::sample::select(&[1u64, 64, 1024][..]);
        let one = |name: &'static str| value.clone().prop_map(move |most| (name.to_owned(), json!(most)));
        names.into_iter().map(one).collect::<Vec<_>>().prop_map(|all| Value::Object(all.into_iter().collect()))
    });
    let own = some(&NAMESPACES[..7]).prop_map(|names| json!(names));
    let devices = flag().prop_map(|fuse| match fuse {
        Some(Value::Bool(true)) => {
            json!({ "allow": { "/dev/fuse": { "type": "c", "major": 10, "minor": 229, "access": "rw" } } })
        }
        Some(_) => json!({ "allow": {} }),
        None => json!({}),
    });
    let hooks = flag().prop_map(|some| match some {
        Some(Value::Bool(true)) => json!({ "allow": [{ "path": "/usr/bin/known", "sha256": "00".repeat(32) }] }),
        Some(_) => json!({ "allow": [] }),
        None => json!({}),
    });
    let modes = Value::Object(Rule::ALL.iter().map(|rule| (rule.name().to_owned(), json!("tighten"))).collect());
    let profile = object(vec![
        ("version", Just(Some(json!(1))).boxed()),
        ("name", Just(Some(json!("random"))).boxed()),
        ("modes", Just(Some(modes)).boxed()),
        ("process", maybe(object(vec![("no_new_privs", flag()), ("real_time", flag())]))),
        ("landlock", maybe(any_landlock())),
        ("user", maybe(object(vec![("non_root", flag()), ("mapped_root", flag()), ("instead", number(&[65534]))]))),
        (
            "capabilities",
            maybe(object(vec![("allow", names(&NAMES)), ("effective", names(&NAMES)), ("ambient", names(&NAMES))])),
        ),
        (
            "filesystem",
            maybe(object(vec![
                ("readonly_root", flag()),
                ("nosuid", flag()),
                ("nodev", flag()),
                ("private_propagation", flag()),
                ("writable", maybe(writable)),
                ("sources", names(&["/srv", "/dev/fuse"])),
                ("forbidden_sources", names(&["/etc", "/var/run/docker.sock"])),
                ("writable_sources", names(&["/srv/data"])),
                ("readonly_sources", names(&["/srv/data", "/usr", "/var*"])),
                ("types", names(&["bind", "tmpfs", "proc", "sysfs", "mqueue", "devpts", "cgroup"])),
                ("readonly_types", names(&["sysfs", "cgroup"])),
                ("masked", names(&["/proc/kcore", "/sys/firmware"])),
                ("readonly", names(&["/proc/sys", "/proc/irq"])),
            ])),
        ),
        ("namespaces", maybe(object(vec![("own", maybe(own)), ("joinable", names(&NAMESPACES[..3]))]))),
        (
            "network",
            maybe(object(vec![(
                "reach",
                maybe(prop::sample::select(&["none", "container", "host"][..]).prop_map(|reach| json!(reach))),
            )])),
        ),
        ("devices", devices.prop_map(Some).boxed()),
        ("hooks", hooks.prop_map(Some).boxed()),
        ("rlimits", maybe(rlimits)),
        (
            "cgroup",
            maybe(object(vec![
                ("memory", number(&[1 << 22, 1 << 29])),
                ("swap", number(&[0, 1 << 20])),
                ("pids", number(&[8, 256])),
                ("cpus", maybe(prop::sample::select(&[0.25, 2.0][..]).prop_map(|cpus| json!(cpus)))),
            ])),
        ),
        (
            "environment",
            maybe(object(vec![
                ("allow", names(&["PATH", "LC_*"])),
                ("deny", names(&["LD_*", "HOME"])),
                ("set", maybe(Just(json!({ "HOME": "/tmp", "NEW": "1" })))),
            ])),
        ),
        ("hostname", maybe(Just(json!({ "default": "inside" })))),
        ("sysctls", maybe(object(vec![("allow", names(&["net.*", "kernel.msgmax"]))]))),
        ("terminal", maybe(object(vec![("allow", flag())]))),
    ]);
    profile.prop_map(|value| serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}")))
}

fn shipped() -> impl Strategy<Value = &'static str> {
    let names: Vec<&str> = profile::SHIPPED.iter().map(|(name, _)| *name).collect();
    prop::sample::select(names)
}

fn tightening(name: &str) -> Profile {
    let mut profile = profile::load_from(Path::new("/nonexistent"), name).expect("a shipped profile");
    profile.modes = Rule::ALL.iter().map(|rule| (*rule, Mode::Tighten)).collect();
    profile.user.instead = Some(65534);
    profile
}

// What the result must be.

type Check = Result<(), TestCaseError>;

fn sets(spec: &Spec) -> [u64; 5] {
    let process = spec.process().as_ref().expect("a process");
    let mask = |set: &Option<Capabilities>| set.as_ref().map_or(0, capability::mask);
    process.capabilities().as_ref().map_or([0; 5], |caps| {
        [caps.bounding(), caps.effective(), caps.permitted(), caps.inheritable(), caps.ambient()].map(mask)
    })
}

fn check_process(asked: &Spec, got: &Spec, profile: &Profile) -> Check {
    let rules = &profile.capabilities;
    let mask = |set: &std::collections::BTreeSet<profile::Capability>| {
        set.iter().fold(0u64, |mask, capability| mask | 1 << capability::bit(capability.0))
    };
    let allow = rules.allow.as_ref().map(mask);
    let unnamed = rules.allow.as_ref().map(|_| 0);
    let most = [
        rules.bounding.as_ref().map(mask).or(allow),
        rules.effective.as_ref().map(mask).or(allow),
        rules.permitted.as_ref().map(mask).or(allow),
        rules.inheritable.as_ref().map(mask).or(unnamed),
        rules.ambient.as_ref().map(mask).or(unnamed),
    ];
    for ((asked, got), most) in sets(asked).into_iter().zip(sets(got)).zip(most) {
        prop_assert_eq!(got & !asked, 0);
        prop_assert_eq!(got & !most.unwrap_or(u64::MAX), 0);
        // Not stricter than both need.
        prop_assert_eq!(got, asked & most.unwrap_or(u64::MAX));
    }
    let process = |spec: &Spec| spec.process().clone().expect("a process");
    let (before, after) = (process(asked), process(got));
    let nnp = |process: &oci_spec::runtime::Process| process.no_new_privileges().unwrap_or_default();
    prop_assert!(nnp(&after) >= nnp(&before));
    prop_assert!(nnp(&after) || profile.process.no_new_privs != Some(true));
    prop_assert!(after.terminal().unwrap_or_default() <= before.terminal().unwrap_or_default());
    prop_assert!(profile.terminal.allow != Some(false) || !after.terminal().unwrap_or_default());
    if profile.user.non_root == Some(true) {
        let linux = got.linux().clone().unwrap_or_default();
        let own = linux.namespaces().iter().flatten().any(|ns| ns.typ() == LinuxNamespaceType::User);
        let uid = after.user().uid();
        let outside = if own {
            let found = linux
                .uid_mappings()
                .iter()
                .flatten()
                .find(|m| uid >= m.container_id() && uid - m.container_id() < m.size());
            found.map(|mapping| mapping.host_id() + (uid - mapping.container_id()))
        } else {
            Some(uid)
        };
        prop_assert_ne!(outside, Some(0));
        prop_assert!(profile.user.mapped_root != Some(false) || uid != 0);
    }
    for (name, size) in &profile.rlimits {
        let limit = after.rlimits().iter().flatten().find(|limit| limit.typ() == name.typ());
        let inherited = host().rlimits.get(&name.typ().to_string()).copied();
        let (soft, hard) = limit.map(|l| (l.soft(), l.hard())).or(inherited).expect("a limit");
        prop_assert!(soft <= size.0 && hard <= size.0 && soft <= hard, "{name:?} {soft}:{hard}");
    }
    for limit in after.rlimits().iter().flatten() {
        // One that was not asked for is no more than what would have been inherited.
        let asked = before.rlimits().iter().flatten().any(|asked| asked.typ() == limit.typ());
        let inherited = host().rlimits.get(&limit.typ().to_string()).copied().unwrap_or((u64::MAX, u64::MAX));
        let is_core_off = limit.soft() == 1 && limit.hard() == 1;
        prop_assert!(asked || is_core_off || limit.soft() <= inherited.0 && limit.hard() <= inherited.1, "{limit:?}");
    }
    for limit in before.rlimits().iter().flatten() {
        let kept = after.rlimits().iter().flatten().find(|kept| kept.typ() == limit.typ()).expect("a limit stays");
        // 1 is less than 0 for core files: no handler is started.
        let is_core_off = kept.soft() == 1 && kept.hard() == 1 && limit.typ().to_string() == "RLIMIT_CORE";
        prop_assert!(is_core_off || kept.soft() <= limit.soft() && kept.hard() <= limit.hard());
    }
    let real_time = |process: &oci_spec::runtime::Process| {
        let policy = process.scheduler().as_ref().map(|scheduler| *scheduler.policy());
        let class = process.io_priority().as_ref().map(oci_spec::runtime::LinuxIOPriority::class);
        (policy == Some(LinuxSchedulerPolicy::SchedFifo), class == Some(IOPriorityClass::IoprioClassRt))
    };
    prop_assert!(real_time(&after).0 <= real_time(&before).0 && real_time(&after).1 <= real_time(&before).1);
    prop_assert!(profile.process.real_time != Some(false) || real_time(&after) == (false, false));
    let (ids, asked_ids) = (after.user(), before.user());
    prop_assert!(ids == asked_ids || ids.uid() != 0 && ids.gid() != 0 && ids.additional_gids().is_none());
    for variable in after.env().iter().flatten() {
        let name = variable.split('=').next().unwrap_or_default();
        let set = profile.environment.set.iter().flatten().any(|(set, value)| *variable == format!("{set}={value}"));
        prop_assert!(set || before.env().iter().flatten().any(|known| known == variable));
        let rule = &profile.environment;
        prop_assert!(set || rule.allow.as_ref().is_none_or(|allow| allow.iter().any(|p| p.matches(name))));
        prop_assert!(set || !rule.deny.iter().flatten().any(|pattern| pattern.matches(name)));
    }
    Ok(())
}

/// The bits of a mount that take rights away.
const PROTECTIVE: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// What a mount ends with, after all that changes it: its own attributes, and those of what is below it in a bind.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    top: u64,
    below: u64,
}

impl Ends {
    /// Of a filesystem that is new, and has nothing below.
    fn new(options: &MountOptions) -> Self {
        let top = options.attributes.then(options.recursive).set;
        Self { top, below: top }
    }

    fn change(&mut self, options: &MountOptions) {
        let tree = options.recursive;
        self.below = self.below & !tree.clear | tree.set;
        self.top = self.top & !tree.clear | tree.set;
        self.top = self.top & !options.attributes.clear | options.attributes.set;
    }
}

/// How the mounts of a configuration end, by their index, and the root filesystem: where no link leads elsewhere.
fn ends(spec: &Spec) -> (Ends, Vec<Ends>) {
    let mounts: Vec<Seen> = spec.mounts().iter().flatten().map(see).collect();
    let readonly = spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default());
    let mut root = Ends { top: if readonly { attr::RDONLY } else { 0 }, below: 0 };
    let mut all = vec![Ends::default(); mounts.len()];
    for (at, mount) in mounts.iter().enumerate() {
        if mount.kind == "bind" {
            all[at].change(&mount.options);
            continue;
        }
        if mount.kind != "remount" {
            all[at] = Ends::new(&mount.options);
            continue;
        }
        // Of two on one place the later one is changed, and with it what is mounted inside.
        let is_root = mount.destination == Path::new("/");
        let on = (0..at).rev().find(|on| mounts[*on].kind != "remount" && mounts[*on].destination == mount.destination);
        match on {
            Some(on) => all[on].change(&mount.options),
            None if is_root => root.change(&mount.options),
            None => continue,
        }
        for inside in on.map_or(0, |on| on + 1)..at {
            let is_inside = mounts[inside].destination != mount.destination
                && mounts[inside].destination.starts_with(&mount.destination);
            if mounts[inside].kind != "remount" && (is_inside || is_root && on != Some(inside)) {
                let tree = MountOptions { attributes: mount.options.recursive, ..mount.options.clone() };
                all[inside].change(&tree);
            }
        }
    }
    (root, all)
}

/// Which mount of the configuration each one of the result was; `None` for those that the profile has added.
fn origins(asked: &Spec, got: &Spec) -> Vec<Option<usize>> {
    let key = |mount: &Mount| {
        let layers: Vec<String> = mount.options().iter().flatten().filter(|o| o.contains("dir=")).cloned().collect();
        (mount.destination().clone(), mount.typ().clone(), mount.source().clone(), see(mount).kind, layers)
    };
    let asked: Vec<_> = asked.mounts().iter().flatten().map(key).collect();
    let mut next = 0;
    let origin = |mount: &Mount| {
        let found = next + asked[next..].iter().position(|known| *known == key(mount))?;
        next = found + 1;
        Some(found)
    };
    got.mounts().iter().flatten().map(origin).collect()
}

struct Seen {
    kind: String,
    destination: PathBuf,
    options: MountOptions,
    recursive: bool,
}

fn see(mount: &Mount) -> Seen {
    let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
    let bind = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
    Seen {
        kind: if options.remount {
            "remount".into()
        } else if bind {
            "bind".into()
        } else {
            mount.typ().clone().unwrap_or_default()
        },
        destination: pent::spec::clean(&mount.destination().to_string_lossy()).into(),
        recursive: bind && options.bind.is_none_or(|reach| reach.recursive),
        options,
    }
}

/// Bytes of a tmpfs; nothing is the kernel's default, which is half of the memory.
fn size(options: &MountOptions) -> Option<u64> {
    let (_, value) = options.data.iter().rev().find(|(name, _)| name == "size" || name == "nr_blocks")?;
    value.as_ref()?.parse::<profile::Size>().ok().map(|size| size.0).filter(|size| *size > 0)
}

fn check_mounts(asked: &Spec, got: &Spec, profile: &Profile) -> Check {
    let rules = &profile.filesystem;
    let readonly = |spec: &Spec| spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default());
    prop_assert!(readonly(got) >= readonly(asked));
    prop_assert!(readonly(got) || rules.readonly_root != Some(true));
    let ((root_before, before), (root_after, after)) = (ends(asked), ends(got));
    prop_assert_eq!(root_before.top & PROTECTIVE & !root_after.top, 0);
    prop_assert!(root_after.top & attr::RDONLY != 0 || rules.readonly_root != Some(true));
    let origins = origins(asked, got);
    for (at, known) in asked.mounts().iter().flatten().enumerate() {
        prop_assert!(see(known).kind != "remount" || origins.contains(&Some(at)), "{known:?} is lost");
    }
    for (at, mount) in got.mounts().iter().flatten().enumerate() {
        let seen = see(mount);
        if seen.kind == "remount" {
            // Whatever it is that it changes, by way of a link.
            let gives = seen.options.attributes.clear | seen.options.recursive.clear;
            prop_assert!(gives & attr::NOSUID == 0 || rules.nosuid != Some(true), "{mount:?}");
            prop_assert!(gives & attr::NODEV == 0 || rules.nodev != Some(true), "{mount:?}");
            prop_assert!(gives & attr::NOEXEC == 0 || rules.writable.is_none(), "{mount:?}");
            let readonly = rules.readonly_root == Some(true)
                || rules.writable.is_some()
                || rules.writable_sources.is_some()
                || rules.readonly_sources.as_ref().is_some_and(|sources| !sources.is_empty())
                || rules.readonly_types.as_ref().is_some_and(|types| !types.is_empty());
            prop_assert!(gives & attr::RDONLY == 0 || !readonly, "{mount:?}");
            continue;
        }
        let Ends { top: set, below } = after[at];
        let added = origins[at].is_none();
        if let Some(origin) = origins[at] {
            prop_assert_eq!(before[origin].top & PROTECTIVE & !set, 0, "{:?} has lost a flag", mount);
            prop_assert_eq!(before[origin].below & PROTECTIVE & !below, 0, "{:?} has lost a flag below", mount);
        } else {
            prop_assert!(!readonly(asked) && readonly(got) && seen.kind == "tmpfs", "{mount:?} was not asked for");
            // In the place of what could be written to and executed from just as well.
            let around = asked.mounts().iter().flatten().map(see).zip(&before);
            let around =
                around.filter(|(other, _)| other.kind != "remount" && seen.destination.starts_with(&other.destination));
            let around = around.max_by_key(|(other, _)| other.destination.components().count());
            let around = around.map_or(root_before.top, |(_, ends)| ends.top);
            prop_assert_eq!(around & (attr::RDONLY | attr::NOEXEC) & !set, 0, "{:?} gives back", mount);
        }
        prop_assert!(rules.types.as_ref().is_none_or(|types| added || types.contains(&seen.kind)));
        let holds_devices = seen.kind == "devpts"
            || seen.destination == Path::new("/dev")
            || seen.kind == "bind" && mount.source().as_ref().is_some_and(|source| source.starts_with("/dev"));
        for (wanted, bit) in [(rules.nosuid, attr::NOSUID), (rules.nodev.filter(|_| !holds_devices), attr::NODEV)] {
            prop_assert!(wanted != Some(true) || set & bit != 0 && (!seen.recursive || below & bit != 0), "{mount:?}");
        }
        if rules.readonly_types.as_ref().is_some_and(|types| types.contains(&seen.kind)) {
            prop_assert!(set & attr::RDONLY != 0, "{mount:?}");
        }
        if rules.private_propagation == Some(true) {
            prop_assert!(!seen.options.propagation.iter().any(|p| p.spread == Spread::Shared), "{mount:?}");
        }
        let layer = |name: &str| seen.options.data.iter().any(|(key, _)| key == name) && seen.kind == "overlay";
        // The layers of the overlays above: of /srv, and, once the backslash is away, of /etc.
        if layer("lowerdir") {
            prop_assert!(
                rules.sources.is_none()
                    && rules
                        .forbidden_sources
                        .as_ref()
                        .is_none_or(|all| !all.iter().any(|s| s.path() == Path::new("/etc"))),
                "{mount:?}"
            );
        }
        if layer("upperdir") || seen.kind == "ext4" {
            let source = if layer("upperdir") {
                Path::new("/srv/data/up")
            } else {
                mount.source().as_deref().unwrap_or(Path::new(""))
            };
            let inside =
                |all: &std::collections::BTreeSet<profile::Absolute>| all.iter().any(|s| source.starts_with(s.path()));
            let is_path = source.is_absolute();
            prop_assert!(
                !is_path || source.starts_with("/home/..") || rules.sources.as_ref().is_none_or(inside),
                "{mount:?}"
            );
            prop_assert!(
                !is_path || rules.writable_sources.as_ref().is_none_or(inside) || set & attr::RDONLY != 0,
                "{mount:?}"
            );
            let fixed = rules.readonly_sources.iter().flatten().any(|fixed| fixed.meets(source));
            prop_assert!(!is_path || !fixed || set & attr::RDONLY != 0, "{mount:?}");
        }
        if seen.kind == "bind" {
            let source = mount.source().clone().unwrap_or_default();
            let source: PathBuf =
                if source.is_absolute() { pent::spec::clean(&source.to_string_lossy()).into() } else { source };
            prop_assert!(rules.sources.as_ref().is_none_or(|all| all.iter().any(|s| source.starts_with(s.path()))));
            for forbidden in rules.forbidden_sources.iter().flatten() {
                prop_assert!(
                    !source.starts_with(forbidden.path()) && !forbidden.path().starts_with(&source),
                    "{mount:?}"
                );
            }
            let may_write =
                rules.writable_sources.as_ref().is_none_or(|all| all.iter().any(|s| source.starts_with(s.path())));
            let fixed = rules.readonly_sources.iter().flatten().any(|fixed| fixed.meets(&source));
            prop_assert!(
                may_write && !fixed || set & attr::RDONLY != 0 && (!seen.recursive || below & attr::RDONLY != 0),
                "{mount:?}"
            );
        }
        if let Some(writable) = rules.writable.as_ref().filter(|_| seen.kind == "tmpfs" && set & attr::RDONLY == 0) {
            let entry = writable.iter().find(|(path, _)| path.path() == seen.destination);
            match entry {
                Some((_, Writable::Tmpfs(limits))) => {
                    prop_assert!(size(&seen.options).is_some_and(|size| size <= limits.size.0), "{mount:?}");
                    prop_assert!(!limits.noexec || set & attr::NOEXEC != 0, "{mount:?}");
                    let inodes = seen.options.data.iter().rev().find(|(name, _)| name == "nr_inodes");
                    let inodes = inodes.and_then(|(_, value)| value.as_ref()?.parse::<u64>().ok());
                    prop_assert!(
                        limits.inodes.is_none_or(|most| inodes.is_some_and(|n| n > 0 && n <= most)),
                        "{mount:?}"
                    );
                }
                _ => prop_assert_eq!(&seen.destination, Path::new("/dev")),
            }
        }
    }
    Ok(())
}

fn device_policy(spec: &Spec) -> Option<Policy> {
    let linux = spec.linux().clone().unwrap_or_default();
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().clone()).unwrap_or_default();
    let rules: Vec<DeviceRule> = rules
        .iter()
        .map(|rule| {
            let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
            let kind = match rule.typ().unwrap_or_default() {
                LinuxDeviceType::B => Some(Kind::Block),
                LinuxDeviceType::C => Some(Kind::Char),
                _ => None,
            };
            DeviceRule {
                allow: rule.allow(),
                devices: kind.map(|kind| Devices { kind, major: number(rule.major()), minor: number(rule.minor()) }),
                access: rule.access().as_deref().unwrap_or("rwm").parse::<profile::Access>().expect("letters").0,
            }
        })
        .chain(DEFAULT_RULES.iter().copied())
        .collect();
    Policy::of(&rules).ok()
}

fn check_linux(asked: &Spec, got: &Spec, profile: &Profile) -> Check {
    let (before, after) = (asked.linux().clone().unwrap_or_default(), got.linux().clone().unwrap_or_default());
    let is_new = |ns: &oci_spec::runtime::LinuxNamespace| ns.path().is_none();
    let find = |linux: &oci_spec::runtime::Linux, kind| {
        linux.namespaces().iter().flatten().find(|ns| ns.typ() == kind).cloned()
    };
    for ns in before.namespaces().iter().flatten() {
        let kept = find(&after, ns.typ()).expect("a namespace stays");
        prop_assert!(kept.path() == ns.path() || is_new(&kept));
    }
    for kind in profile.namespaces.own.iter().flatten() {
        prop_assert!(find(&after, *kind).is_some());
    }
    for ns in after.namespaces().iter().flatten() {
        let joinable = profile.namespaces.joinable.as_ref();
        prop_assert!(is_new(ns) || joinable.is_none_or(|all| all.contains(&ns.typ())));
    }
    let network = find(&after, LinuxNamespaceType::Network);
    match profile.network.reach {
        Some(Reach::None) => prop_assert!(network.is_some_and(|ns| is_new(&ns))),
        Some(Reach::Container) => prop_assert!(network.is_some()),
        _ => {}
    }
    if matches!(profile.network.reach, Some(Reach::None | Reach::Container)) {
        prop_assert!(after.net_devices().as_ref().is_none_or(|devices| devices.is_empty()));
    }
    for (name, device) in after.net_devices().iter().flatten() {
        prop_assert_eq!(before.net_devices().as_ref().and_then(|all| all.get(name)), Some(device));
    }
    let sorted = |paths: &Option<Vec<String>>| paths.clone().unwrap_or_default();
    for path in sorted(before.masked_paths()) {
        prop_assert!(sorted(after.masked_paths()).contains(&path));
    }
    for path in sorted(before.readonly_paths()) {
        prop_assert!(sorted(after.readonly_paths()).contains(&path));
    }
    for path in profile.filesystem.masked.iter().flatten() {
        prop_assert!(sorted(after.masked_paths()).contains(&path.to_string()));
    }
    for path in profile.filesystem.readonly.iter().flatten() {
        let path = path.to_string();
        prop_assert!(sorted(after.readonly_paths()).contains(&path) || sorted(after.masked_paths()).contains(&path));
    }
    for mount in got.mounts().iter().flatten().filter(|mount| see(mount).kind == "proc") {
        let at = see(mount).destination;
        for path in profile.filesystem.masked.iter().flatten().filter_map(|path| path.path().strip_prefix("/proc").ok())
        {
            prop_assert!(sorted(after.masked_paths()).contains(&at.join(path).to_string_lossy().into_owned()));
        }
    }
    for mount in got.mounts().iter().flatten().filter(|mount| see(mount).kind == "sysfs") {
        let at = see(mount).destination;
        for path in profile.filesystem.masked.iter().flatten().filter_map(|path| path.path().strip_prefix("/sys").ok())
        {
            prop_assert!(sorted(after.masked_paths()).contains(&at.join(path).to_string_lossy().into_owned()));
        }
    }
    for (name, value) in after.sysctl().iter().flatten() {
        prop_assert_eq!(before.sysctl().as_ref().and_then(|all| all.get(name)), Some(value));
        let dotted = name.replace('/', ".");
        prop_assert!(profile.sysctls.allow.as_ref().is_none_or(|all| all.iter().any(|p| p.matches(&dotted))));
    }
    let propagation = after.rootfs_propagation().clone().unwrap_or_default();
    prop_assert!(profile.filesystem.private_propagation != Some(true) || !propagation.contains("shared"));
    prop_assert!(propagation == "rprivate" || *before.rootfs_propagation() == *after.rootfs_propagation());
    check_resources(&before, &after, profile)?;
    for device in after.devices().iter().flatten() {
        prop_assert!(before.devices().iter().flatten().any(|known| known == device));
        let usual = (device.major(), device.minor()) == (1, 5) && device.typ() == LinuxDeviceType::C;
        let own = profile.devices.allow.iter().flatten().any(|(_, own)| {
            (i64::from(own.major), i64::from(own.minor)) == (device.major(), device.minor())
                && device.typ() == LinuxDeviceType::C
        });
        prop_assert!(profile.devices.allow.is_none() || usual || own, "{device:?}");
    }
    if let (Some(policy), Some(asked)) = (device_policy(got), device_policy(asked)) {
        let most = Policy::of(DEFAULT_RULES).expect("the default rules");
        for kind in [Kind::Char, Kind::Block] {
            for (major, minor) in [(1, 3), (1, 1), (10, 229), (8, 0), (5, 1), (136, 9), (250, 3)] {
                for access in 1..8 {
                    let allowed = policy.decide(kind, major, minor, access);
                    // Or what every container may do, whatever its configuration says.
                    let usual = most.decide(kind, major, minor, access);
                    prop_assert!(!allowed || usual || asked.decide(kind, major, minor, access));
                    let own = profile.devices.allow.iter().flatten().any(|(_, device)| {
                        (device.major, device.minor) == (major, minor)
                            && kind == Kind::Char
                            && access & !device.access.0 == 0
                    });
                    let node = access == 1;
                    let listed = own || node || most.decide(kind, major, minor, access & !1);
                    prop_assert!(
                        !allowed || profile.devices.allow.is_none() || listed,
                        "{kind:?} {major}:{minor} {access}"
                    );
                }
            }
        }
    }
    Ok(())
}

fn check_resources(before: &oci_spec::runtime::Linux, after: &oci_spec::runtime::Linux, profile: &Profile) -> Check {
    let resources = |linux: &oci_spec::runtime::Linux| linux.resources().clone().unwrap_or_default();
    let (before, after) = (resources(before), resources(after));
    let positive = |value: Option<i64>| value.filter(|value| *value > 0).unwrap_or(i64::MAX);
    let pids = |all: &oci_spec::runtime::LinuxResources| positive(all.pids().as_ref().map(|pids| pids.limit()));
    prop_assert!(pids(&after) <= pids(&before) && pids(&after) <= profile.cgroup.pids.unwrap_or(i64::MAX));
    let memory =
        |all: &oci_spec::runtime::LinuxResources| positive(all.memory().as_ref().and_then(|memory| memory.limit()));
    let most = profile.cgroup.memory.map_or(i64::MAX, |size| i64::try_from(size.0).expect("small"));
    prop_assert!(memory(&after) <= memory(&before) && memory(&after) <= most);
    let swap =
        |all: &oci_spec::runtime::LinuxResources| positive(all.memory().as_ref().and_then(|memory| memory.swap()));
    prop_assert!(swap(&after) <= swap(&before).max(memory(&after)));
    if let Some(most) = profile.cgroup.swap.filter(|_| memory(&after) != i64::MAX) {
        prop_assert!(swap(&after) - memory(&after) <= i64::try_from(most.0).expect("small"));
    }
    let cpus = |all: &oci_spec::runtime::LinuxResources| {
        let cpu = all.cpu().clone().unwrap_or_default();
        let period = cpu.period().unwrap_or(100_000);
        cpu.quota().filter(|quota| *quota > 0).map_or(f64::INFINITY, |quota| quota as f64 / period as f64)
    };
    prop_assert!(cpus(&after) <= cpus(&before) && cpus(&after) <= profile.cgroup.cpus.unwrap_or(f64::INFINITY));
    let cpu = after.cpu().clone().unwrap_or_default();
    prop_assert!(profile.cgroup.cpus.is_none() || cpu.realtime_runtime().unwrap_or_default() == 0);
    if let (Some(burst), Some(quota)) = (
        cpu.burst(),
        cpu.quota().filter(|quota| *quota > 0 && Some(*quota) != before.cpu().as_ref().and_then(|cpu| cpu.quota())),
    ) {
        prop_assert!(burst <= quota.unsigned_abs() || profile.cgroup.cpus.is_none());
    }
    let kills = |all: &oci_spec::runtime::LinuxResources| {
        all.memory().as_ref().is_none_or(|memory| memory.disable_oom_killer() != Some(true))
    };
    prop_assert!(kills(&after) >= kills(&before) && (kills(&after) || profile.cgroup.memory.is_none()));
    // What is written after the limits, as it is.
    let (asked, got) = (before.unified().clone().unwrap_or_default(), after.unified().clone().unwrap_or_default());
    let mut files: [Vec<_>; 2] = [&asked, &got].map(|files| files.keys().cloned().collect());
    files.iter_mut().for_each(|files| files.sort());
    prop_assert_eq!(&files[0], &files[1]);
    let number = |value: &str| match value {
        "max" => u64::MAX,
        "0x10000000000" => 1 << 40,
        "1G" => 1 << 30,
        value => value.parse().unwrap_or_else(|_| panic!("{value}")),
    };
    for (file, most) in [
        ("pids.max", profile.cgroup.pids.map(i64::unsigned_abs)),
        ("memory.max", profile.cgroup.memory.map(|size| size.0)),
        ("memory.swap.max", profile.cgroup.swap.map(|size| size.0)),
    ] {
        let (Some(asked), Some(got)) = (asked.get(file), got.get(file)) else { continue };
        prop_assert!(number(got) <= number(asked) && number(got) <= most.unwrap_or(u64::MAX), "{file} {asked} {got}");
    }
    if let (Some(asked), Some(got)) = (asked.get("cpu.max"), got.get("cpu.max")) {
        // A quota by itself goes with the period that was set before it.
        let share = |value: &str, cpu: &Option<oci_spec::runtime::LinuxCpu>| {
            let own = cpu.as_ref().and_then(|cpu| cpu.period()).unwrap_or(100_000);
            let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
            let period = period.parse::<f64>().unwrap_or(own as f64);
            quota.parse::<f64>().map_or(f64::INFINITY, |quota| quota / period)
        };
        let (asked, got) = (share(asked, before.cpu()), share(got, after.cpu()));
        prop_assert!(got <= asked && got <= profile.cgroup.cpus.unwrap_or(f64::INFINITY), "cpu.max {asked} {got}");
    }
    Ok(())
}

#[allow(deprecated)]
fn check_hooks(asked: &Spec, got: &Spec, profile: &Profile) -> Check {
    let all = |spec: &Spec| {
        let hooks = spec.hooks().clone().unwrap_or_default();
        let lists = [
            hooks.prestart(),
            hooks.create_runtime(),
            hooks.create_container(),
            hooks.start_container(),
            hooks.poststart(),
            hooks.poststop(),
        ];
        lists.map(|list| list.clone().unwrap_or_default())
    };
    for (asked, got) in all(asked).iter().zip(all(got)) {
        for hook in got {
            prop_assert!(asked.contains(&hook));
            let allowed = profile.hooks.allow.as_ref();
            prop_assert!(allowed.is_none_or(|allowed| allowed.iter().any(|known| known.path.path() == hook.path())));
        }
    }
    Ok(())
}

/// What is enforced beyond the configuration, and what is left to check.
#[allow(deprecated)]
fn check_beside(got: &Spec, profile: &Profile, tightened: &Tightened) -> Check {
    let hooks = got.hooks().clone().unwrap_or_default();
    let kept = hooks.create_runtime().iter().flatten().chain(hooks.poststop().iter().flatten());
    for hook in kept.filter(|_| profile.hooks.allow.is_some()) {
        let checks = |check: &&profile::HookCheck| check.path == *hook.path();
        let expected = profile.hooks.allow.iter().flatten().find(|known| known.path.path() == hook.path());
        let expected = expected.and_then(|known| known.sha256.clone());
        prop_assert_eq!(tightened.hooks.iter().find(checks).map(|check| check.sha256.clone()), expected);
    }
    let rules = &profile.landlock;
    let Some(held) = &tightened.hardening.landlock else {
        prop_assert_eq!(rules, &profile::Landlock::default());
        return Ok(());
    };
    let ports =
        |set: &Option<std::collections::BTreeSet<u16>>| set.as_ref().map(|set| set.iter().copied().collect::<Vec<_>>());
    prop_assert_eq!(&held.bind_tcp, &ports(&rules.bind_tcp));
    prop_assert_eq!(&held.connect_tcp, &ports(&rules.connect_tcp));
    prop_assert_eq!(held.scope_abstract, rules.scope_abstract == Some(true));
    prop_assert_eq!(held.scope_signals, rules.scope_signals == Some(true));
    prop_assert!(held.required_abi >= rules.required_abi);
    let entrypoint = rules.execute_entrypoint == Some(true);
    prop_assert_eq!(held.execute.is_some(), rules.execute.is_some() || entrypoint);
    for path in held.execute.iter().flatten() {
        let listed = rules.execute.iter().flatten().any(|known| known.path() == path.as_path());
        prop_assert!(listed || entrypoint && path.as_path().ends_with("sh"), "{path:?}");
    }
    Ok(())
}

/// What no rule speaks of stays as it is: labels, filters and whatever a later specification adds.
fn check_untouched(asked: &Spec, got: &Spec) -> Check {
    let rest = |spec: &Spec| {
        let mut value = serde_json::to_value(spec).expect("JSON");
        for touched in [
            "/process/user",
            "/process/capabilities",
            "/process/noNewPrivileges",
            "/process/rlimits",
            "/process/env",
            "/process/terminal",
            "/process/consoleSize",
            "/process/scheduler",
            "/process/ioPriority",
            "/root/readonly",
            "/mounts",
            "/hostname",
            "/hooks",
            "/linux/namespaces",
            "/linux/devices",
            "/linux/sysctl",
            "/linux/netDevices",
            "/linux/maskedPaths",
            "/linux/readonlyPaths",
            "/linux/rootfsPropagation",
            "/linux/resources/devices",
            "/linux/resources/memory/limit",
            "/linux/resources/memory/swap",
            "/linux/resources/memory/disableOOMKiller",
            "/linux/resources/pids",
            "/linux/resources/cpu/quota",
            "/linux/resources/cpu/period",
            "/linux/resources/cpu/burst",
            "/linux/resources/cpu/realtimeRuntime",
            "/linux/resources/cpu/realtimePeriod",
            "/linux/resources/unified/pids.max",
            "/linux/resources/unified/memory.max",
            "/linux/resources/unified/memory.swap.max",
            "/linux/resources/unified/cpu.max",
        ] {
            let (parent, name) = touched.rsplit_once('/').expect("a path");
            if let Some(Value::Object(members)) = value.pointer_mut(parent) {
                members.remove(name);
            }
        }
        // Filled in, they are there.
        for emptied in ["/linux/resources/memory", "/linux/resources/cpu", "/linux/resources"] {
            if value.pointer(emptied).is_some_and(|members| *members == json!({})) {
                let (parent, name) = emptied.rsplit_once('/').expect("a path");
                value.pointer_mut(parent).and_then(Value::as_object_mut).map(|members| members.remove(name));
            }
        }
        value
    };
    prop_assert_eq!(rest(asked), rest(got));
    Ok(())
}

/// The same, and if not, where.
fn assert_same(one: &Spec, other: &Spec) -> Check {
    // Sets have no order in memory.
    if one == other {
        return Ok(());
    }
    let value = |spec: &Spec| serde_json::to_value(spec).expect("JSON");
    let (one, other) = (value(one), value(other));
    for member in ["process", "root", "mounts", "hostname", "hooks", "linux"] {
        for part in one[member].as_object().into_iter().flatten().map(|(name, _)| name) {
            prop_assert_eq!(&one[member][part], &other[member][part], "{}.{}", member, part);
        }
        prop_assert_eq!(&one[member], &other[member], "{}", member);
    }
    prop_assert_eq!(one, other);
    Ok(())
}

fn check(asked: &Spec, profile: &Profile) -> Check {
    let mut got = asked.clone();
    let Ok(tightened) = profile::tighten(profile, &mut got, &host()) else { return Ok(()) };
    check_process(asked, &got, profile)?;
    check_mounts(asked, &got, profile)?;
    check_linux(asked, &got, profile)?;
    check_hooks(asked, &got, profile)?;
    check_beside(&got, profile, &tightened)?;
    check_untouched(asked, &got)?;
    // What was cut once is not cut again, and what was kept on disk is what was cut.
    let mut again = got.clone();
    let second = profile::tighten(profile, &mut again, &host()).map_err(|d| TestCaseError::fail(format!("{d:?}")))?;
    let beside_the_filter: Vec<_> = second.changes.iter().filter(|change| change.rule != Rule::Seccomp).collect();
    prop_assert!(beside_the_filter.is_empty(), "{beside_the_filter:#?}");
    assert_same(&again, &got)?;
    let text = serde_json::to_vec(&got).expect("JSON");
    let read = pent::spec::parse(&text).map_err(|found| TestCaseError::fail(format!("{found:?}")))?;
    assert_same(&read.spec, &got)?;
    // Whatever differs is recorded.
    if got != *asked {
        let what = serde_json::to_string_pretty(&json!({ "asked": asked, "got": got })).expect("JSON");
        prop_assert!(tightened.changes.iter().any(|change| change.rule != Rule::Seccomp), "nothing recorded: {what}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tightened_configuration_is_no_more_permissive_than_either(spec in any_spec(), profile in any_profile()) {
        check(&spec, &profile)?;
    }

    #[test]
    fn also_by_every_shipped_profile(spec in any_spec(), name in shipped()) {
        check(&spec, &tightening(name))?;
    }

    /// One rule that only warns does not switch off another that a remount would undo.
    #[test]
    fn a_warning_excuses_from_no_other_rule(spec in any_spec(), mut profile in any_profile()) {
        profile.modes.insert(Rule::ReadonlyTypes, Mode::Warn);
        profile.modes.insert(Rule::WritableSources, Mode::Warn);
        profile.filesystem.readonly_root = Some(true);
        let mut got = spec.clone();
        if profile::tighten(&profile, &mut got, &host()).is_ok() {
            prop_assert!(ends(&got).0.top & attr::RDONLY != 0);
        }
    }

    /// Of two profiles, one after the other, the result is within both.
    #[test]
    fn two_profiles_hold_together(spec in any_spec(), one in any_profile(), two in any_profile()) {
        let mut got = spec.clone();
        let Ok(first) = profile::tighten(&one, &mut got, &host()) else { return Ok(()) };
        let between = got.clone();
        let Ok(second) = profile::tighten(&two, &mut got, &host()) else { return Ok(()) };
        check_process(&between, &got, &two)?;
        check_mounts(&between, &got, &two)?;
        check_linux(&between, &got, &two)?;
        let execute = |held: &Tightened| held.hardening.landlock.clone();
        let (a, b) = (execute(&first), execute(&second));
        let both = first.and(second).map_err(|d| TestCaseError::fail(format!("{d:?}")))?.hardening.landlock;
        prop_assert_eq!(both.is_some(), a.is_some() || b.is_some());
        let Some(both) = both else { return Ok(()) };
        for single in a.iter().chain(&b) {
            for (held, most) in [(&both.bind_tcp, &single.bind_tcp), (&both.connect_tcp, &single.connect_tcp)] {
                let within = |most: &Vec<u16>| held.as_ref().is_some_and(|held| held.iter().all(|port| most.contains(port)));
                prop_assert!(most.as_ref().is_none_or(within));
            }
            prop_assert!(both.scope_abstract >= single.scope_abstract && both.scope_signals >= single.scope_signals);
            prop_assert!(both.required_abi >= single.required_abi);
            for program in ["/usr/bin/cc", "/usr/lib/x", "/opt/x", "/bin/sh", "/srv/x"].map(Path::new) {
                let may = |rules: &pent::plan::hardening::Landlock| {
                    rules.execute.as_ref().is_none_or(|all| all.iter().any(|path| program.starts_with(path.as_path())))
                };
                prop_assert!(!may(&both) || may(single), "{program:?}");
            }
        }
    }

    /// What joins a container is held as its first process was.
    #[test]
    fn what_joins_is_no_more_permissive_than_either(spec in any_spec(), joins in any_spec(), profile in any_profile()) {
        let mut process = joins.process().clone().expect("a process");
        if profile::tighten_process(&profile, &mut process, &spec, &host()).is_ok() {
            let with = |process| {
                let mut with = spec.clone();
                with.set_process(Some(process));
                with
            };
            check_process(&with(joins.process().clone().expect("a process")), &with(process), &profile)?;
        }
    }

    /// New limits are no more than the profile's and no more than asked for, and nothing that is not given is filled in.
    #[test]
    fn new_limits_are_no_more_permissive_than_either(spec in any_spec(), profile in any_profile()) {
        let asked = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
        let mut got = asked.clone();
        profile::tighten_limits(&profile, &mut got, None, &host()).map_err(|d| TestCaseError::fail(format!("{d:?}")))?;
        prop_assert_eq!(got.pids().is_some(), asked.pids().is_some());
        prop_assert_eq!(got.cpu().is_some(), asked.cpu().is_some());
        prop_assert_eq!(got.memory().is_some(), asked.memory().is_some());
        let given = |resources: &oci_spec::runtime::LinuxResources| (
            resources.memory().as_ref().and_then(|memory| memory.limit()).filter(|limit| *limit != 0),
            resources.pids().as_ref().map(|pids| pids.limit()).filter(|limit| *limit != 0),
            resources.cpu().as_ref().and_then(|cpu| cpu.quota()).filter(|quota| *quota != 0),
        );
        let (memory, pids, quota) = given(&got);
        let (asked_memory, asked_pids, _) = given(&asked);
        let within = |got: Option<i64>, asked: Option<i64>, most: Option<i64>| {
            let positive = |limit: Option<i64>| limit.filter(|limit| *limit > 0).unwrap_or(i64::MAX);
            got.is_none() || positive(got) <= positive(asked) && positive(got) <= positive(most)
        };
        prop_assert!(within(memory, asked_memory, profile.cgroup.memory.and_then(|size| i64::try_from(size.0).ok())));
        prop_assert!(within(pids, asked_pids, profile.cgroup.pids));
        if let (Some(quota), Some(most)) = (quota, profile.cgroup.cpus) {
            let period = got.cpu().as_ref().and_then(|cpu| cpu.period()).unwrap_or(100_000);
            prop_assert!(quota > 0 && quota as f64 <= most * period as f64);
        }
    }

    /// In the mode `warn` nothing is changed, and in the mode `enforce` nothing that the configuration states.
    #[test]
    fn warnings_change_nothing(spec in any_spec(), mut profile in any_profile()) {
        profile.modes = Rule::ALL.iter().map(|rule| (*rule, Mode::Warn)).collect();
        let mut got = spec.clone();
        let tightened = profile::tighten(&profile, &mut got, &host()).map_err(|d| TestCaseError::fail(format!("{d:?}")))?;
        prop_assert!(tightened.changes.is_empty(), "{:?}", tightened.changes);
        assert_same(&got, &spec)?;
    }

    /// A profile survives the file it is kept in.
    #[test]
    fn profiles_survive_their_file(profile in any_profile()) {
        let text = serde_json::to_string(&profile).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Profile>(&text).expect(&text), profile);
    }
}
