//! The file system that the program sees: the host's, read-only, with holes.
//!
//! Order is by depth, so that what is inside something is mounted after it, whatever the order of flags. Nothing is ever made on
//! the host: its tree is read-only before the first mount point is looked for, and those that are missing are made in memory only.
#![forbid(unsafe_code)]

use super::hidden::{self, Hidden};
use super::request::{Grant, Home, Network, Request};
use super::rootfs::Rootfs;
use super::surroundings::{PRIVATE, Surroundings};
use super::{Ids, ROOT_OUTSIDE, Refusal};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Sizes that docs/profiles.md gives, in bytes.
const TMP_SIZE: u64 = 64 << 20;
const RUN_SIZE: u64 = 8 << 20;
const SHM_SIZE: u64 = 64 << 20;
/// Of one that holds mount points only, however many are asked for.
const MOST_MOUNT_POINTS: u64 = 4096;
/// Inodes of a file system in memory, which cost memory too: one for each 4 KiB of it.
const BYTES_PER_INODE: u64 = 4096;

/// Mounts and masks for a configuration.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FileSystem {
    pub(super) mounts: Vec<Value>,
    pub(super) masked: Vec<String>,
    /// What is not as asked.
    pub(super) notes: Vec<String>,
}

/// One mount before it is written down.
struct Planned {
    target: PathBuf,
    kind: Kind,
}

enum Kind {
    Tmpfs { size: u64, mode: u32, exec: bool, closed: bool },
    Bind { source: PathBuf, writable: bool, mapped: bool },
    Other(Value),
}

impl Planned {
    fn tmpfs(target: impl Into<PathBuf>, size: u64, mode: u32) -> Self {
        Self { target: target.into(), kind: Kind::Tmpfs { size, mode, exec: false, closed: false } }
    }

    /// A file or directory of the host, read-only.
    fn bind(target: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        let kind = Kind::Bind { source: source.into(), writable: false, mapped: false };
        Self { target: target.into(), kind }
    }

    /// Holds mount points only, and is read-only in the end.
    fn closed(target: impl Into<PathBuf>) -> Self {
        Self { target: target.into(), kind: Kind::Tmpfs { size: 64 << 10, mode: 0o755, exec: false, closed: true } }
    }
}

