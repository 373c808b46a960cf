//! Where a replay ends.

use super::coverage;
use super::plan::{Place, Stop};
use super::planner::{Ground, PlanError, Planner};
use super::refusal::{Refusal, RefusalKind};
use super::target::Target;
use crate::ledger::EntryState;
use crate::locate::{self, FilePosition, Found, LocateError, Located};
use crate::model::{Gtid, GtidSet, Micros, MountName, Seq};

/// Files without transactions that are passed to tell what is left out first.
const EMPTY_FILES_MAX: usize = 64;

/// A stop, and where the first transaction behind it begins.
pub(super) struct Ending {
    pub(super) stop: Stop,
    pub(super) next_at: Option<(Seq, u64)>,
}

/// Where the replay to `target` ends.
pub(super) async fn find(
    planner: &Planner,
    ground: &Ground,
    target: &Target,
) -> Result<Ending, PlanError> {
    let located = match target {
        Target::Time(time) => planner.find(ground, &locate::Target::Time(*time)).await?,
        Target::Before(gtid) => planner.gtid(ground, gtid).await?,
        Target::After(gtid) => behind(planner, planner.gtid(ground, gtid).await?).await?,
        Target::Position(position) => planner.exact(ground, position).await?,
        Target::End => end(planner, ground).await?,
    };
    ending(planner, ground, located).await
}

/// The other ends of a replay whose last transaction is named, in replay order: each server that took over may say it again.
pub(super) async fn again(
    planner: &Planner,
    ground: &Ground,
    target: &Target,
) -> Result<Vec<Ending>, PlanError> {
    let mut endings = Vec::new();
    // What is to be left out stands before any place where it is said again.
    let Target::After(gtid) = target else {
        return Ok(endings);
    };
    let wanted = gtid.clone();
    let mut holding = planner.ask(move |index| index.holding(&wanted)).await?;
    holding.retain(|entry| entry.timeline == ground.timeline);
    let mut alone = GtidSet::new();
    alone.insert(gtid);
    for entry in holding.iter().skip(1) {
        let located = planner.locator.first_of(entry.seq, alone.clone()).await?;
        if let Some(located) = located {
            let located = behind(planner, located).await?;
            endings.push(ending(planner, ground, located).await?);
        }
    }
    Ok(endings)
}

/// The boundary behind the transaction that was found.
async fn behind(planner: &Planner, located: Located) -> Result<Located, PlanError> {
    let found = located
        .transaction
        .ok_or_else(|| LocateError::Internal("a GTID without its transaction".to_owned()))?;
    let seq = located.boundary.seq;
    let next = planner.locator.at(seq, found.end).await?;
    let mut boundary = located.boundary;
    boundary.position = found.end;
    boundary.latest = boundary.latest.max(Some(found.commit_time));
    Ok(Located {
        boundary,
        transaction: next.transaction,
        previous: Some(found),
    })
}

async fn end(planner: &Planner, ground: &Ground) -> Result<Located, PlanError> {
    let timeline = ground.timeline;
    let last = planner
        .ask(move |index| Ok(index.extent(timeline)?.1))
        .await?;
    let located = match last {
        Some(row) => planner.locator.last_in(row.seq).await?,
        None => None,
    };
    let nothing = || {
        let reason = format!("no transaction of timeline {timeline} is archived");
        Refusal::new(RefusalKind::TooLate, reason)
    };
    Ok(located.ok_or_else(nothing)?)
}

async fn ending(planner: &Planner, ground: &Ground, located: Located) -> Result<Ending, PlanError> {
    let boundary = located.boundary;
    let next = match located.transaction {
        Some(next) => Some((boundary.seq, next)),
        None => next_file(planner, ground, &boundary.mount_name).await?,
    };
    let last = match (located.previous, boundary.latest) {
        (Some(last), _) => Some(last),
        (None, None) => None,
        (None, Some(_)) => {
            let byte = boundary.position.saturating_sub(1);
            let last = planner.locator.at(boundary.seq, byte).await?.transaction;
            last.filter(|last| last.end <= boundary.position)
        }
    };
    let next_at = next.as_ref().map(|(seq, next)| (*seq, next.start));
    let stop = Stop {
        place: planner
            .place(boundary.seq, boundary.mount_name, boundary.position)
            .await?,
        last,
        latest: boundary.latest,
        next: next.map(|(_, next)| next),
    };
    Ok(Ending { stop, next_at })
}

/// The first transaction behind a file, if what stands in between is whole.
async fn next_file(
    planner: &Planner,
    ground: &Ground,
    name: &MountName,
) -> Result<Option<(Seq, Found)>, PlanError> {
    let (timeline, name) = (ground.timeline, name.clone());
    let rows = planner
        .ask(move |index| index.following(timeline, &name, EMPTY_FILES_MAX))
        .await?;
    let tells = |row: &&crate::index::EntryRow| {
        row.latest_commit.is_some() || row.state != EntryState::Archived
    };
    match rows.iter().skip(1).find(tells) {
        Some(row) if row.latest_commit.is_some() => {
            let first = planner.locator.at(row.seq, 0).await?;
            Ok(first.transaction.map(|found| (row.seq, found)))
        }
        _ => Ok(None),
    }
}

