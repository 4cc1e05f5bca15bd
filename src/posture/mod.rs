//! Posture: what is enforced on a container's program now, layer by layer, in the kernel's own answers.
//!
//! The program is the container's first process, or the first child of pent's own init: what holds for that one is told beside it.
//!
//! Nothing in here is what was asked for: it is read from `/proc/PID` and the control files of the cgroup each time. The one
//! exception is [`Posture::landlock`], of which the kernel tells nothing; what create has applied, and verified, is kept for it.
#![forbid(unsafe_code)]

use crate::cgroup::Cgroup;
use crate::plan::op::Namespace;
use crate::spec::capability;
use crate::state::{AppliedLandlock, State};
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;

/// The annotation that carries it, as JSON without line breaks.
pub const ANNOTATION: &str = "run.pent.posture";

/// The version of this form.
pub const VERSION: u32 = 1;

/// What is enforced. Fields that the kernel would not tell are absent, and named in `unread`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Posture {
    /// [`VERSION`]. Fields may be added without another one.
    pub version: u32,
    /// The program's process id, as the process that asks sees it; absent when there is none, before it starts and after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Ids, no_new_privs, seccomp and capabilities of the program (`/proc/PID/status`).
    #[serde(flatten)]
    pub process: Process,
    /// The same of the process that looks after the program, pid 1 of the container, when that is pent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Process>,
    /// The rules that the process was restricted to before it executed the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock: Option<AppliedLandlock>,
    /// By type: `own`, or `shared` with the process that asks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<&'static str, Reach>,
    /// By mount point, the flags of the mount (`/proc/PID/mountinfo`, field 6).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, String>,
    /// Limits by control file; absent when the container has no cgroup of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<BTreeMap<String, String>>,
    /// The label of the security module (`/proc/PID/attr/current`), where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// Whose a namespace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Another one than that of the process that asks.
    Own,
    /// The same.
    Shared,
}

/// What `/proc/PID/status` tells (proc_pid_status(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Real, effective, saved and file-system uid, as the process that asks sees them.
    pub uid: Vec<u32>,
    /// The same of the group.
    pub gid: Vec<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether no program gets more rights than its caller.
    pub no_new_privs: Option<bool>,
    /// The mode and how many filters there are.
    pub seccomp: Option<Seccomp>,
    /// The five sets by name.
    pub capabilities: BTreeMap<&'static str, Vec<String>>,
}

/// The filters of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seccomp {
    /// `disabled`, `strict` or `filter`.
    pub mode: &'static str,
    /// How many filters are stacked (Linux 5.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<u32>,
}

impl Posture {
    /// Asks the kernel about a container's program; `None` when its first process has ended.
    #[must_use]
    pub fn probe(state: &State) -> Option<Self> {
        let first = open_process(state.init.pid).ok()?;
        let mut posture = Self { version: VERSION, landlock: state.landlock, ..Self::default() };
        if state.own_init {
            match read_in(&first, "status") {
                Ok(text) => posture.init = Some(parse_status(&text)),
                Err(error) => posture.unread.push(format!("status of init: {error}")),
            }
            match program_of(&first, state.init.pid) {
                Ok((pid, proc)) => posture.read(pid, &proc),
                Err(error) => posture.unread.push(format!("program: {error}")),
            }
        } else {
            posture.read(state.init.pid, &first);
        }
        if !state.cgroup.is_none() {
            posture.cgroup = Some(limits(&state.cgroup));
        }
        // The directory is of one process for ever, which may have been another one's all along.
        let is = crate::state::Process::identify(state.init.pid).ok()?;
        (is.start_time == state.init.start_time).then_some(posture)
    }

    fn read(&mut self, pid: i32, proc: &File) {
        self.pid = Some(pid);
        match read_in(proc, "status") {
            Ok(text) => self.process = parse_status(&text),
            Err(error) => self.unread.push(format!("status: {error}")),
        }
        match namespaces(proc) {
            Ok(namespaces) => self.namespaces = namespaces,
            Err(error) => self.unread.push(format!("ns: {error}")),
        }
        match read_in(proc, "mountinfo") {
            Ok(text) => self.mounts = parse_mounts(&text),
            Err(error) => self.unread.push(format!("mountinfo: {error}")),
        }
        // EINVAL without a security module that gives labels.
        self.label = read_in(proc, "attr/current").ok().map(|label| label.trim_end_matches(['\n', '\0']).to_owned());
    }

