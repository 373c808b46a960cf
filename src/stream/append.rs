//! A record at the end of a ledger: created only if nobody else created one at that place.

use super::Followed;
use crate::ledger::{LedgerState, Line, record_key};
use crate::model::{ObjectKey, Seq};
use crate::store::{self, SharedStore};
use std::sync::Arc;

/// The newest record cannot be read: what it said is unknown, and so is what may follow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the newest ledger record, {seq}, cannot be read, so nothing can be appended after it; restore {key} from a copy of the bucket"
)]
pub struct TailDamaged {
    /// The record.
    pub seq: Seq,
    /// Its key.
    pub key: ObjectKey,
}

/// Each time, somebody else's record was there first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "lost the race for the next ledger record {0} times in a row; is another archiver writing to this stream without end?"
)]
pub struct RacesLost(pub u32);

impl Followed {
    /// What the ledger says, if its newest record could be read.
    ///
    /// # Errors
    /// When it could not.
    pub fn whole(self) -> Result<Arc<LedgerState>, TailDamaged> {
        match self.tail_damaged {
            None => Ok(self.state),
            Some(seq) => Err(TailDamaged {
                seq,
                key: record_key(seq),
            }),
        }
    }
}

/// Creates the object of a record, which [`LedgerState::followed_by`] made. Returns whether it is the one that was created: if not,
/// somebody else's is there. It may be ours after a lost reply, and who follows the ledger sees which.
///
/// # Errors
/// When the store fails.
pub async fn append(store: &SharedStore, line: &Line) -> store::Result<bool> {
    match store.create(&record_key(line.seq()), line.stored()).await {
        Ok(()) => Ok(true),
        Err(error) if error.already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Body, testing};
    use crate::store::{MemoryStore, Store as _};

    #[tokio::test]
    async fn of_two_records_for_one_place_the_first_stays() {
        let file = testing::stream_file();
        let state = LedgerState::new(&file, &file.write());
        let record = |size: u64| {
            let mut segment = testing::segment(1);
            segment.size = size;
            let body = Body::Segment(Box::new(segment));
            state.followed_by(body).expect("a record").0
        };
        let (ours, theirs) = (record(10_000), record(20_000));
        let memory = MemoryStore::new();
        let store: SharedStore = Arc::new(memory.clone());
        assert!(append(&store, &ours).await.expect("creates"));
        assert!(!append(&store, &theirs).await.expect("finds it taken"));
        assert!(!append(&store, &ours).await.expect("finds it taken"));
        let key = record_key(ours.seq());
        let there = memory.get_all(&key, 1 << 20).await.expect("there");
        assert_eq!(there, ours.stored());
    }
}
