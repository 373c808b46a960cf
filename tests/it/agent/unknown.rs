//! What is not known leaves an alarm as it is: while a server does not answer, and after an archiver was restarted.

use super::outage::agent_of;
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use async_trait::async_trait;
use binlogfs::agent::alarm::{Alarm, AlarmKind, Event, Severity};
use binlogfs::agent::hooks::Message;
use binlogfs::agent::schedule::Policy;
use binlogfs::agent::sight::{Ask, FileSeen, RotationRule, Sight};
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use futures::FutureExt as _;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// A server that says what it is told to.
struct Saying(Mutex<Result<Sight, String>>);

impl Saying {
    fn now(&self, says: Result<Sight, String>) {
        *self.0.lock().expect("nobody has panicked") = says;
    }
}

#[async_trait]
impl Ask for Saying {
    async fn look(&self, _files: &[FileSeen]) -> Result<Sight, String> {
        self.0.lock().expect("nobody has panicked").clone()
    }

    async fn rotate(&self, _rule: &RotationRule) -> Result<bool, String> {
        Ok(false)
    }
}

/// A server with a closed file, and the host of its archiver.
struct Scene {
    _temp: tempfile::TempDir,
    server: SyntheticServer,
    settings: Settings,
    memory: MemoryStore,
    is_away: Arc<AtomicBool>,
    says: Arc<Saying>,
    notices: mpsc::Sender<Message>,
    heard: mpsc::Receiver<Message>,
}

impl Scene {
    fn new() -> Scene {
        let temp = memory_dir();
        let data = temp.path().join("data");
        fs::create_dir(&data).expect("writable");
        let mut server = SyntheticServer::new(&data, 1, "binlog");
        server.rotate(2, 100);
        let (notices, heard) = mpsc::channel(1000);
        Scene {
            server,
            settings: Settings::new(temp.path().join("state")),
            memory: MemoryStore::new(),
            is_away: Arc::default(),
            says: Arc::new(Saying(Mutex::new(Ok(Sight::default())))),
            notices,
            heard,
            _temp: temp,
        }
    }

    /// An archiver that has just been started, of the files at `source`.
    fn started(&self, source: PathBuf) -> Tending {
        let (memory, is_away) = (self.memory.clone(), Arc::clone(&self.is_away));
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
        let store: SharedStore = Arc::new(memory.clone());
        let agent = StreamAgent {
            open: Box::new(move || {
                let opened: anyhow::Result<SharedStore> = match is_away.load(Ordering::Relaxed) {
                    true => Err(anyhow::anyhow!("it is away")),
                    false => Ok(Arc::new(memory.clone())),
                };
                futures::future::ready(opened).boxed()
            }),
            ask: Some(Arc::clone(&self.says) as Arc<dyn Ask>),
            // The server is asked as often.
            policy: Policy {
                poll: Duration::from_millis(1),
                ..Policy::default()
            },
            notices: Some(self.notices.clone()),
            ..agent_of("orders", &source, store, breaker, self.settings.clone())
        };
        Tending::new(agent).0
    }

    fn restarted(&self) -> Tending {
        self.started(self.server.dir().to_owned())
    }

    /// What was told since.
    fn told(&mut self) -> Vec<(AlarmKind, Event)> {
        let mut told = Vec::new();
        while let Ok(message) = self.heard.try_recv() {
            told.push((message.notice.alarm.kind, message.notice.event));
        }
        told
    }
}

/// A cycle, after the time that the server is left alone.
async fn cycle(tending: &mut Tending) {
    tokio::time::sleep(Duration::from_millis(5)).await;
    tending.cycle().await;
}

#[tokio::test]
async fn what_a_server_is_set_to_stays_alarming_until_it_says_otherwise() {
    let mut scene = Scene::new();
    let encrypts = Alarm {
        kind: AlarmKind::Encryption,
        severity: Severity::Critical,
        text: "it encrypts its binlogs".to_owned(),
    };
    scene.says.now(Ok(Sight {
        alarms: vec![encrypts],
        ..Sight::default()
    }));
    let mut tending = scene.restarted();
    cycle(&mut tending).await;
    assert_eq!(scene.told(), [(AlarmKind::Encryption, Event::Raised)]);
    scene.says.now(Err("Too many connections".to_owned()));
    cycle(&mut tending).await;
    let unreachable = (AlarmKind::ServerUnreachable, Event::Raised);
    assert_eq!(scene.told(), [unreachable]);
    // Nor does whoever is started meanwhile know better; whether it can look at the files, or not.
    tending = scene.started(scene.server.dir().join("nowhere"));
    cycle(&mut tending).await;
    assert!(tending.health().last_error.is_some());
    assert!(scene.told().is_empty());
    tending = scene.restarted();
    cycle(&mut tending).await;
    assert_eq!(tending.health().last_error, None);
    assert!(scene.told().is_empty());
    scene.says.now(Ok(Sight::default()));
    cycle(&mut tending).await;
    let both = [AlarmKind::Encryption, AlarmKind::ServerUnreachable];
    assert_eq!(scene.told(), both.map(|kind| (kind, Event::Cleared)));
}

#[tokio::test]
async fn runs_that_fail_go_on_failing_when_the_archiver_is_restarted() {
    let mut scene = Scene::new();
    scene.is_away.store(true, Ordering::Relaxed);
    let mut tending = scene.restarted();
    for _ in 0..3 {
        cycle(&mut tending).await;
    }
    assert_eq!(scene.told(), [(AlarmKind::RunFailing, Event::Raised)]);
    tending = scene.restarted();
    let next = tending.cycle().await;
    assert_eq!(tending.health().failed_in_a_row, 4);
    let told = scene.told();
    assert!(
        told.is_empty(),
        "neither its end nor its beginning: {told:?}"
    );
    let first = Duration::from_secs(2);
    assert!(next.pause <= first, "whoever restarts it waits for it");
    scene.is_away.store(false, Ordering::Relaxed);
    cycle(&mut tending).await;
    assert_eq!(tending.health().last_error, None);
    assert_eq!(scene.told(), [(AlarmKind::RunFailing, Event::Cleared)]);
}
