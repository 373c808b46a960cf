//! A store in an S3 bucket, or in anything that speaks its API.
//!
//! | verb | requests (Amazon S3 API) |
//! |---|---|
//! | `create` | PutObject with `If-None-Match: *` and its CRC-64/NVME |
//! | `upload` | up to 16 MiB the same; above: CreateMultipartUpload, UploadPart with a CRC each, CompleteMultipartUpload with `If-None-Match: *`, the CRC of the whole object and its size |
//! | `get`, `get_all` | GetObject, with `Range` for a part |
//! | `head` | HeadObject with checksums |
//! | `list`, `list_dirs` | ListObjectsV2 with `start-after`, or with a delimiter |
//! | `keeping` | HeadObject: the headers of Object Lock |
//! | `remove` | HeadObject, DeleteObject of the version that it tells |
//! | `retain` | PutObjectRetention, PutObjectLegalHold; for compliance HeadObject before them |
//! | `delete` | DeleteObject, and ListMultipartUploads with AbortMultipartUpload for what unfinished uploads left |
//!
//! Bodies go out from memory with plain headers, never in aws-chunked form with trailers, which not every server takes. The SDK's
//! own retries are off. Parts are sent again here, by the policy that the retry decorator has too, because nobody above can.
//!
//! # What the URL asks for
//! `storage_class`, `sse` and `sse_kms_key` go with PutObject and CreateMultipartUpload, and hold for every object of the stream,
//! its small ones too. Reading and writing with a key of KMS needs `kms:Decrypt` and `kms:GenerateDataKey` for that key.
//! `requester_pays` goes with every request. The options are in [`crate::model::url`].
//!
//! # Locks
//! An archiver that is told to lock (`object_lock`, `legal_hold`) says so in PutObject and CreateMultipartUpload, which needs a bucket
//! made with Object Lock. Such a bucket keeps versions, and DeleteObject without a version *succeeds* for a locked object: it makes a
//! delete marker, behind which the object is hidden and paid for. So `remove` names the version: S3 refuses while it is locked.
//!
//! # Credentials that expire
//! Whoever has temporary credentials may see them expire in the middle of an upload. An answer that says so (ExpiredToken) makes
//! the next attempt look for new ones, where they came from; parts that were sent stay.
//!
//! # What a server may lack
//! * The condition: some servers ignore it and overwrite. [`crate::stream::create`] proves it before anything is archived.
//! * ListMultipartUploads, or the permission for it: parts of uploads that were killed then stay until a lifecycle rule
//!   (`AbortIncompleteMultipartUpload`) removes them.
//! * The permission to list: S3 then answers 403 for objects that do not exist, and nothing works; the error says so.

mod bucket;
mod clients;
mod connect;
mod dirs;
mod failure;
mod locks;
mod multipart;
mod parts;
mod terms;
mod upload;

use super::body::gather;
use super::retry::Retries;
use super::{
    Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Protection, Removed, Result, Retain,
    RetryPolicy, Store, Upload,
};
use crate::model::{ObjectKey, StoreUrl, url::Location};
use async_trait::async_trait;
use aws_sdk_s3::config::Credentials;
use bucket::Bucket;
use bytes::Bytes;
use clients::Clients;
use connect::{Options, Who};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use terms::Terms;
use upload::S3Upload;

/// A store in a bucket.
pub struct S3Store {
    bucket: Arc<Bucket>,
    retries: Arc<Retries>,
}

impl S3Store {
    /// The store at `url`, which must be an `s3://` one. Sends nothing yet, except what credentials and region need.
    ///
    /// # Errors
    /// [`ErrorKind::WrongRegion`] when none is known, [`ErrorKind::Tls`] when this host cannot check certificates.
    pub async fn connect(url: &StoreUrl, retries: RetryPolicy) -> Result<S3Store> {
        let protection = Protection::default();
        S3Store::sharing(url, Arc::new(Retries::new(retries)), None, protection).await
    }

    /// The same with retries that others take from too, and with the credentials in a file.
    ///
    /// # Errors
    /// As [`S3Store::connect`].
    pub(super) async fn sharing(
        url: &StoreUrl,
        retries: Arc<Retries>,
        credentials: Option<&Path>,
        protection: Protection,
    ) -> Result<S3Store> {
        let who = credentials.map_or(Who::Environment, |path| Who::File(path.to_owned()));
        S3Store::connect_with(url, retries, who, protection).await
    }

    /// The same with an access key and its secret instead of the credentials that the environment has.
    ///
    /// # Errors
    /// As [`S3Store::connect`].
    pub async fn connect_as(
        url: &StoreUrl,
        retries: RetryPolicy,
        access_key: &str,
        secret_key: &str,
    ) -> Result<S3Store> {
        let none = Protection::default();
        S3Store::connect_protecting(url, retries, (access_key, secret_key), none).await
    }

    /// The same, and new objects are protected.
    ///
    /// # Errors
    /// As [`S3Store::connect`].
    pub async fn connect_protecting(
        url: &StoreUrl,
        retries: RetryPolicy,
        (access_key, secret_key): (&str, &str),
        protection: Protection,
    ) -> Result<S3Store> {
        let credentials = Credentials::new(access_key, secret_key, None, None, "given");
        let who = Who::Given(credentials);
        S3Store::connect_with(url, Arc::new(Retries::new(retries)), who, protection).await
    }

    async fn connect_with(
        url: &StoreUrl,
        retries: Arc<Retries>,
        who: Who,
        protection: Protection,
    ) -> Result<S3Store> {
        let name = url.to_string();
        let Location::S3 { bucket, prefix } = &url.location else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "open",
                "the bucket",
                name,
            ));
        };
        let options = Options {
            endpoint: url.endpoint.clone(),
            region: url.region.clone(),
            path_style: url.path_style,
            profile: url.s3.profile.clone(),
            who,
        };
        let clients = Clients::connect(options, &name).await?;
        let terms = Terms::of(&url.s3, protection);
        let bucket = Bucket::new(clients, terms, bucket.clone(), prefix, name);
        Ok(S3Store {
            bucket: Arc::new(bucket),
            retries,
        })
    }

    /// Removes what unfinished uploads to `key` left, as far as the server lets us look.
    async fn abort_unfinished(&self, key: &ObjectKey) -> Result<()> {
        let ids = match self.bucket.unfinished(key).await {
            Err(error) if matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Denied) => {
                tracing::debug!(%error, "parts of unfinished uploads stay until a lifecycle rule removes them");
                return Ok(());
            }
            found => found?,
        };
        for id in ids {
            match self.bucket.abort_parts(key, &id).await {
                Err(error) if error.is_not_found() => {}
                aborted => aborted?,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for S3Store {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let crc64nvme = super::Checksums::of(&body).crc64nvme;
        self.bucket.put("create", key, body, crc64nvme).await
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload::new(
            Arc::clone(&self.bucket),
            Arc::clone(&self.retries),
            key.clone(),
            size_hint,
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
        self.abort_unfinished(key).await?;
        self.bucket.delete(key).await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        Ok(self.bucket.version("keeping", key).await?.keeping)
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.bucket.remove(key).await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.bucket.retain(key, change).await
    }

    fn describe(&self) -> String {
        self.bucket.name().to_owned()
    }
}
