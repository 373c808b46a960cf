//! What shows that a record which a copy of the ledger gave is this ledger's: the record before it, or the one after it.

use super::{Stream, StreamError, blocking, fetch};
use crate::ledger::{Line, StreamFile};
use crate::model::{Seq, Sha256};
use std::sync::Arc;

/// What is known of this ledger on both sides of a place. That the records of a copy continue each other says nothing: so do those of
/// one that has gone another way.
pub(super) struct Proof {
    /// Hash of the record before.
    before: Option<Sha256>,
    /// The hash that the record after it names.
    after: Option<Sha256>,
}

impl Proof {
    /// Whether `line` belongs at that place: one side says so, and none denies it.
    pub(super) fn holds(&self, line: &Line) -> bool {
        let continues = self.before.map(|hash| hash == line.record().prev);
        let continued = self.after.map(|hash| hash == line.hash());
        let sides = [continues, continued];
        sides.contains(&Some(true)) && !sides.contains(&Some(false))
    }
}

impl Stream {
    /// What proves record `seq`, where the one before it has the hash `before`. `ask_after`: the first store may have the one after it.
    pub(super) async fn proof(&self, seq: Seq, before: Option<Sha256>, ask_after: bool) -> Proof {
        let after = match ask_after {
            true => self.named_after(seq).await,
            false => None,
        };
        Proof { before, after }
    }

    /// What the first store's own record after `seq` names as the one before it. One that the next again does not continue is
    /// another ledger's, perhaps, and says nothing.
    async fn named_after(&self, seq: Seq) -> Option<Sha256> {
        let next = fetch::own(&self.store, Seq(seq.0 + 1)).await?;
        match fetch::own(&self.store, Seq(seq.0 + 2)).await {
            Some(second) if second.record().prev != next.hash() => None,
            Some(_) | None => Some(next.record().prev),
        }
    }

    /// `line`, which a copy has at its place, or else what another copy has there, if `proof` holds for it.
    pub(super) async fn proven(&self, line: Line, proof: &Proof) -> Option<Line> {
        match proof.holds(&line) {
            true => Some(line),
            false => fetch::of_copies(&self.store, line.seq(), |other| proof.holds(other)).await,
        }
    }

    /// Whether a copy has the record that belongs where `line` stands in one, as far as the index and the first store prove it.
    pub(super) async fn is_proven(&self, line: Line) -> Result<bool, StreamError> {
        let seq = line.seq();
        let proof = self.proof(seq, self.hash_before(seq).await?, true).await;
        Ok(self.proven(line, &proof).await.is_some())
    }

    /// The hash of the record before `seq`, if the index has it.
    pub(super) async fn hash_before(&self, seq: Seq) -> Result<Option<Sha256>, StreamError> {
        let (index, before) = (Arc::clone(&self.index), Seq(seq.0 - 1));
        Ok(match before.0 {
            0 => Some(StreamFile::hash(&self.bytes)),
            _ => blocking(move || index.line(before))
                .await?
                .map(|text| Sha256::of(text.as_bytes())),
        })
    }
}
