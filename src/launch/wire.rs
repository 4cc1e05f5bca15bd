//! What parent and child tell each other: fixed-size messages over a SOCK_SEQPACKET pair.
#![forbid(unsafe_code)]

use crate::plan::op::Point;
use crate::sys::{Result, fd, socket};
use nix::errno::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// A step of the child that failed: all it can say without allocating. The parent still has the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// What the kernel said; 0 when it was not the kernel.
    pub errno: i32,
    /// Which part of the operation, by its own numbering.
    pub part: u32,
    /// A number that goes with it: an index, an exit status.
    pub value: u64,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno: errno as i32, part: 0, value: 0 }
    }
}

impl Failure {
    /// A failed system call in one part of an operation.
    pub fn in_part(part: u32) -> impl Fn(Errno) -> Self {
        move |errno| Self { errno: errno as i32, part, value: 0 }
    }

    /// Something that is not as it should be.
    pub fn mismatch(part: u32, value: u64) -> Self {
        Self { errno: 0, part, value }
    }
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The child has reached a point, with so many Landlock rules made.
    Reached(Point, u32),
    /// The parent has done its part up to this point.
    Continue(Point),
    /// The child gives up. The operation is counted from the end of its script, 0 for the last: `start` makes the plan again
    /// to say which one it was, and what was asked for at create but is not in the configuration changes only earlier ones.
    Failed(u32, Failure),
    /// The terminal's master comes along; its number in devpts.
    Terminal(u32),
    /// The child has made the process that goes on in its place: its pid in the parent's namespace.
    Born(i32),
    /// The seccomp filter's listener comes along.
    Listener,
    /// A namespace comes along: user is 0, network is 1.
    Namespace(u32),
    /// Nothing is left but to execute the program, and what its filter takes: from here on the child may be unable to say anything.
    Announced,
}

const SIZE: usize = 32;

impl Message {
    fn encode(self) -> [u8; SIZE] {
        let (kind, a, b, c, d): (u32, u32, i32, u32, u64) = match self {
            Self::Reached(point, rules) => (1, point as u32, 0, rules, 0),
            Self::Continue(point) => (2, point as u32, 0, 0, 0),
            Self::Failed(op, f) => (3, op, f.errno, f.part, f.value),
            Self::Terminal(number) => (4, number, 0, 0, 0),
            Self::Born(pid) => (5, 0, pid, 0, 0),
            Self::Listener => (6, 0, 0, 0, 0),
            Self::Namespace(which) => (7, which, 0, 0, 0),
            Self::Announced => (8, 0, 0, 0, 0),
        };
        let mut bytes = [0; SIZE];
        bytes[0..4].copy_from_slice(&kind.to_ne_bytes());
        bytes[4..8].copy_from_slice(&a.to_ne_bytes());
        bytes[8..12].copy_from_slice(&b.to_ne_bytes());
        bytes[12..16].copy_from_slice(&c.to_ne_bytes());
        bytes[16..24].copy_from_slice(&d.to_ne_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let (kind, a) = (u32::from_ne_bytes(word(0)), u32::from_ne_bytes(word(4)));
        let (b, c) = (i32::from_ne_bytes(word(8)), u32::from_ne_bytes(word(12)));
        let mut d = [0; 8];
        d.copy_from_slice(&bytes[16..24]);
        let failure = Failure { errno: b, part: c, value: u64::from_ne_bytes(d) };
        Some(match kind {
            1 => Self::Reached(point(a)?, c),
            2 => Self::Continue(point(a)?),
            3 => Self::Failed(a, failure),
            4 => Self::Terminal(a),
            5 => Self::Born(b),
            6 => Self::Listener,
            7 => Self::Namespace(a),
            8 => Self::Announced,
            _ => return None,
        })
    }
}

fn point(number: u32) -> Option<Point> {
    Point::ALL.into_iter().find(|point| *point as u32 == number)
}

/// Sends a message, with a descriptor when given.
pub fn send(socket: BorrowedFd<'_>, message: Message, fd: Option<BorrowedFd<'_>>) -> Result<()> {
    socket::send(socket, &message.encode(), fd)
}

/// Sends the last message of a process whose seccomp filter may be in force already: more filters allow write(2) than sendmsg(2).
pub fn send_last(socket: BorrowedFd<'_>, message: Message) -> Result<()> {
    fd::write(socket, &message.encode()).or_else(|_| send(socket, message, None))
}

/// Receives a message; `None` when the other side is gone. Anything else than a whole message is `EBADMSG`.
pub fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>> {
    let mut bytes = [0; SIZE];
    let mut received = socket::receive(socket, &mut bytes);
    // The other side is gone and has not read everything. That is told before what it said itself, and once.
    if matches!(received, Err(Errno::ECONNRESET)) {
        received = socket::receive(socket, &mut bytes);
    }
    let (len, fd) = match received {
        Err(Errno::ECONNRESET) => return Ok(None),
        other => other?,
    };
    match len {
        0 => Ok(None),
        SIZE => Message::decode(&bytes).map(|message| Some((message, fd))).ok_or(Errno::EBADMSG),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_survive_the_wire() {
        let failure = Failure { errno: 13, part: 7, value: u64::MAX };
        for message in [
            Message::Reached(Point::Ready, 0),
            Message::Reached(Point::Ready, 12),
            Message::Continue(Point::UserNamespaceMapped),
            Message::Failed(3, failure),
            Message::Failed(u32::MAX, failure),
            Message::Terminal(12),
            Message::Born(4711),
            Message::Continue(Point::ListenerSent),
            Message::Listener,
            Message::Namespace(1),
            Message::Announced,
        ] {
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        assert_eq!(Message::decode(&[0; SIZE]), None);
        assert_eq!(Message::decode(&[0xff; SIZE]), None);
    }

    #[test]
    fn last_words_are_heard_whatever_the_dead_have_not_read() {
        let (a, b) = socket::pair().expect("a pair");
        let last = Message::Failed(1, Errno::EINVAL.into());
        send(a.as_fd(), Message::Continue(Point::Ready), None).expect("sent, and never read");
        send(b.as_fd(), last, None).expect("sent");
        drop(b);
        assert_eq!(receive(a.as_fd()).expect("no error").map(|(message, _)| message), Some(last));
        assert!(receive(a.as_fd()).expect("no error").is_none());
    }

    #[test]
    fn a_dead_peer_is_no_message_and_a_short_one_an_error() {
        let (a, b) = socket::pair().expect("a pair");
        socket::send(a.as_fd(), b"short", None).expect("sent");
        assert_eq!(receive(b.as_fd()).unwrap_err(), Errno::EBADMSG);
        drop(a);
        assert!(receive(b.as_fd()).expect("no error").is_none());
    }
}
