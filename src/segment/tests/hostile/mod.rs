//! Damaged, exchanged and malicious objects: an error or the right bytes, never wrong ones, never a panic.

mod deceiving;

use super::*;
use crate::model::Sha256;
use crate::segment::seek_table::Entry;
use crate::segment::tail;
use proptest::prelude::*;

/// Opens and reads `object` with a cached key where the header is untouched, and checks every frame that comes out
/// against `plain`. Returns whether anything was refused.
fn refuses(object: &Object, key: Option<&ContentKey>, keys: &Keys, plain: &[u8]) -> bool {
    let Ok(layout) = object.facts.layout().check() else {
        return true;
    };
    let Ok(header) = object.get(layout.header_range()) else {
        return true;
    };
    let key = match key {
        Some(key) => key.clone(),
        None if !layout.encrypted() => return refuses_open(object, None, plain),
        None => match ContentKey::unwrap(header, &keys.identities) {
            Ok(key) => key,
            Err(_) => return true,
        },
    };
    refuses_open(object, Some(key), plain)
}

fn refuses_open(object: &Object, key: Option<ContentKey>, plain: &[u8]) -> bool {
    let layout = object.facts.layout().check().expect("checked before");
    let header = object.get(layout.header_range()).expect("there before");
    let Ok(tail) = object.get(layout.tail_range()) else {
        return true;
    };
    let Ok(segment) = OpenSegment::open(layout, key, header, tail) else {
        return true;
    };
    let mut refused = segment.index().is_err();
    for frame in 0..segment.frames() {
        let range = segment.plain_range(frame);
        match object.decode(&segment, frame) {
            Ok(bytes) => assert_eq!(bytes, plain[range.start as usize..range.end as usize]),
            Err(_) => refused = true,
        }
    }
    refused
}

fn both(keys: &Keys) -> [Recipients; 2] {
    [Recipients::none(), keys.recipients.clone()]
}

/// A good tail of one frame, to be bent.
fn tail_of_one(frame: &[u8]) -> Vec<u8> {
    let entry = Entry {
        stored: frame.len() as u32,
        plain: 3,
    };
    tail::encode(&[Sha256::of(frame)], b"index", &[entry])
}

