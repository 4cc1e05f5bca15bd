//! Where pent keeps files of its own, or would: state, unpacked images, configuration. What a sandboxed program could
//! read or write there, a later pent would believe, so no grant reaches it.
//!
//! [`candidates`] is pure: every place that pent may use for this caller, whatever its environment says now, since the
//! next call may have another. [`probe`] finds out where they really are. [`prepare`] makes those that a grant would
//! let the program make itself. The rest is pure again: what is masked, what is pinned, and which flags are refused.
//!
//! A mask is a mount point, which cannot be renamed or removed, but a directory above it could be: so where a grant is
//! writable, every directory between its root and such a place is a mount point too.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the host's own file system as the caller sees it; no container is near"
)]

use super::absent::Doubts;
use super::hidden::{Elsewhere, HostMount};
use super::request::Request;
use super::surroundings::{Error, User, passwd, users};
use super::{Grant, Refusal, Surroundings};
use crate::state;
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// Links followed on the way to a place, as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// What is kept at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keeps {
    /// The state of containers, with their environment.
    State,
    /// Unpacked images.
    Cache,
    /// The administrator's profiles.
    Configuration,
    /// What an earlier run reported, where this one will.
    Report,
}

impl Keeps {
    fn name(self) -> &'static str {
        match self {
            Self::State => "the state of pent's containers",
            Self::Cache => "pent's cache of images",
            Self::Configuration => "pent's configuration",
            Self::Report => "the report",
        }
    }

    /// The mode of its directory when it is made. Everybody reads the configuration.
    fn mode(self) -> u32 {
        if self == Self::Configuration { 0o755 } else { 0o700 }
    }
}

/// A place as it is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Absolute, maybe with links.
    pub path: PathBuf,
    /// What is there.
    pub keeps: Keeps,
    /// This caller's pent would believe what is there. Places of others are only kept from being read.
    pub believed: bool,
}

/// Whose places.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Uids of the caller: the effective one, and in a user namespace the one outside.
    pub uids: Vec<u32>,
    /// Root, and in no user namespace.
    pub is_root: bool,
    /// The state directory of this call.
    pub root: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub cache: Option<PathBuf>,
    /// The caller's homes: HOME and those of passwd(5).
    pub homes: Vec<PathBuf>,
    /// Homes of other users.
    pub other_homes: Vec<PathBuf>,
    /// Places of other users that are there now: `/tmp/pent-UID` and `/run/user/UID/pent`.
    pub others: Vec<PathBuf>,
}

/// Every place that pent may use for this caller or has used for others.
#[must_use]
pub fn candidates(caller: &Caller) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |path: PathBuf, keeps, believed| {
        if path.is_absolute() {
            all.push(Candidate { path, keeps, believed });
        }
    };
    let user = !caller.is_root;
    add(caller.root.clone(), Keeps::State, true);
    add(state::SYSTEM_ROOT.into(), Keeps::State, caller.is_root);
    add("/var/cache/pent".into(), Keeps::Cache, caller.uids.contains(&0));
    add("/etc/pent".into(), Keeps::Configuration, true);
    for uid in &caller.uids {
        add(format!("/run/user/{uid}/pent").into(), Keeps::State, user);
        add(state::fallback_root(*uid), Keeps::State, user);
    }
    if let Some(directory) = &caller.runtime {
        add(directory.join("pent"), Keeps::State, user);
    }
    if let Some(directory) = &caller.cache {
        add(directory.join("pent"), Keeps::Cache, user);
    }
    for home in &caller.homes {
        add(home.join(".cache/pent"), Keeps::Cache, user);
    }
    for home in &caller.other_homes {
        add(home.join(".cache/pent"), Keeps::Cache, false);
    }
    for path in &caller.others {
        add(path.clone(), Keeps::State, false);
    }
    // Of two for one path, the one that is believed.
    all.sort_by(|a, b| (&a.path, b.believed).cmp(&(&b.path, a.believed)));
    all.dedup_by(|later, first| later.path == first.path);
    all
}

