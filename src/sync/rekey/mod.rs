//! Re-keying: new age headers for what is archived, each in a `supersede` record. No object is touched, unless that is asked for.
//!
//! # One segment
//! 1. Its record tells whether there is anything to do, and whether one of the keys at hand can: no request.
//! 2. Header and tail of its object are fetched, and the file key is taken out of the header. Of a segment that was re-keyed
//!    before, the header is in its record: no request.
//! 3. A header for the new recipients is made, with the same file key and nonce, and **the tail is opened with it**: nothing is
//!    recorded that was not seen to open, because age proves everything of a header but its nonce.
//! 4. A `supersede` record is created that carries it. One request.
//!
//! Steps 1 to 3 are done for [`HEADERS_IN_FLIGHT`] segments at a time, step 4 for one after another.
//!
//! # Rewriting
//! With [`Order::rewrite`] steps 2 and 3 are another: the segment is read and stored again under a new object key, with a file key of its
//! own ([`crate::sync::anew`]), [`anew::OBJECTS_IN_FLIGHT`] at a time; the record names the new object. The old one is superseded then: a
//! day later `prune` may delete it, and with it goes what an old key opens. A segment that was re-keyed by its record alone is
//! rewritten, even for the same recipients: its object is still for the old ones.
//!
//! # Crashes, and others who write
//! Each record is whole or absent. Killed anywhere, the next run finds by the records which segments are for the new recipients
//! already, and goes on with the others. Who loses the race for a record reads the winner's, looks at the segment again, and
//! makes the record anew if it still needs one: a better copy that came meanwhile is not replaced by what it replaced.
//!
//! # What it does not do
//! Whoever has an old key and an object's bytes can open them, as before: the object's own header is where it was. Of a rewritten segment
//! that holds until the old object is deleted, and for whoever has a copy of it for ever.

mod prepare;
mod report;

pub use report::{Failed, Foreign, Report};

use super::anew::{self, Anew, Maker};
use super::append;
use super::clock::Clock;
use crate::index::{Index, Step};
use crate::ledger::record::{Body, SupersedeReason, SupersedeRecord};
use crate::ledger::{Entry, LedgerState, SegmentRecord, page};
use crate::model::{Seq, Timeline};
use crate::segment::{Identities, Recipients};
use crate::store::SharedStore;
use crate::stream::{RacesLost, Stream};
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use prepare::{Prepared, Preparer, Ready};
use report::Outcome;
use std::sync::Arc;

/// Segments whose headers are fetched at a time: their records are in memory too.
pub const HEADERS_IN_FLIGHT: usize = 16;
/// Rows of the index in memory at a time.
const ROWS: usize = 1000;
/// New records that wait to be taken into the index together: each time costs a transaction.
const UNAPPLIED_MAX: usize = 64;
/// Losing the race for a record this often in a row means that something other than a race is going on.
const RACES_MAX: u32 = 1000;

/// What to re-key, and how.
pub struct Order {
    /// The keys that open the segments now.
    pub identities: Identities,
    /// For whom they are to be.
    pub recipients: Recipients,
    /// Only segments that came into the ledger with this record or after it.
    pub since: Seq,
    /// Look only: nothing is fetched and nothing written.
    pub dry_run: bool,
    /// Store the objects again, in this way, instead of carrying new headers in records.
    pub rewrite: Option<Anew>,
    /// A person's word that nobody else writes, for a store without conditional creates.
    pub single_writer: bool,
    /// Host name and version, for the records.
    pub by: String,
    /// The time of day.
    pub clock: Clock,
}

/// A run of re-keying.
pub struct Rekeying<'a> {
    store: SharedStore,
    stream: &'a Stream,
    index: Arc<Index>,
    order: &'a Order,
    own_keys: Vec<String>,
    maker: Option<Arc<Maker>>,
    state: LedgerState,
    /// Created, and not in the index yet.
    unapplied: Vec<Step>,
}

