//! What a migration does to the place that it copies from: nothing, until it is told to close it.

use crate::memory::archive;
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::segment::Identities;
use binlogfs::store::{MemoryStore, RecordingStore, SharedStore};
use binlogfs::stream::Stream;
use binlogfs::sync::migrate::{Migration, Order, open_copy};
use binlogfs::sync::{Settings, system_clock};
use std::sync::Arc;

fn index() -> Arc<Index> {
    Arc::new(Index::in_memory().expect("an index"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_place_is_only_read_before_the_cut_over() {
    let temp = memory_dir();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    (0..3).for_each(|_| server.rotate(2, 100));
    let old: SharedStore = Arc::new(MemoryStore::new());
    let settings = Settings::new(temp.path().join("state"));
    let archived = archive(&server, Arc::clone(&old), &settings).await;
    assert_eq!(archived.expect("archives").archived.len(), 3);

    let recording = Arc::new(RecordingStore::new(old));
    let from = Stream::open(recording.clone(), index()).await;
    let from = from.expect("opens");
    let new: SharedStore = Arc::new(MemoryStore::new());
    let to = open_copy(&from, new, index(), &system_clock()).await;
    let to = to.expect("begins");
    let order = Order {
        to_url: "s3://elsewhere/orders".to_owned(),
        identities: Identities::none(),
        anew: None,
        by: "a test".to_owned(),
        clock: system_clock(),
        stop: Arc::default(),
    };
    let migration = Migration::begin(&from, &to, &order).await;
    let mut migration = migration.expect("begins");
    migration.catch_up(|_| {}).await.expect("carries all over");
    migration.carry_backups().await.expect("there are none");
    let written = || {
        let verbs = ["create", "upload", "delete"];
        verbs.map(|verb| recording.total(verb).calls)
    };
    assert_eq!(written(), [0, 0, 0], "{:?}", recording.calls());
    let report = migration.cut_over(|_| {}).await.expect("closes it");
    assert!(report.cut_over && report.records == 3, "{report:?}");
    // What must be refused, and the record that closes the ledger.
    assert_eq!(written(), [2, 0, 0], "{:?}", recording.calls());
}
