//! One stream as others see it: its ledger, followed into an index.
//!
//! **Following.** The bucket is the truth, the index a copy of its beginning. [`Stream::follow`] takes in what came
//! after: single records when there are few, pages of a thousand when there are many, in ledger order, in batches of
//! bounded size. It can stop anywhere; the next call goes on from there.
//!
//! **Pages are copies.** One that is missing, damaged or another ledger's costs time: its records are read instead. The
//! newest record is always read itself, so that what pages say ends in a hash that the bucket's records confirm; pages
//! that turn out to differ from the records are forgotten again, and the records read.
//!
//! **What it alarms about.** The newest record known must still be there, byte for byte: a ledger only grows. One that is
//! shorter, or has another record in its place, is a [`StreamError::Rollback`], and nothing is taken in from it. A host
//! that never followed this ledger, or lost its index, cannot see that records are missing at the end: what is left is a
//! valid, shorter ledger. It can see objects that no record names (`verify --orphans`).
//!
//! **Records that cannot be read** (damaged, missing while later ones exist, or another ledger's: one that neither
//! continues the record before it nor is continued) are read twice, then looked for in their
//! page, then passed over as lost: the history shows a name that cannot be read at their place, and goes on. A lost
//! record at the very end is told apart ([`Followed::tail_damaged`]), because nobody may append to it. It is read again by
//! every call, and others by the calls that list; once one can be read, the index is built anew from the start.
//!
//! **What a copy of the ledger gives** ([`Store::copies`](crate::store::Store::copies)) is believed only if it is chained to what is
//! known of this ledger: it names the record before it, or is named by the record after it that the first store has, and neither
//! says otherwise. Whatever else a copy has does not count as there: its place is passed over as lost if the first store has later
//! records, and is the end if not, also while that store does not answer. So nothing of a copy that went another way is shown.
//!
//! **A record that breaks a rule** is no damage: it says by its own hash that it was meant so. Following ends there with
//! an error, and what was before stays readable. The same holds for a record of a newer format.
//!
//! **Missing in the middle.** A record that is not there is the end of the ledger, mostly. That later ones exist is only
//! seen in a listing: the first call lists (or the third, of a process that stays: [`Stream::listing_later`]), and then one in sixty.

mod append;
mod aside;
mod create;
mod error;
mod extent;
mod fetch;
mod follow;
mod intake;
mod newest;
mod plan;
mod proof;
#[cfg(test)]
mod tests;

pub use append::{RacesLost, TailDamaged, append};
pub use create::{create, probe_condition};
pub use error::StreamError;
pub use follow::Followed;

use crate::index::{Index, IndexError};
use crate::ledger::StreamFile;
use crate::ledger::stream_file::STREAM_FILE_MAX_BYTES;
use crate::store::{self, CopyReason, SharedStore};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Mutex;
use tokio::task::JoinError;

/// Calls before the first that lists, where listing can wait: two while a mount is made.
const CALLS_BEFORE_LISTING: u64 = 2;
/// Reads of `stream.json` until two in a row agree: one damaged reply among them is passed by.
const STREAM_FILE_READS_MAX: usize = 4;

/// A stream, and the index that follows its ledger.
pub struct Stream {
    store: SharedStore,
    index: Arc<Index>,
    file: StreamFile,
    bytes: Bytes,
    /// Whether pages may speak for records.
    use_pages: bool,
    /// Calls of `follow` so far. Also keeps them one at a time.
    follows: Mutex<u64>,
    /// It was told that a copy has records which nothing proves, and that is still so.
    unproven_told: AtomicBool,
}

