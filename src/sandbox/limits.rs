//! Limits: by a control group where the caller may make one, else by what a process can be limited with by itself.
#![forbid(unsafe_code)]

use super::request::{Device, Limits};
use crate::cgroup::{Driver, Layout, OwnCgroup};
use crate::host::Host;
use nix::errno::Errno;
use nix::unistd::AccessFlags;
use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Spec,
};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// What limits a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// A control group, made by this driver.
    Cgroup(Driver),
    /// Resource limits of processes, the set of processors, and memory that is looked at.
    Rlimits {
        /// Why there is no control group.
        why: &'static str,
        /// Whether the memory in use can be found out ([`super::memory`]).
        watched: bool,
    },
}

impl Means {
    /// What the caller may use: root any hierarchy, others what systemd or somebody else has delegated to them.
    #[must_use]
    pub fn probe(host: &Host) -> Self {
        Self::of_cgroups(host).unwrap_or_else(|why| Self::Rlimits { why, watched: super::memory::can_watch() })
    }

    fn of_cgroups(host: &Host) -> Result<Self, &'static str> {
        if host.is_privileged() && !host.in_user_namespace {
            return match host.cgroup {
                Layout::Absent => Err("no cgroup file system is mounted"),
                _ if !is_writable(host) => Err("the cgroups that are mounted are read-only, as in a container"),
                _ if !shows_own(host) => Err("the cgroups that are mounted are another cgroup namespace's"),
                _ => Ok(Self::Cgroup(Driver::Cgroupfs)),
            };
        }
        let Layout::V2 { mount } = &host.cgroup else {
            return Err("version 1 of control groups cannot be delegated");
        };
        if crate::cgroup::probe_user_manager().is_ok() {
            return Ok(Self::Cgroup(Driver::Systemd));
        }
        if is_delegated(mount, &host.own_cgroup) {
            return Ok(Self::Cgroup(Driver::Cgroupfs));
        }
        Err("no cgroup is delegated to this user")
    }
}

/// Whether root may make cgroups where they are mounted.
fn is_writable(host: &Host) -> bool {
    match &host.cgroup {
        Layout::Absent => false,
        Layout::V2 { mount } => may_write(mount),
        Layout::V1 { hierarchies, .. } => hierarchies.iter().all(|hierarchy| may_write(&hierarchy.mount)),
    }
}

/// Whether there is somewhere to write to. Where the kernel does not say so, making the cgroup tells: less than was meant is not
/// put in its place for a look that failed.
fn may_write(path: &Path) -> bool {
    !matches!(nix::unistd::access(path, AccessFlags::W_OK), Err(Errno::EACCES | Errno::EROFS | Errno::ENOENT))
}

/// Whether what is mounted shows the caller's own cgroup, beside which a sandbox's is made. After unshare(CLONE_NEWCGROUP) what was
/// mounted before shows others only (cgroup_namespaces(7)).
fn shows_own(host: &Host) -> bool {
    let climbs = |path: &str| path.split('/').any(|name| name == "..");
    let (own, none) = (&host.own_cgroup, String::from("/"));
    match &host.cgroup {
        Layout::Absent => false,
        Layout::V2 { .. } => own.unified.as_deref().is_none_or(|path| !climbs(path)),
        Layout::V1 { hierarchies, .. } => hierarchies.iter().all(|hierarchy| {
            hierarchy.controllers.iter().all(|controller| {
                let path = own.v1.get(controller).unwrap_or(&none);
                !climbs(&hierarchy.root) && !climbs(path) && Path::new(path).starts_with(&hierarchy.root)
            })
        }),
    }
}

/// Whether a cgroup with limits can be made beside the caller's own, which is where `compile` puts it.
fn is_delegated(mount: &Path, own: &OwnCgroup) -> bool {
    let Some(path) = &own.unified else { return false };
    let above = path.trim_start_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
    let directory = mount.join(above);
    let controllers = match std::fs::read_to_string(directory.join("cgroup.controllers")) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return false;
        }
        controllers => controllers.ok(),
    };
    let has = |name| controllers.as_ref().is_none_or(|list| list.split_ascii_whitespace().any(|known| known == name));
    may_write(&directory)
        && may_write(&directory.join("cgroup.procs"))
        && may_write(&directory.join("cgroup.subtree_control"))
        && ["cpu", "memory", "pids"].into_iter().all(has)
}

/// The period of the processor quota in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;
/// The first process of the sandbox is pent's own.
const INIT: i64 = 1;

