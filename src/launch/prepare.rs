//! Before clone: everything that opens something of the host, by the rights of the caller.
#![forbid(unsafe_code)]

use super::wire::Failure;
use super::{Error, idmap, sources};
use crate::plan::op::{Child, HookKind, Namespace, Prepare, Slot};
use crate::plan::{Plan, text::Text};
use crate::seccomp::flag;
use crate::sys::clone::{self, Fork};
use crate::sys::exec::{Argv, Environment};
use crate::sys::{cred, exe, fd, numa};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A plan with its descriptors open and its strings in place.
pub(super) struct Prepared {
    pub(super) slots: Vec<Option<OwnedFd>>,
    pub(super) argv: Argv,
    pub(super) env: Environment,
    pub(super) filter: Vec<u64>,
    pub(super) filter_rest: Vec<u64>,
    pub(super) hook_filter: (Vec<u64>, u32),
    pub(super) segments: Vec<exe::Segment>,
    pub(super) host_namespaces: [u64; 8],
    /// Signals that this process ignores, a mask: what of its dispositions a child inherits.
    pub(super) ignored: u64,
    /// To be put back.
    pub(super) before: Before,
}

/// What this process was before it was made what the child shall be.
#[derive(Default)]
pub(super) struct Before {
    pub(super) oom_score: Option<String>,
    pub(super) cpus: Option<Vec<u64>>,
    pub(super) time: Option<OwnedFd>,
}

pub(super) fn prepare(plan: &Plan) -> Result<Prepared, Error> {
    let mut slots: Vec<Option<OwnedFd>> = (0..plan.slots).map(|_| None).collect();
    let mut before = Before::default();
    for op in &plan.prepare {
        let failed = |failure: Failure| Error::Prepare { op: Box::new(op.clone()), failure };
        apply(op, &mut slots, &mut before).map_err(failed)?;
    }
    let strings = |texts: &[Text]| texts.iter().map(|text| text.clone().into_inner()).collect();
    Ok(Prepared {
        slots,
        argv: Argv::new(strings(&plan.program.args)),
        env: Environment::new(strings(&plan.program.env)),
        filter: words(plan.seccomp.as_ref()),
        filter_rest: words(plan.seccomp_rest.as_ref()),
        hook_filter: hook_filter(plan),
        segments: exe::segments(),
        host_namespaces: own_namespaces(plan)?,
        ignored: ignored_signals(),
        before,
    })
}

/// The filter for hooks that are the container's own programs, and its flags. What it asks the runtime about when refusals are reported,
/// the runtime answers by the filter as it was meant: nobody listens to a hook.
fn hook_filter(plan: &Plan) -> (Vec<u64>, u32) {
    let runs = plan.child_hooks.iter().any(|(kind, hooks)| *kind == HookKind::StartContainer && !hooks.is_empty());
    let Some(filter) = plan.seccomp.as_ref().filter(|_| runs) else { return (Vec::new(), 0) };
    let meant = plan.supervised.as_ref().map_or(filter, |supervised| &supervised.program);
    (words(Some(meant)), filter.flags & !flag::LISTENING)
}

fn words(filter: Option<&crate::seccomp::Program>) -> Vec<u64> {
    filter.map(|program| program.insns.iter().map(|insn| insn.word()).collect()).unwrap_or_default()
}

fn apply(op: &Prepare, slots: &mut [Option<OwnedFd>], before: &mut Before) -> Result<(), Failure> {
    let mut fill = |slot: Slot, fd: OwnedFd| slots[usize::from(slot.0)] = Some(fd);
    match op {
        Prepare::OpenProcess { slot, pid, start_time } => fill(*slot, open_process(*pid, *start_time)?),
        Prepare::OpenNamespace { slot, kind, path, .. } => {
            let namespace = fd::open(fd::CWD, path, libc::O_RDONLY)?;
            if *kind == Namespace::Mount && is_of_the_host(namespace.as_fd())? {
                return Err(Failure::mismatch(HOSTS_MOUNTS, 0));
            }
            fill(*slot, namespace);
        }
        Prepare::MakeIdMapping { slot, uids, gids } => fill(*slot, idmap::namespace(uids, gids)?),
        Prepare::CloneMount(source) => {
            let namespace = source.idmap.as_ref().and_then(|map| slots[usize::from(map.namespace.0)].as_ref());
            let tree = sources::clone_mount(source, namespace.map(AsFd::as_fd))?;
            slots[usize::from(source.slot.0)] = Some(tree);
        }
        Prepare::OpenBinary { mount, file, path } => {
            let (tree, binary) = sources::open_binary(path)?;
            fill(*file, binary);
            if let Some(tree) = tree {
                fill(*mount, tree);
            }
        }
        Prepare::SetNonDumpable => cred::set_dumpable(false)?,
        Prepare::SetOomScore { score } => before.oom_score = set_oom_score(*score)?,
        Prepare::RaiseRlimit { resource, hard, .. } => cred::raise_rlimit(*resource, *hard)?,
        Prepare::SetTimeOffsets { lines } => {
            before.time = Some(fd::open(fd::CWD, c"/proc/self/ns/time", libc::O_RDONLY)?);
            clone::unshare(0x80)?;
            let file = fd::open(fd::CWD, c"/proc/self/timens_offsets", libc::O_WRONLY)?;
            fd::write(file.as_fd(), lines.to_bytes())?;
        }
        Prepare::SetCpuAffinity { cpus } => {
            before.cpus = Some(numa::cpu_affinity()?);
            numa::set_cpu_affinity(cpus)?;
        }
        Prepare::OwnStdio { uid } => super::child::own_stdio(*uid, u32::MAX, false)?,
        Prepare::FindAgent { path } => {
            if fd::stat_at(fd::CWD, path, 0)?.st_mode & libc::S_IFMT != libc::S_IFSOCK {
                return Err(Errno::ENOTSOCK.into());
            }
        }
    }
    Ok(())
}

