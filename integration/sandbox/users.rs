//! What users met who are neither root of a machine nor logged in on one: no cgroup of their own, other namespaces, other places.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome, seconds};
use std::fs;
use std::process::Command;

/// `unshare FLAGS sh -c SCRIPT`, as root, in which `pent` is this caller's `pent sandbox`.
fn within(caller: &Caller, flags: &[&str], script: &str) -> Outcome {
    let pent = caller.command(&[]);
    let words: Vec<String> = [pent.get_program()]
        .into_iter()
        .chain(pent.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text")))
        .collect();
    let script = format!("pent() {{ {} \"$@\"; }}; {script}", words.join(" "));
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", &script]).env("HOME", caller.home());
    command.current_dir(caller.path("home/project")).finish_within(seconds(60))
}

fn ordinary(test: impl Fn(&Caller)) {
    as_each(|caller| {
        if caller.user.is_some() {
            test(caller);
        }
    });
}

#[test]
fn threads_and_reserved_memory_are_no_memory_in_use() {
    sandboxed!();
    let threads = "import threading, time, mmap\n\
                   reserved = mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n\
                   all = [threading.Thread(target=time.sleep, args=(0.3,)) for _ in range(128)]\n\
                   [t.start() for t in all]; [t.join() for t in all]; print('done')";
    ordinary(|caller| {
        caller.run(&["--", "python3", "-c", threads]).ok().prints("done");
    });
}

#[test]
fn memory_in_use_is_limited_without_a_cgroup() {
    sandboxed!();
    let grown = |script: &str| format!("import os, time\n{script}\ntime.sleep(10); print('UNLIMITED')");
    ordinary(|caller| {
        for script in [
            // At once, bit by bit, by several processes, and in shared pages.
            "a = bytearray(512 << 20)",
            "a = []\nfor i in range(400): a.append(bytearray(1 << 20)); time.sleep(0.002)",
            "for i in range(4):\n  if os.fork() == 0:\n    a = bytearray(40 << 20); time.sleep(10); os._exit(0)",
            "import mmap\na = mmap.mmap(-1, 256 << 20); a.write(b'x' * (256 << 20))",
        ] {
            let seen = caller.run(&["-m", "128M", "--", "python3", "-c", &grown(script)]).exits(137);
            assert!(seen.stderr().contains("pent: limits: memory 128M (in use, looked at by pent)"), "{seen:?}");
            assert!(seen.stderr().contains("pent: out of memory: limit 128M, in use "), "{script}: {seen:?}");
            assert_eq!(seen.stdout(), "", "{seen:?}");
        }
        // What processes share is used once.
        let shared = "import os, time\na = bytearray(80 << 20)\n\
                      for i in range(4):\n  if os.fork() == 0: time.sleep(1); os._exit(0)\n\
                      time.sleep(1.3); print('shared')";
        caller.run(&["-m", "128M", "--", "python3", "-c", shared]).ok().prints("shared");
        let report = caller.run(&["-m", "64M", "--report", "--", "python3", "-c", &grown("a = bytearray(1 << 28)")]);
        assert!(report.stderr().contains("note    out of memory: limit 64M, in use"), "{report:?}");
    });
}

#[test]
fn a_directory_in_memory_is_there_on_and_below_what_is_hidden() {
    sandboxed!();
    as_each(|caller| {
        caller.directory("home/.ssh/deep");
        let ssh = format!("{}/.ssh", caller.home());
        let (below, deep) = (format!("{ssh}/made"), format!("{ssh}/deep"));
        for place in [&ssh, &below, &deep] {
            let script = format!("echo x >{place}/f && cat {place}/f && ls -A {ssh}");
            let seen = caller.shell(&["--tmpfs", &format!("{place}:mode=1777")], &script).ok();
            assert!(seen.stdout().starts_with("x\n") && !seen.stdout().contains("id_"), "{place}: {seen:?}");
        }
        if fs::metadata("/var/log").is_ok_and(|log| log.is_dir()) {
            caller.shell(&["--tmpfs", "/var/log:mode=1777"], "touch /var/log/x && ls /var/log").ok().prints("x");
        }
        // Nothing is opened by it.
        let keys = caller.shell(&["--tmpfs", &below], &format!("cat {ssh}/id_ed25519"));
        assert!(!keys.stdout().contains("secret"), "{keys:?}");
    });
}

#[test]
fn ssh_starts_where_root_has_no_name() {
    sandboxed!();
    if fs::metadata("/etc/ssh/ssh_config.d").is_err() {
        return crate::support::skip("there is no /etc/ssh/ssh_config.d");
    }
    as_each(|caller| {
        let included = caller.file("included", "Compression yes\n", 0o644);
        std::os::unix::fs::chown(&included, Some(0), Some(0)).expect("root's");
        let view = |flags: &str| {
            let line = format!(
                "mount -t tmpfs -o mode=755 none /etc/ssh/ssh_config.d && cp -p {} /etc/ssh/ssh_config.d/50.conf && \
                 pent {flags} -- sh -c 'ls /etc/ssh/ssh_config.d'",
                included.display()
            );
            within(caller, &["--mount"], &line).ok().trimmed().to_owned()
        };
        assert_eq!(view(""), if caller.user.is_some() { "" } else { "50.conf" });
        // Who names it has it.
        assert_eq!(view("--ro /etc/ssh/ssh_config.d"), "50.conf");
    });
}

#[test]
fn it_starts_in_others_namespaces() {
    sandboxed!();
    as_each(|caller| {
        within(caller, &["--cgroup"], "pent -q -- echo started").ok().prints("started");
        within(caller, &["--cgroup", "--pid", "--fork", "--mount-proc"], "pent -q -- echo started")
            .ok()
            .prints("started");
        // Root of a user namespace that has made no mount namespace.
        if caller.user.is_none() {
            within(caller, &["--user", "--map-root-user"], "pent -q -- echo started").ok().prints("started");
            within(caller, &["--user", "--map-root-user", "--cgroup"], "pent -q -- echo x").ok().prints("x");
        }
    });
}

#[test]
fn sandboxes_of_several_pid_namespaces_share_a_directory() {
    sandboxed!();
    as_each(|caller| {
        // All have the same pid.
        let script =
            "for i in $(seq 12); do (unshare --pid --fork --mount-proc sh -c \"$0\" || echo FAILED) & done; wait";
        let pent = caller.command(&["-q", "--", "sleep", "0.3"]);
        let words: Vec<&str> = std::iter::once(pent.get_program())
            .chain(pent.get_args())
            .map(|word| word.to_str().expect("text"))
            .collect();
        let line = format!("{}; exit $?", words.join(" "));
        let mut all = Command::new("sh");
        all.args(["-c", script, &line]).env("HOME", caller.home()).current_dir(caller.path("home/project"));
        let seen = all.finish_within(seconds(60)).ok();
        assert_eq!((seen.stdout(), seen.stderr()), (String::new(), String::new()));
    });
}

#[test]
fn it_starts_on_an_overlay() {
    sandboxed!();
    as_each(|caller| {
        let script = "mount -t tmpfs none \"$HOME/../over\" && cd \"$HOME/../over\" && mkdir -m 777 upper work seen && \
                      mount -t overlay -o \"lowerdir=$HOME/project,upperdir=$PWD/upper,workdir=$PWD/work\" none seen && \
                      cd seen && chmod 777 . && pent --rw . -- sh -c 'echo x >made && cat made data' && ls made";
        caller.directory("over");
        let seen = within(caller, &["--mount"], script);
        if seen.stderr().contains("mount:") {
            return crate::support::skip("no overlay can be mounted here");
        }
        assert_eq!(seen.ok().stdout(), "x\ndata\nmade\n");
    });
}

#[test]
fn a_link_for_tmp_leads_to_a_private_directory() {
    sandboxed!();
    as_each(|caller| {
        // The machine's own /tmp stays: in a root that is bound together.
        caller.directory("real-tmp");
        caller.file("real-tmp/others", "of others\n", 0o644);
        let dir = caller.path("").display().to_string();
        let dir = dir.trim_end_matches('/');
        let script = format!(
            "R={dir}/root; mkdir -p $R && mount -t tmpfs none $R && for d in /*; do \
               case $d in /tmp) ;; *) if [ -L $d ]; then cp -a $d $R$d; elif [ -d $d ]; then mkdir $R$d; mount --rbind $d $R$d; fi;; esac; done; \
             ln -s {dir}/real-tmp $R/tmp; mkdir $R/old; mount --make-rprivate /; cd $R; pivot_root . old && umount -l old 2>/dev/null; \
             cd {dir}/home/project && pent -q -- sh -c 'ls -A /tmp; echo x >/tmp/x && cat /tmp/x'"
        );
        caller.directory("root");
        let seen = within(caller, &["--mount"], &script);
        assert_eq!(seen.ok().stdout(), "x\n");
        assert!(!caller.path("real-tmp/x").exists());
    });
}

#[test]
fn a_stale_runtime_directory_is_nobodys() {
    sandboxed!();
    ordinary(|caller| {
        let pent = caller.command(&[]);
        let program: Vec<_> =
            std::iter::once(pent.get_program()).chain(pent.get_args()).take_while(|word| *word != "--root").collect();
        // A /tmp of its own, as the directory of last resort is there.
        for place in ["/run/user/gone", "/proc"] {
            let mut command = Command::new("unshare");
            command.args([
                "--mount",
                "sh",
                "-c",
                "mount -t tmpfs -o mode=1777 none /tmp && \"$@\" && ls -d /tmp/pent-*",
                "sh",
            ]);
            command.args(&program).args(["sandbox", "-q", "--", "true"]);
            command.env("XDG_RUNTIME_DIR", place).env("HOME", caller.home()).current_dir(caller.path("home/project"));
            assert!(command.finish().ok().stdout().starts_with("/tmp/pent-"), "{place}");
        }
        // Somebody else was there first: nothing of it is believed, and what to do is said.
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o mode=1777 none /tmp && mkdir /tmp/pent-\"$0\" && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, &caller.user.unwrap_or_default().to_string()]).args(&program);
        command.args(["sandbox", "--", "true"]).env_remove("XDG_RUNTIME_DIR").env("HOME", caller.home());
        let seen = command.current_dir(caller.path("home/project")).finish().exits(125);
        assert!(
            seen.stderr().contains("belongs to somebody else") && seen.stderr().contains("pent --root DIR"),
            "{seen:?}"
        );
    });
}

/// As the root of a Docker container is: with all ids and without rights over namespaces.
#[test]
fn a_root_without_rights_is_told_what_to_do() {
    sandboxed!();
    as_each(|caller| {
        if caller.user.is_some() {
            return;
        }
        let pent = caller.command(&["--", "true"]);
        let mut weak = Command::new("setpriv");
        weak.args(["--bounding-set=-sys_admin", "--"]).arg(pent.get_program()).args(pent.get_args());
        let seen = weak.env("HOME", caller.home()).current_dir(caller.path("home/project")).finish().exits(125);
        assert!(seen.stderr().contains("as in a container") && seen.stderr().contains("--user 1000"), "{seen:?}");
        assert!(!seen.stderr().contains("uidMappings") && !seen.stderr().contains("config.json"), "{seen:?}");
        // And where none can be made, why not.
        let none =
            within(caller, &["--user", "--map-root-user"], "echo 0 >/proc/sys/user/max_user_namespaces; pent -- true");
        assert!(none.stderr().contains("max_*_namespaces is reached"), "{none:?}");
    });
}
