//! Descriptors: opening beneath a root, sweeping, copying.

use super::{Result, check, owned, syscall};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// `AT_FDCWD` as a borrowed descriptor: relative to the current directory.
pub const CWD: BorrowedFd<'static> = nix::fcntl::AT_FDCWD;

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// How [`open_in`] may leave the straight path, from `linux/openat2.h`.
pub mod resolve {
    /// No crossing of mount points.
    pub const NO_XDEV: u64 = 0x01;
    /// No magic links such as `/proc/self/fd/N`.
    pub const NO_MAGICLINKS: u64 = 0x02;
    /// No symbolic links at all.
    pub const NO_SYMLINKS: u64 = 0x04;
    /// Nothing above the directory: `..` out of it is an error.
    pub const BENEATH: u64 = 0x08;
    /// The directory is the root: absolute links and `..` stay in it.
    pub const IN_ROOT: u64 = 0x10;
}

/// openat2(2) (Linux 5.6), close-on-exec always. A lookup that raced with a rename (`EAGAIN`) is tried again, with a bound.
pub fn open_in(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    const TRIES: u32 = 128;
    let how = OpenHow { flags: u64::from((flags | libc::O_CLOEXEC).cast_unsigned()), mode: u64::from(mode), resolve };
    let how_ptr: *const OpenHow = &raw const how;
    let mut tries = 0;
    loop {
        // SAFETY: `path` is NUL-terminated, `how` is valid for the size passed; both are only read.
        let ret = unsafe { syscall!(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), how_ptr, size_of::<OpenHow>()) };
        tries += 1;
        match ret {
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) if tries < TRIES => {}
            other => return other.map(owned),
        }
    }
}

/// openat(2), close-on-exec, for paths of the host that the caller trusts.
pub fn open(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_openat, dir.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC, 0) }.map(owned)
}

/// mkdirat(2).
pub fn mkdir(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_mkdirat, dir.as_raw_fd(), name.as_ptr(), mode) }.map(drop)
}

/// mknodat(2).
pub fn mknod(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_mknodat, dir.as_raw_fd(), name.as_ptr(), mode, device) }.map(drop)
}

/// symlinkat(2).
pub fn symlink(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_symlinkat, target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }.map(drop)
}

/// unlinkat(2) of a file.
pub fn unlink(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_unlinkat, dir.as_raw_fd(), name.as_ptr(), 0) }.map(drop)
}

/// fchownat(2) that does not follow links; the empty name is `dir` itself.
pub fn chown(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_fchownat, dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) }.map(drop)
}

/// fchmodat(2) of a name that the caller has just made in a directory nobody else can reach.
pub fn chmod(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_fchmodat, dir.as_raw_fd(), name.as_ptr(), mode) }.map(drop)
}

/// fstat(2).
pub fn stat(fd: BorrowedFd<'_>) -> Result<libc::stat> {
    // SAFETY: stat is plain data, for which all zeroes is a valid value.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills `st`, which is valid for writing.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut st) }.into())?;
    Ok(st)
}

/// fstatat(2).
pub fn stat_at(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<libc::stat> {
    // SAFETY: as in `stat`.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is NUL-terminated; the kernel fills `st`.
    check(unsafe { libc::fstatat(dir.as_raw_fd(), path.as_ptr(), &raw mut st, flags) }.into())?;
    Ok(st)
}

/// The filesystem type (`*_SUPER_MAGIC`) a descriptor is on, by fstatfs(2).
pub fn super_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    // SAFETY: statfs is plain data, for which all zeroes is a valid value.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills `st`, which is valid for writing.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut st) }.into())?;
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "unsigned in musl, signed in glibc")]
    Ok(st.f_type as i64)
}

/// The whole of a file of the kernel's, which does not know its size before it is read.
pub fn read_file(path: &CStr) -> Result<Vec<u8>> {
    let file = open(CWD, path, libc::O_RDONLY)?;
    let (mut text, mut len) = (vec![0; 2048], 0);
    loop {
        match read(file.as_fd(), &mut text[len..])? {
            0 => break,
            more => len += more,
        }
        if len == text.len() {
            text.resize(2 * len, 0);
        }
    }
    text.truncate(len);
    Ok(text)
}

