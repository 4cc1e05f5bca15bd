//! What a user is told: one message per problem that says what, where, why and what to do.
#![forbid(unsafe_code)]

use serde::Serialize;
use std::fmt;

/// How much a [`Diagnostic`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The container runs, but something asked for is not done, or not as asked.
    Warning,
    /// The container must not run.
    Error,
}

/// One finding about a configuration: what is wrong, at which JSON path, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
}
