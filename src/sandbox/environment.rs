//! The environment: an allow-list of the caller's, and what was asked for.
#![forbid(unsafe_code)]

use super::Refusal;
use super::request::{Network, Request};
use super::surroundings::Surroundings;
use std::collections::BTreeMap;

/// Variables that say how to talk to the user, and hold no secrets.
const ALLOWED: &[&str] = &[
    "COLORTERM",
    "COLUMNS",
    "EDITOR",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LOGNAME",
    "NO_COLOR",
    "PAGER",
    "PATH",
    "SHELL",
    "TERM",
    "TZ",
    "USER",
    "VISUAL",
];
const ALLOWED_PREFIX: &str = "LC_";
/// Where programs are when the caller does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=value`, by name.
pub(super) fn compile(request: &Request, host: &Surroundings, refusals: &mut Vec<Refusal>) -> Vec<String> {
    let is_allowed = |name: &str| ALLOWED.contains(&name) || name.starts_with(ALLOWED_PREFIX);
    let given = host.environment.iter().filter(|(name, _)| is_allowed(name)).cloned();
    let mut all: BTreeMap<String, String> = given.collect();
    all.entry("PATH".into()).or_insert_with(|| PATH.into());
    if let Some(home) = &host.home {
        all.insert("HOME".into(), home.to_string_lossy().into_owned());
    } else {
        all.insert("HOME".into(), "/tmp".into());
    }
    // As systemd-nspawn and podman tell programs that ask.
    all.insert("container".into(), "pent".into());
    if matches!(&request.network, Network::Own(places) if !places.is_empty()) {
        all.extend(super::net::environment());
    }
    for (name, value) in &request.environment {
        let value = value
            .clone()
            .or_else(|| host.environment.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()));
        match value {
            Some(value) => {
                all.insert(name.clone(), value);
            }
            None => refusals.push(Refusal {
                message: format!("--env {name}: the caller's environment has no {name}"),
                hint: format!("give its value: --env {name}=…"),
            }),
        }
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
