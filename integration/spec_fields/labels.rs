//! process.apparmorProfile, process.selinuxLabel and linux.mountLabel: what the kernel says, and what it stops. Each needs its
//! security module, which the virtual machine has (`integration/vm`).
#![forbid(unsafe_code)]

use crate::support::{Bundle, Finish as _, lacks, privileged, read, skip};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A profile that is loaded until it is dropped: everything is allowed but writing to /tmp/denied.
struct Profile {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Profile {
    fn load(bundle: &Bundle, suffix: &str) -> Self {
        let name = format!("{}{suffix}", bundle.id);
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n file,\n capability,\n network,\n signal,\n \
             ptrace,\n mount,\n umount,\n pivot_root,\n unix,\n userns,\n change_profile -> *,\n deny /tmp/denied w,\n}}\n"
        );
        let file = tempfile::NamedTempFile::new().expect("a file for the profile");
        fs::write(&file, text).expect("the profile");
        let profile = Self { name, file };
        profile.parser("--replace").finish().ok();
        profile
    }

    fn parser(&self, action: &str) -> Command {
        let mut command = Command::new("apparmor_parser");
        command.args([action, "--skip-cache"]).arg(self.file.path());
        command
    }

    fn enforced(&self) -> String {
        format!("{} (enforce)", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove").finish();
    }
}

macro_rules! apparmor {
    () => {
        privileged!();
        if !read("/sys/module/apparmor/parameters/enabled").starts_with('Y') {
            return skip("the host has no AppArmor");
        }
    };
}

macro_rules! selinux {
    () => {
        privileged!();
        if !Path::new("/sys/fs/selinux/status").is_file() {
            return skip("the host has no SELinux");
        }
    };
}

const CONTAINER: &str = "system_u:system_r:container_t:s0:c1,c2";
const FILES: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn confined(name: &str) -> (Bundle, Profile) {
    let bundle = Bundle::new(name).mount("/tmp", "tmpfs", "tmpfs", &[]);
    let profile = Profile::load(&bundle, "");
    let bundle = bundle.set("/process/apparmorProfile", profile.name.as_str());
    (bundle, profile)
}

#[test]
fn an_apparmor_profile_confines_the_container() {
    apparmor!();
    let (bundle, profile) = confined("aa");
    let script = "cat /proc/self/attr/current; echo >/tmp/allowed && echo allowed; echo >/tmp/denied || echo denied";
    let stdout = bundle.shell(script).run().ok().stdout();
    assert_eq!(stdout, format!("{}\nallowed\ndenied\n", profile.enforced()));
}

#[test]
fn an_apparmor_profile_confines_an_ordinary_user_with_no_new_privs_and_a_filter() {
    apparmor!();
    for no_new_privs in [true, false] {
        let (bundle, profile) = confined("aauser");
        let bundle = bundle
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .set("/process/noNewPrivileges", no_new_privs)
            .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
        bundle.args(["cat", "/proc/self/attr/current"]).run().ok().prints(&profile.enforced());
    }
}

#[test]
fn an_apparmor_profile_confines_a_container_in_a_user_namespace_and_execs_there() {
    apparmor!();
    let (bundle, profile) = confined("aauserns");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let bundle = bundle.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.chown(100_000);
    let container = bundle.shell("cat /proc/self/attr/current; sleep 1000").started();
    container.wait_output(&profile.enforced());
    container.exec(["cat", "/proc/self/attr/current"]).ok().prints(&profile.enforced());
}

