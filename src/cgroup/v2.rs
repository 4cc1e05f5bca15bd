//! `linux.resources` as version 2 control files (the kernel's admin-guide/cgroup-v2).
#![forbid(unsafe_code)]

use super::convert;
use super::plan::{Draft, IfMissing, MemoryCheck};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice,
};
use std::collections::{BTreeMap, HashMap};

/// Files of the core that are no limits: through `unified` they would act on processes.
const NOT_LIMITS: &[&str] = &["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.type", "cgroup.freeze"];

/// Adds everything but the devices.
pub(super) fn compile_limits(draft: &mut Draft<'_>, resources: &LinuxResources) {
    if let Some(pids) = resources.pids()
        && let Some(value) = draft.pids_max(pids.limit())
    {
        draft.write("pids", "pids.max", value, "pids.limit");
    }
    if let Some(memory) = resources.memory() {
        compile_memory(draft, memory);
    }
    if let Some(io) = resources.block_io() {
        compile_io(draft, io);
    }
    if let Some(cpu) = resources.cpu() {
        compile_cpu(draft, cpu);
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        compile_hugetlb(draft, limit, index);
    }
    if let Some(rdma) = resources.rdma() {
        compile_rdma(draft, rdma);
    }
    if let Some(network) = resources.network() {
        if network.class_id().is_some_and(|class| class != 0) {
            draft.warn("network.classID", "ignored: cgroup v2 has no network classes");
        }
        if network.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            draft.warn("network.priorities", "ignored: cgroup v2 has no network priorities");
        }
    }
    // Last, so that they win over the settings above (as in runc).
    if let Some(unified) = resources.unified() {
        compile_unified(draft, unified);
    }
}

fn compile_memory(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    let limit = draft.bytes("memory.limit", memory.limit());
    let swap = draft.bytes("memory.swap", memory.swap());
    let reservation = draft.bytes("memory.reservation", memory.reservation());
    if memory.check_before_update() == Some(true) && (limit > 0 || swap > 0) {
        draft.limits.memory_check = Some(MemoryCheck { limit, swap });
    }
    // An update may speak of swap alone: then the limit in force counts.
    let limit_in_force = if limit == 0 { draft.now.memory_max.unwrap_or(0) } else { limit };
    match convert::swap_v2(limit_in_force, swap) {
        Ok(Some(value)) => {
            // Without swap accounting nothing is swapped out beyond what is asked for.
            let harmless = matches!(value.as_str(), "max" | "0");
            let setting = if swap == 0 { "memory.limit" } else { "memory.swap" };
            let write = draft.write("memory", "memory.swap.max", value, setting);
            if harmless {
                write.if_missing = IfMissing::Ignore;
            }
        }
        Ok(None) => {}
        Err(message) => draft.error("memory.swap", message),
    }
    if limit != 0 {
        draft.write("memory", "memory.max", convert::max_or(limit), "memory.limit");
    }
    if reservation != 0 {
        draft.write("memory", "memory.low", convert::max_or(reservation), "memory.reservation");
    }
    for (setting, value) in [("memory.kernel", memory.kernel()), ("memory.kernelTCP", memory.kernel_tcp())] {
        if value.is_some_and(|value| value > 0) {
            draft.warn(setting, "ignored: kernel memory is part of memory.limit");
        }
    }
    if memory.swappiness().is_some() {
        draft.warn("memory.swappiness", "ignored: cgroup v2 has no swappiness");
    }
    if memory.disable_oom_killer() == Some(true) {
        draft.warn("memory.disableOOMKiller", "ignored: cgroup v2 cannot disable the OOM killer");
    }
    if memory.use_hierarchy() == Some(false) {
        draft.warn("memory.useHierarchy", "ignored: cgroup v2 is always hierarchical");
    }
}

