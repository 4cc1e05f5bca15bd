//! `--image`: what runs in something else than the host's files, and how it wants to be run.
#![forbid(unsafe_code)]

use crate::caller::{Caller, as_each};
use crate::report::cured;
use crate::sandboxed;
use crate::support::{self, Finish as _};
use serde_json::{Value, json};
use sha2::Digest as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

const APPLETS: [&str; 12] = ["sh", "cat", "echo", "env", "id", "ls", "mkdir", "pwd", "sleep", "touch", "true", "wc"];

/// A root file system of busybox, whose program `/bin/app` tells how it was run.
fn rootfs(caller: &Caller, name: &str) -> String {
    let root = caller.directory(name);
    for directory in ["bin", "dev", "etc", "home/app", "proc", "srv/data", "tmp"] {
        caller.directory(&format!("{name}/{directory}"));
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists()).expect("busybox");
    support::copy_program(busybox, root.join("bin/busybox"));
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("an applet");
    }
    caller.file(
        &format!("{name}/etc/passwd"),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        0o644,
    );
    caller.file(&format!("{name}/etc/group"), "app:x:1000:\nstaff:x:50:\n", 0o644);
    // Two callers' images are not the same.
    caller.file(&format!("{name}/etc/hostname"), &caller.home(), 0o644);
    caller.file(
        &format!("{name}/bin/app"),
        "#!/bin/sh\necho \"app $* in $(pwd) as $(id -u):$(id -g) with $A, HOME=$HOME\"\n",
        0o755,
    );
    root.to_string_lossy().into_owned()
}

/// How `app` wants to be run.
fn config() -> Value {
    json!({
        "Env": ["PATH=/bin", "A=b c"], "User": "app:staff", "WorkingDir": "/srv/made/for it",
        "Entrypoint": ["/bin/app", "--first"], "Cmd": ["usual"]
    })
}

const AS_IT_WANTS: &str = "app --first usual in /srv/made/for it as 1000:50 with b c, HOME=/home/app";

