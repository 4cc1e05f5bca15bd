//! Class K: arguments that a filter reads in 64 bits and the kernel in 32; and system calls by other gates.
#![forbid(unsafe_code)]

use super::held::{EACH, TELLING, extended, held, run, start};
use crate::loot::{Loot, result};
use crate::support::{self, Bundle, Finish as _};
use serde_json::{Value, json};

/// What a caller can leave in the upper half of a register.
const HIGH: [u64; 4] = [1 << 32, 0xdead_beef << 32, 0x8000_0000 << 32, 0xffff_ffff << 32];

/// A call, the argument whose upper half is filled, and the answer: of the filter, or of the kernel.
struct Call {
    name: &'static str,
    number: i64,
    index: usize,
    arguments: [u64; 6],
    denied: bool,
}

#[allow(clippy::useless_conversion, reason = "c_long is narrower elsewhere")]
fn call(name: &'static str, number: libc::c_long, index: usize, arguments: [u64; 6], denied: bool) -> Call {
    Call { name, number: number.into(), index, arguments, denied }
}

const SIGCHLD: u64 = 17;

/// Every integer argument that the rules of `restricted` look at: values that they deny and values that they let through.
fn calls() -> Vec<Call> {
    let mut calls = vec![
        call("TIOCSTI", libc::SYS_ioctl, 1, [0, 0x5412, 0, 0, 0, 0], true),
        call("TIOCLINUX", libc::SYS_ioctl, 1, [0, 0x541c, 0, 0, 0, 0], true),
        call("TIOCGWINSZ", libc::SYS_ioctl, 1, [0, 0x5413, 0, 0, 0, 0], false),
        call("personality ASLR", libc::SYS_personality, 0, [0x0004_0000, 0, 0, 0, 0, 0], true),
        call("personality 1", libc::SYS_personality, 0, [1, 0, 0, 0, 0, 0], true),
        call("personality ask", libc::SYS_personality, 0, [0xffff_ffff, 0, 0, 0, 0, 0], false),
        call("personality Linux", libc::SYS_personality, 0, [0; 6], false),
        call("socketpair inet", libc::SYS_socketpair, 0, [2, 1, 0, 0, 0, 0], true),
        call("socketpair unix", libc::SYS_socketpair, 0, [1, 1, 0, 0, 0, 0], false),
        call("netlink netfilter", libc::SYS_socket, 2, [16, 3, 12, 0, 0, 0], true),
        call("netlink audit", libc::SYS_socket, 2, [16, 3, 9, 0, 0, 0], true),
        call("netlink crypto", libc::SYS_socket, 2, [16, 3, 21, 0, 0, 0], true),
        call("netlink netfilter", libc::SYS_socket, 0, [16, 3, 12, 0, 0, 0], true),
        call("netlink netfilter", libc::SYS_socket, 1, [16, 3, 12, 0, 0, 0], true),
        call("netlink route", libc::SYS_socket, 2, [16, 3, 0, 0, 0, 0], false),
    ];
    for family in [0, 5, 9, 17, 21, 29, 31, 38, 40, 44, 45] {
        calls.push(call("socket of another family", libc::SYS_socket, 0, [family, 1, 0, 0, 0, 0], true));
    }
    for family in [1, 2, 10] {
        calls.push(call("socket", libc::SYS_socket, 0, [family, 1, 0, 0, 0, 0], false));
    }
    // Shared address space without a stack would be the end of the probe: what is not denied is only a fork.
    for flag in [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x7e02_0000]
    {
        calls.push(call("clone of a namespace", libc::SYS_clone, 0, [flag | SIGCHLD, 0, 0, 0, 0, 0], true));
    }
    calls
}

/// The words of `look` for a call, and the line it prints.
fn words(number: i64, arguments: &[u64; 6]) -> String {
    let arguments = arguments.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    format!("call {number} {arguments}")
}

fn looking(name: &str, attempts: &[String]) -> Bundle {
    let mut args = vec!["/bin/look".to_owned()];
    for attempt in attempts {
        args.extend(attempt.split(' ').map(str::to_owned));
        args.push("--".to_owned());
    }
    Bundle::new(name).with_probe("look").set("/process/args", json!(args))
}

