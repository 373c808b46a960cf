//! Open segments: the proven tails of those read last.

use super::asks::asks;
use super::beginning::{self, Beginning, Ends};
use super::error::Cause;
use super::fetch::{JOINS_MAX, Patience};
use super::flight::{Flights, Joined, Landing};
use super::memory::Memory;
use super::refused::Refused;
use super::segment::ArchivedSegment;
use super::sequence::Sequences;
use crate::model::ObjectKey;
use crate::segment::{ContentKey, Identities, OpenSegment, SegmentError};
use crate::store::SharedStore;
use bytes::Bytes;
use lru::LruCache;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Memory for the tails of open segments: ten thousand segments of a hundred frames, or one of 100 GB and many small ones.
pub const OPEN_SEGMENTS_BYTES: usize = 32 << 20;
/// What an open segment costs beside its tail.
const OPEN_OVERHEAD_BYTES: usize = 512;
/// How long tails that are kept may take, as long as that is no more than half of what the read may: whoever keeps them is slower than
/// the store then, on a disk that does not answer or busy with a history that is taken in.
const KEPT_PATIENCE: Duration = Duration::from_secs(2);
/// Threads that may wait for them at once, and as many again that have some to be kept: those that decode must not run out because a
/// disk does not answer.
const KEPT_THREADS: usize = 32;

/// Keeps headers and tails **as stored** (encrypted ones stay so) across restarts, to save the two gets of an open.
///
/// What it gives is proven like what the store gives, and a wrong or missing entry costs a fetch. Calls may block.
pub trait TailCache: Send + Sync {
    /// Header and tail of `key`, if it has them.
    fn load(&self, key: &ObjectKey) -> Option<(Bytes, Bytes)>;
    /// Keeps them.
    fn keep(&self, key: &ObjectKey, header: &[u8], tail: &[u8]);
}

/// An open segment, and where its readers are in it.
pub struct Opened {
    /// The segment's frames.
    pub segment: Arc<OpenSegment>,
    /// How it is read.
    sequences: Mutex<Sequences>,
    /// What came with what opened it, for as long as somebody waits for it.
    beginning: Weak<Beginning>,
}

impl Opened {
    /// Where its readers are.
    pub(super) fn sequences(&self) -> MutexGuard<'_, Sequences> {
        // They are hints: after a panic elsewhere they are sound enough.
        self.sequences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of its first frames with what opened it.
    fn beginning(&self) -> Option<Beginning> {
        let beginning = self.beginning.upgrade()?;
        Some(Beginning::clone(&beginning))
    }
}

/// An open segment as it comes to those who wait for it. Its beginning is theirs, and goes with the last of them: readers that gave
/// up meanwhile must not leave it in memory.
#[derive(Clone)]
struct Landed {
    opened: Arc<Opened>,
    _beginning: Option<Arc<Beginning>>,
}

type OpenLanding = Landing<Arc<str>, Landed>;

/// Opens segments, each once.
pub(super) struct Opening {
    store: SharedStore,
    identities: Identities,
    tails: Option<Arc<dyn TailCache>>,
    memory: Memory,
    loading: Arc<Semaphore>,
    keeping: Arc<Semaphore>,
    flights: Flights<Arc<str>, Landed>,
    open: Mutex<OpenSegments>,
    refused: Refused,
}

struct OpenSegments {
    by_object: LruCache<Arc<str>, Arc<Opened>>,
    held_bytes: usize,
}

impl Opening {
    pub(super) fn new(
        store: SharedStore,
        identities: Identities,
        tails: Option<Arc<dyn TailCache>>,
        memory: Memory,
    ) -> Opening {
        Opening {
            store,
            identities,
            tails,
            memory,
            loading: Arc::new(Semaphore::new(KEPT_THREADS)),
            keeping: Arc::new(Semaphore::new(KEPT_THREADS)),
            flights: Flights::default(),
            open: Mutex::new(OpenSegments {
                by_object: LruCache::unbounded(),
                held_bytes: 0,
            }),
            refused: Refused::default(),
        }
    }