fn digest(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar(directory: &str, archive: &str) {
    Command::new("tar").args(["-C", directory, "-cf", archive, "."]).finish().ok();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An OCI layout with the tag `v1`: its directory.
fn layout(caller: &Caller, name: &str, layer: &[u8], stored: &[u8], kind: &str) -> String {
    let blob = |bytes: &[u8]| {
        caller.file(&format!("{name}/blobs/sha256/{}", digest(bytes)), "", 0o644);
        fs::write(caller.path(&format!("{name}/blobs/sha256/{}", digest(bytes))), bytes).expect("a blob");
        json!({ "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() })
    };
    let described = |kind: &str, mut blob: Value| {
        blob["mediaType"] = json!(format!("application/vnd.oci.image.{kind}"));
        blob
    };
    let config = json!({ "architecture": "amd64", "os": "linux", "config": config(),
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(layer))] } });
    let manifest = json!({ "schemaVersion": 2,
        "config": described("config.v1+json", blob(config.to_string().as_bytes())),
        "layers": [described(&format!("layer.v1.tar{kind}"), blob(stored))] });
    let mut entry = described("manifest.v1+json", blob(manifest.to_string().as_bytes()));
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    caller.file(&format!("{name}/index.json"), &json!({ "schemaVersion": 2, "manifests": [entry] }).to_string(), 0o644);
    caller.file(&format!("{name}/oci-layout"), r#"{ "imageLayoutVersion": "1.0.0" }"#, 0o644);
    caller.path(name).to_string_lossy().into_owned()
}

/// What `docker save` writes.
fn saved(caller: &Caller, layer: &[u8], archive: &str) {
    let config = json!({ "config": config(), "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(layer))] } });
    let config = config.to_string();
    let name = format!("{}.json", digest(config.as_bytes()));
    let list = json!([{ "Config": name, "RepoTags": ["demo:latest"], "Layers": ["1/layer.tar"] }]);
    caller.file(&format!("saved/{name}"), &config, 0o644);
    caller.file("saved/manifest.json", &list.to_string(), 0o644);
    caller.file("saved/1/layer.tar", "", 0o644);
    fs::write(caller.path("saved/1/layer.tar"), layer).expect("a layer");
    tar(&caller.path("saved").to_string_lossy(), archive);
}

/// Runs the test as root and as an ordinary user; what was unpacked for it goes.
fn with_images(test: impl Fn(&Caller)) {
    as_each(|caller| {
        test(caller);
        for id in kept(caller) {
            cache(caller, &["rm", &id]).ok();
        }
    });
}

/// The ids of what is in the cache of this caller's files; root's cache is the machine's.
fn kept(caller: &Caller) -> Vec<String> {
    let listed = cache(caller, &["ls", "--format", "json"]).ok().stdout();
    let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
    let own = caller.path("").to_string_lossy().into_owned();
    let text = |entry: &Value, key: &str| entry[key].as_str().expect(key).to_owned();
    listed.iter().filter(|entry| text(entry, "source").starts_with(&own)).map(|entry| text(entry, "id")).collect()
}

/// `pent cache …` of the caller's.
fn cache(caller: &Caller, args: &[&str]) -> support::Outcome {
    caller.command_of("cache", args).finish()
}

#[test]
fn every_form_of_an_image_runs_as_it_wants() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let at = |name: &str| caller.path(name).to_string_lossy().into_owned();
        tar(&root, &at("rootfs.tar"));
        let layer = fs::read(at("rootfs.tar")).expect("the archive");
        let gzip = gzip(&layer);
        let zstd = zstd(&layer);
        let oci = layout(caller, "oci", &layer, &gzip, "+gzip");
        let other = layout(caller, "oci-zstd", &layer, &zstd, "+zstd");
        tar(&oci, &at("oci.tar"));
        saved(caller, &layer, &at("saved.tar"));
        for image in [
            oci.clone(),
            format!("oci:{oci}:v1"),
            format!("oci:{other}"),
            at("oci.tar"),
            at("saved.tar"),
            format!("docker-archive:{}:demo:latest", at("saved.tar")),
        ] {
            caller.run(&["--image", &image]).ok().prints(AS_IT_WANTS);
            let own = AS_IT_WANTS.replace("usual", "my own");
            caller.run(&["--image", &image, "--", "my", "own"]).ok().prints(&own);
            caller.run(&["--image", &image, "--entrypoint", "echo", "--", "--last"]).ok().prints("--last");
        }
        fs::write(at("rootfs.tar.gz"), &gzip).expect("an archive");
        fs::write(at("rootfs.tar.zst"), &zstd).expect("an archive");
        for image in [root.clone(), format!("dir:{root}"), at("rootfs.tar"), at("rootfs.tar.gz"), at("rootfs.tar.zst")]
        {
            caller
                .run(&["--image", &image, "--env", "A=b", "--", "app", "x"])
                .ok()
                .prints("app x in / as 0:0 with b, HOME=/");
            caller.run(&["--image", &image]).exits(125).says("does not say what to run");
        }
        // What is the same is kept once, however it is packed: by its manifest, configuration or content.
        let ids = kept(caller);
        assert_eq!(ids.len(), 4, "{ids:?}");
        cache(caller, &["rm", &ids[0][..12]]).ok().prints(&ids[0]);
        assert_eq!(kept(caller), ids[1..]);
    });
}

#[test]
fn nothing_of_the_host_is_seen_and_nothing_of_the_image_changed() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let home = caller.home();
        let script = format!(
            "ls -d /usr /etc/shadow /root {home} /sys/kernel; cat /etc/passwd | wc -l; touch /new /etc/passwd /bin/app; touch /tmp/x && echo scratch; exit 0"
        );
        let seen = caller.run(&["--image", &root, "--", "sh", "-c", &script]).ok();
        assert_eq!(seen.stdout(), "2\nscratch\n", "{seen:?}");
        assert_eq!(seen.stderr().matches("Read-only file system").count(), 3, "{seen:?}");
        assert!(
            !caller.path("root/new").exists() && fs::read_dir(caller.path("root/tmp")).expect("tmp").next().is_none()
        );
        let environment = caller.run(&["--image", &root, "--", "env"]).ok();
        assert!(!environment.stdout().contains("SECRET") && !environment.stdout().contains(&home), "{environment:?}");
        // A mount point that an image lacks is not made in it.
        fs::remove_dir(caller.path("root/proc")).expect("the directory");
        caller
            .run(&["--image", &root, "--", "true"])
            .exits(125)
            .says("there is no directory /proc in it")
            .says("mkdir");
        assert!(!caller.path("root/proc").exists());
    });
}

