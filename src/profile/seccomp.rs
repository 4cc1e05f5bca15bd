//! The filter of a profile: an allow-list, narrowed by rules on arguments, through the same generator as config.json's.
#![forbid(unsafe_code)]

use super::format::{Comparison, Condition, Mode, Profile, Rule, Seccomp, SeccompRule};
use super::ports;
use super::values::{Answer, Family};
use crate::fences::{self, Fence};
use crate::report::Diagnostic;
use crate::seccomp::{Abi, Program, compile_ordered, syscalls};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use std::collections::BTreeMap;

/// Checks what the types cannot say; gives the key and what is wrong.
pub(super) fn check(seccomp: &Seccomp) -> Result<(), (String, String)> {
    for (at, rule) in seccomp.rules.iter().flatten().enumerate() {
        if rule.names.is_empty() {
            return Err((format!("seccomp.rules[{at}].names"), "there is no name".into()));
        }
        if rule.answer.is_none() && rule.args.is_empty() {
            let why = "a rule has an answer, or conditions on arguments, or both";
            return Err((format!("seccomp.rules[{at}]"), why.into()));
        }
        for (condition_at, condition) in rule.args.iter().enumerate() {
            let key = |key: &str| format!("seccomp.rules[{at}].args[{condition_at}].{key}");
            if condition.index > 5 {
                return Err((key("index"), "system calls have arguments 0 to 5".into()));
            }
            if (condition.op == Comparison::Masked) != condition.mask.is_some() {
                return Err((key("mask"), "a mask goes with op = \"masked\", and only with it".into()));
            }
            if condition.mask.is_some_and(|mask| condition.value & !mask != 0) {
                return Err((key("value"), "has bits that the mask leaves out: the condition could never hold".into()));
            }
        }
    }
    Ok(())
}

/// The filter that a profile asks for on this machine; `None` when it has no list of allowed calls.
///
/// With the mode `warn` for `seccomp`, what would be denied is allowed and logged by the kernel.
///
/// # Errors
/// When it would be larger than the kernel takes, or there are no tables for this architecture.
pub fn compile(profile: &Profile) -> Result<Option<Program>, Vec<Diagnostic>> {
    let Some(native) = Abi::NATIVE else {
        return Err(vec![Diagnostic::error("", "seccomp is not supported on this architecture")]);
    };
    compile_for(native, profile)
}

/// As [`compile`], for a given native architecture.
///
/// # Errors
/// As [`compile`].
pub(super) fn compile_for(native: Abi, profile: &Profile) -> Result<Option<Program>, Vec<Diagnostic>> {
    let only_log = profile.mode(Rule::Seccomp) == Mode::Warn;
    let fences = profile.seccomp.fences().flat_map(Fence::rules).map(SeccompRule::from);
    let listed = if profile.mode(Rule::Landlock) == Mode::Warn { Vec::new() } else { ports::rules(&profile.landlock) };
    let fences: Vec<SeccompRule> = fences.chain(listed).collect();
    let policy = match profile.seccomp.allow {
        Some(_) => policy(&profile.seccomp, &fences, native, only_log),
        None if fences.is_empty() => return Ok(None),
        None => fences_only(&fences, native, only_log),
    };
    let mut program = compile_ordered(native, &policy)?;
    // They are about a policy that is made here, not about anything the user wrote.
    program.warnings.clear();
    Ok(Some(program))
}

/// What a rule of the policy does.
type Said = (Action, Option<u32>);

const ALLOW: Said = (Action::ScmpActAllow, None);

