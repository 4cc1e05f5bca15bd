//! Mounts: from config.json's list to detached mounts with their flags set, attached in order.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::namespaces::{Namespaces, host_id, id_map};
use super::op::{Child, Filesystem, IdMap, IdmapSource, MountPoint, Namespace, Prepare, Slot, Source};
use super::text::Text;
use crate::cgroup::{CgroupPlan, Layout};
use crate::spec::mount_options::{Attributes, IdRange, MountOptions, Propagation, Spread, attr, id_ranges};
use oci_spec::runtime::{Linux, Mount};
use std::path::{Path, PathBuf};

/// fsconfig(2) takes strings of at most 255 bytes.
const FSCONFIG_MAX: usize = 255;
/// Filesystems whose superblock is shared or has to stay writable while the container is made: read-only is the mount's.
const MOUNT_READONLY_ONLY: [&str; 7] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs"];

/// Filesystems whose files SELinux labels by what they are, or that are one with the host's: `context=` is not for them.
const NOT_LABELLED: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// What later steps need to know about the mounts.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// The mount on /dev, when it is one of ours and not the host's.
    pub(super) dev: Option<Slot>,
    /// /dev comes from the host: nothing is made in it.
    pub(super) dev_is_bound: bool,
    /// The container's procfs.
    pub(super) proc: Option<Slot>,
    /// What has to become read-only when all is made in it.
    pub(super) readonly: Vec<(Slot, Text)>,
}

pub(super) struct Context<'a> {
    pub(super) bundle: &'a Path,
    /// The root filesystem on the host; none where its mounts are only thought of.
    pub(super) rootfs: Option<PathBuf>,
    pub(super) linux: &'a Linux,
    pub(super) namespaces: &'a Namespaces,
    /// The container's cgroup; none when what was asked of it is refused, which has been said.
    pub(super) cgroup: Option<&'a CgroupPlan>,
    /// The mode of propagation that mounts of the host have inside, unless they say otherwise.
    pub(super) root_propagation: Propagation,
    /// A bind mount never loses a flag of its source that config.json does not name.
    pub(super) keeps_flags: bool,
}

impl Context<'_> {
    /// The container's own cgroup in one of the host's hierarchies.
    fn directory_below(&self, mount: &Path) -> Option<PathBuf> {
        let directory = self.cgroup?.directories.iter().find(|directory| directory.mount == mount)?;
        Some(mount.join(&directory.path))
    }

    /// The cgroup that an ordinary user's container stays in when its own, which is below, cannot be made.
    fn callers_cgroup(&self, mount: &Path) -> Option<PathBuf> {
        self.cgroup.filter(|plan| plan.rootless && !plan.required)?;
        self.directory_below(mount)?.parent().map(Path::to_path_buf)
    }
}

/// The absolute, `..`-free form of a destination.
pub(super) fn destination(mount: &Mount) -> PathBuf {
    lexical(mount.destination())
}

