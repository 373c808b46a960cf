//! The text of records: in rows of their own, or a page of a thousand at a time as the bucket has it.

use super::error::Fault;
use crate::ledger::Line;
use crate::ledger::page::{PAGE_MAX_BYTES, PAGE_RECORDS, page_start};
use crate::model::Seq;
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::RefCell;

/// A larger page is not kept at hand, in bytes: an ordinary one has a third of it.
const KEPT_MAX_BYTES: usize = 4 << 20;

/// The page that was read last: whoever asks for a record often asks for its neighbours next.
#[derive(Default)]
pub(super) struct LastPage {
    /// Its row; 0 is none. A page that is forgotten and taken in again has another.
    id: i64,
    text: Vec<u8>,
    /// Where each line ends in `text`.
    ends: Vec<usize>,
}

/// Reads records of a database.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    /// The database.
    pub(super) conn: &'a Connection,
    pub(super) last: &'a RefCell<LastPage>,
}

/// Keeps a record in a row of its own.
pub(super) fn keep_line(conn: &Connection, line: &Line) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO lines (seq, text) VALUES (?1, ?2)")?
        .execute(params![line.seq().0 as i64, line.text()])?;
    Ok(())
}

/// Keeps the page that begins with record `first`.
pub(super) fn keep_page(conn: &Connection, first: Seq, bytes: &[u8]) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO line_pages (first, bytes) VALUES (?1, ?2)")?
        .execute(params![first.0 as i64, bytes])?;
    Ok(())
}

/// Forgets it.
pub(super) fn drop_page(conn: &Connection, first: Seq) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM line_pages WHERE first = ?1")?
        .execute([first.0 as i64])?;
    Ok(())
}

impl Texts<'_> {
    /// The text of record `seq`, if it can be read.
    pub(super) fn text(self, seq: Seq) -> Result<Option<String>, Fault> {
        let text = self
            .conn
            .prepare_cached("SELECT text FROM lines WHERE seq = ?1")?
            .query_row([seq.0 as i64], |row| row.get(0))
            .optional()?;
        match text {
            Some(text) => Ok(Some(text)),
            None => self.paged(seq),
        }
    }

    /// The record `seq`, its own hash checked again; `None` if it is not there.
    pub(super) fn line_if_there(self, seq: Seq) -> Result<Option<Line>, Fault> {
        let Some(text) = self.text(seq)? else {
            return Ok(None);
        };
        let line = Line::read(text.as_bytes()).map_err(|e| damaged(seq, &e.to_string()))?;
        Ok(Some(line))
    }

    /// The record `seq`, its own hash checked again.
    pub(super) fn line(self, seq: Seq) -> Result<Line, Fault> {
        self.line_if_there(seq)?
            .ok_or_else(|| damaged(seq, "it is not there"))
    }

    fn paged(self, seq: Seq) -> Result<Option<String>, Fault> {
        let first = page_start(seq);
        let id: Option<i64> = self
            .conn
            .prepare_cached("SELECT id FROM line_pages WHERE first = ?1")?
            .query_row([first.0 as i64], |row| row.get(0))
            .optional()?;
        let Some(id) = id else { return Ok(None) };
        let corrupt = || Fault::Corrupt(format!("its copy of the ledger page of record {first}"));
        let mut last = self.last.borrow_mut();
        if last.id != id {
            *last = LastPage::default();
            let bytes: Vec<u8> = self
                .conn
                .prepare_cached("SELECT bytes FROM line_pages WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            *last = decode(id, &bytes).ok_or_else(corrupt)?;
        }
        let at = usize::try_from(seq.0 - first.0).map_err(|_| corrupt())?;
        let begin = match at.checked_sub(1) {
            None => 0,
            Some(before) => last.ends.get(before).ok_or_else(corrupt)? + 1,
        };
        let end = last.ends.get(at).ok_or_else(corrupt)?;
        let line = last.text.get(begin..*end).ok_or_else(corrupt)?;
        let text = std::str::from_utf8(line).map_err(|_| corrupt())?.to_owned();
        if last.text.len() > KEPT_MAX_BYTES {
            *last = LastPage::default();
        }
        Ok(Some(text))
    }
}

fn decode(id: i64, bytes: &[u8]) -> Option<LastPage> {
    let size = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    if size > PAGE_MAX_BYTES {
        return None;
    }
    let text = zstd::bulk::decompress(bytes, usize::try_from(size).ok()?).ok()?;
    let newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = newlines.map(|(at, _)| at).collect();
    (ends.len() as u64 == PAGE_RECORDS).then_some(LastPage { id, text, ends })
}

fn damaged(seq: Seq, why: &str) -> Fault {
    Fault::Corrupt(format!("its copy of ledger record {seq}: {why}"))
}
