//! bpf(2) for cgroup device programs: load, attach, replace, detach, query.
//!
//! Only the five commands that a device program needs, with the smallest `attr` each of them takes. The layouts are those
//! of `union bpf_attr` in the kernel's `include/uapi/linux/bpf.h`; a shorter `attr` is allowed (the kernel zero-fills).
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One eBPF instruction, `struct bpf_insn` in the kernel's user API.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Insn {
    /// Class, operation and source of the operand.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub regs: u8,
    /// Jump distance in instructions, or offset into memory in bytes.
    pub off: i16,
    /// The immediate operand.
    pub imm: i32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Several programs may be attached to one cgroup, and all must agree.
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
/// Take the place of `replace_bpf_fd` in one step (kernel 5.6).
const BPF_F_REPLACE: u32 = 1 << 2;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    /// Kernels of 6.17 to 7.1 may write it whatever size was passed: with less, what is behind would be overwritten.
    revision: u64,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Calls bpf(2) with one of the structures above.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    let size = size_of::<T>();
    // SAFETY: `attr` is an exclusive reference to a `repr(C)` structure of `size` bytes laid out as the kernel's `bpf_attr`
    // for `command`, without padding; the addresses inside it belong to buffers that the callers keep alive over the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size) };
    match libc::c_int::try_from(result) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor as `bpf_attr` holds it.
fn number(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    fd.as_raw_fd().unsigned_abs()
}

/// Takes ownership of the descriptor that a bpf command returned.
fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: `fd` was just returned by bpf(2), which makes a new close-on-exec descriptor that nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads `program` as a `BPF_PROG_TYPE_CGROUP_DEVICE` (kernel 4.15).
///
/// Kernels before 5.11 account programs to RLIMIT_MEMLOCK and answer EPERM when it is used up: the limit is raised and the
/// call repeated. When the verifier refuses the program, its log is part of the error.
///
/// # Errors
/// EPERM without CAP_BPF (CAP_SYS_ADMIN before 5.8) or when the kernel forbids bpf; EINVAL or EACCES from the verifier.
pub fn load_device_program(program: &[Insn]) -> io::Result<OwnedFd> {
    let count = u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let license = c"GPL";
    let load = |log: Option<&mut [u8]>| {
        let mut attr = LoadAttr {
            prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
            insn_cnt: count,
            insns: program.as_ptr() as u64,
            license: license.as_ptr() as u64,
            ..LoadAttr::default()
        };
        if let Some(log) = log {
            attr.log_level = 1;
            attr.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
            attr.log_buf = log.as_mut_ptr() as u64;
        }
        bpf(BPF_PROG_LOAD, &mut attr).map(owned)
    };
    let error = match load(None) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && raise_memlock() => match load(None) {
            Ok(fd) => return Ok(fd),
            Err(error) => error,
        },
        Err(error) => error,
        Ok(fd) => return Ok(fd),
    };
    if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) {
        return Err(error);
    }
    let mut log = vec![0_u8; 64 * 1024];
    if load(Some(&mut log)).is_ok() {
        return load(None);
    }
    let text = String::from_utf8_lossy(log.split(|byte| *byte == 0).next().unwrap_or_default()).trim().to_owned();
    if text.is_empty() {
        return Err(error);
    }
    Err(io::Error::new(error.kind(), format!("{error}; the verifier says: {text}")))
}

/// Raises RLIMIT_MEMLOCK as far as it goes; says whether it changed.
fn raise_memlock() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed rlimit structure for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        return false;
    }
    for wanted in [libc::RLIM_INFINITY, limit.rlim_max] {
        let new = libc::rlimit { rlim_cur: wanted, rlim_max: wanted.max(limit.rlim_max) };
        // SAFETY: `new` is a valid rlimit structure that the kernel only reads.
        if new.rlim_cur != limit.rlim_cur && unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const new) } == 0 {
            return true;
        }
    }
    false
}

/// Attaches `program` to the cgroup `directory`, beside other programs, or in the place of `replaced` in one step.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN or CAP_BPF, or below a cgroup with an exclusive program; ENOENT when `replaced` is not
/// attached; EINVAL when the kernel is older than 5.6 and `replaced` is given.
pub fn attach_device_program(
    directory: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(directory),
        attach_bpf_fd: number(program),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | if replaced.is_some() { BPF_F_REPLACE } else { 0 },
        replace_bpf_fd: replaced.map_or(0, number),
    };
    bpf(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches `program` from the cgroup `directory`.
///
/// # Errors
/// ENOENT when it is not attached there.
pub fn detach_device_program(directory: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(directory),
        attach_bpf_fd: number(program),
        attach_type: BPF_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    bpf(BPF_PROG_DETACH, &mut attr).map(drop)
}

/// The ids of the device programs attached to the cgroup `directory` itself (not those of its ancestors).
///
/// # Errors
/// EPERM without the right to query; EINVAL on kernels without cgroup programs.
pub fn device_program_ids(directory: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // The kernel has allowed 64 programs per cgroup and type since they exist.
    let mut ids = vec![0_u32; 64];
    let mut attr = QueryAttr {
        target_fd: number(directory),
        attach_type: BPF_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..QueryAttr::default()
    };
    bpf(BPF_PROG_QUERY, &mut attr)?;
    ids.truncate(usize::try_from(attr.prog_cnt).unwrap_or(0));
    Ok(ids)
}

/// A descriptor of the loaded program `id`.
///
/// # Errors
/// ENOENT when it is gone by now.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr { id, ..IdAttr::default() };
    bpf(BPF_PROG_GET_FD_BY_ID, &mut attr).map(owned)
}
