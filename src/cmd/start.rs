//! `pent start`: opens the gate that a created container waits at.
#![forbid(unsafe_code)]

use super::make::{Bundle, hook_state, kept_hardening, poststart};
use super::notify::Proxy;
use super::{Explained as _, Session, refusals, unfinished};
use crate::cli::Start;
use crate::launch;
use crate::plan::{self, Options};
use crate::spec;
use crate::state::{Dir, State, Status};
use crate::sys::socket;
use anyhow::{Context as _, anyhow, bail};
use nix::errno::Errno;
use oci_spec::runtime::{LinuxSeccompAction, Spec};
use std::os::fd::{AsFd, OwnedFd};

pub(super) fn run(session: &Session<'_>, args: &Start) -> anyhow::Result<u8> {
    let mut dir = session.open(&args.id)?;
    // Whoever has asked for the state of a container that is being made, and starts it then, waits for its create.
    dir.lock().explained()?;
    let Some(state) = dir.load().explained()? else { return Err(unfinished(&dir)) };
    match state.status(&dir).explained()? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Creating => bail!("cannot start a container that is being created"),
        Status::Running => bail!("cannot start an already running container"),
        Status::Paused => bail!("cannot start a container in the paused state"),
    }
    let connection = match socket::connect(dir.as_fd(), Dir::gate_name()) {
        Ok(connection) => connection,
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => bail!("cannot start a container that has stopped"),
        Err(errno) => return Err(errno).context("cannot reach the container's first process"),
    };
    let bundle = || {
        let config = dir.load_config()?;
        let hardening = kept_hardening(&dir, &state)?;
        Bundle::compile(session, &Options::default(), hardening, &state.id, state.bundle.clone(), config)
    };
    // The plan is made again only to say which of its steps failed.
    let plan = || bundle().map(|bundle| bundle.plan).map_err(launch::Error::Caller);
    let hand_over = |listener: OwnedFd| {
        if is_reported(&dir).map_err(launch::Error::Caller)? {
            let keeper = keep(session, &bundle, &state.id, listener).map_err(launch::Error::Caller)?;
            return Ok(launch::Answers::Keeper(keeper));
        }
        hand_over(&dir, &state, &listener).map(|()| launch::Answers::Agent)
    };
    let notify = Proxy::open(&dir)?;
    launch::start(connection.as_fd(), &state.init, hand_over, plan).explained()?;
    dir.remove_gate().explained()?;
    let config = dir.load_config().explained()?;
    // Others may use the container from here on: a hook of its own, say.
    drop(dir);
    if has_poststart(&config) {
        poststart(&stored(&config)?, &state)?;
    }
    notify.map_or(Ok(()), |notify| notify.wait(state.init.pid, session.report)).map(|()| 0)
}

/// The filter of the container notifies: the agent that its configuration names gets the listener.
fn hand_over(dir: &Dir, state: &State, listener: &OwnedFd) -> Result<(), launch::Error> {
    let agent = || {
        let spec = stored(&dir.load_config()?)?;
        let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        policy.and_then(plan::agent).context("the stored configuration has no seccomp agent")
    };
    launch::agent::send(&agent().map_err(launch::Error::Caller)?, &hook_state(state), state.init.pid, listener)
}

/// Whether it is the runtime that answers for the filter: a filter with an agent has a listener already.
fn is_reported(dir: &Dir) -> anyhow::Result<bool> {
    let spec = stored(&dir.load_config()?)?;
    let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let notifies = policy.is_some_and(|policy| {
        policy.syscalls().iter().flatten().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
    });
    Ok(refusals::annotated(&spec)?.is_some() && !notifies)
}

fn keep(
    session: &Session<'_>,
    bundle: &dyn Fn() -> anyhow::Result<Bundle>,
    id: &str,
    listener: OwnedFd,
) -> anyhow::Result<OwnedFd> {
    let bundle = bundle()?;
    refusals::Keeper::new(session, &bundle, id).start(listener)
}

fn stored(config: &[u8]) -> anyhow::Result<Spec> {
    spec::parse(config).map(|loaded| loaded.spec).map_err(|_| anyhow!("the stored configuration cannot be read"))
}

/// Parsing a configuration takes longer than the rest of start: look first whether there is a reason to.
fn has_poststart(config: &[u8]) -> bool {
    config.windows(b"poststart".len()).any(|window| window.eq_ignore_ascii_case(b"poststart"))
}
