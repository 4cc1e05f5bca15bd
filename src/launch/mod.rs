//! Walks a plan: opens what it names, clones the child, and keeps the child's script and the parent's together.
//!
//! Nothing in here reads a configuration. What can be decided was decided in `plan`; what is left are system calls.
#![forbid(unsafe_code)]

pub mod agent;
pub mod child;
mod error;
mod hear;
pub mod hooks;
mod idmap;
pub mod netdevice;
pub(crate) mod netlink;
mod prepare;
pub mod reopen;
pub mod sources;
pub mod wire;

pub use child::Gate;
pub use error::Error;

use crate::cgroup::Cgroup;
use crate::plan::Plan;
use crate::plan::op::{HookKind, Namespace, Parent as Op, Point};
use crate::sys::clone::{self, Fork};
use crate::sys::{cred, fd, numa, socket};
use hear::{Came, Others};
use nix::errno::Errno;
use prepare::Prepared;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use wire::Message;

/// What a launch needs besides the plan.
pub struct Launch<'a> {
    /// The script.
    pub plan: &'a Plan,
    /// The control group, made and limited already.
    pub cgroup: &'a Cgroup,
    /// Who starts the program.
    pub gate: Gate,
    /// What hooks read on stdin; the pid is added.
    pub state: hooks::State,
    /// Where the hooks of the runtime's namespace run.
    pub bundle: &'a Path,
    /// This process goes on after the container has started (`run`), so that what it changed of itself is put back.
    pub stays: bool,
}

/// Whoever asked for the process, while it is made.
pub trait Owner {
    /// Is told the child's pid, and again when another process takes its place, before that one does anything.
    ///
    /// # Errors
    /// Whatever makes it not want the process any more.
    fn known(&mut self, pid: i32) -> Result<(), Error>;

    /// Sets the device rules of the container's cgroup.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn limit_devices(&mut self) -> Result<(), Error>;
}

/// Answers the calls that a filter asks about.
pub trait Supervisor {
    /// Gets the filter's listener, before the program starts.
    fn take(&mut self, listener: OwnedFd);

    /// Readable when there is something to answer; `None` before there is a listener, and when nothing is left that could ask.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Answers what there is, or some of it.
    fn serve(&mut self);

    /// Whether it cannot answer any more. Until the program is executed its process has the listener, too, so that to let go of it
    /// is no answer: who asks would wait for ever.
    fn has_failed(&self) -> bool;
}

/// A child that exists.
pub struct Running {
    /// In the runtime's pid namespace.
    pub pid: i32,
    /// The process itself.
    pub pidfd: OwnedFd,
    /// The master of its terminal and its number, until it is taken.
    pub terminal: Option<(OwnedFd, u32)>,
    /// Its user and its network namespace, when the plan hands them over.
    pub network: Option<(OwnedFd, OwnedFd)>,
    /// The process that made it, if that was not this one, until it is reaped.
    maker: Option<OwnedFd>,
    /// The network namespace that was made for it, until it has it.
    made_network: Option<OwnedFd>,
    /// Readable when this process was asked to end: a start that takes longer then is given up. The signal is not taken.
    pub stop: Option<OwnedFd>,
    /// How many Landlock rules it has made: places that are not there have none.
    pub landlock_rules: u32,
    sync: OwnedFd,
    state: hooks::State,
    /// What was opened for the child, until it executes the program. Whoever is last to close a mount that was attached nowhere
    /// waits for a grace period: better this process, which has nothing else to do then.
    opened: Vec<Option<OwnedFd>>,
    net_devices: Option<netdevice::Moved>,
    child_hooks: Vec<(HookKind, Vec<hooks::Prepared>)>,
    parent_hooks: Vec<(HookKind, Vec<hooks::Prepared>)>,
}

