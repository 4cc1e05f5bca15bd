//! The lines of `--report`, followed literally, make a program work that was refused.
#![forbid(unsafe_code)]

use super::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{self, Finish as _, Outcome, skip};
use serde_json::Value;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What somebody types who adds what a line says to the command that failed: `pent sandbox FLAGS MORE -- sh -c SCRIPT`, in a shell.
fn typed(caller: &Caller, flags: &[&str], more: &str, script: &str) -> Outcome {
    let command = caller.command(flags);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| quoted(word.to_str().expect("text"))).collect();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("exec {} {more} -- sh -c {}", words.join(" "), quoted(script)));
    shell.env_clear().current_dir(command.get_current_dir().expect("a directory")).stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        shell.env(name, value.expect("a value"));
    }
    shell.finish()
}

/// The flags that the lines about this layer name.
fn remedies(text: &str, layer: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with("denied") && line.contains(layer));
    let flags = lines.filter_map(|line| Some(line.split_once("allow with ")?.1));
    flags.map(|flags| flags.trim_end_matches(" (the program chose it)").to_owned()).collect()
}

/// The script fails by this layer, and succeeds with what the report says.
#[track_caller]
pub(crate) fn cured(caller: &Caller, flags: &[&str], layer: &str, script: &str) -> String {
    let first = typed(caller, &[flags, &["--report"]].concat(), "", script);
    assert_ne!(first.code(), 0, "{first:?}");
    let found = remedies(&first.stderr(), layer);
    assert!(!found.is_empty(), "no remedy for {layer}: {first:?}");
    let more = found.join(" ");
    let second = typed(caller, flags, &more, script);
    assert_eq!(second.code(), 0, "with {more}: {second:?}\nbefore: {first:?}");
    more
}

#[test]
fn the_working_directory() {
    as_each(|caller| {
        let more = cured(caller, &[], "read-only", "echo result > out && mkdir made");
        assert_eq!(more, format!("--rw {}/project", caller.home()));
        assert_eq!(support::read(caller.path("home/project/out")), "result");
    });
}

#[test]
fn a_directory_whose_content_does_not_matter() {
    as_each(|caller| {
        caller.directory("home/cache/app");
        // Root's home is as closed to root's program as to anybody.
        let home = caller.home();
        let shown: &[&str] = if caller.user.is_none() { &["--ro", &home] } else { &[] };
        let more = cured(caller, shown, "read-only", "cd ~/cache/app && echo x > a && mv a b");
        assert_eq!(more, format!("--tmpfs {}/cache/app", caller.home()));
        assert!(support::read(caller.path("home/cache/app/b")).is_empty());
    });
}

#[test]
fn a_name_that_needs_quoting() {
    as_each(|caller| {
        caller.directory("home/project/it's mine $(x)\u{1b}");
        cured(caller, &[], "read-only", "cd it*x*; echo x > a");
    });
}

#[test]
fn a_file() {
    as_each(|caller| {
        let more = cured(caller, &[], "read-only", "echo more >> data");
        assert_eq!(more, format!("--rw {}/project/data", caller.home()));
    });
}

/// A program decides what it is refused: what a line of a report opens when it is pasted is nothing that matters to
/// anybody else.
#[test]
fn nothing_hidden_and_nothing_that_starts_later_is_advised_to_be_opened() {
    as_each(|caller| {
        let file = tempfile::Builder::new().prefix("pent-report").tempfile_in("/tmp").expect("a file");
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("mode");
        let path = file.path().to_str().expect("text");
        for below in [
            "home/.bashrc",
            "home/.config/autostart/x",
            "home/bin/tool",
            "home/project/.git/hooks/post-commit",
            "home/project/.envrc",
        ] {
            caller.file(below, "before", 0o755);
        }
        for (script, why) in [
            ("cat ~/.ssh/id_ed25519", "(hidden: "),
            ("cat ~/.netrc", "(hidden: "),
            ("echo key > ~/.ssh/new", "(hidden: "),
            ("rm ~/.netrc", ""),
            (&format!("cat {path}"), "(private in a sandbox: "),
            ("echo run >> ~/.bashrc", "(starts programs later"),
            ("rm ~/.bashrc", "(starts programs later"),
            ("mv project ~/project2", ""),
            ("echo run > ~/.config/autostart/x", "(starts programs later"),
            ("echo run > ~/bin/tool", "(starts programs later"),
            ("touch ~/bin/new", ""),
            ("echo run > .git/hooks/post-commit", "(starts programs later"),
            ("touch .git/hooks/new", "(starts programs later"),
            ("echo run > .envrc", "(starts programs later"),
            ("echo run > /etc/profile.d/x", ""),
            ("touch /etc/x", ""),
            ("touch /x", ""),
            ("touch /usr/local/bin/x", ""),
            ("echo x > /proc/sys/kernel/core_pattern", ""),
            ("touch /home/x", ""),
        ] {
            let seen = typed(caller, &["--report"], "--ro ~", &format!("{script}; exit 1"));
            let denied: Vec<String> =
                seen.stderr().lines().filter(|line| line.starts_with("denied")).map(str::to_owned).collect();
            for line in &denied {
                assert!(
                    !line.contains("--ro ") || line.contains("private in a sandbox") || line.contains("(hidden: "),
                    "{script}: {line}"
                );
                assert!(!line.contains("allow with --ro") && !line.contains("allow with --rw"), "{script}: {line}");
            }
            assert!(denied.iter().any(|line| line.contains(why)), "{script}: {seen:?}");
            let json = typed(caller, &["--report=report.json"], "--ro ~", &format!("{script}; exit 1"));
            let report: Value = serde_json::from_str(&support::read(caller.path("home/project/report.json")))
                .unwrap_or_else(|error| panic!("{error}: {json:?}"));
            for refusal in report["refusals"].as_array().expect("a list") {
                let flags = refusal["remedy"]["flags"].as_str().unwrap_or_default();
                assert!(!flags.starts_with("--r"), "{script}: {refusal:#}");
            }
        }
        // Whoever knows why says so.
        assert_eq!(typed(caller, &[], "--ro ~/.ssh/id_ed25519", "cat ~/.ssh/id_ed25519").code(), 0);
    });
}

