//! Making and ending processes: clone3 (Linux 5.3), setns by descriptor, waiting.

use super::{Result, check, owned, syscall};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `CLONE_NEWTIME` exists for clone3 and unshare only: in clone(2) the bit belongs to the exit signal.
pub const NEWTIME: u64 = 0x80;
const INTO_CGROUP: u64 = 0x2_0000_0000;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of [`fork`] this is.
pub enum Fork {
    /// The new process. It must leave by exec or [`exit_group`], and never return into code that frees or unwinds.
    Child,
    /// The caller: the new process's id and a descriptor of it.
    Parent {
        /// As seen from the caller's pid namespace.
        pid: i32,
        /// Close-on-exec.
        pidfd: OwnedFd,
    },
}

/// clone3(2) like fork(2), with `flags` (`CLONE_NEW*`) and, with `cgroup`, `CLONE_INTO_CGROUP` (5.7).
/// Signal handlers are reset in the child. Call it from a single-threaded process only.
pub fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64 | CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::try_from(dir.as_raw_fd()).unwrap_or(u64::MAX);
    }
    let args_ptr: *const CloneArgs = &raw const args;
    // SAFETY: without CLONE_VM the child gets its own copy of memory and returns here like fork's. The process is
    // single-threaded (launch asserts it), so no lock of another thread is copied in a locked state; `args` is valid for
    // the size passed, and `pidfd` for the kernel to write to.
    match unsafe { syscall!(libc::SYS_clone3, args_ptr, size_of::<CloneArgs>()) }? {
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent {
            pid: i32::try_from(pid).unwrap_or(-1),
            pidfd: owned(usize::try_from(pidfd).unwrap_or(usize::MAX)),
        }),
    }
}

/// clone3(2) with `CLONE_PARENT`: a sibling of this process, its pid here, and `None` in the new process. No descriptor is
/// made, since a limit on them may be in force already.
pub fn fork_sibling(flags: u64) -> Result<Option<i32>> {
    // CLONE_PARENT takes the parent's exit signal, and the kernel insists on 0 here.
    let args = CloneArgs { flags: flags | libc::CLONE_PARENT as u64 | CLEAR_SIGHAND, ..CloneArgs::default() };
    let args_ptr: *const CloneArgs = &raw const args;
    // SAFETY: as in `fork`: a copy of memory, of a process that never had a second thread.
    match unsafe { syscall!(libc::SYS_clone3, args_ptr, size_of::<CloneArgs>()) }? {
        0 => Ok(None),
        pid => Ok(Some(i32::try_from(pid).unwrap_or(-1))),
    }
}

/// setns(2): joins the namespaces of type `kind` (`CLONE_NEW*`) that `fd`, an nsfs descriptor or a pidfd (5.8), names.
pub fn setns(fd: BorrowedFd<'_>, kind: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setns(fd.as_raw_fd(), kind) }.into()).map(drop)
}

/// unshare(2) of the one namespace type given.
pub fn unshare(kind: i32) -> Result<()> {
    // SAFETY: no pointers; namespaces only, so no memory or descriptor table is split.
    check(unsafe { libc::unshare(kind) }.into()).map(drop)
}

/// Ends this process at once, without destructors or exit handlers.
///
/// Under a seccomp filter that forbids it by one way it ends by another: exit(2), and a fault at last, which no filter can forbid
/// and which ends the first process of a pid namespace, too.
pub fn exit_group(code: i32) -> ! {
    // SAFETY: exit_group does not return, unless a filter refuses it; it ends the process without touching memory.
    let _refused = unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // SAFETY: exit ends this thread, which is the only one wherever a filter may refuse exit_group (`assert_single_threaded`).
    let _refused = unsafe { libc::syscall(libc::SYS_exit, code) };
    // SAFETY: abort does not return: when its signal cannot be sent, it executes an instruction that the processor refuses.
    unsafe { libc::abort() }
}

/// Writes `message` to stderr and ends the process: for bugs, where nothing can be trusted any more.
pub fn abort_with(message: &[u8]) -> ! {
    // SAFETY: `message` is valid for reading its length. The result does not matter: the process ends next.
    let _written = unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    exit_group(134)
}

/// waitid(2) for a pidfd: the exit status (128 + signal when killed), reaping the process.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).unwrap_or(libc::id_t::MAX);
    loop {
        // SAFETY: the kernel fills `info`, which is valid for writing.
        match check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::__WALL) }.into()) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: waitid has filled the SIGCHLD part of the union.
    let status = unsafe { info.si_status() };
    Ok(if info.si_code == libc::CLD_EXITED { status } else { 128 + status })
}

/// poll(2) of one descriptor for reading: whether it became ready within `timeout_ms` (-1: for ever).
pub fn wait_readable(fd: BorrowedFd<'_>, timeout_ms: i32) -> Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one pollfd, valid for reading and writing.
        match check(unsafe { libc::poll(&raw mut poll, 1, timeout_ms) }.into()) {
            Err(nix::errno::Errno::EINTR) if timeout_ms < 0 => {}
            other => return other.map(|n| n > 0),
        }
    }
}

/// pidfd_send_signal(2) (Linux 5.1).
pub fn kill(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means the kernel makes one, as for kill(2).
    unsafe { syscall!(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) }.map(drop)
}

/// getpid(2), from the kernel: the C library may remember the parent's.
pub fn getpid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    i32::try_from(unsafe { libc::syscall(libc::SYS_getpid) }).unwrap_or(0)
}

/// Fails with `EINVAL` when the process has more than one thread: unshare(2) of memory is allowed to single threads only,
/// and does nothing for them.
pub fn assert_single_threaded() -> Result<()> {
    unshare(libc::CLONE_VM)
}

/// pidfd_open(2) (Linux 5.3), close-on-exec.
pub fn open_process(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_pidfd_open, pid, 0) }.map(owned)
}

/// Whether two processes have one memory, as after vfork(2): kcmp(2) with `KCMP_VM`.
///
/// # Errors
///
/// `ENOSYS` without `CONFIG_KCMP`, `ESRCH`, `EPERM`.
pub fn shares_memory(one: i32, other: i32) -> Result<bool> {
    /// linux/kcmp.h.
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) }.map(|order| order == 0)
}
