//! `pent sandbox`: from flags to a configuration that the same machinery makes and launches as any other container's.
//!
//! [`compile`] is pure: what was typed ([`Request`]) and what there is ([`Surroundings`]) become a [`Spec`], which a profile then
//! tightens. Two choices are told in docs/decisions: as whom the program runs (0011), and how it reaches named hosts (0012).
#![forbid(unsafe_code)]

mod absent;
mod environment;
pub mod hidden;
pub mod later;
pub mod limits;
pub mod memory;
mod mounts;
pub mod net;
pub mod own;
mod request;
mod rootfs;
mod surroundings;
pub mod typed;
mod widen;

pub use request::{Device, Grant, Home, Limits, Network, Request, Tmpfs};
pub use rootfs::Rootfs;
pub use surroundings::{Closed, Error, Surroundings};

use crate::fences::Fence;
use crate::host::Host;
use crate::plan::text::Text;
use crate::profile::{self, Profile, Tightened};
use crate::report::{Diagnostic, Severity};
use crate::spec;
use crate::spelling::{spell, spell_path};
use limits::{Means, Replaced};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::path::Path;

/// Whom root's programs run as, on the host as in the sandbox: nobody, who owns nothing and may nothing.
pub const ROOT_OUTSIDE: u32 = 65_534;

/// Something that cannot be had, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What, and why not.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl crate::report::Hint for Refusal {
    fn hint(&self) -> Option<String> {
        Some(self.hint.clone()).filter(|hint| !hint.is_empty())
    }
}

/// A configuration, and what has to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sandbox {
    /// The configuration, before a profile tightens it. Bytes in it that are no text are spelled ([`crate::spelling`]).
    pub spec: Spec,
    /// What is not quite as asked.
    pub notes: Vec<String>,
}

/// As whom the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    /// Its uid and gid in the sandbox.
    inside: (u32, u32),
    /// On the host, the uid.
    outside: u32,
    /// On the host, the gid.
    outside_group: u32,
}

impl Ids {
    /// An ordinary user stays who they are. Root of the machine becomes nobody. Root of a user namespace cannot become anybody
    /// else, but can be called so: what it is on the host is decided elsewhere.
    ///
    /// In an image the program is whom the image says, root too: on the host it is still the caller, or nobody.
    fn of(host: &Surroundings, rootfs: Option<&Rootfs>) -> Self {
        let nobody = (ROOT_OUTSIDE, ROOT_OUTSIDE);
        let (inside, (outside, outside_group)) = match (host.is_root, host.uid) {
            (true, _) => (nobody, nobody),
            (false, 0) => (nobody, (0, host.gid)),
            (false, uid) => ((uid, host.gid), (uid, host.gid)),
        };
        Self { inside: rootfs.map_or(inside, |rootfs| rootfs.user), outside, outside_group }
    }
}

/// Decides everything about a sandbox but what its profile takes away.
///
/// # Errors
/// Everything that cannot be had as it was asked for.
pub fn compile(request: &Request, host: &Surroundings) -> Result<Sandbox, Vec<Refusal>> {
    let ids = Ids::of(host, request.rootfs.as_ref());
    let mut refusals = Vec::new();
    let environment = environment::compile(request, host, &mut refusals);
    let file_system = mounts::compile(request, host, ids).unwrap_or_else(|found| {
        refusals.extend(found);
        mounts::FileSystem::default()
    });
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let config = config(request, host, ids, environment, &file_system);
    // As text, so that the code which reads every configuration reads this one too.
    let spec = spec::parse(config.to_string().as_bytes()).map_err(unreadable)?.spec;
    Ok(Sandbox { spec, notes: file_system.notes })
}

fn unreadable(diagnostics: Vec<Diagnostic>) -> Vec<Refusal> {
    let refusal = |found: Diagnostic| Refusal {
        message: format!("a flag cannot be put into a configuration: {found}"),
        hint: found.hint.unwrap_or_default(),
    };
    diagnostics.into_iter().filter(|found| found.severity == Severity::Error).map(refusal).collect()
}

/// The root file system is the host's own, read-only, where no image takes its place.
const ROOT: &str = "/";

/// Everything hidden, under every name that the host's mounts give it.
#[must_use]
pub fn everything_hidden(host: &Surroundings) -> Vec<hidden::Hidden> {
    mounts::all_hidden(host)
}

