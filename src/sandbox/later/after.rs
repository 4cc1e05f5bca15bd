//! When the last process has ended: what appeared or changed is judged, and what would run later is taken away.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the caller's own tree; no container is near")]

use super::before::{MOST_TEXT, OF_GIT, Signature, TODO, place_of};
use super::finding::{Action, Findings};
use super::names::{Class, Names, Place, fold, is_of_a_build};
use super::walk::{self, BUFFER, Here, Id, Visitor};
use super::{Before, Root, clean, git};
use crate::refusal::shell_word;
use crate::sys::fd;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Of the bits that let a program be somebody else.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
/// A path in a small file.
const MOST_PATH: usize = 16 << 10;

impl Before {
    /// Looks through everything again, when nobody in the sandbox is left, and takes away what would run later and was
    /// not there.
    #[must_use]
    pub fn judge(&self) -> Findings {
        let mut findings = Findings::default();
        if self.roots.is_empty() {
            return findings;
        }
        let names = Names::new();
        let covered = self.covered_ids();
        for found in &self.roots {
            let root = &found.root;
            let Some(directory) = &found.directory else {
                self.judge_file(root, found.id, &mut findings);
                continue;
            };
            let Ok(directory) = directory.try_clone() else {
                findings.add(&root.source, Action::Unseen, "no descriptor is left", None);
                continue;
            };
            let place = At { names: place_of(&names, &root.source, self), ..At::default() };
            let mut end = End {
                names: &names,
                root,
                before: self,
                covered: &covered,
                findings,
                buffer: vec![0; BUFFER],
                patience: Some(Instant::now() + PATIENCE),
            };
            // Where it was left by the walk before it began.
            let fresh = fd::open(directory.as_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY);
            match fresh {
                Ok(fresh) => walk::walk(fresh, &root.source, place, &mut end),
                Err(errno) => end.unseen(&root.source, errno),
            }
            findings = end.findings;
        }
        for path in &self.led_to {
            self.judge_led_to(path, &mut findings);
        }
        findings
    }

    /// A single file that may be written to: whoever named it meant its contents.
    fn judge_file(&self, root: &Root, id: Id, findings: &mut Findings) {
        let (Some(above), Some(name)) = (root.source.parent(), root.source.file_name()) else { return };
        let Ok(name) = CString::new(name.as_bytes()) else { return };
        let found = walk::open_directory(above).and_then(|above| {
            let stat = fd::stat_at(above.as_fd(), &name, libc::AT_SYMLINK_NOFOLLOW)?;
            Ok((above, stat))
        });
        match found {
            Ok((_, stat)) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
                findings.add(&root.source, Action::Unseen, "it cannot be opened, or is another directory now", None);
            }
            Ok((directory, stat)) if walk::id(&stat) == id => {
                let here = Here { fd: directory.as_fd(), stat: &stat, path: above };
                self.judge_ordinary(&here, &name, &stat, findings);
            }
            // Somebody outside has put another one in its place: the program has the old one, which has no name.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => findings.add(&root.source, Action::Unseen, errno.desc(), None),
        }
    }

    /// Set-id bits, and the files of builds.
    fn judge_ordinary(&self, here: &Here<'_>, name: &CStr, found: &libc::stat, findings: &mut Findings) {
        let changed = (found.st_ctime, found.st_ctime_nsec) >= self.since;
        if !changed {
            return;
        }
        if found.st_mode & SET_ID != 0 {
            let path = here.join(name);
            match clear_bits(here.fd, name) {
                Ok(true) => findings.add(&path, Action::Bits, "", None),
                Ok(false) => {}
                Err(errno) => findings.add(&path, Action::Failed, format!("set-id, {}", errno.desc()), None),
            }
        }
        let parent = here.path.file_name().unwrap_or_default();
        if is_of_a_build(parent.as_bytes(), name.to_bytes()) {
            findings.add(&here.join(name), Action::Changed, "", None);
        }
    }

    /// Somewhere that existing settings lead.
    fn judge_led_to(&self, path: &Path, findings: &mut Findings) {
        let Some(root) = self.root_above(path).map(|root| root.source.clone()) else { return };
        let mut at = root.clone();
        for part in path.strip_prefix(&root).unwrap_or(path) {
            let Ok(name) = CString::new(part.as_bytes()) else { return };
            let Ok(above) = walk::open_directory(&at) else { return };
            at.push(part);
            let Ok(found) = fd::stat_at(above.as_fd(), &name, libc::AT_SYMLINK_NOFOLLOW) else { return };
            let is_last = at == path;
            let is_link = found.st_mode & libc::S_IFMT == libc::S_IFLNK;
            if is_last && self.is_same(&at, &found) || !is_last && !is_link {
                continue;
            }
            let why = "git's configuration, or a link, leads to it";
            let allow = path.strip_prefix(&root).ok();
            match walk::remove(above.as_fd(), &name) {
                Ok(()) => findings.add(&at, Action::Removed, why, allow),
                Err(errno) => findings.add(&at, Action::Failed, errno.desc(), allow),
            }
            return;
        }
    }
}

