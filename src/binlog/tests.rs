//! The scanner against synthetic files: whole, cut, flipped, in any pieces, and of every kind.

use super::testing::{BinlogBuilder, event_header, mysql_gtid};
use super::*;
use crate::model::{Gtid, GtidSet, GtidSource, Micros, Sha256};
use proptest::prelude::*;

const T: Micros = Micros(1_700_000_123_456_789);

fn scan(bytes: &[u8]) -> Summary {
    try_scan(bytes).expect("the file is not refused")
}

fn try_scan(bytes: &[u8]) -> Result<Summary, Refusal> {
    scan_reader(bytes).expect("memory can be read")
}

fn tagged(number: u64) -> Gtid {
    Gtid {
        source: GtidSource::MySql {
            uuid: uuid::Uuid::from_bytes([1; 16]),
            tag: "nightly".parse().expect("a tag"),
        },
        number,
    }
}

fn maria(number: u64) -> Gtid {
    Gtid {
        source: GtidSource::MariaDb {
            domain: 0,
            server: 9,
        },
        number,
    }
}

fn previous() -> GtidSet {
    let mut set = GtidSet::new();
    set.insert_run(mysql_gtid(1, 1).source, 1, 4);
    set
}

fn write_sample(builder: &mut BinlogBuilder) {
    builder
        .previous_gtids(&previous())
        .transaction(&mysql_gtid(1, 5), Some(T), 300)
        .ddl(
            &mysql_gtid(1, 6),
            Some(Micros(T.0 + 1)),
            "shop",
            "DROP TABLE orders",
        )
        .transaction(&tagged(1), Some(Micros(T.0 + 2)), 10)
        .gtid(&mysql_gtid(1, 9), Some(Micros(T.0 + 3)))
        .payload(|inner| {
            inner
                .query("", "BEGIN")
                .table_map(7, "shop", "packed")
                .rows(5000)
                .xid();
        })
        .rotate("binlog.000002");
}

fn sample() -> Vec<u8> {
    let mut builder = BinlogBuilder::mysql();
    write_sample(&mut builder);
    builder.finish()
}

fn sample_without_checksums() -> Vec<u8> {
    let mut builder = BinlogBuilder::new(
        Flavour::MySql,
        "8.0.40",
        ChecksumAlgorithm::None,
        1_700_000_000,
    );
    write_sample(&mut builder);
    builder.stop();
    builder.finish()
}

#[derive(Default)]
struct Recorder {
    transactions: Vec<Transaction>,
    events: Vec<EventRef>,
}

impl Sink for Recorder {
    fn transaction(&mut self, transaction: &Transaction) {
        self.transactions.push(transaction.clone());
    }
    fn event(&mut self, event: &EventRef) {
        self.events.push(*event);
    }
}

fn record(bytes: &[u8]) -> (Summary, Recorder) {
    let mut scanner = Scanner::new(Recorder::default());
    scanner.push(bytes).expect("not refused");
    let (summary, recorder) = scanner.finish();
    (summary.expect("not refused"), recorder)
}

