//! What re-keying did, and to which segments.

use serde::Serialize;

/// Failures told one by one, and lists of recipients told apart; all segments are counted.
const TOLD_MAX: usize = 100;

/// What a run did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Segments looked at.
    pub segments: u64,
    /// Segments re-keyed; of a dry run, those that would be.
    pub rekeyed: u64,
    /// Name of the first of them, and of the last.
    pub range: Option<(String, String)>,
    /// Segments that were for exactly these recipients already.
    pub already: u64,
    /// Segments that are not encrypted: nothing changes for them.
    pub unencrypted: u64,
    /// Segments that none of the keys opens, by whom they are for.
    pub foreign: Vec<Foreign>,
    /// Segments that could not be re-keyed for another reason.
    pub failures: u64,
    /// The first hundred of those, with the reason.
    pub failed: Vec<Failed>,
}

/// Segments that none of the keys at hand opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foreign {
    /// Whom they are for.
    pub recipients: Vec<String>,
    /// How many.
    pub segments: u64,
    /// Name of the first.
    pub first: String,
    /// Name of the last.
    pub last: String,
}

/// A segment that could not be re-keyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Whether every encrypted segment that was looked at is for the new recipients now.
    pub fn is_complete(&self) -> bool {
        self.foreign.is_empty() && self.failures == 0
    }

    pub(super) fn note(&mut self, name: &str, outcome: Outcome) {
        self.segments += 1;
        match outcome {
            Outcome::Rekeyed => {
                self.rekeyed += 1;
                let first = self.range.take().map(|(first, _)| first);
                let first = first.unwrap_or_else(|| name.to_owned());
                self.range = Some((first, name.to_owned()));
            }
            Outcome::Already => self.already += 1,
            Outcome::Unencrypted => self.unencrypted += 1,
            Outcome::Foreign(recipients) => self.note_foreign(name, recipients),
            Outcome::Failed(reason) => self.note_failure(name, reason),
        }
    }

    fn note_failure(&mut self, name: &str, reason: String) {
        self.failures += 1;
        if self.failed.len() < TOLD_MAX {
            let name = name.to_owned();
            self.failed.push(Failed { name, reason });
        }
    }

    fn note_foreign(&mut self, name: &str, recipients: Vec<String>) {
        let full = self.foreign.len() >= TOLD_MAX;
        let known = self.foreign.iter_mut().find(|f| f.recipients == recipients);
        match known {
            Some(known) => {
                known.segments += 1;
                known.last = name.to_owned();
            }
            None if full => {
                let reason = format!("is for {}", recipients.join(", "));
                self.note_failure(name, reason);
            }
            None => self.foreign.push(Foreign {
                recipients,
                segments: 1,
                first: name.to_owned(),
                last: name.to_owned(),
            }),
        }
    }
}

/// What became of one segment.
pub(super) enum Outcome {
    Rekeyed,
    Already,
    Unencrypted,
    Foreign(Vec<String>),
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_by_whom_they_are_for_and_the_lists_are_bounded() {
        let mut report = Report::default();
        let whom = |n: usize| vec![format!("age1{n}")];
        for n in 0..3 {
            report.note(&format!("b.{n}"), Outcome::Rekeyed);
            report.note(&format!("c.{n}"), Outcome::Foreign(whom(0)));
        }
        assert_eq!(report.range, Some(("b.0".to_owned(), "b.2".to_owned())));
        let foreign = &report.foreign[0];
        assert_eq!(
            (foreign.segments, &*foreign.first, &*foreign.last),
            (3, "c.0", "c.2")
        );
        for n in 0..2 * TOLD_MAX {
            report.note("d", Outcome::Foreign(whom(n)));
            report.note("e", Outcome::Failed("gone".to_owned()));
        }
        assert_eq!(report.foreign.len(), TOLD_MAX);
        assert_eq!(report.failed.len(), TOLD_MAX);
        assert_eq!(report.failures, 3 * TOLD_MAX as u64);
        assert_eq!(report.segments, 6 + 4 * TOLD_MAX as u64);
        assert!(!report.is_complete());
    }
}
