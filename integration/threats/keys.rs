//! The caller's keys: a container that keeps the runtime from making a session keyring must not get the caller's instead.
#![forbid(unsafe_code)]

use super::loot::Loot;
use crate::support::{Bundle, Container, Finish as _, Outcome, lacks, privileged, probe};
use serde_json::json;
use std::process::Command;

const SECRET: &str = "the caller's key";

/// Nobody else's in this test suite: a user may have some 200 keys.
const USER: u32 = 1_234_500;

fn bundle(name: &str, verbs: &[&str]) -> Bundle {
    bundle_of(USER, name, verbs)
}

fn bundle_of(user: u32, name: &str, verbs: &[&str]) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": user, "size": 1000 }]);
    let bundle = Bundle::new(name).namespace("user", None).set("/linux/uidMappings", map.clone());
    let words: Vec<&str> = [&["/bin/look"], verbs].concat();
    bundle.set("/linux/gidMappings", map).with_probe("look").set("/process/args", json!(words))
}

/// The same call by somebody who has a key.
fn with_key(call: &Command) -> Outcome {
    let mut command = Command::new(probe("look"));
    command.args(["give_key", SECRET, "--", "run"]).arg(call.get_program()).args(call.get_args());
    let outcome = command.finish();
    assert!(outcome.stdout().contains(&format!("give_key {SECRET}: ok")), "{outcome:?}");
    outcome
}

#[test]
fn c_keys_of_the_caller_stay_out_when_the_containers_user_may_have_no_more() {
    privileged!();
    let mut loot = Loot::new(&[]);
    let stolen = |outcome: &Outcome| outcome.stdout().contains(&format!("steal_key: {SECRET}"));

    let free = Container::new(bundle("keysfree", &["steal_key"]));
    let outcome = with_key(&free.run_command(&[]));
    assert!(outcome.stdout().contains("steal_key: ENOKEY"), "{outcome:?}");
    loot.take_if(stolen(&outcome), || "in a new session keyring".to_owned());

    let hog = bundle("keyshog", &["use_up_keys", "--", "wait"]).started();
    hog.wait_output("use_up_keys: EDQUOT");
    hog.wait_output("wait: ok");
    let outcome = with_key(&hog.exec_command(&[], &["/bin/look", "steal_key"]));
    loot.take_if(stolen(&outcome), || format!("by exec: {outcome:?}"));
    let next = Container::new(bundle("keysnext", &["steal_key"]));
    let outcome = with_key(&next.run_command(&[]));
    loot.take_if(stolen(&outcome), || format!("by another container: {outcome:?}"));
    loot.must_be_empty();
}

#[test]
fn keys_of_the_container_are_there_for_a_process_that_joins() {
    privileged!();
    lacks!("crun" < "never": "the container's session keyring in exec");
    let container = bundle_of(USER + 1000, "keysjoined", &["add_key", SECRET, "--", "wait"]).started();
    container.wait_output("wait: ok");
    container.exec(["/bin/look", "steal_key"]).ok().prints(&format!("steal_key: {SECRET}"));
}
