//! A network of named hosts only, and ports of the sandbox on the host: two processes beside the sandbox.
//!
//! ```text
//! sandbox's network                │ host's network
//!   program ──▶ 127.0.0.1:3128 ════╪══▶ proxy ──▶ HOST:PORT            --net HOST:PORT
//!   program ──▶ 127.0.0.1:PORT ════╪══▶ proxy ──▶ 127.0.0.1:PORT       --net localhost:PORT
//!   server  ◀── 127.0.0.1:N ◀══════╪══  proxy ◀── 127.0.0.1:N          --port N
//! ```
//!
//! A socket belongs to the network it was made in, whoever uses it: `inside` makes those of the sandbox and hands them out, so that
//! nothing of the proxy is in the sandbox. Why this and not a network device: docs/decisions/0012.
#![forbid(unsafe_code)]

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inside;
mod policy;
mod protocol;
mod proxy;

pub use policy::{Destination, Host, Range};

use crate::sys::clone::{self, Fork};
use crate::sys::{cred, socket};
use nix::errno::Errno;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// A port of the sandbox on the host: `--port [OUTSIDE:]INSIDE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// At 127.0.0.1 of the host.
    pub outside: u16,
    /// At 127.0.0.1 of the sandbox.
    pub inside: u16,
}

/// What is wanted of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether there is a proxy: it may be there to say what it is asked for.
    pub proxy: bool,
    /// Where the program may connect to.
    pub allowed: Vec<Destination>,
    /// Its ports on the host.
    pub published: Vec<Publish>,
    /// What becomes of refusals.
    pub tell: Tell,
}

/// To whom the proxy tells what it refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tell {
    /// Nobody.
    Nobody,
    /// Whoever reads standard error, at once.
    #[default]
    Terminal,
    /// Whoever has started it, at the end: [`Running::denied`].
    Starter,
}

/// What is said with every host that a report advises to allow.
pub const CHOSEN: &str = "the program chose it";

/// Whether an address is this machine's, of its own network, or one at which clouds keep credentials: never advised to
/// be allowed.
#[must_use]
pub fn is_private(address: std::net::IpAddr) -> bool {
    !policy::is_anybodys(address) || proxy::is_own(address)
}

/// A place that was not connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// `HOST:PORT`, as the program put it, of letters, digits and few other characters.
    pub place: String,
    /// Why not.
    pub why: String,
    /// Whether `--net PLACE` would allow it.
    pub could_be_asked: bool,
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port of the host.
    #[error("--port {port}: cannot listen at 127.0.0.1:{port}: {source}")]
    Port {
        /// Which.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// A process.
    #[error("cannot start the network's processes: {}", .0.desc().to_lowercase())]
    Start(Errno),
}

impl crate::report::Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Port { .. } => Some("choose another: --port OUTSIDE:INSIDE".into()),
            Self::Start(_) => None,
        }
    }
}

/// Sockets of the host, opened before anything is made.
#[derive(Debug, Default)]
pub struct Ports(Vec<(TcpListener, u16)>);

