//! The one table from faults to errno and log level. `SEMANTICS.md` has a copy, and a test compares the two.
//!
//! Each row stands once, in a macro that makes both the match and the list. The matches have no wildcard: a kind of fault that is new
//! does not compile without a row.

use super::source::SourceError;
use crate::cache::Cause;
use crate::ledger::EntryState;
use crate::store::{self, ErrorKind};
use crate::stream::StreamError;
use tracing::Level;

/// What the kernel is told of a failure, and how loudly we say it ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The errno, as `libc` numbers them.
    pub errno: i32,
    /// The level it is logged with.
    pub level: Level,
}

/// A row of the table, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What failed.
    pub fault: &'static str,
    /// The name of the errno.
    pub errno: &'static str,
    /// The level of the log line.
    pub level: Level,
    /// What it means for whoever reads.
    pub meaning: &'static str,
}

macro_rules! table {
    (
        $(#[$doc:meta])*
        fn $function:ident($subject:ident: $type:ty);
        const $rows:ident;
        $($fault:literal = $pattern:pat => $errno:ident $level:ident, $meaning:literal;)*
        $(else $rest:pat => $answer:expr;)*
    ) => {
        $(#[$doc])*
        fn $function($subject: $type) -> Verdict {
            match $subject {
                $($pattern => Verdict { errno: libc::$errno, level: Level::$level },)*
                $($rest => $answer,)*
            }
        }
        const $rows: &[Row] = &[$(Row {
            fault: $fault,
            errno: stringify!($errno),
            level: Level::$level,
            meaning: $meaning,
        }),*];
    };
}

table! {
    /// What a read of a segment is to the kernel that failed for another reason than the store.
    fn of_segment(cause: &Cause);
    const SEGMENT_ROWS;
    // Known since the segment was archived, and alarmed then.
    "damage at the server" = Cause::Damaged { .. } => EIO INFO, "from the first bad event on; `.raw/` has the bytes as they were";
    "a hole" = Cause::Hole { state: EntryState::Hole, .. } => EIO INFO, "the segment was never archived";
    "a gap" = Cause::Hole { state: EntryState::Gap, .. } => EIO INFO, "an unknown extent of history is missing";
    "a lost ledger record" = Cause::Hole { state: EntryState::Lost, .. } => EIO WARN, "nobody can tell what the segment was";
    "an entry without its object" = Cause::Hole { state: EntryState::Archived | EntryState::Damaged, .. } => EIO ERROR, "a bug: please report it";
    "wrong bytes" = Cause::Corrupt(_) => EIO ERROR, "the stored bytes are not those archived, also when fetched again";
    "no key" = Cause::NoKey(_) => ENOKEY WARN, "the segment is encrypted for other keys than those at hand";
    "a newer format" = Cause::Newer(_) => EIO ERROR, "a newer binlogfs wrote the segment: upgrade this one";
    "the deadline" = Cause::Timeout(_) => ETIMEDOUT WARN, "the store did not answer in time: read again";
    "unmounting" = Cause::Closing => EIO DEBUG, "the mount is being taken away";
    "a task that died" = Cause::Internal(_) => EIO ERROR, "a bug: please report it";
    else Cause::Store(error) => of_store(error.kind);
}

table! {
    /// What a store error that ends a read is to the kernel. Retries, if any, are over by then.
    fn of_store(kind: ErrorKind);
    const STORE_ROWS;
    "store: not found" = ErrorKind::NotFound => ESTALE ERROR, "the object is gone";
    "store: no such bucket" = ErrorKind::NoSuchBucket => ESTALE ERROR, "the bucket or directory is gone";
    "store: credentials" = ErrorKind::Credentials => EACCES ERROR, "missing or wrong";
    "store: expired" = ErrorKind::Expired => EACCES ERROR, "the credentials have expired and no new ones were found";
    "store: denied" = ErrorKind::Denied => EACCES ERROR, "the credentials do not allow it";
    "store: clock" = ErrorKind::ClockSkew => EACCES ERROR, "this host's clock is wrong: signatures are refused";
    "store: throttled" = ErrorKind::Throttled => ETIMEDOUT WARN, "the store asks to slow down";
    "store: transient" = ErrorKind::Transient => ETIMEDOUT WARN, "a passing fault did not pass in time";
    "store: timeout" = ErrorKind::Timeout => ETIMEDOUT WARN, "no answer in time";
    "store: breaker open" = ErrorKind::BreakerOpen => ETIMEDOUT WARN, "it has failed again and again, and is left alone for a while";
    "store: truncated" = ErrorKind::Truncated => EIO ERROR, "the object is shorter than recorded";
    "store: too large" = ErrorKind::TooLarge => EIO ERROR, "the object is larger than such an object can be";
    "store: bad digest" = ErrorKind::BadDigest => EIO ERROR, "bytes were changed on their way";
    "store: wrong region" = ErrorKind::WrongRegion => EIO ERROR, "the bucket has moved";
    "store: TLS" = ErrorKind::Tls => EIO ERROR, "no encrypted connection comes about";
    "store: unsupported" = ErrorKind::Unsupported => EIO ERROR, "the store lacks what is needed";
    "store: permanent" = ErrorKind::Permanent => EIO ERROR, "it will not pass by itself";
    "store: taken" = ErrorKind::AlreadyExists => EIO ERROR, "never of a read";
    "store: no space" = ErrorKind::NoSpace => EIO ERROR, "never of a read";
}

/// What a failed read is to the kernel.
pub fn of_cause(cause: &Cause) -> Verdict {
    of_segment(cause)
}

/// What a stream that cannot be opened is to the kernel.
pub fn of_source(error: &SourceError) -> Verdict {
    if let Some(error) = error.downcast_ref::<StreamError>() {
        return match error {
            StreamError::Store(error) => of_store(error.kind),
            StreamError::NoStream { .. } => NO_STREAM,
            StreamError::Exists { .. }
            | StreamError::StreamFile { .. }
            | StreamError::StoreIgnoresCondition { .. }
            | StreamError::ProbeDenied { .. }
            | StreamError::Rollback { .. }
            | StreamError::Scattered { .. }
            | StreamError::NewerFormat { .. }
            | StreamError::Index(_) => LEDGER,
        };
    }
    match error.downcast_ref::<store::Error>() {
        Some(error) => of_store(error.kind),
        None => LEDGER,
    }
}

/// The ledger of a stream, or its index, cannot be followed.
const LEDGER: Verdict = Verdict {
    errno: libc::EIO,
    level: Level::ERROR,
};

/// A stream that was there.
const NO_STREAM: Verdict = Verdict {
    errno: libc::ENOENT,
    level: Level::ERROR,
};

/// The index on this host cannot be read.
pub const INDEX: Verdict = Verdict {
    errno: libc::EIO,
    level: Level::ERROR,
};

/// The index on this host does not answer.
pub const SILENT_INDEX: Verdict = Verdict {
    errno: libc::ETIMEDOUT,
    level: Level::WARN,
};

/// What does not come from a read of a segment.
const OTHER_ROWS: &[Row] = &[
    Row {
        fault: "the local index",
        errno: "EIO",
        level: Level::ERROR,
        meaning: "it cannot be read: unmount, remove it, mount again",
    },
    Row {
        fault: "the local index is silent",
        errno: "ETIMEDOUT",
        level: Level::WARN,
        meaning: "the disk of the cache directory did not answer in time: look at that disk",
    },
    Row {
        fault: "an entry that is gone",
        errno: "ESTALE",
        level: Level::DEBUG,
        meaning: "the history has changed since the name was looked up",
    },
];

/// The whole table.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    SEGMENT_ROWS.iter().chain(STORE_ROWS).chain(OTHER_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentError;
    use std::sync::Arc;
    use std::time::Duration;

    /// The table in Markdown, as `SEMANTICS.md` has it.
    fn markdown() -> String {
        let row = |row: &Row| {
            let level = row.level.as_str().to_lowercase();
            format!(
                "| {} | {} | {level} | {} |\n",
                row.fault, row.errno, row.meaning
            )
        };
        let rows: String = rows().map(row).collect();
        format!("| fault | errno | logged as | meaning |\n|---|---|---|---|\n{rows}")
    }

    fn errno(cause: impl Into<Cause>) -> i32 {
        of_cause(&cause.into()).errno
    }

    fn store(kind: ErrorKind) -> store::Error {
        store::Error::new(kind, "get", "segments/x", "memory:")
    }

    fn hole(state: EntryState) -> Cause {
        Cause::Hole {
            state,
            reason: "purged".into(),
        }
    }

    #[test]
    fn each_cause_has_the_documented_errno() {
        let damaged = Cause::Damaged {
            first_bad_position: 4,
            reason: "checksum".into(),
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
        assert_eq!(errno(hole(EntryState::Gap)), libc::EIO);
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
        let known = hole(EntryState::Hole);
        assert_eq!(of_cause(&known).level, Level::INFO);
        let truncated: Cause = store(ErrorKind::Truncated).into();
        assert_eq!(of_cause(&truncated).level, Level::ERROR);
    }

    #[test]
    fn semantics_has_the_table() {
        let text = include_str!("SEMANTICS.md");
        let table = markdown();
        assert!(text.contains(&table), "it should have:\n{table}");
    }

    #[test]
    fn no_fault_has_two_rows() {
        let mut faults: Vec<_> = rows().map(|row| row.fault).collect();
        let all = faults.len();
        faults.sort_unstable();
        faults.dedup();
        assert_eq!(faults.len(), all);
    }
}
