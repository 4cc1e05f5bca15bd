//! What is enforced beyond config.json, and what is required.

use super::{default_config, hardened, kubernetes, ordinary_user, rootless_config, v1, v2};
use pent::host::Host;
use pent::plan::hardening::{Landlock, Need, Requirement};
use pent::plan::landlock::At;
use pent::plan::op::Child;
use pent::plan::{ExecRequest, Hardening, Plan, compile_exec, order};
use pent::report::Diagnostic;
use pent::spec;
use pent::sys::landlock::access;
use serde_json::{Value, json};

fn landlock(landlock: Landlock) -> Hardening {
    Hardening { landlock: Some(landlock), ..Hardening::default() }
}

fn scoped() -> Landlock {
    Landlock { scope_abstract: true, scope_signals: true, ..Landlock::default() }
}

/// Everything at once.
pub(super) fn all() -> Hardening {
    landlock(Landlock {
        execute: Some(Vec::new()),
        bind_tcp: Some(vec![80]),
        connect_tcp: Some(Vec::new()),
        ..scoped()
    })
}

fn require(needs: &[&str]) -> Hardening {
    let require =
        needs.iter().map(|need| Requirement { need: need.parse().expect("a requirement"), from: "--require".into() });
    Hardening { require: require.collect(), ..Hardening::default() }
}

fn exec(config: &Value, hardening: &Hardening) -> Plan {
    let spec = spec::parse(config.to_string().as_bytes()).expect("a configuration").spec;
    let process = spec.process().clone().expect("a process");
    let request = ExecRequest {
        id: "box",
        spec: &spec,
        process: &process,
        host: &v2(),
        init_pid: 4711,
        init_start_time: 1,
        preserve_fds: 0,
        cgroup_by_clone: true,
        has_cgroup: true,
        hardening,
    };
    let plan = compile_exec(&request).expect("a plan");
    assert_eq!(order::check(&plan), Ok(()));
    plan
}

fn lines(plan: &Plan) -> String {
    let text = plan.to_string();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("Landlock")).collect();
    lines.join("\n")
}

fn said(found: &[Diagnostic]) -> String {
    let lines: Vec<_> =
        found.iter().map(|d| format!("{d}\n  hint: {}", d.hint.as_deref().unwrap_or_default())).collect();
    lines.join("\n")
}

#[test]
fn the_rules_follow_the_mounts() {
    let create = hardened(&default_config(), &v2(), &landlock(scoped())).expect("a plan");
    let confined = hardened(&kubernetes(), &v2(), &all()).expect("a plan");
    let joined = exec(&default_config(), &landlock(scoped()));
    insta::assert_snapshot!(format!("{}\n\n{}\n\n{}", lines(&create), lines(&confined), lines(&joined)));
}

#[test]
fn a_process_that_joins_has_the_rights_of_the_container_and_no_scope_that_keeps_it_from_it() {
    for config in [default_config(), kubernetes()] {
        let created = hardened(&config, &v2(), &all()).expect("a plan");
        let joined = exec(&config, &all());
        let (created, joined) = (created.ruleset().expect("rules"), joined.ruleset().expect("rules"));
        let rights = |ruleset: &pent::plan::landlock::Ruleset| {
            ruleset.rules.iter().map(|rule| (rule.place.to_string(), rule.access)).collect::<Vec<_>>()
        };
        assert_eq!(rights(created), rights(joined));
        assert_eq!((created.fs, created.net, &created.ports), (joined.fs, joined.net, &joined.ports));
        assert!(joined.rules.iter().all(|rule| !matches!(rule.at, At::Mount(_))));
        assert_eq!(created.scoped, 3);
    }
    // The pid namespace is the container's own, the network the pod's.
    assert_eq!(exec(&kubernetes(), &all()).ruleset().expect("rules").scoped, 1);
}

