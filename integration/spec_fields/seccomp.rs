//! linux.seccomp: every action and operator, on a call busybox makes or the probe tries.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged};
use serde_json::{Value, json};

/// x86-64 and arm64 number them differently; the tests try them by number.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const GETPRIORITY: &str = "140";
    pub(super) const PERSONALITY: &str = "135";
}
#[cfg(not(target_arch = "x86_64"))]
mod number {
    pub(super) const GETPRIORITY: &str = "141";
    pub(super) const PERSONALITY: &str = "92";
}

/// A filter that allows all but one rule.
fn rule(rule: Value) -> Bundle {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    Bundle::new("seccomp").with_probe("probe").set("/linux/seccomp", filter)
}

fn mkdir(bundle: Bundle) -> Outcome {
    bundle.args(["mkdir", "/dev/shm/x"]).run()
}

/// The probe's personality(VALUE): a call with an argument nothing else makes.
fn personality(bundle: Bundle, value: &str) -> String {
    let outcome = bundle.args(["probe", "syscall", number::PERSONALITY, value]).run().ok();
    outcome.trimmed().rsplit(' ').next().expect("a word").to_owned()
}

#[test]
fn errno_is_eperm_unless_told_otherwise() {
    privileged!();
    let names = json!(["mkdir", "mkdirat"]);
    mkdir(rule(json!({ "names": names, "action": "SCMP_ACT_ERRNO" }))).exits(1).says("operation not permitted");
    mkdir(rule(json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }))).exits(1).says("no space left");
    mkdir(rule(json!({ "names": names, "action": "SCMP_ACT_ALLOW" }))).ok();
}

#[test]
fn kill_ends_the_process_with_sigsys() {
    privileged!();
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        mkdir(rule(json!({ "names": ["mkdir", "mkdirat"], "action": action }))).exits(159);
    }
}

#[test]
fn log_lets_the_call_through() {
    privileged!();
    mkdir(rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG" }))).ok();
}

#[test]
fn trace_without_a_tracer_is_enosys() {
    privileged!();
    mkdir(rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_TRACE", "errnoRet": 7 })))
        .exits(1)
        .says("function not implemented");
}

#[test]
fn every_operator_compares_as_it_says() {
    privileged!();
    for (op, value, two, hits, misses) in [
        ("SCMP_CMP_EQ", 8, 0, "8", "9"),
        ("SCMP_CMP_NE", 8, 0, "9", "8"),
        ("SCMP_CMP_LT", 8, 0, "7", "8"),
        ("SCMP_CMP_LE", 8, 0, "8", "0x20000"),
        ("SCMP_CMP_GT", 8, 0, "0x20000", "8"),
        ("SCMP_CMP_GE", 8, 0, "8", "0"),
        ("SCMP_CMP_MASKED_EQ", 0xF0, 0x20, "0x2F", "0x3F"),
    ] {
        let args = json!([{ "index": 0, "value": value, "valueTwo": two, "op": op }]);
        let filter = json!({ "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args });
        assert_eq!(personality(rule(filter.clone()), hits), "ENOSPC", "{op} {hits}");
        assert_ne!(personality(rule(filter), misses), "ENOSPC", "{op} {misses}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    privileged!();
    let args =
        json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 77, "op": "SCMP_CMP_EQ" }]);
    let filter = json!({ "names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args });
    let try_it = |first: &str, second: &str| {
        rule(filter.clone()).args(["probe", "syscall", number::GETPRIORITY, first, second]).run().ok().trimmed()
    };
    assert!(try_it("1", "77").ends_with("ENOSPC"));
    assert!(!try_it("1", "0").ends_with("ENOSPC"));
    assert!(!try_it("0", "77").ends_with("ENOSPC"));
}

#[test]
fn one_of_several_rules_is_enough() {
    privileged!();
    let one = |value: u64| {
        let args = json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
        json!({ "names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": args })
    };
    let bundle = || {
        let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [one(8), one(16)] });
        Bundle::new("seccompor").with_probe("probe").set("/linux/seccomp", filter)
    };
    assert_eq!(personality(bundle(), "8"), "ENOSPC");
    assert_eq!(personality(bundle(), "16"), "ENOSPC");
    assert_ne!(personality(bundle(), "0"), "ENOSPC");
}

/// What a static program needs to start, write a line and end, and a runtime to start it.
const BASICS: &str = "access arch_prctl brk capget chdir clone close close_range dup2 dup3 epoll_create1 epoll_ctl epoll_pwait \
    execve execveat exit exit_group fchdir fchown fcntl fstat fstatfs futex getcwd getdents64 getgid getpid getppid \
    getrandom gettid getuid ioctl lseek madvise mmap mprotect munmap nanosleep newfstatat openat prctl pread64 prlimit64 \
    read readlink readlinkat rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list \
    set_tid_address sigaltstack statfs statx tgkill uname wait4 write writev";

fn allow_list(default: Value) -> Bundle {
    let names: Vec<&str> = BASICS.split_whitespace().collect();
    let mut filter = default;
    filter["syscalls"] = json!([{ "names": names, "action": "SCMP_ACT_ALLOW" }]);
    Bundle::new("allowlist").with_probe("probe").set("/linux/seccomp", filter)
}

#[test]
fn the_default_action_meets_what_no_rule_names() {
    privileged!();
    let filter =
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"] });
    assert_eq!(personality(allow_list(filter.clone()), "8"), "EPERM");
    let mut with_errno = filter;
    with_errno["defaultErrnoRet"] = json!(28);
    assert_eq!(personality(allow_list(with_errno), "8"), "ENOSPC");
}

#[test]
fn a_call_newer_than_the_filter_is_enosys() {
    privileged!();
    lacks!("crun" < "never": "ENOSYS for unknown calls");
    let filter =
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"] });
    allow_list(filter).args(["probe", "syscall", "600"]).run().ok().prints("600: ENOSYS");
}

#[test]
fn an_unknown_name_is_left_out_and_the_rest_holds() {
    privileged!();
    let names = json!(["no_such_call", "mkdir", "mkdirat"]);
    mkdir(rule(json!({ "names": names, "action": "SCMP_ACT_ERRNO" }))).exits(1).says("operation not permitted");
}

#[test]
fn a_filter_holds_without_no_new_privs_too() {
    privileged!();
    let bundle = rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }));
    mkdir(bundle.set("/process/noNewPrivileges", false)).exits(1).says("no space left");
    let bundle = rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }));
    let bundle =
        bundle.set("/process/noNewPrivileges", false).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    mkdir(bundle).exits(1).says("no space left");
}

