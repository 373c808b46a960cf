//! What the ledger said before a record, where the record shows more.

use super::error::Fault;
use crate::ledger::{Body, Entry, LedgerState};
use crate::model::{GtidSet, Seq};
use rusqlite::{Connection, params};

/// What the state before a record says of its place.
pub(super) struct Before {
    /// What should have been executed before it.
    expected: Option<GtidSet>,
    /// It is the first of its incarnation: a server that joins has all of the timeline, and its first files may say again what others
    /// have said before.
    joins: bool,
    /// The last record of its incarnation.
    pub(super) last_seq: Seq,
    /// Numbers, or the timeline's beginning, are missing before it.
    pub(super) may_follow_lost: bool,
}

impl Before {
    pub(super) fn of(state: &LedgerState, body: &Body) -> Before {
        let (timeline, incarnation, number, full) = match body {
            Body::Segment(s) => (
                s.timeline,
                s.incarnation,
                s.number,
                s.previous_gtids.is_some(),
            ),
            Body::Hole(h) => (h.timeline, h.incarnation, h.number, false),
            Body::Gap(_)
            | Body::Fence(_)
            | Body::Supersede(_)
            | Body::Prune(_)
            | Body::Moved(_) => {
                return Before {
                    expected: None,
                    joins: false,
                    last_seq: Seq(0),
                    may_follow_lost: false,
                };
            }
        };
        let known = state.incarnation(incarnation);
        // A hash has been compared by the chain rules; only a set in full can tell something new.
        let expected = match known {
            Some(known) if full => known.executed.clone(),
            None if full => state.timeline(timeline).map(|t| t.executed.clone()),
            _ => None,
        };
        let may_follow_lost = match known {
            Some(known) => number.0 > known.last_number.0 + 1,
            None => timeline.0 > 1 && state.timeline(timeline).is_none(),
        };
        Before {
            expected,
            joins: known.is_none(),
            last_seq: known.map_or(Seq(0), |k| k.last_seq),
            may_follow_lost,
        }
    }

    /// What of an entry does not continue.
    pub(super) fn break_at(&self, entry: &Entry) -> Option<Break> {
        let (expected, previous) = (self.expected.as_ref()?, entry.previous_gtids.as_ref()?);
        if expected == previous {
            return None;
        }
        let appeared = previous.minus(expected);
        let vanished = match self.joins {
            true => GtidSet::new(),
            false => expected.minus(previous),
        };
        let found = Break { appeared, vanished };
        (!found.appeared.is_empty() || !found.vanished.is_empty()).then_some(found)
    }
}

/// GTIDs that appeared from nowhere before an entry, or vanished.
pub(super) struct Break {
    appeared: GtidSet,
    vanished: GtidSet,
}

impl Break {
    /// Keeps it, with the entry that it stands before.
    pub(super) fn keep(&self, conn: &Connection, entry: Seq) -> Result<(), Fault> {
        conn.execute(
            "INSERT INTO breaks (entry, appeared, vanished) VALUES (?1, ?2, ?3)",
            params![
                entry.0 as i64,
                self.appeared.to_string(),
                self.vanished.to_string()
            ],
        )?;
        Ok(())
    }
}
