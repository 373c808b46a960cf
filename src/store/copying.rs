//! An object from one store into another, its bytes proven by their checksums on the way.

use super::{ChecksumHasher, Checksums, Error, SharedStore, Upload};
use crate::model::ObjectKey;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use std::pin::pin;

/// Bytes asked for at a time: few requests for a large object, and with [`PARTS_AHEAD`] few MiB in memory.
const PART_BYTES: u64 = 8 << 20;
/// Parts in memory or on their way: one is sent while the next one comes.
const PARTS_AHEAD: usize = 2;

/// Called with a number of bytes before they are sent, and waited for: whoever limits a rate holds them back.
pub type OnBytes<'a> = &'a (dyn Fn(u64) -> BoxFuture<'a, ()> + Send + Sync);

/// Where an object is, and what it must be.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The store.
    pub store: &'a SharedStore,
    /// The key.
    pub key: &'a ObjectKey,
    /// The checksums of its bytes.
    pub expected: Checksums,
}

/// Why an object could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It cannot be read.
    #[error("{0}")]
    Source(Error),
    /// Its bytes are not those expected: nothing was made of them.
    #[error(
        "object {key} in {store} is not what was stored under it ({found}; recorded: {expected})"
    )]
    Differs {
        /// Its key.
        key: ObjectKey,
        /// Where.
        store: String,
        /// What its bytes are.
        found: Checksums,
        /// What they must be.
        expected: Checksums,
    },
    /// It cannot be written.
    #[error("{0}")]
    Target(Error),
}

impl CopyError {
    /// Why, without the key: for whoever has named that.
    pub fn without_key(&self) -> String {
        match self {
            CopyError::Source(error) | CopyError::Target(error) => error.without_key(),
            CopyError::Differs {
                store,
                found,
                expected,
                ..
            } => format!(
                "in {store} it is not what was stored under it ({found}; recorded: {expected})"
            ),
        }
    }
}

/// Copies an object to `key` in `to`, and calls `on_bytes` with each number of bytes before they are sent. The copy is there whole
/// and right, or not at all.
///
/// # Errors
/// See [`CopyError`]; [`super::ErrorKind::AlreadyExists`] of the target when the key is taken.
pub async fn copy_object(
    source: Source<'_>,
    to: &SharedStore,
    key: &ObjectKey,
    on_bytes: OnBytes<'_>,
) -> Result<(), CopyError> {
    let size = source.expected.size;
    let mut upload = to.upload(key, size).await.map_err(CopyError::Target)?;
    match send(source, Some(&mut *upload), on_bytes).await {
        Ok(()) => upload
            .commit(source.expected)
            .await
            .map_err(CopyError::Target),
        Err(error) => {
            if let Err(left) = upload.abort().await {
                tracing::debug!(error = %left, "an upload that was given up");
            }
            Err(error)
        }
    }
}

/// Reads an object to its end.
///
/// # Errors
/// When its bytes are not those expected, or cannot be read.
pub async fn prove_object(source: Source<'_>) -> Result<(), CopyError> {
    let free = |_| futures::future::ready(()).boxed();
    send(source, None, &free).await
}

async fn send(
    source: Source<'_>,
    mut upload: Option<&mut (dyn Upload + '_)>,
    on_bytes: OnBytes<'_>,
) -> Result<(), CopyError> {
    let Source {
        store,
        key,
        expected,
    } = source;
    let starts = (0..expected.size).step_by(PART_BYTES as usize);
    let parts = futures::stream::iter(starts)
        .map(|start| store.get(key, start..(start + PART_BYTES).min(expected.size)))
        .buffered(PARTS_AHEAD);
    let mut parts = pin!(parts);
    let mut hasher = ChecksumHasher::default();
    while let Some(bytes) = parts.try_next().await.map_err(CopyError::Source)? {
        hasher.update(&bytes);
        on_bytes(bytes.len() as u64).await;
        if let Some(upload) = &mut upload {
            upload.write(bytes).await.map_err(CopyError::Target)?;
        }
    }
    let found = hasher.finish();
    if found != expected {
        return Err(CopyError::Differs {
            key: key.clone(),
            store: store.describe(),
            found,
            expected,
        });
    }
    // A longer object begins with the right bytes: it is none of what was stored, but its copy is.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Store as _};
    use std::sync::Arc;

    fn key(text: &str) -> ObjectKey {
        text.parse().expect("a key")
    }

    async fn copy(bytes: &[u8], recorded: &[u8]) -> (Result<(), CopyError>, MemoryStore) {
        let (from, to) = (MemoryStore::new(), MemoryStore::new());
        from.tamper(&key("a"), bytes.to_vec());
        let from: SharedStore = Arc::new(from);
        let source = Source {
            store: &from,
            key: &key("a"),
            expected: Checksums::of(recorded),
        };
        let free = |_| futures::future::ready(()).boxed();
        let target: SharedStore = Arc::new(to.clone());
        let done = copy_object(source, &target, &key("b"), &free).await;
        (done, to)
    }

    #[test]
    fn checksums_are_told_as_their_definitions_have_them() {
        // The check values of the catalogue of CRC algorithms.
        assert_eq!(
            Checksums::of(b"123456789").to_string(),
            "9 bytes, CRC-32C e3069283, CRC-64/NVME ae8b14860a799888"
        );
    }

    #[tokio::test]
    async fn an_object_of_several_parts_is_copied_whole() {
        let bytes: Vec<u8> = (0..PART_BYTES * 2 + 77).map(|n| (n % 251) as u8).collect();
        let (done, to) = copy(&bytes, &bytes).await;
        done.expect("copied");
        let all = to.get_all(&key("b"), 1 << 30).await.expect("there");
        assert!(all == bytes);
    }

    #[tokio::test]
    async fn bytes_that_are_not_those_recorded_leave_nothing() {
        for (bytes, recorded) in [("flipped", "right 0"), ("cut", "whole")] {
            let (done, to) = copy(bytes.as_bytes(), recorded.as_bytes()).await;
            assert!(done.is_err(), "{bytes}");
            assert!(to.keys().is_empty(), "{bytes}");
        }
        let (done, to) = copy(b"grown by some", b"grown").await;
        done.expect("what was recorded is there");
        assert_eq!(to.get_all(&key("b"), 99).await.expect("there"), "grown");
    }
}
