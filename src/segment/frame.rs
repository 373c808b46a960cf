//! A frame: the unit of compression, decoding and caching.

use super::FRAME_SIZE_DEFAULT;
use super::error::SegmentError;
use super::layout::check_frame_size;
use super::untrusted::Proven;
use crate::blocks::Blocks;
use bytes::Bytes;
use std::fmt;
use zstd::zstd_safe;

/// A frame as it stands in an object: compressed by a [`FrameCompressor`], or taken, proven, out of another object.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredFrame {
    bytes: Vec<u8>,
    plain_len: u32,
}

impl StoredFrame {
    /// A frame out of an object, for writing it into another one.
    pub(super) fn proven(bytes: Proven<'_>, plain_len: u32) -> StoredFrame {
        StoredFrame {
            bytes: bytes.into_vec(),
            plain_len,
        }
    }

    /// Length in plain bytes.
    pub fn plain_len(&self) -> u32 {
        self.plain_len
    }

    /// Length as stored, before encryption.
    pub fn stored_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for StoredFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredFrame")
            .field("plain_len", &self.plain_len)
            .field("stored_len", &self.bytes.len())
            .finish()
    }
}

/// Compresses frames, one at a time. Each thread has its own; what zstd allocates is used again for each frame.
pub struct FrameCompressor {
    zstd: zstd::bulk::Compressor<'static>,
    frame_size: u32,
}

impl FrameCompressor {
    /// A compressor at zstd's `level` (1 fast, 3 its default, 19 slow; negative ones are faster still).
    ///
    /// # Errors
    /// [`SegmentError::Limit`] or `Corrupt` for a frame size that is none, [`SegmentError::Encode`] if zstd refuses.
    pub fn new(level: i32, frame_size: u32) -> Result<FrameCompressor, SegmentError> {
        let frame_size = check_frame_size(frame_size)?;
        let levels = zstd::compression_level_range();
        if !levels.contains(&level) {
            return Err(SegmentError::Encode {
                reason: format!("zstd has no compression level {level} (its levels: {levels:?})"),
            });
        }
        let zstd = || -> std::io::Result<_> {
            let mut zstd = zstd::bulk::Compressor::new(level)?;
            zstd.include_contentsize(true)?;
            zstd.include_checksum(true)?;
            Ok(zstd)
        };
        Ok(FrameCompressor {
            zstd: zstd().map_err(zstd_failed)?,
            frame_size,
        })
    }

    /// Makes a frame of `plain`: `frame_size` bytes, or fewer (not zero) at the file's end.
    ///
    /// # Errors
    /// [`SegmentError::Limit`] for a wrong length, [`SegmentError::Encode`] if zstd fails.
    pub fn compress(&mut self, plain: &[u8]) -> Result<StoredFrame, SegmentError> {
        let plain_len = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        if plain_len == 0 || plain_len > self.frame_size {
            return Err(SegmentError::Limit {
                what: "length of a frame's content",
                value: plain.len() as u64,
                max: u64::from(self.frame_size),
            });
        }
        let bytes = self.zstd.compress(plain).map_err(zstd_failed)?;
        Ok(StoredFrame { bytes, plain_len })
    }
}

fn zstd_failed(error: std::io::Error) -> SegmentError {
    SegmentError::Encode {
        reason: format!("zstd: {error}"),
    }
}

/// Memory for decoded frames of the usual size, and nearly: they are charged with their length, and half of what all readers share
/// may be kept in blocks. As many wait as are given back while one reader waits for the next ones.
static FRAMES: Blocks = Blocks::new(FRAME_BYTES, FRAME_BYTES / 8 * 7, 8);
const FRAME_BYTES: usize = FRAME_SIZE_DEFAULT as usize;

/// Decompresses frames, one at a time. What zstd allocates is used again for each frame.
#[derive(Default)]
pub(super) struct FrameDecompressor(Option<zstd::bulk::Decompressor<'static>>);

impl FrameDecompressor {
    /// Decompresses `stored`, which must be one zstd frame that declares exactly `plain_len` bytes.
    ///
    /// The declared size is compared before anything is allocated.
    ///
    /// # Errors
    /// What is wrong, for [`SegmentError::Corrupt`].
    pub(super) fn decompress(
        &mut self,
        stored: &Proven<'_>,
        plain_len: usize,
    ) -> Result<Bytes, String> {
        let plain = self.exact_in(stored, plain_len, |len| FRAMES.room(len))?;
        Ok(FRAMES.filled(plain))
    }

    /// The same for bytes of which it does not matter here whether they are proven.
    fn exact(&mut self, stored: &[u8], plain_len: usize) -> Result<Vec<u8>, String> {
        self.exact_in(stored, plain_len, Vec::with_capacity)
    }

    fn exact_in(
        &mut self,
        stored: &[u8],
        plain_len: usize,
        room: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<Vec<u8>, String> {
        check(stored, plain_len)?;
        let mut plain = room(plain_len);
        let zstd = match &mut self.0 {
            Some(zstd) => zstd,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?),
        };
        let length = zstd
            .decompress_to_buffer(stored, &mut plain)
            .map_err(|error| format!("does not decompress: {error}"))?;
        if length != plain_len {
            return Err(format!(
                "gives {length} plain bytes, and {plain_len} belong there"
            ));
        }
        Ok(plain)
    }
}

/// Whether `stored` is one zstd frame that declares exactly `plain_len` bytes.
fn check(stored: &[u8], plain_len: usize) -> Result<(), String> {
    match zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) if size == plain_len as u64 => {}
        Ok(Some(size)) => {
            return Err(format!(
                "declares {size} plain bytes, and {plain_len} belong there"
            ));
        }
        Ok(None) => return Err("does not declare its size".to_owned()),
        Err(_) => return Err("is not a zstd frame".to_owned()),
    }
    match zstd_safe::find_frame_compressed_size(stored) {
        Ok(size) if size == stored.len() => Ok(()),
        _ => Err("is not exactly one zstd frame".to_owned()),
    }
}

