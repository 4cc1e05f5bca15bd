//! Rules for `mounts` (config.md, Mounts).
#![forbid(unsafe_code)]

use super::{Context, linux::id_mappings};
use super::{Findings, View, process::is_mapped, text};
use crate::spec::mount_options::{self, MountOptions};
use crate::spec::suggest::closest;
use crate::spec::{clean, tree::quote};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

pub(super) fn check(spec: &Spec, view: &View<'_>, context: &Context, found: &mut Findings) {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let path = format_args!("mounts[{index}]");
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        destination(mount, &options, &path, found);
        for (index, option) in mount.options().iter().flatten().enumerate() {
            found.no_nul(option, || format!("{path}.options[{index}]"));
        }
        source(mount, &options, &path, found);
        ids(mount, &options, &path, view, context, found);
        if context.rootless && options.bind.is_none() {
            owners(&options, &path, view, found);
        }
    }
}

fn destination(mount: &Mount, options: &MountOptions, path: &impl std::fmt::Display, found: &mut Findings) {
    let destination = text(mount.destination());
    if destination.is_empty() {
        found.error_hint(format!("{path}.destination"), "\"\" is not an absolute path in the container", "give one");
        return;
    }
    found.no_nul(destination, || format!("{path}.destination"));
    if !destination.starts_with('/') {
        found.warn(
            format!("{path}.destination"),
            format!("{} is taken as {}: relative ones are deprecated", quote(destination), quote(&clean(destination))),
        );
    }
    if clean(destination) == "/" && !options.remount {
        found.error_hint(
            format!("{path}.destination"),
            format!("{} is the root of the container: the mount would hide it", quote(destination)),
            "root.path says what is mounted there",
        );
    }
}

/// Whether this is a bind mount: by its options, or by the type that says so.
fn is_bind(mount: &Mount, options: &MountOptions) -> bool {
    options.bind.is_some() || matches!(mount.typ().as_deref(), Some("bind" | "rbind"))
}

fn source(mount: &Mount, options: &MountOptions, path: &impl std::fmt::Display, found: &mut Findings) {
    let source = mount.source().as_deref().map(text).unwrap_or_default();
    let kind = mount.typ().as_deref().unwrap_or_default();
    found.no_nul(source, || format!("{path}.source"));
    found.no_nul(kind, || format!("{path}.type"));
    if options.remount {
        return;
    }
    if is_bind(mount, options) {
        if source.is_empty() {
            found.error_hint(
                format!("{path}.source"),
                "is missing: a bind mount needs what it binds",
                "it is a path on the host, absolute or below the bundle",
            );
        }
        // Nobody reads these options, so one that was meant to protect would silently do nothing.
        for (name, value) in &options.data {
            let index = mount.options().iter().flatten().position(|option| option.split(',').any(|part| part == name));
            let at = index.map_or_else(|| format!("{path}.options"), |index| format!("{path}.options[{index}]"));
            let shown = value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"));
            found.error_hint(
                at,
                format!("bind mounts cannot have any filesystem-specific options applied, got {}", quote(&shown)),
                closest(name, mount_options::supported())
                    .map_or_else(|| "remove it".to_owned(), |option| format!("did you mean `{option}`?")),
            );
        }
        if options.tmpcopyup {
            found.error(format!("{path}.options"), "tmpcopyup is for tmpfs, and this is a bind mount");
        }
        if options.copy_symlink && (options.src_nofollow || options.dest_nofollow) {
            found.error_hint(
                format!("{path}.options"),
                "copy-symlink makes a link, src-nofollow and dest-nofollow mount: not both",
                "leave one of them out",
            );
        }
        return;
    }
    if options.copy_symlink || options.src_nofollow || options.dest_nofollow {
        found.error(
            format!("{path}.options"),
            "copy-symlink, src-nofollow and dest-nofollow are for bind mounts, and this is none",
        );
    }
    // To fsconfig(2) it is the source, which nobody who reads the configuration would look for there.
    if options.data.iter().any(|(name, _)| name == "source") {
        found.error_hint(
            format!("{path}.options"),
            "source is not an option: mount(2) takes none of this name",
            format!("use {path}.source"),
        );
    }
    if kind.is_empty() || kind == "none" {
        found.error_hint(
            format!("{path}.type"),
            if kind.is_empty() {
                "is missing: a mount that binds nothing needs a file system"
            } else {
                "\"none\" is not a file system"
            },
            "give it, or add the option bind or rbind",
        );
    }
    if options.tmpcopyup && kind != "tmpfs" {
        found.error(format!("{path}.options"), format!("tmpcopyup is for tmpfs, and this is {}", quote(kind)));
    }
}

fn ids(
    mount: &Mount,
    options: &MountOptions,
    path: &impl std::fmt::Display,
    view: &View<'_>,
    context: &Context,
    found: &mut Findings,
) {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    if uids.is_empty() && gids.is_empty() && options.idmap.is_none() {
        return;
    }
    if uids.is_empty() != gids.is_empty() {
        let (missing, given) =
            if uids.is_empty() { ("uidMappings", "gidMappings") } else { ("gidMappings", "uidMappings") };
        found.error(format!("{path}.{missing}"), format!("is missing: it must be given together with {given}"));
    }
    id_mappings(uids, || format!("{path}.uidMappings"), found);
    id_mappings(gids, || format!("{path}.gidMappings"), found);
    if !is_bind(mount, options) {
        found.error_hint(
            path.to_string(),
            "id mappings are only supported for bind mounts",
            "add the option bind or rbind, or remove the mappings",
        );
    }
    let written = options.idmap_ids.as_deref();
    if let Some(text) = written {
        if mount_options::id_ranges(text).is_none() {
            found.error_hint(
                format!("{path}.options"),
                format!("{} is not a mapping of ids", quote(&format!("idmap={text}"))),
                "write idmap=uids=FROM-TO-SIZE;gids=FROM-TO-SIZE, several ranges with # between them",
            );
        } else if !uids.is_empty() || !gids.is_empty() {
            found.error(format!("{path}.options"), "idmap has a mapping of its own, and the mount has another");
        }
    }
    if written.is_none() && uids.is_empty() && gids.is_empty() && !view.has(LinuxNamespaceType::User) {
        found.error_hint(
            format!("{path}.options"),
            "idmap without mappings takes those of the user namespace, and the container has none",
            "give uidMappings and gidMappings, or add {\"type\": \"user\"} to linux.namespaces",
        );
    }
    if context.rootless {
        found.error_hint(
            path.to_string(),
            "id-mapped mounts need root on the host",
            "run as root, or remove the mappings",
        );
    }
}

/// A file system cannot belong to an id that the user namespace does not have.
fn owners(options: &MountOptions, path: &impl std::fmt::Display, view: &View<'_>, found: &mut Findings) {
    if !view.makes(LinuxNamespaceType::User) {
        return;
    }
    for (name, value) in &options.data {
        let mappings = match name.as_str() {
            "uid" => view.uid_mappings,
            "gid" => view.gid_mappings,
            _ => continue,
        };
        let Some(id) = value.as_deref().and_then(|value| value.parse::<u32>().ok()) else { continue };
        if !is_mapped(mappings, id) {
            found.error_hint(
                format!("{path}.options"),
                format!("cannot specify {name}={id} mount options for unmapped {name} in rootless containers"),
                format!("remove it, or map {id} in linux.{name}Mappings"),
            );
        }
    }
}
