//! An agent that commits against the ledger as it knew it, beside another archiver.

use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::model::Seq;
use binlogfs::source::Source;
use binlogfs::store::{MemoryStore, SharedStore};
use binlogfs::stream::Stream;
use binlogfs::sync::{Footing, Outcome, Settings, archive_again, read_batch};
use std::path::Path;
use std::sync::Arc;

async fn archive(
    server: &SyntheticServer,
    state: &Path,
    store: &SharedStore,
    footing: &mut Footing,
) -> anyhow::Result<Outcome> {
    let source = Source::open(server.dir())?;
    let batch = read_batch(&source)?;
    let settings = Settings::new(state);
    archive_again(&source, batch, Arc::clone(store), &settings, footing).await
}

/// What seems to be missing by the old ledger may be archived: it is no reason to refuse a file.
#[tokio::test]
async fn what_another_archived_meanwhile_does_not_seem_to_be_missing() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    let store: SharedStore = Arc::new(MemoryStore::new());
    let (own, mut footing) = (path("own"), Footing::default());
    for _ in 0..2 {
        server.rotate(2, 100);
        let outcome = archive(&server, &own, &store, &mut footing).await;
        assert_eq!(outcome.expect("archives").archived.len(), 1);
    }
    // More files than may be missing without a person's word.
    (0..6).for_each(|_| server.rotate(2, 100));
    let other = archive(&server, &path("other"), &store, &mut Footing::default()).await;
    assert_eq!(other.expect("archives").archived.len(), 6);
    server.purge(7);
    server.rotate(2, 100);
    let outcome = archive(&server, &own, &store, &mut footing).await;
    let outcome = outcome.expect("nothing is missing");
    assert_eq!((outcome.archived.len(), outcome.by_another), (1, 1));
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(store, Arc::clone(&index)).await;
    let followed = stream.expect("opens").follow().await.expect("follows");
    assert_eq!(followed.state.last_seq, Seq(9));
    assert!(index.unsound().expect("reads").is_empty());
}
