//! The host's mounts, and where else the same files can be reached.
//!
//! Pure, and quick with thousands of mounts: nothing is compared pair by pair.
#![forbid(unsafe_code)]

use super::Hidden;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A mount of the host, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMount {
    /// Where it is.
    pub point: PathBuf,
    /// Which part of its file system it shows.
    pub root: PathBuf,
    /// `major:minor` of the file system.
    pub device: String,
    /// Its type.
    pub kind: String,
    /// What it was made from, as whoever made it wrote it.
    pub source: PathBuf,
    /// Of an overlay: the directories that it shows, as far as all of them are known.
    pub layers: Option<Vec<PathBuf>>,
}

/// `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[must_use]
pub fn parse_mounts(table: &[u8]) -> Vec<HostMount> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| {
        // Blanks in names are escaped, so that fields are what is between blanks.
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        let mut of_file_system = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = text(of_file_system.next()?);
        let source = of_file_system.next().map(unescape).unwrap_or_default();
        let options = of_file_system.next().unwrap_or_default();
        Some(HostMount {
            point: path(unescape_bytes(point)),
            root: path(unescape_bytes(root)),
            device: text(device),
            layers: if kind == "overlay" { layers(&unescape_bytes(options)) } else { None },
            kind,
            source,
        })
    });
    mounts.collect()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

fn unescape(text: &[u8]) -> PathBuf {
    path(unescape_bytes(text))
}

/// Blanks, tabs, newlines and backslashes are written as `\ooo`.
fn unescape_bytes(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    while let Some((first, rest)) = bytes.split_first() {
        let number = rest.get(..3).filter(|_| *first == b'\\');
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(number.unwrap_or(*first));
        bytes = if number.is_some() { &rest[3..] } else { rest };
    }
    plain
}

/// The directories of an overlay, from its options: `lowerdir` with colons between them (two before those that have
/// data only), and `upperdir`. In their names, backslashes stand before colons, commas and themselves. What is
/// relative, or is said in another way, is not understood.
fn layers(options: &[u8]) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for option in split_unescaped(options, b',') {
        let equals = option.iter().position(|byte| *byte == b'=');
        let (name, value) = option.split_at(equals.unwrap_or(option.len()));
        let value = value.get(1..).unwrap_or_default();
        match name {
            b"lowerdir" => found.extend(split_unescaped(value, b':').filter(|layer| !layer.is_empty()).map(plain)),
            b"lowerdir+" | b"datadir+" | b"upperdir" | b"workdir" => found.push(plain(value)),
            _ => {}
        }
    }
    (!found.is_empty() && found.iter().all(|layer| layer.is_absolute())).then_some(found)
}

/// Parts between separators that no backslash stands before, as they are written.
fn split_unescaped(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut escaped = false;
    text.split(move |byte| {
        let ends = !escaped && *byte == separator;
        escaped = !escaped && *byte == b'\\';
        ends
    })
}

fn plain(text: &[u8]) -> PathBuf {
    let mut bytes = text.iter();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    path(plain)
}

/// The mount that a path is on: the last of those that are nearest above it.
#[must_use]
pub fn mount_of<'m>(path: &Path, mounts: &'m [HostMount]) -> Option<&'m HostMount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

/// Mounts by what they show.
pub struct Elsewhere<'m> {
    mounts: &'m [HostMount],
    /// The last mount at each place.
    points: HashMap<&'m Path, usize>,
    /// Which mounts show a part of a file system.
    roots: HashMap<(&'m str, &'m Path), Vec<usize>>,
    /// Which overlays show a directory.
    layers: HashMap<&'m Path, Vec<usize>>,
}

impl<'m> Elsewhere<'m> {
    /// Sorts them once.
    #[must_use]
    pub fn new(mounts: &'m [HostMount]) -> Self {
        let mut points = HashMap::with_capacity(mounts.len());
        let mut roots: HashMap<_, Vec<usize>> = HashMap::with_capacity(mounts.len());
        let mut layers: HashMap<&Path, Vec<usize>> = HashMap::new();
        for (index, mount) in mounts.iter().enumerate() {
            points.insert(mount.point.as_path(), index);
            roots.entry((mount.device.as_str(), mount.root.as_path())).or_default().push(index);
            // A part of an overlay is found by the whole.
            for layer in mount.layers.iter().flatten().filter(|_| mount.root == Path::new("/")) {
                layers.entry(layer).or_default().push(index);
            }
        }
        Self { mounts, points, roots, layers }
    }

