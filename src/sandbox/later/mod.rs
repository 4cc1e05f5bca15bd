//! Code that runs later, from what a program may write: git's hooks and configuration, settings of editors, agents,
//! shells and package managers.
//!
//! Before the start what there is of it is found ([`Before::look`]) and kept read-only, by mounts ([`Before::kept`]).
//! When the last process has ended, what was not there before is taken away, and named ([`Before::judge`]); nothing is
//! made on the host meanwhile. A new repository stays, with what is harmless of its configuration. Set-id bits that
//! appeared are taken off. docs/decisions tells why.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the caller's own tree; no container is near")]

mod after;
mod before;
mod finding;
mod git;
mod names;
mod walk;

pub use finding::{Action, Finding, Findings};

use crate::plan::Kept;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use walk::Id;

/// A directory or file that the program may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// On the host, without links.
    pub source: PathBuf,
    /// In the sandbox.
    pub target: PathBuf,
}

/// What else decides: the flags, and what covers parts of the roots.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `--rw`.
    pub roots: Vec<Root>,
    /// Mount points and masks, as the sandbox names them.
    pub covers: Vec<PathBuf>,
    /// Homes that may be in the roots.
    pub homes: Vec<PathBuf>,
    /// `--allow-later-code`.
    pub allow: Vec<OsString>,
}

/// `--allow-later-code`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Allow {
    all: bool,
    absolute: Vec<OsString>,
    /// The last parts of a path, as they are compared.
    ends: Vec<Vec<Vec<u8>>>,
}

impl Allow {
    fn new(given: &[OsString]) -> Self {
        let mut allow = Self::default();
        for name in given {
            let path = Path::new(name);
            if name == "all" {
                allow.all = true;
            } else if path.is_absolute() {
                allow.absolute.push(path.components().collect::<PathBuf>().into());
            } else {
                allow.ends.push(parts(path));
            }
        }
        allow
    }

    /// Whether a path below a root is meant, or something above it that is below the root.
    fn covers(&self, root: &Path, path: &Path) -> bool {
        if self.all {
            return true;
        }
        if self.absolute.is_empty() && self.ends.is_empty() {
            return false;
        }
        let Ok(below) = path.strip_prefix(root) else { return false };
        let below = parts(below);
        self.absolute.iter().any(|allowed| path.starts_with(allowed))
            || self.ends.iter().any(|end| !end.is_empty() && below.windows(end.len()).any(|window| window == end))
    }
}

fn parts(path: &Path) -> Vec<Vec<u8>> {
    let normal = path.components().filter_map(|part| match part {
        std::path::Component::Normal(part) => Some(names::fold(part.as_bytes()).into_owned()),
        _ => None,
    });
    normal.collect()
}

/// When something was changed, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Stamp {
    changed: (i64, i64),
    size: i64,
}

impl Stamp {
    fn of(found: &libc::stat) -> Self {
        Self { changed: (found.st_ctime, found.st_ctime_nsec), size: found.st_size }
    }
}

/// Something that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    id: Id,
    stamp: Stamp,
    /// It is on a read-only mount, and has no other name: nobody in the sandbox can have changed it.
    mounted: bool,
    /// When it was made, where the file system says so: another file may have the same number later.
    born: Option<SystemTime>,
}

impl Known {
    /// Whether it is the same, and what is in it is what it was, or somebody outside has changed it.
    fn is(&self, path: &Path, found: &libc::stat) -> bool {
        let may_differ = || self.mounted && has_one_name(found) && self.born == born(path);
        self.id == walk::id(found) && (self.stamp == Stamp::of(found) || may_differ())
    }
}

/// Directories have no other names.
fn has_one_name(found: &libc::stat) -> bool {
    found.st_mode & libc::S_IFMT == libc::S_IFDIR || found.st_nlink == 1
}

fn born(path: &Path) -> Option<SystemTime> {
    std::fs::symlink_metadata(path).and_then(|found| found.created()).ok()
}

/// A root as it was found.
#[derive(Debug)]
struct Found {
    root: Root,
    id: Id,
    /// Nothing for a file.
    directory: Option<OwnedFd>,
}

/// What there was before the program started.
#[derive(Debug, Default)]
pub struct Before {
    roots: Vec<Found>,
    known: HashMap<PathBuf, Known>,
    /// By what they are: for what was moved with a directory above it.
    moved: HashMap<Id, Known>,
    /// What the program cannot get at, as it is covered by something else: what it is, and the directory that it is in.
    covered: HashMap<PathBuf, (Id, Id)>,
    /// Places that an existing configuration or link leads to.
    led_to: Vec<PathBuf>,
    /// Texts of git's configurations.
    configs: HashMap<PathBuf, Vec<u8>>,
    homes: Vec<(PathBuf, Option<Id>)>,
    allow: Allow,
    /// When it began.
    since: (i64, i64),
    kept: Vec<Kept>,
    notes: Vec<String>,
    /// The first that could not be looked at.
    unseen: Option<Unseen>,
}

