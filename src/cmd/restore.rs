//! `pent restore`: a container from the files of `checkpoint`, by CRIU.
#![forbid(unsafe_code)]

use super::checkpoint::Directories;
use super::delete::{abandon, delete_ended};
use super::make::{self, Bundle, Console, poststart, write_pid_file};
use super::{Explained as _, Session, attend, checkpoint, hinted};
use crate::cgroup::{Cgroup, Place};
use crate::cli::{Make, Restore};
use crate::criu::{self, Event, Image, Options, Service, Supplied, mounts};
use crate::launch::hooks;
use crate::path::{self, Leaf};
use crate::plan::kind_of;
use crate::plan::text::Text;
use crate::spec::clean;
use crate::state::{Dir, Process, State};
use crate::streams::To;
use crate::sys::mount::{self, MountAttr, attr};
use crate::sys::{clone, cred, fd, tty};
use anyhow::{Context as _, bail};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
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
    make::check_terminal(&bundle.plan, args.console_socket.is_some(), args.detach)?;
    let mut options = checkpoint::options(&args.criu, &args.work_path)?;
    options.lsm_profile.clone_from(&args.lsm_profile);
    options.lsm_mount_context.clone_from(&args.lsm_mount_context);
    let image = Image::load(&options.images).explained()?;
    let console = args.console_socket.as_deref().map(Console::connect).transpose()?;
    if !args.detach && !args.no_subreaper {
        cred::set_child_subreaper().context("cannot become a subreaper")?;
    }
    let attendance = if args.detach { None } else { Some(attend::Attendance::begin()?) };
    let mut dir = Dir::create(&session.root()?, &args.id).explained()?;
    let (state, made) = match build(session, &dir, &bundle, &image, &options) {
        Ok(made) => made,
        Err(error) => {
            // The error that is shown is the one that matters.
            drop(dir.remove());
            return Err(error);
        }
    };
    let told = hand_out(args, &state, made.terminal, console.as_ref());
    let terminal = match told.and_then(|terminal| poststart(&bundle.spec, &state).map(|()| terminal)) {
        Ok(terminal) => terminal,
        Err(error) => {
            end(&made.pidfd);
            abandon(&dir, &state, session.report);
            drop(dir.remove());
            return Err(error);
        }
    };
    session.report.hush();
    let Some(attendance) = attendance else { return Ok(0) };
    // Others may use the container while it runs.
    dir.unlock().explained()?;
    let code = attendance.until_exit(&made.pidfd, terminal, None)?;
    session.report.speak();
    delete_ended(dir, &state, session.report)?;
    Ok(code)
}

/// Gives out what callers wait for: the terminal, then the pid file. The terminal is left when nobody else wants it.
fn hand_out(
    args: &Restore,
    state: &State,
    terminal: Option<OwnedFd>,
    console: Option<&Console>,
) -> anyhow::Result<Option<OwnedFd>> {
    let kept = match (terminal, console) {
        (Some(master), Some(console)) => {
            console.send(&master, tty::number(master.as_fd()).context("cannot look at the terminal")?)?;
            None
        }
        (Some(master), None) => {
            tty::clear_onlcr(master.as_fd()).context("cannot set up the terminal")?;
            Some(master)
        }
        (None, _) => None,
    };
    if let Some(path) = &args.pid_file {
        write_pid_file(path, state.init.pid)?;
    }
    Ok(kept)
}

/// What CRIU has made.
struct Made {
    pidfd: OwnedFd,
    /// The master of its terminal.
    terminal: Option<OwnedFd>,
}

/// Makes the cgroup and has CRIU make the rest.
fn build(
    session: &Session<'_>,
    dir: &Dir,
    bundle: &Bundle,
    image: &Image,
    options: &Options,
) -> anyhow::Result<(State, Made)> {
    dir.save_config(&bundle.config).explained()?;
    let planned = Cgroup::planned(&bundle.plan.cgroup);
    if !planned.is_none() {
        dir.save_intent(&planned).explained()?;
    }
    if let Some(plan) = &bundle.plan.rdt {
        make::make_rdt(dir, plan)?;
    }
    let cgroup = Cgroup::create(&bundle.plan.cgroup).explained()?;
    let state = make::new_state(dir.id(), bundle, cgroup);
    let mut restoring =
        Restoring { session, dir, bundle, image, state, cgroups: Vec::new(), pidfd: None, terminal: None };
    match (restoring.restore(options), restoring.pidfd.take()) {
        (Ok(()), Some(pidfd)) => Ok((restoring.state, Made { pidfd, terminal: restoring.terminal })),
        (restored, pidfd) => {
            pidfd.iter().for_each(end);
            // Hooks may have run.
            abandon(dir, &restoring.state, session.report);
            restored.and_then(|()| Err(anyhow::anyhow!("CRIU has made no process")))
        }
    }
}

