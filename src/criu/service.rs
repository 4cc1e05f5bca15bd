//! One CRIU process that is asked one thing over a socket (`criu swrk`), and asks back while it works (images/rpc.proto).
//!
//! Only so can its caller be told of a restored process before that runs, and be given the master of a terminal. When the caller is
//! gone CRIU's next question fails, which undoes what it has begun: a dumped container goes on, a half-restored one ends.
#![forbid(unsafe_code)]

use super::wire::{self, Message, Value};
use super::{Error, log_says};
use crate::sys::{fd, socket};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Longer than any answer: the longest has the first line of CRIU's log.
const ANSWER: usize = 64 << 10;

/// What CRIU can be asked for (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Save a container.
    Dump,
    /// Save what memory has changed.
    PreDump,
    /// Make a container.
    Restore,
}

impl Verb {
    /// As in messages and in the command line of criu.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::PreDump => "pre-dump",
            Self::Restore => "restore",
        }
    }

    pub(super) fn log(self) -> &'static str {
        if self == Self::Restore { "restore.log" } else { "dump.log" }
    }

    fn number(self) -> u64 {
        match self {
            Self::Dump => 1,
            Self::Restore => 2,
            Self::PreDump => 4,
        }
    }
}

const NOTIFY: u64 = 6;

/// What CRIU tells while it works (`criu_notify`). It waits until it is answered.
#[derive(Debug)]
pub enum Event {
    /// The first process is in its new namespaces, which are empty still.
    NamespacesMade(i32),
    /// All is as it was, and nothing runs yet.
    Restored(i32),
    /// The master of the first process's terminal.
    Terminal(OwnedFd),
    /// Pages can be asked for.
    PagesServed,
    /// Something else.
    Other(String),
}

/// What to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) verb: Verb,
    pub(super) options: Message,
}

/// A CRIU process that waits for its request.
#[derive(Debug)]
pub struct Service {
    child: Child,
    socket: Option<OwnedFd>,
}

impl Service {
    /// Starts it, from PATH. `apart`: a Ctrl-C at the caller's terminal shall not reach it, so that it can undo what it did.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn start(apart: bool) -> Result<Self, Error> {
        let (ours, theirs) = socket::pair().map_err(|errno| Error::Missing(errno.into()))?;
        // A copy without close-on-exec.
        let theirs = nix::unistd::dup(&theirs).map_err(|errno| Error::Missing(errno.into()))?;
        let mut command = Command::new("criu");
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if apart {
            command.process_group(0);
        }
        let child = command.spawn().map_err(Error::Missing)?;
        Ok(Self { child, socket: Some(ours) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the end. `on` answers what CRIU asks back; when it says false CRIU gives up, and so does this.
    /// `work` is where the log is.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn ask(mut self, request: &Request, work: &Path, on: &mut dyn FnMut(Event) -> bool) -> Result<(), Error> {
        let verb = request.verb;
        let log = work.join(verb.log());
        let failed = |reason: String| Error::Failed { what: verb.name(), reason, log: log.clone() };
        let mut message = Message::default();
        message.number(1, verb.number()).message(2, &request.options);
        let said = self.converse(&message, on).map_err(|error| error.to_string()).and_then(|said| said);
        // Pre-dumps would go on over this socket, and end with an error where that is closed.
        self.socket = None;
        let status = self.child.wait().map_err(|error| failed(error.to_string()))?;
        match said {
            Ok(()) if status.success() || verb == Verb::PreDump => Ok(()),
            Ok(()) => Err(failed(log_says(&log).unwrap_or_else(|| status.to_string()))),
            Err(reason) => Err(failed(log_says(&log).unwrap_or(reason))),
        }
    }

    /// Until the answer; what it says when it is a no.
    fn converse(&self, request: &Message, on: &mut dyn FnMut(Event) -> bool) -> io::Result<Result<(), String>> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?.as_fd();
        socket::send(socket, request.as_bytes(), None)?;
        let mut buffer = vec![0; ANSWER];
        loop {
            let (length, passed) = socket::receive(socket, &mut buffer)?;
            let malformed = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is none");
            if length == 0 {
                return Ok(Err("it has ended without an answer".to_owned()));
            }
            let answer = Answer::parse(&buffer[..length]).ok_or_else(malformed)?;
            match (answer.kind, answer.success) {
                (_, false) => return Ok(Err(answer.reason())),
                (NOTIFY, true) => {
                    let agreed = on(answer.event(passed));
                    let mut reply = Message::default();
                    reply.number(1, NOTIFY).number(3, u64::from(agreed));
                    socket::send(socket, reply.as_bytes(), None)?;
                }
                (_, true) => return Ok(Ok(())),
            }
        }
    }
}

