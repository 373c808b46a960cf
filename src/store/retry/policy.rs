//! How often and how long to try.

use std::time::Duration;

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts_max: u32,
    /// Bound of the first pause; each later one is twice as long.
    pub pause_first: Duration,
    /// Bound of every pause.
    pub pause_max: Duration,
    /// Time after which no further attempt begins.
    pub time_max: Duration,
}

impl Default for RetryPolicy {
    /// Eight attempts within two minutes, some 13 seconds of pauses on average: a store's restart, not its outage. An
    /// outage is the caller's to wait out, with an alarm.
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts_max: 8,
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(20),
            time_max: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// The longest pause after `attempts` have failed.
    pub(super) fn pause_bound(&self, attempts: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempts.saturating_sub(1));
        let bound = doubled.and_then(|factor| self.pause_first.checked_mul(factor));
        bound.unwrap_or(self.pause_max).min(self.pause_max)
    }
}
