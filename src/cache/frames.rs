//! Decoded frames in memory: least recently used go first, within a budget of bytes.
//!
//! Before them go those that were read whole, and only a few of these are kept: the kernel keeps what it read of a file, a reader goes
//! on, and the next frames are decoded into memory that was just used, which costs a fraction of new memory. A few, because several
//! may read one file past the kernel's page cache. Whole is as many bytes as a frame has: requests come in any order, and who reads
//! here and there reads a frame's end no later than the rest.
//!
//! So who reads on fills no memory, and pushes nothing out. What nobody used for long while as much came as there is room for goes
//! all the same: it may have been fetched ahead of somebody who left, and what is fetched ahead for others is less by that.

use super::memory::{Unread, charged_bytes};
use bytes::Bytes;
use lru::LruCache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A frame of a segment: the object's key, and the frame's number.
pub type FrameId = (Arc<str>, u32);

/// The cache. Bytes in it are proven and decoded.
pub struct Frames {
    budget_bytes: usize,
    /// Of which for those that were read whole.
    done_max_bytes: usize,
    /// For how long what nobody uses stays at least, if there is room.
    patience: Duration,
    inner: Mutex<Inner>,
}

struct Inner {
    frames: LruCache<FrameId, Kept>,
    /// Those that were read whole.
    done: LruCache<FrameId, Kept>,
    held_bytes: usize,
    /// Of which for the latter.
    done_bytes: usize,
    /// All that ever came.
    came_bytes: u64,
}

struct Kept {
    bytes: Bytes,
    /// Set while the frame was fetched ahead and nobody has read it.
    unread: Option<Unread>,
    /// When it was used last, and what had come then.
    used: (Instant, u64),
    /// Of its bytes, how many nobody has read yet.
    left: usize,
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

/// What frames may take that were read whole: more than the kernel asks for at once of one file.
const DONE_BYTES: usize = 8 << 20;
/// How long a slow reader may take to come to what was fetched ahead of it: 32 MiB at a MB/s.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a frame costs beside its bytes: key, list links, allocation headers.
const FRAME_OVERHEAD_BYTES: usize = 256;

impl Frames {
    /// A cache that holds at most `budget_bytes` (overhead counted).
    pub fn new(budget_bytes: usize) -> Frames {
        Frames {
            budget_bytes,
            done_max_bytes: DONE_BYTES,
            patience: PATIENCE,
            inner: Mutex::new(Inner {
                frames: LruCache::unbounded(),
                done: LruCache::unbounded(),
                held_bytes: 0,
                done_bytes: 0,
                came_bytes: 0,
            }),
        }
    }

    /// A frame, if it is here, for somebody who reads it.
    pub fn get(&self, id: &FrameId) -> Option<Bytes> {
        let mut inner = self.lock();
        let now = (Instant::now(), inner.came_bytes);
        if let Some(kept) = inner.frames.get_mut(id) {
            kept.unread = None;
            kept.used = now;
            return Some(kept.bytes.clone());
        }
        inner.done.get(id).map(|kept| kept.bytes.clone())
    }

