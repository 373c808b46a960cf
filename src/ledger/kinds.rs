//! What each kind of record must be to follow what is there, and what it changes.

use super::entry::{Change, Entry, EntryState};
use super::record::{ClosedBy, FenceRecord, GapRecord, HoleRecord, SegmentRecord, SupersedeRecord};
use super::state::{FenceState, IncarnationState, LedgerState};
use crate::model::{GtidSet, Incarnation, SegmentNumber, Seq, Sha256};

impl LedgerState {
    /// The entry in the change is bare: the segment is the record's.
    pub(super) fn segment(&mut self, seq: Seq, segment: &SegmentRecord) -> Result<Change, String> {
        check_segment(segment)?;
        self.check_place(
            segment.timeline,
            segment.incarnation,
            segment.number,
            &segment.mount_name,
        )?;
        let before = self.incarnations.get(&segment.incarnation);
        let previous = match (&segment.previous_gtids, segment.previous_gtids_sha256) {
            (Some(set), _) => Some(set.clone()),
            (None, None) => None,
            (None, Some(said)) => {
                let derived = before.and_then(|b| b.executed.clone());
                if derived
                    .as_ref()
                    .is_some_and(|set| Sha256::of(set.to_string().as_bytes()) != said)
                {
                    return Err(
                        "has previous GTIDs that do not follow from the records before it"
                            .to_owned(),
                    );
                }
                derived
            }
        };
        let executed = previous.clone().map(|mut set| {
            set.union_with(&segment.gtids);
            set.into_position_form()
        });
        // A file that tells what was executed before it has the word: MariaDB's lists may lawfully shrink.
        let at_least = executed.clone().unwrap_or_else(|| {
            let mut known = before.map_or_else(GtidSet::new, |b| b.executed_at_least.clone());
            known.union_with(&segment.gtids);
            known.into_position_form()
        });
        let server_uuid = segment
            .server_uuid
            .or_else(|| before.and_then(|b| b.server_uuid));
        let state = IncarnationState {
            timeline: segment.timeline,
            server_uuid,
            basename: segment.file.basename().clone(),
            last_number: segment.number,
            last_seq: seq,
            last_head: Some(segment.head),
            rotated_at: segment
                .last_time
                .filter(|_| segment.closed_by == ClosedBy::Rotate),
            last_segment: Some(seq),
            // Behind the first bad event there may be more.
            executed: executed.clone().filter(|_| segment.damaged.is_none()),
            executed_at_least: at_least,
            lost_before: self.lost,
            fenced: false,
        };
        let begins = !self.timelines.contains_key(&segment.timeline);
        let timeline = self.place(
            segment.timeline,
            &segment.mount_name,
            segment.incarnation,
            state,
        );
        timeline.late |= begins && segment.branch.as_ref().is_some_and(|branch| branch.late);
        timeline.archived.union_with(&segment.gtids);
        // A server that has them all the same has given them to the history again.
        timeline.fenced_off = timeline.fenced_off.minus(&segment.gtids);
        timeline
            .executed
            .union_with(executed.as_ref().unwrap_or(&segment.gtids));
        Ok(Change::Add(Box::new(segment.bare_entry(seq, previous))))
    }

    pub(super) fn hole(&mut self, seq: Seq, hole: &HoleRecord) -> Result<Change, String> {
        if hole.file.number() != hole.number {
            return Err(format!("says number {} of {}", hole.number, hole.file));
        }
        if hole.incarnation.0 == 0 || hole.timeline.0 == 0 {
            return Err("has incarnation or timeline 0".to_owned());
        }
        self.check_place(
            hole.timeline,
            hole.incarnation,
            hole.number,
            &hole.mount_name,
        )?;
        let known = self.incarnations.get(&hole.incarnation);
        let server_uuid = known.and_then(|known| known.server_uuid);
        let last_segment = known.and_then(|known| known.last_segment);
        let executed_at_least =
            known.map_or_else(GtidSet::new, |known| known.executed_at_least.clone());
        let state = IncarnationState {
            timeline: hole.timeline,
            server_uuid,
            basename: hole.file.basename().clone(),
            last_number: hole.number,
            last_seq: seq,
            last_head: None,
            rotated_at: None,
            last_segment,
            executed: None,
            executed_at_least,
            lost_before: self.lost,
            fenced: false,
        };
        self.place(hole.timeline, &hole.mount_name, hole.incarnation, state);
        Ok(Change::Add(Box::new(Entry {
            seq,
            timeline: hole.timeline,
            incarnation: hole.incarnation,
            number: hole.number,
            mount_name: hole.mount_name.clone(),
            state: EntryState::Hole,
            reason: hole.reason.clone(),
            previous_gtids: None,
            segment: None,
            cut: None,
        })))
    }

