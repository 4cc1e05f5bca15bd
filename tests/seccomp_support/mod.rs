//! What the seccomp tests share: the meaning of a policy told as plainly as possible, random policies, and sweeps of calls.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "each test uses its part")]

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator, LinuxSyscall};
use pent::seccomp::{Abi, X32_BIT, syscalls};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(crate) const KILL_THREAD: u32 = 0;
pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const ENOSYS: u32 = 0x0005_0026;

pub(crate) fn docker_default() -> LinuxSeccomp {
    serde_json::from_str(include_str!("../fixtures/seccomp/docker-default.json")).expect("the fixture is a policy")
}

/// One system call as a filter sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) arch: u32,
    pub(crate) nr: u32,
    pub(crate) args: [u64; 6],
}

// ---- the meaning of a policy, call by call ----

fn action_value(action: &str, errno: Option<u32>) -> u32 {
    match action {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 + errno.unwrap_or(1),
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 + errno.unwrap_or(1),
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("no such action: {other}"),
    }
}

fn rule_value(rule: &LinuxSyscall) -> u32 {
    action_value(&rule.action().to_string(), rule.errno_ret())
}

pub(crate) fn default_value(policy: &LinuxSeccomp) -> u32 {
    action_value(&policy.default_action().to_string(), policy.default_errno_ret())
}

/// The kernel's order of actions between filters: as signed numbers.
pub(crate) fn strictness(value: u32) -> i32 {
    (value & 0xffff_0000).cast_signed()
}

pub(crate) fn rules(policy: &LinuxSeccomp) -> &[LinuxSyscall] {
    policy.syscalls().as_deref().unwrap_or_default()
}

fn names(policy: &LinuxSeccomp) -> BTreeSet<&str> {
    rules(policy).iter().flat_map(|rule| rule.names()).map(String::as_str).collect()
}

/// Whether the kernel would find a condition to hold, of the bits of the argument that it looks at.
fn holds(condition: &LinuxSeccompArg, bits: u32, argument: u64) -> bool {
    let width = u64::MAX >> (64 - bits);
    let (argument, constant) = (argument & width, condition.value());
    let is_negative_int = bits == 32 && constant >> 31 == 0x1_ffff_ffff;
    let bound = if is_negative_int { constant & width } else { constant };
    match condition.op() {
        Operator::ScmpCmpEq => argument == constant & width,
        Operator::ScmpCmpNe => argument != constant & width,
        Operator::ScmpCmpLt => argument < bound,
        Operator::ScmpCmpLe => argument <= bound,
        Operator::ScmpCmpGe => argument >= bound,
        Operator::ScmpCmpGt => argument > bound,
        Operator::ScmpCmpMaskedEq => argument & constant == condition.value_two().unwrap_or(0) & constant & width,
    }
}

/// Whether a rule with conditions applies to a call.
fn applies(rule: &LinuxSyscall, name: &str, abi: Abi, args: [u64; 6]) -> bool {
    let conditions = rule.args().as_deref().unwrap_or_default();
    let indices: BTreeSet<usize> = conditions.iter().map(LinuxSeccompArg::index).collect();
    let bits = |index| syscalls::argument_bits(name, abi, index).expect("a known call");
    let mut each =
        conditions.iter().map(|condition| holds(condition, bits(condition.index()), args[condition.index()]));
    if indices.len() < conditions.len() { each.any(|holds| holds) } else { each.all(|holds| holds) }
}

/// Names of the calls that socketcall or ipc carries out with this first argument, and whether it says so in the plain form.
fn carried(name: &str, argument: u64) -> Option<(&'static str, bool)> {
    const SOCKET: [&str; 21] = [
        "",
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
    ];
    let argument = argument & 0xffff_ffff;
    let carried = match (name, argument & 0xffff) {
        ("socketcall", _) if argument < 21 => SOCKET[usize::try_from(argument).expect("small")],
        ("ipc", 1) => "semop",
        ("ipc", 2) => "semget",
        ("ipc", 3) => "semctl",
        ("ipc", 4) => "semtimedop",
        ("ipc", 11) => "msgsnd",
        ("ipc", 12) => "msgrcv",
        ("ipc", 13) => "msgget",
        ("ipc", 14) => "msgctl",
        ("ipc", 21) => "shmat",
        ("ipc", 22) => "shmdt",
        ("ipc", 23) => "shmget",
        ("ipc", 24) => "shmctl",
        _ => "",
    };
    if carried.is_empty() { None } else { Some((carried, argument >> 16 == 0)) }
}

/// The first rule without conditions for a call that says something else than the default.
fn unconditional(policy: &LinuxSeccomp, name: &str) -> Option<u32> {
    let default = default_value(policy);
    rules(policy)
        .iter()
        .filter(|rule| rule.args().as_ref().is_none_or(Vec::is_empty) && rule.names().iter().any(|n| n == name))
        .map(rule_value)
        .find(|value| *value != default)
}

