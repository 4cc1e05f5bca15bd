//! The pure half of the systemd driver: names, places and properties of a container's scope.
#![forbid(unsafe_code)]

use super::bus::Value;
use crate::cgroup::layout::OwnCgroup;
use crate::cgroup::plan::Write;
use crate::report::Diagnostic;
use serde::Serialize;
use serde::ser::SerializeMap as _;
use std::collections::HashMap;

const SETTING: &str = "linux.cgroupsPath";
/// Annotations that become properties of the scope (runc's convention).
pub(crate) const ANNOTATION: &str = "org.systemd.property.";
/// The properties that annotations may set: how the scope ends and is ordered, and how it is described. Others could start
/// and stop units of the host, or take limits away (threats M).
const ALLOWED: [&str; 11] = [
    "After",
    "Before",
    "CollectMode",
    "DefaultDependencies",
    "Description",
    "KillSignal",
    "OOMPolicy",
    "RuntimeMaxUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "TimeoutStopUSec",
];

/// The scope that systemd makes for a container. Plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// `PREFIX-NAME.scope`.
    pub unit: String,
    /// The slice it is in.
    pub slice: String,
    /// The cgroup of the user's own systemd, which makes it; none when the system's does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Processes are put into it by systemd, because the caller runs outside of what its user may rearrange.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub joined_by_bus: bool,
    /// Properties beside its limits and what every container's scope has, in order.
    pub properties: Properties,
}

/// Properties of a unit, by systemd's names and types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(pub(super) Vec<(String, Value)>);

impl Serialize for Properties {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, &format!("{value:?}"))?;
        }
        map.end()
    }
}

/// Where a scope's cgroup is, and what it is called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) unit: String,
    pub(crate) slice: String,
    /// Below the mount point, without a leading `/`.
    pub(crate) path: String,
}

/// From `linux.cgroupsPath` (`slice:prefix:name`, or nothing) to the scope, below the cgroup of the manager (`/` for the
/// system's).
///
/// # Errors
/// Another form, or a slice that has no such name.
pub(crate) fn place(cgroups_path: Option<&str>, id: &str, user: bool, manager: &str) -> Result<Place, Diagnostic> {
    let default_slice = if user { "user.slice" } else { "system.slice" };
    let (slice, prefix, name) = match cgroups_path.filter(|path| !path.is_empty()) {
        None => (default_slice, "pent", id),
        Some(path) => {
            let mut parts = path.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) if !name.is_empty() => {
                    (if slice.is_empty() { default_slice } else { slice }, prefix, name)
                }
                _ => {
                    let message = format!(
                        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
                    );
                    return Err(Diagnostic::error(SETTING, message)
                        .hint("write it so, leave it out, or run without --systemd-cgroup"));
                }
            }
        }
    };
    if name.ends_with(".slice") {
        return Err(Diagnostic::error(SETTING, format!("{name:?} is a slice, which holds no processes of its own"))
            .hint("name the container's own cgroup"));
    }
    let name = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
    let unit = format!("{}.scope", escape(&name));
    if unit.len() > 255 {
        return Err(Diagnostic::error(SETTING, format!("the name of the unit, {unit:?}, is longer than 255 bytes")));
    }
    let slice_path = slice_path(slice)?;
    let parts = [manager.trim_matches('/'), &slice_path, &cgroup_name(&unit)];
    let path = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
    Ok(Place { unit, slice: slice.to_owned(), path })
}

/// Unit names have few characters of their own; others are written `\xNN` (systemd.unit(5)).
fn escape(name: &str) -> String {
    let mut unit = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte) {
            unit.push(byte.into());
        } else {
            unit.push_str(&format!("\\x{byte:02x}"));
        }
    }
    unit
}

/// The directory of a unit's cgroup: systemd puts `_` before names that could be files of the kernel's.
pub(super) fn cgroup_name(unit: &str) -> String {
    const CONTROLLERS: [&str; 11] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "io",
        "blkio",
        "memory",
        "devices",
        "pids",
        "bpf-firewall",
        "bpf-devices",
        "cgroup",
    ];
    let first = unit.split('.').next().unwrap_or_default();
    let escaped = unit.starts_with(['_', '.']) || CONTROLLERS.contains(&first);
    if escaped { format!("_{unit}") } else { unit.to_owned() }
}

