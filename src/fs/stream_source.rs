//! A stream as the mount's source: follows the ledger into the index, and reads the index.

use super::chunk::{Load, Outline};
use super::history::{History, HistoryRow};
use super::refresh::blocking;
use super::source::{HistorySource, Refreshed, SourceError};
use crate::index::{EntryRow, Index, ListingChunk, Making};
use crate::ledger::Entry;
use crate::model::{MountName, Seq};
use crate::stream::{Stream, StreamError};
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows read at a time: more than a chunk of the index's listing has.
const ROWS_AT_ONCE: usize = 10_000;
/// Why a history is not loaded that would end early.
const INCOMPLETE: &str = "another process builds the index anew: what it has at the moment may not be all of the history";

/// A stream as the mount's source.
pub struct StreamSource {
    stream: Arc<Stream>,
    told: Mutex<Told>,
}

/// What whoever shows the history has been told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The last record of the history that was loaded.
    loaded: Option<Seq>,
    /// The last record that a refresh told of, which may not be loaded yet.
    offered: Option<Seq>,
    /// Something changed in the middle since the history was loaded.
    rewritten: bool,
    /// The making of the index that the history was loaded from.
    making: Option<Making>,
}

impl StreamSource {
    /// The source that `stream` is.
    pub fn new(stream: Arc<Stream>) -> StreamSource {
        StreamSource {
            stream,
            told: Mutex::default(),
        }
    }
}

