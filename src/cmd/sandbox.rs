//! `pent sandbox`: an untrusted program, with as little as it needs.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::attend::{Attendance, Bounds, End, KeptTerminal};
use super::confined;
use super::make::{Bundle, Made, Starter, check_descriptors, check_streams, make_of};
use super::places::{self, Places};
use super::refusals::Reporting;
use super::streams::{KeptFlags, Streams};
use super::{Explained as _, Session, delete, hinted, make, profiles};
use crate::cgroup::{Cgroup, Driver};
use crate::cli::{Make, Sandbox as Args, SandboxHome};
use crate::doctor::Facts;
use crate::host::Host;
use crate::image::Image;
use crate::launch;
use crate::plan::Options;
use crate::plan::op::Child;
use crate::profile;
use crate::refusal::{About, Asker, Facts as OfProgram, Flags, Layer, Refusal as Refused, Report, Supervisor, Watch};
use crate::sandbox::later::{Before, Findings, Root, Rules};
use crate::sandbox::limits::{self, Means};
use crate::sandbox::memory;
use crate::sandbox::net::{self, Denied, Destination, Publish, Tell};
use crate::sandbox::own;
use crate::sandbox::{self, Home, Limits, Network, Refusal, Request, Rootfs, Surroundings, Tmpfs};
use crate::spec;
use crate::spelling::{self, unspell, unspell_path};
use crate::state::{Dir, Status};
use crate::streams::{self, To};
use crate::sys::{clone, cred, fd, numa};
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What the ids of all sandboxes begin with.
const PREFIX: &str = "sandbox-";
/// What programs are held to unless somebody says otherwise.
const PROFILE: &str = "restricted";
/// The program took longer than it may, as of timeout(1).
const TIMED_OUT: u8 = 124;
/// 128 + SIGKILL.
const KILLED: u8 = 137;

pub(super) fn run(session: &Session<'_>, args: &Args) -> anyhow::Result<u8> {
    attempt(session, args).map_err(|error| explain_program(confined::explain(error, || Facts::probe().ok()), args))
}

/// What a container's messages say of images is of no use here.
fn explain_program(error: anyhow::Error, args: &Args) -> anyhow::Error {
    let said = super::render(&error).message;
    if said.contains("cannot chdir to cwd") {
        let hint = "choose another with --workdir; /tmp, /run and /var/tmp begin empty in a sandbox";
        return hinted(&said.replace("process.cwd: ", "").replace(" set in config.json", ""), hint);
    }
    let name = args.command.first().map(OsString::as_os_str).unwrap_or_default();
    let is_path = name.as_encoded_bytes().contains(&b'/');
    let found = is_path && fs::symlink_metadata(name).is_ok();
    let hint = match super::render(&error).code {
        Some(127) if args.image.is_some() => {
            "it is not in the image, or its interpreter is not; a file of yours has to be shown there with --ro FILE:/tmp/FILE"
        }
        Some(127) if found => {
            "it is hidden in the sandbox, or its interpreter is (/tmp, /run and /var/tmp are private): show its directory with --ro"
        }
        Some(127) if is_path => "paths are those of the host, from the working directory on",
        Some(127) => "it is not on PATH, or where it is hidden: show its directory with --ro",
        Some(126) => {
            "it must be executable by the sandbox's user, who is nobody where root calls (--ro . gives it root's files), not below a --tmpfs without exec, and its profile must allow it and its interpreter"
        }
        _ => return error,
    };
    super::with_hint(&error, hint)
}

