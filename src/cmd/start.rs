//! `pent start`: opens the gate that a created container waits at.
#![forbid(unsafe_code)]

use super::make::{Bundle, poststart};
use super::{Explained as _, Session};
use crate::cli::Start;
use crate::launch;
use crate::plan::Options;
use crate::spec;
use crate::state::{Dir, Status};
use crate::sys::socket;
use anyhow::{Context as _, bail};
use nix::errno::Errno;
use std::os::fd::AsFd;

pub(super) fn run(session: &Session<'_>, args: &Start) -> anyhow::Result<u8> {
    let (mut dir, state) = session.load(&args.id)?;
    dir.lock().explained()?;
    match state.status(&dir).explained()? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Creating | Status::Running | Status::Paused => bail!("cannot start an already running container"),
    }
    let connection = match socket::connect(dir.as_fd(), Dir::gate_name()) {
        Ok(connection) => connection,
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => bail!("cannot start a container that has stopped"),
        Err(errno) => return Err(errno).context("cannot reach the container's first process"),
    };
    // The plan is made again only to say which of its steps failed.
    let plan = || {
        let config = dir.load_config().map_err(|error| launch::Error::Caller(error.into()))?;
        Bundle::compile(session, &Options::default(), &state.id, state.bundle.clone(), config)
            .map(|bundle| bundle.plan)
            .map_err(launch::Error::Caller)
    };
    launch::start(connection.as_fd(), plan).explained()?;
    dir.remove_gate().explained()?;
    let config = dir.load_config().explained()?;
    if has_poststart(&config) {
        let spec = spec::parse(&config).map_err(|_| anyhow::anyhow!("the stored configuration cannot be read"))?.spec;
        poststart(&spec, &state)?;
    }
    Ok(0)
}

/// Parsing a configuration takes longer than the rest of start: look first whether there is a reason to.
fn has_poststart(config: &[u8]) -> bool {
    config.windows(b"poststart".len()).any(|window| window.eq_ignore_ascii_case(b"poststart"))
}
