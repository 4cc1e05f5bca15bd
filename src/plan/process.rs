//! The process itself: what it is, what it may do, what it executes. The same for a container and for exec.
#![forbid(unsafe_code)]

use super::Program;
use super::builder::Builder;
use super::hardening::Landlock;
use super::landlock::{self, Ruleset};
use super::namespaces::Groups;
use super::op::{Child, Credentials, Module, Parent, Prepare, Slot};
use super::text::Text;
use crate::spec::{KEEP_GROUPS, capability};
use crate::sys::cred::SchedAttr;
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimitType, Process,
};
use std::collections::BTreeSet;

/// CAP_SYS_ADMIN: what loading a filter needs without no_new_privs.
const SYS_ADMIN: u64 = 1 << 21;
/// SCHED_DEADLINE.
const DEADLINE: u32 = 6;

/// What the operations of a process depend on besides its own configuration.
pub(super) struct Context<'a> {
    pub(super) process: &'a Process,
    /// The filter, compiled.
    pub(super) seccomp: Option<&'a crate::seccomp::Program>,
    /// Rules of landlock(7), and whether hooks run in the container before they apply.
    pub(super) landlock: Option<(&'a Ruleset, bool)>,
    /// Who gets its listener.
    pub(super) agent: Option<&'a super::Agent>,
    /// Whether the runtime itself gets it.
    pub(super) supervised: bool,
    /// What of the filter is loaded after that.
    pub(super) seccomp_rest: Option<&'a crate::seccomp::Program>,
    /// Whether the process has a user namespace of its own: all capabilities are there to be had.
    pub(super) own_user_namespace: bool,
    /// What becomes of the caller's supplementary groups.
    pub(super) groups: Groups,
    /// JSON path of the process.
    pub(super) path: &'a str,
    /// Descriptors beyond 0 to 2 that are handed on.
    pub(super) preserve_fds: u32,
    /// Others that are, by their numbers.
    pub(super) descriptors: &'a [i32],
    /// Whether the process itself is born only when everything else is done, with no more rights than the program.
    pub(super) born_last: bool,
    /// What [`open_labels`] has opened.
    pub(super) labels: Vec<Label>,
}

/// The open file of a label, and what goes into it.
pub(super) type Label = (Slot, Module, Text);

/// The program and its arguments.
pub(super) fn program(process: &Process) -> Program {
    Program { args: process.args().iter().flatten().map(Text::new).collect(), env: environment(process) }
}

/// Limits and scheduling: needs the rights that are dropped next.
pub(super) fn limits(b: &mut Builder<'_>, process: &Process, path: &str, own_user_namespace: bool) {
    for limit in process.rlimits().iter().flatten() {
        let (resource, name) = rlimit(limit.typ());
        if own_user_namespace && b.host.may_raise_limits() {
            b.prepare.push(Prepare::RaiseRlimit { resource, name, hard: limit.hard() });
        }
        b.child.push(Child::SetRlimit { resource, name, soft: limit.soft(), hard: limit.hard() });
    }
    if let Some(scheduler) = process.scheduler() {
        let policy = match scheduler.policy() {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => {
                b.error(
                    format!("{path}.scheduler.policy"),
                    "SCHED_ISO was never part of Linux",
                    "use SCHED_OTHER or SCHED_RR",
                );
                return;
            }
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => DEADLINE,
        };
        let flags = scheduler.flags().iter().flatten().fold(0, |all, flag| {
            all | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => 0x01,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
        });
        let priority = u32::try_from(scheduler.priority().unwrap_or_default()).unwrap_or_else(|_| {
            b.error(format!("{path}.scheduler.priority"), "a priority cannot be negative", "0 to 99");
            0
        });
        b.child.push(Child::SetScheduler {
            attr: SchedAttr {
                size: 48,
                policy,
                flags,
                nice: scheduler.nice().unwrap_or_default(),
                priority,
                runtime: scheduler.runtime().unwrap_or_default(),
                deadline: scheduler.deadline().unwrap_or_default(),
                period: scheduler.period().unwrap_or_default(),
            },
        });
    }
    if let Some(priority) = process.io_priority() {
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        match i32::try_from(priority.priority()) {
            Ok(level @ 0..=7) => b.child.push(Child::SetIoPriority { class, level }),
            _ => b.error(format!("{path}.ioPriority.priority"), "an I/O priority is a number from 0 to 7", ""),
        }
    }
}

