//! The command line: bytes typed by people and programs to a plain [`Command`].
//!
//! clap derives flags, help and conversion from the structs in [`args`]; what callers of Go runtimes expect beyond that
//! (single dashes, `--flag=false`, flags after positionals) is rewritten first, in `goflags`. Only the verb in use has its
//! flags built: the whole parse is a few tens of microseconds.
#![forbid(unsafe_code)]

pub mod args;
mod goflags;
mod sandbox;
#[cfg(test)]
mod tests;
mod value;

pub use args::*;
pub use sandbox::*;

use crate::report::Hint;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Subcommand};
use goflags::{FlagsEnd, Sorted};
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use thiserror::Error;

/// Exit code of every failure but exec's.
pub const FAILURE: u8 = 1;

/// Exit code of an exec that could not be started.
pub const EXEC_FAILURE: u8 = 255;

/// Exit code of a sandbox that could not be made, as of podman and docker: its program's are its own.
pub const SANDBOX_FAILURE: u8 = 125;

/// The version of the runtime specification that this runtime follows.
pub const SPEC_VERSION: &str = "1.3.0";

/// What was typed wrongly. Texts in Go's flag package are kept where programs know them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UsageError {
    /// A flag that this command does not have.
    #[error("flag provided but not defined: -{flag}")]
    UnknownFlag {
        /// Its name, without dashes.
        flag: String,
    },
    /// A flag without its value at the end of the arguments.
    #[error("flag needs an argument: -{flag}")]
    NoValue {
        /// Its name, without dashes.
        flag: String,
    },
    /// A value that cannot be one of this flag.
    #[error("invalid value {value:?} for flag -{flag}: {why}")]
    InvalidValue {
        /// Its name, without dashes.
        flag: String,
        /// What was given.
        value: String,
        /// Why it is not one.
        why: String,
    },
    /// A positional argument that cannot be read, such as an unknown signal.
    #[error("{why}")]
    InvalidArgument {
        /// What is wrong.
        why: String,
    },
    /// Too few or too many positional arguments.
    #[error("{verb:?} requires {} {count} argument(s)", .bound.words())]
    Arguments {
        /// The verb.
        verb: String,
        /// Which bound was not met.
        bound: Bound,
        /// The bound.
        count: usize,
    },
    /// `exec` with nothing to execute.
    #[error("exec: process args cannot be empty")]
    NoProcess,
    /// `sandbox` with nothing to run.
    #[error("sandbox: there is no program to run")]
    NoProgram,
    /// A verb, or a topic of `help`, that there is not.
    #[error("No help topic for '{topic}'")]
    UnknownVerb {
        /// What was typed.
        topic: String,
        /// The nearest verb, if there is one.
        near: Option<String>,
    },
    /// Anything that clap alone finds.
    #[error("{0}")]
    Other(String),
}

/// Which bound on the number of positional arguments was not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Lower and upper bound are the same.
    Exactly,
    /// The lower one.
    Minimum,
    /// The upper one.
    Maximum,
}

impl Bound {
    fn words(self) -> &'static str {
        match self {
            Self::Exactly => "exactly",
            Self::Minimum => "a minimum of",
            Self::Maximum => "a maximum of",
        }
    }
}

impl Hint for UsageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownVerb { near: Some(near), .. } => Some(format!("did you mean {near}?")),
            Self::UnknownVerb { near: None, .. } => Some("`pent --help` lists the commands".into()),
            Self::NoProgram => Some("name it after the options: pent sandbox -- PROGRAM".into()),
            Self::NoProcess => Some("name a program after the container's id, or a file with --process".into()),
            Self::UnknownFlag { .. } | Self::Arguments { .. } => {
                Some("add --help after the command for its options".into())
            }
            _ => None,
        }
    }
}

/// What was typed: the global flags, and the verb or why there is none.
///
/// The two are apart because a mistake after the verb is still reported to the `--log` given before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The global flags; all defaults when they themselves could not be read.
    pub global: Global,
    /// The verb.
    pub command: Result<Command, UsageError>,
    /// The exit code if the verb, or the reading of it, fails.
    pub failure_code: u8,
}

