//! Detached mounts of host paths, with everything about them set before they are attached.
//!
//! Done by the parent, and by the child where the parent has no rights: nothing here allocates.
#![forbid(unsafe_code)]

use super::wire::Failure;
use crate::plan::op::Source;
use crate::plan::text::Text;
use crate::spec::mount_options::{Propagation, Spread};
use crate::sys::fd::{self, CWD, resolve};
use crate::sys::mount::{self, MountAttr, attr};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The mount at a host path does not exist, or may not be cloned.
pub const CLONE: u32 = 1;
/// Its attributes cannot be set.
pub const ATTRIBUTES: u32 = 2;
/// Its ids cannot be mapped.
pub const IDMAP: u32 = 3;
/// It is not what it was when it was looked at.
pub const SWAPPED: u32 = 4;

/// Clones the mount at a path of the host and sets everything that was asked for.
pub fn clone_mount(source: &Source, idmap: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
    let clone = |path| mount::clone_mount_at(CWD, path, source.recursive);
    let tree = match (clone(&source.path), &source.instead) {
        (Err(Errno::ENOENT), Some(instead)) => clone(instead),
        (tree, _) => tree,
    };
    let tree = tree.map_err(Failure::in_part(CLONE))?;
    let at = tree.as_fd();
    if source.directory && fd::stat(at)?.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(Failure::in_part(CLONE)(Errno::ENOTDIR));
    }
    if let Some(meant) = source.identity {
        let found = fd::stat(at)?;
        if (found.st_dev, found.st_ino) != (meant.device, meant.inode) {
            return Err(Failure::in_part(SWAPPED)(Errno::ESTALE));
        }
    }
    let (all, top) = (source.tree_attributes, source.attributes);
    if !all.is_empty() {
        let change = MountAttr { set: all.set, clear: all.clear, ..MountAttr::default() };
        mount::set_attr(at, true, &change).map_err(Failure::in_part(ATTRIBUTES))?;
    }
    if !top.is_empty() || source.unnamed != 0 {
        let change = |clear| MountAttr { set: top.set, clear, ..MountAttr::default() };
        match mount::set_attr(at, false, &change(top.clear | source.unnamed)) {
            // Locked by whoever made this mount namespace, or nosymfollow before Linux 5.14.
            Err(Errno::EPERM | Errno::EINVAL) if source.unnamed != 0 => mount::set_attr(at, false, &change(top.clear)),
            done => done,
        }
        .map_err(Failure::in_part(ATTRIBUTES))?;
    }
    if let (Some(map), Some(namespace)) = (&source.idmap, idmap) {
        let userns_fd = u64::try_from(namespace.as_raw_fd()).map_err(|_| Errno::EBADF)?;
        let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
        mount::set_attr(at, map.recursive, &change).map_err(Failure::in_part(IDMAP))?;
    }
    spread(at, &source.propagation).map_err(Failure::in_part(ATTRIBUTES))?;
    Ok(tree)
}

/// Sets propagation, one change after the other.
pub fn spread(at: BorrowedFd<'_>, changes: &[Propagation]) -> crate::sys::Result<()> {
    changes.iter().try_for_each(|change| mount::set_attr(at, change.recursive, &spreading(change.spread)))
}

/// A change of propagation alone.
pub fn spreading(spread: Spread) -> MountAttr {
    let propagation = match spread {
        Spread::Private => libc::MS_PRIVATE,
        Spread::Shared => libc::MS_SHARED,
        Spread::Slave => libc::MS_SLAVE,
        Spread::Unbindable => libc::MS_UNBINDABLE,
    };
    MountAttr { propagation, ..MountAttr::default() }
}

/// Opens the running binary through a read-only mount of its directory; when it is no longer at `path` (replaced while it
/// ran), a sealed copy in memory does instead. The mount, if there is one, and the file.
pub fn open_binary(path: &Text) -> Result<(Option<OwnedFd>, OwnedFd), Failure> {
    let running = fd::stat_at(CWD, c"/proc/self/exe", 0)?;
    let same = |file: BorrowedFd<'_>| {
        fd::stat(file).is_ok_and(|st| st.st_ino == running.st_ino && st.st_dev == running.st_dev)
    };
    match open_readonly(path) {
        Ok((tree, file)) if same(file.as_fd()) => Ok((Some(tree), file)),
        _ => Ok((None, copy_to_memory()?)),
    }
}

fn open_readonly(path: &Text) -> Result<(OwnedFd, OwnedFd), Failure> {
    let bytes = path.to_bytes_with_nul();
    let split = bytes.iter().rposition(|&b| b == b'/').ok_or(Errno::ENOENT)?;
    let mut dir = [0u8; libc::PATH_MAX as usize];
    dir.get_mut(..=split).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(&bytes[..=split]);
    let dir = CStr::from_bytes_until_nul(&dir).map_err(|_| Errno::ENAMETOOLONG)?;
    let name = CStr::from_bytes_with_nul(&bytes[split + 1..]).map_err(|_| Errno::EINVAL)?;
    let tree = mount::clone_mount_at(CWD, dir, false).map_err(Failure::in_part(CLONE))?;
    let private = MountAttr { set: attr::RDONLY, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    mount::set_attr(tree.as_fd(), false, &private).map_err(Failure::in_part(ATTRIBUTES))?;
    let file = fd::open_in(tree.as_fd(), name, libc::O_RDONLY, 0, resolve::BENEATH | resolve::NO_SYMLINKS)?;
    Ok((tree, file))
}

fn copy_to_memory() -> Result<OwnedFd, Failure> {
    let from = fd::open(CWD, c"/proc/self/exe", libc::O_RDONLY)?;
    let copy = fd::memfd(c"pent")?;
    fd::copy(from.as_fd(), copy.as_fd())?;
    fd::seal(copy.as_fd())?;
    Ok(copy)
}
