//! What decoding a frame needs for a moment, kept by each thread for the next one.
//!
//! New memory for each frame would cost a page fault for every 4 KiB: as much time as decrypting them.

use super::frame::FrameDecompressor;
use std::cell::RefCell;

/// More than this is given back after each frame: a thread that decoded one large frame may never see another.
const KEPT_MAX_BYTES: usize = 2 << 20;

/// What one thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    /// Room for a frame as stored, decrypted.
    pub(super) decrypted: Vec<u8>,
    pub(super) decompressor: FrameDecompressor,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// `work` with this thread's scratch, which `work` must not ask for again.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let done = work(scratch);
        if scratch.decrypted.capacity() > KEPT_MAX_BYTES {
            scratch.decrypted = Vec::new();
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_large_frame_took_is_given_back() {
        let capacity = || with_scratch(|scratch| scratch.decrypted.capacity());
        with_scratch(|scratch| scratch.decrypted.resize(KEPT_MAX_BYTES / 2, 0));
        assert!(capacity() >= KEPT_MAX_BYTES / 2);
        with_scratch(|scratch| scratch.decrypted.resize(KEPT_MAX_BYTES * 2, 0));
        assert_eq!(capacity(), 0);
    }
}
