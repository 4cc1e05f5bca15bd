//! The shape of config.json as tables: every property of runtime-spec 1.3 for Linux, with its type and its allowed names.
//!
//! Only the slow path reads them, to say what is wrong where; `tests::agrees_with_the_types` holds them against oci-spec.
#![forbid(unsafe_code)]

/// What a value may be.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Text,
    /// A whole number in this range.
    Int(i128, i128),
    /// One name of a list; `what` names it in messages.
    Name(&'static Names),
    /// CPUs or memory nodes, `0-3,7`.
    CpuList,
    List(&'static Kind),
    Map(&'static Kind),
    Object(&'static Object),
    /// Belongs to another platform: dropped unread.
    Foreign,
}

/// A closed list of names.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) what: &'static str,
    pub(super) known: &'static [&'static str],
    pub(super) unknown: Unknown,
}

/// What becomes of a name that is not in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The container must not run.
    Reject,
    /// It is left out, with a warning that says what that means.
    Drop(&'static str),
}

/// The properties of an object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) fields: &'static [Field],
}

/// One property.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    /// Whether a near miss of the name is an error, because what it asks for protects something.
    pub(super) guard: bool,
    /// The name oci-spec's types expect, where that is not the specification's.
    pub(super) typed: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Optional,
    Required,
}

/// Every property whose value is a list, sorted; none of them is anything else anywhere (`tests::lists_are_known`).
pub(super) const LISTS: &[&[u8]] = &[
    b"additionalGids",
    b"ambient",
    b"architectures",
    b"args",
    b"bounding",
    b"createContainer",
    b"createRuntime",
    b"devices",
    b"effective",
    b"env",
    b"flags",
    b"gidMappings",
    b"hugepageLimits",
    b"inheritable",
    b"maskedPaths",
    b"mounts",
    b"names",
    b"namespaces",
    b"options",
    b"permitted",
    b"poststart",
    b"poststop",
    b"prestart",
    b"priorities",
    b"readonlyPaths",
    b"rlimits",
    b"schemata",
    b"startContainer",
    b"syscalls",
    b"throttleReadBpsDevice",
    b"throttleReadIOPSDevice",
    b"throttleWriteBpsDevice",
    b"throttleWriteIOPSDevice",
    b"uidMappings",
    b"weightDevice",
];

/// Whether a property of this name holds a list.
pub(super) fn is_list(name: &[u8]) -> bool {
    LISTS.binary_search(&name).is_ok()
}

impl Object {
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl Field {
    const fn guarded(mut self) -> Self {
        self.guard = true;
        self
    }

    const fn required(mut self) -> Self {
        self.need = Need::Required;
        self
    }

    const fn typed(mut self, name: &'static str) -> Self {
        self.typed = Some(name);
        self
    }
}

const fn f(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, need: Need::Optional, guard: false, typed: None }
}

const U16: Kind = Kind::Int(0, u16::MAX as i128);
const U32: Kind = Kind::Int(0, u32::MAX as i128);
const U64: Kind = Kind::Int(0, u64::MAX as i128);
const I32: Kind = Kind::Int(i32::MIN as i128, i32::MAX as i128);
const I64: Kind = Kind::Int(i64::MIN as i128, i64::MAX as i128);
const TEXTS: Kind = Kind::List(&Kind::Text);
const STRINGS: Kind = Kind::Map(&Kind::Text);
const ID_MAPPINGS: Kind = Kind::List(&Kind::Object(&ID_MAPPING));
const CAPABILITIES: Kind = Kind::List(&Kind::Name(&CAPABILITY));
const HOOK_LIST: Kind = Kind::List(&Kind::Object(&HOOK));
const THROTTLES: Kind = Kind::List(&Kind::Object(&THROTTLE_DEVICE));

/// config.json
pub(super) static SPEC: Object = Object {
    fields: &[
        f("ociVersion", Kind::Text).required(),
        f("root", Kind::Object(&ROOT)).guarded(),
        f("mounts", Kind::List(&Kind::Object(&MOUNT))).guarded(),
        f("process", Kind::Object(&PROCESS)).guarded(),
        f("hostname", Kind::Text),
        f("domainname", Kind::Text),
        f("hooks", Kind::Object(&HOOKS)).guarded(),
        f("annotations", STRINGS),
        f("linux", Kind::Object(&LINUX)).guarded(),
        f("solaris", Kind::Foreign),
        f("windows", Kind::Foreign),
        f("vm", Kind::Foreign),
        f("zos", Kind::Foreign),
        f("freebsd", Kind::Foreign),
    ],
};

