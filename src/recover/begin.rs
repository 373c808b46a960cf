//! Where a replay begins.

use super::coverage;
use super::plan::{Begin, Place};
use super::planner::{Ground, PlanError, Planner};
use super::refusal::{Refusal, RefusalKind};
use super::target::Start;
use crate::binlog::Flavour;
use crate::ledger::Entry;
use crate::locate::Located;
use crate::model::{GtidSet, MountName, Timeline};

/// Where a replay to a server that has `start` begins, which ends at `stop`.
pub(super) async fn find(
    planner: &Planner,
    ground: &Ground,
    start: &Start,
    stop: &Place,
) -> Result<Begin, PlanError> {
    match start {
        Start::Beginning => {
            let first = first_entry(planner, ground).await?;
            let located = planner.locator.at(first.seq, 0).await?;
            planner.begin(located).await
        }
        Start::Gtids(set) if set.is_empty() => {
            let first = first_entry(planner, ground).await?;
            if let Some(missing) = first.previous_gtids.as_ref().filter(|p| !p.is_empty()) {
                return Err(too_old(planner, ground, &first.mount_name, missing).await?);
            }
            let located = planner.locator.at(first.seq, 0).await?;
            planner.begin(located).await
        }
        Start::Gtids(set) => by_gtids(planner, ground, &ground.base(set), stop).await,
        Start::Position(position) => {
            let located = planner.exact(ground, position).await?;
            planner.begin(located).await
        }
    }
}

async fn first_entry(planner: &Planner, ground: &Ground) -> Result<Entry, PlanError> {
    let timeline = ground.timeline;
    let first = planner
        .ask(move |index| Ok(index.entries(timeline, None, 1)?.pop()))
        .await?;
    let Some(first) = first else {
        let pruned = planner.ask(move |index| index.pruned(timeline)).await?;
        let reason = match pruned {
            Some(prune) => format!("what timeline {timeline} held was {prune}"),
            None => format!("timeline {timeline} has no file any more"),
        };
        return Err(Refusal::new(RefusalKind::TooEarly, reason).into());
    };
    if first.segment.is_none() {
        let name = &first.mount_name;
        let reason = format!(
            "the history begins with {name}, which cannot be read: {}",
            first.reason
        );
        let mut refusal = Refusal::new(RefusalKind::Missing, reason);
        refusal.after = planner.reach(ground).first_after(name).await?;
        return Err(refusal.advised().into());
    }
    Ok(first)
}

async fn by_gtids(
    planner: &Planner,
    ground: &Ground,
    set: &GtidSet,
    stop: &Place,
) -> Result<Begin, PlanError> {
    check_known(ground, set)?;
    let last = planner.last_to_begin_in(ground, set, stop).await?;
    let (timeline, base) = (ground.timeline, set.clone());
    let name = planner
        .ask(move |index| {
            let is_had = |previous: &GtidSet| previous.is_subset(&base);
            coverage::last_of_servers(index, timeline, last, is_had)
        })
        .await?;
    let Some(name) = name else {
        let first = first_entry(planner, ground).await?;
        return Err(match &first.previous_gtids {
            Some(previous) => {
                too_old(planner, ground, &first.mount_name, &previous.minus(set)).await?
            }
            None => no_gtids(&first.mount_name),
        });
    };
    let entry = planner.entry_named(ground, &name).await?;
    let Some(segment) = &entry.segment else {
        return Err(no_gtids(&name));
    };
    if segment.transactions > segment.gtids.count() {
        return Err(no_gtids(&name));
    }
    let gtids = entry.gtids().unwrap_or(&segment.gtids);
    // A base that has a transaction of this file has all that stands before it. One that has none may end in the middle of what has no GTIDs.
    if ground.flavour == Flavour::MySql
        && !gtids.intersects(set)
        && let Some(before) = planner.last_with_transactions(timeline, &name).await?
        && before.transactions() > before.gtids().map_or(0, GtidSet::count)
    {
        return Err(no_gtids(&before.mount_name));
    }
    let needed = gtids.minus(set);
    let located = match needed.is_empty() {
        true => None,
        false => planner.locator.first_of(entry.seq, needed).await?,
    };
    let located = match located {
        Some(located) => located,
        // The base has all of it: what it lacks begins with the next file, if there is one.
        None => planner.locator.at(entry.seq, entry.end()).await?,
    };
    planner.begin(located).await
}

