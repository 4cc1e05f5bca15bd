//! The caller's open files, as the program's standard streams: only what was meant can be done with them.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome, seconds, wait_until};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Everything that can be seen of a file but when it was read.
fn state(path: &Path) -> (Vec<u8>, u32, u32, i64, u64, i64) {
    let found = fs::metadata(path).expect("metadata");
    (fs::read(path).expect("content"), found.mode(), found.gid(), found.mtime(), found.blocks(), found.ctime())
}

/// `./streams ATTACKED REPORT`: what came of each attack.
fn results(text: &str) -> BTreeMap<String, String> {
    assert!(text.contains("done ok\n"), "the attacker did not come to its end: {text:?}");
    text.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// A line of a shell of the caller's, in which `pent` is the sandbox's command up to its flags.
fn typed(caller: &Caller, line: &str) -> Outcome {
    let pent = caller.command(&[]);
    let words: Vec<_> = std::iter::once(pent.get_program())
        .chain(pent.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("pent() {{ {} \"$@\"; }}; {line}", words.join(" "))]);
    shell.current_dir(caller.path("home/project")).stdin(Stdio::null()).env_clear();
    shell.envs(pent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.finish_within(seconds(60))
}

#[test]
fn ways_to_the_host_are_refused() {
    sandboxed!();
    as_each(|caller| {
        for number in 0..=2 {
            for (what, flags, why) in [
                ("/", 0, "is a directory"),
                ("/", libc::O_PATH, "O_PATH"),
                ("/etc/passwd", libc::O_PATH, "O_PATH"),
                ("/proc/self/ns/net", 0, "handle of the kernel's (namespace)"),
                ("/dev/kmsg", 0, "is a device"),
                ("/dev/mem", 0, "is a device"),
                ("/dev/ptmx", 0, "pseudo-terminal that types"),
            ] {
                let Ok(file) = File::options().read(true).custom_flags(flags | libc::O_NOCTTY).open(what) else {
                    continue;
                };
                // As standard error nobody hears why.
                let mut pent = caller.command(&["--", "touch", "/proc/self/fd/1"]);
                match number {
                    0 => pent.stdin(file),
                    1 => pent.stdout(file),
                    _ => pent.stderr(file),
                };
                let output = pent.output().expect("pent");
                assert_eq!(output.status.code(), Some(125), "{what} as {number}: {output:?}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(number == 2 || (said.contains(why) && said.contains("hint: ")), "{what} as {number}: {said}");
            }
        }
    });
}

#[test]
fn what_is_read_is_not_changed() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        let list = caller.file("list", "a\nb\nc\n", 0o640);
        for open in [true, false] {
            let mut options = File::options();
            let file = options.read(true).write(open).open(&list).expect("the list");
            let before = state(&list);
            let mut pent = caller.command(&["--", "./streams", "0", "1"]);
            let seen = pent.stdin(file.try_clone().expect("a copy")).finish_within(seconds(20));
            let found = results(&seen.stdout());
            assert_eq!(state(&list), before, "{seen:?}");
            for (way, result) in &found {
                let harmless = ["setfl", "flock", "done"].contains(&way.as_str());
                assert!(harmless || result != "ok", "{way} as {:?}: {seen:?}", caller.user);
            }
            // To root's program the file is a stranger's.
            let again = if caller.user.is_some() { "EROFS" } else { "EACCES" };
            for (way, expected) in [("fchmod", "EROFS"), ("open-rdwr", again), ("lease", "EPERM"), ("write", "EBADF")] {
                assert_eq!(found[way], expected, "{way}: {seen:?}");
            }
            // Neither a lock nor a flag is left.
            assert_eq!(pent::sys::fd::flags(file.as_fd()).expect("flags") & libc::O_NONBLOCK, 0);
            let other = File::open(&list).expect("the list");
            other.try_lock().expect("not locked");
        }
    });
}

