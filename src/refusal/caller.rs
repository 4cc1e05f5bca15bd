//! The thread that waits for an answer, seen through `/proc`: its memory, its working directory, its rights.
//!
//! All of it may be changed by other threads while it is looked at, so that it only ever decides what is reported. Nothing
//! is looked up outside of the thread's own root.
#![forbid(unsafe_code)]

use crate::sys::fd::{self, resolve};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// The longest name that the kernel takes, its NUL included (`PATH_MAX`).
const NAME: usize = 4096;
const PAGE: u64 = 4096;

/// A thread, held by its directory in `/proc`: when it ends, that is empty, and never another thread's.
pub(super) struct Caller {
    directory: OwnedFd,
    memory: Option<File>,
}

/// The ids and capabilities that file accesses are checked against, in the supervisor's user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// Real, effective, saved, of file accesses.
    pub(super) uids: [u32; 4],
    pub(super) gids: [u32; 4],
    pub(super) groups: Vec<u32>,
    /// Effective capabilities, in the thread's own user namespace.
    pub(super) capabilities: u64,
    /// Lines of `uid_map` and `gid_map`: inside, outside, count.
    pub(super) uid_map: Vec<[u32; 3]>,
    pub(super) gid_map: Vec<[u32; 3]>,
}

impl Rights {
    pub(super) fn has(&self, capability: u8) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    /// Whether the thread is in a user namespace other than the supervisor's, as far as its mappings tell.
    pub(super) fn is_contained(&self) -> bool {
        self.uid_map != [[0, 0, u32::MAX]]
    }

    /// Whether capabilities count for a file of these owners (`capable_wrt_inode_uidgid`).
    pub(super) fn covers(&self, uid: u32, gid: u32) -> bool {
        inside(&self.uid_map, uid).is_some() && inside(&self.gid_map, gid).is_some()
    }

    pub(super) fn in_group(&self, gid: u32) -> bool {
        self.gids[3] == gid || self.groups.contains(&gid)
    }
}

/// What an id outside is inside.
pub(super) fn inside(map: &[[u32; 3]], id: u32) -> Option<u32> {
    map.iter().find_map(|[inside, outside, count]| {
        let offset = id.checked_sub(*outside)?;
        (offset < *count).then(|| inside.saturating_add(offset))
    })
}

impl Caller {
    /// Takes hold of a thread by its id. The id may be another thread's by now: whoever asked must ask the kernel after this
    /// whether the call still waits.
    pub(super) fn open(tid: u32) -> Result<Self, Errno> {
        if tid == 0 {
            return Err(Errno::ESRCH);
        }
        let path = c_string(format!("/proc/{tid}").into_bytes())?;
        Ok(Self { directory: fd::open(fd::CWD, &path, libc::O_PATH | libc::O_DIRECTORY)?, memory: None })
    }

    fn file(&self, name: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
        fd::open(self.directory.as_fd(), name, flags)
    }

    /// The beginning of one of its files.
    pub(super) fn text(&self, name: &CStr, most: usize) -> Result<Vec<u8>, Errno> {
        let file = self.file(name, libc::O_RDONLY)?;
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while text.len() < most {
            match fd::read(file.as_fd(), &mut part)? {
                0 => break,
                n => text.extend_from_slice(&part[..n]),
            }
        }
        Ok(text)
    }

    /// Its root directory.
    pub(super) fn root(&self) -> Result<OwnedFd, Errno> {
        self.file(c"root", libc::O_PATH | libc::O_DIRECTORY)
    }

    /// What one of its magic links says.
    pub(super) fn link(&self, name: &CStr) -> Result<Vec<u8>, Errno> {
        let mut target = [0; NAME];
        let len = fd::readlink(self.directory.as_fd(), name, &mut target)?;
        if len == target.len() { Err(Errno::ENAMETOOLONG) } else { Ok(target[..len].to_vec()) }
    }

    /// Copies from its memory; how much could be read.
    pub(super) fn read(&mut self, address: u64, into: &mut [u8]) -> usize {
        if self.memory.is_none() {
            self.memory = self.file(c"mem", libc::O_RDONLY).ok().map(File::from);
        }
        let Some(memory) = &self.memory else { return 0 };
        memory.read_at(into, address).unwrap_or(0)
    }

