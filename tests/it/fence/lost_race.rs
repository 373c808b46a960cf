//! A fence and an archiver at the same moment: what is fenced is what stands in the ledger when the record is made.

use crate::memory::{archive, copy};
use crate::sweep::memory_dir;
use crate::synthetic::{SyntheticServer, uuid_of};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::ledger::record_key;
use binlogfs::locate::Target;
use binlogfs::model::{Seq, Timeline};
use binlogfs::segment::Identities;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore};
use binlogfs::stream::Stream;
use binlogfs::sync::Settings;
use binlogfs::sync::fence::{Edge, Fencing};
use std::sync::Arc;

#[tokio::test]
async fn a_fence_that_lost_the_race_for_its_record_takes_out_what_came_first_as_well() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    let state = |name: &str| Settings::new(path(name));
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    (0..2).for_each(|_| server.rotate(2, 100));
    let (store, others) = (MemoryStore::new(), MemoryStore::new());
    let first = archive(&server, Arc::new(store.clone()), &state("a")).await;
    first.expect("archives");
    copy(&store, &others).await;
    server.rotate(2, 100);
    let other = archive(&server, Arc::new(others.clone()), &state("b")).await;
    other.expect("archives");

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
