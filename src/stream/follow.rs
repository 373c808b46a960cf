//! Following a ledger: from the last record that the index knows to the newest.

use super::intake::Intake;
use super::newest::Newest;
use super::{Stream, StreamError, blocking};
use crate::index::IndexError;
use crate::ledger::LedgerState;
use crate::model::Seq;
use std::sync::Arc;

/// Every so many calls one lists, to see past a record that is missing: five minutes at a refresh every 5 s.
pub(super) const LIST_EVERY: u64 = 60;

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

impl Stream {
    /// Takes in every record that the index does not know yet, and tells what is new. One call at a time; several
    /// processes may follow into one index.
    ///
    /// # Errors
    /// See [`StreamError`]. What was taken in before an error stays, and the next call goes on from there.
    pub async fn follow(&self) -> Result<Followed, StreamError> {
        let mut follows = self.follows.lock().await;
        let told = self.take_in(*follows).await;
        // Also after an error: what was taken in stays, and it may be long until there is more.
        let index = Arc::clone(&self.index);
        let rested = blocking(move || index.rest()).await;
        let told = told?;
        rested?;
        *follows += 1;
        Ok(told)
    }

    /// The same, as the call that comes after `follows` others.
    async fn take_in(&self, follows: u64) -> Result<Followed, StreamError> {
        // Of an index without records there is nothing to show meanwhile.
        let list = follows.is_multiple_of(LIST_EVERY) || self.known().await?.last_seq == Seq(0);
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
        intake.finish().await
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
