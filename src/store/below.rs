//! A part of a store as a store: the keys below one directory.

use super::{
    Copies, Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Removed, Result, Retain,
    SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// The keys of a store that are below a directory, without it. What is asked of it shares connections, retries and
/// limits with everything else in the store.
pub struct BelowStore {
    inner: SharedStore,
    /// Ends with a slash.
    prefix: String,
    name: String,
    copies: Option<Copies>,
}

impl BelowStore {
    /// What is in `inner` below `dir`; messages call it `name`.
    pub fn new(inner: SharedStore, dir: &ObjectKey, name: String) -> BelowStore {
        let copies = inner.copies().map(|copies| {
            copies.each(|copy| {
                let name = format!("{}/{dir}", copy.describe().trim_end_matches('/'));
                Arc::new(BelowStore::new(Arc::clone(copy), dir, name)) as SharedStore
            })
        });
        BelowStore {
            inner,
            prefix: format!("{dir}/"),
            name,
            copies,
        }
    }

    fn full(&self, verb: &'static str, key: &ObjectKey) -> Result<ObjectKey> {
        format!("{}{key}", self.prefix).parse().map_err(|refused| {
            Error::new(ErrorKind::Permanent, verb, key, &self.name).because(refused)
        })
    }

    /// The error as one of this store: what was asked for, and where, in the caller's words.
    fn told(&self, error: Error) -> Error {
        let key = error.key.strip_prefix(&self.prefix).map(str::to_owned);
        Error {
            key: key.unwrap_or(error.key),
            store: self.name.clone(),
            ..error
        }
    }

    /// The key here of what has `key` in the whole store.
    fn own(&self, key: &ObjectKey) -> Option<ObjectKey> {
        key.as_str().strip_prefix(&self.prefix)?.parse().ok()
    }
}

#[async_trait]
impl Store for BelowStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let created = self.inner.create(&self.full("create", key)?, body).await;
        created.map_err(|error| self.told(error))
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        let key = self.full("upload", key)?;
        let begun = self.inner.upload(&key, size_hint).await;
        begun.map_err(|error| self.told(error))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let read = self.inner.get(&self.full("get", key)?, range).await;
        read.map_err(|error| self.told(error))
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let key = self.full("get", key)?;
        let read = self.inner.get_in_pieces(&key, range, on_piece).await;
        read.map_err(|error| self.told(error))
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let key = self.full("get_all", key)?;
        let read = self.inner.get_all(&key, max_bytes).await;
        read.map_err(|error| self.told(error))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let known = self.inner.head(&self.full("head", key)?).await;
        known.map_err(|error| self.told(error))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let after = after.map(|key| self.full("list", key)).transpose()?;
        let full = format!("{}{prefix}", self.prefix);
        let page = self.inner.list(&full, after.as_ref()).await;
        let page = page.map_err(|error| self.told(error))?;
        let own = |(key, size): (ObjectKey, u64)| Some((self.own(&key)?, size));
        Ok(Listing {
            objects: page.objects.into_iter().filter_map(own).collect(),
            more: page.more,
        })
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let full = format!("{}{prefix}", self.prefix);
        let listed = self.inner.list_dirs(&full, max).await;
        listed.map_err(|error| self.told(error))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let deleted = self.inner.delete(&self.full("delete", key)?).await;
        deleted.map_err(|error| self.told(error))
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        let known = self.inner.keeping(&self.full("keeping", key)?).await;
        known.map_err(|error| self.told(error))
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        let removed = self.inner.remove(&self.full("remove", key)?).await;
        removed.map_err(|error| self.told(error))
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        let done = self.inner.retain(&self.full("retain", key)?, change).await;
        done.map_err(|error| self.told(error))
    }

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn copies(&self) -> Option<&Copies> {
        self.copies.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, conformance};

    fn below(memory: &MemoryStore) -> BelowStore {
        let dir = "prod/orders".parse().expect("a key");
        BelowStore::new(Arc::new(memory.clone()), &dir, "memory:prod/orders".into())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn below_a_directory_every_contract_holds() {
        conformance::run_all(|| Arc::new(below(&MemoryStore::new()))).await;
    }

    #[tokio::test]
    async fn neighbours_are_neither_seen_nor_touched() {
        let memory = MemoryStore::new();
        for key in ["prod/orders/x", "prod/orders0/x", "prod/orders", "x"] {
            memory.tamper(&key.parse().expect("a key"), "body");
        }
        let store = below(&memory);
        let page = store.list("", None).await.expect("lists");
        let keys: Vec<_> = page.objects.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["x"]);
        let long = "y".repeat(250) + &"/y".repeat(386);
        let key = long.parse().expect("a key by itself");
        let error = store.head(&key).await.expect_err("too long below");
        assert_eq!(error.kind, ErrorKind::Permanent);
    }
}
