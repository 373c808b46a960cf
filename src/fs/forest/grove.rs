//! Where the streams of a forest are: the directories of a store.

use super::placed::{PlacedSource, PlacedTails};
use crate::cache::opening::TailCache;
use crate::fs::source::{HistorySource, SourceError};
use crate::fs::stream_source::StreamSource;
use crate::index::Index;
use crate::ledger::StreamFile;
use crate::model::{ObjectKey, StoreUrl};
use crate::store::{BelowStore, ErrorKind, SharedStore};
use crate::stream::Stream;
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Names in one directory at most: a listing of more is cut off, with a warning.
const NAMES_MAX: usize = 10_000;
/// Names that are asked about at a time.
const ASKED_AT_ONCE: usize = 16;

/// Where streams are, and how one is opened.
#[async_trait]
pub trait Grove: Send + Sync + 'static {
    /// The names in `dir` (`None`: at the top), and whether each is a stream.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn names(&self, dir: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError>;

    /// Opens the stream at `path`. Its entries name their objects by keys that begin with `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    async fn open(&self, path: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError>;
}

/// Opens the index of the stream at a URL. May block.
pub type OpenIndex = Arc<dyn Fn(&StoreUrl) -> Result<Index, SourceError> + Send + Sync>;

/// The streams of a store.
pub struct StoreGrove {
    store: SharedStore,
    url: StoreUrl,
    open_index: OpenIndex,
    tails: Arc<PlacedTails>,
    /// Streams that were seen: one stays one.
    known: Mutex<HashSet<ObjectKey>>,
}

impl StoreGrove {
    /// The streams in `store`, which is at `url`.
    pub fn new(store: SharedStore, url: StoreUrl, open_index: OpenIndex) -> StoreGrove {
        StoreGrove {
            store,
            url,
            open_index,
            tails: Arc::default(),
            known: Mutex::default(),
        }
    }

    /// What the reader of these streams keeps its tails in: the index of each.
    pub fn tails(&self) -> Arc<dyn TailCache> {
        Arc::clone(&self.tails) as _
    }

    fn is_known(&self, path: &ObjectKey) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(path)
    }

    /// Whether the directory `path` is a stream.
    async fn is_stream(&self, path: &ObjectKey) -> Result<bool, SourceError> {
        if self.is_known(path) {
            return Ok(true);
        }
        let Ok(key) = format!("{path}/{}", StreamFile::key()).parse() else {
            return Ok(false);
        };
        match self.store.head(&key).await {
            Ok(_) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(path.clone());
                Ok(true)
            }
            Err(error) if error.is_not_found() => Ok(false),
            // Somebody else's, who does not let us look: whoever enters it is told.
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::debug!(%error, "whether this is a stream cannot be seen");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Grove for StoreGrove {
    async fn names(&self, dir: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError> {
        let prefix = dir.map_or_else(String::new, |dir| format!("{dir}/"));
        let names = self.store.list_dirs(&prefix, NAMES_MAX).await?;
        if names.len() >= NAMES_MAX {
            tracing::warn!(
                "{}: only the first {NAMES_MAX} names of {prefix:?} are shown",
                self.url
            );
        }
        let asked = names.into_iter().filter_map(|name| {
            // Names that are no part of a key are nobody's streams.
            let path: ObjectKey = format!("{prefix}{name}").parse().ok()?;
            Some(async move { self.is_stream(&path).await.map(|is| (name, is)) })
        });
        futures::stream::iter(asked)
            .buffered(ASKED_AT_ONCE)
            .try_collect()
            .await
    }

    async fn open(&self, path: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError> {
        let url = self.url.below(path);
        let store = BelowStore::new(Arc::clone(&self.store), path, url.to_string());
        let open_index = Arc::clone(&self.open_index);
        let index = tokio::task::spawn_blocking(move || open_index(&url)).await??;
        let index = Arc::new(index);
        let stream = Stream::open(Arc::new(store), Arc::clone(&index)).await?;
        let tails: Arc<dyn TailCache> = index;
        self.tails.add(path, &tails);
        let source = StreamSource::new(Arc::new(stream));
        Ok(Arc::new(PlacedSource::new(source, path.clone())))
    }
}
