//! The way to the store: how long an answer takes, how fast bytes come, whether its clock is ours.

use super::{Check, Level, duration, mib};
use crate::cache::fetch::RUN_STORED_BYTES;
use crate::ledger::StreamFile;
use crate::model::{Micros, ObjectKey};
use crate::store::SharedStore;
use std::time::{Duration, Instant};

/// Requests whose median is the latency.
const REQUESTS: usize = 5;
/// Bytes of one ranged get when the speed is measured: as the mount's own are.
const RANGE_BYTES: u64 = RUN_STORED_BYTES;
/// Gets in flight when the speed is measured: about as many as fetch ahead of one reader.
const RANGES: usize = 4;
/// Most bytes got to measure the speed: a connection has found its speed long before their end.
const SPEED_MAX_BYTES: u64 = 32 << 20;
/// Reading less than this tells of latency, not of speed.
const SPEED_MIN_BYTES: u64 = 1 << 20;
/// Slower answers than this make every first read of a segment a pause that people feel.
const LATENCY_NOTE: Duration = Duration::from_millis(200);
/// At less than this an hour of a busy server's log takes more than an hour to read.
const BYTES_PER_SECOND_NOTE: f64 = 4e6;
/// Signatures allow 15 minutes; times in logs and alarms are compared with the server's well before that.
const SKEW_WARNING_SECONDS: u64 = 60;
/// Beyond this S3 refuses requests (RequestTimeTooSkewed).
const SKEW_FAILURE_SECONDS: u64 = 900;

/// What was measured of the way to a store.
pub struct Link {
    /// The median of some requests.
    pub latency: Duration,
    /// Bytes a second of ranged gets, if an object was there to read.
    pub bytes_per_second: Option<f64>,
}

