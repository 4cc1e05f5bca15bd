//! Unit tests of the whole way from a policy to verdicts.

use super::*;
use crate::report::Severity;
use serde_json::{Value, json};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = action::ALLOW;
const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ENOSYS;

fn policy(value: Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn docker_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../../tests/fixtures/seccomp/docker-default.json")).unwrap()
}

fn x86_64(value: Value) -> Program {
    compile_for(Abi::X86_64, &policy(value)).unwrap()
}

fn errors(value: Value) -> Vec<String> {
    let errors = compile_for(Abi::X86_64, &policy(value)).unwrap_err();
    assert!(errors.iter().all(|error| error.severity == Severity::Error));
    errors.iter().map(ToString::to_string).collect()
}

fn warnings(value: Value) -> Vec<String> {
    let program = x86_64(value);
    assert!(program.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    program.warnings.iter().map(ToString::to_string).collect()
}

/// The verdict on a call of x86-64 by name.
fn ask(program: &Program, name: &str, args: [u64; 6]) -> u32 {
    program.verdict(X86_64, syscalls::number(name, Abi::X86_64).unwrap(), args)
}

/// The verdict on a call with one argument that is not 0.
fn ask_arg(program: &Program, name: &str, index: usize, value: u64) -> u32 {
    let mut args = [0; 6];
    args[index] = value;
    ask(program, name, args)
}

/// A policy with one conditional rule.
fn conditional(default: &str, name: &str, action: &str, args: Value) -> Value {
    json!({"defaultAction": default, "syscalls": [{"names": [name], "action": action, "args": args}]})
}

#[test]
fn dockers_default_profile() {
    let program = compile_for(Abi::X86_64, &docker_default()).unwrap();
    assert_eq!(program.warnings, []);
    assert_eq!((program.flags, program.notify), (flag::SPEC_ALLOW, false));
    assert_eq!(program.abis, [Abi::X86_64, Abi::X86, Abi::X32]);
    for (name, verdict) in [
        ("read", ALLOW),
        ("execve", ALLOW),
        ("mount", EPERM),
        ("bpf", EPERM),
        ("clone3", ENOSYS),
        ("clone", ALLOW),
        ("keyctl", EPERM),
        ("io_uring_setup", EPERM),
    ] {
        assert_eq!(ask(&program, name, [0; 6]), verdict, "{name}");
    }
    assert_eq!(ask_arg(&program, "clone", 0, 0x1000_0000), EPERM, "CLONE_NEWUSER");
    assert_eq!(ask_arg(&program, "socket", 0, 16), ALLOW, "AF_NETLINK");
    assert_eq!(ask_arg(&program, "socket", 0, 38), EPERM, "AF_ALG");
    assert_eq!(ask_arg(&program, "socket", 0, 40), EPERM, "AF_VSOCK");
    assert_eq!(ask_arg(&program, "personality", 0, 0xffff_ffff), ALLOW);
    assert_eq!(ask_arg(&program, "personality", 0, 0x4_0000), EPERM, "ADDR_NO_RANDOMIZE");
    assert_eq!(program.verdict(X86, 11, [0; 6]), ALLOW, "execve of x86");
    assert_eq!(program.verdict(X86_64, X32_BIT + 520, [0; 6]), ALLOW, "execve of x32");
    assert_eq!(program.verdict(0xc000_00b7, 1, [0; 6]), action::KILL_THREAD, "aarch64");
    assert_eq!(program.verdict(X86_64, 5000, [0; 6]), ENOSYS);
}

#[test]
fn dockers_default_profile_is_compact() {
    let program = compile_for(Abi::X86_64, &docker_default()).unwrap();
    let numbers: Vec<u32> = syscalls::on(Abi::X86_64).map(|(_, number)| number).collect();
    let steps: usize = numbers.iter().map(|number| program.steps(X86_64, *number, [0; 6])).sum();
    let hundredths = steps * 100 / numbers.len();
    assert!(program.insns.len() <= 235, "{} instructions", program.insns.len());
    assert!(hundredths <= 1200, "{hundredths} hundredths of a step on average");
}

#[test]
fn instructions_are_laid_out_as_the_kernels() {
    assert_eq!(std::mem::size_of::<Insn>(), 8);
    let insn = Insn { code: 0x15, jt: 1, jf: 2, k: 3 };
    assert_eq!(std::mem::offset_of!(Insn, jt), 2);
    assert_eq!(std::mem::offset_of!(Insn, jf), 3);
    assert_eq!(std::mem::offset_of!(Insn, k), 4);
    assert_eq!(serde_json::to_value(insn).unwrap(), json!({"code": 0x15, "jt": 1, "jf": 2, "k": 3}));
}

#[test]
fn every_action_has_its_value() {
    for (action, errno, value) in [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, 0x0005_0001),
        ("SCMP_ACT_ERRNO", Some(0), 0x0005_0000),
        ("SCMP_ACT_ERRNO", Some(4095), 0x0005_0fff),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(0xffff), 0x7ff0_ffff),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
    ] {
        let mut rule = json!({"names": ["getpid"], "action": action});
        if let Some(errno) = errno {
            rule["errnoRet"] = json!(errno);
        }
        let program =
            x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "syscalls": [rule]}));
        assert_eq!(ask(&program, "getpid", [0; 6]), value, "{action} {errno:?}");
        assert_eq!(ask(&program, "getppid", [0; 6]), ALLOW);
    }
    let program = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
        "syscalls": [{"names": ["read", "getppid"], "action": "SCMP_ACT_ALLOW"}]}));
    assert_eq!((ask(&program, "getpid", [0; 6]), ask(&program, "read", [0; 6])), (action::ERRNO | 13, ALLOW));
}

