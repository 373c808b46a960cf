//! Rows as they are written.

use super::error::Fault;
use super::intervals::{self, NewRuns};
use super::many;
use super::rows::{EntryRow, state_code};
use crate::ledger::record::SegmentRecord;
use crate::model::{GtidSet, Micros, Seq, Timeline};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

/// XATTR_SIZE_MAX of Linux (`limits.h`).
const ATTRIBUTE_MAX_BYTES: usize = 64 << 10;
/// A run of numbers takes 40 characters at most, and one with its UUID and tag 110.
const LONG_SET_MIN_RUNS: usize = 500;

/// Longest reason kept in an entry, in bytes: many lost records in a row share one.
const REASON_MAX_BYTES: usize = 1000;

/// Has record `seq` found under the entry that it speaks of.
pub(super) fn alias(conn: &Connection, seq: Seq, entry: Seq) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO aliases (seq, entry) VALUES (?1, ?2)")?
        .execute(params![seq.0 as i64, entry.0 as i64])?;
    Ok(())
}

/// The first eight bytes of a head: with the number, enough to find its few candidates.
pub(super) fn head_code(head: &crate::model::Sha256) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = head.0;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// SQLite's integers end at 2^63 - 1, beyond any size in bytes.
fn size(bytes: u64) -> i64 {
    bytes.min(i64::MAX as u64) as i64
}

/// An entry as it is written.
pub(super) struct NewEntry {
    row: EntryRow,
    head: Option<i64>,
}

impl NewEntry {
    pub(super) fn new(row: EntryRow, segment: Option<&SegmentRecord>) -> NewEntry {
        let head = segment.map(|s| head_code(&s.head));
        NewEntry { row, head }
    }
}

/// Writes entries.
pub(super) fn insert_entries(conn: &Connection, entries: &[NewEntry]) -> Result<(), Fault> {
    // Any other than FAIL has SQLite keep all pages that a statement of several rows changes, to undo them: an error undoes the batch.
    const INTO: &str =
        "OR FAIL INTO entries (seq, line, timeline, incarnation, number, mount_name, state, reason, size,
         stored_size, first_time, last_time, head, server_uuid, latest_commit, latest_through)";
    many::insert(conn, INTO, entries, |NewEntry { row, head }| {
        let time = |time: Option<Micros>| many::integer(time.map(|t| t.0));
        [
            many::integer(Some(row.seq.0 as i64)),
            many::integer(row.line.map(|seq| seq.0 as i64)),
            many::integer(Some(row.timeline.0.into())),
            many::integer(Some(row.incarnation.0.into())),
            many::integer(Some(row.number.0 as i64)),
            row.mount_name.as_str().into(),
            many::integer(Some(state_code(row.state))),
            row.reason.as_str().into(),
            many::integer(Some(size(row.size))),
            many::integer(Some(size(row.stored_size))),
            time(row.first_time),
            time(row.last_time),
            many::integer(*head),
            row.server_uuid
                .as_ref()
                .map_or(ValueRef::Null, |u| u.as_bytes().as_slice().into()),
            time(row.latest_commit),
            time(row.latest_through),
        ]
    })
    .map(drop)
}

/// The times a segment covers.
fn times(segment: &SegmentRecord) -> Option<(Micros, Micros)> {
    let from = segment.min_time.or(segment.first_time)?;
    let to = segment.max_time.or(segment.last_time)?;
    Some((from.min(to), from.max(to)))
}

/// Whether a set's text is longer than an extended attribute can be.
fn is_long(gtids: &GtidSet) -> bool {
    let runs: usize = gtids
        .iter()
        .map(|(_, intervals)| intervals.runs().len())
        .sum();
    // Fewer are shorter, and nearly every set is: its text need not be made to know.
    runs > LONG_SET_MIN_RUNS && gtids.to_string().len() > ATTRIBUTE_MAX_BYTES
}

/// Files what a segment is looked up by.
pub(super) fn file(
    conn: &Connection,
    runs: &mut NewRuns,
    timeline: Timeline,
    segment: &SegmentRecord,
    entry: Seq,
) -> Result<(), Fault> {
    runs.add_gtids(conn, &segment.gtids, entry)?;
    if is_long(&segment.gtids) {
        conn.prepare_cached("INSERT OR IGNORE INTO long_sets (entry) VALUES (?1)")?
            .execute([entry.0 as i64])?;
    }
    if segment.transactions > segment.gtids.count() {
        conn.prepare_cached("INSERT OR IGNORE INTO anonymous (entry) VALUES (?1)")?
            .execute([entry.0 as i64])?;
    }
    match times(segment) {
        Some(times) => runs.add_time(conn, timeline, times, entry),
        None => Ok(()),
    }
}

/// Takes out what [`file`] filed.
pub(super) fn unfile(
    conn: &Connection,
    timeline: Timeline,
    segment: &SegmentRecord,
    entry: Seq,
) -> Result<(), Fault> {
    intervals::remove_gtids(conn, &segment.gtids, entry)?;
    conn.prepare_cached("DELETE FROM long_sets WHERE entry = ?1")?
        .execute([entry.0 as i64])?;
    conn.prepare_cached("DELETE FROM anonymous WHERE entry = ?1")?
        .execute([entry.0 as i64])?;
    match times(segment) {
        Some(times) => intervals::remove_time(conn, timeline, times, entry),
        None => Ok(()),
    }
}

/// Two reasons as one, cut at [`REASON_MAX_BYTES`].
pub(super) fn joined(first: &str, second: &str) -> String {
    let mut text = first.to_owned();
    if text.len() + second.len() + 2 <= REASON_MAX_BYTES {
        text.push_str("; ");
        text.push_str(second);
    } else if !text.ends_with("...") {
        text.push_str("; ...");
    }
    text
}
