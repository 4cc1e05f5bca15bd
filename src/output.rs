//! Files that pent writes where somebody else may have been: reports, pid files, logs.
//!
//! A program that could write in a directory may have left a link, a FIFO or a device at the name, or made one of the
//! directories on the way a link. So the directory is opened once, before anything runs, a new file is made in it by
//! descriptor under a name that nobody knows, and renamed at the end: whatever is at the name is replaced, never
//! followed and never opened.
#![forbid(unsafe_code)]

use crate::plan::op::Identity;
use crate::report::Hint;
use crate::sys::fd::{self, CWD, resolve};
use crate::walk::{Found, Link, Walker};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::signal::kill;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Pid, Uid, UnlinkatFlags, geteuid, linkat, unlinkat};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What the name of a draft begins with; then come its writer's pid and a random number.
const DRAFT: &str = ".pent-draft-";
/// Names that are tried for a draft, of 2^64.
const TRIES: usize = 16;

/// Why a file cannot be written.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory on the way is a link that a program may have planted.
    #[error("cannot write {}: {} is a link, which a program may have planted", path.display(), link.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// The link.
        link: PathBuf,
        /// The file without links, when there is such a directory.
        real: Option<PathBuf>,
    },
    /// What is at the name stays there.
    #[error("cannot write {}: {what}", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

impl Error {
    /// Why, without the file's name.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            Self::Link { link, .. } => format!("{} is a link", link.display()),
            Self::Occupied { what, .. } => (*what).to_owned(),
        }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => "make its directory first".into(),
            Self::Io { .. } => return None,
            Self::Link { real: Some(real), .. } => format!("if that is meant, name {} itself", real.display()),
            Self::Link { real: None, .. } => "it leads nowhere: name a directory without a link".into(),
            Self::Occupied { .. } => "name another file".into(),
        })
    }
}

/// What becomes of links among the directories on the way to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Only those that no program of this caller's can have made are followed.
    OfTheSystem,
    /// The caller is a program that names a directory of its own, and knows its links.
    All,
}

/// A file that is going to be written.
#[derive(Debug)]
pub struct Output {
    /// As it was named, for messages.
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
}

impl Output {
    /// Opens the directory, and finds out whether a file can be made in it. Nothing is left there, and what is at the
    /// name stays.
    ///
    /// # Errors
    /// When the file could not be written, as far as that can be known now.
    pub fn begin(path: &Path, links: Links) -> Result<Self, Error> {
        let output = Self::open(path, links)?;
        output.sweep();
        output.probe()?;
        Ok(output)
    }

