//! Whether a file is the segment that is archived under the same number and head.
//!
//! The head alone does not tell: a server that is started and RESET within one second writes two files that begin with the
//! same bytes. Their first transactions were committed at different microseconds.

use crate::binlog::Summary;
use crate::ledger::SegmentRecord;
use crate::model::Sha256;

/// How a file and a record of the same number and head compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same bytes.
    Same,
    /// The same file with other bytes: one of the two was changed.
    Changed,
    /// Another file, of another incarnation.
    Another,
}

/// Compares a scanned file with a record of the same number and head.
pub fn likeness(record: &SegmentRecord, summary: &Summary, sha256: Sha256) -> Likeness {
    if record.sha256 == sha256 {
        return Likeness::Same;
    }
    let empty = record.transactions == 0 && summary.transactions == 0;
    let same_begin = record.first_time == summary.first_time;
    // Files without a transaction differ in the time of the event that closed them.
    if same_begin && !(empty && record.last_time != summary.last_time) {
        Likeness::Changed
    } else {
        Likeness::Another
    }
}