/// A path from the root: absolute, and without `.` and `..`, which stay in it.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// Every mount of config.json, in order.
pub(super) fn compile(b: &mut Builder<'_>, context: &Context<'_>, mounts: &[Mount]) -> Mounted {
    let mut mounted = Mounted::default();
    if !b.host.selinux && mount_label(context).is_some() {
        b.error(
            "linux.mountLabel",
            "SELinux is not enabled on this host",
            "enable it, or leave it out of the configuration",
        );
    }
    let mut made: Vec<PathBuf> = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let mut options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let target = destination(mount);
        let path = format!("mounts[{index}]");
        if target == Path::new("/") && !options.remount {
            b.error(
                format!("{path}.destination"),
                "a mount cannot replace the root",
                "use root.path for the root filesystem",
            );
            continue;
        }
        let kind = mount.typ().as_deref().unwrap_or_default();
        if hides_proc(&target, kind, &options) {
            b.error(
                format!("{path}.destination"),
                format!("{} cannot be mounted over: what is in /proc must be the kernel's", target.display()),
                "mount elsewhere; only single files such as /proc/cpuinfo may be replaced",
            );
            continue;
        }
        let is_bind = options.bind.is_some() || kind == "bind";
        if !options.remount && !is_bind {
            // There is nothing below a new filesystem: `rro` is `ro`.
            options.attributes = options.attributes.then(options.recursive);
        }
        if options.remount {
            remount(b, &target, &options);
        } else if is_bind {
            if target == Path::new("/dev") {
                mounted.dev_is_bound = true;
                mounted.dev = None;
            }
            bind(b, context, mount, &options, &target, &path, &made);
        } else if kind == "sysfs"
            && context.namespaces.is_own(Namespace::User)
            && !context.namespaces.is_own(Namespace::Network)
        {
            hosts_sysfs(b, context, mount, &options, &target, &path);
        } else if kind == "cgroup" || kind == "cgroup2" {
            cgroup(b, context, &options, &target, &path);
        } else if kind.is_empty() {
            b.error(
                format!("{path}.type"),
                format!("the mount on {} has no type and is not a bind mount", target.display()),
                "set type to a filesystem (tmpfs, proc …), or add the option bind or rbind",
            );
        } else {
            let mut options = options;
            let labelled = options.data.iter().any(|(name, _)| name.ends_with("context"));
            if let Some(label) = mount_label(context).filter(|_| !labelled && !NOT_LABELLED.contains(&kind)) {
                options.data.push(("context".to_owned(), Some(label.to_owned())));
            }
            let slot = filesystem(b, context, mount, kind, &options, &target, &path);
            if let Some(slot) = slot.filter(|_| becomes_readonly(kind, &options)) {
                mounted.readonly.push((slot, Text::path(&target)));
            }
            match (target.to_str(), kind) {
                (Some("/dev"), _) => {
                    mounted.dev = slot;
                    mounted.dev_is_bound = false;
                }
                (Some("/proc"), "proc") => mounted.proc = slot,
                _ => {}
            }
        }
        if !is_kernels(&target) {
            made.push(target);
        }
    }
    mounted
}

/// Whether a mount is one of those that every container has, where a bind mount's source is never looked for.
fn is_kernels(target: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|top| target.starts_with(top))
}

fn mount_label<'a>(context: &Context<'a>) -> Option<&'a str> {
    context.linux.mount_label().as_deref().filter(|label| !label.is_empty())
}

/// A planted /proc deceives whoever writes labels and limits through it, the runtime first (CVE-2019-16884). The files that may
/// be replaced are those of runc, for lxcfs and CRIU.
fn hides_proc(target: &Path, kind: &str, options: &MountOptions) -> bool {
    const REPLACEABLE: [&str; 11] = [
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "net/dev",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    ];
    let Ok(inside) = target.strip_prefix("/proc") else { return false };
    if inside.as_os_str().is_empty() {
        return kind != "proc" && kind != "bind" && options.bind.is_none() && !options.remount;
    }
    !options.remount && !REPLACEABLE.iter().any(|name| inside == Path::new(name))
}

/// A procfs that is never attached: for containers that have none, to set kernel parameters through.
pub(super) fn private_proc(b: &mut Builder<'_>) -> Slot {
    let slot = b.slot();
    b.child.push(Child::MakeFilesystem(Filesystem {
        slot,
        kind: Text::new("proc"),
        source: Some(Text::new("proc")),
        options: Vec::new(),
        attributes: attr::NOSUID | attr::NODEV | attr::NOEXEC,
        mode_of: None,
        propagation: Vec::new(),
        pid_namespace: None,
    }));
    slot
}

fn attach(b: &mut Builder<'_>, slot: Slot, target: &Path, point: MountPoint, expect: u64) {
    b.mount_checks += 1;
    b.child.push(Child::Attach { slot, target: Text::path(target), point, expect });
}

