//! What is enforced, as `state` tells it and the kernel confirms; and what is required before the program may start.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use support::{Bundle, Container, Finish as _, Outcome, controllers, lacks, privileged};

/// nobody.
const USER: u32 = 65_534;

macro_rules! posture {
    () => {
        privileged!();
        lacks!("runc" < "never": "postures", "crun" < "never": "postures");
    };
}

/// The command with global flags before its verb.
fn globally(flags: &[&str], command: &Command) -> Command {
    let args: Vec<_> = command.get_args().collect();
    let at = args.iter().position(|arg| *arg == "--root").expect("--root");
    let mut with = Command::new(command.get_program());
    with.args(&args[..at]).args(flags).args(&args[at..]).stdin(std::process::Stdio::null());
    with
}

fn requiring(needs: &str, command: &Command) -> Outcome {
    globally(&["--require", needs], command).finish()
}

/// A container that is as closed as a configuration alone can make it.
fn closed(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .set("/process/noNewPrivileges", true)
        .set("/process/capabilities", json!({}))
        .set("/linux/resources/memory", json!({ "limit": 64 << 20 }))
        .set("/linux/resources/pids", json!({ "limit": 32 }))
        .set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["keyctl"], "action": "SCMP_ACT_ERRNO" }],
            }),
        )
        .mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"]);
    for kind in ["cgroup", "time"] {
        bundle = bundle.namespace(kind, None);
    }
    bundle.sleeping()
}

fn posture(container: &Container) -> Value {
    container.runtime.call(["state", "--posture", container.id()]).ok().json()["posture"].clone()
}

#[test]
fn the_kernels_answers_are_told_layer_by_layer() {
    controllers!("memory", "pids");
    posture!();
    let container = closed("posture").started();
    let is = posture(&container);
    assert_eq!((&is["version"], &is["noNewPrivs"]), (&json!(1), &json!(true)), "{is:#}");
    assert_eq!(is["seccomp"]["mode"], "filter");
    assert_eq!(is["seccomp"]["filters"], 1);
    assert_eq!(is["uid"], json!([1000, 1000, 1000, 1000]));
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(is["capabilities"][set], json!([]), "{set}");
    }
    for own in ["pid", "mnt", "net", "ipc", "uts", "cgroup", "time"] {
        assert_eq!(is["namespaces"][own], "own", "{own}");
    }
    assert_eq!(is["namespaces"]["user"], "shared");
    assert!(is["mounts"]["/"].as_str().is_some_and(|flags| flags.split(',').any(|flag| flag == "ro")), "{is:#}");
    assert!(is["mounts"]["/tmp"].as_str().is_some_and(|flags| flags.contains("noexec")), "{is:#}");
    let memory = is["cgroup"]["memory.max"].as_str().or(is["cgroup"]["memory.limit_in_bytes"].as_str());
    assert_eq!((memory, is["cgroup"]["pids.max"].as_str()), (Some("67108864"), Some("32")));
    assert!(is["landlock"].is_null() && is["unread"].is_null(), "{is:#}");

    // Between create and start the filter is not there yet, and a container nobody has hardened is told of without all this.
    assert!(container.state()["annotations"].is_null() && container.state()["posture"].is_null());
    let waiting = Container::new(closed("posturewait"));
    waiting.create().ok();
    assert_eq!(posture(&waiting)["seccomp"]["mode"], "disabled");
    waiting.kill("KILL").ok();
    waiting.wait_status("stopped");
    assert!(posture(&waiting).is_null(), "nothing is enforced on what has ended");
}

#[test]
fn an_open_container_looks_open() {
    posture!();
    let bundle =
        Bundle::new("postureopen").writable().set("/process/noNewPrivileges", false).remove("/hostname").sleeping();
    let container = bundle.without_namespace("network").without_namespace("uts").started();
    let is = posture(&container);
    assert_eq!(is["noNewPrivs"], false);
    assert_eq!(is["seccomp"]["mode"], "disabled");
    assert_eq!((&is["namespaces"]["net"], &is["namespaces"]["uts"]), (&json!("shared"), &json!("shared")));
    assert!(is["mounts"]["/"].as_str().is_some_and(|flags| flags.split(',').any(|flag| flag == "rw")), "{is:#}");
    assert_ne!(is["capabilities"]["bounding"], json!([]));
}

#[test]
fn a_hardened_container_tells_its_posture_unasked() {
    posture!();
    let container = Container::new(closed("postureasked"));
    let profile = container.bundle.file(
        "fenced.toml",
        "version = 1\nname = \"fenced\"\n\n[process]\nno_new_privs = true\n\n[landlock]\nscope_signals = true\n",
    );
    let profile = profile.to_str().expect("UTF-8");
    container.keep(globally(&["--profile", profile], &container.create_command(&[])).finish()).ok();
    container.start().ok();
    let state = container.state();
    let annotation = state["annotations"]["run.pent.posture"].as_str().expect("the annotation");
    let is: Value = serde_json::from_str(annotation).expect("JSON in one line");
    assert!(!annotation.contains('\n'));
    assert_eq!(is["noNewPrivs"], true);
    if let Ok(abi) = pent::sys::landlock::abi() {
        assert_eq!(is["landlock"]["abi"], abi);
        assert!(is["landlock"]["rules"].as_u64().is_some_and(|rules| rules >= 4), "{is:#}");
    }
    assert!(state["posture"].is_null(), "for people, when they ask");
}

