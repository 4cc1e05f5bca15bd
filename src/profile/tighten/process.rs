//! The process: who it is, what it may do, what it is given. The same for a container and for exec.
#![forbid(unsafe_code)]

use super::{Cut, UserNamespace};
use crate::profile::format::{Rlimit, Rule};
use crate::profile::values;
use crate::spec::{self, KEEP_GROUPS, capability};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxCapabilities, LinuxSchedulerPolicy, PosixRlimit, PosixRlimitBuilder, Process,
    Spec,
};
use std::collections::BTreeSet;

type Set = Option<BTreeSet<values::Capability>>;

impl Cut<'_> {
    pub(super) fn process(&mut self, process: &mut Process, user_namespace: &UserNamespace) {
        self.user(process, user_namespace);
        self.capabilities(process);
        self.no_new_privs(process);
        self.real_time(process);
        self.rlimits(process);
        self.environment(process);
        self.terminal(process);
    }

    fn user(&mut self, process: &mut Process, user_namespace: &UserNamespace) {
        let rule = &self.profile.user;
        if rule.non_root != Some(true) {
            return;
        }
        if user_namespace.has_host_root() && !self.host.in_user_namespace {
            let why =
                "the host's root has an id in the user namespace, which a program that may change its uid becomes";
            self.refuse(Rule::User, "linux.uidMappings", why);
            return;
        }
        let uid = process.user().uid();
        // Root of a user namespace that the runtime itself runs in is nobody special outside.
        let is_host_root = user_namespace.outside(uid) == Some(0) && !self.host.in_user_namespace;
        let is_root = if rule.mapped_root == Some(false) { uid == 0 || is_host_root } else { is_host_root };
        if !is_root {
            return;
        }
        let path = "process.user.uid";
        let requested = if uid == 0 { "root (uid 0)".to_owned() } else { format!("uid {uid}, root on the host,") };
        match rule.instead {
            Some(instead) if user_namespace.outside(instead).is_some_and(|outside| outside != 0) => {
                if self.beyond(Rule::User, path, requested, format!("uid and gid {instead}")) {
                    let mut user = process.user().clone();
                    user.set_uid(instead);
                    user.set_gid(instead);
                    user.set_additional_gids(None);
                    process.set_user(user);
                }
            }
            _ => self.refuse(
                Rule::User,
                path,
                format!("{requested} is asked for, only another user or a user namespace that maps root is allowed"),
            ),
        }
    }

    /// Groups of the caller are rights that nobody has named.
    pub(super) fn kept_groups(&mut self, spec: &mut Spec) {
        if self.profile.user.non_root != Some(true) || !spec::keeps_groups(spec) {
            return;
        }
        let path = format!("annotations.{KEEP_GROUPS}");
        if self.beyond(Rule::User, path, "the caller's supplementary groups", "process.user.additionalGids") {
            let mut annotations = spec.annotations().clone();
            annotations.iter_mut().for_each(|all| drop(all.remove(KEEP_GROUPS)));
            spec.set_annotations(annotations);
        }
    }

    /// What joins a container that keeps them keeps them.
    pub(super) fn joins_kept_groups(&mut self, spec: &Spec) {
        if self.profile.user.non_root == Some(true) && spec::keeps_groups(spec) {
            self.refuse(Rule::User, format!("annotations.{KEEP_GROUPS}"), "the container keeps its caller's groups");
        }
    }

    fn capabilities(&mut self, process: &mut Process) {
        let rules = self.profile.capabilities.clone();
        // Programs that are started with empty sets get nothing from sets that nobody asked for.
        let empty: Set = rules.allow.is_some().then(BTreeSet::new);
        let Some(mut sets) = process.capabilities().clone() else { return };
        let allow = |set: &Set| set.clone().or_else(|| rules.allow.clone());
        let held = |set: &Set| set.clone().or_else(|| empty.clone());
        let path = |set: &str| format!("process.capabilities.{set}");
        let cut = self.capability_set(&path("bounding"), sets.bounding(), &allow(&rules.bounding));
        set_if(cut, &mut sets, LinuxCapabilities::set_bounding);
        let cut = self.capability_set(&path("effective"), sets.effective(), &allow(&rules.effective));
        set_if(cut, &mut sets, LinuxCapabilities::set_effective);
        let cut = self.capability_set(&path("permitted"), sets.permitted(), &allow(&rules.permitted));
        set_if(cut, &mut sets, LinuxCapabilities::set_permitted);
        let cut = self.capability_set(&path("inheritable"), sets.inheritable(), &held(&rules.inheritable));
        set_if(cut, &mut sets, LinuxCapabilities::set_inheritable);
        let cut = self.capability_set(&path("ambient"), sets.ambient(), &held(&rules.ambient));
        set_if(cut, &mut sets, LinuxCapabilities::set_ambient);
        process.set_capabilities(Some(sets));
    }

    /// The set cut to what is allowed, if it has to be.
    fn capability_set(&mut self, path: &str, asked: &Option<Capabilities>, allowed: &Set) -> Option<Capabilities> {
        let (asked, allowed) = (asked.as_ref()?, allowed.as_ref()?);
        let allowed: Capabilities = allowed.iter().map(|capability| capability.0).collect();
        let beyond: Capabilities = asked.difference(&allowed).copied().collect();
        let names = |set: &Capabilities| match capability::names(capability::mask(set)) {
            names if names.is_empty() => "none".to_owned(),
            names => names.join(", "),
        };
        let kept: Capabilities = asked.intersection(&allowed).copied().collect();
        (!beyond.is_empty() && self.beyond(Rule::Capabilities, path, names(asked), names(&kept))).then_some(kept)
    }

    fn no_new_privs(&mut self, process: &mut Process) {
        if self.profile.process.no_new_privs != Some(true) || process.no_new_privileges() == Some(true) {
            return;
        }
        let path = "process.noNewPrivileges";
        let change = match process.no_new_privileges() {
            None => self.open(Rule::NoNewPrivs, path, "true"),
            Some(_) => self.beyond(Rule::NoNewPrivs, path, "false", "true"),
        };
        if change {
            process.set_no_new_privileges(Some(true));
        }
    }

    fn real_time(&mut self, process: &mut Process) {
        if self.profile.process.real_time != Some(false) {
            return;
        }
        let policy = process.scheduler().as_ref().map(|scheduler| *scheduler.policy());
        let real_time = [
            LinuxSchedulerPolicy::SchedFifo,
            LinuxSchedulerPolicy::SchedRr,
            LinuxSchedulerPolicy::SchedDeadline,
            LinuxSchedulerPolicy::SchedIso,
        ];
        if policy.is_some_and(|policy| real_time.contains(&policy))
            && self.beyond(Rule::RealTime, "process.scheduler.policy", "real-time scheduling", "none")
        {
            process.set_scheduler(None);
        }
        let class = process.io_priority().as_ref().map(oci_spec::runtime::LinuxIOPriority::class);
        if class == Some(IOPriorityClass::IoprioClassRt)
            && self.beyond(Rule::RealTime, "process.ioPriority.class", "real-time I/O", "none")
        {
            process.set_io_priority(None);
        }
    }

    fn rlimits(&mut self, process: &mut Process) {
        let mut limits = process.rlimits().clone().unwrap_or_default();
        for (&name, &values::Size(most)) in &self.profile.rlimits {
            let inherited = self.host.rlimits.get(&name.typ().to_string()).copied();
            // Where somebody has taken it away for good, it stays as it is.
            let may_be_1 = inherited.is_none_or(|(_, hard)| hard > 0) || self.host.may_raise_limits();
            let is_off = is_core_off(name, most) && may_be_1;
            match limits.iter().position(|limit| limit.typ() == name.typ()) {
                Some(at) => {
                    let limit = &limits[at];
                    let (soft, hard) = (limit.soft(), limit.hard());
                    let wanted = if is_off { (1, 1) } else { (soft.min(most), hard.min(most)) };
                    if (soft, hard) != wanted
                        && self.beyond(
                            Rule::Rlimits,
                            format!("process.rlimits[{at}]"),
                            format!("{} {soft}:{hard}", name.typ()),
                            format!("{}:{}", wanted.0, wanted.1),
                        )
                    {
                        limits[at] = rlimit(name, wanted);
                    }
                }
                None => {
                    // What is inherited may be less, and is not raised.
                    let (soft, hard) = inherited.unwrap_or((most, most));
                    let wanted = if is_off { (1, 1) } else { (soft.min(most), hard.min(most)) };
                    let path = "process.rlimits";
                    let enforced = format!("{} {}:{}", name.typ(), wanted.0, wanted.1);
                    if inherited != Some(wanted) && self.open(Rule::Rlimits, path, enforced) {
                        limits.push(rlimit(name, wanted));
                    }
                }
            }
        }
        if !limits.is_empty() {
            process.set_rlimits(Some(limits));
        }
    }

    fn environment(&mut self, process: &mut Process) {
        let rule = &self.profile.environment;
        if rule.allow.is_none() && rule.deny.is_none() && rule.set.is_none() {
            return;
        }
        let mut kept = Vec::new();
        for (at, variable) in process.env().clone().unwrap_or_default().into_iter().enumerate() {
            let name = variable.split('=').next().unwrap_or_default();
            let allowed = rule.allow.as_ref().is_none_or(|allow| allow.iter().any(|pattern| pattern.matches(name)));
            let denied = rule.deny.iter().flatten().any(|pattern| pattern.matches(name));
            // What the profile itself sets is as it wants it.
            let set = rule
                .set
                .iter()
                .flatten()
                .any(|(set, value)| name == set && variable[name.len()..] == format!("={value}"));
            let beyond = (!allowed || denied) && !set;
            if !beyond || !self.beyond(Rule::Environment, format!("process.env[{at}]"), name, "no such variable") {
                kept.push(variable);
            }
        }
        for (name, value) in rule.set.iter().flatten() {
            let set = kept.iter().any(|variable| variable.split('=').next() == Some(name));
            if !set && self.open(Rule::Environment, "process.env", format!("{name}={value}")) {
                kept.push(format!("{name}={value}"));
            }
        }
        if process.env().is_some() || !kept.is_empty() {
            process.set_env(Some(kept));
        }
    }

    fn terminal(&mut self, process: &mut Process) {
        if self.profile.terminal.allow == Some(false)
            && process.terminal() == Some(true)
            && self.beyond(Rule::Terminal, "process.terminal", "a terminal", "none")
        {
            process.set_terminal(Some(false));
            process.set_console_size(None);
        }
    }
}

fn set_if(
    cut: Option<Capabilities>,
    sets: &mut LinuxCapabilities,
    set: fn(&mut LinuxCapabilities, Option<Capabilities>) -> &mut LinuxCapabilities,
) {
    if cut.is_some() {
        set(sets, cut);
    }
}

/// With 1 no core is written and no handler is started; with 0 a handler behind a pipe still is (core(5)).
fn is_core_off(name: Rlimit, most: u64) -> bool {
    name == Rlimit::Core && most <= 1
}

fn rlimit(name: Rlimit, (soft, hard): (u64, u64)) -> PosixRlimit {
    let limit = PosixRlimitBuilder::default().typ(name.typ()).soft(soft).hard(hard).build();
    limit.unwrap_or_else(|error| unreachable!("every member has a default: {error}"))
}
