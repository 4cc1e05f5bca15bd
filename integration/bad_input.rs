//! A configuration that cannot be right: one clear message, exit status 1, nothing left behind.
//!
//! Of pent the message is checked: what, at which JSON path, and a hint where there is one to give. Of other runtimes only the exit status and the
//! absence of leftovers, in as far as they refuse the input at all.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use support::{Bundle, Container, Finish as _, Kind, Outcome, lacks, privileged};

/// Creates the container, which must fail and leave nothing; pent must name every one of `words`, `hint:` among them where
/// the message alone does not say what to do.
#[track_caller]
fn refused(bundle: Bundle, words: &[&str]) -> Outcome {
    let container = Container::new(bundle);
    let outcome = container.create_command(&[]).finish();
    refusal(&container, outcome, words)
}

/// The same for an outcome at hand.
#[track_caller]
fn refusal(container: &Container, outcome: Outcome, words: &[&str]) -> Outcome {
    let outcome = outcome.refused();
    assert_eq!(outcome.stdout(), "", "{outcome:?}");
    assert!(!container.pid_file().is_file(), "a pid file of nothing");
    container.leaves_nothing();
    if Kind::of_runtime() == Kind::Pent {
        let text = outcome.stderr().to_lowercase();
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(&word.to_lowercase())).collect();
        assert!(missing.is_empty(), "no {missing:?} in {outcome:?}");
        assert!(!text.contains("panicked"), "{outcome:?}");
    }
    outcome
}

/// A container whose config.json is this text.
#[track_caller]
fn refused_text(name: &str, text: &str, words: &[&str]) {
    let container = Container::new(Bundle::new(name));
    container.bundle.file("config.json", text);
    let outcome = container.create_command(&[]).finish();
    refusal(&container, outcome, words);
}

// The file.

#[test]
fn a_missing_config() {
    privileged!();
    let container = Container::new(Bundle::new("badnone"));
    fs::remove_file(container.bundle.path().join("config.json")).expect("remove");
    let outcome = container.create_command(&[]).finish();
    refusal(&container, outcome, &["config.json", "no such file"]);
}

#[test]
fn a_missing_bundle() {
    privileged!();
    let container = Container::new(Bundle::new("badbundle"));
    let outcome = container.runtime.call(["create", "--bundle", "/no/such/bundle", container.id()]);
    refusal(&container, outcome, &["/no/such/bundle", "no such", "hint:"]);
}

#[test]
fn what_is_not_json() {
    privileged!();
    for (text, words) in [
        ("", &["config.json"][..]),
        ("{", &["config.json"]),
        ("not json", &["config.json", "line 1"]),
        ("{\n  \"ociVersion\": \"1.0.2\",\n}", &["config.json", "line 3"]),
        ("[]", &["config.json"]),
        ("\u{0}\u{1}\u{2}", &["config.json"]),
    ] {
        refused_text("badjson", text, words);
    }
}

#[test]
fn a_wrong_type() {
    privileged!();
    lacks!("crun" < "never": "a check of the types of fields");
    refused(Bundle::new("badtype").set("/process/args", "sh"), &["process.args"]);
    refused(Bundle::new("badtype").set("/process/user/uid", "root"), &["process.user.uid"]);
    refused(Bundle::new("badtype").set("/process/user/uid", -1), &["process.user.uid"]);
    refused(Bundle::new("badtype").set("/process/user/uid", 4_294_967_296_u64), &["process.user.uid"]);
    refused(Bundle::new("badtype").set("/root", json!([])), &["root"]);
    refused(Bundle::new("badtype").set("/mounts/2/options", "ro"), &["mounts[2].options"]);
    refused(Bundle::new("badtype").set("/process/env", json!({ "A": "1" })), &["process.env"]);
}

#[test]
fn a_typo_in_a_field() {
    privileged!();
    let kind = Kind::of_runtime();
    if kind != Kind::Pent {
        return support::skip(&format!("{} lacks a check of the names of fields", kind.name()));
    }
    let container = Container::new(Bundle::new("badtypo").set("/root/readOnly", true).writable());
    let outcome = container.create_command(&[]).finish();
    // Unknown fields are allowed by the specification, so this may be a warning; silence it may not be.
    outcome.says("root.readOnly").says("readonly");
}

// What it runs.

#[test]
fn missing_required_fields() {
    privileged!();
    refused(Bundle::new("badargs").set("/process/args", json!([])), &["process.args"]);
    refused(Bundle::new("badcwd").set("/process/cwd", ""), &["process.cwd"]);
    lacks!("crun" < "never": "a check of required fields");
    refused(Bundle::new("badprocess").remove("/process"), &["process"]);
    refused(Bundle::new("badroot").remove("/root"), &["root"]);
    lacks!("runc" < "never": "a demand for ociVersion");
    refused(Bundle::new("badversion").remove("/ociVersion"), &["ociVersion"]);
}

