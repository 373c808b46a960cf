//! An import beside an archiver of the same stream.

use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::ledger::record_key;
use binlogfs::model::Seq;
use binlogfs::source::Source;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::import::{self, Imported, Job, Pile, Unwatched, Wanted};
use binlogfs::sync::{Settings, archive_once, read_batch};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

async fn import(files: &[PathBuf], dir: PathBuf, store: SharedStore) -> anyhow::Result<Imported> {
    std::fs::create_dir_all(dir.join("pile"))?;
    for path in files {
        std::fs::copy(path, dir.join("pile").join(super::name_of(path)))?;
    }
    let pile = Arc::new(Pile::Directory(dir.join("pile")));
    let findings = import::survey(&pile, &[], 1, &Unwatched).await?;
    let order = import::order(&findings.binlogs, &HashSet::new(), Wanted::default())?;
    let job = Job {
        pile: &pile,
        order: &order,
        refused: &findings.refused,
        server_uuid: None,
    };
    import::run(&job, store, &Settings::new(dir.join("state"))).await
}

async fn archive(
    server: &SyntheticServer,
    state: &Path,
    store: SharedStore,
) -> anyhow::Result<usize> {
    let source = Source::open(server.dir())?;
    let settings = Settings::new(state);
    let outcome = archive_once(&source, read_batch(&source)?, store, &settings).await?;
    Ok(outcome.archived.len())
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

async fn timelines_and_records(store: SharedStore) -> (usize, Seq) {
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(store, index).await.expect("opens");
    let state = stream.follow().await.expect("follows").state;
    (state.timelines().count(), state.last_seq)
}

/// The files of an import were compared with the stream as it was. What another archiver adds meanwhile is newer than they are,
/// and they must not come behind it: a ledger cannot be put in order again.
#[tokio::test]
async fn an_import_ends_when_an_archiver_adds_what_is_newer_to_its_stream() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    (0..6).for_each(|_| server.rotate(2, 100));
    let old = server.closed()[..3].to_vec();
    let (store, others) = (MemoryStore::new(), MemoryStore::new());
    let ours: SharedStore = Arc::new(store.clone());
    let first = import(&old[..1], path("first"), Arc::clone(&ours)).await;
    assert_eq!(first.expect("imports").outcome.archived.len(), 1);
    copy(&store, &others).await;
    // An archiver of the same server, which has purged what is imported.
    let kept: Vec<_> = old
        .iter()
        .map(|path| std::fs::read(path).expect("readable"))
        .collect();
    server.purge(3);
    let archived = archive(&server, &path("b"), Arc::new(others.clone())).await;
    assert_eq!(archived.expect("archives"), 3);
    for (path, bytes) in old.iter().zip(&kept) {
        std::fs::write(path, bytes).expect("writable");
    }

    // Right before the second record of the import, the other's are there.
    let (key, to) = (record_key(Seq(2)), store.clone());
    let clock = FaultClock::new(move |op| {
        if op.what == "create" && op.key == key.as_str() {
            futures::executor::block_on(copy(&others, &to));
        }
        Fault::None
    });
    let raced: SharedStore = Arc::new(FaultStore::new(Arc::clone(&ours), clock));
    let refused = import(&old, path("all"), raced).await;
    let refused = format!("{:#}", refused.expect_err("it has no place any more"));
    for word in ["another archiver", "binlog.000002", "run the import again"] {
        assert!(refused.contains(word), "no {word}: {refused}");
    }
    let (timelines, records) = timelines_and_records(Arc::clone(&ours)).await;
    assert_eq!(timelines, 1);
    // Compared anew, they are older than the stream.
    let refused = import(&old, path("again"), Arc::clone(&ours)).await;
    let refused = format!("{:#}", refused.expect_err("it is too old"));
    assert!(refused.contains("new stream"), "{refused}");
    assert_eq!(timelines_and_records(ours).await, (timelines, records));
}

/// Another import of the same files is no stranger: what it was faster with is there.
#[tokio::test]
async fn two_imports_of_one_pile_archive_each_file_once() {
    let temp = memory_dir();
    let path = |name: &str| temp.path().join(name);
    std::fs::create_dir(path("data")).expect("writable");
    let mut server = SyntheticServer::new(&path("data"), 1, "binlog");
    (0..20).for_each(|_| server.rotate(2, 100));
    let mut files = server.closed();
    files.remove(7);
    let store: SharedStore = Arc::new(MemoryStore::new());
    let (one, other) = futures::join!(
        import(&files, path("one"), Arc::clone(&store)),
        import(&files, path("other"), Arc::clone(&store))
    );
    let count = |imported: anyhow::Result<Imported>| {
        let imported = imported.expect("imports");
        let outcome = imported.outcome;
        assert_eq!(
            imported.already + outcome.by_another + outcome.archived.len(),
            files.len()
        );
        outcome.archived.len()
    };
    assert_eq!(count(one) + count(other), files.len());
    let (timelines, records) = timelines_and_records(store).await;
    assert_eq!((timelines, records), (1, Seq(20)), "and a hole");
}
