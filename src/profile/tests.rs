//! Loading and its mistakes, what the shipped profiles hold, and what refusals say.

use super::*;
use crate::seccomp::{Abi, Program, syscalls};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const NOWHERE: &str = "/nonexistent";

fn shipped(name: &str) -> Profile {
    load_from(Path::new(NOWHERE), name).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn host() -> Host {
    Host::of_tests()
}

const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = 0x0005_0000 | 38;

/// The calls of x86-64 that a filter allows with some arguments: those that `rules` narrow are tried with theirs.
fn allowed(filter: &Program) -> BTreeSet<&'static str> {
    let arch = Abi::X86_64.audit_arch();
    let tries = [[0; 6], [1, 0, 0, 0, 0, 0], [0x0001_0100, 0, 0, 0, 0, 0], [0, 0x1000, 0x1000, 0, 0, 0]];
    let is_allowed = |nr| tries.iter().any(|args| filter.verdict(arch, nr, *args) == ALLOW);
    syscalls::on(Abi::X86_64).filter(|(_, nr)| is_allowed(*nr)).map(|(name, _)| name).collect()
}

fn filter(name: &str) -> Program {
    seccomp::compile_for(Abi::X86_64, &shipped(name)).expect("a filter").expect("an allow-list")
}

#[test]
fn shipped_profiles_load_under_their_names_and_extend_each_other() {
    for (name, _) in SHIPPED {
        let profile = shipped(name);
        assert_eq!(profile.name, *name);
        assert!(profile.summary.is_some(), "{name}");
        assert!(profile.seccomp.add.is_none() && profile.seccomp.remove.is_none(), "{name} is not settled");
        assert_eq!(profile.process.no_new_privs, Some(true), "{name}");
    }
    let chain = |name: &str| shipped(name).extends;
    assert_eq!(chain("baseline"), None);
    assert_eq!(chain("restricted").as_deref(), Some("baseline"));
    assert_eq!(chain("python").as_deref(), Some("restricted"));
}

/// How many of the calls of x86-64 each profile allows; a change is meant to be noticed.
#[test]
fn the_number_of_allowed_calls() {
    let counts: Vec<String> =
        SHIPPED.iter().map(|(name, _)| format!("{name} {}", allowed(&filter(name)).len())).collect();
    insta::assert_snapshot!(counts.join("\n"));
}

/// What is taken away at the bottom stays away, however long the chain is.
#[test]
fn a_profile_that_extends_allows_no_more_unless_it_says_so() {
    let restricted = allowed(&filter("restricted"));
    assert!(restricted.is_subset(&allowed(&filter("baseline"))));
    for name in ["offline-compute", "static-binary", "network-service", "nodejs", "python", "jvm"] {
        let more: Vec<_> = allowed(&filter(name)).difference(&restricted).copied().collect();
        assert!(more.is_empty(), "{name}: {more:?}");
    }
    let more: Vec<_> = allowed(&filter("build")).difference(&restricted).copied().collect();
    assert!(more.contains(&"chroot") && more.contains(&"setgroups") && more.contains(&"splice"), "{more:?}");
    assert!(more.contains(&"msgget") && more.contains(&"semget"), "fakeroot: {more:?}");
    assert!(!more.contains(&"mknod") && !more.contains(&"shmat") && !more.contains(&"mq_open"), "{more:?}");
}

#[test]
fn what_is_later_than_the_profile_answers_enosys_and_what_is_known_eperm() {
    let filter = filter("restricted");
    let arch = Abi::X86_64.audit_arch();
    let ask = |name: &str| filter.verdict(arch, syscalls::number(name, Abi::X86_64).expect(name), [0; 6]);
    for (name, nr) in syscalls::on(Abi::X86_64) {
        if syscalls::since(name).is_some_and(|since| since > (6, 7)) {
            let answer = filter.verdict(arch, nr, [0; 6]);
            assert!(matches!(answer, ENOSYS | ALLOW), "{name} {answer:#x}");
        }
    }
    assert_eq!(filter.verdict(arch, 2000, [0; 6]), ENOSYS);
    assert_eq!(ask("clone3"), ENOSYS);
    assert_eq!(ask("bpf"), 0x0005_0001);
    assert_eq!(ask("io_uring_setup"), 0x0005_0001);
    // Foreign ABIs are killed.
    assert_eq!(filter.verdict(Abi::X86.audit_arch(), 1, [0; 6]), 0);
    assert_eq!(filter.verdict(arch, crate::seccomp::X32_BIT, [0; 6]), 0);
}

