//! landlock(7): rules that a process puts on itself and its children, for good (Linux 5.13).

use super::{Result, check, owned, syscall};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `LANDLOCK_ACCESS_FS_*` of `linux/landlock.h`, with the ABI that brought them.
pub mod access {
    /// Execute a file.
    pub const EXECUTE: u64 = 1 << 0;
    /// Open a file for writing.
    pub const WRITE_FILE: u64 = 1 << 1;
    /// Open a file for reading.
    pub const READ_FILE: u64 = 1 << 2;
    /// Open a directory, and list it.
    pub const READ_DIR: u64 = 1 << 3;
    /// Remove an empty directory, or rename one.
    pub const REMOVE_DIR: u64 = 1 << 4;
    /// Unlink a file, or rename one.
    pub const REMOVE_FILE: u64 = 1 << 5;
    /// Make a character device.
    pub const MAKE_CHAR: u64 = 1 << 6;
    /// Make a directory.
    pub const MAKE_DIR: u64 = 1 << 7;
    /// Make a regular file.
    pub const MAKE_REG: u64 = 1 << 8;
    /// Make a UNIX socket.
    pub const MAKE_SOCK: u64 = 1 << 9;
    /// Make a named pipe.
    pub const MAKE_FIFO: u64 = 1 << 10;
    /// Make a block device.
    pub const MAKE_BLOCK: u64 = 1 << 11;
    /// Make a symbolic link.
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Link or rename from one directory to another (ABI 2; with ABI 1 that is always denied).
    pub const REFER: u64 = 1 << 13;
    /// Truncate a file (ABI 3).
    pub const TRUNCATE: u64 = 1 << 14;
    /// Commands of ioctl(2) on devices, but for some that are always allowed (ABI 5).
    pub const IOCTL_DEV: u64 = 1 << 15;
    /// Connect, or send, to a named UNIX socket of a process outside of the domain (ABI 9).
    pub const RESOLVE_UNIX: u64 = 1 << 16;
    /// What can be said of something that is no directory; more is `EINVAL`.
    pub const FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX;
}

/// `LANDLOCK_ACCESS_NET_*` (ABI 4).
pub mod net {
    /// Bind a TCP socket.
    pub const BIND_TCP: u64 = 1 << 0;
    /// Connect a TCP socket.
    pub const CONNECT_TCP: u64 = 1 << 1;
}

/// `LANDLOCK_SCOPE_*` (ABI 6).
pub mod scope {
    /// Connect to abstract UNIX sockets of the same domain only.
    pub const ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
    /// Signal processes of the same domain only.
    pub const SIGNAL: u64 = 1 << 1;
}

/// Flags of landlock_restrict_self(2) (ABI 7).
pub mod flag {
    /// Does not log what is denied before the next exec.
    pub const LOG_SAME_EXEC_OFF: u32 = 1 << 0;
}

/// `struct landlock_ruleset_attr`. Older kernels know the beginning of it only and take the rest when it is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handled {
    /// What is denied on files unless a rule allows it.
    pub fs: u64,
    /// What is denied on TCP ports unless a rule allows it.
    pub net: u64,
    /// What does not reach out of the domain.
    pub scoped: u64,
}

const RULE_PATH_BENEATH: u32 = 1;
const RULE_NET_PORT: u32 = 2;

/// The kernel's ABI, 1 or more; `ENOSYS` when it has no Landlock, `EOPNOTSUPP` when that was not enabled at boot.
pub fn abi() -> Result<u32> {
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<Handled>();
    // SAFETY: with this flag the kernel wants no attributes: a null pointer and size 0.
    let abi = unsafe { syscall!(libc::SYS_landlock_create_ruleset, none, 0usize, CREATE_RULESET_VERSION) }?;
    Ok(u32::try_from(abi).unwrap_or(u32::MAX))
}

/// landlock_create_ruleset(2): an empty ruleset, close-on-exec.
pub fn create_ruleset(handled: &Handled) -> Result<OwnedFd> {
    let attr: *const Handled = handled;
    // SAFETY: `attr` is valid for the size passed and only read.
    unsafe { syscall!(libc::SYS_landlock_create_ruleset, attr, size_of::<Handled>(), 0) }.map(owned)
}

/// landlock_add_rule(2): allows `access` to `at`, and to everything below when it is a directory.
pub fn allow_beneath(ruleset: BorrowedFd<'_>, at: BorrowedFd<'_>, access: u64) -> Result<()> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: RawFd,
    }
    let rule = PathBeneath { allowed_access: access, parent_fd: at.as_raw_fd() };
    let rule: *const PathBeneath = &raw const rule;
    // SAFETY: `rule` lives across the call, which reads it as the structure that belongs to the type of rule.
    unsafe { syscall!(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, rule, 0) }.map(drop)
}

