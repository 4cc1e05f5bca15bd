//! The new mount API (Linux 5.2–5.12) and what identifies a mount (statmount, 6.8).

use super::{Result, check, owned, syscall};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `MOUNT_ATTR_*` for fsmount(2) and mount_setattr(2), from `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-id bits and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No device files.
    pub const NODEV: u64 = 0x4;
    /// No execution.
    pub const NOEXEC: u64 = 0x8;
    /// The access-time bits as one field: 0 is relatime.
    pub const ATIME: u64 = 0x70;
    /// Never update access times.
    pub const NOATIME: u64 = 0x10;
    /// Always update access times.
    pub const STRICTATIME: u64 = 0x20;
    /// No directory access times.
    pub const NODIRATIME: u64 = 0x80;
    /// Map ids through a user namespace (5.12).
    pub const IDMAP: u64 = 0x0010_0000;
    /// Do not follow symbolic links (5.14).
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_SET_FD: u32 = 5;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace for [`attr::IDMAP`].
    pub userns_fd: u64,
}

/// open_tree(2) of the object itself (`AT_EMPTY_PATH`): a detached copy of the mount `fd` is on.
pub fn clone_mount(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    open_tree(fd, c"", libc::AT_EMPTY_PATH, recursive)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`, below `dir` when relative.
pub fn clone_mount_at(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    open_tree(dir, path, 0, recursive)
}

/// The same of a link itself, should there be one at the end of the path.
pub fn clone_link_at(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    open_tree(dir, path, libc::AT_SYMLINK_NOFOLLOW, recursive)
}

fn open_tree(dir: BorrowedFd<'_>, path: &CStr, at_flags: i32, recursive: bool) -> Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | (at_flags | recursive).cast_unsigned();
    // SAFETY: `path` is NUL-terminated and lives across the call; the kernel only reads it.
    unsafe { syscall!(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) }.map(owned)
}

/// move_mount(2): attaches the detached mount `from` on the object `to` refers to.
pub fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    move_mount(from, to, c"", MOVE_MOUNT_T_EMPTY_PATH)
}

/// move_mount(2): attaches the detached mount `from` at a path of the host that the caller trusts.
pub fn attach_at(from: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    move_mount(from, super::fd::CWD, path, MOVE_MOUNT_T_SYMLINKS)
}

fn move_mount(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<()> {
    let (from, dir, empty) = (from.as_raw_fd(), dir.as_raw_fd(), c"".as_ptr());
    // SAFETY: both paths are NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_move_mount, from, empty, dir, path.as_ptr(), flags | MOVE_MOUNT_F_EMPTY_PATH) }
        .map(drop)
}

/// fsopen(2): a context in which a filesystem of this type is configured.
pub fn fsopen(fstype: &CStr) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    // SAFETY: `fstype` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) }.map(owned)
}

/// fsconfig(2) `FSCONFIG_SET_STRING`; the kernel takes values of at most 255 bytes.
pub fn fsconfig_string(fs: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0) }
        .map(drop)
}

/// fsconfig(2) `FSCONFIG_SET_FD`.
pub fn fsconfig_fd(fs: BorrowedFd<'_>, key: &CStr, value: BorrowedFd<'_>) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: `key` is NUL-terminated and only read; the value is the descriptor, which both outlive the call.
    unsafe { syscall!(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_SET_FD, key.as_ptr(), none, value.as_raw_fd()) }
        .map(drop)
}

/// fsconfig(2) `FSCONFIG_SET_FLAG`.
pub fn fsconfig_flag(fs: BorrowedFd<'_>, key: &CStr) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: `key` is NUL-terminated and only read; a flag has no value.
    unsafe { syscall!(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_SET_FLAG, key.as_ptr(), none, 0) }.map(drop)
}

/// fsconfig(2) `FSCONFIG_CMD_CREATE`: makes the superblock.
pub fn fsconfig_create(fs: BorrowedFd<'_>) -> Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the command takes neither key nor value.
    unsafe { syscall!(libc::SYS_fsconfig, fs.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) }.map(drop)
}

/// fsmount(2): a detached mount of the configured filesystem, with `attrs` from [`attr`].
pub fn fsmount(fs: BorrowedFd<'_>, attrs: u64) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, attrs) }.map(owned)
}

/// mount_setattr(2) on the mount `fd` refers to, and with `recursive` on all below it.
pub fn set_attr(fd: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<()> {
    mount_setattr(fd, c"", recursive, attr)
}

/// The same of the root of this process, without what is mounted on top of it.
pub fn set_root_attr(recursive: bool, attr: &MountAttr) -> Result<()> {
    mount_setattr(super::fd::CWD, c"/", recursive, attr)
}

fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: &MountAttr) -> Result<()> {
    let (dir, path) = (dir.as_raw_fd(), path.as_ptr());
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let attr_ptr: *const MountAttr = attr;
    // SAFETY: `attr` is a valid mount_attr of the size passed, the path is NUL-terminated; both are only read.
    unsafe { syscall!(libc::SYS_mount_setattr, dir, path, flags, attr_ptr, size_of::<MountAttr>()) }.map(drop)
}

