//! What the fuzz targets (`fuzz/`) do with arbitrary bytes, and their seeds as a test. In no build but theirs.
//!
//! Each panics where something does not hold that has to hold for whatever bytes there are.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "looks only at what it made itself; the names of the targets say it"
)]

use crate::host::Host;
use crate::profile::{self, Profile};
use crate::sandbox::{self, Surroundings, hidden};
use crate::spec::{self, Context};
use oci_spec::runtime::Spec;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path};
use std::sync::OnceLock;

pub use crate::image::fuzz::archive;
pub use crate::refusal::fuzz::names;
pub use crate::sandbox::net::fuzz::proxy;
pub use crate::state::fuzz::state;

/// Between the parts of an input: the byte that is in none of the texts.
const BETWEEN: u8 = 0;

/// A config.json: read and checked.
pub fn config(data: &[u8]) {
    if let Ok(loaded) = spec::parse(data) {
        for rootless in [false, true] {
            drop(spec::validate(&loaded.spec, &Context { needs_process: true, rootless }));
        }
    }
    if let Ok(loaded) = spec::parse_process(data) {
        drop(spec::validate_process(&loaded.spec));
    }
    if let Ok(loaded) = spec::parse_resources(data) {
        drop(spec::validate_resources(&loaded.spec));
    }
}

/// A profile, the one that it extends (after a zero byte), and a configuration that is cut to it (after another).
pub fn profile(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == BETWEEN);
    let mut next = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (text, base, config) = (next(), next(), next());
    let parse = |text: &str| profile::parse("fuzz", text).ok();
    let Some(mut profile) = text.and_then(parse) else { return };
    if let Some(base) = base.and_then(parse) {
        profile = profile.over(base.settled());
    }
    let profile = profile.settled().for_container("an id");
    drop(profile::compile_seccomp(&profile));
    let default = spec::default_json(None, false);
    let Ok(loaded) = spec::parse(config.unwrap_or(&default).as_bytes()) else { return };
    tighten(&profile, &loaded.spec);
}

/// What a profile makes of a configuration is never more than the configuration, and cutting it again changes nothing.
fn tighten(profile: &Profile, before: &Spec) {
    let mut after = before.clone();
    if profile::tighten(profile, &mut after, &Host::of_tests()).is_err() {
        return;
    }
    let (old, new) = (before.process().as_ref(), after.process().as_ref());
    if let (Some(old), Some(new)) = (old, new) {
        assert!(old.no_new_privileges() != Some(true) || new.no_new_privileges() == Some(true), "no_new_privs is gone");
        let (old, new) = (old.capabilities().as_ref(), new.capabilities().as_ref());
        let none = oci_spec::runtime::Capabilities::new();
        let bounding = |set: Option<&oci_spec::runtime::LinuxCapabilities>| {
            set.and_then(|sets| sets.bounding().clone()).unwrap_or_else(|| none.clone())
        };
        assert!(bounding(new).is_subset(&bounding(old)), "more capabilities");
    }
    let readonly = |spec: &Spec| spec.root().as_ref().and_then(|root| root.readonly()) == Some(true);
    assert!(!readonly(before) || readonly(&after), "the root can be written to");
    let masked = |spec: &Spec| -> BTreeSet<String> {
        let paths = spec.linux().as_ref().and_then(|linux| linux.masked_paths().clone());
        paths.into_iter().flatten().collect()
    };
    assert!(masked(&after).is_superset(&masked(before)), "a mask is gone");
    let mut again = after.clone();
    assert!(profile::tighten(profile, &mut again, &Host::of_tests()).is_ok(), "what it has made is refused");
}

/// The flags of a sandbox, each ended by a zero byte; and as one text what is read of the host.
pub fn flags(data: &[u8]) {
    tables(data);
    let words = data.split(|byte| *byte == BETWEEN).map(|word| OsString::from_vec(word.to_vec()));
    let argv = ["pent", "sandbox"].into_iter().map(OsString::from).chain(words);
    let Ok(crate::cli::Command::Sandbox(args)) = crate::cli::parse(argv).command else { return };
    static HERE: OnceLock<Option<Surroundings>> = OnceLock::new();
    let Some(here) = HERE.get_or_init(|| Surroundings::probe(false).ok()) else { return };
    let Ok(request) = crate::cmd::sandbox::fuzzed(&args, here) else { return };
    for target in request.grants.iter().map(|grant| &grant.target).chain(request.tmpfs.iter().map(|new| &new.target)) {
        assert!(is_clean(target), "{target:?}");
        assert!(!["/", "/proc", "/dev"].contains(&target.to_str().unwrap_or_default()), "{target:?}");
    }
    for grant in &request.grants {
        assert!(is_clean(&grant.source) && grant.source.parent().is_some(), "{:?}", grant.source);
    }
    let Ok(sandbox) = sandbox::compile(&request, here) else { return };
    let linux = sandbox.spec.linux().as_ref();
    assert_eq!(sandbox.spec.root().as_ref().and_then(|root| root.readonly()), Some(true));
    assert_eq!(sandbox.spec.process().as_ref().and_then(|process| process.no_new_privileges()), Some(true));
    assert!(linux.is_some_and(|linux| linux.seccomp().is_some() && linux.masked_paths().is_some()));
    for mount in sandbox.spec.mounts().iter().flatten() {
        assert!(is_clean(mount.destination()), "{mount:?}");
    }
}

fn is_clean(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// Files of /proc and /etc that others have a say in.
fn tables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mounts = hidden::parse_mounts(data);
    let elsewhere = hidden::Elsewhere::new(&mounts);
    for mount in mounts.iter().take(8) {
        for alias in elsewhere.of_path(&mount.point) {
            assert_ne!(alias, mount.point);
        }
    }
    sandbox::read_users(data);
    let clean = spec::clean(&text);
    assert_eq!(spec::clean(&clean), clean, "of {text:?}");
    drop(sandbox::net::environment(&text.parse().into_iter().collect::<Vec<_>>()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is in `fuzz/seeds/NAME`.
    fn replay(name: &str, target: fn(&[u8])) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let mut count = 0;
        for seed in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = seed.expect("an entry").path();
            let bytes = fs::read(&path).expect("a file");
            assert!(std::panic::catch_unwind(|| target(&bytes)).is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{} is empty", directory.display());
    }

    #[test]
    fn seeds_of_every_target() {
        type Target = fn(&[u8]);
        let targets: [(&str, Target); 7] = [
            ("archive", archive),
            ("config", config),
            ("flags", flags),
            ("names", names),
            ("profile", profile),
            ("proxy", proxy),
            ("state", state),
        ];
        for (name, target) in targets {
            replay(name, target);
        }
    }
}
