//! Chunks at the edges of gets: neighbouring ranges of an encrypted object share one, and fetch it once.
//!
//! A frame ends inside an age chunk of 64 KiB, in which the next frame begins, and whole chunks are what can be decrypted: of gets
//! of 2 MB each would fetch a 30th twice. So the first of two neighbours that comes fetches the chunk between them and lends it to
//! the other. Who borrows fetches what lies beside the chunk meanwhile, and waits for a get that began before one of its own would
//! have. If that fails, or ends by its own deadline, who borrowed asks for the chunk itself, until its deadline. Who owns a chunk lends it
//! as soon as its get is answered, whatever it waits for itself: so nobody waits in a circle.
//!
//! What is lent is **as stored**, and not proven by the lender: the borrower proves its frames as ever, and fetches all of its
//! range by itself if that fails.

use super::error::Cause;
use super::fetch::Patience;
use super::flight::{Flights, Joined, Landing, Waiter};
use super::pieces::{Piece, Pieces};
use crate::model::ObjectKey;
use crate::segment::{CHUNK_BYTES, CheckedLayout};
use crate::store::SharedStore;
use bytes::Bytes;
use lru::LruCache;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    Owned(Landing<EdgeId, Bytes>),
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

/// What else may give a part of a range.
#[derive(Clone, Copy)]
pub(super) enum Beside<'a> {
    /// Nothing may.
    Nothing,
    /// Those who fetch what lies beside it, and what came of the object when it was opened.
    Neighbours(Option<&'a Piece>),
}

/// A range to fetch, as far as no neighbour does.
struct Share {
    key: ObjectKey,
    first: (Range<u64>, Edge),
    /// `None` where the range is one chunk.
    last: Option<(Range<u64>, Edge)>,
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

    /// `range` of the object `key`, whole chunks where it is encrypted: all of it from `store` if it is wanted alone, else without
    /// what is there already, and without the chunks that a neighbour fetches.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn fetch(
        &self,
        store: &SharedStore,
        key: &ObjectKey,
        layout: &CheckedLayout,
        range: Range<u64>,
        beside: Beside<'_>,
        patience: Patience,
    ) -> Result<Pieces, Cause> {
        let mut pieces = Pieces::default();
        let beginning = match beside {
            Beside::Nothing => {
                pieces.push(range.start, store.get(key, range).await?);
                return Ok(pieces);
            }
            Beside::Neighbours(beginning) => beginning,
        };
        let mut left = range;
        let there = beginning.and_then(|piece| {
            let end = piece.end().min(left.end);
            piece.part(&(left.start..end))
        });
        if let Some(there) = there {
            let start = left.start;
            left.start += there.len() as u64;
            // A copy, as in `land`: one frame of it may wait for the disk cache, counted as what that is.
            pieces.push(start, Bytes::copy_from_slice(&there));
            if left.is_empty() {
                self.lend_last(key, layout, &pieces, left.end);
                return Ok(pieces);
            }
        }
        match self.share(key, layout, &left) {
            Some(share) => share.fetch(self, store, patience, &mut pieces).await?,
            None => pieces.push(left.start, store.get(key, left).await?),
        }
        Ok(pieces)
    }

    /// Lends the last chunk before `end`, of pieces for which nothing had to be fetched, unless somebody does.
    fn lend_last(&self, key: &ObjectKey, layout: &CheckedLayout, pieces: &Pieces, end: u64) {
        if let Some(chunk) = end.checked_sub(1).and_then(|at| layout.chunk_at(at)) {
            let edge = self.edge((key.clone(), chunk.start));
            let piece = pieces.with(&chunk);
            self.lend((chunk, edge), &piece);
        }
    }

    /// What of `range` is left to fetch; `None` where no chunks are shared.
    fn share(&self, key: &ObjectKey, layout: &CheckedLayout, range: &Range<u64>) -> Option<Share> {
        let first = layout.chunk_at(range.start)?;
        let last = layout.chunk_at(range.end.checked_sub(1)?)?;
        let edge = |chunk: Range<u64>| {
            let edge = self.edge((key.clone(), chunk.start));
            (chunk, edge)
        };
        let is_one = last.start == first.start;
        Some(Share {
            key: key.clone(),
            first: edge(first),
            last: (!is_one).then(|| edge(last)),
        })
    }

    fn edge(&self, id: EdgeId) -> Edge {
        let landing = match self.flights.join(&id) {
            Joined::Waiting(waiter) => return Edge::Borrowed(Borrowed::Coming(waiter)),
            Joined::Started(_, landing) => landing,
        };
        // Looked for after that: whoever lands one holds it before, so that it is in one of the two places.
        let held = self.held().get(&id).cloned();
        match held {
            None => Edge::Owned(landing),
            Some(chunk) => {
                landing.land(Ok(chunk.clone()));
                Edge::Borrowed(Borrowed::Here(chunk))
            }
        }
    }

    /// Lends `chunk` out of `piece` if it is owned; returns it if it is borrowed.
    fn lend(
        &self,
        (chunk, edge): (Range<u64>, Edge),
        piece: &Piece,
    ) -> Option<(Range<u64>, Borrowed)> {
        match edge {
            Edge::Borrowed(borrowed) => Some((chunk, borrowed)),
            Edge::Owned(landing) => {
                // A landing that is dropped tells its borrowers to fetch for themselves.
                if let Some(chunk) = piece.part(&chunk) {
                    self.land(landing, &chunk);
                }
                None
            }
        }
    }

    /// Hands `chunk` to whoever waits for it, and holds it for those that come later.
    fn land(&self, landing: Landing<EdgeId, Bytes>, chunk: &[u8]) {
        // A copy: a part of what was fetched would hold all of it.
        let chunk = Bytes::copy_from_slice(chunk);
        self.hold(landing.key().clone(), chunk.clone());
        landing.land(Ok(chunk));
    }

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

