//! Statements: what a Query event's text means for transactions, schemas and tables.

use super::framer::RawEvent;
use super::header::HEADER_BYTES;

/// Most bytes of a statement's text that are kept in an index.
pub const SQL_MAX_BYTES: usize = 4096;
/// Post-header of a Query event since MySQL 5.0.4: thread, seconds, length of database, error, length of variables.
pub(super) const POST_HEADER_BYTES: usize = 13;
/// How much of a Query event is held: a statement may have 1 GiB. Status variables have up to 64 KiB, the database's
/// name 255 bytes; then the text that is kept.
pub(super) const PREFIX_BYTES: usize =
    HEADER_BYTES + POST_HEADER_BYTES + u16::MAX as usize + 256 + SQL_MAX_BYTES;

/// A statement and where it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// The session's default database.
    pub database: &'a [u8],
    /// The text's first bytes.
    pub sql: &'a [u8],
    /// The text goes on beyond `sql`.
    pub cut: bool,
}

/// What a statement is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// BEGIN, XA START: a transaction's first.
    Begin,
    /// COMMIT, ROLLBACK, XA COMMIT, XA ROLLBACK: a transaction's last.
    End,
    /// A change to a schema, to accounts or to privileges.
    Ddl,
    /// Changes neither schemas nor rows: SAVEPOINT, ROLLBACK TO, XA END, ANALYZE, temporary tables' definitions.
    Neutral,
    /// Anything else: it may change rows.
    Dml,
}

