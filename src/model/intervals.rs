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
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
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
