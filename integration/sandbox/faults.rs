//! One system call of a sandbox's start or end fails, or its process is killed there: nothing starts weaker, nothing
//! hangs, nothing is left that the next run does not take away.
//!
//! Of some two thousand calls a sample is tried: `PENT_INJECT=all` tries every one, `PENT_INJECT=200` so many of each
//! kind, and `PENT_INJECT_SEED=N` others.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{self, Finish as _, seconds, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Of each kind, unless somebody asks for more.
const SAMPLE: usize = 24;

/// Calls that no kernel lets fail: the exits, `rt_sigreturn`, `umask`, and those that ask who one is.
const NEVER_FAIL: [i64; 11] = [60, 231, 15, 95, 39, 102, 104, 107, 108, 110, 186];

/// What each call could answer, and what none should be taken for anything else than a failure for.
const ERRORS: [i32; 4] = [libc::ENOMEM, libc::EPERM, libc::ENOSYS, libc::EIO];

struct Trial<'c> {
    caller: &'c Caller,
    flags: Vec<String>,
    reference: String,
    files: Vec<String>,
    log: std::path::PathBuf,
}

#[derive(Debug)]
struct Seen {
    code: i32,
    stdout: String,
    stderr: String,
    /// What the injector says of the call.
    hit: String,
}

fn list(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

impl<'c> Trial<'c> {
    fn new(caller: &'c Caller, flags: &[&str]) -> Self {
        caller.probe("fences");
        let flags = flags.iter().map(ToString::to_string).collect();
        let log = caller.path("injected");
        let mut trial = Self { caller, flags, reference: String::new(), files: Vec::new(), log };
        // Once before: what a run leaves (a report) is another thing to hide for the next.
        trial.command(&[]).finish().exits(0);
        let plain = trial.command(&[]).finish();
        assert!(plain.code() == 0 && plain.stdout().ends_with("end\n"), "{plain:?}");
        trial.reference = trial.own(&plain.stdout());
        trial.files = trial.listing();
        trial
    }

    /// Everything beside the state directory that a run could leave something in.
    fn listing(&self) -> Vec<String> {
        let mut all = list(&self.caller.path("home/project"));
        all.extend(list(&self.caller.path("home")));
        all
    }

    /// Without what other tests have on this machine meanwhile, and a sandbox hides: their homes and sockets.
    fn own(&self, stdout: &str) -> String {
        let below = self.caller.path("").display().to_string();
        let of_another = |line: &&str| {
            let place = line.strip_prefix("mount ");
            place.is_some_and(|place| {
                place.starts_with("/home/pent-") || (place.starts_with("/srv/pent-") && !place.starts_with(&below))
            })
        };
        stdout.lines().filter(|line| !of_another(line)).map(|line| format!("{line}\n")).collect()
    }

    /// The call, with the injector before it.
    fn command(&self, inject: &[&str]) -> Command {
        let spaces = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
        let own = spaces.map(|name| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace"));
        let own = own.each_ref().map(|name| name.to_str().expect("text"));
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let plain = self.caller.command(&[&flags[..], &["--", "./fences"], &own].concat());
        if inject.is_empty() {
            return plain;
        }
        // The injector is root's, and needs descriptor 9.
        let mut command = Command::new("sh");
        let script = r#"log=$1; shift; exec 9>"$log"; exec timeout -s KILL 60 "$@""#;
        command.args(["-c", script, "sh"]).arg(&self.log).arg(support::probe("failing")).args(inject);
        command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
        command.current_dir(plain.get_current_dir().expect("a directory")).env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.expect("a value"));
        }
        command
    }

    fn calls(&self) -> Vec<i64> {
        let counted = self.command(&["count"]).finish();
        assert_eq!((counted.code(), self.own(&counted.stdout())), (0, self.reference.clone()), "{counted:?}");
        let mut calls: Vec<i64> =
            support::read(&self.log).lines().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(calls.pop(), i64::try_from(calls.len()).ok());
        calls
    }

    fn inject(&self, at: usize, how: &str) -> Seen {
        let outcome = self.command(&[&at.to_string(), how]).finish_within(seconds(40));
        assert!(!outcome.timed_out, "call {at}, {how}: it hangs: {} {outcome:?}", support::read(&self.log));
        Seen {
            code: outcome.code(),
            stdout: self.own(&outcome.stdout()),
            stderr: outcome.stderr(),
            hit: support::read(&self.log),
        }
    }

    /// Whether the program has every fence. One whose supervisor is gone is told of every call that it has not made.
    fn is_as_strong(&self, stdout: &str) -> bool {
        let known: BTreeSet<&str> = self.reference.lines().collect();
        let is_more = |line: &str| line.ends_with(": ENOSYS");
        let is_gone = self.flags.iter().any(|flag| flag.starts_with("--report")) && stdout.lines().any(is_more);
        stdout == self.reference || (is_gone && stdout.lines().all(|line| known.contains(line) || is_more(line)))
    }

    /// What came of it, in one word.
    fn judge(&self, at: usize, how: &str, seen: &Seen) -> &'static str {
        let ran = !seen.stdout.is_empty();
        assert!(
            !ran || self.is_as_strong(&seen.stdout),
            "call {at}, {how}: the program has other fences than without: {}\n{}\n{}",
            seen.hit,
            difference(&self.reference, &seen.stdout),
            seen.stderr
        );
        assert!(ran || seen.code != 0, "call {at}, {how}: nothing ran, and that is a success: {seen:?}");
        let is_said = !seen.stderr.trim().is_empty() || seen.code >= 128;
        assert!(ran || is_said, "call {at}, {how}: nothing ran, and nobody says why: {seen:?}");
        // What is killed cannot take away what it has made: the next run does.
        let is_left = || !self.caller.leftovers().is_empty();
        let mut swept = "";
        if is_left() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if is_left() {
            self.caller.run(&["-q", "--", "true"]).ok();
            wait_until(
                &format!("call {at}, {how}: nothing is left after the next run ({})", seen.hit),
                seconds(10),
                || !is_left(),
            );
            swept = ", swept by the next run";
        }
        let new = || self.listing().into_iter().filter(|name| !self.files.contains(name)).collect::<Vec<_>>();
        // Killed between making a draft and renaming it over the report of before: the next report takes it away.
        if how == "kill" && !new().is_empty() && new().iter().all(|name| name.starts_with(".pent-draft-")) {
            self.command(&[]).finish().exits(0);
            swept = ", swept by the next run";
        }
        assert!(new().is_empty(), "call {at}, {how}: files are left: {:?} {seen:?}", new());
        match (ran, seen.code, swept) {
            (true, 0, "") => "ran",
            (true, 0, _) => "ran, swept by the next run",
            (true, _, "") => "ran, failed at the end",
            (true, _, _) => "ran, failed at the end, swept by the next run",
            (false, _, "") => "refused",
            (false, _, _) => "refused, swept by the next run",
        }
    }
}

