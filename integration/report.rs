//! What `--report` says, and that doing what it says makes a program work that was refused. As root and as an ordinary user.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

#[path = "support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use support::{Bundle, Container, Finish as _, Kind, Outcome, privileged, read, seconds, skip, wait_until};

/// nobody: owns nothing but the bundle.
const USER: u32 = 65_534;

macro_rules! pent_only {
    () => {
        privileged!();
        if Kind::of_runtime() != Kind::Pent {
            return skip("only pent has --report");
        }
    };
}

/// Who runs the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Root,
    User,
}

fn container(who: As, mut bundle: Bundle) -> Container {
    if who == As::Root {
        return Container::new(bundle);
    }
    let map = json!([{ "containerID": 0, "hostID": USER, "size": 1 }]);
    bundle = bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .remove("/linux/resources")
        .remove("/linux/cgroupsPath")
        .without_mount("/sys/fs/cgroup");
    for mount in bundle.config["mounts"].as_array_mut().expect("mounts") {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
    let container = Container::rootless(bundle, USER);
    fs::set_permissions(container.bundle.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode");
    container
}

/// Runs it with a report: what came of it, and the report.
fn report(container: &Container) -> (Outcome, Value) {
    let file = container.bundle.path().join("report.json");
    let outcome = container.run_command(&[&format!("--report={}", file.display())]).finish();
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}: {outcome:?}", file.display()));
    fs::remove_file(file).expect("the report");
    let value: Value = serde_json::from_str(&text).expect("a JSON document");
    assert_eq!(value["version"], 1);
    assert_eq!(value["exitStatus"], outcome.code());
    (outcome, value)
}

fn refusals<'v>(report: &'v Value, layer: &str) -> Vec<&'v Value> {
    report["refusals"].as_array().expect("a list").iter().filter(|refusal| refusal["layer"] == layer).collect()
}

/// RFC 6902, as far as it is used: adds to arrays and objects, replaces, removes.
fn apply(config: &mut Value, patch: &Value) {
    for operation in patch.as_array().expect("a list") {
        let path = operation["path"].as_str().expect("a pointer");
        let (parent, key) = path.rsplit_once('/').expect("a pointer");
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent} for {path}"));
        let value = operation["value"].clone();
        match (operation["op"].as_str().expect("an operation"), parent) {
            ("add", Value::Array(array)) if key == "-" => array.push(value),
            ("add", Value::Array(array)) => array.insert(key.parse().expect("an index"), value),
            ("add", Value::Object(object)) => drop(object.insert(key.to_owned(), value)),
            ("replace", Value::Object(object)) => {
                assert!(object.insert(key.to_owned(), value).is_some(), "{path} is not there to be replaced");
            }
            ("remove", Value::Array(array)) => drop(array.remove(key.parse().expect("an index"))),
            other => panic!("{operation}: {other:?}"),
        }
    }
}

/// The program fails, by this layer; with the changes that the report names it succeeds. Each patch is for the configuration as it
/// was, so that one is made at a time.
#[track_caller]
fn cured(who: As, bundle: Bundle, layer: &str) {
    const MOST: usize = 8;
    let mut container = container(who, bundle);
    let (first, mut report) = report(&container);
    assert_ne!(first.code(), 0, "{who:?}: {first:?}");
    assert!(!refusals(&report, layer).is_empty(), "{who:?}: no {layer} in {report:#}, {first:?}");
    for _ in 0..MOST {
        let refusal = refusals(&report, layer)[0];
        assert_eq!(refusal["remedy"]["kind"], "patch", "{refusal:#}");
        apply(&mut container.bundle.config, &refusal["remedy"]["patch"]);
        container.bundle.write();
        let (outcome, after) = self::report(&container);
        if refusals(&after, layer).is_empty() {
            assert_eq!(outcome.code(), 0, "{who:?}: {outcome:?}\nbefore: {report:#}\nthen: {after:#}");
            return;
        }
        report = after;
    }
    panic!("{who:?}: still refused after {MOST} changes: {report:#}");
}

