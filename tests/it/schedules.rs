//! Hundreds of random fault schedules: archivers, as single runs and as daemons, a follower, a reader and a verifier meet the faults
//! that a seed gives: of the store, the network, the disk of the state directory, the clock, and their own death. While they last, no
//! wrong byte is read; when they end, everything converges, and nothing is alarming any more.
//!
//! A schedule is drawn from a printed seed: who takes part, what the server writes, and which operations fail how. The same
//! seed fails the same operations again; how threads interleave is not in it, so a replay plays it several times.
//!
//! Everything but the local files is in memory, and those are on a memory file system where there is one: journals wait for
//! their disk at every entry. Time is tokio's, paused: pauses of retries, delays and late effects cost none.

use crate::agent::outage::agent_of;
use crate::memory;
use crate::random::Random;
use crate::sweep::{Local, memory_dir};
use crate::synthetic::SyntheticServer;
use binlogfs::agent::alarm::Thresholds;
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::cache::{ArchivedSegment, CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::ledger::{Entry, EntryState};
use binlogfs::model::{Micros, ObjectKey, Sha256, Timeline};
use binlogfs::segment::Identities;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{
    Breaker, BreakerPolicy, BreakerStore, ErrorKind, MemoryStore, RetryPolicy, RetryStore,
    SharedStore, Store as _,
};
use binlogfs::stream::Stream;
use binlogfs::sync::journal::{Journal, Uninterrupted};
use binlogfs::sync::{Outcome, Settings};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Schedules of a run, unless `BINLOGFS_TEST_SCHEDULES` says how many.
const SCHEDULES: u64 = 500;
/// Of the long test (`scripts/test --long`).
const SCHEDULES_LONG: u64 = 5000;
/// Runs of one schedule that is asked for: threads interleave anew each time.
const REPLAYS: u64 = 20;
/// Schedules among which every kind of trouble is met.
const ENOUGH: u64 = 300;
/// Failed schedules after which no more are begun.
const FAILURES_MAX: usize = 5;
/// Virtual time that a run may take: it is at an end that nobody would reach by working.
const RUN_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// The last late effect comes this long after its request, in virtual time.
const LATE_MAX: Duration = Duration::from_secs(300);
/// Rounds of a calm end. One converges; what an unknown outcome kept back goes in another.
const CALM_ROUNDS: usize = 2;
/// Frames of the smallest size, so that small files have several.
const FRAME_SIZE: u32 = 4096;

/// One host that archives: its state directory, and how wrong its clock is, in microseconds.
#[derive(Clone)]
struct Host {
    state: PathBuf,
    wrong_by: Arc<AtomicI64>,
}

/// What a host does in a round: one run, or cycles of a daemon, before each of which its clock jumps.
enum Work {
    Run,
    Daemon { jumps: Vec<i64> },
}

impl Work {
    fn draw(random: &mut Random) -> Work {
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

/// By so many microseconds a clock jumps: mostly not at all, else forward or back, from a second to years.
fn clock_jump(random: &mut Random) -> i64 {
    const SECOND: i64 = 1_000_000;
    if random.below(3) > 0 {
        return 0;
    }
    let far = [1, 60, 3600, 86_400, 10 * 365 * 86_400][random.below(5) as usize] * SECOND;
    if random.one_in(2) { far } else { -far }
}

/// The faults of one participant of one round.
fn faults(random: &mut Random) -> Arc<FaultClock> {
    let transient = [
        ErrorKind::Transient,
        ErrorKind::Timeout,
        ErrorKind::Throttled,
        ErrorKind::Expired,
    ];
    let kind = transient[random.below(4) as usize];
    let lasting = [
        ErrorKind::Permanent,
        ErrorKind::Denied,
        ErrorKind::Credentials,
        // Of a local effect, a disk that is full.
        ErrorKind::NoSpace,
    ];
    let lasting = lasting[random.below(4) as usize];
    let late = Duration::from_millis(random.below(LATE_MAX.as_millis() as u64));
    let all = [
        Fault::ErrorBefore(kind),
        Fault::ErrorAfter(kind),
        Fault::ErrorBefore(lasting),
        Fault::ErrorAfter(lasting),
        Fault::TruncatedBody,
        Fault::WrongBody,
        Fault::Delay(Duration::from_millis(1 + random.below(2000))),
        Fault::Twice,
        Fault::Reset,
        Fault::Late(late),
        Fault::Stall(Duration::from_secs(1 + random.below(120))),
        // Some ask for more than is waited for.
        Fault::Throttled(Duration::from_secs(random.below(100))),
    ];
    let mut chosen: Vec<_> = all.into_iter().filter(|_| random.one_in(2)).collect();
    if chosen.is_empty() {
        chosen.push(all[random.below(all.len() as u64) as usize]);
    }
    let mut one_in = [3, 8, 20, 60][random.below(4) as usize];
    if random.one_in(6) {
        // A wire that spoils half of what it carries: the same record may be read badly twice.
        (one_in, chosen) = (2, vec![Fault::TruncatedBody, Fault::WrongBody]);
    }
    let seeded = FaultClock::seeded(random.next(), one_in, chosen);
    let crash = random.one_in(3).then(|| {
        let fault = [Fault::CrashBefore, Fault::CrashAfter][random.below(2) as usize];
        (random.below(120), fault)
    });
    FaultClock::new(move |op| match crash {
        Some((n, fault)) if op.n == n => fault,
        _ => seeded.step_at(op.what, op.key),
    })
}

/// `store` with the faults of `clock`, tried again as in production, with its pauses in virtual time.
fn faulty(store: &MemoryStore, clock: &Arc<FaultClock>) -> SharedStore {
    let faulty = FaultStore::new(Arc::new(store.clone()), Arc::clone(clock));
    Arc::new(RetryStore::new(Arc::new(faulty), RetryPolicy::default()))
}

/// Runs `work` until it ends, or its process dies: then it is dropped where it is.
async fn until_death<T>(clock: &FaultClock, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if clock.is_crashed() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// What all schedules of a run met: a run without faults shows nothing.
#[derive(Debug, Default)]
struct Tally {
    runs: AtomicU64,
    runs_failed: AtomicU64,
    cycles: AtomicU64,
    cycles_failed: AtomicU64,
    clock_jumps: AtomicU64,
    deaths: AtomicU64,
    reads: AtomicU64,
    reads_refused: AtomicU64,
    follows_failed: AtomicU64,
    records_lost: AtomicU64,
    segments: AtomicU64,
}

fn count(what: &AtomicU64, n: usize) {
    what.fetch_add(n as u64, Ordering::Relaxed);
}

/// A stream under test, its server, and everyone who takes part.
struct Scene<'a> {
    tally: &'a Tally,
    store: MemoryStore,
    server: SyntheticServer,
    /// What the server's files hold, oldest first.
    truth: Vec<(String, Vec<u8>)>,
    /// Who archives.
    hosts: Vec<Host>,
    /// When the schedule began, by the system's clock and by tokio's.
    began: (Micros, Instant),
    /// The index of a reader that lives through all rounds.
    reader: Arc<Index>,
    archived: usize,
    temp: tempfile::TempDir,
}

impl Scene<'_> {
    fn new<'a>(random: &mut Random, tally: &'a Tally) -> Scene<'a> {
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
    fn rotate(&mut self, random: &mut Random) {
        let transactions = random.below(4);
        let bytes = [10, 500, 5000, 30_000][random.below(4) as usize];
        self.server.rotate(transactions, bytes);
        let path = self.server.closed().pop().expect("just closed");
        let name = path.file_name().expect("a name").to_string_lossy();
        let bytes = std::fs::read(&path).expect("readable");
        self.truth.push((name.into_owned(), bytes));
    }

    fn settings(&self, host: &Host, transfers: usize, clock: &Arc<FaultClock>) -> Settings {
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

    async fn archive(
        &self,
        host: &Host,
        transfers: usize,
        clock: &Arc<FaultClock>,
    ) -> anyhow::Result<Outcome> {
        let settings = self.settings(host, transfers, clock);
        memory::archive(&self.server, faulty(&self.store, clock), &settings).await
    }

    /// A daemon on that host.
    fn daemon(&self, host: &Host, transfers: usize, clock: &Arc<FaultClock>) -> Tending {
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
    async fn tend(&self, host: &Host, jumps: &[i64], mut daemon: Tending) -> usize {
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
    async fn round(&mut self, random: &mut Random) {
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
    async fn read(&self, index: &Arc<Index>, clock: &Arc<FaultClock>) -> Option<usize> {
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

    fn truth_of(&self, entry: &Entry) -> &[u8] {
        let name = entry.mount_name.as_str();
        let found = self.truth.iter().find(|(known, _)| known == name);
        &found.expect("a file of the server's").1
    }

    /// The faults have ended: every archiver runs again, and all is as if there had been none.
    async fn converge(&mut self) {
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
    async fn check_alarms(&self) {
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
    async fn ledger(&self) -> String {
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
    fn check_history(&self, fresh: &Index) {
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
    fn check_objects(&self, fresh: &Index) {
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

/// Reads a segment from its first byte to its last. Returns whether it came to the end.
async fn read_through(reader: &SegmentReader, entry: &Entry, truth: &[u8]) -> bool {
    let segment = ArchivedSegment::of_entry(entry).expect("readable");
    let Ok(mut stream) = reader.stream(&segment).await else {
        return false;
    };
    let mut at = 0;
    while let Some(bytes) = stream.next().await {
        let Ok(bytes) = bytes else {
            return false;
        };
        assert!(
            truth[at..].starts_with(&bytes),
            "{}: wrong bytes",
            entry.mount_name
        );
        at += bytes.len();
    }
    assert_eq!(at, truth.len(), "{}: short", entry.mount_name);
    true
}

/// Reads a segment as the mount does, in pieces out of order.
async fn read_parts(reader: &SegmentReader, entry: &Entry, truth: &[u8]) {
    let segment = ArchivedSegment::of_entry(entry).expect("readable");
    let len = truth.len() as u64;
    for (offset, wanted) in [(len / 2, 5000), (0, 100), (len - 1, 9), (0, len)] {
        if let Ok(bytes) = reader.read(&segment, offset, wanted).await {
            let end = (offset + wanted).min(len) as usize;
            assert!(
                bytes == truth[offset as usize..end],
                "{}: wrong bytes at {offset}",
                entry.mount_name
            );
        }
    }
}

/// Plays the schedule of a seed; panics where it fails.
fn play(seed: u64, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut random = Random::of(seed);
        let mut scene = Scene::new(&mut random, tally);
        let story = async {
            for _ in 0..1 + random.below(3) {
                scene.round(&mut random).await;
                (0..random.below(2)).for_each(|_| scene.rotate(&mut random));
            }
            scene.converge().await;
        };
        let ended = tokio::time::timeout(RUN_TIME_MAX, story).await;
        ended.expect("it goes on and on, or waits for nothing");
    });
}

/// How many schedules a run plays.
fn wanted() -> u64 {
    match std::env::var("BINLOGFS_TEST_SCHEDULES") {
        Ok(text) => text.parse().expect("BINLOGFS_TEST_SCHEDULES is a number"),
        Err(_) if std::env::var_os("BINLOGFS_TEST_LONG").is_some() => SCHEDULES_LONG,
        Err(_) => SCHEDULES,
    }
}

#[test]
fn random_fault_schedules_converge_and_no_wrong_byte_is_read() {
    let (first, count) = match Random::asked() {
        Some(seed) => (Some(seed), REPLAYS),
        None => (None, wanted()),
    };
    let base = getrandom::u64().expect("random numbers");
    let seed_of = |n: u64| first.unwrap_or_else(|| Random::of(base ^ n).next());
    let begun = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let tally = Tally::default();
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let n = begun.fetch_add(1, Ordering::Relaxed);
                    let many = failed.lock().expect("not poisoned").len() >= FAILURES_MAX;
                    if n >= count || many {
                        return;
                    }
                    let seed = seed_of(n);
                    if catch_unwind(AssertUnwindSafe(|| play(seed, &tally))).is_err() {
                        let command =
                            format!("BINLOGFS_TEST_SEED={seed:#x} scripts/test schedules");
                        eprintln!("failed: {command}");
                        failed.lock().expect("not poisoned").push(command);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("not poisoned");
    assert!(
        failed.is_empty(),
        "play one again with:\n{}",
        failed.join("\n")
    );
    println!(
        "{count} schedules from {:#x}: {tally:?}",
        first.unwrap_or(base)
    );
    if first.is_none() && count >= ENOUGH {
        for (what, met) in [
            ("runs that failed", &tally.runs_failed),
            ("cycles of a daemon that failed", &tally.cycles_failed),
            ("clock that jumped", &tally.clock_jumps),
            ("deaths", &tally.deaths),
            ("reads refused", &tally.reads_refused),
            ("follows that failed", &tally.follows_failed),
            ("records lost for a while", &tally.records_lost),
        ] {
            assert!(
                met.load(Ordering::Relaxed) > 0,
                "no {what} in {count} schedules"
            );
        }
    }
}
