//! Which making of the index its rows are of.
//!
//! An index is begun anew beside those who read it: by [`Index::reset`], here or in another process, or as another file in its place.
//! Until the ledger is taken in again, what stands there is the beginning of a history and looks like all of one. So each making has
//! a number: whoever goes on with what an earlier look told is told that there is another one.

use super::error::Fault;
use super::{Index, IndexError, meta, set_meta};
use crate::model::Micros;
use rusqlite::Connection;

/// Name of the number in `meta`.
const MADE: &str = "made";

/// A making of an index. One that was begun before there were numbers has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Making(Option<u64>);

/// The making that `conn` reads.
pub(super) fn of(conn: &Connection) -> Result<Making, Fault> {
    let stored = meta(conn, MADE)?;
    let bytes = stored.and_then(|bytes| bytes.try_into().ok());
    Ok(Making(bytes.map(u64::from_be_bytes)))
}

/// From now on it is another one.
pub(super) fn begin(conn: &Connection) -> Result<(), Fault> {
    // Not counted: another file knows nothing of this one.
    let number = getrandom::u64().unwrap_or_else(|_| Micros::now().0.unsigned_abs());
    set_meta(conn, MADE, &number.to_be_bytes())
}

impl Index {
    /// The making that answers come from at the moment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn making(&self) -> Result<Making, IndexError> {
        self.with(|inner| of(&inner.conn))
    }
}
