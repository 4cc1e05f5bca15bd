//! Class S: the kernel's surface, each of its parts opened once.
#![forbid(unsafe_code)]

use super::held::{As, EACH, TELLING, extended, held, run};
use crate::caller::as_each;
use crate::loot::{Loot, all_capabilities, with_capabilities};
use crate::support::{Bundle, Container, Finish as _, Outcome};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What the probe tried, and what came of it.
fn results(outcome: &Outcome) -> BTreeMap<String, String> {
    let text = outcome.stdout();
    let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
    let found: BTreeMap<_, _> = lines.map(|(name, result)| (name.to_owned(), result.to_owned())).collect();
    assert!(!found.is_empty(), "{outcome:?}");
    found
}

fn bundle(words: &[&str]) -> Bundle {
    let bundle =
        Bundle::new("surface").with_probe("surface").set("/process/args", json!([&["/bin/surface"], words].concat()));
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid", "mode=1777"])
}

/// The same without a profile, with everything that root has.
fn free(bundle: Bundle) -> Outcome {
    Container::new(with_capabilities(bundle, &all_capabilities())).run().ok()
}

/// What the call answers under `restricted`, and under the profile that tells of its filter.
fn denied(name: &str) -> [&'static [&'static str]; 2] {
    match name {
        // clone3, whose flags no filter sees, and what came to the kernel after the profile.
        "clone3_user" | "clone3_plain" | "open_tree_attr" => [&["ENOSYS"]; 2],
        // The kernel's own answer: everyday programs set what they are already. An id may not even be mapped.
        "setuid_" | "setresuid_" | "setgid_" | "capset" => [&["EPERM", "EINVAL"]; 2],
        "setxattr_" => [&["EOPNOTSUPP"], &["ENETUNREACH"]],
        "splice_" | "tee_" => [&["EINVAL"], &["ENETUNREACH"]],
        _ => [&["EPERM"], &["ENETUNREACH"]],
    }
}

#[test]
fn s_no_system_call_of_the_surface_reaches_the_kernel() {
    held!();
    let mut loot = Loot::new(&[]);
    let control = results(&free(bundle(&[])));
    let reached = control.values().filter(|result| !["EPERM", "ENOSYS"].contains(&result.as_str())).count();
    // What this kernel or this machine's root does not have cannot be told from what is denied by its result alone.
    assert!(reached * 10 > control.len() * 6, "the attacks do not work any more: {control:?}");
    for name in
        ["io_uring_setup", "bpf_map", "mount_tmpfs", "unshare user", "clone user", "clone3_user", "keyctl", "fsopen"]
    {
        assert_eq!(control.get(name).map(String::as_str), Some("ok"), "{name} does not work without a profile, either");
    }
    for who in EACH {
        // Under the profile as it is, then with an error that only its filter gives.
        let container = who.container(bundle(&[]));
        let plain = results(&run(&container, "restricted").ok());
        let telling = results(&run(&container, &extended(&container.bundle, TELLING)).ok());
        assert_eq!(plain.keys().collect::<Vec<_>>(), control.keys().collect::<Vec<_>>());
        for (name, result) in &plain {
            let [answers, tells] = denied(name);
            loot.take_if(!answers.contains(&result.as_str()), || format!("{who:?}: {name}: {result}"));
            let got = &telling[name];
            loot.take_if(!tells.contains(&got.as_str()), || {
                format!("{who:?}: {name} reaches the kernel, which answers {got}")
            });
        }
    }
    as_each(|caller| {
        caller.probe("surface");
        for (name, result) in results(&caller.run(&["--", "./surface"]).ok()) {
            assert!(denied(&name)[0].contains(&result.as_str()), "the sandbox of {:?}: {name}: {result}", caller.user);
        }
    });
    loot.must_be_empty();
}

/// socket(2)'s families, and of netlink the protocol: what there is for everybody.
fn kinds(outcome: &Outcome) -> BTreeSet<(u32, u32, u32)> {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).expect("a number");
    let text = outcome.stdout();
    text.lines()
        .map(|line| line.split(' '))
        .map(|mut words| (number(words.next()), number(words.next()), number(words.next())))
        .collect()
}

const UNIX: u32 = 1;
const INET: u32 = 2;
const INET6: u32 = 10;
const NETLINK: u32 = 16;
const PACKET: u32 = 17;
const RAW: u32 = 3;

