//! The rules of config.md and config-linux.md that types cannot say and that need no look at the host.
//!
//! Texts that programs match on are runc's.
#![forbid(unsafe_code)]

mod linux;
mod mounts;
mod process;
mod resources;
mod seccomp;

use super::tree::quote;
use super::{VERSION_MAX, VERSION_MIN};
use crate::report::Diagnostic;
use oci_spec::runtime::{Hook, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process, Spec};
use std::path::Path;

/// What the configuration is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Whether there must be a process: for `run` and `start`. A container can be created without one.
    pub needs_process: bool,
    /// Whether the caller is not root and so can do only what a user namespace of its own lets it.
    pub rootless: bool,
}

/// Checks a configuration against all rules that need no look at the host.
///
/// Returns every finding with its path; the container must not run if one is an error.
#[must_use]
pub fn validate(spec: &Spec, context: &Context) -> Vec<Diagnostic> {
    let mut found = Findings(Vec::new());
    version(spec.version(), &mut found);
    root(spec, &mut found);
    let view = View::of(spec);
    match spec.process() {
        Some(process) => process::check(process, "process", Some(&view), &mut found),
        None if context.needs_process => found.error_hint(
            "process",
            "is missing: there is nothing to run",
            "only a container that is never started can do without",
        ),
        None => {}
    }
    names(spec, &view, &mut found);
    mounts::check(spec, &view, context, &mut found);
    hooks(spec, &mut found);
    annotations(spec, &mut found);
    linux::check(spec, &view, context, &mut found);
    found.0
}

/// Checks a process that is to be added to a running container (`exec --process`), with paths below nothing (`args[0]`).
#[must_use]
pub fn validate_process(process: &Process) -> Vec<Diagnostic> {
    let mut found = Findings(Vec::new());
    process::check(process, "", None, &mut found);
    found.0
}

/// Checks resource limits that are to change those of a container (`update --resources`); what they do not give stays as it
/// is, so that nothing counts as missing.
#[must_use]
pub fn validate_resources(resources: &LinuxResources) -> Vec<Diagnostic> {
    let mut found = Findings(Vec::new());
    resources::check(resources, "", true, &mut found);
    found.0
}

/// What several rules ask about the rest of the configuration.
struct View<'a> {
    namespaces: &'a [LinuxNamespace],
    uid_mappings: &'a [LinuxIdMapping],
    gid_mappings: &'a [LinuxIdMapping],
    /// process.user: uid and gid.
    user: Option<(u32, u32)>,
}

impl<'a> View<'a> {
    fn of(spec: &'a Spec) -> Self {
        let linux = spec.linux().as_ref();
        Self {
            namespaces: linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default(),
            uid_mappings: linux.and_then(|l| l.uid_mappings().as_deref()).unwrap_or_default(),
            gid_mappings: linux.and_then(|l| l.gid_mappings().as_deref()).unwrap_or_default(),
            user: spec.process().as_ref().map(|process| (process.user().uid(), process.user().gid())),
        }
    }

    fn namespace(&self, kind: LinuxNamespaceType) -> Option<&'a LinuxNamespace> {
        self.namespaces.iter().find(|namespace| namespace.typ() == kind)
    }

    fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.namespace(kind).is_some()
    }

    /// Whether the runtime makes the namespace: it is listed, and has no path. As with Go, an empty path is none.
    fn makes(&self, kind: LinuxNamespaceType) -> bool {
        self.namespace(kind).is_some_and(|namespace| joined(namespace).is_none())
    }
}

/// The path of an existing namespace to join.
fn joined(namespace: &LinuxNamespace) -> Option<&Path> {
    namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty())
}

struct Findings(Vec<Diagnostic>);

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Diagnostic::error(path, message));
    }

    fn error_hint(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Diagnostic::error(path, message).hint(hint));
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Diagnostic::warning(path, message));
    }

    fn warn_hint(&mut self, path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Diagnostic::warning(path, message).hint(hint));
    }

    /// Strings become C strings: a NUL would silently cut them short. [`super::parse`] refuses them in a file, but not
    /// everything that is validated comes from a file.
    fn no_nul(&mut self, text: &str, path: impl FnOnce() -> String) {
        if text.as_bytes().contains(&0) {
            self.error(path(), "contains a NUL character");
        }
    }

    /// A path that must be there, be absolute, and hold no NUL.
    fn absolute(&mut self, text: &str, path: impl FnOnce() -> String) {
        if text.is_empty() {
            self.error_hint(path(), "is empty", "give an absolute path");
        } else if !text.starts_with('/') {
            self.error_hint(
                path(),
                format!("{} is not an absolute path", quote(text)),
                format!("did you mean /{text}?"),
            );
        } else {
            self.no_nul(text, path);
        }
    }
}