#[test]
fn an_errno_that_cannot_be_is_refused() {
    assert_eq!(
        errors(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1, "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
            {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536},
            {"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]})),
        [
            "linux.seccomp.defaultErrnoRet: errno value specified for action SCMP_ACT_ALLOW, which has none",
            "linux.seccomp.syscalls[0].errnoRet: errno 4096 is out of range: 0 to 4095",
            "linux.seccomp.syscalls[1].errnoRet: value 65536 for the tracer is out of range: 0 to 65535",
            "linux.seccomp.syscalls[2].errnoRet: errno value specified for action SCMP_ACT_KILL, which has none",
        ]
    );
}

#[test]
fn every_operator_compares_64_bits_of_a_long() {
    const C: u64 = 0x5_0000_0005;
    type Holds = fn(u64) -> bool;
    let operators: [(&str, Holds); 6] = [
        ("SCMP_CMP_NE", |v| v != C),
        ("SCMP_CMP_LT", |v| v < C),
        ("SCMP_CMP_LE", |v| v <= C),
        ("SCMP_CMP_EQ", |v| v == C),
        ("SCMP_CMP_GE", |v| v >= C),
        ("SCMP_CMP_GT", |v| v > C),
    ];
    for (operator, holds) in operators {
        // The size of a read is a size_t.
        let args = json!([{"index": 2, "value": C, "op": operator}]);
        let program = x86_64(conditional("SCMP_ACT_ERRNO", "read", "SCMP_ACT_ALLOW", args));
        for value in [0, 5, C - 1, C, C + 1, C & !0xffff_ffff, C ^ (1 << 32), 6 << 32, 4 << 32 | 6, u64::MAX] {
            let verdict = ask_arg(&program, "read", 2, value);
            assert_eq!(verdict, if holds(value) { ALLOW } else { EPERM }, "{value:#x} {operator}");
        }
    }
    let args = json!([{"index": 2, "value": 0xf_0000_000f_u64, "valueTwo": C, "op": "SCMP_CMP_MASKED_EQ"}]);
    let program = x86_64(conditional("SCMP_ACT_ERRNO", "read", "SCMP_ACT_ALLOW", args));
    for (value, verdict) in [(C, ALLOW), (C | 0xf0_0000_00f0, ALLOW), (C | 2, EPERM), (C | 2 << 32, EPERM), (5, EPERM)]
    {
        assert_eq!(ask_arg(&program, "read", 2, value), verdict, "{value:#x}");
    }
}

#[test]
fn conditions_of_one_rule_must_all_hold_and_rules_are_alternatives() {
    let program = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}));
    assert_eq!(ask(&program, "socket", [2, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&program, "socket", [2, 3, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&program, "socket", [1, 3, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&program, "socket", [3, 1, 0, 0, 0, 0]), EPERM);
}

#[test]
fn two_conditions_on_one_argument_are_alternatives_as_with_runc() {
    let args = json!([{"index": 0, "value": 10, "op": "SCMP_CMP_GE"}, {"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
        {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]);
    let program = x86_64(conditional("SCMP_ACT_ERRNO", "socket", "SCMP_ACT_ALLOW", args));
    for (args, verdict) in [([12, 0], ALLOW), ([5, 0], ALLOW), ([6, 0], EPERM), ([6, 7], ALLOW)] {
        assert_eq!(ask(&program, "socket", [args[0], args[1], 0, 0, 0, 0]), verdict, "{args:?}");
    }
}

#[test]
fn an_integer_argument_counts_in_the_kernels_width() {
    // The kernel truncates the family of a socket to an int: bit 32 must change nothing, whether the rule denies or allows.
    let args = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let deny = x86_64(conditional("SCMP_ACT_ALLOW", "socket", "SCMP_ACT_ERRNO", args.clone()));
    assert_eq!(ask_arg(&deny, "socket", 0, 40 | 1 << 32), EPERM);
    let allow = x86_64(conditional("SCMP_ACT_ERRNO", "socket", "SCMP_ACT_ALLOW", args));
    assert_eq!(ask_arg(&allow, "socket", 0, 40 | 1 << 32), ALLOW);
    let args = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]);
    let allow_others = x86_64(conditional("SCMP_ACT_ERRNO", "socket", "SCMP_ACT_ALLOW", args));
    assert_eq!(ask_arg(&allow_others, "socket", 0, 40 | 1 << 32), EPERM);
    let args = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_GT"}]);
    let allow_above = x86_64(conditional("SCMP_ACT_ERRNO", "socket", "SCMP_ACT_ALLOW", args));
    assert_eq!(ask_arg(&allow_above, "socket", 0, 2 | 1 << 32), EPERM);
    // A mode has 16 bits.
    let args = json!([{"index": 1, "value": 0o4000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ"}]);
    let no_setuid = x86_64(conditional("SCMP_ACT_ALLOW", "chmod", "SCMP_ACT_ERRNO", args));
    assert_eq!(ask_arg(&no_setuid, "chmod", 1, 0o4755 | 0xffff_0000_0000_0000), EPERM);
    let args = json!([{"index": 1, "value": 0o644, "op": "SCMP_CMP_EQ"}]);
    let exact = x86_64(conditional("SCMP_ACT_ALLOW", "chmod", "SCMP_ACT_ERRNO", args));
    assert_eq!((ask_arg(&exact, "chmod", 1, 0o644 | 0x1_0000), ask_arg(&exact, "chmod", 1, 0o645)), (EPERM, ALLOW));
}

#[test]
fn a_constant_beyond_the_arguments_width() {
    // -100 (AT_FDCWD) written in 64 bits is the int -100, however the caller extends it.
    for operator in ["SCMP_CMP_EQ", "SCMP_CMP_GE"] {
        let args = json!([{"index": 0, "value": 0xffff_ffff_ffff_ff9c_u64, "op": operator}]);
        let deny = x86_64(conditional("SCMP_ACT_ALLOW", "openat", "SCMP_ACT_ERRNO", args));
        assert_eq!(ask_arg(&deny, "openat", 0, 0xffff_ff9c), EPERM, "{operator}");
        assert_eq!(ask_arg(&deny, "openat", 0, 0xffff_ffff_ffff_ff9c), EPERM, "{operator}");
        assert_eq!(ask_arg(&deny, "openat", 0, 0xffff_ff9b), ALLOW, "{operator}");
    }
    // Any other is larger than every int.
    for (operator, verdict) in
        [("SCMP_CMP_LT", EPERM), ("SCMP_CMP_LE", EPERM), ("SCMP_CMP_GE", ALLOW), ("SCMP_CMP_GT", ALLOW)]
    {
        let args = json!([{"index": 0, "value": 0x1_0000_0005_u64, "op": operator}]);
        let deny = x86_64(conditional("SCMP_ACT_ALLOW", "openat", "SCMP_ACT_ERRNO", args));
        for value in [0, 5, 6, 0xffff_ffff, 0x1_0000_0005, u64::MAX] {
            assert_eq!(ask_arg(&deny, "openat", 0, value), verdict, "{operator} {value:#x}");
        }
    }
    // An equality is about what the kernel gets.
    let args = json!([{"index": 0, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_EQ"}]);
    let deny = x86_64(conditional("SCMP_ACT_ALLOW", "openat", "SCMP_ACT_ERRNO", args));
    assert_eq!((ask_arg(&deny, "openat", 0, 5), ask_arg(&deny, "openat", 0, 0x1_0000_0005)), (EPERM, EPERM));
}

#[test]
fn orders_at_the_ends_of_the_range() {
    for (operator, value, always) in [
        ("SCMP_CMP_GE", 0, true),
        ("SCMP_CMP_LT", 0, false),
        ("SCMP_CMP_LE", u64::MAX, true),
        ("SCMP_CMP_GT", u64::MAX, false),
    ] {
        let args = json!([{"index": 2, "value": value, "op": operator}]);
        let program = x86_64(conditional("SCMP_ACT_ERRNO", "read", "SCMP_ACT_ALLOW", args));
        for value in [0, 1, u64::MAX] {
            assert_eq!(ask_arg(&program, "read", 2, value), if always { ALLOW } else { EPERM }, "{operator}");
        }
    }
}

#[test]
fn a_rule_without_conditions_counts_whatever_the_order() {
    let with =
        json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]});
    let without = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
    for rules in [[&with, &without], [&without, &with]] {
        let policy = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules});
        assert_eq!(ask(&x86_64(policy.clone()), "read", [0; 6]), ALLOW);
        let warnings = warnings(policy);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("rule for read has no effect"), "{warnings:?}");
    }
    let twice = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO"}, {"names": ["read"], "action": "SCMP_ACT_KILL"}]});
    assert_eq!(ask(&x86_64(twice), "read", [0; 6]), EPERM, "the first of two counts");
}

#[test]
fn a_rule_that_says_the_same_as_the_default_is_none() {
    let program = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 17, "op": "SCMP_CMP_EQ"}]}]}));
    assert_eq!(ask(&program, "clone", [0; 6]), EPERM);
    assert_eq!(ask_arg(&program, "clone", 0, 17), ALLOW);
}

