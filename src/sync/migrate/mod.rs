//! Moving a stream: another store gets every object and every record, and at the end the archivers.
//!
//! The new stream has an id and hashes of its own; its record *n* says what record *n* of the old one says. Objects are copied
//! byte for byte under the same keys, so nothing is read that a key is needed for, and a copy is the same whoever made it.
//!
//! # For other keys, at another level
//! With [`Order::anew`] objects are not copied but made anew ([`crate::sync::anew`]): for other recipients, at another zstd level, in the
//! format that this build writes, whatever that of the source. Record *n* of the copy then says what record *n* says, but for its object;
//! place, name, SHA-256, GTIDs and times are carried over. A record that names again the object of an earlier one (it was re-keyed) names
//! the object that was made of that. What the history reads no more (pruned, or replaced by another object) is not made: its record is
//! carried over as it is, and its object is not there, as after a prune. The keys of new objects are drawn, so that two runs at once
//! cannot be each other's copy: the second one to make a record ends, and says so.
//!
//! # Order
//! 1. What is there is compared record by record: a new stream that says anything else is not this one's copy.
//! 2. For each further record of the old ledger: its object is copied, its checksums compared with the record, the copy read
//!    back where a key is at hand (or none is needed) and its SHA-256 compared; then the record is created. Objects are
//!    copied [`OBJECTS_IN_FLIGHT`] at a time, records created one after another, so that the new stream is a prefix of the
//!    old one at every instant.
//! 3. Cut-over: a `moved` record closes the old ledger. It is created only as the record right after the last one that was
//!    carried over; an archiver that was faster wins the place, its record is carried over, and it is tried again. From then
//!    on no archiver writes to the old ledger, and the new one has all of it.
//!
//! # Crashes
//! | killed | left behind | next run |
//! |---|---|---|
//! | before or inside the copy of an object | nothing, or a part of an upload | copies it |
//! | after it, before its record | an object that no record names yet | finds it with the right checksums |
//! | the same of an object made anew | an object that no record names, and its key in the journal | removes it, and makes it again |
//! | after the record | a shorter copy | goes on after it |
//! | before or inside the `moved` record | an old ledger that is closed or not | closes it, or sees that it is closed |
//!
//! Nothing in the old stream is changed but for that last record. Which backups are registered is carried over beside the records
//! ([`Migration::carry_backups`]).

mod backups;
mod carry;
mod copy;
mod remade;
mod report;

pub use report::Report;

use super::anew::{Anew, Maker};
use super::append;
use super::clock::Clock;
use crate::index::Index;
use crate::ledger::record::{Body, MovedRecord};
use crate::ledger::{FORMAT, LedgerState, StreamFile};
use crate::model::Seq;
use crate::model::counted::count;
use crate::segment::Identities;
use crate::store::SharedStore;
use crate::stream::{self, Stream, StreamError};
use anyhow::{Context as _, Result, bail};
use carry::Carrier;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Objects on their way at a time.
pub const OBJECTS_IN_FLIGHT: usize = 4;
/// Losing the race for the closing record this often in a row means that something other than a race is going on.
const RACES_MAX: u32 = 1000;

/// What to move, and how.
pub struct Order {
    /// URL of the new stream, for the record that closes the old one.
    pub to_url: String,
    /// Keys that read copies back; without one, the checksums of encrypted objects are all that is compared.
    pub identities: Identities,
    /// How objects are made anew; `None`: they are copied.
    pub anew: Option<Anew>,
    /// Host name and version, for the closing record.
    pub by: String,
    /// The time of day.
    pub clock: Clock,
    /// Set when the process is about to end: no further record is begun.
    pub stop: Arc<AtomicBool>,
}

/// A stream and its copy.
pub struct Migration<'a> {
    from: &'a Stream,
    to: &'a Stream,
    order: &'a Order,
    maker: Option<Arc<Maker>>,
    report: Report,
}

