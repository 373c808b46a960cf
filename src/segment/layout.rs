//! Where the parts of an object are, by arithmetic alone.

use super::cipher::{CHUNK_BYTES, STORED_CHUNK_BYTES, TAG_BYTES};
use super::error::SegmentError;
use super::seek_table;
use super::{
    FRAME_SIZE_MAX, FRAME_SIZE_MIN, FRAMES_MAX, HEADER_MAX_BYTES, OBJECT_MAX_BYTES, TAIL_MAX_BYTES,
};
use crate::model::Sha256;
use std::ops::Range;

/// What the ledger record says of an object, as it says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLayout {
    /// Length of the binlog file in bytes.
    pub plain_size: u64,
    /// Length of the object in bytes.
    pub size: u64,
    /// Object offset of the first age chunk; 0 if the object is not encrypted.
    pub header_size: u64,
    /// Plain bytes per frame.
    pub frame_size: u32,
    /// Inner offset of the tail frame.
    pub tail_offset: u64,
    /// SHA-256 of the inner bytes from `tail_offset` to the end.
    pub tail_sha256: Sha256,
}

/// An [`ObjectLayout`] whose numbers fit each other: every range made of them lies inside the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedLayout {
    recorded: ObjectLayout,
    frames: u32,
    inner_len: u64,
}

/// No age header is shorter: version line (22), MAC line (48), nonce (16).
const HEADER_MIN_BYTES: u64 = 86;

impl ObjectLayout {
    /// Checks that the numbers fit each other, before anything is fetched.
    ///
    /// # Errors
    /// [`SegmentError::Limit`] for what no reader should take on; [`SegmentError::Corrupt`] for a contradiction.
    pub fn check(self) -> Result<CheckedLayout, SegmentError> {
        let frame_size = check_frame_size(self.frame_size)?;
        limit("object size", self.size, OBJECT_MAX_BYTES)?;
        limit("age header size", self.header_size, HEADER_MAX_BYTES)?;
        let frames = self.plain_size.div_ceil(u64::from(frame_size));
        limit("number of frames", frames, u64::from(FRAMES_MAX))?;
        let frames = u32::try_from(frames).expect("limited above");
        let inner_len = self.inner_len()?;
        let Some(tail_len) = inner_len.checked_sub(self.tail_offset) else {
            return Err(contradiction("the tail begins beyond the object's end"));
        };
        limit("tail size", tail_len, TAIL_MAX_BYTES)?;
        if tail_len < seek_table::TAIL_MIN_BYTES + u64::from(frames) * seek_table::TAIL_FRAME_BYTES
        {
            return Err(contradiction("the tail is too short for so many frames"));
        }
        let frames_max = self.frames_max_bytes(frames);
        if self.tail_offset > frames_max || self.tail_offset < u64::from(frames) {
            return Err(contradiction(
                "the frames cannot have the size that the tail's offset gives them",
            ));
        }
        Ok(CheckedLayout {
            recorded: self,
            frames,
            inner_len,
        })
    }

    /// The most that zstd makes of the file in so many frames.
    fn frames_max_bytes(&self, frames: u32) -> u64 {
        let Some(full) = frames.checked_sub(1).map(u64::from) else {
            return 0;
        };
        let last = self.plain_size - full * u64::from(self.frame_size);
        full * stored_frame_max_bytes(self.frame_size)
            + stored_frame_max_bytes(u32::try_from(last).expect("at most a frame"))
    }

    /// Length of the zstd file inside.
    fn inner_len(&self) -> Result<u64, SegmentError> {
        if self.header_size == 0 {
            return Ok(self.size);
        }
        if self.header_size < HEADER_MIN_BYTES {
            return Err(contradiction("no age header is so short"));
        }
        let Some(payload) = self.size.checked_sub(self.header_size) else {
            return Err(contradiction("the object is shorter than its header"));
        };
        // The last chunk holds at least one byte: an inner file is never empty.
        if payload == 0 || (payload - 1) % STORED_CHUNK_BYTES < TAG_BYTES {
            return Err(contradiction(
                "the object's size leaves an age chunk without content",
            ));
        }
        Ok(payload - TAG_BYTES * payload.div_ceil(STORED_CHUNK_BYTES))
    }
}

