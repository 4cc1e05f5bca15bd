//! The file system that the program sees: the host's, read-only, with holes.
//!
//! Order is by depth, so that what is inside something is mounted after it, whatever the order of flags. Nothing is ever made on
//! the host: its tree is read-only before the first mount point is looked for, and those that are missing are made in memory only.
#![forbid(unsafe_code)]

use super::hidden::{self, Hidden};
use super::own::{self, Seen};
use super::request::{Grant, Home, Network, Request};
use super::rootfs::Rootfs;
use super::surroundings::{PRIVATE, Surroundings};
use super::{Ids, ROOT_OUTSIDE, Refusal};
use crate::spelling::{shown, spell, spell_path};
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

/// Mounts and masks for a configuration, spelled.
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
/// only. Overlayfs can only be made of such mounts, not be one (EINVAL).
const MAPPABLE: &[&str] =
    &["ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "tmpfs", "erofs", "vfat", "exfat", "bcachefs", "zfs"];

/// Decides what the program sees.
pub(super) fn compile(request: &Request, host: &Surroundings, ids: Ids) -> Result<FileSystem, Vec<Refusal>> {
    let mut table = Table { planned: Vec::new(), notes: Vec::new() };
    let mut refusals: Vec<Refusal> = both_given_and_in_memory(request).collect();
    let holes = Holes::of(request, host);
    let hidden = holes.all.as_slice();
    table.notes.extend(host.known.notes.iter().chain(&holes.notes).cloned());
    let own = own::everywhere(&host.own, &host.mounts);
    refusals.extend(own::refusals(request, host, &own));
    let (grants, mut masked) = match &request.rootfs {
        None => {
            table.private(&host.private, request.room);
            table.of_run(host);
            table.links(host);
            let grants = grants(request, host, &holes, &mut refusals);
            table.home(request, host.home.as_deref());
            let mut masked = table.hide(hidden, &grants, host, request);
            masked.extend(of_a_strange_root(request, host));
            (grants, masked)
        }
        Some(rootfs) => {
            refusals.extend(without_mount_points(rootfs));
            table.private(&rootfs.private, request.room);
            table.resolver(request, rootfs, host);
            table.home(request, rootfs.home.as_deref());
            let masked = table.hide_in_image(hidden, rootfs, request);
            (request.grants.clone(), masked)
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
        // Root's files are the program's only where root has typed so.
        let typed = request.grants.contains(grant);
        let mapped = typed && ids.outside == ROOT_OUTSIDE && host.is_root && table.can_map(&grant.source, host);
        table.replace(Planned {
            target: grant.target.clone(),
            kind: Kind::Bind { source: grant.source.clone(), writable: grant.writable, mapped },
        });
    }
    for device in &request.devices {
        table.device(&device.path);
    }
    table.pin(&own);
    masked.extend(table.mask(&own, request.rootfs.as_ref().map_or(Path::new("/"), |rootfs| &rootfs.path)));
    table.planned.sort_by_key(|mount| mount.target.components().count());
    refusals.extend(missing_targets(&table.planned, request, &grants));
    if refusals.is_empty() { Ok(table.write(&masked)) } else { Err(refusals) }
}

/// Everything that is hidden from a program that was given nothing.
pub(super) fn all_hidden(host: &Surroundings) -> Vec<Hidden> {
    Holes::of(&Request::default(), host).all
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
        // A mask is over what is there when it is made: what is inside another comes first, and what is inside is not
        // looked for.
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all.dedup_by(|a, b| a.path == b.path);
        Self { all, private: private.into_iter().map(|hidden| hidden.path).collect(), notes }
    }
}

/// Paths in the sandbox of what is hidden and inside of what is granted.
fn hidden_below<'a>(
    hidden: &'a [Hidden],
    grants: impl IntoIterator<Item = &'a Grant>,
) -> impl Iterator<Item = PathBuf> {
    grants.into_iter().flat_map(move |grant| {
        let below = hidden.iter().filter_map(|hidden| hidden.path.strip_prefix(&grant.source).ok());
        let inside = below.filter(|below| !below.as_os_str().is_empty());
        inside.map(|below| grant.target.join(below))
    })
}

