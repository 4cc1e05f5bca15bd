//! What is kept on disk about a container, and what it says about the processes of now.
//!
//! `ROOT/ID/` holds `state.json` (written once, by rename), `config.json` (the configuration, verbatim), `start` (the gate
//! socket, there until start) and, while create is under way, `intent.json`. The directory is made by mkdir, so that two
//! creates cannot both win, and locked by flock, which a killed command cannot leave behind. What is running is never
//! written down: it is read from /proc each time.
#![forbid(unsafe_code)]

mod dir;
mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod process;
mod root;
#[cfg(test)]
mod tests;

pub use dir::Dir;
pub use foreign::Maker;
pub use process::{INIT_COMM, Process, SETUP_COMM, has_executed};
pub use root::{Root, SYSTEM_ROOT, fallback_root, is_in_user_namespace};

use crate::cgroup::{self, Cgroup};
use crate::report::Hint;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A file name's.
const LONGEST_ID: usize = 255;

/// Why something about a container's state cannot be done. The texts are what callers match on.
#[derive(Debug, Error)]
pub enum Error {
    /// An id that cannot be a file name, or could be more than one.
    #[error("invalid container ID format: {id:?}")]
    InvalidId {
        /// What was given.
        id: String,
    },
    /// create of an id that is taken.
    #[error("container with given ID already exists")]
    Exists {
        /// Its directory.
        path: PathBuf,
    },
    /// There is no such container.
    #[error("container does not exist")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// What needs a living first process.
    #[error("container not running")]
    NotRunning,
    /// Another command holds the container.
    #[error("container is locked by another command")]
    Busy,
    /// A state directory that somebody else made or can write to.
    #[error("state directory {}: {why}, so that what is in it is not believed", path.display())]
    Planted {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A state file this program did not write.
    #[error("cannot read {}: {source}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A directory that another program has made.
    #[error("container {} is {maker}'s: pent has not written {} and does not touch it",
        path.file_name().unwrap_or_default().display(), path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Who has made it.
        maker: Maker,
    },
    /// The kernel refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// A verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The freezer cannot be read.
    #[error(transparent)]
    Freezer(#[from] cgroup::Error),
    /// The kernel refused to open or signal a process.
    #[error("cannot signal process {pid}: {source}")]
    Signal {
        /// The process.
        pid: i32,
        /// The cause.
        source: nix::errno::Errno,
    },
}

impl Error {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidId { id } if id.len() > LONGEST_ID => Some(format!("use at most {LONGEST_ID} characters")),
            Self::InvalidId { .. } => Some("use letters, digits, `_`, `+`, `-` and `.`".into()),
            Self::Exists { path } => {
                Some(format!("its state is in {}; choose another id or delete it", path.display()))
            }
            Self::Missing { path } => {
                let root = path.parent().unwrap_or(path);
                Some(format!("looked in {}; was it created with another --root?", root.display()))
            }
            Self::Planted { .. } => {
                Some("name another that is yours and that nobody else can write to, with `pent --root DIR` or $XDG_RUNTIME_DIR, or have this one removed".into())
            }
            Self::Corrupt { path, .. } => {
                let id = path.parent().and_then(Path::file_name).unwrap_or_default();
                Some(format!("`pent delete --force {}` removes what is left", id.display()))
            }
            Self::Foreign { path, maker } => {
                let (root, id) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
                Some(match maker.program() {
                    Some(program) => format!("`{program} --root {} state {}` knows it", root.display(), id.display()),
                    None => format!("look at what is in {}, and at who uses {}", path.display(), root.display()),
                })
            }
            Self::Freezer(error) => error.hint(),
            Self::NotRunning | Self::Busy | Self::Io { .. } | Self::Signal { .. } => None,
        }
    }
}

/// Checks that an id is `[A-Za-z0-9_+.-]+`, at most a file name long, and not `.` or `..`.
///
/// # Errors
///
/// [`Error::InvalidId`].
pub fn check_id(id: &str) -> Result<(), Error> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
    if (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(valid) && !matches!(id, "." | "..") {
        return Ok(());
    }
    Err(Error::InvalidId { id: id.to_owned() })
}

