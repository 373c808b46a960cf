//! Records from one ledger to another, each after its object.

use super::copy::{Copied, Copier};
use super::remade::{self, in_force, with_object};
use super::{OBJECTS_IN_FLIGHT, Order, Report};
use crate::index::{Index, Step};
use crate::ledger::record::ObjectRecord;
use crate::ledger::{Body, LedgerState, SegmentRecord};
use crate::model::Seq;
use crate::stream::Stream;
use crate::sync::anew::{self, Maker};
use crate::sync::append;
use crate::sync::pipeline::Uploaded;
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
    /// Makes the objects, where they are not copied.
    maker: Option<Arc<Maker>>,
}

/// A record whose object is at the new place.
struct Ready {
    seq: Seq,
    /// What the new record is to say; the object aside, if that is [`Ready::again`].
    body: Body,
    object: Option<(Copied, u64)>,
    /// The object that was made for it.
    made: Option<Uploaded>,
    /// The earlier record whose object it names again.
    again: Option<Seq>,
    read_back: Option<bool>,
}

impl Ready {
    fn of(seq: Seq, body: Body) -> Ready {
        Ready {
            seq,
            body,
            object: None,
            made: None,
            again: None,
            read_back: None,
        }
    }
}

impl<'a> Carrier<'a> {
    pub(super) fn new(
        from: &'a Stream,
        to: &'a Stream,
        order: &'a Order,
        state: &LedgerState,
        maker: Option<&Arc<Maker>>,
    ) -> Carrier<'a> {
        let copier = Copier::new(from.store(), to.store(), &order.identities);
        Carrier {
            to,
            order,
            source: Source {
                index: Arc::clone(from.index()),
                name: from.store().describe().into(),
                copier,
                maker: maker.cloned(),
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
        let settled = self.settle();
        done.and(settled)
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
        let in_flight = match self.source.maker {
            Some(_) => anew::OBJECTS_IN_FLIGHT,
            None => OBJECTS_IN_FLIGHT,
        };
        let mut ready = futures::stream::iter(ready).buffered(in_flight);
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
        let body = match ready.again {
            Some(first) => self.naming_again(first, &ready.body)?,
            None => ready.body.clone(),
        };
        let made = self.source.maker.clone().zip(ready.made.as_ref());
        if let Some((maker, made)) = &made {
            maker.before_record(made, self.state.next_seq()).await?;
        }
        let created = append::create(self.to.store(), &self.state, body.clone()).await?;
        if let Some((line, next)) = created {
            self.unapplied.push(Step::Line(line));
            self.state = next;
            if self.unapplied.len() >= UNAPPLIED_MAX {
                self.settle()?;
            }
        } else {
            self.take_over(ready.seq, &body).await?;
        }
        match &made {
            Some((maker, made)) => maker.recorded(made),
            None => Ok(()),
        }
    }

    /// A record stands at the place: ours after a lost reply, or that of another run that says the same.
    async fn take_over(&mut self, seq: Seq, body: &Body) -> Result<()> {
        self.settle()?;
        self.state = (*append::followed(self.to).await?).clone();
        let there = self.to.index().record(seq)?;
        if there.is_none_or(|line| line.record().body != *body) {
            bail!(
                "record {seq} of {} is another than that of {}: somebody archives there before the cut-over, or another run makes the \
                 objects anew at the same time",
                self.to.store().describe(),
                self.source.name
            );
        }
        if self.state.last_seq > seq {
            bail!(
                "another run carries records over to {} at the same time: let it, or end it and run this again",
                self.to.store().describe()
            );
        }
        Ok(())
    }

    /// What a record says that names the object of record `first` again, with the object that was made of that.
    fn naming_again(&mut self, first: Seq, body: &Body) -> Result<Body> {
        self.settle()?;
        let object = |index: &Index| -> Result<ObjectRecord> {
            let line = index.record(first)?;
            let segment = line
                .as_ref()
                .and_then(|line| line.record().body.described());
            let segment =
                segment.with_context(|| format!("ledger record {first} cannot be read"))?;
            Ok(segment.object.clone())
        };
        let (was, is) = (object(&self.source.index)?, object(self.to.index())?);
        Ok(match was == is {
            // Nothing was made of it: the history reads it no more.
            true => body.clone(),
            false => with_object(body.clone(), is),
        })
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
        let line = remade::readable(&self.index, &self.name, seq)?;
        let body = line.record().body.clone();
        let Some(segment) = body.described() else {
            return Ok(Ready::of(seq, body));
        };
        let what = format!("record {seq}, {}", segment.mount_name);
        let ready = match &self.maker {
            Some(maker) => self.make(maker, seq, &body).await,
            None => self.copy(seq, segment, &body).await,
        };
        ready.context(what)
    }

    /// A record with the object that it names.
    async fn copy(&self, seq: Seq, segment: &SegmentRecord, body: &Body) -> Result<Ready> {
        let key = &segment.object.key;
        let copied = match self.copier.copy(&segment.object).await {
            // A damaged object that a better one has replaced stays where it is.
            Err(error) if in_force(&self.index, seq, key)?.is_none() => {
                tracing::warn!(%seq, error = format!("{error:#}"), "not carried over: the history needs it no more");
                Copied::Gone
            }
            copied => copied?,
        };
        let read_back = match copied {
            Copied::Gone if in_force(&self.index, seq, key)?.is_some() => bail!(
                "its object {key} is not in {}; 'binlogfs verify' tells what is missing",
                self.name
            ),
            Copied::Gone => None,
            Copied::Now | Copied::Before => Some(self.copier.read_back(segment).await?),
        };
        Ok(Ready {
            object: Some((copied, segment.object.size)),
            read_back,
            ..Ready::of(seq, body.clone())
        })
    }

    /// A record with a new object for its segment, if the history reads what it names.
    async fn make(&self, maker: &Maker, seq: Seq, body: &Body) -> Result<Ready> {
        let mut ready = Ready::of(seq, body.clone());
        let Some(segment) = body.described() else {
            return Ok(ready);
        };
        let key = &segment.object.key;
        ready.again = self.index.record_naming(key)?.filter(|first| *first < seq);
        if ready.again.is_some() {
            return Ok(ready);
        }
        // As it is read now: it may have been re-keyed since.
        let Some(now) = in_force(&self.index, seq, key)? else {
            ready.object = Some((Copied::Gone, 0));
            return Ok(ready);
        };
        let made = maker.make(&now).await?;
        ready.body = with_object(ready.body, made.object());
        if let Some(segment) = ready.body.described() {
            ready.read_back = Some(self.copier.read_back(segment).await?);
        }
        ready.made = Some(made);
        Ok(ready)
    }
}

impl Report {
    fn note(&mut self, ready: &Ready) {
        self.carried += 1;
        if let Some(made) = &ready.made {
            self.objects_made += 1;
            self.bytes_read += made.summary.size;
            self.bytes_made += made.facts.size;
        }
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
