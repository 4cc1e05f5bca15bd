//! What is found out about a host: plain data, so that tests use fixtures.
#![forbid(unsafe_code)]

use crate::cgroup::Layout;
use crate::host::{self, Host};
use crate::plan::op::Namespace;
use crate::sys::clone::{self, Fork};
use crate::sys::mount::{self, MountAttr};
use crate::sys::{fd, probe::Call};
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// Everything that `pent doctor` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What plans depend on.
    pub host: Host,
    /// As uname(2) has it.
    pub release: String,
    /// The distribution, `ID` and `ID_LIKE` of os-release(5).
    pub distribution: Vec<String>,
    /// The caller's name, or its uid.
    pub user: String,
    /// Where pent is.
    pub program: PathBuf,
    /// System calls that are not there.
    pub missing_calls: Vec<String>,
    /// Types of namespaces that are not there.
    pub missing_namespaces: Vec<String>,
    /// What came of making namespaces as a container has them.
    pub attempt: Attempt,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`.
    pub userns_clone: Option<bool>,
    /// `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restricts: Option<bool>,
    /// How many subordinate uids and gids the caller has (/etc/subuid, /etc/subgid).
    pub subordinate: (u64, u64),
    /// Whether newuidmap(1) and newgidmap(1) are in PATH.
    pub id_helpers: bool,
    /// Controllers of version 2 that the caller may give to a cgroup below its own; all that there are, for root.
    pub controllers: Vec<String>,
    /// Whether the caller can make cgroups where it is.
    pub cgroup_writable: bool,
    /// Whether the systemd of the caller's session answers.
    pub user_manager: bool,
    /// The actions of seccomp(2) that the kernel knows; `None` when it has no seccomp filters.
    pub seccomp: Option<Vec<String>>,
    /// Security modules that are active, in their order; empty when that cannot be read.
    pub modules: Vec<String>,
    /// Where criu(8) is.
    pub criu: Option<PathBuf>,
    /// Whether an ordinary user has a directory for state (`XDG_RUNTIME_DIR`).
    pub runtime_dir: bool,
}

/// What came of making namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attempt {
    /// All went well.
    Made,
    /// clone3(2) was refused; the error number.
    Clone(i32),
    /// They were made, but without the rights that should come with them.
    NoRights,
    /// No procfs could be made in them: the caller's own is covered in parts.
    NoProc,
}

const WITHOUT_RIGHTS: i32 = 1;
const WITHOUT_PROC: i32 = 2;

impl Facts {
    /// Looks, and tries what only an attempt tells: a process with namespaces of its own, which ends at once.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn probe() -> Result<Self, host::Error> {
        let host = Host::probe(true)?;
        let uname = nix::sys::utsname::uname();
        let text = |path: &str| std::fs::read_to_string(path).ok();
        let number = |path: &str| text(path).and_then(|text| text.trim().parse::<u64>().ok());
        let user = name_of(host.euid, &text("/etc/passwd").unwrap_or_default());
        let subordinate = |path: &str| ranges(&text(path).unwrap_or_default(), &user, host.euid);
        let os = text("/etc/os-release").or_else(|| text("/usr/lib/os-release")).unwrap_or_default();
        let (controllers, cgroup_writable) = delegation(&host);
        let root = host.euid == 0 && !host.in_user_namespace;
        Ok(Self {
            release: uname.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
            distribution: distribution(&os),
            program: std::env::current_exe().unwrap_or_default(),
            missing_calls: Call::ALL
                .iter()
                .filter(|(call, ..)| !call.is_known())
                .map(|(_, name, _)| (*name).into())
                .collect(),
            missing_namespaces: Namespace::ALL
                .iter()
                .map(|kind| kind.file())
                .filter(|file| std::fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_err())
                .map(str::to_owned)
                .collect(),
            attempt: attempt(!host.is_privileged()),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone").map(|on| on != 0),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").map(|on| on != 0),
            subordinate: (subordinate("/etc/subuid"), subordinate("/etc/subgid")),
            id_helpers: find("newuidmap").is_some() && find("newgidmap").is_some(),
            controllers,
            cgroup_writable,
            user_manager: !root && crate::cgroup::probe_user_manager().is_ok(),
            seccomp: text("/proc/sys/kernel/seccomp/actions_avail")
                .map(|text| text.split_whitespace().map(str::to_owned).collect()),
            modules: text("/sys/kernel/security/lsm")
                .map(|text| text.trim().split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            criu: find("criu"),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).is_dir()),
            user,
            host,
        })
    }
}

