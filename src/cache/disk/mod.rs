//! Frames on disk, **as stored**: compressed, and encrypted where the segment is. No plaintext gets here.
//!
//! # One frame, one file
//! `<dir>/v1/<stream id>/<shard>/<object>-<frame>`, where `dir` is `frames` below the cache directory. A frame is the unit of
//! proof, so it is the unit here too:
//! * A file holds exactly the object range of its frame, and nothing about itself. What a reader is given is proven against
//!   the segment's tail, as if it had been fetched: whatever is wrong with a file is found by the same code, and costs one
//!   frame. Only frames that were proven are written.
//! * Whether a frame is here is whether its file is. There is no table that could disagree with the files, none that two
//!   mounts must share, none to be loaded before the first read, and none that grows in memory with the cache.
//! * The price: frames of an encrypted segment that share an age chunk of 64 KiB both keep it, about a sixth of their size,
//!   and each frame is an inode.
//!
//! # Writing
//! One thread writes, from a queue of at most [`QUEUE_BYTES`]; what does not fit is not kept, so that no reader waits. A file
//! is written under a temporary name and renamed: a process that is killed leaves whole frames, and perhaps a temporary file,
//! which whoever evicts next removes. Nothing is synced. After a power cut a file may have its length and not its bytes: it
//! is found out when it is read, and dropped.
//!
//! # Evicting
//! The file's time of modification says when it was last used: a reader renews it when it is more than [`TOUCH_AFTER`] old,
//! so the order survives restarts and holds for all mounts together. Whoever would exceed `cache_size`, or leave less free
//! than `cache_free`, walks over the files, and removes the longest unused; others that would do so at the same time leave
//! it to the one that has the lock, and keep nothing until there is room. Each process adds up what it wrote since its last
//! walk, and walks again after a 32nd of the limit, to learn what others wrote. A file system that is late to tell what it got
//! back is taken to have it for half a minute: or as much would go again for each frame.
//!
//! # Failing
//! A fault of a file (unreadable, of another length, not proven) is a miss: counted, told once, the file removed. One that cannot
//! be opened because too many files are open, or for want of memory, is a miss and stays. A fault of the
//! disk (full, read-only, gone, broken) ends keeping for [`REST`]; one that does not answer within [`LOAD_PATIENCE`], or half of
//! what is left to a read if that is less, ends looking for as long. Each is told once, and once more when it is over.

mod counts;
mod entry;
mod evict;
mod keeper;
mod limits;
mod load;
mod rest;
mod usage;
mod walk;

pub use counts::DiskCounts;
pub use limits::{DEFAULT_FREE, DEFAULT_SIZE_BYTES, DiskLimits, KeepFree};
pub use load::{LOOK_BYTES, Looked, Wanted};
pub use usage::{Cleared, StreamUsage, Usage, clear, usage};

use crate::model::ObjectKey;
use crate::segment::OpenSegment;
use bytes::Bytes;
use counts::Counts;
use entry::ObjectTag;
use keeper::{Keeper, Order, Run};
use rest::Rest;
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What the layout of the directory is called. Another layout is another name beside it.
pub const VERSION: &str = "v1";
/// Bytes that wait to be written: two of the largest runs.
pub const QUEUE_BYTES: u64 = 16 << 20;
/// A use is noted no more often than this: one inode update a minute for a frame that is always wanted.
pub const TOUCH_AFTER: Duration = Duration::from_secs(60);
/// How long a disk that failed is left alone.
pub const REST: Duration = Duration::from_secs(30);
/// How long a look may take at most: a disk slower than this is slower than the store.
pub const LOAD_PATIENCE: Duration = Duration::from_secs(2);
/// Looks at once, each with what it found until that is decoded. More would only queue in the disk; and so many threads can
/// hang in it, and no more.
const LOADS: usize = 4;
/// In the place of a number of bytes that is not known.
const NOT_COUNTED: u64 = u64::MAX;

/// A directory of frames, shared by the readers of all its streams. Clones are the same cache.
#[derive(Clone)]
pub struct DiskCache {
    shared: Arc<Shared>,
    /// `None` where frames are looked for and none are kept.
    orders: Option<Sender<Order>>,
}

/// What readers and the keeping thread share.
struct Shared {
    /// `<dir>/v1`.
    root: PathBuf,
    limits: DiskLimits,
    streams: Mutex<Vec<Arc<StreamShared>>>,
    loads: Arc<Semaphore>,
    queued_bytes: AtomicU64,
    /// [`NOT_COUNTED`] before the files were counted for the first time.
    used_bytes: AtomicU64,
    evicted: AtomicU64,
    evicted_bytes: AtomicU64,
    /// Keeping.
    keeping: Rest,
    /// Looking.
    looking: Rest,
}

/// What concerns one stream.
struct StreamShared {
    /// `<root>/<stream id>`.
    dir: PathBuf,
    /// What the stream is called, for who looks at the cache.
    url: String,
    counts: Counts,
}

/// The frames of one stream.
#[derive(Clone)]
pub struct StreamDisk {
    cache: DiskCache,
    stream: Arc<StreamShared>,
}

/// How a disk cache is doing.
#[derive(Clone, Debug, Serialize)]
pub struct DiskFigures {
    /// Where it is, for people.
    pub dir: String,
    /// What became of this stream's frames since this process began.
    #[serde(flatten)]
    pub counts: DiskCounts,
    /// Bytes of all frames there, of all streams, as far as this process knows: it has counted them once, and since then what
    /// it wrote and removed. `None` as long as it has not, some seconds after it began.
    pub used_bytes: Option<u64>,
    /// The most they may be.
    pub size_bytes: u64,
    /// Frames of any stream that this process removed to make room.
    pub evicted: u64,
    /// Their bytes.
    pub evicted_bytes: u64,
    /// Why nothing is kept at the moment, if so.
    pub not_keeping: Option<String>,
    /// Why nothing is looked for at the moment, if so.
    pub not_looking: Option<String>,
}

