//! Processes by descriptor: pidfd_open(2) and pidfd_send_signal(2), which cannot hit a recycled process id.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A descriptor of one process, valid for that process only (pidfd_open(2), Linux 5.3).
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this id now; close-on-exec.
    ///
    /// # Errors
    ///
    /// ESRCH when there is no such process; those of pidfd_open(2).
    pub fn open(pid: i32) -> nix::Result<Self> {
        // SAFETY: pidfd_open takes two integers and touches no memory of this process.
        let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let raw = RawFd::try_from(opened).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Sends a signal to the process; 0 only asks whether it may be signalled.
    ///
    /// # Errors
    ///
    /// ESRCH when the process has been reaped; those of pidfd_send_signal(2).
    pub fn send_signal(&self, signal: i32) -> nix::Result<()> {
        let fd = self.0.as_raw_fd();
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed and means "as kill(2) would fill it"; the descriptor is open while self lives.
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) }).map(drop)
    }

    /// Waits until the process has ended (it may still be a zombie); false when the time is over before.
    ///
    /// # Errors
    ///
    /// Those of poll(2), interruption by a signal excepted.
    pub fn wait_end(&self, patience: Duration) -> nix::Result<bool> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_signalled_and_awaited() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = PidFd::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!pidfd.wait_end(Duration::from_millis(5)).unwrap());
        pidfd.send_signal(0).unwrap();
        pidfd.send_signal(libc::SIGKILL).unwrap();
        assert!(pidfd.wait_end(Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
        assert_eq!(pidfd.send_signal(0), Err(Errno::ESRCH));
    }

    #[test]
    fn nobody_is_an_error() {
        assert_eq!(PidFd::open(i32::MAX).unwrap_err(), Errno::ESRCH);
    }
}
