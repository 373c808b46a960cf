//! A whole segment from its first byte to its last, in order, with its SHA-256 checked at the end.

use super::asks::asks;
use super::beginning::Beginning;
use super::disk::StreamDisk;
use super::edges::{Beside, Edges, Request};
use super::error::{Cause, ReadError};
use super::fetch::{Patience, runs};
use super::pieces::Pieces;
use super::reader::SegmentReader;
use super::segment::ArchivedSegment;
use super::sequence::START_FRAMES;
use super::stored::{ProvenFrames, run_from_disk};
use crate::model::ObjectKey;
use crate::model::digest::Hasher;
use crate::segment::{OpenSegment, SegmentError};
use crate::store::SharedStore;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Runs in the air at once: one is consumed while the next ones come.
const RUNS_AHEAD: usize = 3;

/// A segment being read from beginning to end. Leaves the frame cache alone: nobody reads a whole file twice through it.
///
/// A damaged segment yields what is before its first bad event, and then [`Cause::Damaged`]; of `segment.raw()` it yields all
/// bytes. In the end the SHA-256 of all bytes is compared with the record: **only a `None` from [`SegmentStream::next`] says
/// that they were right**.
pub struct SegmentStream {
    segment: ArchivedSegment,
    open: Arc<OpenSegment>,
    store: SharedStore,
    disk: Option<StreamDisk>,
    edges: Arc<Edges>,
    patience: std::time::Duration,
    /// What came of it when it was opened, until the first run takes it.
    beginning: Option<Beginning>,
    waiting: VecDeque<Range<u32>>,
    flying: VecDeque<JoinHandle<Result<VecDeque<Bytes>, Cause>>>,
    landed: VecDeque<Bytes>,
    hasher: Option<Hasher>,
    at: u64,
    done: bool,
}

impl SegmentReader {
    /// Begins to read all of `segment`.
    ///
    /// # Errors
    /// As [`SegmentReader::read`].
    pub async fn stream(&self, segment: &ArchivedSegment) -> Result<SegmentStream, ReadError> {
        let deadline = self.options().deadline;
        let frame_size = u64::from(segment.layout().recorded().frame_size);
        let frames = u32::try_from(segment.readable().div_ceil(frame_size)).unwrap_or(u32::MAX);
        let first = frames.min(1 + START_FRAMES);
        let opened = self.open(segment, first, Patience::of(deadline));
        let (opened, beginning) = opened.await?;
        let open = Arc::clone(&opened.segment);
        let waiting = runs(&open, 0..frames.min(open.frames())).into();
        Ok(SegmentStream {
            segment: segment.clone(),
            open,
            store: self.fetcher.store.clone(),
            disk: self.fetcher.disk.clone(),
            edges: Arc::clone(&self.fetcher.edges),
            patience: deadline,
            beginning,
            waiting,
            flying: VecDeque::new(),
            landed: VecDeque::new(),
            hasher: Some(Hasher::default()),
            at: 0,
            done: false,
        })
    }
}

impl SegmentStream {
    /// The next bytes; `None` when all were given and their SHA-256 is the recorded one.
    ///
    /// # Errors
    /// As [`SegmentReader::read`]. After an error, and after `None`, there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        if self.done {
            return None;
        }
        match self.advance().await {
            Ok(Some(bytes)) => Some(Ok(bytes)),
            Ok(None) => {
                self.done = true;
                None
            }
            Err(cause) => {
                self.done = true;
                Some(Err(self.segment.failed(cause)))
            }
        }
    }

    /// Offset after the last byte given.
    pub fn position(&self) -> u64 {
        self.at
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Cause> {
        while self.landed.is_empty() {
            self.launch();
            let Some(run) = self.flying.front_mut() else {
                return self.finish();
            };
            let outcome = run.await;
            self.flying.pop_front();
            let frames = outcome.map_err(|e| Cause::Internal(e.to_string().into()))??;
            self.landed = self.hash(frames).await?;
        }
        let Some(mut bytes) = self.landed.pop_front() else {
            return Err(Cause::Internal("a run without frames".into()));
        };
        let left = self.segment.readable() - self.at;
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }

    fn launch(&mut self) {
        while self.flying.len() < RUNS_AHEAD {
            let Some(run) = self.waiting.pop_front() else {
                return;
            };
            let (store, key) = (self.store.clone(), self.segment.key().clone());
            let (open, patience) = (Arc::clone(&self.open), Patience::of(self.patience));
            let (disk, edges) = (self.disk.clone(), Arc::clone(&self.edges));
            let beginning = self.beginning.take();
            self.flying.push_back(tokio::spawn(async move {
                if let Some(disk) = &disk
                    && let Some(plain) =
                        run_from_disk(disk, &key, &open, run.clone(), patience).await
                {
                    return Ok(plain);
                }
                let origin = Origin {
                    disk,
                    edges,
                    key,
                    open,
                    beginning,
                };
                origin.fetch(&store, run, patience).await
            }));
        }
    }

    /// Adds `frames` to the digest, off the async threads: a run takes longer than they may be held.
    async fn hash(&mut self, frames: VecDeque<Bytes>) -> Result<VecDeque<Bytes>, Cause> {
        let Some(mut hasher) = self.hasher.take() else {
            return Err(Cause::Internal("a digest was lost".into()));
        };
        let work = tokio::task::spawn_blocking(move || {
            for frame in &frames {
                hasher.update(frame);
            }
            (hasher, frames)
        });
        let (hasher, frames) = work
            .await
            .map_err(|died| Cause::Internal(died.to_string().into()))?;
        self.hasher = Some(hasher);
        Ok(frames)
    }

    fn finish(&mut self) -> Result<Option<Bytes>, Cause> {
        if let Some(damaged) = self.segment.damage() {
            return Err(damaged);
        }
        if self.at == self.segment.end() && self.at < self.segment.plain_size() {
            // Up to a fence each frame was proven, and the file's SHA-256 is that of more.
            return Ok(None);
        }
        let digest = self.hasher.take().map(Hasher::finish);
        if digest == Some(self.segment.sha256()) && self.at == self.segment.plain_size() {
            return Ok(None);
        }
        Err(SegmentError::Corrupt {
            what: "the SHA-256 of the whole file is not the one recorded".to_owned(),
            frame: None,
            offset: None,
        }
        .into())
    }
}

