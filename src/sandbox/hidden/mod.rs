//! What an untrusted program must not read: credentials, other people's homes, sockets of services, wherever they
//! really are.
//!
//! What is a secret is judged by pure code: by names (`names`, `signs`), by what is its owner's alone (`class`), by
//! what the caller's environment says (`variables`). [`Finder`] looks at the host. Where else the same files can be
//! reached is read from the table of mounts (`mounts`); which sockets somebody listens at, the kernel tells
//! (`sockets`).
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

mod class;
mod mounts;
mod names;
mod signs;
mod sockets;
pub mod tree;
mod variables;

pub use mounts::{Elsewhere, HostMount, is_of_system, mount_of, of_kernel, of_private, opaque, parse_mounts};

use super::absent::Doubts;
use super::surroundings::Error;
use class::{Facts, Fate, Named};
use signs::Sign;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tree::{Budget, Entry, Next};

/// Something hidden, as it was found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Absolute and without links.
    pub path: PathBuf,
    /// A directory.
    pub directory: bool,
}

/// What there is to look at.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// With all rights on the machine.
    pub is_root: bool,
    /// Those of others, which are hidden as a whole; what is granted of them is not.
    pub other_homes: &'a [PathBuf],
    /// The caller's environment.
    pub environment: &'a [(OsString, OsString)],
    /// The working directory, without links.
    pub directory: &'a Path,
    /// The host's mounts.
    pub mounts: &'a [HostMount],
    /// Directories of their own that every sandbox has.
    pub private: &'a [PathBuf],
}

/// What one look at the host leaves for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The caller's own homes, without links: HOME's, and passwd(5)'s.
    pub homes: Vec<PathBuf>,
    /// Hidden files of which there are other links: by inode, the device.
    pub linked: HashMap<u64, u64>,
    /// What has to be said.
    pub notes: Vec<String>,
}

/// Names in the dot directories of homes.
const MOST_OF_HOMES: usize = 20_000;
/// Names in the trees that the program works in.
const MOST_OF_TREES: usize = 100_000;
/// Names in what is hidden, whose links lead elsewhere.
const MOST_OF_HIDDEN: usize = 3_000;
/// On a slow disk or a network.
const MOST_TIME: Duration = Duration::from_secs(2);
/// How deep below a home well-known names are looked for.
const DEPTH_IN_A_HOME: usize = 5;
/// What is read of a file to see whether it holds credentials.
const BEGINNING: usize = 16 << 10;
/// How many directories that were not looked at are named.
const MOST_NAMED: usize = 3;

/// Finds what is hidden of one host for one caller.
#[derive(Debug)]
pub struct Finder<'a> {
    caller: Caller<'a>,
    /// What is there, by path; whether it is a directory.
    found: BTreeMap<PathBuf, bool>,
    /// Sockets: hidden in what is given by name, too.
    sockets: Vec<Hidden>,
    /// Directories that variables lead to, and what is judged as if it were one of a home's.
    moved: Vec<(PathBuf, PathBuf)>,
    known: Known,
    /// Where nothing is gone into: other file systems' views, the kernel's, what is slow.
    closed: HashSet<PathBuf>,
    doubts: Rc<Doubts>,
}

impl<'a> Finder<'a> {
    /// With what is hidden already.
    #[must_use]
    pub fn new(caller: Caller<'a>, hidden: &[Hidden], known: Known) -> Self {
        let closed =
            caller.mounts.iter().filter(|mount| is_not_gone_into(&mount.kind)).map(|mount| mount.point.clone());
        let closed = closed.chain(caller.private.iter().cloned()).collect();
        let found = hidden.iter().map(|hidden| (hidden.path.clone(), hidden.directory)).collect();
        Self { caller, found, sockets: Vec::new(), moved: Vec::new(), known, closed, doubts: Rc::default() }
    }

    /// What is where credentials are known to be, what is its owner's alone, and what the environment says.
    pub fn of_caller(&mut self) {
        self.listed();
        self.led_to();
        self.dot_entries();
        self.behind_links();
    }

