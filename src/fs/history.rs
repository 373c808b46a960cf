//! A snapshot of the history: every entry of every timeline, compact, immutable, shared.

use crate::ledger::{Entry, EntryState};
use crate::model::{Micros, Seq, Timeline};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Entries per chunk. Snapshots share their full chunks, so that a new segment in a history of a million costs one chunk.
const CHUNK_ENTRIES: usize = 1024;

/// What a listing tells of one entry: enough for names, inodes and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its timeline.
    pub timeline: Timeline,
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name in the mount.
    pub name: String,
    /// Whether and how it can be read.
    pub state: EntryState,
    /// Length of the file in bytes; 0 where there is none.
    pub size: u64,
    /// Length of its object in bytes; 0 where there is none.
    pub stored_size: u64,
    /// Time of its last event, where known.
    pub last_time: Option<Micros>,
}

impl From<&Entry> for HistoryRow {
    fn from(entry: &Entry) -> HistoryRow {
        let segment = entry.segment.as_deref();
        HistoryRow {
            timeline: entry.timeline,
            seq: entry.seq,
            name: entry.mount_name.as_str().to_owned(),
            state: entry.state,
            size: segment.map_or(0, |s| s.size),
            stored_size: segment.map_or(0, |s| s.object.size),
            last_time: segment.and_then(|s| s.last_time.or(s.first_time)),
        }
    }
}

/// An entry, as the tree sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryEntry<'a> {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name.
    pub name: &'a str,
    /// Whether and how it can be read.
    pub state: EntryState,
    /// Length of the file in bytes; 0 where there is none.
    pub size: u64,
    /// Length of its object in bytes; 0 where there is none.
    pub stored_size: u64,
    /// Time of its last event; for what has none, that of the entry before it.
    pub mtime: Micros,
}

/// The history at one moment.
#[derive(Clone, Default)]
pub struct History {
    timelines: BTreeMap<Timeline, TimelineEntries>,
    late: BTreeSet<Timeline>,
}

/// The entries of one timeline, ascending by name and by seq at once: the chain rules let a name sort only after the last.
#[derive(Clone, Default)]
pub struct TimelineEntries {
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

#[derive(Clone, Default)]
struct Chunk {
    /// All names, one after the other.
    names: String,
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    seq: u64,
    size: u64,
    stored_size: u64,
    mtime: i64,
    /// Where its name ends in `names`.
    name_end: u32,
    state: EntryState,
}

/// A row that does not continue its timeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {name:?} of record {seq} does not sort after the entry before it; rebuild the index with 'binlogfs index rebuild'"
)]
pub struct OrderError {
    name: String,
    seq: Seq,
}

impl History {
    /// Adds the next entry of its timeline.
    ///
    /// A name that repeats the last one (several lost records share one name) is the same entry and changes nothing.
    ///
    /// # Errors
    /// [`OrderError`] if name or seq do not come after those of the last entry.
    pub fn push(&mut self, row: &HistoryRow) -> Result<(), OrderError> {
        self.timelines.entry(row.timeline).or_default().push(row)
    }

    /// Notes that a timeline is the late tail of a server that the history had left.
    pub fn mark_late(&mut self, timeline: Timeline) {
        self.late.insert(timeline);
    }

    /// The newest timeline that is nobody's late tail: the history that goes on.
    pub fn newest(&self) -> Option<Timeline> {
        let mut newest_first = self.timelines.keys().rev();
        newest_first
            .find(|timeline| !self.late.contains(timeline))
            .copied()
    }

    /// The numbers of all timelines, ascending.
    pub fn timelines(&self) -> impl Iterator<Item = Timeline> + '_ {
        self.timelines.keys().copied()
    }

    /// The entries of one timeline.
    pub fn timeline(&self, timeline: Timeline) -> Option<&TimelineEntries> {
        self.timelines.get(&timeline)
    }

    /// The entry that record `seq` introduced, and its timeline.
    pub fn by_seq(&self, seq: Seq) -> Option<(Timeline, HistoryEntry<'_>)> {
        self.timelines.iter().find_map(|(timeline, entries)| {
            let entry = entries.after(Seq(seq.0.saturating_sub(1))).next()?;
            (entry.seq == seq).then_some((*timeline, entry))
        })
    }

    /// Number of entries in all timelines.
    pub fn len(&self) -> usize {
        self.timelines.values().map(TimelineEntries::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TimelineEntries {
    fn push(&mut self, row: &HistoryRow) -> Result<(), OrderError> {
        let last = self.last();
        if let Some(last) = last {
            if last.name == row.name {
                return Ok(());
            }
            if row.name.as_str() < last.name || row.seq <= last.seq {
                return Err(OrderError {
                    name: row.name.clone(),
                    seq: row.seq,
                });
            }
        }
        let mtime = row
            .last_time
            .or(last.map(|last| last.mtime))
            .unwrap_or(Micros(0));
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.rows.len() >= CHUNK_ENTRIES)
        {
            if let Some(full) = self.chunks.last_mut() {
                let full = Arc::make_mut(full);
                full.names.shrink_to_fit();
                full.rows.shrink_to_fit();
            }
            self.chunks.push(Arc::default());
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return Ok(());
        };
        // Copies the chunk if an older snapshot shares it: at most CHUNK_ENTRIES rows.
        let chunk = Arc::make_mut(chunk);
        chunk.names.push_str(&row.name);
        chunk.rows.push(Row {
            seq: row.seq.0,
            size: row.size,
            stored_size: row.stored_size,
            mtime: mtime.0,
            name_end: u32::try_from(chunk.names.len()).expect("1024 names of 255 bytes"),
            state: row.state,
        });
        self.len += 1;
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last entry.
    pub fn last(&self) -> Option<HistoryEntry<'_>> {
        let chunk = self.chunks.last()?;
        chunk.entry(chunk.rows.len().checked_sub(1)?)
    }

    /// The entry called `name`.
    pub fn by_name(&self, name: &str) -> Option<HistoryEntry<'_>> {
        let at = self
            .chunks
            .partition_point(|chunk| chunk.entry(0).is_some_and(|first| first.name <= name));
        let chunk = self.chunks.get(at.checked_sub(1)?)?;
        let mut low = 0;
        let mut high = chunk.rows.len();
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = chunk.entry(middle)?;
            match entry.name.cmp(name) {
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The entries of records after `seq`, in order of name and seq.
    pub fn after(&self, seq: Seq) -> impl Iterator<Item = HistoryEntry<'_>> {
        let at = self
            .chunks
            .partition_point(|chunk| chunk.rows.last().is_some_and(|last| last.seq <= seq.0));
        let skip = self.chunks.get(at).map_or(0, |chunk| {
            chunk.rows.partition_point(|row| row.seq <= seq.0)
        });
        let chunks = self.chunks.get(at..).unwrap_or_default();
        chunks
            .iter()
            .flat_map(|chunk| (0..chunk.rows.len()).filter_map(|at| chunk.entry(at)))
            .skip(skip)
    }
}

impl Chunk {
    fn entry(&self, at: usize) -> Option<HistoryEntry<'_>> {
        let row = self.rows.get(at)?;
        let start = at
            .checked_sub(1)
            .and_then(|before| self.rows.get(before))
            .map_or(0, |before| before.name_end);
        Some(HistoryEntry {
            seq: Seq(row.seq),
            name: self.names.get(start as usize..row.name_end as usize)?,
            state: row.state,
            size: row.size,
            stored_size: row.stored_size,
            mtime: Micros(row.mtime),
        })
    }
}

