//! The record that comes next: made so that it continues the ledger and breaks no rule of it.

use super::{Body, ChainError, FORMAT, LedgerState, Line, LineError, Record};

/// No record can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NextError {
    /// What it must say of the record before it cannot be told.
    #[error("the hash of the newest ledger record is unknown")]
    NoHash,
    /// It cannot be written as a line.
    #[error("the ledger record to be created")]
    Line(#[from] LineError),
    /// It could never be removed again, and nobody could read past it.
    #[error(
        "the record to be created would break the ledger's rules, so it was not; this is a bug: report it with the output of 'binlogfs ls --json'"
    )]
    Rules(#[from] ChainError),
}

impl LedgerState {
    /// The record after this state with `body`, and the state after that record.
    ///
    /// # Errors
    /// When the record before cannot be read, or the new one would break a rule of `FORMAT.md`.
    pub fn followed_by(&self, body: Body) -> Result<(Line, LedgerState), NextError> {
        let line = Line::write(Record {
            format: FORMAT,
            seq: self.next_seq(),
            prev: self.last_hash.ok_or(NextError::NoHash)?,
            body,
        })?;
        let mut next = self.clone();
        next.accept(&line)?;
        Ok((line, next))
    }
}
