//! A profile and what a sandbox's flags name: the profile decides everything else.
//!
//! A profile never loosens what a configuration asks for, so that whoever types `--rw .` has to say so to the profile first. What is
//! let through is exactly the mounts that `compile` has made, and the numbers and the network that were typed.
#![forbid(unsafe_code)]

use super::request::{Network, Request};
use crate::profile::{Absolute, DeviceKind, Profile, Reach, Size, Tmpfs, Writable};
use crate::spec::clean;
use crate::spec::mount_options::{MountOptions, attr};
use crate::spelling::{spell, spell_path};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use std::collections::BTreeSet;
use std::path::Path;

/// The directories in memory that are the profile's to limit, unless `--tmpfs` names them.
const OF_THE_PROFILE: &[&str] = &["/tmp", "/run", "/dev/shm"];

/// Lets through what was typed. Limits of a control group are taken out: they are in the configuration already.
pub(super) fn widened(mut profile: Profile, spec: &Spec, request: &Request) -> Profile {
    let named = |target: &Path| request.tmpfs.iter().any(|tmpfs| spell_path(&tmpfs.target) == target);
    for mount in spec.mounts().iter().flatten() {
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let files = &mut profile.filesystem;
        if options.bind.is_some() {
            let Some(source) = mount.source().as_deref().and_then(absolute) else { continue };
            // What is hidden in it is hidden by the sandbox.
            if let Some(forbidden) = &mut files.forbidden_sources {
                forbidden.retain(|path| !path.meets(source.path()));
            }
            if let Some(fixed) = &mut files.readonly_sources {
                fixed.retain(|path| !path.meets(source.path()));
            }
            if let Some(sources) = &mut files.sources {
                sources.insert(source.clone());
            }
            if let Some(writable) = &mut files.writable_sources
                && options.attributes.set & attr::RDONLY == 0
            {
                writable.insert(source);
            }
        } else if mount.typ().as_deref() == Some("tmpfs")
            && (named(mount.destination()) || !OF_THE_PROFILE.iter().any(|path| mount.destination() == Path::new(path)))
            && let (Some(writable), Some(target)) = (&mut files.writable, absolute(mount.destination()))
        {
            writable.insert(target, Writable::Tmpfs(limits(mount, &options)));
        }
    }
    if let Some(allowed) = &mut profile.devices.allow {
        allowed.extend(request.devices.iter().filter_map(|device| {
            let node = crate::profile::Device {
                kind: DeviceKind::Char,
                major: device.major,
                minor: device.minor,
                access: "rw".parse().ok()?,
            };
            Some((absolute(&spell_path(&device.path))?, node))
        }));
    }
    if request.network == Network::Host {
        profile.namespaces.own = profile
            .namespaces
            .own
            .map(|own| own.into_iter().filter(|kind| *kind != LinuxNamespaceType::Network).collect());
        profile.network.reach = Some(Reach::Host);
    }
    profile.cgroup = crate::profile::Cgroup::default();
    profile
}

fn absolute(path: &Path) -> Option<Absolute> {
    clean(path.to_str()?).parse().ok()
}

/// The limits that a tmpfs has already.
fn limits(mount: &Mount, options: &MountOptions) -> Tmpfs {
    let number = |name: &str| {
        let value = options.data.iter().rev().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
        value.and_then(|value| value.parse::<Size>().ok())
    };
    debug_assert!(number("size").is_some(), "{mount:?}");
    Tmpfs {
        size: number("size").unwrap_or(Size(0)),
        inodes: number("nr_inodes").map(|inodes| inodes.0),
        mode: None,
        noexec: options.attributes.set & attr::NOEXEC != 0,
    }
}

/// The variables that were named keep their values, whatever the profile takes away.
pub(super) fn keep_environment(spec: &mut Spec, before: &[String], request: &Request) {
    let names: BTreeSet<String> = request.environment.iter().map(|(name, _)| spell(name)).collect();
    let Some(process) = spec.process_mut() else { return };
    let mut after = process.env().clone().unwrap_or_default();
    for variable in before {
        let name = variable.split('=').next().unwrap_or_default();
        if names.contains(name) && !after.iter().any(|kept| kept.split('=').next() == Some(name)) {
            after.push(variable.clone());
        }
    }
    process.set_env(Some(after));
}
