//! Checks of create, upload and delete.

use super::super::{Checksums, ErrorKind, SharedStore};
use super::{key, kind_of, list_all, noise, upload};
use bytes::Bytes;
use tokio::task::JoinSet;

/// Concurrent writers of one key.
const WRITERS: u32 = 8;
/// Rounds of a race: enough to see a check-then-write lose.
const RACE_ROUNDS: u32 = 30;
/// More than one multipart part of any store.
const LARGE_BYTES: usize = 40 << 20;

pub(super) async fn created_objects_read_back(store: SharedStore) {
    for len in [0, 1, 4096, 300_000] {
        let key = key(&format!("c1/{len}"));
        let body = noise(len, 1);
        store.create(&key, body.clone()).await.expect("created");
        let found = store.get_all(&key, len as u64).await.expect("read");
        assert_eq!(found, body);
        let meta = store.head(&key).await.expect("known");
        assert!(meta.agrees_with(&Checksums::of(&body)));
    }
}

pub(super) async fn a_taken_key_stays_as_it_is(store: SharedStore) {
    let (first, second) = (noise(100, 1), noise(100, 2));
    let key = key("c2/taken");
    store.create(&key, first.clone()).await.expect("created");
    for body in [second.clone(), first.clone(), Bytes::new()] {
        let again = store.create(&key, body).await;
        assert_eq!(kind_of(again), ErrorKind::AlreadyExists);
    }
    let uploaded = upload(&store, &key, second).await;
    assert_eq!(kind_of(uploaded), ErrorKind::AlreadyExists);
    assert_eq!(store.get_all(&key, 100).await.expect("read"), first);
}

pub(super) async fn one_of_many_creates_wins(store: SharedStore) {
    for round in 0..RACE_ROUNDS {
        let key = key(&format!("c3/{round:03}"));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, key) = (store.clone(), key.clone());
            writers.spawn(async move {
                let made = store.create(&key, noise(2000, writer)).await;
                (writer, made)
            });
        }
        expect_one_winner(&store, &key, writers).await;
    }
}

pub(super) async fn one_of_many_commits_wins(store: SharedStore) {
    for round in 0..RACE_ROUNDS {
        let key = key(&format!("c4/{round:03}"));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, key) = (store.clone(), key.clone());
            writers.spawn(async move {
                let made = upload(&store, &key, noise(2000, writer)).await;
                (writer, made)
            });
        }
        expect_one_winner(&store, &key, writers).await;
    }
}

async fn expect_one_winner(
    store: &SharedStore,
    key: &crate::model::ObjectKey,
    writers: JoinSet<(u32, super::Result<()>)>,
) {
    let mut winners = Vec::new();
    for (writer, made) in writers.join_all().await {
        match made {
            Ok(()) => winners.push(writer),
            Err(error) => assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}"),
        }
    }
    let [winner] = winners[..] else {
        panic!("{key} was created by {winners:?}");
    };
    let found = store.get_all(key, 2000).await.expect("read");
    assert_eq!(found, noise(2000, winner), "{key} is not its winner's");
}

pub(super) async fn uploads_appear_whole_at_commit(store: SharedStore) {
    let key = key("c5/upload");
    let body = noise(5000, 3);
    let mut upload = store.upload(&key, 0).await.expect("begun");
    for piece in [0..1, 1..1, 1..4000, 4000..5000] {
        upload.write(body.slice(piece)).await.expect("written");
        assert_eq!(kind_of(store.head(&key).await), ErrorKind::NotFound);
    }
    assert!(list_all(&store, "c5/").await.is_empty());
    let expected = Checksums::of(&body);
    upload.commit(expected).await.expect("committed");
    let meta = store.head(&key).await.expect("known");
    assert!(meta.agrees_with(&expected));
    assert_eq!(store.get_all(&key, 5000).await.expect("read"), body);

    let empty = super::key("c5/empty");
    let upload = store.upload(&empty, 0).await.expect("begun");
    upload
        .commit(Checksums::of(b""))
        .await
        .expect("an empty object is an object");
    assert_eq!(store.head(&empty).await.expect("known").size, 0);
}

