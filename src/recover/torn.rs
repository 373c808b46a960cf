//! Files that a crash left open: behind their last transaction part of another one may stand.
//!
//! A server that is started again cuts that off. What was imported of one that never was (`import --final`) still has it, and in a history
//! that another server took over more files come behind it. What ends there was not committed, and no reader gets from the middle of an
//! event, or of a transaction, to the next file.

use super::planner::{PlanError, Planner};
use crate::cache::ArchivedSegment;
use crate::ledger::Entry;
use crate::ledger::record::ClosedBy;

impl Planner {
    /// Where the last transaction ends of an entry that a crash left open, 0 if it has none; `None` of any other entry.
    pub(super) async fn crashed_at(&self, entry: &Entry) -> Result<Option<u64>, PlanError> {
        let closed_by = entry.segment.as_ref().map(|segment| segment.closed_by);
        if closed_by != Some(ClosedBy::Crash) {
            return Ok(None);
        }
        let last = self.locator.last_in(entry.seq).await?;
        Ok(Some(last.map_or(0, |last| last.boundary.position)))
    }

    /// Whether part of a transaction stands behind the last one of an entry, as far as can be told without reading all of it.
    pub(super) async fn is_torn(&self, entry: &Entry) -> Result<bool, PlanError> {
        let Some(end) = self.crashed_at(entry).await? else {
            return Ok(false);
        };
        let whole_until = entry.segment.as_ref().and_then(|s| s.whole_until);
        let in_event = whole_until.is_some_and(|whole| whole < entry.end());
        if in_event || end > 0 {
            return Ok(in_event || end < entry.end());
        }
        // No transaction: whatever stands behind its head is the beginning of one.
        let head = self.head(&ArchivedSegment::of_entry(entry)?).await?;
        Ok(head.end < entry.end())
    }
}
