//! Batches of records into the database: one transaction for each.

use super::batch::Batch;
use super::error::Fault;
use super::foresee::Foreseen;
use super::intervals::NewRuns;
use super::latest::Latest;
use super::listing::{self, Changes};
use super::texts::{Texts, drop_page, keep_line, keep_page};
use super::{Index, IndexError, Inner, objects, read_state, write_state};
use crate::ledger::page::{PAGE_RECORDS, page_start};
use crate::ledger::{LedgerState, Line};
use crate::model::Seq;
use rusqlite::TransactionBehavior;
use std::sync::{Arc, PoisonError};

/// What stands at one place of the ledger.
#[derive(Clone, Debug)]
pub enum Step {
    /// A record.
    Line(Line),
    /// Nothing that can be read.
    Lost {
        /// The place.
        seq: Seq,
        /// Why it cannot be read.
        reason: String,
    },
}

impl Step {
    /// The place.
    pub fn seq(&self) -> Seq {
        match self {
            Step::Line(line) => line.seq(),
            Step::Lost { seq, .. } => *seq,
        }
    }
}

/// What a batch did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The ledger state after it.
    pub state: Arc<LedgerState>,
    /// Records that were new to the index, lost ones included.
    pub records: u64,
    /// New entries among them. They sort after all entries of their timeline, save lost ones that found their place.
    pub added: u64,
    /// Entries that now stand for something else: filled holes, better copies, lost records that found their place.
    pub replaced: Vec<Seq>,
    /// A fence or prune changed what is visible.
    pub bounds_changed: bool,
}

impl Index {
    /// Takes the next records in. Steps that were applied before, by this or another process, are skipped.
    ///
    /// # Errors
    /// [`IndexError::Chain`] when a record breaks a rule, or differs from the one applied at its place: all before it
    /// are applied. On any other error nothing is.
    pub fn apply(&self, steps: &[Step]) -> Result<Applied, IndexError> {
        self.with(|inner| inner.apply(steps, None, None))
    }

    /// Takes in the records of a page, and keeps its `bytes` instead of its records' texts: a quarter of the space, and of the time
    /// that writing them takes. What was `foreseen` of them need not be worked out again.
    ///
    /// # Errors
    /// As [`Index::apply`].
    pub fn apply_page(
        &self,
        steps: &[Step],
        bytes: &[u8],
        foreseen: Option<Foreseen>,
    ) -> Result<Applied, IndexError> {
        self.with(|inner| {
            let applied = inner.apply(steps, Some(bytes), foreseen)?;
            if let Some(path) = &self.path {
                let checkpoints = self.checkpoints.lock();
                let mut checkpoints = checkpoints.unwrap_or_else(PoisonError::into_inner);
                let is_first = applied.state.last_seq.0 == applied.records;
                checkpoints.page_written(&inner.conn, path, is_first);
            }
            Ok(applied)
        })
    }
}

impl Inner {
    fn apply(
        &mut self,
        steps: &[Step],
        page: Option<&[u8]>,
        foreseen: Option<Foreseen>,
    ) -> Result<Applied, Fault> {
        let cached = self.state()?;
        let last_page = &self.last_page;
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Under the write lock nobody else commits: what is read now stays true.
        let version: i64 = tx.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let mut state = match cached {
            Some(state) if version == self.data_version => (*state).clone(),
            _ => read_state(&tx)?.ok_or(Fault::NotBegun)?,
        };
        let begin = state.next_seq();
        // Only a page all of whose records are new.
        let page = page.filter(|_| {
            let first = steps.first().map(Step::seq);
            first == Some(begin) && page_start(begin) == begin && steps.len() as u64 == PAGE_RECORDS
        });
        if let Some(bytes) = page {
            keep_page(&tx, begin, bytes)?;
        }
        let texts = Texts {
            conn: &tx,
            last: last_page,
        };
        let objects_claimed = objects::claim_all(&tx, steps, state.last_seq)?;
        let mut batch = Batch {
            conn: &tx,
            texts,
            page_kept: page.is_some(),
            objects_claimed,
            state: &mut state,
            records: 0,
            added: 0,
            replaced: Vec::new(),
            bounds_changed: false,
            changes: Changes::default(),
            latest: Latest::default(),
            new_entries: Vec::new(),
            new_runs: NewRuns::default(),
        };
        let broken = batch.take_in(steps, foreseen)?;
        batch.write_out()?;
        let Batch {
            records,
            added,
            replaced,
            bounds_changed,
            changes,
            ..
        } = batch;
        listing::seal(&tx, &changes)?;
        if broken.is_some() && objects_claimed {
            objects::release_all(&tx, steps, state.last_seq)?;
        }
        if page.is_some() && broken.is_some() {
            // Not all of its records are of this ledger: those that are have rows of their own.
            drop_page(&tx, begin)?;
            for step in steps {
                match step {
                    Step::Line(line) if line.seq() <= state.last_seq => keep_line(&tx, line)?,
                    _ => {}
                }
            }
        }
        if records > 0 {
            write_state(&tx, &state)?;
        }
        tx.commit()?;
        let state = Arc::new(state);
        self.state = Some(Arc::clone(&state));
        self.data_version = version;
        match broken {
            Some(error) => Err(Fault::Chain(error)),
            None => Ok(Applied {
                state,
                records,
                added,
                replaced,
                bounds_changed,
            }),
        }
    }
}