impl Launch<'_> {
    /// Opens what the plan names and clones the child; then comes [`Running::make_ready`].
    ///
    /// # Errors
    /// What failed; there is no child then.
    pub fn clone_child(self) -> Result<Running, Error> {
        let plan = self.plan;
        let mut prepared = prepare::prepare(plan)?;
        let system = |what: &'static str| move |errno: Errno| Error::System { what, errno };
        let prepare_hooks = |hooks: &[(HookKind, Vec<crate::plan::Hook>)], directory: Option<&Path>| {
            hooks
                .iter()
                .filter(|(_, hooks)| !hooks.is_empty())
                .map(|(kind, hooks)| Ok((*kind, hooks::prepare(*kind, hooks, &self.state, directory)?)))
                .collect::<Result<Vec<_>, Errno>>()
                .map_err(system("prepare hooks"))
        };
        let child_hooks = prepare_hooks(&plan.child_hooks, None)?;
        let parent_hooks = prepare_hooks(&plan.parent_hooks, Some(self.bundle))?;
        let mut made = vec![child::Made::NONE; plan.mount_checks];
        let mut checks = vec![child::MountCheck::NONE; plan.mount_checks];
        let (sync, theirs) = socket::pair().map_err(system("make a socket pair"))?;
        clone::assert_single_threaded().map_err(system("clone from a process with several threads"))?;
        let cgroup_dir = if self.cgroup.is_none() { None } else { self.cgroup.clone_dir()? };
        let joins = plan.child.iter().any(|op| matches!(op, crate::plan::op::Child::JoinCgroup));
        let memberships = if joins { self.cgroup.open_tasks_v1()? } else { Vec::new() };
        let flags = plan.new_namespaces.iter().fold(0, |all, kind| all | kind.flag());
        let child = child::Child {
            plan,
            slots: &mut prepared.slots,
            sync: theirs,
            gate: self.gate,
            argv: &prepared.argv,
            env: &mut prepared.env,
            filter: &prepared.filter,
            filter_rest: &prepared.filter_rest,
            hook_filter: hooks::Filter { words: &prepared.hook_filter.0, flags: prepared.hook_filter.1 },
            segments: &prepared.segments,
            hooks: &child_hooks,
            memberships: &memberships,
            host_namespaces: prepared.host_namespaces,
            checks: &mut checks,
            checked: 0,
            made: &mut made,
            made_count: 0,
            root_mount: 0,
            proc_mount: None,
            root: None,
            in_directory: false,
            entered: 0,
            network: None,
            umask: 0,
            executable: None,
            listener: None,
            ruleset: None,
            rules: 0,
        };
        let failed = |errno| Error::Clone { namespaces: plan.new_namespaces.clone(), errno };
        let (pid, pidfd) = match clone::fork(flags, cgroup_dir) {
            Ok(Fork::Child) => enter(child, &sync, prepared.ignored),
            Ok(Fork::Parent { pid, pidfd }) => (pid, pidfd),
            Err(errno) => {
                restore(&prepared, self.stays)?;
                return Err(failed(errno));
            }
        };
        // The child's side must be its alone: its end is how the parent learns of its death.
        child.abandon();
        let opened = std::mem::take(&mut prepared.slots);
        let (state, terminal, net_devices) = (self.state, None, None);
        let running = Running {
            pid,
            pidfd,
            terminal,
            network: None,
            maker: None,
            made_network: None,
            stop: None,
            landlock_rules: 0,
            sync,
            state,
            opened,
            net_devices,
            child_hooks,
            parent_hooks,
        };
        if let Err(error) = restore(&prepared, self.stays) {
            running.kill();
            return Err(error);
        }
        Ok(running)
    }
}

/// This process is again what it was: its hooks do not inherit the container's time and score, and where it stays, it does not keep the
/// container's processors.
fn restore(prepared: &Prepared, stays: bool) -> Result<(), Error> {
    if let Some(time) = &prepared.before.time {
        clone::setns(time.as_fd(), libc::c_int::try_from(clone::NEWTIME).unwrap_or(0))
            .map_err(|errno| Error::System { what: "go back to the time namespace", errno })?;
    }
    if let Some(cpus) = prepared.before.cpus.as_ref().filter(|_| stays) {
        numa::set_cpu_affinity(cpus).map_err(|errno| Error::System { what: "put the processors back", errno })?;
    }
    match &prepared.before.oom_score {
        Some(score) => {
            prepare::write_oom_score(score).map_err(|errno| Error::System { what: "put oom_score_adj back", errno })
        }
        None => Ok(()),
    }
}

