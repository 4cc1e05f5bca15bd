//! Properties of the seccomp generator over random policies, without root and without libseccomp.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod seccomp_support;

use pent::seccomp::{Abi, Program, check, compile_for, simulate, syscalls};
use proptest::prelude::*;
use seccomp_support::{Call, Reference, any_policy, calls, docker_default};

/// A policy's program says what the policy means, on every call worth trying.
fn assert_means(policy: &oci_spec::runtime::LinuxSeccomp, native: Abi) -> Result<(), TestCaseError> {
    let program = compile_for(native, policy).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
    prop_assert_eq!(check(&program.insns), Ok(()));
    let reference = Reference::new(policy, native);
    for call in calls(policy, native) {
        let (got, expected) = (ask(&program, call), reference.verdict(call));
        prop_assert_eq!(got, expected, "{:#x?}", call);
    }
    Ok(())
}

fn ask(program: &Program, call: Call) -> u32 {
    program.verdict(call.arch, call.nr, call.args)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_program_means_what_its_policy_says(
        policy in any_policy(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_NATIVE", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64"]),
    ) {
        assert_means(&policy, Abi::X86_64)?;
    }

    #[test]
    fn also_where_the_high_word_comes_first(
        policy in any_policy(&["SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PPC64", "SCMP_ARCH_PPC", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"]),
    ) {
        assert_means(&policy, Abi::S390x)?;
    }

    #[test]
    fn also_elsewhere(
        policy in any_policy(&["SCMP_ARCH_ARM", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_MIPSEL64"]),
    ) {
        assert_means(&policy, Abi::Aarch64)?;
    }

    /// Threat K: what the kernel cuts off an argument has no say in the verdict.
    #[test]
    fn bits_the_kernel_does_not_look_at_change_nothing(
        policy in any_policy(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"]),
        high in any::<[u64; 6]>(),
    ) {
        let program = compile_for(Abi::X86_64, &policy).expect("random policies compile");
        for abi in &program.abis {
            for (name, nr) in syscalls::on(*abi) {
                if !seccomp_support::rules(&policy).iter().any(|rule| rule.names().iter().any(|n| n == name)) {
                    continue;
                }
                for args in seccomp_support::arguments(&policy, Some(name)) {
                    let mut other = args;
                    for (index, argument) in other.iter_mut().enumerate() {
                        let bits = syscalls::argument_bits(name, *abi, index).expect("a known call");
                        if bits < 64 {
                            let width = u64::MAX >> (64 - bits);
                            *argument = *argument & width | high[index] & !width;
                        }
                    }
                    let arch = abi.audit_arch();
                    prop_assert_eq!(
                        program.verdict(arch, nr, args),
                        program.verdict(arch, nr, other),
                        "{} {:x?} {:x?}", name, args, other
                    );
                }
            }
        }
    }
}

#[test]
fn dockers_default_on_every_number_and_architecture() {
    let policy = docker_default();
    let program = compile_for(Abi::X86_64, &policy).expect("the profile compiles");
    let reference = Reference::new(&policy, Abi::X86_64);
    let arches: std::collections::BTreeSet<u32> = Abi::ALL.iter().map(|abi| abi.audit_arch()).collect();
    for arch in arches {
        for nr in (0..1100).chain(0x4000_0000..0x4000_0400).chain([0xf_0005, 0x3fff_ffff, 0x8000_0000, u32::MAX]) {
            let call = Call { arch, nr, args: [0; 6] };
            assert_eq!(ask(&program, call), reference.verdict(call), "{call:x?}");
        }
    }
    for call in calls(&policy, Abi::X86_64) {
        assert_eq!(ask(&program, call), reference.verdict(call), "{call:x?}");
    }
}

/// For every rule of Docker's profile: an integer argument with bit 32 set gets the verdict of its low word.
#[test]
fn dockers_default_is_not_evaded_by_high_bits() {
    let policy = docker_default();
    let program = compile_for(Abi::X86_64, &policy).expect("the profile compiles");
    let arch = Abi::X86_64.audit_arch();
    let mut denied = 0;
    for (name, index) in [("socket", 0), ("personality", 0), ("clone", 0)] {
        let nr = syscalls::number(name, Abi::X86_64).expect("a call of x86-64");
        for low in (0..64).chain(seccomp_support::EDGES).chain((0..32).map(|bit| 1 << bit)).map(|v| v & 0xffff_ffff) {
            let ask = |value| {
                let mut args = [0; 6];
                args[index] = value;
                simulate(&program.insns, &pent::seccomp::Data { nr, arch, instruction_pointer: 0, args })
                    .expect("a valid program")
            };
            denied += usize::from(ask(low) != seccomp_support::ALLOW);
            for high in [1 << 32, 1 << 63, 0xffff_ffff << 32] {
                assert_eq!(ask(low), ask(low | high), "{name} {low:#x} {high:#x}");
            }
        }
    }
    assert!(denied > 40, "{denied} calls denied");
}