    /// A string in its memory, without its NUL. Nothing is read past the page that the NUL is in.
    pub(super) fn string(&mut self, address: u64) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let mut at = address;
        while name.len() < NAME {
            let mut page = [0; PAGE as usize];
            let rest = usize::try_from(PAGE - at % PAGE).unwrap_or(0);
            let read = self.read(at, &mut page[..rest]);
            let part = &page[..read];
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                name.extend_from_slice(&part[..end]);
                return (name.len() < NAME).then_some(name);
            }
            if read < rest {
                return None;
            }
            name.extend_from_slice(part);
            at = at.checked_add(PAGE - at % PAGE)?;
        }
        None
    }

    /// What a relative name is relative to, as a path inside its root: `directory` is a descriptor, or `AT_FDCWD`.
    pub(super) fn base(&self, directory: Option<u64>) -> Option<Vec<u8>> {
        let number = directory.map(|word| {
            let [low, _] = [u32::try_from(word & 0xffff_ffff).ok()?, 0];
            Some(low.cast_signed())
        });
        let link = match number {
            None | Some(Some(libc::AT_FDCWD)) => self.link(c"cwd").ok()?,
            Some(Some(number)) if number >= 0 => {
                self.link(&c_string(format!("fd/{number}").into_bytes()).ok()?).ok()?
            }
            Some(_) => return None,
        };
        let root = self.link(c"root").ok()?;
        strip(&link, &root).filter(|path| !path.ends_with(b" (deleted)"))
    }

    pub(super) fn rights(&self) -> Result<Rights, Errno> {
        let status = self.text(c"status", 1 << 16)?;
        Ok(Rights {
            uid_map: map(&self.text(c"uid_map", 1 << 14)?),
            gid_map: map(&self.text(c"gid_map", 1 << 14)?),
            ..rights(&status)
        })
    }
}

/// A path as it is seen from a root; nothing when it is not below it.
pub(super) fn strip(path: &[u8], root: &[u8]) -> Option<Vec<u8>> {
    if !path.starts_with(b"/") {
        return None;
    }
    if root == b"/" {
        return Some(path.to_vec());
    }
    match path.strip_prefix(root)? {
        b"" => Some(b"/".to_vec()),
        rest if rest.starts_with(b"/") => Some(rest.to_vec()),
        _ => None,
    }
}

pub(super) fn c_string(bytes: Vec<u8>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

fn map(text: &[u8]) -> Vec<[u32; 3]> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
        Some([numbers.next()?, numbers.next()?, numbers.next()?])
    };
    text.lines().filter_map(line).collect()
}

/// The lines of `/proc/PID/status` (proc_pid_status(5)).
fn rights(status: &[u8]) -> Rights {
    let text = String::from_utf8_lossy(status);
    let mut rights = Rights::default();
    let four = |value: &str| {
        let mut ids = value.split_whitespace().map_while(|id| id.parse().ok());
        std::array::from_fn(|_| ids.next().unwrap_or(u32::MAX))
    };
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name {
            "Uid" => rights.uids = four(value),
            "Gid" => rights.gids = four(value),
            "Groups" => rights.groups = value.split_whitespace().filter_map(|id| id.parse().ok()).collect(),
            "CapEff" => rights.capabilities = u64::from_str_radix(value.trim(), 16).unwrap_or(0),
            _ => {}
        }
    }
    rights
}

/// A name inside a root that was looked up.
pub(super) struct Found {
    /// What is there; nothing when there is no such name.
    pub(super) target: Option<OwnedFd>,
    /// The directory that the name is in, when there is no target.
    pub(super) parent: Option<OwnedFd>,
    /// Absolute, seen from the root, without links where it exists.
    pub(super) path: Vec<u8>,
}

