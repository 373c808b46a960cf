//! The age layer: reading chunks at any offset with a file key that was unwrapped once.
//!
//! No cryptography of our own: age's `StreamReader` decrypts, over a [`Window`] that holds the header and the range at
//! hand, with an identity that answers with the cached file key. Two habits of that reader shape this code:
//! * Seeking to a chunk border makes it read the object's *last* chunk, to learn the length. Seeking one byte further and
//!   back does not.
//! * Positions inside a chunk are taken on trust, and beyond a short chunk's end it panics. So only whole chunks are read,
//!   exactly as many bytes as the layout says there are.

use super::error::SegmentError;
use super::identity::Identities;
use super::layout::CheckedLayout;
use age::DecryptError;
use age_core::format::{FileKey, Stanza};
use age_core::secrecy::ExposeSecret;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

/// Plain bytes of an age chunk.
pub const CHUNK_BYTES: u64 = 64 << 10;
/// Poly1305 tag after each chunk.
pub(super) const TAG_BYTES: u64 = 16;
/// An age chunk as stored.
pub(super) const STORED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;

/// The key of one object, out of its header's stanzas. Wiped from memory when the last copy goes.
#[derive(Clone)]
pub struct ContentKey(Arc<FileKey>);

impl ContentKey {
    /// Opens the header's stanzas with `identities`, and checks the header's MAC.
    ///
    /// `header` is what [`CheckedLayout::header_range`] names.
    ///
    /// # Errors
    /// [`SegmentError::NoKey`] if no identity matches; [`SegmentError::Corrupt`] if the header is not one.
    pub fn unwrap(header: &[u8], identities: &Identities) -> Result<ContentKey, SegmentError> {
        let capture = Capture {
            identities,
            found: RefCell::new(None),
        };
        age::Decryptor::new_buffered(header)
            .and_then(|decryptor| decryptor.decrypt(iter::once(&capture as &dyn age::Identity)))
            .map_err(|error| header_error(error, identities))?;
        let found = capture.found.into_inner();
        Ok(found.expect("age decrypts with a key it was given"))
    }

    /// The same for an object that was encrypted for `recipients`, as its ledger record says: a header that opens for none of
    /// `identities`, one of which is among those, is no header for another key, but a damaged one.
    ///
    /// # Errors
    /// [`SegmentError::NoKey`], which names the recipients, if no identity matches and none is recorded; otherwise as
    /// [`ContentKey::unwrap`].
    pub fn unwrap_recorded(
        header: &[u8],
        identities: &Identities,
        recipients: &[String],
    ) -> Result<ContentKey, SegmentError> {
        ContentKey::unwrap(header, identities).map_err(|error| {
            let mut own = identities.public_keys().into_iter();
            match own.find(|own| recipients.contains(own)) {
                Some(own) if error.is_no_key() => SegmentError::corrupt(
                    format!(
                        "the age header does not open for {own}, for which the object was encrypted"
                    ),
                    0,
                ),
                None if error.is_no_key() && !recipients.is_empty() => SegmentError::NoKey {
                    reason: format!(
                        "the object is not encrypted for {identities}, but for {}",
                        recipients.join(", ")
                    ),
                },
                Some(_) | None => error,
            }
        })
    }

    pub(super) fn file_key(&self) -> &FileKey {
        &self.0
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(..)")
    }
}

impl age::Identity for ContentKey {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        Some(Ok(copy_of(&self.0)))
    }

    fn unwrap_stanzas(&self, _: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        // The MAC tells whether the key is the header's; no stanza needs to be opened again.
        Some(Ok(copy_of(&self.0)))
    }
}

/// An identity that remembers the file key it found.
struct Capture<'a> {
    identities: &'a Identities,
    found: RefCell<Option<ContentKey>>,
}

impl age::Identity for Capture<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let result = self
            .identities
            .iter()
            .find_map(|identity| identity.unwrap_stanza(stanza))?;
        if let Ok(key) = &result {
            *self.found.borrow_mut() = Some(ContentKey(Arc::new(copy_of(key))));
        }
        Some(result)
    }
}