fn attempt(session: &Session<'_>, args: &Args) -> anyhow::Result<u8> {
    check_descriptors(0)?;
    check_streams(0, To::Sandbox)?;
    let descriptors = kept_descriptors(&args.keep_fd)?;
    let reporting = Reporting::begin(args.report.as_deref(), Watch::Changes, true)?;
    let parent = parent()?;
    let mut host = Host::probe(true).explained()?;
    if host.in_user_namespace && host.is_privileged() {
        // What this process may in its user namespace counts for mounts in a namespace of that one's only, which
        // `unshare -U` does not make (mount_namespaces(7)). Where this fails, what needs it says so.
        let _own = clone::unshare(libc::CLONE_NEWNS);
    }
    let is_root = host.is_privileged() && !host.in_user_namespace && host.euid == 0;
    let mut surroundings = Surroundings::probe(is_root).explained()?;
    let walker = places::walker(&surroundings)?;
    let looked_into = places::leads_to(&walker, args.ro.iter().chain(&args.rw).chain(&args.socket).chain(&args.device));
    surroundings.look_into(&looked_into).explained()?;
    let mut places = Places::new(&surroundings, walker);
    let image = args.image.as_deref().map(|name| places.image(name)).transpose()?;
    let name = args.profile.as_ref().or(session.global.profile.as_ref()).map_or(PROFILE, String::as_str);
    if name == profile::NONE {
        return Err(hinted("--profile none: a sandbox is always held to a profile", "baseline forbids least"));
    }
    let profile = profile::load(name).explained()?.for_container("sandbox");
    let room = room(&profile);
    let request = Request { asks: reporting.is_whole(), room, ..resolve(args, image.as_ref(), places)? };
    places::check_unchanged(&request.grants, &looked_into)?;
    surroundings.look_above(request.grants.iter().map(|grant| grant.target.as_path())).explained()?;
    surroundings.own = own_places(session, &request, &reporting)?;
    let mut made = sandbox::compile(&request, &surroundings).map_err(|refusals| refuse(&refusals))?;
    made.notes.extend(opened(args));

    host.probe_limits().explained()?;
    let refused = |diagnostics| spec::Error::Invalid { path: PathBuf::from(format!("profile {name}")), diagnostics };
    let (tightened, profile) =
        sandbox::restrict(&mut made.spec, profile, &request, &host).map_err(refused).explained()?;
    profiles::check_hooks(&tightened.hooks)?;
    session.report.warn_of(&tightened.warnings);

    let means = Means::probe(&host);
    let replaced = sandbox::settle(&mut made.spec, &request, means, &host, surroundings.processors);
    if let Some(processors) = replaced.processors {
        keep_to(processors)?;
    }

    let network = network(args, &request)?;
    let ports = network.listen().explained()?;
    // What is left of others is not to be taken for what was there before.
    let id = delete::own_id(PREFIX);
    let abandoned = delete::abandoned(session, PREFIX, &id)?;
    judge_abandoned(session, &abandoned, args.quiet);
    let later = Before::look(&later_rules(args, &request, &made.spec, &surroundings)).explained()?;
    made.notes.extend(later.notes().iter().cloned());
    let options = Options {
        descriptors: descriptors.clone(),
        kept: later.kept().to_vec(),
        init: true,
        hand_over_network: !network.is_empty(),
        keep_processors: true,
        // Without one, it stays where its caller is, and nothing is asked of cgroups that may be out of reach.
        cgroup_driver: if let Means::Cgroup(driver) = means { driver } else { Driver::Disabled },
        report: reporting.watch(),
        ..Options::default()
    };
    let config = serde_json::to_vec(&made.spec).context("cannot write the configuration")?;
    let mut hardening = tightened.hardening;
    hardening.require.extend(make::hardening(session).require);
    let mut bundle = Bundle::compile(session, &options, hardening, &id, PathBuf::from("/"), config)?;
    let on_host = image.is_none().then_some(is_on_host as fn(&[u8]) -> bool);
    bundle.facts =
        bundle.facts.map(|_| OfProgram { on_host, ..OfProgram::of_sandbox(&bundle.spec, &bundle.hardening, name) });
    bundle.plan.changes = tightened.changes;
    bundle.plan.unspell();
    bundle.plan.identify(&request.identities);
    bundle.profiles = vec![profile];
    bundle.config = kept_config(&bundle.spec, &request)?;
    delete::sweep(session, abandoned, &id, &Cgroup::planned(&bundle.plan.cgroup));
    let mut supervisor = reporting.supervisor(&bundle);

    cred::set_child_subreaper().context("cannot become a subreaper")?;
    let attendance = Attendance::begin()?;
    // The program has a terminal of its own in the place of its caller's.
    let standard = (0..=2).filter(|_| !surroundings.terminal);
    let owner = is_root.then_some((sandbox::ROOT_OUTSIDE, sandbox::ROOT_OUTSIDE));
    let mut streams = Streams::prepare(standard.chain(descriptors), owner)?;
    let flags = KeptFlags::of_stdio();
    let make = || make_of(session, &Make::default(), &id, bundle, Starter::ThisAndWait);
    let mut container = streams.handed_over(make)?;
    if !later.is_empty()
        && let Err(error) = container.dir.save_later(&later.record()).explained()
    {
        container.undo(session.report);
        return Err(error);
    }
    if !args.quiet {
        for line in made.notes.iter().map(|note| format!("note: {note}")).chain(limits::describe(
            &request.limits,
            means,
            &replaced,
        )) {
            say(&line);
        }
    }
    let program = container.bundle.spec.process().as_ref().map(|process| process.user().clone()).unwrap_or_default();
    let network = match container.running.network.take() {
        Some((user, own)) if !network.is_empty() => {
            match network.start(ports, user, own, (program.uid(), program.gid())).explained() {
                Ok(running) => Some(running),
                Err(error) => {
                    container.undo(session.report);
                    return Err(error);
                }
            }
        }
        _ => None,
    };
    let kept = (!surroundings.terminal).then(KeptTerminal::of_stdio);
    let deadline = request.limits.timeout.map(|timeout| Instant::now() + timeout);
    container.running.stop = attendance.stop().ok();
    let watch =
        replaced.memory.map(|limit| memory::Watch::begin(container.state.init.pid, &container.running.pidfd, limit));
    let watch = match watch.transpose().context("cannot look after the memory in use") {
        Ok(watch) => watch,
        Err(error) => {
            container.undo(session.report);
            return Err(error);
        }
    };
    let by = supervisor.as_mut().map(|supervisor| supervisor as &mut dyn launch::Supervisor);
    if let Err(error) = container.running.start_supervised(&container.bundle.plan, by).explained() {
        container.undo(session.report);
        // It may have run before what went wrong.
        tell_left(&later.judge(), args.quiet);
        return Err(error);
    }
    let terminal = container.running.terminal.take().map(|(master, _)| master);
    let bounds = Bounds { deadline, keeper: parent, stops: true };
    let by = supervisor.as_mut().map(|supervisor| supervisor as &mut dyn launch::Supervisor);
    let ended = attendance.until_end(&container.running.pidfd, terminal, None, by, bounds, Some(&mut streams));
    drop((kept, flags));
    let beyond = watch.and_then(memory::Watch::finish);
    let denied = network.as_ref().map(net::Running::denied).unwrap_or_default();
    drop(network);
    let left = later.judge();
    let mut report = conclude(
        &reporting,
        &container,
        supervisor.as_ref(),
        ended.as_ref().map_or(1, |(status, _)| *status),
        &request,
        &surroundings,
        denied,
    );
    report.left(left.left());
    let memory = match beyond {
        Some(used) => Some(out_of_memory(replaced.memory.unwrap_or_default(), "in use", used)),
        None if matches!(ended, Ok((KILLED, _))) => memory_story(&container),
        None => None,
    };
    memory.iter().for_each(|story| report.note(story.clone()));
    let Made { dir, state, .. } = container;
    delete::destroy(dir, &state, session.report)?;
    // Until now nobody could remove it from the cache.
    drop(image);
    tell_left(&left, args.quiet);
    let (status, end) = ended?;
    let told = reporting.publish(&report, status, "pent sandbox --report");
    match end {
        End::TimedOut => {
            let timeout = request.limits.timeout.unwrap_or_default();
            say(&format!("timed out after {timeout:?}"));
            return Ok(TIMED_OUT);
        }
        End::Abandoned => say("ended because the process that started pent is gone"),
        End::Itself => {}
    }
    if let Some(story) = memory {
        say(&story);
    }
    if let Some(failed) = streams.failure() {
        // What the program knows of it is in its status, if it knows.
        anyhow::ensure!(status != 0, failed);
        say(&failed);
    }
    told.map(|()| status)
}

