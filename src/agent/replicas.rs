//! The replicas of one stream: each filled by a task of its own, beside the archiver and never in its way.

use super::schedule;
use super::stream::{OpenStore, Tending};
use crate::index::Index;
use crate::ledger::Body;
use crate::model::{Micros, Seq};
use crate::store::SharedStore;
use crate::stream::{Stream, StreamError};
use crate::sync::archive::INDEX_NAME;
use crate::sync::manifest;
use crate::sync::replica::{Held, Pass, counts_through};
use crate::sync::{Pace, Replicator};
use crate::telemetry;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Without news a replica is looked at this often: another host may archive to the stream too.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Lost records that are passed by to find out since when a replica lags.
const LOST_MAX: usize = 1000;

/// When a segment counts as archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchivedWhen {
    /// When the first store has it; replicas are filled behind.
    #[default]
    Primary,
    /// When every replica has it too.
    All,
}

impl std::str::FromStr for ArchivedWhen {
    type Err = String;

    fn from_str(text: &str) -> Result<ArchivedWhen, String> {
        match text {
            "primary" => Ok(ArchivedWhen::Primary),
            "all" => Ok(ArchivedWhen::All),
            _ => Err(format!("{text:?} is neither \"primary\" nor \"all\"")),
        }
    }
}

/// A replica to fill.
pub struct ReplicaOrder {
    /// Its URL, for people.
    pub url: String,
    /// How the first store is opened, for reading: not through the breaker of the archiver.
    pub from: OpenStore,
    /// How the replica is opened.
    pub to: OpenStore,
}

/// The replicas of a stream.
#[derive(Default)]
pub struct Replicas {
    /// Each of them.
    pub orders: Vec<ReplicaOrder>,
    /// When a segment counts as archived.
    pub archived_when: ArchivedWhen,
    /// What the first store cannot give of the records up to this one holds nothing back.
    pub give_up_through: Option<Seq>,
}

/// How one replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaHealth {
    /// Its URL.
    pub url: String,
    /// It has all records up to this one.
    pub through: u64,
    /// Records that it lacks.
    pub lag_records: u64,
    /// When the segment of the oldest of them was closed, or of what is held back, if that is older.
    pub oldest_closed_at: Option<Micros>,
    /// Why the last pass failed.
    pub last_error: Option<String>,
    /// Objects copied since the process began.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Times that the first store could not give something since the process began.
    pub passed_over: u64,
    /// What it could not give when all was last compared, and since.
    pub lacks: u64,
    /// What of that keeps what was archived later from counting as archived, where all replicas are waited for.
    pub held: Option<Held>,
}

impl ReplicaHealth {
    /// Age of the oldest record that it lacks, or of what is held back, in seconds.
    pub fn lag_seconds(&self, now: Micros) -> Option<u64> {
        let micros = now.0.saturating_sub(self.oldest_closed_at?.0);
        Some(u64::try_from(micros / 1_000_000).unwrap_or(0))
    }
}

/// One replica at work: what its task knows, for others to read.
pub(super) struct Replica {
    order: ReplicaOrder,
    /// A record was made.
    news: Notify,
    /// It has all records up to this one; 0 as long as this process does not know.
    through: AtomicU64,
    /// Of those, the ones up to this count as archived.
    counts: AtomicU64,
    /// How far it was when the process before looked: what is lag until this one knows. It makes nothing count as archived.
    through_before: u64,
    told: Mutex<ReplicaHealth>,
}