/// The same for both, with a bundle of its own each.
#[track_caller]
fn cured_for_all(layer: &str, bundle: impl Fn() -> Bundle) {
    cured(As::Root, bundle(), layer);
    cured(As::User, bundle(), layer);
}

fn with_tmp(bundle: Bundle) -> Bundle {
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777"])
}

#[test]
fn an_empty_directory_of_the_read_only_root() {
    pent_only!();
    cured_for_all("read-only-root", || {
        let bundle = Bundle::new("reportroot");
        fs::create_dir_all(bundle.rootfs().join("var/cache/app")).expect("a directory");
        bundle.shell("cd /var/cache && mkdir app/a && echo x > ../cache/app/b && mv app/b app/c")
    });
}

#[test]
fn a_directory_of_the_read_only_root_with_something_in_it() {
    pent_only!();
    cured_for_all("read-only-root", || Bundle::new("reportfull").shell("mkdir /etc/new && rmdir /etc/new"));
    cured_for_all("read-only-root", || Bundle::new("reportfile").shell("echo >> /etc/group"));
    cured_for_all("read-only-root", || Bundle::new("reportrename").shell("mv /etc/group /etc/group.old"));
    cured_for_all("read-only-root", || Bundle::new("reportmode").shell("chmod 600 /etc/group"));
}

#[test]
fn a_read_only_mount() {
    pent_only!();
    cured_for_all("read-only-mount", || {
        let bundle = Bundle::new("reportmount");
        let volume = bundle.dir("volume");
        fs::write(volume.join("file"), "").expect("a file");
        bundle.mount("/srv", "bind", volume, &["rbind", "ro"]).shell("cp /etc/group /srv/new")
    });
}

#[test]
fn a_read_only_path() {
    pent_only!();
    cured(As::Root, Bundle::new("reportsysctl").shell("echo name > /proc/sys/kernel/domainname"), "read-only-mount");
    cured_for_all("read-only-mount", || {
        let bundle = Bundle::new("reportropath");
        let volume = bundle.dir("volume");
        fs::create_dir_all(volume.join("a/b")).expect("a directory");
        let bundle = bundle.mount("/srv", "bind", volume, &["rbind"]).push("/linux/readonlyPaths", "/srv/a");
        bundle.shell("touch /srv/x /srv/a/x /srv/a/b/x")
    });
}

#[test]
fn a_masked_path() {
    pent_only!();
    cured_for_all("masked-path", || {
        let bundle = Bundle::new("reportmask");
        fs::write(bundle.rootfs().join("etc/secret"), "secret").expect("a file");
        bundle.push("/linux/maskedPaths", "/etc/secret").shell("grep -q secret /etc/secret")
    });
    cured_for_all("masked-path", || {
        let bundle = Bundle::new("reportmaskdir");
        fs::create_dir(bundle.rootfs().join("etc/keys")).expect("a directory");
        fs::write(bundle.rootfs().join("etc/keys/key"), "secret").expect("a file");
        bundle.push("/linux/maskedPaths", "/etc/keys").shell("cat /etc/keys/key")
    });
}

#[test]
fn a_mount_without_execution() {
    pent_only!();
    cured_for_all("no-exec", || {
        let bundle = Bundle::new("reportnoexec");
        let volume = bundle.dir("volume");
        support::copy_program(support::busybox(), volume.join("true"));
        bundle.mount("/srv", "bind", volume, &["rbind", "noexec"]).args(["/bin/sh", "-c", "/srv/true"])
    });
}

#[test]
fn a_missing_capability() {
    pent_only!();
    cured_for_all("capability", || Bundle::new("reportchroot").shell("chroot / true"));
    cured_for_all("capability", || {
        with_tmp(Bundle::new("reportport")).capabilities(&["CAP_KILL"]).shell("nc -l -p 80 -w 1 & sleep 0.3; kill $!")
    });
    cured(As::Root, with_tmp(Bundle::new("reportchown")).shell("touch /tmp/x && chown 5:5 /tmp/x"), "capability");
    let user = with_tmp(Bundle::new("reportuser")).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let user = user.remove("/process/capabilities").shell("chroot / true");
    cured(As::Root, user, "capability");
}

