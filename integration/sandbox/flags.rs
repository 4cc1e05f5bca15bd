//! Every flag, by what the program then has and has not.
#![forbid(unsafe_code)]

use crate::caller::{as_each, said};
use crate::sandboxed;
use crate::support::{seconds, skip};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

#[test]
fn it_needs_no_flags() {
    sandboxed!();
    as_each(|caller| {
        caller.run(&["--", "./x", "-a", "b"]).ok().prints("x ran with -a b");
        caller.run(&["./x"]).ok().prints("x ran with");
        let seen = caller.shell(&[], "id -u; cat data; pwd; hostname; cat ~/notes; true").ok().stdout();
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[0], caller.user.unwrap_or(65_534).to_string());
        assert_eq!(lines[1..4], ["data", &format!("{}/project", caller.home()), "sandbox"]);
        // Root's own is shown where root says so.
        let notes: &[&str] = if caller.user.is_some() { &["notes"] } else { &[] };
        assert_eq!(lines[4..], *notes);
        caller.shell(&["--ro", &caller.home()], "cat ~/notes").ok().prints("notes");
    });
}

#[test]
fn the_host_is_readonly() {
    sandboxed!();
    as_each(|caller| {
        let script = "for p in ./y ~/y /usr/y /etc/y /var/y /opt/y /y /sys/y /proc/y /srv/y; do echo >$p && echo WROTE $p; done; \
                      for p in data ~/notes /etc/passwd; do echo >>$p && echo WROTE $p; done; mkdir d && echo WROTE d; \
                      rm -f data; chmod 777 data; cat data";
        let seen = caller.shell(&[], script).ok();
        assert_eq!(seen.trimmed(), "data", "{seen:?}");
        assert_eq!(fs::read_to_string(caller.path("home/project/data")).expect("data"), "data\n");
    });
}

#[test]
fn tmp_and_run_are_private() {
    sandboxed!();
    let outside = tempfile::NamedTempFile::new().expect("a file in /tmp");
    as_each(|caller| {
        let script = format!(
            "cat {} && echo READ; ls -A /tmp /run /var/tmp /dev/shm; for d in /tmp /run /var/tmp /dev/shm; do echo >$d/f && echo $d; done; \
             cp /bin/true /tmp/true; /tmp/true && echo EXECUTED",
            outside.path().display()
        );
        let seen = caller.shell(&[], &script);
        assert_eq!(
            seen.trimmed(),
            "/dev/shm:\n\n/run:\n\n/tmp:\n\n/var/tmp:\n/tmp\n/run\n/var/tmp\n/dev/shm",
            "{seen:?}"
        );
    });
}

#[test]
fn the_program_has_no_rights_and_is_alone() {
    sandboxed!();
    as_each(|caller| {
        let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; ls -d /proc/[0-9]* | wc -l; \
                      for n in user pid mnt ipc uts cgroup net time; do readlink /proc/self/ns/$n; done";
        let seen = caller.shell(&[], script).ok().stdout();
        for line in [
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(seen.contains(line), "{line} in {seen}");
        }
        for kind in ["user", "pid", "mnt", "ipc", "uts", "cgroup", "net", "time"] {
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
            assert!(seen.contains(&format!("{kind}:[")), "{kind} in {seen}");
            assert!(!seen.contains(own.to_str().expect("a name")), "{kind} is the host's: {seen}");
        }
    });
}

#[test]
fn there_is_no_network() {
    sandboxed!();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let script = format!(
        "tail -n +3 /proc/net/dev | wc -l; grep -c : /proc/net/route; exec 3<>/dev/tcp/127.0.0.1/{port} && echo CONNECTED"
    );
    as_each(|caller| {
        let seen = caller.run(&["--", "bash", "-c", &script]);
        assert_eq!(seen.trimmed(), "1\n0", "{seen:?}");
        // The host's, when it is asked for.
        let seen = caller.run(&["--net", "host", "--", "bash", "-c", &script]);
        assert!(seen.stdout().contains("CONNECTED"), "{seen:?}");
        caller.run(&["--net", "bridge", "--", "true"]).exits(125).says("--net bridge").says("HOST:PORT");
    });
}

#[test]
fn the_environment_is_clean() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.home();
        let mut command = caller.command(&["--env", "PASSED", "--env", "SET=a=b", "--", "env"]);
        command
            .env("PASSED", "on")
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            .env("LD_PRELOAD", "/evil.so");
        let seen = crate::support::Finish::finish(&mut command).ok().stdout();
        let mut names: Vec<&str> = seen.lines().collect();
        names.sort_unstable();
        let home = format!("HOME={home}");
        let want = [
            home.as_str(),
            "LANG=C.UTF-8",
            "LC_ALL=C",
            "PASSED=on",
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "SET=a=b",
            "TERM=dumb",
            "container=pent",
        ];
        assert_eq!(names, want);
        caller.run(&["--env", "NOT_THERE", "--", "true"]).exits(125).says("--env NOT_THERE");
    });
}

