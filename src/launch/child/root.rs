//! The root: what the mount namespace was born with, and the change to the rootfs.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::sources;
use crate::launch::wire::Failure;
use crate::plan::op::{Slot, Source};
use crate::plan::text::Text;
use crate::spec::mount_options::{Propagation, Spread};
use crate::sys::fd::{self, CWD};
use crate::sys::{clone, mount};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;

/// Who joins the container does not come to its root, because the runtime's own root is none of the kernel's.
pub(in crate::launch) const CHROOT: u32 = 2;

impl Child<'_> {
    /// Before the change of root the host's, after it the container's.
    pub(super) fn set_root_propagation(Propagation { spread, recursive }: Propagation) -> Done {
        Ok(mount::set_root_attr(recursive, &sources::spreading(spread))?)
    }

    pub(super) fn clone_mount(&mut self, source: &Source) -> Done {
        let namespace = source.idmap.as_ref().map(|map| self.slot(map.namespace)).transpose()?;
        let tree = sources::clone_mount(source, namespace)?;
        self.fill(source.slot, tree);
        Ok(())
    }

    pub(super) fn open_binary(&mut self, mount: Slot, file: Slot, path: &Text) -> Done {
        let (tree, binary) = sources::open_binary(path)?;
        if let Some(tree) = tree {
            self.fill(mount, tree);
        }
        self.fill(file, binary);
        Ok(())
    }

    pub(super) fn park_binary(&mut self, mount: Slot, directory: &Text) -> Done {
        // No mount: the binary runs from memory. No directory: out of reach for this user; then it is closed by exec.
        if let Ok(tree) = self.slot(mount) {
            let _parked = mount::attach_at(tree, directory);
        }
        Ok(())
    }

    /// On top of the host's root in this namespace: no path of the host is involved, and pivot_root(2) finds its parent private.
    /// Hooks that enter this namespace have to find the host's tree and, in its place, the rootfs with all that is mounted there.
    pub(super) fn attach_root(&mut self, slot: Slot, at: Option<&CStr>) -> Done {
        let tree = self.slot(slot)?;
        if at.is_none_or(|path| mount::attach_at(tree, path).is_err()) {
            mount::attach_at(tree, c"/")?;
        }
        self.root = Some(slot);
        self.root_mount = mount::look(self.slot(slot)?)?.mount;
        Ok(())
    }

    pub(super) fn pivot_root(&mut self, slot: Slot, shared: bool) -> Done {
        let host = if shared { Some(fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?) } else { None };
        fd::chdir(self.slot(slot)?)?;
        mount::pivot_root_here().map_err(Failure::in_part(1))?;
        if let Some(host) = host {
            // The host's own tree must not be taken down with ours.
            mount::set_attr(host.as_fd(), true, &sources::spreading(Spread::Slave))?;
        }
        self.take_off_hosts_tree(slot)?;
        if !self.reaches_root_by_joining(slot)? {
            // In a chroot that was a tree in the host's tree. What is `/` now is the real root, and goes the same way.
            let host = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
            mount::set_attr(host.as_fd(), true, &sources::spreading(Spread::Slave))?;
            fd::chdir(self.slot(slot)?)?;
            mount::pivot_root_here().map_err(Failure::in_part(CHROOT))?;
            self.take_off_hosts_tree(slot)?;
            if !self.reaches_root_by_joining(slot)? {
                return Err(Failure::mismatch(CHROOT, 0));
            }
        }
        Ok(())
    }

    /// The host's tree is on top of the new root, which this process is in: what is on top goes (pivot_root(2)). That is not
    /// all of it where something was mounted on the host's root itself, such as the view of pent's own binary at `/pent`: who
    /// joins would come to what is left.
    fn take_off_hosts_tree(&self, slot: Slot) -> Done {
        /// What the caller has put on its root is no more than this.
        const MOST: usize = 16;
        let root = mount::look(self.slot(slot)?)?.mount;
        for _ in 0..MOST {
            mount::detach_here()?;
            // From `..` of the root the kernel goes to what is on top of it.
            let top = fd::open(CWD, c"/..", libc::O_PATH | libc::O_DIRECTORY)?;
            if mount::look(top.as_fd())?.mount == root {
                return Ok(());
            }
        }
        Err(Failure { errno: Errno::EBUSY as i32, part: 1, value: 0 })
    }

    /// Whether who joins this mount namespace comes to the container's root: setns(2) leads to the root of the namespace, which a
    /// runtime that runs in a chroot does not have as its own. This process joins, too, and is there then.
    fn reaches_root_by_joining(&self, slot: Slot) -> Result<bool, Failure> {
        let own = clone::open_process(clone::getpid())?;
        match clone::setns(own.as_fd(), libc::CLONE_NEWNS) {
            // Nobody without CAP_SYS_CHROOT joins, and neither does a later `exec` of this runtime.
            Err(Errno::EPERM) => return Ok(true),
            other => other?,
        }
        let now = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(mount::look(now.as_fd())?.mount == mount::look(self.slot(slot)?)?.mount)
    }

    pub(super) fn move_root(&mut self, slot: Slot, shared: bool) -> Done {
        if shared {
            mount::set_root_attr(true, &sources::spreading(Spread::Slave))?;
        }
        detach_kernel_filesystems()?;
        fd::chdir(self.slot(slot)?)?;
        fd::chroot_here()?;
        fd::chdir_path(c"/")?;
        if self.reaches_root_by_joining(slot)? { Ok(()) } else { Err(Failure::mismatch(CHROOT, 0)) }
    }
}

