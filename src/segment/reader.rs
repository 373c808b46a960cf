//! An object opened for reading at any place.

use super::cipher::{ChunkCipher, ContentKey};
use super::error::SegmentError;
use super::frame::StoredFrame;
use super::index_section;
use super::layout::CheckedLayout;
use super::scratch::with_scratch;
use super::tail::Tail;
use super::untrusted::{Proven, Untrusted};
use crate::binlog::SegmentIndex;
use bytes::Bytes;
use std::ops::Range;

/// An object whose tail is proven: it knows where each frame is, and proves each one that it is given.
pub struct OpenSegment {
    layout: CheckedLayout,
    cipher: Option<ChunkCipher>,
    tail: Tail,
}

impl OpenSegment {
    /// Opens an object, given the bytes of [`CheckedLayout::header_range`] and [`CheckedLayout::tail_range`], and the key
    /// if it is encrypted.
    ///
    /// # Errors
    /// [`SegmentError::NoKey`] if a key is needed and there is none; [`SegmentError::Corrupt`] if the tail is not the one
    /// recorded; [`SegmentError::Unsupported`] if a newer binlogfs wrote it.
    pub fn open(
        layout: CheckedLayout,
        key: Option<ContentKey>,
        header: &[u8],
        tail_object_bytes: &[u8],
    ) -> Result<OpenSegment, SegmentError> {
        let expect = layout.header_range().end;
        if layout.encrypted() && key.is_some() && header.len() as u64 != expect {
            let got = header.len();
            return Err(SegmentError::corrupt(
                format!("age header of {got} bytes, and {expect} belong there"),
                0,
            ));
        }
        OpenSegment::open_carried(layout, key, header, tail_object_bytes)
    }

    /// The same with a header that the ledger record carries, in place of the object's own: of any length, for the same key and
    /// with the same nonce.
    ///
    /// # Errors
    /// As [`OpenSegment::open`].
    pub fn open_carried(
        layout: CheckedLayout,
        key: Option<ContentKey>,
        header: &[u8],
        tail_object_bytes: &[u8],
    ) -> Result<OpenSegment, SegmentError> {
        let cipher = match (layout.encrypted(), key) {
            (false, _) => None,
            (true, Some(key)) => Some(ChunkCipher::new(&key, header)?),
            (true, None) => {
                return Err(SegmentError::NoKey {
                    reason: "the object is encrypted and no identity was given".to_owned(),
                });
            }
        };
        let range = layout.tail_range();
        let inner = layout.recorded().tail_offset..layout.inner_len();
        let mut room = Vec::new();
        let tail = inner_bytes(
            &layout,
            cipher.as_ref(),
            inner,
            tail_object_bytes,
            range.start,
            &mut room,
        )?
        .prove(&layout.recorded().tail_sha256)
        .ok_or_else(|| {
            SegmentError::corrupt(
                "the tail's SHA-256 is not the one recorded: this is another object",
                range.start,
            )
        })?;
        let tail = Tail::parse(tail, &layout)?;
        Ok(OpenSegment {
            layout,
            cipher,
            tail,
        })
    }

    /// The layout it was opened with.
    pub fn layout(&self) -> &CheckedLayout {
        &self.layout
    }

    /// Number of frames; 0 for an empty file.
    pub fn frames(&self) -> u32 {
        self.layout.frames()
    }

    /// The frame that holds the plain byte at `offset`; `None` at and beyond the file's end.
    pub fn frame_of(&self, offset: u64) -> Option<u32> {
        self.layout.frame_of(offset)
    }

    /// The plain bytes that `frame` holds.
    pub fn plain_range(&self, frame: u32) -> Range<u64> {
        self.layout.plain_range(frame)
    }

    /// The object range that holds `frames`, whole age chunks where it is encrypted; empty for frames that are not there.
    pub fn object_range(&self, frames: Range<u32>) -> Range<u64> {
        let last = frames.end.min(self.frames()).checked_sub(1);
        match (self.tail.inner_range(frames.start), last) {
            (Some(first), Some(last)) if frames.start <= last => {
                let end = self.tail.inner_range(last).map_or(first.end, |r| r.end);
                self.layout.object_range(first.start..end)
            }
            _ => 0..0,
        }
    }

