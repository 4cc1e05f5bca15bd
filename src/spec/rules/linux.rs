//! Rules for `linux` (config-linux.md), but for resources and seccomp.
#![forbid(unsafe_code)]

use super::process::NO_ID;
use super::{Context, Findings, View, joined, resources, seccomp, text};
use crate::spec::{is_number_list, sysctl, tree::quote};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxIntelRdt, LinuxMemoryPolicy, LinuxNamespaceType,
    MemoryPolicyFlagType, MemoryPolicyModeType, Spec,
};
use std::collections::{HashMap, HashSet};

pub(super) fn check(spec: &Spec, view: &View<'_>, context: &Context, found: &mut Findings) {
    namespaces(view, found);
    user_namespace(view, context, found);
    let Some(linux) = spec.linux() else { return };
    sysctls(linux, spec, view, found);
    time_offsets(linux, view, found);
    hidden_paths(linux, view, found);
    devices(linux, found);
    net_devices(linux, view, found);
    if let Some(path) = linux.cgroups_path() {
        resources::cgroups_path(text(path), found);
    }
    if let Some(limits) = linux.resources() {
        resources::check(limits, "linux.resources", false, found);
    }
    if let Some(filter) = linux.seccomp() {
        seccomp::check(filter, found);
    }
    if let Some(propagation) = linux.rootfs_propagation().as_deref() {
        let known = ["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];
        if !propagation.is_empty() && !known.contains(&propagation) {
            found.error_hint(
                "linux.rootfsPropagation",
                format!("rootfsPropagation={propagation} is not supported"),
                format!("one of {}", known.join(", ")),
            );
        }
    }
    found.no_nul(linux.mount_label().as_deref().unwrap_or_default(), || "linux.mountLabel".into());
    if let Some(flags) = linux.personality().as_ref().and_then(|personality| personality.flags().as_ref())
        && !flags.is_empty()
    {
        found.warn("linux.personality.flags", "the specification knows no flags: ignored");
    }
    if let Some(rdt) = linux.intel_rdt() {
        intel_rdt(rdt, found);
    }
    if let Some(policy) = linux.memory_policy() {
        memory_policy(policy, found);
    }
}

fn namespaces(view: &View<'_>, found: &mut Findings) {
    for (index, namespace) in view.namespaces.iter().enumerate() {
        let name = type_name(namespace.typ());
        if let Some(first) = view.namespaces[..index].iter().position(|other| other.typ() == namespace.typ()) {
            found.error_hint(
                format!("linux.namespaces[{index}].type"),
                format!("malformed spec file: duplicated ns {name:?}"),
                format!("it is in linux.namespaces[{first}] already"),
            );
        }
        if let Some(path) = joined(namespace) {
            found.absolute(text(path), || format!("linux.namespaces[{index}].path"));
        }
    }
    if !view.has(LinuxNamespaceType::Mount) {
        found.error_hint(
            "linux.namespaces",
            "there is no mount namespace: everything mounted for the container would be mounted on the host",
            "add {\"type\": \"mount\"}",
        );
    }
}

fn type_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn user_namespace(view: &View<'_>, context: &Context, found: &mut Findings) {
    let sides = [("uid", view.uid_mappings), ("gid", view.gid_mappings)];
    let own = [view.user.map(|user| user.0), view.user.map(|user| user.1)];
    for (id, mappings) in sides {
        id_mappings(mappings, || format!("linux.{id}Mappings"), found);
    }
    if !view.has(LinuxNamespaceType::User) {
        for (id, mappings) in sides {
            if !mappings.is_empty() {
                found.error_hint(
                    format!("linux.{id}Mappings"),
                    "user namespace mappings specified, but user namespace isn't enabled in the config",
                    "add {\"type\": \"user\"} to linux.namespaces, or remove the mappings",
                );
            }
        }
        if context.rootless {
            found.error_hint(
                "linux.namespaces",
                "rootless container requires user namespaces",
                "add {\"type\": \"user\"} with mappings, as `pent spec --rootless` writes it",
            );
        }
        return;
    }
    // A joined namespace has its mappings already. containerd and CRI-O give both; whether they agree is for the host to say.
    if !view.makes(LinuxNamespaceType::User) {
        return;
    }
    for ((id, mappings), own) in sides.into_iter().zip(own) {
        if mappings.is_empty() {
            found.error_hint(
                format!("linux.{id}Mappings"),
                format!("user namespaces enabled, but no {id} mappings found"),
                "map at least the container's root: {\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}",
            );
        } else if ![Some(0), own].into_iter().flatten().any(|id| super::process::is_mapped(mappings, id)) {
            found.error_hint(
                format!("linux.{id}Mappings"),
                format!("maps neither {id} 0 nor that of process.user, as which the container is set up"),
                "add a mapping with containerID 0",
            );
        }
    }
}

/// What `/proc/PID/uid_map` refuses (user_namespaces(7)).
pub(super) fn id_mappings(mappings: &[LinuxIdMapping], path: impl Fn() -> String, found: &mut Findings) {
    const MOST: usize = 340;
    if mappings.len() > MOST {
        found.error(path(), format!("has {} entries; the kernel takes at most {MOST}", mappings.len()));
        return;
    }
    for (index, mapping) in mappings.iter().enumerate() {
        let size = u64::from(mapping.size());
        if size == 0 {
            found.error_hint(format!("{}[{index}].size", path()), "is zero: it maps nothing", "1 maps one id");
            continue;
        }
        for (name, first) in [("containerID", mapping.container_id()), ("hostID", mapping.host_id())] {
            if u64::from(first) + size > u64::from(NO_ID) {
                found.error(
                    format!("{}[{index}]", path()),
                    format!("{name} {first} and the {size} from it go beyond the last id, 4294967294"),
                );
            }
        }
        let overlap = |a: u32, b: u32, other: &LinuxIdMapping| {
            u64::from(a) < u64::from(b) + u64::from(other.size()) && u64::from(b) < u64::from(a) + size
        };
        for (earlier, other) in mappings[..index].iter().enumerate() {
            let side = if overlap(mapping.container_id(), other.container_id(), other) {
                "container"
            } else if overlap(mapping.host_id(), other.host_id(), other) {
                "host"
            } else {
                continue;
            };
            found.error(format!("{}[{index}]", path()), format!("has {side} ids in common with entry {earlier}"));
        }
    }
}

/// Sorted, because a map has no order and messages must not change from run to run.
fn sorted<V>(map: &HashMap<String, V>) -> Vec<(&str, &V)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

fn sysctls(linux: &Linux, spec: &Spec, view: &View<'_>, found: &mut Findings) {
    let Some(parameters) = linux.sysctl().as_ref().filter(|parameters| !parameters.is_empty()) else { return };
    let mut paths = HashSet::new();
    for (name, value) in sorted(parameters) {
        let at = || format!("linux.sysctl[{}]", quote(name));
        let Some(path) = sysctl::path(name) else {
            found.error_hint(at(), "is not the name of a kernel parameter", "names are like net.ipv4.ip_forward");
            continue;
        };
        found.no_nul(value, at);
        let add = |kind: &str| format!("add {{\"type\": \"{kind}\"}} to linux.namespaces");
        match sysctl::scope(&path) {
            sysctl::Scope::Network if !view.has(LinuxNamespaceType::Network) => {
                found.error_hint(
                    at(),
                    format!("sysctl {name:?} not allowed in host network namespace"),
                    add("network"),
                );
            }
            sysctl::Scope::Ipc if !view.has(LinuxNamespaceType::Ipc) => {
                found.error_hint(
                    at(),
                    format!("sysctl {name:?} is not allowed in the hosts ipc namespace"),
                    add("ipc"),
                );
            }
            sysctl::Scope::Hostname => found.error_hint(
                at(),
                format!("sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"),
                "set hostname instead",
            ),
            sysctl::Scope::Domainname if !view.has(LinuxNamespaceType::Uts) => {
                found.error_hint(at(), format!("sysctl {name:?} is not in a separate kernel namespace"), add("uts"));
            }
            sysctl::Scope::Domainname
                if spec.domainname().as_ref().is_some_and(|domain| !domain.is_empty() && domain != value) =>
            {
                found.error(at(), format!("sysctl {name:?} conflicts with the OCI \"domainname\" field"));
            }
            sysctl::Scope::Host => found.error_hint(
                at(),
                format!("sysctl {name:?} is not in a separate kernel namespace"),
                "it belongs to the whole host: set it there",
            ),
            _ => {}
        }
        if paths.contains(&path) {
            found.error(at(), format!("names /proc/sys/{path} a second time, in another spelling"));
        }
        paths.insert(path);
    }
}

/// `time_namespaces(7)`: two clocks, and nanoseconds below a second.
fn time_offsets(linux: &Linux, view: &View<'_>, found: &mut Findings) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    if !view.makes(LinuxNamespaceType::Time) {
        found.error_hint(
            "linux.timeOffsets",
            "time namespace offsets specified, but time namespace isn't enabled in the config",
            "add {\"type\": \"time\"} without a path to linux.namespaces",
        );
    }
    for (clock, offset) in sorted(offsets) {
        if !matches!(clock, "monotonic" | "boottime") {
            found.error_hint(
                format!("linux.timeOffsets[{}]", quote(clock)),
                "is not a clock of time namespaces",
                "they are monotonic and boottime",
            );
        }
        if offset.nanosecs().is_some_and(|nanoseconds| nanoseconds > 999_999_999) {
            found.error(format!("linux.timeOffsets[{}].nanosecs", quote(clock)), "is a second or more");
        }
    }
}

