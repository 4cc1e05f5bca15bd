//! What must hold for every plan, whatever it is for. The property tests assert it over random configurations.
#![forbid(unsafe_code)]

use super::Plan;
use super::op::{Child, HookKind, Namespace, Parent, Point};

/// Why a plan must not be run: a bug in `compile`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The scripts would wait for each other for ever.
    #[error("parent and child do not meet in the same order: {parent:?} and {child:?}")]
    Points {
        /// The parent's.
        parent: Vec<Point>,
        /// The child's.
        child: Vec<Point>,
    },
    /// A step comes too early.
    #[error("{later} must come after {earlier}")]
    Order {
        /// What must come first.
        earlier: &'static str,
        /// What came before it.
        later: &'static str,
    },
    /// A step is missing.
    #[error("the plan has no {0}")]
    Missing(&'static str),
}

/// The steps whose order matters, by name; `None` for those that may stand anywhere.
fn rank(op: &Child) -> Option<(u32, &'static str)> {
    Some(match op {
        Child::AttachRoot { .. } => (10, "attaching the root"),
        Child::Attach { .. } | Child::MountLegacy { .. } => (20, "mounts"),
        Child::MakeDevice { .. } => (30, "device nodes"),
        Child::Meet { point: Point::MountsDone } => (35, "the device rules"),
        // What is hidden in them is hidden last.
        Child::KeepPaths { .. } => (38, "kept paths"),
        Child::MaskPaths { .. } => (40, "masked paths"),
        Child::ReadonlyPaths { .. } => (41, "read-only paths"),
        Child::PivotRoot { .. } | Child::MoveRoot { .. } => (50, "the change of root"),
        Child::MakeRuleset { .. } => (55, "the Landlock rules"),
        // It opens files, of which the program may have few.
        Child::VerifyMounts => (60, "the check of mounts"),
        Child::SetRlimit { .. } => (61, "resource limits"),
        Child::SetGroups { .. } => (70, "setgroups"),
        Child::SetGid { .. } => (71, "setresgid"),
        Child::DropBounding { .. } => (72, "the bounding set"),
        Child::SetUid { .. } => (73, "setresuid"),
        Child::SetAmbient { .. } => (75, "ambient capabilities"),
        Child::SetExecLabel { .. } => (76, "labels"),
        Child::SetNoNewPrivs => (77, "no_new_privs"),
        Child::CloseDescriptors { .. } => (80, "the sweep of descriptors"),
        Child::VerifyCredentials(_) => (81, "the check of credentials"),
        // A change of credentials would undo it.
        Child::DieWithRuntime => (85, "the signal at the runtime's death"),
        Child::RunHooks { kind: HookKind::StartContainer } => (90, "startContainer hooks"),
        Child::BecomeInit => (91, "the first process"),
        Child::Announce => (93, "the announcement of the program"),
        Child::LoadSeccomp { .. } => (95, "the seccomp filter"),
        Child::SendListener => (96, "handing over the listener"),
        Child::LoadSeccompRest { .. } => (97, "the rest of the seccomp filter"),
        Child::Execute => (100, "the program"),
        _ => return None,
    })
}

/// Checks what `compile` promises.
///
/// # Errors
/// The first promise that does not hold.
pub fn check(plan: &Plan) -> Result<(), Violation> {
    let parent: Vec<_> =
        plan.parent.iter().filter_map(|op| if let Parent::Meet { point } = op { Some(*point) } else { None }).collect();
    let child: Vec<_> =
        plan.child.iter().filter_map(|op| if let Child::Meet { point } = op { Some(*point) } else { None }).collect();
    if parent != child || !parent.iter().filter(|point| **point != Point::Born).is_sorted() {
        return Err(Violation::Points { parent, child });
    }
    let ranked: Vec<_> = plan.child.iter().filter_map(rank).collect();
    for pair in ranked.windows(2) {
        if pair[0].0 > pair[1].0 {
            return Err(Violation::Order { earlier: pair[1].1, later: pair[0].1 });
        }
    }
    for (number, name) in [
        (70, "setgroups"),
        (71, "setresgid"),
        (72, "drop of the bounding set"),
        (73, "setresuid"),
        (80, "sweep of descriptors"),
        (81, "check of credentials"),
    ] {
        let denied = number == 70 && matches!(groups(plan), Some(None));
        if !denied && !ranked.iter().any(|(rank, _)| *rank == number) {
            return Err(Violation::Missing(name));
        }
    }
    if !matches!(plan.child.last(), Some(Child::Execute)) {
        return Err(Violation::Missing("program at its end"));
    }
    if plan.seccomp.is_some() != plan.child.iter().any(|op| matches!(op, Child::LoadSeccomp { .. })) {
        return Err(Violation::Missing("seccomp filter"));
    }
    if plan.seccomp_rest.is_some() != plan.child.iter().any(|op| matches!(op, Child::LoadSeccompRest { .. })) {
        return Err(Violation::Missing("rest of the seccomp filter"));
    }
    network(plan)?;
    landlock(plan)?;
    no_rights_at_birth(plan)?;
    no_host_path_after_pivot(plan)
}

