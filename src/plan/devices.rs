//! /dev: default devices, links, and the devices of linux.devices.
#![forbid(unsafe_code)]

use super::builder::Builder;
use super::mounts::Mounted;
use super::namespaces::{Namespaces, host_id, id_map};
use super::op::{Child, Device, MadeDevice, Namespace, Slot, Source};
use super::text::Text;
use crate::spec::mount_options::{Attributes, Propagation, Spread};
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// config-linux.md, default devices: path, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// runtime-linux.md, dev symbolic links; and the multiplexer of the container's own devpts.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// Populates /dev and returns the slot of its directory; nothing when /dev is the host's.
pub(super) fn compile(b: &mut Builder<'_>, linux: &Linux, namespaces: &Namespaces, mounted: &Mounted) -> Option<Slot> {
    let devices = linux.devices().as_deref().unwrap_or_default();
    if mounted.dev_is_bound {
        if !devices.is_empty() {
            b.warn("linux.devices", "/dev is bound from the host: no devices are made in it");
        }
        return None;
    }
    let dev = mounted.dev.unwrap_or_else(|| {
        let slot = b.slot();
        b.child.push(Child::OpenDev { slot });
        slot
    });
    let paths: HashSet<_> = devices.iter().map(|device| clean(device.path())).collect();
    let make_nodes = b.host.can_make_devices() && !namespaces.is_own(Namespace::User);
    for (path, major, minor) in DEFAULT {
        if !paths.contains(Path::new(path)) {
            let mode = libc::S_IFCHR | 0o666;
            let device = Device {
                path: below_dev(Path::new(path)).0,
                in_dev: true,
                mode,
                number: libc::makedev(major, minor),
                uid: 0,
                gid: 0,
            };
            place(b, linux, dev, Path::new(path), device, make_nodes, "linux.devices");
        }
    }
    for (index, device) in devices.iter().enumerate() {
        let spec_path = format!("linux.devices[{index}]");
        if let Some(node) = node(b, device, &spec_path) {
            place(b, linux, dev, &clean(device.path()), node, make_nodes, &spec_path);
        }
    }
    for (name, target) in LINKS {
        let is_there = name != "core" || !b.host.lacks_kcore;
        if is_there && !paths.contains(&Path::new("/dev").join(name)) {
            b.child.push(Child::LinkDevice { dev, name: Text::new(name), target: Text::new(target) });
        }
    }
    Some(dev)
}

/// Where a device goes: relative to the mount on /dev, or to the root.
fn below_dev(path: &Path) -> (Text, bool) {
    match path.strip_prefix("/dev") {
        Ok(rest) => (Text::path(rest), true),
        Err(_) => (Text::path(path.strip_prefix("/").unwrap_or(path)), false),
    }
}

fn node(b: &mut Builder<'_>, device: &LinuxDevice, spec_path: &str) -> Option<Device> {
    let number = |value: i64, name: &str, b: &mut Builder<'_>| {
        u32::try_from(value).ok().or_else(|| {
            b.error(format!("{spec_path}.{name}"), format!("{value} is not a device number"), "0 to 4294967295");
            None
        })
    };
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            b.error(format!("{spec_path}.type"), "a device node cannot be of type a", "use c, b, u or p");
            return None;
        }
    };
    let (major, minor) = if kind == libc::S_IFIFO {
        (0, 0)
    } else {
        (number(device.major(), "major", b)?, number(device.minor(), "minor", b)?)
    };
    let (path, in_dev) = below_dev(&clean(device.path()));
    Some(Device {
        path,
        in_dev,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        number: libc::makedev(major, minor),
        uid: device.uid().unwrap_or_default(),
        gid: device.gid().unwrap_or_default(),
    })
}

/// Without `.` and `..`, as a path from the root that leads above nothing.
fn clean(path: &Path) -> PathBuf {
    super::mounts::lexical(path)
}

/// In a user namespace the kernel makes no nodes: the host's are bound instead, or one that root of the host makes where it has none.
fn place(
    b: &mut Builder<'_>,
    linux: &Linux,
    dev: Slot,
    host_path: &Path,
    device: Device,
    make_nodes: bool,
    spec_path: &str,
) {
    if make_nodes || device.mode & libc::S_IFMT == libc::S_IFIFO {
        b.child.push(Child::MakeDevice { dev, device });
        return;
    }
    let source = b.slot();
    let owner = |map: &Option<Vec<LinuxIdMapping>>, id| {
        let map = id_map(map.as_ref());
        if map.is_empty() { Some(id) } else { host_id(&map, id) }
    };
    // Who is not mapped in a joined namespace is nobody there; the node is for everybody's permissions then.
    let made = b.host.can_make_devices().then(|| MadeDevice {
        mode: device.mode,
        number: device.number,
        uid: owner(linux.uid_mappings(), device.uid).unwrap_or_default(),
        gid: owner(linux.gid_mappings(), device.gid).unwrap_or_default(),
    });
    b.source(Source {
        slot: source,
        path: Text::path(host_path),
        instead: None,
        made,
        nofollow: false,
        recursive: false,
        attributes: Attributes::default(),
        unnamed: 0,
        tree_attributes: Attributes::default(),
        propagation: vec![Propagation { spread: Spread::Private, recursive: false }],
        idmap: None,
        directory: false,
        identity: None,
        spec_path: spec_path.to_owned(),
    });
    b.child.push(Child::BindDevice { dev, source, device });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_paths_lead_where_they_say() {
        for (given, path, in_dev) in [
            ("/dev/null", "null", true),
            ("/dev/a/../null", "null", true),
            ("/dev/../x", "x", false),
            ("/../../dev/./net/tun", "net/tun", true),
        ] {
            assert_eq!(below_dev(&clean(Path::new(given))), (Text::new(path), in_dev), "{given}");
        }
    }
}
