//! What a hostile program tries: each asserts on what it got.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each, secrets};
use crate::sandboxed;
use crate::support::{self};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

/// A shell function that tries to read a file in every way there may be, and says so when it could.
const READ: &str = "try() { got=$(cat \"$1\" 2>/dev/null); [ -z \"$got\" ] || echo \"READ $1\"; }; ";

#[test]
fn secrets_cannot_be_read_by_any_path() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.home();
        let mut script = String::from(READ);
        for secret in secrets() {
            script.push_str(&format!("for r in '' /proc/self/root /proc/1/root /proc/$$/root /proc/self/cwd/../../..{home}/../../.. ../../../../../../..; do try \"$r{home}/{secret}\"; done; try ../{secret}; "));
        }
        // By descriptors, and by whatever else has one.
        script.push_str(&format!(
            "for d in /proc/*/fd/* /proc/*/cwd; do try \"$d/{home}/.netrc\"; try \"$d/../.netrc\"; done; "
        ));
        script.push_str(&format!("find /srv /opt /var/lib {home} -xdev -path '*{home}*' -name id_ed25519 2>/dev/null; grep -rs 'is secret' {home}/.. 2>/dev/null --include=.netrc --include=credentials | head -3; echo done"));
        let seen = caller.shell(&[], &script);
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
        // With the home writable, they are hidden as before.
        let seen = caller.shell(&["--rw", &home], &format!("{READ} try ~/.netrc; try ~/.ssh/id_ed25519; mv ~/.config ~/c; try ~/c/gcloud/credentials.db; mv ~/c ~/.config; rm -f ~/.netrc; rmdir ~/.ssh; mv ~/.ssh ~/s; try ~/s/id_ed25519; echo done"));
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
        for secret in secrets() {
            let kept = fs::read_to_string(caller.path(&format!("home/{secret}"))).expect(secret);
            assert_eq!(kept, format!("{secret} is secret\n"));
        }
    });
}

#[test]
fn a_second_path_to_the_home_hides_what_the_first_does() {
    sandboxed!();
    // In a view of the host where the home is mounted once more, and a part of it elsewhere.
    as_each(|caller| {
        let (again, part) = (caller.directory("again"), caller.directory("part"));
        let pent = caller.command(&[
            "--",
            "sh",
            "-c",
            "cat \"$0/notes\"; cat \"$0/.netrc\" \"$0/.ssh/id_ed25519\" \"$1/id_ed25519\"; echo done",
            again.to_str().expect("a path"),
            part.to_str().expect("a path"),
        ]);
        let mut view = std::process::Command::new("unshare");
        let script = "mount --bind \"$0\" \"$1\" && mount --bind \"$0/.ssh\" \"$2\" && shift 2 && exec \"$@\"";
        view.args(["--mount", "sh", "-c", script]).arg(caller.home()).arg(&again).arg(&part);
        view.arg(pent.get_program())
            .args(pent.get_args())
            .current_dir(caller.path("home/project"))
            .env("HOME", caller.home());
        let seen = support::Finish::finish(&mut view);
        let notes = if caller.user.is_some() { "notes\n" } else { "" };
        assert_eq!(seen.stdout(), format!("{notes}done\n"), "{seen:?}");
    });
}

/// Through `/proc/PID` of a view of the host's processes lies all of the host, but for Landlock.
#[test]
fn a_second_procfs_is_hidden() {
    sandboxed!();
    as_each(|caller| {
        let again = caller.directory("chroot/proc");
        let whole = caller.path("chroot").to_string_lossy().into_owned();
        for flags in [&[][..], &["--ro", &whole], &["--rw", &whole]] {
            let script = "ls \"$0\" | wc -l; cat \"$0\"/*/cmdline; cat \"$0\"/1/environ; true";
            let words = [flags, &["--", "sh", "-c", script, again.to_str().expect("a path")]].concat();
            let pent = caller.command(&words);
            let mut view = std::process::Command::new("unshare");
            view.args(["--mount", "sh", "-c", "mount -t proc proc \"$0\" && exec \"$@\""]).arg(&again);
            view.arg(pent.get_program()).args(pent.get_args()).current_dir(caller.path("home/project"));
            let seen = support::Finish::finish(view.env("HOME", caller.home()));
            assert_eq!(seen.ok().stdout(), "0\n", "{flags:?}");
        }
    });
}

#[test]
fn links_to_secrets_lead_nowhere() {
    sandboxed!();
    as_each(|caller| {
        caller.file("vault/token", "linked is secret\n", 0o644);
        caller.file("vault/keys/k", "linked is secret\n", 0o644);
        std::os::unix::fs::symlink(caller.path("vault/token"), caller.path("home/.vault-token")).expect("a link");
        std::os::unix::fs::symlink(caller.path("vault/keys"), caller.path("home/.password-store")).expect("a link");
        let vault = caller.path("vault");
        let script = format!(
            "cat ~/.vault-token ~/.password-store/k {0}/token {0}/keys/k 2>/dev/null; echo done",
            vault.display()
        );
        caller.shell(&[], &script).ok().prints("done");
    });
}