/// The statuses of the runtime specification (runtime.md, State), and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// create is under way.
    Creating,
    /// Made, waiting for start.
    Created,
    /// Started, not ended.
    Running,
    /// Frozen by its cgroup.
    Paused,
    /// The first process has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// `state.json`: what create decided and later commands cannot find out by themselves.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct State {
    /// Version of the runtime specification that the state follows: [`crate::cli::SPEC_VERSION`].
    pub oci_version: String,
    /// The `ociVersion` of the configuration, which some limits depend on.
    pub config_version: String,
    /// The container's id.
    pub id: String,
    /// The container's first process.
    pub init: Process,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem on the host.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// The configuration's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user id that created it.
    pub owner: u32,
    /// The container's cgroup; absent when it has none of its own.
    #[serde(default, skip_serializing_if = "Cgroup::is_none")]
    pub cgroup: Cgroup,
    /// The configuration's `linux.namespaces`.
    #[serde(default)]
    pub namespaces: Vec<LinuxNamespace>,
    /// Whether the first process has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Whether the configuration has poststop hooks: delete reads it again only then.
    #[serde(default)]
    pub poststop: bool,
    /// Whether it has groups in resctrl, which are told in a file of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rdt: bool,
    /// Whether it is held to more than its configuration, which is told in a file of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hardened: bool,
    /// Whether its first process is pent's, which looks after the program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_init: bool,
    /// Whether names in its configuration are spelled ([`crate::spelling`]): it is one of pent's own, of a sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spelled: bool,
    /// The names of the profiles that it is held to, which are told in a file of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The Landlock rules of its first process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<AppliedLandlock>,
}

/// What the kernel does not tell of a process that restricts itself (landlock(7)), so that it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLandlock {
    /// The ABI that the rules are written for.
    pub abi: u32,
    /// How many the kernel has taken.
    pub rules: u32,
}

impl State {
    /// What the container is doing now.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when /proc cannot be read; [`Error::Freezer`] when the cgroup cannot.
    pub fn status(&self, dir: &Dir) -> Result<Status, Error> {
        let Some(stat) = self.init.stat()? else { return Ok(Status::Stopped) };
        if self.cgroup.is_frozen()? {
            return Ok(Status::Paused);
        }
        // A started program may call itself anything, but its gate is gone; a gate without the name is one that the
        // interrupted start of a running container left.
        Ok(match stat.comm.as_slice() {
            comm if comm == INIT_COMM.to_bytes() && dir.has_gate() => Status::Created,
            // `run` makes no gate.
            comm if comm == SETUP_COMM.to_bytes() && (dir.has_gate() || self.init.is_runtime()) => Status::Creating,
            _ => Status::Running,
        })
    }

    /// Whether the end of the first process is the end of all: it is so in a pid namespace of the container's own
    /// (pid_namespaces(7)), and not in one that it shares.
    #[must_use]
    pub fn has_own_pid_namespace(&self) -> bool {
        self.namespaces.iter().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Pid
                && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
        })
    }

    /// The state as the specification has it, for `state`, `list` and hooks.
    #[must_use]
    pub fn report(&self, status: Status) -> Report<'_> {
        Report {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.init.pid },
            status,
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner: owner_name(self.owner),
        }
    }
}

/// What `state` prints: the specification's fields and runc's additions (rootfs, created, owner), in runc's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    /// Version of the runtime specification.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// The first process, 0 when it has ended.
    pub pid: i32,
    /// What it is doing.
    pub status: Status,
    /// The bundle.
    pub bundle: &'a Path,
    /// The root filesystem.
    pub rootfs: &'a Path,
    /// When it was created.
    pub created: &'a str,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// The name of the user that created it.
    pub owner: String,
}

/// The host's name for a user id, `#UID` when /etc/passwd has none. No NSS: a static binary loads no code.
fn owner_name(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find_name(&passwd, uid).map_or_else(|| format!("#{uid}"), str::to_owned)
}

fn find_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}
