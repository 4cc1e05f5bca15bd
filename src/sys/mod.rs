//! The kernel's interface: the only unsafe code of the project besides the allocator.
//!
//! Thin wrappers, one system call each, that neither allocate nor touch process-wide libc state (errno apart), so that the
//! child may use all of them. glibc's own setuid family is avoided on purpose: it signals other threads.
#![allow(unsafe_code)]

use nix::errno::Errno;

pub mod bpf;
pub mod clone;
pub mod cred;
pub mod exe;
pub mod exec;
pub mod fd;
pub mod landlock;
pub mod mount;
pub mod numa;
pub mod probe;
pub mod process;
pub mod regex;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tty;

/// What every call here returns: the kernel's value, or its error number.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the raw return value of `libc::syscall` into a result.
fn check(ret: libc::c_long) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Errno::last())
}

/// An argument of a raw system call: everything is a machine word.
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => {
        $crate::sys::check(libc::syscall($nr $(, $arg)*))
    };
}
use syscall;

/// A descriptor number the kernel returned, as an owned descriptor.
fn owned(fd: usize) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    let raw = std::os::fd::RawFd::try_from(fd).unwrap_or(-1);
    // SAFETY: called only with the value a system call has just returned as a new descriptor, which nobody else owns.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(raw) }
}