impl StreamSource {
    /// After a ledger that cannot be followed to its end: what was taken in before that, if it is not shown yet.
    fn what_is_known(&self, error: StreamError) -> Result<Refreshed, SourceError> {
        let known = self.stream.index().state()?;
        let last = known.map_or(Seq(0), |state| state.last_seq);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 == 0 || told.loaded == Some(last) {
            return Err(error.into());
        }
        tracing::error!(%error, "the history is shown as far as it is known");
        told.offered = Some(last);
        // What of it was in the middle is not known: so it stays until it is loaded.
        told.rewritten = true;
        Ok(Refreshed::Rewritten)
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

impl From<&ListingChunk> for Outline {
    fn from(chunk: &ListingChunk) -> Outline {
        Outline {
            first_name: chunk.first_name.as_str().to_owned(),
            last_name: chunk.last_name.as_str().to_owned(),
            first_seq: chunk.first_seq,
            last_seq: chunk.last_seq,
            entries: usize::try_from(chunk.entries).unwrap_or(usize::MAX),
            last_time: chunk.last_time,
        }
    }
}

/// Has a chunk's entries out of the index.
fn load(index: Arc<Index>, chunk: ListingChunk) -> Load {
    Arc::new(move |entries| {
        index.listed(&chunk, |row| {
            entries.push(
                row.seq,
                row.name,
                row.state,
                (row.size, row.stored_size),
                row.time,
            );
        })?;
        Ok(())
    })
}

#[async_trait]
impl HistorySource for StreamSource {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        let followed = match self.stream.follow().await {
            Ok(followed) => followed,
            Err(error) if error.leaves_history() => return self.what_is_known(error),
            Err(error) => return Err(error.into()),
        };
        let now = followed.state.last_seq;
        let index = Arc::clone(self.stream.index());
        let making = blocking(move || Ok(index.making()?)).await?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.offered.replace(now);
        // Another process may have taken records into the same index: of those nothing is told here.
        let all_told = before.is_none_or(|before| before.0 + followed.new_records == now.0);
        told.rewritten |= followed.look_again
            || !followed.replaced.is_empty()
            // Lost records may stand in the middle.
            || !followed.lost.is_empty()
            || !all_told
            // Built anew by another process: what was lost to this one may have been read by that one.
            || told.making.is_some_and(|loaded| loaded != making);
        Ok(match told.loaded {
            _ if told.rewritten => Refreshed::Rewritten,
            None => Refreshed::Rewritten,
            Some(loaded) if loaded == now => Refreshed::Unchanged,
            Some(_) => Refreshed::Appended,
        })
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        let index = self.stream.index();
        let offered = {
            let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.offered
        };
        let making = index.making()?;
        let state = index.state()?;
        if state.as_ref().map(|state| state.last_seq) < offered {
            return Err(INCOMPLETE.into());
        }
        let late = |timeline| {
            let known = state.as_ref().and_then(|state| state.timeline(timeline));
            known.is_some_and(|known| known.late)
        };
        for timeline in index.timeline_numbers()? {
            let known = match history.timeline(timeline) {
                Some(entries) => {
                    entries.load_last()?;
                    entries.last()
                }
                None => None,
            };
            let mut after: Option<MountName> = known.map(|last| last.name.parse()).transpose()?;
            if after.is_none() {
                let chunks = index.listing(timeline)?;
                if let Some(first) = chunks.first() {
                    // What a prune left of a chunk, and nothing more.
                    let rows = index.rows(timeline, None, ROWS_AT_ONCE)?;
                    for row in rows
                        .iter()
                        .take_while(|row| row.mount_name < first.first_name)
                    {
                        history.push(&HistoryRow::from(row))?;
                    }
                }
                for chunk in chunks {
                    after = Some(chunk.last_name.clone());
                    let outline = Outline::from(&chunk);
                    history.push_stored(timeline, outline, load(Arc::clone(index), chunk))?;
                }
            }
            loop {
                let rows = index.rows(timeline, after.as_ref(), ROWS_AT_ONCE)?;
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
            // In memory from now on: directories have its time.
            if let Some(entries) = history.timeline(timeline) {
                entries.load_last()?;
            }
            if late(timeline) {
                history.mark_late(timeline);
            }
        }
        if index.making()? != making {
            return Err(INCOMPLETE.into());
        }
        // Only what is loaded has been told: a load that failed is asked for again.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.loaded = offered;
        told.making = Some(making);
        told.rewritten = false;
        Ok(())
    }

    fn index(&self) -> Option<Arc<Index>> {
        Some(Arc::clone(self.stream.index()))
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        Ok(self.stream.index().entry_by_seq(seq)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::SupersedeReason;
    use crate::ledger::testing::{self, Writer, segment, supersede};
    use crate::ledger::{Body, record_key};
    use crate::model::Timeline;
    use crate::store::{MemoryStore, SharedStore};

    /// A bucket whose ledger has so many segments, and what writes the next records.
    async fn bucket(segments: u64) -> (MemoryStore, Writer) {
        let (store, mut writer) = (MemoryStore::new(), Writer::default());
        let shared: SharedStore = Arc::new(store.clone());
        let created = crate::stream::create(&shared, &testing::stream_file()).await;
        created.expect("creates");
        for number in 1..=segments {
            write(&store, &mut writer, archived(number));
        }
        (store, writer)
    }

    fn archived(number: u64) -> Body {
        Body::Segment(Box::new(segment(number)))
    }

    fn write(store: &MemoryStore, writer: &mut Writer, body: Body) {
        let line = writer.write(body);
        store.tamper(&record_key(line.seq()), format!("{}\n", line.text()));
    }

    async fn stream(store: &MemoryStore, index: Index) -> Arc<Stream> {
        let stream = Stream::open(Arc::new(store.clone()), Arc::new(index)).await;
        Arc::new(stream.expect("opens"))
    }

    #[tokio::test]
    async fn what_changed_before_a_ledger_broke_off_is_shown_when_it_goes_on() {
        let (store, mut writer) = bucket(3).await;
        let index = Index::in_memory().expect("opens");
        let source = StreamSource::new(stream(&store, index).await);
        source.refresh().await.expect("follows");
        source.extend(&mut History::default()).expect("reads");
        let better = supersede(2, 2, SupersedeReason::Rekeyed);
        write(&store, &mut writer, Body::Supersede(Box::new(better)));
        let (seq, prev) = (writer.seq, writer.prev);
        // A record that breaks a rule: the name is taken.
        write(&store, &mut writer, archived(1));
        let broken_off = source.refresh().await.expect("shows what is known");
        assert_eq!(broken_off, Refreshed::Rewritten);
        // That could not be loaded, and the ledger is as it should be by then.
        let mut writer = Writer { seq, prev };
        write(&store, &mut writer, archived(4));
        assert_eq!(
            source.refresh().await.expect("follows"),
            Refreshed::Rewritten
        );
    }

    #[tokio::test]
    async fn an_index_that_another_process_builds_anew_shortens_no_listing_and_is_shown_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("index.db");
        let (store, _) = bucket(10).await;
        let open = || Index::open(&path).expect("opens").0;
        let source = StreamSource::new(stream(&store, open()).await);
        let other = stream(&store, open()).await;
        assert_eq!(
            source.refresh().await.expect("follows"),
            Refreshed::Rewritten
        );
        let mut history = History::default();
        source.extend(&mut history).expect("reads");
        assert_eq!(
            source.refresh().await.expect("follows"),
            Refreshed::Unchanged
        );
        other.index().reset().expect("resets");
        // Not a part of nothing, and no history of nothing.
        let unread = history.unloaded_of_seq(Seq(2));
        assert_eq!(unread.len(), 1, "nobody has asked");
        assert!(unread[0].load().is_err());
        assert!(source.extend(&mut History::default()).is_err());
        other.follow().await.expect("follows");
        assert_eq!(
            source.refresh().await.expect("follows"),
            Refreshed::Rewritten
        );
        let mut history = History::default();
        source.extend(&mut history).expect("reads");
        let entries = history.timeline(Timeline(1)).expect("there");
        assert_eq!(entries.after(Seq(0)).count(), 10);
        assert_eq!(
            source.refresh().await.expect("follows"),
            Refreshed::Unchanged
        );
    }
}
