//! What unit tests of the views are made of.

use super::history::History;
use super::source::{HistorySource, Refreshed, SourceError};
use super::tree::Ownership;
use crate::cache::{CacheOptions, SegmentReader};
use crate::ledger::Entry;
use crate::model::Seq;
use crate::segment::Identities;
use crate::store::MemoryStore;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

pub(super) const OWNERSHIP: Ownership = Ownership {
    uid: 0,
    gid: 0,
    mode: 0o440,
};

/// A reader of nothing.
pub(super) fn reader() -> Arc<SegmentReader> {
    reader_within(CacheOptions::default().deadline)
}

/// The same, for calls that may take so long.
pub(super) fn reader_within(deadline: Duration) -> Arc<SegmentReader> {
    let store = Arc::new(MemoryStore::new());
    let options = CacheOptions {
        deadline,
        ..CacheOptions::default()
    };
    Arc::new(SegmentReader::new(store, Identities::none(), None, options))
}

/// Shows this history, and has none of its entries.
pub(super) struct Shows(pub(super) fn() -> History);

#[async_trait]
impl HistorySource for Shows {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        Ok(Refreshed::Rewritten)
    }

    fn extend(&self, shown: &mut History) -> Result<(), SourceError> {
        *shown = (self.0)();
        Ok(())
    }

    fn entry(&self, _: Seq) -> Result<Option<Entry>, SourceError> {
        Ok(None)
    }
}