/// What a profile gives /tmp: its limit is room, where it says one.
fn room(profile: &profile::Profile) -> Option<(u64, bool)> {
    let mut writable = profile.filesystem.writable.iter().flatten();
    writable.find_map(|(path, entry)| match entry {
        profile::Writable::Tmpfs(limits) if path.path() == Path::new("/tmp") => Some((limits.size.0, !limits.noexec)),
        _ => None,
    })
}

/// What flags give away that no profile holds.
fn opened(args: &Args) -> impl Iterator<Item = String> {
    let devices = args.device.iter().map(|path| {
        format!(
            "--device {}: its driver in the kernel is open to the program, and all that the device can do",
            spelling::shown(path)
        )
    });
    let sockets = args.socket.iter().map(|path| {
        format!("--socket {}: who listens there acts for the program outside of the sandbox", spelling::shown(path))
    });
    devices.chain(sockets)
}

/// What the program was refused, and the flags that would allow it.
fn conclude(
    reporting: &Reporting,
    container: &Made,
    supervisor: Option<&Supervisor>,
    status: u8,
    request: &Request,
    surroundings: &Surroundings,
    denied: Vec<Denied>,
) -> Report {
    // Where the proxy is there, it says itself what it refuses.
    let single_hosts = matches!(&request.network, Network::Own(allowed) if allowed.is_empty()) && !request.asks;
    let image = request.rootfs.is_some();
    let maps = surroundings.is_root && !image;
    let mounts = container.bundle.spec.mounts().iter().flatten();
    let in_memory = |mount: &&oci_spec::runtime::Mount| {
        mount.typ().as_deref() == Some("tmpfs") && mount.options().iter().flatten().any(|option| option == "noexec")
    };
    let tmpfs: Vec<_> =
        mounts.filter(in_memory).map(|mount| unspell(mount.destination().as_os_str().as_bytes())).collect();
    let refused = supervisor.map(|supervisor| supervisor.record().all()).unwrap_or_default();
    let absent = refused.into_iter().filter(|refused| !image && refused.refusal.layer == Layer::AbsentPath);
    let hidden = absent.map(|refused| refused.refusal.subject).filter(|path| is_on_host(path)).collect();
    let process = container.bundle.spec.process().as_ref();
    let own = process.map(|process| unspell(process.cwd().as_os_str().as_bytes())).unwrap_or_default();
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let home = surroundings.home.as_deref().map(bytes).unwrap_or_default();
    let given = request.grants.iter().map(|grant| bytes(&grant.target)).collect();
    // For whoever is told something.
    let hidden_everywhere =
        if reporting.watch().is_some() { sandbox::everything_hidden(surroundings) } else { Vec::new() };
    let secret = hidden_everywhere.iter().map(|hidden| bytes(&hidden.path));
    let secret = secret.chain(surroundings.own.iter().map(|place| bytes(&place.path))).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let starts = std::env::split_paths(&path).filter(|path| path.is_absolute()).map(|path| bytes(&path)).collect();
    let is_private = Some(net::is_private as fn(std::net::IpAddr) -> bool);
    let kept = container.bundle.plan.child.iter().flat_map(|op| match op {
        Child::KeepPaths { paths } => paths.as_slice(),
        _ => &[],
    });
    let kept = kept.filter(|(_, readonly)| *readonly).map(|(path, _)| path.to_bytes().to_vec()).collect();
    let flags = Flags { tmpfs, hidden, given, own, home, single_hosts, image, secret, starts, is_private, maps, kept };
    let by_proxy: Vec<_> = denied.into_iter().map(of_the_proxy).collect();
    let mut report = reporting.conclude(container, supervisor, &by_proxy, status, Asker::Sandbox(&flags));
    if status != 0 && reporting.is_whole() {
        let by_processes = if container.state.cgroup.is_none() { "memory, processes, " } else { "" };
        report.note(format!(
            "the program is told, and not seen here, when it meets these: {by_processes}open files, room in /tmp (--tmpfs /tmp:size=SIZE)"
        ));
    }
    report
}

