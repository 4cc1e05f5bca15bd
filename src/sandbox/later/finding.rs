//! What was found when a program had ended, and how it is said.
#![forbid(unsafe_code)]

use crate::refusal::{Left, shell_word};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What was done with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was removed.
    Removed,
    /// Settings were left out of it.
    Cut,
    /// Its set-id bits were taken off.
    Bits,
    /// It should have been taken away, and could not be.
    Failed,
    /// It could not be looked at.
    Unseen,
    /// It is what it was, at another place.
    Moved,
    /// It has changed, and is left.
    Changed,
}

/// One thing that appeared or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// On the host.
    pub path: PathBuf,
    /// What was done with it.
    pub action: Action,
    /// What it is, or why.
    pub why: String,
    /// What would allow it: the argument of `--allow-later-code`.
    pub allow: Option<PathBuf>,
}

/// All of them, as far as there is room.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    all: Vec<Finding>,
    /// More of each action.
    more: Vec<(Action, usize)>,
}

/// Kept of each action.
const MOST: usize = 256;
/// Said of each action in one line.
const SAID: usize = 5;

impl Findings {
    pub(super) fn add(&mut self, path: &Path, action: Action, why: impl Into<String>, allow: Option<&Path>) {
        if self.of(action).count() < MOST {
            let allow = allow.map(Path::to_owned);
            self.all.push(Finding { path: path.to_owned(), action, why: why.into(), allow });
            return;
        }
        match self.more.iter_mut().find(|(other, _)| *other == action) {
            Some((_, count)) => *count += 1,
            None => self.more.push((action, 1)),
        }
    }

    /// Everything kept.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    /// How many more of an action there were.
    #[must_use]
    pub fn more(&self) -> &[(Action, usize)] {
        &self.more
    }

    fn of(&self, action: Action) -> impl Iterator<Item = &Finding> {
        self.all.iter().filter(move |finding| finding.action == action)
    }

    /// A line for each kind of thing that somebody has to know; of what was only changed, if they want to.
    #[must_use]
    pub fn lines(&self, changes: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (action, what) in [
            (Action::Removed, "taken away, as it would run later"),
            (Action::Cut, "settings taken out, as they would run something later"),
            (Action::Bits, "set-user-id and set-group-id taken off"),
            (Action::Failed, "WARNING: would run later, and could not be taken away"),
            (Action::Unseen, "WARNING: could not be looked at for what runs later"),
            (Action::Moved, "moved, with what it runs"),
            (Action::Changed, "changed, and run or read by tools"),
        ] {
            let found: Vec<_> = self.of(action).collect();
            if found.is_empty() || action == Action::Changed && !changes {
                continue;
            }
            lines.push(format!("{what}: {}", self.list(action, &found)));
        }
        lines
    }

    fn list(&self, action: Action, found: &[&Finding]) -> String {
        let said = &found[..found.len().min(SAID)];
        let name = |finding: &&Finding| {
            let word = shell_word(finding.path.as_os_str().as_bytes());
            if finding.why.is_empty() { word } else { format!("{word} ({})", finding.why) }
        };
        let mut text = said.iter().map(name).collect::<Vec<_>>().join(", ");
        let more = self.more.iter().find(|(other, _)| *other == action).map_or(0, |(_, count)| *count);
        let rest = found.len() - said.len() + more;
        if rest > 0 {
            text.push_str(&format!(", and {rest} more"));
        }
        let mut flags: Vec<_> = said.iter().filter_map(|finding| finding.flags()).collect();
        flags.dedup();
        if !flags.is_empty() {
            text.push_str(&format!("; to have such: {}", flags.join(" ")));
        }
        text
    }
}

impl Findings {
    /// For a report.
    pub fn left(&self) -> impl Iterator<Item = Left> {
        self.all.iter().map(|finding| {
            let path = finding.path.as_os_str().as_bytes();
            Left::new(finding.action.name(), path, &finding.why, finding.flags())
        })
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Cut => "cut",
            Self::Bits => "bits",
            Self::Failed => "failed",
            Self::Unseen => "unseen",
            Self::Moved => "moved",
            Self::Changed => "changed",
        }
    }
}

impl Finding {
    /// The flags that would allow it, as a shell takes them.
    #[must_use]
    pub fn flags(&self) -> Option<String> {
        let allow = self.allow.as_ref()?;
        Some(format!("--allow-later-code {}", shell_word(allow.as_os_str().as_bytes())))
    }
}
