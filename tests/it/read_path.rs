//! The read path over stores that record, fail and stall.

mod arriving;
mod beginning;
mod failing;

use crate::fixture::{Archive, FRAME, Segment, content, readable};
use binlogfs::cache::refused::REFUSAL_MEMORY;
use binlogfs::cache::{CacheOptions, Cause, SegmentReader};
use binlogfs::segment::Identities;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, RecordingStore, SharedStore};
use std::sync::Arc;
use std::time::Duration;

fn reader_of(store: SharedStore, identities: Identities) -> Arc<SegmentReader> {
    let options = CacheOptions {
        memory_bytes: 2 << 20,
        ..CacheOptions::default()
    };
    Arc::new(SegmentReader::new(store, identities, None, options))
}

fn reader(archive: &Archive) -> Arc<SegmentReader> {
    reader_of(archive.shared(), archive.identities())
}

/// A reader, and what it asks the store for.
fn recorded(archive: &Archive) -> (RecordingStore, Arc<SegmentReader>) {
    let recording = RecordingStore::new(archive.shared());
    let reader = reader_of(Arc::new(recording.clone()), archive.identities());
    (recording, reader)
}

#[tokio::test]
async fn every_range_is_the_files_and_the_end_is_the_end() {
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let bytes = content(1, 10 * FRAME as usize + 77);
        let entry = archive.add(&Segment::new(1, bytes.clone())).await;
        let (reader, segment) = (reader(&archive), readable(&entry));
        let size = bytes.len();
        for (offset, len) in [
            (0, 1),
            (0, size),
            (1, FRAME as usize),
            (FRAME as usize - 1, 2),
            (5000, 30_000),
            (size - 1, 1),
            (size - 1, 100),
            (size, 10),
            (size + 5, 10),
            (0, 0),
            (3, usize::MAX),
        ] {
            let got = reader.read(&segment, offset as u64, len as u64).await;
            let from = offset.min(size);
            let expected = &bytes[from..from.saturating_add(len).min(size)];
            assert_eq!(got.expect("reads"), expected, "{offset}+{len}");
        }
        assert_eq!(
            reader.read(&segment, u64::MAX, 1).await.expect("the end"),
            ""
        );
    }
}

#[tokio::test]
async fn of_frames_whose_ends_were_read_the_rest_is_still_there() {
    const FRAMES: u64 = 160;
    let frame: u32 = 64 << 10;
    let archive = Archive::new(false);
    let bytes = content(4, FRAMES as usize * frame as usize);
    let segment = Segment {
        frame_size: frame,
        ..Segment::new(1, bytes)
    };
    let segment = readable(&archive.add(&segment).await);
    let recording = RecordingStore::new(archive.shared());
    let store = Arc::new(recording.clone());
    let options = CacheOptions::default();
    let reader = SegmentReader::new(store, archive.identities(), None, options);
    let frame = u64::from(frame);
    for end in (1..=FRAMES).map(|n| n * frame) {
        reader.read(&segment, end - 100, 100).await.expect("reads");
    }
    let fetched = recording.calls_of("get").len();
    for start in (0..FRAMES).map(|n| n * frame) {
        reader.read(&segment, start, 100).await.expect("reads");
    }
    assert_eq!(recording.calls_of("get").len(), fetched);
}

