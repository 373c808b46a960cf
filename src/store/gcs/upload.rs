//! An object that streams into a bucket: whole in one request if it is small, else through a resumable session.
//!
//! # Memory
//! One chunk is gathered while another is sent. A session takes one at a time.
//!
//! # Retries
//! After a chunk whose reply was lost, or that failed in the middle, the server is asked what it holds, and the rest is sent. So
//! nothing is sent twice that arrived, and a session that the server completed is found completed. A small object goes by a
//! conditional create, which may be repeated: what the repetition is answered then says nothing, and whether the object is ours is
//! found out by its head, which [`crate::store::RetryStore`] does for every store.

use super::bucket::Bucket;
use super::object::Object;
use super::session::{Chunk, Progress};
use crate::model::ObjectKey;
use crate::store::gathered::Gathered;
use crate::store::retry::{Course, Retries, conclude, still_unknown};
use crate::store::{ChecksumHasher, Checksums, Error, ErrorKind, Outcome, Result, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Url;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Bytes of a chunk, and of the largest object that goes in one request. The API wants multiples of 256 KiB.
const CHUNK_BYTES: u64 = 8 << 20;

pub(super) struct GcsUpload {
    bucket: Arc<Bucket>,
    retries: Arc<Retries>,
    key: ObjectKey,
    sums: ChecksumHasher,
    gathered: Gathered,
    /// Set once the object is too large for one request.
    session: Option<Session>,
    failed: Option<Error>,
}

/// An object that goes through a session.
struct Session {
    address: Url,
    /// Bytes handed to `sending` so far.
    begun: u64,
    /// One at a time: where a chunk goes depends on how far the one before has come.
    sending: JoinSet<Result<()>>,
}

impl GcsUpload {
    pub(super) fn new(bucket: Arc<Bucket>, retries: Arc<Retries>, key: ObjectKey) -> GcsUpload {
        GcsUpload {
            bucket,
            retries,
            key,
            sums: ChecksumHasher::default(),
            gathered: Gathered::in_blocks(CHUNK_BYTES),
            session: None,
            failed: None,
        }
    }

    /// Sends whole chunks of what is gathered. The last is kept back, however large: only `commit` knows that it is the last.
    async fn send(&mut self) -> Result<()> {
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                let begin = || self.bucket.begin_session(&self.key);
                let address = self.retries.run(begin).await?;
                none.insert(Session {
                    address,
                    begun: 0,
                    sending: JoinSet::new(),
                })
            }
        };
        while self.gathered.len() > CHUNK_BYTES {
            session.settle(&self.bucket, &self.key).await?;
            let chunk = Chunk {
                at: session.begun,
                bytes: self.gathered.take(CHUNK_BYTES),
                ends: None,
            };
            session.begun += CHUNK_BYTES;
            let (bucket, retries) = (Arc::clone(&self.bucket), Arc::clone(&self.retries));
            let (key, address) = (self.key.clone(), session.address.clone());
            session.sending.spawn(async move {
                let sending = Sending {
                    bucket: &bucket,
                    key: &key,
                    session: &address,
                    verb: "upload",
                };
                sending.run(&retries, chunk).await.map(drop)
            });
        }
        Ok(())
    }

    async fn commit_whole(&mut self, expected: Checksums) -> Result<()> {
        let body = self.gathered.take(u64::MAX);
        let (bucket, key) = (&self.bucket, &self.key);
        conclude(&self.retries, || {
            bucket.insert("commit", key, body.clone(), &expected)
        })
        .await
    }

    async fn commit_session(&mut self, expected: Checksums) -> Result<()> {
        let Some(session) = &mut self.session else {
            unreachable!("send has begun the session");
        };
        session.settle(&self.bucket, &self.key).await?;
        let last = Chunk {
            at: session.begun,
            bytes: self.gathered.take(u64::MAX),
            ends: Some((expected.size, expected.crc32c)),
        };
        let sending = Sending {
            bucket: &self.bucket,
            key: &self.key,
            session: &session.address,
            verb: "commit",
        };
        match sending.run(&self.retries, last).await? {
            Some(made) => {
                let (bucket, key) = (&self.bucket, &self.key);
                bucket.check("commit", key, &made, &expected).await
            }
            None => Err(self
                .bucket
                .error(ErrorKind::Unsupported, "commit", &self.key)
                .because("the server does not say what it made")
                .outcome_unknown()),
        }
    }

    /// Gives up what was sent. A session that cannot be given up now ends after a week.
    async fn discard(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take() else {
            return Ok(());
        };
        session.sending.shutdown().await;
        let end = || self.bucket.end_session(&self.key, &session.address);
        match self.retries.run(end).await {
            Err(error) if error.is_not_found() => Ok(()),
            ended => ended,
        }
    }
}

