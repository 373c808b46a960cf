//! The scanner against synthetic files: whole, cut, flipped, in any pieces, and of every kind.

mod damage;
mod heads;
mod transactions;

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
