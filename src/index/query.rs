//! The questions an index answers.

use super::bounds::NAME_END;
use super::error::Fault;
use super::rows::{self, EntryRow};
use super::texts::Texts;
use super::write::head_code;
use super::{Index, IndexError, bounds, build, intervals};
use crate::ledger::{Entry, EntryState, LedgerState, Line};
use crate::model::{Gtid, Micros, MountName, ObjectKey, SegmentNumber, Seq, Sha256, Timeline};
use rusqlite::{Connection, params};

/// What there is of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineInfo {
    /// Its number.
    pub timeline: Timeline,
    /// Visible entries.
    pub entries: u64,
    /// The first of them.
    pub first: Option<EntryRow>,
    /// The last of them.
    pub last: Option<EntryRow>,
}

/// The last record that can be read must be there: one whole read through table, text and hash.
pub(super) fn check_last_line(texts: Texts<'_>, state: &LedgerState) -> Result<(), Fault> {
    match state.last_hash {
        Some(hash) if state.last_seq.0 > 0 => {
            let line = texts.line(state.last_seq)?;
            if line.hash() == hash {
                Ok(())
            } else {
                Err(Fault::Corrupt(format!(
                    "record {} is not the one it was",
                    state.last_seq
                )))
            }
        }
        _ => Ok(()),
    }
}

/// The timeline after one; NULL if there is none. Higher numbers are of what fences took out ([`super::fences::BEHIND`]).
const NEXT_TIMELINE: &str =
    "SELECT min(timeline) FROM entries WHERE timeline > ?1 AND timeline < 2147483648";
/// A history with more holes than this is past counting.
pub(super) const UNSOUND_MAX: usize = 100_000;

/// SQLite's way to say how many rows at most.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn page(
    conn: &Connection,
    timeline: Timeline,
    after: Option<&MountName>,
    count: usize,
) -> Result<Vec<EntryRow>, Fault> {
    let bounds = bounds::of(conn, timeline)?;
    let after = after
        .map_or("", MountName::as_str)
        .max(bounds.after.as_str());
    rows::between(conn, timeline, (after, NAME_END), count)
}

fn build_one(texts: Texts<'_>, row: Option<EntryRow>) -> Result<Option<Entry>, Fault> {
    row.map(|row| build::one(texts, row)).transpose()
}

