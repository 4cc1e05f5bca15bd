//! What `--image` can name.
#![forbid(unsafe_code)]

use super::{Error, Result, digest};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A root file system that is unpacked already.
    Directory(PathBuf),
    /// An OCI layout (image-spec, image-layout.md).
    Layout {
        /// Its directory.
        path: PathBuf,
        /// Which of its images.
        pick: Pick,
    },
    /// A tar archive, perhaps compressed: of an OCI layout, of `docker save`, or of a root file system.
    Archive {
        /// The file.
        path: PathBuf,
        /// Which of its images.
        pick: Pick,
    },
}

/// Which image of several is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// The only one.
    Only,
    /// The one of this tag.
    Tag(String),
    /// The one of this digest, `sha256:` and 64 hexadecimal digits.
    Digest(String),
}

impl Pick {
    /// For the key of a note in the cache.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Only => "",
            Self::Tag(text) | Self::Digest(text) => text,
        }
    }
}

impl Source {
    /// What `text` names: `DIR`, `FILE`, or with a transport's name before it (`oci:`, `oci-archive:`, `docker-archive:`,
    /// `dir:`); a tag or digest may follow where an image can have several.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is neither a directory nor a regular file.
    pub fn find(text: &str) -> Result<Self> {
        let (transport, rest) = match text.split_once(':') {
            Some((name @ ("oci" | "oci-archive" | "docker-archive" | "dir"), rest)) => (name, rest),
            _ => ("", text),
        };
        let (path, pick) = split(rest);
        let path = absolute(&path)?;
        let failed = |source| Error::File { path: path.clone(), source };
        let is_dir = path.metadata().map_err(failed)?.is_dir();
        let unknown = || Error::Unknown { image: text.to_owned() };
        match transport {
            "dir" if is_dir => Ok(Self::Directory(path)),
            "oci" if is_dir => Ok(Self::Layout { path, pick }),
            "oci" | "oci-archive" | "docker-archive" if !is_dir => Ok(Self::Archive { path, pick }),
            "" if !is_dir => Ok(Self::Archive { path, pick }),
            "" if is_layout(&path)? => Ok(Self::Layout { path, pick }),
            "" if pick == Pick::Only => Ok(Self::Directory(path)),
            _ => Err(unknown()),
        }
    }
}

/// The path, and which image in it is meant. A file whose name has a colon is found as it is.
fn split(text: &str) -> (PathBuf, Pick) {
    let whole = PathBuf::from(text);
    if whole.symlink_metadata().is_ok() {
        return (whole, Pick::Only);
    }
    if let Some((path, hex)) = text.rsplit_once('@').filter(|(_, hex)| digest::is_digest(hex)) {
        return (path.into(), Pick::Digest(hex.to_owned()));
    }
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => {
            // docker-archive:FILE:NAME:TAG names a whole reference.
            match path.rsplit_once(':') {
                Some((file, name)) if Path::new(path).symlink_metadata().is_err() => {
                    (file.into(), Pick::Tag(format!("{name}:{tag}")))
                }
                _ => (path.into(), Pick::Tag(tag.to_owned())),
            }
        }
        _ => (whole, Pick::Only),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Whether a directory is an OCI layout rather than a root file system.
fn is_layout(path: &Path) -> Result<bool> {
    let marker = path.join("oci-layout");
    match File::open(&marker) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::File { path: marker, source }),
    }
}
