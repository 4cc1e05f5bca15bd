//! Layers into a directory. Their content is not trusted: every path is resolved inside the directory, by descriptor.
//!
//! Owners, devices, set-user-id bits and extended attributes are left out: a sandbox runs as one user, without devices of
//! its own, and gains nothing by executing a file.
#![forbid(unsafe_code)]

use crate::path;
use crate::sys::fd::{self, resolve};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use tar::EntryType;
use thiserror::Error;

/// Bytes of all files of an image together.
pub(super) const MOST_BYTES: u64 = 64 << 30;
/// Files, directories and links of an image together.
const MOST_FILES: u64 = 4_000_000;
/// Bytes of their names together, which are kept in memory.
const MOST_NAMES: u64 = 256 << 20;
/// Bytes before the content of a file: its header, and long names and attributes, which are read into memory whole.
pub(super) const LARGEST_HEADER: u64 = 1 << 20;
/// Files of this size are asked room for before they are written.
const LARGE: u64 = 16 << 20;
/// Directories in each other; more would need as many open descriptors to remove.
const DEEPEST: usize = 256;
/// The mode of directories that no layer lists.
const UNLISTED: u32 = 0o755;
/// Stands in a layer for a file below it that is gone (image-spec, layer.md).
const WHITEOUT: &[u8] = b".wh.";
/// Stands for everything below it in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What pax records of a sparse file begin with: GNU tar's own format, of which the content has a map before it.
const SPARSE: &[u8] = b"GNU.sparse.";

/// How much was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Why a layer cannot be unpacked.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("damaged: {0}")]
    Damaged(#[source] io::Error),
    #[error("{}: {why}", shown(path))]
    Entry { path: Vec<u8>, why: String },
}

/// A name for a message: as much of it as anybody reads.
pub(super) fn shown(path: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(path);
    let start: String = text.chars().take(MOST).collect();
    format!("{}{}", start.escape_debug(), if start.len() < text.len() { "…" } else { "" })
}

/// What a directory gets when everything is in it, since it may take away the right to write there.
struct Late {
    mode: u32,
    time: i64,
}

/// Layers are put into `root`, the lowest first.
pub(super) struct Unpacker {
    root: OwnedFd,
    owner: Option<(u32, u32)>,
    /// By where they are, whatever links an archive goes through to name them.
    directories: BTreeMap<Vec<u8>, Late>,
    /// Devices that were left out, and links to them.
    devices: HashSet<Vec<u8>>,
    tally: Tally,
    names: u64,
}

