//! hooks: all six, in order, told the state, with no environment but their own.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, lacks, privileged, seconds};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::time::Instant;

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle whose hook of every kind appends its name to `volume/log` and keeps its standard input in `volume/NAME`.
fn logging(name: &str) -> Bundle {
    let bundle = Bundle::new(name);
    let volume = bundle.dir("volume");
    let mut bundle = bundle.mount("/hooklog", "bind", &volume, &["bind"]);
    for kind in KINDS {
        // startContainer runs in the container, the others see the host's files.
        let place =
            if kind == "startContainer" { "/hooklog".to_owned() } else { volume.to_string_lossy().into_owned() };
        let script = format!("echo {kind} >>{place}/log; cat >{place}/{kind}");
        bundle = hook(bundle, kind, &script);
    }
    bundle
}

/// One more hook: a shell script.
fn hook(bundle: Bundle, kind: &str, script: &str) -> Bundle {
    let args = json!(["sh", "-c", script]);
    bundle.push(&format!("/hooks/{kind}"), json!({ "path": "/bin/sh", "args": args, "env": ["PATH=/usr/bin:/bin"] }))
}

fn log(container: &Container) -> Vec<String> {
    let text = fs::read_to_string(container.bundle.path().join("volume/log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn told(container: &Container, kind: &str) -> Value {
    let text = fs::read_to_string(container.bundle.path().join("volume").join(kind)).expect("the hook ran");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind} was told {text:?}: {e}"))
}

#[test]
fn hooks_run_in_the_order_of_the_specification() {
    privileged!();
    lacks!("crun" < "never": "poststart hooks after startContainer hooks");
    lacks!("runc" < "never": "poststart hooks after start");
    let container = logging("hookorder").sleeping().created();
    assert_eq!(log(&container), KINDS[..3]);
    container.start().ok();
    assert_eq!(log(&container), KINDS[..5]);
    container.kill("KILL").ok();
    container.wait_status("stopped");
    assert_eq!(log(&container), KINDS[..5]);
    container.delete().ok();
    assert_eq!(log(&container), KINDS);
}

#[test]
fn hooks_in_the_mount_namespace_find_the_rootfs_at_its_path() {
    privileged!();
    lacks!("crun" < "never": "createContainer hooks in the rootfs");
    let bundle = Bundle::new("hookroot").mount("/volume", "tmpfs", "tmpfs", &[]);
    let rootfs = bundle.rootfs();
    let rootfs = rootfs.display();
    // As hooks that bring libraries do it: what they make in a mount of the container is seen inside.
    let by_pid = r#"pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'); nsenter -m -t $pid touch ROOTFS/volume/by-pid"#;
    let bundle = hook(bundle, "createRuntime", &by_pid.replace("ROOTFS", &rootfs.to_string()));
    let bundle = hook(bundle, "createContainer", &format!("touch {rootfs}/volume/by-path ./volume/by-directory"));
    bundle.args(["ls", "/volume"]).run().ok().prints("by-directory\nby-path\nby-pid");
}

#[test]
fn a_start_container_hook_without_an_environment_has_the_programs() {
    privileged!();
    lacks!("runc" < "1.3": "the program's environment in hooks", "crun" < "never": "the program's environment in hooks");
    for (env, seen) in [(None, "1 /root"), (Some(json!(["PATH=/bin"])), "")] {
        let mut bundle = Bundle::new("hookenv").push("/process/env", "ONE=1");
        let volume = bundle.dir("volume");
        bundle = bundle.mount("/v", "bind", &volume, &["bind"]);
        let mut hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo $ONE $HOME >/v/seen"] });
        if let Some(env) = env {
            hook["env"] = env;
        }
        bundle = bundle.push("/hooks/startContainer", hook);
        let container = Container::new(bundle.args(["true"]));
        container.run().ok();
        assert_eq!(fs::read_to_string(volume.join("seen")).expect("the hook ran").trim(), seen);
    }
}

#[test]
fn run_runs_all_hooks_too() {
    privileged!();
    lacks!("crun" < "never": "poststart hooks after startContainer hooks");
    lacks!("runc" < "never": "poststart hooks after start");
    let container = Container::new(logging("hookrun"));
    container.run().ok();
    assert_eq!(log(&container), KINDS);
}

#[test]
fn hooks_are_told_the_state() {
    privileged!();
    lacks!("runc" < "never": "poststart hooks after start");
    lacks!("crun" < "1.9": "the status of the moment in the state for hooks");
    let container = logging("hookstate").set("/annotations/colour", "blue").sleeping().started();
    container.kill("KILL").ok();
    container.wait_status("stopped");
    let pid = container.pid();
    container.delete().ok();
    for (kind, status) in KINDS.iter().zip(["creating", "creating", "creating", "created", "running", "stopped"]) {
        let state = told(&container, kind);
        assert_eq!(state["id"], container.id(), "{kind}");
        assert_eq!(state["bundle"], json!(container.bundle.path()), "{kind}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["annotations"]["colour"], "blue", "{kind}");
        assert!(state["ociVersion"].is_string(), "{kind}");
        let expected = match *kind {
            "poststop" => continue,
            // In the container's pid namespace it is process 1.
            "startContainer" | "createContainer" => [json!(1), json!(pid)],
            _ => [json!(pid), json!(pid)],
        };
        assert!(expected.contains(&state["pid"]), "{kind}: {state}");
    }
}

#[test]
fn hooks_before_start_are_processes_of_the_caller() {
    privileged!();
    lacks!("runc" < "1.2": "time namespaces", "crun" < "never": "hooks that the container's time and score are not for");
    let look = "{ umask; cat /proc/self/oom_score_adj; readlink /proc/self/ns/time; } >FILE";
    let mut bundle = Bundle::new("hookcaller").set("/process/oomScoreAdj", 700).namespace("time", None);
    let (volume, rootfs) = (bundle.dir("volume"), bundle.rootfs());
    bundle = bundle.set("/linux/timeOffsets/boottime", json!({ "secs": 1_000_000, "nanosecs": 0 }));
    for kind in ["prestart", "createRuntime"] {
        bundle = hook(bundle, kind, &look.replace("FILE", &volume.join(kind).to_string_lossy()));
    }
    bundle = hook(bundle, "createContainer", &format!("umask >{}/umask", rootfs.display()));
    let container = Container::new(bundle.args(["cat", "/umask"]));
    let run = container.run_command(&[]);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 027; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    masked.finish().ok().prints("0027");
    let own = |file: &str| fs::read_to_string(file).expect("its own");
    let time = fs::read_link("/proc/self/ns/time").expect("namespace");
    let expected = format!("0027\n{}{}\n", own("/proc/self/oom_score_adj"), time.display());
    for kind in ["prestart", "createRuntime"] {
        assert_eq!(own(&volume.join(kind).to_string_lossy()), expected, "{kind}");
    }
}

#[test]
fn several_hooks_of_one_kind_run_in_their_order() {
    privileged!();
    let bundle = Bundle::new("hookmany");
    let file = bundle.path().join("log").to_string_lossy().into_owned();
    let bundle =
        (1..=3).fold(bundle, |bundle, n| hook(bundle, "createRuntime", &format!("cat >/dev/null; echo {n} >>{file}")));
    let container = Container::new(bundle);
    container.run().ok();
    assert_eq!(fs::read_to_string(file).expect("log"), "1\n2\n3\n");
}

#[test]
fn a_hook_need_not_read_the_state() {
    privileged!();
    lacks!("crun" < "never": "hooks that end without reading the state");
    // Annotations beyond a pipe's 64 KiB: writing the state cannot end before the hook does.
    let bundle = Bundle::new("hookdeaf").set("/annotations/large", "x".repeat(100_000));
    hook(bundle, "createRuntime", "exit 0").args(["echo", "runs"]).run().ok().prints("runs");
}

#[test]
fn the_network_can_be_set_up_by_a_create_runtime_hook() {
    privileged!();
    let bundle = Bundle::new("hooknet").shell("cat /sys/class/net/lo/mtu");
    let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | tr -d '\\n'); nsenter -t $pid -n -- ip link set lo mtu 1400 || \
                  nsenter -t $pid -n -- busybox ip link set lo mtu 1400";
    hook(bundle, "createRuntime", script).run().ok().prints("1400");
}

#[test]
fn hooks_have_only_their_own_environment_and_arguments() {
    privileged!();
    lacks!("runc" < "never": "an empty environment for hooks without one");
    let bundle = Bundle::new("hookenv").set("/process/env", json!(["PATH=/bin", "LD_PRELOAD=/evil.so"]));
    let file = bundle.path().join("env");
    let script =
        bundle.script("hook", &format!("echo \"$0:$1\" >{0}; tr '\\0' '\\n' </proc/$$/environ >>{0}", file.display()));
    let bundle =
        bundle.push("/hooks/createRuntime", json!({ "path": script, "args": ["name", "first"], "env": ["A=1"] }));
    let container = Container::new(bundle);
    container.run_command(&[]).env("OF_THE_CALLER", "1").finish().ok();
    let seen = fs::read_to_string(&file).expect("the hook ran");
    let (_, environment) = seen.split_once('\n').expect("lines");
    assert_eq!(environment, "A=1\n");
    assert!(seen.starts_with(&format!("{}:first", script.display())), "{seen}");
}

#[test]
fn a_failing_create_hook_fails_create_and_leaves_nothing() {
    privileged!();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let container = Container::new(hook(Bundle::new("hookfail"), kind, "echo no luck >&2; exit 3"));
        let outcome = container.create_command(&[]).finish().refused();
        assert!(outcome.stderr().to_lowercase().contains("hook"), "{outcome:?}");
        container.leaves_nothing();
    }
}

