//! `pent sandbox`: an untrusted program, with as little as it needs.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::attend::{Attendance, Bounds, End, KeptTerminal};
use super::make::{Bundle, Made, Starter, check_descriptors, make_of};
use super::refusals::Reporting;
use super::{Explained as _, Session, delete, hinted, make, profiles};
use crate::cgroup::Driver;
use crate::cli::{Make, Sandbox as Args, SandboxHome};
use crate::host::Host;
use crate::image::{self, Image};
use crate::launch;
use crate::plan::Options;
use crate::profile;
use crate::refusal::{About, Asker, Facts, Flags, Layer, Refusal as Refused, Report, Supervisor, Watch};
use crate::sandbox::limits::{self, Means};
use crate::sandbox::net::{self, Denied, Destination, Publish, Tell};
use crate::sandbox::{self, Grant, Home, Limits, Network, Refusal, Request, Rootfs, Surroundings, Tmpfs};
use crate::spec;
use crate::sys::{clone, cred, numa};
use anyhow::Context as _;
use std::fs;
use std::os::fd::OwnedFd;
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
    attempt(session, args).map_err(|error| explain_program(error, args))
}

/// What a container's messages say of images is of no use here.
fn explain_program(error: anyhow::Error, args: &Args) -> anyhow::Error {
    let said = super::render(&error).message;
    if said.contains("cannot chdir to cwd") {
        let hint = "choose another with --workdir; /tmp, /run and /var/tmp begin empty in a sandbox";
        return hinted(&said.replace("process.cwd: ", "").replace(" set in config.json", ""), hint);
    }
    let name = args.command.first().map_or("", String::as_str);
    let found = std::path::absolute(name).is_ok_and(|path| name.contains('/') && path.exists());
    let hint = match super::render(&error).code {
        Some(127) if args.image.is_some() => {
            "it is not in the image, or its interpreter is not; a file of yours has to be shown there with --ro FILE:/tmp/FILE"
        }
        Some(127) if found => {
            "it is hidden in the sandbox, or its interpreter is (/tmp, /run and /var/tmp are private): show its directory with --ro"
        }
        Some(127) if name.contains('/') => "paths are those of the host, from the working directory on",
        Some(127) => "it is not on PATH, or where it is hidden: show its directory with --ro",
        Some(126) => {
            "it must be executable by the sandbox's user, not below a --tmpfs without exec, and its profile must allow it and its interpreter"
        }
        _ => return error,
    };
    super::with_hint(&error, hint)
}

fn attempt(session: &Session<'_>, args: &Args) -> anyhow::Result<u8> {
    check_descriptors(0)?;
    let reporting = Reporting::begin(args.report.as_deref(), Watch::Changes, true)?;
    let parent = parent()?;
    let mut host = Host::probe(true).explained()?;
    let is_root = host.is_privileged() && !host.in_user_namespace && host.euid == 0;
    let image = args.image.as_deref().map(|name| open_image(name, is_root)).transpose()?;
    let request = Request { asks: reporting.is_whole(), ..resolve(args, image.as_ref())? };
    let granted: Vec<PathBuf> = request.grants.iter().map(|grant| grant.target.clone()).collect();
    let mut surroundings = Surroundings::probe(is_root, &granted).explained()?;
    let sources: Vec<PathBuf> = request.grants.iter().map(|grant| grant.source.clone()).collect();
    surroundings.look_into(&sources).explained()?;
    let mut made = sandbox::compile(&request, &surroundings).map_err(|refusals| refuse(&refusals))?;

    host.probe_limits().explained()?;
    let name = args.profile.as_ref().or(session.global.profile.as_ref()).map_or(PROFILE, String::as_str);
    if name == profile::NONE {
        return Err(hinted("--profile none: a sandbox is always held to a profile", "baseline forbids least"));
    }
    let profile = profile::load(name).explained()?.for_container("sandbox");
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
    let options = Options {
        init: true,
        hand_over_network: !network.is_empty(),
        keep_processors: true,
        cgroup_driver: if let Means::Cgroup(driver) = means { driver } else { Driver::Cgroupfs },
        report: reporting.watch(),
        ..Options::default()
    };
    let id = format!("{PREFIX}{}", std::process::id());
    delete::sweep(session, PREFIX)?;
    let config = serde_json::to_vec(&made.spec).context("cannot write the configuration")?;
    let mut hardening = tightened.hardening;
    hardening.require.extend(make::hardening(session).require);
    let mut bundle = Bundle::compile(session, &options, hardening, &id, PathBuf::from("/"), config)?;
    let on_host = image.is_none().then_some(is_on_host as fn(&[u8]) -> bool);
    bundle.facts = bundle.facts.map(|_| Facts { on_host, ..Facts::of_sandbox(&bundle.spec, &bundle.hardening, name) });
    bundle.plan.changes = tightened.changes;
    bundle.profiles = vec![profile];
    let mut supervisor = reporting.supervisor(&bundle);

    cred::set_child_subreaper().context("cannot become a subreaper")?;
    let attendance = Attendance::begin()?;
    let mut container = make_of(session, &Make::default(), &id, bundle, Starter::ThisAndWait)?;
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
    let by = supervisor.as_mut().map(|supervisor| supervisor as &mut dyn launch::Supervisor);
    if let Err(error) = container.running.start_supervised(&container.bundle.plan, by).explained() {
        container.undo(session.report);
        return Err(error);
    }
    let terminal = container.running.terminal.take().map(|(master, _)| master);
    let bounds = Bounds { deadline, keeper: parent, stops: true };
    let by = supervisor.as_mut().map(|supervisor| supervisor as &mut dyn launch::Supervisor);
    let ended = attendance.until_end(&container.running.pidfd, terminal, None, by, bounds);
    drop(kept);
    let denied = network.as_ref().map(net::Running::denied).unwrap_or_default();
    drop(network);
    let report = conclude(
        &reporting,
        &container,
        supervisor.as_ref(),
        ended.as_ref().map_or(1, |(status, _)| *status),
        &request,
        surroundings.home.as_deref(),
        denied,
    );
    let memory = if matches!(ended, Ok((KILLED, _))) { memory_story(&container) } else { None };
    let Made { dir, state, .. } = container;
    delete::destroy(dir, &state, session.report)?;
    // Until now nobody could remove it from the cache.
    drop(image);
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
    told.map(|()| status)
}