impl Index {
    /// The timelines, oldest first, those without visible entries included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn timelines(&self) -> Result<Vec<TimelineInfo>, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let mut found = Vec::new();
            let mut at: u32 = 0;
            while let Some(id) = conn
                .prepare_cached(NEXT_TIMELINE)?
                .query_row([at], |row| row.get::<_, Option<u32>>(0))?
            {
                at = id;
                let timeline = Timeline(id);
                let bounds = bounds::of(conn, timeline)?;
                let visible = params![id, bounds.after];
                let entries = conn
                    .prepare_cached(
                        "SELECT count(*) FROM entries WHERE timeline = ?1 AND mount_name > ?2",
                    )?
                    .query_row(visible, |row| rows::unsigned(row, 0))?;
                let last = rows::one(
                    conn,
                    "WHERE timeline = ?1 AND mount_name > ?2 ORDER BY mount_name DESC LIMIT 1",
                    visible,
                )?;
                let first = page(conn, timeline, None, 1)?.pop();
                found.push(TimelineInfo {
                    timeline,
                    entries,
                    first,
                    last,
                });
            }
            Ok(found)
        })
    }

    /// The numbers of the timelines that have entries, ascending.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn timeline_numbers(&self) -> Result<Vec<Timeline>, IndexError> {
        self.with(|inner| {
            let mut found = Vec::new();
            let mut next = inner.conn.prepare_cached(NEXT_TIMELINE)?;
            let mut at: u32 = 0;
            while let Some(id) = next.query_row([at], |row| row.get::<_, Option<u32>>(0))? {
                at = id;
                found.push(Timeline(id));
            }
            Ok(found)
        })
    }

    /// Up to `limit` rows of a timeline after a name, in replay order: what a listing needs, at a few microseconds each.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn rows(
        &self,
        timeline: Timeline,
        after: Option<&MountName>,
        limit: usize,
    ) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| page(&inner.conn, timeline, after, limit))
    }

    /// Up to `limit` entries of a timeline after a name, in replay order, each with its record: tens of microseconds
    /// and kilobytes each.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entries(
        &self,
        timeline: Timeline,
        after: Option<&MountName>,
        limit: usize,
    ) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let mut builder = build::Builder::default();
            page(&inner.conn, timeline, after, limit)?
                .into_iter()
                .map(|row| builder.entry(inner.texts(), row))
                .collect()
        })
    }

    /// The visible entry of a name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry(&self, timeline: Timeline, name: &MountName) -> Result<Option<Entry>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            let row = rows::named(&inner.conn, timeline, name)?;
            build_one(inner.texts(), row.filter(|_| bounds.show(name)))
        })
    }

    /// What is not plainly archived, newest first: holes, gaps, damage, lost records; the newest hundred thousand of them. What
    /// was pruned is not among them, nor what a fence took out of the history: it stops no replay.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unsound(&self) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| {
            rows::all(
                &inner.conn,
                "INDEXED BY entries_bad WHERE state <> 0 AND timeline < 2147483648 AND mount_name > coalesce(
                    (SELECT after FROM bounds WHERE bounds.timeline = entries.timeline), '')
                 ORDER BY seq DESC LIMIT ?1",
                params![limit(UNSOUND_MAX)],
            )
        })
    }

    /// When record `seq` was made, if it can be read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn recorded_at(&self, seq: Seq) -> Result<Option<Micros>, IndexError> {
        let line = self.line(seq)?;
        let line = line.and_then(|text| Line::read(text.as_bytes()).ok());
        Ok(line.map(|line| line.record().body.archived_at()))
    }

    /// The entry that record `seq` introduced or speaks of, visible or not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry_by_seq(&self, seq: Seq) -> Result<Option<Entry>, IndexError> {
        self.with(|inner| {
            let row = rows::resolve(&inner.conn, seq)?;
            build_one(inner.texts(), row)
        })
    }

    /// Segments with this head and number, visible or not, by seq: whether a file is archived already.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn find(&self, head: &Sha256, number: SegmentNumber) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let candidates = rows::all(
                &inner.conn,
                "WHERE number = ?1 AND head = ?2 ORDER BY seq",
                params![
                    limit(usize::try_from(number.0).unwrap_or(usize::MAX)),
                    head_code(head)
                ],
            )?;
            let mut found = Vec::new();
            for row in candidates {
                let entry = build::one(inner.texts(), row)?;
                if entry.segment.as_ref().is_some_and(|s| s.head == *head) {
                    found.push(entry);
                }
            }
            Ok(found)
        })
    }

    /// The line of record `seq` as it stands in the bucket; `None` if it is lost or not there yet.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn line(&self, seq: Seq) -> Result<Option<String>, IndexError> {
        self.with(|inner| inner.texts().text(seq))
    }

    /// Up to `count` records that could not be read when they were passed, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn lost(&self, count: usize) -> Result<Vec<Seq>, IndexError> {
        self.with(|inner| {
            let mut query = inner
                .conn
                .prepare_cached("SELECT seq FROM lost ORDER BY seq LIMIT ?1")?;
            let found = query.query_map([limit(count)], |row| rows::unsigned(row, 0).map(Seq))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Whether any record names this object, superseded ones included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn names_object(&self, key: &ObjectKey) -> Result<bool, IndexError> {
        self.with(|inner| {
            let named = inner
                .conn
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM objects WHERE key = ?1)")?
                .query_row([key.as_str()], |row| row.get(0))?;
            Ok(named)
        })
    }

    /// Up to `count` objects that records name, after a key, in key order: what a listing of the bucket is compared with.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn object_keys(
        &self,
        after: Option<&ObjectKey>,
        count: usize,
    ) -> Result<Vec<(ObjectKey, Seq)>, IndexError> {
        self.with(|inner| {
            let mut query = inner.conn.prepare_cached(
                "SELECT key, seq FROM objects WHERE key > ?1 ORDER BY key LIMIT ?2",
            )?;
            let after = after.map_or("", ObjectKey::as_str);
            let found = query.query_map(params![after, limit(count)], |row| {
                Ok((row.get::<_, String>(0)?, Seq(rows::unsigned(row, 1)?)))
            })?;
            let mut keys = Vec::new();
            for pair in found {
                let (key, seq) = pair?;
                let key = key
                    .parse()
                    .map_err(|e| Fault::Corrupt(format!("the key of an object: {e}")))?;
                keys.push((key, seq));
            }
            Ok(keys)
        })
    }

    /// Visible segments of a timeline with an event in `from..=to`, in replay order, as their smallest and largest times
    /// tell. Holes and gaps have no times and are not among them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn overlapping(
        &self,
        timeline: Timeline,
        from: Micros,
        to: Micros,
    ) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let mut found = Vec::new();
            for seq in intervals::overlapping(conn, timeline, from, to)? {
                let row = rows::introduced_by(conn, seq)?;
                found.extend(row.filter(|row| !row.behind && bounds.show(&row.mount_name)));
            }
            found.sort_by(|a, b| a.mount_name.cmp(&b.mount_name));
            Ok(found)
        })
    }

    /// Visible segments of any timeline that hold a GTID, by timeline and in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn holding(&self, gtid: &Gtid) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let mut found = Vec::new();
            for seq in intervals::holding(conn, gtid)? {
                let Some(row) = rows::introduced_by(conn, seq)? else {
                    continue;
                };
                if !row.behind && bounds::of(conn, row.timeline)?.show(&row.mount_name) {
                    found.push(build::one(inner.texts(), row)?);
                }
            }
            found.sort_by(|a, b| (a.timeline, &a.mount_name).cmp(&(b.timeline, &b.mount_name)));
            Ok(found)
        })
    }

    /// Up to `count` rows of a timeline from a name on, the name itself included, in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn following(
        &self,
        timeline: Timeline,
        name: &MountName,
        count: usize,
    ) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            rows::all(
                &inner.conn,
                "WHERE timeline = ?1 AND mount_name >= ?2 AND mount_name > ?3 ORDER BY mount_name LIMIT ?4",
                params![timeline.0, name.as_str(), bounds.after, limit(count)],
            )
        })
    }

    /// Whether the entry of a name can be read at all, without its record.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry_state(
        &self,
        timeline: Timeline,
        name: &MountName,
    ) -> Result<Option<EntryState>, IndexError> {
        self.with(|inner| Ok(rows::named(&inner.conn, timeline, name)?.map(|row| row.state)))
    }
}
