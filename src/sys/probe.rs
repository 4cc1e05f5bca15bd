//! Whether the kernel, or a filter around this process, knows a system call: asked with arguments that it must refuse.

use super::{Result, syscall};
use nix::errno::Errno;

/// System calls that pent uses where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the calls' names")]
pub enum Call {
    Clone3,
    CloseRange,
    Fsopen,
    MountSetattr,
    OpenTree,
    Openat2,
    PidfdOpen,
    Seccomp,
    Statmount,
}

impl Call {
    /// All of them, with the version of Linux that brought each.
    pub const ALL: [(Self, &'static str, &'static str); 9] = [
        (Self::Clone3, "clone3", "5.3"),
        (Self::CloseRange, "close_range", "5.9"),
        (Self::Fsopen, "fsopen", "5.2"),
        (Self::MountSetattr, "mount_setattr", "5.12"),
        (Self::OpenTree, "open_tree", "5.2"),
        (Self::Openat2, "openat2", "5.6"),
        (Self::PidfdOpen, "pidfd_open", "5.3"),
        (Self::Seccomp, "seccomp", "3.17"),
        (Self::Statmount, "statmount", "6.8"),
    ];

    fn number(self) -> libc::c_long {
        match self {
            Self::Clone3 => libc::SYS_clone3,
            Self::CloseRange => libc::SYS_close_range,
            Self::Fsopen => libc::SYS_fsopen,
            Self::MountSetattr => libc::SYS_mount_setattr,
            Self::OpenTree => libc::SYS_open_tree,
            Self::Openat2 => libc::SYS_openat2,
            Self::PidfdOpen => libc::SYS_pidfd_open,
            Self::Seccomp => libc::SYS_seccomp,
            Self::Statmount => 457,
        }
    }

    /// Whether it is there. `EPERM` counts as there: many calls ask for rights before they look at their arguments.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.refused() != Err(Errno::ENOSYS)
    }

    /// No argument is a valid pointer, size or flag of any of the calls: each is refused before it does anything.
    fn refused(self) -> Result<usize> {
        let (number, all) = (self.number(), -1 as libc::c_long);
        // SAFETY: -1 is no address, no descriptor but AT_FDCWD's neighbour, no size and no combination of flags that these calls
        // take: they answer EINVAL, E2BIG, EFAULT or EPERM and write nothing (an address that is not mapped is EFAULT).
        unsafe { syscall!(number, all, all, all, all, all, all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_kernel_must_have_is_known_and_every_call_is_refused() {
        assert!(Call::Openat2.is_known() && Call::Clone3.is_known() && Call::PidfdOpen.is_known());
        for (call, name, _) in Call::ALL {
            assert!(call.refused().is_err(), "{name}");
        }
    }
}
