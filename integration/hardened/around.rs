//! Ways round what a profile says: other names of what it is about, and other means to the same end.
#![forbid(unsafe_code)]

use super::held::{held, run};
use crate::loot::Loot;
use crate::support::{Bundle, Container, Finish as _};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// A bundle with a mount of the host's `source`.
fn mounting(name: &str, source: &str, options: &[&str]) -> Bundle {
    let mount = json!({ "destination": "/mnt", "type": "bind", "source": source, "options": options });
    Bundle::new(name).push("/mounts", mount)
}

#[test]
fn what_is_forbidden_is_not_had_by_a_link_to_it() {
    held!();
    let mut loot = Loot::new(&[]);
    let secret = "the host's secret";
    for by in ["link to it", "link above it", "link in the bundle", "the rule has the link"] {
        let bundle = Bundle::new("linked");
        fs::write(bundle.dir("forbidden").join("secret"), secret).expect("a secret");
        let path = |name: &str| bundle.path().join(name);
        let mut forbidden = path("forbidden");
        let mut source = path("link").to_string_lossy().into_owned();
        match by {
            "link above it" => {
                symlink(bundle.path(), path("link")).expect("a link");
                source += "/forbidden";
            }
            "link in the bundle" => {
                symlink(path("forbidden"), path("link")).expect("a link");
                source = "link".into();
            }
            "the rule has the link" => {
                symlink(path("forbidden"), path("link")).expect("a link");
                source = path("forbidden").to_string_lossy().into_owned();
                forbidden = path("link");
            }
            _ => symlink(path("forbidden"), path("link")).expect("a link"),
        }
        let keys = format!("version = 1\n[filesystem]\nforbidden_sources = [{forbidden:?}]\n");
        let profile = bundle.file("forbids.toml", &keys).to_string_lossy().into_owned();
        let mount = json!({ "destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "ro"] });
        let container = Container::new(bundle.push("/mounts", mount).shell("cat /mnt/secret"));
        assert!(container.run().stdout().contains(secret), "without the profile the attack works: {by}");
        let held = run(&container, &profile);
        loot.take_if(held.stdout().contains(secret) || !held.stderr().contains("forbidden"), || {
            format!("{by}: {held:?}")
        });
    }
    loot.must_be_empty();
}

#[test]
fn what_is_allowed_by_its_own_name_is_had_by_links_too() {
    held!();
    let bundle = Bundle::new("allowed");
    fs::write(bundle.dir("data").join("file"), "the data").expect("a file");
    symlink(bundle.path().join("data"), bundle.path().join("link")).expect("a link");
    for (listed, source) in [("data", "link"), ("link", "data"), ("link", "link")] {
        let path = |name: &str| bundle.path().join(name);
        let keys = format!("version = 1\n[filesystem]\nsources = [{:?}]\n", path(listed));
        let profile = bundle.file("allows.toml", &keys).to_string_lossy().into_owned();
        let inner = Bundle::new("inner").push(
            "/mounts",
            json!({ "destination": "/mnt", "type": "bind", "source": path(source), "options": ["bind", "ro"] }),
        );
        let inner = Container::new(inner.remove("/root/readonly").shell("cat /mnt/file"));
        let held = run(&inner, &profile);
        assert!(held.stdout().contains("the data"), "{listed} {source}: {held:?}");
    }
}

#[test]
fn system_directories_of_the_host_are_read_only_under_baseline() {
    held!();
    let mut loot = Loot::new(&[]);
    // Links to them as well.
    let links = tempfile::Builder::new().prefix("links-").tempdir_in("/srv").expect("a directory");
    symlink("/usr/share", links.path().join("share")).expect("a link");
    let link = links.path().join("share").to_string_lossy().into_owned();
    for source in ["/usr/share", "/etc/cron.d", "/etc/pam.d", "/lib/systemd", &link] {
        if fs::metadata(source).is_err() {
            continue;
        }
        let container = Container::new(
            mounting("system", source, &["rbind"])
                .shell("grep ' /mnt rw,' /proc/self/mountinfo && echo WRITABLE; echo looked"),
        );
        let held = run(&container, "baseline");
        assert!(held.stdout().contains("looked"), "{source}: {held:?}");
        loot.take_if(held.stdout().contains("WRITABLE"), || format!("{source}: {held:?}"));
    }
    loot.must_be_empty();
}

#[test]
fn passwords_are_not_had_by_their_backups() {
    held!();
    let mut loot = Loot::new(&[]);
    for source in ["/etc/shadow-", "/etc/gshadow", "/var/run/../../etc/shadow", "/etc/passwd-"] {
        if fs::metadata(source).is_err() {
            continue;
        }
        let bundle = mounting("backup", source, &["bind", "ro"]);
        let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 42 }));
        let container = Container::new(bundle.shell("cat /mnt | wc -c"));
        let held = run(&container, "restricted");
        loot.take_if(!held.stderr().contains("filesystem.sources"), || format!("{source}: {held:?}"));
    }
    loot.must_be_empty();
}

#[test]
fn the_bundle_runs_nothing_outside_by_its_hooks() {
    held!();
    let bundle = Bundle::new("hook");
    let mark = bundle.path().join("ran").to_string_lossy().into_owned();
    let hook = json!({ "path": "/bin/touch", "args": ["touch", mark] });
    let bundle =
        bundle.set("/hooks/createRuntime", json!([hook])).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = Container::new(bundle.shell("true"));
    let held = run(&container, "restricted");
    assert!(held.stderr().contains("rule hooks"), "{held:?}");
    assert!(fs::metadata(&mark).is_err(), "the hook was run");
}

/// What the program is called is a wish for a profile, also where none can be called so.
#[test]
fn a_name_that_is_no_profile_s_makes_no_container() {
    held!();
    let container = Container::new(Bundle::new("called").shell("echo RAN"));
    for name in ["pent-", "pent-../x", "/usr/bin/pent-", "pent-no-such"] {
        let call = container.run_command(&[]);
        let mut named = Command::new("/bin/bash");
        named.args(["-c", "exec -a \"$0\" \"$@\"", name]).arg(call.get_program()).args(call.get_args());
        let outcome = named.finish();
        assert!(
            !outcome.stdout().contains("RAN") && outcome.stderr().contains("no profile is called"),
            "{name}: {outcome:?}"
        );
    }
}

/// In a mount namespace of its own, where /etc/pent is a directory in memory.
fn with_config(container: &Container, script: &str) -> crate::support::Outcome {
    let call = container.run_command(&[]);
    let mut whole = Command::new("unshare");
    let script = format!("mount -t tmpfs none /etc\n{script}\nexec \"$@\"");
    whole.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"]);
    whole.arg(call.get_program()).args(call.get_args()).finish()
}

#[test]
fn a_configuration_that_leads_nowhere_is_not_none() {
    held!();
    let container = Container::new(Bundle::new("dangling").shell("echo RAN"));
    assert!(with_config(&container, "").stdout().contains("RAN"), "without a file there is no profile");
    for script in [
        "mkdir /etc/pent; ln -s /nowhere /etc/pent/config.toml",
        "ln -s /nowhere /etc/pent",
        "touch /etc/pent",
        "mkdir -p /etc/pent/config.toml",
        "mkdir /etc/pent; mkfifo /etc/pent/config.toml",
        "mkdir /etc/pent; ln -s config.toml /etc/pent/config.toml",
    ] {
        let outcome = with_config(&container, script);
        assert!(!outcome.stdout().contains("RAN"), "{script}: {outcome:?}");
        assert!(outcome.stderr().contains("/etc/pent/config.toml"), "{script}: {outcome:?}");
    }
}