    /// What has a well-known name in the trees that the program works in: the working directory, what is `granted`, the
    /// homes.
    pub fn of_trees(&mut self, granted: &[PathBuf]) {
        let is_tree = |path: &&Path| !is_of_system(path) && !self.is_of_programs(path);
        let trees = [self.caller.directory].into_iter().chain(granted.iter().map(PathBuf::as_path));
        let mut roots: Vec<PathBuf> = trees.filter(is_tree).map(Path::to_owned).collect();
        // What holds a home is gone into less deep, also where it is the working directory.
        let holds_home = |root: &PathBuf| self.known.homes.iter().any(|home| home.starts_with(root));
        let mut homes: Vec<PathBuf> =
            self.known.homes.iter().chain(roots.iter().filter(|root| holds_home(root))).cloned().collect();
        homes.sort();
        homes.dedup();
        roots.retain(|root| !holds_home(root) && root.is_dir());
        let mut budget = Budget { entries: MOST_OF_TREES, until: Instant::now() + MOST_TIME };
        let mut left = self.well_known(&roots, usize::MAX, &mut budget);
        self.closed.extend(roots);
        left.extend(self.well_known(&homes, DEPTH_IN_A_HOME, &mut budget));
        self.note_left("files with well-known names of credentials", &left);
    }

    /// Sockets that somebody listens at.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read.
    pub fn of_services(&mut self, granted: &[PathBuf]) -> io::Result<()> {
        let caller = &self.caller;
        let usual = ["/srv", "/opt", "/var/lib", "/var", "/home", "/usr/local"].map(PathBuf::from);
        let trees = [caller.directory.to_owned()].into_iter().chain(granted.iter().cloned());
        let trees = trees.chain(self.known.homes.iter().cloned()).chain(usual).filter(|path| path.is_dir()).collect();
        let skip = caller.mounts.iter().filter(|mount| is_not_gone_into(&mount.kind)).map(|mount| mount.point.clone());
        let places = sockets::Places {
            trees,
            mounts: caller.mounts,
            private: caller.private,
            granted,
            skip: skip.chain(["/usr", "/proc", "/sys"].map(PathBuf::from)).collect(),
        };
        let found = sockets::find(caller.is_root, &places, &self.doubts)?;
        self.sockets.extend(found.hidden);
        self.known.notes.extend(found.notes);
        Ok(())
    }

    /// All of it, by path, and what has to be said. What is inside of something hidden goes with it: who is given that
    /// by its name gets it whole.
    ///
    /// # Errors
    /// When something could not be looked at: it might have to be hidden.
    pub fn finish(self) -> Result<(Vec<Hidden>, Known), Error> {
        self.doubts.settle()?;
        let mut all: Vec<Hidden> = Vec::with_capacity(self.found.len());
        for (path, directory) in self.found {
            // In the order of paths, what is inside comes right after.
            if !all.last().is_some_and(|above: &Hidden| above.directory && path.starts_with(&above.path)) {
                all.push(Hidden { path, directory });
            }
        }
        all.extend(self.sockets);
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all.dedup();
        Ok((all, self.known))
    }

    /// At every path of the lists. What the caller may not reach, the program cannot either.
    fn listed(&mut self) {
        for path in names::OF_THE_MACHINE {
            self.hide(Path::new(path));
        }
        let (directory, start, end) = names::HOST_KEYS;
        for name in self.names_in(Path::new(directory)) {
            if name.as_bytes().starts_with(start.as_bytes()) && name.as_bytes().ends_with(end.as_bytes()) {
                self.hide(&Path::new(directory).join(name));
            }
        }
        let homes: Vec<PathBuf> = self.known.homes.iter().chain(self.caller.other_homes).cloned().collect();
        for home in homes {
            // Most of the list is not there: what is, begins with a name that is.
            let names: HashSet<OsString> = self.names_in(&home).into_iter().collect();
            for path in names::OF_A_HOME {
                let first = path.split('/').next().unwrap_or_default();
                if names.contains(OsStr::new(first)) {
                    self.hide(&home.join(path));
                }
            }
        }
    }

    /// What variables lead to.
    fn led_to(&mut self) {
        let caller = &self.caller;
        let leads =
            variables::leads(caller.environment, caller.directory, self.known.homes.first().map(PathBuf::as_path));
        for lead in leads {
            let Some(path) = self.doubts.see(&lead.path, fs::canonicalize(&lead.path)) else { continue };
            let Some(st) = self.doubts.see(&path, fs::metadata(&path)) else { continue };
            let facts = Facts { directory: st.is_dir(), file: st.is_file(), private: is_private(&st) };
            if !self.may_hide(&path) || self.is_needed(&path) {
                continue;
            }
            if lead.is_hidden(facts) {
                self.hide(&path);
            } else if facts.directory
                && let Some(below) = lead.stands_for
            {
                self.moved.push((path, below.into()));
            }
        }
    }

