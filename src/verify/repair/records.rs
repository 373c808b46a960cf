//! Records and pages: those that cannot be read, and those at the end that the first store has lost.

use super::Repair;
use crate::ledger::page::{page_of_key, write_page};
use crate::ledger::{Line, RECORD_MAX_BYTES, StreamFile, record_key};
use crate::model::counted::{count, of_number};
use crate::model::{ObjectKey, Seq, Sha256};
use crate::store::SharedStore;
use crate::verify::{Audit, Finding, FindingKind};
use anyhow::{Result, bail};
use std::sync::Arc;

/// Record `seq` of a store, if it can be read.
pub(super) async fn record_in(store: &SharedStore, seq: Seq) -> Option<Line> {
    let bytes = match store.get_all(&record_key(seq), RECORD_MAX_BYTES).await {
        Ok(bytes) => bytes,
        Err(error) => {
            if !error.is_not_found() {
                // What cannot be asked is not compared, and nobody should believe that it was.
                tracing::warn!(%error, "a record is not compared");
            }
            return None;
        }
    };
    let line = Line::read(&bytes).ok()?;
    (line.seq() == seq).then_some(line)
}

impl Audit {
    /// Heals the records that cannot be read, and follows the ledger again if any was. Each is among the findings after this.
    ///
    /// # Errors
    /// When the first store does not do what it is asked, or the index cannot be read.
    pub async fn repair_records(&mut self, repair: &Repair) -> Result<()> {
        let lost = self.index().lost(usize::MAX)?;
        let (mut any, mut before) = (false, None);
        for seq in lost {
            let detail = format!("ledger record {seq} could not be read");
            let mut finding = Finding::new(FindingKind::Record, detail).record(seq);
            match self.of_replicas(seq, before).await? {
                None => finding.not_healed("no replica has the record that belongs there"),
                Some(line) => {
                    before = Some((seq, line.hash()));
                    let key = record_key(seq);
                    let store = Arc::clone(self.store());
                    match repair.put(&store, &key, line.stored()).await {
                        Ok(put) if put.is_done() => {
                            finding.healed(put.told(key.as_str()));
                            any = true;
                        }
                        Ok(put) => finding.not_healed(put.told(key.as_str())),
                        Err(error) => finding.not_healed(error.to_string()),
                    }
                }
            }
            self.findings.push(finding);
        }
        match any {
            true => self.follow_again().await,
            false => Ok(()),
        }
    }

