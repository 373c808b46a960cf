//! The requests of the S3 API that a store needs, each once and without retries. Those of uploads in parts are in `multipart`.

use super::clients::Clients;
use super::failure::Failure;
use super::terms::Terms;
use crate::model::ObjectKey;
use crate::store::body::{Announced, Body};
use crate::store::{Error, ErrorKind, Listing, ObjectMeta, OnPiece, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::list_objects_v2::builders::ListObjectsV2FluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, ChecksumType};
use bytes::Bytes;

/// The condition of every create ("Conditional writes"): no object has the key.
pub(super) const NO_OBJECT: &str = "*";
/// The last byte that is ever asked for.
const LAST_BYTE_MAX: u64 = i64::MAX as u64 - 1;

/// A bucket, and the prefix in it below which a store's keys are.
pub(super) struct Bucket {
    clients: Clients,
    pub(super) terms: Terms,
    pub(super) bucket: String,
    /// Ends with a slash, or is empty.
    pub(super) prefix: String,
    name: String,
}

/// Sends a request whose body is in memory and carries its own checksum: over TLS its hash need not be signed as well.
macro_rules! send_body {
    ($self:ident, $request:expr) => {
        if $self.tls() {
            $request.customize().disable_payload_signing().send().await
        } else {
            $request.send().await
        }
    };
}

/// A request about the object at a key, of which the rest is still to be said.
macro_rules! about {
    ($self:ident, $request:ident, $key:expr) => {
        $self
            .client()
            .await?
            .$request()
            .bucket(&$self.bucket)
            .set_request_payer($self.terms.payer.clone())
            .key($self.full($key))
    };
}

/// A request that makes an object, of one piece or of parts, as the URL and the archiver want it kept.
macro_rules! on_terms {
    ($self:ident, $request:expr) => {{
        let (mode, until) = $self.terms.lock();
        $request
            .set_server_side_encryption($self.terms.encryption.clone())
            .set_ssekms_key_id($self.terms.kms_key.clone())
            .set_storage_class($self.terms.class.clone())
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .set_object_lock_legal_hold_status($self.terms.legal_hold())
    }};
}

pub(super) use {about, on_terms, send_body};

