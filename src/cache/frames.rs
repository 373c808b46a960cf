//! Decoded frames in memory: least recently used go first, within a budget of bytes.
//!
//! Before them go those that were read to their end, and only a few of these are kept: the kernel keeps what it read of a file, a
//! reader goes on, and the next frames are decoded into memory that was just used, which costs a fraction of new memory. A few,
//! because the kernel's requests come in any order: the one for a frame's end may come first.

use super::memory::{Unread, charged_bytes};
use bytes::Bytes;
use lru::LruCache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A frame of a segment: the object's key, and the frame's number.
pub type FrameId = (Arc<str>, u32);

/// The cache. Bytes in it are proven and decoded.
pub struct Frames {
    budget_bytes: usize,
    /// Of which for those that were read to their end.
    done_max_bytes: usize,
    inner: Mutex<Inner>,
}

struct Inner {
    frames: LruCache<FrameId, Kept>,
    /// Those that were read to their end.
    done: LruCache<FrameId, Kept>,
    held_bytes: usize,
    /// Of which for the latter.
    done_bytes: usize,
}

struct Kept {
    bytes: Bytes,
    /// Set while the frame was fetched ahead and nobody has read it.
    unread: Option<Unread>,
}

impl Kept {
    /// Not less than its charge: what is kept must leave the other half of the memory to those who wait for some, however small
    /// frames are.
    fn cost(&self) -> usize {
        let charged = usize::try_from(charged_bytes(self.bytes.len() as u64));
        let held = self.bytes.len() + FRAME_OVERHEAD_BYTES;
        charged.map_or(held, |charged| charged.max(held))
    }
}

/// What frames may take that were read to their end: more than the kernel asks for at once of one file.
const DONE_BYTES: usize = 8 << 20;
/// What a frame costs beside its bytes: key, list links, allocation headers.
const FRAME_OVERHEAD_BYTES: usize = 256;

impl Frames {
    /// A cache that holds at most `budget_bytes` (overhead counted).
    pub fn new(budget_bytes: usize) -> Frames {
        Frames {
            budget_bytes,
            done_max_bytes: DONE_BYTES,
            inner: Mutex::new(Inner {
                frames: LruCache::unbounded(),
                done: LruCache::unbounded(),
                held_bytes: 0,
                done_bytes: 0,
            }),
        }
    }

    /// A frame, if it is here, for somebody who reads it.
    pub fn get(&self, id: &FrameId) -> Option<Bytes> {
        let mut inner = self.lock();
        if let Some(kept) = inner.frames.get_mut(id) {
            kept.unread = None;
            return Some(kept.bytes.clone());
        }
        inner.done.get(id).map(|kept| kept.bytes.clone())
    }

    /// Somebody has read a frame to its end.
    pub(super) fn read_to_end(&self, id: &FrameId) {
        let mut dropped = Vec::new();
        let mut inner = self.lock();
        if let Some((id, mut kept)) = inner.frames.pop_entry(id) {
            kept.unread = None;
            inner.done_bytes += kept.cost();
            inner.done.put(id, kept);
        }
        // One at least, however large.
        while inner.done.len() > 1 && inner.done_bytes > self.done_max_bytes {
            dropped.push(inner.pop_done());
        }
        drop(inner);
    }

    /// Whether a frame is here; does not count as a use.
    pub fn contains(&self, id: &FrameId) -> bool {
        let inner = self.lock();
        inner.frames.contains(id) || inner.done.contains(id)
    }

    /// Keeps a frame, and drops the least recently used ones that no longer fit. A frame larger than the whole budget is not
    /// kept.
    pub fn insert(&self, id: FrameId, bytes: Bytes) {
        self.keep(id, bytes, None);
    }

    /// [`Frames::insert`], of a frame that was fetched ahead if `unread` says so.
    pub(super) fn keep(&self, id: FrameId, bytes: Bytes, unread: Option<Unread>) {
        let kept = Kept { bytes, unread };
        if kept.cost() > self.budget_bytes {
            return;
        }
        // Freed after the lock is: a MiB goes back to the system meanwhile.
        let mut dropped = Vec::new();
        let mut inner = self.lock();
        if let Some(old) = inner.done.pop(&id) {
            inner.done_bytes -= old.cost();
            inner.held_bytes -= old.cost();
            dropped.push(old);
        }
        inner.held_bytes += kept.cost();
        if let Some(old) = inner.frames.put(id, kept) {
            inner.held_bytes -= old.cost();
            dropped.push(old);
        }
        while inner.held_bytes > self.budget_bytes {
            let old = inner.pop_done().or_else(|| {
                let (_, old) = inner.frames.pop_lru()?;
                inner.held_bytes -= old.cost();
                Some(old)
            });
            let Some(old) = old else { break };
            dropped.push(old);
        }
        drop(inner);
    }

