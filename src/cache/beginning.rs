//! The beginning of a file, fetched with what opens its segment: who reads it from there waits for the store once, and not twice.
//!
//! Where a frame ends is known once the tail has come. Until then it is a guess: frames are as long as the average, and together a
//! little longer. What is missing is fetched then, and what is too much was in vain: some percent of a frame for each file. An
//! object that is hardly longer than that comes whole, its tail with it.
//!
//! Who asks for much of the first frame at once will have the next ones fetched ahead, and cannot before the tail is there: those
//! come as well, as far as one get reaches. The segment is open as soon as header and tail are there, whatever is still to come:
//! a link that is slow is not to rest until the first megabytes have passed it.

use super::fetch::{Patience, RUN_PLAIN_BYTES, RUN_STORED_BYTES};
use super::memory::{Charge, Memory};
use super::pieces::{Piece, Pieces};
use super::segment::ArchivedSegment;
use crate::model::ObjectKey;
use crate::store::{self, ErrorKind, SharedStore};
use bytes::Bytes;
use std::ops::Range;
use tokio::sync::watch;

/// Of an average frame, how much more is fetched.
const SPARE_SHARE: u64 = 8;
/// An object of which no more than this would be left comes whole: what a further get costs is more than to send so much.
const LEFT_BYTES: u64 = 64 << 10;
/// What a header and the rest of a chunk add to frames, with room to spare.
const EDGES_BYTES: u64 = 128 << 10;

/// An object's first frames on their way, or there, for as long as anybody has one of these.
#[derive(Clone)]
pub(super) struct Beginning {
    range: Range<u64>,
    came: watch::Receiver<Came>,
}

/// What came of it so far, and the memory for all of it. What is made of it is not charged here: what waits to be written to the disk
/// cache has a bound of its own, and a disk that hangs takes no memory from readers.
struct Came {
    pieces: Vec<Piece>,
    state: State,
    _charge: Charge,
}

enum State {
    Coming,
    /// There is no more, which may be less than was asked for.
    Ended,
    Failed(store::Error),
    TooSlow,
}

/// What opens a segment, and perhaps the beginning of its frames.
pub(super) struct Ends {
    pub(super) header: Bytes,
    pub(super) tail: Bytes,
    /// From the object's header on.
    pub(super) beginning: Option<Beginning>,
}

impl Beginning {
    /// Begins to fetch `range` of an object. If it is not there `soon`, what is missing does not come.
    fn fetch(
        store: SharedStore,
        key: ObjectKey,
        range: Range<u64>,
        charge: Charge,
        soon: Option<Patience>,
    ) -> Beginning {
        let (sender, came) = watch::channel(Came {
            pieces: Vec::new(),
            state: State::Coming,
            _charge: charge,
        });
        let wanted = range.clone();
        tokio::spawn(async move {
            let mut start = wanted.start;
            let mut give = |bytes: Bytes| {
                let piece = Piece { start, bytes };
                start = piece.end();
                sender.send_modify(|came| came.pieces.push(piece));
            };
            let get = store.get_in_pieces(&key, wanted, &mut give);
            let get = async {
                match soon {
                    Some(soon) => soon.wait(get).await.ok(),
                    None => Some(get.await),
                }
            };
            let ended = tokio::select! {
                ended = get => ended,
                // Nobody wants it any more.
                () = sender.closed() => return,
            };
            sender.send_modify(|came| {
                came.state = match ended {
                    Some(Ok(())) => State::Ended,
                    Some(Err(error)) => State::Failed(error),
                    None => State::TooSlow,
                }
            });
        });
        Beginning { range, came }
    }

    /// The object bytes that it is of.
    pub(super) fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// Gives the bytes of `range`, which begins in it, to `on_piece` as they come. If they do not all come, the error is from where
    /// on they are missing.
    pub(super) async fn give(
        &self,
        range: Range<u64>,
        mut on_piece: impl FnMut(Piece) + Send,
    ) -> Result<(), u64> {
        let mut coming = self.came.clone();
        let (mut at, mut seen) = (range.start, 0);
        loop {
            let is_all = {
                let came = coming.borrow_and_update();
                for piece in &came.pieces[seen..] {
                    let end = piece.end().min(range.end);
                    let part = piece.part(&(at..end)).filter(|part| !part.is_empty());
                    if let Some(bytes) = part {
                        on_piece(Piece { start: at, bytes });
                        at = end;
                    }
                }
                seen = came.pieces.len();
                !matches!(came.state, State::Coming)
            };
            if at >= range.end {
                return Ok(());
            }
            if is_all || coming.changed().await.is_err() {
                return Err(at);
            }
        }
    }

