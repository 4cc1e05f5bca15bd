//! What a program is given as its standard streams, and what else of its caller's open files: which kinds may be handed
//! over at all, and how.
//!
//! A descriptor is a right. A directory is a way to every file below it, whatever the program's root is; a regular file
//! can be given another mode, and be reopened for writing, through a descriptor that was opened for reading
//! (`/proc/self/fd`).
#![forbid(unsafe_code)]

use crate::sys::{fd, tty};
use libc::{AF_INET as INET, AF_INET6 as INET6, AF_UNIX as UNIX, AF_VSOCK as VSOCK};
use nix::errno::Errno;
use std::fmt;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

/// What a descriptor is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    Regular,
    /// A file of a filesystem whose files are the kernel's own: its settings, its processes.
    Kernel,
    /// A directory.
    Directory,
    /// Opened with `O_PATH`, whatever it is: good for reaching it, and for nothing else.
    Place,
    /// A pipe.
    Pipe,
    /// A FIFO, which has a name on the host.
    Fifo,
    /// A connection on this machine (unix(7)): whom it leads to is settled.
    Local,
    /// A connection over a network. Who holds it can take it apart and connect it anew, in the network that it was made
    /// in (connect(2), `AF_UNSPEC`).
    Connection,
    /// Another socket of this family: whom it leads to is for its holder to say.
    Socket(i32),
    /// A terminal.
    Terminal,
    /// The side of a pseudo-terminal that types.
    Master,
    /// /dev/null and its like: nothing can be done to them that others notice.
    Harmless,
    /// Another device.
    Device,
    /// What has no name and no inode of its own, by what the kernel calls it: `eventfd`, `io_uring`.
    Anonymous(String),
}

/// Who is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A container that is held to no profile: its configuration, and who calls pent, decide.
    Container,
    /// A container under a profile.
    Held,
    /// A sandbox, for which what comes over a network is passed on.
    Sandbox,
}

impl Kind {
    /// Looks at a descriptor.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn of(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        if fd::access_mode(file)? & libc::O_PATH != 0 {
            return Ok(Self::Place);
        }
        let st = fd::stat(file)?;
        Ok(match st.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Self::Directory,
            libc::S_IFIFO if fd::super_magic(file)? == PIPEFS => Self::Pipe,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::of_socket(file)?,
            libc::S_IFCHR if tty::number(file).is_ok() => Self::Master,
            libc::S_IFCHR if tty::is_terminal(file) => Self::Terminal,
            libc::S_IFCHR if HARMLESS.contains(&(libc::major(st.st_rdev), libc::minor(st.st_rdev))) => Self::Harmless,
            libc::S_IFCHR | libc::S_IFBLK => Self::Device,
            _ => match name(file).strip_prefix("anon_inode:") {
                Some(kind) => Self::Anonymous(kind.trim_matches(['[', ']']).to_owned()),
                // What came later than this list may be anything.
                None if st.st_mode & libc::S_IFMT != libc::S_IFREG => Self::Anonymous("unknown".to_owned()),
                None => match fd::super_magic(file)? {
                    NSFS => Self::Anonymous("namespace".to_owned()),
                    PIDFS => Self::Anonymous("pidfd".to_owned()),
                    magic if KERNELS.contains(&magic) => Self::Kernel,
                    _ => Self::Regular,
                },
            },
        })
    }

    fn of_socket(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        use nix::sys::socket::{SockType, SockaddrStorage, getpeername, getsockopt, sockopt};
        let family = fd::socket_domain(file)?;
        let is_connected = getpeername::<SockaddrStorage>(file.as_raw_fd()).is_ok();
        Ok(match (family, getsockopt(&file, sockopt::SockType)?) {
            (UNIX, SockType::Stream | SockType::SeqPacket) if is_connected => Self::Local,
            (INET | INET6 | VSOCK, SockType::Stream) if is_connected => Self::Connection,
            _ => Self::Socket(family),
        })
    }

    /// Why it cannot be handed over, if so: what it is, and what it would give away.
    #[must_use]
    pub fn refused(&self, to: To, number: RawFd) -> Option<String> {
        let reaches = "the program would reach the host's files from there, whatever its own root is";
        let connects = "it is a socket that the program could connect to anybody, in the network it was made in";
        let why = match (self, to) {
            (Self::Directory, _) if to != To::Container || number <= 2 => format!("it is a directory: {reaches}"),
            (Self::Place, _) if to != To::Container || number <= 2 => format!("it was opened with O_PATH: {reaches}"),
            (_, To::Container) => return None,
            (Self::Connection, To::Sandbox) if number <= 2 => return None,
            // Beside the streams, whoever calls pent has asked for it by number: to listen at, for one (LISTEN_FDS).
            (Self::Connection | Self::Socket(UNIX | INET | INET6 | VSOCK), To::Held) if number > 2 => return None,
            (Self::Connection | Self::Socket(UNIX | INET | INET6 | VSOCK), _) => connects.to_owned(),
            (Self::Socket(_), _) => "it is a socket that does more than send and receive".to_owned(),
            (Self::Master, _) => "it is the side of a pseudo-terminal that types into the other".to_owned(),
            (Self::Device, _) => "it is a device other than a terminal, null, zero, full and random".to_owned(),
            (Self::Kernel, _) if number > 2 => {
                "it is one of the kernel's own files, which tell about the host".to_owned()
            }
            (Self::Anonymous(kind), _) if !PLAIN.contains(&kind.as_str()) => {
                format!("it is a handle of the kernel's ({kind})")
            }
            _ => return None,
        };
        Some(why)
    }
}

