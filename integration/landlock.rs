//! Landlock rules: what they stop that nothing else would, and what they must leave alone. Each attempt is made without them
//! first, so that an attempt that no longer works is found.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde_json::json;
use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::Command;
use support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, seconds, skip};

/// nobody.
const USER: u32 = 65_534;

/// Skips the test when it does not run as root, when the runtime has no profiles, or where the kernel has not this ABI.
macro_rules! landlock {
    ($abi:literal) => {
        privileged!();
        lacks!("runc" < "never": "Landlock", "crun" < "never": "Landlock");
        if !pent::sys::landlock::abi().is_ok_and(|abi| abi >= $abi) {
            return skip(concat!("the kernel has no Landlock ABI ", $abi));
        }
    };
}

/// A profile with these keys in its `[landlock]`, and the least beside it.
fn profile(bundle: &Bundle, keys: &str) -> PathBuf {
    let text = format!("version = 1\nname = \"fenced\"\n\n[process]\nno_new_privs = true\n\n[landlock]\n{keys}\n");
    bundle.file("fenced.toml", &text)
}

/// The command with the profile before its verb, and a directory of the host as descriptor 3 of the container where it says so.
fn fenced(container: &Container, keys: &str, command: &Command) -> Command {
    let profile = profile(&container.bundle, keys);
    let mut with = Command::new(command.get_program());
    let root = [std::ffi::OsStr::new("--root")];
    let at = command.get_args().position(|arg| root.contains(&arg)).expect("--root");
    let args: Vec<_> = command.get_args().collect();
    with.args(&args[..at]).arg("--profile").arg(profile).args(&args[at..]).stdin(std::process::Stdio::null());
    with
}

/// `run`, without the rules and with them.
fn both(container: &Container, keys: &str, options: &[&str]) -> (Outcome, Outcome) {
    let free = container.run_command(options).finish();
    let fenced = fenced(container, keys, &container.run_command(options)).finish();
    (free, fenced)
}

const SCOPES: &str = "scope_abstract = true\nscope_signals = true";

/// Everything that programs do all day.
const USUAL: &str = r#"
    echo file > /tmp/a && cat /tmp/a
    mkdir /tmp/d && mv /tmp/a /tmp/d/b && ln /tmp/d/b /tmp/c && rm /tmp/c && echo moved
    mkfifo /tmp/fifo && ln -s fifo /tmp/link && rm /tmp/link /tmp/fifo && rm -r /tmp/d && echo removed
    echo gone > /dev/null && echo null
    echo full > /dev/full || echo full
    head -c 1 /dev/zero > /tmp/zero && head -c 1 /dev/urandom > /tmp/zero && echo devices
    echo shared > /dev/shm/x && cat /dev/shm/x
    echo 10 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj
    echo out >> /dev/stdout; echo err >> /dev/stderr
    cat /proc/self/comm /etc/volume
    echo volume > /etc/volume && cat /etc/volume
    echo no > /etc/fixed || cat /etc/fixed
    echo no > /made || echo readonly
    cat /proc/kcore; ls /sys/firmware
    echo no > /proc/sys/kernel/domainname || echo closed
"#;

fn usual(bundle: Bundle) -> Bundle {
    let (volume, fixed) = (bundle.file("volume", "old\n"), bundle.file("fixed", "fixed\n"));
    for file in [&volume, &fixed] {
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("mode");
    }
    bundle
        .mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"])
        .mount("/etc/volume", "bind", volume, &["bind", "rw"])
        .mount("/etc/fixed", "bind", fixed, &["bind", "ro"])
        .shell(USUAL)
}

#[test]
fn what_the_mounts_allow_still_works() {
    landlock!(1);
    for (name, userns) in [("llusual", false), ("llusualns", true)] {
        let mut bundle = usual(Bundle::new(name));
        if userns {
            let map = json!([{ "containerID": 0, "hostID": 0, "size": 65_536 }]);
            bundle =
                bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        }
        let container = Container::new(bundle);
        let again = || fs::write(container.bundle.path().join("volume"), "old\n").expect("the volume");
        let free = container.run_command(&[]).finish();
        again();
        let held = fenced(&container, SCOPES, &container.run_command(&[])).finish();
        assert_eq!(free.stdout(), held.stdout(), "{free:?}\n{held:?}");
        assert_eq!(free.stderr(), held.stderr());
        for word in
            ["moved", "removed", "null", "full", "devices", "shared", "out", "volume", "fixed", "readonly", "closed"]
        {
            assert!(held.stdout().lines().any(|line| line == word), "{word}: {held:?}");
        }
    }
}

