//! Files that cannot be archived: those that the server encrypts block.

use super::outage::agent_of;
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::agent::alarm::AlarmKind;
use binlogfs::agent::schedule::Policy;
use binlogfs::agent::sight::Ask;
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The first bytes of a file that MySQL has encrypted.
const ENCRYPTED: &[u8] = b"\xfdbin\x01\x01\x00\x00\x00\x00\x00\x00";

/// A server, and where its stream is.
struct Scene {
    _temp: tempfile::TempDir,
    server: SyntheticServer,
    state_dir: PathBuf,
    memory: MemoryStore,
}

impl Scene {
    fn new() -> Scene {
        let temp = memory_dir();
        let data = temp.path().join("data");
        let state_dir = temp.path().join("state");
        fs::create_dir(&data).expect("writable");
        fs::create_dir(&state_dir).expect("writable");
        Scene {
            server: SyntheticServer::new(&data, 1, "binlog"),
            state_dir,
            memory: MemoryStore::new(),
            _temp: temp,
        }
    }

    fn tending(&self, ask: Option<Arc<dyn Ask>>, policy: Policy) -> Tending {
        let store: SharedStore = Arc::new(self.memory.clone());
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
        let settings = Settings::new(&self.state_dir);
        let agent = StreamAgent {
            ask,
            policy,
            ..agent_of("orders", self.server.dir(), store, breaker, settings)
        };
        Tending::new(agent).0
    }

    fn archived(&self) -> usize {
        let keys = self.memory.keys();
        let is_segment = |key: &&binlogfs::model::ObjectKey| key.as_str().starts_with("segments/");
        keys.iter().filter(is_segment).count()
    }
}

#[tokio::test]
async fn what_is_before_an_encrypted_binlog_is_archived_and_it_blocks_without_being_put_aside() {
    let mut scene = Scene::new();
    (0..3).for_each(|_| scene.server.rotate(2, 100));
    // Encryption was switched on: the active file is the first that is encrypted.
    let active = scene.server.dir().join("binlog.000004");
    fs::write(&active, ENCRYPTED).expect("writable");
    // Whatever else fails is put aside at once.
    let hasty = Policy {
        dead_letter_runs: 1,
        dead_letter_after: Duration::ZERO,
        ..Policy::default()
    };
    let mut tending = scene.tending(None, hasty);
    tending.cycle().await;
    assert_eq!(scene.archived(), 3);
    let health = tending.health();
    let error = health.last_error.clone().expect("the run has failed");
    assert!(
        error.contains("binlog.000004") && error.contains("encrypted by the server"),
        "{error}"
    );
    assert_eq!(health.totals.segments, 3);
    assert_eq!(health.backlog.segments, 0, "it is not closed yet");
    // It is closed, and waits.
    fs::write(scene.server.dir().join("binlog.000005"), ENCRYPTED).expect("writable");
    let mut index = fs::read_to_string(scene.server.index_file()).expect("readable");
    index.push_str("./binlog.000005\n");
    fs::write(scene.server.index_file(), index).expect("writable");
    for _ in 0..2 {
        tending.cycle().await;
    }
    let health = tending.health();
    assert_eq!((scene.archived(), health.backlog.segments), (3, 1));
    assert_eq!(health.dead_letters, 0);
    assert_eq!(health.failed_in_a_row, 3);
    let mut raised = health.alarms.iter().map(|raised| raised.alarm.kind);
    assert!(raised.any(|kind| kind == AlarmKind::RunFailing));
}
