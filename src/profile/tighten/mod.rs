//! Cutting a configuration to a profile. Pure: nothing is opened, and the same input gives the same result.
#![forbid(unsafe_code)]

mod cgroup;
mod filesystem;
mod linux;
mod process;

use super::format::{Mode, Profile, Rule};
use super::values::Digest;
use crate::host::Host;
use crate::plan::Hardening;
use crate::plan::hardening::{Landlock, Requirement};
use crate::plan::text::Text;
use crate::report::{Diagnostic, Severity};
use crate::seccomp;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// One difference between what a configuration asks for and what its container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Where in config.json.
    pub path: String,
    /// What it asks for there; `nothing` where it leaves it open.
    pub requested: String,
    /// What the container gets.
    pub enforced: String,
    /// Because of which profile.
    pub profile: String,
    /// And which of its rules.
    pub rule: Rule,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, requested, enforced, profile, rule } = self;
        write!(f, "{path}: requested {requested}, enforced {enforced}, because of profile {profile}, rule {rule}")
    }
}

/// A hook whose file has to be what the profile says: to be checked by whoever may open files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookCheck {
    /// The file on the host.
    pub path: PathBuf,
    /// What `sha256sum` must print for it.
    pub sha256: Digest,
    /// Where the hook is in config.json.
    pub at: String,
    /// The profile that says so.
    pub profile: String,
}

/// A configuration was cut to a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tightened {
    /// What is different from what was asked for.
    pub changes: Vec<Change>,
    /// What is enforced beyond the configuration.
    pub hardening: Hardening,
    /// What goes beyond the profile and is let through, because its mode is `warn`, and what cannot be enforced here.
    pub warnings: Vec<Diagnostic>,
    /// Files to check before the container is made.
    pub hooks: Vec<HookCheck>,
}

impl Tightened {
    /// What both of two profiles, applied one after the other, say.
    ///
    /// # Errors
    /// When the two filters together are larger than the kernel takes.
    pub fn and(mut self, other: Self) -> Result<Self, Vec<Diagnostic>> {
        self.changes.extend(other.changes);
        self.warnings.extend(other.warnings);
        self.hooks.extend(other.hooks);
        let (one, two) = (self.hardening, other.hardening);
        let seccomp = match (one.seccomp, two.seccomp) {
            (Some(one), Some(two)) => Some(seccomp::compose(&one, &two).map_err(|error| vec![error])?),
            (one, two) => one.or(two),
        };
        let landlock = match (one.landlock, two.landlock) {
            (Some(one), Some(two)) => Some(both(one, two)),
            (one, two) => one.or(two),
        };
        let mut require = one.require;
        for requirement in two.require {
            if !require.iter().any(|known: &Requirement| known.need == requirement.need) {
                require.push(requirement);
            }
        }
        self.hardening =
            Hardening { landlock, seccomp, require, keep_mount_flags: one.keep_mount_flags || two.keep_mount_flags };
        Ok(self)
    }
}

/// What two sets of Landlock rules both allow.
fn both(one: Landlock, two: Landlock) -> Landlock {
    fn ports(one: Option<Vec<u16>>, two: Option<Vec<u16>>) -> Option<Vec<u16>> {
        match (one, two) {
            (Some(one), Some(two)) => Some(one.into_iter().filter(|port| two.contains(port)).collect()),
            (one, two) => one.or(two),
        }
    }
    let execute = match (one.execute, two.execute) {
        (Some(one), Some(two)) => {
            let below = |path: &Text, of: &[Text]| of.iter().any(|other| path.as_path().starts_with(other.as_path()));
            let mut kept: Vec<_> = one.iter().filter(|path| below(path, &two)).cloned().collect();
            kept.extend(two.iter().filter(|path| below(path, &one)).cloned());
            kept.sort();
            kept.dedup();
            Some(kept)
        }
        (one, two) => one.or(two),
    };
    Landlock {
        required_abi: one.required_abi.max(two.required_abi),
        execute,
        bind_tcp: ports(one.bind_tcp, two.bind_tcp),
        connect_tcp: ports(one.connect_tcp, two.connect_tcp),
        sockets: match (one.sockets, two.sockets) {
            (Some(one), Some(two)) => Some(one.into_iter().filter(|path| two.contains(path)).collect()),
            (one, two) => one.or(two),
        },
        scope_abstract: one.scope_abstract || two.scope_abstract,
        scope_signals: one.scope_signals || two.scope_signals,
    }
}

