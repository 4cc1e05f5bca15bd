//! Keeping the container from the host's binary (CVE-2019-5736) without executing anything twice.
//!
//! `/proc/PID/exe` is a door to the file a process runs from, and a descriptor got through it can be reopened for writing
//! once the file is no longer executed. So the process that enters a container runs from the same file seen through a
//! read-only mount: its mappings are replaced by the same bytes mapped through that mount, and `PR_SET_MM_MAP` (Linux
//! 3.18, `CONFIG_CHECKPOINT_RESTORE`) makes that the process's exe. Reopening it for writing is then EROFS for ever.

use super::{Result, check, syscall};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct prctl_mm_map` of prctl(2).
#[repr(C)]
#[derive(Default)]
struct MmMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// One file-backed range of the running binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First address, page aligned.
    pub start: usize,
    /// One past the last, page aligned.
    pub end: usize,
    /// `PROT_*`.
    pub protection: i32,
    /// Where in the file it begins; `None` when its bytes differ from the file's (data, and what start-up relocated).
    pub offset: Option<i64>,
}

unsafe extern "C" {
    /// Where the linker put the ELF header: the start of the file in memory (GNU ld and lld define it).
    static __ehdr_start: libc::Elf64_Ehdr;
}

/// The running binary's file-backed memory, from its own program headers (`AT_PHDR`, elf(5)).
///
/// Empty when they do not describe what is running: nothing may be remapped by them then.
pub fn segments() -> Vec<Segment> {
    let count = auxv(libc::AT_PHNUM);
    let table = std::ptr::with_exposed_provenance::<libc::Elf64_Phdr>(auxv(libc::AT_PHDR));
    // SAFETY: the kernel says that `count` program headers are mapped at `table`, for the life of the process.
    let headers = unsafe { std::slice::from_raw_parts(table, count) };
    let page = auxv(libc::AT_PAGESZ).max(4096);
    let down = |address: usize| address & !(page - 1);
    let up = |address: usize| down(address + page - 1);
    let word = |value: u64| usize::try_from(value).unwrap_or(0);
    // A static position-independent binary need not have PT_PHDR: the segment that holds the file's beginning has it all.
    let first = headers.iter().find(|h| h.p_type == libc::PT_LOAD && h.p_offset == 0).map_or(0, |h| word(h.p_vaddr));
    let base = (&raw const __ehdr_start).addr().wrapping_sub(first);
    let relro = headers.iter().find(|h| h.p_type == libc::PT_GNU_RELRO);
    let relro_end = relro.map_or(0, |h| down(base + word(h.p_vaddr) + word(h.p_memsz)));
    let mut mapped = Vec::with_capacity(headers.len());
    for h in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_filesz > 0) {
        let start = base + word(h.p_vaddr);
        let (start, end) = (down(start), up(start + word(h.p_filesz)));
        if h.p_flags & libc::PF_W == 0 {
            let execute = if h.p_flags & libc::PF_X == 0 { 0 } else { libc::PROT_EXEC };
            let offset = i64::try_from(down(word(h.p_offset))).ok();
            mapped.push(Segment { start, end, protection: libc::PROT_READ | execute, offset });
            continue;
        }
        let split = relro_end.clamp(start, end);
        let parts = [(start, split, libc::PROT_READ), (split, end, libc::PROT_READ | libc::PROT_WRITE)];
        for (start, end, protection) in parts.into_iter().filter(|(start, end, _)| start < end) {
            mapped.push(Segment { start, end, protection, offset: None });
        }
    }
    let here = std::ptr::from_ref(&ANCHOR).addr();
    let found = mapped.iter().any(|s| (s.start..s.end).contains(&here));
    if found { mapped } else { Vec::new() }
}

/// Something that is certainly in the binary's own memory.
static ANCHOR: u8 = 0;

fn auxv(kind: libc::c_ulong) -> usize {
    // SAFETY: getauxval only reads the auxiliary vector.
    usize::try_from(unsafe { libc::getauxval(kind) }).unwrap_or(0)
}

/// Whether this kernel can switch a process's exe (`CONFIG_CHECKPOINT_RESTORE`).
pub fn can_switch() -> bool {
    let mut size: u32 = 0;
    let size_ptr: *mut u32 = &raw mut size;
    // SAFETY: PR_SET_MM_MAP_SIZE writes one unsigned int.
    let ret = unsafe { syscall!(libc::SYS_prctl, libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, size_ptr, 0, 0) };
    ret.is_ok() && usize::try_from(size) == Ok(size_of::<MmMap>())
}

/// Replaces this process's exe by `file`: the very binary it runs, opened through another mount.
///
/// Its command line reads as empty afterwards, which leaves `comm` to tell what it is until it executes the program.
pub fn switch(segments: &[Segment], file: BorrowedFd<'_>) -> Result<()> {
    let (mut code, mut data) = ((usize::MAX, 0), (usize::MAX, 0));
    for segment in segments {
        let range = if segment.protection & libc::PROT_WRITE == 0 { &mut code } else { &mut data };
        *range = (range.0.min(segment.start), range.1.max(segment.end));
        match segment.offset {
            Some(offset) => map_again(segment, file, offset)?,
            None => copy_out(segment)?,
        }
    }
    if segments.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    let here = std::ptr::from_ref(&code).addr() as u64;
    let brk = current_brk();
    let map = MmMap {
        start_code: code.0 as u64,
        end_code: code.1 as u64,
        start_data: data.0 as u64,
        end_data: data.1 as u64,
        start_brk: brk,
        brk,
        start_stack: here,
        arg_start: here,
        arg_end: here,
        env_start: here,
        env_end: here,
        auxv: 0,
        auxv_size: 0,
        exe_fd: file.as_raw_fd().cast_unsigned(),
    };
    let map_ptr: *const MmMap = &raw const map;
    // SAFETY: `map` is valid for the size passed; its addresses are this process's own and serve /proc alone.
    unsafe { syscall!(libc::SYS_prctl, libc::PR_SET_MM, libc::PR_SET_MM_MAP, map_ptr, size_of::<MmMap>(), 0) }.map(drop)
}

fn map_again(segment: &Segment, file: BorrowedFd<'_>, offset: i64) -> Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    let at = std::ptr::with_exposed_provenance_mut::<libc::c_void>(segment.start);
    let len = segment.end - segment.start;
    // SAFETY: the range is a mapping of the very file `file` is (the caller compared device and inode), at the same offset
    // and with the same protection, and was never written to: the bytes stay the same, and the exchange is atomic.
    let mapped = unsafe { libc::mmap(at, len, segment.protection, flags, file.as_raw_fd(), offset) };
    if mapped == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

fn copy_out(segment: &Segment) -> Result<()> {
    let len = segment.end - segment.start;
    let from = std::ptr::with_exposed_provenance_mut::<libc::c_void>(segment.start);
    let (rw, anonymous) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let copy = unsafe { libc::mmap(std::ptr::null_mut(), len, rw, anonymous, -1, 0) };
    if copy == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // SAFETY: `from` is readable for `len` (a mapping of this process), `copy` is new and writable: they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.cast::<u8>(), len) };
    // SAFETY: the new mapping's protection becomes that of the segment it replaces.
    check(unsafe { libc::mprotect(copy, len, segment.protection) }.into())?;
    // SAFETY: moves the copy over the segment atomically; single-threaded, so that nothing was written in between. The
    // source address range disappears and is not referred to.
    let moved = unsafe { libc::mremap(copy, len, len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, from) };
    if moved == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

fn current_brk() -> u64 {
    // SAFETY: brk(0) changes nothing and returns the current break.
    unsafe { libc::syscall(libc::SYS_brk, 0) }.cast_unsigned()
}
