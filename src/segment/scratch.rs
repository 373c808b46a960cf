//! What decoding a frame needs for a moment, kept for the next one.
//!
//! New memory for each frame would cost a page fault for every 4 KiB: as much time as decrypting them. The process keeps a few, and
//! not each thread its own: frames are decoded by any of those that may block, of which there are as many as files were waited for
//! at once, up to hundreds.

use super::frame::FrameDecompressor;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More than this is given back after each frame: after one large frame there may never be another.
const KEPT_MAX_BYTES: usize = 2 << 20;
/// So many are kept: as many threads decode at once, at most, by default.
const KEPT_MAX: usize = 8;

/// What one frame at a time uses.
#[derive(Default)]
pub(super) struct Scratch {
    /// Room for a frame as stored, decrypted.
    pub(super) decrypted: Vec<u8>,
    pub(super) decompressor: FrameDecompressor,
}

static KEPT: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<Scratch>> {
    // Every change is one call: sound after a panic elsewhere.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `work` with a scratch that nobody else has meanwhile. The one used last is the next: it is warm.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let last = kept().pop();
    let mut scratch = last.unwrap_or_default();
    let done = work(&mut scratch);
    if scratch.decrypted.capacity() > KEPT_MAX_BYTES {
        scratch.decrypted = Vec::new();
    }
    let mut kept = kept();
    if kept.len() < KEPT_MAX {
        kept.push(scratch);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn is_bounded() -> bool {
        let kept = kept();
        let mut capacities = kept.iter().map(|scratch| scratch.decrypted.capacity());
        kept.len() <= KEPT_MAX && capacities.all(|capacity| capacity <= KEPT_MAX_BYTES)
    }

    #[test]
    fn what_a_large_frame_took_is_given_back() {
        with_scratch(|scratch| scratch.decrypted.resize(KEPT_MAX_BYTES * 2, 0));
        assert!(is_bounded());
    }

    #[test]
    fn however_many_threads_decode_at_once_few_of_their_scratches_are_kept() {
        const THREADS: usize = 4 * KEPT_MAX;
        let (all_have_one, all_gave_it_back) = (Barrier::new(THREADS), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    with_scratch(|scratch| {
                        scratch.decrypted.resize(KEPT_MAX_BYTES / 2, 0);
                        all_have_one.wait();
                    });
                    all_gave_it_back.wait();
                    // While all of these threads live on.
                    assert!(is_bounded());
                });
            }
        });
    }
}
