//! Chunks at the edges of gets: neighbouring ranges of an encrypted object share one, and fetch it once.
//!
//! A frame ends inside an age chunk of 64 KiB, in which the next frame begins, and whole chunks are what can be decrypted: of gets
//! of 2 MB each would fetch a 30th twice. So the first of two neighbours that comes fetches the chunk between them and lends it to
//! the other. Who borrows fetches what lies beside the chunk meanwhile, and waits for a get that began before one of its own would
//! have. If that fails, or ends by its own deadline, who borrowed asks for the chunk itself, until its deadline. Who owns a chunk lends it
//! as soon as it has come, whatever it waits for itself: so nobody waits in a circle.
//!
//! What is lent is **as stored**, and not proven by the lender: the borrower proves its frames as ever, and fetches all of its
//! range by itself if that fails.

use super::beginning::Beginning;
use super::error::Cause;
use super::fetch::Patience;
use super::flight::{Flights, Joined, Landing, Waiter};
use super::pieces::{Piece, Pieces};
use crate::model::ObjectKey;
use crate::segment::{CHUNK_BYTES, CheckedLayout};
use crate::store::SharedStore;
use bytes::Bytes;
use futures::future::try_join_all;
use lru::LruCache;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Chunks that are held for a neighbour that comes later: 2 MiB at most, for as many readers side by side.
const HELD_MAX: usize = 32;
/// They take no more than this part of what the memory for frames is, beside it: a reader that keeps nothing holds none.
const HELD_SHARE: u64 = 2;

/// A chunk: its object, and where it begins there.
type EdgeId = (ObjectKey, u64);

/// The chunks at the edges of what is fetched, or was lately.
pub(super) struct Edges {
    flights: Flights<EdgeId, Bytes>,
    held: Mutex<LruCache<EdgeId, Bytes>>,
    /// How many are held.
    most: usize,
}

/// One edge of a range.
enum Edge {
    /// This range fetches it, and lends it.
    Owned(Lender),
    /// A neighbour does.
    Borrowed(Borrowed),
}

/// A chunk of a neighbour.
enum Borrowed {
    /// It was fetched a moment ago.
    Here(Bytes),
    /// It is under way.
    Coming(Waiter<Bytes>),
}

/// What to fetch.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) store: &'a SharedStore,
    pub(super) key: &'a ObjectKey,
    pub(super) layout: &'a CheckedLayout,
    /// Whole chunks where the object is encrypted.
    pub(super) range: Range<u64>,
    pub(super) patience: Patience,
}

/// What else may give a part of a range.
#[derive(Clone, Copy)]
pub(super) enum Beside<'a> {
    /// Nothing may.
    Nothing,
    /// Those who fetch what lies beside it, and what comes of the object since it was opened.
    Neighbours(Option<&'a Beginning>),
}

/// Where pieces go as they come, in whatever order.
pub(super) type PieceSender = UnboundedSender<Piece>;

/// A chunk that is lent once it has come.
struct Lender {
    chunk: Range<u64>,
    came: Vec<u8>,
    /// Dropped without having landed, it tells its borrowers to fetch for themselves.
    landing: Option<Landing<EdgeId, Bytes>>,
}

impl Edges {
    /// For a reader that has so much memory for frames, in bytes.
    pub(super) fn new(memory_bytes: u64) -> Edges {
        let most = memory_bytes / HELD_SHARE / CHUNK_BYTES;
        Edges {
            flights: Flights::default(),
            held: Mutex::new(LruCache::unbounded()),
            most: usize::try_from(most).map_or(HELD_MAX, |most| most.min(HELD_MAX)),
        }
    }

