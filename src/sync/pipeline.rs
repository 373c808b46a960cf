//! One file into one object: each byte is read once, and scanned, hashed, compressed and encrypted on the way.
//!
//! ```text
//! reader thread                     compression threads        assembler thread              async task
//! read 1 MiB → scan, SHA-256  ───►  zstd frame           ───►  order, hash, age, CRC   ───►  store upload
//!      ▲                                                             │
//!      └────────────────────── emptied buffers ──────────────────────┘
//! ```
//! Memory is bounded by the number of buffers, which the reader waits for, and by the pieces in the channel to the store.
//! The reader never gets further ahead of the assembler than there are buffers, so frames wait to be put in order in
//! bounded space too.

use super::compress::{CompressPool, Compressed, Turn};
use super::gate::{GivenUp, Pass};
use super::pace::Pace;
use crate::binlog::{Refusal, Scanner, Summary};
use crate::ledger::record::ObjectRecord;
use crate::model::digest::Hasher;
use crate::model::{ObjectKey, Sha256};
use crate::segment::{ObjectFacts, ObjectWriter, Recipients, SegmentError};
use crate::source::{Content, SourceError};
use crate::store::{self, Checksums, SharedStore, Upload};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Buffers beyond one per compression thread: one being filled, one on its way, one being assembled.
const EXTRA_BUFFERS: usize = 3;
/// Bytes handed to the store at a time, or a frame more. A store that sends larger parts gathers them itself: whatever lies
/// here is memory of every file in flight.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces between assembler and store: the compression threads go on while the disk takes a moment.
const PIECES_IN_FLIGHT: usize = 4;

/// What an uploaded file turned out to be.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// What the scan tells.
    pub summary: Summary,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// The object's key.
    pub key: ObjectKey,
    /// The object.
    pub facts: ObjectFacts,
    /// The public keys it is encrypted to.
    pub recipients: Vec<String>,
}

impl Uploaded {
    /// The object as a record describes it.
    pub(super) fn object(&self) -> ObjectRecord {
        let facts = &self.facts;
        ObjectRecord {
            key: self.key.clone(),
            size: facts.size,
            crc32c: facts.crc32c,
            crc64nvme: facts.crc64nvme,
            header_size: facts.header_size,
            frame_size: facts.frame_size,
            tail_offset: facts.tail_offset,
            tail_sha256: facts.tail_sha256,
            recipients: self.recipients.clone(),
            header: None,
        }
    }
}

/// A file that could not be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The file.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The object.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Its place was needed.
    #[error(transparent)]
    GivenUp(#[from] GivenUp),
    /// The upload ended first; its own error tells why.
    #[error("the upload ended before the file did")]
    UploadEnded,
}

/// How objects are made.
#[derive(Clone)]
pub struct Format {
    /// Plaintext bytes in a frame.
    pub frame_size: u32,
    /// Whom objects are encrypted to.
    pub recipients: Recipients,
}

/// Called with the number of plaintext bytes as they are read.
pub type OnRead = std::sync::Arc<dyn Fn(u64) + Send + Sync>;

/// Runs a call to the store. If the file has a place among those of other streams, that is lent while the call hangs.
async fn lending<T>(
    pass: &mut Option<Pass>,
    call: impl Future<Output = store::Result<T>>,
) -> Result<T, PipelineError> {
    match pass {
        Some(pass) => Ok(pass.around(call).await??),
        None => Ok(call.await?),
    }
}

/// Reads `file` to its end and uploads it as the object `key`. `pass` is its place among the files of other streams, if it needs one.
///
/// # Errors
/// See [`PipelineError`]. An object or a part of one may then be left under `key`.
pub async fn upload(
    store: &SharedStore,
    file: Box<dyn Content>,
    key: ObjectKey,
    format: &Format,
    pool: &CompressPool,
    mut pass: Option<Pass>,
    on_read: OnRead,
) -> Result<Uploaded, PipelineError> {
    let size_hint = file.size() / 2;
    let (pieces_in, mut pieces_out) = tokio::sync::mpsc::channel::<Bytes>(PIECES_IN_FLIGHT);
    let recipients = format.recipients.to_strings();
    let (format, pool, pace) = (format.clone(), pool.clone(), Arc::clone(pool.pace()));
    let turn = pool.turn();
    let made = tokio::task::spawn_blocking(move || {
        make_object(&*file, &format, (&pool, turn), &on_read, &pieces_in)
    });
    let sent = send_pieces(store, (&key, size_hint), &mut pieces_out, &pace, &mut pass).await;
    // Closing the channel ends the threads of a file whose upload failed.
    drop(pieces_out);
    let made = made.await.map_err(std::io::Error::other)?;
    let upload = sent?;
    let (summary, sha256, facts) = match made {
        Ok(made) => made,
        Err(e) => {
            abort(upload, &mut pass).await;
            return Err(e);
        }
    };
    if facts.plain_size != summary.size {
        let lost = format!(
            "{} of {} bytes reached the object",
            facts.plain_size, summary.size
        );
        abort(upload, &mut pass).await;
        return Err(std::io::Error::other(lost).into());
    }
    let sums = Checksums {
        size: facts.size,
        crc32c: facts.crc32c,
        crc64nvme: facts.crc64nvme,
    };
    lending(&mut pass, upload.commit(sums)).await?;
    Ok(Uploaded {
        summary,
        sha256,
        key,
        facts,
        recipients,
    })
}

