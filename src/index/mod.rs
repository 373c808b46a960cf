//! The index: what a stream's ledger says, in a SQLite database that answers in milliseconds at a million segments.
//!
//! **Derived and disposable.** Everything in it comes from the ledger (and cached object tails from the objects); it may
//! be deleted at any time, and is rebuilt by following the ledger again. What does not come from the bucket has no place
//! here.
//!
//! **One writer at a time, any number of processes.** [`Index::apply`] takes SQLite's write lock before it reads the
//! ledger state, so records that another process applied meanwhile are skipped, and each record is applied once. Records
//! and the state after them are in one transaction: a crash leaves the database as it was before or after a batch.
//!
//! **What a listing leaves out.** A fence takes out of a timeline what stands behind it by then, a prune removes its front. Such
//! entries are not in [`Index::rows`], [`Index::entries`], [`Index::entry`], [`Index::overlapping`],
//! [`Index::following`], [`Index::holding`] and [`Index::continuity`]. [`Index::entry_by_seq`], [`Index::find`] and
//! [`Index::line`] know them still: they were archived, and [`Index::pruned_rows`] lists those. A superseded entry is replaced in place.
//!
//! **Records that cannot be read** have a place ([`EntryState::Lost`](crate::ledger::EntryState)): it is a name that
//! cannot be read, so that no replay crosses it unseen. Several in a row share one name.

mod apply;
pub(crate) mod asking;
mod batch;
mod before;
mod between;
mod bounds;
mod build;
mod checkpoint;
mod continuity;
mod error;
mod fences;
mod foresee;
mod intervals;
mod latest;
mod listing;
mod making;
mod many;
mod moment;
mod objects;
mod opens;
mod paged;
#[cfg(test)]
mod plans;
mod pruned;
mod query;
mod repair;
mod rows;
mod schema;
mod settings;
mod special;
mod standing;
#[cfg(test)]
mod tests;
mod texts;
mod unsynced;
mod write;

pub use apply::{Applied, Step};
pub use continuity::Finding;
pub use error::IndexError;
pub use fences::Fence;
pub use foresee::Foreseen;
pub use listing::{ListedRow, ListingChunk};
pub use making::Making;
pub use moment::Moment;
pub use pruned::Prune;
pub use query::TimelineInfo;
pub use rows::EntryRow;
pub use schema::{Opened, SCHEMA_VERSION};
pub use standing::{Standing, Superseded};

use crate::ledger::{LedgerState, StreamFile};
use crate::model::Sha256;
use checkpoint::Checkpoints;
use error::Fault;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use texts::{LastPage, Texts};

/// Bytes of the SHA-256 in front of the stored state.
const HASH_BYTES: usize = 32;

/// One stream's index. Safe to share between threads; calls wait for each other.
pub struct Index {
    /// Ends before the writer does.
    checkpoints: Mutex<Checkpoints>,
    inner: Mutex<Inner>,
    /// A connection that only reads, and so never waits for a batch; made when it is first used.
    reader: Mutex<Option<Connection>>,
    /// `None` in memory, or in a temporary file.
    path: Option<PathBuf>,
}

struct Inner {
    conn: Connection,
    last_page: RefCell<LastPage>,
    /// The state as of `data_version`.
    state: Option<Arc<LedgerState>>,
    /// SQLite's counter of commits by other connections.
    data_version: i64,
}

impl Inner {
    /// Reads records.
    fn texts(&self) -> Texts<'_> {
        Texts {
            conn: &self.conn,
            last: &self.last_page,
        }
    }

    /// The ledger state, read again if another process has written.
    fn state(&mut self) -> Result<Option<Arc<LedgerState>>, Fault> {
        let version = self
            .conn
            .query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.state.is_none() || self.data_version != version {
            self.state = read_state(&self.conn)?.map(Arc::new);
            self.data_version = version;
        }
        Ok(self.state.clone())
    }
}

/// The ledger state as stored.
fn read_state(conn: &Connection) -> Result<Option<LedgerState>, Fault> {
    let Some(stored) = meta(conn, "state")? else {
        return Ok(None);
    };
    // SQLite notices no flipped bit inside a value, and the next record is made from this one.
    let (hash, json) = stored.split_at_checked(HASH_BYTES).unwrap_or_default();
    if hash != Sha256::of(json).0 {
        return Err(Fault::Corrupt(
            "its ledger state is not the one that was written".to_owned(),
        ));
    }
    serde_json::from_slice(json)
        .map(Some)
        .map_err(|e| Fault::Corrupt(format!("its ledger state cannot be read: {e}")))
}

fn write_state(conn: &Connection, state: &LedgerState) -> Result<(), Fault> {
    let json = serde_json::to_vec(state).expect("a ledger state is plain values");
    let hash = Sha256::of(&json);
    set_meta(conn, "state", &[&hash.0[..], &json].concat())
}

fn meta(conn: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    let value = conn
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(value)
}

fn set_meta(conn: &Connection, name: &str, value: &[u8]) -> Result<(), Fault> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

impl Index {
    /// Opens the index at `path`, and makes it and its directory if they are not there.
    ///
    /// An index of another schema version, or one that is damaged, is deleted and begun anew; [`Opened`] tells.
    ///
    /// # Errors
    /// When the file cannot be opened or written, or is another program's database.
    pub fn open(path: &Path) -> Result<(Index, Opened), IndexError> {
        let (conn, opened, inherited) = schema::open(path)?;
        let mut index = Index::over(conn, Some(path.to_owned()));
        index.checkpoints = Mutex::new(Checkpoints::inherited(inherited));
        Ok((index, opened))
    }

