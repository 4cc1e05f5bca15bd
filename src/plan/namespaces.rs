//! Namespaces: which are made, which are entered, and in what shape the child is born.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::op::{Child, IdMap, Namespace, Parent, Point, Prepare, Slot};
use super::text::Text;
use crate::host::Host;
use crate::spec::keeps_groups;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec, User};
use std::fmt::Write as _;

/// The namespaces of a container.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    pub(super) new: Vec<Namespace>,
    pub(super) joined: Vec<(Namespace, Slot)>,
    /// The program's process is born only when all is done: nobody in the pid namespace it joins sees anything before (threats A).
    pub(super) born_last: bool,
    /// What the child writes into a time namespace of its user namespace.
    pub(super) time_offsets: Option<Text>,
}

impl Namespaces {
    pub(super) fn is_new(&self, kind: Namespace) -> bool {
        self.new.contains(&kind)
    }

    /// New or joined: not the runtime's own.
    pub(super) fn is_own(&self, kind: Namespace) -> bool {
        self.is_new(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// The slot of a pid namespace that is joined last.
    pub(super) fn late_pid(&self) -> Option<Slot> {
        self.joined.iter().find(|(kind, _)| self.born_last && *kind == Namespace::Pid).map(|(_, slot)| *slot)
    }

    /// The parent makes the network namespace: the kernel needs longer for it than for all others together, and the child can mount
    /// meanwhile. It would belong to the wrong user namespace where the container has one of its own, and root of a user namespace,
    /// as with a rootless engine, could not go back to the network that it came from.
    pub(super) fn network_by_parent(&self, host: &Host) -> bool {
        let may_go_back = host.is_privileged() && !host.in_user_namespace;
        self.is_new(Namespace::Network) && may_go_back && !self.is_own(Namespace::User) && !self.needs_birth()
    }

    /// A joined user namespace has to be entered before the others are made, so that it owns them; a joined pid or time
    /// namespace is one only for children.
    pub(super) fn needs_birth(&self) -> bool {
        let decides_birth = |kind: &Namespace| matches!(kind, Namespace::User | Namespace::Pid | Namespace::Time);
        // Inside a new user namespace the child has no rights over namespaces of the host.
        let leaves_rights = self.is_new(Namespace::User) && !self.joined.is_empty();
        leaves_rights || self.joined.iter().any(|(kind, _)| decides_birth(kind))
    }
}

pub(crate) fn kind_of(kind: LinuxNamespaceType) -> Namespace {
    match kind {
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Cgroup => Namespace::Cgroup,
        LinuxNamespaceType::Uts => Namespace::Uts,
        LinuxNamespaceType::Ipc => Namespace::Ipc,
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Pid => Namespace::Pid,
        LinuxNamespaceType::Network => Namespace::Network,
        LinuxNamespaceType::Time => Namespace::Time,
    }
}

/// Reads linux.namespaces and opens those that exist.
pub(super) fn compile(b: &mut Builder<'_>, linux: &Linux) -> Namespaces {
    let mut all = Namespaces::default();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let kind = kind_of(namespace.typ());
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => all.new.push(kind),
            Some(path) => {
                let slot = b.slot();
                let spec_path = format!("linux.namespaces[{index}].path");
                b.prepare.push(Prepare::OpenNamespace { slot, kind, path: Text::path(path), spec_path });
                all.joined.push((kind, slot));
            }
        }
    }
    let rank = |kind: &Namespace| Namespace::ALL.iter().position(|k| k == kind);
    all.new.sort_by_key(rank);
    all.joined.sort_by_key(|(kind, _)| rank(kind));
    // Before Linux 6.17 only a process in a pid namespace can make a procfs that shows it.
    all.born_last = b.host.procfs_pidns && all.joined.iter().any(|(kind, _)| *kind == Namespace::Pid);
    if !all.is_own(Namespace::Mount) {
        b.error(
            "linux.namespaces",
            "a mount namespace is required: without one the container's mounts would be the host's",
            "add {\"type\": \"mount\"} to linux.namespaces",
        );
    }
    if !b.host.is_privileged() && !all.is_own(Namespace::User) {
        b.error(
            "linux.namespaces",
            "without CAP_SYS_ADMIN a container needs a user namespace",
            "run as root, or start from `pent spec --rootless`",
        );
    }
    if let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) {
        time_offsets(b, &mut all, offsets);
    }
    all
}