    fn open(path: &Path, links: Links) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
        let ends_in_name = path.as_os_str().as_bytes().last().is_some_and(|byte| *byte != b'/');
        let name = path.file_name().filter(|_| ends_in_name).ok_or_else(|| failed(Errno::EISDIR.into()))?.to_owned();
        let directory = open_parent(path, links)?;
        let output = Self { path: path.to_owned(), directory, name };
        output.check()?;
        Ok(output)
    }

    /// Whether a file can be made in the directory: one without a name, which nobody sees and a crash leaves nothing of.
    fn probe(&self) -> Result<(), Error> {
        match self.unnamed() {
            Ok(_) => Ok(()),
            // NFS, FAT and old overlays have none.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOENT) => self.draft().map(drop),
            Err(errno) => Err(self.failed(errno.into())),
        }
    }

    fn unnamed(&self) -> Result<File, Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        openat(&self.directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }

    /// Takes away the drafts of those who were killed while they wrote. Who may not is no worse off.
    fn sweep(&self) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut listing) = Dir::openat(&self.directory, ".", flags, Mode::empty()) else { return };
        for entry in listing.iter().flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let is_left = writer_of(name).is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
            if !is_left {
                continue;
            }
            let found = fstatat(&self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            if found.is_ok_and(|found| kind(&found) == SFlag::S_IFREG && Uid::from_raw(found.st_uid) == geteuid()) {
                unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir).unwrap_or_default();
            }
        }
    }

    /// Writes the file: it is there with all of its content, or as it was.
    ///
    /// # Errors
    /// When the kernel refuses; no draft is left then.
    pub fn write(&self, content: &[u8]) -> Result<(), Error> {
        self.check()?;
        if self.place_new(content)? {
            return Ok(());
        }
        let mut draft = self.draft()?;
        draft.file.write_all(content).map_err(|source| self.failed(source))?;
        renameat(&self.directory, draft.name.as_os_str(), &self.directory, self.name.as_os_str())
            .map_err(|errno| self.failed(errno.into()))?;
        draft.is_kept = true;
        Ok(())
    }

    /// Gives a file a name when it has all of its content, where there is nothing of that name and the file system can.
    fn place_new(&self, content: &[u8]) -> Result<bool, Error> {
        let is_free = self.found().map_err(|errno| self.failed(errno.into()))?.is_none();
        let Some(mut file) = self.unnamed().ok().filter(|_| is_free) else { return Ok(false) };
        file.write_all(content).map_err(|source| self.failed(source))?;
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        let named = linkat(CWD, own.as_str(), &self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_FOLLOW);
        Ok(named.is_ok())
    }

    /// The file that is at the name now, without links on the way to it. Nothing when there is none: a link is not one.
    ///
    /// # Errors
    /// When that cannot be found out: what is there has to be hidden.
    pub fn earlier(&self) -> Result<Option<PathBuf>, Error> {
        match self.found().map_err(|errno| self.failed(errno.into()))? {
            Some(found) if kind(&found) == SFlag::S_IFREG => {
                let directory = real_path(self.directory.as_fd());
                let directory = directory.ok_or_else(|| self.failed(Errno::ENOENT.into()))?;
                Ok(Some(directory.join(&self.name)))
            }
            _ => Ok(None),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    fn found(&self) -> Result<Option<FileStat>, Errno> {
        match fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A directory cannot be replaced. The machine's own devices are not to be: a program can make no such device, and
    /// where they are, links are what programs of the whole machine rely on.
    fn check(&self) -> Result<(), Error> {
        let occupied = |what| Error::Occupied { path: self.path.clone(), what };
        let found = self.found().map_err(|errno| self.failed(errno.into()))?;
        match found.map(|found| (kind(&found), found.st_rdev)) {
            Some((SFlag::S_IFDIR, _)) => return Err(occupied("it is a directory")),
            Some((SFlag::S_IFCHR | SFlag::S_IFBLK, device)) if device != 0 => {
                return Err(occupied("it is a device, and would be replaced by a file"));
            }
            _ => {}
        }
        let directory = real_path(self.directory.as_fd()).ok_or_else(|| self.failed(Errno::ENOENT.into()))?;
        let kernel = directory == Path::new("/dev") || directory.starts_with("/proc") || directory.starts_with("/sys");
        if kernel { Err(occupied("what is there is the kernel's, and would be replaced by a file")) } else { Ok(()) }
    }

    /// A new file in the directory, under a name that nobody knows before it is there.
    fn draft(&self) -> Result<Draft<'_>, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for _ in 0..TRIES {
            let mut random = [0; 8];
            File::open("/dev/urandom")
                .and_then(|mut source| source.read_exact(&mut random))
                .map_err(|source| self.failed(source))?;
            let name = format!("{DRAFT}{}-{:016x}", std::process::id(), u64::from_ne_bytes(random));
            let name = OsString::from(name);
            match openat(&self.directory, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(file) => {
                    return Ok(Draft { directory: self.directory.as_fd(), name, file: file.into(), is_kept: false });
                }
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(self.failed(errno.into())),
            }
        }
        Err(self.failed(Errno::EEXIST.into()))
    }
}

/// Who has made a draft, by its name.
fn writer_of(name: &OsStr) -> Option<i32> {
    let (pid, random) = name.to_str()?.strip_prefix(DRAFT)?.split_once('-')?;
    let is_random = random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|pid: &i32| *pid > 0 && is_random)
}

