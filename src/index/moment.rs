//! Where a moment lies in a timeline.

use super::bounds::{self, Bounds, NAME_END};
use super::error::Fault;
use super::rows::{self, EntryRow};
use super::{Index, IndexError};
use crate::model::{Micros, MountName, Timeline};
use rusqlite::{Connection, params};

/// Where a moment lies: between two entries, or inside the later one. Only visible entries are told of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// The first entry with a transaction that was committed after the moment; `None` if there is none.
    pub after: Option<EntryRow>,
    /// The last entry before that one (before the end, if there is none) that has transactions or cannot be read in full:
    /// what stands in between is whole and holds nothing.
    pub before: Option<EntryRow>,
    /// The last entry before [`Moment::before`] that has transactions.
    pub earlier: Option<EntryRow>,
}

impl Index {
    /// Where `time` lies in `timeline`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn moment(&self, timeline: Timeline, time: Micros) -> Result<Moment, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let after = first_after(conn, timeline, &bounds, time)?;
            let end = after
                .as_ref()
                .map_or(NAME_END, |row| row.mount_name.as_str());
            let before = last_before(
                conn,
                timeline,
                &bounds,
                end,
                "(latest_commit IS NOT NULL OR state <> 0)",
            )?;
            let earlier = match &before {
                Some(row) => {
                    let end = row.mount_name.as_str();
                    last_before(conn, timeline, &bounds, end, "latest_commit IS NOT NULL")?
                }
                None => None,
            };
            Ok(Moment {
                after,
                before,
                earlier,
            })
        })
    }

    /// The first and the last visible entry of `timeline` that hold transactions.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn extent(
        &self,
        timeline: Timeline,
    ) -> Result<(Option<EntryRow>, Option<EntryRow>), IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let first = first_visible_after(conn, timeline, &bounds, Micros(i64::MIN))?;
            let last = last_before(
                conn,
                timeline,
                &bounds,
                NAME_END,
                "latest_commit IS NOT NULL",
            )?;
            Ok((first, last))
        })
    }

    /// The last visible entry before a name that has transactions, and the first after it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn with_transactions_around(
        &self,
        timeline: Timeline,
        name: &MountName,
    ) -> Result<(Option<EntryRow>, Option<EntryRow>), IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let end = name.as_str();
            let before = last_before(conn, timeline, &bounds, end, "latest_commit IS NOT NULL")?;
            let behind = Bounds {
                after: bounds.after.clone().max(end.to_owned()),
            };
            let after = first_visible_after(conn, timeline, &behind, Micros(i64::MIN))?;
            Ok((before, after))
        })
    }

    /// The visible entry right before a name, and the one right after it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn neighbours(
        &self,
        timeline: Timeline,
        name: &MountName,
    ) -> Result<(Option<EntryRow>, Option<EntryRow>), IndexError> {
        self.with(|inner| {
            let bounds = bounds::of(&inner.conn, timeline)?;
            let seen = |row: &EntryRow| bounds.show(&row.mount_name);
            let before = rows::before(&inner.conn, timeline, name)?.filter(seen);
            let after = rows::after(&inner.conn, timeline, name)?.filter(seen);
            Ok((before, after))
        })
    }
}

/// The first visible entry with a transaction committed after `time`.
fn first_after(
    conn: &Connection,
    timeline: Timeline,
    bounds: &Bounds,
    time: Micros,
) -> Result<Option<EntryRow>, Fault> {
    let found = rows::one(
        conn,
        "WHERE timeline = ?1 AND latest_through > ?2 ORDER BY latest_through, seq LIMIT 1",
        params![timeline.0, time.0],
    )?;
    let Some(row) = found else {
        return Ok(None);
    };
    if row.mount_name.as_str() <= bounds.after.as_str() {
        // Pruned: what is visible begins later, and may begin before that moment again.
        return first_visible_after(conn, timeline, bounds, time);
    }
    Ok(Some(row))
}

/// The same, one visible entry after the other.
fn first_visible_after(
    conn: &Connection,
    timeline: Timeline,
    bounds: &Bounds,
    time: Micros,
) -> Result<Option<EntryRow>, Fault> {
    rows::one(
        conn,
        "WHERE timeline = ?1 AND mount_name > ?2 AND latest_commit > ?3 ORDER BY mount_name LIMIT 1",
        params![timeline.0, bounds.after, time.0],
    )
}

/// The last visible entry before the name `end` of which `condition` is true.
fn last_before(
    conn: &Connection,
    timeline: Timeline,
    bounds: &Bounds,
    end: &str,
    condition: &'static str,
) -> Result<Option<EntryRow>, Fault> {
    rows::one(
        conn,
        &format!(
            "WHERE timeline = ?1 AND mount_name > ?2 AND mount_name < ?3 AND {condition} ORDER BY mount_name DESC LIMIT 1"
        ),
        params![timeline.0, bounds.after, end],
    )
}
