//! config.json: from bytes to oci-spec types with warnings and JSON paths, and the rules it must meet.
//!
//! Everything here is pure but [`load`], which reads the file. [`parse`] has two paths: one typed pass that every good
//! configuration takes, because it runs at each start of a container, and a second, slow one for when something is off, which
//! collects all that is wrong. [`validate`] then checks what types cannot say.
#![forbid(unsafe_code)]

pub mod capability;
mod careful;
mod default;
pub mod known;
pub mod mount_options;
mod rules;
mod schema;
pub(crate) mod suggest;
pub mod sysctl;
mod tree;

pub use default::{Owner, default_json, default_spec};
pub use rules::{Context, validate, validate_process, validate_resources};

use crate::report::{Diagnostic, Hint, Severity};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use schema::Object;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tree::Node;

/// The name of the configuration in a bundle (bundle.md).
pub const FILE_NAME: &str = "config.json";

/// The oldest specification this runtime knows, as in the features document.
pub const VERSION_MIN: &str = "1.0.0";

/// The newest specification this runtime knows, as in the features document and in `state`.
pub const VERSION_MAX: &str = "1.3.0";

/// The largest configuration that is read, in bytes. Kubernetes' largest are under 1 MiB.
pub const LARGEST: u64 = 64 << 20;

/// The annotation with the value `1` by which Podman asks that the caller's supplementary groups stay (crun(1)).
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// The annotation, with any value, by which a system call that is not known stops the container (crun(1)).
pub const FAIL_UNKNOWN_SYSCALL: &str = "run.oci.seccomp_fail_unknown_syscall";

/// Whether a configuration asks for that.
pub fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations().as_ref().and_then(|annotations| annotations.get(KEEP_GROUPS)).is_some_and(|value| value == "1")
}

/// A configuration as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded<T = Spec> {
    /// The configuration, in the form of the types.
    pub spec: T,
    /// What was wrong with it but does not stop the container.
    pub warnings: Vec<Diagnostic>,
}

/// Why a configuration could not be loaded.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such bundle.
    #[error("bundle {}: no such directory", .0.display())]
    NoBundle(PathBuf),
    /// The bundle is a file or something else that is no directory.
    #[error("bundle {}: not a directory", .0.display())]
    BundleNotDirectory(PathBuf),
    /// The bundle has no configuration.
    #[error("{}: no such file or directory", .0.display())]
    NoConfig(PathBuf),
    /// The configuration is a directory, a pipe or a device.
    #[error("{}: not a regular file", .0.display())]
    NotFile(PathBuf),
    /// The configuration is larger than [`LARGEST`].
    #[error("{}: {size} bytes are more than the {LARGEST} a configuration may have", path.display())]
    TooLarge {
        /// The configuration.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Opening or reading failed.
    #[error("{}: {source}", path.display())]
    Read {
        /// The configuration.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The configuration was read and is wrong; holds at least one error.
    #[error("{}: {}", path.display(), summary(diagnostics))]
    Invalid {
        /// The configuration.
        path: PathBuf,
        /// Everything that is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
}

impl Hint for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoBundle(_) | Self::BundleNotDirectory(_) => Some(
                "--bundle takes the directory that holds config.json; without it, it is the current directory".into(),
            ),
            Self::NoConfig(_) => Some("`pent spec` writes one".into()),
            Self::NotFile(_) | Self::TooLarge { .. } => Some("is this the right bundle?".into()),
            Self::Read { source, .. } => (source.kind() == io::ErrorKind::PermissionDenied)
                .then(|| "run as the owner of the bundle, or as root".into()),
            Self::Invalid { diagnostics, .. } => hints(diagnostics),
        }
    }
}

/// Objects and lists in each other that serde_json reads.
const DEEPEST: usize = 127;

/// As many errors as one line shows.
const SHOWN: usize = 8;

/// What to do about the errors that [`summary`] shows; each with its path, if there are several.
fn hints(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors: Vec<_> = diagnostics.iter().filter(|d| d.severity == Severity::Error).take(SHOWN).collect();
    if let [only] = errors[..] {
        return only.hint.clone();
    }
    let hints = errors.iter().filter_map(|d| d.hint.as_ref().map(|hint| format!("{}: {hint}", d.path)));
    Some(hints.collect::<Vec<_>>().join("; ")).filter(|hints| !hints.is_empty())
}

/// All errors among the findings in one line; for logs and for programs, which show one line.
#[must_use]
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors: Vec<String> =
        diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string).collect();
    let mut text = errors[..errors.len().min(SHOWN)].join("; ");
    if errors.len() > SHOWN {
        text.push_str(&format!("; and {} more errors", errors.len() - SHOWN));
    }
    text
}

/// Reads and parses `config.json` of a bundle. The rules of [`validate`] are not checked here.
///
/// # Errors
/// See [`enum@Error`]; each names the file or directory it is about.
pub fn load(bundle: &Path) -> Result<Loaded, Error> {
    let bytes = read(bundle)?;
    parse(&bytes).map_err(|diagnostics| Error::Invalid { path: bundle.join(FILE_NAME), diagnostics })
}

/// Reads the bytes of `config.json` of a bundle, at most [`LARGEST`] of them.
///
/// # Errors
/// All of [`enum@Error`] but [`Error::Invalid`].
pub fn read(bundle: &Path) -> Result<Vec<u8>, Error> {
    read_file(&bundle.join(FILE_NAME)).map_err(|error| match error {
        Error::NoConfig(_) if !fs::metadata(bundle).is_ok_and(|found| found.is_dir()) => {
            Error::NoBundle(bundle.to_owned())
        }
        Error::Read { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
            Error::BundleNotDirectory(bundle.to_owned())
        }
        other => other,
    })
}

