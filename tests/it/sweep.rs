//! Every store, journal, index and manifest operation of an archiving run fails once, before and after its effect: the next
//! run converges, and nothing is lost, twice, out of order or left over.

use crate::memory::archive;
use crate::synthetic::SyntheticServer;
use binlogfs::index::Index;
use binlogfs::ledger::Entry;
use binlogfs::model::Timeline;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, MemoryStore, RetryPolicy, RetryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::journal::Interrupt;
use binlogfs::sync::{Outcome, Settings};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Segments of a run: enough for a first, a middle and a last one, and two in flight.
const SEGMENTS: usize = 4;

/// The clock as what stops a run's local effects.
pub struct Local(pub Arc<FaultClock>);

impl Interrupt for Local {
    fn before(&self, what: &str) -> io::Result<()> {
        self.step(what)
    }
    fn after(&self, what: &str) -> io::Result<()> {
        self.step(what)
    }
}

impl Local {
    /// A local effect fails or the process dies there; what only the network does to replies means nothing here.
    fn step(&self, what: &str) -> io::Result<()> {
        let fault = self.0.step(what);
        match fault {
            Fault::ErrorBefore(kind) | Fault::ErrorAfter(kind) => Err(match kind {
                ErrorKind::NoSpace => io::ErrorKind::StorageFull.into(),
                // EIO, which Rust has no name for.
                _ => io::Error::from_raw_os_error(5),
            }),
            Fault::CrashBefore | Fault::CrashAfter => Err(io::Error::other("crashed")),
            _ if self.0.is_crashed() => Err(io::Error::other("crashed")),
            _ => Ok(()),
        }
    }
}

/// A directory in memory where there is one: the sweep runs hundreds of archivers, and each waits for its journal.
pub fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

async fn run(
    server: &SyntheticServer,
    store: &MemoryStore,
    state: &Path,
    clock: &Arc<FaultClock>,
) -> anyhow::Result<Outcome> {
    let faulty: SharedStore = Arc::new(FaultStore::new(Arc::new(store.clone()), Arc::clone(clock)));
    let policy = RetryPolicy {
        pause_first: Duration::from_micros(1),
        pause_max: Duration::from_micros(10),
        ..RetryPolicy::default()
    };
    let mut settings = Settings::new(state);
    settings.interrupt = Arc::new(Local(Arc::clone(clock)));
    archive(server, Arc::new(RetryStore::new(faulty, policy)), &settings).await
}

/// The history as somebody else reads it from the bucket.
async fn history(store: &MemoryStore) -> Vec<Entry> {
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(Arc::new(store.clone()), Arc::clone(&index))
        .await
        .expect("the stream is there");
    stream.follow().await.expect("the chain holds");
    index.entries(Timeline(1), None, 1000).expect("entries")
}

async fn check_converged(server: &SyntheticServer, store: &MemoryStore, what: &str) {
    let entries = history(store).await;
    let names: Vec<_> = entries
        .iter()
        .map(|entry| entry.mount_name.to_string())
        .collect();
    assert_eq!(
        names,
        server.closed_names(),
        "{what}: every file once, in order"
    );
    let mut named = Vec::new();
    for (entry, path) in entries.iter().zip(server.closed()) {
        let segment = entry.segment.as_ref().expect("a segment");
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(
            segment.sha256,
            binlogfs::model::Sha256::of(&bytes),
            "{what}: {}",
            path.display()
        );
        assert_eq!(
            store
                .head(&segment.object.key)
                .await
                .expect("the object is there")
                .size,
            segment.object.size,
            "{what}"
        );
        named.push(segment.object.key.clone());
    }
    let left: Vec<_> = store
        .keys()
        .into_iter()
        .filter(|key| key.as_str().starts_with("segments/") && !named.contains(key))
        .collect();
    assert!(left.is_empty(), "{what}: left over: {left:?}");
}

fn server_in(dir: &Path) -> SyntheticServer {
    let mut server = SyntheticServer::new(dir, 1, "binlog");
    for n in 0..SEGMENTS {
        server.rotate(3, 2000 * (n + 1));
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_anywhere_converges_when_it_is_run_again() {
    let data = tempfile::tempdir().expect("a directory");
    let server = server_in(data.path());
    let calm = FaultClock::calm();
    let state = memory_dir();
    let store = MemoryStore::new();
    run(&server, &store, state.path(), &calm)
        .await
        .expect("a calm run");
    check_converged(&server, &store, "calm").await;
    let operations = calm.count();
    assert!(
        operations > 60,
        "store, journal, index and manifest take part: {operations}"
    );
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::ErrorBefore(ErrorKind::Permanent),
        Fault::ErrorAfter(ErrorKind::Permanent),
        Fault::ErrorBefore(ErrorKind::Transient),
        Fault::ErrorAfter(ErrorKind::Timeout),
    ];
    for fault in faults {
        for n in 0..operations {
            let what = format!("{fault:?} at operation {n}");
            let state = memory_dir();
            let store = MemoryStore::new();
            let first = run(&server, &store, state.path(), &FaultClock::nth(n, fault)).await;
            let again = run(&server, &store, state.path(), &FaultClock::calm()).await;
            let again = again.unwrap_or_else(|e| {
                panic!("{what}: the next run fails: {e:#} (the first: {first:?})")
            });
            check_converged(&server, &store, &what).await;
            let done_before = first.as_ref().map_or(0, |outcome| outcome.archived.len());
            assert!(
                done_before + again.archived.len() <= SEGMENTS,
                "{what}: archived twice"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_to_every_create_is_no_second_record() {
    let data = tempfile::tempdir().expect("a directory");
    let server = server_in(data.path());
    let store = MemoryStore::new();
    let state = memory_dir();
    // The first try of every create takes effect and its reply is lost.
    let clock = FaultClock::new(|op| {
        if op.what == "create" {
            Fault::ErrorAfter(ErrorKind::Timeout)
        } else {
            Fault::None
        }
    });
    let outcome = run(&server, &store, state.path(), &clock)
        .await
        .expect("lost replies are resolved by reading back");
    assert_eq!(outcome.archived.len(), SEGMENTS);
    check_converged(&server, &store, "lost replies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_state_that_is_lost_is_built_again() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = server_in(data.path());
    let store = MemoryStore::new();
    let state = memory_dir();
    run(&server, &store, state.path(), &FaultClock::calm())
        .await
        .expect("archives");
    for round in 0..3 {
        for entry in std::fs::read_dir(state.path()).expect("readable") {
            let path = entry.expect("an entry").path();
            if round == 0 {
                std::fs::remove_file(path).expect("removable");
            } else if path.extension().is_none_or(|e| e != "db")
                || round == 1 && path.ends_with("index.db")
            {
                std::fs::write(path, b"garbage").expect("writable");
            }
        }
        server.rotate(1, 100);
        let outcome = run(&server, &store, state.path(), &FaultClock::calm())
            .await
            .expect("archives again");
        assert_eq!(
            outcome.archived.len(),
            1,
            "only what is new (round {round})"
        );
        check_converged(&server, &store, "lost state").await;
    }
}
