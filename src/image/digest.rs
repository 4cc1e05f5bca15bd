//! Digests of what an image consists of (image-spec, descriptor.md).
#![forbid(unsafe_code)]

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{self, Read};

/// Whether it is written as one: `sha256:` and 64 lowercase hexadecimal digits. Others are not used in practice, and a digest
/// becomes part of a path.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

/// 64 lowercase hexadecimal digits.
pub(super) fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The digest of these bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    name(Sha256::new().chain_update(bytes))
}

fn name(hash: Sha256) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

/// Reads, and knows afterwards what it has read.
pub(super) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    /// Bytes read.
    pub(super) length: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), length: 0 }
    }

    /// Reads what is left, and tells the digest of the whole.
    pub(super) fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((name(self.hash), self.length))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        self.hash.update(&buf[..count]);
        self.length += count as u64;
        Ok(count)
    }
}
