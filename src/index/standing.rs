//! How an object stands to the history: whether it is read, was pruned, was replaced, or belongs to nobody.

use super::{Index, IndexError, bounds, build, rows};
use crate::ledger::EntryState;
use crate::ledger::record::ObjectRecord;
use crate::model::{MountName, ObjectKey, Seq, Timeline};
use rusqlite::OptionalExtension as _;

/// How an object stands to the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No record names it that can be read.
    Unnamed,
    /// A segment is read from it, or it may be: what is in force of its segment is not known.
    InForce,
    /// Its segment was pruned.
    Pruned,
    /// A later record names another one for its segment.
    Superseded(Box<Superseded>),
}

/// What took the place of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Timeline of the segment.
    pub timeline: Timeline,
    /// Its name.
    pub name: MountName,
    /// The record that holds now.
    pub by: Seq,
    /// The object that it names.
    pub now: ObjectRecord,
}

impl Index {
    /// The first record that named an object, of those that can be read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn record_naming(&self, key: &ObjectKey) -> Result<Option<Seq>, IndexError> {
        self.with(|inner| {
            let seq = inner
                .conn
                .prepare_cached("SELECT seq FROM objects WHERE key = ?1")?
                .query_row([key.as_str()], |row| rows::unsigned(row, 0))
                .optional()?;
            Ok(seq.map(Seq))
        })
    }

    /// How an object stands to the history.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn standing(&self, key: &ObjectKey) -> Result<Standing, IndexError> {
        let Some(named) = self.record_naming(key)? else {
            return Ok(Standing::Unnamed);
        };
        self.with(|inner| {
            let row = rows::resolve(&inner.conn, named)?;
            // What replaces a lost record may be of another timeline than the place that stands for that one.
            let Some(row) = row.filter(|row| row.state != EntryState::Lost) else {
                return Ok(Standing::InForce);
            };
            let after = bounds::of(&inner.conn, row.timeline)?.after;
            if row.mount_name.as_str() <= after.as_str() {
                return Ok(Standing::Pruned);
            }
            let by = match row.line {
                // Most are in force by the record that first named them, and need no look at what that says.
                Some(line) if line != named => line,
                Some(_) | None => return Ok(Standing::InForce),
            };
            let Some(segment) = build::segment(inner.texts(), &row)? else {
                return Ok(Standing::InForce);
            };
            if segment.object.key == *key {
                return Ok(Standing::InForce);
            }
            Ok(Standing::Superseded(Box::new(Superseded {
                timeline: row.timeline,
                name: row.mount_name,
                by,
                now: segment.object,
            })))
        })
    }
}