#[test]
fn a_whole_file_is_summarised() {
    let bytes = sample();
    let (summary, recorder) = record(&bytes);
    assert_eq!(summary.damage, None);
    assert_eq!(summary.size, bytes.len() as u64);
    assert_eq!(summary.last_whole_event_end, summary.size);
    assert_eq!(summary.flavour, Some(Flavour::MySql));
    assert_eq!(summary.server_version, "9.7.4");
    assert_eq!(summary.checksum, ChecksumAlgorithm::Crc32);
    assert_eq!(summary.previous_gtids, Some(previous()));
    assert_eq!((summary.transactions, summary.events), (4, 17));
    let mut gtids: GtidSet = GtidSet::new();
    gtids.extend([
        mysql_gtid(1, 5),
        mysql_gtid(1, 6),
        mysql_gtid(1, 9),
        tagged(1),
    ]);
    assert_eq!(summary.gtids, gtids);
    assert_eq!(
        summary.ending,
        Ending::Rotate {
            next_file: "binlog.000002".to_owned(),
            time: Micros(1_700_000_000_000_000)
        }
    );
    assert_eq!(summary.first_time, Some(T));
    assert_eq!(summary.last_time, Some(Micros(1_700_000_000_000_000)));
    assert_eq!(summary.min_time, Some(Micros(1_700_000_000_000_000)));
    assert_eq!(summary.max_time, Some(Micros(T.0 + 3)));
    assert_eq!(summary.index.tables, ["shop.orders", "shop.packed"]);
    assert!(!summary.index.tables_incomplete && !summary.index.ddl_incomplete);
    assert_eq!(summary.index.points.len(), 1);
    assert_eq!(summary.latest_commit, Some(Micros(T.0 + 3)));
    let ddl = &summary.index.ddl[0];
    assert_eq!(
        (ddl.sql.as_str(), ddl.database.as_str()),
        ("DROP TABLE orders", "shop")
    );
    assert_eq!(
        (ddl.gtid.clone(), ddl.time),
        (Some(mysql_gtid(1, 6)), Micros(T.0 + 1))
    );
    let told = &recorder.transactions;
    assert!(told.windows(2).all(|two| two[0].end == two[1].start));
    assert_eq!(ddl.position, told[1].start);
    assert_eq!(summary.index.points[0].position, told[0].start);
    assert_eq!(summary.last_transaction_end, told[3].end);
    assert!(told.iter().all(|t| t.commit_time_exact));
    assert_eq!(recorder.events.len(), 17);
    assert_eq!(recorder.events[0].position, 4);
}

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

#[test]
fn a_closed_file_cut_inside_an_event_is_damaged_there() {
    for bytes in [sample(), sample_without_checksums()] {
        let description = record(&bytes).1.events[1].position;
        cut_anywhere(&bytes, |cut, whole_end, _, damage| {
            let expected = (cut > description && cut > whole_end).then_some(whole_end);
            assert_eq!(
                damage.map(|d| d.first_bad_position),
                expected,
                "cut at {cut}"
            );
        });
    }
}

#[test]
fn a_closed_file_of_mariadb_cut_inside_an_event_is_damaged_there() {
    let mut builder = BinlogBuilder::mariadb();
    builder
        .transaction(&maria(1), None, 40)
        .rotate("binlog.000002");
    let bytes = builder.finish();
    let description = record(&bytes).1.events[1].position;
    cut_anywhere(&bytes, |cut, whole_end, _, damage| {
        let expected = (cut > description && cut > whole_end).then_some(whole_end);
        assert_eq!(
            damage.map(|d| d.first_bad_position),
            expected,
            "cut at {cut}"
        );
    });
    cut_anywhere(&in_use(bytes), |cut, _, _, damage| {
        assert_eq!(damage, None, "cut at {cut}");
    });
}

#[test]
fn mariadb_is_known_by_its_event_types_whatever_version_it_claims() {
    for version in ["8.0.36", "5.5.30", "5.1.0", "x"] {
        for checksum in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::None] {
            let mut builder = BinlogBuilder::new(Flavour::MariaDb, version, checksum, 1_000);
            builder.transaction(&maria(7), None, 40).stop();
            let summary = scan(&builder.finish());
            assert_eq!(summary.damage, None, "{version}");
            assert_eq!(summary.flavour, Some(Flavour::MariaDb), "{version}");
            assert_eq!(
                (summary.checksum, summary.server_version.as_str()),
                (checksum, version)
            );
            assert_eq!(summary.gtids.to_string(), "0-9-7");
        }
    }
    assert_eq!(scan(&sample()).flavour, Some(Flavour::MySql));
}

