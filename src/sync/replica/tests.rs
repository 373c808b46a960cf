//! What the first store could not give is copied once it can, and what was done before a failure is told.

use super::*;
use crate::ledger::record::{ObjectRecord, SupersedeReason};
use crate::ledger::testing::{self, Writer};
use crate::ledger::{Body, RECORD_MAX_BYTES, record_key};
use crate::store::fault::{Fault, FaultClock, FaultStore};
use crate::store::{Checksums, ErrorKind, FileStore, MemoryStore, Store as _};
use crate::stream;
use std::sync::atomic::Ordering;

/// Puts an object where `named` says, and says what it is.
fn put(memory: &MemoryStore, named: &mut ObjectRecord, bytes: String) {
    let sums = Checksums::of(bytes.as_bytes());
    named.size = sums.size;
    named.crc32c = sums.crc32c;
    named.crc64nvme = sums.crc64nvme;
    memory.tamper(&named.key, bytes);
}

/// Makes the next record.
fn record(memory: &MemoryStore, writer: &mut Writer, body: Body) {
    let line = writer.write(body);
    memory.tamper(&record_key(line.seq()), format!("{}\n", line.text()));
}

/// A stream of `count` segments in memory, whose records say what their objects are.
async fn first_store(count: u64) -> MemoryStore {
    written(count).await.0
}

/// The same, with who writes its next record.
async fn written(count: u64) -> (MemoryStore, Writer) {
    let memory = MemoryStore::new();
    let shared: SharedStore = Arc::new(memory.clone());
    let begun = stream::create(&shared, &testing::stream_file()).await;
    begun.expect("creates");
    let mut writer = Writer::default();
    for number in 1..=count {
        let mut segment = testing::segment(number);
        put(&memory, &mut segment.object, format!("object {number}"));
        record(&memory, &mut writer, Body::Segment(Box::new(segment)));
    }
    (memory, writer)
}

/// One that fills `replica` from `first`, and knows nothing yet.
async fn replicator(first: &MemoryStore, replica: &MemoryStore) -> Replicator {
    replicator_of(Arc::new(first.clone()), replica).await
}

async fn replicator_of(first: SharedStore, replica: &MemoryStore) -> Replicator {
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(first, index).await;
    Replicator::new(
        Arc::new(stream.expect("opens")),
        Arc::new(replica.clone()),
        Arc::new(Pace::new(None, None, None)),
    )
}

#[tokio::test]
async fn what_the_first_store_could_not_give_is_tried_again_and_lacks_no_more() {
    let (first, replica) = (first_store(2).await, MemoryStore::new());
    let key = testing::segment(1).object.key;
    let bytes = first.get_all(&key, 99).await.expect("there");
    first.delete(&key).await.expect("deletes");
    let mut replicator = replicator(&first, &replica).await;
    let mut pass = async || {
        let pass = replicator.pass(|_| {}).await.expect("copies");
        (pass.segments, pass.passed_over_count, pass.lacks)
    };
    assert_eq!(pass().await, (1, 1, 1));
    first.tamper(&key, bytes);
    assert_eq!(pass().await, (0, 0, 1), "not at once");
    tokio::time::pause();
    tokio::time::advance(TRY_AGAIN_EVERY).await;
    tokio::time::resume();
    assert_eq!(pass().await, (1, 0, 0));
    assert_eq!(replica.keys(), first.keys());
    assert_eq!(pass().await, (0, 0, 0));
}

/// The record that holds others back after a pass, and up to where all count.
async fn held_after(replicator: &mut Replicator) -> (Option<u64>, u64) {
    let pass = replicator.pass(|_| {}).await.expect("copies");
    assert_eq!(
        pass.through, pass.last,
        "what follows is copied all the same"
    );
    let counted = counts_through(pass.through, pass.held.as_ref());
    assert_eq!(replicator.counts(), counted);
    (pass.held.map(|held| held.record), counted)
}

#[tokio::test]
async fn what_is_passed_over_holds_back_what_follows_unless_it_counted_before() {
    let (first, replica) = (first_store(4).await, MemoryStore::new());
    for number in [2, 3] {
        first.tamper(&testing::segment(number).object.key, "other bytes");
    }
    let mut filling = replicator(&first, &replica).await;
    assert_eq!(held_after(&mut filling).await, (Some(2), 1));
    // It is not forgotten, neither by the next pass nor by the next process.
    assert_eq!(held_after(&mut filling).await, (Some(2), 1));
    let mut filling = replicator(&first, &replica).await;
    assert_eq!(held_after(&mut filling).await, (Some(2), 1));
    for (settled, after) in [(2, (Some(3), 2)), (3, (None, 4))] {
        let mut filling = replicator(&first, &replica).await;
        filling.settled_through(Seq(settled));
        assert_eq!(held_after(&mut filling).await, after);
    }
}

