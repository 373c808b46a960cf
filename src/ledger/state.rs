//! The chain rules: what a ledger says so far, and whether a further record may follow.
//!
//! Pure, and small whatever the length of the history: it can be kept beside an index and resumed.

mod places;

use super::entry::{Change, Entry, EntryState};
use super::line::Line;
use super::record::{Body, MovedRecord};
use super::stream_file::StreamFile;
use crate::model::{
    Basename, GtidSet, Incarnation, Micros, MountName, SegmentNumber, Seq, Sha256, Timeline,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a ledger says up to a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerState {
    /// The stream's first basename: all mount names begin with it.
    pub basename: Basename,
    /// The last record accepted; 0 before the first.
    pub last_seq: Seq,
    /// What the next record's `prev` must say; `None` after a record that cannot be read.
    pub last_hash: Option<Sha256>,
    /// Where the history goes on, if the last record says that it does so elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedRecord>,
    /// Records that could not be read, all told: what they said explains numbers that are missing.
    pub(super) lost: u32,
    pub(super) incarnations: BTreeMap<Incarnation, IncarnationState>,
    pub(super) timelines: BTreeMap<Timeline, TimelineState>,
}

/// What is known of one incarnation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncarnationState {
    /// The timeline it belongs to.
    pub timeline: Timeline,
    /// The server's UUID, where known.
    pub server_uuid: Option<uuid::Uuid>,
    /// The basename of its files.
    pub basename: Basename,
    /// Number of its last segment or hole.
    pub last_number: SegmentNumber,
    /// Record of its last segment or hole.
    pub last_seq: Seq,
    /// Head of its last segment; `None` after a hole.
    pub last_head: Option<Sha256>,
    /// Time of the ROTATE that ended its last segment, if one did.
    #[serde(default)]
    pub rotated_at: Option<Micros>,
    /// Record of its last segment.
    pub last_segment: Option<Seq>,
    /// What was executed at the end of its last segment; `None` after a hole, a gap or damage, or where the files do not
    /// tell. What the next file says was executed before it equals this.
    pub executed: Option<GtidSet>,
    /// What was executed by then at least, as far as its files tell. It outlives what `executed` does not, and tells whether
    /// a file goes on here: what that says was executed before it contains this.
    pub executed_at_least: GtidSet,
    /// Records lost, all told, when its last segment or hole was accepted.
    pub(super) lost_before: u32,
    /// Its timeline was ended by a fence since it began: nothing more of it belongs there.
    pub fenced: bool,
}

/// What is known of one timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineState {
    /// Its first incarnation, whose files keep their own names.
    pub first_incarnation: Incarnation,
    /// The last name in it, holes and gaps included.
    pub last_mount_name: MountName,
    /// Every GTID known to be before or in its segments.
    pub executed: GtidSet,
    /// Every GTID in its segments.
    pub archived: GtidSet,
    /// It is the tail of a server that the history had left: never what is shown first, and nothing joins it.
    pub late: bool,
    /// GTIDs that fences have taken out of it.
    pub fenced_off: GtidSet,
    /// Its fences, in the order of their records.
    pub(super) fences: Vec<FenceState>,
}

/// A fence: what stands behind `segment` and was recorded before `at` is no part of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FenceState {
    /// The last segment before the fence.
    pub(super) segment: Seq,
    /// The record of the fence.
    pub(super) at: Seq,
}

impl TimelineState {
    /// Whether a fence has taken the segment of record `seq` out of the timeline. (Within a timeline, replay order is the order of
    /// the records that introduced the entries.)
    pub fn is_behind_a_fence(&self, seq: Seq) -> bool {
        let behind = |fence: &FenceState| fence.segment < seq && seq < fence.at;
        self.fences.iter().any(behind)
    }
}

/// A record that may not stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ledger record {seq}: {reason}")]
pub struct ChainError {
    /// The record.
    pub seq: Seq,
    /// What rule it breaks.
    pub reason: String,
}

impl LedgerState {
    /// The state before the first record of the stream whose `stream.json` has the bytes `stream_bytes`.
    pub fn new(stream: &StreamFile, stream_bytes: &[u8]) -> LedgerState {
        LedgerState {
            basename: stream.basename.clone(),
            last_seq: Seq(0),
            last_hash: Some(StreamFile::hash(stream_bytes)),
            moved: None,
            lost: 0,
            incarnations: BTreeMap::new(),
            timelines: BTreeMap::new(),
        }
    }

    /// The place of the next record.
    pub fn next_seq(&self) -> Seq {
        Seq(self.last_seq.0 + 1)
    }

    /// The incarnations in order.
    pub fn incarnations(
        &self,
    ) -> impl DoubleEndedIterator<Item = (Incarnation, &IncarnationState)> {
        self.incarnations.iter().map(|(id, state)| (*id, state))
    }

    /// One incarnation.
    pub fn incarnation(&self, id: Incarnation) -> Option<&IncarnationState> {
        self.incarnations.get(&id)
    }

    /// The timelines in order.
    pub fn timelines(&self) -> impl DoubleEndedIterator<Item = (Timeline, &TimelineState)> {
        self.timelines.iter().map(|(id, state)| (*id, state))
    }

    /// One timeline.
    pub fn timeline(&self, id: Timeline) -> Option<&TimelineState> {
        self.timelines.get(&id)
    }

    /// The newest timeline that is nobody's late tail, once there is one: the history that goes on.
    pub fn newest_timeline(&self) -> Option<(Timeline, &TimelineState)> {
        self.timelines().rfind(|(_, timeline)| !timeline.late)
    }

