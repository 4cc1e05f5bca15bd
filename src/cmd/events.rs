//! `pent events`: statistics and out-of-memory news of a container, as JSON lines.
#![forbid(unsafe_code)]

use super::{Explained, Session};
use crate::cgroup::{self, Event, OomWatch, Place};
use crate::cli::Events;
use crate::state::{State, Status};
use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Instant;

/// Prints statistics once, or every interval together with out-of-memory events until the container ends, the reader goes
/// away or SIGINT or SIGTERM arrives: never half a line.
pub(super) fn run(session: &Session<'_>, args: &Events) -> Result<u8> {
    let (dir, state) = session.load(&args.id)?;
    if state.status(&dir).explained()? == Status::Stopped {
        bail!("container with id {} is not running", args.id);
    }
    // Nothing below changes the container.
    drop(dir);
    if args.stats {
        emit(&Event::stats(&args.id, state.cgroup.stats().explained()?))?;
        return Ok(0);
    }
    watch(&state, args)
}

fn watch(state: &State, args: &Events) -> Result<u8> {
    let end = state.init.open().explained()?;
    let mut oom = match state.cgroup.oom_watch() {
        Ok(watch) => Some(watch),
        Err(cgroup::Error::None) => None,
        // A version 2 cgroup without the memory controller.
        Err(cgroup::Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).explained(),
    };
    // memory.events is always readable, and its changes are urgent; the counter of version 1 is readable when it counted.
    let v2 = state.cgroup.place("memory").is_some_and(Place::is_v2);
    let news = if v2 { PollFlags::POLLPRI } else { PollFlags::POLLIN };
    let signals = stop_signals().context("cannot wait for signals")?;
    let mut next = Instant::now() + args.interval;
    loop {
        let timeout = PollTimeout::try_from(next.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        let mut fds =
            vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        fds.extend(oom.iter().map(|watch| PollFd::new(watch.as_fd(), news)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let ended = ready[1];
        // The end may be the very consequence of what the watch has to tell: always ask it then.
        if (ended || ready.get(2) == Some(&true)) && !tell_oom(&mut oom, &args.id)? {
            return Ok(0);
        }
        if ready[0] || ended {
            return Ok(0);
        }
        if Instant::now() >= next {
            if !emit(&Event::stats(&args.id, state.cgroup.stats().explained()?))? {
                return Ok(0);
            }
            next = Instant::now() + args.interval;
        }
    }
}

/// Says so if memory ran out; false when there is nothing more to tell or nobody to tell it.
fn tell_oom(oom: &mut Option<OomWatch<'_>>, id: &str) -> Result<bool> {
    let Some(watch) = oom else { return Ok(true) };
    match watch.occurred().explained()? {
        Some(true) => emit(&Event::oom(id)),
        Some(false) => Ok(true),
        None => Ok(false),
    }
}

/// SIGINT and SIGTERM as a descriptor.
fn stop_signals() -> nix::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// One line in one write; false when the reader has gone.
fn emit(event: &Event<'_>) -> Result<bool> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to stdout"),
    }
}
