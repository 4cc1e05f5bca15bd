//! A root file system other than the host's: what a sandbox depends on of an image. Looked at once, then plain data.
#![forbid(unsafe_code)]

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
        Ok(Self {
            path: image.root.clone(),
            unpacked: image.lease.as_ref().map(|_| name.to_owned()),
            user: (user.uid, user.gid),
            environment,
            directory,
            home,
            private: PRIVATE.iter().map(PathBuf::from).filter(|path| is_own_directory(&image.root, path)).collect(),
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

fn is_own_directory(root: &Path, path: &Path) -> bool {
    let parent = path.parent().unwrap_or(path);
    let plain = parent.parent().is_none() || find(root, parent, libc::O_NOFOLLOW | libc::O_DIRECTORY).is_ok();
    plain && find(root, path, libc::O_NOFOLLOW | libc::O_DIRECTORY).is_ok()
}
