//! A store that tries again: the one retry layer, with nothing below it that retries too.
//!
//! Only what [`Error::is_transient`] names is tried again, after a pause drawn from zero to an exponentially growing
//! bound ("full jitter": many archivers that failed together do not come back together). Attempts and time are bounded.
//!
//! # When the outcome of a change is unknown
//! * `create` is tried again, and if the key is taken by then, the object there is compared with the body. Equal means
//!   that the first attempt made it. That holds because every body that goes through `create` is unique to its writer:
//!   `stream.json` carries a random id, a record its archiver and time, a page is the same whoever writes it.
//! * `commit` consumes its upload, so it cannot be repeated. The object's head is compared instead: its key is random, so
//!   an object of that size (and of those checksums, where the store keeps them) is ours. None there leaves the outcome
//!   unknown, since it may still appear: the caller uploads again under a new key and deletes the old one later.
//! * `delete` may be repeated.
//!
//! What only the store itself can repeat, such as one part of an upload, it repeats by the same policy.

use super::{
    Checksums, Error, ErrorKind, Listing, ObjectMeta, Outcome, Result, SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts_max: u32,
    /// Bound of the first pause; each later one is twice as long.
    pub pause_first: Duration,
    /// Bound of every pause.
    pub pause_max: Duration,
    /// Time after which no further attempt begins.
    pub time_max: Duration,
}

impl Default for RetryPolicy {
    /// Eight attempts within two minutes, some 13 seconds of pauses on average: a store's restart, not its outage. An
    /// outage is the caller's to wait out, with an alarm.
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts_max: 8,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(20),
            time_max: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The longest pause after `attempts` have failed.
    fn pause_bound(&self, attempts: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempts.saturating_sub(1));
        let bound = doubled.and_then(|factor| self.pause_first.checked_mul(factor));
        bound.unwrap_or(self.pause_max).min(self.pause_max)
    }
}

/// Decorates a store with retries.
pub struct RetryStore {
    inner: SharedStore,
    retries: Arc<Retries>,
}

impl RetryStore {
    /// `inner` with retries as `policy` says.
    pub fn new(inner: SharedStore, policy: RetryPolicy) -> RetryStore {
        RetryStore {
            inner,
            retries: Arc::new(Retries::new(policy)),
        }
    }
}

/// The policy and the randomness that all calls share.
pub(super) struct Retries {
    policy: RetryPolicy,
    /// State of SplitMix64: a counter, so that it needs no lock.
    random: AtomicU64,
}

impl Retries {
    pub(super) fn new(policy: RetryPolicy) -> Retries {
        // Without a source of randomness archivers would pause alike, which is harmless.
        let seed = getrandom::u64().unwrap_or(0x5EED);
        Retries {
            policy,
            random: AtomicU64::new(seed),
        }
    }

    fn random(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let n = self
            .random
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    }

    fn pause(&self, attempts: u32) -> Duration {
        let bound = self.policy.pause_bound(attempts);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.random() % (micros + 1))
    }

    /// Calls `attempt` until it succeeds, fails for good, or the policy says that it is enough.
    pub(super) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut course = Course::begin(self);
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => course.pause_or(error).await?,
            }
        }
    }
}

/// The attempts of one call.
pub(super) struct Course<'a> {
    retries: &'a Retries,
    begun: Instant,
    attempts: u32,
}

impl<'a> Course<'a> {
    pub(super) fn begin(retries: &'a Retries) -> Course<'a> {
        Course {
            retries,
            begun: Instant::now(),
            attempts: 0,
        }
    }

    /// Waits before the next attempt, or gives `error` back when there shall be none.
    pub(super) async fn pause_or(&mut self, error: Error) -> Result<()> {
        self.attempts += 1;
        let policy = &self.retries.policy;
        if !error.is_transient() || self.attempts >= policy.attempts_max {
            return Err(error);
        }
        let pause = self.retries.pause(self.attempts);
        if self.begun.elapsed() + pause >= policy.time_max {
            return Err(error);
        }
        tracing::debug!(%error, attempt = self.attempts, pause_ms = pause.as_millis(), "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[async_trait]
impl Store for RetryStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let mut course = Course::begin(&self.retries);
        let mut may_be_ours = false;
        loop {
            match self.inner.create(key, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) if error.already_exists() && may_be_ours => {
                    return match self.get_all(key, body.len() as u64).await {
                        Ok(found) if found == body => Ok(()),
                        Ok(_) => Err(error),
                        Err(other) if other.kind == ErrorKind::TooLarge => Err(error),
                        // Whose it was cannot be told.
                        Err(other) => Err(other.outcome_unknown()),
                    };
                }
                Err(mut error) => {
                    may_be_ours |= error.outcome == Outcome::Unknown;
                    if may_be_ours {
                        // A later attempt without effect does not undo an earlier one.
                        error.outcome = Outcome::Unknown;
                    }
                    course.pause_or(error).await?;
                }
            }
        }
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        let begin = || self.inner.upload(key, size_hint);
        let inner = self.retries.run(begin).await?;
        Ok(Box::new(RetryUpload {
            inner,
            key: key.clone(),
            store: self.inner.clone(),
            retries: self.retries.clone(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let get = || self.inner.get(key, range.clone());
        self.retries.run(get).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let get_all = || self.inner.get_all(key, max_bytes);
        self.retries.run(get_all).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.retries.run(|| self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let list = || self.inner.list(prefix, after);
        self.retries.run(list).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.retries.run(|| self.inner.delete(key)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct RetryUpload {
    inner: Box<dyn Upload>,
    key: ObjectKey,
    store: SharedStore,
    retries: Arc<Retries>,
}

#[async_trait]
impl Upload for RetryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        let RetryUpload {
            inner,
            key,
            store,
            retries,
        } = *self;
        let Err(error) = inner.commit(expected).await else {
            return Ok(());
        };
        if !error.is_transient() || error.outcome == Outcome::NoEffect {
            return Err(error);
        }
        match retries.run(|| store.head(&key)).await {
            Ok(meta) if meta.agrees_with(&expected) => Ok(()),
            Ok(_) => Err(
                Error::new(ErrorKind::BadDigest, "commit", &key, store.describe())
                    .because("the reply was lost, and the object there is another; delete it")
                    .outcome_unknown(),
            ),
            // Not there yet, or not to be found out.
            Err(_) => Err(error),
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests;
