//! A store whose objects have copies elsewhere: what the first store cannot give, a copy does.
//!
//! Only reading knows of copies; what is created, uploaded and deleted is so in the first store alone. A read goes on to the
//! copies when the first store has no such object, has a shorter one, or does not answer; after [`PATIENCE`] whoever answers
//! first has it. A store that did not answer is asked last for a while ([`AWAY`]), so that not every read waits for it. A copy that
//! does not answer holds up nobody to whom the first store does: each record of a ledger that is not there yet is asked for everywhere.
//!
//! Whether bytes are the right ones is not known here. Whoever proves them asks for the [`Copies`] of a store that gave wrong
//! ones, and reads those.

mod away;
mod counts;
mod list;
mod own;
#[cfg(test)]
mod tests;

pub use away::AWAY;
pub use counts::{CopyFigures, CopyReason};

use super::{
    ErrorKind, Keeping, Listing, ObjectMeta, OnPiece, Removed, Result, Retain, SharedStore, Store,
    Upload,
};
use crate::model::ObjectKey;
use async_trait::async_trait;
use away::Away;
use bytes::Bytes;
use counts::CopyCounts;
use futures::future::BoxFuture;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the first store is waited for alone. Several times what a slow one takes for a range, and several fit into the
/// deadline of a read.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Other copies of what a store has, for whoever found that it gave wrong bytes.
#[derive(Clone)]
pub struct Copies {
    first: SharedStore,
    /// Whether the first store did not answer a while ago.
    first_away: Arc<Away>,
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
            first: of(&self.first),
            first_away: Arc::clone(&self.first_away),
            stores: self.stores.iter().map(of).collect(),
            counts: Arc::clone(&self.counts),
        }
    }
}

/// A store, and stores that have copies of its objects under the same keys.
pub struct CopiesStore {
    first: SharedStore,
    copies: Copies,
    /// Whether the first store did not answer a while ago, and each copy.
    first_away: Arc<Away>,
    copies_away: Vec<Away>,
}

impl CopiesStore {
    /// `first`, and behind it the stores with copies of its objects.
    pub fn new(first: SharedStore, copies: Vec<SharedStore>) -> CopiesStore {
        let first_away = Arc::<Away>::default();
        CopiesStore {
            copies_away: copies.iter().map(|_| Away::default()).collect(),
            copies: Copies {
                first: Arc::clone(&first),
                first_away: Arc::clone(&first_away),
                stores: copies,
                counts: Arc::default(),
            },
            first,
            first_away,
        }
    }

    /// What `ask` gives of the first store, or else of a copy. `is_probe`: nobody knows that it exists, and a copy that hangs is not
    /// waited for where the first store says that it does not.
    async fn read<'a, T>(
        &'a self,
        key: &'a str,
        is_probe: bool,
        ask: impl Fn(&'a SharedStore) -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T>
    where
        T: Send,
    {
        if self.first_away.is_away() {
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
                    self.first_away.note();
                }
                let given = match is_probe && reason == CopyReason::Missing {
                    true => self.probe_copies(key, &ask).await,
                    false => self.ask_copies(key, reason, &ask).await,
                };
                given.ok_or(error)
            }
            Err(_) => {
                self.first_away.note();
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

    /// The same of what the first store says it has not, and a copy mostly has not either.
    async fn probe_copies<'a, T>(
        &'a self,
        key: &str,
        ask: &(impl Fn(&'a SharedStore) -> BoxFuture<'a, Result<T>> + Send + Sync),
    ) -> Option<T>
    where
        T: Send,
    {
        let counts = &self.copies.counts;
        for (store, away) in self.copies.stores.iter().zip(&self.copies_away) {
            if away.is_away() {
                continue;
            }
            match tokio::time::timeout(PATIENCE, ask(store)).await {
                Ok(Ok(given)) => {
                    counts.served(CopyReason::Missing, key, &store.describe());
                    return Some(given);
                }
                Ok(Err(error)) => tracing::debug!(%error, "nor has this copy it"),
                Err(_) => away.note(),
            }
        }
        None
    }
}

/// What `get` ends with; `None` once it has `given` nothing for [`PATIENCE`].
async fn until_it_rests(
    get: impl Future<Output = Result<()>>,
    given: &AtomicU64,
) -> Option<Result<()>> {
    let mut get = pin!(get);
    let mut before = 0;
    loop {
        if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut get).await {
            return Some(ended);
        }
        let now = given.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
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
        self.read(key.as_str(), false, |store| store.get(key, range.clone()))
            .await
    }

    /// Pieces come from the first store for as long as they do come: what is missing then, from a copy in one piece.
    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        if self.first_away.is_away() {
            on_piece(self.get(key, range).await?);
            return Ok(());
        }
        let given = AtomicU64::new(0);
        let mut give = |piece: Bytes| {
            given.fetch_add(piece.len() as u64, Ordering::Relaxed);
            on_piece(piece);
        };
        let first = self.first.get_in_pieces(key, range.clone(), &mut give);
        let ended = until_it_rests(first, &given).await;
        let rest = (range.start + given.load(Ordering::Relaxed)).min(range.end)..range.end;
        match ended {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => {
                let Some(reason) = reason(error.kind) else {
                    return Err(error);
                };
                if reason == CopyReason::Unreachable {
                    self.first_away.note();
                }
                let given = self
                    .ask_copies(key.as_str(), reason, &|store| store.get(key, rest.clone()))
                    .await;
                on_piece(given.ok_or(error)?);
            }
            None => {
                self.first_away.note();
                on_piece(self.get(key, rest).await?);
            }
        }
        Ok(())
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.read(key.as_str(), true, |store| store.get_all(key, max_bytes))
            .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.read(key.as_str(), true, |store| store.head(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let first = async {
            if self.first_away.is_away() {
                return None;
            }
            let listed = tokio::time::timeout(PATIENCE, self.first.list(prefix, after)).await;
            if listed.as_ref().map_or(true, |listed| {
                matches!(listed, Err(error) if reason(error.kind) == Some(CopyReason::Unreachable))
            }) {
                self.first_away.note();
            }
            listed.ok()
        };
        let alone = self.first_away.is_away();
        let copies = self.copies.stores.iter().zip(&self.copies_away);
        let copies = copies.map(|(store, away)| async move {
            if away.is_away() && !alone {
                return None;
            }
            match tokio::time::timeout(PATIENCE, store.list(prefix, after)).await {
                Ok(Ok(listing)) => Some(listing),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a copy cannot be listed");
                    None
                }
                Err(_) => {
                    away.note();
                    None
                }
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
        self.read(prefix, true, |store| store.list_dirs(prefix, max))
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
