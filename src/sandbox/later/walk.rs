//! A walk through a tree that somebody else has made: by descriptor, never through a link, as deep as it goes.
//!
//! Only the nearest of the directories above are kept open; others are found again by `..` and known by their identity.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the caller's own tree, by descriptor; no container is near")]

use crate::sys::fd;
use nix::errno::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Which file: device and inode.
pub(super) type Id = (u64, u64);

/// Directories that are open at once.
const OPEN: usize = 48;

const FLAGS: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;

pub(super) fn id(found: &libc::stat) -> Id {
    (found.st_dev, found.st_ino)
}

/// A directory that is being looked at.
#[derive(Clone, Copy)]
pub(super) struct Here<'h> {
    pub(super) fd: BorrowedFd<'h>,
    pub(super) stat: &'h libc::stat,
    /// On the host.
    pub(super) path: &'h Path,
}

impl Here<'_> {
    /// What a name in it is, links as such; nothing where there is none. What cannot be looked at is not absent.
    pub(super) fn look(&self, name: &CStr) -> nix::Result<Option<libc::stat>> {
        match fd::stat_at(self.fd, name, libc::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn join(&self, name: &CStr) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.to_bytes()))
    }

    /// Calls `each` with every name in it, and its `DT_*` type.
    pub(super) fn list(&self, buffer: &mut [u8], mut each: impl FnMut(&CStr, u8)) -> nix::Result<()> {
        loop {
            let filled = fd::read_dir(self.fd, buffer)?;
            if filled == 0 {
                return Ok(());
            }
            for (name, kind) in fd::entries(&buffer[..filled]) {
                let kind = match kind {
                    libc::DT_UNKNOWN => self.look(name)?.map_or(kind, |found| kind_of(&found)),
                    kind => kind,
                };
                each(name, kind);
            }
        }
    }
}

/// The `DT_*` of a file.
fn kind_of(found: &libc::stat) -> u8 {
    u8::try_from((found.st_mode & libc::S_IFMT) >> 12).unwrap_or(libc::DT_UNKNOWN)
}

/// Whoever looks.
pub(super) trait Visitor {
    /// What is known of a directory before it is looked into.
    type Place;

