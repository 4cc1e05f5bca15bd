//! What a user is told: one message per problem that says what, where, why and what to do.
#![forbid(unsafe_code)]

use crate::cli::{Global, LogFormat};
use crate::time;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

/// How much a [`Diagnostic`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The container runs, but something asked for is not done, or not as asked.
    Warning,
    /// The container must not run.
    Error,
}

/// One finding about a configuration: what is wrong, at which JSON path, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Warning or error.
    pub severity: Severity,
    /// Where, as a path in config.json (`process.capabilities.bounding[3]`); empty when it is the whole file.
    pub path: String,
    /// What is wrong and why: lowercase, no full stop.
    pub message: String,
    /// What to do about it, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding that stops the container.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.into(), message: message.into(), hint: None }
    }

    /// A finding that is reported, and the container runs.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, path: path.into(), message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// What to do about an error, kept apart from its message: callers match on messages, people read hints.
pub trait Hint {
    /// The `hint:` line printed under the error, if there is something useful to say.
    fn hint(&self) -> Option<String> {
        None
    }

    /// What a command that stands for its program (`sandbox`) exits with for this: 126 when the program cannot be executed, 127
    /// when there is none.
    fn code(&self) -> Option<u8> {
        None
    }
}

/// A failed command as its user sees it: rendered once, at the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Subject, then cause, in one line where possible. Callers match on it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// What a command that stands for a program exits with: 126 or 127.
    pub code: Option<u8>,
}

/// Importance of a log line, spelled as logrus spells it: callers look for `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where a command's messages go: the `--log` file in the chosen format, and stderr.
///
/// The rules are callers': podman parses the whole log as one JSON object after a failure, so that a failure is exactly one
/// line and warnings are held until success (unless `--debug`); conmon and CRI-O read failures from stderr alone; a
/// successful `create` must leave stderr untouched, since it is the container's.
#[derive(Debug)]
pub struct Reporter {
    /// Absolute, since the file is opened when there is something to write and the working directory may have changed.
    log: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
    quiet: Cell<bool>,
    plain: Cell<bool>,
    warnings: RefCell<Vec<String>>,
}

