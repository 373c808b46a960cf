//! A store whose objects have copies elsewhere: what the first store cannot give, a copy does.
//!
//! Only reading knows of copies; what is created, uploaded and deleted is so in the first store alone. A read goes on to the
//! copies when the first store has no such object, has a shorter one, or does not answer; after [`PATIENCE`] whoever answers
//! first has it. A store that did not answer is asked last for a while ([`AWAY`]), so that not every read waits for it.
//!
//! Whether bytes are the right ones is not known here. Whoever proves them asks for the [`Copies`] of a store that gave wrong
//! ones, and reads those.

mod counts;
mod list;

pub use counts::{CopyFigures, CopyReason};

use super::{
    ErrorKind, Keeping, Listing, ObjectMeta, Removed, Result, Retain, SharedStore, Store, Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use counts::CopyCounts;
use futures::future::BoxFuture;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long the first store is waited for alone. Several times what a slow one takes for a range, and several fit into the
/// deadline of a read.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// How long a store that did not answer is asked last.
pub const AWAY: Duration = Duration::from_secs(30);

/// Other copies of what a store has, for whoever found that it gave wrong bytes.
#[derive(Clone)]
pub struct Copies {
    stores: Vec<SharedStore>,
    counts: Arc<CopyCounts>,
}

impl Copies {
    /// The stores that have them, in the order in which they are asked.
    pub fn stores(&self) -> &[SharedStore] {
        &self.stores
    }

    /// Counts a read that the copy in `store` served because of `reason`, and tells of the first one of each object.
    pub fn served(&self, reason: CopyReason, key: &ObjectKey, store: &SharedStore) {
        self.counts.served(reason, key.as_str(), &store.describe());
    }

    /// How many reads the copies have served.
    pub fn figures(&self) -> CopyFigures {
        self.counts.figures()
    }

    /// The same copies as seen from `of`, a part of each store.
    #[must_use]
    pub(super) fn each(&self, of: impl Fn(&SharedStore) -> SharedStore) -> Copies {
        Copies {
            stores: self.stores.iter().map(of).collect(),
            counts: Arc::clone(&self.counts),
        }
    }
}

/// A store, and stores that have copies of its objects under the same keys.
pub struct CopiesStore {
    first: SharedStore,
    copies: Copies,
    /// Until when the first store is asked last.
    away_until: Mutex<Option<Instant>>,
}

impl CopiesStore {
    /// `first`, and behind it the stores with copies of its objects.
    pub fn new(first: SharedStore, copies: Vec<SharedStore>) -> CopiesStore {
        CopiesStore {
            first,
            copies: Copies {
                stores: copies,
                counts: Arc::default(),
            },
            away_until: Mutex::new(None),
        }
    }

    fn away_until(&self) -> MutexGuard<'_, Option<Instant>> {
        // A time is whole or not there: a panic elsewhere leaves it sound.
        self.away_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_away(&self) -> bool {
        self.away_until()
            .is_some_and(|until| Instant::now() < until)
    }

    fn note_away(&self) {
        *self.away_until() = Some(Instant::now() + AWAY);
    }

    /// What `ask` gives of the first store, or else of a copy.
    async fn read<'a, T>(
        &'a self,
        key: &'a str,
        ask: impl Fn(&'a SharedStore) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
    {
        if self.is_away() {
            let given = self.ask_copies(key, CopyReason::Unreachable, &ask).await;
            return match given {
                Some(given) => Ok(given),
                None => ask(&self.first).await,
            };
        }
        let mut first = ask(&self.first);
        match tokio::time::timeout(PATIENCE, &mut first).await {
            Ok(Ok(given)) => Ok(given),
            Ok(Err(error)) => {
                let Some(reason) = reason(error.kind) else {
                    return Err(error);
                };
                if reason == CopyReason::Unreachable {
                    self.note_away();
                }
                let given = self.ask_copies(key, reason, &ask).await;
                given.ok_or(error)
            }
            Err(_) => {
                self.note_away();
                let mut copies = pin!(self.ask_copies(key, CopyReason::Unreachable, &ask));
                tokio::select! {
                    done = &mut first => done,
                    given = &mut copies => match given {
                        Some(given) => Ok(given),
                        None => first.await,
                    },
                }
            }
        }
    }

    async fn ask_copies<'a, T>(
        &'a self,
        key: &str,
        reason: CopyReason,
        ask: &(impl Fn(&'a SharedStore) -> BoxFuture<'a, Result<T>> + Send + Sync),
    ) -> Option<T>
    where
        T: Send,
    {
        for store in &self.copies.stores {
            match ask(store).await {
                Ok(given) => {
                    self.copies.counts.served(reason, key, &store.describe());
                    return Some(given);
                }
                Err(error) => tracing::debug!(%error, "nor has this copy it"),
            }
        }
        None
    }
}

/// Why a read goes on to the copies after an error of this kind, if it does. The one table of that.
fn reason(kind: ErrorKind) -> Option<CopyReason> {
    match kind {
        ErrorKind::NotFound => Some(CopyReason::Missing),
        ErrorKind::Truncated | ErrorKind::TooLarge => Some(CopyReason::Damaged),
        ErrorKind::Credentials
        | ErrorKind::Expired
        | ErrorKind::Denied
        | ErrorKind::NoSuchBucket
        | ErrorKind::WrongRegion
        | ErrorKind::ClockSkew
        | ErrorKind::Tls
        | ErrorKind::Throttled
        | ErrorKind::Transient
        | ErrorKind::Timeout
        | ErrorKind::BreakerOpen
        | ErrorKind::Permanent => Some(CopyReason::Unreachable),
        ErrorKind::AlreadyExists
        | ErrorKind::NoSpace
        | ErrorKind::BadDigest
        | ErrorKind::Unsupported => None,
    }
}

#[async_trait]
impl Store for CopiesStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        self.first.create(key, body).await
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        self.first.upload(key, size_hint).await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.read(key.as_str(), |store| store.get(key, range.clone()))
            .await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.read(key.as_str(), |store| store.get_all(key, max_bytes))
            .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.read(key.as_str(), |store| store.head(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let first = async {
            if self.is_away() {
                return None;
            }
            let listed = tokio::time::timeout(PATIENCE, self.first.list(prefix, after)).await;
            if listed.as_ref().map_or(true, |listed| {
                matches!(listed, Err(error) if reason(error.kind) == Some(CopyReason::Unreachable))
            }) {
                self.note_away();
            }
            listed.ok()
        };
        let copies = self.copies.stores.iter().map(|store| async move {
            let listed = tokio::time::timeout(PATIENCE, store.list(prefix, after)).await;
            match listed {
                Ok(Ok(listing)) => Some(listing),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a copy cannot be listed");
                    None
                }
                Err(_) => None,
            }
        });
        let (first, copies) = futures::join!(first, futures::future::join_all(copies));
        let copies = copies.into_iter().flatten();
        match first {
            Some(Ok(first)) => Ok(list::merged(std::iter::once(first).chain(copies))),
            Some(Err(error)) => match reason(error.kind) {
                Some(CopyReason::Unreachable) => self.listed_by_copies(copies).ok_or(error),
                Some(CopyReason::Missing | CopyReason::Damaged) | None => Err(error),
            },
            None => match self.listed_by_copies(copies) {
                Some(listing) => Ok(listing),
                None => self.first.list(prefix, after).await,
            },
        }
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        self.read(prefix, |store| store.list_dirs(prefix, max))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.first.delete(key).await
    }

    fn describe(&self) -> String {
        self.first.describe()
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.first.keeping(key).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.first.remove(key).await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        self.first.retain(key, change).await
    }

    fn copies(&self) -> Option<&Copies> {
        Some(&self.copies)
    }
}

impl CopiesStore {
    /// What copies list, if any of them does.
    fn listed_by_copies(&self, copies: impl Iterator<Item = Listing>) -> Option<Listing> {
        let mut copies = copies.peekable();
        copies.peek()?;
        tracing::warn!(
            store = self.first.describe(),
            "it does not answer: what its copies list is what there is"
        );
        Some(list::merged(copies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{MemoryStore, conformance};

    fn key() -> ObjectKey {
        "segments/x".parse().expect("a key")
    }

    fn store(first: SharedStore, copy: &MemoryStore) -> CopiesStore {
        CopiesStore::new(first, vec![Arc::new(copy.clone())])
    }

    fn figures(store: &CopiesStore) -> (u64, u64, u64) {
        let figures = store.copies.figures();
        (figures.missing, figures.damaged, figures.unreachable)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_copies_that_have_nothing_every_contract_holds() {
        conformance::run_all(|| Arc::new(store(Arc::new(MemoryStore::new()), &MemoryStore::new())))
            .await;
    }

    #[tokio::test]
    async fn what_the_first_store_lacks_or_has_cut_a_copy_gives_and_it_is_counted() {
        let (first, copy) = (MemoryStore::new(), MemoryStore::new());
        copy.tamper(&key(), "whole");
        let store = store(Arc::new(first.clone()), &copy);
        assert_eq!(store.get(&key(), 1..5).await.expect("read"), "hole");
        assert_eq!(store.get_all(&key(), 9).await.expect("read"), "whole");
        assert_eq!(store.head(&key()).await.expect("known").size, 5);
        assert_eq!(figures(&store), (3, 0, 0));
        first.tamper(&key(), "wh");
        assert_eq!(store.get(&key(), 1..5).await.expect("read"), "hole");
        assert_eq!(figures(&store), (3, 1, 0));
        first.tamper(&key(), "first");
        assert_eq!(store.get(&key(), 1..5).await.expect("read"), "irst");
        assert_eq!(figures(&store), (3, 1, 0), "the first store goes first");
        let missing: ObjectKey = "segments/y".parse().expect("a key");
        let error = store.get(&missing, 0..1).await.expect_err("nowhere");
        assert!(error.is_not_found());
    }

    #[tokio::test]
    async fn a_store_that_fails_or_hangs_is_waited_for_once() {
        for fault in [
            Fault::ErrorBefore(ErrorKind::Timeout),
            Fault::Delay(Duration::from_secs(3600)),
        ] {
            let (first, copy) = (MemoryStore::new(), MemoryStore::new());
            first.tamper(&key(), "first");
            copy.tamper(&key(), "copied");
            tokio::time::pause();
            let clock = FaultClock::new(move |_| fault);
            let store = store(Arc::new(FaultStore::new(Arc::new(first), clock)), &copy);
            let begun = Instant::now();
            for _ in 0..3 {
                let all = store.get_all(&key(), 9).await.expect("read");
                assert_eq!(all, "copied", "{fault:?}");
            }
            assert_eq!(store.list("", None).await.expect("listed").objects.len(), 1);
            assert!(
                begun.elapsed() < PATIENCE + Duration::from_secs(1),
                "{fault:?}"
            );
            assert_eq!(figures(&store), (0, 0, 3), "{fault:?}");
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn what_only_a_copy_has_is_listed_and_nothing_is_written_to_it() {
        let (first, copy) = (MemoryStore::new(), MemoryStore::new());
        for (store, keys) in [(&first, ["l/1", "l/3"]), (&copy, ["l/2", "l/3"])] {
            for key in keys {
                store.tamper(&key.parse().expect("a key"), "x");
            }
        }
        let store = store(Arc::new(first.clone()), &copy);
        let listed = store.list("l/", None).await.expect("listed");
        let keys: Vec<_> = listed.objects.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["l/1", "l/2", "l/3"]);
        store.create(&key(), "new".into()).await.expect("created");
        store
            .delete(&"l/2".parse().expect("a key"))
            .await
            .expect("deleted");
        assert_eq!(copy.keys().len(), 2);
        assert_eq!(first.keys().len(), 3);
    }
}
