//! What a program says to a proxy: SOCKS 5 (RFC 1928, without authentication), HTTP's CONNECT (RFC 9110, 9.3.6), and plain HTTP
//! requests for `http://` (RFC 9112, 3.2.2). The other side is hostile: everything is bounded, and nothing is echoed to it.
#![forbid(unsafe_code)]

use super::policy::Refused;
use std::io::{self, Read, Write};

/// The longest head of a request.
const HEAD: usize = 16 << 10;

/// A connection that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// A name, or an address as text.
    pub(super) host: String,
    pub(super) port: u16,
    /// How to answer.
    pub(super) speaks: Speaks,
    /// What the server is to get first.
    pub(super) first: Vec<u8>,
}

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Socks,
    Connect,
    /// A request that the server answers itself.
    Plain,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may not be.
    Refused(Refused),
    /// The name is not known.
    Unknown,
    /// The host does not answer.
    Unreachable,
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads what is wanted.
///
/// # Errors
/// When it is not understood; the connection is then to be closed.
pub(super) fn read(stream: &mut (impl Read + Write)) -> io::Result<Wanted> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first[0] == 5 { socks(stream) } else { http(stream, first[0]) }
}

fn socks(stream: &mut (impl Read + Write)) -> io::Result<Wanted> {
    let mut count = [0];
    stream.read_exact(&mut count)?;
    let mut methods = vec![0; count[0].into()];
    stream.read_exact(&mut methods)?;
    if !methods.contains(&0) {
        stream.write_all(&[5, 0xff])?;
        return Err(invalid("no method without authentication"));
    }
    stream.write_all(&[5, 0])?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let [5, command, 0, kind] = head else { return Err(invalid("not SOCKS 5")) };
    let host = match kind {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address)?;
            std::net::Ipv4Addr::from(address).to_string()
        }
        3 => {
            let mut length = [0];
            stream.read_exact(&mut length)?;
            let mut name = vec![0; length[0].into()];
            stream.read_exact(&mut name)?;
            String::from_utf8(name).map_err(|_| invalid("a name that is no text"))?
        }
        4 => {
            let mut address = [0; 16];
            stream.read_exact(&mut address)?;
            std::net::Ipv6Addr::from(address).to_string()
        }
        _ => return Err(invalid("an address of another kind")),
    };
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    if command != 1 {
        // Command not supported.
        stream.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0])?;
        return Err(invalid("not a CONNECT of SOCKS"));
    }
    Ok(Wanted { host, port: u16::from_be_bytes(port), speaks: Speaks::Socks, first: Vec::new() })
}

fn http(stream: &mut impl Read, first: u8) -> io::Result<Wanted> {
    let mut head = vec![first];
    // Byte by byte: what follows the head is the tunnel's.
    while !head.ends_with(b"\r\n\r\n") {
        let mut next = [0];
        stream.read_exact(&mut next)?;
        head.push(next[0]);
        if head.len() > HEAD {
            return Err(invalid("a request that is too long"));
        }
    }
    let text = std::str::from_utf8(&head).map_err(|_| invalid("a request that is no text"))?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("not HTTP"));
    };
    if !version.starts_with("HTTP/1.") || method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(invalid("not HTTP/1"));
    }
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Ok(Wanted { host, port, speaks: Speaks::Connect, first: Vec::new() });
    }
    let rest = target.strip_prefix("http://").ok_or_else(|| invalid("not a request to a proxy"))?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    let (host, port) = authority(place, Some(80))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request = format!("{method} {slash}{path} {version}\r\n");
    for line in lines {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        // The next request may be to somebody else: it has to come over a connection of its own.
        if !matches!(
            name.as_str(),
            "connection" | "proxy-connection" | "proxy-authorization" | "keep-alive" | "upgrade"
        ) {
            request.push_str(line);
            request.push_str("\r\n");
        }
    }
    request.push_str("Connection: close\r\n\r\n");
    Ok(Wanted { host, port, speaks: Speaks::Plain, first: request.into_bytes() })
}

