#![doc = include_str!("FORMAT.md")]
//!
//! # The code
//!
//! Nothing here does I/O: a reader is told which byte ranges to fetch and is given them, a writer hands out bytes.
//!
//! * Writing: one [`FrameCompressor`] per thread makes [`StoredFrame`]s; one [`ObjectWriter`] takes them in order, hands out
//!   the object's bytes, and ends with [`ObjectFacts`] for the ledger record.
//! * Reading: an [`ObjectLayout`] from the record becomes a [`CheckedLayout`], which names two ranges; with them
//!   [`ContentKey::unwrap`] and [`OpenSegment::open`] give a segment whose [`OpenSegment::decode`] turns a fetched range into
//!   a frame's plain bytes.
//!
//! Bytes from outside are `Untrusted` until their SHA-256 was compared, and only the proven ones can
//! be parsed or decompressed: there is no way to plain bytes around it.

mod cipher;
mod error;
mod frame;
mod identity;
mod index_section;
mod layout;
mod reader;
mod recipient;
mod rewrap;
mod scratch;
mod seek_table;
mod tail;
mod untrusted;
mod writer;

#[cfg(test)]
mod tests;

pub use cipher::{CHUNK_BYTES, ContentKey};
pub use error::SegmentError;
pub use frame::{FrameCompressor, StoredFrame};
pub use identity::{IDENTITY_FILE_MAX_BYTES, Identities, IdentityError, KeyPair, keygen};
pub use layout::{CheckedLayout, ObjectLayout};
pub use reader::OpenSegment;
pub use recipient::{RecipientError, Recipients};
pub use rewrap::check_carried_header;
pub use tail::VERSION as FORMAT;
pub use writer::{ObjectFacts, ObjectWriter};

/// Plain bytes per frame, unless the configuration says otherwise: small enough that one read decodes little, large
/// enough that compression loses nothing.
pub const FRAME_SIZE_DEFAULT: u32 = 1 << 20;
/// Smallest frame size: below it a frame's 40 bytes in the tail would weigh more than a percent.
pub const FRAME_SIZE_MIN: u32 = 4 << 10;
/// Largest frame size: `zstd -d` takes windows up to 8 MiB without being asked, and a reader decodes whole frames.
pub const FRAME_SIZE_MAX: u32 = 8 << 20;
/// Most frames of an object: 40 bytes each in the tail, which is held in memory as a whole.
pub const FRAMES_MAX: u32 = 1 << 20;
/// Largest tail: the hashes and table of [`FRAMES_MAX`] frames (40 MiB), the largest index, and room for sections to come.
pub const TAIL_MAX_BYTES: u64 = 64 << 20;
/// Largest segment index as JSON: whoever asks for it holds it in memory.
pub const INDEX_JSON_MAX_BYTES: usize = 16 << 20;
/// Most recipients of an object: age's header parser is quadratic in the number of lines.
pub const RECIPIENTS_MAX: usize = 32;
/// Largest age header with its nonce: [`RECIPIENTS_MAX`] X25519 stanzas of 98 bytes, age's random one, and as much again.
pub const HEADER_MAX_BYTES: u64 = 8 << 10;
/// Largest object: beyond any store's limit, and small enough that no sum of two offsets overflows.
pub const OBJECT_MAX_BYTES: u64 = 1 << 45;
