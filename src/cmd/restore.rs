//! `pent restore`: a container from the files of `checkpoint`, by CRIU.
#![forbid(unsafe_code)]

use super::delete::{abandon, delete_ended};
use super::make::{self, Bundle, poststart, write_pid_file};
use super::{Explained as _, Session, attend, checkpoint, hinted};
use crate::cgroup::Cgroup;
use crate::cli::{Make, Restore};
use crate::criu::{self, Image, Options, Supplied};
use crate::path::{self, Leaf};
use crate::plan::text::Text;
use crate::spec::{clean, mount_options::MountOptions};
use crate::state::{Dir, Process, State};
use crate::streams::To;
use crate::sys::mount::{self, MountAttr};
use crate::sys::{clone, cred, fd};
use anyhow::Context as _;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

pub(super) fn run(session: &Session<'_>, args: &Restore) -> anyhow::Result<u8> {
    checkpoint::check_rights()?;
    make::check_streams(0, To::Container)?;
    crate::state::check_id(&args.id).explained()?;
    let make = Make { bundle: args.bundle.clone(), no_pivot: args.no_pivot, ..Make::default() };
    let bundle = Bundle::load(session, &make, &args.id, None)?;
    if !bundle.hardening.is_empty() || !bundle.profiles.is_empty() {
        return Err(hinted(
            "a container that is held to more than its config.json cannot be restored",
            "CRIU makes what its images say, and they have nothing of Landlock: leave out --require and profiles",
        ));
    }
    if bundle.plan.terminal || args.console_socket.is_some() {
        return Err(hinted(
            "a container with a terminal cannot be restored",
            "set process.terminal to false, and leave out --console-socket",
        ));
    }
    if bundle.plan.parent_hooks.iter().any(|(_, hooks)| !hooks.is_empty()) {
        session.report.warn("hooks.prestart and hooks.createRuntime are not run again by restore");
    }
    let mut options = checkpoint::options(&args.criu, &args.work_path)?;
    options.lsm_profile.clone_from(&args.lsm_profile);
    options.lsm_mount_context.clone_from(&args.lsm_mount_context);
    let image = Image::load(&options.images).explained()?;
    if !args.detach && !args.no_subreaper {
        cred::set_child_subreaper().context("cannot become a subreaper")?;
    }
    let attendance = if args.detach { None } else { Some(attend::Attendance::begin()?) };
    let mut dir = Dir::create(&session.root()?, &args.id).explained()?;
    let (state, pidfd) = match build(session, &dir, &bundle, &image, &options) {
        Ok(made) => made,
        Err(error) => {
            // The error that is shown is the one that matters.
            drop(dir.remove());
            return Err(error);
        }
    };
    let told = match &args.pid_file {
        Some(path) => write_pid_file(path, state.init.pid),
        None => Ok(()),
    };
    if let Err(error) = told.and_then(|()| poststart(&bundle.spec, &state)) {
        end(&pidfd);
        abandon(&dir, &state, session.report);
        drop(dir.remove());
        return Err(error);
    }
    session.report.hush();
    let Some(attendance) = attendance else { return Ok(0) };
    // Others may use the container while it runs.
    dir.unlock().explained()?;
    let code = attendance.until_exit(&pidfd, None, None)?;
    session.report.speak();
    delete_ended(dir, &state, session.report)?;
    Ok(code)
}

/// Makes the cgroup and has CRIU make the rest.
fn build(
    session: &Session<'_>,
    dir: &Dir,
    bundle: &Bundle,
    image: &Image,
    options: &Options,
) -> anyhow::Result<(State, OwnedFd)> {
    dir.save_config(&bundle.config).explained()?;
    let planned = Cgroup::planned(&bundle.plan.cgroup);
    if !planned.is_none() {
        dir.save_intent(&planned).explained()?;
    }
    if let Some(plan) = &bundle.plan.rdt {
        make::make_rdt(dir, plan)?;
    }
    let cgroup = Cgroup::create(&bundle.plan.cgroup).explained()?;
    let mut state = make::new_state(dir.id(), bundle, cgroup);
    let mut pidfd = None;
    let restored = restore(session, dir, bundle, image, options, &mut state, &mut pidfd);
    match (restored, pidfd) {
        (Ok(()), Some(pidfd)) => Ok((state, pidfd)),
        (restored, pidfd) => {
            undo(dir, &state, pidfd.as_ref());
            restored.and_then(|()| Err(anyhow::anyhow!("CRIU has made no process")))
        }
    }
}

