//! One stream as others see it: its ledger, followed into an index.
//!
//! **Following.** The bucket is the truth, the index a copy of its beginning. [`Stream::follow`] takes in what came
//! after: single records when there are few, pages of a thousand when there are many, in ledger order, in batches of
//! bounded size. It can stop anywhere; the next call goes on from there.
//!
//! **What it alarms about.** The newest record known must still be there, byte for byte: a ledger only grows. One that is
//! shorter, or has another record in its place, is a [`StreamError::Rollback`], and nothing is taken in from it.
//!
//! **Records that cannot be read** (damaged, or missing while later ones exist) are read twice, then looked for in their
//! page, then passed over as lost: the history shows a name that cannot be read at their place, and goes on. A lost
//! record at the very end is told apart ([`Followed::tail_damaged`]), because nobody may append to it. It, and a record
//! that was lost there before, is read again by every call; once it can be read, the index is built anew from the start.
//!
//! **A record that breaks a rule** is no damage: it says by its own hash that it was meant so. Following ends there with
//! an error, and what was before stays readable. The same holds for a record of a newer format.
//!
//! **Missing in the middle.** A record that is not there is the end of the ledger, mostly. That later ones exist is only
//! seen in a listing: the first call lists, and then one in sixty.

mod create;
mod error;
mod extent;
mod fetch;
mod follow;
mod plan;
#[cfg(test)]
mod tests;

pub use create::{create, probe_condition};
pub use error::StreamError;
pub use follow::Followed;

use crate::index::{Index, IndexError};
use crate::ledger::StreamFile;
use crate::ledger::stream_file::STREAM_FILE_MAX_BYTES;
use crate::store::SharedStore;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A stream, and the index that follows its ledger.
pub struct Stream {
    store: SharedStore,
    index: Arc<Index>,
    file: StreamFile,
    bytes: Bytes,
    /// Calls of `follow` so far. Also keeps them one at a time.
    follows: Mutex<u64>,
}

impl Stream {
    /// Opens the stream in `store`, and ties `index` to it. No record is taken in yet, but the newest one that the index
    /// knows is compared with the bucket's.
    ///
    /// # Errors
    /// [`StreamError::NoStream`] when there is none; [`StreamError::Rollback`]; see [`StreamError`].
    pub async fn open(store: SharedStore, index: Arc<Index>) -> Result<Stream, StreamError> {
        let bytes = match store
            .get_all(&StreamFile::key(), STREAM_FILE_MAX_BYTES)
            .await
        {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return Err(StreamError::NoStream {
                    store: store.describe(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let file = StreamFile::read(&bytes).map_err(|reason| StreamError::StreamFile {
            store: store.describe(),
            reason,
        })?;
        let (begun, given) = (Arc::clone(&index), (file.clone(), bytes.clone()));
        blocking(move || begun.begin(&given.0, &given.1)).await?;
        let stream = Stream {
            store,
            index,
            file,
            bytes,
            follows: Mutex::new(0),
        };
        stream.check_newest().await?;
        Ok(stream)
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

/// Runs a call of the index where it may block.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    match tokio::task::spawn_blocking(f).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // A blocking task is only cancelled with its runtime, and then this one is too.
            Err(_) => std::future::pending().await,
        },
    }
}
