//! The nearest points that can be reached.

use super::planner::{PlanError, Planner};
use super::refusal::Reachable;
use crate::locate::{LocateError, Located, Target};
use crate::model::{Micros, MountName, Seq, Timeline};

/// Looks for points of one timeline.
pub(super) struct Reach<'a> {
    pub(super) planner: &'a Planner,
    pub(super) timeline: Timeline,
}

impl Reach<'_> {
    /// What a moment means, if it can be reached.
    pub(super) async fn at(&self, time: Micros) -> Result<Option<Reachable>, PlanError> {
        let target = Target::Time(time);
        match self.planner.locator.find(self.timeline, &target).await {
            Ok(located) => Ok(Some(Reachable {
                time: Some(time),
                ..before(&located)
            })),
            Err(LocateError::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The end of the last transaction of an entry, and the moment to ask for.
    async fn end_of(&self, seq: Seq, time: Option<Micros>) -> Result<Option<Reachable>, PlanError> {
        let last = self.planner.locator.last_in(seq).await?;
        Ok(last.map(|last| Reachable {
            time: time.max(last.boundary.latest),
            ..before(&last)
        }))
    }

    /// The end of the first transaction of an entry.
    pub(super) async fn first_of(&self, seq: Seq) -> Result<Option<Reachable>, PlanError> {
        let first = self.planner.locator.at(seq, 0).await?;
        Ok(first.transaction.map(|found| Reachable {
            file: first.boundary.mount_name,
            position: found.end,
            time: Some(found.commit_time),
            gtid: found.gtid,
        }))
    }

    /// The end of all transactions before an entry.
    pub(super) async fn last_before(
        &self,
        name: &MountName,
    ) -> Result<Option<(Seq, Reachable)>, PlanError> {
        let (timeline, name) = (self.timeline, name.clone());
        let around =
            move |index: &crate::index::Index| index.with_transactions_around(timeline, &name);
        let Some(row) = self.planner.ask(around).await?.0 else {
            return Ok(None);
        };
        let end = self.end_of(row.seq, row.latest_through).await?;
        Ok(end.map(|end| (row.seq, end)))
    }

    /// The end of all transactions of an entry that is damaged, or of those before it.
    pub(super) async fn last_in_or_before(
        &self,
        seq: Seq,
        name: &MountName,
    ) -> Result<Option<(Seq, Reachable)>, PlanError> {
        let (timeline, same) = (self.timeline, name.clone());
        let found = self
            .planner
            .ask(move |index| Ok(index.following(timeline, &same, 1)?.pop()))
            .await?;
        let through = found.and_then(|row| row.latest_through);
        match self.end_of(seq, through).await? {
            Some(end) => Ok(Some((seq, end))),
            None => self.last_before(name).await,
        }
    }

    /// The first transaction behind an entry.
    pub(super) async fn first_after(
        &self,
        name: &MountName,
    ) -> Result<Option<Reachable>, PlanError> {
        let (timeline, name) = (self.timeline, name.clone());
        let around =
            move |index: &crate::index::Index| index.with_transactions_around(timeline, &name);
        match self.planner.ask(around).await?.1 {
            Some(row) => self.first_of(row.seq).await,
            None => Ok(None),
        }
    }

    /// The end of all that is archived.
    pub(super) async fn end(&self) -> Result<Option<Reachable>, PlanError> {
        let timeline = self.timeline;
        let last = self
            .planner
            .ask(move |index| Ok(index.extent(timeline)?.1))
            .await?;
        match last {
            Some(row) => self.end_of(row.seq, row.latest_through).await,
            None => Ok(None),
        }
    }
}

/// A boundary as a point.
fn before(located: &Located) -> Reachable {
    Reachable {
        file: located.boundary.mount_name.clone(),
        position: located.boundary.position,
        time: located.boundary.latest,
        gtid: located.previous.as_ref().and_then(|last| last.gtid.clone()),
    }
}
