//! What GTIDs tell of a plan.

use super::begin::no_gtids;
use super::plan::{Begin, Place, Question};
use super::planner::{Ground, PlanError, Planner};
use super::refusal::{Reachable, Refusal, RefusalKind};
use super::stop::Ending;
use super::target::Start;
use crate::binlog::Flavour;
use crate::ledger::Entry;
use crate::locate;
use crate::model::{Gtid, GtidSet, GtidSource, MountName, Seq};

/// The sets of a plan.
pub(super) struct Known {
    /// What the base has.
    pub(super) has: GtidSet,
    /// What the replay adds.
    pub(super) adds: GtidSet,
    /// What the timeline had executed at the stop.
    pub(super) executed: GtidSet,
    /// What a server has can be told by its GTIDs.
    pub(super) by_gtid: bool,
    /// The first file of the replay with transactions that have none.
    without_gtids: Option<MountName>,
}

impl Ground {
    /// What a base has that says it has `set`. MariaDB's says only the last of each domain: all before it are had, whichever
    /// server wrote them.
    pub(super) fn base(&self, set: &GtidSet) -> GtidSet {
        if self.flavour == Flavour::MySql {
            return set.clone();
        }
        let mut all = set.clone().into_position_form();
        let last_of = |domain: u32| {
            let same = set.iter().filter(|(source, _)| {
                matches!(source, GtidSource::MariaDb { domain: of, .. } if *of == domain)
            });
            same.filter_map(|(_, intervals)| intervals.last()).max()
        };
        for (source, intervals) in self.executed.iter() {
            if let GtidSource::MariaDb { domain, .. } = source
                && let Some(last) = last_of(*domain).min(intervals.last())
            {
                all.insert_run(source.clone(), 1, last);
            }
        }
        all
    }
}

impl Known {
    pub(super) async fn gather(
        planner: &Planner,
        ground: &Ground,
        question: &Question,
        begin: &Begin,
        ending: &Ending,
    ) -> Result<Known, PlanError> {
        let at_stop = planner.entry(ending.stop.place.seq).await?;
        let at_begin = planner.entry(begin.place.seq).await?;
        let executed = planner.executed_at(&at_stop, &ending.stop.place).await?;
        let has = match &question.start {
            Start::Beginning => at_begin.previous_gtids.clone().unwrap_or_default(),
            Start::Gtids(set) => ground.base(set),
            Start::Position(_) => planner.executed_at(&at_begin, &begin.place).await?,
        };
        let is_mysql = ground.flavour == Flavour::MySql;
        let without_gtids = match is_mysql {
            true => planner.without_gtids(&at_begin, &at_stop).await?,
            false => None,
        };
        Ok(Known {
            adds: executed.minus(&has).minus(&question.skip),
            by_gtid: is_mysql && without_gtids.is_none() && !executed.is_empty(),
            has,
            executed,
            without_gtids,
        })
    }

    /// Refuses a base that has more than the target, and what cannot be skipped.
    pub(super) async fn check(
        &self,
        planner: &Planner,
        ground: &Ground,
        question: &Question,
        ending: &Ending,
    ) -> Result<(), PlanError> {
        let beyond = self.has.minus(&self.executed);
        if !beyond.is_empty() {
            return Err(too_new(planner, ground, &beyond).await?);
        }
        let by_set = matches!(&question.start, Start::Gtids(set) if !set.is_empty());
        if by_set && !self.by_gtid && ground.flavour == Flavour::MySql {
            let file = self.without_gtids.as_ref();
            return Err(no_gtids(file.unwrap_or(&ending.stop.place.file)));
        }
        self.check_skip(ground, &question.skip)
    }

    fn check_skip(&self, ground: &Ground, skip: &GtidSet) -> Result<(), PlanError> {
        if skip.is_empty() {
            return Ok(());
        }
        let elsewhere = skip.minus(&self.executed.minus(&self.has));
        let reason = if ground.flavour == Flavour::MariaDb {
            "MariaDB's client cannot leave a transaction out".to_owned()
        } else if !elsewhere.is_empty() {
            format!(
                "{elsewhere} cannot be left out: it is not among the transactions that would be replayed"
            )
        } else {
            return Ok(());
        };
        let mut refusal = Refusal::new(RefusalKind::Skip, reason);
        refusal.instead.push(
            "recover to right before it (--before-gtid), and then from right behind it (--from-position)"
                .to_owned(),
        );
        if skip.intersects(&self.has) {
            refusal.instead.push(
                "what the server has already it has as an empty transaction if an earlier run has left it out: then this one needs no \
                 --skip-gtid. Else take an older base"
                    .to_owned(),
            );
        }
        Err(refusal.into())
    }
}

/// Whether all transactions of an entry have GTIDs.
fn has_gtids(entry: &Entry) -> bool {
    let segment = entry.segment.as_deref();
    entry.previous_gtids.is_some()
        && segment.is_some_and(|segment| segment.transactions == segment.gtids.count())
}