fn end(pidfd: &OwnedFd) {
    if clone::kill(pidfd.as_fd(), libc::SIGKILL).is_ok() {
        let _status = clone::wait(pidfd.as_fd());
    }
}

fn undo(dir: &Dir, state: &State, pidfd: Option<&OwnedFd>) {
    // The first error is the one to show.
    pidfd.inspect(|pidfd| end(pidfd));
    drop(state.cgroup.kill_all(libc::SIGKILL));
    drop(state.cgroup.delete());
    drop(dir.load_rdt().map(|rdt| rdt.map(|rdt| rdt.delete())));
}

fn restore(
    session: &Session<'_>,
    dir: &Dir,
    bundle: &Bundle,
    image: &Image,
    options: &Options,
    state: &mut State,
    pidfd: &mut Option<OwnedFd>,
) -> anyhow::Result<()> {
    state.cgroup.limit(&bundle.plan.cgroup).explained()?;
    let linux = bundle.spec.linux().as_ref();
    let masks = linux.and_then(|linux| linux.masked_paths().clone()).unwrap_or_default();
    let sources = criu::sources(image, &masks, |at| source(bundle, &state.cgroup, at)).explained()?;
    let network = network(&bundle.spec, image)?;
    // Other numbers than 0 to 2, which are CRIU's own: not close-on-exec, so that it inherits them.
    let streams: Vec<OwnedFd> = (0..3)
        .map(|number| {
            let stream = fd::stdio(number).with_context(|| format!("descriptor {number} is not open"))?;
            nix::unistd::dup(stream).context("cannot duplicate a standard stream")
        })
        .collect::<anyhow::Result<_>>()?;
    let pid_file = dir.path().join("criu.pid");
    let supplied = Supplied {
        root: state.rootfs.clone(),
        pid_file: pid_file.clone(),
        mounts: sources,
        streams: [streams[0].as_raw_fd(), streams[1].as_raw_fd(), streams[2].as_raw_fd()],
        network: network.as_ref().map(OwnedFd::as_raw_fd),
        cgroups: paths(&state.cgroup)?,
    };
    let arguments = criu::restore_arguments(image, &supplied, options);
    session.report.debug(format_args!("criu {arguments:?}"));
    make_mount_points(&bundle.spec, &state.rootfs, bundle)?;
    in_private_mounts(&state.rootfs, || criu::run("restore", &arguments, options).explained())?;
    let pid: i32 = std::fs::read_to_string(&pid_file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .context("CRIU has not said which process it made")?;
    *pidfd = Some(clone::open_process(pid).context("cannot open the restored process")?);
    state.init = Process::identify(pid).explained()?;
    dir.save(state).explained()?;
    if let Some(rdt) = dir.load_rdt().explained()? {
        for pid in state.cgroup.pids(true).explained()? {
            rdt.add(pid.cast_signed()).explained()?;
        }
    }
    state.cgroup.limit_devices(&bundle.plan.cgroup).explained()
}

/// The network namespace of config.json, if the image is of a container that was given one.
fn network(spec: &Spec, image: &Image) -> anyhow::Result<Option<OwnedFd>> {
    if image.network.is_none() {
        return Ok(None);
    }
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
    let network = namespaces.into_iter().find(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    let path = network.and_then(|namespace| namespace.path().clone()).filter(|path| !path.as_os_str().is_empty());
    let Some(path) = path else {
        return Err(hinted(
            "the container was checkpointed in a network namespace that is not its own",
            "give one in linux.namespaces[].path",
        ));
    };
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // A copy that CRIU inherits.
    Ok(Some(nix::unistd::dup(&file).context("cannot duplicate a descriptor")?))
}

/// What of the host a mount of config.json shows at this mount point.
fn source(bundle: &Bundle, cgroup: &Cgroup, at: &Path) -> Option<PathBuf> {
    for mount in bundle.spec.mounts().iter().flatten().rev() {
        let destination = PathBuf::from(clean(&mount.destination().to_string_lossy()));
        let kind = mount.typ().as_deref().unwrap_or_default();
        let bind = kind == "bind" || MountOptions::parse(mount.options().as_deref().unwrap_or_default()).bind.is_some();
        if bind && destination == at {
            return mount.source().as_ref().map(|source| bundle.directory.join(source));
        }
        if matches!(kind, "cgroup" | "cgroup2") {
            let Ok(below) = at.strip_prefix(&destination) else { continue };
            let all = below.as_os_str().is_empty();
            let own = cgroup.places().iter().map(|place| place.directory());
            let named = |place: &&crate::cgroup::Place| place.mount.file_name() == Some(below.as_os_str());
            let place = cgroup.places().iter().find(|place| all && place.is_v2() || named(place));
            return place.map(crate::cgroup::Place::directory).or_else(|| if all { own.last() } else { None });
        }
    }
    None
}

/// The container's cgroup in each hierarchy, as /proc/PID/cgroup will have it.
fn paths(cgroup: &Cgroup) -> anyhow::Result<Vec<(String, String)>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let root = |at: &Path| {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = fields.rev().find(|fields| fields.get(4).is_some_and(|point| Path::new(point) == at));
        found.and_then(|fields| fields.get(3).map(|root| (*root).to_owned())).unwrap_or_else(|| "/".to_owned())
    };
    let place = |place: &crate::cgroup::Place| {
        let path = format!("{}/{}", root(&place.mount).trim_end_matches('/'), place.path);
        (place.controllers.join(","), path)
    };
    Ok(cgroup.places().iter().map(place).collect())
}

/// CRIU makes no mount points: those in the root filesystem must be there, those in other filesystems are in its images.
fn make_mount_points(spec: &Spec, rootfs: &Path, bundle: &Bundle) -> anyhow::Result<()> {
    let root = fd::open(fd::CWD, &Text::path(rootfs), libc::O_PATH | libc::O_DIRECTORY)
        .with_context(|| format!("cannot open {}", rootfs.display()))?;
    let mut covered: Vec<PathBuf> = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let destination = PathBuf::from(clean(&mount.destination().to_string_lossy()));
        if !covered.iter().any(|above| destination.starts_with(above)) {
            let source = mount.source().as_ref().map(|source| bundle.directory.join(source));
            let file = source.is_some_and(|source| source.is_file());
            let leaf = if file { Leaf::File } else { Leaf::Directory };
            let inside = Text::path(destination.strip_prefix("/").unwrap_or(&destination));
            path::ensure(root.as_fd(), &inside, leaf)
                .with_context(|| format!("cannot make the mount point {}", destination.display()))?;
        }
        covered.push(destination);
    }
    Ok(())
}

/// Runs `f` where the rootfs is a mount, which CRIU wants, and where nothing that is mounted reaches the host.
fn in_private_mounts<T>(rootfs: &Path, f: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let here = std::fs::File::open("/proc/self/ns/mnt").context("cannot open the mount namespace")?;
    clone::unshare(libc::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let result = bind(rootfs).context("cannot mount the root filesystem").and_then(|()| f());
    clone::setns(here.as_fd(), libc::CLONE_NEWNS).context("cannot return to the mount namespace")?;
    result
}

fn bind(rootfs: &Path) -> crate::sys::Result<()> {
    let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
    let root = fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    mount::set_attr(root.as_fd(), true, &slave)?;
    let path = Text::path(rootfs);
    // Left a slave of the host's mount: a container's root that was one too gets its master from here.
    let tree = mount::clone_mount_at(fd::CWD, &path, true)?;
    let at = fd::open(fd::CWD, &path, libc::O_PATH | libc::O_DIRECTORY)?;
    mount::attach(tree.as_fd(), at.as_fd())
}
