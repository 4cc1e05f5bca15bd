//! Class L: out through the cgroup file system (CVE-2022-0492, CVE-2023-25809), or through a name with `..`.
#![forbid(unsafe_code)]

use super::loot::{Canary, DOCKER, Loot, assert_orderly, look, result, with_capabilities};
use crate::support::{self, Bundle, Container, Finish as _, cgroup_dirs, privileged, seconds};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The hierarchies a container sees, as paths.
fn hierarchies() -> Vec<String> {
    if support::cgroup2_only() {
        return vec!["/sys/fs/cgroup".to_owned()];
    }
    let entries = fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

#[test]
fn l_cve_2022_0492_container_writes_no_file_of_the_cgroup_file_system() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let files = ["release_agent", "notify_on_release", "cgroup.procs", "tasks", "cgroup.subtree_control", "memory.max"];
    let mut attempts: Vec<String> = Vec::new();
    for hierarchy in hierarchies() {
        // Written back as it is: an attack that works changes nothing.
        attempts.extend(files.iter().map(|file| format!("rewrite {hierarchy}/{file}")));
        attempts.push(format!("mkdir {hierarchy}/owned"));
        attempts.push(format!("remount {hierarchy}"));
        attempts.push(format!("create {hierarchy}/cgroup.procs"));
    }
    attempts.push("unmount /sys/fs/cgroup".to_owned());
    let words: Vec<&str> = attempts.iter().map(String::as_str).collect();
    for namespace in [true, false] {
        let bundle =
            with_capabilities(Bundle::new("cgroupfs"), &DOCKER.map(str::to_owned)).with_probe("look").writable();
        let bundle = if namespace { bundle.namespace("cgroup", None) } else { bundle };
        let container = Container::new(bundle.set("/process/args", json!(look(&words))));
        let output = container.run().ok().stdout();
        for attempt in &words {
            let got = result(&output, attempt);
            loot.take_if(got.starts_with("ok"), || format!("cgroup namespace {namespace}: {attempt}: {got}"));
        }
    }
    loot.must_be_empty();
}

#[test]
fn l_cve_2022_0492_namespaces_of_its_own_give_the_container_no_release_agent() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let controllers = ["memory", "cpu", "freezer", "pids", "rdma", "misc", "none,name=systemd", "perf_event"];
    let attempts: Vec<String> = controllers.iter().map(|name| format!("run /bin/look release_agent {name}")).collect();
    let words: Vec<&str> = attempts.iter().map(String::as_str).collect();
    let bundle = with_capabilities(Bundle::new("agent"), &DOCKER.map(str::to_owned)).with_probe("look").writable();
    let bundle = bundle.namespace("cgroup", None);
    let output = Container::new(bundle.set("/process/args", json!(look(&words)))).run().ok().stdout();
    for controller in controllers {
        let got = result(&output, &format!("release_agent {controller}"));
        loot.take_if(got.starts_with("ok"), || format!("release_agent of {controller}: {got}"));
    }
    loot.must_be_empty();
}

