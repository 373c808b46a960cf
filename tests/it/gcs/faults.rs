//! Replies that get lost, chunks that arrive in part, servers that are busy: what arrives is what was sent, once.

use super::conformance::store_at;
use super::emulator::url;
use super::model::{Model, Trouble};
use binlogfs::model::ObjectKey;
use binlogfs::store::{Checksums, Error, ErrorKind, Outcome, RetryPolicy, RetryStore, SharedStore};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// Two chunks and a last one.
const LARGE_BYTES: usize = 20 * MIB;

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

fn body(len: usize) -> Bytes {
    (0..len)
        .map(|n| (n / 1000) as u8)
        .collect::<Vec<u8>>()
        .into()
}

fn retried(model: &Model) -> SharedStore {
    let store = store_at(&url(&model.endpoint, "p"));
    Arc::new(RetryStore::new(store, RetryPolicy::default()))
}

async fn upload(store: &SharedStore, body: &Bytes) -> Result<(), Error> {
    let mut upload = store.upload(&key("k"), body.len() as u64).await?;
    for at in (0..body.len()).step_by(MIB) {
        let piece = body.slice(at..(at + MIB).min(body.len()));
        upload.write(piece).await?;
    }
    upload.commit(Checksums::of(body)).await
}

/// Uploads `len` bytes under `plan`, and compares what arrived; what was asked.
async fn arrives(
    len: usize,
    plan: impl Fn(usize, &str) -> Trouble + Send + Sync + 'static,
) -> Vec<String> {
    let model = Model::start(plan).await;
    let body = body(len);
    upload(&retried(&model), &body).await.expect("uploaded");
    let arrived = model.object("p/k").expect("made");
    assert!(arrived == body, "other bytes than were sent");
    model.asked()
}

fn at(n: usize, trouble: Trouble) -> impl Fn(usize, &str) -> Trouble {
    move |now, _| match now == n {
        true => trouble.clone(),
        false => Trouble::None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_costs_one_request_and_a_large_one_a_request_per_chunk_and_one() {
    let calm = |_: usize, _: &str| Trouble::None;
    assert_eq!(arrives(8 * MIB, calm).await, ["multipart"]);
    assert_eq!(
        arrives(8 * MIB + 1, calm).await,
        ["resumable", "chunk", "chunk"]
    );
    let asked = arrives(LARGE_BYTES, calm).await;
    assert_eq!(asked, ["resumable", "chunk", "chunk", "chunk"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_at_each_request_of_an_upload_changes_nothing() {
    for n in 0..4 {
        let asked = arrives(LARGE_BYTES, at(n, Trouble::LostReply)).await;
        // The session is begun anew, or asked how far it is; no chunk is sent twice.
        let again = if n == 0 { "resumable" } else { "ask" };
        assert_eq!(asked.len(), 5, "{n}: {asked:?}");
        assert_eq!(asked[n + 1], again, "{n}: {asked:?}");
    }
    let asked = arrives(100, at(0, Trouble::LostReply)).await;
    assert_eq!(asked, ["multipart", "multipart", "GET"], "taken, by us");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_chunk_that_arrived_in_part_the_rest_is_sent() {
    for (n, bytes) in [(1, 256 << 10), (2, 3 * MIB), (3, 0), (3, MIB)] {
        let asked = arrives(LARGE_BYTES, at(n, Trouble::CutOff(bytes))).await;
        assert_eq!(asked[n..=n + 2], ["chunk", "ask", "chunk"], "{asked:?}");
        assert_eq!(asked.len(), 6, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_asked_again_when_it_said_and_not_before() {
    let busy = Trouble::Answer(503, &[("retry-after", "1")], "busy");
    for n in 0..4 {
        let begun = Instant::now();
        arrives(LARGE_BYTES, at(n, busy.clone())).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "{n}");
    }
    let limit =
        r#"{"error":{"code":403,"message":"slower","errors":[{"reason":"rateLimitExceeded"}]}}"#;
    arrives(100, at(0, Trouble::Answer(403, &[], limit))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_on_the_way_is_found_by_the_server_and_nothing_is_made() {
    for (len, n) in [(100_000, 0), (LARGE_BYTES, 2), (LARGE_BYTES, 3)] {
        let model = Model::start(at(n, Trouble::FlippedBit)).await;
        let error = upload(&retried(&model), &body(len)).await;
        assert_eq!(error.expect_err("refused").kind, ErrorKind::BadDigest);
        assert_eq!(model.object("p/k"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_what_was_sent_is_deleted_if_the_server_did_not_look() {
    let other = r#"{"size":"100","crc32c":"AAAAAA==","generation":"7"}"#;
    let model = Model::start(at(0, Trouble::Answer(200, &[], other))).await;
    let error = upload(&retried(&model), &body(100)).await;
    assert_eq!(error.expect_err("refused").kind, ErrorKind::BadDigest);
    assert_eq!(model.asked(), ["multipart", "DELETE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_ends_the_upload_at_once() {
    for status in [404, 410] {
        let over = move |n: usize, what: &str| match (n, what) {
            (2, "chunk") => Trouble::Answer(status, &[], ""),
            _ => Trouble::None,
        };
        let model = Model::start(over).await;
        let error = upload(&retried(&model), &body(LARGE_BYTES)).await;
        let error = error.expect_err("over");
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert_eq!(error.outcome, Outcome::NoEffect);
        // It is given up, though there is nothing to give up any more.
        assert_eq!(model.asked(), ["resumable", "chunk", "chunk", "DELETE"]);
    }
}

/// Not on the emulator, which forgets the condition of a session.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_to_a_key_that_was_taken_meanwhile_changes_nothing() {
    let model = Model::start(|_, _| Trouble::None).await;
    let store = retried(&model);
    let body = body(LARGE_BYTES);
    let mut upload = store.upload(&key("k"), 0).await.expect("begun");
    upload.write(body.clone()).await.expect("written");
    store.create(&key("k"), "other".into()).await.expect("made");
    let refused = upload.commit(Checksums::of(&body)).await;
    assert_eq!(refused.expect_err("taken").kind, ErrorKind::AlreadyExists);
    assert_eq!(model.object("p/k").as_deref(), Some(&b"other"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_gives_its_session_up() {
    let model = Model::start(|_, _| Trouble::None).await;
    let store = retried(&model);
    let mut upload = store.upload(&key("k"), 0).await.expect("begun");
    upload.write(body(9 * MIB)).await.expect("written");
    upload.abort().await.expect("aborted");
    assert_eq!(model.asked().last().map(String::as_str), Some("DELETE"));
    assert_eq!(model.object("p/k"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_renewed_once_and_then_the_error_says_so() {
    let expired = r#"{"error":{"code":401,"message":"Invalid Credentials","errors":[{"reason":"authError"}]}}"#;
    arrives(LARGE_BYTES, at(0, Trouble::Answer(401, &[], expired))).await;
    let model = Model::start(move |_, _| Trouble::Answer(401, &[], expired)).await;
    let error = upload(&retried(&model), &body(10)).await;
    let error = error.expect_err("expired");
    assert_eq!(error.kind, ErrorKind::Expired);
    assert!(error.to_string().contains("renew them"), "{error}");
    assert_eq!(model.asked().len(), 2);
}