/// Looks a path up inside a root; links lead nowhere else, and a magic link nowhere. Nothing is opened: a device, a
/// FIFO or a process's file does not notice.
///
/// # Errors
/// What else than a missing name keeps it from being looked up.
pub(super) fn look_up(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Result<Found, Errno> {
    let flags = libc::O_PATH | if follow { 0 } else { libc::O_NOFOLLOW };
    let open = |path: &[u8], flags| {
        fd::open_in(root, &c_string(path.to_vec())?, flags, 0, resolve::IN_ROOT | resolve::NO_MAGICLINKS)
    };
    match open(path, flags) {
        Ok(target) => {
            let path = path_of(root, target.as_fd())?;
            Ok(Found { target: Some(target), parent: None, path })
        }
        Err(Errno::ENOENT) => {
            let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let (directory, name) = path.split_at(name_at);
            let directory = if directory.is_empty() { b"/" } else { directory };
            match open(directory, libc::O_PATH | libc::O_DIRECTORY) {
                Ok(parent) if !name.is_empty() => {
                    let mut path = path_of(root, parent.as_fd())?;
                    if path != b"/" {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                    Ok(Found { target: None, parent: Some(parent), path })
                }
                Ok(_) | Err(Errno::ENOENT) => Ok(Found { target: None, parent: None, path: path.to_vec() }),
                Err(errno) => Err(errno),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// Where a descriptor leads, seen from a root.
fn path_of(root: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let link = |fd: BorrowedFd<'_>| {
        let mut target = [0; NAME];
        let name = c_string(format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes())?;
        let len = fd::readlink(fd::CWD, &name, &mut target)?;
        Ok::<_, Errno>(target[..len].to_vec())
    };
    strip(&link(fd)?, &link(root)?).ok_or(Errno::EXDEV)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_thread_is_seen_as_it_is() {
        let mut caller = Caller::open(std::process::id()).expect("this process");
        let text = c"a string of this process";
        let address = u64::try_from(text.as_ptr().addr()).expect("an address");
        assert_eq!(caller.string(address).as_deref(), Some(text.to_bytes()));
        assert_eq!(caller.string(0), None);
        let long = vec![b'x'; 10_000];
        assert_eq!(caller.string(u64::try_from(long.as_ptr().addr()).expect("an address")), None);
        let rights = caller.rights().expect("its rights");
        assert_eq!(rights.uids[1], nix::unistd::geteuid().as_raw());
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(caller.base(None).as_deref(), Some(here.as_os_str().as_encoded_bytes()));
        assert_eq!(caller.base(Some(u64::MAX - 99)).as_deref(), Some(here.as_os_str().as_encoded_bytes()));
        assert_eq!(caller.base(Some(12345)), None);
        assert!(Caller::open(0).is_err());
    }

    #[test]
    fn rights_are_read() {
        let status = b"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t00000000000004c1\n";
        let rights = Rights { uid_map: map(b"0 100000 10\n"), gid_map: map(b"0 0 1"), ..rights(status) };
        assert_eq!((rights.uids, rights.gids, rights.groups.as_slice()), ([1, 2, 3, 4], [5, 6, 7, 8], &[9, 10][..]));
        assert!(rights.has(0) && rights.has(10) && !rights.has(1));
        assert!(rights.in_group(8) && rights.in_group(9) && !rights.in_group(5));
        assert!(rights.covers(100_009, 0) && !rights.covers(100_010, 0) && !rights.covers(100_000, 1));
        assert_eq!(inside(&rights.uid_map, 100_003), Some(3));
    }

    #[test]
    fn links_do_not_lead_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::create_dir(root.join("etc")).expect("a directory");
        std::fs::write(root.join("etc/passwd"), "inside").expect("a file");
        symlink("/etc", root.join("link")).expect("a link");
        symlink("../../../../../etc/shadow", root.join("out")).expect("a link");
        symlink("/proc/self/root/etc/hostname", root.join("magic")).expect("a link");
        let root = std::fs::File::open(root).expect("the root");
        let look = |path: &str| look_up(root.as_fd(), path.as_bytes(), true);
        assert_eq!(look("/link/passwd").expect("found").path, b"/etc/passwd");
        let missing = look("/out").expect("looked up");
        assert!(missing.target.is_none() && missing.parent.is_some());
        let missing = look("/link/x").expect("looked up");
        assert_eq!((missing.path.as_slice(), missing.parent.is_some()), (&b"/etc/x"[..], true));
        assert!(look("/nowhere/x/y").expect("looked up").parent.is_none());
        assert!(look("/magic").expect("looked up").target.is_none());
        assert_eq!(look("/etc/passwd/x").err(), Some(Errno::ENOTDIR));
    }

    #[test]
    fn paths_are_seen_from_the_root() {
        assert_eq!(strip(b"/a/b", b"/").as_deref(), Some(&b"/a/b"[..]));
        assert_eq!(strip(b"/a/b", b"/a").as_deref(), Some(&b"/b"[..]));
        assert_eq!(strip(b"/a", b"/a").as_deref(), Some(&b"/"[..]));
        assert_eq!(strip(b"/ab", b"/a"), None);
        assert_eq!(strip(b"socket:[1]", b"/"), None);
    }
}
