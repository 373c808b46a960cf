//! Runs: neighbouring frames fetched by one ranged get, decoded and handed to whoever waits for them.

use super::disk::StreamDisk;
use super::error::Cause;
use super::flight::{Flights, Landing};
use super::frames::{FrameId, Frames};
use crate::model::ObjectKey;
use crate::segment::{OpenSegment, SegmentError};
use crate::store::SharedStore;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Most stored bytes that one get asks for: large enough that its latency is small beside its transfer, small enough that a
/// waiter for its last frame is not kept long.
pub const RUN_STORED_BYTES: u64 = 8 << 20;
/// Most plain bytes that one run decodes to: well compressed frames must not fill the memory by their number.
pub const RUN_PLAIN_BYTES: u64 = 16 << 20;
/// Bytes of all runs in the air, stored and plain together: two of the largest, or a dozen usual ones.
pub const IN_FLIGHT_BYTES: u64 = 48 << 20;
/// Gets per frame whose bytes are wrong: a reply damaged on its way is not a damaged object.
pub(super) const ATTEMPTS: usize = 2;
/// What a permit of the in-flight budget stands for: semaphores count in 32 bits.
const PERMIT_BYTES: u64 = 1 << 10;

/// A frame that somebody waits for.
pub type FrameLanding = Landing<FrameId, Bytes>;

/// What fetches: the store, what it fills, and the bounds it keeps.
pub(super) struct Fetcher {
    pub(super) store: SharedStore,
    pub(super) disk: Option<StreamDisk>,
    pub(super) frames: Frames,
    pub(super) flights: Flights<FrameId, Bytes>,
    in_flight: Arc<Semaphore>,
    pub(super) decoding: Arc<Semaphore>,
}

/// How long a fetch may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Until when.
    pub(super) until: Instant,
    /// How long that was from the start.
    pub(super) total: Duration,
}

impl Patience {
    /// From now on.
    pub(super) fn of(total: Duration) -> Patience {
        Patience {
            until: Instant::now() + total,
            total,
        }
    }

    /// `work`, unless it takes too long.
    pub(super) async fn wait<T>(self, work: impl Future<Output = T>) -> Result<T, Cause> {
        tokio::time::timeout_at(self.until, work)
            .await
            .map_err(|_| Cause::Timeout(self.total))
    }
}

/// Groups `frames` (ascending) into runs of neighbours, none beyond the bounds of one get. A frame that is beyond them alone
/// is a run of its own.
pub fn runs(segment: &OpenSegment, frames: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for frame in frames {
        if let Some(run) = runs.last_mut().filter(|run| run.end == frame) {
            let longer = run.start..frame + 1;
            if stored_bytes(segment, &longer) <= RUN_STORED_BYTES
                && plain_bytes(segment, &longer) <= RUN_PLAIN_BYTES
            {
                *run = longer;
                continue;
            }
        }
        runs.push(frame..frame + 1);
    }
    runs
}

fn stored_bytes(segment: &OpenSegment, run: &Range<u32>) -> u64 {
    let range = segment.object_range(run.clone());
    range.end - range.start
}

fn plain_bytes(segment: &OpenSegment, run: &Range<u32>) -> u64 {
    let last = run.end.saturating_sub(1);
    segment.plain_range(last).end - segment.plain_range(run.start).start
}

impl Fetcher {
    pub(super) fn new(
        store: SharedStore,
        disk: Option<StreamDisk>,
        frame_bytes: usize,
        decode_threads: usize,
    ) -> Fetcher {
        let permits = (IN_FLIGHT_BYTES / PERMIT_BYTES) as usize;
        Fetcher {
            store,
            disk,
            frames: Frames::new(frame_bytes),
            flights: Flights::default(),
            in_flight: Arc::new(Semaphore::new(permits)),
            decoding: Arc::new(Semaphore::new(decode_threads)),
        }
    }