/// Takes the bits off an ordinary file; whether there were any.
fn clear_bits(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<bool> {
    let file = fd::open(above, name, libc::O_PATH | libc::O_NOFOLLOW)?;
    let found = fd::stat(file.as_fd())?;
    if found.st_mode & libc::S_IFMT != libc::S_IFREG || found.st_mode & SET_ID == 0 {
        return Ok(false);
    }
    let set = walk::set_mode(file.as_fd(), found.st_mode & 0o7777 & !SET_ID);
    set.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(true)
}

/// What a directory is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    /// The tree.
    #[default]
    Tree,
    /// Something that was kept, and so is as it was.
    Kept,
    /// A new directory of hooks.
    Hooks,
}

#[derive(Default)]
struct At<'n> {
    names: Place<'n>,
    inside: Inside,
    /// It is called `.git`.
    git: bool,
}

struct End<'a, 'n> {
    names: &'n Names,
    root: &'a Root,
    before: &'a Before,
    covered: &'a HashSet<Id>,
    findings: Findings,
    buffer: Vec<u8>,
    /// Until when nobody wonders what takes so long.
    patience: Option<Instant>,
}

/// How long it may take before something is said.
const PATIENCE: Duration = Duration::from_secs(5);

const KEPT: At<'static> = At { names: Place::NOWHERE, inside: Inside::Kept, git: false };