fn end(pidfd: &OwnedFd) {
    if clone::kill(pidfd.as_fd(), libc::SIGKILL).is_ok() {
        let _status = clone::wait(pidfd.as_fd());
    }
}

/// A container in the making.
struct Restoring<'a> {
    session: &'a Session<'a>,
    dir: &'a Dir,
    bundle: &'a Bundle,
    image: &'a Image,
    state: State,
    /// Those that CRIU is in.
    cgroups: Vec<(String, String)>,
    pidfd: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Restoring<'_> {
    fn restore(&mut self, options: &Options) -> anyhow::Result<()> {
        let (bundle, image) = (self.bundle, self.image);
        let spec = &bundle.spec;
        self.state.cgroup.limit(&bundle.plan.cgroup).explained()?;
        let of = |at: &Path, kind, below: &Path| source(bundle, &self.state.cgroup, at, kind, below);
        let sources = mounts::sources(&image.mounts, &mounts::named(spec), of).explained()?;
        let network = given(spec, LinuxNamespaceType::Network, image.network)?;
        let pids = given(spec, LinuxNamespaceType::Pid, image.pids)?;
        // Other numbers than 0 to 2, which are CRIU's own: not close-on-exec, so that it inherits them.
        let streams: Vec<OwnedFd> = (0..3)
            .map(|number| {
                let stream = fd::stdio(number).with_context(|| format!("descriptor {number} is not open"))?;
                nix::unistd::dup(stream).context("cannot duplicate a standard stream")
            })
            .collect::<anyhow::Result<_>>()?;
        make_mount_points(bundle, &self.state.rootfs, image)?;
        let readonly = image.points.iter().find(|point| point.at == Path::new("/"));
        let root = root_flags(spec, readonly);
        // CRIU mounts what it needs in its working directory, which has to be in its own mount namespace for that.
        let (directories, service) = in_private_mounts(&self.state.rootfs, root, || {
            Ok((Directories::open(options)?, Service::start(!options.shell_job).explained()?))
        })?;
        let _shown = root_group(spec).map(|group| directories.show_to(group)).transpose()?;
        self.cgroups = self.join_cgroup(service.pid())?;
        let supplied = Supplied {
            root: self.state.rootfs.clone(),
            mounts: sources,
            streams: [streams[0].as_raw_fd(), streams[1].as_raw_fd(), streams[2].as_raw_fd()],
            network: network.as_ref().map(OwnedFd::as_raw_fd),
            pids: pids.as_ref().map(OwnedFd::as_raw_fd),
            joined: joined(spec),
            cgroups: self.cgroups.clone(),
        };
        let request = criu::restore_request(image, &supplied, options, directories.places());
        let mut refused = None;
        let asked = service.ask(&request, &options.work, &mut |event| {
            self.session.report.debug(format_args!("criu: {event:?}"));
            refused = self.on(event).err();
            refused.is_none()
        });
        if let Some(error) = refused {
            return Err(error);
        }
        asked.explained()?;
        self.state.cgroup.settle(&bundle.plan.cgroup).explained()
    }

    /// Puts CRIU, and with it all that it makes, into the container's cgroup, whatever it is told to do about cgroups: the cgroups
    /// that it is in then are the ones of the container.
    fn join_cgroup(&self, pid: u32) -> anyhow::Result<Vec<(String, String)>> {
        let cgroup = &self.state.cgroup;
        if cgroup.is_none() {
            return Ok(Vec::new());
        }
        match cgroup.joins_by_bus().explained()? {
            true => cgroup.attach(pid.cast_signed()).explained()?,
            false => cgroup.add(pid).explained()?,
        }
        cgroups_of(pid.cast_signed())
    }

    /// Answers CRIU.
    fn on(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::NamespacesMade(pid) => self.run_hooks(pid),
            Event::Terminal(master) if self.bundle.plan.terminal && self.terminal.is_none() => {
                self.terminal = Some(master);
                Ok(())
            }
            Event::Terminal(_) => Err(hinted(
                "the images are of a container with a terminal, which config.json does not ask for",
                "set process.terminal to true, and pass --console-socket with --detach",
            )),
            Event::Restored(pid) => self.made(pid),
            Event::PagesServed | Event::Other(_) => Ok(()),
        }
    }

    /// Those that runc runs again, too: what they have set up is not in the images.
    fn run_hooks(&self, pid: i32) -> anyhow::Result<()> {
        for (kind, all) in &self.bundle.plan.parent_hooks {
            hooks::run(*kind, all, &make::hook_state(&self.state), &self.bundle.directory, pid)
                .map_err(|(_, message)| anyhow::anyhow!(message))?;
        }
        Ok(())
    }

    /// All processes are there, and none runs yet: what is not as config.json wants it ends here.
    fn made(&mut self, pid: i32) -> anyhow::Result<()> {
        self.pidfd = Some(clone::open_process(pid).context("cannot open the restored process")?);
        self.state.init = Process::identify(pid).explained()?;
        self.dir.save(&self.state).explained()?;
        if self.bundle.plan.terminal && self.terminal.is_none() {
            return Err(hinted(
                "the images are of a container without a terminal, which config.json asks for",
                "set process.terminal to false",
            ));
        }
        check_cgroup(&self.cgroups, pid)?;
        let more = check_namespaces(&self.bundle.spec, pid)?;
        mounts::check(&self.image.points, &mounts::seen_by(&pid.to_string()).explained()?).explained()?;
        if let Some(rdt) = self.dir.load_rdt().explained()? {
            for pid in self.state.cgroup.pids(true).explained()? {
                rdt.add(pid.cast_signed()).explained()?;
            }
        }
        self.state.cgroup.limit_devices(&self.bundle.plan.cgroup).explained()?;
        self.state.namespaces.extend(more);
        self.dir.save(&self.state).explained()
    }
}

