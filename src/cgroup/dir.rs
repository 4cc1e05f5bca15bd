//! One directory of one hierarchy: its files by descriptor, its processes, its end.
#![forbid(unsafe_code)]

use super::Error;
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, mkdir, unlinkat};
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the end of a cgroup whose processes are dying is waited for.
const REMOVAL: Duration = Duration::from_secs(2);

/// The container's directory in one hierarchy. Serialisable: it is kept in the state file.
///
/// No path here is resolved through a symbolic link (openat2(2), `RESOLVE_NO_SYMLINKS`), and none contains `..`
/// (checked when compiling): what is opened is below the mount point.
#[derive(Debug, Serialize, Deserialize)]
pub struct Place {
    /// The mount point of the hierarchy.
    pub mount: PathBuf,
    /// Below the mount point, without a leading `/`.
    pub path: String,
    /// The controllers of a version 1 hierarchy; none for version 2.
    pub controllers: Vec<String>,
    /// Whether the container does without it when it cannot be joined.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// Made by this process just now, so with the device rules that the kernel makes cgroups with.
    #[serde(skip)]
    fresh: AtomicBool,
    #[serde(skip)]
    dir: OnceLock<OwnedFd>,
}

impl Place {
    /// A place that may not exist yet.
    #[must_use]
    pub fn new(mount: PathBuf, path: String, controllers: Vec<String>, optional: bool) -> Self {
        Self { mount, path, controllers, optional, fresh: AtomicBool::new(false), dir: OnceLock::new() }
    }