#[cfg(test)]
pub(super) fn row(timeline: u32, seq: u64, state: EntryState) -> HistoryRow {
    let readable = matches!(state, EntryState::Archived | EntryState::Damaged);
    HistoryRow {
        timeline: Timeline(timeline),
        seq: Seq(seq),
        name: format!("binlog.{seq:06}"),
        state,
        size: if readable { 1000 + seq } else { 0 },
        stored_size: if readable { 100 + seq } else { 0 },
        last_time: readable.then_some(Micros(seq as i64 * 1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: u64) -> History {
        let mut history = History::default();
        for seq in 1..=entries {
            history
                .push(&row(1, seq * 2, EntryState::Archived))
                .expect("in order");
        }
        history
    }

    #[test]
    fn every_entry_is_found_by_name_and_by_seq_across_chunks() {
        let history = history(3000);
        let entries = history.timeline(Timeline(1)).expect("there");
        for seq in (2..=6000).step_by(2) {
            let by_name = entries.by_name(&format!("binlog.{seq:06}")).expect("there");
            assert_eq!(by_name.seq, Seq(seq));
            assert_eq!(by_name.size, 1000 + seq);
            assert_eq!(history.by_seq(Seq(seq)).expect("there").1, by_name);
            assert!(history.by_seq(Seq(seq + 1)).is_none());
        }
        for missing in ["binlog.000001", "binlog.999999", "a", "", "binlog.000002x"] {
            assert!(entries.by_name(missing).is_none(), "{missing}");
        }
    }

    #[test]
    fn a_listing_resumes_after_any_seq() {
        let history = history(2500);
        let entries = history.timeline(Timeline(1)).expect("there");
        for after in [0, 1, 2, 2047, 2048, 2049, 4999, 5000, 6000] {
            let found: Vec<u64> = entries.after(Seq(after)).map(|entry| entry.seq.0).collect();
            let expected: Vec<u64> = (1..=2500).map(|n| n * 2).filter(|n| *n > after).collect();
            assert_eq!(found, expected, "after {after}");
        }
    }

    #[test]
    fn a_snapshot_does_not_change_when_a_later_one_grows() {
        let old = history(10);
        let mut new = old.clone();
        new.push(&row(1, 100, EntryState::Archived))
            .expect("in order");
        new.push(&row(2, 101, EntryState::Archived))
            .expect("in order");
        assert_eq!((old.len(), new.len()), (10, 12));
        assert_eq!(
            (old.newest(), new.newest()),
            (Some(Timeline(1)), Some(Timeline(2)))
        );
        assert!(old.by_seq(Seq(100)).is_none() && new.by_seq(Seq(100)).is_some());
    }

    #[test]
    fn a_hole_has_the_time_of_the_entry_before_it_and_order_is_kept() {
        let mut history = history(2);
        history
            .push(&row(1, 5, EntryState::Hole))
            .expect("in order");
        let (_, hole) = history.by_seq(Seq(5)).expect("there");
        assert_eq!((hole.size, hole.mtime), (0, Micros(4_000_000)));
        assert!(history.push(&row(1, 3, EntryState::Archived)).is_err());
        history
            .push(&row(1, 5, EntryState::Hole))
            .expect("the same name again");
        assert_eq!(history.len(), 3);
    }

    #[test]
    fn a_million_entries_fit_in_a_hundred_mebibytes() {
        let per_entry = size_of::<Row>() + "mysql-bin.999999.000001.0001000000".len();
        // Vectors that grow by doubling are shrunk when their chunk is full.
        assert!(per_entry * 1_000_000 <= 100 << 20, "{per_entry}");
    }
}
