//! The tables of an index, and how its file is opened, judged and begun anew.

use super::error::{Fault, IndexError, is_corruption};
use super::settings::{self, PAGE_BYTES};
use super::texts::Texts;
use super::unsynced::{self, Found};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

/// Version of the tables below. Another version's index is rebuilt, never converted.
pub const SCHEMA_VERSION: i32 = 8;
/// `application_id` of our databases ("blfs"): another program's is never deleted.
const APPLICATION_ID: i32 = 0x626c_6673;
/// Up to this size, in bytes, the whole file is checked when it is opened (about 0.1 s). Larger ones would make every
/// start slow: damage there is found when it is met.
const CHECK_MAX_BYTES: u64 = 32 << 20;
/// Page cache of a connection that only reads, in KiB: what it reads is read once.
const READER_CACHE_KIB: i64 = 1 << 10;
/// Page cache of a temporary index, in KiB: with some 1.7 kB a segment, forty thousand of them take no disk at all.
const TEMPORARY_CACHE_KIB: i64 = 64 << 10;
/// How an index was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    Fresh,
    /// As it was left.
    Existing,
    /// It could not be used, was deleted, and is empty now.
    Rebuilt {
        /// What was wrong with it.
        why: String,
    },
}

/// `runs` holds intervals of GTID numbers and of time alike: see `intervals.rs` for `level`.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- Every record that can be read, as it stands in the bucket: in `lines`, or in the page that begins with record `first`.
CREATE TABLE lines (seq INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE line_pages (id INTEGER PRIMARY KEY AUTOINCREMENT, first INTEGER NOT NULL UNIQUE, bytes BLOB NOT NULL);

-- seq introduced the entry; line is the record that describes it now, NULL if that cannot be read; fence the record of the fence that
-- stands in its segment. Of an entry that a fence took out of its timeline, timeline is another number: see `fences.rs`.
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, line INTEGER, timeline INTEGER NOT NULL, incarnation INTEGER NOT NULL,
    number INTEGER NOT NULL, mount_name TEXT NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL,
    size INTEGER NOT NULL, stored_size INTEGER NOT NULL, first_time INTEGER, last_time INTEGER,
    head INTEGER, server_uuid BLOB, latest_commit INTEGER, latest_through INTEGER, fence INTEGER);
CREATE UNIQUE INDEX entries_name ON entries (timeline, mount_name);
CREATE INDEX entries_head ON entries (number, head);
-- latest_through is the largest latest_commit of the timeline up to and with the entry: see latest.rs.
CREATE INDEX entries_latest ON entries (timeline, latest_through);
-- The few that are not plainly archived.
CREATE INDEX entries_bad ON entries (timeline, mount_name) WHERE state <> 0;

-- The first entries of each timeline, a thousand to a row: see `listing.rs`.
CREATE TABLE listing (
    id INTEGER PRIMARY KEY, timeline INTEGER NOT NULL, last_name TEXT NOT NULL, first_name TEXT NOT NULL,
    first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, entries INTEGER NOT NULL, last_time INTEGER,
    bytes BLOB NOT NULL);
CREATE UNIQUE INDEX listing_name ON listing (timeline, last_name);

-- Records that speak of an entry that another record introduced.
CREATE TABLE aliases (seq INTEGER PRIMARY KEY, entry INTEGER NOT NULL);
CREATE INDEX aliases_entry ON aliases (entry);

-- Records that could not be read when they were passed.
CREATE TABLE lost (seq INTEGER PRIMARY KEY);

