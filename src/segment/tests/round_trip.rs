//! What goes in comes out, in any sizes and ranges.

use super::*;
use proptest::prelude::*;

#[test]
fn a_file_round_trips_with_and_without_encryption() {
    let keys = Keys::new();
    for len in [0, 1, 4095, 4096, 4097, 8192, 300_000] {
        let plain = content(len, len as u64);
        for recipients in [&Recipients::none(), &keys.recipients] {
            let object = write(&plain, recipients, 4096);
            assert_eq!(object.facts.size, object.bytes.len() as u64);
            assert_eq!(object.facts.plain_size, len as u64);
            assert_eq!(object.facts.header_size == 0, recipients.is_empty());
            let segment = object.open(Some(&keys.identities)).expect("opens");
            assert_eq!(segment.index().expect("an index"), index());
            assert_eq!(segment.frames() as usize, len.div_ceil(4096));
            assert_eq!(
                object.read_all(Some(&keys.identities)).expect("reads"),
                plain
            );
        }
    }
}

#[test]
fn checksums_are_those_of_the_bytes_handed_out() {
    let keys = Keys::new();
    let object = write(&content(200_000, 1), &keys.recipients, 1 << 16);
    assert_eq!(object.facts.crc32c, crc_fast::crc32_iscsi(&object.bytes));
    assert_eq!(object.facts.crc64nvme, crc_fast::crc64_nvme(&object.bytes));
    assert_eq!(crc_fast::crc32_iscsi(b"123456789"), 0xE306_9283);
    assert_eq!(crc_fast::crc64_nvme(b"123456789"), 0xAE8B_1486_0A79_9888);
}

#[test]
fn inner_files_that_end_on_and_beside_a_chunk_border_round_trip() {
    let keys = Keys::new();
    // Noise of one frame stores as itself plus a constant: sizes around one and two chunks can be hit exactly.
    let inner_len = |len: usize| {
        let layout = write(&noise(len, 1), &Recipients::none(), 1 << 20).facts;
        layout.size as usize
    };
    for chunks in [1, 2] {
        let border = chunks * 65_536;
        let overhead = inner_len(border - 2000) - (border - 2000);
        let mut hits = 0;
        for len in border - overhead - 20..border - overhead + 20 {
            let plain = noise(len, 1);
            let object = write(&plain, &keys.recipients, 1 << 20);
            let payload = object.facts.size - object.facts.header_size;
            hits += u32::from(payload.is_multiple_of(65_552));
            assert_eq!(
                object.read_all(Some(&keys.identities)).expect("reads"),
                plain
            );
        }
        assert!(hits > 0, "no size gave exactly {chunks} chunks");
    }
}

#[test]
fn a_tail_that_begins_on_a_chunk_border_is_read_without_the_chunk_before() {
    let keys = Keys::new();
    let tail_offset = |len| {
        write(&noise(len, 7), &Recipients::none(), 1 << 20)
            .facts
            .tail_offset
    };
    let overhead = tail_offset(60_000) as usize - 60_000;
    let object = write(&noise(65_536 - overhead, 7), &keys.recipients, 1 << 20);
    assert_eq!(object.facts.tail_offset, 65_536);
    let range = object.facts.layout().check().expect("fits").tail_range();
    assert_eq!(range.start, object.facts.header_size + 65_552);
    object.read_all(Some(&keys.identities)).expect("reads");
}

#[test]
fn a_frame_decodes_out_of_any_range_that_covers_it() {
    let keys = Keys::new();
    let plain = noise(400_000, 3);
    for recipients in [&Recipients::none(), &keys.recipients] {
        let object = write(&plain, recipients, 1 << 15);
        let segment = object.open(Some(&keys.identities)).expect("opens");
        let all = segment.object_range(0..segment.frames());
        for frame in 0..segment.frames() {
            let own = segment.object_range(frame..frame + 1);
            let several = segment.object_range(frame.saturating_sub(1)..segment.frames());
            let expect = segment.plain_range(frame);
            for range in [own, several, all.clone(), 0..object.facts.size] {
                let bytes = object.get(range.clone()).expect("inside");
                let got = segment.decode(frame, bytes, range.start).expect("decodes");
                assert_eq!(got, plain[expect.start as usize..expect.end as usize]);
            }
        }
        assert!(
            segment
                .object_range(segment.frames()..segment.frames() + 1)
                .is_empty()
        );
        assert!(segment.object_range(3..3).is_empty());
        assert!(segment.object_range(u32::MAX..u32::MAX).is_empty());
        assert!(segment.decode(segment.frames(), &object.bytes, 0).is_err());
    }
}

