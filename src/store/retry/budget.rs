//! How many retries all calls on a store may still make: a bucket of tokens.
//!
//! Each retry takes some, each answer of the store gives one back. A store that fails now and then keeps the bucket full; one
//! that is down empties it, and from then on every call fails at its first attempt, so that the store is not asked eight times
//! as often when it can bear it least. The calls themselves go on, and the first answers fill the bucket again.

use std::sync::atomic::{AtomicU32, Ordering};

/// Tokens of a full bucket: a hundred retries, or fourteen calls that use up all their attempts.
const TOKENS_MAX: u32 = 500;
/// Tokens of one retry, so that no more than one in six requests is one for long. (The SDKs of AWS use these numbers.)
const RETRY_TOKENS: u32 = 5;
/// Tokens that an answer gives back.
const ANSWER_TOKENS: u32 = 1;

/// The bucket.
pub(super) struct Budget(AtomicU32);

impl Budget {
    /// A full one.
    pub(super) fn full() -> Budget {
        Budget(AtomicU32::new(TOKENS_MAX))
    }

    /// Takes what a retry costs; false when there is not so much.
    pub(super) fn take(&self) -> bool {
        let take = |tokens: u32| tokens.checked_sub(RETRY_TOKENS);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// The store has answered.
    pub(super) fn give(&self) {
        let give = |tokens: u32| (tokens < TOKENS_MAX).then_some(tokens + ANSWER_TOKENS);
        // Full already is as good.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_is_a_hundred_retries_and_five_answers_are_one_more() {
        let budget = Budget::full();
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
        (0..4).for_each(|_| budget.give());
        assert!(!budget.take());
        budget.give();
        assert!(budget.take());
        assert!(!budget.take());
    }

    #[test]
    fn it_never_holds_more_than_when_it_was_full() {
        let budget = Budget::full();
        (0..10_000).for_each(|_| budget.give());
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
    }
}
