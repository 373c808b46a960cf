//! Points in time, in microseconds since 1970-01-01 UTC, the resolution of MySQL's commit timestamps.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// A time as a person wrote it, and whether a zone had to be assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedTime {
    /// The point in time.
    pub time: Micros,
    /// No zone was written, and UTC was assumed: outputs say so, `recover` refuses it.
    pub zone_assumed: bool,
}

/// A time that could not be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the time {text:?}: {reason}; write it as 2026-11-22T18:30:00Z, 2026-11-22T18:30:00+01:00, or -15m for a quarter of an hour ago"
)]
pub struct ParseTimeError {
    text: String,
    reason: String,
}

impl Micros {
    /// From whole seconds, as binlog event headers carry them.
    pub fn from_seconds(seconds: u32) -> Micros {
        Micros(i64::from(seconds) * 1_000_000)
    }

    /// The clock's current time. Only shells call this: pure modules are given the time.
    pub fn now() -> Micros {
        Micros(jiff::Timestamp::now().as_microsecond())
    }

    /// Whole seconds, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The sub-second part in nanoseconds, for `st_mtime`.
    pub fn subsec_nanos(self) -> u32 {
        (self.0.rem_euclid(1_000_000) * 1000) as u32
    }

    /// Reads RFC 3339, a date and time without a zone (UTC is assumed), or a span before `now` such as `-15m`.
    ///
    /// # Errors
    /// When `text` is none of these, or lies outside the years -9999 to 9999.
    pub fn parse(text: &str, now: Micros) -> Result<ParsedTime, ParseTimeError> {
        let fail = |e: jiff::Error| ParseTimeError {
            text: text.to_owned(),
            reason: e.to_string(),
        };
        if text.starts_with('-') {
            let span: jiff::SignedDuration = text.parse().map_err(fail)?;
            let time = i64::try_from(span.as_micros())
                .ok()
                .and_then(|us| now.0.checked_add(us));
            let time = time.ok_or_else(|| ParseTimeError {
                text: text.to_owned(),
                reason: "out of range".to_owned(),
            })?;
            return Ok(ParsedTime {
                time: Micros(time),
                zone_assumed: false,
            });
        }
        if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
            return Ok(ParsedTime {
                time: Micros(stamp.as_microsecond()),
                zone_assumed: false,
            });
        }
        // A zone by name would be ignored here, not honoured.
        if text.contains('[') {
            return Err(ParseTimeError {
                text: text.to_owned(),
                reason: "a zone by its name is not understood, an offset is".to_owned(),
            });
        }
        let civil: jiff::civil::DateTime = text.parse().map_err(fail)?;
        let stamp = civil
            .to_zoned(jiff::tz::TimeZone::UTC)
            .map_err(fail)?
            .timestamp();
        Ok(ParsedTime {
            time: Micros(stamp.as_microsecond()),
            zone_assumed: true,
        })
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(stamp) => fmt::Display::fmt(&stamp, f),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_a_zone_is_utc_and_says_so() {
        let now = Micros(0);
        let with = Micros::parse("2026-11-22T18:30:00.000001Z", now).expect("parses");
        let without = Micros::parse("2026-11-22 18:30:00.000001", now).expect("parses");
        assert_eq!(with.time, without.time);
        assert!(!with.zone_assumed && without.zone_assumed);
        assert_eq!(with.time.to_string(), "2026-11-22T18:30:00.000001Z");
    }

    #[test]
    fn a_zone_by_name_is_refused_and_never_taken_for_utc() {
        for text in [
            "2026-11-22T18:30:00[Europe/Berlin]",
            "2026-11-22 18:30[UTC]",
            "2026-11-22[Europe/Berlin]",
        ] {
            let error = Micros::parse(text, Micros(0)).expect_err(text).to_string();
            assert!(error.contains("+01:00"), "{error}");
        }
        // The offset says which moment is meant, whatever the name behind it.
        let both = "2026-11-22T18:30:00+01:00[Europe/Berlin]";
        let parsed = Micros::parse(both, Micros(0)).expect("parses");
        assert_eq!(parsed.time.to_string(), "2026-11-22T17:30:00Z");
        assert!(!parsed.zone_assumed);
    }

    #[test]
    fn a_negative_span_is_relative_to_now() {
        let now = Micros(3_600_000_000);
        assert_eq!(
            Micros::parse("-15m", now).expect("parses").time,
            Micros(2_700_000_000)
        );
        assert!(Micros::parse("yesterday", now).is_err());
    }

    #[test]
    fn times_before_1970_keep_their_fraction_positive() {
        assert_eq!(Micros(-1).seconds(), -1);
        assert_eq!(Micros(-1).subsec_nanos(), 999_999_000);
    }
}