    /// Other paths that lead to the same files.
    #[must_use]
    pub fn of_path(&self, path: &Path) -> Vec<PathBuf> {
        let found = self.of(&[Hidden { path: path.to_owned(), directory: true }], &[]);
        found.into_iter().map(|hidden| hidden.path).collect()
    }

    /// The mount that a path is on.
    fn mount_of(&self, path: &Path) -> Option<&'m HostMount> {
        path.ancestors().find_map(|above| self.points.get(above)).and_then(|index| self.mounts.get(*index))
    }

    /// Where else what is hidden can be reached: by other mounts of its file system, and overlays of where it is; by
    /// those of them, too.
    ///
    /// Where that would be thousands of places, other mounts of what holds them are hidden as a whole, unless one of
    /// `kept` is in them.
    #[must_use]
    pub fn of(&self, hidden: &[Hidden], kept: &[&Path]) -> Vec<Hidden> {
        // Overlays of overlays of bind mounts: nobody goes further.
        const MOST_ROUNDS: usize = 8;
        let mut known: HashSet<PathBuf> = hidden.iter().map(|hidden| hidden.path.clone()).collect();
        let whole = self.crowded(hidden, kept);
        let mut found: Vec<Hidden> =
            whole.iter().map(|index| Hidden { path: self.mounts[*index].point.clone(), directory: true }).collect();
        let mut elsewhere: HashSet<PathBuf> = HashSet::new();
        let mut done = HashSet::new();
        let mut new: Vec<(usize, Hidden)> = hidden.iter().cloned().enumerate().collect();
        for _ in 0..MOST_ROUNDS {
            if new.is_empty() {
                break;
            }
            let mut more = self.once(&new, &whole, &mut done);
            // What is inside of where it comes from is hidden with that.
            more.retain(|(from, more)| {
                let inside = more.path.ancestors().skip(1).any(|above| elsewhere.contains(above));
                !inside && !more.path.starts_with(&hidden[*from].path) && known.insert(more.path.clone())
            });
            elsewhere.extend(more.iter().map(|(_, more)| more.path.clone()));
            found.extend(more.iter().map(|(_, more)| more.clone()));
            new = more;
        }
        found
    }

    /// Mounts that show so much of what is hidden that it is simpler to hide them.
    fn crowded(&self, hidden: &[Hidden], kept: &[&Path]) -> HashSet<usize> {
        const MOST: usize = 2000;
        let mut below: HashMap<(&str, PathBuf), usize> = HashMap::new();
        let mut own = HashSet::new();
        for (mount, place) in hidden.iter().filter_map(|each| self.place(&each.path)) {
            own.insert(mount.point.as_path());
            for above in place.ancestors().filter(|above| self.roots.contains_key(&(mount.device.as_str(), *above))) {
                *below.entry((mount.device.as_str(), above.to_owned())).or_default() += 1;
            }
        }
        let views = |(device, root): &(&str, PathBuf)| {
            let mounts = self.roots.get(&(*device, root.as_path())).into_iter().flatten();
            mounts.filter(|index| !own.contains(self.mounts[**index].point.as_path())).count()
        };
        if below.iter().map(|(root, count)| count * views(root)).sum::<usize>() < MOST {
            return HashSet::new();
        }
        let indices =
            below.iter().filter_map(|((device, root), _)| self.roots.get(&(*device, root.as_path()))).flatten();
        let is_kept = |point: &Path| is_of_system(point) || kept.iter().any(|kept| kept.starts_with(point));
        let may = |point: &Path| !own.contains(point) && !is_kept(point);
        indices.copied().filter(|index| may(&self.mounts[*index].point)).collect()
    }

    /// What is at a path on the mount that its directory is on, whatever is mounted there.
    fn below_mount(&self, path: &Path) -> Vec<Hidden> {
        let Some((own, above)) = path.parent().and_then(|parent| self.place(parent)) else { return Vec::new() };
        let place = join(&above, Path::new(path.file_name().unwrap_or_default()));
        let views = place.ancestors().filter_map(|above| {
            let below = place.strip_prefix(above).ok()?;
            Some((self.roots.get(&(own.device.as_str(), above))?, below.to_owned()))
        });
        let paths = views.flat_map(|(others, below)| others.iter().map(move |other| (*other, below.clone())));
        let paths = paths.map(|(other, below)| join(&self.mounts[other].point, &below));
        paths.filter(|found| found != path).map(|path| Hidden { path, directory: true }).collect()
    }

    /// Where something is in its file system.
    fn place(&self, path: &Path) -> Option<(&'m HostMount, PathBuf)> {
        let own = self.mount_of(path)?;
        Some((own, join(&own.root, path.strip_prefix(&own.point).ok()?)))
    }

    /// One step from each, with the number that it began with. `done` are places of file systems of which all views are
    /// known.
    fn once(
        &self,
        hidden: &[(usize, Hidden)],
        whole: &HashSet<usize>,
        done: &mut HashSet<(&'m str, PathBuf)>,
    ) -> Vec<(usize, Hidden)> {
        let mut found = Vec::new();
        let mut add = |of: &(usize, Hidden), path: PathBuf, directory: bool| {
            if path != of.1.path && path.parent().is_some() {
                found.push((of.0, Hidden { path, directory }));
            }
        };
        // What is hidden, by its place in its file system.
        let mut inner: HashMap<(&str, PathBuf), Vec<&(usize, Hidden)>> = HashMap::new();
        for each in hidden {
            let (path, directory) = (&each.1.path, each.1.directory);
            let Some((own, place)) = self.place(path) else { continue };
            // From every view of one place the others are the same.
            let is_new = done.insert((own.device.as_str(), place.clone()));
            for above in place.ancestors().filter(|_| is_new) {
                let Ok(below) = place.strip_prefix(above) else { continue };
                let others = self.roots.get(&(own.device.as_str(), above)).into_iter().flatten();
                for other in others.filter(|other| !whole.contains(other)) {
                    add(each, join(&self.mounts[*other].point, below), directory);
                }
            }
            // What it is made of, where it is on an overlay.
            for layer in own.layers.iter().flatten().filter(|_| place.parent().is_some()) {
                add(each, join(layer, place.strip_prefix("/").unwrap_or(&place)), directory);
            }
            if is_new {
                inner.entry((own.device.as_str(), place)).or_default().push(each);
            }
            // An overlay of a directory above it.
            for above in path.ancestors() {
                let Ok(below) = path.strip_prefix(above) else { continue };
                for other in self.layers.get(above).into_iter().flatten() {
                    add(each, join(&self.mounts[*other].point, below), directory);
                }
            }
        }
        // A part of what is hidden is mounted elsewhere.
        for mount in self.mounts {
            for above in mount.root.ancestors().skip(1) {
                for each in inner.get(&(mount.device.as_str(), above.to_owned())).into_iter().flatten() {
                    add(each, mount.point.clone(), true);
                }
            }
        }
        if !self.layers.is_empty() {
            let paths: HashMap<&Path, &(usize, Hidden)> =
                hidden.iter().map(|each| (each.1.path.as_path(), each)).collect();
            for (layer, overlays) in &self.layers {
                for each in layer.ancestors().skip(1).filter_map(|above| paths.get(above)) {
                    for other in overlays {
                        add(each, self.mounts[*other].point.clone(), true);
                    }
                }
            }
        }
        found
    }
}

