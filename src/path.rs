//! Paths inside a root filesystem, by descriptor. Nothing else may resolve a path in a rootfs.
//!
//! A path is looked up once, by openat2(2) with the rootfs as its root and no magic links, and what comes back is a
//! descriptor that is then used; a link that is swapped in between changes nothing (CVE-2021-30465 and its kin).
//! Nothing here allocates: the child uses it.
#![forbid(unsafe_code)]

use crate::sys::Result;
use crate::sys::fd::{self, resolve};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Links followed while making missing components, as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;
const CAPACITY: usize = libc::PATH_MAX as usize;

/// A path on the stack.
struct Buffer {
    bytes: [u8; CAPACITY + 1],
    len: usize,
}

impl Buffer {
    fn new(path: &[u8]) -> Result<Self> {
        let mut buffer = Self { bytes: [0; CAPACITY + 1], len: 0 };
        buffer.push(path)?;
        Ok(buffer)
    }

    fn push(&mut self, part: &[u8]) -> Result<()> {
        let end = self.len + part.len();
        if end > CAPACITY {
            return Err(Errno::ENAMETOOLONG);
        }
        self.bytes[self.len..end].copy_from_slice(part);
        self.bytes[end] = 0;
        self.len = end;
        Ok(())
    }

    fn path(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The path cut off at `end`, as a C string for the length of `f`; the empty path is the root.
    fn with_prefix<T>(&mut self, end: usize, f: impl FnOnce(&CStr) -> T) -> T {
        let cut = std::mem::replace(&mut self.bytes[end], 0);
        let prefix = CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default();
        let result = f(if prefix.is_empty() { c"." } else { prefix });
        self.bytes[end] = cut;
        result
    }
}

/// Opens a path inside `root`: links are followed, but never out of it.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let path = if path.is_empty() { c"." } else { path };
    fd::open_in(root, path, flags, 0, resolve::IN_ROOT | resolve::NO_MAGICLINKS)
}

/// Opens a path inside `root` that must have no link on its way: `ELOOP` otherwise.
pub fn open_plain(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let path = if path.is_empty() { c"." } else { path };
    fd::open_in(root, path, flags, 0, resolve::IN_ROOT | resolve::NO_SYMLINKS)
}

/// Gives what was made, a name in a directory, what it lacks.
type Finish<'a> = dyn Fn(BorrowedFd<'_>, &CStr) -> Result<()> + 'a;

/// What to make at the end of a path when it is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

impl Leaf {
    /// For open(2): what is there must be a directory, too.
    fn kind(self) -> i32 {
        if self == Self::Directory { libc::O_DIRECTORY } else { 0 }
    }
}

/// Opens a path inside `root` (`O_PATH`), making what is missing of it: directories with mode 0755, a file with 0644, both less
/// the umask.
pub fn ensure(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf) -> Result<OwnedFd> {
    ensure_with(root, path, leaf, &|_, _| Ok(()))
}

/// [`ensure`], which has everything that it makes finished: by its directory and its name there.
pub fn ensure_with(root: BorrowedFd<'_>, path: &CStr, leaf: Leaf, finish: &Finish<'_>) -> Result<OwnedFd> {
    let mut path = Buffer::new(path.to_bytes())?;
    for _ in 0..MAX_LINKS {
        let whole = path.len;
        match path.with_prefix(whole, |path| open(root, path, libc::O_PATH | leaf.kind())) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        if let Some(fd) = make_missing(root, &mut path, leaf, finish)? {
            return Ok(fd);
        }
    }
    Err(Errno::ELOOP)
}

/// Makes the components that are missing. `None`: one of them is a link to something missing, and `path` now leads there.
fn make_missing(root: BorrowedFd<'_>, path: &mut Buffer, leaf: Leaf, finish: &Finish<'_>) -> Result<Option<OwnedFd>> {
    let (mut dir, mut at) = deepest(root, path)?;
    loop {
        let start = at + path.path()[at..].iter().take_while(|&&b| b == b'/').count();
        if start == path.len {
            return Ok(Some(dir));
        }
        let end = start + path.path()[start..].iter().take_while(|&&b| b != b'/').count();
        let last = path.path()[end..].iter().all(|&b| b == b'/');
        let name = Buffer::new(&path.path()[start..end])?;
        let name = CStr::from_bytes_until_nul(&name.bytes).unwrap_or_default();
        if name == c".." {
            return Err(Errno::ENOENT);
        }
        match step(dir.as_fd(), name, if last { leaf } else { Leaf::Directory }, finish) {
            Ok(next) => dir = next,
            Err(Errno::EEXIST) => {
                follow(dir.as_fd(), name, path, start, end)?;
                return Ok(None);
            }
            Err(errno) => return Err(errno),
        }
        at = end;
    }
}

/// The longest beginning of the path that exists: its descriptor, and its length.
fn deepest(root: BorrowedFd<'_>, path: &mut Buffer) -> Result<(OwnedFd, usize)> {
    let mut end = path.len;
    loop {
        end = path.path()[..end].iter().rposition(|&b| b == b'/').unwrap_or(0);
        match path.with_prefix(end, |path| open(root, path, libc::O_PATH | libc::O_DIRECTORY)) {
            Err(Errno::ENOENT) if end > 0 => {}
            found => return found.map(|dir| (dir, end)),
        }
    }
}