/// What the program was refused, and the flags that would allow it.
fn conclude(
    reporting: &Reporting,
    container: &Made,
    supervisor: Option<&Supervisor>,
    status: u8,
    request: &Request,
    home: Option<&Path>,
    denied: Vec<Denied>,
) -> Report {
    // Where the proxy is there, it says itself what it refuses.
    let single_hosts = matches!(&request.network, Network::Own(allowed) if allowed.is_empty()) && !request.asks;
    let image = request.rootfs.is_some();
    let mounts = container.bundle.spec.mounts().iter().flatten();
    let in_memory = |mount: &&oci_spec::runtime::Mount| {
        mount.typ().as_deref() == Some("tmpfs") && mount.options().iter().flatten().any(|option| option == "noexec")
    };
    let tmpfs: Vec<_> =
        mounts.filter(in_memory).map(|mount| mount.destination().as_os_str().as_encoded_bytes().to_vec()).collect();
    let refused = supervisor.map(|supervisor| supervisor.record().all()).unwrap_or_default();
    let absent = refused.into_iter().filter(|refused| !image && refused.refusal.layer == Layer::AbsentPath);
    let hidden = absent.map(|refused| refused.refusal.subject).filter(|path| is_on_host(path)).collect();
    let process = container.bundle.spec.process().as_ref();
    let own = process.map(|process| process.cwd().as_os_str().as_encoded_bytes().to_vec()).unwrap_or_default();
    let home = home.map(|home| home.as_os_str().as_encoded_bytes().to_vec()).unwrap_or_default();
    let given = request.grants.iter().map(|grant| grant.target.as_os_str().as_encoded_bytes().to_vec()).collect();
    let flags = Flags { tmpfs, hidden, given, own, home, single_hosts, image };
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
    use std::os::unix::ffi::OsStrExt as _;
    !path.starts_with(b"/proc") && fs::symlink_metadata(std::ffi::OsStr::from_bytes(path)).is_ok()
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

/// Finds an image and unpacks it if need be. Root's programs are nobody, and so are the owners of what they run in.
fn open_image(name: &str, is_root: bool) -> anyhow::Result<Image> {
    let source = image::Source::find(name).explained()?;
    let owner = is_root.then_some((sandbox::ROOT_OUTSIDE, sandbox::ROOT_OUTSIDE));
    image::open(&source, image::Cache::of_caller, owner, &mut image::Progress::on_stderr()).explained()
}

/// The command line: what was typed, and of the image what was not.
fn command(args: &Args, image: Option<&Image>) -> anyhow::Result<Vec<String>> {
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

/// Paths of the host as they really are, and everything else in the sandbox's own terms.
fn resolve(args: &Args, image: Option<&Image>) -> anyhow::Result<Request> {
    let rootfs = image.map(|image| Rootfs::probe(image, args.image.as_deref().unwrap_or_default()));
    let rootfs = rootfs.transpose().explained()?;
    let mut grants = Vec::new();
    for (flag, writable, paths) in [("--ro", false, &args.ro), ("--rw", true, &args.rw)] {
        for path in paths {
            grants.push(grant(flag, path, writable, rootfs.as_ref())?);
        }
    }
    let tmpfs = args.tmpfs.iter().map(|tmpfs| {
        let (target, target_exists) = existing_directory(&inside(&tmpfs.path, rootfs.as_ref())?, rootfs.as_ref());
        check_target("--tmpfs", &target)?;
        Ok(Tmpfs { target, target_exists, size: tmpfs.size, mode: tmpfs.mode, exec: tmpfs.exec })
    });
    if let Some(given) = args.env.iter().find(|given| given.is_empty() || given.starts_with('=')) {
        return Err(hinted(&format!("--env {given:?}: there is no name in it"), "want NAME or NAME=VALUE"));
    }
    let environment = args.env.iter().map(|given| match given.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (given.clone(), None),
    });
    Ok(Request {
        command: command(args, image)?,
        grants,
        tmpfs: Tmpfs::merged(tmpfs.collect::<anyhow::Result<_>>()?),
        home: match args.home {
            SandboxHome::Ro => Home::Readonly,
            SandboxHome::Tmpfs => Home::Tmpfs,
            SandboxHome::None => Home::Absent,
        },
        environment: environment.collect(),
        workdir: args.workdir.as_deref().map(|path| inside(path, rootfs.as_ref())).transpose()?,
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

/// All that was asked for, together: what a report says to add is added to what was typed before.
fn network_of(asked: &[String]) -> anyhow::Result<Network> {
    let hint = "none, host, or HOST:PORT[,HOST:PORT…], such as example.org:443";
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

/// What every sandbox has of its own is not to be had otherwise.
fn check_target(flag: &str, target: &Path) -> anyhow::Result<()> {
    match target.to_str() {
        Some("/") => Err(hinted(&format!("{flag} /: the root itself cannot be replaced"), "use --image")),
        Some(own @ ("/proc" | "/dev")) => {
            Err(hinted(&format!("{flag} {own}: the sandbox has one of its own"), "name what is to be in it"))
        }
        _ => Ok(()),
    }
}

fn memory(bytes: i64) -> anyhow::Result<u64> {
    // Less than the first process itself needs cannot start anything.
    const LEAST: u64 = 4 << 20;
    let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes >= LEAST);
    bytes.ok_or_else(|| hinted("--memory: too little to start a program", "give at least 4M"))
}

/// Absolute, by the caller's working directory, or the image's.
fn inside(path: &Path, rootfs: Option<&Rootfs>) -> anyhow::Result<PathBuf> {
    let path = match rootfs {
        None => std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?,
        Some(rootfs) => rootfs.directory.join(path),
    };
    Ok(PathBuf::from(crate::spec::clean(&path.to_string_lossy())))
}

/// The place without links where something is, or would be. Links of an image are followed when it is mounted.
fn existing_directory(path: &Path, rootfs: Option<&Rootfs>) -> (PathBuf, bool) {
    if let Some(rootfs) = rootfs {
        return (path.to_owned(), rootfs.has(path, true));
    }
    match fs::canonicalize(path) {
        Ok(real) => {
            let exists = real.is_dir();
            (real, exists)
        }
        Err(_) => (path.to_owned(), false),
    }
}

fn grant(flag: &str, text: &str, writable: bool, rootfs: Option<&Rootfs>) -> anyhow::Result<Grant> {
    let (source, target) = match text.rsplit_once(':') {
        Some((source, target)) if target.starts_with('/') && !source.is_empty() => (source, Some(Path::new(target))),
        _ => (text, None),
    };
    let real = fs::canonicalize(source).map_err(|error| {
        let hint = match text.rsplit_once(':') {
            Some((before, _)) if Path::new(before).exists() => "what follows the colon has to be an absolute path",
            _ => "name a file or directory that is there",
        };
        hinted(&format!("{flag} {source}: {error}"), hint)
    })?;
    if real.parent().is_none() {
        let hint = "name the directories that the program is to have";
        return Err(hinted(&format!("{flag} {source}: the root as a whole cannot be given"), hint));
    }
    let found = fs::metadata(&real).with_context(|| format!("{flag} {source}"))?;
    let kind = nix::sys::statfs::statfs(&real).with_context(|| format!("{flag} {source}"))?.filesystem_type();
    if kind == nix::sys::statfs::PROC_SUPER_MAGIC {
        let hint = "the sandbox has a /proc of its own";
        return Err(hinted(&format!("{flag} {source}: the host's processes cannot be shown"), hint));
    }
    if !(found.is_dir() || found.is_file()) && writable {
        return Err(hinted(&format!("{flag} {source}: neither a file nor a directory"), "name the directory it is in"));
    }
    let (target, target_exists) = match (target, rootfs) {
        (None, None) => (real.clone(), true),
        (target, Some(rootfs)) => {
            let target = inside(target.unwrap_or(&real), Some(rootfs))?;
            let exists = rootfs.has(&target, found.is_dir());
            (target, exists)
        }
        (Some(target), None) => {
            let target = inside(target, None)?;
            let there = fs::canonicalize(&target);
            let exists = there.as_ref().is_ok_and(|there| there.is_dir() == found.is_dir());
            (there.unwrap_or(target), exists)
        }
    };
    check_target(flag, &target)?;
    Ok(Grant { source: real, target, target_exists, writable, directory: found.is_dir() })
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
    Some(format!(
        "out of memory: limit {}, peak {}; raise it with --memory",
        limits::bytes_text(usage.limit),
        limits::bytes_text(usage.max.max(usage.usage))
    ))
}