/// landlock_add_rule(2): allows `access` to a TCP port (ABI 4); binding port 0 is choosing any that is free.
pub fn allow_port(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> Result<()> {
    #[repr(C)]
    struct NetPort {
        allowed_access: u64,
        port: u64,
    }
    let rule = NetPort { allowed_access: access, port: u64::from(port) };
    let rule: *const NetPort = &raw const rule;
    // SAFETY: as in `allow_beneath`.
    unsafe { syscall!(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_NET_PORT, rule, 0) }.map(drop)
}

/// landlock_restrict_self(2): from here on, for this thread and its children. Needs no_new_privs, or CAP_SYS_ADMIN.
pub fn restrict_self(ruleset: BorrowedFd<'_>, flags: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), flags) }.map(drop)
}

/// An abstract UNIX socket with a name of the kernel's choice: something outside of the domain that comes next.
pub struct Outside {
    socket: OwnedFd,
    name: libc::sockaddr_un,
    len: libc::socklen_t,
}

impl Outside {
    /// socket(2) and bind(2).
    pub fn new() -> Result<Self> {
        let socket = datagram_socket()?;
        // SAFETY: sockaddr_un is plain data, for which all zeroes is a valid value.
        let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        name.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(1);
        let family_only = libc::socklen_t::try_from(size_of::<libc::sa_family_t>()).unwrap_or(2);
        let at: *const libc::sockaddr = (&raw const name).cast();
        // SAFETY: `at` is valid for the length passed: a family without a name, for which the kernel chooses one (unix(7)).
        check(unsafe { libc::bind(socket.as_raw_fd(), at, family_only) }.into())?;
        let mut len = libc::socklen_t::try_from(size_of::<libc::sockaddr_un>()).unwrap_or(110);
        let out: *mut libc::sockaddr = (&raw mut name).cast();
        // SAFETY: `out` is valid for writing `len` bytes, and `len` for writing.
        check(unsafe { libc::getsockname(socket.as_raw_fd(), out, &raw mut len) }.into())?;
        Ok(Self { socket, name, len })
    }

    /// Whether a new socket of this thread reaches it: not from a domain with [`scope::ABSTRACT_UNIX_SOCKET`].
    pub fn is_reachable(&self) -> Result<bool> {
        let _alive = self.socket.as_raw_fd();
        let socket = datagram_socket()?;
        let at: *const libc::sockaddr = (&raw const self.name).cast();
        // SAFETY: `at` is valid for the length that the kernel gave for it.
        match check(unsafe { libc::connect(socket.as_raw_fd(), at, self.len) }.into()) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EPERM) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

fn datagram_socket() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let raw = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(raw.into()).map(owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use std::os::fd::AsFd;

    #[test]
    fn the_kernel_has_an_abi_or_says_why_not() {
        assert!(matches!(abi(), Ok(1..) | Err(Errno::ENOSYS | Errno::EOPNOTSUPP)));
    }

    #[test]
    fn a_rule_reaches_below_its_directory_only_and_for_its_thread_only() {
        if !abi().is_ok_and(|abi| abi >= 6) {
            return eprintln!("skip: this kernel has no Landlock ABI 6");
        }
        let (open, closed) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (open_path, closed_path) = (open.path().to_owned(), closed.path().to_owned());
        let write = access::WRITE_FILE | access::MAKE_REG;
        std::thread::spawn(move || {
            let handled = Handled { fs: write, net: 0, scoped: scope::ABSTRACT_UNIX_SOCKET };
            let ruleset = create_ruleset(&handled).expect("a ruleset");
            let at = std::fs::File::open(&open_path).expect("the directory");
            allow_beneath(ruleset.as_fd(), at.as_fd(), write).expect("a rule");
            assert_eq!(allow_port(ruleset.as_fd(), 1, net::BIND_TCP), Err(Errno::EINVAL), "what is not handled");
            let outside = Outside::new().expect("a socket");
            assert_eq!(outside.is_reachable(), Ok(true));
            crate::sys::cred::set_no_new_privs().expect("no_new_privs");
            restrict_self(ruleset.as_fd(), 0).expect("restricted");
            assert_eq!(outside.is_reachable(), Ok(false));
            assert!(std::fs::write(open_path.join("file"), "x").is_ok());
            let refused = std::fs::write(closed_path.join("file"), "x").expect_err("not allowed");
            assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
        })
        .join()
        .expect("the thread's own assertions");
        std::fs::write(closed.path().join("file"), "x").expect("another thread is not restricted");
    }
}
