//! Files that are torn, changed or lie.

use super::*;

/// What a server that crashed leaves: its IN_USE flag is set.
fn in_use(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[4 + 17] |= FLAG_IN_USE as u8;
    bytes
}

/// Cuts `bytes` at each of its bytes, and checks all that a cut does not change the meaning of. `check` is given the cut,
/// the offset after the last whole event, that of the event that ends the file, and the damage found.
fn cut_anywhere(bytes: &[u8], check: impl Fn(u64, u64, u64, Option<Damage>)) {
    let (whole, recorder) = record(bytes);
    let last = recorder.events.last().expect("has events").position;
    for cut in 0..=bytes.len() {
        let summary = scan(&bytes[..cut]);
        let ends = recorder
            .events
            .iter()
            .map(|e| e.position + u64::from(e.size))
            .filter(|end| *end <= cut as u64);
        let whole_end = ends.max().unwrap_or(if cut < 4 { 0 } else { 4 });
        assert_eq!(summary.last_whole_event_end, whole_end, "cut at {cut}");
        assert!(summary.gtids.is_subset(&whole.gtids));
        assert!(summary.last_transaction_end <= whole_end);
        check(cut as u64, whole_end, last, summary.damage);
    }
}

#[test]
fn a_file_in_use_cut_anywhere_is_torn_and_not_damaged() {
    for bytes in [sample(), sample_without_checksums()] {
        let ends_in_stop = scan(&bytes).ending == Ending::Stop;
        let size = bytes.len() as u64;
        cut_anywhere(&in_use(bytes), |cut, whole_end, last, damage| {
            // The sample without checksums has its STOP behind a ROTATE.
            if ends_in_stop && cut > last && cut < size {
                let damage = damage.expect("bytes behind ROTATE are an event or wrong");
                assert_eq!(damage.first_bad_position, whole_end);
            } else {
                assert_eq!(damage, None, "cut at {cut}");
            }
        });
    }
}

/// A closed file that is cut inside an event is damaged from there on.
fn damaged_where_it_is_cut(bytes: &[u8]) {
    let description = record(bytes).1.events[1].position;
    cut_anywhere(bytes, |cut, whole_end, _, damage| {
        let expected = (cut > description && cut > whole_end).then_some(whole_end);
        assert_eq!(
            damage.map(|d| d.first_bad_position),
            expected,
            "cut at {cut}"
        );
    });
}

#[test]
fn a_closed_file_cut_inside_an_event_is_damaged_there() {
    for bytes in [sample(), sample_without_checksums()] {
        damaged_where_it_is_cut(&bytes);
    }
}

#[test]
fn a_closed_file_of_mariadb_cut_inside_an_event_is_damaged_there() {
    let mut builder = BinlogBuilder::mariadb();
    builder
        .transaction(&maria(1), None, 40)
        .rotate("binlog.000002");
    let bytes = builder.finish();
    damaged_where_it_is_cut(&bytes);
    cut_anywhere(&in_use(bytes), |cut, _, _, damage| {
        assert_eq!(damage, None, "cut at {cut}");
    });
}

#[test]
fn a_number_that_no_gtid_can_have_is_damage() {
    let largest = i64::MAX as u64 - 1;
    let mut at_the_limit = BinlogBuilder::mysql();
    let (last, mut of_tag) = (mysql_gtid(1, largest), tagged(largest));
    at_the_limit
        .transaction(&last, Some(T), 10)
        .transaction(&of_tag, Some(T), 10);
    let summary = scan(&at_the_limit.finish());
    assert_eq!((summary.damage, summary.gtids.count()), (None, 2));
    assert!(summary.gtids.contains(&last) && summary.gtids.contains(&of_tag));
    of_tag.number += 1;
    for beyond in [
        mysql_gtid(1, largest + 1),
        mysql_gtid(1, u64::MAX),
        mysql_gtid(1, 0),
        of_tag,
    ] {
        let mut builder = BinlogBuilder::mysql();
        let at = builder.position();
        builder.transaction(&beyond, Some(T), 10);
        let damage = scan(&builder.finish()).damage.expect("no GTID");
        assert_eq!(damage.first_bad_position, at, "{beyond}");
    }
}

