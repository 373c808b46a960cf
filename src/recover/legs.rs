//! A plan in parts, around what it leaves out: for whoever cannot filter by GTID.

use super::plan::{Place, Plan};
use super::planner::{PlanError, Planner};
use crate::locate::{self, LocateError};
use crate::model::{Gtid, MountName};

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
        for (source, intervals) in plan.question.skip.minus(&plan.has).iter() {
            for &(first, last) in intervals.runs() {
                for number in first..=last {
                    let gtid = Gtid {
                        source: source.clone(),
                        number,
                    };
                    cuts.push(self.cut(plan, gtid).await?);
                }
            }
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

    async fn cut(&self, plan: &Plan, gtid: Gtid) -> Result<Cut, PlanError> {
        let gone =
            |gtid: &Gtid| LocateError::Internal(format!("{gtid} was planned and is not found"));
        let target = locate::Target::Gtid(gtid.clone());
        let located = self.locator.find(plan.question.timeline, &target).await?;
        let seq = located.boundary.seq;
        let piece = plan.segments.iter().position(|piece| piece.seq == seq);
        let (Some(piece), Some(found)) = (piece, located.transaction) else {
            return Err(gone(&gtid).into());
        };
        Ok(Cut {
            piece,
            file: located.boundary.mount_name,
            start: found.start,
            end: found.end,
        })
    }
}
