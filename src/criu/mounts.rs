//! Which mounts of a container show something of the host, and whether a restored container has all that it had.
//!
//! What config.json mounts is found by what is mounted where it says, not by its text: a destination may lead through links. All
//! other mounts CRIU saves, or refuses to: one that could not be supplied at restore would lose the container.
#![forbid(unsafe_code)]

use super::{Error, unescape};
use crate::path;
use crate::plan::text::Text;
use crate::spec::{clean, mount_options::MountOptions};
use crate::sys::{fd, mount};
use oci_spec::runtime::{Mount, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Flags of a mount that keep a container from something.
const RESTRICTIVE: [&str; 5] = ["ro", "nosuid", "nodev", "noexec", "nosymfollow"];
/// What a container in a user namespace is given of the host's, because it cannot make them.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// A mount that CRIU is given at restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct External {
    /// Where it is.
    pub at: PathBuf,
    /// What it is called in CRIU's images.
    pub name: String,
    /// Where config.json says that it is, or that what it is a part of is.
    pub from: PathBuf,
}

/// pent 0.1.0 kept mount points only.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Point(PathBuf),
    Named { at: PathBuf, name: String, from: PathBuf },
}

impl From<Kept> for External {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Point(at) => Self { name: at.to_string_lossy().into_owned(), from: at.clone(), at },
            Kept::Named { at, name, from } => Self { at, name, from },
        }
    }
}

/// A mount point, and what nobody can do there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// Where.
    pub at: PathBuf,
    /// `ro`, `nosuid`, `nodev`, `noexec`, `nosymfollow`.
    pub flags: BTreeSet<String>,
}

/// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub(super) id: u64,
    /// `MAJOR:MINOR`.
    pub(super) device: String,
    /// What of the filesystem is mounted.
    root: PathBuf,
    pub(super) at: PathBuf,
    flags: BTreeSet<String>,
    pub(super) kind: String,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let id = text(fields.next()?).parse().ok()?;
        let device = text(fields.nth(1)?);
        let (root, at) = (unescape(fields.next()?), unescape(fields.next()?));
        let options = text(fields.next()?);
        let flags = options.split(',').filter(|flag| RESTRICTIVE.contains(flag)).map(str::to_owned).collect();
        let kind = text(fields.skip_while(|field| *field != b"-").nth(1)?);
        Some(Self { id, device, root, at, flags, kind })
    }

    pub(super) fn parse_all(mountinfo: &[u8]) -> Vec<Self> {
        mountinfo.split(|b| *b == b'\n').filter_map(Self::parse).collect()
    }

    fn point(&self) -> Point {
        Point { at: self.at.clone(), flags: self.flags.clone() }
    }

    fn is_cgroup(&self) -> bool {
        matches!(self.kind.as_str(), "cgroup" | "cgroup2")
    }
}

/// The mounts that a process sees; `of` is `self` or its id.
///
/// # Errors
/// [`Error::Read`].
pub fn seen_by(of: &str) -> Result<Vec<Line>, Error> {
    Ok(Line::parse_all(&super::read(format!("/proc/{of}/mountinfo"))?))
}

/// All mount points, in their order.
#[must_use]
pub fn points(lines: &[Line]) -> Vec<Point> {
    let mut all: Vec<_> = lines.iter().map(Line::point).collect();
    all.sort();
    all
}

/// That nothing is missing or more open than it was, and nothing is where it was not. Images of pent 0.1.0 do not say what was.
///
/// # Errors
/// [`Error::Mounts`].
pub fn check(before: &[Point], now: &[Line]) -> Result<(), Error> {
    let now = points(now);
    let places = |all: &[Point]| all.iter().map(|point| point.at.clone()).collect::<Vec<_>>();
    if before.is_empty() {
        return Ok(());
    }
    for (point, found) in before.iter().zip(&now) {
        if point.at != found.at {
            let lost = if places(&now).contains(&point.at) { &found.at } else { &point.at };
            return Err(Error::Mounts { at: lost.clone(), lacks: "the mount that was there".into() });
        }
        if let Some(flag) = point.flags.difference(&found.flags).next() {
            return Err(Error::Mounts { at: point.at.clone(), lacks: flag.clone() });
        }
    }
    match places(before).get(now.len()).or_else(|| now.get(before.len()).map(|point| &point.at)) {
        Some(at) => Err(Error::Mounts { at: at.clone(), lacks: "the mount that was there".into() }),
        None => Ok(()),
    }
}

