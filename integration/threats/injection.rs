//! Class M: sysctls, annotations and lengths that mean more than they say (CVE-2022-0811, CVE-2021-43784).
#![forbid(unsafe_code)]

use super::loot::{Canary, Loot, assert_orderly, looking, result};
use crate::support::{self, Bundle, Container, Finish as _, privileged, seconds};
use serde_json::{Map, Value, json};
use std::fs;

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

/// Runs a container with this sysctl. Every value is what the host has already, so that an attack that works changes
/// nothing: the loot is that the container runs, which means that the sysctl was written.
fn try_sysctl(bundle: Bundle, name: &str, value: &str, loot: &mut Loot) {
    let sysctl: Map<String, Value> = [(name.to_owned(), json!(value))].into_iter().collect();
    let bundle = bundle.set("/linux/sysctl", Value::Object(sysctl)).shell("echo it runs");
    let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
    assert_orderly(&outcome);
    loot.take_if(outcome.stdout().contains("it runs"), || format!("sysctl {name:?} = {value:?} was accepted"));
}

#[test]
fn m_cve_2022_0811_sysctls_of_the_host_are_rejected_by_any_spelling() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let pattern = support::read(CORE_PATTERN);
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "/proc/sys/kernel/core_pattern",
        "/kernel/core_pattern",
        ".kernel.core_pattern",
        "kernel..core_pattern",
        "kernel.core_pattern.",
        "kernel./core_pattern",
        "net/../kernel/core_pattern",
        "net/ipv4/../../kernel/core_pattern",
        "net.ipv4/../../kernel/core_pattern",
        "net.../../kernel/core_pattern",
        "net.ipv4.conf/../../../kernel.core_pattern",
        "fs.mqueue.../../kernel/core_pattern",
        "fs.mqueue/../../kernel/core_pattern",
        "kernel.shm_rmid_forced/../core_pattern",
        "kernel.msg/../core_pattern",
        "kernel.shm_rmid_forced+kernel.core_pattern",
        "net.ipv4.ip_forward+kernel.core_pattern",
        "kernel.core_pattern\0",
        "net.ipv4.ip_forward\0../../kernel/core_pattern",
        "../../../../../proc/sys/kernel/core_pattern",
        "net",
        "net.",
        "",
        ".",
        "..",
        "/",
        "kernel.domainnam",
        "kernel.sysrq",
        "vm.swappiness",
        "fs.file-max",
        "kernel.modprobe",
        "dev.tty.legacy_tiocsti",
    ] {
        // Read as runtimes do: what is written is what was there.
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value =
            if name.contains("core_pattern") || name.contains('\0') { pattern.clone() } else { support::read(path) };
        try_sysctl(Bundle::new("sysctl"), name, &value, &mut loot);
    }
    let now = support::read(CORE_PATTERN);
    loot.take_if(now != pattern, || format!("core_pattern is now {now:?}"));
    loot.must_be_empty();
}

#[test]
fn m_cve_2022_0811_value_with_plus_sets_no_second_sysctl() {
    privileged!();
    // pinns split its argument at "+": the value smuggles a second assignment.
    let mut loot = Loot::new(&[]);
    let pattern = support::read(CORE_PATTERN);
    for value in [
        format!("1+kernel.core_pattern={pattern}"),
        format!("0\nkernel.core_pattern={pattern}"),
        format!("0 kernel.core_pattern={pattern}"),
        "0\0".to_owned(),
    ] {
        let sysctl = json!({ "kernel.shm_rmid_forced": value });
        let bundle = Bundle::new("plus").set("/linux/sysctl", sysctl).shell("cat /proc/sys/kernel/shm_rmid_forced");
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_orderly(&outcome);
        let smuggled = outcome.stdout().contains("core_pattern");
        loot.take_if(smuggled, || format!("{value:?}: {}", outcome.stdout()));
    }
    loot.take_if(support::read(CORE_PATTERN) != pattern, || "core_pattern changed".to_owned());
    loot.must_be_empty();
}