/// The rules with conditions for a call.
fn conditional<'a>(policy: &'a LinuxSeccomp, name: &'a str) -> impl Iterator<Item = &'a LinuxSyscall> {
    rules(policy).iter().filter(move |rule| {
        rule.args().as_ref().is_some_and(|a| !a.is_empty()) && rule.names().iter().any(|n| n == name)
    })
}

/// What rules for a carried call mean for its carrier: rules that restrict count whatever their conditions, because a filter
/// cannot see the arguments; rules that allow count if they have none.
fn carried_values(policy: &LinuxSeccomp, member: &str, plain: bool) -> Vec<u32> {
    let default = default_value(policy);
    let restricts = |value: &u32| strictness(*value) <= strictness(default);
    match unconditional(policy, member) {
        Some(value) => [value].into_iter().filter(|value| plain || restricts(value)).collect(),
        None => conditional(policy, member).map(rule_value).filter(restricts).collect(),
    }
}

/// Whether a policy speaks of a call, itself or as a carrier.
fn speaks_of(policy: &LinuxSeccomp, name: &str, abi: Abi) -> bool {
    let carries =
        || (0..26).filter_map(|call| carried(name, call)).any(|(m, _)| !carried_values(policy, m, true).is_empty());
    names(policy).contains(name) || multiplexes(abi) && unconditional(policy, name).is_none() && carries()
}

fn multiplexes(abi: Abi) -> bool {
    matches!(abi, Abi::X86 | Abi::S390 | Abi::S390x | Abi::Ppc | Abi::Ppc64 | Abi::Ppc64le | Abi::Mips | Abi::Mipsel)
}

/// The plain meaning of a policy on a machine of the given ABI.
pub(crate) struct Reference<'a> {
    policy: &'a LinuxSeccomp,
    default: u32,
    abis: Vec<Abi>,
    /// For every ABI of the policy: its calls by number, which of them the policy speaks of, and the largest number of those.
    known: HashMap<Abi, Known>,
    newest: Option<(u8, u8)>,
}

struct Known {
    by_number: HashMap<u32, &'static str>,
    spoken: HashSet<&'static str>,
    largest: Option<u32>,
}

impl<'a> Reference<'a> {
    pub(crate) fn new(policy: &'a LinuxSeccomp, native: Abi) -> Self {
        let listed = policy.architectures().iter().flatten();
        let abis: Vec<Abi> =
            [native].into_iter().chain(listed.map(|arch| Abi::from_oci(*arch).unwrap_or(native))).collect();
        let known = abis.iter().map(|abi| (*abi, Known::new(policy, *abi))).collect();
        let newest = names(policy).iter().filter_map(|name| syscalls::since(name)).max();
        Self { policy, default: default_value(policy), abis, known, newest }
    }

    /// The ABI a call is made by, among those of the policy.
    pub(crate) fn abi_of(&self, call: Call) -> Option<Abi> {
        self.abis.iter().copied().find(|abi| {
            abi.audit_arch() == call.arch
                && match abi {
                    Abi::X86_64 => call.nr < X32_BIT || call.nr == u32::MAX && !self.abis.contains(&Abi::X32),
                    Abi::X32 => call.nr >= X32_BIT,
                    _ => true,
                }
        })
    }

    /// What the policy says of one system call.
    pub(crate) fn verdict(&self, call: Call) -> u32 {
        let Some(abi) = self.abi_of(call) else { return KILL_THREAD };
        if abi == Abi::X86_64 && call.nr == u32::MAX {
            return self.default; // a call that a tracer skips
        }
        let known = &self.known[&abi];
        let Some(name) = known.by_number.get(&call.nr).filter(|name| known.spoken.contains(*name)) else {
            return if self.is_unknown(abi, call.nr) { ENOSYS } else { self.default };
        };
        if let Some(value) = unconditional(self.policy, name) {
            return value;
        }
        let mut values: Vec<u32> =
            conditional(self.policy, name).filter(|rule| applies(rule, name, abi, call.args)).map(rule_value).collect();
        if multiplexes(abi)
            && let Some((member, plain)) = carried(name, call.args[0])
        {
            values.extend(carried_values(self.policy, member, plain));
        }
        // The first of the strictest.
        values
            .into_iter()
            .reduce(|one, other| if strictness(other) < strictness(one) { other } else { one })
            .unwrap_or(self.default)
    }

