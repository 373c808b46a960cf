//! One schedule at work.

use super::faults::{clock_jump, faults, faulty, until_death};
use super::{CALM_ROUNDS, FRAME_SIZE, LATE_MAX, Tally, count, read_parts, read_through};
use crate::agent::outage::agent_of;
use crate::memory;
use crate::random::Random;
use crate::sweep::{Local, memory_dir};
use crate::synthetic::SyntheticServer;
use binlogfs::agent::alarm::Thresholds;
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::ledger::{Entry, EntryState};
use binlogfs::model::{Micros, ObjectKey, Sha256, Timeline};
use binlogfs::segment::Identities;
use binlogfs::store::fault::FaultClock;
use binlogfs::store::{Breaker, BreakerPolicy, BreakerStore, MemoryStore, SharedStore, Store as _};
use binlogfs::stream::Stream;
use binlogfs::sync::journal::{Journal, Uninterrupted};
use binlogfs::sync::{Outcome, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// One host that archives: its state directory, and how wrong its clock is, in microseconds.
#[derive(Clone)]
pub struct Host {
    pub state: PathBuf,
    pub wrong_by: Arc<AtomicI64>,
}

/// What a host does in a round: one run, or cycles of a daemon, before each of which its clock jumps.
pub enum Work {
    Run,
    Daemon { jumps: Vec<i64> },
}

impl Work {
    pub fn draw(random: &mut Random) -> Work {
        match random.below(2) {
            0 => Work::Run,
            _ => Work::Daemon {
                jumps: (0..1 + random.below(4))
                    .map(|_| clock_jump(random))
                    .collect(),
            },
        }
    }
}

/// A stream under test, its server, and everyone who takes part.
pub struct Scene<'a> {
    pub tally: &'a Tally,
    pub store: MemoryStore,
    pub server: SyntheticServer,
    /// What the server's files hold, oldest first.
    pub truth: Vec<(String, Vec<u8>)>,
    /// Who archives.
    pub hosts: Vec<Host>,
    /// When the schedule began, by the system's clock and by tokio's.
    pub began: (Micros, Instant),
    /// The index of a reader that lives through all rounds.
    pub reader: Arc<Index>,
    pub archived: usize,
    pub temp: tempfile::TempDir,
}

