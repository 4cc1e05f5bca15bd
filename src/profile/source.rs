//! Where profiles come from: the directory of the administrator, this program itself, or a file that is named.
#![forbid(unsafe_code)]

use super::format::{Profile, VERSION};
use crate::report::Hint;
use crate::spec::suggest;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The administrator's profiles, which come before the shipped ones of the same name.
pub const DIRECTORY: &str = "/etc/pent/profiles";

/// The shipped profiles: name and text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("baseline", include_str!("../../profiles/baseline.toml")),
    ("restricted", include_str!("../../profiles/restricted.toml")),
    ("offline-compute", include_str!("../../profiles/offline-compute.toml")),
    ("static-binary", include_str!("../../profiles/static-binary.toml")),
    ("network-service", include_str!("../../profiles/network-service.toml")),
    ("nodejs", include_str!("../../profiles/nodejs.toml")),
    ("python", include_str!("../../profiles/python.toml")),
    ("jvm", include_str!("../../profiles/jvm.toml")),
    ("build", include_str!("../../profiles/build.toml")),
];

/// The largest profile that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// How many profiles may extend each other.
const DEEPEST: usize = 8;

/// Why a profile cannot be had. `origin` is a path, or `profile NAME` for a shipped one.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no profile of this name.
    #[error("no profile is called {name:?}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The shipped one that may have been meant.
        near: Option<&'static str>,
        /// Where it would be.
        directory: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no file, or too large to be a profile.
    #[error("profile {}: {why}", path.display())]
    NotProfile {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// Somebody else could change the administrator's file.
    #[error("{} can be changed by others than root and the caller", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The text is no profile.
    #[error("{origin}: line {line}: {}{why}", if key.is_empty() { String::new() } else { format!("{key}: ") })]
    Invalid {
        /// The file, or the shipped profile.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// The key, as a dotted path; empty when the text is no TOML.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The file is for another version of the format.
    #[error("{origin}: version: this is version {version} of the format, and pent reads version {VERSION}")]
    Version {
        /// The file.
        origin: String,
        /// What it says.
        version: u32,
    },
    /// Profiles that extend each other in a circle, or too many of them.
    #[error("{origin}: extends: {}", .chain.join(" extends "))]
    Circle {
        /// The file that was asked for.
        origin: String,
        /// Who extends whom.
        chain: Vec<String>,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { near: Some(near), .. } => Some(format!("did you mean {near}?")),
            Self::Unknown { directory, .. } => {
                let names: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
                Some(format!(
                    "there are {}, those in {}, and a path with a slash in it is a file",
                    names.join(", "),
                    directory.display()
                ))
            }
            Self::Exposed { path } => Some(format!("chown root {0}; chmod go-w {0}", path.display())),
            Self::Invalid { .. } | Self::Version { .. } => Some("docs/profiles.md shows every key".into()),
            Self::Circle { .. } => Some(format!("a chain of at most {DEEPEST} profiles ends in one that extends none")),
            Self::Read { .. } | Self::NotProfile { .. } => None,
        }
    }
}

/// The profile of a name (from [`DIRECTORY`], else a shipped one), or of a file if there is a slash in it. What it extends is
/// already in it.
///
/// # Errors
/// See [`enum@Error`]: each names the file and, where it can, key and line.
pub fn load(name_or_path: &str) -> Result<Profile, Error> {
    load_from(Path::new(DIRECTORY), name_or_path)
}

/// As [`load`], with another directory in the place of [`DIRECTORY`].
///
/// # Errors
/// As [`load`].
pub fn load_from(directory: &Path, name_or_path: &str) -> Result<Profile, Error> {
    let mut text = Text::find(directory, name_or_path)?;
    let mut chain = vec![text.name.clone()];
    let mut profiles = vec![text.read()?];
    while let Some(extends) = profiles.last().and_then(|profile| profile.extends.clone()) {
        // A profile of the administrator's that extends its own name extends the shipped one of that name.
        text = if extends == text.name && text.file.is_some() && !extends.contains('/') {
            Text::shipped(directory, &extends)?
        } else {
            Text::find_beside(directory, text.file.as_deref(), &extends)?
        };
        chain.push(text.name.clone());
        if chain.len() > DEEPEST {
            return Err(Error::Circle { origin: text.origin(), chain });
        }
        profiles.push(text.read()?);
    }
    // From the one that extends none upwards: what is added and removed refers to what is below.
    let whole = profiles.into_iter().rev().reduce(|base, profile| profile.over(base.settled()));
    whole.map(Profile::settled).ok_or_else(|| unknown(directory, name_or_path))
}

/// Whether an administrator has not made this file: there is no such name in the directory that it would be in, or no such
/// directory. A link that leads nowhere, or a name that cannot be looked up, is something that was meant to be there.
pub(super) fn is_absent(path: &Path) -> bool {
    let above: Vec<&Path> = path.ancestors().collect();
    for place in above.into_iter().rev() {
        match place.symlink_metadata() {
            Err(error) => return error.raw_os_error() == Some(libc::ENOENT),
            // What is below it is looked for where it leads.
            Ok(found) if found.is_symlink() && place.metadata().is_err() => return false,
            Ok(_) => {}
        }
    }
    false
}

/// A profile's text and where it is from.
pub(super) struct Text {
    name: String,
    file: Option<PathBuf>,
    pub(super) text: String,
}