#[test]
fn what_is_granted_is_without_credentials_here_too() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let home = caller.home();
        let script = "cat /srv/data/notes /srv/data/project/data; cat /srv/data/.ssh/id_ed25519 /srv/data/.netrc; echo x >/srv/data/project/new && echo written";
        let seen = caller.run(&["--image", &root, "--rw", &format!("{home}:/srv/data"), "--", "sh", "-c", script]).ok();
        assert_eq!(seen.stdout(), "notes\ndata\nwritten\n", "{seen:?}");
        assert_eq!(support::read(caller.path("home/project/new")), "x");
        // Where there is nothing to mount on, the message says where there is.
        let refused = caller.run(&["--image", &root, "--ro", ".", "--", "true"]).exits(125);
        let hint = format!("--ro {home}/project:/tmp/project");
        refused.says(&format!("there is no {home}/project to mount on, and the image is read-only")).says(&hint);
        let (flag, value) = hint.split_once(' ').expect("a flag");
        caller.run(&["--image", &root, flag, value, "--", "cat", "/tmp/project/data"]).ok().prints("data");
        caller
            .run(&[
                "--image",
                &root,
                "--tmpfs",
                "/srv/data",
                "--workdir",
                "/srv/data",
                "--",
                "sh",
                "-c",
                "touch a && pwd",
            ])
            .ok()
            .prints("/srv/data");
        caller
            .run(&["--image", &root, "--home", "tmpfs", "--env", "HOME=/x", "--", "sh", "-c", "echo $HOME"])
            .ok()
            .prints("/x");
    });
}

#[test]
fn an_image_in_use_stays_in_the_cache() {
    sandboxed!();
    with_images(|caller| {
        let archive = caller.path("rootfs.tar").to_string_lossy().into_owned();
        tar(&rootfs(caller, "root"), &archive);
        let mut running = caller.command(&["--image", &archive, "--", "sh", "-c", "echo begun; sleep 3021"]);
        let mut running = running.stdout(std::process::Stdio::piped()).spawn().expect("a sandbox");
        let mut begun = [0; 6];
        running.stdout.take().expect("a pipe").read_exact(&mut begun).expect("it begins");
        let ids = kept(caller);
        assert_eq!(ids.len(), 1, "{ids:?}");
        cache(caller, &["rm", &ids[0]]).exits(1).says("in use by a running sandbox");
        if caller.user.is_some() {
            cache(caller, &["rm", "--all"]).ok().says("in use by a running sandbox");
        }
        assert_eq!(kept(caller), ids);
        running.kill().expect("kill");
        running.wait().expect("wait");
        support::wait_until("it is gone", support::seconds(10), || Caller::processes("sleep 3021") == 0);
        cache(caller, &["rm", &ids[0]]).ok().prints(&ids[0]);
        caller.run(&["--image", &archive, "--", "true"]).ok();
    });
}

#[test]
fn what_is_damaged_or_hostile_runs_nothing_and_leaves_nothing() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let archive = caller.path("rootfs.tar").to_string_lossy().into_owned();
        tar(&root, &archive);
        let layer = fs::read(&archive).expect("the archive");
        let oci = layout(caller, "oci", &layer, &layer, "");
        let blob = format!("{oci}/blobs/sha256/{}", digest(&layer));
        let mut broken = layer.clone();
        *broken.iter_mut().rfind(|byte| **byte == b'#').expect("a script") = b'X';
        fs::write(&blob, &broken).expect("a blob");
        caller.run(&["--image", &oci]).exits(125).says("sha256");
        fs::write(&blob, &layer[..layer.len() / 2]).expect("a blob");
        caller.run(&["--image", &oci]).exits(125);
        // Names that lead out.
        let hostile = caller.path("hostile.tar").to_string_lossy().into_owned();
        caller.file("evil", "evil\n", 0o644);
        let above = caller.path("");
        let mut pack = Command::new("tar");
        pack.current_dir(&above).args([
            "-P",
            "--transform",
            "s,^evil,../../../../evil-was-here,",
            "-cf",
            &hostile,
            "evil",
        ]);
        pack.finish().ok();
        caller.run(&["--image", &hostile, "--", "true"]).exits(125).says("leads out of the image");
        for nothing in ["no-such-file", "oci:no-such-dir:v1"] {
            caller.run(&["--image", nothing, "--", "true"]).exits(125).says("No such file");
        }
        caller.run(&["--image", "data", "--", "true"]).exits(125).says("neither a directory nor a tar archive");
        assert!(kept(caller).is_empty());
        let left = fs::read_dir(caller.path("home/.cache/pent/images")).into_iter().flatten().flatten();
        let left: Vec<_> =
            left.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy() != "notes").collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

/// Names in an image are the image's; the terminal is the caller's.
/// As an archive is made of a temporary directory, and by a caller who keeps files private.
#[test]
fn an_image_runs_whatever_its_root_lets_others_do() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let archive = |name: &str, members: &str| {
            let path = caller.path(name).to_string_lossy().into_owned();
            Command::new("sh").args(["-c", &format!("cd {root} && tar -cf {path} {members}")]).finish().ok();
            path
        };
        let bare = archive("bare.tar", "bin/* etc/passwd");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("closed");
        let closed = archive("closed.tar", ".");
        for image in [bare, closed] {
            let usual = caller.command(&["--image", &image, "--", "cat", "/etc/passwd"]);
            let mut command = Command::new("sh");
            command.args(["-c", "umask 077 && exec \"$@\"", "sh"]).arg(usual.get_program()).args(usual.get_args());
            command.env_clear().envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.finish().ok();
        }
    });
}