/// File systems that can map the ids of their owners, in mounts of their own (mount_setattr(2)); of those with files of the user
/// only.
const MAPPABLE: &[&str] =
    &["ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "tmpfs", "overlay", "erofs", "vfat", "exfat", "bcachefs", "zfs"];

/// Decides what the program sees.
pub(super) fn compile(request: &Request, host: &Surroundings, ids: Ids) -> Result<FileSystem, Vec<Refusal>> {
    let mut table = Table { planned: Vec::new(), notes: Vec::new() };
    let mut refusals: Vec<Refusal> = both_given_and_in_memory(request).collect();
    refusals.extend(unsayable(&host.hidden, host));
    let holes = Holes::of(request, host);
    let hidden = holes.all.as_slice();
    table.notes.extend(host.known.notes.iter().chain(&holes.notes).cloned());
    let (grants, masked) = match &request.rootfs {
        None => {
            table.private(&host.private);
            table.of_run(host);
            let grants = grants(request, host, &holes, &mut refusals);
            table.home(request, host.home.as_deref());
            let masked = table.hide(hidden, &grants, host, request);
            (grants, masked)
        }
        Some(rootfs) => {
            refusals.extend(without_mount_points(rootfs));
            table.private(&rootfs.private);
            table.resolver(request, rootfs, host);
            table.home(request, rootfs.home.as_deref());
            (request.grants.clone(), hidden_below(hidden, &request.grants).collect())
        }
    };
    for tmpfs in &request.tmpfs {
        table.replace(Planned {
            target: tmpfs.target.clone(),
            kind: Kind::Tmpfs {
                size: tmpfs.size.unwrap_or(TMP_SIZE),
                mode: tmpfs.mode.unwrap_or(0o755),
                exec: tmpfs.exec,
                closed: false,
            },
        });
    }
    for grant in &grants {
        let mapped = ids.outside == ROOT_OUTSIDE && host.is_root && table.can_map(&grant.source, host);
        table.replace(Planned {
            target: grant.target.clone(),
            kind: Kind::Bind { source: grant.source.clone(), writable: grant.writable, mapped },
        });
    }
    table.planned.sort_by_key(|mount| mount.target.components().count());
    refusals.extend(missing_targets(&table.planned, request, &grants));
    if refusals.is_empty() { Ok(table.write(masked.into_iter().collect())) } else { Err(refusals) }
}

/// What is hidden of the host, and why.
struct Holes {
    /// By path.
    all: Vec<Hidden>,
    /// Other places of what every sandbox has of its own: a working directory in them is shown all the same.
    private: Vec<PathBuf>,
    notes: Vec<String>,
}

impl Holes {
    /// Everything hidden, with the other paths to the same files, and other people's homes.
    fn of(request: &Request, host: &Surroundings) -> Self {
        let elsewhere = hidden::Elsewhere::new(&host.mounts);
        let homes = host.other_homes.iter().map(|path| Hidden { path: path.clone(), directory: true });
        let mut all: Vec<Hidden> = host.hidden.iter().cloned().chain(homes).collect();
        let given = request.grants.iter().map(|grant| grant.source.as_path());
        let kept: Vec<&Path> =
            [host.directory.as_path()].into_iter().chain(host.home.as_deref()).chain(given.clone()).collect();
        let opaque = hidden::opaque(&host.mounts, &kept, host.name.as_encoded_bytes());
        let notes = opaque.iter().map(|mount| {
            format!(
                "{} ({}) may show what is hidden under other names, and is hidden: --ro shows it",
                mount.point.display(),
                mount.kind
            )
        });
        let notes = notes.collect();
        all.extend(opaque.iter().map(|mount| Hidden { path: mount.point.clone(), directory: true }));
        let shm = Path::new("/dev/shm");
        let private = host.private.iter().map(PathBuf::as_path).chain([shm]).map(Path::to_owned).collect::<Vec<_>>();
        let mut private = hidden::of_private(&private, &host.mounts, &elsewhere, &kept);
        private.extend(hidden::of_kernel(&host.private, &host.mounts));
        all.extend(elsewhere.of(&all, &kept));
        all.extend(private.iter().cloned());
        // A mask is over what is there when it is made: what is inside another comes first, and what is inside is not looked for.
        for hidden in &mut all {
            if let Some(above) = sayable(&hidden.path) {
                *hidden = Hidden { path: above.to_owned(), directory: true };
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all.dedup_by(|a, b| a.path == b.path);
        Self { all, private: private.into_iter().map(|hidden| hidden.path).collect(), notes }
    }
}

/// The nearest directory above a path that config.json can say; nothing where it can say the path itself.
fn sayable(path: &Path) -> Option<&Path> {
    let above = path.ancestors().find(|above| above.to_str().is_some())?;
    (above != path).then_some(above)
}

/// A name without an encoding, so near that hiding the directory it is in would hide what the program is run for.
fn unsayable(hidden: &[Hidden], host: &Surroundings) -> Vec<Refusal> {
    let held = |path: &Path| {
        hidden::is_of_system(path)
            || host.directory.starts_with(path)
            || host.home.as_deref().is_some_and(|home| home.starts_with(path))
    };
    let found = hidden.iter().filter(|hidden| sayable(&hidden.path).is_some_and(held));
    found
        .map(|hidden| Refusal {
            message: format!(
                "cannot hide {}: its name is not UTF-8",
                hidden.path.as_os_str().as_encoded_bytes().escape_ascii()
            ),
            hint: "rename it, or move it to a directory of its own".to_owned(),
        })
        .collect()
}

/// Paths in the sandbox of what is hidden and inside of what is granted.
fn hidden_below<'a>(hidden: &'a [Hidden], grants: impl IntoIterator<Item = &'a Grant>) -> impl Iterator<Item = String> {
    grants.into_iter().flat_map(move |grant| {
        let below = hidden.iter().filter_map(|hidden| hidden.path.strip_prefix(&grant.source).ok());
        let inside = below.filter(|below| !below.as_os_str().is_empty());
        inside.map(|below| grant.target.join(below).to_string_lossy().into_owned())
    })
}

/// One place is either the host's or in memory.
fn both_given_and_in_memory(request: &Request) -> impl Iterator<Item = Refusal> {
    let in_memory = |grant: &&Grant| request.tmpfs.iter().any(|tmpfs| tmpfs.target == grant.target);
    request.grants.iter().filter(in_memory).map(|grant| {
        let (flag, path) = (if grant.writable { "--rw" } else { "--ro" }, grant.target.display());
        Refusal {
            message: format!("{flag} and --tmpfs are both for {path}"),
            hint: format!("leave out one of them, or have it writable as it is: --rw {path}"),
        }
    })
}

/// Nothing runs without these, and nothing is ever made in an image.
fn without_mount_points(rootfs: &Rootfs) -> impl Iterator<Item = Refusal> {
    let missing =
        ["/proc", "/dev"].into_iter().filter(|path| !rootfs.private.iter().any(|found| found == Path::new(path)));
    missing.map(|path| match &rootfs.unpacked {
        None => Refusal {
            message: format!("--image {}: there is no directory {path} in it to mount on", rootfs.path.display()),
            hint: format!("mkdir {}{path}", rootfs.path.display()),
        },
        // It has a file, or a link that may lead anywhere.
        Some(name) => Refusal {
            message: format!("--image {name}: its {path} is no directory to mount on"),
            hint: "no container can be made from it".to_owned(),
        },
    })
}

/// What was asked for, and the working directory and root's home, which are there without being asked for.
fn grants(request: &Request, host: &Surroundings, holes: &Holes, refusals: &mut Vec<Refusal>) -> Vec<Grant> {
    let implicit = |path: &Path| Grant {
        source: path.to_owned(),
        target: path.to_owned(),
        target_exists: true,
        writable: false,
        directory: true,
    };
    let mut all = Vec::new();
    // To root's files the program is a stranger, unless they are mapped.
    let is_private = |path: &Path| PRIVATE.iter().any(|private| path.starts_with(private));
    let is_foreign = |path: &Path| host.closed.iter().any(|closed| !closed.of_root && closed.path == path);
    let in_memory = |path: &Path| request.tmpfs.iter().any(|tmpfs| tmpfs.target == path);
    let home =
        host.home.as_deref().filter(|home| request.home == Home::Readonly && !is_foreign(home) && !in_memory(home));
    all.extend(home.filter(|home| host.is_root || is_private(home)).map(implicit));
    let directory = host.directory.as_path();
    let replaced = request.tmpfs.iter().any(|tmpfs| directory.starts_with(&tmpfs.target));
    let is_home = host.home.as_deref() == Some(directory) && request.home != Home::Readonly;
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|path| directory.starts_with(path));
    let granted = request.grants.iter().any(|grant| directory.starts_with(&grant.target));
    let secret = holes.all.iter().find(|hidden| {
        directory.starts_with(&hidden.path)
            && !host.other_homes.contains(&hidden.path)
            && !holes.private.contains(&hidden.path)
    });
    let itself = |path: &Path| {
        matches!(path.to_str(), Some("/tmp" | "/var/tmp" | "/run" | "/dev/shm"))
            || holes.private.iter().any(|own| own == path)
    };
    if let Some(secret) = secret.filter(|_| !granted && request.workdir.is_none()) {
        refusals.push(Refusal {
            message: format!(
                "the working directory {} is hidden: {} holds credentials",
                directory.display(),
                secret.path.display()
            ),
            hint: format!("go elsewhere, name another with --workdir, or show it with --ro {}", directory.display()),
        });
    } else if !replaced
        && !is_home
        && !kernel
        && !granted
        && secret.is_none()
        && directory.parent().is_some()
        && !itself(directory)
    {
        let in_home =
            request.home != Home::Readonly && host.home.as_deref().is_some_and(|home| directory.starts_with(home));
        let in_another = host.other_homes.iter().any(|home| directory.starts_with(home));
        let elsewhere = holes.private.iter().any(|private| directory.starts_with(private));
        if is_private(directory) || in_home || in_another || elsewhere || host.is_root {
            all.push(implicit(directory));
        }
    }
    all.extend(request.grants.iter().cloned());
    all
}

struct Table {
    planned: Vec<Planned>,
    notes: Vec<String>,
}

impl Table {
    /// What every sandbox has of its own, where there is a directory for it.
    fn private(&mut self, there: &[PathBuf]) {
        let own = |target: &str, value: Value| Planned { target: target.into(), kind: Kind::Other(value) };
        self.planned.push(own(
            "/proc",
            json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
        ));
        self.planned.push(own(
            "/dev",
            json!({
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=64k", "nr_inodes=64"]
            }),
        ));
        self.planned.push(own(
            "/dev/pts",
            json!({
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
            }),
        ));
        self.planned.push(Planned::tmpfs("/dev/shm", SHM_SIZE, 0o1777));
        let is_there = |path: &&str| there.iter().any(|found| found == Path::new(path));
        if is_there(&"/sys") {
            self.planned.push(Planned::closed("/sys"));
        }
        if is_there(&"/run") {
            self.planned.push(Planned::tmpfs("/run", RUN_SIZE, 0o755));
        }
        for path in ["/tmp", "/var/tmp"].iter().filter(|path| is_there(path)) {
            self.planned.push(Planned::tmpfs(*path, TMP_SIZE, 0o1777));
        }
    }

    /// What the host's programs need below /run.
    fn of_run(&mut self, host: &Surroundings) {
        let resolver = host.resolv_conf.iter().filter(|file| file.starts_with("/run"));
        for path in host.run_directories.iter().chain(resolver) {
            self.planned.push(Planned::bind(path, path));
        }
    }

    /// The host's network is of no use to an image that does not know the host's name servers.
    fn resolver(&mut self, request: &Request, rootfs: &Rootfs, host: &Surroundings) {
        const FILE: &str = "/etc/resolv.conf";
        match &host.resolv_conf {
            Some(file) if request.network == Network::Host && rootfs.resolv_conf => {
                self.planned.push(Planned::bind(FILE, file));
            }
            Some(_) if request.network == Network::Host => {
                self.notes.push(format!("the image has no {FILE} to mount the host's on: names will not be found"));
            }
            _ => {}
        }
    }

    fn home(&mut self, request: &Request, home: Option<&Path>) {
        let Some(home) = home else { return };
        match request.home {
            Home::Readonly => {}
            Home::Tmpfs => self.replace(Planned::tmpfs(home, TMP_SIZE, 0o700)),
            Home::Absent => self.replace(Planned::closed(home)),
        }
    }

    /// Masks what is hidden. What was asked for by its own name is not; where something inside was asked for, it is all that there is.
    fn hide(
        &mut self,
        hidden: &[Hidden],
        grants: &[Grant],
        host: &Surroundings,
        request: &Request,
    ) -> BTreeSet<String> {
        let mut masked = BTreeSet::new();
        for hidden in hidden {
            let named = grants.iter().any(|grant| grant.source == hidden.path && grant.target == hidden.path);
            let opened = hidden.directory && grants.iter().any(|grant| grant.target.starts_with(&hidden.path));
            if named {
                continue;
            }
            if opened {
                self.replace(Planned::closed(&hidden.path));
            } else {
                masked.insert(hidden.path.to_string_lossy().into_owned());
            }
        }
        // What is granted under another name is the same inside.
        masked.extend(hidden_below(hidden, grants.iter().filter(|grant| grant.source != grant.target)));
        self.unreachable(grants, host, request);
        masked
    }

    /// As root: the program is a stranger to the directories above what it is granted, and some of them let nobody pass.
    fn unreachable(&mut self, grants: &[Grant], host: &Surroundings, request: &Request) {
        if !host.is_root {
            return;
        }
        for grant in grants {
            let granted = |path: &Path| grants.iter().any(|other| other.directory && path.starts_with(&other.target));
            for closed in host.closed_directories(&grant.target) {
                let path = &closed.path;
                let in_memory = self
                    .planned
                    .iter()
                    .any(|mount| matches!(mount.kind, Kind::Tmpfs { .. }) && path.starts_with(&mount.target));
                let replaced = request.tmpfs.iter().any(|tmpfs| path.starts_with(&tmpfs.target));
                if !(in_memory || replaced || granted(path) && closed.of_root) {
                    self.replace(Planned::closed(path));
                    break;
                }
            }
        }
    }

    /// The last word on a mount point is the flag's.
    fn replace(&mut self, mount: Planned) {
        self.planned.retain(|other| other.target != mount.target);
        self.planned.push(mount);
    }

    /// Whether the files of root below a path can be made the program's.
    fn can_map(&mut self, source: &Path, host: &Surroundings) -> bool {
        let kind = hidden::mount_of(source, &host.mounts).map_or("", |mount| mount.kind.as_str());
        let can = MAPPABLE.contains(&kind);
        if !can {
            self.notes.push(format!(
                "{}: on {kind} the program is a stranger to root's files: it reads and writes what everybody may",
                source.display()
            ));
        }
        can
    }

    fn write(self, masked: Vec<String>) -> FileSystem {
        // Before anything is looked up in it: no mount point may be made on the host.
        let mut mounts = vec![json!({ "destination": "/", "options": ["remount", "rro", "rnosuid", "rnodev"] })];
        let mut closed = Vec::new();
        for Planned { target, kind } in self.planned {
            mounts.push(match kind {
                Kind::Other(value) => value,
                Kind::Tmpfs { size, mode, exec, closed: is_closed } => {
                    let inodes = if is_closed { MOST_MOUNT_POINTS } else { (size / BYTES_PER_INODE).max(16) };
                    if is_closed {
                        closed.push(json!({ "destination": target, "options": ["remount", "ro"] }));
                    }
                    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
                    if !exec {
                        options.push("noexec".to_owned());
                    }
                    options.extend([format!("mode={mode:o}"), format!("size={size}"), format!("nr_inodes={inodes}")]);
                    json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options })
                }
                Kind::Bind { source, writable, mapped } => bind(&target, &source, writable, mapped),
            });
        }
        mounts.extend(closed.into_iter().rev());
        FileSystem { mounts, masked, notes: self.notes }
    }
}

