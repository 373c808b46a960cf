//! Hundreds of random fault schedules: archivers, as single runs and as daemons, a follower, a reader and a verifier meet the faults
//! that a seed gives: of the store, the network, the disk of the state directory, the clock, and their own death. While they last, no
//! wrong byte is read; when they end, everything converges, and nothing is alarming any more.
//!
//! A schedule is drawn from a printed seed: who takes part, what the server writes, and which operations fail how. The same
//! seed fails the same operations again; how threads interleave is not in it, so a replay plays it several times.
//!
//! Everything but the local files is in memory, and those are on a memory file system where there is one: journals wait for
//! their disk at every entry. Time is tokio's, paused: pauses of retries, delays and late effects cost none.

mod faults;
mod scene;

use crate::random::Random;
use binlogfs::cache::{ArchivedSegment, SegmentReader};
use binlogfs::ledger::Entry;
use scene::Scene;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