#[test]
fn a_file_can_be_sought_in_and_mapped_and_its_caller_goes_on_where_the_program_stopped() {
    sandboxed!();
    as_each(|caller| {
        caller.file("home/project/list", "one\ntwo\nthree\n", 0o644);
        let loops = typed(caller, "while read x; do pent -- echo \"got $x\"; done <list");
        assert_eq!(loops.stdout(), "got one\ngot two\ngot three\n", "{loops:?}");
        let parts = typed(caller, "{ read a; pent -- sh -c 'read b; echo \"in: $b\"'; cat; } <list");
        assert_eq!(parts.stdout(), "in: two\nthree\n", "{parts:?}");
        let sought = typed(caller, "pent -q -- sh -c 'tail -c 6; exec </dev/stdin; head -c 3' <list");
        assert_eq!(sought.stdout(), "three\none", "{sought:?}");
        let script = "import mmap,sys; print(mmap.mmap(0, 0, prot=mmap.PROT_READ)[:3])";
        let mapped = typed(caller, &format!("pent -q -- python3 -c '{script}' <list"));
        assert_eq!(mapped.stdout(), "b'one'\n", "{mapped:?}");
    });
}

#[test]
fn a_file_without_a_name_comes_through_a_pipe() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        let gone = || {
            let path = caller.file("gone", &"line\n".repeat(100_000), 0o600);
            let file = File::options().read(true).write(true).open(&path).expect("a file");
            fs::remove_file(path).expect("removed");
            file
        };
        let mut file = gone();
        let seen = caller
            .command(&["--", "sh", "-c", "cat | wc -c"])
            .stdin(file.try_clone().expect("a copy"))
            .finish_within(seconds(20));
        assert_eq!(seen.trimmed(), "500000", "{seen:?}");
        assert_eq!(file.stream_position().expect("an offset"), 500_000, "{seen:?}");
        // What it does not read is its caller's.
        file.seek(SeekFrom::Start(5)).expect("an offset");
        let script = "read x; echo \"$x\"; read x";
        let mut pent = caller.command(&["--", "sh", "-c", script]);
        let seen = pent.stdin(file.try_clone().expect("a copy")).finish_within(seconds(20));
        assert_eq!(seen.trimmed(), "line", "{seen:?}");
        assert_eq!(file.stream_position().expect("an offset"), 15);
        let before = file.metadata().expect("metadata");
        let mut pent = caller.command(&["--", "./streams", "0", "1"]);
        let seen = pent.stdin(file.try_clone().expect("a copy")).finish_within(seconds(20));
        results(&seen.stdout());
        let after = file.metadata().expect("metadata");
        assert_eq!(
            (before.mode(), before.len(), before.mtime()),
            (after.mode(), after.len(), after.mtime()),
            "{seen:?}"
        );
        let here = typed(caller, "pent -q -- sort <<<$'b\\na'; pent -- head -1 </proc/self/status");
        assert!(here.stdout().contains("Name:") && here.stdout().starts_with("a\nb\n"), "{here:?}");
    });
}

#[test]
fn a_log_is_only_appended_to() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        for number in [1, 2] {
            for append in [true, false] {
                let path = caller.file("log", "first\n", 0o640);
                let mut log = File::options().read(true).append(append).write(true).open(&path).expect("a log");
                if !append {
                    log.seek(SeekFrom::End(0)).expect("its end");
                }
                let before = fs::metadata(&path).expect("metadata");
                let other = if number == 1 { "2" } else { "1" };
                let mut pent = caller.command(&["--", "./streams", &number.to_string(), other]);
                let copy = log.try_clone().expect("a copy");
                let output = match number {
                    1 => pent.stdout(copy).output().expect("pent").stderr,
                    _ => pent.stderr(copy).output().expect("pent").stdout,
                };
                let found = results(&String::from_utf8_lossy(&output));
                let text = fs::read_to_string(&path).expect("a log");
                assert!(text.starts_with("first\n"), "{text:?} {found:?}");
                let after = fs::metadata(&path).expect("metadata");
                assert_eq!((before.mode(), before.gid()), (after.mode(), after.gid()), "{found:?}");
                assert_eq!(found["lease"], "EPERM");
                File::open(&path).expect("a log").try_lock().expect("not locked");
                let flags = pent::sys::fd::flags(log.as_fd()).expect("flags");
                assert_eq!((flags & libc::O_APPEND != 0, flags & libc::O_NONBLOCK), (append, 0));
                log.write_all(b"last\n").expect("written");
                assert!(fs::read_to_string(&path).expect("a log").ends_with("last\n"));
            }
        }
    });
}

