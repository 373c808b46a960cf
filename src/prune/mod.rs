//! Retention: what is too old goes, in two steps a day apart, and what a backup needs stays.
//!
//! # The protocol
//! 1. **Look** ([`Pruner::survey`]): the ledger is followed, the registered backups are read, and [`crate::retention`] says which
//!    entries of each timeline may go.
//! 2. **Record** ([`Pruner::record`]): one `prune` record per timeline, appended like every record, by a conditional create at the next
//!    place. Whoever loses that race to an archiver follows, looks again at everything, and tries again. From then on readers show a
//!    history that begins later; **nothing is deleted yet**.
//! 3. **Remove** ([`Pruner::remove`]), in this or any later run: of prune records older than the grace, objects are deleted, oldest
//!    first. Before that the backups are looked at once more, against the history as if nothing had been pruned: if one needs what is
//!    to go, nothing of that timeline is deleted. Such a one was registered between the look and the record.
//!
//! Records, pages and `stream.json` stay: they are the chain, and small.
//!
//! # Superseded objects
//! A segment that was healed, or rewritten for other keys, has a new object, and its old one is read by nobody
//! ([`Pruner::remove_superseded`]). The record that names the new one is the first step; the second is the same: when that record is older
//! than the grace, and the object in force is there with the recorded size and checksums, the old one is deleted. What is locked stays, and
//! holds up nothing else. An object that *no* record names is not touched: it may be one that an archiver is about to record.
//!
//! # What a fence took out
//! It stays when the timeline that it was part of is pruned: it may be the only copy of transactions that somebody has to decide about. With
//! [`Pruner::fenced`] its objects are pruned like the entries that it stands between: their names are in one order, so that the record
//! and the grace are those of the prune that went past it. What a timeline was not pruned past stays in any case.
//!
//! # What a crash leaves
//! | crash | left | next run |
//! |---|---|---|
//! | before the record | nothing | begins anew |
//! | after it | history that begins later, and objects that no reader asks for | deletes them when the grace is over |
//! | while deleting | some of them are gone | lists what is there, and goes on |
//!
//! What is left to delete is found by a listing, and not by a note of how far somebody came: nothing can be forgotten, and two that
//! prune at once do the same work twice.
//!
//! A step that fails after others have changed something leaves what they did with its caller: each verb notes what it has done where it
//! is told to, and not in what it returns.
//!
//! # Locks
//! An object that its store keeps is told with the moment until when, and nothing newer of its timeline is deleted: what is left stays
//! one piece. The locks of `LOOKED_AT_ONCE` objects are looked at before the first of them goes.
//!
//! # Memory
//! It grows with the history by some 100 bytes for each entry of the timeline that is looked at, and by some 350 for each object that is
//! to be deleted for having been pruned. Superseded objects, and entries whose objects are gone, are held a page at a time.
//!
//! # Whose clock
//! The moment that `--keep` counts from is the store's (the `Date` of its answers), and so is the age of a prune record (when its
//! object was made): a host whose clock is wrong can neither take too much nor cut the grace short. A directory has this host's clock;
//! there the age is that of the record's own time.

mod append;
mod remove;
mod superseded;
mod survey;
#[cfg(test)]
mod tests;

pub use remove::{Blocked, Kept, Removal};
pub use superseded::{Needed, Replaced};
pub use survey::{Held, Refusal, Span, Survey, TimelinePlan};

use crate::index::Index;
use crate::model::Micros;
use crate::store::SharedStore;
use crate::stream::Stream;
use std::fmt;
use std::sync::Arc;

/// Objects whose locks are looked at, and that are then deleted, at the same time.
const LOOKED_AT_ONCE: usize = 16;

/// Notes a grace that ends at `over_at`, if none that is noted ends before.
fn note_earliest(next_at: &mut Option<Micros>, over_at: Micros) {
    let next = next_at.get_or_insert(over_at);
    *next = over_at.min(*next);
}

/// What shall stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What happened at this moment or later; and how it was asked for.
    Since(Micros, String),
    /// What the newest so many backups need.
    Backups(u32),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Since(_, asked) => f.write_str(asked),
            Wanted::Backups(count) => write!(f, "--keep-backups {count}"),
        }
    }
}

/// Prunes a stream.
pub struct Pruner {
    /// The store.
    pub store: SharedStore,
    /// The stream in it.
    pub stream: Arc<Stream>,
    /// Its index, in a file.
    pub index: Arc<Index>,
    /// Host name and version, for the records.
    pub archiver: String,
    /// The time, by the store's clock if it has one.
    pub now: Micros,
    /// Whether what fences took out goes with what its timeline was pruned of.
    pub fenced: bool,
}

/// A prune record that was made.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Recorded {
    /// The record.
    pub seq: crate::model::Seq,
    /// The timeline.
    pub timeline: crate::model::Timeline,
    /// The last name that it takes away.
    pub through: crate::model::MountName,
    /// Entries that it takes away.
    pub entries: u64,
}