#[test]
fn terminals_take_commands() {
    landlock!(5);
    let words = "command /dev/tty command /dev/console command /dev/pts/0 open /dev/ptmx";
    let bundle = Bundle::new("lltty")
        .with_probe("fence")
        .set("/process/terminal", true)
        .shell(&format!("fence {words}; stty cols 91 rows 17; stty size; echo typed > /dev/tty"));
    let container = Container::new(bundle);
    let run = fenced(&container, SCOPES, &container.run_command(&[]));
    let line: Vec<_> =
        std::iter::once(run.get_program()).chain(run.get_args()).map(|arg| arg.to_string_lossy()).collect();
    let shown = Command::new("script").args(["-qec", &line.join(" "), "/dev/null"]).finish().ok().stdout();
    // script(1) echoes the end of its own empty input.
    let lines: Vec<&str> = shown.lines().map(|line| line.trim().trim_start_matches("^@")).collect();
    assert_eq!(lines, ["command: ok", "command: ok", "command: ok", "open: ok", "17 91", "typed"], "{shown}");
}

/// The same with a directory of the host as descriptor 3.
fn with_leak(command: &Command, dir: &std::path::Path) -> Outcome {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<\"$0\"; exec \"$@\""]).arg(dir).arg(command.get_program()).args(command.get_args());
    shell.finish()
}

#[test]
fn a_leaked_directory_of_the_host_leads_nowhere() {
    landlock!(1);
    let words = ["/bin/fence", "read", "secret", "make", "planted"];
    let bundle = Bundle::new("llleak").with_probe("fence").args(words);
    let leak = bundle.dir("leak");
    fs::write(leak.join("secret"), "").expect("a secret");
    let container = Container::new(bundle);
    let run = container.run_command(&["--preserve-fds", "1"]);
    with_leak(&run, &leak).ok().prints("read: ok\nmake: ok");
    fs::remove_file(leak.join("planted")).expect("it was made");
    // Under a profile it is not handed over at all.
    with_leak(&fenced(&container, "scope_signals = false", &run), &leak).exits(1).says("cannot hand over descriptor 3");
    assert!(!leak.join("planted").exists());
}

#[test]
fn a_writable_mount_below_a_read_only_one_is_closed() {
    landlock!(1);
    // `rbind,ro` concerns the topmost mount only (mount(8)).
    let bundle = Bundle::new("llbelow");
    let volume = bundle.dir("volume");
    fs::create_dir(volume.join("below")).expect("a directory");
    let bundle = bundle.mount("/v", "bind", &volume, &["rbind", "ro"]);
    let container = Container::new(bundle.shell("echo x > /v/x; echo y > /v/below/y && echo written || echo closed"));
    let below = |command: &Command| {
        let mut view = Command::new("unshare");
        let script = "mount -t tmpfs below \"$0\" && exec \"$@\"";
        view.args(["--mount", "sh", "-c", script]).arg(volume.join("below"));
        view.arg(command.get_program()).args(command.get_args()).finish()
    };
    let run = container.run_command(&[]);
    below(&run).ok().prints("written");
    below(&fenced(&container, "scope_signals = false", &run)).ok().prints("closed");
}

#[test]
fn a_leaked_directory_leads_nowhere_for_an_ordinary_user_and_for_exec_either() {
    landlock!(1);
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    let bundle = Bundle::new("llrootless")
        .with_probe("fence")
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .remove("/linux/resources")
        .remove("/linux/cgroupsPath")
        .without_mount("/sys/fs/cgroup")
        .without_mount("/dev/pts")
        .sleeping();
    let leak = bundle.dir("leak");
    fs::write(leak.join("secret"), "").expect("a secret");
    let container = Container::rootless(bundle, USER);
    container.keep(fenced(&container, SCOPES, &container.create_command(&[])).finish()).ok();
    container.start().ok();
    let words = ["/bin/fence", "read", "secret", "make", "planted"];
    let exec = container.exec_command(&["--preserve-fds", "1"], &words);
    with_leak(&exec, &leak).exits(255).says("cannot hand over descriptor 3");
    assert!(!leak.join("planted").exists());
    // Its own processes are not out of its reach.
    container.sh("kill -0 1 && echo > /dev/null && echo mine").ok().prints("mine");
    container.kill("KILL").ok();
    container.wait_status("stopped");
}

#[test]
fn programs_are_executed_only_from_where_they_may_be() {
    landlock!(1);
    let bundle = Bundle::new("llexec")
        .mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"])
        .shell("cp /bin/busybox /tmp/echo && /tmp/echo ran || echo refused $?");
    let container = Container::new(bundle);
    let (free, held) = both(&container, "execute = [\"/bin\", \"/nowhere\"]", &[]);
    free.ok().prints("ran");
    assert_eq!(held.stdout(), "refused 126\n", "{held:?}");
    let elsewhere = fenced(&container, "execute = [\"/usr/bin\"]", &container.run_command(&[])).finish();
    assert_eq!(elsewhere.code(), 1, "{elsewhere:?}");
    assert!(elsewhere.stderr().contains("permission denied"), "{elsewhere:?}");
}

