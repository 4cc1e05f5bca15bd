//! `pent checkpoint`: a container's processes as files, by CRIU.
#![forbid(unsafe_code)]

use super::{Explained as _, Session, delete, hinted};
use crate::cli::{Checkpoint, Criu};
use crate::criu::{self, Dump, Event, Image, Options, Places, Request, Service};
use crate::plan::text::Text;
use crate::state::{Dir, State, Status};
use crate::sys::fd;
use anyhow::{Context as _, bail};
use oci_spec::runtime::LinuxNamespaceType;
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a process that CRIU has killed may take to end.
const DYING: Duration = Duration::from_secs(10);

pub(super) fn run(session: &Session<'_>, args: &Checkpoint) -> anyhow::Result<u8> {
    check_rights()?;
    let (mut dir, state) = session.load(&args.id)?;
    dir.lock().explained()?;
    let status = state.status(&dir).explained()?;
    if !matches!(status, Status::Running | Status::Paused) {
        bail!("Container cannot be checkpointed in {status} state");
    }
    if state.landlock.is_some() {
        return Err(hinted(
            "a container with Landlock rules cannot be checkpointed",
            "CRIU's images have nothing of them: run it without a profile that has a [landlock] section",
        ));
    }
    check_processes(session, &state)?;
    let dump = Dump {
        pre_dump: args.pre_dump,
        leave_running: args.leave_running,
        parent: args.parent_path.clone(),
        page_server: args.page_server.as_deref().map(page_server).transpose()?,
    };
    if let Some(number) = args.status_fd.filter(|number| fd::inherited(*number).is_none()) {
        return Err(hinted(
            &format!("--status-fd: descriptor {number} is not open"),
            "pass one that can be written to",
        ));
    }
    let options = options(&args.criu, &args.work_path)?;
    let directories = Directories::open(&options)?;
    let config = dir.load_config().explained()?;
    let stored = |diagnostics| crate::spec::Error::Invalid { path: dir.path().join("config.json"), diagnostics };
    let spec = crate::spec::parse(&config).map_err(stored).explained()?.spec;
    let given = |kind| is_given(&state, kind);
    let image = Image::of(state.init.pid, &spec, (given(LinuxNamespaceType::Network), given(LinuxNamespaceType::Pid)))
        .explained()?;
    let freezer = state.cgroup.place("freezer").map(crate::cgroup::Place::directory);
    let (pid, freezer) = (state.init.pid, freezer.as_deref());
    let request = criu::dump_request(pid, &state.rootfs, freezer, &image, &options, &dump, directories.places());
    image.save(&options.images).explained()?;
    if let Err(error) = ask(session, &request, &options, args.status_fd) {
        return Err(going_on(&dir, &state, status, error));
    }
    if args.pre_dump || args.leave_running {
        return Ok(0);
    }
    if let Ok(init) = state.init.open()
        && !init.wait_end(DYING).context("cannot wait for the container's first process")?
    {
        bail!("container init still running: CRIU has not ended process {}", state.init.pid);
    }
    delete::destroy(dir, &state, session.report)?;
    Ok(0)
}

/// Whether the container was given a namespace by path.
fn is_given(state: &State, kind: LinuxNamespaceType) -> bool {
    let given = state.namespaces.iter().find(|namespace| namespace.typ() == kind);
    given.is_some_and(|namespace| namespace.path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()))
}

fn page_server(asked: &str) -> anyhow::Result<(String, u16)> {
    let (address, port) = asked.rsplit_once(':').unwrap_or((asked, ""));
    match port.parse() {
        Ok(port) if !address.is_empty() => Ok((address.to_owned(), port)),
        _ => Err(hinted(&format!("--page-server: no address and port: {asked:?}"), "write ADDRESS:PORT")),
    }
}

/// CRIU saves the first process and what descends from it, in one time namespace; whatever else there is ends with the first process,
/// or makes images that cannot be restored.
fn check_processes(session: &Session<'_>, state: &State) -> anyhow::Result<()> {
    if state.cgroup.is_none() {
        return Ok(());
    }
    let init = state.init.pid.to_string();
    let time = criu::namespace(&init, "time").explained()?;
    let mut others = Vec::new();
    for pid in state.cgroup.pids(true).explained()? {
        // One that has ended meanwhile needs nothing.
        if criu::namespace(&pid.to_string(), "time").is_ok_and(|own| own != time) {
            return Err(hinted(
                &format!(
                    "cannot checkpoint: process {pid} is in another time namespace than the first process, {init}"
                ),
                "CRIU could not restore the two together: end that process first",
            ));
        }
        if !descends(pid.cast_signed(), state.init.pid) {
            others.push(pid.to_string());
        }
    }
    if !others.is_empty() {
        let (pids, verb) = (others.join(", "), if others.len() == 1 { "is" } else { "are" });
        session.report.warn(format!("of exec, and so not of what CRIU saves, {verb}: process {pids}"));
    }
    Ok(())
}

/// Whether a process is another one or descends from it.
fn descends(mut pid: i32, from: i32) -> bool {
    while pid > 1 && pid != from {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // proc_pid_stat(5): the parent is the second field after the name.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        // One that has ended belongs to nobody.
        pid = parent.unwrap_or(from);
    }
    pid == from
}

