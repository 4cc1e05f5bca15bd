//! The fuzz target of what is kept about a container.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "looks only at what it made itself")]

use super::{Dir, Root, State, Status};
use crate::cgroup::{Cgroup, CgroupPlan};
use std::fs;
use std::path::Path;

/// Between the files: the byte that is in none of them.
const BETWEEN: u8 = 0;
/// The files of a state directory, in the order of an input.
const FILES: [&str; 6] = ["state.json", "intent.json", "hardening.json", "profiles.json", "rdt.json", "config.json"];

/// The files of a container's directory, one after the other.
///
/// # Panics
/// When what was read differs from what is written of it, when it is no JSON for callers, when a sandbox's sweep would
/// believe it, or when something is left after removal.
pub fn state(data: &[u8]) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory");
    let root = Root::find(Some(place.path())).expect("a root");
    let dir = Dir::create(&root, "fuzz").expect("a container");
    for (name, bytes) in FILES.iter().zip(data.split(|byte| *byte == BETWEEN)) {
        fs::write(dir.path().join(name), bytes).expect("a file");
    }
    if let Ok(Some(state)) = dir.load() {
        for status in [Status::Creating, Status::Created, Status::Running, Status::Paused, Status::Stopped] {
            is_told_whole(&state, status);
        }
        dir.save(&state).expect("saved");
        let again = dir.load().expect("read again").expect("a state");
        assert_eq!(bytes_of(&again), bytes_of(&state), "it is not what was saved");
        is_not_believed(state.cgroup);
    }
    is_not_believed(dir.load_intent().unwrap_or_default());
    drop(dir.load_rdt());
    if let Ok(hardening) = dir.load_hardening() {
        dir.save_hardening(&hardening).expect("saved");
        assert!(dir.load_hardening().is_ok(), "it cannot be read again");
    }
    if let Ok(profiles) = dir.load_profiles() {
        dir.save_profiles(&profiles).expect("saved");
        assert_eq!(dir.load_profiles().expect("read again"), profiles);
    }
    dir.remove().expect("removed");
    assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0);
}

fn bytes_of(state: &State) -> Vec<u8> {
    serde_json::to_vec(state).expect("JSON")
}

/// What `state` prints names the id, the status and each annotation.
fn is_told_whole(state: &State, status: Status) {
    // A path that is not UTF-8 is an error there.
    let Ok(text) = serde_json::to_string_pretty(&state.report(status)) else { return };
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["id"], state.id.as_str());
    assert_eq!(value["status"], status.to_string());
    for (key, text) in &state.annotations {
        assert_eq!(value["annotations"][key], text.as_str());
    }
}

/// No cgroup is killed that a sandbox of pent's own would not have.
fn is_not_believed(cgroup: Cgroup) {
    assert!(cgroup.only_as(&Cgroup::planned(&CgroupPlan::default())).places().is_empty());
}