/// `a-b.slice` is in `a.slice` (systemd.slice(5)); `-.slice` is the root.
fn slice_path(slice: &str) -> Result<String, Diagnostic> {
    if slice == "-.slice" {
        return Ok(String::new());
    }
    let wrong = || {
        Diagnostic::error(SETTING, format!("invalid slice name: {slice:?}"))
            .hint("names are like system.slice or a-b.slice, which is in a.slice")
    };
    let name = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if name.is_empty() || name.contains('/') || escape(slice) != slice || name.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect::<Vec<_>>().join("/"))
}

/// Whether a process whose cgroups are these is in the part of the hierarchy that was given to a user's systemd: only there
/// may the user move processes.
pub(crate) fn is_below(own: &OwnCgroup, manager: &str) -> bool {
    let rest = own.unified.as_deref().and_then(|path| path.strip_prefix(manager.trim_end_matches('/')));
    rest.is_some_and(|rest| rest.starts_with('/'))
}

const WEIGHT: &str = "CPUWeight";
const IDLE: Value = Value::U64(0);

/// Whether a property makes a unit idle, which systemd knows since [`IDLE_SINCE`].
pub(super) fn is_idle(property: &(String, Value)) -> bool {
    property.0 == WEIGHT && property.1 == IDLE
}

/// A version of systemd.
pub(super) const IDLE_SINCE: u32 = 252;

/// The number that a version of systemd begins with: `252.30-1~deb12u2`, `v249`.
pub(super) fn major(version: &str) -> u32 {
    let digits = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Limits as systemd knows them, so that it does not undo at the next reload what is written to the files. What it has no
/// name for is in the files alone.
pub(super) fn limits(writes: &[Write]) -> Vec<(String, Value)> {
    let mut properties = Vec::new();
    for write in writes {
        let mut set = |name: &str, value: Value| properties.push((name.to_owned(), value));
        let value = write.value.trim();
        let number = if value == "max" { Some(u64::MAX) } else { value.parse().ok() };
        let plain = match write.file.as_str() {
            "memory.max" => Some("MemoryMax"),
            "memory.high" => Some("MemoryHigh"),
            "memory.low" => Some("MemoryLow"),
            "memory.min" => Some("MemoryMin"),
            "memory.swap.max" => Some("MemorySwapMax"),
            "pids.max" => Some("TasksMax"),
            "cpu.weight" => Some(WEIGHT),
            "io.weight" | "io.bfq.weight" => Some("IOWeight"),
            _ => None,
        };
        match (write.file.as_str(), plain, number) {
            (_, Some(name), Some(number)) => set(name, Value::U64(number)),
            ("cpu.max", ..) => {
                let mut words = value.split(' ');
                let quota = words.next().unwrap_or("max");
                let period: Option<u64> = words.next().and_then(|period| period.parse().ok());
                if let Some(period) = period {
                    set("CPUQuotaPeriodUSec", Value::U64(period));
                }
                // Of a second; systemd counts in steps of 10 ms and would make less of it.
                let per_second = quota.parse::<u64>().ok().map(|quota| {
                    let period = period.unwrap_or(100_000).max(1);
                    quota.saturating_mul(1_000_000).div_ceil(period).div_ceil(10_000).saturating_mul(10_000)
                });
                set("CPUQuotaPerSecUSec", Value::U64(per_second.unwrap_or(u64::MAX)));
            }
            // systemd's word for it; left out, the next reload would end it. The kernel forgets the weight meanwhile.
            ("cpu.idle", ..) => set(WEIGHT, if value == "0" { Value::U64(u64::MAX) } else { IDLE }),
            ("cpuset.cpus", ..) => set("AllowedCPUs", Value::Bytes(bits(value))),
            ("cpuset.mems", ..) => set("AllowedMemoryNodes", Value::Bytes(bits(value))),
            _ => {}
        }
    }
    properties
}

/// `0-2,5` as a mask, lowest byte first.
fn bits(list: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for range in list.split(',').filter(|range| !range.trim().is_empty()) {
        let (first, last) = range.trim().split_once('-').unwrap_or((range.trim(), range.trim()));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else { continue };
        for bit in first..=last.min(8191) {
            if mask.len() <= bit / 8 {
                mask.resize(bit / 8 + 1, 0);
            }
            if let Some(byte) = mask.get_mut(bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    mask
}

/// What describes the scope, and the properties that annotations ask for, in the order of their names.
pub(crate) fn properties(
    id: &str,
    annotations: Option<&HashMap<String, String>>,
    findings: &mut Vec<Diagnostic>,
) -> Properties {
    let mut own = vec![("Description".to_owned(), Value::Text(format!("pent container {id}")))];
    let asked = asked_for(annotations, findings);
    own.retain(|(name, _)| !asked.iter().any(|(other, _)| other == name));
    own.extend(asked);
    Properties(own)
}

fn asked_for(all: Option<&HashMap<String, String>>, findings: &mut Vec<Diagnostic>) -> Vec<(String, Value)> {
    let mut asked: Vec<_> =
        all.into_iter().flatten().filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION)?, value))).collect();
    asked.sort();
    let mut properties = Vec::new();
    for (name, text) in asked {
        let path = format!("annotations.{ANNOTATION}{name}");
        // systemd's files have seconds, its bus microseconds; callers write either.
        let (name, seconds) = match name.strip_suffix("Sec").filter(|rest| !rest.ends_with('U')) {
            Some(rest) => (format!("{rest}USec"), true),
            None => (name.to_owned(), false),
        };
        if !ALLOWED.contains(&name.as_str()) {
            findings.push(
                Diagnostic::error(path, format!("the property {name} cannot be set by an annotation"))
                    .hint(format!("these can: {}", ALLOWED.join(", "))),
            );
            continue;
        }
        match parse(text, seconds).filter(|value| fits(&name, value)) {
            Some(value) => properties.push((name, value)),
            None => findings.push(
                Diagnostic::error(path, format!("{text:?} is not a value of {name}"))
                    .hint("values are in the text format of GVariant: 'text', ['a', 'b'], true, uint64 5"),
            ),
        }
    }
    properties
}

