//! Read-ahead: what to fetch before forward readers of a segment ask for it. Pure.
//!
//! A file may have several readers, each with several places; the kernel does not say whose a request is. So each place that
//! moves forward is a *track* of its own, recognised by where its last request ended.
//!
//! Nothing is fetched ahead of a track that has not shown that it moves forward: one that looks at a file's first bytes costs
//! one frame. Until then it goes on where its last request ended: of a file of 64 frames every other random read would be in
//! the frame of some read before it, or in the next. It has shown it once a request went on into a further frame, or passed the
//! middle of a frame before whose middle the track began, or read a file to its end. Its window is one frame then, or
//! [`START_FRAMES`] if it has read half a frame without a gap, which few random reads are long enough for; and doubles with each
//! frame, up to a bound. What of the window lies beyond the file's end is asked for in the file that comes after it,
//! where the track goes on.

use std::ops::Range;

/// Places in one file that are remembered. Readers beyond that are served, without read-ahead for those that were longest away.
pub const TRACKS_MAX: usize = 32;
/// The first window of a track that read half a frame: with fewer, a store that is far away would be waited for once more or twice.
pub const START_FRAMES: u32 = 4;
/// Frames that a track which moves forward may leave out, or be overtaken by: the kernel's requests of one reader arrive in
/// any order within its own read-ahead of a few MiB, and a tool may skip an event.
const TOLERANCE_FRAMES: u32 = 4;
/// Of a frame, what a track that has shown nothing may leave out or read again.
const TOLERANCE_BEFORE: u64 = 16;

/// How the forward readers of one segment stand.
#[derive(Debug, Default)]
pub struct Sequences {
    /// The one touched last is last.
    tracks: Vec<Track>,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    /// The last frame that it read; `None` while it is still in the file before.
    at: Option<u32>,
    /// Where it began.
    begin: u64,
    /// Where its last request ended.
    end: u64,
    /// Frames to be ahead; 0 until it has shown that it moves forward.
    window: u32,
    /// Frames up to this one were asked for.
    asked: u32,
    /// Frames of the next file that were asked for.
    asked_beyond: u32,
}

/// The shape of the file that they move in, and what there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Plain bytes per frame.
    pub frame_size: u32,
    /// Bytes that can be read.
    pub bytes: u64,
    /// Most frames to be ahead.
    pub window_max: u32,
    /// Frames for which there is memory now.
    pub room: u32,
}

/// What to fetch now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Frames of this file.
    pub frames: Range<u32>,
    /// What to ask for in the next file.
    pub beyond: Option<Beyond>,
}

/// A window that reaches into the next file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// The whole window, in frames.
    pub window: u32,
    /// How many of its frames lie beyond the end.
    pub frames: u32,
}

/// How a track begins.
#[derive(Clone, Copy)]
struct Start {
    /// Whether it has shown, within one frame, that it moves forward.
    shown: bool,
    /// Its first window.
    window: u32,
}

/// Frames that will be wanted at once of a file whose first `bytes` are the first that anybody reads, with those that will be fetched
/// ahead; none if they are not its first.
pub fn first_frames(bytes: &Range<u64>, shape: &Shape) -> u32 {
    let size = u64::from(shape.frame_size);
    if bytes.start >= size {
        return 0;
    }
    let ahead = match bytes.end - bytes.start >= size / 2 {
        true => START_FRAMES.min(shape.window_max).min(shape.room),
        false => 0,
    };
    (1 + ahead).min(shape.frames())
}

impl Shape {
    fn frames(&self) -> u32 {
        let frames = self.bytes.div_ceil(u64::from(self.frame_size.max(1)));
        u32::try_from(frames).unwrap_or(u32::MAX)
    }
}

impl Track {
    /// How far the byte `start` in `frame` is from where the track is expected, in frames; `None` if it is none of its.
    fn distance(&self, start: u64, frame: u32, frame_size: u64) -> Option<u32> {
        let tolerance = match self.window {
            // One that has shown nothing must go on exactly.
            0 if self.at.is_some() => {
                let nearby = start.abs_diff(self.end) <= frame_size / TOLERANCE_BEFORE;
                return nearby.then_some(0);
            }
            0 => 0,
            _ => TOLERANCE_FRAMES,
        };
        let Some(at) = self.at else {
            // Comes from the file before: its next frame is the first.
            return (frame <= tolerance).then_some(frame);
        };
        // Still in the same frame, or in the next one.
        let nearest = frame.clamp(at, at.saturating_add(1));
        let distance = frame.abs_diff(nearest);
        (distance <= tolerance).then_some(distance)
    }

