//! What a sandbox depends on besides its flags: the caller, the directory, the environment, what there is on the host. Probed once,
//! then plain data, so that tests use fixtures.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::absent::believe;
use super::hidden::{self, Caller, Finder, Hidden, HostMount, Known};
use super::own;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The host as a sandbox's configuration depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The name of the machine.
    pub name: OsString,
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
    /// Where pent's own files are ([`super::own`]); whoever probes them makes some of them.
    pub own: Vec<own::Place>,
    /// What else was found out of it.
    pub known: Known,
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
    /// Where those of them lead that are links on this host, as far as every sandbox may replace that too.
    pub private_links: Vec<PathBuf>,
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
    /// The sockets that somebody listens at.
    #[error("cannot find out about the sockets of the host: {0}")]
    Sockets(#[source] io::Error),
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
            Self::Read { .. } | Self::Sockets(_) => None,
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
        let home = home.map(|home| real_directory(&home)).transpose()?.flatten();
        let of_passwd = users.iter().filter(|user| user.uid == uid).map(|user| real_directory(&user.home));
        let of_passwd = of_passwd.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten();
        let own_homes: BTreeSet<PathBuf> = of_passwd.chain(home.clone()).collect();
        let other_homes = other_homes(&users, uid, home.as_deref())?;
        let mut mounts = hidden::parse_mounts(&read("/proc/self/mountinfo")?);
        hidden::resolve_layers(&mut mounts);
        let mut homes: Vec<PathBuf> = home.iter().chain(&own_homes).filter(|home| is_a_home(home)).cloned().collect();
        homes.dedup();
        let private = existing(PRIVATE)?;
        let kept_from_links: Vec<PathBuf> = home.iter().chain(&own_homes).chain(&other_homes).cloned().collect();
        let caller = Caller {
            is_root,
            other_homes: &other_homes,
            environment: &environment,
            directory: &directory,
            mounts: &mounts,
            private: &private,
        };
        let mut finder = Finder::new(caller, &[], Known { homes, ..Known::default() });
        finder.of_caller();
        let (hidden, known) = finder.finish()?;
        let above = home.iter().chain([&directory]).flat_map(|path| path.ancestors());
        let closed = above.filter_map(|path| closed(path).transpose()).collect::<Result<BTreeSet<Closed>, Error>>()?;
        Ok(Self {
            name: own_name(),
            uid,
            gid: nix::unistd::getegid().as_raw(),
            is_root,
            closed: if is_root { closed.into_iter().collect() } else { Vec::new() },
            directory,
            home,
            own_homes: own_homes.into_iter().collect(),
            hidden,
            known,
            own: Vec::new(),
            other_homes,
            mounts,
            resolv_conf: believe(Path::new("/etc/resolv.conf"), fs::canonicalize("/etc/resolv.conf"))?,
            run_directories: existing(RUN_DIRECTORIES)?,
            private_links: private_links(&private, &kept_from_links)?,
            private,
            time_namespaces: believe(Path::new("/proc/self/ns/time"), fs::symlink_metadata("/proc/self/ns/time"))?
                .is_some(),
            terminal: {
                use std::io::IsTerminal as _;
                io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
            },
            processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            environment,
        })
    }

    /// Looks for what is hidden in the trees that the program works in, and for the sockets of services, once it is
    /// known what is granted of the host.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub fn look_into(&mut self, granted: &[PathBuf]) -> Result<(), Error> {
        let caller = Caller {
            is_root: self.is_root,
            other_homes: &self.other_homes,
            environment: &[],
            directory: &self.directory,
            mounts: &self.mounts,
            private: &self.private,
        };
        let mut finder = Finder::new(caller, &self.hidden, std::mem::take(&mut self.known));
        finder.of_trees(granted);
        finder.of_services(granted).map_err(Error::Sockets)?;
        (self.hidden, self.known) = finder.finish()?;
        Ok(())
    }
}

/// As it is at the beginning of a network file system's source.
fn own_name() -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    OsString::from_vec(fs::read("/proc/sys/kernel/hostname").unwrap_or_default().trim_ascii().to_ascii_lowercase())
}

/// Not where the kernel's files are, or everybody's: what is called a home there is none.
fn is_a_home(path: &Path) -> bool {
    path.parent().is_some() && !PRIVATE.iter().any(|private| path == Path::new(private)) && !hidden::is_of_system(path)
}

impl Surroundings {
    /// Looks at the directories above what root grants.
    ///
    /// # Errors
    /// When one cannot be looked at.
    pub fn look_above<'p>(&mut self, granted: impl IntoIterator<Item = &'p Path>) -> Result<(), Error> {
        if self.is_root {
            let mut all: BTreeSet<Closed> = std::mem::take(&mut self.closed).into_iter().collect();
            for path in granted.into_iter().flat_map(Path::ancestors) {
                all.extend(closed(path)?);
            }
            self.closed = all.into_iter().collect();
        }
        Ok(())
    }
}