fn hidden_paths(linux: &Linux, view: &View<'_>, found: &mut Findings) {
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        let Some(paths) = paths.as_ref().filter(|paths| !paths.is_empty()) else { continue };
        if !view.has(LinuxNamespaceType::Mount) {
            found.error(format!("linux.{name}"), "unable to restrict sys entries without a private MNT namespace");
        }
        for (index, path) in paths.iter().enumerate() {
            found.absolute(path, || format!("linux.{name}[{index}]"));
        }
    }
}

fn devices(linux: &Linux, found: &mut Findings) {
    /// `MINORBITS` in `linux/kdev_t.h` leaves 12 bits for the major number and 20 for the minor.
    const LARGEST: [(&str, i64); 2] = [("major", 0xfff), ("minor", 0xf_ffff)];
    let devices = linux.devices().as_deref().unwrap_or_default();
    // A privileged container has hundreds.
    let mut paths = HashMap::with_capacity(devices.len());
    for (index, device) in devices.iter().enumerate() {
        let at = |name: &str| format!("linux.devices[{index}].{name}");
        found.absolute(text(device.path()), || at("path"));
        match device.typ() {
            LinuxDeviceType::A => {
                found.error_hint(
                    at("type"),
                    "invalid device type \"a\"",
                    "c or u, b, or p; a is for cgroup rules only",
                );
            }
            LinuxDeviceType::P => {}
            LinuxDeviceType::B | LinuxDeviceType::C | LinuxDeviceType::U => {
                for ((name, largest), number) in LARGEST.into_iter().zip([device.major(), device.minor()]) {
                    if !(0..=largest).contains(&number) {
                        found.error(at(name), format!("{number} is not a {name} number: they go from 0 to {largest}"));
                    }
                }
            }
        }
        if let Some(mode) = device.file_mode().filter(|mode| *mode > 0o17_7777) {
            found.error_hint(
                at("fileMode"),
                format!("{mode} is not a file mode"),
                "JSON numbers are decimal: 0666 is 438",
            );
        }
        for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
            if id == Some(NO_ID) {
                found.error(at(name), format!("{NO_ID} is not an id"));
            }
        }
        if let Some(first) = paths.insert(device.path().as_os_str(), index) {
            let same = |other: &LinuxDevice| {
                (other.typ(), other.major(), other.minor()) == (device.typ(), device.major(), device.minor())
            };
            if same(&devices[first]) {
                found.warn(at("path"), format!("is the same device as in linux.devices[{first}]"));
            } else {
                found.error(at("path"), format!("is another device already, in linux.devices[{first}]"));
            }
        }
    }
}

