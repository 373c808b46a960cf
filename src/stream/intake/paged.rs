//! Pages on their way into the index.

use super::Intake;
use crate::index::{Applied, Foreseen, IndexError, Step};
use crate::ledger::page::{page_key, page_start};
use crate::ledger::{LedgerState, Line};
use crate::model::Seq;
use crate::stream::aside::aside;
use crate::stream::fetch::{self, Later};
use crate::stream::{StreamError, unless_cancelled};
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};

/// A page on its way into the index.
pub(super) struct UnderWay {
    applied: JoinHandle<Result<Applied, IndexError>>,
    pub(super) after: Arc<LedgerState>,
}

impl Intake<'_> {
    /// Why a page with these records is not taken in, if it is not.
    pub(super) async fn refused(&self, lines: &[Line], copied: bool) -> Option<String> {
        if !self.is_continued_by(lines) {
            return Some("its first record does not continue the one before it".to_owned());
        }
        if copied && !self.is_proven(lines).await {
            return Some("only a replica has it, and nothing proves it".to_owned());
        }
        None
    }

    /// Whether a page that only a copy gave is this ledger's. The last of its records that the first store has too has the word: its
    /// hash stands for all before it. If that has none of them, or does not answer, the record before the page has it.
    async fn is_proven(&self, lines: &[Line]) -> bool {
        let store = &self.stream.store;
        let ends = lines.first().zip(lines.last());
        let (Some((from, to)), Some(copies)) = (ends, store.copies()) else {
            return true;
        };
        match fetch::own_later(copies, Seq(from.seq().0 - 1), to.seq()).await {
            Later::At(seq) => {
                let own = fetch::own(store, seq).await.map(|own| own.hash());
                let there = lines.iter().find(|line| line.seq() == seq);
                own.is_some() && own == there.map(Line::hash)
            }
            Later::Nowhere | Later::Unknown => self.last_hash().is_some(),
        }
    }

    fn is_continued_by(&self, lines: &[Line]) -> bool {
        let last = self.last_hash();
        let first = lines.first();
        first.is_none_or(|first| last.is_none_or(|hash| hash == first.record().prev))
    }

    /// Takes in the records of a page.
    pub(super) async fn page(
        &mut self,
        lines: Vec<Line>,
        bytes: Option<Bytes>,
    ) -> Result<(), StreamError> {
        // A page is a batch of its own: the index keeps its bytes.
        self.flush().await?;
        self.paged = true;
        let steps: Vec<Step> = lines.into_iter().map(Step::Line).collect();
        let Some(bytes) = bytes else {
            return self.apply(steps).await;
        };
        // While the index takes in the page before, it is worked out what this one does.
        let state = Arc::clone(self.state());
        let (steps, foreseen) = unless_cancelled(spawn_blocking(move || {
            let foreseen = Foreseen::of(&state, &steps);
            (steps, foreseen)
        }))
        .await;
        self.settle().await?;
        let after = foreseen.as_ref().map(|known| Arc::clone(known.state()));
        let index = Arc::clone(&self.stream.index);
        let applied = spawn_blocking(move || {
            let applied = index.apply_page(&steps, &bytes, foreseen);
            // The next page need not wait until the memory of a thousand records is given back.
            drop(aside(move || drop(steps)));
            applied
        });
        match after {
            Some(after) => {
                self.under_way = Some(UnderWay { applied, after });
                Ok(())
            }
            None => {
                let applied = unless_cancelled(applied).await?;
                self.tell(applied);
                Ok(())
            }
        }
    }

    /// Waits for the page that is on its way into the index.
    pub(super) async fn settle(&mut self) -> Result<(), StreamError> {
        if let Some(page) = &mut self.under_way {
            // Asked for in place: whoever gives up waiting here leaves it to be waited for.
            let applied = unless_cancelled(&mut page.applied).await;
            self.under_way = None;
            self.tell(applied?);
        }
        Ok(())
    }

    /// Says that a page cannot be used: of the first in full, of others how many they are.
    pub(super) fn bad_page(&mut self, from: Seq, why: String) {
        if self.bad_pages == 0 {
            let key = page_key(page_start(from));
            tracing::warn!(%key, why, "a ledger page cannot be used; its records are read one by one");
        }
        self.bad_pages += 1;
    }
}
