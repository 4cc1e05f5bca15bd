//! A file that is open, opened anew: another open file with an offset, flags and locks of its own, and, from a mount
//! that is read-only, without a way to change the file's content, mode, owner, times and attributes.
#![forbid(unsafe_code)]

use crate::sys::clone::{self, Fork};
use crate::sys::mount::{self, MountAttr, attr};
use crate::sys::{fd, socket};
use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

/// What of the flags of an open file is asked for again.
const KEPT: i32 = libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK | libc::O_DIRECT;

/// The same file, by the kernel's own name for it.
///
/// # Errors
/// Where it cannot be opened by this process: its owner may have opened it for somebody else.
pub fn anew(file: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    let name = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
    let flags = flags & KEPT;
    // A FIFO would wait for its other side.
    let opened = fd::open(fd::CWD, &name, flags | libc::O_NONBLOCK | libc::O_NOCTTY)?;
    if flags & libc::O_NONBLOCK == 0 {
        fd::set_flags(opened.as_fd(), flags & !libc::O_ACCMODE)?;
    }
    Ok(opened)
}

/// The same file, from a mount of this process's own that is read-only. A device or FIFO can be written to all the
/// same.
///
/// Without privilege that takes a user namespace: a process of its own looks the file up by its name, and makes sure
/// that it is the same.
///
/// # Errors
/// Where it has no name any more, cannot be opened, or such a mount cannot be made.
pub fn from_read_only_mount(file: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    match mount::clone_mount(file, false) {
        Ok(tree) => reopen(&tree, flags),
        Err(_) => by_another(file, flags),
    }
}

fn reopen(tree: &OwnedFd, flags: i32) -> Result<OwnedFd, Errno> {
    mount::set_attr(tree.as_fd(), false, &MountAttr { set: attr::RDONLY | attr::NOSUID, ..MountAttr::default() })?;
    let opened = anew(tree.as_fd(), flags)?;
    let is_read_only = fstatvfs(&opened)?.flags().contains(FsFlags::ST_RDONLY);
    if is_read_only { Ok(opened) } else { Err(Errno::EROFS) }
}

fn by_another(file: BorrowedFd<'_>, flags: i32) -> Result<OwnedFd, Errno> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let name = CString::new(name.map_err(|_| Errno::ENOENT)?.into_os_string().into_vec()).map_err(|_| Errno::EINVAL)?;
    let wanted = identity(file)?;
    let (ours, theirs) = socket::pair()?;
    clone::assert_single_threaded()?;
    let namespaces = u64::from((libc::CLONE_NEWUSER | libc::CLONE_NEWNS).cast_unsigned());
    match clone::fork(namespaces, None)? {
        Fork::Child => {
            let found = mount::clone_mount_at(fd::CWD, &name, false).and_then(|tree| {
                if identity(tree.as_fd())? == wanted { reopen(&tree, flags) } else { Err(Errno::ESTALE) }
            });
            let sent = found.and_then(|opened| socket::send(theirs.as_fd(), b"1", Some(opened.as_fd())));
            clone::exit_group(i32::from(sent.is_err()))
        }
        Fork::Parent { pidfd, .. } => {
            drop(theirs);
            let received = socket::receive(ours.as_fd(), &mut [0]);
            clone::wait(pidfd.as_fd())?;
            received?.1.ok_or(Errno::ENOENT)
        }
    }
}

fn identity(file: BorrowedFd<'_>) -> Result<(libc::dev_t, libc::ino_t), Errno> {
    let st = fd::stat(file)?;
    Ok((st.st_dev, st.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _, Write as _};

    #[test]
    fn a_pipe_has_flags_of_its_own() {
        let (reader, writer) = nix::unistd::pipe().expect("a pipe");
        let own = anew(writer.as_fd(), fd::flags(writer.as_fd()).expect("flags")).expect("opened");
        fd::set_flags(own.as_fd(), libc::O_NONBLOCK).expect("set");
        assert_eq!(fd::flags(writer.as_fd()).expect("flags") & libc::O_NONBLOCK, 0);
        fd::write(own.as_fd(), b"through").expect("written");
        let mut text = [0; 7];
        assert_eq!(fd::read(reader.as_fd(), &mut text), Ok(7));
    }

    #[test]
    fn an_offset_is_its_own() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"0123456789").expect("written");
        file.rewind().expect("at its start");
        let own = anew(file.as_fd(), libc::O_RDONLY).expect("opened");
        let mut text = [0; 4];
        assert_eq!(fd::read(own.as_fd(), &mut text), Ok(4));
        let mut whole = String::new();
        file.read_to_string(&mut whole).expect("read");
        assert_eq!(whole, "0123456789");
    }
}
