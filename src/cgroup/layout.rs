//! Where the host keeps its control groups, and where in them this process is.
#![forbid(unsafe_code)]

use super::Error;
use nix::sys::statfs::{self, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directory that every distribution mounts its cgroup filesystems at or below.
const ROOT: &str = "/sys/fs/cgroup";

/// How the host mounts its control groups. Plain data: tests use fixtures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Layout {
    /// No cgroup filesystem is mounted.
    Absent,
    /// One version 2 tree with every controller.
    V2 {
        /// Where it is mounted, usually `/sys/fs/cgroup`.
        mount: PathBuf,
    },
    /// Version 1 hierarchies; *hybrid* when there is a version 2 tree beside them.
    V1 {
        /// The version 1 hierarchies, in the order of their mounts.
        hierarchies: Vec<Hierarchy>,
        /// The version 2 tree of a hybrid layout, usually `/sys/fs/cgroup/unified`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unified: Option<Hierarchy>,
    },
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup that the mount shows as its root: `/` unless this process is in a container without a cgroup namespace.
    pub root: String,
    /// What is mounted there: one controller or several (`cpu`, `cpuacct`), or a name (`name=systemd`); none for version 2.
    pub controllers: Vec<String>,
}

/// The cgroups of this process: `/proc/self/cgroup` (cgroups(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCgroup {
    /// In the version 2 tree, if the kernel has one.
    pub unified: Option<String>,
    /// In each version 1 hierarchy, by controller or by `name=…`.
    pub v1: BTreeMap<String, String>,
}

impl Layout {
    /// Finds out what is mounted, with few system calls.
    ///
    /// A pure version 2 host costs one statfs. On version 1, `/proc/self/mountinfo` is proportional to all mounts of the host,
    /// so the conventional places are looked at first: each hierarchy of `own` at `/sys/fs/cgroup/CONTROLLERS`, checked by
    /// statfs. What statfs cannot tell is which cgroup a mount shows as its root: pass `need_roots` when the container's
    /// cgroup is relative to the caller's ([`super::is_relative`]), and the table of mounts is read.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` is needed and cannot be read.
    pub fn probe(own: &OwnCgroup, need_roots: bool) -> Result<Self, Error> {
        if filesystem_of(Path::new(ROOT)) == Filesystem::V2 {
            return Ok(Self::V2 { mount: PathBuf::from(ROOT) });
        }
        if !need_roots && let Some(layout) = probe_conventional(own) {
            return Ok(layout);
        }
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
        Ok(Self::parse_mountinfo(&String::from_utf8_lossy(&text)))
    }

    /// The layout that a table of mounts describes (proc_pid_mountinfo(5)).
    ///
    /// A hierarchy that is mounted more than once is taken where it is mounted below `/sys/fs/cgroup`, or else first.
    #[must_use]
    pub fn parse_mountinfo(text: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified: Option<Hierarchy> = None;
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut fields = right.split(' ');
            let kind = fields.next().unwrap_or_default();
            if kind != "cgroup" && kind != "cgroup2" {
                continue;
            }
            let options = fields.nth(1).unwrap_or_default();
            let mut fields = left.split(' ').skip(3);
            let (Some(root), Some(mount)) = (fields.next(), fields.next()) else { continue };
            let mut found =
                Hierarchy { mount: PathBuf::from(unescape(mount)), root: unescape(root), controllers: Vec::new() };
            if kind == "cgroup2" {
                if unified.as_ref().is_none_or(|old| is_better(&found, old)) {
                    unified = Some(found);
                }
                continue;
            }
            found.controllers = options.split(',').filter(|word| is_controller(word)).map(str::to_owned).collect();
            if found.controllers.is_empty() {
                continue;
            }
            match hierarchies.iter_mut().find(|old| old.controllers == found.controllers) {
                Some(old) if is_better(&found, old) => *old = found,
                Some(_) => {}
                None => hierarchies.push(found),
            }
        }
        match (hierarchies.is_empty(), unified) {
            (true, None) => Self::Absent,
            (true, Some(found)) => Self::V2 { mount: found.mount },
            (false, unified) => Self::V1 { hierarchies, unified },
        }
    }

    /// Whether the container's limits go to a version 2 tree.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2 { .. })
    }
}

