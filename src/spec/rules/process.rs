//! Rules for `process` (config.md, Process).
#![forbid(unsafe_code)]

use super::{Findings, View, at, text};
use crate::spec::{capability, tree::quote};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxCapabilities, LinuxIdMapping, LinuxNamespaceType, LinuxSchedulerPolicy,
    Process, Scheduler, User,
};

/// Both `setresuid(2)` and `setgroups(2)` take this number for "leave it as it is": asked for, it would mean root.
pub(super) const NO_ID: u32 = u32::MAX;

/// `view` is the rest of the configuration, when the process is part of one.
pub(super) fn check(process: &Process, path: &str, view: Option<&View<'_>>, found: &mut Findings) {
    arguments(process, path, found);
    user(process.user(), &at(path, "user"), view, found);
    if let Some(capabilities) = process.capabilities() {
        check_capabilities(capabilities, &at(path, "capabilities"), found);
    }
    rlimits(process, path, found);
    if let Some(score) = process.oom_score_adj().filter(|score| !(-1000..=1000).contains(score)) {
        found.error(at(path, "oomScoreAdj"), format!("{score} is not between -1000 and 1000"));
    }
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler, &at(path, "scheduler"), found);
    }
    if let Some(priority) = process.io_priority() {
        let level = priority.priority();
        if !(0..=7).contains(&level) {
            found.error_hint(
                at(path, "ioPriority.priority"),
                format!("invalid ioPriority.Priority: {level}"),
                "levels go from 0, the highest, to 7",
            );
        } else if priority.class() == IOPriorityClass::IoprioClassIdle && level != 0 {
            found.warn(at(path, "ioPriority.priority"), "has no effect with IOPRIO_CLASS_IDLE, which has no levels");
        }
    }
    if process.terminal() == Some(true)
        && let Some(size) = process.console_size()
        && (size.height() > u64::from(u16::MAX) || size.width() > u64::from(u16::MAX))
    {
        found.error(
            at(path, "consoleSize"),
            format!("{}x{} is more than the 65535 rows and columns a terminal can have", size.height(), size.width()),
        );
    }
    for (name, value) in [("apparmorProfile", process.apparmor_profile()), ("selinuxLabel", process.selinux_label())] {
        found.no_nul(value.as_deref().unwrap_or_default(), || at(path, name));
    }
}

fn arguments(process: &Process, path: &str, found: &mut Findings) {
    let args = process.args().as_deref().unwrap_or_default();
    // An empty name is not found, which callers tell from what is wrong with a configuration.
    if args.is_empty() {
        found.error_hint(at(path, "args"), "args must not be empty", "the first is the program to run");
    }
    for (index, arg) in args.iter().enumerate() {
        found.no_nul(arg, || at(path, &format!("args[{index}]")));
    }
    for (index, variable) in process.env().iter().flatten().enumerate() {
        let path = || at(path, &format!("env[{index}]"));
        found.no_nul(variable, path);
        if matches!(variable.find('='), None | Some(0)) {
            found.warn_hint(
                path(),
                format!("{} is not of the form NAME=value", quote(variable)),
                "it is passed on as it is",
            );
        }
    }
    let cwd = text(process.cwd());
    let path = || at(path, "cwd");
    if cwd.is_empty() {
        found.error_hint(path(), "cwd property must not be empty", "/ is the root of the container");
    } else if !cwd.starts_with('/') {
        found.error_hint(
            path(),
            format!("cwd must be an absolute path, got {}", quote(cwd)),
            format!("did you mean /{cwd}?"),
        );
    } else {
        found.no_nul(cwd, path);
    }
}

fn user(user: &User, path: &str, view: Option<&View<'_>>, found: &mut Findings) {
    let groups = user.additional_gids().iter().flatten();
    let ids = [("uid".to_owned(), user.uid(), true), ("gid".to_owned(), user.gid(), false)]
        .into_iter()
        .chain(groups.enumerate().map(|(index, gid)| (format!("additionalGids[{index}]"), *gid, false)));
    let made = view.filter(|view| view.makes(LinuxNamespaceType::User));
    for (name, id, is_user) in ids {
        if id == NO_ID {
            found.error_hint(
                at(path, &name),
                format!("{id} is not an id: the kernel takes it for \"unchanged\", which would be root"),
                "65534 is the usual id of nobody",
            );
        } else if let Some(view) = made {
            let (mappings, property) =
                if is_user { (view.uid_mappings, "uidMappings") } else { (view.gid_mappings, "gidMappings") };
            if !mappings.is_empty() && !is_mapped(mappings, id) {
                found.error_hint(
                    at(path, &name),
                    format!("{id} is not in linux.{property}: it does not exist in the container's user namespace"),
                    format!("map it, or use one of {}", ranges(mappings)),
                );
            }
        }
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        found.error_hint(
            at(path, "umask"),
            format!("{umask} is more than 511, which is 0777"),
            "JSON numbers are decimal: 0022 is 18",
        );
    }
    if user.username().as_ref().is_some_and(|name| !name.is_empty()) {
        found.warn_hint(at(path, "username"), "is for Windows and ignored", "uid and gid say who runs the process");
    }
}