/// What a mount of config.json shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A part of the host, with what is mounted below it or without.
    Bind {
        /// The mounts below are shown, too.
        recursive: bool,
    },
    /// The container's cgroups.
    Cgroup,
    /// The null device, over a file.
    Mask,
    /// A device of the host's, of the same path.
    Device,
    /// A filesystem of the container's own.
    Own,
}

/// What config.json puts somewhere in a container, in its order: the last at a place is what is seen there.
#[must_use]
pub fn named(spec: &Spec) -> Vec<(PathBuf, Kind)> {
    let place = |text: &str| PathBuf::from(clean(text));
    let linux = spec.linux().as_ref();
    let mounts =
        spec.mounts().iter().flatten().map(|mount| (place(&mount.destination().to_string_lossy()), kind(mount)));
    let devices = linux.and_then(|linux| linux.devices().as_ref()).into_iter().flatten();
    let devices = devices.map(|device| place(&device.path().to_string_lossy()));
    let devices = DEVICES.into_iter().map(PathBuf::from).chain(devices).map(|at| (at, Kind::Device));
    let masks = linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten();
    mounts.chain(devices).chain(masks.map(|mask| (place(mask), Kind::Mask))).collect()
}

/// What a mount of config.json shows.
#[must_use]
pub fn kind(mount: &Mount) -> Kind {
    let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
    match (mount.typ().as_deref().unwrap_or_default(), options.bind) {
        (_, Some(reach)) => Kind::Bind { recursive: reach.recursive },
        ("bind", None) => Kind::Bind { recursive: false },
        ("cgroup" | "cgroup2", None) => Kind::Cgroup,
        _ => Kind::Own,
    }
}

/// Which of a container's mounts CRIU is to be given at restore.
///
/// # Errors
/// When the container's root cannot be opened; [`Error::Unnamable`].
pub fn external(pid: i32, lines: &[Line], spec: &Spec) -> Result<Vec<External>, Error> {
    let host = seen_by("self")?.into_iter().map(|line| line.device).collect();
    let null = fs::metadata("/dev/null").map_err(|source| Error::Read { path: "/dev/null".into(), source })?.dev();
    let null = format!("{}:{}", nix::sys::stat::major(null), nix::sys::stat::minor(null));
    external_among(lines, &placed(pid, lines, &named(spec))?, &host, &null)
}

/// What config.json puts somewhere, with the mount that is there.
type Placed<'a> = Vec<(&'a Line, PathBuf, Kind)>;

fn placed<'a>(pid: i32, lines: &'a [Line], named: &[(PathBuf, Kind)]) -> Result<Placed<'a>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let root = fd::open(fd::CWD, &Text::path(&path), libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|errno| Error::Read { path, source: errno.into() })?;
    let mut all = Vec::new();
    for (from, kind) in named {
        let inside = Text::path(from.strip_prefix("/").unwrap_or(from));
        // What is not there was not mounted: a mask of a file that the image does not have.
        let Ok(found) = path::open(root.as_fd(), &inside, libc::O_PATH) else { continue };
        if !mount::is_mount_root(found.as_fd()).unwrap_or_default() {
            continue;
        }
        let id = super::mount_id(&super::read(format!("/proc/self/fdinfo/{}", found.as_raw_fd()))?);
        all.extend(lines.iter().find(|line| line.id == id).map(|line| (line, from.clone(), *kind)));
    }
    Ok(all)
}

