//! What failed, in words: the child sends numbers, the plan says what they mean.
#![forbid(unsafe_code)]

use super::child::parts;
use super::wire::Failure;
use super::{hooks, idmap, prepare, sources};
use crate::plan::Plan;
use crate::plan::op::{Child as Op, HookKind, Module, MountPoint, Namespace, Prepare, Source};
use crate::report::Hint;
use crate::spec::capability;
use nix::errno::Errno;

/// Why a container or a process in it could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation before clone.
    #[error("{}", prepare_message(op, failure))]
    Prepare {
        /// Which.
        op: Box<Prepare>,
        /// What happened.
        failure: Failure,
    },
    /// An operation of the parent after clone.
    #[error("{op}: {}", parent_message(failure))]
    Parent {
        /// Which, in words.
        op: String,
        /// What happened.
        failure: Failure,
    },
    /// An operation of the child.
    #[error("{message}")]
    Child {
        /// What it was doing and what happened.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// When it was about the program itself: what the kernel said of it.
        program: Option<Errno>,
    },
    /// clone3 itself.
    #[error("cannot create the container's process{}: {}", in_new(namespaces), lower(*errno))]
    Clone {
        /// That were asked for.
        namespaces: Vec<Namespace>,
        /// What the kernel said.
        errno: Errno,
    },
    /// The container that a process was to join has ended.
    #[error("cannot exec in a stopped container")]
    Stopped,
    /// Nothing can be born in the pid namespace that was to be joined.
    #[error("linux.namespaces: the first process of the pid namespace has ended, and no other can start in it")]
    PidNamespaceEnded,
    /// The child ended without a word.
    #[error("the container's first process died while it was set up ({})", status_text(*status))]
    Died {
        /// Exit status, 128 + signal when killed.
        status: i32,
    },
    /// The child ended between the start and the program.
    #[error("the process ended before it executed its program{}{}", how(*status), if *silent { SILENT } else { "" })]
    NotExecuted {
        /// Exit status, 128 + signal when killed; only the parent knows it.
        status: Option<i32>,
        /// Whether its filter forbids to say why.
        silent: bool,
    },
    /// The first process of the container has ended.
    #[error("cannot start a container that has stopped")]
    Ended,
    /// This process was asked to end before the program ran.
    #[error("interrupted before the program was executed")]
    Interrupted,
    /// A hook of the runtime's namespace.
    #[error("{0}")]
    Hook(String),
    /// The control group.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// The kernel has something else than the plan.
    #[error("the kernel does not enforce what was asked for: {0}")]
    Mismatch(String),
    /// A system call of the runtime itself.
    #[error("cannot {what}: {}", lower(*errno))]
    System {
        /// What it was for.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A network device cannot become the container's.
    #[error(transparent)]
    NetDevice(#[from] super::netdevice::Error),
    /// The seccomp agent cannot be told.
    #[error("linux.seccomp.listenerPath: failed to {what} seccomp agent {path}: {}", lower(*errno))]
    Agent {
        /// `connect with` or `send to`.
        what: &'static str,
        /// Its socket.
        path: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// What the caller wanted to do with the new process.
    #[error("{0:#}")]
    Caller(anyhow::Error),
}

/// strerror(3) in the lower case that callers match.
fn lower(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

fn errno(failure: &Failure) -> String {
    lower(Errno::from_raw(failure.errno))
}

fn in_new(kinds: &[Namespace]) -> String {
    if kinds.is_empty() {
        return String::new();
    }
    format!(" in new namespaces ({})", kinds.iter().map(|kind| kind.file()).collect::<Vec<_>>().join(", "))
}

fn status_text(status: i32) -> String {
    if status > 128 { format!("killed by signal {}", status - 128) } else { format!("exit status {status}") }
}

fn how(status: Option<i32>) -> String {
    status.map(|status| format!(" ({})", status_text(status))).unwrap_or_default()
}

const SILENT: &str = ": linux.seccomp lets it neither write nor send why";

const AGENT_HINT: &str = "SCMP_ACT_NOTIFY needs an agent that listens there on a UNIX socket of type SOCK_STREAM";

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Prepare { op, failure } => prepare_hint(op, failure),
            Self::Parent { failure, .. } => parent_hint(failure),
            Self::Child { hint, .. } => hint.clone(),
            Self::Clone { errno: Errno::EPERM, namespaces } if namespaces.contains(&Namespace::User) => {
                Some("unprivileged user namespaces may be disabled: see kernel.unprivileged_userns_clone, user.max_user_namespaces and AppArmor's restriction; in a chroot the kernel makes none (user_namespaces(7))".into())
            }
            Self::Clone { errno: Errno::EPERM, .. } => Some("creating namespaces needs root, or a user namespace".into()),
            Self::Clone { errno: Errno::ENOSPC, .. } => Some("a limit in /proc/sys/user/max_*_namespaces is reached".into()),
            Self::Clone { errno: Errno::EAGAIN, .. } => Some("a limit on processes is reached: pids.max of the cgroup, or RLIMIT_NPROC".into()),
            Self::Clone { errno: Errno::ENOSYS, .. } => Some("pent needs clone3, which Linux has since 5.3".into()),
            Self::NotExecuted { silent: true, .. } => {
                Some("allow at least execve, write and exit_group; `pent run --report` tells what a filter refuses".into())
            }
            Self::NotExecuted { .. } => Some("it was killed, by somebody or for want of memory".into()),
            Self::Died { status: 137 } => Some("a memory limit may be below what the first process itself needs".into()),
            Self::Cgroup(error) => error.hint(),
            Self::NetDevice(error) => error.hint(),
            Self::Agent { .. } => Some(AGENT_HINT.into()),
            _ => None,
        }
    }

    fn code(&self) -> Option<u8> {
        match self {
            // As shells do: there is none, or there is one and it cannot be executed.
            Self::Child { program: Some(Errno::ENOENT | Errno::ENOTDIR), .. } => Some(127),
            Self::Child { program: Some(_), .. } => Some(126),
            _ => None,
        }
    }
}

