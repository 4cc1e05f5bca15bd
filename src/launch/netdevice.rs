//! linux.netDevices: devices of the runtime's network namespace become the container's, with their addresses.
//!
//! After that they are the namespace's business (config-linux.md, Namespace Lifecycle), unless the container is never made: then
//! they go back to where they were.
#![forbid(unsafe_code)]

use super::netlink::{Address, Link, Netlink};
use crate::plan::op::NetDevice;
use crate::sys::{clone, fd};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Why a device cannot be moved.
#[derive(Debug, thiserror::Error)]
#[error("linux.netDevices[{name:?}]: {what}: {}", errno.desc().to_lowercase())]
pub struct Error {
    /// On the host.
    pub name: String,
    /// What was tried.
    pub what: &'static str,
    /// What the kernel said.
    pub errno: Errno,
}

impl crate::report::Hint for Error {
    fn hint(&self) -> Option<String> {
        match self.errno {
            Errno::ENODEV => {
                Some("devices are moved from the network namespace the runtime is called in: see `ip link`".into())
            }
            Errno::EEXIST => {
                Some("give it another name in the container; a name that ends in %d gets a free number".into())
            }
            Errno::EPERM => Some("moving a device needs CAP_NET_ADMIN".into()),
            Errno::EINVAL => {
                Some("some devices, such as lo and bridges in use, belong to one namespace for ever".into())
            }
            _ => None,
        }
    }
}

/// Devices in the container's namespace, and how they were before.
pub(super) struct Moved {
    here: OwnedFd,
    there: OwnedFd,
    devices: Vec<Device>,
}

struct Device {
    before: Link,
    addresses: Vec<Address>,
    /// Its index in the container's namespace.
    index: i32,
}

/// Moves every device into the network namespace of process `pid`; when one cannot be moved, none is.
pub(super) fn move_all(pid: i32, devices: &[NetDevice]) -> Result<Moved, Error> {
    let first = devices.first().map(|device| device.name.to_string()).unwrap_or_default();
    let failed = |what| move |errno| Error { name: first.clone(), what, errno };
    let namespace = |path: String| fd::open(fd::CWD, &crate::plan::text::Text::new(path), libc::O_RDONLY);
    let here = namespace("/proc/self/ns/net".into()).map_err(failed.clone()("cannot open the network namespace"))?;
    let there = namespace(format!("/proc/{pid}/ns/net")).map_err(failed("cannot open the network namespace"))?;
    let mut moved = Moved { here, there, devices: Vec::new() };
    for device in devices {
        match moved.take(&device.name.to_string(), &device.to.to_string()) {
            Ok(device) => moved.devices.push(device),
            Err((what, errno)) => {
                moved.give_back();
                return Err(Error { name: device.name.to_string(), what, errno });
            }
        }
    }
    Ok(moved)
}

type Failed = (&'static str, Errno);

impl Moved {
    fn take(&self, name: &str, to: &str) -> Result<Device, Failed> {
        let because = |what: &'static str| move |errno| (what, errno);
        let ours = Netlink::open().map_err(because("cannot make a netlink socket"))?;
        let theirs = self.inside().map_err(because("cannot enter the network namespace"))?;
        let found = ours.link(name).and_then(|link| link.ok_or(Errno::ENODEV));
        let before = found.map_err(because("cannot find the network device"))?;
        let addresses = ours.lasting_addresses(before.index).map_err(because("cannot read the addresses"))?;
        let known = theirs.links().map_err(because("cannot list the devices of the container"))?;
        // The kernel would move it first and then find that it cannot be renamed.
        if known.iter().any(|link| link.name == to) {
            return Err(("its name is taken in the container", Errno::EEXIST));
        }
        // A device is renamed only while it is down.
        ours.set_up(before.index, false).map_err(because("cannot set the network device down"))?;
        if let Err(errno) = ours.move_link(before.index, to, &self.there) {
            if before.up {
                // The first error is the one to show.
                let _first_error_wins = ours.set_up(before.index, true);
            }
            return Err(("cannot move the network device", errno));
        }
        let new = |link: &&Link| !known.iter().any(|old| old.index == link.index) && is_named(&link.name, to);
        let now = theirs.links().map(|links| links.iter().find(new).map(|link| link.index));
        let index =
            now.and_then(|index| index.ok_or(Errno::ENODEV)).map_err(because("cannot find the moved device"))?;
        let device = Device { before, addresses, index };
        match configure(&theirs, index, &device.addresses, true) {
            Ok(()) => Ok(device),
            Err(failed) => {
                let _first_error_wins = self.return_one(&device);
                Err(failed)
            }
        }
    }

    /// A socket in the container's namespace. This process is single-threaded, and in its own namespace again afterwards.
    fn inside(&self) -> Result<Netlink, Errno> {
        clone::setns(self.there.as_fd(), libc::CLONE_NEWNET)?;
        let socket = Netlink::open();
        clone::setns(self.here.as_fd(), libc::CLONE_NEWNET)?;
        socket
    }

    /// Puts everything back as it was, as far as that is possible: there is an error already, and no other to report.
    pub(super) fn give_back(&self) {
        for device in self.devices.iter().rev() {
            let _best_effort = self.return_one(device);
        }
    }

    fn return_one(&self, device: &Device) -> Result<(), Failed> {
        let because = |what: &'static str| move |errno| (what, errno);
        let theirs = self.inside().map_err(because("cannot enter the network namespace"))?;
        theirs.set_up(device.index, false).map_err(because("cannot set the network device down"))?;
        theirs
            .move_link(device.index, &device.before.name, &self.here)
            .map_err(because("cannot move the device back"))?;
        let ours = Netlink::open().map_err(because("cannot make a netlink socket"))?;
        let back = ours.link(&device.before.name).and_then(|link| link.ok_or(Errno::ENODEV));
        let index = back.map_err(because("cannot find the device that was moved back"))?.index;
        configure(&ours, index, &device.addresses, device.before.up)
    }
}

fn configure(netlink: &Netlink, index: i32, addresses: &[Address], up: bool) -> Result<(), Failed> {
    for address in addresses {
        netlink.add_address(index, address).map_err(|errno| ("cannot keep an address", errno))?;
    }
    if up {
        netlink.set_up(index, true).map_err(|errno| ("cannot set the network device up", errno))?;
    }
    Ok(())
}

/// Whether a device can have got this name: a template's number is the kernel's choice.
fn is_named(name: &str, to: &str) -> bool {
    match to.split_once("%d") {
        None => name == to,
        Some((start, _)) => {
            name.strip_prefix(start).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_templates() {
        assert!(is_named("eth0", "eth0") && !is_named("eth1", "eth0"));
        assert!(is_named("eth12", "eth%d"));
        for other in ["eth", "ethx", "veth0"] {
            assert!(!is_named(other, "eth%d"), "{other}");
        }
    }
}