impl Session {
    /// Waits for the chunk on its way.
    async fn settle(&mut self, bucket: &Bucket, key: &ObjectKey) -> Result<()> {
        while let Some(ended) = self.sending.join_next().await {
            ended.unwrap_or_else(|error| {
                Err(bucket
                    .error(ErrorKind::Permanent, "upload", key)
                    .because(error))
            })?;
        }
        Ok(())
    }
}

/// A chunk on its way into a session.
struct Sending<'a> {
    bucket: &'a Bucket,
    key: &'a ObjectKey,
    session: &'a Url,
    verb: &'static str,
}

impl Sending<'_> {
    /// Sends `chunk`, and again what did not arrive of it; the object, if the chunk was its last.
    async fn run(&self, retries: &Retries, chunk: Chunk) -> Result<Option<Object>> {
        let end = chunk.at + chunk.bytes.len() as u64;
        let mut course = Course::begin(retries);
        let mut lost: Option<Error> = None;
        // What the server holds; nothing while that is to be asked.
        let mut held = Some(chunk.at);
        loop {
            let asking = held.is_none();
            let at = held.unwrap_or(end);
            let rest = Chunk {
                at,
                bytes: chunk.bytes.slice((at - chunk.at) as usize..),
                ends: chunk.ends,
            };
            let sent = self
                .bucket
                .put_chunk(self.verb, self.key, self.session, &rest)
                .await;
            let error = match sent {
                Ok(Progress::Made(object)) if chunk.ends.is_some() => {
                    course.answered();
                    return Ok(Some(object));
                }
                Ok(Progress::Made(_)) => {
                    return Err(self.confused("it made an object before the last chunk"));
                }
                Ok(Progress::Holds(n)) if n < chunk.at || n > end => {
                    return Err(self.confused("it holds other bytes than it was sent"));
                }
                Ok(Progress::Holds(n)) if n == end && chunk.ends.is_none() => {
                    course.answered();
                    return Ok(None);
                }
                Ok(Progress::Holds(n)) => {
                    held = Some(n);
                    if asking || n > at {
                        continue;
                    }
                    self.bucket
                        .error(ErrorKind::Transient, self.verb, self.key)
                        .because("the server took nothing of the chunk")
                }
                Err(error) => {
                    held = None;
                    error
                }
            };
            let error = match chunk.ends {
                Some(_) => still_unknown(&mut lost, error)?,
                None => error,
            };
            course.pause_or(error).await?;
        }
    }

    /// A server that does not keep to the protocol: whoever uploads begins again, under another key.
    fn confused(&self, why: &str) -> Error {
        self.bucket
            .error(ErrorKind::Permanent, self.verb, self.key)
            .because(format!(
                "the server's account of the upload is wrong: {why}"
            ))
            .outcome_unknown()
    }
}

#[async_trait]
impl Upload for GcsUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.again());
        }
        self.sums.update(&bytes);
        self.gathered.push(&bytes);
        drop(bytes);
        if self.gathered.len() <= CHUNK_BYTES {
            return Ok(());
        }
        self.send().await.inspect_err(|error| {
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
        } else if self.session.is_none() {
            self.commit_whole(expected).await
        } else {
            self.commit_session(expected).await
        };
        if let Err(error) = &committed
            && error.outcome == Outcome::NoEffect
        {
            // The first error is the one to report; the session ends after a week at the latest.
            let _ = self.discard().await;
        }
        committed
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.discard().await
    }
}
