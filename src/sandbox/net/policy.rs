//! What may be connected to: names and ports that were asked for, and among the addresses behind them only public ones.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A place to connect to: `HOST:PORT` of `--net`, or `NAME=ADDRESSES:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Which hosts.
    pub host: Host,
    /// Where a name may lead to. Nothing: to public addresses.
    pub at: Option<Range>,
    /// Which port.
    pub port: u16,
}

/// Addresses that begin alike: `ADDRESS[/BITS]`, of version 6 in brackets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    bits: u8,
}

/// The name of this machine for itself, whatever a resolver says (RFC 6761, 6.3).
const LOCALHOST: &str = "localhost";

/// The hosts of a [`Destination`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// One name, in lower case and without a dot at its end.
    Name(String),
    /// All names below a domain: `*.DOMAIN`, kept as `.DOMAIN`.
    Below(String),
    /// One address.
    Address(IpAddr),
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Nobody asked for it.
    #[error("not in --net")]
    NotAsked,
    /// The address is one at which clouds give credentials to whoever asks.
    #[error("a link-local or metadata address, which is never allowed: clouds keep credentials there")]
    Metadata,
    /// The address is of this machine, or of its own network.
    #[error("a private address")]
    Private(IpAddr),
    /// The address looks like anybody's and is this machine's.
    #[error("an address of this machine")]
    Own(IpAddr),
}

/// Where clouds tell machines their secrets, beside link-local addresses: Azure's agent, Alibaba, Oracle's old one,
/// Equinix, Volcengine, Tencent's old one; by version 6 AWS and its containers, Google, Oracle, Scaleway, Akamai,
/// Alibaba.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(192, 80, 8, 124)),
    IpAddr::V4(Ipv4Addr::new(100, 96, 0, 96)),
    IpAddr::V4(Ipv4Addr::new(100, 88, 222, 5)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200)),
];

/// Most clouds have it at one or another link-local address, and nothing else is at those that a sandbox would need.
fn is_metadata(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    is_local || METADATA.contains(&address)
}

impl Refused {
    /// The address that has to be typed to be connected to.
    pub(super) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Private(address) | Self::Own(address) => Some(plain(address)),
            Self::NotAsked | Self::Metadata => None,
        }
    }
}

impl Range {
    fn is_one(self) -> bool {
        self.bits == width(self.first)
    }

    fn has(self, address: IpAddr) -> bool {
        width(address) == width(self.first) && leading(address, self.bits) == leading(self.first, self.bits)
    }
}

/// How many bits an address has.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first bits of an address; the others are 0.
fn leading(address: IpAddr, bits: u8) -> u128 {
    let all = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if bits == 0 { 0 } else { all & (u128::MAX << (128 - u32::from(bits))) }
}

impl FromStr for Range {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let (address, bits) = match inner.unwrap_or(text).split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (inner.unwrap_or(text), None),
        };
        let first = match inner {
            Some(_) => IpAddr::V6(address.parse().map_err(|_| ())?),
            None => IpAddr::V4(address.parse().map_err(|_| ())?),
        };
        let bits = match bits {
            None => width(first),
            Some(bits) => number(bits).and_then(|bits| u8::try_from(bits).ok()).ok_or(())?,
        };
        // An address that holds another is written as that one: it is compared so.
        let is_plain = plain(first) == first && bits <= width(first);
        // 10.1.2.3/8 may be meant as one or as the other.
        let begins = is_plain && leading(first, bits) == leading(first, width(first));
        begins.then_some(Self { first, bits }).ok_or(())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.is_one() { String::new() } else { format!("/{}", self.bits) };
        match self.first {
            IpAddr::V4(address) => write!(f, "{address}{bits}"),
            IpAddr::V6(address) => write!(f, "[{address}{bits}]"),
        }
    }
}

impl Destination {
    /// Where on this machine, if it is there: the host's servers are then to be had at the same addresses in the sandbox.
    pub(super) fn on_this_machine(&self) -> Vec<IpAddr> {
        match &self.host {
            Host::Address(address) if address.is_loopback() => vec![*address],
            Host::Name(name) if name == LOCALHOST && self.at.is_none() => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            _ => Vec::new(),
        }
    }

