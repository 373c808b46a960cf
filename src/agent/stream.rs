//! The archiver of one stream, for as long as the process lives: it looks, decides, archives, and tells how it is.

use super::alarm::{Alarm, AlarmBook, AlarmKind, Thresholds};
use super::disk::DiskTrend;
use super::health::{self, Health};
use super::hooks::Message;
use super::replicas::{ArchivedWhen, Replica, Replicas};
use super::schedule::{self, Decision, Moment, Policy};
use super::sight::{Ask, Sight};
use super::wake::{Watch, Watches};
use crate::model::Micros;
use crate::source::Source;
use crate::store::{Breaker, BreakerState, SharedStore};
use crate::sync::{Batch, Footing, Heads, Outcome, Settings, archive_again};
use anyhow::Result;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// A new binlog is in the directory before it is in the index file: a moment later it is in both.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a run that is asked to end may take to finish what is in flight. What it leaves, the next process removes.
const FAREWELL: Duration = Duration::from_secs(20);

/// A stream that has told nothing for so long beyond its time hangs. A look takes seconds, each call to a store or a server has a
/// deadline, and what it waits for it says before.
pub(super) const WORD_GRACE: Duration = Duration::from_secs(600);

/// Whether a stream's archiver goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It does.
    No,
    /// It ends when the files in flight are archived, however long that takes.
    AfterFiles,
    /// The process ends: files in flight get a moment.
    Now,
}

/// Opens the store; called again until it succeeds.
pub type OpenStore = Box<dyn Fn() -> BoxFuture<'static, Result<SharedStore>> + Send + Sync>;

/// What a stream's archiver needs.
pub struct StreamAgent {
    /// Its name.
    pub name: String,
    /// Its URL, for people.
    pub url: String,
    /// The data directory or the binlog index file.
    pub source: PathBuf,
    /// How its store is opened, with the breaker around it.
    pub open: OpenStore,
    /// The breaker around it.
    pub breaker: Arc<Breaker>,
    /// How to archive.
    pub settings: Settings,
    /// When to archive.
    pub policy: Policy,
    /// When to raise an alarm.
    pub thresholds: Thresholds,
    /// What `binlog_expire_logs_seconds` is, where nobody can be asked.
    pub expire_after: Option<Duration>,
    /// Who can ask the server.
    pub ask: Option<Arc<dyn Ask>>,
    /// After this long an alarm that is still raised is told of again.
    pub repeat: Duration,
    /// Where notices go, beside the log.
    pub notices: Option<mpsc::Sender<Message>>,
    /// The host's name.
    pub host: String,
    /// Stores that get a copy.
    pub replicas: Replicas,
}

/// One at work.
pub struct Tending {
    pub(super) agent: StreamAgent,
    pub(super) store: Option<SharedStore>,
    /// What the next run need not ask.
    footing: Footing,
    pub(super) heads: Heads,
    pub(super) disk: DiskTrend,
    pub(super) book: AlarmBook,
    pub(super) health: Health,
    pub(super) told: watch::Sender<Health>,
    pub(super) sight: Option<(Instant, Result<Sight, String>)>,
    /// After how long the server purges, as it said last: it goes on doing so when it does not answer.
    pub(super) purges_after: Option<Duration>,
    /// What of its settings is alarming, as it said last, to this process or the one before: that is so until it says otherwise.
    pub(super) server_alarms: Vec<Alarm>,
    /// When the oldest of the files that were put aside was closed.
    pub(super) put_aside_since: Option<Micros>,
    /// Why the active file was last not closed, though it was time to.
    pub(super) not_rotated: Option<String>,
    pub(super) yielding_since: Option<Instant>,
    pub(super) alive: Option<std::fs::File>,
    pub(super) replicas: Vec<Arc<Replica>>,
    watches: Watches,
    /// The kernel tells nothing of new binlogs, and that was said.
    pub(super) only_polls: bool,
}

/// What was seen of the server's files.
pub(super) struct Seen {
    pub(super) source: Source,
    pub(super) batch: Batch,
}

/// What the next cycle waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// At most this long.
    pub pause: Duration,
    /// Or until the kernel tells of a new binlog.
    pub may_wake: bool,
}

