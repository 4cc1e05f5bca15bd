//! What must be in force before the program starts, checked against the operations that will put it in force. That the kernel
//! then does is checked by the operations themselves (`Verify…`, and what follows `LoadSeccomp` and `RestrictSelf`).
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::hardening::{Need, Requirement};
use super::landlock::{self, Ruleset};
use super::op::{Child, Module, Namespace};
use crate::cgroup::CgroupPlan;
use crate::report::Diagnostic;
use crate::seccomp::Program;

/// What is known of a plan when its scripts are complete.
pub(super) struct Facts<'a> {
    pub(super) ruleset: Option<&'a Ruleset>,
    /// The filter that will be loaded, all that is asked for in one.
    pub(super) filter: Option<&'a Program>,
    /// Whether the root is read-only.
    pub(super) readonly_root: bool,
    /// Its control group, and what it limits.
    pub(super) cgroup: Limited,
    /// Namespaces that are new, or the container's when a process joins it.
    pub(super) own: &'a [Namespace],
    /// Namespaces that config.json names by path.
    pub(super) joined: &'a [Namespace],
}

/// What a control group limits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limited {
    pub(super) own: bool,
    pub(super) memory: bool,
    pub(super) pids: bool,
}

impl Limited {
    /// What the writes of a plan limit: what was asked for and cannot be done is not among them.
    pub(super) fn by(plan: &CgroupPlan) -> Self {
        let own = !plan.directories.is_empty() || plan.scope.is_some();
        let writes = |files: &[&str]| {
            let limit = |value: &str| !matches!(value.trim(), "max" | "-1" | "");
            own && plan.limits.writes.iter().any(|write| files.contains(&write.file.as_str()) && limit(&write.value))
        };
        Self { own, memory: writes(&["memory.max", "memory.limit_in_bytes"]), pids: writes(&["pids.max"]) }
    }
}

/// Whether the control group must not be left out when it cannot be made.
pub(super) fn needs_cgroup(required: &[Requirement]) -> bool {
    required.iter().any(|requirement| matches!(requirement.need, Need::Cgroup | Need::Memory | Need::Pids))
}

/// Reports everything that is required and will not be there.
pub(super) fn check(b: &mut Builder<'_>, required: &[Requirement], facts: &Facts<'_>) {
    for Requirement { need, from } in required {
        if let Some((why, hint)) = lacking(b, *need, facts) {
            b.diagnostics.push(Diagnostic::error(from, format!("{need} is required: {why}")).hint(hint));
        }
        // Whose a joined namespace is, only its inode tells.
        if let Need::Namespace(kind) = need
            && facts.joined.contains(kind)
        {
            for op in &mut b.child {
                if let Child::VerifyNamespaces { apart, .. } = op
                    && !apart.contains(kind)
                {
                    apart.push(*kind);
                }
            }
        }
    }
}

/// Why it will not be there, and what to do.
fn lacking(b: &Builder<'_>, need: Need, facts: &Facts<'_>) -> Option<(String, &'static str)> {
    let some = |why: &str, hint: &'static str| Some((why.to_owned(), hint));
    let last = |find: fn(&Child) -> Option<u64>| b.child.iter().rev().find_map(find).unwrap_or(0);
    let label = |wanted: Module| {
        b.child.iter().any(|op| {
            matches!(op, Child::SetExecLabel { module, label, .. }
                if *module == wanted && label.to_bytes() != b"unconfined")
        })
    };
    match need {
        Need::Landlock(abi) => match facts.ruleset {
            Some(ruleset) if ruleset.abi >= abi => None,
            _ if b.host.landlock_abi < abi => Some((
                landlock::lacking(abi, b.host.landlock_abi),
                "boot a newer kernel with landlock in lsm=, or require less",
            )),
            _ => some("no Landlock rules are asked for", "apply a profile that has them: --profile restricted"),
        },
        Need::Seccomp if facts.filter.is_some_and(denies) => None,
        Need::Seccomp => some(
            "there is no filter that denies a system call",
            "set linux.seccomp, or apply a profile: --profile restricted",
        ),
        Need::NoNewPrivs if b.child.contains(&Child::SetNoNewPrivs) => None,
        Need::NoNewPrivs => some("process.noNewPrivileges is not true", "set it to true"),
        Need::NonRoot if last(|op| if let Child::SetUid { uid } = op { Some((*uid).into()) } else { None }) != 0 => {
            None
        }
        Need::NonRoot => some("the program's uid is 0", "set process.user.uid to another one"),
        Need::NoCapabilities => {
            let sets = last(|op| match op {
                Child::SetCapabilities { effective, permitted, inheritable } => {
                    Some(effective | permitted | inheritable)
                }
                _ => None,
            });
            let bounding = last(|op| if let Child::DropBounding { keep } = op { Some(*keep) } else { None });
            let ambient = last(|op| if let Child::SetAmbient { set } = op { Some(*set) } else { None });
            let all = sets | bounding | ambient;
            let names = || crate::spec::capability::names(all).join(", ");
            (all != 0).then(|| (format!("the program has {}", names()), "leave process.capabilities empty"))
        }
        Need::ReadonlyRoot if facts.readonly_root => None,
        Need::ReadonlyRoot => {
            some("root.readonly is not true", "set it to true, and mount a tmpfs where the program writes")
        }
        Need::Cgroup if facts.cgroup.own => None,
        Need::Cgroup => some(
            "the container has no control group of its own that it must be in",
            "set linux.cgroupsPath, and have a cgroup delegated where pent runs without root (`pent doctor` says how)",
        ),
        Need::Memory if facts.cgroup.memory => None,
        Need::Memory => some("no limit on memory will be set", "set linux.resources.memory.limit"),
        Need::Pids if facts.cgroup.pids => None,
        Need::Pids => some("no limit on the number of processes will be set", "set linux.resources.pids.limit"),
        // Its mounts are replaced before anything tells whose it is.
        Need::Namespace(Namespace::Mount) if facts.joined.contains(&Namespace::Mount) => some(
            "the mount namespace is an existing one, which may be the host's",
            "leave its path out of linux.namespaces",
        ),
        Need::Namespace(kind) if facts.own.contains(&kind) || facts.joined.contains(&kind) => None,
        Need::Namespace(kind) => Some((
            format!("the container shares the {} namespace of the runtime", kind.file()),
            "add it to linux.namespaces",
        )),
        Need::Apparmor if label(Module::Apparmor) => None,
        Need::Apparmor => some("no AppArmor profile will be set", "set process.apparmorProfile to one that is loaded"),
        Need::Selinux if label(Module::Selinux) => None,
        Need::Selinux => some("no SELinux label will be set", "set process.selinuxLabel"),
    }
}

/// Whether a filter refuses any call of the machine's own ABI that has zeroes for arguments: one that refuses only certain
/// arguments does not count.
fn denies(filter: &Program) -> bool {
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    const SECCOMP_RET_LOG: u32 = 0x7ffc_0000;
    const PAST_THE_LAST_CALL: u32 = 600;
    let Some(native) = filter.abis.first() else { return false };
    // From the end: a call that is not known yet is denied by every list of what is allowed.
    (0..=PAST_THE_LAST_CALL).rev().any(|nr| {
        let verdict = filter.verdict(native.audit_arch(), nr, [0; 6]) & 0xffff_0000;
        verdict != SECCOMP_RET_ALLOW && verdict != SECCOMP_RET_LOG
    })
}