#[test]
fn homes_of_others_are_hidden() {
    sandboxed!();
    let other = tempfile::Builder::new().prefix("pent-other-").tempdir_in("/home");
    let Ok(other) = other else { return support::skip("there is no /home to put another home in") };
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    fs::write(other.path().join("diary"), "private\n").expect("a file");
    fs::set_permissions(other.path().join("diary"), fs::Permissions::from_mode(0o644)).expect("open to all");
    as_each(|caller| {
        let script = format!("cat {0}/diary; ls -A {0} /root; echo done", other.path().display());
        let seen = caller.shell(&[], &script);
        assert!(!seen.stdout().contains("private") && !seen.stdout().contains("diary"), "{seen:?}");
        assert!(seen.stdout().ends_with("done\n"), "{seen:?}");
    });
}

#[test]
fn root_s_files_are_closed_to_root_s_programs() {
    sandboxed!();
    let caller = Caller::new(None);
    // Anybody's way to it is open, but it is root's.
    caller.file("elsewhere/key", "only root\n", 0o600);
    caller.file("home/project/own", "of the project\n", 0o600);
    let script = format!(
        "cat own; cat {}; cat /etc/shadow; cat /proc/kcore | head -c 1; echo done",
        caller.path("elsewhere/key").display()
    );
    let seen = caller.shell(&[], &script);
    assert_eq!(seen.trimmed(), "done", "nobody typed that it may: {seen:?}");
    assert!(seen.stderr().contains("--ro . or --rw . gives it root's files"), "{seen:?}");
    for flags in [["--ro", "."], ["--rw", "."]] {
        let seen = caller.shell(&flags, &script);
        assert_eq!(seen.trimmed(), "of the project\ndone", "{seen:?}");
        assert!(!seen.stderr().contains("note:"), "{seen:?}");
    }
    // A directory that lets nobody pass, on the way to what is granted: what else is in it stays unseen.
    caller.file("closed/app/run", "#!/bin/sh\nls -A ..\n", 0o755);
    caller.file("closed/beside", "only root\n", 0o644);
    fs::set_permissions(caller.path("closed"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let mut command = caller.command(&["--", "./run"]);
    command.current_dir(caller.path("closed/app"));
    support::Finish::finish(&mut command).ok().prints("app");
    // Where nobody is let in, there is nothing to see, and that is said.
    let mut command = caller.command(&["--", "sh", "-c", "pwd; ls -A; ls -A ~; cat beside"]);
    let seen = support::Finish::finish(command.current_dir(caller.path("closed")));
    assert_eq!(seen.trimmed(), caller.path("closed").to_string_lossy(), "{seen:?}");
    assert!(seen.stderr().contains("closed is closed to others, and so empty for the program: --ro ."), "{seen:?}");
    let mut command = caller.command(&["--ro", ".", "--", "cat", "beside"]);
    support::Finish::finish(command.current_dir(caller.path("closed"))).ok().prints("only root");
    // No file on the host gets a set-user-id bit that somebody else could use as root.
    let seen = caller.shell(&["--rw", "."], "cp /bin/sh ./sh && chmod u+s ./sh || echo refused; ./sh -p -c 'id -u'");
    assert_eq!(seen.trimmed(), "refused\n65534", "{seen:?}");
    // One that is there already gives nothing.
    fs::set_permissions(caller.path("home/project/sh"), fs::Permissions::from_mode(0o4755)).expect("a mode");
    let seen = caller.shell(&["--rw", "."], "./sh -p -c 'id -u'");
    assert_eq!(seen.trimmed(), "65534", "{seen:?}");
    caller.left_nothing();
}

#[test]
fn nothing_can_be_mounted_unmounted_or_entered() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.home();
        let script = format!(
            "for c in 'umount {home}/.ssh' 'umount -l {home}/.netrc' 'umount /tmp' 'mount -o remount,rw /' 'mount -t tmpfs t /mnt' \
             'mount --bind /usr /mnt' 'mount -t proc p /proc' 'unshare -Ur true' 'unshare -m true' 'chroot / true' \
             'nsenter -t 1 -m true' 'nsenter -t 1 -U true' 'mknod /tmp/n c 1 3' 'hostname other' 'date -s 2000-01-01' \
             'dmesg' 'swapon /tmp/s' 'sysctl -w kernel.hostname=x' 'ip link add d type dummy' 'setpriv --reuid 0 true'; do \
             $c >/dev/null 2>&1 && echo \"DID $c\"; done; cat ~/.netrc 2>/dev/null; echo done"
        );
        let seen = caller.shell(&[], &script);
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
    });
}

