//! Rules of landlock(7), from the mounts that the plan itself makes: writing where they are writable, nowhere else.
//!
//! A rule reaches everything below it, so that a read-only mount below a writable one is guarded by its own flag alone. Reading
//! is allowed from the container's root down, which leaves nothing outside of it: a descriptor of the host's, leaked by whoever,
//! leads nowhere.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::hardening::Landlock;
use super::op::{Child, Slot};
use super::text::Text;
use crate::spec::mount_options::attr;
use crate::sys::landlock::{Handled, access, flag, net, scope};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// Everything but executing and reading: what writing a tree takes.
const WRITE: u64 = access::WRITE_FILE
    | access::REMOVE_DIR
    | access::REMOVE_FILE
    | access::MAKE_DIR
    | access::MAKE_REG
    | access::MAKE_SOCK
    | access::MAKE_FIFO
    | access::MAKE_SYM
    | access::REFER
    | access::TRUNCATE;
/// Where device nodes work, they can be made, if the capabilities allow it, and given commands.
const DEVICES: u64 = access::MAKE_CHAR | access::MAKE_BLOCK | access::IOCTL_DEV;
const READ: u64 = access::READ_FILE | access::READ_DIR;
/// Using devices that are there.
const USE: u64 = access::READ_FILE | access::WRITE_FILE | access::TRUNCATE | access::IOCTL_DEV;

/// Since which version of Linux there is an ABI of Landlock (landlock(7), VERSIONS).
const KERNELS: [(u32, &str); 9] =
    [(1, "5.13"), (2, "5.19"), (3, "6.2"), (4, "6.7"), (5, "6.10"), (6, "6.12"), (7, "6.15"), (8, "7.0"), (9, "7.1")];
/// Which ABI has rules for named sockets.
pub const SOCKETS_ABI: u32 = 9;

/// Rights on files by the ABI that brought them.
const FS_BY_ABI: [(u32, u64); 4] =
    [(1, (1 << 13) - 1), (2, access::REFER), (3, access::TRUNCATE), (5, access::IOCTL_DEV)];

/// A set of rules, ready for the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruleset {
    /// The ABI that it is written for.
    pub abi: u32,
    /// `LANDLOCK_ACCESS_FS_*` that are denied unless a rule allows them.
    pub fs: u64,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub net: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scoped: u64,
    /// What is allowed on files.
    pub rules: Vec<Rule>,
    /// What is allowed on TCP ports.
    pub ports: Vec<(u16, u64)>,
}

impl Ruleset {
    /// As landlock_create_ruleset(2) takes it.
    #[must_use]
    pub fn handled(&self) -> Handled {
        Handled { fs: self.fs, net: self.net, scoped: self.scoped }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ABI {}: read", self.abi)?;
        for (name, bits) in [
            ("", access::READ_DIR),
            ("; execute", access::EXECUTE),
            ("; write", access::MAKE_REG),
            ("; use devices", access::IOCTL_DEV),
        ] {
            f.write_str(name)?;
            // What is written as a tree is not named again as files.
            let places = self.rules.iter().filter(|rule| rule.access & bits & self.fs != 0);
            let mut none = true;
            for rule in places.filter(|rule| !matches!(rule.at, At::Stdio(_))) {
                none = false;
                write!(f, " {}", rule.place)?;
            }
            if none {
                f.write_str(" nothing")?;
            }
        }
        if self.fs & access::RESOLVE_UNIX != 0 {
            f.write_str("; connect to sockets")?;
            let sockets: Vec<_> = self.rules.iter().filter(|rule| rule.access & access::RESOLVE_UNIX != 0).collect();
            sockets.iter().try_for_each(|rule| write!(f, " {}", rule.place))?;
            f.write_str(if sockets.is_empty() { " made inside" } else { " and those made inside" })?;
        }
        for (name, right) in [("bind", net::BIND_TCP), ("connect to", net::CONNECT_TCP)] {
            if self.net & right != 0 {
                let ports: Vec<_> = self.ports.iter().filter(|(_, rights)| rights & right != 0).collect();
                write!(f, "; {name} TCP ports")?;
                ports.iter().try_for_each(|(port, _)| write!(f, " {port}"))?;
                f.write_str(if ports.is_empty() { " none" } else { "" })?;
            }
        }
        for (name, bit) in [("abstract sockets", scope::ABSTRACT_UNIX_SOCKET), ("signals", scope::SIGNAL)] {
            if self.scoped & bit != 0 {
                write!(f, "; {name} stay inside")?;
            }
        }
        Ok(())
    }
}

/// What is allowed on a file, or on a directory and all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// On what.
    pub at: At,
    /// `LANDLOCK_ACCESS_FS_*`; on what is no directory, those that can be said of it.
    pub access: u64,
    /// Where that is, for people.
    pub place: Text,
}