/// Offsets can be written only before the first process is in the namespace (time_namespaces(7)): the parent makes it, or the child where
/// it has a user namespace of its own.
fn time_offsets(
    b: &mut Builder<'_>,
    all: &mut Namespaces,
    offsets: &std::collections::HashMap<String, oci_spec::runtime::LinuxTimeOffset>,
) {
    if !all.is_new(Namespace::Time) {
        b.error(
            "linux.timeOffsets",
            "time offsets need a new time namespace",
            "add {\"type\": \"time\"} to linux.namespaces",
        );
        return;
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| *clock);
    let mut lines = String::new();
    for (clock, offset) in clocks {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            b.error(
                format!("linux.timeOffsets.{clock}"),
                format!("there is no clock {clock:?} in a time namespace"),
                "the clocks are monotonic and boottime",
            );
        }
        let (secs, nanos) = (offset.secs().unwrap_or_default(), offset.nanosecs().unwrap_or_default());
        // Writing to a String cannot fail.
        let _infallible = writeln!(lines, "{clock} {secs} {nanos}");
    }
    all.new.retain(|kind| *kind != Namespace::Time);
    if all.is_own(Namespace::User) {
        // Without rights on the host there are some in the container's user namespace; and what is the container's belongs to it.
        all.time_offsets = Some(Text::new(lines));
    } else {
        b.prepare.push(Prepare::SetTimeOffsets { lines: Text::new(lines) });
    }
}

/// The types that config.json wants new.
pub(super) fn asked_new(linux: &Linux) -> Vec<Namespace> {
    let new = |path: &Option<std::path::PathBuf>| path.as_ref().is_none_or(|path| path.as_os_str().is_empty());
    linux.namespaces().iter().flatten().filter(|ns| new(ns.path())).map(|ns| kind_of(ns.typ())).collect()
}

/// What becomes of the supplementary groups of the runtime's caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    /// The process gets those of its configuration instead.
    Replaced,
    /// They stay, because setgroups(2) is not allowed in the user namespace.
    Denied,
    /// They stay, because an annotation asks for it.
    Kept,
}

/// The caller's groups may stay, which give access to what is shared among a group (`podman run --group-add keep-groups`; the annotation
/// is crun's). `features` names it among those that an engine does not let just anybody set.
pub(super) fn groups(b: &mut Builder<'_>, spec: &Spec, linux: &Linux, namespaces: &Namespaces) -> Groups {
    if keeps_groups(spec) {
        return Groups::Kept;
    }
    if groups_denied(b.host, linux, namespaces) { Groups::Denied } else { Groups::Replaced }
}

/// Unprivileged, a single gid may be mapped without newgidmap only when setgroups is given up (user_namespaces(7)), and what
/// was given up stays so in namespaces made from there.
fn groups_denied(host: &Host, linux: &Linux, namespaces: &Namespaces) -> bool {
    let gids = id_map(linux.gid_mappings().as_ref());
    let gives_up = namespaces.is_new(Namespace::User) && !host.is_privileged() && gids.len() == 1 && gids[0].2 == 1;
    host.setgroups_denied || gives_up
}

/// Before an existing user namespace is entered. Without root nobody could give up groups outside of it.
pub(super) fn drop_groups(host: &Host, groups: Groups) -> Option<Child> {
    (groups == Groups::Replaced && host.is_privileged()).then_some(Child::DropGroups)
}

pub(super) fn id_map(mappings: Option<&Vec<LinuxIdMapping>>) -> IdMap {
    mappings.into_iter().flatten().map(|m| (m.container_id(), m.host_id(), m.size())).collect()
}