fn of_the_proxy(denied: Denied) -> Refused {
    Refused {
        action: "connect".to_owned(),
        subject: denied.place.into_bytes(),
        layer: Layer::Proxy,
        detail: denied.why,
        errno: libc::ECONNREFUSED,
        call: "connect",
        about: About::Place { could_be_asked: denied.could_be_asked },
    }
}

/// Whether the caller has such a file. The path comes from the program; looking at a name does nothing else, and no link at its end is
/// followed.
fn is_on_host(path: &[u8]) -> bool {
    !path.starts_with(b"/proc") && fs::symlink_metadata(OsStr::from_bytes(path)).is_ok()
}

/// Where pent's own files are, made where the program could make them otherwise.
fn own_places(session: &Session<'_>, request: &Request, reporting: &Reporting) -> anyhow::Result<Vec<own::Place>> {
    let root = session.root()?;
    let caller = own::Caller::of_process(root.path()).explained()?;
    let mut places = own::probe(&own::candidates(&caller)).explained()?;
    own::prepare(&mut places, &request.grants).explained()?;
    places.extend(reporting.earlier()?.map(own::Place::report));
    Ok(places)
}

/// The configuration as it is kept on disk. What `--env` gave may be a secret, and whoever joins the sandbox later can
/// be given it again.
fn kept_config(spec: &oci_spec::runtime::Spec, request: &Request) -> anyhow::Result<Vec<u8>> {
    let is_given = |variable: &String| {
        let name = variable.split('=').next().unwrap_or_default();
        request.environment.iter().any(|(given, _)| spelling::spell(given) == name)
    };
    let mut spec = spec.clone();
    if let Some(environment) = spec.process_mut().as_mut().and_then(|process| process.env_mut().as_mut()) {
        environment.retain(|variable| !is_given(variable));
    }
    serde_json::to_vec(&spec).context("cannot write the configuration")
}