fn put(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// An object without encryption whose frames and tail are exactly these, with a record that vouches for them: what a
/// forged ledger or a broken writer could bring.
fn forged(frames: &[&[u8]], plain_size: u64, tail: Vec<u8>) -> Object {
    let mut bytes = frames.concat();
    let tail_offset = bytes.len() as u64;
    let tail_sha256 = Sha256::of(&tail);
    bytes.extend(tail);
    let facts = ObjectFacts {
        size: bytes.len() as u64,
        crc32c: 0,
        crc64nvme: 0,
        header_size: 0,
        frame_size: 4096,
        tail_offset,
        tail_sha256,
        plain_size,
    };
    Object { bytes, facts }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_and_never_a_wrong_byte() {
    let keys = Keys::new();
    let plain = noise(10_000, 1);
    for recipients in both(&keys) {
        let good = write(&plain, &recipients, 4096);
        let header = &good.bytes[..good.facts.header_size as usize];
        let key = ContentKey::unwrap(header, &keys.identities).ok();
        assert!(!refuses(&good, key.as_ref(), &keys, &plain));
        for at in 0..good.bytes.len() {
            let mut bad = good.clone();
            bad.bytes[at] ^= 1 << (at % 8);
            let cached = key.as_ref().filter(|_| at % 2 == 0);
            assert!(refuses(&bad, cached, &keys, &plain), "byte {at}");
        }
    }
}

#[test]
fn an_object_cut_anywhere_is_an_error() {
    let keys = Keys::new();
    let plain = noise(9_000, 2);
    for recipients in both(&keys) {
        let good = write(&plain, &recipients, 4096);
        for len in 0..good.bytes.len() {
            let mut bad = good.clone();
            bad.bytes.truncate(len);
            assert!(refuses(&bad, None, &keys, &plain), "cut to {len}");
            bad.facts.size = len as u64;
            assert!(
                refuses(&bad, None, &keys, &plain),
                "cut to {len}, and said so"
            );
        }
        for longer in [1, 16, 17, 65_552] {
            let mut bad = good.clone();
            bad.bytes.extend(vec![0; longer]);
            bad.facts.size += longer as u64;
            assert!(refuses(&bad, None, &keys, &plain), "{longer} bytes longer");
        }
    }
}

#[test]
fn another_valid_object_of_the_same_size_and_layout_is_refused() {
    let keys = Keys::new();
    let plain = noise(70_000, 3);
    for recipients in both(&keys) {
        let good = write(&plain, &recipients, 4096);
        // age's random stanza varies the size: the same one comes again soon enough.
        let other = (0..100_000)
            .map(|_| write(&noise(70_000, 4), &recipients, 4096))
            .find(|other| other.facts.size == good.facts.size)
            .expect("sizes repeat");
        assert_eq!(other.facts.tail_offset, good.facts.tail_offset);
        assert!(other.read_all(Some(&keys.identities)).is_ok());
        let swapped = Object {
            bytes: other.bytes.clone(),
            facts: good.facts,
        };
        let error = swapped
            .read_all(Some(&keys.identities))
            .expect_err("swapped");
        assert!(error.contains("another object"), "{error}");

        // The true tail with the other's frames.
        let layout = good.facts.layout().check().expect("fits");
        let tail = layout.tail_range().start as usize;
        let mut spliced = good.clone();
        let from = good.facts.header_size as usize;
        spliced.bytes[from..tail].copy_from_slice(&other.bytes[from..tail]);
        assert!(refuses(&spliced, None, &keys, &plain));
        let segment = spliced
            .open(Some(&keys.identities))
            .expect("the tail is right");
        let error = spliced.decode(&segment, 0).expect_err("not its frame");
        assert!(error.starts_with("frame 0: "), "{error}");
    }
}

#[test]
fn frames_exchanged_inside_an_object_are_refused() {
    let plain = noise(8192, 5);
    let keys = Keys::new();
    let mut object = write(&plain, &Recipients::none(), 4096);
    let half = object.facts.tail_offset as usize / 2;
    let (first, rest) = object.bytes.split_at_mut(half);
    first.swap_with_slice(&mut rest[..half]);
    assert!(refuses(&object, None, &keys, &plain));
    let segment = object.open(None).expect("the tail is right");
    let error = object.decode(&segment, 1).expect_err("not its frame");
    assert!(error.contains("frame 1: its SHA-256"), "{error}");
}

#[test]
fn every_wrong_number_in_the_record_is_an_error() {
    let keys = Keys::new();
    let plain = noise(70_000, 6);
    for recipients in both(&keys) {
        let good = write(&plain, &recipients, 4096);
        let mut tries: Vec<ObjectFacts> = Vec::new();
        for by in [1_i64, -1, 16, -16, 4096, -4096, 65_552, -65_552, i64::MAX] {
            let f = good.facts;
            let change = |n: u64| n.saturating_add_signed(by);
            tries.push(ObjectFacts {
                size: change(f.size),
                ..f
            });
            tries.push(ObjectFacts {
                plain_size: change(f.plain_size),
                ..f
            });
            tries.push(ObjectFacts {
                tail_offset: change(f.tail_offset),
                ..f
            });
            if f.header_size > 0 {
                tries.push(ObjectFacts {
                    header_size: change(f.header_size),
                    ..f
                });
            }
        }
        tries.push(ObjectFacts {
            frame_size: 8192,
            ..good.facts
        });
        tries.push(ObjectFacts {
            tail_sha256: Sha256::of(b""),
            ..good.facts
        });
        for facts in tries {
            let bad = Object {
                facts,
                ..good.clone()
            };
            assert!(bad.read_all(Some(&keys.identities)).is_err(), "{facts:?}");
        }
    }
}

/// Length of the tail frame in [`tail_of_one`]: header, marker, version, two sections.
const TAIL_FRAME: usize = 8 + 6 + 8 + 32 + 8 + 5;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_bent_tail_with_a_record_that_vouches_for_it_never_gives_wrong_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let keys = Keys::new();
        let plain = b"abc";
        let frame = zstd::bulk::compress(plain, 1).expect("compresses");
        let mut tail = tail_of_one(&frame);
        for (at, value) in changes {
            let at = at.index(tail.len());
            tail[at] = value;
        }
        if let Some(cut) = cut {
            tail.truncate(cut.index(tail.len()));
        }
        refuses(&forged(&[&frame], 3, tail), None, &keys, plain);
    }

    #[test]
    fn a_bent_age_header_is_an_error_and_never_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let keys = Keys::new();
        let object = write(b"abc", &keys.recipients, 4096);
        let good = &object.bytes[..object.facts.header_size as usize];
        let mut header = good.to_vec();
        for (at, value) in changes {
            // Not the nonce: it is no part of what unwrap checks.
            let at = at.index(header.len() - 16);
            header[at] = value;
        }
        if let Some(cut) = cut {
            header.truncate(cut.index(header.len()));
        }
        prop_assume!(header[..] != good[..]);
        prop_assert!(ContentKey::unwrap(&header, &keys.identities).is_err());
    }
}

