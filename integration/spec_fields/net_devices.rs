//! linux.netDevices: devices move into the container and keep what they are.
#![forbid(unsafe_code)]

use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged};
use serde_json::{Value, json};
use std::process::Command;

/// The command in a network namespace of its own, where `before` and `after` run too.
fn in_own_network(command: &Command, before: &str, after: &str) -> Outcome {
    let script = format!("{before}\n\"$@\" && status=0 || status=$?\n{after}\nexit $status");
    let mut whole = Command::new("unshare");
    whole.args(["--net", "sh", "-ec", &script, "sh"]);
    whole.arg(command.get_program()).args(command.get_args()).finish()
}

/// A pair of devices called `pent0` and `pent1`, with addresses on the first.
const PAIR: &str = "ip link add pent0 mtu 1400 type veth peer name pent1
    ip addr add 10.9.8.7/24 dev pent0
    ip addr add 10.9.8.9/24 valid_lft 1000 preferred_lft 1000 dev pent0
    ip addr add 169.254.1.1/16 scope link dev pent0
    ip addr add 2001:db8::7/64 nodad dev pent0
    ip link set pent0 up";

fn bundle(devices: Value) -> Bundle {
    Bundle::new("netdev").set("/linux/netDevices", devices)
}

macro_rules! prepared {
    () => {
        privileged!();
        lacks!("runc" < "1.4": "linux.netDevices", "crun" < "1.22": "linux.netDevices");
    };
}

#[test]
fn a_device_moves_with_its_lasting_addresses_and_is_up() {
    prepared!();
    let container = Container::new(bundle(json!({ "pent0": { "name": "eth0" } })).shell("ip addr show eth0; ip link"));
    let outcome = in_own_network(&container.run_command(&[]), PAIR, "ip link show pent0 2>&1 || true").ok();
    let said = outcome.stdout();
    for kept in ["inet 10.9.8.7/24", "inet6 2001:db8::7/64", "mtu 1400", ",UP"] {
        assert!(said.contains(kept), "{kept}: {outcome:?}");
    }
    for lost in ["10.9.8.9", "169.254.1.1"] {
        assert!(!said.contains(lost), "{lost}: {outcome:?}");
    }
    assert!(said.contains("\"pent0\" does not exist"), "it is not on the host any more: {outcome:?}");
}

#[test]
fn without_a_name_the_host_s_is_kept_and_a_template_gets_a_number() {
    prepared!();
    let devices = json!({ "pent0": {}, "pent1": { "name": "net%d" } });
    let container = Container::new(bundle(devices).shell("ip -o link"));
    let outcome = in_own_network(&container.run_command(&[]), PAIR, "").ok();
    assert!(outcome.stdout().contains(" pent0") && outcome.stdout().contains(" net0"), "{outcome:?}");
}

#[test]
fn hooks_of_create_find_the_device_in_place() {
    prepared!();
    let script = "test -z \"$(ip -o link show | grep pent0)\" && nsenter --net=/proc/$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*')/ns/net ip -o link show pent0";
    let hook =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] }]);
    let container = Container::new(bundle(json!({ "pent0": {} })).set("/hooks", json!({ "createRuntime": hook })));
    in_own_network(&container.run_command(&[]), PAIR, "").ok();
}

#[test]
fn a_user_namespace_has_devices_too() {
    prepared!();
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let bundle = bundle(json!({ "pent0": {} })).namespace("user", None).set("/linux/uidMappings", map.clone());
    let bundle = bundle.set("/linux/gidMappings", map).shell("ip addr show pent0");
    bundle.chown(100_000);
    let outcome = in_own_network(&Container::new(bundle).run_command(&[]), PAIR, "").ok();
    assert!(outcome.stdout().contains("10.9.8.7/24"), "{outcome:?}");
}

/// What is on the host after a failure: the device, its addresses, up.
const STILL_HERE: &str = "ip addr show pent0";

fn came_back(outcome: &Outcome) {
    let said = outcome.stdout();
    for kept in ["inet 10.9.8.7/24", "inet6 2001:db8::7/64", ",UP"] {
        assert!(said.contains(kept), "{kept}: {outcome:?}");
    }
}

#[test]
fn one_that_cannot_be_moved_keeps_all_of_them_here() {
    prepared!();
    let cases = [
        (json!({ "pent0": {}, "zero": {} }), "zero"),
        (json!({ "pent0": { "name": "lo" } }), "name is taken"),
        (json!({ "pent0": {}, "pent1": { "name": "lo" } }), "pent1"),
        (json!({ "lo": { "name": "lo1" }, "pent0": {} }), "cannot move"),
    ];
    for (devices, text) in cases {
        let container = Container::new(bundle(devices));
        let outcome = in_own_network(&container.run_command(&[]), PAIR, STILL_HERE).exits(1);
        let outcome = outcome.says("linux.netDevices").says(text);
        container.leaves_nothing();
        came_back(&outcome);
    }
}

#[test]
fn a_container_that_fails_later_gives_its_devices_back() {
    prepared!();
    let failing = [
        bundle(json!({ "pent0": { "name": "eth0" } })).args(["no-such-program"]),
        bundle(json!({ "pent0": { "name": "eth0" } }))
            .sleeping()
            .set("/hooks", json!({ "poststart": [{ "path": "/bin/false" }] })),
    ];
    for bundle in failing {
        let container = Container::new(bundle);
        let outcome = in_own_network(&container.run_command(&["--detach"]), PAIR, STILL_HERE).exits(1);
        came_back(&outcome);
        container.leaves_nothing();
    }
}

#[test]
fn names_that_no_device_can_have_are_refused() {
    prepared!();
    for (devices, text) in [
        (json!({ "a/b": {} }), "not the name of a network device"),
        (json!({ "pent0": { "name": "sixteen-bytes-xx" } }), "not the name of a network device"),
        (json!({ "pent0": { "name": "a%dx" } }), "not the name of a network device"),
        (json!({ "pent0": { "name": "x" }, "pent1": { "name": "x" } }), "second device"),
    ] {
        Container::new(bundle(devices)).run().exits(1).says("linux.netDevices").says(text);
    }
    let bundle = bundle(json!({ "pent0": {} })).without_namespace("network");
    Container::new(bundle).run().exits(1).says("without a network namespace");
}
