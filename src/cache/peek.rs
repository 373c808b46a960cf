//! What a segment's tail tells without a look at its frames.

use super::error::{Cause, ReadError};
use super::fetch::Patience;
use super::reader::SegmentReader;
use super::segment::ArchivedSegment;
use crate::binlog::SegmentIndex;
use std::sync::Arc;

impl SegmentReader {
    /// The segment index of `segment`: decoded anew at each call, because it can be large.
    ///
    /// # Errors
    /// As [`SegmentReader::read`].
    pub async fn index(&self, segment: &ArchivedSegment) -> Result<SegmentIndex, ReadError> {
        let patience = Patience::of(self.options().deadline);
        let opened = self.open(segment, patience).await?;
        let open = Arc::clone(&opened.segment);
        let decoded = tokio::task::spawn_blocking(move || open.index()).await;
        let decoded =
            decoded.map_err(|died| segment.failed(Cause::Internal(died.to_string().into())))?;
        decoded.map_err(|error| segment.failed(error.into()))
    }
}
