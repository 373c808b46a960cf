//! Fuzzes the reader of segment objects: a tail as it is or made of parts, vouched for by a record that is made to fit,
//! so that no hash stops it; and age headers.

#![no_main]

mod allocations;
mod input;
mod seeds;

use binlogfs::binlog::{DdlStatement, Point, SegmentIndex};
use binlogfs::model::{Micros, Sha256};
use binlogfs::segment::{
    ContentKey, FrameCompressor, INDEX_JSON_MAX_BYTES, Identities, ObjectLayout, ObjectWriter,
    OpenSegment, Recipients,
};
use input::Input;
use libfuzzer_sys::fuzz_target;

/// A key of these tests: no object of anybody's is encrypted to it.
const KEY: &str = "AGE-SECRET-KEY-15Q4LS93PZ8VFXRZFKNQJK95Z3Q0D46T4Y5DS394YNA2ZJ3EV9DXSLQAZ5M";
/// The public half.
const RECIPIENT: &str = "age1flvqejkf8f3sxdh7m69evyxs2da7ejzzee8wyzrc4kjz0vl3ffaszzmysc";
/// Most frames of an object made of parts: more of them meet no other code.
const FRAMES_MAX: u8 = 3;

fuzz_target!(init: seeds::write_if_asked(seeds), |data: &[u8]| {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => check_bare_tail(&mut input),
        1 => check_header(input.0),
        _ => check_built(&mut input),
    }
});

/// An object whose tail is the input, and what its record says of the rest too.
fn check_bare_tail(input: &mut Input<'_>) {
    let layout = ObjectLayout {
        plain_size: input.word().into(),
        frame_size: 4096 << (input.byte() % 12),
        tail_offset: input.word().into(),
        header_size: 0,
        size: 0,
        tail_sha256: Sha256::of(b""),
    };
    let tail = input.0;
    let layout = ObjectLayout {
        size: layout.tail_offset + tail.len() as u64,
        tail_sha256: Sha256::of(tail),
        ..layout
    };
    let Ok(checked) = layout.check() else { return };
    let Ok(segment) = OpenSegment::open(checked, None, &[], tail) else {
        return;
    };
    check_memory(&segment, tail);
    let _ = segment.index();
    for frame in 0..segment.frames().min(4) {
        let range = segment.object_range(frame..frame + 1);
        assert!(range.start <= range.end && range.end <= layout.tail_offset);
    }
}

/// Not a byte more is held than came.
fn check_memory(segment: &OpenSegment, tail: &[u8]) {
    let held = segment.memory_bytes() - size_of::<OpenSegment>();
    assert!(
        held <= tail.len() + size_of::<u64>(),
        "{held} of {}",
        tail.len()
    );
}

/// An age header, read with a key that opens those of the seeds.
fn check_header(header: &[u8]) {
    let identities = Identities::parse("fuzz", KEY).expect("a key");
    let _ = ContentKey::unwrap(header, &identities);
}

/// An object made of parts: frames, sections, and bytes that are changed before all is sealed.
fn check_built(input: &mut Input<'_>) {
    let frame_size = 4096 << (input.byte() % 2);
    let frames = input.byte() % (FRAMES_MAX + 1);
    let last = 1 + u32::from(input.short()) % frame_size;
    let mut plain_size = 0;
    let mut stored = Vec::new();
    for number in 0..frames {
        let length = if number + 1 == frames {
            last
        } else {
            frame_size
        };
        plain_size += u64::from(length);
        stored.push((frame(input, length as usize), length));
    }
    let tail = tail(input, &stored);
    let mut object: Vec<u8> = stored.iter().flat_map(|(frame, _)| frame.clone()).collect();
    let tail_offset = object.len() as u64;
    object.extend_from_slice(&tail);
    let layout = ObjectLayout {
        plain_size,
        size: object.len() as u64,
        header_size: 0,
        frame_size,
        tail_offset,
        tail_sha256: Sha256::of(&tail),
    };
    let Ok(checked) = layout.check() else { return };
    let Ok(segment) = OpenSegment::open(checked, None, &[], &tail) else {
        return;
    };
    check_memory(&segment, &tail);
    if let Some((plain, index)) = read(&segment, &object) {
        check_written_again(&plain, &index, frame_size);
    }
}