#[test]
fn the_mode_warn_for_seccomp_logs_and_denies_nothing() {
    let mut profile = shipped("restricted");
    profile.modes.insert(Rule::Seccomp, Mode::Warn);
    let filter = seccomp::compile_for(Abi::X86_64, &profile).expect("a filter").expect("an allow-list");
    for abi in [Abi::X86_64, Abi::X32, Abi::X86] {
        for nr in (0..600).map(|nr| nr + abi.base()) {
            let answer = filter.verdict(abi.audit_arch(), nr, [0; 6]) & 0xffff_0000;
            // Beyond the last call that it knows, the kernel's own answer is given.
            assert!(matches!(answer, ALLOW | 0x7ffc_0000) || filter.verdict(abi.audit_arch(), nr, [0; 6]) == ENOSYS);
        }
    }
}

#[test]
fn mistakes_are_named_with_key_and_line() {
    let said = |text: &str| parse("mine.toml", text).expect_err(text).to_string();
    insta::assert_snapshot!(
        [
            said(""),
            said("version = 3"),
            said("version = 1\nversio = 2"),
            said("version = 1\n[seccomp]\nallow = [\n  \"read\",\n  \"opne\",\n]\n"),
            said("version = 1\n[seccomp]\nfamilies = [\"inet7\"]\n"),
            said("version = 1\n[[seccomp.rules]]\nnames = [\"clone\"]\n"),
            said("version = 1\n[[seccomp.rules]]\nnames = [\"clone\"]\nargs = [{ index = 6, op = \"eq\", value = 1 }]\n"),
            said("version = 1\n[[seccomp.rules]]\nnames = [\"clone\"]\nargs = [{ index = 0, op = \"masked\", mask = 1, value = 2 }]\n"),
            said("version = 1\n[capabilities]\nallow = [\"NET_BIND_SERVCE\"]\n"),
            said("version = 1\n[filesystem]\nmasked = [\"proc/kcore\"]\n"),
            said("version = 1\n[filesystem]\nmasked = [\"/proc//kcore\"]\n"),
            said("version = 1\n[filesystem.writable]\n\"/tmp\" = { size = \"64Q\" }\n"),
            said("version = 1\n[filesystem.writable]\n\"/tmp\" = true\n"),
            said("version = 1\n[modes]\n\"user\" = \"forbid\"\n"),
            said("version = 1\n[modes]\n\"uesr\" = \"warn\"\n"),
            said("version = 1\n[cgroup]\nmemory = -1\n"),
            said("version = 1\n[hooks]\nallow = [{ path = \"/x\", sha256 = \"abc\" }]\n"),
            said("version = 1\n[network]\nreach = \"all\"\n"),
            said("version = 1\nnot toml"),
        ]
        .join("\n")
    );
}

#[test]
fn profiles_of_the_administrator_come_first_and_nobody_else_may_write_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a profile");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        path
    };
    let load = |name: &str| load_from(directory.path(), name);
    // Its own name is the shipped one's.
    write(
        "restricted.toml",
        "version = 1\nextends = \"restricted\"\n[cgroup]\npids = 5\n[seccomp]\nremove = [\"read\"]\n",
    );
    let own = load("restricted").expect("a profile");
    assert_eq!((own.cgroup.pids, own.cgroup.memory), (Some(5), Some(Size(512 << 20))));
    let allow = own.seccomp.allow.expect("a list");
    assert!(!allow.iter().any(|call| matches!(call.name(), "read" | "setgroups")), "both removals count");
    // What extends it has both.
    write(
        "mine.toml",
        "version = 1\nextends = \"restricted\"\n[filesystem.writable]\n\"/run\" = false\n\"/data\" = { size = 1 }\n",
    );
    let mine = load("mine").expect("a profile");
    assert_eq!((mine.name.as_str(), mine.cgroup.pids), ("mine", Some(5)));
    let writable: Vec<String> = mine.filesystem.writable.iter().flatten().map(|(path, _)| path.to_string()).collect();
    assert_eq!(writable, ["/data", "/dev/shm", "/tmp"]);
    // By path, from the directory of the file.
    let beside = write("beside.toml", "version = 1\nextends = \"./mine.toml\"\n");
    assert_eq!(load(&beside.to_string_lossy()).expect("a profile").cgroup.pids, Some(5));

    write("a.toml", "version = 1\nextends = \"b\"\n");
    write("b.toml", "version = 1\nextends = \"a\"\n");
    assert!(matches!(load("a"), Err(Error::Circle { .. })));
    assert!(matches!(load("nothing"), Err(Error::Unknown { .. })));
    assert!(matches!(load("../etc"), Err(Error::Read { .. })));
    assert!(matches!(load("."), Err(Error::Unknown { .. })));
    let near = load("restrictd").expect_err("no such profile");
    assert_eq!(crate::report::Hint::hint(&near).as_deref(), Some("did you mean restricted?"));

    fs::set_permissions(directory.path().join("b.toml"), fs::Permissions::from_mode(0o666)).expect("mode");
    assert!(matches!(load("b"), Err(Error::Exposed { .. })));
}

