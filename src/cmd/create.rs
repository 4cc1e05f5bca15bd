//! `pent create`: a container that waits for start.
#![forbid(unsafe_code)]

use super::Session;
use super::make::{Starter, check_descriptors, make};
use crate::cli::Create;

pub(super) fn run(session: &Session<'_>, args: &Create) -> anyhow::Result<u8> {
    check_descriptors(args.make.preserve_fds)?;
    let made = make(session, &args.make, &args.id, Starter::Start, None)?;
    // This process ends: the kernel closes at once what would be closed one by one.
    let _open = std::mem::ManuallyDrop::new(made);
    Ok(0)
}
