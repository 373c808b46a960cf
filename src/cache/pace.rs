//! What the link to the store gives, and how far ahead it lets readers fetch.
//!
//! All gets share the link. On a slow one, what nobody has asked for yet must not keep from coming in time what somebody waits for:
//! behind 1 Mbit/s a window of 32 MiB takes minutes, and a frame seconds. So no more is fetched ahead of a reader than comes in
//! a part of the time that a read may take.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of the time of a read, in which what is fetched ahead of a reader is to come: several readers are to have as much, and what they
/// wait for is to come besides.
const TIME_SHARE: u32 = 8;
/// What came more than about so long ago counts for half.
const PERIOD: Duration = Duration::from_secs(2);
/// Less time than this tells nothing: it may be the first round trip.
const LEAST: Duration = Duration::from_millis(250);

/// What came in the time in which something was to come.
#[derive(Default)]
pub(super) struct Pace(Mutex<Measured>);

#[derive(Default)]
struct Measured {
    /// Gets under way.
    gets: usize,
    /// Since when there are any, or since it was counted last.
    since: Option<Instant>,
    time: Duration,
    bytes: u64,
}

/// A get under way.
pub(super) struct Get<'a>(&'a Pace);

impl Pace {
    /// A get begins, and goes on until what this returns is dropped.
    pub(super) fn begin(&self) -> Get<'_> {
        let mut measured = self.lock();
        measured.count(0);
        measured.gets += 1;
        measured.since = Some(Instant::now());
        Get(self)
    }

    /// Stored bytes that may be fetched ahead of one reader of whom each read may take `patience`; `None` as long as nothing is known.
    pub(super) fn ahead_bytes(&self, patience: Duration) -> Option<u64> {
        let mut measured = self.lock();
        measured.count(0);
        if measured.time < LEAST {
            return None;
        }
        let per_second = measured.bytes as f64 / measured.time.as_secs_f64();
        Some((per_second * (patience / TIME_SHARE).as_secs_f64()) as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        // It is a measure: after a panic elsewhere it is near enough.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    /// Counts `bytes` that came, and the time until now if anything was to come.
    fn count(&mut self, bytes: u64) {
        if let Some(since) = self.since {
            let now = Instant::now();
            self.time += now - since;
            self.since = (self.gets > 0).then_some(now);
        }
        self.bytes += bytes;
        while self.time > PERIOD {
            self.time /= 2;
            self.bytes /= 2;
        }
    }
}

impl Get<'_> {
    /// So much of it came.
    pub(super) fn came(&self, bytes: usize) {
        self.0.lock().count(bytes as u64);
    }
}

impl Drop for Get<'_> {
    fn drop(&mut self) {
        let mut measured = self.0.lock();
        measured.count(0);
        measured.gets -= 1;
        if measured.gets == 0 {
            measured.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_an_eighth_of_the_time_may_be_fetched_ahead() {
        let pace = Pace::default();
        assert_eq!(pace.ahead_bytes(PATIENCE), None);
        let (one, other) = (pace.begin(), pace.begin());
        pass(Duration::from_millis(100)).await;
        one.came(30_000);
        assert_eq!(pace.ahead_bytes(PATIENCE), None, "too early to tell");
        pass(Duration::from_millis(900)).await;
        other.came(70_000);
        assert_eq!(pace.ahead_bytes(PATIENCE), Some(100_000));
        drop((one, other));
        // Nothing was to come.
        pass(Duration::from_secs(100)).await;
        assert_eq!(pace.ahead_bytes(PATIENCE), Some(100_000));
        assert_eq!(pace.ahead_bytes(PATIENCE / 4), Some(25_000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_long_ago_is_forgotten_and_a_silence_too() {
        let pace = Pace::default();
        let get = pace.begin();
        get.came(1 << 30);
        pass(Duration::from_secs(30)).await;
        assert!(pace.ahead_bytes(PATIENCE).expect("known") < 100 << 20);
        pass(Duration::from_secs(600)).await;
        assert!(pace.ahead_bytes(PATIENCE).expect("known") < 1 << 20);
        for _ in 0..100 {
            pass(Duration::from_millis(100)).await;
            get.came(1 << 20);
        }
        assert!(pace.ahead_bytes(PATIENCE).expect("known") > 9 << 20);
    }
}