/// A reader that stops where it was told to: what is before the content of a file is of a size that the archive chooses.
pub(super) struct Metered<'a, R> {
    pub(super) inner: R,
    pub(super) left: &'a Cell<u64>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 && !buf.is_empty() {
            return Err(io::Error::other(format!("a header of more than {} MiB", LARGEST_HEADER >> 20)));
        }
        let count = self.inner.read(&mut buf[..most])?;
        self.left.set(self.left.get() - count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl Unpacker {
    pub(super) fn new(root: OwnedFd, owner: Option<(u32, u32)>) -> Self {
        let (directories, devices) = (BTreeMap::new(), HashSet::new());
        Self { root, owner, directories, devices, tally: Tally::default(), names: 0 }
    }

    /// Unpacks a layer over those before it.
    pub(super) fn layer(&mut self, reader: impl Read) -> Result<(), Fault> {
        let left = Cell::new(LARGEST_HEADER);
        let mut archive = tar::Archive::new(Metered { inner: reader, left: &left });
        let mut own = HashSet::new();
        let mut entries = archive.entries().map_err(Fault::Damaged)?;
        loop {
            left.set(LARGEST_HEADER);
            let Some(entry) = entries.next() else { return Ok(()) };
            let mut entry = entry.map_err(Fault::Damaged)?;
            left.set(u64::MAX);
            if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
                continue;
            }
            let name = entry.path_bytes().into_owned();
            let at = |why: String| Fault::Entry { path: name.clone(), why };
            self.tally.files += 1;
            self.tally.bytes = self.tally.bytes.saturating_add(entry.size());
            self.names += name.len() as u64;
            if self.tally.files > MOST_FILES || self.tally.bytes > MOST_BYTES || self.names > MOST_NAMES {
                let (bytes, names) = (MOST_BYTES >> 30, MOST_NAMES >> 20);
                return Err(at(format!(
                    "the image is larger than {bytes} GiB, {MOST_FILES} files or {names} MiB of names"
                )));
            }
            let path = components(&name).map_err(|why| at(why.to_owned()))?;
            self.entry(&mut entry, &path, &mut own).map_err(|error| at(error.to_string()))?;
            // What nobody wanted of it; it is no header of the next.
            io::copy(&mut entry, &mut io::sink()).map_err(Fault::Damaged)?;
        }
    }

    /// Makes what engines give every container of an image, where the image has nothing there: a sandbox cannot, since it never
    /// writes into an image. The working directory too.
    pub(super) fn furnish(&mut self, working_dir: &str) -> Result<(), Fault> {
        let made = |name: &str, mode: u32, content: Option<&str>| {
            self.provide(name, mode, content)
                .map_err(|error| Fault::Entry { path: name.into(), why: error.to_string() })
        };
        for name in ["dev", "proc", "run", "sys"] {
            made(name, 0o755, None)?;
        }
        made("tmp", 0o1777, None)?;
        made("etc/hosts", 0o644, Some("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"))?;
        // With --net host the host's own is mounted over it.
        made("etc/resolv.conf", 0o644, Some(""))?;
        made(crate::spec::clean(working_dir).trim_start_matches('/'), 0o755, None)
    }

    /// Makes a file of this content, or a directory, and the directories above it. What is there stays, even a link that leads
    /// nowhere.
    fn provide(&self, name: &str, mode: u32, content: Option<&str>) -> io::Result<()> {
        let name = CString::new(name)?;
        let leaf = if content.is_some() { path::Leaf::File } else { path::Leaf::Directory };
        match path::open(self.root.as_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            found => return Ok(found.map(drop)?),
        }
        let flags = if content.is_some() { libc::O_RDWR } else { libc::O_RDONLY | libc::O_DIRECTORY };
        drop(self.ensure(&name, leaf)?);
        let mut file = File::from(path::open(self.root.as_fd(), &name, flags)?);
        io::Write::write_all(&mut file, content.unwrap_or_default().as_bytes())?;
        set_mode(&file, mode)
    }

    /// Opens a path in the image. What is missing of it, directories that no layer lists, is like what a layer has.
    fn ensure(&self, path: &CStr, leaf: path::Leaf) -> nix::Result<OwnedFd> {
        path::ensure_with(self.root.as_fd(), path, leaf, &|dir, name| {
            // The caller's umask is no business of the image's.
            fd::chmod(dir, name, UNLISTED)?;
            self.give(dir, name)
        })
    }

    /// To the owner of the image.
    fn give(&self, dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        fd::chown(dir, name, uid, gid)
    }

    /// Sets what was put off; how much there is in all.
    pub(super) fn finish(mut self) -> Result<Tally, Fault> {
        self.settle_root()
            .map_err(|errno| Fault::Entry { path: b"/".to_vec(), why: io::Error::from(errno).to_string() })?;
        // The deepest first: a directory may end without the right to enter it.
        for (path, late) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.settle(&path, &late).map_err(|error| Fault::Entry { path: path.clone(), why: error.to_string() })?;
        }
        Ok(self.tally)
    }

    /// The root is like any other directory; if the image lists it, its mode is still to come.
    fn settle_root(&self) -> nix::Result<()> {
        nix::sys::stat::fchmod(&self.root, Mode::from_bits_truncate(UNLISTED))?;
        self.give(self.root.as_fd(), c"")
    }

    fn settle(&self, path: &[u8], late: &Late) -> io::Result<()> {
        let name = CString::new(path)?;
        // It may have been removed, or replaced by a link, by a higher layer.
        let dir = match path::open_plain(self.root.as_fd(), &name, libc::O_RDONLY | libc::O_DIRECTORY) {
            Ok(dir) => File::from(dir),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        set_time(&dir, late.time)?;
        set_mode(&dir, late.mode)
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &[u8],
        own: &mut HashSet<Vec<u8>>,
    ) -> io::Result<()> {
        let (parent, name) = match path.iter().rposition(|&b| b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let mode = entry.header().mode().unwrap_or(0o644) & 0o1777;
        let time = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
        if name.is_empty() {
            self.directories.insert(Vec::new(), Late { mode, time });
            return Ok(());
        }
        let parent_name = CString::new(parent)?;
        let dir = self.ensure(&parent_name, path::Leaf::Directory)?;
        // An O_PATH descriptor cannot be read, which removing takes.
        let dir = fd::open(dir.as_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY)?;
        if name == OPAQUE {
            return clear(&dir, parent, own);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let below = [parent, b"/", hidden].concat();
            let mine = own.contains(if parent.is_empty() { hidden } else { &below });
            return if mine || hidden.is_empty() || is_dots(hidden) { Ok(()) } else { remove(&dir, hidden) };
        }
        self.place(entry, &dir, name, path, Late { mode, time })?;
        own.insert(path.to_owned());
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
        late: Late,
    ) -> io::Result<()> {
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let text = CString::new(name)?;
        if entry.pax_extensions()?.into_iter().flatten().flatten().any(|pax| pax.key_bytes().starts_with(SPARSE)) {
            return Err(io::Error::other(
                "sparse files in pax archives are not supported: make it with tar --format=gnu",
            ));
        }
        let kind = match entry.header().entry_type() {
            // Before POSIX, that was how an archive said so.
            EntryType::Regular if entry.path_bytes().ends_with(b"/") => EntryType::Directory,
            kind => kind,
        };
        match kind {
            EntryType::Directory => {
                make_directory(dir, &text)?;
                self.directories.insert(self.place_of(dir, name, path), late);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                remove(dir, name)?;
                has_room(dir, entry.size())?;
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
                let file = fd::open_in(dir.as_fd(), &text, flags, 0o600, resolve::BENEATH | resolve::NO_SYMLINKS)?;
                let mut file = File::from(file);
                io::copy(entry, &mut file)?;
                set_mode(&file, late.mode)?;
                set_time(&file, late.time)?;
            }
            EntryType::Symlink => {
                remove(dir, name)?;
                fd::symlink(&CString::new(link)?, dir.as_fd(), &text)?;
                let time = TimeSpec::new(late.time, 0);
                utimensat(dir, text.as_c_str(), &time, &time, UtimensatFlags::NoFollowSymlink)?;
            }
            EntryType::Link => {
                let is_device = components(&link).is_ok_and(|target| self.devices.contains(&target));
                return match self.hard_link(&link, dir, name) {
                    Err(error) if is_device && error.kind() == io::ErrorKind::NotFound => {
                        self.leave_out(dir, name, path)
                    }
                    linked => linked,
                };
            }
            EntryType::Fifo => {
                remove(dir, name)?;
                fd::mknod(dir.as_fd(), &text, libc::S_IFIFO | late.mode, 0)?;
                fd::chmod(dir.as_fd(), &text, late.mode)?;
            }
            // It would not work in a sandbox, which has its own /dev.
            EntryType::Char | EntryType::Block => return self.leave_out(dir, name, path),
            // No files.
            _ => return Ok(()),
        }
        Ok(self.give(dir.as_fd(), &text)?)
    }

    /// A device: what a lower layer has in its place is hidden all the same.
    fn leave_out(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> io::Result<()> {
        self.devices.insert(path.to_owned());
        remove(dir, name)
    }

    /// Where a name in a directory is in the image, without links; `path` is how the archive gets there.
    fn place_of(&self, dir: &OwnedFd, name: &[u8], path: &[u8]) -> Vec<u8> {
        if path.len() == name.len() {
            return path.to_owned();
        }
        let real = |fd: &OwnedFd| nix::fcntl::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str());
        let (Ok(root), Ok(dir)) = (real(&self.root), real(dir)) else { return path.to_owned() };
        match Path::new(&dir).strip_prefix(root) {
            Ok(inside) => inside.join(OsStr::from_bytes(name)).into_os_string().into_vec(),
            Err(_) => path.to_owned(),
        }
    }

    /// A second name. What it names is looked up inside the root too, and a link there is taken as it is.
    fn hard_link(&self, target: &[u8], dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
        let target = components(target).map_err(io::Error::other)?;
        let (parent, last) = match target.iter().rposition(|&b| b == b'/') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (&target[..0], target.as_slice()),
        };
        let from = path::open(self.root.as_fd(), &CString::new(parent)?, libc::O_PATH | libc::O_DIRECTORY)?;
        let last = CString::new(last)?;
        let same = |a: libc::stat, b: libc::stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let old = fd::stat_at(from.as_fd(), &last, libc::AT_SYMLINK_NOFOLLOW)?;
        let text = CString::new(name)?;
        if fd::stat_at(dir.as_fd(), &text, libc::AT_SYMLINK_NOFOLLOW).is_ok_and(|new| same(old, new)) {
            return Ok(());
        }
        remove(dir, name)?;
        Ok(linkat(&from, last.as_c_str(), dir, text.as_c_str(), LinkatFlags::empty())?)
    }
}