    /// What is its owner's alone among the dot entries of the caller's homes.
    fn dot_entries(&mut self) {
        let mut named = Named::default();
        let mut roots = Vec::new();
        for home in &self.known.homes {
            named.call(home.clone(), PathBuf::new());
            roots.push(home.clone());
        }
        for (real, below) in std::mem::take(&mut self.moved) {
            if named.name(&real).is_none() {
                named.call(real.clone(), below);
                roots.push(real);
            }
        }
        let mut budget = Budget { entries: MOST_OF_HOMES, until: Instant::now() + MOST_TIME };
        let mut left = Vec::new();
        // What a link leads to is judged by what it is called in the home.
        while !roots.is_empty() {
            let mut links = Vec::new();
            let closed = std::mem::take(&mut self.closed);
            let doubts = Rc::clone(&self.doubts);
            left.extend(tree::walk(std::mem::take(&mut roots), &mut budget, &closed, &doubts, |entry| {
                self.judge_dot_entry(entry, &named, &mut links)
            }));
            self.closed = closed;
            for (real, below) in links {
                if named.name(&real).is_none() && self.may_hide(&real) {
                    named.call(real.clone(), below);
                    roots.push(real);
                }
            }
        }
        self.note_left("files that are only their owner's", &left);
    }

    fn judge_dot_entry(&mut self, entry: &Entry<'_>, named: &Named, links: &mut Vec<(PathBuf, PathBuf)>) -> Next {
        let Some(directory) = named.name(entry.directory) else { return Next::Pass };
        if directory.as_os_str().is_empty() && entry.bytes().first() != Some(&b'.') {
            return Next::Pass;
        }
        let below = directory.join(OsStr::from_bytes(entry.bytes()));
        let path = entry.path();
        if self.found.contains_key(&path) {
            return Next::Pass;
        }
        let is_link = entry.kind == libc::DT_LNK;
        let real = if is_link { self.doubts.see(&path, fs::canonicalize(&path)) } else { Some(path) };
        let Some(real) = real.filter(|real| !is_link || self.may_hide(real)) else { return Next::Pass };
        let facts = || if is_link { self.facts_of(&real) } else { entry.look().as_ref().map(Facts::of) };
        match class::judge(&below, facts) {
            Fate::Shown => Next::Pass,
            Fate::ShownAsSettings => {
                let text = if entry.kind == libc::DT_DIR { None } else { self.read_beginning(&real) };
                if text.is_some_and(|text| signs::holds_credentials(&text)) {
                    self.hide(&real);
                }
                Next::Pass
            }
            Fate::EnteredAsSettings if entry.kind == libc::DT_DIR => Next::Enter,
            Fate::EnteredAsSettings if is_link && real.is_dir() => {
                links.push((real, below));
                Next::Pass
            }
            Fate::EnteredAsSettings => {
                let holds =
                    if signs::is_source(entry.bytes()) { signs::holds_tokens } else { signs::holds_credentials };
                let name = entry.bytes();
                if signs::speaks_of_credentials(name) || self.read_beginning(&real).is_some_and(|text| holds(&text)) {
                    self.hide(&real);
                }
                Next::Pass
            }
            Fate::Hidden => {
                self.hide(&real);
                Next::Pass
            }
            Fate::Entered if below.components().count() > class::MOST_DEPTH => Next::Pass,
            Fate::Entered if is_link => {
                links.push((real, below));
                Next::Pass
            }
            Fate::Entered => Next::Enter,
        }
    }

