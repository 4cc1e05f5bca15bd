//! Class C: a directory of the host reached through an inherited descriptor (CVE-2024-21626).
#![forbid(unsafe_code)]

use super::loot::{Canary, Loot, with_leaked_directories};
use crate::support::{Bundle, Container, Finish as _, Outcome, privileged, seconds};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

/// What `handles` and `look` print when they run with more than they should have.
fn take(outcome: &Outcome, allowed: std::ops::RangeInclusive<u32>, loot: &mut Loot) {
    for line in outcome.stdout().lines() {
        let number = line.strip_prefix("fd ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        loot.take_if(number.is_some_and(|number| !allowed.contains(&number)), || format!("descriptor: {line}"));
        let preserved = line.strip_prefix("host fd ").and_then(|number| number.parse().ok());
        let host = line.starts_with("host ") && !preserved.is_some_and(|number| allowed.contains(&number));
        loot.take_if(host, || format!("the host's file system: {line}"));
    }
}

#[test]
fn c_cve_2024_21626_container_gets_no_descriptor_of_its_caller() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let container = Container::new(Bundle::new("fds").with_probe("handles").args(["/bin/handles", &canary.file()]));
    let outcome = with_leaked_directories(&container.run_command(&[]), canary.path()).finish().ok();
    assert!(outcome.stdout().contains("cwd /\n"), "{outcome:?}");
    take(&outcome, 0..=2, &mut loot);
    loot.must_be_empty();
}

#[test]
fn c_cve_2024_21626_exec_gets_no_descriptor_of_its_caller() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let container = Bundle::new("execfds").with_probe("handles").sleeping().started();
    let exec = container.exec_command(&[], &["/bin/handles", &canary.file()]);
    let outcome = with_leaked_directories(&exec, canary.path()).finish().ok();
    assert!(outcome.stdout().contains("cwd /\n"), "{outcome:?}");
    take(&outcome, 0..=2, &mut loot);
    loot.must_be_empty();
}

#[test]
fn c_preserve_fds_hands_over_exactly_those() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let container = Container::new(Bundle::new("keepfds").with_probe("handles").args(["/bin/handles", &canary.file()]));
    let run = container.run_command(&["--preserve-fds", "2"]);
    let outcome = with_leaked_directories(&run, canary.path()).finish().ok();
    assert!(["fd 3 dir\n", "fd 4 dir\n"].iter().all(|line| outcome.stdout().contains(line)), "{outcome:?}");
    take(&outcome, 0..=4, &mut loot);
    loot.must_be_empty();
}

