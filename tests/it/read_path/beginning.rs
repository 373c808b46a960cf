//! Who reads a file from its start waits for the store once: its first frame comes with what opens it.

use super::{reader_of, recorded};
use crate::fixture::{Archive, Segment, content, readable};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::ledger::Entry;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{Call, ErrorKind, RecordingStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

const FRAME: u32 = 64 << 10;
const FRAMES: usize = 40;

/// Bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A file of so many frames, and its content.
async fn large(archive: &Archive, bytes: Vec<u8>) -> Entry {
    let segment = Segment {
        frame_size: FRAME,
        ..Segment::new(1, bytes)
    };
    archive.add(&segment).await
}

/// Gets that fetched something.
fn gets(recording: &RecordingStore) -> Vec<Call> {
    let mut calls = recording.calls_of("get");
    calls.retain(|call| call.bytes > 0);
    calls
}

#[tokio::test]
async fn the_first_frame_comes_with_what_opens_the_file() {
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let bytes = noise(1, FRAMES * FRAME as usize);
        let entry = large(&archive, bytes.clone()).await;
        let segment = readable(&entry);

        let (recording, reader) = recorded(&archive);
        let got = reader.read(&segment, 5, 100).await.expect("reads");
        assert_eq!(got, bytes[5..105]);
        let calls = gets(&recording);
        assert_eq!(
            calls.len(),
            2,
            "with the first frame, and the tail: {calls:?}"
        );
        let size = entry.segment.as_ref().expect("there").object.size;
        let fetched: u64 = calls.iter().map(|call| call.bytes).sum();
        assert!(fetched < size / 5, "{fetched} of {size} bytes");

        // Who reads elsewhere has no use for it.
        let (recording, reader) = recorded(&archive);
        let middle = u64::from(FRAME) * 20;
        reader.read(&segment, middle, 100).await.expect("reads");
        let calls = gets(&recording);
        assert_eq!(calls.len(), 2 + usize::from(encrypted), "{calls:?}");
        let at_start = |call: &&Call| call.range.clone().expect("a range").start < size / 4;
        let fetched: u64 = calls.iter().filter(at_start).map(|call| call.bytes).sum();
        assert!(fetched < 1024, "no more than a header: {calls:?}");
    }
}

#[tokio::test]
async fn of_a_first_frame_that_is_longer_than_others_the_rest_is_fetched() {
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let mut bytes = noise(2, FRAMES / 2 * FRAME as usize);
        bytes.resize(FRAMES * FRAME as usize, 0);
        let segment = readable(&large(&archive, bytes.clone()).await);
        let (recording, reader) = recorded(&archive);
        let got = reader.read(&segment, 0, 100).await;
        assert_eq!(got.expect("reads"), bytes[..100]);
        let whole = reader.read(&segment, 0, u64::MAX).await.expect("reads");
        assert!(whole == bytes);
        let mut ranges: Vec<_> = gets(&recording)
            .into_iter()
            .map(|call| call.range.expect("a range"))
            .collect();
        ranges.sort_by_key(|range| range.start);
        assert_eq!(ranges[0].start, 0, "{ranges:?}");
        assert!(ranges[0].end <= u64::from(FRAME) + 1024, "{ranges:?}");
        ranges.retain(|range| range.start < u64::from(2 * FRAME));
        let twice = ranges.windows(2).any(|two| two[1].start < two[0].end);
        assert!(!twice, "{ranges:?}");

        let mut stream = reader_of(archive.shared(), archive.identities())
            .stream(&segment)
            .await
            .expect("opens");
        let mut streamed = Vec::new();
        while let Some(part) = stream.next().await {
            streamed.extend_from_slice(&part.expect("right"));
        }
        assert!(streamed == bytes);
    }
}

#[tokio::test]
async fn without_memory_for_it_a_file_is_opened_as_ever() {
    let archive = Archive::new(true);
    let bytes = noise(3, FRAMES * FRAME as usize);
    let segment = readable(&large(&archive, bytes.clone()).await);
    let recording = RecordingStore::new(archive.shared());
    let options = CacheOptions {
        memory_bytes: 64 << 10,
        ..CacheOptions::default()
    };
    let store = Arc::new(recording.clone());
    let reader = SegmentReader::new(store, archive.identities(), None, options);
    let got = reader.read(&segment, 0, 100).await.expect("reads");
    assert_eq!(got, bytes[..100]);
    assert_eq!(gets(&recording).len(), 3, "header, tail, frame");
}

