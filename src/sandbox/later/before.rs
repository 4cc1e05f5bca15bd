//! Before the start: what is there, and what of it is to be kept.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the caller's own tree; no container is near")]

use super::names::{Class, Names, Place, fold};
use super::walk::{self, BUFFER, Here, Id, Visitor};
use super::{Allow, Before, Found, Root, Rules, Unseen, clean, git};
use crate::plan::Kept;
use crate::spelling::shown;
use crate::sys::fd;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What a git directory is known by, whatever it is called (gitrepository-layout(5)): git takes any directory for one
/// that has these.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Signature {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
}

impl Signature {
    pub(super) fn see(&mut self, name: &[u8]) {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"HEAD") => self.head = true,
            4 if name.eq_ignore_ascii_case(b"refs") => self.refs = true,
            7 if name.eq_ignore_ascii_case(b"objects") => self.objects = true,
            9 if name.eq_ignore_ascii_case(b"commondir") => self.common = true,
            _ => {}
        }
    }

    pub(super) fn is_repository(self) -> bool {
        self.head && (self.common || self.objects && self.refs)
    }
}

/// What of a git directory is kept as it is: the rest changes with every commit.
pub(super) const OF_GIT: &[&CStr] = &[c"config", c"config.worktree", c"commondir", c"gitdir", c"hooks", c"lazygit.yml"];
/// What an interrupted rebase is still to do.
pub(super) const TODO: &CStr = c"rebase-merge/git-rebase-todo";
/// More is no configuration.
pub(super) const MOST_TEXT: usize = 1 << 20;
/// Of a path that can be given to the kernel at once.
const LONGEST: usize = 4000;

pub(super) fn id_of(directory: &OwnedFd) -> Option<Id> {
    fd::stat(directory.as_fd()).ok().map(|found| walk::id(&found))
}

impl Before {
    /// Looks through everything that the program may write to. With no such thing, at nothing.
    ///
    /// # Errors
    /// When something cannot be looked at: it might have to be kept.
    pub fn look(rules: &Rules) -> Result<Self, Unseen> {
        let mut before = Self { allow: Allow::new(&rules.allow), ..Self::default() };
        if rules.roots.is_empty() {
            return Ok(before);
        }
        let names = Names::new();
        for given in &rules.allow {
            let path = Path::new(given);
            let odd = path.components().any(|part| matches!(part, std::path::Component::ParentDir));
            if given != "all" && (odd || !names.knows(&super::parts(path))) {
                let note = format!("--allow-later-code {}: nothing of that name is ever taken away", shown(path));
                before.notes.push(note);
            }
        }
        for home in &rules.homes {
            let found = match walk::find(home).and_then(|fd| fd::stat(fd.as_fd())) {
                // Somebody else's, behind a directory that lets nobody pass.
                Err(Errno::EACCES) => None,
                found => before.see(home, found),
            };
            before.homes.push((home.clone(), found.as_ref().map(walk::id)));
        }
        for root in &rules.roots {
            before.add_root(root.clone());
        }
        let mut leads = Vec::new();
        for index in 0..before.roots.len() {
            let covers = covers_of(&before, index, rules);
            let found = &before.roots[index];
            let Some(directory) = found.directory.as_ref().and_then(|fd| fd.try_clone().ok()) else { continue };
            let (root, path) = (found.root.clone(), found.root.source.clone());
            let is_git = path.file_name().is_some_and(|name| fold(name.as_bytes()).as_ref() == b".git");
            let place = At { names: place_of(&names, &path, &before), git: is_git, ..At::default() };
            let mut start =
                Start { names: &names, root, covers, leads: Vec::new(), before: &mut before, buffer: vec![0; BUFFER] };
            walk::walk(directory, &path, place, &mut start);
            leads.append(&mut start.leads);
        }
        before.follow(&names, leads);
        before.kept.sort_by_key(|kept| kept.path.components().count());
        before.kept.dedup();
        before.since = now();
        match before.unseen.take() {
            Some(unseen) => Err(unseen),
            None => Ok(before),
        }
    }

