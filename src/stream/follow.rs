//! Following a ledger: from the last record that the index knows to the newest.

use super::extent::Extent;
use super::fetch::{self, Decoded, Found};
use super::newest::Newest;
use super::plan::{Chunk, chunks};
use super::{Stream, StreamError, blocking};
use crate::index::{Applied, IndexError, Step};
use crate::ledger::page::{page_key, page_start};
use crate::ledger::{ChainError, LedgerState, Line};
use crate::model::{Seq, Sha256};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use std::pin::pin;
use std::sync::Arc;

/// New records that are asked for one after another before a listing tells how many there are.
const PROBES: u32 = 4;
/// Every so many calls one lists, to see past a record that is missing: five minutes at a refresh every 5 s.
pub(super) const LIST_EVERY: u64 = 60;
/// Records in one transaction of the index: its cost is shared, and others wait for some 20 ms.
const BATCH_RECORDS: usize = 1000;
/// Text of the records in one transaction, in bytes: what is held at once, three times over.
const BATCH_BYTES: usize = 8 << 20;
/// Lost records told one by one; the index has them all.
const LOST_TOLD: usize = 1000;

/// What a call of [`Stream::follow`] found.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Records that were new to the index, lost ones included.
    pub new_records: u64,
    /// New entries among them.
    pub added: u64,
    /// Entries that now stand for something else.
    pub replaced: Vec<Seq>,
    /// A fence or prune changed what is visible, or the index was built anew: look at everything again.
    pub look_again: bool,
    /// Records among the new that cannot be read, the first thousand.
    pub lost: Vec<Seq>,
    /// The newest record cannot be read: what it said is unknown, and **nothing may be appended** to the ledger.
    pub tail_damaged: Option<Seq>,
    /// What the ledger says now.
    pub state: Arc<LedgerState>,
}

/// Steps on their way into the index.
struct Intake<'a> {
    stream: &'a Stream,
    steps: Vec<Step>,
    bytes: usize,
    /// The last record taken in came out of a page.
    paged: bool,
    /// Pages that were there and could not be used.
    bad_pages: u64,
    told: Followed,
}

impl Stream {
    /// Takes in every record that the index does not know yet, and tells what is new. One call at a time; several
    /// processes may follow into one index.
    ///
    /// # Errors
    /// See [`StreamError`]. What was taken in before an error stays, and the next call goes on from there.
    pub async fn follow(&self) -> Result<Followed, StreamError> {
        let mut follows = self.follows.lock().await;
        // Of an index without records there is nothing to show meanwhile.
        let list = *follows % LIST_EVERY == 0 || self.known().await?.last_seq == Seq(0);
        let healed =
            matches!(self.newest().await?, Newest::Healed) || list && self.is_healed().await?;
        if healed {
            self.check_before_reset().await?;
            tracing::info!("a lost ledger record can be read again: the index is built anew");
            self.reset().await?;
        }
        let mut intake = Intake::new(self, healed).await?;
        if list || healed || !intake.probe().await? {
            match intake.listed(self.use_pages).await {
                // A page is a copy. If it breaks the chain, perhaps the records themselves do not.
                Err(StreamError::Index(IndexError::Chain(error))) => {
                    tracing::warn!(%error, "reading the records themselves, without pages");
                    let forged = matches!(self.newest().await, Err(StreamError::Rollback { .. }));
                    if forged {
                        tracing::error!(
                            "ledger pages differ from the records: the index is built anew"
                        );
                        self.reset().await?;
                    }
                    let told = intake.told;
                    intake = Intake::new(self, told.look_again || forged).await?;
                    if !forged {
                        intake.told = told;
                    }
                    intake.listed(false).await?;
                }
                other => other?,
            }
        }
        let told = intake.finish().await?;
        *follows += 1;
        Ok(told)
    }

    pub(super) async fn reset(&self) -> Result<(), StreamError> {
        let index = Arc::clone(&self.index);
        Ok(blocking(move || index.reset()).await?)
    }

    pub(super) async fn known(&self) -> Result<Arc<LedgerState>, StreamError> {
        let index = Arc::clone(&self.index);
        let state = blocking(move || index.state()).await?;
        // `open` began it.
        Ok(state.expect("an index that belongs to a stream has a state"))
    }
}

