//! Objects made to deceive, whose hashes are right.

use super::*;

#[test]
fn a_frame_that_claims_a_terabyte_or_more_than_it_should_is_refused_even_if_its_hash_is_right() {
    let terabyte = [
        &[0x28, 0xB5, 0x2F, 0xFD, 0xC4, 0x50, 0, 0, 0, 0, 1, 0, 0][..],
        &[0; 90],
    ]
    .concat();
    let too_long = zstd::bulk::compress(&[0; 5000], 1).expect("compresses");
    let skippable = [0x50, 0x2A, 0x4D, 0x18, 1, 0, 0, 0, 0];
    for frame in [&terabyte[..], &too_long, &skippable, b"garbage garbage"] {
        let entry = Entry {
            stored: frame.len() as u32,
            plain: 4096,
        };
        let tail = tail::encode(&[Sha256::of(frame)], b"", &[entry]);
        let object = forged(&[frame], 4096, tail);
        let segment = object.open(None).expect("the tail is in order");
        let error = object.decode(&segment, 0).expect_err("hostile");
        assert!(error.starts_with("frame 0: "), "{error}");
        assert!(segment.index().is_err());
    }
}

#[test]
fn a_tail_that_lies_is_refused_with_the_reason() {
    let frame = zstd::bulk::compress(b"abc", 1).expect("compresses");
    let good = tail_of_one(&frame);
    let table = TAIL_FRAME;
    assert!(forged(&[&frame], 3, good.clone()).open(None).is_ok());
    let max = u32::MAX.to_le_bytes();
    let end = good.len();
    for (tail, reason) in [
        (put(&good, 0, &[0x5C]), "does not begin with the tail frame"),
        (put(&good, 4, &max), "longer than the tail"),
        (put(&good, 4, &0_u32.to_le_bytes()), "not binlogfs's"),
        (put(&good, 8, b"XLFT"), "not binlogfs's"),
        (put(&good, 12, &[2]), "version 2"),
        (put(&good, 14, &[9]), "critical section of type 9"),
        (put(&good, 14, &[9, 0, 0]), "no section of hashes"),
        (put(&good, 18, &max), "a section is longer"),
        (put(&good, 18, &31_u32.to_le_bytes()), "a section is longer"),
        (put(&good, 54, &[1]), "a section twice"),
        (put(&good, 58, &[3]), "ends in the middle of a section"),
        (put(&good, table, &[0x5D]), "not where it should be"),
        (put(&good, table + 4, &max), "not where it should be"),
        (put(&good, table + 8, &max), "impossible sizes"),
        (put(&good, table + 8, &[0]), "impossible sizes"),
        (
            put(&good, table + 8, &[frame.len() as u8 + 1]),
            "the frames end at",
        ),
        (put(&good, table + 12, &[4]), "impossible sizes"),
        (put(&good, table + 16, &[1]), "the tail frame's entry"),
        (put(&good, table + 20, &[1]), "the tail frame's entry"),
        (put(&good, end - 9, &(1_u32 << 27).to_le_bytes()), "footer"),
        (put(&good, end - 5, &[0x80]), "footer"),
        (put(&good, end - 4, &[0]), "footer"),
        ([&good[..], &[0]].concat(), "bytes for 2 entries"),
    ] {
        let error = forged(&[&frame], 3, tail)
            .open(None)
            .map(drop)
            .expect_err(reason);
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn unknown_sections_are_skipped_unless_they_are_critical() {
    let frame = zstd::bulk::compress(b"abc", 1).expect("compresses");
    let good = tail_of_one(&frame);
    // The index's section becomes one that nobody knows.
    let object = forged(&[&frame], 3, put(&good, 54, &[77]));
    let segment = object.open(None).expect("skips it");
    assert!(segment.index().expect("absent").ddl_incomplete);
    assert_eq!(object.decode(&segment, 0).expect("decodes"), &b"abc"[..]);
    let object = forged(&[&frame], 3, put(&good, 54, &[77, 0, 1]));
    let error = object.open(None).map(drop).expect_err("critical");
    assert!(
        error.contains("type 77") && error.contains("upgrade"),
        "{error}"
    );
}
