//! When an archiver runs, and when it waits for a better moment. Pure.
//!
//! Manners end where history is in danger: near the expiry of what is not archived, or near a full disk, nothing is waited
//! for and nothing is limited.

use jiff::civil::Time;
use std::time::Duration;

/// Longest that a busy server is given way to in a row: one that is always busy is archived all the same.
pub const YIELD_MAX: Duration = Duration::from_secs(1800);

/// Hours in which nothing is archived, in the host's time zone. It may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietWindow {
    /// Its first minute.
    pub from: Time,
    /// The first minute after it.
    pub to: Time,
}

impl QuietWindow {
    fn holds(&self, time: Time) -> bool {
        if self.from <= self.to {
            self.from <= time && time < self.to
        } else {
            self.from <= time || time < self.to
        }
    }
}

impl std::str::FromStr for QuietWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<QuietWindow, String> {
        let bad = || format!("{text:?} is no time of day like \"02:00-03:30\"");
        let (from, to) = text.split_once('-').ok_or_else(bad)?;
        let time = |text: &str| -> Option<Time> {
            let (hour, minute) = text.trim().split_once(':')?;
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        };
        let (from, to) = (time(from).ok_or_else(bad)?, time(to).ok_or_else(bad)?);
        if from == to {
            return Err(format!(
                "{text:?} is empty, or the whole day: which is not said"
            ));
        }
        Ok(QuietWindow { from, to })
    }
}

/// When to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often the binlog index file is looked at, whether or not the kernel tells of a change.
    pub poll: Duration,
    /// Hours in which nothing is archived.
    pub quiet: Vec<QuietWindow>,
    /// Running threads of the server from which on it is busy.
    pub busy_threads: Option<u64>,
    /// Seconds that this server, a replica, may be behind before it is given way to.
    pub replica_lag: Option<Duration>,
    /// After this long FLUSH BINARY LOGS closes an active file that has transactions.
    pub rotate_after: Option<Duration>,
    /// Failed runs before a file that is at fault is put aside.
    pub dead_letter_runs: u32,
    /// And how long it must have been failing by then.
    pub dead_letter_after: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            poll: Duration::from_secs(30),
            quiet: Vec::new(),
            busy_threads: None,
            replica_lag: None,
            rotate_after: None,
            dead_letter_runs: 3,
            dead_letter_after: Duration::from_secs(600),
        }
    }
}

impl Policy {
    /// The quiet hours that `time` is in, if it is in any.
    pub fn quiet_window(&self, time: Time) -> Option<&QuietWindow> {
        self.quiet.iter().find(|window| window.holds(time))
    }
}

/// What the decision depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// The time of day here.
    pub time: Time,
    /// Closed segments that wait.
    pub waiting: u64,
    /// History is in danger.
    pub urgent: bool,
    /// How long the circuit breaker refuses calls from now on.
    pub breaker_closed_for: Duration,
    /// Running threads of the server, where known.
    pub threads_running: Option<u64>,
    /// How far this server is behind its source, where it has one.
    pub replica_lag: Option<Duration>,
    /// How long the server has been given way to already.
    pub yielded_for: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Archive.
    Run,
    /// Not now.
    Wait {
        /// Why.
        why: String,
        /// It waits for the server to be less busy: bounded by [`YIELD_MAX`].
        yields: bool,
    },
}

/// Decides for one moment.
pub fn decide(policy: &Policy, moment: &Moment) -> Decision {
    let wait = |why: String, yields: bool| Decision::Wait { why, yields };
    if !moment.breaker_closed_for.is_zero() {
        let seconds = moment.breaker_closed_for.as_secs() + 1;
        return wait(
            format!("the store is tried again in {seconds} s (circuit breaker open)"),
            false,
        );
    }
    if moment.urgent || moment.waiting == 0 {
        return Decision::Run;
    }
    if let Some(window) = policy.quiet_window(moment.time) {
        let (from, to) = (window.from.strftime("%H:%M"), window.to.strftime("%H:%M"));
        return wait(format!("quiet from {from} to {to} (pause)"), false);
    }
    if moment.yielded_for >= YIELD_MAX {
        return Decision::Run;
    }
    if let (Some(running), Some(limit)) = (moment.threads_running, policy.busy_threads)
        && running >= limit
    {
        return wait(
            format!(
                "the server is busy: {running} threads running (yield_threads_running = {limit})"
            ),
            true,
        );
    }
    if let (Some(lag), Some(limit)) = (moment.replica_lag, policy.replica_lag)
        && lag >= limit
    {
        return wait(
            format!(
                "this replica is {} s behind its source (yield_replica_lag)",
                lag.as_secs()
            ),
            true,
        );
    }
    Decision::Run
}

