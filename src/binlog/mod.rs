//! The server's binary log format, read-only and pure: bytes in, facts out.

pub mod kind;
mod summary;
#[doc(hidden)]
pub mod testing;
mod varint;

pub use summary::{
    ChecksumAlgorithm, Damage, DdlStatement, Ending, Flavour, Point, SegmentIndex, Summary,
    Transaction,
};
