//! Staying with a process in the foreground: signals go to it, its terminal is relayed, its status is ours.
#![forbid(unsafe_code)]

use super::notify::Proxy;
use super::streams::Streams;
use crate::launch::Supervisor;
use crate::sys::{clone, tty};
use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, OutputFlags, SetArg, Termios};
use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Signals are taken from here on, so that none is lost between clone and wait.
pub(super) struct Attendance {
    signals: SignalFd,
}

/// Puts the caller's terminal back however this ends.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> anyhow::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(&stdin).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        // The container's pty leaves the ends of lines to the terminal that shows them.
        raw.output_flags |= before.output_flags & OutputFlags::OPOST;
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).context("cannot set the terminal to raw mode")?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that is gone.
        let _restored = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// The caller's own terminal while a program has it: its settings and its size are put back where they were changed.
pub(super) struct KeptTerminal<'f> {
    before: Vec<(BorrowedFd<'f>, Termios, Option<Size>)>,
}

/// Width and height in characters.
type Size = (u16, u16);

impl KeptTerminal<'static> {
    /// Of the standard streams. Not where another process reads what the program writes: a pager has the terminal to itself.
    pub(super) fn of_stdio() -> Self {
        use nix::sys::stat::{SFlag, fstat};
        let is_pipe = fstat(stdout()).is_ok_and(|found| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits());
        let streams = (0..3).filter(|_| !is_pipe).filter_map(crate::sys::fd::stdio);
        Self::of(streams)
    }
}

impl<'f> KeptTerminal<'f> {
    fn of(streams: impl Iterator<Item = BorrowedFd<'f>>) -> Self {
        let settings = |stream| Some((stream, termios::tcgetattr(stream).ok()?, tty::size(stream)));
        Self { before: streams.filter_map(settings).collect() }
    }
}

impl Drop for KeptTerminal<'_> {
    fn drop(&mut self) {
        // Nothing better can be done with a terminal that is gone.
        for (stream, settings, size) in &self.before {
            // What it has stopped (tcflow(3)) goes on.
            let _on = termios::tcflow(stream, termios::FlowArg::TCOON);
            if termios::tcgetattr(stream).is_ok_and(|now| now != *settings) {
                let _restored = termios::tcsetattr(stream, SetArg::TCSANOW, settings);
            }
            if let Some((width, height)) = size.filter(|size| tty::size(*stream) != Some(*size)) {
                let _restored = tty::set_size(*stream, width, height);
            }
        }
    }
}

/// What ends a process that does not end by itself.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Until when it may run.
    pub(super) deadline: Option<Instant>,
    /// Somebody without whom it is not to go on.
    pub(super) keeper: Option<OwnedFd>,
    /// Whether its first process stops when SIGTSTP is passed on, so that this one does as well.
    pub(super) stops: bool,
}

/// How a process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or by somebody else.
    Itself,
    /// Its time was over.
    TimedOut,
    /// Its keeper is gone.
    Abandoned,
}

/// How long a process whose time is over may take to end.
const GRACE: Duration = Duration::from_secs(1);

