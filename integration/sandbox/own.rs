//! What one run leaves for the next: pent's own files are out of reach under every grant, and nothing that was forged
//! is believed.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each, has_sandboxes};
use crate::sandboxed;
use crate::support::{self, Bundle, Container, Finish as _, Outcome};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A view of the host with /run, /tmp, /var/cache and /etc/pent of its own, in which `script` is run as root, in the
/// project. There, `pent` is the caller's, who has no state directory but the default one; `as_caller` runs anything
/// else as the caller.
fn view(caller: &Caller, script: &str) -> Outcome {
    let pent = caller.command(&[]);
    let words: Vec<String> = std::iter::once(pent.get_program())
        .chain(pent.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let at = words.iter().position(|word| word == "--root").expect("a state directory");
    let (program, as_caller) = words[..at].split_last().expect("a program");
    let as_caller = as_caller.join(" ");
    let script = format!(
        "set -e
         mount --make-rprivate /
         for d in /run /var/cache; do mount -t tmpfs -o mode=755 t $d; done
         mount -t tmpfs -o mode=1777 t /tmp
         mkdir /tmp/up /tmp/work
         mount -t overlay -o lowerdir=/etc,upperdir=/tmp/up,workdir=/tmp/work o /etc
         mount --move /tmp /mnt && mount -t tmpfs -o mode=1777 t /tmp
         set +e
         export D={state} CANARY={canary}
         pent() {{ {as_caller} {program} \"$@\"; }}
         as_caller() {{ {as_caller} \"$@\"; }}
         {script}",
        state = state(caller),
        canary = caller.path("home/canary").display(),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).current_dir(caller.path("home/project")).env_clear();
    command.env("HOME", caller.home()).env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").finish()
}

/// The default state directory.
fn state(caller: &Caller) -> String {
    caller.user.map_or("/run/pent".to_owned(), |user| format!("/tmp/pent-{user}"))
}

/// The directory above it, which somebody may grant.
fn above(caller: &Caller) -> &'static str {
    if caller.user.is_some() { "/tmp" } else { "/run" }
}

/// A container that has ended, whose poststop hook makes the canary.
fn forged(caller: &Caller, id: &str, cgroup: &Value) -> (String, String) {
    let state = json!({ "ociVersion": "1.3.0", "configVersion": "1.0.2", "id": id, "init": { "pid": i32::MAX, "start_time": 1 },
        "bundle": "/", "rootfs": "/", "created": "2026-11-23T20:05:09.504989602Z", "owner": caller.user.unwrap_or(0),
        "cgroup": cgroup, "poststop": true });
    let hook = format!("touch {}", caller.path("home/canary").display());
    let config = json!({ "hooks": { "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] } });
    (state.to_string(), config.to_string())
}

/// A script that makes it in the directory $1.
fn forge(caller: &Caller, id: &str) -> String {
    let (state, config) = forged(caller, id, &json!({ "places": [] }));
    format!(
        "mkdir -p $1/{id}; chmod 700 $1 $1/{id}; echo '{state}' > $1/{id}/state.json; echo '{config}' > $1/{id}/config.json"
    )
}

#[test]
fn forged_state_is_neither_made_nor_believed() {
    sandboxed!();
    as_each(|caller| {
        let (above, forge) = (above(caller), forge(caller, "sandbox-1999999999"));
        let name = state(caller).replace(above, "");
        // Straight on, at another place, and by another path to it.
        for (flags, seen_at) in [
            (format!("--rw {above}"), above),
            (format!("--rw {above}:/mnt"), "/mnt"),
            ("--rw /media".to_owned(), "/media"),
            ("--rw /media:/mnt".to_owned(), "/mnt"),
        ] {
            for before in ["true", "as_caller mkdir -m 700 $D"] {
                let script = format!(
                    "mount --bind {above} /media; {before}
                     pent sandbox {flags} -- sh -c 'set -- {seen_at}{name}; mv $1 $1.away; rmdir $1; rm -rf $1; {forge}' 2>/dev/null
                     pent sandbox -- true; pent list -q; ls -A $D; ls {above}; [ -e $CANARY ] && echo FORGED; echo done"
                );
                let seen = view(caller, &script);
                let text = seen.stdout();
                assert!(!text.contains("FORGED") && !text.contains("sandbox-1999999999"), "{flags}: {seen:?}");
                assert!(!text.contains(".away") && text.ends_with("done\n"), "{flags}: {seen:?}");
            }
        }
    });
}

#[test]
fn sweeping_runs_no_hook_and_kills_nobody() {
    sandboxed!();
    as_each(|caller| {
        // As if a mask had failed: it is there.
        let forge = forge(caller, "sandbox-1999999999");
        let seen = view(
            caller,
            &format!(
                "export forge='{}'; as_caller sh -c 'umask 077; mkdir -p $D; set -- $D; eval \"$forge\"' sh
                 pent sandbox -- true; ls -A $D; [ -e $CANARY ] && echo FORGED; echo done",
                forge.replace('\'', "'\\''")
            ),
        );
        assert_eq!(seen.ok().stdout(), "done\n");
        // Not what somebody else could have written, and no other name.
        let seen = view(
            caller,
            "as_caller mkdir -m 700 -p $D; for id in sandbox-1999999999 sandbox-01 sandbox-x sandbox--1; do as_caller mkdir -m 777 $D/$id; done
             as_caller mkdir -m 700 $D/sandbox-1999999998; pent sandbox -- true; ls -A $D | tr '\\n' ' '",
        );
        assert_eq!(seen.ok().stdout(), "sandbox--1 sandbox-01 sandbox-1999999999 sandbox-x ");
    });
}

/// An intent, or a state, names the cgroup of another.
#[test]
fn sweeping_leaves_the_cgroups_of_others_alone() {
    sandboxed!();
    as_each(|caller| {
        let mut other = caller.command(&["--", "sleep", "60"]).spawn().expect("a sandbox");
        let id = format!("sandbox-{}", other.id());
        let file = caller.path(&format!("state/{id}/state.json"));
        support::wait_until("it runs", support::seconds(10), || {
            fs::read(&file).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok())
        });
        let theirs: Value = serde_json::from_slice(&fs::read(&file).expect("its state")).expect("JSON");
        let cgroup = theirs.get("cgroup").cloned().unwrap_or(json!({ "places": [] }));
        for (index, name) in ["state.json", "intent.json"].iter().enumerate() {
            let id = format!("sandbox-199999999{index}");
            let (state, _) = forged(caller, &id, &cgroup);
            let text = if *name == "state.json" { state } else { cgroup.to_string() };
            caller.file(&format!("state/{id}/{name}"), &text, 0o600);
            let directory = caller.path(&format!("state/{id}"));
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("a mode");
        }
        caller.run(&["--", "true"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(other.try_wait().expect("its status").is_none(), "the other sandbox was ended");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(other.id().cast_signed()), nix::sys::signal::Signal::SIGTERM)
            .expect("a signal");
        other.wait().expect("its end");
        for index in 0..2 {
            drop(fs::remove_dir_all(caller.path(&format!("state/sandbox-199999999{index}"))));
        }
    });
}

#[test]
fn environments_of_other_sandboxes_are_not_seen() {
    sandboxed!();
    as_each(|caller| {
        let above = above(caller);
        let script = format!(
            "pent sandbox --env PASSWORD=hunter2 -- sleep 10 & sleep 1
             [ -n \"$(grep -rl configVersion $D)\" ] || echo NOTHING THERE
             grep -rs hunter2 $D
             mount --bind {above} /media
             for flags in '--ro {above}' '--rw {above}' '--ro {above}:/mnt' '--ro /media' '--rw /media:/mnt' '--ro /media --tmpfs /tmp'; do
               pent sandbox $flags -- grep -rs configVersion $D /tmp /run /mnt /media; done
             kill $!; wait; echo done"
        );
        let seen = view(caller, &script);
        assert_eq!(seen.stdout(), "done\n", "{seen:?}");
    });
}

#[test]
fn directories_above_cannot_be_renamed() {
    sandboxed!();
    as_each(|caller| {
        let home = caller.home();
        let forge =
            "mv ~/.cache ~/.c; rm -rf ~/.cache; mkdir -p ~/.cache/pent/images/forged; echo x > ~/.cache/pent/forged";
        let forgery = |below: &str| caller.path("home").join(below).join("forged");
        if caller.user.is_some() {
            for before in ["home/.cache/keep", "home/.cache/pent/keep"] {
                caller.file(before, "", 0o600);
                caller.shell(&["--rw", &home], forge);
                assert!(!forgery(".cache/pent").exists() && !forgery(".cache/pent/images").exists());
                assert!(caller.path("home/.cache/pent").is_dir() && !caller.path("home/.c").exists());
                fs::remove_dir_all(caller.path("home/.cache")).expect("removed");
            }
            // Where there is none yet, and where the environment has it, by another path to the home.
            let above = caller.path("");
            let cache = caller.path("home/a/b");
            let mut command = caller.command(&[
                "--rw",
                above.to_str().expect("text"),
                "--",
                "sh",
                "-c",
                &format!("{forge}; mv ~/a ~/c; mkdir -p ~/a/b/pent; echo x > ~/a/b/pent/forged"),
            ]);
            command.env("XDG_CACHE_HOME", &cache).finish();
            assert!(!forgery(".cache/pent").exists() && !forgery("a/b/pent").exists());
            assert!(cache.join("pent").is_dir());
            let mode = fs::metadata(cache.join("pent")).expect("made").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        // The state directory that was typed, and all above it.
        let root = caller.path("home/project/st/ate");
        let script = "mv st moved; mkdir -p st/ate/sandbox-1; echo x > st/ate/forged";
        let command = caller.command(&["--rw", ".", "--", "sh", "-c", script]);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let state = caller.path("state").to_string_lossy().into_owned();
        let words: Vec<_> = words
            .iter()
            .map(|word| if *word == state { root.to_string_lossy().into_owned() } else { word.clone() })
            .collect();
        let seen = Command::new(command.get_program())
            .args(&words)
            .current_dir(caller.path("home/project"))
            .env("HOME", &home)
            .finish();
        assert!(
            root.is_dir() && !root.join("forged").exists() && !caller.path("home/project/moved").exists(),
            "{seen:?}"
        );
        assert_eq!(fs::read_dir(&root).expect("the root").count(), 0);
        // What else is there is as writable as before.
        caller
            .shell(
                &["--rw", &home],
                "mkdir -p ~/.cache/tool && echo x > ~/.cache/tool/f && mv ~/.cache/tool ~/.cache/t",
            )
            .ok();
    });
}

#[test]
fn a_link_to_them_cannot_be_replaced() {
    sandboxed!();
    as_each(|caller| {
        if caller.user.is_none() {
            return;
        }
        caller.directory("data");
        symlink(caller.path("data"), caller.path("home/.cache")).expect("a link");
        let home = caller.home();
        caller
            .shell(&["--rw", &home], "true")
            .exits(125)
            .says("home/.cache is a link on the way to pent's cache of images");
        // What is behind it can be given, but for pent's.
        caller.shell(
            &["--rw", caller.path("data").to_str().expect("text")],
            "mkdir -p ~/.cache/pent/images; echo x > ~/.cache/pent/f",
        );
        assert!(caller.path("data/pent").is_dir());
        assert_eq!(fs::read_dir(caller.path("data/pent")).expect("a directory").count(), 0);
        caller.file("home2/.cache", "", 0o600);
        let mut command = caller.command(&["--rw", caller.path("home2").to_str().expect("text"), "--", "true"]);
        command.env("HOME", caller.path("home2")).finish().exits(125).says("home2/.cache/pent");
    });
}

#[test]
fn the_configuration_is_out_of_reach() {
    sandboxed!();
    let caller = Caller::new(None);
    let forge = "mkdir -p /etc/pent/profiles; mv /etc/pent /etc/p; echo version=1 > /etc/pent/profiles/restricted.toml";
    for before in ["true", "mkdir -p /etc/pent/profiles; echo secret > /etc/pent/profiles/x.toml"] {
        let seen = view(
            &caller,
            &format!(
                "rm -rf /etc/pent; {before}; pent sandbox --rw /etc -- sh -c '{forge}; cat /etc/pent/profiles/x.toml' 2>/dev/null
                 pent sandbox -- cat /etc/pent/profiles/x.toml 2>/dev/null
                 find /etc/pent -name restricted.toml; [ -e /etc/p ] && echo MOVED; stat -c %a /etc/pent"
            ),
        );
        assert_eq!(seen.stdout(), "755\n", "{seen:?}");
    }
    caller.left_nothing();
}

#[test]
fn images_are_out_of_reach() {
    sandboxed!();
    as_each(|caller| {
        let root = caller.directory("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "tmp"] {
            caller.directory(&format!("rootfs/{directory}"));
        }
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists()).expect("busybox");
        support::copy_program(busybox, root.join("bin/busybox"));
        symlink("busybox", root.join("bin/sh")).expect("an applet");
        let archive = caller.path("image.tar");
        Command::new("tar").args(["-cf"]).arg(&archive).arg("-C").arg(&root).arg(".").finish().ok();
        chown(&archive, caller.user, caller.user).expect("an owner");
        let (above, cache) = match caller.user {
            None => ("/var/cache".to_owned(), "/var/cache/pent".to_owned()),
            Some(_) => (format!("{}/.cache", caller.home()), format!("{}/.cache/pent", caller.home())),
        };
        let image = archive.display();
        let seen = view(
            caller,
            &format!(
                "pent sandbox --image {image} -- sh -c 'echo as it was'
                 pent sandbox --rw {above} -- sh -c 'cd {cache} && ls -A; for f in {cache}/images/*/root/bin/busybox; do echo forged > $f; done; \
                   echo x > {cache}/images/notes; rm -rf {cache}/images' 2>/dev/null
                 pent sandbox --image {image} -- sh -c 'echo as it was'
                 E=$(ls -d {cache}/images/*/root | head -1)
                 pent sandbox --image $E -- sh -c 'echo ran' 2>&1 | grep -c 'no sandbox reaches'
                 I=$(dirname $E); cp -a $I {cache}/copy; sed -i 's/\"id\": \"..../\"id\": \"0000/' $I/image.json
                 pent sandbox --image {image} -- sh -c 'echo as it was' 2>&1 | grep -o 'it is of another image'
                 rm -rf $I; mv {cache}/copy {caller}/copy; ln -s {caller}/copy $I
                 pent sandbox --image {image} -- sh -c 'echo as it was' 2>&1 | grep -o 'Not a directory'
                 rm -f $I; rm -rf {caller}/copy",
                caller = caller.path("").display(),
            ),
        );
        let want = "as it was\nas it was\n1\nit is of another image\nNot a directory\n";
        assert_eq!(seen.stdout(), want, "{seen:?}");
    });
}

#[test]
fn what_is_typed_there_is_refused() {
    sandboxed!();
    as_each(|caller| {
        let state = caller.path("state").to_string_lossy().into_owned();
        caller.directory("state/inside");
        let inside = format!("{state}/inside");
        let (onto, elsewhere) = (format!("{}:{state}", caller.home()), format!("{state}:/tmp/x"));
        for flags in [
            ["--rw", &state],
            ["--ro", &state],
            ["--ro", &inside],
            ["--ro", &elsewhere],
            ["--ro", &onto],
            ["--tmpfs", &inside],
            ["--workdir", &inside],
            ["--image", &state],
            ["--image", &inside],
        ] {
            let seen = caller.run(&[&flags[..], &["--", "true"]].concat());
            seen.exits(125).says("the state of pent's containers is there, which no sandbox reaches");
        }
        let mut command = caller.command(&["--", "true"]);
        command.current_dir(&inside).finish().exits(125).says("the working directory");
        let mut command = caller.command(&["--", "true"]);
        command.env("HOME", &inside).finish().exits(125).says("HOME");
        fs::remove_dir(&inside).expect("removed");
        // An image whose tree has one.
        for directory in ["dev", "proc", "tmp"] {
            caller.directory(directory);
        }
        caller.file("state/note", "of another\n", 0o644);
        let busybox =
            ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists()).expect("busybox");
        support::copy_program(busybox, caller.path("busybox"));
        let whole = caller.path("").to_string_lossy().trim_end_matches('/').to_owned();
        // Above a home it would be refused for that.
        let homeless = |args: &[&str]| caller.command(args).env("HOME", "/nowhere").finish();
        homeless(&["--image", &whole, "--", "/busybox", "ls", "-A", "/state"]).ok().prints("");
        homeless(&["--image", &whole, "--ro", &whole, "--", "/busybox", "true"]).exits(125);
        let grant = format!("{whole}:/tmp/all");
        homeless(&["--image", &whole, "--ro", &grant, "--", "/busybox", "ls", "-A", "/tmp/all/state"]).ok().prints("");
        fs::remove_file(caller.path("state/note")).expect("removed");
    });
}

#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    sandboxed!();
    as_each(|caller| {
        let other = caller.user.map_or(48_138, |user| user + 1);
        let user = caller.user.unwrap_or(0);
        for plant in [
            format!("mkdir -m 700 $D; chown {other} $D"),
            format!("mkdir $D; chmod 777 $D; chown {user} $D"),
            format!("mkdir -m 700 /tmp/elsewhere; ln -s /tmp/elsewhere $D; chown -h {user} $D /tmp/elsewhere"),
            format!("touch $D; chown {user} $D"),
        ] {
            let script = format!(
                "{plant}
                 for verb in 'sandbox -- touch /tmp/ran' list 'state x' 'delete --force x'; do pent $verb 2>&1 | grep -c 'state directory'; done
                 pent --root $D list 2>&1 | grep -c 'state directory'"
            );
            let seen = view(caller, &script);
            assert_eq!(seen.stdout(), "1\n".repeat(5), "{plant}: {seen:?}");
        }
    });
}

/// A report in the project, which is writable.
fn reported(caller: &Caller, file: &str, script: &str) -> Outcome {
    let flag = format!("--report={file}");
    let mut command = caller.command(&["--rw", ".", &flag, "--", "sh", "-c", script]);
    let seen = command.finish_within(support::seconds(20));
    assert!(!seen.timed_out, "it hangs: {seen:?}");
    seen
}

fn is_report(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_file && fs::read(path).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok())
}

#[test]
fn a_report_replaces_what_an_earlier_run_planted() {
    sandboxed!();
    as_each(|caller| {
        let report = caller.path("home/project/refusals.json");
        let shell = caller.file("home/.bashrc", "# mine\n", 0o644);
        for plant in [
            "ln -s ../.bashrc refusals.json",
            "ln -s \"$HOME/.bashrc\" refusals.json",
            "ln -s \"$HOME/new\" refusals.json",
            "mkfifo refusals.json",
            "mknod refusals.json c 0 0",
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"refusals.json\")'",
        ] {
            drop(fs::remove_file(&report));
            caller.shell(&["--rw", "."], plant);
            // The program says something that a shell would run.
            reported(caller, "refusals.json", "echo x > '/etc/$(touch x)\n touch y\"\\'; exit 1").exits(1);
            assert!(is_report(&report), "{plant}");
            assert_eq!(support::read(&shell), "# mine", "{plant}");
            assert!(!caller.path("home/new").exists(), "{plant}");
            assert_eq!(fs::metadata(&report).expect("a report").permissions().mode() & 0o777, 0o600);
        }
        // Swapped while the program runs: the name, and the directory.
        reported(caller, "refusals.json", "rm -f refusals.json; ln -sf ../.bashrc refusals.json; exit 1").exits(1);
        assert!(is_report(&report));
        caller.directory("home/project/out");
        reported(caller, "out/r.json", "mv out moved; ln -s \"$HOME\" out; exit 1").exits(1);
        assert!(is_report(&caller.path("home/project/moved/r.json")) && !caller.path("home/r.json").exists());
        assert_eq!(support::read(&shell), "# mine");
        // Through the link that is there now.
        let seen = reported(caller, "out/r.json", "touch ran").exits(125);
        seen.says("/project/out is a link");
        assert!(!caller.path("home/project/ran").exists());
        // Nothing else is left.
        let names = fs::read_dir(caller.path("home/project")).expect("the project");
        assert!(!names.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".pent")));
    });
}

#[test]
fn a_report_that_cannot_be_written_is_said_first() {
    sandboxed!();
    as_each(|caller| {
        caller.directory("home/project/d");
        for file in ["d", "d/", "missing/r", "data/r", "/dev/null", "/dev/stderr", "/proc/self/r", "."] {
            let seen = reported(caller, file, "touch ran").exits(125);
            assert!(seen.stderr().contains("--report"), "{seen:?}");
            assert!(!caller.path("home/project/ran").exists(), "{file}");
        }
        if caller.user.is_some() {
            reported(caller, "/etc/r", "touch ran").exits(125).says("Permission denied");
        }
        assert!(fs::metadata("/dev/null").expect("null").permissions().mode() & 0o666 == 0o666);
    });
}

#[test]
fn an_earlier_report_is_not_seen() {
    sandboxed!();
    as_each(|caller| {
        let report = caller.path("home/project/r.json");
        caller.file("home/project/r.json", "{\"of\": \"earlier\"}", 0o644);
        let seen = reported(caller, "r.json", "cat r.json; echo forged > r.json; mv r.json s; rm -f r.json; exit 0");
        assert!(!seen.stdout().contains("earlier"), "{seen:?}");
        assert!(is_report(&report) && !support::read(&report).contains("earlier"));
        caller
            .shell(&["--rw", ".", "--rw", "r.json", "--report=r.json"], "true")
            .exits(125)
            .says("the report is there");
    });
}

/// A bundle with a container that ends at once, and the directory of its pid file.
fn container(name: &str) -> (Container, PathBuf) {
    let bundle = Bundle::new(name);
    let directory = bundle.dir("pid");
    (Container::new(bundle), directory)
}

#[test]
fn pid_files_replace_what_was_planted() {
    support::privileged!();
    if !has_sandboxes() {
        return support::skip("others have other files");
    }
    let (container, directory) = container("pid-file");
    let canary = container.bundle.file("canary", "kept");
    let file = directory.join("init.pid");
    for name in [".init.pid", "init.pid"] {
        for plant in ["link", "fifo"] {
            let at = directory.join(name);
            drop(fs::remove_file(&at));
            match plant {
                "link" => symlink(&canary, &at).expect("a link"),
                _ => nix::unistd::mkfifo(&at, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO"),
            }
            let mut command = container.run_command(&["--pid-file"]);
            // Before the id.
            let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            command = Command::new(command.get_program());
            let (id, rest) = words.split_last().expect("an id");
            let seen = command.args(rest).arg(&file).arg(id).finish_within(support::seconds(20));
            assert!(!seen.timed_out, "{name} {plant}: {seen:?}");
            seen.ok();
            assert_eq!(support::read(&canary), "kept", "{name} {plant}");
            assert!(fs::symlink_metadata(&file).expect("a file").is_file(), "{name} {plant}");
            support::read(&file).parse::<u32>().expect("a pid");
        }
    }
    let left = fs::read_dir(&directory).expect("names").flatten().filter(|entry| entry.file_name() != ".init.pid");
    assert_eq!(left.count(), 1);
}

#[test]
fn logs_are_appended_to_files_only() {
    support::privileged!();
    if !has_sandboxes() {
        return support::skip("others have other files");
    }
    let (container, directory) = container("log-file");
    let canary = container.bundle.file("canary", "kept");
    let log = directory.join("log.json");
    let failing = |log: &Path| {
        let mut command = container.runtime.command(["--log"]);
        let seen =
            command.arg(log).args(["--log-format", "json", "state", "nobody"]).finish_within(support::seconds(20));
        assert!(!seen.timed_out, "it hangs: {seen:?}");
        seen
    };
    failing(&log);
    failing(&log);
    assert_eq!(support::read(&log).lines().count(), 2);
    for plant in ["link", "fifo", "directory"] {
        drop(fs::remove_file(&log));
        match plant {
            "link" => symlink(&canary, &log).expect("a link"),
            "fifo" => nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO"),
            _ => fs::create_dir(&log).expect("a directory"),
        }
        let seen = failing(&log);
        assert!(seen.stderr().contains("cannot write log"), "{plant}: {seen:?}");
        assert_eq!(support::read(&canary), "kept", "{plant}");
    }
    // What is shared with the caller has a name.
    let seen = failing(Path::new("/dev/stderr"));
    assert!(seen.stderr().contains("\"level\":\"error\""), "{seen:?}");
}
