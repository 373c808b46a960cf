//! Objects and the records that name them: an object belongs to one segment, because keys are used once. A record that re-keys a
//! segment names its object again.

use super::apply::Step;
use super::error::Fault;
use super::texts::Texts;
use super::{build, many, rows};
use crate::ledger::{Body, ChainError, EntryState, Line};
use crate::model::{ObjectKey, Seq};
use rusqlite::{Connection, params};

/// Two records may name one object only if one of them is refused.
const INTO: &str = "OR IGNORE INTO objects (key, seq)";

/// The object that a record names, if it names one.
fn named(line: &Line) -> Option<&ObjectKey> {
    match &line.record().body {
        Body::Segment(segment) => Some(&segment.object.key),
        Body::Supersede(supersede) => Some(&supersede.segment.object.key),
        Body::Hole(_) | Body::Gap(_) | Body::Fence(_) | Body::Prune(_) | Body::Moved(_) => None,
    }
}

/// The objects that the records after `last` name, with those records.
fn named_after(steps: &[Step], last: Seq) -> Vec<(&ObjectKey, Seq)> {
    let new = steps.iter().filter_map(|step| match step {
        Step::Line(line) if line.seq() > last => named(line).map(|key| (key, line.seq())),
        Step::Line(_) | Step::Lost { .. } => None,
    });
    new.collect()
}

/// Notes the objects that the records after `last` name, all at once: a first mount does this a million times. Returns whether
/// each belongs to its record now; else nothing is noted, and [`claim`] tells which does not.
pub(super) fn claim_all(conn: &Connection, steps: &[Step], last: Seq) -> Result<bool, Fault> {
    let named = named_after(steps, last);
    let inserted = many::insert(conn, INTO, &named, |(key, seq)| {
        [key.as_str().into(), many::integer(Some(seq.0 as i64))]
    })?;
    if inserted == named.len() {
        return Ok(true);
    }
    release_all(conn, steps, last)?;
    Ok(false)
}

/// Takes back what [`claim_all`] noted for the records after `last`.
pub(super) fn release_all(conn: &Connection, steps: &[Step], last: Seq) -> Result<(), Fault> {
    let mut release = conn.prepare_cached("DELETE FROM objects WHERE key = ?1 AND seq = ?2")?;
    for (key, seq) in named_after(steps, last) {
        release.execute(params![key.as_str(), seq.0 as i64])?;
    }
    Ok(())
}

/// Notes the object that a record names, if it names one.
///
/// # Errors
/// [`Fault::Chain`] when the record of another segment names it already.
pub(super) fn claim<'a>(texts: Texts<'_>, line: &'a Line) -> Result<Option<&'a ObjectKey>, Fault> {
    let conn = texts.conn;
    let Some(key) = named(line) else {
        return Ok(None);
    };
    let inserted = many::insert(conn, INTO, &[(key, line.seq())], |(key, seq)| {
        [key.as_str().into(), many::integer(Some(seq.0 as i64))]
    })?;
    if inserted == 1 {
        return Ok(Some(key));
    }
    if names_again(texts, line)? {
        return Ok(None);
    }
    let other: u64 = conn
        .prepare_cached("SELECT seq FROM objects WHERE key = ?1")?
        .query_row([key.as_str()], |row| rows::unsigned(row, 0))?;
    Err(Fault::Chain(ChainError {
        seq: line.seq(),
        reason: format!("names the object {key}, which record {other} names already"),
    }))
}

/// Whether a record names the object that the segment which it replaces has now. What that is cannot be told where all earlier
/// records of the segment are lost; nothing is replaced then.
fn names_again(texts: Texts<'_>, line: &Line) -> Result<bool, Fault> {
    let Body::Supersede(supersede) = &line.record().body else {
        return Ok(false);
    };
    let Some(row) = rows::resolve(texts.conn, supersede.supersedes)? else {
        return Ok(false);
    };
    if row.state == EntryState::Lost {
        return Ok(true);
    }
    let now = build::segment(texts, &row)?;
    Ok(now.is_some_and(|now| now.object.key == supersede.segment.object.key))
}

/// Takes back what [`claim`] noted, of a record that is not accepted after all.
pub(super) fn release(conn: &Connection, key: &ObjectKey) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM objects WHERE key = ?1")?
        .execute([key.as_str()])?;
    Ok(())
}
