//! The report for people, and for programs.
//!
//! Names come from a program that is not trusted, and go to a terminal: what is not plain is written so that a shell
//! reads it as what it is, and the terminal does nothing with it.
#![forbid(unsafe_code)]

use super::record::{Counted, Layer, Record};
use super::remedy::{Asker, Operation, Remedy};
use crate::report::{is_unseen, shown};
use nix::errno::Errno;
use serde::Serialize;
use std::fmt::Write as _;

/// A word as a POSIX shell takes it; with control characters or what is no text, as bash and its kin do (`$'…'`).
pub(crate) fn shell_word(bytes: &[u8]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,%[]".contains(c);
    match std::str::from_utf8(bytes) {
        Ok("") => "''".to_owned(),
        Ok(text) if text.chars().all(plain) => text.to_owned(),
        // Letters only that are seen: what changes the direction of writing or joins others could show another name
        // than it is.
        Ok(text)
            if text.chars().all(|c| {
                c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric() && !is_unseen(c))
            }) =>
        {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let mut word = String::from("$'");
            for byte in bytes {
                match byte {
                    b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
                    b' '..=b'~' => word.push(char::from(*byte)),
                    // Always two digits, so that what follows is not taken for a third; writing to a string does not fail.
                    _ => drop(write!(word, "\\x{byte:02x}")),
                }
            }
            word.push('\'');
            word
        }
    }
}

/// Everything there is to say of one run. Serialises to the form that docs/report.md describes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of the form; another number means that a member has another meaning or is gone.
    version: u32,
    /// The container's id.
    id: String,
    /// The exit status of the program.
    exit_status: u8,
    refusals: Vec<Line>,
    /// How many more there were, by layer.
    omitted: Vec<Omitted>,
    /// What the program has left that would run later, or has changed of what tools run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    later: Vec<Left>,
    /// What limits the report itself.
    notes: Vec<String>,
}

/// The version of the form.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize)]
struct Omitted {
    layer: Layer,
    count: u64,
}

/// Something that a program has left, and what was done with it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// `removed`, `cut`, `bits`, `failed`, `unseen`, `moved` or `changed`.
    pub action: String,
    /// Text; what is none is replaced.
    subject: String,
    /// In hexadecimal digits, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_bytes: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    /// As a shell takes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl Left {
    /// A path, why it was treated so, and the flags that would have left it.
    #[must_use]
    pub fn new(action: &str, path: &[u8], detail: &str, flags: Option<String>) -> Self {
        let hex = || path.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Self {
            action: action.to_owned(),
            subject: String::from_utf8_lossy(path).into_owned(),
            subject_bytes: std::str::from_utf8(path).is_err().then(hex),
            detail: detail.to_owned(),
            flags,
            shown: shell_word(path),
        }
    }

    fn line(&self) -> String {
        let cut: String = self.shown.chars().take(LONGEST).collect();
        let detail = if self.detail.is_empty() { String::new() } else { format!("  {}", self.detail) };
        let flags = self.flags.as_ref().map(|flags| format!("  allow with {flags}")).unwrap_or_default();
        format!("{:<7} {cut}{detail}{flags}", self.action)
    }
}

/// One refusal, with what is said of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    action: String,
    /// Text; what is none is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// In hexadecimal digits, when it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_bytes: Option<String>,
    layer: Layer,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    syscall: &'static str,
    errno: String,
    count: u64,
    remedy: Remedy,
    #[serde(skip)]
    shown: String,
    #[serde(skip)]
    code: i32,
}

impl Line {
    /// Of a refusal.
    #[must_use]
    pub fn new(counted: &Counted, asker: Asker<'_>) -> Self {
        let refusal = &counted.refusal;
        let subject = (!refusal.subject.is_empty()).then(|| String::from_utf8_lossy(&refusal.subject).into_owned());
        let is_text = std::str::from_utf8(&refusal.subject).is_ok();
        let hex = || refusal.subject.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Self {
            action: refusal.action.clone(),
            subject,
            subject_bytes: (!is_text).then(hex),
            layer: refusal.layer,
            detail: refusal.detail.clone(),
            syscall: refusal.call,
            errno: error_name(refusal.errno),
            count: counted.count,
            remedy: asker.remedy(refusal),
            shown: if refusal.subject.is_empty() { String::new() } else { shell_word(&refusal.subject) },
            code: refusal.errno,
        }
    }

