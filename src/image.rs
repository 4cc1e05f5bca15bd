//! Images from files: an unpacked directory, a tar archive of a root file system, a docker-archive, or an OCI layout as
//! a directory or a tar archive; no registry, no network.
//!
//! Everything that is named by a digest is checked against it, and unpacked once into a [`Cache`].
#![forbid(unsafe_code)]

mod archive;
mod cache;
mod decompress;
mod digest;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod layout;
mod progress;
mod source;
#[cfg(test)]
mod tests;
mod unpack;
mod user;

pub use cache::{Cache, Entry, Lease};
pub use progress::Progress;
pub use source::{Named, Source};
pub use user::User;

use crate::report::Hint;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// An unpacked image.
#[derive(Debug)]
pub struct Image {
    /// Its root file system.
    pub root: PathBuf,
    /// How its program is meant to be run; empty for a plain file system.
    pub config: Config,
    /// Keeps it from being removed from the cache for as long as it lives.
    pub lease: Option<Lease>,
}

/// How an image wants to be run: the parts of its configuration that a launcher honours
/// (image-spec, config.md, "execution parameters").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// `NAME=value`.
    #[serde(deserialize_with = "or_empty")]
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group`, `uid:gid` …; empty is the first user.
    pub user: String,
    /// Where the program starts; empty is `/`.
    pub working_dir: String,
    /// The program and its first arguments.
    #[serde(deserialize_with = "or_empty")]
    pub entrypoint: Vec<String>,
    /// The program's arguments, or without an entrypoint the program too.
    #[serde(deserialize_with = "or_empty")]
    pub cmd: Vec<String>,
}

impl Config {
    /// The command line, where the caller's own words take the place of `Cmd`.
    #[must_use]
    pub fn command(&self, own: &[OsString]) -> Vec<OsString> {
        let rest = if own.is_empty() { self.cmd.iter().map(OsString::from).collect() } else { own.to_vec() };
        self.entrypoint.iter().map(OsString::from).chain(rest).collect()
    }
}

/// Image builders in Go write `null` for an empty list.
fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Why an image cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of the host cannot be read or written.
    #[error("{}: {source}", crate::spelling::shown(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A part that the image names is not in it.
    #[error("{image}: {} is missing", shown(part))]
    Missing {
        /// The image, as it was named.
        image: String,
        /// What is missing.
        part: String,
    },
    /// A part of the image is not what it must be.
    #[error("{image}: {}: {}", shown(part), shown(why))]
    Invalid {
        /// The image, as it was named.
        image: String,
        /// Which part.
        part: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name leaves open which image is meant.
    #[error("{image}: {}", if known.is_empty() { "there is no image in it".to_owned() } else { format!("which of its images is meant? it has {}", shown(&known.join(", "))) })]
    Ambiguous {
        /// The image, as it was named.
        image: String,
        /// The tags there are.
        known: Vec<String>,
    },
    /// Nothing like an image.
    #[error("{image}: neither a directory nor a tar archive of an image or a root file system")]
    Unknown {
        /// The image, as it was named.
        image: String,
    },
    /// The directory of the cache is not the caller's own.
    #[error("{}: others may write to the cache of images", crate::spelling::shown(path))]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// Where the cache is cannot be told.
    #[error("there is no directory for the cache of images: neither XDG_CACHE_HOME nor HOME is an absolute path")]
    NoCache,
    /// No image of the cache has this id.
    #[error("{id}: no image in the cache has this id")]
    NoEntry {
        /// The id, as it was given.
        id: String,
    },
    /// More than one has it.
    #[error("{id}: more than one image in the cache begins so")]
    ManyEntries {
        /// The id, as it was given.
        id: String,
    },
    /// A sandbox runs from it.
    #[error("{id}: in use by a running sandbox")]
    InUse {
        /// The image's id.
        id: String,
    },
}

/// A word of an image's, for a line of a terminal.
fn shown(text: &str) -> String {
    crate::report::shown(text, |_| false)
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Ambiguous { .. } => "name one after a colon, as in oci:DIR:TAG, or by @sha256:DIGEST".to_owned(),
            Self::Unknown { .. } => {
                "give a directory, a rootfs.tar, what `docker save` or `podman save` writes, or oci:DIR:TAG".to_owned()
            }
            Self::Shared { path } => format!("chmod 700 {}", crate::spelling::shown(path)),
            Self::NoCache => "set HOME or XDG_CACHE_HOME".to_owned(),
            Self::NoEntry { .. } | Self::ManyEntries { .. } => "pent cache ls shows them".to_owned(),
            Self::InUse { .. } => "wait until it has ended".to_owned(),
            Self::File { .. } | Self::Missing { .. } | Self::Invalid { .. } => return None,
        })
    }
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Finds an image and unpacks it if the cache does not have it yet.
///
/// `owner` is whom the files are given to, for a caller with the right to do that; otherwise they stay the caller's.
///
/// # Errors
///
/// When there is no such image, it is damaged, or it cannot be unpacked; nothing is left behind then.
pub fn open(
    source: &Source,
    cache: impl FnOnce() -> Result<Cache>,
    owner: Option<(u32, u32)>,
    progress: &mut Progress,
) -> Result<Image> {
    match source {
        Source::Directory(path) => Ok(Image { root: path.clone(), config: Config::default(), lease: None }),
        Source::Layout { path, pick } => layout::open_directory(path, pick, &cache()?, owner, progress),
        Source::Archive { path, pick } => archive::open(path, pick, &cache()?, owner, progress),
    }
}