/// Handles that do nothing but count, wait and tell.
const PLAIN: &[&str] = &["eventfd", "eventpoll", "timerfd", "signalfd", "inotify"];

/// Of mem(4): null, zero, full, random, urandom.
const HARMLESS: &[(u32, u32)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)];

/// linux/magic.h, linux/pidfs.h.
const PIPEFS: i64 = 0x5049_5045;
const NSFS: i64 = 0x6e73_6673;
const PIDFS: i64 = 0x5049_4446;

/// proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, bpf, selinuxfs, smackfs, efivarfs, pstore, resctrl,
/// configfs, binfmt_misc.
const KERNELS: &[i64] = &[
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0xf97c_ff8c,
    0x4341_5d53,
    0xde5e_81e4,
    0x6165_676c,
    0x0765_5821,
    0x6265_6570,
    0x4249_4e4d,
];

/// As the kernel names it; empty where it does not.
#[must_use]
pub fn name(file: BorrowedFd<'_>) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What cannot be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    number: RawFd,
    name: String,
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, why } = self;
        write!(f, "cannot hand over {} ({name}): {why}", what(*number))
    }
}

impl Refused {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.number {
            0 => "redirect it from a file, a pipe or </dev/null".to_owned(),
            1 => "redirect it to a file, a pipe or >/dev/null".to_owned(),
            2 => "redirect it to a file, a pipe or 2>/dev/null".to_owned(),
            _ => "pass only files, pipes, connected unix sockets and terminals".to_owned(),
        }
    }
}

/// A descriptor in words.
#[must_use]
pub fn what(number: RawFd) -> String {
    match number {
        0 => "standard input".to_owned(),
        1 => "standard output".to_owned(),
        2 => "standard error".to_owned(),
        other => format!("descriptor {other}"),
    }
}

/// Looks at descriptors that were inherited; those that are not open are nothing.
///
/// # Errors
/// The first that cannot be handed over.
pub fn check(numbers: impl Iterator<Item = RawFd>, to: To) -> Result<(), Refused> {
    for number in numbers {
        let Some(file) = fd::inherited(number) else { continue };
        let why = match Kind::of(file) {
            Ok(kind) => kind.refused(to, number),
            Err(errno) => Some(format!("the kernel does not say what it is: {}", errno.desc().to_lowercase())),
        };
        if let Some(why) = why {
            return Err(Refused { number, name: shown(&name(file)), why });
        }
    }
    Ok(())
}