/// Begins the object and sends its pieces as they come. An upload that fails is aborted.
async fn send_pieces(
    store: &SharedStore,
    (key, size_hint): (&ObjectKey, u64),
    pieces: &mut tokio::sync::mpsc::Receiver<Bytes>,
    pace: &Pace,
    pass: &mut Option<Pass>,
) -> Result<Box<dyn Upload>, PipelineError> {
    let mut upload = lending(pass, store.upload(key, size_hint)).await?;
    while let Some(piece) = pieces.recv().await {
        pace.before_sending(piece.len() as u64).await;
        match lending(pass, upload.write(piece)).await {
            Ok(()) => {}
            // A store that hangs is not asked for more; the next run removes what is there.
            Err(PipelineError::GivenUp(error)) => return Err(error.into()),
            Err(error) => {
                abort(upload, pass).await;
                // The first error is the one to report.
                return Err(error);
            }
        }
    }
    Ok(upload)
}

/// Removes what was sent, as far as that can be done now. Nobody's turn waits for it.
async fn abort(upload: Box<dyn Upload>, pass: &mut Option<Pass>) {
    drop(pass.take());
    let _ = upload.abort().await;
}

type Made = (Summary, Sha256, ObjectFacts);

/// The blocking half: runs the reader beside the assembler.
fn make_object(
    file: &dyn Content,
    format: &Format,
    (pool, turn): (&CompressPool, Turn),
    on_read: &OnRead,
    pieces: &tokio::sync::mpsc::Sender<Bytes>,
) -> Result<Made, PipelineError> {
    let (buffers_in, buffers_out) = channel::<Vec<u8>>();
    for _ in 0..pool.threads() + EXTRA_BUFFERS {
        // Empty until first used: a small file touches little memory.
        let _ = buffers_in.send(Vec::new());
    }
    let (frames_in, frames_out) = channel::<Compressed>();
    std::thread::scope(|scope| {
        let frame_size = format.frame_size as usize;
        let read = std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn_scoped(scope, move || {
                read_file(
                    file,
                    frame_size,
                    (pool, turn),
                    on_read,
                    &buffers_out,
                    &frames_in,
                )
            })?;
        let writer = assemble(
            ObjectWriter::new(&format.recipients, format.frame_size)?,
            &frames_out,
            &buffers_in,
            pieces,
        );
        // Without buffers the reader of a failed assembly ends too.
        drop(buffers_in);
        drop(frames_out);
        let read = read
            .join()
            .map_err(|_| std::io::Error::other("the reader panicked"))?;
        let mut writer = writer?;
        let (summary, sha256) = read?;
        send(pieces, writer.take_output())?;
        let (rest, facts) = writer.finish(&summary.index)?;
        send(pieces, rest)?;
        Ok((summary, sha256, facts))
    })
}

/// Reads, scans, hashes and hands out frames.
fn read_file(
    file: &dyn Content,
    frame_size: usize,
    (pool, turn): (&CompressPool, Turn),
    on_read: &OnRead,
    buffers: &Receiver<Vec<u8>>,
    frames: &Sender<Compressed>,
) -> Result<(Summary, Sha256), PipelineError> {
    let refused = |source: Refusal| SourceError::Refused {
        path: file.path().to_owned(),
        source,
    };
    let mut scanner = Scanner::new(());
    let mut hasher = Hasher::default();
    let (mut through, mut offset) = (file.pieces()?, 0);
    for number in 0.. {
        let mut buffer = buffers.recv().map_err(|_| PipelineError::UploadEnded)?;
        buffer.resize(frame_size, 0);
        let n = through.next(&mut buffer)?;
        if n == 0 {
            break;
        }
        buffer.truncate(n);
        scanner.push(&buffer).map_err(refused)?;
        hasher.update(&buffer);
        offset += n as u64;
        on_read(n as u64);
        pool.pace().after_reading(n as u64);
        pool.submit(turn, number, buffer, frames);
    }
    let sha256 = hasher.finish();
    file.check_read(sha256)?;
    if offset != file.size() {
        let what = format!("{offset} of {} bytes could be read", file.size());
        return Err(SourceError::Changed {
            path: file.path().to_owned(),
            what,
        }
        .into());
    }
    let (summary, ()) = scanner.finish();
    Ok((summary.map_err(refused)?, sha256))
}

/// Puts frames in order, writes them into the object, and hands its bytes out.
fn assemble(
    mut writer: ObjectWriter,
    frames: &Receiver<Compressed>,
    buffers: &Sender<Vec<u8>>,
    pieces: &tokio::sync::mpsc::Sender<Bytes>,
) -> Result<ObjectWriter, PipelineError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    while let Ok(done) = frames.recv() {
        // The reader has ended when it does not take the buffer back.
        let _ = buffers.send(done.plain);
        early.insert(done.number, done.frame?);
        while let Some(frame) = early.remove(&next) {
            writer.frame(&frame)?;
            next += 1;
            if writer.pending_bytes() >= PIECE_BYTES {
                send(pieces, writer.take_output())?;
            }
        }
    }
    Ok(writer)
}

fn send(pieces: &tokio::sync::mpsc::Sender<Bytes>, piece: Bytes) -> Result<(), PipelineError> {
    if piece.is_empty() {
        return Ok(());
    }
    pieces
        .blocking_send(piece)
        .map_err(|_| PipelineError::UploadEnded)
}
