//! Classic BPF as seccomp(2) takes it: instructions, the kernel's check of a program, and an interpreter.
//!
//! The check and the interpreter follow `bpf_check_classic` and `seccomp_check_filter` (Linux net/core/filter.c and
//! kernel/seccomp.c), so a program that [`check`] passes loads, and [`simulate`] gives the kernel's verdict.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Insn {
    /// Operation: class, size or operation, mode or source.
    pub code: u16,
    /// Instructions to skip when a condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

impl Insn {
    /// As the kernel lays it out, for [`load`](crate::sys::seccomp::load).
    #[must_use]
    pub fn word(self) -> u64 {
        let [c0, c1] = self.code.to_ne_bytes();
        let [k0, k1, k2, k3] = self.k.to_ne_bytes();
        u64::from_ne_bytes([c0, c1, self.jt, self.jf, k0, k1, k2, k3])
    }
}

/// Most instructions the kernel takes in one program (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// Scratch words of the machine (`BPF_MEMWORDS`).
const MEMORY: usize = 16;

/// Operation codes that seccomp accepts (linux/bpf_common.h).
pub(super) mod code {
    pub(in crate::seccomp) const LD_ABS: u16 = 0x20;
    pub(in crate::seccomp) const JA: u16 = 0x05;
    pub(in crate::seccomp) const JEQ: u16 = 0x15;
    pub(in crate::seccomp) const JGT: u16 = 0x25;
    pub(in crate::seccomp) const JGE: u16 = 0x35;
    pub(in crate::seccomp) const JSET: u16 = 0x45;
    pub(in crate::seccomp) const RET: u16 = 0x06;
    pub(in crate::seccomp) const AND: u16 = 0x54;
}

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
pub(super) mod offset {
    pub(in crate::seccomp) const NR: u32 = 0;
    pub(in crate::seccomp) const ARCH: u32 = 4;
    pub(in crate::seccomp) const ARGS: u32 = 16;
    pub(in crate::seccomp) const END: u32 = 64;
}

/// What a filter looks at: the kernel's `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// System call number; x32 calls have bit 30 set.
    pub nr: u32,
    /// `AUDIT_ARCH_*` of the calling convention.
    pub arch: u32,
    /// Where the call was made from.
    pub instruction_pointer: u64,
    /// The six argument registers, zero-extended for 32-bit callers.
    pub args: [u64; 6],
}

impl Data {
    /// The 32-bit word at byte offset `at`, in the byte order `arch` says it has.
    fn word(&self, at: u32) -> u32 {
        const LITTLE_ENDIAN: u32 = 0x4000_0000; // __AUDIT_ARCH_LE
        match at {
            offset::NR => self.nr,
            offset::ARCH => self.arch,
            _ => {
                let index = (at - 8) / 8;
                let whole = match index {
                    0 => self.instruction_pointer,
                    1..=6 => self.args[usize::try_from(index - 1).unwrap_or(0)],
                    _ => 0,
                };
                let [low, high] = halves(whole);
                if at.is_multiple_of(8) == (self.arch & LITTLE_ENDIAN != 0) { low } else { high }
            }
        }
    }
}

/// Low and high word of a 64-bit value.
#[allow(clippy::cast_possible_truncation, reason = "taking the two halves is the point")]
pub(super) fn halves(whole: u64) -> [u32; 2] {
    [whole as u32, (whole >> 32) as u32]
}

/// Why a program is none the kernel would load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgram {
    /// No instruction, or more than [`MAX_INSNS`].
    #[error("a filter has 1 to 4096 instructions, not {0}")]
    Length(usize),
    /// The operation is none that seccomp allows.
    #[error("instruction {at}: operation {code:#06x} is not allowed in a seccomp filter")]
    Operation {
        /// Index of the instruction.
        at: usize,
        /// Its operation.
        code: u16,
    },
    /// A jump leaves the program.
    #[error("instruction {0}: jump out of the program")]
    Jump(usize),
    /// An operand the operation cannot have: a bad offset, division by zero, a shift of 32 or more, no such memory word.
    #[error("instruction {0}: operand out of range")]
    Operand(usize),
    /// A memory word is read that may not have been written.
    #[error("instruction {0}: memory word read before it is written")]
    Uninitialised(usize),
    /// The last instruction is no return.
    #[error("the last instruction is not a return")]
    NoReturn,
}