    pub(super) fn gap(&mut self, seq: Seq, gap: &GapRecord) -> Result<Change, String> {
        if gap.after >= seq {
            return Err(format!(
                "says that history is missing after record {}, which is later",
                gap.after
            ));
        }
        self.check_name(&gap.mount_name)?;
        self.check_timeline(gap.timeline)?;
        if !gap.mount_name.is_gap() {
            return Err(format!(
                "is named {}, which is no gap's name",
                gap.mount_name
            ));
        }
        if let Some(known) = self.timelines.get_mut(&gap.timeline) {
            if gap.mount_name <= known.last_mount_name {
                return Err(format!(
                    "is named {}, which does not sort after {}",
                    gap.mount_name, known.last_mount_name
                ));
            }
            known.last_mount_name = gap.mount_name.clone();
            // Known to be before what comes next: the one that comes next must not record the same gap again.
            known.executed.union_with(&gap.missing);
        }
        let last = self
            .incarnations
            .iter_mut()
            .rfind(|(_, state)| state.timeline == gap.timeline);
        let (incarnation, number) = match last {
            Some((id, state)) => {
                state.executed = None;
                state.executed_at_least.union_with(&gap.missing);
                (*id, state.last_number)
            }
            // All of the timeline before it was lost.
            None => (Incarnation(1), SegmentNumber(0)),
        };
        Ok(Change::Add(Box::new(Entry {
            seq,
            timeline: gap.timeline,
            incarnation,
            number,
            mount_name: gap.mount_name.clone(),
            state: EntryState::Gap,
            reason: gap.reason.clone(),
            previous_gtids: None,
            segment: None,
            cut: None,
        })))
    }

    pub(super) fn fence(&mut self, seq: Seq, fence: &FenceRecord) -> Result<Change, String> {
        self.check_timeline(fence.timeline)?;
        if fence.segment >= seq {
            return Err(format!(
                "ends a timeline in record {}, which is later",
                fence.segment
            ));
        }
        let id = fence.timeline;
        if let Some(timeline) = self.timelines.get_mut(&id)
            && !timeline.is_behind_a_fence(fence.segment)
        {
            timeline.archived = timeline.archived.minus(&fence.lost);
            timeline.executed = timeline.executed.minus(&fence.lost);
            timeline.fenced_off.union_with(&fence.lost);
            timeline.fences.push(FenceState {
                segment: fence.segment,
                at: seq,
            });
            let of_timeline = self.incarnations.values_mut().filter(|i| i.timeline == id);
            of_timeline.for_each(|incarnation| incarnation.fenced = true);
        }
        Ok(Change::Fence(Box::new(fence.clone())))
    }

    pub(super) fn supersede(
        &mut self,
        seq: Seq,
        supersede: &SupersedeRecord,
    ) -> Result<Change, String> {
        if supersede.supersedes >= seq {
            return Err(format!(
                "replaces record {}, which is later",
                supersede.supersedes
            ));
        }
        check_segment(&supersede.segment)?;
        self.check_timeline(supersede.segment.timeline)?;
        if let Some(timeline) = self.timelines.get_mut(&supersede.segment.timeline) {
            let gtids = &supersede.segment.gtids;
            if timeline.is_behind_a_fence(supersede.supersedes) {
                let gtids = gtids.minus(&timeline.archived);
                timeline.fenced_off.union_with(&gtids);
            } else {
                // Of a segment that is cut, what is behind the fence stays out.
                let gtids = gtids.minus(&timeline.fenced_off);
                timeline.archived.union_with(&gtids);
                timeline.executed.union_with(&gtids);
            }
        }
        Ok(Change::Replace(
            supersede.supersedes,
            Box::new(supersede.segment.clone()),
        ))
    }
}

/// What holds for every segment record by itself.
fn check_segment(segment: &SegmentRecord) -> Result<(), String> {
    if segment.file.number() != segment.number {
        return Err(format!(
            "says number {} of {}",
            segment.number, segment.file
        ));
    }
    if !segment
        .object
        .key
        .as_str()
        .starts_with(super::SEGMENTS_PREFIX)
    {
        return Err(format!(
            "has its object at {}, outside {}",
            segment.object.key,
            super::SEGMENTS_PREFIX
        ));
    }
    if segment.object.header.is_some() && segment.object.header_size == 0 {
        return Err("carries a header for an object that is not encrypted".to_owned());
    }
    if segment.incarnation.0 == 0 || segment.timeline.0 == 0 {
        return Err("has incarnation or timeline 0".to_owned());
    }
    Ok(())
}
