//! Whether the bucket still has what the index knows: the newest record, those that were lost, and who continues whom.

use super::fetch::{self, Found};
use super::{Followed, Stream, StreamError, blocking};
use crate::ledger::Line;
use crate::model::{Seq, Sha256};
use std::sync::Arc;

/// Lost records read again by a call that lists: whatever made them unreadable is mostly the same for all.
const LOST_READ_AGAIN: usize = 16;

/// How the newest record known compares with the bucket's.
pub(super) enum Newest {
    Same,
    /// It could not be read, and now it can, or is gone.
    Healed,
}

impl Stream {
    /// For whoever expects that nobody else has appended: makes sure that the newest record known is still there, and takes in
    /// nothing. If it could not be read, or the index knows none, the ledger is followed.
    ///
    /// # Errors
    /// As [`Stream::follow`].
    pub async fn confirm(&self) -> Result<Followed, StreamError> {
        let state = self.known().await?;
        let doubtful = state.last_seq == Seq(0) || state.last_hash.is_none();
        if doubtful || matches!(self.newest().await?, Newest::Healed) {
            return self.follow().await;
        }
        Ok(Followed {
            new_records: 0,
            added: 0,
            replaced: Vec::new(),
            look_again: false,
            lost: Vec::new(),
            tail_damaged: None,
            state,
        })
    }

    pub(super) async fn newest(&self) -> Result<Newest, StreamError> {
        let state = self.known().await?;
        let seq = state.last_seq;
        if seq.0 == 0 {
            return Ok(Newest::Same);
        }
        let found = fetch::record(&self.store, seq).await?;
        let Some(hash) = state.last_hash else {
            return Ok(match found {
                Found::Line(line) if self.is_misplaced(&line).await? => Newest::Same,
                Found::Line(_) | Found::Newer(_) => Newest::Healed,
                Found::Copied(line, _) => match self.is_proven(line).await? {
                    true => Newest::Healed,
                    false => Newest::Same,
                },
                Found::Bad(_) => Newest::Same,
                Found::Missing => match fetch::record(&self.store, state.next_seq()).await? {
                    Found::Missing => Newest::Healed,
                    Found::Line(_) | Found::Copied(..) | Found::Bad(_) | Found::Newer(_) => {
                        Newest::Same
                    }
                },
            });
        };
        let what = match found {
            Found::Line(line) | Found::Copied(line, _) if line.hash() == hash => {
                return Ok(Newest::Same);
            }
            // Another copy of the ledger still has it: then it is this one that was changed.
            Found::Line(_) | Found::Copied(..) if self.copy_has(seq, hash).await => {
                return Ok(Newest::Same);
            }
            Found::Line(_) | Found::Copied(_, None) | Found::Newer(_) => {
                format!("another record stands in the place of record {seq}")
            }
            Found::Missing => format!("record {seq} was there, and is gone"),
            Found::Bad(reason) | Found::Copied(_, Some(reason)) => {
                // Damaged after it was read: a successor that names it shows that the ledger goes on.
                match fetch::record(&self.store, state.next_seq()).await? {
                    Found::Line(next) | Found::Copied(next, _) if next.record().prev == hash => {
                        return Ok(Newest::Same);
                    }
                    _ => format!("record {seq} was right, and is not any more ({reason})"),
                }
            }
        };
        Err(StreamError::Rollback {
            store: self.store.describe(),
            seq,
            what,
        })
    }

    /// Whether another copy of the ledger has the record with that hash.
    async fn copy_has(&self, seq: Seq, hash: Sha256) -> bool {
        let same = fetch::of_copies(&self.store, seq, |line| line.hash() == hash);
        same.await.is_some()
    }

    /// Whether one of the records that were passed over as lost can be read now.
    pub(super) async fn is_healed(&self) -> Result<bool, StreamError> {
        let index = Arc::clone(&self.index);
        for seq in blocking(move || index.lost(LOST_READ_AGAIN)).await? {
            let healed = match fetch::record(&self.store, seq).await? {
                Found::Line(line) => !self.is_misplaced(&line).await?,
                Found::Copied(line, _) => self.is_proven(line).await?,
                Found::Missing | Found::Bad(_) | Found::Newer(_) => false,
            };
            if healed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a record that was passed over as lost is there, and still does not continue the one before it.
    async fn is_misplaced(&self, line: &Line) -> Result<bool, StreamError> {
        let before = self.hash_before(line.seq()).await?;
        Ok(self.replaced(before, line).await?.is_some())
    }

    /// Why `line` is none of this ledger, although it is right by itself: it does not name the record before it, whose
    /// hash is `before`, and the record after it does not name it. If that does, it is the history before that was
    /// replaced, and that is no matter of one record.
    pub(super) async fn replaced(
        &self,
        before: Option<Sha256>,
        line: &Line,
    ) -> Result<Option<String>, StreamError> {
        if before.is_none_or(|hash| hash == line.record().prev) {
            return Ok(None);
        }
        let next = fetch::record(&self.store, Seq(line.seq().0 + 1)).await?;
        if matches!(&next, Found::Line(next) if next.record().prev == line.hash()) {
            return Ok(None);
        }
        Ok(Some(
            "it does not continue the record before it, and none continues it: another ledger's record stands there"
                .to_owned(),
        ))
    }

    /// Compares the newest record that the index could read with the bucket's. What is forgotten after this cannot alarm any
    /// more: a ledger that was cut off behind a record that was lost would pass for one that healed.
    pub(super) async fn check_before_reset(&self) -> Result<(), StreamError> {
        let mut seq = self.known().await?.last_seq;
        for _ in 0..LOST_READ_AGAIN {
            let index = Arc::clone(&self.index);
            if let Some(text) = blocking(move || index.line(seq)).await? {
                let what = match fetch::record(&self.store, seq).await? {
                    Found::Line(line) | Found::Copied(line, _) if line.text() == text => {
                        return Ok(());
                    }
                    Found::Line(_) | Found::Copied(_, None) | Found::Newer(_) => {
                        format!("another record stands in the place of record {seq}")
                    }
                    Found::Missing => format!("record {seq} was there, and is gone"),
                    // Lost as well by now: an older one has the word.
                    Found::Bad(_) | Found::Copied(_, Some(_)) => String::new(),
                };
                if !what.is_empty() {
                    return Err(StreamError::Rollback {
                        store: self.store.describe(),
                        seq,
                        what,
                    });
                }
            }
            if seq.0 <= 1 {
                break;
            }
            seq = Seq(seq.0 - 1);
        }
        Ok(())
    }
}