    /// Whether a number the policy does not speak of is newer than the policy.
    pub(crate) fn is_unknown(&self, abi: Abi, nr: u32) -> bool {
        if matches!(self.default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000) || is_apart(abi, nr) {
            return false;
        }
        let known = &self.known[&abi];
        let Some(largest) = known.largest else { return false };
        let since = known.by_number.get(&nr).and_then(|name| syscalls::since(name));
        let is_later = self.newest.is_some() && since > self.newest && since >= Some((5, 0));
        let is_s390_zero = nr == 0 && matches!(abi, Abi::S390 | Abi::S390x);
        nr > largest || is_later || is_s390_zero
    }
}

impl Known {
    fn new(policy: &LinuxSeccomp, abi: Abi) -> Self {
        let by_number: HashMap<u32, &'static str> = syscalls::on(abi).map(|(name, number)| (number, name)).collect();
        let spoken: HashSet<&'static str> =
            by_number.values().copied().filter(|name| speaks_of(policy, name, abi)).collect();
        let numbers = || by_number.iter().filter(|(_, name)| spoken.contains(*name)).map(|(number, _)| *number);
        let largest = numbers().filter(|number| !is_apart(abi, *number)).max();
        let largest = largest.or(numbers().filter(|_| abi == Abi::X32).max());
        Self { by_number, spoken, largest }
    }
}

/// Numbers in a range of their own, which say nothing of age.
pub(crate) fn is_apart(abi: Abi, number: u32) -> bool {
    match abi {
        Abi::X32 => (X32_BIT + 512..=X32_BIT + 547).contains(&number),
        Abi::Arm => (0xf_0000..=0xf_ffff).contains(&number),
        _ => false,
    }
}

// ---- random policies ----

/// Constants at the edges: of words, of signs, of small integers.
pub(crate) const EDGES: [u64; 22] = [
    0,
    1,
    2,
    3,
    21,
    40,
    0x5412,
    0xffff,
    0x1_0000,
    0x2_0008,
    0x7e02_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ff9c,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0028,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_ff9c,
    u64::MAX,
];

/// Calls worth meeting often: with narrow arguments, multiplexed, apart, new.
const FAVOURITES: [&str; 40] = [
    "read",
    "write",
    "socket",
    "socketpair",
    "bind",
    "accept",
    "accept4",
    "send",
    "socketcall",
    "ipc",
    "semop",
    "semtimedop",
    "shmat",
    "shmget",
    "msgctl",
    "clone",
    "clone3",
    "personality",
    "ioctl",
    "prctl",
    "openat",
    "chmod",
    "mmap",
    "kill",
    "futex",
    "statx",
    "close_range",
    "openat2",
    "faccessat2",
    "set_tls",
    "execve",
    "execveat",
    "preadv",
    "io_uring_setup",
    "mseal",
    "uretprobe",
    "keyctl",
    "unshare",
    "cachestat",
    "mknod",
];

pub(crate) const ACTIONS: [(&str, Option<u32>); 10] = [
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_ERRNO", Some(38)),
    ("SCMP_ACT_ERRNO", Some(0)),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", None),
    ("SCMP_ACT_TRAP", None),
    ("SCMP_ACT_TRACE", Some(77)),
    ("SCMP_ACT_LOG", None),
    ("SCMP_ACT_ALLOW", None),
];

fn any_name() -> impl Strategy<Value = String> {
    let all: Vec<&str> = syscalls::on(Abi::X86_64).chain(syscalls::on(Abi::X86)).map(|(name, _)| name).collect();
    prop_oneof![
        3 => prop::sample::select(&FAVOURITES[..]).prop_map(str::to_owned),
        3 => prop::sample::select(all).prop_map(str::to_owned),
    ]
}

pub(crate) fn any_condition(constants: &'static [u64]) -> impl Strategy<Value = Value> {
    const OPERATORS: [&str; 7] = [
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ];
    let constant = prop::sample::select(constants);
    (0..6usize, prop::sample::select(&OPERATORS[..]), constant.clone(), constant).prop_map(|(index, op, value, two)| {
        let mut condition = json!({"index": index, "value": value, "op": op});
        if op == "SCMP_CMP_MASKED_EQ" {
            condition["valueTwo"] = json!(two & value);
        }
        condition
    })
}

fn any_action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop::sample::select(&ACTIONS[..])
}

pub(crate) fn rule(names: &[String], action: (&str, Option<u32>), args: &[Value]) -> Value {
    let mut rule = json!({"names": names, "action": action.0});
    if let Some(errno) = action.1 {
        rule["errnoRet"] = json!(errno);
    }
    if !args.is_empty() {
        rule["args"] = json!(args);
    }
    rule
}

pub(crate) fn policy(default: (&str, Option<u32>), architectures: &[&str], rules: &[Value]) -> LinuxSeccomp {
    let mut policy = json!({"defaultAction": default.0, "architectures": architectures, "syscalls": rules});
    if let Some(errno) = default.1 {
        policy["defaultErrnoRet"] = json!(errno);
    }
    serde_json::from_value(policy).expect("a generated policy is well-formed")
}