impl Bucket {
    pub(super) fn new(
        clients: Clients,
        terms: Terms,
        bucket: String,
        prefix: &str,
        name: String,
    ) -> Bucket {
        let separator = if prefix.is_empty() { "" } else { "/" };
        Bucket {
            clients,
            terms,
            bucket,
            prefix: format!("{prefix}{separator}"),
            name,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tls(&self) -> bool {
        self.clients.tls
    }

    pub(super) async fn client(&self) -> Result<Client> {
        self.clients.get(&self.name).await
    }

    pub(super) fn error(
        &self,
        kind: ErrorKind,
        verb: &'static str,
        key: impl std::fmt::Display,
    ) -> Error {
        Error::new(kind, verb, key, self.name.clone())
    }

    /// What the SDK reported, as this store's error.
    pub(super) fn failed<E>(
        &self,
        verb: &'static str,
        key: impl std::fmt::Display,
    ) -> impl FnOnce(SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let key = key.to_string();
        move |error| {
            let failure = Failure::of(&error);
            // Keys that are refused may have been exchanged, in the file that they came from.
            if matches!(failure.kind, ErrorKind::Expired | ErrorKind::Credentials) {
                self.clients.expire();
            }
            let permission = match failure.kind {
                ErrorKind::Denied => format!("; needed is {}", permission_for(verb)),
                _ => String::new(),
            };
            let cause = failure.cause + &permission;
            let mut error = self.error(failure.kind, verb, key).because(cause);
            error.outcome = failure.outcome;
            error.not_before(failure.retry_after)
        }
    }

    pub(super) fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// PutObject, iff there is no such object.
    pub(super) async fn put(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        body: Bytes,
        crc64nvme: u64,
    ) -> Result<()> {
        let request = on_terms!(self, about!(self, put_object, key))
            .if_none_match(NO_OBJECT)
            // A request that locks must say so; the value alone is not enough for every server.
            .set_checksum_algorithm(self.terms.locks().then_some(ChecksumAlgorithm::Crc64Nvme))
            .checksum_crc64_nvme(crc_text(crc64nvme))
            .body(in_memory(body));
        send_body!(self, request)
            .map(drop)
            .map_err(self.failed(verb, key))
    }

    /// GetObject of `range`, which is not empty.
    pub(super) async fn get_range(
        &self,
        key: &ObjectKey,
        range: std::ops::Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let expected = range.end - range.start;
        let found = about!(self, get_object, key)
            // Servers refuse numbers that no object can have as malformed.
            .range(format!(
                "bytes={}-{}",
                range.start,
                (range.end - 1).min(LAST_BYTE_MAX)
            ))
            .send()
            .await
            .map_err(self.failed("get", key))?;
        let length = found.content_length.and_then(|len| u64::try_from(len).ok());
        let begins = format!("bytes {}-", range.start);
        let asked_for = match &found.content_range {
            Some(range) => range.starts_with(&begins),
            // The whole object is right where it is what was asked for.
            None => range.start == 0 && length == Some(expected),
        };
        match length {
            Some(length) if asked_for && length < expected => {
                Err(self.error(ErrorKind::Truncated, "get", key))
            }
            Some(length) if asked_for && length == expected => {
                self.read_body("get", key, found.body, expected, on_piece)
                    .await
            }
            _ => Err(self
                .error(ErrorKind::Unsupported, "get", key)
                .because("the server does not answer with the range that was asked for")),
        }
    }

    /// GetObject of all of it.
    pub(super) async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let found = about!(self, get_object, key)
            .send()
            .await
            .map_err(self.failed("get_all", key))?;
        let length = found.content_length.and_then(|len| u64::try_from(len).ok());
        match length {
            Some(length) if length <= max_bytes => {
                let mut body = Body::of(length);
                let mut gather = |piece: Bytes| body.push(&piece);
                self.read_body("get_all", key, found.body, length, &mut gather)
                    .await?;
                Ok(body.whole())
            }
            Some(_) => Err(self.error(ErrorKind::TooLarge, "get_all", key)),
            None => Err(self
                .error(ErrorKind::Unsupported, "get_all", key)
                .because("the server does not say how long the object is")),
        }
    }

    /// A body of exactly `length` bytes.
    async fn read_body(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        mut stream: ByteStream,
        length: u64,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let cut_off = |why: String| self.error(ErrorKind::Transient, verb, key).because(why);
        let mut announced = Announced::of(length);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| cut_off(format!("the body was cut off: {error}")))?;
            announced.count(&piece).map_err(cut_off)?;
            on_piece(piece);
        }
        announced.end().map_err(cut_off)
    }

    /// HeadObject. To be asked for checksums, S3 wants `kms:Decrypt` where a key of KMS is used.
    pub(super) async fn described(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        checksums: Option<ChecksumMode>,
    ) -> Result<HeadObjectOutput> {
        about!(self, head_object, key)
            .set_checksum_mode(checksums)
            .send()
            .await
            .map_err(self.failed(verb, key))
    }

    /// How long an object is, and its checksums.
    pub(super) async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let checksums = Some(ChecksumMode::Enabled);
        let found = self.described("head", key, checksums).await?;
        let Some(size) = found.content_length.and_then(|len| u64::try_from(len).ok()) else {
            return Err(self
                .error(ErrorKind::Unsupported, "head", key)
                .because("the server does not say how long the object is"));
        };
        // A composite checksum is one of the parts' checksums.
        let whole = found.checksum_type.as_ref() != Some(&ChecksumType::Composite);
        Ok(ObjectMeta {
            size,
            crc32c: found
                .checksum_crc32_c
                .as_deref()
                .filter(|_| whole)
                .and_then(crc_of::<4>)
                .map(u32::from_be_bytes),
            crc64nvme: found
                .checksum_crc64_nvme
                .as_deref()
                .filter(|_| whole)
                .and_then(crc_of::<8>)
                .map(u64::from_be_bytes),
        })
    }

    /// ListObjectsV2 of the keys that begin with `prefix`.
    pub(super) async fn listing(&self, prefix: &str) -> Result<ListObjectsV2FluentBuilder> {
        let client = self.client().await?;
        Ok(client
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_request_payer(self.terms.payer.clone())
            .prefix(format!("{}{prefix}", self.prefix)))
    }

    /// ListObjectsV2, one page that has a key of ours unless there is none.
    pub(super) async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let mut start_after = after.map(|key| self.full(key));
        loop {
            let page = self
                .listing(prefix)
                .await?
                .set_start_after(start_after.take())
                .send()
                .await
                .map_err(self.failed("list", prefix))?;
            let more = page.is_truncated.unwrap_or(false);
            let contents = page.contents.unwrap_or_default();
            start_after = contents.last().and_then(|object| object.key.clone());
            let objects: Vec<_> = contents
                .into_iter()
                .filter_map(|object| {
                    let size = object.size.and_then(|size| u64::try_from(size).ok())?;
                    let key = object.key?.strip_prefix(&self.prefix)?.parse().ok()?;
                    Some((key, size))
                })
                .collect();
            // A page of foreign names only is no page; without a name to go on from, the listing is over.
            if !objects.is_empty() || !more || start_after.is_none() {
                let more = more && !objects.is_empty();
                return Ok(Listing { objects, more });
            }
        }
    }

    /// DeleteObject.
    pub(super) async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let deleted = about!(self, delete_object, key)
            .send()
            .await
            .map(drop)
            .map_err(self.failed("delete", key));
        match deleted {
            // Some servers say that there was none.
            Err(error) if error.is_not_found() => Ok(()),
            deleted => deleted,
        }
    }
}

