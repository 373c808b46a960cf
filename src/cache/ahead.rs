//! Fetching ahead: what forward readers will ask for next, in their file and in those after it.

use super::beginning::Beginning;
use super::fetch::{Fetcher, Flying, Origin, Patience, Run};
use super::flight::Joined;
use super::opening::{Opened, Opening};
use super::segment::ArchivedSegment;
use super::sequence::{Ahead, Beyond, START_FRAMES, Shape};
use crate::model::Seq;
use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Most plain bytes fetched ahead of one reader. Half of it is asked for at once, and comes a round trip and the time for
/// transfer and decoding later: with 16 MiB, a store 20 ms away and two cores a reader waited at each step.
const AHEAD_BYTES: u64 = 32 << 20;
/// Files that one step of a reader reaches into: many small ones must not become a fetch of the whole history.
pub(super) const FILES_AHEAD: usize = 16;
/// Steps across a file's end under way at once, for all readers.
const CROSSINGS_MAX: usize = 16;

/// The order in which segments are read one after the other, as whoever shows them knows it.
#[async_trait]
pub trait Succession: Send + Sync {
    /// The segment that comes after the one at `place`, and its place; `None` at the end, and where what follows cannot be
    /// read.
    async fn after(&self, place: Seq) -> Option<(Seq, ArchivedSegment)>;
}

/// Where a segment stands in an order.
#[derive(Clone)]
pub struct Place {
    /// What the order calls it.
    pub seq: Seq,
    /// The order.
    pub order: Arc<dyn Succession>,
}

/// What fetches ahead.
#[derive(Clone)]
pub(super) struct ReadAhead {
    pub(super) opening: Arc<Opening>,
    pub(super) fetcher: Arc<Fetcher>,
    deadline: Duration,
    crossings: Arc<Semaphore>,
}

impl ReadAhead {
    pub(super) fn new(
        opening: Arc<Opening>,
        fetcher: Arc<Fetcher>,
        deadline: Duration,
    ) -> ReadAhead {
        ReadAhead {
            opening,
            fetcher,
            deadline,
            crossings: Arc::new(Semaphore::new(CROSSINGS_MAX)),
        }
    }

    /// A reader reads `range` of `segment`: fetches what it will ask for next, as far as it is not in the `beginning`. Never waits.
    pub(super) fn follow(
        &self,
        segment: &ArchivedSegment,
        opened: &Opened,
        beginning: Option<Beginning>,
        range: Range<u64>,
        place: Option<&Place>,
    ) {
        let shape = self.shape(segment);
        let next = opened.segment.frame_of(range.end - 1).map(|last| last + 1);
        let ahead = opened.sequences().touch(range, shape);
        // A run is decoded once all of it has come: the frame that will be waited for first comes alone.
        self.fetch(segment, opened, beginning, ahead.frames, next);
        if let (Some(beyond), Some(place)) = (ahead.beyond, place)
            && let Ok(permit) = Arc::clone(&self.crossings).try_acquire_owned()
        {
            let (this, place) = (self.clone(), place.clone());
            tokio::spawn(async move {
                this.cross(place, beyond).await;
                drop(permit);
            });
        }
    }

    /// Goes on in the file after `place`, and in those after it, as far as the window reaches.
    async fn cross(&self, place: Place, mut beyond: Beyond) {
        let mut at = place.seq;
        for _ in 0..FILES_AHEAD {
            let Some((next, segment)) = place.order.after(at).await else {
                return;
            };
            let patience = Patience::of(self.deadline);
            // Whoever reads it will be told why not.
            let room = self.shape(&segment).room;
            let first = beyond.frames.min(1 + START_FRAMES).min(room);
            let opened = self.opening.open(&segment, first, patience).await;
            let Ok((opened, beginning)) = opened else {
                return;
            };
            let shape = self.shape(&segment);
            let Ahead {
                frames,
                beyond: rest,
            } = opened.sequences().approach(beyond, shape);
            self.fetch(&segment, &opened, beginning, frames, None);
            match rest {
                Some(rest) => (at, beyond) = (next, rest),
                None => return,
            }
        }
    }

    /// Fetches those of `frames` that are neither here nor coming, as far as there is memory; the frame `alone` in a run of its own.
    fn fetch(
        &self,
        segment: &ArchivedSegment,
        opened: &Opened,
        beginning: Option<Beginning>,
        frames: Range<u32>,
        alone: Option<u32>,
    ) {
        if frames.is_empty() {
            return;
        }
        let id = |frame: u32| (Arc::clone(segment.id()), frame);
        let asked = frames.end;
        let missing = frames.filter(|frame| !self.fetcher.frames.contains(&id(*frame)));
        let (first, others): (Vec<u32>, Vec<u32>) =
            missing.partition(|frame| Some(*frame) == alone);
        let origin = Origin::new(segment, opened, beginning);
        for run in origin.runs(first).into_iter().chain(origin.runs(others)) {
            let (plain, stored) = origin.cost(&run);
            let Some((mut charge, mut unread)) = self.fetcher.memory.ahead(plain, stored) else {
                return opened.sequences().give_back(asked, run.start);
            };
            let stored = charge.split(stored);
            let mut frames = Vec::with_capacity(run.len());
            for frame in run {
                // One that landed since the look is fetched again: rare, and only a frame too many.
                if let Joined::Started(_, landing) = self.fetcher.flights.join(&id(frame)) {
                    let (plain, _) = origin.cost(&(frame..frame + 1));
                    frames.push(Flying {
                        frame,
                        landing,
                        charge: charge.split(plain),
                        unread: Some(unread.split(plain)),
                    });
                }
            }
            let patience = Patience::of(self.deadline);
            self.fetcher
                .start(&origin, Run { frames, stored }, patience);
        }
    }

    /// Most plain bytes fetched ahead of one reader.
    pub(super) fn window_max_bytes(&self) -> u64 {
        AHEAD_BYTES.min(self.fetcher.memory.ahead_bytes() / 3 * 2)
    }

    /// The shape of `segment`, and what may be fetched ahead in it now.
    pub(super) fn shape(&self, segment: &ArchivedSegment) -> Shape {
        let frame_size = segment.layout().recorded().frame_size.max(1);
        let frames = |bytes: u64| {
            let frames = bytes / u64::from(frame_size);
            u32::try_from(frames).unwrap_or(u32::MAX)
        };
        let memory = &self.fetcher.memory;
        let recorded = segment.layout().recorded();
        let stored = recorded.tail_offset / u64::from(segment.layout().frames().max(1));
        let paced = self.fetcher.pace.ahead_bytes(self.deadline);
        let paced = paced.map_or(u64::MAX, |bytes| (bytes / stored.max(1)).max(1));
        Shape {
            frame_size,
            bytes: segment.readable(),
            window_max: frames(self.window_max_bytes())
                .min(u32::try_from(paced).unwrap_or(u32::MAX)),
            room: frames(memory.room_ahead()),
        }
    }
}
