//! Hardening profiles: what a container is held to, whatever its configuration asks for.
//!
//! A profile is a TOML file ([`format`](Profile) in docs/profiles.md). [`load`] finds one by its name or path and resolves what
//! it extends; [`tighten()`] cuts a configuration to it, which is pure, and records every change. A profile never loosens:
//! what the configuration does not ask for is not added, but for limits.
#![forbid(unsafe_code)]

mod config;
mod format;
mod ports;
mod seccomp;
mod source;
#[cfg(test)]
mod tests;
mod tighten;
mod values;

pub use config::{ANNOTATION, CONFIG, Config, NONE, Refused};
pub use format::{
    Capabilities, Cgroup, Comparison, Condition, Device, DeviceKind, Devices, Environment, False, Filesystem, Hook,
    Hooks, Hostname, Landlock, Mode, Namespaces, Network, Process, Profile, Reach, Rlimit, Rule, Seccomp, SeccompRule,
    Sysctls, Terminal, Tmpfs, User, VERSION, Writable,
};
pub use seccomp::compile as compile_seccomp;
pub use source::{DIRECTORY, Error, SHIPPED, load, load_from, parse};
pub use tighten::{Change, HookCheck, Tightened, tighten, tighten_limits, tighten_process};
pub use values::{Absolute, Access, Answer, Capability, Digest, Family, Kernel, Octal, Pattern, Size, Syscall};

use crate::host::Host;
use crate::report::Diagnostic;
use oci_spec::runtime::{Process as OciProcess, Spec};

/// Cuts a configuration to each of several profiles, one after the other.
///
/// # Errors
/// As [`tighten()`], for the first profile that refuses.
pub fn tighten_to_all(profiles: &[Profile], spec: &mut Spec, host: &Host) -> Result<Tightened, Vec<Diagnostic>> {
    profiles.iter().try_fold(Tightened::default(), |all, profile| all.and(tighten(profile, spec, host)?))
}

/// Cuts a process that joins a container to each of several profiles.
///
/// # Errors
/// As [`tighten_process`].
pub fn tighten_process_to_all(
    profiles: &[Profile],
    process: &mut OciProcess,
    spec: &Spec,
    host: &Host,
) -> Result<Tightened, Vec<Diagnostic>> {
    profiles
        .iter()
        .try_fold(Tightened::default(), |all, profile| all.and(tighten_process(profile, process, spec, host)?))
}

impl Profile {
    /// This profile for a container of a given id: `{id}` in the host's name is the id.
    #[must_use]
    pub fn for_container(mut self, id: &str) -> Self {
        if let Some(name) = &mut self.hostname.default {
            *name = name.replace("{id}", id);
            // sethostname(2) takes 64 bytes.
            name.truncate(name.floor_char_boundary(64));
        }
        self
    }
}
