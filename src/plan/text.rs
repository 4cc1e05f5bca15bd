//! Strings on their way to the kernel.
#![forbid(unsafe_code)]

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A string without NUL bytes, ready for a system call; printed so that a terminal does nothing with it, and serialised
/// lossily.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text(CString);

impl Text {
    /// Cuts at the first NUL byte; the specification's strings were checked for them before (`spec::validate`).
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        Self(CString::new(&bytes[..end]).unwrap_or_default())
    }

    /// The same for a path.
    pub fn path(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref().as_os_str().as_bytes())
    }

    /// As a path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.0.as_bytes()))
    }

    /// What was spelled in a configuration of pent's own, as it was ([`crate::spelling`]).
    pub(super) fn unspell(&mut self) {
        let bytes = crate::spelling::unspell(self.0.as_bytes());
        if bytes != self.0.as_bytes() {
            *self = Self::new(bytes);
        }
    }

    /// The C string.
    pub fn as_c_string(&self) -> &CString {
        &self.0
    }

    /// The owned C string.
    pub fn into_inner(self) -> CString {
        self.0
    }
}

impl Deref for Text {
    type Target = CStr;
    fn deref(&self) -> &CStr {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::spelling::shown(OsStr::from_bytes(self.0.as_bytes())))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.to_string_lossy())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string_lossy())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
