//! What is enforced beyond config.json: plain data that a profile, a sandbox or the command line makes and `compile` turns
//! into operations. The default is nothing beyond config.json, and costs nothing.
#![forbid(unsafe_code)]

use super::op::Namespace;
use super::text::Text;
use crate::seccomp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Everything that a container is held to beyond its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hardening {
    /// File system, network and scope rules of landlock(7), from the plan's own mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock: Option<Landlock>,
    /// A second filter: what it denies is denied, else the container's own filter decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<seccomp::Program>,
    /// What must be in force before the program starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Requirement>,
    /// Bind mounts keep the flags of their source that config.json does not name: what adds a flag must not cost another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_mount_flags: bool,
}

impl Hardening {
    /// Whether nothing is asked for beyond config.json.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rules of landlock(7). Writing is allowed where the plan's mounts are writable, reading everywhere in the container's own tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Landlock {
    /// The ABI that the kernel must have; `None`: as much as it has, with a warning that names what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_abi: Option<u32>,
    /// Files and directories, absolute in the container, from which programs may be executed; `None`: wherever the mounts allow it.
    /// What is not there when the container is made is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute: Option<Vec<Text>>,
    /// The only TCP ports to bind; `None`: any (ABI 4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_tcp: Option<Vec<u16>>,
    /// The only TCP ports to connect to; `None`: any (ABI 4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_tcp: Option<Vec<u16>>,
    /// The only named UNIX sockets of processes outside to connect to, absolute in the container; `None`: any (ABI 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<Text>>,
    /// No abstract UNIX socket of a process outside can be connected to (ABI 6).
    pub scope_abstract: bool,
    /// No signal reaches a process outside (ABI 6).
    pub scope_signals: bool,
}

/// Something that must be in force, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What.
    pub need: Need,
    /// Where it is asked for: `--require`, or a profile and its key.
    pub from: String,
}

/// What can be required, in the words of `--require`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `landlock` or `landlock>=N`: Landlock rules, by at least this ABI of the kernel.
    Landlock(u32),
    /// `seccomp`: a filter that denies something.
    Seccomp,
    /// `nnp`: no_new_privs.
    NoNewPrivs,
    /// `nonroot`: the program's uid in the container is not 0.
    NonRoot,
    /// `no-caps`: all five capability sets are empty.
    NoCapabilities,
    /// `readonly-root`: the root file system is read-only.
    ReadonlyRoot,
    /// `cgroup`: a control group of its own.
    Cgroup,
    /// `memory`: a limit on memory.
    Memory,
    /// `pids`: a limit on the number of processes.
    Pids,
    /// `userns`, `pidns`, `netns`, `ipcns`, `utsns`, `cgroupns`, `mntns`, `timens`: not the runtime's own namespace.
    Namespace(Namespace),
    /// `apparmor`: an AppArmor profile other than `unconfined`.
    Apparmor,
    /// `selinux`: an SELinux label.
    Selinux,
}

impl Need {
    const PLAIN: [(&'static str, Self); 19] = [
        ("landlock", Self::Landlock(1)),
        ("seccomp", Self::Seccomp),
        ("nnp", Self::NoNewPrivs),
        ("nonroot", Self::NonRoot),
        ("no-caps", Self::NoCapabilities),
        ("readonly-root", Self::ReadonlyRoot),
        ("cgroup", Self::Cgroup),
        ("memory", Self::Memory),
        ("pids", Self::Pids),
        ("userns", Self::Namespace(Namespace::User)),
        ("pidns", Self::Namespace(Namespace::Pid)),
        ("netns", Self::Namespace(Namespace::Network)),
        ("ipcns", Self::Namespace(Namespace::Ipc)),
        ("utsns", Self::Namespace(Namespace::Uts)),
        ("cgroupns", Self::Namespace(Namespace::Cgroup)),
        ("mntns", Self::Namespace(Namespace::Mount)),
        ("timens", Self::Namespace(Namespace::Time)),
        ("apparmor", Self::Apparmor),
        ("selinux", Self::Selinux),
    ];
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Landlock(abi @ 2..) = self {
            return write!(f, "landlock>={abi}");
        }
        let name = Self::PLAIN.iter().find(|(_, need)| need == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or("landlock"))
    }
}

/// What cannot be required.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownNeed {
    /// There is no such word.
    #[error("unknown requirement {word:?}: {}", known())]
    Word {
        /// What was given.
        word: String,
    },
    /// `landlock>=` without a number.
    #[error("{abi:?} is no Landlock ABI, a number from 1 on")]
    Abi {
        /// What was given.
        abi: String,
    },
}

fn known() -> String {
    let words: Vec<_> = Need::PLAIN.iter().map(|(name, _)| *name).collect();
    format!("one of {}, landlock>=ABI", words.join(", "))
}

impl FromStr for Need {
    type Err = UnknownNeed;

    fn from_str(word: &str) -> Result<Self, UnknownNeed> {
        if let Some(abi) = word.strip_prefix("landlock>=") {
            let number = abi.parse().ok().filter(|number| *number > 0);
            return number.map(Self::Landlock).ok_or_else(|| UnknownNeed::Abi { abi: abi.to_owned() });
        }
        let found = Self::PLAIN.iter().find(|(name, _)| *name == word).map(|(_, need)| *need);
        found.ok_or_else(|| UnknownNeed::Word { word: word.to_owned() })
    }
}

impl Serialize for Need {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Need {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_as_they_are_printed() {
        for (word, need) in Need::PLAIN {
            assert_eq!(word.parse(), Ok(need));
            assert_eq!(need.to_string(), word);
        }
        assert_eq!("landlock>=6".parse(), Ok(Need::Landlock(6)));
        assert_eq!(Need::Landlock(6).to_string(), "landlock>=6");
    }

    #[test]
    fn what_cannot_be_required_is_named() {
        for bad in ["", "Seccomp", "landlock>=", "landlock>=0", "landlock>=-1", "landlock>6", "userns "] {
            let error = bad.parse::<Need>().expect_err(bad).to_string();
            assert!(error.contains("landlock>=ABI") || error.contains("no Landlock ABI"), "{error}");
        }
    }

    #[test]
    fn a_hardening_survives_its_file() {
        let all = Hardening {
            landlock: Some(Landlock {
                required_abi: Some(6),
                execute: Some(vec![Text::new("/usr/bin")]),
                bind_tcp: Some(vec![8080]),
                connect_tcp: Some(Vec::new()),
                sockets: Some(vec![Text::new("/run/bus")]),
                scope_abstract: true,
                scope_signals: true,
            }),
            seccomp: seccomp::compile(&oci_spec::runtime::LinuxSeccomp::default()).ok(),
            require: vec![Requirement { need: Need::Landlock(6), from: "--require".into() }],
            keep_mount_flags: true,
        };
        assert!(all.seccomp.is_some());
        let text = serde_json::to_string(&all).expect("JSON");
        assert_eq!(serde_json::from_str::<Hardening>(&text).expect(&text), all);
        assert_eq!(serde_json::to_string(&Hardening::default()).expect("JSON"), "{}");
        assert!(Hardening::default().is_empty() && !all.is_empty());
    }
}
