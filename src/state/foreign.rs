//! Whose a directory below the root is. Runtimes share roots: containerd keeps the containers of all that it calls in one.
//!
//! What this program did not write it does not touch: to believe it would be wrong, and to delete it would take a running
//! container away from the only program that can stop it.
#![forbid(unsafe_code)]

use super::Process;
use crate::cgroup::Cgroup;
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

/// Who has made a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// runc, or what is built on its library.
    Runc,
    /// crun.
    Crun,
    /// youki.
    Youki,
    /// Something else.
    Unknown,
}

impl Maker {
    /// The program, where it is known.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Runc => Some("runc"),
            Self::Crun => Some("crun"),
            Self::Youki => Some("youki"),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program().unwrap_or("another program"))
    }
}

/// What of a state tells of this program, in any of its versions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rest {
    /// The first process.
    pub(super) init: Option<Process>,
    /// The cgroup.
    #[serde(default)]
    pub(super) cgroup: Option<Cgroup>,
}

impl Rest {
    /// As much as can be read.
    pub(super) fn read(state: &[u8]) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(state) else { return Self::default() };
        let mut field = |name| fields.remove(name).unwrap_or_default();
        Self { init: serde_json::from_value(field("init")).ok(), cgroup: serde_json::from_value(field("cgroup")).ok() }
    }
}

/// Who has written a state.json that is not as this version writes it, beside `names`; `None` is this program.
pub(super) fn maker_of_state<'a>(state: &[u8], names: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Maker> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(state) else {
        // Damaged. The configuration is written before any state, and by nobody else beside a state.json.
        let ours = names.clone().any(|name| name == super::dir::CONFIG.as_bytes());
        return maker_of_names(names).or((!ours).then_some(Maker::Unknown));
    };
    let has = |name| fields.contains_key(name);
    // "init" is a process of ours: another version's state has it, too.
    if fields.get("init").is_some_and(|init| serde_json::from_value::<Process>(init.clone()).is_ok()) {
        return None;
    }
    Some(if has("init_process_pid") {
        Maker::Runc
    } else if has("creator") || has("useSystemd") {
        Maker::Youki
    } else {
        maker_of_names(names).unwrap_or(Maker::Unknown)
    })
}

/// Who has made a directory with these entries and without a state; `None` is this program, which leaves them when it is
/// killed.
pub(super) fn maker_of_names<'a>(names: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Maker> {
    let has = |wanted: &[u8]| names.clone().any(|name| name == wanted);
    if names.clone().all(|name| super::dir::OWN.iter().any(|own| own.as_bytes() == name)) {
        return None;
    }
    Some(if has(b"youki_config.json") {
        Maker::Youki
    } else if has(b"status") || has(b"exec.fifo") && has(b"config.json") {
        Maker::Crun
    } else if has(b"exec.fifo") {
        Maker::Runc
    } else {
        Maker::Unknown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> + Clone {
        names.iter().map(|name| name.as_bytes())
    }

    #[test]
    fn a_state_tells_who_has_written_it() {
        let maker = |state: &str, beside: &[&str]| maker_of_state(state.as_bytes(), names(beside));
        let ours = r#"{"ociVersion":"9.9","id":"x","init":{"pid":1,"startTime":2},"new":true}"#;
        let ours = ours.replace("startTime", "start_time");
        assert_eq!(maker(&ours, &["state.json", "config.json"]), None, "of a later version");
        let runc = r#"{"id":"x","init_process_pid":7,"init_process_start":8,"config":{}}"#;
        assert_eq!(maker(runc, &["state.json"]), Some(Maker::Runc));
        let youki = r#"{"ociVersion":"v1.0.2","id":"x","status":"running","pid":7,"bundle":"/b","creator":0}"#;
        assert_eq!(maker(youki, &["state.json", "youki_config.json"]), Some(Maker::Youki));
        for other in ["{}", r#"{"init":1}"#, r#"{"init":{}}"#, r#"{"id":"x"}"#] {
            assert_eq!(maker(other, &["state.json", "config.json"]), Some(Maker::Unknown), "{other}");
        }
        for damaged in ["", "{", "[]", "null", "\0"] {
            assert_eq!(maker(damaged, &["state.json", "config.json"]), None, "{damaged:?}");
            assert_eq!(maker(damaged, &["state.json"]), Some(Maker::Unknown), "{damaged:?}");
            assert_eq!(maker(damaged, &["state.json", "exec.fifo"]), Some(Maker::Runc), "{damaged:?}");
        }
    }

    #[test]
    fn entries_tell_who_has_made_a_directory() {
        let maker = |entries: &[&str]| maker_of_names(names(entries));
        for ours in [&[] as &[_], &["config.json"], &["config.json", "intent.json", ".state.json", "start", "notify"]] {
            assert_eq!(maker(ours), None, "{ours:?}");
        }
        assert_eq!(maker(&["exec.fifo"]), Some(Maker::Runc));
        assert_eq!(maker(&["exec.fifo", "config.json"]), Some(Maker::Crun));
        assert_eq!(maker(&["status", "config.json"]), Some(Maker::Crun));
        assert_eq!(maker(&["youki_config.json", "notify.sock"]), Some(Maker::Youki));
        assert_eq!(maker(&["config.json", "x"]), Some(Maker::Unknown));
    }
}