fn copy_of(key: &FileKey) -> FileKey {
    FileKey::init_with_mut(|copy| copy.copy_from_slice(key.expose_secret()))
}

fn header_error(error: DecryptError, identities: &Identities) -> SegmentError {
    match error {
        DecryptError::NoMatchingKeys => SegmentError::NoKey {
            reason: format!("the object is not encrypted for {identities}"),
        },
        DecryptError::UnknownFormat => SegmentError::Unsupported {
            what: "the object's age header is of an unknown version".to_owned(),
        },
        error => SegmentError::corrupt(format!("the age header cannot be read: {error}"), 0),
    }
}

/// Decrypts the inner bytes `inner` of an object out of `bytes`, which begin at object offset `start`. They are returned as a part
/// of `room`, which is made longer where it is too short.
///
/// `header` may be another than the object's own, of any length: for age the object then begins with that one, and everything
/// after it is moved by the difference.
///
/// # Errors
/// [`SegmentError::Corrupt`] if `bytes` lacks some, or a chunk or the header is not what was written.
pub(super) fn decrypt<'a>(
    layout: &CheckedLayout,
    key: &ContentKey,
    header: &[u8],
    bytes: &[u8],
    start: u64,
    inner: Range<u64>,
    room: &'a mut Vec<u8>,
) -> Result<&'a [u8], SegmentError> {
    let first_chunk = inner.start / CHUNK_BYTES;
    let chunks_start = first_chunk * CHUNK_BYTES;
    let chunks_end = (inner.end.div_ceil(CHUNK_BYTES) * CHUNK_BYTES).min(layout.inner_len());
    let length = usize::try_from(chunks_end - chunks_start)
        .map_err(|_| SegmentError::corrupt("range too long for this machine", start))?;
    // The caller holds ciphertext of this length; the allocation is no larger.
    if length > bytes.len() {
        return Err(SegmentError::corrupt("bytes at hand are too few", start));
    }
    let own_header = layout.recorded().header_size;
    let moved = |offset: u64| offset.saturating_sub(own_header) + header.len() as u64;
    let window = Window {
        header,
        bytes,
        start: moved(start),
        size: moved(layout.recorded().size),
        position: 0,
    };
    if room.len() < length {
        room.resize(length, 0);
    }
    let plain = &mut room[..length];
    let read = |plain: &mut [u8]| -> Result<(), DecryptError> {
        let mut stream =
            age::Decryptor::new_buffered(window)?.decrypt(iter::once(key as &dyn age::Identity))?;
        if first_chunk > 0 {
            stream.seek(SeekFrom::Start(chunks_start + 1))?;
            stream.seek(SeekFrom::Start(chunks_start))?;
        }
        Ok(stream.read_exact(plain)?)
    };
    read(plain)
        .map_err(|error| SegmentError::corrupt(format!("decryption fails: {error}"), start))?;
    let within = |offset: u64| (offset - chunks_start) as usize;
    Ok(&plain[within(inner.start)..within(inner.end)])
}

/// An object of which only the header and one range are there. Reading elsewhere fails.
struct Window<'a> {
    header: &'a [u8],
    bytes: &'a [u8],
    start: u64,
    size: u64,
    position: u64,
}

impl Window<'_> {
    /// What is there from the current position on; empty only at the object's end.
    fn here(&self) -> io::Result<&[u8]> {
        let from = |part: &'_ [u8], start: u64| -> Option<usize> {
            let skip = usize::try_from(self.position.checked_sub(start)?).ok()?;
            (skip < part.len()).then_some(skip)
        };
        if let Some(skip) = from(self.header, 0) {
            return Ok(&self.header[skip..]);
        }
        if let Some(skip) = from(self.bytes, self.start) {
            return Ok(&self.bytes[skip..]);
        }
        if self.position >= self.size {
            return Ok(&[]);
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("object offset {} is not at hand", self.position),
        ))
    }
}

impl Read for Window<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.here()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Window<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.here()
    }

    fn consume(&mut self, count: usize) {
        self.position = self.position.saturating_add(count as u64);
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