impl DiskCache {
    /// The cache in `dir`, which is made when there is something to keep. What is wrong with it is told in the log, and costs
    /// no more than its use.
    pub fn open(dir: &Path, limits: DiskLimits) -> DiskCache {
        let shared = Arc::new(Shared::new(dir, limits));
        let (orders, received) = channel();
        let keeper = Keeper::new(Arc::clone(&shared), received);
        let started = std::thread::Builder::new()
            .name("binlogfs-cache".to_owned())
            .spawn(move || keeper.run());
        let orders = match started {
            Ok(_) => Some(orders),
            Err(error) => {
                tracing::warn!(%error, "no frames are kept on disk: their thread cannot be started");
                None
            }
        };
        DiskCache { shared, orders }
    }

    /// The cache in `dir`, for looking only: nothing is written to it.
    pub fn look_only(dir: &Path) -> DiskCache {
        DiskCache {
            shared: Arc::new(Shared::new(dir, DiskLimits::default())),
            orders: None,
        }
    }

    /// The part of a stream; `url` is what people know it by.
    pub fn stream(&self, id: Uuid, url: &str) -> StreamDisk {
        let dir = self.shared.root.join(id.to_string());
        let mut streams = self.shared.streams();
        let known = streams.iter().find(|stream| stream.dir == dir);
        let stream = known.map_or_else(
            || {
                Arc::new(StreamShared {
                    dir,
                    url: url.to_owned(),
                    counts: Counts::default(),
                })
            },
            Arc::clone,
        );
        if known.is_none() {
            streams.push(Arc::clone(&stream));
        }
        drop(streams);
        StreamDisk {
            cache: self.clone(),
            stream,
        }
    }

    /// Waits until all that was given to it is written, for as long as `patience`; tells whether it was. Blocks.
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(orders) = &self.orders else {
            return true;
        };
        let (done, flushed) = sync_channel(1);
        orders.send(Order::Flush(done)).is_ok() && flushed.recv_timeout(patience).is_ok()
    }
}

impl Shared {
    fn new(dir: &Path, limits: DiskLimits) -> Shared {
        Shared {
            root: dir.join(VERSION),
            limits,
            streams: Mutex::default(),
            loads: Arc::new(Semaphore::new(LOADS)),
            queued_bytes: AtomicU64::new(0),
            used_bytes: AtomicU64::new(NOT_COUNTED),
            evicted: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
            keeping: Rest::default(),
            looking: Rest::default(),
        }
    }

    /// A place in the queue for so many bytes; whoever takes them out gives it back.
    fn reserve(&self, bytes: u64) -> bool {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) <= QUEUE_BYTES {
            return true;
        }
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
        false
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Arc<StreamShared>>> {
        // A list that only grows is sound after a panic elsewhere.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamDisk {
    /// Keeps `frames` of the object `key`, which were proven, out of `bytes`, which begin at object offset `start`. Returns
    /// at once; they are written later, or not at all if too much waits already.
    pub fn keep(
        &self,
        key: &ObjectKey,
        segment: &OpenSegment,
        frames: &[u32],
        bytes: &Bytes,
        start: u64,
    ) {
        let Some(orders) = &self.cache.orders else {
            return;
        };
        let shared = &self.cache.shared;
        let held = bytes.len() as u64;
        let place = |frame: &u32| {
            let range = segment.object_range(*frame..*frame + 1);
            let within = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
            let range: Range<usize> = within(range.start)?..within(range.end)?;
            (range.end <= bytes.len()).then_some((*frame, range))
        };
        let frames: Vec<_> = frames.iter().filter_map(place).collect();
        let (count, counts) = (frames.len() as u64, &self.stream.counts);
        if frames.is_empty() {
            return;
        }
        if shared.keeping.is_on() || !shared.reserve(held) {
            counts.skipped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        let run = Run {
            stream: Arc::clone(&self.stream),
            tag: ObjectTag::of(key),
            bytes: bytes.clone(),
            frames,
        };
        if orders.send(Order::Keep(run)).is_err() {
            shared.queued_bytes.fetch_sub(held, Ordering::AcqRel);
        }
    }

    /// The cache that it is a part of.
    pub fn cache(&self) -> &DiskCache {
        &self.cache
    }

    /// How it is doing.
    pub fn figures(&self) -> DiskFigures {
        let shared = &self.cache.shared;
        DiskFigures {
            dir: shared.root.display().to_string(),
            counts: self.stream.counts.now(),
            used_bytes: Some(shared.used_bytes.load(Ordering::Relaxed))
                .filter(|used| *used != NOT_COUNTED),
            size_bytes: shared.limits.size_bytes,
            evicted: shared.evicted.load(Ordering::Relaxed),
            evicted_bytes: shared.evicted_bytes.load(Ordering::Relaxed),
            not_keeping: shared.keeping.why(),
            not_looking: shared.looking.why(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_the_queue_is_not_kept() {
        let shared = Shared::new(Path::new("/nowhere"), DiskLimits::default());
        assert!(shared.reserve(QUEUE_BYTES - 1));
        assert!(!shared.reserve(2));
        assert!(shared.reserve(1));
        assert!(!shared.reserve(u64::MAX / 2));
        assert_eq!(shared.queued_bytes.load(Ordering::Relaxed), QUEUE_BYTES);
    }
}
