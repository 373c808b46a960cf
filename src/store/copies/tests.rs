//! Copies of a store: what the first lacks, what hangs, and that nothing is written to them.

use super::*;
use crate::store::fault::{Fault, FaultClock, FaultStore, InPieces, Step};
use crate::store::{MemoryStore, conformance};
use tokio::time::Instant;

fn key() -> ObjectKey {
    "segments/x".parse().expect("a key")
}

fn store(first: SharedStore, copy: &MemoryStore) -> CopiesStore {
    CopiesStore::new(first, vec![Arc::new(copy.clone())])
}

fn figures(store: &CopiesStore) -> (u64, u64, u64) {
    let figures = store.copies.figures();
    (figures.missing, figures.damaged, figures.unreachable)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_copies_that_have_nothing_every_contract_holds() {
    conformance::run_all(|| Arc::new(store(Arc::new(MemoryStore::new()), &MemoryStore::new())))
        .await;
}

#[tokio::test]
async fn what_the_first_store_lacks_or_has_cut_a_copy_gives_and_it_is_counted() {
    let (first, copy) = (MemoryStore::new(), MemoryStore::new());
    copy.tamper(&key(), "whole");
    let store = store(Arc::new(first.clone()), &copy);
    assert_eq!(store.get(&key(), 1..5).await.expect("read"), "hole");
    assert_eq!(store.get_all(&key(), 9).await.expect("read"), "whole");
    assert_eq!(store.head(&key()).await.expect("known").size, 5);
    assert_eq!(figures(&store), (3, 0, 0));
    first.tamper(&key(), "wh");
    assert_eq!(store.get(&key(), 1..5).await.expect("read"), "hole");
    assert_eq!(figures(&store), (3, 1, 0));
    first.tamper(&key(), "first");
    assert_eq!(store.get(&key(), 1..5).await.expect("read"), "irst");
    assert_eq!(figures(&store), (3, 1, 0), "the first store goes first");
    let missing: ObjectKey = "segments/y".parse().expect("a key");
    let error = store.get(&missing, 0..1).await.expect_err("nowhere");
    assert!(error.is_not_found());
}

#[tokio::test]
async fn a_store_that_fails_or_hangs_is_waited_for_once() {
    for fault in [
        Fault::ErrorBefore(ErrorKind::Timeout),
        Fault::Delay(Duration::from_secs(3600)),
    ] {
        let (first, copy) = (MemoryStore::new(), MemoryStore::new());
        first.tamper(&key(), "first");
        copy.tamper(&key(), "copied");
        tokio::time::pause();
        let clock = FaultClock::new(move |_| fault);
        let store = store(Arc::new(FaultStore::new(Arc::new(first), clock)), &copy);
        let begun = Instant::now();
        for _ in 0..3 {
            let all = store.get_all(&key(), 9).await.expect("read");
            assert_eq!(all, "copied", "{fault:?}");
        }
        assert_eq!(store.list("", None).await.expect("listed").objects.len(), 1);
        assert!(
            begun.elapsed() < PATIENCE + Duration::from_secs(1),
            "{fault:?}"
        );
        assert_eq!(figures(&store), (0, 0, 3), "{fault:?}");
        tokio::time::resume();
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_get_that_stops_half_way_a_copy_gives_the_rest() {
    for steps in [&[Step::Piece, Step::CutOff][..], &[Step::Piece]] {
        let (first, copy) = (MemoryStore::new(), MemoryStore::new());
        first.tamper(&key(), "0123456789");
        copy.tamper(&key(), "abcdefghij");
        let (first, tell) = InPieces::new(Arc::new(first), 4);
        let store = store(Arc::new(first), &copy);
        for step in steps {
            tell.send(*step).expect("heard");
        }
        let mut given: Vec<Bytes> = Vec::new();
        let mut gather = |piece: Bytes| given.push(piece);
        let key = key();
        let get = store.get_in_pieces(&key, 1..9, &mut gather);
        get.await.expect("in the end");
        assert_eq!(given, ["1234", "fghi"], "{steps:?}");
        assert_eq!(figures(&store), (0, 0, 1), "{steps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_store_that_is_slow_is_waited_for_while_pieces_come() {
    let (first, copy) = (MemoryStore::new(), MemoryStore::new());
    first.tamper(&key(), "0123");
    copy.tamper(&key(), "abcd");
    let (first, tell) = InPieces::new(Arc::new(first), 1);
    let store = store(Arc::new(first), &copy);
    tokio::spawn(async move {
        for _ in 0..4 {
            tokio::time::sleep(PATIENCE / 4 * 3).await;
            tell.send(Step::Piece).expect("heard");
        }
    });
    let mut given = Vec::new();
    let mut gather = |piece: Bytes| given.extend_from_slice(&piece);
    let key = key();
    let get = store.get_in_pieces(&key, 0..4, &mut gather);
    get.await.expect("slowly");
    assert_eq!(given, b"0123");
    assert_eq!(figures(&store), (0, 0, 0));
}

#[tokio::test]
async fn a_copy_that_hangs_is_waited_for_once_where_the_first_store_answers() {
    tokio::time::pause();
    let clock = FaultClock::new(|_| Fault::Delay(Duration::from_secs(3600)));
    let first = MemoryStore::new();
    first.tamper(&key(), "first");
    let hanging = FaultStore::new(Arc::new(MemoryStore::new()), clock);
    let store = CopiesStore::new(Arc::new(first), vec![Arc::new(hanging)]);
    let missing: ObjectKey = "segments/y".parse().expect("a key");
    let begun = Instant::now();
    for _ in 0..3 {
        let error = store.get_all(&missing, 9).await.expect_err("nowhere");
        assert!(error.is_not_found());
        assert_eq!(store.get_all(&key(), 9).await.expect("read"), "first");
        assert_eq!(store.list("", None).await.expect("listed").objects.len(), 1);
    }
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(1));
}

#[tokio::test]
async fn what_only_a_copy_has_is_listed_and_nothing_is_written_to_it() {
    let (first, copy) = (MemoryStore::new(), MemoryStore::new());
    for (store, keys) in [(&first, ["l/1", "l/3"]), (&copy, ["l/2", "l/3"])] {
        for key in keys {
            store.tamper(&key.parse().expect("a key"), "x");
        }
    }
    let store = store(Arc::new(first.clone()), &copy);
    let listed = store.list("l/", None).await.expect("listed");
    let keys: Vec<_> = listed.objects.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["l/1", "l/2", "l/3"]);
    store.create(&key(), "new".into()).await.expect("created");
    store
        .delete(&"l/2".parse().expect("a key"))
        .await
        .expect("deleted");
    assert_eq!(copy.keys().len(), 2);
    assert_eq!(first.keys().len(), 3);
}