static ROOT: Object = Object { fields: &[f("path", Kind::Text).required(), f("readonly", Kind::Bool).guarded()] };

static MOUNT: Object = Object {
    fields: &[
        f("destination", Kind::Text).required(),
        f("type", Kind::Text),
        f("source", Kind::Text),
        f("options", TEXTS).guarded(),
        f("uidMappings", ID_MAPPINGS).guarded(),
        f("gidMappings", ID_MAPPINGS).guarded(),
    ],
};

static ID_MAPPING: Object =
    Object { fields: &[f("containerID", U32).guarded(), f("hostID", U32).guarded(), f("size", U32).guarded()] };

/// `process` of config.json, and the whole of a file given to `exec --process`.
pub(super) static PROCESS: Object = Object {
    fields: &[
        f("terminal", Kind::Bool),
        f("consoleSize", Kind::Object(&BOX)),
        f("user", Kind::Object(&USER)).guarded(),
        f("args", TEXTS),
        f("commandLine", Kind::Foreign),
        f("env", TEXTS),
        f("cwd", Kind::Text).required(),
        f("capabilities", Kind::Object(&CAPABILITY_SETS)).guarded(),
        f("rlimits", Kind::List(&Kind::Object(&RLIMIT))).guarded(),
        f("noNewPrivileges", Kind::Bool).guarded(),
        f("apparmorProfile", Kind::Text).guarded(),
        f("oomScoreAdj", I32),
        f("selinuxLabel", Kind::Text).guarded(),
        f("ioPriority", Kind::Object(&IO_PRIORITY)),
        f("scheduler", Kind::Object(&SCHEDULER)),
        f("execCPUAffinity", Kind::Object(&CPU_AFFINITY)),
    ],
};

static BOX: Object = Object { fields: &[f("height", U64), f("width", U64)] };

static USER: Object = Object {
    fields: &[
        f("uid", U32).guarded(),
        f("gid", U32).guarded(),
        f("umask", U32).guarded(),
        f("additionalGids", Kind::List(&U32)).guarded(),
        f("username", Kind::Text),
    ],
};

static CAPABILITY_SETS: Object = Object {
    fields: &[
        f("bounding", CAPABILITIES).guarded(),
        f("effective", CAPABILITIES).guarded(),
        f("inheritable", CAPABILITIES).guarded(),
        f("permitted", CAPABILITIES).guarded(),
        f("ambient", CAPABILITIES).guarded(),
    ],
};

static RLIMIT: Object = Object {
    fields: &[f("type", Kind::Name(&RLIMIT_TYPE)).required(), f("hard", U64).guarded(), f("soft", U64).guarded()],
};

static IO_PRIORITY: Object = Object { fields: &[f("class", Kind::Name(&IO_CLASS)).required(), f("priority", I64)] };

static SCHEDULER: Object = Object {
    fields: &[
        f("policy", Kind::Name(&SCHEDULER_POLICY)).required(),
        f("nice", I32),
        f("priority", I32),
        f("flags", Kind::List(&Kind::Name(&SCHEDULER_FLAG))),
        f("runtime", U64),
        f("deadline", U64),
        f("period", U64),
    ],
};

static CPU_AFFINITY: Object = Object { fields: &[f("initial", Kind::CpuList), f("final", Kind::CpuList)] };

pub(super) static HOOKS: Object = Object {
    fields: &[
        f("prestart", HOOK_LIST).guarded(),
        f("createRuntime", HOOK_LIST).guarded(),
        f("createContainer", HOOK_LIST).guarded(),
        f("startContainer", HOOK_LIST).guarded(),
        f("poststart", HOOK_LIST).guarded(),
        f("poststop", HOOK_LIST).guarded(),
    ],
};

static HOOK: Object =
    Object { fields: &[f("path", Kind::Text).required(), f("args", TEXTS), f("env", TEXTS), f("timeout", I64)] };