fn compile_cpu(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    let idle = cpu.idle().inspect(|idle| {
        if !matches!(idle, 0 | 1) {
            draft.error("cpu.idle", format!("{idle} is neither 0 nor 1"));
        }
    });
    // An idle cgroup refuses a weight: leave that state before setting one, enter it after.
    if idle == Some(0) {
        draft.write("cpu", "cpu.idle", 0, "cpu.idle");
    }
    if let Some(weight) = cpu.shares().and_then(convert::weight_of_shares) {
        draft.write("cpu", "cpu.weight", weight, "cpu.shares");
    }
    if idle == Some(1) {
        draft.write("cpu", "cpu.idle", 1, "cpu.idle");
    }
    let (quota, period) = (cpu.quota().unwrap_or(0), cpu.period().unwrap_or(0));
    let period = if period == 0 && quota != 0 { draft.now.cpu_period.unwrap_or(0) } else { period };
    let max = convert::cpu_max(quota, period, draft.now.cpu_quota);
    if let Some(burst) = cpu.burst() {
        // The kernel wants burst <= quota at all times: whichever must come first.
        draft.write("cpu", "cpu.max.burst", burst, "cpu.burst").retry = true;
    }
    if let Some(value) = max {
        draft.write("cpu", "cpu.max", value, if quota == 0 { "cpu.period" } else { "cpu.quota" });
    }
    if cpu.realtime_runtime().is_some_and(|value| value != 0) {
        draft.warn("cpu.realtimeRuntime", "ignored: cgroup v2 has no real-time limits");
    }
    if cpu.realtime_period().is_some_and(|value| value != 0) {
        draft.warn("cpu.realtimePeriod", "ignored: cgroup v2 has no real-time limits");
    }
    compile_cpuset(draft, cpu);
}

/// `cpuset.cpus` and `cpuset.mems` are spelled alike in both versions.
pub(super) fn compile_cpuset(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    for (file, setting, value) in [("cpuset.cpus", "cpu.cpus", cpu.cpus()), ("cpuset.mems", "cpu.mems", cpu.mems())] {
        let Some(value) = value.as_deref().filter(|value| !value.is_empty()) else { continue };
        if value.trim().bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b',' | b':' | b'/' | b' ')) {
            draft.write("cpuset", file, value, setting);
        } else {
            draft.error(setting, format!("{value:?} is not a list such as 0-3,7"));
        }
    }
}

/// A blkio weight in its range; 0 means unset.
pub(super) fn weight(draft: &mut Draft<'_>, setting: &str, weight: Option<u16>) -> Option<u16> {
    let weight = weight.filter(|weight| *weight != 0)?;
    if convert::BLKIO_WEIGHT.contains(&weight) {
        return Some(weight);
    }
    draft.error(setting, format!("weight {weight} is not between 10 and 1000"));
    None
}

fn compile_io(draft: &mut Draft<'_>, io: &LinuxBlockIo) {
    if let Some(weight) = weight(draft, "blockIO.weight", io.weight()) {
        let value = convert::io_weight(weight).to_string();
        draft.write("io", "io.bfq.weight", weight, "blockIO.weight").if_missing =
            IfMissing::Else { file: "io.weight".to_owned(), value };
    }
    if io.leaf_weight().is_some_and(|weight| weight != 0) {
        draft.warn("blockIO.leafWeight", "ignored: cgroup v2 has no leaf weights");
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let setting = format!("blockIO.weightDevice[{index}].weight");
        if let Some(weight) = weight(draft, &setting, device.weight()) {
            let number = format!("{}:{}", device.major(), device.minor());
            let value = format!("{number} {}", convert::io_weight(weight));
            draft.write("io", "io.bfq.weight", format!("{number} {weight}"), &setting).if_missing =
                IfMissing::Else { file: "io.weight".to_owned(), value };
        }
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            let setting = format!("blockIO.weightDevice[{index}].leafWeight");
            draft.warn(&setting, "ignored: cgroup v2 has no leaf weights");
        }
    }
    // One line per device with all its limits: one write instead of four.
    let mut lines: BTreeMap<(i64, i64), (String, String)> = BTreeMap::new();
    for (key, setting, list) in throttles(io) {
        for (index, device) in list.iter().flatten().enumerate() {
            let path = format!("{setting}[{index}]");
            let (line, _) = lines.entry((device.major(), device.minor())).or_insert((String::new(), path));
            line.push_str(&format!(" {key}={}", rate(device.rate())));
        }
    }
    for ((major, minor), (line, setting)) in lines {
        draft.write("io", "io.max", format!("{major}:{minor}{line}"), &setting);
    }
}