/// Measures the way to `store`. `object` is one of its objects with its size, to be read in part if it is large enough to tell a
/// speed.
pub async fn link(store: &SharedStore, object: Option<(ObjectKey, u64)>) -> (Vec<Check>, Link) {
    let mut checks = Vec::new();
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        if let Err(error) = store.head(&StreamFile::key()).await {
            let advice = "see what the error says; 'binlogfs status' tries again";
            let check = Check::bad(Level::Failure, "latency", error.to_string(), advice);
            checks.push(check);
            break;
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let mut link = Link {
        latency: times.get(times.len() / 2).copied().unwrap_or_default(),
        bytes_per_second: None,
    };
    if !times.is_empty() {
        checks.push(latency(link.latency));
    }
    if let Some((key, size)) = object.filter(|(_, size)| *size >= SPEED_MIN_BYTES) {
        match speed(store, &key, size).await {
            Ok((bytes, time)) => {
                let per_second = bytes as f64 / time.as_secs_f64().max(1e-6);
                link.bytes_per_second = Some(per_second);
                checks.push(throughput(bytes, time, per_second));
            }
            Err(error) => {
                let advice = "reads through the mount will fail alike: see what the error says";
                checks.push(Check::bad(
                    Level::Failure,
                    "throughput",
                    error.to_string(),
                    advice,
                ));
            }
        }
    }
    (checks, link)
}

fn latency(median: Duration) -> Check {
    let found = format!("{} a request (median of {REQUESTS})", duration(median));
    if median <= LATENCY_NOTE {
        return Check::ok("latency", found);
    }
    let advice = "mount on a host nearer to the bucket; sequential reads do not suffer, the first read of each segment does";
    Check::bad(Level::Note, "latency", found, advice)
}

fn throughput(bytes: u64, time: Duration, per_second: f64) -> Check {
    let found = format!(
        "{:.1} MB/s ({} of the newest large segment in {})",
        per_second / 1e6,
        mib(bytes),
        duration(time)
    );
    if per_second >= BYTES_PER_SECOND_NOTE {
        return Check::ok("throughput", found);
    }
    let advice = "look for a limit on the way: a proxy, a VPN, the instance's network class";
    Check::bad(Level::Note, "throughput", found, advice)
}

async fn speed(
    store: &SharedStore,
    key: &ObjectKey,
    size: u64,
) -> crate::store::Result<(u64, Duration)> {
    let bytes = size.min(SPEED_MAX_BYTES);
    let begun = Instant::now();
    // Each takes up its next get when its last has ended: so many are always in flight, as before a reader that goes on.
    let lanes = (0..RANGES as u64).map(|lane| async move {
        for n in (lane..bytes.div_ceil(RANGE_BYTES)).step_by(RANGES) {
            let from = n * RANGE_BYTES;
            let range = from..(from + RANGE_BYTES).min(bytes);
            store.get(key, range).await?;
        }
        Ok::<_, crate::store::Error>(())
    });
    futures::future::try_join_all(lanes).await?;
    Ok((bytes, begun.elapsed()))
}

/// Compares this host's clock with the store's.
pub fn clock(ours: Micros, theirs: Micros) -> Check {
    let seconds = ours.0.abs_diff(theirs.0) / 1_000_000;
    let direction = if ours < theirs { "behind" } else { "ahead of" };
    // The store tells whole seconds, and its answer was on its way.
    if seconds <= 2 {
        return Check::ok("clock", "this host's and the store's agree");
    }
    let found = format!("this host's clock is {seconds} s {direction} the store's");
    let advice = "set the clock and keep it set (chrony, systemd-timesyncd); the store refuses requests from 15 minutes on";
    let level = if seconds <= SKEW_WARNING_SECONDS {
        Level::Note
    } else if seconds <= SKEW_FAILURE_SECONDS {
        Level::Warning
    } else {
        Level::Failure
    };
    Check::bad(level, "clock", found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, RecordingStore, Store as _};
    use std::sync::Arc;

    #[test]
    fn clocks_are_compared_in_both_directions() {
        let at = |seconds: i64| Micros(seconds * 1_000_000);
        assert_eq!(clock(at(100), at(101)).level, Level::Ok);
        let behind = clock(at(100), at(130));
        assert_eq!(behind.level, Level::Note);
        assert!(behind.found.contains("30 s behind"), "{behind:?}");
        let ahead = clock(at(1000), at(100));
        assert_eq!(ahead.level, Level::Warning);
        assert!(ahead.found.contains("ahead of"), "{ahead:?}");
        assert_eq!(clock(at(1001), at(100)).level, Level::Failure);
    }

    #[tokio::test]
    async fn a_store_that_has_the_stream_is_measured_and_one_without_fails() {
        let memory = MemoryStore::new();
        let store: SharedStore = Arc::new(memory.clone());
        let (checks, _) = link(&store, None).await;
        assert_eq!(checks[0].level, Level::Failure, "{checks:?}");
        memory
            .create(&StreamFile::key(), "{}".into())
            .await
            .expect("creates");
        let key: ObjectKey = "segments/x".parse().expect("a key");
        let body = vec![7; (RANGE_BYTES + 5) as usize];
        memory.create(&key, body.into()).await.expect("creates");
        let (checks, link) = link(&store, Some((key, RANGE_BYTES + 5))).await;
        assert_eq!(checks.len(), 2, "{checks:?}");
        assert!(
            checks.iter().all(|check| check.level == Level::Ok),
            "{checks:?}"
        );
        assert!(link.bytes_per_second.is_some_and(|speed| speed > 0.0));
    }

    #[tokio::test]
    async fn the_speed_is_measured_with_gets_like_the_mounts_and_of_each_byte_once() {
        let memory = MemoryStore::new();
        let key: ObjectKey = "segments/x".parse().expect("a key");
        let size = SPEED_MAX_BYTES + 5;
        let body = vec![7; size as usize];
        memory.create(&key, body.into()).await.expect("creates");
        for (size, gets) in [
            (size, SPEED_MAX_BYTES / RANGE_BYTES),
            (3 * RANGE_BYTES / 2, 2),
        ] {
            let recording = RecordingStore::new(Arc::new(memory.clone()));
            let store: SharedStore = Arc::new(recording.clone());
            let (bytes, _) = speed(&store, &key, size).await.expect("reads");
            assert_eq!(bytes, size.min(SPEED_MAX_BYTES));
            let mut ranges: Vec<_> = recording
                .calls_of("get")
                .into_iter()
                .filter_map(|call| call.range)
                .collect();
            assert_eq!(ranges.len() as u64, gets);
            ranges.sort_unstable_by_key(|range| range.start);
            let mut end = 0;
            for range in ranges {
                assert_eq!(range.start, end);
                assert!(range.end - range.start <= RUN_STORED_BYTES);
                end = range.end;
            }
            assert_eq!(end, bytes);
        }
    }

    #[test]
    fn what_is_slow_is_noted() {
        assert_eq!(latency(Duration::from_millis(20)).level, Level::Ok);
        assert_eq!(latency(Duration::from_millis(900)).level, Level::Note);
        let slow = throughput(RANGE_BYTES, Duration::from_secs(8), 1e6);
        assert_eq!(slow.level, Level::Note);
        let fast = throughput(RANGE_BYTES, Duration::from_secs(1), 8e6);
        assert_eq!(fast.level, Level::Ok);
    }
}
