//! What `create` and `run` share: from a bundle to a container that is ready to start.
#![forbid(unsafe_code)]

use super::delete::abandon;
use super::{Explained as _, Session, hinted, notify, profiles, refusals};
use crate::cgroup::{Cgroup, Driver};
use crate::cli::{CgroupManager, Make, SPEC_VERSION};
use crate::host::Host;
use crate::launch::{self, Gate, Launch, Running, hooks};
use crate::output;
use crate::plan::hardening::{Need, Requirement};
use crate::plan::op::HookKind;
use crate::plan::{self, Hardening, Options, Plan, Request};
use crate::profile::{self, Profile};
use crate::rdt::{Rdt, RdtPlan};
use crate::refusal::{Facts, Watch};
use crate::report::{Diagnostic, Reporter, Severity};
use crate::state::{AppliedLandlock, Dir, Process, State, Status};
use crate::streams::{self, To};
use crate::sys::{fd, socket, tty};
use crate::{spec, time};
use anyhow::Context as _;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A bundle that was read, checked and compiled.
pub(super) struct Bundle {
    pub(super) directory: PathBuf,
    pub(super) config: Vec<u8>,
    pub(super) spec: Spec,
    pub(super) hardening: Hardening,
    /// What the container is held to, and with it whatever joins it.
    pub(super) profiles: Vec<Profile>,
    pub(super) plan: Plan,
    /// For reports: made when one is asked for.
    pub(super) facts: Option<Facts>,
}

/// A container that waits to be started.
pub(super) struct Made {
    pub(super) bundle: Bundle,
    pub(super) dir: Dir,
    pub(super) state: State,
    pub(super) running: Running,
}

/// Who starts it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Starter {
    /// A later `start`.
    Start,
    /// This command, which then waits for it.
    ThisAndWait,
    /// This command, which then leaves it.
    ThisAndLeave,
}

/// The options that a plan depends on.
pub(super) fn options(session: &Session<'_>, args: &Make, report: Option<Watch>) -> Options {
    Options {
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: args.preserve_fds.saturating_add(listen_fds()),
        descriptors: Vec::new(),
        kept: Vec::new(),
        init: false,
        hand_over_network: false,
        sources_in_root: true,
        keep_processors: false,
        cgroup_driver: match session.global.cgroup_driver() {
            CgroupManager::Cgroupfs => Driver::Cgroupfs,
            CgroupManager::Systemd => Driver::Systemd,
            CgroupManager::Disabled => Driver::Disabled,
        },
        report,
    }
}

/// Descriptors that systemd's socket activation passes (sd_listen_fds(3)).
pub(super) fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    // Without LISTEN_PID they are meant for nobody: left over from a service whose children inherit its environment.
    let for_us = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0)
}

/// What the command line asks for beyond config.json.
pub(super) fn hardening(session: &Session<'_>) -> Hardening {
    let requirement = |need: &Need| Requirement { need: *need, from: "--require".to_owned() };
    Hardening { require: session.global.require.iter().map(requirement).collect(), ..Hardening::default() }
}

/// What a container is held to beyond its configuration since it was made.
pub(super) fn kept_hardening(dir: &Dir, state: &State) -> anyhow::Result<Hardening> {
    if state.hardened { dir.load_hardening().explained() } else { Ok(Hardening::default()) }
}

/// A configuration as it was read, and where from.
struct Config {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Bundle {
    /// Reads and compiles a bundle; every finding is reported.
    pub(super) fn load(session: &Session<'_>, args: &Make, id: &str, report: Option<Watch>) -> anyhow::Result<Self> {
        let given = args.bundle.as_deref().unwrap_or(Path::new("."));
        let directory = std::path::absolute(given).map_err(|error| {
            hinted(
                &format!("bundle {}: cannot find the working directory: {error}", given.display()),
                "it was removed, or lies outside of the root that pent sees: give --bundle an absolute path",
            )
        })?;
        let directory = clean(&directory);
        if directory.to_str().is_none() {
            let message = format!("bundle {}: its path is not UTF-8", crate::spelling::shown(&directory));
            return Err(hinted(&message, "hooks and engines are told it as JSON, which is text: rename the directory"));
        }
        let config = match &args.config {
            None => Config { bytes: spec::read(&directory).explained()?, path: directory.join(spec::FILE_NAME) },
            Some(path) => Config { bytes: spec::read_file(path).explained()?, path: path.clone() },
        };
        let spec = Self::parse(session, &config)?;
        let profiles = profiles::chosen(session, &spec, id)?;
        let options = options(session, args, report);
        if profiles.is_empty() {
            Self::validate(session, &config.path, &spec)?;
            return Self::compile_spec(session, &options, hardening(session), id, directory, config, spec);
        }
        Self::held(session, &options, profiles, id, directory, config.path, spec)
    }