/// Cuts a configuration to a profile; the result is never more permissive than either.
///
/// What can be restricted is, what the configuration leaves open is filled in, and each change is recorded. `host` decides what
/// can be asked of this machine (limits of a control group) and what a limit must not exceed (rlimits).
///
/// # Errors
/// Every rule with the mode `enforce` that the configuration breaks, with its JSON path, and what cannot be tightened at all. The
/// configuration may then be changed in part.
pub fn tighten(profile: &Profile, spec: &mut Spec, host: &Host) -> Result<Tightened, Vec<Diagnostic>> {
    let mut cut = Cut::new(profile, host);
    cut.namespaces(spec);
    let user_namespace = UserNamespace::of(spec);
    if let Some(process) = spec.process_mut() {
        cut.process(process, &user_namespace);
    }
    cut.kept_groups(spec);
    cut.filesystem(spec);
    cut.hostname(spec);
    cut.network(spec);
    cut.cgroup(spec);
    cut.devices(spec);
    cut.sysctls(spec);
    cut.hooks(spec);
    let has_filter = spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some());
    cut.seccomp(has_filter);
    cut.landlock(spec.process().as_ref());
    cut.finish()
}

/// Cuts a process that joins a container to the container's profile: no weaker capabilities, filter, `no_new_privs`, Landlock rules,
/// limits, environment and user than its first process could have had.
///
/// `spec` is the container's configuration.
///
/// # Errors
/// As [`tighten()`], with paths that begin with `process`.
pub fn tighten_process(
    profile: &Profile,
    process: &mut Process,
    spec: &Spec,
    host: &Host,
) -> Result<Tightened, Vec<Diagnostic>> {
    let mut cut = Cut::new(profile, host);
    cut.process(process, &UserNamespace::of(spec));
    cut.joins_kept_groups(spec);
    cut.seccomp(spec.linux().as_ref().is_some_and(|linux| linux.seccomp().is_some()));
    // The entrypoint that may be executed is the container's, not whatever joins it.
    cut.landlock(spec.process().as_ref());
    cut.finish()
}

/// Cuts new limits of a container that exists: what is not given stays as it is. `current` is its limit of memory in bytes.
///
/// # Errors
/// As [`tighten()`].
pub fn tighten_limits(
    profile: &Profile,
    resources: &mut LinuxResources,
    current: Option<i64>,
    host: &Host,
) -> Result<Tightened, Vec<Diagnostic>> {
    let mut cut = Cut::new(profile, host);
    cut.limits(resources, false, current);
    if resources.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
        let mut spec = Spec::default();
        let mut linux = oci_spec::runtime::Linux::default();
        linux.set_resources(Some(resources.clone()));
        linux.set_devices(None);
        spec.set_linux(Some(linux));
        cut.devices(&mut spec);
        if let Some(cut) = spec.linux().as_ref().and_then(|linux| linux.resources().clone()) {
            *resources = cut;
        }
    }
    cut.finish()
}

/// What the ids of a process mean on the host.
struct UserNamespace {
    /// A new one; the ids of one that is joined are not known.
    own: bool,
    mappings: Vec<LinuxIdMapping>,
}

impl UserNamespace {
    fn of(spec: &Spec) -> Self {
        let linux = spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        let own = namespaces.into_iter().flatten().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::User
                && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
        });
        Self { own, mappings: linux.and_then(|linux| linux.uid_mappings().clone()).unwrap_or_default() }
    }

    /// Whether the host's root has an id in it.
    fn has_host_root(&self) -> bool {
        self.own && self.mappings.iter().any(|mapping| mapping.host_id() == 0)
    }

    /// The uid outside; `None` when there is none.
    fn outside(&self, uid: u32) -> Option<u32> {
        if !self.own {
            return Some(uid);
        }
        self.mappings.iter().find_map(|mapping| {
            let offset = uid.checked_sub(mapping.container_id())?;
            (offset < mapping.size()).then(|| mapping.host_id().saturating_add(offset))
        })
    }
}

/// The cutting of one configuration.
struct Cut<'a> {
    profile: &'a Profile,
    host: &'a Host,
    done: Tightened,
    refusals: Vec<Diagnostic>,
}

/// What a change says of something that is not in the configuration.
const NOTHING: &str = "nothing";

impl<'a> Cut<'a> {
    fn new(profile: &'a Profile, host: &'a Host) -> Self {
        Self { profile, host, done: Tightened::default(), refusals: Vec::new() }
    }

    fn finish(mut self) -> Result<Tightened, Vec<Diagnostic>> {
        if self.refusals.is_empty() {
            let from = format!("profile {}", self.profile.name);
            let require = self.profile.require.iter().map(|need| Requirement { need: *need, from: from.clone() });
            self.done.hardening.require.extend(require);
            self.done.hardening.keep_mount_flags = true;
            return Ok(self.done);
        }
        self.refusals.extend(self.done.warnings);
        Err(self.refusals)
    }