    /// As an annotation's value.
    #[must_use]
    pub fn compact(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn open_process(pid: i32) -> io::Result<File> {
    File::open(format!("/proc/{pid}"))
}

/// The program that an init of pent's looks after: its first child, since what it inherits comes later in the list, and it ends
/// when the program does (`/proc/PID/task/TID/children`, proc_tid_children(5)).
fn program_of(init: &File, pid: i32) -> io::Result<(i32, File)> {
    let first = || -> io::Result<i32> {
        let children = read_in(init, &format!("task/{pid}/children"))?;
        let child = children.split_ascii_whitespace().next().and_then(|child| child.parse().ok());
        child.ok_or_else(|| io::Error::other("it has not started, or has ended"))
    };
    let child = first()?;
    let proc = open_process(child)?;
    // Still the same: so it has not ended before the directory was opened, and its number is nobody else's.
    if first()? == child { Ok((child, proc)) } else { Err(io::Error::other("it has ended")) }
}

fn read_in(proc: &File, name: &str) -> io::Result<String> {
    let mut file = File::from(openat(proc, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(crate::spelling::spell(OsString::from_vec(bytes)))
}

fn namespaces(proc: &File) -> io::Result<BTreeMap<&'static str, Reach>> {
    let own = File::open("/proc/self")?;
    let mut all = BTreeMap::new();
    for kind in Namespace::ALL {
        let name = format!("ns/{}", kind.file());
        let link = |of: &File| readlinkat(of.as_fd(), name.as_str());
        match (link(proc), link(&own)) {
            (Ok(its), Ok(ours)) => {
                all.insert(kind.file(), if its == ours { Reach::Shared } else { Reach::Own });
            }
            // A kernel without the type.
            (_, Err(nix::errno::Errno::ENOENT)) => {}
            (Err(errno), _) | (_, Err(errno)) => return Err(errno.into()),
        }
    }
    Ok(all)
}

/// The files that limit, of version 2 and version 1.
const LIMITS: [(&str, &[&str]); 4] = [
    ("memory", &["memory.max", "memory.swap.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
    ("pids", &["pids.max"]),
    ("cpu", &["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
    ("cpuset", &["cpuset.cpus"]),
];

fn limits(cgroup: &Cgroup) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (controller, files) in LIMITS {
        let Some(place) = cgroup.place(controller) else { continue };
        let dir = place.mount.join(&place.path);
        for file in files {
            let Ok(value) = std::fs::read_to_string(dir.join(file)) else { continue };
            let value = value.trim_end();
            if !value.is_empty() {
                all.insert((*file).to_owned(), value.to_owned());
            }
        }
    }
    all
}

fn parse_status(text: &str) -> Process {
    let mut process = Process::default();
    let numbers = |value: &str| value.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u32>>();
    let (mut mode, mut filters) = (None, None);
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let set = match key {
            "Uid" => {
                process.uid = numbers(value);
                continue;
            }
            "Gid" => {
                process.gid = numbers(value);
                continue;
            }
            "Groups" => {
                process.groups = numbers(value);
                continue;
            }
            "NoNewPrivs" => {
                process.no_new_privs = Some(value == "1");
                continue;
            }
            "Seccomp" => {
                mode = match value {
                    "0" => Some("disabled"),
                    "1" => Some("strict"),
                    "2" => Some("filter"),
                    _ => None,
                };
                continue;
            }
            "Seccomp_filters" => {
                filters = value.parse().ok();
                continue;
            }
            "CapInh" => "inheritable",
            "CapPrm" => "permitted",
            "CapEff" => "effective",
            "CapBnd" => "bounding",
            "CapAmb" => "ambient",
            _ => continue,
        };
        if let Ok(mask) = u64::from_str_radix(value, 16) {
            process.capabilities.insert(set, capability::names(mask));
        }
    }
    process.seccomp = mode.map(|mode| Seccomp { mode, filters });
    process
}

/// What is on top at each place: later lines cover earlier ones.
fn parse_mounts(text: &str) -> BTreeMap<String, String> {
    let mut mounts = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(' ').skip(4);
        if let (Some(place), Some(flags)) = (fields.next(), fields.next()) {
            mounts.insert(unescaped(place), flags.to_owned());
        }
    }
    mounts
}

/// Space, tab, newline and backslash are octal numbers in mountinfo.
fn unescaped(place: &str) -> String {
    let mut out = Vec::new();
    let mut rest = place.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| byte == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    // What is no text was spelled when it was read.
    crate::spelling::readable(&String::from_utf8_lossy(&out), |_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read_by_its_keys() {
        let status = parse_status(
            "Name:\tx: y\nUid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nGroups:\t7 8 \nCapInh:\t0000000000000000\nCapEff:\t0000000000000401\n\
             NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n",
        );
        assert_eq!((status.uid, status.gid, status.groups), (vec![1, 2, 3, 4], vec![5; 4], vec![7, 8]));
        assert_eq!(status.no_new_privs, Some(true));
        assert_eq!(status.seccomp, Some(Seccomp { mode: "filter", filters: Some(3) }));
        assert_eq!(status.capabilities["effective"], ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        assert_eq!(status.capabilities["inheritable"], [""; 0]);
        assert!(!status.capabilities.contains_key("bounding"), "what was not told is absent");
        assert_eq!(parse_status("").no_new_privs, None);
    }

    #[test]
    fn the_mount_on_top_counts() {
        let mounts = parse_mounts(
            "20 1 0:1 / / rw,relatime - ext4 x rw\n21 20 0:2 / /a\\040b rw,nosuid master:1 - tmpfs t rw\n\
             22 20 0:1 / / ro,nodev - ext4 x rw\nbroken\n",
        );
        assert_eq!(mounts["/"], "ro,nodev");
        assert_eq!(mounts["/a b"], "rw,nosuid");
        assert_eq!(unescaped("\\134\\9x\\"), "\\\\9x\\");
    }
}
