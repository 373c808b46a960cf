//! Headers and tails of objects, kept as stored (still encrypted), so that opening a segment needs no request.

use super::error::Fault;
use super::rows::unsigned;
use super::{Index, IndexError};
use crate::model::ObjectKey;
use rusqlite::{OptionalExtension, params};

/// Bytes kept: thousands of tails of ordinary segments (40 bytes for each MiB), and a small share of a disk.
const KEPT_MAX_BYTES: u64 = 256 << 20;
/// A larger pair is not kept: it would push out too many others.
const PAIR_MAX_BYTES: u64 = KEPT_MAX_BYTES / 16;

impl Index {
    /// The header and tail of an object, if they were kept. Whoever reads them checks them as if they came from the
    /// store. A failure to read is a miss.
    pub fn cached_open(&self, key: &ObjectKey) -> Option<(Vec<u8>, Vec<u8>)> {
        let found = self.with(|inner| {
            Ok(inner
                .conn
                .prepare_cached("SELECT header, tail FROM opens WHERE key = ?1")?
                .query_row([key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?)
        });
        found.unwrap_or_else(|error| {
            tracing::debug!(%key, %error, "no kept tail");
            None
        })
    }

    /// Keeps the header and tail of an object. The oldest kept go when there are too many.
    ///
    /// # Errors
    /// When the database cannot be written: nothing depends on it.
    pub fn cache_open(
        &self,
        key: &ObjectKey,
        header: &[u8],
        tail: &[u8],
    ) -> Result<(), IndexError> {
        self.cache_open_within(key, header, tail, KEPT_MAX_BYTES)
    }

    fn cache_open_within(
        &self,
        key: &ObjectKey,
        header: &[u8],
        tail: &[u8],
        kept_max_bytes: u64,
    ) -> Result<(), IndexError> {
        let bytes = header.len() as u64 + tail.len() as u64;
        if bytes > PAIR_MAX_BYTES.min(kept_max_bytes) {
            return Ok(());
        }
        self.with(|inner| {
            let tx = inner.conn.transaction()?;
            tx.prepare_cached(
                "INSERT OR REPLACE INTO opens (key, bytes, header, tail) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![key.as_str(), bytes as i64, header, tail])?;
            let kept = "SELECT coalesce(sum(bytes), 0) FROM opens";
            let mut kept: u64 = tx
                .prepare_cached(kept)?
                .query_row([], |row| unsigned(row, 0))?;
            while kept > kept_max_bytes {
                let oldest = "SELECT id, bytes FROM opens ORDER BY id LIMIT 1";
                let (id, bytes): (i64, u64) = tx
                    .prepare_cached(oldest)?
                    .query_row([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
                tx.prepare_cached("DELETE FROM opens WHERE id = ?1")?
                    .execute([id])?;
                kept = kept.saturating_sub(bytes);
            }
            tx.commit()?;
            Ok::<(), Fault>(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes() {
        let index = Index::in_memory().expect("opens");
        let key = |n: u32| -> ObjectKey { format!("segments/o{n}").parse().expect("a key") };
        for n in 0..10 {
            index
                .cache_open_within(&key(n), b"head", &[n as u8; 96], 500)
                .expect("keeps");
        }
        let kept: Vec<u32> = (0..10)
            .filter(|n| index.cached_open(&key(*n)).is_some())
            .collect();
        assert_eq!(kept, [5, 6, 7, 8, 9]);
        assert_eq!(
            index.cached_open(&key(9)),
            Some((b"head".to_vec(), vec![9; 96]))
        );
        index
            .cache_open_within(&key(9), b"h", b"other", 500)
            .expect("keeps");
        assert_eq!(
            index.cached_open(&key(9)),
            Some((b"h".to_vec(), b"other".to_vec()))
        );
        index
            .cache_open_within(&key(11), b"h", &[0; 600], 500)
            .expect("is let be");
        assert_eq!(index.cached_open(&key(11)), None);
    }
}