#[test]
fn c_cve_2024_21626_working_directory_of_create_is_never_a_descriptor() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    for number in 3..=60 {
        let bundle = Bundle::new("cwd").with_probe("handles").args(["/bin/handles", &canary.file()]);
        let container = Container::new(bundle.set("/process/cwd", format!("/proc/self/fd/{number}")));
        let outcome = with_leaked_directories(&container.run_command(&[]), canary.path()).finish();
        loot.take_if(outcome.code() == 0, || format!("cwd /proc/self/fd/{number}: {}", outcome.stdout()));
        take(&outcome, 0..=2, &mut loot);
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn c_cve_2024_21626_working_directory_of_create_is_never_a_preserved_descriptor() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    for number in 3..=6 {
        for through_link in [false, true] {
            let bundle = Bundle::new("cwdkeep").with_probe("handles").args(["/bin/handles", &canary.file()]);
            let path = format!("/proc/self/fd/{number}");
            symlink(&path, bundle.rootfs().join("workdir")).expect("a link of the image");
            let container =
                Container::new(bundle.set("/process/cwd", if through_link { "/workdir" } else { path.as_str() }));
            let run = container.run_command(&["--preserve-fds", "4"]);
            let outcome = with_leaked_directories(&run, canary.path()).finish();
            loot.take_if(outcome.code() == 0, || format!("cwd {path} through link {through_link}: accepted"));
            take(&outcome, 0..=6, &mut loot);
        }
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn c_cve_2024_21626_working_directory_of_exec_is_never_a_descriptor() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let bundle = Bundle::new("execcwd").with_probe("handles").sleeping();
    for number in 3..=60 {
        symlink(format!("/proc/self/fd/{number}"), bundle.rootfs().join(format!("tmp/fd{number}"))).expect("a link");
    }
    let container = bundle.started();
    for number in 3..=60 {
        // Every other one as the image would have it: a link in the place of the working directory.
        let cwd = if number % 2 == 0 { format!("/tmp/fd{number}") } else { format!("/proc/self/fd/{number}") };
        let exec = container.exec_command(&["--cwd", &cwd], &["/bin/handles", &canary.file()]);
        let outcome = with_leaked_directories(&exec, canary.path()).finish();
        loot.take_if(outcome.code() == 0, || format!("exec --cwd {cwd}: {}", outcome.stdout()));
        take(&outcome, 0..=2, &mut loot);
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn c_cve_2024_21626_entry_point_is_never_a_file_of_the_host() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let running = Bundle::new("execentry").sleeping().started();
    for number in 3..=60 {
        let entry = format!("/proc/self/fd/{number}/evil");
        let container = Container::new(Bundle::new("entry").args([&entry, "stat", "/"]));
        let run = container.run_command(&[]);
        let outcome = with_leaked_directories(&run, canary.path()).finish();
        loot.take_if(outcome.code() == 0, || format!("create ran {entry}: {}", outcome.stdout()));
        let exec = running.exec_command(&[], &[&entry, "stat", "/"]);
        let outcome = with_leaked_directories(&exec, canary.path()).finish();
        loot.take_if(outcome.code() == 0, || format!("exec ran {entry}: {}", outcome.stdout()));
    }
    loot.must_be_empty();
}

#[test]
fn c_working_directory_outside_by_dots_or_links_stays_in_the_rootfs() {
    privileged!();
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let paths =
        ["/../../../../../../..", "/absolute", "/relative", "/proc/self/cwd", "/proc/1/root", "/proc/self/root/.."];
    for cwd in paths {
        let bundle = Bundle::new("cwddots").with_probe("handles").args(["/bin/handles", &canary.file()]).writable();
        symlink(canary.path(), bundle.rootfs().join("absolute")).expect("a link of the image");
        symlink(canary.relative(), bundle.rootfs().join("relative")).expect("a link of the image");
        let container = Container::new(bundle.set("/process/cwd", cwd));
        take(&container.run_command(&[]).finish(), 0..=2, &mut loot);
    }
    canary.look_for_traces(&mut loot);
    loot.must_be_empty();
}

#[test]
fn c_missing_standard_descriptors_are_no_way_to_a_file_of_the_runtime() {
    privileged!();
    // With 0-2 closed, the first files the runtime opens would become the container's standard streams (bwrap and runc
    // had it both ways). The container must find nothing there but null.
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let bundle = Bundle::new("closed").with_probe("handles").writable();
    let script = "/bin/handles \"$0\" >/seen 2>/dev/null; readlink /proc/$$/fd/0 /proc/$$/fd/2 >>/seen; exit 0";
    let container = Container::new(bundle.set("/process/args", json!(["sh", "-c", script, canary.file()])));
    let mut closing = std::process::Command::new("bash");
    let run = container.run_command(&[]);
    closing.args(["-c", "exec 0<&- 1>&- 2>&-; exec \"$@\"", "bash"]).arg(run.get_program()).args(run.get_args());
    closing.finish_within(seconds(20));
    // Refusing to run is as good as running on null.
    let seen = fs::read_to_string(container.bundle.rootfs().join("seen")).unwrap_or_default();
    for line in seen.lines() {
        loot.take_if(line.starts_with("host"), || line.to_owned());
        let file = line.starts_with('/') && line != "/dev/null" && line != "/seen";
        loot.take_if(file, || format!("a standard stream is {line}"));
    }
    loot.must_be_empty();
}

/// A directory as a standard stream is the host's files as much as one that is left open.
#[test]
fn c_no_directory_is_a_standard_stream() {
    privileged!();
    if crate::support::Kind::of_runtime() != crate::support::Kind::Pent {
        return crate::support::skip("other runtimes hand it over");
    }
    let (canary, mut loot) = (Canary::new(), Loot::new(&[]));
    let attack = ["sh", "-c", "cat /proc/self/fd/0/* /proc/self/fd/1/* >&2; exit 0"];
    let running = Bundle::new("streamdir").sleeping().started();
    for (redirection, stream) in [("</", "input"), (">&7", "output"), ("2>&7", "error")] {
        for verb in ["run", "create", "exec", "restore"] {
            let container = Container::new(Bundle::new("streamdirs").args(attack));
            let command = match verb {
                "run" => container.run_command(&[]),
                "exec" => running.exec_command(&[], &attack),
                verb => container.runtime.command([
                    verb,
                    "--bundle",
                    &container.bundle.path().to_string_lossy(),
                    container.id(),
                ]),
            };
            let mut shell = std::process::Command::new("bash");
            let line = format!(
                "said=$(mktemp) && cd '{}' && exec 7<. 8>\"$said\"; \"$@\" {redirection}; echo \"$? $said\" >&8; cat \"$said\"; rm \"$said\"",
                canary.path().display()
            );
            shell.args(["-c", &line, "bash"]).arg(command.get_program()).args(command.get_args());
            let outcome = shell.finish_within(seconds(20));
            let refused = !outcome.stdout().is_empty() && !outcome.stdout().starts_with("0 ");
            loot.take_if(!refused, || format!("{verb} {redirection}: {outcome:?}"));
            let said = outcome.stderr().contains(&format!("cannot hand over standard {stream}"));
            loot.take_if(stream != "error" && !said, || format!("{verb} {redirection}: nothing is said: {outcome:?}"));
        }
    }
    loot.must_be_empty();
}
