//! The look at a stream: what each timeline has, what the backups need of it, and so what may go.

use super::{Pruner, Wanted};
use crate::backup::{self, Backup, Need, Registered};
use crate::index::{EntryRow, Index};
use crate::ledger::EntryState;
use crate::model::{Micros, MountName, Seq, Timeline};
use crate::retention::{self, Hold, Limit, Plan, Reason, Row, Rule};
use anyhow::Result;

/// Rows read from the index at a time.
const PAGE_ROWS: usize = 10_000;

/// Why nothing may be pruned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Without a backup all that is archived may be needed.
    #[error(
        "no registered backup can be recovered from on timeline {timeline}, which goes on: what is archived is all there is, and nothing \
         is pruned; register one ('binlogfs backup add'), or see what is wrong with those that are ('binlogfs backup check')"
    )]
    NoBackup {
        /// The timeline that goes on.
        timeline: Timeline,
    },
    /// Fewer than are to be kept.
    #[error(
        "of {wanted} backups that --keep-backups asks to keep, {there} can be recovered from; nothing is pruned before there are as many"
    )]
    TooFew {
        /// Asked for.
        wanted: u32,
        /// There are.
        there: u32,
    },
    /// Nothing is archived.
    #[error("nothing is archived in this stream yet")]
    Empty,
}

/// What may go of a timeline. It has none of the entries themselves, of which there may be a million.
#[derive(Clone, Debug)]
pub struct TimelinePlan {
    /// The timeline.
    pub timeline: Timeline,
    /// Its first visible entries, which may go.
    pub goes: Span,
    /// The others.
    pub stays: Span,
    /// Why no more may go, the strictest reason first.
    pub limits: Vec<Held>,
}

/// Neighbouring entries of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub entries: u64,
    /// The first one.
    pub first: Option<MountName>,
    /// The last one, and the record that introduced it.
    pub last: Option<(Seq, MountName)>,
    /// Bytes of their objects.
    pub stored_bytes: u64,
    /// The newest time in them.
    pub newest: Option<Micros>,
}

/// A reason why something stays.
#[derive(Clone, Debug)]
pub struct Held {
    /// The reason.
    pub reason: Reason,
    /// The first entry that it keeps; `None`: it keeps nothing.
    pub from: Option<MountName>,
}

impl TimelinePlan {
    /// `plan`, made of these entries.
    fn of(timeline: Timeline, rows: &[Row], plan: Plan) -> TimelinePlan {
        let (goes, stays) = rows.split_at(plan.end.min(rows.len()));
        let held = |limit: Limit| Held {
            from: rows.get(limit.end).map(|row| row.name.clone()),
            reason: limit.reason,
        };
        TimelinePlan {
            timeline,
            goes: Span::of(goes),
            stays: Span::of(stays),
            limits: plan.limits.into_iter().map(held).collect(),
        }
    }
}

impl Span {
    fn of(rows: &[Row]) -> Span {
        let sizes = rows.iter().map(|row| row.stored_bytes);
        Span {
            entries: rows.len() as u64,
            first: rows.first().map(|row| row.name.clone()),
            last: rows.last().map(|row| (row.seq, row.name.clone())),
            stored_bytes: sizes.fold(0, u64::saturating_add),
            newest: rows.iter().filter_map(|row| row.time).max(),
        }
    }
}

/// What a look at a stream found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Each timeline, oldest first.
    pub timelines: Vec<TimelinePlan>,
    /// Registered backups, and how many of them can be recovered from on the timeline that goes on.
    pub backups: (usize, usize),
}

/// What the registered backups need, of every timeline.
pub(super) struct Needs {
    holds: Vec<(Timeline, Hold)>,
    unreadable: Vec<Hold>,
    /// The first entries of those that are usable, by timeline.
    usable: Vec<(Timeline, MountName)>,
}

impl Needs {
    pub(super) fn of(
        index: &Index,
        flavour: crate::binlog::Flavour,
        registered: &Registered,
    ) -> Result<Needs> {
        let (mut holds, mut usable) = (Vec::new(), Vec::new());
        for Backup {
            id, coordinates, ..
        } in &registered.backups
        {
            for (timeline, need) in backup::needs(index, flavour, coordinates)? {
                let from = match need {
                    Need::Nothing => continue,
                    Need::From { name, usable: true } => {
                        usable.push((timeline, name.clone()));
                        Ok(name)
                    }
                    Need::From { name, .. } => Ok(name),
                    Need::Unknown(why) => Err(why),
                };
                let backup = id.to_string();
                holds.push((timeline, Hold { backup, from }));
            }
        }
        let unreadable = registered.unreadable.iter().map(|bad| Hold {
            backup: bad.id.to_string(),
            from: Err(format!("its record {}", bad.reason)),
        });
        Ok(Needs {
            holds,
            unreadable: unreadable.collect(),
            usable,
        })
    }

