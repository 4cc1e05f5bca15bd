//! The root filesystem, mounts, and hidden paths.
#![forbid(unsafe_code)]

use super::{Cut, UserNamespace};
use crate::profile::format::{Mode, Rule, Tmpfs, Writable};
use crate::profile::values::{Absolute, Octal, Size};
use crate::spec::clean;
use crate::spec::mount_options::{MountOptions, Spread, attr};
use oci_spec::runtime::{Mount, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What /dev may hold: nodes and links.
const DEV: Tmpfs = Tmpfs { size: Size(64 << 20), inodes: None, mode: None, noexec: true };

/// A mount as the rules look at it.
struct Asked {
    /// `bind`, `remount`, or the type.
    kind: String,
    destination: PathBuf,
    /// `None` when it is none of the host's, or below the bundle.
    source: Option<PathBuf>,
    options: MountOptions,
    recursive: bool,
}

impl Asked {
    fn of(mount: &Mount) -> Self {
        let mut options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let is_bind = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
        let kind = if options.remount {
            "remount".to_owned()
        } else if is_bind {
            "bind".to_owned()
        } else {
            mount.typ().clone().unwrap_or_default()
        };
        if kind != "bind" && kind != "remount" {
            // As the plan has it: of a new filesystem, the recursive half counts in the end.
            options.attributes = options.attributes.then(options.recursive);
        }
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let source = mount.source().as_deref().filter(|_| is_bind);
        Self {
            destination: clean(&text(mount.destination())).into(),
            source: source.and_then(on_host),
            // `bind` as a type alone is bind with what is below, as with runc.
            recursive: options.bind.is_none_or(|reach| reach.recursive),
            kind,
            options,
        }
    }

    fn has(&self, attribute: u64) -> bool {
        self.options.attributes.set & attribute != 0
    }

    /// Whether the mounts below it have the attribute, too, where there can be any.
    fn has_below(&self, attribute: u64) -> bool {
        self.kind != "bind" || !self.recursive || self.options.recursive.set & attribute != 0
    }
}

/// What a filesystem that is no bind mount shows of the host.
#[derive(Default)]
struct Layers {
    read: Vec<PathBuf>,
    /// Read, too.
    written: Vec<PathBuf>,
}

/// Filesystems of the kernel's own, whose source is a mere name.
const SOURCELESS: [&str; 9] = ["proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2", "hugetlbfs"];
/// Others of the kernel's or of the network: a source that is no absolute path is a name.
const NAMED: [&str; 15] = [
    "9p",
    "binder",
    "bpf",
    "ceph",
    "cifs",
    "configfs",
    "debugfs",
    "nfs",
    "nfs4",
    "pstore",
    "securityfs",
    "selinuxfs",
    "smb3",
    "tracefs",
    "virtiofs",
];

impl Layers {
    fn of(asked: &Asked, mount: &Mount) -> Self {
        let kind = asked.kind.as_str();
        let mut layers = Self::default();
        if kind != "overlay" && !SOURCELESS.contains(&kind) {
            // A device, or a file.
            let source = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty());
            layers.written.extend(source.filter(|source| source.is_absolute() || !NAMED.contains(&kind)).map(cleaned));
        }
        for (name, value) in &asked.options.data {
            let Some(value) = value else { continue };
            match name.as_str() {
                // The source by another way, and what a filesystem has beside it: more devices, its log, its journal.
                "source" | "device" | "logdev" | "rtdev" | "journal_path" => {
                    layers.written.push(cleaned(Path::new(value)));
                }
                // By its number.
                "journal_dev" => layers.written.push("/dev".into()),
                _ if kind != "overlay" => {}
                "lowerdir" => layers.read.extend(split_layers(value)),
                // Kernels differ in which of these they take backslashes out of.
                "lowerdir+" | "datadir+" => layers.read.extend([cleaned(Path::new(value)), unescaped(value)]),
                "upperdir" | "workdir" => layers.written.extend([cleaned(Path::new(value)), unescaped(value)]),
                _ => {}
            }
        }
        layers
    }
}

