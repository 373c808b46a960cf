//! What was pruned: the records that say so, and the entries that they took away.

use super::error::Fault;
use super::query::{UNSOUND_MAX, limit};
use super::rows::{self, EntryRow};
use super::{Index, IndexError, bounds, intervals, schema, special};
use crate::ledger::Body;
use crate::ledger::record::PruneRecord;
use crate::model::{FileName, Gtid, Micros, MountName, ObjectKey, Seq, Timeline};
use rusqlite::{OptionalExtension as _, params};
use std::fmt;

/// A prune record, and the last name that it takes away.
#[derive(Clone, Debug, PartialEq)]
pub struct Prune {
    /// The record.
    pub seq: Seq,
    /// What it says.
    pub record: PruneRecord,
    /// The name of [`PruneRecord::through`]; `None` where nothing is known of what it names.
    pub through: Option<MountName>,
}

/// When it was and by which rule, as a message goes on after "was".
impl fmt::Display for Prune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "pruned on {} ({})",
            self.record.archived_at, self.record.reason
        )
    }
}

impl Index {
    /// All prune records, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn prunes(&self) -> Result<Vec<Prune>, IndexError> {
        self.with(|inner| {
            let mut query = inner
                .conn
                .prepare_cached("SELECT line, through FROM prunes WHERE line > 0 ORDER BY line")?;
            let found = query.query_map([], |row| {
                Ok((Seq(rows::unsigned(row, 0)?), row.get::<_, String>(1)?))
            })?;
            let mut prunes = Vec::new();
            for pair in found {
                let (seq, through) = pair?;
                let line = inner.texts().line(seq)?;
                let Body::Prune(record) = &line.record().body else {
                    return Err(Fault::Corrupt(format!("record {seq} is no prune")));
                };
                prunes.push(Prune {
                    seq,
                    record: record.clone(),
                    through: through.parse().ok(),
                });
            }
            Ok(prunes)
        })
    }

    /// The prune record that says where the visible history of a timeline begins, if one does: of several the one that goes
    /// furthest, and of those the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned(&self, timeline: Timeline) -> Result<Option<Prune>, IndexError> {
        let prunes = self.prunes()?.into_iter();
        let of_timeline = prunes.filter(|prune| prune.record.timeline == timeline);
        Ok(
            of_timeline.reduce(|furthest, prune| match prune.through > furthest.through {
                true => prune,
                false => furthest,
            }),
        )
    }

    /// Up to `count` pruned rows of a timeline after a name, in replay order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned_rows(
        &self,
        timeline: Timeline,
        after: Option<&MountName>,
        count: usize,
    ) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            let after = after.map_or("", MountName::as_str);
            rows::between(&inner.conn, timeline, (after, &bounds.after), count)
        })
    }

    /// The latest commit of all that stands before a name, pruned or not.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn latest_before(
        &self,
        timeline: Timeline,
        name: &MountName,
    ) -> Result<Option<Micros>, IndexError> {
        self.with(|inner| {
            let before = rows::before(&inner.conn, timeline, name)?;
            Ok(before.and_then(|row| row.latest_through))
        })
    }

    /// How many entries of a timeline were pruned.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned_count(&self, timeline: Timeline) -> Result<u64, IndexError> {
        self.with(|inner| {
            let after = bounds::of(&inner.conn, timeline)?.after;
            let count = inner
                .conn
                .prepare_cached(
                    "SELECT count(*) FROM entries WHERE timeline = ?1 AND mount_name <= ?2",
                )?
                .query_row(params![timeline.0, after], |row| rows::unsigned(row, 0))?;
            Ok(count)
        })
    }

    /// The pruned entry of a timeline that holds a GTID.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned_holding(
        &self,
        timeline: Timeline,
        gtid: &Gtid,
    ) -> Result<Option<EntryRow>, IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            for seq in intervals::holding(&inner.conn, gtid)? {
                let row = rows::introduced_by(&inner.conn, seq)?;
                let row = row.filter(|row| row.timeline == timeline);
                if let Some(row) = row.filter(|row| bounds.hide(&row.mount_name)) {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
    }

    /// The pruned entry of a timeline with this name, in the mount or of the server.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned_named(
        &self,
        timeline: Timeline,
        name: &str,
    ) -> Result<Option<EntryRow>, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let gone = |row: &EntryRow| bounds.hide(&row.mount_name);
            if let Ok(name) = name.parse::<MountName>()
                && let Some(row) = rows::named(conn, timeline, &name)?.filter(gone)
            {
                return Ok(Some(row));
            }
            let Ok(file) = name.parse::<FileName>() else {
                return Ok(None);
            };
            let mut called = special::called(inner.texts(), timeline, &file, gone)?;
            Ok(called.pop().map(|(row, _)| row))
        })
    }

    /// The row of the entry that an object belongs to, or belonged to before it was superseded; `None` if no record names it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry_of_object(&self, key: &ObjectKey) -> Result<Option<EntryRow>, IndexError> {
        match self.record_naming(key)? {
            Some(seq) => self.with(|inner| rows::resolve(&inner.conn, seq)),
            None => Ok(None),
        }
    }

    /// As [`Index::unsound`], what was pruned and what a fence took out included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unsound_ever(&self) -> Result<Vec<EntryRow>, IndexError> {
        self.with(|inner| {
            rows::all(
                &inner.conn,
                "INDEXED BY entries_bad WHERE state <> 0 ORDER BY seq DESC LIMIT ?1",
                params![limit(UNSOUND_MAX)],
            )
        })
    }

    /// Whether a name of a timeline was pruned.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_pruned(&self, timeline: Timeline, name: &MountName) -> Result<bool, IndexError> {
        self.with(|inner| Ok(bounds::of(&inner.conn, timeline)?.hide(name)))
    }

    /// The same index as if nothing had ever been pruned; it only reads. What is applied to this one is seen there too.
    ///
    /// # Errors
    /// When the index has no file, or it cannot be opened again.
    pub fn unpruned(&self) -> Result<Index, IndexError> {
        let Some(path) = &self.path else {
            let why = "a temporary index cannot be opened a second time".to_owned();
            return Err(self.told(Fault::Corrupt(why)));
        };
        let opened = schema::open_unpruned(path).map_err(Fault::from);
        let conn = opened.map_err(|fault| self.told(fault))?;
        // Without a path it keeps to its one connection, and so to its view.
        Ok(Index::over(conn, None))
    }

    /// Since when a timeline has a prune record that takes this entry away; `None` if none does.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pruned_by(&self, row: &EntryRow) -> Result<Option<Prune>, IndexError> {
        let line: Option<u64> = self.with(|inner| {
            let line = inner
                .conn
                .prepare_cached(
                    "SELECT min(line) FROM prunes WHERE timeline = ?1 AND through >= ?2",
                )?
                .query_row(params![row.timeline.0, row.mount_name.as_str()], |row| {
                    rows::maybe_unsigned(row, 0)
                })
                .optional()?;
            Ok(line.flatten())
        })?;
        let prunes = self.prunes()?.into_iter();
        let mut named = prunes.filter(|prune| Some(prune.seq.0) == line);
        Ok(named.next())
    }
}
