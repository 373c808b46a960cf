//! Records on their way from the bucket into the index.

mod copied;
mod paged;

use super::extent::Extent;
use super::fetch::{self, Decoded, Found};
use super::follow::Followed;
use super::plan::{Chunk, chunks};
use super::{Stream, StreamError, blocking};
use crate::index::{Applied, IndexError, Step};
use crate::ledger::{ChainError, LedgerState};
use crate::model::{Seq, Sha256};
use copied::{Copied, Standing};
use futures::{StreamExt as _, TryStreamExt as _};
use paged::UnderWay;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// New records that are asked for one after another before a listing tells how many there are.
const PROBES: u32 = 4;
/// Records in one transaction of the index: its cost is shared, and others wait for some 20 ms.
const BATCH_RECORDS: usize = 1000;
/// Text of the records in one transaction, in bytes: what is held at once, three times over.
const BATCH_BYTES: usize = 8 << 20;
/// Lost records told one by one; the index has them all.
const LOST_TOLD: usize = 1000;

/// Steps on their way into the index.
pub(super) struct Intake<'a> {
    stream: &'a Stream,
    steps: Vec<Step>,
    bytes: usize,
    /// The last record taken in came out of a page.
    paged: bool,
    /// Pages that were there and could not be used.
    bad_pages: u64,
    /// A page that the index is taking in, and the state that it will have then.
    under_way: Option<UnderWay>,
    /// Here ends what is known to be this ledger: what copies have behind it, nothing can prove.
    ended: bool,
    /// A record that the first store itself has, so that those before it must have been.
    own_later: Option<Seq>,
    pub(super) told: Followed,
}

