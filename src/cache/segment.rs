//! A segment as the read path sees it: where its object is and how much of it may be served.

use super::error::{Cause, ReadError};
use crate::ledger::{Entry, SegmentRecord};
use crate::model::name::NameError;
use crate::model::{ObjectKey, Sha256};
use crate::segment::{CheckedLayout, ObjectLayout};
use std::sync::Arc;

/// What reading needs of a segment record. Small: the record's GTID sets are left behind.
#[derive(Clone, Debug)]
pub struct ArchivedSegment {
    name: Arc<str>,
    id: Arc<str>,
    key: ObjectKey,
    layout: CheckedLayout,
    /// For whom its object is encrypted, as the record says.
    recipients: Arc<[String]>,
    /// The age header that its record carries in place of the object's own.
    header: Option<Arc<[u8]>>,
    sha256: Sha256,
    damage: Option<(u64, Arc<str>)>,
    /// Where its timeline ends inside it, in bytes.
    cut: Option<u64>,
}

impl ArchivedSegment {
    /// The segment of an entry of the history.
    ///
    /// # Errors
    /// [`Cause::Hole`] if there is no segment to read; [`Cause::Corrupt`] if its record contradicts itself.
    pub fn of_entry(entry: &Entry) -> Result<ArchivedSegment, ReadError> {
        match &entry.segment {
            Some(record) => Ok(ArchivedSegment {
                cut: entry.cut.as_ref().map(|cut| cut.position),
                ..ArchivedSegment::of_record(record)?
            }),
            None => Err(ReadError {
                segment: entry.mount_name.as_str().into(),
                object: "".into(),
                cause: Cause::Hole {
                    state: entry.state,
                    reason: entry.reason.as_str().into(),
                },
            }),
        }
    }

    /// The segment of a record.
    ///
    /// # Errors
    /// [`Cause::Corrupt`] if the record contradicts itself; [`Cause::Newer`] if this build cannot read it.
    pub fn of_record(record: &SegmentRecord) -> Result<ArchivedSegment, ReadError> {
        let object = &record.object;
        let layout = ObjectLayout {
            plain_size: record.size,
            size: object.size,
            header_size: object.header_size,
            frame_size: object.frame_size,
            tail_offset: object.tail_offset,
            tail_sha256: object.tail_sha256,
        };
        let name: Arc<str> = record.mount_name.as_str().into();
        let layout = layout.check().map_err(|error| ReadError {
            segment: name.clone(),
            object: object.key.as_str().into(),
            cause: error.into(),
        })?;
        let header = object.header.as_ref().map(|header| header.bytes().clone());
        Ok(ArchivedSegment {
            name,
            id: id_of(&object.key, header.as_deref()),
            key: object.key.clone(),
            layout,
            recipients: object.recipients.as_slice().into(),
            header,
            sha256: record.sha256,
            damage: record
                .damaged
                .as_ref()
                .map(|damage| (damage.first_bad_position, damage.reason.as_str().into())),
            cut: None,
        })
    }

    /// The same segment with its damage not minded: what belongs to its timeline, as the server left it.
    #[must_use]
    pub fn with_damage(mut self) -> ArchivedSegment {
        self.damage = None;
        self
    }

    /// The same segment with neither damage nor fence minded: all of its bytes as the server left them.
    #[must_use]
    pub fn raw(mut self) -> ArchivedSegment {
        (self.damage, self.cut) = (None, None);
        self
    }

    /// The same segment in a larger store, in which its stream is at `dir`.
    ///
    /// # Errors
    /// When its object can have no key there.
    pub fn below(mut self, dir: &ObjectKey) -> Result<ArchivedSegment, NameError> {
        self.key = self.key.below(dir)?;
        self.id = id_of(&self.key, self.header.as_deref());
        Ok(self)
    }

    /// The segment's name in the mount.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What caches in memory call it: its object's key, which is used once and never for other bytes; and, where it was re-keyed,
    /// which header that was by: what an old key opened is not there for who has no new one.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Its object's key.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Where the parts of its object are.
    pub fn layout(&self) -> &CheckedLayout {
        &self.layout
    }

    /// The public keys that its object was encrypted for, as the record names them.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// The age header to open it with, where its record carries one: the segment was re-keyed.
    pub fn carried_header(&self) -> Option<&Arc<[u8]>> {
        self.header.as_ref()
    }

    /// The object range that has to be fetched to have its header; empty where there is nothing to fetch.
    pub(super) fn header_range(&self) -> std::ops::Range<u64> {
        match self.header {
            Some(_) => 0..0,
            None => self.layout.header_range(),
        }
    }

    /// Length of the file in bytes.
    pub fn plain_size(&self) -> u64 {
        self.layout.recorded().plain_size
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Whether it can be read in part only.
    pub fn is_damaged(&self) -> bool {
        self.damage.is_some()
    }

    /// Where what belongs to its timeline ends: the file's end, or the fence in it.
    pub fn end(&self) -> u64 {
        self.cut.unwrap_or(u64::MAX).min(self.plain_size())
    }

    /// Where serving ends: at [`ArchivedSegment::end`], or the first bad event before it.
    pub fn readable(&self) -> u64 {
        match &self.damage {
            Some((first_bad, _)) => self.end().min(*first_bad),
            None => self.end(),
        }
    }

    /// What a read at or after [`ArchivedSegment::readable`] ends with, if that is not [`ArchivedSegment::end`].
    pub(super) fn damage(&self) -> Option<Cause> {
        self.damage
            .as_ref()
            .filter(|(first_bad, _)| *first_bad < self.end())
            .map(|(first_bad_position, reason)| Cause::Damaged {
                first_bad_position: *first_bad_position,
                reason: reason.clone(),
            })
    }

    /// `cause` as an error of this segment.
    pub(super) fn failed(&self, cause: Cause) -> ReadError {
        ReadError {
            segment: self.name.clone(),
            object: self.key.as_str().into(),
            cause,
        }
    }
}

fn id_of(key: &ObjectKey, header: Option<&[u8]>) -> Arc<str> {
    match header {
        None => key.as_str().into(),
        Some(header) => format!("{key} {}", Sha256::of(header)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::entry::Cut;
    use crate::ledger::record::DamagedRecord;
    use crate::ledger::testing;
    use crate::model::{GtidSet, Seq};

    #[test]
    fn damage_not_minded_a_fence_still_ends_the_file_and_only_raw_has_what_is_behind() {
        let mut record = testing::segment(1);
        let size = record.size;
        record.damaged = Some(DamagedRecord {
            first_bad_position: size - 9,
            reason: "a checksum".to_owned(),
        });
        let mut entry = record.entry(Seq(1), None);
        let of = |entry: &Entry| ArchivedSegment::of_entry(entry).expect("a segment");
        assert_eq!(of(&entry).readable(), size - 9);
        assert_eq!(of(&entry).with_damage().readable(), size);
        entry.cut = Some(Cut {
            position: size - 4,
            gtids: GtidSet::new(),
            transactions: 0,
            last_time: None,
        });
        assert_eq!(of(&entry).readable(), size - 9);
        assert_eq!(of(&entry).with_damage().readable(), size - 4);
        assert_eq!(of(&entry).raw().readable(), size);
    }
}
