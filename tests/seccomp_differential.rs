//! The native seccomp generator against libseccomp: the same answer to every call, but for a list of known differences.
//!
//! Needs `--features libseccomp` and libseccomp-dev. Known differences, each with its reason in
//! `docs/decisions/0002-native-seccomp-generator.md`; nothing else may differ:
//!
//! 1. Bits of an argument the kernel does not look at: libseccomp compares them (64-bit ABIs), or loses those of a
//!    constant (32-bit ABIs, x32). Compared here with such bits clear.
//! 2. A call that came later than any the policy names gets ENOSYS, not the default action, also if its number is smaller
//!    than the largest one named. Calls of x32 and ARM that are numbered apart are neither larger nor later.
//! 3. Rules with conditions on calls made by socketcall or ipc, and the version half of ipc's first argument.
//! 4. Several rules with conditions on one call and different actions: the strictest counts; libseccomp's answer depends on
//!    the constants.
//! 5. (Defect of libseccomp, seen in 2.5.4.) Of several rules for one call, one with conditions on several arguments can keep
//!    another from being looked at.
//! 6. (Defect of libseccomp, seen in 2.5.4.) A call that a second ABI does not have can make it compare the architecture
//!    instead of the number for the next call there.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod seccomp_support;

use oci_spec::runtime::LinuxSeccomp;
use pent::seccomp::{Abi, Program, compile, libseccomp, syscalls};
use proptest::prelude::*;
use seccomp_support::{ACTIONS, Call, ENOSYS, Reference, calls, default_value, docker_default, is_apart, policy, rule};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A policy without the names the installed libseccomp does not know yet on one of its ABIs: it would skip them.
fn known_to_libseccomp(policy: &LinuxSeccomp) -> LinuxSeccomp {
    without(policy, |name, abi| libseccomp::number(name, abi) != syscalls::number(name, abi))
}

/// A policy without the names that one of its ABIs does not have (known difference 6); libseccomp leaves out those that x86
/// does not have, but not if socketcall or ipc carries them.
fn known_everywhere(policy: &LinuxSeccomp) -> LinuxSeccomp {
    without(policy, |name, abi| (abi != Abi::X86 || is_multiplexed(name)) && syscalls::number(name, abi).is_none())
}

fn without(policy: &LinuxSeccomp, is_unfit: impl Fn(&str, Abi) -> bool) -> LinuxSeccomp {
    let abis = compile(policy).expect("the policy compiles").abis;
    let is_known = |name: &str| !abis.iter().any(|abi| is_unfit(name, *abi));
    let mut json = serde_json::to_value(policy).expect("a policy is JSON");
    for rule in json["syscalls"].as_array_mut().into_iter().flatten() {
        let names = rule["names"].as_array_mut().expect("names are a list");
        names.retain(|name| name.as_str().is_some_and(is_known));
    }
    serde_json::from_value(json).expect("still a policy")
}

/// How the two programs differ on a call, if they do and it is not a known difference.
fn difference(
    policy: &LinuxSeccomp,
    reference: &Reference<'_>,
    ours: &Program,
    theirs: &Program,
    call: Call,
) -> Option<String> {
    let ask = |program: &Program| program.verdict(call.arch, call.nr, call.args);
    let (our, their) = (ask(ours), ask(theirs));
    if our == their {
        return None;
    }
    let Some(abi) = reference.abi_of(call) else {
        return Some(format!("{call:x?}: ours {our:#x}, libseccomp's {their:#x}"));
    };
    let default = default_value(policy);
    let later = our == ENOSYS && their == default && reference.is_unknown(abi, call.nr);
    let apart = our == default && their == ENOSYS && is_apart(abi, call.nr);
    if later || apart { None } else { Some(format!("{abi:?} {call:x?}: ours {our:#x}, libseccomp's {their:#x}")) }
}

/// Clears what the kernel would not look at.
fn in_width(reference: &Reference<'_>, mut call: Call) -> Call {
    let Some(abi) = reference.abi_of(call) else { return call };
    let Some((name, _)) = syscalls::on(abi).find(|(_, number)| *number == call.nr) else { return call };
    for (index, argument) in call.args.iter_mut().enumerate() {
        let bits = syscalls::argument_bits(name, abi, index).expect("a known call");
        *argument &= u64::MAX >> (64 - bits);
        if abi == Abi::X32 {
            *argument &= 0xffff_ffff; // libseccomp takes x32 for a 32-bit ABI
        }
    }
    call
}

