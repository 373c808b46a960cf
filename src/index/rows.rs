//! What a listing needs of an entry, read without its record.

use super::error::Fault;
use super::fences::BEHIND;
use super::query::limit;
use crate::ledger::{Entry, EntryState, SegmentRecord};
use crate::model::{Incarnation, Micros, MountName, SegmentNumber, Seq, Timeline};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use uuid::Uuid;

/// An entry, as `ls` and a directory of the mount show it.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryRow {
    /// The record that introduced it: never changes, and no two entries have the same.
    pub seq: Seq,
    /// Its timeline.
    pub timeline: Timeline,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its number; for a gap or lost record, that of the segment before it.
    pub number: SegmentNumber,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// Whether and how it can be read.
    pub state: EntryState,
    /// Bytes of the binlog file; 0 if there is none to read.
    pub size: u64,
    /// Bytes of its object; 0 if there is none.
    pub stored_size: u64,
    /// Commit time of its first transaction.
    pub first_time: Option<Micros>,
    /// Time of its last event.
    pub last_time: Option<Micros>,
    /// The server's UUID, where known.
    pub server_uuid: Option<Uuid>,
    /// Latest commit time of its transactions; `None` if it has none, or cannot be read at all.
    pub latest_commit: Option<Micros>,
    /// The same of all entries of its timeline up to it, in replay order.
    pub latest_through: Option<Micros>,
    /// The record that describes it now; `None` if that cannot be read.
    pub(super) line: Option<Seq>,
    /// The record of the fence that stands in its segment: [`EntryRow::size`] is where.
    pub(super) fence: Option<Seq>,
    /// A fence took it out of its timeline.
    pub behind: bool,
    pub(super) reason: String,
}

/// What [`EntryRow::read`] takes, in its order.
pub(super) const COLUMNS: &str = "seq, line, timeline, incarnation, number, mount_name, state, reason, size, \
     stored_size, first_time, last_time, server_uuid, latest_commit, latest_through, fence";

/// A column that we never write a negative number to.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// The same, or NULL.
pub(super) fn maybe_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => unsigned(row, column).map(Some),
    }
}

pub(super) fn state_code(state: EntryState) -> i64 {
    match state {
        EntryState::Archived => 0,
        EntryState::Damaged => 1,
        EntryState::Hole => 2,
        EntryState::Gap => 3,
        EntryState::Lost => 4,
    }
}

pub(super) fn state_of_code(code: i64) -> Option<EntryState> {
    [
        EntryState::Archived,
        EntryState::Damaged,
        EntryState::Hole,
        EntryState::Gap,
        EntryState::Lost,
    ]
    .into_iter()
    .find(|state| state_code(*state) == code)
}

impl EntryRow {
    /// Why it cannot be read, or what is wrong; empty if nothing is.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
        let wrong = |column: usize| {
            rusqlite::Error::InvalidColumnType(column, COLUMNS.to_owned(), Type::Blob)
        };
        Ok(EntryRow {
            seq: Seq(unsigned(row, 0)?),
            line: maybe_unsigned(row, 1)?.map(Seq),
            timeline: Timeline(row.get::<_, u32>(2)? & !BEHIND),
            behind: row.get::<_, u32>(2)? & BEHIND != 0,
            incarnation: Incarnation(row.get(3)?),
            number: SegmentNumber(unsigned(row, 4)?),
            mount_name: row.get_ref(5)?.as_str()?.parse().map_err(|_| wrong(5))?,
            state: state_of_code(row.get(6)?).ok_or_else(|| wrong(6))?,
            reason: row.get(7)?,
            size: unsigned(row, 8)?,
            stored_size: unsigned(row, 9)?,
            first_time: row.get::<_, Option<i64>>(10)?.map(Micros),
            last_time: row.get::<_, Option<i64>>(11)?.map(Micros),
            server_uuid: match row.get_ref(12)?.as_blob_or_null()? {
                Some(bytes) => Some(Uuid::from_slice(bytes).map_err(|_| wrong(12))?),
                None => None,
            },
            latest_commit: row.get::<_, Option<i64>>(13)?.map(Micros),
            latest_through: row.get::<_, Option<i64>>(14)?.map(Micros),
            fence: maybe_unsigned(row, 15)?.map(Seq),
        })
    }

    /// The columns of an entry and its segment; what depends on those before it is still to be told.
    pub(super) fn of(
        entry: &Entry,
        segment: Option<&SegmentRecord>,
        line: Option<Seq>,
    ) -> EntryRow {
        EntryRow {
            seq: entry.seq,
            timeline: entry.timeline,
            incarnation: entry.incarnation,
            number: entry.number,
            mount_name: entry.mount_name.clone(),
            state: entry.state,
            size: segment.map_or(0, |s| s.size),
            stored_size: segment.map_or(0, |s| s.object.size),
            first_time: segment.and_then(|s| s.first_time),
            last_time: segment.and_then(|s| s.last_time),
            server_uuid: segment.and_then(|s| s.server_uuid),
            latest_commit: segment.and_then(|s| s.latest_commit),
            latest_through: None,
            line,
            fence: None,
            behind: false,
            reason: entry.reason.clone(),
        }
    }
}