#[test]
fn hostile_age_headers_are_refused_in_bounded_time() {
    let keys = Keys::new();
    let stanzas = |stanza: &str| {
        let room = HEADER_MAX_BYTES as usize - 100;
        let mut text = "age-encryption.org/v1\n".to_owned();
        text.push_str(&stanza.repeat(room / stanza.len()));
        text.push_str("--- ");
        text.push_str(&"A".repeat(43));
        text.push('\n');
        text.push_str(&"N".repeat(16));
        text
    };
    let share = "A".repeat(43);
    for (name, header) in [
        ("empty", String::new()),
        ("of another version", "age-encryption.org/v9\n".repeat(3)),
        ("of nothing but stanzas", stanzas("-> a\n\n")),
        (
            "of small-order points",
            stanzas(&format!("-> X25519 {share}\n{share}\n")),
        ),
        (
            "with a passphrase",
            "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 63\n\
          AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- "
                .to_owned()
                + &share
                + "\nNNNNNNNNNNNNNNNN",
        ),
        ("without an end", stanzas("-> a\n\n")[..5000].to_owned()),
    ] {
        let start = std::time::Instant::now();
        let result = ContentKey::unwrap(header.as_bytes(), &keys.identities);
        assert!(result.is_err(), "{name}");
        assert!(
            start.elapsed().as_secs() < 5,
            "{name}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn a_key_of_another_object_does_not_open_this_one() {
    let keys = Keys::new();
    let object = write(&noise(5000, 1), &keys.recipients, 4096);
    let other = write(&noise(5000, 1), &keys.recipients, 4096);
    let header = &other.bytes[..other.facts.header_size as usize];
    let key = ContentKey::unwrap(header, &keys.identities).expect("its own");
    assert_eq!(format!("{key:?}"), "ContentKey(..)");
    let layout = object.facts.layout().check().expect("fits");
    let opened = OpenSegment::open(
        layout,
        Some(key),
        object.get(layout.header_range()).expect("inside"),
        object.get(layout.tail_range()).expect("inside"),
    );
    assert!(opened.map(drop).expect_err("another's key").is_corrupt());
}

#[test]
fn bytes_that_do_not_cover_what_is_needed_are_an_error() {
    let keys = Keys::new();
    let plain = noise(300_000, 8);
    for recipients in both(&keys) {
        let object = write(&plain, &recipients, 1 << 17);
        let segment = object.open(Some(&keys.identities)).expect("opens");
        let range = segment.object_range(1..2);
        let bytes = object.get(range.clone()).expect("inside");
        for (bytes, start) in [
            (&bytes[..bytes.len() - 1], range.start),
            (&bytes[1..], range.start + 1),
            (bytes, range.start + 1),
            (bytes, range.start - 1),
            (bytes, 0),
            (bytes, u64::MAX),
            (&[][..], range.start),
        ] {
            let error = segment.decode(1, bytes, start).expect_err("not covered");
            assert!(error.to_string().starts_with("frame 1: "), "{error}");
        }
    }
}