#[test]
fn every_changed_byte_of_a_file_with_checksums_is_found_in_its_event() {
    let bytes = sample();
    let (whole, recorder) = record(&bytes);
    for at in 0..bytes.len() {
        for change in [0xff, 0x01, 0x02, 0x20, 0x40, 0x80, bytes[at]] {
            let mut changed = bytes.clone();
            changed[at] ^= change;
            if change == 0 {
                continue;
            }
            let Ok(summary) = try_scan(&changed) else {
                assert!(
                    at < 4,
                    "byte {at} ^ {change:#x} must not get the file refused"
                );
                continue;
            };
            let Some(damage) = summary.damage else {
                // The flag that a server clears when it closes the file.
                assert_eq!(
                    (at, change),
                    (4 + 17, 1),
                    "byte {at} ^ {change:#x} unnoticed"
                );
                assert!(summary.in_use && !whole.in_use);
                assert_eq!(summary.head, whole.head);
                continue;
            };
            let event = recorder
                .events
                .iter()
                .rfind(|event| event.position <= at as u64)
                .expect("is in an event");
            assert_eq!(damage.first_bad_position, event.position, "byte {at}");
            assert_eq!(summary.last_whole_event_end, event.position);
            assert_eq!(summary.size, bytes.len() as u64);
        }
    }
}

#[test]
fn without_checksums_sizes_and_positions_are_still_found_wrong() {
    let bytes = sample_without_checksums();
    let (_, recorder) = record(&bytes);
    for event in &recorder.events {
        for offset in 9..17 {
            for change in [0xff, 0x01, bytes[event.position as usize + offset]] {
                let mut changed = bytes.clone();
                changed[event.position as usize + offset] ^= change;
                if change == 0 {
                    continue;
                }
                let damage = scan(&changed).damage.expect("found");
                assert_eq!(damage.first_bad_position, event.position);
            }
        }
    }
}

#[test]
fn a_zero_filled_tail_is_damage_where_it_begins() {
    let mut bytes = sample();
    let end = scan(&bytes).last_transaction_end as usize;
    bytes.truncate(end);
    bytes.extend_from_slice(&[0; 100]);
    let summary = scan(&bytes);
    assert_eq!(
        summary
            .damage
            .expect("zeroes are no event")
            .first_bad_position,
        end as u64
    );
    assert_eq!((summary.transactions, summary.ending), (4, Ending::Open));
}

#[test]
fn a_missing_event_is_found_by_the_position_of_the_next() {
    let (_, recorder) = record(&sample());
    let bytes = sample();
    let gone = recorder.events[5];
    let (from, to) = (
        gone.position as usize,
        gone.position as usize + gone.size as usize,
    );
    let short = [&bytes[..from], &bytes[to..]].concat();
    assert_eq!(
        scan(&short).damage.expect("found").first_bad_position,
        from as u64
    );
}

#[test]
fn a_payload_that_cannot_be_read_is_no_damage_but_known_to_be_missing() {
    let inner = zstd::bulk::compress(&vec![0; 1 << 20], 3).expect("compresses");
    let mut checked = 0;
    for (packed, plain_bytes) in [
        (b"not zstd".to_vec(), 100),
        (inner[..inner.len() / 2].to_vec(), 1 << 20),
        (inner, 1000),
        (Vec::new(), 0),
    ] {
        let mut builder = BinlogBuilder::mysql();
        builder
            .gtid(&mysql_gtid(1, 1), Some(T))
            .payload_of(&packed, plain_bytes)
            .transaction(&mysql_gtid(1, 2), Some(T), 10)
            .gtid(&mysql_gtid(1, 3), Some(T))
            .payload(|inner| {
                inner
                    .query("", "BEGIN")
                    .table_map(1, "after", "wards")
                    .xid();
            });
        let summary = scan(&builder.finish());
        assert_eq!((summary.damage, summary.transactions), (None, 3));
        assert!(summary.index.tables_incomplete && summary.index.ddl_incomplete);
        assert_eq!(summary.index.tables, ["after.wards", "shop.orders"]);
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn a_malformed_gtid_event_is_damage_although_its_checksum_is_right() {
    for (type_code, body) in [
        (kind::GTID, &[0_u8; 24][..]),
        (kind::GTID, &[0; 42]),
        (kind::GTID_TAGGED, &[2, 9, 0, 0]),
        (kind::GTID_TAGGED, &[4, 9, 0, 0]),
        (kind::PREVIOUS_GTIDS, &[1, 0, 0, 0, 0, 0, 0, 0]),
        (kind::MARIA_GTID, &[0; 5]),
    ] {
        let mut builder = BinlogBuilder::mysql();
        let at = builder.position();
        builder.event(type_code, 0, body);
        let damage = scan(&builder.finish()).damage.expect("cannot be right");
        assert_eq!(damage.first_bad_position, at);
    }
}
