//! Detached mounts of host paths, with everything about them set before they are attached.
//!
//! Done by the parent, and by the child where the parent has no rights: nothing here allocates.
#![forbid(unsafe_code)]

use super::wire::Failure;
use crate::plan::op::{MadeDevice, Source};
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

/// No node of the device can be made.
pub const DEVICE: u32 = 5;

/// What a user namespace cannot take off mounts that it got from another (mount_namespaces(7)).
const LOCKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// Clones the mount at a path of the host and sets everything that was asked for.
pub fn clone_mount(source: &Source, idmap: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
    let clone = |path| match source.nofollow {
        true => mount::clone_link_at(CWD, path, source.recursive),
        false => mount::clone_mount_at(CWD, path, source.recursive),
    };
    let tree = match (clone(&source.path), &source.instead) {
        (Err(Errno::ENOENT), Some(instead)) => clone(instead),
        (tree, _) => tree,
    };
    let tree = match (tree, &source.made) {
        (Err(Errno::ENOENT), Some(device)) => make_device(device).map_err(Failure::in_part(DEVICE))?,
        (tree, _) => tree.map_err(Failure::in_part(CLONE))?,
    };
    settle(tree, source, idmap)
}

/// A node on a file system that nothing else is on.
fn make_device(device: &MadeDevice) -> crate::sys::Result<OwnedFd> {
    const NAME: &CStr = c"device";
    let filesystem = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(filesystem.as_fd())?;
    let tree = mount::fsmount(filesystem.as_fd(), attr::NOSUID | attr::NOEXEC)?;
    fd::mknod(tree.as_fd(), NAME, device.mode, device.number)?;
    fd::chown(tree.as_fd(), NAME, device.uid, device.gid)?;
    fd::chmod(tree.as_fd(), NAME, device.mode & 0o7777)?;
    mount::clone_mount_at(tree.as_fd(), NAME, false)
}

/// Makes a detached mount what was asked for.
pub fn settle(tree: OwnedFd, source: &Source, idmap: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
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
        let change = |clear| mount::set_attr(at, false, &MountAttr { set: top.set, clear, ..MountAttr::default() });
        let mut done = change(top.clear | source.unnamed);
        // Locked by whoever made this mount namespace, or nosymfollow before Linux 5.14.
        if matches!(done, Err(Errno::EPERM | Errno::EINVAL)) && source.unnamed != 0 {
            done = change(top.clear);
        }
        // As with mount(2) by runc and crun, what is locked stays: `rw` is what engines say of every volume.
        if done == Err(Errno::EPERM) && top.clear & LOCKED != 0 {
            done = change(top.clear & !LOCKED);
        }
        done.map_err(Failure::in_part(ATTRIBUTES))?;
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
