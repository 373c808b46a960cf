//! A store that is left alone while it is down: the circuit breaker of one archiver.
//!
//! ```text
//!            failures_to_open calls in a row fail
//!   closed ─────────────────────────────────────► open ◄────────────┐
//!     ▲                                            │ pause is over   │ it fails: a pause twice as long
//!     │            it succeeds                     ▼                 │
//!     └───────────────────────────────────────  half open ───────────┘
//!                                            one call is let through
//! ```
//! It stands outside of the retries, so one of its failures is a call that was tried again and again already. While it is
//! open, calls fail at once with [`ErrorKind::BreakerOpen`] and nothing is sent. Only failures of the store as a whole count:
//! a missing object, a refused permission or a taken key is an answer of a store that works.

use super::{
    Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Removed, Result, Retain,
    SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When to leave a store alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Calls that fail in a row before it opens.
    pub failures_to_open: u32,
    /// The first pause; each later one of the same outage is twice as long.
    pub pause_first: Duration,
    /// Bound of every pause.
    pub pause_max: Duration,
}

impl Default for BreakerPolicy {
    /// Two calls, each tried for up to two minutes: a store that is gone, not one that restarts. The longest pause is what a
    /// recovered store may wait for its archiver.
    fn default() -> BreakerPolicy {
        BreakerPolicy {
            failures_to_open: 2,
            pause_first: Duration::from_secs(15),
            pause_max: Duration::from_secs(300),
        }
    }
}

/// What a breaker does with the next call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Lets it through.
    #[default]
    Closed,
    /// Refuses it.
    Open,
    /// Lets one through, and decides by it.
    HalfOpen,
}

impl BreakerState {
    /// All there are.
    pub const ALL: [BreakerState; 3] = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
    ];

    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one store, shared by whoever uses it and whoever shows it.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Failed calls since the last one that succeeded.
    failures: u32,
    /// Set while open or half open.
    outage: Option<Outage>,
    openings: u64,
}

#[derive(Debug)]
struct Outage {
    until: Instant,
    pause: Duration,
    /// The one call of a half-open breaker is under way.
    trying: bool,
}

/// A call that was let through. Dropped unanswered (the caller went away), it decides nothing.
struct Permit<'a> {
    breaker: &'a Breaker,
    answered: bool,
}

impl Breaker {
    /// A closed one.
    pub fn new(policy: BreakerPolicy) -> Breaker {
        Breaker {
            policy,
            inner: Mutex::default(),
        }
    }

    /// What it does now.
    pub fn state(&self) -> BreakerState {
        match &self.lock().outage {
            None => BreakerState::Closed,
            Some(outage) if outage.trying || outage.until <= Instant::now() => {
                BreakerState::HalfOpen
            }
            Some(_) => BreakerState::Open,
        }
    }

    /// How long it refuses calls from now on. Zero when the next call is let through.
    pub fn closed_for(&self) -> Duration {
        self.lock()
            .outage
            .as_ref()
            .map_or(Duration::ZERO, |outage| {
                outage.until.saturating_duration_since(Instant::now())
            })
    }

    /// How often it opened since the start, tries of one outage not counted.
    pub fn openings(&self) -> u64 {
        self.lock().openings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is a single assignment: there is no half-done state to meet.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self) -> std::result::Result<Permit<'_>, Duration> {
        let mut inner = self.lock();
        if let Some(outage) = &mut inner.outage {
            let left = outage.until.saturating_duration_since(Instant::now());
            if outage.trying || !left.is_zero() {
                return Err(left);
            }
            outage.trying = true;
        }
        Ok(Permit {
            breaker: self,
            answered: false,
        })
    }

    fn succeeded(&self) {
        let mut inner = self.lock();
        inner.failures = 0;
        if inner.outage.take().is_some() {
            tracing::info!("the store answers again: the circuit breaker is closed");
        }
    }

    fn failed(&self, error: &Error) {
        let mut inner = self.lock();
        inner.failures = inner.failures.saturating_add(1);
        let pause = match &inner.outage {
            // Calls that were let through before it opened tell nothing new.
            Some(outage) if !outage.trying => return,
            Some(outage) => outage.pause.saturating_mul(2).min(self.policy.pause_max),
            None if inner.failures < self.policy.failures_to_open => return,
            None => {
                inner.openings += 1;
                self.policy.pause_first
            }
        };
        tracing::warn!(%error, pause_seconds = pause.as_secs(), "the store is left alone: the circuit breaker is open");
        inner.outage = Some(Outage {
            until: Instant::now() + pause,
            pause,
            trying: false,
        });
    }
}

impl Permit<'_> {
    fn answered<T>(mut self, result: &Result<T>) {
        self.answered = true;
        match result {
            Err(error) if error.is_outage() => self.breaker.failed(error),
            Ok(_) | Err(_) => self.breaker.succeeded(),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.answered
            && let Some(outage) = &mut self.breaker.lock().outage
        {
            outage.trying = false;
        }
    }
}

/// Decorates a store with a breaker.
pub struct BreakerStore {
    inner: SharedStore,
    breaker: Arc<Breaker>,
}

impl BreakerStore {
    /// `inner`, as long as `breaker` lets calls through.
    pub fn new(inner: SharedStore, breaker: Arc<Breaker>) -> BreakerStore {
        BreakerStore { inner, breaker }
    }