impl Planner {
    /// A place, with the server's own name of the file.
    pub(super) async fn place(
        &self,
        seq: Seq,
        file: MountName,
        position: u64,
    ) -> Result<Place, PlanError> {
        let server_file = self.segment(seq).await?.file.clone();
        Ok(Place {
            seq,
            file,
            server_file,
            position,
        })
    }

    /// Finds a moment, and tells of one that is refused what can be had instead.
    async fn find(&self, ground: &Ground, target: &locate::Target) -> Result<Located, PlanError> {
        let refused = match self.locator.find(ground.timeline, target).await {
            Err(LocateError::Refused(refused)) => refused,
            other => return Ok(other?),
        };
        let reach = self.reach(ground);
        let mut refusal = Refusal::of(&refused, target);
        refusal.before = match (refused.last_before, refused.kind) {
            (Some(time), _) => reach.at(time).await?,
            (None, locate::RefusalKind::Unknown) => reach.end().await?,
            (None, _) => None,
        };
        refusal.after = match (refused.kind, refused.first_after, target) {
            (locate::RefusalKind::Missing, _, locate::Target::Time(time)) => {
                let (timeline, time) = (ground.timeline, *time);
                let moment = self.ask(move |index| index.moment(timeline, time)).await?;
                match moment.after {
                    Some(row) => reach.first_of(row.seq).await?,
                    None => None,
                }
            }
            (_, Some(time), _) => reach.at(time).await?,
            (_, None, _) => None,
        };
        Err(refusal.advised().into())
    }

    /// Finds a transaction.
    async fn gtid(&self, ground: &Ground, gtid: &Gtid) -> Result<Located, PlanError> {
        let target = locate::Target::Gtid(gtid.clone());
        let refused = match self.locator.find(ground.timeline, &target).await {
            Err(LocateError::Refused(refused)) => refused,
            other => return Ok(other?),
        };
        let mut refusal = Refusal::of(&refused, &target);
        let wanted = gtid.clone();
        let holding = self.ask(move |index| index.holding(&wanted)).await?;
        let timeline = ground.timeline;
        if let Some(other) = holding.iter().find(|entry| entry.timeline != timeline) {
            refusal.kind = RefusalKind::Timeline;
            let sentence = format!("it can be reached there: --timeline {}", other.timeline);
            refusal.instead.push(sentence);
            return Err(refusal.into());
        }
        let reach = self.reach(ground);
        match refused.kind {
            locate::RefusalKind::Missing => {
                let (timeline, wanted) = (ground.timeline, gtid.clone());
                let last = self
                    .ask(move |index| {
                        coverage::last(index, timeline, (None, None), |set| !set.contains(&wanted))
                    })
                    .await?;
                if let Some(name) = last {
                    let seq = self.entry_named(ground, &name).await?.seq;
                    let before = reach.last_in_or_before(seq, &name).await?;
                    refusal.before = before.map(|(_, end)| end);
                    refusal.after = reach.first_after(&name).await?;
                }
            }
            _ => refusal.before = reach.end().await?,
        }
        Err(refusal.advised().into())
    }

    /// The place that a position names, if it is one between two transactions.
    pub(super) async fn exact(
        &self,
        ground: &Ground,
        position: &FilePosition,
    ) -> Result<Located, PlanError> {
        let target = locate::Target::Position(position.clone());
        let located = self.find(ground, &target).await?;
        let holds = located.transaction.as_ref();
        let Some(holds) = holds.filter(|holds| holds.start < position.offset) else {
            return Ok(located);
        };
        let reason = format!(
            "{position} lies inside the transaction from {} to {}",
            holds.start, holds.end
        );
        let file = &located.boundary.mount_name;
        let mut refusal = Refusal::new(RefusalKind::Inside, reason);
        refusal.instead.push(format!(
            "right before it: --to-position {file}:{}",
            holds.start
        ));
        refusal.instead.push(format!(
            "right after it: --to-position {file}:{}",
            holds.end
        ));
        Err(refusal.into())
    }
}

impl Refusal {
    /// What the locator refused.
    fn of(refused: &locate::Refusal, target: &locate::Target) -> Refusal {
        let kind = match refused.kind {
            locate::RefusalKind::TooEarly => RefusalKind::TooEarly,
            locate::RefusalKind::TooLate => RefusalKind::TooLate,
            locate::RefusalKind::Missing => RefusalKind::Missing,
            locate::RefusalKind::Unknown => RefusalKind::Unknown,
            locate::RefusalKind::Inside => RefusalKind::Inside,
        };
        Refusal::new(kind, format!("{target}: {}", refused.reason))
    }

    /// With what can be done instead, as far as the points say it.
    pub(super) fn advised(mut self) -> Refusal {
        let time = |point: &Option<super::refusal::Reachable>| -> Option<Micros> {
            point.as_ref().and_then(|point| point.time)
        };
        if let Some(time) = time(&self.before) {
            self.instead
                .push(format!("recover up to there: --to {time}"));
        }
        match (self.kind, time(&self.after)) {
            (RefusalKind::Missing, Some(time)) => self.instead.push(format!(
                "or begin with a backup that was made at {time} or later"
            )),
            (RefusalKind::TooEarly | RefusalKind::BaseTooNew, Some(time)) => {
                self.instead
                    .push(format!("recover up to there: --to {time}"));
            }
            _ => {}
        }
        self
    }
}
