//! A body of the length that its server announced: no byte less, none more.
//!
//! The memory of large bodies is used again. glibc gives what is as large as a run of frames back to the system each time, and a page
//! fault for every 4 KiB of the next one takes longer than to receive it.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shorter bodies have memory of their own: who holds one for long would hold a block several times as large.
const POOLED_MIN_BYTES: usize = 3 << 19;
/// Longer ones would hold too much: a run of frames is as long, and a chunk at each end.
const POOLED_MAX_BYTES: usize = (2 << 20) + (256 << 10);
/// Blocks of memory that wait for the next body: as many as one reader has on their way.
const POOLED_BLOCKS: usize = 4;

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn pool() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // Every change is one call: sound after a panic elsewhere.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of it so far. An error says how it differs.
pub(super) struct Body {
    bytes: Vec<u8>,
    length: u64,
}

/// Bytes whose memory goes back to the pool.
struct Pooled(Vec<u8>);

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut block = std::mem::take(&mut self.0);
        block.clear();
        let mut pool = pool();
        if pool.len() < POOLED_BLOCKS {
            pool.push(block);
        }
    }
}

impl Body {
    /// Of `length` bytes, which the caller has bounded.
    pub(super) fn of(length: u64) -> Body {
        Body {
            bytes: room(length as usize),
            length,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        if piece.len() as u64 > self.length - self.bytes.len() as u64 {
            return Err("the body is longer than announced".to_owned());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn whole(self) -> Result<Bytes, String> {
        let (came, length) = (self.bytes.len() as u64, self.length);
        if came != length {
            return Err(format!("the body ended after {came} of {length} bytes"));
        }
        Ok(match self.bytes.capacity() {
            POOLED_MAX_BYTES => Bytes::from_owner(Pooled(self.bytes)),
            _ => self.bytes.into(),
        })
    }
}

/// Room for `length` bytes: a block of the pool, which all have one capacity, where that fits.
fn room(length: usize) -> Vec<u8> {
    if !(POOLED_MIN_BYTES..=POOLED_MAX_BYTES).contains(&length) {
        return Vec::with_capacity(length);
    }
    let block = pool().pop();
    block.unwrap_or_else(|| Vec::with_capacity(POOLED_MAX_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_longer_or_shorter_than_announced_is_none() {
        let of = |length: u64, pieces: &[&str]| {
            let mut body = Body::of(length);
            let mut pieces = pieces.iter();
            pieces.try_for_each(|piece| body.push(piece.as_bytes()))?;
            body.whole()
        };
        assert_eq!(of(0, &[]), Ok(Bytes::new()));
        assert_eq!(of(3, &["ab", "", "c"]), Ok(Bytes::from("abc")));
        let longer = of(3, &["ab", "cd"]).expect_err("too long");
        assert!(longer.contains("longer"), "{longer}");
        let shorter = of(3, &["ab"]).expect_err("too short");
        assert!(shorter.contains("2 of 3 bytes"), "{shorter}");
    }

    #[test]
    fn a_body_in_memory_that_another_had_is_its_own() {
        let of = |byte: u8, length: usize| {
            let mut body = Body::of(length as u64);
            body.push(&vec![byte; length]).expect("no longer");
            body.whole().expect("no shorter")
        };
        for length in [POOLED_MIN_BYTES, POOLED_MAX_BYTES, POOLED_MAX_BYTES + 1, 10] {
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
        let most: Vec<_> = (0..=POOLED_BLOCKS)
            .map(|_| of(4, POOLED_MIN_BYTES))
            .collect();
        drop(most);
        assert!(pool().len() <= POOLED_BLOCKS);
    }

    #[test]
    fn a_body_that_failed_leaves_nothing_behind() {
        let mut body = Body::of(POOLED_MIN_BYTES as u64);
        body.push(b"too short").expect("fits");
        body.whole().expect_err("too short");
        let mut body = Body::of(POOLED_MIN_BYTES as u64);
        body.push(&[5; POOLED_MIN_BYTES]).expect("fits");
        assert!(body.whole().expect("whole").iter().all(|byte| *byte == 5));
    }
}
