//! `--profile build`, and what is opened by a flag of its own: devices and sockets.
#![forbid(unsafe_code)]

use crate::caller::as_each;
use crate::sandboxed;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What has to be there, and a script for a project directory.
const BUILDS: &[(&str, &str)] = &[
    (
        "/usr/local/go/bin/go",
        "export PATH=/usr/local/go/bin:$PATH GOFLAGS=-mod=mod GOTOOLCHAIN=local; go test ./... && go run .",
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
            let flags = ["-q", "--profile", "build", "--rw", &path, "--workdir", &path];
            let seen = caller.shell(&flags, &format!("set -e; {script}"));
            if seen.code() != 0 {
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

#[test]
fn a_device_is_used_by_its_own_flag_only() {
    sandboxed!();
    // A device that everybody may open and that no sandbox has.
    let Some(device) = ["/dev/fuse", "/dev/net/tun"].into_iter().find(|path| {
        std::fs::metadata(path)
            .is_ok_and(|found| found.file_type().is_char_device() && std::fs::File::open(path).is_ok())
    }) else {
        return crate::support::skip("this machine has neither /dev/fuse nor /dev/net/tun");
    };
    as_each(|caller| {
        let open = format!("exec 3<>{device} && echo OPEN");
        assert!(!caller.shell(&["-q"], &open).stdout().contains("OPEN"));
        for flag in ["--ro", "--rw"] {
            let seen = caller.shell(&[flag, device], &open);
            assert!(seen.stderr().contains(&format!("--device {device}")) && seen.code() == 125, "{seen:?}");
        }
        let seen = caller.shell(&["--device", device], &open);
        assert!(seen.stdout().contains("OPEN"), "as {:?}: {seen:?}", caller.user);
        assert!(seen.stderr().contains("is open to the program"), "it is said: {seen:?}");
        let others = caller.shell(&["-q", "--device", device], "ls /dev/mem /dev/kmsg; chmod 600 \"$0\"; true");
        assert!(others.stderr().contains("/dev/mem"), "{others:?}");
        for (path, hint) in [("/dev/pts", "a directory"), ("/etc/passwd", "not a device"), ("/dev/ptmx", "terminals")] {
            let seen = caller.shell(&["--device", path], "true");
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
        let file = Path::new("/etc/passwd").to_string_lossy().into_owned();
        assert!(caller.shell(&["--socket", &file], "true").stderr().contains("not a UNIX socket"));
    });
}