#[test]
fn an_image_says_nothing_to_the_terminal() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let evil = "/bin/\u{1b}]0;owned\u{7}no-such";
        let seen = caller.run(&["--image", &root, "--", evil]).exits(127);
        assert!(seen.stderr().contains(r"\u{1b}]0;owned\u{7}no-such"), "{seen:?}");
        assert!(!seen.stderr().contains(['\u{1b}', '\u{7}']), "{seen:?}");
        // A place to mount on is not looked for where a link leads.
        fs::remove_dir(caller.path("root/proc")).expect("removed");
        std::os::unix::fs::symlink("/etc", caller.path("root/proc")).expect("a link");
        let archive = caller.path("linked.tar").to_string_lossy().into_owned();
        tar(&root, &archive);
        let seen = caller.run(&["--image", &archive, "--", "true"]).exits(125);
        assert!(seen.stderr().contains("its /proc is not a directory") && !seen.stderr().contains("mkdir"), "{seen:?}");
    });
}

#[test]
fn programs_that_are_not_there_or_run_as_nobody_known() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        caller.run(&["--image", &root, "--", "no-such-program"]).exits(127).says("it is not in the image");
        caller.run(&["--image", &root, "--", "/etc/passwd"]).exits(126);
        caller.run(&["--image", &root, "--", "sh", "-c", "exit 42"]).exits(42);
        tar(&root, &caller.path("rootfs.tar").to_string_lossy());
        let layer = fs::read(caller.path("rootfs.tar")).expect("the archive");
        let oci = layout(caller, "oci", &layer, &layer, "");
        // The same image without its table of users.
        fs::write(caller.path("root/etc/passwd"), "").expect("a file");
        tar(&root, &caller.path("rootfs.tar").to_string_lossy());
        let layer = fs::read(caller.path("rootfs.tar")).expect("the archive");
        fs::remove_dir_all(oci).expect("the layout");
        let oci = layout(caller, "oci", &layer, &layer, "");
        caller.run(&["--image", &oci]).exits(125).says("\"app\" is not a user of the image's /etc/passwd");
    });
}

/// Whoever the image's program is: root's sandbox knows no other id than that one.
#[test]
fn a_network_of_named_hosts_is_there_for_every_user_of_an_image() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let seen = caller.run(&["--image", &root, "--net", "example.org:80", "--", "sh", "-c", "echo $http_proxy"]);
        assert!(seen.ok().stdout().starts_with("http://"));
    });
}

#[test]
fn the_report_names_flags_that_help() {
    sandboxed!();
    with_images(|caller| {
        let root = rootfs(caller, "root");
        let more = cured(caller, &["--image", &root], "read-only", "echo x >/srv/data/new && mkdir /srv/data/dir");
        assert_eq!(more, "--tmpfs /srv/data");
        // A file of the image is not written to, whatever is given.
        let seen = caller.run(&["--image", &root, "--report", "--", "sh", "-c", "echo x >>/etc/group"]);
        assert_ne!(seen.code(), 0);
        seen.says("--rw FILE:PATH");
        let copy = caller.file("group", "mine\n", 0o666).to_string_lossy().into_owned();
        caller
            .run(&["--image", &root, "--rw", &format!("{copy}:/etc/group"), "--", "sh", "-c", "echo x >>/etc/group"])
            .ok();
        assert_eq!(support::read(&copy), "mine\nx");
    });
}

#[test]
fn an_unpacked_image_belongs_to_nobody_else() {
    sandboxed!();
    with_images(|caller| {
        let archive = caller.path("rootfs.tar").to_string_lossy().into_owned();
        tar(&rootfs(caller, "root"), &archive);
        let seen = caller.run(&["--image", &archive, "--", "ls", "-ln", "/bin/busybox"]).ok().stdout();
        assert_eq!(seen.split_whitespace().skip(2).take(2).collect::<Vec<_>>(), ["0", "0"], "{seen}");
        if caller.user.is_none() {
            return;
        }
        let dir = caller.path("home/.cache/pent/images");
        assert_eq!(fs::metadata(&dir).expect("the cache").permissions().mode() & 0o077, 0, "closed to others");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("open");
        let refused = caller.run(&["--image", &archive, "--", "true"]).exits(125);
        refused.says("others may write to the cache").says("chmod 700");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("closed");
    });
}