/// A stored frame: the input's bytes as they are, or what zstd makes of them.
fn frame(input: &mut Input<'_>, length: usize) -> Vec<u8> {
    let as_is = input.byte().is_multiple_of(2);
    let bytes = input.counted();
    if as_is {
        return bytes.to_vec();
    }
    let plain: Vec<u8> = bytes
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .take(length)
        .collect();
    compressed(&plain)
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut zstd = zstd::bulk::Compressor::new(1).expect("a compressor");
    zstd.include_checksum(true).expect("a setting");
    zstd.compress(plain)
        .expect("compressing into memory succeeds")
}

/// The tail of these frames, with the input's sections, and with some of its bytes changed.
fn tail(input: &mut Input<'_>, frames: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let mut content = b"BLFT\x01\0".to_vec();
    let hashes: Vec<u8> = frames
        .iter()
        .flat_map(|(frame, _)| Sha256::of(frame).0)
        .collect();
    section(&mut content, 1, 1, &hashes);
    for _ in 0..input.byte() % 4 {
        let (kind, flags, packed) = (input.short(), input.short(), input.byte() % 2 == 1);
        let bytes = input.counted();
        if packed {
            section(&mut content, kind, flags, &compressed(bytes));
        } else {
            section(&mut content, kind, flags, bytes);
        }
    }
    let mut tail = 0x184D_2A5D_u32.to_le_bytes().to_vec();
    tail.extend_from_slice(&(content.len() as u32).to_le_bytes());
    tail.extend_from_slice(&content);
    let entries = frames
        .iter()
        .map(|(frame, plain)| (frame.len() as u32, *plain));
    let entries: Vec<_> = entries.chain([(tail.len() as u32, 0)]).collect();
    tail.extend_from_slice(&0x184D_2A5E_u32.to_le_bytes());
    tail.extend_from_slice(&(entries.len() as u32 * 8 + 9).to_le_bytes());
    for (stored, plain) in &entries {
        tail.extend_from_slice(&stored.to_le_bytes());
        tail.extend_from_slice(&plain.to_le_bytes());
    }
    tail.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    tail.push(0);
    tail.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    while !input.is_empty() {
        let at = usize::from(input.short()) % tail.len();
        tail[at] = input.byte();
    }
    tail
}

fn section(content: &mut Vec<u8>, kind: u16, flags: u16, bytes: &[u8]) {
    content.extend_from_slice(&kind.to_le_bytes());
    content.extend_from_slice(&flags.to_le_bytes());
    content.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    content.extend_from_slice(bytes);
}

/// All of an open object, if it can all be read.
fn read(segment: &OpenSegment, object: &[u8]) -> Option<(Vec<u8>, SegmentIndex)> {
    let index = segment.index();
    let mut plain = Vec::new();
    let mut whole = true;
    for frame in 0..segment.frames() {
        let range = segment.object_range(frame..frame + 1);
        let bytes = object.get(range.start as usize..range.end as usize);
        let bytes = bytes.expect("a frame lies inside the object");
        match segment.decode(frame, bytes, range.start) {
            Ok(decoded) => {
                let promised = segment.plain_range(frame);
                assert_eq!(decoded.len() as u64, promised.end - promised.start);
                plain.extend_from_slice(&decoded);
            }
            Err(_) => whole = false,
        }
    }
    Some((plain, index.ok()?)).filter(|_| whole)
}