/// How the child finds what a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum At {
    /// A mount that this plan made, by its descriptor: no path is looked up.
    Mount(Slot),
    /// `place` in the container's root, which must be where a mount is; without a rule if it is not.
    MountPoint,
    /// `place` in the container's root; without a rule if there is nothing.
    Path,
    /// Standard input, output or error: what is open there may be opened once more, as it is open. Pipes need no rule.
    Stdio(i32),
}

/// A mount of the container, as its operations leave it.
#[derive(Debug)]
struct Place {
    target: PathBuf,
    slot: Option<Slot>,
    readonly: bool,
    nodev: bool,
}

/// Whether rules are found by the descriptors of this plan's own mounts, or by paths in a container that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Descriptor,
    Path,
}

/// The rules for the mounts that `script` makes, which may be another one than the builder's. `None` when the kernel has no
/// Landlock, or not enough: that is said as a warning, or as an error where it is required.
pub(super) fn compile(b: &mut Builder<'_>, asked: &Landlock, script: &[Child], by: By) -> Option<Ruleset> {
    let abi = b.host.landlock_abi;
    if let Some(required) = asked.required_abi.filter(|required| *required > abi) {
        b.error("landlock", lacking(required, abi), "boot a newer kernel with landlock in lsm=, or require less");
        return None;
    }
    if abi == 0 {
        b.warn("landlock", format!("not enforced: {}", lacking(1, 0)));
        return None;
    }
    missing(b, asked, abi);
    let fs = FS_BY_ABI.iter().filter(|(since, _)| *since <= abi).fold(0, |all, (_, rights)| all | rights);
    let sockets = asked.sockets.is_some() && abi >= SOCKETS_ABI;
    let fs = if sockets { fs | access::RESOLVE_UNIX } else { fs };
    let (mut net_handled, mut ports) = (0, Vec::new());
    for (right, list) in [(net::BIND_TCP, &asked.bind_tcp), (net::CONNECT_TCP, &asked.connect_tcp)] {
        if let Some(list) = list.as_ref().filter(|_| abi >= 4) {
            net_handled |= right;
            ports.extend(list.iter().map(|port| (*port, right)));
        }
    }
    let scopes = [(asked.scope_abstract, scope::ABSTRACT_UNIX_SOCKET), (asked.scope_signals, scope::SIGNAL)];
    let scoped = scopes.iter().filter(|(wanted, _)| *wanted && abi >= 6).fold(0, |all, (_, bit)| all | bit);
    let mut rules = rules(asked, script, by);
    for rule in &mut rules {
        rule.access &= fs;
    }
    rules.retain(|rule| rule.access != 0);
    Some(Ruleset { abi, fs, net: net_handled, scoped, rules, ports })
}

/// Applied at once where nothing else of the container's runs before the program; after the hooks where something does.
pub(super) fn restriction(ruleset: &Ruleset) -> Child {
    let quiet = if ruleset.abi >= 7 { flag::LOG_SAME_EXEC_OFF } else { 0 };
    Child::RestrictSelf { flags: quiet, verify: ruleset.scoped & scope::ABSTRACT_UNIX_SOCKET != 0 }
}

/// The newest ABI that rules are written for; what newer kernels add is left as it is.
#[must_use]
pub fn newest_abi() -> u32 {
    KERNELS.iter().map(|(abi, _)| *abi).max().unwrap_or_default()
}

/// Which kernel has an ABI.
pub(crate) fn kernel_of(abi: u32) -> Option<&'static str> {
    KERNELS.iter().find(|(known, _)| *known == abi).map(|(_, kernel)| *kernel)
}

fn since(abi: u32) -> String {
    kernel_of(abi).map_or_else(|| "newer than this pent knows".to_owned(), |kernel| format!("Linux {kernel}"))
}

pub(super) fn lacking(required: u32, abi: u32) -> String {
    let has = match abi {
        0 => "this kernel has none, or it is not enabled (lsm=)".to_owned(),
        abi => format!("this kernel has ABI {abi}"),
    };
    format!("Landlock ABI {required} ({}) is needed; {has}", since(required))
}

/// Best effort, but not in silence: one line for everything that this kernel cannot do.
fn missing(b: &mut Builder<'_>, asked: &Landlock, abi: u32) {
    let parts = [
        (2, true, "moving files between directories (denied everywhere)"),
        (3, true, "truncating files"),
        (4, asked.bind_tcp.is_some(), "binding TCP ports"),
        (4, asked.connect_tcp.is_some(), "connecting to TCP ports"),
        (5, true, "commands to devices"),
        (SOCKETS_ABI, asked.sockets.is_some(), "named sockets"),
        (6, asked.scope_abstract, "abstract sockets"),
        (6, asked.scope_signals, "signals"),
    ];
    let missing: Vec<_> = parts
        .iter()
        .filter(|(since, wanted, _)| *wanted && *since > abi)
        .map(|(since, _, what)| format!("{what} ({})", self::since(*since)))
        .collect();
    if !missing.is_empty() {
        b.warn("landlock", format!("this kernel's ABI {abi} has no rules for {}", missing.join(", ")));
    }
}

