//! Checks of get, head and list.

use super::super::{ErrorKind, SharedStore};
use super::{key, kind_of, list_all, noise, upload};
use crate::model::ObjectKey;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) async fn ranges_are_exact(store: SharedStore) {
    let key = key("r1/object");
    let body = noise(1000, 1);
    store.create(&key, body.clone()).await.expect("created");
    for range in [
        0..1000,
        0..1,
        999..1000,
        17..600,
        0..0,
        500..500,
        1000..1000,
    ] {
        let found = store.get(&key, range.clone()).await.expect("read");
        let expected = body.slice(range.start as usize..range.end as usize);
        assert_eq!(found, expected, "{range:?}");
        let mut pieces = Vec::new();
        let mut gather = |piece: Bytes| pieces.extend_from_slice(&piece);
        let given = store.get_in_pieces(&key, range.clone(), &mut gather);
        given.await.expect("read");
        assert_eq!(pieces, expected, "{range:?}");
    }
    for range in [0..1001, 999..1001, 1000..1001, 5000..6000, 0..u64::MAX] {
        let found = store.get(&key, range.clone()).await;
        assert_eq!(kind_of(found), ErrorKind::Truncated, "{range:?}");
        let given = store.get_in_pieces(&key, range.clone(), &mut |_| {}).await;
        assert_eq!(kind_of(given), ErrorKind::Truncated, "{range:?}");
    }
}

pub(super) async fn whole_objects_are_bounded(store: SharedStore) {
    let key = key("r2/object");
    store.create(&key, noise(1000, 1)).await.expect("created");
    for max in [1000, 1001, u64::MAX] {
        assert_eq!(store.get_all(&key, max).await.expect("read").len(), 1000);
    }
    for max in [0, 999] {
        let found = store.get_all(&key, max).await;
        assert_eq!(kind_of(found), ErrorKind::TooLarge);
    }
    let empty = super::key("r2/empty");
    store.create(&empty, Bytes::new()).await.expect("created");
    assert!(store.get_all(&empty, 0).await.expect("read").is_empty());
    let found = store.get(&empty, 0..1).await;
    assert_eq!(kind_of(found), ErrorKind::Truncated);
}