#[tokio::test]
async fn an_empty_file_is_empty() {
    let archive = Archive::new(true);
    let entry = archive.add(&Segment::new(1, Vec::new())).await;
    let segment = readable(&entry);
    assert_eq!(
        reader(&archive)
            .read(&segment, 0, 100)
            .await
            .expect("reads"),
        ""
    );
    let mut stream = reader(&archive).stream(&segment).await.expect("opens");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_readers_of_one_frame_cost_one_get_and_one_open() {
    let archive = Archive::new(true);
    let bytes = content(2, 4 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let (recording, reader) = recorded(&archive);
    let segment = Arc::new(readable(&entry));
    let readers: Vec<_> = (0..64)
        .map(|n| {
            let (reader, segment) = (reader.clone(), segment.clone());
            tokio::spawn(async move { reader.read(&segment, n, 100).await.expect("reads") })
        })
        .collect();
    for (n, task) in readers.into_iter().enumerate() {
        assert_eq!(task.await.expect("runs"), bytes[n..n + 100]);
    }
    // Header, frames and tail of so small an object come together.
    assert_eq!(recording.total("get").calls, 1, "{:?}", recording.calls());
}

#[tokio::test]
async fn a_run_of_missing_frames_is_one_get_and_what_is_cached_costs_none() {
    let archive = Archive::new(false);
    let bytes = content(3, 32 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let recording = RecordingStore::new(archive.shared());
    let reader = reader_of(Arc::new(recording.clone()), Identities::none());
    let segment = readable(&entry);
    reader.probe(&segment).await.expect("opens");
    recording.reset();
    let len = 8 * u64::from(FRAME);
    let first = reader.read(&segment, 0, len).await.expect("reads");
    assert_eq!(first, bytes[..len as usize]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let calls = recording.calls_of("get");
    assert!(
        calls.len() <= 3,
        "the run, the next frame and those after it: {calls:?}"
    );
    recording.reset();
    reader.read(&segment, 100, 1000).await.expect("reads");
    assert_eq!(recording.total("get").calls, 0);
}

#[tokio::test]
async fn a_forward_reader_fetches_every_frame_once_and_in_runs() {
    let archive = Archive::new(true);
    let frames = 100;
    let bytes = content(4, frames * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let (recording, reader) = recorded(&archive);
    let segment = readable(&entry);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let part = reader.read(&segment, got.len() as u64, 1024).await;
        got.extend_from_slice(&part.expect("reads"));
        tokio::task::yield_now().await;
    }
    assert!(got == bytes);
    let total = recording.total("get");
    assert!(total.calls < frames as u64 / 2, "{total:?}");
    let object = entry.segment.as_ref().expect("there").object.size;
    // Neighbouring runs share a chunk of 64 KiB, and fetch it once; the tail was fetched with the chunk that the last frame ends in.
    assert!(total.bytes <= object + (128 << 10), "{total:?} of {object}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_that_are_fetched_in_any_order_fetch_the_chunk_between_them_once() {
    let archive = Archive::new(true);
    let frames = 400;
    let bytes = content(14, frames * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let (recording, reader) = recorded(&archive);
    let segment = readable(&entry);
    reader.probe(&segment).await.expect("opens");
    recording.reset();
    // Each read is of 20 frames, and all are asked for at once: 80 KiB, which begin and end inside a chunk.
    let len = 20 * u64::from(FRAME);
    let mut starts: Vec<u64> = (0..frames as u64 / 20).map(|n| n * len).collect();
    starts.reverse();
    starts.swap(3, 11);
    let reads = starts
        .iter()
        .map(|start| reader.read(&segment, *start, len));
    let got = futures::future::join_all(reads).await;
    for (start, got) in starts.iter().zip(got) {
        assert!(got.expect("reads") == bytes[*start as usize..][..len as usize]);
    }
    let (total, object) = (recording.total("get"), entry.segment.expect("there").object);
    assert!(total.bytes <= object.size, "{total:?} of {object:?}");
}

#[tokio::test]
async fn a_get_that_fails_or_lies_takes_nothing_from_its_neighbours() {
    let archive = Archive::new(true);
    let bytes = content(15, 80 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let segment = readable(&entry);
    let len = 20 * u64::from(FRAME);
    for fault in [Fault::ErrorBefore(ErrorKind::Denied), Fault::WrongBody] {
        // Header and tail are the first two operations; any one of those after them is at fault.
        for n in 2..6 {
            let clock = FaultClock::nth(n, fault);
            let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
            let reader = reader_of(store, archive.identities());
            reader.probe(&segment).await.expect("opens");
            let reads = (0..4).map(|at| reader.read(&segment, at * len, len));
            let got = futures::future::join_all(reads).await;
            let failed = got.iter().filter(|got| got.is_err()).count();
            let may_fail = usize::from(matches!(fault, Fault::ErrorBefore(_)));
            assert!(failed <= may_fail, "{fault:?} at {n}: {got:?}");
            for (at, got) in (0_usize..).zip(got) {
                let from = at * len as usize;
                assert!(got.is_err() || got.is_ok_and(|got| got == bytes[from..][..len as usize]));
            }
        }
    }
}

#[tokio::test]
async fn a_get_that_is_cut_off_before_a_chunk_of_a_neighbour_is_made_again() {
    let archive = Archive::new(true);
    let bytes = content(16, 240 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let segment = readable(&entry);
    let len = 16 * u64::from(FRAME);
    // Header and tail are the first two operations.
    for n in 2..16 {
        let clock = FaultClock::nth(n, Fault::TruncatedBody);
        let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
        let reader = reader_of(store, archive.identities());
        reader.probe(&segment).await.expect("opens");
        // From the end on: each has the chunk at its end from the one before it.
        let reads = (0..15).rev().map(|at| reader.read(&segment, at * len, len));
        let got = futures::future::join_all(reads).await;
        for (at, got) in (0..15_usize).rev().zip(got) {
            let from = at * len as usize;
            let got = got.expect("cut off once");
            assert!(got == bytes[from..][..len as usize], "{at} at {n}");
        }
    }
}

#[tokio::test]
async fn memory_stays_within_its_budget() {
    let archive = Archive::new(false);
    let entry = archive.add(&Segment::new(1, content(5, 4 << 20))).await;
    let (reader, segment) = (reader(&archive), readable(&entry));
    for at in (0..4 << 20).step_by(50_000) {
        reader.read(&segment, at, 50_000).await.expect("reads");
        assert!(reader.held_bytes() <= 1 << 20);
    }
    assert!(reader.held_bytes() > 512 << 10);
}

#[tokio::test]
async fn without_a_key_and_with_a_wrong_one_nothing_is_read_and_nothing_is_fetched_in_vain() {
    let archive = Archive::new(true);
    let entry = archive.add(&Segment::new(1, content(10, 100))).await;
    let recording = RecordingStore::new(archive.shared());
    let none = reader_of(Arc::new(recording.clone()), Identities::none());
    let error = none
        .read(&readable(&entry), 0, 1)
        .await
        .expect_err("no key");
    assert!(matches!(error.cause, Cause::NoKey(_)));
    assert_eq!(recording.total("get").calls, 0);
    let other = reader_of(archive.shared(), Archive::new(true).identities());
    let error = other
        .read(&readable(&entry), 0, 1)
        .await
        .expect_err("no key");
    assert!(matches!(error.cause, Cause::NoKey(_)));
}

#[tokio::test]
async fn of_what_the_keys_do_not_open_the_store_is_asked_once_in_a_while() {
    let archive = Archive::new(true);
    let entry = archive.add(&Segment::new(1, content(14, 100))).await;
    let segment = readable(&entry);
    let recording = RecordingStore::new(archive.shared());
    let of_keys = |keys: &Archive| reader_of(Arc::new(recording.clone()), keys.identities());
    let wrong = of_keys(&Archive::new(true));
    let gets = async || {
        let read = wrong.read(&segment, 0, 1).await;
        let error = read.expect_err("no key");
        assert!(matches!(error.cause, Cause::NoKey(_)), "{error}");
        recording.total("get").calls
    };
    // Header and tail, and once more, in case it was the bytes.
    let first = gets().await;
    assert!(first > 0);
    assert_eq!(gets().await, first);
    tokio::time::pause();
    tokio::time::advance(REFUSAL_MEMORY).await;
    tokio::time::resume();
    assert_eq!(gets().await, 2 * first);
    // Other keys are another reader's.
    let read = of_keys(&archive).read(&segment, 0, 1).await;
    read.expect("the right key opens it");
}

#[tokio::test]
async fn a_stream_gives_the_whole_file_and_ends_only_if_its_digest_is_right() {
    let archive = Archive::new(true);
    let bytes = content(12, 30 * FRAME as usize + 5);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let reader = reader(&archive);
    let mut stream = reader.stream(&readable(&entry)).await.expect("opens");
    let mut got = Vec::new();
    while let Some(part) = stream.next().await {
        got.extend_from_slice(&part.expect("reads"));
    }
    assert!(got == bytes);
    assert_eq!(stream.position(), bytes.len() as u64);
    assert_eq!(reader.held_bytes(), 0);

    let mut lying = entry.clone();
    let record = lying.segment.as_mut().expect("there");
    record.sha256 = binlogfs::model::Sha256([7; 32]);
    let mut stream = reader.stream(&readable(&lying)).await.expect("opens");
    let mut last = None;
    while let Some(part) = stream.next().await {
        last = Some(part);
    }
    let error = last.expect("something").expect_err("another digest");
    assert!(matches!(error.cause, Cause::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn an_open_remembered_by_the_index_costs_no_get_and_a_bad_memory_is_a_miss() {
    let archive = Archive::new(true);
    let bytes = content(13, 3 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let index = Arc::new(binlogfs::index::Index::in_memory().expect("opens"));
    let recording = RecordingStore::new(archive.shared());
    let reader = || {
        let store: SharedStore = Arc::new(recording.clone());
        let options = CacheOptions::default();
        SegmentReader::new(store, archive.identities(), Some(index.clone()), options)
    };
    let segment = readable(&entry);
    reader().probe(&segment).await.expect("opens");
    assert_eq!(recording.total("get").calls, 2);
    while index.cached_open(segment.key()).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    recording.reset();
    let got = reader().read(&segment, 0, 100).await.expect("reads");
    assert_eq!(got, bytes[..100]);
    assert_eq!(recording.total("get").calls, 1);
    let (header, mut tail) = index.cached_open(segment.key()).expect("kept");
    tail[20] ^= 1;
    index
        .cache_open(segment.key(), &header, &tail)
        .expect("keeps");
    recording.reset();
    reader().probe(&segment).await.expect("opens all the same");
    assert_eq!(recording.total("get").calls, 2);
}
