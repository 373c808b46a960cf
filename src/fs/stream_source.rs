//! A stream as the mount's source: follows the ledger into the index, and reads the index.

use super::history::{History, HistoryRow};
use super::source::{HistorySource, Refreshed, SourceError};
use crate::index::EntryRow;
use crate::ledger::Entry;
use crate::model::{MountName, Seq};
use crate::stream::Stream;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows read at a time: a listing of a million needs no more memory than its snapshot.
const ROWS_AT_ONCE: usize = 10_000;

/// A stream as the mount's source.
pub struct StreamSource {
    stream: Arc<Stream>,
    /// The last record that a refresh told of.
    told: Mutex<Option<Seq>>,
}

impl StreamSource {
    /// The source that `stream` is.
    pub fn new(stream: Arc<Stream>) -> StreamSource {
        StreamSource {
            stream,
            told: Mutex::new(None),
        }
    }
}

impl From<&EntryRow> for HistoryRow {
    fn from(row: &EntryRow) -> HistoryRow {
        HistoryRow {
            timeline: row.timeline,
            seq: row.seq,
            name: row.mount_name.as_str().to_owned(),
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
        let now = followed.state.last_seq;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.replace(now);
        // Another process may have taken records into the same index: of those nothing is told here.
        let all_told = before.is_some_and(|before| before.0 + followed.new_records == now.0);
        let rewritten = followed.look_again || !followed.replaced.is_empty();
        Ok(match (all_told, before == Some(now)) {
            _ if rewritten => Refreshed::Rewritten,
            (_, true) => Refreshed::Unchanged,
            // Lost records may stand in the middle.
            (true, false) if followed.lost.is_empty() => Refreshed::Appended,
            (_, false) => Refreshed::Rewritten,
        })
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        let index = self.stream.index();
        for info in index.timelines()? {
            let last = history
                .timeline(info.timeline)
                .and_then(|entries| entries.last());
            let mut after: Option<MountName> = match last {
                Some(last) => Some(last.name.parse()?),
                None => None,
            };
            loop {
                let rows = index.rows(info.timeline, after.as_ref(), ROWS_AT_ONCE)?;
                for row in &rows {
                    history.push(&HistoryRow::from(row))?;
                }
                match rows.last() {
                    Some(last) if rows.len() == ROWS_AT_ONCE => {
                        after = Some(last.mount_name.clone());
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        Ok(self.stream.index().entry_by_seq(seq)?)
    }
}
