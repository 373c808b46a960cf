//! Records from one ledger to another, each after its object.

use super::copy::{Copied, Copier};
use super::{OBJECTS_IN_FLIGHT, Order, Report};
use crate::index::{Index, Step};
use crate::ledger::{Body, LedgerState, SegmentRecord};
use crate::model::Seq;
use crate::stream::Stream;
use crate::sync::append;
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// New records that wait to be taken into the index together: each time costs a transaction.
const UNAPPLIED_MAX: usize = 64;

/// Carries records over.
pub(super) struct Carrier<'a> {
    to: &'a Stream,
    order: &'a Order,
    source: Source,
    state: LedgerState,
    /// Created, and not in the index yet.
    unapplied: Vec<Step>,
}

/// Where records and objects come from, shared by those on their way.
#[derive(Clone)]
struct Source {
    index: Arc<Index>,
    name: Arc<str>,
    copier: Copier,
}

/// A record whose object is at the new place.
struct Ready {
    seq: Seq,
    body: Body,
    object: Option<(Copied, u64)>,
    read_back: Option<bool>,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(
        from: &'a Stream,
        to: &'a Stream,
        order: &'a Order,
        state: &LedgerState,
    ) -> Carrier<'a> {
        let copier = Copier::new(from.store(), to.store(), &order.identities);
        Carrier {
            to,
            order,
            source: Source {
                index: Arc::clone(from.index()),
                name: from.store().describe().into(),
                copier,
            },
            state: state.clone(),
            unapplied: Vec::new(),
        }
    }

    /// Carries over every record through `through`.
    pub(super) async fn carry(
        &mut self,
        through: Seq,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<()> {
        let done = self.each(through, report, progress).await;
        self.settle()?;
        done
    }

    async fn each(
        &mut self,
        through: Seq,
        report: &mut Report,
        progress: &impl Fn(&Report),
    ) -> Result<()> {
        let source = self.source.clone();
        let stop = Arc::clone(&self.order.stop);
        let wanted = (self.state.next_seq().0..=through.0)
            .map(Seq)
            .take_while(move |_| !stop.load(Ordering::Relaxed));
        let ready = wanted.map(|seq| {
            let source = source.clone();
            async move { source.bring(seq).await }
        });
        let mut ready = futures::stream::iter(ready).buffered(OBJECTS_IN_FLIGHT);
        while let Some(next) = ready.next().await {
            let next = next?;
            self.record(&next).await?;
            report.note(&next);
            progress(report);
        }
        Ok(())
    }

    /// Creates the record that says what the old one says.
    async fn record(&mut self, ready: &Ready) -> Result<()> {
        let body = ready.body.clone();
        if let Some((line, next)) = append::create(self.to.store(), &self.state, body).await? {
            self.unapplied.push(Step::Line(line));
            self.state = next;
            if self.unapplied.len() >= UNAPPLIED_MAX {
                self.settle()?;
            }
            return Ok(());
        }
        // Ours after a lost reply, or that of another run: the same.
        self.settle()?;
        self.state = (*append::followed(self.to).await?).clone();
        let there = self.to.index().record(ready.seq)?;
        if there.is_none_or(|line| line.record().body != ready.body) {
            bail!(
                "record {} of {} is another than that of {}: somebody archives there before the cut-over",
                ready.seq,
                self.to.store().describe(),
                self.source.name
            );
        }
        if self.state.last_seq > ready.seq {
            bail!(
                "another run carries records over to {} at the same time: let it, or end it and run this again",
                self.to.store().describe()
            );
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        if !self.unapplied.is_empty() {
            self.to.index().apply(&self.unapplied)?;
            self.unapplied.clear();
        }
        Ok(())
    }
}

impl Source {
    /// A record of the old ledger, once its object is at the new place.
    async fn bring(&self, seq: Seq) -> Result<Ready> {
        let line = self.index.record(seq)?.with_context(|| {
            format!(
                "ledger record {seq} of {} cannot be read, so it cannot be carried over; restore it from a copy of the bucket",
                self.name
            )
        })?;
        let body = line.record().body.clone();
        let segment = match &body {
            Body::Segment(segment) => Some(&**segment),
            Body::Supersede(supersede) => Some(&supersede.segment),
            Body::Hole(_) | Body::Gap(_) | Body::Fence(_) | Body::Prune(_) | Body::Moved(_) => None,
        };
        let (mut object, mut read_back) = (None, None);
        if let Some(segment) = segment {
            let what = || format!("record {seq}, {}", segment.mount_name);
            let copied = match self.copier.copy(&segment.object).await {
                // A damaged object that a better one has replaced stays where it is.
                Err(error) if !self.is_needed(seq, segment)? => {
                    tracing::warn!(%seq, error = format!("{error:#}"), "not carried over: the history needs it no more");
                    Copied::Gone
                }
                copied => copied.with_context(what)?,
            };
            match copied {
                Copied::Gone if self.is_needed(seq, segment)? => bail!(
                    "record {seq}, {}: its object {} is not in {}; 'binlogfs verify' tells what is missing",
                    segment.mount_name,
                    segment.object.key,
                    self.name
                ),
                Copied::Gone => {}
                Copied::Now | Copied::Before => {
                    let read = self.copier.read_back(segment).await;
                    read_back = Some(read.with_context(what)?);
                }
            }
            object = Some((copied, segment.object.size));
        }
        Ok(Ready {
            seq,
            body,
            object,
            read_back,
        })
    }

    /// Whether the history shows a segment as this record says it: objects of those that were pruned, or replaced by
    /// another, may be gone.
    fn is_needed(&self, seq: Seq, segment: &SegmentRecord) -> Result<bool> {
        let Some(entry) = self.index.entry_by_seq(seq)? else {
            return Ok(false);
        };
        let shown = self.index.entry(entry.timeline, &entry.mount_name)?;
        let now = shown.and_then(|entry| entry.segment);
        Ok(now.is_some_and(|now| now.object.key == segment.object.key))
    }
}

impl Report {
    fn note(&mut self, ready: &Ready) {
        self.carried += 1;
        match ready.object {
            Some((Copied::Now, bytes)) => {
                self.objects_copied += 1;
                self.bytes_copied += bytes;
            }
            Some((Copied::Before, _)) => self.objects_there += 1,
            Some((Copied::Gone, _)) => self.objects_gone += 1,
            None => {}
        }
        match ready.read_back {
            Some(true) => self.read_back += 1,
            Some(false) => self.checksums_only += 1,
            None => {}
        }
    }
}