impl Stream {
    /// Opens the stream in `store`, and ties `index` to it. No record is looked at yet.
    ///
    /// # Errors
    /// [`StreamError::NoStream`] when there is none; see [`StreamError`].
    pub async fn open(store: SharedStore, index: Arc<Index>) -> Result<Stream, StreamError> {
        let known = Arc::clone(&index);
        let known = blocking(move || known.stream_bytes()).await?;
        let bytes = stream_bytes(&store, known.as_deref()).await?;
        let (file, bytes) = match StreamFile::read(&bytes) {
            Ok(file) => (file, bytes),
            Err(reason) => {
                let wrong = || StreamError::StreamFile {
                    store: store.describe(),
                    reason,
                };
                of_copies(&store).await.ok_or_else(wrong)?
            }
        };
        let (begun, given) = (Arc::clone(&index), (file.clone(), bytes.clone()));
        blocking(move || begun.begin(&given.0, &given.1)).await?;
        Ok(Stream {
            store,
            index,
            file,
            bytes,
            use_pages: true,
            follows: Mutex::new(0),
            unproven_told: AtomicBool::new(false),
        })
    }

    /// Opens it for whoever has read its `stream.json`, `bytes`, before: nothing is asked. `None` if `index` is not tied to it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn again(
        store: SharedStore,
        index: Arc<Index>,
        bytes: &Bytes,
    ) -> Result<Option<Stream>, StreamError> {
        let known = Arc::clone(&index);
        let known = blocking(move || known.stream_bytes()).await?;
        let file = StreamFile::read(bytes).ok();
        let tied = file.filter(|_| known.as_deref() == Some(&bytes[..]));
        Ok(tied.map(|file| Stream {
            store,
            index,
            file,
            bytes: bytes.clone(),
            use_pages: true,
            // It was listed when it was opened.
            follows: Mutex::new(1),
            unproven_told: AtomicBool::new(false),
        }))
    }

    /// Has [`Stream::follow`] read every record itself: a proof of the ledger cannot rest on copies.
    pub fn without_pages(mut self) -> Stream {
        self.use_pages = false;
        self
    }

    /// Has the first calls of [`Stream::follow`] ask for the next records only, if the index has some already: whoever goes on
    /// calling lists a little later, and a listing of a directory with a million records takes half a second.
    pub fn listing_later(self) -> Stream {
        Stream {
            follows: Mutex::new(follow::LIST_EVERY - CALLS_BEFORE_LISTING),
            ..self
        }
    }

    /// What the stream is.
    pub fn file(&self) -> &StreamFile {
        &self.file
    }

    /// The bytes of `stream.json`, as stored.
    pub fn file_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The index.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }
}

/// What a copy of the stream has as `stream.json`. That it is this one's, the first record proves: it names the hash of these bytes.
async fn of_copies(store: &SharedStore) -> Option<(StreamFile, Bytes)> {
    let (copies, key) = (store.copies()?, StreamFile::key());
    for copy in copies.stores() {
        let Ok(bytes) = copy.get_all(&key, STREAM_FILE_MAX_BYTES).await else {
            continue;
        };
        if let Ok(file) = StreamFile::read(&bytes) {
            copies.served(CopyReason::Damaged, &key, copy);
            return Some((file, bytes));
        }
    }
    None
}

/// The bytes of `stream.json`: those `known`, or what two reads in a row agree on. It carries no hash of its own, and the
/// hash of the first record is made from it: a bit flipped on the way would end in the ledger.
async fn stream_bytes(store: &SharedStore, known: Option<&[u8]>) -> Result<Bytes, StreamError> {
    let key = StreamFile::key();
    let mut before: Option<Bytes> = None;
    for _ in 0..STREAM_FILE_READS_MAX {
        let bytes = match store.get_all(&key, STREAM_FILE_MAX_BYTES).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return Err(StreamError::NoStream {
                    store: store.describe(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        if known == Some(&bytes[..]) || before.as_ref() == Some(&bytes) {
            return Ok(bytes);
        }
        before = Some(bytes);
    }
    let unsteady = store::Error::new(
        store::ErrorKind::Transient,
        "get_all",
        &key,
        store.describe(),
    );
    Err(unsteady.because("no two reads gave the same bytes").into())
}

/// Runs a call of the index where it may block.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    unless_cancelled(tokio::task::spawn_blocking(f)).await
}

/// What a task that nobody cancels returns.
async fn unless_cancelled<T>(task: impl Future<Output = Result<T, JoinError>>) -> T {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // It is only cancelled with its runtime, and then this one is too.
            Err(_) => std::future::pending().await,
        },
    }
}