/// What of the network there has to be a process for.
fn network(args: &Args, request: &Request) -> anyhow::Result<net::Plan> {
    let published = args.port.iter().map(|&(outside, inside)| Publish { outside, inside }).collect();
    match &request.network {
        Network::Host if !args.port.is_empty() => Err(hinted(
            "--port: with --net host every port of the program is the host's already",
            "leave out one of them",
        )),
        Network::Host => Ok(net::Plan::default()),
        Network::Own(allowed) if args.port.iter().any(|(_, inside)| net::is_of_host(allowed, *inside)) => Err(hinted(
            "--port: with --net localhost this port of the sandbox is the host's already",
            "publish another: --port OUTSIDE:INSIDE",
        )),
        Network::Own(allowed) => Ok(net::Plan {
            proxy: request.has_proxy(),
            allowed: allowed.clone(),
            published,
            tell: match (request.asks, args.quiet) {
                (true, _) => Tell::Starter,
                (false, true) => Tell::Nobody,
                (false, false) => Tell::Terminal,
            },
        }),
    }
}

/// `--keep-fd`: what was inherited, each once, judged as standard streams are.
fn kept_descriptors(asked: &[RawFd]) -> anyhow::Result<Vec<RawFd>> {
    /// More than a shell makes for one line, and few enough for a list that is made before anything else.
    const MOST: usize = 256;
    let numbers: BTreeSet<RawFd> = asked.iter().copied().collect();
    anyhow::ensure!(numbers.len() <= MOST, hinted("--keep-fd: too many descriptors", "give at most 256"));
    if let Some(number) = numbers.iter().find(|number| !fd::is_open(**number)) {
        let message = format!("--keep-fd {number}: file descriptor {number} is not open");
        return Err(hinted(&message, "name one that the shell has opened: bash says /dev/fd/N for <(…)"));
    }
    streams::check(numbers.iter().copied(), To::Sandbox)
        .map_err(|refused| hinted(&refused.to_string(), &refused.hint()))?;
    Ok(numbers.into_iter().collect())
}

/// What decides what runs later: where the program may write, and what covers parts of that.
fn later_rules(args: &Args, request: &Request, spec: &oci_spec::runtime::Spec, host: &Surroundings) -> Rules {
    let writable = request.grants.iter().filter(|grant| grant.writable);
    let mounts = spec.mounts().iter().flatten().map(|mount| unspell_path(mount.destination()));
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().clone()).unwrap_or_default();
    Rules {
        roots: writable.map(|grant| Root { source: grant.source.clone(), target: grant.target.clone() }).collect(),
        covers: mounts.chain(masked.iter().map(|path| unspell_path(Path::new(path)))).collect(),
        homes: host.own_homes.iter().chain(&host.other_homes).cloned().collect(),
        allow: args.allow_later_code.clone(),
    }
}

