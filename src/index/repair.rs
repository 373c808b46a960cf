//! What can still be made of records that speak of lost ones.

use super::error::Fault;
use super::listing::Changes;
use super::rows::{self, EntryRow, state_code};
use super::texts::Texts;
use super::write::{NewEntry, insert_entries};
use crate::ledger::entry::check_supersede;
use crate::ledger::record::SupersedeRecord;
use crate::ledger::{ChainError, Entry, EntryState, LedgerState, SegmentRecord};
use crate::model::{MountName, Seq};
use rusqlite::{Connection, OptionalExtension, params};

/// What a supersede record does.
pub(super) enum Target {
    /// The entry's segment is replaced.
    Replace(EntryRow),
    /// The entry stood for a lost record, and the new one says all that one said of the segment.
    Restore(EntryRow),
    /// The record that it replaces is lost, and where its segment stood cannot be told.
    Nothing(EntryRow),
}

/// Finds what a supersede record replaces, and checks that it may.
///
/// The record it names can be lost: what was a valid ledger must stay readable, so nothing is refused then. Where the
/// segment's place can be told, it is used.
pub(super) fn target(
    texts: Texts<'_>,
    seq: Seq,
    supersede: &SupersedeRecord,
) -> Result<Target, Fault> {
    let conn = texts.conn;
    let fail = |reason: String| Fault::Chain(ChainError { seq, reason });
    let old = supersede.supersedes;
    let new = &supersede.segment;
    let row = rows::resolve(conn, old)?.ok_or_else(|| {
        fail(format!(
            "replaces record {old}, which introduced no segment"
        ))
    })?;
    if texts.text(old)?.is_some() {
        let known = row.state != EntryState::Lost;
        if known {
            check_supersede(&shallow(texts, &row)?, new).map_err(fail)?;
            return Ok(Target::Replace(row));
        }
        return Ok(Target::Nothing(row));
    }
    if let Some(named) = rows::named(conn, new.timeline, &new.mount_name)? {
        let fits = check_supersede(&shallow(texts, &named)?, new).is_ok();
        return Ok(if fits {
            Target::Replace(named)
        } else {
            Target::Nothing(row)
        });
    }
    let alone = row.seq == old
        && row.state == EntryState::Lost
        && row.timeline == new.timeline
        && !new.mount_name.is_gap()
        && !has_aliases(conn, row.seq)?;
    if alone && fits_between(conn, &row, &new.mount_name)? {
        return Ok(Target::Restore(row));
    }
    Ok(Target::Nothing(row))
}

/// An entry without its previous GTIDs.
fn shallow(texts: Texts<'_>, row: &EntryRow) -> Result<Entry, Fault> {
    Ok(Entry {
        seq: row.seq,
        timeline: row.timeline,
        incarnation: row.incarnation,
        number: row.number,
        mount_name: row.mount_name.clone(),
        state: row.state,
        reason: String::new(),
        previous_gtids: None,
        segment: super::build::segment(texts, row)?,
        cut: None,
    })
}

fn has_aliases(conn: &Connection, entry: Seq) -> Result<bool, Fault> {
    let found = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM aliases WHERE entry = ?1)")?
        .query_row([entry.0 as i64], |row| row.get(0))?;
    Ok(found)
}

/// Whether `name` in place of `row`'s leaves the order as it is.
fn fits_between(conn: &Connection, row: &EntryRow, name: &MountName) -> Result<bool, Fault> {
    let before = rows::before(conn, row.timeline, &row.mount_name)?;
    let after = rows::after(conn, row.timeline, &row.mount_name)?;
    Ok(before.is_none_or(|b| b.mount_name < *name) && after.is_none_or(|a| *name < a.mount_name))
}

/// Where the records before a segment or hole show that a lost record belonged right before it, the name that stands
/// for the lost one.
///
/// A lost record is shown at the end of the newest timeline of its time. A number that is missing in another timeline,
/// or a timeline without its first record, shows that it belonged there.
pub(super) fn missing_before(
    state: &LedgerState,
    segment: Option<&SegmentRecord>,
    entry: &Entry,
) -> Option<MountName> {
    let known = state.incarnation(entry.incarnation);
    match (known, state.timeline(entry.timeline)) {
        (Some(known), Some(timeline)) if entry.number.0 > known.last_number.0 + 1 => {
            let last = &timeline.last_mount_name;
            (!last.is_gap()).then(|| last.gap_after())
        }
        (None, None) if entry.timeline.0 > 1 && segment.is_none_or(|s| s.branch.is_none()) => {
            Some(MountName::before_all(&state.basename))
        }
        _ => None,
    }
}

/// Moves a lost record between `after` and `before` to `name` in the timeline of `entry`, unless one is there.
pub(super) fn claim(
    conn: &Connection,
    entry: &Entry,
    after: Seq,
    name: &MountName,
    changes: &mut Changes,
) -> Result<(), Fault> {
    let (timeline, before) = (entry.timeline, entry.seq);
    if rows::named(conn, timeline, name)?.is_some() {
        return Ok(());
    }
    // One of several that share a name elsewhere: it gets an entry of its own.
    let shared: Option<i64> = conn
        .prepare_cached(
            "SELECT aliases.seq FROM aliases JOIN lost ON lost.seq = aliases.seq
             WHERE lost.seq > ?1 AND lost.seq < ?2 ORDER BY lost.seq DESC LIMIT 1",
        )?
        .query_row(params![after.0 as i64, before.0 as i64], |row| row.get(0))
        .optional()?;
    changes.touch(timeline, name);
    changes.grown.insert(timeline.0);
    if let Some(seq) = shared {
        conn.execute("DELETE FROM aliases WHERE seq = ?1", [seq])?;
        let reason = format!("ledger record {seq} cannot be read");
        let row = EntryRow {
            seq: Seq(seq.unsigned_abs()),
            mount_name: name.clone(),
            state: EntryState::Lost,
            reason,
            ..EntryRow::of(entry, None, None)
        };
        return insert_entries(conn, &[NewEntry::new(row, None)]);
    }
    let lost = rows::one(
        conn,
        "WHERE seq > ?1 AND seq < ?2 AND state = ?3 ORDER BY seq DESC LIMIT 1",
        params![
            after.0 as i64,
            before.0 as i64,
            state_code(EntryState::Lost)
        ],
    )?;
    let Some(lost) = lost else { return Ok(()) };
    changes.touch(lost.timeline, &lost.mount_name);
    conn.execute(
        "UPDATE entries SET timeline = ?1, incarnation = ?2, mount_name = ?3 WHERE seq = ?4",
        params![
            timeline.0,
            entry.incarnation.0,
            name.as_str(),
            lost.seq.0 as i64
        ],
    )?;
    Ok(())
}
