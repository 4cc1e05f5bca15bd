//! Plans in words: what `pent plan` prints, and what an error says was being done.
#![forbid(unsafe_code)]

use super::op::{Child, Filesystem, IdMap, Namespace, Parent, Prepare, Source};
use super::{Plan, numa};
use crate::cgroup::DevicePlan;
use crate::profile;
use crate::spec::capability;
use crate::spec::mount_options::{Attributes, Propagation, Spread, attr};
use crate::sys::cred::SchedAttr;
use std::fmt;

/// Attribute bits by the names of mount(8).
struct Flags(u64);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (attr::RDONLY, "ro"),
            (attr::NOSUID, "nosuid"),
            (attr::NODEV, "nodev"),
            (attr::NOEXEC, "noexec"),
            (attr::NOATIME, "noatime"),
            (attr::STRICTATIME, "strictatime"),
            (attr::NODIRATIME, "nodiratime"),
            (attr::NOSYMFOLLOW, "nosymfollow"),
        ];
        let mut separator = "";
        for (bit, name) in names {
            if self.0 & bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

struct Change<'a>(&'a str, Attributes);

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Flags(self.1.set).to_string();
        let clear = Flags(self.1.clear & !self.1.set & !attr::ATIME).to_string();
        if !set.is_empty() {
            write!(f, " {}{set}", self.0)?;
        }
        if !clear.is_empty() {
            write!(f, " {}not {clear}", self.0)?;
        }
        Ok(())
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.spread {
            Spread::Private => "private",
            Spread::Shared => "shared",
            Spread::Slave => "slave",
            Spread::Unbindable => "unbindable",
        };
        write!(f, "{}{name}", if self.recursive { "r" } else { "" })
    }
}

fn spread(f: &mut fmt::Formatter<'_>, propagation: &[Propagation]) -> fmt::Result {
    propagation.iter().try_for_each(|p| write!(f, " {p}"))
}

struct Caps(u64);

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        f.write_str(&capability::names(self.0).join(","))
    }
}

struct Map<'a>(&'a IdMap);

impl fmt::Display for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (inside, host, size) in self.0 {
            write!(f, "{separator}{inside}={host}+{size}")?;
            separator = ",";
        }
        Ok(())
    }
}

struct Kinds<'a>(&'a [Namespace]);

impl fmt::Display for Kinds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|kind| kind.file()).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clone host mount {}", self.path)?;
        if let Some(instead) = &self.instead {
            write!(f, ", or {instead} where it is not there,")?;
        }
        if self.made.is_some() {
            f.write_str(", or a node that is made where it is not there,")?;
        }
        if self.nofollow {
            f.write_str(" itself if it is a link")?;
        }
        if self.recursive {
            f.write_str(" with the mounts below it")?;
        }
        write!(f, "{}", Change("", self.attributes))?;
        if self.unnamed != 0 {
            f.write_str(", others off")?;
        }
        write!(f, "{}", Change("recursively ", self.tree_attributes))?;
        spread(f, &self.propagation)?;
        if self.idmap.is_some() {
            f.write_str(" id-mapped")?;
        }
        Ok(())
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "make {} filesystem", self.kind)?;
        for (name, value) in &self.options {
            match value {
                Some(value) => write!(f, " {name}={value}")?,
                None => write!(f, " {name}")?,
            }
        }
        if self.attributes != 0 {
            write!(f, " {}", Flags(self.attributes))?;
        }
        if let Some(path) = &self.mode_of {
            write!(f, " with the mode of {path}")?;
        }
        if self.pid_namespace.is_some() {
            f.write_str(" of the joined pid namespace")?;
        }
        spread(f, &self.propagation)
    }
}

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenProcess { pid, .. } => write!(f, "open the container's init, pid {pid}"),
            Self::OpenNamespace { kind, path, .. } => write!(f, "open {} namespace {path}", kind.file()),
            Self::MakeIdMapping { uids, gids, .. } => {
                write!(f, "make id mapping uids {} gids {}", Map(uids), Map(gids))
            }
            Self::CloneMount(source) => source.fmt(f),
            Self::OpenBinary { .. } => f.write_str("open pent's own binary through a read-only mount"),
            Self::SetNonDumpable => f.write_str("set non-dumpable"),
            Self::SetOomScore { score } => write!(f, "set oom_score_adj {score}"),
            Self::RaiseRlimit { name, hard, .. } => {
                write!(f, "raise the hard limit of {name} to {hard} if it is lower")
            }
            Self::SetTimeOffsets { lines } => {
                write!(f, "make time namespace with offsets {}", lines.to_string().trim_end().replace('\n', ", "))
            }
            Self::SetCpuAffinity { cpus } => write!(f, "run on processors {}", numa::list(cpus)),
            Self::OwnStdio { uid } => write!(f, "give stdin, stdout and stderr to uid {uid} of the host"),
            Self::FindAgent { path } => write!(f, "find the seccomp agent's socket {path}"),
        }
    }
}

