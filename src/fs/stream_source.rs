//! A mount's history out of a followed stream and its index.

use super::history::{History, HistoryRow};
use super::source::{HistorySource, Refreshed, SourceError};
use crate::index::{EntryRow, Index};
use crate::ledger::Entry;
use crate::model::{MountName, Seq};
use crate::stream::Stream;
use async_trait::async_trait;
use std::sync::Arc;

/// Rows fetched from the index at a time: the index is free for others between two pages.
const PAGE_ROWS: usize = 4096;

/// A stream as a mount's history.
pub struct StreamSource {
    stream: Arc<Stream>,
    index: Arc<Index>,
}

impl StreamSource {
    /// The history of `stream`.
    pub fn new(stream: Arc<Stream>) -> StreamSource {
        let index = Arc::clone(stream.index());
        StreamSource { stream, index }
    }
}

impl From<EntryRow> for HistoryRow {
    fn from(row: EntryRow) -> HistoryRow {
        HistoryRow {
            timeline: row.timeline,
            seq: row.seq,
            name: row.mount_name.to_string(),
            state: row.state,
            size: row.size,
            stored_size: row.stored_size,
            last_time: row.last_time.or(row.first_time),
        }
    }
}

#[async_trait]
impl HistorySource for StreamSource {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        let followed = self.stream.follow().await?;
        Ok(if followed.look_again || !followed.replaced.is_empty() {
            Refreshed::Rewritten
        } else if followed.new_records > 0 {
            Refreshed::Appended
        } else {
            Refreshed::Unchanged
        })
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        for info in self.index.timelines()? {
            let last = history.timeline(info.timeline).and_then(|known| known.last());
            let mut after: Option<MountName> = last.map(|entry| entry.name.parse()).transpose()?;
            loop {
                let page = self.index.rows(info.timeline, after.as_ref(), PAGE_ROWS)?;
                let Some(last) = page.last() else { break };
                after = Some(last.mount_name.clone());
                for row in page {
                    history.push(&row.into())?;
                }
            }
        }
        Ok(())
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        Ok(self.index.entry_by_seq(seq)?)
    }
}
