//! The shipped profiles with real programs: each profile's expectations file says what it allows and denies, and both are tried.
//!
//! The programs are the host's (Debian packages), mounted read-only; what is denied is attempted by `integration/probe/attempt.c`.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

mod support;

use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use support::{Bundle, Container, Finish as _, Kind, Outcome, privileged, skip};

/// `profiles/expectations/NAME.toml`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectations {
    /// As root: of a user namespace, where the profile wants another user.
    #[serde(default)]
    root: bool,
    /// Every attempt in one process.
    #[serde(default)]
    here: bool,
    allow: Vec<String>,
    deny: BTreeMap<String, Vec<String>>,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    name: String,
    /// Programs of the host that it takes beside its first word.
    #[serde(default)]
    needs: Vec<String>,
    args: Vec<String>,
    prints: String,
}

impl Expectations {
    fn of(profile: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("profiles/expectations/{profile}.toml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Leaves out what this kernel cannot deny, and says what that was.
    fn leave_out(&mut self) -> Vec<String> {
        let has_landlock = pent::sys::landlock::abi().is_ok_and(|abi| abi > 0);
        // User-mode Linux takes every system call for one of its own architecture.
        let has_i386 = !support::read("/proc/cpuinfo").contains("User Mode Linux");
        let mut left_out = Vec::new();
        for (want, attempts) in &mut self.deny {
            attempts.retain(|attempt| {
                let by_landlock = want == "EACCES" && (attempt.starts_with("bind:") || attempt.starts_with("program:"));
                let can = (has_landlock || !by_landlock) && (has_i386 || attempt != "abi:i386");
                if !can {
                    left_out.push(attempt.clone());
                }
                can
            });
        }
        left_out
    }

    /// A bundle as an engine makes it, with the host's programs.
    fn bundle(&self, profile: &str) -> Bundle {
        let mut bundle =
            Bundle::new(profile).remove("/hostname").set("/root/readonly", false).capabilities(&CAPABILITIES);
        let rootfs = bundle.rootfs();
        fs::remove_dir_all(rootfs.join("bin")).expect("busybox is not needed");
        fs::remove_file(rootfs.join("sbin")).expect("busybox is not needed");
        for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(target, rootfs.join(link)).expect("a link of merged /usr");
        }
        for directory in ["usr", "etc/alternatives", "run", "t", "build", "var/cache/jvm"] {
            fs::create_dir_all(rootfs.join(directory)).expect("a directory");
        }
        bundle = bundle.mount("/usr", "bind", "/usr", &["rbind", "ro"]).mount(
            "/etc/alternatives",
            "bind",
            "/etc/alternatives",
            &["rbind", "ro"],
        );
        for entry in fs::read_dir("/etc").expect("/etc").map(|entry| entry.expect("an entry").path()) {
            let name = entry.file_name().expect("a name").to_string_lossy().into_owned();
            if name.starts_with("java-") {
                fs::create_dir_all(rootfs.join("etc").join(&name)).expect("a directory");
                bundle = bundle.mount(&format!("/etc/{name}"), "bind", &entry, &["rbind", "ro"]);
            }
        }
        bundle = bundle.mount("/t", "bind", programs(), &["bind", "ro"]);
        if !self.root {
            bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        } else if profile != "baseline" {
            bundle = mapped(bundle);
        }
        for path in ["tmp", "run", "build", "var/cache"] {
            // What the profile's own mounts take the place of.
            fs::set_permissions(rootfs.join(path), fs::Permissions::from_mode(0o777)).expect("mode");
        }
        bundle
    }
}

/// In a user namespace that maps its root to somebody else, who owns the root filesystem.
fn mapped(bundle: Bundle) -> Bundle {
    const FIRST: u32 = 1_000_000;
    let status = Command::new("chown").args(["-hR", &format!("{FIRST}:{FIRST}")]).arg(bundle.rootfs()).status();
    assert!(status.expect("chown").success(), "chown of the root filesystem");
    let mapping = json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }]);
    bundle.namespace("user", None).set("/linux/uidMappings", mapping.clone()).set("/linux/gidMappings", mapping)
}

