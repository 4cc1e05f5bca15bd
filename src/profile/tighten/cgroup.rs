//! Limits of the control group, and devices.
#![forbid(unsafe_code)]

use super::Cut;
use crate::cgroup::{self, DEFAULT_RULES, Kind, Layout};
use crate::profile::format::{DeviceKind, Rule};
use crate::profile::values::Size;
use oci_spec::runtime::{LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxPids, LinuxResources, Spec};

/// Microseconds of the scheduler's period where the configuration names none (config-linux.md, CPU).
const PERIOD: u32 = 100_000;

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
        self.limits(&mut resources, fills, None);
        if resources != LinuxResources::default() || linux.resources().is_some() {
            linux.set_resources(Some(resources));
            spec.set_linux(Some(linux));
        }
    }

    /// `fills`: what is not there is filled in; `current`: the limit of memory that there is already.
    pub(super) fn limits(&mut self, resources: &mut LinuxResources, fills: bool, current: Option<i64>) {
        self.memory(resources, fills, current);
        self.pids(resources, fills);
        self.cpus(resources, fills);
        self.unified(resources);
    }

    /// Whether a limit is to be set to the most that the rule allows. 0 is for no limit that is given, -1 for none at all.
    fn limit(&mut self, path: &str, asked: Option<i64>, most: i64, fills: bool, text: impl Fn(i64) -> String) -> bool {
        match asked.filter(|asked| *asked != 0) {
            Some(asked) if asked > 0 && asked <= most => false,
            Some(asked) if asked > 0 => self.beyond(Rule::Cgroup, path, text(asked), text(most)),
            Some(_) => self.beyond(Rule::Cgroup, path, "no limit", text(most)),
            None => fills && self.open(Rule::Cgroup, path, text(most)),
        }
    }

    fn memory(&mut self, resources: &mut LinuxResources, fills: bool, current: Option<i64>) {
        let limits = &self.profile.cgroup;
        let mut memory = resources.memory().unwrap_or_default();
        let before = memory;
        if let Some(most) = limits.memory {
            let bytes = signed(most);
            let text = |bytes: i64| Size(bytes.unsigned_abs()).to_string();
            if self.limit("linux.resources.memory.limit", memory.limit(), bytes, fills, text) {
                memory.set_limit(Some(bytes));
            }
        }
        // config.json counts memory and swap together, and cannot limit swap without a limit of memory.
        let limit = memory.limit().filter(|limit| *limit > 0).or(current);
        if let (Some(swap), Some(limit)) = (limits.swap, limit) {
            let most = limit.saturating_add(signed(swap));
            let text = |bytes: i64| format!("{} with memory", Size(bytes.unsigned_abs()));
            if self.limit("linux.resources.memory.swap", memory.swap(), most, fills, text) {
                memory.set_swap(Some(most));
            }
        } else if let Some(limit) = memory.limit().filter(|limit| *limit > 0)
            && before.limit().is_none_or(|before| before > limit)
            && memory.swap().is_some_and(|total| total > 0)
        {
            // No more swap than was asked for, beside a limit of memory that has just become smaller.
            let swap = memory.swap().unwrap_or_default() - before.limit().filter(|before| *before > 0).unwrap_or(limit);
            memory.set_swap(Some(limit.saturating_add(swap.max(0))));
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
        let asked = resources.pids().map(|pids| pids.limit());
        let change = self.limit("linux.resources.pids.limit", asked, most, fills, |count| count.to_string());
        if change {
            let mut pids = LinuxPids::default();
            pids.set_limit(most);
            resources.set_pids(Some(pids));
        }
    }

    fn cpus(&mut self, resources: &mut LinuxResources, fills: bool) {
        let Some(most) = self.profile.cgroup.cpus.filter(|cpus| *cpus > 0.0) else { return };
        let mut cpu = resources.cpu().clone().unwrap_or_default();
        let period = cpu.period().filter(|period| *period > 0).unwrap_or(u64::from(PERIOD));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a period has at most seven digits, and the number of processors is checked to be small"
        )]
        let quota = (most * period as f64) as i64;
        let text = |quota: i64| format!("{quota} of {period} µs");
        let mut change = self.limit("linux.resources.cpu.quota", cpu.quota(), quota, fills, text);
        // A shorter period makes more of a quota that is there already.
        if !change && !fills && cpu.quota().is_none() && cpu.period().is_some() {
            change = self.beyond(Rule::Cgroup, "linux.resources.cpu.period", format!("{period} µs"), text(quota));
        }
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
        let limits = &self.profile.cgroup;
        for (file, most) in [
            ("memory.max", limits.memory.map(|size| size.0)),
            ("memory.swap.max", limits.swap.map(|size| size.0)),
            ("pids.max", limits.pids.and_then(|pids| u64::try_from(pids).ok())),
        ] {
            let (Some(value), Some(most)) = (unified.get(file).cloned(), most) else { continue };
            let is_less = value.trim().parse::<Size>().is_ok_and(|asked| asked.0 <= most);
            let path = format!("linux.resources.unified[{file:?}]");
            if !is_less && self.beyond(Rule::Cgroup, path, value, most) {
                unified.insert(file.to_owned(), most.to_string());
            }
        }
        let cpus = limits.cpus.filter(|cpus| *cpus > 0.0);
        if let (Some(value), Some(most)) = (unified.get("cpu.max").cloned(), cpus) {
            // "QUOTA", "QUOTA PERIOD", "max PERIOD"; without a period, the one that is there stays.
            let mut words = value.split_whitespace();
            let quota = words.next().and_then(|quota| quota.parse::<u32>().ok());
            let period = words.next().and_then(|period| period.parse::<u32>().ok()).filter(|period| *period > 0);
            let own =
                resources.cpu().as_ref().and_then(|cpu| cpu.period()).and_then(|period| u32::try_from(period).ok());
            let kept = period.or(own).filter(|period| *period > 0);
            let is_less = quota.zip(kept).is_some_and(|(quota, period)| f64::from(quota) <= most * f64::from(period));
            #[allow(
                clippy::cast_possible_truncation,
                reason = "a period has at most seven digits, and the number of processors is checked to be small"
            )]
            let enforced = {
                let period = kept.unwrap_or(PERIOD);
                let most = (most * f64::from(period)) as i64;
                format!("{} {period}", quota.map_or(most, |quota| most.min(quota.into())))
            };
            let path = "linux.resources.unified[\"cpu.max\"]";
            if !is_less && self.beyond(Rule::Cgroup, path, value, &enforced) {
                unified.insert("cpu.max".to_owned(), enforced);
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
