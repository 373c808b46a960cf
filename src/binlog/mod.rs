//! The server's binary log format, read-only and pure: bytes in, facts out.

mod summary;

pub use summary::{
    ChecksumAlgorithm, Damage, DdlStatement, Ending, Flavour, Point, SegmentIndex, Summary,
    Transaction,
};
