//! `pent exec`: another process in a running container.
#![forbid(unsafe_code)]

use super::make::{
    self, Console, check_descriptors, check_streams, join_rdt, joined_state, kept_hardening, listen_fds, send_pidfd,
    settle_terminal, write_pid_file,
};
use super::{Explained as _, Session, attend, hinted, profiles};
use crate::cgroup::{self, Cgroup};
use crate::cli::Exec;
use crate::host::Host;
use crate::launch::{self, Gate, Launch, Running};
use crate::plan::{self, ExecRequest, Hardening, Plan};
use crate::profile::{self, Tightened};
use crate::rdt::Rdt;
use crate::report::{Diagnostic, Reporter, Severity};
use crate::spec::{self, capability};
use crate::spelling::{shown, spell};
use crate::state::{Dir, State, Status};
use crate::streams::To;
use crate::sys::{fd, tty};
use anyhow::{Context as _, bail};
use nix::errno::Errno;
use oci_spec::runtime::{BoxBuilder, Capabilities, Process, Spec};
use std::ffi::OsStr;

pub(super) fn run(session: &Session<'_>, args: &Exec) -> anyhow::Result<u8> {
    check_descriptors(args.preserve_fds)?;
    let (dir, mut state) = session.load(&args.id)?;
    let status = state.status(&dir).explained()?;
    match status {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !args.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        // Its namespaces still show the host's root.
        Status::Creating => bail!("cannot exec in a container that is being created"),
        Status::Created | Status::Running | Status::Paused => {}
    }
    let config = dir.load_config().explained()?;
    let stored = |diagnostics| spec::Error::Invalid { path: dir.path().join("config.json"), diagnostics };
    let mut spec = spec::parse(&config).map_err(stored).explained()?.spec;
    // A restored container has more than its configuration asks for.
    if let Some(linux) = spec.linux_mut() {
        let mut all = linux.namespaces().clone().unwrap_or_default();
        let kinds: Vec<_> = all.iter().map(|namespace| plan::kind_of(namespace.typ())).collect();
        let more = state.namespaces.iter().filter(|namespace| !kinds.contains(&plan::kind_of(namespace.typ())));
        all.extend(more.cloned());
        linux.set_namespaces(Some(all));
    }
    let spec = spec;
    let mut process = process(args, &spec, state.spelled, session.report)?;
    size_terminal(args, &mut process);
    let mut cgroup = cgroup(args, std::mem::take(&mut state.cgroup))?;
    let mut host = Host::probe(false).explained()?;
    let mut hardening = kept_hardening(&dir, &state)?;
    if hold(session, &dir, &state, &spec, &mut process, &mut host, &mut hardening)? {
        check_streams(args.preserve_fds.saturating_add(listen_fds()), To::Held)?;
    }
    hardening.require.extend(make::hardening(session).require);
    let request = ExecRequest {
        id: &state.id,
        spec: &spec,
        process: &process,
        host: &host,
        init_pid: state.init.pid,
        init_start_time: state.init.start_time,
        preserve_fds: args.preserve_fds.saturating_add(listen_fds()),
        cgroup_by_clone: cgroup.is_v2(),
        has_cgroup: !cgroup.is_none(),
        hardening: &hardening,
    };
    let invalid = |diagnostics| spec::Error::Invalid { path: "process".into(), diagnostics };
    let compile = |request: &ExecRequest<'_>| {
        let mut plan = plan::compile_exec(request).map_err(invalid).explained()?;
        if state.spelled {
            plan.unspell();
        }
        anyhow::Ok(plan)
    };
    let mut plan = compile(&request)?;
    session.report.warn_of(&plan.warnings);
    check_terminal(args, plan.terminal)?;
    let console = args.console_socket.as_deref().map(Console::connect).transpose()?;
    let attendance = if args.detach { None } else { Some(attend::Attendance::begin()?) };
    let rdt = match spec.linux().as_ref().and_then(|linux| linux.intel_rdt().as_ref()) {
        Some(_) => dir.load_rdt().explained()?,
        None => None,
    };
    let ready =
        |plan: &Plan, mut running: Running, owner: &mut Joining<'_>| running.make_ready(plan, owner).map(|()| running);
    let inside = launched(args, &plan, &state, status, &mut cgroup)
        .and_then(|running| ready(&plan, running, &mut Joining::inside(&cgroup, rdt.as_ref())));
    let mut running = match inside {
        // Of the processes that the container may have it takes two on its way in, its own and its maker's. One that is moved there
        // takes none that is not left: no limit forbids that.
        Err(launch::Error::Clone { errno: Errno::EAGAIN, .. }) if !cgroup.is_none() => {
            plan = compile(&ExecRequest { cgroup_by_clone: true, ..request })?;
            attempt(args, &plan, &state, status, &Cgroup::default())
                .and_then(|running| ready(&plan, running, &mut Joining::from_outside(&cgroup, rdt.as_ref())))
        }
        inside => inside,
    }
    .explained()?;
    running.stop = attendance.as_ref().map(attend::Attendance::stop).transpose().inspect_err(|_| running.kill())?;
    settle_terminal(console.as_ref(), &mut running).inspect_err(|_| running.kill())?;
    let terminal = running.terminal.take().map(|(master, _)| master);
    running.start(&plan).explained()?;
    session.report.hush();
    if let Some(path) = &args.pidfd_socket {
        send_pidfd(path, &running.pidfd).inspect_err(|_| running.kill())?;
    }
    session.report.debug(format_args!("process {} runs in container {}", running.pid, state.id));
    if let Some(path) = &args.pid_file {
        write_pid_file(path, running.pid).inspect_err(|_| running.kill())?;
    }
    match attendance {
        None => Ok(0),
        Some(attendance) => attendance.until_exit(&running.pidfd, terminal, None),
    }
}

