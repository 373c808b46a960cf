//! Where the mount has its history from.

use super::history::History;
use crate::index::Index;
use crate::ledger::Entry;
use crate::model::{ObjectKey, Seq};
use async_trait::async_trait;
use std::sync::Arc;

/// An error of a source, with its whole story in its text.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What a refresh found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing new.
    Unchanged,
    /// New entries after the last ones.
    Appended,
    /// Entries in the middle have changed: a hole was filled, a timeline fenced or pruned.
    Rewritten,
}

/// A history that can be brought up to date and asked for its entries: a stream and its index.
#[async_trait]
pub trait HistorySource: Send + Sync + 'static {
    /// Brings it up to date with the bucket.
    ///
    /// # Errors
    /// When the bucket cannot be read or contradicts what is known; what was known before stays readable.
    async fn refresh(&self) -> Result<Refreshed, SourceError>;

    /// Adds to `history` every entry that comes after its last ones. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn extend(&self, history: &mut History) -> Result<(), SourceError>;

    /// Where moments and transactions are looked up, if that is known: without it no part of the history is made on demand.
    fn index(&self) -> Option<Arc<Index>> {
        None
    }

    /// Where the stream is in the store that its segments are read from; `None`: at the top.
    fn dir(&self) -> Option<&ObjectKey> {
        None
    }

    /// The entry that record `seq` introduced, in full. Blocks.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError>;
}
