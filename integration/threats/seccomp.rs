//! Class K: an argument the filter reads in 64 bits and the kernel in 32, and conditions that must all hold.
#![forbid(unsafe_code)]

use super::loot::{Loot, result};
use crate::support::{Bundle, Container, privileged};
use serde_json::{Value, json};

/// The filter's answer: no system call used here fails with it by itself.
const ANSWER: (&str, u32) = ("EBADMSG", 74);

const BIT_32: u64 = 1 << 32;

/// A system call, the index of one of its `int` arguments, the forbidden value of it, and the other arguments, which
/// make the call harmless: most fail on them.
struct Rule {
    name: &'static str,
    number: i64,
    index: usize,
    value: u64,
    arguments: [u64; 6],
}

fn rules() -> Vec<Rule> {
    let rule = |name, number: libc::c_long, index: usize, value: u64, mut arguments: [u64; 6]| {
        arguments[index] = value;
        #[allow(clippy::useless_conversion, reason = "c_long is narrower elsewhere")]
        Rule { name, number: number.into(), index, value, arguments }
    };
    vec![
        // socket(AF_ALG), socket(AF_VSOCK): families with a history
        rule("socket", libc::SYS_socket, 0, 38, [0, 5, 0, 0, 0, 0]),
        rule("socket", libc::SYS_socket, 0, 40, [0, 1, 0, 0, 0, 0]),
        // socket(…, SOCK_RAW)
        rule("socket", libc::SYS_socket, 1, 3, [17, 0, 0, 0, 0, 0]),
        // ioctl(TIOCSTI), ioctl(TIOCLINUX)
        rule("ioctl", libc::SYS_ioctl, 1, 0x5412, [1, 0, 0, 0, 0, 0]),
        rule("ioctl", libc::SYS_ioctl, 1, 0x541c, [1, 0, 0, 0, 0, 0]),
        rule("personality", libc::SYS_personality, 0, 0x0040_0000, [0; 6]),
        rule("prctl", libc::SYS_prctl, 0, 22, [0, 99, 0, 0, 0, 0]),
        rule("keyctl", libc::SYS_keyctl, 0, 1, [0, 0, 0, 0, 0, 0]),
        rule("madvise", libc::SYS_madvise, 2, 100, [0; 6]),
        rule("umount2", libc::SYS_umount2, 1, 2, [0; 6]),
        rule("setns", libc::SYS_setns, 1, 0x4000_0000, [1, 0, 0, 0, 0, 0]),
        rule("fcntl", libc::SYS_fcntl, 1, 1031, [1, 0, 4096, 0, 0, 0]),
        rule("kill", libc::SYS_kill, 1, 31, [0x3fff_ffff, 0, 0, 0, 0, 0]),
        rule("setsockopt", libc::SYS_setsockopt, 2, 26, [1, 1, 0, 0, 0, 0]),
    ]
}

/// Runs the calls one after the other under the filter; results in the same order.
fn calls(seccomp: Value, calls: &[(i64, [u64; 6])]) -> Vec<String> {
    let mut args = vec!["/bin/look".to_owned()];
    let mut attempts = Vec::new();
    for (number, arguments) in calls {
        let mut attempt = vec!["call".to_owned(), number.to_string()];
        attempt.extend(arguments.iter().map(u64::to_string));
        attempts.push(attempt.join(" "));
        args.extend(attempt);
        args.push("--".to_owned());
    }
    let bundle =
        Bundle::new("bit32").with_probe("look").set("/process/args", json!(args)).set("/linux/seccomp", seccomp);
    let output = Container::new(bundle).run().ok().stdout();
    attempts.iter().map(|attempt| result(&output, attempt)).collect()
}

fn deny(name: &str, arguments: Value) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": ANSWER.1, "args": arguments })
}

fn filter(syscalls: Vec<Value>) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [], "syscalls": syscalls })
}

#[test]
fn k_denied_integer_argument_is_denied_with_bit_32_set() {
    privileged!();
    // libseccomp compares 64 bits of every argument.
    let mut loot = Loot::new(&["runc", "crun"]);
    let rules = rules();
    let denials = rules
        .iter()
        .map(|rule| deny(rule.name, json!([{ "index": rule.index, "value": rule.value, "op": "SCMP_CMP_EQ" }])));
    let high_bits = [0, BIT_32, 1 << 63, 0xffff_ffff << 32];
    let mut attempts = Vec::new();
    for rule in &rules {
        for high in high_bits {
            let mut arguments = rule.arguments;
            arguments[rule.index] = rule.value | high;
            attempts.push((rule.number, arguments));
        }
    }
    let results = calls(filter(denials.collect()), &attempts);
    for (rule, results) in rules.iter().zip(results.chunks(high_bits.len())) {
        let case = format!("{} with argument {} = {:#x}", rule.name, rule.index, rule.value);
        assert_eq!(results[0], ANSWER.0, "{case}: the filter itself does not work");
        for (high, got) in high_bits.iter().zip(results).skip(1) {
            loot.take_if(got != ANSWER.0, || format!("{case} | {high:#x}: {got}"));
        }
    }
    loot.must_be_empty();
}

