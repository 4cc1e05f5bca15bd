//! Rules for `linux.resources` and `linux.cgroupsPath` (config-linux.md, Control groups).
#![forbid(unsafe_code)]

use super::{Findings, at};
use crate::spec::{is_number_list, tree::quote};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceType, LinuxMemory, LinuxResources};

/// `changes`: these are changes to limits that are there already.
pub(super) fn check(resources: &LinuxResources, path: &str, changes: bool, found: &mut Findings) {
    devices(resources, path, found);
    if let Some(limits) = resources.memory() {
        memory(limits, &at(path, "memory"), changes, found);
    }
    if let Some(limits) = resources.cpu() {
        cpu(limits, &at(path, "cpu"), found);
    }
    if let Some(limits) = resources.block_io() {
        block_io(limits, &at(path, "blockIO"), found);
    }
    hugepages(resources, path, found);
    for (index, interface) in
        resources.network().iter().flat_map(|network| network.priorities().iter().flatten()).enumerate()
    {
        if interface.name().is_empty() || interface.name().contains([' ', '\n', '\0']) {
            found.error(
                at(path, &format!("network.priorities[{index}].name")),
                format!("{} is not the name of a network interface", quote(interface.name())),
            );
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let path = || at(path, &format!("rdma[{}]", quote(device)));
        if device.is_empty() || device.contains([' ', '\n', '\0']) {
            found.error(path(), "is not the name of an RDMA device");
        }
        if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
            found.error(path(), "needs hcaHandles, hcaObjects, or both");
        }
    }
    for (file, value) in resources.unified().iter().flatten() {
        let path = || at(path, &format!("unified[{}]", quote(file)));
        if file.contains(['/', '\0']) {
            found.error(path(), format!("unified resource {file:?} must be a file name (no slashes)"));
        } else if !file.contains('.') || file.starts_with('.') {
            found.error_hint(
                path(),
                format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER"),
                "like memory.high",
            );
        }
        found.no_nul(value, path);
    }
}

/// `Documentation/admin-guide/cgroup-v1/devices.rst`
fn devices(resources: &LinuxResources, path: &str, found: &mut Findings) {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        let at = |name: &str| at(path, &format!("devices[{index}].{name}"));
        let access = rule.access().as_deref().unwrap_or_default();
        if access.is_empty() {
            found.error_hint(at("access"), "device access field cannot be empty", "it is made of r, w and m");
        } else if !access.chars().all(|c| matches!(c, 'r' | 'w' | 'm' | 'a')) {
            found.error_hint(
                at("access"),
                format!("{} is not a device access", quote(access)),
                "it is made of r, w and m",
            );
        }
        if let Some(kind) = rule.typ().filter(|kind| matches!(kind, LinuxDeviceType::U | LinuxDeviceType::P)) {
            found.error_hint(at("type"), format!("invalid cgroup device type {:?}", kind.as_str()), "a, b or c");
        }
        for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
            // -1 is what Go programs write for "all".
            if let Some(number) = number.filter(|number| !(-1..=i64::from(u32::MAX)).contains(number)) {
                found.error_hint(at(name), format!("{number} is not a {name} number"), "leave it out for all");
            }
        }
    }
}

fn memory(limits: &LinuxMemory, path: &str, changes: bool, found: &mut Findings) {
    for (name, value) in [("limit", limits.limit()), ("reservation", limits.reservation()), ("swap", limits.swap())] {
        if let Some(value) = value.filter(|value| *value < -1) {
            found.error_hint(at(path, name), format!("{value} is not a number of bytes"), "-1 means no limit");
        }
    }
    let limit = limits.limit().unwrap_or(0);
    if let Some(swap) = limits.swap().filter(|swap| *swap > 0) {
        if limit == 0 {
            if !changes {
                found.error_hint(
                    at(path, "swap"),
                    "unable to set swap limit without memory limit",
                    "swap is memory and swap together: set limit, too",
                );
            }
        } else if limit < 0 || swap < limit {
            found.error_hint(
                at(path, "swap"),
                format!("memory+swap limit {swap} should be >= memory limit {limit}"),
                "swap is memory and swap together",
            );
        }
    }
    if let Some(swappiness) = limits.swappiness().filter(|swappiness| *swappiness > 100) {
        found.error(at(path, "swappiness"), format!("{swappiness} is not between 0 and 100"));
    }
}