impl Caller {
    /// Whoever runs this process; `root` is its state directory.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn of_process(root: &Path) -> Result<Self, Error> {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
        let uid = nix::unistd::geteuid().as_raw();
        let mut uids = vec![uid];
        let outer = crate::cgroup::outer_uid();
        if outer != uid {
            uids.push(outer);
        }
        let (own, others): (Vec<User>, Vec<User>) =
            users(&passwd()?).into_iter().partition(|user| uids.contains(&user.uid));
        let doubts = Doubts::default();
        let names = |directory: &str| {
            let directory = Path::new(directory);
            let entries = doubts.see(directory, fs::read_dir(directory)).into_iter().flatten();
            entries.filter_map(|entry| Some(doubts.see(directory, entry)?.path())).collect::<Vec<_>>()
        };
        let other_homes = others.into_iter().map(|user| user.home).collect();
        let is_fallback = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix("pent-"));
            name.is_some_and(|uid| uid.parse::<u32>().is_ok())
        };
        let others = names("/tmp").into_iter().filter(is_fallback);
        let others = others.chain(names("/run/user").into_iter().map(|directory| directory.join("pent"))).collect();
        doubts.settle()?;
        Ok(Self {
            is_root: uid == 0 && !state::is_in_user_namespace(),
            root: root.to_owned(),
            runtime: variable("XDG_RUNTIME_DIR"),
            cache: variable("XDG_CACHE_HOME"),
            homes: variable("HOME").into_iter().chain(own.into_iter().map(|user| user.home)).collect(),
            other_homes,
            others,
            uids,
        })
    }
}

/// A place as it is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Without links, as far as it exists.
    pub path: PathBuf,
    /// How many of the last names of `path` do not exist.
    pub missing: usize,
    /// Links on the way to it, each by its path without links.
    pub links: Vec<PathBuf>,
    /// What is there.
    pub keeps: Keeps,
    /// This caller's pent would believe what is there.
    pub believed: bool,
}

impl Place {
    /// The report of an earlier run, which is a file.
    #[must_use]
    pub fn report(path: PathBuf) -> Self {
        Self { path, missing: 0, links: Vec::new(), keeps: Keeps::Report, believed: false }
    }

    fn is_strictly_below(&self, directory: &Path) -> bool {
        self.path != directory && self.path.starts_with(directory)
    }
}

/// Where the candidates really are. Those of others are left out where there is nothing: nobody here makes or believes
/// them.
///
/// # Errors
/// When that cannot be found out.
pub fn probe(candidates: &[Candidate]) -> Result<Vec<Place>, Error> {
    let doubts = Doubts::default();
    let places = candidates.iter().map(|candidate| find(candidate, &doubts));
    let places = places.filter(|place| place.believed || place.missing == 0).collect();
    doubts.settle().map(|()| places)
}

/// Follows a path by hand, because the links on it matter too.
fn find(candidate: &Candidate, doubts: &Doubts) -> Place {
    let mut place =
        Place { path: "/".into(), missing: 0, links: Vec::new(), keeps: candidate.keeps, believed: candidate.believed };
    let names = |path: &Path| path.components().rev().map(|name| name.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut rest = names(&candidate.path);
    let mut followed = 0;
    while let Some(name) = rest.pop() {
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => place.path = "/".into(),
            Some(Component::ParentDir) if place.missing == 0 => drop(place.path.pop()),
            Some(Component::Normal(_)) => {
                let next = place.path.join(&name);
                let found = if place.missing == 0 { doubts.see(&next, fs::symlink_metadata(&next)) } else { None };
                let is_link = found.as_ref().is_some_and(|found| found.is_symlink());
                let target = if is_link { doubts.see(&next, fs::read_link(&next)) } else { None };
                match target {
                    Some(target) if followed < MAX_LINKS => {
                        followed += 1;
                        place.links.push(next);
                        rest.extend(names(&target));
                    }
                    _ => {
                        place.missing += usize::from(found.is_none());
                        place.path = next;
                    }
                }
            }
            _ => {}
        }
    }
    place
}