impl Attendance {
    /// Blocks every signal that can be forwarded, and reads them from a descriptor instead.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let mut set = SigSet::all();
        // Faults are this process's own.
        for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT, Signal::SIGTRAP] {
            set.remove(own);
        }
        set.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot make a signal descriptor")?;
        Ok(Self { signals })
    }

    /// Readable when somebody has asked this process to end. The signal is left for [`Self::until_exit`].
    pub(super) fn stop(&self) -> anyhow::Result<OwnedFd> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
            set.add(signal);
        }
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        signals.map(OwnedFd::from).context("cannot make a signal descriptor")
    }

    /// Waits for the process: its exit status, or 128 + signal. With a terminal, copies it to and from stdio;
    /// with a notify socket, says when the container is ready.
    pub(super) fn until_exit(
        self,
        pidfd: &OwnedFd,
        terminal: Option<OwnedFd>,
        notify: Option<Proxy>,
    ) -> anyhow::Result<u8> {
        self.until_end(pidfd, terminal, notify, None, Bounds::default(), None).map(|(status, _)| status)
    }

    /// The same, and ends the process when it goes beyond its bounds: by SIGTERM when its time is over, and SIGKILL
    /// after that; by SIGKILL when its keeper is gone. What the supervisor is asked in the meantime is answered, and
    /// what goes through pipes is moved.
    pub(super) fn until_end(
        self,
        pidfd: &OwnedFd,
        terminal: Option<OwnedFd>,
        mut notify: Option<Proxy>,
        mut supervisor: Option<&mut dyn Supervisor>,
        mut bounds: Bounds,
        mut streams: Option<&mut Streams>,
    ) -> anyhow::Result<(u8, End)> {
        let mut end = End::Itself;
        let raw = if terminal.is_some() { RawMode::enter()? } else { None };
        let mut relay = terminal.map(Relay::new).transpose()?;
        loop {
            let mut fds = vec![
                PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            if let Some(notify) = &notify {
                fds.push(PollFd::new(notify.fd(), PollFlags::POLLIN));
            }
            if let Some(keeper) = &bounds.keeper {
                fds.push(PollFd::new(keeper.as_fd(), PollFlags::POLLIN));
            }
            if let Some(listener) = supervisor.as_ref().and_then(|supervisor| supervisor.fd()) {
                fds.push(PollFd::new(listener, PollFlags::POLLIN));
            }
            if let Some(relay) = &relay {
                relay.wait_for(&mut fds);
            }
            if let Some(streams) = &streams {
                streams.wait_for(&mut fds);
            }
            match poll(&mut fds, bounds.timeout()) {
                Err(Errno::EINTR) => continue,
                other => other.context("cannot wait for the container")?,
            };
            let ended = fds[0].any().unwrap_or(false);
            let signalled = fds[1].any().unwrap_or(false);
            drop(fds);
            if let Some(supervisor) = &mut supervisor {
                supervisor.serve();
            }
            if !ended && bounds.are_over() {
                // It may have ended in the meantime; the next round sees that.
                let signal = if end == End::Itself { libc::SIGTERM } else { libc::SIGKILL };
                let _sent = clone::kill(pidfd.as_fd(), signal);
                if end == End::Itself {
                    end = End::TimedOut;
                }
                bounds.deadline = Some(Instant::now() + GRACE);
            }
            if !ended && bounds.keeper.as_ref().is_some_and(|keeper| is_ready(keeper.as_fd(), PollFlags::POLLIN)) {
                if clone::kill(pidfd.as_fd(), libc::SIGKILL).is_err() {
                    // Once more in a moment: nobody else would end it.
                    bounds.deadline = Some(Instant::now() + GRACE);
                }
                end = End::Abandoned;
                bounds.keeper = None;
            }
            // A service manager that is gone is no reason to end the container.
            if notify.as_ref().is_some_and(|notify| notify.pass_on().unwrap_or(true)) {
                notify = None;
            }
            if signalled {
                self.forward(pidfd, relay.as_ref(), bounds.stops);
            }
            if let Some(relay) = &mut relay {
                relay.copy();
            }
            if let Some(streams) = &mut streams {
                streams.copy();
            }
            if ended {
                break;
            }
        }
        if let Some(mut relay) = relay {
            relay.drain();
        }
        if let Some(streams) = streams {
            streams.finish();
        }
        drop(raw);
        let status = clone::wait(pidfd.as_fd()).context("cannot read the container's exit status")?;
        Ok((u8::try_from(status & 0xff).unwrap_or(u8::MAX), end))
    }

    fn forward(&self, pidfd: &OwnedFd, relay: Option<&Relay>, stops: bool) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).unwrap_or(0);
            match Signal::try_from(signal) {
                Ok(Signal::SIGCHLD | Signal::SIGURG) => reap_orphans(pidfd),
                Ok(Signal::SIGWINCH) if relay.is_some() => {
                    if let Some(relay) = relay {
                        relay.resize();
                    }
                }
                Ok(Signal::SIGPIPE) => {}
                Ok(Signal::SIGTSTP) if stops && relay.is_none() => {
                    let _sent = clone::kill(pidfd.as_fd(), signal);
                    // Until SIGCONT, which is passed on then.
                    let _stopped = nix::sys::signal::raise(Signal::SIGSTOP);
                }
                // It may have ended in the meantime.
                _ => drop(clone::kill(pidfd.as_fd(), signal)),
            }
        }
    }
}