/// A file that is removed unless it is kept.
struct Draft<'a> {
    directory: BorrowedFd<'a>,
    name: OsString,
    file: File,
    is_kept: bool,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // There is an error already, or nothing is wrong with the file.
            unlinkat(self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir).unwrap_or_default();
        }
    }
}

/// Writes a small file at once, in a directory that the caller knows.
///
/// # Errors
/// As [`Output::begin`] and [`Output::write`].
pub fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    Output::open(path, Links::All)?.write(content)
}

/// Opens a file that lines are appended to, and makes it if it is missing. What is there must be a regular file,
/// whoever waits at the other end of a FIFO; where `streams` may be named instead, also what is below `/dev` and
/// `/proc/self/fd`, such as `/dev/stderr`.
///
/// # Errors
/// When it is something else, or the kernel refuses.
pub fn append(path: &Path, streams: bool) -> Result<File, Error> {
    let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR.into()))?;
    let directory = open_parent(path, Links::All)?;
    let is_stream = streams && real_path(directory.as_fd()).is_some_and(|directory| is_of_streams(&directory));
    let mut flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    // Nobody may be at the other end of a FIFO.
    flags |= OFlag::O_NONBLOCK;
    if !is_stream {
        flags |= OFlag::O_NOFOLLOW;
    }
    let file = match openat(&directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(file) => file,
        Err(Errno::ELOOP) => return Err(Error::Occupied { path: path.to_owned(), what: "it is a link" }),
        Err(Errno::ENXIO) => return Err(Error::Occupied { path: path.to_owned(), what: NO_FILE }),
        Err(errno) => return Err(failed(errno.into())),
    };
    let found = fstat(&file).map_err(|errno| failed(errno.into()))?;
    if kind(&found) != SFlag::S_IFREG {
        if !is_stream {
            return Err(Error::Occupied { path: path.to_owned(), what: NO_FILE });
        }
        // What is written has to arrive, also when the reader is slow. The description is this process's own.
        let flags = nix::fcntl::OFlag::O_APPEND;
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(flags)).map_err(|errno| failed(errno.into()))?;
    }
    Ok(file.into())
}

const NO_FILE: &str = "it is not a regular file";

fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

/// `/dev`, and the descriptors of a process.
fn is_of_streams(directory: &Path) -> bool {
    directory == Path::new("/dev") || directory.starts_with("/proc") && directory.file_name() == Some(OsStr::new("fd"))
}

/// Where a directory is now.
fn real_path(directory: BorrowedFd<'_>) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    readlinkat(CWD, link.as_str()).ok().map(PathBuf::from)
}

/// Opens the directory that a file is in.
fn open_parent(path: &Path, links: Links) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new(""));
    // The kernel's answer has no links in it.
    let base = if parent.is_absolute() { PathBuf::from("/") } else { std::env::current_dir().map_err(failed)? };
    let directory = base.join(parent);
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let text = CString::new(directory.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    match links {
        Links::All => fd::open(CWD, &text, flags).map_err(|errno| failed(errno.into())),
        Links::OfTheSystem => match fd::open_in(CWD, &text, flags, 0, resolve::NO_SYMLINKS) {
            Err(Errno::ELOOP) => open_judged(path, &directory),
            opened => opened.map_err(|errno| failed(errno.into())),
        },
    }
}

/// Goes to a directory name by name, and follows a link only in directories that no program of this caller's can have
/// written to.
fn open_judged(path: &Path, directory: &Path) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Io { path: path.to_owned(), source };
    let uid = nix::unistd::geteuid().as_raw();
    let walked = Walker::from_root(uid).walk(directory).map_err(failed)?;
    if let Some(link) = walked.links.iter().find(|link| !is_of_the_system(link, uid == 0)) {
        let file = path.file_name().unwrap_or_default();
        let real = walked.found.filter(Found::is_directory).map(|_| walked.path.join(file));
        return Err(Error::Link { path: path.to_owned(), link: link.at.clone(), real });
    }
    let real = CString::new(walked.path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    let opened = fd::open_in(CWD, &real, libc::O_PATH | libc::O_DIRECTORY, 0, resolve::NO_SYMLINKS);
    let opened = opened.map_err(|errno| failed(errno.into()))?;
    let stat = fd::stat(opened.as_fd()).map_err(|errno| failed(errno.into()))?;
    // Another directory has taken its place meanwhile.
    let is_same = walked.found.is_some_and(|found| found.identity == Identity::of(&stat));
    if is_same { Ok(opened) } else { Err(failed(Errno::ESTALE.into())) }
}