#[test]
fn tcp_ports_are_those_of_the_lists() {
    landlock!(4);
    let words = ["/bin/fence", "bind", "8080", "bind", "8081", "connect", "8080", "connect", "8081"];
    let container = Container::new(Bundle::new("llports").with_probe("fence").args(words));
    let (free, held) = both(&container, "bind_tcp = [8080]\nconnect_tcp = [8081]", &[]);
    free.ok().prints("bind: ok\nbind: ok\nconnect: ECONNREFUSED\nconnect: ECONNREFUSED");
    held.ok().prints("bind: ok\nbind: EACCES\nconnect: EACCES\nconnect: ECONNREFUSED");
}

#[test]
fn sockets_and_processes_of_the_host_are_out_of_reach_in_its_namespaces() {
    landlock!(6);
    let name = format!("pent-test-{}", std::process::id());
    let listener = SocketAddr::from_abstract_name(&name).and_then(|at| UnixListener::bind_addr(&at)).expect("a socket");
    let pid = std::process::id().to_string();
    let words = ["/bin/fence", "abstract", &name, "signal", &pid, "signal", "0"];
    let bundle = Bundle::new("llscope").with_probe("fence").args(words).capabilities(&["CAP_KILL"]);
    let container = Container::new(bundle.without_namespace("network").without_namespace("pid").without_mount("/proc"));
    let (free, held) = both(&container, SCOPES, &[]);
    free.ok().prints("abstract: ok\nsignal: ok\nsignal: ok");
    held.ok().prints("abstract: EPERM\nsignal: EPERM\nsignal: ok");
    drop(listener);
}

#[test]
fn a_hook_in_the_container_is_not_held_and_its_program_is() {
    landlock!(1);
    let bundle = Bundle::new("llhook").mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]);
    let hook =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cp /bin/busybox /tmp/echo && /tmp/echo hook > /tmp/by"] }]);
    let bundle = bundle.set("/hooks/startContainer", hook).shell("cat /tmp/by; /tmp/echo no || echo held");
    let container = Container::new(bundle);
    let held = fenced(&container, "execute = [\"/bin\"]", &container.run_command(&[])).finish();
    assert_eq!(held.stdout(), "hook\nheld\n", "{held:?}");
}

#[test]
fn a_process_born_last_is_held_too() {
    landlock!(1);
    let neighbour = Bundle::new("llpod").sleeping().started();
    let pid = PathBuf::from(format!("/proc/{}/ns/pid", neighbour.pid()));
    let bundle =
        Bundle::new("llshared").namespace("pid", Some(&pid)).shell("cp /bin/busybox /tmp/x; /tmp/x true || echo held");
    let container = Container::new(bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]));
    let held = fenced(&container, "execute = [\"/bin\"]", &container.run_command(&[])).finish();
    assert_eq!(held.stdout(), "held\n", "{held:?}");
}

#[test]
fn a_process_that_joins_is_held_by_the_rules_of_its_container() {
    landlock!(1);
    let bundle = Bundle::new("lljoin").mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev"]).sleeping();
    let container = Container::new(bundle);
    let keys = format!("execute = [\"/bin\"]\n{SCOPES}");
    container.keep(fenced(&container, &keys, &container.create_command(&[])).finish()).ok();
    container.start().ok();
    container
        .sh("cp /bin/busybox /tmp/x; /tmp/x true || echo held; kill -0 1 && echo reaches")
        .ok()
        .prints("held\nreaches");
    // A file that --process names asks for no no_new_privs: the profile does.
    let process =
        json!({ "args": ["/tmp/x", "true"], "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"] });
    let file = container.bundle.file("process.json", &process.to_string());
    let mut exec = container.runtime.command(["exec", "--process"]);
    let outcome = exec.arg(file).arg(container.id()).finish();
    assert_eq!(outcome.code(), 255, "{outcome:?}");
    assert!(outcome.stderr().contains("permission denied"), "{outcome:?}");
    container.kill("TERM").ok();
    assert_eq!(container.wait_exit(), 0);
}

#[test]
fn the_plan_says_what_the_rules_will_be() {
    landlock!(7);
    let container = Container::new(Bundle::new("llplan"));
    let mut plan = container.runtime.command(["plan", "--bundle"]);
    plan.arg(container.bundle.path());
    let text = fenced(&container, SCOPES, &plan).finish_within(seconds(30)).ok().stdout();
    let at =
        |word: &str| text.lines().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}:\n{text}"));
    let abi = pent::sys::landlock::abi().expect("an ABI");
    assert!(at(&format!("make Landlock rules, ABI {abi}: read /; execute /; write ")) < at("set uid"));
    assert!(at("set no_new_privs") < at("restrict this process to the Landlock rules, and verify"));
}

#[test]
fn a_container_with_rules_cannot_be_checkpointed() {
    landlock!(1);
    let container = Container::new(Bundle::new("llcriu").sleeping());
    container.keep(fenced(&container, SCOPES, &container.create_command(&[])).finish()).ok();
    container.start().ok();
    let outcome = container.call("checkpoint", &[]);
    assert_ne!(outcome.code(), 0);
    assert!(outcome.stderr().contains("Landlock"), "{outcome:?}");
}
