//! How a reader is doing, in numbers.

use super::ahead::FILES_AHEAD;
use super::disk::{DiskFigures, StreamDisk};
use super::opening::OPEN_SEGMENTS_BYTES;
use super::reader::SegmentReader;
use crate::store::{Copies, CopyFigures};
use serde::Serialize;

/// How a reader is doing.
#[derive(Clone, Debug, Serialize)]
pub struct ReaderFigures {
    /// What it holds.
    pub memory: MemoryFigures,
    /// What it fetches before anybody asks.
    pub read_ahead: ReadAheadFigures,
    /// Its part of the disk cache; `None` if it has none.
    pub disk_cache: Option<DiskFigures>,
    /// Reads that replicas served; `None` where there are none.
    pub replica_reads: Option<CopyFigures>,
}

/// What a reader holds, and the most it may. One moment may see a frame counted in one of them and not yet in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryFigures {
    /// Bytes of the budget that are given out: what is decoded and kept, what is on its way, what is being sent.
    pub used_bytes: u64,
    /// The budget.
    pub max_bytes: u64,
    /// Bytes of decoded frames that are kept.
    pub decoded_bytes: u64,
    /// The most of those; a part of the budget.
    pub decoded_max_bytes: u64,
    /// Bytes of the tails of open segments; beside the budget.
    pub tails_bytes: u64,
    /// The most of those.
    pub tails_max_bytes: u64,
    /// Frames on their way from disk or store.
    pub coming_frames: u64,
}

/// What a reader fetches before anybody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReadAheadFigures {
    /// Decoded bytes that were fetched ahead, or are on their way, and that nobody has asked for yet.
    pub unread_bytes: u64,
    /// The most of those, for all that read together.
    pub unread_max_bytes: u64,
    /// How far ahead of one that reads forward.
    pub window_max_bytes: u64,
    /// Files that a window reaches into, beyond the one that is read.
    pub files_max: u64,
}

impl SegmentReader {
    /// How it is doing now.
    pub fn figures(&self) -> ReaderFigures {
        let (fetcher, memory) = (&self.fetcher, &self.fetcher.memory);
        ReaderFigures {
            memory: MemoryFigures {
                used_bytes: memory.used_bytes(),
                max_bytes: memory.total_bytes(),
                decoded_bytes: fetcher.frames.held_bytes() as u64,
                decoded_max_bytes: fetcher.frames.budget_bytes() as u64,
                tails_bytes: self.opening.held_bytes() as u64,
                tails_max_bytes: OPEN_SEGMENTS_BYTES as u64,
                coming_frames: fetcher.flights.len() as u64,
            },
            read_ahead: ReadAheadFigures {
                unread_bytes: memory.unread_bytes(),
                unread_max_bytes: memory.ahead_bytes(),
                window_max_bytes: self.ahead.window_max_bytes(),
                files_max: FILES_AHEAD as u64,
            },
            disk_cache: fetcher.disk.as_ref().map(StreamDisk::figures),
            replica_reads: fetcher.store.copies().map(Copies::figures),
        }
    }
}