#[test]
fn a_failing_hook_is_named() {
    privileged!();
    lacks!("runc" < "1.3": "the name of the kind of hook in its message");
    let bundle = hook(Bundle::new("hooknamed"), "createRuntime", "exit 0");
    let container = Container::new(hook(bundle, "createRuntime", "exit 3"));
    container.create_command(&[]).finish().refused().says("error running createRuntime hook #1");
    lacks!("crun" < "never": "an error for a missing hook program");
    let bundle = Bundle::new("hookmissing").push("/hooks/prestart", json!({ "path": "/no/such/hook" }));
    Container::new(bundle).create_command(&[]).finish().refused().says("/no/such/hook");
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    privileged!();
    lacks!("runc" < "never": "a start that waits for startContainer hooks", "crun" < "never": "a start that waits for startContainer hooks");
    let container = hook(Bundle::new("hookstart").shell("echo ran"), "startContainer", "exit 3").created();
    container.start().refused();
    assert_eq!(container.stdout(), "");
}

#[test]
fn the_filter_binds_start_container_hooks_like_the_program() {
    privileged!();
    lacks!("crun" < "never": "a filter for startContainer hooks");
    let rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" });
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    for no_new_privileges in [true, false] {
        let bundle = Bundle::new("hookfilter").set("/linux/seccomp", filter.clone());
        let bundle = bundle
            .set("/process/noNewPrivileges", no_new_privileges)
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let bundle = hook(bundle, "startContainer", "mkdir /dev/shm/x 2>/dev/null && exit 3; true");
        bundle.shell("echo ran").run().ok().prints("ran");
        let bundle = hook(Bundle::new("hooknofilter"), "startContainer", "mkdir /dev/shm/x || exit 3");
        bundle.shell("ls /dev/shm").run().ok().prints("x");
    }
}