/// Whether a property has values of this type.
fn fits(name: &str, value: &Value) -> bool {
    match name {
        "After" | "Before" => matches!(value, Value::Texts(_)),
        "CollectMode" | "Description" | "OOMPolicy" => matches!(value, Value::Text(_)),
        "DefaultDependencies" | "SendSIGHUP" | "SendSIGKILL" => matches!(value, Value::Bool(_)),
        "KillSignal" => matches!(value, Value::I32(_)),
        _ => matches!(value, Value::U64(_)),
    }
}

/// What of GVariant's text format the properties need.
fn parse(text: &str, seconds: bool) -> Option<Value> {
    let text = text.trim();
    if let Some(number) = text.strip_prefix("uint64 ").or(Some(text).filter(|_| seconds)) {
        let number: u64 = number.trim().parse().ok()?;
        return Some(Value::U64(if seconds { number.checked_mul(1_000_000)? } else { number }));
    }
    if let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        return items.map(quoted).collect::<Option<_>>().map(Value::Texts);
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => match text.strip_prefix("int32 ").unwrap_or(text).trim().parse() {
            Ok(number) => Some(Value::I32(number)),
            Err(_) => quoted(text).map(Value::Text),
        },
    }
}

/// A string in single or double quotes, without escapes.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = text.get(1..)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\', '\0'])).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(cgroups_path: Option<&str>, user: bool, manager: &str) -> Result<(String, String), String> {
        place(cgroups_path, "web", user, manager).map(|place| (place.unit, place.path)).map_err(|found| found.message)
    }

    #[test]
    fn a_path_names_slice_prefix_and_container() {
        let is = |cgroups_path, unit: &str, directory: &str| {
            assert_eq!(path(cgroups_path, false, "/"), Ok((unit.to_owned(), directory.to_owned())));
        };
        is(None, "pent-web.scope", "system.slice/pent-web.scope");
        is(Some(":runc:x"), "runc-x.scope", "system.slice/runc-x.scope");
        is(Some("-.slice::x"), "x.scope", "x.scope");
        is(Some("system.slice::memory"), "memory.scope", "system.slice/_memory.scope");
        is(Some("a.slice:p:x+y"), r"p-x\x2by.scope", r"a.slice/p-x\x2by.scope");
        is(
            Some("kubepods-burstable-pod1_2.slice:cri-containerd:abc"),
            "cri-containerd-abc.scope",
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-abc.scope",
        );
        assert_eq!(
            path(None, true, "/user.slice/user-1000.slice/user@1000.service").expect("a place").1,
            "user.slice/user-1000.slice/user@1000.service/user.slice/pent-web.scope"
        );
        for wrong in [
            "/a/b",
            "a",
            "a.slice:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a:b:c",
            "../a.slice:b:c",
            "a--b.slice:p:x",
            "-a.slice:p:x",
            "a/b.slice:p:x",
            ".slice:p:x",
            "a.slice:p:x.slice",
        ] {
            assert!(path(Some(wrong), false, "/").is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_have_systemds_names() {
        let write = |file: &str, value: &str| Write {
            controller: String::new(),
            file: file.to_owned(),
            value: value.to_owned(),
            spec_path: String::new(),
            if_missing: crate::cgroup::plan::IfMissing::Fail,
            retry: false,
        };
        let writes = [
            write("memory.max", "1048576"),
            write("memory.swap.max", "max"),
            write("cpu.max", "33333 50000"),
            write("cpuset.cpus", "0-2,9"),
            write("pids.max", "12"),
            write("hugetlb.2MB.max", "5"),
            write("cpu.weight", "7"),
            write("cpu.idle", "1"),
            write("cpu.idle", "0"),
        ];
        let named = |name: &str, value| (name.to_owned(), value);
        assert_eq!(
            limits(&writes),
            [
                named("MemoryMax", Value::U64(1_048_576)),
                named("MemorySwapMax", Value::U64(u64::MAX)),
                named("CPUQuotaPeriodUSec", Value::U64(50_000)),
                named("CPUQuotaPerSecUSec", Value::U64(670_000)),
                named("AllowedCPUs", Value::Bytes(vec![0b111, 0b10])),
                named("TasksMax", Value::U64(12)),
                named("CPUWeight", Value::U64(7)),
                named("CPUWeight", IDLE),
                named("CPUWeight", Value::U64(u64::MAX)),
            ]
        );
    }

    #[test]
    fn versions_begin_with_a_number() {
        assert_eq!(["252.30-1~deb12u2", "v249", "262", "odd"].map(major), [252, 249, 262, 0]);
    }

    #[test]
    fn annotations_set_what_is_harmless() {
        let ask = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(name, value)| (format!("{ANNOTATION}{name}"), (*value).to_owned())).collect();
            let mut findings = Vec::new();
            (asked_for(Some(&all), &mut findings), findings)
        };
        let (properties, findings) = ask(&[
            ("TimeoutStopSec", "7"),
            ("CollectMode", "'inactive-or-failed'"),
            ("After", "['crio.service', \"x.service\"]"),
            ("KillSignal", "15"),
            ("SendSIGHUP", "true"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(properties[0], ("After".into(), Value::Texts(vec!["crio.service".into(), "x.service".into()])));
        assert_eq!(properties[4], ("TimeoutStopUSec".into(), Value::U64(7_000_000)));
        for (name, value) in [
            ("Conflicts", "['sshd.service']"),
            ("OnFailure", "['x.service']"),
            ("Slice", "'-.slice'"),
            ("PIDs", "[uint32 1]"),
            ("DeviceAllow", "[('/dev/sda', 'rwm')]"),
            ("ExecStart", "'x'"),
            ("Description", "'a' 'b'"),
            ("Description", "7"),
            ("TimeoutStopUSec", "uint64 -1"),
            ("TimeoutStopSec", "99999999999999999999"),
        ] {
            let (properties, findings) = ask(&[(name, value)]);
            assert!(properties.is_empty() && findings.len() == 1, "{name}={value}");
        }
    }
}
