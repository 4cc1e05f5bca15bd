//! The operations of a plan, named for their effect.
//!
//! An operation is data. It refers to descriptors by [`Slot`]: the number of a place in a table that the parent fills in
//! part before clone (`prepare`) and the child in part as it goes. Nothing here touches the system.
#![forbid(unsafe_code)]
// The fields of operations are what the operation's own line says.
#![allow(missing_docs)]

use super::landlock::Ruleset;
use super::text::Text;
use crate::spec::mount_options::{Attributes, Propagation};
use crate::sys::cred::SchedAttr;
use serde::Serialize;

/// A place in the table of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

/// Where both scripts meet. Each point is passed once, in this order but for [`Point::Born`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[repr(u32)]
pub enum Point {
    /// The parent has written the id mappings of the new user namespace.
    UserNamespaceMapped = 0,
    /// The parent has made the network namespace, and hands it over.
    NetworkMade = 1,
    /// The child has made its namespaces and mounts; the old root is still there for hooks.
    MountsDone = 2,
    /// The parent has set the device rules and run the hooks of the runtime's namespace.
    ParentDone = 3,
    /// The child has checked itself and will change nothing more before it is started.
    Ready = 4,
    /// The user has started the container.
    Started = 5,
    /// The parent knows the process that was born in the middle of the child's script. Its place depends on why it was.
    Born = 6,
    /// The seccomp agent has the filter's listener.
    ListenerSent = 7,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::UserNamespaceMapped,
        Self::NetworkMade,
        Self::MountsDone,
        Self::ParentDone,
        Self::Ready,
        Self::Started,
        Self::Born,
        Self::ListenerSent,
    ];
}

/// The namespace types of namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Namespace {
    User,
    Cgroup,
    Ipc,
    Uts,
    Network,
    Pid,
    Mount,
    Time,
}

impl Namespace {
    /// All, in the order in which existing ones are entered: user first for its rights, mount late because paths change
    /// meaning, pid last (threats A).
    pub const ALL: [Self; 8] =
        [Self::User, Self::Cgroup, Self::Ipc, Self::Uts, Self::Network, Self::Time, Self::Mount, Self::Pid];

    /// The `CLONE_NEW*` flag.
    pub fn flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Network => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Time => 0x80,
        };
        u64::from(flag.cast_unsigned())
    }

    /// The name of its file in `/proc/PID/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Time => "time",
        }
    }
}

/// Which file or directory it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `st_dev` of stat(2).
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl Identity {
    /// Of what stat(2) found.
    #[must_use]
    pub fn of(stat: &libc::stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// How a path of the host becomes a detached mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Where the detached mount goes.
    pub slot: Slot,
    /// On the host, absolute.
    pub path: Text,
    /// What is taken when nothing is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instead: Option<Text>,
    /// A device node that is made when nothing is there: only root of the host can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<MadeDevice>,
    /// A link at the end of the path is taken itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub nofollow: bool,
    /// With the mounts below it.
    pub recursive: bool,
    /// Attributes of the top mount.
    pub attributes: Attributes,
    /// Attributes of the top mount that nobody named and that are cleared, unless the kernel has locked one of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub unnamed: u64,
    /// Attributes of the whole tree.
    pub tree_attributes: Attributes,
    /// Set in order.
    pub propagation: Vec<Propagation>,
    /// The slot of a user namespace through which ids are mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idmap: Option<IdmapSource>,
    /// Anything but a directory is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub directory: bool,
    /// Anything else at this path is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Where config.json asks for it.
    pub spec_path: String,
}

/// A device node on a file system of its own, for a container whose user namespace cannot make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeDevice {
    /// Type and permissions.
    pub mode: u32,
    /// Major and minor number.
    pub number: u64,
    /// Owner, as the host counts.
    pub uid: u32,
    /// Group, as the host counts.
    pub gid: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(bits: &u64) -> bool {
    *bits == 0
}

/// The user namespace of an id-mapped mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdmapSource {
    /// Holds the namespace.
    pub namespace: Slot,
    /// `ridmap`: the mounts below too.
    pub recursive: bool,
}

