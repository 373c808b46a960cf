//! `archiver.db`: what the bucket cannot tell: the keys that this archiver uploads to, and the files that it failed at.

use crate::ledger::SEGMENTS_PREFIX;
use crate::model::{Micros, ObjectKey, Seq};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Its name in the state directory.
pub const JOURNAL_NAME: &str = "archiver.db";
/// Written to `user_version`; another one is refused, because an unknown journal must not be thrown away.
pub const SCHEMA_VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE upload (key TEXT PRIMARY KEY, file TEXT NOT NULL, started_at INTEGER NOT NULL, record INTEGER) WITHOUT ROWID;
-- Files that runs failed because of; put_aside_at is set for the dead letters.
CREATE TABLE failure (
    path TEXT PRIMARY KEY, file TEXT NOT NULL, inode INTEGER NOT NULL, reason TEXT NOT NULL, failed_runs INTEGER NOT NULL,
    first_failed_at INTEGER NOT NULL, put_aside_at INTEGER) WITHOUT ROWID;
";

/// Called around every local effect. Production never interrupts; the crash sweep of the tests does.
pub trait Interrupt: Send + Sync {
    /// Before the effect of `what`.
    ///
    /// # Errors
    /// To stop there.
    fn before(&self, what: &str) -> std::io::Result<()>;
    /// After it.
    ///
    /// # Errors
    /// To stop there.
    fn after(&self, what: &str) -> std::io::Result<()>;
}

/// Never interrupts.
#[derive(Debug)]
pub struct Uninterrupted;

impl Interrupt for Uninterrupted {
    fn before(&self, _what: &str) -> std::io::Result<()> {
        Ok(())
    }
    fn after(&self, _what: &str) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `effect` between the two calls of an [`Interrupt`].
///
/// # Errors
/// The effect's, or the interruption.
pub fn around<T, E: From<std::io::Error>>(
    interrupt: &dyn Interrupt,
    what: &str,
    effect: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    interrupt.before(what)?;
    let result = effect()?;
    interrupt.after(what)?;
    Ok(result)
}

/// The journal of one state directory.
pub struct Journal {
    connection: Mutex<Connection>,
    interrupt: Arc<dyn Interrupt>,
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite's.
    #[error(
        "archiver.db: {0}; look first whether its disk is full; if it is damaged, move it away and run again: 'binlogfs verify --orphans' then lists what it knew of"
    )]
    Sqlite(#[from] rusqlite::Error),
    /// Its content is not what was written.
    #[error(
        "archiver.db is damaged: {0}; move it away and run again: 'binlogfs verify --orphans' then lists what it knew of"
    )]
    Damaged(String),
    /// The operating system's.
    #[error("archiver.db: {0}")]
    Io(#[from] std::io::Error),
    /// Another version's.
    #[error(
        "archiver.db has schema version {0} and this build knows {SCHEMA_VERSION}: use the binlogfs that wrote it"
    )]
    OtherVersion(i64),
}

impl Journal {
    /// Opens it, or creates it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(state_dir: &Path, interrupt: Arc<dyn Interrupt>) -> Result<Journal, JournalError> {
        let connection = Connection::open(state_dir.join(JOURNAL_NAME))?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        // A journal entry must be on disk before its upload begins: FULL, not NORMAL.
        connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")?;
        let verdict: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(JournalError::Damaged(verdict));
        }
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            0 => connection.execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            ))?,
            SCHEMA_VERSION => {}
            other => return Err(JournalError::OtherVersion(other)),
        }
        Ok(Journal {
            connection: Mutex::new(connection),
            interrupt,
        })
    }

    /// Remembers that `key` is about to be uploaded to.
    ///
    /// # Errors
    /// See [`JournalError`]; the upload must then not begin.
    pub fn begin(&self, key: &ObjectKey, file: &str, now: Micros) -> Result<(), JournalError> {
        around(&*self.interrupt, "journal.begin", || {
            self.lock().execute(
                "INSERT INTO upload (key, file, started_at) VALUES (?1, ?2, ?3)",
                (key.as_str(), file, now.0),
            )?;
            Ok(())
        })
    }

    /// Remembers that record `seq` is about to be created with `key` in it. While its outcome is unknown, the object stays.
    ///
    /// # Errors
    /// See [`JournalError`]; the record must then not be created.
    pub fn recording(&self, key: &ObjectKey, seq: Seq) -> Result<(), JournalError> {
        around(&*self.interrupt, "journal.recording", || {
            let seq = i64::try_from(seq.0).map_err(std::io::Error::other)?;
            self.lock().execute(
                "UPDATE upload SET record = ?2 WHERE key = ?1",
                rusqlite::params![key.as_str(), seq],
            )?;
            Ok(())
        })
    }

    /// Forgets `key`: a record names it, or it is removed.
    ///
    /// # Errors
    /// See [`JournalError`]; the next run then finds it again.
    pub fn end(&self, key: &ObjectKey) -> Result<(), JournalError> {
        around(&*self.interrupt, "journal.end", || {
            self.lock()
                .execute("DELETE FROM upload WHERE key = ?1", [key.as_str()])?;
            Ok(())
        })
    }

    /// The keys begun and not ended, oldest first, each with the last record that was tried with it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open_uploads(&self) -> Result<Vec<(ObjectKey, Option<Seq>)>, JournalError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT key, record FROM upload ORDER BY started_at, key")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
        let mut open = Vec::new();
        for row in rows {
            let (key, record) = row?;
            let record = record.and_then(|seq| u64::try_from(seq).ok()).map(Seq);
            // What is in here may be deleted from the bucket: nothing but segment objects ever is.
            match key.parse::<ObjectKey>() {
                Ok(parsed) if key.starts_with(SEGMENTS_PREFIX) => open.push((parsed, record)),
                Ok(_) | Err(_) => {
                    let what = format!("it holds '{key}', which is no segment object");
                    return Err(JournalError::Damaged(what));
                }
            }
        }
        Ok(open)
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        // A panic while the lock was held left SQLite itself consistent.
        self.connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