/// Makes the places that are missing and that a grant would let the program make, so that they can be masked: what
/// appeared there later would be believed, or be seen.
///
/// # Errors
/// When one cannot be made though the program could: it owns the directory above.
pub fn prepare(places: &mut [Place], grants: &[Grant]) -> Result<(), Refusal> {
    for place in places.iter_mut().filter(|place| place.believed && place.missing > 0) {
        let above = || grants.iter().filter(|grant| place.is_strictly_below(&grant.source));
        let writable = above().find(|grant| grant.writable);
        if writable.is_none() && (place.keeps != Keeps::State || above().next().is_none()) {
            continue;
        }
        let made = make(place);
        let Some(grant) = writable else { continue };
        if let Err((path, error)) = made
            && !is_closed_to_the_program(&path, &error)
        {
            return Err(Refusal {
                message: format!(
                    "--rw {}: the program could make {}, which is for {}, and pent cannot: {error}",
                    grant.source.display(),
                    path.display(),
                    place.keeps.name()
                ),
                hint: format!(
                    "make it a directory that you can write to, or give less than {}",
                    grant.source.display()
                ),
            });
        }
    }
    Ok(())
}

/// Makes the directories that a place lacks; which could not be made, and why.
fn make(place: &mut Place) -> Result<(), (PathBuf, io::Error)> {
    let missing: Vec<PathBuf> = place.path.ancestors().take(place.missing).map(Path::to_owned).collect();
    for path in missing.iter().rev() {
        let mode = if *path == place.path { place.keeps.mode() } else { 0o700 };
        match DirBuilder::new().mode(mode).create(path) {
            // Another pent was faster; a link or a file that appeared just now is found by the check below.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err((path.clone(), error)),
            _ => {}
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => place.missing -= 1,
            Ok(_) => return Err((path.clone(), Errno::ENOTDIR.into())),
            Err(error) => return Err((path.clone(), error)),
        }
    }
    Ok(())
}

/// Whether what keeps the caller from making a directory keeps the program from it, too: it has the same user and fewer
/// rights, but may change the modes of what is its own.
fn is_closed_to_the_program(path: &Path, error: &io::Error) -> bool {
    let own = |directory: &Path| match fs::symlink_metadata(directory) {
        Ok(found) => Some(found.uid() == nix::unistd::geteuid().as_raw()),
        Err(_) => None,
    };
    match error.raw_os_error() {
        Some(libc::EROFS) => true,
        Some(libc::EACCES | libc::EPERM) => path.ancestors().skip(1).find_map(own) == Some(false),
        _ => false,
    }
}

/// A place at one of the paths that lead to it, as a file system may be mounted more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    existing: PathBuf,
    links: Vec<PathBuf>,
    keeps: Keeps,
    believed: bool,
}

/// All paths that lead to the places.
pub(super) fn everywhere(places: &[Place], mounts: &[HostMount]) -> Vec<Seen> {
    let elsewhere = Elsewhere::new(mounts);
    let mut all = Vec::new();
    for place in places {
        let mut links = place.links.clone();
        links.extend(place.links.iter().flat_map(|link| elsewhere.of_path(link)));
        let mut add = |path: PathBuf, missing: usize| {
            let existing = path.ancestors().nth(missing).unwrap_or(Path::new("/")).to_owned();
            all.push(Seen { path, existing, links: links.clone(), keeps: place.keeps, believed: place.believed });
        };
        add(place.path.clone(), place.missing);
        for alias in elsewhere.of_path(&place.path) {
            add(alias, place.missing);
        }
    }
    all
}