/// A security module that gives processes labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    /// process.apparmorProfile.
    Apparmor,
    /// process.selinuxLabel.
    Selinux,
}

impl Module {
    /// As it calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apparmor => "AppArmor",
            Self::Selinux => "SELinux",
        }
    }

    /// What it calls what it gives a process.
    pub fn label(self) -> &'static str {
        match self {
            Self::Apparmor => "AppArmor profile",
            Self::Selinux => "SELinux label",
        }
    }

    /// Where config.json asks for it, below the process.
    pub fn field(self) -> &'static str {
        match self {
            Self::Apparmor => "apparmorProfile",
            Self::Selinux => "selinuxLabel",
        }
    }
}

/// Lines of an id mapping: container id, host id, size.
pub type IdMap = Vec<(u32, u32, u32)>;

/// What the parent does before clone: everything that resolves a path of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Prepare {
    /// Opens the container's init by pid, and checks that it is still the process that was recorded.
    OpenProcess { slot: Slot, pid: i32, start_time: u64 },
    /// Opens an existing namespace.
    OpenNamespace { slot: Slot, kind: Namespace, path: Text, spec_path: String },
    /// Makes a user namespace that only serves as an id mapping.
    MakeIdMapping { slot: Slot, uids: IdMap, gids: IdMap },
    /// Clones the mount at a host path.
    CloneMount(Source),
    /// Opens the running binary through a read-only mount.
    OpenBinary { mount: Slot, file: Slot, path: Text },
    /// Hides this process's /proc files from everyone without CAP_SYS_PTRACE; inherited by the child.
    SetNonDumpable,
    /// Sets the score of this process, which the child inherits.
    SetOomScore { score: i32 },
    /// Raises the hard limit of this process, which the child inherits: in a user namespace it has no right to.
    RaiseRlimit { resource: u32, name: &'static str, hard: u64 },
    /// Makes the time namespace that the child will be born into, with its offsets.
    SetTimeOffsets { lines: Text },
    /// Runs this process on these processors, a mask; inherited by the child until it is in its cgroup.
    SetCpuAffinity { cpus: Vec<u64> },
    /// Checks that the seccomp agent's socket is there.
    FindAgent { path: Text },
    /// stdin, stdout and stderr that are pipes, or files of this process's to be written, belong to this user of the host: the
    /// container's, which its user namespace gives no right to what is not mapped.
    OwnStdio { uid: u32 },
}

/// A network device that becomes the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetDevice {
    /// In the runtime's network namespace.
    pub name: Text,
    /// In the container; one that ends in `%d` gets a number from the kernel.
    pub to: Text,
}

/// What the parent does after clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Parent {
    /// Meets the child.
    Meet { point: Point },
    /// Writes `/proc/PID/uid_map` and `gid_map`, by newuidmap and newgidmap when unprivileged and there is more than one line.
    MapIds { uids: IdMap, gids: IdMap, deny_setgroups: bool },
    /// Makes the child's network namespace and brings `lo` up in it, while the child mounts.
    MakeNetwork,
    /// Sets the device rules of the cgroup.
    LimitDevices,
    /// Runs the prestart and createRuntime hooks.
    RunHooks { kind: HookKind },
    /// Takes the master of the child's terminal and hands it on.
    ReceiveTerminal,
    /// Takes descriptors of the child's user and network namespaces, for whoever connects the network with the host's.
    ReceiveNetwork,
    /// Takes over the process that the child has made to go on in its place.
    Adopt,
    /// sched_setattr(2) of that process.
    SetScheduler { attr: SchedAttr },
    /// Compares the namespaces of the child with those of the container's init.
    VerifyJoined { kinds: Vec<Namespace> },
    /// Moves network devices into the child's network namespace, with their addresses, and sets them up.
    MoveNetDevices { devices: Vec<NetDevice> },
    /// Takes the filter's listener from the child and sends it to the seccomp agent.
    SendListener { path: Text },
    /// Takes the filter's listener from the child, and answers what it asks.
    Supervise,
}

