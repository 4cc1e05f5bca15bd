//! Pseudo-terminals, by descriptor only.

use super::{Result, check, owned};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Unlocks the pty whose master this is, and opens its other side by `TIOCGPTPEER` (Linux 4.13): no path is involved.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    let unlock_ptr: *const libc::c_int = &raw const unlock;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, unlock_ptr) }.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into()).map(owned)
}

/// The number of the pty in its devpts instance.
pub fn number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut n: libc::c_uint = 0;
    let n_ptr: *mut libc::c_uint = &raw mut n;
    // SAFETY: TIOCGPTN writes one unsigned int.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, n_ptr) }.into())?;
    Ok(n)
}

/// Sets the window size in characters.
pub fn set_size(tty: BorrowedFd<'_>, width: u16, height: u16) -> Result<()> {
    let size = libc::winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    let size_ptr: *const libc::winsize = &raw const size;
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, size_ptr) }.into()).map(drop)
}

/// Clears ONLCR, through either side: what is written with `\n` is read with `\n`, not `\r\n`.
pub fn clear_onlcr(tty: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: termios is plain data, for which all zeroes is a valid value.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: tcgetattr fills `termios`.
    check(unsafe { libc::tcgetattr(tty.as_raw_fd(), &raw mut termios) }.into())?;
    termios.c_oflag &= !libc::ONLCR;
    // SAFETY: tcsetattr reads `termios`.
    check(unsafe { libc::tcsetattr(tty.as_raw_fd(), libc::TCSANOW, &raw const termios) }.into()).map(drop)
}

/// Makes the terminal the controlling one of this session leader.
pub fn make_controlling(tty: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an int by value; 0 never steals a terminal.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// The window size in characters, if this is a terminal.
pub fn size(tty: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    let size_ptr: *mut libc::winsize = &raw mut size;
    // SAFETY: TIOCGWINSZ writes one winsize.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ, size_ptr) }.into()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Whether this is a terminal, by `TCGETS`.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: termios is plain data, for which all zeroes is a valid value.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: tcgetattr fills `termios`.
    unsafe { libc::tcgetattr(fd.as_raw_fd(), &raw mut termios) == 0 }
}

/// Whether the terminal is closed to others (`TIOCGEXCL`, Linux 3.8).
pub fn is_exclusive(tty: BorrowedFd<'_>) -> bool {
    let mut exclusive: libc::c_int = 0;
    let out: *mut libc::c_int = &raw mut exclusive;
    // SAFETY: TIOCGEXCL writes one int.
    unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGEXCL, out) == 0 && exclusive != 0 }
}

/// Opens the terminal to others again (`TIOCNXCL`).
pub fn share(tty: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCNXCL takes no argument.
    check(unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCNXCL) }.into()).map(drop)
}
