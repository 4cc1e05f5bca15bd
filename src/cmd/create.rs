//! `pent create`: a container that waits for start.
#![forbid(unsafe_code)]

use super::Session;
use super::make::{Starter, check_descriptors, make};
use crate::cli::Create;

pub(super) fn run(session: &Session<'_>, args: &Create) -> anyhow::Result<u8> {
    check_descriptors(args.make.preserve_fds)?;
    make(session, &args.make, &args.id, Starter::Start, None)?;
    Ok(0)
}
