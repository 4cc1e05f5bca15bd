//! `pent state`: the state of one container as JSON.
#![forbid(unsafe_code)]

use super::{Explained, Session, print, unfinished};
use crate::cli::{Id, SPEC_VERSION};
use crate::state::Status;
use anyhow::Result;
use serde_json::json;

/// Prints what runtime.md calls the state, indented as runc does.
pub(super) fn run(session: &Session<'_>, args: &Id) -> Result<u8> {
    let dir = session.open(&args.id)?;
    let mut text = match dir.load().explained()? {
        Some(state) => serde_json::to_string_pretty(&state.report(state.status(&dir).explained()?))?,
        // All that is known yet. Its create may have finished between the two looks: then the next one tells.
        None if dir.is_locked_by_another().explained()? => serde_json::to_string_pretty(
            &json!({"ociVersion": SPEC_VERSION, "id": args.id, "pid": 0, "status": Status::Creating, "bundle": ""}),
        )?,
        None => return Err(unfinished(&dir)),
    };
    text.push('\n');
    print(&text)
}