/// A new network namespace, with `lo` up. This process is in its own again.
fn make_network() -> Result<OwnedFd, Error> {
    let current = || fd::open(fd::CWD, c"/proc/self/ns/net", libc::O_RDONLY);
    let failed = |errno| Error::Clone { namespaces: vec![Namespace::Network], errno };
    let own = current().map_err(failed)?;
    clone::unshare(libc::CLONE_NEWNET).map_err(failed)?;
    let (up, made) = (cred::loopback_up(), current());
    clone::setns(own.as_fd(), libc::CLONE_NEWNET).map_err(failed)?;
    up.map_err(|errno| Error::System { what: "bring loopback up", errno })?;
    made.map_err(failed)
}

/// First thing in the child: it has a name that `state` knows, modes are meant as they are written, and signals are the
/// program's again.
fn enter(mut child: child::Child<'_>, parents_end: &OwnedFd, ignored: u64) -> ! {
    crate::alloc::forbid();
    // While the parent's end is open here, its death would go unnoticed.
    if fd::close(parents_end.as_raw_fd()).is_err() {
        clone::exit_group(1);
    }
    child.umask = cred::set_umask(0);
    if cred::set_name(crate::state::SETUP_COMM).is_err() || child::process_parts::reset_signals(ignored).is_err() {
        clone::exit_group(1);
    }
    child.run()
}

impl Running {
    /// Goes through the parent's script up to the point where the container is ready.
    ///
    /// # Errors
    /// What failed, in the parent or in the child; the child is gone then.
    pub fn make_ready(&mut self, plan: &Plan, owner: &mut dyn Owner) -> Result<(), Error> {
        let walked = self.walk(plan, owner);
        // While the child goes on: nothing waits for its maker's end.
        let reaped = self.maker.take().map_or(Ok(0), |maker| clone::wait(maker.as_fd()));
        let reaped = reaped.map(drop).map_err(|errno| Error::System { what: "wait for the child's maker", errno });
        walked.and(reaped).inspect_err(|_| self.kill())
    }

    fn walk(&mut self, plan: &Plan, owner: &mut dyn Owner) -> Result<(), Error> {
        owner.known(self.pid)?;
        for op in &plan.parent {
            match op {
                Op::Meet { point: Point::Started } => return Ok(()),
                Op::MoveNetDevices { devices } => {
                    self.net_devices = Some(netdevice::move_all(self.pid, devices)?);
                }
                // After the start: see `await_exec`.
                Op::SendListener { .. } | Op::Supervise | Op::Meet { point: Point::ListenerSent } => {}
                Op::Meet { point } => self.meet(plan, *point)?,
                Op::MapIds { uids, gids, deny_setgroups } => {
                    idmap::write(self.pid, uids, gids, *deny_setgroups)
                        .map_err(|failure| Error::Parent { op: op.to_string(), failure })?;
                }
                Op::MakeNetwork => self.made_network = Some(make_network()?),
                Op::LimitDevices => owner.limit_devices()?,
                Op::RunHooks { kind } => self.run_hooks(*kind)?,
                Op::ReceiveTerminal => match self.receive(plan)? {
                    (Message::Terminal(number), Some(master)) => self.terminal = Some((master, number)),
                    _ => return Err(Error::System { what: "receive the terminal", errno: Errno::EPROTO }),
                },
                Op::ReceiveNetwork => match (self.receive(plan)?, self.receive(plan)?) {
                    ((Message::Namespace(0), Some(user)), (Message::Namespace(1), Some(network))) => {
                        self.network = Some((user, network));
                    }
                    _ => return Err(Error::System { what: "receive the network namespace", errno: Errno::EPROTO }),
                },
                Op::Adopt => {
                    self.adopt(plan)?;
                    owner.known(self.pid)?;
                }
                Op::SetScheduler { attr } => {
                    crate::sys::cred::set_scheduler(self.pid, attr).map_err(|errno| {
                        let failure = wire::Failure::in_part(error::SCHEDULER)(errno);
                        Error::Parent { op: op.to_string(), failure }
                    })?;
                }
                Op::VerifyJoined { kinds } => self.verify_joined(plan, kinds)?,
            }
        }
        Ok(())
    }

