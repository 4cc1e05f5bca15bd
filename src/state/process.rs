//! Who a process is: a process id is recycled, a process id with a start time is not.
#![forbid(unsafe_code)]

use super::Error;
use crate::sys::process::PidFd;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

/// The name (`/proc/PID/comm`) of a container's first process between create and start.
///
/// A program in a container can take this name too; only together with the gate file does it mean anything.
pub const INIT_COMM: &CStr = c"pent:[init]";

/// The name of a container's first process before that, with the same reservation.
pub const SETUP_COMM: &CStr = c"pent:[setup]";

/// A process that cannot be confused with a later one of the same id, within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the host's (better: the callers') pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_time: u64,
}

/// What `/proc/PID/stat` says about a living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 2 without its parentheses; may contain anything.
    pub(super) comm: Vec<u8>,
    /// Field 3: `R`, `S`, `Z` … of the first thread.
    pub(super) state: u8,
    /// Field 9: `PF_*` of linux/sched.h.
    flags: u32,
    /// Field 20.
    pub(super) threads: u64,
    /// Field 22.
    pub(super) start_time: u64,
}

impl Stat {
    /// Reads `/proc/PID/stat`; `None` when there is no such process, or only its zombie.
    fn read_living(pid: i32) -> Result<Option<Self>, Error> {
        Ok(Self::read(pid)?.filter(|stat| !stat.has_ended()))
    }

    /// Reads `/proc/PID/stat`; `None` when there is no such process.
    fn read(pid: i32) -> Result<Option<Self>, Error> {
        let path = format!("/proc/{pid}/stat");
        let mut text = [0; 1024];
        let length = match File::open(&path).and_then(|mut file| file.read(&mut text)) {
            Ok(length) => length,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(source) => return Err(Error::Io { doing: "read", path: path.into(), source }),
        };
        match Self::parse(&text[..length]) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::Io { doing: "parse", path: path.into(), source: io::ErrorKind::InvalidData.into() }),
        }
    }

    /// A process whose first thread has ended lives on in others, and looks like a zombie.
    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name may contain spaces and parentheses: the last parenthesis ends it.
        let open = text.iter().position(|b| *b == b'(')?;
        let close = text.iter().rposition(|b| *b == b')')?;
        let comm = text.get(open + 1..close)?.to_vec();
        let mut fields = std::str::from_utf8(&text[close + 1..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        // 9 is the 6th after field 3, 20 the 11th after that.
        let flags = fields.nth(5)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        Some(Self { comm, state, flags, threads, start_time })
    }
}

/// `PF_FORKNOEXEC` of linux/sched.h: set by fork(2), cleared by execve(2) before it closes descriptors. Zombies still show it.
const FORKED_NO_EXEC: u32 = 0x40;

/// Whether the process that has this id now has executed a program since it was forked; `None` when that cannot be told: it was reaped,
/// or cannot be seen (proc(5), hidepid).
#[must_use]
pub fn has_executed(pid: i32) -> Option<bool> {
    let stat = Stat::read(pid).ok()??;
    Some(stat.flags & FORKED_NO_EXEC == 0)
}

/// The process went away before the open (ENOENT) or before the read (ESRCH).
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

impl Process {
    /// The process that has this id now.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when there is none (or a zombie); [`Error::Io`] when /proc cannot be read.
    pub fn identify(pid: i32) -> Result<Self, Error> {
        let stat = Stat::read_living(pid)?.ok_or(Error::NotRunning)?;
        Ok(Self { pid, start_time: stat.start_time })
    }

    /// What the process is doing now; `None` when it has ended.
    pub(super) fn stat(&self) -> Result<Option<Stat>, Error> {
        if self.pid <= 0 {
            return Ok(None);
        }
        Ok(Stat::read_living(self.pid)?.filter(|stat| stat.start_time == self.start_time))
    }

    /// Whether it runs the program that this process runs: the runtime, not yet the container's.
    pub(super) fn is_runtime(&self) -> bool {
        let file = |path: &str| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
        match (file(&format!("/proc/{}/exe", self.pid)), file("/proc/self/exe")) {
            (Ok(its), Ok(own)) => its == own,
            _ => false,
        }
    }

    /// As [`has_executed`], of this very process.
    #[must_use]
    pub fn has_executed(&self) -> Option<bool> {
        let stat = Stat::read(self.pid).ok()?.filter(|stat| stat.start_time == self.start_time)?;
        Some(stat.flags & FORKED_NO_EXEC == 0)
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when /proc cannot be read.
    pub fn is_alive(&self) -> Result<bool, Error> {
        Ok(self.stat()?.is_some())
    }

    /// A descriptor of this very process: opened first, then compared, so that it cannot be of another one.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended; [`Error::Signal`] when the kernel refuses.
    pub fn open(&self) -> Result<PidFd, Error> {
        if self.pid <= 0 {
            return Err(Error::NotRunning);
        }
        let pidfd = match PidFd::open(self.pid) {
            Ok(pidfd) => pidfd,
            Err(Errno::ESRCH) => return Err(Error::NotRunning),
            Err(source) => return Err(Error::Signal { pid: self.pid, source }),
        };
        if self.is_alive()? { Ok(pidfd) } else { Err(Error::NotRunning) }
    }

    /// Sends it a signal; the descriptor serves to wait for its end.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has ended; [`Error::Signal`] when the kernel refuses.
    pub fn signal(&self, signal: i32) -> Result<PidFd, Error> {
        let pidfd = self.open()?;
        match pidfd.send_signal(signal) {
            Ok(()) => Ok(pidfd),
            Err(Errno::ESRCH) => Err(Error::NotRunning),
            Err(source) => Err(Error::Signal { pid: self.pid, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn stat_survives_hostile_names() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        for comm in ["cat", "a) S 1 2 (b", "", "pent:[init]", ")("] {
            let text = format!("77 ({comm}) {tail}\n");
            let stat = Stat::parse(text.as_bytes()).unwrap();
            assert_eq!((stat.comm.as_slice(), stat.state, stat.start_time), (comm.as_bytes(), b'S', 4242));
            assert_eq!(stat.threads, 17);
        }
        for text in ["", "77", "77 (cat", "77 (cat) S 1 2", ")("] {
            assert_eq!(Stat::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn another_process_with_the_same_id_is_not_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::identify(i32::try_from(child.id()).unwrap()).unwrap();
        let earlier = Process { start_time: process.start_time - 1, ..process };
        assert!(matches!(earlier.signal(libc::SIGKILL), Err(Error::NotRunning)));
        assert!(process.is_alive().unwrap());
        process.signal(libc::SIGKILL).unwrap().wait_end(std::time::Duration::from_secs(10)).unwrap();
        // Not reaped yet: a zombie is as good as gone.
        assert!(!process.is_alive().unwrap());
        assert!(matches!(process.signal(0), Err(Error::NotRunning)));
        child.wait().unwrap();
        assert!(matches!(Process::identify(process.pid), Err(Error::NotRunning)));
    }

    #[test]
    fn no_process_means_not_a_group() {
        // kill(2) takes 0 and -1 as groups; an unset pid must never get that far.
        for pid in [0, -1] {
            let nobody = Process { pid, start_time: 0 };
            assert!(matches!(nobody.signal(libc::SIGKILL), Err(Error::NotRunning)));
        }
    }
}