/// The path in an archive without what means nothing: `./a//b/` is `a/b`. A path that leads out is an error, not repaired.
fn components(path: &[u8]) -> Result<Vec<u8>, &'static str> {
    let parts: Vec<_> = path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err("the path leads out of the image");
    }
    if parts.len() > DEEPEST {
        return Err("more directories in each other than an image may have");
    }
    if path.contains(&0) {
        return Err("the path has a NUL byte");
    }
    Ok(parts.join(&b'/'))
}

/// Said before a disk is full, not after.
fn has_room(dir: &OwnedFd, size: u64) -> io::Result<()> {
    if size < LARGE {
        return Ok(());
    }
    let found = nix::sys::statvfs::fstatvfs(dir)?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    if size <= free {
        return Ok(());
    }
    Err(io::Error::other(format!("it has {} MiB, and the disk has room for {}", size >> 20, free >> 20)))
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// A directory that is there stays, with what is in it; anything else of this name goes.
fn make_directory(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    match fd::mkdir(dir.as_fd(), name, 0o700) {
        Err(Errno::EEXIST) => {}
        made => return Ok(made?),
    }
    let there = fd::stat_at(dir.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW)?;
    if there.st_mode & libc::S_IFMT != libc::S_IFDIR {
        remove(dir, name.to_bytes())?;
        fd::mkdir(dir.as_fd(), name, 0o700)?;
    }
    Ok(())
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(mode))?)
}

