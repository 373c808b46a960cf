//! What keeps records from counting as archived: what the first store could not give, so that a replica has not got it.

use super::Replicator;
use crate::index::IndexError;
use crate::ledger::Body;
use crate::model::Seq;
use serde::{Deserialize, Serialize};

/// The oldest segment, of those that did not count as archived before, that a replica lacks for good: neither it nor anything after it
/// counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The record that introduced it.
    pub record: u64,
    /// Its name on the server, as far as the record can be read.
    pub file: Option<String>,
    /// Why it is not copied.
    pub why: String,
}

/// The record up to which all count as archived when all up to `through` were looked at.
pub fn counts_through(through: u64, held: Option<&Held>) -> u64 {
    let before = |held: &Held| held.record.saturating_sub(1);
    held.map_or(through, |held| through.min(before(held)))
}

impl Replicator {
    /// What is passed over of the records up to this one holds nothing back: they counted before, or a person has given them up. To be
    /// told before each pass.
    pub fn settled_through(&mut self, seq: Seq) {
        self.settled = seq;
    }

    /// The record up to which all count as archived, as far as is known.
    pub fn counts(&self) -> u64 {
        match self.objects.is_empty() {
            true => counts_through(self.through(), self.held.as_ref()),
            // A pass failed before it was known whether they can be copied.
            false => 0,
        }
    }

    /// Record `seq`, or the object that it names, was passed over.
    pub(super) fn hold_back(&mut self, seq: Seq, why: &str) -> Result<(), IndexError> {
        let seq = self.introduced_by(seq)?;
        let is_older = self.held.as_ref().is_none_or(|held| seq.0 < held.record);
        if seq <= self.settled || !is_older {
            return Ok(());
        }
        let entry = self.index.entry_by_seq(seq)?;
        let segment = entry.and_then(|entry| entry.segment);
        self.held = Some(Held {
            record: seq.0,
            file: segment.map(|segment| segment.file.to_string()),
            why: why.to_owned(),
        });
        Ok(())
    }

    /// Another object of the segment of record `seq` was copied. If that one holds records back, all is compared in the next pass.
    pub(super) fn look_again_after(&mut self, seq: Seq) -> Result<(), IndexError> {
        let Some(held) = &self.held else {
            return Ok(());
        };
        if held.record == self.introduced_by(seq)?.0 {
            self.compared_at = None;
        }
        Ok(())
    }

    /// The record that introduced the entry for which record `seq` stands: an entry has its number.
    pub(super) fn introduced_by(&self, seq: Seq) -> Result<Seq, IndexError> {
        let mut seq = seq;
        while let Some(line) = self.index.record(seq)? {
            match &line.record().body {
                Body::Supersede(supersede) if supersede.supersedes < seq => {
                    seq = supersede.supersedes;
                }
                _ => break,
            }
        }
        Ok(seq)
    }
}