/// Takes procfs and sysfs out of the host's tree, which stays below a root that was not pivoted to. As long as one is fully
/// visible somewhere in the mount namespace, the kernel lets user namespaces mount another, with nothing masked
/// (user_namespaces(7), `mnt_already_visible`).
///
/// Not inlined: its buffers would be part of the frame that every operation runs in.
#[inline(never)]
fn detach_kernel_filesystems() -> Done {
    let list = fd::open(CWD, c"/proc/self/mountinfo", libc::O_RDONLY)?;
    let mut text = [0u8; 16384];
    let mut len = 0;
    loop {
        let more = fd::read(list.as_fd(), &mut text[len..])?;
        len += more;
        let whole = text[..len].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        if whole == 0 {
            return if more == 0 { Ok(()) } else { Err(Errno::ENAMETOOLONG.into()) };
        }
        for line in text[..whole].split(|&b| b == b'\n') {
            let mut path = [0u8; 4096];
            if let Some(point) = kernel_filesystem(line, &mut path) {
                detach(point)?;
            }
        }
        text.copy_within(whole..len, 0);
        len -= whole;
    }
}

/// The mount point on a line of mountinfo (proc(5)), if procfs or sysfs is mounted there.
fn kernel_filesystem<'p>(line: &[u8], path: &'p mut [u8; 4096]) -> Option<&'p CStr> {
    let mut fields = line.split(|&b| b == b' ');
    let escaped = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    if !matches!(fields.next()?, b"proc" | b"sysfs") {
        return None;
    }
    let (mut from, mut to) = (0, 0);
    while let Some(&byte) = escaped.get(from) {
        let digits = if byte == b'\\' { escaped.get(from + 1..from + 4) } else { None };
        let value = digits.map(|digits| digits.iter().fold(0u8, |n, digit| n << 3 | digit & 7));
        *path.get_mut(to)? = value.unwrap_or(byte);
        (from, to) = (from + if value.is_some() { 4 } else { 1 }, to + 1);
    }
    *path.get_mut(to)? = 0;
    CStr::from_bytes_until_nul(path).ok()
}

/// The line may be about the container's mounts, which no path leads to from here. What a user namespace may not detach,
/// because it came with a mount namespace of another, is covered.
fn detach(point: &CStr) -> Done {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    const SYSFS_MAGIC: i64 = 0x6265_6572;
    if mount::detach(point).is_ok() {
        return Ok(());
    }
    let Ok(directory) = fd::open(CWD, point, libc::O_PATH | libc::O_NOFOLLOW) else { return Ok(()) };
    if matches!(fd::super_magic(directory.as_fd())?, PROC_SUPER_MAGIC | SYSFS_MAGIC) {
        let cover = mount::fsopen(c"tmpfs")?;
        mount::fsconfig_create(cover.as_fd())?;
        let cover = mount::fsmount(cover.as_fd(), mount::attr::RDONLY)?;
        mount::attach(cover.as_fd(), directory.as_fd())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_kernel_filesystems() {
        let point = |line: &str| kernel_filesystem(line.as_bytes(), &mut [0; 4096]).map(CStr::to_owned);
        let proc = "22 27 0:21 / /var/a\\040b/proc rw,nosuid shared:12 master:3 - proc proc rw";
        assert_eq!(point(proc).as_deref(), Some(c"/var/a b/proc"));
        assert_eq!(point("23 27 0:22 / /sys rw - sysfs sysfs rw").as_deref(), Some(c"/sys"));
        for other in ["24 27 0:23 / /dev rw - tmpfs proc rw", "25 27 0:24 / /x rw", ""] {
            assert_eq!(point(other), None, "{other}");
        }
        let long = format!("22 27 0:21 / /{} rw - proc proc rw", "x".repeat(4095));
        assert_eq!(point(&long), None);
    }
}
