//! Runs: neighbouring frames fetched by one ranged get, decoded and handed to whoever waits for them.

use super::arriving::Arriving;
use super::asks::asks;
use super::beginning::Beginning;
use super::disk::StreamDisk;
use super::edges::{Beside, Edges, Request};
use super::error::Cause;
use super::flight::{Flights, Landing};
use super::frames::{FrameId, Frames};
use super::memory::{Charge, Memory, Unread};
use super::opening::Opened;
use super::pace::Pace;
use super::segment::ArchivedSegment;
use crate::model::ObjectKey;
use crate::segment::OpenSegment;
use crate::store::SharedStore;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most stored bytes that one get asks for: large enough that its latency is small beside its transfer, small enough that its
/// first frame is not kept waiting for its last, and that a window is several gets at once.
pub const RUN_STORED_BYTES: u64 = 2 << 20;
/// Most plain bytes that one run decodes to: well compressed frames must not fill the memory by their number, and runs are
/// decoded side by side.
pub const RUN_PLAIN_BYTES: u64 = 8 << 20;
/// Flights of others that a reader joins and sees fail, before it fails too: when a store is down, many wait for one place, and
/// not each of them must have tried for itself.
pub(super) const JOINS_MAX: usize = 2;

/// A frame that somebody waits for.
pub type FrameLanding = Landing<FrameId, Bytes>;

/// What fetches: the store, what it fills, and the bounds it keeps.
pub(super) struct Fetcher {
    pub(super) store: SharedStore,
    pub(super) disk: Option<StreamDisk>,
    pub(super) frames: Frames,
    pub(super) flights: Flights<FrameId, Bytes>,
    pub(super) edges: Arc<Edges>,
    pub(super) pace: Pace,
    pub(super) memory: Memory,
    pub(super) decoding: Arc<Semaphore>,
}

/// A segment to fetch from.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) key: ObjectKey,
    pub(super) segment: Arc<OpenSegment>,
    /// What came of its first frames when it was opened.
    pub(super) beginning: Option<Beginning>,
}

/// A frame that is to be fetched, with the memory for its plain bytes.
pub(super) struct Flying {
    pub(super) frame: u32,
    pub(super) landing: FrameLanding,
    pub(super) charge: Charge,
    /// Set if nobody has asked for it.
    pub(super) unread: Option<Unread>,
}

/// Neighbouring frames that are fetched together, with the memory for their stored bytes.
pub(super) struct Run {
    pub(super) frames: Vec<Flying>,
    pub(super) stored: Charge,
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

    /// Half of the time that is left.
    pub(super) fn half(self) -> Patience {
        let now = Instant::now();
        let left = self.until.saturating_duration_since(now);
        Patience {
            until: now + left / 2,
            total: self.total,
        }
    }