/// Programs made for the tests: what they run where nothing of the host is needed.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profiles");
        fs::create_dir_all(&directory).expect("a directory");
        support::copy_program(support::probe("attempt"), directory.join("attempt"));
        let run = |program: &str, args: &[&str]| match Command::new(program).args(args).current_dir(&directory).status()
        {
            Ok(status) => assert!(status.success(), "{program} {args:?}"),
            // What it would have made is missed where it is run.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{program}: {error}"),
        };
        fs::write(directory.join("hello.c"), C).expect("a source");
        run("gcc", &["-static", "-O1", "-o", "hello", "hello.c"]);
        fs::write(directory.join("threads.rs"), RUST).expect("a source");
        run("rustc", &["-O", "-C", "target-feature=+crt-static", "-o", "threads", "threads.rs"]);
        for entry in fs::read_dir(&directory).expect("the programs") {
            let path = entry.expect("an entry").path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        }
        directory
    })
}

const C: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); }\n";

const RUST: &str = r#"fn main() {
    let threads: Vec<_> = (0..32u64).map(|n| std::thread::spawn(move || n)).collect();
    println!("threads {}", threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>());
    std::fs::write("/tmp/x", "x").unwrap();
}
"#;

/// What Docker gives every container, and here in all five sets.
const CAPABILITIES: [&str; 13] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn is_pent() -> bool {
    Kind::of_runtime() == Kind::Pent
}

/// Runs `--profile NAME run`.
fn run(profile: &str, bundle: Bundle, args: &[String]) -> Outcome {
    let container = Container::new(bundle.set("/process/args", json!(args)));
    let mut command = container.runtime.command(["--profile", profile, "run", "--bundle"]);
    command.arg(container.bundle.path()).arg(container.id());
    command.finish()
}

fn holds(profile: &str) {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let mut expected = Expectations::of(profile);
    let mut missing = expected.leave_out();
    let mut args = vec!["/t/attempt".to_owned()];
    args.extend(expected.here.then(|| "--here".to_owned()));
    args.extend(expected.allow.iter().cloned());
    args.extend(expected.deny.values().flatten().cloned());
    let outcome = run(profile, expected.bundle(profile), &args).ok();
    let got: BTreeMap<String, String> = outcome
        .stdout()
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(attempt, result)| (attempt.to_owned(), result.to_owned()))
        .collect();
    let mut wrong = Vec::new();
    // Arguments that make a call harmless make it fail, too, once it is allowed.
    let harmless = ["ok", "EFAULT", "EINVAL", "EBADF", "ENOENT", "ENOTTY"];
    for attempt in &expected.allow {
        match got.get(attempt) {
            Some(result) if harmless.contains(&result.as_str()) => {}
            result => wrong.push(format!("{attempt}: want it allowed, got {result:?}")),
        }
    }
    for (want, attempts) in &expected.deny {
        for attempt in attempts {
            let got_it = got.get(attempt);
            // Hidden, or a kernel without it.
            let hidden = want == "ENODATA" && got_it.is_some_and(|got| got == "ENOENT");
            if got_it != Some(want) && !hidden {
                wrong.push(format!("{attempt}: want {want}, got {:?}", got.get(attempt)));
            }
        }
    }
    for program in &expected.runs {
        if !program.needs.iter().chain(&program.args[..1]).all(|needed| is_there(needed)) {
            missing.push(program.name.clone());
            continue;
        }
        let outcome = run(profile, expected.bundle(profile), &program.args);
        if outcome.code() != 0 || outcome.stdout().trim_end() != program.prints {
            wrong.push(format!("{}: want {:?}, got {outcome:?}", program.name, program.prints));
        }
    }
    assert!(wrong.is_empty(), "{profile}:\n{}", wrong.join("\n"));
    if !missing.is_empty() {
        skip(&format!("this machine lacks what these take: {}", missing.join(", ")));
    }
}