impl Reporter {
    /// A reporter for these flags. Nothing is opened until something is reported.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        // An unreadable working directory leaves the path as it is, which is as good as it gets.
        let log = global.log.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        Self {
            log,
            format: global.log_format,
            debug: global.debug,
            quiet: Cell::new(false),
            plain: Cell::new(false),
            warnings: RefCell::new(Vec::new()),
        }
    }

    /// Keeps warnings off stderr: it belongs to a container now.
    pub fn hush(&self) {
        self.quiet.set(true);
    }

    /// Leaves the word `error` out of failures on stderr: what a person has typed fails with a sentence. Callers of a runtime, and their
    /// tests, look for the word, as runc's `level=error` has it.
    pub fn speak_plainly(&self) {
        self.plain.set(true);
    }

    /// The container has ended, and stderr is the caller's again.
    pub fn speak(&self) {
        self.quiet.set(false);
    }

    /// Whether `--debug` was given; to save the making of messages nobody reads.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.debug
    }

    /// Reports progress, if `--debug` was given.
    pub fn debug(&self, message: impl fmt::Display) {
        if self.debug {
            self.log_or_stderr(Level::Debug, &message.to_string());
        }
    }

    /// Reports something that did not stop the command; written when the command has succeeded.
    pub fn warn(&self, message: impl Into<String>) {
        let message = message.into();
        if self.debug {
            self.log_or_stderr(Level::Warning, &message);
        } else {
            self.warnings.borrow_mut().push(message);
        }
    }

    /// Reports findings that did not stop the command, with what to do about them.
    pub fn warn_of(&self, findings: &[Diagnostic]) {
        for finding in findings {
            match &finding.hint {
                Some(hint) => self.warn(format!("{finding} (hint: {hint})")),
                None => self.warn(finding.to_string()),
            }
        }
    }

    /// Writes the warnings held so far: to the log if there is one, else to stderr (unless hushed).
    pub fn succeed(&self) {
        for warning in summed_up(&self.warnings.take()) {
            if self.log.is_some() {
                self.log_or_stderr(Level::Warning, &warning);
            } else if !self.quiet.get() {
                say(&format!("warning: {warning}\n"));
            }
        }
    }

    /// Reports why the command failed: one line in the log, the same message on stderr with its hint on a second line.
    ///
    /// Without a log, warnings go before it on stderr: one of them may be the reason.
    pub fn fail(&self, failure: &Failure) {
        let logged = match &failure.hint {
            Some(hint) => format!("{} (hint: {hint})", failure.message),
            None => failure.message.clone(),
        };
        let warnings = summed_up(&self.warnings.take());
        if self.log.is_none() {
            if self.format == LogFormat::Json {
                return self.log_or_stderr(Level::Error, &logged);
            }
            for warning in warnings {
                say(&format!("warning: {warning}\n"));
            }
        }
        // With a log the word is there.
        let label = if self.log.is_none() && !self.plain.get() { "error: " } else { "" };
        let mut text = format!("{label}{}\n", failure.message.trim_end());
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        if self.log.is_some() {
            self.log_or_stderr(Level::Error, &logged);
        }
        say(&text);
    }

    /// One line in the log; on stderr if there is no log. A log that cannot be written is said on stderr, once per line.
    fn log_or_stderr(&self, level: Level, message: &str) {
        let line = format_line(self.format, level, message, SystemTime::now());
        match &self.log {
            None => say(&line),
            Some(path) => {
                let written = open_log(path).map_err(|error| error.cause());
                let written = written.and_then(|mut log| log.write_all(line.as_bytes()).map_err(|why| why.to_string()));
                if let Err(why) = written {
                    say(&format!("cannot write log {}: {why}\n", path.display()));
                }
            }
        }
    }
}

/// How long one warning may be, and all of them: a pipe that nobody reads yet holds 64 KiB, and whoever waits for this command may read
/// only then.
const LONGEST: usize = 4 << 10;
const ALL: usize = 32 << 10;

/// One line for each kind of warning, in the order of the first of each.
fn summed_up(warnings: &[String]) -> Vec<String> {
    let mut kinds: Vec<(String, &str, usize)> = Vec::new();
    let mut places = std::collections::HashMap::<String, usize>::new();
    for warning in warnings {
        let kind = kind_of(warning);
        match places.get(&kind) {
            Some(at) => kinds[*at].2 += 1,
            None => {
                places.insert(kind.clone(), kinds.len());
                kinds.push((kind, warning, 0));
            }
        }
    }
    let (mut lines, mut length, mut left_out) = (Vec::new(), 0, 0);
    for (_, first, others) in kinds {
        let mut line = cut(first).to_owned();
        if line.len() < first.len() {
            line.push('…');
        }
        if others > 0 {
            line.push_str(&format!(" (and {others} more of this kind)"));
        }
        length += line.len();
        if length > ALL {
            left_out += 1 + others;
        } else {
            lines.push(line);
        }
    }
    if left_out > 0 {
        lines.push(format!("{left_out} more warnings are left out"));
    }
    lines
}