fn rules(asked: &Landlock, script: &[Child], by: By) -> Vec<Rule> {
    let (places, root_readonly) = places(script);
    let everywhere = if asked.execute.is_none() { access::EXECUTE } else { 0 };
    let root_write = if root_readonly { 0 } else { WRITE | access::MAKE_CHAR | access::MAKE_BLOCK };
    let mut rules = vec![Rule { at: At::Path, access: READ | everywhere | root_write, place: Text::new("/") }];
    let mut dev_is_mount = false;
    for place in &places {
        let is_dev = place.target == Path::new("/dev");
        dev_is_mount |= is_dev;
        let write = if place.readonly { 0 } else { WRITE };
        // Device nodes work on read-only mounts as well.
        let devices = match (is_dev, place.readonly || place.nodev) {
            (true, true) => USE,
            (true, false) => USE | DEVICES,
            (false, false) => DEVICES,
            (false, true) => 0,
        };
        let at = match (by, place.slot) {
            (By::Descriptor, Some(slot)) => At::Mount(slot),
            _ => At::MountPoint,
        };
        rules.push(Rule { at, access: write | devices, place: Text::path(&place.target) });
    }
    if !dev_is_mount {
        rules.push(Rule { at: At::Path, access: USE, place: Text::new("/dev") });
    }
    let outside_dev = script.iter().filter_map(|op| match op {
        Child::MakeDevice { device, .. } | Child::BindDevice { device, .. } if !device.in_dev => Some(&device.path),
        _ => None,
    });
    for path in outside_dev {
        let place = Text::path(Path::new("/").join(path.as_path()));
        rules.push(Rule { at: At::Path, access: USE, place });
    }
    for path in asked.execute.iter().flatten() {
        rules.push(Rule { at: At::Path, access: access::EXECUTE, place: path.clone() });
    }
    for path in asked.sockets.iter().flatten() {
        rules.push(Rule { at: At::Path, access: access::RESOLVE_UNIX, place: path.clone() });
    }
    let names = ["stdin", "stdout", "stderr"];
    rules.extend((0..).zip(names).map(|(number, name)| Rule {
        at: At::Stdio(number),
        access: USE,
        place: Text::new(name),
    }));
    rules
}

/// The mounts as they are in the end, and whether the root is read-only.
fn places(script: &[Child]) -> (Vec<Place>, bool) {
    let mut places: Vec<Place> = Vec::new();
    let (mut root, mut root_readonly) = (None, false);
    for op in script {
        match op {
            Child::AttachRoot { slot, .. } => root = Some(*slot),
            Child::Attach { slot, target, expect, .. } => cover(&mut places, target, Some(*slot), *expect),
            Child::MountLegacy { target, flags, .. } => {
                let bits = [(attr::RDONLY, libc::MS_RDONLY), (attr::NODEV, libc::MS_NODEV)];
                let set = bits.iter().filter(|(_, flag)| flags & flag != 0).fold(0, |all, (bit, _)| all | bit);
                cover(&mut places, target, None, set);
            }
            Child::Remount { target, attributes, tree_attributes } => {
                let change = |has: &mut bool, bit: u64| {
                    for change in [tree_attributes, attributes] {
                        *has = (*has && change.clear & bit == 0) || change.set & bit != 0;
                    }
                };
                if let Some(place) = places.iter_mut().rev().find(|place| place.target == target.as_path()) {
                    change(&mut place.readonly, attr::RDONLY);
                    change(&mut place.nodev, attr::NODEV);
                } else if target.as_path() == Path::new("/") {
                    change(&mut root_readonly, attr::RDONLY);
                }
            }
            Child::SetReadonly { slot, .. } if Some(*slot) == root => root_readonly = true,
            Child::SetReadonly { slot, .. } => {
                places.iter_mut().filter(|place| place.slot == Some(*slot)).for_each(|place| place.readonly = true);
            }
            _ => {}
        }
    }
    (places, root_readonly)
}

/// A mount hides those that were at its place or below it.
fn cover(places: &mut Vec<Place>, target: &Text, slot: Option<Slot>, flags: u64) {
    let target = target.as_path().to_owned();
    places.retain(|place| !place.target.starts_with(&target));
    places.push(Place { target, slot, readonly: flags & attr::RDONLY != 0, nodev: flags & attr::NODEV != 0 });
}

#[cfg(test)]
mod tests;