#[test]
fn output_is_whole_and_in_order() {
    sandboxed!();
    as_each(|caller| {
        let both = typed(
            caller,
            "pent -q -- sh -c 'for i in $(seq 2000); do echo $i; echo $i >&2; done' >out 2>&1; echo $?; uniq -c out | grep -vc ' 2 '; wc -l <out",
        );
        assert_eq!(both.stdout(), "0\n0\n4000\n", "{both:?}");
        let apart = typed(
            caller,
            "echo before >err; pent -q -- sh -c 'echo a; echo b >&2; exit 7' >out 2>>err; echo $?; cat out err",
        );
        assert_eq!(apart.stdout(), "7\na\nbefore\nb\n", "{apart:?}");
        let large =
            typed(caller, "pent -q -- sh -c 'seq 3000000' >out; echo $?; cmp out <(seq 3000000) && echo same; rm out");
        assert_eq!(large.stdout(), "0\nsame\n", "{large:?}");
        // Who is left behind ends with the program; what it said until then is there.
        let left = typed(
            caller,
            "pent -q -- sh -c '(while :; do echo x; sleep 0.01; done) & sleep 0.1; echo end; exit 3' >out; echo $?; grep -c end out",
        );
        assert_eq!(left.stdout(), "3\n1\n", "{left:?}");
        let late = typed(caller, "pent --timeout 1s -- sh -c 'echo early; sleep 20' >out; echo $?; cat out");
        assert_eq!(late.stdout(), "124\nearly\n", "{late:?}");
        let killed = typed(caller, "pent -q -- sh -c 'echo last; kill -9 $$' >out; echo $?; cat out");
        assert_eq!(killed.stdout(), "137\nlast\n", "{killed:?}");
        let open = typed(
            caller,
            "pent -q -- sh -c 'echo by name >/dev/stdout; echo also >>/proc/self/fd/2' >out 2>&1; cat out",
        );
        assert_eq!(open.stdout(), "by name\nalso\n", "{open:?}");
        // Refused before it starts: the reason is where it belongs.
        let not = typed(caller, "pent -q -- /nowhere/x >out 2>err; echo $?; grep -c nowhere err; wc -c <out");
        assert_eq!(not.stdout(), "127\n1\n0\n", "{not:?}");
    });
}

#[test]
fn what_cannot_be_written_is_said_and_is_no_success() {
    sandboxed!();
    as_each(|caller| {
        let place = caller.directory("full");
        let on_little = |script: &str| {
            let pent = caller.command(&["--", "sh", "-c", script]);
            let mut view = Command::new("unshare");
            let line = "mount -t tmpfs -o size=64k,mode=1777 none \"$0\" && \"$@\" >\"$0/out\"; echo $? >&2; wc -c <\"$0/out\"";
            view.args(["--mount", "sh", "-c", line]).arg(&place).arg(pent.get_program()).args(pent.get_args());
            view.envs(pent.get_envs().filter_map(|(name, value)| Some((name, value?))));
            view.current_dir(caller.path("home/project")).finish_within(seconds(20))
        };
        let full = on_little("trap '' PIPE; head -c 1000000 /dev/zero 2>/dev/null; exit 0");
        assert_eq!(full.trimmed(), "65536", "{full:?}");
        let said = "cannot write standard output: no space left on device\n";
        assert!(full.stderr().contains(said) && full.stderr().ends_with("\n125\n"), "{full:?}");
        // Its own status says more.
        let told = on_little("yes");
        assert!(told.stderr().contains(said) && told.stderr().ends_with("\n141\n"), "{told:?}");
    });
}

