//! Labels of security modules: written to a file of the kernel's own, by the process they are for, and read back.
#![forbid(unsafe_code)]

use super::{Child, Done};
use crate::launch::wire::Failure;
use crate::plan::op::{Module, Slot};
use crate::sys::fd::{self, CWD, resolve};
use crate::sys::mount;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// There is no procfs to write the label through.
pub(in crate::launch) const NO_PROC: u32 = 1;
/// The security module has no file for it.
pub(in crate::launch) const NO_FILE: u32 = 2;
/// The kernel refused the label.
const REFUSED: u32 = 3;
/// Another label was read back.
pub(in crate::launch) const OTHER: u32 = 4;

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// A label is at most a page long; AppArmor's comes with a word before it, or its mode behind.
const LONGEST: usize = 4096 + 64;

impl Child<'_> {
    /// The file is this process's own: `self` in a procfs is a link whose text the kernel makes up for whoever reads it.
    ///
    /// A link or a mount on the way to the file would be a way to have the label written elsewhere (CVE-2019-16884,
    /// CVE-2025-52881): there is none in a procfs of our own, and none is followed in the container's.
    pub(super) fn open_label(&mut self, slot: Slot, module: Module) -> Done {
        let proc = own_procfs().or_else(|_| visible_procfs()).map_err(Failure::in_part(NO_PROC))?;
        let names: &[&CStr] = match module {
            // Before Linux 5.8, and for SELinux: the file that the modules share.
            Module::Apparmor => &[c"attr/apparmor/exec", c"attr/exec"],
            Module::Selinux => &[c"attr/exec"],
        };
        let inside = resolve::BENEATH | resolve::NO_SYMLINKS | resolve::NO_XDEV;
        let mut name = [0u8; 24];
        let len = fd::readlink(proc.as_fd(), c"self", &mut name[..23]).map_err(Failure::in_part(NO_PROC))?;
        name[len] = 0;
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
        let process = fd::open_in(proc.as_fd(), name, libc::O_PATH | libc::O_DIRECTORY, 0, inside);
        let process = process.map_err(Failure::in_part(NO_PROC))?;
        let mut found = Err(Errno::ENOENT);
        for name in names {
            found = fd::open_in(process.as_fd(), name, libc::O_RDWR, 0, inside);
            if !matches!(found, Err(Errno::ENOENT)) {
                break;
            }
        }
        let file = found.map_err(Failure::in_part(NO_FILE))?;
        if fd::super_magic(file.as_fd())? != PROC_SUPER_MAGIC {
            return Err(Failure { errno: Errno::EXDEV as i32, part: NO_PROC, value: 0 });
        }
        self.fill(slot, file);
        Ok(())
    }

    pub(super) fn set_exec_label(&mut self, slot: Slot, module: Module, label: &CStr) -> Done {
        let file = self.slot(slot)?;
        let mut text = [0u8; LONGEST];
        let word: &[u8] = match module {
            Module::Apparmor => b"exec ",
            Module::Selinux => b"",
        };
        let label = label.to_bytes();
        let len = word.len() + label.len();
        let value = text.get_mut(..len).ok_or(Errno::ENAMETOOLONG).map_err(Failure::in_part(REFUSED))?;
        value[..word.len()].copy_from_slice(word);
        value[word.len()..].copy_from_slice(label);
        fd::write(file, value).map_err(Failure::in_part(REFUSED))?;

        fd::rewind(file)?;
        let mut text = [0u8; LONGEST];
        let len = fd::read(file, &mut text)?;
        if is_label(module, text.get(..len).unwrap_or_default(), label) {
            Ok(())
        } else {
            Err(Failure::mismatch(OTHER, 0))
        }
    }
}

/// Whether what was read is the label that was written. AppArmor says the profile's mode behind it, and normalises stacks and
/// names in namespaces: of these only that there is one can be asked.
fn is_label(module: Module, read: &[u8], label: &[u8]) -> bool {
    let read = read.trim_ascii_end();
    let read = read.strip_suffix(b"\0").unwrap_or(read);
    if module == Module::Selinux {
        return read == label;
    }
    let name = read.iter().rposition(|&byte| byte == b'(').map_or(read, |at| read[..at].trim_ascii_end());
    let composed = label.starts_with(b":") || label.starts_with(b"&") || label.windows(3).any(|part| part == b"//&");
    name == label || (composed && !name.is_empty())
}

/// A procfs that is attached nowhere, of the pid namespace that this process is in.
fn own_procfs() -> crate::sys::Result<OwnedFd> {
    let context = mount::fsopen(c"proc")?;
    mount::fsconfig_create(context.as_fd())?;
    let flags = mount::attr::NOSUID | mount::attr::NODEV | mount::attr::NOEXEC;
    mount::fsmount(context.as_fd(), flags)
}

/// What the host has on /proc, for processes that may not make a procfs.
/// The kernel lets a process write its own label only, so that a procfs of somebody else's would be refused, not misused.
fn visible_procfs() -> crate::sys::Result<OwnedFd> {
    let root = fd::open(CWD, c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let proc = fd::open_in(root.as_fd(), c"proc", flags, 0, resolve::BENEATH | resolve::NO_SYMLINKS)?;
    if fd::super_magic(proc.as_fd())? == PROC_SUPER_MAGIC { Ok(proc) } else { Err(Errno::ENOENT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let apparmor = |read: &[u8], label: &[u8]| is_label(Module::Apparmor, read, label);
        assert!(apparmor(b"docker-default (enforce)\n", b"docker-default"));
        assert!(apparmor(b"unconfined\n", b"unconfined"));
        assert!(apparmor(b"/usr/bin/a (b) (complain)\n", b"/usr/bin/a (b)"));
        assert!(apparmor(b"a//&b (enforce)\n", b"b//&a"));
        for read in [&b""[..], b"\n", b"unconfined\n", b"docker (enforce)\n", b"docker-default-2 (enforce)\n"] {
            assert!(!apparmor(read, b"docker-default"), "{read:?}");
        }
        assert!(!apparmor(b"\n", b"a//&b"));
        let selinux = |read: &[u8], label: &[u8]| is_label(Module::Selinux, read, label);
        let label = b"system_u:system_r:container_t:s0:c1,c2";
        assert!(selinux(b"system_u:system_r:container_t:s0:c1,c2\0", label));
        assert!(!selinux(b"system_u:system_r:container_t:s0\0", label));
        assert!(!selinux(b"", label));
    }
}
