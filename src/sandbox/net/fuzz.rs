//! The fuzz target of what programs say to the proxy.
#![forbid(unsafe_code)]

use super::policy::{self, Destination, Host};
use super::protocol::{self, Body, Speaks};
use std::io::{self, Read, Write};

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

/// A request, in whichever protocol, and its body.
///
/// # Panics
/// When a server could see another request than the proxy has, or somebody is reached whom nobody allowed.
pub fn proxy(data: &[u8]) {
    let mut client = Client(data, Vec::new());
    let Ok(wanted) = protocol::read(&mut client) else {
        assert!(client.1.len() < 512, "more is answered than sent");
        return;
    };
    let allowed: Vec<Destination> = ["example.org:80", "*.example.net:443", "192.0.2.7:80", "[2001:db8::1]:80"]
        .iter()
        .map(|place| place.parse().expect("a place"))
        .collect();
    let host = policy::asked(&wanted.host);
    if let Ok(host) = &host {
        if policy::is_asked(&allowed, host, wanted.port).is_ok() {
            let Host::Name(name) = host else { return };
            assert!(name == "example.org" || name.ends_with(".example.net"), "{name}");
        }
        if let Host::Address(address) = host {
            assert!(policy::check(*address).is_ok() || !policy::is_anybodys(*address));
            assert_eq!(policy::plain(policy::plain(*address)), policy::plain(*address));
        }
        let place = match host {
            Host::Name(name) => format!("{name}:1"),
            Host::Address(address) => std::net::SocketAddr::new(*address, 1).to_string(),
            Host::Below(domain) => panic!("{domain} is not a host"),
        };
        assert_eq!(place.parse::<Destination>().map(|place| place.host).as_ref(), Ok(host), "{place}");
    }
    match (wanted.speaks, host) {
        (Speaks::Plain, Ok(_)) => plain(&wanted.first, wanted.body, client.0),
        (Speaks::Plain, Err(_)) => {}
        _ => assert!(wanted.first.is_empty() && wanted.body == Body::None),
    }
}

/// Reads again what goes to the server, as the most lenient server would.
fn plain(first: &[u8], body: Body, mut rest: &[u8]) {
    let text = std::str::from_utf8(first).expect("text");
    let lines: Vec<&str> = text.split(['\r', '\n']).collect();
    assert_eq!(lines.len(), 2 * text.matches("\r\n").count() + 1, "a bare CR or LF: {text:?}");
    let head = text.strip_suffix("\r\n\r\n").expect("an end");
    let fields: Vec<&str> = head.split("\r\n").skip(1).collect();
    assert!(!fields.iter().any(|field| field.is_empty() || field.starts_with([' ', '\t'])), "{text:?}");
    let count = |name: &str| {
        let is_it = |field: &&&str| field.split(':').next().unwrap_or_default().trim().eq_ignore_ascii_case(name);
        fields.iter().filter(is_it).count()
    };
    assert_eq!((count("host"), count("connection")), (1, 1), "{text:?}");
    assert!(count("content-length") + count("transfer-encoding") <= 1, "{text:?}");
    assert_eq!(
        count("upgrade") + count("te") + count("proxy-connection") + count("proxy-authorization"),
        0,
        "{text:?}"
    );
    let mut sent = Vec::new();
    let done = protocol::send_body(&mut rest, &mut sent, body).is_ok();
    match body {
        Body::None => assert!(sent.is_empty()),
        Body::Length(length) => assert!(sent.len() as u64 <= length),
        Body::Chunked if done => {
            // As the proxy writes it, its own reader takes all of it.
            let (mut again, mut copy) = (sent.as_slice(), Vec::new());
            protocol::send_body(&mut again, &mut copy, body).expect("chunks");
            assert!(again.is_empty() && copy == sent);
        }
        Body::Chunked => {}
    }
}
