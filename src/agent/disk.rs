//! How long until a disk is full, at the rate at which it fills now.

use crate::model::Micros;
use std::collections::VecDeque;
use std::path::Path;

/// The rate is that of the last hour: a dump that fills the disk for a minute is no trend, and yesterday's load is none either.
const WINDOW_MICROS: i64 = 3600 * 1_000_000;
/// Less than this tells no rate.
const SPAN_MIN_MICROS: i64 = 300 * 1_000_000;
/// With less free than this a disk is full, whether or not it still fills: no server writes on for long.
const FULL_BYTES: u64 = 16 << 20;
/// Samples are kept this far apart: a few hundred for the window.
const APART_MICROS: i64 = 10 * 1_000_000;

/// Free space over the last hour.
#[derive(Clone, Debug, Default)]
pub struct DiskTrend {
    samples: VecDeque<(Micros, u64)>,
}

impl DiskTrend {
    /// Looks at the file system of `dir`.
    pub fn look(&mut self, dir: &Path, now: Micros) {
        match rustix::fs::statvfs(dir) {
            Ok(stat) => self.note(now, stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(error) => {
                tracing::debug!(%error, dir = %dir.display(), "its free space cannot be told");
            }
        }
    }

    fn note(&mut self, now: Micros, free_bytes: u64) {
        if self.samples.back().is_some_and(|(last, _)| now < *last) {
            // The clock was set back: what was measured by it says nothing.
            self.samples.clear();
        }
        let too_soon = |last: &(Micros, u64)| now.0 - last.0.0 < APART_MICROS;
        if self.samples.back().is_some_and(too_soon) && self.samples.len() > 1 {
            self.samples.pop_back();
        }
        self.samples.push_back((now, free_bytes));
        while let Some((first, _)) = self.samples.front()
            && now.0 - first.0 > WINDOW_MICROS
        {
            self.samples.pop_front();
        }
    }

    /// Seconds until it is full. `None` if it does not fill, or that cannot be told yet.
    pub fn full_in_seconds(&self) -> Option<i64> {
        let ((since, then), (until, now)) = (self.samples.front()?, self.samples.back()?);
        if *now < FULL_BYTES {
            return Some(0);
        }
        let span = until.0 - since.0;
        if span < SPAN_MIN_MICROS || then <= now {
            return None;
        }
        let filled = (then - now) as f64;
        let seconds = *now as f64 / filled * (span as f64 / 1e6);
        Some(seconds.min(i64::MAX as f64) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(samples: &[(i64, u64)]) -> Option<i64> {
        let mut trend = DiskTrend::default();
        for (seconds, free) in samples {
            trend.note(Micros(seconds * 1_000_000), free << 30);
        }
        trend.full_in_seconds()
    }

    #[test]
    fn a_disk_that_loses_a_tenth_in_ten_minutes_is_full_in_ninety() {
        assert_eq!(trend(&[(0, 1000), (300, 950), (600, 900)]), Some(5400));
    }

    #[test]
    fn minutes_only_free_space_that_grows_and_a_clock_set_back_tell_nothing() {
        assert_eq!(trend(&[(0, 1000), (60, 10)]), None);
        assert_eq!(trend(&[(0, 1000), (600, 1000)]), None);
        assert_eq!(trend(&[(0, 1000), (600, 2000)]), None);
        assert_eq!(trend(&[(7200, 1000), (0, 900)]), None);
    }

    #[test]
    fn a_disk_that_is_full_stays_so_although_it_fills_no_more() {
        assert_eq!(trend(&[(0, 0), (3600, 0)]), Some(0));
    }

    #[test]
    fn what_happened_hours_ago_is_forgotten() {
        assert_eq!(trend(&[(0, 9000), (7200, 1000), (7800, 900)]), Some(5400));
    }
}