/// What the kernel does for each of a container's processes: where their memory comes from, and which system it pretends to be.
pub(super) fn surroundings(b: &mut Builder<'_>, linux: &Linux) {
    if let Some(policy) = linux.memory_policy() {
        super::numa::memory_policy(b, policy);
    }
    if let Some(personality) = linux.personality() {
        let persona = match personality.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            LinuxPersonalityDomain::PerLinux32 => 8,
        };
        b.child.push(Child::SetPersonality { persona });
    }
}

/// Opens the process's terminal, if it has one; whether it has.
pub(super) fn terminal(b: &mut Builder<'_>, process: &Process, dev: Option<Slot>) -> bool {
    if !process.terminal().unwrap_or_default() {
        return false;
    }
    let cut = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let size = process.console_size().map(|size| (cut(size.width()), cut(size.height())));
    b.child.push(Child::OpenTerminal { dev, uid: process.user().uid(), gid: process.user().gid(), size });
    b.parent.push(Parent::ReceiveTerminal);
    true
}

/// The kernel's number of a limit, and its name.
pub(crate) fn rlimit(kind: PosixRlimitType) -> (u32, &'static str) {
    let (number, name) = match kind {
        PosixRlimitType::RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        PosixRlimitType::RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        PosixRlimitType::RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        PosixRlimitType::RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        PosixRlimitType::RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        PosixRlimitType::RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        PosixRlimitType::RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        PosixRlimitType::RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        PosixRlimitType::RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        PosixRlimitType::RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        PosixRlimitType::RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        PosixRlimitType::RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        PosixRlimitType::RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        PosixRlimitType::RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        PosixRlimitType::RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        PosixRlimitType::RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    };
    #[allow(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "the numbers are int in musl, unsigned in glibc"
    )]
    (number as u32, name)
}

/// The five sets as masks, cut to what the kernel and the runtime can give.
fn capability_sets(b: &mut Builder<'_>, context: &Context<'_>) -> [u64; 5] {
    let Some(caps) = context.process.capabilities() else { return [0; 5] };
    let asked = [caps.bounding(), caps.effective(), caps.permitted(), caps.inheritable(), caps.ambient()]
        .map(|set| set.as_ref().map_or(0, capability::mask));
    let known = u64::MAX >> (63 - b.host.last_capability.min(63));
    let available = if context.own_user_namespace { known } else { known & b.host.capabilities };
    let all = asked.iter().fold(0, |all, set| all | set);
    if all & !available != 0 {
        let names = capability::names(all & !available).join(", ");
        let why = if all & !known != 0 { "this kernel does not know" } else { "the runtime itself lacks" };
        b.warn(format!("{}.capabilities", context.path), format!("not granted, because {why} it: {names}"));
    }
    let [bounding, effective, permitted, inheritable, ambient] = asked.map(|set| set & available);
    // Others cannot be ambient (capabilities(7)); `spec::validate` has warned about them.
    [bounding, effective, permitted, inheritable, ambient & permitted & inheritable]
}

/// From the runtime's rights to the container's, in the order of credentials(7) that leaves no gap (threats, hygiene).
pub(super) fn credentials(b: &mut Builder<'_>, context: &Context<'_>) {
    let process = context.process;
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    let [bounding, effective, permitted, inheritable, ambient] = capability_sets(b, context);
    let no_new_privs = process.no_new_privileges().unwrap_or_default();
    // Without no_new_privs loading a filter takes CAP_SYS_ADMIN, which is then given up after it.
    let late = if context.seccomp.is_some() && !no_new_privs { SYS_ADMIN } else { 0 };
    let cwd = Text::path(process.cwd());

    b.child.push(Child::OwnStdio { uid: user.uid(), gid: user.gid() });
    b.child.push(Child::ChangeDirectory { path: cwd.clone(), last_try: false });
    b.child.push(Child::SetUmask { mask: user.umask().unwrap_or(0o022) });
    let group_count = match context.groups {
        Groups::Replaced => {
            b.child.push(Child::SetGroups { groups: groups.clone() });
            Some(groups.len())
        }
        kept => {
            if !groups.is_empty() {
                groups_cannot_be_set(b, kept, &format!("{}.user.additionalGids", context.path));
            }
            None
        }
    };
    b.child.push(Child::SetGid { gid: user.gid() });
    b.child.push(Child::DropBounding { keep: bounding });
    b.child.push(Child::SetUid { uid: user.uid() });
    b.child.push(Child::SetCapabilities { effective: effective | late, permitted: permitted | late, inheritable });
    b.child.push(Child::SetAmbient { set: ambient });
    for (slot, module, label) in &context.labels {
        b.child.push(Child::SetExecLabel { slot: *slot, module: *module, label: label.clone() });
    }
    if no_new_privs {
        b.child.push(Child::SetNoNewPrivs);
    }
    b.child.push(Child::CloseDescriptors { preserve: context.preserve_fds, also: context.descriptors.to_vec() });
    if let Some((ruleset, false)) = context.landlock {
        // The check opens sockets, which a limit on open files has room for now.
        b.child.push(landlock::restriction(ruleset));
    }
    if context.born_last {
        birth(b, process);
    }
    b.child.push(Child::ChangeDirectory { path: cwd, last_try: true });
    find_executable(b, process, context.path);
    b.child.push(Child::VerifyCredentials(Credentials {
        uid: user.uid(),
        gid: user.gid(),
        groups: group_count,
        bounding,
        effective: effective | late,
        permitted: permitted | late,
        inheritable,
        ambient,
        no_new_privs,
    }));
}