#[test]
fn flags_of_pipes_and_sockets_stay_the_callers() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let output = caller.command(&["--", "./streams", "0", "1"]).stdin(reader.try_clone().expect("a copy")).output();
        let found = results(&String::from_utf8_lossy(&output.expect("pent").stdout));
        assert_eq!(
            (found["setfl"].as_str(), pent::sys::fd::flags(reader.as_fd()).expect("flags")),
            ("ok", libc::O_RDONLY)
        );
        drop(writer);
        let (own, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let theirs = std::os::fd::OwnedFd::from(theirs);
        let mut pent = caller.command(&["--", "./streams", "0", "1"]);
        let output = pent.stdin(theirs.try_clone().expect("a copy")).output();
        let found = results(&String::from_utf8_lossy(&output.expect("pent").stdout));
        assert_eq!(found["setfl"], "ok");
        assert_eq!(pent::sys::fd::flags(theirs.as_fd()).expect("flags") & libc::O_NONBLOCK, 0);
        drop(own);
        // A socket is read and written as ever.
        let through = typed(
            caller,
            "echo in | pent -- cat | cat; exec 0<&- 1>&- 2>&-; pent -- sh -c 'echo x; ls /proc/self/fd' ; exit 0",
        );
        assert_eq!(through.stdout(), "in\n", "{through:?}");
    });
}

/// As inetd and socket units hand it over: a program could connect it anew, in the network of the host.
#[test]
fn a_connection_is_passed_on_and_leads_nowhere_else() {
    sandboxed!();
    as_each(|caller| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut own = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (theirs, _) = listener.accept().expect("a connection");
        let theirs = || std::os::fd::OwnedFd::from(theirs.try_clone().expect("a copy"));
        let script =
            "readlink /proc/self/fd/0 /proc/self/fd/1 | cut -d: -f1; read x; echo got $x; head -c 300000 /dev/zero";
        let pent = caller.command(&["-q", "--", "sh", "-c", script]).stdin(theirs()).stdout(theirs()).spawn();
        own.write_all(b"word\n").expect("written");
        let mut said = vec![0; 19 + 300_000];
        // More than the program's pipe and the sockets' buffers hold at first.
        std::thread::sleep(Duration::from_millis(300));
        own.read_exact(&mut said).expect("all of it");
        assert_eq!(String::from_utf8_lossy(&said[..19]), "pipe\npipe\ngot word\n");
        assert!(said[19..].iter().all(|byte| *byte == 0));
        assert!(pent.expect("started").wait().expect("an end").success());
        // What leads nowhere yet could be led anywhere.
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let (pair, _peer) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        for file in [std::os::fd::OwnedFd::from(listener), udp.into(), pair.into()] {
            let refused = caller.command(&["--", "true"]).stdin(file).finish();
            assert_eq!(refused.code(), 125, "{refused:?}");
            assert!(refused.stderr().contains("it is a socket that the program could connect"), "{refused:?}");
        }
    });
}

/// Somebody who does not read holds up neither the time limit nor the end.
#[test]
fn a_connection_that_nobody_reads_ends_with_its_time() {
    sandboxed!();
    as_each(|caller| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (theirs, _) = listener.accept().expect("a connection");
        let mut pent = caller.command(&["-q", "--timeout", "1s", "--", "cat", "/dev/zero"]);
        let mut pent = pent.stdout(std::os::fd::OwnedFd::from(theirs)).spawn().expect("started");
        wait_until("the time limit", seconds(20), || pent.try_wait().expect("a status").is_some());
        assert_eq!(pent.wait().expect("a status").code(), Some(124));
        drop(own);
    });
}

#[test]
fn a_fifo_of_the_callers_is_not_changed() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        let path = caller.path("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o640)).expect("a FIFO");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("mode");
        chown(&path, caller.user, caller.user).expect("owner");
        // Both sides, so that nobody waits.
        let fifo = File::options().read(true).write(true).open(&path).expect("opened");
        let output = caller.command(&["--", "./streams", "0", "1"]).stdin(fifo.try_clone().expect("a copy")).output();
        let found = results(&String::from_utf8_lossy(&output.expect("pent").stdout));
        assert_eq!(found["fchmod"], "EROFS", "{found:?}");
        assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o7777, 0o640);
    });
}