    /// Whether the hierarchy is version 2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// The directory as an absolute path, for messages and for programs that are told where the cgroup is.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.mount.join(&self.path)
    }

    /// Makes the directory, with its parents when they are missing. One system call in the usual case.
    pub(super) fn make(&self) -> Result<(), Error> {
        let mode = Mode::from_bits_truncate(0o755);
        let directory = self.directory();
        let failed = |path: &Path, errno: Errno| Error::Make { path: path.into(), source: errno.into() };
        // mkdir follows links, but a cgroup filesystem has none, and the mount point is as the kernel names it.
        match mkdir(&directory, mode) {
            Ok(()) => self.fresh.store(true, Ordering::Relaxed),
            Err(Errno::EEXIST) => {}
            Err(Errno::ENOENT) => {
                let mut parent = self.mount.clone();
                for component in Path::new(&self.path).parent().into_iter().flatten() {
                    parent.push(component);
                    match mkdir(&parent, mode) {
                        Ok(()) | Err(Errno::EEXIST) => {}
                        Err(errno) => return Err(failed(&parent, errno)),
                    }
                }
                match mkdir(&directory, mode) {
                    Ok(()) => self.fresh.store(true, Ordering::Relaxed),
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(failed(&directory, errno)),
                }
            }
            Err(errno) => return Err(failed(&directory, errno)),
        }
        Ok(())
    }

    /// Whether this process made the directory, and its device rules are still those it was made with.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// [`Self::is_fresh`], for the last time: device rules are about to be changed.
    pub(super) fn take_fresh(&self) -> bool {
        self.fresh.swap(false, Ordering::Relaxed)
    }

    /// The directory, opened once (`O_PATH`).
    ///
    /// # Errors
    /// When it does not exist.
    pub fn dir(&self) -> Result<BorrowedFd<'_>, Error> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir.as_fd());
        }
        let directory = self.directory();
        let dir = open_beneath(&directory, OFlag::O_PATH | OFlag::O_DIRECTORY)
            .map_err(|errno| Error::Open { path: directory, source: errno.into() })?;
        // A descriptor that another caller stored meanwhile is as good.
        Ok(self.dir.get_or_init(|| dir).as_fd())
    }

    /// Opens the control file `name`: relative to the directory where that is open already, in one step otherwise.
    pub(super) fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        // Names come from the compiled plan, which has no slashes; make sure of it where it matters.
        if name.contains('/') {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let fd = match self.dir.get() {
            Some(dir) => openat(dir, name, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?,
            None => open_beneath(&self.directory().join(name), flags)?,
        };
        Ok(File::from(fd))
    }

    /// The text of the control file `name`.
    pub(super) fn read(&self, name: &str) -> io::Result<String> {
        read_all(self.open(name, OFlag::O_RDONLY)?)
    }

    /// The text of the control file `name`; empty when there is none.
    pub(super) fn read_if_any(&self, name: &str) -> Result<String, Error> {
        match self.read(name) {
            Err(error) if is_gone(&error) => Ok(String::new()),
            Err(source) => Err(Error::Read { path: self.directory().join(name), source }),
            Ok(text) => Ok(text),
        }
    }

    /// Writes `value` to the control file `name`, in one write.
    pub(super) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.open(name, OFlag::O_WRONLY)?.write_all(value.as_bytes())
    }

    /// [`Self::write`] with an error that names the file.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        self.write(name, value).map_err(|source| Error::Write {
            path: self.directory().join(name),
            value: value.to_owned(),
            setting: String::new(),
            source,
        })
    }

    /// Moves a process into the cgroup. On version 1, and on version 2 after a pause, the kernel waits for a grace period of
    /// all processors (about 10 ms): better be born there (`CLONE_INTO_CGROUP`), or do something else meanwhile.
    ///
    /// # Errors
    /// ESRCH when the process is gone; EBUSY below a cgroup with processes (version 2); EOPNOTSUPP when the cgroup is not in a
    /// state to hold processes.
    pub fn add(&self, pid: u32) -> Result<(), Error> {
        let file = "cgroup.procs";
        let failed = |source: io::Error| {
            let errno = nix::errno::Errno::from_raw(source.raw_os_error().unwrap_or(libc::EIO));
            Error::Join { path: self.directory(), pid, errno }
        };
        let mut procs = self.open(file, OFlag::O_WRONLY).map_err(failed)?;
        let text = pid.to_string();
        for _ in 0..5 {
            match procs.write_all(text.as_bytes()) {
                // A task that is still being made cannot be moved yet (kernels before 5.2).
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                result => return result.map_err(failed),
            }
        }
        procs.write_all(text.as_bytes()).map_err(failed)
    }

    /// The processes in the cgroup itself, by their numbers in this process's pid namespace. None when the cgroup is gone.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        read_pids(self.dir_if_any()?.as_ref().map(AsFd::as_fd), &self.directory())
    }

    /// The processes in the cgroup and below it.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub fn all_pids(&self) -> Result<Vec<u32>, Error> {
        let mut pids = Vec::new();
        if let Some(dir) = self.dir_if_any()? {
            let path = self.directory();
            pids.extend(read_pids(Some(dir.as_fd()), &path)?);
            visit_below(dir, &path, |parent, name| {
                match open_child(parent, name) {
                    Ok(child) => pids.extend(read_pids(Some(child.as_fd()), &path)?),
                    Err(Errno::ENOENT) => {}
                    Err(errno) => return Err(Error::Open { path: path.clone(), source: errno.into() }),
                }
                Ok(())
            })?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Writes `value` to the control file `name` of every cgroup below, deepest first.
    pub(super) fn set_below(&self, name: &str, value: &str) -> Result<(), Error> {
        let Some(dir) = self.dir_if_any()? else { return Ok(()) };
        visit_below(dir, &self.directory(), |parent, child| {
            let file = open_child(parent, child)
                .and_then(|child| openat(child, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()));
            match file.map_err(io::Error::from).and_then(|file| File::from(file).write_all(value.as_bytes())) {
                Err(source) if !is_gone(&source) => {
                    let (path, value) = (self.directory().join(name), value.to_owned());
                    Err(Error::Write { path, value, setting: String::new(), source })
                }
                _ => Ok(()),
            }
        })
    }

    /// Whether the directory is there now.
    pub(super) fn exists(&self) -> Result<bool, Error> {
        Ok(self.dir_if_any()?.is_some())
    }

    /// A new descriptor of the directory for listing; nothing when it does not exist.
    fn dir_if_any(&self) -> Result<Option<OwnedFd>, Error> {
        let directory = self.directory();
        match open_beneath(&directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(errno) => Err(Error::Open { path: directory, source: errno.into() }),
        }
    }

    /// Removes the directory and what is below it; no error when it is gone. Dying processes are waited for until `deadline`.
    pub(super) fn remove(&self, deadline: Instant) -> Result<(), Error> {
        let directory = self.directory();
        let failed = |errno: Errno| Error::Remove { path: self.directory(), source: errno.into() };
        match remove_directory(&directory) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // A read-only mount says so even when there is nothing to remove.
            Err(Errno::EROFS) if self.dir_if_any()?.is_none() => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(failed(errno)),
        }
        if let Some(dir) = self.dir_if_any()? {
            visit_below(dir, &directory, |parent, name| {
                until(deadline, || unlinkat(parent, name, UnlinkatFlags::RemoveDir)).map_err(failed)
            })?;
        }
        until(deadline, || remove_directory(&directory)).map_err(failed)
    }

    /// The deadline for a removal that begins now.
    pub(super) fn deadline() -> Instant {
        Instant::now() + REMOVAL
    }
}