#[test]
fn rw_lets_it_write_there_and_nowhere_else() {
    sandboxed!();
    as_each(|caller| {
        caller
            .shell(&["--rw", "."], "echo new >made && cat made && echo no >../other || echo refused")
            .ok()
            .prints("new\nrefused");
        let made = fs::metadata(caller.path("home/project/made")).expect("the file");
        assert_eq!(
            (made.uid(), made.gid()),
            (caller.user.unwrap_or(0), caller.user.unwrap_or(0)),
            "it is the caller's"
        );
        let file = caller.file("home/one", "1\n", 0o600);
        caller.shell(&["--rw", file.to_str().expect("a path")], "echo 2 >>~/one; cat ~/one").ok().prints("1\n2");
        caller.run(&["--rw", "/", "--", "true"]).exits(125).says("the root as a whole");
        caller.run(&["--rw", "/nonexistent", "--", "true"]).exits(125).says("--rw /nonexistent");
    });
}

#[test]
fn ro_shows_what_is_hidden_or_private() {
    sandboxed!();
    let outside = tempfile::Builder::new().prefix("pent-ro").tempdir().expect("a directory in /tmp");
    fs::write(outside.path().join("f"), "in tmp\n").expect("a file");
    let outside = outside.path().to_str().expect("a path");
    as_each(|caller| {
        let _own = std::os::unix::fs::chown(outside, caller.user, caller.user);
        caller
            .shell(&["--ro", outside], &format!("cat {outside}/f; touch {outside}/g || echo refused"))
            .ok()
            .prints("in tmp\nrefused");
        let ssh = format!("{}/.ssh", caller.home());
        caller.shell(&["--ro", &ssh], "cat ~/.ssh/id_ed25519; cat ~/.netrc").prints(".ssh/id_ed25519 is secret");
        // One file of a hidden directory, and not its neighbours.
        caller.file("home/.docker/key", "neighbour\n", 0o600);
        let one = format!("{}/.docker/config.json", caller.home());
        caller
            .shell(&["--ro", &one], "cat ~/.docker/config.json; ls ~/.docker")
            .ok()
            .prints(".docker/config.json is secret\nconfig.json");
        // Under another name.
        let renamed = format!("{}:/mnt", caller.home());
        caller.shell(&["--ro", &renamed], "cat /mnt/notes; cat /mnt/.ssh/id_ed25519 /mnt/.netrc").prints("notes");
    });
}

#[test]
fn tmpfs_is_memory_with_a_size() {
    sandboxed!();
    as_each(|caller| {
        let script = "echo a >/var/cache/a && cat /var/cache/a; head -c 2M /dev/zero >/var/cache/b || echo full; ls -A /var/cache";
        let seen = caller.shell(&["--tmpfs", "/var/cache:size=1M"], script).ok();
        assert_eq!(seen.trimmed(), "a\nfull\na\nb", "{seen:?}");
        let script = "cp /bin/true /var/cache/true && /var/cache/true && echo executed";
        caller.shell(&["--tmpfs", "/var/cache:exec"], script).ok().prints("executed");
        assert_ne!(caller.shell(&["--tmpfs", "/var/cache"], script).code(), 0);
        caller.shell(&["--tmpfs", "/tmp:size=1M"], "head -c 2M /dev/zero >/tmp/b || echo full").ok().prints("full");
        caller.run(&["--tmpfs", "/opt/not/there", "--", "true"]).exits(125).says("/opt/not/there");
        caller.run(&["--tmpfs", "/var/cache:suid", "--", "true"]).exits(125).says("unknown option");
    });
}

#[test]
fn the_home_is_readonly_in_memory_or_not_there() {
    sandboxed!();
    as_each(|caller| {
        caller.file("home/project/script.sh", "echo \"$HOME\"; cat ~/notes; touch ~/f && echo wrote; ls ~\n", 0o644);
        let home = caller.home();
        let seen = caller.run(&["--home", "tmpfs", "--", "sh", "script.sh"]).ok();
        assert_eq!(seen.trimmed(), format!("{home}\nwrote\nf\nproject"));
        let seen = caller.run(&["--home", "none", "--", "sh", "script.sh"]).ok();
        assert_eq!(seen.trimmed(), format!("{home}\nproject"));
        let seen = caller.run(&["--home", "ro", "--", "sh", "script.sh"]).ok();
        let notes = if caller.user.is_some() { "notes\nnotes\n" } else { "" };
        assert_eq!(seen.trimmed(), format!("{home}\n{notes}project"));
        caller.run(&["--home", "rw", "--", "true"]).exits(125).says("home");
    });
}

#[test]
fn directory_and_name_are_as_asked() {
    sandboxed!();
    as_each(|caller| {
        caller
            .run(&["--workdir", "/usr", "--hostname", "box", "--", "sh", "-c", "pwd; hostname"])
            .ok()
            .prints("/usr\nbox");
        caller.run(&["-w", "/nonexistent", "--", "true"]).exits(125).says("/nonexistent");
    });
}