fn authority(text: &str, default: Option<u16>) -> io::Result<(String, u16)> {
    if text.contains('@') {
        return Err(invalid("a user in an address"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, Some(port.parse().map_err(|_| invalid("a port that is none"))?))
        }
        _ => (text, default),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok((host.to_owned(), port.ok_or_else(|| invalid("no port"))?))
}

/// Says that the connection is there. A plain request is answered by the server.
///
/// # Errors
/// When the client is gone.
pub(super) fn accept(stream: &mut impl Write, speaks: Speaks) -> io::Result<()> {
    match speaks {
        Speaks::Socks => stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        Speaks::Connect => stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        Speaks::Plain => Ok(()),
    }
}

/// Says that there is none.
///
/// # Errors
/// When the client is gone.
pub(super) fn refuse(stream: &mut impl Write, speaks: Speaks, why: Failed) -> io::Result<()> {
    if speaks == Speaks::Socks {
        let code = match why {
            Failed::Refused(_) => 2,
            Failed::Unknown => 4,
            Failed::Unreachable => 5,
        };
        return stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let (status, text) = match why {
        Failed::Refused(refused) => ("403 Forbidden", refused.to_string()),
        Failed::Unknown => ("502 Bad Gateway", "the name is not known".to_owned()),
        Failed::Unreachable => ("502 Bad Gateway", "the host does not answer".to_owned()),
    };
    let body = format!("pent sandbox: {text}\n");
    let length = body.len();
    stream.write_all(
        format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends, and what it has been sent.
    struct Client<'a>(&'a [u8], Vec<u8>);

    impl Read for Client<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Client<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn parse(bytes: &[u8]) -> io::Result<Wanted> {
        read(&mut Client(bytes, Vec::new()))
    }

    #[test]
    fn socks_by_name_and_by_address() {
        let name = parse(b"\x05\x02\x00\x02\x05\x01\x00\x03\x0bexample.org\x01\xbb").expect("a request");
        assert_eq!((name.host.as_str(), name.port, name.speaks), ("example.org", 443, Speaks::Socks));
        let v4 = parse(b"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50").expect("a request");
        assert_eq!((v4.host.as_str(), v4.port), ("1.2.3.4", 80));
        let v6 = parse(b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50").expect("a request");
        assert_eq!((v6.host.as_str(), v6.port), ("::1", 80));
        for bad in [
            &b"\x05\x01\x02"[..],
            b"\x05\x01\x00\x05\x02\x00\x01\x01\x02\x03\x04\x00\x50",
            b"\x05\x01\x00\x04\x01\x00\x01",
            b"\x05\x01\x00\x05\x01\x00\x09",
            b"\x05",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn http_connect() {
        let wanted = parse(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n").expect("a request");
        assert_eq!((wanted.host.as_str(), wanted.port, wanted.speaks), ("example.org", 443, Speaks::Connect));
        let wanted = parse(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n").expect("a request");
        assert_eq!((wanted.host.as_str(), wanted.port), ("2001:db8::1", 443));
        for bad in [
            "CONNECT example.org HTTP/1.1\r\n\r\n",
            "CONNECT a:b HTTP/1.1\r\n\r\n",
            "CONNECT u@example.org:443 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT example.org:443\r\n\r\n",
            "CONNECT example.org:443 HTTP/2\r\n\r\n",
            "GET https://example.org/ HTTP/1.1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let endless = [b"CONNECT ".to_vec(), vec![b'a'; HEAD + 1]].concat();
        assert!(parse(&endless).is_err());
    }

    #[test]
    fn plain_requests_are_made_the_server_s() {
        let wanted = parse(b"GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\nbody").expect("a request");
        assert_eq!((wanted.host.as_str(), wanted.port, wanted.speaks), ("example.org", 80, Speaks::Plain));
        let first = String::from_utf8(wanted.first).expect("text");
        assert_eq!(first, "GET /a?b HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nConnection: close\r\n\r\n");
        let wanted = parse(b"GET http://example.org:8080?x HTTP/1.0\r\n\r\n").expect("a request");
        assert_eq!((wanted.port, wanted.first.starts_with(b"GET /?x HTTP/1.0\r\n")), (8080, true));
    }

    #[test]
    fn refusals_say_why() {
        let mut out = Vec::new();
        refuse(&mut out, Speaks::Connect, Failed::Refused(Refused::NotAsked)).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(
            text.starts_with("HTTP/1.1 403 Forbidden\r\n") && text.ends_with("\r\n\r\npent sandbox: not in --net\n"),
            "{text}"
        );
        let mut out = Vec::new();
        refuse(&mut out, Speaks::Socks, Failed::Refused(Refused::Metadata)).expect("written");
        assert_eq!(out[..2], [5, 2]);
    }

    proptest::proptest! {
        /// Whatever a client sends: an answer or an error, and no more than a head is kept.
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            drop(parse(&bytes));
        }
    }
}
