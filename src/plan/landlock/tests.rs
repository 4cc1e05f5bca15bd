use super::*;
use crate::plan::op::MountPoint;
use crate::spec::mount_options::Attributes;

fn attach(slot: u16, target: &str, expect: u64) -> Child {
    Child::Attach { slot: Slot(slot), target: Text::new(target), point: MountPoint::Directory, expect }
}

/// The usual mounts: a read-only root, /proc, /dev with devpts, /tmp, /sys, and a volume that is a file.
fn usual() -> Vec<Child> {
    vec![
        Child::AttachRoot { slot: Slot(0), at: None },
        attach(1, "/proc", attr::NOSUID | attr::NODEV | attr::NOEXEC),
        attach(2, "/dev", attr::NOSUID),
        attach(3, "/dev/pts", attr::NOSUID | attr::NOEXEC),
        attach(4, "/tmp", attr::NOSUID | attr::NODEV),
        attach(5, "/sys", attr::RDONLY | attr::NODEV),
        attach(6, "/etc/resolv.conf", attr::RDONLY),
        Child::SetReadonly { slot: Slot(0), what: Text::new("/") },
    ]
}

fn access_at(rules: &[Rule], place: &str) -> u64 {
    rules.iter().filter(|rule| rule.place == Text::new(place)).fold(0, |all, rule| all | rule.access)
}

#[test]
fn what_the_mounts_allow_is_allowed_and_nothing_else() {
    let rules = rules(&Landlock::default(), &usual(), By::Descriptor);
    assert_eq!(access_at(&rules, "/"), READ | access::EXECUTE);
    assert_eq!(access_at(&rules, "/tmp"), WRITE);
    assert_eq!(access_at(&rules, "/proc"), WRITE);
    assert_eq!(access_at(&rules, "/dev"), WRITE | USE | DEVICES);
    assert_eq!(access_at(&rules, "/sys") | access_at(&rules, "/etc/resolv.conf"), 0);
    let mounts = rules.iter().filter(|rule| matches!(rule.at, At::Mount(_))).count();
    assert_eq!(mounts, 6, "by descriptor, no path is looked up");
}

#[test]
fn a_writable_root_is_written_but_no_device_in_it_is_commanded() {
    let script: Vec<_> = usual().into_iter().filter(|op| !matches!(op, Child::SetReadonly { .. })).collect();
    let root = access_at(&rules(&Landlock::default(), &script, By::Descriptor), "/");
    assert_eq!(root & WRITE, WRITE);
    assert_eq!(root & access::IOCTL_DEV, 0);
}

#[test]
fn remounts_and_later_mounts_decide() {
    let mut script = usual();
    let readonly = Attributes { set: attr::RDONLY, clear: 0 };
    script.push(Child::Remount {
        target: Text::new("/tmp"),
        attributes: readonly,
        tree_attributes: Attributes::default(),
    });
    script.push(attach(9, "/dev", attr::RDONLY));
    let rules = rules(&Landlock::default(), &script, By::Descriptor);
    assert_eq!(access_at(&rules, "/tmp"), 0);
    assert_eq!(access_at(&rules, "/dev"), USE, "devices work on read-only mounts, but none are made there");
    assert_eq!(access_at(&rules, "/dev/pts"), 0, "it is hidden");
    let back = Attributes { set: 0, clear: attr::RDONLY };
    script.push(Child::Remount { target: Text::new("/tmp"), attributes: back, tree_attributes: Attributes::default() });
    assert_eq!(access_at(&super::rules(&Landlock::default(), &script, By::Descriptor), "/tmp"), WRITE);
}

#[test]
fn executing_can_be_confined_to_a_list() {
    let asked = Landlock { execute: Some(vec![Text::new("/usr/bin"), Text::new("/lib64")]), ..Landlock::default() };
    let rules = rules(&asked, &usual(), By::Path);
    let executable: Vec<_> =
        rules.iter().filter(|rule| rule.access & access::EXECUTE != 0).map(|rule| rule.place.to_string()).collect();
    assert_eq!(executable, ["/usr/bin", "/lib64"]);
    assert!(!rules.iter().any(|rule| matches!(rule.at, At::Mount(_))), "there are no descriptors of the container's");
}

#[test]
fn every_abi_has_its_kernel_and_only_its_own_rights() {
    for (abi, rights) in [(1, (1 << 13) - 1), (2, (1 << 14) - 1), (3, (1 << 15) - 1), (4, (1 << 15) - 1)] {
        let fs = FS_BY_ABI.iter().filter(|(since, _)| *since <= abi).fold(0, |all, (_, rights)| all | rights);
        assert_eq!(fs, rights, "ABI {abi}");
    }
    assert_eq!(kernel_of(6), Some("6.12"));
    assert_eq!(kernel_of(99), None);
}

/// What is made inside is the program's own, by the kernel's rules; of what is outside, only what is named.
#[test]
fn named_sockets_of_others_are_closed_but_for_a_list() {
    let asked = Landlock { sockets: Some(vec![Text::new("/srv/bus")]), ..Landlock::default() };
    let rules = rules(&asked, &usual(), By::Descriptor);
    let open: Vec<_> = rules.iter().filter(|rule| rule.access & access::RESOLVE_UNIX != 0).collect();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].at, open[0].access, open[0].place.to_string()),
        (At::Path, access::RESOLVE_UNIX, "/srv/bus".into())
    );
    let of = |abi| Ruleset {
        abi,
        fs: access::READ_DIR | access::RESOLVE_UNIX,
        net: 0,
        scoped: 0,
        rules: rules.iter().filter(|rule| rule.access & access::RESOLVE_UNIX != 0).cloned().collect(),
        ports: Vec::new(),
    };
    assert!(of(9).to_string().ends_with("; connect to sockets /srv/bus and those made inside"), "{}", of(9));
    assert_eq!(kernel_of(SOCKETS_ABI), Some("7.1"));
}
