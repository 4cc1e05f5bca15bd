//! Names that are no text: paths, arguments and variables are bytes, and none of them is passed over.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `café` in Latin-1, with all that a terminal or a parser might do something with.
const NAME: &[u8] = b"caf\xe9 \n\x1b[31m\xff\xf4\x8f\xbf\xa9 \\040'\"";

fn bytes(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// A directory of the caller's, and a file in it.
fn directory(caller: &Caller, at: &Path) -> PathBuf {
    fs::create_dir_all(at).expect("a directory");
    fs::write(at.join("file"), "in it\n").expect("a file");
    for path in [at, &at.join("file")] {
        chown(path, caller.user, caller.user).expect("an owner");
    }
    at.to_owned()
}

fn run(caller: &Caller, args: &[&OsStr]) -> Outcome {
    caller.command(&[]).args(args).finish()
}

/// Nothing of a name reaches a terminal as it is.
#[track_caller]
fn is_plain(seen: &Outcome) {
    let raw = |c: char| c == '\u{1b}' || ('\u{10ff80}'..='\u{10ffff}').contains(&c);
    assert!(!seen.stderr().contains(raw), "{:?}", seen.stderr());
    // No line of it is a name's.
    let lines = seen.stderr();
    assert!(!lines.lines().any(|line| line.starts_with("\\u{1b}")), "{lines:?}");
    assert!(!seen.stderr().contains("panicked"), "{seen:?}");
}

#[test]
fn it_works_in_a_directory_of_any_name() {
    sandboxed!();
    as_each(|caller| {
        for place in [caller.path("home/project"), caller.path("home"), caller.path("")] {
            let at = directory(caller, &place.join(bytes(NAME)));
            let script = "cat file; ls -d \"$PWD\" >/dev/null && echo there; echo x >new || echo closed";
            let seen = caller.command(&["--", "sh", "-c", script]).current_dir(&at).finish().ok();
            assert_eq!(seen.trimmed(), "in it\nthere\nclosed", "{seen:?}");
            is_plain(&seen);
            let seen =
                caller.command(&["--rw", ".", "--", "sh", "-c", "cat file && echo x >new"]).current_dir(&at).finish();
            seen.ok().prints("in it");
            assert_eq!(fs::read(at.join("new")).expect("the file"), b"x\n");
            let seen = caller.command(&["--home", "tmpfs", "--", "cat", "file"]).current_dir(&at).finish();
            seen.ok().prints("in it");
        }
    });
}

#[test]
fn grants_and_places_have_any_name() {
    sandboxed!();
    as_each(|caller| {
        let at = directory(caller, &caller.path("home/project").join(bytes(NAME)));
        let with =
            |before: &[u8], after: &[u8]| OsString::from_vec([before, at.as_os_str().as_bytes(), after].concat());
        let shell = |flags: &[&OsStr], script: &str| {
            let program = ["--", "sh", "-c", script].map(OsStr::new);
            run(caller, &[flags, &program, &[at.as_os_str()]].concat())
        };
        shell(&[OsStr::new("--rw"), at.as_os_str()], "echo y >\"$0/made\"; cat \"$0/file\"").ok().prints("in it");
        assert_eq!(fs::read(at.join("made")).expect("the file"), b"y\n");
        shell(&[&with(b"--ro=", b":/tmp/\xe9")], "cat /tmp/*/file; echo x >>/tmp/*/file").prints("in it");
        shell(&[&with(b"--tmpfs=", b":size=1M")], "ls -A \"$0\"; echo z >\"$0/z\" && ls \"$0\"").ok().prints("z");
        let seen = shell(&[&with(b"--workdir=", b"")], "cat file");
        assert_eq!(seen.trimmed(), "in it", "{seen:?}");
        // What cannot be had is said without doing anything to the terminal.
        for flag in [&b"--rw="[..], b"--ro=", b"--tmpfs=", b"--workdir=", b"--image=", b"--profile="] {
            let seen = run(caller, &[&with(flag, b"/not/there"), OsStr::new("--"), OsStr::new("true")]);
            assert_eq!(seen.code(), 125, "{seen:?}");
            is_plain(&seen);
        }
        let image = with(b"--image=", b"");
        is_plain(&run(caller, &[&image, OsStr::new("--"), OsStr::new("true")]).exits(125));
    });
}

#[test]
fn arguments_and_variables_are_bytes() {
    sandboxed!();
    as_each(|caller| {
        let looks_spelled = "\u{10ffe9}";
        let script = "printf '%s|' \"$0\" \"$1\" \"$GIVEN\" \"$SET\" \"$LANG\"; [ -z \"$NOT\" ]";
        let mut command = caller.command(&["--env", "GIVEN", "--env"]);
        command.arg(bytes(b"SET=\xfe=")).args(["--", "sh", "-c", script]).arg(bytes(NAME)).arg(looks_spelled);
        command.env("GIVEN", bytes(b"\xe9t\xe9")).env("LANG", bytes(b"de_DE\xff")).env("NOT", bytes(b"\xff"));
        let output = command.output().expect("pent");
        let want: Vec<u8> = [NAME, looks_spelled.as_bytes(), b"\xe9t\xe9", b"\xfe=", b"de_DE\xff", b""].join(&b'|');
        assert_eq!(output.stdout, want, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success());
        // A program of that name.
        let program = caller.path("home/project").join(bytes(b"x\xe9"));
        fs::copy(caller.path("home/project/x"), &program).expect("a program");
        chown(&program, caller.user, caller.user).expect("an owner");
        run(caller, &[OsStr::new("--"), bytes(b"./x\xe9"), OsStr::new("a")]).ok().prints("x ran with a");
        is_plain(&run(caller, &[OsStr::new("--"), bytes(b"./\x1b\xe9")]).exits(127));
        is_plain(
            &run(caller, &[OsStr::new("--env"), bytes(b"N\xe9"), OsStr::new("--"), OsStr::new("true")]).exits(125),
        );
    });
}

/// What a report says to type can be typed.
#[test]
fn a_report_names_what_is_no_text() {
    sandboxed!();
    as_each(|caller| {
        let at = directory(caller, &caller.path("home/project").join(bytes(NAME)));
        let script = "cd caf*; echo more >>file";
        let more = crate::report::cured(caller, &[], "read-only", script);
        assert!(more.contains(r"caf\xe9 \x0a\x1b[31m\xff"), "{more}");
        assert_eq!(fs::read(at.join("file")).expect("the file"), b"in it\nmore\n");
    });
}

/// A process that joins a sandbox has the same bytes; what an engine's configuration cannot say is refused.
#[test]
fn exec_takes_what_the_sandbox_does() {
    sandboxed!();
    let caller = Caller::new(None);
    let at = directory(&caller, &caller.path("home/project").join(bytes(NAME)));
    let mut sandbox = caller.command(&["--rw", ".", "--", "sh", "-c", "echo up >ready; exec sleep 60"]);
    let mut sandbox = sandbox.current_dir(&at).spawn().expect("a sandbox");
    crate::support::wait_until("it runs", crate::support::seconds(10), || at.join("ready").exists());
    let id = format!("sandbox-{}", sandbox.id());
    let mut exec = caller.command_of("exec", &["--env"]);
    exec.arg(bytes(b"A=\xfe")).args([&id, "sh", "-c", "cat file; printf %s \"$0$A\""]).arg(bytes(NAME));
    let output = exec.output().expect("pent");
    assert_eq!(output.stdout, [b"in it\n", NAME, b"\xfe"].concat(), "{}", String::from_utf8_lossy(&output.stderr));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(sandbox.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
        .expect("a signal");
    sandbox.wait().expect("its end");
    caller.left_nothing();
}

#[test]
fn what_has_to_be_text_is_refused_and_nothing_panics() {
    sandboxed!();
    as_each(|caller| {
        for flag in [
            "--net",
            "--hostname",
            "--memory",
            "--cpus",
            "--pids",
            "--timeout",
            "--port",
            "--home",
            "--profile",
            "--report",
        ] {
            let value = OsString::from_vec([flag.as_bytes(), b"=\xe9\x1b[2J"].concat());
            let seen = run(caller, &[&value, OsStr::new("--"), OsStr::new("true")]);
            is_plain(&seen);
            assert!(seen.code() == 125 || flag == "--report", "{flag}: {seen:?}");
        }
        for word in [&b"--\xe9"[..], b"-\xe9", b"--unknown\x1b=\xe9"] {
            let seen = run(caller, &[bytes(word), OsStr::new("--"), OsStr::new("true")]).exits(125);
            is_plain(&seen);
        }
        for verb in [&b"\xe9"[..], b"sand\x1bbox"] {
            let mut command = caller.command_of("sandbox", &[]);
            let args: Vec<OsString> = command.get_args().map(OsStr::to_owned).collect();
            let program = command.get_program().to_owned();
            command = Command::new(program);
            command.args(&args[..args.len() - 1]).arg(bytes(verb));
            is_plain(&command.finish());
        }
    });
}

/// A home and variables that are no UTF-8 hid nothing.
#[test]
fn secrets_of_a_home_of_any_name_are_hidden() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.path("").join(bytes(b"zo\xeb \x1b"));
        for (name, content) in [(".ssh/id_rsa", "secret"), (".netrc", "secret"), (".kube/config", "secret")] {
            fs::create_dir_all(home.join(name).parent().expect("a parent")).expect("a directory");
            fs::write(home.join(name), content).expect("a file");
        }
        let token = caller.path("").join(bytes(b"tok\xebn"));
        fs::write(&token, "secret").expect("a file");
        Command::new("chown").arg("-R").arg(caller.user.unwrap_or(0).to_string()).args([&home, &token]).finish().ok();
        let script = "cat \"$0\"/.ssh/* \"$0\"/.netrc \"$0\"/.kube/config \"$1\"; ls -A \"$0/.ssh\"; echo done";
        let mut command = caller.command(&["--", "sh", "-c", script]);
        command.arg(&home).arg(&token).env("HOME", &home).env("KUBECONFIG", &token);
        let seen = command.finish();
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
        is_plain(&seen);
    });
}

