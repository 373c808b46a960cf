//! Reads ranges of archived segments.

use super::ahead::{Place, ReadAhead};
use super::beginning::Beginning;
use super::disk::StreamDisk;
use super::error::{Cause, ReadError};
use super::failed::Failed;
use super::fetch::{Fetcher, FrameLanding, JOINS_MAX, Origin, Patience};
use super::flight::{Joined, Waiter};
use super::memory::Memory;
use super::opening::{Opened, Opening, TailCache};
use super::segment::ArchivedSegment;
use super::sequence;
use crate::segment::Identities;
use crate::store::SharedStore;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Frames that one step of a long read holds: a read of any length needs the memory of this many beside its result.
const STEP_FRAMES: u32 = 16;

/// What a reader may use.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// Bytes of memory for all that is read: decoded frames that are kept (half of it), and what is on its way.
    pub memory_bytes: usize,
    /// How long one read may take.
    pub deadline: Duration,
    /// Threads that decode.
    pub decode_threads: usize,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions {
            memory_bytes: 128 << 20,
            deadline: Duration::from_secs(30),
            decode_threads: std::thread::available_parallelism().map_or(2, |n| n.get().min(8)),
        }
    }
}

/// Reads ranges of archived segments: proven bytes or an error, from memory where it can.
///
/// Must be used inside a tokio runtime: fetches run in tasks of their own.
pub struct SegmentReader {
    pub(super) opening: Arc<Opening>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) ahead: ReadAhead,
    failed: Failed,
    options: CacheOptions,
}

/// A frame on its way.
enum Coming {
    Here(Bytes),
    /// Whether this reader started its flight, and how to wait for it.
    Waiting(bool, Waiter<Bytes>),
}

impl SegmentReader {
    /// A reader of the segments in `store`.
    pub fn new(
        store: SharedStore,
        identities: Identities,
        tails: Option<Arc<dyn TailCache>>,
        options: CacheOptions,
    ) -> SegmentReader {
        SegmentReader::with_disk(store, identities, tails, None, options)
    }

    /// A reader of the segments in `store` that looks for their frames on `disk` first, and keeps there what it fetches.
    pub fn with_disk(
        store: SharedStore,
        identities: Identities,
        tails: Option<Arc<dyn TailCache>>,
        disk: Option<StreamDisk>,
        options: CacheOptions,
    ) -> SegmentReader {
        let memory = Memory::new(options.memory_bytes as u64);
        let opening = Opening::new(store.clone(), identities, tails, memory.clone());
        let opening = Arc::new(opening);
        let threads = options.decode_threads.max(1);
        let fetcher = Fetcher::new(store, disk, memory, threads);
        let fetcher = Arc::new(fetcher);
        let ahead = ReadAhead::new(Arc::clone(&opening), Arc::clone(&fetcher), options.deadline);
        SegmentReader {
            opening,
            fetcher,
            ahead,
            failed: Failed::default(),
            options,
        }
    }