#[test]
fn the_strictest_of_several_rules_with_conditions_counts() {
    let rules = [
        json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_NE"}]}),
        json!({"names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 1, "value": 0x5412, "op": "SCMP_CMP_EQ"}]}),
        json!({"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 0x5000, "op": "SCMP_CMP_GE"}]}),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let syscalls: Vec<&Value> = order.iter().map(|at| &rules[*at]).collect();
        let program = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls}));
        assert_eq!(ask_arg(&program, "ioctl", 1, 0x5412), action::KILL_PROCESS);
        assert_eq!(ask_arg(&program, "ioctl", 1, 0x5413), action::LOG);
        assert_eq!(ask_arg(&program, "ioctl", 1, 8), ALLOW);
        assert_eq!(ask_arg(&program, "ioctl", 1, 9), EPERM);
    }
}

#[test]
fn foreign_architectures_and_x32() {
    let only_native = x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}));
    assert_eq!(only_native.verdict(X86, 3, [0; 6]), action::KILL_THREAD);
    assert_eq!(only_native.verdict(X86_64, X32_BIT, [0; 6]), action::KILL_THREAD);
    assert_eq!(only_native.verdict(X86_64, X32_BIT + 1, [0; 6]), action::KILL_THREAD);
    assert_eq!(only_native.verdict(X86_64, u32::MAX, [0; 6]), ALLOW, "a call that a tracer skips");
    let both = x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X32", "SCMP_ARCH_NATIVE", "SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}));
    assert_eq!(both.abis, [Abi::X86_64, Abi::X32]);
    assert_eq!(both.verdict(X86_64, X32_BIT, [0; 6]), EPERM);
    assert_eq!(both.verdict(X86_64, X32_BIT + 1, [0; 6]), ALLOW);
    assert_eq!(both.verdict(X86_64, 0, [0; 6]), EPERM);
}

