//! Limits of the control group, and devices.
#![forbid(unsafe_code)]

use super::Cut;
use crate::cgroup::{self, DEFAULT_RULES, Kind, Layout};
use crate::profile::format::{DeviceKind, Rule};
use crate::profile::values::Size;
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources, Spec};

/// Microseconds of the scheduler's period where the configuration names none (config-linux.md, CPU).
const PERIOD: u64 = 100_000;

/// Files of version 2 that would undo a limit, by what the profile limits.
const UNIFIED: [(&str, fn(&crate::profile::Cgroup) -> bool); 4] = [
    ("memory.max", |limits| limits.memory.is_some()),
    ("memory.swap.max", |limits| limits.swap.is_some()),
    ("pids.max", |limits| limits.pids.is_some()),
    ("cpu.max", |limits| limits.cpus.is_some()),
];

impl Cut<'_> {
    pub(super) fn cgroup(&mut self, spec: &mut Spec) {
        let limits = &self.profile.cgroup;
        if *limits == crate::profile::Cgroup::default() {
            return;
        }
        let mut linux = spec.linux().clone().unwrap_or_default();
        let mut resources = linux.resources().clone().unwrap_or_default();
        let given = linux.cgroups_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty());
        // A caller without rights may have no cgroup at all: then a limit that nobody asked for would stop the container.
        let rootless = !self.host.is_privileged() || self.host.in_user_namespace;
        let fills = self.host.cgroup != Layout::Absent && (!rootless || given);
        if !fills {
            self.cannot(
                Rule::Cgroup,
                "linux.resources",
                "limits are not filled in, because there is no control group to limit without root's rights",
            );
        }
        self.memory(&mut resources, fills);
        self.pids(&mut resources, fills);
        self.cpus(&mut resources, fills);
        self.unified(&mut resources);
        if resources != LinuxResources::default() || linux.resources().is_some() {
            linux.set_resources(Some(resources));
            spec.set_linux(Some(linux));
        }
    }

    fn memory(&mut self, resources: &mut LinuxResources, fills: bool) {
        let limits = &self.profile.cgroup;
        let mut memory = resources.memory().unwrap_or_default();
        let before = memory;
        if let Some(most) = limits.memory {
            let bytes = signed(most);
            match memory.limit().filter(|limit| *limit > 0) {
                Some(limit) if limit <= bytes => {}
                Some(limit) => {
                    let asked = Size(limit.unsigned_abs());
                    if self.beyond(Rule::Cgroup, "linux.resources.memory.limit", asked, most) {
                        memory.set_limit(Some(bytes));
                    }
                }
                None if fills && self.open(Rule::Cgroup, "linux.resources.memory.limit", most) => {
                    memory.set_limit(Some(bytes));
                }
                None => {}
            }
        }
        // config.json counts memory and swap together, and cannot limit swap without a limit of memory.
        if let (Some(swap), Some(limit)) = (limits.swap, memory.limit().filter(|limit| *limit > 0)) {
            let most = limit.saturating_add(signed(swap));
            let path = "linux.resources.memory.swap";
            match memory.swap().filter(|total| *total > 0) {
                Some(total) if total <= most => {}
                Some(total) if total > before.limit().unwrap_or(limit) => {
                    let asked = format!("{} with memory", Size(total.unsigned_abs()));
                    let enforced = format!("{} with memory", Size(most.unsigned_abs()));
                    if self.beyond(Rule::Cgroup, path, asked, enforced) {
                        memory.set_swap(Some(most));
                    }
                }
                // No swap beside a memory limit that has just become smaller.
                Some(_) => {
                    memory.set_swap(Some(most));
                }
                None if fills => {
                    if self.open(Rule::Cgroup, path, format!("{} with memory", Size(most.unsigned_abs()))) {
                        memory.set_swap(Some(most));
                    }
                }
                None => {}
            }
        }
        if memory.disable_oom_killer() == Some(true)
            && limits.memory.is_some()
            && self.beyond(Rule::Cgroup, "linux.resources.memory.disableOOMKiller", "true", "false")
        {
            memory.set_disable_oom_killer(None);
        }
        if memory != LinuxMemory::default() || resources.memory().is_some() {
            resources.set_memory(Some(memory));
        }
    }

    fn pids(&mut self, resources: &mut LinuxResources, fills: bool) {
        let Some(most) = self.profile.cgroup.pids else { return };
        let path = "linux.resources.pids.limit";
        let change = match resources.pids().map(|pids| pids.limit()).filter(|limit| *limit > 0) {
            Some(limit) if limit <= most => false,
            Some(limit) => self.beyond(Rule::Cgroup, path, limit, most),
            None => fills && self.open(Rule::Cgroup, path, most),
        };
        if change {
            let mut pids = LinuxPids::default();
            pids.set_limit(most);
            resources.set_pids(Some(pids));
        }
    }

    fn cpus(&mut self, resources: &mut LinuxResources, fills: bool) {
        let Some(most) = self.profile.cgroup.cpus.filter(|cpus| *cpus > 0.0) else { return };
        let mut cpu = resources.cpu().clone().unwrap_or_default();
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(PERIOD);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a period has at most seven digits, and the number of processors is checked to be small"
        )]
        let quota = (most * period as f64) as i64;
        let path = "linux.resources.cpu.quota";
        let enforced = format!("{quota} of {period} µs");
        let change = match cpu.quota().filter(|quota| *quota > 0) {
            Some(asked) if asked <= quota => false,
            Some(asked) => self.beyond(Rule::Cgroup, path, format!("{asked} of {period} µs"), enforced),
            None => fills && self.open(Rule::Cgroup, path, enforced),
        };
        if change {
            cpu.set_quota(Some(quota));
            cpu.set_period(Some(period));
            // A burst may not exceed the quota (cpu.max.burst).
            let burst = cpu.burst().map(|burst| burst.min(quota.unsigned_abs()));
            cpu.set_burst(burst);
        }
        let real_time = cpu.realtime_runtime().is_some_and(|runtime| runtime != 0);
        if real_time && self.beyond(Rule::Cgroup, "linux.resources.cpu.realtimeRuntime", "real-time processors", "none")
        {
            cpu.set_realtime_runtime(None);
            cpu.set_realtime_period(None);
        }
        if cpu != LinuxCpu::default() || resources.cpu().is_some() {
            resources.set_cpu(Some(cpu));
        }
    }

    /// Files of version 2 that are written as they are, after the limits.
    fn unified(&mut self, resources: &mut LinuxResources) {
        let Some(mut unified) = resources.unified().clone() else { return };
        for (file, is_limited) in UNIFIED {
            let Some(value) = unified.get(file).filter(|_| is_limited(&self.profile.cgroup)).cloned() else { continue };
            if self.beyond(Rule::Cgroup, format!("linux.resources.unified[{file:?}]"), value, "the profile's own limit")
            {
                unified.remove(file);
            }
        }
        resources.set_unified(Some(unified));
    }

    pub(super) fn devices(&mut self, spec: &mut Spec) {
        if self.profile.devices.allow.is_none() {
            return;
        }
        let mut linux = spec.linux().clone().unwrap_or_default();
        if let Some(devices) = linux.devices().clone() {
            let mut kept = Vec::new();
            for (at, device) in devices.into_iter().enumerate() {
                let rule = rule(device.typ(), Some(device.major()), Some(device.minor()), cgroup::READ);
                let allowed = device.typ() == LinuxDeviceType::P || rule.is_some_and(|rule| self.covers(&rule));
                let name = format!(
                    "{} ({} {}:{})",
                    device.path().display(),
                    device.typ().as_str(),
                    device.major(),
                    device.minor()
                );
                let path = format!("linux.devices[{at}]");
                if allowed || !self.beyond(Rule::Devices, path, name, "no such device") {
                    kept.push(device);
                }
            }
            linux.set_devices(Some(kept));
        }
        let mut resources = linux.resources().clone().unwrap_or_default();
        let asked = resources.devices().clone().unwrap_or_default();
        let mut kept: Vec<LinuxDeviceCgroup> = Vec::new();
        for (at, device) in asked.into_iter().enumerate() {
            let access = device.access().as_deref().unwrap_or_default();
            let bits = access.parse::<crate::profile::Access>().map_or(cgroup::ALL, |access| access.0);
            let typ = device.typ().unwrap_or_default();
            let rule = rule(typ, device.major(), device.minor(), bits);
            let allowed = !device.allow() || rule.is_some_and(|rule| self.covers(&rule));
            let number = |number: Option<i64>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
            let text = format!("{} {}:{} {access}", typ.as_str(), number(device.major()), number(device.minor()));
            let path = format!("linux.resources.devices[{at}]");
            if allowed || !self.beyond(Rule::Devices, path, text, "no such rule") {
                kept.push(device);
            }
        }
        if !kept.is_empty() || resources.devices().is_some() {
            resources.set_devices(Some(kept));
            linux.set_resources(Some(resources));
        }
        if spec.linux().is_some() || linux != oci_spec::runtime::Linux::default() {
            spec.set_linux(Some(linux));
        }
    }

    /// Whether the profile, or what every container has, allows all that a rule does.
    fn covers(&self, asked: &cgroup::Rule) -> bool {
        let Some(asked_devices) = asked.devices else { return false };
        let own = self.profile.devices.allow.iter().flatten().map(|(_, device)| cgroup::Rule {
            allow: true,
            devices: Some(cgroup::Devices {
                kind: if device.kind == DeviceKind::Block { Kind::Block } else { Kind::Char },
                major: Some(device.major),
                minor: Some(device.minor),
            }),
            access: device.access.0,
        });
        DEFAULT_RULES.iter().copied().chain(own).any(|rule| {
            rule.devices.is_some_and(|devices| {
                devices.kind == asked_devices.kind
                    && (devices.major.is_none() || devices.major == asked_devices.major)
                    && (devices.minor.is_none() || devices.minor == asked_devices.minor)
                    && asked.access & !rule.access == 0
            })
        })
    }
}

/// A rule for devices of a kind; `None` for all devices, or for numbers that none has.
fn rule(typ: LinuxDeviceType, major: Option<i64>, minor: Option<i64>, access: u8) -> Option<cgroup::Rule> {
    let kind = match typ {
        LinuxDeviceType::B => Kind::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Kind::Char,
        LinuxDeviceType::P | LinuxDeviceType::A => return None,
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Some(None),
        Some(number) => u32::try_from(number).ok().map(Some),
    };
    let devices = cgroup::Devices { kind, major: number(major)?, minor: number(minor)? };
    Some(cgroup::Rule { allow: true, devices: Some(devices), access })
}

fn signed(size: Size) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}