impl Share {
    /// All of the range, added to `pieces`: what is left of it from the store, and its edges from its neighbours.
    ///
    /// # Errors
    /// Those of the store.
    async fn fetch(
        self,
        edges: &Edges,
        store: &SharedStore,
        patience: Patience,
        pieces: &mut Pieces,
    ) -> Result<(), Cause> {
        let own = self.own();
        let Share { key, first, last } = self;
        let bytes = match own.is_empty() {
            true => Bytes::new(),
            false => store.get(&key, own.clone()).await?,
        };
        let own = Piece {
            start: own.start,
            bytes,
        };
        // Both are lent before anything is waited for.
        let first = edges.lend(first, &own);
        let last = last.and_then(|last| edges.lend(last, &own));
        for (borrowed, after) in [(first, Some(own)), (last, None)] {
            if let Some((chunk, borrowed)) = borrowed {
                let start = chunk.start;
                let bytes = arrived(chunk, borrowed, &key, store, patience).await?;
                pieces.push(start, bytes);
            }
            if let Some(own) = after {
                pieces.push(own.start, own.bytes);
            }
        }
        Ok(())
    }

    /// What no neighbour fetches.
    fn own(&self) -> Range<u64> {
        let is_owned = |edge: &Edge| matches!(edge, Edge::Owned(_));
        let (chunk, edge) = &self.first;
        let start = match is_owned(edge) {
            true => chunk.start,
            false => chunk.end,
        };
        let end = match &self.last {
            None => chunk.end,
            Some((chunk, edge)) if is_owned(edge) => chunk.end,
            Some((chunk, _)) => chunk.start,
        };
        start..end
    }
}

/// A borrowed chunk when it is there; from the store if whoever owned it did not get it.
async fn arrived(
    chunk: Range<u64>,
    borrowed: Borrowed,
    key: &ObjectKey,
    store: &SharedStore,
    patience: Patience,
) -> Result<Bytes, Cause> {
    match borrowed {
        Borrowed::Here(bytes) => Ok(bytes),
        Borrowed::Coming(waiter) => match waiter.wait(patience.until, patience.total).await {
            Ok(bytes) => Ok(bytes),
            Err(_) => Ok(store.get(key, chunk).await?),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::segment::ArchivedSegment;
    use super::*;
    use crate::ledger::testing;
    use crate::store::MemoryStore;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn what_is_taken_out_of_a_files_beginning_does_not_hold_all_of_it() {
        let record = testing::segment(1);
        let segment = ArchivedSegment::of_record(&record).expect("a segment");
        let memory = Memory::new(1 << 20);
        let charge = memory.demand_now(4000).expect("free");
        let beginning = Piece {
            start: 0,
            bytes: charge.keep_with(vec![7; 4000].into()),
        };
        let store: SharedStore = Arc::new(MemoryStore::new());
        let range = record.object.header_size..record.object.size;
        let edges = Edges::new(1 << 20);
        let fetched = edges.fetch(
            &store,
            segment.key(),
            segment.layout(),
            range.clone(),
            Beside::Neighbours(Some(&beginning)),
            Patience::of(Duration::from_secs(10)),
        );
        let pieces = fetched.await.expect("nothing has to be fetched");
        assert!(memory.used_bytes() > 0);
        drop(beginning);
        assert_eq!(memory.used_bytes(), 0);
        let length = range.end - range.start;
        assert_eq!(pieces.with(&range).bytes, vec![7; length as usize]);
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
