//! What every reading command begins with: the store, the stream, and an index that follows it.

use super::Global;
use super::exit::Exit;
use crate::cache::disk::StreamDisk;
use crate::cache::opening::TailCache;
use crate::cache::{ArchivedSegment, CacheOptions, SegmentReader};
use crate::index::{Index, Opened};
use crate::ledger::{Entry, LedgerState};
use crate::model::{Sha256, StoreUrl, Timeline};
use crate::segment::{IDENTITY_FILE_MAX_BYTES, Identities};
use crate::store::{self, SharedStore};
use crate::stream::{Stream, StreamError};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Entries fetched from the index at a time.
const PAGE_ENTRIES: usize = 10_000;

/// A stream opened for reading, followed to its end.
pub struct Reading {
    /// The store.
    pub store: SharedStore,
    /// The stream.
    pub stream: Arc<Stream>,
    /// Its index.
    pub index: Arc<Index>,
    /// The ledger, as far as it is known.
    pub state: Arc<LedgerState>,
    /// Why the ledger could not be followed to its end. What is known is shown all the same.
    pub alarm: Option<String>,
}

/// The name of a stream's local directories: readable, and its own for each URL.
fn stream_dir_name(url: &StoreUrl) -> String {
    let text = url.to_string();
    let readable: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(80)
        .collect();
    format!(
        "{}-{}",
        readable.trim_end_matches('-'),
        &Sha256::of(text.as_bytes()).to_string()[..8]
    )
}

fn default_dir(system: &str, home_variable: &str, below_home: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from(system);
    }
    let home = || {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(below_home)
    };
    std::env::var_os(home_variable)
        .map_or_else(home, PathBuf::from)
        .join("binlogfs")
}

/// Where readers keep what is theirs, unless a directory is named.
pub fn default_cache_dir() -> PathBuf {
    default_dir("/var/cache/binlogfs", "XDG_CACHE_HOME", ".cache")
}

/// Where the archiver of `url` keeps its state.
pub fn state_dir(global: &Global, url: &StoreUrl) -> PathBuf {
    let base = || {
        default_dir("/var/lib/binlogfs", "XDG_STATE_HOME", ".local/state")
            .join(stream_dir_name(url))
    };
    global.state_dir.clone().unwrap_or_else(base)
}

/// The same where one process archives many streams: a state directory that was given is shared by them.
pub fn state_dir_of_many(global: &Global, url: &StoreUrl) -> PathBuf {
    let mut one = global.clone();
    one.state_dir = global
        .state_dir
        .as_ref()
        .map(|dir| dir.join(stream_dir_name(url)));
    state_dir(&one, url)
}

/// Where readers of `url` keep their index.
pub fn cache_dir(global: &Global, url: &StoreUrl) -> PathBuf {
    let base = || {
        default_cache_dir()
            .join("streams")
            .join(stream_dir_name(url))
    };
    global.cache_dir.clone().unwrap_or_else(base)
}

/// The reader's index file.
pub fn index_path(global: &Global, url: &StoreUrl) -> Result<PathBuf> {
    let dir = cache_dir(global, url);
    std::fs::create_dir_all(&dir).with_context(|| {
        format!(
            "cannot create the cache directory {}; pass --cache-dir",
            dir.display()
        )
    })?;
    Ok(dir.join(crate::sync::archive::INDEX_NAME))
}

/// The same where one process reads many streams: a cache directory that was given is shared by them.
pub fn index_path_of_many(global: &Global, url: &StoreUrl) -> Result<PathBuf> {
    let mut one = global.clone();
    one.cache_dir = global
        .cache_dir
        .as_ref()
        .map(|dir| dir.join("streams").join(stream_dir_name(url)));
    index_path(&one, url)
}

/// Opens `url` and brings the local index up to date.
pub async fn open(global: &Global, url: &StoreUrl) -> Result<Reading> {
    let store = store::open_with_copies(url, &global.replica).await?;
    open_in(global, url, store).await
}

/// The same, of a store that was opened by somebody else.
pub async fn open_in(global: &Global, url: &StoreUrl, store: SharedStore) -> Result<Reading> {
    follow(open_stream(global, url, store).await?).await
}

/// The same as [`open`], for a process that goes on following: what only a listing shows can be seen a moment later.
pub async fn open_to_stay(global: &Global, url: &StoreUrl) -> Result<Reading> {
    let store = store::open_with_copies(url, &global.replica).await?;
    let stream = open_stream(global, url, store).await?;
    follow(stream.listing_later()).await
}

async fn open_stream(global: &Global, url: &StoreUrl, store: SharedStore) -> Result<Stream> {
    let (index, opened) = Index::open(&index_path(global, url)?)?;
    if let Opened::Rebuilt { why } = &opened {
        tracing::warn!("the local index could not be used and is built again: {why}");
    }
    Ok(Stream::open(store, Arc::new(index)).await?)
}

