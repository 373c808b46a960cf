//! A limit on single allocations: no input may make the program ask for more at once.
//!
//! libFuzzer's own `-malloc_limit_mb` needs a sanitizer's runtime, which stable Rust does not link.

use std::alloc::{GlobalAlloc, Layout, System};

/// Inputs have a few KiB, and every limit of the formats lies below this.
const ALLOCATION_MAX_BYTES: usize = 64 << 20;

/// The system's allocator, which ends the process where one allocation is over the limit.
struct Limited;

#[global_allocator]
static LIMITED: Limited = Limited;

fn check(bytes: usize) {
    if bytes > ALLOCATION_MAX_BYTES {
        eprintln!("an input makes the program allocate {bytes} bytes at once");
        std::process::abort();
    }
}

#[expect(unsafe_code, reason = "only an allocator sees what is allocated")]
// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, bytes) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
