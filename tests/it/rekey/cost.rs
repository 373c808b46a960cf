//! What re-keying asks of the store: counted, not timed.

use crate::memory::{self, copied};
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use age_core::secrecy::ExposeSecret as _;
use binlogfs::index::Index;
use binlogfs::model::{Micros, Seq};
use binlogfs::segment::{Identities, KeyPair, Recipients, keygen};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, RecordingStore, SharedStore};
use binlogfs::stream::Stream;
use binlogfs::sync::Settings;
use binlogfs::sync::rekey::{Order, Rekeying, Report};
use std::sync::Arc;

/// More than are in flight at a time.
const SEGMENTS: u64 = 40;

fn identities(pair: &KeyPair) -> Identities {
    Identities::parse("key", pair.identity_file().expose_secret()).expect("a key")
}

fn order(with: &KeyPair, to: &KeyPair) -> Order {
    Order {
        identities: identities(with),
        recipients: Recipients::parse([&to.public]).expect("a key"),
        since: Seq(1),
        dry_run: false,
        rewrite: None,
        single_writer: false,
        by: "test".to_owned(),
        clock: Arc::new(|| Micros(1_800_000_000_000_000)),
    }
}

async fn archived(key: &KeyPair) -> MemoryStore {
    let (dir, state) = (memory_dir(), memory_dir());
    let mut server = SyntheticServer::new(dir.path(), 1, "binlog");
    (0..SEGMENTS).for_each(|_| server.rotate(1, 3000));
    let store = MemoryStore::new();
    let mut settings = Settings::new(state.path());
    settings.recipients = Recipients::parse([&key.public]).expect("a key");
    let archived = memory::archive(&server, Arc::new(store.clone()), &settings).await;
    archived.expect("archives");
    store
}

async fn followed(store: SharedStore) -> Stream {
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(store, index).await.expect("a stream");
    stream.follow().await.expect("follows");
    stream
}

async fn rekey(stream: &Stream, order: &Order) -> anyhow::Result<Report> {
    Rekeying::begin(stream, order).await?.run(|_| {}).await
}

#[tokio::test]
async fn two_gets_and_one_record_for_each_segment_and_one_record_the_second_time() {
    let (old, new, third) = (keygen(), keygen(), keygen());
    let store = archived(&old).await;
    let recording = RecordingStore::new(Arc::new(store.clone()));
    let stream = followed(Arc::new(recording.clone())).await;
    recording.reset();
    let report = rekey(&stream, &order(&old, &new)).await.expect("re-keys");
    assert_eq!(report.rekeyed, SEGMENTS);
    let made = recording.calls();
    let count = |verb: &str, prefix: &str| {
        let calls = made.iter();
        let of = calls.filter(|call| call.verb == verb && call.key.starts_with(prefix));
        of.count() as u64
    };
    assert_eq!(count("get", "segments/"), 2 * SEGMENTS);
    assert_eq!(count("create", "ledger/"), SEGMENTS);
    assert_eq!(count("create", "segments/") + count("upload", ""), 0);
    let fetched: u64 = made
        .iter()
        .filter(|c| c.verb == "get")
        .map(|c| c.bytes)
        .sum();
    assert!(fetched < SEGMENTS * (70 << 10), "{fetched} bytes");
    // Beside the probe and what following asks.
    assert!(made.len() as u64 <= 3 * SEGMENTS + 10, "{made:#?}");

    recording.reset();
    let report = rekey(&stream, &order(&new, &third)).await.expect("re-keys");
    assert_eq!(report.rekeyed, SEGMENTS);
    let again = recording.calls();
    let gets = again
        .iter()
        .filter(|call| call.key.starts_with("segments/"));
    assert_eq!(gets.count(), 0, "the header is in the record");

    let mut dry = order(&third, &old);
    dry.dry_run = true;
    recording.reset();
    rekey(&stream, &dry).await.expect("looks");
    let looked = recording.calls();
    assert!(
        looked.iter().all(|call| call.verb != "create"),
        "{looked:#?}"
    );
    assert!(looked.len() < 10, "{looked:#?}");
}

#[tokio::test]
async fn whatever_request_fails_the_next_run_goes_on_and_no_segment_is_re_keyed_twice() {
    let (old, new) = (keygen(), keygen());
    let archive = archived(&old).await;
    let order = order(&old, &new);
    let run = async |store: &MemoryStore, clock: &Arc<FaultClock>| -> anyhow::Result<Report> {
        let faulty = FaultStore::new(Arc::new(store.clone()), Arc::clone(clock));
        let index = Arc::new(Index::in_memory()?);
        let stream = Stream::open(Arc::new(faulty), index).await?;
        rekey(&stream, &order).await
    };
    let calm = FaultClock::calm();
    run(&copied(&archive).await, &calm)
        .await
        .expect("nothing fails");
    let steps = calm.count();
    let (mut failed, mut twice) = (0, 0);
    // Every fourth operation, what goes wrong in turn: a segment takes five, so that each fault meets each of them.
    for (turn, at) in (0..steps).step_by(4).enumerate() {
        let fault = [Fault::CrashBefore, Fault::CrashAfter, Fault::Twice][turn % 3];
        let store = copied(&archive).await;
        match run(&store, &FaultClock::nth(at, fault)).await {
            Ok(report) => twice += report.already,
            Err(_) => failed += 1,
        }
        let stream = followed(Arc::new(store.clone())).await;
        let before = stream
            .index()
            .state()
            .expect("reads")
            .expect("begun")
            .last_seq;
        let report = rekey(&stream, &order).await.expect("goes on");
        assert_eq!(report.already, before.0 - SEGMENTS, "fault at {at}");
        assert_eq!(report.rekeyed + report.already, SEGMENTS, "fault at {at}");
        let end = followed(Arc::new(store)).await;
        let state = end.index().state().expect("reads").expect("begun");
        assert_eq!(state.last_seq.0, 2 * SEGMENTS, "fault at {at}");
    }
    assert!(failed > 10, "{failed} of {steps} steps");
    assert!(
        twice > 0,
        "no record was found to be ours after a second creation"
    );
}