    /// Somebody has read `bytes` of a frame.
    pub(super) fn was_read(&self, id: &FrameId, bytes: usize) {
        let mut dropped = Vec::new();
        let mut inner = self.lock();
        let Some(kept) = inner.frames.peek_mut(id) else {
            return;
        };
        kept.left = kept.left.saturating_sub(bytes);
        if kept.left > 0 {
            return;
        }
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
        let mut kept = Kept {
            left: bytes.len(),
            bytes,
            unread,
            used: (Instant::now(), 0),
        };
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
        inner.came_bytes += kept.cost() as u64;
        kept.used.1 = inner.came_bytes;
        if let Some(old) = inner.frames.put(id, kept) {
            inner.held_bytes -= old.cost();
            dropped.push(old);
        }
        while let Some(old) = inner.pop_beyond(self.budget_bytes, self.patience) {
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
    /// Takes out what has to go next, if anything has.
    fn pop_beyond(&mut self, budget_bytes: usize, patience: Duration) -> Option<Kept> {
        let is_left = self.frames.peek_lru().is_some_and(|(_, kept)| {
            let (at, had_come) = kept.used;
            self.came_bytes - had_come > budget_bytes as u64 && at.elapsed() >= patience
        });
        if is_left {
            return self.pop_unused();
        }
        if self.held_bytes <= budget_bytes {
            return None;
        }
        self.pop_done().or_else(|| self.pop_unused())
    }

    /// Takes out the frame that was not used for longest.
    fn pop_unused(&mut self) -> Option<Kept> {
        let (_, old) = self.frames.pop_lru()?;
        self.held_bytes -= old.cost();
        Some(old)
    }

    /// Takes out the frame that was read whole and not used for longest.
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
    fn what_was_read_whole_goes_first_and_little_of_it_stays() {
        let cost = 1000 + FRAME_OVERHEAD_BYTES;
        let frames = Frames {
            done_max_bytes: cost,
            ..Frames::new(8 * cost)
        };
        let frame = |n: u32| Bytes::from(vec![n as u8; 1000]);
        for n in 0..8 {
            frames.insert(id(n), frame(n));
        }
        frames.was_read(&id(5), 1000);
        assert_eq!(frames.get(&id(5)), Some(frame(5)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        frames.was_read(&id(6), 1000);
        assert!(!frames.contains(&id(5)) && frames.contains(&id(6)));
        assert_eq!(frames.held_bytes(), 7 * cost);
        // Twice, or of a frame that is not there.
        frames.was_read(&id(6), 1000);
        frames.was_read(&id(100), 1000);
        // It goes before the least recently used, however lately it was read.
        frames.get(&id(6)).expect("kept");
        frames.insert(id(20), frame(20));
        frames.insert(id(21), frame(21));
        assert!(!frames.contains(&id(6)) && frames.contains(&id(0)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        // One that is fetched again is new.
        frames.was_read(&id(0), 1000);
        frames.insert(id(0), frame(0));
        frames.was_read(&id(1), 1000);
        assert!(frames.contains(&id(0)) && frames.contains(&id(1)));
        assert_eq!(frames.held_bytes(), 8 * cost);
        for n in 0..30 {
            frames.was_read(&id(n), 1000);
        }
        assert_eq!(frames.held_bytes(), cost);
    }

    #[test]
    fn a_frame_whose_end_was_read_stays_until_the_rest_was_read() {
        let cost = 1000 + FRAME_OVERHEAD_BYTES;
        let frames = Frames {
            done_max_bytes: cost,
            ..Frames::new(8 * cost)
        };
        let read = |n: u32, bytes: usize| {
            if !frames.contains(&id(n)) {
                frames.insert(id(n), Bytes::from(vec![n as u8; 1000]));
            }
            frames.was_read(&id(n), bytes);
        };
        read(0, 400);
        (1..5).for_each(|n| read(n, 1000));
        assert!(frames.contains(&id(0)));
        read(0, 599);
        (5..7).for_each(|n| read(n, 1000));
        assert!(frames.contains(&id(0)));
        read(0, 1);
        read(7, 1000);
        assert!(!frames.contains(&id(0)));
    }

    #[test]
    fn what_was_fetched_ahead_of_somebody_who_left_goes_although_others_read_frames_whole() {
        let cost = 1000 + FRAME_OVERHEAD_BYTES;
        let frames = Frames {
            done_max_bytes: cost,
            patience: Duration::ZERO,
            ..Frames::new(8 * cost)
        };
        let memory = Memory::new(1 << 20);
        let (_, unread) = memory.ahead(1000, 0).expect("room");
        frames.keep(id(0), Bytes::from(vec![0; 1000]), Some(unread));
        let read = |n: u32| {
            frames.insert(id(n), Bytes::from(vec![n as u8; 1000]));
            frames.was_read(&id(n), 1000);
        };
        (1..9).for_each(read);
        assert!(frames.contains(&id(0)) && memory.unread_bytes() > 0);
        read(9);
        assert!(!frames.contains(&id(0)));
        assert_eq!(memory.unread_bytes(), 0);
        assert_eq!(frames.held_bytes(), cost);
        // What somebody slow may still come to stays.
        let frames = Frames {
            patience: PATIENCE,
            ..frames
        };
        let (_, unread) = memory.ahead(1000, 0).expect("room");
        frames.keep(id(0), Bytes::from(vec![0; 1000]), Some(unread));
        for n in 1..100 {
            frames.insert(id(n), Bytes::from(vec![n as u8; 1000]));
            frames.was_read(&id(n), 1000);
        }
        assert!(frames.contains(&id(0)) && memory.unread_bytes() > 0);
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
