//! A root file system other than the host's: what a sandbox depends on of an image. Looked at once, then plain data.
#![forbid(unsafe_code)]

use super::absent;
use super::request::{Home, Request};
use super::surroundings::PRIVATE;
use crate::image::{self, Image};
use crate::path;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// An image's root, and how its program wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is on the host.
    pub path: PathBuf,
    /// What it was called; nothing for a directory, which is its caller's to change.
    pub unpacked: Option<String>,
    /// The uid and gid of its program, inside.
    pub user: (u32, u32),
    /// Its environment, by name; the last of two with one name.
    pub environment: Vec<(String, String)>,
    /// Where its program starts.
    pub directory: PathBuf,
    /// The home of its user, when it has that directory.
    pub home: Option<PathBuf>,
    /// Those directories of its own (no links) that every sandbox replaces.
    pub private: Vec<PathBuf>,
    /// Whether there is something at /etc/resolv.conf.
    pub resolv_conf: bool,
}

impl Rootfs {
    /// Looks at an image; `name` is what it was called, for messages.
    ///
    /// # Errors
    /// When its user is not to be found, or it cannot be read.
    pub fn probe(image: &Image, name: &str) -> image::Result<Self> {
        let user = image.user(name)?;
        let directory = crate::spec::clean(&image.config.working_dir).into();
        let variables = image.config.env.iter().filter_map(|variable| variable.split_once('='));
        let variables = variables.filter(|(name, _)| !name.is_empty());
        let environment: Vec<(String, String)> =
            variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let named = environment.iter().rev().find(|(name, _)| name == "HOME").map(|(_, value)| value.clone());
        let home = named.or(user.home).map(|home| PathBuf::from(crate::spec::clean(&home)));
        let home = home.filter(|home| home.parent().is_some() && is_directory(&image.root, home));
        let failed = |source| image::Error::File { path: image.root.clone(), source };
        let mut private = Vec::new();
        for path in PRIVATE.iter().map(Path::new) {
            if is_own_directory(&image.root, path).map_err(failed)? {
                private.push(path.to_owned());
            }
        }
        Ok(Self {
            path: image.root.clone(),
            unpacked: image.lease.as_ref().map(|_| name.to_owned()),
            user: (user.uid, user.gid),
            environment,
            directory,
            home,
            private,
            resolv_conf: find(&image.root, Path::new("/etc/resolv.conf"), libc::O_NOFOLLOW).is_ok(),
        })
    }

    /// Whether there is something at `path` that a directory or a file can be mounted on.
    #[must_use]
    pub fn has(&self, path: &Path, directory: bool) -> bool {
        if directory { is_directory(&self.path, path) } else { is_file(&self.path, path) }
    }

    /// HOME, for a program of this image.
    pub(super) fn home_variable(&self, request: &Request) -> PathBuf {
        match (&self.home, request.home) {
            (Some(home), _) => home.clone(),
            (None, Home::Readonly) => "/".into(),
            (None, _) => "/tmp".into(),
        }
    }
}

/// Opens a path of an image without leaving it.
fn find(root: &Path, path: &Path, flags: i32) -> io::Result<File> {
    let root = File::open(root)?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    Ok(path::open(root.as_fd(), &path, libc::O_PATH | flags)?.into())
}

fn is_directory(root: &Path, path: &Path) -> bool {
    find(root, path, libc::O_DIRECTORY).is_ok()
}

fn is_file(root: &Path, path: &Path) -> bool {
    find(root, path, 0).and_then(|file| file.metadata()).is_ok_and(|found| !found.is_dir())
}

/// What every sandbox replaces must not be taken for absent because looking at it failed.
fn is_own_directory(root: &Path, path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    let is_plain = |path: &Path| match find(root, path, libc::O_NOFOLLOW | libc::O_DIRECTORY) {
        Ok(_) => Ok(true),
        Err(error) if absent::is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    };
    Ok((parent.parent().is_none() || is_plain(parent)?) && is_plain(path)?)
}
