//! The profiles of a container: chosen, applied, kept.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "looks up paths of the host as its own links have it, before there is a container"
)]

use super::{Explained as _, Session, hinted};
use crate::plan::op::Identity;
use crate::profile::{self, ANNOTATION, Absolute, Config, HookCheck, Profile};
use crate::spec::mount_options::MountOptions;
use anyhow::Context as _;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::Spec;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// What applies to a container with this configuration: what the caller asks for, else the administrator's file; and what the
/// container itself asks for, as far as that is allowed to.
pub(super) fn chosen(session: &Session<'_>, spec: &Spec, id: &str) -> anyhow::Result<Vec<Profile>> {
    let annotation = spec.annotations().as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    let asked = session.global.profile.as_deref();
    // Without the file, where the state is does not matter.
    let config = Config::load().explained()?.led_by(real);
    let root = real(session.root()?.path());
    let names = config.choose(asked, &root, annotation.map(String::as_str)).explained()?;
    names.iter().map(|name| Ok(profile::load(name).explained()?.for_container(id))).collect()
}

/// What the caller asks for beside what a container was made with.
pub(super) fn asked(session: &Session<'_>) -> anyhow::Result<Option<Profile>> {
    let name = session.global.profile.as_deref().filter(|name| *name != profile::NONE);
    name.map(profile::load).transpose().explained()
}

/// Looks up where the links of the host lead from: sources of bind mounts in the configuration become what they lead to, and what
/// profiles say of a path they say of what it leads to as well. The files that were found are what has to be mounted.
pub(super) fn follow(
    profiles: &mut [Profile],
    spec: &mut Spec,
    bundle: &Path,
) -> anyhow::Result<BTreeMap<PathBuf, Identity>> {
    for files in profiles.iter_mut().map(|profile| &mut profile.filesystem) {
        let lists = [
            &mut files.sources,
            &mut files.forbidden_sources,
            &mut files.writable_sources,
            &mut files.readonly_sources,
        ];
        for list in lists.into_iter().flatten() {
            let led = list.iter().map(led).collect::<anyhow::Result<Vec<_>>>()?;
            list.extend(led);
        }
    }
    let own = real(bundle);
    if let Some(root) = spec.root_mut() {
        let found = real(&bundle.join(root.path()));
        if !found.starts_with(&own) {
            root.set_path(found);
        }
    }
    let mut meant = BTreeMap::new();
    let Some(mounts) = spec.mounts_mut() else { return Ok(meant) };
    for (at, mount) in mounts.iter_mut().enumerate() {
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let is_bind = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
        let Some(source) = mount.source().clone().filter(|_| is_bind && !options.remount) else { continue };
        let given: PathBuf = bundle.join(&source).components().collect();
        let (found, identity) =
            look_up(&given).with_context(|| format!("mounts[{at}].source: cannot look up {}", source.display()))?;
        meant.insert(given, identity);
        // Not what /proc calls a namespace.
        let found = if found.is_absolute() { found } else { continue };
        // What is in the bundle, and no link, is the bundle's.
        if found != own.join(&source).components().collect::<PathBuf>() || source.is_absolute() {
            mount.set_source(Some(found.clone()));
        }
        meant.insert(found, identity);
    }
    Ok(meant)
}

/// Where a path leads, and which file that is.
fn look_up(path: &Path) -> io::Result<(PathBuf, Identity)> {
    // Not by std: with musl its mask of access modes takes O_PATH away, and the file, a device perhaps, would be opened.
    let open = |path: &Path| nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map(File::from);
    let identity = |file: &File| file.metadata().map(|meta| Identity { device: meta.dev(), inode: meta.ino() });
    let file = open(path)?;
    let meant = identity(&file)?;
    let found = match std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        // A process whose binary its user cannot read is not asked for its own files (proc_pid_fd(5)).
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let found = std::fs::canonicalize(path)?;
            if identity(&open(&found)?)? != meant {
                return Err(io::Error::other("it changes while it is looked up"));
            }
            found
        }
        found => found?,
    };
    Ok((found, meant))
}

/// As [`real`], of what a profile says.
fn led(path: &Absolute) -> anyhow::Result<Absolute> {
    let found = real(path.path());
    let text =
        found.to_str().with_context(|| format!("profile: {path} leads to {}, which is not text", found.display()))?;
    text.parse().map_err(|why: String| anyhow::anyhow!("profile: {path}: {why}"))
}

/// A path without links, as far as there is something at it.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(std::fs::canonicalize(above).ok()?.join(rest))
    });
    let found = found.unwrap_or_else(|| path.to_owned());
    // `..` after what is not there.
    let mut plain = PathBuf::new();
    for part in found.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Compares hooks with the digests that profiles want.
pub(super) fn check_hooks(hooks: &[HookCheck]) -> anyhow::Result<()> {
    for hook in hooks {
        let found =
            digest(&hook.path).with_context(|| format!("{}: cannot read hook {}", hook.at, hook.path.display()))?;
        if found != hook.sha256.to_string() {
            return Err(hinted(
                &format!(
                    "{}: profile {}, rule hooks: {} has the digest {found}, not {}",
                    hook.at,
                    hook.profile,
                    hook.path.display(),
                    hook.sha256
                ),
                "if the file is what it should be, write its digest (sha256sum) into the profile",
            ));
        }
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}
