//! The plan of a process that joins a running container.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::hardening::Landlock;
use super::landlock::{By, Ruleset};
use super::mounts;
use super::namespaces::{self, Namespaces};
use super::op::{Child, Namespace, Parent, Prepare, Slot};
use super::require::{self, Facts, Limited};
use super::text::Text;
use super::{Hardening, Plan, process};
use crate::cgroup::CgroupPlan;
use crate::host::Host;
use crate::report::{Diagnostic, Severity};
use crate::seccomp;
use crate::spec::mount_options::{Propagation, Spread};
use oci_spec::runtime::{Linux, LinuxMemory, Process, Spec};
use std::path::Path;

/// Everything that decides what the plan of an exec is.
pub struct ExecRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The container's configuration as it was created from.
    pub spec: &'a Spec,
    /// The process to add.
    pub process: &'a Process,
    /// The machine.
    pub host: &'a Host,
    /// The container's init.
    pub init_pid: i32,
    /// Its start time, so that a reused pid is noticed.
    pub init_start_time: u64,
    /// Descriptors from 3 on that the program gets.
    pub preserve_fds: u32,
    /// Whether clone3 puts the child into the container's cgroup (version 2).
    pub cgroup_by_clone: bool,
    /// Whether the container has a cgroup.
    pub has_cgroup: bool,
    /// What is enforced beyond the two: the container's own, so that nothing joins it with more rights.
    pub hardening: &'a Hardening,
}

/// Decides everything about a process that joins a container.
///
/// # Errors
/// Every reason why it cannot be made as asked, and the warnings with them.
pub fn compile_exec(request: &ExecRequest<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let default_linux = Linux::default();
    let linux = request.spec.linux().as_ref().unwrap_or(&default_linux);
    let mut b = Builder::new(request.host);
    let seccomp = match linux.seccomp().as_ref().map(seccomp::compile).transpose() {
        Ok(program) => program,
        Err(diagnostics) => {
            b.diagnostics.extend(diagnostics);
            None
        }
    };
    let seccomp = super::compile::with_hardening(&mut b, seccomp, request.hardening);
    let policy = linux.seccomp().as_ref().zip(seccomp.as_ref());
    let agent = policy.and_then(|(policy, filter)| super::notify::prepare(&mut b, policy, filter));
    let own: Vec<_> = linux.namespaces().iter().flatten().map(|ns| namespaces::kind_of(ns.typ())).collect();
    let init = b.slot();
    if request.has_cgroup && !request.cgroup_by_clone {
        b.child.push(Child::JoinCgroup);
    }
    if request.host.is_privileged() {
        b.prepare.push(Prepare::SetNonDumpable);
    }
    b.prepare.push(Prepare::OpenProcess { slot: init, pid: request.init_pid, start_time: request.init_start_time });
    let mut shield = shield(&mut b, linux);
    if request.host.is_privileged() {
        b.child.extend(shield.take().map(|file| Child::ShieldBinary { file }));
    }
    let labels = process::open_labels(&mut b, request.process, "process");
    let keep = std::iter::once(init).chain(shield).chain(labels.iter().map(|(slot, ..)| *slot)).collect();
    b.child.push(Child::LeaveHost { keep, preserve: request.preserve_fds, also: Vec::new() });
    let as_if_new = Namespaces { new: own.clone(), ..Namespaces::default() };
    let groups = namespaces::groups(&mut b, request.spec, linux, &as_if_new);
    let own_user_namespace = own.contains(&Namespace::User);
    b.child.extend(namespaces::drop_groups(request.host, groups).filter(|_| own_user_namespace));
    b.child.push(Child::EnterProcess { slot: init, kinds: own.clone() });
    if own_user_namespace {
        b.child.push(namespaces::become_owner_again(linux, request.process.user(), groups));
        let terminal = request.process.terminal().unwrap_or_default();
        namespaces::own_stdio(&mut b, linux, request.process.user(), terminal);
    }
    if !request.host.is_privileged() {
        b.child.push(Child::SetNonDumpable);
    }
    // Where the rights for it come only with the container's user namespace.
    b.child.extend(shield.map(|file| Child::ShieldBinary { file }));
    b.child.push(Child::JoinKeyring { name: Text::new(format!("_ses.{}", request.id)), found: false });
    let terminal = process::terminal(&mut b, request.process, None);
    super::numa::exec_affinity(&mut b, request.process.exec_cpu_affinity().as_ref());
    process::surroundings(&mut b, linux);
    let ruleset =
        request.hardening.landlock.as_ref().and_then(|asked| joined_ruleset(&mut b, request, asked, &as_if_new));
    b.child.extend(ruleset.iter().cloned().map(|ruleset| Child::MakeRuleset { ruleset }));
    let context = process::Context {
        process: request.process,
        seccomp: seccomp.as_ref(),
        landlock: ruleset.as_ref().map(|ruleset| (ruleset, false)),
        agent: agent.as_ref(),
        labels,
        supervised: false,
        seccomp_rest: None,
        own_user_namespace,
        groups,
        path: "process",
        preserve_fds: request.preserve_fds,
        descriptors: &[],
        born_last: true,
    };
    // As in `compile`: opens files, of which the limits may allow no more.
    process::home(&mut b, request.process);
    process::limits(&mut b, request.process, "process", own_user_namespace);
    process::credentials(&mut b, &context);
    if request.host.is_privileged() {
        let known = b.parent.iter().position(|op| matches!(op, Parent::Adopt)).map_or(b.parent.len(), |at| at + 1);
        b.parent.insert(known, Parent::VerifyJoined { kinds: own.clone() });
    }
    process::execute(&mut b, &context);
    let joined = own;
    let init_score = request.spec.process().as_ref().and_then(|process| process.oom_score_adj());
    if let Some(score) = request.process.oom_score_adj().or(init_score) {
        b.prepare.push(Prepare::SetOomScore { score });
    }
    if !request.hardening.require.is_empty() {
        let resources = linux.resources().as_ref().filter(|_| request.has_cgroup);
        let limit = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
        let facts = Facts {
            ruleset: ruleset.as_ref(),
            filter: seccomp.as_ref(),
            readonly_root: request.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default()),
            // Its create has set what it could, and nothing takes limits away but `update`.
            cgroup: Limited {
                own: request.has_cgroup,
                memory: resources.is_some_and(|all| limit(all.memory().as_ref().and_then(LinuxMemory::limit))),
                pids: resources.is_some_and(|all| limit(all.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit))),
            },
            own: &joined,
            joined: &[],
        };
        require::check(&mut b, &request.hardening.require, &facts);
    }
    if b.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(b.diagnostics);
    }
    Ok(Plan {
        id: request.id.to_owned(),
        new_namespaces: Vec::new(),
        cgroup: CgroupPlan::default(),
        rdt: None,
        terminal,
        program: process::program(request.process),
        child_hooks: Vec::new(),
        parent_hooks: Vec::new(),
        seccomp,
        agent,
        seccomp_rest: None,
        supervised: None,
        slots: b.slots(),
        mount_checks: b.mount_checks,
        prepare: b.prepare,
        parent: b.parent,
        child: b.child,
        warnings: b.diagnostics,
        changes: Vec::new(),
        spelled: false,
    })
}

