//! Read-ahead: what to fetch before a forward reader asks for it. Pure.

use std::ops::Range;

/// Where a reader of one segment is, and how far ahead of it was asked.
///
/// Nothing is fetched ahead of a reader that has not shown that it moves forward: one that looks at a file's first bytes
/// costs one frame. It has shown it once it passed the middle of a frame that it came to from the frame before, or of the
/// first that it read. From then on the window doubles with each frame.
#[derive(Debug, Default)]
pub struct Sequence {
    at: Option<u32>,
    window: u32,
    asked: u32,
}

/// The shape of the file a [`Sequence`] moves in.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Plain bytes per frame.
    pub frame_size: u32,
    /// Frames in the file.
    pub frames: u32,
    /// Most frames to be ahead.
    pub window_max: u32,
}

impl Sequence {
    /// Notes a read of `bytes` (not empty) and tells which frames to fetch now.
    pub fn touch(&mut self, bytes: Range<u64>, shape: Shape) -> Range<u32> {
        let size = u64::from(shape.frame_size.max(1));
        let last_byte = bytes.end.saturating_sub(1);
        let first = u32::try_from(bytes.start / size).unwrap_or(u32::MAX);
        let last = u32::try_from(last_byte / size).unwrap_or(u32::MAX);
        let sequential = self
            .at
            // The kernel's requests overtake each other by a little: the frame before counts as forward too.
            .is_some_and(|at| first.saturating_add(1) >= at && first <= at.saturating_add(1));
        if !sequential {
            *self = Sequence {
                at: Some(last),
                window: 0,
                asked: last.saturating_add(1),
            };
        }
        let at = self.at.unwrap_or(last);
        if last > at {
            self.window = (self.window * 2).clamp(1, shape.window_max);
            self.at = Some(last);
        } else if self.window == 0 && last == at && last_byte % size >= size / 2 {
            self.window = 1.min(shape.window_max);
        }
        let here = self.at.unwrap_or(last);
        let from = self.asked.max(here.saturating_add(1));
        let to = here
            .saturating_add(1)
            .saturating_add(self.window)
            .min(shape.frames);
        // Ask in halves of the window: runs of several frames, and not a get for each.
        if from >= to || (to - from < self.window / 2 && to < shape.frames) {
            return 0..0;
        }
        self.asked = to;
        from..to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        frame_size: 100,
        frames: 40,
        window_max: 8,
    };

    #[test]
    fn a_look_at_the_first_bytes_fetches_nothing_ahead() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.touch(0..10, SHAPE), 0..0);
        assert_eq!(sequence.touch(10..20, SHAPE), 0..0);
    }

    #[test]
    fn a_forward_reader_has_every_frame_asked_for_once_and_before_it_comes() {
        let mut sequence = Sequence::default();
        let mut asked = vec![0];
        let mut late = 0;
        for offset in (0..4000).step_by(10) {
            let frame = (offset / 100) as u32;
            late += u32::from(!asked.contains(&frame));
            asked.extend(sequence.touch(offset..offset + 10, SHAPE));
        }
        assert_eq!(late, 0);
        assert_eq!(asked, (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_jumps_about_fetches_nothing_ahead() {
        let mut sequence = Sequence::default();
        for offset in [3900, 100, 2000, 700, 3000] {
            assert_eq!(sequence.touch(offset..offset + 10, SHAPE), 0..0);
        }
    }

    #[test]
    fn no_offset_overflows() {
        let mut sequence = Sequence::default();
        sequence.touch(0..u64::MAX, SHAPE);
        sequence.touch(u64::MAX - 1..u64::MAX, SHAPE);
    }
}