fn bind(target: &Path, source: &Path, writable: bool, mapped: bool) -> Value {
    let mut options = vec!["rbind", "rprivate", "nosuid", "rnosuid", "nodev", "rnodev"];
    if !writable {
        options.extend(["ro", "rro"]);
    }
    let mut mount = json!({ "destination": target, "type": "bind", "source": source, "options": options });
    if mapped {
        // Root's files are the program's and the other way round; all others are whose they were.
        let swap = |program: u32| {
            json!([
                { "containerID": 0, "hostID": program, "size": 1 },
                { "containerID": 1, "hostID": 1, "size": program - 1 },
                { "containerID": program, "hostID": 0, "size": 1 },
                { "containerID": program + 1, "hostID": program + 1, "size": u32::MAX - program - 1 },
            ])
        };
        mount["uidMappings"] = swap(ROOT_OUTSIDE);
        mount["gidMappings"] = swap(ROOT_OUTSIDE);
    }
    mount
}

/// Mount points that do not exist, where they cannot be made: everywhere but in memory.
fn missing_targets(planned: &[Planned], request: &Request, grants: &[Grant]) -> Vec<Refusal> {
    let tmpfs = request.tmpfs.iter().filter(|tmpfs| !tmpfs.target_exists).map(|tmpfs| ("--tmpfs", &tmpfs.target, None));
    let grants = grants.iter().filter(|grant| !grant.target_exists).map(|grant| {
        let flag = if grant.writable { "--rw" } else { "--ro" };
        (flag, &grant.target, Some(&grant.source))
    });
    let missing = tmpfs.chain(grants).filter(|(_, target, _)| {
        let above = planned.iter().filter(|mount| target.starts_with(&mount.target) && mount.target != **target);
        let nearest = above.max_by_key(|mount| mount.target.components().count());
        !nearest.is_some_and(|mount| matches!(mount.kind, Kind::Tmpfs { .. }))
    });
    let whose = if request.rootfs.is_some() { "the image" } else { "the host's file system" };
    missing
        .map(|(flag, target, source)| Refusal {
            message: format!("{flag}: there is no {} to mount on, and {whose} is read-only", target.display()),
            hint: match (source.and_then(|source| source.file_name()), &request.rootfs) {
                (Some(name), Some(_)) => {
                    let source = source.unwrap_or(target);
                    format!("choose a place in memory: {flag} {}:/tmp/{}", source.display(), name.to_string_lossy())
                }
                (_, Some(_)) => "choose a directory of the image, or a place below /tmp or /run".into(),
                (_, None) => "make it on the host, or choose a place below /tmp, /run or another --tmpfs".into(),
            },
        })
        .collect()
}