fn spec(text: &str) -> Spec {
    crate::spec::parse(text.as_bytes()).unwrap_or_else(|found| panic!("{found:?}")).spec
}

/// What cannot be cut, or must not be, names profile, rule and JSON path.
#[test]
fn refusals_name_profile_rule_and_path() {
    let mut asked = spec(
        r#"{ "ociVersion": "1.2.0", "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/", "terminal": true },
            "root": { "path": "rootfs" },
            "mounts": [
              { "destination": "/d", "type": "bind", "source": "/srv/../var/run/docker.sock", "options": ["rbind"] },
              { "destination": "/e", "type": "bind", "source": "/", "options": ["rbind", "ro"] },
              { "destination": "/n", "type": "nfs", "source": "server:/", "options": [] } ],
            "hooks": { "createRuntime": [{ "path": "/usr/bin/other" }] },
            "linux": { "namespaces": [{ "type": "mount" }], "sysctl": { "kernel.core_pattern": "|/x" } } }"#,
    );
    let mut profile = shipped("restricted");
    profile.hooks.allow = Some(Vec::new());
    profile.terminal.allow = Some(false);
    profile.modes.insert(Rule::Capabilities, Mode::Enforce);
    let refused = tighten(&profile, &mut asked, &host()).expect_err("refused");
    let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_was_changed_is_recorded() {
    let mut asked = spec(&crate::spec::default_json(None, true));
    let process = asked.process_mut().as_mut().expect("a process");
    let mut user = process.user().clone();
    user.set_uid(1000);
    process.set_user(user);
    asked.root_mut().as_mut().expect("a root").set_readonly(Some(false));
    let tightened = tighten(&shipped("restricted"), &mut asked, &host()).expect("tightened");
    let lines: Vec<String> = tightened.changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Groups of the caller are rights that no profile has looked at.
#[test]
fn the_callers_groups_are_not_kept() {
    let text = r#"{ "ociVersion": "1.2.0", "process": { "user": { "uid": 1, "gid": 1 }, "args": ["sh"], "cwd": "/" },
            "root": { "path": "rootfs" }, "annotations": { "run.oci.keep_original_groups": "1", "other": "1" } }"#;
    let (mut asked, mut profile) = (spec(text), shipped("restricted"));
    profile.modes.insert(Rule::User, Mode::Tighten);
    let tightened = tighten(&profile, &mut asked, &host()).expect("tightened");
    assert!(tightened.changes.iter().any(|change| change.path == "annotations.run.oci.keep_original_groups"));
    assert_eq!(asked.annotations().as_ref().map(|all| all.keys().collect::<Vec<_>>()), Some(vec![&"other".to_owned()]));
    profile.modes.insert(Rule::User, Mode::Enforce);
    tighten(&profile, &mut spec(text), &host()).expect_err("refused");
    let mut process = spec(text).process().clone().expect("a process");
    tighten_process(&shipped("restricted"), &mut process, &spec(text), &host()).expect_err("it would join them");
}