/// What was read is written into another object, and read out of that.
fn check_written_again(plain: &[u8], index: &SegmentIndex, frame_size: u32) {
    let json = serde_json::to_vec(index).expect("an index is JSON");
    if json.len() > INDEX_JSON_MAX_BYTES {
        // It would be thinned.
        return;
    }
    let (object, layout) = write(plain, index, frame_size, &Recipients::none());
    let checked = layout.check().expect("our own");
    let range = checked.tail_range();
    let tail = &object[range.start as usize..range.end as usize];
    let segment = OpenSegment::open(checked, None, &[], tail).expect("our own");
    let (plain_again, index_again) = read(&segment, &object).expect("our own");
    assert!(plain_again == plain, "other bytes");
    assert_eq!(&index_again, index);
}

fn write(
    plain: &[u8],
    index: &SegmentIndex,
    frame_size: u32,
    recipients: &Recipients,
) -> (Vec<u8>, ObjectLayout) {
    let mut compressor = FrameCompressor::new(1, frame_size).expect("a compressor");
    let mut writer = ObjectWriter::new(recipients, frame_size).expect("a writer");
    for frame in plain.chunks(frame_size as usize) {
        let frame = compressor.compress(frame).expect("compresses");
        writer.frame(&frame).expect("takes the frame");
    }
    let mut object = writer.take_output().to_vec();
    let (rest, facts) = writer.finish(index).expect("finishes");
    object.extend_from_slice(&rest);
    (object, facts.layout())
}

fn an_index() -> SegmentIndex {
    SegmentIndex {
        points: vec![Point {
            position: 157,
            end: 400,
            time: Micros(1_700_000_000_000_000),
            latest: Some(Micros(1_700_000_000_000_001)),
            gtid: Some("0-1-7".parse().expect("a GTID")),
            gtids: Some("0-1-7..9".parse().expect("a set")),
        }],
        ddl: vec![DdlStatement {
            position: 157,
            time: Micros(1),
            gtid: None,
            database: "shop".to_owned(),
            sql: "DROP TABLE orders".to_owned(),
            cut: true,
        }],
        tables: vec!["shop.orders".to_owned()],
        ..SegmentIndex::default()
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let recipients = Recipients::parse([RECIPIENT]).expect("a public key");
    for plain in [&b""[..], b"abc", &[7; 9000]] {
        let (object, layout) = write(plain, &an_index(), 4096, &Recipients::none());
        let mut bare = vec![0];
        bare.extend_from_slice(&(layout.plain_size as u32).to_le_bytes());
        bare.push(0);
        bare.extend_from_slice(&(layout.tail_offset as u32).to_le_bytes());
        bare.extend_from_slice(&object[layout.tail_offset as usize..]);
        seeds.push(bare);
        let (object, layout) = write(plain, &an_index(), 4096, &recipients);
        seeds.push([&[1], &object[..layout.header_size as usize]].concat());
    }
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
    let json = serde_json::to_vec(&an_index()).expect("an index is JSON");
    let index = [&[2, 0, 0, 0, 1][..], &counted(&json)].concat();
    let unknown = [&[77, 0, 0, 0, 0][..], &counted(b"unknown")].concat();
    let packed = [&[1][..], &counted(b"some words")].concat();
    let as_is = |length: usize| [&[0][..], &counted(&compressed(&vec![5; length]))].concat();
    let last = 99_u16.to_le_bytes();
    // Two frames, two sections; none of either; a frame as zstd has it, and a changed byte.
    seeds.push(
        [
            &[2, 0, 2],
            &last[..],
            &packed,
            &packed,
            &[2],
            &index,
            &unknown,
        ]
        .concat(),
    );
    seeds.push([&[2, 0, 0], &last[..], &[0]].concat());
    seeds.push(
        [
            &[2, 0, 2],
            &last[..],
            &as_is(4096),
            &as_is(100),
            &[1],
            &index,
            &[3, 0, 9],
        ]
        .concat(),
    );
    seeds
}
