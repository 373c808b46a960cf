//! The disk cache: right bytes or the store's, whatever happens to the files and to the disk that they are on.

mod commands;
mod damage;
mod disks;
mod failing_disk;
mod faults;
mod mounted;
mod sharing;
mod status;

use crate::fixture::{Archive, FRAME, Segment, content, key_of, readable};
use crate::tools::eventually_async as eventually;
use binlogfs::cache::disk::{DiskCache, DiskLimits, KeepFree, StreamDisk};
use binlogfs::cache::opening::TailCache;
use binlogfs::cache::{ArchivedSegment, CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::store::{RecordingStore, SharedStore, Store as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Room for everything.
const AMPLE: DiskLimits = DiskLimits {
    size_bytes: 1 << 30,
    keep_free: KeepFree::Bytes(0),
};

/// What a stream's frames are kept under.
const STREAM: Uuid = Uuid::from_u128(7);

/// An archive, and a host that reads it.
struct Host {
    archive: Arc<Archive>,
    /// Counts what the store is asked.
    store: RecordingStore,
    /// Keeps tails, as a mount's index does.
    index: Arc<Index>,
    segments: Vec<ArchivedSegment>,
    truth: Vec<Vec<u8>>,
    frame_size: u32,
    dir: tempfile::TempDir,
}

impl Host {
    /// With `segments` segments of `frames` frames.
    async fn new(encrypted: bool, segments: u64, frames: usize) -> Host {
        Host::with_frames(encrypted, segments, frames, FRAME).await
    }

    /// With frames of so many bytes.
    async fn with_frames(encrypted: bool, segments: u64, frames: usize, frame_size: u32) -> Host {
        let archive = Archive::new(encrypted);
        let (mut entries, mut truth) = (Vec::new(), Vec::new());
        for number in 1..=segments {
            let bytes = content(number, frames * frame_size as usize - 100);
            let segment = Segment {
                frame_size,
                ..Segment::new(number, bytes.clone())
            };
            entries.push(archive.add(&segment).await);
            truth.push(bytes);
        }
        Host {
            frame_size,
            store: RecordingStore::new(archive.shared()),
            index: Arc::new(Index::in_memory().expect("opens")),
            segments: entries.iter().map(readable).collect(),
            truth,
            dir: tempfile::tempdir().expect("a directory"),
            archive,
        }
    }

    /// The directory of the cache.
    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A cache, as a process opens it.
    fn cache(&self, limits: DiskLimits) -> StreamDisk {
        cache_in(self.dir(), limits)
    }

    /// A reader that keeps nothing in memory.
    fn reader(&self, disk: &StreamDisk) -> SegmentReader {
        self.reader_with(disk, 0)
    }

    /// A reader that keeps so many bytes in memory.
    fn reader_with(&self, disk: &StreamDisk, frame_bytes: usize) -> SegmentReader {
        let store: SharedStore = Arc::new(self.store.clone());
        let tails: Arc<dyn TailCache> = Arc::clone(&self.index) as _;
        SegmentReader::with_disk(
            store,
            self.archive.identities(),
            Some(tails),
            Some(disk.clone()),
            CacheOptions {
                // Half of it is for frames that are kept.
                memory_bytes: 2 * frame_bytes,
                ..CacheOptions::default()
            },
        )
    }

    /// Reads all segments, which must be right.
    async fn read_all(&self, reader: &SegmentReader) {
        for (segment, truth) in self.segments.iter().zip(&self.truth) {
            let got = reader.read(segment, 0, u64::MAX).await.expect("reads");
            assert!(got == *truth, "{}: wrong bytes", segment.name());
        }
    }

    /// Frames of all segments.
    fn frames(&self) -> u64 {
        let frames = self
            .truth
            .iter()
            .map(|bytes| bytes.len().div_ceil(self.frame_size as usize));
        frames.sum::<usize>() as u64
    }

    /// Reads everything, and waits until it is on disk.
    async fn warm(&self, disk: &StreamDisk) {
        self.read_all(&self.reader(disk)).await;
        let frames = self.frames();
        eventually("all is kept", || files(self.dir()).len() as u64 == frames).await;
    }

    /// Waits until all that was given to the cache is written.
    async fn flush(&self, disk: &StreamDisk) {
        let cache = disk.cache().clone();
        let flush = move || cache.flush(Duration::from_secs(10));
        let flushed = tokio::task::spawn_blocking(flush).await;
        assert!(flushed.expect("ends"), "the cache answers");
    }

    /// Ranged gets of segments so far.
    fn gets(&self) -> u64 {
        self.store.total("get").calls
    }
}

fn cache_in(dir: &Path, limits: DiskLimits) -> StreamDisk {
    DiskCache::open(dir, limits).stream(STREAM, "memory:")
}

/// The frames that are on disk, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        // What is removed meanwhile is not there.
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                dirs.push(path);
            } else if name.contains('-') && !name.starts_with('.') {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_once_is_read_again_after_a_restart_without_asking_the_store() {
    for encrypted in [false, true] {
        let host = Host::new(encrypted, 3, 9).await;
        host.warm(&host.cache(AMPLE)).await;
        host.store.reset();
        let disk = host.cache(AMPLE);
        host.read_all(&host.reader(&disk)).await;
        assert_eq!(host.gets(), 0);
        let counts = disk.figures().counts;
        assert_eq!((counts.hits, counts.misses), (host.frames(), 0));
        assert_eq!((counts.kept, counts.faults, counts.skipped), (0, 0, 0));
        let bytes: u64 = files(host.dir())
            .iter()
            .map(|path| path.metadata().expect("there").len())
            .sum();
        assert_eq!(counts.hit_bytes, bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_is_a_part_of_the_object_and_of_nobody_elses_business() {
    use std::os::unix::fs::PermissionsExt as _;
    for encrypted in [false, true] {
        let host = Host::new(encrypted, 2, 5).await;
        host.warm(&host.cache(AMPLE)).await;
        let mut objects = Vec::new();
        for segment in &host.segments {
            let object = host.archive.store.get_all(segment.key(), 1 << 20).await;
            objects.push(object.expect("there"));
        }
        for path in files(host.dir()) {
            let bytes = std::fs::read(&path).expect("readable");
            let within = |object: &bytes::Bytes| object.windows(bytes.len()).any(|w| w == bytes);
            assert!(objects.iter().any(within), "{}", path.display());
            let mode = path.metadata().expect("there").permissions().mode();
            let above = path.parent().expect("a shard").metadata().expect("there");
            assert_eq!(
                (mode & 0o777, above.permissions().mode() & 0o777),
                (0o600, 0o700)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_of_one_frame_beside_others_on_disk_fetches_that_frame_only() {
    let host = Host::new(false, 1, 12).await;
    let disk = host.cache(AMPLE);
    host.warm(&disk).await;
    let all = files(host.dir());
    std::fs::remove_file(&all[3]).expect("there");
    std::fs::remove_file(&all[7]).expect("there");
    host.store.reset();
    host.read_all(&host.reader(&disk)).await;
    let gets = host.store.calls_of("get");
    let bytes: u64 = gets.iter().map(|get| get.bytes).sum();
    assert!(gets.len() <= 2, "{gets:?}");
    let object = host
        .store
        .head(host.segments[0].key())
        .await
        .expect("there")
        .size;
    assert!(bytes < object / 4, "{bytes} of {object} bytes were fetched");
    eventually("they are kept again", || files(host.dir()) == all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_from_beginning_to_end_uses_what_is_there_and_looking_only_keeps_nothing() {
    let host = Host::new(true, 1, 20).await;
    let looking = || DiskCache::look_only(host.dir()).stream(STREAM, "memory:");
    let stream = async |disk: &StreamDisk| {
        let reader = host.reader(disk);
        let mut stream = reader.stream(&host.segments[0]).await.expect("opens");
        let mut got = Vec::new();
        while let Some(bytes) = stream.next().await {
            got.extend_from_slice(&bytes.expect("reads"));
        }
        assert!(got == host.truth[0]);
    };
    stream(&looking()).await;
    assert!(files(host.dir()).is_empty());
    stream(&host.cache(AMPLE)).await;
    eventually("all is kept", || files(host.dir()).len() == 20).await;
    host.store.reset();
    stream(&looking()).await;
    assert_eq!(host.gets(), 0);
    // One bad frame: its run is fetched.
    let path = &files(host.dir())[5];
    std::fs::write(path, b"x").expect("writable");
    stream(&looking()).await;
    assert!(host.gets() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_do_not_see_each_others_frames() {
    let host = Host::new(false, 1, 4).await;
    host.warm(&host.cache(AMPLE)).await;
    let other = DiskCache::open(host.dir(), AMPLE).stream(Uuid::from_u128(8), "memory:other");
    host.read_all(&host.reader(&other)).await;
    let counts = other.figures().counts;
    assert_eq!((counts.hits, counts.misses), (0, 4));
    let key = key_of(&host.archive.add(&Segment::new(2, content(2, 10))).await);
    assert_ne!(&key, host.segments[0].key());
}
