//! Where a timeline's visible history begins: prunes. (What fences take out is no part of it: see `fences.rs`.)

use super::error::Fault;
use super::rows::{self, EntryRow};
use crate::ledger::record::PruneRecord;
use crate::ledger::{Body, ChainError, EntryState};
use crate::model::{MountName, Seq, Timeline};
use rusqlite::{Connection, OptionalExtension, params};

/// Names after `after`: they keep queries to what is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Hidden up to and with this name; empty hides nothing.
    pub(super) after: String,
}

/// Sorts after every mount name: they are UTF-8 text without it.
pub(super) const NAME_END: &str = "\u{10ffff}";

pub(super) fn of(conn: &Connection, timeline: Timeline) -> Result<Bounds, Fault> {
    let after = conn
        .prepare_cached("SELECT after FROM bounds WHERE timeline = ?1")?
        .query_row([timeline.0], |row| row.get(0))
        .optional()?;
    Ok(Bounds {
        after: after.unwrap_or_default(),
    })
}

impl Bounds {
    pub(super) fn show(&self, name: &MountName) -> bool {
        !self.hide(name)
    }

    /// Whether a name was pruned.
    pub(super) fn hide(&self, name: &MountName) -> bool {
        name.as_str() <= self.after.as_str()
    }
}

/// The place in `timeline` that record `target` names.
///
/// A record that is lost has no place of its own there: the last known before it stands in.
pub(super) fn place(
    conn: &Connection,
    seq: Seq,
    timeline: Timeline,
    target: Seq,
) -> Result<(Option<EntryRow>, bool), Fault> {
    let fail = |reason: String| Fault::Chain(ChainError { seq, reason });
    let row = rows::resolve(conn, target)?.ok_or_else(|| {
        fail(format!(
            "names record {target}, which introduced no segment"
        ))
    })?;
    if row.timeline == timeline {
        return Ok((Some(row), true));
    }
    if row.state != EntryState::Lost {
        return Err(fail(format!(
            "names record {target} of timeline {}, not {timeline}",
            row.timeline
        )));
    }
    let last = rows::one(
        conn,
        "WHERE timeline = ?1 AND seq < ?2 ORDER BY mount_name DESC LIMIT 1",
        params![timeline.0, target.0 as i64],
    )?;
    Ok((last, false))
}

/// Checks what a fence or prune names, before the record is accepted.
pub(super) fn check(conn: &Connection, seq: Seq, body: &Body) -> Result<(), Fault> {
    match body {
        Body::Fence(fence) => place(conn, seq, fence.timeline, fence.segment).map(drop),
        Body::Prune(prune) => place(conn, seq, prune.timeline, prune.through).map(drop),
        Body::Segment(_) | Body::Hole(_) | Body::Gap(_) | Body::Supersede(_) | Body::Moved(_) => {
            Ok(())
        }
    }
}

/// Hides the front of a timeline.
pub(super) fn prune(conn: &Connection, seq: Seq, prune: &PruneRecord) -> Result<(), Fault> {
    let (row, _) = place(conn, seq, prune.timeline, prune.through)?;
    let name = row.map_or_else(String::new, |row| row.mount_name.as_str().to_owned());
    conn.execute(
        "INSERT INTO bounds (timeline, after) VALUES (?1, ?2)
         ON CONFLICT (timeline) DO UPDATE SET after = max(coalesce(after, ''), ?2)",
        params![prune.timeline.0, name],
    )?;
    conn.execute(
        "INSERT INTO prunes (line, timeline, through) VALUES (?1, ?2, ?3)",
        params![seq.0 as i64, prune.timeline.0, name],
    )?;
    Ok(())
}
