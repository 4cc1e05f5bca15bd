//! Errors of a sandbox that are the fault of where pent runs: a container, CI, a machine that forbids user namespaces. They are told
//! in terms of that, not of a configuration that nobody has written; `pent doctor` knows what to do.
#![forbid(unsafe_code)]

use super::{hinted, render, with_hint};
use crate::doctor::{Facts, Grade, OTHER_USER, diagnose};

/// What errors of the place contain: what makes namespaces, maps ids and mounts what every sandbox has.
const SIGNS: &[&str] =
    &["in new namespaces", "uid_map", "gid_map", "mount proc", "mount sysfs", "mount devpts", "root.path"];
/// What stands before a finding about the configuration that pent has made by itself.
const CONFIG: &str = "/config.json: ";
/// A finding about whom the program would be, which only the caller decides.
const USER: &str = "linux.uidMappings: ";

/// The same error, in terms of what can be done about it; `facts` are asked for only where the place may be at fault.
pub(super) fn explain(error: anyhow::Error, facts: impl FnOnce() -> Option<Facts>) -> anyhow::Error {
    let said = render(&error);
    if said.code.is_some() {
        // It is about the program, which may be called anything.
        return error;
    }
    if said.message.contains(USER) && said.message.contains("root has an id") {
        return hinted(
            "cannot make a sandbox as this root: it has no rights over namespaces, as in a container, so that the program would stay root",
            OTHER_USER,
        );
    }
    if SIGNS.iter().any(|sign| said.message.contains(sign))
        && let Some((found, fix)) = facts().and_then(|facts| missing(&facts))
    {
        return hinted(&format!("cannot make a sandbox here: {found} ({})", said.message), &fix);
    }
    match said.message.strip_prefix(CONFIG) {
        Some(finding) => {
            // What to set in a configuration is of no use to who has none.
            let hint = said.hint.as_deref().filter(|hint| !hint.contains("linux."));
            hinted(
                &format!("cannot make a sandbox here: {finding}"),
                hint.unwrap_or("`pent doctor` says what this machine lacks"),
            )
        }
        None if said.message.contains("uid_map") => with_hint(
            &error,
            "this root has lost the right to hand on its own id (CAP_SETFCAP): start pent as an ordinary user",
        ),
        None => error,
    }
}

/// What doctor finds missing for namespaces, and its remedy.
fn missing(facts: &Facts) -> Option<(String, String)> {
    let checks = diagnose(facts).checks.into_iter();
    let mut of_namespaces = checks.filter(|check| check.name.contains("namespaces") && check.grade == Grade::Missing);
    of_namespaces.find_map(|check| Some((check.found, check.fix?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(message: &str, hint: &str) -> (String, String) {
        let told = render(&explain(hinted(message, hint), || None));
        (told.message, told.hint.unwrap_or_default())
    }

    #[test]
    fn nobody_hears_of_a_configuration_they_did_not_write() {
        let (message, hint) = explained("/config.json: linux.cgroupsPath: no cgroup", "set linux.cgroupsPath");
        assert_eq!(message, "cannot make a sandbox here: linux.cgroupsPath: no cgroup");
        assert!(hint.contains("pent doctor"), "{hint}");
        assert_eq!(explained("/config.json: hostname: too long", "at most 64").1, "at most 64");
        let (message, hint) = explained(
            "profile restricted: linux.uidMappings: profile restricted, rule user: the host's root has an id in the user namespace, which",
            "ask for no more than that",
        );
        assert!(!message.contains("uidMappings") && hint.contains("--user 1000"), "{message} {hint}");
        let (message, hint) = explained("--rw x: No such file or directory", "before");
        assert_eq!((message.as_str(), hint.as_str()), ("--rw x: No such file or directory", "before"));
    }
}