/// Something in what may be written to that cannot be looked at.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot look at {} for what runs later: {}", crate::spelling::shown(path), why.desc())]
pub struct Unseen {
    path: PathBuf,
    why: Errno,
}

impl crate::report::Hint for Unseen {
    fn hint(&self) -> Option<String> {
        Some("--rw needs to know what is there to be kept as it is: mend that, or give less".to_owned())
    }
}

impl Before {
    /// What is to be kept as it is, in the order in which it is to be mounted, as the sandbox names it.
    #[must_use]
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// What is not quite as asked.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether there is nothing that the program may write to.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    fn know(&mut self, path: PathBuf, found: &libc::stat, mounted: bool) {
        let mounted = mounted && has_one_name(found);
        let known = Known { id: walk::id(found), stamp: Stamp::of(found), mounted, born: born(&path) };
        self.moved.insert(known.id, known);
        self.known.insert(path, known);
    }

    fn is_same(&self, path: &Path, found: &libc::stat) -> bool {
        self.known.get(path).is_some_and(|known| known.is(path, found))
    }

    /// The same file under another path.
    fn is_moved(&self, path: &Path, found: &libc::stat) -> bool {
        self.moved.get(&walk::id(found)).is_some_and(|known| known.is(path, found))
    }

    fn is_home(&self, path: &Path, id: Id) -> bool {
        self.homes.iter().any(|(home, known)| home == path || *known == Some(id))
    }

    /// The root that a path is strictly below.
    fn root_above(&self, path: &Path) -> Option<&Root> {
        let above = self.roots.iter().map(|found| &found.root).filter(|root| path.starts_with(&root.source));
        above.max_by_key(|root| root.source.components().count()).filter(|root| root.source != path)
    }
}

/// An absolute path without `.`, `..` and repeated slashes, as if there were no links.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => clean.push(part),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// What of a [`Before`] is written down, for whoever cleans up after a sandbox whose starter was killed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    roots: Vec<(OsString, OsString, Id)>,
    known: Vec<(OsString, Known)>,
    covered: Vec<(OsString, (Id, Id))>,
    led_to: Vec<OsString>,
    configs: Vec<(OsString, Vec<u8>)>,
    homes: Vec<(OsString, Option<Id>)>,
    allow: Allow,
    since: (i64, i64),
}

impl Before {
    /// As it is kept beside a container's state.
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        fn pair<T: Clone>((path, value): (&PathBuf, &T)) -> (OsString, T) {
            (path.clone().into(), value.clone())
        }
        let root = |found: &Found| (found.root.source.clone().into(), found.root.target.clone().into(), found.id);
        let record = Record {
            roots: self.roots.iter().map(root).collect(),
            known: self.known.iter().map(pair).collect(),
            covered: self.covered.iter().map(pair).collect(),
            led_to: self.led_to.iter().map(|path| path.clone().into()).collect(),
            configs: self.configs.iter().map(pair).collect(),
            homes: self.homes.iter().map(|(path, id)| (path.clone().into(), *id)).collect(),
            allow: self.allow.clone(),
            since: self.since,
        };
        // Numbers and bytes always serialise.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// What [`Before::record`] wrote. A root that is not what it was any more is not looked at.
    ///
    /// # Errors
    /// When it is something else.
    pub fn restore(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let record: Record = serde_json::from_slice(bytes)?;
        let known: HashMap<PathBuf, Known> =
            record.known.into_iter().map(|(path, known)| (path.into(), known)).collect();
        let roots = record.roots.into_iter().map(|(source, target, id)| {
            let root = Root { source: source.into(), target: target.into() };
            let directory = walk::open_directory(&root.source).ok().filter(|found| before::id_of(found) == Some(id));
            Found { root, id, directory }
        });
        Ok(Self {
            roots: roots.collect(),
            moved: known.values().map(|known| (known.id, *known)).collect(),
            known,
            covered: record.covered.into_iter().map(|(path, ids)| (path.into(), ids)).collect(),
            led_to: record.led_to.into_iter().map(PathBuf::from).collect(),
            configs: record.configs.into_iter().map(|(path, text)| (path.into(), text)).collect(),
            homes: record.homes.into_iter().map(|(path, id)| (path.into(), id)).collect(),
            allow: record.allow,
            since: record.since,
            ..Self::default()
        })
    }

    fn covered_ids(&self) -> HashSet<Id> {
        self.covered.values().map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests;
