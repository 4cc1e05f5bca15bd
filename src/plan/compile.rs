//! From a configuration and facts about the host to the plan of a container.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::landlock::By;
use super::mounts::{self, Mounted};
use super::namespaces::{self, Namespaces};
use super::op::{Child, HookKind, Namespace, NetDevice, Parent, Point, Prepare, Slot, Source};
use super::require::{self, Facts, Limited};
use super::text::Text;
use super::{Hardening, Hook, Plan, devices, notify, order, process};
use crate::cgroup::{self, CgroupPlan};
use crate::host::Host;
use crate::report::{Diagnostic, Severity};
use crate::spec::mount_options::{Attributes, Propagation, Spread};
use crate::spec::sysctl;
use crate::{rdt, seccomp};
use oci_spec::runtime::{Linux, LinuxIdMapping, Spec};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is asked for on the command line rather than in config.json.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Use chroot where the host's root cannot be pivoted away.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the program gets.
    pub preserve_fds: u32,
    /// Others that it gets, by their numbers.
    pub descriptors: Vec<i32>,
    /// Who makes the cgroup.
    pub cgroup_driver: cgroup::Driver,
    /// How much is reported of what is refused, if anything.
    pub report: Option<crate::refusal::Watch>,
    /// The runtime gets the container's user and network namespaces ([`crate::launch::Running::network`]).
    pub hand_over_network: bool,
    /// A mount's source that lies in the root filesystem is what earlier mounts have made of it, as if they were made on the host. Not for a
    /// sandbox, whose user means the host's own.
    pub sources_in_root: bool,
    /// The program runs on the processors that the caller may run on, not on all of its cpuset.
    pub keep_processors: bool,
    /// Paths in the container that become mounts of their own, so that nobody in it can rename or remove them, and
    /// which of them nobody can write to.
    pub kept: Vec<Kept>,
    /// The first process of the pid namespace is not the program but one that looks after it, and that the kernel kills when the
    /// runtime ends. For a program that does not know how to be pid 1.
    pub init: bool,
}

/// A path in the container that becomes a mount of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// Absolute.
    pub path: PathBuf,
    /// Read-only.
    pub readonly: bool,
}

/// Everything that decides what a plan is.
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// config.json.
    pub spec: &'a Spec,
    /// The machine.
    pub host: &'a Host,
    /// The command line.
    pub options: &'a Options,
    /// What is enforced beyond config.json.
    pub hardening: &'a Hardening,
}