    /// Cuts a configuration to profiles and compiles what is left, which is also what later commands are told the configuration is.
    pub(super) fn held(
        session: &Session<'_>,
        options: &Options,
        profiles: Vec<Profile>,
        id: &str,
        directory: PathBuf,
        path: PathBuf,
        mut spec: Spec,
    ) -> anyhow::Result<Self> {
        let invalid = |diagnostics| spec::Error::Invalid { path: path.clone(), diagnostics };
        // As it was written: tightening may remove what is wrong, and the places of what follows change.
        Self::validate(session, &path, &spec)?;
        let mut host = Host::probe(false).explained()?;
        host.probe_limits().explained()?;
        let mut followed = profiles.clone();
        let meant = profiles::follow(&mut followed, &mut spec, &directory)?;
        let tightened = profile::tighten_to_all(&followed, &mut spec, &host).map_err(invalid).explained()?;
        session.report.warn_of(&tightened.warnings);
        for change in &tightened.changes {
            session.report.debug(change);
        }
        profiles::check_hooks(&tightened.hooks)?;
        let mut hardening = tightened.hardening;
        hardening.require.extend(self::hardening(session).require);
        let bytes = serde_json::to_vec(&spec).context("cannot write the tightened configuration")?;
        let config = Config { path, bytes };
        let mut bundle = Self::compile_spec(session, options, hardening, id, directory, config, spec)?;
        bundle.plan.changes = tightened.changes;
        bundle.plan.identify(&meant);
        bundle.profiles = profiles;
        Ok(bundle)
    }

    fn parse(session: &Session<'_>, config: &Config) -> anyhow::Result<Spec> {
        let invalid = |diagnostics| spec::Error::Invalid { path: config.path.clone(), diagnostics };
        let loaded = spec::parse(&config.bytes).map_err(invalid).explained()?;
        session.report.warn_of(&loaded.warnings);
        Ok(loaded.spec)
    }

    fn validate(session: &Session<'_>, path: &Path, spec: &Spec) -> anyhow::Result<()> {
        let rootless = !nix::unistd::geteuid().is_root();
        let findings = spec::validate(spec, &spec::Context { needs_process: true, rootless });
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(spec::Error::Invalid { path: path.to_owned(), diagnostics: findings }).explained();
        }
        session.report.warn_of(&findings);
        Ok(())
    }

    /// Compiles a configuration that was read before.
    pub(super) fn compile(
        session: &Session<'_>,
        options: &Options,
        hardening: Hardening,
        id: &str,
        directory: PathBuf,
        config: Vec<u8>,
    ) -> anyhow::Result<Self> {
        let config = Config { path: directory.join(spec::FILE_NAME), bytes: config };
        let spec = Self::parse(session, &config)?;
        Self::validate(session, &config.path, &spec)?;
        Self::compile_spec(session, options, hardening, id, directory, config, spec)
    }

