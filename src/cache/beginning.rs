//! The beginning of a file, fetched with what opens its segment: who reads it from there waits for the store once, and not twice.
//!
//! Where a frame ends is known once the tail has come. Until then it is a guess: frames are as long as the average, and together a
//! little longer. What is missing is fetched then, and what is too much was in vain: some percent of a frame for each file. An
//! object that is hardly longer than that comes whole, its tail with it.
//!
//! Who asks for much of the first frame at once will have the next ones fetched ahead, and cannot before the tail is there: those
//! come as well, as far as one get reaches.

use super::fetch::{Patience, RUN_PLAIN_BYTES, RUN_STORED_BYTES};
use super::memory::{Charge, Memory};
use super::pieces::Piece;
use super::segment::ArchivedSegment;
use crate::store::{self, ErrorKind, SharedStore};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Of an average frame, how much more is fetched.
const SPARE_SHARE: u64 = 8;
/// An object of which no more than this would be left comes whole: what a further get costs is more than to send so much.
const LEFT_BYTES: u64 = 64 << 10;
/// What a header and the rest of a chunk add to frames, with room to spare.
const EDGES_BYTES: u64 = 128 << 10;

/// What came of an object's first frames, and the memory for it until all that fetch from there have let it go. What is made of it is
/// not charged beyond that: what waits to be written to the disk cache has a bound of its own, and a disk that hangs takes no
/// memory from readers.
#[derive(Clone)]
pub(super) struct Beginning {
    piece: Piece,
    _charge: Arc<Charge>,
}

impl Beginning {
    pub(super) fn piece(&self) -> &Piece {
        &self.piece
    }
}

/// What opens a segment, and perhaps the beginning of its frames.
pub(super) struct Ends {
    pub(super) header: Bytes,
    pub(super) tail: Bytes,
    /// From the object's header on.
    pub(super) beginning: Option<Beginning>,
}

/// Fetches header and tail, and with them as many first frames as are `wanted`, or one, or none, as there is room: nobody may wait
/// for memory before a segment is open. Frames after the first count as fetched ahead meanwhile: who comes next is to find less room,
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
    if let Some((range, soon, charge, _until_it_is_there)) = charged {
        let fetching = fetch_with(store, segment, range, charge);
        let fetched = match soon {
            Some(soon) => soon.wait(fetching).await.ok(),
            None => Some(fetching.await),
        };
        match fetched {
            None => {}
            // It may be a place that only the frames are in, or more than the first of them, such as a sector of a disk: whoever
            // reads there is told.
            Some(Err(error)) if error.kind == ErrorKind::Permanent => {}
            Some(outcome) => return outcome,
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

/// The same with `range` as the beginning.
async fn fetch_with(
    store: &SharedStore,
    segment: &ArchivedSegment,
    range: Range<u64>,
    charge: Charge,
) -> Result<Ends, store::Error> {
    let (key, layout) = (segment.key(), segment.layout());
    let beginning = store.get(key, range.clone());
    let (beginning, tail) = if layout.tail_range().end <= range.end {
        (beginning.await?, None)
    } else {
        let tail = store.get(key, layout.tail_range());
        let (beginning, tail) = futures::try_join!(beginning, tail)?;
        (beginning, Some(tail))
    };
    let piece = Piece {
        start: range.start,
        bytes: beginning,
    };
    // What is shorter than it was asked for is not proven later.
    let part = |range| {
        let part = piece.part(&range).unwrap_or_default();
        // Whoever keeps it is not to hold all that came with it.
        Bytes::copy_from_slice(&part)
    };
    Ok(Ends {
        header: part(segment.header_range()),
        tail: tail.unwrap_or_else(|| part(layout.tail_range())),
        // One that is cut off ends inside a chunk: what is missing could not be added to it.
        beginning: (piece.end() == range.end).then(|| Beginning {
            piece,
            _charge: Arc::new(charge),
        }),
    })
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
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use std::time::Duration;

    fn patience() -> Patience {
        Patience::of(Duration::from_secs(30))
    }

    /// A segment of `size` plain bytes, and a store that has bytes under its key, which nobody can prove.
    fn stored(size: u64) -> (SegmentRecord, ArchivedSegment, MemoryStore) {
        let mut record = testing::segment(1);
        record.size = size;
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
            assert_eq!(memory.used_bytes(), 0);
        }
    }

    #[test]
    fn no_more_of_well_compressed_frames_come_than_a_run_has() {
        let end = |frame_size: u32| {
            let mut record = testing::segment(1);
            record.size = 20 * u64::from(frame_size);
            let object = &mut record.object;
            object.frame_size = frame_size;
            object.tail_offset = record.size / 10;
            object.size = object.tail_offset + (1 << 20);
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

    #[tokio::test]
    async fn what_waits_for_a_disk_holds_no_memory_of_readers() {
        let (record, segment, store) = stored(testing::segment(1).size);
        let store: SharedStore = Arc::new(store);
        let memory = Memory::new(1 << 20);
        let ends = fetch(&store, &segment, 1, &memory, patience()).await;
        let ends = ends.expect("there");
        let beginning = ends.beginning.expect("there is room");
        let waiting = beginning.piece().bytes.clone();
        let other = beginning.clone();
        drop(beginning);
        assert!(memory.used_bytes() >= record.object.size);
        drop(other);
        assert_eq!(memory.used_bytes(), 0);
        assert_eq!(waiting.len() as u64, record.object.size);
    }
}