#[test]
fn architectures_that_cannot_be_are_refused() {
    let errors = errors(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC"]}));
    assert_eq!(
        errors,
        [
            "linux.seccomp.architectures[1]: seccomp architecture SCMP_ARCH_S390X has another byte order than this machine",
            "linux.seccomp.architectures[2]: seccomp architecture SCMP_ARCH_PARISC is not supported",
        ]
    );
}

#[test]
fn what_is_newer_than_the_policy_gets_enosys() {
    let allow = |default: &str, names: &[&str]| {
        x86_64(json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}))
    };
    let program = allow("SCMP_ACT_ERRNO", &["read", "openat2"]);
    assert_eq!(ask(&program, "mount", [0; 6]), EPERM, "old");
    assert_eq!(ask(&program, "faccessat2", [0; 6]), ENOSYS, "a larger number");
    assert_eq!(ask(&program, "close_range", [0; 6]), ENOSYS, "a smaller number, but it came later");
    assert_eq!(program.verdict(X86_64, X32_BIT - 1, [0; 6]), ENOSYS);
    assert_eq!(program.verdict(X86, 439, [0; 6]), ENOSYS);
    assert_eq!(program.verdict(X86, 436, [0; 6]), ENOSYS);
    assert_eq!(program.verdict(X86, 21, [0; 6]), EPERM);
    assert_eq!(program.verdict(X86, u32::MAX, [0; 6]), ENOSYS);
    for default in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert_eq!(ask(&allow(default, &["openat2"]), "faccessat2", [0; 6]), ENOSYS, "{default}");
    }
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        assert_ne!(ask(&allow(default, &["openat2"]), "faccessat2", [0; 6]), ENOSYS, "{default}");
    }
    // A rule that says the same as the default still shows that its author knew the call.
    let known = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["faccessat2"], "action": "SCMP_ACT_ERRNO"}]}));
    assert_eq!(ask(&known, "faccessat2", [0; 6]), EPERM);
    assert_eq!(ask(&known, "mount_setattr", [0; 6]), ENOSYS);
    // A policy that names nothing knows nothing.
    let empty = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    assert_eq!((ask(&empty, "read", [0; 6]), empty.verdict(X86_64, 5000, [0; 6])), (EPERM, EPERM));
}