/// The bits that must be found on the mount in the end.
fn expected(attributes: Attributes, tree: Attributes) -> u64 {
    let flags = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
    (attributes.set | tree.set) & !(attributes.clear & !attributes.set) & flags
}

fn bind(
    b: &mut Builder<'_>,
    context: &Context<'_>,
    mount: &Mount,
    options: &MountOptions,
    target: &Path,
    path: &str,
    made: &[PathBuf],
) {
    let Some(source) = mount.source() else {
        b.error(format!("{path}.source"), format!("the bind mount on {} has no source", target.display()), "");
        return;
    };
    let mut options = options.clone();
    hold_locked(b, context, &mut options, path);
    let options = &options;
    if !options.data.is_empty() {
        let names: Vec<_> = options.data.iter().map(|(name, _)| name.as_str()).collect();
        b.warn(format!("{path}.options"), format!("a bind mount takes no data: {} ignored", names.join(",")));
    }
    let slot = b.slot();
    // Events must not travel from the container to the host unless they are asked to.
    let mut propagation = vec![context.root_propagation];
    propagation.extend_from_slice(&options.propagation);
    // Nothing that was before is left of a tree that becomes private.
    let ends = |change: &Propagation| change.recursive && matches!(change.spread, Spread::Private | Spread::Unbindable);
    propagation.drain(..propagation.iter().rposition(ends).unwrap_or(0));
    let idmap = options
        .idmap
        .or_else(|| mount.uid_mappings().as_ref().map(|_| crate::spec::mount_options::Reach { recursive: false }));
    let idmap = idmap
        .map(|reach| IdmapSource { namespace: mapping(b, context, mount, options, path), recursive: reach.recursive });
    let on_host = context.bundle.join(source);
    let inside = source_inside(context, &on_host, made);
    if inside.is_some() && idmap.is_some() {
        b.error(
            path,
            format!(
                "{} is made by an earlier mount, and what the container has made cannot be id-mapped",
                on_host.display()
            ),
            "give that mount the mapping, or bind what is behind it",
        );
    }
    let is_inside = inside.is_some();
    let source = Source {
        slot,
        path: Text::path(inside.unwrap_or(on_host)),
        instead: None,
        made: None,
        nofollow: options.src_nofollow || options.copy_symlink,
        recursive: options.bind.is_none_or(|reach| reach.recursive),
        attributes: options.attributes,
        unnamed: unnamed(b, context, options),
        tree_attributes: options.recursive,
        propagation,
        idmap,
        directory: false,
        identity: None,
        spec_path: format!("{path}.source"),
    };
    if is_inside {
        b.child.push(Child::CloneInside(source));
    } else {
        b.source(source);
    }
    let point = if options.copy_symlink {
        MountPoint::CopiedLink
    } else if options.dest_nofollow {
        MountPoint::LinkItself
    } else {
        MountPoint::LikeSource
    };
    attach(b, slot, target, point, expected(options.attributes, options.recursive));
}

/// What the kernel locks on mounts that a user namespace gets from another (mount_namespaces(7)).
const LOCKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// In a user namespace a mount keeps what protects its source, whatever its options say: `rw` of what the host has read-only leaves it
/// so, as with runc and crun, whose mount(2) the kernel refuses it. A runtime with rights on the host is not refused, and could give
/// the container's root what only root of the host may take away.
fn hold_locked(b: &mut Builder<'_>, context: &Context<'_>, options: &mut MountOptions, path: &str) {
    if !context.namespaces.is_own(Namespace::User) {
        return;
    }
    options.attributes.clear &= !LOCKED;
    // Of the mounts below nobody knows what they have; without rights the kernel looks itself.
    if b.host.is_privileged() && options.recursive.clear & LOCKED != 0 {
        b.error(
            format!("{path}.options"),
            "in a user namespace the flags of mounts from the host stay: rrw, rsuid, rdev and rexec cannot be had",
            "leave the option out, or change the mount on the host",
        );
    }
}