impl Replica {
    fn told(&self) -> ReplicaHealth {
        let told = self.told.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far it is, as far as is known.
    fn reached(&self) -> u64 {
        match self.through.load(Ordering::Relaxed) {
            0 => self.through_before,
            through => through,
        }
    }

    fn tell(&self, change: impl FnOnce(&mut ReplicaHealth)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Copies what it lacks.
    async fn pass(&self, filling: &mut Option<Replicator>, place: &Place) -> Result<Pass> {
        let replicator = match filling {
            Some(replicator) => replicator,
            None => match self.begin(place).await? {
                Some(begun) => filling.insert(begun),
                None => return Ok(Pass::default()),
            },
        };
        replicator.settled_through(place.settled_through());
        let pass = replicator.pass(|_| {}).await;
        let through = replicator.through();
        match &pass {
            // Less than before, if somebody has removed something there.
            Ok(pass) => self.through.store(pass.through, Ordering::Relaxed),
            Err(_) => {
                self.through.fetch_max(through, Ordering::Relaxed);
            }
        }
        if through > 0 {
            self.counts.store(replicator.counts(), Ordering::Relaxed);
        }
        pass
    }

    /// `None` as long as there is nothing to copy: the stream begins with its first segment.
    async fn begin(&self, place: &Place) -> Result<Option<Replicator>> {
        let from: SharedStore = (self.order.from)().await?;
        let index = Arc::new(Index::open(&place.index())?.0);
        let has_begun = index.state()?.is_some();
        let stream = match Stream::open(from, index).await {
            Err(StreamError::NoStream { .. }) if !has_begun => return Ok(None),
            opened => opened?,
        };
        let to: SharedStore = (self.order.to)().await?;
        let pace = Arc::clone(&place.pace);
        Ok(Some(Replicator::new(Arc::new(stream), to, pace)))
    }

    fn book(&self, name: &str, pass: Result<Pass>) -> bool {
        let url = &self.order.url;
        match pass {
            Ok(pass) => {
                if pass.records > 0 {
                    tracing::info!(
                        stream = name,
                        replica = url,
                        records = pass.records,
                        segments = pass.segments,
                        bytes = pass.bytes,
                        "replicated"
                    );
                }
                self.tell(|told| {
                    told.last_error = None;
                    told.segments += pass.segments;
                    told.bytes += pass.bytes;
                    told.passed_over += pass.passed_over_count;
                    told.lacks = pass.lacks;
                    told.held = pass.held;
                });
                true
            }
            Err(error) => {
                let error = telemetry::message(&error);
                let again = self.told().last_error.is_some();
                if !again {
                    tracing::warn!(stream = name, replica = url, error, "not replicated");
                }
                self.tell(|told| told.last_error = Some(error));
                false
            }
        }
    }
}

/// Where a stream's state is, and how fast it may be copied.
#[derive(Clone)]
struct Place {
    name: String,
    state_dir: PathBuf,
    settled_through: Seq,
    pace: Arc<Pace>,
}

impl Place {
    fn index(&self) -> PathBuf {
        self.state_dir.join(INDEX_NAME)
    }

    /// What the first store cannot give of the records up to this one holds nothing back.
    fn settled_through(&self) -> Seq {
        manifest::counted(&self.state_dir).max(self.settled_through)
    }
}

/// Replicas that are filled until this is dropped. What is dropped in the middle, the next process finds out anew.
pub(super) struct Filling(
    #[expect(dead_code, reason = "dropped, it ends them")] tokio::task::JoinSet<()>,
);

impl Tending {
    /// Those ordered; `before` is what the process before this one knew of them.
    pub(super) fn replicas_of(
        orders: Vec<ReplicaOrder>,
        before: &[ReplicaHealth],
    ) -> Vec<Arc<Replica>> {
        let replica = |order: ReplicaOrder| {
            let told = ReplicaHealth {
                url: order.url.clone(),
                ..ReplicaHealth::default()
            };
            let before = before.iter().find(|before| before.url == order.url);
            Arc::new(Replica {
                order,
                news: Notify::new(),
                through: AtomicU64::new(0),
                counts: AtomicU64::new(0),
                through_before: before.map_or(0, |before| before.through),
                told: Mutex::new(told),
            })
        };
        orders.into_iter().map(replica).collect()
    }

    fn place(&self) -> Place {
        Place {
            name: self.agent.name.clone(),
            state_dir: self.agent.settings.state_dir.clone(),
            settled_through: match self.health.waits_for_replicas {
                true => self.agent.replicas.give_up_through.unwrap_or(Seq(0)),
                false => Seq(u64::MAX),
            },
            pace: Arc::clone(&self.agent.settings.pace),
        }
    }

    /// Begins to fill the replicas, each by itself.
    pub(super) fn fill_replicas(&self) -> Filling {
        let mut tasks = tokio::task::JoinSet::new();
        for replica in &self.replicas {
            let (replica, place) = (Arc::clone(replica), self.place());
            tasks.spawn(async move {
                let (mut filling, mut failed): (Option<Replicator>, u32) = (None, 0);
                loop {
                    // Before the first look there is no index to copy by.
                    let pass = match place.index().exists() {
                        true => replica.pass(&mut filling, &place).await,
                        false => Ok(Pass::default()),
                    };
                    failed = match replica.book(&place.name, pass) {
                        true => 0,
                        false => failed.saturating_add(1),
                    };
                    let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
                    let pause = match failed {
                        0 => LOOK_EVERY,
                        _ => schedule::pause_after(failed, random),
                    };
                    let news = async {
                        match failed {
                            0 => replica.news.notified().await,
                            _ => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = news => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            });
        }
        Filling(tasks)
    }

    /// Fills the replicas once, one after the other.
    pub(super) async fn fill_replicas_once(&mut self) {
        for replica in &self.replicas {
            let pass = match self.place() {
                place if place.index().exists() => replica.pass(&mut None, &place).await,
                _ => Ok(Pass::default()),
            };
            replica.book(&self.agent.name, pass);
        }
    }

    /// Something was archived.
    pub(super) fn news_for_replicas(&self) {
        self.replicas
            .iter()
            .for_each(|replica| replica.news.notify_one());
    }

    /// How far the replicas are, and what counts as archived because of that.
    pub(super) fn note_replicas(&mut self) {
        if self.replicas.is_empty() {
            return;
        }
        let told = self.replicas.iter().map(|replica| ReplicaHealth {
            through: replica.reached(),
            ..replica.told()
        });
        let known = self.replicas.iter();
        let known = known.map(|replica| replica.counts.load(Ordering::Relaxed));
        let counts = known.min().unwrap_or(0);
        match self.behind(told.collect(), counts) {
            Ok(told) => self.health.replicas = told,
            Err(error) => tracing::warn!(%error, "how far the replicas are is not known"),
        }
    }

    /// `counts`: what this process knows that all of them have.
    fn behind(&self, mut told: Vec<ReplicaHealth>, counts: u64) -> Result<Vec<ReplicaHealth>> {
        let index = self.index()?;
        let last = index.state()?.map_or(0, |state| state.last_seq.0);
        for replica in &mut told {
            replica.lag_records = last.saturating_sub(replica.through);
            // What is held back does not count, and neither does what comes after it.
            let through = counts_through(replica.through, replica.held.as_ref());
            replica.oldest_closed_at = oldest_closed_at(&index, through, last)?;
        }
        let settings = &self.agent.settings;
        if self.health.waits_for_replicas {
            let before = settings.archived_through.swap(counts, Ordering::Relaxed);
            if before != counts && before != u64::MAX {
                manifest::write_manifest(&index, settings)?;
            }
        }
        Ok(told)
    }
}

/// When what the first readable record after `through` says was over: the time of a segment's last event, which is when its file was
/// closed; else when the record was made.
fn oldest_closed_at(index: &Index, through: u64, last: u64) -> Result<Option<Micros>> {
    for seq in (through + 1..=last).take(LOST_MAX) {
        if let Some(line) = index.record(Seq(seq))? {
            return Ok(Some(match &line.record().body {
                Body::Segment(segment) => segment.last_time.unwrap_or(segment.archived_at),
                other => other.archived_at(),
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Step;
    use crate::ledger::{Line, testing};
    use futures::FutureExt as _;

    fn order(url: &str) -> ReplicaOrder {
        let open = || futures::future::pending::<Result<SharedStore>>().boxed();
        ReplicaOrder {
            url: url.to_owned(),
            from: Box::new(open),
            to: Box::new(open),
        }
    }

    #[test]
    fn a_replica_of_which_this_process_knows_nothing_yet_is_as_far_as_it_was_before() {
        let before = [ReplicaHealth {
            url: "a".to_owned(),
            through: 7,
            ..ReplicaHealth::default()
        }];
        let replicas = Tending::replicas_of(vec![order("a"), order("b")], &before);
        let reached: Vec<u64> = replicas.iter().map(|replica| replica.reached()).collect();
        assert_eq!(reached, [7, 0]);
        let known = replicas.iter().map(|r| r.through.load(Ordering::Relaxed));
        assert_eq!(known.max(), Some(0), "and counts for nothing");
        replicas[0].through.store(5, Ordering::Relaxed);
        assert_eq!(replicas[0].reached(), 5, "what is known now has the word");
    }

    #[test]
    fn a_lost_record_does_not_hide_since_when_a_replica_lags() {
        let index = Index::in_memory().expect("opens");
        let file = testing::stream_file();
        index.begin(&file, &file.write()).expect("begins");
        let lines: Vec<Line> = testing::chain(3).collect();
        let lost = Step::Lost {
            seq: Seq(2),
            reason: "it is gone".to_owned(),
        };
        let steps = [
            Step::Line(lines[0].clone()),
            lost,
            Step::Line(lines[2].clone()),
        ];
        index.apply(&steps).expect("applies");
        let since = |through| oldest_closed_at(&index, through, 3).expect("reads");
        assert_eq!(since(0), testing::segment(1).last_time);
        assert_eq!(since(1), testing::segment(3).last_time);
        assert_eq!(since(3), None);
    }
}
