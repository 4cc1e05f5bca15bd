//! `pent checkpoint`: a container's processes as files, by CRIU.
#![forbid(unsafe_code)]

use super::{Explained as _, Session, delete, hinted};
use crate::cli::{Checkpoint, Criu};
use crate::criu::{self, Dump, Image, Options};
use crate::state::Status;
use anyhow::{Context as _, bail};
use std::fs::{self, DirBuilder};
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
    if state.terminal {
        return Err(hinted(
            "a container with a terminal cannot be checkpointed",
            "its terminal is a part of the caller: run it with process.terminal false",
        ));
    }
    if state.landlock.is_some() {
        return Err(hinted(
            "a container with Landlock rules cannot be checkpointed",
            "CRIU's images have nothing of them: run it without a profile that has a [landlock] section",
        ));
    }
    let options = options(&args.criu, &args.work_path)?;
    let network =
        state.namespaces.iter().find(|namespace| namespace.typ() == oci_spec::runtime::LinuxNamespaceType::Network);
    let shares =
        network.is_some_and(|namespace| namespace.path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()));
    let image = Image::of(state.init.pid, shares).explained()?;
    let page_server = args.page_server.as_deref().map(|server| {
        let (address, port) = server.rsplit_once(':').unwrap_or((server, ""));
        (address.to_owned(), port.to_owned())
    });
    if page_server.as_ref().is_some_and(|(address, port)| address.is_empty() || port.is_empty()) {
        return Err(hinted("--page-server: no address and port", "write ADDRESS:PORT"));
    }
    let dump = Dump {
        pre_dump: args.pre_dump,
        leave_running: args.leave_running,
        parent: args.parent_path.clone(),
        page_server,
        status_fd: args.status_fd,
    };
    let freezer = state.cgroup.place("freezer").map(crate::cgroup::Place::directory);
    let arguments = criu::dump_arguments(state.init.pid, &state.rootfs, freezer.as_deref(), &image, &options, &dump);
    image.save(&options.images).explained()?;
    session.report.debug(format_args!("criu {arguments:?}"));
    criu::run(if args.pre_dump { "pre-dump" } else { "dump" }, &arguments, &options).explained()?;
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