    /// GTIDs that are archived in a timeline and in no other.
    pub fn only_in(&self, id: Timeline) -> GtidSet {
        let mut only = match self.timeline(id) {
            Some(timeline) => timeline.archived.clone(),
            None => return GtidSet::new(),
        };
        for (_, other) in self.timelines().filter(|(other, _)| *other != id) {
            only = only.minus(&other.archived);
        }
        only
    }

    /// The record of the newest segment.
    pub fn newest_segment(&self) -> Option<Seq> {
        let ends = self.incarnations.values();
        ends.filter_map(|known| known.last_segment).max()
    }

    /// Accepts the next record and tells what it changes. On an error nothing is changed.
    ///
    /// # Errors
    /// When the record does not continue the chain or breaks a rule of `FORMAT.md`.
    pub fn accept(&mut self, line: &Line) -> Result<Change, ChainError> {
        let mut change = self.accept_bare(line)?;
        if let (Change::Add(entry), Body::Segment(segment)) = (&mut change, &line.record().body) {
            entry.segment = Some(segment.clone());
        }
        Ok(change)
    }

    /// The same, but the entry of a segment comes without a copy of what the record says: a first mount would make a million.
    ///
    /// # Errors
    /// As [`LedgerState::accept`].
    pub fn accept_bare(&mut self, line: &Line) -> Result<Change, ChainError> {
        let record = line.record();
        let fail = |reason: String| ChainError {
            seq: record.seq,
            reason,
        };
        self.check_link(line)?;
        if let Some(moved) = &self.moved {
            return Err(fail(format!(
                "stands after the one that says that the stream has moved to {}",
                moved.to
            )));
        }
        let change = match &record.body {
            Body::Segment(segment) => self.segment(record.seq, segment).map_err(fail)?,
            Body::Hole(hole) => self.hole(record.seq, hole).map_err(fail)?,
            Body::Gap(gap) => self.gap(record.seq, gap).map_err(fail)?,
            Body::Supersede(supersede) => self.supersede(record.seq, supersede).map_err(fail)?,
            Body::Fence(fence) => self.fence(record.seq, fence).map_err(fail)?,
            Body::Prune(prune) => {
                self.check_timeline(prune.timeline).map_err(fail)?;
                Change::Prune(prune.clone())
            }
            Body::Moved(moved) => {
                self.moved = Some(moved.clone());
                Change::Moved
            }
        };
        self.last_seq = record.seq;
        self.last_hash = Some(line.hash());
        Ok(change)
    }

    /// Checks that `line` stands at the next place and names the record before it.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_link(&self, line: &Line) -> Result<(), ChainError> {
        let record = line.record();
        let reason = if record.seq != self.next_seq() {
            format!("stands at the place of record {}", self.next_seq())
        } else if self.last_hash.is_some_and(|hash| hash != record.prev) {
            format!(
                "does not continue record {}: one of the two was replaced",
                self.last_seq
            )
        } else {
            return Ok(());
        };
        Err(ChainError {
            seq: record.seq,
            reason,
        })
    }

    /// Goes on past a record that cannot be read: what it said is unknown, and the history shows that at its place.
    ///
    /// Several in a row, and one right after a gap, have one place: their entries have the same name.
    pub fn accept_lost(&mut self, reason: &str) -> Change {
        let seq = self.next_seq();
        let before = self
            .incarnations
            .iter()
            .next_back()
            .map(|(id, state)| (*id, state.clone()));
        let (incarnation, number) = before
            .map_or((Incarnation(1), SegmentNumber(0)), |(id, state)| {
                (id, state.last_number)
            });
        // The last name stays what it is: the next record may be the gap that has the same name as this place.
        let (timeline, mount_name) = match self.newest_timeline() {
            Some((id, known)) if known.last_mount_name.is_gap() => {
                (id, known.last_mount_name.clone())
            }
            Some((id, known)) => (id, known.last_mount_name.gap_after()),
            None => (Timeline(1), MountName::before_all(&self.basename)),
        };
        for state in self.incarnations.values_mut() {
            state.executed = None;
        }
        self.last_seq = seq;
        self.last_hash = None;
        self.lost = self.lost.saturating_add(1);
        let state = EntryState::Lost;
        let reason = format!("ledger record {seq} cannot be read: {reason}");
        Change::Add(Box::new(Entry {
            seq,
            timeline,
            incarnation,
            number,
            mount_name,
            state,
            reason,
            previous_gtids: None,
            segment: None,
            cut: None,
        }))
    }

    /// Checks that a timeline exists, or may have begun in a record that was lost.
    pub(super) fn check_timeline(&self, timeline: Timeline) -> Result<(), String> {
        if self.timelines.contains_key(&timeline) || (self.lost > 0 && timeline.0 > 0) {
            Ok(())
        } else {
            Err(format!("names timeline {timeline}, which does not exist"))
        }
    }

    /// Remembers that an entry was placed.
    pub(super) fn place(
        &mut self,
        timeline: Timeline,
        name: &MountName,
        incarnation: Incarnation,
        state: IncarnationState,
    ) -> &mut TimelineState {
        self.incarnations.insert(incarnation, state);
        let known = self
            .timelines
            .entry(timeline)
            .or_insert_with(|| TimelineState {
                first_incarnation: incarnation,
                last_mount_name: name.clone(),
                executed: GtidSet::new(),
                archived: GtidSet::new(),
                late: false,
                fenced_off: GtidSet::new(),
                fences: Vec::new(),
            });
        known.last_mount_name = name.clone();
        known
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
