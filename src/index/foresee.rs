//! What the records of a page do, worked out while the index still writes the page before: half of the work needs no database.

use super::apply::Step;
use super::before::{Before, Break};
use super::build;
use super::rows::EntryRow;
use crate::ledger::entry::Change;
use crate::ledger::record::SegmentRecord;
use crate::ledger::{Body, Entry, LedgerState};
use std::sync::Arc;

/// An entry that sorts after all of its timeline, and what is kept with it.
pub(super) struct NewRow {
    pub(super) row: EntryRow,
    pub(super) broken: Option<Break>,
    pub(super) position: Option<String>,
}

impl NewRow {
    pub(super) fn of(before: &Before, entry: &Entry, segment: Option<&SegmentRecord>) -> NewRow {
        let previous = entry.previous_gtids.as_ref();
        NewRow {
            row: EntryRow::of(entry, segment, Some(entry.seq)),
            broken: before.break_at(entry),
            position: segment.and_then(|s| build::position_to_keep(entry.seq, s, previous)),
        }
    }
}

/// What some records do to a ledger of a known state.
pub struct Foreseen {
    before: Arc<LedgerState>,
    pub(super) rows: Vec<NewRow>,
    pub(super) after: Arc<LedgerState>,
}

impl Foreseen {
    /// `None` unless each of the records follows `before`, and does nothing but add an entry at the end: all else takes the index.
    pub fn of(before: &Arc<LedgerState>, steps: &[Step]) -> Option<Foreseen> {
        let mut state = LedgerState::clone(before);
        let mut rows = Vec::with_capacity(steps.len());
        for step in steps {
            let Step::Line(line) = step else { return None };
            let body = &line.record().body;
            if !matches!(body, Body::Segment(_) | Body::Hole(_)) {
                return None;
            }
            let known = Before::of(&state, body);
            if known.may_follow_lost {
                return None;
            }
            let Ok(Change::Add(entry)) = state.accept_bare(line) else {
                return None;
            };
            rows.push(NewRow::of(&known, &entry, body.segment()));
        }
        Some(Foreseen {
            before: Arc::clone(before),
            rows,
            after: Arc::new(state),
        })
    }

    /// The state after them.
    pub fn state(&self) -> &Arc<LedgerState> {
        &self.after
    }

    /// Whether they begin at `state`.
    pub(super) fn is_of(&self, state: &LedgerState) -> bool {
        *self.before == *state
    }
}
