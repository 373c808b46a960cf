//! The ledger of a stream, followed from its first record without believing anything, and what was found wrong.

use super::finding::{Finding, FindingKind};
use super::segment::Segment;
use crate::index::Index;
use crate::ledger::{Entry, LedgerState};
use crate::model::{Sha256, Timeline};
use crate::segment::check_carried_header;
use crate::store::SharedStore;
use crate::stream::{Stream, StreamError};
use anyhow::Result;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Entries fetched from the index at a time.
const PAGE_ENTRIES: usize = 10_000;
/// Public keys named when none of the private keys is there.
const RECIPIENTS_TOLD: usize = 8;

/// A stream that is looked over.
pub struct Audit {
    stream: Arc<Stream>,
    state: Arc<LedgerState>,
    /// Stores that have copies, and may heal.
    pub(super) replicas: Vec<SharedStore>,
    /// What was found, in the order of the history as far as it has one.
    pub findings: Vec<Finding>,
    /// Pages that there are.
    pub pages: u64,
    /// The segments of the history, in its order, and after them those that fences took out of it.
    pub segments: Vec<Segment>,
    /// How many of them are encrypted, and some of the keys for which they are.
    pub encrypted: (u64, BTreeSet<String>),
    /// Entries that were pruned: that they have no object is no finding.
    pub pruned: u64,
}

/// A ledger, followed as far as it goes, and why no further.
struct Followed {
    stream: Arc<Stream>,
    state: Arc<LedgerState>,
    alarm: Option<String>,
}

