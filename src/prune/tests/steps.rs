//! The steps of a prune: what is recorded, what waits, what is deleted, and what stops it.

use super::*;
use crate::ledger::record::SupersedeReason;
use crate::store::fault::{Fault, FaultClock, FaultStore, Op};
use crate::store::{Checksums, ErrorKind};

#[tokio::test]
async fn what_was_recorded_is_deleted_when_the_grace_is_over_and_not_before() {
    let bucket = Bucket::with((1..=6).map(segment).collect()).await;
    bucket.backup("nightly", after(4 * TRANSACTIONS + 5)).await;
    let mut pruner = bucket.pruner().await;
    let (recorded, _) = record(&pruner, &since(end_of(6))).await.expect("records");
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].through.as_str(), "binlog.000003");
    assert_eq!(
        names(&pruner.index, 1),
        ["binlog.000004", "binlog.000005", "binlog.000006"]
    );
    let (again, _) = record(&pruner, &since(end_of(6)))
        .await
        .expect("nothing to do");
    assert_eq!(again, []);
    // The store's own time of the record counts, whatever this host's clock says.
    let removal = remove(&pruner, DAY).await;
    assert_eq!((removal.objects, removal.waiting), (0, 3));
    assert!(removal.next_at.is_some_and(|at| at > pruner.now));
    assert_eq!(bucket.segments().len(), 6);
    pruner.now = Micros(pruner.now.0 + 2 * 86_400_000_000);
    let removal = remove(&pruner, DAY).await;
    assert_eq!(
        (removal.objects, removal.waiting, removal.next_at),
        (3, 0, None)
    );
    assert_eq!(bucket.segments().len(), 3);
    assert_eq!(remove(&pruner, DAY).await, Removal::default());
}

/// What a lost record says can come to light, out of a replica for example.
#[tokio::test]
async fn a_prune_record_never_names_a_lost_record_so_that_it_can_be_healed() {
    let history = [segment(1), segment(2), segment(3), branched(3), full(4)];
    let bucket = Bucket::with(history.into_iter().chain([segment(5)]).collect()).await;
    let key = record_key(crate::model::Seq(4));
    let whole = bucket.memory.get_all(&key, 1 << 20).await.expect("there");
    bucket.memory.tamper(&key, "no record");
    bucket.backup("nightly", after(3 * TRANSACTIONS + 5)).await;
    let pruner = bucket.pruner().await;
    assert_eq!(names(&pruner.index, 1).len(), 6, "the lost one has a name");
    let (recorded, survey) = record(&pruner, &since(end_of(6))).await.expect("records");
    let through: Vec<_> = recorded.iter().map(|one| one.through.as_str()).collect();
    assert_eq!(through, ["binlog.000003"], "{survey:#?}");
    drop(pruner);
    // It is healed, and was something else than it seemed.
    bucket.memory.tamper(&key, whole);
    let (index, store) = (Index::in_memory(), Arc::new(bucket.memory.clone()));
    let index = Arc::new(index.expect("opens"));
    let stream = Stream::open(store, Arc::clone(&index))
        .await
        .expect("opens");
    let followed = stream.follow().await.expect("the ledger can be followed");
    assert_eq!(followed.state.last_seq.0, 7);
    assert_eq!(names(&index, 1), ["binlog.000004", "binlog.000005"]);
    assert_eq!(names(&index, 2), ["binlog.000003"]);
}

#[tokio::test]
async fn what_replaces_a_lost_record_of_another_timeline_is_not_deleted_with_the_place_of_that_one()
{
    let first = (1..=3).map(segment).chain((3..=4).map(branched));
    let late = testing::segment(4);
    let mut bucket = Bucket::with(first.chain([segment(4)]).collect()).await;
    bucket.append(branched(5));
    bucket.append(branched(6));
    // The sixth record, of timeline 1, is shown in timeline 2 once it is lost.
    let rekeyed = testing::rekeyed(6, late.clone());
    bucket.append(Body::Supersede(Box::new(rekeyed)));
    bucket.append(Body::Prune(crate::ledger::record::PruneRecord {
        timeline: Timeline(2),
        ..testing::prune(7)
    }));
    let lost = record_key(crate::model::Seq(6));
    bucket.memory.tamper(&lost, "no record");
    let mut pruner = bucket.pruner().await;
    pruner.now = Micros(Micros::now().0 + 1_000_000);
    assert_eq!(names(&pruner.index, 2), ["binlog.000006"]);
    let removal = remove(&pruner, NO_GRACE).await;
    assert_eq!((removal.objects, removal.blocked.len()), (3, 0));
    let key = late.object.key;
    assert!(bucket.segments().contains(&key), "{:?}", bucket.segments());
    let standing = pruner.index.standing(&key).expect("answers");
    assert_eq!(standing, crate::index::Standing::InForce);
}

