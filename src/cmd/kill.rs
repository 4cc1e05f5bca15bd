//! `pent kill`: a signal to the first process of a container, or to all.
#![forbid(unsafe_code)]

use super::{Explained, Session};
use crate::cli::Kill;
use crate::state::Error;
use anyhow::Result;

/// Sends the signal through a pidfd whose process was compared with the state, so that no other can be hit.
///
/// All processes get it with `--all`, and on SIGKILL in a pid namespace that the container shares: there the end of the first
/// process does not end the others. With `--all`, nobody left is no error, as in runc.
pub(super) fn run(session: &Session<'_>, args: &Kill) -> Result<u8> {
    let (_dir, state) = session.load(&args.id)?;
    let kill = args.signal == libc::SIGKILL;
    let own = state.has_own_pid_namespace();
    if !state.cgroup.is_none() && (args.all || (kill && !own)) {
        let anybody = !state.cgroup.pids(true).explained()?.is_empty();
        if !anybody && !args.all {
            return Err(Error::NotRunning).explained();
        }
        state.cgroup.kill_all(args.signal).explained()?;
        return Ok(0);
    }
    if args.all && !own {
        return Err(super::hinted(
            "cannot find all processes: the container has neither a cgroup nor a pid namespace of its own",
            "leave out --all to signal its first process",
        ));
    }
    match state.init.signal(args.signal) {
        // As where there is a cgroup.
        Err(Error::NotRunning) if args.all => return Ok(0),
        sent => sent.explained()?,
    };
    if kill {
        state.cgroup.thaw_killed().explained()?;
    }
    Ok(0)
}
