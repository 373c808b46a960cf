//! The names of a timeline, a thousand to a value: so a mount has a million of them without reading a million rows.
//!
//! Every transaction that adds entries *seals* those that fill a chunk, and writes anew the chunks whose entries it changed.
//! So the chunks of a timeline hold its first entries, without a hole and up to date; the few after the last chunk are read
//! from their rows.

use super::error::Fault;
use super::rows::{state_of_code, unsigned};
use super::{Index, IndexError, Making, bounds, making};
use crate::ledger::EntryState;
use crate::model::{Micros, MountName, Seq, Timeline};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;

/// Entries of a chunk: some 60 kB, read in a tenth of a millisecond.
#[cfg(not(test))]
const CHUNK_ENTRIES: i64 = 1024;
/// In unit tests, so that their short histories have several.
#[cfg(test)]
const CHUNK_ENTRIES: i64 = 4;
/// Bytes of a row without its name.
const ROW_BYTES: usize = 8 * 4 + 1 + 2;
/// Bytes of the CRC-32 at the end of a chunk: SQLite notices no flipped bit inside a value.
const CRC_BYTES: usize = 4;
/// Stands for a time that is not known.
const NO_TIME: i64 = i64::MIN;

/// A chunk, without its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingChunk {
    /// Its timeline.
    pub timeline: Timeline,
    /// The record of its first entry.
    pub first_seq: Seq,
    /// The record of its last entry.
    pub last_seq: Seq,
    /// Its first name.
    pub first_name: MountName,
    /// Its last name.
    pub last_name: MountName,
    /// Entries in it.
    pub entries: u64,
    /// The time of its last entry that has one.
    pub last_time: Option<Micros>,
    /// The making of the index that it is of.
    pub(super) making: Making,
}

/// An entry in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRow<'a> {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name.
    pub name: &'a str,
    /// Whether and how it can be read.
    pub state: EntryState,
    /// Bytes of the binlog file.
    pub size: u64,
    /// Bytes of its object.
    pub stored_size: u64,
    /// Time of its last event, else of its first.
    pub time: Option<Micros>,
}

/// What a batch did to the names.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Timelines with new entries.
    pub(super) grown: BTreeSet<u32>,
    /// Entries that are new, gone or other in the middle, by timeline and name.
    pub(super) touched: BTreeSet<(u32, String)>,
}

impl Changes {
    pub(super) fn touch(&mut self, timeline: Timeline, name: &MountName) {
        self.touched.insert((timeline.0, name.as_str().to_owned()));
    }
}

/// Brings the chunks up to date with what a batch did.
pub(super) fn seal(conn: &Connection, changes: &Changes) -> Result<(), Fault> {
    let mut renewed: Option<(u32, String)> = None;
    // In order: names of one chunk come one after the other, and it is written once.
    for (timeline, name) in &changes.touched {
        let done = renewed.as_ref();
        if done.is_some_and(|(of, through)| of == timeline && name <= through) {
            continue;
        }
        renewed = renew(conn, *timeline, name)?.map(|through| (*timeline, through));
    }
    for timeline in &changes.grown {
        let mut after = sealed_through(conn, *timeline)?;
        let mut waiting: i64 = conn
            .prepare_cached("SELECT count(*) FROM entries WHERE timeline = ?1 AND mount_name > ?2")?
            .query_row(params![timeline, after], |row| row.get(0))?;
        while waiting >= CHUNK_ENTRIES {
            write_chunk(conn, *timeline, &after, None)?;
            after = sealed_through(conn, *timeline)?;
            waiting -= CHUNK_ENTRIES;
        }
    }
    Ok(())
}

/// The last name in a chunk; empty if there is none.
fn sealed_through(conn: &Connection, timeline: u32) -> Result<String, Fault> {
    let last: Option<String> = conn
        .prepare_cached("SELECT max(last_name) FROM listing WHERE timeline = ?1")?
        .query_row([timeline], |row| row.get(0))?;
    Ok(last.unwrap_or_default())
}