    /// What was found, or nothing where nothing is; what cannot be found out is remembered.
    pub(super) fn see<T>(&mut self, path: &Path, found: nix::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(Errno::ENOENT | Errno::ENOTDIR) => None,
            Err(why) => {
                self.unseen.get_or_insert(Unseen { path: path.to_owned(), why });
                None
            }
        }
    }

    fn add_root(&mut self, root: Root) {
        let directory = self.see(&root.source, walk::open_directory(&root.source));
        let id = match &directory {
            Some(directory) => id_of(directory),
            None => self.see(&root.source, walk::find(&root.source)).as_ref().and_then(id_of),
        };
        self.roots.push(Found { root, id: id.unwrap_or_default(), directory });
    }

    /// Keeps what existing settings and links lead to, as far as the program may write to it.
    fn follow(&mut self, names: &Names, mut leads: Vec<Lead>) {
        let mut seen = HashSet::new();
        while let Some(lead) = leads.pop() {
            let real = fs::canonicalize(&lead.path);
            let path = real.as_ref().map_or_else(|_| clean(&lead.path), Clone::clone);
            let Some(root) = self.root_above(&path).cloned() else {
                if lead.always && self.roots.iter().any(|found| found.root.source.starts_with(&path)) {
                    self.notes
                        .push(format!("{} is not kept read-only: it is all that may be written to", shown(&path)));
                }
                continue;
            };
            if self.allow.covers(&root.source, &path) || self.known.contains_key(&path) || !seen.insert(path.clone()) {
                continue;
            }
            // In it is what is to be writable.
            if lead.of.starts_with(&path) {
                self.notes.push(format!("{} is not kept read-only: it holds {}", shown(&path), shown(&lead.of)));
                continue;
            }
            let found = walk::find(&path).and_then(|fd| fd::stat(fd.as_fd()));
            match self.see(&path, found) {
                Some(found) if lead.always || found.st_mode & libc::S_IFMT == libc::S_IFREG => {
                    let is_directory = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
                    self.keep(&root, &path, true);
                    self.know(path.clone(), &found, true);
                    self.led_to.push(path.clone());
                    if lead.includes
                        && let Ok(text) = fs::read(&path)
                    {
                        let base = path.parent().unwrap_or(&path).to_owned();
                        leads.extend(leads_of(&text, &lead.of, &base, &base));
                    }
                    if let Some(directory) = is_directory.then(|| walk::open_directory(&path).ok()).flatten() {
                        let place = At { code: true, ..At::default() };
                        let mut start = Start {
                            names,
                            root,
                            covers: HashMap::new(),
                            leads: Vec::new(),
                            before: self,
                            buffer: vec![0; BUFFER],
                        };
                        walk::walk(directory, &path, place, &mut start);
                    }
                }
                None if lead.always => self.led_to.push(path),
                _ => {}
            }
        }
    }

    /// Has a path mounted on itself, or what is nearest above it that has a name short enough.
    fn keep(&mut self, root: &Root, path: &Path, readonly: bool) {
        let Ok(below) = path.strip_prefix(&root.source) else { return };
        let mut target = root.target.join(below);
        let mut readonly = readonly;
        while target.as_os_str().len() > LONGEST && target.pop() {
            readonly = true;
        }
        self.kept.push(Kept { path: target, readonly });
    }
}

/// The clock that files are stamped by.
fn now() -> (i64, i64) {
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or((0, 0), |now| (now.tv_sec(), now.tv_nsec()))
}

/// Where a root is, by the names of the directories above it.
pub(super) fn place_of<'n>(names: &'n Names, path: &Path, before: &Before) -> Place<'n> {
    let (mut at, mut place) = (PathBuf::from("/"), Place::default());
    for part in path.components().skip(1) {
        if before.homes.iter().any(|(home, _)| *home == at) {
            place = place.at_home();
        }
        at.push(part);
        place = names.below(&place, part.as_os_str().as_bytes());
    }
    place
}

/// What covers parts of a root in the sandbox, by the directory that it is in.
fn covers_of(before: &Before, index: usize, rules: &Rules) -> HashMap<PathBuf, Vec<OsString>> {
    let root = &before.roots[index].root;
    let mut covers: HashMap<PathBuf, Vec<OsString>> = HashMap::new();
    for cover in &rules.covers {
        let below = cover.strip_prefix(&root.target).ok().filter(|below| !below.as_os_str().is_empty());
        let Some(path) = below.map(|below| root.source.join(below)) else { continue };
        if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
            covers.entry(above.to_owned()).or_default().push(name.to_owned());
        }
    }
    covers
}

/// Somewhere that a setting or a link leads.
#[derive(Debug)]
struct Lead {
    path: PathBuf,
    /// Of whom.
    of: PathBuf,
    /// Whatever it is, and also if it is not there yet; else a file only.
    always: bool,
    /// It is read as git's configuration.
    includes: bool,
}

