//! One system call of a sandbox's start or end fails, or its process is killed there: nothing starts weaker, nothing
//! hangs, nothing is left that the next run does not take away.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::inject::{self, Injected, Injector, difference};
use crate::support::{self, Finish as _, seconds, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

struct Trial<'c> {
    caller: &'c Caller,
    flags: Vec<String>,
    reference: String,
    files: Vec<String>,
    injector: Injector,
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
        let injector = Injector::new(inject::log_in(&caller.path("")));
        let mut trial = Self { caller, flags, reference: String::new(), files: Vec::new(), injector };
        // Once before: what a run leaves (a report) is another thing to hide for the next.
        trial.command().finish().exits(0);
        let plain = trial.command().finish();
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

    fn command(&self) -> Command {
        let own = inject::own_namespaces();
        let words =
            self.flags.iter().map(String::as_str).chain(["--", "./fences"]).chain(own.iter().map(String::as_str));
        self.caller.command(&words.collect::<Vec<_>>())
    }

    fn calls(&self) -> Vec<i64> {
        let (calls, counted) = self.injector.count(&[self.command()]);
        assert_eq!(self.own(&counted.stdout()), self.reference, "{counted:?}");
        calls
    }

    fn inject(&self, at: usize, how: &str) -> Injected {
        let seen = self.injector.inject(at, how, &[self.command()]);
        if seen.hung() {
            // Its processes are gone; its cgroup goes with the next run.
            self.caller.run(&["-q", "--", "true"]).ok();
            panic!("call {at}, {how}: it hangs: {seen:?}");
        }
        seen
    }

    /// Whether the program has every fence. One whose supervisor is gone is told of every call that it has not made.
    fn is_as_strong(&self, stdout: &str) -> bool {
        let known: BTreeSet<&str> = self.reference.lines().collect();
        let is_more = |line: &str| line.ends_with(": ENOSYS");
        let is_gone = self.flags.iter().any(|flag| flag.starts_with("--report")) && stdout.lines().any(is_more);
        stdout == self.reference || (is_gone && stdout.lines().all(|line| known.contains(line) || is_more(line)))
    }

    /// What came of it, in one word.
    fn judge(&self, at: usize, how: &str, seen: &Injected) -> &'static str {
        let (code, stdout, stderr) = (seen.outcome.code(), self.own(&seen.outcome.stdout()), seen.outcome.stderr());
        let ran = !stdout.is_empty();
        assert!(
            !ran || self.is_as_strong(&stdout),
            "call {at}, {how}: the program has other fences than without: {}\n{}\n{}",
            seen.hit,
            difference(&self.reference, &stdout),
            stderr
        );
        assert!(ran || code != 0, "call {at}, {how}: nothing ran, and that is a success: {seen:?}");
        let is_said = !stderr.trim().is_empty() || code >= 128;
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
            self.command().finish().exits(0);
            swept = ", swept by the next run";
        }
        assert!(new().is_empty(), "call {at}, {how}: files are left: {:?} {seen:?}", new());
        match (ran, code, swept) {
            (true, 0, "") => "ran",
            (true, 0, _) => "ran, swept by the next run",
            (true, _, "") => "ran, failed at the end",
            (true, _, _) => "ran, failed at the end, swept by the next run",
            (false, _, "") => "refused",
            (false, _, _) => "refused, swept by the next run",
        }
    }
}

fn trials(flags: &[&str], name: &str) {
    sandboxed!();
    if !inject::is_possible() {
        return support::skip("the injector knows the registers of x86-64 only");
    }
    as_each(|caller| {
        let trial = Trial::new(caller, flags);
        let calls = trial.calls();
        let user = caller.user.map_or("root".to_owned(), |user| user.to_string());
        let judge = |at: usize, how: &str, seen: &Injected| trial.judge(at, how, seen);
        inject::sampled(&format!("{name} as {user}"), &calls, |at, how| trial.inject(at, how), judge);
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
    if !inject::is_possible() {
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
