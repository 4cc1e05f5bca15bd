//! The paths that were typed for a sandbox: where they lead, and whether they may ([`typed`]).
#![forbid(unsafe_code)]

use super::{Explained as _, hinted};
use crate::image::{self, Image, Named, Source};
use crate::plan::op::Identity;
use crate::sandbox::hidden::Hidden;
use crate::sandbox::typed::{self, Ground, Purpose};
use crate::sandbox::{self, Device, Grant, Refusal, Rootfs, Surroundings};
use crate::spelling::{shown, spell, unspell_path};
use crate::walk::{PROC_SUPER_MAGIC, Walked, Walker};
use anyhow::Context as _;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// A flag for what `--ro` gives as well, by its own name and with a warning.
pub(super) const SOCKET: &str = "--socket";

/// What goes the ways of this caller's paths.
pub(super) fn walker(host: &Surroundings) -> anyhow::Result<Walker> {
    Walker::new(homes(host), host.uid).context("cannot find the working directory")
}

fn homes(host: &Surroundings) -> Vec<PathBuf> {
    host.other_homes.iter().chain(&host.own_homes).cloned().collect()
}

/// Where the sources of grants lead, to be looked into for what is hidden: those that cannot be found are refused
/// later.
pub(super) fn leads_to<'a>(walker: &Walker, typed: impl Iterator<Item = &'a OsString>) -> Vec<PathBuf> {
    typed.filter_map(|typed| walker.walk(Path::new(split(typed).0)).ok()).map(|walked| walked.path).collect()
}

/// Goes the ways of all paths of one command line.
pub(super) struct Places<'a> {
    host: &'a Surroundings,
    walker: Walker,
    homes: Vec<PathBuf>,
    hidden: OnceCell<Vec<Hidden>>,
    /// What was found at the paths of the host that will be mounted.
    pub(super) identities: BTreeMap<PathBuf, Identity>,
}

impl<'a> Places<'a> {
    pub(super) fn new(host: &'a Surroundings, walker: Walker) -> Self {
        let (homes, hidden) = (homes(host), OnceCell::new());
        let mut places = Self { host, walker, homes, hidden, identities: BTreeMap::new() };
        // They are mounted without being asked for.
        for path in host.home.iter().chain([&host.directory]) {
            if let Ok(Walked { path, found: Some(found), .. }) = places.walker.walk(path) {
                places.identities.insert(path, found.identity);
            }
        }
        places
    }