    /// Whether the program asks for what it can do without: a file that is not there, a call that this kernel, or the filesystem,
    /// could lack, as the profile has it answer.
    fn is_usual(&self) -> bool {
        let lacks = [libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL];
        self.layer == Layer::AbsentPath || (self.layer == Layer::Seccomp && lacks.contains(&self.code))
    }

    fn is_telling(&self) -> bool {
        !self.is_usual() || matches!(self.remedy, Remedy::Flags { .. } | Remedy::NotRecommended { .. })
    }

    fn columns(&self) -> [String; 3] {
        let mut what = self.action.clone();
        if !self.shown.is_empty() {
            // A name may be long; the file with the report has all of it.
            let cut: String = self.shown.chars().take(LONGEST).collect();
            let more = if cut.len() < self.shown.len() { "…" } else { "" };
            what = format!("{what:<7} {cut}{more}");
        }
        let mut why = self.layer.name().to_owned();
        if !self.detail.is_empty() {
            let _written = write!(why, ": {}", shown(&self.detail, |_| false));
        }
        if self.count > 1 {
            let _written = write!(why, " ({} times)", self.count);
        }
        [shown(&what, |_| false), why, shown(&self.remedy.to_string(), |_| false)]
    }
}

/// JSON in which every character is seen. It lets all but the first 32 control characters through, and files are shown
/// on terminals, too. Outside of strings there are none that would have to be spelled out.
pub(super) fn plain_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_unseen(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _written = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

const LONGEST: usize = 200;

fn error_name(code: i32) -> String {
    match Errno::from_raw(code) {
        Errno::UnknownErrno => code.to_string(),
        errno => format!("{errno:?}"),
    }
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flags { flags, caution: None } => write!(f, "allow with {flags}"),
            Self::Flags { flags, caution: Some(caution) } => write!(f, "allow with {flags} ({caution})"),
            Self::Patch { patch } => {
                f.write_str("allow in config.json: ")?;
                for (at, operation) in patch.iter().enumerate() {
                    let separator = if at > 0 { ", " } else { "" };
                    match operation {
                        Operation::Add { path, value } => write!(f, "{separator}add {path} {value}")?,
                        Operation::Replace { path, value } => write!(f, "{separator}set {path} {value}")?,
                        Operation::Remove { path } => write!(f, "{separator}remove {path}")?,
                    }
                }
                Ok(())
            }
            Self::NotRecommended { why } => write!(f, "not recommended ({why})"),
            Self::None { why } => write!(f, "({why})"),
        }
    }
}

impl Report {
    /// Of a record.
    #[must_use]
    pub fn new(id: &str, exit_status: u8, record: &Record, asker: Asker<'_>, notes: Vec<String>) -> Self {
        let mut refusals: Vec<_> = record.all().iter().map(|counted| Line::new(counted, asker)).collect();
        refusals.sort_by_key(Line::is_usual);
        let omitted = record.omitted().into_iter().map(|(layer, count)| Omitted { layer, count }).collect();
        Self { version: VERSION, id: id.to_owned(), exit_status, refusals, omitted, later: Vec::new(), notes }
    }

    /// Adds what the program has left.
    pub fn left(&mut self, left: impl IntoIterator<Item = Left>) {
        self.later.extend(left);
    }

    /// Adds what limits this report.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// One JSON document, with a newline at its end.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings and numbers always serialise.
        let mut text = plain_json(&serde_json::to_string_pretty(self).unwrap_or_default());
        text.push('\n');
        text
    }

    /// Lines for people; empty when there is nothing to say.
    #[must_use]
    pub fn full(&self) -> String {
        // What programs look for in vain is much, and tells little: unless something can be done about it.
        let (said, usual): (Vec<_>, Vec<_>) = self.refusals.iter().cloned().partition(Line::is_telling);
        let mut text = lines(&said);
        if !usual.is_empty() {
            let count = usual.len();
            let _written =
                writeln!(text, "note    {count} more that programs usually do without: --report=FILE has them");
        }
        for Omitted { layer, count } in &self.omitted {
            let _written = writeln!(text, "note    {count} more times, of other kinds, by {}", layer.name());
        }
        for left in &self.later {
            let _written = writeln!(text, "{}", left.line());
        }
        for note in &self.notes {
            let _written = writeln!(text, "note    {}", shown(note, |_| false));
        }
        text
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refusals.is_empty() && self.omitted.is_empty() && self.later.is_empty() && self.notes.is_empty()
    }

    /// The few lines that most likely say why a program has failed. `more` says how to see the others.
    #[must_use]
    pub fn short(&self, more: &str) -> String {
        const MOST: usize = 5;
        let unusual: Vec<_> = self.refusals.iter().filter(|line| line.is_telling()).cloned().collect();
        let shown = &unusual[..unusual.len().min(MOST)];
        let mut text = lines(shown);
        let rest = unusual.len() - shown.len();
        if rest > 0 {
            let _written = writeln!(text, "        and {rest} more: {more}");
        }
        text
    }
}