/// Checks a program as the kernel does before it takes a filter.
///
/// # Errors
/// The first reason why the kernel would answer EINVAL.
pub fn check(insns: &[Insn]) -> Result<(), InvalidProgram> {
    if insns.is_empty() || insns.len() > MAX_INSNS {
        return Err(InvalidProgram::Length(insns.len()));
    }
    for (at, insn) in insns.iter().enumerate() {
        let left = insns.len() - at - 1;
        let operand = match insn.code {
            0x20 => insn.k < offset::END && insn.k.is_multiple_of(4),
            // ld and ldx: length, immediate; ret: constant and accumulator; tax, txa; arithmetic without a bad operand.
            0x80 | 0x81 | 0x00 | 0x01 | 0x06 | 0x16 | 0x07 | 0x87 => true,
            0x04 | 0x0c | 0x14 | 0x1c | 0x24 | 0x2c | 0x3c | 0x44 | 0x4c | 0x54 | 0x5c | 0xa4 | 0xac => true,
            0x6c | 0x7c | 0x84 => true,
            0x34 => insn.k != 0,
            0x64 | 0x74 => insn.k < 32,
            0x60 | 0x61 | 0x02 | 0x03 => usize::try_from(insn.k).is_ok_and(|k| k < MEMORY),
            0x05 => {
                if usize::try_from(insn.k).is_ok_and(|k| k < left) {
                    true
                } else {
                    return Err(InvalidProgram::Jump(at));
                }
            }
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                if usize::from(insn.jt.max(insn.jf)) >= left {
                    return Err(InvalidProgram::Jump(at));
                }
                true
            }
            code => return Err(InvalidProgram::Operation { at, code }),
        };
        if !operand {
            return Err(InvalidProgram::Operand(at));
        }
    }
    match insns.last() {
        Some(Insn { code: 0x06 | 0x16, .. }) => check_memory(insns),
        _ => Err(InvalidProgram::NoReturn),
    }
}

