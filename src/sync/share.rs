//! What the streams of one process have in common, and the share of it that each tenant gets.
//!
//! | what | how it is divided |
//! |---|---|
//! | files in flight, which is memory | [`super::slots`]: by bytes, and a store that hangs lends its places |
//! | processors | a turn for each frame; none is held while a store is waited for |
//! | bytes sent and read per second | a turn for each piece, which lasts as long as the piece may take |
//!
//! All of it by [`super::fair`]: a tenant with a backlog delays another by one turn at most.

use super::gate::{Gate, Pass};
use super::pace::Meter;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// What there is for all streams together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Frames compressed at a time.
    pub threads: usize,
    /// Files in flight at a time.
    pub transfers: usize,
    /// Bytes per second sent.
    pub send: Option<u64>,
    /// Bytes per second read.
    pub read: Option<u64>,
    /// The shares of tenants that have another than one.
    pub shares: BTreeMap<String, u32>,
}

/// What the streams of one process have in common.
#[derive(Debug)]
pub struct Commons {
    totals: RwLock<Totals>,
    computing: Arc<Gate>,
    transfers: Arc<Gate>,
    sending: Line,
    reading: Line,
}

/// A rate that is shared: who has the turn waits until its bytes are paid for.
#[derive(Debug)]
struct Line {
    turn: Arc<Gate>,
    meter: RwLock<Option<Arc<Meter>>>,
}

impl Line {
    fn new(rate: Option<u64>) -> Line {
        Line {
            turn: Gate::new(1),
            meter: RwLock::new(rate.map(|rate| Arc::new(Meter::new(rate)))),
        }
    }

    fn set(&self, rate: Option<u64>) {
        let meter = rate.map(|rate| Arc::new(Meter::new(rate)));
        *self.meter.write().unwrap_or_else(PoisonError::into_inner) = meter;
    }

    fn meter(&self) -> Option<Arc<Meter>> {
        let meter = self.meter.read().unwrap_or_else(PoisonError::into_inner);
        meter.clone()
    }
}

impl Commons {
    /// So much of each.
    pub fn new(totals: Totals) -> Arc<Commons> {
        Arc::new(Commons {
            computing: Gate::new(totals.threads),
            transfers: Gate::new(totals.transfers),
            sending: Line::new(totals.send),
            reading: Line::new(totals.read),
            totals: RwLock::new(totals),
        })
    }

    /// From now on there is so much. What is in flight goes on.
    pub fn set(&self, totals: Totals) {
        let mut known = self.totals.write().unwrap_or_else(PoisonError::into_inner);
        self.computing.set_places(totals.threads);
        self.transfers.set_places(totals.transfers);
        if known.send != totals.send {
            self.sending.set(totals.send);
        }
        if known.read != totals.read {
            self.reading.set(totals.read);
        }
        *known = totals;
    }

    fn share(&self, tenant: &str) -> u32 {
        let totals = self.totals.read().unwrap_or_else(PoisonError::into_inner);
        totals.shares.get(tenant).copied().unwrap_or(1)
    }
}

/// What a stream takes of it, in the name of its tenant.
#[derive(Clone, Debug)]
pub struct Share {
    commons: Arc<Commons>,
    tenant: Arc<str>,
}

impl Share {
    /// Of the tenant with this name.
    pub fn new(commons: Arc<Commons>, tenant: &str) -> Share {
        Share {
            commons,
            tenant: tenant.into(),
        }
    }

    fn share(&self) -> u32 {
        self.commons.share(&self.tenant)
    }

    /// Waits until a file of `bytes` may be in flight.
    pub async fn transfer(&self, bytes: u64) -> Pass {
        let gate = &self.commons.transfers;
        gate.enter(&self.tenant, self.share(), bytes.max(1)).await
    }

    /// Waits until a frame of `bytes` may be compressed. Blocks the thread.
    pub fn compute(&self, bytes: u64) -> Pass {
        let gate = &self.commons.computing;
        gate.enter_blocking(&self.tenant, self.share(), bytes.max(1))
    }

    /// Waits until `bytes` may be sent.
    pub async fn send(&self, bytes: u64) {
        let line = &self.commons.sending;
        if line.meter().is_none() {
            return;
        }
        let _turn = line.turn.enter(&self.tenant, self.share(), bytes).await;
        let pause = line.meter().map_or(Duration::ZERO, |meter| {
            meter.pause(bytes, Instant::now().into_std())
        });
        tokio::time::sleep(pause).await;
    }

    /// Waits until `bytes` more may be read. Blocks the thread.
    pub fn read(&self, bytes: u64) {
        let line = &self.commons.reading;
        if line.meter().is_none() {
            return;
        }
        let gate = &line.turn;
        let _turn = gate.enter_blocking(&self.tenant, self.share(), bytes);
        let pause = line.meter().map_or(Duration::ZERO, |meter| {
            meter.pause(bytes, std::time::Instant::now())
        });
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commons(send: Option<u64>) -> Arc<Commons> {
        Commons::new(Totals {
            threads: 1,
            transfers: 2,
            send,
            read: send,
            shares: BTreeMap::from([("large".to_owned(), 3)]),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn bandwidth_is_divided_by_shares_however_many_send() {
        let commons = commons(Some(1_000_000));
        let sender = |tenant: &'static str| {
            let share = Share::new(Arc::clone(&commons), tenant);
            async move {
                let begun = Instant::now();
                let mut sent = 0_u64;
                while begun.elapsed() < Duration::from_secs(100) {
                    share.send(100_000).await;
                    sent += 100_000;
                }
                (tenant, sent)
            }
        };
        // Two of each at least: who has just sent is not waiting yet when the next turn is given.
        let senders = [
            "small", "small", "small", "small", "large", "large", "other", "other",
        ];
        let tasks = senders.map(|tenant| tokio::spawn(sender(tenant)));
        let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
        for task in tasks {
            let (tenant, bytes) = task.await.expect("no panic");
            *sent.entry(tenant).or_default() += bytes;
        }
        let all: u64 = sent.values().sum();
        assert!((100_000_000..102_000_000).contains(&all), "{sent:?}");
        for (tenant, part) in [("small", 20), ("other", 20), ("large", 60)] {
            let wanted = all * part / 100;
            assert!(sent[tenant].abs_diff(wanted) * 20 < wanted, "{sent:?}");
        }
    }

    #[test]
    fn without_limits_nothing_waits_and_a_new_limit_holds_at_once() {
        let commons = commons(None);
        let share = Share::new(Arc::clone(&commons), "a");
        share.read(u64::MAX);
        let mut totals = commons.totals.read().expect("no panic").clone();
        totals.read = Some(1_000_000);
        commons.set(totals);
        let begun = std::time::Instant::now();
        share.read(200_000);
        assert!(begun.elapsed() >= Duration::from_millis(90));
        drop(share.compute(1));
    }
}