/// A change to a mount stays when it takes rights away, and gives none back that a rule takes away.
#[test]
fn remounts_restrict_and_give_nothing_back() {
    let mut asked = spec(
        r#"{ "ociVersion": "1.2.0", "process": { "user": { "uid": 1, "gid": 1 }, "args": ["sh"], "cwd": "/" },
            "root": { "path": "rootfs" },
            "mounts": [
              { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1k"] },
              { "destination": "/tmp", "options": ["remount", "ro", "noatime"] },
              { "destination": "/", "options": ["remount", "rro"] },
              { "destination": "/link", "options": ["bind", "remount", "rw", "nosuid", "exec", "dev"] } ] }"#,
    );
    let mut profile = shipped("restricted");
    let mut got = asked.clone();
    let tightened = tighten(&profile, &mut got, &host()).expect("tightened");
    let options: Vec<String> =
        got.mounts().iter().flatten().map(|mount| mount.options().clone().unwrap_or_default().join(",")).collect();
    assert_eq!(options[1..], ["remount,ro,noatime", "remount,rro", "bind,remount,nosuid"], "and no more mounts");
    let lines: Vec<String> = tightened.changes.iter().map(ToString::to_string).collect();
    let remounts: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.contains("remount,")).collect();
    assert_eq!(remounts.len(), 3, "{lines:#?}");
    assert_eq!(
        remounts[0],
        "mounts[3].options: requested remount,rw on /link, enforced the mount as it is, because of profile restricted, rule \
         filesystem.readonly_root"
    );
    for rule in Rule::ALL {
        profile.modes.insert(*rule, Mode::Enforce);
    }
    let refused = tighten(&profile, &mut asked, &host()).expect_err("refused");
    assert_eq!(refused.iter().filter(|line| line.message.contains("remount,")).count(), 3, "{refused:?}");
}