fn scheduler(f: &mut fmt::Formatter<'_>, attr: &SchedAttr) -> fmt::Result {
    write!(f, "set scheduler policy {} nice {}", attr.policy, attr.nice)
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meet { point } => write!(f, "meet at {point:?}"),
            Self::MapIds { uids, gids, deny_setgroups } => {
                write!(f, "map uids {} gids {}", Map(uids), Map(gids))?;
                f.write_str(if *deny_setgroups { " without setgroups" } else { "" })
            }
            Self::MakeNetwork => f.write_str("make network namespace, bring its loopback up"),
            Self::LimitDevices => f.write_str("set the device rules of the cgroup"),
            Self::RunHooks { kind } => write!(f, "run {} hooks", kind.name()),
            Self::Adopt => f.write_str("take over the process that the child makes"),
            Self::SetScheduler { attr } => scheduler(f, attr),
            Self::ReceiveTerminal => f.write_str("receive the terminal"),
            Self::ReceiveNetwork => f.write_str("receive the user and the network namespace"),
            Self::VerifyJoined { kinds } => write!(f, "verify namespaces {} against init's", Kinds(kinds)),
            Self::MoveNetDevices { devices } => {
                f.write_str("move network devices")?;
                devices.iter().try_for_each(|device| write!(f, " {}={}", device.name, device.to))
            }
            Self::SendListener { path } => write!(f, "send the seccomp listener to the agent at {path}"),
            Self::Supervise => f.write_str("answer denied calls as the filter says, and report them"),
        }
    }
}

