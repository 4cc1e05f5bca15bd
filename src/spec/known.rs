//! The names that are understood in config.json, for the features document: from the tables that reading uses.
#![forbid(unsafe_code)]

use super::schema::{self, Names};
use super::{capability, mount_options};

/// Types of namespaces (`linux.namespaces[].type`), sorted.
#[must_use]
pub fn namespaces() -> Vec<&'static str> {
    sorted(&schema::NAMESPACE_TYPE)
}

/// Capabilities (`process.capabilities`), in the kernel's order.
#[must_use]
pub fn capabilities() -> Vec<&'static str> {
    capability::ALL.iter().map(|capability| capability::name(*capability)).collect()
}

/// Hooks (`hooks`), in the order in which they run.
#[must_use]
pub fn hooks() -> Vec<&'static str> {
    schema::HOOKS.fields.iter().map(|field| field.name).collect()
}

/// Mount options (`mounts[].options`), sorted, without those of single file systems.
#[must_use]
pub fn mount_options() -> Vec<&'static str> {
    mount_options::supported().collect()
}

/// Seccomp actions (`linux.seccomp.syscalls[].action`), sorted.
#[must_use]
pub fn seccomp_actions() -> Vec<&'static str> {
    sorted(&schema::SECCOMP_ACTION)
}

/// Seccomp operators (`linux.seccomp.syscalls[].args[].op`), sorted.
#[must_use]
pub fn seccomp_operators() -> Vec<&'static str> {
    sorted(&schema::SECCOMP_OPERATOR)
}

/// Seccomp architectures (`linux.seccomp.architectures`), sorted; reading knows more of them than filters can be made for.
#[must_use]
pub fn seccomp_architectures() -> Vec<&'static str> {
    sorted(&schema::SECCOMP_ARCH)
}

/// Seccomp flags (`linux.seccomp.flags`), sorted.
#[must_use]
pub fn seccomp_flags() -> Vec<&'static str> {
    sorted(&schema::SECCOMP_FLAG)
}

/// Memory policy modes (`linux.memoryPolicy.mode`), sorted.
#[must_use]
pub fn memory_policy_modes() -> Vec<&'static str> {
    sorted(&schema::MEMORY_MODE)
}

/// Memory policy flags (`linux.memoryPolicy.flags`), sorted.
#[must_use]
pub fn memory_policy_flags() -> Vec<&'static str> {
    sorted(&schema::MEMORY_FLAG)
}

fn sorted(names: &Names) -> Vec<&'static str> {
    let mut names = names.known.to_vec();
    names.sort_unstable();
    names
}
