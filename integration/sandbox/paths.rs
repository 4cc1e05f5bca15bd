//! Where the paths of flags lead: what one run leaves is no grant for the next, and an image is nothing of the host.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each, secrets};
use crate::sandboxed;
use crate::support::{Finish as _, Outcome};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The command in a mount namespace of its own, after a script of root's, whose `$0` is `first`.
fn in_view(script: &str, first: &Path, pent: &Command) -> Outcome {
    let mut view = Command::new("unshare");
    view.args(["--mount", "sh", "-c", &format!("{script} && exec \"$@\"")]).arg(first);
    view.arg(pent.get_program()).args(pent.get_args());
    for (name, value) in pent.get_envs() {
        if let Some(value) = value {
            view.env(name, value);
        }
    }
    view.current_dir(pent.get_current_dir().expect("a directory")).finish()
}

fn keeps_its_secrets(caller: &Caller) {
    for secret in secrets() {
        let kept = fs::read_to_string(caller.path(&format!("home/{secret}"))).expect(secret);
        assert_eq!(kept, format!("{secret} is secret\n"));
    }
    let keys = fs::read_dir(caller.path("home/.ssh")).expect("a directory").count();
    assert_eq!(keys, 1, "something was written beside the key");
}

#[test]
fn links_of_an_earlier_run_are_no_grants() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.home();
        let plant = "ln -s ~/.ssh build; ln -s ~/.netrc data.txt; ln -s / rootfs; ln -s ~ up; ln -s .. parent; \
                     ln -s /etc/shadow passwords; ln -s \"$(dirname ~)\" above; ln -s build again; mkdir sub; \
                     ln -s ../../.ssh/id_ed25519 sub/key; ln -s ~/.ssh/new absent; ln -s /root others";
        caller.shell(&["--rw", "."], plant).ok();
        let planted = [
            "build",
            "build/id_ed25519",
            "data.txt",
            "rootfs",
            "up",
            "parent",
            "passwords",
            "above",
            "again",
            "sub/key",
            "others",
            "up/.ssh",
            "absent",
        ];
        let read = format!(
            "for f in {home}/.ssh/* {home}/.netrc build/* data.txt sub/key; do cat $f; echo x >>$f; done 2>/dev/null; echo y >{home}/.ssh/authorized_keys; echo ran"
        );
        for path in planted {
            for flag in ["--rw", "--ro", "--tmpfs", "--workdir"] {
                // Others' homes are passed by nobody but root.
                let seen = caller.shell(&[flag, path], &read);
                assert_eq!(seen.code(), 125, "{flag} {path}: {seen:?}");
                assert!(seen.stdout().is_empty(), "{flag} {path}: {seen:?}");
                if path != "others" {
                    assert!(seen.stderr().contains("cannot follow the link"), "{flag} {path}: {seen:?}");
                }
            }
            let inside = format!("sub:{home}/project/{path}");
            let seen = caller.shell(&["--ro", &inside], &read);
            assert_eq!(seen.code(), 125, "{inside}: {seen:?}");
        }
        for path in ["rootfs", "up", "above", "build", "parent"] {
            let seen = caller.run(&["--image", path, "--", "/bin/sh", "-c", &read]);
            assert_eq!((seen.code(), seen.stdout().as_str()), (125, ""), "--image {path}: {seen:?}");
        }
        // The place is named, but no credential is advised.
        let seen = caller.run(&["--rw", "build", "--", "true"]).exits(125);
        assert!(seen.stderr().contains(&format!("{home}/.ssh is hidden")), "{seen:?}");
        assert!(seen.stderr().contains("hint:") && !seen.stderr().contains("--rw /"), "{seen:?}");
        keeps_its_secrets(caller);
    });
}

