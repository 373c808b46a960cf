//! How long it is until a server purges what is not archived, on a simulated clock: that goes down whatever else fails.

use super::outage::{agent_of, simulated_clock};
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use async_trait::async_trait;
use binlogfs::agent::alarm::AlarmKind;
use binlogfs::agent::sight::{Ask, FileSeen, RotationRule, Sight};
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use futures::FutureExt as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A server that answers once.
struct AnswersOnce {
    expire_after: Duration,
    has_answered: AtomicBool,
}

#[async_trait]
impl Ask for AnswersOnce {
    async fn look(&self, _files: &[FileSeen]) -> Result<Sight, String> {
        if self.has_answered.swap(true, Ordering::Relaxed) {
            return Err("Too many connections".to_owned());
        }
        Ok(Sight {
            expire_after: Some(self.expire_after),
            ..Sight::default()
        })
    }

    async fn rotate(&self, _rule: &RotationRule) -> Result<bool, String> {
        Ok(false)
    }
}

/// A server with a closed binlog, and the agent of its stream, whose store cannot be opened.
fn waiting(
    ask: Option<Arc<dyn Ask>>,
    expire_after: Option<Duration>,
) -> (tempfile::TempDir, SyntheticServer, Tending) {
    let temp = memory_dir();
    let data = temp.path().join("data");
    fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    server.rotate(2, 100);
    let mut settings = Settings::new(temp.path().join("state"));
    settings.clock = simulated_clock();
    let store: SharedStore = Arc::new(MemoryStore::new());
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let agent = StreamAgent {
        open: Box::new(|| {
            let away = Err::<SharedStore, _>(anyhow::anyhow!("it is away"));
            futures::future::ready(away).boxed()
        }),
        ask,
        expire_after,
        ..agent_of("orders", &data, store, breaker, settings)
    };
    let (tending, _) = Tending::new(agent);
    (temp, server, tending)
}

/// What is left, in seconds, and whether that is alarming.
fn expiry(tending: &Tending) -> (Option<i64>, bool) {
    let health = tending.health();
    let mut raised = health.alarms.iter();
    let is_raised = raised.any(|raised| raised.alarm.kind == AlarmKind::Expiry);
    (health.time_to_expiry_seconds, is_raised)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_purges_all_the_same() {
    let server = AnswersOnce {
        expire_after: 4 * HOUR,
        has_answered: AtomicBool::new(false),
    };
    let (_temp, _files, mut tending) = waiting(Some(Arc::new(server)), None);
    tending.cycle().await;
    assert_eq!(tending.health().server_up, Some(true));
    assert!(expiry(&tending).1);
    tokio::time::sleep(HOUR).await;
    tending.cycle().await;
    assert_eq!(tending.health().server_up, Some(false));
    let (left, is_raised) = expiry(&tending);
    let left = left.expect("it has said when it purges");
    assert!((3 * 3600 - 60..=3 * 3600).contains(&left), "{left}");
    assert!(is_raised);
}

#[tokio::test(start_paused = true)]
async fn while_the_files_cannot_be_looked_at_the_expiry_comes_nearer() {
    let (_temp, server, mut tending) = waiting(None, Some(48 * HOUR));
    tending.cycle().await;
    assert!(!expiry(&tending).1, "two days are left");
    // Listed, and not there: nothing goes on until it is.
    let mut index = fs::read_to_string(server.index_file()).expect("readable");
    index.push_str("./binlog.000009\n");
    fs::write(server.index_file(), index).expect("writable");
    tokio::time::sleep(30 * HOUR).await;
    tending.cycle().await;
    let error = tending.health().last_error.clone().expect("it fails");
    assert!(error.contains("does not exist"), "{error}");
    let (left, is_raised) = expiry(&tending);
    let left = left.expect("it was known");
    assert!((18 * 3600 - 60..=18 * 3600).contains(&left), "{left}");
    assert!(is_raised);
}
