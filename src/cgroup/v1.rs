//! `linux.resources` as version 1 control files (the kernel's admin-guide/cgroup-v1).
#![forbid(unsafe_code)]

use super::convert;
use super::plan::{Draft, IfMissing, MemoryCheck};
use super::v2;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

/// Adds everything but the devices.
pub(super) fn compile_limits(draft: &mut Draft<'_>, resources: &LinuxResources) {
    if let Some(cpu) = resources.cpu() {
        v2::compile_cpuset(draft, cpu);
        compile_cpu(draft, cpu);
    }
    if let Some(memory) = resources.memory() {
        compile_memory(draft, memory);
    }
    if let Some(pids) = resources.pids()
        && let Some(value) = draft.pids_max(pids.limit())
    {
        draft.write("pids", "pids.max", value, "pids.limit");
    }
    if let Some(io) = resources.block_io() {
        compile_blkio(draft, io);
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let setting = format!("hugepageLimits[{index}]");
        if let Some((size, limit)) = v2::hugetlb(draft, limit, &setting) {
            draft.write("hugetlb", format!("hugetlb.{size}.limit_in_bytes"), &limit, &setting);
            // Reservations are limited too where the kernel can (5.7).
            draft.write("hugetlb", format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit, &setting).if_missing =
                IfMissing::Ignore;
        }
    }
    if let Some(rdma) = resources.rdma() {
        v2::compile_rdma(draft, rdma);
    }
    if let Some(network) = resources.network() {
        compile_network(draft, network);
    }
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        draft.error("unified", "invalid configuration: cannot use unified on cgroup v1");
    }
}

fn compile_cpu(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    // Real-time limits first: a real-time task cannot join a cgroup that has none.
    if let Some(period) = cpu.realtime_period().filter(|value| *value != 0) {
        draft.write("cpu", "cpu.rt_period_us", period, "cpu.realtimePeriod").retry = true;
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|value| *value != 0) {
        draft.write("cpu", "cpu.rt_runtime_us", runtime, "cpu.realtimeRuntime");
    }
    let idle = cpu.idle();
    if idle.is_some_and(|idle| !matches!(idle, 0 | 1)) {
        draft.error("cpu.idle", format!("{} is neither 0 nor 1", idle.unwrap_or_default()));
    }
    // An idle cgroup refuses shares: leave that state before setting them, enter it after.
    if idle == Some(0) {
        draft.write("cpu", "cpu.idle", 0, "cpu.idle");
    }
    // The kernel clamps what is out of range without a word.
    match cpu.shares().unwrap_or(0) {
        0 => {}
        shares if shares < *convert::SHARES.start() => {
            draft.error("cpu.shares", format!("the minimum allowed cpu-shares is {}", convert::SHARES.start()));
        }
        shares if shares > *convert::SHARES.end() => {
            draft.error("cpu.shares", format!("the maximum allowed cpu-shares is {}", convert::SHARES.end()));
        }
        shares => drop(draft.write("cpu", "cpu.shares", shares, "cpu.shares")),
    }
    if idle == Some(1) {
        draft.write("cpu", "cpu.idle", 1, "cpu.idle");
    }
    if let Some(burst) = cpu.burst() {
        draft.write("cpu", "cpu.cfs_burst_us", burst, "cpu.burst").retry = true;
    }
    if let Some(period) = cpu.period().filter(|value| *value != 0) {
        // A shorter period may make the old quota exceed the parent's: then the quota has to change first.
        draft.write("cpu", "cpu.cfs_period_us", period, "cpu.period").retry = true;
    }
    if let Some(quota) = cpu.quota().filter(|value| *value != 0) {
        draft.write("cpu", "cpu.cfs_quota_us", quota.max(-1), "cpu.quota");
    }
}