/// The policy: every known call is named, so that what is left are the calls that came later, which answer ENOSYS.
fn policy(seccomp: &Seccomp, fences: &[SeccompRule], native: Abi, only_log: bool) -> LinuxSeccomp {
    let action = |answer| action(answer, only_log);
    let usual = seccomp.denied.unwrap_or(Answer::EPERM);
    let architectures = architectures(seccomp, native, only_log);
    let abis = std::iter::once(native).chain(architectures.iter().filter_map(|arch| Abi::from_oci(*arch)));
    let mut names: Vec<&str> = abis.flat_map(syscalls::on).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    // Calls that are answered alike, whatever their arguments are, share a rule.
    let mut plain: BTreeMap<(u32, u32), (Said, Vec<String>)> = BTreeMap::new();
    let mut rules = Vec::new();
    for name in names {
        let allowed = seccomp.allow.iter().flatten().any(|syscall| syscall.name() == name);
        // What is not allowed needs no fence, and keeps the answer that its callers know what to do about.
        let fences = fences.iter().filter(|_| allowed);
        let about: Vec<_> = fences.chain(seccomp.rules.iter().flatten()).filter(|rule| is_about(rule, name)).collect();
        let whatever = about.iter().rev().find(|rule| rule.args.is_empty()).and_then(|rule| rule.answer);
        let families = seccomp.families.as_ref().filter(|_| name == "socket" && allowed);
        let own = seccomp.answers.iter().flatten().find(|(syscall, _)| syscall.name() == name);
        let denied = action(own.map_or(usual, |(_, answer)| *answer));
        let said = match whatever {
            Some(answer) => action(answer),
            None if !allowed && own.is_none() && is_later(name, seccomp) => action(Answer::ENOSYS),
            None if !allowed => denied,
            None if about.is_empty() && families.is_none() => ALLOW,
            None => {
                if let Some(families) = families {
                    let other = action(seccomp.other_family.unwrap_or(Answer::EAFNOSUPPORT));
                    by_family(families.iter().copied(), &about, action, other, &mut rules);
                } else {
                    by_arguments(name, &about, action, denied, &mut rules);
                }
                continue;
            }
        };
        let key = (said.0 as u32, said.1.unwrap_or(0));
        plain.entry(key).or_insert_with(|| (said, Vec::new())).1.push(name.to_owned());
    }
    rules.extend(plain.into_values().map(|(said, names)| syscall(names, said, Vec::new())));
    let mut policy = LinuxSeccomp::default();
    let (usual, number) = action(usual);
    policy.set_default_action(usual);
    policy.set_default_errno_ret(number);
    policy.set_architectures(Some(architectures));
    policy.set_flags(Some(Vec::new()));
    policy.set_syscalls(Some(rules));
    policy
}

/// The policy of a profile without a list: in every calling convention of the machine, nothing is denied but what the
/// fences say.
fn fences_only(fences: &[SeccompRule], native: Abi, only_log: bool) -> LinuxSeccomp {
    let rules = fences.iter().filter_map(|rule| {
        let names = rule.names.iter().map(|name| name.name().to_owned()).collect();
        Some(syscall(names, action(rule.answer?, only_log), conditions(&rule.args)))
    });
    let mut policy = LinuxSeccomp::default();
    policy.set_default_action(Action::ScmpActAllow);
    policy.set_architectures(Some(architectures(&Seccomp::default(), native, true)));
    policy.set_flags(Some(Vec::new()));
    policy.set_syscalls(Some(rules.collect()));
    policy
}

fn action(answer: Answer, only_log: bool) -> Said {
    match answer {
        _ if only_log => (Action::ScmpActLog, None),
        Answer::Kill => (Action::ScmpActKillProcess, None),
        Answer::Errno(number) => (Action::ScmpActErrno, Some(number)),
    }
}

impl From<fences::Rule> for SeccompRule {
    fn from(rule: fences::Rule) -> Self {
        let condition = |masked: &fences::Masked| Condition {
            index: masked.index,
            op: Comparison::Masked,
            value: masked.value,
            mask: Some(masked.mask),
        };
        Self {
            names: rule.names.iter().filter_map(|name| name.parse().ok()).collect(),
            answer: Some(Answer::Errno(rule.errno.unsigned_abs())),
            args: rule.args.iter().map(condition).collect(),
        }
    }
}

/// Calling conventions beside the native one.
fn architectures(seccomp: &Seccomp, native: Abi, all: bool) -> Vec<Arch> {
    match native {
        Abi::X86_64 if all => vec![Arch::ScmpArchX86, Arch::ScmpArchX32],
        Abi::Aarch64 if all => vec![Arch::ScmpArchArm],
        // A profile is for every machine: of its list, what this one can run.
        _ => {
            let runs_here = |arch: &Arch| match (native, arch) {
                (Abi::X86_64, Arch::ScmpArchX86 | Arch::ScmpArchX32) | (Abi::Aarch64, Arch::ScmpArchArm) => true,
                (_, arch) => Abi::from_oci(*arch) == Some(native),
            };
            seccomp.architectures.iter().flatten().copied().filter(runs_here).collect()
        }
    }
}

