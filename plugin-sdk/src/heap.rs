//! The guest's allocator: a pointer that moves up.
//!
//! Every decision runs on a fresh instance, so that memory need not be given back: the whole of it goes when the call
//! ends. The heap starts right above the module's data, inside the memory that the module starts with, so that a
//! typical call never asks the host for more: growing costs the host system calls that take a lock of its process.
//! The latest allocation can still grow in place and be given back, which is what `Vec` and `String` do while they
//! are filled.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// Size of a WebAssembly page.
const PAGE: usize = 65_536;

/// The allocator of a single-threaded WebAssembly module.
pub(crate) struct Bump {
    /// First free address; 0 before the first allocation.
    next: Cell<usize>,
    /// End of the memory.
    end: Cell<usize>,
}

// SAFETY: a module without the threads proposal, which the host refuses, has one thread.
unsafe impl Sync for Bump {}

impl Bump {
    pub(crate) const fn new() -> Self {
        Self { next: Cell::new(0), end: Cell::new(0) }
    }

    /// True if memory up to `end` is there, having grown it where it was not.
    fn reach(&self, end: usize) -> bool {
        if end <= self.end.get() {
            return true;
        }
        let pages = (end - self.end.get()).div_ceil(PAGE);
        if std::arch::wasm32::memory_grow(0, pages) == usize::MAX {
            return false;
        }
        self.end.set(self.end.get() + pages * PAGE);
        true
    }

    /// On the first use: the heap starts at the linker's `__heap_base`.
    fn start(&self) {
        unsafe extern "C" {
            static __heap_base: u8;
        }
        if self.next.get() == 0 {
            self.next.set((&raw const __heap_base).addr());
            self.end.set(std::arch::wasm32::memory_size(0) * PAGE);
        }
    }
}

// SAFETY: every block lies between the heap's base and the end of the memory, aligned, and no two overlap, because
// `next` only ever moves down over the latest block and that block's owner has given it back.
unsafe impl GlobalAlloc for Bump {
    // SAFETY: as of the trait.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.start();
        let Some(start) = self.next.get().checked_next_multiple_of(layout.align()) else {
            return std::ptr::null_mut();
        };
        match start.checked_add(layout.size()) {
            Some(end) if self.reach(end) => {
                self.next.set(end);
                std::ptr::with_exposed_provenance_mut(start)
            }
            _ => std::ptr::null_mut(),
        }
    }

    // SAFETY: as of the trait.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if pointer.addr() + layout.size() == self.next.get() {
            self.next.set(pointer.addr());
        }
    }

    // SAFETY: as of the trait.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let start = pointer.addr();
        if start + layout.size() == self.next.get() {
            return match start.checked_add(new_size) {
                Some(end) if self.reach(end) => {
                    self.next.set(end);
                    pointer
                }
                _ => std::ptr::null_mut(),
            };
        }
        if new_size <= layout.size() {
            return pointer;
        }
        // SAFETY: alignment is the old one's, and the size, larger than the old one, is not 0; the caller vouches that
        // it does not overflow when rounded up.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks are at least as large as the old one, and a new block never overlaps an old one.
            unsafe { std::ptr::copy_nonoverlapping(pointer, new, layout.size()) };
        }
        new
    }
}