/// sysfs belongs to a network namespace, and the kernel makes none for a user namespace that does not own it. crun shows the host's
/// instead; here it is read-only, with all that is mounted below it.
fn hosts_sysfs(
    b: &mut Builder<'_>,
    context: &Context<'_>,
    mount: &Mount,
    options: &MountOptions,
    target: &Path,
    path: &str,
) {
    let protected = Attributes { set: LOCKED, clear: 0 };
    let options = MountOptions {
        recursive: options.recursive.then(protected),
        bind: Some(crate::spec::mount_options::Reach { recursive: true }),
        data: Vec::new(),
        superblock: Vec::new(),
        ..options.clone()
    };
    let mut mount = mount.clone();
    mount.set_source(Some("/sys".into()));
    b.warn(path, "sysfs needs a network namespace of the container's own: the host's /sys is there instead, read-only");
    bind(b, context, &mount, &options, target, path, &[]);
}

/// Where in the container's root a source lies, if an earlier mount is there: the host has something else at that path, or nothing. The
/// specification has mounts made in order, and runc finds such a source.
fn source_inside(context: &Context<'_>, source: &Path, made: &[PathBuf]) -> Option<PathBuf> {
    let rootfs = context.rootfs.as_deref().filter(|rootfs| *rootfs != Path::new("/"))?;
    let inside = Path::new("/").join(source.strip_prefix(rootfs).ok()?);
    let plain = inside.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let meets = |target: &PathBuf| inside.starts_with(target) || target.starts_with(&inside);
    (plain && inside != Path::new("/") && made.iter().any(meets)).then_some(inside)
}

/// What options that name a flag say of the others: they are off, as with `mount --bind -o` (mount(8)) and with runc and crun. Options
/// without a flag leave all as it is on the source. In a user namespace runc's mount(2) cannot clear what the kernel
/// locks (mount_namespaces(7)), so there the source's own stay.
fn unnamed(b: &Builder<'_>, context: &Context<'_>, options: &MountOptions) -> u64 {
    const ACCESS_TIMES: u64 = attr::ATIME | attr::NODIRATIME;
    let (named, below) = (options.attributes, options.recursive);
    if context.keeps_flags || (named.is_empty() && options.superblock.is_empty()) {
        return 0;
    }
    let may_clear = b.host.is_privileged() && !context.namespaces.is_own(Namespace::User);
    let names_access_time = (named.set | named.clear) & ACCESS_TIMES != 0;
    let cleared = attr::NOSYMFOLLOW
        | if may_clear { LOCKED } else { 0 }
        | if may_clear && names_access_time { ACCESS_TIMES } else { 0 };
    cleared & !(named.set | named.clear | below.set | below.clear)
}

/// The mapping of an id-mapped mount: its own, or the container's, be it made or joined.
fn mapping(b: &mut Builder<'_>, context: &Context<'_>, mount: &Mount, options: &MountOptions, path: &str) -> Slot {
    let (mut uids, mut gids): (IdMap, IdMap) =
        (id_map(mount.uid_mappings().as_ref()), id_map(mount.gid_mappings().as_ref()));
    if let Some((of_uids, of_gids)) = options.idmap_ids.as_deref().and_then(id_ranges) {
        uids = written_map(b, &of_uids, &id_map(context.linux.uid_mappings().as_ref()), path);
        gids = written_map(b, &of_gids, &id_map(context.linux.gid_mappings().as_ref()), path);
    }
    if uids.is_empty() && gids.is_empty() {
        uids = id_map(context.linux.uid_mappings().as_ref());
        gids = id_map(context.linux.gid_mappings().as_ref());
        let joined = context.namespaces.joined.iter().find(|(kind, _)| *kind == Namespace::User);
        if let (true, true, Some(&(_, slot)), true) = (uids.is_empty(), gids.is_empty(), joined, b.host.is_privileged())
        {
            return slot;
        }
    }
    let slot = b.slot();
    if uids.is_empty() || gids.is_empty() {
        b.error(
            path,
            "an id-mapped mount needs both uidMappings and gidMappings",
            "add them to the mount, or to linux",
        );
    }
    if !b.host.is_privileged() {
        b.error(path, "id-mapped mounts need CAP_SYS_ADMIN on the host", "run as root, or leave the option out");
    }
    b.prepare.push(Prepare::MakeIdMapping { slot, uids, gids });
    slot
}