/// Follows `stream`.
pub async fn follow(stream: Stream) -> Result<Reading, anyhow::Error> {
    let (store, index) = (Arc::clone(stream.store()), Arc::clone(stream.index()));
    let (state, alarm) = match stream.follow().await {
        Ok(followed) => (followed.state, None),
        Err(error) if error.leaves_history() => {
            let known = index.state()?.filter(|state| state.last_seq.0 > 0);
            let Some(known) = known else {
                return Err(error.into());
            };
            eprintln!(
                "binlogfs: warning: {error}. What follows is the history up to record {}, as this host knows it",
                known.last_seq
            );
            (known, Some(error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(moved) = &state.moved {
        eprintln!(
            "binlogfs: note: this stream has moved to {}; what was archived since {} is there",
            moved.to, moved.archived_at
        );
    }
    Ok(Reading {
        store,
        stream: Arc::new(stream),
        index,
        state,
        alarm,
    })
}

/// Reads the identity files.
pub fn identities(files: &[PathBuf]) -> Result<Identities> {
    let mut all = Identities::none();
    for path in files {
        let text = read_identity(path)
            .with_context(|| format!("cannot read the identity file {}", path.display()))?;
        all = all.and(Identities::parse(&path.display().to_string(), &text)?);
    }
    Ok(all)
}

fn read_identity(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(IDENTITY_FILE_MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

impl Reading {
    /// A reader of its segments that asks the store for every frame.
    pub fn reader(&self, global: &Global) -> Result<SegmentReader> {
        self.reader_with(global, None)
    }

    /// A reader of its segments that looks for their frames on disk first.
    pub fn reader_with(&self, global: &Global, disk: Option<StreamDisk>) -> Result<SegmentReader> {
        Ok(SegmentReader::with_disk(
            Arc::clone(&self.store),
            identities(&global.identity)?,
            Some(Arc::clone(&self.index) as Arc<dyn TailCache>),
            disk,
            CacheOptions::default(),
        ))
    }

    /// The state of the ledger.
    pub fn state(&self) -> &LedgerState {
        &self.state
    }

    /// How a command ends that did what was asked: with findings if the ledger itself is one.
    pub fn exit(&self) -> Exit {
        match self.alarm {
            None => Exit::Done,
            Some(_) => Exit::Findings,
        }
    }

    /// The entry of the newest segment.
    pub fn newest_segment(&self) -> Result<Option<Entry>> {
        let Some(seq) = self.state().newest_segment() else {
            return Ok(None);
        };
        Ok(self.index.entry_by_seq(seq)?)
    }

    /// The timeline asked for, or the newest.
    pub fn timeline(&self, wanted: Option<u32>) -> Result<Timeline> {
        let newest = self.state().newest_timeline().map(|(id, _)| id);
        match wanted.map(Timeline) {
            Some(timeline) if self.state().timeline(timeline).is_none() => {
                let known: Vec<_> = self
                    .state()
                    .timelines()
                    .map(|(id, _)| id.to_string())
                    .collect();
                bail!(
                    "there is no timeline {timeline}; this stream has {}",
                    known.join(", ")
                )
            }
            Some(timeline) => Ok(timeline),
            None => newest.context("the stream has no segment yet"),
        }
    }

    /// Calls `each` with every entry of `timeline`, in replay order.
    pub fn each_entry(
        &self,
        timeline: Timeline,
        mut each: impl FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.index.entries(timeline, after.as_ref(), PAGE_ENTRIES)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.mount_name.clone());
            page.into_iter().try_for_each(&mut each)?;
        }
    }

    /// What fences took out of `timeline`, in replay order: the segments that they cut, each whole, and those behind.
    pub fn fenced(&self, timeline: Timeline) -> Result<Vec<Entry>> {
        let mut all = self.index.behind_fences(timeline)?;
        for fence in self.index.fences()? {
            let name = fence.mount_name.filter(|_| fence.timeline == timeline);
            let Some(name) = name else { continue };
            let entry = self.index.entry(timeline, &name)?;
            all.extend(entry.filter(|entry| entry.cut.is_some()));
        }
        all.sort_by(|a, b| a.mount_name.cmp(&b.mount_name));
        all.dedup_by(|a, b| a.seq == b.seq);
        all.iter_mut().for_each(|entry| entry.cut = None);
        Ok(all)
    }

    /// Calls `each` with everything that was pruned of `timeline`, in replay order.
    pub fn each_pruned(
        &self,
        timeline: Timeline,
        mut each: impl FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = self
                .index
                .pruned_rows(timeline, after.as_ref(), PAGE_ENTRIES)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.mount_name.clone());
            for row in page {
                let entry = self.index.entry_by_seq(row.seq)?;
                each(entry.context("the index lists it")?)?;
            }
        }
    }
}

/// Whether there is no stream to be opened, nor a directory that could have one.
pub fn is_nothing_there(error: &anyhow::Error) -> bool {
    let no_stream = error
        .downcast_ref::<StreamError>()
        .is_some_and(|error| matches!(error, StreamError::NoStream { .. }));
    let no_place = error
        .downcast_ref::<store::Error>()
        .is_some_and(|error| error.kind == store::ErrorKind::NoSuchBucket);
    no_stream || no_place
}

/// The readable segment of an entry, all of its bytes even if it is damaged.
pub fn raw(entry: &Entry) -> Result<ArchivedSegment> {
    Ok(ArchivedSegment::of_entry(entry)?.raw())
}