/// `dev_valid_name()` of the kernel, and what config-linux.md asks of `netDevices`.
fn net_devices(linux: &Linux, view: &View<'_>, found: &mut Findings) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    if !view.has(LinuxNamespaceType::Network) {
        found.error_hint(
            "linux.netDevices",
            "network devices cannot be moved into the container without a network namespace",
            "add {\"type\": \"network\"} to linux.namespaces",
        );
    }
    let good = |name: &str| {
        (1..16).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.bytes().any(|b| b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0 || b == b'%')
    };
    let mut inside = HashSet::new();
    for (name, device) in sorted(devices) {
        let at = format!("linux.netDevices[{}]", quote(name));
        let target = device.name().as_deref().filter(|target| !target.is_empty());
        // A new name may be a template, for the kernel to fill in.
        let bare = target.map(|target| target.strip_suffix("%d").unwrap_or(target));
        for (path, name) in [(at.clone(), Some(name)), (at.clone() + ".name", bare)] {
            if let Some(name) = name.filter(|name| !good(name)) {
                found.error_hint(
                    path,
                    format!("{} is not the name of a network device", quote(name)),
                    "at most 15 bytes",
                );
            }
        }
        let target = target.unwrap_or(name);
        if inside.contains(&target) && !target.ends_with("%d") {
            found.error(at, format!("a second device would be called {} in the container", quote(target)));
        }
        inside.insert(target);
    }
}