#[test]
fn a_relative_working_directory() {
    privileged!();
    lacks!("crun" < "never": "a refusal of relative directories");
    refused(Bundle::new("badcwd").set("/process/cwd", "etc"), &["process.cwd", "absolute", "hint:"]);
}

#[test]
fn a_missing_executable() {
    privileged!();
    refused(
        Bundle::new("badexec").args(["no-such-program"]),
        &["no-such-program", "executable file not found in $PATH", "hint:"],
    );
    refused(
        Bundle::new("badexec").args(["/no/such/program"]),
        &["/no/such/program", "no such file or directory", "hint:"],
    );
}

#[test]
fn an_executable_without_permission() {
    privileged!();
    lacks!("crun" < "1.9": "a look at the execute permission during create");
    let bundle = Bundle::new("badperm");
    let file = bundle.rootfs().join("program");
    fs::write(&file, "#!/bin/sh\n").expect("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("mode");
    refused(bundle.args(["/program"]), &["/program", "permission denied", "hint:"]);
}

#[test]
fn a_nul_in_a_string() {
    privileged!();
    lacks!("runc" < "never": "a refusal of NUL in strings");
    lacks!("crun" < "never": "a refusal of NUL in strings");
    refused(Bundle::new("badnul").set("/process/args", json!(["echo", "a\u{0}b"])), &["process.args[1]"]);
    refused(Bundle::new("badnul").push("/process/env", "A=\u{0}"), &["process.env"]);
}

#[test]
fn an_unknown_rlimit_or_one_set_twice() {
    privileged!();
    let limit = |name: &str| json!({ "type": name, "soft": 1, "hard": 1 });
    refused(
        Bundle::new("badrlimit").set("/process/rlimits", json!([limit("RLIMIT_NONSENSE")])),
        &["process.rlimits[0]", "RLIMIT_NONSENSE"],
    );
    lacks!("runc" < "never": "a check for a limit set twice", "crun" < "never": "a check for a limit set twice");
    let twice = json!([limit("RLIMIT_CPU"), limit("RLIMIT_CPU")]);
    refused(Bundle::new("badrlimit").set("/process/rlimits", twice), &["process.rlimits[1]", "RLIMIT_CPU"]);
}

#[test]
fn a_limit_out_of_range_is_not_said_to_be_a_bad_mount_too() {
    privileged!();
    lacks!("crun" < "never": "a check of the range");
    let limit = match support::cgroup2_only() {
        true => json!({ "memory": { "limit": 200_000_000, "swap": 100_000_000 } }),
        false => json!({ "cpu": { "shares": 1 } }),
    };
    let bundle = Bundle::new("badrange").without_namespace("cgroup").set("/linux/resources", limit);
    let outcome = refused(bundle, &["linux.resources."]);
    assert!(!outcome.stderr().contains("mounts["), "{outcome:?}");
}

#[test]
fn a_soft_limit_above_the_hard_one() {
    privileged!();
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 200, "hard": 100 }]);
    refused(Bundle::new("badsoft").set("/process/rlimits", limit), &["rlimit"]);
}

#[test]
fn an_oom_score_outside_its_range() {
    privileged!();
    lacks!("crun" < "never": "a check of the range of oom_score_adj");
    refused(Bundle::new("badoom").set("/process/oomScoreAdj", 1001), &["process.oomScoreAdj"]);
}

// The root and the mounts.

#[test]
fn a_missing_rootfs() {
    privileged!();
    refused(Bundle::new("badrootfs").set("/root/path", "nowhere"), &["root.path", "nowhere", "hint:"]);
}

#[test]
fn a_rootfs_that_is_a_file() {
    privileged!();
    let bundle = Bundle::new("badfile");
    bundle.file("plain", "");
    refused(bundle.set("/root/path", "plain"), &["root.path"]);
}

#[test]
fn a_mount_over_proc_that_hides_processes() {
    privileged!();
    lacks!("crun" < "never": "a refusal of mounts inside /proc");
    let bundle = Bundle::new("badproc");
    let volume = bundle.dir("volume");
    refused(bundle.mount("/proc/sys", "bind", &volume, &["bind"]), &["mounts[7]", "/proc"]);
}

#[test]
fn a_mount_without_a_destination() {
    privileged!();
    lacks!("crun" < "never": "a check of required fields", "runc" < "never": "a check of required fields");
    refused(Bundle::new("badnodest").push("/mounts", json!({ "type": "tmpfs", "source": "tmpfs" })), &["mounts[7]"]);
}

#[test]
fn a_directory_onto_a_file() {
    privileged!();
    let bundle = Bundle::new("badonto");
    let volume = bundle.dir("volume");
    refused(bundle.mount("/etc/passwd", "bind", &volume, &["bind"]), &["/etc/passwd", "directory"]);
}