#[test]
fn each_of_several_recipients_can_read_and_no_one_else() {
    let (one, two, other) = (Keys::new(), Keys::new(), Keys::new());
    let both = [one.recipients.to_strings(), two.recipients.to_strings()].concat();
    let object = write(
        &content(9000, 5),
        &Recipients::parse(both).expect("keys"),
        4096,
    );
    for keys in [&one, &two] {
        assert!(object.read_all(Some(&keys.identities)).is_ok());
    }
    let layout = object.facts.layout().check().expect("fits");
    let header = object.get(layout.header_range()).expect("inside");
    let error = ContentKey::unwrap(header, &other.identities).expect_err("not for other");
    assert!(error.is_no_key() && !error.is_corrupt());
    assert!(
        error.to_string().contains(&other.recipients.to_string()),
        "{error}"
    );
    let tail = object.get(layout.tail_range()).expect("inside");
    let error = OpenSegment::open(layout, None, header, tail).map(drop);
    assert!(error.expect_err("no key").is_no_key());
}

#[test]
fn a_byte_of_the_header_that_changes_is_damage_for_whoever_is_recorded_as_a_recipient() {
    let (one, two, other) = (Keys::new(), Keys::new(), Keys::new());
    let recorded = [one.recipients.to_strings(), two.recipients.to_strings()].concat();
    let recipients = Recipients::parse(&recorded).expect("keys");
    let object = write(&content(9000, 5), &recipients, 4096);
    let layout = object.facts.layout().check().expect("fits");
    let header = object.get(layout.header_range()).expect("inside").to_vec();
    let open = |header: &[u8], keys: &Keys| {
        ContentKey::unwrap_recorded(header, &keys.identities, &recorded)
    };
    let mut looks_foreign = 0;
    // The last 16 bytes are the nonce, which the chunks prove.
    for at in 0..header.len() - 16 {
        let mut bent = header.clone();
        bent[at] ^= 1;
        let error = open(&bent, &two).expect_err("the MAC is of the whole header");
        assert!(!error.is_no_key(), "byte {at}: {error}");
        let bare = ContentKey::unwrap(&bent, &two.identities).expect_err("as before");
        looks_foreign += usize::from(bare.is_no_key());
    }
    assert!(looks_foreign > 50, "the record was needed: {looks_foreign}");
    assert!(open(&header, &one).is_ok() && open(&header, &two).is_ok());
    let error = open(&header, &other).expect_err("not for other");
    assert!(error.is_no_key() && !error.is_corrupt());
}

#[test]
fn re_keying_keeps_every_frame_as_it_is() {
    let (old, new) = (Keys::new(), Keys::new());
    let plain = content(50_000, 6);
    let object = write(&plain, &old.recipients, 4096);
    let segment = object.open(Some(&old.identities)).expect("opens");
    let mut writer = ObjectWriter::new(&new.recipients, 4096).expect("a writer");
    for frame in 0..segment.frames() {
        let range = segment.object_range(frame..frame + 1);
        let bytes = object.get(range.clone()).expect("inside");
        let stored = segment
            .stored_frame(frame, bytes, range.start)
            .expect("proven");
        writer.frame(&stored).expect("takes it");
    }
    let index = segment.index().expect("an index");
    let (bytes, facts) = writer.finish(&index).expect("finishes");
    assert_eq!(facts.tail_offset, object.facts.tail_offset);
    assert_eq!(facts.tail_sha256, object.facts.tail_sha256);
    let rekeyed = Object {
        bytes: bytes.to_vec(),
        facts,
    };
    assert_eq!(
        rekeyed.read_all(Some(&new.identities)).expect("reads"),
        plain
    );
    assert!(rekeyed.read_all(Some(&old.identities)).is_err());
}

