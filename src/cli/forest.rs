//! Mounting a place above several streams.

use super::{Global, reading};
use crate::cache::disk::DiskCache;
use crate::cache::{CacheOptions, SegmentReader};
use crate::fs::{self, Forest, OpenIndex, Prepared, StoreGrove};
use crate::index::{Index, Opened};
use crate::model::{Sha256, StoreUrl};
use crate::store;
use crate::stream::StreamError;
use anyhow::Result;
use std::sync::Arc;
use uuid::Uuid;

/// Whether a stream could not be opened because there is none at its URL: then there may be some below it.
pub fn is_above_streams(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StreamError::NoStream { .. }))
}

/// Prepares a mount of the streams below `url`.
pub async fn prepare(
    global: &Global,
    url: &StoreUrl,
    shown: fs::Options,
    disk: Option<&DiskCache>,
    options: CacheOptions,
) -> Result<Prepared> {
    let store = store::open_with_copies(url, &global.replica).await?;
    let identities = reading::identities(&global.identity)?;
    let of_all = global.clone();
    let open_index: OpenIndex = Arc::new(move |url| {
        let path = reading::index_path_of_many(&of_all, url)?;
        let (index, opened) = Index::open(&path)?;
        if let Opened::Rebuilt { why } = &opened {
            tracing::warn!("the local index of {url} could not be used and is built again: {why}");
        }
        Ok(index)
    });
    let grove = StoreGrove::new(Arc::clone(&store), url.clone(), open_index);
    let name = url.to_string();
    let own = disk.map(|disk| disk.stream(disk_id(&name), &name));
    let reader = SegmentReader::with_disk(store, identities, Some(grove.tails()), own, options);
    let forest = Forest::new(
        Arc::new(grove),
        Arc::new(reader),
        shown.ownership,
        shown.refresh,
    );
    Ok(fs::prepare_forest(forest, shown).await?)
}

/// What the disk cache knows a place above streams by: it has no id of its own, and one reader reads all that is below it.
fn disk_id(url: &str) -> Uuid {
    let Sha256(digest) = Sha256::of(url.as_bytes());
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(half)
}