/// What was typed and leads into such a place, and links to one that the program could replace.
pub(super) fn refusals(request: &Request, host: &Surroundings, all: &[Seen]) -> Vec<Refusal> {
    let on_host = request.rootfs.is_none();
    let mut typed: Vec<(&str, &Path)> = Vec::new();
    for grant in &request.grants {
        let flag = if grant.writable { "--rw" } else { "--ro" };
        typed.push((flag, &grant.source));
        if on_host && grant.target != grant.source {
            typed.push((flag, &grant.target));
        }
    }
    match &request.rootfs {
        Some(rootfs) if rootfs.unpacked.is_none() => typed.push(("--image", &rootfs.path)),
        Some(_) => {}
        None => {
            typed.extend(request.tmpfs.iter().map(|tmpfs| ("--tmpfs", tmpfs.target.as_path())));
            match &request.workdir {
                Some(workdir) => typed.push(("--workdir", workdir)),
                None => typed.push(("the working directory", &host.directory)),
            }
            typed.extend(host.home.as_deref().map(|home| ("HOME", home)));
        }
    }
    let mut refusals = Vec::new();
    for (flag, path) in typed {
        if let Some(own) = all.iter().find(|own| path.starts_with(&own.path)) {
            refusals.push(Refusal {
                message: format!("{flag} {}: {} is there, which no sandbox reaches", path.display(), own.keeps.name()),
                hint: match flag {
                    "--image" => "name what it was unpacked from".to_owned(),
                    "the working directory" => "go elsewhere, or name another with --workdir".to_owned(),
                    "HOME" => "set HOME to your home directory".to_owned(),
                    _ => "name another place".to_owned(),
                },
            });
        }
    }
    for grant in request.grants.iter().filter(|grant| grant.writable) {
        let link = all.iter().filter(|own| own.believed).find_map(|own| {
            let link = own.links.iter().find(|link| **link != grant.source && link.starts_with(&grant.source))?;
            Some((own, link))
        });
        if let Some((own, link)) = link {
            refusals.push(Refusal {
                message: format!(
                    "--rw {}: {} is a link on the way to {}, and the program could replace it",
                    grant.source.display(),
                    link.display(),
                    own.keeps.name()
                ),
                hint: "give only the directories that it needs, or make the link a directory".to_owned(),
            });
        }
    }
    refusals
}