impl Error {
    /// A failure the child has reported.
    pub(super) fn child(plan: &Plan, index: u32, failure: Failure, hooks: &[(HookKind, Vec<hooks::Prepared>)]) -> Self {
        let op = usize::try_from(index).ok().and_then(|index| plan.child.iter().nth_back(index));
        if let Some(ended) = op.and_then(|op| ended(plan, op, &failure)) {
            return ended;
        }
        match op {
            Some(Op::Birth { new } | Op::MakeNamespaces { new }) => {
                Self::Clone { namespaces: new.clone(), errno: Errno::from_raw(failure.errno) }
            }
            Some(op) => {
                let is_program = matches!(op, Op::FindExecutable { .. } | Op::Execute);
                let program = is_program.then(|| Errno::from_raw(failure.errno));
                let name = plan.program.args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
                let message = match op {
                    Op::Execute => format!("exec {name}: {}", self::errno(&failure)),
                    _ => child_message(op, &failure, hooks),
                };
                Self::Child { message, hint: child_hint(op, &failure), program }
            }
            None => Self::System { what: "understand the child", errno: Errno::EBADMSG },
        }
    }
}

/// What the kernel says of namespaces whose processes have ended, which reads like something else: alloc_pid of a pid namespace without
/// its first process is ENOMEM (pid_namespaces(7)).
fn ended(plan: &Plan, op: &Op, failure: &Failure) -> Option<Error> {
    let entered = |wanted: fn(&Op) -> bool| plan.child.iter().any(wanted);
    match (op, Errno::from_raw(failure.errno)) {
        (Op::EnterProcess { .. }, Errno::ESRCH) => Some(Error::Stopped),
        (Op::Birth { .. }, Errno::ENOMEM)
            if entered(|op| matches!(op, Op::EnterProcess { kinds, .. } if kinds.contains(&Namespace::Pid))) =>
        {
            Some(Error::Stopped)
        }
        (Op::Birth { .. }, Errno::ENOMEM)
            if entered(|op| matches!(op, Op::EnterNamespace { kind: Namespace::Pid, .. })) =>
        {
            Some(Error::PidNamespaceEnded)
        }
        _ => None,
    }
}