/// What the settings in a configuration lead to. `tree`: relative to what programs run; `base`: what files are
/// included.
fn leads_of(text: &[u8], of: &Path, tree: &Path, base: &Path) -> Vec<Lead> {
    let Ok(config) = git::parse(text) else { return Vec::new() };
    let place = |from: &Path, path: &[u8]| {
        let path = Path::new(OsStr::from_bytes(path));
        match (path.strip_prefix("~"), std::env::var_os("HOME")) {
            (Ok(below), Some(home)) => PathBuf::from(home).join(below),
            _ => from.join(path),
        }
    };
    let mut leads = Vec::new();
    for entry in &config.entries {
        if let Some(path) = git::names_files(entry) {
            let includes = entry.key == b"path";
            let path = place(if includes { base } else { tree }, path);
            leads.push(Lead { path, of: of.to_owned(), always: true, includes });
        } else if !git::is_harmless(entry, &|_| true) {
            leads.extend(git::words(entry).map(|word| Lead {
                path: place(tree, word),
                of: of.to_owned(),
                always: false,
                includes: false,
            }));
        }
    }
    leads
}

/// What is known of a directory before it is looked into.
#[derive(Default)]
struct At<'n> {
    names: Place<'n>,
    /// Everything in it is kept with it.
    code: bool,
    /// It is called `.git`.
    git: bool,
}

struct Start<'a, 'n> {
    names: &'n Names,
    root: Root,
    covers: HashMap<PathBuf, Vec<OsString>>,
    leads: Vec<Lead>,
    before: &'a mut Before,
    buffer: Vec<u8>,
}

impl<'n> Start<'_, 'n> {
    /// What is not the program's own to change.
    fn keep(&mut self, path: &Path, found: &libc::stat) {
        self.before.know(path.to_owned(), found, true);
        self.before.keep(&self.root, path, true);
    }

    /// A link cannot be mounted on: it is known, and what it leads to is kept.
    fn keep_link(&mut self, path: PathBuf, found: &libc::stat) {
        self.before.know(path.clone(), found, false);
        if let Ok(target) = fs::canonicalize(&path) {
            let of = path.clone();
            self.leads.push(Lead { path: target, of, always: true, includes: false });
        } else if let (Ok(target), Some(above)) = (fs::read_link(&path), path.parent()) {
            let target = above.join(target);
            self.leads.push(Lead { path: target, of: path, always: true, includes: false });
        }
    }

    fn look(&mut self, here: &Here<'_>, name: &CStr) -> Option<libc::stat> {
        here.look(name).unwrap_or_else(|errno| self.before.see(&here.join(name), Err(errno)))
    }

    fn cover(&mut self, here: &Here<'_>, name: &CStr) -> bool {
        let is_covered = |names: &Vec<OsString>| names.iter().any(|known| known.as_bytes() == name.to_bytes());
        let covered = self.covers.get(here.path).is_some_and(is_covered);
        if covered && let Some(found) = self.look(here, name) {
            self.before.covered.insert(here.join(name), (walk::id(&found), walk::id(here.stat)));
        }
        covered
    }

    fn allows(&self, path: &Path) -> bool {
        self.before.allow.covers(&self.root.source, path)
    }

    /// Something that runs by itself; whether there is more in it to look at, and how.
    fn named(&mut self, here: &Here<'_>, name: &CStr, class: Class, place: &Place<'n>) -> Option<At<'n>> {
        let path = here.join(name);
        let found = self.look(here, name)?;
        let kind = found.st_mode & libc::S_IFMT;
        let ordinary = At { names: self.names.below(place, name.to_bytes()), ..At::default() };
        if self.allows(&path) {
            return (kind == libc::S_IFDIR).then_some(ordinary);
        }
        match (class, kind) {
            (Class::Above, libc::S_IFLNK) | (Class::Git | Class::Code | Class::Hgrc | Class::Leads, libc::S_IFLNK) => {
                self.keep_link(path, &found);
                None
            }
            (Class::Above | Class::Leads, libc::S_IFDIR) => Some(ordinary),
            (Class::Above, _) => None,
            (Class::Git, libc::S_IFDIR) => {
                self.before.know(path.clone(), &found, true);
                self.before.keep(&self.root, &path, false);
                Some(At { git: true, ..ordinary })
            }
            (Class::Gitmodules, _) => {
                self.before.know(path, &found, false);
                None
            }
            _ => {
                self.keep(&path, &found);
                (kind == libc::S_IFDIR).then(|| At { code: true, ..At::default() })
            }
        }
    }

    /// The parts of a git directory that name or are programs.
    fn git_directory(&mut self, here: &Here<'_>, is_git: bool, inner: &mut Vec<(CString, At<'n>)>) {
        if self.allows(here.path) {
            return;
        }
        for name in OF_GIT {
            let path = here.join(name);
            let Some(found) = self.look(here, name).filter(|_| !self.allows(&path)) else { continue };
            match found.st_mode & libc::S_IFMT {
                libc::S_IFLNK => self.keep_link(path, &found),
                _ => self.keep(&path, &found),
            }
            for (_, at) in inner.iter_mut().filter(|(other, _)| fold(other.to_bytes()).as_ref() == name.to_bytes()) {
                at.code = true;
            }
        }
        if let Some(found) = self.look(here, TODO) {
            self.before.know(here.join(TODO), &found, false);
        }
        for name in [c"config", c"config.worktree"] {
            let text = match walk::read(here.fd, name, MOST_TEXT) {
                Ok(text) if git::parse(&text).is_ok() => text,
                Err(Errno::ENOENT) => continue,
                // It stays as it is. Only what it leads to is not known.
                _ => {
                    let path = here.join(name);
                    let note = format!("{}: not understood, so what it leads to is not kept read-only", shown(path));
                    self.before.notes.push(note);
                    continue;
                }
            };
            let tree = tree_of(here.path, is_git, &text);
            self.leads.extend(leads_of(&text, here.path, &tree, here.path));
            self.before.configs.insert(here.join(name), text);
        }
    }
}

