//! A filter that asks a supervisor where it would answer an error number, and on calls that are to be heard of.
#![forbid(unsafe_code)]

use super::bpf::{Insn, code, halves, offset};
use super::{MAX_INSNS, Program, action, flag};

/// A call that is notified of although the filter allows it, for reporting only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Its number on the native ABI.
    pub nr: u32,
    /// Only when this argument has any of these bits; `None`: always.
    pub only: Option<(u8, u64)>,
}

/// Why a filter cannot be made to notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNotice {
    /// The kernel gives a process one listener.
    #[error("the filter has a listener of its own (SCMP_ACT_NOTIFY)")]
    OwnListener,
    /// It would have more than [`MAX_INSNS`] instructions.
    #[error("the filter would need {0} instructions, the kernel takes at most 4096")]
    TooLong(usize),
    /// It does not return constants: not generated here.
    #[error("the filter computes what it returns")]
    Computed,
}

/// The same filter, but with `SECCOMP_RET_USER_NOTIF` where it answers an error number. What it kills or traps, it still
/// does. With `watched` calls, these are notified of where the filter allows them; the supervisor must let them go on.
/// `spared` calls of the native ABI are allowed, until [`only`] of the same calls is loaded on top.
///
/// Without either the result has as many instructions, and takes as many steps.
///
/// # Errors
/// When that is not possible; the filter is to be used as it is then.
pub fn notifying(program: &Program, watched: &[Watched], spared: &[u32]) -> Result<Program, NoNotice> {
    if program.notify {
        return Err(NoNotice::OwnListener);
    }
    if program.insns.iter().any(|insn| insn.code == RET_A) {
        return Err(NoNotice::Computed);
    }
    let arch = program.abis.first().map_or(0, |abi| abi.audit_arch());
    let little_endian = program.abis.first().is_none_or(|abi| abi.is_little_endian());
    let plain = replaced(&program.insns, false);
    let loud = if watched.is_empty() { Vec::new() } else { replaced(&program.insns, true) };
    let mut calls: Vec<_> = watched.iter().map(|call| (call.nr, Way::First, call.only)).collect();
    calls.splice(0..0, spared.iter().map(|nr| (*nr, Way::Allow, None)));
    let mut insns = Vec::with_capacity(plain.len());
    if !calls.is_empty() {
        let len = header_len(&calls) + loud.len() + plain.len();
        if len > MAX_INSNS {
            return Err(NoNotice::TooLong(len));
        }
        header(&mut insns, arch, &calls, little_endian, loud.len());
    }
    insns.extend(loud);
    insns.extend(plain);
    debug_assert_eq!(super::check(&insns), Ok(()));
    Ok(Program {
        insns,
        flags: program.flags | flag::NEW_LISTENER,
        notify: true,
        abis: program.abis.clone(),
        warnings: program.warnings.clone(),
    })
}

/// The filter for these calls of the native ABI only; everything else is allowed by it, and left to other filters.
///
/// # Errors
/// When it would be too long.
pub fn only(program: &Program, calls: &[u32]) -> Result<Program, NoNotice> {
    let arch = program.abis.first().map_or(0, |abi| abi.audit_arch());
    let calls: Vec<_> = calls.iter().map(|nr| (*nr, Way::First, None)).collect();
    let len = header_len(&calls) + program.insns.len() + 1;
    if len > MAX_INSNS {
        return Err(NoNotice::TooLong(len));
    }
    let mut insns = Vec::with_capacity(len);
    header(&mut insns, arch, &calls, true, program.insns.len());
    insns.extend(&program.insns);
    insns.push(Insn { code: code::RET, jt: 0, jf: 0, k: action::ALLOW });
    debug_assert_eq!(super::check(&insns), Ok(()));
    Ok(Program { insns, warnings: Vec::new(), ..program.clone() })
}

/// Returns what is in the accumulator.
const RET_A: u16 = 0x16;
const JSET: u16 = 0x45;
const ACTION: u32 = 0xffff_0000;