    /// Goes on to the frames `first..=last`, and grows the window.
    fn advance(&mut self, first: u32, last: u32, start: Start, shape: &Shape) {
        match self.at {
            Some(at) if last <= at => {
                if self.window == 0 && last == at && start.shown {
                    self.window = start.window;
                }
            }
            Some(at) => {
                // A skip is tolerated, and shows nothing.
                if first <= at.saturating_add(1) {
                    self.window = self.window.saturating_mul(2).max(start.window);
                }
                self.at = Some(last);
            }
            None => {
                // From one file into the next is forward, however small they are.
                self.window = self.window.saturating_mul(2);
                self.at = Some(last);
            }
        }
        self.window = self.window.min(shape.window_max);
    }

    /// What of its window, which now reaches up to frame `want`, is to be asked for.
    fn ask(&mut self, from: u32, want: u32, shape: &Shape) -> Ahead {
        let frames = shape.frames();
        let mut ahead = Ahead::default();
        self.asked = self.asked.max(from);
        let from = self.asked;
        let half = self.window / 2;
        // In halves of the window: runs of several frames, and not a get for each.
        if from < want.min(frames) && (want - from >= half || want >= frames) {
            let to = want.min(frames).min(from.saturating_add(shape.room));
            ahead.frames = from..to;
            self.asked = to.max(from);
        }
        let over = want.saturating_sub(frames);
        if over > 0 && self.asked >= frames && over >= self.asked_beyond.saturating_add(half.max(1))
        {
            self.asked_beyond = over;
            ahead.beyond = Some(Beyond {
                window: self.window,
                frames: over,
            });
        }
        ahead
    }
}

impl Sequences {
    /// Notes a read of `bytes` (not empty) and tells what to fetch now.
    pub fn touch(&mut self, bytes: Range<u64>, shape: Shape) -> Ahead {
        let size = u64::from(shape.frame_size.max(1));
        let last_byte = bytes.end.saturating_sub(1);
        let frame = |byte: u64| u32::try_from(byte / size).unwrap_or(u32::MAX);
        let (first, last) = (frame(bytes.start), frame(last_byte));
        let mut track = self.take(bytes.start, first, size).unwrap_or(Track {
            at: Some(last),
            begin: bytes.start,
            end: bytes.end,
            window: 0,
            asked: last.saturating_add(1),
            asked_beyond: 0,
        });
        let middle = u64::from(last) * size + size / 2;
        let shown = track.begin < middle && last_byte >= middle || bytes.end >= shape.bytes;
        let half_frame = bytes.end.saturating_sub(track.begin) >= size / 2;
        let window = match half_frame {
            true => START_FRAMES,
            false => 1,
        };
        track.advance(first, last, Start { shown, window }, &shape);
        track.end = bytes.end;
        let next = track.at.map_or(0, |at| at.saturating_add(1));
        let ahead = match track.window {
            0 => Ahead::default(),
            window => track.ask(next, next.saturating_add(window), &shape),
        };
        self.put(track);
        ahead
    }

    /// A reader of the file before is so near its end that its window reaches into this one. Tells what to fetch now.
    pub fn approach(&mut self, beyond: Beyond, shape: Shape) -> Ahead {
        let coming = self.tracks.iter().position(|track| track.at.is_none());
        let mut track = match coming {
            Some(coming) => self.tracks.remove(coming),
            None => Track {
                at: None,
                begin: 0,
                end: 0,
                window: 0,
                asked: 0,
                asked_beyond: 0,
            },
        };
        track.window = track.window.max(beyond.window.min(shape.window_max));
        let ahead = track.ask(0, beyond.frames.min(track.window), &shape);
        self.put(track);
        ahead
    }

    /// Of what was asked for up to frame `asked`, the frames from `from` on were not fetched: they will be asked for again.
    pub fn give_back(&mut self, asked: u32, from: u32) {
        let mut latest_first = self.tracks.iter_mut().rev();
        if let Some(track) = latest_first.find(|track| track.asked == asked) {
            track.asked = from.min(asked);
        }
    }

    /// The track that a request from byte `start` on, which is in `frame`, goes on with.
    fn take(&mut self, start: u64, frame: u32, frame_size: u64) -> Option<Track> {
        let near = self.tracks.iter().enumerate().rev();
        let near =
            near.filter_map(|(n, track)| Some((track.distance(start, frame, frame_size)?, n)));
        let (_, nearest) = near.min_by_key(|(distance, _)| *distance)?;
        Some(self.tracks.remove(nearest))
    }

    fn put(&mut self, track: Track) {
        if self.tracks.len() >= TRACKS_MAX {
            self.tracks.remove(0);
        }
        self.tracks.push(track);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        frame_size: 100,
        bytes: 4000,
        window_max: 8,
        room: 8,
    };

    /// Reads on from `from` to `to` in requests of `step`; every frame asked for, in order.
    fn read(sequences: &mut Sequences, range: Range<u64>, step: usize) -> Vec<u32> {
        let mut asked = Vec::new();
        for offset in range.step_by(step) {
            let end = (offset + step as u64).min(SHAPE.bytes);
            asked.extend(sequences.touch(offset..end, SHAPE).frames);
        }
        asked
    }

