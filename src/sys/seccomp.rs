//! Loading a seccomp filter.

use super::{Result, owned, syscall};
use std::os::fd::OwnedFd;

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`. `filter` holds `struct sock_filter`s (8 bytes each); returns the notification
/// descriptor (close-on-exec) when `flags` asks for a listener.
pub fn load(filter: &[u64], flags: u32) -> Result<Option<OwnedFd>> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const u64,
    }
    let len = u16::try_from(filter.len()).map_err(|_| nix::errno::Errno::E2BIG)?;
    let program = Program { len, filter: filter.as_ptr() };
    let program_ptr: *const Program = &raw const program;
    // SAFETY: `program` names `len` instructions of 8 bytes that live across the call; the kernel copies and checks them.
    let ret = unsafe { syscall!(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program_ptr) }?;
    Ok((flags & crate::seccomp::flag::NEW_LISTENER != 0).then(|| owned(ret)))
}

/// The mode the kernel says this thread is in: 0 none, 2 filter. Itself a prctl(2), which the filter must allow.
pub fn mode() -> Result<usize> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_prctl, libc::PR_GET_SECCOMP, 0, 0, 0, 0) }
}