/// The complete clap command, for help, man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    // The derive would leave the enum's own comment as the description.
    let root = Root::command();
    let about = root.get_about().cloned();
    Command::augment_subcommands(root).about(about.unwrap_or_default()).disable_help_subcommand(true)
}

/// Reads the arguments of the process, the first being its own name. A mistake is in [`Invocation::command`].
#[must_use]
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Invocation {
    let mut argv = argv.into_iter();
    let by_name = argv.next().and_then(|name| profile_of(&name));
    let mut invocation = parse_arguments(argv);
    if invocation.global.profile.is_none() {
        invocation.global.profile = by_name;
    }
    invocation
}

/// The profile that the program's own name asks for: callers that can only name a binary choose it by a link `pent-NAME`.
///
/// A name that no profile can have is one all the same, and will not be found: `pent-` alone, bytes that are no text, and what
/// only a path after `pent-` can mean (`pent-../x`). Such a caller wanted a profile, and is not to go without.
fn profile_of(program: &OsStr) -> Option<String> {
    let program = program.as_bytes();
    let mut parts = program.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let name = |part: &[u8]| Some(String::from_utf8_lossy(part.strip_prefix(b"pent-")?).into_owned());
    let last = parts.clone().next_back().and_then(name);
    last.or_else(|| parts.find_map(|part| name(part).filter(|name| name.bytes().all(|byte| byte == b'.'))))
}

fn parse_arguments(argv: impl Iterator<Item = OsString>) -> Invocation {
    let mut root = command();
    let sorted = match goflags::sort(&root, argv, FlagsEnd::FirstPositional) {
        Ok(sorted) => sorted,
        Err(mistake) => return Invocation { global: Global::default(), command: Err(mistake), failure_code: FAILURE },
    };
    let failure_code = match sorted.positionals.first() {
        Some(verb) if verb == "exec" => EXEC_FAILURE,
        Some(verb) if verb == "sandbox" => SANDBOX_FAILURE,
        _ => FAILURE,
    };
    let globals = sorted.flags.clone();
    match read(&mut root, sorted) {
        Ok((global, command)) => Invocation { global, command: Ok(command), failure_code },
        // The globals once more by themselves: they say where to report the mistake, unless it is one of theirs.
        Err(mistake) => match matches(&mut root, globals) {
            Ok(found) => Invocation { global: found.0.global, command: Err(mistake), failure_code },
            Err(mistake) => Invocation { global: Global::default(), command: Err(mistake), failure_code: FAILURE },
        },
    }
}

/// Runs clap over canonical arguments.
fn matches(root: &mut clap::Command, argv: Vec<OsString>) -> Result<(Root, ArgMatches), UsageError> {
    let argv = std::iter::once(OsString::from("pent")).chain(argv);
    let mut found = root.try_get_matches_from_mut(argv).map_err(|error| refusal(&error))?;
    let globals = Root::from_arg_matches_mut(&mut found).map_err(|error| refusal(&error))?;
    Ok((globals, found))
}