/// The cgroup of a process in each hierarchy, as it is told to CRIU.
fn cgroups_of(pid: i32) -> anyhow::Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(criu::own_cgroups(&text))
}

/// That no process of the tree is outside of the cgroups that CRIU was put into, where limits and device rules would not reach it.
fn check_cgroup(cgroups: &[(String, String)], init: i32) -> anyhow::Result<()> {
    if cgroups.is_empty() {
        return Ok(());
    }
    for pid in descendants(init) {
        for (controller, now) in cgroups_of(pid)? {
            let own = cgroups.iter().find(|(name, _)| *name == controller);
            if own.is_some_and(|(_, own)| !Path::new(&now).starts_with(own)) {
                let hierarchy = if controller.is_empty() { "version 2" } else { &controller };
                bail!("CRIU has made process {pid} outside of the container's cgroup of {hierarchy}, in {now}");
            }
        }
    }
    Ok(())
}

/// A process and all that descend from it (`/proc/PID/task/TID/children`).
fn descendants(init: i32) -> Vec<i32> {
    let mut all = vec![init];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    all
}

/// The kinds of namespaces, as in /proc/PID/ns.
const KINDS: [(LinuxNamespaceType, &str); 8] = [
    (LinuxNamespaceType::User, "user"),
    (LinuxNamespaceType::Mount, "mnt"),
    (LinuxNamespaceType::Pid, "pid"),
    (LinuxNamespaceType::Network, "net"),
    (LinuxNamespaceType::Ipc, "ipc"),
    (LinuxNamespaceType::Uts, "uts"),
    (LinuxNamespaceType::Cgroup, "cgroup"),
    (LinuxNamespaceType::Time, "time"),
];

/// The path of a namespace that a configuration gives, and whether it asks for any of that kind.
fn asked(spec: &Spec, kind: LinuxNamespaceType) -> (bool, Option<PathBuf>) {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let asked = namespaces.into_iter().flatten().find(|namespace| kind_of(namespace.typ()) == kind_of(kind));
    let path = asked.and_then(|namespace| namespace.path().clone()).filter(|path| !path.as_os_str().is_empty());
    (asked.is_some(), path)
}

