//! The clock of a faulty run: it counts operations, and says which of them fails and how.

use super::super::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What goes wrong at an operation. What has no meaning for an operation changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails without effect.
    ErrorBefore(ErrorKind),
    /// It takes effect, and the reply is lost: an error with an unknown outcome.
    ErrorAfter(ErrorKind),
    /// A reply's body ends early, without an error.
    TruncatedBody,
    /// One bit is flipped on the way: in a reply's body, or in the bytes of `Upload::write`.
    WrongBody,
    /// It takes this much longer (of tokio's clock).
    Delay(Duration),
    /// The request is carried out twice, as by something that replays it, and the second reply is the one that comes: a
    /// create then says that the key is taken.
    Twice,
    /// The connection breaks in the middle. A reply is lost; a request had no effect, and nobody can know.
    Reset,
    /// A create that is told to have timed out takes effect this much later (of tokio's clock), whatever was done meanwhile.
    Late(Duration),
    /// It is not answered, until whoever asks gives up after this time (of tokio's clock). It had no effect, and nobody can know.
    Stall(Duration),
    /// The store asks to come back no sooner than after this time; it had no effect.
    Throttled(Duration),
    /// The process dies before it: this and every later operation fails with [`Crashed`].
    CrashBefore,
    /// The process dies after it: it takes effect, and nobody learns of it.
    CrashAfter,
}

/// The mark of an operation of a process that is dead. Not transient: nothing may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("crashed")]
pub struct Crashed;

/// One operation of a run.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// How many came before it.
    pub n: u64,
    /// The store's verb, or what another participant does, such as `journal.insert`.
    pub what: &'a str,
    /// The key or prefix; empty for other participants.
    pub key: &'a str,
}

type Plan = dyn Fn(&Op<'_>) -> Fault + Send + Sync;

/// Counts the operations of a run and fails them by a plan. Shared by everyone who takes part in the run.
pub struct FaultClock {
    plan: Box<Plan>,
    count: AtomicU64,
    crashed: AtomicBool,
}

impl FaultClock {
    /// A clock with a plan of its own.
    pub fn new(plan: impl Fn(&Op<'_>) -> Fault + Send + Sync + 'static) -> Arc<FaultClock> {
        Arc::new(FaultClock {
            plan: Box::new(plan),
            count: AtomicU64::new(0),
            crashed: AtomicBool::new(false),
        })
    }

    /// A clock that only counts.
    pub fn calm() -> Arc<FaultClock> {
        FaultClock::new(|_| Fault::None)
    }

    /// A clock that fails operation `n` (counted from 0) and no other.
    pub fn nth(n: u64, fault: Fault) -> Arc<FaultClock> {
        FaultClock::new(move |op| if op.n == n { fault } else { Fault::None })
    }

    /// A clock that fails about one operation in `one_in`, each with one of `faults`; the same for the same seed.
    pub fn seeded(seed: u64, one_in: u64, faults: Vec<Fault>) -> Arc<FaultClock> {
        FaultClock::new(move |op| {
            let random = mix(seed ^ mix(op.n));
            if !random.is_multiple_of(one_in.max(1)) {
                return Fault::None;
            }
            let choices = faults.len().max(1) as u64;
            let choice = usize::try_from(mix(random) % choices).unwrap_or(0);
            faults.get(choice).copied().unwrap_or(Fault::None)
        })
    }

    /// Counts an operation of another participant than a store, and tells what is to go wrong with it.
    pub fn step(&self, what: &str) -> Fault {
        self.step_at(what, "")
    }

    /// Counts an operation on `key`. After a crash it is always [`Fault::CrashBefore`].
    pub fn step_at(&self, what: &str, key: &str) -> Fault {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        if self.is_crashed() {
            return Fault::CrashBefore;
        }
        let fault = (self.plan)(&Op { n, what, key });
        // A process that dies after an operation is dead to all that begin from now on.
        if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
            self.crashed.store(true, Ordering::SeqCst);
        }
        fault
    }

    /// Runs `effect` as one operation of another participant, which can crash before or after it, and no more.
    ///
    /// # Errors
    /// [`Crashed`], with or without the effect.
    pub fn run<T>(&self, what: &str, effect: impl FnOnce() -> T) -> Result<T, Crashed> {
        match self.step(what) {
            Fault::CrashBefore => Err(Crashed),
            Fault::CrashAfter => {
                effect();
                Err(Crashed)
            }
            Fault::None
            | Fault::ErrorBefore(_)
            | Fault::ErrorAfter(_)
            | Fault::TruncatedBody
            | Fault::WrongBody
            | Fault::Delay(_)
            | Fault::Twice
            | Fault::Reset
            | Fault::Late(_)
            | Fault::Stall(_)
            | Fault::Throttled(_) => Ok(effect()),
        }
    }

    /// How many operations have begun.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether the process of this run is dead.
    pub fn is_crashed(&self) -> bool {
        self.crashed.load(Ordering::SeqCst)
    }
}

/// SplitMix64's output function: a good hash of a counter.
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_crash_every_participant_is_dead() {
        let clock = FaultClock::nth(1, Fault::CrashAfter);
        let mut effects = Vec::new();
        for n in 0..4 {
            let done = clock.run("journal.insert", || effects.push(n));
            assert_eq!(done.is_ok(), n == 0);
        }
        assert_eq!(effects, [0, 1]);
        assert_eq!(clock.count(), 4);
        assert!(clock.is_crashed());
    }

    #[test]
    fn a_seeded_schedule_is_the_same_every_time_and_about_as_dense_as_asked() {
        let schedule = |seed| {
            let faults = vec![Fault::ErrorBefore(ErrorKind::Transient), Fault::WrongBody];
            let clock = FaultClock::seeded(seed, 10, faults);
            (0..1000).map(|_| clock.step("get")).collect::<Vec<_>>()
        };
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
        let faults = schedule(7).iter().filter(|f| **f != Fault::None).count();
        assert!((50..200).contains(&faults), "{faults}");
        assert!(schedule(7).contains(&Fault::WrongBody));
    }
}