#[test]
fn s_no_socket_but_of_the_families_of_the_profile() {
    held!();
    let mut loot = Loot::new(&[]);
    let every = kinds(&free(bundle(&["sockets"])));
    let others = every.iter().filter(|(family, ..)| ![UNIX, INET, INET6, NETLINK].contains(family)).count();
    assert!(others > 0 && every.contains(&(PACKET, RAW, 0)) && every.contains(&(INET, RAW, 1)), "{every:?}");
    assert!(every.iter().any(|(family, _, protocol)| *family == NETLINK && *protocol != 0), "{every:?}");
    let take = |who: &str, got: BTreeSet<(u32, u32, u32)>, loot: &mut Loot| {
        assert!(got.contains(&(UNIX, 1, 0)) && got.contains(&(INET, 1, 0)), "{who}: the usual ones work: {got:?}");
        for kind @ (family, r#type, protocol) in got {
            let allowed = match family {
                UNIX => true,
                INET | INET6 => r#type != RAW,
                NETLINK => protocol == 0,
                _ => false,
            };
            loot.take_if(!allowed, || format!("{who}: socket {kind:?}"));
        }
    };
    for who in EACH {
        let container = who.container(bundle(&["sockets"]));
        take(&format!("{who:?}"), kinds(&run(&container, "restricted").ok()), &mut loot);
        let container = who.container(bundle(&["pairs"]));
        let pairs = kinds(&run(&container, "restricted").ok());
        loot.take_if(pairs.iter().any(|(family, ..)| *family != UNIX), || format!("{who:?}: pairs of {pairs:?}"));
    }
    as_each(|caller| {
        caller.probe("surface");
        let got = kinds(&caller.run(&["--net", "host", "--", "./surface", "sockets"]).ok());
        let others: Vec<_> = got.iter().filter(|(family, ..)| ![UNIX, INET, INET6, NETLINK].contains(family)).collect();
        assert!(others.is_empty(), "the sandbox of {:?}: {others:?}", caller.user);
        assert!(got.iter().all(|(family, _, protocol)| *family != NETLINK || *protocol == 0), "{got:?}");
        assert!(got.iter().all(|(family, kind, _)| ![INET, INET6].contains(family) || *kind != RAW), "{got:?}");
    });
    loot.must_be_empty();
}

#[test]
fn s_no_device_of_the_host_can_be_opened_or_made() {
    held!();
    let mut loot = Loot::new(&[]);
    // It asks for them, and for the right to make them.
    let wanted = [("/dev/fuse", 10, 229), ("/dev/kvm", 10, 232), ("/dev/mem", 1, 1), ("/dev/userfaultfd", 10, 126)];
    let asking = || {
        let bundle = wanted.iter().fold(bundle(&["devices"]), |bundle, (path, major, minor)| {
            let node = json!({ "path": path, "type": "c", "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0 });
            bundle.push("/linux/devices", node)
        });
        let bundle = bundle.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
        with_capabilities(bundle, &all_capabilities())
    };
    let control = results(&asking().run().ok());
    // Whatever the kernel says about the device: its node is there.
    for name in ["/dev/fuse", "device 1:11"] {
        assert!(!["ENOENT", "EPERM", "EACCES"].contains(&control[name].as_str()), "{name}: {}", control[name]);
    }
    for who in EACH {
        let outcome = run(&who.container(asking()), "restricted");
        if outcome.code() == 0 {
            for (name, result) in results(&outcome) {
                let nothing = ["ENOENT", "EPERM", "EACCES", "ENOTDIR"].contains(&result.as_str());
                loot.take_if(!nothing, || format!("{who:?}: {name}: {result}"));
            }
        }
        // By a bind mount of the host's node.
        let bundle = bundle(&["devices"]).mount("/dev/fuse", "bind", "/dev/fuse", &["bind"]);
        let outcome = run(&who.container(bundle), "restricted");
        let told = outcome.stderr().contains("rule filesystem.sources");
        loot.take_if(outcome.code() == 0 || !told, || format!("{who:?}: a bind mount of /dev/fuse: {outcome:?}"));
    }
    as_each(|caller| {
        caller.probe("surface");
        for (name, result) in results(&caller.run(&["--", "./surface", "devices"]).ok()) {
            let nothing = ["ENOENT", "EPERM", "EACCES", "ENOTDIR"].contains(&result.as_str());
            assert!(nothing, "the sandbox of {:?}: {name}: {result}", caller.user);
        }
    });
    loot.must_be_empty();
}

/// What joins the container, and what the first process starts, has no more of it.
#[test]
fn s_a_process_that_joins_reaches_no_more() {
    held!();
    for who in EACH {
        let container = who.container(bundle(&[]).sleeping());
        super::held::start(&container, "restricted");
        let exec = container.exec_command(&["--cap", "CAP_SYS_ADMIN"], &["/bin/surface"]);
        for (name, result) in results(&{ exec }.finish().ok()) {
            assert!(denied(&name)[0].contains(&result.as_str()), "{who:?}: {name}: {result}");
        }
    }
    assert_ne!(As::Root.uid(), 0);
}