/// Where frames come from, and where they are kept.
struct Origin {
    disk: Option<StreamDisk>,
    edges: Arc<Edges>,
    key: ObjectKey,
    open: Arc<OpenSegment>,
    beginning: Option<Beginning>,
}

impl Origin {
    /// The frames of one run: from the store, and what was wrong there, again, and then from copies; for as long as each round gives
    /// at least one frame.
    async fn fetch(
        &self,
        store: &SharedStore,
        mut run: Range<u32>,
        patience: Patience,
    ) -> Result<VecDeque<Bytes>, Cause> {
        let mut frames = VecDeque::new();
        loop {
            let begun_at = run.start;
            let mut wrong = None;
            for ask in asks(store) {
                let range = self.open.object_range(run.clone());
                let beside = match wrong {
                    None => Beside::Neighbours(self.beginning.as_ref()),
                    Some(_) => Beside::Nothing,
                };
                let request = Request {
                    store: &ask.store,
                    key: &self.key,
                    layout: self.open.layout(),
                    range: range.clone(),
                    patience,
                };
                let pieces = match self.edges.fetch_whole(request, beside).await {
                    Ok(pieces) => pieces,
                    // Whoever cannot be asked changes nothing about bytes that were wrong.
                    Err(_) if wrong.is_some() => continue,
                    Err(cause) => return Err(cause),
                };
                let (proven, error) = self.decode(pieces, run.clone()).await?;
                if error.is_some() {
                    self.edges.forget(&self.key, self.open.layout(), &range);
                }
                if !proven.is_empty() {
                    ask.proven(&self.key);
                }
                run.start += u32::try_from(proven.len()).unwrap_or(u32::MAX);
                frames.extend(proven);
                match error {
                    None => return Ok(frames),
                    Some(error) if error.is_corrupt() => {
                        tracing::warn!(object = %self.key, %error, "fetching frames again");
                        wrong = Some(error.into());
                    }
                    Some(error) => return Err(error.into()),
                }
            }
            if run.start == begun_at {
                return Err(wrong.unwrap_or(Cause::Closing));
            }
        }
    }

    /// The frames at the beginning of a run that are right, and what is wrong with the next, if there is one.
    async fn decode(
        &self,
        pieces: Pieces,
        run: Range<u32>,
    ) -> Result<(Vec<Bytes>, Option<SegmentError>), Cause> {
        let (open, disk, key) = (Arc::clone(&self.open), self.disk.clone(), self.key.clone());
        let decode = move || {
            let (mut frames, mut wrong) = (Vec::new(), None);
            let mut proven = ProvenFrames::default();
            for frame in run {
                let piece = pieces.with(&open.object_range(frame..frame + 1));
                match open.decode(frame, &piece.bytes, piece.start) {
                    Ok(plain) => {
                        frames.push(plain);
                        proven.push(frame, piece);
                    }
                    Err(error) => {
                        wrong = Some(error);
                        break;
                    }
                }
            }
            if let Some(disk) = disk {
                proven.keep(&disk, &key, &open);
            }
            (frames, wrong)
        };
        tokio::task::spawn_blocking(decode)
            .await
            .map_err(|died| Cause::Internal(died.to_string().into()))
    }
}

impl Drop for SegmentStream {
    fn drop(&mut self) {
        for run in &self.flying {
            run.abort();
        }
    }
}
