//! The child: walks its script and decides nothing.
//!
//! From clone on, nothing here allocates, panics across the boundary, or returns: a failure is one fixed-size message, and
//! the process leaves by exec or `exit_group`. The guard allocator proves the first in debug and integration builds.
#![forbid(unsafe_code)]

mod credentials;
mod devices;
mod init;
mod label;
mod landlock;
mod mounts;
mod places;
mod process;
mod root;
pub(in crate::launch) mod verify;

use super::hooks;
use super::wire::{self, Failure, Message};
use crate::cgroup::Membership;
use crate::plan::Plan;
use crate::plan::op::{Child as Op, HookKind, Namespace, Point, Slot};
use crate::spec::mount_options::{Propagation, Spread};
use crate::state::INIT_COMM;
use crate::sys::clone::{self, exit_group};
use crate::sys::exe::Segment;
use crate::sys::exec::{Argv, Environment};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What an operation comes to.
type Done = Result<(), Failure>;

/// How the container is started.
#[derive(Debug)]
pub enum Gate {
    /// By the process that creates it (`run`, `exec`), over the same socket.
    Parent,
    /// By whoever connects to this listening socket (`create`, then `start`).
    Listener(OwnedFd),
}

/// A mount whose flags are checked before the program starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct MountCheck {
    id: u64,
    expect: u64,
}

/// Everything the child needs, made by the parent.
pub(super) struct Child<'a> {
    pub(super) plan: &'a Plan,
    pub(super) slots: &'a mut [Option<OwnedFd>],
    pub(super) sync: OwnedFd,
    pub(super) gate: Gate,
    pub(super) argv: &'a Argv,
    pub(super) env: &'a mut Environment,
    pub(super) filter: &'a [u64],
    pub(super) filter_rest: &'a [u64],
    /// For hooks that are the container's own programs.
    pub(super) hook_filter: hooks::Filter<'a>,
    pub(super) segments: &'a [Segment],
    pub(super) hooks: &'a [(HookKind, Vec<hooks::Prepared>)],
    /// The version 1 hierarchies, for one operation.
    pub(super) memberships: &'a [Membership],
    /// Inodes of the runtime's own namespaces, in the order of `Namespace::ALL`.
    pub(super) host_namespaces: [u64; 8],
    /// As long as the plan says there are checks.
    pub(super) checks: &'a mut [MountCheck],
    pub(super) checked: usize,
    /// As long as `checks`.
    pub(super) made: &'a mut [Made<'a>],
    pub(super) made_count: usize,
    /// The mount of the rootfs.
    pub(super) root_mount: u64,
    /// The mount on /proc.
    pub(super) proc_mount: Option<u64>,
    pub(super) root: Option<Slot>,
    pub(super) in_directory: bool,
    /// Clone flags of the namespaces that were entered at the first try.
    pub(super) entered: libc::c_int,
    /// What the parent has made, between getting it and entering it.
    pub(super) network: Option<OwnedFd>,
    /// The caller's file mode creation mask.
    pub(super) umask: u32,
    pub(super) executable: Option<&'a CString>,
    /// Of the seccomp filter, between loading it and handing it over.
    pub(super) listener: Option<OwnedFd>,
    /// Of landlock(7), between making it and being restricted to it.
    pub(super) ruleset: Option<OwnedFd>,
    /// How many rules are in it.
    pub(super) rules: u32,
}

impl MountCheck {
    pub(super) const NONE: Self = Self { id: 0, expect: 0 };
}

impl<'a> Child<'a> {
    /// In the parent: gives up the child's side of the socket and of the gate.
    pub(super) fn abandon(self) {
        drop(self);
    }

    /// Walks `plan.child`, which ends with the program.
    pub(super) fn run(mut self) -> ! {
        let plan = self.plan;
        for (index, op) in plan.child.iter().enumerate() {
            if let Err(failure) = self.apply(op) {
                let index = u32::try_from(plan.child.len() - 1 - index).unwrap_or(u32::MAX);
                // If nobody listens any more there is nobody to tell.
                let _sent = wire::send_last(self.sync.as_fd(), Message::Failed(index, failure));
                exit_group(1);
            }
        }
        exit_group(1)
    }

    fn enter_namespace(&mut self, slot: Slot, flag: libc::c_int, early: bool) -> Done {
        if self.entered & flag != 0 {
            return Ok(());
        }
        match clone::setns(self.slot(slot)?, flag) {
            Err(nix::errno::Errno::EPERM) if early => return Ok(()),
            other => other?,
        }
        self.entered |= flag;
        Ok(())
    }

