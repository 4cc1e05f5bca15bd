//! Actions of a policy as the values a filter returns.
#![forbid(unsafe_code)]

use oci_spec::runtime::LinuxSeccompAction as Action;

// linux/seccomp.h
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const KILL_THREAD: u32 = 0x0000_0000;
pub(super) const TRAP: u32 = 0x0003_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const NOTIFY: u32 = 0x7fc0_0000;
pub(super) const TRACE: u32 = 0x7ff0_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

/// The answer to a call the policy cannot know: programs take it as "this kernel is too old" and do without.
pub(super) const ENOSYS: u32 = ERRNO | 38;

const EPERM: u32 = 1;
const ACTION: u32 = 0xffff_0000;

/// The value a filter returns for an action.
///
/// Without a number, ERRNO and TRACE have EPERM, as with runc.
pub(super) fn value(action: Action, errno: Option<u32>) -> Result<u32, String> {
    let plain = |value| match errno {
        Some(_) => Err(format!("errno value specified for action {action}, which has none")),
        None => Ok(value),
    };
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => plain(KILL_THREAD),
        Action::ScmpActKillProcess => plain(KILL_PROCESS),
        Action::ScmpActTrap => plain(TRAP),
        Action::ScmpActNotify => plain(NOTIFY),
        Action::ScmpActLog => plain(LOG),
        Action::ScmpActAllow => plain(ALLOW),
        // The kernel cuts a larger errno to MAX_ERRNO, so that the caller would see another than was asked for.
        Action::ScmpActErrno => match errno.unwrap_or(EPERM) {
            errno @ 0..=4095 => Ok(ERRNO | errno),
            errno => Err(format!("errno {errno} is out of range: 0 to 4095")),
        },
        Action::ScmpActTrace => match errno.unwrap_or(EPERM) {
            message @ 0..=0xffff => Ok(TRACE | message),
            message => Err(format!("value {message} for the tracer is out of range: 0 to 65535")),
        },
    }
}

/// Whether a default action keeps calls from happening. LOG happens, and a tracer decides itself (runc has the same list).
pub(super) fn denies(value: u32) -> bool {
    !matches!(value & ACTION, ALLOW | LOG | TRACE)
}

/// How much an action lets happen: the kernel's own order between several filters (seccomp(2)).
pub(super) fn laxness(value: u32) -> u8 {
    match value & ACTION {
        KILL_PROCESS => 0,
        KILL_THREAD => 1,
        TRAP => 2,
        ERRNO => 3,
        NOTIFY => 4,
        TRACE => 5,
        LOG => 6,
        _ => 7,
    }
}

/// The action of a value, as config.json writes it.
pub(super) fn name(value: u32) -> String {
    match value & ACTION {
        KILL_PROCESS => "SCMP_ACT_KILL_PROCESS".to_owned(),
        KILL_THREAD => "SCMP_ACT_KILL_THREAD".to_owned(),
        TRAP => "SCMP_ACT_TRAP".to_owned(),
        ERRNO => format!("SCMP_ACT_ERRNO {}", value & !ACTION),
        NOTIFY => "SCMP_ACT_NOTIFY".to_owned(),
        TRACE => format!("SCMP_ACT_TRACE {}", value & !ACTION),
        LOG => "SCMP_ACT_LOG".to_owned(),
        _ => "SCMP_ACT_ALLOW".to_owned(),
    }
}
