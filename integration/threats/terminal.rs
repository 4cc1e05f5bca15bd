//! Class P: characters put into the caller's terminal (CVE-2017-5226).
#![forbid(unsafe_code)]

use super::loot::{DOCKER, Loot, with_capabilities};
use crate::support::{self, Bundle, Container, Finish as _, privileged, seconds};
use std::path::Path;
use std::process::Command;

/// Runs `command` as a shell would, on a terminal that is the shell's, and then reads what is waiting in the terminal's
/// input: what the shell would execute next. Returns what appeared on the terminal, and that input.
fn run_from_a_shell(command: &Command, dir: &Path) -> (String, String) {
    let input = dir.join("typed");
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    // min 0 time 5: a read ends after half a second without a character.
    let script = format!(
        "stty -icanon -echo min 0 time 5; {}; stty -icanon -echo min 0 time 5; cat >{}",
        words.join(" "),
        input.display()
    );
    let mut shell = Command::new("script");
    // script(1) is the terminal: the shell is the leader of its session, and it has nobody typing.
    let outcome = shell.args(["-qec", &script, "/dev/null"]).finish_within(seconds(30));
    assert!(!outcome.timed_out, "{outcome:?}");
    (outcome.stdout().replace('\r', ""), support::read(input))
}

fn attacker(name: &str) -> Bundle {
    with_capabilities(Bundle::new(name), &DOCKER.map(str::to_owned)).with_probe("inject").args(["/bin/inject"])
}

fn take(what: &str, shown: &str, typed: &str, loot: &mut Loot) {
    assert!(shown.contains(", inject "), "{what}: the attacker found no terminal to attack:\n{shown}");
    loot.take_if(typed.contains("owned"), || format!("{what}: the caller's shell reads {typed:?}\n{shown}"));
}

#[test]
fn p_cve_2017_5226_run_with_a_terminal_injects_nothing_into_the_callers() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let container = Container::new(attacker("ptyrun").set("/process/terminal", true));
    let (shown, typed) = run_from_a_shell(&container.run_command(&[]), container.bundle.path());
    take("run with a terminal", &shown, &typed, &mut loot);
    loot.must_be_empty();
}

#[test]
fn p_cve_2017_5226_run_on_the_callers_terminal_injects_nothing_into_it() {
    privileged!();
    // Without a terminal of its own the container has the caller's as descriptors 0-2, but not as its controlling one.
    let mut loot = Loot::new(&[]);
    let container = Container::new(attacker("ttyrun"));
    let (shown, typed) = run_from_a_shell(&container.run_command(&[]), container.bundle.path());
    take("run without a terminal", &shown, &typed, &mut loot);
    loot.must_be_empty();
}

#[test]
fn p_cve_2017_5226_exec_injects_nothing_into_the_callers_terminal() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let container = attacker("ttyexec").sleeping().started();
    for options in [&["--tty"][..], &[]] {
        let exec = container.exec_command(options, &["/bin/inject"]);
        let (shown, typed) = run_from_a_shell(&exec, container.bundle.path());
        take(&format!("exec {options:?}"), &shown, &typed, &mut loot);
    }
    loot.must_be_empty();
}

#[test]
fn meta_p_the_attacker_injects_into_a_terminal_that_is_its_own() {
    privileged!();
    let dir = tempfile::tempdir().expect("a directory");
    let (shown, typed) = run_from_a_shell(&Command::new(support::probe("inject")), dir.path());
    assert!(typed.contains("owned"), "nothing was injected: {typed:?}\n{shown}");
}