    fn ground(&self) -> Ground<'_> {
        let hidden = self.hidden.get_or_init(|| sandbox::everything_hidden(self.host));
        Ground { hidden, homes: &self.homes, is_root: self.host.is_root }
    }

    fn judge(&self, flag: &str, purpose: Purpose, walked: &Walked) -> anyhow::Result<()> {
        if walked.links.iter().all(|link| link.of_system) {
            return Ok(());
        }
        typed::judge(flag, purpose, walked, self.ground()).map_err(refused)
    }

    /// Finds an image and unpacks it if need be. Root's programs are nobody, and so are the owners of what they run in.
    pub(super) fn image(&mut self, name: &OsStr) -> anyhow::Result<Image> {
        let named = Named::parse(name);
        let failed =
            |error: io::Error| hinted(&format!("--image {}: {error}", shown(&named.path)), "name the place itself");
        let walked = self.walker.walk(&named.path).map_err(failed)?;
        let source = named.at(walked.path.clone()).explained()?;
        match (&source, walked.found) {
            (Source::Directory(path), Some(found)) => {
                self.judge("--image", Purpose::Image, &walked)?;
                let root = self.walker.walk(Path::new("/")).ok().and_then(|root| root.found);
                let root = root.context("cannot look at the root")?;
                typed::judge_image(path, found.identity, root.identity, self.ground()).map_err(refused)?;
                self.identities.insert(path.clone(), found.identity);
            }
            _ => self.judge("--image", Purpose::Archive, &walked)?,
        }
        let owner = self.host.is_root.then_some((sandbox::ROOT_OUTSIDE, sandbox::ROOT_OUTSIDE));
        image::open(&source, image::Cache::of_caller, owner, &mut image::Progress::on_stderr()).explained()
    }

    /// `--ro` and `--rw`.
    pub(super) fn grant(
        &mut self,
        flag: &str,
        typed: &OsStr,
        writable: bool,
        rootfs: Option<&Rootfs>,
    ) -> anyhow::Result<Grant> {
        let (source, target) = split(typed);
        let name = shown(source);
        let failed = |error: io::Error| {
            let hint = match typed.as_bytes().iter().rposition(|byte| *byte == b':') {
                Some(at) if self.is_there(&typed.as_bytes()[..at]) => {
                    "what follows the colon has to be an absolute path"
                }
                _ => "name a file or directory that is there",
            };
            hinted(&format!("{flag} {name}: {error}"), hint)
        };
        let walked = self.walker.walk(Path::new(source)).map_err(failed)?;
        self.judge(flag, if writable { Purpose::Write } else { Purpose::Read }, &walked)?;
        let Some(found) = walked.found else { return Err(failed(nix::errno::Errno::ENOENT.into())) };
        let real = walked.path;
        if real.parent().is_none() {
            let hint = "name the directories that the program is to have";
            return Err(hinted(&format!("{flag} {name}: the root as a whole cannot be given"), hint));
        }
        if found.magic == PROC_SUPER_MAGIC {
            let hint = "the sandbox has a /proc of its own";
            return Err(hinted(&format!("{flag} {name}: the host's processes cannot be shown"), hint));
        }
        if flag == SOCKET && found.kind != libc::S_IFSOCK {
            let hint = "files and directories are given with --ro and --rw, devices with --device";
            return Err(hinted(&format!("{flag} {name}: not a UNIX socket"), hint));
        }
        // Of a device, a mount like that of a file opens nothing.
        if found.kind == libc::S_IFCHR {
            let message = format!("{flag} {name}: a device, which cannot be used that way");
            return Err(hinted(&message, &format!("to let the program use it: --device {name}")));
        }
        if writable && !matches!(found.kind, libc::S_IFDIR | libc::S_IFREG) {
            let message = format!("{flag} {name}: neither a file nor a directory");
            let hint = match found.kind {
                libc::S_IFSOCK => format!("to let the program talk to whoever listens there: --socket {name}"),
                _ => "name the directory it is in".to_owned(),
            };
            return Err(hinted(&message, &hint));
        }
        let directory = found.is_directory();
        let (target, target_exists) = match (target, rootfs) {
            (None, None) => (real.clone(), true),
            (target, Some(rootfs)) => {
                let target = inside(target.unwrap_or(&real), rootfs);
                let exists = rootfs.has(&target, directory);
                (target, exists)
            }
            (Some(target), None) => self.target(flag, target, directory)?,
        };
        check_target(flag, &target)?;
        self.identities.insert(real.clone(), found.identity);
        Ok(Grant { source: real, target, target_exists, writable, directory })
    }

    /// `--device`.
    pub(super) fn device(&mut self, typed: &OsStr) -> anyhow::Result<Device> {
        let name = shown(typed);
        let failed = |error: io::Error| {
            hinted(&format!("--device {name}: {error}"), "name a device that is there, such as /dev/kvm")
        };
        let walked = self.walker.walk(Path::new(typed)).map_err(failed)?;
        self.judge("--device", Purpose::Read, &walked)?;
        let Some(found) = walked.found else { return Err(failed(nix::errno::Errno::ENOENT.into())) };
        let refuse = |what: &str, hint: &str| Err(hinted(&format!("--device {name}: {what}"), hint));
        match found.kind {
            libc::S_IFCHR => {}
            libc::S_IFBLK => {
                return refuse("a disk, with all that is on it", "give files and directories with --ro and --rw");
            }
            libc::S_IFDIR => return refuse("a directory", "name each device in it, such as /dev/dri/renderD128"),
            libc::S_IFSOCK => return refuse("a UNIX socket", &format!("name it with --socket {name}")),
            _ => return refuse("not a device", "give files and directories with --ro and --rw"),
        }
        let path = walked.path;
        if !path.starts_with("/dev") || path.starts_with("/dev/pts") || path == Path::new("/dev/ptmx") {
            return refuse(
                "not a device of /dev that others may use",
                "name the node in /dev; terminals are the sandbox's own",
            );
        }
        let device = nix::sys::stat::stat(&path).map_err(|error| failed(error.into()))?.st_rdev;
        self.identities.insert(path.clone(), found.identity);
        Ok(Device { path, major: libc::major(device), minor: libc::minor(device) })
    }

    fn is_there(&self, path: &[u8]) -> bool {
        self.walker.walk(Path::new(OsStr::from_bytes(path))).is_ok_and(|walked| walked.found.is_some())
    }

    /// A directory in memory: where, and whether there is one to mount on.
    pub(super) fn tmpfs(&self, path: &Path, rootfs: Option<&Rootfs>) -> anyhow::Result<(PathBuf, bool)> {
        let (target, exists) = match rootfs {
            Some(rootfs) => {
                let target = inside(path, rootfs);
                let exists = rootfs.has(&target, true);
                (target, exists)
            }
            None => self.target("--tmpfs", path, true)?,
        };
        check_target("--tmpfs", &target)?;
        Ok((target, exists))
    }

    /// `--workdir`.
    pub(super) fn workdir(&self, path: &Path, rootfs: Option<&Rootfs>) -> anyhow::Result<PathBuf> {
        match rootfs {
            Some(rootfs) => Ok(inside(path, rootfs)),
            None => Ok(self.target("--workdir", path, true)?.0),
        }
    }

    /// A place in a sandbox on the host's files, without links, and whether there is something of this kind. What
    /// cannot be looked at is taken as it was typed, and is not there.
    fn target(&self, flag: &str, path: &Path, directory: bool) -> anyhow::Result<(PathBuf, bool)> {
        let clean = clean(&self.host.directory.join(path));
        // Its processes are not the host's.
        if clean.starts_with("/proc") {
            return Ok((clean, false));
        }
        match self.walker.walk(path) {
            Ok(walked) => {
                self.judge(flag, Purpose::Target, &walked)?;
                let exists = walked.found.is_some_and(|found| found.is_directory() == directory);
                Ok((walked.path, exists))
            }
            Err(error) if error.raw_os_error().is_none() => {
                Err(hinted(&format!("{flag} {}: {error}", shown(path)), "name the place itself"))
            }
            Err(_) => Ok((clean, false)),
        }
    }
}