const MET: &str =
    "seccomp,nnp,nonroot,no-caps,readonly-root,cgroup,memory,pids,pidns,netns,ipcns,utsns,cgroupns,mntns,timens";

#[test]
fn what_is_required_and_there_lets_the_program_start() {
    controllers!("memory", "pids");
    posture!();
    let container = Container::new(closed("requiremet"));
    container.keep(requiring(MET, &container.create_command(&[]))).ok();
    container.start().ok();
    // What joins is held to it as well, asked or not.
    container.exec(["true"]).ok();
    let weaker = container.exec_command(&["--cap", "CAP_CHOWN"], &["true"]).finish();
    assert_eq!(weaker.code(), 255, "{weaker:?}");
    assert!(weaker.stderr().contains("no-caps is required") && weaker.stderr().contains("CAP_CHOWN"), "{weaker:?}");
    let root = container.exec_command(&["--user", "0:0"], &["true"]).finish();
    assert!(root.stderr().contains("nonroot is required"), "{root:?}");
}

#[test]
fn what_is_required_and_missing_stops_create_run_and_exec() {
    posture!();
    let bundle = Bundle::new("requiremiss").writable().shell("touch /started; sleep 1000");
    let container = Container::new(bundle.set("/process/noNewPrivileges", false));
    for command in [container.create_command(&[]), container.run_command(&[])] {
        let outcome = requiring("landlock>=1,seccomp,nnp,userns,nonroot,readonly-root,no-caps,memory", &command);
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        for word in ["landlock", "seccomp", "nnp", "userns", "nonroot", "readonly-root", "no-caps", "memory"] {
            assert!(outcome.stderr().contains(&format!("{word} is required: ")), "{word}: {outcome:?}");
        }
        assert!(outcome.stderr().contains("hint: "), "{outcome:?}");
        container.leaves_nothing();
    }
    assert!(!container.bundle.rootfs().join("started").exists());
    container.create().ok();
    container.start().ok();
    let exec = requiring("nnp", &container.exec_command(&[], &["touch", "/execed"]));
    assert_eq!(exec.code(), 255, "{exec:?}");
    assert!(exec.stderr().contains("--require: nnp is required: process.noNewPrivileges is not true"), "{exec:?}");
    assert!(!container.bundle.rootfs().join("execed").exists());
    requiring("pidns", &container.exec_command(&[], &["true"])).ok();
}

#[test]
fn a_namespace_of_the_host_is_none_of_the_containers() {
    posture!();
    // The configuration names it by a path, which only the kernel can tell whose it is.
    let own = std::path::Path::new("/proc/self/ns/net");
    let container = Container::new(Bundle::new("requirens").namespace("network", Some(own)));
    container.run().ok();
    let outcome = requiring("netns", &container.run_command(&[]));
    assert_eq!(outcome.code(), 1, "{outcome:?}");
    assert!(outcome.stderr().contains("the net namespace is the runtime's own"), "{outcome:?}");
    container.leaves_nothing();
}

#[test]
fn an_ordinary_user_is_told_and_held_as_well() {
    posture!();
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    let bundle = Bundle::new("posturerootless")
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .remove("/linux/resources")
        .remove("/linux/cgroupsPath")
        .without_mount("/sys/fs/cgroup")
        .without_mount("/dev/pts")
        .sleeping();
    let container = Container::rootless(bundle, USER);
    container.keep(requiring("userns,nnp,pidns", &container.create_command(&[]))).ok();
    container.start().ok();
    let is = posture(&container);
    assert_eq!(is["namespaces"]["user"], "own", "{is:#}");
    assert_eq!(is["uid"][0], USER);
    assert!(is["unread"].is_null(), "{is:#}");
    assert!(
        fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status").contains("NoNewPrivs:\t1")
    );
    let memory = requiring("memory", &container.exec_command(&[], &["true"]));
    assert!(memory.stderr().contains("memory is required"), "{memory:?}");
    container.kill("KILL").ok();
    container.wait_status("stopped");
}

#[test]
fn the_doctor_knows_that_containers_run_here() {
    posture!();
    let container = Container::new(Bundle::new("doctor"));
    container.run().ok();
    let mut doctor = container.runtime.bare();
    let report = doctor.args(["doctor", "--json"]).finish().ok().json();
    assert_eq!(report["usable"], true, "{report:#}");
    let checks = report["checks"].as_array().expect("checks");
    let landlock = checks.iter().find(|check| check["name"] == "Landlock").expect("the check");
    assert_eq!(landlock["grade"] == "ok", pent::sys::landlock::abi().is_ok_and(|abi| abi >= 6), "{landlock}");
    // Where new namespaces are refused, it says so and why, and its exit code tells.
    let script = "echo 0 > /proc/sys/user/max_mnt_namespaces && exec \"$@\"";
    let mut refused = Command::new("unshare");
    refused.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(&container.runtime.program).arg("doctor");
    let refused = refused.finish();
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(
        refused.stdout().contains("missing  making namespaces    they cannot be made: no space left"),
        "{refused:?}"
    );
    assert!(refused.stdout().contains("pent cannot run containers"), "{refused:?}");
}
