//! Goes the way of a path of the host, by descriptor: nothing on it is looked up twice, so that what is judged is what
//! was walked.
#![forbid(unsafe_code)]

use crate::plan::op::Identity;
use crate::sys::fd;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// Of procfs, from `linux/magic.h`.
pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// Of a directory that a daemon mounts something on when it is entered.
const AUTOFS_SUPER_MAGIC: i64 = 0x0187;

/// A link on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is, without links.
    pub at: PathBuf,
    /// Where it leads, without links.
    pub to: PathBuf,
    /// No earlier run can have put it there.
    pub of_system: bool,
}

/// A path that was walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// Without links; what is not there is as it was typed.
    pub path: PathBuf,
    /// In the order in which they were met.
    pub links: Vec<Link>,
    /// What is there.
    pub found: Option<Found>,
}

/// What is at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which one it is.
    pub identity: Identity,
    /// Its type, `S_IFMT` of its mode.
    pub kind: u32,
    /// The type of its file system.
    pub magic: i64,
}

impl Found {
    /// A directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == libc::S_IFDIR
    }
}

/// A directory on the way, as far as links in it are judged by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Its owner.
    pub owner: u32,
    /// Its permissions.
    pub mode: u32,
}

/// Directories of the system's own: whoever else owns nothing there, and no project is in them.
const OF_SYSTEM: &[&str] =
    &["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/sys", "/nix/store", "/gnu/store"];
/// Below them, what administrators work in.
const NOT_OF_SYSTEM: &[&str] = &["/usr/local", "/usr/src"];
/// What everybody's programs write to, whoever owns it.
const FOR_ALL: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run/user", "/run/lock"];

/// Whether no earlier run can have written to a directory, by the directories from the root to it.
///
/// An ordinary user's program can have written only where that user may. Root's may have been granted anything of
/// root's, so that the owner says nothing: what counts is that nobody works there.
#[must_use]
pub fn is_of_system(directory: &Path, passed: &[Passed], uid: u32, homes: &[PathBuf], working: &Path) -> bool {
    let closed = passed.iter().all(|each| each.owner == 0 && each.mode & 0o022 == 0);
    let below = |places: &[&str]| places.iter().any(|place| directory.starts_with(place));
    let in_home = homes.iter().any(|home| directory.starts_with(home));
    let in_project = working.parent().is_some() && directory.starts_with(working);
    if !closed || in_home || in_project || below(FOR_ALL) {
        return false;
    }
    // Of these two themselves, not of all below: /lib and /var/run are links.
    let top = matches!(directory.to_str(), Some("/" | "/var"));
    uid != 0 || top || (below(OF_SYSTEM) && !below(NOT_OF_SYSTEM))
}

/// Where paths begin, and what tells the system's links from others.
#[derive(Debug)]
pub struct Walker {
    /// The working directory as the kernel has it, without links.
    working: PathBuf,
    /// Of people.
    homes: Vec<PathBuf>,
    uid: u32,
}

/// A directory on the way, open.
struct Step {
    name: OsString,
    fd: OwnedFd,
    passed: Passed,
}

/// What is still to be gone.
enum Next {
    Root,
    Up,
    Name(OsString),
    /// The target of this link has been reached.
    Led(usize),
}

impl Walker {
    /// # Errors
    /// When the working directory is gone, or was replaced by another.
    pub fn new(homes: Vec<PathBuf>, uid: u32) -> io::Result<Self> {
        let working = std::env::current_dir()?;
        let walker = Self { working, homes, uid };
        let here = fd::stat_at(fd::CWD, c".", 0)?;
        let way = walker.walk(&walker.working)?;
        match way.found {
            Some(found) if found.identity == Identity::of(&here) && way.links.is_empty() => Ok(walker),
            _ => Err(io::Error::other("it was moved meanwhile")),
        }
    }

    /// For absolute paths alone, and a caller whose homes do not matter.
    #[must_use]
    pub fn from_root(uid: u32) -> Self {
        Self { working: PathBuf::from("/"), homes: Vec::new(), uid }
    }

