//! How fast an archiver may go for the sake of its server, and of the other streams of its process: bytes read, bytes sent, files
//! in flight, and a share of a processor.

use super::gate::Pass;
use super::share::Share;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A pause is slept in pieces of this length, so that danger ends it.
const NAP: Duration = Duration::from_millis(250);
/// What was not used is forgotten after this long: a limit is one of every moment, not of the hour.
const BURST: Duration = Duration::from_millis(100);

/// The limits of all files of one stream together. Without any, nothing is ever waited for.
#[derive(Debug, Default)]
pub struct Pace {
    read: Option<Meter>,
    send: Option<Meter>,
    /// Of one processor, for each compression thread.
    cpu_percent: Option<u8>,
    /// What is shared with other streams.
    share: Option<Share>,
    urgent: AtomicBool,
}

/// A rate, and the moment at which the bytes so far are paid for.
#[derive(Debug)]
pub(super) struct Meter {
    bytes_per_second: u64,
    due: Mutex<Option<Instant>>,
}

impl Meter {
    pub(super) fn new(bytes_per_second: u64) -> Meter {
        Meter {
            bytes_per_second: bytes_per_second.max(1),
            due: Mutex::new(None),
        }
    }

    /// How long to wait after `bytes`.
    pub(super) fn pause(&self, bytes: u64, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let next = due.map_or(earliest, |due| due.max(earliest)) + cost;
        *due = Some(next);
        next.saturating_duration_since(now)
    }
}

impl Pace {
    /// Limits in bytes per second, and in percent of a processor for each compression thread.
    pub fn new(read: Option<u64>, send: Option<u64>, cpu_percent: Option<u8>) -> Pace {
        Pace {
            read: read.map(Meter::new),
            send: send.map(Meter::new),
            cpu_percent: cpu_percent.filter(|percent| (1..100).contains(percent)),
            share: None,
            urgent: AtomicBool::new(false),
        }
    }

    /// The same, within what a process has for all its streams.
    #[must_use]
    pub fn within(mut self, share: Share) -> Pace {
        self.share = Some(share);
        self
    }

    /// Whether history is in danger: then no limit holds, and nothing that is read or sent is to be paid for afterwards.
    pub fn set_urgent(&self, urgent: bool) {
        self.urgent.store(urgent, Ordering::Relaxed);
    }

    fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Relaxed)
    }

    /// After `bytes` were read. Blocks the thread.
    pub fn after_reading(&self, bytes: u64) {
        if let Some(meter) = self.read.as_ref().filter(|_| !self.is_urgent()) {
            self.sleep(meter.pause(bytes, Instant::now()));
        }
        if let Some(share) = self.share.as_ref().filter(|_| !self.is_urgent()) {
            share.read(bytes);
        }
    }

    /// Before a file of `bytes` is begun.
    pub async fn before_file(&self, bytes: u64) -> Option<Pass> {
        match &self.share {
            Some(share) => Some(share.transfer(bytes).await),
            None => None,
        }
    }

    /// Before a thread computes on `bytes`, until what is given is dropped. Blocks the thread.
    pub fn before_computing(&self, bytes: u64) -> Option<Pass> {
        self.share.as_ref().map(|share| share.compute(bytes))
    }

    /// After a thread computed for `took`. Blocks the thread.
    pub fn after_computing(&self, took: Duration) {
        if let Some(percent) = self.cpu_percent {
            self.sleep(took.mul_f64(f64::from(100 - percent) / f64::from(percent)));
        }
    }

    /// Before `bytes` are sent.
    pub async fn before_sending(&self, bytes: u64) {
        let now = || tokio::time::Instant::now().into_std();
        let pause = |meter: &Meter| meter.pause(bytes, now());
        let send = self.send.as_ref().filter(|_| !self.is_urgent());
        let mut left = send.map_or(Duration::ZERO, pause);
        while !left.is_zero() && !self.is_urgent() {
            let nap = left.min(NAP);
            tokio::time::sleep(nap).await;
            left -= nap;
        }
        if let Some(share) = self.share.as_ref().filter(|_| !self.is_urgent()) {
            share.send(bytes).await;
        }
    }

    fn sleep(&self, mut left: Duration) {
        while !left.is_zero() && !self.is_urgent() {
            let nap = left.min(NAP);
            std::thread::sleep(nap);
            left -= nap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_paid_for_by_waiting_and_idle_time_is_not_saved_up() {
        let meter = Meter::new(1000);
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!(meter.pause(500, start), Duration::from_millis(400));
        assert_eq!(meter.pause(500, start), Duration::from_millis(900));
        let later = start + Duration::from_secs(3600);
        assert_eq!(meter.pause(1000, later), Duration::from_millis(900));
    }

    #[test]
    fn without_limits_and_in_danger_nothing_waits() {
        let free = Pace::default();
        free.after_reading(u64::MAX);
        free.after_computing(Duration::from_secs(1000));
        let limited = Pace::new(Some(1), Some(1), Some(1));
        limited.set_urgent(true);
        // These would take days.
        limited.after_reading(1 << 40);
        limited.after_computing(Duration::from_secs(1000));
    }

    #[tokio::test]
    async fn what_was_read_and_sent_in_danger_is_not_paid_for_when_it_is_over() {
        let limited = Pace::new(Some(1000), Some(1000), None);
        limited.set_urgent(true);
        limited.after_reading(1 << 40);
        limited.before_sending(1 << 40).await;
        limited.set_urgent(false);
        for meter in [&limited.read, &limited.send] {
            let meter = meter.as_ref().expect("limited");
            let pause = meter.pause(1000, Instant::now());
            assert!(pause <= Duration::from_secs(1), "{pause:?}");
        }
    }
}