impl Bounds {
    fn timeout(&self) -> PollTimeout {
        let Some(deadline) = self.deadline else { return PollTimeout::NONE };
        // Rounded up: not to wake just before it.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn are_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// As a subreaper this process inherits what the container leaves behind. The container's own process is left to `wait`.
fn reap_orphans(pidfd: &OwnedFd) {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, flags) {
        let Some(pid) = status.pid() else { return };
        let own = matches!(
            waitid(Id::PIDFd(pidfd.as_fd()), flags),
            Ok(WaitStatus::Exited(main, _) | WaitStatus::Signaled(main, _, _)) if main == pid
        );
        if own || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

/// Copies between stdio and a pty, without blocking on either.
struct Relay {
    master: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    stdin_open: bool,
    master_open: bool,
}

const CHUNK: usize = 4096;

impl Relay {
    fn new(master: OwnedFd) -> anyhow::Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("cannot make the terminal non-blocking")?;
        let relay = Self { master, input: Vec::new(), output: Vec::new(), stdin_open: true, master_open: true };
        relay.resize();
        Ok(relay)
    }

    fn wait_for<'f>(&'f self, fds: &mut Vec<PollFd<'f>>) {
        let mut events = PollFlags::empty();
        if self.output.len() < CHUNK {
            events |= PollFlags::POLLIN;
        }
        if !self.input.is_empty() {
            events |= PollFlags::POLLOUT;
        }
        if self.master_open && !events.is_empty() {
            fds.push(PollFd::new(self.master.as_fd(), events));
        }
        if self.stdin_open && self.input.len() < CHUNK {
            fds.push(PollFd::new(stdin(), PollFlags::POLLIN));
        }
        if !self.output.is_empty() {
            fds.push(PollFd::new(stdout(), PollFlags::POLLOUT));
        }
    }

    fn copy(&mut self) {
        if self.stdin_open && self.input.len() < CHUNK && is_ready(stdin(), PollFlags::POLLIN) {
            self.stdin_open = fill(stdin(), &mut self.input);
        }
        if self.master_open && self.output.len() < CHUNK {
            self.master_open = fill(self.master.as_fd(), &mut self.output);
        }
        flush(self.master.as_fd(), &mut self.input);
        if !self.output.is_empty() && is_ready(stdout(), PollFlags::POLLOUT) {
            flush(stdout(), &mut self.output);
        }
    }

    /// What the program wrote before it ended.
    fn drain(&mut self) {
        loop {
            while !self.output.is_empty() {
                let before = self.output.len();
                let mut fds = [PollFd::new(stdout(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::from(1000u16)).is_ok_and(|n| n > 0) {
                    flush(stdout(), &mut self.output);
                }
                if self.output.len() == before {
                    return;
                }
            }
            let before = self.output.len();
            if self.master_open {
                self.master_open = fill(self.master.as_fd(), &mut self.output);
            }
            if self.output.len() == before {
                return;
            }
        }
    }

    fn resize(&self) {
        if let Some((width, height)) = tty::size(stdin()) {
            // A terminal that is gone has no size.
            let _resized = tty::set_size(self.master.as_fd(), width, height);
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    crate::sys::fd::stdio(0).unwrap_or(crate::sys::fd::CWD)
}

fn stdout() -> BorrowedFd<'static> {
    crate::sys::fd::stdio(1).unwrap_or(crate::sys::fd::CWD)
}

fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// Reads what is there; false at the end of the file.
fn fill(from: BorrowedFd<'_>, into: &mut Vec<u8>) -> bool {
    let mut chunk = [0u8; CHUNK];
    match nix::unistd::read(from, &mut chunk) {
        Ok(0) => false,
        Ok(n) => {
            into.extend_from_slice(&chunk[..n]);
            true
        }
        Err(Errno::EAGAIN | Errno::EINTR) => true,
        Err(_) => false,
    }
}

fn flush(to: BorrowedFd<'_>, from: &mut Vec<u8>) {
    if from.is_empty() {
        return;
    }
    match nix::unistd::write(to, from) {
        Ok(n) => {
            from.drain(..n);
        }
        Err(Errno::EAGAIN | Errno::EINTR) => {}
        Err(_) => from.clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_left_as_it_was() {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let terminal = pty.slave.as_fd();
        tty::set_size(terminal, 80, 24).expect("its size");
        let before = termios::tcgetattr(terminal).expect("its settings");
        let null = std::fs::File::open("/dev/null").expect("no terminal");
        let kept = KeptTerminal::of([null.as_fd(), terminal].into_iter());
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(terminal, SetArg::TCSANOW, &raw).expect("raw");
        tty::set_size(terminal, 1, 1).expect("its size");
        drop(kept);
        assert!(termios::tcgetattr(terminal).expect("its settings") == before);
        assert_eq!(tty::size(terminal), Some((80, 24)));
    }
}