/// Every memory word that is read has been written on every way there (`check_load_and_stores`).
fn check_memory(insns: &[Insn]) -> Result<(), InvalidProgram> {
    let mut known = vec![u16::MAX; insns.len()];
    let mut written = 0u16;
    for (at, insn) in insns.iter().enumerate() {
        written &= known[at];
        let mut meet = |skip: usize, written: u16| known[at + 1 + skip] &= written;
        match insn.code {
            0x02 | 0x03 => written |= 1 << insn.k,
            0x60 | 0x61 if written & (1 << insn.k) == 0 => return Err(InvalidProgram::Uninitialised(at)),
            0x05 => {
                meet(usize::try_from(insn.k).unwrap_or(0), written);
                written = u16::MAX;
            }
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                meet(usize::from(insn.jt), written);
                meet(usize::from(insn.jf), written);
                written = u16::MAX;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Runs a program over one system call and gives its verdict: a `SECCOMP_RET_*` value with its data.
///
/// # Errors
/// When the kernel would not load the program: see [`check`].
pub fn simulate(insns: &[Insn], data: &Data) -> Result<u32, InvalidProgram> {
    check(insns)?;
    Ok(run(insns, data).0)
}

/// Runs a checked program; gives the verdict and the number of instructions it took.
pub(super) fn run(insns: &[Insn], data: &Data) -> (u32, usize) {
    let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
    let (mut at, mut steps) = (0usize, 0usize);
    while let Some(insn) = insns.get(at) {
        steps += 1;
        at += 1;
        let k = insn.k;
        let word = usize::try_from(k).unwrap_or(0) % MEMORY;
        let source = if insn.code & 0x08 == 0 { k } else { x };
        match insn.code {
            0x20 => a = data.word(k),
            0x80 => a = offset::END,
            0x81 => x = offset::END,
            0x00 => a = k,
            0x01 => x = k,
            0x60 => a = memory[word],
            0x61 => x = memory[word],
            0x02 => memory[word] = a,
            0x03 => memory[word] = x,
            0x07 => x = a,
            0x87 => a = x,
            0x04 | 0x0c => a = a.wrapping_add(source),
            0x14 | 0x1c => a = a.wrapping_sub(source),
            0x24 | 0x2c => a = a.wrapping_mul(source),
            // Division by a zero X ends the program with 0, the strictest verdict but one.
            0x34 | 0x3c => match a.checked_div(source) {
                Some(quotient) => a = quotient,
                None => return (0, steps),
            },
            0x44 | 0x4c => a |= source,
            0x54 | 0x5c => a &= source,
            0xa4 | 0xac => a ^= source,
            0x64 | 0x6c => a = a.wrapping_shl(source),
            0x74 | 0x7c => a = a.wrapping_shr(source),
            0x84 => a = a.wrapping_neg(),
            0x05 => at += usize::try_from(k).unwrap_or(usize::MAX / 2),
            0x06 => return (k, steps),
            0x16 => return (a, steps),
            code => {
                let holds = match code & 0xf0 {
                    0x10 => a == source,
                    0x20 => a > source,
                    0x30 => a >= source,
                    _ => a & source != 0,
                };
                at += usize::from(if holds { insn.jt } else { insn.jf });
            }
        }
    }
    (0, steps) // not reached by a checked program: jumps go forward and the last instruction returns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> Insn {
        Insn { code, jt, jf, k }
    }

    const DATA: Data = Data {
        nr: 7,
        arch: 0xc000_003e,
        instruction_pointer: 0x1122_3344_5566_7788,
        args: [0x1_0000_0002, 0, 0, 0, 0, 0xaaaa_bbbb_cccc_dddd],
    };

    #[test]
    fn words_follow_the_byte_order_of_the_architecture() {
        let read = |data: &Data, k| simulate(&[insn(0x20, 0, 0, k), insn(0x16, 0, 0, 0)], data).unwrap();
        assert_eq!((read(&DATA, 0), read(&DATA, 4)), (7, 0xc000_003e));
        assert_eq!((read(&DATA, 8), read(&DATA, 12)), (0x5566_7788, 0x1122_3344));
        assert_eq!((read(&DATA, 16), read(&DATA, 20)), (2, 1));
        assert_eq!((read(&DATA, 56), read(&DATA, 60)), (0xcccc_dddd, 0xaaaa_bbbb));
        let big = Data { arch: 0x8000_0016, ..DATA };
        assert_eq!((read(&big, 16), read(&big, 20)), (1, 2));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let ret = insn(0x06, 0, 0, 0);
        let refused = |program: &[Insn]| check(program).unwrap_err();
        assert_eq!(refused(&[]), InvalidProgram::Length(0));
        assert_eq!(refused(&vec![ret; 4097]), InvalidProgram::Length(4097));
        assert_eq!(check(&vec![ret; 4096]), Ok(()));
        assert_eq!(refused(&[insn(0x20, 0, 0, 0)]), InvalidProgram::NoReturn);
        assert_eq!(refused(&[insn(0x20, 0, 0, 2), ret]), InvalidProgram::Operand(0));
        assert_eq!(refused(&[insn(0x20, 0, 0, 64), ret]), InvalidProgram::Operand(0));
        assert_eq!(refused(&[insn(0x34, 0, 0, 0), ret]), InvalidProgram::Operand(0));
        assert_eq!(refused(&[insn(0x74, 0, 0, 32), ret]), InvalidProgram::Operand(0));
        assert_eq!(refused(&[insn(0x02, 0, 0, 16), ret]), InvalidProgram::Operand(0));
        assert_eq!(refused(&[insn(0x28, 0, 0, 0), ret]), InvalidProgram::Operation { at: 0, code: 0x28 });
        assert_eq!(refused(&[insn(0x94, 0, 0, 3), ret]), InvalidProgram::Operation { at: 0, code: 0x94 });
        assert_eq!(refused(&[insn(0x15, 0, 1, 0), ret]), InvalidProgram::Jump(0));
        assert_eq!(refused(&[insn(0x05, 0, 0, 1), ret]), InvalidProgram::Jump(0));
        assert_eq!(refused(&[insn(0x05, 0, 0, u32::MAX), ret]), InvalidProgram::Jump(0));
        assert_eq!(refused(&[insn(0x60, 0, 0, 3), ret]), InvalidProgram::Uninitialised(0));
        // Written on one way only: the jump skips the store.
        let half = [insn(0x15, 1, 0, 0), insn(0x02, 0, 0, 0), insn(0x60, 0, 0, 0), insn(0x16, 0, 0, 0)];
        assert_eq!(refused(&half), InvalidProgram::Uninitialised(2));
    }

    #[test]
    fn arithmetic_and_memory() {
        let program = [
            insn(0x00, 0, 0, 10), // a = 10
            insn(0x02, 0, 0, 3),  // m[3] = a
            insn(0x61, 0, 0, 3),  // x = m[3]
            insn(0x0c, 0, 0, 0),  // a += x: 20
            insn(0x24, 0, 0, 3),  // a *= 3: 60
            insn(0x3c, 0, 0, 0),  // a /= x: 6
            insn(0x74, 0, 0, 1),  // a >>= 1: 3
            insn(0xa4, 0, 0, 1),  // a ^= 1: 2
            insn(0x45, 0, 1, 2),  // a & 2: fall through
            insn(0x16, 0, 0, 0),
            insn(0x06, 0, 0, 99),
        ];
        assert_eq!(simulate(&program, &DATA), Ok(2));
        let by_zero = [insn(0x00, 0, 0, 1), insn(0x3c, 0, 0, 0), insn(0x06, 0, 0, 5)];
        assert_eq!(simulate(&by_zero, &DATA), Ok(0));
    }
}
