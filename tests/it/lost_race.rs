//! Two archivers of one server, and a record that one of them cannot read.

use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::ledger::record_key;
use binlogfs::model::{Seq, Timeline};
use binlogfs::source::Source;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::{Outcome, Settings, archive_once, read_batch};
use std::path::Path;
use std::sync::Arc;

async fn archive(
    server: &SyntheticServer,
    state: &Path,
    store: SharedStore,
) -> anyhow::Result<Outcome> {
    let source = Source::open(server.dir())?;
    let batch = read_batch(&source)?;
    archive_once(&source, batch, store, &Settings::new(state)).await
}

async fn copy(from: &MemoryStore, to: &MemoryStore) {
    for key in from.keys() {
        let body = from.get_all(&key, 1 << 20).await.expect("there");
        match to.create(&key, body).await {
            Ok(()) => {}
            Err(error) => assert!(error.already_exists(), "{error}"),
        }
    }
}

/// What the file at hand is, cannot be told while the other's record of it cannot be read: it must not seem to be another file
/// of the same number, which would begin a timeline.
#[tokio::test]
async fn a_record_lost_in_a_race_is_not_taken_for_another_history() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    server.rotate(2, 100);
    let (store, others) = (MemoryStore::new(), MemoryStore::new());
    let ours: SharedStore = Arc::new(store.clone());
    let first = archive(&server, &path("a"), Arc::clone(&ours)).await;
    assert_eq!(first.expect("archives").archived.len(), 1);
    copy(&store, &others).await;
    (0..3).for_each(|_| server.rotate(2, 100));
    let other = archive(&server, &path("b"), Arc::new(others.clone())).await;
    assert_eq!(other.expect("archives").archived.len(), 3);

    // Right before our record 2, the other's records are there; and of them we never read record 2 as it is.
    let (key, from, to) = (record_key(Seq(2)), others.clone(), store.clone());
    let clock = FaultClock::new(move |op| {
        if op.key != key.as_str() {
            return Fault::None;
        }
        if op.what == "create" {
            futures::executor::block_on(copy(&from, &to));
            return Fault::None;
        }
        if to.keys().contains(&key) {
            Fault::WrongBody
        } else {
            Fault::None
        }
    });
    let faulty = Arc::new(FaultStore::new(ours.clone(), clock));
    let refused = archive(&server, &path("a"), faulty).await;
    let refused = format!("{:#}", refused.expect_err("it cannot be told"));
    for word in ["ledger record 2", "binlog.000002", "next run", "verify"] {
        assert!(refused.contains(word), "no {word}: {refused}");
    }

    // Read again, it is there.
    let again = archive(&server, &path("a"), Arc::clone(&ours)).await;
    assert!(again.expect("runs").archived.is_empty());
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(ours, Arc::clone(&index)).await.expect("opens");
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.state.last_seq, followed.lost.len()), (Seq(4), 0));
    assert_eq!(followed.state.timelines().count(), 1);
    let entries = index.entries(Timeline(1), None, 10).expect("entries");
    assert_eq!(entries.len(), 4);
}