/// One byte of anybody's in the table of users took all homes from the list.
#[test]
fn a_table_of_users_that_is_no_text_hides_as_any_other() {
    sandboxed!();
    as_each(|caller| {
        let other = caller.path("").join(bytes(b"other\xe9"));
        fs::create_dir_all(other.join(".ssh")).expect("a directory");
        fs::write(other.join(".ssh/id_rsa"), "secret").expect("a file");
        fs::write(other.join("diary"), "secret").expect("a file");
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("open to all");
        let table = caller.path("passwd");
        let user = caller.user.unwrap_or(0);
        let mut text = format!("caller:x:{user}:{user}:Zo").into_bytes();
        text.extend_from_slice(b"\xeb,,,:");
        text.extend_from_slice(caller.home().as_bytes());
        text.extend_from_slice(b":/bin/sh\nother:x:1234:1234::");
        text.extend_from_slice(other.as_os_str().as_bytes());
        text.extend_from_slice(b":/bin/sh\n");
        fs::write(&table, text).expect("a table");
        let script = "cat \"$0\"/.netrc \"$0\"/.ssh/id_ed25519 \"$1\"/diary \"$1\"/.ssh/id_rsa; echo done";
        let pent = caller.command(&["--", "sh", "-c", script]);
        let mut view = Command::new("unshare");
        view.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]).arg(&table);
        view.arg(pent.get_program()).args(pent.get_args()).arg(caller.home()).arg(&other);
        view.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").current_dir(caller.path("home/project"));
        let seen = view.finish();
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
    });
}
