//! Questions that few ask: by the server's own file names, and for sets that are too long.

use super::error::Fault;
use super::query::limit;
use super::rows::{self, EntryRow};
use super::texts::Texts;
use super::{Index, IndexError, bounds, build};
use crate::ledger::Entry;
use crate::model::{FileName, MountName, Timeline};
use rusqlite::params;

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