#[test]
fn hooks_in_the_container_come_before_the_rules() {
    let mut config = default_config();
    config["hooks"] = json!({ "startContainer": [{ "path": "/bin/hook" }] });
    let plan = hardened(&config, &v2(), &all()).expect("a plan");
    assert_eq!(order::check(&plan), Ok(()));
    let place = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted).expect("the step");
    let restricted = place(|op| matches!(op, Child::RestrictSelf { .. }));
    assert!(place(|op| matches!(op, Child::RunHooks { .. })) < restricted);
    assert!(place(|op| matches!(op, Child::CloseDescriptors { .. })) < restricted);
}

#[test]
fn a_plan_that_loses_or_moves_its_restriction_is_refused() {
    let good = hardened(&kubernetes(), &v2(), &all()).expect("a plan");
    let at = good.child.iter().position(|op| matches!(op, Child::RestrictSelf { .. })).expect("the step");
    let mut lost = good.clone();
    lost.child.remove(at);
    assert!(order::check(&lost).is_err());
    for earlier in [at - 2, at - 6] {
        let mut early = good.clone();
        let op = early.child.remove(at);
        early.child.insert(earlier, op);
        assert!(order::check(&early).is_err(), "before {}", early.child[earlier + 1]);
    }
    let mut late = good.clone();
    let op = late.child.remove(at);
    late.child.insert(late.child.len() - 1, op);
    assert!(order::check(&late).is_err(), "after the filter");
}

#[test]
fn what_the_kernel_lacks_is_said_once_or_is_an_error() {
    let on =
        |abi: u32, asked: Landlock| hardened(&default_config(), &Host { landlock_abi: abi, ..v2() }, &landlock(asked));
    let wanted = || Landlock { bind_tcp: Some(vec![80]), ..scoped() };
    let mut texts = Vec::new();
    for abi in 0..=7 {
        let plan = on(abi, wanted()).expect("best effort");
        assert_eq!(plan.ruleset().is_some(), abi > 0);
        assert_eq!(order::check(&plan), Ok(()));
        assert!(plan.warnings.len() <= 1);
        let handled = plan.ruleset().map_or(0, |ruleset| ruleset.fs);
        let warned = plan.warnings.first().map_or_else(|| "-".to_owned(), ToString::to_string);
        texts.push(format!("{abi}: {handled:#x} {warned}"));
    }
    let required = on(5, Landlock { required_abi: Some(6), ..wanted() }).expect_err("too old");
    texts.push(said(&required));
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn the_rules_need_no_new_privs() {
    let mut config = default_config();
    config["process"]["noNewPrivileges"] = json!(false);
    let found = hardened(&config, &v2(), &all()).expect_err("an error");
    assert!(said(&found).contains("process.noNewPrivileges"), "{found:?}");
}

#[test]
fn a_device_outside_of_dev_can_be_used_and_nothing_beside_it() {
    let mut config = default_config();
    config["linux"]["devices"] = json!([{ "path": "/opt/null", "type": "c", "major": 1, "minor": 3 }]);
    let plan = hardened(&config, &v2(), &all()).expect("a plan");
    let rules = &plan.ruleset().expect("rules").rules;
    let rule = rules.iter().find(|rule| rule.place.to_bytes() == b"/opt/null").expect("its rule");
    assert_eq!((rule.at, rule.access & access::MAKE_REG), (At::Path, 0));
    assert_ne!(rule.access & access::WRITE_FILE, 0);
}

#[test]
fn everything_that_is_required_and_not_there_is_said() {
    let all: Vec<&str> = vec![
        "landlock",
        "landlock>=8",
        "seccomp",
        "nnp",
        "nonroot",
        "no-caps",
        "readonly-root",
        "cgroup",
        "memory",
        "pids",
        "userns",
        "pidns",
        "netns",
        "ipcns",
        "utsns",
        "cgroupns",
        "mntns",
        "timens",
        "apparmor",
        "selinux",
    ];
    let mut config = default_config();
    config["process"]["noNewPrivileges"] = json!(false);
    config["root"]["readonly"] = json!(false);
    config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
    let found = hardened(&config, &v2(), &require(&all)).expect_err("findings");
    insta::assert_snapshot!(said(&found));
}

#[test]
fn what_is_there_satisfies_what_is_required() {
    let mut config = kubernetes();
    config["process"]["capabilities"] = json!({});
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "time" }));
    let needs = [
        "landlock>=7",
        "seccomp",
        "nnp",
        "nonroot",
        "no-caps",
        "readonly-root",
        "cgroup",
        "memory",
        "pids",
        "pidns",
        "netns",
        "ipcns",
        "utsns",
        "cgroupns",
        "mntns",
        "timens",
    ];
    for host in [v1(), v2()] {
        let hardening = Hardening { require: require(&needs).require, ..super::hardening::all() };
        let plan = hardened(&config, &host, &hardening).expect("a plan");
        // Whether a namespace that is joined is the host's is for the kernel to say.
        let verified = plan.child.iter().find_map(|op| match op {
            Child::VerifyNamespaces { apart, .. } => Some(apart.len()),
            _ => None,
        });
        assert_eq!(verified, Some(3), "network, ipc, uts");
    }
    let hardening = Hardening { require: require(&needs).require, ..super::hardening::all() };
    exec(&config, &hardening);
    let userns = hardened(&rootless_config(), &ordinary_user(), &require(&["userns", "nnp"]));
    userns.expect("a plan");
}