/// A rate for `io.max`, where 0 would be an error: it means no limit on version 1.
fn rate(rate: u64) -> String {
    if rate == 0 { "max".to_owned() } else { rate.to_string() }
}

type Throttles<'a> = [(&'static str, &'static str, &'a Option<Vec<LinuxThrottleDevice>>); 4];

/// The four kinds of throttling: version 2's key, the setting, the list.
pub(super) fn throttles(io: &LinuxBlockIo) -> Throttles<'_> {
    [
        ("rbps", "blockIO.throttleReadBpsDevice", io.throttle_read_bps_device()),
        ("wbps", "blockIO.throttleWriteBpsDevice", io.throttle_write_bps_device()),
        ("riops", "blockIO.throttleReadIOPSDevice", io.throttle_read_iops_device()),
        ("wiops", "blockIO.throttleWriteIOPSDevice", io.throttle_write_iops_device()),
    ]
}

fn compile_hugetlb(draft: &mut Draft<'_>, limit: &LinuxHugepageLimit, index: usize) {
    let setting = format!("hugepageLimits[{index}]");
    if let Some((size, limit)) = hugetlb(draft, limit, &setting) {
        draft.write("hugetlb", format!("hugetlb.{size}.max"), &limit, &setting);
        // Reservations are limited too where the kernel can (5.7).
        draft.write("hugetlb", format!("hugetlb.{size}.rsvd.max"), limit, &setting).if_missing = IfMissing::Ignore;
    }
}

/// Checks a huge page limit: the size is part of a file's name.
pub(super) fn hugetlb<'a>(
    draft: &mut Draft<'_>,
    limit: &'a LinuxHugepageLimit,
    setting: &str,
) -> Option<(&'a str, String)> {
    let size = limit.page_size();
    if !convert::is_page_size(size) {
        draft.error(&format!("{setting}.pageSize"), format!("{size:?} is not a page size such as 2MB"));
        return None;
    }
    if limit.limit() < 0 {
        draft.error(&format!("{setting}.limit"), format!("{} is not a number of bytes", limit.limit()));
        return None;
    }
    Some((size, limit.limit().to_string()))
}

/// `rdma.max` is the same in both versions.
pub(super) fn compile_rdma(draft: &mut Draft<'_>, rdma: &HashMap<String, LinuxRdma>) {
    for (device, limit) in rdma.iter().collect::<BTreeMap<_, _>>() {
        let setting = format!("rdma.{device}");
        if device.is_empty() || device.contains([' ', '\n', '\0']) {
            draft.error(&setting, format!("{device:?} is not the name of a device"));
            continue;
        }
        let mut line = device.clone();
        if let Some(handles) = limit.hca_handles() {
            line.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limit.hca_objects() {
            line.push_str(&format!(" hca_object={objects}"));
        }
        if line.len() == device.len() {
            draft.error(&setting, "neither hcaHandles nor hcaObjects is set");
            continue;
        }
        draft.write("rdma", "rdma.max", line, &setting);
    }
}

fn compile_unified(draft: &mut Draft<'_>, unified: &HashMap<String, String>) {
    for (file, value) in unified.iter().collect::<BTreeMap<_, _>>() {
        let setting = format!("unified.{file}");
        if file.contains(['/', '\0']) {
            draft.error(&setting, format!("unified resource {file:?} must be a file name (no slashes)"));
            continue;
        }
        let Some((controller, parameter)) = file.split_once('.') else {
            draft.error(&setting, format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER"));
            continue;
        };
        if controller.is_empty() || parameter.is_empty() {
            draft.error(&setting, format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER"));
            continue;
        }
        if NOT_LIMITS.contains(&file.as_str()) {
            draft.error(&setting, format!("unified resource {file:?} is not a limit"));
            continue;
        }
        for line in value.lines().filter(|line| !line.is_empty()) {
            draft.write(controller, file, line, &setting);
        }
    }
}
