//! `pent doctor`: what this host offers and lacks.
#![forbid(unsafe_code)]

use super::{Explained as _, print};
use crate::cli::Doctor;
use crate::doctor::{Facts, diagnose};

/// Exit code 1 when pent cannot run containers here for its caller.
pub(super) fn run(args: &Doctor) -> anyhow::Result<u8> {
    let report = diagnose(&Facts::probe().explained()?);
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&report)?) } else { report.to_string() };
    print(&text)?;
    Ok(u8::from(!report.usable))
}
