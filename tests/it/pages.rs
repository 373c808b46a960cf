//! Pages beside a real archiver: the run that commits the thousandth record writes one, whatever goes wrong around it.

use crate::memory::{archive, copied};
use crate::sweep::{Local, memory_dir};
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::ledger::page::{page_key, read_page};
use binlogfs::ledger::{Entry, LedgerState};
use binlogfs::model::{Seq, Sha256, Timeline};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, MemoryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::{Outcome, Settings};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Records before the runs that are looked at: two files more complete a page.
const BEFORE: usize = 998;
/// Files that a run finds.
const NEW: usize = 4;
/// Larger than any object here, in bytes.
const OBJECT_MAX: u64 = 1 << 22;

async fn run(
    server: &SyntheticServer,
    store: &MemoryStore,
    state: &Path,
    clock: &Arc<FaultClock>,
) -> anyhow::Result<Outcome> {
    let faulty: SharedStore = Arc::new(FaultStore::new(Arc::new(store.clone()), Arc::clone(clock)));
    let mut settings = Settings::new(state);
    settings.interrupt = Arc::new(Local(Arc::clone(clock)));
    archive(server, faulty, &settings).await
}

fn copied_dir(from: &Path) -> tempfile::TempDir {
    let to = memory_dir();
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        fs::copy(&path, to.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    to
}

/// The ledger as somebody else reads it, with its pages or without.
async fn history(store: &MemoryStore, pages: bool) -> (Arc<LedgerState>, Vec<Entry>) {
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(Arc::new(store.clone()), Arc::clone(&index));
    let stream = stream.await.expect("opens");
    let stream = if pages {
        stream
    } else {
        stream.without_pages()
    };
    let followed = stream.follow().await.expect("the chain holds");
    assert!(followed.lost.is_empty() && followed.tail_damaged.is_none());
    let entries = index
        .entries(Timeline(1), None, usize::MAX)
        .expect("entries");
    (followed.state, entries)
}

async fn check(store: &MemoryStore, truth: &[Sha256], what: &str) {
    let bytes = store.get_all(&page_key(Seq(1)), OBJECT_MAX).await;
    let page = read_page(Seq(1), &bytes.unwrap_or_else(|e| panic!("{what}: {e}")));
    let page = page.unwrap_or_else(|e| panic!("{what}: {e}"));
    let (records, entries) = history(store, false).await;
    let (paged, same) = history(store, true).await;
    assert!(
        records == paged && entries == same,
        "{what}: pages say something else"
    );
    let archived: Vec<Sha256> = entries
        .iter()
        .map(|entry| entry.segment.as_ref().expect("a segment").sha256)
        .collect();
    assert!(archived == truth, "{what}: every file once, in order");
    assert_eq!(page.len(), 1000, "{what}");
}

/// The run that completes a page dies or fails at each of its last operations: the next one makes it good.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_around_a_page_is_made_good_by_the_next() {
    let data = memory_dir();
    let mut server = SyntheticServer::new(data.path(), 1, "binlog");
    (0..BEFORE).for_each(|_| server.rotate(1, 50));
    let digest = |path| Sha256::of(&fs::read(path).expect("readable"));
    let mut truth: Vec<Sha256> = server.closed().into_iter().map(digest).collect();
    let (store, state) = (MemoryStore::new(), memory_dir());
    let calm = FaultClock::calm();
    run(&server, &store, state.path(), &calm)
        .await
        .expect("a calm run");
    assert!(store.head(&page_key(Seq(1))).await.is_err(), "no page yet");
    // What is archived is purged, but for the file that the new ones follow.
    server.purge(BEFORE - 1);
    (0..NEW).for_each(|_| server.rotate(1, 50));
    truth.extend(server.closed().into_iter().skip(1).map(digest));

    let operations = {
        let (store, state) = (copied(&store).await, copied_dir(state.path()));
        let clock = FaultClock::calm();
        run(&server, &store, state.path(), &clock)
            .await
            .expect("a calm run");
        check(&store, &truth, "calm").await;
        clock.count()
    };
    // From a few before the record that completes the page to the end.
    for fault in [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::ErrorBefore(ErrorKind::Denied),
        Fault::ErrorAfter(ErrorKind::Timeout),
    ] {
        for n in operations.saturating_sub(8)..operations {
            let what = format!("{fault:?} at operation {n} of {operations}");
            let (store, state) = (copied(&store).await, copied_dir(state.path()));
            let _ = run(&server, &store, state.path(), &FaultClock::nth(n, fault)).await;
            let again = run(&server, &store, state.path(), &calm).await;
            again.unwrap_or_else(|e| panic!("{what}: the next run fails: {e:#}"));
            check(&store, &truth, &what).await;
        }
    }
    // A store that refuses pages keeps nobody from archiving.
    let store = copied(&store).await;
    let refusing = FaultClock::new(|op| match op.key.starts_with("pages/") {
        true => Fault::ErrorBefore(ErrorKind::Denied),
        false => Fault::None,
    });
    let done = run(&server, &store, state.path(), &refusing)
        .await
        .expect("archives");
    assert_eq!(done.archived.len(), NEW);
    assert!(store.head(&page_key(Seq(1))).await.is_err());
    run(&server, &store, state.path(), &calm)
        .await
        .expect("archives");
    check(&store, &truth, "a page that was refused").await;
}