fn cut(text: &str) -> &str {
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// A warning without what differs between two of one kind: numbers, and what is quoted.
fn kind_of(warning: &str) -> String {
    let mut kind = String::with_capacity(warning.len());
    let mut quoted = false;
    for c in cut(warning).chars() {
        quoted ^= c == '"';
        if !quoted && !c.is_ascii_digit() {
            kind.push(c);
        }
    }
    kind
}

/// Opened for each line: there is at most one, unless `--debug`.
fn open_log(path: &std::path::Path) -> Result<File, crate::output::Error> {
    crate::output::append(path, true)
}

/// Writes to stderr. There is nobody left to tell when that fails.
///
/// What messages quote (names in an image, values of a configuration) is not to do anything to the terminal.
pub(crate) fn say(text: &str) {
    drop(io::stderr().write_all(shown(text, |c| c == '\n' || c == '\t').as_bytes()));
}

/// Whether a character does something to a terminal, or to those beside it, and is not seen itself: with it a name
/// looks like another than it is. Control characters; what changes the direction of writing, joins and separates;
/// blanks that take no room (Unicode's `Default_Ignorable_Code_Point`, and the format characters beside those).
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text with the characters spelled out that are not seen ([`is_unseen`]), but for those that are kept; and bytes that
/// are no text.
pub(crate) fn shown(text: &str, kept: impl Fn(char) -> bool) -> String {
    crate::spelling::readable(text, kept)
}

/// A log line with its newline, byte for byte as logrus's JSON and text formatters write it.
fn format_line(format: LogFormat, level: Level, message: &str, now: SystemTime) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        level: Level,
        msg: &'a str,
        time: &'a str,
    }
    let now = time::rfc3339(now);
    match format {
        LogFormat::Json => {
            // Strings always serialise; were that wrong, an empty line is better than a panic while failing.
            let mut line = serde_json::to_string(&Line { level, msg: message, time: &now }).unwrap_or_default();
            line.push('\n');
            line
        }
        LogFormat::Text => format!("time=\"{now}\" level={} msg={}\n", level.name(), quoted(message)),
    }
}

/// logrus's rule: bare when every character is one of `[A-Za-z0-9._/@^+-]`, else in Go's quotes (`%q`).
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const AT: u64 = 1_700_000_000;

    fn line(format: LogFormat, message: &str) -> String {
        format_line(format, Level::Error, message, SystemTime::UNIX_EPOCH + Duration::from_secs(AT))
    }

    #[test]
    fn json_is_logrus_s() {
        assert_eq!(
            line(LogFormat::Json, "container \"x\"\n<gone>"),
            "{\"level\":\"error\",\"msg\":\"container \\\"x\\\"\\n<gone>\",\"time\":\"2023-11-14T22:13:20Z\"}\n"
        );
    }

    #[test]
    fn warnings_are_one_line_for_each_kind_and_fit_into_a_pipe() {
        let two = ["mounts[0]: \"a\" is odd".to_owned(), "other".to_owned(), "mounts[17]: \"b\" is odd".to_owned()];
        assert_eq!(summed_up(&two), ["mounts[0]: \"a\" is odd (and 1 more of this kind)", "other"]);
        let many: Vec<String> = (0..60_000u32).map(|n| format!("{} is odd", "é".repeat(n as usize % 3000))).collect();
        let lines = summed_up(&many);
        assert!(lines.iter().map(String::len).sum::<usize>() < 40 << 10);
        assert!(lines.last().is_some_and(|line| line.ends_with("more warnings are left out")), "{:?}", lines.last());
        assert!(summed_up(&["é".repeat(100_000)])[0].len() <= LONGEST + 4);
    }

    #[test]
    fn text_is_logrus_s() {
        for (message, want) in [
            ("container does not exist", r#""container does not exist""#),
            ("bare-word_1", "bare-word_1"),
            ("bare-word.1/@^+", "bare-word.1/@^+"),
            ("", r#""""#),
            ("unknown signal \"FOO\"", r#""unknown signal \"FOO\"""#),
            ("a\tb\nc\\", r#""a\tb\nc\\""#),
            ("bell\x07 nul\0 del\x7f nel\u{85}", r#""bell\a nul\x00 del\x7f nel\u0085""#),
            ("héllo …", r#""héllo …""#),
        ] {
            assert_eq!(
                line(LogFormat::Text, message),
                format!("time=\"2023-11-14T22:13:20Z\" level=error msg={want}\n"),
                "{message:?}"
            );
        }
    }
}