impl fmt::Display for Child {
    #[allow(clippy::too_many_lines)] // one line an operation: a table
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meet { point } => write!(f, "meet at {point:?}"),
            Self::SetNonDumpable => f.write_str("set non-dumpable"),
            Self::OpenBinary { .. } => f.write_str("open pent's own binary through a read-only mount"),
            Self::ShieldBinary { .. } => f.write_str("shield pent's own binary: run from its read-only view"),
            Self::MakeNamespaces { new } => write!(f, "make new namespaces: {}", Kinds(new)),
            Self::Birth { new } if new.is_empty() => f.write_str("clone: the new process walks the rest"),
            Self::Birth { new } => {
                write!(f, "clone with new namespaces: {}: the new process walks the rest", Kinds(new))
            }
            Self::DropGroups => f.write_str("give up the caller's supplementary groups"),
            Self::EnterNamespace { kind, .. } => write!(f, "enter {} namespace", kind.file()),
            Self::LeaveHost { .. } => f.write_str("close the host's descriptors"),
            Self::EnterNetwork => f.write_str("enter the network namespace that was made meanwhile"),
            Self::EnterProcess { kinds, .. } => write!(f, "enter namespaces {} of init", Kinds(kinds)),
            Self::BecomeRoot { .. } => f.write_str("become root of the user namespace"),
            Self::BecomeUser { uid, gid, .. } => write!(f, "become {uid}:{gid} of the user namespace"),
            Self::SendNetwork => f.write_str("hand the user and the network namespace to the parent"),
            Self::DieWithRuntime => f.write_str("be killed when pent ends"),
            Self::BecomeInit => f.write_str("make the program's process, and look after it"),
            Self::JoinCgroup => f.write_str("join the cgroup"),
            Self::JoinKeyring { name, found: true } => write!(f, "join new session keyring {name}"),
            Self::JoinKeyring { name, found: false } => write!(f, "join session keyring {name}"),
            Self::NewSession => f.write_str("start new session"),
            Self::VerifyNamespaces { new, joined, .. } => {
                write!(f, "verify namespaces: new {}", Kinds(new))?;
                if joined.is_empty() {
                    return Ok(());
                }
                write!(f, ", joined {}", Kinds(&joined.iter().map(|(kind, _)| *kind).collect::<Vec<_>>()))
            }
            Self::LoopbackUp => f.write_str("bring loopback up"),
            Self::SetRootPropagation { propagation } => write!(f, "make every mount {propagation}"),
            Self::MakeRootParentPrivate => f.write_str("make the mount under the root private"),
            Self::CloneMount(source) => source.fmt(f),
            Self::ParkBinary { directory, .. } => {
                write!(f, "mount the read-only view on {directory}, which goes with the host's tree")
            }
            Self::AttachRoot { at: None, .. } => f.write_str("attach root filesystem"),
            Self::AttachRoot { at: Some(path), .. } => write!(f, "attach root filesystem at {path}, for hooks"),
            Self::OpenNull { .. } => f.write_str("open /dev/null of the host"),
            Self::MakeFilesystem(filesystem) => filesystem.fmt(f),
            Self::MountLegacy { kind, target, data, .. } => write!(f, "mount {kind} on {target} {data} by mount(2)"),
            Self::CopyUp { target, .. } => write!(f, "copy up {target}"),
            Self::Attach { target, .. } => write!(f, "mount on {target}"),
            Self::Remount { target, attributes, tree_attributes } => {
                write!(f, "remount {target}{}{}", Change("", *attributes), Change("recursively ", *tree_attributes))
            }
            Self::Symlink { dir, name, target } => write!(f, "link {dir}/{name} to {target}"),
            Self::CloneInside(source) => write!(f, "in the container's root, {source}"),
            Self::SetTimeOffsets { lines } => {
                write!(f, "make time namespace with offsets {}", lines.to_string().trim_end().replace('\n', ", "))
            }
            Self::MakeDirectory { path } => write!(f, "make directory {path} if it is missing"),
            Self::OpenDev { .. } => f.write_str("open /dev of the root filesystem"),
            Self::MakeDevice { device, .. } => {
                let (major, minor) = (libc::major(device.number), libc::minor(device.number));
                let dir = if device.in_dev { "/dev/" } else { "/" };
                write!(f, "make device {dir}{} {major}:{minor} mode {:o}", device.path, device.mode & 0o7777)
            }
            Self::BindDevice { device, .. } => {
                write!(f, "bind device {}{} of the host", if device.in_dev { "/dev/" } else { "/" }, device.path)
            }
            Self::LinkDevice { name, target, .. } => write!(f, "link /dev/{name} to {target}"),
            Self::OpenTerminal { size: None, .. } => f.write_str("open terminal"),
            Self::OpenTerminal { size: Some((width, height)), .. } => write!(f, "open terminal {width}x{height}"),
            Self::ControlTerminal => f.write_str("make it the session's terminal"),
            Self::UnshareCgroup => f.write_str("enter new cgroup namespace"),
            Self::WriteSysctls { values, .. } => {
                f.write_str("set kernel parameters")?;
                values.iter().try_for_each(|(path, value)| write!(f, " {path}={value}"))
            }
            Self::RunHooks { kind } => write!(f, "run {} hooks", kind.name()),
            Self::KeepPaths { paths } => {
                f.write_str("keep")?;
                paths.iter().try_for_each(|(path, readonly)| write!(f, " {path}{}", if *readonly { ":ro" } else { "" }))
            }
            Self::MaskPaths { paths, .. } => {
                f.write_str("mask")?;
                paths.iter().try_for_each(|path| write!(f, " {path}"))
            }
            Self::ReadonlyPaths { paths } => {
                f.write_str("make read-only")?;
                paths.iter().try_for_each(|path| write!(f, " {path}"))
            }
            Self::SetReadonly { what, .. } => write!(f, "make the mount on {what} read-only"),
            Self::PivotRoot { .. } => f.write_str("pivot into the root filesystem and detach the host's"),
            Self::MoveRoot { .. } => f.write_str("move the root filesystem to / and chroot"),
            Self::SetNewRootPropagation { propagation } => write!(f, "make the new root {propagation}"),
            Self::SetHostname { name } => write!(f, "set hostname {name}"),
            Self::SetDomainname { name } => write!(f, "set domainname {name}"),
            Self::RaiseRlimit { name, hard, .. } => {
                write!(f, "raise the hard limit of {name} to {hard} if it is lower")
            }
            Self::SetRlimit { name, soft, hard, .. } => write!(f, "set {name} {soft}:{hard}"),
            Self::SetScheduler { attr } => scheduler(f, attr),
            Self::SetIoPriority { class, level } => write!(f, "set I/O priority class {class} level {level}"),
            Self::SetMemoryPolicy { mode, nodes } => {
                write!(f, "set memory policy {mode:#x} nodes {}", numa::list(nodes))
            }
            Self::SetCpuAffinity { cpus } => write!(f, "run on processors {}", numa::list(cpus)),
            Self::ResetCpuAffinity => f.write_str("run on every processor of the cpuset"),
            Self::SetPersonality { persona } => write!(f, "set personality {persona:#x}"),
            Self::VerifyMounts => f.write_str("verify flags of every mount"),
            Self::OwnStdio { uid, .. } => write!(f, "give stdin, stdout and stderr to uid {uid}"),
            Self::SetHome { uid } => write!(f, "set HOME from the passwd entry of uid {uid}"),
            Self::SetUmask { mask } => write!(f, "set umask {mask:04o}"),
            Self::SetGroups { groups } => write!(f, "set groups {groups:?}"),
            Self::SetGid { gid } => write!(f, "set gid {gid}"),
            Self::DropBounding { keep } => write!(f, "limit bounding set to {}", Caps(*keep)),
            Self::SetUid { uid } => write!(f, "set uid {uid}"),
            Self::SetCapabilities { effective, permitted, inheritable } => write!(
                f,
                "set capabilities effective {} permitted {} inheritable {}",
                Caps(*effective),
                Caps(*permitted),
                Caps(*inheritable)
            ),
            Self::SetAmbient { set } => write!(f, "set ambient capabilities {}", Caps(*set)),
            Self::OpenLabel { module, .. } => write!(f, "open this process's own {} label", module.name()),
            Self::SetExecLabel { module, label, .. } => {
                write!(f, "set {} {label} for the program, and read it back", module.label())
            }
            Self::MakeRuleset { ruleset } => write!(f, "make Landlock rules, {ruleset}"),
            Self::SetNoNewPrivs => f.write_str("set no_new_privs"),
            Self::RestrictSelf { verify: false, .. } => f.write_str("restrict this process to the Landlock rules"),
            Self::RestrictSelf { verify: true, .. } => {
                f.write_str("restrict this process to the Landlock rules, and verify that they are in force")
            }
            Self::ChangeDirectory { path, .. } => write!(f, "change directory to {path}"),
            Self::FindExecutable { name, .. } => write!(f, "find executable {name}"),
            Self::CloseDescriptors { preserve, also } => {
                write!(f, "close every descriptor but 0 to {}", 2 + preserve)?;
                also.iter().try_for_each(|number| write!(f, ", {number}"))
            }
            Self::VerifyCredentials(_) => f.write_str("verify ids, capabilities and no_new_privs"),
            Self::Announce => f.write_str("tell the parent that the program is next"),
            Self::LoadSeccomp { instructions, .. } => write!(f, "load seccomp filter of {instructions} instructions"),
            Self::SendListener => f.write_str("hand the seccomp listener over"),
            Self::LoadSeccompRest { instructions, .. } => {
                write!(f, "load seccomp filter of {instructions} instructions for the calls that took")
            }
            Self::Execute => f.write_str("execute the program"),
        }
    }
}