fn ask(session: &Session<'_>, request: &Request, options: &Options, status: Option<i32>) -> anyhow::Result<()> {
    let mut untold = None;
    let service = Service::start(!options.shell_job).explained()?;
    let asked = service.ask(request, &options.work, &mut |event| {
        session.report.debug(format_args!("criu: {event:?}"));
        match (event, status) {
            (Event::PagesServed, Some(number)) => {
                untold = criu::tell_ready(number).err();
                untold.is_none()
            }
            _ => true,
        }
    });
    match untold {
        Some(error) => Err(error).context("--status-fd: cannot tell that pages are served"),
        None => asked.explained(),
    }
}

/// A checkpoint that failed changes nothing: what was running runs, also when CRIU itself was killed. The error says when it does not.
fn going_on(dir: &Dir, state: &State, before: Status, error: anyhow::Error) -> anyhow::Error {
    if before == Status::Running && state.cgroup.is_frozen().unwrap_or_default() {
        let thawed = state.cgroup.thaw().explained();
        if let Err(cause) = thawed {
            return error.context(format!("the container is still frozen ({cause:#}): `pent resume {}`", state.id));
        }
    }
    match state.status(dir) {
        Ok(Status::Stopped) => error.context("the container has ended"),
        _ => error,
    }
}

/// The directories of a checkpoint, open.
pub(super) struct Directories {
    images: OwnedFd,
    work: OwnedFd,
}

impl Directories {
    pub(super) fn open(options: &Options) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            fd::open(fd::CWD, &Text::path(path), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self { images: open(&options.images)?, work: open(&options.work)? })
    }

    /// Lets a group of the host look files up among the images, until this is dropped: CRIU opens some as the root of a container's user
    /// namespace, who is nobody here.
    pub(super) fn show_to(&self, group: u32) -> anyhow::Result<Shown<'_>> {
        let failed = "cannot let the container's root read the images";
        let before = fd::stat(self.images.as_fd()).context(failed)?;
        let shown = Shown { images: &self.images, mode: before.st_mode & 0o7777, group: before.st_gid };
        shown.set(shown.mode | 0o010, group).context(failed)?;
        Ok(shown)
    }

    pub(super) fn places(&self) -> Places<'_> {
        Places { images: self.images.as_fd(), work: self.work.as_fd() }
    }
}

/// See [`Directories::show_to`].
pub(super) struct Shown<'a> {
    images: &'a OwnedFd,
    mode: u32,
    group: u32,
}

impl Shown<'_> {
    fn set(&self, mode: u32, group: u32) -> nix::Result<()> {
        nix::unistd::fchown(self.images, None, Some(group.into()))?;
        nix::sys::stat::fchmod(self.images, nix::sys::stat::Mode::from_bits_truncate(mode))
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        // What could be set can be set back.
        let _infallible = self.set(self.mode, self.group);
    }
}

/// CRIU reads and makes processes as it likes, which an ordinary user may not.
pub(super) fn check_rights() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(hinted("checkpoint and restore need root", "CRIU must be able to make any process"))
}

/// The directories, made when missing, and the options that both verbs have.
pub(super) fn options(args: &Criu, work: &Option<PathBuf>) -> anyhow::Result<Options> {
    let images = directory(args.image_path.as_deref().unwrap_or(Path::new("checkpoint")))?;
    Ok(Options {
        work: work.as_deref().map(directory).transpose()?.unwrap_or_else(|| images.clone()),
        images,
        tcp_established: args.tcp_established,
        link_remap: args.link_remap,
        ext_unix_sk: args.ext_unix_sk,
        shell_job: args.shell_job,
        file_locks: args.file_locks,
        auto_dedup: args.auto_dedup,
        lazy_pages: args.lazy_pages,
        manage_cgroups: args.manage_cgroups_mode.clone().unwrap_or_default(),
        empty_ns: args.empty_ns.clone(),
        skip_in_flight: args.tcp_skip_in_flight,
        tcp_close: args.tcp_close,
        ..Options::default()
    })
}

fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    check_directory(&path)?;
    Ok(path)
}

/// CRIU opens its files by their names, as root: nothing may be there that leads elsewhere.
fn check_directory(path: &Path) -> anyhow::Result<()> {
    // CRIU's own, to the images that these are the difference to.
    const PARENT: &str = "parent";
    let failed = || format!("cannot read {}", path.display());
    let refuse = |what: &Path, is: &str| {
        let message = format!("cannot use {} for images: {} is {is}", path.display(), what.display());
        Err(hinted(&message, "name an empty directory, or one that CRIU has filled"))
    };
    if !fs::symlink_metadata(path).with_context(failed)?.is_dir() {
        return refuse(path, "a link");
    }
    for entry in fs::read_dir(path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let kind = entry.file_type().with_context(failed)?;
        if kind.is_symlink() && entry.file_name() != PARENT {
            return refuse(&entry.path(), "a link");
        }
        if kind.is_fifo() || kind.is_char_device() || kind.is_block_device() {
            return refuse(&entry.path(), "not a regular file");
        }
    }
    Ok(())
}