/// One row, if the rest of a query (`WHERE ...`) finds one.
pub(super) fn one(
    conn: &Connection,
    rest: &str,
    params: impl Params,
) -> Result<Option<EntryRow>, Fault> {
    let row = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM entries {rest}"))?
        .query_row(params, EntryRow::read)
        .optional()?;
    Ok(row)
}

/// All rows that the rest of a query finds.
pub(super) fn all(
    conn: &Connection,
    rest: &str,
    params: impl Params,
) -> Result<Vec<EntryRow>, Fault> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM entries {rest}"))?;
    let rows = query.query_map(params, EntryRow::read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The entry that record `seq` introduced.
pub(super) fn introduced_by(conn: &Connection, seq: Seq) -> Result<Option<EntryRow>, Fault> {
    one(conn, "WHERE seq = ?1", [seq.0 as i64])
}

/// The entry that record `seq` introduced, or speaks of.
pub(super) fn resolve(conn: &Connection, seq: Seq) -> Result<Option<EntryRow>, Fault> {
    if let Some(row) = introduced_by(conn, seq)? {
        return Ok(Some(row));
    }
    one(
        conn,
        "WHERE seq = (SELECT entry FROM aliases WHERE seq = ?1)",
        [seq.0 as i64],
    )
}

/// The entry of a name, whether a listing shows it or not.
pub(super) fn named(
    conn: &Connection,
    timeline: Timeline,
    name: &MountName,
) -> Result<Option<EntryRow>, Fault> {
    let rest = "WHERE timeline = ?1 AND mount_name = ?2";
    one(conn, rest, params![timeline.0, name.as_str()])
}

/// The entry that stands before a name.
pub(super) fn before(
    conn: &Connection,
    timeline: Timeline,
    name: &MountName,
) -> Result<Option<EntryRow>, Fault> {
    let rest = "WHERE timeline = ?1 AND mount_name < ?2 ORDER BY mount_name DESC LIMIT 1";
    one(conn, rest, params![timeline.0, name.as_str()])
}

/// The entry that stands after a name.
pub(super) fn after(
    conn: &Connection,
    timeline: Timeline,
    name: &MountName,
) -> Result<Option<EntryRow>, Fault> {
    let rest = "WHERE timeline = ?1 AND mount_name > ?2 ORDER BY mount_name LIMIT 1";
    one(conn, rest, params![timeline.0, name.as_str()])
}

/// Up to `count` entries of a timeline after a name and up to another, which may be no names, in replay order.
pub(super) fn between(
    conn: &Connection,
    timeline: Timeline,
    (after, through): (&str, &str),
    count: usize,
) -> Result<Vec<EntryRow>, Fault> {
    all(
        conn,
        "WHERE timeline = ?1 AND mount_name > ?2 AND mount_name <= ?3 ORDER BY mount_name LIMIT ?4",
        params![timeline.0, after, through, limit(count)],
    )
}