/// The mapping that an option spells out; what is said in ids of the container goes through the container's own mapping.
fn written_map(b: &mut Builder<'_>, ranges: &[IdRange], container: &IdMap, path: &str) -> IdMap {
    let mut map = IdMap::new();
    for range in ranges {
        let last = range.to.checked_add(range.size - 1);
        let ends = [Some(range.to), last].map(|id| id.and_then(|id| host_id(container, id)));
        let to = match (range.in_container, ends) {
            (false, _) => Some(range.to),
            (true, [Some(first), Some(last)]) if last - first == range.size - 1 => Some(first),
            (true, _) => None,
        };
        match to {
            Some(to) => map.push((range.from, to, range.size)),
            None => b.error(
                format!("{path}.options"),
                format!(
                    "idmap: ids {} to {} of the container are not mapped in one piece",
                    range.to,
                    u64::from(range.to) + u64::from(range.size) - 1
                ),
                "map them in linux.uidMappings and gidMappings, or leave the @ out",
            ),
        }
    }
    map
}

fn remount(b: &mut Builder<'_>, target: &Path, options: &MountOptions) {
    b.mount_checks += 1;
    b.child.push(Child::Remount {
        target: Text::path(target),
        attributes: options.attributes,
        tree_attributes: options.recursive,
    });
}

fn filesystem(
    b: &mut Builder<'_>,
    context: &Context<'_>,
    mount: &Mount,
    kind: &str,
    options: &MountOptions,
    target: &Path,
    path: &str,
) -> Option<Slot> {
    if options.tmpcopyup && kind != "tmpfs" {
        b.error(format!("{path}.options"), format!("tmpcopyup works on tmpfs, not on {kind}"), "");
    }
    if options.idmap.is_some() || mount.uid_mappings().is_some() {
        b.error(format!("{path}.options"), format!("only bind mounts can be id-mapped, not {kind}"), "");
    }
    let source = mount.source().as_ref().map(Text::path);
    let too_long = options.data.iter().any(|(_, value)| value.as_ref().is_some_and(|v| v.len() > FSCONFIG_MAX));
    let attributes = options.attributes.set & !attr_not_for_fsmount();
    let pid_namespace = context.namespaces.late_pid().filter(|_| kind == "proc");
    if too_long {
        if pid_namespace.is_some() {
            b.error(format!("{path}.options"), "an option of proc is longer than 255 bytes", "");
        }
        if options.tmpcopyup {
            b.error(format!("{path}.options"), "with tmpcopyup no option can be longer than 255 bytes", "");
        }
        legacy(b, kind, source.unwrap_or_else(|| Text::new(kind)), options, target);
        return None;
    }
    let mut data: Vec<(Text, Option<Text>)> = options
        .superblock
        .iter()
        .filter(|flag| **flag != "ro" || !MOUNT_READONLY_ONLY.contains(&kind))
        .map(|flag| (Text::new(flag), None))
        .collect();
    data.extend(options.data.iter().map(|(name, value)| (Text::new(name), value.as_ref().map(Text::new))));
    let slot = b.slot();
    let target_text = Text::path(target);
    let moded = data.iter().any(|(name, _)| name.to_bytes() == b"mode");
    let late = becomes_readonly(kind, options);
    let shown = if late {
        Attributes { set: options.attributes.set & !attr::RDONLY, ..options.attributes }
    } else {
        options.attributes
    };
    b.child.push(Child::MakeFilesystem(Filesystem {
        slot,
        kind: Text::new(kind),
        source,
        options: data,
        attributes: attributes & if late { !attr::RDONLY } else { u64::MAX },
        mode_of: (kind == "tmpfs" && !moded).then(|| target_text.clone()),
        propagation: options.propagation.clone(),
        pid_namespace,
    }));
    if options.tmpcopyup {
        b.child.push(Child::CopyUp { slot, target: target_text });
    }
    let point = if matches!(kind, "proc" | "sysfs") { MountPoint::PlainDirectory } else { MountPoint::Directory };
    attach(b, slot, target, point, expected(shown, Attributes::default()));
    Some(slot)
}

