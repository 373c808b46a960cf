//! The one table from causes to errno and log level.

use crate::cache::Cause;
use crate::store::ErrorKind;
use tracing::Level;

/// What the kernel is told of a failure, and how loudly we say it ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The errno, as `libc` numbers them.
    pub errno: i32,
    /// The level it is logged with.
    pub level: Level,
}

const fn verdict(errno: i32, level: Level) -> Verdict {
    Verdict { errno, level }
}

/// What a failed read is to the kernel.
///
/// EIO: damage, a hole, wrong bytes. ETIMEDOUT: the store does not answer. EACCES: credentials. ENOKEY: no key for this
/// segment. ESTALE: the object is gone.
pub fn of_cause(cause: &Cause) -> Verdict {
    match cause {
        // Known since the segment was archived, and alarmed then.
        Cause::Damaged { .. } | Cause::Hole { .. } => verdict(libc::EIO, Level::INFO),
        Cause::Corrupt(_) => verdict(libc::EIO, Level::ERROR),
        Cause::NoKey(_) => verdict(libc::ENOKEY, Level::WARN),
        Cause::Newer(_) => verdict(libc::EIO, Level::ERROR),
        Cause::Store(error) => of_store(error.kind),
        Cause::Timeout(_) => verdict(libc::ETIMEDOUT, Level::WARN),
        Cause::Closing => verdict(libc::EIO, Level::DEBUG),
        Cause::Internal(_) => verdict(libc::EIO, Level::ERROR),
    }
}

/// What a store error that ends a read is to the kernel. Retries, if any, are over by then.
fn of_store(kind: ErrorKind) -> Verdict {
    match kind {
        ErrorKind::NotFound | ErrorKind::NoSuchBucket => verdict(libc::ESTALE, Level::ERROR),
        ErrorKind::Credentials | ErrorKind::Expired | ErrorKind::Denied | ErrorKind::ClockSkew => {
            verdict(libc::EACCES, Level::ERROR)
        }
        ErrorKind::Throttled
        | ErrorKind::Transient
        | ErrorKind::Timeout
        | ErrorKind::BreakerOpen => verdict(libc::ETIMEDOUT, Level::WARN),
        // Shorter than recorded: not the bytes that were archived.
        ErrorKind::Truncated => verdict(libc::EIO, Level::ERROR),
        ErrorKind::AlreadyExists
        | ErrorKind::NoSpace
        | ErrorKind::TooLarge
        | ErrorKind::BadDigest
        | ErrorKind::WrongRegion
        | ErrorKind::Tls
        | ErrorKind::Unsupported
        | ErrorKind::Permanent => verdict(libc::EIO, Level::ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::EntryState;
    use crate::segment::SegmentError;
    use crate::store;
    use std::sync::Arc;
    use std::time::Duration;

    fn errno(cause: impl Into<Cause>) -> i32 {
        of_cause(&cause.into()).errno
    }

    fn store(kind: ErrorKind) -> store::Error {
        store::Error::new(kind, "get", "segments/x", "memory:")
    }

    #[test]
    fn each_cause_has_the_documented_errno() {
        let damaged = Cause::Damaged {
            first_bad_position: 4,
            reason: "checksum".into(),
        };
        let hole = Cause::Hole {
            state: EntryState::Gap,
            reason: "purged".into(),
        };
        let corrupt = SegmentError::Corrupt {
            what: "x".to_owned(),
            frame: None,
            offset: None,
        };
        let no_key = SegmentError::NoKey {
            reason: "x".to_owned(),
        };
        assert_eq!(errno(damaged), libc::EIO);
        assert_eq!(errno(hole), libc::EIO);
        assert_eq!(errno(corrupt), libc::EIO);
        assert_eq!(errno(no_key), libc::ENOKEY);
        assert_eq!(
            errno(Cause::Timeout(Duration::from_secs(30))),
            libc::ETIMEDOUT
        );
        assert_eq!(errno(store(ErrorKind::NotFound)), libc::ESTALE);
        assert_eq!(errno(store(ErrorKind::Credentials)), libc::EACCES);
        assert_eq!(errno(store(ErrorKind::Denied)), libc::EACCES);
        assert_eq!(errno(store(ErrorKind::Throttled)), libc::ETIMEDOUT);
        assert_eq!(errno(store(ErrorKind::Truncated)), libc::EIO);
        assert_eq!(errno(Cause::Internal(Arc::from("x"))), libc::EIO);
    }

    #[test]
    fn wrong_bytes_are_logged_as_errors_and_known_holes_are_not() {
        let hole = Cause::Hole {
            state: EntryState::Hole,
            reason: "purged".into(),
        };
        assert_eq!(of_cause(&hole).level, Level::INFO);
        let truncated: Cause = store(ErrorKind::Truncated).into();
        assert_eq!(of_cause(&truncated).level, Level::ERROR);
    }
}
