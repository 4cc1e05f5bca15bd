//! Bytes as text, and back.
//!
//! Paths, arguments and variables of Linux are bytes, JSON is text. In the configuration that `pent sandbox` writes for
//! itself, a byte that is no UTF-8 is spelled as one character of a range that nobody uses, U+10FF80 to U+10FFFF, and
//! so are the bytes of those characters themselves, should a name have them: no two names have one spelling. `/`, `.`
//! and everything else that paths are compared by stay what they are, so that all code that reads configurations reads
//! these too. What the kernel gets is turned back ([`crate::plan::Plan::unspell`]). An engine's config.json is never
//! read so.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The character for the byte 0; only those from 0x80 on are ever no UTF-8.
const BASE: u32 = 0x10_ff00;

/// The byte that a character stands for.
fn byte_of(c: char) -> Option<u8> {
    let offset = u32::from(c).checked_sub(BASE)?;
    u8::try_from(offset).ok().filter(|byte| *byte >= 0x80)
}

fn char_of(byte: u8) -> char {
    char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Bytes as text that [`unspell`] turns back.
pub fn spell(bytes: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in bytes.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                None => text.push(c),
                Some(_) => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(char_of)),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(char_of));
    }
    text
}

/// The same of a path.
#[must_use]
pub fn spell_path(path: &Path) -> PathBuf {
    PathBuf::from(spell(path))
}

/// What was spelled, as it was. Bytes that are no text stay as they are.
#[must_use]
pub fn unspell(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes.extend_from_slice(chunk.invalid());
    }
    bytes
}

/// The same of a path.
#[must_use]
pub fn unspell_path(path: &Path) -> PathBuf {
    PathBuf::from(OsString::from_vec(unspell(path.as_os_str().as_bytes())))
}

/// A name for a line of a message: control characters and bytes that are no text as `\xNN`, so that a terminal does
/// nothing with it.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    readable(&spell(name), |_| false)
}

/// Text with the characters that are not seen, and the bytes that are spelled in it, written out, but for those that
/// are kept.
#[must_use]
pub fn readable(text: &str, kept: impl Fn(char) -> bool) -> String {
    use std::fmt::Write as _;
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Writing to a string does not fail.
        match byte_of(c) {
            Some(byte) => drop(write!(shown, "\\x{byte:02x}")),
            None if crate::report::is_unseen(c) && !kept(c) => shown.extend(c.escape_default()),
            None => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_what_it_is() {
        for text in ["", "/home/ann", "/home/Zoë/日本", "\u{10ff7f}", "a\nb"] {
            assert_eq!(spell(text), text);
        }
        assert_eq!(spell(OsStr::from_bytes(b"/caf\xe9/x")), "/caf\u{10ffe9}/x");
    }

    #[test]
    fn what_looks_like_a_spelling_is_another() {
        let (raw, looks) = (OsStr::from_bytes(b"\xe9"), OsStr::new("\u{10ffe9}"));
        assert_ne!(spell(raw), spell(looks));
        assert_eq!(unspell(spell(looks).as_bytes()), looks.as_bytes());
    }

    #[test]
    fn names_do_nothing_to_a_terminal() {
        assert_eq!(shown(OsStr::from_bytes(b"a\x1b[2J\n\xe9\x7f")), r"a\u{1b}[2J\n\xe9\u{7f}");
        assert_eq!(shown("a\u{202e}gpj.sh"), r"a\u{202e}gpj.sh");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let spelled = spell(OsStr::from_bytes(&bytes));
            prop_assert_eq!(unspell(spelled.as_bytes()), bytes.clone());
            // Components are the same, so that paths can be compared spelled.
            let parts = bytes.split(|byte| *byte == b'/').map(|part| spell(OsStr::from_bytes(part)));
            prop_assert_eq!(spelled, parts.collect::<Vec<_>>().join("/"));
        }

        #[test]
        fn so_does_every_text(text in "[\u{10ff70}-\u{10ffff}é/a]{0,16}") {
            prop_assert_eq!(unspell(spell(&text).as_bytes()), text.into_bytes());
        }
    }
}
