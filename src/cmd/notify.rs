//! The NOTIFY_SOCKET of the caller (sd_notify(3)): the container gets a socket of its own, and what it says of being ready goes on.
//!
//! The container must not reach the caller's socket: it could name any process as the service's main one, or keep a dead service
//! alive. So one line is passed on, `READY=`, and everything else of the protocol is said here.
#![forbid(unsafe_code)]

use super::{Explained as _, hinted};
use crate::report::Reporter;
use crate::state::Dir;
use crate::sys::{clone, socket};
use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::{MountBuilder, Spec};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Where the socket's directory is mounted, as runc has it.
const INSIDE: &str = "/run/notify";
/// The longest message that is read.
const MESSAGE: usize = 4096;
/// How long systemd may take to have read everything.
const BARRIER_SECONDS: u16 = 30;

/// The socket of the container, between it and the caller's.
pub(super) struct Proxy {
    host: UnixDatagram,
    container: UnixDatagram,
}

fn requested() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())
}

/// Whether the caller has a socket.
pub(super) fn is_requested() -> bool {
    requested().is_some()
}

/// Adds the socket to a container: `directory` is the container's state directory.
pub(super) fn add_to(spec: &mut Spec, directory: &Path) -> anyhow::Result<()> {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned);
    let mount = MountBuilder::default()
        .destination(INSIDE)
        .typ("bind")
        .source(directory.join(Dir::notify_name()))
        .options(options)
        .build()
        .context("NOTIFY_SOCKET")?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("NOTIFY_SOCKET={INSIDE}/{}", Dir::notify_socket_name()));
        process.set_env(Some(env));
    }
    Ok(())
}

/// Makes the directory that [`add_to`] mounts, before anything is mounted.
pub(super) fn prepare(dir: &Dir) -> anyhow::Result<()> {
    if is_requested() { dir.make_notify().explained() } else { Ok(()) }
}

impl Proxy {
    /// Both sockets, if the caller has one and the container was made for it.
    pub(super) fn open(dir: &Dir) -> anyhow::Result<Option<Self>> {
        let Some(path) = requested().filter(|_| dir.has_notify()) else { return Ok(None) };
        let failed = |why: String| hinted(&format!("NOTIFY_SOCKET={}: {why}", path.display()), HINT);
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&path),
        };
        let address = address.map_err(|error| failed(error.to_string()))?;
        let host = UnixDatagram::unbound().context("cannot make a socket")?;
        host.connect_addr(&address).map_err(|error| failed(format!("cannot connect: {error}")))?;
        let container = dir.bind_notify().explained()?;
        container.set_nonblocking(true).context("cannot make a socket non-blocking")?;
        Ok(Some(Self { host, container }))
    }

    /// For waiting until there is something to pass on.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }

    /// Reads what the container has said, or some of it when it never stops; whether it is ready, and the caller knows.
    pub(super) fn pass_on(&self) -> anyhow::Result<bool> {
        const AT_ONCE: usize = 64;
        let mut message = [0; MESSAGE];
        for _ in 0..AT_ONCE {
            match self.container.recv(&mut message) {
                Ok(length) => {
                    if let Some(line) = ready_line(&message[..length]) {
                        self.say(&[line, b"\n"].concat())?;
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Stays until the container is ready, or gone. Its process is the service's main one from then on.
    pub(super) fn wait(self, pid: i32, report: &Reporter) -> anyhow::Result<()> {
        let pidfd = match clone::open_process(pid) {
            Err(Errno::ESRCH) => return Ok(()),
            other => other.context("cannot open the container's process")?,
        };
        loop {
            let mut fds = [PollFd::new(self.fd(), PollFlags::POLLIN), PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.context("cannot wait for the container to be ready")?,
            };
            let ended = fds[1].any().unwrap_or(false);
            if self.pass_on()? {
                self.say(format!("MAINPID={pid}\n").as_bytes())?;
                return self.barrier(report);
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn say(&self, message: &[u8]) -> anyhow::Result<()> {
        self.host.send(message).map(drop).map_err(|error| hinted(&format!("NOTIFY_SOCKET: cannot send: {error}"), HINT))
    }

    /// Waits until everything said was read, because a sender that is gone by then is unknown to systemd
    /// (sd_notify_barrier(3)).
    fn barrier(&self, report: &Reporter) -> anyhow::Result<()> {
        let (ours, theirs) = nix::unistd::pipe().context("cannot make a pipe")?;
        socket::send(self.host.as_fd(), b"BARRIER=1", Some(theirs.as_fd())).context("NOTIFY_SOCKET: cannot send")?;
        drop(theirs);
        let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        let read = poll(&mut fds, PollTimeout::from(BARRIER_SECONDS * 1000)).context("NOTIFY_SOCKET: cannot wait")?;
        if read == 0 {
            report.warn("NOTIFY_SOCKET: the service manager did not confirm what it was told");
        }
        Ok(())
    }
}

const HINT: &str = "it is the service manager's; unset it, or run the container as a service of type notify";

/// The line of a message that says whether the container is ready.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readiness_is_passed_on() {
        assert_eq!(ready_line(b"READY=1"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"STATUS=well\nREADY=1\nMAINPID=1"), Some(&b"READY=1"[..]));
        for other in [&b"MAINPID=1"[..], b"", b"\n", b"NOTREADY=1", b"WATCHDOG=1\nFDSTORE=1"] {
            assert_eq!(ready_line(other), None);
        }
    }
}
