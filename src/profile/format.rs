//! What a profile says: one struct for each table of the file (docs/profiles.md shows every key with an example).
//!
//! Every key is optional, in the file as in the loaded profile: what a profile does not say, it does not ask for.
#![forbid(unsafe_code)]

use super::values::{Absolute, Access, Answer, Capability, Digest, Family, Kernel, Octal, Pattern, Size, Syscall};
use crate::fences::Fence;
use crate::plan::hardening::Need;
use oci_spec::runtime::{LinuxNamespaceType, PosixRlimitType};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The version of the format that this program reads.
pub const VERSION: u32 = 1;

/// What is done when a container's configuration asks for more than a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The container is refused. What its configuration leaves open is filled in.
    Enforce,
    /// The configuration is cut to what the rule allows, and the change recorded.
    Tighten,
    /// It is only reported.
    Warn,
}

/// Defines the rules: the name in a profile's `[modes]` and in messages, and the mode where the profile gives none.
macro_rules! rules {
    ($($(#[$meta:meta])* $variant:ident $name:literal $mode:ident,)*) => {
        /// What a profile can be strict about, by itself.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Rule { $($(#[$meta])* #[serde(rename = $name)] $variant,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name, as in `[modes]`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The mode of a rule that a profile gives none.
            #[must_use]
            pub fn default_mode(self) -> Mode {
                match self { $(Self::$variant => Mode::$mode),* }
            }
        }
    };
}

rules! {
    /// The root filesystem is read-only.
    ReadonlyRoot "filesystem.readonly_root" Tighten,
    /// What a container may write to in memory, and how much.
    Writable "filesystem.writable" Tighten,
    /// Paths that are hidden.
    Masked "filesystem.masked" Tighten,
    /// Paths that are read-only.
    Readonly "filesystem.readonly" Tighten,
    /// Host paths that may be mounted.
    Sources "filesystem.sources" Enforce,
    /// Host paths that may be mounted writable.
    WritableSources "filesystem.writable_sources" Enforce,
    /// Host paths that are mounted read-only only.
    ReadonlySources "filesystem.readonly_sources" Tighten,
    /// Kinds of filesystems that may be mounted.
    Types "filesystem.types" Enforce,
    /// Kinds of filesystems that are mounted read-only.
    ReadonlyTypes "filesystem.readonly_types" Tighten,
    /// nosuid on every mount.
    Nosuid "filesystem.nosuid" Tighten,
    /// nodev on every mount.
    Nodev "filesystem.nodev" Tighten,
    /// No mount is shared with the host.
    PrivatePropagation "filesystem.private_propagation" Tighten,
    /// The capability sets.
    Capabilities "capabilities" Tighten,
    /// The system calls.
    Seccomp "seccomp" Tighten,
    /// Who the program runs as.
    User "user" Enforce,
    /// no_new_privs.
    NoNewPrivs "process.no_new_privs" Tighten,
    /// Real-time scheduling and I/O priorities.
    RealTime "process.real_time" Tighten,
    /// Landlock.
    Landlock "landlock" Tighten,
    /// rlimits.
    Rlimits "rlimits" Tighten,
    /// Limits of the control group.
    Cgroup "cgroup" Tighten,
    /// Namespaces of the container's own.
    Namespaces "namespaces" Tighten,
    /// Device nodes and device rules.
    Devices "devices" Tighten,
    /// Reaching a network.
    Network "network" Tighten,
    /// Environment variables.
    Environment "environment" Tighten,
    /// The host's name.
    Hostname "hostname" Tighten,
    /// Kernel parameters.
    Sysctls "sysctls" Enforce,
    /// Programs of the host that the runtime runs.
    Hooks "hooks" Enforce,
    /// A terminal.
    Terminal "terminal" Enforce,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table of optional keys; with `extends`, a key of the file stands in the place of the same key of what it extends.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$key_meta:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$key_meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
        }

        impl $name {
            /// This table's keys, and the base's where it has none.
            fn over(self, base: Self) -> Self {
                Self { $($key: self.$key.or(base.$key)),* }
            }
        }
    };
}