/// The frame size, if it is one.
pub(super) fn check_frame_size(frame_size: u32) -> Result<u32, SegmentError> {
    limit(
        "frame size",
        u64::from(frame_size),
        u64::from(FRAME_SIZE_MAX),
    )?;
    if frame_size < FRAME_SIZE_MIN || !frame_size.is_power_of_two() {
        return Err(contradiction(format!(
            "frame size {frame_size} is not a power of two from {FRAME_SIZE_MIN} to {FRAME_SIZE_MAX}"
        )));
    }
    Ok(frame_size)
}

/// The largest size that zstd gives a frame of `plain_len` plain bytes.
pub(super) fn stored_frame_max_bytes(plain_len: u32) -> u64 {
    zstd::zstd_safe::compress_bound(plain_len as usize) as u64
}

fn limit(what: &'static str, value: u64, max: u64) -> Result<(), SegmentError> {
    if value > max {
        return Err(SegmentError::Limit { what, value, max });
    }
    Ok(())
}

fn contradiction(what: impl Into<String>) -> SegmentError {
    SegmentError::corrupt(format!("object layout: {}", what.into()), None)
}

impl CheckedLayout {
    /// The numbers as recorded.
    pub fn recorded(&self) -> &ObjectLayout {
        &self.recorded
    }

    /// Whether a key is needed.
    pub fn encrypted(&self) -> bool {
        self.recorded.header_size > 0
    }

    /// Number of frames; 0 for an empty file.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Object range of the age header with its nonce; empty if the object is not encrypted.
    pub fn header_range(&self) -> Range<u64> {
        0..self.recorded.header_size
    }

    /// Object range that holds the tail.
    pub fn tail_range(&self) -> Range<u64> {
        self.object_range(self.recorded.tail_offset..self.inner_len)
    }

    /// The frame that holds the plain byte at `offset`; `None` at and beyond the file's end.
    pub fn frame_of(&self, offset: u64) -> Option<u32> {
        if offset >= self.recorded.plain_size {
            return None;
        }
        u32::try_from(offset / u64::from(self.recorded.frame_size)).ok()
    }

    /// The plain bytes that `frame` holds; empty, at the file's end, for a frame that is not there.
    pub fn plain_range(&self, frame: u32) -> Range<u64> {
        let frame_size = u64::from(self.recorded.frame_size);
        let start = (u64::from(frame) * frame_size).min(self.recorded.plain_size);
        start..(start + frame_size).min(self.recorded.plain_size)
    }

    /// The object range of the age chunk that holds the object's byte at `offset`; `None` where the object is not encrypted, and
    /// for a byte that is in no chunk.
    pub fn chunk_at(&self, offset: u64) -> Option<Range<u64>> {
        let (header_size, size) = (self.recorded.header_size, self.recorded.size);
        let at = offset.checked_sub(header_size)?;
        if !self.encrypted() || offset >= size {
            return None;
        }
        let start = header_size + at / STORED_CHUNK_BYTES * STORED_CHUNK_BYTES;
        Some(start..start.saturating_add(STORED_CHUNK_BYTES).min(size))
    }

    /// Length of `frame` in plain bytes.
    pub(super) fn plain_len(&self, frame: u32) -> u32 {
        let range = self.plain_range(frame);
        u32::try_from(range.end - range.start).expect("a frame is at most FRAME_SIZE_MAX")
    }

    /// Length of the zstd file inside.
    pub(super) fn inner_len(&self) -> u64 {
        self.inner_len
    }

