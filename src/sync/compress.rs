//! The compression threads: as many as the host may spare, shared by all files in flight.

use super::pace::Pace;
use crate::segment::{FrameCompressor, SegmentError, StoredFrame};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The place of a file among those that are compressed: the first has the threads, later ones what it leaves.
///
/// Files that share them evenly end together, and while the last of their bytes are sent and their records are written, nothing is
/// compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

/// A frame to compress.
struct Job {
    plain: Vec<u8>,
    reply: Sender<Compressed>,
}

/// A frame compressed, and its plaintext buffer for reuse.
pub struct Compressed {
    /// Its number in its file.
    pub number: u64,
    /// The plaintext, to be filled again.
    pub plain: Vec<u8>,
    /// The zstd frame.
    pub frame: Result<StoredFrame, SegmentError>,
}

/// The threads. They end when the last clone is dropped.
#[derive(Clone)]
pub struct CompressPool {
    queue: Arc<Queue>,
    /// Told to end when nobody has it any more.
    _end: Arc<End>,
    threads: usize,
    pace: Arc<Pace>,
}

/// What waits for a thread: no more than the files in flight have buffers.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    turns: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    jobs: BTreeMap<(Turn, u64), Job>,
    ended: bool,
}

struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.waiting().ended = true;
        self.0.came.notify_all();
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first frame of the first file, as soon as there is one; `None` at the end.
    fn next(&self) -> Option<(u64, Job)> {
        let mut waiting = self.waiting();
        loop {
            if let Some(((_, number), job)) = waiting.jobs.pop_first() {
                return Some((number, job));
            }
            if waiting.ended {
                return None;
            }
            waiting = self
                .came
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl CompressPool {
    /// Starts `threads` threads that compress at `level` into frames of `frame_size` plaintext bytes.
    ///
    /// # Errors
    /// When a compression context or a thread cannot be made.
    pub fn start(
        threads: usize,
        level: i32,
        frame_size: u32,
        pace: &Arc<Pace>,
    ) -> std::io::Result<CompressPool> {
        let queue = Arc::new(Queue::default());
        let end = Arc::new(End(Arc::clone(&queue)));
        for n in 0..threads {
            let mut compressor =
                FrameCompressor::new(level, frame_size).map_err(std::io::Error::other)?;
            let (queue, pace) = (Arc::clone(&queue), Arc::clone(pace));
            let work = move || {
                while let Some((number, job)) = queue.next() {
                    let turn = pace.before_computing(job.plain.len() as u64);
                    let begun = Instant::now();
                    let frame = compressor.compress(&job.plain);
                    let took = begun.elapsed();
                    drop(turn);
                    // The file may have been given up: then nobody waits for this frame.
                    let _ = job.reply.send(Compressed {
                        number,
                        plain: job.plain,
                        frame,
                    });
                    pace.after_computing(took);
                }
            };
            std::thread::Builder::new()
                .name(format!("compress-{n}"))
                .spawn(work)?;
        }
        Ok(CompressPool {
            queue,
            _end: end,
            threads,
            pace: Arc::clone(pace),
        })
    }

    /// The limits that files in flight share.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The place of a file, after those that have one.
    pub fn turn(&self) -> Turn {
        Turn(self.queue.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands over a frame of a file; never waits: a file has so many buffers and no more. The result arrives at `reply`.
    pub fn submit(&self, turn: Turn, number: u64, plain: Vec<u8>, reply: &Sender<Compressed>) {
        let job = Job {
            plain,
            reply: reply.clone(),
        };
        self.queue.waiting().jobs.insert((turn, number), job);
        self.queue.came.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_first_file_goes_first_and_its_frames_in_order() {
        let queue = Queue::default();
        let (reply, _replies) = channel();
        for (turn, number) in [(1, 0), (0, 2), (1, 1), (0, 1)] {
            let job = Job {
                plain: Vec::new(),
                reply: reply.clone(),
            };
            queue.waiting().jobs.insert((Turn(turn), number), job);
        }
        queue.waiting().ended = true;
        let order: Vec<_> = std::iter::from_fn(|| queue.next())
            .map(|(number, _)| number)
            .collect();
        assert_eq!(order, [1, 2, 0, 1]);
    }
}
