//! The latest commit time up to each entry: what makes a moment a place in the history.
//!
//! The first transaction committed after a moment stands in the first segment whose own latest commit is after it. Those are
//! in no order, because times run backwards. The largest of them *so far* never falls from one entry to the next, and rises
//! above the moment at exactly that segment: so it is kept, in `latest_through`, and one step down a B-tree finds the place.

use super::error::Fault;
use super::rows::{self, EntryRow};
use crate::model::{Micros, MountName, Timeline};
use rusqlite::{Connection, params};
use std::collections::HashMap;

/// The latest commits of the timelines that a batch appends to.
#[derive(Default)]
pub(super) struct Latest(HashMap<Timeline, Option<Micros>>);

impl Latest {
    /// The row of an entry that sorts after all of its timeline, with what that adds up to.
    pub(super) fn appended(&mut self, conn: &Connection, row: EntryRow) -> Result<EntryRow, Fault> {
        let before = match self.0.get(&row.timeline) {
            Some(known) => *known,
            None => conn
                .prepare_cached("SELECT max(latest_through) FROM entries WHERE timeline = ?1")?
                .query_row([row.timeline.0], |row| row.get::<_, Option<i64>>(0))?
                .map(Micros),
        };
        let latest_through = before.max(row.latest_commit);
        self.0.insert(row.timeline, latest_through);
        Ok(EntryRow {
            latest_through,
            ..row
        })
    }

    /// Something in the middle has changed: the next look is into the tables.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Sets right what is told of the entry `name`, which has changed, and of those after it, as far as that changes.
pub(super) fn settle(conn: &Connection, timeline: Timeline, name: &MountName) -> Result<(), Fault> {
    let before = rows::before(conn, timeline, name)?;
    let mut through = before.and_then(|row| row.latest_through);
    let mut next = rows::named(conn, timeline, name)?;
    while let Some(row) = next {
        through = through.max(row.latest_commit);
        if row.latest_through == through && row.mount_name != *name {
            break;
        }
        conn.prepare_cached("UPDATE entries SET latest_through = ?1 WHERE seq = ?2")?
            .execute(params![through.map(|t| t.0), row.seq.0 as i64])?;
        next = rows::after(conn, timeline, &row.mount_name)?;
    }
    Ok(())
}
