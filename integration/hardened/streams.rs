//! Class C under a profile: descriptors that are a right on the host; and what a program leaves behind (set-id bits,
//! leases).
#![forbid(unsafe_code)]

use super::held::{EACH, held, run, start, under};
use crate::loot::Loot;
use crate::support::{Bundle, Finish as _, seconds};
use serde_json::json;
use std::process::Command;

/// The command with what a line of bash opens before it.
fn opening(opens: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{opens}; exec \"$@\""), "bash"]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[test]
fn c_no_handle_of_the_host_is_handed_over() {
    held!();
    let mut loot = Loot::new(&[]);
    for who in EACH {
        let running = who.container(Bundle::new("handleexec").with_probe("handles").sleeping());
        start(&running, "restricted");
        for (opens, number, why) in [
            ("exec 3</", 3, "it is a directory"),
            ("exec 3</proc/self/ns/net", 3, "handle of the kernel's (namespace)"),
            ("exec 3</proc/self/status", 3, "one of the kernel's own files"),
            ("exec 3<>/dev/ptmx", 3, "pseudo-terminal that types"),
            ("exec 0</", 0, "it is a directory"),
            ("exec 0</proc/self/ns/mnt", 0, "handle of the kernel's (namespace)"),
        ] {
            let container = who.container(Bundle::new("handles").with_probe("handles").args(["/bin/handles", "/"]));
            let preserve: &[&str] = if number == 3 { &["--preserve-fds", "1"] } else { &[] };
            let commands = [
                under("restricted", &container.run_command(preserve)),
                running.exec_command(preserve, &["/bin/handles", "/"]),
            ];
            for command in commands {
                let outcome = opening(opens, &command).finish_within(seconds(20));
                let refused =
                    outcome.code() != 0 && outcome.stderr().contains(why) && outcome.stderr().contains("hint:");
                loot.take_if(!refused, || format!("{who:?}: {opens}: {outcome:?}"));
            }
        }
        // Files and pipes are what descriptors are preserved for.
        let container = who.container(Bundle::new("plain").args(["sh", "-c", "cat <&3; cat <&4"]));
        let command = under("restricted", &container.run_command(&["--preserve-fds", "2"]));
        let outcome = opening("exec 3<<<file 4< <(echo pipe)", &command).finish_within(seconds(20)).ok();
        assert_eq!(outcome.stdout(), "file\npipe\n", "{outcome:?}");
    }
    loot.must_be_empty();
}

#[test]
fn no_set_id_bit_is_made_under_a_profile() {
    held!();
    let mut loot = Loot::new(&[]);
    let bundle = || {
        let bundle = Bundle::new("setid").with_probe("setid").set("/process/args", json!(["/bin/setid"]));
        bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "mode=1777"]).set("/process/cwd", "/tmp")
    };
    for who in EACH {
        let free = who.container(bundle()).run().ok();
        assert!(
            free.stdout().lines().filter(|line| line.starts_with("MADE")).count() > 20,
            "no attack works: {free:?}"
        );
        for profile in ["baseline", "restricted", "python", "build"] {
            // A profile for root of a user namespace, and others.
            let outcome = run(&who.container(bundle()), profile);
            if outcome.stderr().contains("rule user") {
                continue;
            }
            assert!(outcome.stdout().ends_with("done\n"), "{who:?}, {profile}: {outcome:?}");
            for line in outcome.stdout().lines().filter(|line| line.starts_with("MADE")) {
                loot.take_if(true, || format!("{who:?}, {profile}: {line}"));
            }
        }
    }
    loot.must_be_empty();
}
