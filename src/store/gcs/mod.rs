//! A store in a Google Cloud Storage bucket, or in an emulator of it.
//!
//! | verb | requests (Cloud Storage JSON API v1) |
//! |---|---|
//! | `create` | objects.insert, `uploadType=multipart`, with `ifGenerationMatch=0` and the CRC-32C |
//! | `upload` | up to 8 MiB the same; above: a resumable session with `ifGenerationMatch=0`, a PUT per 8 MiB, the CRC-32C with the last |
//! | `get`, `get_all` | objects.get with `alt=media`, with `Range` for a part |
//! | `head` | objects.get |
//! | `list`, `list_dirs` | objects.list with `startOffset`, or with a delimiter |
//! | `delete` | objects.delete |
//! | `keeping` | objects.get: retention, holds |
//! | `remove` | objects.get, objects.delete of the generation that it tells |
//! | `retain` | objects.patch; for compliance objects.get before it |
//!
//! # Why not Google's client library
//! Its uploads pull their bytes from a source that must be able to seek back, and it finds out by itself what to send again; here
//! the bytes come by [`Upload::write`] and are held no longer than they must. It lists and deletes over gRPC only, which no
//! emulator speaks, so that nothing of that could be tested. The JSON API needs one client for all verbs, has one place where
//! retries are decided ([`crate::store::retry`]), and its sessions are documented ("Resumable uploads"). Credentials are Google's
//! library's: service account files, workload identity, impersonation, the metadata server.
//!
//! # What is checked
//! The server is told the CRC-32C of every object and refuses what differs; what it says that it holds is compared once more, and
//! an object that differs is deleted, if it is still the one that was made.
//!
//! # What may be left
//! A session whose process was killed: nobody can list sessions, and they are gone after a week by themselves, unpaid for. Nothing
//! of one is visible, and without its address, which only the dead process had, nobody can complete it.
//!
//! # Connecting
//! `endpoint=` of the URL, else `STORAGE_EMULATOR_HOST`, else `https://storage.googleapis.com`. Over plain HTTP no credentials are
//! sent: that is an emulator.

mod account;
mod bucket;
mod connect;
mod dirs;
mod failure;
mod get;
mod locks;
mod object;
mod session;
mod upload;

use super::body::gather;
use super::retry::Retries;
use super::{
    Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Protection, Removed,
    Result, Retain, RetryPolicy, Store, Upload,
};
use crate::model::{ObjectKey, StoreUrl, url::Location};
use async_trait::async_trait;
use bucket::Bucket;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use upload::GcsUpload;

/// A store in a bucket.
pub struct GcsStore {
    bucket: Arc<Bucket>,
    retries: Arc<Retries>,
}

impl GcsStore {
    /// The store at `url`, which must be a `gs://` one. Sends nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Tls`] when this host cannot check certificates; [`ErrorKind::Permanent`] when `STORAGE_EMULATOR_HOST` is no
    /// address.
    pub fn connect(url: &StoreUrl, retries: RetryPolicy) -> Result<GcsStore> {
        GcsStore::sharing(
            url,
            Arc::new(Retries::new(retries)),
            None,
            Protection::default(),
        )
    }

    /// The same, and new objects are protected.
    ///
    /// # Errors
    /// As [`GcsStore::connect`].
    pub fn connect_protecting(
        url: &StoreUrl,
        retries: RetryPolicy,
        protection: Protection,
    ) -> Result<GcsStore> {
        GcsStore::sharing(url, Arc::new(Retries::new(retries)), None, protection)
    }

    /// The same with retries that others take from too, with the service account whose key is in a file, and with new objects
    /// protected.
    ///
    /// # Errors
    /// As [`GcsStore::connect`].
    pub(super) fn sharing(
        url: &StoreUrl,
        retries: Arc<Retries>,
        credentials: Option<&Path>,
        protection: Protection,
    ) -> Result<GcsStore> {
        let name = url.to_string();
        let Location::Gcs { bucket, prefix } = &url.location else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "open",
                "the bucket",
                name,
            ));
        };
        let service = connect::connect(url.endpoint.as_deref(), credentials, &name)?;
        let mut bucket = Bucket::new(service, bucket.clone(), prefix, name);
        bucket.protection = protection;
        Ok(GcsStore {
            bucket: Arc::new(bucket),
            retries,
        })
    }
}

#[async_trait]
impl Store for GcsStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let sums = Checksums::of(&body);
        self.bucket.insert("create", key, body, &sums).await
    }

    async fn upload(&self, key: &ObjectKey, _size_hint: u64) -> Result<Box<dyn Upload>> {
        Ok(Box::new(GcsUpload::new(
            Arc::clone(&self.bucket),
            Arc::clone(&self.retries),
            key.clone(),
        )))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        gather(self, key, range).await
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.bucket.get_range(key, range, on_piece).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.bucket.get_all(key, max_bytes).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.bucket.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        self.bucket.list(prefix, after).await
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        self.bucket.list_dirs(prefix, max).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.bucket.delete(key).await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.bucket.keeping(key).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.bucket.remove_unkept(key).await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.bucket.retain(key, change).await
    }

    fn describe(&self) -> String {
        self.bucket.name().to_owned()
    }
}