/// Absolute ones without dots. Others are looked up where pent was started, which may be anywhere: they stay relative, and are
/// therefore in no list of what is allowed and in every list of what is not.
fn cleaned(path: &Path) -> PathBuf {
    if path.is_absolute() { clean(&path.to_string_lossy()).into() } else { path.to_owned() }
}

/// A path of the host, without dots; `None` for one below the bundle. One that climbs out of the bundle stays relative: it may
/// lead anywhere, and is therefore in no list of what is allowed and in every list of what is not.
fn on_host(path: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let mut depth = 0_u32;
    let mut below = |part: Component<'_>| {
        depth = match part {
            Component::ParentDir => depth.checked_sub(1)?,
            Component::Normal(_) => depth + 1,
            _ => depth,
        };
        Some(())
    };
    let stays = !path.is_absolute() && path.components().try_for_each(|part| below(part).ok_or(())).is_ok();
    (!stays).then(|| cleaned(path))
}

fn unescaped(value: &str) -> PathBuf {
    let mut escaped = false;
    let kept = value.chars().filter(|c| {
        escaped = *c == '\\' && !escaped;
        !escaped
    });
    cleaned(Path::new(&kept.collect::<String>()))
}

/// The layers of `lowerdir`: between colons that no backslash is before; empty ones separate data-only layers.
fn split_layers(value: &str) -> Vec<PathBuf> {
    let mut escaped = false;
    let layers = value.split(|c| {
        let ends = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    layers.filter(|layer| !layer.is_empty()).map(unescaped).collect()
}

impl<'a> Cut<'a> {
    pub(super) fn filesystem(&mut self, spec: &mut Spec) {
        let mut mounts = Vec::new();
        let mut dropped = BTreeMap::new();
        let user_namespace = UserNamespace::of(spec);
        for (at, mut mount) in spec.mounts().clone().unwrap_or_default().into_iter().enumerate() {
            let asked = Asked::of(&mount);
            let path = format!("mounts[{at}]");
            if asked.kind == "remount" {
                // Kept in any case: without it, what it restricts would be open.
                self.propagation(&path, &asked, &mut mount);
                self.remount(&path, &asked, dropped.get(&asked.destination).copied(), &mut mount);
            } else if !self.mount(&path, &asked, &mut mount) {
                dropped.extend(self.done.changes.last().map(|change| (asked.destination, change.rule)));
                continue;
            } else {
                self.owners(&path, &user_namespace, &mut mount);
            }
            mounts.push(mount);
        }
        self.root(spec, &mut mounts, &dropped);
        self.paths(spec, &mounts);
        if !mounts.is_empty() || spec.mounts().is_some() {
            spec.set_mounts(Some(mounts));
        }
    }

    /// Cuts one mount; whether it is kept.
    fn mount(&mut self, path: &str, asked: &Asked, mount: &mut Mount) -> bool {
        let rules = &self.profile.filesystem;
        if rules.types.as_ref().is_some_and(|types| !types.contains(&asked.kind)) {
            let requested = format!("a mount of {} on {}", asked.kind, asked.destination.display());
            if self.beyond(Rule::Types, format!("{path}.type"), requested, "no such mount") {
                return false;
            }
        }
        if asked.kind == "bind" {
            if !self.source(path, asked) {
                return false;
            }
            self.writable_source(path, asked, mount);
        } else if !self.layers(path, asked, mount) {
            return false;
        }
        if rules.readonly_types.as_ref().is_some_and(|types| types.contains(&asked.kind)) && !asked.has(attr::RDONLY) {
            let requested = format!("a writable {}", asked.kind);
            if self.beyond(Rule::ReadonlyTypes, format!("{path}.options"), requested, "ro") {
                add(mount, &["ro"]);
            }
        }
        if asked.kind == "tmpfs" {
            self.tmpfs(path, asked, mount);
        }
        self.flags(path, asked, mount);
        self.propagation(path, asked, mount);
        true
    }

    /// Whether the host path may be mounted.
    fn source(&mut self, path: &str, asked: &Asked) -> bool {
        self.host_path(&format!("{path}.source"), asked.source.as_deref(), &asked.destination)
    }

    /// The directories of an overlay, and what other filesystems are made from: host paths, too. Whether they may be mounted.
    fn layers(&mut self, path: &str, asked: &Asked, mount: &mut Mount) -> bool {
        let Layers { read, written } = Layers::of(asked, mount);
        let source = mount.source().as_deref().map(cleaned);
        for layer in read.iter().chain(&written) {
            let at = if source.as_ref() == Some(layer) { "source" } else { "options" };
            if !self.host_path(&format!("{path}.{at}"), Some(layer), &asked.destination) {
                return false;
            }
        }
        if asked.has(attr::RDONLY) {
            return true;
        }
        let ruled = written.iter().flat_map(|layer| self.against_writing(Some(layer)).map(move |rule| (layer, rule)));
        for (layer, rule) in ruled.collect::<Vec<_>>() {
            let requested = format!("the host's {} writable on {}", layer.display(), asked.destination.display());
            if self.beyond(rule, format!("{path}.options"), requested, "read-only") {
                add(mount, &["ro"]);
                break;
            }
        }
        true
    }

    /// Whether a path of the host, none for one of the bundle, may be mounted.
    fn host_path(&mut self, path: &str, source: Option<&Path>, destination: &Path) -> bool {
        let rules = &self.profile.filesystem;
        let allowed = |sources: &BTreeSet<Absolute>| {
            source.is_some_and(|source| sources.iter().any(|allowed| allowed.contains(source)))
        };
        let bad = rules.sources.as_ref().is_some_and(|sources| !allowed(sources))
            || source.is_some_and(|source| self.forbidden(source).is_some());
        let name = source.map_or_else(|| "a path of the bundle".to_owned(), |source| source.display().to_string());
        let requested = format!("the host's {name} on {}", destination.display());
        !(bad && self.beyond(Rule::Sources, path, requested, "no such mount"))
    }

    /// What must not be mounted and would be with this path of the host.
    fn forbidden(&self, source: &Path) -> Option<&'a Absolute> {
        let mut all = self.profile.filesystem.forbidden_sources.iter().flatten();
        // A directory shows what is in it; without what is mounted below it only if that is in the same filesystem.
        all.find(|forbidden| !source.is_absolute() || forbidden.meets(source))
    }

    /// What must not be written to and could be with this path of the host.
    fn fixed(&self, source: &Path) -> Option<&'a Absolute> {
        let mut all = self.profile.filesystem.readonly_sources.iter().flatten();
        all.find(|fixed| !source.is_absolute() || fixed.meets(source))
    }

    /// The rules that a path of the host, none for one of the bundle, must not be written to by.
    fn against_writing(&self, source: Option<&Path>) -> impl Iterator<Item = Rule> + use<> {
        let listed = |allowed: &BTreeSet<Absolute>| {
            source.is_some_and(|source| source.is_absolute() && allowed.iter().any(|allowed| allowed.contains(source)))
        };
        let unlisted = self.profile.filesystem.writable_sources.as_ref().is_some_and(|allowed| !listed(allowed));
        let fixed = source.is_some_and(|source| self.fixed(source).is_some());
        let rules = [(unlisted, Rule::WritableSources), (fixed, Rule::ReadonlySources)];
        rules.into_iter().filter(|(holds, _)| *holds).map(|(_, rule)| rule)
    }

    fn writable_source(&mut self, path: &str, asked: &Asked, mount: &mut Mount) {
        let source = asked.source.as_deref();
        let name = source.map_or_else(|| "a path of the bundle".to_owned(), |source| source.display().to_string());
        let below: &[&str] = if asked.recursive { &["ro", "rro"] } else { &["ro"] };
        for rule in self.against_writing(source) {
            let path = format!("{path}.options");
            let change = if !asked.has(attr::RDONLY) {
                let requested = format!("the host's {name} writable on {}", asked.destination.display());
                self.beyond(rule, path, requested, "read-only")
            } else {
                !asked.has_below(attr::RDONLY) && self.open(rule, path, "rro, read-only with the mounts below it")
            };
            if change {
                add(mount, below);
                break;
            }
        }
    }

    fn tmpfs(&mut self, path: &str, asked: &Asked, mount: &mut Mount) {
        let Some(writable) = &self.profile.filesystem.writable else { return };
        let limits = match writable.iter().find(|(path, _)| path.path() == asked.destination) {
            Some((_, Writable::Tmpfs(limits))) => *limits,
            _ if asked.destination == Path::new("/dev") => DEV,
            _ => {
                if !asked.has(attr::RDONLY) {
                    let requested = format!("a writable {}", asked.destination.display());
                    if self.beyond(Rule::Writable, format!("{path}.options"), requested, "ro") {
                        add(mount, &["ro"]);
                    }
                }
                return;
            }
        };
        let value = |name: &str| asked.options.data.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
        let size = value("size").and_then(|value| value.as_deref()?.parse::<Size>().ok()).filter(|size| size.0 > 0);
        let blocks = value("nr_blocks").is_some();
        let mut enforced = Vec::new();
        if blocks || size.is_none_or(|size| size > limits.size) {
            enforced.push(format!("size={}", limits.size.0));
        }
        if let Some(most) = limits.inodes {
            let inodes = value("nr_inodes").and_then(|value| value.as_deref()?.parse::<Size>().ok());
            if inodes.is_none_or(|inodes| inodes.0 == 0 || inodes.0 > most) {
                enforced.push(format!("nr_inodes={most}"));
            }
        }
        if limits.noexec && !asked.has(attr::NOEXEC) {
            enforced.push("noexec".to_owned());
        }
        if enforced.is_empty() {
            return;
        }
        let own: Vec<_> = mount.options().iter().flatten().map(String::as_str).collect();
        let path = format!("{path}.options");
        let states = blocks || value("size").is_some() || value("nr_inodes").is_some();
        let change = if states {
            self.beyond(Rule::Writable, path, own.join(","), enforced.join(","))
        } else {
            self.open(Rule::Writable, path, enforced.join(","))
        };
        if change {
            let limits = ["size", "nr_blocks", "nr_inodes"];
            let replaced = |name: &str| {
                limits.contains(&name) && enforced.iter().any(|option| option.starts_with(name) || name == "nr_blocks")
            };
            let mut options = Vec::new();
            for option in mount.options().iter().flatten() {
                let parts: Vec<_> =
                    option.split(',').filter(|part| !replaced(part.split('=').next().unwrap_or_default())).collect();
                if !parts.is_empty() {
                    options.push(parts.join(","));
                }
            }
            mount.set_options(Some(options));
            add(mount, &enforced);
        }
    }

    /// nosuid and nodev.
    fn flags(&mut self, path: &str, asked: &Asked, mount: &mut Mount) {
        // A device that the profile lets be mounted would be of no use, and neither would /dev and the pseudo terminals.
        let holds_devices = asked.kind == "devpts"
            || asked.destination == Path::new("/dev")
            || asked.source.as_deref().is_some_and(|source| source.starts_with("/dev"));
        let rules = &self.profile.filesystem;
        for (wanted, rule, bit, options, opposite) in [
            (rules.nosuid, Rule::Nosuid, attr::NOSUID, ["nosuid", "rnosuid"], ["suid", "rsuid"]),
            (rules.nodev.filter(|_| !holds_devices), Rule::Nodev, attr::NODEV, ["nodev", "rnodev"], ["dev", "rdev"]),
        ] {
            if wanted != Some(true) || asked.has(bit) && asked.has_below(bit) {
                continue;
            }
            let options = if asked.kind == "bind" && asked.recursive { &options[..] } else { &options[..1] };
            let explicit = mount.options().iter().flatten().any(|option| opposite.contains(&option.as_str()));
            let path = format!("{path}.options");
            let change = if explicit {
                self.beyond(rule, path, opposite[0], options.join(","))
            } else {
                self.open(rule, path, options.join(","))
            };
            if change {
                add(mount, options);
            }
        }
    }

    /// A change to a mount that is there may take rights away, and gives back none that a rule takes away anywhere: which mount it
    /// is in the end is for the links of the root filesystem to say. `dropped`: what it was meant for is not mounted, by this rule.
    fn remount(&mut self, path: &str, asked: &Asked, dropped: Option<Rule>, mount: &mut Mount) {
        let rules = &self.profile.filesystem;
        let is_some = |set: &Option<BTreeSet<String>>| set.as_ref().is_some_and(|set| !set.is_empty());
        let is_listed = |set: &Option<BTreeSet<Absolute>>| set.as_ref().is_some_and(|set| !set.is_empty());
        for (bit, given_back, demanded) in [
            (
                attr::RDONLY,
                ["rw", "rrw"],
                &[
                    (Rule::ReadonlyRoot, rules.readonly_root == Some(true)),
                    (Rule::Writable, rules.writable.is_some()),
                    (Rule::ReadonlyTypes, is_some(&rules.readonly_types)),
                    (Rule::WritableSources, rules.writable_sources.is_some()),
                    (Rule::ReadonlySources, is_listed(&rules.readonly_sources)),
                ][..],
            ),
            (attr::NOSUID, ["suid", "rsuid"], &[(Rule::Nosuid, rules.nosuid == Some(true))]),
            (attr::NODEV, ["dev", "rdev"], &[(Rule::Nodev, rules.nodev == Some(true))]),
            (attr::NOEXEC, ["exec", "rexec"], &[(Rule::Writable, rules.writable.is_some())]),
        ] {
            if (asked.options.attributes.clear | asked.options.recursive.clear) & bit == 0 {
                continue;
            }
            // One rule that cuts is enough, and one that only warns does not excuse from another.
            let rule = demanded.iter().filter(|(_, demands)| *demands).map(|(rule, _)| *rule);
            let Some(rule) = rule.chain(dropped).min_by_key(|rule| match self.profile.mode(*rule) {
                Mode::Tighten => 0,
                Mode::Enforce => 1,
                Mode::Warn => 2,
            }) else {
                continue;
            };
            let own = mount.options().iter().flatten().map(String::as_str);
            let asks: Vec<_> = own.filter(|option| given_back.contains(option)).collect();
            let requested = format!("remount,{} on {}", asks.join(","), asked.destination.display());
            if self.beyond(rule, format!("{path}.options"), requested, "the mount as it is") {
                let kept = mount.options().iter().flatten().filter(|option| !given_back.contains(&option.as_str()));
                let kept = kept.cloned().collect();
                mount.set_options(Some(kept));
            }
        }
    }

    fn propagation(&mut self, path: &str, asked: &Asked, mount: &mut Mount) {
        let shared = asked.options.propagation.iter().any(|propagation| propagation.spread == Spread::Shared);
        if self.profile.filesystem.private_propagation == Some(true)
            && shared
            && self.beyond(
                Rule::PrivatePropagation,
                format!("{path}.options"),
                "mounts shared with the host",
                "private",
            )
        {
            let options = mount.options().iter().flatten();
            let mut options: Vec<_> =
                options.filter(|option| !matches!(option.as_str(), "shared" | "rshared")).cloned().collect();
            options.push("rprivate".to_owned());
            mount.set_options(Some(options));
        }
    }

    /// Root's files as those of another user, whom the program can be where it has the host's ids.
    fn owners(&mut self, path: &str, user_namespace: &UserNamespace, mount: &mut Mount) {
        if self.profile.user.non_root != Some(true) || user_namespace.own || self.host.in_user_namespace {
            return;
        }
        let mut mappings = mount.uid_mappings().iter().flatten();
        let Some(of_root) = mappings.find(|mapping| mapping.container_id() == 0 && mapping.host_id() != 0) else {
            return;
        };
        let requested = format!("root's files in {} as uid {}'s", mount.destination().display(), of_root.host_id());
        if self.beyond(Rule::User, format!("{path}.uidMappings"), requested, "the files as they are") {
            mount.set_uid_mappings(None);
            mount.set_gid_mappings(None);
            let options = mount.options().iter().flatten();
            let kept = options.filter(|option| !matches!(option.as_str(), "idmap" | "ridmap")).cloned().collect();
            mount.set_options(Some(kept));
        }
    }

    /// The root filesystem, and memory to write to in its place.
    fn root(&mut self, spec: &mut Spec, mounts: &mut Vec<Mount>, dropped: &BTreeMap<PathBuf, Rule>) {
        if self.profile.filesystem.private_propagation == Some(true)
            && let Some(linux) = spec.linux_mut()
            && matches!(linux.rootfs_propagation().as_deref(), Some("shared" | "rshared"))
            && self.beyond(Rule::PrivatePropagation, "linux.rootfsPropagation", "shared", "rprivate")
        {
            linux.set_rootfs_propagation(Some("rprivate".to_owned()));
        }
        if let Some(source) = spec.root().as_ref().and_then(|root| on_host(root.path()))
            && let Some(forbidden) = self.forbidden(&source)
        {
            let why = format!("the root filesystem is {}, and {forbidden} must not be mounted", source.display());
            self.refuse(Rule::Sources, "root.path", why);
        }
        if self.profile.filesystem.readonly_root != Some(true) {
            return;
        }
        let Some(root) = spec.root_mut() else { return };
        let change = match root.readonly() {
            Some(true) => return,
            Some(false) => self.beyond(Rule::ReadonlyRoot, "root.readonly", "false", "true"),
            None => self.open(Rule::ReadonlyRoot, "root.readonly", "true"),
        };
        if !change {
            return;
        }
        root.set_readonly(Some(true));
        let rules = &self.profile.filesystem;
        if rules.types.as_ref().is_some_and(|types| !types.contains("tmpfs")) {
            return;
        }
        // Where the whole root could be written to, this is less.
        for (path, entry) in rules.writable.iter().flatten() {
            let Writable::Tmpfs(limits) = entry else { continue };
            if mounts.iter().any(|mount| Asked::of(mount).destination == path.path()) {
                continue;
            }
            // /dev/shm needs a /dev that is not the image's.
            if path.path().starts_with("/dev")
                && !mounts.iter().any(|mount| Asked::of(mount).destination == Path::new("/dev"))
            {
                continue;
            }
            let around = attributes_around(mounts, path.path());
            // What was to be in the place of a mount that is dropped may have been less.
            if around & attr::RDONLY != 0 || path.path().ancestors().any(|above| dropped.contains_key(above)) {
                continue;
            }
            let options = options(&Tmpfs { noexec: limits.noexec || around & attr::NOEXEC != 0, ..*limits });
            let enforced = format!("tmpfs on {path} {}", options.join(","));
            self.record(Rule::Writable, "root.readonly".into(), "a writable root".into(), enforced);
            let mut mount = Mount::default();
            mount.set_destination(path.path().to_owned());
            mount.set_typ(Some("tmpfs".to_owned()));
            mount.set_source(Some("tmpfs".into()));
            mount.set_options(Some(options));
            // Before what is mounted in it, after what it is in.
            let before = mounts.iter().position(|mount| Asked::of(mount).destination.starts_with(path.path()));
            mounts.insert(before.unwrap_or(mounts.len()), mount);
        }
    }

    /// Hidden and read-only paths, also of a procfs or sysfs that is mounted elsewhere.
    fn paths(&mut self, spec: &mut Spec, mounts: &[Mount]) {
        let rules = &self.profile.filesystem;
        let elsewhere: Vec<(&str, PathBuf)> = mounts
            .iter()
            .map(Asked::of)
            .filter_map(|asked| match asked.kind.as_str() {
                "proc" => Some(("/proc", asked.destination)),
                "sysfs" => Some(("/sys", asked.destination)),
                _ => None,
            })
            .filter(|(usual, destination)| destination != Path::new(usual))
            .collect();
        let all = |paths: &Option<BTreeSet<Absolute>>| -> Vec<String> {
            let mut all: Vec<String> = paths.iter().flatten().map(ToString::to_string).collect();
            for (usual, destination) in &elsewhere {
                let moved = paths.iter().flatten().filter_map(|path| path.path().strip_prefix(usual).ok());
                all.extend(moved.map(|rest| destination.join(rest).to_string_lossy().into_owned()));
            }
            all
        };
        let (masked, readonly) = (all(&rules.masked), all(&rules.readonly));
        if masked.is_empty() && readonly.is_empty() {
            return;
        }
        let mut linux = spec.linux().clone().unwrap_or_default();
        let mut hidden = linux.masked_paths().clone().unwrap_or_default();
        self.add_paths(Rule::Masked, "linux.maskedPaths", &mut hidden, masked);
        let mut fixed = linux.readonly_paths().clone().unwrap_or_default();
        // What is hidden need not be read-only as well.
        let readonly = readonly.into_iter().filter(|path| !hidden.contains(path)).collect();
        self.add_paths(Rule::Readonly, "linux.readonlyPaths", &mut fixed, readonly);
        if !hidden.is_empty() {
            linux.set_masked_paths(Some(hidden));
        }
        if !fixed.is_empty() {
            linux.set_readonly_paths(Some(fixed));
        }
        spec.set_linux(Some(linux));
    }

    fn add_paths(&mut self, rule: Rule, path: &str, paths: &mut Vec<String>, wanted: Vec<String>) {
        // To the letter: another spelling may lead elsewhere by a link, or nowhere.
        let missing: Vec<_> = wanted.into_iter().filter(|path| !paths.contains(path)).collect();
        if !missing.is_empty() && self.open(rule, path, missing.join(", ")) {
            paths.extend(missing);
        }
    }
}