fn groups_cannot_be_set(b: &mut Builder<'_>, groups: Groups, path: &str) {
    if groups == Groups::Kept {
        // Engines add those of the image's user.
        b.warn(path, format!("not set: the annotation {KEEP_GROUPS} keeps the caller's groups instead"));
        return;
    }
    b.error(
        path,
        "additional groups cannot be set in a user namespace with a single gid mapped without privileges",
        "map more gids through /etc/subgid, or leave additionalGids out",
    );
}

/// The process itself, and what only it can do: a session, its terminal, and what would have hindered its birth.
fn birth(b: &mut Builder<'_>, process: &Process) {
    let mut late = Vec::new();
    let (processes, _) = rlimit(PosixRlimitType::RlimitNproc);
    for op in &mut b.child {
        if let &mut Child::SetRlimit { resource, name, hard, .. } = op
            && resource == processes
        {
            late.push(std::mem::replace(op, Child::RaiseRlimit { resource, name, hard }));
        }
    }
    // A process with a deadline cannot fork (sched(7)), and one that is just born has no right to set it.
    let deadline = b.child.extract_if(.., |op| matches!(op, Child::SetScheduler { attr } if attr.policy == DEADLINE));
    let deadline = deadline.last();
    b.birth(Vec::new());
    if let Some(Child::SetScheduler { attr }) = deadline {
        let adopted = b.parent.iter().rposition(|op| matches!(op, Parent::Adopt)).map_or(b.parent.len(), |at| at + 1);
        b.parent.insert(adopted, Parent::SetScheduler { attr });
    }
    b.child.push(Child::NewSession);
    if process.terminal().unwrap_or_default() {
        b.child.push(Child::ControlTerminal);
    }
    b.child.append(&mut late);
}

/// The labels that are asked for. Their files are opened first of all, by the process that will set them: the procfs that shows
/// it may be the host's alone, and one of its own takes rights.
pub(super) fn open_labels(b: &mut Builder<'_>, process: &Process, path: &str) -> Vec<Label> {
    let asked = [
        (Module::Apparmor, process.apparmor_profile(), b.host.apparmor),
        (Module::Selinux, process.selinux_label(), b.host.selinux),
    ];
    let mut labels = Vec::new();
    for (module, label, enabled) in asked {
        let Some(label) = label.as_ref().filter(|label| !label.is_empty()) else { continue };
        if enabled {
            let slot = b.slot();
            b.child.push(Child::OpenLabel { slot, module });
            labels.push((slot, module, Text::new(label)));
        } else if module == Module::Selinux || label != "unconfined" {
            b.error(
                format!("{path}.{}", module.field()),
                format!("{} is not enabled on this host", module.name()),
                "enable it, or leave it out of the configuration",
            );
        }
    }
    labels
}

/// The last steps, after the container was started.
pub(super) fn execute(b: &mut Builder<'_>, context: &Context<'_>) {
    let no_new_privs = context.process.no_new_privileges().unwrap_or_default();
    b.child.push(Child::Announce);
    if let Some((ruleset, true)) = context.landlock {
        b.child.push(landlock::restriction(ruleset));
    }
    if let Some(filter) = context.seccomp {
        let verify = allows_asking_for_mode(filter);
        b.child.push(Child::LoadSeccomp { flags: filter.flags, instructions: filter.insns.len(), verify });
        let [_, effective, permitted, inheritable, _] = capability_sets_quietly(b, context);
        let last = (!no_new_privs).then_some(Child::SetCapabilities { effective, permitted, inheritable });
        if context.supervised {
            // Giving rights up may have to be answered for, and loading the rest may take them.
            let late = context.seccomp_rest.is_some() || super::notify::hears_of_capabilities(filter);
            if !late {
                b.child.extend(last.clone());
            }
            b.child.push(Child::SendListener);
            b.parent.push(Parent::Supervise);
            if let Some(rest) = context.seccomp_rest {
                b.child.push(Child::LoadSeccompRest { flags: rest.flags, instructions: rest.insns.len() });
            }
            if late {
                b.child.extend(last);
            }
            b.child.push(Child::Execute);
            return;
        }
        match context.agent {
            // The rights to load it go first, unless the agent has to hear of that.
            Some(agent) if super::notify::hears_of_capabilities(filter) => {
                super::notify::hand_over(b, agent);
                b.child.extend(last);
            }
            agent => {
                b.child.extend(last);
                if let Some(agent) = agent {
                    super::notify::hand_over(b, agent);
                }
            }
        }
    }
    b.child.push(Child::Execute);
}