/// read(2), tried again when interrupted.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: `buf` is valid for writing its length.
        match check(unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) } as libc::c_long) {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// write(2) of the whole buffer: a short write is an error, as the kernel's control files take a value in one call.
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<()> {
    loop {
        // SAFETY: `buf` is valid for reading its length.
        match check(unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) } as libc::c_long) {
            Err(nix::errno::Errno::EINTR) => {}
            Ok(n) if n == buf.len() => return Ok(()),
            Ok(_) => return Err(nix::errno::Errno::EIO),
            Err(errno) => return Err(errno),
        }
    }
}

/// pwrite(2) of the whole buffer.
pub fn write_at(fd: BorrowedFd<'_>, buf: &[u8], offset: i64) -> Result<()> {
    // SAFETY: `buf` is valid for reading its length.
    let n = check(unsafe { libc::pwrite(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), offset) } as libc::c_long)?;
    if n == buf.len() { Ok(()) } else { Err(nix::errno::Errno::EIO) }
}

/// copy_file_range-free copy of everything from `from` to `to`, through a buffer on the stack.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let mut buf = [0u8; 16384];
    loop {
        match read(from, &mut buf)? {
            0 => return Ok(()),
            n => write(to, &buf[..n])?,
        }
    }
}

/// `O_RDONLY`, `O_WRONLY` or `O_RDWR`: what a descriptor was opened for (fcntl(2), `F_GETFL`); `O_PATH` where for none of them.
pub fn access_mode(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: no pointers; reads flags only.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.into())?;
    let flags = i32::try_from(flags).map_err(|_| nix::errno::Errno::EINVAL)?;
    Ok(flags & (libc::O_ACCMODE | libc::O_PATH))
}

/// lseek(2) to the start.
pub fn rewind(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_SET) }).map(drop)
}

/// dup3(2) or, when both are the same, clearing close-on-exec: `fd` becomes number `to` in the executed program.
pub fn place(fd: BorrowedFd<'_>, to: RawFd) -> Result<()> {
    if fd.as_raw_fd() == to {
        // SAFETY: no pointers; the flag concerns this descriptor only.
        return check(unsafe { libc::fcntl(to, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: no pointers; the caller decides that number `to` may be replaced.
    check(unsafe { libc::dup2(fd.as_raw_fd(), to) }.into()).map(drop)
}

/// Clears close-on-exec of an inherited number; an error when there is no such descriptor.
pub fn keep_across_exec(number: RawFd) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Whether a descriptor of that number is open.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: no pointers; reads a flag only.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// close_range(2) (Linux 5.9, the flag 5.11): marks descriptors `first` and above close-on-exec.
pub fn close_on_exec_from(first: RawFd) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: no pointers; no descriptor is closed.
    unsafe { syscall!(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) }.map(drop)
}

/// close_range(2): closes descriptors `first..=last`. Owners of those descriptors must not use or close them afterwards:
/// the child calls this once, near its end, and leaves by exec or exit only.
pub fn close_range(first: RawFd, last: libc::c_uint) -> Result<()> {
    // SAFETY: no pointers. The numbers closed belong to descriptors that the child never touches again (see above).
    unsafe { syscall!(libc::SYS_close_range, first, last, 0) }.map(drop)
}

/// Closes one descriptor by number: in the child, of which the parent's copy of the owner is never dropped.
pub fn close(number: RawFd) -> Result<()> {
    close_range(number, number.cast_unsigned())
}

/// getdents64(2): fills `buf` with directory entries, for [`entries`].
pub fn read_dir(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: `buf` is valid for writing its length.
    unsafe { syscall!(libc::SYS_getdents64, fd.as_raw_fd(), buf.as_mut_ptr(), buf.len()) }
}

/// The names in a buffer that [`read_dir`] filled, with their `DT_*` type; `.` and `..` are left out.
pub fn entries(buf: &[u8]) -> impl Iterator<Item = (&CStr, u8)> {
    numbered_entries(buf).map(|(name, kind, _)| (name, kind))
}

/// The same with the number of each inode, as the directory has it: on some stacked file systems it is not stat(2)'s.
pub fn numbered_entries(buf: &[u8]) -> impl Iterator<Item = (&CStr, u8, u64)> {
    // struct linux_dirent64: ino u64, off i64, reclen u16, type u8, name (NUL-terminated).
    let mut rest = buf;
    std::iter::from_fn(move || {
        let reclen = usize::from(u16::from_ne_bytes([*rest.get(16)?, *rest.get(17)?]));
        let entry = rest.get(..reclen)?;
        rest = rest.get(reclen..)?;
        let number = u64::from_ne_bytes(entry.get(..8)?.try_into().ok()?);
        Some((CStr::from_bytes_until_nul(entry.get(19..)?).ok()?, *entry.get(18)?, number))
    })
    .filter(|(name, ..)| !matches!(name.to_bytes(), b"." | b".."))
}

/// readlinkat(2) into `buf`: the length of the target, which is cut off when it equals the buffer's.
pub fn readlink(dir: BorrowedFd<'_>, name: &CStr, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: `name` is NUL-terminated and `buf` valid for writing its length.
    unsafe { syscall!(libc::SYS_readlinkat, dir.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr(), buf.len()) }
}

/// memfd_create(2), close-on-exec, and such that it can be sealed.
pub fn memfd(name: &CStr) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_memfd_create, name.as_ptr(), flags) }.map(owned)
}