#[test]
fn the_first_process_cannot_be_used() {
    sandboxed!();
    as_each(|caller| {
        let script = "for f in environ mem maps exe fd/0 root/etc cwd/etc; do cat /proc/1/$f >/dev/null 2>&1 && echo READ $f; ls /proc/1/$f/ >/dev/null 2>&1 && echo LISTED $f; done; \
                      kill -9 1; kill -TERM 1; kill -STOP 1; sleep 0.2; ls /proc/1/fd 2>/dev/null | wc -l; echo alive";
        let seen = caller.shell(&[], script);
        assert_eq!(seen.trimmed(), "0\nalive", "{seen:?}");
    });
}

#[test]
fn descriptors_of_the_caller_do_not_come_in() {
    sandboxed!();
    as_each(|caller| {
        let pent = caller.command(&["--", "sh", "-c", "ls /proc/self/fd | sort -n | head -20 | tr '\\n' ' '; cat <&7"]);
        let mut shell = std::process::Command::new("bash");
        let secret = caller.path("home/.netrc");
        let script = format!("exec 7<{} 8</ 9</etc; exec \"$@\"", secret.display());
        shell.args(["-c", &script, "bash"]).arg(pent.get_program()).args(pent.get_args());
        shell.current_dir(caller.path("home/project")).env("HOME", caller.home()).stdin(std::process::Stdio::null());
        let seen = support::Finish::finish(&mut shell);
        assert!(!seen.stdout().contains("secret"), "{seen:?}");
        assert!(seen.stdout().starts_with("0 1 2 3 "), "three and ls's own: {seen:?}");
        assert!(!seen.stdout().contains(" 7 "), "{seen:?}");
    });
}

#[test]
fn sockets_of_services_are_hidden() {
    sandboxed!();
    as_each(|caller| {
        let path = caller.directory("service").join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open to all");
        let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1]); print('connected')\nexcept OSError as e: print('refused')";
        caller.run(&["--", "python3", "-c", script, path.to_str().expect("a path")]).ok().prints("refused");
        // A service that only takes messages, as those of logs do.
        let path = caller.path("service/messages");
        let taken = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open to all");
        taken.set_nonblocking(true).expect("not to wait");
        let script = "import socket, sys\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', sys.argv[1])";
        caller.run(&["-q", "--", "python3", "-c", script, path.to_str().expect("a path")]).exits(1);
        assert!(taken.recv(&mut [0]).is_err(), "something has arrived");
    });
}

/// The kernel has the name that a socket was bound by, and a table for each network namespace.
#[test]
fn sockets_of_relative_names_and_other_networks_are_hidden() {
    sandboxed!();
    as_each(|caller| {
        let service = "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('socket')\nos.chmod('socket', 0o777)\ns.listen()\nprint('ready', flush=True)\nos.read(0, 1)";
        let mut command = std::process::Command::new("setpriv");
        let user = caller.user.unwrap_or(0);
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]);
        command.args(["unshare", "--map-root-user", "--net", "python3", "-c", service]);
        command.current_dir(caller.directory("service")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut service = command.spawn().expect("a service");
        let mut ready = [0; 6];
        service.stdout.take().expect("its output").read_exact(&mut ready).expect("ready");
        let path = caller.path("service/socket");
        let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1]); print('connected')\nexcept OSError as e: print('refused')";
        caller.run(&["--", "python3", "-c", script, path.to_str().expect("a path")]).ok().prints("refused");
        drop(service.stdin.take());
        service.wait().expect("its end");
    });
}

#[test]
fn the_host_s_kernel_files_are_closed() {
    sandboxed!();
    as_each(|caller| {
        // What is masked is the null device.
        let script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches /sys/kernel/uevent_helper /proc/self/oom_score_adj; do \
                      [ $f = /proc/self/oom_score_adj ] || [ -c $f ] || { echo 1 2>/dev/null >$f && echo WROTE $f; }; done 2>/dev/null; \
                      ls -A /sys | wc -l; ls /dev | tr '\\n' ' '; head -c 1 /dev/vda /dev/sda /dev/mem /dev/kmsg 2>/dev/null; echo done";
        let seen = caller.shell(&[], script).ok().stdout();
        assert!(!seen.contains("WROTE"), "{seen}");
        assert!(seen.starts_with("0\n"), "{seen}");
        // As with runc, a link only where it leads somewhere.
        let core = ["core"].into_iter().filter(|_| Path::new("/proc/kcore").exists());
        for device in core.chain(["fd", "full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"]) {
            assert!(seen.contains(&format!("{device} ")), "{device}: {seen}");
        }
        for device in ["vda", "sda", "kvm", "fuse", "mem", "kmsg", "net", "loop"] {
            assert!(!seen.contains(&format!("{device} ")), "{device}: {seen}");
        }
    });
}

#[test]
fn a_name_like_an_option_is_a_program_s() {
    sandboxed!();
    as_each(|caller| {
        caller.run(&["--", "echo", "--net", "host", "-m", "1"]).ok().prints("--net host -m 1");
        assert!(!Path::new("/srv/pent-was-here").exists());
    });
}