/// What gives rights back for a tree gives them back on a new filesystem too, wherever it stands.
#[test]
fn recursive_options_undo_no_rule() {
    let got = |kind: &str, destination: &str, options: &str| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "process": {{ "user": {{ "uid": 1, "gid": 1 }}, "args": ["sh"], "cwd": "/" }},
                "root": {{ "path": "rootfs" }},
                "mounts": [{{ "destination": "{destination}", "type": "{kind}", "source": "/srv", "options": [{options}] }}] }}"#
        ));
        tighten(&shipped("restricted"), &mut asked, &host()).expect("tightened");
        let mounts = asked.mounts().clone().unwrap_or_default();
        let mount = mounts.iter().find(|mount| mount.destination() == Path::new(destination)).expect("kept");
        mount.options().clone().unwrap_or_default().join(",")
    };
    assert_eq!(got("sysfs", "/sys", r#""rrw""#), "ro,nosuid,nodev");
    assert_eq!(got("cgroup", "/sys/fs/cgroup", r#""ro", "rrw", "nosuid", "nodev""#), "ro,nosuid,nodev,ro");
    let tmpfs =
        got("tmpfs", "/tmp", r#""size=1k", "nr_inodes=1", "nosuid", "rsuid", "nodev", "rdev", "noexec", "rexec""#);
    assert!(tmpfs.ends_with("nosuid,nodev"), "{tmpfs}");
    assert!(!tmpfs.contains("rsuid") && !tmpfs.contains("rdev"), "{tmpfs}");
    let bound = got("bind", "/srv", r#""rbind", "ro", "rrw", "rsuid", "rdev""#);
    assert_eq!(bound, "rbind,ro,ro,rro,nosuid,rnosuid,nodev,rnodev");
}

/// A path that is spelled differently may lead elsewhere, or nowhere: it stands for no other one.
#[test]
fn paths_are_hidden_to_the_letter() {
    let mut asked = spec(
        r#"{ "ociVersion": "1.2.0", "process": { "user": { "uid": 1, "gid": 1 }, "args": ["sh"], "cwd": "/" },
            "root": { "path": "rootfs" },
            "linux": { "maskedPaths": ["/proc/keys/", "/proc//timer_list", "/proc/kcore"], "readonlyPaths": ["/proc/x/../sys"] } }"#,
    );
    tighten(&shipped("restricted"), &mut asked, &host()).expect("tightened");
    let linux = asked.linux().as_ref().expect("linux");
    let (masked, readonly) =
        (linux.masked_paths().clone().unwrap_or_default(), linux.readonly_paths().clone().unwrap_or_default());
    for path in ["/proc/keys", "/proc/timer_list", "/proc/kcore"] {
        assert_eq!(masked.iter().filter(|masked| *masked == path).count(), 1, "{masked:?}");
    }
    assert!(readonly.iter().any(|path| path == "/proc/sys"), "{readonly:?}");
}

/// Without a user namespace, a mount that shows root's files as another user's gives them to that user.
#[test]
fn roots_files_are_no_other_users() {
    let said = |mapped: u32, namespaces: &str| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "process": {{ "user": {{ "uid": 1000, "gid": 1000 }}, "args": ["sh"], "cwd": "/" }},
                "root": {{ "path": "rootfs" }},
                "mounts": [{{ "destination": "/d", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "ridmap"],
                  "uidMappings": [{{ "containerID": {mapped}, "hostID": 1000, "size": 1 }}],
                  "gidMappings": [{{ "containerID": {mapped}, "hostID": 1000, "size": 1 }}] }}],
                "linux": {{ "namespaces": [{namespaces}],
                  "uidMappings": [{{ "containerID": 0, "hostID": 1000, "size": 2000 }}] }} }}"#
        ));
        let mut profile = shipped("restricted");
        let refused = tighten(&profile, &mut asked.clone(), &host()).map_err(|found| found[0].path.clone()).err();
        profile.modes.insert(Rule::User, Mode::Tighten);
        tighten(&profile, &mut asked, &host()).expect("tightened");
        let mount = asked.mounts().iter().flatten().next().expect("kept").clone();
        let options = mount.options().clone().unwrap_or_default();
        assert_eq!(mount.uid_mappings().is_some(), options.iter().any(|option| option == "ridmap"));
        assert_eq!(mount.uid_mappings().is_none(), refused.is_some());
        refused
    };
    let mount = r#"{ "type": "mount" }"#;
    assert_eq!(said(0, mount).as_deref(), Some("mounts[0].uidMappings"));
    assert_eq!(said(500, mount), None);
    assert_eq!(said(0, &format!(r#"{mount}, {{ "type": "user" }}"#)), None);
}

/// A hook is the program that the profile names, and not what its environment has it load.
#[test]
fn hooks_load_no_code_of_the_configurations() {
    let mut asked = spec(
        r#"{ "ociVersion": "1.2.0", "root": { "path": "rootfs" },
            "hooks": { "poststop": [{ "path": "/usr/bin/known", "env": ["A=1", "LD_PRELOAD=/x.so", "PYTHONPATH=/x", "ENV"] }] } }"#,
    );
    let mut profile = shipped("baseline");
    profile.hooks.allow = Some(vec![Hook { path: "/usr/bin/known".parse().expect("a path"), sha256: None }]);
    let refused = tighten(&profile, &mut asked.clone(), &host()).expect_err("refused");
    assert_eq!(refused[0].path, "hooks.poststop[0].env");
    assert!(refused[0].message.contains("LD_PRELOAD, PYTHONPATH, ENV is asked for"), "{refused:?}");
    profile.modes.insert(Rule::Hooks, Mode::Tighten);
    tighten(&profile, &mut asked, &host()).expect("tightened");
    let hooks = asked.hooks().clone().and_then(|hooks| hooks.poststop().clone()).expect("the hook is kept");
    assert_eq!(hooks[0].env().as_deref(), Some(&["A=1".to_owned()][..]));
}

/// What the program reaches in a network of its own is not the host's, by whatever device.
#[test]
fn devices_of_the_host_are_no_network_of_ones_own() {
    for (reach, kept) in [(Reach::None, false), (Reach::Container, false), (Reach::Host, true)] {
        let mut asked = spec(
            r#"{ "ociVersion": "1.2.0", "root": { "path": "rootfs" },
                "linux": { "namespaces": [{ "type": "network" }], "netDevices": { "eth0": {} } } }"#,
        );
        let mut profile = shipped("baseline");
        profile.network.reach = Some(reach);
        tighten(&profile, &mut asked, &host()).expect("tightened");
        let devices = asked.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
        assert_eq!(devices.is_some_and(|devices| !devices.is_empty()), kept, "{reach:?}");
    }
}