/// Without a slash at the end where there is nothing below.
fn join(above: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { above.to_owned() } else { above.join(below) }
}

/// File systems of the kernel's: what is in them tells of the machine or changes it, wherever they are mounted.
const OF_THE_KERNEL: &[&str] = &[
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
    "xenfs",
];

/// They show what they are made of, and nothing of the host's tree.
const HARMLESS: &[&str] = &["fuse.lxcfs", "fuse.snapfuse", "fuse.squashfuse", "fuse.squashfuse_ll", "fuse.portal"];

/// Directories of the system: what programs are made of.
const SYSTEM: &[&str] =
    &["/bin", "/boot", "/etc", "/gnu", "/home", "/lib", "/lib32", "/lib64", "/nix", "/opt", "/sbin", "/usr", "/var"];

/// Whether a path is a directory of the system, or above one: too much to be hidden for what it may show.
#[must_use]
pub fn is_of_system(path: &Path) -> bool {
    path.parent().is_none() || SYSTEM.iter().any(|system| Path::new(system).starts_with(path))
}

/// Other places where private directories can be seen: all of them, and what services have mounted in them.
#[must_use]
pub fn of_private(private: &[PathBuf], mounts: &[HostMount], elsewhere: &Elsewhere<'_>, kept: &[&Path]) -> Vec<Hidden> {
    let is_private = |path: &Path| private.iter().any(|private| path.starts_with(private));
    let directory = |path: &Path| Hidden { path: path.to_owned(), directory: true };
    let mut seeds: Vec<Hidden> = private.iter().map(|path| directory(path)).collect();
    // What was mounted there first is there by right; what is elsewhere too was there before.
    let mut seen = HashSet::new();
    let first = mounts.iter().filter(|mount| seen.insert(mount.device.as_str()));
    seeds.extend(first.filter(|mount| is_private(&mount.point)).map(|mount| directory(&mount.point)));
    let mut found = elsewhere.of(&seeds, kept);
    // What they cover, where it is not covered.
    found.extend(private.iter().flat_map(|path| elsewhere.below_mount(path)));
    found.retain(|hidden| !is_of_system(&hidden.path) && !is_private(&hidden.path));
    found
}