    fn apply(&mut self, op: &'a Op) -> Done {
        match op {
            Op::Meet { point } => self.meet(*point),
            Op::SetNonDumpable => Ok(crate::sys::cred::set_dumpable(false)?),
            Op::OpenBinary { mount, file, path } => self.open_binary(*mount, *file, path),
            Op::ShieldBinary { file } => Ok(crate::sys::exe::switch(self.segments, self.slot(*file)?)?),
            Op::DropGroups => Self::drop_groups(),
            Op::EnterNamespace { kind, slot, early } => self.enter_namespace(*slot, clone_flag(kind.flag()), *early),
            Op::EnterNetwork => {
                let network = self.network.take().ok_or(Errno::EBADF)?;
                Ok(clone::setns(network.as_fd(), libc::CLONE_NEWNET)?)
            }
            Op::EnterProcess { slot, kinds } => Ok(clone::setns(self.slot(*slot)?, clone_flag(flags(kinds)))?),
            Op::LeaveHost { keep, preserve, also } => self.leave_host(keep, *preserve, also),
            Op::MakeNamespaces { new } => Ok(clone::unshare(clone_flag(flags(new)))?),
            Op::Birth { new } => self.give_birth(new),
            Op::BecomeRoot { drop_groups } => Self::become_user(0, 0, *drop_groups),
            Op::BecomeUser { uid, gid, drop_groups } => Self::become_user(*uid, *gid, *drop_groups),
            Op::JoinCgroup => self.join_cgroup(),
            Op::JoinKeyring { name, found } => Self::join_keyring(name, *found),
            Op::NewSession => Ok(crate::sys::cred::new_session()?),
            Op::VerifyNamespaces { new, joined, apart } => self.verify_namespaces(new, joined, apart),
            Op::LoopbackUp => Ok(crate::sys::cred::loopback_up()?),
            Op::SetRootPropagation { propagation } | Op::SetNewRootPropagation { propagation } => {
                Self::set_root_propagation(*propagation)
            }
            Op::MakeRootParentPrivate => {
                Self::set_root_propagation(Propagation { spread: Spread::Private, recursive: false })
            }
            Op::CloneMount(source) => self.clone_mount(source),
            Op::ParkBinary { mount, directory } => self.park_binary(*mount, directory),
            Op::AttachRoot { slot, at } => self.attach_root(*slot, at.as_deref()),
            Op::OpenNull { slot } => self.open_null(*slot),
            Op::MakeFilesystem(filesystem) => self.make_filesystem(filesystem),
            Op::MountLegacy { kind, source, target, flags, data, propagation } => {
                self.mount_legacy(kind, source, target, *flags, data, propagation)
            }
            Op::CopyUp { slot, target } => self.copy_up(*slot, target),
            Op::Attach { slot, target, point, expect } => self.attach(*slot, target, *point, *expect),
            Op::Remount { target, attributes, tree_attributes } => self.remount(target, *attributes, *tree_attributes),
            Op::Symlink { dir, name, target } => self.symlink(dir, name, target),
            Op::CloneInside(source) => self.clone_inside(source),
            Op::SetTimeOffsets { lines } => Self::set_time_offsets(lines),
            Op::MakeDirectory { path } => self.make_directory(path),
            Op::OpenDev { slot } => self.open_dev(*slot),
            Op::MakeDevice { dev, device } => self.make_device(*dev, device),
            Op::BindDevice { dev, source, device } => self.bind_device(*dev, *source, device),
            Op::LinkDevice { dev, name, target } => self.link_device(*dev, name, target),
            Op::OpenTerminal { dev, size, .. } => self.open_terminal(*dev, *size),
            Op::ControlTerminal => self.control_terminal(),
            Op::UnshareCgroup => Ok(clone::unshare(libc::CLONE_NEWCGROUP)?),
            Op::WriteSysctls { proc, values } => self.write_sysctls(*proc, values),
            Op::RunHooks { kind } => self.run_hooks(*kind),
            Op::MaskPaths { null, paths, as_program } => self.mask_paths(*null, paths, *as_program),
            Op::KeepPaths { paths } => self.keep_paths(paths),
            Op::ReadonlyPaths { paths } => self.readonly_paths(paths),
            Op::SetReadonly { slot, .. } => self.set_readonly(*slot),
            Op::PivotRoot { slot, shared } => self.pivot_root(*slot, *shared),
            Op::MoveRoot { slot, shared } => self.move_root(*slot, *shared),
            Op::SetHostname { name } => Ok(crate::sys::cred::set_hostname(name)?),
            Op::SetDomainname { name } => Ok(crate::sys::cred::set_domainname(name)?),
            Op::SetRlimit { resource, soft, hard, .. } => Ok(crate::sys::cred::set_rlimit(*resource, *soft, *hard)?),
            Op::RaiseRlimit { resource, hard, .. } => Ok(crate::sys::cred::raise_rlimit(*resource, *hard)?),
            Op::SetScheduler { attr } => Ok(crate::sys::cred::set_scheduler(0, attr)?),
            Op::SetIoPriority { class, level } => Ok(crate::sys::cred::set_io_priority(*class, *level)?),
            Op::SetMemoryPolicy { mode, nodes } => Ok(crate::sys::numa::set_memory_policy(*mode, nodes)?),
            Op::SetCpuAffinity { cpus } => Ok(crate::sys::numa::set_cpu_affinity(cpus)?),
            Op::ResetCpuAffinity => {
                match crate::sys::numa::set_cpu_affinity(&[u64::MAX; 128]) {
                    // A filter around this runtime, or a kernel without.
                    Err(nix::errno::Errno::EPERM | nix::errno::Errno::ENOSYS) => Ok(()),
                    other => Ok(other?),
                }
            }
            Op::SetPersonality { persona } => Ok(crate::sys::cred::set_personality(*persona)?),
            Op::VerifyMounts => self.verify_mounts(),
            Op::OwnStdio { uid, gid } => self.own_stdio(*uid, *gid),
            Op::SetHome { uid } => self.set_home(*uid),
            Op::SetUmask { mask } => {
                let _setups = crate::sys::cred::set_umask(*mask);
                Ok(())
            }
            Op::SetGroups { groups } => Self::set_groups(groups),
            Op::SetGid { gid } => Ok(crate::sys::cred::set_gid(*gid)?),
            Op::DropBounding { keep } => self.drop_bounding(*keep),
            Op::SetUid { uid } => self.set_uid(*uid),
            Op::SetCapabilities { effective, permitted, inheritable } => {
                self.set_capabilities(*effective, *permitted, *inheritable)
            }
            Op::SetAmbient { set } => self.set_ambient(*set),
            Op::OpenLabel { slot, module } => self.open_label(*slot, *module),
            Op::SetExecLabel { slot, module, label } => self.set_exec_label(*slot, *module, label),
            Op::MakeRuleset { ruleset } => self.make_ruleset(ruleset),
            Op::SetNoNewPrivs => Ok(crate::sys::cred::set_no_new_privs()?),
            Op::RestrictSelf { flags, verify } => self.restrict_self(*flags, *verify),
            Op::ChangeDirectory { path, last_try } => self.change_directory(path, *last_try),
            Op::FindExecutable { candidates, .. } => self.find_executable(candidates),
            Op::CloseDescriptors { preserve, also } => self.close_descriptors(*preserve, also),
            Op::VerifyCredentials(credentials) => self.verify_credentials(credentials),
            Op::Announce => Ok(wire::send(self.sync.as_fd(), Message::Announced, None)?),
            Op::LoadSeccomp { flags, verify, .. } => self.load_seccomp(*flags, *verify),
            Op::SendListener => {
                let listener = self.listener.as_ref().ok_or(Errno::EBADF)?;
                Ok(wire::send(self.sync.as_fd(), Message::Listener, Some(listener.as_fd()))?)
            }
            Op::LoadSeccompRest { flags, .. } => Ok(crate::sys::seccomp::load(self.filter_rest, *flags).map(drop)?),
            Op::SendNetwork => self.send_network(),
            Op::DieWithRuntime => Ok(crate::sys::cred::set_parent_death_signal(libc::SIGKILL)?),
            Op::BecomeInit => init::become_init(),
            Op::Execute => self.execute(),
        }
    }

