//! The configuration that `spec` writes: runc's defaults, which programs edit with jq.
//!
//! It differs from what `runc spec` writes in the version and hostname, and by what newer releases of runc changed
//! (no ambient capabilities, the TPM masked).
#![forbid(unsafe_code)]

use oci_spec::runtime::Spec;
use std::borrow::Cow;

const DEFAULT: &str = include_str!("default.json");
const ROOTLESS: &str = include_str!("default_rootless.json");

/// The user who will own a rootless container: mapped to root inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The text of the default configuration: tabs, the properties in the order of runc, a newline at its end.
///
/// With an owner it is for a rootless container: a user namespace with that owner as root, the host's network, and no
/// resource limits. A cgroup namespace is asked for where cgroup v2 is alone (`unified`): programs that run elsewhere add theirs.
#[must_use]
pub fn default_json(rootless: Option<Owner>, unified: bool) -> Cow<'static, str> {
    let text = with_owner(rootless);
    if unified { text } else { text.replace(CGROUP_NAMESPACE, "").into() }
}

const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";

fn with_owner(rootless: Option<Owner>) -> Cow<'static, str> {
    match rootless {
        None => DEFAULT.into(),
        Some(Owner { uid, gid }) => {
            ROOTLESS.replace("\"UID\"", &uid.to_string()).replace("\"GID\"", &gid.to_string()).into()
        }
    }
}

/// [`default_json`] for cgroup v2 as it is read.
///
/// # Panics
/// Never: a test reads both texts.
#[must_use]
pub fn default_spec(rootless: Option<Owner>) -> Spec {
    match super::parse(default_json(rootless, true).as_bytes()) {
        Ok(loaded) => loaded.spec,
        Err(found) => unreachable!("the default configuration is wrong: {found:?}"),
    }
}