/// `linux.resources` for what was asked for.
pub(super) fn resources(limits: &Limits) -> LinuxResources {
    let mut resources = LinuxResources::default();
    if let Some(bytes) = limits.memory.and_then(|bytes| i64::try_from(bytes).ok()) {
        let mut memory = LinuxMemory::default();
        // Memory and swap together: none to be had beyond it.
        memory.set_limit(Some(bytes)).set_swap(Some(bytes));
        resources.set_memory(Some(memory));
    }
    if let Some(millicpus) = limits.millicpus {
        let mut cpu = LinuxCpu::default();
        let quota = millicpus.saturating_mul(PERIOD / 1000).max(1000);
        cpu.set_period(Some(PERIOD)).set_quota(Some(i64::try_from(quota).unwrap_or(i64::MAX)));
        resources.set_cpu(Some(cpu));
    }
    if let Some(pids) = limits.pids {
        let mut limit = LinuxPids::default();
        limit.set_limit(i64::from(pids) + INIT);
        resources.set_pids(Some(limit));
    }
    resources
}

/// Rules for devices: none but these, and those that every container has.
pub(super) fn devices(allowed: &[Device]) -> Vec<LinuxDeviceCgroup> {
    let mut none = LinuxDeviceCgroup::default();
    none.set_allow(false).set_access(Some("rwm".to_owned()));
    let rule = |device: &Device| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(LinuxDeviceType::C)).set_access(Some("rw".to_owned()));
        rule.set_major(Some(device.major.into())).set_minor(Some(device.minor.into()));
        rule
    };
    std::iter::once(none).chain(allowed.iter().map(rule)).collect()
}

/// What limits that a cgroup would have enforced come to without one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The processors to run on: how many.
    pub processors: Option<u32>,
    /// The memory that somebody has to look after ([`super::memory`]), in bytes.
    pub memory: Option<u64>,
}

/// Takes the control group's limits out of a configuration, and puts in what a process can be limited with by itself.
///
/// `watched`: somebody looks at the memory in use. Without that, address space is what can be limited, of each process.
pub(super) fn without_cgroup(spec: &mut Spec, processors: u32, watched: bool) -> Replaced {
    let Some(linux) = spec.linux_mut() else { return Replaced::default() };
    let resources = linux.resources().clone().unwrap_or_default();
    linux.set_resources(None).set_cgroups_path(None);
    let mut replaced = Replaced::default();
    let mut rlimits = Vec::new();
    if let Some(bytes) = resources.memory().as_ref().and_then(LinuxMemory::limit).filter(|bytes| *bytes > 0) {
        if watched {
            replaced.memory = Some(bytes.unsigned_abs());
        } else {
            rlimits.extend(rlimit(PosixRlimitType::RlimitData, bytes.unsigned_abs()));
        }
    }
    if let Some(pids) = resources.pids().as_ref().map(LinuxPids::limit).filter(|limit| *limit > 0) {
        rlimits.extend(rlimit(PosixRlimitType::RlimitNproc, pids.unsigned_abs()));
    }
    if let Some(cpu) = resources.cpu()
        && let (Some(quota), Some(period)) = (cpu.quota(), cpu.period())
        && quota > 0
    {
        let whole = quota.unsigned_abs().div_ceil(period.max(1)).max(1);
        replaced.processors = u32::try_from(whole).ok().filter(|whole| *whole < processors);
    }
    if let Some(process) = spec.process_mut() {
        let mut all = process.rlimits().clone().unwrap_or_default();
        for limit in rlimits {
            match all.iter_mut().find(|own| own.typ() == limit.typ()) {
                Some(own) if own.hard() > limit.hard() => *own = limit,
                Some(_) => {}
                None => all.push(limit),
            }
        }
        process.set_rlimits(Some(all));
    }
    replaced
}

/// What the caller has given up for good is no reason not to start.
pub(super) fn keep_below(spec: &mut Spec, host: &Host) {
    let Some(process) = spec.process_mut().as_mut().filter(|_| !host.may_raise_limits()) else { return };
    let mut all = process.rlimits().clone().unwrap_or_default();
    for limit in &mut all {
        if let Some(&(_, most)) = host.rlimits.get(&limit.typ().to_string()) {
            let (soft, hard) = (limit.soft().min(most), limit.hard().min(most));
            let lower = PosixRlimitBuilder::default().typ(limit.typ()).soft(soft).hard(hard).build();
            *limit = lower.unwrap_or(*limit);
        }
    }
    process.set_rlimits(Some(all));
}