pub(super) async fn unfinished_uploads_are_invisible(store: SharedStore) {
    let key = key("c6/upload");
    let mut dropped = store.upload(&key, 100).await.expect("begun");
    dropped.write(noise(2 << 20, 1)).await.expect("written");
    drop(dropped);
    let mut aborted = store.upload(&key, 100).await.expect("begun");
    aborted.write(noise(2 << 20, 2)).await.expect("written");
    aborted.abort().await.expect("aborted");
    let untouched = store.upload(&key, 100).await.expect("begun");
    untouched.abort().await.expect("aborted");
    assert_eq!(kind_of(store.head(&key).await), ErrorKind::NotFound);
    assert!(list_all(&store, "").await.is_empty());
    let body = noise(100, 3);
    upload(&store, &key, body.clone()).await.expect("committed");
    assert_eq!(store.get_all(&key, 100).await.expect("read"), body);
}

pub(super) async fn a_wrong_digest_leaves_nothing(store: SharedStore) {
    let key = key("c7/upload");
    let body = noise(3000, 1);
    let right = Checksums::of(&body);
    let wrong = [
        Checksums {
            size: right.size + 1,
            ..right
        },
        Checksums {
            crc32c: right.crc32c ^ 1,
            ..right
        },
        Checksums {
            crc64nvme: right.crc64nvme ^ 1,
            ..right
        },
        Checksums::of(b""),
    ];
    for expected in wrong {
        let mut upload = store.upload(&key, 3000).await.expect("begun");
        upload.write(body.clone()).await.expect("written");
        let refused = upload.commit(expected).await;
        assert_eq!(kind_of(refused), ErrorKind::BadDigest);
        assert_eq!(kind_of(store.head(&key).await), ErrorKind::NotFound);
        assert!(list_all(&store, "c7/").await.is_empty());
    }
    upload(&store, &key, body)
        .await
        .expect("the key is still free");
}

pub(super) async fn large_uneven_uploads_read_back(store: SharedStore) {
    let key = key("c8/large");
    let body = noise(LARGE_BYTES, 4);
    let mut upload = store.upload(&key, 1000).await.expect("begun");
    let mut at = 0;
    for len in [1, 70_000, 3 << 20, 9 << 20, 17, 1 << 20, 65_536]
        .into_iter()
        .cycle()
    {
        let end = (at + len).min(body.len());
        upload.write(body.slice(at..end)).await.expect("written");
        at = end;
        if at == body.len() {
            break;
        }
    }
    let expected = Checksums::of(&body);
    upload.commit(expected).await.expect("committed");
    let meta = store.head(&key).await.expect("known");
    assert!(meta.agrees_with(&expected));
    let size = body.len() as u64;
    let found = store.get_all(&key, size).await.expect("read");
    assert!(found == body, "other bytes than were written");
    let middle = 19_999_999..20_000_001;
    let found = store.get(&key, middle).await.expect("read");
    assert_eq!(found, body.slice(19_999_999..20_000_001));
}

pub(super) async fn delete_is_idempotent_and_frees_the_key(store: SharedStore) {
    let (one, other) = (key("c9/one"), key("c9/other"));
    store.delete(&one).await.expect("nothing to delete");
    store.create(&one, noise(10, 1)).await.expect("created");
    store.create(&other, noise(10, 2)).await.expect("created");
    for _ in 0..2 {
        store.delete(&one).await.expect("deleted");
        assert_eq!(kind_of(store.head(&one).await), ErrorKind::NotFound);
    }
    assert_eq!(list_all(&store, "c9/").await, [(other, 10)]);
    store
        .create(&one, noise(10, 3))
        .await
        .expect("created again");
    store
        .delete(&key("nowhere/x"))
        .await
        .expect("no such place");
    store
        .delete(&key("c9/one/below"))
        .await
        .expect("no such place");
    store.delete(&key("c9")).await.expect("no such object");
    assert_eq!(store.head(&one).await.expect("known").size, 10);
}
