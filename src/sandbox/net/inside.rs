//! A process in the sandbox's network that makes sockets there for those outside, and does nothing else.
//!
//! It is in the sandbox's user and network namespaces only: no program of the sandbox sees it, or the files it has open.
#![forbid(unsafe_code)]

use crate::sys::cred::{self, CapSets};
use crate::sys::{clone, socket};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, listen, setsockopt,
    socket as new_socket, sockopt,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where the proxy listens in the sandbox, unless that is asked for of the host.
pub(super) const PORT: u16 = 3128;

/// What is asked for: a listener, with its address and port after it, or a socket to connect with.
const LISTENER: u8 = 1;
const SOCKET: u8 = 2;

/// Runs in a process of its own, until `control` is closed.
///
/// `ids`: uid and gid of the sandbox that root takes; it has no others.
pub(super) fn serve(
    user: BorrowedFd<'_>,
    network: BorrowedFd<'_>,
    ids: Option<(u32, u32)>,
    control: &OwnedFd,
) -> nix::Result<()> {
    clone::setns(user, libc::CLONE_NEWUSER)?;
    clone::setns(network, libc::CLONE_NEWNET)?;
    if let Some((uid, gid)) = ids {
        // Still root of the machine, whom the sandbox has no name for.
        cred::set_groups(&[])?;
        cred::set_gid(gid)?;
        cred::set_uid(uid)?;
    }
    cred::set_caps(CapSets { effective: 0, permitted: 0, inheritable: 0 })?;
    cred::set_no_new_privs()?;
    // The change of credentials has undone it.
    cred::set_parent_death_signal(libc::SIGKILL)?;
    super::keep_only(&mut [control.as_raw_fd()])?;
    loop {
        let mut request = [0; LONGEST];
        match socket::receive(control.as_fd(), &mut request)? {
            (0, _) => return Ok(()),
            (length, _) => match make(&request[..length]) {
                Ok(made) => socket::send(control.as_fd(), &[0], Some(made.as_fd()))?,
                Err(errno) => socket::send(control.as_fd(), &[u8::try_from(errno as i32).unwrap_or(u8::MAX)], None)?,
            },
        }
    }
}

/// A kind, an address of version 6 (of version 4: mapped), a port.
const LONGEST: usize = 1 + 16 + 2;

fn make(request: &[u8]) -> nix::Result<OwnedFd> {
    match *request {
        [LISTENER, ref address @ .., high, low] => {
            let address = <[u8; 16]>::try_from(address).map_err(|_| Errno::EINVAL)?;
            listener(SocketAddr::new(Ipv6Addr::from(address).to_canonical(), u16::from_be_bytes([high, low])))
        }
        [SOCKET] => stream(AddressFamily::Inet),
        _ => Err(Errno::EINVAL),
    }
}

fn stream(family: AddressFamily) -> nix::Result<OwnedFd> {
    new_socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
}

fn listener(at: SocketAddr) -> nix::Result<OwnedFd> {
    let made = stream(if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 })?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    match at {
        SocketAddr::V4(at) => bind(made.as_raw_fd(), &SockaddrIn::from(at))?,
        SocketAddr::V6(at) => bind(made.as_raw_fd(), &SockaddrIn6::from(at))?,
    }
    listen(&made, Backlog::new(128)?)?;
    Ok(made)
}

/// The other end.
#[derive(Debug)]
pub(super) struct Inside(pub(super) OwnedFd);

impl Inside {
    fn ask(&self, request: &[u8]) -> nix::Result<OwnedFd> {
        socket::send(self.0.as_fd(), request, None)?;
        let mut answer = [0];
        match socket::receive(self.0.as_fd(), &mut answer)? {
            (1, Some(made)) => Ok(made),
            (1, None) => Err(Errno::from_raw(answer[0].into())),
            _ => Err(Errno::EPIPE),
        }
    }

    /// A listening socket at 127.0.0.1, or another address of its loopback, in the sandbox.
    pub(super) fn listener(&self, address: IpAddr, port: u16) -> nix::Result<OwnedFd> {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        self.ask(&[&[LISTENER], &octets[..], &port.to_be_bytes()].concat())
    }

    /// A socket in the sandbox, connected to nothing.
    pub(super) fn socket(&self) -> nix::Result<OwnedFd> {
        self.ask(&[SOCKET])
    }
}
