//! Targets as people write them.

use crate::model::{Gtid, Micros};
use std::fmt;
use std::str::FromStr;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A moment.
    Time(Micros),
    /// A transaction.
    Gtid(Gtid),
    /// A place in a file.
    Position(FilePosition),
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePosition {
    /// The file, by its name in the mount or by the server's own.
    pub file: String,
    /// Offset in it.
    pub offset: u64,
}

/// Text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {text:?} as a {expected}: a time is written as 2026-11-22T18:30:00Z, a GTID as the server prints it, a position as \
     binlog.000042:1234"
)]
pub struct ParseTargetError {
    text: String,
    expected: &'static str,
}

impl Target {
    /// Reads a time, a GTID or a position, whichever it is. A text that can be read as a date is one. `now` is what a
    /// relative time counts from; without it such a time is refused.
    ///
    /// # Errors
    /// [`ParseTargetError`].
    pub fn parse(text: &str, now: Option<Micros>) -> Result<Target, ParseTargetError> {
        let time = match now {
            None if text.starts_with('-') => None,
            now => Micros::parse(text, now.unwrap_or(Micros(0))).ok(),
        };
        let parsed = time
            .map(|parsed| Target::Time(parsed.time))
            .or_else(|| text.parse().ok().map(Target::Gtid))
            .or_else(|| text.parse().ok().map(Target::Position));
        parsed.ok_or_else(|| ParseTargetError {
            text: text.to_owned(),
            expected: "time, GTID or position",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Time(time) => fmt::Display::fmt(time, f),
            Target::Gtid(gtid) => fmt::Display::fmt(gtid, f),
            Target::Position(position) => fmt::Display::fmt(position, f),
        }
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

impl FromStr for FilePosition {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<FilePosition, ParseTargetError> {
        let parsed = text.rsplit_once(':').and_then(|(file, offset)| {
            // Digits only: "+4" is no offset.
            let digits = !offset.is_empty() && offset.bytes().all(|b| b.is_ascii_digit());
            let offset = offset.parse().ok().filter(|_| digits)?;
            (!file.is_empty() && file.contains('.')).then(|| FilePosition {
                file: file.to_owned(),
                offset,
            })
        });
        parsed.ok_or_else(|| ParseTargetError {
            text: text.to_owned(),
            expected: "position",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_it_looks_like() {
        let kind = |text: &str| match Target::parse(text, None).expect(text) {
            Target::Time(_) => "time",
            Target::Gtid(_) => "gtid",
            Target::Position(_) => "position",
        };
        assert_eq!(kind("2026-11-22T18:30:00Z"), "time");
        assert_eq!(kind("2026-11-22 18:30:00.5+01:00"), "time");
        assert_eq!(kind("2026-11-22"), "time");
        assert_eq!(kind("3e11fa47-71ca-11e1-9e33-c80aa9429562:17"), "gtid");
        assert_eq!(kind("3e11fa47-71ca-11e1-9e33-c80aa9429562:blue:17"), "gtid");
        assert_eq!(kind("0-1-7"), "gtid");
        assert_eq!(kind("binlog.000042:1234"), "position");
        for bad in [
            "",
            "binlog.000042",
            "binlog.000042:",
            "x:4",
            "binlog.000042:+4",
            "-15m",
        ] {
            assert!(Target::parse(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_relative_time_needs_to_know_what_time_it_is() {
        let now = Micros(3_600_000_000);
        assert_eq!(
            Target::parse("-15m", Some(now)),
            Ok(Target::Time(Micros(2_700_000_000)))
        );
    }

    #[test]
    fn targets_print_as_they_are_read() {
        for text in [
            "2026-11-22T18:30:00.000001Z",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:17",
            "binlog.999999.000002.0000000042:4",
        ] {
            assert_eq!(Target::parse(text, None).expect(text).to_string(), text);
        }
    }
}