fn difference(reference: &str, seen: &str) -> String {
    let missing =
        reference.lines().filter(|line| !seen.lines().any(|other| other == *line)).map(|line| format!("-{line}\n"));
    let more =
        seen.lines().filter(|line| !reference.lines().any(|other| other == *line)).map(|line| format!("+{line}\n"));
    missing.chain(more).collect()
}

/// Places of `count` calls that are tried: all, or every so many from a seed on.
fn sample(count: usize) -> Vec<usize> {
    let asked = std::env::var("PENT_INJECT").unwrap_or_default();
    if asked == "all" {
        return (0..count).collect();
    }
    let wanted = asked.parse().unwrap_or(SAMPLE).clamp(1, count);
    let seed: usize = std::env::var("PENT_INJECT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let step = count / wanted;
    (0..wanted).map(|at| (at * step + seed.wrapping_mul(2_654_435_761) % step.max(1)) % count).collect()
}

fn trials(flags: &[&str], name: &str) {
    sandboxed!();
    if !cfg!(target_arch = "x86_64") {
        return support::skip("the injector knows the registers of x86-64 only");
    }
    as_each(|caller| {
        let trial = Trial::new(caller, flags);
        let calls = trial.calls();
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for at in sample(calls.len()) {
            for how in ["kill".to_owned(), ERRORS[at % ERRORS.len()].to_string()] {
                if how != "kill" && NEVER_FAIL.contains(&calls[at]) {
                    continue;
                }
                let seen = trial.inject(at, &how);
                // Which call is the so-manieth changes a little from run to run.
                let number = seen.hit.split(' ').nth(1).and_then(|number| number.parse().ok());
                if how != "kill" && number.is_some_and(|number: i64| NEVER_FAIL.contains(&number)) {
                    continue;
                }
                let kind = if how == "kill" { "killed" } else { "failed" };
                let what = trial.judge(at, &how, &seen);
                *outcomes.entry(format!("{kind}: {what}")).or_default() += 1;
            }
        }
        let user = caller.user.map_or("root".to_owned(), |user| user.to_string());
        eprintln!("{name} as {user}: of {} calls {outcomes:?}", calls.len());
    });
}

#[test]
fn a_call_that_fails_or_kills_starts_nothing_weaker() {
    trials(&["-q", "--pids", "16"], "plain");
}

#[test]
fn a_call_that_fails_or_kills_starts_nothing_weaker_with_a_network_and_a_report() {
    let flags = ["-q", "--pids", "16", "--rw", ".", "--net", "example.org:443", "--report=report.json"];
    trials(&flags, "everything");
}

/// Of the calls that a supervisor answers with, more than the sample has: before the program is executed its own process holds the
/// listener as well, and would wait for ever.
#[test]
fn an_answer_that_does_not_arrive_is_waited_for_by_nobody() {
    sandboxed!();
    if !cfg!(target_arch = "x86_64") {
        return support::skip("the injector knows the registers of x86-64 only");
    }
    const MOST: usize = 30;
    as_each(|caller| {
        let trial = Trial::new(caller, &["-q", "--report"]);
        let calls = trial.calls();
        let ioctls: Vec<usize> = (0..calls.len()).filter(|at| calls[*at] == libc::SYS_ioctl).collect();
        for at in ioctls.iter().step_by(ioctls.len().div_ceil(MOST).max(1)) {
            let seen = trial.inject(*at, &libc::EIO.to_string());
            trial.judge(*at, "EIO", &seen);
        }
    });
}