fn set_time(file: &File, seconds: i64) -> io::Result<()> {
    let time = TimeSpec::new(seconds, 0);
    Ok(futimens(file, &time, &time)?)
}

/// Removes from a directory what this layer has not put there.
fn clear(dir: &OwnedFd, path: &[u8], own: &HashSet<Vec<u8>>) -> io::Result<()> {
    let mine: HashSet<&[u8]> = own
        .iter()
        .filter_map(|known| match path {
            [] => Some(known.as_slice()),
            _ => known.strip_prefix(path)?.strip_prefix(b"/"),
        })
        .filter_map(|rest| rest.split(|&b| b == b'/').next())
        .collect();
    for name in names(dir)? {
        if !mine.contains(name.as_slice()) {
            remove(dir, &name)?;
        }
    }
    Ok(())
}

/// Removes a file, or a directory with all that is in it, without following a link. What is not there is fine.
pub(super) fn remove(dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let text = CString::new(name)?;
    match unlinkat(dir, text.as_c_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let inner = match fd::open(dir.as_fd(), &text, flags) {
        Ok(inner) => inner,
        Err(Errno::EACCES) => {
            fd::chmod(dir.as_fd(), &text, 0o700)?;
            fd::open(dir.as_fd(), &text, flags)?
        }
        Err(errno) => return Err(errno.into()),
    };
    // A directory of the image may be without the right to change it.
    nix::sys::stat::fchmod(&inner, Mode::S_IRWXU)?;
    for name in names(&inner)? {
        remove(&inner, &name)?;
    }
    Ok(unlinkat(dir, text.as_c_str(), UnlinkatFlags::RemoveDir)?)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut dir = Dir::openat(dir, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_bytes().to_owned();
        if !is_dots(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted() {
        let place = tempfile::tempdir().expect("a directory");
        let mut unpacker = Unpacker::new(File::open(place.path()).expect("opened").into(), None);
        unpacker.names = MOST_NAMES - 3;
        let mut layer = tar::Builder::new(Vec::new());
        for name in ["ab", "cd"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            layer.append_data(&mut header, name, io::empty()).expect("a member");
        }
        let layer = layer.into_inner().expect("an archive");
        let said = unpacker.layer(layer.as_slice()).expect_err("too many").to_string();
        assert!(said.starts_with("cd: the image is larger than"), "{said}");
    }

    #[test]
    fn room_is_asked_for() {
        let place = tempfile::tempdir().expect("a directory");
        let dir = File::open(place.path()).expect("opened").into();
        assert!(has_room(&dir, 0).is_ok());
        let said = has_room(&dir, u64::MAX).expect_err("no disk is so large").to_string();
        assert!(said.contains("the disk has room for"), "{said}");
    }
}