    fn meet(&mut self, plan: &Plan, point: Point) -> Result<(), Error> {
        match point {
            Point::UserNamespaceMapped
            | Point::NetworkMade
            | Point::ParentDone
            | Point::Born
            | Point::Started
            | Point::ListenerSent => {
                let handed = self.made_network.take();
                match wire::send(self.sync.as_fd(), Message::Continue(point), handed.as_ref().map(AsFd::as_fd)) {
                    Ok(()) => Ok(()),
                    // The child has given up: what it said is still to be read. Whatever it is, the child does not go
                    // on.
                    Err(Errno::EPIPE | Errno::ECONNRESET) => {
                        self.receive(plan)?;
                        Err(Error::System { what: "hear from the child", errno: Errno::EPROTO })
                    }
                    // It lives, and waits for what has not been sent: so would whoever listens for its answer.
                    Err(errno) => Err(Error::System { what: "tell the child to go on", errno }),
                }
            }
            Point::MountsDone | Point::Ready => match self.receive(plan)? {
                (Message::Reached(reached, rules), _) if reached == point => {
                    self.landlock_rules = rules;
                    Ok(())
                }
                _ => Err(Error::System { what: "hear from the child", errno: Errno::EPROTO }),
            },
        }
    }

    /// The child has made another process and ended: that is the child from here on.
    fn adopt(&mut self, plan: &Plan) -> Result<(), Error> {
        let system = |what: &'static str| move |errno: Errno| Error::System { what, errno };
        let (Message::Born(pid), _) = self.receive(plan)? else {
            return Err(system("hear from the child")(Errno::EPROTO));
        };
        let pidfd = clone::open_process(pid).map_err(system("open the child by its pid"))?;
        self.maker = Some(std::mem::replace(&mut self.pidfd, pidfd));
        self.pid = pid;
        Ok(())
    }

    /// The next message; a failure of the child is an error here.
    fn receive(&mut self, plan: &Plan) -> Result<(Message, Option<OwnedFd>), Error> {
        let heard = hear::message(self.sync.as_fd(), self.pidfd.as_fd());
        match heard.map_err(|errno| Error::System { what: "hear from the child", errno })? {
            Some((Message::Failed(op, failure), _)) => Err(Error::child(plan, op, failure, &self.child_hooks)),
            Some(message) => Ok(message),
            None => {
                let status = clone::wait(self.pidfd.as_fd()).unwrap_or(-1);
                Err(if self.joined_has_ended(plan) { Error::Stopped } else { Error::Died { status } })
            }
        }
    }

    /// Whether the container that the child was to join ends, and takes it along: its first process is the last to be gone.
    fn joined_has_ended(&self, plan: &Plan) -> bool {
        const A_MOMENT_MS: i32 = 100;
        let init = plan.prepare.iter().find_map(|op| match op {
            crate::plan::op::Prepare::OpenProcess { slot, .. } => self.opened.get(usize::from(slot.0))?.as_ref(),
            _ => None,
        });
        init.is_some_and(|init| clone::wait_readable(init.as_fd(), A_MOMENT_MS).unwrap_or(false))
    }

    fn run_hooks(&self, kind: HookKind) -> Result<(), Error> {
        for (_, hooks) in self.parent_hooks.iter().filter(|(own, _)| *own == kind) {
            for (index, hook) in hooks.iter().enumerate() {
                hook.run(self.pid).map_err(|failure| Error::Hook(hooks::describe(kind, &failure.at(index), hooks)))?;
            }
        }
        Ok(())
    }