/// The text of a path that came from JSON, which is always UTF-8.
fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A property of an object that may itself be the whole document.
fn at(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// The first two numbers of a semantic version (semver.org 2.0.0), or `None` when it is not one.
fn semver(version: &str) -> Option<(u64, u64)> {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let identifiers = |text: &str, numbers_are_canonical: bool| {
        text.split('.').all(|part| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !(numbers_are_canonical
                    && part.len() > 1
                    && part.starts_with('0')
                    && part.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    if !pre.is_none_or(|pre| identifiers(pre, true)) || !build.is_none_or(|build| identifiers(build, false)) {
        return None;
    }
    let number = |text: &str| {
        let canonical = text == "0" || !text.starts_with('0');
        (canonical && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u64>().ok())?
    };
    let mut parts = core.split('.');
    let numbers = (number(parts.next()?)?, number(parts.next()?)?);
    number(parts.next()?)?;
    parts.next().is_none().then_some(numbers)
}

fn version(version: &str, found: &mut Findings) {
    const PATH: &str = "ociVersion";
    let hint = format!("versions {VERSION_MIN} to {VERSION_MAX} are understood");
    match semver(version) {
        _ if version.is_empty() => found.error_hint(PATH, "is missing or empty", hint),
        None => found.error_hint(PATH, format!("{} is not a semantic version", quote(version)), hint),
        Some((1, minor)) => {
            if semver(VERSION_MAX).is_some_and(|(_, newest)| minor > newest) {
                found.warn_hint(PATH, format!("{version} is newer than this runtime: what it added is ignored"), hint);
            }
        }
        Some(_) => found.error_hint(PATH, format!("{version} is not supported"), hint),
    }
}

fn root(spec: &Spec, found: &mut Findings) {
    match spec.root() {
        None => found.error_hint("root", "is missing", "write \"root\": {\"path\": \"rootfs\"}"),
        Some(root) => match text(root.path()) {
            "" => found.error_hint("root.path", "is empty", "it is the root filesystem, absolute or below the bundle"),
            path => found.no_nul(path, || "root.path".into()),
        },
    }
}

/// Host and domain name: `struct new_utsname` holds 64 bytes each.
fn names(spec: &Spec, view: &View<'_>, found: &mut Findings) {
    const LONGEST: usize = 64;
    for (property, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
        if !view.has(LinuxNamespaceType::Uts) {
            found.error_hint(
                property,
                format!("unable to set {property} without a private UTS namespace"),
                "add {\"type\": \"uts\"} to linux.namespaces",
            );
        }
        if value.len() > LONGEST {
            found.error(property, format!("has {} bytes; the kernel takes at most {LONGEST}", value.len()));
        }
        found.no_nul(value, || property.into());
    }
}

fn hooks(spec: &Spec, found: &mut Findings) {
    let Some(hooks) = spec.hooks() else { return };
    let lists = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (name, list) in lists {
        for (index, hook) in list.iter().flatten().enumerate() {
            check_hook(hook, || format!("hooks.{name}[{index}]"), found);
        }
    }
}

fn check_hook(hook: &Hook, path: impl Fn() -> String, found: &mut Findings) {
    found.absolute(text(hook.path()), || path() + ".path");
    if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
        found.error_hint(
            path() + ".timeout",
            format!("{timeout} is not a number of seconds greater than zero"),
            "leave it out to wait without limit",
        );
    }
    for (name, list) in [("args", hook.args()), ("env", hook.env())] {
        for (index, value) in list.iter().flatten().enumerate() {
            found.no_nul(value, || format!("{}.{name}[{index}]", path()));
        }
    }
}

fn annotations(spec: &Spec, found: &mut Findings) {
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        found.error("annotations[\"\"]", "a key must not be empty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.1.0-rc.1", "1.3.0+dev", "1.0.0-rc5-dev", "10.20.30-a.b-c+001"] {
            assert!(semver(good).is_some(), "{good}");
        }
        for bad in
            ["", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-01", "v1.0.0", "1.0.x", "1..0", "+1.0.0"]
        {
            assert_eq!(semver(bad), None, "{bad}");
        }
        assert_eq!(semver("2.5.1"), Some((2, 5)));
    }
}
