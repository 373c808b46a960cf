//! Memory of one size that is used again and again.
//!
//! glibc gives what is as large as a frame, or as a run of frames, back to the system each time; the page faults of the next one, one
//! for every 4 KiB, take as long as to decompress what it is for.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blocks that wait for who needs one.
pub struct Blocks {
    capacity: usize,
    /// Less has memory of its own: who holds it for long would hold a block several times as large.
    least: usize,
    /// So many wait at most.
    most: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

/// Bytes whose block goes back.
struct Lent {
    bytes: Vec<u8>,
    blocks: &'static Blocks,
}

impl Blocks {
    /// Blocks of `capacity` bytes for what has `least` bytes or more, of which `most` wait.
    pub const fn new(capacity: usize, least: usize, most: usize) -> Blocks {
        Blocks {
            capacity,
            least,
            most,
            free: Mutex::new(Vec::new()),
        }
    }

    /// Room for `length` bytes, empty: a block, or memory of its own.
    pub fn room(&self, length: usize) -> Vec<u8> {
        if !(self.least..=self.capacity).contains(&length) {
            return Vec::with_capacity(length);
        }
        let block = self.free().pop();
        block.unwrap_or_else(|| Vec::with_capacity(self.capacity))
    }

    /// What came of [`Blocks::room`], whose block is free again when nobody has a part of it any more.
    pub fn filled(&'static self, bytes: Vec<u8>) -> Bytes {
        match bytes.capacity() == self.capacity {
            true => Bytes::from_owner(Lent {
                bytes,
                blocks: self,
            }),
            false => bytes.into(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Every change is one call: sound after a panic elsewhere.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut block = std::mem::take(&mut self.bytes);
        block.clear();
        let mut free = self.blocks.free();
        if free.len() < self.blocks.most {
            free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BLOCKS: Blocks = Blocks::new(1000, 500, 3);

    fn of(byte: u8, length: usize) -> Bytes {
        let mut room = BLOCKS.room(length);
        assert!(room.is_empty() && room.capacity() >= length);
        room.resize(length, byte);
        BLOCKS.filled(room)
    }

    #[test]
    fn what_is_in_a_block_that_another_had_is_its_own() {
        for length in [10, 499, 500, 1000, 1001] {
            let first = of(1, length);
            let kept = first.slice(length / 2..);
            drop(first);
            // A part is held: its memory is nobody else's.
            let second = of(2, length);
            assert!(kept.iter().all(|byte| *byte == 1));
            drop(kept);
            let third = of(3, length - 1);
            assert!(second.iter().all(|byte| *byte == 2) && second.len() == length);
            assert!(third.iter().all(|byte| *byte == 3) && third.len() == length - 1);
        }
        let many: Vec<_> = (0..10).map(|_| of(4, 700)).collect();
        drop(many);
        assert_eq!(BLOCKS.free().len(), 3);
    }
}