/// Decompresses one zstd frame that declares at most `max` bytes.
///
/// # Errors
/// What is wrong, for [`SegmentError::Corrupt`].
pub(super) fn decompress_bounded(stored: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let declared = zstd_safe::get_frame_content_size(stored)
        .ok()
        .flatten()
        .ok_or_else(|| "does not declare its size".to_owned())?;
    let declared = usize::try_from(declared)
        .ok()
        .filter(|size| *size <= max)
        .ok_or_else(|| format!("declares {declared} bytes, and at most {max} are possible"))?;
    FrameDecompressor::default().exact(stored, declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zstd frame header that declares 1 TB, and nothing after it.
    const TERABYTE: [u8; 13] = [
        0x28, 0xB5, 0x2F, 0xFD, 0xC4, 0x50, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    ];

    fn decompress_exact(stored: &[u8], plain_len: usize) -> Result<Vec<u8>, String> {
        FrameDecompressor::default().exact(stored, plain_len)
    }

    #[test]
    fn what_was_wrong_with_one_frame_is_not_in_the_next() {
        let plain = [7; 3000];
        let frame = FrameCompressor::new(3, 4096)
            .and_then(|mut c| c.compress(&plain))
            .expect("compresses")
            .bytes;
        let mut damaged = frame.clone();
        *damaged.last_mut().expect("a checksum") ^= 1;
        let mut decompressor = FrameDecompressor::default();
        for _ in 0..3 {
            let error = decompressor.exact(&damaged, plain.len());
            assert!(
                error
                    .expect_err("a checksum")
                    .contains("does not decompress")
            );
            assert_eq!(decompressor.exact(&frame, plain.len()), Ok(plain.to_vec()));
        }
    }

    #[test]
    fn whatever_is_decoded_takes_no_more_memory_than_an_eighth_beside_what_it_is_charged() {
        for length in [
            1,
            FRAME_BYTES / 2,
            FRAME_BYTES / 4 * 3,
            FRAME_BYTES,
            FRAME_BYTES * 2,
        ] {
            let room = FRAMES.room(length).capacity();
            assert!(
                room >= length && room - length <= FRAME_BYTES / 8,
                "{length}: {room}"
            );
        }
    }

    #[test]
    fn a_frame_that_claims_a_terabyte_is_refused_before_anything_is_allocated() {
        let mut frame = TERABYTE.to_vec();
        frame.extend([0; 20]);
        let size = zstd_safe::get_frame_content_size(&frame).expect("a header");
        assert!(size.expect("declared") >= 1 << 32, "{size:?}");
        let error = decompress_exact(&frame, 1 << 20).expect_err("too large");
        assert!(error.contains("declares"), "{error}");
        let error = decompress_bounded(&frame, 1 << 24).expect_err("too large");
        assert!(error.contains("declares"), "{error}");
    }

    #[test]
    fn two_frames_or_none_are_not_a_frame() {
        let frame = |plain: &[u8]| {
            FrameCompressor::new(3, 4096)
                .and_then(|mut c| c.compress(plain))
                .expect("compresses")
                .bytes
        };
        let one = frame(b"abc");
        assert_eq!(decompress_exact(&one, 3).expect("a frame"), b"abc");
        assert!(decompress_exact(&[one.clone(), frame(b"def")].concat(), 3).is_err());
        assert!(decompress_exact(&[one.clone(), vec![0]].concat(), 3).is_err());
        assert!(decompress_exact(&one, 2).is_err());
        assert!(decompress_exact(&one, 4).is_err());
        assert!(decompress_exact(&[], 0).is_err());
        assert!(decompress_exact(&[0x5D, 0x2A, 0x4D, 0x18, 0, 0, 0, 0], 1).is_err());
        for cut in 0..one.len() {
            assert!(decompress_exact(&one[..cut], 3).is_err(), "{cut}");
        }
    }

    #[test]
    fn frames_without_a_declared_size_are_refused() {
        let streamed = zstd::stream::encode_all(&b"abc"[..], 3).expect("compresses");
        let error = decompress_exact(&streamed, 3).expect_err("no size");
        assert!(error.contains("declare"), "{error}");
    }

    #[test]
    fn lengths_and_levels_out_of_range_are_refused() {
        let mut compressor = FrameCompressor::new(1, 4096).expect("a compressor");
        assert!(compressor.compress(&[]).is_err());
        assert!(compressor.compress(&[0; 4097]).is_err());
        assert!(FrameCompressor::new(23, 4096).is_err());
        assert!(FrameCompressor::new(3, 4097).is_err());
    }
}