    /// Whether a name that this allows may lead to an address, and whether the address was itself asked for: only then
    /// may it be one of this machine's.
    fn leads_to(&self, address: IpAddr) -> Option<Named> {
        let is_own = address.is_loopback() || address.is_unspecified();
        match self.at {
            Some(range) if range.is_one() && range.has(address) => Some(Named::Itself),
            Some(range) => (range.has(address) && !is_own).then_some(Named::Among),
            None if self.on_this_machine().contains(&address) => Some(Named::Itself),
            None => is_public(address).then_some(Named::Among),
        }
    }

    /// Whether it may be asked for.
    ///
    /// # Errors
    /// When it is never allowed.
    pub fn check(&self) -> Result<(), String> {
        match self.host {
            Host::Address(address) => check(address).map_err(|why| why.to_string()),
            Host::Name(_) | Host::Below(_) => match self.at {
                Some(range) if range.is_one() => check(range.first).map_err(|why| why.to_string()),
                _ => Ok(()),
            },
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            || format!("{text:?} is not a HOST:PORT: want something like example.org:443 or [2001:db8::1]:443");
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = number(port).filter(|port| *port > 0).ok_or_else(invalid)?;
        let (host, at) = match host.split_once('=') {
            Some((host, at)) => (host, Some(at.parse().map_err(|()| invalid_range(text))?)),
            None => (host, None),
        };
        let host = host.parse().map_err(|()| invalid())?;
        if at.is_some() && matches!(host, Host::Address(_)) {
            return Err(invalid_range(text));
        }
        Ok(Self { host, at, port })
    }
}

fn invalid_range(text: &str) -> String {
    format!(
        "{text:?} is not a NAME=ADDRESSES:PORT: want something like mirror.example=10.0.0.0/8:443 or …=[fd00::/8]:443"
    )
}

impl FromStr for Host {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().map(|address| Self::Address(plain(address.into()))).map_err(|_| ());
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        let name = canonical(name).ok_or(())?;
        Ok(if below { Self::Below(format!(".{name}")) } else { Self::Name(name) })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match (&self.host, self.at) {
            (Host::Name(name), Some(at)) => return write!(f, "{name}={at}:{port}"),
            (Host::Below(domain), Some(at)) => return write!(f, "*{domain}={at}:{port}"),
            _ => {}
        }
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{port}"),
            Host::Below(domain) => write!(f, "*{domain}:{port}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Address(address) => write!(f, "{address}:{port}"),
        }
    }
}

/// A port, of digits only: `+80` is none.
pub(super) fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// A name as it is compared: only what DNS and /etc/hosts may have, and nothing that some resolver would read as a number, such
/// as `0x7f.1` (inet_aton(3)).
fn canonical(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_number = |label: &str| {
        label.starts_with(|c: char| c.is_ascii_digit())
            && u128::from_str_radix(label.trim_start_matches("0x"), 16).is_ok()
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let good = name.len() <= 253
        && name.split('.').all(is_label)
        && !(is_number(last) || last.bytes().all(|b| b.is_ascii_digit()));
    good.then_some(name)
}

/// What a client asked for, as text: a name or an address.
///
/// # Errors
/// [`Refused::NotAsked`] when it is neither.
pub(super) fn asked(host: &str) -> Result<Host, Refused> {
    // SOCKS and CONNECT give addresses without brackets, too.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Host::Address(plain(address)));
    }
    match host.parse() {
        Ok(Host::Below(_)) | Err(()) => Err(Refused::NotAsked),
        Ok(host) => Ok(host),
    }
}

/// Whether somebody allowed this host and port. A name is allowed by name, an address by address.
pub(super) fn is_asked(allowed: &[Destination], host: &Host, port: u16) -> Result<(), Refused> {
    if allowing(allowed, host, port).next().is_some() { Ok(()) } else { Err(Refused::NotAsked) }
}