/// Says what was taken away, and to whom it matters what has changed.
fn tell_left(left: &Findings, quiet: bool) {
    left.lines(!quiet).iter().for_each(|line| say(line));
}

/// Judges what sandboxes have left whose pent was killed, before their directories go.
fn judge_abandoned(session: &Session<'_>, abandoned: &[Dir], quiet: bool) {
    for dir in abandoned {
        let Ok(Some(state)) = dir.load() else { continue };
        if !state.status(dir).is_ok_and(|status| status == Status::Stopped) {
            continue;
        }
        if let Ok(Some(record)) = dir.load_later() {
            match Before::restore(&record) {
                Ok(later) => tell_left(&later.judge(), quiet),
                Err(error) => {
                    let id = dir.id();
                    session.report.warn(format!("{id}: cannot read what it may have changed: {error}"));
                }
            }
        }
    }
}

/// One line on stderr.
fn say(line: &str) {
    crate::report::say(&format!("pent: {line}\n"));
}

/// Whoever started this process: without them there is nobody whom the program would be for. Nothing where that cannot be known.
fn parent() -> anyhow::Result<Option<OwnedFd>> {
    let pid = nix::unistd::getppid().as_raw();
    if pid == 0 {
        // In a pid namespace that the parent is not in.
        return Ok(None);
    }
    match clone::open_process(pid) {
        Ok(parent) if nix::unistd::getppid().as_raw() == pid => Ok(Some(parent)),
        Err(nix::errno::Errno::EMFILE | nix::errno::Errno::ENFILE) => {
            anyhow::bail!("cannot watch the calling process: too many open files")
        }
        _ => anyhow::bail!("the process that started pent is gone"),
    }
}

/// All refusals at once: the first as the error, the others before it.
fn refuse(refusals: &[Refusal]) -> anyhow::Error {
    let messages: Vec<_> = refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    let mut hints: Vec<_> =
        refusals.iter().map(|refusal| refusal.hint.as_str()).filter(|hint| !hint.is_empty()).collect();
    hints.dedup();
    hinted(&messages.join("; "), &hints.join("; "))
}

/// The command line: what was typed, and of the image what was not.
fn command(args: &Args, image: Option<&Image>) -> anyhow::Result<Vec<OsString>> {
    let words = match (image, &args.entrypoint) {
        (Some(_), Some(entrypoint)) => [entrypoint].into_iter().chain(&args.command).cloned().collect(),
        (Some(image), None) => image.config.command(&args.command),
        (None, _) => args.command.clone(),
    };
    if words.is_empty() {
        return Err(hinted(
            "the image does not say what to run",
            "name a program: pent sandbox --image IMAGE -- PROGRAM",
        ));
    }
    Ok(words)
}

/// For the fuzz target of flags.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzed(args: &Args, host: &Surroundings) -> anyhow::Result<Request> {
    resolve(args, None, Places::new(host, places::walker(host)?))
}

