//! What the first store says itself, for whoever has to know whose word it is.

use super::{Copies, CopyReason, PATIENCE, reason};
use crate::store::{Result, SharedStore};

impl Copies {
    /// The first store, without its copies.
    pub fn first(&self) -> &SharedStore {
        &self.first
    }

    /// What `ask`, a request to [`Copies::first`], comes to. `None` if that store does not answer: not now, not within [`PATIENCE`],
    /// or not a while ago.
    pub async fn own<T>(&self, ask: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        if self.first_away.is_away() {
            return None;
        }
        let answer = tokio::time::timeout(PATIENCE, ask).await.ok();
        let answer = answer.filter(|answer| {
            let kind = answer.as_ref().err().map(|error| error.kind);
            kind.and_then(reason) != Some(CopyReason::Unreachable)
        });
        if answer.is_none() {
            self.first_away.note();
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use crate::store::copies::{CopiesStore, PATIENCE};
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{ErrorKind, MemoryStore, Store as _};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_first_store_answers_for_itself_and_is_waited_for_once() {
        let key = "ledger/x".parse().expect("a key");
        for (fault, answers) in [
            (Fault::None, true),
            (Fault::ErrorBefore(ErrorKind::Timeout), false),
            (Fault::Delay(Duration::from_secs(3600)), false),
        ] {
            let copy = MemoryStore::new();
            copy.tamper(&key, "copied");
            let clock = FaultClock::new(move |_| fault);
            let first = FaultStore::new(Arc::new(MemoryStore::new()), clock);
            let store = CopiesStore::new(Arc::new(first), vec![Arc::new(copy)]);
            let copies = store.copies().expect("there");
            let begun = Instant::now();
            for _ in 0..3 {
                let own = copies.own(copies.first().get_all(&key, 9)).await;
                let missing = matches!(&own, Some(Err(error)) if error.is_not_found());
                assert_eq!((missing, own.is_none()), (answers, !answers), "{fault:?}");
            }
            assert!(begun.elapsed() < PATIENCE + Duration::from_secs(1));
        }
    }
}