    /// The bytes of `segment` from `offset` on: `len` of them, or as many as there are before the end of what can be read.
    /// Empty at and after the file's end.
    ///
    /// # Errors
    /// [`Cause::Damaged`] at and after the first bad event of a damaged segment; see [`Cause`] for the others.
    pub async fn read(
        &self,
        segment: &ArchivedSegment,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, ReadError> {
        self.read_at(segment, None, offset, len).await
    }

    /// [`SegmentReader::read`] of a segment that stands at `place` in an order: a reader that comes near its end has the
    /// segments after it fetched ahead.
    ///
    /// # Errors
    /// As [`SegmentReader::read`].
    pub async fn read_at(
        &self,
        segment: &ArchivedSegment,
        place: Option<&Place>,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, ReadError> {
        let end = offset.saturating_add(len).min(segment.readable());
        if offset >= end {
            return match segment.damage() {
                Some(damaged) if len > 0 && offset < segment.end() => Err(segment.failed(damaged)),
                _ => Ok(Bytes::new()),
            };
        }
        if let Some(cause) = self.failed.lately(segment.id(), offset)
            && !self.is_here(segment, offset..end)
        {
            return Err(segment.failed(cause));
        }
        let (begun, patience) = (Instant::now(), Patience::of(self.options.deadline));
        let outcome = self.read_range(segment, place, offset..end, patience).await;
        outcome.map_err(|cause| {
            self.failed.note(segment.id(), offset..end, &cause, begun);
            segment.failed(cause)
        })
    }

    /// Opens `segment` and no more: tells whether its object is there, is the one recorded, and can be decrypted.
    ///
    /// # Errors
    /// See [`Cause`].
    pub async fn probe(&self, segment: &ArchivedSegment) -> Result<(), ReadError> {
        let patience = Patience::of(self.options.deadline);
        self.open(segment, 0, patience).await.map(|_| ())
    }

    /// Whether `segment` can be hoped to be decrypted: without any key it cannot, and that costs no fetch to know.
    ///
    /// # Errors
    /// [`Cause::NoKey`].
    pub fn check_key(&self, segment: &ArchivedSegment) -> Result<(), ReadError> {
        self.opening
            .check_key(segment)
            .map_err(|error| segment.failed(error.into()))
    }

    pub(super) async fn open(
        &self,
        segment: &ArchivedSegment,
        first: u32,
        patience: Patience,
    ) -> Result<(Arc<Opened>, Option<Beginning>), ReadError> {
        self.opening
            .open(segment, first, patience)
            .await
            .map_err(|cause| segment.failed(cause))
    }

    /// What a read of this reader may take.
    pub fn options(&self) -> &CacheOptions {
        &self.options
    }

    /// Bytes of decoded frames held.
    pub fn held_bytes(&self) -> usize {
        self.fetcher.frames.held_bytes()
    }

    /// Bytes of memory in use: frames held, and what is on its way. At most [`CacheOptions::memory_bytes`].
    pub fn used_bytes(&self) -> u64 {
        self.fetcher.memory.used_bytes()
    }

    /// Whether nothing of `range`, which is not empty, has to be fetched: of a read that failed some frames may have come.
    fn is_here(&self, segment: &ArchivedSegment, range: Range<u64>) -> bool {
        let frame_size = u64::from(segment.layout().recorded().frame_size.max(1));
        let mut frames = range.start / frame_size..=(range.end - 1) / frame_size;
        frames.all(|frame| {
            u32::try_from(frame).is_ok_and(|frame| {
                let id = (Arc::clone(segment.id()), frame);
                self.fetcher.frames.contains(&id)
            })
        })
    }

    async fn read_range(
        &self,
        segment: &ArchivedSegment,
        place: Option<&Place>,
        range: Range<u64>,
        patience: Patience,
    ) -> Result<Bytes, Cause> {
        let frame_size = u64::from(segment.layout().recorded().frame_size);
        let first = sequence::first_frames(&range, &self.ahead.shape(segment));
        let opened = self.opening.open(segment, first, patience);
        let (opened, beginning) = opened.await?;
        // Who reads elsewhere does not hold it.
        let mut beginning = beginning.filter(|beginning| {
            let frame = opened.segment.frame_of(range.start);
            frame.is_some_and(|frame| {
                opened.segment.object_range(frame..frame + 1).start < beginning.range().end
            })
        });
        let step = frame_size * u64::from(STEP_FRAMES);
        if range.end - range.start <= frame_size {
            // The usual case: inside one frame or across one border.
            let step = self.step(segment, place, &opened, beginning, range, patience);
            return step.await;
        }
        let mut whole = BytesMut::new();
        let mut at = range.start;
        while at < range.end {
            let to = ((at / step + 1) * step).min(range.end);
            let step = self.step(segment, place, &opened, beginning.take(), at..to, patience);
            let part = step.await?;
            whole.extend_from_slice(&part);
            at = to;
        }
        Ok(whole.freeze())
    }

    /// A part of a read that spans at most [`STEP_FRAMES`] frames.
    async fn step(
        &self,
        segment: &ArchivedSegment,
        place: Option<&Place>,
        opened: &Arc<Opened>,
        beginning: Option<Beginning>,
        range: Range<u64>,
        patience: Patience,
    ) -> Result<Bytes, Cause> {
        let open = &opened.segment;
        let (Some(first), Some(last)) = (open.frame_of(range.start), open.frame_of(range.end - 1))
        else {
            return Err(Cause::Internal("a range outside of its file".into()));
        };
        let ahead = beginning.clone();
        let coming = self.gather(segment, opened, beginning, first..last + 1, patience);
        self.ahead
            .follow(segment, opened, ahead, range.clone(), place);
        // In whatever order they come.
        let mut arriving = FuturesUnordered::new();
        for (frame, coming) in (first..).zip(coming) {
            arriving.push(self.arrived(segment, opened, frame, coming, patience));
        }
        let mut whole = BytesMut::new();
        while let Some(arrived) = arriving.next().await {
            let (frame, bytes) = arrived?;
            let plain = open.plain_range(frame);
            let wanted = range.start.max(plain.start)..range.end.min(plain.end);
            if bytes.len() as u64 != plain.end - plain.start {
                return Err(Cause::Internal("a frame of another length".into()));
            }
            let within =
                |start: u64| (wanted.start - start) as usize..(wanted.end - start) as usize;
            let part = bytes.slice(within(plain.start));
            let id = (segment.id().clone(), frame);
            self.fetcher.frames.was_read(&id, part.len());
            if first == last {
                return Ok(part);
            }
            // A copy, and the frame is let go: who held one while it waits for memory for another could wait for somebody who
            // does the same.
            if whole.is_empty() {
                whole = BytesMut::zeroed((range.end - range.start) as usize);
            }
            whole[within(range.start)].copy_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// A frame, with its number, when it is there.
    async fn arrived(
        &self,
        segment: &ArchivedSegment,
        opened: &Arc<Opened>,
        frame: u32,
        mut coming: Coming,
        patience: Patience,
    ) -> Result<(u32, Bytes), Cause> {
        let mut joins = 0;
        loop {
            let (own, waiter) = match coming {
                Coming::Here(bytes) => return Ok((frame, bytes)),
                Coming::Waiting(own, waiter) => (own, waiter),
            };
            match waiter.wait(patience.until, patience.total).await {
                Ok(bytes) => {
                    if !own {
                        // It may have been fetched ahead, and has been read now.
                        self.fetcher.frames.get(&(segment.id().clone(), frame));
                    }
                    return Ok((frame, bytes));
                }
                Err(cause) if !own && joins < JOINS_MAX && patience.outlasts(&cause) => {
                    joins += 1;
                    let again = self.gather(segment, opened, None, frame..frame + 1, patience);
                    coming = again.into_iter().next().ok_or(cause)?;
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Looks up `frames`, and starts the flights of those that are neither here nor coming.
    fn gather(
        &self,
        segment: &ArchivedSegment,
        opened: &Opened,
        beginning: Option<Beginning>,
        frames: Range<u32>,
        patience: Patience,
    ) -> Vec<Coming> {
        let mut coming = Vec::with_capacity(frames.len());
        let mut landings: Vec<(u32, FrameLanding)> = Vec::new();
        for frame in frames {
            let id = (segment.id().clone(), frame);
            if let Some(bytes) = self.fetcher.frames.get(&id) {
                coming.push(Coming::Here(bytes));
                continue;
            }
            let (own, waiter) = match self.fetcher.flights.join(&id) {
                Joined::Waiting(waiter) => (false, waiter),
                Joined::Started(waiter, landing) => {
                    // It may have landed between the look and the join.
                    match self.fetcher.frames.get(&id) {
                        Some(bytes) => landing.land(Ok(bytes)),
                        None => landings.push((frame, landing)),
                    }
                    (true, waiter)
                }
            };
            coming.push(Coming::Waiting(own, waiter));
        }
        if !landings.is_empty() {
            let origin = Origin::new(segment, opened, beginning);
            self.fetcher.demand(&origin, landings, patience);
        }
        coming
    }
}