fn is_about(rule: &SeccompRule, name: &str) -> bool {
    rule.names.iter().any(|syscall| syscall.name() == name)
}

/// Whether a call came with a kernel later than the profile's.
fn is_later(name: &str, seccomp: &Seccomp) -> bool {
    let since = syscalls::since(name);
    seccomp.kernel.zip(since).is_some_and(|(kernel, since)| since > (kernel.0, kernel.1))
}

/// What is denied under conditions comes first; then what is allowed under conditions, and only then.
fn by_arguments(
    name: &str,
    about: &[&SeccompRule],
    action: impl Fn(Answer) -> Said,
    denied: Said,
    rules: &mut Vec<LinuxSyscall>,
) {
    let named = || vec![name.to_owned()];
    for rule in about {
        if let Some(answer) = rule.answer {
            rules.push(syscall(named(), action(answer), conditions(&rule.args)));
        }
    }
    let mut only = false;
    for rule in about.iter().filter(|rule| rule.answer.is_none()) {
        rules.push(syscall(named(), ALLOW, conditions(&rule.args)));
        only = true;
    }
    rules.push(syscall(named(), if only { denied } else { ALLOW }, Vec::new()));
}

/// As [`by_arguments`], of what the families leave.
fn by_family(
    families: impl Iterator<Item = Family>,
    about: &[&SeccompRule],
    action: impl Fn(Answer) -> Said,
    other: Said,
    rules: &mut Vec<LinuxSyscall>,
) {
    let named = || vec!["socket".to_owned()];
    for rule in about {
        if let Some(answer) = rule.answer {
            rules.push(syscall(named(), action(answer), conditions(&rule.args)));
        }
    }
    let mut only: Vec<_> =
        about.iter().filter(|rule| rule.answer.is_none()).map(|rule| conditions(&rule.args)).collect();
    if only.is_empty() {
        only.push(Vec::new());
    }
    for family in families {
        for conditions in &only {
            let mut args = vec![argument(0, Operator::ScmpCmpEq, family.domain.into(), None)];
            args.extend(family.protocol.map(|protocol| argument(2, Operator::ScmpCmpEq, protocol.into(), None)));
            args.extend(conditions.iter().cloned());
            rules.push(syscall(named(), ALLOW, args));
        }
    }
    rules.push(syscall(named(), other, Vec::new()));
}

fn syscall(names: Vec<String>, (action, errno): Said, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names);
    rule.set_action(action);
    rule.set_errno_ret(errno);
    rule.set_args(Some(args).filter(|args| !args.is_empty()));
    rule
}

fn conditions(args: &[Condition]) -> Vec<LinuxSeccompArg> {
    let one = |condition: &Condition| {
        let (op, value, second) = match (condition.op, condition.mask) {
            (Comparison::Masked, mask) => (Operator::ScmpCmpMaskedEq, mask.unwrap_or(u64::MAX), Some(condition.value)),
            (Comparison::Eq, _) => (Operator::ScmpCmpEq, condition.value, None),
            (Comparison::Ne, _) => (Operator::ScmpCmpNe, condition.value, None),
            (Comparison::Lt, _) => (Operator::ScmpCmpLt, condition.value, None),
            (Comparison::Le, _) => (Operator::ScmpCmpLe, condition.value, None),
            (Comparison::Gt, _) => (Operator::ScmpCmpGt, condition.value, None),
            (Comparison::Ge, _) => (Operator::ScmpCmpGe, condition.value, None),
        };
        argument(usize::from(condition.index), op, value, second)
    };
    args.iter().map(one).collect()
}

fn argument(index: usize, op: Operator, value: u64, second: Option<u64>) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    let argument = match second {
        Some(second) => argument.value_two(second),
        None => argument,
    };
    argument.build().unwrap_or_else(|error| unreachable!("every member has a default: {error}"))
}