#[test]
fn a_failing_poststart_hook_is_reported() {
    privileged!();
    lacks!("runc" < "never": "poststart hooks after start");
    lacks!("crun" < "never": "a report of failing poststart hooks");
    let container = hook(Bundle::new("hookpoststart").sleeping(), "poststart", "exit 3").created();
    let outcome = container.start();
    assert!(outcome.stderr().contains("poststart"), "{outcome:?}");
}

/// What hooks have set up (a network) is taken down again.
#[test]
fn poststop_hooks_run_when_a_hook_or_the_start_has_failed() {
    privileged!();
    lacks!("crun" < "never": "poststop hooks after a create that failed");
    for (failing, missing) in [("createRuntime", false), ("createContainer", false), ("poststart", false), ("", true)] {
        let mut bundle = Bundle::new("hookfailed");
        let file = bundle.path().join("log").to_string_lossy().into_owned();
        bundle = hook(bundle, "createRuntime", &format!("echo up >>{file}"));
        bundle = hook(bundle, "poststop", &format!("echo down >>{file}"));
        bundle = if missing { bundle.args(["/nonexistent"]) } else { hook(bundle.sleeping(), failing, "exit 3") };
        let container = Container::new(bundle);
        assert_ne!(container.run().code(), 0);
        assert_eq!(fs::read_to_string(&file).expect("log"), "up\ndown\n", "{failing}");
        container.leaves_nothing();
    }
}