fn external_among(
    lines: &[Line],
    placed: &Placed<'_>,
    host: &BTreeSet<String>,
    null: &str,
) -> Result<Vec<External>, Error> {
    let mut all = Vec::new();
    for line in lines.iter().filter(|line| line.at.as_os_str() != "/") {
        // The deepest, and of those at the same place the last.
        let holder = placed.iter().filter(|(above, ..)| line.at.starts_with(&above.at));
        let Some((above, from, kind)) = holder.max_by_key(|(above, ..)| above.at.as_os_str().len()) else { continue };
        let below = line.at.strip_prefix(&above.at).unwrap_or(Path::new(""));
        let is_there = below.as_os_str().is_empty();
        let of_host = match kind {
            Kind::Bind { recursive: true } => is_there || host.contains(&line.device),
            Kind::Bind { recursive: false } => is_there,
            // The filesystem that holds those of version 1 is the container's.
            Kind::Cgroup => line.is_cgroup() && line.root.as_os_str() != "/",
            Kind::Mask => is_there && line.device == null && line.root.ends_with("null"),
            Kind::Device => is_there && line.device == null,
            Kind::Own => false,
        };
        if !of_host {
            continue;
        }
        // CRIU's `mnt[MOUNT POINT]:NAME` ends at the first that looks like an end.
        if line.at.to_string_lossy().contains("]:") {
            return Err(Error::Unnamable(line.at.clone()));
        }
        let from = if is_there { from.clone() } else { from.join(below) };
        all.push(External { at: line.at.clone(), name: format!("mount{}", all.len()), from });
    }
    Ok(all)
}