-- Every object that any record names.
CREATE TABLE objects (key TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE runs (
    source INTEGER NOT NULL, level INTEGER NOT NULL, first INTEGER NOT NULL, entry INTEGER NOT NULL,
    last INTEGER NOT NULL, PRIMARY KEY (source, level, first, entry)) WITHOUT ROWID;

-- Entries whose GTID set is longer than an extended attribute can be.
CREATE TABLE long_sets (entry INTEGER PRIMARY KEY);

-- Entries with transactions that have no GTID.
CREATE TABLE anonymous (entry INTEGER PRIMARY KEY);

-- What is visible of a timeline: names after `after`.
CREATE TABLE bounds (timeline INTEGER PRIMARY KEY, after TEXT NOT NULL);

-- Fences, by their records: see `fences.rs`.
CREATE TABLE fences (line INTEGER PRIMARY KEY, timeline INTEGER NOT NULL, name TEXT, position INTEGER);

-- Prune records, by the last name that each takes away.
CREATE TABLE prunes (line INTEGER PRIMARY KEY, timeline INTEGER NOT NULL, through TEXT NOT NULL);

-- Breaks in the continuity of GTIDs, by the entry that follows the break.
CREATE TABLE breaks (entry INTEGER PRIMARY KEY, appeared TEXT NOT NULL, vanished TEXT NOT NULL);

-- What was executed before some entries whose record gives only its hash, so that looking back for it is short.
CREATE TABLE positions (entry INTEGER PRIMARY KEY, previous_gtids TEXT NOT NULL);

-- Heads and tails of objects, as stored.
CREATE TABLE opens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL,
    header BLOB NOT NULL, tail BLOB NOT NULL);
CREATE INDEX opens_bytes ON opens (id, bytes);
";

/// Why a file is not opened: to be rebuilt, or to be told.
enum Refusal {
    Unusable(String),
    Fatal(Fault),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        if is_corruption(&error) {
            Refusal::Unusable(error.to_string())
        } else {
            Refusal::Fatal(Fault::Sql(error))
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        match fault {
            Fault::Sql(error) => error.into(),
            Fault::Corrupt(why) => Refusal::Unusable(why),
            other => Refusal::Fatal(other),
        }
    }
}

/// Opens the index at `path`, and tells whether another process may not have waited for the disk.
pub(super) fn open(path: &Path) -> Result<(Connection, Opened, bool), IndexError> {
    let io_error = |what: &str, e: io::Error| IndexError::Database {
        path: path.display().to_string(),
        reason: format!("cannot {what}: {e}"),
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| io_error("make its directory", e))?;
    }
    let found = unsynced::look(path).map_err(|e| io_error("read the mark beside it", e))?;
    let inherited = matches!(found, Found::Ours);
    let (why, held) = match found {
        Found::Stale(held) => (unsynced::WHY_STALE.to_owned(), Some(held)),
        Found::Nothing | Found::Ours => match try_open(path) {
            Ok((conn, opened)) => return Ok((conn, opened, inherited)),
            Err(Refusal::Fatal(fault)) => return Err(fault.at(Some(path))),
            Err(Refusal::Unusable(why)) => (why, None),
        },
    };
    // What says that it cannot be used goes last: after a crash in between, the rest is deleted again.
    for file in [
        path.to_owned(),
        beside(path, "-wal"),
        beside(path, "-shm"),
        marker(path),
        unsynced::path_of(path),
    ] {
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("delete the damaged file", e));
            }
            _ => {}
        }
    }
    drop(held);
    match try_open(path) {
        Ok((conn, _)) => Ok((conn, Opened::Rebuilt { why }, false)),
        Err(Refusal::Fatal(fault)) => Err(fault.at(Some(path))),
        Err(Refusal::Unusable(why)) => Err(Fault::Corrupt(why).at(Some(path))),
    }
}

pub(super) fn open_in_memory() -> Result<Connection, IndexError> {
    let make = || -> Result<Connection, Fault> {
        let mut conn = Connection::open_in_memory()?;
        settings::set(&conn)?;
        create(&mut conn)?;
        Ok(conn)
    };
    make().map_err(|fault| fault.at(None))
}

/// A database in a file that has no name and goes with the connection. What fits into its page cache is never written.
pub(super) fn open_temporary() -> Result<Connection, IndexError> {
    let make = || -> Result<Connection, Fault> {
        // The empty name: sqlite.org/inmemorydb.html, "Temporary Databases".
        let mut conn = Connection::open("")?;
        settings::set(&conn)?;
        create(&mut conn)?;
        conn.pragma_update(None, "cache_size", -TEMPORARY_CACHE_KIB)?;
        // For a transaction that is rolled back, and no other end: the file is gone with the process.
        conn.pragma_update(None, "journal_mode", "memory")?;
        Ok(conn)
    };
    make().map_err(|fault| fault.at(None))
}

/// Another connection to an index that is open, which only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    open_again(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open_again(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settings::set(&conn)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(conn)
}