impl Tending {
    /// Begins; what the process before knew of its alarms is taken over.
    pub fn new(mut agent: StreamAgent) -> (Tending, watch::Receiver<Health>) {
        let before = health::read(&agent.settings.state_dir).unwrap_or_default();
        let orders = std::mem::take(&mut agent.replicas.orders);
        let replicas = Tending::replicas_of(orders, &before.replicas);
        let waits = agent.replicas.archived_when == ArchivedWhen::All && !replicas.is_empty();
        if waits {
            // Until it is known how far they are.
            agent.settings.archived_through.store(0, Ordering::Relaxed);
        }
        let found = |is_it: fn(AlarmKind) -> bool| -> Vec<Alarm> {
            let raised = before.alarms.iter().map(|raised| &raised.alarm);
            raised.filter(|alarm| is_it(alarm.kind)).cloned().collect()
        };
        // A store that was down is another alarm than runs that fail: that begins anew with the breaker.
        let failed_in_a_row = match before.breaker {
            BreakerState::Closed => before.failed_in_a_row,
            BreakerState::Open | BreakerState::HalfOpen => 0,
        };
        let health = Health {
            stream: agent.name.clone(),
            url: agent.url.clone(),
            started_at: (agent.settings.clock)(),
            last_success_at: before.last_success_at,
            last_archived_at: before.last_archived_at,
            waits_for_replicas: waits,
            failed_in_a_row,
            // Until the files can be looked at.
            findings: found(AlarmKind::is_found),
            dead_letters: before.dead_letters,
            alarms: before.alarms.clone(),
            next_word_by: Some(std::time::Instant::now() + WORD_GRACE),
            ..Health::default()
        };
        let (told, hear) = watch::channel(health.clone());
        let server_alarms = found(AlarmKind::is_of_server);
        let tending = Tending {
            book: AlarmBook::of(before.alarms),
            agent,
            store: None,
            footing: Footing::default(),
            heads: Heads::default(),
            disk: DiskTrend::default(),
            health,
            told,
            sight: None,
            purges_after: None,
            server_alarms,
            put_aside_since: None,
            not_rotated: None,
            yielding_since: None,
            alive: None,
            replicas,
            watches: Watches::default(),
            only_polls: false,
        };
        (tending, hear)
    }

    /// The same with the watches of a process that looks after many.
    #[must_use]
    pub fn watching(mut self, watches: &Watches) -> Tending {
        self.watches = watches.clone();
        self
    }

