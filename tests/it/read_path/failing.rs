//! Reads of what is damaged, and of a store that fails or hangs.

use super::{reader, reader_of};
use crate::fixture::{Archive, FRAME, Segment, content, key_of, readable};
use binlogfs::cache::Cause;
use binlogfs::segment::Identities;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, SharedStore, Store as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[tokio::test]
async fn a_failed_fetch_fails_its_readers_and_the_next_one_succeeds() {
    let archive = Archive::new(false);
    let bytes = content(6, 3 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    // Operation 0 is the tail (without encryption the header is empty and asked for all the same).
    let failing = Arc::new(AtomicU64::new(0));
    let left = failing.clone();
    let clock = FaultClock::new(move |_| {
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(_) => Fault::ErrorBefore(ErrorKind::Transient),
            Err(_) => Fault::None,
        }
    });
    let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
    let reader = reader_of(store, Identities::none());
    let segment = readable(&entry);
    for _ in 0..2 {
        failing.store(2, Ordering::SeqCst);
        let error = reader.read(&segment, 0, 10).await.expect_err("fails");
        assert!(matches!(&error.cause, Cause::Store(e) if e.kind == ErrorKind::Transient));
        failing.store(0, Ordering::SeqCst);
    }
    reader.probe(&segment).await.expect("opens");
    failing.store(1, Ordering::SeqCst);
    reader.read(&segment, 0, 10).await.expect_err("fails");
    assert_eq!(
        reader.read(&segment, 0, 10).await.expect("reads"),
        bytes[..10]
    );
}

#[tokio::test]
async fn a_reply_damaged_on_its_way_is_fetched_again() {
    let archive = Archive::new(true);
    let bytes = content(7, 3 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    for n in 0..3 {
        let clock = FaultClock::nth(n, Fault::WrongBody);
        let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
        let reader = reader_of(store, archive.identities());
        let got = reader.read(&readable(&entry), 10, 100).await;
        assert_eq!(got.expect("reads"), bytes[10..110]);
    }
}

#[tokio::test]
async fn damage_at_rest_is_never_served() {
    let archive = Archive::new(false);
    let bytes = content(8, 8 * FRAME as usize);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let key = key_of(&entry);
    let good = archive.store.get_all(&key, 1 << 20).await.expect("there");
    for at in (0..good.len()).step_by(997) {
        let mut bad = good.to_vec();
        bad[at] ^= 1 << (at % 8);
        archive.store.tamper(&key, bad);
        let (reader, segment) = (reader(&archive), readable(&entry));
        let mut failed = 0;
        for frame in 0..8 {
            let offset = frame * u64::from(FRAME);
            match reader.read(&segment, offset, u64::from(FRAME)).await {
                Ok(got) => assert_eq!(got, bytes[offset as usize..][..FRAME as usize]),
                Err(error) => {
                    assert!(matches!(error.cause, Cause::Corrupt(_)), "{error}");
                    failed += 1;
                }
            }
        }
        assert!(failed >= 1, "bit at {at}");
    }
}

#[tokio::test]
async fn a_damaged_segment_is_read_up_to_its_first_bad_event() {
    let archive = Archive::new(true);
    let bytes = content(9, 5 * FRAME as usize);
    let mut segment = Segment::new(1, bytes.clone());
    segment.first_bad_position = Some(10_001);
    let entry = archive.add(&segment).await;
    let (reader, segment) = (reader(&archive), readable(&entry));
    let got = reader.read(&segment, 9_000, 8192).await.expect("reads");
    assert_eq!(got, bytes[9_000..10_001]);
    for offset in [10_001, 15_000, bytes.len() as u64 - 1] {
        let error = reader.read(&segment, offset, 10).await.expect_err("damage");
        let Cause::Damaged {
            first_bad_position, ..
        } = error.cause
        else {
            panic!("{error}");
        };
        assert_eq!(first_bad_position, 10_001);
    }
    let end = bytes.len() as u64;
    assert_eq!(reader.read(&segment, end, 10).await.expect("the end"), "");
    let raw = segment.clone().raw();
    assert!(reader.read(&raw, 0, end).await.expect("reads") == bytes);

    let mut stream = reader.stream(&segment).await.expect("opens");
    let mut got = Vec::new();
    let error = loop {
        match stream.next().await.expect("ends with the damage") {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.cause, Cause::Damaged { .. }));
    assert!(got == bytes[..10_001]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_ends_a_read_at_its_deadline_and_its_repetition_at_once() {
    let archive = Archive::new(false);
    let entry = archive.add(&Segment::new(1, content(11, 100))).await;
    let clock = FaultClock::new(|_| Fault::Delay(Duration::from_secs(3600)));
    let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
    let reader = reader_of(store, Identities::none());
    let segment = readable(&entry);
    let begun = tokio::time::Instant::now();
    let error = reader.read(&segment, 0, 10).await.expect_err("hangs");
    assert!(matches!(error.cause, Cause::Timeout(_)), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 30);
    for _ in 0..32 {
        reader.read(&segment, 0, 10).await.expect_err("hangs");
    }
    assert!(begun.elapsed() < Duration::from_secs(31));
}
