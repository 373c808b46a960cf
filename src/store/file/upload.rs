//! An object that streams into a file store.
//!
//! One blocking job at a time owns the file, so that writing overlaps with whatever makes the bytes, and memory holds
//! one batch in the job and one being gathered. No thread waits for the next piece.

use super::root::{Root, split};
use super::temp::TempFile;
use super::{blocking, new_temp, publish};
use crate::model::ObjectKey;
use crate::store::{ChecksumHasher, Checksums, Error, ErrorKind, Result, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::Advice;
use std::io::Write as _;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes gathered before a job is started: handing over costs some 20 µs, writing this much ten times that.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes written between two pushes to the disk. Small enough that the last fdatasync is short and that little of the
/// host's page cache is ours, large enough for sequential writes.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// The file an upload goes to, and what is known of it.
struct Sink {
    root: Arc<Root>,
    key: ObjectKey,
    dir: OwnedFd,
    temp: TempFile,
    sums: ChecksumHasher,
    written: u64,
    /// Where the window begins that is being written back.
    window: u64,
}

impl Sink {
    fn write(&mut self, batch: &[Bytes]) -> Result<()> {
        for bytes in batch {
            self.sums.update(bytes);
            self.temp
                .file
                .write_all(bytes)
                .map_err(|error| self.root.error("write", &self.key, error))?;
            self.written += bytes.len() as u64;
        }
        if self.written - self.window >= 2 * WRITE_BACK_BYTES {
            // Linux starts to write back what is dirty and drops what is clean: of the last two windows, the older one
            // is dropped now and the newer one begins its way to the disk.
            self.advise(self.window);
            self.window = self.written - WRITE_BACK_BYTES;
        }
        Ok(())
    }

    /// Tells the kernel that nobody here needs the bytes from `offset` on.
    fn advise(&self, offset: u64) {
        let len = NonZeroU64::new(self.written.saturating_sub(offset));
        // Advice that is not taken costs page cache, nothing else.
        let _ = rustix::fs::fadvise(&self.temp.file, offset, len, Advice::DontNeed);
    }

    fn commit(self, expected: Checksums) -> Result<()> {
        let found = self.sums.finish();
        if found != expected {
            return Err(self
                .root
                .error_of(ErrorKind::BadDigest, "commit", &self.key)
                .because(format!("received {found:?}, expected {expected:?}")));
        }
        let (_, leaf) = split(&self.key);
        publish(&self.root, "commit", &self.key, &self.temp, &self.dir, leaf)?;
        self.advise(0);
        Ok(())
    }
}

enum State {
    Idle(Box<Sink>),
    Busy(JoinHandle<Result<Box<Sink>>>),
    Failed(Error),
}

pub(super) struct FileUpload {
    root: Arc<Root>,
    key: ObjectKey,
    state: State,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

impl FileUpload {
    pub(super) async fn begin(root: Arc<Root>, key: ObjectKey) -> Result<FileUpload> {
        let sink = blocking(&root.clone(), "upload", &key.clone(), {
            let (root, key) = (root.clone(), key.clone());
            move || {
                let (dir, temp) = new_temp(&root, "upload", &key)?;
                Ok(Box::new(Sink {
                    root,
                    key,
                    dir,
                    temp,
                    sums: ChecksumHasher::default(),
                    written: 0,
                    window: 0,
                }))
            }
        })
        .await?;
        Ok(FileUpload {
            root,
            key,
            state: State::Idle(sink),
            gathered: Vec::new(),
            gathered_bytes: 0,
        })
    }

    /// Writes to `file` from now on, which need not be one that can become an object.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: std::fs::File) {
        if let State::Idle(sink) = &mut self.state {
            sink.temp.file = file;
        }
    }

    /// Waits for the job under way. Cancelled, it loses nothing.
    async fn settle(&mut self) -> Result<()> {
        if let State::Busy(job) = &mut self.state {
            let ended = job.await.unwrap_or_else(|error| {
                Err(self
                    .root
                    .error_of(ErrorKind::Permanent, "write", &self.key)
                    .because(error))
            });
            self.state = ended.map_or_else(State::Failed, State::Idle);
        }
        match &self.state {
            State::Failed(error) => Err(error.again()),
            State::Idle(_) | State::Busy(_) => Ok(()),
        }
    }

    /// The file and what is still to be written to it. The upload is of no use afterwards.
    async fn take(&mut self) -> Result<(Box<Sink>, Vec<Bytes>)> {
        self.settle().await?;
        let gone = self
            .root
            .error_of(ErrorKind::Permanent, "write", &self.key)
            .because("an earlier call was cancelled");
        self.gathered_bytes = 0;
        match std::mem::replace(&mut self.state, State::Failed(gone)) {
            State::Idle(sink) => Ok((sink, std::mem::take(&mut self.gathered))),
            State::Failed(error) => Err(error),
            State::Busy(_) => unreachable!("the job has just been waited for"),
        }
    }
}

#[async_trait]
impl Upload for FileUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if let State::Failed(error) = &self.state {
            return Err(error.again());
        }
        self.gathered_bytes += bytes.len();
        if !bytes.is_empty() {
            self.gathered.push(bytes);
        }
        if self.gathered_bytes >= BATCH_BYTES {
            let (mut sink, batch) = self.take().await?;
            self.state = State::Busy(tokio::task::spawn_blocking(move || {
                sink.write(&batch)?;
                Ok(sink)
            }));
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, expected: Checksums) -> Result<()> {
        let (mut sink, batch) = self.take().await?;
        blocking(&self.root, "commit", &self.key, move || {
            sink.write(&batch)?;
            sink.commit(expected)
        })
        .await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        // What failed before is gone with the file, which is all that was asked for.
        if let Ok((sink, _)) = self.take().await {
            // Freeing a large file takes a while.
            blocking(&self.root, "abort", &self.key, move || {
                drop(sink);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}