    /// What the kernel says of the child, against what it says of the container's init.
    fn verify_joined(&self, plan: &Plan, kinds: &[crate::plan::op::Namespace]) -> Result<(), Error> {
        let init = plan.prepare.iter().find_map(|op| match op {
            crate::plan::op::Prepare::OpenProcess { pid, .. } => Some(*pid),
            _ => None,
        });
        let Some(init) = init else { return Ok(()) };
        let system = |errno| Error::System { what: "compare namespaces with init's", errno };
        let ended = |errno| match errno {
            Errno::ENOENT | Errno::ESRCH => Error::Stopped,
            errno => system(errno),
        };
        let open = |pid: i32| {
            let path = CString::new(format!("/proc/{pid}/ns")).map_err(|_| Errno::EINVAL)?;
            fd::open(fd::CWD, &path, libc::O_PATH | libc::O_DIRECTORY)
        };
        let (its, own) = (open(init).map_err(ended)?, open(self.pid).map_err(system)?);
        for kind in kinds {
            let inode = |ns: &OwnedFd| child::namespace(ns.as_fd(), child::namespace_file(*kind));
            if inode(&its).map_err(ended)? != inode(&own).map_err(system)? {
                return Err(Error::Mismatch(format!("the {} namespace is not the container's", kind.file())));
            }
        }
        Ok(())
    }

    /// Lets the program start (with [`Gate::Parent`]), and returns once it runs.
    ///
    /// # Errors
    /// When it could not be started; the child is gone then.
    pub fn start(&mut self, plan: &Plan) -> Result<(), Error> {
        self.start_supervised(plan, None)
    }

    /// As [`Running::start`]. With a plan that asks for it, `supervisor` gets the filter's listener: starting the program may take
    /// calls that have to be answered.
    ///
    /// # Errors
    /// As [`Running::start`].
    pub fn start_supervised(&mut self, plan: &Plan, supervisor: Option<&mut dyn Supervisor>) -> Result<(), Error> {
        let meets = plan.parent.iter().any(|op| matches!(op, Op::Meet { point: Point::Started }));
        let started = if meets { self.meet(plan, Point::Started) } else { Ok(()) };
        self.opened.clear();
        let started = started.and_then(|()| self.await_exec(plan, supervisor));
        if started.is_err() {
            self.kill();
        }
        started
    }

    /// The socket closes when the program is executed, or when the child dies before that.
    fn await_exec(&mut self, plan: &Plan, mut supervisor: Option<&mut dyn Supervisor>) -> Result<(), Error> {
        let system = |errno| Error::System { what: "hear from the child", errno };
        let unanswered = || Error::System { what: "answer for the seccomp filter", errno: Errno::EPROTO };
        let (mut announced, mut stopped) = (false, None);
        loop {
            let answers = supervisor.as_ref().and_then(|supervisor| supervisor.fd());
            let others = Others { answers, stop: self.stop.as_ref().map(AsFd::as_fd), stopped };
            match hear::first(self.sync.as_fd(), self.pidfd.as_fd(), &others) {
                Err(Errno::EINTR) => return Err(Error::Interrupted),
                Err(errno) => return Err(system(errno)),
                Ok(Came::Message) => {}
                Ok(Came::Death) => return self.silence(plan, announced),
                Ok(Came::Stop) => {
                    stopped = Some(std::time::Instant::now());
                    continue;
                }
                Ok(Came::Question) => {
                    if let Some(supervisor) = &mut supervisor {
                        supervisor.serve();
                        // Until the program is executed its own process has the listener as well: closing it is no answer.
                        if supervisor.has_failed() {
                            return Err(unanswered());
                        }
                    }
                    continue;
                }
            }
            match (wire::receive(self.sync.as_fd()).map_err(system)?, &plan.agent) {
                (None, _) => return self.silence(plan, announced),
                (Some((Message::Failed(op, failure), _)), _) => {
                    return Err(Error::child(plan, op, failure, &self.child_hooks));
                }
                (Some((Message::Announced, _)), _) => announced = true,
                (Some((Message::Listener, Some(listener))), Some(agent)) => {
                    agent::send(agent, &self.state, self.pid, &listener)?;
                    self.meet(plan, Point::ListenerSent)?;
                }
                (Some((Message::Listener, Some(listener))), None) if plan.supervised.is_some() => match &mut supervisor
                {
                    Some(supervisor) => {
                        supervisor.take(listener);
                        if supervisor.has_failed() {
                            return Err(system(Errno::EPROTO));
                        }
                    }
                    None => return Err(system(Errno::EPROTO)),
                },
                (Some(_), _) => return Err(system(Errno::EPROTO)),
            }
        }
    }

