//! Hardening profiles: what a container is held to, whatever its configuration asks for.
//!
//! A profile is a TOML file ([`format`](Profile) in docs/profiles.md). [`load`] finds one by its name or path and resolves what
//! it extends; [`tighten`] cuts a configuration to it, which is pure, and records every change. A profile never loosens:
//! what the configuration does not ask for is not added, but for limits.
#![forbid(unsafe_code)]

mod format;
mod seccomp;
mod source;
#[cfg(test)]
mod tests;
mod tighten;
mod values;

pub use format::{
    Capabilities, Cgroup, Comparison, Condition, Device, DeviceKind, Devices, Environment, False, Filesystem, Hook,
    Hooks, Hostname, Landlock, Mode, Namespaces, Network, Process, Profile, Reach, Rlimit, Rule, Seccomp, SeccompRule,
    Sysctls, Terminal, Tmpfs, User, VERSION, Writable,
};
pub use seccomp::compile as compile_seccomp;
pub use source::{DIRECTORY, Error, SHIPPED, load, load_from, parse};
pub use tighten::{Change, HookCheck, Tightened, tighten, tighten_process};
pub use values::{Absolute, Access, Answer, Capability, Digest, Family, Kernel, Octal, Pattern, Size, Syscall};