    /// Looks at a directory, and names those in it to go into.
    fn enter(&mut self, here: Here<'_>, place: Self::Place) -> Vec<(CString, Self::Place)>;

    /// What cannot be looked into.
    fn closed(&mut self, path: PathBuf, why: Errno);

    /// A directory was left that is a name in another one.
    fn leave(&mut self, _above: BorrowedFd<'_>, _name: &CStr, _path: &Path) {}

    /// Whether a directory of the caller's that lets nobody in may be opened for as long as it is looked at.
    fn opens(&self) -> bool;
}

struct Frame<P> {
    fd: Option<OwnedFd>,
    stat: libc::stat,
    name: CString,
    ahead: Vec<(CString, P)>,
    /// Its permissions, where they have to be put back.
    mode: Option<u32>,
}

/// Goes through a directory and all below it.
pub(super) fn walk<V: Visitor>(root: OwnedFd, path: &Path, place: V::Place, visitor: &mut V) {
    let mut path = path.to_owned();
    let stat = match fd::stat(root.as_fd()) {
        Ok(stat) => stat,
        Err(why) => return visitor.closed(path, why),
    };
    let ahead = visitor.enter(Here { fd: root.as_fd(), stat: &stat, path: &path }, place);
    let mut frames = vec![Frame { fd: Some(root), stat, name: CString::default(), ahead, mode: None }];
    while let Some(top) = frames.last_mut() {
        let Some((name, place)) = top.ahead.pop() else {
            up(&mut frames, &mut path, visitor);
            continue;
        };
        let Some(above) = &top.fd else { continue };
        let below = path.join(OsStr::from_bytes(name.to_bytes()));
        match enter(above.as_fd(), &name, &top.stat, visitor.opens()) {
            Ok(None) => {}
            Err(why) => visitor.closed(below, why),
            Ok(Some((inner, stat, mode))) => {
                path = below;
                let ahead = visitor.enter(Here { fd: inner.as_fd(), stat: &stat, path: &path }, place);
                frames.push(Frame { fd: Some(inner), stat, name, ahead, mode });
                // Never the root: there all begins again.
                if frames.len() > OPEN + 1 {
                    let far = frames.len() - OPEN - 1;
                    if far > 0 {
                        frames[far].fd = None;
                    }
                }
            }
        }
    }
}

/// Leaves a directory, and finds the one above again.
fn up<V: Visitor>(frames: &mut Vec<Frame<V::Place>>, path: &mut PathBuf, visitor: &mut V) {
    let Some(left) = frames.pop() else { return };
    let Some(above) = frames.last_mut() else { return };
    if let (Some(mode), Some(fd)) = (left.mode, &left.fd) {
        let _restored = set_mode(fd.as_fd(), mode);
    }
    if above.fd.is_none() {
        let found = left.fd.as_ref().and_then(|fd| fd::open(fd.as_fd(), c"..", FLAGS).ok());
        above.fd = found.filter(|found| fd::stat(found.as_fd()).is_ok_and(|found| id(&found) == id(&above.stat)));
    }
    let closed = path.clone();
    path.pop();
    match &above.fd {
        Some(above) => visitor.leave(above.as_fd(), &left.name, &closed),
        // Moved elsewhere meanwhile. Nobody knows any more what is beside it.
        None => {
            above.ahead.clear();
            visitor.closed(path.clone(), Errno::ESTALE);
        }
    }
}

type Entered = (OwnedFd, libc::stat, Option<u32>);

/// Opens a directory in another one; nothing where it is none any more, or is of the kernel's.
fn enter(above: BorrowedFd<'_>, name: &CStr, stat_above: &libc::stat, opens: bool) -> nix::Result<Option<Entered>> {
    let mut mode = None;
    let inner = match fd::open(above, name, FLAGS) {
        Err(Errno::EACCES) if opens => {
            mode = open_up(above, name)?;
            fd::open(above, name, FLAGS)
        }
        other => other,
    };
    let inner = match inner {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
        other => other?,
    };
    let stat = fd::stat(inner.as_fd())?;
    if stat.st_dev != stat_above.st_dev && is_of_the_kernel(inner.as_fd()) {
        return Ok(None);
    }
    // Names in it can be read, and not what they are.
    if stat.st_uid == nix::unistd::geteuid().as_raw() && stat.st_uid != 0 && stat.st_mode & 0o500 != 0o500 {
        if !opens {
            return Err(Errno::EACCES);
        }
        mode = mode.or(Some(stat.st_mode & 0o7777));
        set_mode(inner.as_fd(), stat.st_mode & 0o7777 | 0o700).map_err(errno)?;
    }
    Ok(Some((inner, stat, mode)))
}

/// Lets the owner into a directory of their own; the permissions that it had.
fn open_up(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<Option<u32>> {
    let found = fd::open(above, name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
    let mode = fd::stat(found.as_fd())?.st_mode & 0o7777;
    match set_mode(found.as_fd(), mode | 0o700).map_err(errno) {
        // Somebody else's: it stays closed.
        Err(Errno::EPERM) => Err(Errno::EACCES),
        done => done.map(|()| Some(mode)),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// chmod(2) of what a descriptor is of, one with `O_PATH` too.
pub(super) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    fs::set_permissions(format!("/proc/self/fd/{}", fd.as_raw_fd()), fs::Permissions::from_mode(mode))
}

/// File systems without files of anybody's.
#[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "unsigned in musl, signed in glibc")]
fn is_of_the_kernel(fd: BorrowedFd<'_>) -> bool {
    const KINDS: &[i64] = &[
        libc::PROC_SUPER_MAGIC as i64,
        libc::CGROUP_SUPER_MAGIC as i64,
        libc::CGROUP2_SUPER_MAGIC as i64,
        libc::SYSFS_MAGIC as i64,
        libc::DEBUGFS_MAGIC as i64,
        libc::TRACEFS_MAGIC as i64,
        libc::DEVPTS_SUPER_MAGIC as i64,
        libc::SECURITYFS_MAGIC as i64,
        libc::BPF_FS_MAGIC as i64,
    ];
    fd::super_magic(fd).is_ok_and(|magic| KINDS.contains(&magic))
}

/// Opens a path of the host that must be a directory and have no link on its way.
pub(super) fn open_directory(path: &Path) -> nix::Result<OwnedFd> {
    let root = fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let path = c_path(path)?;
    fd::open_in(root.as_fd(), &path, FLAGS, 0, fd::resolve::NO_SYMLINKS)
}

/// Finds what is at a path of the host without any link on its way, a link at its end included.
pub(super) fn find(path: &Path) -> nix::Result<OwnedFd> {
    let root = fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let path = c_path(path)?;
    fd::open_in(root.as_fd(), &path, libc::O_PATH | libc::O_NOFOLLOW, 0, fd::resolve::NO_SYMLINKS)
}

fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// What a file holds, if it is an ordinary one and not larger than `most`. Nothing else is ever opened.
pub(super) fn read(above: BorrowedFd<'_>, name: &CStr, most: usize) -> nix::Result<Vec<u8>> {
    let found = fd::open(above, name, libc::O_PATH | libc::O_NOFOLLOW)?;
    if fd::stat(found.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EINVAL);
    }
    let own = CString::new(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    let file = match fd::open(fd::CWD, &own, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY) {
        Err(Errno::EACCES) => {
            set_mode(found.as_fd(), fd::stat(found.as_fd())?.st_mode & 0o7777 | 0o600).map_err(errno)?;
            fd::open(fd::CWD, &own, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY)
        }
        other => other,
    }?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match fd::read(file.as_fd(), &mut part)? {
            0 => return Ok(bytes),
            _ if bytes.len() > most => return Err(Errno::EFBIG),
            more => bytes.extend(&part[..more]),
        }
    }
}

/// Removes a name, and where it is a directory, all that is in it; mounts in it stay.
pub(super) fn remove(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    match fd::unlink(above, name) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let stat = fd::stat(above)?;
    let mut remover = Remover { failed: None, buffer: vec![0; BUFFER] };
    let Some((inner, _, _)) = enter(above, name, &stat, true)? else { return fd::unlink(above, name) };
    walk(inner, Path::new("."), (), &mut remover);
    match remover.failed {
        Some(errno) => Err(errno),
        None => remove_directory(above, name),
    }
}

fn remove_directory(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    nix::unistd::unlinkat(above, name, nix::unistd::UnlinkatFlags::RemoveDir)
}

/// Of a listing.
pub(super) const BUFFER: usize = 64 << 10;

struct Remover {
    failed: Option<Errno>,
    buffer: Vec<u8>,
}

impl Visitor for Remover {
    type Place = ();

    fn enter(&mut self, here: Here<'_>, (): ()) -> Vec<(CString, ())> {
        let (mut inner, mut files) = (Vec::new(), Vec::new());
        // A directory may be without the right to change it.
        if here.stat.st_mode & 0o300 != 0o300 {
            let _opened = set_mode(here.fd, 0o700);
        }
        let listed = here.list(&mut self.buffer, |name, kind| {
            if kind == libc::DT_DIR { inner.push((name.to_owned(), ())) } else { files.push(name.to_owned()) }
        });
        let removed = files.iter().try_for_each(|name| match fd::unlink(here.fd, name) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        });
        self.failed = self.failed.or(listed.and(removed).err());
        inner
    }

    fn closed(&mut self, _: PathBuf, why: Errno) {
        self.failed = self.failed.or(Some(why));
    }

    fn leave(&mut self, above: BorrowedFd<'_>, name: &CStr, _: &Path) {
        self.failed = self.failed.or(remove_directory(above, name).err());
    }

    fn opens(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(usize, Vec<PathBuf>, Vec<u8>);

    impl Visitor for Counter {
        type Place = ();

        fn enter(&mut self, here: Here<'_>, (): ()) -> Vec<(CString, ())> {
            self.0 += 1;
            let mut inner = Vec::new();
            here.list(&mut self.2, |name, kind| {
                if kind == libc::DT_DIR {
                    inner.push((name.to_owned(), ()));
                }
            })
            .expect("listed");
            inner
        }

        fn closed(&mut self, path: PathBuf, _: Errno) {
            self.1.push(path);
        }

        fn opens(&self) -> bool {
            false
        }
    }

    #[test]
    fn deep_trees_are_walked_and_removed() {
        const DEPTH: usize = 3000;
        let place = tempfile::tempdir().expect("a directory");
        let root = open_directory(&place.path().canonicalize().expect("real")).expect("opened");
        let mut at = root.try_clone().expect("a copy");
        for _ in 0..DEPTH {
            fd::mkdir(at.as_fd(), c"dd", 0o700).expect("made");
            fd::mkdir(at.as_fd(), c"e", 0o700).expect("made");
            at = fd::open(at.as_fd(), c"dd", FLAGS).expect("opened");
        }
        let mut counter = Counter(0, Vec::new(), vec![0; 4096]);
        walk(root.try_clone().expect("a copy"), place.path(), (), &mut counter);
        assert_eq!((counter.0, counter.1.len()), (2 * DEPTH + 1, 0));
        remove(root.as_fd(), c"dd").expect("removed");
        assert!(!place.path().join("dd").exists());
    }

    #[test]
    fn only_ordinary_files_are_read() {
        let place = tempfile::tempdir().expect("a directory");
        let root = open_directory(&place.path().canonicalize().expect("real")).expect("opened");
        nix::unistd::mkfifo(&place.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("link")).expect("a link");
        fs::write(place.path().join("file"), [b'x'; 5000]).expect("a file");
        assert_eq!(read(root.as_fd(), c"fifo", 100), Err(Errno::EINVAL));
        assert_eq!(read(root.as_fd(), c"link", 100), Err(Errno::EINVAL));
        assert_eq!(read(root.as_fd(), c"file", 10), Err(Errno::EFBIG));
        assert_eq!(read(root.as_fd(), c"file", 5000).map(|bytes| bytes.len()), Ok(5000));
    }
}
