//! Goes through directories of the host: by descriptor, without following links, nearest first, and no further than a
//! budget.
//!
//! What is found is the visitor's to judge. A directory that is begun is read to its end, so that what lies high in a
//! tree is seen however much there is below it.
#![forbid(unsafe_code)]

use crate::sandbox::absent::Doubts;
use crate::sys::fd::{self, resolve};
use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// How much may be looked at, shared by several walks.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Names in directories.
    pub entries: usize,
    /// On a slow disk or a network.
    pub until: Instant,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.entries == 0 || Instant::now() >= self.until
    }
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The name.
    pub name: &'a CStr,
    /// `DT_*`.
    pub kind: u8,
    /// Its inode, as the directory says.
    pub number: u64,
    /// The directory, without links.
    pub directory: &'a Path,
    /// The same, open.
    pub fd: BorrowedFd<'a>,
    /// 0 in the root of the walk.
    pub depth: usize,
    doubts: &'a Doubts,
}

impl Entry<'_> {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.name.to_bytes()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(OsStr::from_bytes(self.bytes()))
    }

    /// Itself, not what it leads to.
    #[must_use]
    pub fn look(&self) -> Option<libc::stat> {
        let found = fd::stat_at(self.fd, self.name, libc::AT_SYMLINK_NOFOLLOW);
        self.doubts.see(self.directory, found.map_err(Into::into))
    }
}

/// The beginning of an open file; nothing where that is no regular one.
pub(super) fn read_some(file: BorrowedFd<'_>, most: usize) -> io::Result<Option<Vec<u8>>> {
    if fd::stat(file)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Ok(None);
    }
    let mut text = vec![0; most];
    let mut len = 0;
    while len < most {
        match fd::read(file, &mut text[len..])? {
            0 => break,
            more => len += more,
        }
    }
    text.truncate(len);
    Ok(Some(text))
}

/// What to do with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is not gone into; the same for what is no directory.
    Pass,
    /// After those that are as near.
    Enter,
    /// After everything else.
    Last,
    /// Nothing more is looked for.
    Enough,
}

/// Goes through `roots` and what is below them, but not into `skip`. Returns the directories
/// that the budget did not reach, the nearest first.
pub(super) fn walk(
    roots: impl IntoIterator<Item = PathBuf>,
    budget: &mut Budget,
    skip: &HashSet<PathBuf>,
    doubts: &Doubts,
    mut visit: impl FnMut(&Entry<'_>) -> Next,
) -> Vec<PathBuf> {
    let mut queue: VecDeque<(PathBuf, usize)> = roots.into_iter().map(|root| (root, 0)).collect();
    let mut last: VecDeque<(PathBuf, usize)> = VecDeque::new();
    let mut buffer = vec![0; 32 << 10];
    while let Some((directory, depth)) = queue.pop_front().or_else(|| last.pop_front()) {
        if budget.is_spent() {
            let rest = queue.into_iter().chain(last).map(|(path, _)| path);
            return [directory].into_iter().chain(rest).collect();
        }
        let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { continue };
        // What cannot be opened cannot be by the program either, which has fewer rights.
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let open = fd::open_in(fd::CWD, &path, flags, 0, resolve::NO_SYMLINKS);
        let Some(open) = doubts.see(&directory, open.map_err(Into::into)) else { continue };
        while let Some(len) = doubts.see(&directory, fd::read_dir(open.as_fd(), &mut buffer).map_err(Into::into)) {
            if len == 0 {
                break;
            }
            for (name, kind, number) in fd::numbered_entries(&buffer[..len]) {
                budget.entries = budget.entries.saturating_sub(1);
                let mut entry = Entry { name, kind, number, directory: &directory, fd: open.as_fd(), depth, doubts };
                if kind == libc::DT_UNKNOWN {
                    entry.kind = entry.look().map_or(kind, |st| kind_of(&st));
                }
                let next = visit(&entry);
                if next == Next::Enough {
                    return Vec::new();
                }
                if next == Next::Pass || entry.kind != libc::DT_DIR {
                    continue;
                }
                let below = entry.path();
                if !skip.contains(&below) {
                    if next == Next::Last { &mut last } else { &mut queue }.push_back((below, depth + 1));
                }
            }
        }
    }
    Vec::new()
}

fn kind_of(st: &libc::stat) -> u8 {
    match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => libc::DT_DIR,
        libc::S_IFLNK => libc::DT_LNK,
        libc::S_IFREG => libc::DT_REG,
        libc::S_IFSOCK => libc::DT_SOCK,
        _ => libc::DT_UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    fn budget(entries: usize) -> Budget {
        Budget { entries, until: Instant::now() + Duration::from_secs(60) }
    }

    fn names(root: &Path, budget: &mut Budget, skip: &HashSet<PathBuf>) -> (Vec<String>, usize) {
        let mut seen = Vec::new();
        let left = walk([root.to_owned()], budget, skip, &Doubts::default(), |entry| {
            seen.push(entry.name.to_string_lossy().into_owned());
            if entry.bytes() == b"node_modules" { Next::Last } else { Next::Enter }
        });
        (seen, left.len())
    }

    #[test]
    fn the_nearest_come_first_and_links_are_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in ["node_modules/m", "a/b", "skipped/s"] {
            fs::create_dir_all(dir.path().join(path)).expect("directories");
        }
        std::os::unix::fs::symlink("/", dir.path().join("a/root")).expect("a link");
        fs::write(dir.path().join("a/b/file"), "").expect("a file");
        let skip = HashSet::from([dir.path().join("skipped")]);
        let (seen, left) = names(dir.path(), &mut budget(1000), &skip);
        let at = |name: &str| seen.iter().position(|seen| seen == name).expect(name);
        assert!(at("a") < at("b") && at("b") < at("file") && at("file") < at("m"), "{seen:?}");
        assert_eq!((seen.contains(&"s".to_owned()), seen.contains(&"usr".to_owned()), left), (false, false, 0));
        // What is begun is read to its end.
        let mut small = budget(1);
        let (seen, left) = names(dir.path(), &mut small, &HashSet::new());
        assert_eq!((seen.len(), left, small.entries), (3, 3, 0), "{seen:?}");
    }
}
