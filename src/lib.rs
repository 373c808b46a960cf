//! binlogfs archives the closed binary logs of MySQL servers to a store, in order, verified, compressed and encrypted, and
//! shows the whole archived history as a read-only directory.
//!
//! This page is for who changes the code. For who uses the program there are `README.md` and the pages of `docs/`.
//!
//! # Words
//! A *stream* is the binlog history of one cluster: a prefix in a bucket, or a directory. A *segment* is one binlog file;
//! it is *archived* when its object is durable **and** a record of the *ledger* names it. An *incarnation* is one numbering
//! life of one server; a *timeline* joins incarnations whose GTID history continues, and is what can be replayed as one. A
//! *hole* is a segment that existed and cannot be read, a *gap* an unknown extent of history that is missing. The *index*
//! is our SQLite database, derived from the ledger and disposable. A *frame* is 1 MiB of a segment: the unit of
//! compression, proof and caching. The *tail* of an object is what proves its frames.
//!
//! # The way in
//! ```text
//! binlog index file ── source ──► sync::plan ──► sync::pipeline ──────────────► sync::commit ──► index, state.json
//!                      which are   which come     one pass over the bytes:        ledger record,
//!                      closed      next           scan (binlog), SHA-256,         created only if
//!                                                 frames and age (segment),       nobody else did,
//!                                                 upload (store)                  in the files' order
//! ```
//! [`source`] says which files are final, [`sync`] what happens to them and what a crash leaves, [`binlog`] what is read
//! in them. The source file is read once, and each buffer is scanned, hashed, compressed and encrypted while it is there.
//! Binlogs that lie elsewhere come in by [`sync::import`], which puts them in order and sends them the same way.
//!
//! # The way out
//! ```text
//! kernel ──► fs::fuse ──► fs::view ──► cache ──► store
//!            a call,      names over   one flight    a ranged get
//!            a reply      a snapshot   per frame,
//!                         of the       segment::reader: proven, decrypted, decompressed
//!                         index ◄── stream follows the ledger
//! ```
//! The ledger record proves a segment's tail, the tail proves each frame, and no byte is returned before both were
//! compared. [`fs`] says what the mount promises, [`cache`] how a read becomes requests, [`stream`] how a bucket becomes
//! an index.
//!
//! # Layers
//! Uses go downward only, and a test (`tests/it/house.rs`) holds the house to it:
//! ```text
//! cli                one file per command: parse, call, print
//! config             the configuration file
//! agent              an archiver that runs for years: schedule, alarms, hooks, metrics
//! doctor             looks at what reading and mounting need, and says what to change
//! replay  verify     a plan applied to a server; an archive proven, and healed from a second copy
//! sync  fs  recover  archiving; mounting; what to replay to get to a target: none knows another
//! prune              what is too old goes: recorded first, deleted a day later
//! backup             base backups: their coordinates, the registry, what each can recover
//! locate             a moment, a GTID or a position to the exact transaction
//! cache              bytes fetched, proven and kept
//! source  stream     a server's files; a ledger followed into the index
//! index              SQLite
//! ledger  segment    records and chain rules; our object
//! retention          which segments may go, and what keeps the others
//! binlog  store      the server's format; objects by key
//! model              names and numbers, each parsed once
//! mount_id  blocks   which mount a file is in; memory of one size, used again
//! ```
//! [`model`], [`binlog`], [`segment`], [`ledger`] and [`retention`] are pure: no I/O, no clock, no randomness but that of encryption.
//! [`store`] knows nothing of what it stores, [`index`] nothing of where its records come from. Only `fs/fuse.rs`
//! knows the FUSE library.
//!
//! # What is written where
//! | what | documented in |
//! |---|---|
//! | objects of segments | [`segment`] (`src/segment/FORMAT.md`) |
//! | ledger, `stream.json`, pages, order of writing | [`ledger`] (`src/ledger/FORMAT.md`) |
//! | what a mount shows, promises and fails with | [`fs`] (`src/fs/SEMANTICS.md`) |
//! | registered base backups | [`backup`] (`src/backup/FORMAT.md`) |
//! | one run of the archiver, crash by crash | [`sync`] |
//! | retention, crash by crash | [`prune`] |
//! | contracts of a store | [`store::Store`], proven by `store::conformance` for each |
//! | what of MySQL's format is read and checked | [`binlog`] |
//! | exit codes | `src/cli/exit.rs` |
//!
//! # Where to begin
//! [`binlog::Scanner`], [`segment`]'s writer and reader, [`ledger::LedgerState`] and [`cache::SegmentReader`] carry the weight; all
//! but the last are sans-I/O and can be read alone. `tests/it/whole_path.rs` runs everything at once on files of real
//! servers; `tests/it/sweep.rs` fails the archiver at each of its operations in turn.

pub mod agent;
pub mod backup;
pub mod binlog;
mod blocks;
pub mod cache;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod fs;
pub mod index;
pub mod ledger;
pub mod locate;
pub mod model;
mod mount_id;
pub mod prune;
pub mod recover;
pub mod replay;
pub mod retention;
pub mod segment;
pub mod source;
pub mod store;
pub mod stream;
pub mod sync;
pub mod telemetry;
pub mod verify;
