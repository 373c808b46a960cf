//! Frames that are decoded as their bytes come.
//!
//! Several gets share a link: what is decoded only when all of a get has come is decoded at the end of all of them, while the link
//! rests. And of a get that does not come in time, the frames that did come are there.

use super::edges::{Beside, Request};
use super::error::Cause;
use super::fetch::{Fetcher, Flying, Origin};
use super::pieces::Piece;
use crate::blocks::Blocks;
use crate::model::ObjectKey;
use crate::segment::{OpenSegment, SegmentError};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// Memory for frames as stored, of the size that most have, a third of a frame. As many wait as two runs have.
static STORED: Blocks = Blocks::new(512 << 10, 256 << 10, 16);

/// Frames on their way from one store.
pub(super) struct Arriving {
    fetcher: Arc<Fetcher>,
    waiting: Vec<Partial>,
    whole: UnboundedSender<Partial>,
    decoding: JoinHandle<Vec<Wrong>>,
}

/// A frame whose bytes are not the ones that were archived, and what is wrong with them.
type Wrong = (Flying, SegmentError);

/// What came of a frame.
struct Partial {
    flying: Flying,
    /// Where it is in its object.
    range: Range<u64>,
    bytes: Vec<u8>,
    /// How many of them came.
    came: u64,
}

/// Decodes the frames of one get.
struct Decoder {
    fetcher: Arc<Fetcher>,
    key: ObjectKey,
    segment: Arc<OpenSegment>,
}

impl Arriving {
    pub(super) fn new(fetcher: &Arc<Fetcher>, origin: &Origin, flying: Vec<Flying>) -> Arriving {
        let decoder = Decoder {
            fetcher: Arc::clone(fetcher),
            key: origin.key.clone(),
            segment: Arc::clone(&origin.segment),
        };
        let waiting = flying.into_iter().map(|flying| Partial {
            range: origin.segment.object_range(flying.frame..flying.frame + 1),
            flying,
            bytes: Vec::new(),
            came: 0,
        });
        let waiting = waiting.collect();
        let (whole, to_decode) = unbounded_channel();
        Arriving {
            fetcher: Arc::clone(fetcher),
            waiting,
            whole,
            decoding: tokio::spawn(decoder.run(to_decode)),
        }
    }

    /// Fetches what is requested, the range of all of these frames, and has each decoded that has come.
    ///
    /// # Errors
    /// Those of the store, and that it took too long.
    pub(super) async fn fetch(
        &mut self,
        request: Request<'_>,
        beside: Beside<'_>,
    ) -> Result<(), Cause> {
        let fetcher = Arc::clone(&self.fetcher);
        let (edges, get) = (&fetcher.edges, fetcher.pace.begin());
        let patience = request.patience;
        let (to, mut from) = unbounded_channel();
        // It ends what is received when it ends.
        let fetching = async move {
            let fetched = edges.fetch(request, beside, &to);
            patience.wait(fetched).await.and_then(|fetched| fetched)
        };
        let arriving = async {
            while let Some(piece) = from.recv().await {
                get.came(piece.bytes.len());
                self.add(&piece);
            }
        };
        let (fetched, ()) = tokio::join!(fetching, arriving);
        fetched
    }

    fn add(&mut self, piece: &Piece) {
        let is_whole = |partial: &mut Partial| {
            partial.add(piece);
            partial.came >= partial.range.end - partial.range.start
        };
        for partial in self.waiting.extract_if(.., is_whole) {
            // It is received until this is dropped, or a panic told those that wait.
            let _ = self.whole.send(partial);
        }
    }

    /// The frames that did not come, and those that were wrong, when all that came are decoded. If the store has given all that
    /// it has, one that is not whole is wrong.
    pub(super) async fn end(self, is_all: bool) -> (Vec<Flying>, Vec<Wrong>) {
        let Arriving {
            waiting,
            whole,
            decoding,
            ..
        } = self;
        let mut missing = Vec::new();
        for partial in waiting {
            match is_all {
                true => drop(whole.send(partial)),
                false => missing.push(partial.flying),
            }
        }
        drop(whole);
        (missing, decoding.await.unwrap_or_default())
    }
}

impl Decoder {
    /// Decodes what comes, and returns what could not be.
    async fn run(self, mut whole: UnboundedReceiver<Partial>) -> Vec<Wrong> {
        let this = Arc::new(self);
        let mut wrong = Vec::new();
        while let Some(first) = whole.recv().await {
            // Nobody closes it.
            let thread = Arc::clone(&this.fetcher.decoding).acquire_owned().await;
            let decoder = Arc::clone(&this);
            // One thread, and as long as there are any: of several gets that come at once, the frames of the first are needed first.
            let decode = move || {
                let (mut wrong, mut next) = (Vec::new(), Some(first));
                while let Some(partial) = next {
                    wrong.extend(decoder.decode(partial));
                    next = whole.try_recv().ok();
                }
                drop(thread);
                (wrong, whole)
            };
            // A panic in there drops the landings, which tells those that wait.
            let Ok((more, rest)) = tokio::task::spawn_blocking(decode).await else {
                break;
            };
            wrong.extend(more);
            whole = rest;
        }
        wrong
    }

    /// Decodes and lands a frame, and has the disk keep it as it came.
    fn decode(&self, partial: Partial) -> Option<Wrong> {
        let Partial {
            flying,
            range,
            bytes,
            ..
        } = partial;
        let (frame, bytes) = (flying.frame, STORED.filled(bytes));
        match self.segment.decode(frame, &bytes, range.start) {
            Ok(plain) => {
                self.fetcher.land(flying, plain);
                if let Some(disk) = &self.fetcher.disk {
                    disk.keep(&self.key, &self.segment, &[frame], &bytes, range.start);
                }
                None
            }
            Err(error) => Some((flying, error)),
        }
    }
}

impl Partial {
    /// Adds what `piece` has of it. They come in order, but for an edge that a neighbour fetches.
    fn add(&mut self, piece: &Piece) {
        let common = piece.start.max(self.range.start)..piece.end().min(self.range.end);
        let Some(part) = piece.part(&common).filter(|part| !part.is_empty()) else {
            return;
        };
        let at = (common.start - self.range.start) as usize;
        let end = at + part.len();
        if self.bytes.capacity() == 0 {
            self.bytes = STORED.room((self.range.end - self.range.start) as usize);
        }
        if self.bytes.len() == at {
            self.bytes.extend_from_slice(&part);
        } else {
            self.bytes.resize(end.max(self.bytes.len()), 0);
            self.bytes[at..end].copy_from_slice(&part);
        }
        self.came += part.len() as u64;
    }
}
