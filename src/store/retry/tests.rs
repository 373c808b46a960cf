//! What is tried again, what is not, and what becomes of a lost reply.

mod lossy;

use super::*;
use crate::store::fault::{Fault, FaultClock, FaultStore, InPieces, Step};
use crate::store::{MemoryStore, RecordingStore, conformance};
use lossy::LosesFirst;

const LOST: Fault = Fault::ErrorAfter(ErrorKind::Timeout);
const REFUSED: Fault = Fault::ErrorBefore(ErrorKind::Throttled);

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

/// A memory store with the faults of `clock`, retried.
fn with(clock: &Arc<FaultClock>) -> (MemoryStore, RetryStore) {
    let memory = MemoryStore::new();
    let faulty = FaultStore::new(Arc::new(memory.clone()), clock.clone());
    let store = RetryStore::new(Arc::new(faulty), RetryPolicy::default());
    (memory, store)
}

async fn upload(store: &RetryStore, key: &ObjectKey, body: &'static str) -> Result<()> {
    let mut upload = store.upload(key, 0).await?;
    upload.write(body.into()).await?;
    upload.commit(Checksums::of(body.as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn retried_every_contract_holds() {
    conformance::run_all(|| {
        let memory = Arc::new(MemoryStore::new());
        Arc::new(RetryStore::new(memory, RetryPolicy::default()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_store_that_throttles_one_request_in_ten_every_contract_holds() {
    conformance::run_all(|| {
        // Writing a piece is not retried: whoever uploads begins again.
        let seeded = FaultClock::seeded(1, 10, vec![REFUSED]);
        let clock = FaultClock::new(move |op| match (op.what, seeded.step(op.what)) {
            ("write" | "commit" | "abort", _) => Fault::None,
            (_, fault) => fault,
        });
        let memory = Arc::new(MemoryStore::new());
        let faulty = FaultStore::new(memory, clock);
        let policy = RetryPolicy {
            pause_first: Duration::from_micros(10),
            ..RetryPolicy::default()
        };
        Arc::new(RetryStore::new(Arc::new(faulty), policy))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_a_get_that_is_cut_off_only_what_is_missing_is_asked_for_again() {
    let (memory, key) = (MemoryStore::new(), key("x"));
    memory.tamper(&key, "0123456789");
    let (in_pieces, tell) = InPieces::new(Arc::new(memory), 2);
    let recording = RecordingStore::new(Arc::new(in_pieces));
    let store = RetryStore::new(Arc::new(recording.clone()), RetryPolicy::default());
    for step in [
        Step::Piece,
        Step::Piece,
        Step::CutOff,
        Step::CutOff,
        Step::Piece,
    ] {
        tell.send(step).expect("heard");
    }
    drop(tell);
    let mut given: Vec<Bytes> = Vec::new();
    let mut gather = |piece: Bytes| given.push(piece);
    let get = store.get_in_pieces(&key, 1..10, &mut gather);
    get.await.expect("in the end");
    assert_eq!(given, ["12", "34", "56", "78", "9"]);
    let asked = recording.calls().into_iter();
    let asked: Vec<_> = asked
        .map(|call| (call.range.expect("a get"), call.bytes))
        .collect();
    assert_eq!(asked, [(1..10, 4), (5..10, 0), (5..10, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_not_seen() {
    let clock = FaultClock::new(|op| if op.n < 5 { REFUSED } else { Fault::None });
    let (memory, store) = with(&clock);
    let begun = Instant::now();
    store.create(&key("k"), "body".into()).await.expect("made");
    assert_eq!(clock.count(), 6);
    assert!(begun.elapsed() > Duration::ZERO, "it did not pause");
    assert_eq!(memory.keys(), [key("k")]);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let clock = FaultClock::new(|_| REFUSED);
    let (_, store) = with(&clock);
    let error = store.get(&key("k"), 0..1).await.expect_err("throttled");
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert_eq!(clock.count(), 8);
}

#[tokio::test(start_paused = true)]
async fn time_is_bounded() {
    let clock = FaultClock::new(|_| REFUSED);
    let memory = Arc::new(MemoryStore::new());
    let faulty = Arc::new(FaultStore::new(memory, clock.clone()));
    let policy = RetryPolicy {
        attempts_max: u32::MAX,
        pause_first: Duration::from_secs(10),
        pause_max: Duration::from_secs(10),
        time_max: Duration::from_secs(60),
    };
    let begun = Instant::now();
    let store = RetryStore::new(faulty, policy);
    store.head(&key("k")).await.expect_err("throttled");
    assert!(begun.elapsed() <= Duration::from_secs(60));
    assert!(clock.count() > 1, "it did not try again");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_before_the_store_asked_for_it_and_none_waits_longer_than_a_minute_for_that()
 {
    let seconds = Duration::from_secs;
    for (asked_for, at_least, less_than) in [
        (seconds(5), seconds(5), seconds(6)),
        (seconds(3600), seconds(60), seconds(61)),
    ] {
        let clock = FaultClock::nth(0, Fault::Throttled(asked_for));
        let (_, store) = with(&clock);
        let begun = Instant::now();
        store.create(&key("k"), "body".into()).await.expect("made");
        let took = begun.elapsed();
        assert!(at_least <= took && took < less_than, "{took:?}");
        assert_eq!(clock.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_worth_one_more_attempt() {
    let expired = Fault::ErrorBefore(ErrorKind::Expired);
    let clock = FaultClock::nth(0, expired);
    let (_, store) = with(&clock);
    store.create(&key("k"), "body".into()).await.expect("made");
    assert_eq!(clock.count(), 2);

    let clock = FaultClock::new(move |_| expired);
    let (_, store) = with(&clock);
    let made = store.create(&key("k"), "body".into()).await;
    let error = made.expect_err("expired");
    assert_eq!(error.kind, ErrorKind::Expired);
    assert!(error.to_string().contains("renew them"), "{error}");
    assert_eq!(clock.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_asked_eight_times_per_call_until_the_budget_is_used_up_and_once_from_then_on()
 {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = down.clone();
    let clock = FaultClock::new(move |_| match is_down.load(Ordering::SeqCst) {
        true => REFUSED,
        false => Fault::None,
    });
    let (_, store) = with(&clock);
    let call = async || {
        let before = clock.count();
        let made = store.get(&key("k"), 0..1).await;
        assert!(made.is_err());
        clock.count() - before
    };
    let mut requests = 0;
    for _ in 0..100 {
        requests += call().await;
    }
    // A hundred first attempts and a hundred retries; without a budget they would be 800.
    assert_eq!(requests, 200);
    assert_eq!(call().await, 1);

    // It answers again, if only that there is no such object: every fifth answer pays for a retry.
    down.store(false, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(call().await, 1);
    }
    down.store(true, Ordering::SeqCst);
    assert_eq!(call().await, 2);
    assert_eq!(call().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_one_request_in_ten_never_uses_up_the_budget() {
    let seeded = FaultClock::seeded(3, 10, vec![REFUSED]);
    let (memory, store) = with(&seeded);
    memory.tamper(&key("k"), "body");
    for _ in 0..5000 {
        store.get(&key("k"), 0..4).await.expect("read");
    }
    assert!(seeded.count() > 5400, "it was not throttled");
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again() {
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Credentials,
        ErrorKind::Denied,
        ErrorKind::NoSuchBucket,
        ErrorKind::NoSpace,
        ErrorKind::BadDigest,
        ErrorKind::Unsupported,
        ErrorKind::Permanent,
    ] {
        let clock = FaultClock::new(move |_| Fault::ErrorBefore(kind));
        let (_, store) = with(&clock);
        let made = store.create(&key("k"), "body".into()).await;
        assert_eq!(made.expect_err("failed").kind, kind);
        assert_eq!(clock.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_tries_nothing_again() {
    let clock = FaultClock::nth(0, Fault::CrashAfter);
    let (memory, store) = with(&clock);
    let error = store.create(&key("k"), "body".into()).await;
    assert_eq!(error.expect_err("dead").outcome, Outcome::Unknown);
    assert_eq!(clock.count(), 1);
    assert_eq!(memory.keys().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_reply_was_lost_is_found_to_be_ours() {
    // The replies of the first create and of the first look at it are lost.
    let clock = FaultClock::new(|op| match op.n {
        0 | 2 => LOST,
        _ => Fault::None,
    });
    let (_, store) = with(&clock);
    store.create(&key("k"), "ours".into()).await.expect("ours");
    assert_eq!(clock.count(), 4, "create, create, get_all, get_all");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_had_no_effect_is_never_taken_for_ours() {
    // The same body, but nothing of ours can have arrived: an error without effect, then another's object.
    let clock = FaultClock::nth(0, REFUSED);
    let (memory, store) = with(&clock);
    memory.tamper(&key("k"), "same");
    let error = store.create(&key("k"), "same".into()).await;
    assert!(error.expect_err("taken").already_exists());
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_does_not_make_anothers_object_ours() {
    for theirs in ["them", "longer than ours"] {
        // Lost before it arrived, though the error cannot tell.
        let memory = MemoryStore::new();
        memory.tamper(&key("k"), theirs);
        let store = RetryStore::new(
            Arc::new(LosesFirst::new(memory.clone())),
            RetryPolicy::default(),
        );
        let error = store.create(&key("k"), "ours".into()).await;
        assert!(error.expect_err("taken").already_exists());
        let found = memory.get_all(&key("k"), 100).await.expect("there");
        assert_eq!(found, theirs.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_stays_unknown_says_so_even_if_its_last_attempt_had_no_effect() {
    let clock = FaultClock::new(|op| if op.n == 0 { LOST } else { REFUSED });
    let (_, store) = with(&clock);
    let error = store.create(&key("k"), "body".into()).await;
    assert_eq!(error.expect_err("throttled").outcome, Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_reply_was_lost_is_found_by_its_head() {
    // upload, write, commit, head, head
    let clock = FaultClock::new(|op| match op.n {
        2 | 3 => LOST,
        _ => Fault::None,
    });
    let (memory, store) = with(&clock);
    upload(&store, &key("k"), "body").await.expect("found");
    assert_eq!(clock.count(), 5);
    assert_eq!(memory.keys(), [key("k")]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_did_not_arrive_is_not_repeated() {
    let clock = FaultClock::nth(2, REFUSED);
    let (memory, store) = with(&clock);
    let error = upload(&store, &key("k"), "body").await.expect_err("failed");
    assert_eq!(error.outcome, Outcome::NoEffect);
    assert_eq!(clock.count(), 3);
    assert!(memory.keys().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_that_is_not_there_stays_unknown() {
    let memory = MemoryStore::new();
    let store = RetryStore::new(
        Arc::new(LosesFirst::new(memory.clone())),
        RetryPolicy::default(),
    );
    let error = upload(&store, &key("k"), "body").await.expect_err("lost");
    assert_eq!(
        (error.kind, error.outcome),
        (ErrorKind::Timeout, Outcome::Unknown)
    );
    memory.tamper(&key("j"), "other");
    let store = RetryStore::new(Arc::new(LosesFirst::new(memory)), RetryPolicy::default());
    let error = upload(&store, &key("j"), "body")
        .await
        .expect_err("another");
    assert_eq!(error.kind, ErrorKind::BadDigest);
}

#[test]
fn pauses_grow_to_their_bound_and_are_spread_over_it() {
    let retries = Retries::new(RetryPolicy::default());
    let bounds: Vec<_> = (1..=10)
        .map(|n| retries.policy.pause_bound(n).as_millis())
        .collect();
    assert_eq!(bounds[..4], [200, 400, 800, 1600]);
    assert_eq!(bounds[9], 20_000);
    assert_eq!(
        retries.policy.pause_bound(u32::MAX),
        retries.policy.pause_max
    );
    let pauses: Vec<_> = (0..200).map(|_| retries.pause(3).as_millis()).collect();
    assert!(pauses.iter().all(|pause| *pause <= 800));
    assert!(pauses.iter().any(|pause| *pause < 200));
    assert!(pauses.iter().any(|pause| *pause > 600));
}