/// File systems of the kernel's out of their places.
#[must_use]
pub fn of_kernel(private: &[PathBuf], mounts: &[HostMount]) -> Vec<Hidden> {
    let is_private = |path: &Path| private.iter().any(|private| path.starts_with(private));
    let found = mounts.iter().filter(|mount| OF_THE_KERNEL.contains(&mount.kind.as_str()));
    let found = found.filter(|mount| !is_private(&mount.point) && mount.point.parent().is_some());
    // A file of them, as a mount of its own, is what somebody wanted there.
    found.map(|mount| Hidden { path: mount.point.clone(), directory: true }).collect()
}

/// Mounts that may show what is hidden under other names, without saying of what they are made. Not those that hold one
/// of `keep`.
#[must_use]
pub fn opaque<'m>(mounts: &'m [HostMount], keep: &[&Path], own_name: &[u8]) -> Vec<&'m HostMount> {
    let is_opaque = |mount: &HostMount| match mount.kind.as_str() {
        "overlay" => mount.layers.is_none(),
        "fuse" | "aufs" | "unionfs" | "ecryptfs" | "shiftfs" | "wrapfs" => true,
        "nfs" | "nfs4" | "cifs" | "smb3" => is_this_machine(mount.source.as_os_str().as_bytes(), own_name),
        kind => kind.starts_with("fuse.") && !HARMLESS.contains(&kind),
    };
    let holds = |mount: &HostMount| keep.iter().any(|kept| kept.starts_with(&mount.point));
    let found = mounts.iter().filter(|mount| is_opaque(mount) && !is_of_system(&mount.point) && !holds(mount));
    found.collect()
}