/// The base has `beyond`, which was committed after the target.
async fn too_new(
    planner: &Planner,
    ground: &Ground,
    beyond: &GtidSet,
) -> Result<PlanError, PlanError> {
    let reason = format!(
        "the base has {beyond}, which was committed after the target: a replay cannot take it back"
    );
    let mut refusal = Refusal::new(RefusalKind::BaseTooNew, reason);
    let mut last: Option<(Seq, Reachable)> = None;
    for (source, intervals) in beyond.iter() {
        let Some(number) = intervals.last() else {
            continue;
        };
        let gtid = Gtid {
            source: source.clone(),
            number,
        };
        let target = locate::Target::Gtid(gtid);
        let Ok(located) = planner.locator.find(ground.timeline, &target).await else {
            continue;
        };
        let Some(found) = located.transaction else {
            continue;
        };
        let boundary = located.boundary;
        let at = (boundary.seq, found.end);
        if last
            .as_ref()
            .is_none_or(|(seq, point)| (*seq, point.position) < at)
        {
            let point = Reachable {
                file: boundary.mount_name,
                position: found.end,
                time: boundary.latest.max(Some(found.commit_time)),
                gtid: found.gtid,
            };
            last = Some((boundary.seq, point));
        }
    }
    refusal.after = last.map(|(_, point)| point);
    let sentence = "take a base that is older than the target".to_owned();
    refusal.instead.push(sentence);
    Ok(refusal.advised().into())
}

impl Planner {
    /// The first of the files from one to another, both included, with transactions that have no GTID. A server may have been told to write
    /// such in between (`gtid_mode`).
    async fn without_gtids(
        &self,
        first: &Entry,
        last: &Entry,
    ) -> Result<Option<MountName>, PlanError> {
        if let Some(entry) = [first, last].into_iter().find(|entry| !has_gtids(entry)) {
            return Ok(Some(entry.mount_name.clone()));
        }
        let (timeline, range) = (last.timeline, (first.seq, last.seq));
        self.ask(move |index| index.without_gtids(timeline, range))
            .await
    }

    /// What the timeline had executed at a place of an entry, as far as its files tell.
    pub(super) async fn executed_at(
        &self,
        entry: &Entry,
        place: &Place,
    ) -> Result<GtidSet, PlanError> {
        let mut executed = self.told_by_its_server(entry, place).await?;
        executed.union_with(&self.executed_before_it_joined(entry).await?);
        Ok(executed.into_position_form())
    }

    /// The last file in which the replay up to `stop` may begin that brings a base with `base` all it lacks.
    ///
    /// A server that took over may say again less than those before it had executed, as long as what it replicated last is not archived.
    /// What the base lacks of the rest stands in their files alone, and the replay must not begin behind these.
    pub(super) async fn last_to_begin_in(
        &self,
        ground: &Ground,
        base: &GtidSet,
        stop: &Place,
    ) -> Result<MountName, PlanError> {
        let mut last = stop.file.clone();
        // MariaDB's sets are positions: they do not tell what a file says again.
        if ground.flavour == Flavour::MariaDb {
            return Ok(last);
        }
        let mut entry = self.entry(stop.seq).await?;
        let mut earlier = self.last_before_it_joined(&entry).await?;
        if earlier.is_none() {
            return Ok(last);
        }
        let mut told = self.told_by_its_server(&entry, stop).await?;
        told.union_with(base);
        while let Some(before) = earlier {
            let executed = self.executed_before_it_joined(&entry).await?;
            if executed.is_subset(&told) {
                break;
            }
            told.union_with(&self.executed_through(&before).await?);
            last = before.mount_name.clone();
            earlier = self.last_before_it_joined(&before).await?;
            entry = before;
        }
        Ok(last)
    }

    /// What the server of an entry had executed at a place of it, by its own files.
    async fn told_by_its_server(&self, entry: &Entry, place: &Place) -> Result<GtidSet, PlanError> {
        let mut executed = entry.previous_gtids.clone().unwrap_or_default();
        if let Some(segment) = &entry.segment {
            let here = self
                .locator
                .executed_in_file(place.seq, place.position, &segment.gtids)
                .await?;
            executed.union_with(&here);
        }
        Ok(executed)
    }

    /// What the servers executed that the server of an entry took over from. It has all of that, but its first files may say some of it
    /// again, and know less than what stands before them.
    async fn executed_before_it_joined(&self, entry: &Entry) -> Result<GtidSet, PlanError> {
        let mut executed = GtidSet::new();
        let mut earlier = self.last_before_it_joined(entry).await?;
        while let Some(last) = earlier {
            executed.union_with(&self.executed_through(&last).await?);
            earlier = self.last_before_it_joined(&last).await?;
        }
        Ok(executed)
    }

    /// The last entry of the server that the server of an entry took over from.
    async fn last_before_it_joined(&self, entry: &Entry) -> Result<Option<Entry>, PlanError> {
        let Some(border) = entry.mount_name.before_incarnation(entry.incarnation) else {
            return Ok(None);
        };
        let timeline = entry.timeline;
        self.ask(move |index| match index.neighbours(timeline, &border)?.0 {
            Some(row) => index.entry_by_seq(row.seq),
            None => Ok(None),
        })
        .await
    }

    /// What the server of its last entry had executed at the end of that, as far as its files tell. A hole or a gap there tells of none of
    /// those before it.
    async fn executed_through(&self, last: &Entry) -> Result<GtidSet, PlanError> {
        let mut executed = told_through(last);
        if last.segment.is_none() {
            let before = self.last_with_transactions(last.timeline, &last.mount_name);
            if let Some(before) = before.await? {
                executed.union_with(&told_through(&before));
            }
        }
        Ok(executed)
    }
}

/// What an entry's server had executed at its end, as far as the entry tells.
fn told_through(entry: &Entry) -> GtidSet {
    let mut executed = entry.previous_gtids.clone().unwrap_or_default();
    if let Some(gtids) = entry.gtids() {
        executed.union_with(gtids);
    }
    executed
}