fn source_message(source: &Source, failure: &Failure) -> String {
    if failure.part == sources::SWAPPED {
        return format!("{} was replaced by something else while the sandbox was made", source.path);
    }
    let what = match failure.part {
        sources::ATTRIBUTES => "set the attributes of",
        sources::IDMAP => "map the ids of",
        sources::DEVICE => "make the device node",
        _ if source.spec_path == "root.path" => "open the root filesystem",
        _ => "open mount source",
    };
    format!("{}: cannot {what} {}: {}", source.spec_path, source.path, errno(failure))
}

fn source_hint(source: &Source, failure: &Failure) -> Option<String> {
    match (failure.part, Errno::from_raw(failure.errno)) {
        (sources::SWAPPED, _) => Some("end what renames files there, and try again".into()),
        (sources::CLONE, Errno::ENOTDIR) if source.directory => Some(format!("{} must be a directory", source.path)),
        (sources::CLONE, Errno::ENOENT) => Some(format!("{} does not exist on the host", source.path)),
        (sources::DEVICE, Errno::EINVAL) => Some(format!(
            "Linux before 6.15 cannot show one that is not on the host: make it there (mknod {})",
            source.path
        )),
        (sources::CLONE, Errno::EPERM) => Some(
            "pent has no rights over the mounts here: in a user namespace they need a mount namespace that is its own (unshare --user \
             --map-root-user --mount); `pent doctor` says what else is missing"
                .into(),
        ),
        (sources::CLONE, Errno::ENOSYS) => Some("pent needs open_tree, which Linux has since 5.2".into()),
        (sources::ATTRIBUTES, Errno::ENOSYS) => Some("pent needs mount_setattr, which Linux has since 5.12".into()),
        (sources::IDMAP, Errno::EINVAL) => Some("the filesystem of the source may not support id-mapped mounts".into()),
        _ => None,
    }
}

fn prepare_message(op: &Prepare, failure: &Failure) -> String {
    match op {
        Prepare::CloneMount(source) => source_message(source, failure),
        Prepare::OpenNamespace { path, spec_path, .. } if failure.part == prepare::HOSTS_MOUNTS => {
            format!("{spec_path}: {path} is the host's mount namespace: the container's mounts would be the host's")
        }
        Prepare::OpenNamespace { path, spec_path, .. } => {
            format!("{spec_path}: cannot open namespace {path}: {}", errno(failure))
        }
        Prepare::OpenProcess { .. } if failure.errno == Errno::ESRCH as i32 => {
            "cannot exec in a stopped container".to_owned()
        }
        Prepare::SetOomScore { score } => {
            format!("process.oomScoreAdj: cannot set oom_score_adj to {score}: {}", errno(failure))
        }
        Prepare::RaiseRlimit { name, .. } => format!("process.rlimits: cannot raise {name}: {}", errno(failure)),
        Prepare::MakeIdMapping { .. } => format!("cannot {op}: {}", parent_message(failure)),
        Prepare::SetCpuAffinity { .. } => {
            format!("process.execCPUAffinity.initial: cannot {op}: {}", errno(failure))
        }
        Prepare::FindAgent { path } => {
            format!("linux.seccomp.listenerPath: failed to connect with seccomp agent {path}: {}", errno(failure))
        }
        _ => format!("cannot {op}: {}", errno(failure)),
    }
}

