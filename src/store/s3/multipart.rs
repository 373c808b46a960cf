//! The requests of an upload in parts, each once and without retries.

use super::bucket::{Bucket, NO_OBJECT, about, crc_text, in_memory, on_terms, send_body};
use crate::model::ObjectKey;
use crate::store::{Checksums, ErrorKind, Result};
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

/// Unfinished uploads to one key that are looked for: a key is used once, so there is one, or none.
const UPLOADS_MAX: i32 = 100;

impl Bucket {
    /// CreateMultipartUpload: the id of the upload.
    pub(super) async fn begin_parts(&self, key: &ObjectKey) -> Result<String> {
        let begun = on_terms!(self, about!(self, create_multipart_upload, key))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .send()
            .await
            .map_err(self.failed("upload", key))?;
        begun.upload_id.ok_or_else(|| {
            self.error(ErrorKind::Permanent, "upload", key)
                .because("the server gave no upload id; is this an S3 endpoint?")
        })
    }

    /// UploadPart.
    pub(super) async fn put_part(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        number: i32,
        body: Bytes,
    ) -> Result<CompletedPart> {
        let crc = crc_text(Checksums::of(&body).crc64nvme);
        let request = about!(self, upload_part, key)
            .upload_id(upload_id)
            .part_number(number)
            .checksum_crc64_nvme(&crc)
            .body(in_memory(body));
        let sent = send_body!(self, request).map_err(self.failed("upload", key))?;
        Ok(CompletedPart::builder()
            .set_e_tag(sent.e_tag)
            .checksum_crc64_nvme(crc)
            .part_number(number)
            .build())
    }

    /// CompleteMultipartUpload, iff there is no such object and its size and CRC are `expected`'s.
    pub(super) async fn complete_parts(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: Vec<CompletedPart>,
        expected: Checksums,
    ) -> Result<()> {
        about!(self, complete_multipart_upload, key)
            .upload_id(upload_id)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .if_none_match(NO_OBJECT)
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(crc_text(expected.crc64nvme))
            .set_mpu_object_size(i64::try_from(expected.size).ok())
            .send()
            .await
            .map(drop)
            .map_err(self.failed("commit", key))
    }

    /// AbortMultipartUpload.
    pub(super) async fn abort_parts(&self, key: &ObjectKey, upload_id: &str) -> Result<()> {
        about!(self, abort_multipart_upload, key)
            .upload_id(upload_id)
            .send()
            .await
            .map(drop)
            .map_err(self.failed("abort", key))
    }

    /// ListMultipartUploads: the ids of the unfinished uploads to `key`.
    pub(super) async fn unfinished(&self, key: &ObjectKey) -> Result<Vec<String>> {
        let full = self.full(key);
        let listed = self
            .client()
            .await?
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .set_request_payer(self.terms.payer.clone())
            .prefix(&full)
            .max_uploads(UPLOADS_MAX)
            .send()
            .await
            .map_err(self.failed("delete", key))?;
        let uploads = listed.uploads.unwrap_or_default().into_iter();
        Ok(uploads
            .filter(|upload| upload.key.as_ref() == Some(&full))
            .filter_map(|upload| upload.upload_id)
            .collect())
    }
}
