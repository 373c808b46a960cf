//! A stream in a larger store: one reader reads all streams of a forest, so what it is given names objects by their whole keys.

use crate::cache::opening::TailCache;
use crate::fs::history::History;
use crate::fs::source::{HistorySource, Refreshed, SourceError};
use crate::index::Index;
use crate::ledger::Entry;
use crate::model::{ObjectKey, Seq};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// A source whose entries have the keys of the whole store.
pub(super) struct PlacedSource<S> {
    inner: S,
    path: ObjectKey,
}

impl<S> PlacedSource<S> {
    /// `inner`, whose stream is at `path`.
    pub(super) fn new(inner: S, path: ObjectKey) -> PlacedSource<S> {
        PlacedSource { inner, path }
    }
}

#[async_trait]
impl<S: HistorySource> HistorySource for PlacedSource<S> {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        self.inner.refresh().await
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        self.inner.extend(history)
    }

    fn index(&self) -> Option<Arc<Index>> {
        self.inner.index()
    }

    fn dir(&self) -> Option<&ObjectKey> {
        Some(&self.path)
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        let mut entry = self.inner.entry(seq)?;
        if let Some(segment) = entry.as_mut().and_then(|entry| entry.segment.as_mut()) {
            segment.object.key = segment.object.key.below(&self.path)?;
        }
        Ok(entry)
    }
}

/// The tail caches of several streams as one: each knows the keys of its own stream. That of a stream is its index, which is closed
/// with it.
#[derive(Default)]
pub(super) struct PlacedTails(RwLock<HashMap<String, Weak<dyn TailCache>>>);

impl PlacedTails {
    /// From now on `tails` keeps those of the stream at `path`, for as long as somebody else has it.
    pub(super) fn add(&self, path: &ObjectKey, tails: &Arc<dyn TailCache>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, tails| tails.strong_count() > 0);
        all.insert(path.to_string(), Arc::downgrade(tails));
    }

    /// Whose `key` is, and what it is called there: segments are one directory below their stream.
    fn place(&self, key: &ObjectKey) -> Option<(Arc<dyn TailCache>, ObjectKey)> {
        let (dir, name) = key.as_str().rsplit_once('/')?;
        let (path, dir) = dir.rsplit_once('/')?;
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tails = all.get(path)?.upgrade()?;
        Some((tails, format!("{dir}/{name}").parse().ok()?))
    }
}

impl TailCache for PlacedTails {
    fn load(&self, key: &ObjectKey) -> Option<(Bytes, Bytes)> {
        let (tails, key) = self.place(key)?;
        tails.load(&key)
    }

    fn keep(&self, key: &ObjectKey, header: &[u8], tail: &[u8]) {
        if let Some((tails, key)) = self.place(key) {
            tails.keep(&key, header, tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl TailCache for Seen {
        fn load(&self, key: &ObjectKey) -> Option<(Bytes, Bytes)> {
            self.0.lock().expect("whole").push(key.to_string());
            None
        }

        fn keep(&self, _: &ObjectKey, _: &[u8], _: &[u8]) {}
    }

    fn add(tails: &PlacedTails, path: &str, seen: &Arc<Seen>) {
        let seen: Arc<dyn TailCache> = Arc::clone(seen) as _;
        tails.add(&path.parse().expect("a key"), &seen);
    }

    #[test]
    fn the_index_of_a_stream_that_was_closed_is_closed_too() {
        let (tails, a) = (PlacedTails::default(), Arc::<Seen>::default());
        add(&tails, "t/a", &a);
        let left = Arc::downgrade(&a);
        drop(a);
        assert!(left.upgrade().is_none());
        let key = "t/a/segments/x".parse().expect("a key");
        assert!(tails.load(&key).is_none());
        let b = Arc::<Seen>::default();
        add(&tails, "t/b", &b);
        assert_eq!(tails.0.read().expect("whole").len(), 1);
    }

    #[test]
    fn each_stream_keeps_its_own_tails_under_its_own_keys() {
        let (tails, a, b) = (
            PlacedTails::default(),
            Arc::<Seen>::default(),
            Arc::<Seen>::default(),
        );
        add(&tails, "t/a", &a);
        add(&tails, "t/a/b", &b);
        for key in ["t/a/segments/x", "t/a/b/segments/y", "t/c/segments/z", "x"] {
            assert!(tails.load(&key.parse().expect("a key")).is_none());
        }
        assert_eq!(*a.0.lock().expect("whole"), ["segments/x"]);
        assert_eq!(*b.0.lock().expect("whole"), ["segments/y"]);
    }
}
