//! Attacks that container runtimes have fallen to, tried on the runtime under test.
//!
//! Each test plays an attacker who owns the image, a volume or a process in the container, and asserts on what the
//! attacker got ([`threats::loot::Loot`]), never on what the runtime said it did. Everything is harmless: attacks work on
//! canary files, throw-away directories and copies of the runtime's binary. A test starts with the letter of its class
//! and the CVE that made it known; `meta_` tests turn the same attackers on a victim that is known to be weak, so that
//! an attack that has stopped working is found. `PENT_LONG=1` runs the races longer.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

mod threats {
    pub(crate) mod loot;

    mod binary;
    mod capabilities;
    mod cgroups;
    mod cores;
    mod descriptors;
    mod dev;
    mod flags;
    mod injection;
    mod keys;
    mod libraries;
    mod places;
    mod processes;
    mod procfs;
    mod races;
    mod seccomp;
    mod terminal;
    mod users;
}
