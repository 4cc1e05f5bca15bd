//! What was asked for, with every path of the host resolved: plain data.
#![forbid(unsafe_code)]

use super::net::Destination;
use super::rootfs::Rootfs;
use crate::plan::op::Identity;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A sandbox that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// `--image`: what it runs in; nothing is the host's own root.
    pub rootfs: Option<Rootfs>,
    /// `--rw` and `--ro`, in the order given.
    pub grants: Vec<Grant>,
    /// `--device`.
    pub devices: Vec<Device>,
    /// Bytes that /tmp holds, and whether programs in it may be executed, where the profile has room for more than usual.
    pub room: Option<(u64, bool)>,
    /// Which files and directories the paths of the host led to when they were looked at.
    pub identities: BTreeMap<PathBuf, Identity>,
    /// `--tmpfs`, in the order given.
    pub tmpfs: Vec<Tmpfs>,
    /// `--home`.
    pub home: Home,
    /// `--env`: a value, or nothing for the caller's.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// `--workdir`.
    pub workdir: Option<PathBuf>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--net`.
    pub network: Network,
    /// `-m`, `--cpus`, `--pids`, `--timeout`.
    pub limits: Limits,
    /// `--report`: what it would connect to is to be told by name, even if nothing is allowed.
    pub asks: bool,
}

impl Request {
    /// Whether there is a proxy.
    #[must_use]
    pub fn has_proxy(&self) -> bool {
        matches!(&self.network, Network::Own(places) if self.asks || !places.is_empty())
    }
}

/// A file or directory of the host that the program gets at, as it is or to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// On the host, without links.
    pub source: PathBuf,
    /// In the sandbox.
    pub target: PathBuf,
    /// Whether there is something at `target` to mount on.
    pub target_exists: bool,
    /// `--rw`.
    pub writable: bool,
    /// A directory.
    pub directory: bool,
}

/// A device of the host that the program may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Without links, on the host as in the sandbox.
    pub path: PathBuf,
    /// Its major number; it is a character device.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

/// An empty directory in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// In the sandbox.
    pub target: PathBuf,
    /// Whether there is a directory at `target` to mount on.
    pub target_exists: bool,
    /// Bytes it may hold.
    pub size: Option<u64>,
    /// Its mode.
    pub mode: Option<u32>,
    /// Whether programs in it may be executed.
    pub exec: bool,
}

impl Tmpfs {
    /// What was asked for of the same directories, together: of two numbers the later one counts.
    #[must_use]
    pub fn merged(asked: Vec<Self>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for more in asked {
            match all.iter_mut().find(|known| known.target == more.target) {
                Some(known) => {
                    known.size = more.size.or(known.size);
                    known.mode = more.mode.or(known.mode);
                    known.exec |= more.exec;
                }
                None => all.push(more),
            }
        }
        all
    }
}

/// `--home`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Home {
    /// As it is, read-only, without credentials.
    #[default]
    Readonly,
    /// An empty directory in memory.
    Tmpfs,
    /// An empty directory that stays empty.
    Absent,
}

/// `--net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Nothing but the sandbox's own `lo`, and these places through a proxy.
    Own(Vec<Destination>),
    /// The host's.
    Host,
}

impl Default for Network {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

/// What the program may use up. Nothing: what the profile says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors, in thousandths.
    pub millicpus: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// How long it may run.
    pub timeout: Option<Duration>,
}

impl Limits {
    /// What was asked for, and what a profile says where nothing was.
    #[must_use]
    pub fn or(self, profile: &crate::profile::Cgroup) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of processors, above 0 and small"
        )]
        let millicpus = |cpus: f64| (cpus * 1000.0).round() as u64;
        Self {
            memory: self.memory.or(profile.memory.map(|size| size.0)),
            millicpus: self.millicpus.or(profile.cpus.map(millicpus)),
            pids: self.pids.or(profile.pids.and_then(|pids| u32::try_from(pids).ok())),
            timeout: self.timeout,
        }
    }
}