    fn compile_spec(
        session: &Session<'_>,
        options: &Options,
        hardening: Hardening,
        id: &str,
        directory: PathBuf,
        Config { path, bytes: config }: Config,
        mut spec: Spec,
    ) -> anyhow::Result<Self> {
        let invalid = |diagnostics: Vec<Diagnostic>| spec::Error::Invalid { path: path.clone(), diagnostics };
        // A sandbox has nothing of the caller's service manager.
        if !options.init {
            listen_environment(&mut spec);
        }
        if notify::is_requested() && !options.init {
            notify::add_to(&mut spec, &session.root()?.path().join(id))?;
        }
        let rootless = !nix::unistd::geteuid().is_root();
        let cgroups_path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
        let cgroups_path = cgroups_path.map(|path| path.to_string_lossy());
        let mut host = Host::probe(crate::cgroup::is_relative(cgroups_path.as_deref())).explained()?;
        if options.cgroup_driver == Driver::Systemd && host.cgroup.is_v2() && (rootless || host.in_user_namespace) {
            host.user_manager = Some(crate::cgroup::probe_user_manager().explained()?);
        }
        let report = options.report.or(refusals::annotated(&spec)?);
        let options = &Options { report, ..options.clone() };
        let request = Request { id, bundle: &directory, spec: &spec, host: &host, options, hardening: &hardening };
        let plan = plan::compile(&request).map_err(invalid).explained()?;
        session.report.warn_of(&plan.warnings);
        if let Some(filter) = &plan.seccomp {
            session.report.debug(format_args!("seccomp filter flags: {}", filter.flags));
        }
        let facts = plan.supervised.is_some().then(|| Facts::of(&spec, &hardening));
        Ok(Self { directory, config, spec, hardening, profiles: Vec::new(), plan, facts })
    }

    /// The names of its profiles, for messages.
    pub(super) fn profile_names(&self) -> String {
        self.profiles.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What refusals are explained by.
    pub(super) fn facts(&self) -> Facts {
        let facts = self.facts.clone().unwrap_or_default();
        let names = Some(self.profile_names()).filter(|names| !names.is_empty());
        Facts { profile: names.or(facts.profile), ..facts }
    }

    fn rootfs(&self) -> PathBuf {
        self.spec.root().as_ref().map(|root| clean(&self.directory.join(root.path()))).unwrap_or_default()
    }
}

/// Without `.` and doubled slashes; links are left alone.
fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// What sd_listen_fds(3) looks for inside, where the first process has pid 1.
fn listen_environment(spec: &mut Spec) {
    let count = listen_fds();
    if count == 0 {
        return;
    }
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("LISTEN_FDS={count}"));
        env.push("LISTEN_PID=1".to_owned());
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            env.push(format!("LISTEN_FDNAMES={names}"));
        }
        process.set_env(Some(env));
    }
}

/// The state that hooks read on stdin.
pub(super) fn hook_state(state: &State) -> hooks::State {
    hooks::State::new(state_fields(state))
}

/// The state as a seccomp agent is told it of a process that joins the container.
pub(super) fn joined_state(state: &State, status: Status) -> hooks::State {
    let mut fields = state_fields(state);
    fields.insert("status".into(), status.to_string().into());
    fields.insert("pid".into(), state.init.pid.into());
    hooks::State::new(fields)
}

fn state_fields(state: &State) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    map.insert("ociVersion".into(), state.oci_version.clone().into());
    map.insert("id".into(), state.id.clone().into());
    map.insert("bundle".into(), state.bundle.to_string_lossy().into());
    map.insert("annotations".into(), serde_json::json!(state.annotations));
    map
}

/// Makes the container. Whatever fails, nothing is left behind.
pub(super) fn make(
    session: &Session<'_>,
    args: &Make,
    id: &str,
    starter: Starter,
    report: Option<Watch>,
) -> anyhow::Result<Made> {
    crate::state::check_id(id).explained()?;
    let bundle = Bundle::load(session, args, id, report)?;
    if !bundle.profiles.is_empty() {
        check_streams(args.preserve_fds.saturating_add(listen_fds()), To::Held)?;
    }
    make_of(session, args, id, bundle, starter)
}

/// Makes the container of a bundle that was compiled before.
pub(super) fn make_of(
    session: &Session<'_>,
    args: &Make,
    id: &str,
    bundle: Bundle,
    starter: Starter,
) -> anyhow::Result<Made> {
    check_terminal(&bundle.plan, args.console_socket.is_some(), starter != Starter::ThisAndWait)?;
    let console = args.console_socket.as_deref().map(Console::connect).transpose()?;
    let mut dir = Dir::create(&session.root()?, id).explained()?;
    let made = build(&mut dir, bundle, starter, session.report);
    let (bundle, state, mut running) = match made {
        Ok(made) => made,
        Err(error) => {
            // The error that is shown is the one that matters; what cannot be removed now, `delete --force` finds.
            drop(dir.remove());
            return Err(error);
        }
    };
    let made = hand_out(session, args, &mut running, console);
    let made = Made { bundle, dir, state, running }.or_undone(made, session.report);
    made.inspect(|_| {
        // Warnings come before the program says anything; after that stderr is its own.
        if starter != Starter::Start {
            session.report.succeed();
        }
        session.report.hush();
    })
}