/// Reads the bytes of a configuration wherever it is, at most [`LARGEST`] of them.
///
/// # Errors
/// All of [`enum@Error`] but [`Error::Invalid`] and those about the bundle.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    // Without O_NONBLOCK, opening a pipe would wait for a writer. O_CLOEXEC is what std always sets.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file: File = file.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoConfig(path.to_owned()),
        _ => failed(source),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::NotFile(path.to_owned()));
    }
    let too_large = |size| Error::TooLarge { path: path.to_owned(), size };
    if metadata.len() > LARGEST {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    // The file may grow while it is read.
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > LARGEST { Err(too_large(size)) } else { Ok(bytes) }
}

/// Parses the bytes of a config.json (config.md, config-linux.md of runtime-spec 1.3).
///
/// # Errors
/// Everything that is wrong with its form: not JSON (with line and column), wrong types, missing and duplicate properties,
/// names that are unknown where an unknown name cannot be left out, misspelled properties that protect something. Warnings
/// are among them, too.
pub fn parse(bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    let good = |spec: &Spec| {
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        spec.uid_mappings().is_none() && spec.gid_mappings().is_none() && resources.is_none_or(has_pids_limit)
    };
    parse_as(bytes, &schema::SPEC, good)
}

/// Parses the bytes of a process, as `exec --process` reads them (config.md, Process).
///
/// # Errors
/// As for [`parse`].
pub fn parse_process(bytes: &[u8]) -> Result<Loaded<Process>, Vec<Diagnostic>> {
    parse_as(bytes, &schema::PROCESS, |_| true)
}

/// Parses the bytes of resource limits, as `update --resources` reads them (config-linux.md, Control groups).
///
/// # Errors
/// As for [`parse`].
pub fn parse_resources(bytes: &[u8]) -> Result<Loaded<LinuxResources>, Vec<Diagnostic>> {
    parse_as(bytes, &schema::RESOURCES, has_pids_limit)
}

/// Whether a zero is a limit that was given: the types cannot tell `"pids": {}` from `"pids": {"limit": 0}`.
fn has_pids_limit(resources: &LinuxResources) -> bool {
    resources.pids().is_none_or(|pids| pids.limit() != 0)
}

fn parse_as<T: DeserializeOwned>(
    bytes: &[u8],
    shape: &'static Object,
    good: impl Fn(&T) -> bool,
) -> Result<Loaded<T>, Vec<Diagnostic>> {
    if let Some(spec) = parse_quickly(bytes).filter(good) {
        return Ok(Loaded { spec, warnings: Vec::new() });
    }
    let node: Node = serde_json::from_slice(bytes).map_err(|error| vec![not_json(bytes, &error, shape)])?;
    let (node, mut found) = careful::check(node, shape);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(found);
    }
    // Written out, so that one and the same code reads it: another copy of it for each of the types is a fifth of the binary.
    let bytes = node.into_value().to_string().into_bytes();
    match typed(&bytes) {
        Ok((spec, _)) => Ok(Loaded { spec, warnings: found }),
        // The tables let something through that the types do not take.
        Err(error) => {
            let place = excerpt(&bytes, error.line(), error.column()).unwrap_or_default();
            found.push(Diagnostic::error("", error.to_string()).hint(format!("it is at: {place}")));
            Err(found)
        }
    }
}

/// One typed pass; `None` when anything at all is off.
fn parse_quickly<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, unknown) = typed(bytes).ok()?;
    (!unknown && !tree::needs_closer_look(bytes)).then_some(value)
}

/// The value, and whether it has properties that the types do not know.
fn typed<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<(T, bool)> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut unknown = false;
    let value = serde_ignored::deserialize(&mut json, |_| unknown = true)?;
    json.end()?;
    Ok((value, unknown))
}

fn not_json(bytes: &[u8], error: &serde_json::Error, shape: &'static Object) -> Diagnostic {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        let found = Diagnostic::error("", "not valid JSON: it is empty");
        let is_whole = std::ptr::eq(shape, &raw const schema::SPEC);
        return if is_whole { found.hint("`pent spec` writes a configuration") } else { found };
    }
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let cause = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    if cause == "recursion limit exceeded" {
        let place = format!("nested too deeply at line {line}, column {column}");
        return Diagnostic::error("", place).hint(format!("at most {DEEPEST} objects and lists may be in each other"));
    }
    let found = Diagnostic::error("", format!("not valid JSON at line {line}, column {column}: {cause}"));
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return found.hint("remove the byte order mark at its start");
    }
    match excerpt(bytes, line, column) {
        Some(excerpt) => found.hint(format!("it reads: {excerpt}")),
        None => found,
    }
}

/// The text around a position, without control characters.
fn excerpt(bytes: &[u8], line: usize, column: usize) -> Option<String> {
    const AROUND: usize = 30;
    let line = bytes.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
    let around = &line[column.saturating_sub(AROUND).min(line.len())..(column + AROUND).min(line.len())];
    let text: String = String::from_utf8_lossy(around).chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether this is a list of numbers and ranges as the kernel takes for CPUs and memory nodes: `0-3,7`.
fn is_number_list(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => is_number(first) && is_number(last),
        None => is_number(part),
    })
}

/// An absolute path without `.`, `..`, doubled and trailing slashes, as if `/` were the root: `/a/../../b/` is `/b`.
///
/// Purely lexical, for paths inside the container that are resolved below the root afterwards.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
