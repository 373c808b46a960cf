//! Streams in memory: archivers that are no processes, and copies of what they wrote.

use crate::synthetic::SyntheticServer;
use binlogfs::source::Source;
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use binlogfs::sync::{Outcome, Settings, archive_once, read_batch};

/// Larger than any object of a synthetic server, in bytes.
const OBJECT_MAX: u64 = 1 << 22;

/// One run of an archiver.
pub async fn archive(
    server: &SyntheticServer,
    store: SharedStore,
    settings: &Settings,
) -> anyhow::Result<Outcome> {
    let source = Source::open(server.dir())?;
    let batch = read_batch(&source)?;
    archive_once(&source, batch, store, settings).await
}

/// Creates in `to` what it lacks of `from`.
pub async fn copy(from: &MemoryStore, to: &MemoryStore) {
    for key in from.keys() {
        let body = from.get_all(&key, OBJECT_MAX).await.expect("there");
        match to.create(&key, body).await {
            Ok(()) => {}
            Err(error) => assert!(error.already_exists(), "{error}"),
        }
    }
}

/// The same objects in a store of their own.
pub async fn copied(store: &MemoryStore) -> MemoryStore {
    let to = MemoryStore::new();
    copy(store, &to).await;
    to
}