#[test]
fn ranges_of_their_own_do_not_make_everything_known() {
    let program = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "execve", "openat2"], "action": "SCMP_ACT_ALLOW"}]}));
    let x32 = |number| program.verdict(X86_64, X32_BIT + number, [0; 6]);
    assert_eq!((x32(0), x32(520), x32(437)), (ALLOW, ALLOW, ALLOW));
    assert_eq!((x32(438), x32(511), x32(548)), (ENOSYS, ENOSYS, ENOSYS));
    assert_eq!((x32(512), x32(547), x32(21)), (EPERM, EPERM, EPERM));
    let arm = compile_for(
        Abi::Arm,
        &policy(json!({"defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": ["read", "set_tls", "openat2"], "action": "SCMP_ACT_ALLOW"}]})),
    )
    .unwrap();
    let arm = |number| arm.verdict(Abi::Arm.audit_arch(), number, [0; 6]);
    assert_eq!((arm(3), arm(0xf_0005), arm(437)), (ALLOW, ALLOW, ALLOW));
    assert_eq!((arm(438), arm(0xe_ffff), arm(0xf_0004), arm(0xf_0006)), (ENOSYS, ENOSYS, EPERM, EPERM));
}

#[test]
fn s390_unknown_numbers_arrive_as_zero() {
    let policy = policy(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_S390"],
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}));
    let program = compile_for(Abi::S390x, &policy).unwrap();
    for abi in [Abi::S390, Abi::S390x] {
        let ask = |number| program.verdict(abi.audit_arch(), number, [0; 6]);
        assert_eq!((ask(0), ask(1), ask(3)), (ENOSYS, EPERM, ALLOW));
    }
}