/// Holds the process to the profiles of its container, and to the one that the caller asks for; whether there is any.
fn hold(
    session: &Session<'_>,
    dir: &Dir,
    state: &State,
    spec: &Spec,
    process: &mut Process,
    host: &mut Host,
    hardening: &mut Hardening,
) -> anyhow::Result<bool> {
    let own = if state.profiles.is_empty() { Vec::new() } else { dir.load_profiles().explained()? };
    let asked = profiles::asked(session)?.map(|profile| profile.for_container(&state.id));
    let asked: Vec<_> = asked.into_iter().filter(|profile| !own.contains(profile)).collect();
    if own.is_empty() && asked.is_empty() {
        return Ok(false);
    }
    host.probe_limits().explained()?;
    let invalid = |diagnostics| spec::Error::Invalid { path: "process".into(), diagnostics };
    // The filter and the Landlock rules of its own profiles are what the container has kept.
    let held = profile::tighten_process_to_all(&own, process, spec, host).map_err(invalid).explained()?;
    let held = Tightened { hardening: std::mem::take(hardening), ..held };
    let beside = profile::tighten_process_to_all(&asked, process, spec, host).map_err(invalid).explained()?;
    let all = held.and(beside).map_err(invalid).explained()?;
    session.report.warn_of(&all.warnings);
    for change in &all.changes {
        session.report.debug(change);
    }
    *hardening = all.hardening;
    Ok(true)
}

/// A process in the making: what it joins that the plan does not know.
struct Joining<'a> {
    rdt: Option<&'a Rdt>,
    cgroup: &'a Cgroup,
    /// How many processes are left outside of the cgroup, until one is moved into it.
    outside: Option<u32>,
}

impl<'a> Joining<'a> {
    fn inside(cgroup: &'a Cgroup, rdt: Option<&'a Rdt>) -> Self {
        Self { rdt, cgroup, outside: None }
    }

    /// The maker, which runs nothing of the container's, stays where the runtime is.
    fn from_outside(cgroup: &'a Cgroup, rdt: Option<&'a Rdt>) -> Self {
        Self { rdt, cgroup, outside: Some(1) }
    }
}

impl launch::Owner for Joining<'_> {
    fn known(&mut self, pid: i32) -> Result<(), launch::Error> {
        match self.outside {
            Some(0) if !self.cgroup.joins_by_bus()? => self.cgroup.add(pid.unsigned_abs())?,
            Some(left @ 1..) => self.outside = Some(left - 1),
            None | Some(0) => self.cgroup.attach(pid)?,
        }
        join_rdt(self.rdt, pid)
    }

    /// The container has its rules.
    fn limit_devices(&mut self) -> Result<(), launch::Error> {
        Ok(())
    }
}

