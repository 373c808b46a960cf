//! Frames that are there before the get that they come with is over.

use super::beginning::noise;
use super::recorded;
use crate::fixture::{Archive, FRAME, Segment, content, readable};
use binlogfs::cache::{ArchivedSegment, CacheOptions, Cause, SegmentReader};
use binlogfs::store::RecordingStore;
use binlogfs::store::fault::{InPieces, Step};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

const PIECE_BYTES: usize = 100;
/// The last four frames of the file, none of which comes with what opens it.
const WANTED: Range<u64> = 2 * FRAME as u64..6 * FRAME as u64;

struct Scene {
    bytes: Vec<u8>,
    segment: ArchivedSegment,
    recording: RecordingStore,
    reader: Arc<SegmentReader>,
    tell: UnboundedSender<Step>,
    /// Pieces of which the first of the wanted frames is.
    pieces: usize,
}

/// A reader of an open file, whose frames come in pieces.
async fn scene(deadline: Duration) -> Scene {
    let archive = Archive::new(false);
    let bytes = content(9, WANTED.end as usize);
    let segment = readable(&archive.add(&Segment::new(1, bytes.clone())).await);
    let (recording, other) = recorded(&archive);
    other.read(&segment, WANTED.start, 1).await.expect("reads");
    let frame = recording.calls_of("get").pop().expect("a get of it");
    let (in_pieces, tell) = InPieces::new(archive.shared(), PIECE_BYTES);
    let recording = RecordingStore::new(Arc::new(in_pieces));
    let options = CacheOptions {
        deadline,
        ..CacheOptions::default()
    };
    let store = Arc::new(recording.clone());
    let reader = SegmentReader::new(store, archive.identities(), None, options);
    reader.probe(&segment).await.expect("opens");
    Scene {
        bytes,
        segment,
        recording,
        reader: Arc::new(reader),
        tell,
        pieces: frame.bytes.div_ceil(PIECE_BYTES as u64) as usize,
    }
}

impl Scene {
    fn let_through(&self, pieces: usize) {
        for _ in 0..pieces {
            self.tell.send(Step::Piece).expect("heard");
        }
    }

    fn plain(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}

#[tokio::test]
async fn a_frame_is_given_when_its_own_bytes_have_come() {
    let scene = scene(Duration::from_secs(60)).await;
    let (reader, segment) = (Arc::clone(&scene.reader), scene.segment.clone());
    let all = tokio::spawn(async move {
        let len = WANTED.end - WANTED.start;
        reader.read(&segment, WANTED.start, len).await
    });
    // It starts the flights of all of them.
    tokio::task::yield_now().await;
    scene.let_through(scene.pieces);
    let first = scene.reader.read(&scene.segment, WANTED.start, 100).await;
    let range = WANTED.start..WANTED.start + 100;
    assert_eq!(first.expect("it is there"), scene.plain(range));
    assert!(!all.is_finished(), "the others are still to come");
    scene.let_through(3 * scene.pieces + 4);
    let all = all.await.expect("no panic").expect("reads");
    assert_eq!(all, scene.plain(WANTED));
    let gets = scene.recording.calls_of("get");
    assert_eq!(
        gets.iter().filter(|get| get.bytes > 1000).count(),
        1,
        "{gets:?}"
    );
}

/// A mebibyte in some seconds, whoever asks for it, and reads that may take half a minute.
#[tokio::test(start_paused = true)]
async fn on_a_slow_link_what_is_fetched_ahead_does_not_keep_what_is_waited_for() {
    const LARGE: usize = 1 << 20;
    let archive = Archive::new(false);
    let bytes = noise(3, 24 * LARGE);
    let segment = Segment {
        frame_size: LARGE as u32,
        ..Segment::new(1, bytes.clone())
    };
    let segment = readable(&archive.add(&segment).await);
    let (in_pieces, tell) = InPieces::new(archive.shared(), LARGE / 64);
    tokio::spawn(async move {
        while tell.send(Step::Piece).is_ok() {
            tokio::time::sleep(Duration::from_secs(3) / 64).await;
        }
    });
    let options = CacheOptions::default();
    let reader = SegmentReader::new(Arc::new(in_pieces), archive.identities(), None, options);
    let begun = tokio::time::Instant::now();
    for (n, expected) in bytes.chunks(LARGE / 4).enumerate() {
        let offset = (n * expected.len()) as u64;
        let got = reader.read(&segment, offset, expected.len() as u64).await;
        let got =
            got.unwrap_or_else(|error| panic!("{offset} after {:?}: {error}", begun.elapsed()));
        assert!(got == expected, "{offset}");
    }
    // The link was never at rest for long, nor was anything fetched twice.
    assert!(
        begun.elapsed() < Duration::from_secs(3 * 24 * 5 / 4),
        "{:?}",
        begun.elapsed()
    );
}

/// All of a file is read by several gets at once, each of which takes longer than a read may.
#[tokio::test(start_paused = true)]
async fn a_file_is_read_from_end_to_end_as_long_as_its_bytes_come() {
    const LARGE: usize = 1 << 20;
    let archive = Archive::new(false);
    let bytes = noise(4, 6 * LARGE);
    let segment = Segment {
        frame_size: LARGE as u32,
        ..Segment::new(1, bytes.clone())
    };
    let segment = readable(&archive.add(&segment).await);
    for pieces in [usize::MAX, 200] {
        let (in_pieces, tell) = InPieces::new(archive.shared(), LARGE / 64);
        let feed = tokio::spawn(async move {
            for _ in 0..pieces {
                if tell.send(Step::Piece).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            // Nothing comes any more.
            tell.closed().await;
        });
        let options = CacheOptions::default();
        let reader = SegmentReader::new(Arc::new(in_pieces), archive.identities(), None, options);
        let mut stream = reader.stream(&segment).await.expect("opens");
        let (mut read, mut error) = (Vec::new(), None);
        while let Some(next) = stream.next().await {
            match next {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(failed) => error = Some(failed.cause),
            }
        }
        if pieces == usize::MAX {
            assert!(error.is_none(), "{error:?}");
            assert!(read == bytes);
        } else {
            assert!(matches!(error, Some(Cause::Timeout(_))), "{error:?}");
            assert!(read.len() < bytes.len() && read == bytes[..read.len()]);
        }
        drop((stream, reader));
        feed.await.expect("no panic");
    }
}

#[tokio::test]
async fn of_a_get_that_is_not_over_in_time_the_frames_that_came_are_there() {
    let scene = scene(Duration::from_secs(1)).await;
    scene.let_through(scene.pieces);
    let len = WANTED.end - WANTED.start;
    let all = scene.reader.read(&scene.segment, WANTED.start, len).await;
    let error = all.expect_err("it takes too long");
    assert!(matches!(error.cause, Cause::Timeout(_)), "{error}");
    // No store is asked any more.
    let (reader, segment) = (&scene.reader, &scene.segment);
    let frame = u64::from(FRAME);
    let first = reader.read(segment, WANTED.start, frame).await;
    let range = WANTED.start..WANTED.start + frame;
    assert_eq!(first.expect("it is there"), scene.plain(range));
}