#[test]
fn names_do_nothing_to_whoever_reads_them() {
    as_each(|caller| {
        let names = [
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}b",
            "a\u{3164}b",
            "a\u{9b}31mb",
            "a\u{7f}b",
            "a\u{2028}denied  x",
            "\u{e0041}b",
        ];
        for name in names {
            caller.file(&format!("home/{name}"), "x", 0o600);
        }
        let script = "cd ~; for f in a* *b; do echo x > \"$f\"; done; exit 1";
        let seen = typed(caller, &["--report"], "--ro ~", script);
        typed(caller, &["--report=report.json"], "--ro ~", script);
        let report = support::read(caller.path("home/project/report.json"));
        for name in names {
            for c in name.chars().filter(|c| !c.is_ascii_graphic() && *c != ' ') {
                assert!(!report.contains(c), "{c:?}: {report:?}");
                let denied = seen.stderr();
                assert!(
                    !denied.lines().filter(|line| line.starts_with("denied")).any(|line| line.contains(c)),
                    "{c:?}: {denied:?}"
                );
            }
            let parsed: Value = serde_json::from_str(&report).expect("JSON");
            let is_it =
                |one: &Value| one["subject"].as_str().is_some_and(|subject| subject.ends_with(&format!("/{name}")));
            assert!(
                parsed["refusals"].as_array().expect("a list").iter().any(is_it),
                "{name:?} is still what it is: {parsed:#}"
            );
        }
    });
}

#[test]
fn a_new_file_of_the_home() {
    as_each(|caller| {
        assert_eq!(cured(caller, &[], "", "mkdir ~/.tool && echo x > ~/.tool/x && cat data"), "--home tmpfs");
        assert!(!caller.path("home/.tool").exists());
    });
}

#[test]
fn a_directory_with_all_that_is_in_it() {
    as_each(|caller| {
        caller.file("home/project/old/deep/file", "x", 0o600);
        assert_eq!(cured(caller, &[], "", "rm -r old"), format!("--rw {}/project", caller.home()));
        assert!(!caller.path("home/project/old").exists());
    });
}

