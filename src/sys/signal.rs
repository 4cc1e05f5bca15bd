//! Signals, waited for instead of handled, and children of any kind, reaped.

use super::{Result, check, syscall};
use nix::errno::Errno;

/// The kernel's signal set is 8 bytes on every 64-bit architecture.
const SET_SIZE: usize = 8;
/// Every signal.
static ALL: u64 = u64::MAX;

/// rt_sigprocmask(2): blocks every signal that can be.
pub fn block_all() -> Result<()> {
    let set: *const u64 = &raw const ALL;
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the set is 8 bytes, as the size says, and only read; the old one is not asked for.
    unsafe { syscall!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, old, SET_SIZE) }.map(drop)
}

/// Lets the signals that ask a process to end do so, also for the first process of a pid namespace, to which the kernel passes
/// only what it handles (pid_namespaces(7)). exec(2) makes them the program's own again.
pub fn end_when_asked() -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        super::clone::exit_group(128 + signal)
    }
    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: sigaction is plain data, for which all zeroes is a valid value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    let action: *const libc::sigaction = &raw const action;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: `action` is valid, and its handler does nothing but a system call that does not return.
        check(unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) }.into())?;
    }
    Ok(())
}

/// A signal that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub number: i32,
    /// Whether a process outside of this pid namespace has sent it to this process: neither the kernel (a terminal) nor a
    /// neighbour, whose signals may have gone to others too.
    pub from_outside: bool,
}

/// rt_sigtimedwait(2) without a time limit: the next blocked signal that arrives.
pub fn wait_for_any() -> Result<Arrived> {
    let set: *const u64 = &raw const ALL;
    let timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let out: *mut libc::siginfo_t = &raw mut info;
    let number = loop {
        // SAFETY: the set is 8 bytes, as the size says, and only read; `out` may be written to; no time limit is given.
        match unsafe { syscall!(libc::SYS_rt_sigtimedwait, set, out, timeout, SET_SIZE) } {
            Err(Errno::EINTR) => {}
            other => break i32::try_from(other?).unwrap_or(0),
        }
    };
    // SAFETY: a code of 0 or less means that a process sent it, and then this part of the union is filled in.
    let sender = if info.si_code <= 0 { unsafe { info.si_pid() } } else { -1 };
    Ok(Arrived { number, from_outside: sender == 0 })
}

/// waitid(2) for any child, without waiting: its pid and exit status (128 + signal when killed); nothing when none has ended.
pub fn reap() -> Result<Option<(i32, i32)>> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: the kernel fills `info`, which is valid for writing.
    match check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) }.into()) {
        Err(Errno::ECHILD) => return Ok(None),
        Err(errno) => return Err(errno),
        Ok(_) => {}
    }
    // SAFETY: zeroed above, and filled by waitid if a child has ended.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: waitid has filled the SIGCHLD part of the union.
    let status = unsafe { info.si_status() };
    Ok(Some((pid, if info.si_code == libc::CLD_EXITED { status } else { 128 + status })))
}
