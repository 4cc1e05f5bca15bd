//! The standard streams of a sandbox: what its program gets in the place of its caller's open files, and what is done
//! meanwhile.
//!
//! A file that was opened for reading is opened anew from a private mount that is read-only: it can be sought in and
//! mapped, and neither written, truncated nor given another mode. A file that was opened for writing is written by this
//! process, from a pipe, and so are connections over a network, which the program could lead elsewhere. Terminals and pipes are opened anew, so that what the program sets of them (O_NONBLOCK, locks)
//! is its own.
#![forbid(unsafe_code)]

use crate::launch::reopen;
use crate::streams::{self, Handling, Kind};
use crate::sys::{fd, tty};
use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::uio::pread;
use nix::unistd::{Whence, lseek, write};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

/// What is read and written at once.
const CHUNK: usize = 64 << 10;
/// How many of these are moved before others get their turn: signals, the end.
const AT_ONCE: usize = 16;
/// Of a pipe, as far as the kernel allows: fewer turns.
const PIPE: i32 = 1 << 20;
/// The same, as what may be in it.
const MOST_IN_PIPE: usize = 1 << 20;
/// How long, in milliseconds, the other side of a connection may take nothing once the program has ended.
const PATIENCE: u16 = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Streams {
    given: Vec<Given>,
    reopened: Vec<Reopened>,
    feeds: Vec<Feed>,
    relays: Vec<Relay>,
    failed: Vec<String>,
}

/// What takes the place of these numbers.
struct Given {
    numbers: Vec<RawFd>,
    file: OwnedFd,
    same: Same,
    handling: Handling,
}

/// By which two descriptors are seen to be of one open file: at worst two that were opened alike and stand at the same
/// byte are taken for one, and their output is in order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Same {
    device: u64,
    inode: u64,
    flags: i32,
    offset: i64,
}

/// A file that the program reads by itself. Its caller's goes on where the program has stopped.
struct Reopened {
    number: RawFd,
    file: OwnedFd,
}

/// A file whose bytes this process puts into a pipe, no more than fit: what the program has not read, its caller reads.
struct Feed {
    number: RawFd,
    start: i64,
    fed: i64,
    is_seekable: bool,
    is_connection: bool,
    /// Nothing can be read now.
    starved: bool,
    reader: OwnedFd,
    writer: Option<OwnedFd>,
}

/// A file that this process writes what is in a pipe to.
struct Relay {
    number: RawFd,
    from: Option<OwnedFd>,
    is_connection: bool,
    /// What the other side of a connection does not take yet: nobody else waits for it.
    held: Vec<u8>,
}

impl Streams {
    /// Makes what takes the place of these descriptors, of the standard streams and of others that were inherited, for a program that runs as this owner where it is somebody
    /// else's.
    pub(super) fn prepare(numbers: impl Iterator<Item = RawFd>, owner: Option<(u32, u32)>) -> anyhow::Result<Self> {
        let mut this = Self::default();
        for number in numbers {
            let Some(file) = fd::inherited(number) else { continue };
            this.add(number, file, owner).with_context(|| format!("cannot prepare {}", streams::what(number)))?;
        }
        // Where it is also written to, its offset is the writer's.
        let written: Vec<_> = this.relays.iter().filter_map(|relay| fd::inherited(relay.number)?.same().ok()).collect();
        let is_free = |number| {
            fd::inherited(number).and_then(|file| file.same().ok()).is_none_or(|same| !written.contains(&same))
        };
        this.reopened.retain(|reopened| is_free(reopened.number));
        Ok(this)
    }