/// One place is either the host's or in memory.
fn both_given_and_in_memory(request: &Request) -> impl Iterator<Item = Refusal> {
    let in_memory = |grant: &&Grant| request.tmpfs.iter().any(|tmpfs| tmpfs.target == grant.target);
    request.grants.iter().filter(in_memory).map(|grant| {
        let (flag, path) = (if grant.writable { "--rw" } else { "--ro" }, shown(&grant.target));
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
            message: format!("--image {}: there is no directory {path} in it to mount on", shown(&rootfs.path)),
            hint: format!("mkdir {}{path}", shown(&rootfs.path)),
        },
        // It has a file, or a link that may lead anywhere.
        Some(name) => Refusal {
            message: format!("--image {name}: its {path} is not a directory to mount on"),
            hint: "no container can be made from it".to_owned(),
        },
    })
}

/// What was asked for, and the working directory and a home in a private place, which are there without being asked
/// for.
fn grants(request: &Request, host: &Surroundings, holes: &Holes, refusals: &mut Vec<Refusal>) -> Vec<Grant> {
    let implicit = |path: &Path| Grant {
        source: path.to_owned(),
        target: path.to_owned(),
        target_exists: true,
        writable: false,
        directory: true,
    };
    let in_memory = |path: &Path| request.tmpfs.iter().any(|tmpfs| tmpfs.target == path);
    let home = host.home.as_deref().filter(|home| is_below_private(home) && !host.lets_no_stranger_in(home));
    let home = home.filter(|home| request.home == Home::Readonly && !in_memory(home));
    let mut all: Vec<Grant> = home.map(implicit).into_iter().collect();
    let directory = host.directory.as_path();
    let granted = request.grants.iter().any(|grant| directory.starts_with(&grant.target));
    let secret = holes.all.iter().find(|hidden| {
        directory.starts_with(&hidden.path)
            && !host.other_homes.contains(&hidden.path)
            && !holes.private.contains(&hidden.path)
    });
    let mut private = holes.private.iter().chain(&host.private_links);
    let is_private_itself = private.clone().any(|own| own == directory);
    if let Some(secret) = secret.filter(|_| !granted && request.workdir.is_none()) {
        refusals.push(Refusal {
            message: format!(
                "the working directory {} is hidden: {} holds credentials",
                shown(directory),
                shown(&secret.path)
            ),
            hint: format!("go elsewhere, name another with --workdir, or show it with --ro {}", shown(directory)),
        });
    } else if secret.is_none()
        && !is_private_itself
        && has_place(directory, request, host)
        && !host.lets_no_stranger_in(directory)
    {
        let in_home =
            request.home != Home::Readonly && host.home.as_deref().is_some_and(|home| directory.starts_with(home));
        let in_another = host.other_homes.iter().any(|home| directory.starts_with(home));
        let elsewhere = private.any(|private| directory.starts_with(private));
        if is_private(directory) || in_home || in_another || elsewhere || host.is_root {
            all.push(implicit(directory));
        }
    }
    all.extend(request.grants.iter().cloned());
    all
}

/// In one of the directories that every sandbox has for itself.
fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|private| path.starts_with(private))
}

/// A directory that somebody has made in the host's temporary ones. Those themselves, and what the kernel and services
/// have, stay private whatever is called a home.
fn is_below_private(path: &Path) -> bool {
    ["/tmp", "/var/tmp"].iter().any(|private| path.starts_with(private) && path != Path::new(private))
}

/// Whether the working directory is shown for being that: not where it is granted or replaced, and not the private ones
/// themselves.
fn has_place(directory: &Path, request: &Request, host: &Surroundings) -> bool {
    let granted = request.grants.iter().any(|grant| directory.starts_with(&grant.target));
    let replaced = request.tmpfs.iter().any(|tmpfs| directory.starts_with(&tmpfs.target));
    let is_home = host.home.as_deref() == Some(directory) && request.home != Home::Readonly;
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|path| directory.starts_with(path));
    // The sockets and keys of a session.
    let of_session = directory.starts_with("/run/user") && directory.components().count() <= 4;
    let itself = matches!(directory.to_str(), Some("/tmp" | "/var/tmp" | "/run" | "/dev/shm"));
    directory.parent().is_some() && !granted && !replaced && !is_home && !kernel && !of_session && !itself
}