#[test]
fn dockers_default_on_every_number_and_architecture() {
    let policy = known_to_libseccomp(&docker_default());
    let (ours, theirs) = (compile(&policy).expect("ours"), libseccomp::compile(&policy).expect("libseccomp's"));
    assert_eq!((ours.flags, ours.notify), (theirs.flags, theirs.notify));
    let reference = Reference::new(&policy, Abi::NATIVE.expect("a supported machine"));
    let mut compared = 0;
    for arch in [Abi::X86_64, Abi::X86, Abi::Aarch64, Abi::S390x].map(Abi::audit_arch) {
        for nr in (0..1100).chain(0x4000_0000..0x4000_0400).chain([0xf_0005, 0x3fff_ffff, 0x8000_0000, u32::MAX]) {
            let call = Call { arch, nr, args: [0; 6] };
            assert_eq!(difference(&policy, &reference, &ours, &theirs, call), None);
            compared += 1;
        }
    }
    for call in calls(&policy, Abi::X86_64) {
        let call = in_width(&reference, call);
        assert_eq!(difference(&policy, &reference, &ours, &theirs, call), None);
        compared += 1;
    }
    assert!(compared > 8_000, "{compared} calls compared");
}

/// Rules on one call that do not contradict each other, as libseccomp needs them: a name has one action.
fn any_comparable_policy() -> impl Strategy<Value = LinuxSeccomp> {
    // Constants of 64 bits go to arguments of 64 bits only: known difference 1.
    let wide: &'static [u64] = &seccomp_support::EDGES;
    let narrow: &'static [u64] = &[0, 1, 2, 3, 21, 40, 0x5412, 0x7fff, 0xffff];
    let calls: Vec<(&'static str, bool)> = syscalls::on(Abi::X86_64)
        .chain(syscalls::on(Abi::X86))
        .filter(|(name, _)| libseccomp::knows(name))
        .map(|(name, _)| (name, is_multiplexed(name)))
        .collect();
    let action = || prop::sample::select(&ACTIONS[..]);
    let call = prop::sample::select(calls).prop_flat_map(move |(name, multiplexed)| {
        let conditions = (0..3usize, prop::bool::ANY).prop_flat_map(move |(rules, only_narrow)| {
            let constants = if only_narrow { narrow } else { wide };
            let one = prop::collection::vec(seccomp_support::any_condition(constants), 1..4);
            prop::collection::vec(one, if multiplexed { 0 } else { rules })
        });
        (Just(name), action(), conditions)
    });
    let listed = prop::sample::subsequence(
        vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        0..5,
    );
    (action(), listed, prop::collection::vec(call, 0..40)).prop_map(|(default, listed, calls)| {
        let calls: BTreeMap<_, _> = calls.into_iter().map(|(name, action, rules)| (name, (action, rules))).collect();
        let mut all = Vec::new();
        for (name, (action, conditions)) in calls {
            let names = [name.to_owned()];
            if conditions.is_empty() {
                all.push(rule(&names, action, &[]));
            }
            let several = conditions.len() > 1;
            for conditions in conditions {
                let mut fitting: Vec<Value> =
                    conditions.into_iter().filter(|condition| fits(name, condition)).collect();
                if several {
                    fitting.truncate(1); // known difference 5
                }
                if !fitting.is_empty() {
                    all.push(rule(&names, action, &fitting));
                }
            }
        }
        policy(default, &listed, &all)
    })
}

/// Whether a condition's constants fit the width the kernel gives the argument, on every ABI of the test.
fn fits(name: &str, condition: &Value) -> bool {
    let index = usize::try_from(condition["index"].as_u64().expect("an index")).expect("small");
    let bits = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm]
        .into_iter()
        .filter(|abi| syscalls::number(name, *abi).is_some())
        .filter_map(|abi| Some(if abi == Abi::X32 { 32 } else { syscalls::argument_bits(name, abi, index)? }))
        .min()
        .unwrap_or(64);
    let width = u64::MAX >> (64 - bits);
    ["value", "valueTwo"].iter().all(|member| condition[member].as_u64().unwrap_or(0) <= width)
}

fn is_multiplexed(name: &str) -> bool {
    const FAMILIES: [&str; 34] = [
        "socketcall",
        "ipc",
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
        "semop",
        "semget",
        "semctl",
        "semtimedop",
        "msgsnd",
        "msgrcv",
        "msgget",
        "msgctl",
        "shmat",
        "shmdt",
        "shmget",
        "shmctl",
    ];
    FAMILIES.contains(&name)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_policies(policy in any_comparable_policy()) {
        let policy = known_everywhere(&known_to_libseccomp(&policy));
        let ours = compile(&policy).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let theirs = libseccomp::compile(&policy).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        let reference = Reference::new(&policy, Abi::NATIVE.expect("a supported machine"));
        for call in calls(&policy, Abi::X86_64) {
            let mut call = in_width(&reference, call);
            if reference.abi_of(call) == Some(Abi::X86) && call.nr == 117 {
                call.args[0] &= 0xffff; // known difference 3
            }
            prop_assert_eq!(difference(&policy, &reference, &ours, &theirs, call), None);
        }
    }
}

