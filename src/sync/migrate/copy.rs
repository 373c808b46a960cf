//! One object, byte for byte: its checksums held against the record's on the way, and the copy read back where it can be.

use crate::cache::{ArchivedSegment, CacheOptions, SegmentReader};
use crate::ledger::SegmentRecord;
use crate::ledger::record::ObjectRecord;
use crate::model::ObjectKey;
use crate::segment::Identities;
use crate::store::{ChecksumHasher, Checksums, SharedStore, Upload};
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use std::sync::Arc;

/// Bytes of one get.
const PIECE_BYTES: u64 = 4 << 20;
/// Gets of one object in flight: one is sent on while the next ones come.
const PIECES_AHEAD: usize = 2;

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It was copied.
    Now,
    /// It was there.
    Before,
    /// It is gone from the old store.
    Gone,
}

/// Copies objects from one store to another.
#[derive(Clone)]
pub(super) struct Copier {
    from: SharedStore,
    to: SharedStore,
    reader: Arc<SegmentReader>,
    own_keys: Arc<[String]>,
}

impl Copier {
    pub(super) fn new(from: &SharedStore, to: &SharedStore, identities: &Identities) -> Copier {
        let options = CacheOptions::default();
        let (store, own) = (Arc::clone(to), identities.clone());
        Copier {
            from: Arc::clone(from),
            to: Arc::clone(to),
            reader: Arc::new(SegmentReader::new(store, own, None, options)),
            own_keys: identities.public_keys().into(),
        }
    }

    /// Has the object of a record at the new place.
    pub(super) async fn copy(&self, object: &ObjectRecord) -> Result<Copied> {
        if self.is_there(object).await? {
            return Ok(Copied::Before);
        }
        let sent = match self.send(object).await {
            Ok(sent) => sent,
            // Another run was faster, or a reply was lost: what is there decides.
            Err(error) => match self.is_there(object).await {
                Ok(true) => return Ok(Copied::Before),
                Ok(false) | Err(_) => return Err(error),
            },
        };
        Ok(match sent {
            true => Copied::Now,
            false => Copied::Gone,
        })
    }

    /// Whether the new store has it, whole.
    async fn is_there(&self, object: &ObjectRecord) -> Result<bool> {
        let meta = match self.to.head(&object.key).await {
            Ok(meta) => meta,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if !meta.agrees_with(&object.checksums()) {
            bail!(
                "object {} of {} is not the one recorded ({meta:?}); keys are used once: find out who wrote it",
                object.key,
                self.to.describe()
            );
        }
        Ok(true)
    }

    /// Sends it. Returns whether it was there to be sent.
    async fn send(&self, object: &ObjectRecord) -> Result<bool> {
        let key = &object.key;
        match self.from.head(key).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut upload = self.to.upload(key, object.size).await?;
        let summed = match self.pour(key, object.size, &mut *upload).await {
            Ok(summed) => summed,
            Err(error) => {
                abort(upload).await;
                return Err(error);
            }
        };
        if summed != object.checksums() {
            abort(upload).await;
            bail!(
                "object {key} of {} is not the one recorded (its checksums are {summed:?}): nothing was copied of it; \
                 'binlogfs verify --deep' tells more",
                self.from.describe()
            );
        }
        upload.commit(summed).await?;
        Ok(true)
    }

    async fn pour(&self, key: &ObjectKey, size: u64, upload: &mut dyn Upload) -> Result<Checksums> {
        let starts = (0..size).step_by(PIECE_BYTES as usize);
        let pieces = starts.map(|start| self.from.get(key, start..(start + PIECE_BYTES).min(size)));
        let mut pieces = futures::stream::iter(pieces).buffered(PIECES_AHEAD);
        let mut hasher = ChecksumHasher::default();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            hasher.update(&piece);
            upload.write(piece).await?;
        }
        Ok(hasher.finish())
    }

    /// Reads the copy of a segment to its end, which compares its SHA-256; `false` if no key opens it.
    pub(super) async fn read_back(&self, segment: &SegmentRecord) -> Result<bool> {
        let object = &segment.object;
        let own = |key: &String| self.own_keys.contains(key);
        if object.header_size > 0 && !object.recipients.iter().any(own) {
            return Ok(false);
        }
        let archived = ArchivedSegment::of_record(segment)?.raw();
        let read = async {
            let mut stream = self.reader.stream(&archived).await?;
            while let Some(bytes) = stream.next().await {
                bytes?;
            }
            Ok::<_, anyhow::Error>(())
        };
        read.await.context(
            "the copy does not read as the segment that is recorded; nothing was recorded",
        )?;
        Ok(true)
    }
}

/// What was sent goes; if it cannot, a later upload to the key takes it away.
async fn abort(upload: Box<dyn Upload>) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(%error, "an unfinished upload was left");
    }
}
