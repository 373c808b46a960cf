//! A run that lasts for hours, on a simulated clock: what happens meanwhile is seen, told of, and acted on.

use super::outage::{agent_of, simulated_clock};
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::agent::alarm::{AlarmKind, Event, Thresholds};
use binlogfs::agent::schedule::{Policy, QuietWindow};
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

const MINUTE: Duration = Duration::from_secs(60);
const FILES: usize = 20;

/// The time of day in so long.
fn time_of_day(from_now: Duration) -> jiff::civil::Time {
    let time = jiff::Zoned::now().checked_add(from_now).expect("a time");
    time.time().round(jiff::Unit::Minute).expect("a minute")
}

/// A backlog of which each file takes minutes, an agent with that policy, and what it tells.
fn agent(
    policy: Policy,
    lag_warning: Duration,
) -> (
    tempfile::TempDir,
    MemoryStore,
    Tending,
    mpsc::Receiver<binlogfs::agent::hooks::Message>,
) {
    let temp = memory_dir();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    (0..FILES).for_each(|_| server.rotate(1, 500));
    let memory = MemoryStore::default();
    let slow = FaultClock::new(|op| match op.what {
        "commit" => Fault::Delay(2 * MINUTE),
        _ => Fault::None,
    });
    let store: SharedStore = Arc::new(FaultStore::new(Arc::new(memory.clone()), slow));
    let mut settings = Settings::new(temp.path().join("state"));
    settings.transfers = 1;
    settings.consent.unencrypted = true;
    settings.clock = simulated_clock();
    let (notices, heard) = mpsc::channel(1000);
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let (tending, _) = Tending::new(StreamAgent {
        policy,
        thresholds: Thresholds {
            lag_warning,
            // Of a disk that others use too.
            disk_full_warning: Duration::ZERO,
            disk_full_critical: Duration::ZERO,
            ..Thresholds::default()
        },
        notices: Some(notices),
        ..agent_of("orders", &data, store, breaker, settings)
    });
    (temp, memory, tending, heard)
}

fn archived(memory: &MemoryStore) -> usize {
    let keys = memory.keys();
    keys.iter()
        .filter(|key| key.as_str().starts_with("ledger/"))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_early_when_quiet_hours_begin_and_goes_on_after_them() {
    let quiet = QuietWindow {
        from: time_of_day(10 * MINUTE),
        to: time_of_day(60 * MINUTE),
    };
    let policy = Policy {
        quiet: vec![quiet],
        ..Policy::default()
    };
    let (_temp, memory, mut tending, _heard) = agent(policy, 120 * MINUTE);
    tending.cycle().await;
    let before = archived(&memory);
    assert!(
        (2..FILES / 2).contains(&before),
        "{before} were archived before the quiet hours"
    );
    tending.cycle().await;
    assert_eq!(archived(&memory), before, "it is quiet");
    tokio::time::sleep(60 * MINUTE).await;
    tending.cycle().await;
    assert_eq!(archived(&memory), FILES);
}

#[tokio::test(start_paused = true)]
async fn lag_is_alarming_while_the_run_that_is_late_goes_on() {
    let (_temp, memory, mut tending, mut heard) = agent(Policy::default(), 15 * MINUTE);
    let raised = async {
        let message = heard.recv().await.expect("told");
        (
            message.notice.alarm.kind,
            message.notice.event,
            archived(&memory),
        )
    };
    let (next, (kind, event, archived_then)) = futures::future::join(tending.cycle(), raised).await;
    assert_eq!((kind, event), (AlarmKind::Lag, Event::Raised));
    assert!(
        (1..FILES).contains(&archived_then),
        "{archived_then} were archived by then"
    );
    assert_eq!(archived(&memory), FILES);
    assert!(next.may_wake);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_closed_while_a_run_went_on_waits_when_it_has_ended() {
    let temp = memory_dir();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    server.rotate(1, 500);
    // It closes another one while the record of the first is made.
    let closing = Mutex::new(Some(server));
    let clock = FaultClock::new(move |op| {
        if op.what == "create" && op.key.starts_with("ledger/") {
            let server = closing.lock().expect("nobody panics").take();
            if let Some(mut server) = server {
                server.rotate(1, 500);
            }
        }
        Fault::None
    });
    let memory = MemoryStore::default();
    let store: SharedStore = Arc::new(FaultStore::new(Arc::new(memory.clone()), clock));
    let mut settings = Settings::new(temp.path().join("state"));
    settings.clock = simulated_clock();
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let agent = agent_of("orders", &data, store, breaker, settings);
    let (mut tending, _) = Tending::new(agent);
    tending.cycle().await;
    let waiting = tending.health().backlog.segments;
    assert_eq!((archived(&memory), waiting), (1, 1));
    tending.cycle().await;
    let waiting = tending.health().backlog.segments;
    assert_eq!((archived(&memory), waiting), (2, 0));
}