fn lines(refusals: &[Line]) -> String {
    const WIDEST: usize = 48;
    let rows: Vec<_> = refusals.iter().map(Line::columns).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [what, why, remedy] in &rows {
        let _written = writeln!(text, "denied  {what:<first$}  {why:<second$}  {remedy}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::refusal;
    use super::super::record::{About, Refusal, Registers};
    use super::super::remedy::Flags;
    use super::*;

    #[test]
    fn words_are_what_a_shell_reads_and_harmless() {
        for (bytes, word) in [
            (&b"/var/cache/app-1.2"[..], "/var/cache/app-1.2"),
            (b"", "''"),
            (b"/a b", "'/a b'"),
            (b"/it's", r"'/it'\''s'"),
            ("/größe".as_bytes(), "'/größe'"),
            (b"/\x1b[2J\n'\\", r"$'/\x1b[2J\x0a\'\\'"),
            (b"/\xff\xfe", r"$'/\xff\xfe'"),
            ("/a\u{202e}b".as_bytes(), r"$'/a\xe2\x80\xaeb'"),
            ("/a\u{200b}b".as_bytes(), r"$'/a\xe2\x80\x8bb'"),
            (b"$(x)`y`", "'$(x)`y`'"),
        ] {
            assert_eq!(shell_word(bytes), word);
        }
    }

    fn report() -> Report {
        let mut record = Record::default();
        let address = "140.82.112.5:443".parse().expect("an address");
        record.add(refusal("read", "/nowhere", Layer::AbsentPath));
        record.add(Refusal {
            about: About::Address(address),
            ..refusal("connect", "140.82.112.5:443", Layer::NoNetwork)
        });
        let directory = About::Directory { empty: true, permitted: true };
        for _ in 0..3 {
            record.add(Refusal { about: directory.clone(), ..refusal("write", "/var/cache/app", Layer::ReadOnlyRoot) });
        }
        record.add(Refusal {
            call: "socket",
            errno: libc::EPERM,
            detail: "restricted".into(),
            about: About::Call { arch: 0xc000_003e, nr: 41, args: Registers::default(), profile: None },
            ..refusal("socket(AF_ALG)", "", Layer::Seccomp)
        });
        record.add(Refusal { about: directory, ..refusal("write", "/x\x1b]0;y\x07", Layer::ReadOnlyRoot) });
        Report::new(
            "box",
            1,
            &record,
            Asker::Sandbox(&Flags { single_hosts: true, is_private: Some(|_| false), ..Flags::default() }),
            vec!["a note".into()],
        )
    }

    #[test]
    fn lines_line_up() {
        insta::assert_snapshot!(report().full());
        assert!(!report().full().bytes().any(|byte| byte < b' ' && byte != b'\n'));
        assert!(report().full().contains("note    1 more that programs usually do without"));
        let short = report().short("pent run --report");
        assert!(!short.contains("/nowhere") && short.lines().count() == 4, "{short}");
    }

    #[test]
    fn the_form_is_as_documented() {
        insta::assert_snapshot!(report().json());
        let document = include_str!("../../docs/report.md");
        let value: serde_json::Value = serde_json::from_str(&report().json()).expect("JSON");
        let mut names: Vec<&String> = value.as_object().expect("an object").keys().collect();
        let lines = value["refusals"].as_array().expect("refusals");
        let left = serde_json::to_value(Left::new("removed", b"/x\xff", "why", Some("--x".into()))).expect("JSON");
        let left = left.as_object().expect("an object").clone();
        let of_left: Vec<String> = left.keys().cloned().chain(["later".to_owned()]).collect();
        names.extend(&of_left);
        names.extend(lines.iter().flat_map(|line| line.as_object().expect("an object").keys()));
        for name in names {
            assert!(document.contains(&format!("`{name}`")), "docs/report.md does not have `{name}`");
        }
        for layer in Layer::ALL {
            let name = serde_json::to_value(layer).expect("a string");
            assert!(document.contains(&format!("`{}`", name.as_str().expect("a string"))), "{layer:?}");
        }
        assert!(document.contains(&format!("version {VERSION}")));
    }
}