impl Plan {
    fn cgroup_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scope) = &self.cgroup.scope {
            writeln!(f, "  start scope {} in {} by systemd", scope.unit, scope.slice)?;
        }
        for directory in &self.cgroup.directories {
            writeln!(f, "  make cgroup {}", directory.mount.join(&directory.path).display())?;
        }
        for write in &self.cgroup.limits.writes {
            writeln!(f, "  set {} {} ({})", write.file, write.value, write.spec_path)?;
        }
        match &self.cgroup.limits.devices {
            DevicePlan::Untouched => Ok(()),
            DevicePlan::Files { rules, .. } => writeln!(f, "  allow devices by file: {}", rules.join(", ")),
            DevicePlan::Program { rules, instructions } => {
                let count = instructions.as_ref().map_or(0, Vec::len);
                writeln!(f, "  allow devices by a program of {count} instructions: {}", rules.join(", "))
            }
        }
    }
}

/// The whole plan, a line an operation.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program: Vec<_> = self.program.args.iter().map(ToString::to_string).collect();
        writeln!(f, "container {}: {}", self.id, program.join(" "))?;
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        if !self.changes.is_empty() {
            writeln!(f, "\nrequested, enforced, because of")?;
            for change in &self.changes {
                let profile::Change { path, requested, enforced, profile, rule } = change;
                writeln!(f, "  {path}: {requested} -> {enforced} ({profile}: {rule})")?;
            }
        }
        writeln!(f, "\nbefore clone")?;
        self.cgroup_lines(f)?;
        if let Some(rdt) = &self.rdt {
            let class = if rdt.class.is_empty() { "/" } else { &rdt.class };
            writeln!(
                f,
                "  {} class of service {class} {}",
                if rdt.own { "make" } else { "use" },
                rdt.schemata.join(" ")
            )?;
            if let Some(monitor) = &rdt.monitor {
                writeln!(f, "  make monitoring group {monitor}")?;
            }
        }
        for op in &self.prepare {
            writeln!(f, "  {op}")?;
        }
        if self.new_namespaces.is_empty() {
            writeln!(f, "\nclone")?;
        } else {
            writeln!(f, "\nclone with new namespaces: {}", Kinds(&self.new_namespaces))?;
        }
        writeln!(f, "\nparent")?;
        self.parent.iter().try_for_each(|op| writeln!(f, "  {op}"))?;
        writeln!(f, "\nchild")?;
        self.child.iter().try_for_each(|op| writeln!(f, "  {op}"))
    }
}
