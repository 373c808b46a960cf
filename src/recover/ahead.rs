//! What a plan will meet on its way, from records and segment indexes alone.

use super::plan::Plan;
use super::planner::{PlanError, Planner};
use crate::binlog::DdlStatement;
use crate::locate::FilePosition;
use crate::model::GtidSet;
use crate::segment::Identities;
use futures::{StreamExt as _, TryStreamExt as _};

/// Segment indexes that are fetched at once.
const TAILS_AT_ONCE: usize = 8;

/// The first schema change that a plan would replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstDdl {
    /// There is none.
    None,
    /// This one.
    At(FilePosition, Box<DdlStatement>),
    /// There may be one: this file has more than its index keeps.
    Unknown(String),
}

impl Planner {
    /// A file of a plan that none of `identities` opens, and the public keys that it is encrypted to.
    ///
    /// # Errors
    /// [`PlanError::Failed`].
    pub async fn without_key(
        &self,
        plan: &Plan,
        identities: &Identities,
    ) -> Result<Option<(String, Vec<String>)>, PlanError> {
        let own = identities.public_keys();
        for piece in plan.segments.iter() {
            let recipients = self.segment(piece.seq).await?.object.recipients.clone();
            if !recipients.is_empty() && !recipients.iter().any(|key| own.contains(key)) {
                return Ok(Some((piece.file.to_owned(), recipients)));
            }
        }
        Ok(None)
    }

    /// The first schema change that `plan` would replay to a server that has what it says.
    ///
    /// # Errors
    /// [`PlanError::Failed`].
    pub async fn first_ddl(&self, plan: &Plan) -> Result<FirstDdl, PlanError> {
        let mut passed = plan.has.clone();
        passed.union_with(&plan.question.skip);
        let mut tails = futures::stream::iter(plan.segments.iter())
            .map(|piece| async move {
                let segment = self.archived(piece.seq).await?;
                let index = self.reader.index(&segment).await?;
                Ok::<_, PlanError>((piece, index))
            })
            .buffered(TAILS_AT_ONCE);
        while let Some((piece, index)) = tails.try_next().await? {
            let new = |ddl: &&DdlStatement| {
                piece.range.contains(&ddl.position) && !is_passed(&passed, ddl)
            };
            if let Some(ddl) = index.ddl.iter().find(new) {
                let place = FilePosition {
                    file: piece.file.to_owned(),
                    offset: ddl.position,
                };
                return Ok(FirstDdl::At(place, Box::new(ddl.clone())));
            }
            if index.ddl_incomplete {
                return Ok(FirstDdl::Unknown(piece.file.to_owned()));
            }
        }
        Ok(FirstDdl::None)
    }
}

fn is_passed(passed: &GtidSet, ddl: &DdlStatement) -> bool {
    ddl.gtid.as_ref().is_some_and(|gtid| passed.contains(gtid))
}
