//! Bytes of an upload that wait until there are enough to send.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Least capacity of a block, in bytes. glibc gives what is larger than 32 MiB (DEFAULT_MMAP_THRESHOLD_MAX) back to the system
/// when it is freed. It keeps smaller ones, and takes from then on all up to their size from its arenas, one for each thread: an
/// archiver had 34 MiB more resident. Of a block only what is written to takes memory.
const CAPACITY_MIN_BYTES: usize = (32 << 20) + 1;

/// What waits until it fills a part, copied into blocks as large as a part: a part that is a block is sent without another copy,
/// which would be as much memory again, and the pieces it came in are free at once.
pub(super) struct Gathered {
    /// All but the last are full.
    blocks: VecDeque<BytesMut>,
    block_bytes: usize,
    bytes: u64,
}

impl Gathered {
    /// For parts of `block_bytes` bytes; others cost a copy.
    pub(super) fn in_blocks(block_bytes: u64) -> Gathered {
        Gathered {
            blocks: VecDeque::new(),
            block_bytes: usize::try_from(block_bytes.max(1)).unwrap_or(usize::MAX),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, mut piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let capacity = self.block_bytes.max(CAPACITY_MIN_BYTES);
        while !piece.is_empty() {
            // What was taken of a block is no more of its capacity.
            let spare = |block: &mut BytesMut| block.capacity() - block.len();
            let room = self.blocks.back_mut().map_or(0, spare);
            let room = room.saturating_sub(capacity - self.block_bytes);
            let Some(block) = self.blocks.back_mut().filter(|_| room > 0) else {
                self.blocks.push_back(BytesMut::with_capacity(capacity));
                continue;
            };
            let (now, later) = piece.split_at(room.min(piece.len()));
            block.extend_from_slice(now);
            piece = later;
        }
    }

    /// Bytes waiting.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// The first `bytes` bytes, or all if there are fewer, in one piece.
    pub(super) fn take(&mut self, bytes: u64) -> Bytes {
        let wanted = bytes.min(self.bytes) as usize;
        self.bytes -= wanted as u64;
        let first = self.take_of_first(wanted);
        if first.len() == wanted {
            return first;
        }
        let mut part = Vec::with_capacity(wanted);
        part.extend_from_slice(&first);
        drop(first);
        while part.len() < wanted {
            let more = self.take_of_first(wanted - part.len());
            part.extend_from_slice(&more);
        }
        part.into()
    }

    /// Up to `wanted` bytes of the first block.
    fn take_of_first(&mut self, wanted: usize) -> Bytes {
        let Some(block) = self.blocks.front_mut() else {
            return Bytes::new();
        };
        let taken = block.split_to(wanted.min(block.len())).freeze();
        if block.is_empty() {
            self.blocks.pop_front();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_was_pushed_in_order_whatever_the_blocks() {
        for block_bytes in [0, 1, 2, 3, 4, 5, 9, 100] {
            let mut gathered = Gathered::in_blocks(block_bytes);
            for piece in ["abc", "", "defgh", "i"] {
                gathered.push(piece.as_bytes());
            }
            assert_eq!(gathered.len(), 9);
            assert_eq!(gathered.take(4), "abcd");
            assert_eq!(gathered.take(1), "e");
            gathered.push(b"jk");
            assert_eq!(gathered.len(), 6);
            assert_eq!(gathered.take(100), "fghijk");
            assert_eq!(gathered.len(), 0);
            assert!(gathered.take(1).is_empty());
        }
    }

    #[test]
    fn a_part_that_is_a_block_is_not_copied() {
        let mut gathered = Gathered::in_blocks(4);
        gathered.push(b"abcdef");
        let there = gathered.blocks[0].as_ptr();
        assert_eq!(gathered.take(4).as_ptr(), there);
        assert_eq!(gathered.take(4), "ef");
    }
}
