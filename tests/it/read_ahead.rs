//! Reading ahead and its bounds, over stores that record: what is fetched, how often, and in how much memory.

mod memory;
mod mounted;

use crate::fixture::{Archive, FRAME, Segment, content, readable};
use async_trait::async_trait;
use binlogfs::cache::{ArchivedSegment, CacheOptions, Cause, Place, SegmentReader, Succession};
use binlogfs::ledger::Entry;
use binlogfs::model::Seq;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{RecordingStore, SharedStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What must happen happens within this, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The entries of an archive, one after the other.
struct Order(Vec<Entry>);

#[async_trait]
impl Succession for Order {
    async fn after(&self, place: Seq) -> Option<(Seq, ArchivedSegment)> {
        let next = self.0.iter().find(|entry| entry.seq > place)?;
        Some((next.seq, readable(next)))
    }
}

/// An archive of `files` segments, and a reader of it that is recorded.
struct Bench {
    recording: RecordingStore,
    reader: Arc<SegmentReader>,
    entries: Vec<Entry>,
    contents: Vec<Vec<u8>>,
    order: Arc<Order>,
}

impl Bench {
    async fn new(files: &[usize], memory_bytes: usize) -> Bench {
        // Without encryption, whose chunks are larger than these frames.
        let archive = Archive::new(false);
        let (mut entries, mut contents) = (Vec::new(), Vec::new());
        for (number, bytes) in (1..).zip(files) {
            let bytes = content(number, *bytes);
            entries.push(archive.add(&Segment::new(number, bytes.clone())).await);
            contents.push(bytes);
        }
        let recording = RecordingStore::new(archive.shared());
        let options = CacheOptions {
            memory_bytes,
            ..CacheOptions::default()
        };
        let store: SharedStore = Arc::new(recording.clone());
        let reader = SegmentReader::new(store, archive.identities(), None, options);
        Bench {
            recording,
            reader: Arc::new(reader),
            order: Arc::new(Order(entries.clone())),
            entries,
            contents,
        }
    }

    fn place(&self, file: usize) -> Place {
        Place {
            seq: self.entries[file].seq,
            order: self.order.clone(),
        }
    }

    /// Reads a part of a file, and checks it.
    async fn read(&self, file: usize, offset: usize, len: usize) {
        let (segment, place) = (readable(&self.entries[file]), self.place(file));
        let got = self
            .reader
            .read_at(&segment, Some(&place), offset as u64, len as u64)
            .await
            .expect("reads");
        let whole = &self.contents[file];
        assert!(got == whole[offset..(offset + len).min(whole.len())]);
    }

    /// Gets of a file's object.
    fn gets(&self, file: usize) -> usize {
        let segment = readable(&self.entries[file]);
        let mut calls = self.recording.calls_of("get");
        calls.retain(|call| call.key == segment.key().as_str());
        calls.len()
    }

    /// Waits until nothing is on its way.
    async fn settle(&self) {
        let held = || {
            self.reader
                .used_bytes()
                .saturating_sub(self.reader.held_bytes() as u64)
        };
        let mut last = None;
        while last != Some((self.recording.total("get"), held())) {
            last = Some((self.recording.total("get"), held()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_nears_the_end_of_a_file_has_the_next_one_opened_and_begun() {
    let frame = FRAME as usize;
    // The second is so long that it does not come whole.
    let bench = Bench::new(&[20 * frame, 100 * frame, 20 * frame], 4 << 20).await;
    for offset in (0..20 * frame).step_by(1024) {
        bench.read(0, offset, 1024).await;
    }
    bench.settle().await;
    let begun = bench.gets(1);
    assert!(begun >= 2, "header with frames, tail: {begun} gets");
    for offset in (0..8 * frame).step_by(1024) {
        bench.read(1, offset, 1024).await;
    }
    bench.settle().await;
    let segment = readable(&bench.entries[1]);
    let mut calls = bench.recording.calls_of("get");
    calls.retain(|call| call.key == segment.key().as_str() && call.bytes > 0);
    let ranges: std::collections::BTreeSet<_> = calls
        .iter()
        .map(|call| call.range.clone().expect("a range").start)
        .collect();
    assert_eq!(ranges.len(), calls.len(), "nothing twice: {calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_read_one_after_the_other_are_there_before_they_are_asked_for() {
    let bench = Bench::new(&[500; 40], 64 << 20).await;
    let mut there = 0;
    for file in 0..40 {
        bench.read(file, 0, 8192).await;
        let begun = Instant::now();
        let mut is_there = file == 39;
        while !is_there && begun.elapsed() < Duration::from_secs(1) {
            is_there = bench.gets(file + 1) == 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        there += usize::from(is_there);
    }
    // On a busy host steps across a border are left out when too many are under way; nobody asks for them again.
    assert!(there >= 30, "{there} of 40 were there");
    for file in 0..40 {
        assert_eq!(bench.gets(file), 1, "header, frame and tail of {file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_in_the_middle_leaves_the_next_file_alone() {
    let frame = FRAME as usize;
    let bench = Bench::new(&[200 * frame, 20 * frame], 1 << 20).await;
    for offset in (0..50 * frame).step_by(1024) {
        bench.read(0, offset, 1024).await;
    }
    bench.read(0, 150 * frame, 100).await;
    bench.settle().await;
    assert_eq!(bench.gets(1), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_readers_of_one_file_are_each_read_ahead_for() {
    let frame = FRAME as usize;
    let frames = 400;
    let bench = Bench::new(&[frames * frame], 8 << 20).await;
    let readers = 4;
    for offset in (0..frames / readers * frame).step_by(1024) {
        for reader in 0..readers {
            bench
                .read(0, reader * frames / readers * frame + offset, 1024)
                .await;
        }
    }
    let gets = bench.gets(0);
    assert!(gets < frames / 4, "{gets} gets of {frames} frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_share_little_memory_and_all_proceed() {
    let frame = FRAME as usize;
    let frames = 32;
    // Not even one frame for each reader.
    let memory = 64 * FRAME as usize;
    let bench = Arc::new(Bench::new(&[frames * frame; 16], memory).await);
    let readers: Vec<_> = (0..128)
        .map(|n| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                for offset in (0..frames * frame).step_by(frame + 1) {
                    // Of two frames each.
                    bench.read(n % 16, offset, frame).await;
                    assert!(bench.reader.used_bytes() <= memory as u64);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.expect("ends well");
    }
    bench.settle().await;
    assert!(bench.reader.held_bytes() <= memory / 2);
}

/// On one thread, so that what begins first is first in the queue.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_memory_holds_no_frame_that_others_wait_for() {
    let frame = FRAME as usize;
    // Room for eight frames: three are kept, and five are for those who read.
    let bench = Bench::new(&[4 * frame; 6], 8 * frame).await;
    for file in 0..3 {
        let opened = bench.reader.probe(&readable(&bench.entries[file])).await;
        opened.expect("opens");
    }
    // Of three files the first frame is here.
    for file in 3..6 {
        bench.read(file, 0, 10).await;
    }
    bench.settle().await;
    // All read across a border. Those that have nothing come first, and what they fetch pushes the frames out that the others have.
    let across = |file| bench.read(file, frame - 10, 20);
    futures::join!(
        across(0),
        across(1),
        across(2),
        across(3),
        across(4),
        across(5)
    );
    bench.settle().await;
    assert!(bench.reader.held_bytes() <= 4 * frame);
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_fetch_late_outlasts_it() {
    let archive = Archive::new(false);
    let bytes = content(1, 100);
    let segment = readable(&archive.add(&Segment::new(1, bytes.clone())).await);
    // What is asked in the first 25 seconds is never answered.
    let begun = tokio::time::Instant::now();
    let clock = FaultClock::new(move |_| match begun.elapsed() < Duration::from_secs(25) {
        true => Fault::Delay(Duration::from_secs(3600)),
        false => Fault::None,
    });
    let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
    let options = CacheOptions::default();
    let reader = SegmentReader::new(store, archive.identities(), None, options);
    let first = reader.read(&segment, 0, 10);
    let second = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        reader.read(&segment, 20, 10).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first.expect_err("hangs").cause, Cause::Timeout(_)));
    assert_eq!(second.expect("the store is back"), bytes[20..30]);
    assert!(begun.elapsed() < Duration::from_secs(31));
}
