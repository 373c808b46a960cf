//! What every store must do, whatever it is made of: the proof of the contracts in [`super::Store`].
//!
//! Each check takes a fresh store, or at least its own directory in a shared one. Races need a runtime with several
//! threads. A check that fails panics.

mod locks;
mod reads;
mod writes;

use super::{Checksums, ErrorKind, Result, SharedStore};
use crate::model::ObjectKey;
use bytes::Bytes;

/// Runs every check, each on a store from `make`.
pub async fn run_all(make: impl Fn() -> SharedStore) {
    writes::one_of_many_creates_wins(make()).await;
    writes::one_of_many_commits_wins(make()).await;
    run_all_but_races(make).await;
}

/// Runs what one client alone can ask for: of servers that are made for tests, some forget that two may come at once.
pub async fn run_all_but_races(make: impl Fn() -> SharedStore) {
    writes::created_objects_read_back(make()).await;
    writes::a_taken_key_stays_as_it_is(make()).await;
    writes::uploads_appear_whole_at_commit(make()).await;
    writes::unfinished_uploads_are_invisible(make()).await;
    writes::a_wrong_digest_leaves_nothing(make()).await;
    writes::large_uneven_uploads_read_back(make()).await;
    writes::delete_is_idempotent_and_frees_the_key(make()).await;
    locks::a_lock_keeps_an_object_or_is_refused(make()).await;
    locks::what_is_not_locked_is_removed(make()).await;
    reads::ranges_are_exact(make()).await;
    reads::whole_objects_are_bounded(make()).await;
    reads::missing_objects_are_not_found(make()).await;
    reads::readers_see_all_or_nothing(make()).await;
    reads::keys_may_be_in_any_script(make()).await;
    reads::listings_are_in_byte_order(make()).await;
    reads::listings_go_on_page_by_page(make()).await;
    reads::listings_show_what_was_created_before(make()).await;
    reads::directories_are_named_once(make()).await;
    assert!(!make().describe().is_empty());
}

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

/// Bytes that differ from place to place, and by `seed`.
fn noise(len: usize, seed: u32) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut bytes = Vec::with_capacity(len + 4);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// What `result` failed with.
#[track_caller]
fn kind_of<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeded"),
        Err(error) => error.kind,
    }
}

/// Uploads `body` in one piece.
async fn upload(store: &SharedStore, key: &ObjectKey, body: Bytes) -> Result<()> {
    let expected = Checksums::of(&body);
    let mut upload = store.upload(key, body.len() as u64).await?;
    upload.write(body).await?;
    upload.commit(expected).await
}

/// Every page below `prefix`, each key with its size.
async fn list_all(store: &SharedStore, prefix: &str) -> Vec<(ObjectKey, u64)> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|(key, _): &(ObjectKey, u64)| key);
        let page = store.list(prefix, after).await.expect("listed");
        assert!(!page.objects.is_empty() || !page.more, "no way to go on");
        all.extend(page.objects);
        if !page.more {
            return all;
        }
    }
}