/// The host id behind a container id.
pub(super) fn host_id(map: &IdMap, id: u32) -> Option<u32> {
    map.iter()
        .find(|(inside, _, size)| id.checked_sub(*inside).is_some_and(|offset| offset < *size))
        .and_then(|(inside, host, _)| host.checked_add(id - inside))
}

/// Whether an id of the host has a name inside.
pub(super) fn maps_host_id(map: &IdMap, id: u32) -> bool {
    map.iter().any(|(_, host, size)| id.checked_sub(*host).is_some_and(|offset| offset < *size))
}

/// Parent and child agree on the ids of a new user namespace; then the child becomes its root, or the program's user where there
/// is no root.
pub(super) fn user_namespace(b: &mut Builder<'_>, namespaces: &Namespaces, linux: &Linux, user: &User, groups: Groups) {
    if !namespaces.is_own(Namespace::User) {
        return;
    }
    b.child.extend(namespaces.time_offsets.clone().map(|lines| Child::SetTimeOffsets { lines }));
    let uids = id_map(linux.uid_mappings().as_ref());
    let gids = id_map(linux.gid_mappings().as_ref());
    let (mut uid, mut gid) = (0, 0);
    if namespaces.is_new(Namespace::User) {
        for (map, path, id, own) in
            [(&uids, "linux.uidMappings", &mut uid, user.uid()), (&gids, "linux.gidMappings", &mut gid, user.gid())]
        {
            if host_id(map, 0).is_none() {
                *id = own;
            }
            if host_id(map, *id).is_none() {
                b.error(
                    path,
                    "neither id 0 of the container is mapped nor that of its process",
                    "map containerID 0: the mounts are made as its root, or else as process.user",
                );
            }
        }
        let deny_setgroups = groups_denied(b.host, linux, namespaces);
        b.parent.push(Parent::MapIds { uids, gids, deny_setgroups });
        b.meet(Point::UserNamespaceMapped);
    }
    b.child.push(become_owner(uid, gid, groups));
}

/// Pipes and files of the host that are its standard streams become the process's, as they do without a user namespace: with its rights
/// alone it could not open `/dev/stderr`.
pub(super) fn own_stdio(b: &mut Builder<'_>, linux: &Linux, user: &User, terminal: bool) {
    let uid = host_id(&id_map(linux.uid_mappings().as_ref()), user.uid());
    if let Some(uid) = uid.filter(|uid| *uid != 0 && !terminal && b.host.is_privileged()) {
        b.prepare.push(super::op::Prepare::OwnStdio { uid });
    }
}

/// As whom the container is set up in its user namespace.
fn become_owner(uid: u32, gid: u32, groups: Groups) -> Child {
    let drop_groups = groups == Groups::Replaced;
    match (uid, gid) {
        (0, 0) => Child::BecomeRoot { drop_groups },
        _ => Child::BecomeUser { uid, gid, drop_groups },
    }
}

/// The same for a process that joins the container.
pub(super) fn become_owner_again(linux: &Linux, user: &User, groups: Groups) -> Child {
    let id = |map: IdMap, own| if map.is_empty() || host_id(&map, 0).is_some() { 0 } else { own };
    let uid = id(id_map(linux.uid_mappings().as_ref()), user.uid());
    become_owner(uid, id(id_map(linux.gid_mappings().as_ref()), user.gid()), groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_map_both_ways() {
        let map = vec![(0, 1000, 1), (1, 100_000, 65_535)];
        assert_eq!(host_id(&map, 0), Some(1000));
        assert_eq!(host_id(&map, 65_535), Some(165_534));
        assert_eq!(host_id(&map, 65_536), None);
        assert!(maps_host_id(&map, 1000));
        assert!(!maps_host_id(&map, 0));
        assert!(!maps_host_id(&map, 165_535));
    }

    #[test]
    fn pid_namespaces_are_entered_last() {
        assert_eq!(Namespace::ALL.last(), Some(&Namespace::Pid));
        assert_eq!(Namespace::ALL.first(), Some(&Namespace::User));
    }
}
