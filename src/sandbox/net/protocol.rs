//! What a program says to a proxy: SOCKS 5 (RFC 1928, without authentication), HTTP's CONNECT (RFC 9110, 9.3.6), and plain HTTP
//! requests for `http://` (RFC 9112, 3.2.2). The other side is hostile: everything is bounded, and nothing is echoed to it.
#![forbid(unsafe_code)]

use super::policy::{self, Host, Refused};
use std::io::{self, BufRead, Read, Write};
use std::net::IpAddr;

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
    /// What of the client's it gets then, of a plain request.
    pub(super) body: Body,
}

/// The body of a request (RFC 9112, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
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
            String::from_utf8(name).map_err(|_| invalid("a name that is not text"))?
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
    Ok(Wanted { host, port: u16::from_be_bytes(port), speaks: Speaks::Socks, first: Vec::new(), body: Body::None })
}

/// What a client sends that is not what it must be is told in one line.
fn http(stream: &mut (impl Read + Write), first: u8) -> io::Result<Wanted> {
    let wanted = head(stream, first).and_then(|head| request(&head));
    if let Err(error) = &wanted
        && error.kind() == io::ErrorKind::InvalidData
    {
        answer(stream, "400 Bad Request", &error.to_string())?;
    }
    wanted
}

/// Everything up to the empty line, byte by byte: what follows is the tunnel's.
fn head(stream: &mut impl Read, first: u8) -> io::Result<Vec<u8>> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        let mut next = [0];
        stream.read_exact(&mut next)?;
        head.push(next[0]);
        if head.len() > HEAD {
            return Err(invalid("a request that is too long"));
        }
    }
    Ok(head)
}

/// Reads a head as strictly as RFC 9112 lets one: where two readers could see two requests there is none (request
/// smuggling).
fn request(head: &[u8]) -> io::Result<Wanted> {
    let text = std::str::from_utf8(head).map_err(|_| invalid("a request that is not text"))?;
    let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(text).split("\r\n");
    if lines.clone().any(|line| line.contains(|c: char| c.is_control() && c != '\t')) {
        return Err(invalid("a control character in a request"));
    }
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid("not HTTP"));
    };
    if !matches!(version, "HTTP/1.0" | "HTTP/1.1")
        || method.is_empty()
        || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
        || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
    {
        return Err(invalid("not HTTP/1"));
    }
    let fields = Fields::of(lines)?;
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Ok(Wanted { host, port, speaks: Speaks::Connect, first: Vec::new(), body: Body::None });
    }
    if method == "TRACE" {
        // It shows what a request has become on its way.
        return Err(invalid("TRACE is not passed on"));
    }
    let rest = target.strip_prefix("http://").ok_or_else(|| invalid("not a request to a proxy"))?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    let (host, port) = authority(place, Some(80))?;
    let body = fields.body(version)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    // Whatever the client says there: the server is asked for what the target names (RFC 9112, 3.2.2).
    let name = match policy::asked(&host) {
        Ok(Host::Name(name)) => name,
        Ok(Host::Address(IpAddr::V6(address))) => format!("[{address}]"),
        Ok(Host::Address(address)) => address.to_string(),
        // It is refused by its name in a moment.
        Ok(Host::Below(_)) | Err(_) => String::new(),
    };
    let port_text = if port == 80 { String::new() } else { format!(":{port}") };
    let mut request = format!("{method} {slash}{path} {version}\r\nHost: {name}{port_text}\r\n");
    for (name, value) in fields.passed_on() {
        request.extend([name, ": ", value, "\r\n"]);
    }
    match body {
        Body::None => {}
        Body::Length(length) => request.push_str(&format!("Content-Length: {length}\r\n")),
        Body::Chunked => request.push_str("Transfer-Encoding: chunked\r\n"),
    }
    // The next request may be to somebody else: it has to come over a connection of its own.
    request.push_str("Connection: close\r\n\r\n");
    Ok(Wanted { host, port, speaks: Speaks::Plain, first: request.into_bytes(), body })
}

/// What the proxy writes itself, and what is between it and the client only (RFC 9110, 7.6.1).
const NOT_PASSED_ON: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// The fields of a head: names in lower case, and values.
struct Fields<'a>(Vec<(String, &'a str)>);