/// Of `/proc/self/status`; all of them where it does not tell.
fn ignored_signals() -> u64 {
    let status = fd::read_file(c"/proc/self/status").unwrap_or_default();
    let line = status.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"SigIgn:\t"));
    let digits = line.and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(u64::MAX)
}

/// Inherited by the child; returns what it was before.
fn set_oom_score(score: i32) -> Result<Option<String>, Failure> {
    let before = fd::read_file(OOM_SCORE).ok().and_then(|text| String::from_utf8(text).ok());
    let before = before.map(|text| text.trim_end().to_owned());
    let score = score.to_string();
    if before.as_ref() == Some(&score) {
        return Ok(None);
    }
    write_oom_score(&score)?;
    Ok(before)
}

const OOM_SCORE: &CStr = c"/proc/self/oom_score_adj";

pub(super) fn write_oom_score(score: &str) -> crate::sys::Result<()> {
    let file = fd::open(fd::CWD, OOM_SCORE, libc::O_WRONLY)?;
    fd::write(file.as_fd(), score.as_bytes())
}

/// The mount namespace to be joined is the runtime's own, or that of the first process: its mounts would be replaced before anything
/// could be compared.
pub(super) const HOSTS_MOUNTS: u32 = 1;

/// Whether a mount namespace is one that must stay as it is; that of the first process, where this process may look at it.
fn is_of_the_host(namespace: BorrowedFd<'_>) -> crate::sys::Result<bool> {
    let inode = fd::stat(namespace)?.st_ino;
    let own = fd::stat_at(fd::CWD, c"/proc/self/ns/mnt", 0)?.st_ino;
    Ok(inode == own || fd::stat_at(fd::CWD, c"/proc/1/ns/mnt", 0).is_ok_and(|st| st.st_ino == inode))
}

/// The container's init, unless its pid belongs to another process by now.
fn open_process(pid: i32, start_time: u64) -> Result<OwnedFd, Failure> {
    let pidfd = clone::open_process(pid)?;
    match crate::state::Process::identify(pid) {
        Ok(process) if process.start_time == start_time => Ok(pidfd),
        _ => Err(Errno::ESRCH.into()),
    }
}

/// Inodes of the namespaces of this process that the child is to leave, in the order of `Namespace::ALL`; 0 for the others.
fn own_namespaces(plan: &Plan) -> Result<[u64; 8], Error> {
    let mut inodes = [0; 8];
    let left = plan.child.iter().find_map(|op| match op {
        Child::VerifyNamespaces { new, apart, .. } if !(new.is_empty() && apart.is_empty()) => Some((new, apart)),
        _ => None,
    });
    let Some((new, apart)) = left else { return Ok(inodes) };
    let dir = fd::open(fd::CWD, c"/proc/self/ns", libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|errno| Error::System { what: "open /proc/self/ns", errno })?;
    for (inode, kind) in
        inodes.iter_mut().zip(Namespace::ALL).filter(|(_, kind)| new.contains(kind) || apart.contains(kind))
    {
        *inode = super::child::namespace(dir.as_fd(), super::child::namespace_file(kind)).unwrap_or(0);
    }
    Ok(inodes)
}

/// Runs `f` in the parent of a process that only exists to hold a new user namespace, and ends it.
pub(super) fn with_namespace_holder<T>(f: impl FnOnce(i32) -> Result<T, Failure>) -> Result<T, Failure> {
    let (ours, theirs) = crate::sys::socket::pair()?;
    match clone::fork(u64::from(libc::CLONE_NEWUSER.cast_unsigned()), None)? {
        Fork::Child => {
            drop(ours);
            // Until the parent closes its side, or dies.
            let _gone = crate::sys::socket::receive(theirs.as_fd(), &mut [0]);
            clone::exit_group(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(theirs);
            let result = f(pid);
            drop(ours);
            clone::wait(pidfd.as_fd())?;
            result
        }
    }
}
