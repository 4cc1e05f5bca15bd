//! Hears from the child, and of its death: nobody waits for somebody who is gone.
#![forbid(unsafe_code)]

use super::Error;
use super::wire::{self, Message};
use crate::plan::Plan;
use crate::sys::clone;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a start goes on after somebody has asked for its end: it may be at its last step, and the signal the program's.
const GRACE: Duration = Duration::from_secs(2);

/// A message, with the descriptor that came along.
pub(super) type Said = (Message, Option<OwnedFd>);

/// The next message; `None` when the child has closed its end, or has died without a word. The end of its side alone does not tell
/// that: another process may have it as well (the child's own, which its maker has not announced yet; a hook).
pub(super) fn message(sync: BorrowedFd<'_>, child: BorrowedFd<'_>) -> Result<Option<Said>, Errno> {
    if !has_message(sync, child)? {
        return Ok(None);
    }
    wire::receive(sync)
}

/// Waits for a message or for the end of the side that it comes from; false when the child has died and left none.
fn has_message(sync: BorrowedFd<'_>, child: BorrowedFd<'_>) -> Result<bool, Errno> {
    loop {
        let mut fds = [PollFd::new(sync, PollFlags::POLLIN), PollFd::new(child, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            // What it said before it died is there by now.
            Ok(_) => return if is_ready(&fds[0]) { Ok(true) } else { clone::wait_readable(sync, 0) },
        }
    }
}

/// What a start waits for beside the child.
pub(super) struct Others<'f> {
    /// Somebody who answers for the filter until the program runs: readable when there is something to do for that.
    pub(super) answers: Option<BorrowedFd<'f>>,
    /// Readable when somebody has asked this process to end.
    pub(super) stop: Option<BorrowedFd<'f>>,
    /// When that was.
    pub(super) stopped: Option<Instant>,
}

/// What has come first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// A message, or the end of the child's side.
    Message,
    /// The child has died, and has left no message.
    Death,
    /// Something for whoever answers for the filter.
    Question,
    /// This process was asked to end.
    Stop,
}

/// Waits for whatever comes first.
///
/// # Errors
/// Those of poll(2); `EINTR` when this process was asked to end, and the child has not become the program in time.
pub(super) fn first(sync: BorrowedFd<'_>, child: BorrowedFd<'_>, others: &Others<'_>) -> Result<Came, Errno> {
    loop {
        let mut fds = vec![PollFd::new(sync, PollFlags::POLLIN), PollFd::new(child, PollFlags::POLLIN)];
        let answers = others.answers.map(|fd| fds.push(PollFd::new(fd, PollFlags::POLLIN))).map(|()| fds.len() - 1);
        // The signal stays where it is: a program that has started gets it.
        let stop = others.stop.filter(|_| others.stopped.is_none());
        let stop = stop.map(|fd| fds.push(PollFd::new(fd, PollFlags::POLLIN))).map(|()| fds.len() - 1);
        let timeout = match others.stopped {
            Some(since) => PollTimeout::try_from(GRACE.saturating_sub(since.elapsed())).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
            Ok(0) => return Err(Errno::EINTR),
            Ok(_) => {}
        }
        let came = |at: Option<usize>| at.is_some_and(|at| is_ready(&fds[at]));
        return Ok(if came(Some(0)) {
            Came::Message
        } else if came(answers) {
            Came::Question
        } else if came(Some(1)) {
            if clone::wait_readable(sync, 0)? { Came::Message } else { Came::Death }
        } else if came(stop) {
            Came::Stop
        } else {
            continue;
        });
    }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(false)
}

/// The side of a child is closed: it runs the program, or it has died before, which looks the same from here.
///
/// `announced`: it had said that the program is next. `executed`: what /proc says of the process; `None` when it is not there any more
/// to be asked. `status`: how it ended, where that is known.
///
/// # Errors
/// When it has not executed the program.
pub(super) fn silence(
    plan: impl FnOnce() -> Result<Plan, Error>,
    announced: bool,
    executed: Option<bool>,
    status: impl FnOnce() -> Option<i32>,
) -> Result<(), Error> {
    if executed.unwrap_or(announced) {
        return Ok(());
    }
    let silent = announced && plan()?.seccomp.as_ref().is_some_and(crate::plan::forbids_last_words);
    Err(Error::NotExecuted { status: status(), silent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::op::Point;
    use crate::sys::clone::Fork;
    use crate::sys::socket;
    use std::os::fd::AsFd as _;

    /// A process that has ended, and the two sides of its socket, of which somebody still has both.
    fn dead(says: Option<Message>) -> (OwnedFd, OwnedFd, OwnedFd) {
        let (ours, theirs) = socket::pair().expect("a pair");
        match clone::fork(0, None).expect("a process") {
            Fork::Child => {
                let sent = says.map_or(Ok(()), |message| wire::send(theirs.as_fd(), message, None));
                clone::exit_group(i32::from(sent.is_err()))
            }
            Fork::Parent { pidfd, .. } => (ours, theirs, pidfd),
        }
    }

    #[test]
    fn death_is_heard_of_though_another_has_the_socket() {
        let (ours, _theirs, pidfd) = dead(None);
        assert!(message(ours.as_fd(), pidfd.as_fd()).expect("heard").is_none());
        let others = Others { answers: None, stop: None, stopped: None };
        assert_eq!(first(ours.as_fd(), pidfd.as_fd(), &others), Ok(Came::Death));
        clone::wait(pidfd.as_fd()).expect("reaped");
    }

    #[test]
    fn last_words_are_heard_after_death() {
        let last = Message::Reached(Point::Ready, 0);
        let (ours, _theirs, pidfd) = dead(Some(last));
        assert!(clone::wait_readable(pidfd.as_fd(), 10_000).expect("ended"));
        let heard = message(ours.as_fd(), pidfd.as_fd()).expect("heard");
        assert_eq!(heard.map(|(message, _)| message), Some(last));
        clone::wait(pidfd.as_fd()).expect("reaped");
    }

    #[test]
    fn a_start_that_shall_end_has_a_moment_left() {
        let (ours, _theirs) = socket::pair().expect("a pair");
        let (stop, other) = socket::pair().expect("a pair");
        wire::send(other.as_fd(), Message::Announced, None).expect("sent");
        let own = clone::open_process(clone::getpid()).expect("this process");
        let mut others = Others { answers: None, stop: Some(stop.as_fd()), stopped: None };
        assert_eq!(first(ours.as_fd(), own.as_fd(), &others), Ok(Came::Stop));
        others.stopped = Instant::now().checked_sub(GRACE);
        assert_eq!(first(ours.as_fd(), own.as_fd(), &others), Err(Errno::EINTR));
    }
}
