//! Objects that none of the keys at hand opens: for a while that is known, and their store is not asked at each read.
//!
//! The answer cannot outlive a change of keys. Those of a reader are given to it once, when it is made. A segment that is re-keyed has
//! another id ([`super::ArchivedSegment::id`]): that of its new object, or one that says by which header. It is forgotten after
//! [`REFUSAL_MEMORY`] all the same, because somebody may put the right object in the place of one that was never this segment's.

use super::error::Cause;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long it is known. Whoever reads a directory of such files asks for each of them once, and not for each page that is read.
pub const REFUSAL_MEMORY: Duration = Duration::from_secs(30);
/// Objects that it is known of, some hundred bytes each; the one asked for longest ago is forgotten first.
const REFUSALS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("more than none");

/// The last refusals, by the id of the segment.
pub(super) struct Refused(Mutex<LruCache<Arc<str>, (Cause, Instant)>>);

impl Default for Refused {
    fn default() -> Refused {
        Refused(Mutex::new(LruCache::new(REFUSALS_MAX)))
    }
}

impl Refused {
    /// Why the segment did not open a while ago, if it was for want of a key.
    pub(super) fn lately(&self, id: &Arc<str>) -> Option<Cause> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, at) = refused.get(id)?;
        if at.elapsed() < REFUSAL_MEMORY {
            return Some(cause.clone());
        }
        refused.pop(id);
        None
    }

    /// Notes why a segment did not open, if it was for want of a key: anything else may be otherwise at the next read.
    pub(super) fn note(&self, id: &Arc<str>, cause: &Cause) {
        if let Cause::NoKey(_) = cause {
            let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            refused.put(Arc::clone(id), (cause.clone(), Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentError;

    fn no_key() -> Cause {
        Cause::from(SegmentError::NoKey {
            reason: "it is for others".to_owned(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_missing_key_is_remembered_of_its_own_segment_and_for_a_while() {
        let (refused, id) = (Refused::default(), Arc::from("segments/x"));
        for other in [Cause::Closing, Cause::Timeout(REFUSAL_MEMORY)] {
            refused.note(&id, &other);
            assert!(refused.lately(&id).is_none());
        }
        refused.note(&id, &no_key());
        tokio::time::advance(REFUSAL_MEMORY / 2).await;
        assert!(matches!(refused.lately(&id), Some(Cause::NoKey(_))));
        // The same object by another header.
        assert!(refused.lately(&Arc::from("segments/x 00ff")).is_none());
        // It was asked for in between: that makes it no longer.
        tokio::time::advance(REFUSAL_MEMORY / 2).await;
        assert!(refused.lately(&id).is_none());
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let refused = Refused::default();
        for n in 0..2 * REFUSALS_MAX.get() {
            refused.note(&format!("segments/{n}").into(), &no_key());
        }
        let held = refused.0.lock().expect("sound").len();
        assert_eq!(held, REFUSALS_MAX.get());
        assert!(refused.lately(&Arc::from("segments/0")).is_none());
        let newest = format!("segments/{}", 2 * REFUSALS_MAX.get() - 1);
        assert!(refused.lately(&newest.into()).is_some());
    }
}