fn refused(refusal: Refusal) -> anyhow::Error {
    hinted(&refusal.message, &refusal.hint)
}

/// `PATH[:INSIDE]`.
fn split(typed: &OsStr) -> (&OsStr, Option<&Path>) {
    let bytes = typed.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b':').filter(|at| *at > 0 && bytes.get(at + 1) == Some(&b'/'));
    match at {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(Path::new(OsStr::from_bytes(&bytes[at + 1..])))),
        None => (typed, None),
    }
}

/// Absolute, by the image's working directory. Links of an image are followed when it is mounted.
fn inside(path: &Path, rootfs: &Rootfs) -> PathBuf {
    clean(&rootfs.directory.join(path))
}

/// Without `.`, `..` and doubled slashes.
fn clean(path: &Path) -> PathBuf {
    unspell_path(Path::new(&crate::spec::clean(&spell(path))))
}

/// What every sandbox has of its own is not to be had otherwise.
fn check_target(flag: &str, target: &Path) -> anyhow::Result<()> {
    match target.to_str() {
        Some("/") => Err(hinted(&format!("{flag} /: the root itself cannot be replaced"), "use --image")),
        Some(own @ ("/proc" | "/dev")) => {
            Err(hinted(&format!("{flag} {own}: the sandbox has one of its own"), "name what is to be in it"))
        }
        _ => Ok(()),
    }
}

/// Nothing is granted that was not looked into: a path can lead elsewhere a moment later.
pub(super) fn check_unchanged(grants: &[Grant], looked_into: &[PathBuf]) -> anyhow::Result<()> {
    match grants.iter().find(|grant| !looked_into.contains(&grant.source)) {
        None => Ok(()),
        Some(grant) => {
            let message = format!("{}: the path was changed while it was looked at", shown(&grant.source));
            Err(hinted(&message, "try again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_a_path_and_a_place_after_the_last_colon() {
        let of = |typed: &[u8]| {
            let (source, target) = split(OsStr::from_bytes(typed));
            (source.as_bytes().to_vec(), target.map(|target| target.as_os_str().as_bytes().to_vec()))
        };
        assert_eq!(of(b"a"), (b"a".to_vec(), None));
        assert_eq!(of(b"a:/b"), (b"a".to_vec(), Some(b"/b".to_vec())));
        assert_eq!(of(b"a:b:/c"), (b"a:b".to_vec(), Some(b"/c".to_vec())));
        assert_eq!(of(b":/c"), (b":/c".to_vec(), None));
        assert_eq!(of(b"a:b"), (b"a:b".to_vec(), None));
        assert_eq!(of(b"caf\xe9:/\xe9"), (b"caf\xe9".to_vec(), Some(b"/\xe9".to_vec())));
    }
}