impl Plan {
    /// Whether anything has to be started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.proxy && self.published.is_empty()
    }

    /// Takes the ports on the host.
    ///
    /// # Errors
    /// When one is taken already.
    pub fn listen(&self) -> Result<Ports, Error> {
        let listen = |publish: &Publish| {
            let port = publish.outside;
            let listener =
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| Error::Port { port, source })?;
            Ok((listener, publish.inside))
        };
        Ok(Ports(self.published.iter().map(listen).collect::<Result<_, Error>>()?))
    }

    /// Starts both processes, for a sandbox whose namespaces these are, and whose program has these ids in them.
    ///
    /// # Errors
    /// When one cannot be made, or does not get into the namespaces.
    pub fn start(self, ports: Ports, user: OwnedFd, network: OwnedFd, ids: (u32, u32)) -> Result<Running, Error> {
        let (ours, theirs) = socket::pair().map_err(Error::Start)?;
        let ids = nix::unistd::geteuid().is_root().then_some(ids);
        let inside = spawn(|| inside::serve(user.as_fd(), network.as_fd(), ids, &theirs).is_ok())?;
        drop((theirs, user, network));
        let inside_end = inside::Inside(ours);
        // The first answer says that it has arrived where it was to go.
        inside_end.socket().map_err(Error::Start)?;
        let (told, channel) = socket::pair().map_err(Error::Start)?;
        let Self { proxy: has_proxy, allowed, tell, .. } = self;
        let mut parts = Some((allowed, inside_end, ports, channel));
        let proxy = spawn(|| {
            let Some((allowed, inside_end, Ports(listeners), channel)) = parts.take() else { return false };
            // The listener is there before the program: made first, then told.
            proxy::serve(has_proxy.then_some(allowed), inside_end, listeners, tell, channel).is_ok()
        })?;
        drop(parts);
        let running = Running { processes: vec![inside, proxy], told };
        let mut answer = [0];
        match socket::receive(running.told.as_fd(), &mut answer) {
            Ok((1, _)) => Ok(running),
            _ => Err(Error::Start(Errno::EPIPE)),
        }
    }
}

/// Whether a port of the sandbox's own loopback is the host's there.
#[must_use]
pub fn is_of_host(allowed: &[Destination], port: u16) -> bool {
    allowed.iter().any(|place| place.port == port && !place.on_this_machine().is_empty())
}

/// Variables that the program has to have.
#[must_use]
pub fn environment(allowed: &[Destination]) -> Vec<(String, String)> {
    proxy::environment(allowed)
}

/// The processes, ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    processes: Vec<OwnedFd>,
    told: OwnedFd,
}

impl Running {
    /// What the proxy has refused so far, since this was last asked.
    #[must_use]
    pub fn denied(&self) -> Vec<Denied> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let waits = || {
            let mut fds = [PollFd::new(self.told.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        };
        let mut all = Vec::new();
        let mut message = [0; 1024];
        while waits() {
            match socket::receive(self.told.as_fd(), &mut message) {
                Ok((count, _)) if count > 0 => all.extend(proxy::parse_denied(&message[..count])),
                _ => break,
            }
        }
        all
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for process in &self.processes {
            // It may have ended, and have been reaped. One that cannot be killed is not waited for: it ends with this
            // process.
            if clone::kill(process.as_fd(), libc::SIGKILL).is_ok() {
                let _status = clone::wait(process.as_fd());
            }
        }
    }
}

/// Closes every descriptor but these, and opens /dev/null in the place of stdin and stdout, so that what follows in a pipe sees its end.
fn keep_only(kept: &mut [RawFd]) -> nix::Result<()> {
    kept.sort_unstable();
    let mut next = 0;
    for fd in kept.iter().copied() {
        if fd > next {
            crate::sys::fd::close_range(next, (fd - 1).cast_unsigned())?;
        }
        next = fd + 1;
    }
    crate::sys::fd::close_range(next, libc::c_uint::MAX)?;
    for number in 0..=2 {
        if !crate::sys::fd::is_open(number) {
            // The lowest free number is this one.
            let null = crate::sys::fd::open(crate::sys::fd::CWD, c"/dev/null", libc::O_RDWR)?;
            let _kept_open = std::os::fd::IntoRawFd::into_raw_fd(null);
        }
    }
    Ok(())
}

/// A process of its own that does `work` and ends; it is killed when this one ends.
fn spawn(work: impl FnOnce() -> bool) -> Result<OwnedFd, Error> {
    match clone::fork(0, None).map_err(Error::Start)? {
        Fork::Parent { pidfd, .. } => Ok(pidfd),
        Fork::Child => {
            let ready = cred::set_parent_death_signal(libc::SIGKILL).is_ok() && cred::unblock_signals().is_ok();
            let done = ready && work();
            clone::exit_group(i32::from(!done))
        }
    }
}