#[test]
fn a_short_frame_is_the_last_one() {
    let mut compressor = FrameCompressor::new(1, 4096).expect("a compressor");
    let mut writer = ObjectWriter::new(&Recipients::none(), 4096).expect("a writer");
    let (full, short) = (
        compressor.compress(&[1; 4096]).expect("compresses"),
        compressor.compress(&[2; 10]).expect("compresses"),
    );
    writer.frame(&full).expect("full");
    writer.frame(&short).expect("short");
    assert!(writer.frame(&full).is_err());
    assert!(writer.frame(&short).is_err());
    let large = FrameCompressor::new(1, 8192).and_then(|mut c| c.compress(&[0; 5000]));
    let mut writer = ObjectWriter::new(&Recipients::none(), 4096).expect("a writer");
    assert!(writer.frame(&large.expect("compresses")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_size_in_any_frame_size_round_trips(
        len in prop_oneof![0_usize..20_000, 60_000_usize..70_000, 100_000_usize..400_000],
        frame_size_log in 12_u32..=20,
        compressible in any::<bool>(),
        encrypted in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let keys = Keys::new();
        let plain = if compressible { content(len, seed) } else { noise(len, seed) };
        let none = Recipients::none();
        let recipients = if encrypted { &keys.recipients } else { &none };
        let object = write(&plain, recipients, 1 << frame_size_log);
        let segment = object.open(Some(&keys.identities)).expect("opens");
        prop_assert_eq!(segment.frames() as usize, len.div_ceil(1 << frame_size_log));
        // One offset at a time, as the mount reads: the frame is found by arithmetic and holds that byte.
        for offset in (0..len).step_by(len / 16 + 1) {
            let frame = segment.frame_of(offset as u64).expect("inside");
            let place = offset - segment.plain_range(frame).start as usize;
            let bytes = object.decode(&segment, frame).expect("decodes");
            prop_assert_eq!(bytes[place], plain[offset]);
        }
        prop_assert_eq!(segment.frame_of(len as u64), None);
        prop_assert_eq!(object.read_all(Some(&keys.identities)).expect("reads"), plain);
    }
}

#[test]
fn writers_move_between_threads_and_open_segments_are_shared() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync>() {}
    send::<FrameCompressor>();
    send::<ObjectWriter>();
    share::<StoredFrame>();
    share::<OpenSegment>();
    share::<ContentKey>();
    share::<Identities>();
    share::<Recipients>();
}

#[test]
fn a_carried_header_opens_the_old_body_for_the_new_keys_only_whatever_its_length() {
    let old = Keys::new();
    let plain = content(200_000, 7);
    let object = write(&plain, &old.recipients, 4096);
    let layout = object.facts.layout().check().expect("fits");
    let own = object.get(layout.header_range()).expect("inside");
    let tail = object.get(layout.tail_range()).expect("inside");
    let key = ContentKey::unwrap(own, &old.identities).expect("the old key");
    let mut longer = 0;
    for count in [1, 2, RECIPIENTS_MAX] {
        let new: Vec<Keys> = (0..count).map(|_| Keys::new()).collect();
        let public: Vec<String> = new.iter().flat_map(|k| k.recipients.to_strings()).collect();
        let recipients = Recipients::parse(&public).expect("keys");
        let header = key.rewrap(own, &recipients).expect("wraps");
        longer += usize::from(header.len() > own.len());
        check_carried_header(&header, count).expect("one");
        assert!(check_carried_header(&header, count + 1).is_err());
        let error = ContentKey::unwrap_recorded(&header, &old.identities, &public);
        let error = error.expect_err("the old key is none of them");
        assert!(
            error.is_no_key() && error.to_string().contains(&public[0]),
            "{error}"
        );
        for keys in [&new[0], &new[count - 1]] {
            let key = ContentKey::unwrap(&header, &keys.identities).expect("a new key");
            // Re-keyed again, out of the carried header.
            let third = Keys::new();
            let again = key.rewrap(&header, &third.recipients).expect("wraps");
            let again_key = ContentKey::unwrap(&again, &third.identities).expect("the third key");
            for (key, header) in [(key, &header), (again_key, &again)] {
                let open = OpenSegment::open_carried(layout, Some(key), header, tail);
                let open = open.expect("opens");
                let mut read = Vec::new();
                for frame in (0..open.frames()).rev() {
                    read.splice(0..0, object.decode(&open, frame).expect("decodes"));
                }
                assert!(read == plain);
            }
        }
    }
    assert!(longer > 0, "some header is longer than the object's own");
}

#[test]
fn a_carried_header_that_is_not_whole_opens_nothing() {
    let (old, new) = (Keys::new(), Keys::new());
    let object = write(&content(70_000, 8), &old.recipients, 4096);
    let layout = object.facts.layout().check().expect("fits");
    let own = object.get(layout.header_range()).expect("inside");
    let tail = object.get(layout.tail_range()).expect("inside");
    let key = ContentKey::unwrap(own, &old.identities).expect("the old key");
    let header = key.rewrap(own, &new.recipients).expect("wraps");
    let open = |header: &[u8]| {
        let key = ContentKey::unwrap(header, &new.identities)?;
        OpenSegment::open_carried(layout, Some(key), header, tail).map(drop)
    };
    open(&header).expect("as it was made");
    for at in 0..header.len() {
        let mut bent = header.clone();
        bent[at] ^= 1;
        assert!(open(&bent).is_err(), "byte {at}");
    }
    for end in 0..header.len() {
        assert!(open(&header[..end]).is_err(), "cut at {end}");
    }
    assert!(open(&[&header[..], b"x"].concat()).is_err());
    assert!(key.rewrap(&own[..15], &new.recipients).is_err());
    assert!(key.rewrap(own, &Recipients::none()).is_err());
}
