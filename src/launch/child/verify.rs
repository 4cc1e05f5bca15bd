//! Before the program starts: what the kernel says, compared with the plan.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::plan::op::{Credentials, Namespace, Slot};
use crate::sys::{cred, fd, mount, seccomp};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Numbers of what was compared, for the message.
pub(in crate::launch) const UID: u32 = 1;
/// The gid.
pub(in crate::launch) const GID: u32 = 2;
/// The number of supplementary groups.
pub(in crate::launch) const GROUPS: u32 = 3;
/// The bounding set.
pub(in crate::launch) const BOUNDING: u32 = 4;
/// The effective set.
pub(in crate::launch) const EFFECTIVE: u32 = 5;
/// The permitted set.
pub(in crate::launch) const PERMITTED: u32 = 6;
/// The inheritable set.
pub(in crate::launch) const INHERITABLE: u32 = 7;
/// The ambient set.
pub(in crate::launch) const AMBIENT: u32 = 8;
/// no_new_privs.
pub(in crate::launch) const NO_NEW_PRIVS: u32 = 9;
/// A namespace; `value` is its index in `Namespace::ALL`.
pub(in crate::launch) const NAMESPACE: u32 = 10;
/// The flags of a mount; `value` has those that are missing.
pub(in crate::launch) const MOUNT: u32 = 11;
/// The seccomp mode.
pub(in crate::launch) const SECCOMP: u32 = 12;
/// A namespace that is the runtime's own; `value` as for `NAMESPACE`.
pub(in crate::launch) const NOT_APART: u32 = 13;
/// A path that does not lead to the mount that was put there.
pub(in crate::launch) const MOVED: u32 = 14;

fn same<T: PartialEq>(is: T, should: T, part: u32, value: u64) -> Done {
    if is == should { Ok(()) } else { Err(Failure::mismatch(part, value)) }
}

impl Child<'_> {
    /// Through the host's procfs, which is still there.
    pub(super) fn verify_namespaces(
        &mut self,
        new: &[Namespace],
        joined: &[(Namespace, Slot)],
        apart: &[Namespace],
    ) -> Done {
        let proc = fd::open(fd::CWD, c"/proc/self/ns", libc::O_PATH | libc::O_DIRECTORY)?;
        for (index, kind) in Namespace::ALL.into_iter().enumerate() {
            let joined = joined.iter().find(|(own, _)| *own == kind);
            if joined.is_none() && !new.contains(&kind) {
                continue;
            }
            let file = match kind {
                // Where the program's process will be, if it is still to be born.
                Namespace::Pid => c"pid_for_children",
                Namespace::Time => c"time_for_children",
                _ => file(kind),
            };
            let is = match namespace(proc.as_fd(), file) {
                Ok(inode) => inode,
                // A kernel without this type: nobody can have asked for it.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let index_value = index as u64;
            if new.contains(&kind) || apart.contains(&kind) {
                same(is == self.host_namespaces[index], false, NOT_APART, index_value)?;
            }
            if let Some((_, slot)) = joined {
                same(is, fd::stat(self.slot(*slot)?)?.st_ino, NAMESPACE, index_value)?;
            }
        }
        Ok(())
    }

    pub(super) fn verify_mounts(&mut self) -> Done {
        self.verify_places(MOVED)?;
        for check in &self.checks[..self.checked] {
            match mount::mount_attrs(check.id) {
                Ok(is) => same(is & check.expect, check.expect, MOUNT, check.expect & !is)?,
                // Before Linux 6.8. With 6.8 a mount that is gone is ENOENT, and an error.
                Err(Errno::ENOSYS) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    pub(super) fn verify_credentials(&mut self, should: &Credentials) -> Done {
        let (uids, gids) = (cred::uids()?, cred::gids()?);
        same(uids, [should.uid; 3], UID, uids[1].into())?;
        same(gids, [should.gid; 3], GID, gids[1].into())?;
        if let Some(groups) = should.groups {
            let is = cred::group_count()?;
            same(is, groups, GROUPS, is as u64)?;
        }
        let caps = cred::caps()?;
        same(caps.effective, should.effective, EFFECTIVE, caps.effective)?;
        same(caps.permitted, should.permitted, PERMITTED, caps.permitted)?;
        same(caps.inheritable, should.inheritable, INHERITABLE, caps.inheritable)?;
        let (mut bounding, mut ambient) = (0, 0);
        for cap in 0..64u8 {
            match cred::in_bounding(cap) {
                Ok(is) => bounding |= u64::from(is) << cap,
                Err(Errno::EINVAL) => break,
                Err(errno) => return Err(errno.into()),
            }
            // What is not permitted and inheritable cannot be ambient (capabilities(7)).
            if caps.permitted & caps.inheritable & 1 << cap != 0 {
                ambient |= u64::from(cred::in_ambient(cap)?) << cap;
            }
        }
        same(bounding, should.bounding, BOUNDING, bounding)?;
        same(ambient, should.ambient, AMBIENT, ambient)?;
        same(cred::no_new_privs()?, should.no_new_privs, NO_NEW_PRIVS, 0)
    }

    pub(super) fn load_seccomp(&mut self, flags: u32, verify: bool) -> Done {
        const MODE_FILTER: usize = 2;
        self.listener = seccomp::load(self.filter, flags)?;
        if verify {
            let mode = seccomp::mode()?;
            same(mode, MODE_FILTER, SECCOMP, mode as u64)?;
        }
        Ok(())
    }
}

/// The inode of the namespace behind a link in `/proc/PID/ns`: its text is `mnt:[4026531841]`, and reading it spares the kernel
/// making the inode itself.
pub(in crate::launch) fn namespace(ns: BorrowedFd<'_>, file: &std::ffi::CStr) -> crate::sys::Result<u64> {
    let mut link = [0u8; 64];
    let len = fd::readlink(ns, file, &mut link)?;
    let digits = link[..len].split(|&b| b == b'[' || b == b']').nth(1);
    let inode = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    inode.ok_or(Errno::EBADMSG)
}

pub(in crate::launch) fn file(kind: Namespace) -> &'static std::ffi::CStr {
    match kind {
        Namespace::User => c"user",
        Namespace::Cgroup => c"cgroup",
        Namespace::Ipc => c"ipc",
        Namespace::Uts => c"uts",
        Namespace::Network => c"net",
        Namespace::Pid => c"pid",
        Namespace::Mount => c"mnt",
        Namespace::Time => c"time",
    }
}