#[tokio::test]
async fn in_a_stream_that_has_moved_nothing_more_is_pruned() {
    let mut bucket = Bucket::with((1..=4).map(segment).collect()).await;
    bucket.backup("nightly", after(3 * TRANSACTIONS + 5)).await;
    bucket.append(Body::Moved(testing::moved_to()));
    let pruner = bucket.pruner().await;
    let error = record(&pruner, &since(end_of(6))).await.expect_err("moved");
    assert!(
        error.to_string().contains("has moved to s3://elsewhere"),
        "{error:#}"
    );
    assert_eq!(remove(&pruner, NO_GRACE).await, Removal::default());
}

#[tokio::test]
async fn a_lock_keeps_its_object_and_all_that_is_newer() {
    let bucket = Bucket::with((1..=6).map(segment).collect()).await;
    bucket.backup("nightly", after(5 * TRANSACTIONS + 5)).await;
    let mut pruner = bucket.pruner().await;
    record(&pruner, &since(end_of(6))).await.expect("records");
    pruner.now = Micros(Micros::now().0 + 1_000_000);
    let until = Micros(pruner.now.0 + 3_600_000_000);
    let key = testing::segment(3).object.key;
    let lock = crate::store::Lock {
        mode: LockMode::Compliance,
        until,
    };
    let change = Retain {
        lock: Some(lock),
        legal_hold: None,
    };
    bucket.memory.retain(&key, &change).await.expect("locks");
    for deleted in [2, 0] {
        let removal = remove(&pruner, NO_GRACE).await;
        assert_eq!(removal.objects, deleted);
        let [kept] = &removal.kept[..] else {
            panic!("{removal:?}")
        };
        assert_eq!((kept.name.as_str(), kept.objects), ("binlog.000003", 2));
        assert_eq!(kept.keeping.lock, Some(lock));
        assert_eq!(bucket.segments().len(), 4);
    }
    pruner.now = Micros(until.0 + 1);
    // The store's clock has not come so far, and it refuses.
    let removal = remove(&pruner, NO_GRACE).await;
    assert_eq!((removal.objects, removal.kept.len()), (1, 1), "{removal:?}");
}