/// fchdir(2).
pub fn chdir(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fchdir(fd.as_raw_fd()) }.into()).map(drop)
}

/// chdir(2).
pub fn chdir_path(path: &CStr) -> Result<()> {
    // SAFETY: `path` is NUL-terminated and only read.
    check(unsafe { libc::chdir(path.as_ptr()) }.into()).map(drop)
}

/// chroot(2).
pub fn chroot_here() -> Result<()> {
    // SAFETY: the path is a static string.
    check(unsafe { libc::chroot(c".".as_ptr()) }.into()).map(drop)
}

/// Whether the current directory is inside the root: the kernel writes `(unreachable)` before a path that is not.
pub fn cwd_is_reachable() -> Result<bool> {
    let mut buf = [0u8; libc::PATH_MAX as usize];
    // SAFETY: `buf` is valid for writing its length.
    let n = unsafe { syscall!(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) }?;
    Ok(n > 0 && buf[0] == b'/')
}

/// faccessat2(2) (Linux 5.8) for execution with the effective ids.
pub fn executable(path: &CStr) -> Result<()> {
    // SAFETY: `path` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) }.map(drop)
}

/// Seals a memfd for good: neither its size nor its bytes change any more (fcntl(2), `F_ADD_SEALS`).
pub fn seal(memfd: BorrowedFd<'_>) -> Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(memfd.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into()).map(drop)
}

/// Descriptor 0, 1 or 2, if it is open.
pub fn stdio(number: RawFd) -> Option<BorrowedFd<'static>> {
    if !(0..=2).contains(&number) || !is_open(number) {
        return None;
    }
    // SAFETY: the descriptor is open, and nothing in this program closes 0 to 2 (it only replaces them in place).
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// fcntl(2) `F_GETFL`: access mode and status flags.
pub fn flags(fd: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: no pointers; reads flags only.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.into())?;
    i32::try_from(flags).map_err(|_| nix::errno::Errno::EINVAL)
}

/// fcntl(2) `F_SETFL`: the status flags of everybody who shares the open file.
pub fn set_flags(fd: BorrowedFd<'_>, flags: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }.into()).map(drop)
}

/// ioctl(2) `FIONREAD`: how many bytes wait to be read.
pub fn pending(fd: BorrowedFd<'_>) -> Result<usize> {
    let mut waiting: libc::c_int = 0;
    let out: *mut libc::c_int = &raw mut waiting;
    // SAFETY: FIONREAD writes one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD as _, out) }.into())?;
    Ok(usize::try_from(waiting).unwrap_or(0))
}

/// getsockopt(2) `SO_DOMAIN`: the family of a socket.
pub fn socket_domain(fd: BorrowedFd<'_>) -> Result<i32> {
    let (mut domain, mut len): (libc::c_int, libc::socklen_t) = (0, 4);
    let (out, out_len): (*mut libc::c_int, *mut libc::socklen_t) = (&raw mut domain, &raw mut len);
    // SAFETY: the kernel writes one int of four bytes.
    let got = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN, out.cast(), out_len) };
    check(got.into()).map(|_| domain)
}

/// A descriptor that was inherited, if there is one of that number.
pub fn inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    if number < 0 || !is_open(number) {
        return None;
    }
    // SAFETY: the descriptor is open, and what was inherited is nobody's in this program: nothing closes it.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}