/// A directory whose permissions for others do not let one go through.
fn closed(path: &Path) -> Result<Option<Closed>, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let found = believe(path, fs::metadata(path))?.filter(|found| found.mode() & 0o001 == 0);
    Ok(found.map(|found| Closed { path: path.to_owned(), of_root: found.uid() == 0 }))
}

/// The paths of what is in a directory; nothing where there is none.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let Some(entries) = believe(directory, fs::read_dir(directory))? else { return Ok(Vec::new()) };
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(|source| Error::Read { path: directory.to_owned(), source })
}

fn read(path: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// A machine without passwd(5) has no other people; one whose table cannot be read may have.
pub(super) fn passwd() -> Result<Vec<u8>, Error> {
    match fs::read("/etc/passwd") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| Error::Read { path: "/etc/passwd".into(), source }),
    }
}

fn existing(paths: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let directory = |path: &&str| {
        let found = believe(Path::new(path), fs::symlink_metadata(path))?;
        Ok(found.filter(|found| found.is_dir()).map(|_| PathBuf::from(path)))
    };
    paths.iter().filter_map(|path| directory(path).transpose()).collect()
}

/// Where the host's temporary directories lead that are links: `/tmp -> /scratch/tmp`. Not to what a sandbox has of its own
/// anyway, and not to a part of the system or to a home, or above one: those are not temporary, whatever links there.
fn private_links(private: &[PathBuf], homes: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    for path in ["/tmp", "/var/tmp"].map(Path::new) {
        let is_link = believe(path, fs::symlink_metadata(path))?.is_some_and(|about| about.is_symlink());
        let Some(place) = real_directory(path)?.filter(|_| is_link) else { continue };
        let is_own = private.iter().any(|own| place.starts_with(own) || own.starts_with(&place));
        let is_home = homes.iter().any(|home| home.starts_with(&place));
        if !is_own && !is_home && !hidden::is_of_system(&place) {
            found.insert(place);
        }
    }
    Ok(found.into_iter().collect())
}

/// A line of passwd(5).
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) home: PathBuf,
}

/// Every line by itself: one that is no text takes nothing from the others, and a home is any bytes.
pub(super) fn users(passwd: &[u8]) -> Vec<User> {
    let lines = passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let uid = std::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
        Some(User { uid, home: OsStr::from_bytes(fields.nth(2)?).into() })
    });
    lines.collect()
}

/// The homes of people: of passwd(5) from uid 1000 on, root's, and everything in /home. Not those that are the caller's own or
/// above it, nor parts of the system (services have homes such as `/` and `/usr/sbin`).
fn other_homes(users: &[User], uid: u32, own: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    const PEOPLE: std::ops::Range<u32> = 1000..60_000;
    let of_people = users.iter().filter(|user| user.uid != uid && (PEOPLE.contains(&user.uid) || user.uid == 0));
    let mut paths: Vec<PathBuf> = of_people.map(|user| user.home.clone()).collect();
    paths.extend(entries(Path::new("/home"))?);
    if uid != 0 {
        paths.push("/root".into());
    }
    let system = ["/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/sys", "/dev", "/run", "/tmp", "/boot"];
    let mut real = BTreeSet::new();
    for path in paths {
        let Some(path) = believe(&path, fs::canonicalize(&path))? else { continue };
        if believe(&path, fs::metadata(&path))?.is_some_and(|found| found.is_dir()) {
            real.insert(path);
        }
    }
    let homes = real
        .into_iter()
        .filter(|path| path.components().count() > 1)
        .filter(|path| !system.iter().any(|root| path.starts_with(root)))
        .filter(|path| !own.is_some_and(|own| own.starts_with(path)))
        .filter(|path| !matches!(path.to_str(), Some("/home" | "/var" | "/opt" | "/srv" | "/mnt" | "/media")));
    Ok(homes.collect())
}

fn exists(path: &Path) -> Result<Option<Hidden>, Error> {
    let Some(path) = believe(path, fs::canonicalize(path))? else { return Ok(None) };
    let directory = believe(&path, fs::metadata(&path))?.is_some_and(|found| found.is_dir());
    Ok(path.parent().is_some().then_some(Hidden { path, directory }))
}

/// A directory without links, and no root.
fn real_directory(path: &Path) -> Result<Option<PathBuf>, Error> {
    let found = exists(path)?.filter(|found| found.directory);
    Ok(found.map(|found| found.path))
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