/// Decides everything about a container.
///
/// # Errors
/// Every reason why it cannot be made as asked, with its JSON path, and the warnings with them.
pub fn compile(request: &Request<'_>) -> Result<Plan, Vec<Diagnostic>> {
    let spec = request.spec;
    let default_linux = Linux::default();
    let linux = spec.linux().as_ref().unwrap_or(&default_linux);
    let Some(program) = spec.process().as_ref() else {
        return Err(vec![Diagnostic::error("process", "there is no process to run").hint("add a process object")]);
    };
    let mut b = Builder::new(request.host);

    let seccomp = linux.seccomp().as_ref().and_then(|policy| compile_seccomp(&mut b, policy));
    if spec.annotations().as_ref().is_some_and(|all| all.contains_key(crate::spec::FAIL_UNKNOWN_SYSCALL)) {
        refuse_unknown_syscalls(&mut b.diagnostics);
    }
    let seccomp = with_hardening(&mut b, seccomp, request.hardening);
    let policy = linux.seccomp().as_ref().zip(seccomp.as_ref());
    let agent = policy.and_then(|(policy, filter)| notify::prepare(&mut b, policy, filter));
    let notify::Filters { seccomp, seccomp_rest, supervised } =
        notify::supervise(&mut b, request.options.report, seccomp);
    let cgroup = compile_cgroup(&mut b, request, linux);
    let cgroup_refused = cgroup.is_none();
    let mut cgroup = cgroup.unwrap_or_default();
    cgroup.required |= require::needs_cgroup(&request.hardening.require);
    let rdt = linux.intel_rdt().as_ref().map(|rdt| rdt::compile(rdt, request.id, &mut b.diagnostics));
    if request.host.is_privileged() {
        b.prepare.push(Prepare::SetNonDumpable);
    }
    // On version 1 nothing is born into a cgroup: the child moves there itself, before anything else.
    let joined_by_bus = cgroup.scope.as_ref().is_some_and(|scope| scope.joined_by_bus);
    let cgroup_by_clone = (request.host.cgroup.is_v2() && !joined_by_bus) || cgroup.directories.is_empty();
    if !cgroup_by_clone && !joined_by_bus {
        b.child.push(Child::JoinCgroup);
    }
    let mut namespaces = namespaces::compile(&mut b, linux);
    let mut shield = Shield::compile(&mut b, linux, &namespaces);
    if namespaces.needs_birth() && request.host.is_privileged() {
        // A process that is born into an existing pid namespace is seen there from its first moment.
        b.child.append(&mut shield.raise);
    }
    let labels = process::open_labels(&mut b, program, "process");
    let groups = namespaces::groups(&mut b, spec, linux, &namespaces);
    enter_namespaces(&mut b, &namespaces, groups, joined_by_bus, request.options);
    namespaces::user_namespace(&mut b, &namespaces, linux, program.user(), groups);
    if !request.host.is_privileged() && !namespaces.is_new(Namespace::User) {
        // Without rights on the host nothing can be cloned before the user namespace is entered that has some.
        b.sources_at = b.child.len();
    }
    if namespaces.is_new(Namespace::User) {
        namespaces::own_stdio(&mut b, linux, program.user(), program.terminal().unwrap_or_default());
    }
    if joined_by_bus && !namespaces.is_new(Namespace::User) {
        // Until here the parent has had systemd move the child.
        b.meet(Point::UserNamespaceMapped);
    }
    if !cgroup_by_clone && (joined_by_bus || !namespaces.needs_birth()) && namespaces.is_new(Namespace::Cgroup) {
        // Its root is the cgroup that the child is in.
        b.child.push(Child::UnshareCgroup);
    }
    if !request.host.is_privileged() {
        b.child.push(Child::SetNonDumpable);
    }
    session(&mut b, request, &namespaces);
    b.child.append(&mut shield.raise);

    let root = root_filesystem(&mut b, request, linux, shield.park);
    let masks = linux.masked_paths().as_deref().unwrap_or_default();
    let null = (!masks.is_empty()).then(|| {
        let slot = b.slot();
        b.child.push(Child::OpenNull { slot });
        slot
    });
    let mounted = mounts::compile(
        &mut b,
        &mounts::Context {
            bundle: request.bundle,
            rootfs: spec
                .root()
                .as_ref()
                .filter(|_| request.options.sources_in_root)
                .map(|root| request.bundle.join(root.path())),
            linux,
            namespaces: &namespaces,
            cgroup: (!cgroup_refused).then_some(&cgroup),
            root_propagation: host_propagation(linux),
            keeps_flags: request.hardening.keep_mount_flags,
        },
        spec.mounts().as_deref().unwrap_or_default(),
    );
    if namespaces.network_by_parent(request.host) {
        enter_network(&mut b);
        namespaces.new.retain(|kind| *kind != Namespace::Network);
    }
    if !cgroup_by_clone {
        namespaces.new.retain(|kind| *kind != Namespace::Cgroup);
    }
    let dev = devices::compile(&mut b, linux, &namespaces, &mounted);
    if process::terminal(&mut b, program, dev) {
        b.mount_checks += 1;
        if !namespaces.born_last {
            b.child.push(Child::ControlTerminal);
        }
    }
    b.child.push(Child::MakeDirectory { path: Text::path(program.cwd()) });
    let asked_new = namespaces::asked_new(linux);
    b.child.push(Child::VerifyNamespaces {
        new: asked_new.clone(),
        joined: namespaces.joined.clone(),
        apart: apart(linux, &namespaces),
    });
    if request.options.hand_over_network {
        // While there is the host's procfs to open them through.
        b.child.push(Child::SendNetwork);
        b.parent.push(Parent::ReceiveNetwork);
    }
    let hooks = Hooks::compile(spec);
    let limits_devices = !matches!(cgroup.limits.devices, cgroup::DevicePlan::Untouched);
    let parent_is_late = parents_part(&mut b, &hooks, limits_devices, net_devices(linux));
    finish_root(&mut b, request, linux, &mounted, root, null, masks);
    names(&mut b, spec);
    let ruleset = request.hardening.landlock.as_ref().and_then(|asked| {
        let script = std::mem::take(&mut b.child);
        let ruleset = process::ruleset(&mut b, asked, program, &script, By::Descriptor);
        b.child = script;
        ruleset
    });
    b.child.extend(ruleset.iter().cloned().map(|ruleset| Child::MakeRuleset { ruleset }));
    let context = process::Context {
        process: program,
        seccomp: seccomp.as_ref(),
        landlock: ruleset.as_ref().map(|ruleset| (ruleset, !hooks.start_container.is_empty())),
        agent: agent.as_ref(),
        labels,
        supervised: supervised.is_some(),
        seccomp_rest: seccomp_rest.as_ref(),
        own_user_namespace: namespaces.is_own(Namespace::User),
        groups,
        path: "process",
        preserve_fds: request.options.preserve_fds,
        descriptors: &request.options.descriptors,
        born_last: namespaces.born_last,
    };
    if !request.options.keep_processors {
        b.child.push(Child::ResetCpuAffinity);
    }
    b.child.push(Child::VerifyMounts);
    process::limits(&mut b, program, "process", namespaces.is_own(Namespace::User));
    process::surroundings(&mut b, linux);
    if parent_is_late {
        b.child.push(Child::Meet { point: Point::ParentDone });
    }
    process::credentials(&mut b, &context);
    if request.options.init {
        // After the credentials: the kernel forgets it when they change.
        b.child.push(Child::DieWithRuntime);
    }
    b.meet(Point::Ready);
    b.meet(Point::Started);
    if !hooks.start_container.is_empty() {
        b.child.push(Child::RunHooks { kind: HookKind::StartContainer });
    }
    if request.options.init {
        b.child.push(Child::BecomeInit);
    }
    process::execute(&mut b, &context);
    if let Some(score) = program.oom_score_adj() {
        b.prepare.push(Prepare::SetOomScore { score });
    }
    if !request.hardening.require.is_empty() {
        let facts = Facts {
            ruleset: ruleset.as_ref(),
            filter: seccomp.as_ref(),
            readonly_root: spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default()),
            cgroup: Limited::by(&cgroup),
            own: &asked_new,
            joined: &namespaces.joined.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        };
        require::check(&mut b, &request.hardening.require, &facts);
    }

    let all = b.slots();
    if let Some(Child::LeaveHost { keep, .. }) = b.child.iter_mut().find(|op| matches!(op, Child::LeaveHost { .. })) {
        // What is in the slots is still needed: mounts that are attached to nothing, and lead nowhere.
        *keep = (0..all).map(Slot).collect();
    }
    if b.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(b.diagnostics);
    }
    Ok(Plan {
        id: request.id.to_owned(),
        new_namespaces: if namespaces.needs_birth() { Vec::new() } else { namespaces.new },
        cgroup,
        rdt,
        terminal: program.terminal().unwrap_or_default(),
        program: process::program(program),
        child_hooks: vec![
            (HookKind::CreateContainer, hooks.create_container),
            (HookKind::StartContainer, hooks.start_container),
        ],
        parent_hooks: vec![(HookKind::Prestart, hooks.prestart), (HookKind::CreateRuntime, hooks.create_runtime)],
        seccomp,
        agent,
        seccomp_rest,
        supervised,
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

/// The filter of config.json and that of the hardening as one.
pub(super) fn with_hardening(
    b: &mut Builder<'_>,
    own: Option<seccomp::Program>,
    hardening: &Hardening,
) -> Option<seccomp::Program> {
    match (hardening.seccomp.as_ref(), own) {
        (Some(first), Some(own)) => match seccomp::compose(first, &own) {
            Ok(program) => Some(program),
            Err(diagnostic) => {
                b.diagnostics.push(diagnostic);
                None
            }
        },
        (first, own) => own.or_else(|| first.cloned()),
    }
}

fn compile_seccomp(b: &mut Builder<'_>, policy: &oci_spec::runtime::LinuxSeccomp) -> Option<seccomp::Program> {
    match seccomp::compile(policy) {
        Ok(program) => {
            b.diagnostics.extend(program.warnings.iter().cloned());
            Some(program)
        }
        Err(diagnostics) => {
            b.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// A name that is not known is a warning, unless an annotation says that the filter must be whole.
fn refuse_unknown_syscalls(found: &mut [Diagnostic]) {
    for finding in found.iter_mut().filter(|finding| finding.message.starts_with(seccomp::UNKNOWN_SYSCALL)) {
        finding.severity = Severity::Error;
        finding.hint =
            Some(format!("check the spelling, or leave the annotation {} out", crate::spec::FAIL_UNKNOWN_SYSCALL));
    }
}

/// The host uid that gets the cgroup: a container with a cgroup namespace of its own and a writable cgroup mount manages what is
/// below it (config-linux.md, Cgroup ownership).
fn cgroup_owner(request: &Request<'_>, linux: &Linux) -> Option<u32> {
    let own_namespace = namespaces::asked_new(linux).contains(&Namespace::Cgroup);
    let writable = request.spec.mounts().iter().flatten().any(|mount| {
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mounts::destination(mount) == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    });
    let uid = request.spec.process().as_ref()?.user().uid();
    let map = namespaces::id_map(linux.uid_mappings().as_ref());
    let host = if map.is_empty() { Some(uid) } else { namespaces::host_id(&map, uid) };
    let delegable = request.host.cgroup.is_v2() && own_namespace && writable;
    host.filter(|host| delegable && *host != request.host.euid)
}

/// The container's cgroup; none when it is refused.
fn compile_cgroup(b: &mut Builder<'_>, request: &Request<'_>, linux: &Linux) -> Option<CgroupPlan> {
    let rootless = !request.host.is_privileged() || request.host.in_user_namespace;
    let path = linux.cgroups_path().as_ref().map(|path| path.to_string_lossy());
    let asked = cgroup::Input {
        layout: &request.host.cgroup,
        own: &request.host.own_cgroup,
        driver: request.options.cgroup_driver,
        cgroups_path: path.as_deref(),
        id: request.id,
        resources: linux.resources().as_ref(),
        default_devices: cgroup::DEFAULT_RULES,
        rootless,
        oci_version: request.spec.version(),
        owner: cgroup_owner(request, linux),
        user_manager: request.host.user_manager.as_deref(),
        annotations: request.spec.annotations().as_ref(),
    };
    match cgroup::compile(&asked) {
        Ok(plan) => {
            b.diagnostics.extend(plan.warnings.iter().cloned());
            Some(plan)
        }
        Err(diagnostics) => {
            b.diagnostics.extend(diagnostics);
            None
        }
    }
}

/// Existing namespaces. Where a process has to be born in them, they are entered by one that has left the host's descriptors
/// behind; and where others could look on, in a joined pid namespace, the birth comes at the very end.
fn enter_namespaces(
    b: &mut Builder<'_>,
    namespaces: &Namespaces,
    groups: namespaces::Groups,
    joined_by_bus: bool,
    options: &Options,
) {
    if namespaces.needs_birth() {
        let (preserve, also) = (options.preserve_fds, options.descriptors.clone());
        b.child.push(Child::LeaveHost { keep: Vec::new(), preserve, also });
    }
    // Some may belong to the user namespace that is entered, others to the host's: no order suits all.
    let user = namespaces.joined.iter().any(|(kind, _)| *kind == Namespace::User);
    if user {
        b.child.extend(namespaces::drop_groups(b.host, groups));
    }
    let early =
        namespaces.joined.iter().filter(|(kind, _)| user && *kind != Namespace::User && *kind != Namespace::Mount);
    b.child.extend(early.map(|&(kind, slot)| Child::EnterNamespace { kind, slot, early: true }));
    let all = namespaces.joined.iter();
    b.child.extend(all.map(|&(kind, slot)| Child::EnterNamespace { kind, slot, early: false }));
    let mut new = namespaces.new.clone();
    // Its root is the cgroup that the child is in, once systemd has moved it.
    new.retain(|kind| *kind != Namespace::Cgroup || !joined_by_bus);
    if namespaces.born_last {
        if !new.is_empty() {
            b.child.push(Child::MakeNamespaces { new });
        }
    } else if namespaces.needs_birth() {
        b.birth(new);
    }
}

fn session(b: &mut Builder<'_>, request: &Request<'_>, namespaces: &Namespaces) {
    if !request.options.no_new_keyring {
        b.child.push(Child::JoinKeyring { name: Text::new(format!("_ses.{}", request.id)), found: true });
    }
    // A session belongs to its first process: one that is born later makes its own.
    if !namespaces.born_last {
        b.child.push(Child::NewSession);
    }
    if namespaces.network_by_parent(request.host) {
        b.parent.push(Parent::MakeNetwork);
        b.parent.push(Parent::Meet { point: Point::NetworkMade });
    } else if namespaces.is_new(Namespace::Network) {
        b.child.push(Child::LoopbackUp);
    }
}

/// Keeps the container from the host's binary (threats B).
#[derive(Default)]
struct Shield {
    /// Empty when nothing in the container could write to it anyway.
    raise: Vec<Child>,
    park: Option<Child>,
}

impl Shield {
    fn compile(b: &mut Builder<'_>, linux: &Linux, namespaces: &Namespaces) -> Self {
        let binary = &b.host.binary;
        let owner_unmapped = namespaces.is_new(Namespace::User)
            && b.host.is_privileged()
            && !binary.shared_write
            && !namespaces::maps_host_id(&namespaces::id_map(linux.uid_mappings().as_ref()), binary.uid);
        if binary.readonly || owner_unmapped {
            return Self::default();
        }
        let path = binary_path(b);
        let (mount, file) = (b.slot(), b.slot());
        let mut raise = Vec::new();
        if b.host.is_privileged() {
            b.prepare.push(Prepare::OpenBinary { mount, file, path });
        } else {
            raise.push(Child::OpenBinary { mount, file, path });
        }
        raise.push(Child::ShieldBinary { file });
        let directory = b.host.binary.path.as_deref().and_then(Path::parent).map(Text::path);
        Self { raise, park: directory.map(|directory| Child::ParkBinary { mount, directory }) }
    }
}

/// Where the binary is; the kernel has to be able to switch to another view of it.
pub(super) fn binary_path(b: &mut Builder<'_>) -> Text {
    if !b.host.binary.switchable {
        b.error(
            "",
            "this kernel cannot keep a container from pent's own binary (it lacks CONFIG_CHECKPOINT_RESTORE)",
            "put pent on a read-only mount",
        );
    }
    Text::path(b.host.binary.path.clone().unwrap_or_default())
}

/// linux.rootfsPropagation as it applies to the mounts that come from the host.
fn host_propagation(linux: &Linux) -> Propagation {
    match linux.rootfs_propagation().as_deref() {
        Some("shared" | "rshared") => Propagation { spread: Spread::Shared, recursive: true },
        Some("private" | "rprivate") => Propagation { spread: Spread::Private, recursive: true },
        _ => Propagation { spread: Spread::Slave, recursive: true },
    }
}

/// pivot_root(2) refuses a shared root: what it becomes in the end is set after that.
fn root_propagation(linux: &Linux) -> Vec<Propagation> {
    let host = host_propagation(linux);
    if host.spread == Spread::Shared {
        vec![host, Propagation { spread: Spread::Private, recursive: false }]
    } else {
        vec![host]
    }
}

fn root_filesystem(b: &mut Builder<'_>, request: &Request<'_>, linux: &Linux, binary: Option<Child>) -> Slot {
    let slot = b.slot();
    let path = request.spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    if path.as_os_str().is_empty() {
        b.error(
            "root.path",
            "there is no root filesystem",
            "set root.path to a directory, absolute or below the bundle",
        );
    }
    let rootfs = Text::path(request.bundle.join(path));
    b.source(Source {
        slot,
        path: rootfs.clone(),
        instead: None,
        made: None,
        nofollow: false,
        recursive: true,
        attributes: Attributes::default(),
        unnamed: 0,
        tree_attributes: Attributes::default(),
        propagation: root_propagation(linux),
        idmap: None,
        directory: true,
        identity: None,
        spec_path: "root.path".into(),
    });
    let propagation = host_propagation(linux);
    // A shared tree stays as it was born: in the host's peer groups.
    if propagation.spread != Spread::Shared {
        b.child.push(Child::SetRootPropagation { propagation });
    }
    b.child.push(Child::MakeRootParentPrivate);
    // Sources come from the child where the parent may not, and are known only when the mounts are compiled: see `place_sources`.
    b.sources_at = b.child.len();
    b.mount_checks += 1;
    b.child.extend(binary);
    let at = (hooked(request.spec) && propagation.spread != Spread::Shared && !request.options.no_pivot)
        .then(|| rootfs.clone());
    b.child.push(Child::AttachRoot { slot, at });
    slot
}

/// As late as can be: before the first filesystem that may belong to a network namespace, as sysfs does.
fn enter_network(b: &mut Builder<'_>) {
    let at = b.child.iter().position(order::needs_network).unwrap_or(b.child.len());
    b.child.splice(at..at, [Child::Meet { point: Point::NetworkMade }, Child::EnterNetwork]);
}

/// Whether hooks run that may look for the rootfs, by its path, in the container's mount namespace.
#[allow(deprecated)]
fn hooked(spec: &Spec) -> bool {
    let any = |hooks: &Option<Vec<oci_spec::runtime::Hook>>| hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
    let hooks = spec.hooks().as_ref();
    hooks.is_some_and(|hooks| any(hooks.prestart()) || any(hooks.create_runtime()) || any(hooks.create_container()))
}

#[derive(Default)]
struct Hooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
}

impl Hooks {
    #[allow(deprecated)]
    fn compile(spec: &Spec) -> Self {
        let Some(hooks) = spec.hooks() else { return Self::default() };
        Self {
            prestart: compile_hooks(hooks.prestart().as_ref()),
            create_runtime: compile_hooks(hooks.create_runtime().as_ref()),
            create_container: compile_hooks(hooks.create_container().as_ref()),
            start_container: compile_hooks(hooks.start_container().as_ref()),
        }
    }
}

/// Hooks as they are executed, in order.
pub fn compile_hooks(hooks: Option<&Vec<oci_spec::runtime::Hook>>) -> Vec<Hook> {
    hooks
        .into_iter()
        .flatten()
        .map(|hook| Hook {
            path: Text::path(hook.path()),
            args: match hook.args().as_ref().filter(|args| !args.is_empty()) {
                Some(args) => args.iter().map(Text::new).collect(),
                None => vec![Text::path(hook.path())],
            },
            env: hook.env().iter().flatten().map(Text::new).collect(),
            inherits: hook.env().is_none(),
            timeout: hook.timeout().and_then(|seconds| u32::try_from(seconds).ok()),
        })
        .collect()
}

/// linux.netDevices, by name: a map has no order of its own.
fn net_devices(linux: &Linux) -> Vec<NetDevice> {
    let devices = linux.net_devices().iter().flatten().map(|(name, device)| {
        let to = device.name().as_ref().filter(|to| !to.is_empty()).unwrap_or(name);
        NetDevice { name: Text::new(name), to: Text::new(to) }
    });
    let mut devices: Vec<_> = devices.collect();
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    devices
}

/// What the parent does once the mounts are made: device rules, which could have forbidden making the nodes, network devices, which
/// sysctls and hooks may be about, and hooks. Whether the child has yet to wait for it, since only hooks need to see the host's root.
fn parents_part(b: &mut Builder<'_>, hooks: &Hooks, limits_devices: bool, net_devices: Vec<NetDevice>) -> bool {
    let early = !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() || !net_devices.is_empty();
    if early || limits_devices {
        b.meet(Point::MountsDone);
        if limits_devices {
            b.parent.push(Parent::LimitDevices);
        }
        if !net_devices.is_empty() {
            b.parent.push(Parent::MoveNetDevices { devices: net_devices });
        }
        for (kind, hooks) in [(HookKind::Prestart, &hooks.prestart), (HookKind::CreateRuntime, &hooks.create_runtime)] {
            if !hooks.is_empty() {
                b.parent.push(Parent::RunHooks { kind });
            }
        }
        b.parent.push(Parent::Meet { point: Point::ParentDone });
    }
    // Hooks of the child, too, run under the rules.
    let waits_here = early || limits_devices && !hooks.create_container.is_empty();
    if waits_here {
        b.child.push(Child::Meet { point: Point::ParentDone });
    }
    if !hooks.create_container.is_empty() {
        b.child.push(Child::RunHooks { kind: HookKind::CreateContainer });
    }
    limits_devices && !waits_here
}

/// Everything that closes the root: kernel parameters, masks, read-only paths, the root itself, and the change of root.
fn finish_root(
    b: &mut Builder<'_>,
    request: &Request<'_>,
    linux: &Linux,
    mounted: &Mounted,
    root: Slot,
    null: Option<Slot>,
    masks: &[String],
) {
    sysctls(b, linux, mounted);
    let kept = &request.options.kept;
    if !kept.is_empty() {
        b.mount_checks += kept.len();
        let paths = kept.iter().map(|kept| (Text::path(&kept.path), kept.readonly)).collect();
        b.child.push(Child::KeepPaths { paths });
    }
    if let Some(null) = null {
        b.mount_checks += masks.len();
        // Where there is one id only, nobody in the namespace gets anywhere that this process does not.
        let one = |map: &Option<Vec<LinuxIdMapping>>| map.iter().flatten().map(|range| range.size()).sum::<u32>() == 1;
        let as_program = b.child.iter().any(|op| matches!(op, Child::BecomeUser { .. }))
            || (one(linux.uid_mappings()) && one(linux.gid_mappings()));
        b.child.push(Child::MaskPaths { null, paths: masks.iter().map(as_file).collect(), as_program });
    }
    let readonly = linux.readonly_paths().as_deref().unwrap_or_default();
    if !readonly.is_empty() {
        b.mount_checks += readonly.len();
        b.child.push(Child::ReadonlyPaths { paths: readonly.iter().map(as_file).collect() });
    }
    b.mount_checks += mounted.readonly.len();
    b.child.extend(mounted.readonly.iter().map(|(slot, what)| Child::SetReadonly { slot: *slot, what: what.clone() }));
    if request.spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or_default()) {
        b.mount_checks += 1;
        b.child.push(Child::SetReadonly { slot: root, what: Text::new("/") });
    }
    if let Some(program) = request.spec.process().as_ref() {
        // While there is the host's procfs, by which what was looked at is opened.
        process::home(b, program);
    }
    let shared = host_propagation(linux).spread == Spread::Shared;
    b.child.push(if request.options.no_pivot {
        Child::MoveRoot { slot: root, shared }
    } else {
        Child::PivotRoot { slot: root, shared }
    });
    // Private and slave it is already; mounts keep what they asked for themselves.
    let propagation = match linux.rootfs_propagation().as_deref() {
        Some("shared") => Some((Spread::Shared, false)),
        Some("rshared") => Some((Spread::Shared, true)),
        Some("unbindable") => Some((Spread::Unbindable, false)),
        Some("runbindable") => Some((Spread::Unbindable, true)),
        _ => None,
    };
    if let Some((spread, recursive)) = propagation {
        b.child.push(Child::SetNewRootPropagation { propagation: Propagation { spread, recursive } });
    }
}

/// Without a slash or a dot at the end, with which a file would not be found.
fn as_file(path: impl AsRef<Path>) -> Text {
    Text::path(path.as_ref().components().collect::<PathBuf>())
}

/// Namespaces that must not be the runtime's own, though config.json names them by a path: kernel parameters are set in them.
fn apart(linux: &Linux, namespaces: &Namespaces) -> Vec<Namespace> {
    let set: BTreeSet<_> = linux
        .sysctl()
        .iter()
        .flatten()
        .filter_map(|(name, _)| match sysctl::scope(&sysctl::path(name)?) {
            sysctl::Scope::Network => Some(Namespace::Network),
            sysctl::Scope::Ipc => Some(Namespace::Ipc),
            sysctl::Scope::Hostname | sysctl::Scope::Domainname => Some(Namespace::Uts),
            sysctl::Scope::Host => None,
        })
        .collect();
    set.into_iter().filter(|kind| namespaces.joined.iter().any(|(joined, _)| joined == kind)).collect()
}

fn sysctls(b: &mut Builder<'_>, linux: &Linux, mounted: &Mounted) {
    let Some(sysctls) = linux.sysctl().as_ref().filter(|sysctls| !sysctls.is_empty()) else { return };
    let mut values: Vec<_> = sysctls
        .iter()
        // What is no name was refused by `spec::validate`.
        .filter_map(|(name, value)| Some((Text::new(format!("sys/{}", sysctl::path(name)?)), Text::new(value))))
        .collect();
    values.sort();
    let proc = mounted.proc.unwrap_or_else(|| mounts::private_proc(b));
    b.child.push(Child::WriteSysctls { proc, values });
}

fn names(b: &mut Builder<'_>, spec: &Spec) {
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        b.child.push(Child::SetHostname { name: Text::new(name) });
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        b.child.push(Child::SetDomainname { name: Text::new(name) });
    }
}