static LINUX: Object = Object {
    fields: &[
        f("netDevices", Kind::Map(&Kind::Object(&NET_DEVICE))).guarded(),
        f("uidMappings", ID_MAPPINGS).guarded(),
        f("gidMappings", ID_MAPPINGS).guarded(),
        f("sysctl", STRINGS).guarded(),
        f("resources", Kind::Object(&RESOURCES)).guarded(),
        f("cgroupsPath", Kind::Text).guarded(),
        f("namespaces", Kind::List(&Kind::Object(&NAMESPACE))).guarded(),
        f("devices", Kind::List(&Kind::Object(&DEVICE))).guarded(),
        f("seccomp", Kind::Object(&SECCOMP)).guarded(),
        f("rootfsPropagation", Kind::Text).guarded(),
        f("maskedPaths", TEXTS).guarded(),
        f("readonlyPaths", TEXTS).guarded(),
        f("mountLabel", Kind::Text).guarded(),
        f("intelRdt", Kind::Object(&INTEL_RDT)),
        f("memoryPolicy", Kind::Object(&MEMORY_POLICY)),
        f("personality", Kind::Object(&PERSONALITY)),
        f("timeOffsets", Kind::Map(&Kind::Object(&TIME_OFFSET))),
    ],
};

static NET_DEVICE: Object = Object { fields: &[f("name", Kind::Text)] };

static NAMESPACE: Object =
    Object { fields: &[f("type", Kind::Name(&NAMESPACE_TYPE)).required(), f("path", Kind::Text).guarded()] };

static DEVICE: Object = Object {
    fields: &[
        f("path", Kind::Text).required(),
        f("type", Kind::Name(&DEVICE_TYPE)).required(),
        f("major", I64),
        f("minor", I64),
        f("fileMode", U32).guarded(),
        f("uid", U32).guarded(),
        f("gid", U32).guarded(),
    ],
};

/// `linux.resources` of config.json, and the whole of what `update --resources` reads.
pub(super) static RESOURCES: Object = Object {
    fields: &[
        f("devices", Kind::List(&Kind::Object(&DEVICE_RULE))).guarded(),
        f("memory", Kind::Object(&MEMORY)).guarded(),
        f("cpu", Kind::Object(&CPU)).guarded(),
        f("pids", Kind::Object(&PIDS)).guarded(),
        f("blockIO", Kind::Object(&BLOCK_IO)).guarded(),
        f("hugepageLimits", Kind::List(&Kind::Object(&HUGEPAGE_LIMIT))).guarded(),
        f("network", Kind::Object(&NETWORK)).guarded(),
        f("rdma", Kind::Map(&Kind::Object(&RDMA))).guarded(),
        f("unified", STRINGS).guarded(),
    ],
};

static DEVICE_RULE: Object = Object {
    fields: &[
        f("allow", Kind::Bool).guarded(),
        f("type", Kind::Name(&DEVICE_TYPE)),
        f("major", I64).guarded(),
        f("minor", I64).guarded(),
        f("access", Kind::Text).guarded(),
    ],
};

static MEMORY: Object = Object {
    fields: &[
        f("limit", I64).guarded(),
        f("reservation", I64).guarded(),
        f("swap", I64).guarded(),
        f("kernel", I64),
        f("kernelTCP", I64),
        f("swappiness", U64),
        f("disableOOMKiller", Kind::Bool),
        f("useHierarchy", Kind::Bool),
        f("checkBeforeUpdate", Kind::Bool),
    ],
};

static CPU: Object = Object {
    fields: &[
        f("shares", U64).guarded(),
        f("quota", I64).guarded(),
        f("idle", I64),
        f("burst", U64),
        f("period", U64).guarded(),
        f("realtimeRuntime", I64),
        f("realtimePeriod", U64),
        f("cpus", Kind::Text),
        f("mems", Kind::Text),
    ],
};

pub(super) static PIDS: Object = Object { fields: &[f("limit", I64).guarded()] };

