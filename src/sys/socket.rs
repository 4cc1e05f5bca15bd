//! The channel between parent and child: a SOCK_SEQPACKET pair, and descriptors passed over UNIX sockets.

use super::{Result, check, owned, syscall};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// socketpair(2) of SOCK_SEQPACKET: messages keep their boundaries, and a dead peer reads as length 0.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors into `fds`.
    unsafe { syscall!(libc::SYS_socketpair, libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }?;
    let [a, b] = fds.map(|fd| owned(usize::try_from(fd).unwrap_or(usize::MAX)));
    Ok((a, b))
}

/// accept4(2), close-on-exec.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    let none = std::ptr::null_mut::<libc::sockaddr>();
    let no_len = std::ptr::null_mut::<libc::socklen_t>();
    loop {
        // SAFETY: the peer's address is not asked for.
        match unsafe { syscall!(libc::SYS_accept4, listener.as_raw_fd(), none, no_len, libc::SOCK_CLOEXEC) } {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.map(owned),
        }
    }
}

/// Room for one descriptor in a control message, aligned as cmsghdr wants it.
#[repr(C, align(8))]
struct OneDescriptor {
    len: usize,
    level: i32,
    kind: i32,
    fd: RawFd,
    pad: i32,
}

const HEADER: usize = 16;

/// The size of [`OneDescriptor`] in the type of `msg_controllen`: socklen_t in musl, size_t in glibc.
#[cfg(target_env = "musl")]
const CONTROL_LEN: libc::socklen_t = 24;
#[cfg(not(target_env = "musl"))]
const CONTROL_LEN: libc::size_t = 24;
const _: () = assert!(size_of::<OneDescriptor>() == 24);

/// sendmsg(2) of `bytes`, with `fd` as SCM_RIGHTS when given; never raises SIGPIPE.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    send_some(socket, bytes, fd).map(drop)
}

/// Sends all of `bytes` over a stream, the descriptor with the first of them.
pub fn send_stream(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let mut sent = send_some(socket, bytes, Some(fd))?;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += send_some(socket, rest, None)?;
    }
    Ok(())
}

/// How many bytes went: all of them, unless the socket is a stream.
fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<usize> {
    let mut control = OneDescriptor {
        len: HEADER + size_of::<RawFd>(),
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        pad: 0,
    };
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data, for which all zeroes is a valid value.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if fd.is_some() {
        msg.msg_control = (&raw mut control).cast();
        msg.msg_controllen = CONTROL_LEN;
    }
    loop {
        // SAFETY: `msg` points to one iovec over `bytes`, which sendmsg only reads, and one whole control message.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL) };
        match check(sent as libc::c_long) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// recvmsg(2) into `buf`, with a descriptor if one came along (close-on-exec). Length 0: the peer is gone.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut control = OneDescriptor { len: 0, level: 0, kind: 0, fd: -1, pad: 0 };
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: msghdr is plain data, for which all zeroes is a valid value.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = (&raw mut control).cast();
    msg.msg_controllen = CONTROL_LEN;
    let got = loop {
        // SAFETY: the iovec covers `buf` and the control buffer `control`; both are valid for writing.
        let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut msg, libc::MSG_CMSG_CLOEXEC) };
        match check(got as libc::c_long) {
            Err(nix::errno::Errno::EINTR) => {}
            other => break other?,
        }
    };
    #[allow(clippy::unnecessary_cast, reason = "socklen_t in musl, size_t in glibc")]
    let came = msg.msg_controllen as usize >= HEADER + size_of::<RawFd>()
        && control.level == libc::SOL_SOCKET
        && control.kind == libc::SCM_RIGHTS
        && control.fd >= 0;
    Ok((got, came.then(|| owned(usize::try_from(control.fd).unwrap_or(usize::MAX)))))
}

/// The address of a socket by directory descriptor: paths of any length fit, and none is resolved again.
fn address(dir: BorrowedFd<'_>, name: &str) -> Result<nix::sys::socket::UnixAddr> {
    nix::sys::socket::UnixAddr::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).as_str())
}

fn seqpacket() -> Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType};
    nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

/// A listening SOCK_SEQPACKET socket named `name` in the directory `dir`. Not for the child: it allocates.
pub fn listen(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = seqpacket()?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address(dir, name)?)?;
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(1)?)?;
    Ok(socket)
}

/// Connects to the SOCK_STREAM socket at a path of the host, of any length; `patience` limits connecting and every send.
/// Not for the child: it allocates.
pub fn connect_stream(path: &std::ffi::CStr, patience: std::time::Duration) -> Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, sockopt};
    use nix::sys::time::TimeValLike as _;
    let target = super::fd::open(super::fd::CWD, path, libc::O_PATH)?;
    let kind = SockType::Stream;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    nix::sys::socket::setsockopt(&socket, sockopt::SendTimeout, &nix::sys::time::TimeVal::seconds(seconds))?;
    let address = format!("/proc/self/fd/{}", target.as_raw_fd());
    nix::sys::socket::connect(socket.as_raw_fd(), &nix::sys::socket::UnixAddr::new(address.as_str())?)?;
    Ok(socket)
}

/// Connects to what [`listen`] made. Not for the child: it allocates.
pub fn connect(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = seqpacket()?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address(dir, name)?)?;
    Ok(socket)
}