/// Whether there is a program to run, by its path in the container.
fn is_there(program: &str) -> bool {
    match program.strip_prefix("/t/") {
        Some(name) => programs().join(name).exists(),
        None => Path::new(program).exists(),
    }
}

#[test]
fn baseline() {
    holds("baseline");
}

#[test]
fn restricted() {
    holds("restricted");
}

#[test]
fn offline_compute() {
    holds("offline-compute");
}

#[test]
fn static_binary() {
    holds("static-binary");
}

#[test]
fn network_service() {
    holds("network-service");
}

#[test]
fn nodejs() {
    holds("nodejs");
}

#[test]
fn python() {
    holds("python");
}

#[test]
fn jvm() {
    holds("jvm");
}

#[test]
fn build() {
    holds("build");
}

/// A bundle as an engine makes it, whose program stays.
fn engine(name: &str) -> Bundle {
    Bundle::new(name)
        .with_probe("attempt")
        .remove("/hostname")
        .set("/root/readonly", false)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .capabilities(&CAPABILITIES)
        .sleeping()
}

/// Runs it detached with flags before the verb.
fn started(bundle: Bundle, globals: &[&str]) -> Container {
    let container = Container::new(bundle);
    let mut command = container.runtime.command([globals, &["run", "--detach", "--bundle"]].concat());
    command.arg(container.bundle.path()).arg("--pid-file").arg(container.pid_file()).arg(container.id());
    container.keep(command.finish()).ok();
    container
}

fn status(text: &str, field: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("{field} in {text}"));
    line.trim().to_owned()
}

/// What joins a container is held to its profile, whatever it asks for.
#[test]
fn exec_is_held_to_the_profile_of_its_container() {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let container = started(engine("held"), &["--profile", "restricted"]);
    let asks = ["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_CHOWN", "--env", "LD_PRELOAD=/evil.so", "--env", "KEPT=1"];
    let script = "cat /proc/self/status; env; ulimit -c; /bin/attempt bpf chown create:/ create:/tmp execute:/tmp";
    let got = container.exec_command(&asks, &["sh", "-c", script]).finish().ok().stdout();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(status(&got, set), "0000000000000000", "{set}");
    }
    assert_eq!((status(&got, "NoNewPrivs:"), status(&got, "Seccomp:")), ("1".into(), "2".into()));
    assert!(!got.contains("LD_PRELOAD") && got.contains("KEPT=1"), "{got}");
    for line in ["bpf EPERM", "chown EPERM", "create:/ EROFS", "create:/tmp ok", "execute:/tmp EACCES"] {
        assert!(got.contains(line), "no {line:?} in {got}");
    }
    // The whole process from a file: privileges that are stated, and a limit that is higher.
    let process = container.bundle.file(
        "process.json",
        &json!({
            "user": { "uid": 1000, "gid": 1000 }, "args": ["cat", "/proc/self/status", "/proc/self/limits"], "cwd": "/",
            "env": ["PATH=/bin"], "noNewPrivileges": false, "capabilities": { "bounding": ["CAP_SYS_PTRACE"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 4096, "hard": 8192 }],
        })
        .to_string(),
    );
    let got = container.exec_command(&["--process", &process.to_string_lossy()], &[]).finish().ok().stdout();
    assert_eq!((status(&got, "NoNewPrivs:"), status(&got, "CapBnd:")), ("1".into(), "0000000000000000".into()));
    let files = status(&got, "Max open files");
    assert_eq!(files.split_whitespace().take(2).collect::<Vec<_>>(), ["1024", "1024"]);
    // Root cannot be tightened to somebody else.
    let refused = container.exec_command(&["--user", "0"], &["id"]).finish();
    assert_eq!(refused.code(), 255, "{refused:?}");
    assert!(refused.stderr().contains("profile restricted, rule user"), "{refused:?}");
    // Of another profile, the exec gets the stricter part as well.
    let mut command = container.runtime.command(["--profile", "offline-compute", "exec"]);
    let got = command.arg(container.id()).args(["/bin/attempt", "socket:inet", "bpf"]).finish().ok().stdout();
    assert_eq!(got, "socket:inet EAFNOSUPPORT\nbpf EPERM\n");
    let got = container.exec(["/bin/attempt", "socket:inet"]).ok().stdout();
    assert_eq!(got, "socket:inet ok\n");
}

