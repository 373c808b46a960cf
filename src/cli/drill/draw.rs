//! The moment that a drill recovers to where none is named.

use crate::model::{GtidSet, Micros, Timeline};
use crate::recover::{PlanError, Planner, Question, RefusalKind, Start, Target};

/// A moment of those that the backup can reach.
pub(super) async fn draw(
    planner: &Planner,
    timeline: Timeline,
    base: &GtidSet,
) -> Result<Target, PlanError> {
    let mut question = Question {
        timeline,
        start: Start::Gtids(base.clone()),
        target: Target::End,
        skip: GtidSet::new(),
    };
    let (plan, last) = match planner.plan(&question).await {
        Err(PlanError::Refused(refusal)) if refusal.kind == RefusalKind::Missing => {
            let reached = refusal.before.as_ref().and_then(|point| point.time);
            let Some(last) = reached else {
                return Err(PlanError::Refused(refusal));
            };
            eprintln!(
                "binlogfs: note: {}: a moment up to {last} is drawn",
                refusal.reason
            );
            question.target = Target::Time(last);
            (planner.plan(&question).await?, Some(last))
        }
        planned => {
            let plan = planned?;
            let last = plan.left_out.last_commit.or(plan.stop.latest);
            (plan, last)
        }
    };
    let first = plan.begin.first.as_ref().map(|found| found.commit_time);
    let (Some(Micros(first)), Some(Micros(last))) = (first, last) else {
        return Ok(question.target);
    };
    let width = u128::try_from(last.saturating_sub(first)).unwrap_or(0) + 1;
    // As random as the UUIDs of the standard are, and that is random enough.
    let drawn = uuid::Uuid::new_v4().as_u128() % width;
    Ok(Target::Time(Micros(
        first + i64::try_from(drawn).unwrap_or(0),
    )))
}