#[test]
fn exec_has_the_same_filter() {
    privileged!();
    let container =
        rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 })).sleeping().started();
    container.exec(["mkdir", "/dev/shm/x"]).exits(1).says("no space left");
    container.exec(["grep", "Seccomp:", "/proc/self/status"]).ok().prints("Seccomp:\t2");
}

#[test]
fn flags_are_accepted() {
    privileged!();
    lacks!("runc" < "1.2": "seccomp flags");
    for flags in [json!([]), json!(["SECCOMP_FILTER_FLAG_LOG"]), json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"])] {
        let bundle = rule(json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }));
        mkdir(bundle.set("/linux/seccomp/flags", flags)).exits(1).says("operation not permitted");
    }
}

#[test]
fn an_unknown_action_or_operator_is_refused() {
    privileged!();
    let refused = |bundle: Bundle| {
        let container = Container::new(bundle);
        container.create_command(&[]).finish().refused();
        container.leaves_nothing();
    };
    refused(rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_NONSENSE" })));
    let args = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_NONSENSE" }]);
    refused(rule(json!({ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args })));
}

/// What the filter denies to the program it denies to the runtime, which has to say all the same why there is no program.
#[test]
fn a_program_that_cannot_be_executed_is_told_of_through_the_filter() {
    privileged!();
    lacks!("runc" < "never": "a message when its calls are denied", "crun" < "never": "a message when its calls are denied");
    for denied in ["sendmsg", "write"] {
        let policy = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [denied], "action": "SCMP_ACT_ERRNO" }] });
        let bundle = Bundle::new("untold").set("/linux/seccomp", policy).args(["/garbage"]);
        let path = bundle.rootfs().join("garbage");
        std::fs::write(&path, "\x01\x02\x03").expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let container = Container::new(bundle);
        container.run().refused().says("exec format error");
        container.create();
        container.start().refused().says("exec format error");
    }
}