impl<'a> Intake<'a> {
    pub(super) async fn new(
        stream: &'a Stream,
        look_again: bool,
    ) -> Result<Intake<'a>, StreamError> {
        let told = Followed {
            new_records: 0,
            added: 0,
            replaced: Vec::new(),
            look_again,
            lost: Vec::new(),
            tail_damaged: None,
            state: stream.known().await?,
        };
        Ok(Intake {
            stream,
            steps: Vec::new(),
            bytes: 0,
            paged: false,
            bad_pages: 0,
            under_way: None,
            ended: false,
            own_later: None,
            told,
        })
    }

    /// What the ledger says up to all that the index has, or is taking in.
    fn state(&self) -> &Arc<LedgerState> {
        let under_way = self.under_way.as_ref();
        under_way.map_or(&self.told.state, |page| &page.after)
    }

    /// The place after everything taken in so far.
    fn next(&self) -> Seq {
        self.steps
            .last()
            .map_or_else(|| self.state().next_seq(), |step| Seq(step.seq().0 + 1))
    }

    /// What the next record must name as the one before it, where that is known.
    fn last_hash(&self) -> Option<Sha256> {
        match self.steps.last() {
            Some(Step::Line(line)) => Some(line.hash()),
            Some(Step::Lost { .. }) => None,
            None => self.state().last_hash,
        }
    }

    /// Asks for the next few records one after another. Returns whether that was all there is, as far as that tells.
    pub(super) async fn probe(&mut self) -> Result<bool, StreamError> {
        for _ in 0..PROBES {
            match fetch::record(&self.stream.store, self.next()).await? {
                Found::Line(line)
                    if self
                        .last_hash()
                        .is_some_and(|hash| hash != line.record().prev) =>
                {
                    break;
                }
                Found::Line(line) => self.push(Step::Line(line)).await?,
                Found::Copied(line, bad) => {
                    let seq = self.next();
                    let copied = Copied { line, bad };
                    match self.copied(copied, Seq(u64::MAX), true).await {
                        Standing::Ours(line) => self.push(Step::Line(line)).await?,
                        Standing::Lost(_) => break,
                        Standing::End => {
                            self.end_before(seq);
                            return Ok(true);
                        }
                    }
                }
                Found::Missing => return Ok(true),
                // A listing tells whether later ones exist.
                Found::Bad(_) | Found::Newer(_) => break,
            }
        }
        self.flush().await?;
        Ok(false)
    }

    /// Takes in everything that a listing shows.
    pub(super) async fn listed(&mut self, use_pages: bool) -> Result<(), StreamError> {
        let taken = self.all_listed(use_pages).await;
        // Also after an error: nothing of ours is on its way into the index when the caller goes on.
        let settled = self.settle().await;
        taken.and(settled)
    }

    async fn all_listed(&mut self, use_pages: bool) -> Result<(), StreamError> {
        self.told.state = self.stream.known().await?;
        self.ended = false;
        let next = self.next();
        let stream = self.stream;
        let mut extent = stream.extent(next, use_pages).await?;
        let (certain, newest) = (extent.certain(next), extent.newest);
        // Of a directory, a listing takes as long as a million names take to be read.
        futures::try_join!(
            stream.list_rest(&mut extent),
            self.fetched(certain, newest, use_pages)
        )?;
        let Extent {
            newest,
            beyond,
            pages,
            ..
        } = extent;
        let chunks = chunks(self.next(), newest, &pages);
        self.fetched(chunks, newest, use_pages).await?;
        if self.bad_pages > 1 {
            let pages = self.bad_pages;
            tracing::warn!(
                pages,
                "ledger pages that cannot be used; 'binlogfs verify' lists them"
            );
        }
        match beyond {
            None => Ok(()),
            Some(beyond) => Err(StreamError::Scattered {
                store: self.stream.store.describe(),
                newest,
                beyond,
            }),
        }
    }

    /// Takes in the records of `chunks`.
    async fn fetched(
        &mut self,
        chunks: Vec<Chunk>,
        newest: Seq,
        use_pages: bool,
    ) -> Result<(), StreamError> {
        if self.ended {
            return Ok(());
        }
        let mut decoded = pin!(fetch::pages(Arc::clone(&self.stream.store), chunks));
        while !self.ended
            && let Some(decoded) = decoded.next().await
        {
            match decoded {
                Decoded::Lines {
                    lines,
                    bytes,
                    copied,
                } => match self.refused(&lines, copied).await {
                    None => self.page(lines, bytes).await?,
                    Some(why) => {
                        let ends = lines.first().zip(lines.last());
                        let Some((from, to)) = ends.map(|(from, to)| (from.seq(), to.seq())) else {
                            continue;
                        };
                        self.bad_page(from, why);
                        let chunk = Chunk {
                            from,
                            to,
                            page_bytes: None,
                        };
                        self.singly(&chunk, newest, use_pages).await?;
                    }
                },
                Decoded::NoPage(chunk, why) => {
                    if let Some(why) = why {
                        self.bad_page(chunk.from, why);
                    }
                    self.singly(&chunk, newest, use_pages).await?;
                }
            }
        }
        self.flush().await
    }

    /// Takes in the records of a chunk, one by one.
    async fn singly(
        &mut self,
        chunk: &Chunk,
        newest: Seq,
        use_pages: bool,
    ) -> Result<(), StreamError> {
        let mut singles = pin!(fetch::singles(&self.stream.store, chunk).peekable());
        while !self.ended
            && let Some((seq, found)) = singles.try_next().await?
        {
            // Where the first store lacks the next one too, it need not be asked for it: of a ledger that it lost, for each.
            let ask_after = match matches!(found, Found::Copied(..)) {
                true => !matches!(
                    singles.as_mut().peek().await,
                    Some(Ok((_, Found::Copied(..) | Found::Missing)))
                ),
                false => true,
            };
            self.single(seq, found, (newest, use_pages), ask_after)
                .await?;
        }
        Ok(())
    }

    async fn single(
        &mut self,
        seq: Seq,
        found: Found,
        (newest, use_pages): (Seq, bool),
        ask_after: bool,
    ) -> Result<(), StreamError> {
        let last_paged = std::mem::take(&mut self.paged);
        let reason = match found {
            Found::Line(line)
                if last_paged
                    && self
                        .last_hash()
                        .is_some_and(|hash| hash != line.record().prev) =>
            {
                // Of a page and a record that contradict each other, the record is right.
                let reason = "does not continue the page before it".to_owned();
                return Err(IndexError::Chain(ChainError { seq, reason }).into());
            }
            Found::Line(line) => match self.stream.replaced(self.last_hash(), &line).await? {
                None => return self.push(Step::Line(line)).await,
                Some(reason) => reason,
            },
            Found::Copied(line, bad) => {
                let copied = Copied { line, bad };
                match self.copied(copied, newest, ask_after).await {
                    Standing::Ours(line) => return self.push(Step::Line(line)).await,
                    Standing::Lost(reason) => reason,
                    Standing::End => {
                        self.end_before(seq);
                        return Ok(());
                    }
                }
            }
            Found::Newer(reason) => {
                self.flush().await?;
                return Err(StreamError::NewerFormat {
                    store: self.stream.store.describe(),
                    seq,
                    reason,
                });
            }
            // Listed, and gone a moment later: the next call finds out what it means.
            Found::Missing if seq == newest => return Ok(()),
            Found::Missing => match self.missing(seq, newest).await {
                Some(reason) => reason,
                None => return Ok(()),
            },
            Found::Bad(reason) => reason,
        };
        if let Some(line) = self.elsewhere(seq, &reason, use_pages).await {
            return self.push(Step::Line(line)).await;
        }
        tracing::error!(%seq, reason, "a ledger record cannot be read: it is passed over as lost");
        if self.told.lost.len() < LOST_TOLD {
            self.told.lost.push(seq);
        }
        self.push(Step::Lost { seq, reason }).await
    }

    async fn push(&mut self, step: Step) -> Result<(), StreamError> {
        if let Step::Line(line) = &step {
            self.bytes += line.text().len();
        }
        self.steps.push(step);
        if self.steps.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StreamError> {
        self.bytes = 0;
        let steps = std::mem::take(&mut self.steps);
        if steps.is_empty() {
            return Ok(());
        }
        self.apply(steps).await
    }

    /// Has the index take `steps` in.
    async fn apply(&mut self, steps: Vec<Step>) -> Result<(), StreamError> {
        self.settle().await?;
        let index = Arc::clone(&self.stream.index);
        let applied = blocking(move || index.apply(&steps)).await?;
        self.tell(applied);
        Ok(())
    }

    fn tell(&mut self, applied: Applied) {
        let Applied {
            state,
            records,
            added,
            replaced,
            bounds_changed,
        } = applied;
        self.told.state = state;
        self.told.new_records += records;
        self.told.added += added;
        self.told.replaced.extend(replaced);
        self.told.look_again |= bounds_changed;
    }

    pub(super) async fn finish(mut self) -> Result<Followed, StreamError> {
        self.flush().await?;
        self.settle().await?;
        if !self.ended {
            self.stream.unproven_told.store(false, Ordering::Relaxed);
        }
        let state = &self.told.state;
        let damaged = state.last_hash.is_none() && state.last_seq.0 > 0;
        self.told.tail_damaged = damaged.then_some(state.last_seq);
        Ok(self.told)
    }
}
