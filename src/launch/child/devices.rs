//! /dev and the terminal.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::{self, Failure, Message};
use crate::path::{self, Leaf};
use crate::plan::op::{Device, Slot};
use crate::sys::fd::{self, CWD};
use crate::sys::{cred, mount, tty};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Something else is in the device's place.
pub(in crate::launch) const OCCUPIED: u32 = 1;
/// The host's device is not the one that was asked for.
pub(in crate::launch) const OTHER_DEVICE: u32 = 2;
/// /dev/pts is no devpts.
pub(in crate::launch) const NO_DEVPTS: u32 = 3;
/// No terminal can be had from it.
pub(in crate::launch) const NO_PTMX: u32 = 4;

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

impl Child<'_> {
    pub(super) fn open_dev(&mut self, slot: Slot) -> Done {
        let root = self.root()?;
        let dev = match path::open_plain(root, c"dev", libc::O_PATH | libc::O_DIRECTORY) {
            Err(Errno::ENOENT) => path::ensure(root, c"dev", Leaf::Directory)?,
            other => other?,
        };
        self.fill(slot, dev);
        Ok(())
    }

    /// The directory a device goes to, unless it is `base` itself, and its name in it.
    fn place<'d>(base: BorrowedFd<'_>, device: &'d Device) -> Result<(Option<OwnedFd>, &'d CStr), Failure> {
        if !device.path.to_bytes().contains(&b'/') {
            return Ok((None, &device.path));
        }
        let (dir, at) = path::ensure_parent(base, &device.path)?;
        let name = CStr::from_bytes_with_nul(&device.path.to_bytes_with_nul()[at..]).map_err(|_| Errno::EINVAL)?;
        Ok((Some(dir), name))
    }

    pub(super) fn make_device(&mut self, dev: Slot, device: &Device) -> Done {
        let base = if device.in_dev { self.slot(dev)? } else { self.root()? };
        let (dir, name) = Self::place(base, device)?;
        let dir = dir.as_ref().map_or(base, AsFd::as_fd);
        match fd::mknod(dir, name, device.mode, device.number) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let st = fd::stat_at(dir, name, libc::AT_SYMLINK_NOFOLLOW)?;
                let same = st.st_mode & libc::S_IFMT == device.mode & libc::S_IFMT && st.st_rdev == device.number;
                return if same { Ok(()) } else { Err(Failure::mismatch(OCCUPIED, st.st_rdev)) };
            }
            Err(errno) => return Err(errno.into()),
        }
        if device.uid != 0 || device.gid != 0 {
            fd::chown(dir, name, device.uid, device.gid)?;
        }
        Ok(())
    }

    pub(super) fn bind_device(&mut self, dev: Slot, source: Slot, device: &Device) -> Done {
        let st = fd::stat(self.slot(source)?)?;
        if st.st_mode & libc::S_IFMT != device.mode & libc::S_IFMT || st.st_rdev != device.number {
            return Err(Failure::mismatch(OTHER_DEVICE, st.st_rdev));
        }
        let base = if device.in_dev { self.slot(dev)? } else { self.root()? };
        let (dir, name) = Self::place(base, device)?;
        let target = path::ensure(dir.as_ref().map_or(base, AsFd::as_fd), name, Leaf::File)?;
        Ok(mount::attach(self.slot(source)?, target.as_fd())?)
    }

    pub(super) fn link_device(&mut self, dev: Slot, name: &CStr, target: &CStr) -> Done {
        match fd::symlink(target, self.slot(dev)?, name) {
            Err(Errno::EEXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// A pty of the container's own devpts: both sides by descriptor, the container's path to it plays no part.
    pub(super) fn open_terminal(&mut self, dev: Option<Slot>, size: Option<(u16, u16)>) -> Done {
        if self.root.is_none() {
            // A process that joins a container is in its root already.
            let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
            return self.terminal_in(root, None, size);
        }
        let root = path::open(self.root()?, c".", libc::O_PATH | libc::O_DIRECTORY)?;
        self.terminal_in(root, dev, size)
    }

    fn terminal_in(&mut self, root: OwnedFd, dev: Option<Slot>, size: Option<(u16, u16)>) -> Done {
        let pts = path::open(root.as_fd(), c"dev/pts", libc::O_PATH | libc::O_DIRECTORY)
            .map_err(Failure::in_part(NO_DEVPTS))?;
        if fd::super_magic(pts.as_fd())? != DEVPTS_SUPER_MAGIC {
            return Err(Failure::mismatch(NO_DEVPTS, 0));
        }
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NOFOLLOW;
        let master = fd::open(pts.as_fd(), c"ptmx", flags).map_err(Failure::in_part(NO_PTMX))?;
        let peer = tty::open_peer(master.as_fd())?;
        let number = tty::number(master.as_fd())?;
        if let Some((width, height)) = size {
            tty::set_size(master.as_fd(), width, height)?;
        }
        if self.root.is_some() {
            self.mount_console(root, dev, pts, peer.as_fd(), number)?;
        }
        wire::send(self.sync.as_fd(), Message::Terminal(number), Some(master.as_fd()))?;
        for stdio in 0..=2 {
            fd::place(peer.as_fd(), stdio)?;
        }
        Ok(())
    }

    pub(super) fn control_terminal(&self) -> Done {
        let terminal = fd::stdio(0).ok_or(Errno::EBADF)?;
        Ok(tty::make_controlling(terminal)?)
    }

    /// The peer on /dev/console, by its number in a devpts that nobody else has been in yet, and compared with it.
    fn mount_console(
        &mut self,
        root: OwnedFd,
        dev: Option<Slot>,
        pts: OwnedFd,
        peer: std::os::fd::BorrowedFd<'_>,
        number: u32,
    ) -> Done {
        let mut name = [0u8; 16];
        let end = super::process::decimal(number.into(), &mut name, 0);
        name[end] = 0;
        let name = CStr::from_bytes_until_nul(&name).map_err(|_| Errno::EINVAL)?;
        let console = mount::clone_mount_at(pts.as_fd(), name, false)?;
        let (is, should) = (fd::stat(console.as_fd())?, fd::stat(peer)?);
        if is.st_rdev != should.st_rdev || is.st_ino != should.st_ino {
            return Err(Failure::mismatch(OTHER_DEVICE, is.st_rdev));
        }
        let opened;
        let dir = match dev {
            Some(dev) => self.slot(dev)?,
            None => {
                opened = path::open_plain(root.as_fd(), c"dev", libc::O_PATH | libc::O_DIRECTORY)?;
                opened.as_fd()
            }
        };
        // A link of the image leads elsewhere (CVE-2025-52565): it goes, as nothing but a terminal belongs there.
        let there = fd::stat_at(dir, c"console", libc::AT_SYMLINK_NOFOLLOW);
        if there.is_ok_and(|st| st.st_mode & libc::S_IFMT == libc::S_IFLNK) {
            fd::unlink(dir, c"console")?;
        }
        let target = path::ensure(dir, c"console", Leaf::File)?;
        Ok(mount::attach(console.as_fd(), target.as_fd())?)
    }

    pub(super) fn own_stdio(&mut self, uid: u32, gid: u32) -> Done {
        Ok(own_stdio(uid, gid, self.plan.terminal)?)
    }

    pub(super) fn become_user(uid: u32, gid: u32, drop_groups: bool) -> Done {
        cred::set_gid(gid)?;
        if drop_groups {
            Self::set_groups(&[])?;
        }
        Ok(cred::set_uid(uid)?)
    }

    pub(super) fn join_keyring(name: &CStr, found: bool) -> Done {
        match cred::join_session_keyring(name) {
            // A filter may allow the one and not the other.
            Ok(serial) if found => match cred::let_user_search_keyring(serial) {
                Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
                Err(errno) => Err(errno.into()),
            },
            // Kernels without keyrings, and callers whose own seccomp filter forbids them (Docker in Docker): nothing in the container
            // can use the caller's either. Not so when the container itself has used up all keys that its user may have.
            Ok(_) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Pipes and sockets given as stdin, stdout and stderr belong to the container's user, so that it can reopen them by /proc/self/fd, and
/// so does a terminal of its own, and a file of the runtime's user that it is given to write to: a log. What is only read, devices of
/// the host and files of others keep their owner.
pub(in crate::launch) fn own_stdio(uid: u32, gid: u32, terminal: bool) -> crate::sys::Result<()> {
    let caller = nix::unistd::geteuid().as_raw();
    for number in 0..=2 {
        let Some(stdio) = fd::stdio(number) else { continue };
        let st = fd::stat(stdio)?;
        // A terminal and a file keep their group.
        let group = match st.st_mode & libc::S_IFMT {
            libc::S_IFIFO | libc::S_IFSOCK => gid,
            libc::S_IFCHR if terminal => u32::MAX,
            libc::S_IFREG
                if st.st_uid == caller && matches!(fd::access_mode(stdio)?, libc::O_WRONLY | libc::O_RDWR) =>
            {
                u32::MAX
            }
            _ => continue,
        };
        if st.st_uid == uid {
            continue;
        }
        // What cannot be given away stays as it is.
        match fd::chown(stdio, c"", uid, group) {
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL | Errno::EOVERFLOW | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
