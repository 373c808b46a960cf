//! The chain rules: what a ledger says so far, and whether a further record may follow.
//!
//! Pure, and small whatever the length of the history: it can be kept beside an index and resumed.

use super::line::Line;
use super::record::{Body, GapRecord, HoleRecord, SegmentRecord, SupersedeRecord};
use super::stream_file::StreamFile;
use crate::model::{
    Basename, GtidSet, Incarnation, MountName, SegmentNumber, Seq, Sha256, Timeline,
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
    /// Records that cannot be read since the last one that can.
    lost: u32,
    incarnations: BTreeMap<Incarnation, IncarnationState>,
    timelines: BTreeMap<Timeline, TimelineState>,
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
    /// What was executed at the end of its last segment; `None` after a hole, or where the files do not tell.
    pub executed: Option<GtidSet>,
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
}

/// One name of the history, and what stands behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record that introduced it; a superseding record keeps this.
    pub seq: Seq,
    /// Its timeline.
    pub timeline: Timeline,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its number; for a gap or lost record, the number of the segment before it.
    pub number: SegmentNumber,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// Whether and how it can be read.
    pub state: EntryState,
    /// Why it cannot be read, or what is wrong; empty if nothing is.
    pub reason: String,
    /// What was executed before it, where known.
    pub previous_gtids: Option<GtidSet>,
    /// The segment, unless there is none to read.
    pub segment: Option<Box<SegmentRecord>>,
}

/// Whether and how an entry can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    /// All of it.
    Archived,
    /// Up to its first bad event.
    Damaged,
    /// Not at all: the server's file was gone or unreadable.
    Hole,
    /// Not at all: an unknown extent of history is missing here.
    Gap,
    /// Not at all: the ledger record at this place cannot be read.
    Lost,
}