/// `update` raises no limit above the profile's.
#[test]
fn update_is_held_to_the_profile_of_its_container() {
    support::controllers!("pids");
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let container = started(engine("update"), &["--profile", "restricted"]);
    let limit = || support::read(container.cgroup_file("pids", "pids.max"));
    assert_eq!(limit(), "256");
    let raised = container.runtime.call(["update", "--pids-limit", "-1", container.id()]).ok();
    assert!(raised.stderr().contains("rule cgroup"), "{raised:?}");
    assert_eq!(limit(), "256");
    container.runtime.call(["update", "--pids-limit", "50", container.id()]).ok();
    assert_eq!(limit(), "50");
}

/// Naming one flag of a bind mount turns its source's others off (`mount --bind -o`); the one that a profile adds must not.
#[test]
fn a_flag_that_the_profile_adds_costs_none_of_the_source() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path();
    let remount = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
    mount(Some(source), source, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("bind");
    mount(None::<&str>, source, None::<&str>, remount, None::<&str>).expect("remount");
    let bundle = engine("closed-source").mount("/t", "bind", source, &["bind", "rprivate"]);
    let outcome = run("baseline", bundle, &["sh", "-c", "grep ' /t ' /proc/mounts"].map(str::to_owned));
    umount2(source, MntFlags::MNT_DETACH).expect("unmount");
    let seen = outcome.ok().stdout();
    for flag in ["ro", "noexec", "nosuid", "nodev"] {
        assert!(seen.split([' ', ',']).any(|word| word == flag), "{flag}: {seen}");
    }
}

/// A program called `pent-NAME` applies the profile NAME, for callers that name only a binary.
#[test]
fn the_name_of_the_program_chooses_the_profile() {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let mut container = Container::new(engine("by-name").args(["sh", "-c", "cat /proc/self/status; hostname"]));
    let link = container.bundle.path().join("pent-restricted");
    symlink(&container.runtime.program, &link).expect("a link");
    let program = std::mem::replace(&mut container.runtime.program, link);
    let outcome = container.run().ok();
    container.runtime.program = program;
    assert_eq!(status(&outcome.stdout(), "CapBnd:"), "0000000000000000");
    assert!(outcome.stdout().ends_with(&format!("{}\n", container.id())), "the hostname is the id: {outcome:?}");
    let unknown = container.bundle.path().join("pent-restricted2");
    symlink(&container.runtime.program, &unknown).expect("a link");
    let program = std::mem::replace(&mut container.runtime.program, unknown);
    let refused = container.run();
    container.runtime.program = program;
    assert_ne!(refused.code(), 0);
    assert!(refused.stderr().contains("no profile is called \"restricted2\""), "{refused:?}");
}