fn intel_rdt(rdt: &LinuxIntelRdt, found: &mut Findings) {
    if let Some(id) =
        rdt.clos_id().as_deref().filter(|id| matches!(*id, "." | "..") || (*id != "/" && id.contains(['/', '\n'])))
    {
        found.error_hint(
            "linux.intelRdt.closID",
            format!("invalid intelRdt.ClosID {id:?}"),
            "it is the name of a directory below /sys/fs/resctrl, or / for the default class",
        );
    }
    let one_line = |schema: &Option<String>| schema.as_ref().is_none_or(|schema| !schema.contains('\n'));
    if !one_line(rdt.l3_cache_schema()) {
        found.error("linux.intelRdt.l3CacheSchema", "has more than one line");
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.contains('\n') || !line.contains(':') {
            found.error(format!("linux.intelRdt.schemata[{index}]"), "must be one line such as L3:0=f;1=f");
        }
    }
    if let Some(schema) = rdt.mem_bw_schema().as_deref().filter(|schema| !schema.is_empty())
        && !(schema.starts_with("MB:") && one_line(rdt.mem_bw_schema()))
    {
        found.error("linux.intelRdt.memBwSchema", "must be one line that starts with MB:");
    }
}

/// `set_mempolicy(2)`.
fn memory_policy(policy: &LinuxMemoryPolicy, found: &mut Findings) {
    use MemoryPolicyFlagType::{MpolFNumaBalancing, MpolFRelativeNodes, MpolFStaticNodes};
    use MemoryPolicyModeType::{MpolBind, MpolDefault, MpolLocal, MpolPreferred, MpolPreferredMany};
    let mode = policy.mode();
    let nodes = policy.nodes().as_deref().unwrap_or_default();
    let flags = policy.flags().as_deref().unwrap_or_default();
    if matches!(mode, MpolDefault | MpolLocal) {
        if !nodes.is_empty() {
            found.error("linux.memoryPolicy.nodes", format!("must be empty with {mode}"));
        }
        if !flags.is_empty() {
            found.error("linux.memoryPolicy.flags", format!("must be empty with {mode}"));
        }
    } else if nodes.is_empty() && mode != MpolPreferred {
        found.error_hint("linux.memoryPolicy.nodes", format!("is missing: {mode} needs memory nodes"), "like 0-1");
    } else if !nodes.is_empty() && !is_number_list(nodes) {
        found.error_hint(
            "linux.memoryPolicy.nodes",
            format!("{} is not a list of memory nodes", quote(nodes)),
            "like 0-1,3",
        );
    }
    if flags.contains(&MpolFRelativeNodes) && flags.contains(&MpolFStaticNodes) {
        found.error("linux.memoryPolicy.flags", "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other");
    }
    if flags.contains(&MpolFNumaBalancing) && !matches!(mode, MpolBind | MpolPreferredMany) {
        found.error("linux.memoryPolicy.flags", format!("MPOL_F_NUMA_BALANCING does not go with {mode}"));
    }
}
