//! A store that remembers what it was asked, so that tests count requests and bytes instead of seconds.

use super::{
    Checksums, Keeping, Listing, ObjectMeta, OnPiece, Removed, Result, Retain, SharedStore, Store,
    Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Calls remembered one by one, some 100 MB of them; beyond, only the totals go on.
const CALLS_MAX: usize = 1_000_000;

/// One call of a verb, or of an upload's `write`, `commit` or `abort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The verb, such as `get`.
    pub verb: &'static str,
    /// The key or prefix.
    pub key: String,
    /// The bytes asked for by `get`.
    pub range: Option<Range<u64>>,
    /// Bytes of bodies: received by `get` and `get_all`, sent by `create` and `write`.
    pub bytes: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

/// The sums of the calls of one verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub calls: u64,
    /// Bytes of bodies.
    pub bytes: u64,
}

#[derive(Default)]
struct Records {
    calls: Vec<Call>,
    totals: BTreeMap<&'static str, Total>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Records>>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(
        &self,
        verb: &'static str,
        key: &str,
        range: Option<Range<u64>>,
        bytes: usize,
        ok: bool,
    ) {
        let mut records = self.lock();
        let total = records.totals.entry(verb).or_default();
        total.calls += 1;
        total.bytes += bytes as u64;
        if records.calls.len() < CALLS_MAX {
            records.calls.push(Call {
                verb,
                key: key.to_owned(),
                range,
                bytes: bytes as u64,
                ok,
            });
        }
    }
}

/// A get in pieces: recorded when it ends, also if nobody waits for the rest.
struct Coming<'a> {
    recorder: &'a Recorder,
    key: &'a ObjectKey,
    range: Range<u64>,
    bytes: usize,
    ok: bool,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let (key, range) = (self.key.as_str(), self.range.clone());
        self.recorder
            .record("get", key, Some(range), self.bytes, self.ok);
    }
}

/// Decorates a store with a memory of its calls. Clones share it: a test keeps one and hands out another.
#[derive(Clone)]
pub struct RecordingStore {
    inner: SharedStore,
    recorder: Recorder,
}

impl RecordingStore {
    /// `inner`, recorded.
    pub fn new(inner: SharedStore) -> RecordingStore {
        RecordingStore {
            inner,
            recorder: Recorder::default(),
        }
    }

    /// The calls so far, in the order in which they ended; the first million of them.
    pub fn calls(&self) -> Vec<Call> {
        self.recorder.lock().calls.clone()
    }

    /// The calls of one verb.
    pub fn calls_of(&self, verb: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.verb == verb);
        calls
    }

    /// The sums of one verb.
    pub fn total(&self, verb: &str) -> Total {
        let records = self.recorder.lock();
        records.totals.get(verb).copied().unwrap_or_default()
    }

    /// The sums of all verbs.
    pub fn totals(&self) -> BTreeMap<&'static str, Total> {
        self.recorder.lock().totals.clone()
    }

    /// Forgets the calls so far.
    pub fn reset(&self) {
        *self.recorder.lock() = Records::default();
    }
}

#[async_trait]
impl Store for RecordingStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let bytes = body.len();
        let done = self.inner.create(key, body).await;
        self.recorder
            .record("create", key.as_str(), None, bytes, done.is_ok());
        done
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        let begun = self.inner.upload(key, size_hint).await;
        self.recorder
            .record("upload", key.as_str(), None, 0, begun.is_ok());
        Ok(Box::new(RecordingUpload {
            inner: begun?,
            key: key.clone(),
            recorder: self.recorder.clone(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let body = self.inner.get(key, range.clone()).await;
        let bytes = body.as_ref().map_or(0, Bytes::len);
        self.recorder
            .record("get", key.as_str(), Some(range), bytes, body.is_ok());
        body
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let mut coming = Coming {
            recorder: &self.recorder,
            key,
            range: range.clone(),
            bytes: 0,
            ok: false,
        };
        let mut give = |piece: Bytes| {
            coming.bytes += piece.len();
            on_piece(piece);
        };
        let done = self.inner.get_in_pieces(key, range, &mut give).await;
        coming.ok = done.is_ok();
        done
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let body = self.inner.get_all(key, max_bytes).await;
        let bytes = body.as_ref().map_or(0, Bytes::len);
        self.recorder
            .record("get_all", key.as_str(), None, bytes, body.is_ok());
        body
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let meta = self.inner.head(key).await;
        self.recorder
            .record("head", key.as_str(), None, 0, meta.is_ok());
        meta
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let listing = self.inner.list(prefix, after).await;
        self.recorder
            .record("list", prefix, None, 0, listing.is_ok());
        listing
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let names = self.inner.list_dirs(prefix, max).await;
        self.recorder
            .record("list_dirs", prefix, None, 0, names.is_ok());
        names
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let done = self.inner.delete(key).await;
        self.recorder
            .record("delete", key.as_str(), None, 0, done.is_ok());
        done
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        let known = self.inner.keeping(key).await;
        self.recorder
            .record("keeping", key.as_str(), None, 0, known.is_ok());
        known
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        let done = self.inner.remove(key).await;
        self.recorder
            .record("remove", key.as_str(), None, 0, done.is_ok());
        done
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        let done = self.inner.retain(key, change).await;
        self.recorder
            .record("retain", key.as_str(), None, 0, done.is_ok());
        done
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct RecordingUpload {
    inner: Box<dyn Upload>,
    key: ObjectKey,
    recorder: Recorder,
}

#[async_trait]
impl Upload for RecordingUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let len = bytes.len();
        let done = self.inner.write(bytes).await;
        self.recorder
            .record("write", self.key.as_str(), None, len, done.is_ok());
        done
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        let done = self.inner.commit(expected).await;
        self.recorder
            .record("commit", self.key.as_str(), None, 0, done.is_ok());
        done
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let done = self.inner.abort().await;
        self.recorder
            .record("abort", self.key.as_str(), None, 0, done.is_ok());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, conformance};

    #[tokio::test(flavor = "multi_thread")]
    async fn recorded_every_contract_holds() {
        conformance::run_all(|| Arc::new(RecordingStore::new(Arc::new(MemoryStore::new())))).await;
    }

    #[tokio::test]
    async fn calls_and_their_bytes_are_counted() {
        let store = RecordingStore::new(Arc::new(MemoryStore::new()));
        let key: ObjectKey = "segments/a".parse().expect("a key");
        let mut upload = store.upload(&key, 5).await.expect("begun");
        upload.write("hel".into()).await.expect("written");
        upload.write("lo".into()).await.expect("written");
        upload
            .commit(Checksums::of(b"hello"))
            .await
            .expect("committed");
        store.get(&key, 1..3).await.expect("read");
        store.get(&key, 1..30).await.expect_err("too far");
        assert_eq!(store.total("write"), Total { calls: 2, bytes: 5 });
        assert_eq!(store.total("get"), Total { calls: 2, bytes: 2 });
        assert_eq!(store.total("head"), Total::default());
        let gets = store.calls_of("get");
        assert_eq!(gets[0].range, Some(1..3));
        assert!(gets[0].ok && !gets[1].ok);
        store.reset();
        assert!(store.calls().is_empty() && store.totals().is_empty());
    }
}
