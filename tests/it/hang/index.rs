//! An index that hangs, as on a disk of the network that is away: what asks it ends, and what does not goes on.

use crate::fixture::{Archive, ArchiveSource, Segment, content, readable};
use async_trait::async_trait;
use binlogfs::cache::opening::TailCache;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::view::View;
use binlogfs::fs::{History, HistorySource, Ownership, Refreshed, SourceError};
use binlogfs::ledger::Entry;
use binlogfs::model::{ObjectKey, Seq};
use bytes::Bytes;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(500);
/// What an answer may take longer on a busy machine.
const GRACE: Duration = Duration::from_secs(4);
/// A test that fails ends all the same: the runtime waits for the thread that hangs.
const LONGEST: Duration = Duration::from_secs(20);
/// The root, as the kernel names it.
const ROOT_INO: u64 = 1;
const FILE_BYTES: usize = 10_000;

/// An index that gives no entry while it is silent.
struct Silent {
    inner: ArchiveSource,
    is_silent: AtomicBool,
}

#[async_trait]
impl HistorySource for Silent {
    async fn refresh(&self) -> Result<Refreshed, SourceError> {
        self.inner.refresh().await
    }

    fn extend(&self, history: &mut History) -> Result<(), SourceError> {
        self.inner.extend(history)
    }

    fn entry(&self, seq: Seq) -> Result<Option<Entry>, SourceError> {
        let begun = Instant::now();
        while self.is_silent.load(Ordering::SeqCst) && begun.elapsed() < LONGEST {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.inner.entry(seq)
    }
}

/// The view of two files, its index, and the bytes of the first, `binlog.000001`.
async fn view() -> (Arc<View>, Arc<Silent>, Vec<u8>) {
    let archive = Archive::new(false);
    let bytes = content(1, FILE_BYTES);
    archive.add(&Segment::new(1, bytes.clone())).await;
    archive.add(&Segment::new(2, content(2, FILE_BYTES))).await;
    let options = CacheOptions {
        deadline: DEADLINE,
        ..CacheOptions::default()
    };
    let reader = SegmentReader::new(archive.shared(), archive.identities(), None, options);
    let source = Arc::new(Silent {
        inner: ArchiveSource(archive),
        is_silent: AtomicBool::new(false),
    });
    let mut history = History::default();
    source.extend(&mut history).expect("reads");
    let ownership = Ownership {
        uid: 0,
        gid: 0,
        mode: 0o440,
    };
    let view = View::new(
        Arc::clone(&source) as _,
        Arc::new(reader),
        history,
        ownership,
    );
    (Arc::new(view), source, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_does_not_answer_ends_opens_and_attributes_at_the_deadline() {
    let (view, source, bytes) = view().await;
    let name = OsStr::new("binlog.000001");
    let ino = view.lookup(ROOT_INO, name).expect("there").ino;
    let before = Arc::clone(&view).open(ino).await.expect("opens").handle;
    source.is_silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let opened = Arc::clone(&view).open(ino).await;
    assert_eq!(opened.map(|file| file.handle), Err(libc::ETIMEDOUT));
    let attribute = OsStr::new("user.binlogfs.state");
    let told = Arc::clone(&view).xattr(ino, attribute, 100).await;
    assert_eq!(told.err(), Some(libc::ETIMEDOUT));
    let told = Arc::clone(&view).xattrs(ino, 1000).await;
    assert_eq!(told.err(), Some(libc::ETIMEDOUT));
    let took = begun.elapsed();
    assert!(took >= DEADLINE * 3, "{took:?}");
    assert!(took < DEADLINE * 3 + GRACE, "{took:?}");
    // What is open already needs no index.
    let read = Arc::clone(&view).read(before, 0, 100).await;
    assert_eq!(read.expect("reads"), &bytes[..100]);
    source.is_silent.store(false, Ordering::SeqCst);
    let after = Arc::clone(&view).open(ino).await.expect("opens again");
    let read = Arc::clone(&view).read(after.handle, 0, 100).await;
    assert_eq!(read.expect("reads"), &bytes[..100]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reads_ahead_waits_for_an_index_no_longer_than_a_read_may() {
    let (view, source, bytes) = view().await;
    let name = OsStr::new("binlog.000001");
    let ino = view.lookup(ROOT_INO, name).expect("there").ino;
    let file = Arc::clone(&view).open(ino).await.expect("opens").handle;
    source.is_silent.store(true, Ordering::SeqCst);
    // To its end, and the next file is begun: whoever does that has the view until it knows which it is.
    let read = Arc::clone(&view).read(file, 0, FILE_BYTES as u32).await;
    assert_eq!(read.expect("reads"), bytes);
    let becomes = async |waits: bool, within: Duration| {
        let end = Instant::now() + within;
        while (Arc::strong_count(&view) > 1) != waits && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (Arc::strong_count(&view) > 1) == waits
    };
    assert!(becomes(true, DEADLINE / 2).await, "it reads ahead");
    assert!(becomes(false, DEADLINE + GRACE).await, "it waits on");
    source.is_silent.store(false, Ordering::SeqCst);
}

/// Tails in an index that is silent.
struct SilentTails(AtomicBool);

impl SilentTails {
    fn wait(&self) {
        let begun = Instant::now();
        while self.0.load(Ordering::SeqCst) && begun.elapsed() < LONGEST {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl TailCache for SilentTails {
    fn load(&self, _: &ObjectKey) -> Option<(Bytes, Bytes)> {
        self.wait();
        None
    }

    fn keep(&self, _: &ObjectKey, _: &[u8], _: &[u8]) {
        self.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_told_of_tails_that_are_kept_is_had_from_the_store() {
    let archive = Archive::new(false);
    let mut files = Vec::new();
    // More than threads may wait.
    for number in 1..=40 {
        let bytes = content(number, 1000);
        let entry = archive.add(&Segment::new(number, bytes.clone())).await;
        files.push((readable(&entry), bytes));
    }
    let options = CacheOptions {
        deadline: Duration::from_secs(8),
        ..CacheOptions::default()
    };
    let tails = Arc::new(SilentTails(AtomicBool::new(true)));
    let kept = Some(Arc::clone(&tails) as Arc<dyn TailCache>);
    let reader = SegmentReader::new(archive.shared(), archive.identities(), kept, options);
    let reads = files
        .iter()
        .map(|(segment, _)| reader.read(segment, 0, 1000));
    let reads = futures::future::join_all(reads).await;
    tails.0.store(false, Ordering::SeqCst);
    for (read, (_, bytes)) in reads.into_iter().zip(&files) {
        assert_eq!(read.expect("reads"), &bytes[..]);
    }
}
