//! Whether an entry may stand where its record puts it.

use super::LedgerState;
use crate::model::{Incarnation, MountName, SegmentNumber, Timeline};

impl LedgerState {
    /// Checks that an entry of `incarnation` may come next in `timeline` under `name`.
    pub(in crate::ledger) fn check_place(
        &self,
        timeline: Timeline,
        incarnation: Incarnation,
        number: SegmentNumber,
        name: &MountName,
    ) -> Result<(), String> {
        self.check_name(name)?;
        if name.is_gap() {
            return Err(format!("is named {name}, which is a gap's name"));
        }
        match self.incarnations.get(&incarnation) {
            Some(known) if known.timeline != timeline => {
                return Err(format!(
                    "moves incarnation {incarnation} to timeline {timeline}"
                ));
            }
            Some(known) if known.fenced => {
                return Err(format!(
                    "goes on with incarnation {incarnation} behind the fence that ended it"
                ));
            }
            Some(known) => {
                let lost_since = self.lost.saturating_sub(known.lost_before);
                let ahead = number.0.checked_sub(known.last_number.0 + 1);
                if ahead.is_none_or(|n| n > u64::from(lost_since)) {
                    return Err(format!(
                        "has number {number} after number {} of incarnation {incarnation}",
                        known.last_number
                    ));
                }
            }
            None => {
                let newest = self.incarnations.keys().next_back().map_or(0, |id| id.0);
                if self.skips(incarnation.0, newest, self.incarnations.len()) {
                    return Err(format!(
                        "begins incarnation {incarnation}, and the last is {newest}"
                    ));
                }
            }
        }
        match self.timelines.get(&timeline) {
            Some(known) if *name <= known.last_mount_name => Err(format!(
                "is named {name}, which does not sort after {}",
                known.last_mount_name
            )),
            Some(_) => Ok(()),
            None => {
                let newest = self.timelines.keys().next_back().map_or(0, |id| id.0);
                if self.skips(timeline.0, newest, self.timelines.len()) {
                    return Err(format!(
                        "begins timeline {timeline}, and the last is {newest}"
                    ));
                }
                Ok(())
            }
        }
    }

    /// Whether the new id `id` would leave more ids without a first record than records were lost.
    pub(in crate::ledger) fn skips(&self, id: u32, newest: u32, known: usize) -> bool {
        let unknown = u64::from(id.max(newest)).saturating_sub(known as u64 + 1);
        unknown > u64::from(self.lost)
    }

    /// Checks that `name` sorts as every mount name must: the stream's basename, then dots and digits only, because
    /// locales disagree on how other characters sort.
    pub(in crate::ledger) fn check_name(&self, name: &MountName) -> Result<(), String> {
        let digits = name.as_str().strip_prefix(self.basename.as_str());
        let plain = digits.is_some_and(|rest| {
            rest.starts_with('.') && rest.bytes().all(|b| b == b'.' || b.is_ascii_digit())
        });
        if plain {
            Ok(())
        } else {
            Err(format!(
                "is named {name:?}, which is not {:?} with numbers after it",
                self.basename
            ))
        }
    }
}