#[test]
fn a_statement_behind_set_statement_leaves_the_index_incomplete() {
    let mut builder = BinlogBuilder::mariadb();
    builder.ddl(
        &maria(1),
        None,
        "shop",
        "SET STATEMENT max_statement_time=60 FOR DROP TABLE t",
    );
    let summary = scan(&builder.finish());
    assert_eq!((summary.damage, summary.transactions), (None, 1));
    assert!(summary.index.ddl_incomplete && summary.index.tables_incomplete);
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
fn positions_beyond_four_gib_are_right_and_cost_no_memory() {
    const HUGE: u32 = 3 << 30;
    let mut builder = BinlogBuilder::new(Flavour::MySql, "8.0.40", ChecksumAlgorithm::None, 5);
    let mut scanner = Scanner::new(Recorder::default());
    let filler = vec![0xa5; 1 << 20];
    builder.gtid(&mysql_gtid(1, 1), Some(T)).query("", "BEGIN");
    for _ in 0..2 {
        builder.event_header(kind::WRITE_ROWS, HUGE);
        scanner.push(&builder.take()).expect("goes on");
        let mut left = u64::from(HUGE) - HEADER_BYTES as u64;
        builder.skip(left);
        while left > 0 {
            let now = left.min(filler.len() as u64);
            scanner.push(&filler[..now as usize]).expect("goes on");
            left -= now;
        }
    }
    builder.xid();
    let second = builder.position();
    builder.transaction(&mysql_gtid(1, 2), Some(T), 100).stop();
    scanner.push(&builder.take()).expect("goes on");
    let (summary, recorder) = scanner.finish();
    let summary = summary.expect("not refused");
    assert_eq!(summary.damage, None);
    assert_eq!(summary.size, builder.position());
    assert!(second > 6 << 30);
    assert_eq!(recorder.transactions[1].start, second);
    assert_eq!(summary.index.points[1].position, second);
    assert_eq!(summary.transactions, 2);
}

#[test]
fn reading_on_at_any_transaction_tells_the_same_as_reading_all() {
    let mut of_mariadb = BinlogBuilder::mariadb();
    of_mariadb
        .transaction(&maria(42), None, 50)
        .ddl(&maria(43), None, "shop", "CREATE TABLE x (a INT)")
        .transaction(&maria(44), None, 50);
    for bytes in [sample(), sample_without_checksums(), of_mariadb.finish()] {
        let (summary, whole) = record(&bytes);
        let format = summary.index.format.expect("it has one");
        for (n, first) in whole.transactions.iter().enumerate() {
            let mut scanner = Scanner::resume(Recorder::default(), &format, first.start)
                .expect("a format description");
            assert_eq!(scanner.last_transaction_end(), first.start);
            for piece in bytes[first.start as usize..].chunks(7) {
                scanner.push(piece).expect("goes on");
            }
            assert_eq!(scanner.size(), bytes.len() as u64);
            let (rest, told) = scanner.finish();
            assert_eq!(rest.expect("not refused").damage, None);
            assert_eq!(told.transactions, whole.transactions[n..]);
        }
    }
}

#[test]
fn nothing_is_read_on_with_what_is_no_format_description() {
    let json = |hex: &str| serde_json::from_value::<FormatEvent>(serde_json::json!(hex));
    for hex in ["", "00", &"00".repeat(120)] {
        let format = json(hex).expect("bytes");
        assert!(Scanner::resume((), &format, 4).is_none(), "{hex}");
    }
    let bytes = sample();
    let format = scan(&bytes).index.format.expect("it has one");
    let text = serde_json::to_value(&format).expect("text");
    let text = text.as_str().expect("text");
    let (cut, longer) = (&text[..text.len() - 2], format!("{text}00"));
    for hex in [cut, &longer] {
        let format = json(hex).expect("bytes");
        assert!(Scanner::resume((), &format, 4).is_none(), "{hex}");
    }
    assert!(json(&"00".repeat(1000)).is_err() && json("zz").is_err());
}

#[test]
fn what_is_no_binlog_is_refused_by_name() {
    let mut encrypted = BinlogBuilder::mariadb();
    encrypted.event(kind::START_ENCRYPTION, 0, &[1; 17]);
    let mut v3 = b"\xfebin".to_vec();
    v3.extend_from_slice(&event_header(1, kind::START_V3, 1, 75, 79, 0));
    v3.extend_from_slice(&3_u16.to_le_bytes());
    v3.extend_from_slice(&[0; 54]);
    let mut flagged = sample();
    flagged[4 + 17] |= FLAG_RELAY_LOG as u8;
    let end = scan(&flagged[..4]).size as usize + record(&sample()).1.events[0].size as usize;
    let crc = crc32fast::hash(&flagged[4..end - 4]);
    flagged[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    let mut relay =
        BinlogBuilder::new(Flavour::MySql, "5.5.62-log", ChecksumAlgorithm::None, 1_000);
    relay.time(0).event(
        kind::ROTATE,
        FLAG_ARTIFICIAL,
        b"\x04\0\0\0\0\0\0\0binlog.000001",
    );
    for (bytes, refusal) in [
        (b"# at 4\nnot a binlog".to_vec(), Refusal::NotABinlog),
        (b"./binlog.000001\n".to_vec(), Refusal::NotABinlog),
        (vec![0; 100], Refusal::NotABinlog),
        (b"\xfdbin\x01\x00".to_vec(), Refusal::Encrypted),
        (b"\xfe\xfe\x0d\x01\0\0\0\0".to_vec(), Refusal::MariaDbIbb),
        (encrypted.finish(), Refusal::StartEncryption),
        (v3, Refusal::OldVersion(3)),
        (flagged, Refusal::RelayLog),
        (relay.finish(), Refusal::RelayLog),
    ] {
        assert_eq!(try_scan(&bytes), Err(refusal.clone()));
        let mut scanner = Scanner::new(());
        let results: Vec<_> = bytes.iter().map(|byte| scanner.push(&[*byte])).collect();
        assert!(
            results.contains(&Err(refusal.clone())),
            "{refusal:?} surfaces in push"
        );
        assert_eq!(scanner.finish().0, Err(refusal.clone()));
        assert_eq!(probe_head(&bytes, true), Err(refusal));
    }
}

#[test]
fn an_empty_file_is_a_link_of_a_chain() {
    for bytes in [&b""[..], b"\xfe", b"\xfebi", b"\xfebin"] {
        let summary = scan(bytes);
        assert_eq!(
            (summary.flavour, summary.damage, summary.ending),
            (None, None, Ending::Open)
        );
        assert_eq!(summary.head, Sha256::of(b""));
        assert_eq!(
            summary.last_transaction_end,
            if bytes.len() < 4 { 0 } else { 4 }
        );
    }
}

#[test]
fn the_head_is_the_format_description_without_in_use_and_the_first_event() {
    let bytes = sample();
    let (summary, recorder) = record(&bytes);
    let first_two = recorder.events[2].position as usize;
    assert_eq!(summary.head, Sha256::of(&bytes[4..first_two]));
    let mut in_use = BinlogBuilder::mysql();
    write_sample(&mut in_use);
    in_use.in_use();
    assert_eq!(scan(in_use.bytes()).head, summary.head);
    assert!(scan(in_use.bytes()).in_use);
    assert_eq!(scan(in_use.bytes()).damage, None);
    // Probing needs exactly what it asks for, and never asks twice for the same.
    let mut have = 0;
    let head = loop {
        match probe_head(&bytes[..have], false).expect("not refused") {
            HeadProbe::NeedMore(bytes_needed) => {
                assert!(bytes_needed > have as u64 && bytes_needed <= first_two as u64);
                have = bytes_needed as usize;
            }
            HeadProbe::Head(head) => break head,
        }
    };
    assert_eq!(have, first_two);
    assert_eq!(head.head, summary.head);
    assert_eq!(head.first_event_type, Some(kind::PREVIOUS_GTIDS));
    assert_eq!(head.previous_gtids, Some(previous()));
    let HeadProbe::Head(cut) = probe_head(&bytes[..first_two - 1], true).expect("not refused")
    else {
        panic!("the end of the file ends the probe");
    };
    assert_eq!(cut.first_event_type, None);
    assert_eq!(cut.head, scan(&bytes[..first_two - 1]).head);
}

#[test]
fn statements_and_their_preludes_make_transactions_without_gtids() {
    let mut builder =
        BinlogBuilder::new(Flavour::MySql, "5.5.62-log", ChecksumAlgorithm::None, 1_000);
    let first = builder.position();
    builder
        .event(kind::INTVAR, 0, &[2, 1, 0, 0, 0, 0, 0, 0, 0])
        .query("shop", "INSERT INTO t VALUES (NULL)")
        .time(1_500)
        .query("shop", "BEGIN")
        .query("shop", "SAVEPOINT `s`")
        .query("shop", "ROLLBACK TO `s`")
        .query("shop", "DELETE FROM t")
        .time(2_000)
        .query("shop", "COMMIT")
        .query("shop", "ALTER TABLE t ADD b INT")
        .query("shop", "BEGIN")
        .query("shop", "UPDATE t SET b=1");
    let (summary, recorder) = record(&builder.finish());
    assert_eq!(summary.damage, None);
    let told = recorder.transactions;
    assert_eq!(told.len(), 3, "the last one never ends");
    assert_eq!(told[0].start, first);
    assert_eq!(told[1].commit_time, Micros(2_000_000_000));
    assert!(!told[1].commit_time_exact);
    assert_eq!(summary.last_transaction_end, told[2].end);
    assert!(summary.gtids.is_empty() && summary.previous_gtids.is_none());
    assert!(summary.index.tables_incomplete);
    assert_eq!(summary.index.ddl[0].sql, "ALTER TABLE t ADD b INT");
    assert_eq!(summary.index.ddl[0].position, told[2].start);
}

#[test]
fn xa_incidents_and_unfinished_groups_end_where_they_should() {
    let mut builder = BinlogBuilder::mysql();
    builder
        .previous_gtids(&GtidSet::new())
        .gtid(&mysql_gtid(1, 1), None)
        .query("", "XA START X'31',X'',1")
        .table_map(1, "a", "b")
        .rows(10)
        .query("", "XA END X'31',X'',1")
        .event(kind::XA_PREPARE, 0, &[0; 14])
        .gtid(&mysql_gtid(1, 2), None)
        .query("", "XA COMMIT X'31',X'',1")
        .gtid(&mysql_gtid(1, 3), None)
        .event(kind::INCIDENT, 0, &[1, 0, 0])
        .gtid(&mysql_gtid(1, 4), None)
        .event(kind::VIEW_CHANGE, 0, &[0; 10])
        .anonymous_gtid(Some(T))
        .query("", "BEGIN")
        .query("", "ROLLBACK")
        .event(100, 0, b"padding of another vendor")
        .gtid(&mysql_gtid(1, 5), None)
        .query("", "BEGIN");
    let (summary, recorder) = record(&builder.finish());
    assert_eq!(summary.damage, None);
    assert_eq!(summary.transactions, 5);
    assert_eq!(
        summary.gtids.to_string(),
        "01010101-0101-0101-0101-010101010101:1-4"
    );
    assert_eq!(recorder.transactions[4].gtid, None);
    assert_eq!(recorder.transactions[4].commit_time, T);
}

#[test]
fn mariadb_groups_follow_their_gtid_events() {
    let mut before = GtidSet::new();
    before.insert_run(maria(1).source, 1, 41);
    let mut builder = BinlogBuilder::mariadb();
    builder
        .previous_gtids(&before)
        .event(161, 0, b"\x0a\0\0\0binlog.001")
        .transaction(&maria(42), None, 50)
        .ddl(&maria(43), None, "shop", "CREATE TABLE x (a INT)")
        .gtid(&maria(45), None)
        .query("", "INSERT INTO x VALUES (1)")
        .query("", "COMMIT")
        .stop();
    let bytes = builder.finish();
    let (summary, recorder) = record(&bytes);
    assert_eq!(summary.damage, None);
    assert_eq!(summary.flavour, Some(Flavour::MariaDb));
    assert_eq!(summary.gtids.to_string(), "0-9-42..43,0-9-45");
    assert_eq!(summary.previous_gtids, Some(before));
    assert_eq!(summary.ending, Ending::Stop);
    assert_eq!((summary.transactions, summary.index.ddl.len()), (3, 1));
    assert_eq!(recorder.transactions[2].end, summary.last_transaction_end);
}

#[test]
fn a_position_of_zero_is_believed_of_mariadb_only() {
    for (mut builder, believed) in [
        (BinlogBuilder::mariadb(), true),
        (BinlogBuilder::mysql(), false),
    ] {
        let at = builder.position() as usize;
        let mut bytes = builder.query("", "BEGIN").bytes().to_vec();
        bytes[at + 13..at + 17].fill(0);
        let content = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[at..content]);
        bytes[content..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scan(&bytes).damage.is_none(), believed);
    }
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
fn statements_are_kept_up_to_their_caps() {
    let mut builder = BinlogBuilder::mysql();
    let long = format!(
        "CREATE TABLE t (a INT) COMMENT '{}'",
        "ü".repeat(SQL_MAX_BYTES)
    );
    for number in 1..=400 {
        builder.ddl(&mysql_gtid(1, number), Some(T), "shop", &long);
    }
    let summary = scan(&builder.finish());
    assert_eq!((summary.damage, summary.transactions), (None, 400));
    let index = summary.index;
    assert!(index.ddl_incomplete);
    assert!(
        index
            .ddl
            .iter()
            .all(|ddl| ddl.cut && ddl.sql.len() <= SQL_MAX_BYTES)
    );
    assert!(index.ddl[0].sql.ends_with('ü'));
    let total: usize = index.ddl.iter().map(|ddl| ddl.sql.len()).sum();
    assert!(total <= DDL_TOTAL_MAX_BYTES && total > DDL_TOTAL_MAX_BYTES - 2 * SQL_MAX_BYTES);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_summary_does_not_depend_on_the_pieces(
        sizes in prop::collection::vec(1_usize..400, 1..60),
        checksums: bool,
    ) {
        let bytes = if checksums { sample() } else { sample_without_checksums() };
        let mut scanner = Scanner::new(());
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            scanner.push(piece).expect("not refused");
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(scanner.finish().0, Ok(scan(&bytes)));
    }

    #[test]
    fn no_events_make_it_panic(
        events in prop::collection::vec((any::<u8>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..120)), 0..12),
        mariadb: bool,
        piece in 1_usize..200,
    ) {
        let mut builder = if mariadb { BinlogBuilder::mariadb() } else { BinlogBuilder::mysql() };
        for (type_code, flags, body) in &events {
            builder.event(*type_code, *flags, body);
        }
        let bytes = builder.finish();
        let mut scanner = Scanner::new(());
        for chunk in bytes.chunks(piece) {
            let _ = scanner.push(chunk);
        }
        prop_assert_eq!(scanner.finish().0, try_scan(&bytes));
    }

    #[test]
    fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = BinlogBuilder::mysql().finish();
        bytes.extend_from_slice(&tail);
        let _ = try_scan(&bytes);
        let _ = probe_head(&tail, true);
    }
}