fn replaced(insns: &[Insn], allowed_too: bool) -> Vec<Insn> {
    let notify = |insn: &Insn| {
        insn.code == code::RET
            && (insn.k & ACTION == action::ERRNO || (allowed_too && insn.k & ACTION == action::ALLOW))
    };
    insns.iter().map(|insn| if notify(insn) { Insn { k: action::NOTIFY, ..*insn } } else { *insn }).collect()
}

/// The words of an argument that a mask concerns: offset and mask.
fn words((argument, mask): (u8, u64), little_endian: bool) -> impl Iterator<Item = (u32, u32)> {
    let first = offset::ARGS + 8 * u32::from(argument);
    let (low_word, high_word) = if little_endian { (first, first + 4) } else { (first + 4, first) };
    let [low, high] = halves(mask);
    [(low_word, low), (high_word, high)].into_iter().filter(|(_, mask)| *mask != 0)
}

/// Where a call goes from the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the first program behind it.
    First,
    /// Nowhere.
    Allow,
}

type Call = (u32, Way, Option<(u8, u64)>);

/// Instructions before the two programs.
fn header_len(calls: &[Call]) -> usize {
    let conditions = calls.iter().filter_map(|(_, _, only)| *only).map(|only| 3 * words(only, true).count() + 1);
    4 + calls.len() + 3 + conditions.sum::<usize>()
}

/// Sends calls their way; those that are not named, or do not meet their condition, go to the second program, which begins
/// `first_len` after the first.
fn header(insns: &mut Vec<Insn>, arch: u32, calls: &[Call], little_endian: bool, first_len: usize) {
    let len = header_len(calls);
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let to_first = |at: usize| insn(code::JA, 0, 0, number(len - at - 1));
    let to_second = |at: usize| insn(code::JA, 0, 0, number(len + first_len - at - 1));
    insns.push(insn(code::LD_ABS, 0, 0, offset::ARCH));
    insns.push(insn(code::JEQ, 1, 0, arch));
    insns.push(to_second(2));
    insns.push(insn(code::LD_ABS, 0, 0, offset::NR));
    // The conditions follow the list of numbers and the three ways out.
    let ways = insns.len() + calls.len();
    let mut condition = ways + 3;
    for (nr, way, only) in calls {
        let target = match (way, only) {
            (Way::Allow, _) => ways + 2,
            (Way::First, None) => ways + 1,
            (Way::First, Some(only)) => {
                let at = condition;
                condition += 3 * words(*only, little_endian).count() + 1;
                at
            }
        };
        // A list this long is a mistake, which the check of the program finds.
        let jump = u8::try_from(target - insns.len() - 1).unwrap_or(u8::MAX);
        insns.push(insn(code::JEQ, jump, 0, *nr));
    }
    insns.push(to_second(ways));
    insns.push(to_first(ways + 1));
    insns.push(insn(code::RET, 0, 0, action::ALLOW));
    for only in calls.iter().filter_map(|(_, _, only)| *only) {
        for (word, mask) in words(only, little_endian) {
            insns.push(insn(code::LD_ABS, 0, 0, word));
            insns.push(insn(JSET, 0, 1, mask));
            insns.push(to_first(insns.len()));
        }
        insns.push(to_second(insns.len()));
    }
    debug_assert_eq!(insns.len(), len);
}

#[cfg(test)]
mod tests {
    use super::super::{Abi, check, compile_for, syscalls};
    use super::*;
    use oci_spec::runtime::LinuxSeccomp;

    fn docker() -> Program {
        let policy = include_str!("../../tests/fixtures/docker-default-seccomp.json");
        let policy: LinuxSeccomp = serde_json::from_str(policy).expect("a policy");
        compile_for(Abi::X86_64, &policy).expect("a program")
    }

    /// Arguments that matter to some rule or condition.
    const ARGUMENTS: [[u64; 6]; 6] = [
        [0; 6],
        [0, 0, 0x41, 0, 1 << 40, 0],
        [16, 3, 0x8_0000, 1, 0, 0],
        [40, 1, 2, 2, 2, 2],
        [0x1000_0000, u64::MAX, u64::MAX, u64::MAX, u64::MAX, 9],
        [u64::MAX; 6],
    ];