/// Whether an error says that a cgroup or a control file does not exist (any more).
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// The whole text of a control file. Their size is not known beforehand: asking for it is a waste of system calls.
fn read_all(mut file: File) -> io::Result<String> {
    let mut text = vec![0; 4096];
    let mut filled = 0;
    loop {
        match file.read(text.get_mut(filled..).unwrap_or_default())? {
            0 => break,
            more => filled += more,
        }
        if filled == text.len() {
            text.resize(filled * 2, 0);
        }
    }
    text.truncate(filled);
    String::from_utf8(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Opens an absolute path without following any symbolic link.
fn open_beneath(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_CLOEXEC;
    let how =
        OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(AT_FDCWD, path, how) {
        // Kernels before 5.6, and seccomp profiles that are older than the call: the last component at least.
        Err(Errno::ENOSYS | Errno::EPERM) => open(path, flags | OFlag::O_NOFOLLOW, Mode::empty()),
        result => result,
    }
}

fn remove_directory(path: &Path) -> nix::Result<()> {
    unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

/// Repeats `remove` while it says EBUSY, with longer and longer pauses, until `deadline`. What is gone is removed.
fn until(deadline: Instant, mut remove: impl FnMut() -> nix::Result<()>) -> nix::Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match remove() {
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) if Instant::now() < deadline => std::thread::sleep(pause),
            result => return result,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The names of the cgroups below `dir`.
fn children(dir: &OwnedFd, path: &Path) -> Result<Vec<CString>, Error> {
    let failed = |errno: Errno| Error::Read { path: path.into(), source: errno.into() };
    let mut names = Vec::new();
    let listed = dir.try_clone().map_err(|source| Error::Read { path: path.into(), source })?;
    for entry in Dir::from_fd(listed).map_err(failed)?.iter() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::ENOENT) => break,
            Err(errno) => return Err(failed(errno)),
        };
        if entry.file_type() == Some(Type::Directory) {
            // A container names its cgroups as it likes, in UTF-8 or not.
            match entry.file_name() {
                name if name == c"." || name == c".." => {}
                name => names.push(name.to_owned()),
            }
        }
    }
    Ok(names)
}

fn open_child(dir: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    openat(dir, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}

/// Calls `visit` with every cgroup below `dir`, as its parent and its name, each after those below it. Three descriptors are open
/// and nothing recurses: a container that may make cgroups nests them as deep as it likes.
fn visit_below(
    dir: OwnedFd,
    path: &Path,
    mut visit: impl FnMut(&OwnedFd, &CStr) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Open { path: path.into(), source: errno.into() };
    let mut here = dir;
    let mut entered: Vec<CString> = Vec::new();
    // What is still to be entered, on every level down to here.
    let mut ahead = vec![children(&here, path)?];
    while let Some(level) = ahead.last_mut() {
        if let Some(name) = level.pop() {
            here = match open_child(&here, &name) {
                Ok(child) => child,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(failed(errno)),
            };
            ahead.push(children(&here, path)?);
            entered.push(name);
        } else {
            ahead.pop();
            if let Some(name) = entered.pop() {
                here = open_child(&here, c"..").map_err(failed)?;
                visit(&here, &name)?;
            }
        }
    }
    Ok(())
}

fn read_pids(dir: Option<BorrowedFd<'_>>, path: &Path) -> Result<Vec<u32>, Error> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let read = |name: &str| -> io::Result<String> {
        read_all(File::from(openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?))
    };
    let text = match read("cgroup.procs") {
        // A threaded version 2 cgroup lists threads only.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => read("cgroup.threads"),
        result => result,
    };
    match text {
        // Processes of another pid namespace are shown as 0.
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(source) => Err(Error::Read { path: path.join("cgroup.procs"), source }),
    }
}
