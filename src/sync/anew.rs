//! Objects made anew of archived segments: read, proven, compressed and encrypted again in one pass.
//!
//! # One object
//! 1. A fresh key is journaled.
//! 2. The segment is read from its object, frame by frame: each is proven, decrypted and decompressed. The bytes go through the
//!    [`pipeline`] that archives a server's files, and to the store as they come. Nothing is staged on a disk; memory is that of one file
//!    in flight and of the runs that are read ahead, whatever the length of the segment.
//! 3. At the end the SHA-256 of all bytes must be the recorded one: before that nothing is committed to the store.
//! 4. Whoever ordered it makes the record that names the new object, and then the journal forgets the key.
//!
//! # Crashes
//! Killed before the record, the object is one that no record names. The next run on this host finds its key in the journal and removes
//! it, unless a record with an unknown outcome may still name it: the rules are those of the archiver. If the journal is lost with the
//! cache directory, `verify --orphans` lists what it knew of.

use super::clock::Clock;
use super::commit::Committer;
use super::compress::CompressPool;
use super::footing::Footing;
use super::journal::{Journal, Uninterrupted};
use super::lock::lock;
use super::pipeline::{self, Format, Uploaded};
use super::place::Consent;
use super::run::fresh_key;
use crate::cache::{ArchivedSegment, CacheOptions, ReadError, SegmentReader, SegmentStream};
use crate::ledger::SegmentRecord;
use crate::model::counted::count;
use crate::model::{Seq, Sha256};
use crate::segment::{FRAME_SIZE_DEFAULT, Identities, Recipients};
use crate::source::{Content, Pieces, SourceError};
use crate::store::SharedStore;
use crate::stream::Stream;
use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Handle;

/// Objects that are made at a time: one is compressed while the other is on its way.
pub const OBJECTS_IN_FLIGHT: usize = 2;
/// Where the journal is, below the directory of the stream's index: an archiver that has its own there does not see this one.
const DIR_NAME: &str = "anew";

/// How objects are made anew.
#[derive(Clone)]
pub struct Anew {
    /// For whom; nobody means no encryption.
    pub recipients: Recipients,
    /// Plaintext is meant, of what is encrypted as well.
    pub allow_unencrypted: bool,
    /// zstd level.
    pub level: i32,
    /// Directory of the index of the stream that they go to.
    pub dir: PathBuf,
}

impl Anew {
    /// A `--recipient` that is forgotten once must not put plaintext where nobody expects it.
    ///
    /// # Errors
    /// When the segment is encrypted and its new object would not be, and nobody said that this is meant.
    pub fn check_encryption(&self, segment: &SegmentRecord) -> Result<()> {
        let object = &segment.object;
        if object.header_size > 0 && self.recipients.is_empty() && !self.allow_unencrypted {
            bail!(
                "{} is encrypted (to {}) and no --recipient was given: pass it, or pass --allow-unencrypted if plaintext is meant",
                segment.mount_name,
                object.recipients.join(", ")
            );
        }
        Ok(())
    }
}

/// Makes objects anew.
pub(super) struct Maker {
    reader: Arc<SegmentReader>,
    committer: Committer,
    pool: CompressPool,
    format: Format,
    order: Anew,
    /// Held for as long as the journal is.
    _lock: File,
}

impl Maker {
    /// One that reads in `from` and makes objects for the stream `to`. What an earlier run left is removed.
    ///
    /// # Errors
    /// When another process makes objects with the same directory, or the journal cannot be used.
    pub(super) async fn open(
        from: &SharedStore,
        to: &Stream,
        identities: &Identities,
        order: &Anew,
        clock: &Clock,
    ) -> Result<Maker> {
        let dir = order.dir.join(DIR_NAME);
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("cannot create {}; pass --cache-dir", dir.display()))?;
        let lock = lock(&dir, || {
            format!(
                "another binlogfs makes objects anew with {}; wait for it, or end it and run this again",
                dir.display()
            )
        })?;
        let (store, index) = (Arc::clone(to.store()), Arc::clone(to.index()));
        let interrupt = Arc::new(Uninterrupted);
        let committer = Committer {
            stream: Stream::open(Arc::clone(&store), Arc::clone(&index)).await?,
            store,
            index,
            journal: Journal::open(&dir, interrupt.clone())?,
            lost: BTreeSet::new(),
            consent: Consent::default(),
            archiver: String::new(),
            interrupt,
            clock: Arc::clone(clock),
            footing: Footing::default(),
            met_another: AtomicBool::new(false),
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let frame_size = FRAME_SIZE_DEFAULT;
        let pool = CompressPool::start(threads, order.level, frame_size, &Arc::default())?;
        let (store, own) = (Arc::clone(from), identities.clone());
        let maker = Maker {
            reader: Arc::new(SegmentReader::new(
                store,
                own,
                None,
                CacheOptions::default(),
            )),
            committer,
            pool,
            format: Format {
                frame_size,
                recipients: order.recipients.clone(),
            },
            order: order.clone(),
            _lock: lock,
        };
        maker.tidy_up().await?;
        Ok(maker)
    }