    /// How it is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Runs until `stop` says otherwise, or its sender is gone.
    pub async fn run(mut self, mut stop: watch::Receiver<Stop>) {
        self.health.stays = true;
        let _filling = self.fill_replicas();
        let mut watch: Option<Watch> = None;
        while *stop.borrow() == Stop::No {
            if watch.as_ref().is_none_or(Watch::is_over) {
                drop(watch.take());
                watch = self.watch();
            }
            let Some(next) = self.cycle_until(&mut stop).await else {
                break;
            };
            let woken = async {
                match &watch {
                    Some(watch) if next.may_wake => watch.changed().await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.changed() => break,
                () = tokio::time::sleep(next.pause) => {}
                () = woken => tokio::time::sleep(SETTLE).await,
            }
        }
        tracing::info!(stream = self.agent.name, "ended");
    }

    fn watch(&mut self) -> Option<Watch> {
        let source = Source::open(&self.agent.source).ok()?;
        match self.watches.watch(source.index_path()) {
            Ok(watch) => Some(watch),
            Err(error) => {
                if !std::mem::replace(&mut self.only_polls, true) {
                    tracing::warn!(
                        stream = self.agent.name, %error,
                        "new binlogs are found by polling alone"
                    );
                }
                None
            }
        }
    }

    /// One cycle, or `None` if it was stopped meanwhile: files in flight get their time to end.
    async fn cycle_until(&mut self, stop: &mut watch::Receiver<Stop>) -> Option<Next> {
        let flag = Arc::clone(&self.agent.settings.stop);
        let mut cycle = std::pin::pin!(self.cycle_logged());
        tokio::select! {
            next = &mut cycle => return Some(next),
            _ = stop.changed() => flag.store(true, Ordering::Relaxed),
        }
        let patience = async {
            loop {
                let asked = *stop.borrow_and_update();
                if asked != Stop::AfterFiles || stop.changed().await.is_err() {
                    break;
                }
            }
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = &mut cycle => {}
            // What is dropped here, the journal remembers.
            () = patience => {}
        }
        None
    }

    /// One cycle, and in the log why it failed, if it did.
    async fn cycle_logged(&mut self) -> Next {
        let failed_before = self.health.totals.failed_runs;
        let next = self.cycle().await;
        if let Some(error) = &self.health.last_error
            && self.health.totals.failed_runs > failed_before
        {
            tracing::error!(stream = self.agent.name, error, "the run failed");
        }
        next
    }

    /// Looks, archives if it is time to, and raises and clears alarms. How it went is in the health, for the caller to tell.
    pub async fn cycle(&mut self) -> Next {
        let next = self.work().await;
        self.tell(next.pause);
        next
    }

    /// One cycle of a process that does not stay, with its replicas filled before any alarm: what was archived a moment ago is not
    /// what they lag by.
    pub async fn once(&mut self) {
        // None of them sees three runs fail in a row: they are counted over all.
        let before = health::read(&self.agent.settings.state_dir);
        self.health.failed_in_a_row = before.map_or(0, |before| before.failed_in_a_row);
        self.work().await;
        self.fill_replicas_once().await;
        self.tell(Duration::ZERO);
    }

    async fn work(&mut self) -> Next {
        let begun_at = self.now();
        let looked = self.look().await;
        let mut paused = None;
        let result = match looked {
            Err(error) => Err(error),
            Ok(seen) => match self.decide() {
                Decision::Run => self.archive(seen).await,
                Decision::Wait { why, yields } => {
                    self.yielding_since = match yields {
                        true => self.yielding_since.or_else(|| Some(Instant::now())),
                        false => None,
                    };
                    paused = Some(why);
                    Ok(None)
                }
            },
        };
        if paused.is_none() {
            self.yielding_since = None;
        }
        self.health.paused = paused;
        self.account(result, begun_at)
    }

    pub(super) fn now(&self) -> Micros {
        (self.agent.settings.clock)()
    }

    /// The time of day here.
    pub(super) fn time_of_day(&self) -> jiff::civil::Time {
        jiff::Timestamp::from_microsecond(self.now().0)
            .unwrap_or_default()
            .to_zoned(jiff::tz::TimeZone::system())
            .time()
    }

    /// Whether this is a moment to archive. In danger, the limits fall at once.
    pub(super) fn decide(&self) -> Decision {
        let urgent = self.is_urgent();
        self.agent.settings.pace.set_urgent(urgent);
        let sight = self.sight();
        schedule::decide(
            &self.agent.policy,
            &Moment {
                time: self.time_of_day(),
                waiting: self.health.backlog.segments,
                urgent,
                breaker_closed_for: self.agent.breaker.closed_for(),
                threads_running: sight.and_then(|sight| sight.threads_running),
                replica_lag: sight.and_then(|sight| sight.replica_lag),
                yielded_for: self
                    .yielding_since
                    .map_or(Duration::ZERO, |since| since.elapsed()),
            },
        )
    }

    /// Archives what waits, and rotates if that is due. Without anything to do, nothing is sent to the store.
    async fn archive(&mut self, seen: Seen) -> Result<Option<Outcome>> {
        let mut outcome = None;
        let first = self.health.totals.runs == 0;
        let has_failed = self.health.failed_in_a_row > 0 || seen.batch.is_blocked();
        if self.health.backlog.segments > 0 || first || has_failed {
            outcome = Some(match self.run_and_look(seen).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    let journal = self.journal()?;
                    return Err(self.blame(&journal, error));
                }
            });
        }
        if outcome
            .as_ref()
            .is_none_or(|outcome| outcome.blocked.is_none())
        {
            self.rotate().await;
        }
        Ok(outcome)
    }

    /// One run, and looks while it lasts.
    async fn run_and_look(&mut self, seen: Seen) -> Result<Outcome> {
        let settings = self.agent.settings.clone();
        settings.hold.store(false, Ordering::Relaxed);
        let opening: BoxFuture<'static, Result<SharedStore>> = match &self.store {
            Some(store) => futures::future::ready(Ok(Arc::clone(store))).boxed(),
            None => (self.agent.open)(),
        };
        let mut opened = None;
        let mut footing = std::mem::take(&mut self.footing);
        let run = async {
            let store = Arc::clone(opened.insert(opening.await?));
            archive_again(&seen.source, seen.batch, store, &settings, &mut footing).await
        };
        let done = tokio::select! {
            done = run => done,
            never = self.keep_looking() => match never {},
        };
        self.store = opened.or(self.store.take());
        self.footing = footing;
        done
    }
}
