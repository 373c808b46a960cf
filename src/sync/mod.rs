//! Archiving: a server's closed binlogs into a stream, exactly once and in order.
//!
//! # One run
//! 1. List the server's files and read the head of each. What cannot be archived (relay log, text) is refused here, by name,
//!    before anything is written anywhere. A file that the server has encrypted ends the batch: the files before it are archived,
//!    then it is refused by name.
//! 2. Lock the state directory: one archiver per directory. Follow the ledger into the index, and tidy up what an earlier
//!    run left (journal).
//! 3. [`plan`]: which files are archived already, which come next.
//! 4. For each file that comes next, up to [`archive::Settings::transfers`] at a time: journal a fresh key, read the file
//!    once ([`pipeline`]: scan, SHA-256, frames, encryption on the same buffer), upload it.
//! 5. In the order of the files, one at a time: place the segment in the history ([`place`]: incarnation, timeline, holes
//!    and gaps before it), create its record, apply it to the index, forget the journal entry, write `state.json`.
//! 6. At the end, create the ledger pages whose last record stands. No file waits for one, and no run fails by one.
//!
//! # Ordering
//! The record of a file is never created before that of the file before it, whatever finished first. A reader sees a
//! prefix of the history at every instant. When a file fails, no later one is committed; their objects are removed.
//!
//! # Crashes
//! | killed | left behind | next run |
//! |---|---|---|
//! | before the key is journaled | nothing | starts again |
//! | after it, or inside the upload | journal entry, perhaps a part of an object | deletes the key (and its parts), drops the entry |
//! | after the upload, before the record | journal entry and an object no record names | the same |
//! | inside the creation of the record | journal entry that says which record; the record may still appear | the object stays until a record stands at that place: ours, or another |
//! | the same, and the record is there and unreadable | the same | the object stays: the record may name it |
//! | after the record, before the index | record in the bucket | the ledger is followed; the key is in it: entry dropped |
//! | after the index, before the journal | journal entry for a named key | entry dropped |
//! | before or inside the creation of a page | no page, or one that is not in the index's mark yet | creates it, or finds it there |
//! | before or inside `state.json` | an old manifest (it is written beside and renamed) | written anew from the index |
//!
//! A lost reply to the creation of a record is resolved by reading the record back: it is ours if it names our key.
//!
//! # Two archivers
//! The ledger decides: one creates record *n*, the other reads it. If it is the same file (head and number), the loser
//! deletes its own object and goes on; else it places its segment again after the winner's.
//!
//! # Fences
//! [`fence`] ends a timeline by an operator's word. Files that go on behind it are placed on a timeline of their own ([`place`]); a
//! server whose history has all that stays, and nothing of what left, joins.
//!
//! # What may leak
//! An object no record names stays if its archiver dies and its state directory is lost with the host: `verify
//! --orphans` lists those. Under Object Lock, objects of failed attempts stay until their lock ends. The same holds of objects that are
//! made anew ([`anew`]). Nothing else.

pub mod anew;
pub mod append;
pub mod archive;
mod begin;
pub mod clock;
pub mod commit;
pub mod compress;
pub mod dead_letter;
pub mod fair;
pub mod fence;
pub mod fill;
pub mod footing;
pub mod gate;
pub mod heal;
pub mod import;
pub mod journal;
pub mod leftovers;
pub mod likeness;
pub mod lineage;
pub mod listed;
mod lock;
pub mod manifest;
pub mod migrate;
mod missing;
pub mod new_timeline;
pub mod pace;
mod pages;
pub mod pipeline;
pub mod place;
pub mod plan;
pub mod purge;
pub mod rekey;
pub mod replica;
mod run;
pub mod share;
pub mod slots;

pub use archive::{Outcome, Settings, archive_again, archive_once};
pub use clock::{Clock, system_clock};
pub use footing::Footing;
pub use listed::{Batch, Heads, read_batch, read_batch_with};
pub use pace::Pace;
pub use place::Refusal;
pub use replica::{Replicator, through_unlimited};
pub use share::{Commons, Share, Totals};
