//! The age layer: reading chunks at any offset with a file key that was unwrapped once.
//!
//! age reads headers and unwraps keys; chunks are decrypted by ring, with the key that age's key derivation gives.

use super::error::SegmentError;
use super::identity::Identities;
use super::layout::CheckedLayout;
use age::DecryptError;
use age_core::format::{FileKey, Stanza};
use age_core::primitives::hkdf;
use age_core::secrecy::{ExposeSecret, SecretBox};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::cell::RefCell;
use std::fmt;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

/// Plain bytes of an age chunk.
pub const CHUNK_BYTES: u64 = 64 << 10;
/// Poly1305 tag after each chunk.
pub(super) const TAG_BYTES: u64 = 16;
/// An age chunk as stored.
pub(super) const STORED_CHUNK_BYTES: u64 = CHUNK_BYTES + TAG_BYTES;
/// Payload nonce after the header: it belongs to the chunks, and stays when the header is made anew.
pub(super) const NONCE_BYTES: usize = 16;
/// Label of the payload's key in age's key derivation.
const PAYLOAD_LABEL: &[u8] = b"payload";

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

/// Decrypts the chunks of one object.
///
/// age's own reader does this too, and its header and file key are age's business here as well. But it wants a whole object to read
/// from, copies each chunk twice, checks the header again for each range, and took twice as long: a tenth of the processor time of a
/// cold read. The payload is the age specification's (age-encryption.org/v1, "Payload"): ChaCha20-Poly1305 of 64 KiB each, the
/// nonce their number and whether they are the last.
pub(super) struct ChunkCipher(SecretBox<[u8; 32]>);

impl ChunkCipher {
    /// The cipher of the object with this header, its nonce at the end.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] if it is no header, or not one for this key.
    pub(super) fn new(key: &ContentKey, header: &[u8]) -> Result<ChunkCipher, SegmentError> {
        let mut rest = header;
        // The MAC is checked here, once for all chunks.
        age::Decryptor::new_buffered(&mut rest)
            .and_then(|decryptor| decryptor.decrypt(iter::once(key as &dyn age::Identity)))
            .map(drop)
            .map_err(|error| {
                SegmentError::corrupt(format!("the age header cannot be read: {error}"), 0)
            })?;
        let nonce = match header.last_chunk::<NONCE_BYTES>() {
            Some(nonce) if rest.is_empty() => nonce,
            _ => {
                let more = rest.len();
                let what = format!("the age header has {more} bytes after its nonce");
                return Err(SegmentError::corrupt(what, 0));
            }
        };
        let file_key = key.file_key().expose_secret();
        Ok(ChunkCipher(SecretBox::init_with(|| {
            hkdf(nonce, PAYLOAD_LABEL, file_key)
        })))
    }

    /// What this holds of memory beside itself, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(self.0.expose_secret())
    }

    /// Decrypts the inner bytes `inner` of an object out of `bytes`, which begin at object offset `start` and have exactly the
    /// chunks that hold them. They are returned as a part of `room`, which is made longer where it is too short.
    ///
    /// # Errors
    /// [`SegmentError::Corrupt`] if `bytes` are too few, or a chunk is not what was written at its place.
    pub(super) fn decrypt<'a>(
        &self,
        layout: &CheckedLayout,
        bytes: &[u8],
        start: u64,
        inner: Range<u64>,
        room: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SegmentError> {
        let first = inner.start / CHUNK_BYTES;
        let chunks_start = first * CHUNK_BYTES;
        let chunks_end = (inner.end.div_ceil(CHUNK_BYTES) * CHUNK_BYTES).min(layout.inner_len());
        let few = || SegmentError::corrupt("bytes at hand are too few", start);
        let length = usize::try_from(chunks_end.saturating_sub(chunks_start)).map_err(|_| few())?;
        // The caller holds ciphertext of this length; the allocation is no larger.
        if length > bytes.len() {
            return Err(few());
        }
        if room.len() < length {
            room.resize(length, 0);
        }
        let plain = &mut room[..length];
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.0.expose_secret())
            .map(LessSafeKey::new)
            .expect("a key of 32 bytes");
        let last = (layout.inner_len() - 1) / CHUNK_BYTES;
        let stored = bytes.chunks(STORED_CHUNK_BYTES as usize);
        let mut opened = 0;
        for ((chunk, stored), plain) in (first..)
            .zip(stored)
            .zip(plain.chunks_mut(CHUNK_BYTES as usize))
        {
            open(&key, chunk, chunk == last, stored, plain).ok_or_else(|| {
                let offset = start + (chunk - first) * STORED_CHUNK_BYTES;
                SegmentError::corrupt(
                    "decryption fails: these are not the bytes that were archived",
                    offset,
                )
            })?;
            opened += plain.len();
        }
        if opened < length {
            return Err(few());
        }
        let within = |offset: u64| (offset - chunks_start) as usize;
        Ok(&plain[within(inner.start)..within(inner.end)])
    }
}

/// Decrypts one chunk; `None` if it is not the one that belongs there.
fn open(
    key: &LessSafeKey,
    number: u64,
    is_last: bool,
    stored: &[u8],
    plain: &mut [u8],
) -> Option<()> {
    let (ciphertext, tag) = stored.split_last_chunk::<{ TAG_BYTES as usize }>()?;
    if ciphertext.len() != plain.len() {
        return None;
    }
    let mut nonce = [0; NONCE_LEN];
    // 11 bytes of a big-endian counter, of which a u64 has the last eight, and the flag.
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    plain.copy_from_slice(ciphertext);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_in_place_separate_tag(nonce, Aad::empty(), (*tag).into(), plain, 0..)
        .ok()
        .map(|_| ())
}