#[test]
fn an_event_longer_than_what_is_read_of_it_means_the_same_in_pieces() {
    let long = "x".repeat(200_000);
    let mut builder = BinlogBuilder::mysql();
    builder
        .gtid(&mysql_gtid(1, 1), Some(T))
        .query("shop", &format!("CREATE TABLE t (a INT) COMMENT '{long}'"))
        .gtid(&mysql_gtid(1, 2), Some(T))
        .query("shop", &format!("/* {long} */ BEGIN"))
        .event(kind::TABLE_MAP, 0, &[255; 2000])
        .xid()
        .rotate(&long);
    let bytes = builder.finish();
    let mut scanner = Scanner::new(());
    for piece in bytes.chunks(1000) {
        scanner.push(piece).expect("not refused");
    }
    let whole = scan(&bytes);
    assert!(
        scanner.finish().0 == Ok(whole.clone()),
        "the pieces make a difference"
    );
    let Ending::Rotate { next_file, .. } = whole.ending else {
        panic!("it ends in ROTATE");
    };
    assert_eq!(next_file.len(), 512, "the longest name a server can have");
}

#[test]
fn one_byte_at_a_time_gives_the_same_summary() {
    for bytes in [sample(), sample_without_checksums()] {
        let mut scanner = Scanner::new(());
        for byte in &bytes {
            scanner.push(&[*byte]).expect("not refused");
        }
        assert_eq!(scanner.finish().0, Ok(scan(&bytes)));
    }
}
