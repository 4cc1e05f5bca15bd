//! SCMP_ACT_NOTIFY: who gets the filter's listener, and what the filter must let through until that is done.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::op::{Child, Parent, Point, Prepare};
use super::text::Text;
use crate::refusal::Watch;
use crate::seccomp::{self, Abi, syscalls};
use oci_spec::runtime::LinuxSeccomp;
use serde::Serialize;

/// The seccomp agent (config-linux.md, `listenerPath`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its SOCK_STREAM socket on the host.
    pub path: Text,
    /// Passed on as it is (`listenerMetadata`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// The agent a policy names, if it is to be told anything at all: without a rule that notifies the path is ignored.
pub fn agent(policy: &LinuxSeccomp) -> Option<Agent> {
    let path = policy.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty())?;
    let metadata = policy.listener_metadata().clone().filter(|metadata| !metadata.is_empty());
    Some(Agent { path: Text::path(path), metadata })
}

/// What the child still calls once the filter is loaded, to hand the listener over and to wait for the answer.
const HAND_OVER: [(&str, [u64; 3]); 2] =
    [("sendmsg", [3, 0, 0x4000 /* MSG_NOSIGNAL */]), ("recvmsg", [3, 0, 0x4000_0000 /* MSG_CMSG_CLOEXEC */])];
/// What giving capabilities up takes: `PR_SET_KEEPCAPS` is 8.
const CAPABILITIES: [(&str, [u64; 3]); 2] = [("capset", [0; 3]), ("prctl", [8, 0, 0])];

/// Before clone: is there an agent, and does the filter let the child reach the parent? An agent cannot answer a call that
/// it is to be told of by that very call.
pub(super) fn prepare(b: &mut Builder<'_>, policy: &LinuxSeccomp, filter: &seccomp::Program) -> Option<Agent> {
    let agent = agent(policy).filter(|_| filter.notify)?;
    for (name, arguments) in HAND_OVER {
        match answer(filter, name, arguments) {
            Answer::Allowed => {}
            Answer::Notified => b.error(
                "linux.seccomp.syscalls",
                format!("SCMP_ACT_NOTIFY cannot be used for the {name} syscall"),
                "the runtime makes it to hand the listener over, before the agent can answer; allow it, or deny it in the program",
            ),
            Answer::Denied => b.error(
                "linux.seccomp",
                format!("a filter with SCMP_ACT_NOTIFY must allow the {name} syscall"),
                "the runtime makes it after loading the filter, to hand the listener over to the agent",
            ),
        }
    }
    b.prepare.push(Prepare::FindAgent { path: agent.path.clone() });
    Some(agent)
}

/// The filter as it is meant, when this runtime answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Supervised {
    /// What it says of a call is the answer.
    pub program: seccomp::Program,
    /// What is heard of beside what it denies.
    pub watch: Watch,
}

/// What becomes of a filter.
pub(super) struct Filters {
    pub(super) seccomp: Option<seccomp::Program>,
    pub(super) seccomp_rest: Option<seccomp::Program>,
    pub(super) supervised: Option<Supervised>,
}

/// Has a filter ask about what it denies, if refusals are to be reported.
pub(super) fn supervise(b: &mut Builder<'_>, watch: Option<Watch>, seccomp: Option<seccomp::Program>) -> Filters {
    let as_it_is = |seccomp| Filters { seccomp, seccomp_rest: None, supervised: None };
    let Some(watch) = watch else { return as_it_is(seccomp) };
    let program = match (&seccomp, Abi::NATIVE) {
        (Some(program), _) => program.clone(),
        // Something has to ask about the calls that are watched.
        (None, Some(native)) if watch > Watch::Denied => seccomp::Program::allowing(native),
        _ => return as_it_is(seccomp),
    };
    match ask(&program, watch, b.host.seccomp_wait_killable) {
        Ok((asking, rest)) => {
            Filters { seccomp: Some(asking), seccomp_rest: rest, supervised: Some(Supervised { program, watch }) }
        }
        Err(why) => {
            b.warn("linux.seccomp", format!("refusals cannot be reported: {why}"));
            as_it_is(seccomp)
        }
    }
}

/// The filter that is loaded first, and what of it has to come after the listener was handed over, if the filter does not let that
/// happen.
fn ask(
    program: &seccomp::Program,
    watch: Watch,
    wait_killable: bool,
) -> Result<(seccomp::Program, Option<seccomp::Program>), seccomp::NoNotice> {
    let native = program.abis.first().copied();
    let watched = native.map(|native| watch.calls(native)).unwrap_or_default();
    let (name, arguments) = HAND_OVER[0];
    let sends = matches!(answer(program, name, arguments), Answer::Allowed);
    let numbers = |names: &[&str]| {
        let number = |name: &&str| native.and_then(|native| syscalls::number(name, native));
        names.iter().filter_map(number).collect::<Vec<_>>()
    };
    let spared = if sends { Vec::new() } else { numbers(&[name, "seccomp"]) };
    let mut asking = seccomp::notifying(program, &watched, &spared)?;
    if wait_killable {
        // A signal that is not fatal would have the call made again, and counted again.
        asking.flags |= seccomp::flag::WAIT_KILLABLE_RECV;
    }
    let rest = if sends { None } else { Some(seccomp::only(program, &spared)?) };
    Ok((asking, rest))
}

/// After the filter is loaded.
pub(super) fn hand_over(b: &mut Builder<'_>, agent: &Agent) {
    b.child.push(Child::SendListener);
    b.parent.push(Parent::SendListener { path: agent.path.clone() });
    b.meet(Point::ListenerSent);
}

enum Answer {
    Allowed,
    Notified,
    Denied,
}

/// Whether the filter does not simply allow giving capabilities up.
pub(super) fn hears_of_capabilities(filter: &seccomp::Program) -> bool {
    CAPABILITIES.into_iter().any(|(name, arguments)| !matches!(answer(filter, name, arguments), Answer::Allowed))
}

/// What the filter says of a call by the child; which descriptor it will be about nobody knows yet.
fn answer(filter: &seccomp::Program, name: &str, [a, b, c]: [u64; 3]) -> Answer {
    const ACTION: u32 = 0xffff_0000;
    const USER_NOTIF: u32 = 0x7fc0_0000;
    const LOG: u32 = 0x7ffc_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let native = filter.abis.first();
    let Some((abi, number)) = native.and_then(|abi| Some((abi, syscalls::number(name, *abi)?))) else {
        return Answer::Allowed;
    };
    match filter.verdict(abi.audit_arch(), number, [a, b, c, 0, 0, 0]) & ACTION {
        ALLOW | LOG => Answer::Allowed,
        USER_NOTIF => Answer::Notified,
        _ => Answer::Denied,
    }
}
