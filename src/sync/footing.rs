//! What an agent knows of its stream from the run before, and so need not ask the store again.
//!
//! A run that knows nothing asks for `stream.json`, proves that the store refuses to create it again, and follows the ledger by a
//! listing. All of that tells what hardly ever changes, and what is wrong all the same shows at once: the newest record is read
//! by every run, and where somebody else has appended, the next record cannot be created.

use crate::model::Micros;
use bytes::Bytes;

/// Runs until everything is asked for again: five hours of a server that closes a binlog every five minutes.
const RUNS: u32 = 60;
/// Time until then, in microseconds: a day, of a server that closes few.
const AGE_MAX_MICROS: i64 = 24 * 3600 * 1_000_000;

/// What is known, if anything.
#[derive(Clone, Debug, Default)]
pub struct Footing(Option<Known>);

#[derive(Clone, Debug)]
struct Known {
    /// `stream.json`, as it was read.
    stream: Bytes,
    /// Nobody else has appended since the run before.
    alone: bool,
    runs_left: u32,
    /// When everything was last asked for.
    asked_at: Micros,
}

impl Footing {
    /// Takes it for a run that begins `now`, so that one that fails leaves nothing to stand on.
    pub(super) fn take(&mut self, now: Micros) -> Footing {
        let holds = |known: &Known| {
            let age = now.0.saturating_sub(known.asked_at.0);
            // Of a clock that was set back, nothing is known.
            known.runs_left > 0 && (0..AGE_MAX_MICROS).contains(&age)
        };
        Footing(self.0.take().filter(holds))
    }

    /// `stream.json`, if the store was asked not long ago, and refused to create it again.
    pub(super) fn stream(&self) -> Option<&Bytes> {
        self.0.as_ref().map(|known| &known.stream)
    }

    /// Whether to expect that nobody else has appended.
    pub(super) fn alone(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.alone)
    }

    /// What is known after a run on `stream` that began with this, ended `now`, and met somebody else or not.
    pub(super) fn after(self, stream: Bytes, met_another: bool, now: Micros) -> Footing {
        let before = self.0.map(|known| (known.runs_left, known.asked_at));
        let (runs_left, asked_at) = match before {
            Some((left, asked_at)) => (left.saturating_sub(1), asked_at),
            None => (RUNS, now),
        };
        Footing(Some(Known {
            stream,
            alone: !met_another,
            runs_left,
            asked_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Bytes {
        Bytes::from_static(b"{}")
    }

    const NOW: Micros = Micros(1_700_000_000_000_000);

    #[test]
    fn whoever_met_somebody_does_not_expect_to_be_alone() {
        let mut footing = Footing::default();
        assert!(footing.take(NOW).stream().is_none());
        footing = footing.take(NOW).after(file(), true, NOW);
        assert!(footing.stream().is_some() && !footing.alone());
        footing = footing.take(NOW).after(file(), false, NOW);
        assert!(footing.alone());
    }

    #[test]
    fn now_and_then_everything_is_asked_for_again() {
        let mut footing = Footing::default();
        let mut asked = 0;
        for _ in 0..=2 * RUNS + 1 {
            let known = footing.take(NOW);
            asked += u32::from(known.stream().is_none());
            footing = known.after(file(), false, NOW);
        }
        assert_eq!(asked, 2);
    }

    #[test]
    fn of_few_runs_each_day_has_one_that_asks_for_everything() {
        let hours = |n: i64| Micros(NOW.0 + n * 3600 * 1_000_000);
        let mut footing = Footing::default();
        let mut asked = Vec::new();
        for hour in (0..=50).step_by(5) {
            let known = footing.take(hours(hour));
            if known.stream().is_none() {
                asked.push(hour);
            }
            footing = known.after(file(), false, hours(hour));
        }
        assert_eq!(asked, [0, 25, 50]);
        assert!(footing.take(hours(49)).stream().is_none(), "set back");
    }

    #[test]
    fn a_run_that_fails_leaves_nothing() {
        let mut footing = Footing::default().after(file(), false, NOW);
        drop(footing.take(NOW));
        assert!(footing.take(NOW).stream().is_none());
    }
}
