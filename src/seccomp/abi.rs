//! The calling conventions a filter tells apart.
#![forbid(unsafe_code)]

use oci_spec::runtime::Arch;
use serde::{Deserialize, Serialize};

/// A calling convention with its own system call numbers.
///
/// More than an architecture: x32 shares the kernel's audit value with x86-64 and differs by bit 30 of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are the architectures' names")]
pub enum Abi {
    X86_64,
    X32,
    X86,
    Arm,
    Aarch64,
    Riscv64,
    Loongarch64,
    S390,
    S390x,
    Ppc,
    Ppc64,
    Ppc64le,
    Mips,
    Mipsel,
    Mips64,
    Mipsel64,
    Mips64n32,
    Mipsel64n32,
}

/// Bit of a system call number that says x32 (`__X32_SYSCALL_BIT`).
pub const X32_BIT: u32 = 0x4000_0000;

impl Abi {
    /// Columns of the table of numbers; byte orders of one architecture share theirs.
    pub(super) const COLUMNS: usize = 14;

    /// Every ABI this library knows.
    pub const ALL: [Self; 18] = [
        Self::X86_64,
        Self::X32,
        Self::X86,
        Self::Arm,
        Self::Aarch64,
        Self::Riscv64,
        Self::Loongarch64,
        Self::S390,
        Self::S390x,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Mips,
        Self::Mipsel,
        Self::Mips64,
        Self::Mipsel64,
        Self::Mips64n32,
        Self::Mipsel64n32,
    ];

    /// What this program was compiled for, where seccomp filters are supported.
    pub const NATIVE: Option<Self> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "x86_64") {
        Some(Self::X32)
    } else if cfg!(target_arch = "x86") {
        Some(Self::X86)
    } else if cfg!(target_arch = "arm") {
        Some(Self::Arm)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else if cfg!(target_arch = "riscv64") {
        Some(Self::Riscv64)
    } else if cfg!(target_arch = "loongarch64") {
        Some(Self::Loongarch64)
    } else if cfg!(target_arch = "s390x") {
        Some(Self::S390x)
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        Some(Self::Ppc64le)
    } else if cfg!(target_arch = "powerpc64") {
        Some(Self::Ppc64)
    } else if cfg!(target_arch = "powerpc") {
        Some(Self::Ppc)
    } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
        Some(Self::Mipsel64)
    } else if cfg!(target_arch = "mips64") {
        Some(Self::Mips64)
    } else if cfg!(all(target_arch = "mips", target_endian = "little")) {
        Some(Self::Mipsel)
    } else if cfg!(target_arch = "mips") {
        Some(Self::Mips)
    } else {
        None
    };

    /// The ABI of a name in config.json; `None` for the native one and for architectures without tables here.
    pub fn from_oci(arch: Arch) -> Option<Self> {
        Some(match arch {
            Arch::ScmpArchX86_64 => Self::X86_64,
            Arch::ScmpArchX32 => Self::X32,
            Arch::ScmpArchX86 => Self::X86,
            Arch::ScmpArchArm => Self::Arm,
            Arch::ScmpArchAarch64 => Self::Aarch64,
            Arch::ScmpArchRiscv64 => Self::Riscv64,
            Arch::ScmpArchLoongarch64 => Self::Loongarch64,
            Arch::ScmpArchS390 => Self::S390,
            Arch::ScmpArchS390x => Self::S390x,
            Arch::ScmpArchPpc => Self::Ppc,
            Arch::ScmpArchPpc64 => Self::Ppc64,
            Arch::ScmpArchPpc64le => Self::Ppc64le,
            Arch::ScmpArchMips => Self::Mips,
            Arch::ScmpArchMipsel => Self::Mipsel,
            Arch::ScmpArchMips64 => Self::Mips64,
            Arch::ScmpArchMipsel64 => Self::Mipsel64,
            Arch::ScmpArchMips64n32 => Self::Mips64n32,
            Arch::ScmpArchMipsel64n32 => Self::Mipsel64n32,
            Arch::ScmpArchNative
            | Arch::ScmpArchParisc
            | Arch::ScmpArchParisc64
            | Arch::ScmpArchM68k
            | Arch::ScmpArchSh
            | Arch::ScmpArchSheb => return None,
        })
    }

    /// The kernel's name for it in `struct seccomp_data` (`AUDIT_ARCH_*`, linux/audit.h).
    pub fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Arm => 0x4000_0028,
            Self::Aarch64 => 0xc000_00b7,
            Self::Riscv64 => 0xc000_00f3,
            Self::Loongarch64 => 0xc000_0102,
            Self::S390 => 0x0000_0016,
            Self::S390x => 0x8000_0016,
            Self::Ppc => 0x0000_0014,
            Self::Ppc64 => 0x8000_0015,
            Self::Ppc64le => 0xc000_0015,
            Self::Mips => 0x0000_0008,
            Self::Mipsel => 0x4000_0008,
            Self::Mips64 => 0x8000_0008,
            Self::Mipsel64 => 0xc000_0008,
            Self::Mips64n32 => 0xa000_0008,
            Self::Mipsel64n32 => 0xe000_0008,
        }
    }

    /// What is added to every number of the table.
    pub fn base(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            Self::Mips | Self::Mipsel => 4000,
            Self::Mips64 | Self::Mipsel64 => 5000,
            Self::Mips64n32 | Self::Mipsel64n32 => 6000,
            _ => 0,
        }
    }

    /// Its column in the table of numbers.
    pub(super) fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X32 => 1,
            Self::X86 => 2,
            Self::Arm => 3,
            Self::Aarch64 => 4,
            Self::Riscv64 => 5,
            Self::Loongarch64 => 6,
            Self::S390 => 7,
            Self::S390x => 8,
            Self::Ppc => 9,
            Self::Ppc64 | Self::Ppc64le => 10,
            Self::Mips | Self::Mipsel => 11,
            Self::Mips64 | Self::Mipsel64 => 12,
            Self::Mips64n32 | Self::Mipsel64n32 => 13,
        }
    }

    /// Whether the low word of a register comes first in memory.
    pub fn is_little_endian(self) -> bool {
        self.audit_arch() & 0x4000_0000 != 0
    }

    /// Whether argument registers have 32 bits (the kernel zero-extends them for filters).
    ///
    /// Not so on x32 and MIPS n32, whose callers hand over whole registers.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Self::X86 | Self::Arm | Self::S390 | Self::Ppc | Self::Mips | Self::Mipsel)
    }

    /// Whether clone takes the stack before the flags (`CONFIG_CLONE_BACKWARDS2`).
    pub(super) fn swaps_clone(self) -> bool {
        matches!(self, Self::S390 | Self::S390x)
    }

    /// Whether socketcall and ipc carry the calls of their families here, as libseccomp has it.
    pub(super) fn multiplexes(self) -> bool {
        matches!(
            self,
            Self::X86 | Self::S390 | Self::S390x | Self::Ppc | Self::Ppc64 | Self::Ppc64le | Self::Mips | Self::Mipsel
        )
    }
}
