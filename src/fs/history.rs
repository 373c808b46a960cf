//! A snapshot of the history: every entry of every timeline, compact, shared, and read when it is asked for.

use super::chunk::{Chunk, Load, Outline, Slot};
use super::source::SourceError;
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
            size: entry.end(),
            stored_size: segment.map_or(0, |s| s.object.size),
            last_time: segment.and_then(|s| entry.last_time().or(s.first_time)),
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
///
/// The last of them is always in memory; others come out of the index when they are asked for. Which blocks: whoever must not
/// asks [`TimelineEntries::slot_of_name`] and its like first.
#[derive(Clone, Default)]
pub struct TimelineEntries {
    slots: Vec<Arc<Slot>>,
    len: usize,
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
    /// [`OrderError`] if name or seq do not come after those of the last entry; or that one cannot be read.
    pub fn push(&mut self, row: &HistoryRow) -> Result<(), SourceError> {
        self.timelines.entry(row.timeline).or_default().push(row)
    }

    /// Adds entries of a timeline that `load` has, all of which come after its last ones.
    ///
    /// # Errors
    /// [`OrderError`] if they do not.
    pub fn push_stored(
        &mut self,
        timeline: Timeline,
        outline: Outline,
        load: Load,
    ) -> Result<(), OrderError> {
        let entries = self.timelines.entry(timeline).or_default();
        entries.push_stored(outline, load)
    }