#[test]
fn m_sysctls_of_a_namespace_the_container_shares_with_the_host_are_rejected() {
    privileged!();
    let mut loot = Loot::new(&[]);
    for (namespace, name) in [
        ("network", "net.ipv4.ip_forward"),
        ("network", "net.core.somaxconn"),
        ("ipc", "kernel.msgmax"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "kernel.sem"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
    ] {
        let value = support::read(format!("/proc/sys/{}", name.replace('.', "/")));
        let bundle = Bundle::new("sharedsysctl").without_namespace(namespace);
        let bundle = if namespace == "uts" { bundle.remove("/hostname") } else { bundle };
        try_sysctl(bundle, name, &value, &mut loot);
    }
    loot.must_be_empty();
}

#[test]
fn m_cve_2022_0811_annotations_do_nothing_on_the_host() {
    privileged!();
    let canary = Canary::new();
    // crun writes where run.oci.hooks.* says, by design.
    let mut loot = Loot::new(&["crun"]);
    let owned = canary.path().join("owned").to_string_lossy().into_owned();
    let touch = format!("[(\"/bin/touch\", [\"touch\", \"{owned}\"], false)]");
    let annotations = json!({
        "org.systemd.property.ExecStartPre": touch,
        "org.systemd.property.ExecStopPost": touch,
        "org.systemd.property.ExecStop": touch,
        "org.systemd.property.WorkingDirectory": format!("'{}'", canary.path().display()),
        "org.systemd.property.Slice": "'../../x.slice'",
        "org.systemd.property.MemoryMax": "uint64 4096",
        "run.oci.hooks.stdout": format!("{owned}-stdout"),
        "run.oci.hooks.stderr": format!("{owned}-stderr"),
        "run.oci.handler": "krun",
        "run.oci.seccomp.receiver": owned.as_str(),
        "run.oci.pidfd_receiver": owned.as_str(),
        "run.oci.mount_context_type": "rootcontext",
        "run.oci.keep_original_groups": "1",
        "run.oci.systemd.subgroup": "../../x",
        "run.oci.delegate-cgroup": "../../x",
        "module.wasm.image/variant": "compat",
        "io.podman.annotations.privileged": "TRUE",
        "pent.io/anything": "x".repeat(1 << 20),
        "../../../x": "../../../x",
        "": "",
        "new\nline": "a\nb\0c",
    });
    for name in annotations.as_object().expect("annotations").keys() {
        let one = json!({ name.clone(): annotations[name].clone() });
        let bundle = looking(Bundle::new("annotations"), &["capabilities", "ids", "flags /"]);
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo hook; echo hook >&2"] }]);
        let bundle = bundle.set("/annotations", one).set("/hooks/createRuntime", hook);
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_orderly(&outcome);
        if outcome.code() == 0 {
            let ids = result(&outcome.stdout(), "ids");
            loot.take_if(ids != "uid=0,0,0 gid=0,0,0 groups=", || format!("{name}: {ids}"));
            let flags = result(&outcome.stdout(), "flags /");
            loot.take_if(!flags.starts_with("ro"), || format!("{name}: the root is {flags}"));
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn m_cve_2021_43784_overlong_id_mappings_never_cost_the_user_namespace() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let host = fs::read_link("/proc/self/ns/user").expect("the host's user namespace");
    // 340 is the kernel's limit; 65,536 bytes the length of a netlink attribute; the rest goes well past both.
    for count in [341, 1000, 2000, 3000, 3641, 5000, 20_000] {
        let mapping = |index: u32| json!({ "containerID": index, "hostID": 100_000 + index, "size": 1 });
        let mappings: Vec<Value> = (0..count).map(mapping).collect();
        let bundle = looking(Bundle::new("mappings"), &["link /proc/self/ns/user", "read /proc/self/uid_map"]);
        let bundle = bundle.namespace("user", None).set("/linux/uidMappings", json!(mappings));
        let outcome = Container::new(bundle.set("/linux/gidMappings", json!(mappings))).run_command(&[]);
        let outcome = { outcome }.finish_within(seconds(20));
        assert_orderly(&outcome);
        if outcome.code() == 0 {
            let (namespace, map) = (
                result(&outcome.stdout(), "link /proc/self/ns/user"),
                result(&outcome.stdout(), "read /proc/self/uid_map"),
            );
            loot.take(format!("{count} mappings were accepted: {namespace} (host {}), {map}", host.display()));
        }
    }
    loot.must_be_empty();
}

#[test]
fn m_cve_2021_43784_mapping_that_covers_more_than_there_is_is_rejected() {
    privileged!();
    let mut loot = Loot::new(&[]);
    for (container, host, size) in [
        (json!(0), json!(0), json!(0)),
        (json!(0), json!(100_000), json!(4_294_967_296_u64)),
        (json!(0), json!(4_294_967_295_u64), json!(2)),
        (json!(4_294_967_296_u64), json!(0), json!(1)),
        (json!(0), json!(4_294_967_296_u64), json!(1)),
        (json!(-1), json!(0), json!(1)),
        (json!(0), json!(-1), json!(1)),
        (json!(0), json!(100_000), json!(-1)),
        (json!(0), json!("0 0 4294967295\n1"), json!(1)),
    ] {
        let mapping = json!([{ "containerID": container, "hostID": host, "size": size }]);
        let bundle = looking(Bundle::new("mapping"), &["read /proc/self/uid_map"]).namespace("user", None);
        let bundle = bundle.set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping.clone());
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_orderly(&outcome);
        loot.take_if(outcome.code() == 0, || format!("{mapping}: {}", outcome.stdout()));
    }
    loot.must_be_empty();
}

#[test]
fn m_cve_2021_43784_overlong_lists_and_strings_are_rejected_or_kept_whole() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let long = |length: usize| "x".repeat(length);
    // Each is more than some length field holds; a container that runs all the same must have its own namespaces.
    let inputs: Vec<(&str, Value)> = vec![
        ("/process/user/additionalGids", json!((1000..1000 + 65_537).collect::<Vec<u32>>())),
        ("/hostname", json!(long(65))),
        ("/hostname", json!(long(70_000))),
        ("/domainname", json!(long(70_000))),
        ("/process/cwd", json!(format!("/{}", long(70_000)))),
        ("/root/path", json!(long(70_000))),
        ("/linux/cgroupsPath", json!(format!("/{}", long(70_000)))),
        ("/linux/rootfsPropagation", json!(long(70_000))),
        ("/linux/maskedPaths", json!([format!("/{}", long(70_000))])),
        ("/linux/namespaces/0/path", json!(format!("/{}", long(70_000)))),
        ("/process/oomScoreAdj", json!(1_u64 << 32)),
        ("/process/oomScoreAdj", json!(1001)),
        ("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "hard": 1, "soft": 1024 }])),
        ("/process/env", json!(["A\u{0}B=C"])),
        ("/process/args", json!(["/bin/look\u{0}x", "ids"])),
        ("/process/args", json!([long(200_000)])),
    ];
    let host = fs::read_link("/proc/self/ns/mnt").expect("the host's mount namespace");
    for (pointer, value) in inputs {
        let attempts = ["link /proc/self/ns/mnt", "link /proc/self/ns/pid", "link /proc/self/ns/net"];
        let bundle = looking(Bundle::new("overlong"), &attempts).set(pointer, value.clone());
        let container = Container::new(bundle);
        let outcome = container.run_command(&[]).finish_within(seconds(10));
        let shown = value.to_string().chars().take(60).collect::<String>();
        assert_orderly(&outcome);
        let rejected = matches!(pointer, "/process/user/additionalGids" | "/hostname" | "/process/oomScoreAdj");
        loot.take_if(outcome.code() == 0 && rejected, || format!("{pointer} = {shown}… was accepted"));
        if outcome.code() == 0 {
            let namespace = result(&outcome.stdout(), "link /proc/self/ns/mnt");
            let lost = namespace == host.to_string_lossy();
            loot.take_if(lost, || format!("{pointer} = {shown}…: the container is in the host's mount namespace"));
        }
    }
    loot.must_be_empty();
}

#[test]
fn m_namespaces_given_twice_or_contradicting_leave_none_shared() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let kinds = ["pid", "network", "ipc", "uts", "mount"];
    let names = ["pid", "net", "ipc", "uts", "mnt"];
    for (kind, name) in kinds.iter().zip(names) {
        let link = format!("link /proc/self/ns/{name}");
        let host = fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        let bundle = looking(Bundle::new("twice"), &[&link]);
        let bundle =
            bundle.push("/linux/namespaces", json!({ "type": kind, "path": "/proc/self/ns/".to_owned() + name }));
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_orderly(&outcome);
        if outcome.code() == 0 {
            let got = result(&outcome.stdout(), &link);
            loot.take_if(got == host.to_string_lossy(), || format!("{kind} twice: the host's"));
        }
    }
    loot.must_be_empty();
}
