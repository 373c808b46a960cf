//! The seam to the disk cache: frames are looked for there before they are fetched, and proven alike.

use super::disk::{StreamDisk, Wanted};
use super::fetch::{Fetcher, Flying, Origin, Patience};
use super::pieces::Piece;
use crate::model::ObjectKey;
use crate::segment::OpenSegment;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Fetcher {
    /// Lands those of `flying` whose frames are on disk, and returns the others, in their order. A frame on disk that is not
    /// the one archived is among the others.
    pub(super) async fn land_from_disk(
        self: &Arc<Self>,
        origin: &Origin,
        flying: Vec<Flying>,
        patience: Patience,
    ) -> Vec<Flying> {
        let Some(disk) = &self.disk else {
            return flying;
        };
        let Origin { key, segment, .. } = origin;
        let mut others = Vec::new();
        let mut waiting: VecDeque<_> = flying.into();
        while !waiting.is_empty() {
            let wanted = waiting.iter().map(|flying| wanted(segment, flying.frame));
            let looked = disk.look(key, wanted.collect(), soon(patience)).await;
            let looked_for = waiting.drain(..looked.looked_for.min(waiting.len()));
            let looked_for: Vec<Flying> = looked_for.collect();
            if looked.found.is_empty() {
                others.extend(looked_for);
                continue;
            }
            let thread = Arc::clone(&self.decoding).acquire_owned();
            let Ok(Ok(thread)) = patience.wait(thread).await else {
                // Too late: whoever fetches the others is told so.
                others.extend(looked_for);
                break;
            };
            let (fetcher, key, segment) = (Arc::clone(self), key.clone(), Arc::clone(segment));
            let decoded = tokio::task::spawn_blocking(move || {
                let found = looked.found.iter().cloned().collect();
                let missing = fetcher.land_found(&key, &segment, looked_for, &found);
                drop((looked, thread));
                missing
            });
            // A panic in there dropped the landings, which told those that wait.
            others.extend(decoded.await.unwrap_or_default());
        }
        others.extend(waiting);
        others
    }

    fn land_found(
        &self,
        key: &ObjectKey,
        segment: &OpenSegment,
        flying: Vec<Flying>,
        found: &HashMap<u32, Bytes>,
    ) -> Vec<Flying> {
        let mut missing = Vec::new();
        for flying in flying {
            let frame = flying.frame;
            let proven = found.get(&frame).and_then(|stored| {
                let disk = self.disk.as_ref()?;
                proven(disk, key, segment, frame, stored)
            });
            match proven {
                Some(plain) => self.land(flying, plain),
                None => missing.push(flying),
            }
        }
        missing
    }
}

/// How long the disk may be waited for: no more than half of the time that is left, which the store is to have if the disk hangs.
fn soon(patience: Patience) -> Duration {
    let half = patience.half();
    half.until.saturating_duration_since(Instant::now())
}

/// All plain frames of `run`, if all of them are on disk.
pub(super) async fn run_from_disk(
    disk: &StreamDisk,
    key: &ObjectKey,
    segment: &Arc<OpenSegment>,
    run: Range<u32>,
    patience: Patience,
) -> Option<VecDeque<Bytes>> {
    let mut plain = VecDeque::new();
    let mut at = run.start;
    while at < run.end {
        let wanted = (at..run.end).map(|frame| wanted(segment, frame));
        let looked = disk.look(key, wanted.collect(), soon(patience)).await;
        if looked.looked_for == 0 || looked.found.len() < looked.looked_for {
            return None;
        }
        at += looked.looked_for as u32;
        let (disk, key, segment) = (disk.clone(), key.clone(), Arc::clone(segment));
        let decoded = tokio::task::spawn_blocking(move || {
            let found = looked.found.iter();
            found
                .map(|(frame, stored)| proven(&disk, &key, &segment, *frame, stored))
                .collect::<Option<Vec<_>>>()
        });
        plain.extend(decoded.await.ok()??);
    }
    Some(plain)
}

/// Frames that were proven, with the pieces that they are in, to be kept.
#[derive(Default)]
pub(super) struct ProvenFrames(Vec<(Piece, Vec<u32>)>);

impl ProvenFrames {
    /// Adds `frame`, which is in `piece`. They come in order.
    pub(super) fn push(&mut self, frame: u32, piece: Piece) {
        match self.0.last_mut() {
            Some((last, frames)) if last.is_range_of(&piece) => frames.push(frame),
            _ => self.0.push((piece, vec![frame])),
        }
    }

    /// Has `disk` keep them.
    pub(super) fn keep(self, disk: &StreamDisk, key: &ObjectKey, segment: &OpenSegment) {
        for (piece, frames) in self.0 {
            disk.keep(key, segment, &frames, &piece.bytes, piece.start);
        }
    }
}

fn wanted(segment: &OpenSegment, frame: u32) -> Wanted {
    let range = segment.object_range(frame..frame + 1);
    Wanted {
        frame,
        stored_bytes: range.end - range.start,
    }
}

/// A frame as found on disk, proven and decoded; if it is not the one archived, it is removed.
fn proven(
    disk: &StreamDisk,
    key: &ObjectKey,
    segment: &OpenSegment,
    frame: u32,
    stored: &Bytes,
) -> Option<Bytes> {
    let start = segment.object_range(frame..frame + 1).start;
    match segment.decode(frame, stored, start) {
        Ok(plain) => {
            disk.proven(1, stored.len() as u64);
            Some(plain)
        }
        Err(error) => {
            disk.faulty(key, frame, &error);
            None
        }
    }
}
