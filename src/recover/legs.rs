//! A plan in parts, around what it leaves out: for whoever cannot filter by GTID.

use super::plan::{Place, Plan};
use super::planner::{PlanError, Planner};
use crate::locate::LocateError;
use crate::model::{Gtid, GtidSet, MountName};

/// A stretch of a plan of which everything is replayed: `.range/<from>/<to>/` of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The first byte of it.
    pub from: (MountName, u64),
    /// The first byte behind it.
    pub to: (MountName, u64),
}

impl Leg {
    /// The path of its directory below a mount's root, or below `.timeline/<n>/`.
    pub fn directory(&self) -> String {
        format!(
            ".range/{}:{}/{}:{}",
            self.from.0, self.from.1, self.to.0, self.to.1
        )
    }
}

/// Where a transaction that is left out stands.
struct Cut {
    /// The place of its file among the plan's.
    piece: usize,
    file: MountName,
    start: u64,
    end: u64,
}

impl Planner {
    /// The legs of a plan that this planner made, in replay order: without what is to be skipped.
    ///
    /// # Errors
    /// [`PlanError::Failed`].
    pub async fn legs(&self, plan: &Plan) -> Result<Vec<Leg>, PlanError> {
        let mut cuts = Vec::new();
        let skipped: Vec<Gtid> = plan.question.skip.minus(&plan.has).each().collect();
        for gtid in &skipped {
            cuts.extend(self.cuts(plan, gtid).await?);
        }
        cuts.sort_by_key(|cut| (cut.piece, cut.start));
        let at = |place: &Place| (place.file.clone(), place.position);
        let mut legs = Vec::new();
        let mut from = at(&plan.begin.place);
        for cut in cuts {
            let to = (cut.file.clone(), cut.start);
            if from != to {
                legs.push(Leg { from, to });
            }
            from = (cut.file, cut.end);
        }
        let to = at(&plan.stop.place);
        if from != to {
            legs.push(Leg { from, to });
        }
        Ok(legs)
    }

    /// Where a transaction stands in a plan. A server that took over may say again what others have said before.
    async fn cuts(&self, plan: &Plan, gtid: &Gtid) -> Result<Vec<Cut>, PlanError> {
        let wanted = gtid.clone();
        let holding = self.ask(move |index| index.holding(&wanted)).await?;
        let mut alone = GtidSet::new();
        alone.insert(gtid);
        let mut cuts = Vec::new();
        for entry in holding {
            let mut pieces = plan.segments.iter().enumerate();
            let Some((place, piece)) = pieces.find(|(_, piece)| piece.seq == entry.seq) else {
                continue;
            };
            let located = self.locator.first_of(entry.seq, alone.clone()).await?;
            let found = located.and_then(|located| located.transaction);
            if let Some(found) = found.filter(|found| piece.range.contains(&found.start)) {
                cuts.push(Cut {
                    piece: place,
                    file: entry.mount_name,
                    start: found.start,
                    end: found.end,
                });
            }
        }
        match cuts.is_empty() {
            true => {
                let reason = format!("{gtid} was planned and is not found");
                Err(LocateError::Internal(reason).into())
            }
            false => Ok(cuts),
        }
    }
}