/// A read-only tmpfs, /dev say, is writable until mount points and device nodes are made in it.
fn becomes_readonly(kind: &str, options: &MountOptions) -> bool {
    kind == "tmpfs" && options.attributes.set & attr::RDONLY != 0
}

/// fsmount(2) takes every attribute but the id mapping.
fn attr_not_for_fsmount() -> u64 {
    crate::sys::mount::attr::IDMAP
}

/// By mount(2), whose flags are those of the file system and of the mount at once.
fn legacy(b: &mut Builder<'_>, kind: &str, source: Text, options: &MountOptions, target: &Path) {
    let of_mount = [
        (attr::RDONLY, libc::MS_RDONLY),
        (attr::NOSUID, libc::MS_NOSUID),
        (attr::NODEV, libc::MS_NODEV),
        (attr::NOEXEC, libc::MS_NOEXEC),
        (attr::NOATIME, libc::MS_NOATIME),
        (attr::STRICTATIME, libc::MS_STRICTATIME),
        (attr::NODIRATIME, libc::MS_NODIRATIME),
        (attr::NOSYMFOLLOW, 256),
    ];
    let of_filesystem = [
        ("sync", libc::MS_SYNCHRONOUS),
        ("dirsync", libc::MS_DIRSYNC),
        ("lazytime", libc::MS_LAZYTIME),
        ("mand", libc::MS_MANDLOCK),
    ];
    let flags = of_mount
        .iter()
        .filter(|(bit, _)| options.attributes.set & bit != 0)
        .map(|(_, flag)| flag)
        .chain(of_filesystem.iter().filter(|(name, _)| options.superblock.contains(name)).map(|(_, flag)| flag))
        .fold(0, |all, flag| all | flag);
    let data: Vec<String> = options
        .data
        .iter()
        .map(|(name, value)| match value {
            None => name.clone(),
            // Categories are separated by commas, as options are.
            Some(value) if name == "context" => format!("{name}=\"{value}\""),
            Some(value) => format!("{name}={value}"),
        })
        .collect();
    b.mount_checks += 1;
    b.child.push(Child::MountLegacy {
        kind: Text::new(kind),
        source,
        target: Text::path(target),
        flags,
        data: Text::new(data.join(",")),
        propagation: options.propagation.clone(),
    });
}

fn cgroup(b: &mut Builder<'_>, context: &Context<'_>, options: &MountOptions, target: &Path, path: &str) {
    match &b.host.cgroup {
        Layout::Absent => {
            b.error(
                format!("{path}.type"),
                "no cgroup filesystem is mounted on this host",
                "leave the cgroup mount out",
            );
        }
        Layout::V2 { mount } => {
            let mount = mount.clone();
            cgroup_tree(b, context, options, target, path, "cgroup2", &[], &mount);
        }
        Layout::V1 { hierarchies, unified } => {
            let (hierarchies, unified) = (hierarchies.clone(), unified.clone());
            let top = cgroup_v1_top(b, target);
            for hierarchy in &hierarchies {
                let joined = hierarchy.controllers.join(",");
                let name = joined.strip_prefix("name=").unwrap_or(&joined);
                let mount_at = target.join(name);
                cgroup_tree(b, context, options, &mount_at, path, "cgroup", &hierarchy.controllers, &hierarchy.mount);
                if hierarchy.controllers.len() > 1 {
                    for controller in &hierarchy.controllers {
                        b.child.push(Child::Symlink {
                            dir: Text::path(target),
                            name: Text::new(controller),
                            target: Text::new(name),
                        });
                    }
                }
            }
            if let Some(unified) = unified {
                cgroup_tree(b, context, options, &target.join("unified"), path, "cgroup2", &[], &unified.mount);
            }
            if options.attributes.set & attr::RDONLY != 0 {
                b.mount_checks += 1;
                b.child.push(Child::SetReadonly { slot: top, what: Text::path(target) });
            }
        }
    }
}