/// Writes the chunk that a name is or was in anew, if it is in one. Tells the last name that the chunk goes up to.
fn renew(conn: &Connection, timeline: u32, name: &str) -> Result<Option<String>, Fault> {
    let chunk: Option<(i64, String)> = conn
        .prepare_cached(
            "SELECT id, last_name FROM listing WHERE timeline = ?1 AND last_name >= ?2 ORDER BY last_name LIMIT 1",
        )?
        .query_row(params![timeline, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, through)) = chunk else {
        return Ok(None);
    };
    conn.prepare_cached("DELETE FROM listing WHERE id = ?1")?
        .execute([id])?;
    let after: Option<String> = conn
        .prepare_cached(
            "SELECT max(last_name) FROM listing WHERE timeline = ?1 AND last_name < ?2",
        )?
        .query_row(params![timeline, through], |row| row.get(0))?;
    write_chunk(conn, timeline, &after.unwrap_or_default(), Some(&through))?;
    Ok(Some(through))
}

/// Writes the chunk of the entries after a name: up to `through`, or as many as fill it.
fn write_chunk(
    conn: &Connection,
    timeline: u32,
    after: &str,
    through: Option<&str>,
) -> Result<(), Fault> {
    let mut query = conn.prepare_cached(
        "SELECT seq, mount_name, state, size, stored_size, coalesce(last_time, first_time) FROM entries
         WHERE timeline = ?1 AND mount_name > ?2 AND mount_name <= ?3 ORDER BY mount_name LIMIT ?4",
    )?;
    let (end, limit) = match through {
        Some(name) => (name, -1),
        None => (bounds::NAME_END, CHUNK_ENTRIES),
    };
    let mut found = query.query(params![timeline, after, end, limit])?;
    let mut bytes = Vec::with_capacity(CHUNK_ENTRIES as usize * (ROW_BYTES + 16));
    let (mut entries, mut last_time) = (0, None);
    let (mut first, mut last): (Option<(String, u64)>, (String, u64)) = (None, Default::default());
    while let Some(row) = found.next()? {
        let (seq, state): (u64, i64) = (unsigned(row, 0)?, row.get(2)?);
        let name = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let time: Option<i64> = row.get(5)?;
        for number in [seq, unsigned(row, 3)?, unsigned(row, 4)?] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&time.unwrap_or(NO_TIME).to_le_bytes());
        bytes.push(state as u8);
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        entries += 1;
        last_time = time.or(last_time);
        first.get_or_insert_with(|| (name.to_owned(), seq));
        last.0.clear();
        last.0.push_str(name);
        last.1 = seq;
    }
    let Some((first_name, first_seq)) = first else {
        return Ok(());
    };
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    conn.prepare_cached(
        "INSERT INTO listing (timeline, last_name, first_name, first_seq, last_seq, entries, last_time, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        timeline,
        last.0,
        first_name,
        first_seq as i64,
        last.1 as i64,
        entries,
        last_time,
        bytes
    ])?;
    Ok(())
}

/// The rows of a chunk's bytes; `None` if they are not those that were written.
pub(super) fn rows(bytes: &[u8]) -> Option<Vec<ListedRow<'_>>> {
    let (mut rest, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
    if crc != crc32fast::hash(rest).to_le_bytes() {
        return None;
    }
    let mut rows = Vec::with_capacity(CHUNK_ENTRIES as usize);
    while !rest.is_empty() {
        let (row, after) = rest.split_at_checked(ROW_BYTES)?;
        let number = |at: usize| Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?));
        let name_bytes = u16::from_le_bytes(row.get(33..35)?.try_into().ok()?);
        let (name, after) = after.split_at_checked(name_bytes.into())?;
        let time = number(24)? as i64;
        rows.push(ListedRow {
            seq: Seq(number(0)?),
            name: std::str::from_utf8(name).ok()?,
            state: state_of_code(i64::from(*row.get(32)?))?,
            size: number(8)?,
            stored_size: number(16)?,
            time: (time != NO_TIME).then_some(Micros(time)),
        });
        rest = after;
    }
    Some(rows)
}