/// What is to be mounted for those of an image: by `of`, which is told what config.json says of the place and what of it is meant.
///
/// # Errors
/// [`Error::UnknownMount`].
pub fn sources(
    mounts: &[External],
    named: &[(PathBuf, Kind)],
    of: impl Fn(&Path, Kind, &Path) -> Option<PathBuf>,
) -> Result<Vec<(String, PathBuf)>, Error> {
    let source = |external: &External| {
        let holders = named.iter().rev().filter_map(|(at, kind)| {
            let below = external.from.strip_prefix(at).ok()?;
            let reaches = matches!(kind, Kind::Cgroup | Kind::Bind { recursive: true });
            (below.as_os_str().is_empty() || reaches).then_some((at, *kind, below))
        });
        let source =
            holders.into_iter().max_by_key(|(at, ..)| at.as_os_str().len()).and_then(|(at, kind, below)| match kind {
                Kind::Mask => Some("/dev/null".into()),
                Kind::Device => Some(at.clone()),
                Kind::Own => None,
                Kind::Bind { .. } | Kind::Cgroup => of(at, kind, below),
            });
        source.map(|source| (external.name.clone(), source)).ok_or_else(|| Error::UnknownMount(external.at.clone()))
    };
    mounts.iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "74 75 254:0 /b/rootfs / ro - ext4 /dev/vda rw
97 74 0:42 / /proc rw - proc proc rw
98 74 0:43 / /dev rw - tmpfs tmpfs rw
103 74 0:41 / /sys/fs/cgroup ro - tmpfs tmpfs rw
104 74 0:29 /ck1 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu
115 97 0:6 /null /proc/keys rw,nosuid,relatime - devtmpfs devtmpfs rw
118 97 0:42 /bus /proc/bus ro - proc proc rw
119 74 254:0 /data\\040set /mnt/a\\040b rw - ext4 /dev/vda rw
120 119 0:70 / /mnt/a\\040b/of_host rw shared:1 - tmpfs tmpfs rw
121 119 0:71 / /mnt/a\\040b/its_own rw - tmpfs tmpfs rw
122 74 254:0 /b/rootfs/x /itself rw - ext4 /dev/vda rw
";

    fn lines() -> Vec<Line> {
        Line::parse_all(MOUNTS.as_bytes())
    }

    /// As if each were where it says.
    fn placed<'a>(lines: &'a [Line], named: &[(&str, &str, Kind)]) -> Placed<'a> {
        let line = |at: &str| lines.iter().find(|line| line.at == Path::new(at)).expect("a mount");
        named.iter().map(|(at, from, kind)| (line(at), PathBuf::from(from), *kind)).collect()
    }

    const NAMED: [(&str, &str, Kind); 4] = [
        ("/proc", "/proc", Kind::Own),
        ("/sys/fs/cgroup", "/sys/fs/cgroup", Kind::Cgroup),
        ("/mnt/a b", "/link/a b", Kind::Bind { recursive: true }),
        ("/proc/keys", "/proc/keys", Kind::Mask),
    ];

    #[test]
    fn what_shows_the_host_is_external() {
        let host = BTreeSet::from(["254:0".to_owned(), "0:70".to_owned(), "0:6".to_owned()]);
        let lines = lines();
        let all = external_among(&lines, &placed(&lines, &NAMED), &host, "0:6").unwrap();
        let said: Vec<_> =
            all.iter().map(|one| format!("{} {} {}", one.name, one.at.display(), one.from.display())).collect();
        assert_eq!(
            said,
            [
                "mount0 /sys/fs/cgroup/cpu /sys/fs/cgroup/cpu",
                "mount1 /proc/keys /proc/keys",
                "mount2 /mnt/a b /link/a b",
                "mount3 /mnt/a b/of_host /link/a b/of_host",
            ]
        );
        // A bind of the one mount has nothing below it of its own.
        let mut named = NAMED;
        named[2].2 = Kind::Bind { recursive: false };
        assert_eq!(external_among(&lines, &placed(&lines, &named), &host, "0:6").unwrap().len(), 3);
    }

    #[test]
    fn what_criu_cannot_be_told_is_refused() {
        let lines = Line::parse_all(b"1 2 254:0 /x /a]:b rw - ext4 /dev/vda rw\n");
        let placed = vec![(&lines[0], PathBuf::from("/a]:b"), Kind::Bind { recursive: false })];
        let refused = external_among(&lines, &placed, &BTreeSet::new(), "0:6").unwrap_err().to_string();
        assert!(refused.contains("/a]:b"), "{refused}");
    }

    #[test]
    fn sources_are_those_of_the_configuration() {
        let named = NAMED.map(|(_, from, kind)| (PathBuf::from(from), kind));
        let one = |from: &str| External { at: "/at".into(), name: "m".into(), from: from.into() };
        let of = |at: &Path, _: Kind, below: &Path| Some(Path::new("/of").join(at.strip_prefix("/").ok()?).join(below));
        let source = |from: &str| {
            sources(&[one(from)], &named, of).map(|all| all[0].1.display().to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(source("/link/a b").unwrap(), "/of/link/a b/");
        assert_eq!(source("/link/a b/of_host").unwrap(), "/of/link/a b/of_host");
        assert_eq!(source("/sys/fs/cgroup/cpu").unwrap(), "/of/sys/fs/cgroup/cpu");
        assert_eq!(source("/proc/keys").unwrap(), "/dev/null");
        for unknown in ["/elsewhere", "/proc", "/proc/other"] {
            assert!(source(unknown).unwrap_err().contains("/at"), "{unknown}");
        }
        // As pent 0.1.0 has written it.
        let old: External = serde_json::from_str(r#""/mnt/x""#).unwrap();
        assert_eq!((old.name.as_str(), old.from), ("/mnt/x", PathBuf::from("/mnt/x")));
    }

    #[test]
    fn a_restored_container_has_what_it_had() {
        let before = points(&lines());
        assert!(check(&before, &lines()).is_ok() && check(&[], &lines()).is_ok());
        let say = |text: String| check(&before, &Line::parse_all(text.as_bytes())).unwrap_err().to_string();
        let open = say(MOUNTS.replacen(" / ro ", " / rw ", 1));
        assert!(open.contains("ro") && open.contains("mounted on /"), "{open}");
        let suid = say(MOUNTS.replace("rw,nosuid,relatime", "rw,relatime"));
        assert!(suid.contains("nosuid") && suid.contains("/proc/keys"), "{suid}");
        let lost = say(MOUNTS.lines().filter(|line| !line.contains("/proc/keys")).collect::<Vec<_>>().join("\n"));
        assert!(lost.contains("/proc/keys"), "{lost}");
        let more = say(format!("{MOUNTS}130 74 0:9 / /zzz rw - tmpfs tmpfs rw\n"));
        assert!(more.contains("/zzz"), "{more}");
        // More restricted is not less.
        assert!(
            check(&before, &Line::parse_all(MOUNTS.replace("/mnt/a\\040b rw", "/mnt/a\\040b ro").as_bytes())).is_ok()
        );
    }
}