    /// Those that concern a timeline.
    pub(super) fn of_timeline(&self, timeline: Timeline) -> Vec<Hold> {
        let own = self.holds.iter().filter(|(of, _)| *of == timeline);
        let own = own.map(|(_, hold)| hold.clone());
        own.chain(self.unreadable.iter().cloned()).collect()
    }

    /// Where the replays begin that can be done on a timeline now, the newest backup first.
    fn usable_on(&self, timeline: Timeline) -> Vec<&MountName> {
        let on = self.usable.iter().filter(|(of, _)| *of == timeline);
        let mut names: Vec<_> = on.map(|(_, name)| name).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names
    }
}

impl Pruner {
    /// Looks at what is there now, as the index knows it.
    ///
    /// # Errors
    /// A [`Refusal`]; or when the index or the registry of backups cannot be read.
    pub async fn survey(&self, wanted: &Wanted) -> Result<Survey> {
        let file = self.stream.file();
        let registered = backup::backups(&self.store, file.stream_id).await?;
        let needs = Needs::of(&self.index, file.flavour, &registered)?;
        let state = self.index.state()?;
        let newest = state.as_ref().and_then(|state| state.newest_timeline());
        let (Some(state), Some((goes_on, _))) = (&state, newest) else {
            return Err(Refusal::Empty.into());
        };
        let usable = needs.usable_on(goes_on);
        if usable.is_empty() {
            return Err(Refusal::NoBackup { timeline: goes_on }.into());
        }
        let newest_segment = state.newest_segment();
        let mut timelines = Vec::new();
        for timeline in self.index.timeline_numbers()? {
            let rows = self.rows(timeline)?;
            let rule = match wanted {
                Wanted::Since(cut, _) => Rule::Since(*cut),
                Wanted::Backups(count) => {
                    self.rule(*count, &usable, timeline == goes_on, goes_on)?
                }
            };
            let has_newest = rows.iter().any(|row| Some(row.seq) == newest_segment);
            let holds = needs.of_timeline(timeline);
            let stays = timeline == goes_on || has_newest;
            let mut plan = retention::plan(&rows, &rule, &holds, stays);
            plan.end = self.nameable_end(&rows, plan.end)?;
            timelines.push(TimelinePlan::of(timeline, &rows, plan));
        }
        Ok(Survey {
            timelines,
            backups: (registered.backups.len(), usable.len()),
        })
    }

    /// Of the first `end` rows those up to the last one whose record can be read. A prune record names the last entry that it takes away,
    /// and a record that is lost may be read again one day, out of a copy: if it then says something of another timeline, or of no segment,
    /// the prune record breaks a rule, and nobody could follow the ledger past it.
    fn nameable_end(&self, rows: &[Row], end: usize) -> Result<usize> {
        for (at, row) in rows.iter().enumerate().take(end).rev() {
            if self.index.line(row.seq)?.is_some() {
                return Ok(at + 1);
            }
        }
        Ok(0)
    }

    /// The rule by which the newest `count` backups are kept: on the timeline that goes on from the entry that the oldest of them
    /// needs, on others from its time.
    fn rule(
        &self,
        count: u32,
        usable: &[&MountName],
        is_it: bool,
        goes_on: Timeline,
    ) -> Result<Rule, anyhow::Error> {
        let at = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let Some(name) = usable.get(at) else {
            let refusal = Refusal::TooFew {
                wanted: count,
                there: u32::try_from(usable.len()).unwrap_or(u32::MAX),
            };
            return Err(refusal.into());
        };
        if is_it {
            return Ok(Rule::From((*name).clone()));
        }
        let entry = self.index.following(goes_on, name, 1)?.pop();
        let begun = entry.and_then(|row| row.first_time);
        // Without a time nothing of the other timelines goes.
        Ok(Rule::Since(begun.unwrap_or(Micros(i64::MIN))))
    }

    /// The visible entries of a timeline, some 100 bytes each.
    fn rows(&self, timeline: Timeline) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.name.clone());
            let page = self.index.rows(timeline, after.as_ref(), PAGE_ROWS)?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page.iter().map(row));
        }
    }

    /// Calls `each` with those that were pruned, in replay order. Of an old stream they are most of all there ever were.
    pub(super) fn each_pruned(
        &self,
        timeline: Timeline,
        mut each: impl FnMut(&EntryRow),
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = self
                .index
                .pruned_rows(timeline, after.as_ref(), PAGE_ROWS)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.mount_name.clone());
            page.iter().for_each(&mut each);
        }
    }
}

fn row(row: &EntryRow) -> Row {
    Row {
        seq: row.seq,
        name: row.mount_name.clone(),
        is_segment: matches!(row.state, EntryState::Archived | EntryState::Damaged),
        has_transactions: row.latest_commit.is_some(),
        stored_bytes: row.stored_size,
        time: row.latest_commit.max(row.last_time).or(row.first_time),
    }
}