impl Made {
    fn or_undone(self, result: anyhow::Result<()>, report: &Reporter) -> anyhow::Result<Self> {
        match result {
            Ok(()) => Ok(self),
            Err(error) => {
                self.undo(report);
                Err(error)
            }
        }
    }

    /// Kills and removes everything; for a container that never started, or whose poststart hook failed.
    pub(super) fn undo(self, report: &Reporter) {
        self.running.kill();
        report.speak();
        abandon(&self.dir, &self.state, report);
        drop(self.dir.remove());
    }
}

fn build(
    dir: &mut Dir,
    bundle: Bundle,
    starter: Starter,
    report: &Reporter,
) -> anyhow::Result<(Bundle, State, Running)> {
    dir.save_config(&bundle.config).explained()?;
    if !bundle.hardening.is_empty() {
        dir.save_hardening(&bundle.hardening).explained()?;
    }
    if !bundle.profiles.is_empty() {
        dir.save_profiles(&bundle.profiles).explained()?;
    }
    notify::prepare(dir)?;
    let planned = Cgroup::planned(&bundle.plan.cgroup);
    if !planned.is_none() {
        dir.save_intent(&planned).explained()?;
    }
    if let Some(plan) = &bundle.plan.rdt {
        make_rdt(dir, plan)?;
    }
    let gate = match starter {
        Starter::Start => Gate::Listener(listen(dir)?),
        Starter::ThisAndWait | Starter::ThisAndLeave => Gate::Parent,
    };
    let cgroup = Cgroup::create(&bundle.plan.cgroup).explained()?;
    let mut state = new_state(dir.id(), &bundle, cgroup);
    match launch(dir, &bundle, &mut state, gate, starter) {
        Ok(running) => Ok((bundle, state, running)),
        Err(error) => {
            abandon(dir, &state, report);
            Err(error)
        }
    }
}

fn launch(dir: &Dir, bundle: &Bundle, state: &mut State, gate: Gate, starter: Starter) -> anyhow::Result<Running> {
    state.cgroup.limit(&bundle.plan.cgroup).explained()?;
    let launch = Launch {
        plan: &bundle.plan,
        cgroup: &state.cgroup,
        gate,
        state: hook_state(state),
        bundle: &bundle.directory,
        stays: starter == Starter::ThisAndWait,
    };
    let mut running = launch.clone_child().explained()?;
    let rdt = if bundle.plan.rdt.is_some() { dir.load_rdt().explained()? } else { None };
    running.make_ready(&bundle.plan, &mut Record { dir, state, plan: &bundle.plan, rdt }).explained()?;
    state.cgroup.settle(&bundle.plan.cgroup).explained().inspect_err(|_| running.kill())?;
    if let Some(ruleset) = bundle.plan.ruleset() {
        state.landlock = Some(AppliedLandlock { abi: ruleset.abi, rules: running.landlock_rules });
        dir.save(state).explained().inspect_err(|_| running.kill())?;
    }
    Ok(running)
}

/// Writes down which process is the container's: what `delete --force` ends.
struct Record<'a> {
    dir: &'a Dir,
    state: &'a mut State,
    plan: &'a Plan,
    rdt: Option<Rdt>,
}

/// Cache and bandwidth: nothing is born into a resctrl group of another's making.
pub(super) fn join_rdt(rdt: Option<&Rdt>, pid: i32) -> Result<(), launch::Error> {
    rdt.map_or(Ok(()), |rdt| rdt.add(pid)).explained().map_err(launch::Error::Caller)
}

