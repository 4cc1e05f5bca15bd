//! Class I: capabilities by way of the inheritable and ambient sets (CVE-2022-24769, CVE-2022-29162, CVE-2025-27612).
#![forbid(unsafe_code)]

use super::loot::{Loot, all_capabilities, mask, with_capabilities};
use crate::support::{self, Bundle, Container, Finish as _, privileged};
use serde_json::json;
use std::process::Command;

const NET_RAW: u64 = 1 << 13;

/// The sets `look capabilities` printed last.
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
    bounding: u64,
    ambient: u64,
}

fn sets(output: &str) -> Sets {
    let line = output.lines().rev().find_map(|line| line.strip_prefix("capabilities: ")).expect("a line of sets");
    let set = |name: &str| {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        u64::from_str_radix(word.expect("a set"), 16).expect("a mask")
    };
    Sets {
        effective: set("effective"),
        permitted: set("permitted"),
        inheritable: set("inheritable"),
        bounding: set("bounding"),
        ambient: set("ambient"),
    }
}

/// A bundle for uid 1000 with a program that has cap_net_raw+ei as its file capabilities.
fn with_file_capability(name: &str) -> Bundle {
    let bundle = Bundle::new(name).with_probe("look");
    let program = bundle.rootfs().join("bin/captured");
    support::copy_program(support::probe("look"), &program);
    let mut set = Command::new(support::probe("look"));
    let set = set.arg("file_capability").arg(&program).arg("13").finish();
    assert!(set.stdout().trim_end().ends_with(": ok"), "{set:?}");
    with_capabilities(bundle, &["CAP_NET_RAW".to_owned(), "CAP_KILL".to_owned()])
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
}

const CAPTURED: [&str; 4] = ["/bin/look", "run", "/bin/captured", "capabilities"];

fn take(output: &str, loot: &mut Loot) {
    let got = sets(output);
    for (name, set) in [("permitted", got.permitted), ("effective", got.effective), ("inheritable", got.inheritable)] {
        loot.take_if(set & NET_RAW != 0, || format!("cap_net_raw is {name} for uid 1000: {output}"));
    }
    loot.take_if(got.ambient != 0, || format!("ambient capabilities: {:x}", got.ambient));
}

#[test]
fn i_cve_2022_24769_inheritable_file_capability_gives_nothing_in_create() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let bundle = with_file_capability("fcaps").args(CAPTURED);
    take(&Container::new(bundle).run().ok().stdout(), &mut loot);
    loot.must_be_empty();
}

#[test]
fn i_cve_2022_29162_inheritable_file_capability_gives_nothing_in_exec() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let container = with_file_capability("execfcaps").sleeping().started();
    take(&container.exec(CAPTURED).ok().stdout(), &mut loot);
    // The options add capabilities to the process, never to what its programs inherit.
    for options in [&["--cap", "CAP_NET_RAW"][..], &["--user", "1000:1000", "--cap", "CAP_NET_RAW"]] {
        let output = container.exec_command(options, &["/bin/look", "capabilities"]).finish().ok().stdout();
        let got = sets(&output);
        loot.take_if(got.inheritable != 0, || format!("exec {options:?}: inheritable {:x}", got.inheritable));
    }
    loot.must_be_empty();
}

#[test]
fn i_five_sets_are_exactly_those_asked_for() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let names = ["CAP_KILL".to_owned(), "CAP_NET_RAW".to_owned()];
    let asked = mask(&names);
    let every = mask(&all_capabilities());
    let cases = [
        // name, capabilities, effective, permitted, bounding
        ("empty sets", Some(json!({})), 0, 0, 0),
        ("empty lists", Some(json!({ "bounding": [], "effective": [], "permitted": [] })), 0, 0, 0),
        ("none given", None, 0, 0, 0),
        ("two", Some(json!({ "bounding": names, "effective": names, "permitted": names })), asked, asked, asked),
    ];
    for (name, capabilities, effective, permitted, bounding) in cases {
        for uid in [0, 1000] {
            let bundle = Bundle::new("sets").with_probe("look").args(["/bin/look", "capabilities", "--", "wait"]);
            let bundle =
                bundle.set("/process/noNewPrivileges", false).set("/process/user", json!({ "uid": uid, "gid": uid }));
            let bundle = match &capabilities {
                Some(capabilities) => bundle.set("/process/capabilities", capabilities.clone()),
                None => bundle.remove("/process/capabilities"),
            };
            let container = bundle.started();
            container.wait_output("wait: ok");
            let exec = container.exec(["/bin/look", "capabilities"]).ok().stdout();
            for (what, output) in [("create", container.stdout()), ("exec", exec)] {
                let got = sets(&output);
                let context = format!("{what}, {name}, uid {uid}");
                loot.take_if(got.bounding & !bounding != 0, || format!("{context}: bounding {:x}", got.bounding));
                loot.take_if(got.effective & !effective != 0, || format!("{context}: effective {:x}", got.effective));
                loot.take_if(got.permitted & !permitted != 0, || format!("{context}: permitted {:x}", got.permitted));
                loot.take_if(got.inheritable != 0, || format!("{context}: inheritable {:x}", got.inheritable));
                loot.take_if(got.ambient != 0, || format!("{context}: ambient {:x}", got.ambient));
            }
        }
    }
    assert_ne!(every, asked, "the host's own sets are larger, or the test sees nothing");
    loot.must_be_empty();
}

#[test]
fn meta_i_inheritable_capabilities_are_seen_when_asked_for() {
    privileged!();
    let names = json!(["CAP_NET_RAW"]);
    let bundle = with_file_capability("metafcaps").args(CAPTURED).set("/process/capabilities/inheritable", names);
    let got = sets(&Container::new(bundle).run().ok().stdout());
    assert_eq!(got.permitted & NET_RAW, NET_RAW, "the file capability works when the inheritable set allows it");
}