    /// The smallest object range from which `inner`, which must lie inside the inner file, can be had.
    pub(super) fn object_range(&self, inner: Range<u64>) -> Range<u64> {
        debug_assert!(inner.start <= inner.end && inner.end <= self.inner_len);
        if !self.encrypted() {
            return inner;
        }
        let first = inner.start / CHUNK_BYTES;
        let end = if inner.is_empty() {
            first
        } else {
            inner.end.div_ceil(CHUNK_BYTES)
        };
        let place = |chunk: u64| {
            (self.recorded.header_size + chunk * STORED_CHUNK_BYTES).min(self.recorded.size)
        };
        place(first)..place(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(size: u64) -> ObjectLayout {
        ObjectLayout {
            plain_size: 3 << 20,
            size,
            header_size: 0,
            frame_size: 1 << 20,
            tail_offset: 1_000_000,
            tail_sha256: Sha256([0; 32]),
        }
    }

    #[test]
    fn a_sound_layout_names_ranges_inside_the_object() {
        let layout = ObjectLayout {
            header_size: 200,
            size: 200 + 2 * STORED_CHUNK_BYTES + 20,
            tail_offset: 2 * CHUNK_BYTES - 500,
            ..plain(0)
        }
        .check()
        .expect("fits");
        assert_eq!(layout.inner_len(), 2 * CHUNK_BYTES + 4);
        assert_eq!(
            layout.tail_range(),
            200 + STORED_CHUNK_BYTES..layout.recorded().size
        );
        assert_eq!(layout.header_range(), 0..200);
        assert_eq!(layout.frame_of((1 << 20) - 1), Some(0));
        assert_eq!(layout.frame_of(3 << 20), None);
        assert_eq!(layout.plain_range(2), 2 << 20..3 << 20);
        assert!(layout.plain_range(3).is_empty());
    }

    #[test]
    fn contradictions_are_refused_before_anything_is_fetched() {
        let good = plain(1_000_300);
        good.check().expect("fits");
        let bad = [
            ObjectLayout {
                size: 999_999,
                ..good
            },
            ObjectLayout {
                size: 1_000_010,
                ..good
            },
            ObjectLayout {
                size: u64::MAX,
                ..good
            },
            ObjectLayout {
                size: 1_000_000 + TAIL_MAX_BYTES + 1,
                ..good
            },
            ObjectLayout {
                plain_size: u64::MAX,
                ..good
            },
            ObjectLayout {
                plain_size: 1 << 41,
                ..good
            },
            ObjectLayout {
                plain_size: 1,
                ..good
            },
            ObjectLayout {
                plain_size: 0,
                ..good
            },
            ObjectLayout {
                frame_size: 0,
                ..good
            },
            ObjectLayout {
                frame_size: 1_000_000,
                ..good
            },
            ObjectLayout {
                frame_size: 1 << 11,
                ..good
            },
            ObjectLayout {
                frame_size: 1 << 24,
                ..good
            },
            ObjectLayout {
                tail_offset: u64::MAX,
                ..good
            },
            ObjectLayout {
                tail_offset: 0,
                ..good
            },
            ObjectLayout {
                header_size: 1,
                ..good
            },
            ObjectLayout {
                header_size: 1 << 20,
                ..good
            },
            ObjectLayout {
                header_size: 200,
                size: 200,
                ..good
            },
            ObjectLayout {
                header_size: 200,
                size: 150,
                ..good
            },
            ObjectLayout {
                header_size: 200,
                size: 200 + 16 * STORED_CHUNK_BYTES + 16,
                ..good
            },
        ];
        for layout in bad {
            layout.check().expect_err(&format!("{layout:?}"));
        }
    }

    #[test]
    fn a_binlog_of_100_gb_fits_and_its_last_byte_is_found() {
        let plain_size = 100_000_000_000;
        let inner = 37_000_000_000_u64 + 95_368 * 40 + 200;
        let layout = ObjectLayout {
            plain_size,
            size: 300 + inner + 16 * inner.div_ceil(CHUNK_BYTES),
            header_size: 300,
            tail_offset: 37_000_000_000,
            ..plain(0)
        }
        .check()
        .expect("fits");
        assert_eq!((layout.frames(), layout.inner_len()), (95_368, inner));
        assert_eq!(layout.frame_of(plain_size - 1), Some(95_367));
        assert_eq!(layout.plain_range(95_367).end, plain_size);
        let tail = layout.tail_range();
        assert!(tail.end - tail.start < 4 << 20);
        assert_eq!(tail.end, layout.recorded().size);
    }
}