fn check_terminal(args: &Exec, terminal: bool) -> anyhow::Result<()> {
    match (terminal, &args.console_socket) {
        (true, None) if args.detach => Err(hinted(
            "cannot allocate tty if pent will detach without setting console socket",
            "pass --console-socket, or leave out --tty",
        )),
        (false, Some(_)) => Err(hinted(
            "cannot use console socket if pent will not detach or allocate tty",
            "pass --tty, or leave out --console-socket",
        )),
        _ => Ok(()),
    }
}

/// The container's cgroup, or the one below it that `--cgroup` names.
fn cgroup(args: &Exec, own: Cgroup) -> anyhow::Result<Cgroup> {
    let mut paths: Vec<(&str, &str)> = Vec::new();
    for asked in &args.cgroup {
        if own.is_none() {
            return Err(hinted("--cgroup: the container has no cgroup of its own", "leave it out"));
        }
        let invalid = |why: String| hinted(&format!("invalid --cgroup argument: {asked} ({why})"), CGROUP_HINT);
        let Some((controllers, path)) = asked.split_once(':') else {
            if args.cgroup.len() == 1 {
                return own.sub(asked).explained();
            }
            return Err(invalid("missing controller: prefix".into()));
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(invalid("empty controller prefix".into()));
            }
            if paths.iter().any(|(known, _)| *known == controller) {
                return Err(invalid(format!("controller {controller} specified multiple times")));
            }
            paths.push((controller, path));
        }
    }
    if paths.is_empty() { Ok(own) } else { own.sub_by_controller(&paths).explained() }
}

const CGROUP_HINT: &str =
    "pass one path for all controllers, or CONTROLLER[,CONTROLLER]:PATH for each hierarchy of version 1";

/// The process in the container's cgroup. On version 2 nothing can be there once the container has handed its controllers on to
/// cgroups below: then it joins the first process where that is, unless the caller has said where it shall be.
fn launched(
    args: &Exec,
    plan: &Plan,
    state: &State,
    status: Status,
    cgroup: &mut Cgroup,
) -> Result<Running, launch::Error> {
    match attempt(args, plan, state, status, cgroup) {
        Err(launch::Error::Clone { errno: Errno::EBUSY, .. }) if cgroup.is_v2() => {
            if !args.cgroup.is_empty() {
                return Err(cgroup.no_birth(Errno::EBUSY).into());
            }
            *cgroup = cgroup.holding(state.init.pid.unsigned_abs())?;
            attempt(args, plan, state, status, cgroup)
        }
        Err(launch::Error::Cgroup(cgroup::Error::Open { path, source })) if !args.cgroup.is_empty() => {
            let errno = Errno::from_raw(source.raw_os_error().unwrap_or(libc::EIO));
            Err(cgroup::Error::Birth { path, errno }.into())
        }
        other => other,
    }
}

fn attempt(args: &Exec, plan: &Plan, state: &State, status: Status, cgroup: &Cgroup) -> Result<Running, launch::Error> {
    let launch = Launch {
        plan,
        cgroup,
        gate: Gate::Parent,
        state: joined_state(state, status),
        bundle: &state.bundle,
        stays: !args.detach,
    };
    launch.clone_child()
}

/// What to execute: the file of `--process`, or the container's own process with what the flags change.
///
/// `spelled`: the configuration is one of pent's own, in which any byte can be said ([`crate::spelling`]).
fn process(args: &Exec, spec: &Spec, spelled: bool, report: &Reporter) -> anyhow::Result<Process> {
    let base = spec.process().clone().unwrap_or_default();
    let process = match &args.process {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("--process: cannot read {}", path.display()))?;
            let invalid = |diagnostics| spec::Error::Invalid { path: path.clone(), diagnostics };
            let mut process = spec::parse_process(&bytes).map_err(invalid).explained()?.spec;
            inherit(&mut process, &base);
            process
        }
        None => from_flags(args, base, spelled, report)?,
    };
    let findings: Vec<Diagnostic> =
        spec::validate_process(&process).into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    if findings.is_empty() {
        return Ok(process);
    }
    Err(spec::Error::Invalid { path: args.process.clone().unwrap_or_else(|| "process".into()), diagnostics: findings })
        .explained()
}