fn cpu(limits: &LinuxCpu, path: &str, found: &mut Findings) {
    if let (Some(burst), Some(quota)) = (limits.burst(), limits.quota().and_then(|quota| u64::try_from(quota).ok()))
        && quota > 0
        && burst > quota
    {
        found.error(at(path, "burst"), format!("{burst} is more than the quota {quota}"));
    }
    if let Some(idle) = limits.idle().filter(|idle| !(0..=1).contains(idle)) {
        found.error(at(path, "idle"), format!("{idle} is neither 0 nor 1"));
    }
    for (name, list) in [("cpus", limits.cpus()), ("mems", limits.mems())] {
        let list = list.as_deref().unwrap_or_default();
        let packed: String = list.chars().filter(|c| *c != ' ').collect();
        if !packed.is_empty() && !is_number_list(&packed) {
            found.error_hint(
                at(path, name),
                format!("{} is not a list of numbers and ranges", quote(list)),
                "like 0-3,7",
            );
        }
    }
}

fn block_io(limits: &LinuxBlockIo, path: &str, found: &mut Findings) {
    // Zero is what Go programs write for "unset".
    let check_weight = |weight: Option<u16>, path: String, found: &mut Findings| {
        if let Some(weight) = weight.filter(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
            found.error(path, format!("{weight} is not between 10 and 1000"));
        }
    };
    check_weight(limits.weight(), at(path, "weight"), found);
    check_weight(limits.leaf_weight(), at(path, "leafWeight"), found);
    for (index, device) in limits.weight_device().iter().flatten().enumerate() {
        let at = |name: &str| at(path, &format!("weightDevice[{index}]{name}"));
        if device.weight().is_none() && device.leaf_weight().is_none() {
            found.error(at(""), "needs weight, leafWeight, or both");
        }
        check_weight(device.weight(), at(".weight"), found);
        check_weight(device.leaf_weight(), at(".leafWeight"), found);
        block_device(device.major(), device.minor(), &at, found);
    }
    let lists = [
        ("throttleReadBpsDevice", limits.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", limits.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", limits.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", limits.throttle_write_iops_device()),
    ];
    for (name, list) in lists {
        for (index, device) in list.iter().flatten().enumerate() {
            let at = |property: &str| at(path, &format!("{name}[{index}]{property}"));
            block_device(device.major(), device.minor(), &at, found);
        }
    }
}

fn block_device(major: i64, minor: i64, at: &impl Fn(&str) -> String, found: &mut Findings) {
    for (name, number) in [(".major", major), (".minor", minor)] {
        if !(0..=i64::from(u32::MAX)).contains(&number) {
            found.error(at(name), format!("{number} is not a device number"));
        }
    }
}

/// Page sizes are named as in the kernel's files: `hugetlb.2MB.limit_in_bytes`.
fn hugepages(resources: &LinuxResources, path: &str, found: &mut Findings) {
    let limits = resources.hugepage_limits().as_deref().unwrap_or_default();
    let mut sizes = std::collections::HashSet::new();
    for (index, limit) in limits.iter().enumerate() {
        let at = |name: &str| at(path, &format!("hugepageLimits[{index}].{name}"));
        let size = limit.page_size();
        let number = size.strip_suffix("KB").or_else(|| size.strip_suffix("MB")).or_else(|| size.strip_suffix("GB"));
        let good =
            |number: &str| !number.starts_with('0') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        if !number.is_some_and(good) {
            found.error_hint(at("pageSize"), format!("{} is not a page size", quote(size)), "like 64KB, 2MB or 1GB");
        }
        if !sizes.insert(size) {
            found.error(at("pageSize"), format!("{size} is given twice"));
        }
        if limit.limit() < 0 {
            found.error(at("limit"), format!("{} is not a number of bytes", limit.limit()));
        }
    }
}

pub(super) fn cgroups_path(path: &str, found: &mut Findings) {
    if path.split('/').any(|component| component == "..") {
        found.error_hint(
            "linux.cgroupsPath",
            format!("{} goes up with ..", quote(path)),
            "name the cgroup below the mount point",
        );
    }
    if path.contains('\n') {
        found.error("linux.cgroupsPath", format!("{} has more than one line", quote(path)));
    }
    found.no_nul(path, || "linux.cgroupsPath".into());
}
