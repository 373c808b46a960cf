//! What to recover, and from where.

use crate::locate::FilePosition;
use crate::model::time::ParseTimeError;
use crate::model::{Gtid, GtidSet, Micros};
use std::fmt;

/// Where the history to replay ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// After everything that was committed up to and at this moment.
    Time(Micros),
    /// Right before a transaction: it is the first that is left out.
    Before(Gtid),
    /// Right after a transaction: it is the last that is replayed.
    After(Gtid),
    /// A place between two transactions.
    Position(FilePosition),
    /// After all that is archived.
    End,
}

/// Where the history to replay begins: what the server to recover has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing, or what the first archived file says was executed before it.
    Beginning,
    /// These transactions: what a base backup says that it holds, or a server's `gtid_executed`.
    Gtids(GtidSet),
    /// Everything before this place.
    Position(FilePosition),
}

/// A moment that may mean several: recovery never guesses a zone.
#[derive(Debug, thiserror::Error)]
pub enum NoZone {
    /// No zone was written.
    #[error(
        "{text:?} has no zone, and recovery never guesses one: write {text}Z if it is UTC, or with its offset, as in {text}+01:00"
    )]
    Missing {
        /// What was written, with what may follow it.
        text: String,
    },
    /// It is no time at all.
    #[error(transparent)]
    Time(#[from] ParseTimeError),
}

impl Target {
    /// Reads a moment that has a zone, or is relative to `now`.
    ///
    /// # Errors
    /// [`NoZone`].
    pub fn time(text: &str, now: Micros) -> Result<Target, NoZone> {
        let parsed = Micros::parse(text, now)?;
        match parsed.zone_assumed {
            false => Ok(Target::Time(parsed.time)),
            true => Err(NoZone::Missing {
                text: with_time_of_day(text),
            }),
        }
    }
}

/// A zone can be written after a time only, not after a mere date.
fn with_time_of_day(text: &str) -> String {
    match text.contains(':') {
        true => text.to_owned(),
        false => format!("{text}T00:00:00"),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Time(time) => write!(f, "all that was committed up to {time}"),
            Target::Before(gtid) => write!(f, "right before {gtid}"),
            Target::After(gtid) => write!(f, "right after {gtid}"),
            Target::Position(position) => write!(f, "up to {position}"),
            Target::End => f.write_str("all that is archived"),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Beginning => f.write_str("the beginning of the history"),
            Start::Gtids(set) if set.is_empty() => f.write_str("a server without transactions"),
            Start::Gtids(set) => write!(f, "a server that has {set}"),
            Start::Position(position) => write!(f, "a server that has all before {position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_zone_and_is_told_what_to_write() {
        let now = Micros(3_600_000_000);
        let time = |text: &str| Target::time(text, now);
        assert_eq!(
            time("1970-01-01T02:00:00.5+01:00").expect("a zone"),
            Target::Time(Micros(3_600_500_000))
        );
        assert_eq!(
            time("-15m").expect("relative"),
            Target::Time(Micros(2_700_000_000))
        );
        for (text, hint) in [
            ("2026-11-22T18:30:00", "write 2026-11-22T18:30:00Z"),
            ("2026-11-22 18:30", "write 2026-11-22 18:30Z"),
            ("2026-11-22", "write 2026-11-22T00:00:00Z"),
        ] {
            let error = time(text).expect_err(text);
            assert!(matches!(error, NoZone::Missing { .. }));
            assert!(error.to_string().contains(hint), "{error}");
            let written = hint.trim_start_matches("write ");
            assert!(time(written).is_ok(), "{written}");
        }
        assert!(matches!(time("half past six"), Err(NoZone::Time(_))));
    }
}
