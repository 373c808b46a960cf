//! Fences: an operator's word that a timeline ends, and that what is behind belongs to no history that is replayed.
//!
//! A fence is planned against the ledger as it stands, and its record is created only if it is the next one: whoever lost the
//! race plans again, so that what is said to leave is what leaves.

mod kept;

use super::append;
use crate::cache::SegmentReader;
use crate::index::{Index, Step};
use crate::ledger::record::{Body, FenceRecord};
use crate::ledger::{Entry, EntryState, LedgerState};
use crate::locate::{LocateError, Located, Locator, Target};
use crate::model::{GtidSet, Micros, MountName, Seq, Timeline};
use crate::stream::{RacesLost, Stream, probe_condition};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::sync::Arc;

pub use kept::Kept;
use kept::kept;

/// Lost races for a record after which something else is going on.
const RACES_MAX: u32 = 100;
/// Entries fetched from the index at a time.
const PAGE_ENTRIES: usize = 10_000;

/// Where a timeline is to end.
#[derive(Clone, Debug, PartialEq)]
pub enum Edge {
    /// After all of it that is archived.
    End,
    /// Before the transaction that is meant.
    Before(Target),
}

/// Why there can be no such fence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What a fence does.
#[derive(Clone, Debug, PartialEq)]
pub struct FencePlan {
    /// The timeline that ends.
    pub timeline: Timeline,
    /// The last segment that belongs to it, by its record.
    pub segment: Seq,
    /// The same by name.
    pub mount_name: MountName,
    /// Where in that segment it ends, in bytes.
    pub position: u64,
    /// Where that segment's file ends.
    pub file_end: u64,
    /// What of the segment stays.
    pub kept: Kept,
    /// Segments that leave whole.
    pub segments: u64,
    /// Bytes that leave, those behind the position among them.
    pub bytes: u64,
    /// Transactions that leave.
    pub transactions: u64,
    /// GTIDs that leave: they are behind the fence, and not before it.
    pub lost: GtidSet,
    /// What stays: every GTID of the timeline that is archived, without those.
    pub stays: GtidSet,
}

/// A stream in which a fence is to be set.
pub struct Fencing<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// A reader of its segments.
    pub reader: Arc<SegmentReader>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who, for the record.
    pub archiver: String,
}

