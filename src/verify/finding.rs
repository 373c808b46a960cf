//! Something that is not as it must be.

use super::segment::Segment;
use crate::ledger::{Entry, EntryState};
use crate::model::{ObjectKey, Seq};
use serde::Serialize;
use std::fmt;

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The ledger cannot be followed to its end.
    Ledger,
    /// Records that this host or a replica has seen are gone, or others stand in their place.
    Rollback,
    /// A record cannot be read.
    Record,
    /// A page is damaged, or says something else than the records.
    Page,
    /// A segment is known to have existed, and was never archived.
    Hole,
    /// An unknown extent of history is missing.
    Gap,
    /// The server's file was damaged when it was archived.
    DamagedAtSource,
    /// An object is not there.
    ObjectMissing,
    /// The store does not tell what it has.
    ObjectUnknown,
    /// An object has another size or checksum than recorded, or its bytes are not those archived.
    ObjectDamaged,
    /// The age header that a record carries in place of the object's own is none.
    CarriedHeader,
    /// The bytes are those archived, and say something else than the record.
    RecordDiffers,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The segment, by its name in the mount.
    pub segment: Option<String>,
    /// The record, by its number; that which introduced the segment.
    pub record: Option<u64>,
    /// The key of the object.
    pub object: Option<String>,
    /// What is wrong with it, and what to do.
    pub detail: String,
    /// Whether it was healed.
    pub healed: bool,
    /// What was done about it, or why nothing was; where a repair was asked for.
    pub repair: Option<String>,
}

impl Finding {
    /// One about the ledger as a whole.
    pub fn new(kind: FindingKind, detail: impl Into<String>) -> Finding {
        Finding {
            kind,
            segment: None,
            record: None,
            object: None,
            detail: detail.into(),
            healed: false,
            repair: None,
        }
    }

    /// The same, of this record.
    #[must_use]
    pub fn record(mut self, seq: Seq) -> Finding {
        self.record = Some(seq.0);
        self
    }

    /// The same, of this object.
    #[must_use]
    pub fn object(mut self, key: &ObjectKey) -> Finding {
        self.object = Some(key.to_string());
        self
    }

    /// One about a segment, or what stands in the place of one.
    pub fn of_entry(kind: FindingKind, entry: &Entry, detail: impl Into<String>) -> Finding {
        let object = entry.segment.as_ref().map(|segment| &segment.object.key);
        Finding {
            segment: Some(entry.mount_name.to_string()),
            record: Some(entry.seq.0),
            object: object.map(ToString::to_string),
            ..Finding::new(kind, detail)
        }
    }

    /// One about a segment.
    pub fn of_segment(kind: FindingKind, segment: &Segment, detail: impl Into<String>) -> Finding {
        Finding {
            segment: Some(segment.name.to_string()),
            object: Some(segment.key.to_string()),
            ..Finding::new(kind, detail).record(segment.seq)
        }
    }

    /// What an entry says of itself; `None` if all is well with it.
    pub fn of_state(entry: &Entry) -> Option<Finding> {
        let kind = match entry.state {
            EntryState::Archived => return None,
            EntryState::Damaged => FindingKind::DamagedAtSource,
            EntryState::Hole => FindingKind::Hole,
            EntryState::Gap => FindingKind::Gap,
            EntryState::Lost => FindingKind::Record,
        };
        let detail = format!("{}: {}", entry.mount_name, entry.reason);
        Some(Finding::of_entry(kind, entry, detail))
    }

    /// Notes what was done about it.
    pub fn healed(&mut self, how: impl Into<String>) {
        self.healed = true;
        self.repair = Some(how.into());
    }

    /// Notes why it is as it was.
    pub fn not_healed(&mut self, why: impl Into<String>) {
        self.repair = Some(why.into());
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        match (&self.repair, self.healed) {
            (Some(how), true) => write!(f, "; healed: {how}"),
            (Some(why), false) => write!(f, "; not healed: {why}"),
            (None, _) => Ok(()),
        }
    }
}