/// A process with the namespaces of a container. In it nothing allocates, as in a container's own child.
fn attempt(user: bool) -> Attempt {
    let kinds = [Namespace::Mount, Namespace::Pid, Namespace::Network, Namespace::Ipc, Namespace::Uts];
    let user = if user { Namespace::User.flag() } else { 0 };
    let flags = kinds.iter().fold(user, |all, kind| all | kind.flag());
    match clone::fork(flags, None) {
        Ok(Fork::Child) => clone::exit_group(use_namespaces()),
        Ok(Fork::Parent { pidfd, .. }) => match clone::wait(pidfd.as_fd()) {
            Ok(0) => Attempt::Made,
            Ok(WITHOUT_PROC) => Attempt::NoProc,
            _ => Attempt::NoRights,
        },
        Err(errno) => Attempt::Clone(errno as i32),
    }
}

fn use_namespaces() -> i32 {
    let private = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    let root = fd::open(fd::CWD, c"/", libc::O_PATH | libc::O_DIRECTORY);
    if root.and_then(|root| mount::set_attr(root.as_fd(), true, &private)).is_err() {
        return WITHOUT_RIGHTS;
    }
    let made = mount::fsopen(c"proc").and_then(|context| {
        mount::fsconfig_create(context.as_fd())?;
        mount::fsmount(context.as_fd(), 0)
    });
    if made.is_err() { WITHOUT_PROC } else { 0 }
}

/// Where the caller may make a cgroup of version 2, and with which controllers.
fn delegation(host: &Host) -> (Vec<String>, bool) {
    let mount = match &host.cgroup {
        Layout::V2 { mount } => mount.clone(),
        Layout::V1 { hierarchies, .. } => {
            let writable = hierarchies.first().is_some_and(|hierarchy| is_writable(&hierarchy.mount));
            return (Vec::new(), writable);
        }
        Layout::Absent => return (Vec::new(), false),
    };
    let root = host.is_privileged() && !host.in_user_namespace;
    let own = host.own_cgroup.unified.as_deref().unwrap_or("/").trim_start_matches('/');
    let dir = if root { mount } else { mount.join(own) };
    let text = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    (text.split_whitespace().map(str::to_owned).collect(), is_writable(&dir))
}

fn is_writable(dir: &Path) -> bool {
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD, dir, nix::unistd::AccessFlags::W_OK, nix::fcntl::AtFlags::AT_EACCESS)
        .is_ok()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Not in the PATH of an ordinary user on Debian.
    dirs.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.into_iter().map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn name_of(uid: u32, passwd: &str) -> String {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.get(2).is_some_and(|own| own.parse() == Ok(uid)));
    found.and_then(|fields| fields.first().map(|name| (*name).to_owned())).unwrap_or_else(|| uid.to_string())
}

/// The ids of a user's lines (subuid(5)): `NAME-OR-UID:FIRST:COUNT`.
pub(super) fn ranges(text: &str, user: &str, uid: u32) -> u64 {
    let uid = uid.to_string();
    let counts = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let count = fields.nth(1)?.trim().parse::<u64>().ok()?;
        (owner == user || owner == uid).then_some(count)
    });
    counts.sum()
}

/// `ID`, then what it is like.
pub(super) fn distribution(text: &str) -> Vec<String> {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
    };
    format!("{} {}", value("ID"), value("ID_LIKE")).split_whitespace().map(str::to_owned).collect()
}