pub(super) fn is_mapped(mappings: &[LinuxIdMapping], id: u32) -> bool {
    mappings.iter().any(|m| id >= m.container_id() && id - m.container_id() < m.size())
}

fn ranges(mappings: &[LinuxIdMapping]) -> String {
    let range = |m: &LinuxIdMapping| {
        let last = u64::from(m.container_id()) + u64::from(m.size()).saturating_sub(1);
        if m.size() == 1 { m.container_id().to_string() } else { format!("{}-{last}", m.container_id()) }
    };
    mappings.iter().take(4).map(range).collect::<Vec<_>>().join(", ")
}

/// What `capset(2)` and `prctl(PR_CAP_AMBIENT_RAISE)` refuse (capabilities(7)); what `execve(2)` then drops by itself is fine.
fn check_capabilities(capabilities: &LinuxCapabilities, path: &str, found: &mut Findings) {
    let mask = |set: &Option<Capabilities>| set.as_ref().map_or(0, capability::mask);
    let bounding = mask(capabilities.bounding());
    let permitted = mask(capabilities.permitted());
    let effective = mask(capabilities.effective());
    let inheritable = mask(capabilities.inheritable());
    let ambient = mask(capabilities.ambient());
    for name in capability::names(effective & !permitted) {
        found.error_hint(
            at(path, "effective"),
            format!("{name} is not permitted: the kernel refuses an effective capability that is not"),
            format!("add it to {}", at(path, "permitted")),
        );
    }
    for name in capability::names(inheritable & !bounding) {
        found.error_hint(
            at(path, "inheritable"),
            format!("{name} is not in the bounding set: the kernel refuses to make it inheritable"),
            format!("add it to {}", at(path, "bounding")),
        );
    }
    for name in capability::names(ambient & !(permitted & inheritable)) {
        found.warn_hint(
            at(path, "ambient"),
            format!("can't raise ambient capability {name}: it is not both permitted and inheritable"),
            "it is left out",
        );
    }
}

fn rlimits(process: &Process, path: &str, found: &mut Findings) {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (index, limit) in limits.iter().enumerate() {
        if let Some(first) = limits[..index].iter().position(|other| other.typ() == limit.typ()) {
            found.error_hint(
                at(path, &format!("rlimits[{index}].type")),
                format!("{} is given twice", limit.typ()),
                format!("it is in {} already", at(path, &format!("rlimits[{first}]"))),
            );
        }
        if limit.soft() > limit.hard() {
            found.error_hint(
                at(path, &format!("rlimits[{index}].soft")),
                format!("{} is more than the hard limit {} of {}", limit.soft(), limit.hard(), limit.typ()),
                "lower it, or raise the hard limit",
            );
        }
    }
}

/// `sched_setattr(2)`, `sched(7)`.
fn check_scheduler(scheduler: &Scheduler, path: &str, found: &mut Findings) {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedIso, SchedOther, SchedRr};
    let policy = *scheduler.policy();
    if policy == SchedIso {
        found.error_hint(at(path, "policy"), "Linux has no SCHED_ISO", "SCHED_OTHER is the default");
    }
    if let Some(nice) = scheduler.nice().filter(|nice| !(-20..=19).contains(nice)) {
        found.error_hint(at(path, "nice"), format!("invalid scheduler.nice: {nice}"), "it is between -20 and 19");
    } else if scheduler.nice().is_some_and(|nice| nice != 0) && !matches!(policy, SchedOther | SchedBatch) {
        found.warn(at(path, "nice"), format!("has no effect with {policy}"));
    }
    let priority = scheduler.priority().unwrap_or(0);
    if matches!(policy, SchedFifo | SchedRr) {
        if !(1..=99).contains(&priority) {
            found.error(at(path, "priority"), format!("{priority} is not between 1 and 99, as {policy} needs it"));
        }
    } else if priority != 0 {
        found.error_hint(
            at(path, "priority"),
            "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
            "SCHED_OTHER and SCHED_BATCH have nice",
        );
    }
    let runtime = scheduler.runtime().unwrap_or(0);
    let deadline = scheduler.deadline().unwrap_or(0);
    let period = scheduler.period().unwrap_or(0);
    if policy != SchedDeadline {
        if runtime != 0 || deadline != 0 || period != 0 {
            found.error(path, "scheduler runtime/deadline/period can only be specified for SchedDeadline policy");
        }
        return;
    }
    // A period of zero means the deadline. 1024 ns is the kernel's own resolution (DL_SCALE).
    if runtime < 1024 || runtime > deadline || (period != 0 && deadline > period) {
        found.error_hint(
            path,
            format!("SCHED_DEADLINE needs 1024 <= runtime <= deadline <= period, got {runtime}, {deadline}, {period}"),
            "all three are in nanoseconds",
        );
    }
}
