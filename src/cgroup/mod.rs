//! Control groups: version 2 by files, version 1 by files, and both at once (hybrid).
//!
//! # What is pure and what is not
//!
//! [`Layout`] and [`OwnCgroup`] are facts about the host; [`compile`] turns them and `linux.resources` into a
//! [`CgroupPlan`], which is plain data: directories, writes with the JSON path of the setting behind each, device rules.
//! [`Cgroup`] is the handle of a cgroup that is to be made or exists; it is kept in the state file.
//!
//! ```text
//! OwnCgroup::probe ─┐
//! Layout::probe ────┼─▶ compile ──▶ CgroupPlan ──▶ Cgroup::planned     (write the state file: nothing is lost by a kill -9)
//! Spec ─────────────┘                              Cgroup::create      directories, controllers, cpuset inheritance
//!                                                  Cgroup::apply       limits and devices
//!                                                  Cgroup::clone_dir   v2 and hybrid: CLONE_INTO_CGROUP
//!                                                  Cgroup::add         the rest: v1 hierarchies, one by one
//! ```
//!
//! # For the commands
//!
//! | command | calls |
//! |---|---|
//! | create | [`compile`], [`Cgroup::planned`], [`Cgroup::create`], [`Cgroup::apply`], [`Cgroup::clone_dir`] and [`Cgroup::open_tasks_v1`] |
//! | exec | [`Cgroup::clone_dir`] and [`Cgroup::open_tasks_v1`]; [`Cgroup::sub`] for `--cgroup`; [`Cgroup::holding`] the first process after EBUSY |
//! | pause, resume, state | [`Cgroup::freeze`], [`Cgroup::thaw`], [`Cgroup::is_frozen`] |
//! | kill --all | [`Cgroup::kill_all`] |
//! | delete | [`Cgroup::kill_all`], then [`Cgroup::delete`] |
//! | update | [`Cgroup::update`] |
//! | ps | [`Cgroup::pids`] with `recursive` |
//! | events | [`Cgroup::stats`] in an [`Event`]; [`Cgroup::oom_watch`] for `oom` events |
//! | after an exit | [`Cgroup::oom_kill_count`] |
//!
//! A container may have no cgroup of its own (rootless without limits and without delegation): then
//! [`Cgroup::is_none`], `create`, `apply`, `add` and `delete` do nothing, and what needs a cgroup is [`Error::None`].
//!
//! # Choices
//!
//! - *Path.* `/a/b` is below the mount points; `a/b` and no path at all (the id) are below the caller's own cgroup, on version 2
//!   beside it, because a version 2 cgroup with processes has no controllers for its children. As in runc; crun puts the
//!   default below the mount point. `..` is refused.
//! - *Controllers.* Version 2 controllers are enabled on the way down only where they are missing: those that limits need,
//!   and cpu, io, memory and pids for accounting where that is possible. runc enables all there are.
//! - *Devices.* The specification's rules, then runc's default devices ([`DEFAULT_RULES`]), so that the latter cannot be taken
//!   away. The last rule wins; a rule that would cut a hole into a wildcard is an error (version 1 would ignore it).
//! - *Hybrid.* Limits go to version 1; the container is placed in the version 2 tree too, if that can be written (as in runc).
//! - *Zero.* As in runc, 0 is "unset" for limits of cpu and memory; for pids it depends on the configuration's version
//!   (see [`Input::oci_version`]).
#![forbid(unsafe_code)]

mod apply;
mod convert;
mod devices;
mod dir;
mod handle;
mod layout;
mod make;
mod oom;
mod path;
mod plan;
mod program;
mod stats;
mod systemd;
mod v1;
mod v2;

pub use devices::{ALL, DEFAULT_RULES, Devices, Kind, MKNOD, Policy, READ, Rule, WRITE};
pub use dir::Place;
pub use handle::{Cgroup, Membership, UpdateContext};
pub use layout::{Hierarchy, Layout, OwnCgroup};
pub use oom::OomWatch;
pub use path::is_relative;
pub use plan::{
    CgroupPlan, DevicePlan, Directory, Driver, IfMissing, Input, Limits, MemoryCheck, Now, Write, compile,
    compile_update,
};
pub use program::compile_program;
pub use stats::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Event, Hugetlb, IntelRdt, Memory, MemoryEntry, Pids, Psi, PsiData, Stats,
    Throttling,
};

pub(crate) use systemd::outer_uid;
pub(crate) use systemd::unit::ANNOTATION as SYSTEMD_PROPERTY;
pub use systemd::{Properties, Scope, Unit, probe_user_manager};

use crate::report::{Diagnostic, Hint};
use nix::errno::Errno;
use std::io;
use std::path::PathBuf;

