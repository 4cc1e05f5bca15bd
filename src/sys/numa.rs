//! Where a process runs and where its memory comes from.

use super::{Result, syscall};

/// set_mempolicy(2) of this thread; `nodes` is a mask, empty for none.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<()> {
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the mask is null, or valid for reading the bits named, and only read.
    unsafe { syscall!(libc::SYS_set_mempolicy, mode, mask, bits) }.map(drop)
}

/// sched_setaffinity(2) of this thread; `cpus` is a mask.
pub fn set_cpu_affinity(cpus: &[u64]) -> Result<()> {
    // SAFETY: the mask is valid for reading its length, and only read.
    unsafe { syscall!(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) }.map(drop)
}

/// sched_getaffinity(2) of this thread.
pub fn cpu_affinity() -> Result<Vec<u64>> {
    let mut cpus = vec![0u64; 128];
    // SAFETY: the mask is valid for writing its length.
    let bytes = unsafe { syscall!(libc::SYS_sched_getaffinity, 0, size_of_val(&cpus[..]), cpus.as_mut_ptr()) }?;
    cpus.truncate(bytes.div_ceil(8));
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_what_is() {
        // A thread's own: other tests do not see it.
        let before = cpu_affinity().expect("affinity");
        assert!(before.iter().any(|word| *word != 0));
        set_cpu_affinity(&before).expect("the same again");
        assert_eq!(cpu_affinity().expect("affinity"), before);
        assert_eq!(set_cpu_affinity(&[0]), Err(nix::errno::Errno::EINVAL));
        assert_eq!(set_memory_policy(0, &[]), Ok(()));
    }
}