/// /etc/pent/config.toml and the annotation: the file decides, and a creator only tightens. In a mount namespace with an /etc/pent of
/// its own.
#[test]
fn a_creator_never_loosens_what_the_administrator_wants() {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let config = r#"version = 1
[profile]
default = "restricted"
choices = ["baseline"]
"#;
    let run = |annotation: Option<&str>, mode: &str| {
        let mut bundle = engine("config").args(["/bin/attempt", "socket:inet", "semget", "bpf"]);
        if let Some(name) = annotation {
            bundle = bundle.set("/annotations", json!({ "run.pent.profile": name }));
        }
        let container = Container::new(bundle);
        let file = container.bundle.file("pent.toml", config);
        let script = format!(
            "mount -t tmpfs pent /etc && mkdir /etc/pent && cp {} /etc/pent/config.toml && chmod {mode} /etc/pent/config.toml && exec \"$@\"",
            file.display()
        );
        let inner = container.run_command(&[]);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.finish()
    };
    let said = |outcome: Outcome| outcome.ok().stdout().replace('\n', " ");
    assert_eq!(said(run(None, "644")), "socket:inet ok semget EPERM bpf EPERM ");
    // What the file lets it choose, more of the same, and nothing less.
    assert_eq!(said(run(Some("baseline"), "644")), "socket:inet ok semget ok bpf EPERM ");
    assert_eq!(said(run(Some("offline-compute"), "644")), "socket:inet EAFNOSUPPORT semget EPERM bpf EPERM ");
    let refused = run(Some("none"), "644");
    assert_ne!(refused.code(), 0, "{refused:?}");
    assert!(refused.stderr().contains("annotation run.pent.profile"), "{refused:?}");
    let refused = run(Some("/tmp/mine.toml"), "644");
    assert!(refused.code() != 0 && refused.stderr().contains("is a path"), "{refused:?}");
    let exposed = run(None, "666");
    assert!(exposed.code() != 0 && exposed.stderr().contains("can be changed by others"), "{exposed:?}");
}

/// A hook runs only with the content that the profile knows.
#[test]
fn hooks_are_held_to_their_digest() {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let mut bundle = engine("hooks").shell("echo ran");
    let hook = bundle.script("hook", "echo hooked > $(dirname $0)/out");
    let digest = Command::new("sha256sum").arg(&hook).output().expect("sha256sum").stdout;
    let digest = String::from_utf8(digest).expect("digits").split_whitespace().next().expect("a digest").to_owned();
    let profile = |digest: &str| {
        format!("version = 1\n[[hooks.allow]]\npath = {:?}\nsha256 = \"{digest}\"\n", hook.display().to_string())
    };
    let (good, bad) = (bundle.file("good.toml", &profile(&digest)), bundle.file("bad.toml", &profile(&"0".repeat(64))));
    bundle = bundle.push("/hooks/createRuntime", json!({ "path": hook }));
    let container = Container::new(bundle);
    let run = |profile: &Path| {
        let mut command = container.runtime.command(["--profile", &profile.to_string_lossy(), "run", "--bundle"]);
        command.arg(container.bundle.path()).arg(container.id());
        command.finish()
    };
    let refused = run(&bad);
    assert!(
        refused.code() != 0 && refused.stderr().contains("hooks.createRuntime[0].path: profile bad, rule hooks"),
        "{refused:?}"
    );
    assert!(!container.bundle.path().join("out").exists());
    assert_eq!(run(&good).ok().stdout(), "ran\n");
    assert_eq!(support::read(container.bundle.path().join("out")), "hooked");
}

/// The whole of an engine's filter and the profile's: both deny what they deny, and one filter is loaded.
#[test]
fn the_containers_own_filter_stays() {
    privileged!();
    if !is_pent() {
        return skip("profiles are pent's");
    }
    let own = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["inotify_init1"], "action": "SCMP_ACT_ERRNO", "errnoRet": 74 },
                     { "names": ["quotactl"], "action": "SCMP_ACT_KILL_PROCESS" }],
    });
    let bundle = engine("filters").set("/linux/seccomp", own);
    let args =
        ["sh", "-c", "grep -E 'Seccomp' /proc/self/status; /bin/attempt inotify bpf quotactl"].map(str::to_owned);
    let got = run("restricted", bundle, &args).ok().stdout();
    assert_eq!(status(&got, "Seccomp_filters:"), "1");
    // quotactl: the profile would answer EPERM, the container's own filter kills.
    assert!(got.ends_with("inotify EBADMSG\nbpf EPERM\nquotactl killed\n"), "{got}");
}
