//! Rules for `linux.seccomp` (config-linux.md, Seccomp) that concern its form; what a policy can and cannot express is for
//! [`crate::seccomp::compile`] to say.
#![forbid(unsafe_code)]

use super::{Findings, text};
use oci_spec::runtime::LinuxSeccomp;

const PATH: &str = "linux.seccomp";

pub(super) fn check(filter: &LinuxSeccomp, found: &mut Findings) {
    for (index, syscall) in filter.syscalls().iter().flatten().enumerate() {
        if syscall.names().is_empty() {
            found.error_hint(
                format!("{PATH}.syscalls[{index}].names"),
                "is empty: the rule is for no system call",
                "name one, or remove the rule",
            );
        }
    }
    let listener = filter.listener_path().as_deref().map(text).unwrap_or_default();
    if !listener.is_empty() {
        found.absolute(listener, || format!("{PATH}.listenerPath"));
    } else if filter.listener_metadata().as_ref().is_some_and(|metadata| !metadata.is_empty()) {
        found.error_hint(
            format!("{PATH}.listenerMetadata"),
            "must not be set without listenerPath",
            "it is sent to the agent that listens there",
        );
    }
}
