//! `pent sandbox`, as root and as an ordinary user, driven as people type it.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/bytes.rs"]
mod bytes;
#[path = "sandbox/caller.rs"]
mod caller;
#[path = "sandbox/ends.rs"]
mod ends;
#[path = "sandbox/everyday.rs"]
mod everyday;
#[path = "sandbox/faults.rs"]
mod faults;
#[path = "sandbox/flags.rs"]
mod flags;
#[path = "sandbox/hidden.rs"]
mod hidden;
#[path = "sandbox/image.rs"]
mod image;
#[path = "sandbox/later.rs"]
mod later;
#[path = "sandbox/network.rs"]
mod network;
#[path = "sandbox/own.rs"]
mod own;
#[path = "sandbox/paths.rs"]
mod paths;
#[path = "sandbox/report.rs"]
mod report;
#[path = "sandbox/room.rs"]
mod room;
#[path = "sandbox/setid.rs"]
mod setid;
#[path = "sandbox/streams.rs"]
mod streams;
#[path = "sandbox/terminals.rs"]
mod terminals;
#[path = "sandbox/users.rs"]
mod users;

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
