//! `pent sandbox`, as root and as an ordinary user, driven as people type it.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/caller.rs"]
mod caller;
#[path = "sandbox/ends.rs"]
mod ends;
#[path = "sandbox/everyday.rs"]
mod everyday;
#[path = "sandbox/flags.rs"]
mod flags;
#[path = "sandbox/hidden.rs"]
mod hidden;
#[path = "sandbox/image.rs"]
mod image;
#[path = "sandbox/network.rs"]
mod network;
#[path = "sandbox/report.rs"]
mod report;
#[path = "sandbox/terminals.rs"]
mod terminals;

/// Skips the test without root, and for runtimes without sandboxes.
macro_rules! sandboxed {
    () => {
        crate::support::privileged!();
        if !crate::caller::has_sandboxes() {
            return crate::support::skip("sandboxes are pent's");
        }
    };
}
pub(crate) use sandboxed;