/// Paths of /proc that tell about the machine or change it (docs/profiles.md).
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn config(
    request: &Request,
    host: &Surroundings,
    ids: Ids,
    environment: Vec<String>,
    file_system: &mounts::FileSystem,
) -> Value {
    let mut namespaces = vec!["user", "pid", "mount", "ipc", "uts", "cgroup"];
    if request.network != Network::Host {
        namespaces.push("network");
    }
    if host.time_namespaces {
        namespaces.push("time");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let rootfs = request.rootfs.as_ref();
    let usual = rootfs.map_or(&host.directory, |rootfs| &rootfs.directory);
    let directory = request.workdir.as_ref().unwrap_or(usual);
    let none: [&str; 0] = [];
    let masked: Vec<&str> = MASKED.iter().copied().chain(file_system.masked.iter().map(String::as_str)).collect();
    json!({
        "ociVersion": crate::cli::SPEC_VERSION,
        "hostname": request.hostname.as_deref().unwrap_or("sandbox"),
        "process": {
            "args": request.command.iter().map(spell).collect::<Vec<_>>(),
            "cwd": spell_path(directory),
            "env": environment,
            "user": { "uid": ids.inside.0, "gid": ids.inside.1 },
            "terminal": host.terminal,
            "capabilities": { "bounding": none, "effective": none, "permitted": none, "inheritable": none, "ambient": none },
            "noNewPrivileges": true,
            "rlimits": [
                { "type": "RLIMIT_CORE", "soft": 1, "hard": 1 },
            ],
        },
        "root": { "path": spell_path(rootfs.map_or(Path::new(ROOT), |rootfs| &rootfs.path)), "readonly": true },
        "mounts": file_system.mounts,
        "linux": {
            "namespaces": namespaces,
            "uidMappings": [{ "containerID": ids.inside.0, "hostID": ids.outside, "size": 1 }],
            "gidMappings": [{ "containerID": ids.inside.1, "hostID": ids.outside_group, "size": 1 }],
            "sysctl": sysctls(&request.network),
            "maskedPaths": masked,
            "readonlyPaths": READONLY,
            "seccomp": own_rules(),
        },
    })
}

/// In a network of its own every port is the program's, as in Docker's: below 1024 nobody else is to be kept from one.
fn sysctls(network: &Network) -> Value {
    match network {
        Network::Own(_) => json!({ "net.ipv4.ip_unprivileged_port_start": "0" }),
        Network::Host => json!({}),
    }
}

/// What no profile may allow: what would outlast the program ([`crate::fences`]).
fn own_rules() -> Value {
    let rules: Vec<_> = Fence::ALL.iter().flat_map(|fence| fence.rules()).map(|rule| rule.to_oci()).collect();
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

/// Cuts a sandbox to a profile, but for what its flags name; and the profile that lets them through.
///
/// # Errors
/// What the profile refuses ([`profile::tighten`]).
pub fn restrict(
    spec: &mut Spec,
    profile: Profile,
    request: &Request,
    host: &Host,
) -> Result<(Tightened, Profile), Vec<Diagnostic>> {
    let limits = request.limits.or(&profile.cgroup);
    if let Some(linux) = spec.linux_mut() {
        let mut resources = limits::resources(&limits);
        // Others than root have no rules on devices: there, what is mounted is all that there is.
        if !request.devices.is_empty() && host.is_privileged() && !host.in_user_namespace {
            resources.set_devices(Some(limits::devices(&request.devices)));
        }
        linux.set_resources(Some(resources));
    }
    let before = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
    let profile = widen::widened(profile, spec, request);
    // The host's own root, out of which the mounts take what is hidden: nobody's wish that a profile could refuse.
    let root = spec.root().clone();
    spec.set_root(None);
    let tightened = profile::tighten(&profile, spec, host);
    spec.set_root(root);
    let mut tightened = tightened?;
    close_sockets(&mut tightened, request, host);
    widen::keep_environment(spec, &before, request);
    Ok((tightened, profile))
}

/// Where the kernel can say so, named sockets of processes outside are closed to the program, also those that appear
/// later: but for what was given by its own name.
fn close_sockets(tightened: &mut Tightened, request: &Request, host: &Host) {
    if host.landlock_abi >= crate::plan::landlock::SOCKETS_ABI {
        let given = request.grants.iter().filter(|grant| !grant.directory).map(|grant| Text::path(&grant.target));
        let landlock = tightened.hardening.landlock.get_or_insert_default();
        landlock.sockets = Some(given.collect());
    }
}

/// Fits a configuration to what can limit it: once its profile has had its say.
pub fn settle(spec: &mut Spec, request: &Request, means: Means, host: &Host, processors: u32) -> Replaced {
    let replaced = match means {
        Means::Cgroup(_) => Replaced::default(),
        Means::Rlimits { watched, .. } => {
            // How many processors there are to a profile is a matter of time, not of which: only who asks is kept to some.
            let processors = if request.limits.millicpus.is_some() { processors } else { 0 };
            let replaced = limits::without_cgroup(spec, processors, watched);
            if replaced.processors.is_some() {
                keep_affinity(spec);
            }
            replaced
        }
    };
    limits::keep_below(spec, host);
    replaced
}

/// A set of processors limits only who cannot change it.
fn keep_affinity(spec: &mut Spec) {
    use oci_spec::runtime::{LinuxSeccompAction, LinuxSyscallBuilder};
    let seccomp = spec.linux_mut().as_mut().and_then(|linux| linux.seccomp_mut().as_mut());
    let rule = LinuxSyscallBuilder::default()
        .names(vec!["sched_setaffinity".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(libc::EPERM.unsigned_abs())
        .build();
    if let (Some(seccomp), Ok(rule)) = (seccomp, rule) {
        let mut rules = seccomp.syscalls().clone().unwrap_or_default();
        rules.push(rule);
        seccomp.set_syscalls(Some(rules));
    }
}

/// For the fuzz target of tables.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_users(passwd: &[u8]) {
    drop(surroundings::users(passwd));
}

#[cfg(test)]
mod tests;
