//! Class P: characters put into a terminal (CVE-2017-5226).
#![forbid(unsafe_code)]

use super::held::{EACH, held, line, start, under};
use crate::caller::as_each;
use crate::loot::Loot;
use crate::support::{self, Bundle, Finish as _, seconds};
use std::path::Path;
use std::process::Command;

/// Runs the line in a shell on a terminal, and then reads what waits in its input. What appeared, and that input.
fn from_a_shell(line: &str, dir: &Path) -> (String, String) {
    let input = dir.join("typed");
    let script =
        format!("stty -icanon -echo min 0 time 3; {line}; stty -icanon -echo min 0 time 3; cat >{}", input.display());
    let outcome = Command::new("script").args(["-qec", &script, "/dev/null"]).finish_within(seconds(30));
    assert!(!outcome.timed_out, "{outcome:?}");
    (outcome.stdout().replace('\r', ""), support::read(input))
}

/// The four results for each terminal that the probe found: TIOCSTI and TIOCLINUX, each plain and with bit 32.
fn injections(shown: &str) -> Vec<(String, Vec<String>)> {
    let lines = shown.lines().filter_map(|line| line.split_once(", inject "));
    lines
        .map(|(terminal, results)| (terminal.to_owned(), results.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

fn take(what: &str, shown: &str, typed: &str, loot: &mut Loot) {
    let found = injections(shown);
    assert!(!found.is_empty(), "{what}: the attacker found no terminal to attack:\n{shown}");
    for (terminal, results) in found {
        assert_eq!(results.len(), 4, "{terminal}: {results:?}");
        loot.take_if(results.iter().any(|result| result != "EPERM"), || format!("{what}: {terminal}: {results:?}"));
    }
    loot.take_if(typed.contains("owned"), || format!("{what}: the caller's shell reads {typed:?}\n{shown}"));
}

#[test]
fn p_cve_2017_5226_nothing_is_put_into_a_terminal_of_its_own_or_the_callers() {
    held!();
    let mut loot = Loot::new(&[]);
    for who in EACH {
        for own in [true, false] {
            let bundle = Bundle::new("inject").with_probe("inject").args(["/bin/inject"]).set("/process/terminal", own);
            let container = who.container(bundle);
            let run = under("restricted", &container.run_command(&[]));
            let (shown, typed) = from_a_shell(&line(&run), container.bundle.path());
            take(&format!("{who:?}, a terminal of its own: {own}"), &shown, &typed, &mut loot);
            // Without the profile the requests reach the terminal, which does what it is told or says that it is none of the kind.
            let (shown, _) = from_a_shell(&line(&container.run_command(&[])), container.bundle.path());
            let found = injections(&shown);
            let reached = |at: &[usize]| found.iter().any(|(_, results)| at.iter().all(|at| results[*at] != "EPERM"));
            assert!(reached(&[2, 3]), "TIOCLINUX does not reach a terminal: {shown}");
            if own && support::read("/proc/sys/dev/tty/legacy_tiocsti") == "1" {
                assert!(reached(&[0, 1]), "TIOCSTI does not work without the profile, either: {shown}");
            }
        }
        let container = who.container(Bundle::new("injectexec").with_probe("inject").sleeping());
        start(&container, "restricted");
        for options in [&["--tty"][..], &[]] {
            let exec = container.exec_command(options, &["/bin/inject"]);
            let (shown, typed) = from_a_shell(&line(&exec), container.bundle.path());
            take(&format!("{who:?}, exec {options:?}"), &shown, &typed, &mut loot);
        }
    }
    loot.must_be_empty();
}

#[test]
fn p_cve_2017_5226_nothing_is_put_into_the_terminal_of_a_sandbox_or_its_caller() {
    held!();
    as_each(|caller| {
        let mut loot = Loot::new(&[]);
        caller.probe("inject");
        let pent = line(&caller.command(&["--", "./inject"]));
        for (what, redirection) in [("its own", ""), ("the caller's as standard error", " </dev/null >/dev/null")] {
            let there =
                format!("cd '{}'; HOME='{}' {pent}{redirection}", caller.path("home/project").display(), caller.home());
            let typed = tempfile::tempdir().expect("a directory");
            let (shown, typed) = from_a_shell(&there, typed.path());
            if redirection.is_empty() {
                take(what, &shown, &typed, &mut loot);
            }
            loot.take_if(typed.contains("owned"), || format!("{what}: {typed:?}\n{shown}"));
        }
        loot.must_be_empty();
    });
}
