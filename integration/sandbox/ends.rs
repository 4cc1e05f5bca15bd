//! How a sandbox ends, and that nothing is left then.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each, said};
use crate::sandboxed;
use crate::support::{self, Finish as _, seconds, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn exit_statuses_are_the_program_s_own() {
    sandboxed!();
    as_each(|caller| {
        for status in [0, 1, 7, 124, 125, 255] {
            assert_eq!(caller.shell(&[], &format!("exit {status}")).code(), status);
        }
        caller.shell(&[], "kill -9 $$").exits(137);
        caller.shell(&[], "kill -TERM $$").exits(143);
        caller.run(&["--", "no-such-program"]).exits(127).says("no-such-program").says("hint: ");
        caller.run(&["--", "./no-such-program"]).exits(127).says("./no-such-program");
        caller.run(&["--", "./data"]).exits(126).says("./data");
        caller.run(&["--", "/usr"]).exits(126);
        caller.file("home/project/no-interpreter", "#!/no/such/interpreter\n", 0o755);
        caller.run(&["--", "./no-interpreter"]).exits(127);
        caller.file("home/project/garbage", "\u{1}garbage", 0o755);
        caller.run(&["--", "./garbage"]).exits(126);
    });
}

#[test]
fn running_out_of_memory_is_told() {
    sandboxed!();
    let caller = Caller::new(None);
    if !support::has_controller("memory") {
        return support::skip("the host has no cgroup controller memory");
    }
    let script = "x = bytearray(200 << 20)";
    let seen = caller.run(&["-q", "-m", "64M", "--", "python3", "-c", script]).exits(137);
    assert!(seen.stderr().contains("out of memory: limit 64M, peak 6"), "{seen:?}");
    let killed = caller.shell(&["-q", "-m", "64M"], "kill -9 $$").exits(137);
    assert!(!killed.stderr().contains("out of memory"), "{killed:?}");
    caller.left_nothing();
}

/// A sandbox in the background that has started, with a word on its command line that nothing else has.
fn background(caller: &Caller, flags: &[&str], script: &str) -> (Child, String) {
    let started = caller.path("started");
    let ready = fs::File::create(&started).expect("a file");
    // Of this call: other tests look for theirs at the same time.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let word = format!("{}{:04}", std::process::id() + 100_000, NEXT.fetch_add(1, Ordering::Relaxed));
    let script = format!("echo up; {script} # {word}");
    let mut command = caller.command(&[flags, &["--", "sh", "-c", &script]].concat());
    let child = command.stdout(ready).stderr(Stdio::null()).spawn().expect("a sandbox");
    wait_until("the program runs", seconds(20), || support::read(&started).contains("up"));
    (child, word)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("a signal");
}

#[test]
fn signals_go_to_the_program() {
    sandboxed!();
    as_each(|caller| {
        for (sent, script, status) in [
            (Signal::SIGTERM, "sleep 100 & wait", 143),
            (Signal::SIGINT, "trap 'exit 9' INT; sleep 100 & wait", 9),
            (Signal::SIGHUP, "trap 'exit 8' HUP; sleep 100 & wait", 8),
        ] {
            let (mut child, _) = background(caller, &[], script);
            signal(&child, sent);
            let ended = child.wait().expect("its end");
            assert_eq!(ended.code(), Some(status), "{sent}");
        }
    });
}

/// As at a terminal: a shell waits for its children to end of what is typed.
#[test]
fn what_is_typed_is_for_all_of_a_command() {
    sandboxed!();
    as_each(|caller| {
        let (mut child, _) = background(caller, &[], "exec bash -c 'sleep 100; sleep 100'");
        signal(&child, Signal::SIGINT);
        wait_until("it has ended", seconds(10), || child.try_wait().expect("its state").is_some());
        assert_eq!(child.wait().expect("its end").code(), Some(130));
        // Stopped, with whoever waits for it, and going on.
        let (mut child, word) = background(caller, &[], "sleep 2; exit 7");
        let state = |pid: i32| {
            let stat = support::read(format!("/proc/{pid}/stat"));
            stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).unwrap_or('?')
        };
        let states = |wanted: char| {
            let programs = support::processes_of(&word).into_iter().filter(|(_, line)| line.starts_with("sh "));
            programs.map(|(pid, _)| pid).chain([child.id().cast_signed()]).all(|pid| state(pid) == wanted)
        };
        assert!(Caller::processes(&word) > 0);
        signal(&child, Signal::SIGTSTP);
        wait_until("it has stopped", seconds(10), || states('T'));
        signal(&child, Signal::SIGCONT);
        assert_eq!(child.wait().expect("its end").code(), Some(7));
    });
}