#[test]
fn links_below_their_directory_are_followed() {
    sandboxed!();
    as_each(|caller| {
        let project = caller.path("home/project");
        caller.directory("home/project/releases/1");
        symlink("releases/1", project.join("current")).expect("a link");
        symlink("data", project.join("latest")).expect("a link");
        caller
            .shell(&["--rw", "current"], "echo new >releases/1/made; echo no >made || cat releases/1/made")
            .ok()
            .prints("new");
        caller
            .shell(&["--ro", "latest", "--tmpfs", "current"], "cat data; touch current/x && ls current")
            .ok()
            .prints("data\nx");
        caller.run(&["--workdir", "current", "--", "pwd"]).ok().prints(&project.join("releases/1").to_string_lossy());
    });
}

/// They are named by where they are, and what they lead to by what it is.
#[test]
fn a_link_elsewhere_is_a_user_s_to_read_and_nobody_s_to_write() {
    sandboxed!();
    as_each(|caller| {
        let elsewhere = caller.directory("elsewhere");
        caller.file("elsewhere/file", "there\n", 0o644);
        symlink(&elsewhere, caller.path("home/project/out")).expect("a link");
        let text = elsewhere.to_string_lossy();
        let seen = caller.shell(&["--rw", "out"], "true").exits(125);
        assert!(seen.stderr().contains(&format!("name the place itself: --rw {text}")), "{seen:?}");
        caller.shell(&["--rw", &text], "cat out/file").ok().prints("there");
        let seen = caller.shell(&["--ro", "out"], "cat out/file");
        match caller.user {
            Some(_) => drop(seen.ok().prints("there")),
            None => drop(seen.exits(125).says("an earlier run could have put the link there")),
        }
        // Private places are none that a link leads to.
        symlink("/run", caller.path("home/project/services")).expect("a link");
        caller.shell(&["--ro", "services"], "true").exits(125).says("cannot follow the link");
    });
}

#[test]
fn links_of_the_system_are_followed() {
    sandboxed!();
    as_each(|caller| {
        if fs::symlink_metadata("/var/run").is_ok_and(|found| found.is_symlink()) {
            caller.shell(&["--tmpfs", "/var/run/cache"], "touch /run/cache/x && ls /run/cache").ok().prints("x");
        }
        if fs::symlink_metadata("/bin").is_ok_and(|found| found.is_symlink()) {
            caller.run(&["--ro", "/bin", "--", "true"]).ok();
        }
        for path in ["/proc/self/cwd", "/proc/self/root", "/dev/fd/0"] {
            let seen = caller.run(&["--ro", path, "--", "true"]).exits(125);
            assert!(seen.stderr().contains(path), "{seen:?}");
        }
    });
}