impl<'a> Fields<'a> {
    fn of(lines: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        let field = |line: &'a str| {
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a line that is not a field"))?;
            // A blank before the colon, or at the start (a value that goes on), is read by everybody in another way.
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(invalid("a field with an invalid name"));
            }
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
        };
        let fields = Self(lines.map(field).collect::<io::Result<_>>()?);
        if fields.all("host").count() > 1 {
            return Err(invalid("more than one Host"));
        }
        Ok(fields)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| *value)
    }

    /// How long the body is: said once, in one way.
    fn body(&self, version: &str) -> io::Result<Body> {
        let (mut lengths, mut codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (lengths.next(), codings.next(), lengths.next().or(codings.next())) {
            (None, None, _) => Ok(Body::None),
            (Some(length), None, None) if length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().map(Body::Length).map_err(|_| invalid("a Content-Length that is not a number"))
            }
            (None, Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => {
                Ok(Body::Chunked)
            }
            _ => Err(invalid("a body whose length is not said once and in one way")),
        }
    }

    /// Without what `Connection` names.
    fn passed_on(&self) -> impl Iterator<Item = (&str, &str)> {
        let named: Vec<String> = self
            .all("connection")
            .flat_map(|value| value.split(','))
            .map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase())
            .collect();
        self.0.iter().filter_map(move |(name, value)| {
            let kept = !NOT_PASSED_ON.contains(&name.as_str()) && !name.starts_with("proxy-") && !named.contains(name);
            kept.then_some((name.as_str(), *value))
        })
    }
}

/// The longest line with the length of a chunk, and the trailer after the last.
const LINE: usize = 4096;

/// Sends the body of a request, as long as was said, in the proxy's own words.
///
/// # Errors
/// When it is not what was said, or one of both is gone.
pub(super) fn send_body(from: &mut impl BufRead, to: &mut impl Write, body: Body) -> io::Result<()> {
    match body {
        Body::None => Ok(()),
        Body::Length(length) => send_exactly(from, to, length),
        Body::Chunked => loop {
            let line = line(from)?;
            // What follows a semicolon is an extension, which nobody has to understand.
            let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
            let digits = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let length = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let length = length.ok_or_else(|| invalid("a chunk whose length is not a number"))?;
            if length == 0 {
                // The trailer is left out: fields in it would have been checked before.
                let mut rest = HEAD;
                loop {
                    let length = self::line(from)?.len();
                    rest = rest.checked_sub(length + 2).ok_or_else(|| invalid("a trailer that is too long"))?;
                    if length == 0 {
                        return to.write_all(b"0\r\n\r\n");
                    }
                }
            }
            write!(to, "{length:x}\r\n")?;
            send_exactly(from, to, length)?;
            if !self::line(from)?.is_empty() {
                return Err(invalid("a chunk that is longer than it says"));
            }
            to.write_all(b"\r\n")?;
        },
    }
}

fn send_exactly(from: &mut impl BufRead, to: &mut impl Write, length: u64) -> io::Result<()> {
    if io::copy(&mut from.take(length), to)? == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// A line without its end, CR and LF.
fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LINE as u64).read_until(b'\n', &mut line)?;
    let plain = line.strip_suffix(b"\r\n").ok_or_else(|| invalid("a line without an end"))?;
    if plain.contains(&b'\r') { Err(invalid("a line that ends twice")) } else { Ok(plain.to_vec()) }
}

