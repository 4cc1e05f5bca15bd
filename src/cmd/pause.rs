//! `pent pause` and `pent resume`.
#![forbid(unsafe_code)]

use super::{Explained, Session};
use crate::cli::Id;
use crate::state::{Error, Status};
use anyhow::{Result, bail};

/// Freezes every process of the container. It must run (or wait for start) and not be paused.
pub(super) fn pause(session: &Session<'_>, args: &Id) -> Result<u8> {
    let (mut dir, state) = session.load(&args.id)?;
    dir.lock().explained()?;
    match state.status(&dir).explained()? {
        Status::Running | Status::Created => state.cgroup.freeze().explained()?,
        Status::Paused | Status::Stopped | Status::Creating => return Err(Error::NotRunning).explained(),
    }
    Ok(0)
}

/// Lets the processes of a paused container run again.
pub(super) fn resume(session: &Session<'_>, args: &Id) -> Result<u8> {
    let (mut dir, state) = session.load(&args.id)?;
    dir.lock().explained()?;
    if state.status(&dir).explained()? != Status::Paused {
        bail!("container not paused");
    }
    state.cgroup.thaw().explained()?;
    Ok(0)
}
