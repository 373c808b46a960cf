#![doc = include_str!("FORMAT.md")]

mod carried;
pub mod entry;
mod kinds;
pub mod line;
mod next;
pub mod page;
mod read;
pub mod record;
pub mod state;
pub mod stream_file;
#[doc(hidden)]
pub mod testing;

pub use carried::{CarriedHeader, CarriedHeaderError};
pub use entry::{Entry, EntryState};
pub use line::{Line, LineError};
pub use next::NextError;
pub use record::{Body, Record, SegmentRecord};
pub use state::{ChainError, LedgerState};
pub use stream_file::StreamFile;

use crate::model::{ObjectKey, Seq};

/// Version of the format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Largest record accepted, in bytes. GTID sets make records large: 32 MiB holds a million intervals with their UUIDs.
pub const RECORD_MAX_BYTES: u64 = 32 << 20;

/// The prefix of all record keys.
pub const RECORDS_PREFIX: &str = "ledger/";
/// The prefix of all segment objects.
pub const SEGMENTS_PREFIX: &str = "segments/";

/// The key of record `seq`: twenty digits, so that listing order is ledger order.
pub fn record_key(seq: Seq) -> ObjectKey {
    format!("{RECORDS_PREFIX}{:020}.json", seq.0)
        .parse()
        .expect("digits make a valid key")
}

/// The seq that a record key names, if it is one.
pub fn seq_of_key(key: &ObjectKey) -> Option<Seq> {
    let digits = key
        .as_str()
        .strip_prefix(RECORDS_PREFIX)?
        .strip_suffix(".json")?;
    let seq = Seq(digits.parse().ok()?);
    (record_key(seq) == *key).then_some(seq)
}