/// mount(2), for what the new API cannot do: `target` is usually a `/proc/self/fd/N` made from a resolved descriptor.
pub fn mount(source: &CStr, target: &CStr, fstype: &CStr, flags: libc::c_ulong, data: &CStr) -> Result<()> {
    // SAFETY: all strings are NUL-terminated and only read.
    let ret = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), fstype.as_ptr(), flags, data.as_ptr().cast()) };
    check(ret.into()).map(drop)
}

/// pivot_root(".", "."): the current directory becomes the root, and the old root is stacked on top of it.
pub fn pivot_root_here() -> Result<()> {
    // SAFETY: both paths are static strings.
    unsafe { syscall!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }.map(drop)
}

/// umount2(2) with `MNT_DETACH` of the current directory's mount.
pub fn detach_here() -> Result<()> {
    // SAFETY: the path is a static string.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

/// umount2(2) with `MNT_DETACH` of what is mounted at `path`, of which the last component is no link.
pub fn detach(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated and only read.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }.into()).map(drop)
}

/// What one statx(2) tells of a mount by a descriptor of its root.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The never reused id of the mount (`STATX_MNT_ID_UNIQUE`, Linux 6.8); `None` on older kernels.
    pub id: Option<u64>,
    /// An id of the mount, for as long as there is a descriptor of it: the one above, or that of older kernels (Linux 5.8).
    pub mount: u64,
    /// Whether it is of a directory.
    pub is_directory: bool,
    /// Whether the descriptor is where the mount is, and not something in it (`STATX_ATTR_MOUNT_ROOT`, Linux 5.8).
    pub is_root: bool,
}

/// Looks at the mount `fd` is on.
pub fn look(fd: BorrowedFd<'_>) -> Result<Seen> {
    const STATX_MNT_ID: u32 = 0x1000;
    const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    // SAFETY: statx is plain data, for which all zeroes is a valid value.
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    let out: *mut libc::statx = &raw mut st;
    let (fd, wanted) = (fd.as_raw_fd(), libc::STATX_TYPE | STATX_MNT_ID | STATX_MNT_ID_UNIQUE);
    // SAFETY: `out` points to a statx the kernel may fill; the path is the static empty string.
    unsafe { syscall!(libc::SYS_statx, fd, c"".as_ptr(), libc::AT_EMPTY_PATH, wanted, out) }?;
    Ok(Seen {
        id: (st.stx_mask & STATX_MNT_ID_UNIQUE != 0).then_some(st.stx_mnt_id),
        mount: st.stx_mnt_id,
        is_root: st.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0,
        is_directory: libc::mode_t::from(st.stx_mode) & libc::S_IFMT == libc::S_IFDIR,
    })
}

/// Whether `fd` is where a mount is, and not something in it (statx `STATX_ATTR_MOUNT_ROOT`, Linux 5.8).
pub fn is_mount_root(fd: BorrowedFd<'_>) -> Result<bool> {
    const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
    // SAFETY: statx is plain data, for which all zeroes is a valid value.
    let mut st: libc::statx = unsafe { std::mem::zeroed() };
    let out: *mut libc::statx = &raw mut st;
    // SAFETY: `out` points to a statx the kernel may fill; the path is the static empty string.
    unsafe { syscall!(libc::SYS_statx, fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, 0, out) }?;
    Ok(st.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0)
}

/// `struct statmount` as far as `STATMOUNT_MNT_BASIC`; the rest is reserved space the kernel may fill.
#[repr(C)]
struct StatMount {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb: [u64; 3],
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    rest: [u64; 56],
}

/// The attributes ([`attr`]) the kernel enforces on a mount, by its unique id (statmount(2), Linux 6.8).
pub fn mount_attrs(id: u64) -> Result<u64> {
    const SYS_STATMOUNT: libc::c_long = 457;
    const STATMOUNT_MNT_BASIC: u64 = 0x2;
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        mnt_id: u64,
        param: u64,
    }
    let request = Request { size: 24, spare: 0, mnt_id: id, param: STATMOUNT_MNT_BASIC };
    let request_ptr: *const Request = &raw const request;
    // SAFETY: StatMount is plain data, for which all zeroes is a valid value.
    let mut st: StatMount = unsafe { std::mem::zeroed() };
    let out: *mut StatMount = &raw mut st;
    // SAFETY: the request is valid for the size it names, and `out` for the size passed.
    unsafe { syscall!(SYS_STATMOUNT, request_ptr, out, size_of::<StatMount>(), 0) }?;
    Ok(st.mnt_attr)
}