section! {
    /// `[filesystem]`
    Filesystem {
        /// The root filesystem is read-only.
        readonly_root: bool,
        /// What may be written to: a tmpfs at each path, with its limits. `false` takes one away that `extends` brought.
        writable: BTreeMap<Absolute, Writable>,
        /// Paths that are hidden, beside those of the configuration.
        masked: BTreeSet<Absolute>,
        /// Paths that are read-only, beside those of the configuration.
        readonly: BTreeSet<Absolute>,
        /// Host paths that may be mounted: they and what is below them. Without the key: any.
        sources: BTreeSet<Absolute>,
        /// Host paths that may not be mounted: they, what is below them, and what they are in. A `*` at the end of one stands
        /// for anything.
        forbidden_sources: BTreeSet<Absolute>,
        /// Host paths that are mounted read-only only: they, what is below them, and what they are in.
        readonly_sources: BTreeSet<Absolute>,
        /// Host paths that may be mounted writable. Without the key: any.
        writable_sources: BTreeSet<Absolute>,
        /// Kinds of filesystems that may be mounted; `bind` for host paths. Without the key: any.
        types: BTreeSet<String>,
        /// Kinds of filesystems whose mounts are read-only.
        readonly_types: BTreeSet<String>,
        /// nosuid on every mount.
        nosuid: bool,
        /// nodev on every mount.
        nodev: bool,
        /// No mount is shared with the host.
        private_propagation: bool,
    }
}

/// `[filesystem.writable."PATH"]`, or `false`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a table with size, inodes, mode and noexec, or false")]
pub enum Writable {
    /// A tmpfs within limits.
    Tmpfs(Tmpfs),
    /// `false`: none here, whatever the extended profile has.
    None(False),
}

/// `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct False;

impl TryFrom<bool> for False {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Err("want a table or false, not true") } else { Ok(Self) }
    }
}

impl From<False> for bool {
    fn from(_: False) -> Self {
        false
    }
}

/// Limits of a tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tmpfs {
    /// Largest size.
    pub size: Size,
    /// Largest number of inodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Mode of its root when the profile itself makes it; 1777 without the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Octal>,
    /// Nothing in it can be executed.
    #[serde(default = "yes")]
    pub noexec: bool,
}

fn yes() -> bool {
    true
}

section! {
    /// `[capabilities]`: the largest sets. Without `allow`, the sets are as the configuration has them.
    Capabilities {
        /// The bounding, effective and permitted set; the other two are then empty unless they are named.
        allow: BTreeSet<Capability>,
        /// In the place of `allow` for the bounding set.
        bounding: BTreeSet<Capability>,
        /// In the place of `allow` for the effective set.
        effective: BTreeSet<Capability>,
        /// In the place of `allow` for the permitted set.
        permitted: BTreeSet<Capability>,
        /// The inheritable set.
        inheritable: BTreeSet<Capability>,
        /// The ambient set.
        ambient: BTreeSet<Capability>,
    }
}

section! {
    /// `[seccomp]`: what may be called. A filter is made when there is an `allow`, or when something is kept from a
    /// program by `set_id`, `leases` or `terminal_control`; without `allow` everything else is allowed.
    Seccomp {
        /// System calls that are allowed, with any argument unless `rules` or `families` say more.
        allow: BTreeSet<Syscall>,
        /// Added to what is allowed: for a profile that extends another.
        add: BTreeSet<Syscall>,
        /// Taken from what is allowed.
        remove: BTreeSet<Syscall>,
        /// What a system call answers that is known and not allowed.
        denied: Answer,
        /// In the place of `denied` for single calls, so that their callers take another way.
        answers: BTreeMap<Syscall, Answer>,
        /// Calls that came with a later kernel answer ENOSYS, as if this were the older one.
        kernel: Kernel,
        /// Families of sockets that socket(2) makes.
        families: BTreeSet<Family>,
        /// What socket(2) answers for another family.
        other_family: Answer,
        /// Calling conventions beside the native one, as config.json spells them; programs using others are killed.
        architectures: Vec<oci_spec::runtime::Arch>,
        /// Rules on arguments and with answers of their own, in the place of those of the extended profile.
        rules: Vec<SeccompRule>,
        /// Whether files may be given set-user-id and set-group-id bits. Without the key: yes.
        set_id: bool,
        /// Whether files may be leased and watched by signals (fcntl(2), `F_SETLEASE` and `F_NOTIFY`). Without the key:
        /// yes.
        leases: bool,
        /// Whether more than the settings of a terminal may be changed: who may open it, its line discipline, its
        /// console, what is typed. Without the key: yes.
        terminal_control: bool,
    }
}

/// `[[seccomp.rules]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompRule {
    /// What it is about.
    pub names: BTreeSet<Syscall>,
    /// The answer when every condition holds; without it, the call is allowed then, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Conditions on arguments; none for a rule on every call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Condition>,
}

/// A condition on one argument, in the width that the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub op: Comparison,
    /// With what.
    pub value: u64,
    /// For `masked`: the bits that are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u64>,
}

/// How an argument is compared; unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Equal in the bits of the mask.
    Masked,
}

section! {
    /// `[user]`
    User {
        /// The program does not run as the host's root: its uid is not 0, or a user namespace maps it to another one.
        non_root: bool,
        /// Whether uid 0 of a user namespace that maps it to another uid is good enough. Without the key: yes.
        mapped_root: bool,
        /// With the mode `tighten`, the uid and gid that the program gets in root's place.
        instead: u32,
    }
}