/// The process does not wait for this one before its program: a terminal that is relayed is made with the size of what shows it.
fn size_terminal(args: &Exec, process: &mut Process) {
    if !process.terminal().unwrap_or_default() || args.console_socket.is_some() || process.console_size().is_some() {
        return;
    }
    if let Some((width, height)) = fd::stdio(0).and_then(tty::size) {
        let size = BoxBuilder::default().width(width).height(height).build();
        process.set_console_size(size.ok());
    }
}

/// What a process file leaves out comes from the container, as in runc.
fn inherit(process: &mut Process, base: &Process) {
    if process.capabilities().is_none() {
        process.set_capabilities(base.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(base.rlimits().clone());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(base.exec_cpu_affinity().clone());
    }
    if process.cwd().as_os_str().is_empty() {
        process.set_cwd(base.cwd().clone());
    }
    if process.apparmor_profile().as_ref().is_none_or(String::is_empty) {
        process.set_apparmor_profile(base.apparmor_profile().clone());
    }
    if process.selinux_label().as_ref().is_none_or(String::is_empty) {
        process.set_selinux_label(base.selinux_label().clone());
    }
}

fn from_flags(args: &Exec, mut process: Process, spelled: bool, report: &Reporter) -> anyhow::Result<Process> {
    if args.command.is_empty() {
        return Err(hinted("process args cannot be empty", "name the program to execute, or pass --process FILE"));
    }
    let utf8 = |text: &OsStr| match text.to_str() {
        _ if spelled => Ok(spell(text)),
        Some(text) => Ok(text.to_owned()),
        None => Err(hinted(
            &format!("argument {} is not UTF-8", shown(text)),
            "what a config.json cannot say cannot be said here either",
        )),
    };
    process.set_args(Some(args.command.iter().map(|word| utf8(word)).collect::<Result<_, _>>()?));
    process.set_terminal(Some(args.tty));
    process.set_console_size(None);
    if let Some(cwd) = &args.cwd {
        process.set_cwd(utf8(cwd.as_os_str())?.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for var in &args.env {
        env.push(utf8(var)?);
    }
    process.set_env(Some(env));
    let mut user = process.user().clone();
    if let Some(asked) = args.user {
        user.set_uid(asked.uid);
        if let Some(gid) = asked.gid {
            user.set_gid(gid);
        }
    }
    if !args.additional_gids.is_empty() {
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend_from_slice(&args.additional_gids);
        user.set_additional_gids(Some(gids));
    }
    process.set_user(user);
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(profile) = args.apparmor.as_ref().filter(|profile| !profile.is_empty()) {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if let Some(label) = args.process_label.as_ref().filter(|label| !label.is_empty()) {
        process.set_selinux_label(Some(label.clone()));
    }
    add_capabilities(&mut process, &args.cap, report);
    Ok(process)
}

/// Bounding, effective and permitted; ambient only where the container has it inheritable already, as runc does: otherwise it
/// would survive into programs that do not expect it.
fn add_capabilities(process: &mut Process, names: &[String], report: &Reporter) {
    if names.is_empty() {
        return;
    }
    let mut added = Capabilities::new();
    for name in names {
        match capability::from_name(name) {
            Some(capability) => drop(added.insert(capability)),
            // As in config.json: a newer kernel's, perhaps.
            None => report.warn(format!("--cap: unknown capability {name:?} is left out")),
        }
    }
    let mut caps = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().copied().chain(added.iter().copied()).collect());
    caps.set_bounding(with(caps.bounding()));
    caps.set_effective(with(caps.effective()));
    caps.set_permitted(with(caps.permitted()));
    let inherited: Capabilities =
        caps.inheritable().iter().flatten().copied().filter(|capability| added.contains(capability)).collect();
    if !inherited.is_empty() {
        caps.set_ambient(Some(caps.ambient().iter().flatten().copied().chain(inherited).collect()));
    }
    process.set_capabilities(Some(caps));
}
