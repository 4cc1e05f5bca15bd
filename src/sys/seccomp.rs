//! Loading a seccomp filter, and answering the calls that it notifies of (seccomp_unotify(2)).

use super::{Result, check, owned, syscall};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

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

/// One call that waits for an answer: `struct seccomp_notif` (linux/seccomp.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notification {
    /// Of this one call; answers name it.
    pub id: u64,
    /// The calling thread in the pid namespace of whoever receives; 0 when it is not in there.
    pub pid: u32,
    /// None is defined.
    pub flags: u32,
    /// System call number; x32 calls have bit 30 set.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the calling convention.
    pub arch: u32,
    /// Where the call was made from.
    pub instruction_pointer: u64,
    /// The six argument registers.
    pub args: [u64; 6],
}
const _: () = assert!(size_of::<Notification>() == 80);

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// ioctl(2) `SECCOMP_IOCTL_NOTIF_RECV` (Linux 5.0): the next call. Blocks unless poll(2) has said that there is one; `ENOENT`
/// when its caller is gone since.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    const RECEIVE: libc::Ioctl = nix::request_code_readwrite!(b'!', 0, size_of::<Notification>()) as libc::Ioctl;
    let mut notification = Notification::default();
    let notification_ptr: *mut Notification = &raw mut notification;
    // SAFETY: the kernel writes one `seccomp_notif`, which `Notification` is laid out as and as large as; it is zeroed, as
    // the kernel insists.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, notification_ptr) }.into())?;
    Ok(notification)
}

/// `SECCOMP_IOCTL_NOTIF_SEND`: the call fails with this error number, or with 0 succeeds without having been made.
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: i32) -> Result<()> {
    respond(listener, &Response { id, value: 0, error: -errno, flags: 0 })
}

/// `SECCOMP_IOCTL_NOTIF_SEND` with `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (Linux 5.5): the call is made. Its memory may have changed
/// since it was looked at, so that this is never an answer to a question of what is allowed.
pub fn let_continue(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    respond(listener, &Response { id, value: 0, error: 0, flags: 1 })
}

fn respond(listener: BorrowedFd<'_>, response: &Response) -> Result<()> {
    const SEND: libc::Ioctl = nix::request_code_readwrite!(b'!', 1, size_of::<Response>()) as libc::Ioctl;
    let response_ptr: *const Response = response;
    // SAFETY: the kernel reads one `seccomp_notif_resp`, which `Response` is laid out as.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND, response_ptr) }.into()).map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: whether the call still waits, so that its thread id still is its thread's.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    const VALID: libc::Ioctl = nix::request_code_write!(b'!', 2, size_of::<u64>()) as libc::Ioctl;
    let id_ptr: *const u64 = &raw const id;
    // SAFETY: the kernel reads one u64.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), VALID, id_ptr) }.into()).is_ok()
}

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` with `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): caller and supervisor take turns, so
/// they may as well do it on one processor.
pub fn take_turns(listener: BorrowedFd<'_>) -> Result<()> {
    const SET_FLAGS: libc::Ioctl = nix::request_code_write!(b'!', 4, size_of::<u64>()) as libc::Ioctl;
    // SAFETY: the flags are passed by value.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, 1_u64) }.into()).map(drop)
}
