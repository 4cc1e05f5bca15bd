//! Who a process is and what it may do: ids, capabilities, no_new_privs, rlimits, scheduling, keyrings.

use super::{Result, check, syscall};
use std::ffi::CStr;

/// The thread's three capability sets that capget(2) knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSets {
    /// Effective set, as a bit mask by capability number.
    pub effective: u64,
    /// Permitted set.
    pub permitted: u64,
    /// Inheritable set.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAP_VERSION_3: u32 = 0x2008_0522;

fn halves(set: u64) -> [u32; 2] {
    let bytes = set.to_le_bytes();
    [
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    ]
}

/// capset(2) for this thread.
pub fn set_caps(sets: CapSets) -> Result<()> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let (e, p, i) = (halves(sets.effective), halves(sets.permitted), halves(sets.inheritable));
    let data = [0, 1].map(|n| CapData { effective: e[n], permitted: p[n], inheritable: i[n] });
    let header_ptr: *mut CapHeader = &raw mut header;
    // SAFETY: a version 3 header goes with exactly two data blocks, as here; both live across the call.
    unsafe { syscall!(libc::SYS_capset, header_ptr, data.as_ptr()) }.map(drop)
}

/// capget(2) for this thread.
pub fn caps() -> Result<CapSets> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    let header_ptr: *mut CapHeader = &raw mut header;
    // SAFETY: a version 3 header goes with exactly two data blocks, as here, which the kernel fills.
    unsafe { syscall!(libc::SYS_capget, header_ptr, data.as_mut_ptr()) }?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// prctl(2) with integer arguments.
fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<usize> {
    // SAFETY: every option used in this file takes integers, not pointers.
    unsafe { syscall!(libc::SYS_prctl, option, arg2, arg3, 0, 0) }
}

/// Whether capability number `cap` is in the bounding set; `EINVAL` past the last one the kernel knows.
pub fn in_bounding(cap: u8) -> Result<bool> {
    prctl(libc::PR_CAPBSET_READ, cap.into(), 0).map(|v| v == 1)
}

/// Drops a capability from the bounding set, for good.
pub fn drop_bounding(cap: u8) -> Result<()> {
    prctl(libc::PR_CAPBSET_DROP, cap.into(), 0).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Adds a capability, which must be permitted and inheritable, to the ambient set.
pub fn raise_ambient(cap: u8) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, cap.into()).map(drop)
}

/// Whether a capability is in the ambient set.
pub fn in_ambient(cap: u8) -> Result<bool> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, cap.into()).map(|v| v == 1)
}

/// Keeps the permitted set across the change from uid 0; reset by exec.
pub fn keep_caps(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// Sets no_new_privs, for good.
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// Whether no_new_privs is set.
pub fn no_new_privs() -> Result<bool> {
    prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0).map(|v| v == 1)
}

/// Makes this process dumpable or not: not dumpable, only CAP_SYS_PTRACE over its user namespace reaches its `/proc` files.
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into(), 0).map(drop)
}

/// Asks for `signal` when the parent dies; 0 clears it.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, u64::from(signal.unsigned_abs()), 0).map(drop)
}

/// Makes this process adopt its orphaned descendants.
pub fn set_child_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0).map(drop)
}

/// The name `/proc/PID/comm` shows, at most 15 bytes.
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads at most 16 bytes of a NUL-terminated string.
    unsafe { syscall!(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }.map(drop)
}

/// Real, effective and saved uid at once, of this thread only (the process has no other).
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_setresuid, uid, uid, uid) }.map(drop)
}

/// Real, effective and saved gid at once.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_setresgid, gid, gid, gid) }.map(drop)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: `groups` is valid for reading its length.
    unsafe { syscall!(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }.map(drop)
}

/// How many supplementary groups this thread has.
pub fn group_count() -> Result<usize> {
    let none = std::ptr::null_mut::<u32>();
    // SAFETY: size 0 asks for the number and writes nothing.
    unsafe { syscall!(libc::SYS_getgroups, 0, none) }
}

/// Real, effective and saved uid.
pub fn uids() -> Result<[u32; 3]> {
    let mut ids = [0u32; 3];
    let [r, e, s] = &mut ids;
    let (r, e, s): (*mut u32, *mut u32, *mut u32) = (r, e, s);
    // SAFETY: three valid places to write to.
    unsafe { syscall!(libc::SYS_getresuid, r, e, s) }?;
    Ok(ids)
}

/// Real, effective and saved gid.
pub fn gids() -> Result<[u32; 3]> {
    let mut ids = [0u32; 3];
    let [r, e, s] = &mut ids;
    let (r, e, s): (*mut u32, *mut u32, *mut u32) = (r, e, s);
    // SAFETY: three valid places to write to.
    unsafe { syscall!(libc::SYS_getresgid, r, e, s) }?;
    Ok(ids)
}

/// umask(2): the mask before.
pub fn set_umask(mask: u32) -> u32 {
    // SAFETY: no pointers, cannot fail.
    unsafe { libc::umask(mask) }
}

/// setsid(2).
pub fn new_session() -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_setsid) }.map(drop)
}