impl<'n> End<'_, 'n> {
    fn allows(&self, path: &Path) -> bool {
        self.before.allow.covers(&self.root.source, path)
    }

    fn unseen(&mut self, path: &Path, why: Errno) {
        self.findings.add(path, Action::Unseen, why.desc(), None);
    }

    /// What cannot be looked at is said.
    fn look(&mut self, here: &Here<'_>, name: &CStr) -> Option<libc::stat> {
        here.look(name).unwrap_or_else(|errno| {
            self.unseen(&here.join(name), errno);
            None
        })
    }

    /// What would have to be named to keep it.
    fn name_of<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.strip_prefix(&self.root.source).ok()
    }

    fn take_away(&mut self, here: &Here<'_>, name: &CStr, why: &str) {
        let path = here.join(name);
        let allow = self.name_of(&path).map(Path::to_owned);
        match walk::remove(here.fd, name) {
            Ok(()) => self.findings.add(&path, Action::Removed, why, allow.as_deref()),
            Err(errno) => self.findings.add(&path, Action::Failed, errno.desc(), allow.as_deref()),
        }
    }

    /// Covered in the sandbox: at the same place in the same directory only somebody outside can have changed it.
    fn is_covered(&self, here: &Here<'_>, name: &CStr, found: &libc::stat) -> bool {
        let covered = |(id, above): &(Id, Id)| *id == walk::id(found) || *above == walk::id(here.stat);
        self.before.covered.get(&here.join(name)).is_some_and(covered)
    }

    /// Judges something that runs by itself; how to look into it, if it stays.
    fn named(&mut self, here: &Here<'_>, name: &CStr, class: Class, place: &Place<'n>) -> Option<At<'n>> {
        let found = self.look(here, name)?;
        let path = here.join(name);
        let kind = found.st_mode & libc::S_IFMT;
        let is_directory = kind == libc::S_IFDIR;
        let ordinary = At { names: self.names.below(place, name.to_bytes()), ..At::default() };
        if self.is_covered(here, name, &found) {
            return None;
        }
        if self.allows(&path) {
            return is_directory.then_some(ordinary);
        }
        if is_directory {
            match class {
                Class::Git => return Some(At { git: true, ..ordinary }),
                Class::Above | Class::Leads | Class::Gitmodules => return Some(ordinary),
                Class::Code | Class::Hgrc => {}
            }
        } else if class == Class::Above && kind != libc::S_IFLNK {
            return None;
        }
        if self.before.is_same(&path, &found) {
            return is_directory.then_some(KEPT);
        }
        match class {
            Class::Git if kind == libc::S_IFREG => {
                match walk::read(here.fd, name, MOST_PATH) {
                    Ok(text) if self.leads_to_a_repository(here.path, &text) => {}
                    _ => self.take_away(here, name, "leads to no repository in what may be written to"),
                }
                return None;
            }
            Class::Hgrc if kind == libc::S_IFREG => {
                let harmless = walk::read(here.fd, name, MOST_TEXT).is_ok_and(|text| git::is_harmless_hgrc(&text));
                if harmless {
                    return None;
                }
            }
            Class::Gitmodules if kind == libc::S_IFREG => {
                self.cut(here, name, &found, &git::is_harmless_module);
                return None;
            }
            Class::Code | Class::Leads if kind != libc::S_IFLNK && self.before.is_moved(&path, &found) => {
                let allow = self.name_of(&path).map(Path::to_owned);
                self.findings.add(&path, Action::Moved, "", allow.as_deref());
                return is_directory.then_some(KEPT);
            }
            _ => {}
        }
        self.take_away(here, name, "");
        None
    }

    /// Whether a `.git` file leads to a git directory that is judged as such.
    fn leads_to_a_repository(&self, from: &Path, text: &[u8]) -> bool {
        let Some(path) = git::leads_to(text) else { return false };
        let path = clean(&from.join(OsStr::from_bytes(path)));
        if self.before.root_above(&path).is_none() {
            return false;
        }
        let Ok(directory) = walk::open_directory(&path) else { return false };
        let Ok(stat) = fd::stat(directory.as_fd()) else { return false };
        let mut signature = Signature::default();
        let here = Here { fd: directory.as_fd(), stat: &stat, path: &path };
        here.list(&mut vec![0; BUFFER], |name, _| signature.see(name.to_bytes())).is_ok() && signature.is_repository()
    }

    /// Leaves of a file of settings what is harmless.
    fn cut(&mut self, here: &Here<'_>, name: &CStr, found: &libc::stat, is_harmless: &dyn Fn(&git::Entry) -> bool) {
        let Ok(text) = walk::read(here.fd, name, MOST_TEXT) else {
            return self.take_away(here, name, "cannot be read as settings");
        };
        let Ok(config) = git::parse(&text) else { return self.take_away(here, name, "not understood") };
        let (kept, dropped): (Vec<_>, Vec<_>) = config.entries.into_iter().partition(|entry| is_harmless(entry));
        // Another name of it would be a way to change it when it is kept.
        if dropped.is_empty() && config.plain && found.st_nlink == 1 {
            return;
        }
        let path = here.join(name);
        let allow = self.name_of(&path).map(Path::to_owned);
        let written = write_anew(here.fd, name, found.st_mode & 0o666 | 0o600, &git::write(&kept));
        match written {
            // Only how it is written has changed.
            Ok(()) if dropped.is_empty() => {}
            Ok(()) => {
                let mut keys: Vec<_> = dropped
                    .iter()
                    .map(|entry| String::from_utf8_lossy(&entry.name()).escape_debug().to_string())
                    .collect();
                keys.dedup();
                keys.truncate(5);
                self.findings.add(&path, Action::Cut, keys.join(" "), allow.as_deref());
            }
            Err(errno) => self.findings.add(&path, Action::Failed, errno.desc(), allow.as_deref()),
        }
    }

    /// The parts of a git directory that name or are programs.
    fn git_directory(&mut self, here: &Here<'_>, inner: &mut Vec<(CString, At<'n>)>) {
        if self.allows(here.path) {
            return;
        }
        for name in OF_GIT {
            let path = here.join(name);
            let Some(found) = self.look(here, name) else { continue };
            if self.allows(&path) || self.is_covered(here, name, &found) {
                continue;
            }
            let kind = found.st_mode & libc::S_IFMT;
            let is_same = self.before.is_same(&path, &found)
                || kind != libc::S_IFLNK
                    && self.before.is_moved(&path, &found)
                    && !matches!(name.to_bytes(), b"commondir" | b"gitdir");
            match (name.to_bytes(), kind) {
                (b"hooks", libc::S_IFDIR) => {
                    let inside = if is_same { Inside::Kept } else { Inside::Hooks };
                    for (_, at) in
                        inner.iter_mut().filter(|(other, _)| fold(other.to_bytes()).as_ref() == name.to_bytes())
                    {
                        *at = At { inside, ..At::default() };
                    }
                }
                _ if is_same => {}
                (b"config" | b"config.worktree", libc::S_IFREG) => self.judge_config(here, name, &found),
                (b"commondir", libc::S_IFREG) if self.is_common_directory(here) => {}
                (b"gitdir", libc::S_IFREG) if self.is_back_reference(here) => {}
                _ => {
                    self.take_away(here, name, "of a git directory");
                    inner.retain(|(other, _)| fold(other.to_bytes()).as_ref() != name.to_bytes());
                }
            }
        }
        self.judge_todo(here);
    }

    fn judge_config(&mut self, here: &Here<'_>, name: &CStr, found: &libc::stat) {
        let before = self.before.configs.get(&here.join(name)).and_then(|text| git::parse(text).ok());
        let before = before.map(|config| config.entries).unwrap_or_default();
        let (path, roots) = (here.path.to_owned(), &self.before.roots);
        let is_own_tree = |tree: &[u8]| is_tree_of(&path, tree, roots.iter().map(|found| found.root.source.as_path()));
        self.cut(here, name, found, &|entry| before.contains(entry) || git::is_harmless(entry, &is_own_tree));
    }

    /// Of a work tree: its repository is two directories above, and so is judged.
    fn is_common_directory(&self, here: &Here<'_>) -> bool {
        let text = walk::read(here.fd, c"commondir", MOST_PATH).unwrap_or_default();
        let above = here.path.parent();
        let is_worktree = above.and_then(Path::file_name) == Some(OsStr::new("worktrees"));
        let repository = above.and_then(Path::parent);
        text.trim_ascii_end() == b"../.."
            && is_worktree
            && repository.is_some_and(|path| {
                self.before.root_above(&path.join("x")).is_some() && walk::find(&path.join("HEAD")).is_ok()
            })
    }

    /// Of a work tree: where its `.git` is.
    fn is_back_reference(&self, here: &Here<'_>) -> bool {
        let text = walk::read(here.fd, c"gitdir", MOST_PATH).unwrap_or_default();
        let path = text.trim_ascii_end();
        let is_clean = !path.iter().any(u8::is_ascii_control);
        is_clean
            && path.ends_with(b"/.git")
            && self.before.root_above(&clean(&here.path.join(OsStr::from_bytes(path)))).is_some()
    }

    /// What a rebase that was interrupted would execute.
    fn judge_todo(&mut self, here: &Here<'_>) {
        let path = here.join(TODO);
        let Some(found) = self.look(here, TODO) else { return };
        if self.before.is_same(&path, &found) || self.allows(&path) {
            return;
        }
        let Ok(directory) = fd::open(here.fd, c"rebase-merge", libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        else {
            return self.take_away(here, c"rebase-merge", "of a git directory");
        };
        let inner = path.parent().unwrap_or(&path).to_owned();
        let stat = match fd::stat(directory.as_fd()) {
            Ok(stat) => stat,
            Err(errno) => return self.unseen(&inner, errno),
        };
        let inner = Here { fd: directory.as_fd(), stat: &stat, path: &inner };
        let name = c"git-rebase-todo";
        match walk::read(inner.fd, name, MOST_TEXT) {
            Err(_) => self.take_away(&inner, name, "cannot be read"),
            Ok(text) => {
                let Some(left) = git::without_commands(&text) else { return };
                let allow = self.name_of(&path).map(Path::to_owned);
                match write_anew(inner.fd, name, 0o644, &left) {
                    Ok(()) => self.findings.add(&path, Action::Cut, "exec", allow.as_deref()),
                    Err(errno) => self.findings.add(&path, Action::Failed, errno.desc(), allow.as_deref()),
                }
            }
        }
    }

    /// Something in a directory of hooks that was not there.
    fn hook(&mut self, here: &Here<'_>, name: &CStr) -> Option<At<'n>> {
        let found = self.look(here, name)?;
        let path = here.join(name);
        let is_regular = found.st_mode & libc::S_IFMT == libc::S_IFREG;
        let is_sample = is_regular && name.to_bytes().ends_with(b".sample");
        if !is_sample
            && !self.allows(&path)
            && !self.before.is_same(&path, &found)
            && !self.before.is_moved(&path, &found)
        {
            self.take_away(here, name, "");
        }
        None
    }

    /// Something in what was kept: another name of it may have been written to.
    fn kept(&mut self, here: &Here<'_>, name: &CStr) -> Option<At<'n>> {
        let found = self.look(here, name)?;
        match found.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Some(KEPT),
            libc::S_IFREG => {
                let path = here.join(name);
                let of_path = self.before.known.get(&path);
                let known = of_path.or_else(|| self.before.moved.get(&walk::id(&found)));
                // Another file in its place is somebody's outside: here, nobody in the sandbox could make one.
                if known.is_some_and(|known| known.id == walk::id(&found) && !known.is(&path, &found)) {
                    self.take_away(here, name, "changed by another name of it");
                }
                None
            }
            _ => None,
        }
    }
}

/// Whether `core.worktree` leads to a tree whose `.git` leads back: a submodule, as git makes it.
fn is_tree_of<'r>(directory: &Path, tree: &[u8], mut roots: impl Iterator<Item = &'r Path>) -> bool {
    let tree = clean(&directory.join(OsStr::from_bytes(tree)));
    if !roots.any(|root| tree.starts_with(root) && tree != *root) {
        return false;
    }
    let Ok(found) = walk::open_directory(&tree) else { return false };
    let Ok(text) = walk::read(found.as_fd(), c".git", MOST_PATH) else { return false };
    git::leads_to(&text).is_some_and(|back| clean(&tree.join(OsStr::from_bytes(back))) == *directory)
}