/// Whether the filter lets the process ask the kernel about it: prctl(2) `PR_GET_SECCOMP`. If not, that seccomp(2) succeeded
/// has to do.
fn allows_asking_for_mode(filter: &crate::seccomp::Program) -> bool {
    const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
    let Some(native) = filter.abis.first() else { return false };
    let (nr, option) = (libc::SYS_prctl, libc::PR_GET_SECCOMP.unsigned_abs());
    u32::try_from(nr)
        .is_ok_and(|nr| filter.verdict(native.audit_arch(), nr, [option.into(), 0, 0, 0, 0, 0]) == SECCOMP_RET_ALLOW)
}

/// Whether a process with this filter cannot say why it could not execute the program: it may neither write(2) nor sendmsg(2).
pub fn forbids_last_words(filter: &crate::seccomp::Program) -> bool {
    const RETURNS: u32 = 0x7fff_0000;
    const LOGS: u32 = 0x7ffc_0000;
    let Some(native) = filter.abis.first() else { return false };
    let allows = |name: &str| {
        let nr = crate::seccomp::syscalls::number(name, *native);
        nr.is_some_and(|nr| matches!(filter.verdict(native.audit_arch(), nr, [0; 6]), RETURNS | LOGS))
    };
    !allows("write") && !allows("sendmsg")
}

fn capability_sets_quietly(b: &mut Builder<'_>, context: &Context<'_>) -> [u64; 5] {
    let findings = b.diagnostics.len();
    let sets = capability_sets(b, context);
    b.diagnostics.truncate(findings);
    sets
}

/// execvp(3)'s search, spelled out: names with a slash are taken as they are.
fn find_executable(b: &mut Builder<'_>, process: &Process, path: &str) {
    let Some(name) = process.args().as_ref().and_then(|args| args.first()) else {
        b.error(
            format!("{path}.args"),
            "there is no program to execute",
            "set process.args to the program and its arguments",
        );
        return;
    };
    let candidates = if name.contains('/') {
        vec![Text::new(name)]
    } else if name.is_empty() {
        // What execvp(3) says of it, too: not found, which is 127 to whoever tells that from other failures.
        Vec::new()
    } else {
        let path = process.env().iter().flatten().rev().find_map(|var| var.strip_prefix("PATH=")).unwrap_or_default();
        path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Text::new(format!("{dir}/{name}"))).collect()
    };
    b.child.push(Child::FindExecutable { name: Text::new(name), candidates });
}

/// The rules of landlock(7) for the mounts that `script` makes.
pub(super) fn ruleset(
    b: &mut Builder<'_>,
    asked: &Landlock,
    process: &Process,
    script: &[Child],
    by: landlock::By,
) -> Option<Ruleset> {
    if !process.no_new_privileges().unwrap_or_default() {
        b.error("process.noNewPrivileges", "Landlock needs no_new_privs (landlock(7))", "set it to true");
        return None;
    }
    landlock::compile(b, asked, script, by)
}

/// Each variable once, with the value it is given last: which of several a program takes is its own affair otherwise.
fn environment(process: &Process) -> Vec<Text> {
    let mut names = BTreeSet::new();
    let mut env: Vec<Text> = Vec::new();
    for var in process.env().iter().flatten().rev() {
        let name = var.split_once('=').map_or(var.as_str(), |(name, _)| name);
        if names.insert(name) && var != "HOME=" {
            env.push(Text::new(var));
        }
    }
    env.reverse();
    env
}

/// HOME comes from the container's passwd when the configuration does not set it, or to nothing.
pub(super) fn home(b: &mut Builder<'_>, process: &Process) {
    let set = process.env().iter().flatten().rev().find_map(|var| var.strip_prefix("HOME="));
    if set.is_none_or(str::is_empty) {
        b.child.push(Child::SetHome { uid: process.user().uid() });
    }
}