    /// Bytes held, overhead counted.
    pub fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// The most it will hold.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete or not begun: a panic elsewhere leaves it sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes out the frame that was read to its end before all others.
    fn pop_done(&mut self) -> Option<Kept> {
        let (_, old) = self.done.pop_lru()?;
        self.held_bytes -= old.cost();
        self.done_bytes -= old.cost();
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;
    use futures::FutureExt as _;

    fn id(frame: u32) -> FrameId {
        ("segments/x".into(), frame)
    }

    #[test]
    fn the_budget_holds_and_the_least_recently_used_frame_goes_first() {
        let frames = Frames::new(3 * (1000 + FRAME_OVERHEAD_BYTES));
        for frame in 0..3 {
            frames.insert(id(frame), Bytes::from(vec![frame as u8; 1000]));
        }
        assert!(frames.get(&id(0)).is_some());
        frames.insert(id(3), Bytes::from(vec![3; 1000]));
        assert!(!frames.contains(&id(1)));
        assert!(frames.contains(&id(0)) && frames.contains(&id(2)) && frames.contains(&id(3)));
        assert!(frames.held_bytes() <= frames.budget_bytes());
    }

    #[test]
    fn what_was_read_to_its_end_goes_first_and_little_of_it_stays() {
        let cost = 1000 + FRAME_OVERHEAD_BYTES;
        let frames = Frames {
            done_max_bytes: cost,
            ..Frames::new(8 * cost)
        };
        let frame = |n: u32| Bytes::from(vec![n as u8; 1000]);
        for n in 0..8 {
            frames.insert(id(n), frame(n));
        }
        frames.read_to_end(&id(5));
        assert_eq!(frames.get(&id(5)), Some(frame(5)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        frames.read_to_end(&id(6));
        assert!(!frames.contains(&id(5)) && frames.contains(&id(6)));
        assert_eq!(frames.held_bytes(), 7 * cost);
        // Twice, or of a frame that is not there.
        frames.read_to_end(&id(6));
        frames.read_to_end(&id(100));
        // It goes before the least recently used, however lately it was read.
        frames.get(&id(6)).expect("kept");
        frames.insert(id(20), frame(20));
        frames.insert(id(21), frame(21));
        assert!(!frames.contains(&id(6)) && frames.contains(&id(0)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        // One that is fetched again is new.
        frames.read_to_end(&id(0));
        frames.insert(id(0), frame(0));
        frames.read_to_end(&id(1));
        assert!(frames.contains(&id(0)) && frames.contains(&id(1)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        for n in 0..30 {
            frames.read_to_end(&id(n));
        }
        assert_eq!(frames.held_bytes(), cost);
    }

    #[test]
    fn however_small_the_frames_are_that_are_kept_a_demand_finds_its_half() {
        let memory = Memory::new(64 << 10);
        let budget = usize::try_from(memory.kept_bytes()).expect("small");
        let frames = Frames::new(budget);
        for frame in 0..1000 {
            let charge = memory.demand(10).now_or_never();
            let charge = charge.expect("nobody has to wait").expect("free");
            let bytes = charge.keep_with(Bytes::from(vec![0; 10]));
            frames.insert(id(frame), bytes);
        }
        let half = memory.total_bytes() - memory.kept_bytes();
        let demanded = memory.demand(half).now_or_never();
        demanded.expect("at once").expect("free");
    }

    #[test]
    fn the_same_frame_twice_counts_once_and_one_too_large_is_not_kept() {
        let frames = Frames::new(2000);
        for _ in 0..10 {
            frames.insert(id(0), Bytes::from(vec![0; 1000]));
        }
        assert_eq!(frames.held_bytes(), 1000 + FRAME_OVERHEAD_BYTES);
        frames.insert(id(1), Bytes::from(vec![0; 2000]));
        assert!(!frames.contains(&id(1)) && frames.contains(&id(0)));
    }
}
