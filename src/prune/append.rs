//! Appends prune records.

use super::{Pruner, Recorded, Survey, Wanted};
use crate::index::Step;
use crate::ledger::LedgerState;
use crate::ledger::record::{Body, PruneRecord};
use crate::stream::{self, RacesLost};
use anyhow::{Result, bail};
use std::sync::Arc;

/// Lost races for a record after which something else is going on.
const RACES_MAX: u32 = 100;

impl Pruner {
    /// Follows the ledger and gives its state.
    ///
    /// # Errors
    /// When the ledger cannot be followed, went backwards, or ends in a damaged record.
    pub async fn state(&self) -> Result<Arc<LedgerState>> {
        Ok(self.stream.follow().await?.whole()?)
    }

    /// Makes the records that take away what may go now. What is looked at, and what of it goes, is decided anew whenever somebody
    /// else has written to the ledger. Returns the last look: what is there after them.
    ///
    /// # Errors
    /// As [`Pruner::survey`], and when the store fails. Records that were made stay, and are in `recorded`.
    pub async fn record(&self, wanted: &Wanted, recorded: &mut Vec<Recorded>) -> Result<Survey> {
        let mut races_lost = 0;
        while races_lost < RACES_MAX {
            let state = self.state().await?;
            if let Some(moved) = &state.moved {
                bail!(
                    "this stream has moved to {}: its ledger has ended, and no more of it can be pruned; prune there, or without a rule delete \
                     what was pruned here before",
                    moved.to
                );
            }
            let survey = self.survey(wanted).await?;
            let mut plans = survey.timelines.iter();
            let Some((timeline, (seq, name))) =
                plans.find_map(|plan| Some((plan, plan.goes.last.as_ref()?)))
            else {
                return Ok(survey);
            };
            let body = Body::Prune(PruneRecord {
                timeline: timeline.timeline,
                through: *seq,
                reason: wanted.to_string(),
                archived_at: self.now,
                archiver: self.archiver.clone(),
            });
            if self.append(&state, body).await? {
                recorded.push(Recorded {
                    seq: state.next_seq(),
                    timeline: timeline.timeline,
                    through: name.clone(),
                    entries: timeline.goes.entries,
                });
            } else {
                races_lost += 1;
            }
        }
        bail!(RacesLost(RACES_MAX))
    }

    /// Creates the next record with `body`. Returns whether it is ours.
    async fn append(&self, state: &LedgerState, body: Body) -> Result<bool> {
        let (line, _) = state.followed_by(body)?;
        let ours = stream::append(&self.store, &line).await?;
        if ours {
            self.index.apply(&[Step::Line(line)])?;
        }
        Ok(ours)
    }
}