#[test]
fn limits_hold_and_say_what_enforces_them() {
    sandboxed!();
    as_each(|caller| {
        let flags = ["--ro", ".", "-m", "512M", "--cpus", ".5", "--pids", "64", "--timeout", "60s"];
        let seen = caller.run(&[&flags[..], &["--", "./x"]].concat()).ok();
        let by = if caller.user.is_none() { "; by a cgroup" } else { "(RLIMIT_NPROC)" };
        assert!(seen.stderr().contains("limits: memory 512M") && seen.stderr().contains(by), "{seen:?}");
        assert_eq!(said(&seen).lines().count(), 1, "one line: {seen:?}");
        let quiet = caller.run(&[&flags[..], &["--quiet", "--", "./x"]].concat()).ok();
        assert_eq!(said(&quiet), "", "{quiet:?}");
        // Processes.
        let script = "import os, time\nn = 0\ntry:\n  while n < 100:\n    if os.fork() == 0: time.sleep(100)\n    n += 1\nexcept OSError: pass\nprint(n)";
        caller.run(&["-q", "--pids", "20", "--", "python3", "-c", script]).ok().prints("19");
        // Memory.
        let script = "x = bytearray(200 << 20); print(len(x))";
        assert_ne!(caller.run(&["-q", "-m", "64M", "--", "python3", "-c", script]).code(), 0);
        caller.run(&["-q", "-m", "512M", "--", "python3", "-c", script]).ok();
        caller.run(&["-m", "1k", "--", "true"]).exits(125).says("--memory");
        caller.run(&["--cpus", "many", "--", "true"]).exits(125).says("cpus");
    });
}

/// Many machines let nobody have core files, or many files.
#[test]
fn a_caller_with_lower_limits_is_no_reason_to_fail() {
    sandboxed!();
    as_each(|caller| {
        let pent =
            caller.command(&["-m", "512M", "--pids", "64", "--", "sh", "-c", "ulimit -Hc; ulimit -Hn; ulimit -Hl"]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -c 0 && ulimit -n 256 && ulimit -l 8 && exec \"$@\"", "sh"]);
        shell.arg(pent.get_program()).args(pent.get_args());
        shell.current_dir(caller.path("home/project")).env("HOME", caller.home());
        crate::support::Finish::finish(&mut shell).ok().prints("0\n256\n8");
    });
}

#[test]
fn processors_are_limited_for_those_without_a_cgroup() {
    sandboxed!();
    as_each(|caller| {
        if caller.user.is_none() {
            return;
        }
        if std::thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
            return skip("there is one processor only");
        }
        let script = "import os; print(len(os.sched_getaffinity(0)))\ntry: os.sched_setaffinity(0, range(64)); print('widened')\nexcept OSError: print('kept')";
        caller.run(&["-q", "--cpus", "1", "--", "python3", "-c", script]).ok().prints("1\nkept");
    });
}

#[test]
fn time_runs_out() {
    sandboxed!();
    as_each(|caller| {
        let begun = std::time::Instant::now();
        caller.run(&["--timeout", "300ms", "--", "sleep", "100"]).exits(124).says("timed out after 300ms");
        // Who does not want to hear it is killed.
        caller.shell(&["--timeout", "300ms"], "trap '' TERM; sleep 100 & wait; sleep 100").exits(124).says("timed out");
        assert!(begun.elapsed() < seconds(20));
        caller.run(&["--timeout", "60s", "--", "true"]).ok();
    });
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    sandboxed!();
    as_each(|caller| {
        caller.run(&[]).exits(125).says("no program");
        caller.run(&["--nonsense", "--", "true"]).exits(125).says("nonsense");
        // In the words that were typed, not in those of a configuration that nobody has written.
        for (flags, said) in [
            (&["--tmpfs", "/"][..], "--tmpfs /: the root itself"),
            (&["--tmpfs", "/proc"], "--tmpfs /proc: the sandbox has one of its own"),
            (&["--rw", ".:/proc"], "--rw /proc: the sandbox has one of its own"),
            (&["--rw", ".:relative"], "has to be an absolute path"),
            (&["--ro", "/proc"], "the host's processes cannot be shown"),
            (&["--env", "=x"], "there is no name in it"),
            (&["--hostname", "a\u{1b}b"], "invalid value"),
            (&["--pids", "0"], "is not in 1.."),
            (&["--profile", "none"], "always held to a profile"),
            (&["--entrypoint", "x"], "missing: --image"),
            (&["--report="], "for flag -report: there has to be one"),
            (&["--workdir", "/nonexistent"], "cannot chdir to cwd (\"/nonexistent\"): no such file"),
        ] {
            let seen = caller.run(&[flags, &["--", "true"]].concat()).exits(125);
            assert!(seen.stderr().contains(said) && !seen.stderr().contains("config.json"), "{flags:?}: {seen:?}");
        }
        caller.run(&["--", ""]).exits(125).says("no program to run");
        let mut command = caller.command(&["--", "true"]);
        command.current_dir(caller.path("home/.ssh"));
        crate::support::Finish::finish(&mut command).exits(125).says("working directory").says("--ro");
    });
}