    /// What is requested, in one piece or several, for who reads all of a file: however long that takes, as long as a chunk's bytes
    /// come in the time that a read may take. Behind a slow link several gets at once take longer than that.
    ///
    /// # Errors
    /// As [`Edges::fetch`], and [`Cause::Timeout`].
    pub(super) async fn fetch_whole(
        &self,
        request: Request<'_>,
        beside: Beside<'_>,
    ) -> Result<Pieces, Cause> {
        let patience = request.patience.total;
        let (to, mut from) = unbounded_channel();
        let mut pieces = Pieces::default();
        // It ends what is received when it ends.
        let fetching = async move { self.fetch(request, beside, &to).await };
        let gathering = async {
            loop {
                let enough = async {
                    let mut came = 0;
                    while came < CHUNK_BYTES {
                        let Some(piece) = from.recv().await else {
                            return false;
                        };
                        came += piece.bytes.len() as u64;
                        pieces.push(piece);
                    }
                    true
                };
                match tokio::time::timeout(patience, enough).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(_) => return Err(Cause::Timeout(patience)),
                }
            }
        };
        futures::try_join!(fetching, gathering)?;
        Ok(pieces)
    }

    /// Sends what is requested as it comes: all of it from the store if it is wanted alone, else without what comes in any case, and
    /// without the chunks that a neighbour fetches.
    ///
    /// # Errors
    /// Those of the store. What was sent before is as right as the store's answers are.
    pub(super) async fn fetch(
        &self,
        request: Request<'_>,
        beside: Beside<'_>,
        to: &PieceSender,
    ) -> Result<(), Cause> {
        let beginning = match beside {
            Beside::Nothing => return self.get(&request, to, Vec::new()).await,
            Beside::Neighbours(beginning) => beginning,
        };
        let range = request.range.clone();
        let begun = beginning.filter(|begun| begun.range().contains(&range.start));
        let until = begun.map_or(range.start, |begun| begun.range().end.min(range.end));
        let of = |range: Range<u64>| Request {
            range,
            ..request.clone()
        };
        if until == range.end {
            // Whoever comes next begins with the last chunk of it.
            let last = last_chunk(&request).map(|chunk| self.edge(&request, chunk));
            let lenders = last.and_then(|edge| edge.lender()).into_iter().collect();
            return self.take(&request, begun, to, lenders).await;
        }
        let (before, after) = (of(range.start..until), of(until..range.end));
        futures::try_join!(
            self.take(&before, begun, to, Vec::new()),
            self.share(&after, to)
        )?;
        Ok(())
    }

    /// What of a file's beginning is requested: as it comes there, or from the store if it does not.
    async fn take(
        &self,
        request: &Request<'_>,
        beginning: Option<&Beginning>,
        to: &PieceSender,
        mut lenders: Vec<Lender>,
    ) -> Result<(), Cause> {
        let Some(beginning) = beginning else {
            return Ok(());
        };
        let given = beginning.give(request.range.clone(), |piece| {
            self.lend(&mut lenders, &piece);
            // Nobody may want it any more.
            let _ = to.send(piece);
        });
        let Err(at) = given.await else {
            return Ok(());
        };
        let rest = Request {
            range: at..request.range.end,
            ..request.clone()
        };
        self.get(&rest, to, lenders).await
    }

    /// What is requested, from the store.
    async fn get(
        &self,
        request: &Request<'_>,
        to: &PieceSender,
        mut lenders: Vec<Lender>,
    ) -> Result<(), Cause> {
        let mut start = request.range.start;
        let mut give = |bytes: Bytes| {
            let piece = Piece { start, bytes };
            start = piece.end();
            self.lend(&mut lenders, &piece);
            let _ = to.send(piece);
        };
        let range = request.range.clone();
        let get = request.store.get_in_pieces(request.key, range, &mut give);
        Ok(get.await?)
    }

    /// What is requested: its edges from its neighbours, where they fetch them, and the rest from the store.
    async fn share(&self, request: &Request<'_>, to: &PieceSender) -> Result<(), Cause> {
        let range = &request.range;
        let first = request.layout.chunk_at(range.start);
        let (Some(first), Some(last)) = (first, last_chunk(request)) else {
            // No chunks are shared.
            return self.get(request, to, Vec::new()).await;
        };
        let (mut own, mut lenders, mut borrowed) = (range.clone(), Vec::new(), Vec::new());
        for chunk in [Some(first.clone()), (last != first).then_some(last)] {
            let Some(chunk) = chunk else { continue };
            match self.edge(request, chunk.clone()) {
                Edge::Owned(lender) => lenders.push(lender),
                Edge::Borrowed(coming) => {
                    match chunk == first {
                        true => own.start = chunk.end,
                        false => own.end = chunk.start,
                    }
                    borrowed.push((chunk, coming));
                }
            }
        }
        let own = Request {
            range: own,
            ..request.clone()
        };
        let get = async {
            match own.range.is_empty() {
                true => Ok(()),
                false => self.get(&own, to, lenders).await,
            }
        };
        let borrow = borrowed.into_iter().map(|(chunk, coming)| async move {
            let start = chunk.start;
            let bytes = arrived(request, chunk, coming).await?;
            let _ = to.send(Piece { start, bytes });
            Ok::<_, Cause>(())
        });
        futures::try_join!(get, try_join_all(borrow))?;
        Ok(())
    }

    fn edge(&self, request: &Request<'_>, chunk: Range<u64>) -> Edge {
        let id = (request.key.clone(), chunk.start);
        let landing = match self.flights.join(&id) {
            Joined::Waiting(waiter) => return Edge::Borrowed(Borrowed::Coming(waiter)),
            Joined::Started(_, landing) => landing,
        };
        // Looked for after that: whoever lands one holds it before, so that it is in one of the two places.
        let held = self.held().get(&id).cloned();
        match held {
            None => Edge::Owned(Lender {
                came: Vec::new(),
                chunk,
                landing: Some(landing),
            }),
            Some(bytes) => {
                landing.land(Ok(bytes.clone()));
                Edge::Borrowed(Borrowed::Here(bytes))
            }
        }
    }

    /// Adds `piece` to the chunks that are to be lent, and lends those that are whole.
    fn lend(&self, lenders: &mut Vec<Lender>, piece: &Piece) {
        lenders.retain_mut(|lender| {
            let at = lender.chunk.start + lender.came.len() as u64;
            if let Some(part) = piece.part(&(at..piece.end().min(lender.chunk.end))) {
                // A copy: a part of what was fetched could hold all of it.
                lender.came.extend_from_slice(&part);
            }
            if lender.is_short() {
                return true;
            }
            if let Some(landing) = lender.landing.take() {
                let chunk = Bytes::from(std::mem::take(&mut lender.came));
                self.hold(landing.key().clone(), chunk.clone());
                landing.land(Ok(chunk));
            }
            false
        });
    }

    /// Holds a chunk for those that come later.
    fn hold(&self, id: EdgeId, chunk: Bytes) {
        let mut held = self.held();
        held.put(id, chunk);
        while held.len() > self.most {
            held.pop_lru();
        }
    }

    /// Forgets the chunks in `range`, also those where a file's beginning ends: frames that were made of them were wrong.
    pub(super) fn forget(&self, key: &ObjectKey, layout: &CheckedLayout, range: &Range<u64>) {
        let mut at = range.start;
        while let Some(chunk) = layout.chunk_at(at).filter(|_| at < range.end) {
            self.held().pop(&(key.clone(), chunk.start));
            at = chunk.end;
        }
    }

    fn held(&self) -> MutexGuard<'_, LruCache<EdgeId, Bytes>> {
        // Every change is one call: sound after a panic elsewhere.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Edge {
    fn lender(self) -> Option<Lender> {
        match self {
            Edge::Owned(lender) => Some(lender),
            Edge::Borrowed(_) => None,
        }
    }
}