    #[test]
    fn a_look_at_the_first_bytes_fetches_nothing_ahead() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.touch(0..10, SHAPE), Ahead::default());
        assert_eq!(sequences.touch(10..20, SHAPE), Ahead::default());
    }

    #[test]
    fn a_forward_reader_has_every_frame_asked_for_once_and_before_it_comes() {
        let mut sequences = Sequences::default();
        let mut asked = vec![0];
        for offset in (0..4000).step_by(10) {
            let frame = (offset / 100) as u32;
            assert!(asked.contains(&frame), "frame {frame} comes too late");
            asked.extend(sequences.touch(offset..offset + 10, SHAPE).frames);
        }
        assert_eq!(asked, (0..40).collect::<Vec<_>>());
    }

    /// How far ahead each fetch of a reader reaches that begins at `begin` and reads on in requests of `step`.
    fn farthest(begin: u64, step: u64) -> Vec<u64> {
        let mut sequences = Sequences::default();
        let mut farthest = Vec::new();
        for request in 0..8 {
            let start = begin + request * step;
            let ahead = sequences.touch(start..start + step, SHAPE).frames;
            if !ahead.is_empty() {
                farthest.push(u64::from(ahead.end) - 1 - (start + step - 1) / 100);
            }
        }
        farthest
    }

    #[test]
    fn of_a_files_first_frames_as_many_are_wanted_as_will_be_fetched_ahead() {
        assert_eq!(first_frames(&(0..49), &SHAPE), 1);
        assert_eq!(first_frames(&(100..200), &SHAPE), 0);
        for (shape, frames) in [
            (SHAPE, 1 + START_FRAMES),
            (Shape { room: 3, ..SHAPE }, 4),
            (Shape { room: 0, ..SHAPE }, 1),
            (
                Shape {
                    window_max: 2,
                    ..SHAPE
                },
                3,
            ),
            (
                Shape {
                    bytes: 150,
                    ..SHAPE
                },
                2,
            ),
        ] {
            let bytes = 0..100;
            assert_eq!(first_frames(&bytes, &shape), frames, "{shape:?}");
            let ahead = Sequences::default().touch(bytes, shape);
            assert_eq!(1 + ahead.frames.len() as u32, frames, "{shape:?}");
        }
    }

    #[test]
    fn the_window_doubles_to_its_bound() {
        assert_eq!(farthest(0, 100), [u64::from(START_FRAMES), 8, 8]);
        // Less than half a frame, across a border or the middle.
        assert_eq!(farthest(80, 12)[0], 1);
        assert_eq!(farthest(45, 4)[0], 1);
    }

    #[test]
    fn who_read_half_a_frame_from_anywhere_has_several_fetched_ahead() {
        for begin in [0, 7, 40, 90] {
            assert_eq!(farthest(begin, 50)[0], u64::from(START_FRAMES), "{begin}");
        }
    }

    #[test]
    fn a_reader_that_jumps_about_fetches_nothing_ahead() {
        let mut sequences = Sequences::default();
        for offset in [3900, 100, 2000, 700, 3000] {
            let ahead = sequences.touch(offset..offset + 10, SHAPE);
            assert_eq!(ahead, Ahead::default());
        }
    }

    #[test]
    fn random_reads_of_a_file_of_few_frames_fetch_little_ahead() {
        let mut sequences = Sequences::default();
        let (mut place, mut asked) = (7_u64, 0);
        for _ in 0..100 {
            // A linear congruential generator: the same places every time.
            place = (place * 1_664_525 + 1_013_904_223) % (1 << 32);
            let offset = (place >> 8) % (SHAPE.bytes - 6);
            asked += sequences.touch(offset..offset + 6, SHAPE).frames.len();
        }
        assert!(asked <= 30, "{asked} frames ahead of 100 reads");
    }

    #[test]
    fn two_readers_of_one_file_are_two_sequences() {
        let (mut alone, mut both) = (Sequences::default(), Sequences::default());
        let expected = read(&mut alone, 0..1000, 10);
        let other = read(&mut Sequences::default(), 2000..3000, 10);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for offset in (0..1000).step_by(10) {
            first.extend(both.touch(offset..offset + 10, SHAPE).frames);
            let offset = offset + 2000;
            second.extend(both.touch(offset..offset + 10, SHAPE).frames);
        }
        assert_eq!(first, expected);
        assert_eq!(second, other);
        assert_eq!(first, (1..18).collect::<Vec<_>>());
    }

    #[test]
    fn a_skip_and_requests_out_of_order_do_not_break_a_sequence() {
        let mut sequences = Sequences::default();
        read(&mut sequences, 0..1000, 50);
        // The kernel sends these two in the other order.
        sequences.touch(1100..1200, SHAPE);
        let late = sequences.touch(1000..1100, SHAPE);
        assert_eq!(late, Ahead::default());
        let after_a_skip = sequences.touch(1500..1550, SHAPE);
        assert_eq!(after_a_skip.frames.end, 24, "the whole window again");
    }

    #[test]
    fn without_room_nothing_is_asked_for_and_it_is_made_up_for_later() {
        let mut sequences = Sequences::default();
        read(&mut sequences, 0..800, 50);
        let full = Shape { room: 0, ..SHAPE };
        for offset in [800, 850, 900, 950, 1000, 1050, 1100, 1150, 1200] {
            assert!(sequences.touch(offset..offset + 50, full).frames.is_empty());
        }
        let some = Shape { room: 3, ..SHAPE };
        let ahead = sequences.touch(1250..1300, some).frames;
        assert_eq!(ahead.len(), 3);
        let rest = read(&mut sequences, 1300..1600, 50);
        assert_eq!(rest.first(), Some(&ahead.end));
    }

    #[test]
    fn what_could_not_be_fetched_is_asked_for_again() {
        let mut sequences = Sequences::default();
        read(&mut sequences, 0..850, 50);
        let ahead = sequences.touch(1200..1250, SHAPE).frames;
        assert_eq!(ahead.end, 21);
        sequences.give_back(ahead.end, ahead.start + 1);
        let again = sequences.touch(1250..1300, SHAPE).frames;
        assert_eq!(again, ahead.start + 1..21);
    }

    #[test]
    fn a_window_goes_on_across_the_end_into_the_next_file() {
        let mut sequences = Sequences::default();
        let mut beyond = Vec::new();
        let mut asked = Vec::new();
        for offset in (0..4000).step_by(50) {
            let ahead = sequences.touch(offset..offset + 50, SHAPE);
            asked.extend(ahead.frames);
            beyond.extend(ahead.beyond);
        }
        assert_eq!(asked.last(), Some(&39));
        let window = 8;
        let frames: Vec<u32> = beyond.iter().map(|beyond| beyond.frames).collect();
        assert_eq!(frames, [4, 8]);
        let mut next = Sequences::default();
        let asked: Vec<_> = beyond
            .iter()
            .map(|beyond| next.approach(*beyond, SHAPE).frames)
            .collect();
        assert_eq!(asked, [0..4, 4..8]);
        assert!(beyond.iter().all(|beyond| beyond.window == window));
        // There it has nothing to show again.
        assert!(next.touch(0..10, SHAPE).frames.is_empty(), "half a window");
        read(&mut next, 10..300, 10);
        let ahead = next.touch(300..310, SHAPE).frames;
        assert_eq!(ahead, 8..12);
    }

    #[test]
    fn a_request_that_reaches_the_end_at_once_goes_on_in_the_next_file_too() {
        let mut sequences = Sequences::default();
        sequences.touch(0..400, SHAPE);
        sequences.touch(400..2000, SHAPE);
        let ahead = sequences.touch(2000..4000, SHAPE);
        assert!(ahead.frames.is_empty());
        assert_eq!(ahead.beyond.map(|beyond| beyond.frames), Some(8));
    }

    #[test]
    fn many_small_files_are_one_sequence() {
        let small = Shape { bytes: 30, ..SHAPE };
        let mut first = Sequences::default();
        let ahead = first.touch(0..30, small);
        let beyond = ahead.beyond.expect("it was read to its end");
        assert_eq!(beyond.frames, 1);
        let mut second = Sequences::default();
        assert_eq!(second.approach(beyond, small).frames, 0..1);
        let ahead = second.touch(0..30, small);
        assert!(ahead.beyond.is_some(), "and so is the next");
    }

    #[test]
    fn more_readers_than_are_remembered_are_no_error() {
        let mut sequences = Sequences::default();
        for round in 0..3 {
            for reader in 0..1000 {
                let start = reader * 100_000 + round * 10;
                sequences.touch(start..start + 10, SHAPE);
            }
        }
        assert_eq!(sequences.tracks.len(), TRACKS_MAX);
    }

    #[test]
    fn no_offset_overflows() {
        let mut sequences = Sequences::default();
        sequences.touch(0..u64::MAX, SHAPE);
        sequences.touch(u64::MAX - 1..u64::MAX, SHAPE);
        let huge = Shape {
            frame_size: 1,
            bytes: u64::MAX,
            window_max: u32::MAX,
            room: u32::MAX,
        };
        for offset in 0..100 {
            let at = u64::from(u32::MAX) - 50 + offset;
            sequences.touch(at..at + 1, huge);
        }
        let beyond = Beyond {
            window: u32::MAX,
            frames: u32::MAX,
        };
        sequences.approach(beyond, huge);
    }
}