    /// An index that lives as long as this value.
    ///
    /// # Errors
    /// When SQLite has no memory for it.
    pub fn in_memory() -> Result<Index, IndexError> {
        Ok(Index::over(schema::open_in_memory()?, None))
    }

    /// The same for a history of any length: what is more than fits into a cache of 64 MiB is in a temporary file that has no name.
    ///
    /// # Errors
    /// When SQLite cannot make it.
    pub fn temporary() -> Result<Index, IndexError> {
        Ok(Index::over(schema::open_temporary()?, None))
    }

    fn over(conn: Connection, path: Option<PathBuf>) -> Index {
        let inner = Inner {
            conn,
            last_page: RefCell::default(),
            state: None,
            data_version: -1,
        };
        Index {
            inner: Mutex::new(inner),
            reader: Mutex::default(),
            checkpoints: Mutex::default(),
            path,
        }
    }

    /// Ties the index to the stream whose `stream.json` has the bytes `stream_bytes`. Again for the same stream: nothing
    /// happens.
    ///
    /// # Errors
    /// [`IndexError::OtherStream`] when it holds another stream, or this one's `stream.json` was replaced.
    pub fn begin(&self, stream: &StreamFile, stream_bytes: &[u8]) -> Result<(), IndexError> {
        self.with(|inner| {
            let tx = inner
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            match meta(&tx, "stream")? {
                Some(bytes) if bytes == stream_bytes => return Ok(()),
                Some(bytes) => return Err(Fault::OtherStream(other_stream(stream, &bytes))),
                None => set_meta(&tx, "stream", stream_bytes)?,
            }
            making::begin(&tx)?;
            write_state(&tx, &LedgerState::new(stream, stream_bytes))?;
            tx.commit()?;
            inner.state = None;
            Ok(())
        })
    }

    /// The bytes of `stream.json` that [`Index::begin`] was given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn stream_bytes(&self) -> Result<Option<Vec<u8>>, IndexError> {
        self.with(|inner| meta(&inner.conn, "stream"))
    }

    /// What the ledger says up to the last record applied; `None` before [`Index::begin`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn state(&self) -> Result<Option<Arc<LedgerState>>, IndexError> {
        self.with(Inner::state)
    }

    /// Forgets all records, so that the ledger is followed from its beginning again. Cached tails stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn reset(&self) -> Result<(), IndexError> {
        self.with(|inner| {
            let tx = inner
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(bytes) = meta(&tx, "stream")? {
                let stream = StreamFile::read(&bytes)
                    .map_err(|e| Fault::Corrupt(format!("its copy of stream.json: {e}")))?;
                schema::clear_records(&tx)?;
                making::begin(&tx)?;
                write_state(&tx, &LedgerState::new(&stream, &bytes))?;
            }
            tx.commit()?;
            inner.state = None;
            Ok(())
        })
    }

    /// Everything that the ledger has was taken in. What the disk was not waited for meanwhile, it is waited for now, beside the caller.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn rest(&self) -> Result<(), IndexError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let checkpoints = || {
            self.checkpoints
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if !checkpoints().is_restless() {
            return Ok(());
        }
        // In the order in which a page takes the two locks.
        self.with(|inner| checkpoints().rest(&inner.conn, path))
    }

    /// Runs `f` alone on the connection, and says of an error which index it was.
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> Result<T, Fault>) -> Result<T, IndexError> {
        f(&mut self.lock()).map_err(|fault| self.told(fault))
    }

    /// Runs `f` on the connection that only reads.
    fn with_reader<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, IndexError> {
        let Some(path) = &self.path else {
            return self.with(|inner| f(&inner.conn));
        };
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match &mut *reader {
            Some(conn) => f(conn),
            none => schema::open_reader(path)
                .map_err(Fault::from)
                .and_then(|conn| f(none.insert(conn))),
        };
        found.map_err(|fault| self.told(fault))
    }

    fn told(&self, fault: Fault) -> IndexError {
        let error = fault.at(self.path.as_deref());
        if let (IndexError::Corrupt { .. }, Some(path)) = (&error, &self.path) {
            schema::mark_corrupt(path);
        }
        error
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside a transaction rolled it back, and the state is only replaced after a commit.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Index {
    /// An index that is closed before all was taken in is waited for here.
    fn drop(&mut self) {
        let Some(path) = &self.path else {
            return;
        };
        let checkpoints = self.checkpoints.get_mut();
        let checkpoints = checkpoints.unwrap_or_else(PoisonError::into_inner);
        if !checkpoints.is_marked() {
            return;
        }
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Also because the writer checkpoints as it closes, what others wrote meanwhile too, and waits for the disk then.
        if let Err(fault) = checkpoints.rest(&inner.conn, path) {
            let error = fault.at(Some(path));
            tracing::debug!(%error, "the next process waits for the disk");
        }
    }
}

/// How the stream of an index differs from the one it is opened for, and what to do.
fn other_stream(stream: &StreamFile, indexed: &[u8]) -> String {
    let named = |file: &StreamFile| {
        let (id, basename, begun) = (file.stream_id, &file.basename, file.created_at);
        format!("stream {id} ({basename}, begun {begun})")
    };
    let opened = named(stream);
    let next = "if both are in use, give each a directory of its own (--cache-dir, for an archiver --state-dir); if that stream is there \
                for good in place of the other, delete the index and run again";
    match StreamFile::read(indexed) {
        Ok(old) if old.stream_id == stream.stream_id => format!(
            "stream.json of {} was replaced; if the bucket is the right one, delete the index and run again, else correct the URL",
            stream.stream_id
        ),
        Ok(old) => format!("it holds {}, and the URL has {opened}; {next}", named(&old)),
        Err(_) => format!("which stream it holds cannot be read, and the URL has {opened}; {next}"),
    }
}
