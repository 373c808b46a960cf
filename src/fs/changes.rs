//! What a history says otherwise than the one that was shown before it.
//!
//! Only what was in memory is compared: nobody was told of anything else. What is compared is in memory afterwards, so that
//! nothing that was told is missed by the next comparison either.

use super::chunk::{Chunk, Slot};
use super::history::{History, HistoryEntry};
use super::source::SourceError;
use crate::model::{Seq, Timeline};
use std::sync::Arc;

/// An entry that was shown and is not so any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed<'a> {
    /// The timeline that it was shown in.
    pub(super) timeline: Timeline,
    /// Its record.
    pub(super) seq: Seq,
    /// The name it was shown under.
    pub(super) name: &'a str,
    /// Whether the timeline has it no more under that name.
    pub(super) is_gone: bool,
}

/// Calls `each` with whatever `before` showed and `now` shows otherwise. Blocks.
pub(super) fn changes(before: &History, now: &History, mut each: impl FnMut(Changed<'_>)) {
    for (timeline, chunk) in before.loaded() {
        let found = counterpart(chunk, timeline, now);
        let found = found.inspect_err(|error| {
            tracing::error!(%error, "a part of the history cannot be read out of the index");
        });
        match found {
            // The usual case: the very same entries.
            Ok(now) if matches!(&now[..], [same] if Arc::ptr_eq(same, chunk)) => {}
            Ok(now) => compare(timeline, chunk, &now, &mut each),
            Err(_) => chunk.entries().for_each(|old| {
                each(Changed::of(timeline, &old, false));
            }),
        }
    }
}

/// Calls `each` with all that `before` showed, as if it might be anything by now.
pub(super) fn everything(before: &History, mut each: impl FnMut(Changed<'_>)) {
    for (timeline, chunk) in before.loaded() {
        chunk.entries().for_each(|old| {
            each(Changed::of(timeline, &old, false));
        });
    }
}

impl<'a> Changed<'a> {
    fn of(timeline: Timeline, entry: &HistoryEntry<'a>, is_gone: bool) -> Changed<'a> {
        Changed {
            timeline,
            seq: entry.seq,
            name: entry.name,
            is_gone,
        }
    }
}

/// What stands in `now` between the first and the last record of `chunk`.
fn counterpart(
    chunk: &Arc<Chunk>,
    timeline: Timeline,
    now: &History,
) -> Result<Vec<Arc<Chunk>>, SourceError> {
    let (first, last) = match (chunk.entry(0), chunk.entry(chunk.len().saturating_sub(1))) {
        (Some(first), Some(last)) => (first.seq, last.seq),
        _ => return Ok(Vec::new()),
    };
    let entries = now.timeline(timeline).into_iter();
    let within = |slot: &&Arc<Slot>| slot.first_seq().is_some_and(|seq| seq <= last);
    entries
        .flat_map(|entries| entries.slots_after(Seq(first.0.saturating_sub(1))))
        .take_while(within)
        .map(|slot| Ok(Arc::clone(slot.load_like(Some(chunk))?)))
        .collect()
}

/// Both are in the order of their records.
fn compare(
    timeline: Timeline,
    before: &Chunk,
    now: &[Arc<Chunk>],
    each: &mut impl FnMut(Changed<'_>),
) {
    let mut now = now.iter().flat_map(|chunk| chunk.entries()).peekable();
    for old in before.entries() {
        while now.next_if(|new| new.seq < old.seq).is_some() {}
        let new = now.next_if(|new| new.seq == old.seq);
        if new != Some(old) {
            let is_gone = new.is_none_or(|new| new.name != old.name);
            each(Changed::of(timeline, &old, is_gone));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::{self, HistoryRow, row};
    use super::*;
    use crate::ledger::EntryState::{Archived, Hole};

    fn history(rows: &[HistoryRow]) -> History {
        let mut history = History::default();
        for row in rows {
            history.push(row).expect("in order");
        }
        history
    }

    fn found(before: &History, now: &History) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        changes(before, now, |changed| {
            found.push((changed.seq.0, changed.is_gone));
        });
        found
    }

    /// A history of one part that is read when it is asked for.
    fn stored(through: u64) -> History {
        let rows = (1..=through).map(|seq| row(1, seq, Archived));
        history::stored(rows.collect(), || {})
    }

    #[test]
    fn what_is_gone_cut_filled_or_renamed_is_told_and_what_is_new_is_not() {
        let before = history(&[
            row(1, 1, Archived),
            row(1, 2, Archived),
            row(1, 3, Hole),
            row(1, 4, Archived),
            row(1, 5, Archived),
            row(2, 6, Archived),
        ]);
        let cut = HistoryRow {
            size: 500,
            ..row(1, 2, Archived)
        };
        let renamed = HistoryRow {
            name: "binlog.000004x".to_owned(),
            ..row(1, 4, Archived)
        };
        let now = history(&[
            cut,
            row(1, 3, Archived),
            renamed,
            row(1, 7, Archived),
            row(2, 6, Archived),
        ]);
        assert_eq!(
            found(&before, &now),
            [(1, true), (2, false), (3, false), (4, true), (5, true)]
        );
        assert_eq!(found(&before, &before.clone()), []);
        assert_eq!(found(&history(&[]), &now), []);
        assert_eq!(found(&before, &history(&[])).len(), 6);
        let mut all = 0;
        everything(&before, |_| all += 1);
        assert_eq!(all, 6);
    }

    #[test]
    fn only_what_was_read_is_compared_and_both_share_what_is_the_same() {
        let (before, now) = (stored(9), stored(9));
        assert_eq!(found(&before, &now), []);
        assert_eq!(now.unloaded_of_seq(Seq(5)).len(), 1, "nobody has asked");
        assert!(before.by_seq(Seq(5)).is_some());
        assert_eq!(found(&before, &now), []);
        let (one, other) = (before.loaded().next(), now.loaded().next());
        let (one, other) = (one.expect("it was read"), other.expect("so this one too"));
        assert!(Arc::ptr_eq(one.1, other.1));
        let shorter = stored(7);
        assert_eq!(found(&now, &shorter), [(8, true), (9, true)]);
    }
}
