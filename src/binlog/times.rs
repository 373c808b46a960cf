//! The span of times seen.

use crate::model::Micros;

/// Smallest and largest of the times noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// The smallest.
    pub min: Option<Micros>,
    /// The largest.
    pub max: Option<Micros>,
}

impl Times {
    /// Takes one more.
    pub(super) fn note(&mut self, time: Micros) {
        self.min = Some(self.min.map_or(time, |min| min.min(time)));
        self.max = Some(self.max.map_or(time, |max| max.max(time)));
    }

    /// Takes all of another span.
    pub(super) fn absorb(&mut self, other: Times) {
        other
            .min
            .into_iter()
            .chain(other.max)
            .for_each(|time| self.note(time));
    }
}
