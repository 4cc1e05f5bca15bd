//! The little of D-Bus that a transient scope needs: one connection over a UNIX socket, method calls, one signal. Synchronous,
//! little-endian out, either way in. docs/decisions/0010 says why it is our own.
//!
//! Source: the D-Bus specification 0.43, "Message Protocol", "Authentication Protocol" and "Marshaling".
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

/// How long systemd may take for an answer, or for a job; as runc.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer messages are nothing that is asked for here; the specification allows 128 MiB.
const LONGEST: usize = 1 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// What a method takes or a property is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    U64(u64),
    I32(i32),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    U32s(Vec<u32>),
    /// `a(sv)`: names and values.
    Properties(Vec<(String, Value)>),
    /// `a(sa(sv))`, always empty: the auxiliary units of a transient unit.
    NoUnits,
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::I32(_) => "i",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::U32s(_) => "au",
            Self::Properties(_) => "a(sv)",
            Self::NoUnits => "a(sa(sv))",
        }
    }
}

/// What can go wrong on the way to systemd and back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the bus does not accept this user ({0})")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Timeout,
    #[error("the bus sent what is not D-Bus")]
    Malformed,
    /// systemd's own: its name and message.
    #[error("{message} ({name})")]
    Remote { name: String, message: String },
}

impl Error {
    /// Whether systemd gave this reason (the last part of the error's name).
    pub(super) fn is(&self, reason: &str) -> bool {
        matches!(self, Self::Remote { name, .. } if name.rsplit('.').next() == Some(reason))
    }
}

/// A message in the making: bytes with the alignment that marshaling asks for.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        self.value(value);
    }

    /// An array: its length in bytes is known when it is written, and does not count the padding before the first element.
    fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let at = self.0.len();
        self.align(alignment);
        let begin = self.0.len();
        fill(self);
        let len = length(self.0.len() - begin).to_le_bytes();
        self.0[at - 4..at].copy_from_slice(&len);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(on) => self.u32(u32::from(*on)),
            Value::I32(number) => self.u32(number.cast_unsigned()),
            Value::U64(number) => {
                self.align(8);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |w| texts.iter().for_each(|text| w.text(text))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend_from_slice(bytes)),
            Value::U32s(numbers) => self.array(4, |w| numbers.iter().for_each(|number| w.u32(*number))),
            Value::Properties(properties) => self.array(8, |w| {
                for (name, value) in properties {
                    w.align(8);
                    w.text(name);
                    w.variant(value);
                }
            }),
            Value::NoUnits => self.array(8, |_| ()),
        }
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// What of a message is looked at.
#[derive(Debug)]
pub(super) struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
    big: bool,
}

/// Reads marshaled values; every length is checked against what there is.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(len).ok_or(Error::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| Error::Malformed)?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn len(&mut self) -> Result<usize, Error> {
        usize::try_from(self.u32()?).map_err(|_| Error::Malformed)
    }

    fn text(&mut self) -> Result<String, Error> {
        let len = self.len()?;
        let text = String::from_utf8(self.take(len)?.to_vec()).map_err(|_| Error::Malformed)?;
        self.byte()?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<&'a [u8], Error> {
        let len = self.byte()?.into();
        let text = self.take(len)?;
        self.byte()?;
        Ok(text)
    }
}

impl Message {
    /// Parses a whole message.
    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let big = bytes.first() == Some(&b'B');
        let mut reader = Reader { bytes, at: 1, big };
        let kind = reader.byte()?;
        reader.at = 12;
        let fields_end = reader.len()?.checked_add(16).ok_or(Error::Malformed)?;
        let mut message =
            Self { kind, reply_to: 0, member: String::new(), error: String::new(), body: Vec::new(), big };
        while reader.at < fields_end {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?) {
                (5, b"u") => message.reply_to = reader.u32()?,
                (3, b"s") => message.member = reader.text()?,
                (4, b"s") => message.error = reader.text()?,
                (_, b"u") => drop(reader.u32()?),
                (_, b"s" | b"o") => drop(reader.text()?),
                (_, b"g") => drop(reader.signature()?),
                _ => return Err(Error::Malformed),
            }
        }
        reader.align(8);
        message.body = bytes.get(reader.at..).ok_or(Error::Malformed)?.to_vec();
        Ok(message)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big: self.big }
    }

    /// The body's first value, a string or an object path.
    pub(super) fn text(&self) -> Result<String, Error> {
        self.reader().text()
    }

    /// The body's only value, a variant of a string.
    pub(super) fn text_in_variant(&self) -> Result<String, Error> {
        let mut reader = self.reader();
        if reader.signature()? != b"s" {
            return Err(Error::Malformed);
        }
        reader.text()
    }

    /// JobRemoved: the job's path and how it ended.
    fn job(&self) -> Result<(String, String), Error> {
        let mut reader = self.reader();
        let _id = reader.u32()?;
        let job = reader.text()?;
        let _unit = reader.text()?;
        Ok((job, reader.text()?))
    }
}