    /// All of `range`; nothing where the store ended before; `None` if it did not come soon enough.
    async fn part(&self, range: Range<u64>) -> Result<Option<Bytes>, store::Error> {
        let mut pieces = Pieces::default();
        let given = self.give(range.clone(), |piece| pieces.push(piece)).await;
        if given.is_ok() {
            let part = pieces.with(&range).part(&range).unwrap_or_default();
            // Whoever keeps it is not to hold all that came with it.
            return Ok(Some(Bytes::copy_from_slice(&part)));
        }
        match &self.came.borrow().state {
            State::Failed(error) => Err(error.again()),
            // What is shorter than it was asked for is not proven later.
            State::Ended => Ok(Some(Bytes::new())),
            State::Coming | State::TooSlow => Ok(None),
        }
    }
}

/// Fetches header and tail, and with them as many first frames as are `wanted`, or one, or none, as there is room: nobody may wait
/// for memory before a segment is open. Frames after the first count as fetched ahead until then: who comes next is to find less room,
/// or many would fetch what there is no memory to decode. And they are waited for until half of the time is over: a link that is too
/// slow for them, or a disk that tries for long to read one, may still have the first.
pub(super) async fn fetch(
    store: &SharedStore,
    segment: &ArchivedSegment,
    wanted: u32,
    memory: &Memory,
    patience: Patience,
) -> Result<Ends, store::Error> {
    let (key, layout) = (segment.key(), segment.layout());
    let charged = [wanted, wanted.min(1)].into_iter().find_map(|frames| {
        let range = range(segment, frames)?;
        let stored = range.end - range.start;
        let after = frames.min(layout.frames()).saturating_sub(1);
        let plain = u64::from(after) * u64::from(layout.recorded().frame_size);
        let soon = (after > 0).then(|| patience.half());
        let (mut charge, unread) = memory.ahead(plain, stored)?;
        Some((range, soon, charge.split(stored), (charge, unread)))
    });
    if let Some((range, soon, charge, _until_it_is_open)) = charged {
        let beginning = Beginning::fetch(store.clone(), key.clone(), range, charge, soon);
        match ends(store, segment, beginning).await {
            Ok(None) => {}
            // It may be a place that only the frames are in, or more than the first of them, such as a sector of a disk: whoever
            // reads there is told.
            Err(error) if error.kind == ErrorKind::Permanent => {}
            Ok(Some(ends)) => return Ok(ends),
            Err(error) => return Err(error),
        }
    }
    let (header, tail) = futures::try_join!(
        store.get(key, segment.header_range()),
        store.get(key, layout.tail_range())
    )?;
    Ok(Ends {
        header,
        tail,
        beginning: None,
    })
}

/// Header and tail, one or both of them out of `beginning`; `None` if that is too slow.
async fn ends(
    store: &SharedStore,
    segment: &ArchivedSegment,
    beginning: Beginning,
) -> Result<Option<Ends>, store::Error> {
    let tail_range = segment.layout().tail_range();
    let header = beginning.part(segment.header_range());
    let (header, tail) = if tail_range.end <= beginning.range.end {
        futures::try_join!(header, beginning.part(tail_range))?
    } else {
        let tail = store.get(segment.key(), tail_range);
        let (header, tail) = futures::try_join!(header, tail)?;
        (header, Some(tail))
    };
    let ends = header.zip(tail).map(|(header, tail)| Ends {
        header,
        tail,
        beginning: Some(beginning),
    });
    Ok(ends)
}

