//! The directory that holds the state of all containers of one caller.
#![forbid(unsafe_code)]

use super::Error;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// `--root`, or where state is kept without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
    /// Given with `--root`.
    explicit: bool,
}

/// Where root's state is.
pub const SYSTEM_ROOT: &str = "/run/pent";

/// Where an ordinary user's state is without `XDG_RUNTIME_DIR`.
#[must_use]
pub fn fallback_root(uid: u32) -> PathBuf {
    format!("/tmp/pent-{uid}").into()
}

impl Root {
    /// The directory given by `--root`, or the default: `/run/pent`; for others than root (and for root of a user
    /// namespace) `$XDG_RUNTIME_DIR/pent`, else `/tmp/pent-UID`, also where that variable is somebody else's (su(1)) or
    /// names what is gone (cron(8), a container).
    ///
    /// # Errors
    ///
    /// [`Error::Planted`] when it is a link, belongs to somebody else, or others may write to it.
    pub fn find(explicit: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = explicit {
            let path = std::path::absolute(path).map_err(|source| Error::io("resolve", path, source))?;
            let root = Self { path, explicit: true };
            root.check()?;
            return Ok(root);
        }
        let uid = nix::unistd::geteuid().as_raw();
        let rootless = uid != 0 || is_in_user_namespace();
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| is_runtime_dir_of(Path::new(dir), uid));
        let root = Self::default_for(uid, rootless, runtime_dir.as_deref());
        root.check()?;
        Ok(root)
    }

    fn default_for(uid: u32, rootless: bool, runtime_dir: Option<&OsStr>) -> Self {
        if !rootless {
            return Self { path: SYSTEM_ROOT.into(), explicit: false };
        }
        // The XDG specification: a relative path is to be treated as unset.
        let path = match runtime_dir.map(Path::new).filter(|dir| dir.is_absolute()) {
            Some(dir) => dir.join("pent"),
            None => fallback_root(uid),
        };
        Self { path, explicit: false }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory and its parents, as far as they are missing, for nobody else to enter.
    pub(super) fn make(&self) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|source| Error::io("create", &self.path, source))?;
        self.check()
    }

    /// Refuses a directory in which somebody else could have written what a later command believes. A missing one is
    /// fine.
    ///
    /// One that the caller names may be root's, whom everybody trusts, and its group may write to it: many users are
    /// alone in theirs.
    fn check(&self) -> Result<(), Error> {
        let about = match fs::symlink_metadata(&self.path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::io("stat", &self.path, source)),
        };
        let mine = about.uid() == nix::unistd::geteuid().as_raw() || self.explicit && about.uid() == 0;
        let why = if about.is_symlink() {
            "it is a link, which others may have planted"
        } else if !about.is_dir() {
            "it is not a directory"
        } else if !mine {
            "it belongs to somebody else"
        } else if about.mode() & if self.explicit { 0o002 } else { 0o022 } != 0 {
            "others can write to it"
        } else {
            return Ok(());
        };
        Err(Error::Planted { path: self.path.clone(), why })
    }
}

/// The XDG specification: the directory must be the user's own. What cannot be looked at is not.
fn is_runtime_dir_of(dir: &Path, uid: u32) -> bool {
    fs::metadata(dir).is_ok_and(|about| about.is_dir() && about.uid() == uid)
}

/// Whether user id 0 here is not user id 0 of the machine (user_namespaces(7): the initial map is the identity on all ids).
#[must_use]
pub fn is_in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return false };
    map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn defaults() {
        let default = |uid, rootless, dir: Option<&str>| Root::default_for(uid, rootless, dir.map(OsStr::new)).path;
        assert_eq!(default(0, false, Some("/run/user/0")), Path::new("/run/pent"));
        assert_eq!(default(0, true, Some("/run/user/7")), Path::new("/run/user/7/pent"));
        assert_eq!(default(7, true, Some("/run/user/7")), Path::new("/run/user/7/pent"));
        assert_eq!(default(7, true, Some("run")), Path::new("/tmp/pent-7"));
        assert_eq!(default(7, true, Some("")), Path::new("/tmp/pent-7"));
        assert_eq!(default(7, true, None), Path::new("/tmp/pent-7"));
    }

    #[test]
    fn a_runtime_directory_is_there_and_the_users() {
        let dir = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        assert!(is_runtime_dir_of(dir.path(), uid));
        assert!(!is_runtime_dir_of(dir.path(), uid + 1));
        assert!(!is_runtime_dir_of(&dir.path().join("gone"), uid));
    }

    #[test]
    fn a_planted_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pent");
        let root = Root { path: path.clone(), explicit: false };
        root.check().unwrap();
        root.make().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(root.check(), Err(Error::Planted { .. })));
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(dir.path(), &path).unwrap();
        assert!(matches!(root.check(), Err(Error::Planted { .. })));
        if nix::unistd::geteuid().is_root() {
            fs::remove_file(&path).unwrap();
            root.make().unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(matches!(root.check(), Err(Error::Planted { .. })));
        }
    }

    #[test]
    fn a_directory_that_is_named_is_looked_at_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let find = || Root::find(Some(&path)).map_err(|error| error.to_string());
        find().unwrap();
        fs::create_dir(&path).unwrap();
        for (mode, fine) in [(0o700, true), (0o755, true), (0o775, true), (0o777, false), (0o1777, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find().is_ok(), fine, "{mode:o}");
        }
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(dir.path(), &path).unwrap();
        assert!(find().unwrap_err().contains("it is a link"));
    }
}
