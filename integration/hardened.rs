//! Threats I, J, K, N, O, P and S under the profile `restricted`, as root and as an ordinary user, and in `pent sandbox`.
//!
//! Each test plays an attacker in the container and asserts on what it got. Each attack is made without the profile first, or it is proved
//! otherwise that it would work, so that an attack that has stopped working is found. The letters are those of the table of classes
//! that `integration/threats` tests without a profile.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

#[path = "sandbox/caller.rs"]
#[allow(dead_code, reason = "the sandbox's own tests use the rest")]
mod caller;
#[path = "threats/loot.rs"]
#[allow(dead_code, reason = "the tests of threats use the rest")]
mod loot;
mod support;

mod hardened {
    pub(crate) mod held;

    mod arguments;
    mod around;
    mod capabilities;
    mod hooks;
    mod places;
    mod sockets;
    mod streams;
    mod surface;
    mod terminals;
    mod users;
}