/// sethostname(2).
pub fn set_hostname(name: &CStr) -> Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: `bytes` is valid for reading its length.
    unsafe { syscall!(libc::SYS_sethostname, bytes.as_ptr(), bytes.len()) }.map(drop)
}

/// setdomainname(2).
pub fn set_domainname(name: &CStr) -> Result<()> {
    let bytes = name.to_bytes();
    // SAFETY: `bytes` is valid for reading its length.
    unsafe { syscall!(libc::SYS_setdomainname, bytes.as_ptr(), bytes.len()) }.map(drop)
}

/// getrlimit(2): soft and hard limit of this process; `resource` is an `RLIMIT_*` number.
pub fn rlimit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: prlimit only writes one rlimit64 through the last pointer, which is valid and borrowed exclusively; a null
    // second pointer means that nothing is set.
    let ret =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<libc::rlimit64>(), &raw mut limit) };
    check(ret)?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// prlimit(2) on this process: `resource` is an `RLIMIT_*` number.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let limit_ptr: *const libc::rlimit64 = &raw const limit;
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the new limit is valid for reading; no old one is asked for.
    unsafe { syscall!(libc::SYS_prlimit64, 0, resource, limit_ptr, none) }.map(drop)
}

/// setrlimit(2) of the hard limit only, and only upwards.
pub fn raise_rlimit(resource: u32, hard: u64) -> Result<()> {
    let mut is = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let is_ptr: *mut libc::rlimit64 = &raw mut is;
    let none = std::ptr::null::<libc::rlimit64>();
    // SAFETY: no new limit is given; the old one is valid for writing.
    unsafe { syscall!(libc::SYS_prlimit64, 0, resource, none, is_ptr) }?;
    if is.rlim_max >= hard { Ok(()) } else { set_rlimit(resource, is.rlim_cur, hard) }
}

/// personality(2).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_personality, persona) }.map(drop)
}

/// ioprio_set(2) of this process; `class` is 1 (real time), 2 (best effort) or 3 (idle).
pub fn set_io_priority(class: i32, level: i32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_CLASS_SHIFT: i32 = 13;
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, class << IOPRIO_CLASS_SHIFT | level) }.map(drop)
}

/// `struct sched_attr` of sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct SchedAttr {
    /// Of this structure, 48.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the fair policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Nanoseconds, for the deadline policy.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// sched_setattr(2) of a process; 0 is the own.
pub fn set_scheduler(pid: i32, attr: &SchedAttr) -> Result<()> {
    let attr: *const SchedAttr = attr;
    // SAFETY: `attr` is valid for the size it names, and only read.
    unsafe { syscall!(libc::SYS_sched_setattr, pid, attr, 0) }.map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: the session keyring of that name, a new, empty one where there is none: its serial number.
pub fn join_session_keyring(name: &CStr) -> Result<usize> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: `name` is NUL-terminated and only read.
    unsafe { syscall!(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }
}

/// keyctl(2) `KEYCTL_SETPERM`: what a new session keyring allows (keyrings(7)), and searching it to its user, which is what joining it by
/// name takes.
pub fn let_user_search_keyring(serial: usize) -> Result<()> {
    const KEYCTL_SETPERM: i32 = 5;
    const POSSESSOR_ALL: u32 = 0x3f00_0000;
    const USER_VIEW_READ_LINK: u32 = 0x0013_0000;
    const USER_SEARCH: u32 = 0x0008_0000;
    let allowed = POSSESSOR_ALL | USER_VIEW_READ_LINK | USER_SEARCH;
    // SAFETY: no pointers.
    unsafe { syscall!(libc::SYS_keyctl, KEYCTL_SETPERM, serial, allowed) }.map(drop)
}

/// rt_sigprocmask(2): unblocks every signal.
pub fn unblock_signals() -> Result<()> {
    let none_blocked = 0u64;
    let set: *const u64 = &raw const none_blocked;
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel's signal set is 8 bytes; the old one is not asked for.
    unsafe { syscall!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, old, 8) }.map(drop)
}

/// Sets a signal's disposition to the default.
pub fn default_signal(signal: i32) -> Result<()> {
    // struct kernel_sigaction: handler, flags, restorer, mask; all zero is SIG_DFL.
    let action = [0u64; 4];
    let old = std::ptr::null_mut::<u64>();
    // SAFETY: `action` is as large as the kernel's structure on every 64-bit architecture; no handler is installed.
    unsafe { syscall!(libc::SYS_rt_sigaction, signal, action.as_ptr(), old, 8) }.map(drop)
}

/// Brings the loopback interface of the current network namespace up (`SIOCSIFFLAGS`, netdevice(7)).
pub fn loopback_up() -> Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: no pointers.
    let sock = unsafe { syscall!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }
        .map(super::owned)?;
    // struct ifreq: the name (16 bytes), then a union that starts with the flags.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    // IFF_UP | IFF_RUNNING
    request[16..18].copy_from_slice(&0x41u16.to_ne_bytes());
    // SAFETY: `request` is as large as struct ifreq and has its layout.
    check(unsafe { libc::ioctl(sock.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, request.as_mut_ptr()) }.into())
        .map(drop)
}