/// The tree that belongs to a git directory, which programs run in.
fn tree_of(path: &Path, is_git: bool, text: &[u8]) -> PathBuf {
    let entries = git::parse(text).map(|config| config.entries).unwrap_or_default();
    let named =
        entries.iter().rev().find(|entry| entry.name() == b"core.worktree").and_then(|entry| entry.value.clone());
    match named {
        Some(tree) => clean(&path.join(OsString::from_vec(tree))),
        None if is_git => path.parent().unwrap_or(path).to_owned(),
        None => path.to_owned(),
    }
}

impl<'n> Visitor for Start<'_, 'n> {
    type Place = At<'n>;

    fn enter(&mut self, here: Here<'_>, at: At<'n>) -> Vec<(CString, At<'n>)> {
        let mut place = at.names;
        if self.before.is_home(here.path, walk::id(here.stat)) {
            place = place.at_home();
        }
        let (mut inner, mut found) = (Vec::new(), Vec::new());
        let mut signature = Signature::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let names = self.names;
        let listed = here.list(&mut buffer, |name, kind| {
            signature.see(name.to_bytes());
            let class = if at.code { Some(Class::Code) } else { names.class(&place, name.to_bytes()) };
            match class {
                Some(class) => found.push((name.to_owned(), class)),
                None if kind == libc::DT_DIR => inner.push((name.to_owned(), At::default())),
                None => {}
            }
        });
        self.buffer = buffer;
        if let Err(why) = listed {
            self.closed(here.path.to_owned(), why);
        }
        if self.covers.contains_key(here.path) {
            inner.retain(|(name, _)| !self.cover(&here, name));
            found.retain(|(name, _)| !self.cover(&here, name));
        }
        for (name, below) in &mut inner {
            below.names = self.names.below(&place, name.to_bytes());
        }
        for (name, class) in found {
            if at.code {
                let Some(found) = self.look(&here, &name) else { continue };
                self.before.know(here.join(&name), &found, true);
                if found.st_mode & libc::S_IFMT == libc::S_IFDIR {
                    inner.push((name, At { code: true, ..At::default() }));
                }
            } else if let Some(below) = self.named(&here, &name, class, &place) {
                inner.push((name, below));
            }
        }
        if !at.code && (at.git || signature.is_repository()) {
            self.git_directory(&here, at.git, &mut inner);
        }
        inner
    }

    /// The program may be able to open what is its own: then it stays as it is, whatever is in it.
    fn closed(&mut self, path: PathBuf, why: Errno) {
        if path == self.root.source {
            // All that may be written to cannot be kept.
            let _nothing = self.before.see::<()>(&path, Err(why));
            return;
        }
        let found = walk::find(&path).and_then(|fd| fd::stat(fd.as_fd()));
        // Of somebody else's it can open nothing.
        let own = nix::unistd::geteuid();
        if let Some(found) = self.before.see(&path, found)
            && (why != Errno::EACCES || own.is_root() || found.st_uid == own.as_raw())
        {
            self.keep(&path, &found);
        }
    }

    fn opens(&self) -> bool {
        false
    }
}
