//! Checks of locks: of stores that have them, and of stores that have none.

use super::super::{ErrorKind, Keeping, Lock, LockMode, Removed, Retain, SharedStore};
use super::{key, kind_of, list_all, noise};
use crate::model::Micros;

/// Longer than a check takes, in microseconds.
const HOUR_MICROS: i64 = 3_600_000_000;

/// A lock that ends so many hours from now, at a whole second, as stores keep them.
fn lock(hours: i64) -> Lock {
    let seconds = Micros::now().0 / 1_000_000;
    Lock {
        mode: LockMode::Governance,
        until: Micros(seconds * 1_000_000 + hours * HOUR_MICROS),
    }
}

fn until(lock: Lock) -> Retain {
    Retain {
        lock: Some(lock),
        legal_hold: None,
    }
}

pub(super) async fn a_lock_keeps_an_object_or_is_refused(store: SharedStore) {
    let (key, body) = (key("k1/locked"), noise(100, 1));
    store.create(&key, body.clone()).await.expect("created");
    let before = store.keeping(&key).await.expect("known");
    assert_eq!((before.lock, before.legal_hold), (None, false));
    let (first, longer) = (lock(1), lock(2));
    match store.retain(&key, &until(first)).await {
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
            assert_eq!(store.keeping(&key).await.expect("known"), before);
        }
        Ok(()) => {
            for lock in [first, longer] {
                store.retain(&key, &until(lock)).await.expect("extended");
                let keeping = store.keeping(&key).await.expect("known");
                assert_eq!(keeping.lock, Some(lock));
                let removed = store.remove(&key).await.expect("refused");
                assert_eq!(removed, Removed::Kept(keeping));
            }
        }
    }
    assert_eq!(store.get_all(&key, 100).await.expect("read"), body);
}

pub(super) async fn what_is_not_locked_is_removed(store: SharedStore) {
    let (one, other) = (key("k2/one"), key("k2/other"));
    let missing = store.keeping(&one).await;
    assert_eq!(kind_of(missing), ErrorKind::NotFound);
    for key in [&one, &other] {
        store.create(key, noise(10, 1)).await.expect("created");
    }
    for _ in 0..2 {
        let removed = store.remove(&one).await.expect("removed");
        assert_eq!(removed, Removed::Gone);
        assert_eq!(kind_of(store.head(&one).await), ErrorKind::NotFound);
    }
    assert_eq!(list_all(&store, "k2/").await, [(other, 10)]);
    let kept = Keeping {
        lock: Some(lock(-1)),
        ..Keeping::default()
    };
    assert!(
        !kept.holds_at(Micros::now()),
        "a lock that is over holds nothing"
    );
}
