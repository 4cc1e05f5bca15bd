//! One system call fails, or its process is killed there (`integration/probe/failing.c`); which, and what is to come of it.
//!
//! Of some thousand calls a sample is tried: `PENT_INJECT=all` tries every one, `PENT_INJECT=200` so many of each kind, and
//! `PENT_INJECT_SEED=N` others.
#![forbid(unsafe_code)]

use super::{Finish as _, Outcome, probe, read, seconds};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of each kind, unless somebody asks for more.
const SAMPLE: usize = 24;

/// Calls that no kernel lets fail: the exits, `rt_sigreturn`, `umask`, and those that ask who one is.
const NEVER_FAIL: [i64; 11] = [60, 231, 15, 95, 39, 102, 104, 107, 108, 110, 186];

/// What each call could answer, and what none should be taken for anything else than a failure for.
const ERRORS: [i32; 4] = [libc::ENOMEM, libc::EPERM, libc::ENOSYS, libc::EIO];

/// Whether the injector knows the registers of this architecture.
pub(crate) fn is_possible() -> bool {
    cfg!(target_arch = "x86_64")
}

/// What the program sees of itself from the outside: the namespaces that it must not be in, for the probe `fences`.
pub(crate) fn own_namespaces() -> Vec<String> {
    let spaces = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let name = |space| std::fs::read_link(format!("/proc/self/ns/{space}")).expect("a namespace");
    spaces.map(|space| name(space).to_string_lossy().into_owned()).to_vec()
}

/// Commands that are run one after the other, under the injector.
pub(crate) struct Injector {
    log: PathBuf,
}

/// What came of commands in which one call failed.
#[derive(Debug)]
pub(crate) struct Injected {
    pub(crate) outcome: Outcome,
    /// What the injector says of the call.
    pub(crate) hit: String,
}

impl Injector {
    /// `log` is where the injector writes.
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { log }
    }

    fn run(&self, inject: &[&str], commands: &[Command]) -> Outcome {
        let [first, ..] = commands else { panic!("no command") };
        // The injector needs descriptor 9.
        let mut command = Command::new("sh");
        let script = r#"log=$1; shift; exec 9>"$log"; exec timeout -s KILL 60 "$@""#;
        command.args(["-c", script, "sh"]).arg(&self.log).arg(probe("failing")).args(inject);
        for (index, each) in commands.iter().enumerate() {
            command.args((index > 0).then_some(",")).arg(each.get_program()).args(each.get_args());
        }
        command.stdin(Stdio::null()).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        if let Some(directory) = first.get_current_dir() {
            command.current_dir(directory);
        }
        for (name, value) in first.get_envs() {
            command.env(name, value.expect("a value"));
        }
        command.finish_within(seconds(70))
    }

    /// The numbers of all calls that are made, in order, and what came of them.
    pub(crate) fn count(&self, commands: &[Command]) -> (Vec<i64>, Outcome) {
        let outcome = self.run(&["count"], commands);
        assert_eq!(outcome.code(), 0, "{outcome:?}");
        let mut calls: Vec<i64> = read(&self.log).lines().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(calls.pop(), i64::try_from(calls.len()).ok());
        (calls, outcome)
    }

    /// Lets the call with this place fail as `how` says: an error number, or `kill`.
    pub(crate) fn inject(&self, at: usize, how: &str, commands: &[Command]) -> Injected {
        let outcome = self.run(&[&at.to_string(), how], commands);
        Injected { outcome, hit: read(&self.log) }
    }

    /// The same of the first call with this number, of a process other than the command's own whose name begins so.
    pub(crate) fn inject_first(&self, number: i64, of: &str, how: &str, commands: &[Command]) -> Injected {
        let outcome = self.run(&[&format!("{number}={of}"), how], commands);
        Injected { outcome, hit: read(&self.log) }
    }
}

impl Injected {
    /// Whether it had to be ended; nothing runs of it any more.
    pub(crate) fn hung(&self) -> bool {
        self.outcome.timed_out || self.hit.contains("HUNG")
    }

    /// Which call it was: the so-manieth changes a little from run to run.
    fn number(&self) -> Option<i64> {
        self.hit.split(' ').nth(1).and_then(|number| number.parse().ok())
    }
}

/// Lets a sample of the calls fail, and kills at them. `trial` is given the place and the way, and returns what came of it; `judge` says
/// that in few words, or panics.
pub(crate) fn sampled(
    name: &str,
    calls: &[i64],
    mut trial: impl FnMut(usize, &str) -> Injected,
    mut judge: impl FnMut(usize, &str, &Injected) -> &'static str,
) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for at in sample(calls.len()) {
        for how in ["kill".to_owned(), ERRORS[at % ERRORS.len()].to_string()] {
            let fails = how != "kill";
            if fails && NEVER_FAIL.contains(&calls[at]) {
                continue;
            }
            let seen = trial(at, &how);
            if fails && seen.number().is_some_and(|number| NEVER_FAIL.contains(&number)) {
                continue;
            }
            let what = judge(at, &how, &seen);
            *outcomes.entry(format!("{}: {what}", if fails { "failed" } else { "killed" })).or_default() += 1;
        }
    }
    eprintln!("{name}: of {} calls {outcomes:?}", calls.len());
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

/// Lines that only one of them has.
pub(crate) fn difference(reference: &str, seen: &str) -> String {
    let beyond = |text: &str, other: &str, sign: char| -> String {
        let lines = text.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("{sign}{line}\n")).collect()
    };
    beyond(reference, seen, '-') + &beyond(seen, reference, '+')
}

/// The log of an injector, below a directory.
pub(crate) fn log_in(directory: &Path) -> PathBuf {
    directory.join("injected")
}