impl<'a> Intake<'a> {
    async fn new(stream: &'a Stream, look_again: bool) -> Result<Intake<'a>, StreamError> {
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
            told,
        })
    }

    /// The place after everything taken in so far.
    fn next(&self) -> Seq {
        self.steps
            .last()
            .map_or_else(|| self.told.state.next_seq(), |step| Seq(step.seq().0 + 1))
    }

    /// What the next record must name as the one before it, where that is known.
    fn last_hash(&self) -> Option<Sha256> {
        match self.steps.last() {
            Some(Step::Line(line)) => Some(line.hash()),
            Some(Step::Lost { .. }) => None,
            None => self.told.state.last_hash,
        }
    }

    /// Asks for the next few records one after another. Returns whether that was all there is, as far as that tells.
    async fn probe(&mut self) -> Result<bool, StreamError> {
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
                Found::Missing => return Ok(true),
                // A listing tells whether later ones exist.
                Found::Bad(_) | Found::Newer(_) => break,
            }
        }
        self.flush().await?;
        Ok(false)
    }

    /// Takes in everything that a listing shows.
    async fn listed(&mut self, use_pages: bool) -> Result<(), StreamError> {
        self.told.state = self.stream.known().await?;
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
        let mut decoded = pin!(fetch::pages(Arc::clone(&self.stream.store), chunks));
        while let Some(decoded) = decoded.next().await {
            match decoded {
                Decoded::Lines(lines, bytes) if self.is_continued_by(&lines) => {
                    self.page(lines, bytes).await?;
                }
                Decoded::Lines(lines, _) => {
                    let ends = lines.first().zip(lines.last());
                    let Some((from, to)) = ends.map(|(from, to)| (from.seq(), to.seq())) else {
                        continue;
                    };
                    let why = "its first record does not continue the one before it".to_owned();
                    self.bad_page(from, why);
                    let chunk = Chunk {
                        from,
                        to,
                        page_bytes: None,
                    };
                    self.singly(&chunk, newest, use_pages).await?;
                }
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

    fn is_continued_by(&self, lines: &[Line]) -> bool {
        let last = self.last_hash();
        let first = lines.first();
        first.is_none_or(|first| last.is_none_or(|hash| hash == first.record().prev))
    }

    /// Takes in the records of a page.
    async fn page(&mut self, lines: Vec<Line>, bytes: Option<Bytes>) -> Result<(), StreamError> {
        // A page is a batch of its own: the index keeps its bytes.
        self.flush().await?;
        self.paged = true;
        let steps = lines.into_iter().map(Step::Line).collect();
        self.apply(steps, bytes).await
    }

    /// Says that a page cannot be used: of the first in full, of others how many they are.
    fn bad_page(&mut self, from: Seq, why: String) {
        if self.bad_pages == 0 {
            let key = page_key(page_start(from));
            tracing::warn!(%key, why, "a ledger page cannot be used; its records are read one by one");
        }
        self.bad_pages += 1;
    }

    /// Takes in the records of a chunk, one by one.
    async fn singly(
        &mut self,
        chunk: &Chunk,
        newest: Seq,
        use_pages: bool,
    ) -> Result<(), StreamError> {
        let mut singles = pin!(fetch::singles(&self.stream.store, chunk));
        while let Some((seq, found)) = singles.try_next().await? {
            self.single(seq, found, newest, use_pages).await?;
        }
        Ok(())
    }

    async fn single(
        &mut self,
        seq: Seq,
        found: Found,
        newest: Seq,
        use_pages: bool,
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
            Found::Missing => "it is missing, and later ones exist".to_owned(),
            Found::Bad(reason) => reason,
        };
        let last = self.last_hash();
        let continues = |line: &Line| last.is_none_or(|hash| hash == line.record().prev);
        if let Some(line) = fetch::of_copies(&self.stream.store, seq, continues).await {
            return self.push(Step::Line(line)).await;
        }
        let copy = match use_pages {
            true => fetch::from_page(&self.stream.store, seq).await,
            false => None,
        };
        if let Some(line) = copy.filter(|line| last.is_none_or(|hash| hash == line.record().prev)) {
            tracing::warn!(%seq, reason, "a ledger record cannot be read; its page has it");
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
        self.apply(steps, None).await
    }

    /// Has the index take `steps` in, which are the records of the page with those `bytes`, if there are any.
    async fn apply(&mut self, steps: Vec<Step>, bytes: Option<Bytes>) -> Result<(), StreamError> {
        let index = Arc::clone(&self.stream.index);
        let Applied {
            state,
            records,
            added,
            replaced,
            bounds_changed,
        } = blocking(move || match bytes {
            Some(bytes) => index.apply_page(&steps, &bytes),
            None => index.apply(&steps),
        })
        .await?;
        self.told.state = state;
        self.told.new_records += records;
        self.told.added += added;
        self.told.replaced.extend(replaced);
        self.told.look_again |= bounds_changed;
        Ok(())
    }

    async fn finish(mut self) -> Result<Followed, StreamError> {
        self.flush().await?;
        let state = &self.told.state;
        let damaged = state.last_hash.is_none() && state.last_seq.0 > 0;
        self.told.tail_damaged = damaged.then_some(state.last_seq);
        Ok(self.told)
    }
}