    /// Goes to the end of a path, or as far as there is something.
    ///
    /// # Errors
    /// When what is there cannot be passed or looked at, there are too many links, or a link is one of /proc's.
    pub fn walk(&self, path: &Path) -> io::Result<Walked> {
        let mut ahead: VecDeque<Next> = steps(Path::new("/")).chain(steps(&self.working)).chain(steps(path)).collect();
        let mut way = Way { steps: vec![Step::root()?], end: None, missing: Vec::new() };
        let mut links: Vec<Link> = Vec::new();
        while let Some(next) = ahead.pop_front() {
            match next {
                Next::Root => way = Way { steps: vec![Step::root()?], end: None, missing: Vec::new() },
                Next::Up => way.up()?,
                Next::Led(at) => links[at].to = way.path(),
                Next::Name(name) => {
                    if let Some(target) = way.down(&name)? {
                        if links.len() == MOST_LINKS {
                            return Err(Errno::ELOOP.into());
                        }
                        let at = way.path();
                        let passed: Vec<_> = way.steps.iter().map(|step| step.passed).collect();
                        let of_system = is_of_system(&at, &passed, self.uid, &self.homes, &self.working);
                        links.push(Link { at: at.join(&name), to: PathBuf::new(), of_system });
                        ahead.push_front(Next::Led(links.len() - 1));
                        let target: Vec<Next> = steps(Path::new(&target)).collect();
                        target.into_iter().rev().for_each(|step| ahead.push_front(step));
                    }
                }
            }
        }
        let found = way.found()?;
        Ok(Walked { path: way.path(), links, found })
    }
}