/// The hooks of config.md, POSIX-platform hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookKind {
    /// As config.json and messages write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// What a mount point has to be when it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MountPoint {
    /// A directory; a link on the way to it is followed inside the rootfs.
    Directory,
    /// An ordinary directory, no link anywhere on the way (proc, sysfs).
    PlainDirectory,
    /// Like the source: a directory or a file.
    LikeSource,
    /// The same, but a source that is a symbolic link is made again there and nothing is mounted (`copy-symlink`).
    CopiedLink,
    /// The same, but a link that is there is itself mounted on (`dest-nofollow`).
    LinkItself,
}

/// A filesystem to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// Where the detached mount goes.
    pub slot: Slot,
    /// As in /proc/filesystems.
    pub kind: Text,
    /// Device or label; some filesystems ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Text>,
    /// For fsconfig(2): a flag when there is no value.
    pub options: Vec<(Text, Option<Text>)>,
    /// Of the mount.
    pub attributes: u64,
    /// The directory of the rootfs that it covers, whose mode it gets if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode_of: Option<Text>,
    /// Set in order once it is a mount.
    pub propagation: Vec<Propagation>,
    /// The pid namespace that a procfs shows, when it is not that of the process that makes it (Linux 6.17).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<Slot>,
}

/// A device node in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Below `/dev` when `in_dev`, else below the root; relative.
    pub path: Text,
    /// Whether `path` starts at the mount on `/dev`.
    pub in_dev: bool,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` with the permissions.
    pub mode: u32,
    /// As makedev(3) puts major and minor together.
    pub number: u64,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

/// What the child does. The order is `plan::order`'s business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Child {
    /// Meets the parent.
    Meet { point: Point },
    /// Hides this process's /proc files from everyone without CAP_SYS_PTRACE over its user namespace.
    SetNonDumpable,
    /// Leaves the binary behind: this process runs from a read-only view of it from here on.
    ShieldBinary { file: Slot },
    /// Opens the running binary through a read-only mount (where the parent may not).
    OpenBinary { mount: Slot, file: Slot, path: Text },
    /// Gives the caller's supplementary groups up where that may still be done: an existing user namespace, which is entered next,
    /// may deny it (user_namespaces(7)). Whether any are left is seen by those who set them later.
    DropGroups,
    /// Enters an existing namespace.
    EnterNamespace {
        kind: Namespace,
        slot: Slot,
        /// Not the last try: the rights over it may come only with a user namespace that is entered later.
        early: bool,
    },
    /// Closes every descriptor of the host but these, before namespaces are entered in which others could look (threats A).
    LeaveHost { keep: Vec<Slot>, preserve: u32, also: Vec<i32> },
    /// Enters these namespaces of a process at once, by its pidfd (Linux 5.8).
    EnterProcess { slot: Slot, kinds: Vec<Namespace> },
    /// Enters the network namespace that the parent has made.
    EnterNetwork,
    /// Makes new namespaces for this process and its children.
    MakeNamespaces { new: Vec<Namespace> },
    /// Makes the process that walks the rest of this script, as a sibling, in new namespaces and in those that were entered
    /// for children only (pid, time). This one ends.
    Birth { new: Vec<Namespace> },
    /// Becomes uid and gid 0 of the user namespace.
    BecomeRoot { drop_groups: bool },
    /// Becomes these ids of the user namespace, in which there is no root: the capabilities over it stay.
    BecomeUser { uid: u32, gid: u32, drop_groups: bool },
    /// Moves this process to where CLONE_INTO_CGROUP did not put it: the version 1 hierarchies.
    JoinCgroup,
    /// The session keyring of this name, a new one where there is none. `found`: those who join the container find it by its name.
    JoinKeyring { name: Text, found: bool },
    /// A new session.
    NewSession,
    /// Compares the namespaces this process is in with what was asked for.
    /// `apart`: joined ones that must not be the runtime's own either.
    VerifyNamespaces {
        new: Vec<Namespace>,
        joined: Vec<(Namespace, Slot)>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        apart: Vec<Namespace>,
    },
    /// Brings `lo` up.
    LoopbackUp,
    /// Sets propagation of every mount the namespace was born with.
    SetRootPropagation { propagation: Propagation },
    /// Makes the mount under `/` private, so that the new root's mount stays here.
    MakeRootParentPrivate,
    /// Clones the mount at a host path (where the parent may not).
    CloneMount(Source),
    /// Attaches the binary's read-only mount over the directory it is of, so that it vanishes with the host's tree: closed
    /// by itself, it would cost the kernel a grace period of its own.
    ParkBinary { mount: Slot, directory: Text },
    /// Attaches the root filesystem over the host's root.
    AttachRoot {
        slot: Slot,
        /// Where hooks expect it; `None`, or what cannot be reached from here, is on top of the host's root.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Text>,
    },
    /// Takes /dev/null and checks that it is character device 1:3.
    OpenNull { slot: Slot },
    /// Makes a filesystem.
    MakeFilesystem(Filesystem),
    /// Makes a filesystem by mount(2), because an option is too long for fsconfig(2).
    MountLegacy { kind: Text, source: Text, target: Text, flags: u64, data: Text, propagation: Vec<Propagation> },
    /// Copies what the rootfs has at `target` into the new filesystem.
    CopyUp { slot: Slot, target: Text },
    /// Attaches a detached mount in the rootfs.
    Attach { slot: Slot, target: Text, point: MountPoint, expect: u64 },
    /// Changes the attributes of what is mounted at `target`.
    Remount { target: Text, attributes: Attributes, tree_attributes: Attributes },
    /// A symbolic link in the rootfs, unless something is there.
    Symlink { dir: Text, name: Text, target: Text },
    /// A detached mount of what is in the container's root by now, where a mount of the configuration has put it.
    CloneInside(Source),
    /// A time namespace with these offsets, which belongs to the container's user namespace, and this process in it.
    SetTimeOffsets { lines: Text },
    /// Makes the missing directories of the working directory.
    MakeDirectory { path: Text },
    /// Opens the directory that device nodes go to; a link is refused.
    OpenDev { slot: Slot },
    /// A device node.
    MakeDevice { dev: Slot, device: Device },
    /// A device of the host, bound because a node cannot be made in a user namespace.
    BindDevice { dev: Slot, source: Slot, device: Device },
    /// A default link in /dev.
    LinkDevice { dev: Slot, name: Text, target: Text },
    /// A pseudo-terminal of the container's own devpts, on /dev/console and on descriptors 0 to 2.
    OpenTerminal { dev: Option<Slot>, uid: u32, gid: u32, size: Option<(u16, u16)> },
    /// Hands descriptors of this process's user and network namespaces to the parent.
    SendNetwork,
    /// The terminal on descriptor 0 becomes that of this process's session.
    ControlTerminal,
    /// Enters a new cgroup namespace, rooted in the container's cgroup.
    UnshareCgroup,
    /// Sets kernel parameters through the container's own procfs.
    WriteSysctls { proc: Slot, values: Vec<(Text, Text)> },
    /// Runs hooks inside the container's namespaces.
    RunHooks { kind: HookKind },
    /// Makes paths mounts of their own, those with `true` read-only trees; what is not there any more is left out.
    KeepPaths { paths: Vec<(Text, bool)> },
    /// Hides paths: devices and files under /dev/null, directories under one empty read-only tmpfs. `as_program`: this process
    /// is the program's user already, so that what it may not reach is hidden as it is.
    MaskPaths {
        null: Slot,
        paths: Vec<Text>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        as_program: bool,
    },
    /// Makes trees read-only.
    ReadonlyPaths { paths: Vec<Text> },
    /// A mount that had to stay writable until now becomes read-only.
    SetReadonly { slot: Slot, what: Text },
    /// The rootfs becomes `/`, and the host's tree is gone.
    PivotRoot { slot: Slot, shared: bool },
    /// The rootfs becomes `/` by chroot, for a host root that cannot be pivoted away (initramfs).
    MoveRoot { slot: Slot, shared: bool },
    /// Propagation of the container's own root.
    SetNewRootPropagation { propagation: Propagation },
    /// Hostname.
    SetHostname { name: Text },
    /// NIS domain name.
    SetDomainname { name: Text },
    /// A resource limit, `RLIMIT_*` by number.
    SetRlimit { resource: u32, name: &'static str, soft: u64, hard: u64 },
    /// Raises a hard limit that is lower: the limit itself is set when the rights for that are gone.
    RaiseRlimit { resource: u32, name: &'static str, hard: u64 },
    /// Scheduling policy and nice value.
    SetScheduler { attr: SchedAttr },
    /// Scheduling class and level of I/O.
    SetIoPriority { class: i32, level: i32 },
    /// Where memory comes from: mode and flags of set_mempolicy(2), and a mask of nodes.
    SetMemoryPolicy { mode: i32, nodes: Vec<u64> },
    /// The processors to run on, a mask.
    SetCpuAffinity { cpus: Vec<u64> },
    /// Runs on every processor of the cpuset: since Linux 6.2 (da019032819a) joining one no longer undoes what this process has
    /// inherited. Where it may not be changed, it stays.
    ResetCpuAffinity,
    /// Execution domain.
    SetPersonality { persona: u64 },
    /// Compares the flags of every mount made here with what was asked for.
    VerifyMounts,
    /// stdin, stdout and stderr that are pipes or files belong to the container's user.
    OwnStdio { uid: u32, gid: u32 },
    /// Reads HOME from the container's passwd.
    SetHome { uid: u32 },
    /// File mode creation mask.
    SetUmask { mask: u32 },
    /// Supplementary groups, exactly these.
    SetGroups { groups: Vec<u32> },
    /// Real, effective and saved gid.
    SetGid { gid: u32 },
    /// Drops every capability but these from the bounding set.
    DropBounding { keep: u64 },
    /// Real, effective and saved uid; permitted capabilities stay until the next step.
    SetUid { uid: u32 },
    /// Effective, permitted and inheritable capabilities.
    SetCapabilities { effective: u64, permitted: u64, inheritable: u64 },
    /// Ambient capabilities.
    SetAmbient { set: u64 },
    /// Opens the file of this process's own label in a procfs that is the kernel's (threats E), while it still may.
    OpenLabel { slot: Slot, module: Module },
    /// Asks for a label at the next exec, and reads it back.
    SetExecLabel { slot: Slot, module: Module, label: Text },
    /// Makes the rules of landlock(7), while their places can still be opened whoever they belong to.
    MakeRuleset { ruleset: Ruleset },
    /// no_new_privs.
    SetNoNewPrivs,
    /// The rules go for this process from here on. `verify`: sees that something outside is out of reach then, and was not before.
    RestrictSelf { flags: u32, verify: bool },
    /// Working directory; a refusal is final only the second time, as the container's user.
    ChangeDirectory { path: Text, last_try: bool },
    /// Finds the program the way execvp(3) does.
    FindExecutable { name: Text, candidates: Vec<Text> },
    /// Closes every descriptor that the program must not have: it has 0 to 2, as many as `preserve` after them, and `also` those of
    /// these numbers.
    CloseDescriptors { preserve: u32, also: Vec<i32> },
    /// Compares ids, the five capability sets and no_new_privs with what was asked for.
    VerifyCredentials(Credentials),
    /// Says that the program is next, while a filter cannot forbid it: whoever started it knows then how to take the silence that
    /// follows.
    Announce,
    /// Loads the filter. `verify`: it allows asking the kernel for the mode afterwards.
    LoadSeccomp { flags: u32, instructions: usize, verify: bool },
    /// Hands the filter's listener to the parent.
    SendListener,
    /// Loads the filter for the calls that handing the listener over took, and that the first one therefore allows.
    LoadSeccompRest { flags: u32, instructions: usize },
    /// Asks the kernel to kill this process, and with it everything in its pid namespace, when the runtime ends.
    DieWithRuntime,
    /// Makes the process that goes on with this script. This one stays what it is, the first of its pid namespace: it passes
    /// signals on, reaps what is left behind, and ends as the new one ends.
    BecomeInit,
    /// Executes the program.
    Execute,
}

/// What a process must be when the program starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Option<usize>,
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
    pub no_new_privs: bool,
}