/// The base may hold nothing that the timeline never had.
fn check_known(ground: &Ground, set: &GtidSet) -> Result<(), PlanError> {
    let foreign = set.minus(&ground.executed);
    if foreign.is_empty() {
        return Ok(());
    }
    let later = foreign.iter().all(|(source, intervals)| {
        let known = ground.executed.iter().find(|(known, _)| *known == source);
        let last = known.and_then(|(_, known)| known.last());
        last.zip(intervals.runs().first())
            .is_some_and(|(last, (first, _))| *first > last)
    });
    let other = ground
        .others
        .iter()
        .find(|(_, set)| set.intersects(&foreign));
    let timeline = ground.timeline;
    let (kind, reason, instead) = match (other, later) {
        (Some((other, _)), _) => (
            RefusalKind::BaseForeign,
            format!(
                "the base has {foreign}, which is not in timeline {timeline} but in timeline {other}"
            ),
            format!("recover along that timeline (--timeline {other}), or take a base of this one"),
        ),
        (None, true) => (
            RefusalKind::BaseTooNew,
            format!("the base has {foreign}, which is not archived yet"),
            "take an older base, or archive first what it has".to_owned(),
        ),
        (None, false) => (
            RefusalKind::BaseForeign,
            format!(
                "the base has {foreign}, which timeline {timeline} never had: it is of another cluster, or was written to by itself"
            ),
            "take a base of this cluster".to_owned(),
        ),
    };
    let mut refusal = Refusal::new(kind, reason);
    refusal.instead.push(instead);
    Err(refusal.into())
}

/// The history begins after what the base needs.
async fn too_old(
    planner: &Planner,
    ground: &Ground,
    first: &MountName,
    missing: &GtidSet,
) -> Result<PlanError, PlanError> {
    let timeline = ground.timeline;
    let mut reason = format!(
        "the history begins with {first}, and {missing}, executed before that, is not in the base"
    );
    let pruned = planner.ask(move |index| index.pruned(timeline)).await?;
    if let Some(prune) = pruned {
        reason += &format!("; what was before {first} was {prune}");
    }
    let mut refusal = Refusal::new(RefusalKind::BaseTooOld, reason);
    let extent = planner.ask(move |index| index.extent(timeline)).await?;
    if let Some(row) = extent.0 {
        refusal.after = planner.reach(ground).first_of(row.seq).await?;
    }
    let sentence = "take a newer base: one that has what was executed before the history begins";
    refusal.instead.push(sentence.to_owned());
    Ok(refusal.into())
}

/// GTIDs do not tell what a base has.
pub(super) fn no_gtids(name: &MountName) -> PlanError {
    let reason = format!(
        "{name} has transactions without a GTID, so that no set of GTIDs tells which of them the base has"
    );
    let mut refusal = Refusal::new(RefusalKind::NoGtids, reason);
    let sentence = "say where the base ends: --from-position FILE:POS";
    refusal.instead.push(sentence.to_owned());
    refusal.into()
}

impl Planner {
    pub(super) async fn begin(&self, located: Located) -> Result<Begin, PlanError> {
        let boundary = located.boundary;
        Ok(Begin {
            at_first: boundary.latest.is_none(),
            place: self
                .place(boundary.seq, boundary.mount_name, boundary.position)
                .await?,
            first: located.transaction,
        })
    }

    /// The last entry before a name that has transactions.
    pub(super) async fn last_with_transactions(
        &self,
        timeline: Timeline,
        name: &MountName,
    ) -> Result<Option<Entry>, PlanError> {
        let name = name.clone();
        self.ask(
            move |index| match index.with_transactions_around(timeline, &name)?.0 {
                Some(row) => index.entry_by_seq(row.seq),
                None => Ok(None),
            },
        )
        .await
    }

    /// The entry of a name.
    pub(super) async fn entry_named(
        &self,
        ground: &Ground,
        name: &MountName,
    ) -> Result<Entry, PlanError> {
        let (timeline, wanted) = (ground.timeline, name.clone());
        let entry = self
            .ask(move |index| index.entry(timeline, &wanted))
            .await?;
        let gone = || crate::locate::LocateError::Internal(format!("no entry {name}"));
        Ok(entry.ok_or_else(gone)?)
    }
}