/// Whether nothing that ran for this caller can have made a link. What ran for root in a sandbox may have made root's
/// files wherever it was let: for root it is a list of directories whose links distributions make.
fn is_of_the_system(link: &Link, for_root: bool) -> bool {
    let directory = link.at.parent().and_then(Path::to_str);
    link.of_system && (!for_root || matches!(directory, Some("/" | "/usr" | "/var" | "/proc")))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]
mod tests {
    use super::*;
    use nix::sys::stat::{SFlag, makedev, mknod};
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};

    /// A directory without links on the way to it.
    fn directory() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        (dir, path)
    }

    fn write(path: &Path) -> Result<(), Error> {
        Output::begin(path, Links::OfTheSystem)?.write(b"new")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whatever_is_there_is_replaced() {
        let (_dir, dir) = directory();
        let (target, file) = (dir.join("target"), dir.join("file"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, dir.join("link")).unwrap();
        symlink("/nowhere/at/all", dir.join("dangling")).unwrap();
        fs::hard_link(&target, dir.join("hard")).unwrap();
        nix::unistd::mkfifo(&dir.join("fifo"), Mode::S_IRUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
        for name in ["file", "file", "link", "dangling", "hard", "fifo", "socket"] {
            write(&dir.join(name)).unwrap();
            let about = fs::symlink_metadata(dir.join(name)).unwrap();
            assert!(about.is_file(), "{name}");
            assert_eq!(about.permissions().mode() & 0o177, 0, "{name}");
            assert_eq!(fs::read(dir.join(name)).unwrap(), b"new", "{name}");
        }
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert_eq!(names(&dir), ["dangling", "fifo", "file", "hard", "link", "socket", "target"]);
        assert_eq!(Output::begin(&file, Links::OfTheSystem).unwrap().earlier().unwrap(), Some(file));
    }

    #[test]
    fn what_a_killed_writer_left_is_taken_away() {
        let (_dir, dir) = directory();
        // No process has such a number (pid_max, proc(5)).
        let left = format!("{DRAFT}{}-0123456789abcdef", i32::MAX);
        let own = format!("{DRAFT}{}-0123456789abcdef", std::process::id());
        let others = [own, format!("{left}0"), format!("{DRAFT}1x-0123456789abcdef"), ".pent".to_owned()];
        for name in others.iter().chain([&left]) {
            fs::write(dir.join(name), "").unwrap();
        }
        symlink("x", dir.join(left.replace("0123", "3210"))).unwrap();
        Output::begin(&dir.join("file"), Links::OfTheSystem).unwrap();
        assert!(!dir.join(&left).exists() && others.iter().all(|name| dir.join(name).exists()));
        assert_eq!(names(&dir).len(), others.len() + 1);
    }

    #[test]
    fn what_cannot_be_written_is_said_at_once() {
        let (_dir, dir) = directory();
        fs::create_dir(dir.join("d")).unwrap();
        fs::write(dir.join("f"), "").unwrap();
        let why = |path: PathBuf| write(&path).unwrap_err().to_string();
        assert!(why(dir.join("d")).ends_with("it is a directory"));
        assert!(why(dir.join("missing/x")).contains("No such file"));
        assert!(why(dir.join("f/x")).contains("Not a directory"));
        for none in ["d/", "..", ""] {
            assert!(why(dir.join(none)).contains("directory"), "{none}");
        }
        for kernel in ["/dev/null", "/dev/stderr", "/proc/self/comm", "/dev/fd/2", "/sys/kernel/notes"] {
            assert!(why(kernel.into()).starts_with(&format!("cannot write {kernel}: ")), "{kernel}");
        }
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        if nix::unistd::geteuid().is_root() {
            let mode = Mode::S_IRUSR;
            if mknod(&dir.join("device"), SFlag::S_IFCHR, mode, makedev(1, 3)).is_ok() {
                assert!(why(dir.join("device")).contains("it is a device"));
            }
            // Everybody may make this one.
            mknod(&dir.join("whiteout"), SFlag::S_IFCHR, mode, 0).unwrap();
            write(&dir.join("whiteout")).unwrap();
        }
        assert!(!names(&dir).iter().any(|name| name.starts_with('.')));
    }

    #[test]
    fn a_link_on_the_way_is_named() {
        let (_dir, dir) = directory();
        fs::create_dir_all(dir.join("real/below")).unwrap();
        symlink("real", dir.join("out")).unwrap();
        let error = write(&dir.join("out/below/../below/x")).unwrap_err();
        assert!(error.to_string().contains(&format!("{}/out is a link", dir.display())), "{error}");
        assert_eq!(error.hint().unwrap(), format!("if that is meant, name {}/real/below/x itself", dir.display()));
        symlink("/nowhere", dir.join("gone")).unwrap();
        assert!(matches!(write(&dir.join("gone/x")), Err(Error::Link { real: None, .. })));
        assert_eq!(names(&dir.join("real/below")), [""; 0]);
        super::write(&dir.join("out/x"), b"1").unwrap();
        assert_eq!(fs::read(dir.join("real/x")).unwrap(), b"1");
    }

    #[test]
    fn links_of_the_system_are_followed() {
        let of = |at: &str, of_system, for_root| {
            is_of_the_system(&Link { at: at.into(), to: "/x".into(), of_system }, for_root)
        };
        assert!(of("/bin", true, true) && of("/usr/lib64", true, true) && of("/usr/lib64", true, false));
        // What root lets a program write is root's afterwards.
        assert!(!of("/etc/x", true, true) && of("/etc/x", true, false));
        assert!(!of("/bin", false, true) && !of("/bin", false, false));
    }

    #[test]
    fn the_directory_is_opened_once() {
        let (_dir, dir) = directory();
        fs::create_dir(dir.join("out")).unwrap();
        fs::create_dir(dir.join("private")).unwrap();
        let output = Output::begin(&dir.join("out/x"), Links::OfTheSystem).unwrap();
        fs::rename(dir.join("out"), dir.join("moved")).unwrap();
        symlink("private", dir.join("out")).unwrap();
        output.write(b"new").unwrap();
        assert_eq!((names(&dir.join("private")).len(), names(&dir.join("moved"))), (0, vec!["x".to_owned()]));
    }

    #[test]
    fn appending_opens_files_only() {
        let (_dir, dir) = directory();
        for text in ["one", "two"] {
            append(&dir.join("log"), true).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read(dir.join("log")).unwrap(), b"onetwo");
        symlink("log", dir.join("link")).unwrap();
        symlink("new", dir.join("dangling")).unwrap();
        nix::unistd::mkfifo(&dir.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        for name in ["link", "dangling", "fifo"] {
            assert!(matches!(append(&dir.join(name), true), Err(Error::Occupied { .. })), "{name}");
        }
        // With a reader, too.
        let reader = nix::fcntl::open(&dir.join("fifo"), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
        assert!(matches!(append(&dir.join("fifo"), true), Err(Error::Occupied { what: NO_FILE, .. })));
        drop(reader);
        assert!(!dir.join("new").exists());
    }

    #[test]
    fn streams_have_names() {
        append(Path::new("/dev/null"), true).unwrap().write_all(b"x").unwrap();
        assert!(append(Path::new("/dev/null"), false).is_err());
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        for directory in ["/dev/fd", "/proc/self/fd"] {
            let path = Path::new(directory).join(theirs.as_raw_fd().to_string());
            append(&path, true).unwrap().write_all(b"said").unwrap();
            let mut said = [0; 4];
            File::from(ours.try_clone().unwrap()).read_exact(&mut said).unwrap();
            assert_eq!(&said, b"said");
        }
    }
}