/// Paths of the host as they really are, and everything else in the sandbox's own terms.
fn resolve(args: &Args, image: Option<&Image>, mut places: Places<'_>) -> anyhow::Result<Request> {
    let name = args.image.as_ref().map(spelling::shown).unwrap_or_default();
    let rootfs = image.map(|image| Rootfs::probe(image, &name));
    let rootfs = rootfs.transpose().explained()?;
    let mut grants = Vec::new();
    for (flag, writable, paths) in
        [("--ro", false, &args.ro), ("--rw", true, &args.rw), (places::SOCKET, false, &args.socket)]
    {
        for path in paths {
            grants.push(places.grant(flag, path, writable, rootfs.as_ref())?);
        }
    }
    let devices = args.device.iter().map(|path| places.device(path)).collect::<anyhow::Result<_>>()?;
    let tmpfs = args.tmpfs.iter().map(|tmpfs| {
        let (target, target_exists) = places.tmpfs(&tmpfs.path, rootfs.as_ref())?;
        Ok(Tmpfs { target, target_exists, size: tmpfs.size, mode: tmpfs.mode, exec: tmpfs.exec })
    });
    let tmpfs = Tmpfs::merged(tmpfs.collect::<anyhow::Result<_>>()?);
    let workdir = args.workdir.as_deref().map(|path| places.workdir(path, rootfs.as_ref())).transpose()?;
    Ok(Request {
        command: command(args, image)?,
        grants,
        devices,
        room: None,
        tmpfs,
        identities: places.identities,
        home: match args.home {
            SandboxHome::Ro => Home::Readonly,
            SandboxHome::Tmpfs => Home::Tmpfs,
            SandboxHome::None => Home::Absent,
        },
        environment: args.env.iter().map(variable).collect::<anyhow::Result<_>>()?,
        workdir,
        hostname: args.hostname.clone(),
        network: network_of(&args.net)?,
        limits: Limits {
            memory: args.memory.map(memory).transpose()?,
            millicpus: args.cpus,
            pids: args.pids,
            timeout: args.timeout,
        },
        rootfs,
        asks: false,
    })
}

/// `--env NAME[=VALUE]`.
fn variable(given: &OsString) -> anyhow::Result<(OsString, Option<OsString>)> {
    let bytes = given.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    let name = &bytes[..equals.unwrap_or(bytes.len())];
    if name.is_empty() {
        let message = format!("--env \"{}\": there is no name in it", spelling::shown(given));
        return Err(hinted(&message, "want NAME or NAME=VALUE"));
    }
    let of = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Ok((of(name), equals.map(|at| of(&bytes[at + 1..]))))
}

/// All that was asked for, together: what a report says to add is added to what was typed before.
fn network_of(asked: &[String]) -> anyhow::Result<Network> {
    let hint = "none, host, HOST:PORT[,HOST:PORT…] such as example.org:443, or for a name of your own network NAME=ADDRESSES:PORT";
    let mut network = Network::default();
    for place in asked.iter().flat_map(|places| places.split(',')) {
        match (place, &mut network) {
            ("host", _) => network = Network::Host,
            ("none", _) => {}
            (place, known) => {
                let wanted: Destination =
                    place.parse().map_err(|why: String| hinted(&format!("--net {place}: {why}"), hint))?;
                wanted.check().map_err(|why| hinted(&format!("--net {place}: {why}"), "leave it out"))?;
                if let Network::Own(places) = known {
                    places.push(wanted);
                }
            }
        }
    }
    Ok(network)
}

fn memory(bytes: i64) -> anyhow::Result<u64> {
    // Less than the first process itself needs cannot start anything.
    const LEAST: u64 = 4 << 20;
    let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes >= LEAST);
    bytes.ok_or_else(|| hinted("--memory: too little to start a program", "give at least 4M"))
}

/// Runs this process, and so the program, on the first of the processors that it may run on.
fn keep_to(processors: u32) -> anyhow::Result<()> {
    let mut mask = numa::cpu_affinity().context("cannot ask for the processors")?;
    let mut left = processors;
    for word in &mut mask {
        for bit in 0..u64::BITS {
            if *word & (1 << bit) != 0 {
                if left == 0 {
                    *word &= !(1 << bit);
                } else {
                    left -= 1;
                }
            }
        }
    }
    numa::set_cpu_affinity(&mask).context("cannot limit the processors")
}

/// Why the program was killed, when the kernel says that it was for its memory.
fn memory_story(container: &Made) -> Option<String> {
    let cgroup = &container.state.cgroup;
    if cgroup.is_none() || cgroup.oom_kill_count().ok()? == 0 {
        return None;
    }
    let usage = cgroup.stats().ok()?.memory.usage;
    Some(out_of_memory(usage.limit, "peak", usage.max.max(usage.usage)))
}

fn out_of_memory(limit: u64, what: &str, used: u64) -> String {
    let (limit, used) = (limits::bytes_text(limit), limits::bytes_text(used));
    format!("out of memory: limit {limit}, {what} {used}; raise it with --memory")
}
