//! Files that cannot be archived: those that the server encrypts block, and those that were put aside are not flushed away.

use super::outage::agent_of;
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use async_trait::async_trait;
use binlogfs::agent::alarm::AlarmKind;
use binlogfs::agent::schedule::Policy;
use binlogfs::agent::sight::{Ask, FileSeen, RotationRule, Sight};
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::model::Micros;
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use binlogfs::sync::dead_letter::DeadLetter;
use binlogfs::sync::journal::{Journal, Uninterrupted};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// The first bytes of a file that MySQL has encrypted.
const ENCRYPTED: &[u8] = b"\xfdbin\x01\x01\x00\x00\x00\x00\x00\x00";
const HOUR: Duration = Duration::from_secs(3600);

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

/// A server that notes what it is asked to rotate by.
#[derive(Default)]
struct Noting(Mutex<Vec<Option<Duration>>>);

#[async_trait]
impl Ask for Noting {
    async fn look(&self, _files: &[FileSeen]) -> Result<Sight, String> {
        Ok(Sight::default())
    }

    async fn rotate(&self, rule: &RotationRule) -> Result<bool, String> {
        let mut noted = self.0.lock().expect("nobody has panicked");
        noted.push(rule.oldest_waiting_age);
        Ok(false)
    }
}

#[tokio::test]
async fn a_file_that_was_put_aside_is_one_that_a_flush_would_purge_unarchived() {
    let mut scene = Scene::new();
    (0..3).for_each(|_| scene.server.rotate(2, 100));
    let second = scene.server.closed()[1].clone();
    let right = fs::read(&second).expect("readable");
    fs::write(&second, vec![0; right.len()]).expect("writable");
    fs::File::options()
        .write(true)
        .open(&second)
        .and_then(|file| file.set_modified(SystemTime::now() - 40 * HOUR))
        .expect("its time can be set");
    let journal = Journal::open(&scene.state_dir, Arc::new(Uninterrupted)).expect("opens");
    let letter = DeadLetter {
        file: "binlog.000002".to_owned(),
        inode: second.metadata().expect("there").ino(),
        path: second.clone(),
        reason: "it is a test".to_owned(),
        failed_runs: 3,
        first_failed_at: Micros::now(),
        put_aside_at: Some(Micros::now()),
    };
    journal.note_failure(&letter).expect("noted");
    let server = Arc::new(Noting::default());
    let policy = Policy {
        rotate_after: Some(Duration::from_secs(300)),
        ..Policy::default()
    };
    let mut tending = scene.tending(Some(Arc::clone(&server) as Arc<dyn Ask>), policy);
    let noted = || server.0.lock().expect("nobody has panicked").pop();
    tending.cycle().await;
    assert_eq!(tending.health().last_error, None);
    assert_eq!(
        (scene.archived(), tending.health().backlog.segments),
        (2, 0)
    );
    let age = noted().expect("it was asked").expect("one is not archived");
    assert!((40 * HOUR..41 * HOUR).contains(&age), "{age:?}");
    // Its hole was filled, and it is none of them any more.
    fs::write(&second, right).expect("writable");
    journal.forget_failure(&letter).expect("forgotten");
    tending.cycle().await;
    assert_eq!(tending.health().last_error, None);
    assert_eq!(noted().expect("it was asked"), None);
}