/// The directories below `source`, from the top down, that must not be renamed for this place to stay where it is.
pub(super) fn pins<'a>(own: &'a Seen, source: &Path) -> Vec<&'a Path> {
    if !own.believed || !own.path.starts_with(source) {
        return Vec::new();
    }
    let between = own.path.ancestors().skip(1).take_while(|path| *path != source);
    let mut found: Vec<&Path> = between.filter(|path| own.existing.starts_with(path)).collect();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn ann() -> Caller {
        Caller {
            uids: vec![1000],
            root: "/srv/st".into(),
            runtime: Some("/run/user/7".into()),
            cache: Some("/data/cache".into()),
            homes: vec!["/tmp/h".into(), "/home/ann".into()],
            other_homes: vec!["/home/bob".into()],
            others: vec!["/tmp/pent-0".into(), "/tmp/pent-1000".into()],
            ..Caller::default()
        }
    }

    fn names(caller: &Caller, believed: bool) -> Vec<String> {
        let all = candidates(caller).into_iter().filter(|candidate| candidate.believed == believed);
        all.map(|candidate| candidate.path.display().to_string()).collect()
    }

    #[test]
    fn every_place_that_may_be_used() {
        let believed = [
            "/data/cache/pent",
            "/etc/pent",
            "/home/ann/.cache/pent",
            "/run/user/1000/pent",
            "/run/user/7/pent",
            "/srv/st",
            "/tmp/h/.cache/pent",
            "/tmp/pent-1000",
        ];
        assert_eq!(names(&ann(), true), believed);
        assert_eq!(names(&ann(), false), ["/home/bob/.cache/pent", "/run/pent", "/tmp/pent-0", "/var/cache/pent"]);
        let root = Caller { uids: vec![0], is_root: true, ..ann() };
        assert_eq!(names(&root, true), ["/etc/pent", "/run/pent", "/srv/st", "/var/cache/pent"]);
        assert!(names(&root, false).contains(&"/tmp/pent-1000".to_owned()));
        // A relative directory counts as none.
        let odd = Caller { runtime: Some("run".into()), homes: vec!["".into()], ..ann() };
        assert!(!names(&odd, true).iter().any(|path| !path.starts_with('/') || path.contains("/.cache/")));
    }

    fn candidate(path: PathBuf) -> Candidate {
        Candidate { path, keeps: Keeps::Cache, believed: true }
    }

    fn rw(path: &Path) -> Grant {
        let target = path.to_owned();
        Grant { source: target.clone(), target, target_exists: true, writable: true, directory: true }
    }

    #[test]
    fn links_on_the_way_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(base.join("data/real")).unwrap();
        symlink("data/real", base.join("cache")).unwrap();
        let doubts = Doubts::default();
        let place = find(&candidate(base.join("cache/./pent/images")), &doubts);
        assert_eq!((place.path, place.missing), (base.join("data/real/pent/images"), 2));
        assert_eq!(place.links, [base.join("cache")]);
        symlink("loop", base.join("loop")).unwrap();
        assert!(find(&candidate(base.join("loop/pent")), &doubts).path.starts_with(&base));
        doubts.settle().unwrap();
    }

    #[test]
    fn what_the_program_could_make_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(dir.path()).unwrap();
        let mut places = probe(&[candidate(base.join("a/.cache/pent")), candidate(base.join("b/pent"))]).unwrap();
        prepare(&mut places, &[rw(&base.join("a"))]).unwrap();
        let mode = fs::metadata(base.join("a/.cache/pent")).unwrap().mode();
        assert_eq!((mode & 0o777, places[0].missing, places[1].missing), (0o700, 0, 2));
        assert!(!base.join("b").exists());
        // A file in the way is the program's to remove.
        fs::write(base.join("b"), "").unwrap();
        let mut places = probe(&[candidate(base.join("b/pent"))]).unwrap();
        let refused = prepare(&mut places, &[rw(&base)]).unwrap_err();
        assert!(refused.message.contains("cannot: Not a directory"), "{refused}");
    }

    fn seen(path: &str, existing: &str) -> Seen {
        Seen { path: path.into(), existing: existing.into(), links: Vec::new(), keeps: Keeps::State, believed: true }
    }

    #[test]
    fn what_is_above_is_pinned() {
        let place = seen("/h/ann/.cache/x/pent", "/h/ann/.cache/x/pent");
        let between = ["/h/ann", "/h/ann/.cache", "/h/ann/.cache/x"].map(Path::new);
        assert_eq!(pins(&place, Path::new("/h")), between);
        assert!(pins(&place, Path::new("/h/ann/.cache/x")).is_empty());
        assert!(pins(&place, Path::new("/other")).is_empty());
        assert_eq!(pins(&seen("/h/ann/.cache/x/pent", "/h/ann"), Path::new("/h")), between[..1]);
    }

    #[test]
    fn aliases_of_a_place_that_is_missing() {
        let mounts = crate::sandbox::hidden::parse_mounts(
            b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:1 /home /mnt rw - ext4 a rw\n3 1 8:1 /home/ann/x /part rw - ext4 a rw\n",
        );
        let place = |path: &str, missing| Place { path: path.into(), missing, ..Place::report(PathBuf::new()) };
        let paths = |place: Place| everywhere(&[place], &mounts).into_iter().map(|seen| seen.path).collect::<Vec<_>>();
        assert_eq!(
            paths(place("/home/ann/.cache/pent", 2)),
            ["/home/ann/.cache/pent", "/mnt/ann/.cache/pent"].map(PathBuf::from)
        );
        assert_eq!(paths(place("/home/ann", 0)), ["/home/ann", "/mnt/ann", "/part"].map(PathBuf::from));
    }
}
