//! The environment: an allow-list of the caller's, and what was asked for.
#![forbid(unsafe_code)]

use super::Refusal;
use super::request::{Network, Request};
use super::surroundings::Surroundings;
use crate::spelling::{shown, spell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

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

/// `NAME=value`, by name, spelled. In an image, the image's own take the place of the caller's.
pub(super) fn compile(request: &Request, host: &Surroundings, refusals: &mut Vec<Refusal>) -> Vec<String> {
    let rootfs = request.rootfs.as_ref();
    let among = |names: &[&str], name: &OsStr| names.iter().any(|known| name == *known);
    let is_allowed = |name: &OsStr| match rootfs {
        None => among(ALLOWED, name) || name.as_bytes().starts_with(ALLOWED_PREFIX.as_bytes()),
        Some(_) => among(OF_THE_TERMINAL, name),
    };
    let given = host.environment.iter().filter(|(name, _)| is_allowed(name)).cloned();
    let mut all: BTreeMap<OsString, OsString> = given.collect();
    let of_image = rootfs.iter().flat_map(|rootfs| &rootfs.environment);
    all.extend(of_image.map(|(name, value)| (name.into(), value.into())));
    all.entry("PATH".into()).or_insert_with(|| PATH.into());
    let home = match rootfs {
        Some(rootfs) => rootfs.home_variable(request),
        None => super::mounts::home_variable(request, host),
    };
    all.insert("HOME".into(), home.into());
    // As systemd-nspawn and podman tell programs that ask.
    all.insert("container".into(), "pent".into());
    if let Network::Own(places) = &request.network
        && request.has_proxy()
    {
        all.extend(super::net::environment(places).into_iter().map(|(name, value)| (name.into(), value.into())));
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
                message: format!("--env {0}: the caller's environment has no {0}", shown(name)),
                hint: format!("give its value: --env {}=…", shown(name)),
            }),
        }
    }
    all.into_iter().map(|(name, value)| format!("{}={}", spell(name), spell(value))).collect()
}