impl Scene<'_> {
    pub fn new<'a>(random: &mut Random, tally: &'a Tally) -> Scene<'a> {
        let temp = memory_dir();
        let data = temp.path().join("data");
        std::fs::create_dir(&data).expect("writable");
        let archivers = 1 + random.below(2);
        let mut scene = Scene {
            tally,
            store: MemoryStore::new(),
            server: SyntheticServer::new(&data, 1, "binlog"),
            truth: Vec::new(),
            hosts: (0..archivers)
                .map(|n| Host {
                    state: temp.path().join(format!("state-{n}")),
                    wrong_by: Arc::default(),
                })
                .collect(),
            began: (Micros::now(), Instant::now()),
            reader: Arc::new(Index::in_memory().expect("an index")),
            archived: 0,
            temp,
        };
        (0..1 + random.below(4)).for_each(|_| scene.rotate(random));
        scene
    }

    /// The server closes a file of some hundred bytes to 100 KiB.
    pub fn rotate(&mut self, random: &mut Random) {
        let transactions = random.below(4);
        let bytes = [10, 500, 5000, 30_000][random.below(4) as usize];
        self.server.rotate(transactions, bytes);
        let path = self.server.closed().pop().expect("just closed");
        let name = path.file_name().expect("a name").to_string_lossy();
        let bytes = std::fs::read(&path).expect("readable");
        self.truth.push((name.into_owned(), bytes));
    }

    pub fn settings(&self, host: &Host, transfers: usize, clock: &Arc<FaultClock>) -> Settings {
        let mut settings = Settings::new(&host.state);
        settings.interrupt = Arc::new(Local(Arc::clone(clock)));
        settings.frame_size = FRAME_SIZE;
        settings.transfers = transfers;
        let (began_at, began) = self.began;
        let wrong_by = Arc::clone(&host.wrong_by);
        settings.clock = Arc::new(move || {
            let passed = began.elapsed().as_micros() as i64;
            Micros(began_at.0 + passed + wrong_by.load(Ordering::Relaxed))
        });
        settings
    }

    pub async fn archive(
        &self,
        host: &Host,
        transfers: usize,
        clock: &Arc<FaultClock>,
    ) -> anyhow::Result<Outcome> {
        let settings = self.settings(host, transfers, clock);
        memory::archive(&self.server, faulty(&self.store, clock), &settings).await
    }

    /// A daemon on that host.
    pub fn daemon(&self, host: &Host, transfers: usize, clock: &Arc<FaultClock>) -> Tending {
        let mut settings = self.settings(host, transfers, clock);
        settings.consent.unencrypted = true;
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
        let store: SharedStore = Arc::new(BreakerStore::new(
            faulty(&self.store, clock),
            Arc::clone(&breaker),
        ));
        let agent = StreamAgent {
            thresholds: Thresholds {
                // Of a disk that others use too.
                disk_full_warning: Duration::ZERO,
                disk_full_critical: Duration::ZERO,
                ..Thresholds::default()
            },
            ..agent_of("orders", self.server.dir(), store, breaker, settings)
        };
        Tending::new(agent).0
    }

    /// Cycles of a daemon. How many segments it archived, as far as it lived to tell.
    pub async fn tend(&self, host: &Host, jumps: &[i64], mut daemon: Tending) -> usize {
        let mut segments = 0;
        for jump in jumps {
            host.wrong_by.fetch_add(*jump, Ordering::Relaxed);
            count(&self.tally.clock_jumps, usize::from(*jump != 0));
            let next = daemon.cycle().await;
            let health = daemon.health();
            count(&self.tally.cycles, 1);
            count(
                &self.tally.cycles_failed,
                usize::from(health.failed_in_a_row > 0),
            );
            segments = health.totals.segments as usize;
            tokio::time::sleep(next.pause).await;
        }
        segments
    }

    /// One round of faults: archivers and readers at the same time.
    pub async fn round(&mut self, random: &mut Random) {
        let work: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let transfers = 1 + random.below(3) as usize;
                (host, transfers, faults(random), Work::draw(random))
            })
            .collect();
        let archive =
            async |(host, transfers, clock, work): &(&Host, usize, Arc<FaultClock>, Work)| {
                let archived = match work {
                    Work::Run => {
                        let ended = until_death(clock, self.archive(host, *transfers, clock)).await;
                        count(&self.tally.runs, 1);
                        let failed = !matches!(ended, Some(Ok(_)));
                        count(&self.tally.runs_failed, usize::from(failed));
                        match ended {
                            Some(Ok(outcome)) => outcome.archived.len(),
                            Some(Err(_)) | None => 0,
                        }
                    }
                    Work::Daemon { jumps } => {
                        let daemon = self.daemon(host, *transfers, clock);
                        let ended = until_death(clock, self.tend(host, jumps, daemon)).await;
                        ended.unwrap_or(0)
                    }
                };
                count(&self.tally.deaths, usize::from(clock.is_crashed()));
                archived
            };
        let (reader, fresh) = (faults(random), faults(random));
        let read = async {
            until_death(&reader, self.read(&self.reader, &reader)).await;
            let index = Arc::new(Index::in_memory().expect("an index"));
            until_death(&fresh, self.read(&index, &fresh)).await;
        };
        let archivers = futures::future::join_all(work.iter().map(archive));
        let (archived, ()) = futures::future::join(archivers, read).await;
        self.archived += archived.iter().sum::<usize>();
    }

    /// Follows, reads all segments, and checks what `verify` checks. Errors are right here; wrong bytes never are.
    pub async fn read(&self, index: &Arc<Index>, clock: &Arc<FaultClock>) -> Option<usize> {
        let store = faulty(&self.store, clock);
        let stream = Stream::open(Arc::clone(&store), Arc::clone(index)).await;
        let followed = stream.ok()?.follow().await;
        let entries = index.entries(Timeline(1), None, 1000).expect("entries");
        let known: Vec<_> = entries
            .iter()
            .filter(|entry| entry.state != EntryState::Lost)
            .collect();
        let tally = self.tally;
        count(&tally.follows_failed, usize::from(followed.is_err()));
        count(&tally.records_lost, entries.len() - known.len());
        count(&tally.reads, known.len());
        let mut at = 0;
        for entry in &known {
            let rest = &self.truth[at..];
            let found = rest
                .iter()
                .position(|(name, _)| *name == entry.mount_name.as_str());
            at += 1 + found.expect("a file of the server's, in order, once");
        }
        let reader = SegmentReader::new(
            Arc::clone(&store),
            Identities::none(),
            Some(Arc::clone(index) as _),
            CacheOptions::default(),
        );
        let mut whole = 0;
        for entry in known {
            let truth = self.truth_of(entry);
            let read = read_through(&reader, entry, truth).await;
            whole += usize::from(read);
            count(&tally.reads_refused, usize::from(!read));
            read_parts(&reader, entry, truth).await;
            let object = &entry.segment.as_ref().expect("a segment").object;
            if let Ok(meta) = store.head(&object.key).await {
                assert_eq!(meta.size, object.size, "{}", object.key);
            }
        }
        followed.is_ok().then_some(whole)
    }

    pub fn truth_of(&self, entry: &Entry) -> &[u8] {
        let name = entry.mount_name.as_str();
        let found = self.truth.iter().find(|(known, _)| known == name);
        &found.expect("a file of the server's").1
    }

    /// The faults have ended: every archiver runs again, and all is as if there had been none.
    pub async fn converge(&mut self) {
        // Requests of dead processes may still be on their way.
        tokio::time::sleep(LATE_MAX).await;
        for round in 0..CALM_ROUNDS {
            for n in 0..self.hosts.len() {
                let calm = FaultClock::calm();
                let outcome = self.archive(&self.hosts[n].clone(), 2, &calm).await;
                let outcome = outcome
                    .unwrap_or_else(|e| panic!("calm round {round}: archiver {n} fails: {e:#}"));
                assert_eq!(outcome.damaged, Vec::<String>::new());
                assert!(round == 0 || outcome.archived.is_empty(), "{outcome:?}");
                self.archived += outcome.archived.len();
            }
        }
        assert!(self.archived <= self.truth.len(), "something twice");
        self.check_alarms().await;
        count(&self.tally.segments, self.truth.len());
        let fresh = Arc::new(Index::in_memory().expect("an index"));
        for index in [&fresh, &self.reader] {
            let calm = FaultClock::calm();
            let read = self.read(index, &calm).await;
            assert_eq!(read, Some(self.truth.len()), "each is read, whole");
        }
        self.check_history(&fresh);
        self.check_objects(&fresh);
    }

    /// A daemon finds nothing to do, and what was alarming is over.
    pub async fn check_alarms(&self) {
        for host in &self.hosts {
            let mut daemon = self.daemon(host, 1, &FaultClock::calm());
            daemon.cycle().await;
            let health = daemon.health();
            assert_eq!(health.last_error, None);
            assert_eq!((health.backlog.segments, health.dead_letters), (0, 0));
            assert_eq!(health.totals.segments, 0, "all was archived before");
            assert!(
                health.alarms.is_empty(),
                "{:?}\n{}",
                health.alarms,
                self.ledger().await
            );
        }
    }

    /// All records as they stand in the store, for whoever must understand a failure.
    pub async fn ledger(&self) -> String {
        let mut text = String::new();
        for key in self.store.keys() {
            if key.as_str().starts_with("ledger/") {
                let bytes = self.store.get_all(&key, 1 << 20).await.expect("there");
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        text
    }

    /// Each file once, in order, as it was; both readers agree.
    pub fn check_history(&self, fresh: &Index) {
        let entries = fresh.entries(Timeline(1), None, 1000).expect("entries");
        let told: Vec<_> = entries
            .iter()
            .map(|entry| {
                let segment = entry.segment.as_ref().expect("a segment");
                (entry.mount_name.to_string(), segment.sha256)
            })
            .collect();
        let want: Vec<_> = self
            .truth
            .iter()
            .map(|(name, bytes)| (name.clone(), Sha256::of(bytes)))
            .collect();
        assert_eq!(told, want, "every file once, in order");
        let state = fresh.state().expect("reads").expect("begun");
        assert_eq!(state.last_seq.0, self.truth.len() as u64, "no other record");
        assert_eq!(state.timelines().count(), 1);
        let kept = self.reader.entries(Timeline(1), None, 1000);
        assert_eq!(kept.expect("entries"), entries, "both readers agree");
    }

    /// No object is left that no record names, unless a record that may still come would name it.
    pub fn check_objects(&self, fresh: &Index) {
        let last = fresh.state().expect("reads").expect("begun").last_seq;
        let mut kept: Vec<ObjectKey> = Vec::new();
        for host in &self.hosts {
            let journal = Journal::open(&host.state, Arc::new(Uninterrupted)).expect("opens");
            for (key, record) in journal.open_uploads().expect("reads") {
                assert!(record > Some(last), "{key} is in the journal for nothing");
                kept.push(key);
            }
        }
        for key in self.store.keys() {
            let is_object = key.as_str().starts_with("segments/");
            let named = fresh.names_object(&key).expect("reads");
            assert!(
                !is_object || named || kept.contains(&key),
                "{key} is left over"
            );
        }
        assert!(self.temp.path().exists());
    }
}