fn steps(path: &Path) -> impl Iterator<Item = Next> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Next::Root),
        Component::ParentDir => Some(Next::Up),
        Component::Normal(name) => Some(Next::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

impl Step {
    fn root() -> io::Result<Self> {
        Ok(Self::new(OsString::new(), fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?)?)
    }

    fn new(name: OsString, fd: OwnedFd) -> nix::Result<Self> {
        let stat = fd::stat(fd.as_fd())?;
        Ok(Self { name, fd, passed: Passed { owner: stat.st_uid, mode: stat.st_mode } })
    }
}

/// How far we are.
struct Way {
    /// Directories, the root first.
    steps: Vec<Step>,
    /// What is at the end and no directory.
    end: Option<(OsString, OwnedFd)>,
    /// Names below, where nothing is.
    missing: Vec<OsString>,
}

impl Way {
    fn path(&self) -> PathBuf {
        let directories = self.steps.iter().skip(1).map(|step| &step.name);
        let names = directories.chain(self.end.iter().map(|(name, _)| name)).chain(&self.missing);
        names.fold(PathBuf::from("/"), |path, name| path.join(name))
    }

    fn up(&mut self) -> io::Result<()> {
        if self.missing.pop().is_some() {
            return Ok(());
        }
        if self.end.is_some() {
            return Err(Errno::ENOTDIR.into());
        }
        // Above the root is the root.
        if self.steps.len() > 1 {
            self.steps.pop();
        }
        Ok(())
    }

    /// One name further; the target if it is a link, and then we are where we were.
    fn down(&mut self, name: &OsStr) -> io::Result<Option<OsString>> {
        if self.end.is_some() {
            return Err(Errno::ENOTDIR.into());
        }
        let Some(directory) = self.steps.last().filter(|_| self.missing.is_empty()) else {
            self.missing.push(name.to_owned());
            return Ok(None);
        };
        let text = CString::new(name.as_bytes())?;
        let found = match fd::open(directory.fd.as_fd(), &text, libc::O_PATH | libc::O_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT) => {
                self.missing.push(name.to_owned());
                return Ok(None);
            }
            Err(errno) => return Err(errno.into()),
        };
        let found = match fd::super_magic(found.as_fd())? {
            // Only who asks for a directory has it mounted (open(2), O_PATH).
            AUTOFS_SUPER_MAGIC => {
                fd::open(directory.fd.as_fd(), &text, libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY)?
            }
            _ => found,
        };
        let stat = fd::stat(found.as_fd())?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => self.steps.push(Step::new(name.to_owned(), found)?),
            libc::S_IFLNK if fd::super_magic(found.as_fd())? == PROC_SUPER_MAGIC => {
                return Err(io::Error::other("links of /proc lead to whatever a process has open"));
            }
            // The target of the very link that was looked at.
            libc::S_IFLNK => return Ok(Some(nix::fcntl::readlinkat(&found, "")?)),
            _ => self.end = Some((name.to_owned(), found)),
        }
        Ok(None)
    }

    fn found(&self) -> io::Result<Option<Found>> {
        if !self.missing.is_empty() {
            return Ok(None);
        }
        let Some(fd) = self.end.as_ref().map(|(_, fd)| fd).or(self.steps.last().map(|step| &step.fd)) else {
            return Ok(None);
        };
        let stat = fd::stat(fd.as_fd())?;
        let magic = fd::super_magic(fd.as_fd())?;
        Ok(Some(Found { identity: Identity::of(&stat), kind: stat.st_mode & libc::S_IFMT, magic }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const HOME: &str = "/home/ann";

    #[test]
    fn links_of_the_system_are_where_no_run_can_write() {
        let root = |mode| Passed { owner: 0, mode };
        let homes = [PathBuf::from(HOME)];
        let of_system = |directory: &str, passed: &[Passed], uid| {
            is_of_system(Path::new(directory), passed, uid, &homes, Path::new("/home/ann/project"))
        };
        for directory in ["/", "/var", "/etc/alternatives", "/usr/lib/x"] {
            for uid in [0, 1000] {
                assert!(of_system(directory, &[root(0o755)], uid), "{directory}");
                assert!(!of_system(directory, &[root(0o755), root(0o1777)], uid), "{directory}");
                assert!(!of_system(directory, &[root(0o775), root(0o755)], uid), "{directory}");
                assert!(!of_system(directory, &[Passed { owner: 1000, mode: 0o755 }], uid), "{directory}");
            }
        }
        // Root's own may have been granted to an earlier run of root's.
        for directory in ["/srv/app", "/opt", "/var/lib/x", "/usr/local/bin", "/run"] {
            assert!(of_system(directory, &[root(0o755)], 1000), "{directory}");
            assert!(!of_system(directory, &[root(0o755)], 0), "{directory}");
        }
        for directory in ["/home/ann", "/home/ann/project/sub", "/tmp", "/dev/shm/x", "/run/user/1000"] {
            assert!(!of_system(directory, &[root(0o755)], 1000), "{directory}");
        }
        assert!(is_of_system(Path::new("/etc"), &[root(0o755)], 0, &homes, Path::new("/")), "from the root");
        assert!(!is_of_system(Path::new("/etc"), &[root(0o755)], 0, &homes, Path::new("/etc")), "worked in");
    }

    fn walker() -> Walker {
        Walker::new(Vec::new(), 1000).expect("a working directory")
    }

    #[test]
    fn the_way_is_remembered() {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("a")).expect("a directory");
        std::fs::create_dir(at("a/b")).expect("a directory");
        std::fs::write(at("a/file"), "x").expect("a file");
        symlink("a/b", at("one")).expect("a link");
        symlink("../one/..", at("a/two")).expect("a link");
        symlink(at("nothing"), at("three")).expect("a link");
        let walked = walker().walk(&at("a/two/file")).expect("a way");
        assert_eq!(walked.path, at("a/file"));
        let links: Vec<_> =
            walked.links.iter().map(|link| (link.at.clone(), link.to.clone(), link.of_system)).collect();
        assert_eq!(links, [(at("a/two"), at("a"), false), (at("one"), at("a/b"), false)]);
        assert!(walked.found.is_some_and(|found| !found.is_directory()));
        let missing = walker().walk(&at("three/x/../y")).expect("a way");
        assert_eq!((missing.path, missing.found), (at("nothing/y"), None));
        assert_eq!(missing.links[0].to, at("nothing"));
    }

    #[test]
    fn what_cannot_be_gone_is_an_error() {
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        let at = |name: &str| dir.path().join(name);
        symlink("round", at("round")).expect("a link");
        std::fs::write(at("file"), "x").expect("a file");
        for path in [at("round"), at("file/x"), at("file/.."), PathBuf::from("/proc/self/cwd")] {
            walker().walk(&path).expect_err(&path.display().to_string());
        }
    }

    #[test]
    fn relative_paths_begin_at_the_working_directory() {
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(walker().walk(Path::new("src/..")).expect("a way").path, here);
        assert_eq!(walker().walk(Path::new("/../../usr")).expect("a way").path, Path::new("/usr"));
    }
}