/// One line, whatever of it is read: each file of its own would be an endless list.
#[test]
fn what_the_kernel_tells_of_the_machine() {
    as_each(|caller| {
        let script = "cat /sys/devices/system/cpu/possible && cat /sys/devices/system/cpu//online && ls /sys/kernel";
        assert_eq!(cured(caller, &[], "", script), "--ro /sys");
        // As many places as are asked for.
        let files = ["possible", "online", "present", "offline", "kernel_max", "isolated", "nohz_full", "modalias"];
        let mut flags: Vec<String> = Vec::new();
        for file in files.map(|file| format!("/sys/devices/system/cpu/{file}")) {
            if std::path::Path::new(&file).exists() {
                flags.extend(["--ro".to_owned(), file]);
            }
        }
        for cpu in 0..2 {
            for file in ["topology/core_id", "topology/die_id", "topology/physical_package_id", "topology/core_cpus"] {
                let file = format!("/sys/devices/system/cpu/cpu{cpu}/{file}");
                if std::path::Path::new(&file).exists() {
                    flags.extend(["--ro".to_owned(), file]);
                }
            }
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        caller.shell(&flags, "cat /sys/devices/system/cpu/possible").ok();
    });
}

#[test]
fn what_limits_refuse_is_said_to_be_unseen() {
    as_each(|caller| {
        let seen = caller.shell(&["--report"], "head -c 100M /dev/zero > /tmp/x");
        assert!(seen.code() != 0 && seen.stderr().contains("--tmpfs /tmp:size=SIZE"), "{seen:?}");
        caller.shell(&["--tmpfs", "/tmp:size=200M"], "head -c 100M /dev/zero > /tmp/x").ok();
    });
}

#[test]
fn a_program_in_tmp() {
    as_each(|caller| {
        assert_eq!(cured(caller, &[], "noexec mount", "cp /bin/true /tmp/t && /tmp/t"), "--tmpfs /tmp:exec");
        let inner = "cp /bin/true /dev/shm/t && /dev/shm/t";
        assert_eq!(cured(caller, &[], "noexec mount", inner), "--tmpfs /dev/shm:exec");
    });
}

#[test]
fn a_call_that_another_profile_has() {
    as_each(|caller| {
        let more = cured(caller, &[], "seccomp: restricted", "touch /tmp/x && chown $(id -u) /tmp/x");
        assert_eq!(more, "--profile build");
        // Only baseline has it, which is nothing to be talked into.
        let weak = typed(caller, &["--report"], "", "ipcmk -M 64");
        assert!(
            weak.stderr().contains("not recommended (of the profiles") && !weak.stderr().contains("allow with"),
            "{weak:?}"
        );
    });
}

#[test]
fn the_network() {
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Ok(SocketAddr::V4(own)) = own else { return skip("the host has no network") };
    let listener = TcpListener::bind((*own.ip(), 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    as_each(|caller| {
        let script = format!("bash -c 'exec 3<>/dev/tcp/{}/{port}'", own.ip());
        let first = typed(caller, &["--report"], "", &script);
        // It had a proxy, and did not use it.
        assert_eq!(remedies(&first.stderr(), "no network"), [""; 0], "{first:?}");
        assert!(first.stderr().contains("not recommended (only the whole network of the host has it"), "{first:?}");
        assert_eq!(typed(caller, &[], "--net host", &script).code(), 0);
    });
}

/// Says an HTTP request to whatever is named as proxy, as curl and others do.
const BY_PROXY: &str = r#"
target=HOST:PORT; via=${http_proxy:-$HTTP_PROXY}; via=${via#http://}; via=${via%/}; to=${via:-$target}
exec 3<>/dev/tcp/${to%:*}/${to##*:} || exit 1
printf 'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' "$target" "$target" >&3
read -r version code rest <&3; test "$code" = 200
"#;

#[test]
fn a_single_host() {
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Ok(SocketAddr::V4(own)) = own else { return skip("the host has no network") };
    let listener = TcpListener::bind((*own.ip(), 0)).expect("a listener");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    as_each(|caller| {
        let script = BY_PROXY.replace("HOST", &own.ip().to_string()).replace("PORT", &port.to_string());
        caller.file("home/project/client", &script, 0o644);
        // Of this machine, and so not advised; by its number it can be had.
        let first = typed(caller, &["--report"], "", "bash ./client");
        assert!(
            first.stderr().contains("proxy: not in --net") && !first.stderr().contains("allow with --net"),
            "{first:?}"
        );
        assert!(first.stderr().contains("not recommended (an address of this machine"), "{first:?}");
        assert_eq!(typed(caller, &[], &format!("--net {}:{port}", own.ip()), "bash ./client").code(), 0);
        let name = BY_PROXY.replace("HOST", "example.org").replace("PORT", "443");
        caller.file("home/project/client", &name, 0o644);
        let out = caller.path("home/project/report.json").to_string_lossy().into_owned();
        caller.run(&[&format!("--report={out}"), "--", "bash", "./client"]);
        let report: Value = serde_json::from_str(&support::read(&out)).expect("JSON");
        let denied = report["refusals"].as_array().expect("a list").iter().find(|one| one["layer"] == "proxy");
        let remedy = &denied.expect("the proxy's")["remedy"];
        assert_eq!(remedy["flags"], "--net example.org:443", "{report:#}");
        assert_eq!(remedy["caution"], "the program chose it", "{report:#}");
        let text = typed(caller, &["--report"], "", "bash ./client").stderr();
        assert!(text.contains("allow with --net example.org:443 (the program chose it)"), "{text}");
    });
}

#[test]
fn limits() {
    sandboxed!();
    support::controllers!("pids", "memory");
    let caller = Caller::new(None);
    let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    // The shell is one of them, pent's own first process is not.
    assert_eq!(cured(&caller, &["--pids", "8"], "pids limit", forks), "--pids 16");
    let more = cured(&caller, &["-m", "16M"], "memory limit", "dd if=/dev/zero of=/dev/null bs=24M count=1");
    assert_eq!(more, "--memory 32M");
    caller.left_nothing();
}

#[test]
fn the_file_says_the_same() {
    as_each(|caller| {
        let outcome = caller.shell(&["--report=report.json"], "echo > new; exit 3").exits(3);
        assert!(!outcome.stderr().contains("denied"), "{outcome:?}");
        let text = support::read(caller.path("home/project/report.json"));
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&report["version"], &report["exitStatus"]), (&1.into(), &3.into()));
        let write = report["refusals"].as_array().expect("a list").iter().find(|refusal| refusal["action"] == "write");
        let write = write.unwrap_or_else(|| panic!("{report:#}"));
        assert_eq!(write["remedy"]["flags"], format!("--rw {}/project", caller.home()));
    });
}

#[test]
fn without_a_terminal_nothing_is_said() {
    as_each(|caller| {
        let outcome = caller.shell(&[], "echo > x; exit 3").exits(3);
        assert!(!outcome.stderr().contains("denied"), "{outcome:?}");
    });
}