fn rlimit(kind: PosixRlimitType, value: u64) -> Option<PosixRlimit> {
    PosixRlimitBuilder::default().typ(kind).soft(value).hard(value).build().ok()
}

/// One line: what was asked for, and what enforces it.
#[must_use]
pub fn describe(limits: &Limits, means: Means, replaced: &Replaced) -> Option<String> {
    let mut parts = Vec::new();
    let by_cgroup = matches!(means, Means::Cgroup(_));
    if let Some(bytes) = limits.memory {
        let how = match means {
            Means::Cgroup(_) => "",
            Means::Rlimits { watched: true, .. } => " (in use, looked at by pent)",
            Means::Rlimits { watched: false, .. } => " of address space for each process (RLIMIT_DATA)",
        };
        parts.push(format!("memory {}{how}", bytes_text(bytes)));
    }
    if let Some(millicpus) = limits.millicpus {
        let cpus = decimal(millicpus);
        parts.push(match (by_cgroup, replaced.processors) {
            (true, _) => format!("cpus {cpus}"),
            (false, Some(1)) => format!("cpus {cpus} rounded up to 1 processor (affinity)"),
            (false, Some(processors)) => format!("cpus {cpus} rounded up to {processors} processors (affinity)"),
            (false, None) => format!("cpus {cpus}: all processors there are"),
        });
    }
    if let Some(pids) = limits.pids {
        parts.push(format!("processes {pids}{}", if by_cgroup { "" } else { " (RLIMIT_NPROC)" }));
    }
    if parts.is_empty() {
        return None;
    }
    let mut text = String::from("limits: ");
    text.push_str(&parts.join(", "));
    // Writing to a String cannot fail.
    let _infallible = match means {
        Means::Cgroup(_) => write!(text, "; by a cgroup"),
        Means::Rlimits { why, .. } => write!(text, "; without a cgroup: {why}"),
    };
    Some(text)
}

/// `512M`: as people write it.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    let units = [(1u64 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    match units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit) && bytes > 0) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None if bytes >= 10 << 20 => format!("{}M", bytes >> 20),
        None => format!("{bytes} bytes"),
    }
}

fn decimal(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_read_as_they_were_typed() {
        for (bytes, text) in [
            (512 << 20, "512M"),
            (1 << 30, "1G"),
            (64 << 10, "64K"),
            (5_000_000, "5000000 bytes"),
            (100_000_000, "95M"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
        for (number, text) in [(500, "0.5"), (1000, "1"), (1250, "1.25")] {
            assert_eq!(decimal(number), text);
        }
    }

    #[test]
    fn without_a_cgroup_processes_are_limited_one_by_one() {
        let limits = Limits { memory: Some(512 << 20), millicpus: Some(500), pids: Some(64), timeout: None };
        let mut spec = Spec::default();
        if let Some(linux) = spec.linux_mut() {
            linux.set_resources(Some(resources(&limits)));
        }
        let mut other = spec.clone();
        let replaced = without_cgroup(&mut spec, 8, false);
        assert_eq!((replaced.processors, replaced.memory), (Some(1), None));
        let linux = spec.linux().as_ref().expect("linux");
        assert!(linux.resources().is_none());
        let rlimits = spec.process().as_ref().and_then(|process| process.rlimits().clone()).unwrap_or_default();
        let hard = |kind| rlimits.iter().find(|limit| limit.typ() == kind).map(PosixRlimit::hard);
        assert_eq!(hard(PosixRlimitType::RlimitData), Some(512 << 20));
        assert_eq!(hard(PosixRlimitType::RlimitNproc), Some(65));
        // Address space that nobody uses is nobody's loss.
        let watched = without_cgroup(&mut other, 8, true);
        assert_eq!(watched.memory, Some(512 << 20));
        let rlimits = other.process().as_ref().and_then(|process| process.rlimits().clone()).unwrap_or_default();
        assert!(rlimits.iter().all(|limit| limit.typ() != PosixRlimitType::RlimitData), "{rlimits:?}");
        let means = Means::Rlimits { why: "none is delegated", watched: true };
        let text = describe(&limits, means, &watched).unwrap_or_default();
        assert!(text.starts_with("limits: memory 512M (in use, looked at by pent), cpus"), "{text}");
        let why = Means::Rlimits { why: "none is delegated", watched: false };
        assert_eq!(
            describe(&limits, why, &replaced).as_deref(),
            Some(
                "limits: memory 512M of address space for each process (RLIMIT_DATA), cpus 0.5 rounded up to 1 processor (affinity), processes 64 (RLIMIT_NPROC); without a cgroup: none is delegated"
            )
        );
    }
}