    fn everything() -> impl Iterator<Item = (u32, u32, [u64; 6])> {
        let arches = [Abi::X86_64, Abi::X86, Abi::Aarch64].map(Abi::audit_arch);
        let numbers = (0..600).chain([0x4000_0000, 0x4000_0101, u32::MAX]);
        numbers.flat_map(move |nr| arches.into_iter().flat_map(move |arch| ARGUMENTS.map(|args| (arch, nr, args))))
    }

    #[test]
    fn error_numbers_become_notices_and_nothing_else_changes() {
        let program = docker();
        let asking = notifying(&program, &[], &[]).expect("a program");
        assert_eq!(asking.insns.len(), program.insns.len());
        for (arch, nr, args) in everything() {
            let (was, is) = (program.verdict(arch, nr, args), asking.verdict(arch, nr, args));
            let expected = if was & ACTION == action::ERRNO { action::NOTIFY } else { was };
            assert_eq!(is, expected, "{arch:x} {nr} {args:x?}");
            assert_eq!(program.steps(arch, nr, args), asking.steps(arch, nr, args));
        }
    }

    #[test]
    fn watched_calls_are_heard_of_and_no_others() {
        let program = docker();
        let nr = |name| syscalls::number(name, Abi::X86_64).expect("a call");
        let watched = [
            Watched { nr: nr("mkdir"), only: None },
            Watched { nr: nr("openat"), only: Some((2, 0x43)) },
            Watched { nr: nr("sendto"), only: Some((4, u64::MAX)) },
            Watched { nr: nr("mount"), only: None },
        ];
        let asking = notifying(&program, &watched, &[]).expect("a program");
        assert_eq!(check(&asking.insns), Ok(()));
        for (arch, number, args) in everything() {
            let (was, is) = (program.verdict(arch, number, args), asking.verdict(arch, number, args));
            let heard = arch == Abi::X86_64.audit_arch()
                && watched.iter().any(|call| {
                    call.nr == number && call.only.is_none_or(|(at, mask)| args[usize::from(at)] & mask != 0)
                });
            let notified = was & ACTION == action::ERRNO || (heard && was == action::ALLOW);
            assert_eq!(is, if notified { action::NOTIFY } else { was }, "{arch:x} {number} {args:x?}");
        }
    }

    #[test]
    fn what_was_spared_is_denied_by_the_rest() {
        let program = docker();
        let nr = |name| syscalls::number(name, Abi::X86_64).expect("a call");
        let spared = [nr("mount"), nr("personality"), nr("read"), nr("socket")];
        let watched = [Watched { nr: nr("mkdir"), only: None }];
        for watched in [&watched[..], &[]] {
            let first = notifying(&program, watched, &spared).expect("a program");
            let rest = only(&program, &spared).expect("a program");
            for (arch, number, args) in everything() {
                let was = program.verdict(arch, number, args);
                let (first, rest) = (first.verdict(arch, number, args), rest.verdict(arch, number, args));
                let strictest = if action::laxness(rest) < action::laxness(first) { rest } else { first };
                let is_spared = arch == Abi::X86_64.audit_arch() && spared.contains(&number);
                let heard = arch == Abi::X86_64.audit_arch() && watched.iter().any(|call| call.nr == number);
                let notified = !is_spared && (was & ACTION == action::ERRNO || (heard && was == action::ALLOW));
                assert_eq!(strictest, if notified { action::NOTIFY } else { was }, "{arch:x} {number} {args:x?}");
            }
        }
    }

    #[test]
    fn what_cannot_notify_says_why() {
        let program = docker();
        let listening = Program { notify: true, ..program.clone() };
        assert_eq!(notifying(&listening, &[], &[]), Err(NoNotice::OwnListener));
        let insns = vec![Insn { code: RET_A, jt: 0, jf: 0, k: 0 }];
        assert_eq!(notifying(&Program { insns, ..program.clone() }, &[], &[]), Err(NoNotice::Computed));
        let long = Program { insns: vec![program.insns[program.insns.len() - 1]; 3000], ..program };
        assert!(notifying(&long, &[], &[]).is_ok());
        let watched = [Watched { nr: 1, only: None }];
        assert_eq!(notifying(&long, &watched, &[]), Err(NoNotice::TooLong(6008)));
    }
}