#[tokio::test]
async fn another_object_for_what_holds_back_is_noticed_at_once() {
    let ((first, mut writer), replica) = (written(3).await, MemoryStore::new());
    first.tamper(&testing::segment(2).object.key, "other bytes");
    let mut filling = replicator(&first, &replica).await;
    assert_eq!(held_after(&mut filling).await, (Some(2), 1));
    let mut better = testing::supersede(2, 2, SupersedeReason::Rekeyed);
    put(&first, &mut better.segment.object, "object 2".to_owned());
    record(&first, &mut writer, Body::Supersede(Box::new(better)));
    held_after(&mut filling).await;
    assert_eq!(held_after(&mut filling).await, (None, 4));
    // A replica that is filled only now does not ask for what nothing is read from.
    let mut filling = replicator(&first, &MemoryStore::new()).await;
    assert_eq!(held_after(&mut filling).await, (None, 4));
}

#[tokio::test]
async fn a_replaced_object_that_is_damaged_is_told_by_the_record_of_its_segment() {
    let ((first, mut writer), replica) = (written(3).await, MemoryStore::new());
    let mut other = testing::supersede(2, 2, SupersedeReason::Rekeyed);
    put(&first, &mut other.segment.object, "object 2".to_owned());
    let key = other.segment.object.key.clone();
    record(&first, &mut writer, Body::Supersede(Box::new(other)));
    first.tamper(&key, "other bytes");
    let mut filling = replicator(&first, &replica).await;
    assert_eq!(held_after(&mut filling).await, (Some(2), 1));
    // The server's file is long gone, and was proven once.
    let mut filling = replicator(&first, &replica).await;
    filling.settled_through(Seq(3));
    assert_eq!(held_after(&mut filling).await, (None, 4));
}

#[tokio::test]
async fn what_was_replaced_is_told_also_when_the_replica_fails_after_it() {
    let (first, replica) = (first_store(3).await, MemoryStore::new());
    let filled = replicator(&first, &replica).await.pass(|_| {}).await;
    filled.expect("copies");
    let (records, objects) = ([2, 3].map(|n| record_key(Seq(n))), [2, 3].map(object));
    for damaged in [records, objects] {
        for key in &damaged {
            replica.tamper(key, "something else");
        }
        // The second of them goes, and nothing can be put in its place.
        let denied = damaged[1].clone();
        let clock = FaultClock::new(move |op| match op.what {
            "create" | "upload" if op.key == denied.as_str() => {
                Fault::ErrorBefore(ErrorKind::Denied)
            }
            _ => Fault::None,
        });
        let mut checking = replicator(&first, &replica).await;
        checking.replica = Arc::new(FaultStore::new(Arc::new(replica.clone()), clock));
        let mut found = Vec::new();
        let failed = checking.check(true, &mut found).await;
        assert!(failed.is_err());
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.record, one.healed, one.removed))
            .collect();
        assert_eq!(told, [(2, true, false), (3, false, true)], "{found:?}");
        assert!(found[1].detail.contains("it was removed"), "{found:?}");
        // The next run does it.
        let mut filling = replicator(&first, &replica).await;
        let mut found = Vec::new();
        filling.check(true, &mut found).await.expect("checks");
        assert_eq!(found, []);
        filling.pass(|_| {}).await.expect("copies");
        assert_eq!(replica.keys(), first.keys());
    }
}