/// That the first process is in the namespaces that config.json asks for. Those that CRIU has made beyond that (of time, so that
/// clocks go on where they were) are the container's, too: whatever joins it joins them.
fn check_namespaces(spec: &Spec, pid: i32) -> anyhow::Result<Vec<LinuxNamespace>> {
    use std::os::unix::fs::MetadataExt as _;
    let mut more = Vec::new();
    for (kind, name) in KINDS {
        let Ok(host) = criu::namespace("self", name) else { continue };
        let own = criu::namespace(&pid.to_string(), name).explained()?;
        match asked(spec, kind) {
            (_, Some(path)) => {
                let given = std::fs::metadata(&path).with_context(|| format!("cannot open {}", path.display()))?.ino();
                if own != given {
                    bail!("CRIU has not put the container into the {name} namespace {}", path.display());
                }
            }
            (true, None) if own == host => {
                return Err(hinted(
                    &format!("the container would be in the host's {name} namespace, against config.json"),
                    "the images are of a container without one, or were made with another --manage-cgroups-mode",
                ));
            }
            (false, None) if own != host => {
                let mut namespace = LinuxNamespace::default();
                namespace.set_typ(kind);
                namespace.set_path(None);
                more.push(namespace);
            }
            _ => {}
        }
    }
    Ok(more)
}

/// A namespace of config.json that CRIU inherits, if the image is of a container that was given one.
fn given(spec: &Spec, kind: LinuxNamespaceType, image: Option<u64>) -> anyhow::Result<Option<OwnedFd>> {
    if image.is_none() {
        return Ok(None);
    }
    let (_, Some(path)) = asked(spec, kind) else {
        return Err(hinted(
            &format!("the container was checkpointed in a {kind} namespace that is not its own"),
            "give one in linux.namespaces[].path",
        ));
    };
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // A copy that CRIU inherits.
    Ok(Some(nix::unistd::dup(&file).context("cannot duplicate a descriptor")?))
}

/// The host's id of the group of root in a user namespace of the container's own.
fn root_group(spec: &Spec) -> Option<u32> {
    let (true, None) = asked(spec, LinuxNamespaceType::User) else { return None };
    let mappings = spec.linux().as_ref()?.gid_mappings().as_ref()?;
    mappings.iter().find(|mapping| mapping.container_id() == 0 && mapping.size() > 0).map(|mapping| mapping.host_id())
}

/// The namespaces that CRIU joins by path.
fn joined(spec: &Spec) -> Vec<(&'static str, PathBuf)> {
    let kinds = [
        (LinuxNamespaceType::Ipc, "ipc"),
        (LinuxNamespaceType::Uts, "uts"),
        (LinuxNamespaceType::Time, "time"),
        (LinuxNamespaceType::User, "user"),
    ];
    kinds.into_iter().filter_map(|(kind, name)| Some((name, asked(spec, kind).1?))).collect()
}

/// What of the host a mount of config.json shows, or a part of it.
fn source(bundle: &Bundle, cgroup: &Cgroup, at: &Path, kind: mounts::Kind, below: &Path) -> Option<PathBuf> {
    let is_here = |mount: &&oci_spec::runtime::Mount| Path::new(&clean(&mount.destination().to_string_lossy())) == at;
    if kind == mounts::Kind::Cgroup {
        let all = below.as_os_str().is_empty();
        let own = cgroup.places().iter().map(Place::directory);
        let named = |place: &&Place| place.mount.file_name() == Some(below.as_os_str());
        let place = cgroup.places().iter().find(|place| all && place.is_v2() || named(place));
        return place.map(Place::directory).or_else(|| if all { own.last() } else { None });
    }
    let mount = bundle.spec.mounts().iter().flatten().rev().find(is_here)?;
    let source = mount.source().as_ref().map(|source| bundle.directory.join(source))?;
    Some(if below.as_os_str().is_empty() { source } else { source.join(below) })
}

