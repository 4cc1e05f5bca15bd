//! Lists of processors and memory nodes, as the kernel takes them: bit masks.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::op::{Child, Prepare};
use oci_spec::runtime::{ExecCPUAffinity, LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

/// More than any kernel is built for (`CONFIG_NR_CPUS` at most 8192, `CONFIG_NODES_SHIFT` at most 10).
const MAX_CPUS: usize = 8192;
const MAX_NODES: usize = 1024;

/// `0-3,7` as a mask, the lowest number first.
fn mask(list: &str, max: usize) -> Result<Vec<u64>, String> {
    let mut words = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{part:?} is not a number or a range"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= max {
            return Err(format!("{part:?} is not a range of numbers below {max}"));
        }
        words.resize(words.len().max(last / 64 + 1), 0u64);
        (first..=last).for_each(|n| words[n / 64] |= 1 << (n % 64));
    }
    Ok(words)
}

/// linux.memoryPolicy, for the process and all it starts (set_mempolicy(2)).
pub(super) fn memory_policy(b: &mut Builder<'_>, policy: &LinuxMemoryPolicy) {
    use MemoryPolicyModeType as Mode;
    let mode = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    });
    match mask(policy.nodes().as_deref().unwrap_or_default(), MAX_NODES) {
        Ok(nodes) => b.child.push(Child::SetMemoryPolicy { mode: mode | flags, nodes }),
        Err(why) => b.error("linux.memoryPolicy.nodes", why, "like 0-1,3"),
    }
}

/// process.execCPUAffinity: where the process is before it is in the container's cgroup, and after; without the latter,
/// wherever the cgroup lets it be.
pub(super) fn exec_affinity(b: &mut Builder<'_>, affinity: Option<&ExecCPUAffinity>) {
    let Some(affinity) = affinity else {
        b.child.push(Child::ResetCpuAffinity);
        return;
    };
    let mut cpus = |list: &Option<String>, path: &str| match mask(list.as_deref().unwrap_or_default(), MAX_CPUS) {
        Ok(cpus) => (!cpus.is_empty()).then_some(cpus),
        Err(why) => {
            b.error(path, why, "like 0-3,7");
            None
        }
    };
    let initial = cpus(affinity.initial(), "process.execCPUAffinity.initial");
    let last = cpus(affinity.cpu_affinity_final(), "process.execCPUAffinity.final");
    b.prepare.extend(initial.map(|cpus| Prepare::SetCpuAffinity { cpus }));
    b.child.push(last.map_or(Child::ResetCpuAffinity, |cpus| Child::SetCpuAffinity { cpus }));
}

/// A mask as a list again, for people.
pub(super) fn list(mask: &[u64]) -> String {
    let set = |n: usize| mask.get(n / 64).is_some_and(|word| word & 1 << (n % 64) != 0);
    let mut parts = Vec::new();
    let mut next = 0;
    while let Some(first) = (next..mask.len() * 64).find(|n| set(*n)) {
        let end = (first..).find(|n| !set(*n)).unwrap_or(first + 1);
        parts.push(if end == first + 1 { first.to_string() } else { format!("{first}-{}", end - 1) });
        next = end;
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_masks_and_lists_again() {
        for (text, words) in
            [("", &[][..]), ("0", &[1]), ("0-3,7", &[0x8f]), ("63,64", &[1 << 63, 1]), ("0-127", &[u64::MAX; 2])]
        {
            assert_eq!(mask(text, 1024).expect(text), words);
        }
        assert_eq!(mask(" 1, 3-4 ", 64).expect("blanks"), [0x1a]);
        for text in ["0-3,7", "63-64", "5", "0-127"] {
            assert_eq!(list(&mask(text, 1024).expect(text)), text);
        }
        for bad in ["1024", "3-1", "a", "1-", "-1"] {
            assert!(mask(bad, 1024).is_err(), "{bad}");
        }
    }
}