/// HOME, for a program on the host's files: the caller's, unless there is nothing of it in the sandbox.
pub(super) fn home_variable(request: &Request, host: &Surroundings) -> PathBuf {
    let granted = |home: &Path| request.grants.iter().any(|grant| home.starts_with(&grant.target));
    let made = |home: &Path| request.home != Home::Readonly || request.tmpfs.iter().any(|tmpfs| tmpfs.target == home);
    let is_there = |home: &&Path| {
        let of_kernel = ["/proc", "/sys", "/dev"].iter().any(|path| home.starts_with(path));
        let own = ["/run", "/tmp", "/var/tmp"].iter().any(|path| *home == Path::new(path));
        !of_kernel && (own || !is_private(home) || is_below_private(home) || granted(home) || made(home))
    };
    host.home.as_deref().filter(is_there).unwrap_or(Path::new("/tmp")).to_owned()
}

/// What has to be said of a working directory of root's that a stranger does not see as root does.
fn as_a_stranger(grants: &[Grant], host: &Surroundings, request: &Request) -> Option<String> {
    let directory = host.directory.as_path();
    if request.workdir.is_some() || !has_place(directory, request, host) {
        return None;
    }
    let hint = "--ro . or --rw . gives it root's files there";
    if host.lets_no_stranger_in(directory) {
        return Some(format!("{} is closed to others, and so empty for the program: {hint}", shown(directory)));
    }
    let behind = host.closed_directories(directory).next().is_some();
    let shows = grants.iter().any(|grant| grant.target == directory);
    (behind && shows).then(|| format!("the program sees of {} what others may read in it: {hint}", shown(directory)))
}

/// Directories whose files programs believe only where root owns them, and root has no name in a user's sandbox: ssh(1) ends
/// with "Bad owner or permissions" at what /etc/ssh/ssh_config includes. Without them it takes its defaults.
const OF_ROOT_ONLY: &[&str] = &["/etc/ssh/ssh_config.d"];

/// Those of them that are of no use to this caller's program. Who names one, or something in it, has it as it is.
fn of_a_strange_root(request: &Request, host: &Surroundings) -> impl Iterator<Item = PathBuf> {
    // The others' programs are called what root's files belong to here.
    let is_strange = !host.is_root && host.uid != 0;
    let named = |place: &Path| {
        let mut targets = request.grants.iter().map(|grant| &grant.target);
        targets.any(|target| target.starts_with(place))
            || request.tmpfs.iter().any(|tmpfs| tmpfs.target.starts_with(place))
    };
    OF_ROOT_ONLY.iter().map(PathBuf::from).filter(move |place| is_strange && !named(place))
}

struct Table {
    planned: Vec<Planned>,
    notes: Vec<String>,
}