/// Between the look at a path and the mount, somebody exchanges a directory and a link to keys.
#[test]
fn a_swap_while_the_sandbox_is_made_is_no_grant() {
    sandboxed!();
    as_each(|caller| {
        let (project, home) = (caller.path("home/project"), caller.home());
        caller.directory("home/project/build");
        symlink(caller.path("home/.ssh"), project.join("link")).expect("a link");
        let done = AtomicBool::new(false);
        let swap = || {
            let directory =
                nix::dir::Dir::open(&project, nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty());
            let directory = directory.expect("the project");
            while !done.load(Ordering::Relaxed) {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                nix::fcntl::renameat2(&directory, "build", &directory, "link", flags).expect("an exchange");
            }
        };
        let mut outcomes = [0, 0];
        std::thread::scope(|scope| {
            scope.spawn(swap);
            for round in 0..40 {
                let flag = if round % 2 == 0 { "--rw" } else { "--ro" };
                let script = format!("cat build/id* link/id* {home}/.ssh/id*; echo k >build/authorized_keys; echo ran");
                let seen = caller.shell(&[flag, "build"], &script);
                assert!(!seen.stdout().contains("secret"), "{flag}: {seen:?}");
                outcomes[usize::from(seen.code() == 0)] += 1;
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(outcomes.iter().sum::<i32>() == 40, "{outcomes:?}");
        keeps_its_secrets(caller);
    });
}

#[test]
fn an_image_is_nothing_of_the_host() {
    sandboxed!();
    as_each(|caller| {
        let above = caller.path("");
        let home = caller.home();
        for path in ["/", "/.", "/usr/..", "../../../..", "dir:/", &home, &above.to_string_lossy(), ".."] {
            let seen = caller.run(&["--image", path, "--", "/bin/cat", "/etc/passwd"]);
            assert_eq!((seen.code(), seen.stdout().as_str()), (125, ""), "{path}: {seen:?}");
        }
        let hidden = format!("{home}/.ssh");
        caller.run(&["--image", &hidden, "--", "true"]).exits(125).says("is hidden");
        let again = caller.directory("again");
        let pent = caller.command(&["--image", &again.to_string_lossy(), "--", "/bin/true"]);
        let seen = in_view("mount --bind / \"$0\"", &again, &pent);
        assert!(seen.exits(125).stderr().contains("the host's own root"), "by another name");
    });
}

/// What is hidden on the host is so in a directory that is a root, under every name that it has there.
#[test]
fn what_is_hidden_is_hidden_in_an_image() {
    sandboxed!();
    as_each(|caller| {
        let image = caller.directory("image");
        for directory in ["dev", "proc", "usr", "keys", "etc", "tmp"] {
            caller.directory(&format!("image/{directory}"));
        }
        for name in ["bin", "lib", "lib64", "sbin"] {
            if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
                symlink(target, image.join(name)).expect("a link");
            }
        }
        caller.file("home/.ssh/id_ed25519", "secret\n", 0o644);
        fs::set_permissions(caller.path("home/.ssh"), fs::Permissions::from_mode(0o755)).expect("a mode");
        let script = "cat /keys/id_ed25519 /keys/*; ls -A /keys; echo done";
        let pent = caller.command(&["--image", &image.to_string_lossy(), "--", "/bin/sh", "-c", script]);
        let mounts = format!("mount --bind /usr \"$0/usr\" && mount --bind '{}/.ssh' \"$0/keys\"", caller.home());
        let seen = in_view(&mounts, &image, &pent);
        assert_eq!(seen.trimmed(), "done", "{seen:?}");
    });
}

/// Whatever HOME says, the private directories are the sandbox's own.
#[test]
fn no_home_brings_the_host_s_private_directories_back() {
    sandboxed!();
    let outside = tempfile::Builder::new().prefix("pent-outside-").tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let shm = tempfile::Builder::new().prefix("pent-outside-").tempfile_in("/dev/shm").expect("a file");
    as_each(|caller| {
        let (file, link) = (caller.file("file", "x", 0o644), caller.path("link"));
        symlink("/tmp", &link).expect("a link");
        let homes = [
            "/tmp",
            "/var/tmp",
            "/run",
            "/proc",
            "/proc/1",
            "/dev",
            "/dev/shm",
            "/sys",
            "/",
            "relative",
            "/nonexistent",
            "/run/../tmp",
            "",
        ];
        let homes = homes.map(str::to_owned).into_iter();
        for home in homes.chain([file, link].map(|path| path.to_string_lossy().into_owned())) {
            for how in ["ro", "tmpfs", "none"] {
                let script = format!(
                    "ls -A /tmp /dev/shm | grep pent-outside; [ -e {} ] && echo SEEN; ls /run | grep -v '^systemd$\\|^resolvconf$'; \
                     [ -e /dev/kmsg ] && echo KMSG; cd \"$HOME\" && touch /tmp/x && echo ran",
                    shm.path().display()
                );
                let mut command = caller.command(&["-q", "--home", how, "--", "sh", "-c", &script]);
                let seen = command.env("HOME", &home).finish();
                assert_eq!(seen.trimmed(), "ran", "HOME={home} --home {how}: {seen:?}");
            }
        }
    });
}