/// A connection to a message bus, or to systemd itself.
pub(super) struct Bus {
    stream: UnixStream,
    received: Vec<u8>,
    serial: u32,
    /// There is a bus between this process and systemd.
    named: bool,
    jobs: Vec<(String, String)>,
    deadline: Instant,
}

impl Bus {
    /// Connects to the first address (`unix:path=…`, `unix:abstract=…`, in D-Bus's syntax) that answers. `named`: a message bus is
    /// there, and not systemd alone.
    ///
    /// Nothing is waited for: authentication (as the user the kernel says this is, so that it works in user namespaces, where
    /// the ids of both sides differ) and greeting travel with the first call.
    pub(super) fn connect(address: &str, named: bool) -> Result<Self, Error> {
        let stream = open(address).map_err(|source| Error::Connect { address: address.to_owned(), source })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let deadline = Instant::now() + PATIENCE;
        let mut bus = Self { stream, received: Vec::new(), serial: 0, named, jobs: Vec::new(), deadline };
        let mut first = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
        if named {
            first.extend(bus.marshal(BUS, "Hello", &[], true));
            let rule = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            first.extend(bus.marshal(BUS, "AddMatch", &[Value::Text(rule.to_owned())], false));
        }
        bus.stream.write_all(&first)?;
        bus.authenticated()?;
        Ok(bus)
    }

    fn authenticated(&mut self) -> Result<(), Error> {
        loop {
            let end = loop {
                match self.received.windows(2).position(|pair| pair == b"\r\n") {
                    Some(end) => break end,
                    None if self.received.len() > 4096 => return Err(Error::Malformed),
                    None => self.receive()?,
                }
            };
            let line: Vec<u8> = self.received.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => return Err(Error::Refused(line)),
            }
        }
    }

    /// More bytes from the other side.
    fn receive(&mut self) -> Result<(), Error> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Error::Io(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => {
                self.received.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Timeout),
            Err(error) => Err(error.into()),
        }
    }

    fn marshal(&mut self, to: Interface, member: &str, arguments: &[Value], wants_reply: bool) -> Vec<u8> {
        self.serial += 1;
        let mut body = Writer::default();
        arguments.iter().for_each(|argument| body.value(argument));
        let mut message = Writer(vec![b'l', CALL, u8::from(!wants_reply), 1]);
        message.u32(length(body.0.len()));
        message.u32(self.serial);
        let signature: String = arguments.iter().map(Value::signature).collect();
        message.array(8, |w| {
            let mut field = |code: u8, kind: &str, text: &str| {
                w.align(8);
                w.0.push(code);
                w.signature(kind);
                if kind == "g" { w.signature(text) } else { w.text(text) }
            };
            field(1, "o", to.path);
            field(2, "s", to.interface);
            field(3, "s", member);
            field(6, "s", to.service);
            if !signature.is_empty() {
                field(8, "g", &signature);
            }
        });
        message.align(8);
        message.0.extend(body.0);
        message.0
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call(&mut self, to: Interface, member: &str, arguments: &[Value]) -> Result<Message, Error> {
        let message = self.marshal(to, member, arguments, true);
        let serial = self.serial;
        self.deadline = Instant::now() + PATIENCE;
        self.stream.write_all(&message)?;
        loop {
            let message = self.next()?;
            match message.kind {
                RETURN if message.reply_to == serial => return Ok(message),
                ERROR if message.reply_to == serial => return Err(remote(&message)),
                // The greeting's own failure is everything's.
                ERROR if self.named && message.reply_to == 1 => return Err(remote(&message)),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job: `done`, or how else it ended.
    pub(super) fn wait_job(&mut self, job: &str) -> Result<String, Error> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.jobs.iter().position(|(ended, _)| ended == job) {
                return Ok(self.jobs.swap_remove(at).1);
            }
            self.next()?;
        }
    }

    /// The next message; the ends of jobs are remembered, since they may come before the answer that names the job.
    fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(len) = message_length(&self.received)?
                && self.received.len() >= len
            {
                let bytes: Vec<u8> = self.received.drain(..len).collect();
                let message = Message::parse(&bytes)?;
                if message.kind == SIGNAL && message.member == "JobRemoved" {
                    self.jobs.push(message.job()?);
                }
                return Ok(message);
            }
            if Instant::now() >= self.deadline {
                return Err(Error::Timeout);
            }
            self.receive()?;
        }
    }
}