/// The global flags, the verb, its flags and its positionals.
fn read(root: &mut clap::Command, sorted: Sorted) -> Result<(Global, Command), UsageError> {
    let mut argv = sorted.flags;
    let mut words = sorted.positionals.into_iter();
    let Some(verb) = words.next() else {
        let (read, _) = matches(root, argv)?;
        let version = read.version && !sorted.help;
        return Ok((read.global, if version { Command::Version } else { Command::Help(help(root)) }));
    };
    let verb = verb.to_string_lossy().into_owned();
    if verb == "help" || verb == "h" {
        let help = match words.find(|word| !word.as_encoded_bytes().starts_with(b"-")) {
            None => help(root),
            Some(topic) => help(built(root, &topic.to_string_lossy())?),
        };
        return Ok((matches(root, argv)?.0.global, Command::Help(help)));
    }
    let found = built(root, &verb)?;
    let end =
        if matches!(verb.as_str(), "exec" | "ps" | "sandbox") { FlagsEnd::FirstPositional } else { FlagsEnd::Dashes };
    let sorted = goflags::sort(found, words, end)?;
    if sorted.help {
        let help = help(found);
        return Ok((matches(root, argv)?.0.global, Command::Help(help)));
    }
    check_count(found, &verb, sorted.positionals.len())?;
    argv.push(verb.into());
    argv.extend(sorted.flags);
    if !sorted.positionals.is_empty() {
        argv.push("--".into());
        argv.extend(sorted.positionals);
    }
    let (read, mut found) = matches(root, argv)?;
    let command = Command::from_arg_matches_mut(&mut found).map_err(|error| refusal(&error))?;
    match command {
        Command::Exec(exec) if exec.command.is_empty() && exec.process.is_none() => Err(UsageError::NoProcess),
        Command::Sandbox(sandbox) if sandbox.command.is_empty() && sandbox.image.is_none() => {
            Err(UsageError::NoProgram)
        }
        Command::Sandbox(sandbox) if sandbox.command.first().is_some_and(|word| word.is_empty()) => {
            Err(UsageError::NoProgram)
        }
        _ if read.version => Ok((read.global, Command::Version)),
        command => Ok((read.global, command)),
    }
}

/// What `--help` prints: the same for both of its forms, so without clap's advice to try the other.
fn help(command: &clap::Command) -> String {
    let mut command = command.clone();
    command.build();
    command.mut_arg("help", |flag| flag.help("Print help")).render_help().to_string()
}

/// The command of a verb with its flags built in place.
fn built<'r>(root: &'r mut clap::Command, verb: &str) -> Result<&'r mut clap::Command, UsageError> {
    if root.find_subcommand(verb).is_none() {
        let near = root
            .get_subcommands()
            .map(|known| (edits(verb, known.get_name()), known.get_name()))
            .min()
            .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
            .map(|(_, known)| known.to_owned());
        return Err(UsageError::UnknownVerb { topic: verb.to_owned(), near });
    }
    let unknown = || UsageError::UnknownVerb { topic: verb.to_owned(), near: None };
    let found = root.find_subcommand_mut(verb).ok_or_else(unknown)?;
    found.set_bin_name(format!("pent {verb}"));
    found.build();
    Ok(found)
}

/// Checks the number of positionals against what the command takes, in the words callers know.
fn check_count(command: &clap::Command, verb: &str, count: usize) -> Result<(), UsageError> {
    let fail = |bound, count| Err(UsageError::Arguments { verb: verb.to_owned(), bound, count });
    let minimum = command.get_positionals().filter(|arg| arg.is_required_set()).count();
    let endless = command.get_positionals().any(clap::Arg::is_trailing_var_arg_set);
    let maximum = command.get_positionals().count();
    match (count < minimum, count > maximum && !endless) {
        (false, false) => Ok(()),
        _ if minimum == maximum => fail(Bound::Exactly, minimum),
        (true, _) => fail(Bound::Minimum, minimum),
        (_, true) => fail(Bound::Maximum, maximum),
    }
}

/// A clap error in this program's words: one line, lowercase.
fn refusal(error: &clap::Error) -> UsageError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match (error.kind(), text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
        (ErrorKind::InvalidUtf8, _, _) => UsageError::InvalidArgument { why: "an argument is not UTF-8".into() },
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(arg), value) => {
            let wanted = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) if !known.is_empty() => format!("want {}", known.join(" or ")),
                Some(_) => "there has to be one".into(),
                _ => "not valid".into(),
            };
            let why = error.source().map_or(wanted, ToString::to_string);
            match arg.strip_prefix("--") {
                Some(flag) => UsageError::InvalidValue {
                    flag: flag.split([' ', '=', '[']).next().unwrap_or(flag).to_owned(),
                    value: value.unwrap_or_default(),
                    why,
                },
                None => UsageError::InvalidArgument { why },
            }
        }
        (ErrorKind::MissingRequiredArgument, _, _) => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => UsageError::Other(format!("missing: {}", missing.join(", "))),
            _ => UsageError::Other("an option that another one needs is missing".into()),
        },
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            UsageError::Other(first.strip_prefix("error: ").unwrap_or(first).to_owned())
        }
    }
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
