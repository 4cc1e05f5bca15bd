//! What may be connected to: names and ports that were asked for, and among the addresses behind them only public ones.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A place to connect to: `HOST:PORT` of `--net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Which hosts.
    pub host: Host,
    /// Which port.
    pub port: u16,
}

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
    #[error("a private address: name the address itself to allow it")]
    Private,
    /// The address looks like anybody's and is this machine's.
    #[error("an address of this machine: name the address itself to allow it")]
    Own,
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

impl Destination {
    /// Whether it may be asked for.
    ///
    /// # Errors
    /// When it is never allowed.
    pub fn check(&self) -> Result<(), String> {
        match self.host {
            Host::Address(address) => check(address, true).map_err(|why| why.to_string()),
            Host::Name(_) | Host::Below(_) => Ok(()),
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is no HOST:PORT: want something like example.org:443 or [2001:db8::1]:443");
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = number(port).filter(|port| *port > 0).ok_or_else(invalid)?;
        Ok(Self { host: host.parse().map_err(|()| invalid())?, port })
    }
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
    let matches = |destination: &Destination| match (&destination.host, host) {
        (Host::Below(domain), Host::Name(name)) => name.ends_with(domain.as_str()),
        (allowed, asked) => allowed == asked,
    };
    let found = allowed.iter().any(|destination| destination.port == port && matches(destination));
    if found { Ok(()) } else { Err(Refused::NotAsked) }
}

/// Whether the address that is about to be connected to may be: `named` when it was itself asked for and not only behind a name.
pub(super) fn check(address: IpAddr, named: bool) -> Result<(), Refused> {
    if readings(address).any(is_metadata) {
        return Err(Refused::Metadata);
    }
    if named || is_public(plain(address)) { Ok(()) } else { Err(Refused::Private) }
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

    #[test]
    fn destinations_are_read_as_they_are_printed() {
        for text in ["example.org:443", "*.example.org:80", "192.0.2.7:22", "[2001:db8::1]:443"] {
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
            assert_eq!(check(address, true), Err(Refused::Metadata), "{text}");
            assert_eq!(check(address, false), Err(Refused::Metadata), "{text}");
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
            assert_eq!(check(address, false), Err(Refused::Private), "{text}");
            assert_eq!(check(address, true), Ok(()), "{text}");
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
            assert_eq!(check(text.parse().expect(text), false), Ok(()), "{text}");
        }
    }
}
