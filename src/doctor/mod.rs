//! `pent doctor`: what a host offers, what it lacks, and the command that changes that.
//!
//! [`Facts::probe`] looks; [`diagnose()`] decides, without looking at anything.
#![forbid(unsafe_code)]

mod diagnose;
mod facts;
#[cfg(test)]
mod tests;

pub use diagnose::{OTHER_USER, diagnose};
pub use facts::{Attempt, Facts};

use serde::Serialize;
use std::fmt;

/// How good a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// All that pent can use is there.
    Ok,
    /// Something that few need is not there.
    Absent,
    /// Containers run, with less protection or with fewer limits.
    Weaker,
    /// Containers cannot run.
    Missing,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Absent => "absent",
            Self::Weaker => "weaker",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found, and what follows from that.
    pub found: String,
    /// A command that changes it, or what to do where no command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Of this form: 1. Fields may be added without another one.
    pub version: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The caller.
    pub user: String,
    /// Whether the caller can run containers and sandboxes here.
    pub usable: bool,
    /// In the order in which they matter.
    pub checks: Vec<Check>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, grade, found, fix } in &self.checks {
            writeln!(f, "{:<8} {name:<20} {found}", grade.word())?;
            if let Some(fix) = fix {
                for line in fix.lines() {
                    writeln!(f, "{:30}{line}", "")?;
                }
            }
        }
        let can = if self.usable { "can" } else { "cannot" };
        writeln!(f, "\npent {can} run containers and sandboxes on Linux {} as {}", self.kernel, self.user)
    }
}
