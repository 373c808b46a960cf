//! Where a timeline's visible history begins and ends: prunes and fences.

use super::error::Fault;
use super::rows::{self, EntryRow};
use super::{Index, IndexError};
use crate::ledger::record::{FenceRecord, PruneRecord};
use crate::ledger::{Body, ChainError, EntryState};
use crate::model::{MountName, Seq, Timeline};
use rusqlite::{Connection, OptionalExtension, params};

/// Names after `after`, up to `through`. Together they keep queries to what is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Hidden up to and with this name; empty hides nothing.
    pub(super) after: String,
    /// Hidden after this name.
    pub(super) through: String,
}

/// Sorts after every mount name: they are UTF-8 text without it.
pub(super) const NAME_END: &str = "\u{10ffff}";

/// Where a timeline ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// The last name of the timeline; `None` if nothing is known of what was before the fence.
    pub mount_name: Option<MountName>,
    /// Offset in it after which nothing belongs to the timeline, in bytes; `None` if its segment cannot be known any
    /// more (its record is lost): then `mount_name` is the last known before it.
    pub position: Option<u64>,
    /// Why.
    pub reason: String,
}

pub(super) fn of(conn: &Connection, timeline: Timeline) -> Result<Bounds, Fault> {
    let row = conn
        .prepare_cached("SELECT after, through FROM bounds WHERE timeline = ?1")?
        .query_row([timeline.0], |row| {
            Ok((
                row.get::<_, Option<String>>(0)?,
                row.get::<_, Option<String>>(1)?,
            ))
        })
        .optional()?;
    let (after, through) = row.unwrap_or_default();
    Ok(Bounds {
        after: after.unwrap_or_default(),
        through: through.unwrap_or_else(|| NAME_END.to_owned()),
    })
}

impl Bounds {
    pub(super) fn show(&self, name: &MountName) -> bool {
        name.as_str() > self.after.as_str() && name.as_str() <= self.through.as_str()
    }
}

/// The place in `timeline` that record `target` names.
///
/// A record that is lost has no place of its own there: the last known before it stands in.
fn place(
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

/// Ends a timeline. Of several fences the earliest place holds.
pub(super) fn fence(conn: &Connection, seq: Seq, fence: &FenceRecord) -> Result<(), Fault> {
    let (row, exact) = place(conn, seq, fence.timeline, fence.segment)?;
    let name = row.map_or_else(String::new, |row| row.mount_name.as_str().to_owned());
    let position = exact.then_some(fence.position);
    conn.execute(
        "INSERT INTO bounds (timeline, through, fence_line, fence_position) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (timeline) DO UPDATE SET through = ?2, fence_line = ?3, fence_position = ?4
         WHERE through IS NULL OR through > ?2
            OR (through = ?2 AND coalesce(fence_position, -1) > coalesce(?4, -1))",
        params![
            fence.timeline.0,
            name,
            seq.0 as i64,
            position.map(|p| p.min(i64::MAX as u64) as i64)
        ],
    )?;
    Ok(())
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
    Ok(())
}

impl Index {
    /// Where a timeline was ended, if it was: its last segment belongs to it up to [`Fence::position`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn fence(&self, timeline: Timeline) -> Result<Option<Fence>, IndexError> {
        self.with(|inner| {
            let found = inner
                .conn
                .prepare_cached(
                    "SELECT through, fence_line, fence_position FROM bounds
                     WHERE timeline = ?1 AND through IS NOT NULL",
                )?
                .query_row([timeline.0], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        rows::unsigned(row, 1)?,
                        rows::maybe_unsigned(row, 2)?,
                    ))
                })
                .optional()?;
            let Some((name, line, position)) = found else {
                return Ok(None);
            };
            let record = inner.texts().line(Seq(line))?;
            let Body::Fence(fence) = &record.record().body else {
                return Err(Fault::Corrupt(format!("record {line} is no fence")));
            };
            let mount_name = name.parse().ok();
            Ok(Some(Fence {
                mount_name,
                position,
                reason: fence.reason.clone(),
            }))
        })
    }
}
