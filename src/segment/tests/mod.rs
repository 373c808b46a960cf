//! The object as a whole: round trips, hostile input, second opinions.

mod golden;
mod hostile;
mod memory;
mod round_trip;
mod second_opinion;

use super::*;
use crate::binlog::{Point, SegmentIndex};
use crate::model::{GtidSet, Micros};
use age_core::secrecy::ExposeSecret;
use bytes::Bytes;

/// An object in memory with what its record says.
#[derive(Clone)]
struct Object {
    bytes: Vec<u8>,
    facts: ObjectFacts,
}

/// A key pair as both sides use it.
struct Keys {
    recipients: Recipients,
    identities: Identities,
    secret: String,
}

impl Keys {
    fn new() -> Keys {
        let pair = keygen();
        let secret = pair.secret.expose_secret().to_owned();
        Keys {
            recipients: Recipients::parse([&pair.public]).expect("own key"),
            identities: Identities::parse("test", &secret).expect("own key"),
            secret,
        }
    }
}

fn index() -> SegmentIndex {
    SegmentIndex {
        points: vec![Point {
            position: 157,
            end: 400,
            time: Micros(1_700_000_000_000_000),
            latest: None,
            gtid: None,
            gtids: Some(GtidSet::new()),
        }],
        tables: vec!["shop.orders".into()],
        ..SegmentIndex::default()
    }
}

/// Bytes that compress somewhat, like a binlog: repeated words and noise.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes()[..(state % 9) as usize]);
        out.extend_from_slice(b"UPDATE orders SET");
    }
    out.truncate(len);
    out
}

/// Bytes that do not compress: their frames, and so an object's size, depend on their number only.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn write(plain: &[u8], recipients: &Recipients, frame_size: u32) -> Object {
    let mut compressor = FrameCompressor::new(1, frame_size).expect("a compressor");
    let mut writer = ObjectWriter::new(recipients, frame_size).expect("a writer");
    let mut bytes = Vec::new();
    for (number, frame) in plain.chunks(frame_size as usize).enumerate() {
        let frame = compressor.compress(frame).expect("compresses");
        writer.frame(&frame).expect("takes the frame");
        if number.is_multiple_of(3) {
            bytes.extend_from_slice(&writer.take_output());
        }
    }
    let (rest, facts) = writer.finish(&index()).expect("finishes");
    bytes.extend_from_slice(&rest);
    Object { bytes, facts }
}

impl Object {
    /// The bytes of an object range, as a store gives them: all or an error.
    fn get(&self, range: std::ops::Range<u64>) -> Result<&[u8], String> {
        self.bytes
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| format!("the store has no bytes {range:?}"))
    }

    fn open(&self, identities: Option<&Identities>) -> Result<OpenSegment, String> {
        let layout = self.facts.layout().check().map_err(|e| e.to_string())?;
        let header = self.get(layout.header_range())?;
        let key = match identities {
            Some(identities) if layout.encrypted() => {
                Some(ContentKey::unwrap(header, identities).map_err(|e| e.to_string())?)
            }
            _ => None,
        };
        let tail = self.get(layout.tail_range())?;
        OpenSegment::open(layout, key, header, tail).map_err(|e| e.to_string())
    }

    fn decode(&self, segment: &OpenSegment, frame: u32) -> Result<Bytes, String> {
        let range = segment.object_range(frame..frame + 1);
        segment
            .decode(frame, self.get(range.clone())?, range.start)
            .map_err(|e| e.to_string())
    }

    fn read_all(&self, identities: Option<&Identities>) -> Result<Vec<u8>, String> {
        let segment = self.open(identities)?;
        let mut plain = Vec::new();
        for frame in 0..segment.frames() {
            plain.extend_from_slice(&self.decode(&segment, frame)?);
        }
        Ok(plain)
    }
}