/// What of that which was asked for allows this host and port.
fn allowing<'a>(allowed: &'a [Destination], host: &'a Host, port: u16) -> impl Iterator<Item = &'a Destination> + 'a {
    let matches = move |destination: &Destination| match (&destination.host, host) {
        (Host::Below(domain), Host::Name(name)) => name.ends_with(domain.as_str()),
        (allowed, asked) => allowed == asked,
    };
    allowed.iter().filter(move |destination| destination.port == port && matches(destination))
}

/// How an address was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// As one of many, or by a name that leads there.
    Among,
    /// By its own number.
    Itself,
}

/// Whether an address may be connected to by whoever asks for it by its own number.
pub(super) fn check(address: IpAddr) -> Result<(), Refused> {
    if readings(address).any(is_metadata) { Err(Refused::Metadata) } else { Ok(()) }
}

/// Whether the address that a host leads to, and that is about to be connected to, may be.
pub(super) fn check_behind(allowed: &[Destination], host: &Host, port: u16, address: IpAddr) -> Result<Named, Refused> {
    check(address)?;
    if matches!(host, Host::Address(_)) {
        return Ok(Named::Itself);
    }
    let ways: Vec<Named> =
        allowing(allowed, host, port).filter_map(|destination| destination.leads_to(plain(address))).collect();
    // What was typed itself counts more.
    let way = ways.iter().find(|way| **way == Named::Itself).or(ways.first());
    way.copied().ok_or(Refused::Private(address))
}

/// Whether an address is anybody's, and so nothing that a name has to be allowed to lead to.
pub(super) fn is_anybodys(address: IpAddr) -> bool {
    check(address).is_ok() && is_public(plain(address))
}

/// Every address that some translator or tunnel could take this one for: itself, and the version 4 addresses that it
/// may hold. Where they are in it depends on the prefix, which is anybody's choice with NAT64 (RFC 6052, 2.2), and
/// always at the end of a prefix of 96 bits (also ISATAP's, RFC 5214).
fn readings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let octets = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6.octets()),
    };
    // Octet 8 is passed over.
    const PLACES: [[usize; 4]; 8] = [
        [12, 13, 14, 15],
        [9, 10, 11, 12],
        [7, 9, 10, 11],
        [6, 7, 9, 10],
        [5, 6, 7, 9],
        [4, 5, 6, 7],
        // 6to4, and the server of Teredo, which is [4, 5, 6, 7].
        [2, 3, 4, 5],
        [8, 9, 10, 11],
    ];
    let at = move |places: [usize; 4]| octets.map(|octets| IpAddr::V4(Ipv4Addr::from(places.map(|at| octets[at]))));
    // The client of Teredo (RFC 4380, 4) is written with every bit turned over.
    let teredo = octets.filter(|octets| octets.starts_with(&[0x20, 1, 0, 0]));
    let client = teredo.map(|o| IpAddr::V4(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15])));
    let held = PLACES.into_iter().filter_map(at).chain(client).filter(|held| is_well_known(*held));
    [address, plain(address)].into_iter().chain(held)
}

/// Of the addresses that others hold by chance, those that matter: one in a thousand addresses of version 6 holds a
/// link-local one.
fn is_well_known(address: IpAddr) -> bool {
    let link_local =
        [[169, 254, 169, 254], [169, 254, 169, 253], [169, 254, 170, 2], [169, 254, 170, 23], [169, 254, 0, 23]];
    METADATA.contains(&address) || link_local.iter().any(|octets| address == IpAddr::from(*octets))
}

/// The address that packets go to in the end: the version 4 one inside of a version 6 one (mapped, compatible,
/// translated, NAT64 of RFC 6052, 6to4).
pub(super) fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // ::1 and :: are themselves.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

