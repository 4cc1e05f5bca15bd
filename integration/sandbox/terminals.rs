//! On a terminal: one of the program's own.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome};
use std::process::Command;

/// Runs the sandbox on a pty of script(1), which is the caller's terminal.
fn on_a_terminal(caller: &Caller, flags: &str, script: &str) -> Outcome {
    let pent = caller.command(&[]);
    let words: Vec<String> = std::iter::once(pent.get_program())
        .chain(pent.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut command = Command::new("script");
    let line = format!("stty rows 33 cols 99; {} {flags} -- sh -c '{script}'", words.join(" "));
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.current_dir(caller.path("home/project")).env("HOME", caller.home());
    command.finish_with("")
}

#[test]
fn the_terminal_is_its_own() {
    sandboxed!();
    as_each(|caller| {
        let seen = on_a_terminal(caller, "", "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; exit 5");
        let text = seen.stdout();
        assert!(text.contains("/dev/pts/0\r\n"), "{seen:?}");
        assert!(text.contains("33 99\r\n"), "{seen:?}");
        assert!(text.contains("all\r\n"), "lines end as they should: {seen:?}");
        assert_eq!(seen.code(), 5);
    });
}

#[test]
fn characters_cannot_be_put_into_any_terminal() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("inject");
        for redirection in ["", " </dev/null", " >/dev/stderr 2>&1"] {
            let pent = caller.command(&["--", "./inject"]);
            let words: Vec<String> = std::iter::once(pent.get_program())
                .chain(pent.get_args())
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            let mut command = Command::new("script");
            command.args([
                "--quiet",
                "--return",
                "--command",
                &format!("{}{redirection}", words.join(" ")),
                "/dev/null",
            ]);
            command.current_dir(caller.path("home/project")).env("HOME", caller.home());
            let seen = command.finish_with("");
            let attacks: Vec<String> =
                seen.stdout().lines().filter(|line| line.contains("inject")).map(str::to_owned).collect();
            assert!(!attacks.is_empty(), "{seen:?}");
            for attack in attacks {
                let results = attack.split("inject").nth(1).expect("results");
                assert!(!results.contains("ok"), "{attack}");
            }
        }
    });
}