fn prepare_hint(op: &Prepare, failure: &Failure) -> Option<String> {
    match op {
        Prepare::CloneMount(source) => source_hint(source, failure),
        Prepare::OpenNamespace { .. } if failure.part == prepare::HOSTS_MOUNTS => {
            Some("leave the path out: a new one is made".into())
        }
        Prepare::SetOomScore { .. } => Some("lowering it needs CAP_SYS_RESOURCE".into()),
        Prepare::RaiseRlimit { name: "RLIMIT_NOFILE", .. } => Some("fs.nr_open is the largest there can be".into()),
        Prepare::MakeIdMapping { .. } => parent_hint(failure),
        Prepare::FindAgent { .. } => Some(AGENT_HINT.into()),
        Prepare::SetTimeOffsets { .. } => Some(TIME_HINT.into()),
        _ if failure.errno == Errno::ENOSYS as i32 => Some(lacks("pidfd_open, which Linux has since 5.3")),
        _ => None,
    }
}

/// Of both ways to make a time namespace.
const TIME_HINT: &str =
    "time namespaces exist since Linux 5.6; offsets need CAP_SYS_TIME, which root of a new user namespace has";

/// A system call that is not there: an old kernel, or a filter around the runtime that knows only old ones.
fn lacks(feature: &str) -> String {
    format!("pent needs {feature}; this kernel lacks it, or a seccomp filter around pent hides it")
}

/// What an operation cannot do without, and since when Linux has it.
fn feature_of(op: &Op) -> &'static str {
    match op {
        Op::MakeFilesystem(_) => "fsopen, fsconfig and fsmount, which Linux has since 5.2",
        Op::SetReadonly { .. }
        | Op::ReadonlyPaths { .. }
        | Op::KeepPaths { .. }
        | Op::Remount { .. }
        | Op::SetRootPropagation { .. }
        | Op::MakeRootParentPrivate
        | Op::SetNewRootPropagation { .. } => "mount_setattr, which Linux has since 5.12",
        Op::CloseDescriptors { .. } | Op::LeaveHost { .. } => "close_range, which Linux has since 5.9",
        Op::FindExecutable { .. } => "faccessat2, which Linux has since 5.8",
        Op::Attach { .. }
        | Op::AttachRoot { .. }
        | Op::ParkBinary { .. }
        | Op::BindDevice { .. }
        | Op::MaskPaths { .. }
        | Op::MakeDevice { .. }
        | Op::OpenDev { .. }
        | Op::LinkDevice { .. }
        | Op::MakeDirectory { .. } => {
            "openat2 (Linux 5.6), open_tree and move_mount (5.2), and statx with mount ids (5.8)"
        }
        Op::MakeRuleset { .. } | Op::RestrictSelf { .. } => "Landlock, which Linux has since 5.13",
        _ => "Linux 5.12 or newer",
    }
}

fn parent_message(failure: &Failure) -> String {
    let which = if failure.value == 0 { ("newuidmap", "uid_map") } else { ("newgidmap", "gid_map") };
    match failure.part {
        idmap::NO_HELPER => format!("cannot run {}: {}", which.0, errno(failure)),
        idmap::REFUSED => format!("{} refused the mapping", which.0),
        idmap::MAPPING => format!("cannot write {}: {}", which.1, errno(failure)),
        _ => errno(failure),
    }
}

/// The part of [`Error::Parent`] that is the scheduler, after those of [`idmap`].
pub(super) const SCHEDULER: u32 = 4;
/// The only policy that the kernel refuses to root (sched_setattr(2)).
const DEADLINE: &str = "SCHED_DEADLINE needs CAP_SYS_NICE and every processor of the host: no cpuset, no affinity";

fn parent_hint(failure: &Failure) -> Option<String> {
    match failure.part {
        idmap::NO_HELPER => Some("install the uidmap package, or map a single id only".into()),
        idmap::REFUSED => Some("the ids must be among yours in /etc/subuid and /etc/subgid".into()),
        idmap::MAPPING => Some(
            "without privileges only your own id can be mapped, to one id; in a container or a user namespace only ids that it has itself \
             (/proc/self/uid_map): `pent doctor` says more"
                .into(),
        ),
        SCHEDULER => Some(DEADLINE.into()),
        _ => None,
    }
}