/// Puts a new file in the place of one that may have other names. On a full disk the old one is gone, too: it would run
/// something.
fn write_anew(above: BorrowedFd<'_>, name: &CStr, mode: u32, text: &[u8]) -> nix::Result<()> {
    let draft = CString::new([name.to_bytes(), b".pent-draft"].concat()).map_err(|_| Errno::EINVAL)?;
    let written = write_draft(above, &draft, mode, text);
    let placed = written.and_then(|()| renameat(above, draft.as_c_str(), above, name));
    if placed.is_err() {
        let (_draft, _old) = (fd::unlink(above, &draft), fd::unlink(above, name));
    }
    placed
}

/// A new file: whatever has that name is nobody's whom it was made for.
fn write_draft(above: BorrowedFd<'_>, draft: &CStr, mode: u32, text: &[u8]) -> nix::Result<()> {
    walk::remove(above, draft)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(above, draft, flags, Mode::from_bits_truncate(mode))?);
    file.write_all(text).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

impl<'n> Visitor for End<'_, 'n> {
    type Place = At<'n>;

    fn enter(&mut self, here: Here<'_>, at: At<'n>) -> Vec<(CString, At<'n>)> {
        if self.patience.is_some_and(|until| Instant::now() > until) {
            self.patience = None;
            let root = shell_word(self.root.source.as_os_str().as_bytes());
            crate::report::say(&format!("pent: still looking through {root} for what would run later\n"));
        }
        // A root in another one is looked at by itself.
        if here.path != self.root.source && self.covered.contains(&walk::id(here.stat)) {
            return Vec::new();
        }
        let mut place = at.names;
        if at.inside == Inside::Tree && self.before.is_home(here.path, walk::id(here.stat)) {
            place = place.at_home();
        }
        let (mut inner, mut found) = (Vec::new(), Vec::new());
        let mut signature = Signature::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let (names, before) = (self.names, self.before);
        let findings = &mut self.findings;
        let listed = here.list(&mut buffer, |name, kind| {
            signature.see(name.to_bytes());
            let class =
                if at.inside == Inside::Tree { names.class(&place, name.to_bytes()) } else { Some(Class::Code) };
            if kind == libc::DT_REG {
                match here.look(name) {
                    Ok(Some(stat)) => before.judge_ordinary(&here, name, &stat, findings),
                    Ok(None) => {}
                    Err(errno) => findings.add(&here.join(name), Action::Unseen, errno.desc(), None),
                }
            }
            match class {
                Some(class) => found.push((name.to_owned(), class)),
                None if kind == libc::DT_DIR => inner.push((name.to_owned(), At::default())),
                None => {}
            }
        });
        self.buffer = buffer;
        if let Err(why) = listed {
            self.unseen(here.path, why);
        }
        for (name, below) in &mut inner {
            below.names = self.names.below(&place, name.to_bytes());
        }
        for (name, class) in found {
            let below = match at.inside {
                Inside::Tree => self.named(&here, &name, class, &place),
                Inside::Kept => self.kept(&here, &name),
                Inside::Hooks => self.hook(&here, &name),
            };
            inner.extend(below.map(|below| (name, below)));
        }
        if at.inside == Inside::Tree && (at.git || signature.is_repository()) {
            self.git_directory(&here, &mut inner);
        }
        inner
    }

    fn closed(&mut self, path: PathBuf, why: Errno) {
        // What the caller may not look into, the program could not either: it has the same user and fewer rights.
        if why == Errno::EACCES && !nix::unistd::geteuid().is_root() {
            return;
        }
        self.unseen(&path, why);
    }

    fn opens(&self) -> bool {
        true
    }
}