    /// Record `seq` as a replica has it, if it is the one that belongs there: it continues the record before it, and the one after it
    /// continues it. Of a neighbour that cannot be read nothing is asked, but that `before` is it, with this hash: so the records of a
    /// row that is lost are proven one by the other, from its beginning. Where neither neighbour is known, nothing is believed: that a
    /// replica's records continue each other says nothing of a replica that has gone another way.
    async fn of_replicas(&self, seq: Seq, before: Option<(Seq, Sha256)>) -> Result<Option<Line>> {
        let before = match seq.0 {
            1 => Some(StreamFile::hash(self.stream().file_bytes())),
            _ => {
                let proven = before.filter(|(at, _)| at.0 + 1 == seq.0);
                self.hash_of(Seq(seq.0 - 1))?
                    .or(proven.map(|(_, hash)| hash))
            }
        };
        let next = self.index().record(Seq(seq.0 + 1))?;
        if before.is_none() && next.is_none() {
            return Ok(None);
        }
        for replica in &self.replicas {
            let Some(line) = record_in(replica, seq).await else {
                continue;
            };
            let continues = before.is_none_or(|hash| hash == line.record().prev);
            let continued = next
                .as_ref()
                .is_none_or(|next| next.record().prev == line.hash());
            if continues && continued {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn hash_of(&self, seq: Seq) -> Result<Option<Sha256>> {
        let text = self.index().line(seq)?;
        Ok(text.map(|text| Sha256::of(text.as_bytes())))
    }

    /// Compares the end of the ledger with that of each replica: a replica never has a record that the first store never had. Where
    /// `repair` is given, what continues the ledger is put back.
    ///
    /// # Errors
    /// When the first store does not do what it is asked.
    pub async fn compare_ends(&mut self, repair: Option<&Repair>) -> Result<()> {
        let replicas = self.replicas.clone();
        for replica in &replicas {
            let last = self.state().last_seq;
            let next = Seq(last.0 + 1);
            let there = record_in(replica, last).await.map(|line| line.hash());
            let differs = |(own, there): (Sha256, Sha256)| own != there;
            if self.state().last_hash.zip(there).is_some_and(differs) {
                let detail = format!(
                    "record {last} in {} is another than in {}: one of the two ledgers was changed; find out which before anything else",
                    replica.describe(),
                    self.store().describe()
                );
                let finding = Finding::new(FindingKind::Rollback, detail).record(last);
                self.findings.push(finding);
                continue;
            }
            if record_in(replica, next).await.is_none() {
                continue;
            }
            // Whoever archives meanwhile may have made it since this ledger was followed.
            match self.store().head(&record_key(next)).await {
                Ok(_) => continue,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            self.put_back(replica, repair).await?;
        }
        Ok(())
    }

    /// The hash of the newest record: where that cannot be read, as the replicas prove it.
    async fn newest_hash(&self) -> Result<Option<Sha256>> {
        match self.state().last_hash {
            Some(hash) => Ok(Some(hash)),
            None => {
                let line = self.of_replicas(self.state().last_seq, None).await?;
                Ok(line.map(|line| line.hash()))
            }
        }
    }

    /// The records after the newest one that `replica` has, found and put back.
    async fn put_back(&mut self, replica: &SharedStore, repair: Option<&Repair>) -> Result<()> {
        let last = self.state().last_seq;
        let (mut hash, mut seq) = (self.newest_hash().await?, last);
        let mut stopped = None;
        let mut restored = 0;
        while let Some(line) = record_in(replica, Seq(seq.0 + 1)).await {
            stopped = match hash {
                Some(hash) if hash == line.record().prev => None,
                Some(_) => Some(format!("record {} there does not continue it", line.seq())),
                None => Some(format!(
                    "whether record {} there continues it cannot be told before record {seq} is healed",
                    line.seq()
                )),
            };
            if stopped.is_some() {
                break;
            }
            (hash, seq) = (Some(line.hash()), line.seq());
            if repair.is_none() {
                continue;
            }
            // Never in the place of another: what stands there now, an archiver has made since.
            match self.store().create(&record_key(seq), line.stored()).await {
                Ok(()) => restored += 1,
                Err(error) => {
                    stopped = Some(error.to_string());
                    break;
                }
            }
        }
        let detail = match seq > last {
            true => format!(
                "the ledger ends at record {last}, and {} has records up to {seq}: records were removed from {}",
                replica.describe(),
                self.store().describe()
            ),
            false => format!(
                "the ledger ends at record {last}, and {} has a record after it",
                replica.describe()
            ),
        };
        let mut finding = Finding::new(FindingKind::Rollback, detail).record(Seq(last.0 + 1));
        match (stopped, repair) {
            (Some(why), _) => finding.not_healed(why),
            (None, Some(_)) => {
                let (records, were) = (
                    count(restored, "record"),
                    of_number(restored, "was", "were"),
                );
                finding.healed(format!("{records} {were} created again"));
            }
            (None, None) => {}
        }
        self.findings.push(finding);
        match restored {
            0 => Ok(()),
            _ => self.follow_again().await,
        }
    }

    /// Heals the pages that were found wrong: each is made again of its records.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn repair_pages(&mut self, repair: &Repair) -> Result<()> {
        let store = Arc::clone(self.store());
        let mut findings = std::mem::take(&mut self.findings);
        for finding in &mut findings {
            let key = finding.object.as_deref().map(str::parse::<ObjectKey>);
            let (FindingKind::Page, Some(Ok(key))) = (finding.kind, key) else {
                continue;
            };
            match self.page(&key) {
                Err(error) => finding.not_healed(error.to_string()),
                Ok(bytes) => match repair.put(&store, &key, bytes.into()).await {
                    Ok(put) if put.is_done() => finding.healed("it was made again of its records"),
                    Ok(put) => finding.not_healed(put.told(key.as_str())),
                    Err(error) => finding.not_healed(error.to_string()),
                },
            }
        }
        self.findings = findings;
        Ok(())
    }

    /// The page at `key`, of the records that it must hold.
    fn page(&self, key: &ObjectKey) -> Result<Vec<u8>> {
        let Some(first) = page_of_key(key) else {
            bail!("{key} is no page");
        };
        let mut lines = Vec::new();
        for seq in first.0..=crate::ledger::page::page_end(first).0 {
            match self.index().record(Seq(seq))? {
                Some(line) => lines.push(line),
                None => bail!("record {seq} cannot be read: heal that first"),
            }
        }
        Ok(write_page(&lines)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Body;
    use crate::ledger::testing::{self, Writer};
    use crate::store::{MemoryStore, Store as _};
    use crate::stream;

    /// A store with the made-up stream and these records.
    async fn store_of(lines: &[Line]) -> MemoryStore {
        let memory = MemoryStore::new();
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        for line in lines {
            memory.tamper(&record_key(line.seq()), line.stored());
        }
        memory
    }

    /// The ledger of a replica that has gone its own way after the first record of `lines`.
    fn gone_apart(lines: &[Line]) -> Vec<Line> {
        let first = lines[0].clone();
        let mut writer = Writer {
            seq: 2,
            prev: first.hash(),
        };
        let others = (2..=4).map(|number| writer.write(Body::Hole(testing::hole(number))));
        [first].into_iter().chain(others).collect()
    }

    async fn repaired(own: &MemoryStore, replica: &MemoryStore, replace: bool) -> Audit {
        let stores = [own, replica].map(|memory| Arc::new(memory.clone()) as SharedStore);
        let [own, replica] = stores;
        let mut audit = Audit::open(&own, vec![replica]).await.expect("opens");
        let repair = Repair {
            replace,
            archiver: "test".to_owned(),
            own_files: None,
        };
        let repaired = audit.repair_records(&repair).await;
        repaired.expect("the store answers");
        let compared = audit.compare_ends(Some(&repair)).await;
        compared.expect("the store answers");
        audit
    }

    #[tokio::test]
    async fn behind_a_newest_record_that_is_damaged_a_replica_that_went_apart_puts_nothing() {
        let lines: Vec<Line> = testing::chain(3).collect();
        let own = store_of(&lines).await;
        own.tamper(&record_key(Seq(3)), "no record");
        let replica = store_of(&gone_apart(&lines)).await;
        let audit = repaired(&own, &replica, true).await;
        assert!(
            !own.keys().contains(&record_key(Seq(4))),
            "{:?}",
            own.keys()
        );
        assert!(!audit.findings.is_empty());
        assert!(audit.findings.iter().all(|finding| !finding.healed));
        let told = audit.findings.iter().map(ToString::to_string);
        let told: Vec<String> = told.collect();
        let before = "cannot be told before record 3 is healed";
        assert!(told.iter().any(|text| text.contains(before)), "{told:?}");
    }

    #[tokio::test]
    async fn of_a_row_of_damaged_records_at_the_end_none_is_taken_from_a_replica_that_went_apart() {
        let lines: Vec<Line> = testing::chain(4).collect();
        let own = store_of(&lines).await;
        let damaged = [3, 4].map(|seq| record_key(Seq(seq)));
        for key in &damaged {
            own.tamper(key, "no record");
        }
        let replica = store_of(&gone_apart(&lines)).await;
        let audit = repaired(&own, &replica, true).await;
        for key in &damaged {
            let there = own.get_all(key, 1 << 20).await.expect("there");
            assert_eq!(there, "no record", "{:?}", audit.findings);
        }
        assert!(audit.findings.iter().all(|finding| !finding.healed));
    }

    #[tokio::test]
    async fn a_row_of_damaged_records_is_healed_one_after_the_other_and_what_is_behind_put_back() {
        let lines: Vec<Line> = testing::chain(5).collect();
        let own = store_of(&lines[..4]).await;
        for seq in 2..=4 {
            own.tamper(&record_key(Seq(seq)), "no record");
        }
        let audit = repaired(&own, &store_of(&lines).await, true).await;
        let healed = audit.findings.iter().filter(|finding| finding.healed);
        assert_eq!(healed.count(), 4, "{:?}", audit.findings);
        for line in &lines {
            let there = own.get_all(&record_key(line.seq()), 1 << 20).await;
            assert_eq!(there.expect("there"), line.stored());
        }
    }
}