#[tokio::test]
async fn who_waits_for_memory_holds_no_beginning_meanwhile() {
    let archive = Archive::new(true);
    let bytes = content(6, FRAMES * FRAME as usize);
    let segment = readable(&large(&archive, bytes.clone()).await);
    // Of its frames as many are kept as there is room for in their half of the memory.
    let filling = Segment {
        frame_size: 16 << 10,
        ..Segment::new(2, content(5, 3 << 20))
    };
    let filling = readable(&archive.add(&filling).await);
    let options = CacheOptions {
        memory_bytes: 2 << 20,
        deadline: Duration::from_secs(10),
        ..CacheOptions::default()
    };
    let reader = SegmentReader::new(archive.shared(), archive.identities(), None, options);
    let filled = reader.read(&filling, 0, u64::MAX).await;
    filled.expect("reads");
    assert!(reader.held_bytes() > 1000 << 10);
    // That needs all of the other half, and the beginning is in it.
    let len = 16 * FRAME as usize;
    let got = reader.read(&segment, 0, len as u64).await;
    assert!(got.expect("reads") == bytes[..len]);
}

#[tokio::test(start_paused = true)]
async fn who_gave_up_while_a_file_was_opened_leaves_nothing_of_it_in_memory() {
    let archive = Archive::new(true);
    let bytes = content(7, FRAMES * FRAME as usize);
    let segment = readable(&large(&archive, bytes.clone()).await);
    let recording = RecordingStore::new(archive.shared());
    let slow = FaultClock::new(|_| Fault::Delay(Duration::from_secs(1)));
    let store = Arc::new(FaultStore::new(Arc::new(recording.clone()), slow));
    let reader = reader_of(store, archive.identities());
    let read = reader.read(&segment, 0, 100);
    let gave_up = tokio::time::timeout(Duration::from_millis(500), read).await;
    gave_up.expect_err("the store takes longer");
    assert!(reader.used_bytes() > 0, "it is being fetched");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gets(&recording).len(), 2, "it was opened all the same");
    assert_eq!(reader.used_bytes(), 0);
    let got = reader.read(&segment, 0, 100).await;
    assert_eq!(got.expect("reads"), bytes[..100]);
    assert_eq!(gets(&recording).len(), 3, "the frame");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_while_a_file_is_opened_has_its_beginning_too() {
    let archive = Archive::new(false);
    let bytes = noise(11, FRAMES * FRAME as usize);
    let segment = readable(&large(&archive, bytes.clone()).await);
    let recording = RecordingStore::new(archive.shared());
    let slow = FaultClock::new(|_| Fault::Delay(Duration::from_secs(1)));
    let store = Arc::new(FaultStore::new(Arc::new(recording.clone()), slow));
    let reader = reader_of(store, archive.identities());
    let (frame, len) = (u64::from(FRAME), FRAME as usize);
    // Who opens it leaves, and what came is of use for the second frame, and for those after it.
    let opens = reader.read(&segment, 0, frame);
    let opens = tokio::time::timeout(Duration::from_millis(500), opens);
    let (gave_up, got) = tokio::join!(opens, reader.read(&segment, frame, frame));
    gave_up.expect_err("the store takes longer");
    assert!(got.expect("reads") == bytes[len..2 * len]);
    for n in 2..8 {
        let got = reader.read(&segment, n * frame, frame).await;
        let at = n as usize * len;
        assert!(got.expect("reads") == bytes[at..at + len], "{n}");
    }
    let mut calls = gets(&recording);
    calls.retain(|call| call.range.clone().expect("a range").start < 5 * frame);
    assert_eq!(calls.len(), 1, "{calls:?}");
}