impl Lender {
    /// Whether some of its chunk is still to come.
    fn is_short(&self) -> bool {
        (self.came.len() as u64) < self.chunk.end - self.chunk.start
    }
}

/// The last chunk of what is requested; `None` where there are no chunks.
fn last_chunk(request: &Request<'_>) -> Option<Range<u64>> {
    let last = request.range.end.checked_sub(1)?;
    request.layout.chunk_at(last)
}

/// A borrowed chunk when it is there; from the store if whoever owned it did not get it.
async fn arrived(
    request: &Request<'_>,
    chunk: Range<u64>,
    borrowed: Borrowed,
) -> Result<Bytes, Cause> {
    let patience = request.patience;
    match borrowed {
        Borrowed::Here(bytes) => Ok(bytes),
        Borrowed::Coming(waiter) => match waiter.wait(patience.until, patience.total).await {
            Ok(bytes) => Ok(bytes),
            Err(_) => Ok(request.store.get(request.key, chunk).await?),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::ArchivedSegment;
    use super::*;
    use crate::ledger::testing;
    use crate::store::MemoryStore;
    use crate::store::fault::{InPieces, Step};
    use futures::FutureExt as _;
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_chunk_is_lent_as_soon_as_it_has_come_and_not_when_its_get_ends() {
        const STORED: u64 = CHUNK_BYTES + 16;
        let mut record = testing::segment(1);
        record.object.size += 4 * STORED;
        let segment = ArchivedSegment::of_record(&record).expect("a segment");
        let (key, layout) = (segment.key(), segment.layout());
        let memory = MemoryStore::new();
        let object: Vec<u8> = (0..record.object.size).map(|at| (at / 7) as u8).collect();
        memory.tamper(key, object.clone());
        let (in_pieces, tell) = InPieces::new(Arc::new(memory), STORED as usize);
        let store: SharedStore = Arc::new(in_pieces);
        let edges = Edges::new(1 << 30);
        let start = record.object.header_size;
        let request = |chunks: Range<u64>| Request {
            store: &store,
            key,
            layout,
            range: start + chunks.start * STORED..start + chunks.end * STORED,
            patience: Patience::of(Duration::from_secs(10)),
        };
        let (to, _from) = unbounded_channel();
        // The one with the chunk between them as its first begins.
        let mut later = pin!(edges.fetch(request(1..3), Beside::Neighbours(None), &to));
        assert!(later.as_mut().now_or_never().is_none());
        let mut earlier = pin!(edges.fetch_whole(request(0..2), Beside::Neighbours(None)));
        assert!(earlier.as_mut().now_or_never().is_none());
        for _ in 0..2 {
            tell.send(Step::Piece).expect("heard");
        }
        assert!(later.as_mut().now_or_never().is_none(), "its last one");
        let pieces = earlier.await.expect("both of its chunks are there");
        let range = request(0..2).range;
        let (from, to) = (range.start as usize, range.end as usize);
        assert_eq!(pieces.with(&range).bytes, object[from..to]);
    }

    #[test]
    fn of_frames_that_were_wrong_no_chunk_is_held() {
        let mut record = testing::segment(1);
        record.object.size += 10 * (CHUNK_BYTES + 16);
        let segment = ArchivedSegment::of_record(&record).expect("a segment");
        let (key, layout) = (segment.key(), segment.layout());
        let edges = Edges::new(1 << 30);
        let mut ids = Vec::new();
        let mut at = record.object.header_size;
        while let Some(chunk) = layout.chunk_at(at) {
            ids.push((key.clone(), chunk.start));
            at = chunk.end;
        }
        for id in &ids {
            edges.hold(id.clone(), Bytes::from_static(b"a chunk"));
        }
        edges.forget(key, layout, &(ids[2].1..ids[6].1));
        for (n, id) in ids.iter().enumerate() {
            let is_held = edges.held().contains(id);
            assert_eq!(is_held, !(2..6).contains(&n), "{n}");
        }
    }

    #[test]
    fn no_more_is_held_than_half_of_the_memory_for_frames_and_nothing_without_any() {
        let key: ObjectKey = "segments/binlog.000001".parse().expect("a key");
        for (memory_bytes, most) in [(0, 0), (100 << 10, 0), (256 << 10, 2), (1 << 30, HELD_MAX)] {
            let edges = Edges::new(memory_bytes);
            for start in 0..100 {
                edges.hold((key.clone(), start), Bytes::from_static(b"a chunk"));
            }
            assert_eq!(edges.held().len(), most, "{memory_bytes}");
            // The newest of them.
            assert_eq!(edges.held().contains(&(key.clone(), 99)), most > 0);
        }
    }
}