pub(super) async fn missing_objects_are_not_found(store: SharedStore) {
    store
        .create(&key("r3/there"), noise(5, 1))
        .await
        .expect("created");
    for missing in ["r3/missing", "nowhere/x", "r3", "r3/there/below", "r3/the"] {
        let key = key(missing);
        let error = store.get(&key, 0..1).await.expect_err("missing");
        assert!(error.is_not_found(), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
        assert!(error.to_string().contains(&store.describe()), "{error}");
        let all = store.get_all(&key, 10).await;
        assert_eq!(kind_of(all), ErrorKind::NotFound);
        assert_eq!(kind_of(store.head(&key).await), ErrorKind::NotFound);
    }
}

pub(super) async fn readers_see_all_or_nothing(store: SharedStore) {
    for round in 0..10 {
        let created = key(&format!("r4/created-{round}"));
        let uploaded = key(&format!("r4/uploaded-{round}"));
        let body = noise(3 << 20, round);
        let done = Arc::new(AtomicBool::new(false));
        let mut readers = tokio::task::JoinSet::new();
        for key in [created.clone(), uploaded.clone()] {
            let (store, body, done) = (store.clone(), body.clone(), done.clone());
            readers.spawn(async move {
                loop {
                    let last_look = done.load(Ordering::SeqCst);
                    match store.get_all(&key, u64::MAX).await {
                        Ok(found) => {
                            assert!(found == body, "a part of {key} was seen");
                            return;
                        }
                        Err(error) => assert!(error.is_not_found() && !last_look, "{error}"),
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        store.create(&created, body.clone()).await.expect("created");
        upload(&store, &uploaded, body).await.expect("committed");
        done.store(true, Ordering::SeqCst);
        readers.join_all().await;
    }
}

pub(super) async fn keys_may_be_in_any_script(store: SharedStore) {
    let texts = [
        "r5/a b",
        "r5/a+b%20c&d=e?f#g",
        "r5/Žluťoučký kůň.000001",
        "r5/日本語/バイナリ.log",
        "r5/quote'\"\\backslash",
        "r5/tilde~and-dash_under",
        "r5/😀",
    ];
    for text in texts {
        let body = Bytes::from(text);
        store.create(&key(text), body).await.expect("created");
    }
    for text in texts {
        let found = store.get_all(&key(text), 100).await.expect("read");
        assert_eq!(found, text.as_bytes());
    }
    let mut sorted = texts.map(key).to_vec();
    sorted.sort();
    assert_eq!(names(list_all(&store, "r5/").await), sorted);
    assert_eq!(list_all(&store, "r5/a ").await.len(), 1);
    for text in texts {
        store.delete(&key(text)).await.expect("deleted");
    }
    assert!(list_all(&store, "r5/").await.is_empty());
}

fn names(objects: Vec<(ObjectKey, u64)>) -> Vec<ObjectKey> {
    objects.into_iter().map(|(key, _)| key).collect()
}

pub(super) async fn listings_are_in_byte_order(store: SharedStore) {
    // A dash sorts before a slash, a digit after it: the order of keys is not that of a directory walk.
    let texts = [
        "r6/a-b", "r6/a.b", "r6/a/1", "r6/a/2/x", "r6/a/2/y", "r6/a/20", "r6/a/3", "r6/a0", "r6/b",
        "r6/c/d", "r6-z", "r60",
    ];
    for (len, text) in texts.iter().enumerate().rev() {
        let body = noise(len, 1);
        store.create(&key(text), body).await.expect("created");
    }
    let all = list_all(&store, "r6").await;
    for (at, (_, size)) in all.iter().enumerate() {
        let text = all[at].0.as_str();
        assert_eq!(texts.iter().position(|t| *t == text), Some(*size as usize));
    }
    let mut sorted = texts.map(key).to_vec();
    sorted.sort();
    assert_eq!(names(all), sorted);
    for (prefix, count) in [
        ("r6/", 10),
        ("r6/a", 8),
        ("r6/a/", 5),
        ("r6/a/2", 3),
        ("r6/a/2/", 2),
        ("r6/a/2/x", 1),
        ("r6/a/2/xx", 0),
        ("r6/zzz/", 0),
        ("zzz", 0),
        ("r6/b/", 0),
        ("../", 0),
        ("r6/../r6/", 0),
        ("/", 0),
    ] {
        let found = names(list_all(&store, prefix).await);
        assert_eq!(found.len(), count, "{prefix} {found:?}");
        assert!(found.iter().all(|key| key.as_str().starts_with(prefix)));
    }
    // Every key as `after`, there or not, and on either side of the prefix.
    for after in texts
        .into_iter()
        .chain(["r6/a/2", "r6/aa", "a", "zz", "r6"])
    {
        for prefix in ["r6/", "r6/a", "r6/a/", ""] {
            let page = store.list(prefix, Some(&key(after))).await.expect("listed");
            assert!(!page.more);
            let expected: Vec<_> = sorted
                .iter()
                .filter(|key| key.as_str() > after && key.as_str().starts_with(prefix))
                .cloned()
                .collect();
            assert_eq!(names(page.objects), expected, "{prefix} after {after}");
        }
    }
}

pub(super) async fn listings_go_on_page_by_page(store: SharedStore) {
    // S3 and GCS give 1000 keys a page.
    let mut expected = Vec::new();
    for n in 0..2101_u64 {
        let directory = if n % 700 == 3 { "r7/b" } else { "r7/a" };
        let key = key(&format!("{directory}/{n:020}"));
        let body = noise((n % 3) as usize, 1);
        store.create(&key, body).await.expect("created");
        expected.push((key, n % 3));
    }
    expected.sort();
    assert_eq!(list_all(&store, "r7/").await, expected);
    let page = store
        .list("r7/", Some(&expected[1500].0))
        .await
        .expect("listed");
    assert_eq!(page.objects[..], expected[1501..1501 + page.objects.len()]);
}

pub(super) async fn listings_show_what_was_created_before(store: SharedStore) {
    let mut expected = Vec::new();
    for n in 0..50 {
        let key = key(&format!("r8/{n:03}"));
        store.create(&key, noise(1, n)).await.expect("created");
        let after = expected.last().cloned();
        expected.push(key.clone());
        let page = store.list("r8/", after.as_ref()).await.expect("listed");
        assert_eq!(names(page.objects), [key]);
    }
    assert_eq!(names(list_all(&store, "r8/").await), expected);
}

pub(super) async fn directories_are_named_once(store: SharedStore) {
    let texts = [
        "r9/a/1",
        "r9/a/2/x",
        "r9/a-b/1",
        "r9/a0/1",
        "r9/b",
        "r9/c/d/e/f",
        "r9x/g/h",
    ];
    for text in texts {
        store
            .create(&key(text), noise(1, 1))
            .await
            .expect("created");
    }
    let dirs = async |prefix, max| store.list_dirs(prefix, max).await.expect("listed");
    assert_eq!(dirs("r9/", 9).await, ["a-b", "a", "a0", "c"]);
    assert_eq!(dirs("r9/", 2).await, ["a-b", "a"]);
    assert_eq!(dirs("r9/a/", 9).await, ["2"]);
    assert_eq!(dirs("r9/c/", 9).await, ["d"]);
    let top = dirs("", 100_000).await;
    for name in ["r9", "r9x"] {
        assert!(top.iter().any(|found| found == name), "{top:?}");
    }
    for none in ["r9/a-b/", "r9/b/", "r9/zzz/", "../", "r9/../r9/", "/"] {
        assert!(dirs(none, 9).await.is_empty(), "{none}");
    }
}
