//! How a stream begins: `stream.json`; and the proof that its store creates and never overwrites.

use super::StreamError;
use crate::ledger::StreamFile;
use crate::ledger::stream_file::STREAM_FILE_MAX_BYTES;
use crate::store::{self, ErrorKind, Outcome, SharedStore};
use bytes::Bytes;

/// Begins a stream.
///
/// # Errors
/// [`StreamError::Exists`] when there is one already: open it.
pub async fn create(store: &SharedStore, file: &StreamFile) -> Result<(), StreamError> {
    let bytes = Bytes::from(file.write());
    match store.create(&StreamFile::key(), bytes.clone()).await {
        Ok(()) => Ok(()),
        Err(error) if error.already_exists() => Err(StreamError::Exists {
            store: store.describe(),
        }),
        Err(error) => resolve_unknown(store, &bytes, error).await,
    }
}

/// A create whose reply was lost has happened iff the bytes are there: the stream's id is random, so nobody else's are
/// the same.
async fn resolve_unknown(
    store: &SharedStore,
    bytes: &Bytes,
    error: store::Error,
) -> Result<(), StreamError> {
    if error.outcome != Outcome::Unknown {
        return Err(error.into());
    }
    match store
        .get_all(&StreamFile::key(), STREAM_FILE_MAX_BYTES)
        .await
    {
        Ok(there) if there == *bytes => Ok(()),
        Ok(_) => Err(StreamError::Exists {
            store: store.describe(),
        }),
        Err(_) => Err(error.into()),
    }
}

/// Proves that the store refuses to create what exists: `stream.json` is created again with the bytes it has, which does
/// no harm even where it is not refused.
///
/// Whoever appends to a ledger asks first, each time it starts: a stream can be copied to a store that is less careful than
/// the one it was begun in.
///
/// # Errors
/// [`StreamError::StoreIgnoresCondition`] when it is not refused; [`StreamError::ProbeDenied`] when the account may not even
/// try.
pub async fn probe_condition(store: &SharedStore, bytes: &Bytes) -> Result<(), StreamError> {
    match store.create(&StreamFile::key(), bytes.clone()).await {
        Ok(()) => Err(StreamError::StoreIgnoresCondition {
            store: store.describe(),
        }),
        Err(error) if error.already_exists() => Ok(()),
        Err(error) if error.kind == ErrorKind::Denied => Err(StreamError::ProbeDenied { error }),
        Err(error) => Err(error.into()),
    }
}