/// The layers of an overlay are paths of the host as much as what is bound.
#[test]
fn layers_of_an_overlay_are_sources() {
    let said = |options: &str| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "root": {{ "path": "rootfs" }},
                "mounts": [{{ "destination": "/d", "type": "overlay", "source": "overlay", "options": ["{options}"] }}] }}"#
        ));
        let mut profile = shipped("restricted");
        profile.filesystem.types = None;
        tighten(&profile, &mut asked, &host()).map(|_| {
            asked
                .mounts()
                .iter()
                .flatten()
                .next()
                .is_some_and(|mount| mount.options().iter().flatten().any(|option| option == "ro"))
        })
    };
    assert_eq!(said("lowerdir=/srv/a:/srv/b"), Ok(false));
    assert_eq!(said("lowerdir=/srv/a,upperdir=/srv/b,workdir=/srv/c"), Ok(true));
    for hidden in
        ["lowerdir=/srv/a:/etc", r"lowerdir=/srv/a:/e\\tc/shadow", "lowerdir+=/etc/ssh", "lowerdir=/a,upperdir=/boot"]
    {
        let refused = said(hidden).expect_err(hidden);
        assert!(refused[0].message.contains("rule filesystem.sources"), "{refused:?}");
    }
}

/// So are the devices of other filesystems, wherever they are named. Where pent was started is not for a profile to know.
#[test]
fn devices_of_a_filesystem_are_sources() {
    let said = |kind: &str, source: &str, options: &str| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "root": {{ "path": "rootfs" }},
                "mounts": [{{ "destination": "/d", "type": "{kind}", "source": "{source}", "options": ["ro", "{options}"] }}] }}"#
        ));
        let mut profile = shipped("baseline");
        profile.filesystem.types = None;
        tighten(&profile, &mut asked, &host()).map(drop)
    };
    for (kind, source, options) in
        [("ext4", "/srv/disk", "noload"), ("nfs", "host:/share", "soft"), ("debugfs", "none", "x")]
    {
        assert_eq!(said(kind, source, options), Ok(()), "{kind}");
    }
    for (kind, source, options) in [
        ("squashfs", "/dev/loop0", "x"),
        ("squashfs", "dev/loop0", "x"),
        ("squashfs", "", "source=/dev/loop0"),
        ("btrfs", "/srv/disk", "device=/dev/sda"),
        ("erofs", "/srv/disk", "device=/srv/a,device=dev/sda"),
        ("xfs", "/srv/disk", "logdev=/dev/sda"),
        ("xfs", "/srv/disk", "rtdev=/dev/sda"),
        ("ext4", "/srv/disk", "journal_path=/srv/../dev/sda"),
        ("ext4", "/srv/disk", "journal_dev=0x800"),
        ("overlay", "overlay", "lowerdir=etc"),
    ] {
        let refused = said(kind, source, options).expect_err(options);
        assert!(refused[0].message.contains("rule filesystem.sources"), "{refused:?}");
    }
}

/// A relative path is the bundle's only as long as it does not climb out of it, and the root filesystem is a path like others.
#[test]
fn paths_out_of_the_bundle_and_the_root_filesystem_are_sources() {
    let said = |root: &str, source: &str| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "root": {{ "path": "{root}" }},
                "mounts": [{{ "destination": "/d", "type": "bind", "source": "{source}", "options": ["bind"] }}] }}"#
        ));
        tighten(&shipped("baseline"), &mut asked, &host()).map(drop)
    };
    for source in ["data", "./data/../more", "a/b/../../c"] {
        assert_eq!(said("rootfs", source), Ok(()), "{source}");
    }
    for source in ["../data", "a/../../data", "..", "./.."] {
        assert_eq!(said("rootfs", source).expect_err(source)[0].path, "mounts[0].source");
    }
    for root in ["/var/lib/docker/overlay2/x/merged", "/run/containerd/io.containerd.runtime.v2.task/k8s.io/x/rootfs"] {
        assert_eq!(said(root, "data"), Ok(()), "{root}");
    }
    for root in ["/", "/var/run", "/run/docker.sock/..", "/etc", "/etc/ssh/x", "../.."] {
        assert_eq!(said(root, "data").expect_err(root)[0].path, "root.path");
    }
}

/// Whoever may become the host's root is not another user, whatever its first id is.
#[test]
fn the_hosts_root_has_no_id_in_a_user_namespace() {
    let said = |second: u32, in_user_namespace: bool| {
        let mut asked = spec(&format!(
            r#"{{ "ociVersion": "1.2.0", "process": {{ "user": {{ "uid": 0, "gid": 0 }}, "args": ["sh"], "cwd": "/" }},
                "root": {{ "path": "rootfs" }},
                "linux": {{ "namespaces": [{{ "type": "user" }}, {{ "type": "mount" }}],
                  "uidMappings": [{{ "containerID": 0, "hostID": 100000, "size": 1000 }},
                                  {{ "containerID": 5000, "hostID": {second}, "size": 1 }}] }} }}"#
        ));
        tighten(&shipped("build"), &mut asked, &Host { in_user_namespace, ..host() }).map(drop)
    };
    assert_eq!(said(7, false), Ok(()));
    assert_eq!(said(0, true), Ok(()));
    assert_eq!(said(0, false).expect_err("refused")[0].path, "linux.uidMappings");
}