/// CRIU makes no mount points: where they are missing they are made as create makes them, in a copy of the mounts to come that ends
/// with this function. What would be made in a filesystem that is in CRIU's images is there already.
fn make_mount_points(bundle: &Bundle, rootfs: &Path, image: &Image) -> anyhow::Result<()> {
    let (spec, directory) = (&bundle.spec, &bundle.directory);
    in_private_mounts(rootfs, 0, || {
        let root = fd::open(fd::CWD, &Text::path(rootfs), libc::O_PATH | libc::O_DIRECTORY)
            .with_context(|| format!("cannot open {}", rootfs.display()))?;
        for mount in spec.mounts().iter().flatten() {
            let destination = PathBuf::from(clean(&mount.destination().to_string_lossy()));
            let failed = || format!("cannot make the mount point {}", destination.display());
            let tree = match mounts::kind(mount) {
                mounts::Kind::Bind { recursive } => {
                    let source = mount.source().as_ref().map(|source| directory.join(source)).unwrap_or_default();
                    mount::clone_mount_at(fd::CWD, &Text::path(&source), recursive)
                        .with_context(|| format!("cannot open the source of a mount, {}", source.display()))?
                }
                _ => nothing().with_context(failed)?,
            };
            let is_file = !mount::look(tree.as_fd()).with_context(failed)?.is_directory;
            let leaf = if is_file { Leaf::File } else { Leaf::Directory };
            let inside = Text::path(destination.strip_prefix("/").unwrap_or(&destination));
            let at = path::ensure(root.as_fd(), &inside, leaf).with_context(failed)?;
            mount::attach(tree.as_fd(), at.as_fd()).with_context(failed)?;
        }
        // CRIU looks mount points up by their names, and would follow what leads elsewhere now.
        for external in &image.mounts {
            let inside = Text::path(external.at.strip_prefix("/").unwrap_or(&external.at));
            // What is not there is in a filesystem of the images.
            if let Err(nix::errno::Errno::ELOOP) = path::open_plain(root.as_fd(), &inside, libc::O_PATH) {
                return Err(hinted(
                    &format!("there is a link on the way to {}, where a mount was", external.at.display()),
                    "the root filesystem must be as it was",
                ));
            }
        }
        Ok(())
    })
}

/// An empty filesystem that stands for one of the images.
fn nothing() -> crate::sys::Result<OwnedFd> {
    let context = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(context.as_fd())?;
    mount::fsmount(context.as_fd(), 0)
}

/// What the root must not allow: what config.json says, and what it did not allow before. CRIU 4 mounts it as it finds it.
fn root_flags(spec: &Spec, before: Option<&criu::Point>) -> u64 {
    let readonly = spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default());
    let names = [
        ("ro", attr::RDONLY),
        ("nosuid", attr::NOSUID),
        ("nodev", attr::NODEV),
        ("noexec", attr::NOEXEC),
        ("nosymfollow", attr::NOSYMFOLLOW),
    ];
    let had = |name: &str| before.is_some_and(|point| point.flags.contains(name));
    let kept = names.into_iter().filter(|(name, _)| had(name)).fold(0, |all, (_, flag)| all | flag);
    if readonly { kept | attr::RDONLY } else { kept }
}

/// Runs `f` where the rootfs is a mount, which CRIU wants, with these attributes, and where nothing that is mounted reaches the host.
/// It is done by a thread of its own: whoever has left a mount namespace cannot go back to where he was, which need not be its root.
fn in_private_mounts<T: Send>(
    rootfs: &Path,
    root: u64,
    f: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let inside = || {
        clone::unshare(libc::CLONE_NEWNS).context("cannot make a mount namespace")?;
        bind(rootfs, root).context("cannot mount the root filesystem")?;
        f()
    };
    let done = std::thread::scope(|scope| std::thread::Builder::new().spawn_scoped(scope, inside).map(|t| t.join()));
    match done.context("cannot make a thread")? {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn bind(rootfs: &Path, set: u64) -> crate::sys::Result<()> {
    let slave = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
    let root = fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    mount::set_attr(root.as_fd(), true, &slave)?;
    let path = Text::path(rootfs);
    // Left a slave of the host's mount: a container's root that was one too gets its master from here.
    let tree = mount::clone_mount_at(fd::CWD, &path, true)?;
    if set != 0 {
        mount::set_attr(tree.as_fd(), false, &MountAttr { set, ..MountAttr::default() })?;
    }
    let at = fd::open(fd::CWD, &path, libc::O_PATH | libc::O_DIRECTORY)?;
    mount::attach(tree.as_fd(), at.as_fd())
}