fn compile_memory(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    let limit = draft.bytes("memory.limit", memory.limit());
    let swap = draft.bytes("memory.swap", memory.swap());
    let reservation = draft.bytes("memory.reservation", memory.reservation());
    if memory.check_before_update() == Some(true) && (limit > 0 || swap > 0) {
        draft.limits.memory_check = Some(MemoryCheck { limit, swap });
    }
    if limit > 0 && swap > 0 && swap < limit {
        draft.error("memory.swap", "memory+swap limit should be >= memory limit");
    }
    if limit != 0 {
        // The kernel wants limit <= memory and swap at all times: whichever must come first.
        draft.write("memory", "memory.limit_in_bytes", limit, "memory.limit").retry = true;
    }
    // Unlimited memory without a word about swap makes swap unlimited too (as in runc).
    let (swap, setting) = if limit == -1 && swap == 0 { (-1, "memory.limit") } else { (swap, "memory.swap") };
    if swap != 0 {
        let write = draft.write("memory", "memory.memsw.limit_in_bytes", swap, setting);
        if swap == -1 {
            write.if_missing = IfMissing::Ignore;
        }
    }
    if reservation != 0 {
        draft.write("memory", "memory.soft_limit_in_bytes", reservation, "memory.reservation");
    }
    for (setting, value) in [("memory.kernel", memory.kernel()), ("memory.kernelTCP", memory.kernel_tcp())] {
        if value.is_some_and(|value| value > 0) {
            draft.warn(setting, "ignored: the kernel dropped limits of kernel memory");
        }
    }
    match memory.swappiness() {
        // -1 in callers' signed arithmetic: unset.
        None | Some(u64::MAX) => {}
        Some(value @ 0..=100) => drop(draft.write("memory", "memory.swappiness", value, "memory.swappiness")),
        Some(value) => {
            draft
                .error("memory.swappiness", format!("invalid memory swappiness value: {value} (valid range is 0-100)"));
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        draft.write("memory", "memory.oom_control", 1, "memory.disableOOMKiller");
    }
    if memory.use_hierarchy() == Some(false) {
        draft.warn("memory.useHierarchy", "ignored: memory is always accounted hierarchically");
    }
}

fn compile_blkio(draft: &mut Draft<'_>, io: &LinuxBlockIo) {
    if let Some(weight) = v2::weight(draft, "blockIO.weight", io.weight()) {
        draft.write("blkio", "blkio.weight", weight, "blockIO.weight").if_missing =
            IfMissing::Else { file: "blkio.bfq.weight".to_owned(), value: weight.to_string() };
    }
    if let Some(weight) = v2::weight(draft, "blockIO.leafWeight", io.leaf_weight()) {
        draft.write("blkio", "blkio.leaf_weight", weight, "blockIO.leafWeight");
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let number = format!("{}:{}", device.major(), device.minor());
        let setting = format!("blockIO.weightDevice[{index}].weight");
        if let Some(weight) = v2::weight(draft, &setting, device.weight()) {
            let value = format!("{number} {weight}");
            let write = draft.write("blkio", "blkio.weight_device", value.clone(), &setting);
            write.if_missing = IfMissing::Else { file: "blkio.bfq.weight_device".to_owned(), value };
        }
        let setting = format!("blockIO.weightDevice[{index}].leafWeight");
        if let Some(weight) = v2::weight(draft, &setting, device.leaf_weight()) {
            draft.write("blkio", "blkio.leaf_weight_device", format!("{number} {weight}"), &setting);
        }
    }
    for (key, setting, list) in v2::throttles(io) {
        let file = match key {
            "rbps" => "blkio.throttle.read_bps_device",
            "wbps" => "blkio.throttle.write_bps_device",
            "riops" => "blkio.throttle.read_iops_device",
            _ => "blkio.throttle.write_iops_device",
        };
        for (index, device) in list.iter().flatten().enumerate() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            draft.write("blkio", file, value, &format!("{setting}[{index}]"));
        }
    }
}

fn compile_network(draft: &mut Draft<'_>, network: &LinuxNetwork) {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        draft.write("net_cls", "net_cls.classid", class, "network.classID");
    }
    for (index, entry) in network.priorities().iter().flatten().enumerate() {
        let setting = format!("network.priorities[{index}]");
        if entry.name().is_empty() || entry.name().contains([' ', '\n', '\0']) {
            draft.error(&setting, format!("{:?} is not the name of an interface", entry.name()));
            continue;
        }
        draft.write("net_prio", "net_prio.ifpriomap", format!("{} {}", entry.name(), entry.priority()), &setting);
    }
}
