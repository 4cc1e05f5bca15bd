//! Device rules: what the specification says, what the kernel's version 1 controller would make of it, and how to get a
//! version 1 cgroup there.
//!
//! Version 1 does not keep a list: it keeps a default (allow or deny) and exceptions to it, and each rule changes them.
//! [`Policy`] does the same, so that one list of rules means the same on both versions; version 2 gets a program that
//! decides like the policy ([`super::program`]).
#![forbid(unsafe_code)]

use crate::report::Diagnostic;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Create the node (mknod(2)).
pub const MKNOD: u8 = 1;
/// Open for reading.
pub const READ: u8 = 2;
/// Open for writing.
pub const WRITE: u8 = 4;
/// All three.
pub const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `b`
    Block,
    /// `c`
    Char,
}

/// Which devices an exception is about; nothing stands for every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Devices {
    /// Block or character devices.
    pub kind: Kind,
    /// The major number.
    pub major: Option<u32>,
    /// The minor number.
    pub minor: Option<u32>,
}

impl Devices {
    /// Whether every device that `other` is about is one of these.
    fn covers(self, other: Self) -> bool {
        let number = |own: Option<u32>, other: Option<u32>| own.is_none() || own == other;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }

    /// Whether there is a device that both are about.
    fn overlaps(self, other: Self) -> bool {
        let number = |own: Option<u32>, other: Option<u32>| own.is_none() || other.is_none() || own == other;
        self.kind == other.kind && number(self.major, other.major) && number(self.minor, other.minor)
    }
}

/// One rule, in the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// The devices; nothing is type `a`: every device with every access, whatever else the rule says.
    pub devices: Option<Devices>,
    /// [`MKNOD`], [`READ`], [`WRITE`].
    pub access: u8,
}

const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
    Rule { allow: true, devices: Some(Devices { kind, major, minor }), access }
}

/// The devices that every container may use, whatever its configuration says: runc's list. Nodes of any device may be made
/// but not opened; null, zero, full, random, urandom, tty, ptmx, pseudo terminals and tun may be used.
///
/// The host's console (5:1) is not in it, as in runc: a container's `/dev/console` is a pseudo terminal.
pub const DEFAULT_RULES: &[Rule] = &[
    allow(Kind::Char, None, None, MKNOD),
    allow(Kind::Block, None, None, MKNOD),
    allow(Kind::Char, Some(1), Some(3), ALL),
    allow(Kind::Char, Some(1), Some(5), ALL),
    allow(Kind::Char, Some(1), Some(7), ALL),
    allow(Kind::Char, Some(1), Some(8), ALL),
    allow(Kind::Char, Some(1), Some(9), ALL),
    allow(Kind::Char, Some(5), Some(0), ALL),
    allow(Kind::Char, Some(5), Some(2), ALL),
    allow(Kind::Char, Some(136), None, ALL),
    allow(Kind::Char, Some(10), Some(200), ALL),
];

/// A default and the exceptions to it: the state of a version 1 devices cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether a device without an exception may be used.
    pub default_allow: bool,
    /// What the exceptions allow (or deny, when the default allows).
    pub exceptions: BTreeMap<Devices, u8>,
}

