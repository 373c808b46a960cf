//! The index keeps headers and tails between mounts.

use super::opening::TailCache;
use crate::index::Index;
use crate::model::ObjectKey;
use bytes::Bytes;

impl TailCache for Index {
    fn load(&self, key: &ObjectKey) -> Option<(Bytes, Bytes)> {
        let (header, tail) = self.cached_open(key)?;
        Some((header.into(), tail.into()))
    }

    fn keep(&self, key: &ObjectKey, header: &[u8], tail: &[u8]) {
        if let Err(error) = self.cache_open(key, header, tail) {
            // The next open costs two gets again: nothing else depends on it.
            tracing::debug!(object = %key, %error, "a tail was not kept");
        }
    }
}