/// What `state` tells of a sandbox is what holds for the program, not for pent's init, which has no filter.
#[test]
fn its_posture_is_the_program_s() {
    sandboxed!();
    as_each(|caller| {
        // An orphan, which the init inherits, is not the program.
        let (mut child, _) = background(caller, &[], "(sleep 100 & ); sleep 100; true");
        let mut state = caller.command(&[]);
        let mut args: Vec<_> = state.get_args().map(std::ffi::OsStr::to_owned).collect();
        args.truncate(args.iter().position(|arg| arg == "sandbox").expect("the verb"));
        args.extend(["state", "--posture", &format!("sandbox-{}", child.id())].map(Into::into));
        let environment: Vec<_> =
            state.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        state = std::process::Command::new(state.get_program());
        let is = state.args(args).env_clear().envs(environment).finish().ok().json()["posture"].clone();
        let pid = is["pid"].as_i64().expect("the program's process id");
        let status = support::read(format!("/proc/{pid}/status"));
        assert!(status.starts_with("Name:\tsh\n") && status.contains("Seccomp:\t2\n"), "{status}");
        assert_eq!(is["seccomp"]["mode"], "filter", "{is:#}");
        assert_eq!((&is["noNewPrivs"], &is["capabilities"]["bounding"]), (&true.into(), &serde_json::json!([])));
        assert_eq!((&is["namespaces"]["user"], &is["namespaces"]["pid"]), (&"own".into(), &"own".into()), "{is:#}");
        assert_eq!(is["init"]["seccomp"]["mode"], "disabled");
        assert_eq!((&is["init"]["noNewPrivs"], &is["unread"]), (&true.into(), &serde_json::Value::Null));
        signal(&child, Signal::SIGTERM);
        child.wait().expect("its end");
    });
}

#[test]
fn what_it_leaves_running_ends_with_it() {
    sandboxed!();
    as_each(|caller| {
        let word = format!("{}", 2_000_000 + std::process::id());
        let daemon = format!(
            "(setsid setsid nohup sh -c 'trap \"\" TERM HUP INT; sleep 100; : {word}' >/dev/null 2>&1 &) ; sleep 0.2; echo gone"
        );
        caller.shell(&[], &daemon).ok().prints("gone");
        wait_until("the daemon has ended", seconds(5), || Caller::processes(&word) == 0);
    });
}

#[test]
fn orphans_are_reaped() {
    sandboxed!();
    as_each(|caller| {
        let script =
            "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 &' &); done; sleep 0.6; cat /proc/[0-9]*/stat | grep -c ' Z '";
        caller.shell(&[], script).exits(1).prints("0");
    });
}

#[test]
fn it_dies_with_pent() {
    sandboxed!();
    as_each(|caller| {
        // The program asks not to be killed, as far as it can.
        let script = "trap '' TERM HUP INT QUIT; python3 -c 'import ctypes, time; ctypes.CDLL(None).prctl(1, 0); time.sleep(100)' & wait; sleep 100";
        let (mut child, word) = background(caller, &[], script);
        assert!(Caller::processes(&word) > 0);
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        wait_until("the program has ended", seconds(5), || {
            support::processes_of(caller.path("").file_name().expect("a name").to_str().expect("a name")).is_empty()
                && Caller::processes(&word) == 0
        });
        // What a killed pent could not put away, the next one does.
        assert!(!caller.leftovers().is_empty());
        caller.run(&["--", "true"]).ok();
        caller.left_nothing();
    });
}

#[test]
fn it_dies_with_the_process_that_started_it() {
    sandboxed!();
    as_each(|caller| {
        let started = caller.path("parent");
        let word = format!("{}", 3_000_000 + std::process::id());
        let pent = caller.command(&["--", "sh", "-c", &format!("trap '' TERM HUP; echo up; sleep 100; : {word}")]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "\"$@\" & wait; :", "sh"]).arg(pent.get_program()).args(pent.get_args());
        shell.current_dir(caller.path("home/project")).env("HOME", caller.home()).stdin(Stdio::null());
        shell.stdout(fs::File::create(&started).expect("a file")).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("a shell");
        wait_until("the program runs", seconds(20), || support::read(&started).contains("up"));
        shell.kill().expect("SIGKILL");
        shell.wait().expect("its end");
        wait_until("the program has ended", seconds(5), || Caller::processes(&word) == 0);
        caller.left_nothing();
    });
}

#[test]
fn streams_are_passed_on() {
    sandboxed!();
    as_each(|caller| {
        let mut command = caller.command(&["--ro", ".", "--", "sh", "-c", "cat; echo error >&2"]);
        let seen = command.finish_with("typed\n").ok();
        assert_eq!((seen.stdout().as_str(), said(&seen).as_str()), ("typed\n", "error\n"));
        // A pipe that the program closes is closed.
        let mut child =
            caller.command(&["--", "sh", "-c", "exec >&-; sleep 1"]).stdout(Stdio::piped()).spawn().expect("a sandbox");
        let begun = std::time::Instant::now();
        let mut text = String::new();
        let mut out = child.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut out, &mut text).expect("read");
        let closed_after = begun.elapsed();
        child.wait().expect("its end");
        assert!(closed_after < begun.elapsed(), "pent holds the pipe open");
    });
}