impl Text {
    fn find(directory: &Path, name_or_path: &str) -> Result<Self, Error> {
        if name_or_path.contains('/') {
            return Self::open(Path::new(name_or_path), false);
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name_or_path.is_empty() || !name_or_path.bytes().all(plain) {
            return Err(unknown(directory, name_or_path));
        }
        let path = directory.join(format!("{name_or_path}.toml"));
        match Self::open(&path, true) {
            Err(Error::Read { .. }) if is_absent(&path) => Self::shipped(directory, name_or_path),
            found => found,
        }
    }

    /// A path in `extends` is from the file's own directory.
    fn find_beside(directory: &Path, file: Option<&Path>, name_or_path: &str) -> Result<Self, Error> {
        match file.and_then(Path::parent).filter(|_| name_or_path.contains('/')) {
            Some(parent) => Self::open(&parent.join(name_or_path), parent == directory),
            None => Self::find(directory, name_or_path),
        }
    }

    fn shipped(directory: &Path, name: &str) -> Result<Self, Error> {
        let found = SHIPPED.iter().find(|(known, _)| *known == name);
        let (name, text) = found.ok_or_else(|| unknown(directory, name))?;
        Ok(Self { name: (*name).to_owned(), file: None, text: (*text).to_owned() })
    }

    /// A file; one of the administrator's must be his alone to change.
    pub(super) fn open(path: &Path, administrators: bool) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        // Without O_NONBLOCK, opening a pipe would wait for a writer.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        let file = file.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let not = |why| Err(Error::NotProfile { path: path.to_owned(), why });
        if !metadata.is_file() {
            return not("not a regular file");
        }
        let owned = metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw();
        if administrators && (!owned || metadata.mode() & 0o022 != 0) {
            return Err(Error::Exposed { path: path.to_owned() });
        }
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > LARGEST {
            return not("larger than 1 MiB");
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, file: Some(path.to_owned()), text })
    }

    fn origin(&self) -> String {
        match &self.file {
            Some(path) => path.display().to_string(),
            None => format!("profile {}", self.name),
        }
    }

    fn read(&self) -> Result<Profile, Error> {
        let mut profile = parse(&self.origin(), &self.text)?;
        if profile.name.is_empty() {
            profile.name.clone_from(&self.name);
        }
        Ok(profile)
    }
}

fn unknown(directory: &Path, name: &str) -> Error {
    Error::Unknown {
        name: name.to_owned(),
        near: suggest::closest(name, SHIPPED.iter().map(|(name, _)| *name)),
        directory: directory.to_owned(),
    }
}

/// Reads the text of one profile; what it extends is not read.
///
/// # Errors
/// [`Error::Invalid`] and [`Error::Version`].
pub fn parse(origin: &str, text: &str) -> Result<Profile, Error> {
    let profile: Profile = read_toml(origin, text)?;
    if profile.version != VERSION {
        return Err(Error::Version { origin: origin.to_owned(), version: profile.version });
    }
    super::seccomp::check(&profile.seccomp).map_err(|(key, why)| {
        let number = key.split(['[', ']']).nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut rules = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("[[seccomp.rules]]"));
        let line = rules.nth(number).map_or(1, |(at, _)| at + 1);
        Error::Invalid { origin: origin.to_owned(), line, key, why }
    })?;
    Ok(profile)
}

/// Reads a TOML file; a mistake is reported with its key and line.
pub(super) fn read_toml<T: DeserializeOwned>(origin: &str, text: &str) -> Result<T, Error> {
    let invalid = |key: String, error: &toml::de::Error| Error::Invalid {
        origin: origin.to_owned(),
        line: line(text, error),
        key,
        why: error.message().trim_end().replace('\n', ", "),
    };
    let document = toml::Deserializer::parse(text).map_err(|error| invalid(String::new(), &error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        // The path of a key that cannot be one ends in a question mark.
        let key = error.path().to_string();
        invalid(key.trim_end_matches('?').trim_end_matches('.').to_owned(), error.inner())
    })
}

/// The line of a mistake, from 1. Of a mistake in an array the parser tells where the array is: the line is that of the text which the
/// message quotes, if it is in there.
fn line(text: &str, error: &toml::de::Error) -> usize {
    let Some(span) = error.span() else { return 1 };
    let quoted = error.message().split('"').nth(1).map(|name| format!("\"{name}\""));
    let inside = text.get(span.clone()).zip(quoted).and_then(|(part, quoted)| part.find(&quoted));
    let at = (span.start + inside.unwrap_or(0)).min(text.len());
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_not_there_is_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str| dir.path().join(name);
        for absent in ["none.toml", "none/none.toml"] {
            assert!(is_absent(&place(absent)), "{absent}");
        }
        symlink("/nowhere/at/all", place("dangling")).expect("a link");
        symlink("loop", place("loop")).expect("a link");
        symlink(dir.path(), place("here")).expect("a link");
        std::fs::write(place("file"), "").expect("a file");
        for there in ["dangling", "dangling/x.toml", "loop", "loop/x.toml", "file", "file/x.toml"] {
            assert!(!is_absent(&place(there)), "{there}");
        }
        assert!(is_absent(&place("here/none.toml")));
        assert!(!is_absent(&place(&"n".repeat(300))), "it cannot be looked up");
        // A link to nothing is no leave to take the shipped one.
        symlink("/nowhere", place("restricted.toml")).expect("a link");
        assert!(matches!(load_from(dir.path(), "restricted"), Err(Error::Read { .. })));
        assert!(load_from(dir.path(), "baseline").is_ok());
        assert!(load_from(&place("dangling"), "baseline").is_err());
        assert!(load_from(&place("none"), "baseline").is_ok());
    }
}