    /// What of it is in memory, by timeline: all that anybody was told is in there.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (Timeline, &Arc<Chunk>)> {
        self.timelines.iter().flat_map(|(timeline, entries)| {
            let loaded = entries.slots.iter().filter_map(|slot| slot.loaded());
            loaded.map(move |chunk| (*timeline, chunk))
        })
    }

    /// Where the entry of record `seq` may be that is not in memory: nowhere, if it is.
    pub fn unloaded_of_seq(&self, seq: Seq) -> Vec<Arc<Slot>> {
        if self.loaded_by_seq(seq).is_some() {
            return Vec::new();
        }
        // The records of timelines stand between each other.
        let timelines = self.timelines.values();
        let slots = timelines.filter_map(|entries| entries.slot_of_seq(seq));
        slots.filter(|slot| !slot.is_loaded()).cloned().collect()
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
        // First there: what another timeline has around it need not be read for it.
        self.loaded_by_seq(seq).or_else(|| {
            let mut timelines = self.timelines.iter();
            timelines.find_map(|(timeline, entries)| Some((*timeline, entries.by_seq(seq)?)))
        })
    }

    fn loaded_by_seq(&self, seq: Seq) -> Option<(Timeline, HistoryEntry<'_>)> {
        self.timelines.iter().find_map(|(timeline, entries)| {
            let chunk = entries.slot_of_seq(seq)?.loaded()?;
            Some((*timeline, chunk.by_seq(seq)?))
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
    fn push(&mut self, row: &HistoryRow) -> Result<(), SourceError> {
        self.load_last()?;
        let last = self.last();
        if let Some(last) = last {
            if last.name == row.name {
                return Ok(());
            }
            if row.name.as_str() < last.name || row.seq <= last.seq {
                let (name, seq) = (row.name.clone(), row.seq);
                return Err(OrderError { name, seq }.into());
            }
        }
        let mtime_before = last.map_or(Micros(0), |last| last.mtime);
        if self
            .slots
            .last()
            .is_none_or(|slot| slot.len() >= CHUNK_ENTRIES)
        {
            let full = self.slots.last_mut().map(Arc::make_mut);
            if let Some(full) = full.and_then(Slot::entries_mut) {
                full.shrink();
            }
            self.slots.push(Arc::new(Slot::empty(mtime_before)));
        }
        // Copies the chunk if an older snapshot shares it: at most CHUNK_ENTRIES rows.
        let slot = self.slots.last_mut().map(Arc::make_mut);
        let Some(chunk) = slot.and_then(Slot::entries_mut) else {
            return Err("the last part of the history is not in memory".into());
        };
        let time = row.last_time.unwrap_or(mtime_before);
        chunk.push(
            row.seq,
            &row.name,
            row.state,
            (row.size, row.stored_size),
            Some(time),
        );
        self.len += 1;
        Ok(())
    }

    fn push_stored(&mut self, outline: Outline, load: Load) -> Result<(), OrderError> {
        let last = self.slots.last();
        let name = last.and_then(|slot| slot.last_name());
        let seq = last.and_then(|slot| slot.last_seq());
        if name.is_some_and(|name| outline.first_name.as_str() <= name)
            || seq.is_some_and(|seq| outline.first_seq <= seq)
        {
            return Err(OrderError {
                name: outline.first_name,
                seq: outline.first_seq,
            });
        }
        let mtime_before = last.map_or(Micros(0), |slot| slot.mtime());
        self.len += outline.entries;
        self.slots
            .push(Arc::new(Slot::stored(outline, load, mtime_before)));
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

    /// Has the last entry in memory. Blocks.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn load_last(&self) -> Result<(), SourceError> {
        self.slots
            .last()
            .map_or(Ok(()), |slot| slot.load().map(|_| ()))
    }

    /// The last entry.
    pub fn last(&self) -> Option<HistoryEntry<'_>> {
        let slot = self.slots.last()?;
        slot.entries()?;
        slot.last()
    }

    /// Where the entry called `name` is, if anywhere.
    pub fn slot_of_name(&self, name: &str) -> Option<&Arc<Slot>> {
        let at = self
            .slots
            .partition_point(|slot| slot.first_name().is_some_and(|first| first <= name));
        self.slots.get(at.checked_sub(1)?)
    }

    /// Where the entries after record `seq` are.
    pub fn slots_after(&self, seq: Seq) -> impl Iterator<Item = &Arc<Slot>> {
        let slots = self.slots.get(self.slot_number_after(seq)..);
        slots.unwrap_or_default().iter()
    }

    fn slot_number_after(&self, seq: Seq) -> usize {
        self.slots
            .partition_point(|slot| slot.last_seq().is_some_and(|last| last <= seq))
    }

    /// Where the entry of record `seq` is, if anywhere.
    pub fn slot_of_seq(&self, seq: Seq) -> Option<&Arc<Slot>> {
        let slot = self.slots_after(Seq(seq.0.checked_sub(1)?)).next()?;
        slot.first_seq()
            .is_some_and(|first| first <= seq)
            .then_some(slot)
    }

    /// The entry called `name`.
    pub fn by_name(&self, name: &str) -> Option<HistoryEntry<'_>> {
        self.slot_of_name(name)?.entries()?.by_name(name)
    }

    fn by_seq(&self, seq: Seq) -> Option<HistoryEntry<'_>> {
        self.slot_of_seq(seq)?.entries()?.by_seq(seq)
    }

    /// The entries of records after `seq`, in order of name and seq.
    pub fn after(&self, seq: Seq) -> impl Iterator<Item = HistoryEntry<'_>> {
        self.entries_after(seq, |_| true)
    }

    /// The entry after `seq`, and those behind it up to where entries are not in memory.
    pub fn listed_after(&self, seq: Seq) -> impl Iterator<Item = HistoryEntry<'_>> {
        let loaded = self.entries_after(seq, Slot::is_loaded);
        self.after(seq).take(1).chain(loaded.skip(1))
    }

    fn entries_after(
        &self,
        seq: Seq,
        takes: impl Fn(&Slot) -> bool,
    ) -> impl Iterator<Item = HistoryEntry<'_>> {
        self.slots_after(seq)
            .take_while(move |slot| takes(slot))
            // One that cannot be read ends it: what comes after a part that is missing must not look like all there is.
            .map_while(|slot| slot.entries())
            .flat_map(move |chunk| {
                (chunk.through(seq)..chunk.len()).filter_map(|at| chunk.entry(at))
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

/// A history of one part, which is read when it is asked for; `read` hears of that.
#[cfg(test)]
pub(super) fn stored(rows: Vec<HistoryRow>, read: impl Fn() + Send + Sync + 'static) -> History {
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    let (timeline, outline) = (
        first.timeline,
        Outline {
            first_name: first.name.clone(),
            last_name: last.name.clone(),
            first_seq: first.seq,
            last_seq: last.seq,
            entries: rows.len(),
            last_time: last.last_time,
        },
    );
    let load = move |chunk: &mut Chunk| {
        for row in &rows {
            let sizes = (row.size, row.stored_size);
            chunk.push(row.seq, &row.name, row.state, sizes, row.last_time);
        }
        read();
        Ok(())
    };
    let mut history = History::default();
    history
        .push_stored(timeline, outline, Arc::new(load))
        .expect("in order");
    history
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

    /// What is known of a part that is not in memory.
    fn outline(first: u64, last: u64) -> Outline {
        Outline {
            first_name: format!("binlog.{first:06}"),
            last_name: format!("binlog.{last:06}"),
            first_seq: Seq(first),
            last_seq: Seq(last),
            entries: 2,
            last_time: None,
        }
    }

    #[test]
    fn behind_a_part_that_cannot_be_read_no_entry_is_lost_unseen() {
        let mut history = History::default();
        let fails: Load = Arc::new(|_| Err("the disk is gone".into()));
        let pushed = history.push_stored(Timeline(1), outline(1, 9), fails);
        pushed.expect("in order");
        let next = history.push(&row(1, 10, EntryState::Archived));
        let error = next.expect_err("cannot be read").to_string();
        assert_eq!(error, "the disk is gone");
        let entries = history.timeline(Timeline(1)).expect("there");
        assert!(entries.load_last().is_err());
    }

    #[test]
    fn what_is_in_memory_is_found_without_reading_what_another_timeline_has_around_it() {
        let unreadable: Load = Arc::new(|_| panic!("it is read"));
        let mut history = History::default();
        for (timeline, first, last) in [(1, 1, 9), (2, 3, 8)] {
            let outline = outline(first, last);
            let pushed = history.push_stored(Timeline(timeline), outline, Arc::clone(&unreadable));
            pushed.expect("in order");
        }
        // A late tail of one segment, archived while the others went on.
        history
            .push(&row(3, 5, EntryState::Archived))
            .expect("in order");
        let (timeline, tail) = history.by_seq(Seq(5)).expect("there");
        assert_eq!((timeline, tail.seq), (Timeline(3), Seq(5)));
        assert!(history.unloaded_of_seq(Seq(5)).is_empty());
        assert_eq!(history.unloaded_of_seq(Seq(6)).len(), 2);
        assert_eq!(history.unloaded_of_seq(Seq(9)).len(), 1);
    }

    #[test]
    fn a_million_entries_fit_in_a_hundred_mebibytes() {
        let per_entry = super::super::chunk::ROW_BYTES + "mysql-bin.999999.000001.0001000000".len();
        // Vectors that grow by doubling are shrunk when their chunk is full.
        assert!(per_entry * 1_000_000 <= 100 << 20, "{per_entry}");
    }
}
