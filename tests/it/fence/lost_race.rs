//! A fence and an archiver at the same moment: what is fenced is what stands in the ledger when the record is made.

use crate::sweep::memory_dir;
use crate::synthetic::{SyntheticServer, uuid_of};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::ledger::record_key;
use binlogfs::locate::Target;
use binlogfs::model::{Seq, Timeline};
use binlogfs::segment::Identities;
use binlogfs::source::Source;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::fence::{Edge, Fencing};
use binlogfs::sync::{Settings, archive_once, read_batch};
use std::path::Path;
use std::sync::Arc;

async fn archive(server: &SyntheticServer, state: &Path, store: SharedStore) {
    let source = Source::open(server.dir()).expect("opens");
    let batch = read_batch(&source).expect("reads");
    let done = archive_once(&source, batch, store, &Settings::new(state)).await;
    done.expect("archives");
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

#[tokio::test]
async fn a_fence_that_lost_the_race_for_its_record_takes_out_what_came_first_as_well() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    (0..2).for_each(|_| server.rotate(2, 100));
    let (store, others) = (MemoryStore::new(), MemoryStore::new());
    archive(&server, &path("a"), Arc::new(store.clone())).await;
    copy(&store, &others).await;
    server.rotate(2, 100);
    archive(&server, &path("b"), Arc::new(others.clone())).await;

    // Right before record 3 of ours, that of the archiver is there.
    let (key, from, to) = (record_key(Seq(3)), others, store.clone());
    let clock = FaultClock::new(move |op| {
        if op.what == "create" && op.key == key.as_str() {
            futures::executor::block_on(copy(&from, &to));
        }
        Fault::None
    });
    let ours: SharedStore = Arc::new(FaultStore::new(Arc::new(store), clock));
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(Arc::clone(&ours), Arc::clone(&index)).await;
    let stream = stream.expect("opens");
    stream.follow().await.expect("follows");
    let fencing = Fencing {
        stream: &stream,
        reader: Arc::new(SegmentReader::new(
            ours,
            Identities::none(),
            None,
            CacheOptions::default(),
        )),
        reason: "a test".to_owned(),
        archiver: "a test".to_owned(),
    };
    let fourth = format!("{}:4", uuid_of(1)).parse().expect("a GTID");
    let edge = Edge::Before(Target::Gtid(fourth));
    let planned = fencing.plan(Timeline(1), &edge).await.expect("planned");
    assert_eq!((planned.segments, planned.transactions), (0, 1));
    let (seq, done) = fencing.execute(Timeline(1), &edge).await.expect("set");
    assert_eq!(seq, Seq(4));
    assert_eq!((done.segments, done.transactions), (1, 3));
    assert_eq!(done.lost.to_string(), format!("{}:4-6", uuid_of(1)));
    let state = stream.follow().await.expect("follows").state;
    let known = state.timeline(Timeline(1)).expect("there");
    assert_eq!(known.archived.count(), 3);
    assert_eq!(index.rows(Timeline(1), None, 9).expect("reads").len(), 2);
}
