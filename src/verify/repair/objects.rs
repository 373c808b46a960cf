//! Objects: a missing one is created again under its key, a damaged one under a new key, which a `supersede` record names. One that no
//! replica has is made anew from the server's file.

use super::Repair;
use crate::index::Step;
use crate::ledger::record::{ObjectRecord, SupersedeReason, SupersedeRecord};
use crate::ledger::{Body, Entry, SegmentRecord};
use crate::model::{Micros, ObjectKey, Seq, Sha256};
use crate::store::{CopyError, SharedStore, Source, copy_object, prove_object};
use crate::stream::RacesLost;
use crate::sync::append;
use crate::verify::deep::{self, Reading};
use crate::verify::{Audit, Finding, FindingKind};
use anyhow::{Context as _, Result, bail};
use futures::FutureExt as _;
use std::sync::Arc;

/// Lost races for a record after which something else is going on.
const RACES_MAX: u32 = 100;
/// Repairs of one segment, each of the object that the one before it made: more is no accident.
const KEYS_MAX: u32 = 100;
/// Hexadecimal digits that end the name of an object.
const RANDOM_DIGITS: usize = 32;

impl Audit {
    /// Heals the objects that were found missing or damaged, each segment once. Where `reading` is given, a copy is read to its end
    /// before it takes the place of a damaged one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn repair_objects(
        &mut self,
        repair: &Repair,
        reading: Option<&Reading>,
    ) -> Result<()> {
        let mut findings = std::mem::take(&mut self.findings);
        let mut done: Vec<(u64, Result<String, String>)> = Vec::new();
        for finding in &mut findings {
            let damaged = match finding.kind {
                FindingKind::ObjectMissing => false,
                FindingKind::ObjectDamaged => true,
                _ => continue,
            };
            let Some(seq) = finding.record else {
                continue;
            };
            let before = done.iter().find(|(told, _)| *told == seq);
            let outcome = match before {
                Some((_, outcome)) => outcome.clone(),
                None => {
                    let healed = self.repair_object(repair, Seq(seq), damaged, reading).await;
                    let outcome = healed.map_err(|error| crate::telemetry::message(&error));
                    done.push((seq, outcome.clone()));
                    outcome
                }
            };
            match outcome {
                Ok(how) => finding.healed(how),
                Err(why) => finding.not_healed(why),
            }
        }
        self.findings = findings;
        Ok(())
    }

    async fn repair_object(
        &self,
        repair: &Repair,
        seq: Seq,
        damaged: bool,
        reading: Option<&Reading>,
    ) -> Result<String> {
        let entry = self.index().entry_by_seq(seq)?;
        let entry = entry.context("the segment is not in the history any more")?;
        let segment = entry.segment.as_deref();
        let segment = segment.context("the segment is not in the history any more")?;
        let object = &segment.object;
        let mut why = Vec::new();
        for replica in &self.replicas {
            let source = Source {
                store: replica,
                key: &object.key,
                expected: object.checksums(),
            };
            let healed = match damaged {
                false => self.create_again(source).await.map(|()| {
                    format!(
                        "{} was created again from {}",
                        object.key,
                        replica.describe()
                    )
                }),
                true => {
                    self.under_new_key(repair, &entry, segment, source, reading)
                        .await
                }
            };
            match healed {
                Ok(how) => return Ok(how),
                Err(error) => why.push(crate::telemetry::message(&error)),
            }
        }
        if let Some(files) = &repair.own_files {
            match files.heal(self.stream(), &entry).await {
                Ok(how) => return Ok(how),
                Err(error) => why.push(crate::telemetry::message(&error)),
            }
        }
        bail!("{}", why.join("; "))
    }

    async fn create_again(&self, source: Source<'_>) -> Result<()> {
        copy(source, self.store(), source.key).await
    }

    /// Copies a good object to a key of its own, and has a record name it.
    async fn under_new_key(
        &self,
        repair: &Repair,
        entry: &Entry,
        segment: &SegmentRecord,
        source: Source<'_>,
        reading: Option<&Reading>,
    ) -> Result<String> {
        if let Some(reading) = reading {
            let elsewhere = Reading {
                reader: Arc::new((reading.reader_of)(Arc::clone(source.store))),
                ..reading.clone()
            };
            if let Some(Finding { detail, .. }) = deep::read(&elsewhere, entry).await {
                bail!(
                    "the copy in {} is no better: {detail}",
                    source.store.describe()
                );
            }
        }
        let key = self.copy_to_new_key(source).await?;
        let seq = self
            .supersede(entry.seq, &segment.object, &key, &repair.archiver)
            .await?;
        Ok(format!(
            "record {seq} names {key}, copied from {}; {} stays as it is",
            source.store.describe(),
            segment.object.key
        ))
    }

    /// Copies to the first of the keys made from the old one at which nothing else stands.
    async fn copy_to_new_key(&self, source: Source<'_>) -> Result<ObjectKey> {
        let mut key = source.key.clone();
        for _ in 0..KEYS_MAX {
            key = successor(&key)?;
            let there = Source {
                store: self.store(),
                key: &key,
                ..source
            };
            match self.store().head(&key).await {
                // Left by a repair that was killed before it made its record.
                Ok(meta) if meta.agrees_with(&source.expected) => {
                    if prove_object(there).await.is_ok() {
                        return Ok(key);
                    }
                }
                Ok(_) => {}
                Err(error) if error.is_not_found() => {
                    copy(source, self.store(), &key).await?;
                    return Ok(key);
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!(
            "{KEYS_MAX} objects made by repairs of this segment are damaged: look at the store before anything else"
        )
    }

    /// Creates the record that names the better object, which has the bytes that the damaged one should have. For whom it is may have
    /// changed since the damage was found: to copy an object takes its time, and the segment was re-keyed meanwhile.
    async fn supersede(
        &self,
        seq: Seq,
        damaged: &ObjectRecord,
        better: &ObjectKey,
        by: &str,
    ) -> Result<Seq> {
        for _ in 0..RACES_MAX {
            let state = append::followed(self.stream()).await?;
            let now = self.index().entry_by_seq(seq)?;
            let better = now.as_ref().and_then(|entry| {
                let object = &entry.segment.as_ref()?.object;
                let better = ObjectRecord {
                    key: better.clone(),
                    ..object.clone()
                };
                let is_damaged = object.same_bytes(damaged);
                entry.in_object(better).filter(|_| is_damaged)
            });
            let Some(better) = better else {
                // Ours, whose reply was lost, or somebody else's.
                return Ok(state.last_seq);
            };
            let body = Body::Supersede(Box::new(SupersedeRecord {
                supersedes: seq,
                reason: SupersedeReason::BetterCopy,
                made_at: Some(Micros::now()),
                made_by: Some(by.to_owned()),
                segment: better,
            }));
            if let Some((line, _)) = append::create(self.store(), &state, body).await? {
                let seq = line.seq();
                // Else the new object would pass for one that no record names.
                self.index().apply(&[Step::Line(line)])?;
                return Ok(seq);
            }
        }
        bail!(RacesLost(RACES_MAX))
    }
}

async fn copy(source: Source<'_>, to: &SharedStore, key: &ObjectKey) -> Result<()> {
    let free = |_| futures::future::ready(()).boxed();
    match copy_object(source, to, key, &free).await {
        // Somebody else heals it too.
        Err(CopyError::Target(error)) if error.already_exists() => {
            let there = Source {
                store: to,
                key,
                ..source
            };
            Ok(prove_object(there).await?)
        }
        copied => Ok(copied?),
    }
}

/// The key of the next object for what is stored at `key`: the same file's name, and instead of its random digits a digest of them.
fn successor(key: &ObjectKey) -> Result<ObjectKey> {
    // Names of files may have dashes and suffixes of their own: what follows the last dash is ours.
    let (file, ours) = key
        .as_str()
        .rsplit_once('-')
        .context("the object's key has no dash")?;
    let suffix = ours
        .get(RANDOM_DIGITS..)
        .context("the object's key has no random digits")?;
    let digest = Sha256::of(format!("repair of {key}").as_bytes()).to_string();
    let digits = digest.get(..RANDOM_DIGITS).unwrap_or(&digest);
    Ok(format!("{file}-{digits}{suffix}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record_key;
    use crate::ledger::testing::{self, Writer};
    use crate::store::{Checksums, MemoryStore};
    use crate::stream;

    #[tokio::test]
    async fn what_was_rekeyed_while_its_object_was_healed_stays_rekeyed() {
        let bytes = "what was archived";
        let mut segment = testing::segment(1);
        let sums = Checksums::of(bytes.as_bytes());
        segment.object.size = sums.size;
        segment.object.crc32c = sums.crc32c;
        segment.object.crc64nvme = sums.crc64nvme;
        let mut writer = Writer::default();
        let (memory, replica) = (MemoryStore::new(), MemoryStore::new());
        let mut record = |body: Body| {
            let line = writer.write(body);
            memory.tamper(&record_key(line.seq()), line.stored());
        };
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        record(Body::Segment(Box::new(segment.clone())));
        memory.tamper(&segment.object.key, "other bytes");
        replica.tamper(&segment.object.key, bytes);
        let replicas: Vec<SharedStore> = vec![Arc::new(replica)];
        let mut audit = Audit::open(&shared, replicas).await.expect("opens");
        audit.check_entries().expect("reads");
        audit.check_objects().await;
        // Between the look and the repair.
        let rekeyed = testing::rekeyed(1, segment.clone());
        let for_others = rekeyed.segment.object.clone();
        record(Body::Supersede(Box::new(rekeyed)));
        let repair = Repair {
            replace: false,
            archiver: "test".to_owned(),
            own_files: None,
        };
        let repaired = audit.repair_objects(&repair, None).await;
        repaired.expect("the index can be read");
        let healed: Vec<bool> = audit.findings.iter().map(|one| one.healed).collect();
        assert_eq!(healed, [true], "{:?}", audit.findings);
        let now = audit.index().entry_by_seq(Seq(1)).expect("reads");
        let now = now.and_then(|entry| entry.segment).expect("a segment");
        assert_ne!(now.object.key, segment.object.key);
        let expected = ObjectRecord {
            key: now.object.key.clone(),
            ..for_others
        };
        assert_eq!(now.object, expected);
    }

    #[test]
    fn the_key_of_a_repair_is_new_says_the_same_file_and_is_the_same_each_time() {
        for key in [
            "segments/binlog.000003-00112233445566778899aabbccddeeff.zst.age",
            "segments/a.zst-b.000003-00112233445566778899aabbccddeeff.zst",
        ] {
            let key: ObjectKey = key.parse().expect("a key");
            let Ok(next) = successor(&key) else {
                panic!("{key} has a successor");
            };
            assert_ne!(next, key);
            assert_eq!(next, successor(&key).expect("the same"));
            let (file, _) = key.as_str().rsplit_once('-').expect("a dash");
            assert!(next.as_str().starts_with(file), "{next}");
            assert_eq!(next.as_str().len(), key.as_str().len());
            assert_ne!(successor(&next).expect("a key"), key);
        }
    }
}