    /// What is in a slot; an empty one is a bug in the plan, and reported rather than passed on.
    pub(super) fn slot(&self, slot: Slot) -> Result<BorrowedFd<'_>, Failure> {
        match self.slots.get(usize::from(slot.0)) {
            Some(Some(fd)) => Ok(fd.as_fd()),
            _ => Err(Errno::EBADF.into()),
        }
    }

    pub(super) fn fill(&mut self, slot: Slot, fd: OwnedFd) {
        if let Some(place) = self.slots.get_mut(usize::from(slot.0)) {
            *place = Some(fd);
        }
    }

    fn meet(&mut self, point: Point) -> Done {
        match point {
            Point::UserNamespaceMapped | Point::ParentDone | Point::Born | Point::ListenerSent => {
                self.wait_for(point).map(drop)
            }
            Point::NetworkMade => {
                self.network = self.wait_for(point)?;
                Ok(())
            }
            Point::MountsDone => Ok(wire::send(self.sync.as_fd(), Message::Reached(point, 0), None)?),
            Point::Ready => {
                if matches!(self.gate, Gate::Listener(_)) {
                    // Before anybody is told that there is something to send a signal to.
                    crate::sys::signal::end_when_asked()?;
                }
                crate::sys::cred::set_name(INIT_COMM)?;
                Ok(wire::send(self.sync.as_fd(), Message::Reached(point, self.rules), None)?)
            }
            Point::Started => match self.wait_at_gate()? {
                Some(connection) => {
                    self.sync = connection;
                    Ok(())
                }
                None => self.wait_for(point).map(drop),
            },
        }
    }

    /// Where others start the container: the first connection that says so. One that dies before it has, or says anything
    /// else, has changed nothing: the container still waits.
    fn wait_at_gate(&self) -> Result<Option<OwnedFd>, Failure> {
        let Gate::Listener(listener) = &self.gate else { return Ok(None) };
        loop {
            let connection = crate::sys::socket::accept(listener.as_fd())?;
            if let Ok(Some((Message::Continue(Point::Started), _))) = wire::receive(connection.as_fd()) {
                return Ok(Some(connection));
            }
        }
    }

    /// A process that moves itself, by `tasks`, spares the kernel the lock that all forks and exits take, and the grace period
    /// of some 10 ms that goes with it (kernel commit 9a3284fad42f).
    fn join_cgroup(&self) -> Done {
        for (index, membership) in self.memberships.iter().enumerate() {
            match crate::sys::fd::write(membership.tasks.as_fd(), b"0") {
                // An optional hierarchy may be closed to this user, or gone; anything else is no reason to stay outside.
                Err(errno)
                    if !(membership.optional
                        && matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ENODEV)) =>
                {
                    return Err(Failure { errno: errno as i32, part: 0, value: index as u64 });
                }
                _ => crate::sys::fd::close(membership.tasks.as_raw_fd())?,
            }
        }
        Ok(())
    }

    /// Returns in the new process only.
    fn give_birth(&self, new: &[Namespace]) -> Done {
        match clone::fork_sibling(flags(new))? {
            None => Ok(()),
            Some(pid) => {
                let sent = wire::send(self.sync.as_fd(), Message::Born(pid), None);
                exit_group(i32::from(sent.is_err()))
            }
        }
    }

    /// Waits for the parent, and for what it hands over. A parent that died takes the child with it.
    fn wait_for(&self, point: Point) -> Result<Option<OwnedFd>, Failure> {
        match wire::receive(self.sync.as_fd())? {
            Some((Message::Continue(reached), handed)) if reached == point => Ok(handed),
            Some(_) => Err(Errno::EPROTO.into()),
            None => exit_group(1),
        }
    }

    fn send_network(&self) -> Done {
        for (which, path) in [(0, c"/proc/self/ns/user"), (1, c"/proc/self/ns/net")] {
            let namespace = crate::sys::fd::open(crate::sys::fd::CWD, path, libc::O_RDONLY)?;
            wire::send(self.sync.as_fd(), Message::Namespace(which), Some(namespace.as_fd()))?;
        }
        Ok(())
    }

    fn run_hooks(&self, kind: HookKind) -> Done {
        let pid = clone::getpid();
        let filter = if kind == HookKind::StartContainer { self.hook_filter } else { hooks::Filter::default() };
        if kind == HookKind::CreateContainer {
            // Where runc has them run, and what some take for granted.
            crate::sys::fd::chdir(self.slot(self.root.ok_or(nix::errno::Errno::EBADF)?)?)?;
        }
        // Those of the program have its own, which is set by then.
        let mask = (kind == HookKind::CreateContainer).then(|| crate::sys::cred::set_umask(self.umask));
        for (_, hooks) in self.hooks.iter().filter(|(own, _)| *own == kind) {
            for (index, hook) in hooks.iter().enumerate() {
                hook.run_inside(pid, self.env.argv(), filter).map_err(|failure| failure.at(index))?;
            }
        }
        if let Some(setups) = mask {
            let _callers = crate::sys::cred::set_umask(setups);
        }
        Ok(())
    }

    /// Closes all but stdio, what the program is to have, and what is needed until it starts.
    fn close_descriptors(&mut self, preserve: u32, also: &[RawFd]) -> Done {
        let last_kept = 2 + RawFd::try_from(preserve).unwrap_or(RawFd::MAX - 2);
        for number in (3..=last_kept).chain(also.iter().copied()) {
            crate::sys::fd::keep_across_exec(number).map_err(Failure::in_part(1))?;
        }
        let started = self.hooks.iter().filter(|(kind, _)| *kind == HookKind::StartContainer);
        let hooks = started.flat_map(|(_, hooks)| hooks).flat_map(hooks::Prepared::descriptors);
        let ruleset = self.ruleset.iter().map(AsRawFd::as_raw_fd);
        self.close_all_but(last_kept, hooks.chain(ruleset).chain(also.iter().copied()))
    }

    /// Before namespaces are entered: what is left are the slots that are still needed, and what `close_descriptors` keeps.
    fn leave_host(&self, keep: &[Slot], preserve: u32, also: &[RawFd]) -> Done {
        let last_kept = 2 + RawFd::try_from(preserve).unwrap_or(RawFd::MAX - 2);
        let slots = keep.iter().filter_map(|slot| self.slot(*slot).ok()).map(|fd| fd.as_raw_fd());
        let hooks = self.hooks.iter().flat_map(|(_, hooks)| hooks).flat_map(hooks::Prepared::descriptors);
        self.close_all_but(last_kept, slots.chain(hooks).chain(also.iter().copied()))
    }

    /// Closes everything after `last_kept` but these descriptors and the ways to the parent.
    fn close_all_but(&self, last_kept: RawFd, others: impl Iterator<Item = RawFd>) -> Done {
        let mut keep = [RawFd::MAX; 1024];
        let gate = match &self.gate {
            Gate::Listener(listener) => listener.as_raw_fd(),
            Gate::Parent => RawFd::MAX,
        };
        let mut kept = 0;
        for fd in [self.sync.as_raw_fd(), gate].into_iter().chain(others).filter(|fd| *fd != RawFd::MAX) {
            *keep.get_mut(kept).ok_or(Errno::EMFILE)? = fd;
            kept += 1;
        }
        keep[..kept].sort_unstable();
        let mut next = last_kept.saturating_add(1);
        for fd in &keep[..kept] {
            if *fd > next {
                crate::sys::fd::close_range(next, (fd - 1).cast_unsigned())?;
            }
            next = next.max(fd + 1);
        }
        Ok(crate::sys::fd::close_range(next, libc::c_uint::MAX)?)
    }
}

