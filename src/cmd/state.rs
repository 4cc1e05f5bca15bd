//! `pent state`: the state of one container as JSON.
#![forbid(unsafe_code)]

use super::{Explained, Session, print, unfinished};
use crate::cli::{self, SPEC_VERSION};
use crate::posture::{self, Posture};
use crate::state::{Report, Status};
use anyhow::Result;
use serde::Serialize;
use serde_json::json;

/// The state, with what is beyond the specification for people: an annotation is hard to read.
#[derive(Serialize)]
struct WithPosture<'a> {
    #[serde(flatten)]
    report: Report<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    posture: Option<Posture>,
}

/// Prints what runtime.md calls the state, indented as runc does.
pub(super) fn run(session: &Session<'_>, args: &cli::State) -> Result<u8> {
    let dir = session.open(&args.id)?;
    let mut text = match dir.load().explained()? {
        Some(mut state) => {
            let status = state.status(&dir).explained()?;
            // Engines ask often: only those containers answer with it unasked that somebody wants to be sure of.
            let wanted = args.posture || state.hardened;
            let posture = if wanted && status != Status::Stopped { Posture::probe(&state) } else { None };
            if let Some(posture) = &posture {
                state.annotations.insert(posture::ANNOTATION.to_owned(), posture.compact());
            }
            let report = WithPosture { report: state.report(status), posture: posture.filter(|_| args.posture) };
            serde_json::to_string_pretty(&report)?
        }
        // All that is known yet. Its create may have finished between the two looks: then the next one tells.
        None if dir.is_locked_by_another().explained()? => serde_json::to_string_pretty(
            &json!({"ociVersion": SPEC_VERSION, "id": args.id, "pid": 0, "status": Status::Creating, "bundle": ""}),
        )?,
        None => return Err(unfinished(&dir)),
    };
    text.push('\n');
    print(&text)
}