    /// The configuration asks for more than the rule allows. Whether it is to be cut to that.
    fn beyond(
        &mut self,
        rule: Rule,
        path: impl Into<String>,
        requested: impl fmt::Display,
        enforced: impl fmt::Display,
    ) -> bool {
        match self.profile.mode(rule) {
            Mode::Tighten => {
                self.record(rule, path.into(), requested.to_string(), enforced.to_string());
                true
            }
            mode => {
                let message =
                    format!("profile {}, rule {rule}: {requested} is asked for, {enforced} allowed", self.profile.name);
                self.report(mode, path.into(), message, rule);
                false
            }
        }
    }

    /// The configuration leaves something open that the rule limits. Whether it is to be filled in.
    fn open(&mut self, rule: Rule, path: impl Into<String>, enforced: impl fmt::Display) -> bool {
        if self.profile.mode(rule) == Mode::Warn {
            let message = format!("profile {}, rule {rule}: {enforced} is not asked for", self.profile.name);
            self.report(Mode::Warn, path.into(), message, rule);
            return false;
        }
        self.record(rule, path.into(), NOTHING.to_owned(), enforced.to_string());
        true
    }

    /// The configuration cannot be cut to what the rule allows.
    fn refuse(&mut self, rule: Rule, path: impl Into<String>, why: impl fmt::Display) {
        let mode = if self.profile.mode(rule) == Mode::Warn { Mode::Warn } else { Mode::Enforce };
        self.report(mode, path.into(), format!("profile {}, rule {rule}: {why}", self.profile.name), rule);
    }

    fn report(&mut self, mode: Mode, path: String, message: String, rule: Rule) {
        if mode == Mode::Warn {
            self.done.warnings.push(Diagnostic { severity: Severity::Warning, path, message, hint: None });
            return;
        }
        let hint = format!(
            "ask for no more than that, or use a profile that extends {} and changes rule {rule} (docs/profiles.md)",
            self.profile.name
        );
        self.refusals.push(Diagnostic::error(path, message).hint(hint));
    }

    /// Something the rule asks for cannot be done on this machine.
    fn cannot(&mut self, rule: Rule, path: impl Into<String>, why: impl fmt::Display) {
        let message = format!("profile {}, rule {rule}: {why}", self.profile.name);
        self.done.warnings.push(Diagnostic::warning(path, message));
    }

    fn record(&mut self, rule: Rule, path: String, requested: String, enforced: String) {
        let profile = self.profile.name.clone();
        self.done.changes.push(Change { path, requested, enforced, profile, rule });
    }

    fn seccomp(&mut self, has_own: bool) {
        match super::seccomp::compile(self.profile) {
            Ok(None) => {}
            Ok(Some(program)) => {
                let allowed = match &self.profile.seccomp.allow {
                    Some(allow) => format!("the {} system calls of the profile", allow.len()),
                    None => "what leaves nothing behind".to_owned(),
                };
                let only = if self.profile.mode(Rule::Seccomp) == Mode::Warn { "a log of all but" } else { "at most" };
                let requested = if has_own { "its own filter" } else { NOTHING };
                self.record(Rule::Seccomp, "linux.seccomp".into(), requested.into(), format!("{only} {allowed}"));
                self.done.hardening.seccomp = Some(program);
            }
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    self.refuse(Rule::Seccomp, "linux.seccomp", diagnostic.message);
                }
            }
        }
    }

    fn landlock(&mut self, entrypoint: Option<&Process>) {
        let asked = &self.profile.landlock;
        let mode = self.profile.mode(Rule::Landlock);
        if *asked == super::Landlock::default() || mode == Mode::Warn {
            return;
        }
        let paths = |paths: &std::collections::BTreeSet<super::Absolute>| -> Vec<Text> {
            paths.iter().map(|path| Text::path(path.path())).collect()
        };
        let mut execute = asked.execute.as_ref().map(paths);
        if asked.execute_entrypoint == Some(true) {
            execute.get_or_insert_default().extend(entrypoint.map(candidates).unwrap_or_default());
        }
        let ports = |ports: &std::collections::BTreeSet<u16>| ports.iter().copied().collect();
        self.done.hardening.landlock = Some(Landlock {
            required_abi: asked.required_abi.max((mode == Mode::Enforce).then_some(1)),
            execute,
            bind_tcp: asked.bind_tcp.as_ref().map(ports),
            connect_tcp: asked.connect_tcp.as_ref().map(ports),
            sockets: None,
            scope_abstract: asked.scope_abstract.unwrap_or_default(),
            scope_signals: asked.scope_signals.unwrap_or_default(),
        });
    }
}

/// Where the program of a process may be: itself, or its name in each directory of PATH (execvp(3)).
fn candidates(process: &Process) -> Vec<Text> {
    let Some(name) = process.args().as_ref().and_then(|args| args.first()).filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    if name.starts_with('/') {
        return vec![Text::new(name)];
    }
    if name.contains('/') {
        return vec![Text::path(process.cwd().join(name))];
    }
    let path = process.env().iter().flatten().rev().find_map(|var| var.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Text::new(format!("{dir}/{name}"))).collect()
}