/// Any policy at all for machines of one byte order.
pub(crate) fn any_policy(architectures: &'static [&'static str]) -> impl Strategy<Value = LinuxSeccomp> {
    let names = prop::collection::vec(any_name(), 1..8);
    let args = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(any_condition(&EDGES), 1..4),
    ];
    let one = (names, any_action(), args).prop_map(|(names, action, args)| rule(&names, action, &args));
    let listed = prop::collection::vec(prop::sample::select(architectures), 0..4);
    (any_action(), listed, prop::collection::vec(one, 0..14))
        .prop_map(|(default, listed, rules)| policy(default, &listed, &rules))
}

// ---- sweeps ----

/// Numbers worth trying on every architecture: what the policy names and its neighbours, and the edges of ranges.
pub(crate) fn numbers(policy: &LinuxSeccomp) -> BTreeSet<u32> {
    let mut numbers: BTreeSet<u32> =
        [0, 1, 101, 102, 103, 116, 117, 118, 335, 336, 437, 511, 512, 547, 548, 1023, 1024, 4000]
            .into_iter()
            .flat_map(|number| [number, X32_BIT + number])
            .chain([
                0xe_ffff,
                0xf_0000,
                0xf_0005,
                0xf_0006,
                0xf_ffff,
                0x10_0000,
                X32_BIT - 1,
                0x8000_0000,
                u32::MAX - 1,
                u32::MAX,
            ])
            .collect();
    for name in names(policy) {
        for abi in Abi::ALL {
            if let Some(number) = syscalls::number(name, abi) {
                numbers.extend([number.saturating_sub(1), number, number + 1]);
            }
        }
    }
    numbers
}

/// Argument values around the constants of the rules for any of these names, for each argument that is looked at.
pub(crate) fn arguments(policy: &LinuxSeccomp, name: Option<&str>) -> Vec<[u64; 6]> {
    let mut constants: BTreeSet<u64> = [0, 1, u64::MAX].into();
    let mut indices = BTreeSet::new();
    if matches!(name, Some("socketcall" | "ipc")) {
        constants.extend((0..26).flat_map(|call| [call, call | 1 << 16, call | 1 << 32]));
        indices.insert(0);
    }
    let conditions: Vec<&LinuxSeccompArg> = rules(policy)
        .iter()
        .filter(|rule| name.is_some_and(|name| rule.names().iter().any(|n| n == name)))
        .flat_map(|rule| rule.args().iter().flatten())
        .collect();
    for condition in &conditions {
        indices.insert(condition.index());
        for value in [condition.value(), condition.value_two().unwrap_or(0)] {
            for value in [value, value.wrapping_sub(1), value.wrapping_add(1)] {
                constants.extend([
                    value,
                    value ^ 1 << 31,
                    value ^ 1 << 32,
                    value & 0xffff_ffff,
                    value ^ 1 << 16,
                    value ^ 1 << 63,
                ]);
            }
        }
    }
    // The base makes as many conditions as possible hold, so that one argument decides among several.
    let mut base = [0; 6];
    for condition in &conditions {
        base[condition.index()] = match condition.op() {
            Operator::ScmpCmpMaskedEq => condition.value_two().unwrap_or(0),
            Operator::ScmpCmpNe | Operator::ScmpCmpGt => condition.value().wrapping_add(1),
            Operator::ScmpCmpLt => condition.value().wrapping_sub(1),
            _ => condition.value(),
        };
    }
    let mut all = vec![[0; 6], base];
    for index in indices {
        for constant in &constants {
            let mut args = base;
            args[index] = *constant;
            all.push(args);
        }
    }
    all
}

/// Every call worth trying on a policy.
pub(crate) fn calls(policy: &LinuxSeccomp, native: Abi) -> Vec<Call> {
    let reference = Reference::new(policy, native);
    let arches: BTreeSet<u32> = Abi::ALL.iter().map(|abi| abi.audit_arch()).chain([0, u32::MAX]).collect();
    let numbers = numbers(policy);
    let mut calls = Vec::new();
    for arch in arches {
        for (at, nr) in numbers.iter().copied().enumerate() {
            let call = Call { arch, nr, args: [0; 6] };
            match reference.abi_of(call) {
                Some(abi) => {
                    let name = reference.known[&abi].by_number.get(&nr).copied();
                    calls.extend(arguments(policy, name).into_iter().map(|args| Call { args, ..call }));
                }
                // A foreign architecture: a few numbers will do.
                None if at % 16 == 0 || arch == Abi::X86_64.audit_arch() => calls.push(call),
                None => {}
            }
        }
    }
    calls
}