fn authority(text: &str, default: Option<u16>) -> io::Result<(String, u16)> {
    if text.contains('@') {
        return Err(invalid("a user in an address"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, Some(policy::number(port).filter(|port| *port > 0).ok_or_else(|| invalid("an invalid port"))?))
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
    answer(stream, status, &text)
}

fn answer(stream: &mut impl Write, status: &str, text: &str) -> io::Result<()> {
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

    fn first(request: &str) -> String {
        let wanted = parse(request.as_bytes()).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        String::from_utf8(wanted.first).expect("text")
    }

    #[test]
    fn plain_requests_are_made_the_server_s() {
        let wanted = parse(b"GET http://example.org/a?b HTTP/1.1\r\nHost: example.org\r\nProxy-Authorization: x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nAccept: */*\r\nUpgrade: h2c\r\n\r\nbody").expect("a request");
        assert_eq!((wanted.host.as_str(), wanted.port, wanted.speaks), ("example.org", 80, Speaks::Plain));
        let text = String::from_utf8(wanted.first).expect("text");
        assert_eq!(text, "GET /a?b HTTP/1.1\r\nHost: example.org\r\naccept: */*\r\nConnection: close\r\n\r\n");
        let wanted = parse(b"GET http://example.org:8080?x HTTP/1.0\r\n\r\n").expect("a request");
        assert_eq!((wanted.port, wanted.first.starts_with(b"GET /?x HTTP/1.0\r\n")), (8080, true));
    }

    #[test]
    fn the_server_is_asked_for_what_the_target_names() {
        for host in ["", "Host: internal.example.net\r\n", "hOsT:\tother:1\r\n", "Host:\r\n"] {
            let text = first(&format!("GET http://EXAMPLE.org.:8080/ HTTP/1.1\r\n{host}\r\n"));
            assert_eq!(text, "GET / HTTP/1.1\r\nHost: example.org:8080\r\nConnection: close\r\n\r\n");
        }
        assert!(first("GET http://[::FFFF:1.2.3.4]/ HTTP/1.1\r\n\r\n").contains("Host: 1.2.3.4\r\n"));
        assert!(first("GET http://[2001:DB8::1]:80/ HTTP/1.1\r\n\r\n").contains("Host: [2001:db8::1]\r\n"));
        // Nobody takes away what a request is by way of Connection.
        let text = first(
            "GET http://a.example/ HTTP/1.1\r\nConnection: host, content-length\r\nHost: b\r\nContent-Length: 1\r\n\r\n",
        );
        assert!(text.contains("Host: a.example\r\nContent-Length: 1\r\n"), "{text}");
    }

    #[test]
    fn what_two_would_read_as_two_requests_is_none() {
        for bad in [
            "Host: a\r\nHost: a\r\n",
            "Host : a\r\n",
            " Host: a\r\n",
            "A: b\r\n c\r\n",
            "A: b\nHost: c\r\n",
            "A: b\rHost: c\r\n",
            "A: b\0c\r\n",
            "A\r\n",
            ": a\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
        ] {
            let text = format!("POST http://example.org/ HTTP/1.1\r\n{bad}\r\n");
            let mut client = Client(text.as_bytes(), Vec::new());
            assert!(read(&mut client).is_err(), "{bad:?}");
            assert!(client.1.starts_with(b"HTTP/1.1 400 "), "{bad:?}");
        }
        for bad in [
            "GET http://example.org/#x HTTP/1.1",
            "GET http://a@example.org/ HTTP/1.1",
            "GET http://example.org:+80/ HTTP/1.1",
            "GET http://example.org:0/ HTTP/1.1",
            "GET http://example.org/ HTTP/1.2",
            "GET http://example.org/ HTTP/1.1 ",
            "GET  http://example.org/ HTTP/1.1",
            "GET http://example.org/\tx HTTP/1.1",
            "TRACE http://example.org/ HTTP/1.1",
            "GET //example.org/ HTTP/1.1",
            "get http://example.org/ HTTP/1.1",
            "POST http://example.org/ HTTP/1.0\r\nTransfer-Encoding: chunked",
        ] {
            assert!(parse(format!("{bad}\r\n\r\n").as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_ends_where_it_was_said_to() {
        let send = |text: &str, body| {
            let (mut from, mut to) = (text.as_bytes(), Vec::new());
            let sent = send_body(&mut from, &mut to, body).is_ok();
            (sent, String::from_utf8(to).expect("text"), String::from_utf8(from.to_vec()).expect("text"))
        };
        let texts = |sent: bool, to: &str, rest: &str| (sent, to.to_owned(), rest.to_owned());
        assert_eq!(send("GET /", Body::None), texts(true, "", "GET /"));
        assert_eq!(send("bodyGET /", Body::Length(4)), texts(true, "body", "GET /"));
        assert_eq!(send("bod", Body::Length(4)), texts(false, "bod", ""));
        let chunks = "004;x=\"\r\nbody\r\n0\r\nHost: b\r\n\r\nGET /";
        assert_eq!(send(chunks, Body::Chunked), texts(true, "4\r\nbody\r\n0\r\n\r\n", "GET /"));
        for bad in [
            "-4\r\nbody",
            "4 \n",
            "4\nbody\r\n",
            "0x4\r\n",
            "4\r\nbodyX\r\n",
            "4\r\nbody\n0\r\n\r\n",
            "\r\n",
            "ffffffffffffffffff\r\n",
            "",
        ] {
            assert!(!send(bad, Body::Chunked).0, "{bad:?}");
        }
        assert!(!send(&"a".repeat(LINE + 9), Body::Chunked).0);
        assert!(!send(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(HEAD)), Body::Chunked).0);
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