impl launch::Owner for Record<'_> {
    fn known(&mut self, pid: i32) -> Result<(), launch::Error> {
        join_rdt(self.rdt.as_ref(), pid)?;
        match Process::identify(pid) {
            Ok(init) => {
                self.state.init = init;
                self.state.cgroup.attach(pid)?;
                self.dir.save(self.state).explained().map_err(launch::Error::Caller)
            }
            // It has given up already, and what it said is read next.
            Err(crate::state::Error::NotRunning) => Ok(()),
            Err(error) => Err(launch::Error::Caller(error.into())),
        }
    }

    fn limit_devices(&mut self) -> Result<(), launch::Error> {
        Ok(self.state.cgroup.limit_devices(&self.plan.cgroup)?)
    }
}

pub(super) fn new_state(id: &str, bundle: &Bundle, cgroup: Cgroup) -> State {
    let annotations = bundle.spec.annotations().iter().flatten();
    let linux = bundle.spec.linux().as_ref();
    State {
        oci_version: SPEC_VERSION.to_owned(),
        id: id.to_owned(),
        init: Process { pid: 0, start_time: 0 },
        bundle: bundle.directory.clone(),
        rootfs: bundle.rootfs(),
        created: time::rfc3339_nano(std::time::SystemTime::now()),
        annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect::<BTreeMap<_, _>>(),
        owner: nix::unistd::geteuid().as_raw(),
        cgroup,
        namespaces: linux.and_then(|linux| linux.namespaces().clone()).unwrap_or_default(),
        terminal: bundle.plan.terminal,
        config_version: bundle.spec.version().clone(),
        poststop: bundle.spec.hooks().as_ref().is_some_and(|hooks| hooks.poststop().is_some()),
        rdt: bundle.plan.rdt.is_some(),
        hardened: !bundle.hardening.is_empty(),
        own_init: bundle.plan.has_own_init(),
        spelled: bundle.plan.spelled,
        profiles: bundle.profiles.iter().map(|profile| profile.name.clone()).collect(),
        landlock: None,
    }
}

/// The class of service. When it cannot be made as asked, what there is of it is removed with the container.
pub(super) fn make_rdt(dir: &Dir, plan: &RdtPlan) -> anyhow::Result<()> {
    let rdt = Rdt::planned(plan).explained()?;
    dir.save_rdt(&rdt).explained()?;
    let made = rdt.make().and_then(|new| rdt.configure(plan, new));
    made.explained().inspect_err(|_| drop(rdt.delete()))
}

/// The gate: a listening socket in the state directory, which the container's first process waits at.
fn listen(dir: &Dir) -> anyhow::Result<OwnedFd> {
    socket::listen(dir.as_fd(), Dir::gate_name()).map_err(|errno| {
        anyhow::anyhow!("cannot make {}: {}", dir.path().join(Dir::gate_name()).display(), errno.desc().to_lowercase())
    })
}

/// Before anything is opened: what is open now was inherited.
pub(super) fn check_descriptors(preserve_fds: u32) -> anyhow::Result<()> {
    let listening = listen_fds();
    let preserve = preserve_fds.saturating_add(listening);
    let asked = if listening == 0 { "--preserve-fds" } else { "--preserve-fds and LISTEN_FDS" };
    for number in (3..).take(usize::try_from(preserve)?) {
        if !fd::is_open(number) {
            return Err(hinted(
                &format!("{asked}: file descriptor {number} is not open"),
                "pass as many descriptors as are open from 3 on",
            ));
        }
    }
    check_streams(0, To::Container)?;
    // Everything else that was inherited ends at exec, even if it slips through everywhere else (threats C).
    fd::close_on_exec_from(3).context(
        "cannot mark descriptors close-on-exec (pent needs close_range with that flag, which Linux has since 5.11)",
    )
}

/// That nothing among the standard streams, and this many descriptors after them, is a way to the host.
pub(super) fn check_streams(preserved: u32, to: To) -> anyhow::Result<()> {
    let last = 2_i32.saturating_add_unsigned(preserved);
    streams::check(0..=last, to).map_err(|refused| hinted(&refused.to_string(), &refused.hint()))
}

