//! Questions that few ask: by the server's own file names, for sets that are too long, and for transactions that are in none.

use super::error::Fault;
use super::query::limit;
use super::rows::{self, EntryRow};
use super::texts::Texts;
use super::{Index, IndexError, bounds, build};
use crate::ledger::Entry;
use crate::model::{FileName, MountName, Seq, Timeline};
use rusqlite::{OptionalExtension as _, params};

/// Incarnations of one timeline that are looked through for a file name.
const SAME_NUMBER_MAX: usize = 1000;

/// Segments of a timeline that their server called `file`, in replay order: those whose rows are wanted.
pub(super) fn called(
    texts: Texts<'_>,
    timeline: Timeline,
    file: &FileName,
    wanted: impl Fn(&EntryRow) -> bool,
) -> Result<Vec<(EntryRow, Entry)>, Fault> {
    let same_number = rows::all(
        texts.conn,
        "INDEXED BY entries_head WHERE number = ?1 AND timeline = ?2 ORDER BY mount_name LIMIT ?3",
        params![file.number().0 as i64, timeline.0, limit(SAME_NUMBER_MAX)],
    )?;
    let mut found = Vec::new();
    for row in same_number.into_iter().filter(wanted) {
        let entry = build::one(texts, row.clone())?;
        if entry.segment.as_ref().is_some_and(|s| s.file == *file) {
            found.push((row, entry));
        }
    }
    Ok(found)
}

impl Index {
    /// Visible segments of a timeline that their server called `file`, in replay order: one for each incarnation at most.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of_file(&self, timeline: Timeline, file: &FileName) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            let shown = |row: &EntryRow| bounds.show(&row.mount_name);
            let called = called(inner.texts(), timeline, file, shown)?;
            Ok(called.into_iter().map(|(_, entry)| entry).collect())
        })
    }

    /// Visible entries of all timelines that `name` may mean: those that have it in the mount, and those that their server called
    /// so; by timeline and in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn namesakes(&self, name: &str) -> Result<Vec<EntryRow>, IndexError> {
        let (mount_name, file) = (
            name.parse::<MountName>().ok(),
            name.parse::<FileName>().ok(),
        );
        let mut found = Vec::new();
        for timeline in self.timeline_numbers()? {
            let mut its = self.with(|inner| {
                let bounds = bounds::of(&inner.conn, timeline)?;
                let shown = |row: &EntryRow| bounds.show(&row.mount_name);
                let mut its: Vec<EntryRow> = Vec::new();
                if let Some(name) = &mount_name {
                    its.extend(rows::named(&inner.conn, timeline, name)?.filter(shown));
                }
                if let Some(file) = &file {
                    let called = called(inner.texts(), timeline, file, shown)?;
                    its.extend(called.into_iter().map(|(row, _)| row));
                }
                Ok(its)
            })?;
            its.sort_by(|a, b| a.mount_name.cmp(&b.mount_name));
            its.dedup_by_key(|row| row.seq);
            found.append(&mut its);
        }
        Ok(found)
    }

    /// The first entry of a timeline from the one that record `first` introduced to that of `last`, both included, that has transactions
    /// without GTIDs. Entries of a timeline that have a segment were introduced in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn without_gtids(
        &self,
        timeline: Timeline,
        (first, last): (Seq, Seq),
    ) -> Result<Option<MountName>, IndexError> {
        self.with(|inner| {
            // From the few of them to their entries.
            let mut query = inner.conn.prepare_cached(
                "SELECT e.seq FROM anonymous a CROSS JOIN entries e ON e.seq = a.entry
                 WHERE a.entry BETWEEN ?2 AND ?3 AND e.timeline = ?1 ORDER BY a.entry LIMIT 1",
            )?;
            let found = query
                .query_row(params![timeline.0, first.0 as i64, last.0 as i64], |row| {
                    rows::unsigned(row, 0).map(Seq)
                });
            let row = match found.optional()? {
                Some(seq) => rows::introduced_by(&inner.conn, seq)?,
                None => None,
            };
            Ok(row.map(|row| row.mount_name))
        })
    }

    /// Up to `count` segments whose GTID set is longer than an extended attribute can be, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn long_sets(&self, count: usize) -> Result<Vec<Entry>, IndexError> {
        self.with(|inner| {
            let found = rows::all(
                &inner.conn,
                "WHERE seq IN (SELECT entry FROM long_sets ORDER BY entry DESC LIMIT ?1) ORDER BY seq DESC",
                [limit(count)],
            )?;
            found
                .into_iter()
                .map(|row| build::one(inner.texts(), row))
                .collect()
        })
    }
}