/// The caller's terminal as standard error only, so that the program has the caller's own.
#[test]
fn the_callers_terminal_is_as_it_was() {
    sandboxed!();
    as_each(|caller| {
        caller.probe("streams");
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let name = nix::unistd::ttyname(&pty.slave).expect("a name");
        let before = fs::metadata(&name).expect("metadata");
        chown(&name, caller.user, None).expect("owner");
        let mut pent = caller.command(&["--", "./streams", "2", "1"]);
        let output = pent.stderr(pty.slave.try_clone().expect("a copy")).output().expect("pent");
        let found = results(&String::from_utf8_lossy(&output.stdout));
        for (way, expected) in [("fchmod", "EROFS"), ("exclusive", "EPERM"), ("discipline", "EPERM"), ("setfl", "ok")] {
            assert_eq!(found[way], expected, "{way}: {found:?}");
        }
        assert_eq!(fs::metadata(&name).expect("metadata").mode(), before.mode());
        assert!(!pent::sys::tty::is_exclusive(pty.slave.as_fd()));
        assert_eq!(pent::sys::fd::flags(pty.slave.as_fd()).expect("flags") & libc::O_NONBLOCK, 0);
        File::open(&name).expect("a terminal").try_lock().expect("not locked");
    });
}

/// What the shell opens for `<(…)`, and what scripts open themselves.
#[test]
fn other_descriptors_are_handed_over_by_number() {
    sandboxed!();
    as_each(|caller| {
        caller.file("home/project/list", "one\ntwo\n", 0o644);
        let two = typed(caller, "pent -q --keep-fd 63 --keep-fd 62 -- diff <(echo a) <(echo b); echo $?");
        // The test's shell is root's, and so are its pipes: to an ordinary user they are a stranger's, by name.
        if caller.user.is_none() {
            assert_eq!(two.stdout(), "1c1\n< a\n---\n> b\n1\n", "{two:?}");
        }
        let whole = typed(caller, "pent -q --keep-fd 63 -- bash -c 'exec cat <&63' bash <(seq 100000) | tail -1");
        assert_eq!(whole.stdout(), "100000\n", "{whole:?}");
        // A file for reading is read, from where it stands, and not changed.
        let read = typed(
            caller,
            "exec 5<list; read -u 5 x; pent -q --keep-fd 5 -- sh -c 'cat <&5; echo x 2>/dev/null >/dev/fd/5 || echo not written'; cat list",
        );
        assert_eq!(read.stdout(), "two\nnot written\none\ntwo\n", "{read:?}");
        let written = typed(caller, "pent -q --keep-fd 7 -- sh -c 'echo out >&7' 7>out; cat out");
        assert_eq!(written.stdout(), "out\n", "{written:?}");
        let piped = typed(caller, "{ pent -q --keep-fd 7 -- sh -c 'echo out >&7' 7>&1 >/dev/null; } | cat");
        assert_eq!(piped.stdout(), "out\n", "{piped:?}");
        // Those that nobody names stay outside.
        let others = typed(caller, "exec 5<list 6<list; pent -q --keep-fd 6 -- sh -c 'cat <&6; cat <&5'");
        assert_eq!(others.stdout(), "one\ntwo\n", "{others:?}");
        for (line, why) in [
            ("pent --keep-fd 9 -- true", "descriptor 9 is not open"),
            ("pent --keep-fd 9 -- true 9</", "descriptor 9"),
            ("pent --keep-fd 9 -- true 9</proc/self/ns/net", "handle of the kernel's"),
            ("pent --keep-fd 9 -- true 9</proc/version", "the kernel's own files"),
            ("pent --keep-fd 2 -- true", "-keep-fd"),
        ] {
            let refused = typed(caller, line);
            assert!(refused.stderr().contains(why) && !refused.stdout().contains("ran"), "{line}: {refused:?}");
        }
    });
}
