//! What is known of a container before it runs, as far as refusals are explained by it: plain data from its configuration.
#![forbid(unsafe_code)]

use crate::plan::hardening::{Hardening, Landlock};
use crate::seccomp::{self, Program};
use oci_spec::runtime::Spec;

/// See the fields.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `linux.maskedPaths`.
    pub masked: Vec<Vec<u8>>,
    /// The profile that it is held to, and the filter of that, which denies beside its own.
    pub profile: Option<String>,
    /// See above.
    pub profile_filter: Option<Program>,
    /// Its own filter, when another profile could be chosen: `pent sandbox --profile`.
    pub own_filter: Option<Program>,
    /// Its Landlock rules.
    pub landlock: Option<Landlock>,
    /// Directories that are empty in it and full on the host: what is missing there is missing as a whole.
    pub emptied: &'static [&'static str],
    /// Whether there is such a path on the host, of which a sandbox shows a part: what is asked for of a masked directory is then that
    /// path, and not all of it.
    pub on_host: Option<fn(&[u8]) -> bool>,
    /// The first port that needs no capability (`net.ipv4.ip_unprivileged_port_start`), where the configuration says so.
    pub first_free_port: Option<u16>,
}

impl Facts {
    /// Of a container.
    pub fn of(spec: &Spec, hardening: &Hardening) -> Self {
        let linux = spec.linux().as_ref();
        let masked = linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten();
        let port = linux
            .and_then(|linux| linux.sysctl().as_ref())
            .and_then(|sysctl| sysctl.get("net.ipv4.ip_unprivileged_port_start"));
        Self {
            masked: masked.map(|path| path.as_bytes().to_vec()).collect(),
            profile: None,
            profile_filter: hardening.seccomp.clone(),
            own_filter: None,
            landlock: hardening.landlock.clone(),
            emptied: &[],
            on_host: None,
            first_free_port: port.and_then(|port| port.trim().parse().ok()),
        }
    }

    /// The same of a sandbox, which another profile could be chosen for.
    pub fn of_sandbox(spec: &Spec, hardening: &Hardening, profile: &str) -> Self {
        let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let own_filter = policy.and_then(|policy| seccomp::compile(policy).ok());
        let of_container = Self::of(spec, hardening);
        // What pent's own configurations spell ([`crate::spelling`]).
        let masked = of_container.masked.iter().map(|path| crate::spelling::unspell(path)).collect();
        Self { profile: Some(profile.to_owned()), own_filter, emptied: &["/sys"], masked, ..of_container }
    }

    /// The masked path that hides this one.
    pub(super) fn mask_of(&self, path: &[u8]) -> Option<&[u8]> {
        self.masked.iter().map(Vec::as_slice).find(|mask| is_below(path, mask))
    }

    /// What of a masked path was asked for: a part of it where there is one on the host, else all of it.
    pub(super) fn part_of<'a>(&self, mask: &'a [u8], path: &'a [u8]) -> &'a [u8] {
        if self.on_host.is_some_and(|is_there| is_there(path)) { path } else { mask }
    }
}

/// Whether a path is another one, or below it.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_of_a_masked_directory() {
        let facts = Facts { on_host: Some(|path| path == b"/h/.ssh/key"), ..Facts::default() };
        assert_eq!(facts.part_of(b"/h/.ssh", b"/h/.ssh/key"), b"/h/.ssh/key");
        assert_eq!(facts.part_of(b"/h/.ssh", b"/h/.ssh/new"), b"/h/.ssh");
        assert_eq!(Facts::default().part_of(b"/h/.ssh", b"/h/.ssh/key"), b"/h/.ssh");
    }

    #[test]
    fn below_is_by_components() {
        assert!(
            is_below(b"/a/b", b"/a") && is_below(b"/a", b"/a") && is_below(b"/a", b"/") && is_below(b"/a/b", b"/a/")
        );
        assert!(!is_below(b"/ab", b"/a") && !is_below(b"/", b"/a"));
    }
}
