//! The compression threads: as many as the host may spare, shared by all files in flight.

use super::pace::Pace;
use crate::segment::{FrameCompressor, SegmentError, StoredFrame};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A frame to compress.
struct Job {
    number: u64,
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
    jobs: SyncSender<Job>,
    threads: usize,
    pace: Arc<Pace>,
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
        // A rendezvous of one job per thread: what waits for a thread waits in its file's own bounded buffers.
        let (jobs, queue) = sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for n in 0..threads {
            let mut compressor =
                FrameCompressor::new(level, frame_size).map_err(std::io::Error::other)?;
            let (queue, pace) = (Arc::clone(&queue), Arc::clone(pace));
            let work = move || {
                while let Some(job) = next(&queue) {
                    let turn = pace.before_computing(job.plain.len() as u64);
                    let begun = Instant::now();
                    let frame = compressor.compress(&job.plain);
                    let took = begun.elapsed();
                    drop(turn);
                    // The file may have been given up: then nobody waits for this frame.
                    let _ = job.reply.send(Compressed {
                        number: job.number,
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
        let pace = Arc::clone(pace);
        Ok(CompressPool {
            jobs,
            threads,
            pace,
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

    /// Hands over a frame; waits while all threads are busy. The result arrives at `reply`.
    pub fn submit(&self, number: u64, plain: Vec<u8>, reply: &Sender<Compressed>) {
        let sent = self.jobs.send(Job {
            number,
            plain,
            reply: reply.clone(),
        });
        assert!(sent.is_ok(), "the threads live as long as the pool");
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .recv()
        .ok()
}
