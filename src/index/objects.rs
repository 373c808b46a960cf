//! Objects and the records that name them: an object belongs to one record, because keys are used once.

use super::error::Fault;
use super::rows;
use crate::ledger::{Body, ChainError, Line};
use crate::model::ObjectKey;
use rusqlite::{Connection, params};

/// Notes the object that a record names, if it names one.
///
/// # Errors
/// [`Fault::Chain`] when another record names it already.
pub(super) fn claim<'a>(conn: &Connection, line: &'a Line) -> Result<Option<&'a ObjectKey>, Fault> {
    let key = match &line.record().body {
        Body::Segment(segment) => &segment.object.key,
        Body::Supersede(supersede) => &supersede.segment.object.key,
        Body::Hole(_) | Body::Gap(_) | Body::Fence(_) | Body::Prune(_) => return Ok(None),
    };
    // One statement instead of a look and an insertion: a first mount does this a million times.
    let inserted = conn
        .prepare_cached("INSERT OR IGNORE INTO objects (key, seq) VALUES (?1, ?2)")?
        .execute(params![key.as_str(), line.seq().0 as i64])?;
    if inserted == 1 {
        return Ok(Some(key));
    }
    let other: u64 = conn
        .prepare_cached("SELECT seq FROM objects WHERE key = ?1")?
        .query_row([key.as_str()], |row| rows::unsigned(row, 0))?;
    Err(Fault::Chain(ChainError {
        seq: line.seq(),
        reason: format!("names the object {key}, which record {other} names already"),
    }))
}

/// Takes back what [`claim`] noted, of a record that is not accepted after all.
pub(super) fn release(conn: &Connection, key: &ObjectKey) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM objects WHERE key = ?1")?
        .execute([key.as_str()])?;
    Ok(())
}