/// The file that the process shall run from instead of the host's binary (threats B); none where the container cannot write to that.
fn shield(b: &mut Builder<'_>, linux: &Linux) -> Option<Slot> {
    let binary = &b.host.binary;
    let uids = namespaces::id_map(linux.uid_mappings().as_ref());
    // Without rights the runtime can only enter user namespaces, and only copy itself to memory.
    let out_of_reach = !b.host.is_privileged()
        && !binary.shared_write
        && !uids.is_empty()
        && !namespaces::maps_host_id(&uids, binary.uid);
    if binary.readonly || out_of_reach {
        return None;
    }
    let path = super::compile::binary_path(b);
    let (mount, file) = (b.slot(), b.slot());
    b.prepare.push(Prepare::OpenBinary { mount, file, path });
    Some(file)
}

/// The rules for a process that joins: from the container's mounts as its own create has made them, which are found by their
/// places now. No process can be put into the domain of another. A scope would keep it from the container's own processes too, so
/// that it is left to the namespaces where those are the container's alone: nobody else is in them to be signalled or connected to.
fn joined_ruleset(
    b: &mut Builder<'_>,
    request: &ExecRequest<'_>,
    asked: &Landlock,
    namespaces: &Namespaces,
) -> Option<Ruleset> {
    let default_linux = Linux::default();
    let linux = request.spec.linux().as_ref().unwrap_or(&default_linux);
    let mut made = Builder::new(request.host);
    let root = made.slot();
    made.child.push(Child::AttachRoot { slot: root, at: None });
    let context = mounts::Context {
        bundle: Path::new("/"),
        rootfs: None,
        linux,
        namespaces,
        cgroup: Some(&CgroupPlan::default()),
        root_propagation: Propagation { spread: Spread::Private, recursive: true },
        keeps_flags: true,
    };
    let mounted = mounts::compile(&mut made, &context, request.spec.mounts().as_deref().unwrap_or_default());
    super::devices::compile(&mut made, linux, namespaces, &mounted);
    if request.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default()) {
        made.child.push(Child::SetReadonly { slot: root, what: Text::new("/") });
    }
    let new = namespaces::asked_new(linux);
    let asked = Landlock {
        scope_signals: asked.scope_signals && !new.contains(&Namespace::Pid),
        scope_abstract: asked.scope_abstract && !new.contains(&Namespace::Network),
        ..asked.clone()
    };
    // What was wrong with the mounts was said by create.
    process::ruleset(b, &asked, request.process, &made.child, By::Path)
}
