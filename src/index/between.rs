//! All entries from one name to another: a million of them in a tenth of a second.

use super::error::Fault;
use super::listing::{self, ListedRow};
use super::rows::{state_of_code, unsigned};
use super::{Index, IndexError};
use crate::model::{Micros, MountName, Seq, Timeline};
use rusqlite::{Connection, params};

impl Index {
    /// Calls `each` with the entries of a timeline from `first` to `last`, both included, in replay order. Whether they are
    /// visible is not looked at: what lies between two visible ones is.
    ///
    /// Waits for nobody who writes to the index.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn between(
        &self,
        timeline: Timeline,
        (first, last): (&MountName, &MountName),
        mut each: impl FnMut(&ListedRow<'_>),
    ) -> Result<(), IndexError> {
        let range = (first.as_str(), last.as_str());
        self.with_reader(|conn| {
            let through = chunks(conn, timeline, range, &mut each)?;
            rest(conn, timeline, range, through.as_deref(), &mut each)
        })
    }
}

/// Those in chunks; the last name of the last chunk that was looked at.
fn chunks(
    conn: &Connection,
    timeline: Timeline,
    (first, last): (&str, &str),
    each: &mut impl FnMut(&ListedRow<'_>),
) -> Result<Option<String>, Fault> {
    let mut query = conn.prepare_cached(
        "SELECT bytes, last_name FROM listing
         WHERE timeline = ?1 AND last_name >= ?2 AND first_name <= ?3 ORDER BY last_name",
    )?;
    let mut found = query.query(params![timeline.0, first, last])?;
    let mut through = None;
    while let Some(chunk) = found.next()? {
        let bytes = chunk.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        let corrupt = || Fault::Corrupt(format!("its listing of {first} to {last}"));
        let rows = listing::rows(bytes).ok_or_else(corrupt)?;
        rows.iter()
            .filter(|row| first <= row.name && row.name <= last)
            .for_each(&mut *each);
        through = Some(chunk.get(1)?);
    }
    Ok(through)
}

/// Those behind the chunks.
fn rest(
    conn: &Connection,
    timeline: Timeline,
    (first, last): (&str, &str),
    through: Option<&str>,
    each: &mut impl FnMut(&ListedRow<'_>),
) -> Result<(), Fault> {
    let mut query = conn.prepare_cached(
        "SELECT seq, mount_name, state, size, stored_size, coalesce(last_time, first_time) FROM entries
         WHERE timeline = ?1 AND mount_name > ?2 AND mount_name >= ?3 AND mount_name <= ?4 ORDER BY mount_name",
    )?;
    let through = through.unwrap_or_default();
    let mut found = query.query(params![timeline.0, through, first, last])?;
    while let Some(row) = found.next()? {
        let state = state_of_code(row.get(2)?)
            .ok_or_else(|| Fault::Corrupt("an entry of an unknown state".to_owned()))?;
        each(&ListedRow {
            seq: Seq(unsigned(row, 0)?),
            name: row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
            state,
            size: unsigned(row, 3)?,
            stored_size: unsigned(row, 4)?,
            time: row.get::<_, Option<i64>>(5)?.map(Micros),
        });
    }
    Ok(())
}
