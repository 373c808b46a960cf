//! Which pages of the ledger the bucket is known to have, and the records of those it has not.

use super::{Index, IndexError, meta, set_meta};
use crate::ledger::Line;
use crate::model::Seq;

/// Name of the mark in `meta`. It goes when records are forgotten: a page that could not be written can then.
pub(super) const PAGED: &str = "paged";

impl Index {
    /// The last record whose page, and all before it, are in the bucket or cannot be written.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn paged(&self) -> Result<Seq, IndexError> {
        self.with(|inner| {
            let stored = meta(&inner.conn, PAGED)?;
            let bytes = stored.and_then(|bytes| bytes.try_into().ok());
            Ok(Seq(bytes.map_or(0, u64::from_be_bytes)))
        })
    }

    /// Remembers what [`Index::paged`] tells.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_paged(&self, through: Seq) -> Result<(), IndexError> {
        self.with(|inner| set_meta(&inner.conn, PAGED, &through.0.to_be_bytes()))
    }

    /// Record `seq`, its own hash checked again; `None` if it is lost or not there yet.
    ///
    /// # Errors
    /// When the database cannot be read, or is damaged.
    pub fn record(&self, seq: Seq) -> Result<Option<Line>, IndexError> {
        self.with(|inner| inner.texts().line_if_there(seq))
    }
}