#[test]
fn exec_has_the_profile_of_the_container_or_its_own() {
    apparmor!();
    let (bundle, profile) = confined("aaexec");
    let other = Profile::load(&bundle, "-other");
    let process = bundle.file(
        "process.json",
        &json!({ "args": ["cat", "/proc/self/attr/current"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "env": ["PATH=/bin"], "apparmorProfile": other.name })
        .to_string(),
    );
    let container = bundle.sleeping().started();
    let look = ["cat", "/proc/self/attr/current"];
    container.exec(look).ok().prints(&profile.enforced());
    container.exec_command(&["--apparmor", &other.name], &look).finish().ok().prints(&other.enforced());
    let process = process.to_str().expect("UTF-8");
    container.exec_command(&["--process", process], &[]).finish().ok().prints(&other.enforced());
    let refused = container.exec_command(&["--apparmor", "pent-test-no-such-profile"], &look).finish();
    assert_ne!(refused.code(), 0, "{refused:?}");
    refused.says("profile").explains("pent-test-no-such-profile").explains("apparmor_parser");
}

#[test]
fn unconfined_is_a_profile_that_confines_nothing() {
    privileged!();
    lacks!("runc" < "never": "unconfined on a host without AppArmor", "crun" < "never": "the same");
    let bundle = Bundle::new("aaunconfined").set("/process/apparmorProfile", "unconfined");
    let outcome = bundle.shell("cat /proc/self/attr/current 2>/dev/null; echo ran").run().ok();
    assert!(outcome.stdout().ends_with("ran\n"), "{outcome:?}");
    if read("/sys/module/apparmor/parameters/enabled").starts_with('Y') {
        outcome.prints("unconfined\nran");
    }
}

#[test]
fn a_profile_that_is_not_loaded_is_refused() {
    apparmor!();
    let container =
        crate::support::Container::new(Bundle::new("aanone").set("/process/apparmorProfile", "no-such-profile"));
    container.run().refused().says("profile").explains("process.apparmorProfile").explains("no-such-profile");
    container.leaves_nothing();
}

#[test]
fn an_apparmor_profile_needs_no_proc_in_the_container() {
    apparmor!();
    lacks!("runc" < "never": "labels without /proc", "crun" < "never": "labels without /proc");
    let (bundle, profile) = confined("aanoproc");
    let bundle = bundle.without_mount("/proc").remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    let container = bundle.sleeping().started();
    assert_eq!(read(format!("/proc/{}/attr/current", container.pid())), profile.enforced());
}

#[test]
fn without_the_security_module_a_label_is_refused() {
    privileged!();
    lacks!("crun" < "never": "a complaint about a label that is not set");
    for (module, member, label) in [
        ("apparmor", "/process/apparmorProfile", "some-profile"),
        ("selinux", "/process/selinuxLabel", CONTAINER),
        ("selinux", "/linux/mountLabel", FILES),
    ] {
        let here = match module {
            "apparmor" => read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            _ => Path::new("/sys/fs/selinux/status").is_file(),
        };
        let container = crate::support::Container::new(Bundle::new("nolsm").set(member, label));
        if !here {
            let path = member[1..].replace('/', ".");
            container.run().refused().explains(module).explains(&path);
            container.leaves_nothing();
        }
    }
}

#[test]
fn an_selinux_label_is_that_of_the_container_and_its_execs() {
    selinux!();
    let bundle = Bundle::new("selinux").set("/process/selinuxLabel", CONTAINER);
    let container = bundle.shell("cat /proc/self/attr/current; sleep 1000").started();
    container.wait_output(CONTAINER);
    let seen = |text: String| text.trim_end_matches('\0').trim().to_owned();
    assert_eq!(seen(container.exec(["cat", "/proc/self/attr/current"]).ok().stdout()), CONTAINER);
    let other = "system_u:system_r:container_t:s0:c3,c4";
    let exec = container.exec_command(&["--process-label", other], &["cat", "/proc/self/attr/current"]).finish().ok();
    assert_eq!(seen(exec.stdout()), other);
}

#[test]
fn a_mount_label_is_that_of_new_filesystems() {
    selinux!();
    let bundle =
        Bundle::new("mountlabel").set("/linux/mountLabel", FILES).mount("/tmp", "tmpfs", "tmpfs", &["size=1m"]);
    let mounts = bundle.shell("touch /tmp/file; grep -E ' /(tmp|dev|proc) ' /proc/mounts").run().ok().stdout();
    let line = |target: &str| mounts.lines().find(|line| line.contains(&format!(" {target} "))).unwrap_or_default();
    for target in ["/tmp", "/dev"] {
        assert!(line(target).contains(&format!("context=\"{FILES}\"")), "{target}: {mounts}");
    }
    assert!(!line("/proc").contains("context="), "{mounts}");
}
