//! A segment that is looked over: what is kept of it in memory while it is.

use crate::ledger::Entry;
use crate::model::{MountName, ObjectKey, Seq, Sha256};
use crate::store::Checksums;

/// A segment that is looked over. Of a million of them all are held at once, so that it has what is asked of every one and what a report
/// says, some 250 bytes; the rest, GTIDs above all, is fetched from the index by who reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name in the mount.
    pub name: MountName,
    /// The key of its object.
    pub key: ObjectKey,
    /// Its length in bytes, as the server wrote it.
    pub size: u64,
    /// SHA-256 of those bytes.
    pub sha256: Sha256,
    /// What its object must be.
    pub stored: Checksums,
}

impl Segment {
    /// The one of an entry; `None` if that has none.
    pub fn of(entry: &Entry) -> Option<Segment> {
        let segment = entry.segment.as_deref()?;
        Some(Segment {
            seq: entry.seq,
            name: entry.mount_name.clone(),
            key: segment.object.key.clone(),
            size: segment.size,
            sha256: segment.sha256,
            stored: segment.object.checksums(),
        })
    }
}