section! {
    /// `[process]`
    Process {
        /// No program gets more rights than its caller (prctl(2), `PR_SET_NO_NEW_PRIVS`).
        no_new_privs: bool,
        /// Whether real-time scheduling and real-time I/O priorities may be had.
        real_time: bool,
    }
}

section! {
    /// `[landlock]`: what the container may do beyond what its mounts say.
    Landlock {
        /// The oldest version of the kernel's interface that will do; without it, what the kernel has is used.
        required_abi: u32,
        /// Paths inside the container where programs may be executed. Without the key: wherever the mounts allow it.
        execute: BTreeSet<Absolute>,
        /// Only the container's own program may be executed, and what `execute` names.
        execute_entrypoint: bool,
        /// TCP ports that may be bound. Without the key: any.
        bind_tcp: BTreeSet<u16>,
        /// TCP ports that may be connected to. Without the key: any.
        connect_tcp: BTreeSet<u16>,
        /// Abstract UNIX sockets of others cannot be reached.
        scope_abstract: bool,
        /// Processes of others cannot be signalled.
        scope_signals: bool,
    }
}

section! {
    /// `[cgroup]`: the most that the control group gives.
    Cgroup {
        /// Bytes of memory.
        memory: Size,
        /// Bytes of swap.
        swap: Size,
        /// Processes and threads.
        pids: i64,
        /// Processors, in time: 1.5 is one and a half.
        cpus: f64,
    }
}

section! {
    /// `[namespaces]`
    Namespaces {
        /// Those that the container does not share with the host. `user` cannot be added to a configuration without it.
        own: Vec<LinuxNamespaceType>,
        /// Those that may be another container's, joined by path. Without the key: any.
        joinable: Vec<LinuxNamespaceType>,
    }
}

section! {
    /// `[devices]`
    Devices {
        /// Device nodes beside the default ones (null, zero, full, random, urandom, tty, ptmx). Without the key: any.
        allow: BTreeMap<Absolute, Device>,
    }
}

/// A device that may be used: `{ type = "c", major = 10, minor = 229, access = "rw" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// `c` or `b`.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// `r`, `w` and `m` (mknod).
    #[serde(default = "all_access")]
    pub access: Access,
}

fn all_access() -> Access {
    Access::ALL
}

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character device.
    #[serde(rename = "c")]
    Char,
    /// Block device.
    #[serde(rename = "b")]
    Block,
}

section! {
    /// `[network]`
    Network {
        /// What may be reached.
        reach: Reach,
    }
}

/// `network.reach`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Nothing but loopback: a network namespace of the container's own, and no device moved into it.
    None,
    /// What the network namespace that the container joins or gets reaches; not the host's.
    Container,
    /// The host's network, too.
    Host,
}

section! {
    /// `[environment]`
    Environment {
        /// Names of variables that are kept; a `*` at the end stands for anything. Without the key: any.
        allow: BTreeSet<Pattern>,
        /// Names of variables that are not.
        deny: BTreeSet<Pattern>,
        /// Variables that are added where the configuration has none of the name.
        set: BTreeMap<String, String>,
    }
}

section! {
    /// `[hostname]`
    Hostname {
        /// The name of a container whose configuration has none, so that it does not see the host's; `{id}` is its id.
        default: String,
    }
}

section! {
    /// `[sysctls]`
    Sysctls {
        /// Names of kernel parameters that may be set; a `*` at the end stands for anything. Without the key: any.
        allow: BTreeSet<Pattern>,
    }
}

section! {
    /// `[hooks]`
    Hooks {
        /// Programs of the host that may be run as hooks. Without the key: any.
        allow: Vec<Hook>,
    }
}

/// A program that may be a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Where it is on the host.
    pub path: Absolute,
    /// What it holds; checked before the container is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

section! {
    /// `[terminal]`
    Terminal {
        /// Whether the container may have a terminal.
        allow: bool,
    }
}

/// A profile with what it extends already in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// [`VERSION`].
    pub version: u32,
    /// How messages call it; the file's name without the key.
    #[serde(default)]
    pub name: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The profile it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// What must be in force before the program starts, in the words of `--require`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Need>,
    /// The modes that differ from [`Rule::default_mode`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<Rule, Mode>,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub filesystem: Filesystem,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub capabilities: Capabilities,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub seccomp: Seccomp,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub user: User,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub process: Process,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub landlock: Landlock,
    /// `[rlimits]`: the largest hard and soft limit by name, `nofile = 1024`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: BTreeMap<Rlimit, Size>,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub cgroup: Cgroup,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub namespaces: Namespaces,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub devices: Devices,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub network: Network,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub environment: Environment,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub hostname: Hostname,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub sysctls: Sysctls,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub hooks: Hooks,
    #[serde(default)]
    #[allow(missing_docs, reason = "the types say it")]
    pub terminal: Terminal,
}