    /// Removes what was made and is in no record.
    ///
    /// # Errors
    /// When the store or the journal fails.
    pub(super) async fn tidy_up(&self) -> Result<()> {
        let tidied = self.committer.tidy_up().await?;
        if let [first, ..] = tidied.left.as_slice() {
            tracing::warn!(
                "{} of interrupted runs cannot be removed ({first}): this account may not delete; 'binlogfs verify --orphans' lists what is left",
                count(tidied.left.len() as u64, "object")
            );
        }
        Ok(())
    }

    /// Makes a new object of the segment, whose object is the one that the record names. It is in the store then, and in no record.
    ///
    /// # Errors
    /// When the segment cannot be read ([`unreadable`] tells), its bytes are not those recorded, or the store fails.
    pub(super) async fn make(&self, segment: &SegmentRecord) -> Result<Uploaded> {
        let content = Archived {
            segment: ArchivedSegment::of_record(segment)?.raw(),
            name: PathBuf::from(segment.mount_name.as_str()),
            reader: Arc::clone(&self.reader),
            runtime: Handle::current(),
        };
        self.make_of(segment, Box::new(content)).await
    }

    /// The same of bytes that come from elsewhere: `content` refuses, once it is read, any that are not those recorded.
    ///
    /// # Errors
    /// When they are not, or cannot be read, or the store fails.
    pub(super) async fn make_of(
        &self,
        segment: &SegmentRecord,
        content: Box<dyn Content>,
    ) -> Result<Uploaded> {
        self.order.check_encryption(segment)?;
        let file = segment.file.to_string();
        let key = fresh_key(&file, !self.format.recipients.is_empty())?;
        let journal = &self.committer.journal;
        journal.begin(&key, &file, (self.committer.clock)())?;
        let uploaded = pipeline::upload(
            &self.committer.store,
            content,
            key.clone(),
            &self.format,
            &self.pool,
            None,
            Arc::new(|_| {}),
        )
        .await;
        let error = match uploaded {
            Ok(uploaded) => return Ok(uploaded),
            Err(error) => anyhow::Error::from(error),
        };
        // What failed at the other end was never committed here. After any other error the next run looks.
        if unreadable(&error).is_some()
            && let Err(error) = self.committer.discard(&key).await
        {
            tracing::debug!(%key, error = format!("{error:#}"), "left for the next run");
        }
        Err(error)
    }

    /// Right before record `seq` is created that names it: the object is there and whole, and the journal knows of the record.
    ///
    /// # Errors
    /// When it is not; the record must then not be created.
    pub(super) async fn before_record(&self, made: &Uploaded, seq: Seq) -> Result<()> {
        self.committer.check_object(made).await?;
        Ok(self.committer.journal.recording(&made.key, seq)?)
    }

    /// A record names it.
    ///
    /// # Errors
    /// When the journal fails; the next run finds that out by itself.
    pub(super) fn recorded(&self, made: &Uploaded) -> Result<()> {
        Ok(self.committer.journal.end(&made.key)?)
    }

    /// Removes one that no record will name.
    ///
    /// # Errors
    /// When the store or the journal fails.
    pub(super) async fn discard(&self, made: &Uploaded) -> Result<()> {
        self.committer.discard(&made.key).await
    }
}

/// Why a segment could not be read, if that is what an error says.
pub fn unreadable(error: &anyhow::Error) -> Option<&ReadError> {
    error.chain().find_map(|cause| {
        let inside = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let itself = cause.downcast_ref::<ReadError>();
        itself.or_else(|| inside.and_then(|inside| inside.downcast_ref::<ReadError>()))
    })
}

/// The bytes of an archived segment, as the pipeline reads them.
struct Archived {
    segment: ArchivedSegment,
    name: PathBuf,
    reader: Arc<SegmentReader>,
    runtime: Handle,
}

impl Archived {
    fn fault(&self, error: ReadError) -> SourceError {
        SourceError::io("read", &self.name, io::Error::other(error))
    }
}

impl Content for Archived {
    fn path(&self) -> &Path {
        &self.name
    }

    fn size(&self) -> u64 {
        self.segment.plain_size()
    }

    fn pieces(&self) -> Result<Box<dyn Pieces + '_>, SourceError> {
        let stream = self.runtime.block_on(self.reader.stream(&self.segment));
        Ok(Box::new(ArchivedPieces {
            content: self,
            stream: stream.map_err(|error| self.fault(error))?,
            come: Bytes::new(),
        }))
    }

    /// The reader has compared it already, with what it read; this is what the pipeline was given.
    fn check_read(&self, sha256: Sha256) -> Result<(), SourceError> {
        match sha256 == self.segment.sha256() {
            true => Ok(()),
            false => Err(SourceError::Changed {
                path: self.name.clone(),
                what: format!(
                    "its SHA-256 is {sha256}, and {} was recorded",
                    self.segment.sha256()
                ),
            }),
        }
    }
}

struct ArchivedPieces<'a> {
    content: &'a Archived,
    stream: SegmentStream,
    /// Read, and not handed on yet.
    come: Bytes,
}

impl Pieces for ArchivedPieces<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.come.is_empty() {
                // Called on a thread of the pipeline's own, which may block.
                match self.content.runtime.block_on(self.stream.next()) {
                    Some(read) => self.come = read.map_err(|error| self.content.fault(error))?,
                    None => break,
                }
                continue;
            }
            let n = self.come.len().min(buffer.len() - filled);
            self.come.copy_to_slice(&mut buffer[filled..filled + n]);
            filled += n;
        }
        Ok(filled)
    }
}
