//! The records of the ledger: what each kind says.

use super::carried::CarriedHeader;
use crate::model::{
    FileName, GtidSet, Incarnation, Micros, MountName, ObjectKey, SegmentNumber, Seq, Sha256,
    Timeline,
};
use crate::store::Checksums;
use serde::{Deserialize, Serialize};

/// One record, without the hashes of its line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`super::FORMAT`] of its writer.
    pub format: u32,
    /// Its place in the ledger.
    pub seq: Seq,
    /// SHA-256 of the previous record's whole line without its newline; of `stream.json` for the first record.
    pub prev: Sha256,
    /// What it says.
    #[serde(flatten)]
    pub body: Body,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// A segment is archived.
    Segment(Box<SegmentRecord>),
    /// A segment is known to have existed and cannot be read.
    Hole(HoleRecord),
    /// An unknown extent of history is missing.
    Gap(GapRecord),
    /// Nothing after `position` belongs to the timeline.
    Fence(Box<FenceRecord>),
    /// What an earlier record said of one segment is replaced.
    Supersede(Box<SupersedeRecord>),
    /// Everything up to a segment is gone, on purpose.
    Prune(PruneRecord),
    /// The history goes on in another stream: nothing follows here.
    Moved(MovedRecord),
}

impl Body {
    /// The segment, of a record that says that one is archived.
    pub fn segment(&self) -> Option<&SegmentRecord> {
        match self {
            Body::Segment(segment) => Some(segment),
            _ => None,
        }
    }

    /// The segment that the record describes, whether it is the first to do so or replaces one that did.
    pub fn described(&self) -> Option<&SegmentRecord> {
        match self {
            Body::Segment(segment) => Some(segment),
            Body::Supersede(supersede) => Some(&supersede.segment),
            Body::Hole(_) | Body::Gap(_) | Body::Fence(_) | Body::Prune(_) | Body::Moved(_) => None,
        }
    }

    /// When the record was made.
    pub fn archived_at(&self) -> Micros {
        match self {
            Body::Segment(segment) => segment.archived_at,
            Body::Hole(hole) => hole.archived_at,
            Body::Gap(gap) => gap.archived_at,
            Body::Fence(fence) => fence.archived_at,
            Body::Supersede(supersede) => {
                supersede.made_at.unwrap_or(supersede.segment.archived_at)
            }
            Body::Prune(prune) => prune.archived_at,
            Body::Moved(moved) => moved.archived_at,
        }
    }
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosedBy {
    /// ROTATE: the server went on in the next file.
    Rotate,
    /// STOP: the server shut down.
    Stop,
    /// Neither: it crashed. The file is whole up to its last whole event.
    Crash,
    /// Its server is gone, and a person said that it is final.
    Final,
    /// It is damaged before its end, which could therefore not be read.
    Unknown,
}

/// The object that holds a segment. Sizes and offsets in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// Its key.
    pub key: ObjectKey,
    /// Its length.
    pub size: u64,
    /// CRC-32C of all of it, eight hexadecimal digits.
    #[serde(with = "hex_u32")]
    pub crc32c: u32,
    /// CRC-64/NVME of all of it, sixteen hexadecimal digits.
    #[serde(with = "hex_u64")]
    pub crc64nvme: u64,
    /// Length of what stands before the first encrypted chunk; 0 without encryption.
    pub header_size: u64,
    /// Plaintext bytes in each frame but the last.
    pub frame_size: u32,
    /// Where the tail begins, in the decrypted object.
    pub tail_offset: u64,
    /// SHA-256 of the tail: it binds the frame hashes, and they bind the frames.
    pub tail_sha256: Sha256,
    /// Public keys it is encrypted to, by [`ObjectRecord::header`] if there is one; empty without encryption.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// A header for other recipients than those of the stored one, which it stands in for: the object was re-keyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<CarriedHeader>,
}

impl ObjectRecord {
    /// What its bytes must be.
    pub fn checksums(&self) -> Checksums {
        Checksums {
            size: self.size,
            crc32c: self.crc32c,
            crc64nvme: self.crc64nvme,
        }
    }

    /// Whether both say the same of the bytes that are stored, whoever may read them.
    pub fn same_bytes(&self, other: &ObjectRecord) -> bool {
        let stored = |object: &ObjectRecord| ObjectRecord {
            recipients: Vec::new(),
            header: None,
            ..object.clone()
        };
        stored(self) == stored(other)
    }
}

/// What is wrong with a segment that was archived all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedRecord {
    /// Offset of the first bad event: all before it is right.
    pub first_bad_position: u64,
    /// What is wrong there.
    #[serde(default)]
    pub reason: String,
}

