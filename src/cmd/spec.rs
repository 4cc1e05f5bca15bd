//! `pent spec`: a starter config.json.
#![forbid(unsafe_code)]

use super::{Explained as _, hinted};
use crate::cli::Spec;
use crate::host::Host;
use crate::spec::{Owner, default_json};
use anyhow::{Context as _, Result};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Writes config.json where there is none yet.
pub(super) fn run(args: &Spec) -> Result<u8> {
    let owner = Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
    let path = args.bundle.as_deref().unwrap_or(Path::new("")).join("config.json");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(hinted(&format!("{} exists", path.display()), "remove it first"));
        }
        made => made.with_context(|| format!("cannot create {}", path.display()))?,
    };
    let unified = Host::probe(false).explained()?.cgroup.is_v2();
    file.write_all(default_json(args.rootless.then_some(owner), unified).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(0)
}
