//! Class R: the runtime loads code or configuration of the image (CVE-2019-14271).
#![forbid(unsafe_code)]

use super::loot::{Loot, result};
use crate::support::{self, Bundle, Container, Finish as _, Outcome, privileged, seconds, skip};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a dynamic loader or a name service looks.
const LIBRARIES: [&str; 10] = [
    "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_compat.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libgcc_s.so.1",
    "lib/x86_64-linux-gnu/gconv/UTF-16.so",
    "lib64/libnss_files.so.2",
    "lib/libnss_files.so.2",
    "usr/lib/libnss_files.so.2",
    "usr/lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/evil.so",
];

/// A library whose constructor leaves a file in the root directory it runs in.
fn poisoned_library(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("evil.c"), dir.join("evil.so"));
    let code = "#include <fcntl.h>\n#include <unistd.h>\n\
        __attribute__((constructor)) static void loaded(void) { close(open(\"/loaded\", O_CREAT | O_WRONLY, 0600)); }\n";
    fs::write(&source, code).expect("source");
    Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).finish().ok();
    library
}

/// An image that poisons everything a loader or the C library's name services read.
fn poison(bundle: Bundle) -> Bundle {
    let bundle = bundle.with_probe("look").writable();
    let library = poisoned_library(bundle.path());
    let rootfs = bundle.rootfs();
    for path in LIBRARIES {
        let path = rootfs.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a library directory");
        fs::copy(&library, path).expect("a poisoned library");
    }
    for (name, content) in [
        ("nsswitch.conf", "passwd: files evil\ngroup: files evil\nhosts: files evil\n"),
        ("ld.so.preload", "/lib/evil.so\n"),
        ("ld.so.cache", "poisoned"),
        ("resolv.conf", "nameserver 127.0.0.1\n"),
    ] {
        fs::write(rootfs.join("etc").join(name), content).expect("a poisoned file");
    }
    let environment = ["LD_PRELOAD=/lib/evil.so", "LD_LIBRARY_PATH=/lib", "PATH=/bin", "GCONV_PATH=/lib"];
    environment.iter().fold(bundle, |bundle, entry| bundle.push("/process/env", *entry))
}

/// What the runtime's processes opened between entering the container (pivot_root, or setns into a mount namespace) and
/// executing the container's program, as strace's lines.
fn opened_inside(trace: &str) -> Vec<String> {
    let (mut inside, mut opened) = (HashSet::new(), Vec::new());
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let worked = call.contains("= 0");
        let enters_mounts = call.starts_with("setns(") && (call.contains("CLONE_NEWNS") || call.contains(", 0)"));
        if worked && (enters_mounts || call.starts_with("pivot_root(") || call.starts_with("chroot(")) {
            inside.insert(pid.to_owned());
        } else if call.starts_with("execve") && worked {
            inside.remove(pid);
        } else if call.starts_with("clone") || call.contains("<... clone") || call.starts_with("vfork") {
            let child = call.rsplit("= ").next().and_then(|child| child.split(' ').next()).unwrap_or_default();
            if inside.contains(pid) && child.parse::<u32>().is_ok() {
                inside.insert(child.to_owned());
            }
        } else if call.starts_with("open") && inside.contains(pid) && !call.contains("= -1") {
            opened.push(line.to_owned());
        }
    }
    opened
}

fn trace(command: &Command, log: &Path) -> (Outcome, String) {
    let mut strace = Command::new("strace");
    let calls = "trace=open,openat,openat2,execve,execveat,pivot_root,chroot,setns,clone,clone3,vfork,fork";
    strace
        .args(["-f", "-q", "-e", calls, "-s", "256", "-o"])
        .arg(log)
        .arg(command.get_program())
        .args(command.get_args());
    let outcome = strace.finish_within(seconds(60));
    (outcome, support::read(log))
}

fn is_code_or_configuration(line: &str) -> bool {
    [".so", "nsswitch", "ld.so", "gconv", "resolv.conf", "host.conf", "locale"].iter().any(|part| line.contains(part))
}