    /// The plain bytes of `frame` out of `object_bytes`, which begin at object offset `range_start` and cover
    /// [`OpenSegment::object_range`] of the frame.
    ///
    /// Chunk tags, the frame's SHA-256, its declared size and its checksum are checked, in this order.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] if the bytes are not those archived, or do not cover the frame.
    pub fn decode(
        &self,
        frame: u32,
        object_bytes: &[u8],
        range_start: u64,
    ) -> Result<Bytes, SegmentError> {
        with_scratch(|scratch| {
            let stored = self.prove(frame, object_bytes, range_start, &mut scratch.decrypted)?;
            let plain_len = self.layout.plain_len(frame) as usize;
            scratch
                .decompressor
                .decompress(&stored, plain_len)
                .map_err(|what| self.frame_error(frame, what))
        })
    }

    /// `frame` as stored, proven, for writing it into another object without compressing it again (re-keying).
    ///
    /// # Errors
    /// As [`OpenSegment::decode`], but that it decompresses is not checked.
    pub fn stored_frame(
        &self,
        frame: u32,
        object_bytes: &[u8],
        range_start: u64,
    ) -> Result<StoredFrame, SegmentError> {
        let mut room = Vec::new();
        let stored = self.prove(frame, object_bytes, range_start, &mut room)?;
        Ok(StoredFrame::proven(stored, self.layout.plain_len(frame)))
    }

    /// The segment index. Decoded anew at each call: it can be large.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] if the section is not one.
    pub fn index(&self) -> Result<SegmentIndex, SegmentError> {
        index_section::decode(self.tail.index())
    }

    /// What this holds of memory, in bytes, for caches that count.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.tail.memory_bytes()
            + self.cipher.as_ref().map_or(0, ChunkCipher::memory_bytes)
    }

    fn prove<'a>(
        &self,
        frame: u32,
        object_bytes: &'a [u8],
        range_start: u64,
        room: &'a mut Vec<u8>,
    ) -> Result<Proven<'a>, SegmentError> {
        let (Some(inner), Some(sha256)) = (self.tail.inner_range(frame), self.tail.hash(frame))
        else {
            return Err(SegmentError::Limit {
                what: "frame number",
                value: frame.into(),
                max: self.frames().saturating_sub(1).into(),
            });
        };
        let cipher = self.cipher.as_ref();
        inner_bytes(&self.layout, cipher, inner, object_bytes, range_start, room)
            .map_err(|error| in_frame(error, frame))?
            .prove(&sha256)
            .ok_or_else(|| {
                let what = "its SHA-256 is not the one in the tail".to_owned();
                self.frame_error(frame, what)
            })
    }

    fn frame_error(&self, frame: u32, what: String) -> SegmentError {
        SegmentError::corrupt_frame(what, frame, self.object_range(frame..frame + 1).start)
    }
}

/// The same error, found in `frame`.
fn in_frame(error: SegmentError, number: u32) -> SegmentError {
    match error {
        SegmentError::Corrupt { what, offset, .. } => SegmentError::Corrupt {
            what,
            frame: Some(number),
            offset,
        },
        other => other,
    }
}

/// The inner bytes `inner` out of object bytes that begin at `start` and may be more than needed; decrypted ones in `room`.
fn inner_bytes<'a>(
    layout: &CheckedLayout,
    cipher: Option<&ChunkCipher>,
    inner: Range<u64>,
    object_bytes: &'a [u8],
    start: u64,
    room: &'a mut Vec<u8>,
) -> Result<Untrusted<'a>, SegmentError> {
    let needed = layout.object_range(inner.clone());
    let at = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
    let bytes = at(needed.start)
        .zip(at(needed.end))
        .and_then(|(from, to)| object_bytes.get(from..to))
        .ok_or_else(|| {
            let end = start.saturating_add(object_bytes.len() as u64);
            let what = format!("object bytes {needed:?} are needed, and {start}..{end} are there");
            SegmentError::corrupt(what, needed.start)
        })?;
    Ok(match cipher {
        None => Untrusted::new(bytes),
        Some(cipher) => Untrusted::new(cipher.decrypt(layout, bytes, needed.start, inner, room)?),
    })
}
