//! Facts about the host that a plan depends on: probed once, then plain data, so that tests use fixtures.
#![forbid(unsafe_code)]

use crate::cgroup::{Layout, OwnCgroup};
use crate::sys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `plan::compile` may know of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// Effective uid of the runtime.
    pub euid: u32,
    /// Effective gid of the runtime.
    pub egid: u32,
    /// Effective capabilities of the runtime, as a mask.
    pub capabilities: u64,
    /// The number of the last capability the kernel knows.
    pub last_capability: u8,
    /// Whether the runtime itself runs in a user namespace that is not the initial one.
    pub in_user_namespace: bool,
    /// Whether the user namespace that the runtime runs in was made without the right to set groups (user_namespaces(7)).
    #[serde(default)]
    pub setgroups_denied: bool,
    /// How control groups are mounted.
    pub cgroup: Layout,
    /// The cgroups of the runtime itself.
    pub own_cgroup: OwnCgroup,
    /// Whether a procfs can be made for another pid namespace (`pidns`, Linux 6.17).
    pub procfs_pidns: bool,
    /// The cgroup of the caller's own systemd, where that makes cgroups (`--systemd-cgroup` without root's rights).
    #[serde(default)]
    pub user_manager: Option<String>,
    /// Resource limits of the runtime itself, soft and hard, by the names of config.json. Known only where a profile is used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// Whether the kernel is known to have no time namespaces; likewise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_time_namespace: bool,
    /// Whether the caller of a notified call can be kept from being interrupted (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19).
    #[serde(default)]
    pub seccomp_wait_killable: bool,
    /// The ABI of Landlock, 0 where there is none.
    #[serde(default)]
    pub landlock_abi: u32,
    /// Whether the kernel has no /proc/kcore (`CONFIG_PROC_KCORE`), to which /dev/core would be a link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_kcore: bool,
    /// Whether AppArmor is enabled.
    pub apparmor: bool,
    /// Whether SELinux is enabled.
    pub selinux: bool,
    /// The runtime's own binary.
    pub binary: Binary,
}

/// The file the runtime runs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binary {
    /// Where it is; `None` when it was replaced or removed since.
    pub path: Option<PathBuf>,
    /// Its owner.
    pub uid: u32,
    /// Whether group or others may write to it.
    pub shared_write: bool,
    /// Whether it is on a read-only mount.
    pub readonly: bool,
    /// Whether the kernel can switch a process's exe (`CONFIG_CHECKPOINT_RESTORE`).
    pub switchable: bool,
}

/// What could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cgroup mounts or memberships.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// Something in /proc.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// Which file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl crate::report::Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Cgroup(error) => error.hint(),
            Self::Proc { .. } => Some("pent needs /proc mounted".into()),
        }
    }
}

const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_SYS_RESOURCE: u64 = 1 << 24;