/// What the configuration has taken away from where a mount would be, which is not given back with it.
fn attributes_around(mounts: &[Mount], path: &Path) -> u64 {
    let (changes, around): (Vec<_>, Vec<_>) = mounts
        .iter()
        .map(Asked::of)
        .filter(|asked| path.starts_with(&asked.destination))
        .partition(|asked| asked.kind == "remount");
    // Of two on one place, the later one is seen.
    let nearest = around.iter().max_by_key(|asked| asked.destination.components().count());
    let set = |asked: &Asked| asked.options.attributes.set | asked.options.recursive.set;
    changes.iter().chain(nearest).fold(0, |all, asked| all | set(asked))
}

/// Options, without those that would undo them: the recursive ones do so from wherever they are.
fn add<S: AsRef<str>>(mount: &mut Mount, options: &[S]) {
    let undoes = |option: &str| {
        options.iter().any(|added| match added.as_ref() {
            "ro" | "rro" => matches!(option, "rw" | "rrw"),
            "nosuid" | "rnosuid" => matches!(option, "suid" | "rsuid"),
            "nodev" | "rnodev" => matches!(option, "dev" | "rdev"),
            "noexec" => matches!(option, "exec" | "rexec"),
            _ => false,
        })
    };
    let mut all = mount.options().clone().unwrap_or_default();
    all.retain(|option| !undoes(option));
    all.extend(options.iter().map(|option| option.as_ref().to_owned()));
    mount.set_options(Some(all));
}

/// The options of a tmpfs with these limits.
fn options(limits: &Tmpfs) -> Vec<String> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
    if limits.noexec {
        options.push("noexec".to_owned());
    }
    options.push(format!("mode={}", limits.mode.unwrap_or(Octal(0o1777))));
    options.push(format!("size={}", limits.size.0));
    options.extend(limits.inodes.map(|inodes| format!("nr_inodes={inodes}")));
    options
}