/// A namespace that is joined by path may be the host's: that it is not is required, and found out where it can be.
#[test]
fn joined_namespaces_must_not_be_the_hosts() {
    let required = |profile: &Profile| {
        let mut asked = spec(
            r#"{ "ociVersion": "1.2.0", "root": { "path": "rootfs" },
                "linux": { "namespaces": [{ "type": "mount" }, { "type": "network", "path": "/proc/1/ns/net" },
                  { "type": "ipc", "path": "/proc/1/ns/ipc" }, { "type": "time", "path": "/proc/1/ns/time" }] } }"#,
        );
        let tightened = tighten(profile, &mut asked, &host()).expect("tightened");
        tightened.hardening.require.iter().map(|required| required.need.to_string()).collect::<Vec<_>>()
    };
    let mut profile = shipped("baseline");
    assert_eq!(required(&profile), ["ipcns", "netns"]);
    profile.modes.insert(Rule::Namespaces, Mode::Warn);
    assert_eq!(required(&profile), ["netns"]);
    profile.network.reach = Some(Reach::Host);
    assert_eq!(required(&profile), Vec::<String>::new());
}

/// `update` raises no limit of the profile's, and leaves alone what is not given.
#[test]
fn new_limits_stay_within_the_profile() {
    use oci_spec::runtime::LinuxResources;
    let profile = shipped("restricted");
    let held = |text: &str| {
        let mut resources: LinuxResources = serde_json::from_str(text).expect("resources");
        let held = tighten_limits(&profile, &mut resources, Some(64 << 20), &host()).expect("held");
        (serde_json::to_string(&resources).expect("JSON"), held.changes.len())
    };
    assert_eq!(held("{}"), ("{}".to_owned(), 0));
    assert_eq!(held(r#"{"pids":{"limit":-1}}"#), (r#"{"pids":{"limit":256}}"#.to_owned(), 1));
    assert_eq!(held(r#"{"pids":{"limit":10}}"#), (r#"{"pids":{"limit":10}}"#.to_owned(), 0));
    assert_eq!(held(r#"{"memory":{"swap":-1}}"#), (r#"{"memory":{"swap":67108864}}"#.to_owned(), 1));
    assert_eq!(held(r#"{"memory":{"limit":-1}}"#).0, r#"{"memory":{"limit":536870912}}"#);
    assert_eq!(held(r#"{"unified":{"pids.max":"max"}}"#), (r#"{"unified":{"pids.max":"256"}}"#.to_owned(), 1));
    assert_eq!(held(r#"{"unified":{"pids.max":"16"}}"#), (r#"{"unified":{"pids.max":"16"}}"#.to_owned(), 0));
    let (shorter, changes) = held(r#"{"cpu":{"period":1000}}"#);
    assert!(shorter.contains(r#""quota":2000"#) && changes == 1, "{shorter}");
    let (devices, _) = held(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    assert_eq!(devices, r#"{"devices":[]}"#);
}

/// What the caller has given up for good is no reason to start nothing.
#[test]
fn a_limit_that_cannot_be_raised_stays_as_it_is() {
    let limits = |capabilities, asked: &str, inherited| {
        let mut host = Host { capabilities, ..host() };
        host.rlimits.insert("RLIMIT_CORE".into(), inherited);
        let text = format!(
            r#"{{ "ociVersion": "1.0.2", "process": {{ "cwd": "/", "args": ["x"], "user": {{ "uid": 7, "gid": 7 }}{asked} }}, "linux": {{}} }}"#
        );
        let mut spec: oci_spec::runtime::Spec = serde_json::from_str(&text).expect("a configuration");
        let baseline = shipped("baseline");
        tighten(&baseline, &mut spec, &host).expect("tightened");
        let limits = spec.process().as_ref().and_then(|process| process.rlimits().clone()).unwrap_or_default();
        limits.iter().map(|limit| (limit.soft(), limit.hard())).collect::<Vec<_>>()
    };
    let off = r#", "rlimits": [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]"#;
    let all = (1 << 41) - 1;
    assert_eq!(limits(0, "", (0, 0)), []);
    assert_eq!(limits(0, off, (0, 0)), [(0, 0)]);
    assert_eq!(limits(0, "", (0, u64::MAX)), [(1, 1)]);
    assert_eq!(limits(all, "", (0, 0)), [(1, 1)]);
    assert_eq!(limits(all, off, (0, 0)), [(1, 1)]);
}

#[test]
fn the_name_of_the_host_is_cut_between_characters() {
    let mut profile = shipped("baseline");
    profile.hostname.default = Some(format!("{}é-{{id}}", "x".repeat(63)));
    let name = profile.for_container("c1").hostname.default;
    assert_eq!(name, Some("x".repeat(63)));
}

/// A bind mount of a path of the host under a shipped profile: refused, read-only, or as it was asked for.
fn bound(profile: &str, source: &str) -> &'static str {
    let mut asked = spec(&format!(
        r#"{{ "ociVersion": "1.2.0", "root": {{ "path": "rootfs" }},
            "mounts": [{{ "destination": "/m", "type": "bind", "source": "{source}", "options": ["rbind"] }}] }}"#
    ));
    if tighten(&shipped(profile), &mut asked, &host()).is_err() {
        return "refused";
    }
    let mounts = asked.mounts().clone().unwrap_or_default();
    let options = mounts[0].options().clone().unwrap_or_default();
    if options.contains(&"ro".to_owned()) && options.contains(&"rro".to_owned()) { "read-only" } else { "writable" }
}

#[test]
fn secrets_of_the_host_are_not_mounted_and_its_system_not_written_to() {
    for source in [
        "/etc",
        "/etc/shadow",
        "/etc/shadow-",
        "/etc/shadow.bak",
        "/etc/gshadow",
        "/etc/gshadow-",
        "/etc/passwd-",
        "/etc/sudoers.d",
        "/etc/sudoers.d/admin",
        "/etc/ssh",
        "/etc/security/opasswd",
        "/etc/security/opasswd.old",
        "/etc/security",
        "/etc/ssl/private",
        "/etc/ssl",
        "/run/docker.sock",
        "/run/containerd/containerd.sock.ttrpc",
        "/run/containerd",
        "/var/run/docker.sock",
        "/proc/self/root",
        "/run",
        "/root",
        "/root/.kube/config",
        "/",
    ] {
        assert_eq!(bound("baseline", source), "refused", "{source}");
    }
    for source in [
        "/usr",
        "/usr/local/bin",
        "/etc/cron.d",
        "/etc/pam.d",
        "/etc/ld.so.preload",
        "/lib/systemd",
        "/lib",
        "/bin",
        "/sbin/init",
        "/var/spool",
        "/var/spool/cron/crontabs",
        "/root/work",
        "/nix/store",
        "/etc/hosts",
    ] {
        assert_eq!(bound("baseline", source), "read-only", "{source}");
    }
    for source in [
        "/srv",
        "/home/ann/project",
        "/var/lib/kubelet/pods/1/volumes/x",
        "/var/lib/docker/volumes/x/_data",
        "/opt/data",
        "/etcetera",
        "/usr-local",
    ] {
        assert_eq!(bound("baseline", source), "writable", "{source}");
        assert_eq!(bound("restricted", source), "read-only", "{source}");
    }
}

#[test]
fn devices_and_hooks_of_the_bundle_are_not_had() {
    let asks = r#"{ "ociVersion": "1.2.0", "root": { "path": "rootfs" },
        "linux": { "namespaces": [{ "type": "network" }], "netDevices": { "eth0": {} } } }"#;
    for (name, _) in crate::profile::SHIPPED {
        let mut asked = spec(asks);
        let tightened = tighten(&shipped(name), &mut asked, &host()).expect("tightened");
        assert!(asked.linux().as_ref().expect("linux").net_devices().is_none(), "{name}");
        assert!(tightened.changes.iter().any(|change| change.path == "linux.netDevices"), "{name}");
        let mut asked = spec(
            r#"{ "ociVersion": "1.2.0", "root": { "path": "rootfs" }, "hooks": { "poststop": [{ "path": "/bin/sh" }] } }"#,
        );
        let refused = tighten(&shipped(name), &mut asked, &host()).is_err();
        assert_eq!(refused, *name != "baseline", "{name}");
    }
}