impl Host {
    /// Finds out about this host, with few system calls. `need_cgroup_roots`: see [`Layout::probe`].
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn probe(need_cgroup_roots: bool) -> Result<Self, Error> {
        let proc = |path: &'static str| move |errno: nix::errno::Errno| Error::Proc { path, source: errno.into() };
        let own_cgroup = OwnCgroup::probe()?;
        let cgroup = Layout::probe(&own_cgroup, need_cgroup_roots)?;
        let uid_map = sys::fd::read_file(c"/proc/self/uid_map").map_err(proc("/proc/self/uid_map"))?;
        Ok(Self {
            euid: nix::unistd::geteuid().as_raw(),
            egid: nix::unistd::getegid().as_raw(),
            capabilities: sys::cred::caps().map_err(proc("capabilities"))?.effective,
            last_capability: last_capability(),
            in_user_namespace: !is_initial_user_namespace(&uid_map),
            setgroups_denied: !is_initial_user_namespace(&uid_map)
                && sys::fd::read_file(c"/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny")),
            cgroup,
            own_cgroup,
            user_manager: None,
            rlimits: BTreeMap::new(),
            lacks_time_namespace: false,
            procfs_pidns: kernel_is_at_least(6, 17),
            seccomp_wait_killable: kernel_is_at_least(5, 19),
            landlock_abi: sys::landlock::abi().unwrap_or(0),
            lacks_kcore: std::fs::symlink_metadata("/proc/kcore").is_err(),
            apparmor: sys::fd::read_file(c"/sys/module/apparmor/parameters/enabled").is_ok_and(|s| s.starts_with(b"Y")),
            selinux: std::fs::metadata("/sys/fs/selinux/status").is_ok(),
            binary: Binary::probe().map_err(proc("/proc/self/exe"))?,
        })
    }

    /// Finds out what only profiles depend on.
    ///
    /// # Errors
    /// When the kernel does not tell its limits.
    pub fn probe_limits(&mut self) -> Result<(), Error> {
        for limit in crate::profile::Rlimit::ALL {
            let (number, _) = crate::plan::rlimit(limit.typ());
            let limits = sys::cred::rlimit(number)
                .map_err(|errno| Error::Proc { path: "/proc/self/limits", source: errno.into() })?;
            self.rlimits.insert(limit.typ().to_string(), limits);
        }
        self.lacks_time_namespace = std::fs::symlink_metadata("/proc/self/ns/time").is_err();
        Ok(())
    }

    /// Whether the runtime may make mounts in the namespace it is in.
    pub fn is_privileged(&self) -> bool {
        self.capabilities & CAP_SYS_ADMIN != 0
    }

    /// Whether hard limits of processes can be raised.
    pub fn may_raise_limits(&self) -> bool {
        self.capabilities & CAP_SYS_RESOURCE != 0 && !self.in_user_namespace
    }

    /// Whether device nodes can be made (never in a user namespace other than the initial one).
    pub fn can_make_devices(&self) -> bool {
        self.is_privileged() && !self.in_user_namespace
    }
}

/// By the numbers of uname(2).
fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let Ok(name) = nix::sys::utsname::uname() else { return false };
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|digits| digits.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

impl Binary {
    fn probe() -> nix::Result<Self> {
        let st = nix::sys::stat::stat("/proc/self/exe")?;
        let readonly =
            nix::sys::statvfs::statvfs("/proc/self/exe")?.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
        let path = std::fs::read_link("/proc/self/exe").ok().filter(|path| {
            nix::sys::stat::stat(path.as_path()).is_ok_and(|at| at.st_ino == st.st_ino && at.st_dev == st.st_dev)
        });
        Ok(Self {
            path,
            uid: st.st_uid,
            shared_write: st.st_mode & 0o022 != 0,
            readonly,
            switchable: sys::exe::can_switch(),
        })
    }
}

/// The identity mapping of everything is the initial namespace's (user_namespaces(7)).
fn is_initial_user_namespace(uid_map: &[u8]) -> bool {
    let text = String::from_utf8_lossy(uid_map);
    text.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The bounding set answers for every capability the kernel knows and fails for the next.
fn last_capability() -> u8 {
    const NEWEST_KNOWN: u8 = 40;
    let known = |cap: u8| sys::cred::in_bounding(cap).is_ok();
    let mut last = NEWEST_KNOWN;
    while last < 63 && known(last + 1) {
        last += 1;
    }
    while last > 0 && !known(last) {
        last -= 1;
    }
    last
}

#[cfg(any(test, fuzzing))]
impl Host {
    /// Root on a machine with cgroup version 2, for what does not depend on a real one.
    pub(crate) fn of_tests() -> Self {
        Self {
            euid: 0,
            egid: 0,
            capabilities: (1 << 41) - 1,
            last_capability: 40,
            in_user_namespace: false,
            setgroups_denied: false,
            cgroup: Layout::V2 { mount: "/sys/fs/cgroup".into() },
            own_cgroup: OwnCgroup::parse("0::/\n"),
            user_manager: None,
            rlimits: BTreeMap::new(),
            lacks_time_namespace: false,
            landlock_abi: 6,
            seccomp_wait_killable: true,
            lacks_kcore: false,
            apparmor: false,
            selinux: false,
            procfs_pidns: true,
            binary: Binary { path: None, uid: 0, shared_write: false, readonly: true, switchable: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_user_namespace_maps_everything_to_itself() {
        assert!(is_initial_user_namespace(b"         0          0 4294967295\n"));
        assert!(!is_initial_user_namespace(b"         0       1000          1\n"));
        assert!(!is_initial_user_namespace(b"0 0 65536\n65536 1000000 1\n"));
    }

    #[test]
    fn the_kernel_knows_the_oldest_capabilities() {
        assert!((37..=63).contains(&last_capability()));
    }
}
