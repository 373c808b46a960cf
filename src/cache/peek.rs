//! What a segment's tail tells without a look at its frames.

use super::error::{Cause, ReadError};
use super::fetch::Patience;
use super::reader::SegmentReader;
use super::segment::ArchivedSegment;
use crate::binlog::SegmentIndex;
use std::ops::Range;
use std::sync::Arc;

impl SegmentReader {
    /// The segment index of `segment`: decoded anew at each call, because it can be large.
    ///
    /// # Errors
    /// As [`SegmentReader::read`].
    pub async fn index(&self, segment: &ArchivedSegment) -> Result<SegmentIndex, ReadError> {
        let patience = Patience::of(self.options().deadline);
        let (opened, _) = self.open(segment, 0, patience).await?;
        let open = Arc::clone(&opened.segment);
        let decoded = tokio::task::spawn_blocking(move || open.index()).await;
        let decoded =
            decoded.map_err(|died| segment.failed(Cause::Internal(died.to_string().into())))?;
        decoded.map_err(|error| segment.failed(error.into()))
    }

    /// Bytes of the store that a reader of `ranges` of `segment` fetches: its header, its tail, and each frame once.
    ///
    /// # Errors
    /// As [`SegmentReader::read`].
    pub async fn stored_bytes(
        &self,
        segment: &ArchivedSegment,
        ranges: &[Range<u64>],
    ) -> Result<u64, ReadError> {
        let patience = Patience::of(self.options().deadline);
        let (opened, _) = self.open(segment, 0, patience).await?;
        let open = &opened.segment;
        let length = |range: Range<u64>| range.end - range.start;
        let layout = segment.layout();
        let mut bytes = length(segment.header_range()) + length(layout.tail_range());
        let mut counted = 0;
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let ends = open.frame_of(range.start).zip(open.frame_of(range.end - 1));
            if let Some((first, last)) = ends
                && first.max(counted) <= last
            {
                bytes += length(open.object_range(first.max(counted)..last + 1));
                counted = last + 1;
            }
        }
        Ok(bytes.min(layout.recorded().size))
    }
}