/// The pause after `failed` runs in a row: doubling from a second to five minutes. `part` from 0 to 1 is drawn at random, so
/// that archivers that failed together do not come back together; half of the pause is certain.
pub fn pause_after(failed: u32, part: f64) -> Duration {
    const FIRST: Duration = Duration::from_secs(2);
    const MAX: Duration = Duration::from_secs(300);
    let bound = FIRST
        .saturating_mul(
            1u32.checked_shl(failed.saturating_sub(1))
                .unwrap_or(u32::MAX),
        )
        .min(MAX);
    bound.div_f64(2.0) + bound.mul_f64(part.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i8, minute: i8) -> Moment {
        Moment {
            time: Time::constant(hour, minute, 0, 0),
            waiting: 1,
            ..Moment::default()
        }
    }

    fn waits(policy: &Policy, moment: Moment) -> bool {
        matches!(decide(policy, &moment), Decision::Wait { .. })
    }

    fn policy(quiet: &[&str]) -> Policy {
        Policy {
            quiet: quiet.iter().map(|w| w.parse().expect("a window")).collect(),
            busy_threads: Some(40),
            replica_lag: Some(Duration::from_secs(30)),
            ..Policy::default()
        }
    }

    #[test]
    fn a_quiet_window_ends_before_its_last_minute_and_may_pass_midnight() {
        let policy = policy(&["02:00-03:30", "23:00-00:15"]);
        for (hour, minute, quiet) in [
            (1, 59, false),
            (2, 0, true),
            (3, 29, true),
            (3, 30, false),
            (23, 0, true),
            (0, 14, true),
            (0, 15, false),
        ] {
            assert_eq!(waits(&policy, at(hour, minute)), quiet, "{hour}:{minute}");
        }
    }

    #[test]
    fn danger_overrides_quiet_hours_and_a_busy_server_but_not_an_open_breaker() {
        let policy = policy(&["00:00-23:59"]);
        let mut moment = at(12, 0);
        moment.threads_running = Some(1000);
        assert!(waits(&policy, moment));
        moment.urgent = true;
        assert!(!waits(&policy, moment));
        moment.breaker_closed_for = Duration::from_secs(3);
        assert!(waits(&policy, moment));
    }

    #[test]
    fn a_busy_server_or_a_late_replica_is_given_way_to_but_not_for_ever() {
        let policy = policy(&[]);
        let busy = Moment {
            threads_running: Some(40),
            ..at(12, 0)
        };
        let late = Moment {
            replica_lag: Some(Duration::from_secs(31)),
            ..at(12, 0)
        };
        for moment in [busy, late] {
            assert!(waits(&policy, moment));
            let patient = Moment {
                yielded_for: YIELD_MAX,
                ..moment
            };
            assert!(!waits(&policy, patient));
        }
        let easy = Moment {
            threads_running: Some(39),
            ..at(12, 0)
        };
        assert!(!waits(&policy, easy));
    }

    #[test]
    fn a_window_that_says_nothing_is_refused() {
        for text in ["", "02:00", "02:00-25:00", "2-3", "02:00-02:00"] {
            assert!(text.parse::<QuietWindow>().is_err(), "{text}");
        }
    }

    #[test]
    fn pauses_double_to_five_minutes_and_are_never_short() {
        assert_eq!(pause_after(1, 0.0), Duration::from_secs(1));
        assert_eq!(pause_after(1, 1.0), Duration::from_secs(2));
        assert_eq!(pause_after(4, 1.0), Duration::from_secs(16));
        assert_eq!(pause_after(40, 1.0), Duration::from_secs(300));
        assert_eq!(pause_after(u32::MAX, 0.0), Duration::from_secs(150));
    }
}