/// Whether an address is anybody's on the internet, by the registries of special addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_unspecified()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        // Global unicast is 2000::/3; of it, not what is for documentation, for tunnels (Teredo) and for protocols.
        IpAddr::V6(v6) => {
            let s = v6.segments();
            s[0] & 0xe000 == 0x2000 && !(s[0] == 0x2001 && (s[1] == 0xdb8 || s[1] < 0x200)) && s[0] != 0x3fff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Vec<Destination> {
        text.split(',').map(|one| one.parse().expect(one)).collect()
    }

    fn may(list: &str, host: &str, port: u16) -> bool {
        asked(host).and_then(|host| is_asked(&allowed(list), &host, port)).is_ok()
    }

    fn behind(list: &str, name: &str, address: &str) -> Result<Named, Refused> {
        let host = asked(name).expect(name);
        check_behind(&allowed(list), &host, 443, address.parse().expect(address))
    }

    #[test]
    fn a_name_leads_where_it_was_said_to_lead() {
        let list =
            "a.corp=10.0.0.0/8:443,b.corp=10.1.2.3:443,*.c.corp=[fd00::/8]:443,me=127.0.0.1:443,all=0.0.0.0/0:443";
        for (name, address, way) in [
            ("a.corp", "10.255.0.1", Named::Among),
            ("a.corp", "::ffff:10.0.0.1", Named::Among),
            ("b.corp", "10.1.2.3", Named::Itself),
            ("x.c.corp", "fd12::1", Named::Among),
            ("me", "127.0.0.1", Named::Itself),
            ("all", "192.168.1.1", Named::Among),
        ] {
            assert_eq!(behind(list, name, address), Ok(way), "{name} at {address}");
        }
        for (name, address) in [
            ("a.corp", "11.0.0.1"),
            ("a.corp", "9.255.255.255"),
            ("a.corp", "1.1.1.1"),
            ("b.corp", "10.1.2.4"),
            ("x.c.corp", "fe00::1"),
            ("x.c.corp", "10.0.0.1"),
            ("me", "127.0.0.2"),
            // This machine is nothing that is among others.
            ("all", "127.0.0.1"),
            ("all", "0.0.0.0"),
            ("all", "::ffff:127.0.0.1"),
        ] {
            let address: IpAddr = address.parse().expect(address);
            assert_eq!(behind(list, name, &address.to_string()), Err(Refused::Private(address)), "{name} at {address}");
        }
        for address in ["169.254.169.254", "168.63.129.16", "100.100.100.200"] {
            assert_eq!(behind(list, "all", address), Err(Refused::Metadata), "{address}");
        }
        assert_eq!(behind("a:443", "a", "1.1.1.1"), Ok(Named::Among));
        assert_eq!(behind("a:443,a=10.0.0.1:443", "a", "10.0.0.1"), Ok(Named::Itself));
        assert_eq!(
            behind("a:80,a=10.0.0.1:80,a:443", "a", "10.0.0.1"),
            Err(Refused::Private("10.0.0.1".parse().unwrap()))
        );
        assert!("a=169.254.169.254:80".parse::<Destination>().expect("one").check().is_err());
    }

    #[test]
    fn localhost_is_this_machine() {
        for (text, at) in [
            ("localhost:80", &["127.0.0.1", "::1"][..]),
            ("LOCALHOST.:80", &["127.0.0.1", "::1"]),
            ("127.0.0.1:80", &["127.0.0.1"]),
            ("127.1.2.3:80", &["127.1.2.3"]),
            ("[::1]:80", &["::1"]),
            ("example.org:80", &[]),
            ("a.localhost:80", &[]),
            ("10.0.0.1:80", &[]),
        ] {
            let place: Destination = text.parse().expect(text);
            let at: Vec<IpAddr> = at.iter().map(|address| address.parse().expect("an address")).collect();
            assert_eq!(place.on_this_machine(), at, "{text}");
        }
        assert_eq!(behind("localhost:443", "localhost", "::1"), Ok(Named::Itself));
        assert!(behind("localhost:443", "localhost", "127.0.0.2").is_err());
        assert!(behind("localhost:443", "localhost", "10.0.0.1").is_err());
    }

    #[test]
    fn destinations_are_read_as_they_are_printed() {
        for text in [
            "example.org:443",
            "*.example.org:80",
            "192.0.2.7:22",
            "[2001:db8::1]:443",
            "mirror.example=10.0.0.0/8:443",
            "*.example=10.1.2.3:443",
            "mirror.example=[fd00::/8]:443",
            "mirror.example=[fd00::1]:443",
        ] {
            assert_eq!(text.parse::<Destination>().expect(text).to_string(), text);
        }
        for bad in [
            "",
            "example.org",
            "example.org:",
            "example.org:0",
            "example.org:65536",
            "example.org:+80",
            "example.org: 80",
            "example%2eorg:80",
            "u@example.org:80",
            "xn--e1afmkfd.:80:80",
            "[fe80::1%1]:80",
            "[::1]x:80",
            "example.org\\.evil:80",
            "ｅxample.org:80",
            ":443",
            "a b:1",
            "*:443",
            "*.:443",
            "a..b:1",
            "[::1:443",
            "0x7f.1:80",
            "127.1:80",
            "2130706433:80",
            "a/b:1",
            "é.org:1",
            "-:x",
            "a=:443",
            "=10.0.0.1:443",
            "a=10.1.2.3/8:443",
            "a=10.0.0.0/33:443",
            "a=10.0.0.0/+8:443",
            "a=10.0.0.0/:443",
            "a=b:443",
            "a=fd00::/8:443",
            "a=[10.0.0.0/8]:443",
            "a=[::ffff:10.0.0.1]:443",
            "10.0.0.1=10.0.0.1:443",
            "a=b=10.0.0.1:443",
            "a=[fd00::/129]:443",
        ] {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_allowed_by_name_and_port() {
        let list = "example.org:443,*.example.net:443,192.0.2.7:22,[2001:db8::1]:443";
        for (host, port) in [
            ("example.org", 443),
            ("EXAMPLE.org.", 443),
            ("a.example.net", 443),
            ("a.b.example.net", 443),
            ("192.0.2.7", 22),
            ("2001:db8::1", 443),
            ("[2001:DB8:0::1]", 443),
            ("::ffff:192.0.2.7", 22),
        ] {
            assert!(may(list, host, port), "{host}:{port}");
        }
        for (host, port) in [
            ("example.org", 80),
            ("www.example.org", 443),
            ("example.net", 443),
            ("evilexample.net", 443),
            ("example.org.evil.com", 443),
            ("192.0.2.8", 22),
            ("3221225991", 22),
            ("0300.0.2.7", 22),
            ("", 443),
            ("*.example.net", 443),
            ("example.org\0.evil.com", 443),
            ("example.org:443", 443),
        ] {
            assert!(!may(list, host, port), "{host}:{port}");
        }
    }

    #[test]
    fn metadata_is_never_allowed_however_it_is_written() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "168.63.129.16",
            "100.100.100.200",
            "169.254.1.1",
            "169.254.42.42",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fd00:42::42",
            "192.80.8.124",
            "100.96.0.96",
            "100.88.222.5",
            "::ffff:192.80.8.124",
            "::ffff:0:100.96.0.96",
            "64:ff9b::100.96.0.96",
            "2002:c050:87c::",
            // In prefixes of NAT64 of somebody's own, and of the local use of RFC 8215.
            "2001:db8:1:2:3:4:169.254.169.254",
            "2a00:1450:a9fe:a9fe::1",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:00a9:00fe:a9fe::",
            "64:ff9b:1:0:00a9:fea9:fe00::",
            // ISATAP, and Teredo's server and client.
            "2001:db8::5efe:169.254.169.254",
            "2001:0:a9fe:a9fe::1",
            "2001:0:102:304:0:1:5601:5601",
        ] {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(check(address), Err(Refused::Metadata), "{text}");
            assert_eq!(behind("a:443", "a", text), Err(Refused::Metadata), "{text}");
            assert!(!is_anybodys(address), "{text}");
        }
    }

    #[test]
    fn private_addresses_are_allowed_by_themselves_only() {
        for text in [
            "127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b:1::1.1.1.1",
            "192.88.99.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "100.127.255.255",
            "198.19.255.255",
            "ff0e::1",
            "fec0::ffff",
            "3fff::1",
            "5f00::1",
            "2001:20::1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "::1",
            "::",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fec0::1",
            "100::1",
        ] {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(behind("a:443", "a", text), Err(Refused::Private(address)), "{text}");
            assert_eq!(check(address), Ok(()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "140.82.112.5",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(behind("a:443", "a", text), Ok(Named::Among), "{text}");
        }
    }
}