/// What the account must be allowed ("Actions, resources, and condition keys for Amazon S3").
fn permission_for(verb: &str) -> &'static str {
    match verb {
        "create" | "upload" | "commit" => {
            "s3:PutObject, and for locks s3:PutObjectRetention and s3:PutObjectLegalHold"
        }
        "abort" => "s3:AbortMultipartUpload",
        "list" => "s3:ListBucket",
        "delete" => "s3:DeleteObject",
        "remove" => {
            "s3:DeleteObject, and s3:DeleteObjectVersion where the bucket keeps versions; or the object is locked, which is not told \
             without s3:GetObjectRetention and s3:GetObjectLegalHold"
        }
        "retain" => {
            "s3:PutObjectRetention and s3:PutObjectLegalHold, and s3:BypassGovernanceRetention where governance becomes compliance"
        }
        // Without the right to list, S3 does not tell who may not read from what does not exist.
        _ => "s3:GetObject, and s3:ListBucket, without which S3 denies what does not exist",
    }
}

/// A body that the SDK sends as it is, with its length, and not in signed chunks, which not every server takes.
pub(super) fn in_memory(body: Bytes) -> ByteStream {
    ByteStream::new(SdkBody::from(body))
}

/// A CRC as headers carry it: base64 of its bytes, most significant first.
pub(super) fn crc_text(crc: u64) -> String {
    aws_smithy_types::base64::encode(crc.to_be_bytes())
}

fn crc_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    aws_smithy_types::base64::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_written_as_the_api_reference_does() {
        // "123456789" has the CRC-64/NVME ae8b14860a799888.
        assert_eq!(crc_text(0xae8b_1486_0a79_9888), "rosUhgp5mIg=");
        assert_eq!(
            crc_of::<8>("rosUhgp5mIg=").map(u64::from_be_bytes),
            Some(0xae8b_1486_0a79_9888)
        );
        assert_eq!(crc_of::<4>("rosUhgp5mIg="), None);
        assert_eq!(crc_of::<8>("rosUhgp5mIg=-2"), None, "of parts");
    }
}
