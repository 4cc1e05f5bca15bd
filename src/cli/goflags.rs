//! Go's flag style, rewritten into the one form clap reads: `--flag` or `--flag=value`, all before `--`, positionals after.
//!
//! Callers were written against a Go program: `-flag` is `--flag`, a boolean may be `--flag=false`, the value of a flag is
//! the next argument whatever it looks like (`--memory -1`), and flags may follow positionals. Which words are flags, and
//! which of them take values, is read from the clap command itself, so there is one table.
#![forbid(unsafe_code)]

use super::{UsageError, value};
use clap::Arg;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Flags that a Go program has not been given when their value is empty: callers pass what they have. An empty `--root` is none
/// of them, there it is the directory the program happens to be in.
const EMPTY_IS_ABSENT: [&str; 7] = ["bundle", "console-socket", "cwd", "log", "pid-file", "pidfd-socket", "process"];

/// Where flags end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagsEnd {
    /// At `--` only.
    Dashes,
    /// At the first positional too: what follows belongs to another program, or is the verb.
    FirstPositional,
}

/// Arguments of one command, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// `--flag` and `--flag=value`, in the order given.
    pub(super) flags: Vec<OsString>,
    /// The rest.
    pub(super) positionals: Vec<OsString>,
    /// Whether help was asked for; the others are then what came before.
    pub(super) help: bool,
}

/// Sorts `argv` (without the command's own name) by the flags that `command` has.
pub(super) fn sort(
    command: &clap::Command,
    argv: impl IntoIterator<Item = OsString>,
    end: FlagsEnd,
) -> Result<Sorted, UsageError> {
    let mut sorted = Sorted::default();
    let mut argv = argv.into_iter();
    while let Some(word) = argv.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            sorted.positionals.extend(argv);
            return Ok(sorted);
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            sorted.positionals.push(word);
            if end == FlagsEnd::FirstPositional {
                sorted.positionals.extend(argv);
                return Ok(sorted);
            }
            continue;
        }
        let name = &bytes[if bytes[1] == b'-' { 2 } else { 1 }..];
        let (name, attached) = match name.iter().position(|b| *b == b'=') {
            Some(at) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        if matches!(name, b"h" | b"help") {
            sorted.help = true;
            return Ok(sorted);
        }
        if let Some(flag) = find(command, name) {
            push(&mut sorted.flags, flag, attached, &mut argv)?;
        } else if bytes[1] == b'-' || !push_cluster(&mut sorted.flags, command, &bytes[1..], &mut argv)? {
            return Err(UsageError::UnknownFlag { flag: String::from_utf8_lossy(name).into_owned() });
        }
    }
    Ok(sorted)
}

/// The flag called `name`, long or short.
fn find<'c>(command: &'c clap::Command, name: &[u8]) -> Option<&'c Arg> {
    let name = std::str::from_utf8(name).ok()?;
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    command.get_arguments().find(|arg| {
        arg.get_long().is_some_and(|long| long == name)
            || (letter.is_some() && arg.get_long().is_some() && arg.get_short() == letter)
    })
}

/// Appends one flag in canonical form, taking its value from `attached` or the next argument.
fn push(
    flags: &mut Vec<OsString>,
    flag: &Arg,
    attached: Option<&[u8]>,
    argv: &mut impl Iterator<Item = OsString>,
) -> Result<(), UsageError> {
    let long = flag.get_long().unwrap_or_default();
    let mut canonical = format!("--{long}").into_bytes();
    if flag.get_action().takes_values() {
        canonical.push(b'=');
        match attached {
            Some(value) => canonical.extend_from_slice(value),
            // Such a flag stands for itself, and only `=` gives it a value.
            None if flag.is_require_equals_set() => {
                canonical.pop();
            }
            None => match argv.next() {
                Some(value) => canonical.extend_from_slice(value.as_bytes()),
                None => return Err(UsageError::NoValue { flag: long.to_owned() }),
            },
        }
        if canonical.ends_with(b"=") && EMPTY_IS_ABSENT.contains(&long) {
            // As with any other value, the last one wins.
            flags.retain(|given| !given.as_bytes().starts_with(&canonical));
        } else {
            flags.push(OsString::from_vec(canonical));
        }
        return Ok(());
    }
    let on = match attached {
        None => true,
        Some(text) => std::str::from_utf8(text).ok().and_then(value::bool).ok_or_else(|| UsageError::InvalidValue {
            flag: long.to_owned(),
            value: String::from_utf8_lossy(text).into_owned(),
            why: "want true or false".to_owned(),
        })?,
    };
    // The last one wins, as in Go: clap has no "off", so an earlier "on" is taken back.
    flags.retain(|given| given.as_bytes() != canonical);
    if on {
        flags.push(OsString::from_vec(canonical));
    }
    Ok(())
}

/// Appends the flags of a cluster such as `-it` or `-uroot`; false when its first letter is no flag of this command.
/// Go has no clusters, people type them.
fn push_cluster(
    flags: &mut Vec<OsString>,
    command: &clap::Command,
    cluster: &[u8],
    argv: &mut impl Iterator<Item = OsString>,
) -> Result<bool, UsageError> {
    let mut rest = cluster;
    while let Some((letter, after)) = rest.split_first() {
        let Some(flag) = find(command, &[*letter]) else {
            if rest.len() == cluster.len() {
                return Ok(false);
            }
            return Err(UsageError::UnknownFlag { flag: OsStr::from_bytes(cluster).to_string_lossy().into_owned() });
        };
        if flag.get_action().takes_values() {
            let attached = (!after.is_empty()).then_some(after);
            push(flags, flag, attached, argv)?;
            return Ok(true);
        }
        push(flags, flag, None, argv)?;
        rest = after;
    }
    Ok(true)
}
