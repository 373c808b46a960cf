//! Every contract of a store, kept by the store on Cloud Storage.

use super::emulator::Emulator;
use binlogfs::model::{ObjectKey, StoreUrl};
use binlogfs::store::{
    Checksums, ErrorKind, GcsStore, Outcome, RetryPolicy, RetryStore, SharedStore, conformance,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The store at `url`.
pub fn store_at(url: &str) -> SharedStore {
    let url: StoreUrl = url.parse().expect("a URL");
    let store = GcsStore::connect(&url, RetryPolicy::default());
    Arc::new(store.expect("connects"))
}

/// A store below a prefix that no other store has.
fn store_in(emulator: &Emulator) -> SharedStore {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("tests/{}", MADE.fetch_add(1, Ordering::Relaxed));
    store_at(&emulator.url(&prefix))
}

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

/// With retries, as in production: now and then the emulator resets a connection instead of answering 416.
#[tokio::test(flavor = "multi_thread")]
async fn every_contract_holds_on_the_emulator() {
    let dir = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::start(dir.path());
    conformance::run_all(|| Arc::new(RetryStore::new(store_in(&emulator), RetryPolicy::default())))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_the_checksum_that_it_computed() {
    let dir = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::start(dir.path());
    let store = store_at(&emulator.url("sums"));
    for bytes in [1000, 20 << 20] {
        let body = Bytes::from(vec![9; bytes]);
        let key = key(&format!("k{bytes}"));
        let mut upload = store.upload(&key, 0).await.expect("begun");
        upload.write(body.clone()).await.expect("written");
        upload.commit(Checksums::of(&body)).await.expect("made");
        let meta = store.head(&key).await.expect("known");
        assert_eq!(meta.crc32c, Some(Checksums::of(&body).crc32c));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_a_passing_fault_and_nothing_was_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let emulator = Emulator::start(dir.path());
    let store = store_at(&emulator.url("gone"));
    drop(emulator);
    let error = store
        .create(&key("a"), Bytes::from_static(b"x"))
        .await
        .expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert_eq!(error.outcome, Outcome::NoEffect, "it was never reached");
}