impl Index {
    /// The chunks of a timeline all of whose entries are visible, in replay order. What is visible and in none of them is
    /// before the first or after the last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn listing(&self, timeline: Timeline) -> Result<Vec<ListingChunk>, IndexError> {
        self.with(|inner| {
            // Before the chunks: those of a later making are not there for this one.
            let making = making::of(&inner.conn)?;
            let bounds = bounds::of(&inner.conn, timeline)?;
            let mut query = inner.conn.prepare_cached(
                "SELECT first_seq, last_seq, first_name, last_name, entries, last_time FROM listing
                 WHERE timeline = ?1 AND first_name > ?2 ORDER BY last_name",
            )?;
            let mut found = query.query(params![timeline.0, bounds.after])?;
            let mut chunks = Vec::new();
            while let Some(row) = found.next()? {
                let name = |column: usize| -> Result<MountName, Fault> {
                    let text = row
                        .get_ref(column)?
                        .as_str()
                        .map_err(rusqlite::Error::from)?;
                    text.parse()
                        .map_err(|e| Fault::Corrupt(format!("a name in a listing: {e}")))
                };
                chunks.push(ListingChunk {
                    timeline,
                    first_seq: Seq(unsigned(row, 0)?),
                    last_seq: Seq(unsigned(row, 1)?),
                    first_name: name(2)?,
                    last_name: name(3)?,
                    entries: unsigned(row, 4)?,
                    last_time: row.get::<_, Option<i64>>(5)?.map(Micros),
                    making,
                });
            }
            Ok(chunks)
        })
    }

    /// Calls `each` with the entries of a chunk, in replay order: as they are now, if the chunk was written anew since.
    ///
    /// Waits for nobody who writes to the index.
    ///
    /// # Errors
    /// When the database cannot be read; [`IndexError::MadeAnew`].
    pub fn listed(
        &self,
        chunk: &ListingChunk,
        mut each: impl FnMut(ListedRow<'_>),
    ) -> Result<(), IndexError> {
        let mut found = self.with_reader(|conn| bytes_of(conn, chunk))?;
        if found.is_none() {
            // Where another file has taken its place, the one that was there is still open.
            found = self.with(|inner| bytes_of(&inner.conn, chunk))?;
        }
        let found = found.ok_or_else(|| self.told(Fault::MadeAnew))?;
        let (first, last) = (chunk.first_name.as_str(), chunk.last_name.as_str());
        for bytes in &found {
            let corrupt = || Fault::Corrupt(format!("its listing of {first} to {last}"));
            let rows = rows(bytes).ok_or_else(|| self.told(corrupt()))?;
            rows.into_iter()
                .filter(|row| first <= row.name && row.name <= last)
                .for_each(&mut each);
        }
        Ok(())
    }
}

/// The bytes of what has the entries of a chunk by now; `None` if the index is of another making.
fn bytes_of(conn: &Connection, chunk: &ListingChunk) -> Result<Option<Vec<Vec<u8>>>, Fault> {
    // Changed chunks may have other borders.
    let mut query = conn.prepare_cached(
        "SELECT bytes FROM listing WHERE timeline = ?1 AND last_name >= ?2 AND first_name <= ?3 ORDER BY last_name",
    )?;
    let (first, last) = (chunk.first_name.as_str(), chunk.last_name.as_str());
    let found = query.query_map(params![chunk.timeline.0, first, last], |row| row.get(0))?;
    let found = found.collect::<rusqlite::Result<_>>()?;
    // After the look: what was forgotten before it has made itself known by now.
    Ok((making::of(conn)? == chunk.making).then_some(found))
}
