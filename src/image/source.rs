//! What `--image` can name.
#![forbid(unsafe_code)]

use super::{Error, Result, digest};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
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
    pub fn find(name: &OsStr) -> Result<Self> {
        let named = Named::parse(name);
        let path = absolute(&named.path)?;
        named.at(path)
    }
}

/// An image by its name, before anything is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    name: String,
    transport: &'static str,
    /// Where it is.
    pub path: PathBuf,
    pick: Pick,
}

impl Named {
    /// Takes a name apart.
    #[must_use]
    pub fn parse(name: &OsStr) -> Self {
        const TRANSPORTS: [&str; 4] = ["oci", "oci-archive", "docker-archive", "dir"];
        let bytes = name.as_bytes();
        let after = |transport: &str| bytes.strip_prefix(transport.as_bytes())?.strip_prefix(b":");
        let (transport, rest) = TRANSPORTS.iter().find_map(|name| Some((*name, after(name)?))).unwrap_or(("", bytes));
        let (path, pick) = split(OsStr::from_bytes(rest));
        Self { name: crate::spelling::shown(name), transport, path, pick }
    }

    /// What is there; `path` is the way to it, absolute.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it is neither a directory nor a regular file.
    pub fn at(self, path: PathBuf) -> Result<Source> {
        let Self { name, transport, pick, .. } = self;
        let failed = |source| Error::File { path: path.clone(), source };
        let is_dir = path.metadata().map_err(failed)?.is_dir();
        let unknown = || Error::Unknown { image: name.clone() };
        match transport {
            "dir" if is_dir => Ok(Source::Directory(path)),
            "oci" if is_dir => Ok(Source::Layout { path, pick }),
            "oci" | "oci-archive" | "docker-archive" if !is_dir => Ok(Source::Archive { path, pick }),
            "" if !is_dir => Ok(Source::Archive { path, pick }),
            "" if is_layout(&path)? => Ok(Source::Layout { path, pick }),
            "" if pick == Pick::Only => Ok(Source::Directory(path)),
            _ => Err(unknown()),
        }
    }
}

/// The path, and which image in it is meant. A file whose name has a colon is found as it is. What is no text names a
/// path only.
fn split(name: &OsStr) -> (PathBuf, Pick) {
    let whole = PathBuf::from(name);
    let bytes = name.as_bytes();
    if whole.symlink_metadata().is_ok() {
        return (whole, Pick::Only);
    }
    let before = |at: usize| PathBuf::from(OsStr::from_bytes(&bytes[..at]));
    let after = |at: usize| std::str::from_utf8(&bytes[at + 1..]).ok().filter(|text| !text.is_empty());
    let last = |byte: u8, end: usize| bytes[..end].iter().rposition(|found| *found == byte);
    if let Some(at) = last(b'@', bytes.len())
        && let Some(hex) = after(at).filter(|hex| digest::is_digest(hex))
    {
        return (before(at), Pick::Digest(hex.to_owned()));
    }
    let Some(at) = last(b':', bytes.len()) else { return (whole, Pick::Only) };
    let Some(tag) = after(at).filter(|tag| !tag.contains('/')) else { return (whole, Pick::Only) };
    // docker-archive:FILE:NAME:TAG names a whole reference.
    if before(at).symlink_metadata().is_err()
        && let Some(first) = last(b':', at)
        && let Some(reference) = after(first)
    {
        return (before(first), Pick::Tag(reference.to_owned()));
    }
    (before(at), Pick::Tag(tag.to_owned()))
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