/// Where a new timeline leaves an older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchRecord {
    /// The timeline that was left.
    pub timeline: Timeline,
    /// GTIDs of the old timeline that the new one lacks: what was lost there.
    pub lost: GtidSet,
    /// It is the tail of a server that the old timeline had left for another one: the history goes on there, not here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A segment is archived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Its timeline.
    pub timeline: Timeline,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Present in the first segment of a timeline that has a predecessor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchRecord>,
    /// `server_uuid`, where it is known: binlogs do not contain it, and MariaDB has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_uuid: Option<uuid::Uuid>,
    /// `server_version` of the format description.
    pub server_version: String,
    /// The server's own name for it.
    pub file: FileName,
    /// The number in that name.
    pub number: SegmentNumber,
    /// SHA-256 of the format description, IN_USE cleared, and the first event after it.
    pub head: Sha256,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// Its length in bytes, as the server wrote it.
    pub size: u64,
    /// SHA-256 of those bytes.
    pub sha256: Sha256,
    /// Where they are.
    pub object: ObjectRecord,
    /// How the file ended.
    pub closed_by: ClosedBy,
    /// Offset after the last whole event, where that is not the end of the file (a crash tore the last one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_until: Option<u64>,
    /// What is wrong with it, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<DamagedRecord>,
    /// Commit time of the first transaction, or the file's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<Micros>,
    /// Time of the last event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Micros>,
    /// Smallest time in it: header times run backwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_time: Option<Micros>,
    /// Largest time in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time: Option<Micros>,
    /// Largest commit time of its whole transactions: what a moment is looked up by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_commit: Option<Micros>,
    /// GTIDs of its whole transactions.
    pub gtids: GtidSet,
    /// Number of whole transactions.
    pub transactions: u64,
    /// What the file says was executed before it, in full: where it does not follow from the records before, and in
    /// the first record of each page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_gtids: Option<GtidSet>,
    /// SHA-256 of the text of that set, where it follows from the records before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_gtids_sha256: Option<Sha256>,
    /// Its store had no conditional create: that nothing was overwritten rests on a person's word (`--single-writer`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_writer: bool,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it: host name and version.
    pub archiver: String,
}

/// A segment is known to have existed and cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoleRecord {
    /// Its timeline.
    pub timeline: Timeline,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The name the server gave it, or would have.
    pub file: FileName,
    /// Its number.
    pub number: SegmentNumber,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// Why it cannot be read.
    pub reason: String,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it.
    pub archiver: String,
}

/// An unknown extent of history is missing right after a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapRecord {
    /// The timeline it is in.
    pub timeline: Timeline,
    /// The record after which history is missing.
    pub after: Seq,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// GTIDs known to be missing.
    pub missing: GtidSet,
    /// How it is known.
    pub reason: String,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it.
    pub archiver: String,
}

/// Nothing after a position belongs to a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FenceRecord {
    /// The timeline that ends.
    pub timeline: Timeline,
    /// The last segment that belongs to it, by its record.
    pub segment: Seq,
    /// Where in that segment it ends, in bytes.
    pub position: u64,
    /// GTIDs of the segment that stand before the position.
    pub gtids: GtidSet,
    /// Whole transactions of the segment before the position.
    pub transactions: u64,
    /// Largest commit time of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_commit: Option<Micros>,
    /// GTIDs behind the fence, and not before it: what leaves the timeline.
    pub lost: GtidSet,
    /// Why.
    pub reason: String,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it.
    pub archiver: String,
}

/// Why a record was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupersedeReason {
    /// The segment of a hole was found.
    HoleFilled,
    /// A dead letter went through.
    DeadLetter,
    /// A better copy of a damaged segment was found, or of its object: then the bytes are the same.
    BetterCopy,
    /// The same bytes under another key, recipient, level or store.
    Rekeyed,
}

/// What an earlier record said of one segment is replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupersedeRecord {
    /// The record that is replaced: a segment, a hole, or a supersede of one.
    pub supersedes: Seq,
    /// Why.
    pub reason: SupersedeReason,
    /// When the record was made, where that is not when the segment was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Micros>,
    /// Who made it, where that is not who archived the segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// What holds now. Its timeline, incarnation, number and mount name are those of the record it replaces; its
    /// SHA-256 too, unless that record was a hole or damaged.
    pub segment: SegmentRecord,
}

/// Everything up to a segment is gone, on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PruneRecord {
    /// The timeline that was pruned.
    pub timeline: Timeline,
    /// The last record whose segment is gone; all before it in replay order are gone too.
    pub through: Seq,
    /// Which rule did it.
    pub reason: String,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it.
    pub archiver: String,
}

/// The history goes on in another stream: the last record of its ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRecord {
    /// URL of the stream that has every record before this one, and those that come.
    pub to: String,
    /// That stream's id.
    pub stream_id: uuid::Uuid,
    /// When the record was made.
    pub archived_at: Micros,
    /// Who made it.
    pub archiver: String,
}

macro_rules! hex_number {
    ($module:ident, $type:ty, $digits:literal) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub(super) fn serialize<S: Serializer>(n: &$type, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&format_args!(concat!("{:0", $digits, "x}"), n))
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                if text.len().to_string() != $digits || text.starts_with('+') {
                    return Err(D::Error::custom(concat!(
                        "not ",
                        $digits,
                        " hexadecimal digits"
                    )));
                }
                <$type>::from_str_radix(&text, 16).map_err(D::Error::custom)
            }
        }
    };
}
hex_number!(hex_u32, u32, "8");
hex_number!(hex_u64, u64, "16");
