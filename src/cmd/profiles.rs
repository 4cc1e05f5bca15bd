//! The profiles of a container: chosen, applied, kept.
#![forbid(unsafe_code)]

use super::{Explained as _, Session, hinted};
use crate::profile::{self, ANNOTATION, Config, HookCheck, Profile};
use anyhow::Context as _;
use oci_spec::runtime::Spec;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What applies to a container with this configuration: what the caller asks for, else the administrator's file; and what the
/// container itself asks for, as far as that is allowed to.
pub(super) fn chosen(session: &Session<'_>, spec: &Spec, id: &str) -> anyhow::Result<Vec<Profile>> {
    let annotation = spec.annotations().as_ref().and_then(|annotations| annotations.get(ANNOTATION));
    let asked = session.global.profile.as_deref();
    let config = Config::load().explained()?;
    let names = config.choose(asked, session.root()?.path(), annotation.map(String::as_str)).explained()?;
    names.iter().map(|name| Ok(profile::load(name).explained()?.for_container(id))).collect()
}

/// What the caller asks for beside what a container was made with.
pub(super) fn asked(session: &Session<'_>) -> anyhow::Result<Option<Profile>> {
    let name = session.global.profile.as_deref().filter(|name| *name != profile::NONE);
    name.map(profile::load).transpose().explained()
}

/// Compares hooks with the digests that profiles want.
pub(super) fn check_hooks(hooks: &[HookCheck]) -> anyhow::Result<()> {
    for hook in hooks {
        let found =
            digest(&hook.path).with_context(|| format!("{}: cannot read hook {}", hook.at, hook.path.display()))?;
        if found != hook.sha256.to_string() {
            return Err(hinted(
                &format!(
                    "{}: profile {}, rule hooks: {} has the digest {found}, not {}",
                    hook.at,
                    hook.profile,
                    hook.path.display(),
                    hook.sha256
                ),
                "if the file is what it should be, write its digest (sha256sum) into the profile",
            ));
        }
    }
    Ok(())
}

fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hash.update(&buffer[..count]),
        }
    }
}