/// The same, to which nothing was ever pruned: views of its own stand before the tables of what is visible and of the prunes.
pub(super) fn open_unpruned(path: &Path) -> rusqlite::Result<Connection> {
    let conn = open_reader(path)?;
    conn.execute_batch(
        "CREATE TEMP VIEW bounds AS SELECT timeline, '' AS after FROM main.bounds;
         CREATE TEMP VIEW prunes AS SELECT * FROM main.prunes WHERE false;",
    )?;
    Ok(conn)
}

/// Another connection to an index that is open, for checkpoints.
pub(super) fn open_beside(path: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE: an index that was deleted meanwhile is not begun anew.
    open_again(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn try_open(path: &Path) -> Result<(Connection, Opened), Refusal> {
    if marker(path).exists() {
        return Err(Refusal::Unusable(
            "damage was found while it was in use".to_owned(),
        ));
    }
    let mut conn = Connection::open(path)?;
    settings::set(&conn)?;
    let fresh = create(&mut conn)?;
    if pragma::<i32>(&conn, "application_id")? != APPLICATION_ID {
        return Err(Refusal::Fatal(Fault::Sql(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_AUTH),
            Some("the file is another program's database; give another path".to_owned()),
        ))));
    }
    settings::use_wal(&conn)?;
    if fresh {
        return Ok((conn, Opened::Fresh));
    }
    let version: i32 = pragma(&conn, "user_version")?;
    if version != SCHEMA_VERSION {
        return Err(Refusal::Unusable(format!(
            "it has schema version {version}, and this build uses {SCHEMA_VERSION}"
        )));
    }
    check(&conn, path)?;
    Ok((conn, Opened::Existing))
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> rusqlite::Result<T> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// Makes the tables if the database is empty, and tells whether it was.
fn create(conn: &mut Connection) -> rusqlite::Result<bool> {
    // Of a database that is there, this changes nothing.
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Ok(false);
    }
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.commit()?;
    Ok(true)
}

/// The tables whose rows come from records.
const OF_RECORDS: [&str; 15] = [
    "lines",
    "line_pages",
    "entries",
    "listing",
    "aliases",
    "lost",
    "objects",
    "sources",
    "runs",
    "long_sets",
    "bounds",
    "fences",
    "prunes",
    "breaks",
    "positions",
];

/// Removes all that came from records.
pub(super) fn clear_records(conn: &Connection) -> Result<(), Fault> {
    for table in OF_RECORDS {
        conn.execute(&format!("DELETE FROM {table}"), [])?;
    }
    conn.execute("DELETE FROM meta WHERE name = ?1", [super::paged::PAGED])?;
    Ok(())
}

/// What can be checked of an index that was there: cheaply if it is large, all of it if it is small.
fn check(conn: &Connection, path: &Path) -> Result<(), Refusal> {
    let unusable = |why: &str| Err(Refusal::Unusable(why.to_owned()));
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let pages: u64 = pragma::<i64>(conn, "page_count")?.unsigned_abs();
    let page_size: u64 = pragma::<i64>(conn, "page_size")?.unsigned_abs();
    // Pages of an unfinished checkpoint are in the -wal file still.
    if length(&beside(path, "-wal")) == 0 && length(path) < pages.saturating_mul(page_size) {
        return unusable("it is shorter than it says");
    }
    if length(path) <= CHECK_MAX_BYTES {
        let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Refusal::Unusable(verdict));
        }
    }
    for table in OF_RECORDS.into_iter().chain(["meta", "opens"]) {
        let there: bool = conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
            [table],
            |row| row.get(0),
        )?;
        if !there {
            return Err(Refusal::Unusable(format!("it has no table {table}")));
        }
    }
    if let Some(state) = super::read_state(conn)? {
        let last = RefCell::default();
        super::query::check_last_line(Texts { conn, last: &last }, &state)?;
    }
    Ok(())
}

/// Notes that the index must be rebuilt when it is opened next.
pub(super) fn mark_corrupt(path: &Path) {
    if let Err(error) = std::fs::write(marker(path), b"") {
        tracing::warn!(path = %path.display(), %error, "cannot mark the damaged index; delete it by hand");
    }
}

fn marker(path: &Path) -> PathBuf {
    beside(path, "-corrupt")
}

/// A file beside the index, as SQLite has some.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
