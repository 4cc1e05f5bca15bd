//! News of a container that runs out of memory.
#![forbid(unsafe_code)]

use super::dir::{Place, is_gone};
use super::{Cgroup, Error};
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

impl Cgroup {
    /// A descriptor that tells when the container runs out of memory: for `events`.
    ///
    /// # Errors
    /// [`Error::None`] when nobody accounts its memory; otherwise when the files cannot be opened.
    pub fn oom_watch(&self) -> Result<OomWatch<'_>, Error> {
        let place = self.place("memory").ok_or(Error::None)?;
        // Without the controller nobody accounts memory.
        let open = |file: &str| match place.open(file, OFlag::O_RDONLY) {
            Err(error) if is_gone(&error) => Err(Error::None),
            result => result.map_err(|source| Error::Read { path: place.directory().join(file), source }),
        };
        if place.is_v2() {
            let file = open("memory.events")?;
            return Ok(OomWatch { cgroup: self, source: Source::Events(file), last: self.oom_kill_count()? });
        }
        let control = open("memory.oom_control")?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_value_and_flags(0, flags).map_err(|errno| Error::Read {
            path: place.directory().join("cgroup.event_control"),
            source: io::Error::from(errno),
        })?;
        place.set("cgroup.event_control", &format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd()))?;
        Ok(OomWatch { cgroup: self, source: Source::Counter(eventfd), last: 0 })
    }
}

/// Tells when a container runs out of memory. [`AsFd`] for poll(2): wait for `POLLPRI` or `POLLIN` (version 2 gives the
/// first, version 1 the second), then ask [`OomWatch::occurred`].
#[derive(Debug)]
pub struct OomWatch<'a> {
    cgroup: &'a Cgroup,
    source: Source,
    last: u64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events`, which the kernel marks when it changes.
    Events(File),
    /// An eventfd that version 1 counts up, and once more when the cgroup is removed.
    Counter(EventFd),
}

impl OomWatch<'_> {
    /// Whether the OOM killer was at work since the last question; nothing when the cgroup is gone.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn occurred(&mut self) -> Result<Option<bool>, Error> {
        let path = || self.cgroup.place("memory").map(Place::directory).unwrap_or_default();
        // Version 1 counts once more when the cgroup is removed.
        match self.cgroup.place("memory") {
            Some(place) if place.exists()? => {}
            _ => return Ok(None),
        }
        match &self.source {
            Source::Events(file) => {
                // poll(2) reports a change only after the file was read from its beginning.
                let mut text = [0_u8; 512];
                match std::os::unix::fs::FileExt::read_at(file, &mut text, 0) {
                    Err(error) if is_gone(&error) => return Ok(None),
                    Err(source) => return Err(Error::Read { path: path(), source }),
                    Ok(_) => {}
                }
                let count = self.cgroup.oom_kill_count()?;
                let more = count > self.last;
                self.last = count;
                Ok(Some(more))
            }
            Source::Counter(eventfd) => match eventfd.read() {
                Ok(count) => Ok(Some(count > 0)),
                Err(nix::errno::Errno::EAGAIN) => Ok(Some(false)),
                Err(errno) => Err(Error::Read { path: path(), source: errno.into() }),
            },
        }
    }
}

impl AsFd for OomWatch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Events(file) => file.as_fd(),
            Source::Counter(eventfd) => eventfd.as_fd(),
        }
    }
}