#[allow(clippy::too_many_lines)] // a table
fn child_message(op: &Op, failure: &Failure, hooks: &[(HookKind, Vec<hooks::Prepared>)]) -> String {
    let why = errno(failure);
    let index = usize::try_from(failure.value).unwrap_or(usize::MAX);
    match op {
        Op::CloneMount(source) | Op::CloneInside(source) => source_message(source, failure),
        Op::RunHooks { kind } => {
            let own = hooks.iter().find(|(own, _)| own == kind).map_or(&[][..], |(_, hooks)| hooks.as_slice());
            hooks::describe(*kind, failure, own)
        }
        Op::MakeFilesystem(filesystem) => match failure.part {
            parts::FILESYSTEM => format!("cannot mount {}: {why}", filesystem.kind),
            parts::OPTION => match filesystem.options.get(index) {
                Some((name, Some(value))) => format!("cannot mount {}: option {name}={value}: {why}", filesystem.kind),
                Some((name, None)) => format!("cannot mount {}: option {name}: {why}", filesystem.kind),
                None => format!("cannot mount {}: {why}", filesystem.kind),
            },
            _ => format!("cannot mount {}: {why}", filesystem.kind),
        },
        Op::Attach { target, .. } | Op::MountLegacy { target, .. } | Op::Remount { target, .. }
            if failure.part == parts::COVERS =>
        {
            covers(&target.to_string(), failure)
        }
        Op::Attach { target, .. } | Op::MountLegacy { target, .. } => match failure.part {
            parts::NOT_PLAIN => format!("filesystem on {target} must be mounted on ordinary directory: {why}"),
            parts::TARGET => format!("cannot make or open mount point {target}: {why}"),
            _ => format!("cannot mount on {target}: {why}"),
        },
        Op::CopyUp { target, .. } if failure.part == parts::TOO_DEEP => {
            format!("cannot copy up {target}: it has more than {} directories in one another", failure.value)
        }
        Op::MaskPaths { .. } if failure.part == parts::COVERS => covers("a path of linux.maskedPaths", failure),
        Op::MaskPaths { paths, .. } => format!("cannot mask {}: {why}", item(paths, index)),
        Op::KeepPaths { paths } => {
            let path = paths.get(index).map_or_else(String::new, |(path, _)| path.to_string());
            format!("cannot keep {path} as it is: {why}")
        }
        Op::ReadonlyPaths { paths } => format!("cannot make {} read-only: {why}", item(paths, index)),
        Op::WriteSysctls { values, .. } => match values.get(index) {
            Some((path, value)) => format!("linux.sysctl: cannot set {path} to {value}: {why}"),
            None => format!("linux.sysctl: {why}"),
        },
        Op::OpenNull { .. } if failure.part == 1 => "/dev/null of the host is not character device 1:3".to_owned(),
        Op::MakeDevice { device, .. } if failure.part == parts::OCCUPIED => {
            format!("cannot make device {}: something else is in its place", device.path)
        }
        Op::BindDevice { device, .. } if failure.part == parts::OTHER_DEVICE => {
            format!("cannot bind device {}: the host has another device there", device.path)
        }
        Op::PivotRoot { .. } | Op::MoveRoot { .. } if failure.part == parts::CHROOT => {
            format!("cannot {op}: pent runs in a chroot, and who joined the container would come to the host's root")
        }
        Op::ControlTerminal => format!("process.terminal: cannot take control of the terminal: {why}"),
        Op::OpenTerminal { .. } => match failure.part {
            parts::NO_DEVPTS => "process.terminal: there is no devpts on /dev/pts to open a terminal from".to_owned(),
            _ => format!("process.terminal: cannot open a terminal: {why}"),
        },
        Op::SetRlimit { name, .. } | Op::RaiseRlimit { name, .. } => {
            format!("process.rlimits: cannot set {name}: {why}")
        }
        Op::SetMemoryPolicy { .. } => format!("linux.memoryPolicy: cannot {op}: {why}"),
        Op::SetCpuAffinity { .. } => format!("process.execCPUAffinity.final: cannot {op}: {why}"),
        Op::SetTimeOffsets { .. } => format!("linux.timeOffsets: cannot {op}: {why}"),
        Op::SetHostname { .. } => format!("hostname: cannot {op}: {why}"),
        Op::ChangeDirectory { path, .. } => match failure.part {
            parts::OUTSIDE => format!("process.cwd: {path} leads outside of the container's root"),
            _ => format!("process.cwd: cannot chdir to cwd (\"{path}\") set in config.json: {why}"),
        },
        Op::FindExecutable { name, .. } => executable_message(&name.to_string(), failure),
        Op::Execute => format!("exec: {why}"),
        Op::OpenLabel { module, .. } | Op::SetExecLabel { module, .. } => {
            format!("process.{}: {}", module.field(), label_message(op, failure))
        }
        Op::MakeRuleset { ruleset } => match (failure.part, ruleset.rules.get(index), ruleset.ports.get(index)) {
            (parts::RULE, Some(rule), _) => format!("landlock: cannot make the rule for {}: {why}", rule.place),
            (parts::PORT, _, Some((port, _))) => format!("landlock: cannot make the rule for TCP port {port}: {why}"),
            _ => format!("landlock: cannot make a ruleset: {why}"),
        },
        Op::RestrictSelf { .. } if failure.part == parts::IN_FORCE => {
            "the kernel does not enforce what was asked for: an abstract socket outside of the Landlock domain can be reached"
                .to_owned()
        }
        Op::SetAmbient { .. } if failure.part == 1 => {
            format!("can't raise ambient capability {}: {why}", capability::names(1 << failure.value.min(63)).join(""))
        }
        Op::VerifyNamespaces { .. } | Op::VerifyMounts | Op::VerifyCredentials(_) | Op::LoadSeccomp { .. }
            if failure.errno == 0 =>
        {
            mismatch(failure)
        }
        Op::EnterNamespace { kind, .. } => {
            format!("linux.namespaces: cannot enter the {} namespace: {why}", kind.file())
        }
        _ if failure.errno == 0 => format!("cannot {op}: not as expected ({}, {})", failure.part, failure.value),
        _ => format!("cannot {op}: {why}"),
    }
}