impl OwnCgroup {
    /// Reads `/proc/self/cgroup`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn probe() -> Result<Self, Error> {
        let text = crate::sys::fd::read_file(c"/proc/self/cgroup")
            .map_err(|errno| Error::Read { path: "/proc/self/cgroup".into(), source: errno.into() })?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    /// The cgroups in the text of a `/proc/PID/cgroup` file: lines `ID:CONTROLLERS:PATH`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut own = Self::default();
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            if controllers.is_empty() {
                own.unified = Some(path.to_owned());
            } else {
                for controller in controllers.split(',') {
                    own.v1.insert(controller.to_owned(), path.to_owned());
                }
            }
        }
        own
    }
}

#[derive(PartialEq, Eq)]
enum Filesystem {
    V1,
    V2,
    Other,
}

fn filesystem_of(path: &Path) -> Filesystem {
    let Ok(found) = statfs::statfs(path) else { return Filesystem::Other };
    if found.filesystem_type() == CGROUP2_SUPER_MAGIC {
        Filesystem::V2
    } else if found.filesystem_type() == CGROUP_SUPER_MAGIC {
        Filesystem::V1
    } else {
        Filesystem::Other
    }
}

/// The layout with each hierarchy at its conventional place, or nothing when one of them is not there.
fn probe_conventional(own: &OwnCgroup) -> Option<Layout> {
    // Controllers of one hierarchy share one line of /proc/self/cgroup, but `own` has them apart: a co-mounted pair is
    // found by its conventional name, which is the list of its options in the kernel's order.
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for controller in own.v1.keys() {
        if hierarchies.iter().any(|known| known.controllers.contains(controller)) {
            continue;
        }
        let name = controller.strip_prefix("name=").unwrap_or(controller);
        // A link `cpu -> cpu,cpuacct` says both the place and the company.
        let link = Path::new(ROOT).join(name);
        let mount = match std::fs::read_link(&link) {
            Ok(target) if target.components().count() == 1 => Path::new(ROOT).join(target),
            Ok(_) => return None,
            Err(_) => link,
        };
        if filesystem_of(&mount) != Filesystem::V1 {
            return None;
        }
        let controllers = if controller.starts_with("name=") {
            vec![controller.clone()]
        } else {
            mount.file_name()?.to_str()?.split(',').map(str::to_owned).collect()
        };
        if !controllers.iter().all(|member| own.v1.contains_key(member)) {
            return None;
        }
        hierarchies.push(Hierarchy { mount, root: "/".to_owned(), controllers });
    }
    if hierarchies.is_empty() {
        return None;
    }
    let mount = Path::new(ROOT).join("unified");
    let unified = (own.unified.is_some() && filesystem_of(&mount) == Filesystem::V2).then(|| Hierarchy {
        mount,
        root: "/".to_owned(),
        controllers: Vec::new(),
    });
    Some(Layout::V1 { hierarchies, unified })
}

/// Whether a superblock option of a version 1 mount names a controller or a hierarchy.
fn is_controller(option: &str) -> bool {
    let flag = matches!(option, "" | "rw" | "ro" | "xattr" | "clone_children" | "noprefix" | "none" | "all");
    !(flag
        || option.starts_with("release_agent=")
        || option == "cpuset_v2_mode"
        || option == "favordynmods"
        || option == "nofavordynmods")
}