static BLOCK_IO: Object = Object {
    fields: &[
        f("weight", U16),
        f("leafWeight", U16),
        f("weightDevice", Kind::List(&Kind::Object(&WEIGHT_DEVICE))),
        f("throttleReadBpsDevice", THROTTLES).guarded(),
        f("throttleWriteBpsDevice", THROTTLES).guarded(),
        f("throttleReadIOPSDevice", THROTTLES).guarded(),
        f("throttleWriteIOPSDevice", THROTTLES).guarded(),
    ],
};

static WEIGHT_DEVICE: Object =
    Object { fields: &[f("major", I64), f("minor", I64), f("weight", U16), f("leafWeight", U16)] };

static THROTTLE_DEVICE: Object = Object { fields: &[f("major", I64), f("minor", I64), f("rate", U64).guarded()] };

/// The limit is unsigned in the specification and signed in oci-spec: the pass over this object brings it into range.
pub(super) static HUGEPAGE_LIMIT: Object =
    Object { fields: &[f("pageSize", Kind::Text).required(), f("limit", U64).required().guarded()] };

static NETWORK: Object =
    Object { fields: &[f("classID", U32), f("priorities", Kind::List(&Kind::Object(&INTERFACE_PRIORITY)))] };

static INTERFACE_PRIORITY: Object = Object { fields: &[f("name", Kind::Text), f("priority", U32)] };

static RDMA: Object = Object { fields: &[f("hcaHandles", U32).guarded(), f("hcaObjects", U32).guarded()] };

pub(super) static SECCOMP: Object = Object {
    fields: &[
        f("defaultAction", Kind::Name(&SECCOMP_ACTION)).required().guarded(),
        f("defaultErrnoRet", U32).guarded(),
        f("architectures", Kind::List(&Kind::Name(&SECCOMP_ARCH))).guarded(),
        f("flags", Kind::List(&Kind::Name(&SECCOMP_FLAG))).guarded(),
        f("listenerPath", Kind::Text).guarded(),
        f("listenerMetadata", Kind::Text),
        f("syscalls", Kind::List(&Kind::Object(&SYSCALL))).guarded(),
    ],
};

static SYSCALL: Object = Object {
    fields: &[
        f("names", TEXTS).required().guarded(),
        f("action", Kind::Name(&SECCOMP_ACTION)).required().guarded(),
        f("errnoRet", U32).guarded(),
        f("args", Kind::List(&Kind::Object(&SECCOMP_ARG))).guarded(),
    ],
};

static SECCOMP_ARG: Object = Object {
    fields: &[
        f("index", U64).required().guarded(),
        f("value", U64).required().guarded(),
        f("valueTwo", U64).guarded(),
        f("op", Kind::Name(&SECCOMP_OPERATOR)).required().guarded(),
    ],
};

static INTEL_RDT: Object = Object {
    fields: &[
        f("closID", Kind::Text),
        f("schemata", TEXTS),
        f("l3CacheSchema", Kind::Text),
        f("memBwSchema", Kind::Text),
        f("enableCMT", Kind::Bool).typed("enableCmt"),
        f("enableMBM", Kind::Bool).typed("enableMbm"),
        f("enableMonitoring", Kind::Bool),
    ],
};

static MEMORY_POLICY: Object = Object {
    fields: &[
        f("mode", Kind::Name(&MEMORY_MODE)).required(),
        f("nodes", Kind::Text),
        f("flags", Kind::List(&Kind::Name(&MEMORY_FLAG))),
    ],
};

static PERSONALITY: Object =
    Object { fields: &[f("domain", Kind::Name(&PERSONALITY_DOMAIN)).required(), f("flags", TEXTS)] };

static TIME_OFFSET: Object = Object { fields: &[f("secs", I64), f("nanosecs", U32)] };