    /// The segment, opened now or before, for who will read so many `first` frames of it; perhaps with its beginning, whoever it came
    /// for, to be used or let go: nobody will want it later.
    pub(super) async fn open(
        self: &Arc<Self>,
        segment: &ArchivedSegment,
        first: u32,
        patience: Patience,
    ) -> Result<(Arc<Opened>, Option<Beginning>), Cause> {
        let with_beginning = |opened: Arc<Opened>| {
            let beginning = opened.beginning();
            (opened, beginning)
        };
        let mut joins = 0;
        loop {
            if let Some(opened) = self.recent(segment.id()) {
                return Ok(with_beginning(opened));
            }
            if let Some(cause) = self.refused.lately(segment.id()) {
                return Err(cause);
            }
            let (waiter, own) = match self.flights.join(segment.id()) {
                Joined::Waiting(waiter) => (waiter, false),
                Joined::Started(waiter, landing) => {
                    // It may have landed between the look and the join.
                    match self.recent(segment.id()) {
                        Some(opened) => landing.land(Ok(Landed {
                            opened,
                            _beginning: None,
                        })),
                        None => {
                            let (opening, segment) = (Arc::clone(self), segment.clone());
                            tokio::spawn(async move {
                                opening.fly(segment, first, landing, patience).await;
                            });
                        }
                    }
                    (waiter, true)
                }
            };
            match waiter.wait(patience.until, patience.total).await {
                Err(cause) if !own && joins < JOINS_MAX && patience.outlasts(&cause) => joins += 1,
                // What landed is held until its beginning is.
                outcome => return outcome.map(|landed| with_beginning(Arc::clone(&landed.opened))),
            }
        }
    }

    /// Whether there is any key, if one is needed.
    pub(super) fn check_key(&self, segment: &ArchivedSegment) -> Result<(), SegmentError> {
        if segment.layout().encrypted() && self.identities.public_keys().is_empty() {
            return Err(SegmentError::NoKey {
                reason: format!(
                    "the segment is encrypted and no identity was given{}",
                    match segment.recipients() {
                        [] => String::new(),
                        recipients => format!("; it is for {}", recipients.join(", ")),
                    }
                ),
            });
        }
        Ok(())
    }

    async fn fly(
        &self,
        segment: ArchivedSegment,
        first: u32,
        landing: OpenLanding,
        patience: Patience,
    ) {
        let fetched = self.fetch(&segment, first, patience);
        let outcome = match patience.wait(fetched).await {
            Ok(outcome) => outcome,
            Err(timeout) => Err(timeout),
        };
        match &outcome {
            Ok(landed) => self.remember(segment.id().clone(), Arc::clone(&landed.opened)),
            Err(cause) => self.refused.note(segment.id(), cause),
        }
        landing.land(outcome);
    }

    async fn fetch(
        &self,
        segment: &ArchivedSegment,
        first: u32,
        patience: Patience,
    ) -> Result<Landed, Cause> {
        self.check_key(segment)?;
        if let Some((header, tail)) = self.kept(segment.key(), patience).await {
            match self.prove(segment, &header, &tail, None) {
                Ok(landed) => return Ok(landed),
                // A cache fault is a miss: what the store has decides.
                Err(error) => tracing::warn!(object = %segment.key(), %error, "cached tail"),
            }
        }
        let key = segment.key();
        let mut wrong = None;
        for ask in asks(&self.store) {
            // What was wrong once may be again: then no more than is needed.
            let first = match wrong {
                None => first,
                Some(_) => 0,
            };
            let fetched = beginning::fetch(&ask.store, segment, first, &self.memory, patience);
            let Ends {
                header,
                tail,
                beginning,
            } = match fetched.await {
                Ok(fetched) => fetched,
                // Whoever cannot be asked changes nothing about bytes that were wrong.
                Err(_) if wrong.is_some() => continue,
                Err(error) => return Err(error.into()),
            };
            match self.prove(segment, &header, &tail, beginning) {
                Ok(landed) => {
                    ask.proven(key);
                    self.keep(key, header, tail);
                    return Ok(landed);
                }
                // Any error: a flipped bit makes an age header one of a newer version, or, where the record names none of our
                // keys, one for another key.
                Err(error) => {
                    if matches!(error, SegmentError::NoKey { .. }) {
                        // Nearly always just the wrong key, of which the caller is told.
                        tracing::debug!(object = %key, %error, "a header that cannot be used");
                    } else {
                        tracing::warn!(object = %key, %error, "a tail that cannot be used");
                    }
                    // What is wrong with the store's own bytes is what to tell.
                    if !ask.is_copy() || wrong.is_none() {
                        wrong = Some(error);
                    }
                }
            }
        }
        Err(wrong.map_or(Cause::Closing, Cause::from))
    }