    fn add(&mut self, number: RawFd, file: BorrowedFd<'_>, owner: Option<(u32, u32)>) -> Result<(), Errno> {
        let kind = Kind::of(file)?;
        if let (Kind::Pipe, 3.., Some((uid, gid))) = (&kind, number, owner) {
            // Root's program is a stranger to root's pipe, and opens it by its name: /dev/fd/63. Those of the standard
            // streams are handed on where they are set up.
            fd::chown(file, c"", uid, gid)?;
        }
        let same = file.same()?;
        let handling = streams::handling(&kind, same.flags & libc::O_ACCMODE, number);
        let known = self.given.iter_mut().find(|given| given.same == same && given.handling == handling);
        if let Some(given) = known {
            given.numbers.push(number);
            return Ok(());
        }
        let replacement = match handling {
            Handling::AsIs => None,
            Handling::Anew => reopen::anew(file, same.flags).ok(),
            Handling::AnewReadOnlyMount => {
                let reopened = reopen::from_read_only_mount(file, same.flags);
                reopened.or_else(|_| reopen::anew(file, same.flags)).ok()
            }
            Handling::ReadOnly => match reopen::from_read_only_mount(file, libc::O_RDONLY) {
                Ok(reopened) => {
                    lseek(&reopened, same.offset, Whence::SeekSet)?;
                    self.reopened.push(Reopened { number, file: reopened.try_clone().map_err(errno)? });
                    Some(reopened)
                }
                Err(_) => Some(self.feed(number, &kind, same, owner)?),
            },
            Handling::Feed => Some(self.feed(number, &kind, same, owner)?),
            Handling::Relay => {
                let (reader, writer) = pipe(owner)?;
                nonblocking(&reader)?;
                let is_connection = kind == Kind::Connection;
                self.relays.push(Relay { number, from: Some(reader), is_connection, held: Vec::new() });
                Some(writer)
            }
        };
        self.given.extend(replacement.map(|file| Given { numbers: vec![number], file, same, handling }));
        Ok(())
    }

    fn feed(&mut self, number: RawFd, kind: &Kind, same: Same, owner: Option<(u32, u32)>) -> Result<OwnedFd, Errno> {
        let (reader, writer) = pipe(owner)?;
        nonblocking(&writer)?;
        let theirs = reader.try_clone().map_err(errno)?;
        self.feeds.push(Feed {
            number,
            start: same.offset,
            fed: 0,
            is_seekable: *kind == Kind::Regular,
            is_connection: *kind == Kind::Connection,
            starved: false,
            reader,
            writer: Some(writer),
        });
        Ok(theirs)
    }

    /// Runs something that begins the program, which inherits the streams as they are to be; to this process they are
    /// then what they were.
    pub(super) fn handed_over<T>(&mut self, begin: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut before = PutBack(Vec::new());
        for given in std::mem::take(&mut self.given) {
            for number in given.numbers {
                let Some(own) = fd::inherited(number) else { continue };
                let own = own.try_clone_to_owned().context("cannot keep a standard stream")?;
                before.0.push((number, own));
                fd::place(given.file.as_fd(), number).context("cannot replace a standard stream")?;
            }
        }
        begin()
    }

    pub(super) fn wait_for<'f>(&'f self, fds: &mut Vec<PollFd<'f>>) {
        for relay in &self.relays {
            match (&relay.from, fd::inherited(relay.number)) {
                (Some(_), Some(to)) if !relay.held.is_empty() => fds.push(PollFd::new(to, PollFlags::POLLOUT)),
                (Some(from), _) => fds.push(PollFd::new(from.as_fd(), PollFlags::POLLIN)),
                (None, _) => {}
            }
        }
        for feed in &self.feeds {
            match (&feed.writer, fd::inherited(feed.number)) {
                (Some(_), Some(file)) if feed.starved => fds.push(PollFd::new(file, PollFlags::POLLIN)),
                (Some(writer), _) => fds.push(PollFd::new(writer.as_fd(), PollFlags::POLLOUT)),
                (None, _) => {}
            }
        }
    }

    /// Moves what can be moved now.
    pub(super) fn copy(&mut self) {
        for relay in &mut self.relays {
            for _ in 0..AT_ONCE {
                if !relay.turn(&mut self.failed) {
                    break;
                }
            }
        }
        for feed in &mut self.feeds {
            feed.turn(&mut self.failed);
        }
    }

    /// What the program wrote before it ended is written, and what it did not read is left to its caller. No more than
    /// is there now: somebody whom the program gave its stream to may go on writing.
    pub(super) fn finish(&mut self) {
        for relay in &mut self.relays {
            // Where the kernel does not say how much, no more than a pipe holds.
            let pending = |from: &OwnedFd| fd::pending(from.as_fd()).unwrap_or(MOST_IN_PIPE);
            let mut left = relay.from.as_ref().map_or(0, pending);
            while left > 0 && relay.turn(&mut self.failed) {
                left = left.saturating_sub(CHUNK);
                relay.drain(&mut self.failed);
            }
            relay.drain(&mut self.failed);
            relay.from = None;
        }
        for reopened in &self.reopened {
            if let (Some(own), Ok(at)) = (fd::inherited(reopened.number), lseek(&reopened.file, 0, Whence::SeekCur)) {
                // Where the program has left it, as if it had been the same.
                let _moved = lseek(own, at, Whence::SeekSet);
            }
        }
        for feed in &self.feeds {
            feed.settle();
        }
        self.reopened.clear();
        self.feeds.clear();
    }

    /// What could not be written, if anything.
    pub(super) fn failure(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.failed).join("; ")).filter(|text| !text.is_empty())
    }
}