/// The known differences are differences: a list that nobody checks would hide others.
#[test]
fn the_known_differences_are_there() {
    let arch = Abi::X86_64.audit_arch();
    let nr = |name| syscalls::number(name, Abi::X86_64).expect("a call of x86-64");
    let both = |policy: &LinuxSeccomp, arch, nr, args| {
        (
            compile(policy).expect("ours").verdict(arch, nr, args),
            libseccomp::compile(policy).expect("libseccomp's").verdict(arch, nr, args),
        )
    };
    let eperm = 0x0005_0001;
    let allow = seccomp_support::ALLOW;
    let on = |name: &str, action, args: Value| json!({"names": [name], "action": action, "args": args});
    // 1
    let deny = policy(
        ("SCMP_ACT_ALLOW", None),
        &[],
        &[on("ioctl", "SCMP_ACT_ERRNO", json!([{"index": 1, "value": 0x5412, "op": "SCMP_CMP_EQ"}]))],
    );
    assert_eq!(both(&deny, arch, nr("ioctl"), [0, 0x1_0000_5412, 0, 0, 0, 0]), (eperm, allow));
    // 2
    let old = policy(("SCMP_ACT_ERRNO", None), &[], &[json!({"names": ["openat2"], "action": "SCMP_ACT_ALLOW"})]);
    assert_eq!(both(&old, arch, nr("close_range"), [0; 6]), (ENOSYS, eperm));
    // 3
    let ipc = policy(
        ("SCMP_ACT_ALLOW", None),
        &["SCMP_ARCH_X86"],
        &[json!({"names": ["shmat"], "action": "SCMP_ACT_ERRNO"})],
    );
    assert_eq!(both(&ipc, Abi::X86.audit_arch(), 117, [0x1_0015, 0, 0, 0, 0, 0]), (eperm, allow));
    let socket = on("socket", "SCMP_ACT_ALLOW", json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]));
    let socket = policy(("SCMP_ACT_ERRNO", None), &["SCMP_ARCH_X86"], &[socket]);
    assert_eq!(both(&socket, Abi::X86.audit_arch(), 102, [1, 0, 0, 0, 0, 0]), (eperm, allow));
    if libseccomp::version() == (2, 5, 4) {
        // 5
        let call = "sched_rr_get_interval_time64";
        let two = policy(
            ("SCMP_ACT_ALLOW", None),
            &["SCMP_ARCH_X86"],
            &[
                on(
                    call,
                    "SCMP_ACT_ERRNO",
                    json!([{"index": 1, "value": 7, "op": "SCMP_CMP_NE"}, {"index": 0, "value": 0, "op": "SCMP_CMP_NE"}]),
                ),
                on(call, "SCMP_ACT_ERRNO", json!([{"index": 0, "value": 2, "op": "SCMP_CMP_LT"}])),
            ],
        );
        assert_eq!(both(&two, Abi::X86.audit_arch(), 423, [1, 7, 0, 0, 0, 0]), (eperm, allow));
        // 6
        let gone = policy(
            ("SCMP_ACT_ALLOW", None),
            &["SCMP_ARCH_AARCH64"],
            &[
                on("clock_gettime", "SCMP_ACT_ERRNO", json!([{"index": 0, "value": 0, "op": "SCMP_CMP_NE"}])),
                json!({"names": ["get_kernel_syms"], "action": "SCMP_ACT_KILL_PROCESS"}),
            ],
        );
        assert_eq!(both(&gone, Abi::Aarch64.audit_arch(), 113, [1, 0, 0, 0, 0, 0]), (eperm, allow));
    }
    // 4
    let contradiction = policy(
        ("SCMP_ACT_LOG", None),
        &[],
        &[
            on("ioctl", "SCMP_ACT_ALLOW", json!([{"index": 1, "value": 9000, "op": "SCMP_CMP_NE"}])),
            on("ioctl", "SCMP_ACT_ERRNO", json!([{"index": 1, "value": 16, "op": "SCMP_CMP_EQ"}])),
        ],
    );
    assert_eq!(both(&contradiction, arch, nr("ioctl"), [0, 16, 0, 0, 0, 0]), (eperm, allow));
}

/// Every number of every ABI, against libseccomp's tables. What libseccomp is too old to know is left out.
#[test]
fn the_tables_are_libseccomps() {
    let mut compared = 0;
    for abi in Abi::ALL {
        for (name, number) in syscalls::on(abi) {
            match libseccomp::number(name, abi) {
                Some(theirs) => {
                    assert_eq!(number, theirs, "{name} on {abi:?}");
                    compared += 1;
                }
                None => assert!(
                    syscalls::since(name) >= Some((5, 17)) || abi == Abi::Loongarch64 || !libseccomp::knows(name),
                    "libseccomp has no {name} on {abi:?}"
                ),
            }
        }
    }
    assert!(compared > 4_000, "{compared} numbers compared");
}
