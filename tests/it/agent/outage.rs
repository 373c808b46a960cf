//! A store that is down for an hour, on a simulated clock: nothing is lost, nothing is hammered, and people are told once.

use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::agent::Clock;
use binlogfs::agent::alarm::{AlarmKind, Event, Thresholds};
use binlogfs::agent::schedule::Policy;
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::index::Index;
use binlogfs::model::{Micros, Timeline};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{
    Breaker, BreakerPolicy, BreakerState, BreakerStore, ErrorKind, MemoryStore, RetryPolicy,
    RetryStore, SharedStore,
};
use binlogfs::stream::Stream;
use binlogfs::sync::Settings;
use futures::FutureExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// The server closes a file this often.
const ROTATION: Duration = Duration::from_secs(300);

/// An agent of a stream in that store, which asks no server and tells nobody.
pub fn agent_of(
    name: &str,
    source: &Path,
    store: SharedStore,
    breaker: Arc<Breaker>,
    settings: Settings,
) -> StreamAgent {
    StreamAgent {
        name: name.to_owned(),
        url: "memory".to_owned(),
        source: source.to_owned(),
        open: Box::new(move || futures::future::ready(Ok(Arc::clone(&store))).boxed()),
        breaker,
        settings,
        policy: Policy::default(),
        thresholds: Thresholds::default(),
        expire_after: None,
        ask: None,
        repeat: Duration::from_secs(4 * 3600),
        notices: None,
        host: "here".to_owned(),
        replicas: Default::default(),
    }
}

/// The system's time when the test began, and tokio's, which is simulated, since then.
pub fn simulated_clock() -> Clock {
    let (began_at, began) = (Micros::now(), Instant::now());
    Arc::new(move || Micros(began_at.0 + began.elapsed().as_micros() as i64))
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_store_keeps_the_order_hammers_nobody_and_alarms_once() {
    let temp = memory_dir();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    let (down, requests) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let memory = MemoryStore::default();
    let store: SharedStore = {
        let (down, requests) = (Arc::clone(&down), Arc::clone(&requests));
        let faults = FaultClock::new(move |_| {
            requests.fetch_add(1, Ordering::Relaxed);
            match down.load(Ordering::Relaxed) {
                true => Fault::ErrorBefore(ErrorKind::Timeout),
                false => Fault::None,
            }
        });
        let faulty = FaultStore::new(Arc::new(memory.clone()), faults);
        Arc::new(RetryStore::new(Arc::new(faulty), RetryPolicy::default()))
    };
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let guarded: SharedStore = Arc::new(BreakerStore::new(store, Arc::clone(&breaker)));
    let (notices, mut heard) = mpsc::channel(1000);
    let mut settings = Settings::new(temp.path().join("state"));
    settings.consent.unencrypted = true;
    settings.clock = simulated_clock();
    let agent = StreamAgent {
        thresholds: Thresholds {
            lag_warning: 10 * MINUTE,
            lag_critical: 40 * MINUTE,
            expiry_warning: 90 * MINUTE,
            expiry_critical: 70 * MINUTE,
            ..Thresholds::default()
        },
        expire_after: Some(120 * MINUTE),
        notices: Some(notices),
        ..agent_of("orders", &data, guarded, Arc::clone(&breaker), settings)
    };
    let (mut tending, health) = Tending::new(agent);
    let (begun, mut rotated_at) = (Instant::now(), Instant::now());
    let (mut opened, mut asked_while_down) = (false, 0);
    while begun.elapsed() < 120 * MINUTE {
        if rotated_at.elapsed() >= ROTATION {
            server.rotate(2, 500);
            // Written by the simulated clock, as its age is measured by it.
            let closed = server.closed().pop().expect("one was closed");
            let now = std::time::SystemTime::now() + begun.elapsed();
            std::fs::File::options()
                .write(true)
                .open(closed)
                .and_then(|file| file.set_modified(now))
                .expect("its time can be set");
            rotated_at = Instant::now();
        }
        let is_down = (30 * MINUTE..90 * MINUTE).contains(&begun.elapsed());
        down.store(is_down, Ordering::Relaxed);
        let before = requests.load(Ordering::Relaxed);
        let next = tending.cycle().await;
        if is_down {
            asked_while_down += requests.load(Ordering::Relaxed) - before;
        }
        opened |= breaker.state() == BreakerState::Open;
        assert!(next.pause >= Duration::from_secs(1), "no busy loop");
        tokio::time::sleep(next.pause.min(ROTATION)).await;
    }
    assert!(opened);
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(health.borrow().backlog.segments, 0);
    assert_eq!(breaker.openings(), 1);
    // A try every five minutes at the end, each with its retries.
    assert!(
        (10..250).contains(&asked_while_down),
        "{asked_while_down} requests in an hour"
    );
    check_history(&memory, &server).await;
    let mut events = Vec::new();
    while let Ok(message) = heard.try_recv() {
        events.push((message.notice.alarm.kind, message.notice.event));
    }
    for kind in [AlarmKind::Lag, AlarmKind::Expiry] {
        let of_kind: Vec<_> = events
            .iter()
            .filter(|(k, _)| *k == kind)
            .map(|(_, e)| *e)
            .collect();
        assert_eq!(
            of_kind,
            [Event::Raised, Event::Escalated, Event::Cleared],
            "{kind:?}"
        );
    }
    let store_down: Vec<_> = events
        .iter()
        .filter(|(kind, _)| *kind == AlarmKind::StoreDown)
        .map(|(_, event)| *event)
        .collect();
    assert_eq!(store_down, [Event::Raised, Event::Cleared]);
}

/// The archive holds what the server closed, in its order, without a hole.
async fn check_history(memory: &MemoryStore, server: &SyntheticServer) {
    let index = Arc::new(Index::in_memory().expect("an index"));
    let stream = Stream::open(Arc::new(memory.clone()), Arc::clone(&index))
        .await
        .expect("a stream");
    stream.follow().await.expect("a chain");
    let archived: Vec<String> = index
        .entries(Timeline(1), None, 1000)
        .expect("readable")
        .into_iter()
        .map(|entry| entry.segment.expect("no hole").file.to_string())
        .collect();
    assert_eq!(archived, server.closed_names());
}