#[test]
fn k_comparisons_of_an_integer_argument_ignore_its_high_word() {
    privileged!();
    let mut loot = Loot::new(&["runc", "crun"]);
    // socket(DOMAIN, 5): denied when DOMAIN is …; the low word is what the kernel takes.
    for (operator, value, mask, denied) in [
        ("SCMP_CMP_EQ", 2, 0, 2),
        ("SCMP_CMP_LT", 10, 0, 2),
        ("SCMP_CMP_LE", 10, 0, 10),
        ("SCMP_CMP_GT", 10, 0, 11),
        ("SCMP_CMP_GE", 10, 0, 10),
        ("SCMP_CMP_NE", 10, 0, 2),
        ("SCMP_CMP_MASKED_EQ", 0xf, 2, 2),
    ] {
        let condition = json!([{ "index": 0, "value": value, "valueTwo": mask, "op": operator }]);
        let at = |domain: u64| (libc::SYS_socket, [domain, 5, 0, 0, 0, 0]);
        let results =
            calls(filter(vec![deny("socket", condition)]), &[at(denied), at(denied | BIT_32), at(denied | 1 << 63)]);
        assert_eq!(results[0], ANSWER.0, "{operator}: the filter itself does not work");
        for got in &results[1..] {
            loot.take_if(got != ANSWER.0, || format!("{operator} {value}: {denied} with a high bit: {got}"));
        }
    }
    loot.must_be_empty();
}

#[test]
fn k_allowed_integer_argument_allows_nothing_else_with_bit_32_set() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let condition = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let allow = json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": condition });
    let refuse_rest =
        (2..64).map(|domain| deny("socket", json!([{ "index": 0, "value": domain, "op": "SCMP_CMP_EQ" }])));
    let mut syscalls = vec![allow];
    syscalls.extend(refuse_rest);
    let at = |domain: u64| (libc::SYS_socket, [domain, 1, 0, 0, 0, 0]);
    let results = calls(filter(syscalls), &[at(1), at(2), at(16)]);
    assert_eq!(results[0], "ok", "the allowed call");
    loot.take_if(results[1..].iter().any(|got| got != ANSWER.0), || format!("{results:?}"));
    loot.must_be_empty();
}

#[test]
fn k_conditions_of_one_rule_must_all_hold() {
    privileged!();
    let mut loot = Loot::new(&[]);
    // Denied unless both hold, as an allow-list has it: a rule that holds when either does lets two more calls through.
    let both = json!([
        { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 2, "op": "SCMP_CMP_EQ" },
    ]);
    let denied = filter(vec![deny("socket", both)]);
    let at = |domain: u64, kind: u64| (libc::SYS_socket, [domain, kind, 0, 0, 0, 0]);
    let results = calls(denied, &[at(1, 2), at(1, 1), at(2, 2)]);
    assert_eq!(results[0], ANSWER.0, "the filter itself does not work");
    loot.take_if(results[1] == ANSWER.0 || results[2] == ANSWER.0, || format!("one condition is enough: {results:?}"));
    loot.must_be_empty();
}

/// A startContainer hook is a program of the image: it gets no more of the kernel than the container's own program.
#[test]
fn k_image_program_run_as_hook_is_under_the_filter() {
    privileged!();
    // crun runs these hooks before it loads the filter.
    let mut loot = Loot::new(&["crun"]);
    for no_new_privs in [true, false] {
        let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
        let bundle = Bundle::new("hookfilter").writable().set("/process/noNewPrivileges", no_new_privs);
        let bundle = bundle
            .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }))
            .set("/hooks/startContainer", json!([{ "path": "/hook" }]))
            .shell("cat /attempt");
        let hook = bundle.rootfs().join("hook");
        std::fs::write(&hook, "#!/bin/sh\nmkdir /made 2>/attempt && echo made >>/attempt; true\n").expect("a hook");
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
        let made = bundle.rootfs().join("made");
        let container = Container::new(bundle);
        let outcome = container.run().ok();
        assert!(outcome.stdout().contains("mkdir") || made.exists(), "the hook has run: {outcome:?}");
        loot.take_if(made.exists(), || format!("no_new_privs {no_new_privs}: {}", outcome.stdout()));
    }
    loot.must_be_empty();
}
