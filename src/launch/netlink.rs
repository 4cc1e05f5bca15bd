//! The little of rtnetlink(7) that moving a network device and asking for a route take, by hand: messages are built and
//! read as the kernel lays them out.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

type Result<T> = std::result::Result<T, Errno>;

/// Long enough for any message of a dump (the kernel's own limit is 32 KiB).
const BUFFER: usize = 1 << 16;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`.
const LINK: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS: usize = 8;

/// `struct rtmsg`.
const ROUTE: usize = 12;

/// Types of messages (linux/rtnetlink.h).
mod kind {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDRESS: u16 = 20;
    pub(super) const GET_ADDRESS: u16 = 22;
    pub(super) const NEW_ROUTE: u16 = 24;
    pub(super) const GET_ROUTE: u16 = 26;
}

/// Flags of requests (linux/netlink.h).
mod flag {
    pub(super) const REQUEST: u16 = 0x1;
    pub(super) const ACK: u16 = 0x4;
    pub(super) const DUMP: u16 = 0x300;
    pub(super) const EXCLUSIVE: u16 = 0x200;
    pub(super) const CREATE: u16 = 0x400;
}

/// Attributes of links (linux/if_link.h) and addresses (linux/if_addr.h).
mod attribute {
    pub(super) const LINK_NAME: u16 = 3;
    pub(super) const LINK_NAMESPACE_FD: u16 = 28;
    pub(super) const PEER: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const PRIORITY: u16 = 9;
    /// Of routes (linux/rtnetlink.h).
    pub(super) const DESTINATION: u16 = 1;
}

const IFA_F_PERMANENT: u32 = 0x80;
/// What the kernel finds out itself: tentative, optimistic, failed detection, deprecated, secondary.
const IFA_F_STATE: u32 = 0x40 | 0x04 | 0x08 | 0x20 | 0x01;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: i32,
    pub(super) name: String,
    pub(super) up: bool,
}

/// An address of a device, without the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix: u8,
    /// The attributes that make it what it is, as they were read.
    attributes: Vec<u8>,
}

/// A socket, and the network namespace it was made in.
pub(crate) struct Netlink(OwnedFd);

/// Whom packets to an address are for, as the kernel's own tables have it at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// One other machine.
    Other,
    /// This machine, or several at a time.
    Own,
    /// Nobody.
    None,
}

impl Netlink {
    /// Where packets to an address would go: not what it looks like decides whether it is this machine's.
    pub(crate) fn route(&self, address: IpAddr) -> Result<Route> {
        let (family, octets) = match address {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let mut head = [0; ROUTE];
        head[0] = u8::try_from(family).map_err(|_| Errno::EAFNOSUPPORT)?;
        head[1] = u8::try_from(octets.len() * 8).map_err(|_| Errno::EINVAL)?;
        let mut message = Message::new(kind::GET_ROUTE, flag::ACK, &head);
        message.attribute(attribute::DESTINATION, &octets);
        let mut found = None;
        self.request(message, |kind, body| found = found.or_else(|| read_route(kind, body)))?;
        found.ok_or(Errno::EBADMSG)
    }

    pub(crate) fn open() -> Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The device of that name, if there is one.
    pub(super) fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut message = Message::link(kind::GET_LINK, flag::ACK, 0, 0, 0);
        message.text(attribute::LINK_NAME, name);
        let mut found = None;
        match self.request(message, |kind, body| found = found.take().or_else(|| read_link(kind, body))) {
            Err(Errno::ENODEV) => Ok(None),
            other => other.map(|()| found),
        }
    }

    pub(super) fn links(&self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        self.request(Message::link(kind::GET_LINK, flag::DUMP, 0, 0, 0), |kind, body| {
            links.extend(read_link(kind, body))
        })?;
        Ok(links)
    }

    pub(super) fn set_up(&self, index: i32, up: bool) -> Result<()> {
        let flag = libc::IFF_UP.cast_unsigned();
        self.request(Message::link(kind::NEW_LINK, flag::ACK, index, if up { flag } else { 0 }, flag), |_, _| {})
    }

    /// Moves a device to another namespace, under another name. The kernel forgets its addresses.
    pub(super) fn move_link(&self, index: i32, name: &str, namespace: &OwnedFd) -> Result<()> {
        let mut message = Message::link(kind::NEW_LINK, flag::ACK, index, 0, 0);
        message.text(attribute::LINK_NAME, name);
        message.attribute(attribute::LINK_NAMESPACE_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.request(message, |_, _| {})
    }

    /// The addresses of a device that were set to stay and are valid everywhere: what the specification wants kept.
    pub(super) fn lasting_addresses(&self, index: i32) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        let message = Message::new(kind::GET_ADDRESS, flag::DUMP, &[0; ADDRESS]);
        self.request(message, |kind, body| addresses.extend(read_address(kind, body, index)))?;
        Ok(addresses)
    }

    pub(super) fn add_address(&self, index: i32, address: &Address) -> Result<()> {
        let mut head = [address.family, address.prefix, 0, RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
        head[4..].copy_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(kind::NEW_ADDRESS, flag::ACK | flag::CREATE | flag::EXCLUSIVE, &head);
        message.bytes.extend_from_slice(&address.attributes);
        match self.request(message, |_, _| {}) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Sends a request and reads until the kernel has answered it.
    fn request(&self, message: Message, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let message = message.finish();
        if socket::send(self.0.as_raw_fd(), &message, MsgFlags::empty())? != message.len() {
            return Err(Errno::EMSGSIZE);
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = match socket::recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    kind::DONE => return Ok(()),
                    kind::ERROR => {
                        return match i32::from_ne_bytes(word(body, 0).ok_or(Errno::EBADMSG)?) {
                            0 => Ok(()),
                            error => Err(Errno::from_raw(-error)),
                        };
                    }
                    other => each(other, body),
                }
            }
        }
    }
}

/// A message in the making.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(head);
        Self { bytes }
    }

    fn link(kind: u16, flags: u16, index: i32, value: u32, change: u32) -> Self {
        let mut head = [0; LINK];
        head[4..8].copy_from_slice(&index.to_ne_bytes());
        head[8..12].copy_from_slice(&value.to_ne_bytes());
        head[12..16].copy_from_slice(&change.to_ne_bytes());
        Self::new(kind, flags, &head)
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.attribute(kind, &[text.as_bytes(), b"\0"].concat());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        push_attribute(&mut self.bytes, kind, value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// `struct rtattr` and its value, padded to 4 bytes. Values here are short: names, addresses, words.
fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The messages in a buffer: type and body.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(word(rest, 0)?)).ok()?;
        let body = rest.get(HEADER..length)?;
        let kind = half(rest, 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes after a message's fixed part: type and value.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        let kind = half(rest, 2)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn read_link(kind: u16, body: &[u8]) -> Option<Link> {
    let index = i32::from_ne_bytes(word(body, 4)?);
    let flags = u32::from_ne_bytes(word(body, 8)?);
    let name = attributes(body.get(LINK..)?).find(|(kind, _)| *kind == attribute::LINK_NAME)?.1;
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
    (kind == kind::NEW_LINK).then_some(Link { index, name, up: flags & libc::IFF_UP.cast_unsigned() != 0 })
}

fn read_route(kind: u16, body: &[u8]) -> Option<Route> {
    let of = *body.get(7)?;
    (kind == kind::NEW_ROUTE).then_some(match of {
        libc::RTN_UNICAST => Route::Other,
        libc::RTN_LOCAL | libc::RTN_BROADCAST | libc::RTN_ANYCAST | libc::RTN_MULTICAST => Route::Own,
        _ => Route::None,
    })
}

fn read_address(kind: u16, body: &[u8], index: i32) -> Option<Address> {
    let (head, rest) = body.split_at_checked(ADDRESS)?;
    let flags = attributes(rest).find(|(kind, _)| *kind == attribute::FLAGS).and_then(|(_, value)| word(value, 0));
    let flags = flags.map_or(u32::from(head[2]), u32::from_ne_bytes);
    let of_device = i32::from_ne_bytes(word(head, 4)?) == index;
    if kind != kind::NEW_ADDRESS || !of_device || flags & IFA_F_PERMANENT == 0 || head[3] != RT_SCOPE_UNIVERSE {
        return None;
    }
    // The label is left out: it starts with the device's name, which may change.
    let mut kept = Vec::new();
    for (kind, value) in attributes(rest) {
        if [attribute::PEER, attribute::LOCAL, attribute::BROADCAST, attribute::PRIORITY].contains(&kind) {
            push_attribute(&mut kept, kind, value);
        }
    }
    push_attribute(&mut kept, attribute::FLAGS, &(flags & !IFA_F_STATE).to_ne_bytes());
    Some(Address { family: head[0], prefix: head[1], attributes: kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found() {
        let netlink = Netlink::open().expect("a socket");
        let lo = netlink.link("lo").expect("an answer").expect("lo");
        assert_eq!((lo.index, lo.name.as_str()), (1, "lo"));
        assert!(netlink.links().expect("a list").contains(&lo));
        assert_eq!(netlink.link("no-such-device").expect("an answer"), None);
        // 127.0.0.1 is valid on this host only.
        assert_eq!(netlink.lasting_addresses(1).expect("a list"), []);
    }

    #[test]
    fn only_lasting_global_addresses_are_kept() {
        let message = |flags: u32, scope: u8, index: i32| {
            let mut body = vec![2 /* AF_INET */, 24, 0, scope];
            body.extend(index.to_ne_bytes());
            push_attribute(&mut body, attribute::LOCAL, &[10, 0, 0, 1]);
            push_attribute(&mut body, 3, b"eth0\0");
            push_attribute(&mut body, attribute::FLAGS, &flags.to_ne_bytes());
            read_address(kind::NEW_ADDRESS, &body, 7)
        };
        let kept = message(IFA_F_PERMANENT | 0x200 | 0x40, RT_SCOPE_UNIVERSE, 7).expect("kept");
        let parts: Vec<_> = attributes(&kept.attributes).collect();
        let flags = (IFA_F_PERMANENT | 0x200).to_ne_bytes();
        assert_eq!(parts, [(attribute::LOCAL, &[10, 0, 0, 1][..]), (attribute::FLAGS, &flags[..])]);
        assert_eq!((kept.family, kept.prefix), (2, 24));
        assert_eq!(message(0, RT_SCOPE_UNIVERSE, 7), None, "a lease");
        assert_eq!(message(IFA_F_PERMANENT, 253, 7), None, "link-local");
        assert_eq!(message(IFA_F_PERMANENT, RT_SCOPE_UNIVERSE, 8), None, "another device");
    }

    #[test]
    fn cut_messages_end_the_list() {
        let whole = Message::link(kind::NEW_LINK, 0, 1, 0, 0).finish();
        assert_eq!(messages(&whole).count(), 1);
        for length in 0..whole.len() {
            assert_eq!(messages(&whole[..length]).count(), 0);
            assert_eq!(attributes(&whole[..length]).filter(|(_, value)| value.len() > length).count(), 0);
        }
    }
}