fn denying(bundle: Bundle, names: &[&str]) -> Bundle {
    let rule = json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 13 });
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }))
}

#[test]
fn a_call_that_the_filter_denies() {
    pent_only!();
    let bundle = || denying(with_tmp(Bundle::new("reportcall")), &["mkdir", "mkdirat"]).shell("mkdir /tmp/x");
    cured_for_all("seccomp", bundle);
    let not_allowed = || {
        let rules = json!([
            { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" },
            { "names": ["kill", "mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 1, "value": 511, "op": "SCMP_CMP_EQ" }] },
            { "names": ["execve", "exit_group", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
                        "readlink", "getrandom", "mprotect", "mmap", "munmap", "getuid", "geteuid", "getgid", "getegid", "stat",
                        "rt_sigaction", "rt_sigprocmask", "getppid", "getcwd", "write", "fcntl", "fork", "clone", "wait4", "ioctl",
                        "prctl", "uname", "umask", "chmod", "rt_sigreturn", "getpid", "exit", "newfstatat", "writev", "openat2"],
              "action": "SCMP_ACT_ALLOW" }
        ]);
        let policy = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules });
        with_tmp(Bundle::new("reportdefault")).set("/linux/seccomp", policy).shell("mkdir /tmp/x")
    };
    cured_for_all("seccomp", not_allowed);
    for no_new_privs in [true, false] {
        cured(As::Root, bundle().set("/process/noNewPrivileges", no_new_privs), "seccomp");
        // What hands the listener over may be denied as well, and so may giving up the right to do so.
        let names = ["mkdir", "mkdirat", "sendmsg", "recvmsg", "seccomp"];
        let silent = denying(with_tmp(Bundle::new("reportsilent")), &names).shell("mkdir /tmp/x");
        cured(As::Root, silent.set("/process/noNewPrivileges", no_new_privs), "seccomp");
    }
}

#[test]
fn what_handing_over_the_listener_takes_is_denied_all_the_same() {
    pent_only!();
    for who in [As::Root, As::User] {
        // wget -U sends by sendto; nothing of busybox calls sendmsg but `ip`, by netlink.
        let bundle = denying(Bundle::new("reportsendmsg"), &["sendmsg", "seccomp"]).shell("ip link");
        let container = container(who, bundle);
        let (outcome, _) = report(&container);
        let plain = container.run();
        assert_eq!((outcome.code(), outcome.stderr()), (plain.code(), plain.stderr()), "{who:?}");
    }
}

#[test]
fn the_program_sees_no_difference() {
    pent_only!();
    let policy = read("tests/fixtures/docker-default-seccomp.json");
    let policy: Value = serde_json::from_str(&policy).expect("a policy");
    let script = "mount -t tmpfs x /tmp; unshare -n true; chroot / true; mkdir /x; echo > /etc/x; cat /no; nc -w 1 192.0.2.1 80; \
                  touch /tmp/y; chown 7 /tmp/y; /bin; nosuch; cat /proc/kcore; ls -ld /tmp/y | cut -d' ' -f1; exit 7";
    for who in [As::Root, As::User] {
        let bundle = with_tmp(Bundle::new("reportsame")).set("/linux/seccomp", policy.clone()).shell(script);
        let container = container(who, bundle);
        let plain = container.run();
        let (reported, _) = report(&container);
        let all = |outcome: &Outcome| (outcome.code(), outcome.stdout(), outcome.stderr());
        assert_eq!(all(&plain), all(&reported));
        assert_eq!(plain.code(), 7);
    }
}

#[test]
fn no_network() {
    pent_only!();
    // An address of this machine that is none of the container's own: what a route would lead to.
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Ok(SocketAddr::V4(own)) = own else { return skip("the host has no network") };
    let listener = TcpListener::bind((*own.ip(), 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let script = format!("nc -w 5 {} {port} < /dev/null", own.ip());
    cured(As::Root, Bundle::new("reportnet").shell(&script), "no-network");
    cured(As::User, Bundle::new("reportnet").without_mount("/sys").shell(&script), "no-network");
}

#[test]
fn limits_of_the_cgroup() {
    support::controllers!("pids", "memory");
    if Kind::of_runtime() != Kind::Pent {
        return skip("only pent has --report");
    }
    let forks = "i=0; while [ $i -lt 6 ]; do sleep 1 & i=$((i+1)); done; wait";
    let limit = |bundle: Bundle, pointer: &str, value: u64| bundle.set(pointer, value);
    cured(As::Root, limit(Bundle::new("reportpids").shell(forks), "/linux/resources/pids/limit", 5), "pids-limit");
    let memory = Bundle::new("reportmemory").shell("dd if=/dev/zero of=/dev/null bs=24M count=1");
    cured(As::Root, limit(memory, "/linux/resources/memory/limit", 16 << 20), "memory-limit");
}

fn log_lines(container: &Container) -> Vec<Value> {
    let text = fs::read_to_string(container.bundle.path().join("refusals.json")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// The processes that answer for this container.
fn keepers(container: &Container) -> Vec<i32> {
    let is_keeper = |pid: &i32| read(format!("/proc/{pid}/comm")) == "pent-report";
    support::processes_of(container.id()).into_iter().map(|(pid, _)| pid).filter(is_keeper).collect()
}

#[test]
fn a_container_of_an_engine_has_its_refusals_beside_the_log() {
    pent_only!();
    for (who, detached) in [(As::Root, false), (As::Root, true), (As::User, false)] {
        let script =
            "mkdir /tmp/x; mkdir /tmp/y; chmod 700 /tmp; until test -e /tmp/go; do sleep 0.1; done; mkdir /tmp/z";
        let bundle = denying(Bundle::new("reportlog"), &["mkdir", "mkdirat", "chmod", "fchmodat"]).writable();
        let bundle = bundle.set("/annotations", json!({ "run.pent.report": "log" })).shell(script);
        let container = container(who, bundle);
        let log = container.bundle.path().join("log.json");
        let with_log = |mut command: std::process::Command| {
            let args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
            let at = args.iter().position(|arg| arg == "--root").expect("a state directory");
            let mut again = std::process::Command::new(command.get_program());
            again.args(&args[..at]).arg("--log").arg(&log).args(&args[at..]);
            command = again;
            command
        };
        if detached {
            let pid_file = container.pid_file();
            let flags = ["--detach", "--pid-file", pid_file.to_str().expect("text")];
            container.keep(with_log(container.run_command(&flags)).finish()).ok();
        } else {
            container.keep(with_log(container.create_command(&[])).finish()).ok();
            let mut start = container.runtime.command(["start"]);
            start.arg(container.id());
            with_log(start).finish().ok();
        }
        wait_until("two kinds are written down", seconds(20), || log_lines(&container).len() == 2);
        let lines = log_lines(&container);
        assert_eq!((&lines[0]["action"], &lines[1]["action"]), (&json!("mkdir()"), &json!("chmod()")), "{lines:?}");
        assert_eq!((&lines[0]["id"], &lines[0]["errno"]), (&json!(container.id()), &json!("EACCES")));
        assert!(container.stderr().contains("Permission denied"), "{}", container.stderr());
        // Whoever answers has nothing.
        let keepers = keepers(&container);
        assert_eq!(keepers.len(), 1, "{who:?}");
        let status = read(format!("/proc/{}/status", keepers[0]));
        for line in
            ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Groups:\t"]
        {
            assert!(status.lines().any(|is| is.trim_end() == line.trim_end()), "{line}: {status}");
        }
        assert!(status.contains(&format!("Uid:\t{USER}")), "{status}");
        let descriptors = fs::read_dir(format!("/proc/{}/fd", keepers[0])).expect("descriptors").count();
        assert_eq!(descriptors, 5, "null three times, the listener, the file");
        fs::write(container.bundle.rootfs().join("tmp/go"), "").expect("a file");
        container.wait_status("stopped");
        wait_until("nobody answers any more", seconds(10), || self::keepers(&container).is_empty());
        container.delete().ok();
        container.leaves_nothing();
        assert_eq!(log_lines(&container).len(), 2);
    }
}

#[test]
fn an_annotation_that_is_not_known_is_refused() {
    pent_only!();
    let bundle = Bundle::new("reportannotation").set("/annotations", json!({ "run.pent.report": "yes" }));
    bundle.run().refused().says("annotation run.pent.report: \"yes\" is not known");
}

#[test]
fn what_is_not_a_matter_of_the_configuration_is_said() {
    pent_only!();
    for who in [As::Root, As::User] {
        let bundle = with_tmp(Bundle::new("reportabsent"));
        let hidden = bundle.rootfs().join("etc/hidden");
        fs::create_dir(&hidden).expect("a directory");
        fs::set_permissions(&hidden, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("mode");
        let container =
            container(who, bundle.capabilities(&[]).shell("cat /etc/hidden/x; cat /etc/nothing; socat 2>&1; exit 1"));
        let (_, report) = report(&container);
        let subjects = |layer| refusals(&report, layer).iter().map(|r| r["subject"].clone()).collect::<Vec<_>>();
        assert_eq!(subjects("permissions"), ["/etc/hidden"], "{who:?} {report:#}");
        assert!(subjects("absent-path").contains(&json!("/etc/nothing")), "{report:#}");
    }
}

#[test]
fn a_remedy_is_not_given_for_everything() {
    pent_only!();
    let bundle = denying(Bundle::new("reportsurface"), &["unshare", "mount"])
        .shell("unshare -U true; mount -t tmpfs x /tmp; exit 1");
    let (_, report) = report(&container(As::Root, bundle));
    let found = refusals(&report, "seccomp");
    assert_eq!(found.len(), 2, "{report:#}");
    assert!(found.iter().all(|refusal| refusal["remedy"]["why"] == "kernel attack surface"), "{report:#}");
    assert_eq!(found[0]["errno"], "EACCES");
}

#[test]
fn lines_are_for_people_and_names_cannot_play_tricks() {
    pent_only!();
    for who in [As::Root, As::User] {
        let script = r#"mkdir "$(printf '/\033]0;owned\007\n denied  x')"; mkdir /plain; false"#;
        let container = container(who, Bundle::new("reportlines").shell(script));
        let outcome = container.run_command(&["--report"]).finish();
        let text = outcome.stderr();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("denied")).collect();
        assert_eq!(lines.len(), 1, "both are in the same directory: {text}");
        assert!(
            lines[0].contains("read-only root")
                && lines[0].contains("(2 times)")
                && lines[0].contains("/root/readonly")
        );
        let bundle = Bundle::new("reportlines").shell("for d in /*owned*; do mkdir \"$d/x\"; done; false");
        fs::create_dir(bundle.rootfs().join("\x1b]0;owned\x07\n denied  x")).expect("a directory");
        let container = self::container(who, bundle);
        let text = container.run_command(&["--report"]).finish().stderr();
        let line = text.lines().find(|line| line.starts_with("denied  write")).unwrap_or_else(|| panic!("{text}"));
        assert!(line.contains(r"$'/\x1b]0;owned\x07\x0a denied  x'"), "{line}");
    }
}

#[test]
fn nothing_denied_is_said_too() {
    pent_only!();
    Container::new(Bundle::new("reportnothing")).run_command(&["--report"]).finish().ok().says("nothing was denied");
}

#[test]
fn it_must_be_there_to_report() {
    pent_only!();
    let container = Container::new(Bundle::new("reportdetach"));
    container.run_command(&["--report", "--detach"]).finish().refused().says("--report cannot be used with --detach");
    let missing = container.run_command(&["--report=/nonexistent/x"]).finish().refused();
    missing.says("--report: cannot write /nonexistent/x");
    container.leaves_nothing();
}

#[test]
fn a_filter_with_an_agent_keeps_it() {
    pent_only!();
    let rule = json!({ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" });
    let bundle = Bundle::new("reportagent");
    let path = bundle.path().join("agent.sock");
    let _agent = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let policy = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [rule] });
    let container = Container::new(bundle.set("/linux/seccomp", policy).shell("echo > /etc/x; echo done"));
    let outcome = container.run_command(&["--report"]).finish().ok();
    outcome.prints("done").says("refusals cannot be reported: the filter has a listener of its own");
}

#[test]
fn a_flood_fills_neither_memory_nor_report() {
    pent_only!();
    for who in [As::Root, As::User] {
        let names = ["personality"];
        let bundle =
            denying(Bundle::new("reportflood"), &names).with_probe("report").args(["report", "flood", "20000"]);
        let container = container(who, bundle);
        let file = container.bundle.path().join("report.json");
        let mut run = container.run_command(&[&format!("--report={}", file.display())]);
        let mut child = run.stdout(std::process::Stdio::piped()).spawn().expect("pent");
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut most = 0;
        while child.try_wait().expect("a status").is_none() {
            let text = read(&status);
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(child.wait().expect("a status").success(), "{who:?}");
        assert!(most > 0 && most < 64 << 10, "{most} KiB");
        let text = fs::read_to_string(&file).expect("a report");
        assert!(text.len() < 4 << 20, "{} bytes", text.len());
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert!(report["refusals"].as_array().expect("a list").len() < 500);
        assert!(
            report["omitted"].as_array().expect("a list").iter().any(|omitted| omitted["layer"] == "absent-path"),
            "{report:#}"
        );
    }
}

#[test]
fn a_name_that_changes_while_it_is_looked_at_changes_only_the_report() {
    pent_only!();
    for who in [As::Root, As::User] {
        let bundle = with_tmp(Bundle::new("reportrace")).with_probe("report").args(["report", "race", "2000"]);
        let container = container(who, bundle);
        let (outcome, report) = report(&container);
        let stdout = outcome.ok().stdout();
        assert!(stdout.contains("/etc/x: absent"), "{stdout}");
        for refusal in report["refusals"].as_array().expect("a list") {
            let subject = refusal["subject"].as_str().unwrap_or_default();
            assert!(["/etc", "/", "/tmp"].iter().any(|start| subject.starts_with(start)), "{refusal:#}");
        }
    }
}

#[test]
fn without_its_supervisor_a_denied_call_fails_and_never_succeeds() {
    pent_only!();
    for who in [As::Root, As::User] {
        let bundle =
            denying(with_tmp(Bundle::new("reportkilled")), &["mkdir"]).with_probe("report").args(["report", "errno"]);
        let container = container(who, bundle);
        let output = container.bundle.path().join("output");
        let pid_file = container.pid_file();
        let run = container.run_command(&["--report", "--pid-file"]);
        // `run_command` ends with the id: the pid file has to come before it.
        let args: Vec<_> = run.get_args().map(std::ffi::OsStr::to_owned).collect();
        let (id, before) = args.split_last().expect("arguments");
        let mut again = std::process::Command::new(run.get_program());
        again.args(before).arg(&pid_file).arg(id);
        let file = fs::File::create(&output).expect("a file");
        let mut child = again.stdout(file).spawn().expect("pent");
        wait_until("the call is denied", seconds(20), || read(&output) == "EACCES");
        child.kill().expect("killed");
        child.wait().expect("reaped");
        wait_until("the call fails otherwise", seconds(20), || read(&output) == "EACCES\nENOSYS");
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(read(&output), "EACCES\nENOSYS", "{who:?}");
        container.delete_force().ok();
    }
}