/// Whether an operation of the child is about the network namespace it is in, or may be: filesystems are, unless they are known
/// not to.
pub(super) fn needs_network(op: &Child) -> bool {
    const APART: [&[u8]; 6] = [b"proc", b"tmpfs", b"devpts", b"mqueue", b"cgroup", b"cgroup2"];
    match op {
        Child::MakeFilesystem(filesystem) => !APART.contains(&filesystem.kind.to_bytes()),
        Child::MountLegacy { kind, .. } => !APART.contains(&kind.to_bytes()),
        Child::VerifyNamespaces { .. }
        | Child::SendNetwork
        | Child::WriteSysctls { .. }
        | Child::RunHooks { .. }
        | Child::Meet { point: Point::MountsDone } => true,
        _ => false,
    }
}

/// A network namespace that the parent makes is entered before anything is done in it, also by the parent's hooks.
fn network(plan: &Plan) -> Result<(), Violation> {
    let entered = plan.child.iter().position(|op| matches!(op, Child::EnterNetwork));
    let made = plan.parent.iter().any(|op| matches!(op, Parent::MakeNetwork));
    let twice = made && plan.new_namespaces.contains(&Namespace::Network);
    match entered {
        None if !made => Ok(()),
        Some(entered) if made && !twice => {
            let early = plan.child[..entered].iter().any(needs_network);
            let order = Violation::Order { earlier: "the network namespace", later: "what is done in it" };
            if early { Err(order) } else { Ok(()) }
        }
        _ => Err(Violation::Missing("single making of the network namespace that the child enters")),
    }
}

/// Rules apply when nothing is left to do that they would forbid, hooks included, and before a filter that could forbid applying
/// them. no_new_privs comes first: without it the kernel wants CAP_SYS_ADMIN (landlock(7)).
fn landlock(plan: &Plan) -> Result<(), Violation> {
    let place = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted);
    let made = place(|op| matches!(op, Child::MakeRuleset { .. }));
    let restricted = place(|op| matches!(op, Child::RestrictSelf { .. }));
    let restricted = match (made, restricted) {
        (None, None) => return Ok(()),
        (Some(_), Some(restricted)) => restricted,
        _ => return Err(Violation::Missing("restriction to its Landlock rules")),
    };
    let later = "Landlock";
    let Some(_) = place(|op| matches!(op, Child::SetNoNewPrivs)).filter(|at| *at < restricted) else {
        return Err(Violation::Order { earlier: "no_new_privs", later });
    };
    for (earlier, at) in [
        ("the change of root", place(|op| matches!(op, Child::PivotRoot { .. } | Child::MoveRoot { .. }))),
        ("the Landlock rules", made),
        ("labels", place(|op| matches!(op, Child::SetExecLabel { .. }))),
        ("startContainer hooks", place(|op| matches!(op, Child::RunHooks { kind: HookKind::StartContainer }))),
    ] {
        if at.is_some_and(|at| at > restricted) {
            return Err(Violation::Order { earlier, later });
        }
    }
    match place(|op| matches!(op, Child::LoadSeccomp { .. })) {
        Some(at) if at < restricted => Err(Violation::Order { earlier: later, later: "the seccomp filter" }),
        _ => Ok(()),
    }
}

/// A process that is born where others can see it has no descriptor and no capability that the program has not.
fn no_rights_at_birth(plan: &Plan) -> Result<(), Violation> {
    let place = |wanted: fn(&Child) -> bool| plan.child.iter().position(wanted);
    let entered = place(|op| matches!(op, Child::EnterProcess { .. } | Child::MakeNamespaces { .. }));
    let (Some(_), Some(birth)) = (entered, place(|op| matches!(op, Child::Birth { .. }))) else { return Ok(()) };
    for (earlier, at) in [
        ("the change of root", place(|op| matches!(op, Child::PivotRoot { .. } | Child::MoveRoot { .. }))),
        ("capabilities", place(|op| matches!(op, Child::SetCapabilities { .. }))),
        ("the sweep of descriptors", place(|op| matches!(op, Child::CloseDescriptors { .. }))),
    ] {
        if at.is_some_and(|at| at > birth) {
            return Err(Violation::Order { earlier, later: "the birth of the process" });
        }
    }
    Ok(())
}

fn groups(plan: &Plan) -> Option<Option<usize>> {
    plan.child.iter().find_map(|op| if let Child::VerifyCredentials(c) = op { Some(c.groups) } else { None })
}

/// Once the root has changed, nothing may be taken from the host, and no mount be made any more.
fn no_host_path_after_pivot(plan: &Plan) -> Result<(), Violation> {
    let pivot = plan.child.iter().position(|op| matches!(op, Child::PivotRoot { .. } | Child::MoveRoot { .. }));
    let Some(pivot) = pivot else { return Ok(()) };
    let late = plan.child[pivot..].iter().any(|op| {
        matches!(
            op,
            Child::CloneMount(_)
                | Child::CloneInside(_)
                | Child::OpenNull { .. }
                | Child::OpenBinary { .. }
                | Child::OpenLabel { .. }
                | Child::ShieldBinary { .. }
                | Child::ParkBinary { .. }
                | Child::MakeFilesystem(_)
                | Child::BindDevice { .. }
                | Child::MakeDevice { .. }
                | Child::VerifyNamespaces { .. }
                | Child::SendNetwork
                | Child::RunHooks { kind: HookKind::CreateContainer }
        )
    });
    if late { Err(Violation::Order { earlier: "everything of the host", later: "the change of root" }) } else { Ok(()) }
}