impl Policy {
    /// The policy after `rules`, beginning with one that denies everything.
    ///
    /// # Errors
    /// The number of a rule that would have to cut a hole into a wildcard exception, with the exception; version 1 ignores
    /// such rules silently, which is no basis for isolation. Nor does it heed a rule that is wider than earlier exceptions, which
    /// end here as the order of rules says they do.
    pub fn of(rules: &[Rule]) -> Result<Self, (usize, Devices)> {
        let mut policy = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            policy.apply(*rule).map_err(|hole| (index, hole))?;
        }
        Ok(policy)
    }

    /// Applies one more rule.
    fn apply(&mut self, rule: Rule) -> Result<(), Devices> {
        let Some(devices) = rule.devices else {
            *self = Self { default_allow: rule.allow, exceptions: BTreeMap::new() };
            return Ok(());
        };
        if rule.allow != self.default_allow {
            *self.exceptions.entry(devices).or_default() |= rule.access;
            return Ok(());
        }
        let hole = |known: &Devices| known.overlaps(devices) && !devices.covers(*known);
        if let Some((known, _)) =
            self.exceptions.iter().find(|(known, access)| *access & rule.access != 0 && hole(known))
        {
            return Err(*known);
        }
        self.exceptions.retain(|known, access| {
            *access &= if devices.covers(*known) { !rule.access } else { ALL };
            *access != 0
        });
        Ok(())
    }

    /// Whether everything is allowed.
    #[must_use]
    pub fn allows_everything(&self) -> bool {
        self.default_allow && self.exceptions.is_empty()
    }

    /// What the version 1 controller decides (`devcgroup_legacy_check_permission` in `security/device_cgroup.c`): with a
    /// default of deny, one exception must cover the whole request; with a default of allow, none may touch it.
    #[must_use]
    pub fn decide(&self, kind: Kind, major: u32, minor: u32, access: u8) -> bool {
        let hit = self.exceptions.iter().any(|(devices, excepted)| {
            let same = devices.kind == kind
                && devices.major.is_none_or(|wanted| wanted == major)
                && devices.minor.is_none_or(|wanted| wanted == minor);
            same && if self.default_allow { access & excepted != 0 } else { access & !excepted == 0 }
        });
        hit != self.default_allow
    }

    /// The policy that the text of a `devices.list` file shows. A cgroup whose default is to allow does not show its
    /// exceptions.
    ///
    /// Nothing when a line is not understood.
    #[must_use]
    pub fn parse_list(text: &str) -> Option<Self> {
        let mut policy = Self::default();
        for line in text.lines() {
            let mut fields = line.split([' ', ':']);
            let kind = match fields.next()? {
                "a" => return Some(Self { default_allow: true, exceptions: BTreeMap::new() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let (major, minor) = (parse_number(fields.next()?)?, parse_number(fields.next()?)?);
            let access = parse_access(fields.next()?, true)?;
            *policy.exceptions.entry(Devices { kind, major, minor }).or_default() |= access;
        }
        Some(policy)
    }

    /// The writes that lead a version 1 cgroup from this policy to `target`: whether to `devices.allow`, and what.
    ///
    /// Everything is denied (or allowed) first only when that cannot be avoided: a running container must not be refused its
    /// devices for a moment. The exceptions of a cgroup that allows by default cannot be known, so they are always reset.
    #[must_use]
    pub fn transition(&self, target: &Self) -> Vec<(bool, String)> {
        let mut writes = Vec::new();
        let reset = self.default_allow || target.default_allow;
        let nothing = BTreeMap::new();
        let known = if reset { &nothing } else { &self.exceptions };
        if reset {
            writes.push((target.default_allow, "a".to_owned()));
        }
        for (devices, access) in known {
            let dropped = access & !target.exceptions.get(devices).copied().unwrap_or(0);
            if dropped != 0 {
                writes.push((target.default_allow, text(*devices, dropped)));
            }
        }
        for (devices, access) in &target.exceptions {
            let gained = access & !known.get(devices).copied().unwrap_or(0);
            if gained != 0 {
                writes.push((!target.default_allow, text(*devices, gained)));
            }
        }
        writes
    }
}

/// The text of an exception as `devices.allow` and `devices.list` have it: `c 1:3 rwm`.
fn text(devices: Devices, access: u8) -> String {
    let kind = match devices.kind {
        Kind::Block => 'b',
        Kind::Char => 'c',
    };
    let mut text = format!("{kind} {}:{} ", number(devices.major), number(devices.minor));
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if access & bit != 0 {
            text.push(letter);
        }
    }
    text
}

fn number(number: Option<u32>) -> String {
    number.map_or_else(|| "*".to_owned(), |number| number.to_string())
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allow { "allow " } else { "deny " })?;
        match self.devices {
            Some(devices) => f.write_str(&text(devices, self.access)),
            None => f.write_str("a *:* rwm"),
        }
    }
}

