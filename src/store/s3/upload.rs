//! An object that streams into a bucket: whole in one request if it is small, else in parts.
//!
//! # Memory
//! One part is gathered while [`PARTS_IN_FLIGHT`] are sent. Whoever writes waits for the oldest, so nothing else piles up.
//!
//! # Retries
//! A part may be sent again, since the last of a number counts; so may a conditional create that had no effect. One whose reply
//! was lost may be repeated too, but what the repetition is answered then says nothing: whether the object is ours is found out
//! by its head, which [`crate::store::RetryStore`] does for every store.

use super::bucket::Bucket;
use super::parts::{first_bytes, part_bytes};
use crate::model::ObjectKey;
use crate::store::gathered::Gathered;
use crate::store::retry::{Retries, conclude};
use crate::store::{ChecksumHasher, Checksums, Error, ErrorKind, Outcome, Result, Upload};
use async_trait::async_trait;
use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Parts sent at the same time by one upload. One is enough to be sending while the next is gathered, and another file is in
/// flight as well (`--transfers`); a second took 24 MiB more of a database host, which then had 116 MiB resident.
const PARTS_IN_FLIGHT: usize = 1;

pub(super) struct S3Upload {
    bucket: Arc<Bucket>,
    retries: Arc<Retries>,
    key: ObjectKey,
    size_hint: u64,
    sums: ChecksumHasher,
    gathered: Gathered,
    /// Set once the object is too large for one request.
    parts: Option<Parts>,
    failed: Option<Error>,
}

/// An object that goes in parts.
struct Parts {
    upload_id: String,
    begun: u64,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl S3Upload {
    pub(super) fn new(
        bucket: Arc<Bucket>,
        retries: Arc<Retries>,
        key: ObjectKey,
        size_hint: u64,
    ) -> S3Upload {
        S3Upload {
            bucket,
            retries,
            key,
            size_hint,
            sums: ChecksumHasher::default(),
            gathered: Gathered::in_blocks(first_bytes(size_hint)),
            parts: None,
            failed: None,
        }
    }

    /// Sends what is gathered, as far as it fills parts; the rest too if `all`.
    async fn send(&mut self, all: bool) -> Result<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let begin = || self.bucket.begin_parts(&self.key);
                let upload_id = self.retries.run(begin).await?;
                none.insert(Parts {
                    upload_id,
                    begun: 0,
                    sending: JoinSet::new(),
                    sent: Vec::new(),
                })
            }
        };
        loop {
            let bytes = part_bytes(self.size_hint, parts.begun + 1);
            if self.gathered.len() < bytes && !(all && self.gathered.len() > 0) {
                return Ok(());
            }
            if parts.sending.len() >= PARTS_IN_FLIGHT {
                parts.settle_one(&self.bucket, &self.key).await?;
            }
            let body = self.gathered.take(bytes);
            parts.send(&self.bucket, &self.retries, &self.key, body)?;
        }
    }

    async fn commit_whole(&mut self, expected: Checksums) -> Result<()> {
        let body = self.gathered.take(u64::MAX);
        let (bucket, key) = (&self.bucket, &self.key);
        conclude(&self.retries, || {
            bucket.put("commit", key, body.clone(), expected.crc64nvme)
        })
        .await
    }

    async fn commit_parts(&mut self, expected: Checksums) -> Result<()> {
        self.send(true).await?;
        let Some(parts) = &mut self.parts else {
            unreachable!("send has begun the parts");
        };
        while !parts.sending.is_empty() {
            parts.settle_one(&self.bucket, &self.key).await?;
        }
        parts.sent.sort_by_key(|part| part.part_number);
        let (bucket, key) = (&self.bucket, &self.key);
        conclude(&self.retries, || {
            bucket.complete_parts(key, &parts.upload_id, parts.sent.clone(), expected)
        })
        .await
    }

    /// Removes the parts that were sent. What cannot be removed now, `delete` removes later.
    async fn discard(&mut self) -> Result<()> {
        let Some(mut parts) = self.parts.take() else {
            return Ok(());
        };
        // A part that is still on its way when the upload is aborted would be kept, and paid for.
        parts.sending.shutdown().await;
        let abort = || self.bucket.abort_parts(&self.key, &parts.upload_id);
        match self.retries.run(abort).await {
            Err(error) if error.is_not_found() => Ok(()),
            aborted => aborted,
        }
    }
}

impl Parts {
    /// Begins to send the next part.
    fn send(
        &mut self,
        bucket: &Arc<Bucket>,
        retries: &Arc<Retries>,
        key: &ObjectKey,
        body: Bytes,
    ) -> Result<()> {
        self.begun += 1;
        // S3 refuses part 10 001 itself; what does not fit its type never gets there.
        let number = i32::try_from(self.begun).map_err(|_| {
            bucket
                .error(ErrorKind::TooLarge, "upload", key)
                .because("more parts than S3 takes")
        })?;
        let (bucket, retries) = (Arc::clone(bucket), Arc::clone(retries));
        let (key, upload_id) = (key.clone(), self.upload_id.clone());
        self.sending.spawn(async move {
            let put = || bucket.put_part(&key, &upload_id, number, body.clone());
            retries.run(put).await
        });
        Ok(())
    }

    /// Waits for one of the parts on their way.
    async fn settle_one(&mut self, bucket: &Bucket, key: &ObjectKey) -> Result<()> {
        if let Some(ended) = self.sending.join_next().await {
            let part = ended.unwrap_or_else(|error| {
                Err(bucket
                    .error(ErrorKind::Permanent, "upload", key)
                    .because(error))
            })?;
            self.sent.push(part);
        }
        Ok(())
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.again());
        }
        self.sums.update(&bytes);
        self.gathered.push(&bytes);
        drop(bytes);
        if self.parts.is_none() && self.gathered.len() <= first_bytes(self.size_hint) {
            return Ok(());
        }
        self.send(false).await.inspect_err(|error| {
            self.failed = Some(error.again());
        })
    }

    async fn commit(mut self: Box<Self>, expected: Checksums) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.again());
        }
        let found = self.sums.finish();
        let committed = if found != expected {
            Err(self
                .bucket
                .error(ErrorKind::BadDigest, "commit", &self.key)
                .because(format!("received {found:?}, expected {expected:?}")))
        } else if self.parts.is_none() {
            self.commit_whole(expected).await
        } else {
            self.commit_parts(expected).await
        };
        if let Err(error) = &committed
            && error.outcome == Outcome::NoEffect
        {
            // The first error is the one to report; `delete` finds what stays.
            let _ = self.discard().await;
        }
        committed
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.discard().await
    }
}
