//! The first process of a pid namespace, for a program that does not know how to be one.
//!
//! The kernel drops signals to pid 1 that it has no handler for, and leaves orphans to it: a program that was not written for
//! that can neither be interrupted nor does it reap. Nothing here allocates, and nothing of the host is left in this process but
//! its memory, which nobody in the container can look at: it is not dumpable, and has no less rights than they.
#![forbid(unsafe_code)]

use super::Done;
use crate::launch::wire::Failure;
use crate::sys::clone::{self, Fork};
use crate::sys::{cred, fd, signal};
use nix::sys::signal::{Signal, kill};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Returns in the program's process only.
pub(super) fn become_init() -> Done {
    // From before the fork, so that none is lost; the program's process gets its own back.
    signal::block_all()?;
    match clone::fork(0, None)? {
        Fork::Child => {
            cred::unblock_signals()?;
            Ok(())
        }
        Fork::Parent { pid, pidfd } => {
            let _failed = look_after(pid, &pidfd);
            // Whatever is still there ends with this process.
            clone::exit_group(255)
        }
    }
}

/// Ends when the program's process does, with its status. Of signals only those of the runtime are passed on: a terminal's go
/// to the program by themselves.
fn look_after(pid: i32, pidfd: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    cred::set_name(c"pent-init")?;
    cred::set_dumpable(false)?;
    // With its own end of the socket open, the parent would never hear that the program was executed; and a pipe that the
    // program closes has to be closed.
    let kept = pidfd.as_raw_fd();
    if kept > 0 {
        fd::close_range(0, kept.cast_unsigned() - 1)?;
    }
    fd::close_range(kept.saturating_add(1), libc::c_uint::MAX)?;
    loop {
        let arrived = signal::wait_for_any()?;
        if arrived.number != libc::SIGCHLD {
            if arrived.from_outside {
                pass_on(arrived.number, pid, pidfd);
            }
            continue;
        }
        while let Some((ended, status)) = signal::reap()? {
            if ended == pid {
                clone::exit_group(status);
            }
        }
    }
}

/// What is typed at a terminal is for all that belongs to one command: a shell waits for its children to end of it. The program may
/// have ended by now: then SIGCHLD is next.
fn pass_on(number: i32, pid: i32, pidfd: &OwnedFd) {
    use nix::unistd::{Pid, getpgid};
    // In a session without a terminal nobody would stop by SIGTSTP.
    let number = if number == libc::SIGTSTP { libc::SIGSTOP } else { number };
    if let Ok(typed @ (Signal::SIGINT | Signal::SIGQUIT | Signal::SIGSTOP | Signal::SIGCONT)) = Signal::try_from(number)
    {
        // This process is one of the group, and not touched by what it sends itself.
        let _sent = kill(Pid::from_raw(0), typed);
        if getpgid(None) == getpgid(Some(Pid::from_raw(pid))) {
            return;
        }
    }
    let _sent = clone::kill(pidfd.as_fd(), number);
}