/// A number or `*`.
fn parse_number(text: &str) -> Option<Option<u32>> {
    if text == "*" { Some(None) } else { text.parse().ok().map(Some) }
}

/// Letters out of `rwm`, at least one. An `a` among them, which tools write and runc takes, allows nothing more, and denies all.
fn parse_access(text: &str, allow: bool) -> Option<u8> {
    let mut access = 0;
    for letter in text.chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            'a' => {
                if allow {
                    0
                } else {
                    ALL
                }
            }
            _ => return None,
        };
    }
    (access != 0).then_some(access)
}

/// The rules of `linux.resources.devices` (at JSON path `path`), in order, each with the index of its entry.
///
/// Version 1 takes type `a` for every device and access, whatever else the entry says. One that denies is as wide here; one that allows
/// no more than what it says.
///
/// # Errors
/// Every rule that is wrong: an access that is empty or has other letters than `rwm`, a number out of range, a type that
/// the controller does not know.
pub(super) fn parse_rules(list: &[LinuxDeviceCgroup], path: &str) -> Result<Vec<(usize, Rule)>, Vec<Diagnostic>> {
    let mut rules = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let kind = match entry.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(Kind::Block),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
            Some(LinuxDeviceType::P) => {
                let message = "device type p (a FIFO) is not subject to device rules";
                problems.push(Diagnostic::error(format!("{path}[{index}].type"), message));
                continue;
            }
        };
        let text = entry.access().as_deref().unwrap_or_default();
        let Some(access) = parse_access(text, entry.allow()) else {
            let message = match text {
                "" => "device access cannot be empty".to_owned(),
                _ => format!("device access {text:?} has other letters than r, w and m"),
            };
            problems.push(
                Diagnostic::error(format!("{path}[{index}].access"), message).hint("use \"rwm\" or a part of it"),
            );
            continue;
        };
        let mut numbers = [None, None];
        for (slot, (name, value)) in numbers.iter_mut().zip([("major", entry.major()), ("minor", entry.minor())]) {
            match value {
                // -1 is how runc's own tools write `*`.
                None | Some(-1) => {}
                Some(value) => match u32::try_from(value) {
                    Ok(value) => *slot = Some(value),
                    Err(_) => {
                        let message = format!("device number {value} is out of range");
                        problems.push(Diagnostic::error(format!("{path}[{index}].{name}"), message));
                    }
                },
            }
        }
        let [major, minor] = numbers;
        let rule = |kind: Option<Kind>| {
            let devices = kind.map(|kind| Devices { kind, major, minor });
            (index, Rule { allow: entry.allow(), devices, access })
        };
        if kind.is_none() && entry.allow() && (major, minor, access) != (None, None, ALL) {
            rules.extend([Kind::Block, Kind::Char].map(|kind| rule(Some(kind))));
        } else {
            rules.push(rule(kind));
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// The policy of a container: `spec`'s rules, then `defaults`, which therefore cannot be taken away (as in runc and crun).
///
/// # Errors
/// As [`parse_rules`]; also a rule that would cut a hole into a wildcard.
pub(super) fn compile_policy(
    spec: &[LinuxDeviceCgroup],
    defaults: &[Rule],
    path: &str,
) -> Result<(Policy, Vec<Rule>), Vec<Diagnostic>> {
    let (entries, mut rules): (Vec<_>, Vec<_>) = parse_rules(spec, path)?.into_iter().unzip();
    rules.extend_from_slice(defaults);
    match Policy::of(&rules) {
        Ok(policy) => Ok((policy, rules)),
        Err((index, hole)) => {
            // Where the rule is a default one, what is wrong is the wildcard that it meets.
            let wildcard =
                || rules.iter().zip(&entries).rfind(|(rule, _)| rule.devices == Some(hole)).map(|(_, at)| at);
            let entry = entries.get(index).or_else(wildcard).copied().unwrap_or_default();
            let rule = rules.get(index).map(ToString::to_string).unwrap_or_default();
            let message =
                format!("device rule `{rule}` cannot cut a hole into the wildcard rule `{}`", text(hole, ALL));
            Err(vec![
                Diagnostic::error(format!("{path}[{entry}]"), message)
                    .hint("device rules are exceptions to one default: name the devices instead of a wildcard"),
            ])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    fn policy(json: &str) -> Policy {
        compile_policy(&entries(json), DEFAULT_RULES, "devices").unwrap().0
    }

    #[test]
    fn without_rules_the_defaults_are_allowed_and_nothing_else() {
        let policy = policy("[]");
        assert!(!policy.default_allow);
        assert!(policy.decide(Kind::Char, 1, 3, ALL));
        assert!(policy.decide(Kind::Char, 136, 77, READ | WRITE));
        assert!(policy.decide(Kind::Block, 8, 0, MKNOD), "any node may be made");
        assert!(!policy.decide(Kind::Block, 8, 0, READ), "but not opened");
        assert!(!policy.decide(Kind::Char, 1, 1, READ), "/dev/mem");
        assert!(!policy.decide(Kind::Char, 5, 1, READ), "the host's console");
    }

    #[test]
    fn the_defaults_survive_a_deny_all() {
        let policy = policy(r#"[{"allow": false, "access": "rwm"}]"#);
        assert!(policy.decide(Kind::Char, 1, 3, ALL));
        assert_eq!(policy, super::tests::policy("[]"));
    }

    #[test]
    fn allow_all_allows_all() {
        assert!(policy(r#"[{"allow": true, "type": "a", "access": "rwm"}]"#).allows_everything());
        let some =
            policy(r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "w"}]"#);
        assert!(some.default_allow && !some.allows_everything());
        assert!(!some.decide(Kind::Block, 8, 1, READ | WRITE));
        assert!(some.decide(Kind::Block, 8, 1, READ));
        assert!(some.decide(Kind::Block, 9, 1, WRITE));
    }

    #[test]
    fn the_last_matching_rule_wins() {
        let some = policy(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        );
        assert!(some.decide(Kind::Char, 10, 229, READ));
        assert!(!some.decide(Kind::Char, 10, 229, WRITE));
    }

    #[test]
    fn one_exception_must_cover_the_whole_request() {
        let some = policy(
            r#"[{"allow": true, "type": "c", "major": 10, "access": "r"},
                {"allow": true, "type": "c", "minor": 229, "access": "w"}]"#,
        );
        assert!(some.decide(Kind::Char, 10, 229, READ) && some.decide(Kind::Char, 10, 229, WRITE));
        assert!(!some.decide(Kind::Char, 10, 229, READ | WRITE));
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused_with_its_path() {
        let list = entries(
            r#"[{"allow": true, "type": "c", "major": 10, "access": "rw"},
                {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        );
        let found = compile_policy(&list, DEFAULT_RULES, "linux.resources.devices").unwrap_err();
        assert_eq!(found[0].path, "linux.resources.devices[1]");
        assert!(found[0].message.contains("cannot cut a hole"), "{}", found[0].message);
    }

    #[test]
    fn a_wider_rule_ends_earlier_exceptions() {
        let some = policy(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
                {"allow": false, "type": "c", "major": 10, "access": "w"}]"#,
        );
        assert!(some.decide(Kind::Char, 10, 229, READ) && !some.decide(Kind::Char, 10, 229, WRITE));
        assert!(some.decide(Kind::Block, 8, 0, READ), "of another type");
        let none = policy(
            r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": false, "type": "c", "access": "rwm"}]"#,
        );
        assert_eq!(none, policy("[]"));
    }

    #[test]
    fn a_hole_in_a_wildcard_that_is_not_wider_is_refused_too() {
        let list = entries(
            r#"[{"allow": true, "type": "c", "minor": 229, "access": "rw"},
                {"allow": false, "type": "c", "major": 10, "access": "w"}]"#,
        );
        let found = compile_policy(&list, DEFAULT_RULES, "d").unwrap_err();
        assert_eq!(found[0].path, "d[1]");
    }

    #[test]
    fn a_rule_for_all_types_allows_what_it_says() {
        for (rule, major, minor, access) in [
            (r#"{"allow": true, "major": 10, "minor": 229, "access": "r"}"#, 10, 229, READ),
            (r#"{"allow": true, "type": "a", "access": "r"}"#, 1, 1, READ),
        ] {
            let some = policy(&format!("[{rule}]"));
            assert!(!some.default_allow, "{rule}");
            for kind in [Kind::Block, Kind::Char] {
                assert!(some.decide(kind, major, minor, access) && !some.decide(kind, major, minor, WRITE), "{rule}");
            }
        }
        assert!(!policy(r#"[{"allow": true, "major": 10, "access": "rwm"}]"#).decide(Kind::Block, 8, 0, READ));
        // One that denies is as wide as version 1 has it, and a mistake is still told by its own place.
        let denied = r#"[{"allow": true, "access": "rwm"}, {"allow": false, "major": 1, "access": "r"}]"#;
        assert_eq!(policy(denied), policy("[]"));
        let list = entries(
            r#"[{"allow": true, "major": 7, "access": "r"}, {"allow": true, "type": "c", "major": 10, "access": "rw"},
                {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "w"}]"#,
        );
        assert_eq!(compile_policy(&list, DEFAULT_RULES, "d").unwrap_err()[0].path, "d[2]");
    }

    #[test]
    fn wrong_rules_are_all_reported() {
        let list = entries(
            r#"[{"allow": true, "type": "c", "access": ""}, {"allow": true, "access": "rx"},
                {"allow": true, "type": "c", "major": -2, "minor": 4294967296, "access": "r"}]"#,
        );
        let found: Vec<_> = parse_rules(&list, "d").unwrap_err().into_iter().map(|found| found.path).collect();
        assert_eq!(found, ["d[0].access", "d[1].access", "d[2].major", "d[2].minor"]);
    }

    #[test]
    fn a_new_cgroup_is_reset_and_filled() {
        let all = Policy { default_allow: true, exceptions: BTreeMap::new() };
        let writes = all.transition(&policy("[]"));
        assert_eq!(writes[0], (false, "a".to_owned()));
        assert_eq!(writes[1], (true, "b *:* m".to_owned()));
        assert_eq!(writes.len(), 1 + DEFAULT_RULES.len());
        assert!(writes[1..].iter().all(|(allow, _)| *allow));
    }

    #[test]
    fn an_update_changes_only_what_differs() {
        let old = policy(r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]"#);
        let new = policy(r#"[{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rm"}]"#);
        assert_eq!(old.transition(&new), [(false, "c 10:229 w".to_owned()), (true, "c 10:229 m".to_owned())]);
        assert_eq!(old.transition(&old), []);
    }

    #[test]
    fn a_devices_list_is_read_back() {
        let policy = policy("[]");
        let list: String = policy.exceptions.iter().map(|(devices, access)| text(*devices, *access) + "\n").collect();
        assert!(list.contains("c 136:* rwm\n"), "{list}");
        assert_eq!(Policy::parse_list(&list).unwrap(), policy);
        assert!(Policy::parse_list("a *:* rwm\n").unwrap().allows_everything());
        assert_eq!(Policy::parse_list("c x:3 rwm\n"), None);
    }
}