#[test]
fn big_endian_words() {
    let args = json!([{"index": 2, "value": 0x1_0000_0002_u64, "op": "SCMP_CMP_EQ"}]);
    let policy = policy(conditional("SCMP_ACT_ERRNO", "read", "SCMP_ACT_ALLOW", args));
    let program = compile_for(Abi::S390x, &policy).unwrap();
    let ask = |value| program.verdict(Abi::S390x.audit_arch(), 3, [0, 0, value, 0, 0, 0]);
    assert_eq!((ask(0x1_0000_0002), ask(0x2_0000_0001), ask(2)), (ALLOW, EPERM, EPERM));
}

#[test]
fn socketcall_and_ipc_carry_their_families() {
    let allow = x86_64(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        {"names": ["socket", "accept", "shmat"], "action": "SCMP_ACT_ALLOW"}]}));
    let x86 = |program: &Program, number, first| program.verdict(X86, number, [first, 0, 0, 0, 0, 0]);
    assert_eq!((x86(&allow, 102, 1), x86(&allow, 102, 5), x86(&allow, 102, 2)), (ALLOW, ALLOW, EPERM));
    assert_eq!((x86(&allow, 117, 21), x86(&allow, 117, 22), x86(&allow, 359, 0)), (ALLOW, EPERM, ALLOW));
    // ipc's version is no way around a rule that denies.
    let deny = x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
        {"names": ["shmat"], "action": "SCMP_ACT_ERRNO"}]}));
    assert_eq!((x86(&deny, 117, 21), x86(&deny, 117, 0x1_0015), x86(&deny, 117, 22)), (EPERM, EPERM, ALLOW));
    // The family of a socket cannot be seen behind socketcall: what denies some denies all, what allows some allows none.
    let args = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let mut some = conditional("SCMP_ACT_ALLOW", "socket", "SCMP_ACT_ERRNO", args);
    some["architectures"] = json!(["SCMP_ARCH_X86"]);
    assert_eq!((x86(&x86_64(some.clone()), 102, 1), x86(&x86_64(some.clone()), 102, 2)), (EPERM, ALLOW));
    some["defaultAction"] = json!("SCMP_ACT_ERRNO");
    some["syscalls"][0]["action"] = json!("SCMP_ACT_ALLOW");
    assert_eq!(x86(&x86_64(some.clone()), 102, 1), EPERM);
    assert!(warnings(some.clone())[0].contains("conditions on socket cannot be checked"));
    // A rule for socketcall itself decides.
    some["syscalls"].as_array_mut().unwrap().push(json!({"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}));
    assert_eq!(x86(&x86_64(some.clone()), 102, 1), ALLOW);
    assert_eq!(warnings(some), [""; 0]);
}

#[test]
fn names() {
    assert_eq!(
        warnings(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read", "raed"], "action": "SCMP_ACT_ERRNO"}, {"names": ["wirte", "timerfd"], "action": "SCMP_ACT_KILL"}]})),
        [
            "linux.seccomp.syscalls[0].names[1]: unknown seccomp syscall \"raed\" ignored",
            "linux.seccomp.syscalls[1].names[0]: unknown seccomp syscall \"wirte\" ignored",
        ]
    );
    assert_eq!(
        errors(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [""], "action": "SCMP_ACT_ERRNO"}]})),
        ["linux.seccomp.syscalls[0].names[0]: empty string is not a valid syscall"]
    );
}

#[test]
fn arguments_out_of_range() {
    let args = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]);
    assert_eq!(
        errors(conditional("SCMP_ACT_ALLOW", "read", "SCMP_ACT_ERRNO", args)),
        [
            "linux.seccomp.syscalls[0].args[0].index: argument index 6 is out of range: system calls have arguments 0 to 5"
        ]
    );
    let args = json!([{"index": 0, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]);
    let policy = conditional("SCMP_ACT_ALLOW", "read", "SCMP_ACT_ERRNO", args);
    assert_eq!(
        warnings(policy.clone()),
        ["linux.seccomp.syscalls[0].args[0].valueTwo: bits of valueTwo outside the mask are ignored"]
    );
    assert_eq!(ask_arg(&x86_64(policy), "read", 0, 1), EPERM);
}

