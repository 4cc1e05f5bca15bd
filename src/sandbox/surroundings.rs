//! What a sandbox depends on besides its flags: the caller, the directory, the environment, what there is on the host. Probed once,
//! then plain data, so that tests use fixtures.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::hidden::{self, Caller, Finder, Hidden, HostMount, Known};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
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
    /// The caller's environment, as far as it is UTF-8.
    pub environment: Vec<(String, String)>,
    /// What is hidden and exists.
    pub hidden: Vec<Hidden>,
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
    #[error("cannot read {}: {source}", path.display())]
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

    /// Finds out about the caller and the host.
    ///
    /// # Errors
    /// When the working directory is gone, or /proc cannot be read.
    pub fn probe(is_root: bool, granted: &[PathBuf]) -> Result<Self, Error> {
        let uid = nix::unistd::geteuid().as_raw();
        let directory = std::env::current_dir().and_then(fs::canonicalize).map_err(Error::Directory)?;
        let environment: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let users = users(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        let named = environment.iter().find(|(name, _)| name == "HOME").map(|(_, value)| PathBuf::from(value));
        let home = named.filter(|home| home.is_absolute());
        let home = home.or_else(|| users.iter().find(|user| user.uid == uid).map(|user| user.home.clone()));
        let home = home.and_then(|home| fs::canonicalize(home).ok()).filter(|home| home.parent().is_some());
        let other_homes = other_homes(&users, uid, home.as_deref());
        let mut mounts = hidden::parse_mounts(&read("/proc/self/mountinfo")?);
        hidden::resolve_layers(&mut mounts);
        let of_passwd =
            users.iter().filter(|user| user.uid == uid).filter_map(|user| fs::canonicalize(&user.home).ok());
        let mut homes: Vec<PathBuf> = home.iter().cloned().chain(of_passwd).filter(|home| is_a_home(home)).collect();
        homes.dedup();
        let private = existing(PRIVATE);
        let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let caller = Caller {
            is_root,
            other_homes: &other_homes,
            environment: &variables,
            directory: &directory,
            mounts: &mounts,
            private: &private,
        };
        let mut finder = Finder::new(caller, &[], Known { homes, ..Known::default() });
        finder.of_caller();
        let (hidden, known) = finder.finish();
        let above = granted.iter().chain(&home).chain([&directory]).flat_map(|path| path.ancestors());
        let closed: BTreeSet<Closed> = above.filter_map(closed).collect();
        Ok(Self {
            name: own_name(),
            uid,
            gid: nix::unistd::getegid().as_raw(),
            is_root,
            closed: if is_root { closed.into_iter().collect() } else { Vec::new() },
            directory,
            home,
            hidden,
            known,
            other_homes,
            mounts,
            resolv_conf: fs::canonicalize("/etc/resolv.conf").ok(),
            run_directories: existing(RUN_DIRECTORIES),
            private,
            time_namespaces: fs::symlink_metadata("/proc/self/ns/time").is_ok(),
            terminal: {
                use std::io::IsTerminal as _;
                io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
            },
            processors: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            environment,
        })
    }

    /// Looks for what is hidden in the trees that the program works in, and for the sockets of services, once it is known what is granted
    /// of the host.
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
        (self.hidden, self.known) = finder.finish();
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

/// A directory whose permissions for others do not let one go through.
fn closed(path: &Path) -> Option<Closed> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path).ok().filter(|found| found.mode() & 0o001 == 0)?;
    Some(Closed { path: path.to_owned(), of_root: found.uid() == 0 })
}

fn read(path: &str) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
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

fn users(passwd: &str) -> Vec<User> {
    let lines = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let uid = fields.nth(2)?.parse().ok()?;
        Some(User { uid, home: fields.nth(2)?.into() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_passwd() {
        let users = users("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nbroken:x\n");
        let seen: Vec<_> = users.iter().map(|user| (user.uid, user.home.to_str())).collect();
        assert_eq!(seen, [(0, Some("/root")), (1000, Some("/home/ann"))]);
    }
}
