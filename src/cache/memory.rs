//! The memory that all readers share: one number of bytes, given out in charges that come back when their bytes are dropped.
//!
//! ```text
//! total ── kept: decoded frames that may be read again      at most half; the least recently used go first
//!       └─ working: stored bytes in flight, frames on their way to a reader
//!             └─ ahead: what nobody has asked for yet       only while half of the working memory stays free
//! ```
//! **A demanded read always proceeds.** It waits for its charge in turn, and what it waits for comes back by itself: the kept
//! frames never take more than their half, a fetch ends by its deadline, a reply is sent at once, and who waits for one frame
//! holds no other (a read of several copies each as it comes), nor a file's beginning, which it lets go. What is fetched ahead never
//! waits and never takes the memory that a demand would find: it is left out when there is none.

use super::error::Cause;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a permit stands for: semaphores count in 32 bits.
const PERMIT_BYTES: u64 = 1 << 10;
/// Of the total, frames that are kept.
const KEPT_SHARE: u64 = 2;
/// Eighths of the total, plain bytes that were fetched ahead and not read yet. Less than what is kept, or they would push each other
/// out before they are read.
const AHEAD_EIGHTHS: u64 = 3;
/// Of the total, what a demand finds free whatever is fetched ahead.
const FREE_SHARE: u64 = 4;

/// The budget. Clones are the same one.
#[derive(Clone)]
pub(super) struct Memory {
    total_bytes: u64,
    all: Arc<Semaphore>,
    ahead: Arc<Semaphore>,
}

/// Bytes that were given out, until this is dropped.
#[derive(Debug)]
pub(super) struct Charge(OwnedSemaphorePermit);

/// Plain bytes fetched ahead that nobody has read yet, until this is dropped.
#[derive(Debug)]
pub(super) struct Unread(OwnedSemaphorePermit);

/// What so many bytes are charged with.
pub(super) fn charged_bytes(bytes: u64) -> u64 {
    u64::from(permits(bytes)) * PERMIT_BYTES
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

impl Memory {
    pub(super) fn new(total_bytes: u64) -> Memory {
        let semaphore = |bytes: u64| {
            let permits = usize::try_from(bytes / PERMIT_BYTES).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
        };
        Memory {
            total_bytes,
            all: semaphore(total_bytes),
            ahead: semaphore(total_bytes / 8 * AHEAD_EIGHTHS),
        }
    }

    /// All of it.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The most that kept frames may take.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.total_bytes / KEPT_SHARE
    }

    /// The most that may be fetched ahead for all readers together.
    pub(super) fn ahead_bytes(&self) -> u64 {
        self.total_bytes / 8 * AHEAD_EIGHTHS
    }

    /// Bytes for somebody who waits for them, as soon as they are free. Of more than the working memory only so much is
    /// charged: what is larger than the budget proceeds alone.
    pub(super) async fn demand(&self, bytes: u64) -> Result<Charge, Cause> {
        let all = Arc::clone(&self.all);
        let permit = all.acquire_many_owned(self.demanded(bytes)).await;
        // Nobody closes it.
        permit.map(Charge).map_err(|_| Cause::Closing)
    }

    /// [`Memory::demand`] of bytes that are free now.
    pub(super) fn demand_now(&self, bytes: u64) -> Option<Charge> {
        let all = Arc::clone(&self.all);
        let permit = all.try_acquire_many_owned(self.demanded(bytes));
        permit.ok().map(Charge)
    }

    /// Permits for a demand of `bytes`.
    fn demanded(&self, bytes: u64) -> u32 {
        let most = self.total_bytes - self.kept_bytes();
        permits(bytes.min(most)).max(1)
    }

    /// Bytes for `plain` ones that nobody has asked for, and as many stored ones as come with them; only if there is room.
    pub(super) fn ahead(&self, plain: u64, stored: u64) -> Option<(Charge, Unread)> {
        let wanted = permits(plain.saturating_add(stored));
        let free = u64::from(wanted) * PERMIT_BYTES + self.total_bytes / FREE_SHARE;
        if (self.all.available_permits() as u64) * PERMIT_BYTES < free {
            return None;
        }
        let unread = Arc::clone(&self.ahead).try_acquire_many_owned(permits(plain));
        let charge = Arc::clone(&self.all).try_acquire_many_owned(wanted);
        Some((Charge(charge.ok()?), Unread(unread.ok()?)))
    }

    /// Plain bytes that one reader may have fetched ahead now: half of what is left, so that those who come later get some
    /// too.
    pub(super) fn room_ahead(&self) -> u64 {
        (self.ahead.available_permits() as u64) * PERMIT_BYTES / 2
    }

    /// Plain bytes that were fetched ahead, or are on their way, and that nobody has read yet.
    pub(super) fn unread_bytes(&self) -> u64 {
        let free = (self.ahead.available_permits() as u64) * PERMIT_BYTES;
        self.ahead_bytes().saturating_sub(free)
    }

    /// Bytes that are given out.
    pub(super) fn used_bytes(&self) -> u64 {
        let free = (self.all.available_permits() as u64) * PERMIT_BYTES;
        self.total_bytes.saturating_sub(free)
    }
}