/// Before its inode is compared, its mounts are replaced.
#[test]
fn a_mount_namespace_that_is_joined_is_none_of_the_containers_own() {
    let mut config = default_config();
    for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
        if namespace["type"] == "mount" {
            namespace["path"] = json!("/proc/4711/ns/mnt");
        }
    }
    hardened(&config, &v2(), &Hardening::default()).expect("a plan");
    let found = hardened(&config, &v2(), &require(&["mntns"])).expect_err("an error");
    assert!(said(&found).contains("mntns is required: the mount namespace is an existing one"), "{}", said(&found));
}

#[test]
fn a_required_cgroup_is_not_left_out() {
    let mut config = rootless_config();
    config["linux"]["cgroupsPath"] = Value::Null;
    let optional = hardened(&config, &ordinary_user(), &Hardening::default()).expect("a plan");
    assert!(!optional.cgroup.required);
    let required = hardened(&config, &ordinary_user(), &require(&["cgroup"])).expect("a plan");
    assert!(required.cgroup.required);
}

#[test]
fn a_filter_that_allows_everything_is_none() {
    let mut config = default_config();
    config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    let found = hardened(&config, &v2(), &require(&["seccomp"])).expect_err("nothing is denied");
    assert_eq!(found.len(), 1);
    config["linux"]["seccomp"]["syscalls"] = json!([{ "names": ["keyctl"], "action": "SCMP_ACT_ERRNO" }]);
    hardened(&config, &v2(), &require(&["seccomp"])).expect("one call is denied");
    assert_eq!("seccomp".parse(), Ok(Need::Seccomp));
}

/// A right that a kernel does not know must not be asked of it; where it does, only what is named is open.
#[test]
fn named_sockets_are_closed_where_the_kernel_can() {
    let asked = Landlock { sockets: Some(vec![pent::plan::text::Text::new("/srv/bus")]), ..Landlock::default() };
    let fs = |abi: u32, asked: &Landlock| {
        let host = Host { landlock_abi: abi, ..v2() };
        let plan = hardened(&default_config(), &host, &landlock(asked.clone())).expect("a plan");
        plan.ruleset().expect("rules").clone()
    };
    assert_eq!(fs(8, &asked).fs & access::RESOLVE_UNIX, 0);
    assert!(fs(8, &asked).rules.iter().all(|rule| rule.access & access::RESOLVE_UNIX == 0));
    let new = fs(9, &asked);
    assert_ne!(new.fs & access::RESOLVE_UNIX, 0);
    assert_eq!(new.rules.iter().filter(|rule| rule.access & access::RESOLVE_UNIX != 0).count(), 1);
    assert_eq!(fs(9, &Landlock::default()).fs & access::RESOLVE_UNIX, 0, "nobody asked");
}