/// A link of the image that leads where nothing may be mounted over.
fn covers(what: &str, failure: &Failure) -> String {
    let place = if failure.value == 0 { "the root itself" } else { "/proc, which must be the kernel's" };
    format!("cannot mount on {what}: a link in the image leads to {place}")
}

fn label_message(op: &Op, failure: &Failure) -> String {
    match failure.part {
        parts::NO_PROC => format!("there is no procfs to write it through: {}", errno(failure)),
        parts::OTHER => "the kernel has another one than was asked for".to_owned(),
        _ => format!("cannot {op}: {}", errno(failure)),
    }
}

fn item(paths: &[crate::plan::text::Text], index: usize) -> String {
    paths.get(index).map(ToString::to_string).unwrap_or_default()
}

/// In the words that docker and podman turn into exit status 126 and 127.
fn executable_message(name: &str, failure: &Failure) -> String {
    let why = match Errno::from_raw(failure.errno) {
        Errno::ENOENT if !name.contains('/') => "executable file not found in $PATH".to_owned(),
        errno @ (Errno::ENOENT | Errno::ENOTDIR) => format!("stat {name}: {}", lower(errno)),
        // execve(2) refuses a directory with EACCES, and that text is the one that Podman knows.
        Errno::EISDIR => format!("{}: {}", lower(Errno::EISDIR), lower(Errno::EACCES)),
        errno => lower(errno),
    };
    format!("exec: \"{name}\": {why}")
}