/// The tmpfs that holds version 1's hierarchies; it stays writable until they are all there.
fn cgroup_v1_top(b: &mut Builder<'_>, target: &Path) -> Slot {
    let slot = b.slot();
    let attributes = attr::NOSUID | attr::NODEV | attr::NOEXEC;
    b.child.push(Child::MakeFilesystem(Filesystem {
        slot,
        kind: Text::new("tmpfs"),
        source: Some(Text::new("tmpfs")),
        options: vec![(Text::new("mode"), Some(Text::new("755")))],
        attributes,
        mode_of: None,
        propagation: Vec::new(),
        pid_namespace: None,
    }));
    attach(b, slot, target, MountPoint::Directory, attributes);
    slot
}

/// One hierarchy: a mount of its own in a cgroup namespace, else a bind mount of the container's own cgroup.
#[allow(clippy::too_many_arguments)]
fn cgroup_tree(
    b: &mut Builder<'_>,
    context: &Context<'_>,
    options: &MountOptions,
    target: &Path,
    path: &str,
    kind: &str,
    controllers: &[String],
    host_mount: &Path,
) {
    let slot = b.slot();
    let attributes = options.attributes;
    if context.namespaces.is_own(Namespace::Cgroup) {
        let named = controllers.iter().any(|c| c.starts_with("name="));
        let mut data: Vec<(Text, Option<Text>)> = controllers
            .iter()
            .map(|controller| match controller.split_once('=') {
                Some((key, value)) => (Text::new(key), Some(Text::new(value))),
                None => (Text::new(controller), None),
            })
            .collect();
        if named {
            data.push((Text::new("none"), None));
        }
        b.child.push(Child::MakeFilesystem(Filesystem {
            slot,
            kind: Text::new(kind),
            source: Some(Text::new("cgroup")),
            options: data,
            attributes: attributes.set,
            mode_of: None,
            propagation: options.propagation.clone(),
            pid_namespace: None,
        }));
    } else {
        let Some(dir) = context.directory_below(host_mount) else {
            if context.cgroup.is_some() {
                b.error(
                    format!("{path}.type"),
                    "the container has no cgroup of its own to show",
                    "add a cgroup namespace, or leave the cgroup mount out",
                );
            }
            return;
        };
        let mut propagation = vec![Propagation { spread: Spread::Private, recursive: true }];
        propagation.extend_from_slice(&options.propagation);
        b.source(Source {
            slot,
            path: Text::path(dir),
            instead: context.callers_cgroup(host_mount).map(Text::path),
            made: None,
            nofollow: false,
            recursive: false,
            attributes,
            unnamed: 0,
            tree_attributes: Attributes::default(),
            propagation,
            idmap: None,
            directory: true,
            identity: None,
            spec_path: path.to_owned(),
        });
    }
    attach(b, slot, target, MountPoint::Directory, expected(attributes, Attributes::default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::MountBuilder;

    #[test]
    fn destinations_stay_in_the_root() {
        for (given, clean) in [("/a/../../b", "/b"), ("/a/./b/", "/a/b"), ("a/b", "/a/b"), ("/..", "/")] {
            let mount = MountBuilder::default().destination(given).build().expect("a mount");
            assert_eq!(destination(&mount), Path::new(clean), "{given}");
        }
    }
}
