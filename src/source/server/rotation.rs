//! Whether to close the active binlog now, so that what it holds can be archived.
//!
//! On a quiet server a file stays open for hours. FLUSH BINARY LOGS closes it; but it also purges what has expired, so it is
//! forbidden while a file that is not archived is past its expiry, or could be without our knowing.

use super::danger::{Expiry, gtids_tell_all};
use super::listing::ActiveLog;
use crate::binlog::Flavour;
use crate::model::GtidSet;
use std::time::Duration;

/// Room before the expiry that counts as expired: the clocks of the file system and the server need not agree, and time
/// passes between the question and the FLUSH.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// What is known of the active file and of the files before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveFile {
    /// Since it was begun.
    pub age: Duration,
    /// It holds transactions ([`has_something_to_save`]).
    pub has_transactions: bool,
    /// Since the last change of the oldest closed file that is not archived; `None` if all are.
    pub oldest_unarchived: Option<Duration>,
    /// The server may delete files by their total size.
    pub purges_by_size: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// FLUSH BINARY LOGS.
    Flush,
    /// The file is not old enough.
    NotYet {
        /// When it will be, from now.
        due_in: Duration,
    },
    /// It holds no transaction.
    Nothing,
    /// It would be due, and FLUSH would delete what is not archived.
    Forbidden {
        /// Why, and what to do.
        why: &'static str,
    },
}

/// Decides whether the active file is to be closed.
pub fn rotation_due(file: &ActiveFile, rotate_after: Duration, expiry: Expiry) -> Rotation {
    if !file.has_transactions {
        return Rotation::Nothing;
    }
    if file.age < rotate_after {
        return Rotation::NotYet {
            due_in: rotate_after - file.age,
        };
    }
    let forbidden = |why| Rotation::Forbidden { why };
    match (file.oldest_unarchived, expiry) {
        (None, _) => Rotation::Flush,
        (Some(_), _) if file.purges_by_size => forbidden(
            "FLUSH BINARY LOGS purges by total size, and a closed file is not archived yet: archive it first",
        ),
        (Some(_), Expiry::Unknown) => forbidden(
            "FLUSH BINARY LOGS purges expired files, the expiry is not known, and a closed file is not archived yet: archive it first",
        ),
        (Some(age), Expiry::After(expiry)) if age + EXPIRY_MARGIN >= expiry => forbidden(
            "FLUSH BINARY LOGS purges expired files, and a closed file that is not archived is past its expiry: archive it first, or \
             raise binlog_expire_logs_seconds",
        ),
        (Some(_), Expiry::After(_) | Expiry::Never) => Rotation::Flush,
    }
}

/// Whether the active file holds transactions: `head_gtids` and `head_end` are its PREVIOUS_GTIDS (GTID_LIST) and where the
/// events that every new file begins with end.
///
/// MySQL: by position, because not every transaction needs a GTID, and a replica that does not log what it applies
/// grows `gtid_executed` all the same. MariaDB: by GTIDs, because it writes checkpoints into files that hold nothing else.
pub fn has_something_to_save(
    active: &ActiveLog,
    flavour: Option<Flavour>,
    head_gtids: Option<&GtidSet>,
    head_end: u64,
) -> bool {
    match head_gtids {
        Some(before) if gtids_tell_all(flavour) => {
            active.executed != before.clone().into_position_form()
        }
        _ => active.position > head_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DUE: ActiveFile = ActiveFile {
        age: Duration::from_secs(600),
        has_transactions: true,
        oldest_unarchived: None,
        purges_by_size: false,
    };

    fn after(minutes: u32) -> Expiry {
        Expiry::After(MINUTE * minutes)
    }

    #[test]
    fn a_file_with_transactions_is_closed_when_it_is_old_enough() {
        let due = |file: ActiveFile| rotation_due(&file, MINUTE * 5, after(60));
        assert_eq!(due(DUE), Rotation::Flush);
        let empty = ActiveFile {
            has_transactions: false,
            ..DUE
        };
        assert_eq!(due(empty), Rotation::Nothing);
        let young = ActiveFile {
            age: MINUTE * 2,
            ..DUE
        };
        let due_in = MINUTE * 3;
        assert_eq!(due(young), Rotation::NotYet { due_in });
    }

    #[test]
    fn nothing_is_flushed_while_that_could_delete_what_is_not_archived() {
        let with = |minutes, expiry, purges_by_size| {
            let file = ActiveFile {
                oldest_unarchived: Some(MINUTE * minutes),
                purges_by_size,
                ..DUE
            };
            rotation_due(&file, MINUTE * 5, expiry)
        };
        assert_eq!(with(10, after(60), false), Rotation::Flush);
        assert_eq!(with(10_000, Expiry::Never, false), Rotation::Flush);
        for forbidden in [
            with(61, after(60), false),
            with(59, after(60), false),
            with(1, Expiry::Unknown, false),
            with(1, Expiry::Never, true),
        ] {
            assert!(
                matches!(forbidden, Rotation::Forbidden { .. }),
                "{forbidden:?}"
            );
        }
        // What is archived may go.
        assert_eq!(rotation_due(&DUE, MINUTE, after(1)), Rotation::Flush);
        assert_eq!(rotation_due(&DUE, MINUTE, Expiry::Unknown), Rotation::Flush);
    }

    #[test]
    fn what_a_file_holds_is_told_by_position_or_by_gtids() {
        let active = |position, executed: &str| ActiveLog {
            name: "binlog.000002".parse().expect("valid"),
            position,
            executed: executed
                .parse::<GtidSet>()
                .expect("valid")
                .into_position_form(),
            filtered: false,
        };
        let mysql = |position| {
            // A replica that logs nothing: its set grows, its file does not.
            let active = active(position, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9");
            has_something_to_save(&active, Some(Flavour::MySql), Some(&GtidSet::new()), 157)
        };
        assert!(!mysql(157));
        assert!(mysql(158));
        let maria = |executed: &str, before: &str| {
            let before: GtidSet = before.parse().expect("valid");
            has_something_to_save(
                &active(900, executed),
                Some(Flavour::MariaDb),
                Some(&before),
                256,
            )
        };
        assert!(!maria("0-1-7", "0-1-7"));
        assert!(maria("0-1-8", "0-1-7"));
        assert!(maria("0-1-7,1-1-1", "0-1-7"));
    }
}