impl Fencing<'_> {
    fn index(&self) -> &Arc<Index> {
        self.stream.index()
    }

    /// What a fence at `edge` of `timeline` does, with the ledger as it is in the index.
    ///
    /// # Errors
    /// [`Refused`]; else when something cannot be read.
    pub async fn plan(&self, timeline: Timeline, edge: &Edge) -> Result<FencePlan> {
        let state = self.index().state()?.context("the index knows no stream")?;
        let (entry, position) = self.place(timeline, edge).await?;
        let kept = kept(&self.reader, &entry, position).await?;
        let behind = self.behind(timeline, &entry)?;
        self.check_new(&state, &entry, position, behind.is_empty())?;
        let mut lost = entry.gtids().map_or_else(GtidSet::new, Clone::clone);
        lost.union_with(&self.gtids_behind(&entry, &behind)?);
        let before = self.before(&state, &entry)?;
        let lost = lost.minus(&before).minus(&kept.gtids);
        self.check_branches(&state, timeline, &lost)?;
        let known = state.timeline(timeline).context("the timeline is known")?;
        let of_behind = |of: &dyn Fn(&Entry) -> u64| behind.iter().map(of).sum::<u64>();
        Ok(FencePlan {
            timeline,
            segment: entry.seq,
            position,
            file_end: entry.segment.as_ref().map_or(0, |segment| segment.size),
            segments: of_behind(&|entry| u64::from(entry.segment.is_some())),
            bytes: of_behind(&Entry::end) + (entry.end() - position),
            transactions: of_behind(&Entry::transactions)
                + entry.transactions().saturating_sub(kept.transactions),
            stays: known.archived.minus(&lost),
            mount_name: entry.mount_name,
            kept,
            lost,
        })
    }

    /// Plans, and creates the record; again if somebody else created one meanwhile. Gives the plan that was carried out.
    ///
    /// # Errors
    /// As [`Fencing::plan`], and when the record cannot be created.
    pub async fn execute(&self, timeline: Timeline, edge: &Edge) -> Result<(Seq, FencePlan)> {
        let store = self.stream.store();
        probe_condition(store, self.stream.file_bytes()).await?;
        for _ in 0..RACES_MAX {
            let state = append::followed(self.stream).await?;
            let plan = self.plan(timeline, edge).await?;
            if let Some((line, _)) = append::create(store, &state, self.body(&plan)).await? {
                let seq = line.seq();
                self.index().apply(&[Step::Line(line)])?;
                return Ok((seq, plan));
            }
        }
        bail!(RacesLost(RACES_MAX))
    }

    /// The entry and the byte that the timeline is to end at.
    async fn place(&self, timeline: Timeline, edge: &Edge) -> Result<(Entry, u64)> {
        let Edge::Before(target) = edge else {
            let last = self.index().last_segment(timeline)?;
            let entry = last.context("the timeline has no segment that can be read")?;
            let end = entry.end();
            return Ok((entry, end));
        };
        let locator = Locator::new(Arc::clone(self.index()), Arc::clone(&self.reader));
        let located = match locator.find(timeline, target).await {
            Ok(located) => located,
            Err(LocateError::Refused(refusal)) => {
                let refused = format!("{target} is no place to end timeline {timeline}: {refusal}");
                return Err(Refused(refused).into());
            }
            Err(error) => return Err(error.into()),
        };
        check_between(target, &located)?;
        let boundary = located.boundary;
        let entry = self.index().entry_by_seq(boundary.seq)?;
        let entry = entry.with_context(|| format!("the index has no entry {}", boundary.seq))?;
        let position = match located.transaction {
            Some(_) => boundary.position,
            // No transaction is behind it: the file stays whole.
            None => entry.end(),
        };
        Ok((entry, position))
    }

    /// The entries of a timeline after one.
    fn behind(&self, timeline: Timeline, entry: &Entry) -> Result<Vec<Entry>> {
        let (mut behind, mut after) = (Vec::new(), entry.mount_name.clone());
        loop {
            let page = self.index().entries(timeline, Some(&after), PAGE_ENTRIES)?;
            let Some(last) = page.last() else {
                return Ok(behind);
            };
            after = last.mount_name.clone();
            behind.extend(page);
        }
    }

    /// What was executed before an entry, or stands in the files before it: a server that joined may say again what others have said.
    fn before(&self, state: &LedgerState, entry: &Entry) -> Result<GtidSet> {
        let mut before = entry.previous_gtids.clone().unwrap_or_default();
        let known = state.timeline(entry.timeline);
        if known.is_some_and(|known| known.first_incarnation == entry.incarnation) {
            return Ok(before);
        }
        let mut after = None;
        loop {
            let page = self
                .index()
                .entries(entry.timeline, after.as_ref(), PAGE_ENTRIES)?;
            for earlier in &page {
                if earlier.mount_name >= entry.mount_name {
                    return Ok(before);
                }
                before.union_with(&self.gtids_of(earlier)?);
            }
            let Some(last) = page.last() else {
                return Ok(before);
            };
            after = Some(last.mount_name.clone());
        }
    }

    /// The GTIDs behind `entry`. What is in a hole, or behind damage, the file after it tells: it was executed before that.
    fn gtids_behind(&self, entry: &Entry, behind: &[Entry]) -> Result<GtidSet> {
        let is_whole = |entry: &Entry| match entry.state {
            EntryState::Archived | EntryState::Gap => true,
            EntryState::Damaged | EntryState::Hole | EntryState::Lost => false,
        };
        let mut gtids = GtidSet::new();
        let mut is_told = is_whole(entry);
        for entry in behind {
            gtids.union_with(&self.gtids_of(entry)?);
            if let Some(previous) = entry.previous_gtids.as_ref().filter(|_| !is_told) {
                gtids.union_with(previous);
                is_told = true;
            }
            is_told &= is_whole(entry);
        }
        Ok(gtids)
    }

    /// The GTIDs that an entry brought into its timeline: a gap those that are missing in it.
    fn gtids_of(&self, entry: &Entry) -> Result<GtidSet> {
        if let Some(gtids) = entry.gtids() {
            return Ok(gtids.clone());
        }
        let line = self.index().record(entry.seq)?;
        Ok(match line.as_ref().map(|line| &line.record().body) {
            Some(Body::Gap(gap)) => gap.missing.clone(),
            _ => GtidSet::new(),
        })
    }

    /// A second fence that changes nothing is a mistake.
    fn check_new(
        &self,
        state: &LedgerState,
        entry: &Entry,
        position: u64,
        is_last: bool,
    ) -> Result<()> {
        let fences = self.index().fences()?;
        let there = fences
            .iter()
            .rev()
            .find(|fence| fence.timeline == entry.timeline);
        let ended = state
            .incarnation(entry.incarnation)
            .is_some_and(|known| known.fenced);
        match there {
            Some(fence) if ended && is_last && position >= entry.end() => Err(Refused(format!(
                "timeline {} ends there already: record {}, {}",
                entry.timeline, fence.seq, fence.reason
            ))
            .into()),
            _ => Ok(()),
        }
    }

    /// What another server's history goes on from does belong to a history.
    fn check_branches(&self, state: &LedgerState, from: Timeline, lost: &GtidSet) -> Result<()> {
        let servers: BTreeSet<_> = state
            .incarnations()
            .filter(|(_, known)| known.timeline == from)
            .filter_map(|(_, known)| known.server_uuid)
            .collect();
        for (id, known) in state
            .timelines()
            .filter(|(id, known)| *id != from && !known.late)
        {
            let first = self.index().entries(id, None, 1)?.pop();
            let Some(segment) = first.and_then(|entry| entry.segment) else {
                continue;
            };
            // A server that was RESET gives the same GTIDs to other transactions.
            let others = segment
                .server_uuid
                .is_some_and(|uuid| !servers.contains(&uuid));
            let left_here = segment.branch.is_some_and(|branch| branch.timeline == from);
            let common = lost.common(&known.executed);
            if left_here && others && !common.is_empty() {
                return Err(Refused(format!(
                    "timeline {id} left timeline {from} after that, and its history has {common}: end timeline {from} behind those"
                ))
                .into());
            }
        }
        Ok(())
    }

    fn body(&self, plan: &FencePlan) -> Body {
        Body::Fence(Box::new(FenceRecord {
            timeline: plan.timeline,
            segment: plan.segment,
            position: plan.position,
            gtids: plan.kept.gtids.clone(),
            transactions: plan.kept.transactions,
            latest_commit: plan.kept.latest_commit,
            lost: plan.lost.clone(),
            reason: self.reason.clone(),
            archived_at: Micros::now(),
            archiver: self.archiver.clone(),
        }))
    }
}

/// A position inside a transaction is no place.
fn check_between(target: &Target, located: &Located) -> Result<(), Refused> {
    let (Target::Position(position), Some(holds)) = (target, &located.transaction) else {
        return Ok(());
    };
    if holds.start >= position.offset {
        return Ok(());
    }
    let gtid = holds
        .gtid
        .as_ref()
        .map_or_else(String::new, |gtid| format!(" ({gtid})"));
    Err(Refused(format!(
        "{position} lies inside a transaction{gtid}: end the timeline before it, with --position {file}:{}, or behind it, with \
         --position {file}:{}",
        holds.start,
        holds.end,
        file = position.file
    )))
}
