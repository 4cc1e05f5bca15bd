//! The allocator: the system's, and in debug and integration builds a guard that proves the child allocates nothing.
//!
//! After clone3 the child of a fork-like call must not allocate (`docs/decisions`): the guard turns a slip into an abort
//! that names itself, instead of a container that starts anyway.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From here on, in this process, every heap allocation aborts (in builds where [`Guard`] is the allocator).
pub fn forbid() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

/// The system allocator, with [`forbid`] enforced.
pub struct Guard;

fn check() {
    if FORBIDDEN.load(Ordering::Relaxed) {
        crate::sys::clone::abort_with(b"pent: bug: heap allocation in the container's child process\n");
    }
}

// SAFETY: every method hands its arguments unchanged to `System`, which upholds the contract; the check before it touches
// no allocator state and does not unwind.
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller upholds GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        check();
        // SAFETY: as above; `ptr` came from System through this allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above. Freeing is allowed: it takes nothing, and the child is single-threaded.
        unsafe { System.dealloc(ptr, layout) }
    }
}