/// What a record changes for those who keep a view of the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new entry.
    Add(Box<Entry>),
    /// The entry that record `.0` introduced now stands for another segment: see [`check_supersede`].
    Replace(Seq, Box<SegmentRecord>),
    /// A timeline ends inside a segment.
    Fence(super::record::FenceRecord),
    /// The front of a timeline is gone.
    Prune(super::record::PruneRecord),
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

    /// The newest timeline, once there is one.
    pub fn newest_timeline(&self) -> Option<(Timeline, &TimelineState)> {
        self.timelines().next_back()
    }

    /// Accepts the next record and tells what it changes. On an error nothing is changed.
    ///
    /// # Errors
    /// When the record does not continue the chain or breaks a rule of `FORMAT.md`.
    pub fn accept(&mut self, line: &Line) -> Result<Change, ChainError> {
        let record = line.record();
        let fail = |reason: String| ChainError {
            seq: record.seq,
            reason,
        };
        if record.seq != self.next_seq() {
            return Err(fail(format!(
                "stands at the place of record {}",
                self.next_seq()
            )));
        }
        if self.last_hash.is_some_and(|hash| hash != record.prev) {
            return Err(fail(format!(
                "does not continue record {}: one of the two was replaced",
                self.last_seq
            )));
        }
        let change = match &record.body {
            Body::Segment(segment) => self.segment(record.seq, segment).map_err(fail)?,
            Body::Hole(hole) => self.hole(record.seq, hole).map_err(fail)?,
            Body::Gap(gap) => self.gap(record.seq, gap).map_err(fail)?,
            Body::Supersede(supersede) => self.supersede(record.seq, supersede).map_err(fail)?,
            Body::Fence(fence) => {
                self.known_timeline(fence.timeline).map_err(fail)?;
                Change::Fence(fence.clone())
            }
            Body::Prune(prune) => {
                self.known_timeline(prune.timeline).map_err(fail)?;
                Change::Prune(prune.clone())
            }
        };
        self.last_seq = record.seq;
        self.last_hash = Some(line.hash());
        self.lost = 0;
        Ok(change)
    }

    /// Goes on past a record that cannot be read: what it said is unknown, and the history shows that at its place.
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
        let (timeline, mount_name) = match self.timelines.iter_mut().next_back() {
            Some((id, timeline)) if timeline.last_mount_name.is_gap() => {
                (*id, timeline.last_mount_name.clone())
            }
            Some((id, timeline)) => {
                timeline.last_mount_name = timeline.last_mount_name.gap_after();
                (*id, timeline.last_mount_name.clone())
            }
            None => (Timeline(1), MountName::before_all(&self.basename)),
        };
        for state in self.incarnations.values_mut() {
            state.executed = None;
        }
        self.last_seq = seq;
        self.last_hash = None;
        self.lost += 1;
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
        }))
    }

    fn known_timeline(&self, timeline: Timeline) -> Result<&TimelineState, String> {
        self.timelines
            .get(&timeline)
            .ok_or_else(|| format!("names timeline {timeline}, which does not exist"))
    }

    /// Checks that an entry of `incarnation` may come next in `timeline` under `name`.
    fn check_place(
        &self,
        timeline: Timeline,
        incarnation: Incarnation,
        number: SegmentNumber,
        name: &MountName,
    ) -> Result<(), String> {
        let slack = self.lost;
        match self.incarnations.get(&incarnation) {
            Some(known) if known.timeline != timeline => {
                return Err(format!(
                    "moves incarnation {incarnation} to timeline {timeline}"
                ));
            }
            Some(known) => {
                let ahead = number.0.checked_sub(known.last_number.0 + 1);
                if ahead.is_none_or(|n| n > u64::from(slack)) {
                    return Err(format!(
                        "has number {number} after number {} of incarnation {incarnation}",
                        known.last_number
                    ));
                }
            }
            None => {
                let next = self
                    .incarnations
                    .keys()
                    .next_back()
                    .map_or(1, |last| last.0 + 1);
                if incarnation.0 < next || incarnation.0 - next > slack {
                    return Err(format!(
                        "begins incarnation {incarnation}, and the next is {next}"
                    ));
                }
            }
        }
        match self.timelines.get(&timeline) {
            Some(known) if *name <= known.last_mount_name => Err(format!(
                "is named {name}, which does not sort after {}",
                known.last_mount_name
            )),
            Some(_) => Ok(()),
            None => {
                let next = self
                    .timelines
                    .keys()
                    .next_back()
                    .map_or(1, |last| last.0 + 1);
                if timeline.0 < next || timeline.0 - next > slack {
                    return Err(format!(
                        "begins timeline {timeline}, and the next is {next}"
                    ));
                }
                Ok(())
            }
        }
    }

    /// Remembers that an entry was placed.
    fn place(
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
            });
        known.last_mount_name = name.clone();
        known
    }

    fn segment(&mut self, seq: Seq, segment: &SegmentRecord) -> Result<Change, String> {
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
            executed: executed.clone(),
        };
        let timeline = self.place(
            segment.timeline,
            &segment.mount_name,
            segment.incarnation,
            state,
        );
        timeline.archived.union_with(&segment.gtids);
        timeline
            .executed
            .union_with(executed.as_ref().unwrap_or(&segment.gtids));
        Ok(Change::Add(Box::new(Entry {
            seq,
            timeline: segment.timeline,
            incarnation: segment.incarnation,
            number: segment.number,
            mount_name: segment.mount_name.clone(),
            state: segment.entry_state(),
            reason: segment
                .damaged
                .as_ref()
                .map(|d| d.reason.clone())
                .unwrap_or_default(),
            previous_gtids: previous,
            segment: Some(Box::new(segment.clone())),
        })))
    }

    fn hole(&mut self, seq: Seq, hole: &HoleRecord) -> Result<Change, String> {
        if hole.file.number() != hole.number {
            return Err(format!("says number {} of {}", hole.number, hole.file));
        }
        self.check_place(
            hole.timeline,
            hole.incarnation,
            hole.number,
            &hole.mount_name,
        )?;
        let server_uuid = self
            .incarnations
            .get(&hole.incarnation)
            .and_then(|known| known.server_uuid);
        let state = IncarnationState {
            timeline: hole.timeline,
            server_uuid,
            basename: hole.file.basename().clone(),
            last_number: hole.number,
            last_seq: seq,
            last_head: None,
            executed: None,
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
        })))
    }

    fn gap(&mut self, seq: Seq, gap: &GapRecord) -> Result<Change, String> {
        if gap.after >= seq {
            return Err(format!(
                "says that history is missing after record {}, which is later",
                gap.after
            ));
        }
        let known = self.known_timeline(gap.timeline)?;
        if gap.mount_name <= known.last_mount_name {
            return Err(format!(
                "is named {}, which does not sort after {}",
                gap.mount_name, known.last_mount_name
            ));
        }
        let last = self
            .incarnations
            .iter()
            .rfind(|(_, state)| state.timeline == gap.timeline);
        let (incarnation, number) = last
            .map(|(id, state)| (*id, state.last_number))
            .ok_or("has no incarnation before it")?;
        if let Some(timeline) = self.timelines.get_mut(&gap.timeline) {
            timeline.last_mount_name = gap.mount_name.clone();
        }
        if let Some(state) = self.incarnations.get_mut(&incarnation) {
            state.executed = None;
        }
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
        })))
    }

    fn supersede(&mut self, seq: Seq, supersede: &SupersedeRecord) -> Result<Change, String> {
        if supersede.supersedes >= seq {
            return Err(format!(
                "replaces record {}, which is later",
                supersede.supersedes
            ));
        }
        check_segment(&supersede.segment)?;
        self.known_timeline(supersede.segment.timeline)?;
        if let Some(timeline) = self.timelines.get_mut(&supersede.segment.timeline) {
            timeline.archived.union_with(&supersede.segment.gtids);
            timeline.executed.union_with(&supersede.segment.gtids);
        }
        Ok(Change::Replace(
            supersede.supersedes,
            Box::new(supersede.segment.clone()),
        ))
    }
}

impl SegmentRecord {
    /// Whether and how it can be read.
    pub fn entry_state(&self) -> EntryState {
        if self.damaged.is_some() {
            EntryState::Damaged
        } else {
            EntryState::Archived
        }
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
    if segment.incarnation.0 == 0 || segment.timeline.0 == 0 {
        return Err("has incarnation or timeline 0".to_owned());
    }
    Ok(())
}

/// Checks that `new` may take the place of `old`.
///
/// # Errors
/// With the rule that is broken.
pub fn check_supersede(old: &Entry, new: &SegmentRecord) -> Result<(), String> {
    let same = old.timeline == new.timeline
        && old.incarnation == new.incarnation
        && old.number == new.number
        && old.mount_name == new.mount_name;
    if !same {
        return Err(format!(
            "replaces {} by {}, another segment",
            old.mount_name, new.mount_name
        ));
    }
    match (&old.segment, old.state) {
        (Some(segment), EntryState::Archived) if segment.sha256 != new.sha256 => {
            Err(format!("replaces {} by other bytes", old.mount_name))
        }
        (None, EntryState::Gap | EntryState::Lost) => Err(format!(
            "fills {}, which is no single segment",
            old.mount_name
        )),
        _ => Ok(()),
    }
}