/// A store that fails at some of its verbs.
fn failing(
    bucket: &Bucket,
    fails: impl Fn(&Op<'_>) -> bool + Send + Sync + 'static,
) -> SharedStore {
    let clock = FaultClock::new(move |op| match fails(op) {
        true => Fault::ErrorBefore(ErrorKind::Denied),
        false => Fault::None,
    });
    Arc::new(FaultStore::new(Arc::new(bucket.memory.clone()), clock))
}

#[tokio::test]
async fn what_was_done_is_told_also_when_the_store_fails_after_it() {
    let bodies = (1..=6).map(segment).chain((3..=6).map(branched));
    let bucket = Bucket::with(bodies.collect()).await;
    bucket.backup("nightly", after(5 * TRANSACTIONS + 5)).await;
    let mut pruner = bucket.pruner().await;
    let healthy = Arc::clone(&pruner.store);
    // The first of two records is made.
    let second = record_key(crate::model::Seq(12)).to_string();
    pruner.store = failing(&bucket, move |op| op.what == "create" && op.key == second);
    let mut recorded = Vec::new();
    let failed = pruner.record(&since(end_of(9)), &mut recorded).await;
    assert!(failed.is_err());
    let made: Vec<_> = recorded.iter().map(|one| one.seq.0).collect();
    assert_eq!(made, [11]);
    // Of four objects the second cannot be deleted; what is under way with it is carried through.
    pruner.now = Micros(Micros::now().0 + 1_000_000);
    let before = bucket.segments().len();
    let denied = testing::segment(2).object.key.to_string();
    pruner.store = failing(&bucket, move |op| op.what == "remove" && op.key == denied);
    let (removal, failed) = try_remove(&pruner, NO_GRACE).await;
    assert!(failed.is_err());
    assert_eq!(removal.objects, 3, "{removal:?}");
    assert_eq!(bucket.segments().len(), before - 3);
    pruner.store = healthy;
    assert_eq!(remove(&pruner, NO_GRACE).await.objects, 1);
}

#[tokio::test]
async fn a_backup_that_came_after_the_look_stops_the_deletion() {
    let mut bucket = Bucket::with((1..=6).map(segment).collect()).await;
    bucket.backup("nightly", after(5 * TRANSACTIONS + 5)).await;
    let pruned = bucket.append(Body::Prune(testing::prune(4)));
    assert_eq!(pruned.seq().0, 7);
    let mut pruner = bucket.pruner().await;
    pruner.now = Micros(Micros::now().0 + 1_000_000);
    bucket.backup("raced", after(2 * TRANSACTIONS + 5)).await;
    let removal = remove(&pruner, NO_GRACE).await;
    assert_eq!(removal.objects, 0);
    let [blocked] = &removal.blocked[..] else {
        panic!("{removal:?}")
    };
    assert_eq!(blocked.backup, "raced");
    assert_eq!(
        blocked.from.as_ref().map(|n| n.as_str()),
        Some("binlog.000003")
    );
    assert_eq!(bucket.segments().len(), 6);
    // One whose history was gone before holds nothing up.
    let id = "raced".parse().expect("an id");
    backup::remove(&pruner.store, &id, Micros(0), "me")
        .await
        .expect("removes");
    bucket.backup("ancient", after(5)).await;
    bucket
        .memory
        .delete(&testing::segment(1).object.key)
        .await
        .expect("deletes");
    let removal = remove(&pruner, NO_GRACE).await;
    assert_eq!(
        (removal.objects, removal.blocked.len()),
        (3, 0),
        "{removal:?}"
    );
}

#[tokio::test]
async fn an_object_that_the_store_has_lost_does_not_let_go_what_a_backup_needs_before_it() {
    let mut bucket = Bucket::with((1..=6).map(segment).collect()).await;
    bucket.backup("nightly", after(5 * TRANSACTIONS + 5)).await;
    bucket.append(Body::Prune(testing::prune(4)));
    let mut pruner = bucket.pruner().await;
    pruner.now = Micros(Micros::now().0 + 1_000_000);
    bucket.backup("raced", after(TRANSACTIONS + 5)).await;
    let lost = testing::segment(3).object.key;
    bucket.memory.delete(&lost).await.expect("deletes");
    let removal = remove(&pruner, NO_GRACE).await;
    assert_eq!(removal.objects, 0, "{removal:?}");
    let [blocked] = &removal.blocked[..] else {
        panic!("{removal:?}")
    };
    let from = blocked.from.as_ref().map(|name| name.as_str());
    assert_eq!((&*blocked.backup, from), ("raced", Some("binlog.000002")));
    assert_eq!(bucket.segments().len(), 5);
}

#[tokio::test]
async fn nothing_is_pruned_without_a_backup_on_the_timeline_that_goes_on() {
    let bodies = (1..=4).map(segment).chain([branched(3), branched(4)]);
    let bucket = Bucket::with(bodies.collect()).await;
    let pruner = bucket.pruner().await;
    let refused = |error: anyhow::Error| error.downcast::<Refusal>().expect("a refusal");
    let none = Refusal::NoBackup {
        timeline: Timeline(2),
    };
    let error = pruner
        .survey(&since(end_of(9)))
        .await
        .expect_err("no backup");
    assert_eq!(refused(error), none);
    // On the old one only.
    bucket.backup("old", after(TRANSACTIONS + 5)).await;
    let error = pruner
        .survey(&since(end_of(9)))
        .await
        .expect_err("no backup");
    assert_eq!(refused(error), none);
    bucket.backup("new", after(3 * TRANSACTIONS + 5)).await;
    let error = pruner
        .survey(&Wanted::Backups(2))
        .await
        .expect_err("one only");
    assert_eq!(
        refused(error),
        Refusal::TooFew {
            wanted: 2,
            there: 1
        }
    );
    let survey = pruner.survey(&Wanted::Backups(1)).await.expect("looks");
    // The old timeline is held by the old backup.
    let ends: Vec<_> = survey
        .timelines
        .iter()
        .map(|plan| plan.goes.entries)
        .collect();
    assert_eq!(ends, [0, 0], "{survey:#?}");
    let id = "old".parse().expect("an id");
    backup::remove(&pruner.store, &id, Micros(0), "me")
        .await
        .expect("removes");
    let survey = pruner.survey(&since(end_of(9))).await.expect("looks");
    let ends: Vec<_> = survey
        .timelines
        .iter()
        .map(|plan| plan.goes.entries)
        .collect();
    // "new" can be used on both; on the old one what it needs is the last file and the one before.
    assert_eq!(ends, [2, 0], "{survey:#?}");
}

#[tokio::test]
async fn superseded_objects_go_a_page_at_a_time_and_none_is_passed_over() {
    let mut bucket = Bucket::with((1..=3).map(segment).collect()).await;
    for number in 1..=3 {
        let mut better = testing::supersede(number, number, SupersedeReason::Rekeyed);
        let (object, bytes) = (&mut better.segment.object, format!("object {number}"));
        let sums = Checksums::of(bytes.as_bytes());
        object.size = sums.size;
        object.crc32c = sums.crc32c;
        object.crc64nvme = sums.crc64nvme;
        bucket.memory.tamper(&object.key, bytes);
        bucket.append(Body::Supersede(Box::new(better)));
    }
    // What nobody names stands between the second and the third segment, and makes it two pages.
    for number in 0..1000 {
        let key: ObjectKey = format!("segments/binlog.000002.{number:04}")
            .parse()
            .expect("a key");
        bucket.memory.tamper(&key, "garbage");
    }
    let pruner = bucket.pruner().await;
    assert_eq!(bucket.segments().len(), 1006);
    let mut replaced = Replaced::default();
    let removed = pruner
        .remove_superseded(NO_GRACE, true, &|_| {}, &mut replaced)
        .await;
    removed.expect("the store answers");
    assert_eq!((replaced.objects, replaced.waiting), (3, 0), "{replaced:?}");
    assert!(!replaced.is_held_up(), "{replaced:?}");
    assert_eq!(bucket.segments().len(), 1003);
}