impl Drop for Service {
    /// Without a caller it ends; what it has begun it undoes before.
    fn drop(&mut self) {
        self.socket = None;
        drop(self.child.wait());
    }
}

/// `criu_resp`.
#[derive(Debug, Default)]
struct Answer {
    kind: u64,
    success: bool,
    script: String,
    pid: i32,
    errno: i32,
    message: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut this = Self::default();
        for field in wire::fields(bytes)? {
            match field {
                (1, value) => this.kind = value.number(),
                (2, value) => this.success = value.number() != 0,
                (5, Value::Bytes(notify)) => {
                    for field in wire::fields(notify)? {
                        match field {
                            (1, Value::Bytes(script)) => this.script = text(script),
                            (2, value) => this.pid = i32::try_from(value.number()).ok()?,
                            _ => {}
                        }
                    }
                }
                (7, value) => this.errno = i32::try_from(value.number()).unwrap_or_default(),
                (9, Value::Bytes(message)) => this.message = text(message),
                _ => {}
            }
        }
        Some(this)
    }

    fn reason(self) -> String {
        match (self.message.is_empty(), self.errno) {
            (false, _) => self.message.trim_end().to_owned(),
            (true, 0) => "it does not say why".to_owned(),
            (true, errno) => nix::errno::Errno::from_raw(errno).desc().to_lowercase(),
        }
    }

    fn event(self, passed: Option<OwnedFd>) -> Event {
        match (self.script.as_str(), passed) {
            ("setup-namespaces", _) => Event::NamespacesMade(self.pid),
            ("post-restore", _) => Event::Restored(self.pid),
            ("orphan-pts-master", Some(master)) => Event::Terminal(master),
            ("status-ready", _) => Event::PagesServed,
            _ => Event::Other(self.script),
        }
    }
}

/// Tells whoever waits for lazy pages, over the descriptor that the caller has named, and closes that.
///
/// # Errors
/// Those of write(2) and close(2).
pub fn tell_ready(number: i32) -> io::Result<()> {
    let fd = fd::inherited(number).ok_or(io::ErrorKind::InvalidInput)?;
    fd::write(fd, &[0])?;
    Ok(fd::close(number)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(message: &Message) -> Answer {
        Answer::parse(message.as_bytes()).expect("an answer")
    }

    #[test]
    fn answers_are_understood() {
        let mut notify = Message::default();
        notify.text(1, "post-restore").number(2, 4711);
        let restored = answer(Message::default().number(1, NOTIFY).number(2, 1).message(5, &notify));
        assert!(restored.success && restored.kind == NOTIFY);
        assert!(matches!(restored.event(None), Event::Restored(4711)));
        // Without a descriptor there is no terminal.
        let mut notify = Message::default();
        notify.text(1, "orphan-pts-master");
        let orphan = answer(Message::default().number(1, NOTIFY).number(2, 1).message(5, &notify));
        assert!(matches!(orphan.event(None), Event::Other(name) if name == "orphan-pts-master"));
        let no = answer(Message::default().number(1, 1).number(2, 0).number(7, 2));
        assert_eq!((no.success, no.reason()), (false, "no such file or directory".to_owned()));
        let no = answer(Message::default().number(1, 1).number(2, 0).text(9, "Error: x\n"));
        assert_eq!(no.reason(), "Error: x");
        assert!(Answer::parse(b"\xff").is_none());
    }
}