impl<'a> Rekeying<'a> {
    /// Begins a run: the ledger is followed, and the store shown to create and never overwrite.
    ///
    /// # Errors
    /// When the ledger cannot be appended to.
    pub async fn begin(stream: &'a Stream, order: &'a Order) -> Result<Rekeying<'a>> {
        let store = Arc::clone(stream.store());
        if !order.dry_run {
            crate::stream::probe_condition(&store, stream.file_bytes()).await?;
        }
        let state = (*append::followed(stream).await?).clone();
        let maker = match &order.rewrite {
            Some(anew) if !order.dry_run => {
                let maker = Maker::open(&store, stream, &order.identities, anew, &order.clock);
                Some(Arc::new(maker.await?))
            }
            Some(_) | None => None,
        };
        Ok(Rekeying {
            maker,
            store,
            stream,
            index: Arc::clone(stream.index()),
            own_keys: order.identities.public_keys(),
            order,
            state,
            unapplied: Vec::new(),
        })
    }

    /// Re-keys every segment that is to be, of all timelines, in replay order, and of each timeline last what fences took out of it;
    /// `progress` is told the report after each.
    ///
    /// # Errors
    /// When the store fails, or the ledger. What was recorded before stays; another run goes on from there.
    pub async fn run(mut self, progress: impl Fn(&Report)) -> Result<Report> {
        let mut report = Report::default();
        let done = self.all(&mut report, &progress).await;
        let settled = self.settle();
        done.and(settled)?;
        // What an earlier run had made for a record could not go before another one stood at its place.
        if let Some(maker) = &self.maker {
            maker.tidy_up().await?;
        }
        Ok(report)
    }

    async fn all(&mut self, report: &mut Report, progress: &impl Fn(&Report)) -> Result<()> {
        for timeline in self.index.timeline_numbers()? {
            let mut after = None;
            loop {
                let rows = self.index.rows(timeline, after.as_ref(), ROWS)?;
                let Some(last) = rows.last() else { break };
                after = Some(last.mount_name.clone());
                let seqs = rows.iter().map(|row| row.seq).collect();
                self.each(seqs, report, progress).await?;
            }
            let behind = self.behind_fences(timeline)?;
            self.each(behind, report, progress).await?;
        }
        Ok(())
    }

    /// What is no part of the timeline any more, and is kept and given out all the same: it must not take an old key for that.
    fn behind_fences(&self, timeline: Timeline) -> Result<Vec<Seq>> {
        let mut behind = Vec::new();
        for entry in self.index.behind_fences(timeline)? {
            if !self.index.is_pruned(timeline, &entry.mount_name)? {
                behind.push(entry.seq);
            }
        }
        Ok(behind)
    }

    /// Re-keys those of the entries `seqs` that are to be.
    async fn each(
        &mut self,
        mut seqs: Vec<Seq>,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<()> {
        seqs.retain(|seq| *seq >= self.order.since);
        let preparer = self.preparer();
        let prepared = seqs.into_iter().map(|seq| {
            let preparer = preparer.clone();
            async move { preparer.of_seq(seq).await }
        });
        let in_flight = match self.maker {
            Some(_) => anew::OBJECTS_IN_FLIGHT,
            None => HEADERS_IN_FLIGHT,
        };
        let mut prepared = futures::stream::iter(prepared).buffered(in_flight);
        while let Some(next) = prepared.next().await {
            let Some((name, prepared)) = next? else {
                continue;
            };
            let outcome = self.record(prepared).await?;
            report.note(&name, outcome);
            progress(report);
        }
        Ok(())
    }

    fn preparer(&self) -> Preparer<'a> {
        Preparer {
            store: Arc::clone(&self.store),
            index: Arc::clone(&self.index),
            order: self.order,
            own_keys: self.own_keys.clone().into(),
            maker: self.maker.clone(),
        }
    }

    /// Creates the record of a segment whose header or object is made.
    async fn record(&mut self, mut prepared: Prepared) -> Result<Outcome> {
        for _ in 0..RACES_MAX {
            let ready = match prepared {
                Prepared::Done(outcome) => return Ok(outcome),
                Prepared::Ready(ready) => ready,
            };
            if self.is_as_it_was(&ready.entry)? {
                if self.create(&ready).await? {
                    return Ok(Outcome::Rekeyed);
                }
                self.settle()?;
                self.state = (*append::followed(self.stream).await?).clone();
            }
            if self.is_as_it_was(&ready.entry)? {
                prepared = Prepared::Ready(ready);
                continue;
            }
            // Ours after a lost reply, or somebody else's.
            self.give_up(&ready).await?;
            let again = self.preparer().of_seq(ready.entry.seq).await?;
            prepared = again
                .context("a segment that was in the history is in it no more")?
                .1;
        }
        bail!(RacesLost(RACES_MAX))
    }

    /// Creates the next record for a segment. Returns whether it is ours.
    async fn create(&mut self, ready: &Ready) -> Result<bool> {
        let body = self.body(ready)?;
        let made = self.maker.as_ref().zip(ready.made.as_ref());
        if let Some((maker, made)) = made {
            maker.before_record(made, self.state.next_seq()).await?;
        }
        let created = append::create(&self.store, &self.state, body).await?;
        let Some((line, next)) = created else {
            return Ok(false);
        };
        if let Some((maker, made)) = made {
            maker.recorded(made)?;
        }
        self.unapplied.push(Step::Line(line));
        self.state = next;
        if self.unapplied.len() >= UNAPPLIED_MAX {
            self.settle()?;
        }
        Ok(true)
    }

    /// Removes an object that was made for a segment of which something else is recorded by now.
    async fn give_up(&self, ready: &Ready) -> Result<()> {
        match self.maker.as_ref().zip(ready.made.as_ref()) {
            Some((maker, made)) if !self.index.names_object(&made.key)? => {
                maker.discard(made).await
            }
            Some((maker, made)) => maker.recorded(made),
            None => Ok(()),
        }
    }

    /// Whether nobody recorded anything else of a segment since its header was made. What others record is only seen when
    /// a race is lost, and until then nothing of theirs can come between.
    fn is_as_it_was(&self, before: &Entry) -> Result<bool> {
        let now = self.index.entry_by_seq(before.seq)?;
        let object = |entry: &Entry| entry.segment.as_ref().map(|s| s.object.clone());
        Ok(now.is_some_and(|now| object(&now) == object(before)))
    }

    fn body(&self, ready: &Ready) -> Result<Body> {
        let Entry {
            seq,
            previous_gtids,
            segment,
            ..
        } = ready.entry.clone();
        let segment = *segment.context("an entry whose header was made has a segment")?;
        let next = self.state.next_seq();
        // The first record of a page has its previous GTIDs in full, so that a page can be read alone.
        let in_full = previous_gtids.filter(|_| page::page_start(next) == next);
        let segment = SegmentRecord {
            object: ready.object.clone(),
            previous_gtids_sha256: match in_full {
                Some(_) => None,
                None => segment.previous_gtids_sha256,
            },
            previous_gtids: in_full.or(segment.previous_gtids),
            single_writer: segment.single_writer || self.order.single_writer,
            ..segment
        };
        Ok(Body::Supersede(Box::new(SupersedeRecord {
            supersedes: seq,
            reason: SupersedeReason::Rekeyed,
            made_at: Some((self.order.clock)()),
            made_by: Some(self.order.by.clone()),
            segment,
        })))
    }

    /// Takes what was created into the index.
    fn settle(&mut self) -> Result<()> {
        if !self.unapplied.is_empty() {
            self.index.apply(&self.unapplied)?;
            self.unapplied.clear();
        }
        Ok(())
    }
}
