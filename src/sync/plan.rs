//! What comes next: which listed files are archived, and which are not. Pure.

use crate::binlog::Head;
use crate::model::{GtidSet, Incarnation, Seq};
use crate::source::Listed;

/// A listed file, and what is known of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The file.
    pub listed: Listed,
    /// What its first events say.
    pub head: Head,
    /// Its length in bytes.
    pub size: u64,
    /// Where the ledger has it, if it has.
    pub archived: Option<ArchivedAs>,
}

/// A file's place in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchivedAs {
    /// Its record.
    pub seq: Seq,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its recorded length in bytes.
    pub size: u64,
    /// The ledger has a later file of the same incarnation.
    pub succeeded: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Indexes into the listing, in the order in which they are to be archived.
    pub next: Vec<usize>,
    /// Listed before an archived file, and not archived: older than the stream, or holes in it.
    pub older: Vec<usize>,
    /// Everything the server executed, as far as its files tell.
    pub history: GtidSet,
}

/// The closed files whose head and number are archived, and that may be others all the same: of another size, or followed
/// in the listing by a file that does not follow them in the ledger. They have to be read to know.
pub fn suspects(seen: &[Seen]) -> Vec<usize> {
    let is_suspect = |n: usize| {
        let (file, archived) = (&seen[n], seen[n].archived?);
        let followed_by_another =
            archived.succeeded && seen.get(n + 1).is_some_and(|next| next.archived.is_none());
        (file.listed.closed && (archived.size != file.size || followed_by_another)).then_some(n)
    };
    (0..seen.len()).filter_map(is_suspect).collect()
}

/// A listed file that is not what the archive holds under its identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} is the file archived in ledger record {seq}, with other bytes ({size} bytes, {archived_size} were archived): one of the two was \
     changed. Compare them ('binlogfs cat' gives the archived one); nothing was written"
)]
pub struct Conflict {
    file: String,
    seq: Seq,
    size: u64,
    archived_size: u64,
}

impl Conflict {
    /// `file` is the archived one, changed.
    pub fn of(file: &Seen, archived: &ArchivedAs) -> Conflict {
        let path = file.listed.path.display().to_string();
        Conflict {
            file: path,
            seq: archived.seq,
            size: file.size,
            archived_size: archived.size,
        }
    }
}

/// Decides what comes next.
pub fn plan(seen: &[Seen]) -> Plan {
    let first_new = seen
        .iter()
        .rposition(|file| file.archived.is_some())
        .map_or(0, |last| last + 1);
    let unarchived =
        |(n, file): (usize, &Seen)| (file.listed.closed && file.archived.is_none()).then_some(n);
    let mut history = GtidSet::new();
    for previous in seen
        .iter()
        .filter_map(|file| file.head.previous_gtids.as_ref())
    {
        history.union_with(previous);
    }
    Plan {
        next: seen
            .iter()
            .enumerate()
            .skip(first_new)
            .filter_map(unarchived)
            .collect(),
        older: seen
            .iter()
            .enumerate()
            .take(first_new)
            .filter_map(unarchived)
            .collect(),
        history,
    }
}
