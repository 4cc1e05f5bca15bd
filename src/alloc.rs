//! The allocator: an arena for a process that lives for milliseconds, and a guard that proves the child allocates nothing.
//!
//! After clone3 the child of a fork-like call must not allocate (`docs/decisions/0001`): in debug and integration builds the
//! guard turns a slip into an abort that names itself, instead of a container that starts anyway. Why an arena:
//! `docs/decisions/0007`.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

static FORBIDDEN: AtomicBool = AtomicBool::new(false);

/// From here on, in this process, every heap allocation aborts (in debug builds and with the feature `guard`).
pub fn forbid() {
    FORBIDDEN.store(true, Ordering::Relaxed);
}

fn check() {
    if cfg!(any(debug_assertions, feature = "guard")) && FORBIDDEN.load(Ordering::Relaxed) {
        crate::sys::clone::abort_with(b"pent: bug: heap allocation in the container's child process\n");
    }
}

/// What every block is aligned to; a stricter layout is the system's.
const ALIGN: usize = 16;
/// Blocks up to this size differ by [`ALIGN`], larger ones by a factor of two.
const FINE: usize = 1024;
/// Blocks above are the system's, so that they are given back to it.
const LARGEST: usize = 64 << 10;
const CLASSES: usize = FINE / ALIGN + (LARGEST / FINE).ilog2() as usize;
/// The first chunk is part of the program: it costs no system call, and memory only where it is touched.
const FIRST: usize = 256 << 10;
/// The size of later chunks.
const CHUNK: usize = 1 << 20;

/// Blocks are cut from chunks one after the other, and freed ones kept in a list for each size.
///
/// Memory is reused, not given back: what is held is at most what each size needed when it needed most. All of it is zero
/// at first, so that the whole lies in .bss.
pub struct Arena {
    locked: AtomicBool,
    state: UnsafeCell<State>,
    first: UnsafeCell<First>,
}

#[repr(C, align(16))]
struct First([u8; FIRST]);

struct State {
    /// For each class the first free block, which holds the address of the next.
    free: [*mut u8; CLASSES],
    /// The rest of the chunk that is cut; null before the first.
    next: *mut u8,
    left: usize,
}

