//! How many reads copies have served, and why.

use lru::LruCache;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Objects of which it is remembered that they were told of; of one that is forgotten it is told again.
const TOLD_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// Why a copy was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyReason {
    /// The first store has no such object.
    Missing,
    /// Its bytes are not those that were stored.
    Damaged,
    /// It does not answer, or does not let us read.
    Unreachable,
}

impl CopyReason {
    /// Its name in figures and logs.
    pub fn name(self) -> &'static str {
        match self {
            CopyReason::Missing => "missing",
            CopyReason::Damaged => "damaged",
            CopyReason::Unreachable => "unreachable",
        }
    }
}

/// Reads that copies served, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFigures {
    /// The first store had no such object.
    pub missing: u64,
    /// Its bytes were wrong.
    pub damaged: u64,
    /// It did not answer.
    pub unreachable: u64,
}

/// The counters behind [`CopyFigures`].
pub(super) struct CopyCounts {
    missing: AtomicU64,
    damaged: AtomicU64,
    unreachable: AtomicU64,
    told: Mutex<LruCache<String, ()>>,
}

impl Default for CopyCounts {
    fn default() -> CopyCounts {
        CopyCounts {
            missing: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            unreachable: AtomicU64::new(0),
            told: Mutex::new(LruCache::new(TOLD_MAX)),
        }
    }
}

impl CopyCounts {
    pub(super) fn served(&self, reason: CopyReason, key: &str, copy: &str) {
        let counter = match reason {
            CopyReason::Missing => &self.missing,
            CopyReason::Damaged => &self.damaged,
            CopyReason::Unreachable => &self.unreachable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // What is remembered is only told of: after a panic elsewhere it is sound enough.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.put(key.to_owned(), ()).is_none() {
            let reason = reason.name();
            tracing::warn!(
                object = key,
                reason,
                copy,
                "read from a second copy; 'binlogfs verify' tells what is wrong with the first"
            );
        }
    }

    pub(super) fn figures(&self) -> CopyFigures {
        CopyFigures {
            missing: self.missing.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
        }
    }
}