/// What a check tells of a damaged object 2 that the first store has when it is looked at, and not when it is to be copied.
async fn told_of_what_vanished(first: &MemoryStore) -> Checked {
    let replica = MemoryStore::new();
    let filled = replicator(first, &replica).await.pass(|_| {}).await;
    filled.expect("copies");
    replica.tamper(&object(2), "something else");
    let (key, looks) = (object(2), AtomicU64::new(0));
    let clock = FaultClock::new(move |op| match op.what {
        "get" if op.key == key.as_str() && looks.fetch_add(1, Ordering::SeqCst) > 0 => {
            Fault::ErrorBefore(ErrorKind::NotFound)
        }
        _ => Fault::None,
    });
    let losing: SharedStore = Arc::new(FaultStore::new(Arc::new(first.clone()), clock));
    let mut checking = replicator_of(losing, &replica).await;
    let mut found = Vec::new();
    checking.check(true, &mut found).await.expect("checks");
    assert!(replica.head(&object(2)).await.is_err(), "it was removed");
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[tokio::test]
async fn what_was_removed_and_could_not_be_copied_is_told_as_removed() {
    let (first, mut writer) = written(3).await;
    let told = told_of_what_vanished(&first).await;
    assert_eq!((told.healed, told.removed), (false, true), "{told:?}");
    assert!(told.detail.contains("it was removed"), "{told:?}");
    assert!(!told.detail.contains("not replaced"), "{told:?}");
    // Once another object has taken its place, nothing is wrong without it.
    let mut other = testing::supersede(2, 2, SupersedeReason::Rekeyed);
    put(&first, &mut other.segment.object, "object 2".to_owned());
    record(&first, &mut writer, Body::Supersede(Box::new(other)));
    let told = told_of_what_vanished(&first).await;
    assert_eq!((told.healed, told.removed), (true, true), "{told:?}");
}

#[tokio::test]
async fn what_the_first_store_does_not_have_either_is_not_removed() {
    let (first, replica) = (first_store(3).await, MemoryStore::new());
    let filled = replicator(&first, &replica).await.pass(|_| {}).await;
    filled.expect("copies");
    replica.tamper(&object(2), "something else");
    first.tamper(&object(2), "other bytes");
    let (mut checking, mut found) = (replicator(&first, &replica).await, Vec::new());
    checking.check(true, &mut found).await.expect("checks");
    let told: Vec<_> = found.iter().map(|one| (one.healed, one.removed)).collect();
    assert_eq!(told, [(false, false)], "{found:?}");
    assert!(replica.head(&object(2)).await.is_ok(), "it stays");
}

fn object(number: u64) -> ObjectKey {
    testing::segment(number).object.key
}

#[tokio::test]
async fn what_was_copied_is_told_also_when_the_replica_fails_after_it() {
    let (first, replica) = (first_store(3).await, MemoryStore::new());
    let denied = record_key(Seq(3));
    let clock = FaultClock::new(move |op| match op.what {
        "create" if op.key == denied.as_str() => Fault::ErrorBefore(ErrorKind::Denied),
        _ => Fault::None,
    });
    let mut filling = replicator(&first, &replica).await;
    filling.replica = Arc::new(FaultStore::new(Arc::new(replica.clone()), clock));
    assert!(filling.pass(|_| {}).await.is_err());
    let done = filling.so_far();
    assert_eq!((done.through, done.last), (2, 3));
    assert_eq!((done.records, done.segments), (2, 3));
}

#[tokio::test]
async fn the_key_of_what_is_wrong_is_told_once() {
    let first = first_store(3).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut checking = replicator(&first, &MemoryStore::new()).await;
    // A directory keeps no checksums: what is as long as recorded is read.
    checking.replica = Arc::new(FileStore::open(dir.path()).expect("opens"));
    checking.pass(|_| {}).await.expect("copies");
    let damage = |key: &str, bytes: &[u8]| {
        let path = dir.path().join(key);
        std::fs::remove_file(&path).expect("removable");
        std::fs::write(path, bytes).expect("writable");
    };
    let too_long = vec![b' '; RECORD_MAX_BYTES as usize + 1];
    damage(record_key(Seq(3)).as_str(), &too_long);
    damage(object(1).as_str(), b"OBJECT 1");
    damage(object(2).as_str(), b"short");
    // What is to take the place of the first is damaged as well.
    first.tamper(&object(1), "oBJECT 1");
    for replace in [false, true] {
        let mut found = Vec::new();
        let checked = checking.check(replace, &mut found).await;
        checked.expect("checks");
        let mut keys: Vec<_> = found.iter().map(|one| one.key.clone()).collect();
        keys.sort_unstable();
        let mut wrong = [record_key(Seq(3)), object(1), object(2)].map(|key| key.to_string());
        wrong.sort_unstable();
        assert_eq!(keys, wrong, "{found:?}");
        for one in found {
            assert!(!one.detail.contains(&one.key), "{one:?}");
        }
    }
}