// SAFETY: `state` and `first` are used under `locked` only.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena that has given out nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        let state = State { free: [null_mut(); CLASSES], next: null_mut(), left: 0 };
        Self {
            locked: AtomicBool::new(false),
            state: UnsafeCell::new(state),
            first: UnsafeCell::new(First([0; FIRST])),
        }
    }

    /// Only tests have threads: nobody ever waits long.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock was taken just now, and `f` neither unwinds (panic = "abort") nor allocates.
        let result = f(unsafe { &mut *self.state.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

/// The class of a block, and the size of all blocks of that class. `None`: the system's.
fn class(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(1);
    if size > LARGEST || layout.align() > ALIGN {
        None
    } else if size <= FINE {
        let class = size.div_ceil(ALIGN);
        Some((class - 1, class * ALIGN))
    } else {
        let size = size.next_power_of_two();
        Some((FINE / ALIGN + (size / FINE).ilog2() as usize - 1, size))
    }
}

impl State {
    /// A block of `size` bytes, null when there is no memory.
    fn take(&mut self, class: usize, size: usize, first: *mut u8) -> *mut u8 {
        let free = self.free[class];
        if !free.is_null() {
            // SAFETY: a block in a list is nobody's, at least ALIGN bytes, aligned to ALIGN, and holds the next one's address.
            self.free[class] = unsafe { free.cast::<*mut u8>().read() };
            return free;
        }
        if size > self.left && !self.grow(first) {
            return null_mut();
        }
        let block = self.next;
        // SAFETY: `size` is at most `left`, what is left of the chunk from `next` on.
        self.next = unsafe { block.add(size) };
        self.left -= size;
        block
    }

    /// Begins a chunk. The rest of the last one stays unused: it is less than [`LARGEST`], and untouched.
    fn grow(&mut self, first: *mut u8) -> bool {
        const LAYOUT: Layout = match Layout::from_size_align(CHUNK, ALIGN) {
            Ok(layout) => layout,
            Err(_) => panic!("the size of a chunk is a power of two"),
        };
        if self.next.is_null() {
            (self.next, self.left) = (first, FIRST);
            return true;
        }
        // SAFETY: the layout is not empty.
        let chunk = unsafe { System.alloc(LAYOUT) };
        if chunk.is_null() {
            return false;
        }
        (self.next, self.left) = (chunk, CHUNK);
        true
    }

    fn give(&mut self, class: usize, block: *mut u8) {
        // SAFETY: the caller gives up the block, which is at least ALIGN bytes and aligned to ALIGN.
        unsafe { block.cast::<*mut u8>().write(self.free[class]) };
        self.free[class] = block;
    }
}

// Inlined into everything that allocates, the few instructions would be a megabyte.
// SAFETY: a block is cut from a chunk once, is as large as its class, and is in at most one place: with a caller or in its
// class's list. Layouts without a class go to `System`, which upholds the contract; a layout has a class or has none for the
// whole life of a block. Nothing unwinds.
unsafe impl GlobalAlloc for Arena {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        match class(layout) {
            Some((class, size)) => self.with(|state| state.take(class, size, self.first.get().cast())),
            // SAFETY: the caller upholds GlobalAlloc's contract, which is System's.
            None => unsafe { System.alloc(layout) },
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Freeing is allowed everywhere: it takes nothing.
        match class(layout) {
            Some((class, _)) => self.with(|state| state.give(class, block)),
            // SAFETY: as above; `block` came from System.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        // SAFETY: the caller upholds that `size` rounded up to the alignment does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(wanted)) {
            (Some((from, _)), Some((to, _))) if from == to => return block,
            // SAFETY: as above; `block` came from System, and stays with it.
            (None, None) => return unsafe { System.realloc(block, layout, size) },
            _ => {}
        }
        // SAFETY: the caller upholds that the size is not zero.
        let copy = unsafe { self.alloc(wanted) };
        if !copy.is_null() {
            let len = layout.size().min(size);
            // SAFETY: both blocks hold `len` bytes, and a new one overlaps no other.
            unsafe { std::ptr::copy_nonoverlapping(block, copy, len) };
            // SAFETY: the old block is of that layout, and its contents are in the new one.
            unsafe { self.dealloc(block, layout) };
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn classes_hold_their_sizes() {
        let mut last = None;
        for size in 1..=LARGEST {
            let (class, block) = class(layout(size, 8)).expect("a class");
            assert!(block >= size && block % ALIGN == 0, "{size} in {block}");
            assert!(block < size + ALIGN || block < 2 * size, "{size} in {block}");
            assert!(class < CLASSES);
            // The same class is the same size, and the next class is larger.
            assert!(last.is_none_or(|(c, b)| (class == c) == (block == b) && class >= c && class <= c + 1));
            last = Some((class, block));
        }
        assert_eq!(last.map(|(class, _)| class), Some(CLASSES - 1));
        assert_eq!(class(layout(LARGEST + 1, 8)), None);
        assert_eq!(class(layout(8, 4096)), None);
    }

    #[test]
    fn what_is_freed_is_used_again() {
        let arena = Box::new(Arena::new());
        let layout = layout(100, 8);
        // SAFETY: the layout is not empty, and each block is freed once with it.
        let block = unsafe { arena.alloc(layout) };
        for _ in 0..FIRST {
            // SAFETY: as above.
            unsafe { arena.dealloc(block, layout) };
            // SAFETY: as above.
            assert_eq!(unsafe { arena.alloc(layout) }, block);
        }
        assert_eq!(arena.with(|state| state.left), FIRST - 112);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Blocks that live at the same time never overlap, keep their bytes, and are aligned, over several chunks.
        #[test]
        fn blocks_are_apart(steps in prop::collection::vec((any::<prop::sample::Index>(), 1usize..100_000, 0u32..8), 1..300)) {
            let arena = Box::new(Arena::new());
            let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
            let full = |block: *mut u8, len: usize, byte: u8| {
                // SAFETY: the block is live and was filled over its whole length.
                unsafe { std::slice::from_raw_parts(block, len) }.iter().all(|is| *is == byte)
            };
            for (number, (which, size, action)) in steps.into_iter().enumerate() {
                let byte = u8::try_from(number % 251).expect("fits");
                // Small ones are the usual ones.
                let size = if action % 4 != 0 { size % 200 + 1 } else { size };
                if action < 4 || live.is_empty() {
                    let layout = layout(size, 1 << (action * 2));
                    // SAFETY: the layout is not empty.
                    let block = unsafe { arena.alloc(layout) };
                    prop_assert!(!block.is_null() && block.addr() % layout.align() == 0);
                    // SAFETY: the block is new and of that size.
                    unsafe { block.write_bytes(byte, size) };
                    live.push((block, layout, byte));
                    continue;
                }
                let (block, old, was) = live.swap_remove(which.index(live.len()));
                prop_assert!(full(block, old.size(), was));
                if action < 6 {
                    // SAFETY: a live block with its layout.
                    unsafe { arena.dealloc(block, old) };
                    continue;
                }
                // SAFETY: as above, and the new size is not zero.
                let block = unsafe { arena.realloc(block, old, size) };
                prop_assert!(!block.is_null() && full(block, size.min(old.size()), was));
                // SAFETY: the block is live and of that size.
                unsafe { block.write_bytes(byte, size) };
                live.push((block, layout(size, old.align()), byte));
            }
            for (block, layout, byte) in live {
                prop_assert!(full(block, layout.size(), byte));
                // SAFETY: as above.
                unsafe { arena.dealloc(block, layout) };
            }
        }
    }
}
