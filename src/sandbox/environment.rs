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

/// Those of them that speak of the terminal, not of files that an image does not have.
const OF_THE_TERMINAL: &[&str] = &["COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "TERM"];

/// `NAME=value`, by name. In an image, the image's own take the place of the caller's.
pub(super) fn compile(request: &Request, host: &Surroundings, refusals: &mut Vec<Refusal>) -> Vec<String> {
    let rootfs = request.rootfs.as_ref();
    let is_allowed = |name: &str| match rootfs {
        None => ALLOWED.contains(&name) || name.starts_with(ALLOWED_PREFIX),
        Some(_) => OF_THE_TERMINAL.contains(&name),
    };
    let given = host.environment.iter().filter(|(name, _)| is_allowed(name)).cloned();
    let mut all: BTreeMap<String, String> = given.collect();
    all.extend(rootfs.iter().flat_map(|rootfs| rootfs.environment.iter().cloned()));
    all.entry("PATH".into()).or_insert_with(|| PATH.into());
    let home = match (rootfs, &host.home) {
        (Some(rootfs), _) => rootfs.home_variable(request),
        (None, Some(home)) => home.to_string_lossy().into_owned(),
        (None, None) => "/tmp".into(),
    };
    all.insert("HOME".into(), home);
    // As systemd-nspawn and podman tell programs that ask.
    all.insert("container".into(), "pent".into());
    if let Network::Own(places) = &request.network
        && request.has_proxy()
    {
        all.extend(super::net::environment(places));
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