    /// Whether another try is due after a flight that somebody else had started ended with `cause`: it began before this
    /// reader came, and had been waiting for a store that may answer now.
    pub(super) fn outlasts(self, cause: &Cause) -> bool {
        cause.is_passing() && Instant::now() < self.until
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

impl Origin {
    pub(super) fn new(
        segment: &ArchivedSegment,
        opened: &Opened,
        beginning: Option<Beginning>,
    ) -> Origin {
        Origin {
            key: segment.key().clone(),
            segment: Arc::clone(&opened.segment),
            beginning,
        }
    }

    /// [`runs`] of `frames` (ascending), none of which is partly in the beginning: what comes with that waits for nothing else.
    pub(super) fn runs(&self, frames: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
        let segment = &self.segment;
        let Some(begun) = self.beginning.as_ref().map(Beginning::range) else {
            return runs(segment, frames);
        };
        let is_here = |frame: &u32| {
            let range = segment.object_range(*frame..*frame + 1);
            begun.start <= range.start && range.end <= begun.end
        };
        let (here, others): (Vec<u32>, Vec<u32>) = frames.into_iter().partition(is_here);
        [runs(segment, here), runs(segment, others)].concat()
    }

    /// Plain and stored bytes of a run.
    pub(super) fn cost(&self, run: &Range<u32>) -> (u64, u64) {
        let segment = &self.segment;
        (plain_bytes(segment, run), stored_bytes(segment, run))
    }
}

impl Fetcher {
    pub(super) fn new(
        store: SharedStore,
        disk: Option<StreamDisk>,
        memory: Memory,
        decode_threads: usize,
    ) -> Fetcher {
        Fetcher {
            store,
            disk,
            frames: Frames::new(usize::try_from(memory.kept_bytes()).unwrap_or(usize::MAX)),
            flights: Flights::default(),
            edges: Arc::new(Edges::new(memory.total_bytes())),
            pace: Pace::default(),
            memory,
            decoding: Arc::new(Semaphore::new(decode_threads)),
        }
    }

    /// Fetches frames that a reader waits for (ascending), as soon as there is memory for all of them. In a task of its own: a
    /// reader that gives up does not take the fetch away from the others.
    pub(super) fn demand(
        self: &Arc<Self>,
        origin: &Origin,
        landings: Vec<(u32, FrameLanding)>,
        patience: Patience,
    ) {
        let (fetcher, mut origin) = (Arc::clone(self), origin.clone());
        tokio::spawn(async move {
            let runs = origin.runs(landings.iter().map(|(frame, _)| *frame));
            let needed = runs.iter().fold(0, |sum: u64, run| {
                let (plain, stored) = origin.cost(run);
                sum.saturating_add(plain).saturating_add(stored)
            });
            // All at once: who holds a part and waits for the rest would keep others from theirs.
            let charged = match fetcher.memory.demand_now(needed) {
                Some(charge) => Ok(charge),
                None => {
                    // So would who waits with a file's beginning in hand: it is fetched again.
                    origin.beginning = None;
                    let charged = patience.wait(fetcher.memory.demand(needed)).await;
                    charged.and_then(|charged| charged)
                }
            };
            let mut charge = match charged {
                Ok(charge) => charge,
                Err(cause) => {
                    for (_, landing) in landings {
                        landing.land(Err(cause.clone()));
                    }
                    return;
                }
            };
            let mut landings = landings.into_iter();
            for run in runs {
                // What is larger than the budget gets all of it, and its last parts nothing more.
                let stored = charge.split(origin.cost(&run).1);
                let frames = landings.by_ref().take(run.len());
                let frames = frames.map(|(frame, landing)| Flying {
                    frame,
                    landing,
                    charge: charge.split(origin.cost(&(frame..frame + 1)).0),
                    unread: None,
                });
                let frames = frames.collect();
                fetcher.start(&origin, Run { frames, stored }, patience);
            }
        });
    }

    /// Fetches a run: what of it the disk has from there, the rest by one get for each stretch of neighbours.
    pub(super) fn start(self: &Arc<Self>, origin: &Origin, run: Run, patience: Patience) {
        let (fetcher, origin) = (Arc::clone(self), origin.clone());
        tokio::spawn(async move {
            let stored = Arc::new(run.stored);
            let others = fetcher.land_from_disk(&origin, run.frames, patience).await;
            let stretches = runs(&origin.segment, others.iter().map(|flying| flying.frame));
            let mut others = others.into_iter();
            for stretch in stretches {
                let own = others.by_ref().take(stretch.len()).collect();
                let (fetcher, origin) = (Arc::clone(&fetcher), origin.clone());
                let stored = Arc::clone(&stored);
                tokio::spawn(async move {
                    fetcher.fetch_stretch(origin, own, patience).await;
                    drop(stored);
                });
            }
        });
    }

    /// Neighbouring frames, with further tries for those whose bytes were wrong: again, and then from copies.
    async fn fetch_stretch(
        self: Arc<Self>,
        origin: Origin,
        mut flying: Vec<Flying>,
        patience: Patience,
    ) {
        let asks = asks(&self.store);
        let mut wrong: Option<Cause> = None;
        for (n, ask) in asks.iter().enumerate() {
            let Some(span) = span(&flying) else {
                return;
            };
            let beside = match n {
                0 => Beside::Neighbours(origin.beginning.as_ref()),
                _ => Beside::Nothing,
            };
            let request = Request {
                store: &ask.store,
                key: &origin.key,
                layout: origin.segment.layout(),
                range: origin.segment.object_range(span),
                patience,
            };
            let range = request.range.clone();
            let asked_for = flying.len();
            let mut arriving = Arriving::new(&self, &origin, flying);
            let fetched = arriving.fetch(request, beside).await;
            let (missing, failed) = arriving.end(fetched.is_ok()).await;
            if missing.len() + failed.len() < asked_for {
                ask.proven(&origin.key);
            }
            if !failed.is_empty() {
                self.edges
                    .forget(&origin.key, origin.segment.layout(), &range);
            }
            flying = Vec::new();
            match fetched {
                Err(cause) if wrong.is_none() => fail_all(missing, &cause),
                // Whoever cannot be asked changes nothing about bytes that were wrong.
                Ok(()) | Err(_) => flying.extend(missing),
            }
            for (again, error) in failed {
                if error.is_corrupt() {
                    if n + 1 < asks.len() {
                        let (object, frame) = (&origin.key, again.frame);
                        tracing::warn!(%object, frame, %error, "fetching a frame again");
                    }
                    wrong = Some(error.into());
                    flying.push(again);
                } else {
                    again.landing.land(Err(error.into()));
                }
            }
            flying.sort_by_key(|flying| flying.frame);
        }
        if let Some(cause) = wrong {
            fail_all(flying, &cause);
        }
    }

    /// Hands a frame to those who wait for it, and keeps it.
    pub(super) fn land(&self, flying: Flying, plain: Bytes) {
        let plain = flying.charge.keep_with(plain);
        // Into the cache first: between the two a newcomer must find it in one of them.
        let id = flying.landing.key().clone();
        self.frames.keep(id, plain.clone(), flying.unread);
        flying.landing.land(Ok(plain));
    }
}

/// Tells all that wait for `flying` why they wait in vain.
fn fail_all(flying: impl IntoIterator<Item = Flying>, cause: &Cause) {
    for flying in flying {
        flying.landing.land(Err(cause.clone()));
    }
}

/// The frames from the first of `flying` to the last.
fn span(flying: &[Flying]) -> Option<Range<u32>> {
    let (first, last) = (flying.first()?, flying.last()?);
    Some(first.frame..last.frame + 1)
}
