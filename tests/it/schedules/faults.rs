//! The faults of a participant, and what they come to.

use super::LATE_MAX;
use crate::random::Random;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, MemoryStore, RetryPolicy, RetryStore, SharedStore};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// By so many microseconds a clock jumps: mostly not at all, else forward or back, from a second to years.
pub fn clock_jump(random: &mut Random) -> i64 {
    const SECOND: i64 = 1_000_000;
    if random.below(3) > 0 {
        return 0;
    }
    let far = [1, 60, 3600, 86_400, 10 * 365 * 86_400][random.below(5) as usize] * SECOND;
    if random.one_in(2) { far } else { -far }
}

/// The faults of one participant of one round.
pub fn faults(random: &mut Random) -> Arc<FaultClock> {
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
pub fn faulty(store: &MemoryStore, clock: &Arc<FaultClock>) -> SharedStore {
    let faulty = FaultStore::new(Arc::new(store.clone()), Arc::clone(clock));
    Arc::new(RetryStore::new(Arc::new(faulty), RetryPolicy::default()))
}

/// Runs `work` until it ends, or its process dies: then it is dropped where it is.
pub async fn until_death<T>(clock: &FaultClock, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if clock.is_crashed() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