/// Makes one component; one that somebody else made in the meantime is taken, a link is `EEXIST`.
fn step(dir: BorrowedFd<'_>, name: &CStr, leaf: Leaf, finish: &Finish<'_>) -> Result<OwnedFd> {
    let made = match leaf {
        Leaf::Directory => fd::mkdir(dir, name, 0o755),
        Leaf::File => fd::mknod(dir, name, libc::S_IFREG | 0o644, 0),
    };
    match made {
        Ok(()) => finish(dir, name)?,
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let opened = fd::open(dir, name, libc::O_PATH | libc::O_NOFOLLOW | leaf.kind());
    let is_link = |fd: BorrowedFd<'_>| fd::stat(fd).is_ok_and(|st| st.st_mode & libc::S_IFMT == libc::S_IFLNK);
    match opened {
        Ok(fd) if leaf == Leaf::File && is_link(fd.as_fd()) => Err(Errno::EEXIST),
        Err(Errno::ENOTDIR | Errno::ELOOP) if made == Err(Errno::EEXIST) => {
            let link = fd::stat_at(dir, name, libc::AT_SYMLINK_NOFOLLOW)?;
            Err(if link.st_mode & libc::S_IFMT == libc::S_IFLNK { Errno::EEXIST } else { Errno::ENOTDIR })
        }
        other => other,
    }
}

/// Replaces the link at `path[start..end]` by what it points to.
fn follow(dir: BorrowedFd<'_>, name: &CStr, path: &mut Buffer, start: usize, end: usize) -> Result<()> {
    let mut target = [0u8; CAPACITY];
    let len = fd::readlink(dir, name, &mut target)?;
    let mut next = Buffer::new(b"")?;
    if target.first() != Some(&b'/') {
        next.push(&path.path()[..start])?;
    }
    next.push(&target[..len])?;
    next.push(&path.path()[end..])?;
    *path = next;
    Ok(())
}

/// Makes the missing directories before the last component: the directory, and the offset of the last name in `path`.
pub fn ensure_parent(root: BorrowedFd<'_>, path: &CStr) -> Result<(OwnedFd, usize)> {
    let bytes = path.to_bytes();
    let split = bytes.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    if split == 0 {
        return Ok((open(root, c".", libc::O_PATH | libc::O_DIRECTORY)?, 0));
    }
    let mut parent = Buffer::new(&bytes[..split])?;
    let len = parent.len;
    parent.with_prefix(len, |path| ensure(root, path, Leaf::Directory)).map(|dir| (dir, split))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    struct Rootfs(tempfile::TempDir);

    impl Rootfs {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary directory"))
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn ensure(&self, path: &str, leaf: Leaf) -> Result<OwnedFd> {
            let root = std::fs::File::open(self.path()).expect("the root");
            ensure(root.as_fd(), &CString::new(path).expect("no NUL"), leaf)
        }
    }

    #[test]
    fn makes_what_is_missing() {
        let root = Rootfs::new();
        root.ensure("/a/b/c", Leaf::Directory).expect("directories");
        root.ensure("a/b/file", Leaf::File).expect("a file");
        root.ensure("//a//b//file2", Leaf::File).expect("a file behind double slashes");
        assert!(root.path().join("a/b/c").is_dir());
        assert!(root.path().join("a/b/file").is_file());
        assert!(root.path().join("a/b/file2").is_file());
    }

    #[test]
    fn links_never_leave_the_root() {
        let (root, outside) = (Rootfs::new(), Rootfs::new());
        symlink(outside.path(), root.path().join("absolute")).expect("a link");
        symlink("../../../../../../etc", root.path().join("relative")).expect("a link");
        root.ensure("/absolute/x", Leaf::Directory).expect("made inside");
        root.ensure("/relative/x", Leaf::Directory).expect("made inside");
        assert_eq!(std::fs::read_dir(outside.path()).expect("a directory").count(), 0);
        assert!(root.path().join("etc/x").is_dir());
        assert!(root.path().join(outside.path().strip_prefix("/").expect("absolute")).join("x").is_dir());
    }

    #[test]
    fn a_link_to_something_missing_is_followed() {
        let root = Rootfs::new();
        std::fs::create_dir(root.path().join("var")).expect("a directory");
        symlink("/run", root.path().join("var/run")).expect("a link");
        root.ensure("/var/run/secrets/token", Leaf::File).expect("made behind the link");
        assert!(root.path().join("run/secrets/token").is_file());
    }

    #[test]
    fn loops_and_obstacles_are_errors() {
        let root = Rootfs::new();
        symlink("b", root.path().join("a")).expect("a link");
        symlink("a", root.path().join("b")).expect("a link");
        std::fs::write(root.path().join("file"), "").expect("a file");
        assert_eq!(root.ensure("/a/x", Leaf::Directory).unwrap_err(), Errno::ELOOP);
        assert_eq!(root.ensure("/file/x", Leaf::Directory).unwrap_err(), Errno::ENOTDIR);
        let long = "x".repeat(5000);
        assert_eq!(root.ensure(&long, Leaf::File).unwrap_err(), Errno::ENAMETOOLONG);
    }

    #[test]
    fn plain_paths_have_no_links() {
        let root = Rootfs::new();
        symlink("tmp", root.path().join("proc")).expect("a link");
        std::fs::create_dir(root.path().join("tmp")).expect("a directory");
        let dir = std::fs::File::open(root.path()).expect("the root");
        assert_eq!(open_plain(dir.as_fd(), c"proc", libc::O_PATH).unwrap_err(), Errno::ELOOP);
        assert!(open_plain(dir.as_fd(), c"tmp", libc::O_PATH).is_ok());
    }

    #[test]
    fn parents_are_made() {
        let root = Rootfs::new();
        let dir = std::fs::File::open(root.path()).expect("the root");
        let (_, at) = ensure_parent(dir.as_fd(), c"net/tun").expect("the parent");
        assert_eq!(at, 4);
        assert!(root.path().join("net").is_dir());
        assert_eq!(ensure_parent(dir.as_fd(), c"null").expect("the root itself").1, 0);
    }
}
