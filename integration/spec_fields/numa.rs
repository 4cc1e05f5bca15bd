//! Where a process runs and where its memory comes from: linux.memoryPolicy, process.execCPUAffinity, linux.intelRdt.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, lacks, privileged, read};
use serde_json::{Value, json};
use std::path::Path;

fn policy(policy: Value) -> Bundle {
    Bundle::new("mempolicy").set("/linux/memoryPolicy", policy)
}

#[test]
fn the_memory_policy_is_the_kernel_s() {
    privileged!();
    lacks!("runc" < "1.4": "linux.memoryPolicy", "crun" < "1.23": "linux.memoryPolicy");
    if !Path::new("/proc/self/numa_maps").exists() {
        return crate::support::skip("this kernel has no NUMA");
    }
    // numa_maps writes the policy of each mapping as its second word.
    let word = |bundle: Bundle| bundle.shell("cat /proc/self/numa_maps | head -1 | cut -d' ' -f2").run().ok().trimmed();
    assert_eq!(word(policy(json!({ "mode": "MPOL_BIND", "nodes": "0" }))), "bind:0");
    assert_eq!(word(policy(json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0-0" }))), "interleave:0");
    assert_eq!(word(policy(json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }))), "prefer:0");
    assert_eq!(word(policy(json!({ "mode": "MPOL_LOCAL" }))), "local");
    let flags = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    assert_eq!(word(policy(flags)), "bind=static:0");
    let container = policy(json!({ "mode": "MPOL_BIND", "nodes": "0" })).sleeping().started();
    container.sh("cat /proc/self/numa_maps | head -1").ok();
    assert!(container.sh("cat /proc/self/numa_maps").ok().stdout().contains(" bind:0 "), "exec has it too");
}

#[test]
fn a_memory_policy_that_cannot_be_is_refused() {
    privileged!();
    lacks!("runc" < "1.4": "linux.memoryPolicy", "crun" < "1.23": "linux.memoryPolicy");
    let refused = |value: Value, text: &str| {
        let container = Container::new(policy(value));
        container.run().refused().explains(text);
        container.leaves_nothing();
    };
    refused(json!({ "mode": "MPOL_BIND" }), "linux.memoryPolicy.nodes");
    refused(json!({ "mode": "MPOL_BIND", "nodes": "1000" }), "linux.memoryPolicy: cannot set memory policy");
    refused(json!({ "mode": "MPOL_BIND", "nodes": "5000" }), "linux.memoryPolicy.nodes");
    refused(json!({ "mode": "MPOL_NONSENSE" }), "linux.memoryPolicy.mode");
    refused(json!({ "mode": "MPOL_LOCAL", "nodes": "0" }), "must be empty");
}

/// What a process added with this affinity may run on.
fn cpus(container: &Container, affinity: Value) -> String {
    let process = json!({
        "cwd": "/", "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "env": ["PATH=/bin"],
        "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity,
    });
    let file = container.bundle.file("process.json", &process.to_string());
    let outcome = container.exec_command(&["--process", &file.to_string_lossy()], &[]).finish().ok();
    outcome.trimmed().split_whitespace().last().expect("a list").to_owned()
}

#[test]
fn exec_runs_on_the_processors_it_was_given() {
    privileged!();
    lacks!("runc" < "1.3": "process.execCPUAffinity", "crun" < "1.20": "process.execCPUAffinity");
    if read("/sys/devices/system/cpu/online") == "0" {
        return crate::support::skip("one processor is no choice");
    }
    let container = Bundle::new("affinity").sleeping().started();
    assert_eq!(cpus(&container, json!({ "initial": "0", "final": "1" })), "1");
    assert_eq!(cpus(&container, json!({ "initial": "1", "final": "0-1" })), "0-1");
    assert_eq!(cpus(&container, json!({ "final": "0" })), "0");
    // The container's own is the default, and does not hold for its first process.
    let affinity = json!({ "initial": "0", "final": "1" });
    let bundle = Bundle::new("affinity").set("/process/execCPUAffinity", affinity);
    let container = bundle.shell("grep Cpus_allowed_list /proc/self/status; exec sleep 1000").started();
    assert!(!container.stdout().trim().ends_with("\t1"), "{}", container.stdout());
    container.exec(["grep", "Cpus_allowed_list", "/proc/self/status"]).ok().prints("Cpus_allowed_list:\t1");
}

#[test]
fn processors_that_are_not_there_are_refused() {
    privileged!();
    lacks!("runc" < "1.3": "process.execCPUAffinity", "crun" < "1.20": "process.execCPUAffinity");
    let container = Bundle::new("affinity").sleeping().started();
    for (affinity, text) in [
        (json!({ "final": "8000" }), "process.execCPUAffinity.final"),
        (json!({ "initial": "8000" }), "process.execCPUAffinity.initial"),
        (json!({ "initial": "9000" }), "process.execCPUAffinity.initial"),
        (json!({ "final": "a" }), "execCPUAffinity"),
    ] {
        let process =
            json!({ "cwd": "/", "args": ["true"], "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity });
        let file = container.bundle.file("process.json", &process.to_string());
        container.exec_command(&["--process", &file.to_string_lossy()], &[]).finish().exits(255).explains(text);
    }
}

#[test]
fn without_resctrl_a_class_of_service_is_an_error_that_says_so() {
    privileged!();
    lacks!("runc" < "never": "a message that names resctrl", "crun" < "never": "a message that names resctrl");
    if read("/proc/mounts").contains(" resctrl ") {
        return crate::support::skip("this host has resctrl");
    }
    let bundle = Bundle::new("rdt").set("/linux/intelRdt", json!({ "closID": "gold", "schemata": ["L3:0=f"] }));
    let container = Container::new(bundle);
    container.run().exits(1).says("linux.intelRdt: resctrl is not mounted").says("mount -t resctrl");
    container.leaves_nothing();
    let container = Bundle::new("rdt").sleeping().started();
    container.call("update", &["--l3-cache-schema", "L3:0=f"]).exits(1).says("l3 cache schema is not enabled");
}
