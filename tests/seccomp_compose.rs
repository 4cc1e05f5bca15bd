//! Two filters as one program: over random policies, the answer is the kernel's of both, on every call worth trying.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod seccomp_support;

use pent::profile;
use pent::seccomp::{Abi, MAX_INSNS, Program, check, compile_for, compose};
use proptest::prelude::*;
use seccomp_support::{Call, any_policy, calls, docker_default, strictness};
use std::path::Path;

const X86: &[&str] = &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_NATIVE"];

/// What the kernel answers when both are loaded: the stricter action, and the data of the first where they are alike.
fn both(first: &Program, second: &Program, Call { arch, nr, args }: Call) -> u32 {
    let (first, second) = (first.verdict(arch, nr, args), second.verdict(arch, nr, args));
    if strictness(first) <= strictness(second) { first } else { second }
}

fn assert_composed(first: &Program, second: &Program, worth: &[Call]) -> Result<Program, TestCaseError> {
    let composed = compose(first, second).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(check(&composed.insns), Ok(()));
    for &call in worth {
        let got = composed.verdict(call.arch, call.nr, call.args);
        prop_assert_eq!(got, both(first, second, call), "{:#x?}", call);
    }
    Ok(composed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_stricter_one(one in any_policy(X86), other in any_policy(X86)) {
        let first = compile_for(Abi::X86_64, &one).expect("random policies compile");
        let second = compile_for(Abi::X86_64, &other).expect("random policies compile");
        let mut worth = calls(&one, Abi::X86_64);
        worth.extend(calls(&other, Abi::X86_64));
        assert_composed(&first, &second, &worth)?;
    }

    #[test]
    fn also_where_the_high_word_comes_first(one in any_policy(&["SCMP_ARCH_S390"]), other in any_policy(&["SCMP_ARCH_PPC64"])) {
        let first = compile_for(Abi::S390x, &one).expect("random policies compile");
        let second = compile_for(Abi::S390x, &other).expect("random policies compile");
        let mut worth = calls(&one, Abi::S390x);
        worth.extend(calls(&other, Abi::S390x));
        assert_composed(&first, &second, &worth)?;
    }

    /// A container's own filter can say anything: nothing of it loosens a shipped profile's, nor the other way round.
    #[test]
    fn shipped_profiles_and_any_filter(own in any_policy(X86), name in prop::sample::select(profile::SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>())) {
        let first = shipped(name);
        let second = compile_for(Abi::X86_64, &own).expect("random policies compile");
        assert_composed(&first, &second, &calls(&own, Abi::X86_64))?;
    }
}

const CALLS: [&str; 8] = ["read", "bpf", "splice", "mknodat", "ioctl", "socket", "clone3", "setxattr"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a profile says of answers, rules and families: a call that is not in its list is never allowed, and one with a
    /// rule only where the rule holds.
    #[test]
    fn a_profile_allows_nothing_that_is_not_in_its_list(
        allow in prop::sample::subsequence(&CALLS[..], 0..=CALLS.len()),
        answers in prop::sample::subsequence(&CALLS[..], 0..=CALLS.len()),
        denied in prop::sample::select(&["EPERM", "EACCES", "kill"][..]),
        ruled in prop::sample::select(&CALLS[..]),
        value in prop::sample::select(&[0u64, 2, 0x5412][..]),
        raw in prop::sample::select(&[1u64, 3][..]),
        other in prop::sample::select(&[0u64, 2, 16, 0x5412][..]),
    ) {
        let answers: serde_json::Map<_, _> =
            answers.iter().map(|name| ((*name).to_owned(), serde_json::json!("EOPNOTSUPP"))).collect();
        let profile: profile::Profile = serde_json::from_value(serde_json::json!({
            "version": 1, "name": "random", "seccomp": {
                "allow": allow, "denied": denied, "answers": answers, "families": ["unix"],
                "rules": [
                    { "names": [ruled], "args": [{ "index": 1, "op": "eq", "value": value }] },
                    { "names": ["socket"], "answer": "EINVAL", "args": [{ "index": 2, "op": "eq", "value": raw }] },
                ],
            },
        })).expect("a profile");
        let program = profile::compile_seccomp(&profile).expect("a filter").expect("an allow-list");
        let native = Abi::NATIVE.expect("an architecture with tables");
        for name in CALLS {
            let nr = pent::seccomp::syscalls::number(name, native).expect("a call of every architecture");
            for args in [[0; 6], [1, value, 0, 0, 0, 0], [1, value, 3, 0, 0, 0], [16, other, 0, 0, 0, 0]] {
                let verdict = program.verdict(native.audit_arch(), nr, args);
                let is_allowed = verdict == 0x7fff_0000;
                let wanted = allow.contains(&name)
                    && (name != ruled || args[1] == value)
                    && (name != "socket" || args[0] == 1 && args[2] != raw);
                prop_assert_eq!(is_allowed, wanted, "{} {:?} {:#x}", name, args, verdict);
                if !allow.contains(&name) {
                    let said = if answers.contains_key(name) { 0x5_005f } else {
                        match denied { "kill" => 0x8000_0000, "EPERM" => 0x5_0001, _ => 0x5_000d }
                    };
                    prop_assert_eq!(verdict, said, "{}", name);
                }
            }
        }
    }
}

fn shipped(name: &str) -> Program {
    let profile = profile::load_from(Path::new("/nonexistent"), name).expect("a shipped profile");
    profile::compile_seccomp(&profile).expect("a filter").expect("an allow-list")
}

/// Everything of one program stands only where it matters: with Docker's default filter, a profile's costs little more.
#[test]
fn with_dockers_default_the_program_stays_small() {
    let docker = docker_default();
    let second = compile_for(Abi::X86_64, &docker).expect("the profile compiles");
    let worth = calls(&docker, Abi::X86_64);
    for (name, _) in profile::SHIPPED {
        let first = shipped(name);
        let composed = assert_composed(&first, &second, &worth).expect("the stricter answer");
        assert!(composed.insns.len() < first.insns.len() + second.insns.len() + 32, "{name}: {}", composed.insns.len());
        assert!(composed.insns.len() < MAX_INSNS);
    }
}

#[test]
fn a_filter_with_itself_is_itself() {
    let docker = compile_for(Abi::X86_64, &docker_default()).expect("the profile compiles");
    assert_composed(&docker, &docker, &calls(&docker_default(), Abi::X86_64)).expect("the same answers");
}
