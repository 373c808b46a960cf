//! Fences: what they take out of a timeline is kept, and no question about the timeline finds it.
//!
//! Entries behind a fence stay in `entries`, under a number that no timeline has: so every question about a timeline passes by them,
//! and those about a record, a head or an object find them. The segment that a fence stands in is cut: its row has the size and the
//! latest commit of what stands before the fence.

use super::batch::Batch;
use super::error::Fault;
use super::rows::{self, EntryRow};
use super::{Index, IndexError, bounds, build, intervals, latest};
use crate::ledger::entry::Cut;
use crate::ledger::record::FenceRecord;
use crate::ledger::{Body, Entry};
use crate::model::{Micros, MountName, Seq, Timeline};
use rusqlite::params;

/// Added to the timeline of an entry that a fence took out of it.
pub(super) const BEHIND: u32 = 1 << 31;

/// Where a timeline was ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Its record.
    pub seq: Seq,
    /// The timeline.
    pub timeline: Timeline,
    /// The last name before it; `None` if nothing is known of what was there.
    pub mount_name: Option<MountName>,
    /// Offset in it after which nothing belongs to the timeline, in bytes; `None` if its segment cannot be known any
    /// more (its record is lost): then `mount_name` is the last known before it.
    pub position: Option<u64>,
    /// Why.
    pub reason: String,
    /// When it was recorded.
    pub recorded_at: Micros,
}

/// What a row is told of the fence that stands in its segment.
pub(super) fn cut_of(texts: super::texts::Texts<'_>, row: &EntryRow) -> Result<Option<Cut>, Fault> {
    let Some(seq) = row.fence else {
        return Ok(None);
    };
    match &texts.line(seq)?.record().body {
        Body::Fence(fence) => Ok(Some(Cut {
            position: row.size,
            gtids: fence.gtids.clone(),
            transactions: fence.transactions,
            last_time: row.last_time,
        })),
        _ => Err(Fault::Corrupt(format!("record {seq} is no fence"))),
    }
}

impl Batch<'_> {
    /// Takes what stands behind a fence out of its timeline. Of several fences, one behind another changes nothing.
    pub(super) fn fence(&mut self, seq: Seq, fence: &FenceRecord) -> Result<(), Fault> {
        let (row, exact) = bounds::place(self.conn, seq, fence.timeline, fence.segment)?;
        self.conn
            .prepare_cached(
                "INSERT INTO fences (line, timeline, name, position) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                seq.0 as i64,
                fence.timeline.0,
                row.as_ref().map(|row| row.mount_name.as_str()),
                exact.then(|| fence.position.min(i64::MAX as u64) as i64)
            ])?;
        if row.as_ref().is_some_and(|row| row.behind) {
            return Ok(());
        }
        self.hide_after(
            fence.timeline,
            row.as_ref().map_or("", |row| row.mount_name.as_str()),
        )?;
        match row.filter(|row| exact && fence.position < row.size) {
            Some(row) => self.cut(seq, fence, &row),
            None => Ok(()),
        }
    }

    fn hide_after(&mut self, timeline: Timeline, name: &str) -> Result<(), Fault> {
        let mut query = self.conn.prepare_cached(
            "SELECT mount_name FROM entries WHERE timeline = ?1 AND mount_name > ?2",
        )?;
        let names = query.query_map(params![timeline.0, name], |row| row.get::<_, String>(0))?;
        for name in names {
            self.changes.touched.insert((timeline.0, name?));
        }
        self.conn.execute(
            "UPDATE entries SET timeline = timeline + ?3 WHERE timeline = ?1 AND mount_name > ?2",
            params![timeline.0, name, BEHIND],
        )?;
        self.latest.forget();
        Ok(())
    }

    fn cut(&mut self, seq: Seq, fence: &FenceRecord, row: &EntryRow) -> Result<(), Fault> {
        let known = match cut_of(self.texts, row)? {
            Some(cut) => Some(cut.gtids),
            None => build::segment(self.texts, row)?.map(|segment| segment.gtids),
        };
        if let Some(known) = known {
            intervals::remove_gtids(self.conn, &known, row.seq)?;
            self.new_runs.add_gtids(self.conn, &fence.gtids, row.seq)?;
        }
        self.conn.execute(
            "UPDATE entries SET size = ?1, latest_commit = ?2, fence = ?3,
             last_time = CASE WHEN ?2 IS NULL THEN first_time ELSE min(coalesce(last_time, ?2), ?2) END WHERE seq = ?4",
            params![
                fence.position as i64,
                fence.latest_commit.map(|time| time.0),
                seq.0 as i64,
                row.seq.0 as i64
            ],
        )?;
        latest::settle(self.conn, row.timeline, &row.mount_name)?;
        self.changes.touch(row.timeline, &row.mount_name);
        Ok(())
    }

    /// Does again to the row of `seq`, whose record was replaced, what fences have done to the one before it, `old`.
    pub(super) fn fence_again(&mut self, old: &EntryRow) -> Result<(), Fault> {
        if old.behind {
            self.conn.execute(
                "UPDATE entries SET timeline = timeline + ?1 WHERE seq = ?2",
                params![BEHIND, old.seq.0 as i64],
            )?;
        }
        let Some(seq) = old.fence else {
            return Ok(());
        };
        let line = self.texts.line(seq)?;
        let row = rows::introduced_by(self.conn, old.seq)?;
        match (&line.record().body, row) {
            (Body::Fence(fence), Some(row)) => self.cut(seq, fence, &row),
            _ => Ok(()),
        }
    }
}

impl Index {
    /// The fences, in the order of their records.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn fences(&self) -> Result<Vec<Fence>, IndexError> {
        self.with(|inner| {
            let mut query = inner.conn.prepare_cached(
                "SELECT line, timeline, name, position FROM fences WHERE line > 0 ORDER BY line",
            )?;
            let mut found = query.query([])?;
            let mut fences = Vec::new();
            while let Some(row) = found.next()? {
                let seq = Seq(rows::unsigned(row, 0)?);
                let line = inner.texts().line(seq)?;
                let Body::Fence(fence) = &line.record().body else {
                    return Err(Fault::Corrupt(format!("record {seq} is no fence")));
                };
                let name: Option<String> = row.get(2)?;
                fences.push(Fence {
                    seq,
                    timeline: Timeline(row.get(1)?),
                    mount_name: name.and_then(|name| name.parse().ok()),
                    position: rows::maybe_unsigned(row, 3)?,
                    reason: fence.reason.clone(),
                    recorded_at: fence.archived_at,
                });
            }
            Ok(fences)
        })
    }

    /// The last visible entry of a timeline that has a segment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_segment(&self, timeline: Timeline) -> Result<Option<Entry>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            let row = rows::one(
                &inner.conn,
                "WHERE timeline = ?1 AND mount_name > ?2 AND state IN (0, 1) ORDER BY mount_name DESC LIMIT 1",
                params![timeline.0, bounds.after],
            )?;
            row.map(|row| build::one(inner.texts(), row))
                .transpose()
        })
    }

    /// The entries that fences took out of a timeline, in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn behind_fences(&self, timeline: Timeline) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let of = i64::from(timeline.0) + i64::from(BEHIND);
            let found = rows::all(&inner.conn, "WHERE timeline = ?1 ORDER BY mount_name", [of])?;
            found
                .into_iter()
                .map(|row| build::one(inner.texts(), row))
                .collect()
        })
    }
}