/// That a terminal has somewhere to go, and that nobody waits for one that there is not.
pub(super) fn check_terminal(plan: &Plan, has_socket: bool, detached: bool) -> anyhow::Result<()> {
    match (plan.terminal, has_socket) {
        (true, false) if detached => Err(hinted(
            "cannot allocate tty if pent will detach without setting console socket",
            "pass --console-socket, or set process.terminal to false",
        )),
        (false, true) => Err(hinted(
            "cannot use console socket if pent will not detach or allocate tty",
            "leave out --console-socket, or set process.terminal to true",
        )),
        _ => Ok(()),
    }
}

/// Where the master of a terminal goes.
pub(super) struct Console(OwnedFd);

/// How long whoever listens on a socket of the command line may take to accept a connection, and to make room in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to a socket that `flag` names, by a path of any length.
fn connect(flag: &str, path: &Path) -> anyhow::Result<OwnedFd> {
    let failed = || format!("{flag}: cannot connect to {}", path.display());
    let name = CString::new(path.as_os_str().as_bytes()).with_context(failed)?;
    socket::connect_stream(&name, PATIENCE).map_err(io::Error::from).with_context(failed)
}

impl Console {
    pub(super) fn connect(path: &Path) -> anyhow::Result<Self> {
        connect("--console-socket", path).map(Self)
    }

    /// One message: the name of the pty, with its master.
    pub(super) fn send(&self, master: &OwnedFd, number: u32) -> anyhow::Result<()> {
        let name = format!("/dev/pts/{number}");
        socket::send(self.0.as_fd(), name.as_bytes(), Some(master.as_fd()))
            .context("--console-socket: cannot send the terminal")
    }
}

/// Gives out what callers wait for: the terminal, then the pid file, once the process really exists.
fn hand_out(session: &Session<'_>, args: &Make, running: &mut Running, console: Option<Console>) -> anyhow::Result<()> {
    settle_terminal(console.as_ref(), running)?;
    if let Some(path) = &args.pidfd_socket {
        send_pidfd(path, &running.pidfd)?;
    }
    if let Some(path) = &args.pid_file {
        write_pid_file(path, running.pid)?;
    }
    session.report.debug(format_args!("container process {} is ready", running.pid));
    Ok(())
}

/// Before anything is written to it. One that somebody asked for is sent as the kernel made it: who shows what it prints, as
/// `docker run -t`, has a terminal that leaves `\n` alone. One that is kept is relayed to a terminal that makes it `\r\n`.
pub(super) fn settle_terminal(console: Option<&Console>, running: &mut Running) -> anyhow::Result<()> {
    match (console, &running.terminal) {
        (Some(console), Some((master, number))) => {
            console.send(master, *number)?;
            running.terminal = None;
        }
        (None, Some((master, _))) => {
            tty::clear_onlcr(master.as_fd()).context("cannot set up the terminal")?;
            // A program that asks first thing is told the size of the terminal that shows it.
            if let Some((width, height)) = fd::stdio(0).and_then(tty::size) {
                tty::set_size(master.as_fd(), width, height).context("cannot set the size of the terminal")?;
            }
        }
        (_, None) => {}
    }
    Ok(())
}

pub(super) fn send_pidfd(path: &Path, pidfd: &OwnedFd) -> anyhow::Result<()> {
    let stream = connect("--pidfd-socket", path)?;
    socket::send(stream.as_fd(), b"pidfd", Some(pidfd.as_fd())).context("--pidfd-socket: cannot send the pidfd")
}

/// Decimal digits, no newline, there all at once.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> anyhow::Result<()> {
    output::write(path, pid.to_string().as_bytes()).explained().context("--pid-file")
}

/// Runs the poststart hooks; one that fails stops the container (runtime.md, Lifecycle).
pub(super) fn poststart(spec: &Spec, state: &State) -> anyhow::Result<()> {
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_ref());
    let hooks = plan::compile_hooks(hooks);
    if hooks.is_empty() {
        return Ok(());
    }
    hooks::run(HookKind::Poststart, &hooks, &hook_state(state), &state.bundle, state.init.pid).map_err(
        |(_, message)| {
            // It may have ended by itself.
            drop(state.init.signal(libc::SIGKILL));
            anyhow::anyhow!(message)
        },
    )
}
