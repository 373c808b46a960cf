//! What statements and table maps tell of schemas and tables, each within its bound.

use super::framer::RawEvent;
use super::query::{Query, SQL_MAX_BYTES, Statement};
use std::collections::HashSet;

/// How much of a TABLE_MAP event is held: header, post-header, and two names of at most 255 bytes with their lengths.
pub(super) const TABLE_MAP_PREFIX_BYTES: usize =
    super::header::HEADER_BYTES + 8 + 2 * (1 + 255 + 1);
/// Post-header of TABLE_MAP since MySQL 5.1.4: table number of six bytes, flags of two. It was six in all before.
pub(super) const TABLE_MAP_POST_HEADER_BYTES: usize = 8;
/// Most tables named for one segment: what touches more touches nearly all, and the index stays below some 600 KiB.
pub const TABLES_MAX: usize = 10_000;
/// Table ids whose names are remembered without hashing.
const RECENT_TABLES: usize = 32;
/// Most DDL statements kept of one segment.
pub const DDL_MAX: usize = 10_000;
/// Most bytes of DDL text kept of one segment, so that its index stays one small read.
pub const DDL_TOTAL_MAX_BYTES: usize = 1024 * 1024;

/// A DDL statement whose transaction is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingDdl {
    /// The session's default database.
    pub database: String,
    /// The text, cut at [`SQL_MAX_BYTES`].
    pub sql: String,
    /// The text was cut.
    pub cut: bool,
}

/// Tables and statements seen.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Database and table as TABLE_MAP has them: length, name, zero; length, name, zero.
    tables: HashSet<Box<[u8]>>,
    /// Names last seen under a table id, by its low bits: most TABLE_MAP events repeat one, and need no hashing then.
    recent: [Option<Box<[u8]>>; RECENT_TABLES],
    /// Statements of the transaction that is not over.
    pending: Vec<PendingDdl>,
    ddl_count: usize,
    ddl_bytes: usize,
    /// Statements were left out.
    pub ddl_incomplete: bool,
    /// Tables were left out.
    pub tables_incomplete: bool,
}

impl Findings {
    /// A statement, of the kind that [`Query::statement`] told.
    pub(super) fn query(&mut self, query: &Query<'_>, statement: Option<Statement>) {
        match statement {
            Some(Statement::Ddl) => self.ddl(PendingDdl::new(query)),
            Some(Statement::Dml) => self.tables_incomplete = true,
            Some(Statement::Begin | Statement::End | Statement::Neutral) => {}
            None => self.unreadable(),
        }
    }

    /// Something that could be any statement could not be read.
    pub(super) fn unreadable(&mut self) {
        self.ddl_incomplete = true;
        self.tables_incomplete = true;
    }

    /// A TABLE_MAP event. A malformed one names no table.
    pub(super) fn table_map(&mut self, event: &RawEvent<'_>, post_header_bytes: usize) {
        let Some(names) = event.body().get(post_header_bytes..).and_then(two_names) else {
            self.tables_incomplete = true;
            return;
        };
        let id = event.body().first().copied().unwrap_or_default();
        let recent = &mut self.recent[usize::from(id) % RECENT_TABLES];
        if recent.as_deref() == Some(names) {
            return;
        }
        *recent = Some(names.into());
        if !self.tables.contains(names) {
            self.table(names.into());
        }
    }

    fn table(&mut self, names: Box<[u8]>) {
        if self.tables.len() < TABLES_MAX {
            self.tables.insert(names);
        } else if !self.tables.contains(&names) {
            self.tables_incomplete = true;
        }
    }

    fn ddl(&mut self, statement: PendingDdl) {
        let bytes = statement.database.len() + statement.sql.len();
        if self.ddl_count >= DDL_MAX || self.ddl_bytes + bytes > DDL_TOTAL_MAX_BYTES {
            self.ddl_incomplete = true;
            return;
        }
        self.ddl_count += 1;
        self.ddl_bytes += bytes;
        self.pending.push(statement);
    }

    /// Adds what was found inside a payload, and leaves `other` empty for the next.
    pub(super) fn absorb(&mut self, other: &mut Findings) {
        other.recent = Default::default();
        for names in other.tables.drain() {
            if !self.tables.contains(&names) {
                self.table(names);
            }
        }
        for statement in other.pending.drain(..) {
            self.ddl(statement);
        }
        self.ddl_incomplete |= std::mem::take(&mut other.ddl_incomplete);
        self.tables_incomplete |= std::mem::take(&mut other.tables_incomplete);
        (other.ddl_count, other.ddl_bytes) = (0, 0);
    }

    /// The DDL statements of the transaction that is now over.
    pub(super) fn take_ddl(&mut self) -> std::vec::Drain<'_, PendingDdl> {
        self.pending.drain(..)
    }

    /// `db.table` of every table, sorted.
    pub(super) fn table_names(&self) -> Vec<String> {
        let text = |names: &[u8]| {
            let database_bytes = usize::from(*names.first()?);
            let database = names.get(1..1 + database_bytes)?;
            let table = names.get(1 + database_bytes + 2..names.len() - 1)?;
            Some(format!(
                "{}.{}",
                String::from_utf8_lossy(database),
                String::from_utf8_lossy(table)
            ))
        };
        let mut names: Vec<String> = self.tables.iter().filter_map(|names| text(names)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl PendingDdl {
    fn new(query: &Query<'_>) -> PendingDdl {
        let kept = query.sql.len().min(SQL_MAX_BYTES);
        let mut text = &query.sql[..kept];
        let cut = query.cut || kept < query.sql.len();
        // A cut never leaves half a character behind; a text in another character set keeps all its bytes.
        if cut
            && let Err(error) = std::str::from_utf8(text)
            && error.error_len().is_none()
        {
            text = &text[..error.valid_up_to()];
        }
        PendingDdl {
            database: String::from_utf8_lossy(query.database).into_owned(),
            sql: String::from_utf8_lossy(text).into_owned(),
            cut,
        }
    }
}

/// The two names at the front of `bytes`, each a length, that many bytes and a zero.
fn two_names(bytes: &[u8]) -> Option<&[u8]> {
    let table_at = usize::from(*bytes.first()?) + 2;
    let end = table_at + usize::from(*bytes.get(table_at)?) + 2;
    bytes.get(..end)
}