/// The object range that has the header, where it has to be fetched, and probably the first `frames`, or as many of them as one run
/// has: whole chunks where it is encrypted. `None` where there would be none.
fn range(segment: &ArchivedSegment, frames: u32) -> Option<Range<u64>> {
    if frames == 0 {
        return None;
    }
    let layout = segment.layout();
    let recorded = layout.recorded();
    let start = match segment.header_range().is_empty() {
        true => recorded.header_size,
        false => 0,
    };
    let average = recorded.tail_offset / u64::from(layout.frames().max(1));
    let spare = average / SPARE_SHARE;
    let stored = (RUN_STORED_BYTES - EDGES_BYTES).saturating_sub(spare) / average.max(1);
    let plain = RUN_PLAIN_BYTES / u64::from(recorded.frame_size);
    let frames = u64::from(frames).min(stored).min(plain).max(1);
    let guess = (average * frames + spare).min(recorded.tail_offset);
    let end = match layout.encrypted() {
        true => layout
            .chunk_at(recorded.header_size + guess)
            .map_or(recorded.size, |chunk| chunk.end),
        false => guess,
    };
    let end = match recorded.size - end <= LEFT_BYTES {
        true => recorded.size,
        false => end,
    };
    (start < end && end - start <= RUN_STORED_BYTES).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{SegmentRecord, testing};
    use crate::store::MemoryStore;
    use crate::store::fault::{Fault, FaultClock, FaultStore, InPieces, Step};
    use std::sync::Arc;
    use std::time::Duration;

    /// More than a header, and less than the first frames.
    const PIECE_BYTES: usize = 1000;

    fn patience() -> Patience {
        Patience::of(Duration::from_secs(30))
    }

    /// A segment of `size` plain bytes, and a store that has bytes under its key, which nobody can prove.
    fn stored(size: u64) -> (SegmentRecord, ArchivedSegment, MemoryStore) {
        let mut record = testing::segment(1);
        record.size = size;
        stored_as(record)
    }

    /// A segment of 20 frames of `frame_size` bytes, a tenth of them as stored, and a long tail.
    fn of_frames(frame_size: u32) -> SegmentRecord {
        let mut record = testing::segment(1);
        record.size = 20 * u64::from(frame_size);
        let object = &mut record.object;
        object.frame_size = frame_size;
        object.tail_offset = record.size / 10;
        object.size = object.tail_offset + (1 << 20);
        record
    }

    fn stored_as(record: SegmentRecord) -> (SegmentRecord, ArchivedSegment, MemoryStore) {
        let segment = ArchivedSegment::of_record(&record).expect("a segment");
        let store = MemoryStore::new();
        let object = vec![7; usize::try_from(record.object.size).expect("small")];
        store.tamper(segment.key(), object);
        (record, segment, store)
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_whose_first_frames_come_too_slowly_is_opened_without_them() {
        let (record, segment, store) = stored(5 << 20);
        let slow = FaultClock::nth(0, Fault::Delay(Duration::from_secs(40)));
        let store: SharedStore = Arc::new(FaultStore::new(Arc::new(store), slow));
        let memory = Memory::new(64 << 20);
        let patience = patience();
        let fetched = patience.wait(fetch(&store, &segment, 5, &memory, patience));
        let ends = fetched.await.expect("in time").expect("there");
        assert!(ends.beginning.is_none());
        assert_eq!(ends.header.len() as u64, record.object.header_size);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_after_the_first_count_as_fetched_ahead_until_they_are_there() {
        let (_, segment, store) = stored(5 << 20);
        let slow = FaultClock::new(|_| Fault::Delay(Duration::from_secs(1)));
        let store: SharedStore = Arc::new(FaultStore::new(Arc::new(store), slow));
        let memory = Memory::new(64 << 20);
        for (wanted, ahead) in [(5, 4 << 20), (1, 0)] {
            let fetching = fetch(&store, &segment, wanted, &memory, patience());
            tokio::pin!(fetching);
            let soon = tokio::time::timeout(Duration::from_millis(1), &mut fetching).await;
            assert!(soon.is_err(), "it takes a second");
            assert_eq!(memory.unread_bytes(), ahead);
            let ends = fetching.await.expect("there");
            assert_eq!(memory.unread_bytes(), 0);
            assert!((1..1 << 20).contains(&memory.used_bytes()));
            drop(ends);
            until_free(&memory).await;
        }
    }

    #[test]
    fn no_more_of_well_compressed_frames_come_than_a_run_has() {
        let end = |frame_size: u32| {
            let record = of_frames(frame_size);
            let segment = ArchivedSegment::of_record(&record).expect("a segment");
            range(&segment, 5).expect("some").end
        };
        let around = |frames: u64, frame_size: u32| {
            let stored = frames * u64::from(frame_size) / 10;
            stored..stored + u64::from(frame_size) / 80 + EDGES_BYTES
        };
        for (frames, frame_size) in [(5, 1 << 20), (4, 2 << 20), (1, 8 << 20)] {
            let end = end(frame_size);
            assert!(around(frames, frame_size).contains(&end), "{frames}: {end}");
        }
    }

    /// What was fetching hears that nobody wants it.
    async fn until_free(memory: &Memory) {
        while memory.used_bytes() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_waits_for_a_disk_holds_no_memory_of_readers() {
        let (record, segment, store) = stored(testing::segment(1).size);
        let store: SharedStore = Arc::new(store);
        let memory = Memory::new(1 << 20);
        let ends = fetch(&store, &segment, 1, &memory, patience()).await;
        let beginning = ends.expect("there").beginning.expect("there is room");
        let other = beginning.clone();
        let mut waiting = Vec::new();
        let given = beginning.give(0..record.object.size, |piece| waiting.push(piece));
        given.await.expect("all of it");
        drop(beginning);
        assert!(memory.used_bytes() >= record.object.size);
        drop(other);
        until_free(&memory).await;
        let waiting = waiting.iter().map(|piece| piece.bytes.len() as u64);
        assert_eq!(waiting.sum::<u64>(), record.object.size);
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_is_open_before_its_beginning_has_come_and_gives_of_it_what_has() {
        let (_, segment, inner) = stored_as(of_frames(1 << 20));
        let (in_pieces, tell) = InPieces::new(Arc::new(inner), PIECE_BYTES);
        let store: SharedStore = Arc::new(in_pieces);
        tell.send(Step::Piece).expect("heard");
        let memory = Memory::new(64 << 20);
        let ends = fetch(&store, &segment, 5, &memory, patience()).await;
        let ends = ends.expect("header and tail are there");
        assert!(!ends.header.is_empty() && !ends.tail.is_empty());
        assert_eq!(memory.unread_bytes(), 0);
        let beginning = ends.beginning.expect("there is room");
        let range = beginning.range().clone();
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let all = range.clone();
        let other = beginning.clone();
        let giving = tokio::spawn(async move {
            other
                .give(all, |piece| to.send(piece).expect("heard"))
                .await
        });
        let first = from.recv().await.expect("the first piece");
        assert_eq!((first.start, first.bytes.len()), (range.start, PIECE_BYTES));
        assert!(!giving.is_finished());
        drop(tell);
        let mut at = first.end();
        while let Some(piece) = from.recv().await {
            assert_eq!(piece.start, at);
            at = piece.end();
        }
        assert_eq!(at, range.end);
        giving.await.expect("no panic").expect("all of it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_beginning_that_stops_half_way_tells_where_after_half_of_the_time() {
        let (_, segment, inner) = stored_as(of_frames(1 << 20));
        let (in_pieces, tell) = InPieces::new(Arc::new(inner), PIECE_BYTES);
        let store: SharedStore = Arc::new(in_pieces);
        tell.send(Step::Piece).expect("heard");
        let memory = Memory::new(64 << 20);
        let patience = patience();
        let ends = fetch(&store, &segment, 5, &memory, patience).await;
        let beginning = ends.expect("open").beginning.expect("there is room");
        let range = beginning.range().clone();
        let mut came = 0;
        let given = beginning.give(range.clone(), |piece| came += piece.bytes.len() as u64);
        let given = patience.wait(given).await;
        assert_eq!(given.expect("in time"), Err(range.start + came));
        assert!(tokio::time::Instant::now() < patience.half().until);
        assert_eq!(came, PIECE_BYTES as u64);
        drop(beginning);
        until_free(&memory).await;
    }
}