impl Seccomp {
    /// What the program is kept from, whatever is allowed.
    pub(super) fn fences(&self) -> impl Iterator<Item = Fence> {
        let open = [self.set_id, self.leases, self.terminal_control];
        Fence::ALL.into_iter().zip(open).filter(|(_, open)| *open == Some(false)).map(|(fence, _)| fence)
    }
}

impl Profile {
    /// The mode of a rule.
    #[must_use]
    pub fn mode(&self, rule: Rule) -> Mode {
        self.modes.get(&rule).copied().unwrap_or_else(|| rule.default_mode())
    }

    /// This profile, with the base's keys where it has none. Tables by name or path (`modes`, `rlimits`, `writable`,
    /// `answers`) are merged entry by entry, and `seccomp.add` and `seccomp.remove` change the base's list; everything else is replaced.
    pub(crate) fn over(self, base: Self) -> Self {
        Self {
            version: self.version,
            name: self.name,
            summary: self.summary,
            extends: self.extends,
            require: if self.require.is_empty() { base.require } else { self.require },
            modes: merged(self.modes, base.modes),
            filesystem: Filesystem {
                writable: merged_tables(self.filesystem.writable.clone(), base.filesystem.writable.clone()),
                ..self.filesystem.over(base.filesystem)
            },
            capabilities: self.capabilities.over(base.capabilities),
            seccomp: Seccomp {
                answers: merged_tables(self.seccomp.answers.clone(), base.seccomp.answers.clone()),
                ..self.seccomp.over(base.seccomp)
            },
            user: self.user.over(base.user),
            process: self.process.over(base.process),
            landlock: self.landlock.over(base.landlock),
            rlimits: merged(self.rlimits, base.rlimits),
            cgroup: self.cgroup.over(base.cgroup),
            namespaces: self.namespaces.over(base.namespaces),
            devices: self.devices.over(base.devices),
            network: self.network.over(base.network),
            environment: self.environment.over(base.environment),
            hostname: self.hostname.over(base.hostname),
            sysctls: self.sysctls.over(base.sysctls),
            hooks: self.hooks.over(base.hooks),
            terminal: self.terminal.over(base.terminal),
        }
        .settled()
    }

    /// Without the keys that only change what another profile says.
    pub(crate) fn settled(mut self) -> Self {
        let (added, removed) = (self.seccomp.add.take(), self.seccomp.remove.take());
        if let Some(allow) = &mut self.seccomp.allow {
            allow.extend(added.into_iter().flatten());
            for name in removed.iter().flatten() {
                allow.remove(name);
            }
        }
        if let Some(writable) = &mut self.filesystem.writable {
            writable.retain(|_, entry| matches!(entry, Writable::Tmpfs(_)));
        }
        self
    }
}

fn merged<K: Ord, V>(own: BTreeMap<K, V>, mut base: BTreeMap<K, V>) -> BTreeMap<K, V> {
    base.extend(own);
    base
}

fn merged_tables<K: Ord, V>(own: Option<BTreeMap<K, V>>, base: Option<BTreeMap<K, V>>) -> Option<BTreeMap<K, V>> {
    match (own, base) {
        (Some(own), Some(base)) => Some(merged(own, base)),
        (own, base) => own.or(base),
    }
}

/// The name of a resource limit (setrlimit(2)) in lowercase, without `RLIMIT_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants are the limits' names")]
pub enum Rlimit {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Rlimit {
    /// Every limit.
    pub const ALL: [Self; 16] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// As config.json has it.
    #[must_use]
    pub fn typ(self) -> PosixRlimitType {
        match self {
            Self::As => PosixRlimitType::RlimitAs,
            Self::Core => PosixRlimitType::RlimitCore,
            Self::Cpu => PosixRlimitType::RlimitCpu,
            Self::Data => PosixRlimitType::RlimitData,
            Self::Fsize => PosixRlimitType::RlimitFsize,
            Self::Locks => PosixRlimitType::RlimitLocks,
            Self::Memlock => PosixRlimitType::RlimitMemlock,
            Self::Msgqueue => PosixRlimitType::RlimitMsgqueue,
            Self::Nice => PosixRlimitType::RlimitNice,
            Self::Nofile => PosixRlimitType::RlimitNofile,
            Self::Nproc => PosixRlimitType::RlimitNproc,
            Self::Rss => PosixRlimitType::RlimitRss,
            Self::Rtprio => PosixRlimitType::RlimitRtprio,
            Self::Rttime => PosixRlimitType::RlimitRttime,
            Self::Sigpending => PosixRlimitType::RlimitSigpending,
            Self::Stack => PosixRlimitType::RlimitStack,
        }
    }
}
