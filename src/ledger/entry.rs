//! One name of the history, and how records change what stands behind it.

use super::record::{ObjectRecord, SegmentRecord};
use crate::model::{GtidSet, Incarnation, Micros, MountName, SegmentNumber, Seq, Timeline};
use serde::{Deserialize, Serialize};

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
    /// Where its timeline ends inside it, if a fence stands there.
    pub cut: Option<Cut>,
}

/// What of a segment stands before a fence.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Nothing from here on belongs to the timeline, in bytes.
    pub position: u64,
    /// GTIDs before that.
    pub gtids: GtidSet,
    /// Transactions before that.
    pub transactions: u64,
    /// Time of the last event before that, as far as it is known: the latest commit, else when the file begins.
    pub last_time: Option<Micros>,
}

impl Entry {
    /// Where what belongs to its timeline ends, in bytes of the server's file; 0 if there is no file to read.
    pub fn end(&self) -> u64 {
        let size = self.segment.as_ref().map_or(0, |segment| segment.size);
        self.cut.as_ref().map_or(size, |cut| size.min(cut.position))
    }

    /// GTIDs of its transactions that belong to its timeline; `None` if there is no file to read.
    pub fn gtids(&self) -> Option<&GtidSet> {
        let all = self.segment.as_ref().map(|segment| &segment.gtids);
        self.cut.as_ref().map(|cut| &cut.gtids).or(all)
    }

    /// How many of its transactions belong to its timeline.
    pub fn transactions(&self) -> u64 {
        let all = self.segment.as_ref().map_or(0, |s| s.transactions);
        self.cut.as_ref().map_or(all, |cut| cut.transactions)
    }

    /// Time of the last event that belongs to its timeline; `None` if there is no file to read, or none is known.
    pub fn last_time(&self) -> Option<Micros> {
        let all = self.segment.as_ref().and_then(|segment| segment.last_time);
        self.cut.as_ref().map_or(all, |cut| cut.last_time)
    }

    /// What a record says that names another object for its segment; `None` if there is no file to read.
    pub fn in_object(&self, object: ObjectRecord) -> Option<SegmentRecord> {
        let segment = self.segment.as_deref()?;
        let full = self.previous_gtids.as_ref();
        Some(SegmentRecord {
            object,
            // In full where it is known: what follows from the records before this one is another segment's.
            previous_gtids: full.or(segment.previous_gtids.as_ref()).cloned(),
            previous_gtids_sha256: match full {
                Some(_) => None,
                None => segment.previous_gtids_sha256,
            },
            ..segment.clone()
        })
    }
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
    Fence(Box<super::record::FenceRecord>),
    /// The front of a timeline is gone.
    Prune(super::record::PruneRecord),
    /// Nothing of what is there: nothing more comes.
    Moved,
}

impl SegmentRecord {
    /// The entry that it stands for, introduced by record `seq`.
    pub fn entry(&self, seq: Seq, previous_gtids: Option<GtidSet>) -> Entry {
        Entry {
            segment: Some(Box::new(self.clone())),
            ..self.bare_entry(seq, previous_gtids)
        }
    }

    /// The same without the segment, for those who have it.
    pub(super) fn bare_entry(&self, seq: Seq, previous_gtids: Option<GtidSet>) -> Entry {
        let damaged = self.damaged.as_ref();
        Entry {
            seq,
            timeline: self.timeline,
            incarnation: self.incarnation,
            number: self.number,
            mount_name: self.mount_name.clone(),
            state: self.entry_state(),
            reason: damaged.map(|d| d.reason.clone()).unwrap_or_default(),
            previous_gtids,
            segment: None,
            cut: None,
        }
    }

    /// Whether and how it can be read.
    pub fn entry_state(&self) -> EntryState {
        if self.damaged.is_some() {
            EntryState::Damaged
        } else {
            EntryState::Archived
        }
    }
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
    if let Some(segment) = &old.segment
        && segment.object.key == new.object.key
        && !(segment.object.same_bytes(&new.object)
            && segment.sha256 == new.sha256
            && segment.size == new.size)
    {
        return Err(format!(
            "says otherwise of the object {} than the record it replaces",
            new.object.key
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