    async fn through<T>(
        &self,
        verb: &'static str,
        key: &str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let permit = admit(&self.breaker, verb, key, || self.inner.describe())?;
        let result = call.await;
        permit.answered(&result);
        result
    }
}

fn admit<'a>(
    breaker: &'a Breaker,
    verb: &'static str,
    key: &str,
    store: impl Fn() -> String,
) -> Result<Permit<'a>> {
    breaker.admit().map_err(|left| {
        Error::new(ErrorKind::BreakerOpen, verb, key, store())
            .because(format!("tried again in {} s", left.as_secs() + 1))
    })
}

#[async_trait]
impl Store for BreakerStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        self.through("create", key.as_str(), self.inner.create(key, body))
            .await
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        let begun = self.inner.upload(key, size_hint);
        let inner = self.through("upload", key.as_str(), begun).await?;
        Ok(Box::new(BreakerUpload {
            inner,
            breaker: Arc::clone(&self.breaker),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.through("get", key.as_str(), self.inner.get(key, range))
            .await
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let get = self.inner.get_in_pieces(key, range, on_piece);
        self.through("get", key.as_str(), get).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.through("get", key.as_str(), self.inner.get_all(key, max_bytes))
            .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.through("head", key.as_str(), self.inner.head(key))
            .await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        self.through("list", prefix, self.inner.list(prefix, after))
            .await
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        self.through("list", prefix, self.inner.list_dirs(prefix, max))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.through("delete", key.as_str(), self.inner.delete(key))
            .await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.through("head", key.as_str(), self.inner.keeping(key))
            .await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.through("delete", key.as_str(), self.inner.remove(key))
            .await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.through("retain", key.as_str(), self.inner.retain(key, change))
            .await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// An upload that tells the breaker what became of it. It is never refused in the middle: what was begun may end.
struct BreakerUpload {
    inner: Box<dyn Upload>,
    breaker: Arc<Breaker>,
}

impl BreakerUpload {
    fn tell<T>(breaker: &Breaker, result: &Result<T>) {
        match result {
            Err(error) if error.is_outage() => breaker.failed(error),
            // A piece may only have been put into a buffer.
            Ok(_) | Err(_) => {}
        }
    }
}

#[async_trait]
impl Upload for BreakerUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let result = self.inner.write(bytes).await;
        BreakerUpload::tell(&self.breaker, &result);
        result
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        let result = self.inner.commit(expected).await;
        BreakerUpload::tell(&self.breaker, &result);
        if result.is_ok() {
            self.breaker.succeeded();
        }
        result
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{MemoryStore, RecordingStore};
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Scene {
        down: Arc<AtomicBool>,
        recorded: Arc<RecordingStore>,
        breaker: Arc<Breaker>,
        store: BreakerStore,
    }

    fn scene(kind: ErrorKind) -> Scene {
        let down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&down);
        let clock = FaultClock::new(move |_| match is_down.load(Ordering::Relaxed) {
            true => Fault::ErrorBefore(kind),
            false => Fault::None,
        });
        let faulty = FaultStore::new(Arc::new(MemoryStore::default()), clock);
        let recorded = Arc::new(RecordingStore::new(Arc::new(faulty)));
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
        let store = BreakerStore::new(recorded.clone(), Arc::clone(&breaker));
        Scene {
            down,
            recorded,
            breaker,
            store,
        }
    }

    fn key() -> ObjectKey {
        "stream.json".parse().expect("a key")
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_tries_again_once_per_pause_and_closes() {
        let Scene {
            down,
            recorded,
            breaker,
            store,
        } = scene(ErrorKind::Timeout);
        store.create(&key(), Bytes::new()).await.expect("up");
        down.store(true, Ordering::Relaxed);
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..2 {
            store.head(&key()).await.expect_err("down");
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        let begun = Instant::now();
        recorded.reset();
        let hour = Duration::from_secs(3600);
        while begun.elapsed() < hour {
            let error = store.head(&key()).await.expect_err("down");
            assert!(error.to_string().contains("head stream.json"), "{error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // 15 + 30 + 60 + 120 + 240 s of pauses, then one of 300 s after the other: 465 s, and ten in what is left.
        assert_eq!(recorded.calls().len(), 15);
        assert_eq!(breaker.openings(), 1);
        down.store(false, Ordering::Relaxed);
        tokio::time::sleep(breaker.closed_for()).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        store.head(&key()).await.expect("up again");
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_says_no_is_no_outage() {
        for kind in [ErrorKind::NotFound, ErrorKind::Denied, ErrorKind::NoSpace] {
            let Scene {
                down,
                breaker,
                store,
                ..
            } = scene(kind);
            down.store(true, Ordering::Relaxed);
            for _ in 0..10 {
                store.head(&key()).await.expect_err("refused");
            }
            assert_eq!(breaker.state(), BreakerState::Closed, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_dropped_does_not_keep_it_shut() {
        let Scene {
            down,
            breaker,
            store,
            ..
        } = scene(ErrorKind::Transient);
        down.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            store.head(&key()).await.expect_err("down");
        }
        tokio::time::sleep(breaker.closed_for()).await;
        drop(breaker.admit().expect("one is let through"));
        assert!(breaker.admit().is_ok());
    }
}