#[test]
fn k_every_integer_argument_gets_the_verdict_of_its_low_word() {
    held!();
    let mut loot = Loot::new(&[]);
    let calls = calls();
    let attempts: Vec<(usize, String)> = calls
        .iter()
        .enumerate()
        .flat_map(|(at, call)| {
            [0].iter().chain(&HIGH).map(move |high| {
                let mut arguments = call.arguments;
                arguments[call.index] |= high;
                (at, words(call.number, &arguments))
            })
        })
        .collect();
    let lines: Vec<String> = attempts.iter().map(|(_, line)| line.clone()).collect();
    // Without the profile, the kernel sees no difference, either, and answers none of them with the filter's error.
    let free = super::held::As::Root.container(looking("words", &lines)).run().ok().stdout();
    for who in EACH {
        let container = who.container(looking("words", &lines));
        let got = run(&container, &extended(&container.bundle, TELLING)).ok().stdout();
        let joining = who.container(looking("wordsexec", &[]).sleeping());
        start(&joining, &extended(&joining.bundle, TELLING));
        let args: Vec<&str> = container.bundle.config["process"]["args"]
            .as_array()
            .expect("words")
            .iter()
            .map(|word| word.as_str().expect("a word"))
            .collect();
        let joined = joining.exec_command(&[], &args).finish().ok().stdout();
        for (at, line) in &attempts {
            let call = &calls[*at];
            // The rules for a terminal answer EPERM; no terminal does that.
            let filter = if call.name.starts_with("TIOC") { "EPERM" } else { "ENETUNREACH" };
            let free = result(&free, line);
            assert_ne!(free, filter, "{}: {line}: not only the filter answers this", call.name);
            for (how, got) in [("run", result(&got, line)), ("exec", result(&joined, line))] {
                let wrong = if call.denied { got != filter } else { got == filter };
                loot.take_if(wrong, || format!("{who:?}, {how}: {}: {line}: {got}", call.name));
            }
        }
    }
    loot.must_be_empty();
}

/// Rules of the container's own, which are joined with the profile's.
#[test]
fn k_arguments_of_the_containers_own_filter_keep_their_width_beside_the_profiles() {
    held!();
    let mut loot = Loot::new(&[]);
    let rules = [
        call("prctl", libc::SYS_prctl, 0, [22, 99, 0, 0, 0, 0], true),
        call("madvise", libc::SYS_madvise, 2, [0, 0, 100, 0, 0, 0], true),
        call("fcntl", libc::SYS_fcntl, 1, [1, 1031, 4096, 0, 0, 0], true),
        call("kill", libc::SYS_kill, 1, [0x3fff_ffff, 31, 0, 0, 0, 0], true),
        call("setsockopt", libc::SYS_setsockopt, 2, [1, 1, 26, 0, 0, 0], true),
        call("flock", libc::SYS_flock, 1, [99, 8, 0, 0, 0, 0], true),
    ];
    let own: Vec<Value> = rules
        .iter()
        .map(|rule| {
            let value = rule.arguments[rule.index];
            json!({ "names": [rule.name], "action": "SCMP_ACT_ERRNO", "errnoRet": 74,
                    "args": [{ "index": rule.index, "value": value, "op": "SCMP_CMP_EQ" }] })
        })
        .collect();
    let filled = |rule: &Call, high: u64| {
        let mut arguments = rule.arguments;
        arguments[rule.index] |= high;
        words(rule.number, &arguments)
    };
    let lines: Vec<String> =
        rules.iter().flat_map(|rule| [0].iter().chain(&HIGH).map(|high| filled(rule, *high))).collect();
    for who in EACH {
        let bundle = looking("ownwords", &lines);
        let free = who.container(looking("ownwords", &lines)).run().ok().stdout();
        let policy = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": own });
        let got = run(&who.container(bundle.set("/linux/seccomp", policy)), "restricted").ok().stdout();
        for line in &lines {
            assert_ne!(result(&free, line), "EBADMSG", "{line}");
            let got = result(&got, line);
            loot.take_if(got != "EBADMSG", || format!("{who:?}: {line}: {got}"));
        }
    }
    loot.must_be_empty();
}

/// The gates of 32-bit programs and of x32 have other numbers for the same calls.
#[cfg(target_arch = "x86_64")]
#[test]
fn k_system_calls_by_the_gates_of_other_programs_kill() {
    held!();
    let mut loot = Loot::new(&[]);
    // getpid, socketcall, clone, unshare, keyctl, io_uring_setup, bpf; x32: getpid, ioctl, ptrace, mount
    let i386 = ["20", "102", "120", "310", "288", "425", "357"].map(|number| format!("i386:{number}"));
    let x32 = ["39", "514", "521", "165", "425", "101"].map(|number| format!("x32:{number}"));
    let words: Vec<String> = [&["/bin/gates".to_owned()][..], &i386, &x32].concat();
    let bundle = || Bundle::new("gates").with_probe("gates").set("/process/args", json!(words));
    let free = super::held::As::Root.container(bundle()).run().ok().stdout();
    assert_eq!(result(&free, "x86_64:39"), "ok", "{free}");
    let has = |gate: &str| free.lines().any(|line| line.starts_with(gate) && line.ends_with(": ok"));
    if !has("i386:20") && !has("x32:39") {
        return support::skip("the kernel has neither 32-bit programs nor x32");
    }
    for who in EACH {
        let container = who.container(bundle());
        let got = run(&container, "restricted").ok().stdout();
        assert_eq!(result(&got, "x86_64:39"), "ok", "{got}");
        for name in i386.iter().chain(&x32) {
            let got = result(&got, name);
            loot.take_if(got != "killed by 31", || format!("{who:?}: {name}: {got}"));
        }
    }
    loot.must_be_empty();
}
