//! A store that tries again: the one retry layer, with nothing below it that retries too.
//!
//! Only what [`Error::is_transient`] names is tried again, after a pause drawn from zero to an exponentially growing
//! bound ("full jitter": many archivers that failed together do not come back together), and no earlier than the store asked
//! for. Attempts and time are bounded, and so are the retries of all calls together: a store that is down empties their
//! budget, and is then asked once per call (`retry/budget.rs`).
//!
//! Credentials that have expired are worth one more attempt, for which the store looks for new ones.
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

mod after;
mod budget;
mod policy;

pub(super) use after::retry_after;
pub use policy::RetryPolicy;

use super::{
    Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Outcome, Removed, Result,
    Retain, SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use budget::Budget;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause that a store's Retry-After is heeded for. One that wants more is waited for by the caller, with an alarm.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Attempts of a call that may find the credentials expired: the second has new ones, or there are none.
const EXPIRED_ATTEMPTS_MAX: u32 = 2;

/// Decorates a store with retries.
pub struct RetryStore {
    inner: SharedStore,
    retries: Arc<Retries>,
}

impl RetryStore {
    /// `inner` with retries as `policy` says.
    pub fn new(inner: SharedStore, policy: RetryPolicy) -> RetryStore {
        RetryStore::sharing(inner, Arc::new(Retries::new(policy)))
    }

    /// `inner` with retries that take from the budget that the store itself uses too.
    pub(super) fn sharing(inner: SharedStore, retries: Arc<Retries>) -> RetryStore {
        RetryStore { inner, retries }
    }
}

/// The policy, the budget and the randomness that all calls share.
pub(super) struct Retries {
    policy: RetryPolicy,
    budget: Budget,
    /// State of SplitMix64: a counter, so that it needs no lock.
    random: AtomicU64,
}

impl Retries {
    pub(super) fn new(policy: RetryPolicy) -> Retries {
        // Without a source of randomness archivers would pause alike, which is harmless.
        let seed = getrandom::u64().unwrap_or(0x5EED);
        Retries {
            policy,
            budget: Budget::full(),
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
                Ok(value) => {
                    course.answered();
                    return Ok(value);
                }
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
    expired: u32,
}

impl<'a> Course<'a> {
    pub(super) fn begin(retries: &'a Retries) -> Course<'a> {
        Course {
            retries,
            begun: Instant::now(),
            attempts: 0,
            expired: 0,
        }
    }

    /// The store has done what it was asked.
    pub(super) fn answered(&self) {
        self.retries.budget.give();
    }

    /// Waits before the next attempt, or gives `error` back when there shall be none.
    pub(super) async fn pause_or(&mut self, error: Error) -> Result<()> {
        self.attempts += 1;
        if error.is_not_found() || error.already_exists() {
            self.answered();
        }
        let policy = &self.retries.policy;
        if !error.is_transient() || self.attempts >= policy.attempts_max {
            return Err(error);
        }
        if error.kind == ErrorKind::Expired {
            self.expired += 1;
            if self.expired >= EXPIRED_ATTEMPTS_MAX {
                return Err(error);
            }
        }
        let asked_for = error.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        // On top of what was asked for, so that those who were told the same do not come back together.
        let pause = asked_for + self.retries.pause(self.attempts);
        if self.begun.elapsed() + pause >= policy.time_max {
            return Err(error);
        }
        if !self.retries.budget.take() {
            tracing::debug!(%error, "not tried again: the budget of retries is used up");
            return Err(error);
        }
        tracing::debug!(%error, attempt = self.attempts, pause_ms = pause.as_millis(), "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Repeats a conditional create that a store makes of an upload, until its outcome is certain or the retries are used up.
pub(super) async fn conclude<F>(
    retries: &Retries,
    mut attempt: impl FnMut() -> F + Send,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let mut course = Course::begin(retries);
    let mut lost: Option<Error> = None;
    loop {
        let Err(error) = attempt().await else {
            course.answered();
            return Ok(());
        };
        let error = still_unknown(&mut lost, error)?;
        course.pause_or(error).await?;
    }
}

/// The error of one more attempt at a create, of which `lost` is the last whose reply was lost.
///
/// # Errors
/// That one, when the attempt was told something certain: the one before may have done it, whatever this one was told.
pub(super) fn still_unknown(lost: &mut Option<Error>, error: Error) -> Result<Error> {
    match lost.take() {
        Some(before) if !error.is_transient() => Err(before),
        before => {
            *lost = match error.outcome {
                Outcome::Unknown => Some(error.again()),
                Outcome::NoEffect => before,
            };
            Ok(match lost {
                Some(_) => error.outcome_unknown(),
                None => error,
            })
        }
    }
}

#[async_trait]
impl Store for RetryStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let mut course = Course::begin(&self.retries);
        let mut may_be_ours = false;
        loop {
            match self.inner.create(key, body.clone()).await {
                Ok(()) => {
                    course.answered();
                    return Ok(());
                }
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

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let mut course = Course::begin(&self.retries);
        let mut at = range.start;
        loop {
            let mut given = 0;
            let mut give = |piece: Bytes| {
                given += piece.len() as u64;
                on_piece(piece);
            };
            // What has come is not asked for again.
            let get = self.inner.get_in_pieces(key, at..range.end, &mut give);
            match get.await {
                Ok(()) => {
                    course.answered();
                    return Ok(());
                }
                Err(error) => course.pause_or(error).await?,
            }
            at = (at + given).min(range.end);
        }
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

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        self.retries.run(|| self.inner.list_dirs(prefix, max)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.retries.run(|| self.inner.delete(key)).await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.retries.run(|| self.inner.keeping(key)).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.retries.run(|| self.inner.remove(key)).await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.retries.run(|| self.inner.retain(key, change)).await
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
