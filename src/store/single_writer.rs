//! A store for servers that ignore `If-None-Match`: looks before it writes.
//!
//! Between the look and the write another writer may come: this is safe only while one archiver writes, which a person has to
//! promise (`--single-writer`). What the look does prevent is that one archiver overwrites its own or older objects.

use super::{
    Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Removed, Result, Retain,
    SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;

/// Decorates a store with a look before each create.
pub struct SingleWriterStore {
    inner: SharedStore,
}

impl SingleWriterStore {
    /// `inner`, to which nobody else writes.
    pub fn new(inner: SharedStore) -> SingleWriterStore {
        SingleWriterStore { inner }
    }
}

/// Refuses if `key` is taken.
async fn look(store: &SharedStore, verb: &'static str, key: &ObjectKey) -> Result<()> {
    match store.head(key).await {
        Ok(_) => {
            let taken = Error::new(ErrorKind::AlreadyExists, verb, key, store.describe());
            Err(taken)
        }
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Store for SingleWriterStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        look(&self.inner, "create", key).await?;
        self.inner.create(key, body).await
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        Ok(Box::new(SingleWriterUpload {
            inner: self.inner.upload(key, size_hint).await?,
            store: SharedStore::clone(&self.inner),
            key: key.clone(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.inner.get(key, range).await
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        self.inner.get_in_pieces(key, range, on_piece).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.inner.get_all(key, max_bytes).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        self.inner.list(prefix, after).await
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        self.inner.list_dirs(prefix, max).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.inner.keeping(key).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.inner.remove(key).await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.inner.retain(key, change).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct SingleWriterUpload {
    inner: Box<dyn Upload>,
    store: SharedStore,
    key: ObjectKey,
}

#[async_trait]
impl Upload for SingleWriterUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        if let Err(error) = look(&self.store, "commit", &self.key).await {
            // What the look found is the error to report; `delete` finds what stays.
            let _ = self.inner.abort().await;
            return Err(error);
        }
        self.inner.commit(expected).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