/// What can go wrong with control groups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory cannot be made.
    #[error("cgroup {}: cannot make it: {source}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// As a rootless user, a directory cannot be made, and it was asked for.
    #[error("rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {source}")]
    Rootless {
        /// What failed.
        source: Box<Error>,
    },
    /// A directory cannot be opened.
    #[error("cgroup {}: cannot open: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory cannot be removed.
    #[error("cgroup {}: cannot remove: {source}", path.display())]
    Remove {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value is refused.
    #[error("{}{}: cannot write {value:?}: {source}", prefix(setting), path.display())]
    Write {
        /// The control file.
        path: PathBuf,
        /// The value.
        value: String,
        /// The JSON path of the setting behind it; may be empty.
        setting: String,
        /// Why.
        source: io::Error,
    },
    /// A limit needs a version 2 controller that the cgroup does not have.
    #[error(
        "{}{file} can't be set: controller {controller:?} not available in {}: unknown controller",
        prefix(setting), path.display()
    )]
    Controller {
        /// The controller.
        controller: String,
        /// The control file.
        file: String,
        /// The cgroup.
        path: PathBuf,
        /// The JSON path of the setting.
        setting: String,
    },
    /// A limit needs a hierarchy that the container could not join.
    #[error("{}cannot set {controller} limit: container could not join or create cgroup", prefix(setting))]
    NotJoined {
        /// The controller.
        controller: String,
        /// The JSON path of the setting.
        setting: String,
    },
    /// A process cannot be moved.
    #[error("cgroup {}: adding pid {pid} to cgroups: {}", path.display(), lower(*errno))]
    Join {
        /// The cgroup.
        path: PathBuf,
        /// The process.
        pid: u32,
        /// Why.
        errno: Errno,
    },
    /// The cgroup of a new container holds processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// How many.
        count: usize,
        /// The cgroup.
        path: PathBuf,
    },
    /// The cgroup of a new container is frozen.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// The cgroup.
        path: PathBuf,
    },
    /// Freezing took too long.
    #[error("unable to freeze cgroup {}: not all processes stopped within {seconds} s", path.display())]
    Freeze {
        /// The cgroup.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// There is no freezer.
    #[error("cannot freeze or thaw: the container has no freezer cgroup")]
    NoFreezer,
    /// The new limit is below what is used.
    #[error("rejecting {what} limit {limit} <= usage {usage}")]
    BelowUsage {
        /// `memory` or `memory+swap`.
        what: &'static str,
        /// The new limit in bytes.
        limit: i64,
        /// The usage in bytes.
        usage: u64,
    },
    /// The device program cannot be loaded or attached.
    #[error("cgroup {}: cannot {step} the device program: {source}", path.display())]
    Program {
        /// What failed.
        step: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process cannot be signalled.
    #[error("process {pid}: cannot send signal {signal}: {source}")]
    Signal {
        /// The process.
        pid: u32,
        /// The signal.
        signal: i32,
        /// Why.
        source: io::Error,
    },
    /// The cgroup that the new process was to be in.
    #[error("cgroup {}: adding pid of the new process to cgroups: {}", path.display(), lower(*errno))]
    Birth {
        /// The cgroup.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// `--cgroup` names a controller that the container has no cgroup for.
    #[error("unknown controller {0}")]
    UnknownController(String),
    /// `--cgroup` names something that is not below the container's cgroup.
    #[error("bad sub cgroup path: {0} is not a sub cgroup path")]
    BadSubPath(String),
    /// systemd does not do what it is asked.
    #[error("systemd: cannot {doing} {unit}: {cause}")]
    Systemd {
        /// A verb.
        doing: &'static str,
        /// The unit.
        unit: String,
        /// What it said.
        cause: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// The container has no cgroup of its own.
    #[error("the container has no cgroup of its own")]
    None,
    /// The settings of an update are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Diagnostic>),
}

/// strerror(3) in the lower case that callers match.
fn lower(errno: Errno) -> String {
    errno.desc().to_lowercase()
}

fn prefix(setting: &str) -> String {
    if setting.is_empty() { String::new() } else { format!("{setting}: ") }
}

/// What to do when a cgroup cannot be made or joined.
fn place_hint(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EROFS => "the cgroup filesystem is mounted read-only here",
        libc::EACCES | libc::EPERM => "the caller may not make cgroups there: delegate a subtree to it, or run as root",
        libc::EBUSY => "a version 2 cgroup with processes cannot have controllers for its children",
        libc::EOPNOTSUPP => "the cgroup is below a threaded one and cannot hold whole processes",
        libc::ENOSPC => "a version 1 cpuset needs cpuset.cpus and cpuset.mems before it can hold processes",
        _ => return None,
    })
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownController(_) => {
                "`cat /proc/self/cgroup` in the container lists them; version 2 has one cgroup for all"
            }
            Self::Make { source, .. } => return place_hint(source.raw_os_error()?).map(str::to_owned),
            Self::Join { errno, .. } | Self::Birth { errno, .. } => {
                return place_hint(*errno as i32).map(str::to_owned);
            }
            Self::Rootless { .. } => "delegate a cgroup to this user, or leave out limits and linux.cgroupsPath",
            Self::Controller { .. } => "`cat /sys/fs/cgroup/cgroup.controllers` lists what this host has",
            Self::NotEmpty { .. } => "another container uses the same linux.cgroupsPath, or one was not deleted",
            Self::Frozen { .. } => {
                "write 0 to cgroup.freeze (v1: THAWED to freezer.state), or choose another linux.cgroupsPath"
            }
            Self::Write { path, source, .. } => match (source.raw_os_error(), path.file_name()?.to_str()?) {
                (Some(libc::EBUSY), "memory.limit_in_bytes") => "the limit is below what the container uses now",
                (Some(libc::EPERM), "devices.allow") => "the parent cgroup does not allow that device itself",
                (Some(libc::ENOENT), _) => "the kernel or its configuration has no such file",
                (Some(libc::EACCES | libc::EPERM), _) => "the file belongs to another user: delegate the controller",
                _ => return None,
            },
            Self::Program { source, .. } if source.raw_os_error() == Some(libc::EPERM) => {
                "device programs need CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, outside any user namespace"
            }
            Self::Systemd { hint, .. } => (*hint)?,
            Self::Invalid(found) => return found.iter().find_map(|found| found.hint.clone()),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
