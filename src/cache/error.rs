//! Why bytes of a segment cannot be had.

use crate::ledger::EntryState;
use crate::segment::SegmentError;
use crate::store;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A read that failed: of which segment and why.
#[derive(Clone, Debug)]
pub struct ReadError {
    /// The segment's name in the mount.
    pub segment: Arc<str>,
    /// The key of its object; empty where there is none.
    pub object: Arc<str>,
    /// Why.
    pub cause: Cause,
}

/// Why a read failed. Errno and log level follow from it, in one table (`fs/errno.rs`).
///
/// Cheap to clone: one failed fetch is told to all that wait for it.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The server's file was damaged when it was archived, and the range begins at or after its first bad event.
    Damaged {
        /// Offset of the first bad event.
        first_bad_position: u64,
        /// What is wrong there.
        reason: Arc<str>,
    },
    /// There is nothing to read: a hole, a gap or a lost record.
    Hole {
        /// Which of them.
        state: EntryState,
        /// Why.
        reason: Arc<str>,
    },
    /// The stored bytes are not those that were archived.
    Corrupt(Arc<SegmentError>),
    /// The segment is encrypted for other keys than those at hand.
    NoKey(Arc<SegmentError>),
    /// A newer binlogfs wrote it.
    Newer(Arc<SegmentError>),
    /// The store refused or failed.
    Store(Arc<store::Error>),
    /// No answer within the read's deadline.
    Timeout(Duration),
    /// The reader is shutting down.
    Closing,
    /// A task of ours died: a bug.
    Internal(Arc<str>),
}

impl Cause {
    /// Whether the same read may succeed a little later: it was the store that did not answer.
    pub fn is_passing(&self) -> bool {
        match self {
            Cause::Timeout(_) => true,
            Cause::Store(error) => error.is_transient(),
            Cause::Damaged { .. }
            | Cause::Hole { .. }
            | Cause::Corrupt(_)
            | Cause::NoKey(_)
            | Cause::Newer(_)
            | Cause::Closing
            | Cause::Internal(_) => false,
        }
    }
}

impl From<SegmentError> for Cause {
    fn from(error: SegmentError) -> Cause {
        match error {
            SegmentError::NoKey { .. } => Cause::NoKey(Arc::new(error)),
            SegmentError::Unsupported { .. } => Cause::Newer(Arc::new(error)),
            SegmentError::Corrupt { .. } | SegmentError::Limit { .. } => {
                Cause::Corrupt(Arc::new(error))
            }
            SegmentError::Encode { reason } => Cause::Internal(reason.into()),
        }
    }
}

impl From<store::Error> for Cause {
    fn from(error: store::Error) -> Cause {
        Cause::Store(Arc::new(error))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Damaged {
                first_bad_position,
                reason,
            } => write!(
                f,
                "the server's file was damaged from position {first_bad_position} on when it was archived ({reason}); \
                 its bytes as they were are under .raw/"
            ),
            Cause::Hole { state, reason } => {
                let what = match state {
                    EntryState::Hole => "it was never archived",
                    EntryState::Gap => "an unknown extent of history is missing here",
                    EntryState::Lost => "its ledger record cannot be read",
                    EntryState::Archived | EntryState::Damaged => "it has no object",
                };
                write!(
                    f,
                    "{what}: {reason}; run 'binlogfs status' to see all holes"
                )
            }
            Cause::Corrupt(error) | Cause::NoKey(error) | Cause::Newer(error) => error.fmt(f),
            Cause::Store(error) => error.fmt(f),
            Cause::Timeout(after) => write!(
                f,
                "the store did not answer within {} s; see whether it can be reached and read again",
                after.as_secs_f32()
            ),
            Cause::Closing => f.write_str("binlogfs is being unmounted"),
            Cause::Internal(what) => {
                write!(
                    f,
                    "a task of binlogfs died ({what}): this is a bug, please report it"
                )
            }
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.segment)?;
        if !self.object.is_empty() {
            write!(f, " (object {})", self.object)?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for ReadError {}
