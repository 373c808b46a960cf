//! Reads that failed a moment ago: a deadline belongs to a place in a file, and not to each attempt at it.
//!
//! The kernel repeats a failed read of several pages as a read of one page, at once, and would wait for a second deadline. A
//! read that begins where one has just failed after having waited fails alike, without waiting.

use super::error::Cause;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a failure is remembered. The kernel's repetition comes within milliseconds; longer would delay readers after the
/// store is back.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(1);
/// A read that failed faster than this is worth another try: nobody has waited.
const WAITED: Duration = Duration::from_millis(100);
/// Failures remembered; the oldest is forgotten first. More than this many reads at once are not expected of one mount.
const FAILURES_MAX: usize = 4096;

/// The last failures.
#[derive(Default)]
pub(super) struct Failed(Mutex<VecDeque<Failure>>);

struct Failure {
    object: Arc<str>,
    bytes: Range<u64>,
    cause: Cause,
    at: Instant,
}

impl Failed {
    /// Why a read at `offset` of `object` failed a moment ago, if it did.
    pub(super) fn lately(&self, object: &Arc<str>, offset: u64) -> Option<Cause> {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while let Some(oldest) = failed.front()
            && now.duration_since(oldest.at) >= FAILURE_MEMORY
        {
            failed.pop_front();
        }
        let mut latest_first = failed.iter().rev();
        latest_first
            .find(|failure| failure.bytes.contains(&offset) && failure.object == *object)
            .map(|failure| failure.cause.clone())
    }

    /// Notes that a read which began at `begun` has failed.
    pub(super) fn note(&self, object: &Arc<str>, bytes: Range<u64>, cause: &Cause, begun: Instant) {
        let at = Instant::now();
        if at.duration_since(begun) < WAITED {
            return;
        }
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= FAILURES_MAX {
            failed.pop_front();
        }
        failed.push_back(Failure {
            object: Arc::clone(object),
            bytes,
            cause: cause.clone(),
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_repetition_fails_at_once_and_a_later_read_tries_again() {
        let (failed, object) = (Failed::default(), Arc::from("segments/x"));
        let begun = Instant::now();
        tokio::time::sleep(DEADLINE).await;
        failed.note(&object, 8192..16384, &Cause::Timeout(DEADLINE), begun);
        let lately = |offset| failed.lately(&object, offset);
        assert!(matches!(lately(8192), Some(Cause::Timeout(_))));
        assert!(matches!(lately(16383), Some(Cause::Timeout(_))));
        assert!(lately(8191).is_none() && lately(16384).is_none());
        assert!(failed.lately(&Arc::from("segments/y"), 8192).is_none());
        tokio::time::sleep(FAILURE_MEMORY).await;
        assert!(lately(8192).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_waited_for_is_not_remembered_and_memory_is_bounded() {
        let (failed, object) = (Failed::default(), Arc::from("segments/x"));
        failed.note(&object, 0..10, &Cause::Closing, Instant::now());
        assert!(failed.lately(&object, 0).is_none());
        let begun = Instant::now();
        tokio::time::sleep(DEADLINE).await;
        for n in 0..2 * FAILURES_MAX as u64 {
            failed.note(&object, n..n + 1, &Cause::Closing, begun);
        }
        let held = failed.0.lock().expect("sound").len();
        assert_eq!(held, FAILURES_MAX);
        assert!(
            failed
                .lately(&object, 2 * FAILURES_MAX as u64 - 1)
                .is_some()
        );
    }
}