/// A name is the caller's own, but may be anything.
fn shown(name: &str) -> String {
    name.escape_debug().collect()
}

/// How a stream is given to a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// As it is.
    AsIs,
    /// The same file opened anew for it, so that flags and locks are its own; as it is where that cannot be.
    Anew,
    /// The same from a mount that is read-only, so that mode, owner, times and attributes are not for it to change
    /// either.
    AnewReadOnlyMount,
    /// For reading, from a mount that is read-only; where that cannot be, as [`Handling::Feed`].
    ReadOnly,
    /// What is in it comes through a pipe.
    Feed,
    /// What is written goes through a pipe.
    Relay,
}

/// How a stream of this kind, opened for this (`O_ACCMODE`), is given to a sandbox as this number.
#[must_use]
pub fn handling(kind: &Kind, access: i32, number: RawFd) -> Handling {
    // What is for both is meant for what the number says.
    let reads = access == libc::O_RDONLY || (access == libc::O_RDWR && number == 0);
    match kind {
        Kind::Regular if reads => Handling::ReadOnly,
        // They are the host's, and in a mount of the host's.
        Kind::Kernel if reads => Handling::Feed,
        Kind::Connection if number == 0 => Handling::Feed,
        Kind::Regular | Kind::Kernel | Kind::Connection => Handling::Relay,
        Kind::Pipe => Handling::Anew,
        Kind::Fifo | Kind::Terminal => Handling::AnewReadOnlyMount,
        _ => Handling::AsIs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    fn opened(path: &str, flags: i32) -> File {
        File::options().read(true).custom_flags(flags).open(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn kind(path: &str, flags: i32) -> Kind {
        Kind::of(opened(path, flags).as_fd()).expect("a kind")
    }

    #[test]
    fn kinds_are_told() {
        assert_eq!(kind("/", 0), Kind::Directory);
        assert_eq!(kind("/", libc::O_PATH), Kind::Place);
        assert_eq!(kind("/proc/self/exe", libc::O_PATH), Kind::Place);
        assert_eq!(kind("/proc/self/exe", 0), Kind::Regular);
        assert_eq!(kind("/proc/self/status", 0), Kind::Kernel);
        assert_eq!(kind("/proc/self/ns/net", 0), Kind::Anonymous("namespace".into()));
        assert_eq!(kind("/dev/null", 0), Kind::Harmless);
        assert_eq!(kind("/dev/urandom", 0), Kind::Harmless);
        assert_eq!(Kind::of(tempfile::tempfile().expect("a file").as_fd()), Ok(Kind::Regular));
        assert_eq!(Kind::of(fd::memfd(c"x").expect("a file").as_fd()), Ok(Kind::Regular));
        let (read, _write) = nix::unistd::pipe().expect("a pipe");
        assert_eq!(Kind::of(read.as_fd()), Ok(Kind::Pipe));
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        assert_eq!(Kind::of(socket.as_fd()), Ok(Kind::Local));
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        assert_eq!(Kind::of(pty.slave.as_fd()), Ok(Kind::Terminal));
        assert_eq!(Kind::of(pty.master.as_fd()), Ok(Kind::Master));
        let own = crate::sys::clone::open_process(std::process::id().cast_signed()).expect("a pidfd");
        let Ok(Kind::Anonymous(_)) = Kind::of(own.as_fd()) else { panic!("a pidfd is a handle") };
        let event = nix::sys::eventfd::EventFd::new().expect("an eventfd");
        assert_eq!(Kind::of(event.as_fd()), Ok(Kind::Anonymous("eventfd".into())));
    }

    #[test]
    fn sockets_by_whom_they_lead_to() {
        use std::net::{TcpListener, TcpStream, UdpSocket};
        use std::os::unix::net::{UnixDatagram, UnixListener};
        let place = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        udp.connect(udp.local_addr().expect("an address")).expect("connected");
        let (pair, _peer) = UnixDatagram::pair().expect("a pair");
        let unix = UnixListener::bind(place.path().join("s")).expect("a socket");
        let connection = Kind::of(stream.as_fd()).expect("a kind");
        assert_eq!(connection, Kind::Connection);
        assert!(connection.refused(To::Sandbox, 0).is_none() && connection.refused(To::Sandbox, 3).is_some());
        assert!(connection.refused(To::Held, 1).is_some() && connection.refused(To::Held, 3).is_none());
        assert!(connection.refused(To::Container, 0).is_none());
        for (file, family) in
            [(listener.as_fd(), INET), (udp.as_fd(), INET), (pair.as_fd(), UNIX), (unix.as_fd(), UNIX)]
        {
            let kind = Kind::of(file).expect("a kind");
            assert_eq!(kind, Kind::Socket(family));
            assert!(kind.refused(To::Sandbox, 0).is_some() && kind.refused(To::Held, 2).is_some());
            assert!(kind.refused(To::Held, 3).is_none() && kind.refused(To::Sandbox, 3).is_some());
        }
    }

    #[test]
    fn handles_of_the_host_are_refused() {
        let anonymous = |kind: &str| Kind::Anonymous(kind.into());
        for number in 0..5 {
            for kind in [Kind::Directory, Kind::Place] {
                assert!(kind.refused(To::Held, number).is_some(), "{kind:?}");
                // What is handed over beside the streams is asked for by number.
                assert_eq!(kind.refused(To::Container, number).is_some(), number <= 2, "{kind:?}");
            }
            for kind in [
                anonymous("pidfd"),
                anonymous("namespace"),
                anonymous("io_uring"),
                anonymous("fscontext"),
                anonymous("fanotify"),
                anonymous("bpf-map"),
                anonymous("[userfaultfd]"),
                Kind::Socket(libc::AF_NETLINK),
                Kind::Socket(libc::AF_PACKET),
                Kind::Device,
                Kind::Master,
            ] {
                assert!(kind.refused(To::Held, number).is_some(), "{kind:?}");
                assert!(kind.refused(To::Sandbox, number).is_some(), "{kind:?}");
                assert!(kind.refused(To::Container, number).is_none(), "{kind:?}");
            }
            for kind in [
                Kind::Regular,
                Kind::Pipe,
                Kind::Fifo,
                Kind::Terminal,
                Kind::Harmless,
                Kind::Local,
                anonymous("eventfd"),
            ] {
                assert!(kind.refused(To::Held, number).is_none(), "{kind:?}");
                assert!(kind.refused(To::Sandbox, number).is_none(), "{kind:?}");
            }
        }
    }

    #[test]
    fn files_are_given_for_what_was_meant() {
        use Handling::{AnewReadOnlyMount, AsIs, Feed, ReadOnly, Relay};
        let regular = |access, number| handling(&Kind::Regular, access, number);
        assert_eq!(regular(libc::O_RDONLY, 0), ReadOnly);
        assert_eq!(regular(libc::O_RDONLY, 2), ReadOnly);
        assert_eq!(regular(libc::O_RDWR, 0), ReadOnly);
        assert_eq!(regular(libc::O_WRONLY, 0), Relay);
        assert_eq!(regular(libc::O_WRONLY, 1), Relay);
        assert_eq!(regular(libc::O_RDWR, 2), Relay);
        assert_eq!(handling(&Kind::Kernel, libc::O_RDONLY, 0), Feed);
        assert_eq!(handling(&Kind::Terminal, libc::O_RDWR, 0), AnewReadOnlyMount);
        assert_eq!(handling(&Kind::Harmless, libc::O_RDWR, 0), AsIs);
        assert_eq!([0, 1, 2].map(|number| handling(&Kind::Connection, libc::O_RDWR, number)), [Feed, Relay, Relay]);
    }
}