const fn names(what: &'static str, known: &'static [&'static str]) -> Names {
    Names { what, known, unknown: Unknown::Reject }
}

/// Spelled as the specification does; matched without regard to case and prefix, like oci-spec.
pub(super) static CAPABILITY: Names = Names {
    what: "capability",
    known: &[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_LINUX_IMMUTABLE",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_BROADCAST",
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "CAP_IPC_LOCK",
        "CAP_IPC_OWNER",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE",
        "CAP_SYS_PACCT",
        "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT",
        "CAP_SYS_NICE",
        "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME",
        "CAP_SYS_TTY_CONFIG",
        "CAP_MKNOD",
        "CAP_LEASE",
        "CAP_AUDIT_WRITE",
        "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP",
        "CAP_MAC_OVERRIDE",
        "CAP_MAC_ADMIN",
        "CAP_SYSLOG",
        "CAP_WAKE_ALARM",
        "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ",
        "CAP_PERFMON",
        "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE",
    ],
    unknown: Unknown::Drop("the container does not get it"),
};

static RLIMIT_TYPE: Names = names(
    "rlimit",
    &[
        "RLIMIT_CPU",
        "RLIMIT_FSIZE",
        "RLIMIT_DATA",
        "RLIMIT_STACK",
        "RLIMIT_CORE",
        "RLIMIT_RSS",
        "RLIMIT_NPROC",
        "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK",
        "RLIMIT_AS",
        "RLIMIT_LOCKS",
        "RLIMIT_SIGPENDING",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
    ],
);

static IO_CLASS: Names = names("I/O priority class", &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]);

static SCHEDULER_POLICY: Names = names(
    "scheduler policy",
    &["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"],
);

pub(super) static SCHEDULER_FLAG: Names = names(
    "scheduler flag",
    &[
        "SCHED_FLAG_RESET_ON_FORK",
        "SCHED_FLAG_RECLAIM",
        "SCHED_FLAG_DL_OVERRUN",
        "SCHED_FLAG_KEEP_POLICY",
        "SCHED_FLAG_KEEP_PARAMS",
        "SCHED_FLAG_UTIL_CLAMP_MIN",
        "SCHED_FLAG_UTIL_CLAMP_MAX",
    ],
);

/// What oci-spec's derived names are for scheduler flags the specification spells otherwise.
pub(super) const SCHEDULER_FLAG_TYPED: [(&str, &str); 2] =
    [("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"), ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN")];

pub(super) static NAMESPACE_TYPE: Names =
    names("namespace type", &["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]);

static DEVICE_TYPE: Names = names("device type", &["a", "b", "c", "u", "p"]);

pub(super) static SECCOMP_ACTION: Names = names(
    "seccomp action",
    &[
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
    ],
);

pub(super) static SECCOMP_OPERATOR: Names = names(
    "seccomp operator",
    &["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"],
);

pub(super) static SECCOMP_FLAG: Names = names(
    "seccomp flag",
    &[
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ],
);

pub(super) static SECCOMP_ARCH: Names = Names {
    what: "seccomp architecture",
    known: &[
        "SCMP_ARCH_NATIVE",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    ],
    unknown: Unknown::Drop("its system calls stay forbidden"),
};

pub(super) static MEMORY_MODE: Names = names(
    "memory policy mode",
    &[
        "MPOL_DEFAULT",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_WEIGHTED_INTERLEAVE",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
        "MPOL_LOCAL",
    ],
);

pub(super) static MEMORY_FLAG: Names =
    names("memory policy flag", &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]);

static PERSONALITY_DOMAIN: Names = names("personality domain", &["LINUX", "LINUX32"]);

/// Properties that protect something and are often looked for in the wrong object: name, where it belongs.
pub(super) const HOMES: &[(&str, &str)] = &[
    ("ambient", "process.capabilities.ambient"),
    ("apparmorProfile", "process.apparmorProfile"),
    ("bounding", "process.capabilities.bounding"),
    ("capabilities", "process.capabilities"),
    ("cgroupsPath", "linux.cgroupsPath"),
    ("gidMappings", "linux.gidMappings"),
    ("hooks", "hooks"),
    ("linux", "linux"),
    ("maskedPaths", "linux.maskedPaths"),
    ("mountLabel", "linux.mountLabel"),
    ("namespaces", "linux.namespaces"),
    ("noNewPrivileges", "process.noNewPrivileges"),
    ("oomScoreAdj", "process.oomScoreAdj"),
    ("readonly", "root.readonly"),
    ("readonlyPaths", "linux.readonlyPaths"),
    ("resources", "linux.resources"),
    ("rlimits", "process.rlimits"),
    ("rootfsPropagation", "linux.rootfsPropagation"),
    ("seccomp", "linux.seccomp"),
    ("selinuxLabel", "process.selinuxLabel"),
    ("sysctl", "linux.sysctl"),
    ("uidMappings", "linux.uidMappings"),
];