impl<'a> Query<'a> {
    /// Reads a Query event, whose body has a post-header of `post_header_bytes`; `None` if it is malformed.
    pub(super) fn parse(event: &RawEvent<'a>, post_header_bytes: usize) -> Option<Query<'a>> {
        let body = event.body();
        let database_bytes = usize::from(*body.get(8)?);
        // MySQL 5.0.0 to 5.0.3 has a post-header of 11 bytes and no status variables.
        let status_bytes = match body.get(11..13) {
            Some(length) if post_header_bytes >= POST_HEADER_BYTES => {
                usize::from(u16::from_le_bytes([length[0], length[1]]))
            }
            _ => 0,
        };
        let database_at = post_header_bytes.checked_add(status_bytes)?;
        let sql_at = database_at + database_bytes + 1;
        let length = event
            .content_bytes
            .checked_sub((HEADER_BYTES + sql_at) as u64)?;
        let database = body.get(database_at..database_at + database_bytes)?;
        let sql = body.get(sql_at..)?;
        Some(Query {
            database,
            sql,
            cut: length > sql.len() as u64,
        })
    }

    /// What the statement is. `None` if its first word lies beyond what is held, or what it does stands behind
    /// `SET STATEMENT ... FOR` (MariaDB, Percona Server 5.6 and 5.7): any expression may stand between.
    pub(super) fn statement(&self) -> Option<Statement> {
        let mut words = Words::new(self.sql);
        let Some(first) = words.next() else {
            return if self.cut { None } else { Some(Statement::Dml) };
        };
        let is = |word: &[u8], text: &str| word.eq_ignore_ascii_case(text.as_bytes());
        let any = |word: &[u8], texts: &[&str]| texts.iter().any(|text| is(word, text));
        Some(match first.len() {
            _ if is(first, "BEGIN") => Statement::Begin,
            _ if is(first, "COMMIT") => Statement::End,
            _ if is(first, "ROLLBACK") => {
                let second = words.next().unwrap_or_default();
                let to = if is(second, "WORK") {
                    words.next().unwrap_or_default()
                } else {
                    second
                };
                if is(to, "TO") {
                    Statement::Neutral
                } else {
                    Statement::End
                }
            }
            _ if is(first, "XA") => match words.next().unwrap_or_default() {
                second if any(second, &["START", "BEGIN"]) => Statement::Begin,
                second if any(second, &["COMMIT", "ROLLBACK"]) => Statement::End,
                _ => Statement::Neutral,
            },
            _ if any(first, &["CREATE", "DROP"]) => {
                let mut second = words.next().unwrap_or_default();
                // CREATE OR REPLACE TEMPORARY TABLE is MariaDB's.
                if is(second, "OR") {
                    words.next();
                    second = words.next().unwrap_or_default();
                }
                if is(second, "TEMPORARY") {
                    Statement::Neutral
                } else {
                    Statement::Ddl
                }
            }
            _ if any(first, DDL_WORDS) => Statement::Ddl,
            _ if is(first, "SET") => match words.next().unwrap_or_default() {
                second if is(second, "STATEMENT") => return None,
                second if any(second, &["PASSWORD", "DEFAULT", "ROLE"]) => Statement::Ddl,
                _ => Statement::Neutral,
            },
            _ if any(first, NEUTRAL_WORDS) => Statement::Neutral,
            _ => Statement::Dml,
        })
    }
}

/// First words, besides CREATE and DROP, of statements that change a schema, accounts or privileges.
const DDL_WORDS: &[&str] = &[
    "ALTER",
    "RENAME",
    "TRUNCATE",
    "GRANT",
    "REVOKE",
    "INSTALL",
    "UNINSTALL",
    "IMPORT",
];
/// First words of statements that are logged and change neither schemas nor rows.
const NEUTRAL_WORDS: &[&str] = &[
    "SAVEPOINT",
    "RELEASE",
    "ANALYZE",
    "OPTIMIZE",
    "REPAIR",
    "CHECK",
    "FLUSH",
];

/// The words of a statement: runs of letters, digits and underscores, comments left out. The content of an executable
/// comment (`/*!40000 … */`, MariaDB's `/*M!`) is text like any other.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn new(rest: &'a [u8]) -> Words<'a> {
        Words { rest }
    }

    fn skip_past(&mut self, end: &[u8]) {
        let at = self
            .rest
            .windows(end.len())
            .position(|window| window == end);
        self.rest = at
            .and_then(|at| self.rest.get(at + end.len()..))
            .unwrap_or_default();
    }

    /// Skips one thing between words; whether there was one.
    fn skip_filler(&mut self) -> bool {
        let rest = self.rest;
        if let Some(inside) = rest
            .strip_prefix(b"/*!")
            .or_else(|| rest.strip_prefix(b"/*M!"))
        {
            let digits = inside
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            self.rest = &inside[digits..];
        } else if rest.starts_with(b"/*") {
            self.skip_past(b"*/");
        } else if rest.starts_with(b"#") || rest.starts_with(b"--") {
            self.skip_past(b"\n");
        } else if let Some(after) = rest.strip_prefix(b"*/") {
            self.rest = after;
        } else if rest
            .first()
            .is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'(' | b';'))
        {
            self.rest = &rest[1..];
        } else {
            return false;
        }
        true
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.skip_filler() {}
        let length = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        (length > 0).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(sql: &str) -> Option<Statement> {
        Query {
            database: b"",
            sql: sql.as_bytes(),
            cut: false,
        }
        .statement()
    }

    #[test]
    fn a_statement_is_known_by_its_first_words() {
        for (sql, expected) in [
            ("BEGIN", Statement::Begin),
            ("begin", Statement::Begin),
            ("XA START X'31',X'',1", Statement::Begin),
            ("XA END X'31'", Statement::Neutral),
            ("COMMIT", Statement::End),
            ("COMMIT /* implicit */", Statement::End),
            ("ROLLBACK", Statement::End),
            ("ROLLBACK TO `s`", Statement::Neutral),
            ("rollback work to savepoint s", Statement::Neutral),
            ("XA ROLLBACK X'31'", Statement::End),
            ("SAVEPOINT `s`", Statement::Neutral),
            ("CREATE TABLE t (a INT)", Statement::Ddl),
            (
                "  -- why\n/* because */ # so\nDROP\tTABLE t",
                Statement::Ddl,
            ),
            ("/*!40000 ALTER TABLE `t` DISABLE KEYS */", Statement::Ddl),
            ("/*M!100100 ALTER TABLE `t` FORCE */", Statement::Ddl),
            ("CREATE TEMPORARY TABLE t (a INT)", Statement::Neutral),
            (
                "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`",
                Statement::Neutral,
            ),
            ("GRANT ALL ON *.* TO u", Statement::Ddl),
            ("SET PASSWORD FOR u='x'", Statement::Ddl),
            ("INSERT INTO t VALUES (1)", Statement::Dml),
            ("(SELECT f())", Statement::Dml),
            ("CREATED", Statement::Dml),
            ("", Statement::Dml),
        ] {
            assert_eq!(statement(sql), Some(expected), "{sql}");
        }
        for sql in [
            "SET STATEMENT max_statement_time=60 FOR DROP TABLE t",
            "set statement sort_buffer_size=1 for DELETE FROM t",
        ] {
            assert_eq!(statement(sql), None, "{sql}");
        }
        let endless = Query {
            database: b"",
            sql: b"/* no end in sight",
            cut: true,
        };
        assert_eq!(endless.statement(), None);
    }
}
