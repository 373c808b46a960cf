//! Proving an archive: what is looked at, what is found, what was proven when, and what a second copy heals.
//!
//! # What is looked at
//! 1. The ledger, from its first record on, each record itself ([`audit`]). No index is believed.
//! 2. The pages, which must say what the records say (`pages`).
//! 3. Every object that a segment of the history stands for: that it is there, its size, and the checksums that its store keeps
//!    ([`objects`]).
//! 4. If asked for, every byte of them: decrypted, decompressed, hashed and scanned again ([`deep`]); of a large archive a part at a
//!    time, what was never read before first, then what was read longest ago ([`proofs`]).
//!
//! All of that is asked of the first store alone: what a replica could give must not cover up what is wrong there.
//!
//! Memory grows with the history by some 250 bytes a segment ([`Segment`]), and by some 50 where content is read; by 8 for each object
//! that was replaced, where those are listed; the index, some 1.7 kB a segment because it has every record as it stands, is in a
//! temporary file ([`crate::index::Index::temporary`]).
//!
//! # What is healed, and how
//! The bytes that a replica gives are proven before anything is done with them: a record by its hash and by those of its neighbours,
//! an object by the size and checksums that its record names. Then ([`repair`]):
//!
//! | what | how |
//! |---|---|
//! | an object that is missing | created again under its key: the same bytes |
//! | an object that is damaged | its bytes under a new key, and a `supersede` record that names it. Nothing is removed: it works under Object Lock |
//! | a record that is missing | created again: the same bytes |
//! | the newest records are missing | the same, in order, if they continue the ledger |
//! | a record or page that is damaged | nothing may stand in its place: with `--replace` it is removed and created again, else a person removes it |
//! | `stream.json` | as a record |
//!
//! The new key of an object is made from the old one, so that whoever is killed after the upload and before the record finds that
//! object again and leaves no other. A repair that is killed at any point is run again.

pub mod audit;
pub mod deep;
pub mod finding;
pub mod objects;
mod pages;
pub mod proofs;
pub mod repair;
mod segment;

pub use audit::Audit;
pub use finding::{Finding, FindingKind};
pub use proofs::Proofs;
pub use segment::Segment;