/// Follows the ledger in `store` into an index of its own: nothing that an earlier run believed is taken for granted.
async fn follow(store: &SharedStore) -> Result<Followed> {
    let index = Arc::new(Index::temporary()?);
    let stream = Stream::open(Arc::clone(store), Arc::clone(&index)).await?;
    let stream = stream.without_pages();
    let (state, alarm) = match stream.follow().await {
        Ok(followed) => (followed.state, None),
        Err(error) if error.leaves_history() => {
            let known = index.state()?.filter(|state| state.last_seq.0 > 0);
            match known {
                Some(known) => (known, Some(error.to_string())),
                None => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Followed {
        stream: Arc::new(stream),
        state,
        alarm,
    })
}

impl Audit {
    /// Follows the ledger in `store`. `replicas` are compared with it, and may heal it.
    ///
    /// # Errors
    /// When there is no stream, or nothing of its ledger can be followed.
    pub async fn open(store: &SharedStore, replicas: Vec<SharedStore>) -> Result<Audit> {
        let followed = follow(store).await?;
        let mut audit = Audit {
            stream: followed.stream,
            state: followed.state,
            replicas,
            findings: Vec::new(),
            pages: 0,
            segments: Vec::new(),
            encrypted: (0, BTreeSet::new()),
            pruned: 0,
        };
        audit.note(followed.alarm);
        Ok(audit)
    }

    /// Whether [`Audit::open`] failed because `stream.json` is missing or damaged.
    pub fn lacks_stream_file(error: &anyhow::Error) -> bool {
        let error = error.downcast_ref::<StreamError>();
        error.is_some_and(|error| {
            matches!(
                error,
                StreamError::NoStream { .. } | StreamError::StreamFile { .. }
            )
        })
    }

    fn note(&mut self, alarm: Option<String>) {
        if let Some(alarm) = alarm {
            self.findings.push(Finding::new(FindingKind::Ledger, alarm));
        }
    }

    /// Follows it anew, after it was healed.
    pub(super) async fn follow_again(&mut self) -> Result<()> {
        let store = Arc::clone(self.stream.store());
        let followed = follow(&store).await?;
        self.findings
            .retain(|finding| finding.kind != FindingKind::Ledger);
        self.note(followed.alarm);
        (self.stream, self.state) = (followed.stream, followed.state);
        Ok(())
    }

    /// Takes in the records that were made since it was followed. One that went backwards, or breaks a rule, is among the findings already
    /// or is found by the next run.
    pub(super) async fn follow_on(&self) -> Result<()> {
        match self.stream.follow().await {
            Ok(_) => Ok(()),
            Err(error) if error.leaves_history() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The first store.
    pub fn store(&self) -> &SharedStore {
        self.stream.store()
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The index that was made of it.
    pub fn index(&self) -> &Arc<Index> {
        self.stream.index()
    }

    /// The ledger.
    pub fn state(&self) -> &LedgerState {
        &self.state
    }

    /// Compares it with an index that this host has: one that once saw a longer ledger knows that this one lost records; a fresh host
    /// cannot. An index of another stream tells nothing of this one.
    ///
    /// # Errors
    /// When an index cannot be read.
    pub fn check_seen(&mut self, seen: &Index) -> Result<()> {
        if seen.stream_bytes()?.as_deref() != Some(&self.stream.file_bytes()[..]) {
            return Ok(());
        }
        let Some(seen) = seen.state()? else {
            return Ok(());
        };
        let newest = self.state.last_seq;
        if seen.last_seq > newest {
            let detail = format!(
                "the ledger ends at record {newest} and this host has seen record {}: records were removed from the bucket; restore them \
                 from a copy",
                seen.last_seq
            );
            self.findings
                .push(Finding::new(FindingKind::Rollback, detail));
            return Ok(());
        }
        let line = self.index().line(seen.last_seq)?;
        let differs = |hash| line.is_some_and(|line| Sha256::of(line.as_bytes()) != hash);
        if seen.last_hash.is_some_and(differs) {
            let detail = format!(
                "ledger record {} is another than the one that this host has seen: records were removed from the bucket, and others made in \
                 their place",
                seen.last_seq
            );
            let finding = Finding::new(FindingKind::Rollback, detail);
            self.findings.push(finding.record(seen.last_seq));
        }
        Ok(())
    }

    /// Takes in what the history is made of, and what of it is known to be wrong. Records that were healed are among the findings
    /// already.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn check_entries(&mut self) -> Result<()> {
        let timelines: Vec<Timeline> = self.state.timelines().map(|(id, _)| id).collect();
        let mut headers = Vec::new();
        for timeline in timelines.iter().copied() {
            self.pruned += self.index().pruned_count(timeline)?;
            let mut after = None;
            loop {
                let page = self
                    .index()
                    .entries(timeline, after.as_ref(), PAGE_ENTRIES)?;
                let Some(last) = page.last() else {
                    break;
                };
                after = Some(last.mount_name.clone());
                for entry in &page {
                    self.check_state(entry);
                    headers.extend(self.take(entry));
                }
            }
        }
        for timeline in timelines {
            for entry in self.index().behind_fences(timeline)? {
                // What its timeline was pruned past is as good as pruned: 'prune --fenced' may have deleted its object.
                match self.index().is_pruned(timeline, &entry.mount_name)? {
                    true => self.pruned += 1,
                    false => headers.extend(self.take(&entry)),
                }
            }
        }
        self.findings.extend(headers);
        Ok(())
    }

    /// What an entry says of itself.
    fn check_state(&mut self, entry: &Entry) {
        let Some(mut finding) = Finding::of_state(entry) else {
            return;
        };
        let told = self
            .findings
            .iter()
            .position(|told| told.kind == FindingKind::Record && told.record == Some(entry.seq.0));
        // What was said of the record before names the reason why it is not healed.
        if let Some(told) = told {
            finding.repair = self.findings.remove(told).repair;
        }
        self.findings.push(finding);
    }

    /// Takes in the segment of an entry, if it has one. What its record carries in place of the stored age header must look like such,
    /// without a key: what is wrong with that is returned.
    fn take(&mut self, entry: &Entry) -> Option<Finding> {
        let object = &entry.segment.as_deref()?.object;
        self.segments.extend(Segment::of(entry));
        let (encrypted, recipients) = &mut self.encrypted;
        *encrypted += u64::from(!object.recipients.is_empty());
        if recipients.len() < RECIPIENTS_TOLD {
            recipients.extend(object.recipients.iter().cloned());
        }
        let header = object.header.as_ref()?;
        let error = check_carried_header(header.bytes(), object.recipients.len()).err()?;
        let detail = format!("{}: {error}", entry.mount_name);
        Some(Finding::of_entry(FindingKind::CarriedHeader, entry, detail))
    }
}