/// One line of what becomes of a stream.
fn failure(what: &str, number: RawFd, errno: Errno) -> String {
    format!("cannot {what} {}: {}", streams::what(number), errno.desc().to_lowercase())
}

/// Nothing that was said is lost where a sandbox fails to start.
impl Drop for Streams {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The streams of this process, while they are another's.
struct PutBack(Vec<(RawFd, OwnedFd)>);

impl Drop for PutBack {
    fn drop(&mut self) {
        for (number, own) in self.0.drain(..).rev() {
            // A number that is open can be replaced.
            let _placed = fd::place(own.as_fd(), number);
        }
    }
}

impl Relay {
    /// Sends what is held; whether nothing is held any more.
    fn send(&mut self, failed: &mut Vec<String>) -> bool {
        while let (false, Some(to)) = (self.held.is_empty(), fd::inherited(self.number)) {
            match send(to.as_raw_fd(), &self.held, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => drop(self.held.drain(..sent)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                Err(errno) => self.give_up(failed, errno),
            }
        }
        true
    }

    /// Sends what is held, to somebody who may be slow.
    fn drain(&mut self, failed: &mut Vec<String>) {
        while let (false, Some(to)) = (self.send(failed), fd::inherited(self.number)) {
            let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
            if poll(&mut fds, PATIENCE) == Ok(0) {
                self.give_up(failed, Errno::ETIMEDOUT);
            }
        }
    }

    /// Whoever writes to it is told: SIGPIPE, or EPIPE.
    fn give_up(&mut self, failed: &mut Vec<String>, errno: Errno) {
        failed.push(failure("write", self.number, errno));
        self.from = None;
        self.held.clear();
    }

    /// Moves one chunk; false when there is nothing to move, or nobody takes it now.
    fn turn(&mut self, failed: &mut Vec<String>) -> bool {
        if !self.send(failed) {
            return false;
        }
        let (Some(from), Some(to)) = (&self.from, fd::inherited(self.number)) else { return false };
        let mut chunk = [0u8; CHUNK];
        match nix::unistd::read(from, &mut chunk) {
            Ok(len @ 1..) if self.is_connection => {
                self.held.extend_from_slice(&chunk[..len]);
                self.send(failed)
            }
            Ok(len @ 1..) => {
                if let Err(errno) = write_all(to, &chunk[..len]) {
                    self.give_up(failed, errno);
                }
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // Nobody has it any more.
            Ok(0) => {
                self.from = None;
                false
            }
            // What the program has written is lost.
            Err(errno) => {
                failed.push(failure("pass on", self.number, errno));
                self.from = None;
                false
            }
        }
    }
}

impl Feed {
    fn turn(&mut self, failed: &mut Vec<String>) {
        let (Some(writer), Some(file)) = (&self.writer, fd::inherited(self.number)) else { return };
        if !is_ready(writer.as_fd(), PollFlags::POLLOUT) {
            return;
        }
        self.starved = !is_ready(file, PollFlags::POLLIN);
        if self.starved {
            return;
        }
        // As much as a pipe takes as a whole, of what cannot be read twice.
        let mut chunk = [0u8; CHUNK];
        let most = if self.is_seekable { CHUNK } else { 4096 };
        let read = match self.is_connection {
            true => recv(file.as_raw_fd(), &mut chunk[..most], MsgFlags::MSG_DONTWAIT),
            false => pread(file, &mut chunk[..most], self.start + self.fed),
        };
        let read = match read {
            Ok(0) => {
                self.writer = None;
                return;
            }
            Ok(read) => read,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // The program sees an end where it would have seen an error: its caller is told.
            Err(errno) => {
                failed.push(failure("read", self.number, errno));
                self.writer = None;
                return;
            }
        };
        if let Ok(written) = write(writer, &chunk[..read]) {
            self.fed += i64::try_from(written).unwrap_or(0);
        }
    }

    /// The caller's file goes on with what the program has not read.
    fn settle(&self) {
        let left = fd::pending(self.reader.as_fd()).unwrap_or(0);
        let read = self.fed - i64::try_from(left).unwrap_or(0);
        if let Some(own) = fd::inherited(self.number) {
            let _moved = lseek(own, self.start + read, Whence::SeekSet);
        }
    }
}

/// Descriptors of open files.
trait OpenFile {
    fn same(self) -> Result<Same, Errno>;
}

impl OpenFile for BorrowedFd<'_> {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "not of the same width everywhere")]
    fn same(self) -> Result<Same, Errno> {
        let st = fd::stat(self)?;
        let offset = lseek(self, 0, Whence::SeekCur).unwrap_or(0);
        Ok(Same { device: st.st_dev as u64, inode: st.st_ino as u64, flags: fd::flags(self)?, offset: offset.into() })
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A pipe whose ends the program can open again by their names in /proc, as it could a file of its own.
fn pipe(owner: Option<(u32, u32)>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    if let Some((uid, gid)) = owner {
        nix::unistd::fchown(&reader, Some(uid.into()), Some(gid.into()))?;
    }
    // The usual size will do.
    let _larger = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE));
    Ok((reader, writer))
}

fn nonblocking(file: &OwnedFd) -> Result<(), Errno> {
    let flags = fd::flags(file.as_fd())?;
    fd::set_flags(file.as_fd(), flags | libc::O_NONBLOCK)
}

fn is_ready(file: BorrowedFd<'_>, events: PollFlags) -> bool {
    let mut fds = [PollFd::new(file, events)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            // A FUSE file may be opened so that it does not wait.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
                let _ready = poll(&mut fds, PollTimeout::NONE);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What a program may have set of its caller's open files, where it had these themselves: put back when this ends.
pub(super) struct KeptFlags(Vec<(BorrowedFd<'static>, i32, bool)>);

impl KeptFlags {
    /// Of the standard streams.
    pub(super) fn of_stdio() -> Self {
        let state = |file| Some((file, fd::flags(file).ok()?, tty::is_exclusive(file)));
        Self((0..=2).filter_map(fd::inherited).filter_map(state).collect())
    }
}

impl Drop for KeptFlags {
    fn drop(&mut self) {
        for (file, before, exclusive) in &self.0 {
            // Of what is gone nothing is left to put back.
            if fd::flags(*file).is_ok_and(|now| now != *before) {
                let _restored = fd::set_flags(*file, *before);
            }
            if !exclusive && tty::is_exclusive(*file) {
                let _shared = tty::share(*file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_passed_on_is_told() {
        // Reading from a directory fails.
        let broken = || OwnedFd::from(std::fs::File::open("/").expect("a directory"));
        let mut failed = Vec::new();
        let relay = |from| Relay { number: 1, from: Some(from), is_connection: false, held: Vec::new() };
        let mut streams = Streams::default();
        streams.relays.push(relay(broken()));
        let mut relay = relay(broken());
        assert!(!relay.turn(&mut failed) && relay.from.is_none());
        assert_eq!(failed, ["cannot pass on standard output: is a directory"]);
        streams.finish();
        assert!(streams.failure().is_some_and(|text| text.starts_with("cannot pass on standard output")));
    }
}