    fn prove(
        &self,
        segment: &ArchivedSegment,
        header: &Bytes,
        tail: &Bytes,
        beginning: Option<Beginning>,
    ) -> Result<Landed, SegmentError> {
        let layout = *segment.layout();
        let unwrap = |header: &[u8]| {
            ContentKey::unwrap_recorded(header, &self.identities, segment.recipients())
        };
        let open = match segment.carried_header() {
            Some(carried) => {
                let key = unwrap(carried).map_err(rekeyed)?;
                OpenSegment::open_carried(layout, Some(key), carried, tail)?
            }
            None => {
                let key = match layout.encrypted() {
                    true => Some(unwrap(header)?),
                    false => None,
                };
                OpenSegment::open(layout, key, header, tail)?
            }
        };
        let beginning = beginning.map(Arc::new);
        let opened = Opened {
            segment: Arc::new(open),
            sequences: Mutex::default(),
            beginning: beginning.as_ref().map(Arc::downgrade).unwrap_or_default(),
        };
        Ok(Landed {
            opened: Arc::new(opened),
            _beginning: beginning,
        })
    }

    /// What is kept of an object, if that is told soon. If not, it is a miss.
    async fn kept(&self, key: &ObjectKey, patience: Patience) -> Option<(Bytes, Bytes)> {
        let (tails, key) = (self.tails.clone()?, key.clone());
        let loading = Arc::clone(&self.loading);
        let load = async move {
            let permit = loading.acquire_owned().await.ok()?;
            // The permit goes with the thread: one that hangs in a disk keeps it.
            let load = move || {
                let kept = tails.load(&key);
                drop(permit);
                kept
            };
            tokio::task::spawn_blocking(load).await.ok().flatten()
        };
        let soon = KEPT_PATIENCE.min(patience.total / 2);
        tokio::time::timeout(soon, load).await.ok().flatten()
    }

    /// Has them kept, unless so many are waiting to be.
    fn keep(&self, key: &ObjectKey, header: Bytes, tail: Bytes) {
        let permit = Arc::clone(&self.keeping).try_acquire_owned();
        if let (Some(tails), Ok(permit)) = (self.tails.clone(), permit) {
            let key = key.clone();
            tokio::task::spawn_blocking(move || {
                tails.keep(&key, &header, &tail);
                drop(permit);
            });
        }
    }

    /// Bytes of the tails that are remembered.
    pub(super) fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    fn recent(&self, id: &Arc<str>) -> Option<Arc<Opened>> {
        self.lock().by_object.get(id).cloned()
    }

    fn remember(&self, id: Arc<str>, opened: Arc<Opened>) {
        let cost = |opened: &Opened| opened.segment.memory_bytes() + OPEN_OVERHEAD_BYTES;
        let mut open = self.lock();
        open.held_bytes += cost(&opened);
        if let Some(old) = open.by_object.put(id, opened) {
            open.held_bytes -= cost(&old);
        }
        // The one just opened stays, whatever its size: somebody waits for it.
        while open.held_bytes > OPEN_SEGMENTS_BYTES && open.by_object.len() > 1 {
            let Some((_, old)) = open.by_object.pop_lru() else {
                break;
            };
            open.held_bytes -= cost(&old);
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenSegments> {
        // Every change under the lock is complete or not begun: a panic elsewhere leaves it sound.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same error, for who has a key that once was right.
fn rekeyed(error: SegmentError) -> SegmentError {
    match error {
        SegmentError::NoKey { reason } => SegmentError::NoKey {
            reason: format!("the segment was re-keyed: {reason}"),
        },
        other => other,
    }
}
