//! Every contract of a store, kept by S3 stores on two servers.

use super::moto::Moto;
use super::server::{ACCESS_KEY, S3Server, SECRET_KEY};
use binlogfs::model::{ObjectKey, StoreUrl};
use binlogfs::store::{
    Checksums, ErrorKind, Outcome, RetryPolicy, RetryStore, S3Store, SharedStore,
    SingleWriterStore, conformance,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A store below a prefix that no other store has.
fn store_in(url_of: &dyn Fn(&str) -> String) -> SharedStore {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("tests/{}", MADE.fetch_add(1, Ordering::Relaxed));
    store_at(&url_of(&prefix))
}

/// The store at `url`, made outside of the runtime that uses it: the suite makes its stores in a plain function.
pub(super) fn store_at(url: &str) -> SharedStore {
    let url: StoreUrl = url.parse().expect("a URL");
    let connecting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let store = S3Store::connect_as(&url, RetryPolicy::default(), ACCESS_KEY, SECRET_KEY);
        runtime.block_on(store).expect("connects")
    });
    Arc::new(connecting.join().expect("connects"))
}

pub(super) fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

pub(super) async fn upload(store: &SharedStore, key: &ObjectKey, body: &Bytes) {
    let mut upload = store.upload(key, body.len() as u64).await.expect("begun");
    for piece in body.chunks(1 << 20) {
        upload
            .write(Bytes::copy_from_slice(piece))
            .await
            .expect("written");
    }
    upload.commit(Checksums::of(body)).await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_contract_holds_on_s3s_fs() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = S3Server::start(dir.path());
    conformance::run_all(|| store_in(&|prefix| server.url(prefix))).await;
}

/// Without races: moto looks for an object and makes it in two steps, and has let two conditional creates of one key through.
#[tokio::test(flavor = "multi_thread")]
async fn every_contract_of_one_client_holds_on_moto() {
    let moto = Moto::start();
    conformance::run_all_but_races(|| store_in(&|prefix| moto.url(prefix))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_contract_holds_with_retries_and_with_a_single_writers_look() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = S3Server::start(dir.path());
    conformance::run_all(|| {
        let store = SingleWriterStore::new(store_in(&|prefix| server.url(prefix)));
        Arc::new(RetryStore::new(Arc::new(store), RetryPolicy::default()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_costs_one_request_and_a_large_one_a_request_per_part_and_two() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = S3Server::start(dir.path());
    let store = store_at(&server.url("costs"));
    server.asked();
    upload(&store, &key("small"), &Bytes::from(vec![7; 16 << 20])).await;
    assert_eq!(server.asked(), [("PutObject".to_owned(), 1)].into());
    upload(&store, &key("large"), &Bytes::from(vec![7; (16 << 20) + 1])).await;
    let wanted = [
        ("CompleteMultipartUpload".to_owned(), 1),
        ("CreateMultipartUpload".to_owned(), 1),
        ("UploadPart".to_owned(), 3),
    ];
    assert_eq!(server.asked(), wanted.into());
    store.get(&key("large"), 0..100).await.expect("read");
    store.head(&key("large")).await.expect("known");
    let wanted = [("GetObject".to_owned(), 1), ("HeadObject".to_owned(), 1)];
    assert_eq!(server.asked(), wanted.into());
}

/// Of an object in parts, no server that runs here tells the CRC-64/NVME: s3s-fs forgets it, and moto tells another number.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_the_checksum_that_it_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = S3Server::start(dir.path());
    let store = store_at(&server.url("sums"));
    let body = Bytes::from(vec![9; 1 << 20]);
    upload(&store, &key("whole"), &body).await;
    let meta = store.head(&key("whole")).await.expect("known");
    assert_eq!(meta.crc64nvme, Some(Checksums::of(&body).crc64nvme));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_upload_that_was_killed_go_with_its_key() {
    let moto = Moto::start();
    let store = store_at(&moto.url("killed"));
    let object = key("segments/one");
    let mut killed = store.upload(&object, 0).await.expect("begun");
    killed
        .write(Bytes::from(vec![1; 40 << 20]))
        .await
        .expect("written");
    drop(killed);
    assert_eq!(moto.unfinished_uploads(), 1);
    store.delete(&object).await.expect("removed");
    assert_eq!(moto.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_leaves_no_parts() {
    let moto = Moto::start();
    let store = store_at(&moto.url("aborted"));
    let mut aborted = store.upload(&key("one"), 0).await.expect("begun");
    aborted
        .write(Bytes::from(vec![1; 40 << 20]))
        .await
        .expect("written");
    aborted.abort().await.expect("aborted");
    assert_eq!(moto.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_a_passing_fault_and_a_change_of_unknown_outcome() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = S3Server::start(dir.path());
    let store = store_at(&server.url("gone"));
    drop(server);
    let error = store
        .create(&key("a"), Bytes::from_static(b"x"))
        .await
        .expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert_eq!(error.outcome, Outcome::Unknown);
}
