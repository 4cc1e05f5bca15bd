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
    args: Vec<String>,
    prints: String,
}

impl Expectations {
    fn of(profile: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("profiles/expectations/{profile}.toml"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("profiles-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        fs::copy(support::probe("attempt"), directory.join("attempt")).expect("the probe");
        let run = |program: &str, args: &[&str]| {
            let status = Command::new(program).args(args).current_dir(&directory).status();
            let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
            assert!(status.success(), "{program} {args:?}");
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
    let expected = Expectations::of(profile);
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
        let outcome = run(profile, expected.bundle(profile), &program.args);
        if outcome.code() != 0 || outcome.stdout().trim_end() != program.prints {
            wrong.push(format!("{}: want {:?}, got {outcome:?}", program.name, program.prints));
        }
    }
    assert!(wrong.is_empty(), "{profile}:\n{}", wrong.join("\n"));
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