/// Takes `bytes` out of `permit`, or all that it has if those are fewer.
fn split(permit: &mut OwnedSemaphorePermit, bytes: u64) -> OwnedSemaphorePermit {
    let count = (permits(bytes) as usize).min(permit.num_permits());
    match permit.split(count) {
        Some(part) => part,
        // It has as many as are asked for.
        None => unreachable!("a permit of {} has {count}", permit.num_permits()),
    }
}

impl Unread {
    /// Takes `bytes` out of it, or all that it has if those are fewer.
    pub(super) fn split(&mut self, bytes: u64) -> Unread {
        Unread(split(&mut self.0, bytes))
    }
}

impl Charge {
    /// Takes `bytes` out of it, or all that it has if those are fewer.
    pub(super) fn split(&mut self, bytes: u64) -> Charge {
        Charge(split(&mut self.0, bytes))
    }

    /// `bytes`, which keep this charge for as long as anybody has a part of them.
    pub(super) fn keep_with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Charged {
            bytes,
            _charge: self,
        })
    }
}

struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn a_charge_comes_back_with_the_last_part_of_its_bytes() {
        let memory = Memory::new(8 * MIB);
        let mut charge = memory.demand(3 * MIB).await.expect("free");
        let stored = charge.split(MIB);
        let bytes = charge.keep_with(Bytes::from_static(b"abc"));
        let part = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(memory.used_bytes(), 3 * MIB);
        drop(stored);
        assert_eq!(memory.used_bytes(), 2 * MIB);
        assert_eq!(part, "b");
        drop(part);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_fetched_ahead_leaves_a_demand_its_share_and_never_waits() {
        let memory = Memory::new(16 * MIB);
        let mut ahead = Vec::new();
        while let Some(charge) = memory.ahead(MIB, MIB) {
            ahead.push(charge);
        }
        assert_eq!(ahead.len(), 6, "three eighths of the total, plain");
        assert_eq!(memory.unread_bytes(), 6 * MIB);
        let demanded = memory.demand(4 * MIB).now_or_never();
        demanded.expect("at once").expect("free");
        assert!(memory.ahead(MIB, 0).is_none());
        ahead.pop();
        assert!(memory.ahead(MIB, 0).is_some());
    }

    #[tokio::test]
    async fn what_is_larger_than_the_budget_proceeds_and_is_charged_as_working_memory() {
        let memory = Memory::new(4 * MIB);
        let large = memory.demand(1000 * MIB).await.expect("free");
        assert_eq!(memory.used_bytes(), 2 * MIB);
        // Nothing is kept yet, and that half is free for one more.
        let other = memory.demand(3 * MIB).now_or_never();
        let other = other.expect("at once").expect("free");
        assert!(memory.demand(MIB).now_or_never().is_none());
        drop((large, other));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_reader_gets_half_of_what_is_left() {
        let memory = Memory::new(16 * MIB);
        assert_eq!(memory.room_ahead(), 3 * MIB);
        let first = memory.ahead(2 * MIB, 0).expect("room");
        assert_eq!(memory.room_ahead(), 2 * MIB);
        drop(first);
        assert_eq!(memory.room_ahead(), 3 * MIB);
    }
}
