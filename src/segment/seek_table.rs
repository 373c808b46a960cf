//! The seek table of the zstd seekable format, as the last frame of the inner file.
//!
//! Source: `contrib/seekable_format/zstd_seekable_compression_format.md` in the zstd repository, version 0.1.0.

use super::error::SegmentError;
use super::layout::{CheckedLayout, stored_frame_max_bytes};
use bytes::{Buf, BufMut};

/// Magic of the skippable frame that holds the table.
const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last four bytes of the table.
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// Magic and length of a skippable frame.
pub(super) const SKIPPABLE_HEADER_BYTES: usize = 8;
/// Two sizes.
const ENTRY_BYTES: usize = 8;
/// Number of entries, descriptor, magic.
const FOOTER_BYTES: usize = 9;
/// What each frame takes in the tail: its hash and its entry.
pub(super) const TAIL_FRAME_BYTES: u64 = 32 + ENTRY_BYTES as u64;
/// What the tail takes besides: tail frame with marker, version and one section header; table with the tail's entry.
pub(super) const TAIL_MIN_BYTES: u64 =
    (SKIPPABLE_HEADER_BYTES + 6 + 8 + SKIPPABLE_HEADER_BYTES + ENTRY_BYTES + FOOTER_BYTES) as u64;

/// The sizes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bytes as stored.
    pub(super) stored: u32,
    /// Plain bytes.
    pub(super) plain: u32,
}

/// Appends the table of `frames`, and of a tail frame of `tail_frame_len` bytes, to `out`.
pub(super) fn encode(frames: &[Entry], tail_frame_len: u32, out: &mut Vec<u8>) {
    let entries = u32::try_from(frames.len() + 1).expect("the writer limits the number of frames");
    let length = entries as usize * ENTRY_BYTES + FOOTER_BYTES;
    out.reserve(SKIPPABLE_HEADER_BYTES + length);
    out.put_u32_le(TABLE_MAGIC);
    out.put_u32_le(u32::try_from(length).expect("the writer limits the number of frames"));
    let tail = Entry {
        stored: tail_frame_len,
        plain: 0,
    };
    for entry in frames.iter().chain([&tail]) {
        out.put_u32_le(entry.stored);
        out.put_u32_le(entry.plain);
    }
    out.put_u32_le(entries);
    out.put_u8(0);
    out.put_u32_le(FOOTER_MAGIC);
}

/// Reads the table in `bytes`, all of which it must fill, and returns the inner offsets at which the frames begin, with
/// the tail's offset as the last.
///
/// # Errors
/// [`SegmentError::Corrupt`] if anything differs from what `layout` and `tail_frame_len` say.
pub(super) fn parse(
    mut bytes: &[u8],
    tail_frame_len: usize,
    layout: &CheckedLayout,
) -> Result<Vec<u64>, SegmentError> {
    let corrupt = |what: String| SegmentError::corrupt(format!("seek table: {what}"), None);
    let entries = layout.frames() as usize + 1;
    let length = entries * ENTRY_BYTES + FOOTER_BYTES;
    if bytes.len() != SKIPPABLE_HEADER_BYTES + length {
        let got = bytes.len();
        return Err(corrupt(format!("{got} bytes for {entries} entries")));
    }
    if bytes.get_u32_le() != TABLE_MAGIC || bytes.get_u32_le() as usize != length {
        return Err(corrupt("not where it should be".to_owned()));
    }
    let (mut table, mut footer) = bytes.split_at(entries * ENTRY_BYTES);
    if footer.get_u32_le() as usize != entries
        || footer.get_u8() != 0
        || footer.get_u32_le() != FOOTER_MAGIC
    {
        return Err(corrupt("its footer does not fit".to_owned()));
    }
    let mut offsets = Vec::with_capacity(entries);
    let mut offset = 0_u64;
    for frame in 0..layout.frames() {
        let stored = u64::from(table.get_u32_le());
        let plain = table.get_u32_le();
        if stored == 0 || stored > stored_frame_max_bytes(plain) || plain != layout.plain_len(frame)
        {
            return Err(corrupt(format!("impossible sizes for frame {frame}")));
        }
        offsets.push(offset);
        offset += stored;
    }
    if table.get_u32_le() as usize != tail_frame_len || table.get_u32_le() != 0 {
        return Err(corrupt("the tail frame's entry does not fit".to_owned()));
    }
    if offset != layout.recorded().tail_offset {
        return Err(corrupt(format!(
            "the frames end at {offset}, the tail begins at {}",
            layout.recorded().tail_offset
        )));
    }
    offsets.push(offset);
    Ok(offsets)
}
