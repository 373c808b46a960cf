//! One tenant's store hangs and another's disk is full, on a simulated clock: the others are asked for, and archive, what they
//! would without.

use crate::agent::outage::{agent_of, simulated_clock};
use crate::sweep::{Local, memory_dir};
use crate::synthetic::SyntheticServer;
use binlogfs::agent::health::Health;
use binlogfs::agent::stream::{Stop, Tending};
use binlogfs::source::Source;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{
    Breaker, BreakerPolicy, BreakerStore, ErrorKind, MemoryStore, RetryPolicy, RetryStore,
    SharedStore,
};
use binlogfs::sync::{Commons, Pace, Settings, Share, Totals, archive_once, read_batch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const TENANTS: usize = 8;
const STREAMS_OF_EACH: usize = 3;
/// Each server closes a file this often.
const ROTATION: Duration = Duration::from_secs(30);
const ROTATIONS: usize = 60;
const FILE_BYTES: usize = 40_000;
/// A request takes this long, so that the places for files in flight are taken most of the time.
const ROUND_TRIP: Duration = Duration::from_millis(500);
/// What is in the way of the first two tenants.
const HANGS: usize = 0;
const DISK_FULL: usize = 1;
/// As long as the client of S3 waits for the first byte of an answer.
const HANG: Duration = Duration::from_secs(120);

struct Stream {
    tenant: usize,
    server: SyntheticServer,
    health: watch::Receiver<Health>,
    requests: Arc<AtomicU64>,
}

fn begin(
    dir: &Path,
    tenant: usize,
    number: u8,
    commons: &Arc<Commons>,
    trouble: bool,
) -> (Stream, Tending) {
    let data = dir.join(format!("data-{number}"));
    std::fs::create_dir(&data).expect("writable");
    let server = SyntheticServer::new(&data, number, "binlog");
    let requests = Arc::new(AtomicU64::new(0));
    let faults = {
        let requests = Arc::clone(&requests);
        FaultClock::new(move |op| {
            requests.fetch_add(1, Ordering::Relaxed);
            // What hangs is what a place is held for: the rest answers, and the circuit breaker stays closed.
            match trouble && tenant == HANGS && ["write", "commit"].contains(&op.what) {
                true => Fault::Stall(HANG),
                false => Fault::Delay(ROUND_TRIP),
            }
        })
    };
    let store = FaultStore::new(Arc::new(MemoryStore::default()), faults);
    let store = RetryStore::new(Arc::new(store), RetryPolicy::default());
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let store: SharedStore = Arc::new(BreakerStore::new(Arc::new(store), Arc::clone(&breaker)));
    let mut settings = Settings::new(dir.join(format!("state-{number}")));
    settings.consent.unencrypted = true;
    settings.clock = simulated_clock();
    let share = Share::new(Arc::clone(commons), &format!("tenant-{tenant}"));
    settings.pace = Arc::new(Pace::default().within(share));
    if trouble && tenant == DISK_FULL {
        let full = FaultClock::new(|_| Fault::ErrorBefore(ErrorKind::NoSpace));
        settings.interrupt = Arc::new(Local(full));
    }
    let name = format!("stream-{number}");
    let (tending, health) = Tending::new(agent_of(&name, &data, store, breaker, settings));
    let stream = Stream {
        tenant,
        server,
        health,
        requests,
    };
    (stream, tending)
}

/// Requests and bytes of each tenant in half an hour.
async fn half_an_hour(trouble: bool) -> Vec<(u64, u64)> {
    let temp = memory_dir();
    let commons = Commons::new(Totals {
        threads: 1,
        transfers: 2,
        send: None,
        read: None,
        shares: BTreeMap::new(),
    });
    let (stop, stopped) = watch::channel(Stop::No);
    let (mut streams, mut tasks) = (Vec::new(), Vec::new());
    for n in 0..TENANTS * STREAMS_OF_EACH {
        let number = u8::try_from(n + 1).expect("few");
        let (stream, tending) = begin(temp.path(), n % TENANTS, number, &commons, trouble);
        streams.push(stream);
        tasks.push(tokio::spawn(tending.run(stopped.clone())));
    }
    for _ in 0..ROTATIONS {
        for stream in &mut streams {
            stream.server.rotate(1, FILE_BYTES);
        }
        tokio::time::sleep(ROTATION).await;
    }
    let mut told = vec![(0, 0); TENANTS];
    for stream in &streams {
        let (requests, bytes) = &mut told[stream.tenant];
        *requests += stream.requests.load(Ordering::Relaxed);
        *bytes += stream.health.borrow().totals.bytes;
    }
    stop.send_replace(Stop::Now);
    for task in tasks {
        task.await.expect("no panic");
    }
    told
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_and_a_disk_that_is_full_slow_no_other_tenant_down() {
    let without = half_an_hour(false).await;
    let with = half_an_hour(true).await;
    let all = (ROTATIONS * STREAMS_OF_EACH * FILE_BYTES) as u64;
    for (tenant, (before, after)) in without.iter().zip(&with).enumerate() {
        assert!(before.1 * 10 >= all * 9, "{tenant}: {without:?}");
        if tenant == HANGS || tenant == DISK_FULL {
            assert_eq!(after.1, 0, "{tenant}: {with:?}");
            continue;
        }
        for (before, after) in [(before.0, after.0), (before.1, after.1)] {
            assert!(
                before.abs_diff(after) * 10 <= before,
                "tenant {tenant}: {before} became {after}: {without:?} {with:?}"
            );
        }
    }
}

/// A run of a thousand files that is to end would ask for a thousand turns, one behind the other, to do nothing with them.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_to_end_waits_for_no_turn() {
    let temp = memory_dir();
    let data = temp.path().join("data");
    std::fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    (0..3).for_each(|_| server.rotate(1, 100));
    let commons = Commons::new(Totals {
        threads: 1,
        transfers: 1,
        send: None,
        read: None,
        shares: BTreeMap::new(),
    });
    // Another tenant has the only place, and keeps it.
    let _taken = Share::new(Arc::clone(&commons), "another")
        .transfer(1)
        .await;
    let mut settings = Settings::new(temp.path().join("state"));
    settings.pace = Arc::new(Pace::default().within(Share::new(commons, "own")));
    settings.stop.store(true, Ordering::Relaxed);
    let source = Source::open(server.dir()).expect("a server");
    let batch = read_batch(&source).expect("binlogs");
    let run = archive_once(&source, batch, Arc::new(MemoryStore::default()), &settings);
    let patience = Duration::from_secs(24 * 3600);
    let outcome = tokio::time::timeout(patience, run).await;
    let outcome = outcome.expect("it ends").expect("nothing fails");
    assert_eq!((outcome.archived.len(), outcome.left), (0, 3));
}
