//! What a server has, beside what the plan says it should have.

use crate::model::GtidSet;
use crate::recover::Plan;

/// The difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What it should have, and has not.
    pub missing: GtidSet,
    /// What it has, and should not.
    pub extra: GtidSet,
}

impl Compared {
    /// There is none.
    pub fn is_same(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }
}

/// Compares `executed` with `plan`.
pub fn compare(plan: &Plan, executed: &GtidSet) -> Compared {
    let planned = plan.executed();
    Compared {
        missing: planned.minus(executed),
        extra: executed.minus(&planned),
    }
}
