//! Records into a replica, in order, each after the object that it names.

use super::Replicator;
use crate::ledger::record::ObjectRecord;
use crate::ledger::{Line, RECORD_MAX_BYTES, record_key};
use crate::model::{ObjectKey, Seq};
use crate::store::{CopyError, ErrorKind, Source, copy_object};
use anyhow::{Result, bail};
use futures::{FutureExt as _, StreamExt as _};

/// Segments whose objects are on their way at the same time, 16 MiB of memory each: a far replica is not filled at one round trip
/// for each of a million segments.
const OBJECTS_AT_ONCE: u64 = 2;

/// What became of the object of a record.
pub(super) enum Object {
    /// It is in the replica: copied now, with so many bytes, or before.
    There(Option<u64>),
    /// No longer needed: what names it was superseded or pruned, and it was removed.
    NotNeeded,
    /// The first store cannot give it, or something else stands in its place.
    PassedOver(String),
}

impl Line {
    /// The object that the record names, if it names one.
    pub(super) fn object(&self) -> Option<&ObjectRecord> {
        let segment = self.record().body.described()?;
        Some(&segment.object)
    }
}

impl Replicator {
    /// Copies the objects that were found missing.
    pub(super) async fn copy_objects(&mut self) -> Result<()> {
        while let Some((key, seq)) = self.objects.last().cloned() {
            let line = self.index.record(seq)?;
            let object = line.as_ref().and_then(Line::object);
            let object = object.filter(|object| object.key == key);
            // What nothing reads any more does not come back after a prune of the replica.
            if let Some(object) = object
                && self.is_needed(seq, &key)?
            {
                let copied = self.copy_object(seq, object).await?;
                self.book(seq, copied)?;
            }
            self.objects.pop();
        }
        Ok(())
    }

    /// Copies the records up to `last` that the replica lacks.
    pub(super) async fn copy_records(&mut self, last: Seq, on_record: impl Fn(Seq)) -> Result<()> {
        while let Some(range) = self.lacking.front().cloned() {
            let (from, to) = (*range.start(), (*range.end()).min(last.0));
            if from > to {
                // Only the last range is without end.
                return Ok(());
            }
            let to = to.min(from.saturating_add(OBJECTS_AT_ONCE - 1));
            let coming: Vec<_> = futures::stream::iter(from..=to)
                .map(|seq| self.object_of(Seq(seq)))
                .buffered(OBJECTS_AT_ONCE as usize)
                .collect()
                .await;
            for (seq, object) in (from..=to).zip(coming) {
                let (line, object) = object?;
                match line {
                    Some(line) => {
                        self.book(Seq(seq), object)?;
                        self.create(&line).await?;
                        self.done.records += 1;
                    }
                    None => {
                        let first = self.stream.store().describe();
                        let why = format!("ledger record {seq} cannot be read in {first}");
                        self.pass_over(Seq(seq), why)?;
                    }
                }
                self.lacking.pop_front();
                if seq < *range.end() {
                    self.lacking.push_front(seq + 1..=*range.end());
                }
                on_record(Seq(seq));
            }
        }
        Ok(())
    }

    /// The record `seq`, if it can be read, after its object was copied.
    async fn object_of(&self, seq: Seq) -> Result<(Option<Line>, Object)> {
        let line = self.index.record(seq)?;
        let object = match line.as_ref().and_then(Line::object) {
            Some(object) => self.copy_object(seq, object).await?,
            None => Object::NotNeeded,
        };
        Ok((line, object))
    }

    /// What became of the object that record `seq` names.
    pub(super) fn book(&mut self, seq: Seq, object: Object) -> Result<()> {
        match object {
            Object::There(copied) => {
                self.done.segments += u64::from(copied.is_some());
                self.done.bytes += copied.unwrap_or(0);
                self.look_again_after(seq)?;
            }
            Object::NotNeeded => {}
            Object::PassedOver(why) => self.pass_over(seq, why)?,
        }
        Ok(())
    }

    /// Copies the object that record `seq` names, unless it is there.
    pub(super) async fn copy_object(&self, seq: Seq, object: &ObjectRecord) -> Result<Object> {
        let expected = object.checksums();
        match self.replica.head(&object.key).await {
            Ok(there) if there.agrees_with(&expected) => return Ok(Object::There(None)),
            Ok(_) => return Ok(self.stands_in_the_way(&object.key)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        let source = Source {
            store: self.stream.store(),
            key: &object.key,
            expected,
        };
        let pace = &self.pace;
        let on_bytes = |bytes| pace.before_sending(bytes).boxed();
        match copy_object(source, &self.replica, &object.key, &on_bytes).await {
            Ok(()) => Ok(Object::There(Some(object.size))),
            Err(CopyError::Target(error)) if error.already_exists() => {
                // Somebody else fills it too.
                let there = self.replica.head(&object.key).await?;
                Ok(match there.agrees_with(&expected) {
                    true => Object::There(None),
                    false => self.stands_in_the_way(&object.key),
                })
            }
            Err(CopyError::Source(error))
                if error.is_not_found() || error.kind == ErrorKind::Truncated =>
            {
                self.not_given(seq, object, error.to_string())
            }
            Err(error @ CopyError::Differs { .. }) => {
                self.not_given(seq, object, error.to_string())
            }
            Err(CopyError::Source(error) | CopyError::Target(error)) => Err(error.into()),
        }
    }

    /// The first store has no such object, or not as recorded: that is bad only if something is still read from it.
    fn not_given(&self, seq: Seq, object: &ObjectRecord, why: String) -> Result<Object> {
        Ok(match self.is_needed(seq, &object.key)? {
            true => Object::PassedOver(why),
            false => Object::NotNeeded,
        })
    }

    fn stands_in_the_way(&self, key: &ObjectKey) -> Object {
        let (replica, first) = (self.replica.describe(), self.stream.store().describe());
        Object::PassedOver(format!(
            "object {key} in {replica} is not the one recorded; 'binlogfs replicate {first} --to {replica} --check --replace' puts the \
             right one in its place"
        ))
    }

    /// Whether a segment of the history still stands for the object that record `seq` names.
    pub(super) fn is_needed(&self, seq: Seq, key: &ObjectKey) -> Result<bool> {
        let Some(entry) = self.index.entry_by_seq(self.introduced_by(seq)?)? else {
            return Ok(false);
        };
        if self.index.is_pruned(entry.timeline, &entry.mount_name)? {
            return Ok(false);
        }
        Ok(entry
            .segment
            .is_some_and(|segment| segment.object.key == *key))
    }

    /// Creates a record, or finds the same one there.
    pub(super) async fn create(&self, line: &Line) -> Result<()> {
        let (key, bytes) = (record_key(line.seq()), line.stored());
        match self.replica.create(&key, bytes.clone()).await {
            Ok(()) => Ok(()),
            Err(error) if error.already_exists() => {
                let there = self.replica.get_all(&key, RECORD_MAX_BYTES).await?;
                if there != bytes {
                    bail!(
                        "record {} in {} is not the one in {}: is something else written there?",
                        line.seq(),
                        self.replica.describe(),
                        self.stream.store().describe()
                    );
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
