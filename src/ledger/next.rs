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

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_record_continues_the_ledger_breaks_no_rule_and_follows_none_that_is_lost() {
        let file = testing::stream_file();
        let mut state = LedgerState::new(&file, &file.write());
        let segment = || Body::Segment(Box::new(testing::segment(1)));
        let (line, next) = state.followed_by(segment()).expect("the first record");
        let mut accepted = state.clone();
        accepted.accept(&line).expect("follows");
        assert_eq!(next, accepted);
        assert_ne!(next, state);
        // Of a timeline that does not exist.
        let refused = state.followed_by(Body::Prune(testing::prune(1)));
        let refused = refused.expect_err("breaks a rule");
        assert!(matches!(&refused, NextError::Rules(_)), "{refused:?}");
        state.accept_lost("it is a test");
        let refused = state.followed_by(segment());
        assert_eq!(refused.expect_err("after a lost one"), NextError::NoHash);
    }
}
