//! What a replica lacks, and whether it is a replica of this stream at all.

use super::Replicator;
use super::check::is_another;
use crate::ledger::stream_file::STREAM_FILE_MAX_BYTES;
use crate::ledger::{
    RECORD_MAX_BYTES, RECORDS_PREFIX, SEGMENTS_PREFIX, StreamFile, record_key, seq_of_key,
};
use crate::model::{ObjectKey, Seq};
use crate::store::SharedStore;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use tokio::time::Instant;

/// Objects of the index that are compared with a listing at a time.
const KEYS_AT_ONCE: usize = 1000;

impl Replicator {
    /// Compares the replica with the first store, whose newest record is `last`.
    pub(super) async fn begin(&mut self, last: Seq) -> Result<()> {
        self.begin_stream().await?;
        let lacking = lacking(&self.replica).await?;
        let newest = Seq(lacking.back().map_or(0, |range| range.start() - 1));
        self.check_newest(newest, last).await?;
        self.objects = self.missing_objects(&lacking).await?;
        // At once: a failure before leaves all of it to be done again.
        self.lacking = lacking;
        (self.compared_at, self.lacks, self.held) = (Some(Instant::now()), 0, None);
        Ok(())
    }

    /// Creates `stream.json`, or finds the same one there.
    async fn begin_stream(&self) -> Result<()> {
        let (key, own) = (StreamFile::key(), self.stream.file_bytes());
        let create = async {
            match self.replica.get_all(&key, STREAM_FILE_MAX_BYTES).await {
                Ok(there) => Ok(there),
                Err(error) if error.is_not_found() => {
                    match self.replica.create(&key, own.clone()).await {
                        Ok(()) => Ok(own.clone()),
                        Err(error) if error.already_exists() => {
                            self.replica.get_all(&key, STREAM_FILE_MAX_BYTES).await
                        }
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        };
        self.check_stream(&create.await?)
    }

    /// Whether the replica has a `stream.json`, which must be this stream's.
    pub(super) async fn is_begun(&self) -> Result<bool> {
        let key = StreamFile::key();
        match self.replica.get_all(&key, STREAM_FILE_MAX_BYTES).await {
            Ok(there) => self.check_stream(&there).map(|()| true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn check_stream(&self, there: &Bytes) -> Result<()> {
        if there != self.stream.file_bytes() {
            bail!(
                "{} holds another stream than {}: a replica needs a place of its own, empty in the beginning. Nothing was written",
                self.replica.describe(),
                self.stream.store().describe()
            );
        }
        Ok(())
    }

    /// The replica's newest record must be one of this ledger: then all that was copied before it is.
    async fn check_newest(&self, newest: Seq, last: Seq) -> Result<()> {
        let replica = self.replica.describe();
        if newest.0 == 0 {
            return Ok(());
        }
        if newest > last {
            bail!(
                "{replica} has record {newest}, and the ledger that it is a copy of ends at record {last}: records were removed from {0}. \
                 'binlogfs verify {0} --replica {replica} --repair' puts them back",
                self.stream.store().describe()
            );
        }
        let Some(own) = self.index.record(newest)? else {
            // Unreadable here: there is nothing to compare with.
            return Ok(());
        };
        let key = record_key(newest);
        let there = self.replica.get_all(&key, RECORD_MAX_BYTES).await?;
        if there.strip_suffix(b"\n") == Some(own.text().as_bytes()) {
            return Ok(());
        }
        let first = self.stream.store().describe();
        if is_another(&there, &own) {
            bail!(
                "record {newest} in {replica} is another than the one in {first}: something else wrote to one of the two, such as a prune \
                 with a rule or an archiver in {replica}. Nothing was copied; find out which of the two histories counts ('binlogfs ls' of \
                 each), and remove the record from {replica} by hand if that of {first} does"
            );
        }
        bail!(
            "record {newest} in {replica} is damaged. Nothing was copied; 'binlogfs replicate {first} --to {replica} --check --replace' \
             puts the right one in its place"
        )
    }

    /// Objects that the history needs and records name which the replica has, and that it lacks itself.
    async fn missing_objects(
        &self,
        lacking: &VecDeque<RangeInclusive<u64>>,
    ) -> Result<Vec<(ObjectKey, Seq)>> {
        let mut missing = Vec::new();
        let mut listed = Listed::new(&self.replica, SEGMENTS_PREFIX);
        let mut there = listed.next().await?;
        let mut after: Option<ObjectKey> = None;
        loop {
            let named = self.index.object_keys(after.as_ref(), KEYS_AT_ONCE)?;
            let Some((last, _)) = named.last() else {
                return Ok(missing);
            };
            after = Some(last.clone());
            for (key, seq) in named {
                while there.as_ref().is_some_and(|there| *there < key) {
                    there = listed.next().await?;
                }
                let record_is_there = !lacking.iter().any(|range| range.contains(&seq.0));
                // What was pruned there by itself does not come back, and is not asked for at each comparison.
                if there.as_ref() != Some(&key) && record_is_there && self.is_needed(seq, &key)? {
                    missing.push((key, seq));
                }
            }
        }
    }
}

/// The records that `replica` lacks.
async fn lacking(replica: &SharedStore) -> Result<VecDeque<RangeInclusive<u64>>> {
    let (mut found, mut next) = (VecDeque::new(), 1);
    let mut listed = Listed::new(replica, RECORDS_PREFIX);
    while let Some(key) = listed.next().await? {
        let Some(seq) = seq_of_key(&key) else {
            continue;
        };
        if seq.0 > next {
            found.push_back(next..=seq.0 - 1);
        }
        next = seq.0.checked_add(1).context("a record number")?;
    }
    found.push_back(next..=u64::MAX);
    Ok(found)
}

/// The keys below a prefix, page by page.
pub(super) struct Listed<'a> {
    store: &'a SharedStore,
    prefix: &'a str,
    page: std::vec::IntoIter<ObjectKey>,
    after: Option<ObjectKey>,
    more: bool,
}

impl<'a> Listed<'a> {
    pub(super) fn new(store: &'a SharedStore, prefix: &'a str) -> Listed<'a> {
        Listed {
            store,
            prefix,
            page: Vec::new().into_iter(),
            after: None,
            more: true,
        }
    }

    /// The next key.
    pub(super) async fn next(&mut self) -> Result<Option<ObjectKey>> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            if !self.more {
                return Ok(None);
            }
            let page = self.store.list(self.prefix, self.after.as_ref()).await?;
            self.more = page.more;
            let keys: Vec<_> = page.objects.into_iter().map(|(key, _)| key).collect();
            self.after = keys.last().cloned().or(self.after.take());
            self.page = keys.into_iter();
        }
    }
}
