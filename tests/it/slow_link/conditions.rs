//! What a link is like, and the words for it.

use std::str::FromStr;
use std::time::Duration;

/// What a link does to what passes. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// From a request to its answer, half of it in each direction; a new connection costs one more.
    pub round_trip: Duration,
    /// What all connections share, in each direction.
    pub bytes_per_second: Option<u64>,
    /// What each connection has, in each direction.
    pub connection_bytes_per_second: Option<u64>,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are accepted and stay open; nothing passes. What is held passes when the fault ends.
    Silence,
    /// On each connection one byte of the answer a second.
    Trickle,
    /// Each connection closes after so many bytes of answers, counted from when the fault began.
    CutAfter(u64),
    /// Every connection is closed, a new one at once.
    Refuse,
}

/// One setting, in words: `round-trip-ms 20`, `rate-mbit 200` (`none`), `connection-mbit 720` (`none`), `fault silence` (`trickle`,
/// `cut:65536`, `refuse`, `none`).
pub enum Change {
    RoundTrip(Duration),
    Rate(Option<u64>),
    ConnectionRate(Option<u64>),
    Fault(Option<Fault>),
}

impl Change {
    /// The change that `name` and `value` ask for, or why there is none.
    pub fn parse(name: &str, value: &str) -> Result<Change, String> {
        let number = |text: &str| {
            let number = f64::from_str(text).ok().filter(|n| n.is_finite());
            number
                .filter(|n| (0.0..1e9).contains(n))
                .ok_or_else(|| format!("{text:?} is not a number"))
        };
        let rate = |text: &str| match text {
            "none" => Ok(None),
            mbit => match (number(mbit)? * 1e6 / 8.0) as u64 {
                0 => Err("a rate is more than 0".to_owned()),
                rate => Ok(Some(rate)),
            },
        };
        match (name, value) {
            ("round-trip-ms", ms) => Ok(Change::RoundTrip(Duration::from_secs_f64(
                number(ms)? / 1e3,
            ))),
            ("rate-mbit", mbit) => rate(mbit).map(Change::Rate),
            ("connection-mbit", mbit) => rate(mbit).map(Change::ConnectionRate),
            ("fault", "none") => Ok(Change::Fault(None)),
            ("fault", "silence") => Ok(Change::Fault(Some(Fault::Silence))),
            ("fault", "trickle") => Ok(Change::Fault(Some(Fault::Trickle))),
            ("fault", "refuse") => Ok(Change::Fault(Some(Fault::Refuse))),
            ("fault", fault) => match fault.strip_prefix("cut:").map(u64::from_str) {
                Some(Ok(bytes)) => Ok(Change::Fault(Some(Fault::CutAfter(bytes)))),
                _ => Err(format!("there is no fault {fault:?}")),
            },
            _ => Err(format!("there is no setting {name:?}")),
        }
    }
}

impl Conditions {
    /// Makes one change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::RoundTrip(time) => self.round_trip = time,
            Change::Rate(rate) => self.bytes_per_second = rate,
            Change::ConnectionRate(rate) => self.connection_bytes_per_second = rate,
            Change::Fault(fault) => self.fault = fault,
        }
    }
}
