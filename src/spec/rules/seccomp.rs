//! Rules for `linux.seccomp` (config-linux.md, Seccomp).
#![forbid(unsafe_code)]

use super::{Findings, text};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};

const PATH: &str = "linux.seccomp";

pub(super) fn check(filter: &LinuxSeccomp, found: &mut Findings) {
    let default = filter.default_action();
    if default == LinuxSeccompAction::ScmpActNotify {
        found.error_hint(
            format!("{PATH}.defaultAction"),
            "SCMP_ACT_NOTIFY cannot be used as default action",
            "it would wait for an answer to the calls that ask for one",
        );
    }
    errno(default, filter.default_errno_ret(), || format!("{PATH}.defaultErrnoRet"), found);
    let syscalls = filter.syscalls().as_deref().unwrap_or_default();
    for (index, syscall) in syscalls.iter().enumerate() {
        let at = |name: &str| format!("{PATH}.syscalls[{index}].{name}");
        if syscall.names().is_empty() {
            found.error_hint(at("names"), "is empty: the rule is for no system call", "name one, or remove the rule");
        }
        for (index, name) in syscall.names().iter().enumerate() {
            if name.is_empty() {
                found.error(format!("{}[{index}]", at("names")), "is empty");
            }
        }
        // The runtime itself writes the filter's descriptor to the agent, through the filter.
        if syscall.action() == LinuxSeccompAction::ScmpActNotify && syscall.names().iter().any(|name| name == "write") {
            found.error(at("action"), "SCMP_ACT_NOTIFY cannot be used for the write syscall");
        }
        errno(syscall.action(), syscall.errno_ret(), || at("errnoRet"), found);
        for (number, arg) in syscall.args().iter().flatten().enumerate() {
            if arg.index() > 5 {
                found.error_hint(
                    format!("{}[{number}].index", at("args")),
                    format!("{} is not the index of an argument", arg.index()),
                    "system calls have six, 0 to 5",
                );
            }
        }
    }
    let listener = filter.listener_path().as_deref().map(text).unwrap_or_default();
    let notifies = syscalls.iter().any(|syscall| syscall.action() == LinuxSeccompAction::ScmpActNotify);
    if listener.is_empty() {
        if filter.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty()) {
            found.error(format!("{PATH}.listenerMetadata"), "must not be set without listenerPath");
        }
        if notifies {
            found.error_hint(
                format!("{PATH}.listenerPath"),
                "is missing: nobody would answer the calls with SCMP_ACT_NOTIFY, and they would wait for ever",
                "give the socket of the agent",
            );
        }
    } else {
        found.absolute(listener, || format!("{PATH}.listenerPath"));
    }
}

/// Only two actions carry a number, and the kernel has 16 bits for it; as an errno it takes at most `MAX_ERRNO`.
fn errno(action: LinuxSeccompAction, value: Option<u32>, path: impl FnOnce() -> String, found: &mut Findings) {
    let Some(value) = value else { return };
    let most = match action {
        LinuxSeccompAction::ScmpActErrno => 4095,
        LinuxSeccompAction::ScmpActTrace => u32::from(u16::MAX),
        _ => {
            found.error_hint(
                path(),
                format!("{action} does not return an errno"),
                "SCMP_ACT_ERRNO and SCMP_ACT_TRACE do",
            );
            return;
        }
    };
    if value > most {
        found.error(path(), format!("{value} is more than {most}, the largest {action} can carry"));
    }
}