    /// What links in hidden directories lead to outside of them, and the files in them that have other names elsewhere.
    fn behind_links(&mut self) {
        let homes = &self.known.homes;
        let in_a_home = |path: &&PathBuf| homes.iter().any(|home| path.starts_with(home));
        let roots: Vec<PathBuf> = self
            .found
            .iter()
            .filter(|(_, directory)| **directory)
            .map(|(path, _)| path)
            .filter(in_a_home)
            .cloned()
            .collect();
        let mut budget = Budget { entries: MOST_OF_HIDDEN, until: Instant::now() + MOST_TIME };
        let doubts = Rc::clone(&self.doubts);
        let mut targets = Vec::new();
        let mut linked = Vec::new();
        // Large ones are caches and profiles of browsers: what is near the top counts.
        let _far = tree::walk(roots, &mut budget, &self.closed, &doubts, |entry| {
            match entry.kind {
                libc::DT_LNK => targets.extend(doubts.see(&entry.path(), fs::canonicalize(entry.path()))),
                libc::DT_REG => {
                    linked.extend(entry.look().filter(|st| st.st_nlink > 1).map(|st| (st.st_ino, st.st_dev)))
                }
                _ => {}
            }
            if entry.depth < 3 { Next::Enter } else { Next::Pass }
        });
        self.known.linked.extend(linked);
        for target in targets {
            if self.may_hide(&target) && !self.is_needed(&target) {
                self.hide(&target);
            }
        }
    }

    /// Goes through trees for well-known names, and for other links of what is hidden.
    fn well_known(&mut self, roots: &[PathBuf], most_depth: usize, budget: &mut Budget) -> Vec<PathBuf> {
        let mut closed = std::mem::take(&mut self.closed);
        closed.extend(self.found.keys().cloned());
        let homes = self.known.homes.clone();
        let doubts = Rc::clone(&self.doubts);
        let left = tree::walk(roots.to_vec(), budget, &closed, &doubts, |entry| {
            if entry.kind == libc::DT_DIR {
                return self.judge_directory(entry, &homes, most_depth);
            }
            let is_link =
                self.known.linked.get(&entry.number).is_some_and(|device| {
                    entry.look().is_some_and(|st| st.st_ino == entry.number && st.st_dev == *device)
                });
            let file = matches!(entry.kind, libc::DT_REG | libc::DT_LNK);
            if is_link || file && signs::sign(entry.bytes()).is_some_and(|sign| self.is_secret(entry, sign)) {
                self.hide(&entry.path());
            }
            Next::Pass
        });
        self.closed = closed;
        left
    }

    fn judge_directory(&mut self, entry: &Entry<'_>, homes: &[PathBuf], most_depth: usize) -> Next {
        if signs::is_secret_directory(entry.bytes()) {
            self.hide(&entry.path());
            return Next::Pass;
        }
        if entry.depth >= most_depth {
            return Next::Pass;
        }
        // Other people's code and what was built of it, which nobody keeps a secret in, as a rule.
        let in_home = homes.iter().find_map(|home| entry.directory.strip_prefix(home).ok());
        let below = in_home.map(|below| below.join(OsStr::from_bytes(entry.bytes())));
        if below.is_some_and(|below| !below.as_os_str().is_empty() && class::is_needed(&below) && !is_shared(&below)) {
            return Next::Pass;
        }
        if signs::is_of_packages(entry.bytes()) { Next::Last } else { Next::Enter }
    }

    fn is_secret(&self, entry: &Entry<'_>, sign: Sign) -> bool {
        let path = entry.path();
        let begins = |judge: fn(&[u8]) -> bool| match self.read_beginning(&path) {
            Some(text) => judge(&text),
            // What cannot be read now might be later.
            None => self.facts_of(&path).is_some_and(|facts| facts.file),
        };
        match sign {
            Sign::Secret => self.facts_of(&path).is_some_and(|facts| facts.file && self.may_hide(&path)),
            Sign::Keys => self.facts_of(&path).is_some_and(|facts| facts.file && !is_of_tests(&path, facts)),
            Sign::PrivateKey => {
                begins(signs::is_private_key) && self.facts_of(&path).is_some_and(|facts| !is_of_tests(&path, facts))
            }
            Sign::Settings => begins(signs::holds_credentials),
        }
    }

    /// Whether hiding something for where it was found takes nothing else away: not the system's files, not what holds
    /// a home or the working directory.
    fn may_hide(&self, path: &Path) -> bool {
        let holds = |kept: &Path| kept.starts_with(path);
        let held = holds(self.caller.directory) || self.known.homes.iter().any(|home| holds(home));
        let kernel = self.caller.private.iter().any(|private| path == private);
        let system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix", "/gnu", "/proc", "/sys", "/dev"];
        let of_system = system.iter().any(|system| path.starts_with(system));
        !held
            && !kernel
            && !is_of_system(path)
            && (!of_system || self.facts_of(path).is_some_and(|facts| facts.private))
    }

