//! What an open segment holds of memory is what it says it holds: a cache of thousands goes by that.

use super::*;
use crate::model::Sha256;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what each thread holds.
struct Counting;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its counter is gone.
    let _ = HELD_BYTES.try_with(|held| held.set(held.get() + bytes));
}

#[expect(unsafe_code, reason = "only an allocator sees what is allocated")]
// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// `make`'s value, and the bytes of heap that it holds.
fn held_by<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD_BYTES.get();
    let made = make();
    (made, (HELD_BYTES.get() - before).cast_unsigned())
}

/// Opens `object` and checks that it holds no byte more than it says.
fn check(object: &Object, keys: &Keys) -> usize {
    let layout = object.facts.layout().check().expect("fits");
    let header = object.get(layout.header_range()).expect("inside");
    let tail = object.get(layout.tail_range()).expect("inside");
    let key = layout
        .encrypted()
        .then(|| ContentKey::unwrap(header, &keys.identities).expect("its key"));
    // Who opens a segment may go on holding its key.
    let _key = key.clone();
    let (segment, held) = held_by(|| OpenSegment::open(layout, key, header, tail).expect("opens"));
    let said = segment.memory_bytes() - size_of::<OpenSegment>();
    assert_eq!(held, said, "{} frames", segment.frames());
    held
}

#[test]
fn an_open_segment_holds_what_it_says_and_not_the_chunks_it_was_read_from() {
    let keys = Keys::new();
    for recipients in [Recipients::none(), keys.recipients.clone()] {
        for frames in [0, 1, 40] {
            let plain = noise(frames * 4096, 1);
            let held = check(&write(&plain, &recipients, 4096), &keys);
            // Per frame a hash and an offset; besides that, a key and the index of these tests.
            assert!(held <= frames * 40 + 2048, "{frames} frames: {held} bytes");
        }
    }
}

#[test]
fn a_section_that_nobody_knows_is_not_held() {
    const UNKNOWN_BYTES: usize = 8 << 20;
    let good = tail::encode(&[], b"index", &[]);
    // Behind the preamble: type 77, no flags, the length.
    let (front, back) = good.split_at(8 + 6);
    let mut tail = front.to_vec();
    tail.extend_from_slice(&[77, 0, 0, 0]);
    tail.extend_from_slice(&(UNKNOWN_BYTES as u32).to_le_bytes());
    tail.resize(tail.len() + UNKNOWN_BYTES, 0);
    tail.extend_from_slice(back);
    let more = (UNKNOWN_BYTES + 8) as u32;
    let grow = |bytes: &mut [u8], at: usize| {
        let field = bytes[at..at + 4]
            .first_chunk_mut::<4>()
            .expect("four bytes");
        *field = (u32::from_le_bytes(*field) + more).to_le_bytes();
    };
    // The tail frame's length, and its size in the seek table: entry, number of entries, descriptor, magic.
    grow(&mut tail, 4);
    let entry = tail.len() - 9 - 8;
    grow(&mut tail, entry);
    let facts = ObjectFacts {
        size: tail.len() as u64,
        crc32c: 0,
        crc64nvme: 0,
        header_size: 0,
        frame_size: 4096,
        tail_offset: 0,
        tail_sha256: Sha256::of(&tail),
        plain_size: 0,
    };
    let held = check(&Object { bytes: tail, facts }, &Keys::new());
    assert!(held < 1000, "{held} bytes");
}