/// Whether a network file system is this machine's own: `HOST:/PATH` or `//HOST/SHARE`.
fn is_this_machine(source: &[u8], own_name: &[u8]) -> bool {
    let host = source.strip_prefix(b"//").unwrap_or(source);
    let host = match host.strip_prefix(b"[") {
        Some(bracketed) => bracketed.split(|byte| *byte == b']').next(),
        None => host.split(|byte| b":/".contains(byte)).next(),
    };
    let host = host.unwrap_or_default().to_ascii_lowercase();
    host.starts_with(b"127.")
        || matches!(host.as_slice(), b"localhost" | b"::1" | b"localhost.localdomain")
        || host == own_name
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /sys rw - sysfs sysfs rw
24 22 254:16 / /data rw - ext4 /dev/vdb rw
25 22 254:16 /homes /home rw - ext4 /dev/vdb rw
26 22 254:16 /homes/ann/.ssh/work /mnt/keys\\040of\\040work rw - ext4 /dev/vdb rw
27 22 254:16 /other /srv rw - ext4 /dev/vdb rw
";

    fn paths(hidden: &[Hidden]) -> Vec<&str> {
        let mut paths: Vec<_> = hidden.iter().filter_map(|hidden| hidden.path.to_str()).collect();
        paths.sort_unstable();
        paths
    }

    fn paths_of(elsewhere: &Elsewhere<'_>, hidden: &[Hidden]) -> Vec<String> {
        paths(&elsewhere.of(hidden, &[])).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_mounted_twice_is_found_twice() {
        let mounts = parse_mounts(MOUNTS);
        let found = Elsewhere::new(&mounts).of_path(Path::new("/home/ann/.ssh"));
        assert_eq!(found, [PathBuf::from("/data/homes/ann/.ssh"), PathBuf::from("/mnt/keys of work")]);
        assert_eq!(Elsewhere::new(&mounts).of_path(Path::new("/etc/shadow")), Vec::<PathBuf>::new());
        assert_eq!(
            Elsewhere::new(&mounts).of_path(Path::new("/data/homes/ann/.aws")),
            [PathBuf::from("/home/ann/.aws")]
        );
        assert_eq!(
            mount_of(Path::new("/home/ann"), &mounts).map(|mount| mount.root.as_path()),
            Some(Path::new("/homes"))
        );
    }

    #[test]
    fn names_are_bytes() {
        let mounts = parse_mounts(b"22 1 8:1 /caf\xe9 /mnt/caf\xe9 rw - ext4 /dev/sda1 rw\n");
        assert_eq!(mounts[0].point.as_os_str().as_bytes(), b"/mnt/caf\xe9");
        assert_eq!(mounts[0].root.as_os_str().as_bytes(), b"/caf\xe9");
    }

    #[test]
    fn options_of_overlays() {
        let of = |options: &str| {
            let line = format!("30 1 0:40 / /m rw - overlay none {options}\n");
            let layers = parse_mounts(line.as_bytes()).remove(0).layers?;
            Some(layers.iter().map(|layer| layer.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of("rw,lowerdir=/a:/b::/data,upperdir=/u,workdir=/w").as_deref(), Some("/a /b /data /u /w"));
        // The kernel writes a backslash as \134.
        assert_eq!(of(r"rw,lowerdir=/a\134:b:/c\134,d\040e").as_deref(), Some("/a:b /c,d e"));
        assert_eq!(of("rw,lowerdir+=/a,lowerdir+=/b").as_deref(), Some("/a /b"));
        assert_eq!(of("rw,lowerdir=l/X:l/Y,upperdir=/u"), None);
        assert_eq!(of("rw"), None);
    }

    #[test]
    fn overlays_show_what_is_below_them() {
        let mounts = parse_mounts(
            b"22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:40 / /merged rw - overlay o rw,lowerdir=/home/ann:/x,upperdir=/u,workdir=/w
31 22 0:41 / /keys rw - overlay o rw,lowerdir=/home/ann/.ssh/work
32 22 0:42 / /twice rw - overlay o rw,lowerdir=/merged
33 22 0:42 /.ssh /bound rw - overlay o rw,lowerdir=/merged
",
        );
        let hidden = [Hidden { path: "/home/ann/.ssh".into(), directory: true }];
        let found = paths_of(&Elsewhere::new(&mounts), &hidden);
        for path in ["/bound", "/keys", "/merged/.ssh", "/twice/.ssh"] {
            assert!(found.contains(&path.to_owned()), "{path}: {found:?}");
        }
        // And the other way round: what is hidden on an overlay is in its layers.
        let hidden = [Hidden { path: "/merged/token".into(), directory: false }];
        assert!(paths_of(&Elsewhere::new(&mounts), &hidden).contains(&"/u/token".to_owned()));
    }

    #[test]
    fn private_directories_are_private_everywhere() {
        let mounts = parse_mounts(
            b"22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:23 / /sys rw - sysfs sysfs rw
24 22 0:24 / /run rw - tmpfs tmpfs rw
25 24 0:25 / /run/user/1000 rw - tmpfs tmpfs rw
26 22 0:24 / /srv/run rw - tmpfs tmpfs rw
27 22 0:24 /docker /srv/docker rw - tmpfs tmpfs rw
28 22 0:25 / /srv/user rw - tmpfs tmpfs rw
29 22 254:0 /tmp /srv/tmp rw - ext4 /dev/vda rw
30 22 254:0 / /mnt rw - ext4 /dev/vda rw
31 24 254:0 /home /run/chroot/home rw - ext4 /dev/vda rw
32 22 0:23 /fs /srv/fs rw - sysfs sysfs rw
33 22 0:33 / /srv/sys rw - sysfs sysfs rw
34 22 0:34 / /usr rw - overlay o rw,lowerdir=/run/sysext/usr:/usr
",
        );
        let private: Vec<PathBuf> = ["/sys", "/run", "/tmp"].map(PathBuf::from).into();
        let elsewhere = Elsewhere::new(&mounts);
        let found = of_private(&private, &mounts, &elsewhere, &[]);
        for path in ["/mnt/tmp", "/srv/docker", "/srv/fs", "/srv/run", "/srv/tmp", "/srv/user"] {
            assert!(paths(&found).contains(&path), "{path}: {found:?}");
        }
        assert!(
            found.iter().all(|hidden| !hidden.path.starts_with("/usr") && !hidden.path.starts_with("/home")),
            "{found:?}"
        );
        assert_eq!(paths(&of_kernel(&private, &mounts)), ["/srv/fs", "/srv/sys"]);
    }

    #[test]
    fn what_does_not_say_what_it_shows_is_opaque() {
        let mounts = parse_mounts(
            b"22 1 0:30 / / rw - overlay o rw,lowerdir=l/A
23 22 0:31 / /mnt/bind rw - fuse.bindfs /home/ann rw
24 22 0:32 / /home/ann rw - fuse.gocryptfs /c rw
25 22 0:33 / /mnt/nfs rw - nfs4 localhost:/home rw
26 22 0:34 / /mnt/far rw - nfs4 server:/home rw
27 22 0:35 / /mnt/own rw - nfs box:/home rw
28 22 0:36 / /merged rw - overlay o rw,lowerdir=l/A
29 22 0:37 / /snap/x rw - fuse.snapfuse /x rw
30 22 0:38 / /mnt/v6 rw - nfs [::1]:/home rw
",
        );
        let found = opaque(&mounts, &[Path::new("/home/ann/project")], b"box");
        let found: Vec<_> = found.iter().filter_map(|mount| mount.point.to_str()).collect();
        assert_eq!(found, ["/mnt/bind", "/mnt/nfs", "/mnt/own", "/merged", "/mnt/v6"]);
    }

    #[test]
    fn thousands_of_mounts_take_milliseconds() {
        let mut table = MOUNTS.to_vec();
        for number in 0..5000 {
            table.extend(
                format!("{number} 22 254:0 /srv/a{number} /mnt/b{number} rw - ext4 /dev/vda rw\n").into_bytes(),
            );
        }
        let mounts = parse_mounts(&table);
        let hidden: Vec<Hidden> =
            (0..500).map(|number| Hidden { path: format!("/home/ann/.x{number}").into(), directory: true }).collect();
        let begin = std::time::Instant::now();
        let found = Elsewhere::new(&mounts).of(&hidden, &[]);
        assert_eq!(found.len(), 500);
        // Pair by pair it takes seconds in a debug build.
        assert!(begin.elapsed() < std::time::Duration::from_millis(400), "{:?}", begin.elapsed());
    }

    /// Each view led to all the others again.
    #[test]
    fn hundreds_of_views_of_one_place_take_milliseconds() {
        let mut table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n".to_vec();
        for number in 0..1500 {
            table.extend(format!("{number} 22 254:0 /home/ann /mnt/b{number} rw - ext4 /dev/vda rw\n").into_bytes());
        }
        let mounts = parse_mounts(&table);
        let begin = std::time::Instant::now();
        assert_eq!(Elsewhere::new(&mounts).of_path(Path::new("/home/ann/.ssh")).len(), 1500);
        // Pair by pair it takes seconds in a debug build.
        assert!(begin.elapsed() < std::time::Duration::from_millis(400), "{:?}", begin.elapsed());
    }

    /// Each of them would be a thousand masks.
    #[test]
    fn thousands_of_views_of_everything_are_hidden_as_a_whole() {
        let mut table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n".to_vec();
        for number in 0..5000 {
            table.extend(format!("{number} 22 254:0 / /mnt/b{number} rw - ext4 /dev/vda rw\n").into_bytes());
        }
        let mounts = parse_mounts(&table);
        let hidden: Vec<Hidden> =
            (0..200).map(|number| Hidden { path: format!("/home/ann/.x{number}").into(), directory: true }).collect();
        let found = Elsewhere::new(&mounts).of(&hidden, &[Path::new("/mnt/b7/home/ann/project")]);
        let has = |path: &str| found.iter().any(|hidden| hidden.path == Path::new(path));
        assert!(has("/mnt/b1") && has("/mnt/b4999") && !has("/mnt/b7") && has("/mnt/b7/home/ann/.x3"));
        assert_eq!(found.len(), 4999 + 200);
    }
}
