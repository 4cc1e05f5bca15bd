//! Addresses and routes: whether a network namespace leads somewhere.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What connect(2) and bind(2) are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Inet(SocketAddr),
    /// A path; abstract names and unnamed sockets are not here.
    Unix(Vec<u8>),
}

/// Reads a `struct sockaddr` (sockaddr(3type)).
pub(super) fn parse(bytes: &[u8]) -> Option<Address> {
    let family = u16::from_ne_bytes(bytes.first_chunk().copied()?);
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some(Address::Inet(SocketAddr::new(Ipv4Addr::from(octets).into(), port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some(Address::Inet(SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)))
        }
        libc::AF_UNIX => {
            let name = bytes.get(2..)?;
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            (end > 0).then(|| Address::Unix(name[..end].to_vec()))
        }
        _ => None,
    }
}

/// Where a namespace's routes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the address.
    There,
    /// Not to the address.
    Elsewhere,
    /// Nowhere but to itself.
    Nowhere,
}

/// Whether an address is the container's own.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

const REJECT: u32 = 0x200;
const UP: u32 = 1;

/// By `/proc/PID/net/route` and `/proc/PID/net/ipv6_route`.
pub(super) fn reach(address: IpAddr, ipv4: &str, ipv6: &str) -> Reach {
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let routes4: Vec<(u32, u32)> = ipv4
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (to, flags, mask) = (hex(fields.get(1)?)?, hex(fields.get(3)?)?, hex(fields.get(7)?)?);
            (fields[0] != "lo" && flags & UP != 0 && flags & REJECT == 0).then_some((to, mask))
        })
        .collect();
    let routes6: Vec<(u128, u32)> = ipv6
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let to = u128::from_str_radix(fields.first()?, 16).ok()?;
            let (length, flags) = (hex(fields.get(1)?)?, hex(fields.get(8)?)?);
            // Multicast and what an interface has by itself lead nowhere else.
            let own = to >> 120 == 0xff || to >> 118 == 0xfe80 >> 6;
            (*fields.get(9)? != "lo" && flags & UP != 0 && flags & REJECT == 0 && !own).then_some((to, length))
        })
        .collect();
    if routes4.is_empty() && routes6.is_empty() {
        return Reach::Nowhere;
    }
    let there = match address {
        // The kernel prints the address as the number that its bytes are in memory.
        IpAddr::V4(address) => {
            let address = u32::from_ne_bytes(address.octets());
            routes4.iter().any(|(to, mask)| address & mask == *to)
        }
        IpAddr::V6(address) => {
            let address = u128::from(address);
            let same = |to: u128, length: u32| length == 0 || (address ^ to) >> (128 - length.min(128)) == 0;
            routes6.iter().any(|(to, length)| same(*to, *length))
        }
    };
    if there { Reach::There } else { Reach::Elsewhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let inet = [2u8, 0, 1, 187, 140, 82, 112, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&inet), Some(Address::Inet("140.82.112.5:443".parse().expect("an address"))));
        let mut inet6 = [0u8; 28];
        inet6[0] = 10;
        inet6[3] = 53;
        inet6[23] = 1;
        assert_eq!(parse(&inet6), Some(Address::Inet("[::1]:53".parse().expect("an address"))));
        inet6[18..20].copy_from_slice(&[255, 255]);
        assert_eq!(parse(&inet6), Some(Address::Inet("0.0.0.1:53".parse().expect("an address"))));
        assert_eq!(parse(b"\x01\0/run/x\0y"), Some(Address::Unix(b"/run/x".to_vec())));
        for nothing in
            [&b""[..], b"\x01", b"\x01\0\0abstract", b"\x02\0\0", b"\x11\0abcdefgh", &inet[..7], &inet6[..23]]
        {
            assert_eq!(parse(nothing), None);
        }
    }

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn routes_lead_somewhere_or_nowhere() {
        let to: IpAddr = "192.0.2.9".parse().expect("an address");
        assert_eq!(reach(to, V4, ""), Reach::Nowhere);
        let lo6 = "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n";
        assert_eq!(reach(to, V4, lo6), Reach::Nowhere);
        let net = u32::from_ne_bytes([192, 0, 2, 0]);
        let mask = u32::from_ne_bytes([255, 255, 255, 0]);
        let v4 = format!("{V4}eth0\t{net:08X}\t00000000\t0001\t0\t0\t0\t{mask:08X}\t0\t0\t0\n");
        assert_eq!(reach(to, &v4, ""), Reach::There);
        assert_eq!(reach("192.0.3.9".parse().expect("an address"), &v4, ""), Reach::Elsewhere);
        let default = format!("{V4}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert_eq!(reach("1.1.1.1".parse().expect("an address"), &default, ""), Reach::There);
        let v6 = "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001     eth0\n";
        assert_eq!(reach("2001:db8::9".parse().expect("an address"), V4, v6), Reach::There);
        assert_eq!(reach("2002:db8::9".parse().expect("an address"), V4, v6), Reach::Elsewhere);
    }
}
