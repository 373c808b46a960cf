//! Second copies: a stream's objects, byte for byte and under the same keys, in another store.
//!
//! The ledger of the first store stays the one truth and the one arbiter: only there records are made. A replica is filled from
//! it, and is a complete stream by itself: it can be mounted and recovered from when the first store is gone.
//!
//! # Ordering
//! 1. `stream.json`, once.
//! 2. For each record, in order: the object that it names, then the record itself. Its bytes are those that this host has followed
//!    the ledger with, so their chain is proven, and the record before it is there already.
//! 3. The pages whose records are there, and the registered backups.
//!
//! So a replica is at every instant what the first store was at some instant: a prefix of the history. It is filled behind the
//! archiver, by a task of its own: a replica that is down, slow or full stops nothing but itself.
//!
//! # Crashes
//! Everything is created only where nothing stands, and under the key that it has in the first store. Whoever was killed begins
//! again by a comparison of what there is (two listings), and goes on with what is missing. Two that fill one replica do the same
//! work twice and disturb each other in nothing. An upload that was cut off may leave parts behind, invisible ones, as any does.
//!
//! # What is missing or damaged in the first store
//! It cannot be copied: it is passed over and told, and what comes after it is copied. A record that cannot be read leaves the same
//! hole in the replica as in the first store. As long as there is such a thing, all is compared again every hour: what was
//! healed in the first store is copied then. Another object for a segment that holds others back (see below) has all compared in the
//! next pass.
//!
//! # When a segment counts as archived
//! [`crate::sync::archive::Settings::archived_through`]: the newest record that all replicas have, where all are waited for; else
//! there is no such limit. `state.json` names no segment after it.
//!
//! What was passed over is in no replica: neither it nor anything after it counts, as its file on the server may be the last good
//! copy ([`Held`]). Two things end that: it is healed, or a person gives it up, by the number of its record. What counted before
//! holds nothing back: nobody keeps its file any more, and no waiting makes it whole.
//!
//! # What it costs
//! Of the first store one get for each 8 MiB of an object, of the replica a head and an upload for each segment and one create for
//! its record. The database host reads nothing twice.

mod begin;
mod check;
mod copy;
mod extras;
mod held;
#[cfg(test)]
mod tests;

pub use check::Checked;
pub use held::{Held, counts_through};

use super::pace::Pace;
use crate::index::Index;
use crate::model::{ObjectKey, Seq};
use crate::store::SharedStore;
use crate::stream::Stream;
use anyhow::{Context as _, Result};
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// No record is held back from counting as archived.
pub fn through_unlimited() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(u64::MAX))
}

/// How long something that was passed over is left alone. The comparison takes two listings.
const TRY_AGAIN_EVERY: Duration = Duration::from_secs(3600);
/// What could not be copied, told one by one; more are counted.
const PASSED_OVER_TOLD: usize = 100;

/// What a pass has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pass {
    /// All records up to this one are in the replica, as far as the first store has them; 0 as long as that is not known.
    pub through: u64,
    /// The newest record of the first store.
    pub last: u64,
    /// Records created.
    pub records: u64,
    /// Objects of segments copied.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What the first store could not give, the first hundred.
    pub passed_over: Vec<String>,
    /// How many there are.
    pub passed_over_count: u64,
    /// How many were passed over since all was last compared: what the replica lacks for good, as far as is known.
    #[serde(skip)]
    pub lacks: u64,
    /// What of that keeps records from counting as archived, where all replicas are waited for.
    #[serde(skip)]
    pub held: Option<Held>,
}

/// Fills one replica.
pub struct Replicator {
    stream: Arc<Stream>,
    index: Arc<Index>,
    replica: SharedStore,
    pace: Arc<Pace>,
    /// Records that the replica lacks, in order; the last range is without end. Empty before the comparison.
    lacking: VecDeque<RangeInclusive<u64>>,
    /// Objects that it lacks, of records that it has.
    objects: Vec<(ObjectKey, Seq)>,
    /// Pages that it has.
    pages: BTreeSet<Seq>,
    /// When pages and backups were last looked at.
    extras_at: Option<Instant>,
    /// When all was last compared, and how many things were passed over since.
    compared_at: Option<Instant>,
    lacks: u64,
    held: Option<Held>,
    /// What was passed over up to this record holds nothing back.
    settled: Seq,
    done: Pass,
}

impl Replicator {
    /// One that copies what `stream` has to `replica`, as fast as `pace` lets it send.
    pub fn new(stream: Arc<Stream>, replica: SharedStore, pace: Arc<Pace>) -> Replicator {
        Replicator {
            index: Arc::clone(stream.index()),
            stream,
            replica,
            pace,
            lacking: VecDeque::new(),
            objects: Vec::new(),
            pages: BTreeSet::new(),
            extras_at: None,
            compared_at: None,
            lacks: 0,
            held: None,
            settled: Seq(0),
            done: Pass::default(),
        }
    }

    /// Copies everything that the replica lacks now, and calls `on_record` after each record.
    ///
    /// # Errors
    /// When a store does not do what it is asked, or the replica holds another history. What was copied stays, [`Replicator::so_far`]
    /// tells it, and the next call goes on from there.
    pub async fn pass(&mut self, on_record: impl Fn(Seq)) -> Result<Pass> {
        self.done = Pass::default();
        let followed = self.stream.follow().await.context("the first store")?;
        if followed.look_again || self.tries_again() {
            // What could not be copied before may be readable now.
            self.lacking.clear();
        }
        let last = followed.state.last_seq;
        self.done.last = last.0;
        let compares = self.lacking.is_empty();
        if compares {
            self.begin(last).await?;
        }
        self.copy_objects().await?;
        self.copy_records(last, on_record).await?;
        if compares || self.extras_due() {
            self.copy_extras().await?;
        }
        self.done.through = self.through();
        self.done.lacks = self.lacks;
        self.done.held = self.held.clone();
        Ok(std::mem::take(&mut self.done))
    }

    /// What a pass that failed had done before it did.
    pub fn so_far(&self) -> Pass {
        Pass {
            through: self.through(),
            ..self.done.clone()
        }
    }

    /// The record up to which the replica has all of them; 0 as long as that is not known.
    pub fn through(&self) -> u64 {
        let first = self.lacking.front().map_or(1, |range| *range.start());
        first.saturating_sub(1)
    }

    /// Whether it is time to look once more whether the first store can give what it could not.
    fn tries_again(&self) -> bool {
        let is_due = |at: Instant| at.elapsed() >= TRY_AGAIN_EVERY;
        self.lacks > 0 && self.compared_at.is_none_or(is_due)
    }

    /// Record `seq`, or the object that it names, cannot be copied.
    fn pass_over(&mut self, seq: Seq, why: String) -> Result<()> {
        self.lacks += 1;
        self.hold_back(seq, &why)?;
        if self.done.passed_over.len() < PASSED_OVER_TOLD {
            tracing::warn!(replica = self.replica.describe(), "not copied: {why}");
            self.done.passed_over.push(why);
        }
        self.done.passed_over_count += 1;
        Ok(())
    }
}