fn remote(message: &Message) -> Error {
    Error::Remote { name: message.error.clone(), message: message.text().unwrap_or_default() }
}

/// How long the message is that begins here, once its first 16 bytes are there.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(head) = bytes.get(..16) else { return Ok(None) };
    if !matches!(head[0], b'l' | b'B') || head[3] != 1 {
        return Err(Error::Malformed);
    }
    let mut reader = Reader { bytes: head, at: 4, big: head[0] == b'B' };
    let body = reader.len()?;
    let _serial = reader.u32()?;
    let fields = reader.len()?;
    if body > LONGEST || fields > LONGEST {
        return Err(Error::Malformed);
    }
    Ok(Some(16 + fields.next_multiple_of(8) + body))
}

/// An interface of an object of a service.
#[derive(Clone, Copy)]
pub(super) struct Interface {
    service: &'static str,
    path: &'static str,
    interface: &'static str,
}

const BUS: Interface =
    Interface { service: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// systemd's manager.
pub(super) const MANAGER: Interface = Interface {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// The properties of systemd's manager.
pub(super) const PROPERTIES: Interface = Interface { interface: "org.freedesktop.DBus.Properties", ..MANAGER };

/// Connects to one address of a list of D-Bus addresses.
fn open(addresses: &str) -> io::Result<UnixStream> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "it is no UNIX socket's address");
    for address in addresses.split(';') {
        let Some(pairs) = address.strip_prefix("unix:") else { continue };
        for (key, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
            let value = unescape(value);
            let stream = match key {
                "path" => UnixStream::connect(std::ffi::OsStr::new(&value)),
                "abstract" => {
                    SocketAddr::from_abstract_name(value.as_bytes()).and_then(|at| UnixStream::connect_addr(&at))
                }
                _ => continue,
            };
            match stream {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
    }
    Err(failed)
}

/// `%xx` in addresses.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if byte == b'%' => {
                bytes.push(value);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A bus that says these bytes and keeps what it is told.
    fn bus_that_says(said: Vec<u8>) -> (Result<Bus, Error>, std::thread::JoinHandle<Vec<u8>>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a bus");
        let listener = UnixListener::bind(&path).expect("a socket");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(&said).expect("the other side listens");
            stream.shutdown(std::net::Shutdown::Write).expect("no more");
            let mut told = Vec::new();
            stream.read_to_end(&mut told).expect("what it is told");
            told
        });
        let address = format!("unix:path={}", path.to_str().expect("UTF-8").replace(' ', "%20"));
        (Bus::connect(&address, false), thread, dir)
    }

    /// A message as another implementation would write it.
    fn message(kind: u8, fields: &[(u8, &str, &str)], reply_to: u32, body: &[u8]) -> Vec<u8> {
        let mut message = Writer(vec![b'l', kind, 0, 1]);
        message.u32(length(body.len()));
        message.u32(77);
        message.array(8, |w| {
            w.0.push(5);
            w.signature("u");
            w.u32(reply_to);
            for (code, kind, text) in fields {
                w.align(8);
                w.0.push(*code);
                w.signature(kind);
                if *kind == "g" { w.signature(text) } else { w.text(text) }
            }
        });
        message.align(8);
        message.0.extend(body);
        message.0
    }

    fn texts(texts: &[&str], number_first: bool) -> Vec<u8> {
        let mut body = Writer::default();
        if number_first {
            body.u32(7);
        }
        texts.iter().for_each(|text| body.text(text));
        body.0
    }

    const HELLO: &[u8] = b"DATA\r\nOK 0123456789abcdef\r\n";

    #[test]
    fn an_array_of_properties_is_marshaled_as_the_specification_says() {
        let mut writer = Writer::default();
        let properties = vec![("Delegate".to_owned(), Value::Bool(true)), ("PIDs".to_owned(), Value::U32s(vec![258]))];
        writer.value(&Value::Text("ab".to_owned()));
        writer.value(&Value::Properties(properties));
        let expected = [
            &[2, 0, 0, 0, b'a', b'b', 0, 0][..],
            &[0x2c, 0, 0, 0, 0, 0, 0, 0],
            &[8, 0, 0, 0, b'D', b'e', b'l', b'e', b'g', b'a', b't', b'e', 0, 1, b'b', 0, 1, 0, 0, 0],
            &[0, 0, 0, 0],
            &[4, 0, 0, 0, b'P', b'I', b'D', b's', 0, 2, b'a', b'u', 0, 0, 0, 0, 4, 0, 0, 0, 2, 1, 0, 0],
        ]
        .concat();
        // The length of the array is what follows its padding.
        let len = u32::try_from(expected.len() - 16).expect("small");
        let mut expected = expected;
        expected[8..12].copy_from_slice(&len.to_le_bytes());
        assert_eq!(writer.0, expected);
    }

    #[test]
    fn the_end_of_a_job_may_come_before_the_answer_that_names_it() {
        let signal = message(SIGNAL, &[(3, "s", "JobRemoved")], 0, &texts(&["/job/7", "x.scope", "done"], true));
        let other = message(SIGNAL, &[(3, "s", "NameAcquired")], 0, &texts(&[":1.5"], false));
        let answer = message(RETURN, &[(8, "g", "o")], 1, &texts(&["/job/7"], false));
        let (bus, thread, _dir) = bus_that_says([HELLO, &other, &signal, &answer].concat());
        let mut bus = bus.expect("a bus");
        let job = bus.call(MANAGER, "StartTransientUnit", &[Value::NoUnits]).expect("an answer").text().expect("a job");
        assert_eq!((job.as_str(), bus.wait_job("/job/7").expect("its end").as_str()), ("/job/7", "done"));
        drop(bus);
        let told = thread.join().expect("what it was told");
        assert!(told.starts_with(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nl\x01"), "{}", String::from_utf8_lossy(&told));
    }

    #[test]
    fn refusals_and_errors_are_passed_on() {
        let (bus, _thread, _dir) = bus_that_says(b"REJECTED EXTERNAL\r\n".to_vec());
        assert!(matches!(bus.err(), Some(Error::Refused(line)) if line == "REJECTED EXTERNAL"));
        let name = "org.freedesktop.systemd1.NoSuchUnit";
        let answer = message(ERROR, &[(4, "s", name)], 1, &texts(&["Unit x.scope not loaded."], false));
        let (bus, _thread, _dir) = bus_that_says([HELLO, &answer].concat());
        let error = bus.expect("a bus").call(MANAGER, "StopUnit", &[]).expect_err("an error");
        assert!(error.is("NoSuchUnit"), "{error:?}");
        assert_eq!(error.to_string(), format!("Unit x.scope not loaded. ({name})"));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let good = message(RETURN, &[(8, "g", "s")], 1, &texts(&["x"], false));
        for (at, byte) in [(0, b'x'), (3, 2), (4, 0xff), (7, 0xff), (15, 0xff), (12, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            let (bus, _thread, _dir) = bus_that_says([HELLO, &bad].concat());
            assert!(bus.expect("a bus").call(MANAGER, "X", &[]).is_err(), "byte {at}");
        }
        for len in 16..good.len() {
            drop(Message::parse(&good[..len]));
        }
        assert!(Message::parse(&good).is_ok());
    }

    #[test]
    fn big_endian_is_understood() {
        let bytes = [
            &[b'B', RETURN, 0, 1, 0, 0, 0, 6, 0, 0, 0, 9, 0, 0, 0, 8][..],
            &[5, 1, b'u', 0, 0, 0, 0, 3],
            &[0, 0, 0, 1, b'x', 0],
        ]
        .concat();
        assert_eq!(message_length(&bytes).expect("a length"), Some(bytes.len()));
        let message = Message::parse(&bytes).expect("a message");
        assert_eq!((message.reply_to, message.text().expect("text").as_str()), (3, "x"));
    }

    #[test]
    fn addresses_are_unescaped() {
        assert_eq!(unescape("/run/a%20b%2fc%zz"), "/run/a b/c%zz");
        assert!(open("tcp:host=x").is_err());
    }
}
