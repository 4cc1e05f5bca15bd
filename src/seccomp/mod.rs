//! seccomp: a policy of config.json as a classic BPF program, generated here, without libseccomp.
//!
//! [`compile`] is pure: the same policy gives the same program everywhere. [`simulate`] runs a program over a system call as
//! the kernel does. What a policy means, and where that differs from libseccomp, is told in
//! `docs/decisions/0002-native-seccomp-generator.md`.
#![forbid(unsafe_code)]

mod abi;
mod action;
mod bpf;
mod codegen;
mod compose;
mod condition;
#[cfg(feature = "libseccomp")]
pub mod libseccomp;
mod multiplex;
mod notifying;
mod policy;
pub mod syscalls;
mod table;
mod tape;

pub use abi::{Abi, X32_BIT};
pub use bpf::{Data, Insn, InvalidProgram, MAX_INSNS, check, simulate};
pub use compose::compose;

pub use notifying::{NoNotice, Watched, notifying, only};
pub use policy::UNKNOWN_SYSCALL;

use crate::report::Diagnostic;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

/// Flags of seccomp(2) with `SECCOMP_SET_MODE_FILTER` (linux/seccomp.h).
pub mod flag {
    /// Log every action but ALLOW.
    pub const LOG: u32 = 1 << 1;
    /// Leave the Speculative Store Bypass mitigation off.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Return a descriptor for notifications.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Once a notification is received, only fatal signals interrupt its caller (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    /// Those that are about a listener.
    pub const LISTENING: u32 = NEW_LISTENER | WAIT_KILLABLE_RECV;
}

/// A filter ready for seccomp(2), and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The instructions; their layout is the kernel's `struct sock_filter`.
    pub insns: Vec<Insn>,
    /// Flags for seccomp(2): see [`flag`].
    pub flags: u32,
    /// Whether a rule notifies: seccomp(2) then returns a descriptor, which goes to the policy's `listenerPath`.
    pub notify: bool,
    /// Calling conventions the filter knows, the native one first; every other one is killed.
    pub abis: Vec<Abi>,
    /// What was asked for and is not done, or not as asked.
    pub warnings: Vec<Diagnostic>,
}

impl Program {
    /// A filter that allows everything.
    pub fn allowing(native: Abi) -> Self {
        let insns = vec![Insn { code: bpf::code::RET, jt: 0, jf: 0, k: action::ALLOW }];
        Self { insns, flags: flag::SPEC_ALLOW, notify: false, abis: vec![native], warnings: Vec::new() }
    }

    /// The filter's answer to a system call: a `SECCOMP_RET_*` value with its data.
    ///
    /// `arch` is the kernel's `AUDIT_ARCH_*` value ([`Abi::audit_arch`]), `nr` has bit 30 set for x32.
    pub fn verdict(&self, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
        self.verdict_at(arch, nr, 0, args)
    }

    /// As [`Program::verdict`], of a call made from a place that the program may look at.
    pub fn verdict_at(&self, arch: u32, nr: u32, instruction_pointer: u64, args: [u64; 6]) -> u32 {
        bpf::run(&self.insns, &Data { nr, arch, instruction_pointer, args }).0
    }

    /// How many instructions the kernel runs for that answer.
    pub fn steps(&self, arch: u32, nr: u32, args: [u64; 6]) -> usize {
        bpf::run(&self.insns, &Data { nr, arch, instruction_pointer: 0, args }).1
    }
}

/// Compiles a policy for the architecture this program runs on.
///
/// # Errors
/// Every reason why the policy cannot be applied, each with its JSON path.
pub fn compile(policy: &LinuxSeccomp) -> Result<Program, Vec<Diagnostic>> {
    match Abi::NATIVE {
        Some(native) => compile_for(native, policy),
        None => Err(vec![Diagnostic::error(policy::PATH, "seccomp is not supported on this architecture")]),
    }
}

/// Compiles a policy for a given native architecture.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(native: Abi, policy: &LinuxSeccomp) -> Result<Program, Vec<Diagnostic>> {
    compile_as(native, policy, policy::Order::Strictest)
}

/// Compiles a policy of our own, whose rules are tried in their order: the first whose conditions all hold gives the answer, and a
/// rule without conditions after others is for what they leave. config.json cannot say that, since runc would read it otherwise.
///
/// # Errors
/// As [`compile`].
pub fn compile_ordered(native: Abi, policy: &LinuxSeccomp) -> Result<Program, Vec<Diagnostic>> {
    compile_as(native, policy, policy::Order::First)
}

fn compile_as(native: Abi, policy: &LinuxSeccomp, order: policy::Order) -> Result<Program, Vec<Diagnostic>> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let abis = policy::abis(policy, native, &mut errors);
    let rules = policy::Rules::read(policy, order, &mut errors, &mut warnings);
    let (flags, notify) = check_flags(policy, &mut errors, &mut warnings);
    if !errors.is_empty() {
        return Err(errors);
    }
    let meaning = rules.resolve(&abis, &mut warnings);
    let insns = codegen::generate(&meaning);
    if insns.len() > MAX_INSNS {
        return Err(vec![
            Diagnostic::error(
                policy::PATH,
                format!("the filter needs {} instructions, the kernel takes at most {MAX_INSNS}", insns.len()),
            )
            .hint("use fewer conditions on arguments, or list fewer architectures"),
        ]);
    }
    debug_assert_eq!(check(&insns), Ok(()));
    Ok(Program { insns, flags, notify, abis, warnings })
}

/// The flags for seccomp(2), and whether there will be notifications.
fn check_flags(policy: &LinuxSeccomp, errors: &mut Vec<Diagnostic>, warnings: &mut Vec<Diagnostic>) -> (u32, bool) {
    let notify =
        policy.syscalls().iter().flatten().any(|syscall| syscall.action() == LinuxSeccompAction::ScmpActNotify);
    let mut flags = 0;
    match policy.flags() {
        // Without the member, runc asks for SPEC_ALLOW: since Linux 5.16 that is the kernel's own default.
        None => flags |= flag::SPEC_ALLOW,
        Some(named) => {
            for (at, name) in named.iter().enumerate() {
                flags |= match name {
                    LinuxSeccompFilterFlag::SeccompFilterFlagLog => flag::LOG,
                    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
                    // The filter is loaded by a process of one thread: there are no others to bring in line.
                    LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notify => flag::WAIT_KILLABLE_RECV,
                    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                        warnings.push(
                            Diagnostic::warning(
                                format!("{}.flags[{at}]", policy::PATH),
                                "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV ignored: no rule has SCMP_ACT_NOTIFY",
                            )
                            .hint("remove the flag: the kernel refuses it without a listener"),
                        );
                        0
                    }
                };
            }
        }
    }
    if notify {
        flags |= flag::NEW_LISTENER;
        if policy.listener_path().as_ref().is_none_or(|path| path.as_os_str().is_empty()) {
            errors.push(
                Diagnostic::error(format!("{}.listenerPath", policy::PATH), "seccomp listenerPath is not set")
                    .hint("SCMP_ACT_NOTIFY needs the socket of an agent that answers"),
            );
        }
    }
    (flags, notify)
}

#[cfg(test)]
mod tests;