    /// Whether it is in a home, and programs need it.
    fn is_needed(&self, path: &Path) -> bool {
        self.known.homes.iter().any(|home| path.strip_prefix(home).is_ok_and(class::is_needed))
    }

    fn is_of_programs(&self, path: &Path) -> bool {
        let system =
            ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix", "/gnu", "/proc", "/sys", "/dev", "/boot"];
        system.iter().any(|system| path.starts_with(system))
    }

    /// What a path leads to, if there is anything.
    fn hide(&mut self, path: &Path) {
        let Some(real) = self.doubts.see(path, fs::canonicalize(path)) else { return };
        let Some(st) = self.doubts.see(&real, fs::metadata(&real)) else { return };
        if real.parent().is_none() {
            return;
        }
        if st.is_file() && st.nlink() > 1 {
            self.known.linked.insert(st.ino(), st.dev());
        }
        self.found.insert(real, st.is_dir());
    }

    /// Of what a path leads to.
    fn facts_of(&self, path: &Path) -> Option<Facts> {
        let st = self.doubts.see(path, fs::metadata(path))?;
        Some(Facts { directory: st.is_dir(), file: st.is_file(), private: is_private(&st) })
    }

    /// The beginning of what a path leads to; nothing where that is no regular file, or may not be read.
    fn read_beginning(&self, path: &Path) -> Option<Vec<u8>> {
        use std::os::fd::AsFd as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        // A pipe in its place would be waited for.
        let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = self.doubts.see(path, file)?;
        self.doubts.see(path, tree::read_some(file.as_fd(), BEGINNING))?
    }

    /// The names in a directory; none where there is none.
    fn names_in(&self, directory: &Path) -> Vec<OsString> {
        let entries = self.doubts.see(directory, fs::read_dir(directory)).into_iter().flatten();
        entries.filter_map(|entry| Some(self.doubts.see(directory, entry)?.file_name())).collect()
    }

    fn note_left(&mut self, what: &str, left: &[PathBuf]) {
        if left.is_empty() {
            return;
        }
        let named: Vec<String> = left.iter().take(MOST_NAMED).map(|path| shown(path)).collect();
        let more = left.len() - named.len();
        let more = if more > 0 { format!(" and {more} more directories") } else { String::new() };
        self.known.notes.push(format!(
            "too many files to look through all of them for {what}: those in {}{more} are shown as they are",
            named.join(", ")
        ));
    }
}

/// A path for a terminal.
fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().flat_map(|each| each.escape_debug()).collect()
}

/// Directories of many programs', in which there are others than those that are kept.
fn is_shared(below: &Path) -> bool {
    names::SHARED.iter().any(|shared| below == Path::new(shared))
}

/// Views of the kernel's, of others' machines, and of what is hidden anyway.
fn is_not_gone_into(kind: &str) -> bool {
    matches!(
        kind,
        "proc" | "sysfs" | "cgroup" | "cgroup2" | "devtmpfs" | "autofs" | "nfs" | "nfs4" | "cifs" | "smb3" | "9p"
    ) || kind.starts_with("fuse")
}

fn is_private(st: &fs::Metadata) -> bool {
    st.mode() & 0o007 == 0 && (st.mode() & 0o070 == 0 || st.gid() == st.uid())
}

/// Keys that everybody may read, among tests and examples, are nobody's.
fn is_of_tests(path: &Path, facts: Facts) -> bool {
    !facts.private && path.parent().is_some_and(|above| above.iter().any(|name| signs::is_of_tests(name.as_bytes())))
}

/// The directories that overlays show, as they really are: nothing where one of them is not to be seen from here.
pub fn resolve_layers(mounts: &mut [HostMount]) {
    for mount in mounts.iter_mut().filter(|mount| mount.layers.is_some()) {
        let layers = mount.layers.take().unwrap_or_default();
        mount.layers = layers.iter().map(|layer| fs::canonicalize(layer).ok()).collect();
    }
}

#[cfg(test)]
mod tests;
