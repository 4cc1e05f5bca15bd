//! Class Q: a crash starts the host's core handler, or the container names one.
#![forbid(unsafe_code)]

use super::loot::{DOCKER, Loot, look, looking, result, with_capabilities};
use crate::support::{self, Bundle, Container, privileged};
use serde_json::json;
use std::fs;

#[test]
fn q_core_limit_is_as_configured_and_cannot_be_raised() {
    privileged!();
    let mut loot = Loot::new(&[]);
    // 0 still starts a handler that core_pattern pipes to; 1 does not.
    for limit in [0_u64, 1, 4096] {
        let bundle = looking(Bundle::new("core"), &["limit core", "crash", "wait"]);
        let bundle = with_capabilities(bundle, &DOCKER.map(str::to_owned));
        let limits = json!([{ "type": "RLIMIT_CORE", "soft": limit, "hard": limit }]);
        let container = bundle.set("/process/rlimits", limits).started();
        container.wait_output("wait: ok");
        let exec = container.exec(["/bin/look", "limit", "core"]).ok().stdout();
        for (what, output) in [("create", container.stdout()), ("exec", exec)] {
            let got = result(&output, "limit core");
            loot.take_if(got != format!("{limit} {limit} fixed"), || {
                format!("{what}: RLIMIT_CORE is {got}, not {limit}")
            });
        }
        let crash = result(&container.stdout(), "crash");
        loot.take_if(limit <= 1 && crash != "signal 6 core 0", || format!("a crash left a core: {crash}"));
    }
    loot.must_be_empty();
}

#[test]
fn q_container_cannot_name_a_core_handler() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let pattern = support::read("/proc/sys/kernel/core_pattern");
    let attempts = [
        "rewrite /proc/sys/kernel/core_pattern",
        "rewrite /proc/sys/kernel/core_pipe_limit",
        "rewrite /proc/sys/fs/suid_dumpable",
        "rewrite /proc/sys/kernel/modprobe",
        "rewrite /proc/sys/kernel/hotplug",
        "rewrite /proc/self/root/proc/sys/kernel/core_pattern",
        "rewrite /proc/1/root/proc/sys/kernel/core_pattern",
        "rewrite /proc/thread-self/cwd/proc/sys/kernel/core_pattern",
        "chmod /proc/sys/kernel/core_pattern",
        "remount /proc/sys",
        "unmount /proc/sys",
        "remount /proc",
        "rewrite /proc/sysrq-trigger",
    ];
    let bundle = with_capabilities(Bundle::new("handler"), &DOCKER.map(str::to_owned)).with_probe("look").writable();
    let container = bundle.sleeping().started();
    let first = Container::new(
        with_capabilities(Bundle::new("handler"), &DOCKER.map(str::to_owned))
            .with_probe("look")
            .set("/process/args", json!(look(&attempts))),
    );
    let created = first.run().ok().stdout();
    let args = look(&attempts);
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let executed = container.exec_command(&[], &words);
    let executed = crate::support::Finish::finish(&mut { executed }).ok().stdout();
    for (what, output) in [("create", created), ("exec", executed)] {
        for attempt in attempts {
            let got = result(&output, attempt);
            loot.take_if(got.starts_with("ok"), || format!("{what}: {attempt}: {got}"));
        }
    }
    let now = support::read("/proc/sys/kernel/core_pattern");
    loot.take_if(now != pattern, || format!("core_pattern is now {now:?}"));
    loot.must_be_empty();
}

#[test]
fn q_core_of_a_crash_stays_in_the_container() {
    privileged!();
    // Where core_pattern is a relative path, the core lands in the crashed process's own working directory.
    let before = support::read("/proc/sys/kernel/core_pattern");
    let bundle = looking(Bundle::new("crash"), &["crash"]).writable().set("/process/cwd", "/tmp");
    let limits = json!([{ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }]);
    let container = Container::new(bundle.set("/process/rlimits", limits));
    let output = container.run().ok().stdout();
    let mut loot = Loot::new(&[]);
    let left = fs::read_dir(container.bundle.rootfs().join("tmp")).expect("/tmp").flatten().count();
    loot.take_if(left > 0, || format!("{left} files after a crash: {output}"));
    loot.take_if(support::read("/proc/sys/kernel/core_pattern") != before, || "core_pattern changed".to_owned());
    loot.must_be_empty();
}