#[tokio::test]
async fn a_beginning_that_is_cut_off_or_wrong_is_fetched_again() {
    let bytes = content(8, FRAMES * FRAME as usize);
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let segment = readable(&large(&archive, bytes.clone()).await);
        for fault in [Fault::TruncatedBody, Fault::WrongBody] {
            // The beginning, the tail, and what comes after them.
            for n in 0..4 {
                let clock = FaultClock::nth(n, fault);
                let store = Arc::new(FaultStore::new(archive.shared(), clock));
                let reader = reader_of(store, archive.identities());
                let len = 3 * FRAME as usize;
                let got = reader.read(&segment, 0, len as u64).await;
                assert!(got.is_ok_and(|got| got == bytes[..len]), "{fault:?} at {n}");
            }
        }
    }
}

#[tokio::test]
async fn a_beginning_that_cannot_be_read_does_not_keep_a_file_from_being_opened() {
    // Of so many frames, and one that comes whole.
    for frames in [FRAMES, 1] {
        let archive = Archive::new(true);
        let bytes = content(9, frames * FRAME as usize);
        let segment = readable(&large(&archive, bytes.clone()).await);
        let read = async |n, kind| {
            let clock = FaultClock::nth(n, Fault::ErrorBefore(kind));
            let store = Arc::new(FaultStore::new(archive.shared(), clock));
            let reader = reader_of(store, archive.identities());
            reader.read(&segment, 0, 100).await
        };
        // Such as a disk of which the second frame cannot be read.
        let got = read(0, ErrorKind::Permanent).await;
        assert_eq!(got.expect("reads the first"), bytes[..100]);
        // A store that refuses is not asked again for less.
        read(0, ErrorKind::Denied).await.expect_err("denied");
    }
}

/// Waits until `reader` has fetched something `count` times; what, in the order of the object.
async fn fetched(recording: &RecordingStore, count: usize) -> Vec<Call> {
    let begun = Instant::now();
    while gets(recording).len() < count {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            gets(recording)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut calls = gets(recording);
    calls.sort_by_key(|call| call.range.clone().expect("a range").start);
    calls
}

#[tokio::test]
async fn the_frame_that_is_waited_for_next_comes_alone() {
    let archive = Archive::new(false);
    let segment = readable(&large(&archive, noise(4, FRAMES * FRAME as usize)).await);
    let (recording, reader) = recorded(&archive);
    let middle = u64::from(FRAME) * 20;
    let first = reader.read(&segment, middle, u64::from(FRAME)).await;
    first.expect("reads");
    let calls = fetched(&recording, 4).await;
    let [frame, next, others, _tail] = &calls[..] else {
        panic!("more is fetched: {calls:?}");
    };
    assert_eq!(frame.bytes, next.bytes, "one frame each: {calls:?}");
    assert!(others.bytes > 2 * next.bytes, "{calls:?}");
}

#[tokio::test]
async fn who_asks_for_a_whole_frame_at_once_has_the_next_ones_with_it() {
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let bytes = noise(10, FRAMES * FRAME as usize);
        let segment = readable(&large(&archive, bytes.clone()).await);
        let (recording, reader) = recorded(&archive);
        let (frame, len) = (u64::from(FRAME), FRAME as usize);
        let got = reader.read(&segment, 0, frame).await.expect("reads");
        assert!(got == bytes[..len]);
        let calls = fetched(&recording, 2).await;
        assert!(calls[0].bytes > 5 * frame, "five frames: {calls:?}");
        // And less than one more, and the rest of a chunk.
        assert!(calls[0].bytes < 7 * frame, "{calls:?}");
        for n in 1..40 {
            let got = reader.read(&segment, n * frame, frame).await;
            let at = n as usize * len;
            assert!(got.expect("reads") == bytes[at..at + len], "{n}");
        }
        // What came with it is not fetched again: but for a chunk at an edge, which neighbours share.
        let calls = gets(&recording);
        let fetched: u64 = calls.iter().map(|call| call.bytes).sum();
        let size = recording_size(&calls);
        assert!(fetched <= size + frame, "{fetched} of {size}: {calls:?}");
    }
}

/// Where the object ends: with its tail.
fn recording_size(calls: &[Call]) -> u64 {
    let ends = calls
        .iter()
        .map(|call| call.range.clone().expect("a range").end);
    ends.max().expect("gets")
}