#[test]
fn notifications() {
    let mut policy = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let program = x86_64(policy.clone());
    assert!(program.notify);
    assert_eq!(program.flags, flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV);
    assert_eq!(ask(&program, "mkdir", [0; 6]), action::NOTIFY);
    policy["syscalls"][0]["names"] = json!(["mkdir", "write"]);
    assert_eq!(
        errors(policy.clone()),
        ["linux.seccomp.syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for the write syscall"]
    );
    policy["syscalls"][0]["names"] = json!(["mkdir"]);
    policy.as_object_mut().unwrap().remove("listenerPath");
    assert_eq!(errors(policy), ["linux.seccomp.listenerPath: seccomp listenerPath is not set"]);
    assert_eq!(
        errors(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent"})),
        ["linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"]
    );
}

#[test]
fn flags() {
    let of = |flags: Value| x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).flags;
    assert_eq!(of(Value::Null), flag::SPEC_ALLOW, "runc's default");
    assert_eq!(of(json!([])), 0);
    assert_eq!(of(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), 0);
    assert_eq!(of(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])), 6);
    let useless = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]});
    assert_eq!(x86_64(useless.clone()).flags, 0);
    assert!(warnings(useless)[0].contains("no rule has SCMP_ACT_NOTIFY"));
}

#[test]
fn all_errors_are_reported_at_once() {
    let errors = errors(json!({"defaultAction": "SCMP_ACT_NOTIFY", "architectures": ["SCMP_ARCH_SH"], "syscalls": [
        {"names": ["write", ""], "action": "SCMP_ACT_NOTIFY"},
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1, "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}]}));
    assert_eq!(errors.len(), 7, "{errors:#?}");
}

#[test]
fn long_programs_have_trampolines_and_too_long_ones_are_refused() {
    // Many different conditions: jumps over more than 255 instructions.
    let rule = |at: usize, name: &str| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": at % 4096,
            "args": [{"index": 1, "value": at * 3 + 7, "op": "SCMP_CMP_GT"}, {"index": 4, "value": at, "op": "SCMP_CMP_EQ"}]})
    };
    let names: Vec<&str> = syscalls::on(Abi::X86_64).map(|(name, _)| name).collect();
    let rules: Vec<Value> = names.iter().enumerate().map(|(at, name)| rule(at, name)).collect();
    let program = x86_64(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert!((1500..=MAX_INSNS).contains(&program.insns.len()), "{}", program.insns.len());
    assert_eq!(check(&program.insns), Ok(()));
    for (at, name) in names.iter().enumerate() {
        let hit = [0, at as u64 * 3 + 8, 0, 0, at as u64, 0];
        let errno = u32::try_from(at).unwrap();
        assert_eq!(ask(&program, name, hit), action::ERRNO | errno, "{name}");
        let mut miss = hit;
        miss[1] -= 1;
        assert_eq!(ask(&program, name, miss), ALLOW, "{name}");
    }
    let rules: Vec<Value> = (0..2000).map(|at| rule(at, "mmap")).collect();
    let errors = errors(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert!(errors[0].contains("the kernel takes at most 4096"), "{errors:?}");
}

#[test]
fn the_numbers_are_those_of_this_machines_headers() {
    for (abi, header) in [
        (Abi::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        (Abi::X86, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
        (Abi::X32, "/usr/include/x86_64-linux-gnu/asm/unistd_x32.h"),
    ] {
        let Ok(text) = std::fs::read_to_string(header) else {
            eprintln!("skip: {header} is not installed");
            continue;
        };
        let mut seen = 0;
        for line in text.lines().filter_map(|line| line.strip_prefix("#define __NR_")) {
            let Some((name, value)) = line.split_once(' ') else { continue };
            let digits: String = value.rsplit('+').next().unwrap().chars().filter(char::is_ascii_digit).collect();
            assert_eq!(syscalls::number(name, abi), Some(digits.parse::<u32>().unwrap() + abi.base()), "{name}");
            seen += 1;
        }
        assert!(seen > 300, "{header}: {seen} calls");
    }
}

#[test]
fn the_same_policy_gives_the_same_program() {
    assert_eq!(compile_for(Abi::X86_64, &docker_default()), compile_for(Abi::X86_64, &docker_default()));
}
