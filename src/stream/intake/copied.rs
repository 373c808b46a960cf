//! Records that only a copy of the ledger has, on their way into the index: believed if they are proven, and only then.

use super::Intake;
use crate::ledger::Line;
use crate::model::Seq;
use crate::stream::fetch::{self, Later};
use std::sync::atomic::Ordering;

/// A record as a copy of the ledger has it.
pub(super) struct Copied {
    pub(super) line: Line,
    /// Why that of the first store cannot be read, if there is one.
    pub(super) bad: Option<String>,
}

/// What comes of the place of a record.
#[expect(clippy::large_enum_variant, reason = "nearly every one is a line")]
pub(super) enum Standing {
    /// It is proven.
    Ours(Line),
    /// This ledger has a record there, and nobody has it: why.
    Lost(String),
    /// As far as is known, this ledger has none there, nor any later.
    End,
}

impl Intake<'_> {
    /// What comes of the next record, which only copies have. `newest`: how far the listing goes; `ask_after`: the first store may have
    /// the record after it.
    pub(super) async fn copied(
        &mut self,
        copied: Copied,
        newest: Seq,
        ask_after: bool,
    ) -> Standing {
        let Copied { line, bad } = copied;
        let (seq, stream) = (line.seq(), self.stream);
        let proof = stream.proof(seq, self.last_hash(), ask_after).await;
        if let Some(line) = stream.proven(line, &proof).await {
            return Standing::Ours(line);
        }
        if let Some(bad) = bad {
            return Standing::Lost(bad);
        }
        match self.goes_on_after(seq, newest).await {
            Later::At(_) => Standing::Lost(
                "it is missing, and nothing proves that what a replica has there is this ledger's"
                    .to_owned(),
            ),
            Later::Nowhere | Later::Unknown => Standing::End,
        }
    }

    /// Why record `seq` is lost, which nobody has although the listing goes on to `newest`; `None` if it is not, but the end.
    pub(super) async fn missing(&mut self, seq: Seq, newest: Seq) -> Option<String> {
        match self.goes_on_after(seq, newest).await {
            Later::At(_) => Some("it is missing, and later ones exist".to_owned()),
            // Only copies go on, and behind a record that they lack nothing can be proven.
            Later::Nowhere => {
                self.end_before(seq);
                None
            }
            Later::Unknown => {
                self.end_before(Seq(seq.0 + 1));
                Some("the replicas lack it, and have later ones".to_owned())
            }
        }
    }

    /// Whether the first store itself has records after `seq`, up to `newest`.
    async fn goes_on_after(&mut self, seq: Seq, newest: Seq) -> Later {
        let Some(copies) = self.stream.store.copies() else {
            // It is the only one that was listed.
            return Later::At(newest);
        };
        if let Some(known) = self.own_later.filter(|known| seq < *known) {
            return Later::At(known);
        }
        let later = fetch::own_later(copies, seq, newest).await;
        if let Later::At(known) = later {
            self.own_later = Some(known);
        }
        later
    }

    /// What can still be had of record `seq`, which cannot be read for this reason: another copy's, or out of its page.
    pub(super) async fn elsewhere(&self, seq: Seq, reason: &str, use_pages: bool) -> Option<Line> {
        let (store, last) = (&self.stream.store, self.last_hash());
        let proof = match store.copies() {
            Some(_) => Some(self.stream.proof(seq, last, true).await),
            None => None,
        };
        if let Some(proof) = &proof
            && let Some(line) = fetch::of_copies(store, seq, |line| proof.holds(line)).await
        {
            return Some(line);
        }
        if !use_pages {
            return None;
        }
        let line = fetch::from_page(store, seq).await?;
        let right = match &proof {
            Some(proof) => proof.holds(&line),
            None => last.is_none_or(|hash| hash == line.record().prev),
        };
        right.then(|| {
            tracing::warn!(%seq, reason, "a ledger record cannot be read; its page has it");
            line
        })
    }

    /// Nothing from record `seq` on is taken in by this call, and that is told, once for as long as it stays so.
    pub(super) fn end_before(&mut self, seq: Seq) {
        self.ended = true;
        if !self.stream.unproven_told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %seq,
                store = self.stream.store.describe(),
                "replicas have ledger records from here on that the first store has not, or does not give, and nothing proves them to be \
                 this ledger's: none is taken; 'binlogfs verify --replica URL' compares the two"
            );
        }
    }
}
