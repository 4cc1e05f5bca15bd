//! Bundles on disk, one root file system for all.

use crate::config::{CGROUP, Kind, Limits, VOLUMES, config};
use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// A root file system of busybox and the sources of the volumes; and, on a tmpfs as /run is, a directory for what runtimes and
/// their callers keep there.
pub(crate) struct Root {
    dir: tempfile::TempDir,
}

impl Root {
    pub(crate) fn make(busybox: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(CGROUP).tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let run = dir.path().join("run");
        fs::create_dir(&run)?;
        let none: Option<&str> = None;
        mount(Some("tmpfs"), &run, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("mount a tmpfs on {}", run.display()))?;
        let rootfs = dir.path().join("rootfs");
        fs::create_dir(&rootfs)?;
        for d in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"] {
            fs::create_dir(rootfs.join(d))?;
        }
        fs::copy(busybox, rootfs.join("bin/busybox")).with_context(|| format!("copy {}", busybox.display()))?;
        for applet in ["sh", "sleep", "true"] {
            symlink("busybox", rootfs.join("bin").join(applet))?;
        }
        for (target, source) in VOLUMES {
            let (target, source) = (rootfs.join(target), dir.path().join(source));
            if let Some(parent) = target.parent() {
                make_dirs(parent)?;
            }
            if source.extension().is_some() {
                fs::write(&source, "x\n")?;
                fs::write(&target, "")?;
            } else {
                make_dirs(&source)?;
                make_dirs(&target)?;
            }
        }
        Ok(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// On the tmpfs.
    pub(crate) fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A bundle directory with its configuration, sharing the root file system.
    pub(crate) fn bundle(&self, kind: Kind, id: &str, args: &[&str], limits: Limits) -> Result<PathBuf> {
        let bundle = self.path().join(format!("{}-{id}-{}", kind.name(), args[0].replace('/', "_")));
        make_dirs(&bundle)?;
        let config = config(kind, self.path(), id, args, limits)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        Ok(bundle)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // It is in a mount namespace of this process alone, and goes with it at the latest.
        if let Err(error) = umount2(&self.run(), MntFlags::MNT_DETACH) {
            eprintln!("bench: {}: {error}", self.run().display());
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a directory that this program has just made: there is nobody to race with"
)]
fn make_dirs(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
}