#[test]
fn l_ids_that_are_paths_are_rejected() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let relative = canary.relative().join("owned").to_string_lossy().into_owned();
    let absolute = canary.path().join("owned").to_string_lossy().into_owned();
    let names =
        ["../../x", "..", ".", "a/../b", "a/b", "a/", "a\nb", "a b", "a\u{e9}", "-x/..", "", &relative, &absolute];
    for id in names {
        let mut container = Container::new(Bundle::new("badid"));
        // Deep enough that every path here but the canary's ends inside the bundle, whatever a runtime does with it.
        container.runtime.root = container.bundle.dir("state/deep/er");
        for verb in ["create", "run"] {
            let mut command = container.runtime.command([verb, "--bundle"]);
            let outcome = command.arg(container.bundle.path()).args(["--", id]).finish_within(seconds(10));
            loot.take_if(outcome.code() == 0, || format!("{verb} {id:?} was accepted"));
            assert_orderly(&outcome);
        }
        // The same path must not lead delete, which removes, out of the state directory either.
        let baits = [canary.path().join("owned"), container.bundle.dir("state/x")];
        for bait in &baits {
            fs::create_dir_all(bait).expect("bait");
            fs::write(bait.join("state.json"), "{}").expect("bait");
        }
        for options in [&["delete", "--"][..], &["delete", "--force", "--"], &["kill", "--"], &["state", "--"]] {
            container.runtime.call([options, &[id]].concat());
        }
        for bait in &baits {
            let kept = bait.join("state.json").is_file();
            loot.take_if(!kept, || format!("delete {id:?} removed {}", bait.display()));
        }
        fs::remove_dir_all(&baits[0]).ok();
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

/// The directory a path in config.json leads to when it is only joined to the hierarchy's.
fn escaped(hierarchy: &Path, name: &str) -> Vec<PathBuf> {
    let parents: Vec<&Path> = hierarchy.ancestors().collect();
    parents.iter().map(|parent| parent.join(name)).collect()
}

#[test]
fn l_cve_2023_25809_cgroups_path_with_dots_stays_beneath_the_mount() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let canary_path = canary.relative().join("owned");
    let canary_path = canary_path.to_string_lossy();
    for (index, form) in [
        "../../NAME",
        "/../../NAME",
        "a/../../NAME",
        "/NAME/../../../NAME",
        "/./../NAME",
        "CANARY",
        "/CANARY",
        "/NAME/CANARY",
    ]
    .iter()
    .enumerate()
    {
        let bundle = Bundle::new("cgpath");
        let name = format!("{}-{index}", bundle.id);
        let path = form.replace("NAME", &name).replace("CANARY", &canary_path);
        let container = Container::new(bundle.sleeping().set("/linux/cgroupsPath", path.clone()));
        let created = container.create_command(&[]).finish_within(seconds(10));
        assert_orderly(&created);
        for hierarchy in hierarchies() {
            for place in escaped(Path::new(&hierarchy), &name).iter().skip(1) {
                loot.take_if(place.is_dir(), || format!("{path}: {} was made", place.display()));
            }
        }
        if created.code() == 0 {
            let cgroups = support::read(format!("/proc/{}/cgroup", container.pid()));
            loot.take_if(cgroups.contains(".."), || format!("{path}: the container is in {cgroups}"));
            container.delete_force();
        }
        // What the runtime made beneath the mount, it removed with the container.
        for left in cgroup_dirs(&name) {
            loot.take(format!("{path}: {} is left", left.display()));
            fs::remove_dir(left).ok();
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn l_resource_names_are_no_paths() {
    privileged!();
    let canary = Canary::new();
    let mut loot = Loot::new(&[]);
    let file = canary.relative().join("canary").to_string_lossy().into_owned();
    let resources: [(&str, Value); 7] = [
        ("/linux/resources/unified", json!({ file.clone(): "owned" })),
        ("/linux/resources/unified", json!({ format!("memory.max/../{file}"): "owned" })),
        ("/linux/resources/unified", json!({ "../cgroup.procs": "0" })),
        ("/linux/resources/hugepageLimits", json!([{ "pageSize": format!("/{file}"), "limit": 1 }])),
        ("/linux/resources/rdma", json!({ "../../../x": { "hcaHandles": 1 } })),
        ("/linux/intelRdt", json!({ "closID": "../../.." })),
        ("/linux/intelRdt", json!({ "closID": file })),
    ];
    for (pointer, value) in resources {
        let bundle = Bundle::new("resname").set(pointer, value.clone());
        let outcome = Container::new(bundle).run_command(&[]).finish_within(seconds(10));
        assert_orderly(&outcome);
        // Where the hierarchy does not exist there is nothing to write, but a path is never a name.
        canary.look_for_traces(&mut loot);
    }
    loot.must_be_empty();
}

/// A container that may make cgroups.
fn writable_cgroups(bundle: Bundle) -> Bundle {
    let mut bundle = bundle.namespace("cgroup", None).writable();
    for mount in bundle.config["mounts"].as_array_mut().expect("mounts") {
        if mount["destination"] == "/sys/fs/cgroup" {
            mount["options"].as_array_mut().expect("options").retain(|option| option != "ro");
        }
    }
    bundle
}

/// A container that may make cgroups, and a runtime with few descriptors: a nest of them must not keep it from being ended.
#[test]
fn l_cgroups_nested_deeply_do_not_keep_a_container_alive() {
    privileged!();
    let bundle = writable_cgroups(Bundle::new("nest"));
    let nest = "mkdir -p $(for i in $(seq 150); do printf n/; done)";
    let script = format!(
        "for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do cd $d && {nest}; done 2>/dev/null; echo made; sleep 1000"
    );
    let container = bundle.shell(&script).started();
    container.wait_output("made");
    let deepest = "n/".repeat(150);
    let nests = || cgroup_dirs(container.id()).into_iter().filter(|dir| dir.join(&deepest).is_dir()).count();
    assert!(nests() > 0, "no cgroup could be made");
    let few = |verb: &[&str]| {
        let call = container.runtime.command(verb);
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(call.get_program()).args(call.get_args());
        limited.finish()
    };
    few(&["kill", "--all", container.id(), "KILL"]).ok();
    container.wait_status("stopped");
    few(&["delete", container.id()]).ok();
    assert_eq!(nests(), 0);
    container.leaves_nothing();
}

/// On version 1 a frozen process does not die of SIGKILL, and the container's first process waits for all.
#[test]
fn l_processes_that_the_container_freezes_do_not_keep_it_alive() {
    privileged!();
    if support::cgroup2_only() {
        return support::skip("frozen processes die on cgroup v2");
    }
    // It freezes the process again and again, as long as it can.
    let script = "sleep 1000 & cd /sys/fs/cgroup/freezer && mkdir -p n/m && echo $! >n/m/cgroup.procs && echo frozen; \
        (while :; do echo FROZEN >n/m/freezer.state; done) & wait";
    let container = writable_cgroups(Bundle::new("frozen")).shell(script).started();
    container.wait_output("frozen");
    container.delete_force().ok();
    container.leaves_nothing();
}
