//! libseccomp as a second backend, behind the cargo feature of the same name: the oracle of the differential tests.
//!
//! It is driven the way runc does: rules that say the same as the default are left out, several conditions on one argument
//! become alternatives, unknown names are skipped, and numbers above the largest one named get ENOSYS from a stub in front.
//! It compares whole registers, so it does not have this library's guard against arguments with high bits set.
#![forbid(unsafe_code)]

use super::bpf::{Insn, code, offset};
use super::{Abi, Program, action, check_flags, policy};
use crate::report::Diagnostic;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError,
};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use std::io::{Read, Seek};

/// Compiles a policy by way of libseccomp, for the architecture this program runs on.
///
/// # Errors
/// What makes the policy unusable, from this library's checks or from libseccomp.
pub fn compile(policy: &LinuxSeccomp) -> Result<Program, Vec<Diagnostic>> {
    let Some(native) = Abi::NATIVE else {
        return Err(vec![Diagnostic::error(policy::PATH, "seccomp is not supported on this architecture")]);
    };
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let abis = policy::abis(policy, native, &mut errors);
    policy::Rules::read(policy, policy::Order::Strictest, &mut errors, &mut Vec::new());
    let (flags, notify) = check_flags(policy, &mut errors, &mut warnings);
    if !errors.is_empty() {
        return Err(errors);
    }
    let failed = |path: String, why: String| vec![Diagnostic::error(path, why)];
    let mut insns = stub(policy, &abis);
    let filter = build(policy, &abis, &mut warnings)?;
    insns.extend(
        export(&filter).map_err(|why| failed(policy::PATH.to_owned(), format!("exporting the filter: {why}")))?,
    );
    Ok(Program { insns, flags, notify, abis, warnings })
}

/// The installed libseccomp's version.
pub fn version() -> (u32, u32, u32) {
    ::libseccomp::ScmpVersion::current().map_or((0, 0, 0), |version| (version.major, version.minor, version.micro))
}

/// Whether the installed libseccomp knows a system call by this name.
pub fn knows(name: &str) -> bool {
    ScmpSyscall::from_name(name).is_ok()
}

/// The number the installed libseccomp has for a system call, as the kernel reports it; `None` if the ABI has no such call.
pub fn number(name: &str, abi: Abi) -> Option<u32> {
    let number = ScmpSyscall::from_name_by_arch(name, arch(abi)?).ok()?.as_raw_syscall();
    u32::try_from(number).ok().or_else(|| unmultiplexed(name, abi))
}

/// libseccomp answers calls that are also carried by socketcall or ipc with a pseudo number; the direct number is found by
/// asking for the name of each.
fn unmultiplexed(name: &str, abi: Abi) -> Option<u32> {
    let arch = arch(abi)?;
    (0..600).map(|number| number + i32::try_from(abi.base()).unwrap_or(0)).find_map(|number| {
        let found = ScmpSyscall::from_raw_syscall(number).get_name_by_arch(arch).ok()?;
        if found == name { u32::try_from(number).ok() } else { None }
    })
}

fn arch(abi: Abi) -> Option<ScmpArch> {
    Some(match abi {
        Abi::X86_64 => ScmpArch::X8664,
        Abi::X32 => ScmpArch::X32,
        Abi::X86 => ScmpArch::X86,
        Abi::Arm => ScmpArch::Arm,
        Abi::Aarch64 => ScmpArch::Aarch64,
        Abi::Riscv64 => ScmpArch::Riscv64,
        Abi::Loongarch64 => ScmpArch::Loongarch64,
        Abi::S390 => ScmpArch::S390,
        Abi::S390x => ScmpArch::S390X,
        Abi::Ppc => ScmpArch::Ppc,
        Abi::Ppc64 => ScmpArch::Ppc64,
        Abi::Ppc64le => ScmpArch::Ppc64Le,
        Abi::Mips => ScmpArch::Mips,
        Abi::Mipsel => ScmpArch::Mipsel,
        Abi::Mips64 => ScmpArch::Mips64,
        Abi::Mipsel64 => ScmpArch::Mipsel64,
        Abi::Mips64n32 => ScmpArch::Mips64N32,
        Abi::Mipsel64n32 => ScmpArch::Mipsel64N32,
    })
}

fn action_of(value: u32) -> ScmpAction {
    let [data, _] = [value & 0xffff, value >> 16];
    match value & 0xffff_0000 {
        action::KILL_PROCESS => ScmpAction::KillProcess,
        action::KILL_THREAD => ScmpAction::KillThread,
        action::TRAP => ScmpAction::Trap,
        action::ERRNO => ScmpAction::Errno(i32::try_from(data).unwrap_or(0)),
        action::NOTIFY => ScmpAction::Notify,
        action::TRACE => ScmpAction::Trace(u16::try_from(data).unwrap_or(0)),
        action::LOG => ScmpAction::Log,
        _ => ScmpAction::Allow,
    }
}

