//! Writes an object in one pass: frames go in, in order, and bytes ready to send come out.

use super::error::SegmentError;
use super::frame::StoredFrame;
use super::layout::{ObjectLayout, check_frame_size};
use super::recipient::Recipients;
use super::seek_table::Entry;
use super::{FRAMES_MAX, index_section, tail};
use crate::binlog::SegmentIndex;
use crate::model::Sha256;
use age::stream::StreamWriter;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// What the ledger record says of a finished object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Length of the object in bytes.
    pub size: u64,
    /// CRC-32C (Castagnoli) of the object.
    pub crc32c: u32,
    /// CRC-64/NVME of the object.
    pub crc64nvme: u64,
    /// Object offset of the first age chunk; 0 without encryption.
    pub header_size: u64,
    /// Plain bytes per frame.
    pub frame_size: u32,
    /// Inner offset of the tail frame.
    pub tail_offset: u64,
    /// SHA-256 of the inner bytes from there to the end.
    pub tail_sha256: Sha256,
    /// Length of the binlog file in bytes.
    pub plain_size: u64,
}

impl ObjectFacts {
    /// What a reader needs of it.
    pub fn layout(&self) -> ObjectLayout {
        ObjectLayout {
            plain_size: self.plain_size,
            size: self.size,
            header_size: self.header_size,
            frame_size: self.frame_size,
            tail_offset: self.tail_offset,
            tail_sha256: self.tail_sha256,
        }
    }
}

/// Makes one object. Dropped before [`ObjectWriter::finish`], it leaves bytes that no record should name.
pub struct ObjectWriter {
    layer: Layer,
    sink: Sink,
    header_size: u64,
    frame_size: u32,
    frames: Vec<Entry>,
    hashes: Vec<Sha256>,
    inner_len: u64,
    plain_size: u64,
}

/// What lies between the inner file and the object.
enum Layer {
    Plain(Sink),
    Age(StreamWriter<Sink>),
}

/// Where the object's bytes are collected. Shared, because age keeps what it writes to.
#[derive(Clone)]
struct Sink(Arc<Mutex<Output>>);

struct Output {
    pending: Vec<u8>,
    size: u64,
    crc32c: Digest,
    crc64nvme: Digest,
}

impl Sink {
    fn new() -> Sink {
        Sink(Arc::new(Mutex::new(Output {
            pending: Vec::new(),
            size: 0,
            crc32c: Digest::new(CrcAlgorithm::Crc32Iscsi),
            crc64nvme: Digest::new(CrcAlgorithm::Crc64Nvme),
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut Output) -> T) -> T {
        // Only one thread writes; a poisoned lock means it panicked, and then nobody finishes the object.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|output| {
            output.pending.extend_from_slice(bytes);
            output.size += bytes.len() as u64;
            output.crc32c.update(bytes);
            output.crc64nvme.update(bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter {
    /// Begins an object for `recipients` (none: not encrypted) with `frame_size` plain bytes per frame.
    ///
    /// # Errors
    /// A frame size that is none; [`SegmentError::Encode`] if the file key cannot be wrapped.
    pub fn new(recipients: &Recipients, frame_size: u32) -> Result<ObjectWriter, SegmentError> {
        let frame_size = check_frame_size(frame_size)?;
        let sink = Sink::new();
        let layer = if recipients.is_empty() {
            Layer::Plain(sink.clone())
        } else {
            let stream = age::Encryptor::with_recipients(recipients.iter())
                .map_err(|error| encode_failed(&error))?
                .wrap_output(sink.clone())
                .map_err(|error| encode_failed(&error))?;
            Layer::Age(stream)
        };
        Ok(ObjectWriter {
            // Until now age has written its header and the nonce, and nothing else.
            header_size: sink.with(|output| output.size),
            layer,
            sink,
            frame_size,
            frames: Vec::new(),
            hashes: Vec::new(),
            inner_len: 0,
            plain_size: 0,
        })
    }

    /// Appends the next frame. Every frame but the last holds exactly `frame_size` plain bytes.
    ///
    /// # Errors
    /// [`SegmentError::Limit`] for a frame after a short one, too long a frame, or too many.
    pub fn frame(&mut self, frame: &StoredFrame) -> Result<(), SegmentError> {
        let limit = |what, value, max| Err(SegmentError::Limit { what, value, max });
        if self.frames.len() >= FRAMES_MAX as usize {
            return limit(
                "number of frames (a larger frame size makes fewer)",
                self.frames.len() as u64 + 1,
                u64::from(FRAMES_MAX),
            );
        }
        if !self.plain_size.is_multiple_of(u64::from(self.frame_size)) {
            return limit("number of frames after a short one", 1, 0);
        }
        if frame.plain_len() > self.frame_size {
            let (len, max) = (frame.plain_len().into(), self.frame_size.into());
            return limit("length of a frame's content", len, max);
        }
        self.frames.push(Entry {
            stored: u32::try_from(frame.stored_len()).expect("a frame is a few MiB"),
            plain: frame.plain_len(),
        });
        // Here and not where it was compressed: a lone compression thread has the most to do.
        self.hashes.push(Sha256::of(frame.bytes()));
        self.plain_size += u64::from(frame.plain_len());
        self.append(frame.bytes())
    }

    /// Plain bytes in the frames so far.
    pub fn plain_size(&self) -> u64 {
        self.plain_size
    }

    /// Bytes that [`ObjectWriter::take_output`] would return.
    pub fn pending_bytes(&self) -> usize {
        self.sink.with(|output| output.pending.len())
    }

    /// The object's next bytes, as many as are ready. May be empty; callable any time.
    pub fn take_output(&mut self) -> Bytes {
        Bytes::from(self.sink.with(|output| {
            // The next batch will be about as long: no growing by copying. What is not filled is never touched.
            let next = Vec::with_capacity(output.pending.capacity());
            std::mem::replace(&mut output.pending, next)
        }))
    }

    /// Writes the tail, and returns the object's last bytes with what its record says of it.
    ///
    /// # Errors
    /// [`SegmentError::Encode`].
    pub fn finish(mut self, index: &SegmentIndex) -> Result<(Bytes, ObjectFacts), SegmentError> {
        let tail_offset = self.inner_len;
        let tail = tail::encode(&self.hashes, &index_section::encode(index)?, &self.frames);
        let tail_sha256 = Sha256::of(&tail);
        self.append(&tail)?;
        if let Layer::Age(stream) = self.layer {
            stream.finish().map_err(|error| encode_failed(&error))?;
        }
        Ok(self.sink.with(|output| {
            let facts = ObjectFacts {
                size: output.size,
                crc32c: output.crc32c.finalize() as u32,
                crc64nvme: output.crc64nvme.finalize(),
                header_size: self.header_size,
                frame_size: self.frame_size,
                tail_offset,
                tail_sha256,
                plain_size: self.plain_size,
            };
            (Bytes::from(std::mem::take(&mut output.pending)), facts)
        }))
    }

    fn append(&mut self, inner: &[u8]) -> Result<(), SegmentError> {
        self.inner_len += inner.len() as u64;
        match &mut self.layer {
            Layer::Plain(sink) => sink.write_all(inner),
            Layer::Age(stream) => stream.write_all(inner),
        }
        .map_err(|error| encode_failed(&error))
    }
}

fn encode_failed(error: &dyn std::fmt::Display) -> SegmentError {
    SegmentError::Encode {
        reason: format!("age: {error}"),
    }
}