fn take(what: &str, outcome: &Outcome, trace: &str, rootfs: &Path, loot: &mut Loot) {
    assert_eq!(result(&outcome.stdout(), "stat /"), "dir", "{what}: {outcome:?}");
    let entered = trace.lines().filter(|line| line.contains("pivot_root(") || line.contains("setns(")).count();
    assert!(entered > 0, "{what}: strace saw nobody enter the container");
    assert!(trace.contains("/bin/look"), "{what}: strace did not see the container's program");
    for line in opened_inside(trace).iter().filter(|line| is_code_or_configuration(line)) {
        loot.take(format!("{what}: {line}"));
    }
    let loaded = rootfs.join("loaded");
    loot.take_if(loaded.exists(), || format!("{what}: a library of the image was loaded"));
}

#[test]
fn r_cve_2019_14271_create_loads_nothing_from_the_image() {
    privileged!();
    if Command::new("strace").arg("-V").finish_within(seconds(5)).code() != 0 {
        return skip("needs strace");
    }
    let mut loot = Loot::new(&[]);
    let container = Container::new(poison(Bundle::new("nss")).args(["/bin/look", "stat", "/"]));
    let log = container.bundle.path().join("trace");
    let (outcome, trace) = trace(&container.run_command(&[]), &log);
    take("run", &outcome, &trace, &container.bundle.rootfs(), &mut loot);
    loot.must_be_empty();
}

#[test]
fn r_cve_2019_14271_exec_loads_nothing_from_the_image() {
    privileged!();
    if Command::new("strace").arg("-V").finish_within(seconds(5)).code() != 0 {
        return skip("needs strace");
    }
    let mut loot = Loot::new(&[]);
    let container = poison(Bundle::new("execnss")).sleeping().started();
    let log = container.bundle.path().join("trace");
    for options in [&[][..], &["--user", "1000:1000"]] {
        let (outcome, trace) = trace(&container.exec_command(options, &["/bin/look", "stat", "/"]), &log);
        take(&format!("exec {options:?}"), &outcome, &trace, &container.bundle.rootfs(), &mut loot);
    }
    loot.must_be_empty();
}

#[test]
fn r_without_strace_a_poisoned_image_loads_nothing_either() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let container = poison(Bundle::new("poison")).sleeping().started();
    container.exec(["/bin/look", "stat", "/"]).ok();
    loot.take_if(container.bundle.rootfs().join("loaded").exists(), || "a library of the image was loaded".to_owned());
    loot.must_be_empty();
}

#[test]
fn meta_r_the_poison_works_and_the_trace_shows_it() {
    privileged!();
    if Command::new("strace").arg("-V").finish_within(seconds(5)).code() != 0 {
        return skip("needs strace");
    }
    // A dynamic program started in the image's root, as docker-tar was, loads the image's library: here a copy of the
    // host's `true` with the libraries it needs, preloading the poison.
    let bundle = poison(Bundle::new("metanss"));
    let rootfs = bundle.rootfs();
    let listed = Command::new("ldd").arg("/bin/true").finish().ok().stdout();
    for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        // Where /lib is a link to /usr/lib, the loader may be told either; in the image they are two.
        for place in [library.trim_start_matches('/'), library.trim_start_matches("/usr/")] {
            let target = rootfs.join(place.trim_start_matches('/'));
            fs::create_dir_all(target.parent().expect("a directory")).expect("a library directory");
            fs::copy(library, target).expect("a library");
        }
    }
    fs::remove_file(rootfs.join("bin/true")).expect("replace busybox's true");
    support::copy_program("/bin/true", rootfs.join("bin/true"));
    let mut victim = Command::new("chroot");
    victim.arg(&rootfs).arg("/bin/true");
    let (_, trace) = trace(&victim, &bundle.path().join("trace"));
    assert!(rootfs.join("loaded").exists(), "the poison does not work:\n{trace}");
    // chroot executes the program, so what is opened afterwards is the program's: the trap must not count that …
    assert!(!opened_inside(&trace).iter().any(|line| line.contains("evil.so")), "{trace}");
    // … and must count the same opened before.
    let before = trace.lines().filter(|line| !line.contains("execve(\"/bin/true\"")).collect::<Vec<_>>().join("\n");
    let found = opened_inside(&before);
    assert!(found.iter().any(|line| is_code_or_configuration(line)), "the trace shows nothing:\n{before}");
}
