//! The read path: from an archived segment and a range to proven plain bytes.
//!
//! # What happens to a read
//! 1. The segment is **opened** once: age header and tail are fetched by two small ranged gets and proven against the ledger
//!    record; for who reads from the file's start the first frame follows the header in its get, and for who asks for much at once
//!    the next ones too (`beginning`). The last few hundred open segments are remembered.
//! 2. The range is mapped to frames. A frame that is in the [`frames`] cache is served from memory. One that
//!    was read whole is soon let go: the kernel has it, and its memory is the next frame's.
//! 3. For every other frame there is one **flight**, however many readers want it. Whoever comes first starts it, the others
//!    wait for it. Neighbouring frames whose flights one reader starts are fetched by one ranged get, a *run*; each frame is decoded
//!    when its own bytes have come (`arriving`), and its waiters are released then. Runs of an encrypted object that are neighbours share
//!    the age chunk between them (`edges`): one of them fetches it, and lends it to the other.
//!    What the [`disk`] has is not fetched, and what is fetched is kept there, as it is stored.
//! 4. Readers that move forward have the next runs fetched before they ask ([`sequence`]): several gets at once, a window that
//!    doubles, across the end of the file into the one that comes after it ([`Succession`]). On a slow link it stays smaller (`pace`).
//!
//! # Failing
//! A failed flight fails those that wait for it and is forgotten: the next reader tries again. One exception: a read that
//! failed after having waited is remembered for [`failed::FAILURE_MEMORY`], because the kernel repeats a failed read page by
//! page at once, and a deadline of 30 s must not become one of 60 s; what came of it meanwhile is given all the same. Who joined a flight that ends by the deadline of
//! whoever started it goes on with one of its own until its own deadline. Frames whose bytes are wrong are fetched once more
//! before they count as corrupt: without TLS a reply can be damaged on its way. Then they are fetched from the copies of the store,
//! where it has any (`asks`), and proven alike.
//! That no key at hand opens a segment is remembered for [`refused::REFUSAL_MEMORY`]: the keys of a reader never change.
//!
//! # Bounds
//! Memory for frames, kept or on their way ([`CacheOptions::memory_bytes`], given out by `memory`), chunks held for a neighbouring
//! get (`edges`: 2 MiB, or half of the memory for frames if that is less), open segments
//! ([`opening::OPEN_SEGMENTS_BYTES`]), bytes waiting to be written to disk ([`disk::QUEUE_BYTES`]), one run
//! ([`fetch::RUN_STORED_BYTES`], [`fetch::RUN_PLAIN_BYTES`]), blocks that wait for the next frames, as stored and decoded (`blocks`: 16 MiB),
//! tracks of one file ([`sequence::TRACKS_MAX`]), decoding threads.

mod ahead;
mod arriving;
mod asks;
mod beginning;
pub mod disk;
mod edges;
mod error;
pub mod failed;
pub mod fetch;
mod figures;
pub mod flight;
pub mod frames;
mod index_tails;
mod memory;
pub mod opening;
mod pace;
mod peek;
mod pieces;
mod reader;
pub mod refused;
mod segment;
pub mod sequence;
mod stored;
mod streaming;

pub use ahead::{Place, Succession};
pub use error::{Cause, ReadError};
pub use figures::{MemoryFigures, ReadAheadFigures, ReaderFigures};
pub use reader::{CacheOptions, SegmentReader};
pub use segment::ArchivedSegment;
pub use streaming::SegmentStream;