/// Engines may take the bundle away first.
#[test]
fn poststop_hooks_run_without_the_bundle() {
    privileged!();
    lacks!("crun" < "never": "hooks without the bundle");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("down");
    let mut container =
        Container::new(hook(Bundle::new("hookbundle"), "poststop", &format!("touch {}", file.display())));
    container.runtime.root = directory.path().join("state");
    container.create().ok();
    container.start().ok();
    container.wait_status("stopped");
    let (bundle, aside) = (container.bundle.path(), directory.path().join("bundle"));
    fs::rename(bundle, &aside).expect("the bundle goes");
    let outcome = container.delete();
    fs::rename(&aside, bundle).expect("the bundle comes back");
    outcome.ok();
    assert!(file.is_file());
}

#[test]
fn a_run_in_the_foreground_warns_of_a_failing_poststop_hook() {
    privileged!();
    lacks!("crun" < "1.9": "a run that goes on after a failing poststop hook");
    let outcome = hook(Bundle::new("hookwarns"), "poststop", "exit 3").run();
    assert!(outcome.stderr().contains("hook"), "{outcome:?}");
}

#[test]
fn a_failing_poststop_hook_does_not_stop_delete_nor_the_next_hook() {
    privileged!();
    lacks!("runc" < "never": "the poststop hooks after one that fails", "crun" < "1.9": "a delete that goes on after a failing poststop hook");
    let bundle = Bundle::new("hookpoststop");
    let file = bundle.path().join("second");
    let bundle = hook(bundle, "poststop", "exit 3");
    let container = hook(bundle, "poststop", &format!("touch {}", file.display())).started();
    container.wait_status("stopped");
    container.delete();
    container.leaves_nothing();
    assert!(file.is_file());
}

#[test]
fn a_hook_past_its_timeout_is_killed() {
    privileged!();
    let bundle = Bundle::new("hooktimeout");
    let args = json!(["sh", "-c", "exec sleep 1000"]);
    let entry = json!({ "path": "/bin/sh", "args": args, "env": ["PATH=/usr/bin:/bin"], "timeout": 1 });
    let container = Container::new(bundle.push("/hooks/createRuntime", entry));
    let begin = Instant::now();
    container.create_command(&[]).finish().refused();
    assert!(begin.elapsed() >= std::time::Duration::from_secs(1) && begin.elapsed() < seconds(10));
    container.leaves_nothing();
}

#[test]
fn poststop_hooks_run_after_the_end_of_the_processes() {
    privileged!();
    let bundle = Bundle::new("hookgone");
    let (pid_file, out) = (bundle.path().join("init.pid"), bundle.path().join("alive"));
    let script = format!(
        "cat >/dev/null; grep -qs '^State:.[^Z]' /proc/$(cat {})/status && touch {}; true",
        pid_file.display(),
        out.display()
    );
    let container = hook(bundle.sleeping(), "poststop", &script).started();
    container.delete_force().ok();
    assert!(!out.is_file());
}
