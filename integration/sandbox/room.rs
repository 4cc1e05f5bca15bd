//! `--profile build`, and what is opened by a flag of its own: devices and sockets.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome};
use std::os::unix::net::UnixListener;
use std::process::Command;

/// What has to be there, and a script for a project directory.
const BUILDS: &[(&str, &str)] = &[
    (
        "/usr/local/go/bin/go",
        "export PATH=/usr/local/go/bin:$PATH GOFLAGS=-mod=mod GOTOOLCHAIN=local; go run . && go test -vet=off ./...",
    ),
    ("/usr/bin/gcc", "echo 'int main(void) { return 0; }' > /tmp/a.c && gcc -o /tmp/a /tmp/a.c && /tmp/a"),
    ("/usr/bin/npm", "npm run it && npm install --offline && test -d $npm_config_cache"),
    ("/usr/bin/fakeroot-sysv", "fakeroot-sysv sh -c 'touch owned && chown 1:1 owned && test $(stat -c %u owned) = 1'"),
    (
        "/usr/bin/python3",
        "/usr/bin/python3 -m venv --without-pip v && v/bin/python -c 'import tempfile; tempfile.mkdtemp()'",
    ),
];

#[test]
fn what_is_built_finds_room_and_is_executed() {
    sandboxed!();
    as_each(|caller| {
        let mut wrong = Vec::new();
        for (program, script) in BUILDS {
            if std::fs::metadata(program).is_err() {
                continue;
            }
            let project = format!("home/build-{}", program.rsplit('/').next().unwrap_or_default());
            caller.directory(&project);
            for (name, content) in [
                ("go.mod", "module x\n\ngo 1.20\n"),
                ("main.go", "package main\n\nfunc main() { println(1) }\n"),
                ("x_test.go", "package main\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { main() }\n"),
                ("package.json", "{ \"name\": \"x\", \"version\": \"1.0.0\", \"scripts\": { \"it\": \"true\" } }\n"),
            ] {
                caller.file(&format!("{project}/{name}"), content, 0o644);
            }
            let path = caller.path(&project).to_string_lossy().into_owned();
            let script = format!("set -e; {script}");
            let flags = ["-q", "--profile", "build", "--rw", &path, "--workdir", &path, "--", "sh", "-c", &script];
            // Compilers take their time: the standard library of Go is built anew.
            let seen = caller.command(&flags).output().expect("pent");
            if !seen.status.success() {
                wrong.push(format!("{program}: {seen:?}"));
            }
        }
        assert!(wrong.is_empty(), "as {:?}:\n{}", caller.user, wrong.join("\n"));
        let room = |flags: &[&str]| caller.shell(flags, "df -k --output=size /tmp | tail -n 1").stdout();
        assert_eq!(room(&["-q", "--profile", "build"]).trim(), "1048576");
        assert_eq!(room(&["-q", "--profile", "build", "--tmpfs", "/tmp:size=1M"]).trim(), "1024");
        assert_eq!(room(&["-q"]).trim(), "65536");
        assert_ne!(
            caller.shell(&["-q"], "cp /bin/true /tmp/t; /tmp/t").code(),
            0,
            "the default executes nothing there"
        );
    });
}

/// A device that is on most machines, and that everybody may open on some.
const DEVICE: &str = "/dev/fuse";

/// A sandbox where everybody may open [`DEVICE`]: in a mount namespace of its own, with a node of its own there.
fn with_device(caller: &Caller, flags: &[&str], script: &str) -> Outcome {
    let args = [flags, &["--", "sh", "-c", script]].concat();
    let call = caller.command(&args);
    let prepare = "mount -t tmpfs none /mnt; mknod /mnt/node c 10 229; chmod 666 /mnt/node; mount --bind /mnt/node /dev/fuse; exec \"$@\"";
    let mut whole = Command::new("unshare");
    whole.args(["--mount", "--propagation", "private", "sh", "-ec", prepare, "sh"]);
    whole.arg(call.get_program()).args(call.get_args()).env_clear();
    whole.envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole.current_dir(caller.path("home/project")).finish()
}

#[test]
fn a_device_is_used_by_its_own_flag_only() {
    sandboxed!();
    if std::fs::metadata(DEVICE).is_err() {
        return crate::support::skip("this machine has no /dev/fuse");
    }
    as_each(|caller| {
        let open = "[ -c /dev/fuse ] && exec 3<>/dev/fuse && echo OPEN";
        assert!(!with_device(caller, &["-q"], open).stdout().contains("OPEN"));
        for flag in ["--ro", "--rw"] {
            let seen = with_device(caller, &[flag, DEVICE], open);
            assert!(seen.stderr().contains("--device /dev/fuse") && seen.code() == 125, "{seen:?}");
        }
        let seen = with_device(caller, &["--device", DEVICE], open);
        assert!(seen.stdout().contains("OPEN"), "as {:?}: {seen:?}", caller.user);
        assert!(seen.stderr().contains("is open to the program"), "it is said: {seen:?}");
        let kept = with_device(
            caller,
            &["-q", "--device", DEVICE],
            "ls /dev/mem /dev/kmsg; chmod 600 /dev/fuse && echo CHANGED",
        );
        assert!(kept.stderr().contains("/dev/mem") && !kept.stdout().contains("CHANGED"), "{kept:?}");
        for (path, hint) in [("/dev/pts", "a directory"), ("/etc/passwd", "not a device"), ("/dev/ptmx", "terminals")] {
            let seen = with_device(caller, &["--device", path], "true");
            assert!(seen.code() == 125 && seen.stderr().contains(hint), "{path}: {seen:?}");
        }
    });
}

#[test]
fn a_socket_is_reached_by_its_own_flag() {
    sandboxed!();
    as_each(|caller| {
        let path = caller.path("home/service.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a flag");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("a mode");
        let name = path.to_string_lossy().into_owned();
        let script = format!(
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{name}\"); print(\"THROUGH\")'"
        );
        let seen = caller.shell(&["--rw", &name], &script);
        assert!(seen.stderr().contains(&format!("--socket {name}")) && seen.code() == 125, "{seen:?}");
        assert!(!caller.shell(&["-q"], &script).stdout().contains("THROUGH"), "it is hidden without the flag");
        let seen = caller.shell(&["--socket", &name], &script);
        assert!(seen.stdout().contains("THROUGH") && seen.stderr().contains("outside of the sandbox"), "{seen:?}");
        assert!(caller.shell(&["--socket", "/etc/passwd"], "true").stderr().contains("not a UNIX socket"));
    });
}
