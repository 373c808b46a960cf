//! Runs of sequence numbers.

/// Sorted, disjoint, non-adjacent runs of numbers, both ends inclusive.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Intervals(pub(super) Vec<(u64, u64)>);

impl Intervals {
    /// The runs in order.
    pub fn runs(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many numbers there are.
    ///
    /// All of 0 to 2^64-1 are one more than fit, and count as 2^64-1.
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|(first, last)| (last - first).saturating_add(1))
            .fold(0, u64::saturating_add)
    }

    /// The largest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|run| run.1)
    }

    pub(super) fn insert(&mut self, first: u64, last: u64) {
        debug_assert!(first <= last, "an interval is not empty");
        // Transactions mostly arrive in order: the end of the last run is where nearly every one goes.
        if let Some(run) = self.0.last_mut() {
            if first == run.1.saturating_add(1) {
                run.1 = last;
                return;
            }
            if first > run.1 {
                self.0.push((first, last));
                return;
            }
        } else {
            self.0.push((first, last));
            return;
        }
        let from = self
            .0
            .partition_point(|run| run.1.saturating_add(1) < first);
        let to = self
            .0
            .partition_point(|run| run.0 <= last.saturating_add(1));
        let merged = self.0[from..to].iter().fold((first, last), |all, run| {
            (all.0.min(run.0), all.1.max(run.1))
        });
        self.0.splice(from..to, [merged]);
    }

    /// Adds all of `other`, touching only the runs that lie among its own.
    pub(super) fn union_with(&mut self, other: &Intervals) {
        let (Some(first), Some(last)) = (other.0.first(), other.0.last()) else {
            return;
        };
        let from = self
            .0
            .partition_point(|run| run.1.saturating_add(1) < first.0);
        let to = self
            .0
            .partition_point(|run| run.0 <= last.1.saturating_add(1));
        let mut merged = [&self.0[from..to], &other.0[..]].concat();
        settle(&mut merged);
        self.0.splice(from..to, merged);
    }

    pub(super) fn contains_run(&self, first: u64, last: u64) -> bool {
        let at = self.0.partition_point(|run| run.1 < first);
        self.0
            .get(at)
            .is_some_and(|run| run.0 <= first && last <= run.1)
    }

    pub(super) fn intersects(&self, other: &Intervals) -> bool {
        other.0.iter().any(|(first, last)| {
            let at = self.0.partition_point(|run| run.1 < *first);
            self.0.get(at).is_some_and(|run| run.0 <= *last)
        })
    }

    pub(super) fn minus(&self, other: &Intervals) -> Intervals {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            let start = other.0.partition_point(|run| run.1 < first);
            for &(cut_first, cut_last) in other.0[start..].iter().take_while(|run| run.0 <= last) {
                if let Some(f) = from.filter(|f| *f < cut_first) {
                    left.push((f, cut_first - 1));
                }
                from = cut_last.checked_add(1).filter(|next| *next <= last);
            }
            if let Some(f) = from {
                left.push((f, last));
            }
        }
        Intervals(left)
    }
}

/// Sorts runs, and joins those that overlap or touch. Linear where they are a few sorted stretches.
fn settle(runs: &mut Vec<(u64, u64)>) {
    runs.sort();
    runs.dedup_by(|next, run| {
        let joins = next.0 <= run.1.saturating_add(1);
        if joins {
            run.1 = run.1.max(next.1);
        }
        joins
    });
}

/// Runs in any order, which become [`Intervals`].
///
/// [`Intervals::insert`] moves all that lies behind its place: a list that descends would cost the square of its length.
/// Here runs are put at the end, and settled only when there are twice as many as were left the last time.
#[derive(Clone, Debug, Default)]
pub(super) struct IntervalsBuilder {
    runs: Vec<(u64, u64)>,
    /// How many of `runs`, at the front, are sorted, disjoint and not adjacent.
    settled: usize,
    /// Runs that were handed to [`settle`] so far: all the work there is.
    #[cfg(test)]
    pub(super) work: usize,
}

/// Runs that are gathered before they are settled for the first time.
const UNSETTLED_MIN: usize = 1024;

impl IntervalsBuilder {
    /// Adds the numbers `first` to `last`, both inclusive.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        debug_assert!(first <= last, "an interval is not empty");
        if let Some(run) = self.runs.last_mut()
            && first >= run.0
            && first <= run.1.saturating_add(1)
        {
            run.1 = run.1.max(last);
            return;
        }
        self.runs.push((first, last));
        if self.runs.len() >= UNSETTLED_MIN.max(2 * self.settled) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        #[cfg(test)]
        {
            self.work += self.runs.len();
        }
        settle(&mut self.runs);
        self.settled = self.runs.len();
    }

    /// The runs.
    pub(super) fn finish(mut self) -> Intervals {
        self.settle();
        Intervals(self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_in_descending_order_cost_no_more_than_twice_what_they_are() {
        const RUNS: u64 = 200_000;
        let mut builder = IntervalsBuilder::default();
        for n in (0..RUNS).rev() {
            builder.insert(3 * n, 3 * n + 1);
        }
        let work = builder.work;
        let descending = builder.finish();
        let ascending = Intervals((0..RUNS).map(|n| (3 * n, 3 * n + 1)).collect());
        assert_eq!(descending, ascending);
        // 1024 + 2048 + 4096 + ... up to the last power of two below RUNS.
        assert!(work < 2 * RUNS as usize, "{work} runs were sorted");
    }

    #[test]
    fn runs_that_repeat_are_not_kept_twice() {
        let mut builder = IntervalsBuilder::default();
        for n in 0..1_000_000_u64 {
            builder.insert(n % 2 * 10, n % 2 * 10);
            assert!(builder.runs.len() <= UNSETTLED_MIN);
        }
        assert_eq!(builder.finish().0, [(0, 0), (10, 10)]);
    }

    /// Runs that touch and overlap, and lie at either end of all numbers.
    fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let run = (0u64..200, 0u64..5, any::<bool>()).prop_map(|(at, more, high)| match high {
            false => (at, at + more),
            true => (u64::MAX - at, (u64::MAX - at).saturating_add(more)),
        });
        proptest::collection::vec(run, 0..60)
    }

    fn one_by_one(runs: &[(u64, u64)]) -> Intervals {
        let mut intervals = Intervals::default();
        for &(first, last) in runs {
            intervals.insert(first, last);
        }
        intervals
    }

    proptest! {
        #[test]
        fn gathered_runs_equal_inserted_ones(runs in runs()) {
            let mut builder = IntervalsBuilder::default();
            for &(first, last) in &runs {
                builder.insert(first, last);
            }
            let built = builder.finish();
            prop_assert!(built.0.windows(2).all(|two| two[0].1 + 1 < two[1].0));
            prop_assert_eq!(built, one_by_one(&runs));
        }

        #[test]
        fn a_union_equals_inserting_one_by_one(a in runs(), b in runs()) {
            let mut union = one_by_one(&a);
            union.union_with(&one_by_one(&b));
            prop_assert_eq!(union, one_by_one(&[a, b].concat()));
        }
    }
}