fn mismatch(failure: &Failure) -> String {
    use super::child::verify;
    let caps = || {
        let names = capability::names(failure.value).join(", ");
        if names.is_empty() { "none".to_owned() } else { names }
    };
    let what = match failure.part {
        verify::UID => format!("the uid is {}", failure.value),
        verify::GID => format!("the gid is {}", failure.value),
        verify::GROUPS => format!("there are {} supplementary groups", failure.value),
        verify::BOUNDING => format!("the bounding set is {}", caps()),
        verify::EFFECTIVE => format!("the effective set is {}", caps()),
        verify::PERMITTED => format!("the permitted set is {}", caps()),
        verify::INHERITABLE => format!("the inheritable set is {}", caps()),
        verify::AMBIENT => format!("the ambient set is {}", caps()),
        verify::NO_NEW_PRIVS => "no_new_privs differs".to_owned(),
        part @ (verify::NAMESPACE | verify::NOT_APART) => {
            let kind = usize::try_from(failure.value).ok().and_then(|index| Namespace::ALL.get(index));
            let is = if part == verify::NAMESPACE { "another one" } else { "the runtime's own" };
            format!("the {} namespace is {is}", kind.map_or("?", |kind| kind.file()))
        }
        verify::MOUNT => format!("a mount lacks the flags {:#x}", failure.value),
        verify::MOVED => "a mount point was moved or removed while the container was made".to_owned(),
        verify::SECCOMP => format!("the seccomp mode is {}", failure.value),
        other => format!("check {other} differs ({})", failure.value),
    };
    format!("the kernel does not enforce what was asked for: {what}")
}