/// Opens the stream that is to be the copy of `from` in `store`, and begins it if there is none.
///
/// # Errors
/// When the store fails, or its stream is `from` itself.
pub async fn open_copy(
    from: &Stream,
    store: SharedStore,
    index: Arc<Index>,
    clock: &Clock,
) -> Result<Stream> {
    let to = match Stream::open(Arc::clone(&store), Arc::clone(&index)).await {
        Err(StreamError::NoStream { .. }) => {
            let file = StreamFile {
                format: FORMAT,
                stream_id: uuid::Uuid::new_v4(),
                created_at: clock(),
                ..from.file().clone()
            };
            match stream::create(&store, &file).await {
                // Another run began it at the same moment: then that is the copy.
                Ok(()) | Err(StreamError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            Stream::open(store, index).await?
        }
        opened => opened?,
    };
    check_another(from, &to)?;
    Ok(to)
}

/// Both places must not be one.
fn check_another(from: &Stream, to: &Stream) -> Result<()> {
    let (old, new) = (from.file(), to.file());
    if old.stream_id == new.stream_id {
        bail!(
            "{} and {} are the same stream ({}): name another place",
            from.store().describe(),
            to.store().describe(),
            old.stream_id
        );
    }
    if old.flavour != new.flavour || old.basename != new.basename {
        bail!(
            "{} holds another stream ({}, {:?} files of {}), not a copy of this one",
            to.store().describe(),
            new.stream_id,
            new.flavour,
            new.basename
        );
    }
    Ok(())
}

/// What a run would do: what the copy has is compared, and what it lacks counted. Nothing is written.
///
/// # Errors
/// As [`Migration::begin`].
pub async fn look(from: &Stream, to: Option<&Stream>, anew: Option<&Anew>) -> Result<Report> {
    let old = followed(from).await?;
    if let Some(anew) = anew {
        check_encryption(from, anew).await?;
    }
    let (mut report, mut next) = (Report::default(), Seq(1));
    if let Some(to) = to {
        check_another(from, to)?;
        check_not_elsewhere(&old, to)?;
        let new = append::followed(to).await?;
        report.compared = compare((from, &old), (to, &new), anew)?;
        next = new.next_seq();
    }
    let through = last_to_carry(&old);
    report.records = through.0;
    let place = from.store().describe();
    for seq in (next.0..=through.0).map(Seq) {
        let line = remade::readable(from.index(), &place, seq)?;
        report.carried += 1;
        let Some(segment) = line.record().body.described() else {
            continue;
        };
        let key = &segment.object.key;
        // What is re-keyed is the object that was there.
        if from
            .index()
            .record_naming(key)?
            .is_some_and(|first| first < seq)
        {
            continue;
        }
        match anew {
            None => {
                report.objects_copied += 1;
                report.bytes_copied += segment.object.size;
            }
            Some(_) if remade::in_force(from.index(), seq, key)?.is_some() => {
                report.objects_made += 1;
                report.bytes_read += segment.size;
            }
            Some(_) => report.objects_gone += 1,
        }
    }
    Ok(report)
}

/// The ledger of the old stream, whether it has moved or not.
async fn followed(from: &Stream) -> Result<Arc<LedgerState>> {
    let followed = from.follow().await?;
    if let Some(seq) = followed.tail_damaged {
        bail!(
            "the newest ledger record of {}, {seq}, cannot be read: 'binlogfs verify' tells more",
            from.store().describe()
        );
    }
    Ok(followed.state)
}

fn check_not_elsewhere(old: &LedgerState, to: &Stream) -> Result<()> {
    match &old.moved {
        Some(moved) if moved.stream_id != to.file().stream_id => {
            bail!("this stream has moved to {} already", moved.to)
        }
        Some(_) | None => Ok(()),
    }
}

/// The last record of the old ledger that is to be in the new one.
fn last_to_carry(old: &LedgerState) -> Seq {
    match old.moved {
        Some(_) => Seq(old.last_seq.0 - 1),
        None => old.last_seq,
    }
}

/// What would be encrypted no more is refused before anything is written, by what the newest segment is.
///
/// # Errors
/// When that is encrypted, its new object would not be, and nobody said that this is meant.
pub async fn check_encryption(from: &Stream, anew: &Anew) -> Result<()> {
    let newest = followed(from).await?.newest_segment();
    let newest = newest.map(|seq| from.index().entry_by_seq(seq));
    let entry = newest.transpose()?.flatten();
    match entry.and_then(|entry| entry.segment) {
        Some(segment) => anew.check_encryption(&segment),
        None => Ok(()),
    }
}

/// Compares what both have, record by record; how many that are.
fn compare(
    (from, old): (&Stream, &LedgerState),
    (to, new): (&Stream, &LedgerState),
    anew: Option<&Anew>,
) -> Result<u64> {
    let through = last_to_carry(old).min(new.last_seq);
    for seq in (1..=through.0).map(Seq) {
        let (was, is) = (from.index().record(seq)?, to.index().record(seq)?);
        let (Some(was), Some(is)) = (&was, &is) else {
            let lacking = if was.is_none() { from } else { to };
            bail!(
                "ledger record {seq} of {} cannot be read, so it cannot be compared; restore it from a copy of the bucket",
                lacking.store().describe()
            );
        };
        let records = (seq, &was.record().body, &is.record().body);
        if let Some(objection) = remade::objection(from, records, anew)? {
            bail!("record {seq} of {} {objection}", to.store().describe());
        }
    }
    if new.last_seq > through && old.moved.is_none() {
        bail!(
            "{} has {} and {} has {}: something else is archived there already",
            to.store().describe(),
            count(new.last_seq.0, "record"),
            from.store().describe(),
            old.last_seq
        );
    }
    Ok(through.0)
}

impl<'a> Migration<'a> {
    /// Begins, or goes on: both ledgers are followed, the new store is shown to create and never overwrite, and what the copy has
    /// compared record by record. Nothing is written in the old place before [`Migration::cut_over`]: it may be one that is only read.
    ///
    /// # Errors
    /// When the new stream is no copy of the old one.
    pub async fn begin(
        from: &'a Stream,
        to: &'a Stream,
        order: &'a Order,
    ) -> Result<Migration<'a>> {
        stream::probe_condition(to.store(), to.file_bytes()).await?;
        let mut migration = Migration {
            from,
            to,
            order,
            maker: None,
            report: Report::default(),
        };
        let (old, new) = (migration.old().await?, append::followed(to).await?);
        let anew = order.anew.as_ref();
        migration.report.compared = compare((from, &old), (to, &new), anew)?;
        if let Some(anew) = anew {
            let maker = Maker::open(from.store(), to, &order.identities, anew, &order.clock);
            migration.maker = Some(Arc::new(maker.await?));
        }
        Ok(migration)
    }

    async fn old(&self) -> Result<Arc<LedgerState>> {
        let old = followed(self.from).await?;
        check_not_elsewhere(&old, self.to)?;
        Ok(old)
    }

    /// Carries over every record that the new ledger lacks. `progress` is told the report after each.
    ///
    /// # Errors
    /// When a record or object cannot be carried over. What was stays, and another run goes on from there.
    pub async fn catch_up(&mut self, progress: impl Fn(&Report)) -> Result<Arc<LedgerState>> {
        let (old, new) = (self.old().await?, append::followed(self.to).await?);
        let through = last_to_carry(&old);
        if let Some(maker) = &self.maker {
            maker.tidy_up().await?;
        }
        let mut carrier = Carrier::new(self.from, self.to, self.order, &new, self.maker.as_ref());
        carrier.carry(through, &mut self.report, &progress).await?;
        if let Some(maker) = &self.maker {
            // What an earlier run had made for a record could not go before another one stood at its place.
            maker.tidy_up().await?;
        }
        Ok(old)
    }

    /// Closes the old ledger once the new one has all of it. Returns what was done.
    ///
    /// # Errors
    /// As [`Migration::catch_up`].
    pub async fn cut_over(mut self, progress: impl Fn(&Report)) -> Result<Report> {
        stream::probe_condition(self.from.store(), self.from.file_bytes()).await?;
        for _ in 0..RACES_MAX {
            let old = self.catch_up(&progress).await?;
            // Not everything was carried over, it may be.
            if self.order.stop.load(Ordering::Relaxed) {
                bail!("it was to end");
            }
            self.carry_backups().await?;
            if old.moved.is_some() {
                self.report.cut_over = true;
                return Ok(self.finish(&old));
            }
            let body = Body::Moved(MovedRecord {
                to: self.order.to_url.clone(),
                stream_id: self.to.file().stream_id,
                archived_at: (self.order.clock)(),
                archiver: self.order.by.clone(),
            });
            append::create(self.from.store(), &old, body)
                .await
                .context("closing the old ledger")?;
        }
        bail!(
            "lost the race for the closing record {RACES_MAX} times in a row; is an archiver writing without end?"
        )
    }

    /// What was done, where it ends here.
    pub fn finish(mut self, old: &LedgerState) -> Report {
        self.report.records = last_to_carry(old).0;
        self.report
    }
}
