//! Which failed reads are logged: the kernel repeats them page by page, and a store that is down fails thousands.
//!
//! The same failure of the same segment is news once in [`AGAIN_AFTER`], and in that time there are at most [`LINES_MAX`] lines of all.
//! What was left out is counted, and the count is told. Pure.

use super::view::Errno;
use crate::model::counted::{count, of_number};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a failure stays old.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Lines in that time, whatever fails.
const LINES_MAX: u32 = 20;

/// What was logged lately.
pub struct Failures {
    since: Instant,
    lines: u32,
    seen: HashMap<(Arc<str>, Errno), Instant>,
    left_out: u64,
}

impl Failures {
    /// Nothing yet.
    pub fn new(now: Instant) -> Failures {
        Failures {
            since: now,
            lines: 0,
            seen: HashMap::new(),
            left_out: 0,
        }
    }

    /// A read of `segment` failed: whether it is to be logged, and then how many were left out since the last line.
    pub fn note(&mut self, segment: &Arc<str>, errno: Errno, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= AGAIN_AFTER {
            (self.since, self.lines) = (now, 0);
            // So it is never larger than what fails between two of these moments and is logged.
            self.seen
                .retain(|_, at| now.duration_since(*at) < AGAIN_AFTER);
        }
        let key = (Arc::clone(segment), errno);
        let is_old = |at: &Instant| now.duration_since(*at) < AGAIN_AFTER;
        if self.lines >= LINES_MAX || self.seen.get(&key).is_some_and(is_old) {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        self.seen.insert(key, now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// How many were left out, when nothing was logged for a while: so that the count is told although no line follows.
    pub fn overdue(&mut self, now: Instant) -> Option<u64> {
        let is_quiet = now.duration_since(self.since) >= AGAIN_AFTER;
        (is_quiet && self.left_out > 0).then(|| {
            (self.since, self.lines) = (now, 0);
            std::mem::take(&mut self.left_out)
        })
    }
}

/// What is told of so many that were left out; `which` says which of them.
pub fn told(left_out: u64, which: &str) -> String {
    let were = of_number(left_out, "was", "were");
    format!(
        "{}{which} {were} not logged",
        count(left_out, "more failure")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_that_was_left_out_is_told_as_one() {
        assert_eq!(told(1, ""), "1 more failure was not logged");
        assert_eq!(
            told(2, " before this one"),
            "2 more failures before this one were not logged"
        );
    }

    #[test]
    fn the_same_failure_is_logged_once_in_a_while_with_the_count_of_what_was_left_out() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut failures = Failures::new(begun);
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        assert_eq!(failures.note(&one, libc::EIO, at(1)), Some(0));
        for _ in 0..5 {
            assert_eq!(failures.note(&one, libc::EIO, at(2)), None);
        }
        assert_eq!(failures.note(&one, libc::ETIMEDOUT, at(2)), Some(5));
        assert_eq!(failures.note(&two, libc::EIO, at(2)), Some(0));
        assert_eq!(failures.note(&one, libc::EIO, at(10)), None);
        assert_eq!(failures.note(&one, libc::EIO, at(11)), Some(1));
    }

    #[test]
    fn a_thousand_segments_that_fail_are_a_few_lines_and_a_count() {
        let begun = Instant::now();
        let mut failures = Failures::new(begun);
        let mut logged = 0;
        for n in 0..1000 {
            let segment: Arc<str> = n.to_string().into();
            logged += u32::from(failures.note(&segment, libc::EIO, begun).is_some());
        }
        assert_eq!(logged, LINES_MAX);
        assert!(failures.seen.len() <= LINES_MAX as usize);
        assert_eq!(failures.overdue(begun), None);
        let later = begun + AGAIN_AFTER;
        assert_eq!(failures.overdue(later), Some(u64::from(1000 - LINES_MAX)));
        assert_eq!(failures.overdue(later + AGAIN_AFTER), None);
    }
}