fn child_hint(op: &Op, failure: &Failure) -> Option<String> {
    let errno = Errno::from_raw(failure.errno);
    Some(match (op, errno) {
        (Op::CloneInside(_), Errno::ENOENT) => "no earlier mount has put it into the container's root".into(),
        (Op::CloneMount(source) | Op::CloneInside(source), _) => return source_hint(source, failure),
        (Op::Attach { .. } | Op::MountLegacy { .. } | Op::Remount { .. } | Op::MaskPaths { .. }, _)
            if failure.part == parts::COVERS =>
        {
            "mount where the image has no such link, or take the link out of the image".into()
        }
        (Op::VerifyMounts, _) if failure.part == super::child::verify::MOVED => {
            "something renames files in the root filesystem or in a volume, another container perhaps: end that, and try again"
                .into()
        }
        (Op::SetRootPropagation { .. } | Op::MakeRootParentPrivate, Errno::EINVAL) => {
            "`/` is not a mount point here, as in a chroot: bind that directory on itself before (mount --bind DIR DIR), or start pent outside"
                .into()
        }
        (Op::Attach { .. }, Errno::EROFS) => {
            "the mount point is missing and the root filesystem is read-only: make it in the image".into()
        }
        (Op::Attach { .. }, Errno::EACCES) => {
            "root of the container may not search the root filesystem, or a directory on the way: chmod a+x, or give it to that user"
                .into()
        }
        (Op::Attach { point: MountPoint::CopiedLink, .. }, Errno::EEXIST) => {
            "copy-symlink makes the source's link there, and something else is in its place".into()
        }
        (Op::SetTimeOffsets { .. }, _) => TIME_HINT.into(),
        (Op::EnterProcess { .. }, Errno::EPERM) => {
            "an ordinary user enters a container only once it is started, and only one of their own".into()
        }
        (Op::Attach { .. }, Errno::ENOTDIR) => {
            "a directory can only be mounted on a directory, a file on a file".into()
        }
        (Op::MakeFilesystem(_), Errno::ENODEV) => "this kernel has no such filesystem".into(),
        (Op::MakeFilesystem(_), Errno::EPERM) => {
            "in a user namespace only some filesystems can be mounted, and only with namespaces of its own; in a container no procfs \
             while parts of its /proc are covered: `pent doctor` says what to do"
                .into()
        }
        (Op::FindExecutable { name, .. }, Errno::ENOENT) => {
            format!("is {name} in the image, and PATH in process.env?")
        }
        (Op::FindExecutable { .. } | Op::Execute, Errno::EACCES) => {
            "it must be executable by process.user, and its mount not noexec".into()
        }
        (Op::Execute, Errno::ENOEXEC) => "it is not a program for this machine, or a script without #!".into(),
        (Op::Execute, Errno::ENOENT) => "its interpreter (#!, or the dynamic loader) is not in the image".into(),
        (Op::JoinKeyring { .. }, Errno::EDQUOT) => {
            "the user behind the container's ids has all the keys it may have: raise kernel.keys.maxkeys and maxbytes, or find out \
             with /proc/key-users and /proc/keys who uses them"
                .into()
        }
        (Op::JoinCgroup, Errno::ENOSPC) => {
            "its cpuset has no processors or no memory nodes: set linux.resources.cpu".into()
        }
        (Op::JoinCgroup, Errno::EINVAL) => {
            "a real-time process cannot enter a cpu cgroup without cpu.rt_runtime_us: start pent at normal priority"
                .into()
        }
        (Op::SetExecLabel { module: Module::Apparmor, .. }, Errno::ENOENT) => {
            "no such profile is loaded: `apparmor_parser --replace FILE` loads one".into()
        }
        (Op::SetExecLabel { module: Module::Apparmor, .. }, Errno::EACCES | Errno::EPERM) => {
            "pent itself is confined, by a profile that does not allow the change".into()
        }
        (Op::SetExecLabel { module: Module::Selinux, .. }, Errno::EINVAL) => {
            "no such label in the policy that is loaded".into()
        }
        (Op::OpenLabel { .. }, Errno::EINVAL | Errno::ENOENT) if failure.part == parts::NO_FILE => {
            "this kernel's procfs has no file for it".into()
        }
        (Op::SetMemoryPolicy { .. }, Errno::EINVAL) => {
            "the nodes must exist and be among the cpuset's memory nodes, and the kernel must know the mode".into()
        }
        (Op::SetScheduler { attr }, Errno::EPERM) if attr.deadline != 0 => DEADLINE.into(),
        (Op::SetCpuAffinity { .. }, Errno::EINVAL) => "none of the processors is among the container's cpuset".into(),
        (Op::SetRlimit { .. }, Errno::EPERM) => "raising a hard limit needs CAP_SYS_RESOURCE".into(),
        (Op::PivotRoot { .. } | Op::MoveRoot { .. }, _) if failure.part == parts::CHROOT => {
            "use pivot_root(2) rather than chroot(2) for what pent runs in, and no --no-pivot".into()
        }
        (Op::PivotRoot { .. }, Errno::EINVAL) => "the host's root may be an initramfs: try --no-pivot".into(),
        (Op::SetGroups { groups }, Errno::EPERM) if !groups.is_empty() => {
            "the user namespace may have been made without the right to set groups: leave additionalGids out".into()
        }
        (Op::SetUid { .. } | Op::SetGid { .. } | Op::SetGroups { .. }, Errno::EINVAL) => {
            "the id is not mapped in the container's user namespace".into()
        }
        (Op::LoadSeccomp { .. }, Errno::EBUSY) => {
            "a filter that notifies is loaded already: pent itself runs under one, and the kernel allows no second"
                .into()
        }
        (Op::LoadSeccomp { .. }, Errno::EINVAL) => "this kernel does not know a flag in linux.seccomp.flags".into(),
        (Op::RestrictSelf { .. }, Errno::E2BIG) => {
            "pent itself runs under as many layers of Landlock rules as the kernel allows (16)".into()
        }
        (_, Errno::ENOSYS) => lacks(feature_of(op)),
        _ => return None,
    })
}