/// Whether `new` is a better place to find a hierarchy than `old`: the conventional directory, and the whole of it.
fn is_better(new: &Hierarchy, old: &Hierarchy) -> bool {
    let rank = |hierarchy: &Hierarchy| (hierarchy.mount.starts_with(ROOT), hierarchy.root == "/");
    rank(new) > rank(old)
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN_V2: &str = "\
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
31 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const COMOUNTED: &str = "\
25 18 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
26 25 0:21 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
28 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
29 25 0:24 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:12 - cgroup cgroup rw,net_cls,net_prio
";
    const DOCKER_V1: &str = "\
600 599 0:21 /docker/abc /sys/fs/cgroup/systemd ro,nosuid master:11 - cgroup cgroup rw,xattr,name=systemd
601 599 0:24 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:15 - cgroup cgroup rw,memory
602 599 0:24 / /host\\040cgroups/memory rw - cgroup cgroup rw,memory
";

    fn v1(text: &str) -> (Vec<(String, String, String)>, Option<String>) {
        let Layout::V1 { hierarchies, unified } = Layout::parse_mountinfo(text) else { panic!("not v1") };
        let mut rows = Vec::new();
        for hierarchy in hierarchies {
            rows.push((hierarchy.controllers.join("+"), hierarchy.mount.display().to_string(), hierarchy.root));
        }
        (rows, unified.map(|hierarchy| hierarchy.mount.display().to_string()))
    }

    fn row(controllers: &str, mount: &str, root: &str) -> (String, String, String) {
        (controllers.to_owned(), mount.to_owned(), root.to_owned())
    }

    #[test]
    fn a_debian_host_is_version_two() {
        assert_eq!(Layout::parse_mountinfo(DEBIAN_V2), Layout::V2 { mount: "/sys/fs/cgroup".into() });
    }

    #[test]
    fn a_hybrid_host_has_both() {
        let (rows, unified) = v1(HYBRID);
        assert_eq!(rows[0], row("cpu", "/sys/fs/cgroup/cpu", "/"));
        assert_eq!(rows[3], row("name=systemd", "/sys/fs/cgroup/systemd", "/"));
        assert_eq!(unified.as_deref(), Some("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn controllers_can_share_a_hierarchy() {
        let (rows, unified) = v1(COMOUNTED);
        assert_eq!(rows[0], row("name=systemd", "/sys/fs/cgroup/systemd", "/"));
        assert_eq!(rows[1], row("cpu+cpuacct", "/sys/fs/cgroup/cpu,cpuacct", "/"));
        assert_eq!(unified, None);
    }

    #[test]
    fn a_nested_mount_shows_its_root_and_the_conventional_place_wins() {
        let (rows, _) = v1(DOCKER_V1);
        assert_eq!(
            rows,
            [
                row("name=systemd", "/sys/fs/cgroup/systemd", "/docker/abc"),
                row("memory", "/sys/fs/cgroup/memory", "/docker/abc"),
            ]
        );
    }

    #[test]
    fn escapes_are_undone() {
        let text = "602 599 0:24 / /host\\040cgroups/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(v1(text).0[0].1, "/host cgroups/memory");
        assert_eq!(unescape("a\\040b\\134"), "a b\\");
        assert_eq!(unescape("a\\04"), "a\\04");
    }

    #[test]
    fn nothing_mounted_is_absent() {
        assert_eq!(Layout::parse_mountinfo("30 1 8:1 / / rw - ext4 /dev/sda1 rw\n"), Layout::Absent);
    }

    #[test]
    fn own_cgroups_are_parsed() {
        let own = OwnCgroup::parse("4:cpu,cpuacct:/a:b\n1:name=systemd:/user.slice\n0::/user.slice/user-1000.slice\n");
        assert_eq!(own.unified.as_deref(), Some("/user.slice/user-1000.slice"));
        assert_eq!(own.v1["cpuacct"], "/a:b");
        assert_eq!(own.v1["name=systemd"], "/user.slice");
    }

    #[test]
    fn a_layout_survives_serialisation() {
        for text in [DEBIAN_V2, HYBRID, COMOUNTED, ""] {
            let layout = Layout::parse_mountinfo(text);
            let json = serde_json::to_string(&layout).unwrap();
            assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout, "{json}");
        }
    }

    #[test]
    fn the_conventional_places_agree_with_the_table_of_mounts() {
        let own = OwnCgroup::probe().unwrap();
        let quick = Layout::probe(&own, false).unwrap();
        let thorough = Layout::probe(&own, true).unwrap();
        let places = |layout: Layout| match layout {
            Layout::V1 { hierarchies, unified } => {
                let mut all: Vec<_> = hierarchies.into_iter().map(|found| (found.controllers, found.mount)).collect();
                all.extend(unified.map(|found| (Vec::new(), found.mount)));
                all.sort();
                all
            }
            Layout::V2 { mount } => vec![(Vec::new(), mount)],
            Layout::Absent => Vec::new(),
        };
        assert_eq!(places(quick), places(thorough));
    }
}
