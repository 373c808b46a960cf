//! The tail of an object: the frames' hashes, the segment index, the seek table.

use super::error::SegmentError;
use super::layout::CheckedLayout;
use super::seek_table::{self, Entry, SKIPPABLE_HEADER_BYTES};
use super::untrusted::Proven;
use crate::model::Sha256;
use bytes::{Buf, BufMut};

/// Magic of our skippable frame. Any of 0x184D2A50 to 0x184D2A5F is skipped by zstd; E is the seek table's.
const FRAME_MAGIC: u32 = 0x184D_2A5D;
/// The frame is ours.
const MARKER: [u8; 4] = *b"BLFT";
/// The version written and understood.
pub const VERSION: u16 = 1;
/// SHA-256 of each stored frame.
const SECTION_HASHES: u16 = 1;
/// The segment index.
const SECTION_INDEX: u16 = 2;
/// A reader that does not know the section must refuse.
const CRITICAL: u16 = 1;
/// Marker and version.
const PREAMBLE_BYTES: usize = 6;
/// Type, flags, length.
const SECTION_HEADER_BYTES: usize = 8;
/// Length of a hash.
const HASH_BYTES: usize = 32;

/// Makes the tail: the tail frame, then the seek table.
pub(super) fn encode(hashes: &[Sha256], index: &[u8], frames: &[Entry]) -> Vec<u8> {
    let hashes_len = hashes.len() * HASH_BYTES;
    let content = PREAMBLE_BYTES + 2 * SECTION_HEADER_BYTES + hashes_len + index.len();
    let length_of = |len: usize| u32::try_from(len).expect("the limits keep the tail small");
    let mut out = Vec::with_capacity(SKIPPABLE_HEADER_BYTES + content);
    out.put_u32_le(FRAME_MAGIC);
    out.put_u32_le(length_of(content));
    out.put_slice(&MARKER);
    out.put_u16_le(VERSION);
    out.put_u16_le(SECTION_HASHES);
    out.put_u16_le(CRITICAL);
    out.put_u32_le(length_of(hashes_len));
    for hash in hashes {
        out.put_slice(&hash.0);
    }
    out.put_u16_le(SECTION_INDEX);
    out.put_u16_le(0);
    out.put_u32_le(length_of(index.len()));
    out.put_slice(index);
    let frame_len = length_of(out.len());
    seek_table::encode(frames, frame_len, &mut out);
    out
}

/// A tail that was proven and parsed. It has copies of its own of what it keeps, because caches hold thousands: the
/// buffer it was parsed from is a whole age chunk at least, and may hold sections that nobody here reads.
pub(super) struct Tail {
    /// Inner offsets of the frames, and of the tail.
    offsets: Box<[u64]>,
    hashes: Box<[Sha256]>,
    index: Option<Box<[u8]>>,
}

impl Tail {
    /// Parses a tail and checks it against `layout`.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`], [`SegmentError::Unsupported`].
    pub(super) fn parse(bytes: Proven<'_>, layout: &CheckedLayout) -> Result<Tail, SegmentError> {
        parse(&bytes, layout)
    }

    /// Inner offsets of frame number `frame` as stored; `None` if there is no such frame.
    pub(super) fn inner_range(&self, frame: u32) -> Option<std::ops::Range<u64>> {
        let frame = frame as usize;
        Some(*self.offsets.get(frame)?..*self.offsets.get(frame.checked_add(1)?)?)
    }

    /// SHA-256 of frame number `frame` as stored.
    pub(super) fn hash(&self, frame: u32) -> Option<Sha256> {
        self.hashes.get(frame as usize).copied()
    }

    /// The section of the segment index.
    pub(super) fn index(&self) -> Option<&[u8]> {
        self.index.as_deref()
    }

    /// What this holds of memory, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.offsets)
            + size_of_val(&*self.hashes)
            + self.index().map_or(0, <[u8]>::len)
    }
}

fn corrupt(what: &str) -> SegmentError {
    SegmentError::corrupt(format!("tail: {what}"), None)
}

fn parse(mut bytes: &[u8], layout: &CheckedLayout) -> Result<Tail, SegmentError> {
    if bytes.len() < SKIPPABLE_HEADER_BYTES {
        return Err(corrupt("too short"));
    }
    if bytes.get_u32_le() != FRAME_MAGIC {
        return Err(corrupt("does not begin with the tail frame"));
    }
    let content = bytes.get_u32_le() as usize;
    if content > bytes.len() {
        return Err(corrupt("the tail frame is longer than the tail"));
    }
    let (content, table) = bytes.split_at(content);
    let sections = Sections::parse(content)?;
    let Some(hashes) = sections.hashes else {
        return Err(corrupt("has no section of hashes"));
    };
    let (hashes, rest) = hashes.as_chunks::<HASH_BYTES>();
    if hashes.len() != layout.frames() as usize || !rest.is_empty() {
        return Err(corrupt("the number of hashes is not that of the frames"));
    }
    let offsets = seek_table::parse(table, SKIPPABLE_HEADER_BYTES + content.len(), layout)?;
    Ok(Tail {
        offsets: offsets.into(),
        hashes: hashes.iter().copied().map(Sha256).collect(),
        index: sections.index.map(Box::from),
    })
}

/// The sections this version knows.
#[derive(Default)]
struct Sections<'a> {
    hashes: Option<&'a [u8]>,
    index: Option<&'a [u8]>,
}

impl<'a> Sections<'a> {
    fn parse(content: &'a [u8]) -> Result<Sections<'a>, SegmentError> {
        let mut content = content
            .strip_prefix(&MARKER)
            .filter(|rest| rest.len() >= PREAMBLE_BYTES - MARKER.len())
            .ok_or_else(|| corrupt("the tail frame is not binlogfs's"))?;
        let version = content.get_u16_le();
        if version != VERSION {
            return Err(SegmentError::Unsupported {
                what: format!("the object's tail is of version {version}, not {VERSION}"),
            });
        }
        let mut sections = Sections::default();
        // Each turn takes at least a section header off: this ends.
        while !content.is_empty() {
            if content.len() < SECTION_HEADER_BYTES {
                return Err(corrupt("ends in the middle of a section"));
            }
            let kind = content.get_u16_le();
            let flags = content.get_u16_le();
            let length = content.get_u32_le() as usize;
            if length > content.len() {
                return Err(corrupt("a section is longer than the tail frame"));
            }
            let (section, rest) = content.split_at(length);
            sections.add(kind, flags, section)?;
            content = rest;
        }
        Ok(sections)
    }

    fn add(&mut self, kind: u16, flags: u16, bytes: &'a [u8]) -> Result<(), SegmentError> {
        let place = match kind {
            SECTION_HASHES => &mut self.hashes,
            SECTION_INDEX => &mut self.index,
            unknown if flags & CRITICAL != 0 => {
                return Err(SegmentError::Unsupported {
                    what: format!("the object's tail has a critical section of type {unknown}"),
                });
            }
            _ => return Ok(()),
        };
        if place.replace(bytes).is_some() {
            return Err(corrupt("has a section twice"));
        }
        Ok(())
    }
}
