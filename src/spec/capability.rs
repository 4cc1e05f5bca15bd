//! Capability names and bits: the specification's typed names, the kernel's numbers, and masks of both.
#![forbid(unsafe_code)]

use oci_spec::runtime::{Capabilities, Capability};

/// One table gives the order, the numbers and the names, so that they cannot disagree.
macro_rules! capabilities {
    ($($oci:ident => $kernel:ident),* $(,)?) => {
        /// Every known capability in the kernel's order: the index is the bit (`linux/capability.h`).
        pub const ALL: &[Capability] = &[$(Capability::$oci),*];

        /// The bit number of a capability, 0 to 40 (`linux/capability.h`).
        #[must_use]
        pub fn bit(capability: Capability) -> u8 {
            match capability { $(Capability::$oci => caps::Capability::$kernel.index()),* }
        }

        /// The canonical name of a capability, `CAP_CHOWN`.
        #[must_use]
        pub fn name(capability: Capability) -> &'static str {
            match capability { $(Capability::$oci => stringify!($kernel)),* }
        }
    };
}

capabilities! {
    Chown => CAP_CHOWN,
    DacOverride => CAP_DAC_OVERRIDE,
    DacReadSearch => CAP_DAC_READ_SEARCH,
    Fowner => CAP_FOWNER,
    Fsetid => CAP_FSETID,
    Kill => CAP_KILL,
    Setgid => CAP_SETGID,
    Setuid => CAP_SETUID,
    Setpcap => CAP_SETPCAP,
    LinuxImmutable => CAP_LINUX_IMMUTABLE,
    NetBindService => CAP_NET_BIND_SERVICE,
    NetBroadcast => CAP_NET_BROADCAST,
    NetAdmin => CAP_NET_ADMIN,
    NetRaw => CAP_NET_RAW,
    IpcLock => CAP_IPC_LOCK,
    IpcOwner => CAP_IPC_OWNER,
    SysModule => CAP_SYS_MODULE,
    SysRawio => CAP_SYS_RAWIO,
    SysChroot => CAP_SYS_CHROOT,
    SysPtrace => CAP_SYS_PTRACE,
    SysPacct => CAP_SYS_PACCT,
    SysAdmin => CAP_SYS_ADMIN,
    SysBoot => CAP_SYS_BOOT,
    SysNice => CAP_SYS_NICE,
    SysResource => CAP_SYS_RESOURCE,
    SysTime => CAP_SYS_TIME,
    SysTtyConfig => CAP_SYS_TTY_CONFIG,
    Mknod => CAP_MKNOD,
    Lease => CAP_LEASE,
    AuditWrite => CAP_AUDIT_WRITE,
    AuditControl => CAP_AUDIT_CONTROL,
    Setfcap => CAP_SETFCAP,
    MacOverride => CAP_MAC_OVERRIDE,
    MacAdmin => CAP_MAC_ADMIN,
    Syslog => CAP_SYSLOG,
    WakeAlarm => CAP_WAKE_ALARM,
    BlockSuspend => CAP_BLOCK_SUSPEND,
    AuditRead => CAP_AUDIT_READ,
    Perfmon => CAP_PERFMON,
    Bpf => CAP_BPF,
    CheckpointRestore => CAP_CHECKPOINT_RESTORE,
}

/// The capability with this bit number, or `None` when it is newer than this table.
#[must_use]
pub fn from_bit(bit: u8) -> Option<Capability> {
    ALL.get(usize::from(bit)).copied()
}

/// The capability of this name, in any case and with or without `CAP_`, as config.json and `--cap` may spell it.
#[must_use]
pub fn from_name(given: &str) -> Option<Capability> {
    let mut upper = given.to_ascii_uppercase();
    if !upper.starts_with("CAP_") {
        upper.insert_str(0, "CAP_");
    }
    ALL.iter().copied().find(|capability| name(*capability) == upper)
}

/// A set as the kernel's 64-bit mask (`capset(2)`, `/proc/PID/status`).
#[must_use]
pub fn mask(set: &Capabilities) -> u64 {
    set.iter().fold(0, |mask, capability| mask | 1 << bit(*capability))
}

/// The names in a mask in the kernel's order; a bit newer than this table is named by its number.
#[must_use]
pub fn names(mask: u64) -> Vec<String> {
    (0..64u8)
        .filter(|bit| mask & (1 << bit) != 0)
        .map(|bit| from_bit(bit).map_or_else(|| format!("CAP_{bit}"), |capability| name(capability).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_agrees_with_the_kernel_numbers() {
        assert_eq!(ALL.len(), 41);
        for (index, capability) in ALL.iter().enumerate() {
            assert_eq!(usize::from(bit(*capability)), index, "{capability}");
            assert_eq!(name(*capability), format!("CAP_{capability}"));
            assert_eq!(from_name(name(*capability)), Some(*capability));
        }
        assert_eq!(ALL.len(), caps::all().len());
    }

    #[test]
    fn masks_and_names() {
        let set = Capabilities::from([Capability::Chown, Capability::Kill, Capability::CheckpointRestore]);
        assert_eq!(mask(&set), 1 | 1 << 5 | 1 << 40);
        assert_eq!(names(mask(&set) | 1 << 63), ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE", "CAP_63"]);
        assert_eq!(from_name("sys_admin"), Some(Capability::SysAdmin));
        assert_eq!(from_name("CAP_NOPE"), None);
        assert_eq!(from_bit(41), None);
    }
}
