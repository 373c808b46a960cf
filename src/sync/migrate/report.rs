//! What a migration did, and what was proven of the copies.

use serde::Serialize;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records of the old ledger that the new one has to have.
    pub records: u64,
    /// Records that were there and say the same.
    pub compared: u64,
    /// Records carried over by this run.
    pub carried: u64,
    /// Objects copied by this run.
    pub objects_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Objects made anew by this run; the SHA-256 of what was read for each was the recorded one.
    pub objects_made: u64,
    /// Bytes of the server's files that were read for them; in a dry run, to be read.
    pub bytes_read: u64,
    /// Their bytes as they are stored.
    pub bytes_made: u64,
    /// Objects that were there, with the recorded checksums.
    pub objects_there: u64,
    /// Objects of segments that were pruned or replaced, which are gone from the old store, or were not made anew.
    pub objects_gone: u64,
    /// Copies read back to their last byte, with the recorded SHA-256 of the file.
    pub read_back: u64,
    /// Copies of which only the object's checksums were compared, because no key opens them.
    pub checksums_only: u64,
    /// Registered backups carried over.
    pub backups: u64,
    /// Backups carried over before, taken off the list of the old place since, and off that of the new one by this run.
    pub backups_removed: u64,
    /// The old ledger is closed.
    pub cut_over: bool,
}