pub(super) use devices::own_stdio;
pub(super) use places::Made;
pub(super) use verify::{file as namespace_file, namespace};

/// The parts that hooks share: their processes, too, are made without allocating.
pub(super) mod process_parts {
    pub(in crate::launch) use super::process::{pid_digits, reset_signals};
}

/// The numbers by which operations say which part of them failed.
pub(super) mod parts {
    pub(in crate::launch) use super::devices::{NO_DEVPTS, OCCUPIED, OTHER_DEVICE};
    pub(in crate::launch) use super::label::{NO_FILE, NO_PROC, OTHER};
    pub(in crate::launch) use super::landlock::{IN_FORCE, PORT, RULE};
    pub(in crate::launch) use super::mounts::{FILESYSTEM, NOT_PLAIN, OPTION, TARGET, TOO_DEEP};
    pub(in crate::launch) use super::places::COVERS;
    pub(in crate::launch) use super::process::OUTSIDE;
    pub(in crate::launch) use super::root::CHROOT;
}

fn flags(kinds: &[Namespace]) -> u64 {
    kinds.iter().fold(0, |all, kind| all | kind.flag())
}

/// Namespace flags fit the int that setns(2) takes.
fn clone_flag(flags: u64) -> i32 {
    i32::try_from(flags).unwrap_or(0)
}