#[test]
fn an_unknown_propagation() {
    privileged!();
    lacks!("crun" < "never": "a refusal of unknown propagation");
    refused(
        Bundle::new("badprop").set("/linux/rootfsPropagation", "sideways"),
        &["linux.rootfsPropagation", "sideways", "hint:"],
    );
}

// Namespaces and what needs them.

#[test]
fn an_unknown_namespace_or_one_listed_twice() {
    privileged!();
    let listed = |kind: &str| Bundle::new("badns").push("/linux/namespaces", json!({ "type": kind }));
    refused(listed("nonsense"), &["linux.namespaces[5]", "nonsense"]);
    lacks!("crun" < "never": "a check for a namespace listed twice");
    refused(listed("pid"), &["linux.namespaces[5]", "pid"]);
}

#[test]
fn a_user_namespace_without_mappings() {
    privileged!();
    lacks!("crun" < "never": "a demand for mappings of a user namespace");
    refused(Bundle::new("badmap").namespace("user", None), &["linux.uidMappings"]);
}

#[test]
fn overlapping_mappings() {
    privileged!();
    let map = json!([
        { "containerID": 0, "hostID": 100_000, "size": 10 },
        { "containerID": 5, "hostID": 200_000, "size": 10 },
    ]);
    let bundle = Bundle::new("badoverlap").namespace("user", None);
    refused(bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map), &["linux.uidMappings"]);
}

#[test]
fn a_hostname_too_long() {
    privileged!();
    refused(Bundle::new("badhost").set("/hostname", "x".repeat(65)), &["hostname"]);
}

#[test]
fn a_capability_that_does_not_exist_is_only_a_warning() {
    privileged!();
    lacks!("crun" < "never": "a run with an unknown capability");
    let container = Container::new(Bundle::new("badcap").push("/process/capabilities/bounding", "CAP_NONSENSE"));
    // In the log: standard error belongs to the container.
    let log = container.bundle.file("log", "");
    let mut command = container.runtime.command(["--log"]);
    command.arg(&log).args(["run", "--bundle"]).arg(container.bundle.path()).arg(container.id()).finish().ok();
    let text = support::read(log);
    assert!(text.contains("CAP_NONSENSE"), "{text}");
    if Kind::of_runtime() == Kind::Pent {
        assert!(text.contains("process.capabilities.bounding[3]"), "{text}");
    }
}

#[test]
fn all_findings_are_reported_at_once() {
    privileged!();
    lacks!("crun" < "never": "a check of these fields");
    let bundle = Bundle::new("badall").set("/process/cwd", "etc").set("/linux/rootfsPropagation", "sideways");
    refused(bundle, &["process.cwd", "linux.rootfsPropagation"]);
}

// Ids and arguments.

#[test]
fn an_invalid_id() {
    privileged!();
    for id in ["..", ".", "a/b", "../../x", "a b", "", "ä", "a:b", "/", "-x"] {
        let container = Container::new(Bundle::new("badid"));
        let mut command = container.runtime.command(["create", "--bundle"]);
        let outcome = command.arg(container.bundle.path()).args(["--", id]).finish();
        if id == "-x" && outcome.code() == 0 {
            // A valid id after `--`: only its first letter is unusual.
            container.runtime.call(["delete", "--force", "--", id]).ok();
            continue;
        }
        if Kind::of_runtime() == Kind::Crun && outcome.code() == 0 {
            container.runtime.call(["delete", "--force", "--", id]);
            continue;
        }
        refusal(&container, outcome, &[]);
        let left: Vec<_> = fs::read_dir(&container.runtime.root).into_iter().flatten().flatten().collect();
        assert!(left.iter().all(|entry| entry.file_name().to_string_lossy().starts_with('.')), "{id}: {left:?}");
    }
}

#[test]
fn invalid_ids_are_named_so() {
    privileged!();
    let container = Container::new(Bundle::new("badidtext"));
    let mut command = container.runtime.command(["create", "--bundle"]);
    let outcome = command.arg(container.bundle.path()).arg("../x").finish();
    refusal(&container, outcome, &["../x", "hint:"]).says("invalid container ID format");
}

#[test]
fn unknown_commands_flags_and_missing_arguments() {
    privileged!();
    let container = Container::new(Bundle::new("badflags"));
    let fails = |args: &[&str]| {
        let outcome = container.runtime.call(args);
        assert_ne!(outcome.code(), 0, "{outcome:?}");
        assert!(!(outcome.stderr() + &outcome.stdout()).is_empty(), "{outcome:?}");
    };
    fails(&["nonsense"]);
    fails(&["create", "--nonsense", container.id()]);
    fails(&["create"]);
    fails(&["start"]);
    fails(&["state"]);
    fails(&["kill"]);
    fails(&["delete"]);
    fails(&["exec", container.id()]);
    lacks!("crun" < "never": "a refusal of too many arguments");
    fails(&["state", container.id(), "extra"]);
    container.leaves_nothing();
}
