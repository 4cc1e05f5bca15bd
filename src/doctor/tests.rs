use super::facts::{distribution, ranges};
use super::{Attempt, Facts, Grade, Report, diagnose};
use crate::cgroup::{Layout, OwnCgroup};
use crate::host::{Binary, Host};
use nix::errno::Errno;

/// Root on a machine with everything.
fn root() -> Facts {
    let host = Host {
        own_cgroup: OwnCgroup::default(),
        landlock_abi: 7,
        apparmor: true,
        binary: Binary { readonly: false, ..Host::of_tests().binary },
        ..Host::of_tests()
    };
    Facts {
        host,
        release: "6.18.0".into(),
        distribution: vec!["debian".into()],
        user: "root".into(),
        program: "/usr/local/bin/pent".into(),
        missing_calls: Vec::new(),
        missing_namespaces: Vec::new(),
        attempt: Attempt::Made,
        max_user_namespaces: Some(63_000),
        userns_clone: None,
        apparmor_restricts: None,
        subordinate: (0, 0),
        id_helpers: true,
        controllers: ["cpuset", "cpu", "io", "memory", "pids"].map(str::to_owned).into(),
        cgroup_writable: true,
        user_manager: false,
        seccomp: Some(
            ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"]
                .map(str::to_owned)
                .into(),
        ),
        modules: ["lockdown", "capability", "landlock", "apparmor"].map(str::to_owned).into(),
        criu: Some("/usr/sbin/criu".into()),
        runtime_dir: true,
    }
}

/// A person on the same machine, set up well.
fn person() -> Facts {
    let all = root();
    Facts {
        host: Host { euid: 1000, egid: 1000, capabilities: 0, ..all.host },
        user: "ada".into(),
        subordinate: (65_536, 65_536),
        ..all
    }
}

fn grade(report: &Report, name: &str) -> Grade {
    report.checks.iter().find(|check| check.name == name).expect("the check").grade
}

#[test]
fn a_good_host_lacks_nothing() {
    for facts in [root(), person()] {
        let report = diagnose(&facts);
        assert!(report.usable);
        assert!(report.checks.iter().all(|check| check.grade == Grade::Ok && check.fix.is_none()), "{report}");
    }
}

#[test]
fn an_ordinary_user_on_ubuntu_as_it_comes() {
    let facts = Facts {
        attempt: Attempt::NoRights,
        apparmor_restricts: Some(true),
        subordinate: (65_536, 65_536),
        id_helpers: false,
        controllers: ["memory", "pids"].map(str::to_owned).into(),
        distribution: distribution("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\n"),
        criu: None,
        ..person()
    };
    let report = diagnose(&facts);
    assert!(!report.usable);
    insta::assert_snapshot!(report);
}

#[test]
fn root_on_an_old_kernel() {
    let all = root();
    let facts = Facts {
        host: Host {
            landlock_abi: 0,
            apparmor: false,
            binary: Binary { switchable: false, ..all.host.binary.clone() },
            ..all.host.clone()
        },
        release: "5.10.0".into(),
        missing_calls: ["mount_setattr", "statmount"].map(str::to_owned).into(),
        missing_namespaces: vec!["time".into()],
        seccomp: Some(["kill_process", "errno"].map(str::to_owned).into()),
        modules: ["capability", "yama"].map(str::to_owned).into(),
        controllers: vec!["cpu".into()],
        ..all
    };
    let report = diagnose(&facts);
    assert!(!report.usable);
    insta::assert_snapshot!(report);
}

#[test]
fn a_user_to_whom_nothing_was_delegated() {
    let facts = Facts {
        cgroup_writable: false,
        controllers: Vec::new(),
        subordinate: (0, 0),
        runtime_dir: false,
        seccomp: None,
        host: Host { landlock_abi: 3, ..person().host },
        ..person()
    };
    let report = diagnose(&facts);
    assert!(report.usable, "weaker, but it runs");
    insta::assert_snapshot!(report);
    let by_systemd = diagnose(&Facts { user_manager: true, ..facts });
    assert_eq!(grade(&by_systemd, "cgroup limits"), Grade::Ok);
}

#[test]
fn every_reason_why_namespaces_cannot_be_made_has_its_fix() {
    let refused = |errno: Errno| Facts { attempt: Attempt::Clone(errno as i32), ..person() };
    let cases = [
        Facts { max_user_namespaces: Some(0), ..refused(Errno::ENOSPC) },
        Facts { userns_clone: Some(false), ..refused(Errno::EPERM) },
        Facts { apparmor_restricts: Some(true), ..refused(Errno::EACCES) },
        refused(Errno::ENOSPC),
        refused(Errno::EPERM),
        Facts { attempt: Attempt::NoRights, ..person() },
        Facts { attempt: Attempt::NoProc, ..root() },
    ];
    let mut lines = Vec::new();
    for facts in cases {
        let report = diagnose(&facts);
        assert!(!report.usable);
        let check = report.checks.iter().find(|check| check.grade == Grade::Missing).expect("the reason");
        lines.push(format!("{}: {}\n  {}", check.name, check.found, check.fix.as_deref().expect("a fix")));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn cgroups_of_every_kind_are_told_apart() {
    let version_1 = Layout::V1 { hierarchies: Vec::new(), unified: None };
    let on = |cgroup: Layout, facts: Facts| {
        let facts = Facts { host: Host { cgroup, ..facts.host.clone() }, ..facts };
        grade(&diagnose(&facts), "cgroup limits")
    };
    assert_eq!(on(version_1.clone(), root()), Grade::Ok);
    assert_eq!(on(version_1.clone(), person()), Grade::Weaker);
    assert_eq!(on(version_1, Facts { cgroup_writable: false, ..root() }), Grade::Weaker);
    assert_eq!(on(Layout::Absent, root()), Grade::Weaker);
    assert_eq!(on(root().host.cgroup, Facts { cgroup_writable: false, ..root() }), Grade::Weaker);
}

#[test]
fn ranges_are_counted_by_name_and_by_number() {
    let text = "ada:100000:65536\nbob:165536:65536\n1000:300000:10\nada:x\nada:1:y\n";
    assert_eq!(ranges(text, "ada", 1000), 65_546);
    assert_eq!(ranges(text, "eve", 1), 0);
}

#[test]
fn facts_and_findings_are_json() {
    let text = serde_json::to_string(&person()).expect("JSON");
    assert_eq!(serde_json::from_str::<Facts>(&text).expect(&text), person());
    let report = serde_json::to_value(diagnose(&person())).expect("JSON");
    assert_eq!((&report["version"], &report["usable"]), (&1.into(), &true.into()));
}