impl Table {
    /// What every sandbox has of its own, where there is a directory for it.
    fn private(&mut self, there: &[PathBuf], room: Option<(u64, bool)>) {
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
            let (size, exec) = room.filter(|_| **path == *"/tmp").unwrap_or((TMP_SIZE, false));
            let kind = Kind::Tmpfs { size, mode: 0o1777, exec, closed: false };
            self.planned.push(Planned { target: path.into(), kind });
        }
    }

    /// A device of the host where it is on the host: its node cannot be changed, and what is behind it be used.
    fn device(&mut self, path: &Path) {
        let place = spell_path(path);
        let options = ["bind", "rprivate", "nosuid", "noexec", "ro"];
        let value = json!({ "destination": place, "type": "bind", "source": place, "options": options });
        self.replace(Planned { target: path.to_owned(), kind: Kind::Other(value) });
    }

    /// Where the host's own temporary directories are links, what they lead to is the sandbox's.
    fn links(&mut self, host: &Surroundings) {
        for place in &host.private_links {
            let size = if place.starts_with("/run") { RUN_SIZE } else { TMP_SIZE };
            self.replace(Planned::tmpfs(place, size, 0o1777));
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
        // What every sandbox has for itself is there already.
        let own = |home: &&Path| !PRIVATE.iter().any(|private| Path::new(private).starts_with(home));
        let of_kernel = |home: &&Path| ["/proc", "/sys", "/dev"].iter().any(|path| home.starts_with(path));
        let Some(home) = home.filter(own).filter(|home| !of_kernel(home)) else { return };
        match request.home {
            Home::Readonly => {}
            Home::Tmpfs => self.replace(Planned::tmpfs(home, TMP_SIZE, 0o700)),
            Home::Absent => self.replace(Planned::closed(home)),
        }
    }

    /// Masks what is hidden. What was asked for by its own name is not; where something inside was asked for, it is all that there is.
    /// A directory in memory shows nothing of what it is on, and a mask would be over it.
    fn hide(
        &mut self,
        hidden: &[Hidden],
        grants: &[Grant],
        host: &Surroundings,
        request: &Request,
    ) -> BTreeSet<PathBuf> {
        let mut masked = BTreeSet::new();
        for hidden in hidden {
            let named = grants.iter().any(|grant| grant.source == hidden.path && grant.target == hidden.path);
            let in_memory = request.tmpfs.iter().any(|tmpfs| tmpfs.target == hidden.path);
            let targets = grants.iter().map(|grant| &grant.target);
            let mut targets = targets.chain(request.tmpfs.iter().map(|tmpfs| &tmpfs.target));
            let opened = hidden.directory && targets.any(|target| target.starts_with(&hidden.path));
            if named || in_memory {
                continue;
            }
            if opened {
                self.replace(Planned::closed(&hidden.path));
            } else {
                masked.insert(hidden.path.clone());
            }
        }
        // What is granted under another name is the same inside.
        masked.extend(hidden_below(hidden, grants.iter().filter(|grant| grant.source != grant.target)));
        self.unreachable(grants, host, request);
        masked
    }

    /// Masks what is hidden of the host in a directory of it that is a sandbox's root: aliases, sockets, secrets of a
    /// name of theirs.
    fn hide_in_image(&mut self, hidden: &[Hidden], rootfs: &Rootfs, request: &Request) -> BTreeSet<PathBuf> {
        let grants = request.grants.as_slice();
        let mut masked: BTreeSet<PathBuf> = hidden_below(hidden, grants).collect();
        for hidden in hidden {
            let Some(inside) = hidden.path.strip_prefix(&rootfs.path).ok().filter(|path| path.file_name().is_some())
            else {
                continue;
            };
            let inside = Path::new("/").join(inside);
            let given = grants.iter().map(|grant| &grant.target);
            let mut given = given.chain(request.tmpfs.iter().map(|tmpfs| &tmpfs.target));
            if given.clone().any(|target| inside.starts_with(target)) {
                continue;
            }
            // A mask would be over what was given in it.
            if hidden.directory && given.any(|target| target.starts_with(&inside)) {
                self.replace(Planned::closed(inside));
            } else {
                masked.insert(inside);
            }
        }
        masked
    }

    /// As root: the program is a stranger to the directories above what it is granted, and some of them let nobody
    /// pass. The working directory and the home are empty where they let nobody in.
    fn unreachable(&mut self, grants: &[Grant], host: &Surroundings, request: &Request) {
        if !host.is_root {
            return;
        }
        let empty = [Some(host.directory.as_path()), host.home.as_deref()].into_iter().flatten();
        let empty: Vec<&Path> = empty.filter(|path| host.lets_no_stranger_in(path)).collect();
        for path in &empty {
            let given = request.grants.iter().any(|grant| path.starts_with(&grant.target));
            let own = PRIVATE.iter().any(|private| Path::new(private).starts_with(path));
            if !given && !own && !self.is_in_memory(path, request) {
                self.replace(Planned::closed(*path));
            }
        }
        for target in grants.iter().map(|grant| grant.target.as_path()).chain(empty) {
            let mapped =
                |path: &Path| request.grants.iter().any(|other| other.directory && path.starts_with(&other.target));
            for closed in host.closed_directories(target) {
                let path = &closed.path;
                if !(self.is_in_memory(path, request) || mapped(path) && closed.of_root) {
                    self.replace(Planned::closed(path));
                    break;
                }
            }
        }
        if let Some(note) = as_a_stranger(grants, host, request) {
            self.notes.push(note);
        }
    }

    /// Nothing of the host is at this path.
    fn is_in_memory(&self, path: &Path, request: &Request) -> bool {
        let planned = self.planned.iter();
        let mut in_memory = planned.filter(|mount| matches!(mount.kind, Kind::Tmpfs { .. })).map(|mount| &mount.target);
        in_memory.any(|target| path.starts_with(target))
            || request.tmpfs.iter().any(|tmpfs| path.starts_with(&tmpfs.target))
    }

    /// Makes the directories above pent's own files mount points, as far as the program could rename them and put
    /// others in their place.
    fn pin(&mut self, own: &[Seen]) {
        let mut pins = Vec::new();
        for mount in &self.planned {
            let Kind::Bind { source, writable: true, mapped } = &mount.kind else { continue };
            for directory in own.iter().flat_map(|own| own::pins(own, source)) {
                let Some(target) = self.shown(mount, source, directory) else { continue };
                let kind = Kind::Bind { source: directory.to_owned(), writable: true, mapped: *mapped };
                pins.push(Planned { target, kind });
            }
        }
        pins.into_iter().for_each(|pin| self.replace(pin));
    }

    /// Paths at which the program would see pent's own files, through a mount or in `root`, which is below all mounts.
    fn mask(&self, own: &[Seen], root: &Path) -> Vec<PathBuf> {
        let mut masked = Vec::new();
        for own in own {
            for mount in &self.planned {
                if let Kind::Bind { source, .. } = &mount.kind {
                    masked.extend(self.shown(mount, source, &own.path));
                }
            }
            let in_root = own.path.strip_prefix(root).ok().map(|below| Path::new("/").join(below));
            masked.extend(in_root.filter(|target| self.covering(target).is_none()));
        }
        masked
    }

    /// Where the program sees this path of the host through a mount; nothing when another mount is over it.
    fn shown(&self, mount: &Planned, source: &Path, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(source).ok()?;
        let target: PathBuf = mount.target.join(below).components().collect();
        self.covering(&target).filter(|covering| covering.target == mount.target).map(|_| target)
    }

    /// The mount that a path of the sandbox is in.
    fn covering(&self, path: &Path) -> Option<&Planned> {
        let above = self.planned.iter().filter(|mount| path.starts_with(&mount.target));
        above.max_by_key(|mount| mount.target.components().count())
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
                shown(source)
            ));
        }
        can
    }

    fn write(self, masked: &BTreeSet<PathBuf>) -> FileSystem {
        let masked = masked.iter().map(spell).collect();
        // Before anything is looked up in it: no mount point may be made on the host.
        let mut mounts = vec![json!({ "destination": "/", "options": ["remount", "rro", "rnosuid", "rnodev"] })];
        let mut closed = Vec::new();
        for Planned { target, kind } in self.planned {
            let target = spell_path(&target);
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
                Kind::Bind { source, writable, mapped } => bind(&target, &spell_path(&source), writable, mapped),
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
            message: format!("{flag}: there is no {} to mount on, and {whose} is read-only", shown(target)),
            hint: match (source.and_then(|source| source.file_name()), &request.rootfs) {
                (Some(name), Some(_)) => {
                    let source = source.unwrap_or(target);
                    format!("choose a place in memory: {flag} {}:/tmp/{}", shown(source), shown(name))
                }
                (_, Some(_)) => "choose a directory of the image, or a place below /tmp or /run".into(),
                (_, None) => "make it on the host, or choose a place below /tmp, /run or another --tmpfs".into(),
            },
        })
        .collect()
}