fn value_of(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    action::value(action, errno).unwrap_or(action::KILL_PROCESS) // read before: it has a value
}

fn condition(condition: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, datum) = match condition.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, condition.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, condition.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, condition.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, condition.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, condition.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, condition.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(condition.value()), condition.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(u32::try_from(condition.index()).unwrap_or(u32::MAX), operator, datum)
}

fn build(
    policy: &LinuxSeccomp,
    abis: &[Abi],
    warnings: &mut Vec<Diagnostic>,
) -> Result<ScmpFilterContext, Vec<Diagnostic>> {
    let failed = |path: String, why: &SeccompError| vec![Diagnostic::error(path, why.to_string())];
    let default = value_of(policy.default_action(), policy.default_errno_ret());
    let mut filter = ScmpFilterContext::new(action_of(default)).map_err(|why| failed(policy::PATH.to_owned(), &why))?;
    for arch in abis.iter().skip(1).filter_map(|abi| arch(*abi)) {
        filter.add_arch(arch).map_err(|why| failed(format!("{}.architectures", policy::PATH), &why))?;
    }
    let rules: &[LinuxSyscall] = policy.syscalls().as_deref().unwrap_or_default();
    if rules.len() > 32 {
        filter.set_ctl_optimize(2).map_err(|why| failed(policy::PATH.to_owned(), &why))?;
    }
    for (at, rule) in rules.iter().enumerate() {
        let value = value_of(rule.action(), rule.errno_ret());
        let conditions: Vec<ScmpArgCompare> = rule.args().iter().flatten().map(condition).collect();
        let mut counts = [0; 6];
        rule.args().iter().flatten().for_each(|condition| counts[condition.index()] += 1);
        let alternatives: Vec<&[ScmpArgCompare]> =
            if counts.iter().any(|count| *count > 1) { conditions.chunks(1).collect() } else { vec![&conditions] };
        for (name_at, name) in rule.names().iter().enumerate() {
            let path = || format!("{}.syscalls[{at}].names[{name_at}]", policy::PATH);
            let Ok(syscall) = ScmpSyscall::from_name(name) else {
                warnings.push(Diagnostic::warning(path(), format!("unknown seccomp syscall {name:?} ignored")));
                continue;
            };
            if value == default {
                continue;
            }
            for alternative in &alternatives {
                if alternative.is_empty() {
                    filter.add_rule(action_of(value), syscall)
                } else {
                    filter.add_rule_conditional(action_of(value), syscall, alternative)
                }
                .map_err(|why| failed(path(), &why))?;
            }
        }
    }
    Ok(filter)
}

/// runc's stub: on every ABI, numbers above the largest one named get ENOSYS, unless the default action lets calls happen.
/// Numbers are this library's: libseccomp has only pseudo numbers for calls that socketcall also carries.
fn stub(policy: &LinuxSeccomp, abis: &[Abi]) -> Vec<Insn> {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    let mut insns = Vec::new();
    if !action::denies(value_of(policy.default_action(), policy.default_errno_ret())) {
        return insns;
    }
    for abi in abis {
        let names = policy.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
        let Some(largest) = names.filter_map(|name| super::syscalls::number(name, *abi)).max() else { continue };
        insns.push(insn(code::LD_ABS, 0, 0, offset::ARCH));
        let [first, last] = match abi {
            Abi::X86_64 => [0, super::X32_BIT - 1],
            Abi::X32 => [super::X32_BIT, u32::MAX],
            _ => [0, u32::MAX],
        };
        insns.push(insn(code::JEQ, 0, 5, abi.audit_arch()));
        insns.push(insn(code::LD_ABS, 0, 0, offset::NR));
        insns.push(insn(code::JGE, 0, 3, first));
        insns.push(insn(code::JGT, 2, 0, last));
        insns.push(insn(code::JGT, 0, 1, largest));
        insns.push(insn(code::RET, 0, 0, action::ENOSYS));
    }
    insns
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<Insn>, String> {
    let mut file = tempfile::tempfile().map_err(|why| why.to_string())?;
    filter.export_bpf(&file).map_err(|why| why.to_string())?;
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|why| why.to_string())?;
    let (insns, _) = bytes.as_chunks::<8>();
    Ok(insns
        .iter()
        .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Insn {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        })
        .collect())
}
