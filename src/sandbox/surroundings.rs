//! What a sandbox depends on besides its flags: the caller, the directory, the environment, what there is on the host. Probed once,
//! then plain data, so that tests use fixtures.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::hidden::{self, Hidden, HostMount};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// The host as a sandbox's configuration depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The caller's effective uid.
    pub uid: u32,
    /// The caller's effective gid.
    pub gid: u32,
    /// The caller is root of the machine: with all rights, and in no user namespace.
    pub is_root: bool,
    /// The working directory, without links.
    pub directory: PathBuf,
    /// The caller's home, without links; nothing when there is none.
    pub home: Option<PathBuf>,
    /// Every home of the caller's: the one above, and that of passwd(5).
    pub own_homes: Vec<PathBuf>,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What is hidden and exists.
    pub hidden: Vec<Hidden>,
    /// Homes of others, without links.
    pub other_homes: Vec<PathBuf>,
    /// Directories that let nobody but their owner pass, among those above what root grants; from the top down.
    pub closed: Vec<Closed>,
    /// The mounts of the host.
    pub mounts: Vec<HostMount>,
    /// `/etc/resolv.conf` without links.
    pub resolv_conf: Option<PathBuf>,
    /// Directories below `/run` without which nothing runs on some distributions.
    pub run_directories: Vec<PathBuf>,
    /// Directories of their own (no links) that every sandbox replaces, as far as there are any.
    pub private: Vec<PathBuf>,
    /// Whether the kernel has time namespaces.
    pub time_namespaces: bool,
    /// Whether standard input and output are terminals, and so the program gets one of its own.
    pub terminal: bool,
    /// How many processors there are.
    pub processors: u32,
}

/// A directory through which a stranger cannot go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    /// Without links.
    pub path: PathBuf,
    /// Root's own: the program goes through where it is mapped.
    pub of_root: bool,
}

/// What could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The working directory.
    #[error("cannot find the working directory: {0}")]
    Directory(#[source] io::Error),
    /// A file that the rest depends on.
    #[error("cannot read {}: {source}", crate::spelling::shown(path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl crate::report::Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(_) => Some("go to a directory that exists".into()),
            Self::Read { .. } => None,
        }
    }
}

/// Below `/run`: NixOS and Guix have their programs there, and their drivers.
const RUN_DIRECTORIES: &[&str] =
    &["/run/current-system", "/run/wrappers", "/run/opengl-driver", "/run/opengl-driver-32", "/run/booted-system"];

/// Replaced by empty directories in every sandbox.
pub(super) const PRIVATE: &[&str] = &["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];

impl Surroundings {
    /// Directories above `path` through which a stranger cannot go, from the top down.
    pub(super) fn closed_directories(&self, path: &Path) -> impl Iterator<Item = &Closed> {
        self.closed.iter().filter(move |closed| path.starts_with(&closed.path) && path != closed.path)
    }

    /// Whether it is root's caller whose program, a stranger, cannot look into a directory.
    pub(super) fn lets_no_stranger_in(&self, directory: &Path) -> bool {
        self.closed.iter().any(|closed| closed.path == directory)
    }

    /// Finds out about the caller and the host.
    ///
    /// # Errors
    /// When the working directory is gone, or /proc cannot be read.
    pub fn probe(is_root: bool) -> Result<Self, Error> {
        let uid = nix::unistd::geteuid().as_raw();
        let directory = std::env::current_dir().and_then(fs::canonicalize).map_err(Error::Directory)?;
        let environment: Vec<_> = std::env::vars_os().collect();
        let users = users(&passwd()?);
        let named = environment.iter().find(|(name, _)| name == "HOME").map(|(_, value)| PathBuf::from(value));
        let home = named.filter(|home| home.is_absolute());
        let home = home.or_else(|| users.iter().find(|user| user.uid == uid).map(|user| user.home.clone()));
        let real = |home: &Path| fs::canonicalize(home).ok().filter(|home| home.parent().is_some() && home.is_dir());
        let home = home.and_then(|home| real(&home));
        let of_passwd = users.iter().filter(|user| user.uid == uid).filter_map(|user| real(&user.home));
        let own_homes: BTreeSet<PathBuf> = of_passwd.chain(home.clone()).collect();
        let other_homes = other_homes(&users, uid, home.as_deref());
        let mounts = hidden::parse_mounts(&read("/proc/self/mountinfo")?);
        let mut homes: Vec<PathBuf> = other_homes.iter().chain(&home).cloned().collect();
        homes.extend(users.iter().filter(|user| user.uid == uid).map(|user| user.home.clone()));
        let hidden = find_hidden(&homes, &environment, &mounts);
        let above = home.iter().chain([&directory]).flat_map(|path| path.ancestors());
        let closed: BTreeSet<Closed> = above.filter_map(closed).collect();
        Ok(Self {
            uid,
            gid: nix::unistd::getegid().as_raw(),
            is_root,
            closed: if is_root { closed.into_iter().collect() } else { Vec::new() },
            directory,
            home,
            own_homes: own_homes.into_iter().collect(),
            hidden,
            other_homes,
            mounts,
            resolv_conf: fs::canonicalize("/etc/resolv.conf").ok(),
            run_directories: existing(RUN_DIRECTORIES),
            private: existing(PRIVATE),
            time_namespaces: fs::symlink_metadata("/proc/self/ns/time").is_ok(),
            terminal: {
                use std::io::IsTerminal as _;
                io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
            },
            processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            environment,
        })
    }
}

impl Surroundings {
    /// Looks at the directories above what root grants.
    pub fn look_above<'p>(&mut self, granted: impl IntoIterator<Item = &'p Path>) {
        if self.is_root {
            let known = std::mem::take(&mut self.closed);
            let above = granted.into_iter().flat_map(Path::ancestors).filter_map(closed);
            let all: BTreeSet<Closed> = known.into_iter().chain(above).collect();
            self.closed = all.into_iter().collect();
        }
    }
}