    fn silence(&self, plan: &Plan, announced: bool) -> Result<(), Error> {
        // This process is pent's init where there is one, and executes nothing; the end of the program is its end.
        let executed = if plan.has_own_init() { None } else { crate::state::has_executed(self.pid) };
        let status =
            || clone::kill(self.pidfd.as_fd(), libc::SIGKILL).and_then(|()| clone::wait(self.pidfd.as_fd())).ok();
        hear::silence(|| Ok(plan.clone()), announced, executed, status)
    }

    /// Kills the child, waits until it is gone, and takes back the network devices that it was given.
    pub fn kill(&self) {
        if let Some(devices) = &self.net_devices {
            devices.give_back();
        }
        // It may be gone already, or reaped.
        if clone::kill(self.pidfd.as_fd(), libc::SIGKILL).is_ok() {
            let _status = clone::wait(self.pidfd.as_fd());
        }
    }
}

/// Who answers for a seccomp filter from here on.
pub enum Answers {
    /// An agent of the container's; the child waits until it has the listener.
    Agent,
    /// A process of this runtime's, and its descriptor.
    Keeper(OwnedFd),
}

/// What is said when a keeper ends before the program that it answers for runs.
pub const KEEPER_ENDED: &str = "the process that answers for the seccomp filter has ended";

/// Starts a container that waits at its gate: `connection` leads to it, `init` is its first process.
///
/// # Errors
/// When a hook fails or the program cannot be executed; the first process is gone then. `plan` is called then, to say which step it
/// was. `hand_over` is called with the listener of a seccomp filter, if there is one, and must send it to the agent, or see to it that
/// it is answered.
pub fn start(
    connection: BorrowedFd<'_>,
    init: &crate::state::Process,
    hand_over: impl FnOnce(OwnedFd) -> Result<Answers, Error>,
    plan: impl Fn() -> Result<Plan, Error>,
) -> Result<(), Error> {
    let pidfd = init.open().map_err(|_| Error::Ended)?;
    let started = go(connection, init, pidfd.as_fd(), hand_over, plan);
    // Nothing runs of what was said to have failed.
    if started.is_err() {
        let _gone = pidfd.send_signal(libc::SIGKILL);
    }
    started
}

fn go(
    connection: BorrowedFd<'_>,
    init: &crate::state::Process,
    pidfd: BorrowedFd<'_>,
    hand_over: impl FnOnce(OwnedFd) -> Result<Answers, Error>,
    plan: impl Fn() -> Result<Plan, Error>,
) -> Result<(), Error> {
    let system = |errno| Error::System { what: "tell the container to start", errno };
    let go_on = |point| wire::send(connection, Message::Continue(point), None).map_err(system);
    go_on(Point::Started)?;
    let (mut announced, mut keeper, mut hand_over) = (false, None::<OwnedFd>, Some(hand_over));
    loop {
        let others = Others { answers: keeper.as_ref().map(AsFd::as_fd), stop: None, stopped: None };
        let said = match hear::first(connection, pidfd, &others).map_err(system)? {
            Came::Message => wire::receive(connection).map_err(system)?,
            Came::Death => None,
            Came::Question | Came::Stop => return Err(Error::Caller(anyhow::anyhow!(KEEPER_ENDED))),
        };
        match said {
            None => return hear::silence(plan, announced, init.has_executed(), || None),
            Some((Message::Announced, _)) => announced = true,
            Some((Message::Failed(op, failure), _)) => return Err(Error::child(&plan()?, op, failure, &[])),
            Some((Message::Listener, Some(listener))) => {
                match hand_over.take().ok_or(system(Errno::EPROTO))?(listener)? {
                    Answers::Agent => go_on(Point::ListenerSent)?,
                    Answers::Keeper(process) => keeper = Some(process),
                }
            }
            Some(_) => return Err(system(Errno::EPROTO)),
        }
    }
}