    /// Whether half of the in-flight budget is free: only then is anything fetched ahead, so that it never delays a reader
    /// that waits.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.in_flight.available_permits() as u64 * PERMIT_BYTES >= IN_FLIGHT_BYTES / 2
    }

    /// Fetches the frames of `landings` (ascending), in as few gets as the bounds allow, in tasks of their own: a reader that
    /// gives up does not take the fetch away from the others.
    pub(super) fn start(
        self: &Arc<Self>,
        key: &ObjectKey,
        segment: &Arc<OpenSegment>,
        landings: Vec<(u32, FrameLanding)>,
        patience: Patience,
    ) {
        for own in in_runs(segment, landings) {
            let (fetcher, key, segment) = (Arc::clone(self), key.clone(), Arc::clone(segment));
            tokio::spawn(async move {
                let others = fetcher.land_from_disk(&key, &segment, own, patience).await;
                for own in in_runs(&segment, others) {
                    let run =
                        Arc::clone(&fetcher).run(key.clone(), Arc::clone(&segment), own, patience);
                    tokio::spawn(run);
                }
            });
        }
    }

    /// One run, with a second try for frames whose bytes were wrong.
    async fn run(
        self: Arc<Self>,
        key: ObjectKey,
        segment: Arc<OpenSegment>,
        mut landings: Vec<(u32, FrameLanding)>,
        patience: Patience,
    ) {
        for attempt in 1..=ATTEMPTS {
            let Some(run) = span(&landings) else {
                return;
            };
            let fetched = self.fetch(&key, &segment, run, patience).await;
            let (bytes, start, permits) = match fetched {
                Ok(fetched) => fetched,
                Err(cause) => {
                    for (_, landing) in landings {
                        landing.land(Err(cause.clone()));
                    }
                    return;
                }
            };
            let (fetcher, opened) = (Arc::clone(&self), Arc::clone(&segment));
            let object = key.clone();
            let decoded = tokio::task::spawn_blocking(move || {
                let failed = fetcher.decode_all(&object, &opened, landings, &bytes, start);
                drop(permits);
                failed
            });
            // A panic in there dropped the landings, which told those that wait.
            let Ok(failed) = decoded.await else {
                return;
            };
            landings = Vec::new();
            for (frame, landing, error) in failed {
                if attempt < ATTEMPTS && error.is_corrupt() {
                    tracing::warn!(object = %key, frame, %error, "fetching a frame again");
                    landings.push((frame, landing));
                } else {
                    landing.land(Err(error.into()));
                }
            }
        }
    }

    /// The bytes of a run, the object offset they begin at, and the permits that bound what is done with them.
    async fn fetch(
        &self,
        key: &ObjectKey,
        segment: &OpenSegment,
        run: Range<u32>,
        patience: Patience,
    ) -> Result<(Bytes, u64, [OwnedSemaphorePermit; 2]), Cause> {
        let range = segment.object_range(run.clone());
        let start = range.start;
        let need = stored_bytes(segment, &run) + plain_bytes(segment, &run);
        let permits = need.min(IN_FLIGHT_BYTES).div_ceil(PERMIT_BYTES);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        let work = async {
            let memory = Arc::clone(&self.in_flight)
                .acquire_many_owned(permits)
                .await;
            let bytes = self.store.get(key, range).await?;
            let thread = Arc::clone(&self.decoding).acquire_owned().await;
            match (memory, thread) {
                (Ok(memory), Ok(thread)) => Ok((bytes, start, [memory, thread])),
                _ => Err(Cause::Closing),
            }
        };
        patience.wait(work).await?
    }

    /// Decodes and lands each frame, and has the disk keep it as it came; returns those whose bytes were wrong.
    fn decode_all(
        &self,
        key: &ObjectKey,
        segment: &OpenSegment,
        landings: Vec<(u32, FrameLanding)>,
        bytes: &Bytes,
        start: u64,
    ) -> Vec<(u32, FrameLanding, SegmentError)> {
        let mut failed = Vec::new();
        let mut proven = Vec::new();
        for (frame, landing) in landings {
            match segment.decode(frame, bytes, start) {
                Ok(plain) => {
                    // Into the cache first: between the two a newcomer must find it in one of them.
                    self.frames.insert(landing.key().clone(), plain.clone());
                    landing.land(Ok(plain));
                    proven.push(frame);
                }
                Err(error) => failed.push((frame, landing, error)),
            }
        }
        if let Some(disk) = &self.disk {
            disk.keep(key, segment, &proven, bytes, start);
        }
        failed
    }
}

/// `landings` (ascending) by the runs that their frames make.
fn in_runs(
    segment: &OpenSegment,
    landings: Vec<(u32, FrameLanding)>,
) -> impl Iterator<Item = Vec<(u32, FrameLanding)>> + use<> {
    let runs = runs(segment, landings.iter().map(|(frame, _)| *frame));
    let mut landings = landings.into_iter();
    runs.into_iter().map(move |run| {
        let count = (run.end - run.start) as usize;
        landings.by_ref().take(count).collect()
    })
}

/// The frames from the first of `landings` to the last.
fn span(landings: &[(u32, FrameLanding)]) -> Option<Range<u32>> {
    let (first, last) = (landings.first()?, landings.last()?);
    Some(first.0..last.0 + 1)
}