/// A directory whose permissions for others do not let one go through.
fn closed(path: &Path) -> Option<Closed> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path).ok().filter(|found| found.mode() & 0o001 == 0)?;
    Some(Closed { path: path.to_owned(), of_root: found.uid() == 0 })
}

fn read(path: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// A machine without passwd(5) has no other people; one whose table cannot be read may have.
fn passwd() -> Result<Vec<u8>, Error> {
    match fs::read("/etc/passwd") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| Error::Read { path: "/etc/passwd".into(), source }),
    }
}

fn existing(paths: &[&str]) -> Vec<PathBuf> {
    paths
        .iter()
        .map(PathBuf::from)
        .filter(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()))
        .collect()
}

/// A line of passwd(5).
struct User {
    uid: u32,
    home: PathBuf,
}

/// Every line by itself: one that is no text takes nothing from the others, and a home is any bytes.
fn users(passwd: &[u8]) -> Vec<User> {
    let lines = passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let uid = std::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
        Some(User { uid, home: OsStr::from_bytes(fields.nth(2)?).into() })
    });
    lines.collect()
}

/// The homes of people: of passwd(5) from uid 1000 on, root's, and everything in /home. Not those that are the caller's own or
/// above it, nor parts of the system (services have homes such as `/` and `/usr/sbin`).
fn other_homes(users: &[User], uid: u32, own: Option<&Path>) -> Vec<PathBuf> {
    const PEOPLE: std::ops::Range<u32> = 1000..60_000;
    let of_people = users.iter().filter(|user| user.uid != uid && (PEOPLE.contains(&user.uid) || user.uid == 0));
    let mut paths: Vec<PathBuf> = of_people.map(|user| user.home.clone()).collect();
    let entries = fs::read_dir("/home").into_iter().flatten().flatten();
    paths.extend(entries.map(|entry| entry.path()));
    if uid != 0 {
        paths.push("/root".into());
    }
    let system = ["/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/sys", "/dev", "/run", "/tmp", "/boot"];
    let real: BTreeSet<PathBuf> = paths
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| path.components().count() > 1 && path.is_dir())
        .filter(|path| !system.iter().any(|root| path.starts_with(root)))
        .filter(|path| !own.is_some_and(|own| own.starts_with(path)))
        .filter(|path| !matches!(path.to_str(), Some("/home" | "/var" | "/opt" | "/srv" | "/mnt" | "/media")))
        .collect();
    real.into_iter().collect()
}

/// What there is of all that is to be hidden. What the caller may not reach, the program cannot either.
fn find_hidden(homes: &[PathBuf], environment: &[(OsString, OsString)], mounts: &[HostMount]) -> Vec<Hidden> {
    let mut paths = hidden::candidates(homes, environment);
    let (directory, is_key) = hidden::host_keys();
    let keys = fs::read_dir(directory).into_iter().flatten().flatten();
    paths.extend(keys.filter(|entry| entry.file_name().to_str().is_some_and(is_key)).map(|entry| entry.path()));
    let mut found: Vec<Hidden> = paths.iter().filter_map(|path| exists(path)).collect();
    let is_socket = |path: &Path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    found.extend(sockets().iter().filter(|path| is_socket(path)).filter_map(|path| exists(path)));
    // A second view of the host's processes (in a chroot, say), and through it of all their files.
    let views = mounts.iter().filter(|mount| mount.kind == "proc" && !mount.point.starts_with("/proc"));
    found.extend(views.filter_map(|mount| exists(&mount.point)));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    found
}

/// Where sockets may be that somebody listens at: in the caller's network namespace and in those of the processes that it may look at.
/// Those with relative names are looked for where any of these processes is.
fn sockets() -> BTreeSet<PathBuf> {
    let listening = |table: PathBuf| hidden::listening_sockets(&fs::read(table).unwrap_or_default());
    let is_process = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes: Vec<PathBuf> = all.filter(|path| is_process(path)).collect();
    let mut seen: BTreeSet<PathBuf> = fs::read_link("/proc/self/ns/net").into_iter().collect();
    let mut names = listening("/proc/self/net/unix".into());
    for process in &processes {
        if fs::read_link(process.join("ns/net")).is_ok_and(|network| seen.insert(network)) {
            names.extend(listening(process.join("net/unix")));
        }
    }
    let (mut found, relative): (BTreeSet<_>, BTreeSet<_>) = names.into_iter().partition(|name| name.is_absolute());
    if !relative.is_empty() {
        let directories: BTreeSet<PathBuf> =
            processes.iter().filter_map(|process| fs::read_link(process.join("cwd")).ok()).collect();
        found.extend(directories.iter().flat_map(|directory| relative.iter().map(|name| directory.join(name))));
    }
    found
}

fn exists(path: &Path) -> Option<Hidden> {
    let path = fs::canonicalize(path).ok()?;
    let directory = path.is_dir();
    path.parent().is_some().then_some(Hidden { path, directory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_passwd() {
        let table = b"root:x:0:0:root:/root:/bin/sh\nzoe:x:1001:1001:Zo\xeb:/home/zo\xeb:/bin/sh\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nbroken:x\n";
        let users = users(table);
        let seen: Vec<_> = users.iter().map(|user| (user.uid, user.home.as_os_str().as_bytes())).collect();
        assert_eq!(seen, [(0, &b"/root"[..]), (1001, b"/home/zo\xeb"), (1000, b"/home/ann")]);
    }
}
