//! Fuzzes the scanner: bytes as they are, a file whose sizes, positions and checksums are mended, and events made of
//! parts, so that mutations reach what is behind the checks.

#![no_main]

mod allocations;
mod input;
mod seeds;

use binlogfs::binlog::testing::{BinlogBuilder, mysql_gtid};
use binlogfs::binlog::{
    ChecksumAlgorithm, Flavour, HEADER_BYTES, HeadProbe, Refusal, Scanner, SegmentIndex, Summary,
    kind, probe_head,
};
use binlogfs::model::{Gtid, GtidSet, GtidSource, Micros};
use input::Input;
use libfuzzer_sys::fuzz_target;

/// Stands for a TRANSACTION_PAYLOAD event whose content is a list of events too, to be compressed here.
const PACKED: u8 = 0xf0;
/// Longest file that becomes a seed, and longest event body in one.
const SEED_BYTES_MAX: usize = 8 << 10;
const SEED_BODY_MAX: usize = 600;
/// Points from which a file is read on: more of them meet no other code.
const POINTS_TRIED: usize = 4;

fuzz_target!(init: seeds::write_if_asked(seeds), |data: &[u8]| {
    check(&file_of(data));
});

/// The file that an input stands for.
fn file_of(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => input.0.to_vec(),
        1 => mended(input.0),
        _ => built(&mut input),
    }
}

/// `bytes` with sizes that lead from event to event, positions and checksums that fit.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut at = 4;
    while let Some(event) = file
        .get_mut(at..)
        .filter(|rest| rest.len() >= HEADER_BYTES + 4)
    {
        let announced = u32::from_le_bytes([event[9], event[10], event[11], event[12]]) as usize;
        let size = match announced {
            size if (HEADER_BYTES + 4..=event.len()).contains(&size) => size,
            _ => event.len(),
        };
        event[9..13].copy_from_slice(&(size as u32).to_le_bytes());
        event[13..17].copy_from_slice(&((at + size) as u32).to_le_bytes());
        let mut content = event[..size - 4].to_vec();
        if at == 4 {
            // The checksum of the format description does not cover its IN_USE flag.
            content[17] &= !1;
        }
        event[size - 4..size].copy_from_slice(&crc32fast::hash(&content).to_le_bytes());
        at += size;
    }
    file
}

/// A file made of a list of events, some bytes cut off its end.
fn built(input: &mut Input<'_>) -> Vec<u8> {
    let without = ChecksumAlgorithm::None;
    let mut builder = match input.byte() % 6 {
        0 => BinlogBuilder::mysql(),
        1 => BinlogBuilder::mariadb(),
        2 => BinlogBuilder::new(Flavour::MySql, "8.0.40", without, 1_000),
        3 => BinlogBuilder::new(Flavour::MySql, "5.5.62-log", without, 1_000),
        4 => BinlogBuilder::new(Flavour::MariaDb, "8.0.36", ChecksumAlgorithm::Crc32, 1_000),
        _ => BinlogBuilder::new(Flavour::MariaDb, "5.5.5-10.4.1-MariaDB", without, 1_000),
    };
    if input.byte() % 2 == 1 {
        builder.in_use();
    }
    let cut = usize::from(input.byte());
    add_events(&mut builder, input, 0);
    let mut file = builder.finish();
    file.truncate(file.len() - cut.min(file.len()));
    file
}

fn add_events(builder: &mut BinlogBuilder, input: &mut Input<'_>, depth: u8) {
    while !input.is_empty() {
        let (type_code, flags) = (input.byte(), input.short());
        builder.time(input.word()).server_id(input.word());
        let body = input.counted();
        if type_code == PACKED && depth < 2 {
            builder.payload(|inside| add_events(inside, &mut Input(body), depth + 1));
        } else {
            builder.event(type_code, flags, body);
        }
    }
}

fn scan(pieces: impl Iterator<Item = usize>, file: &[u8]) -> Result<Summary, Refusal> {
    let mut scanner = Scanner::new(());
    let mut rest = file;
    for size in pieces {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        // A refusal is said again at the end.
        let _ = scanner.push(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(scanner.size(), file.len() as u64);
    scanner.finish().0
}

/// Sizes of pieces, most of them small, the same ones for the same file.
fn pieces(file: &[u8]) -> impl Iterator<Item = usize> {
    let mut state = u64::from(crc32fast::hash(file)) | 1 << 40;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(1 + (state >> 8) as usize % (1 << (state % 11)))
    })
}

fn check(file: &[u8]) {
    let summary = scan(std::iter::once(file.len()), file);
    let in_pieces = scan(pieces(file), file);
    assert!(summary == in_pieces, "the pieces make a difference");
    let head = probe(file);
    let Ok(summary) = summary else { return };
    assert!(summary.last_transaction_end <= summary.last_whole_event_end);
    assert!(summary.last_whole_event_end <= summary.size);
    if let Some(damage) = &summary.damage {
        assert_eq!(damage.first_bad_position, summary.last_whole_event_end);
    }
    if let Ok(head) = head
        && summary.damage.is_none()
    {
        assert_eq!(head.head, summary.head);
        assert_eq!(
            (head.flavour, head.in_use),
            (summary.flavour, summary.in_use)
        );
    }
    for set in [Some(&summary.gtids), summary.previous_gtids.as_ref()] {
        let Some(set) = set else { continue };
        let again: GtidSet = set.to_string().parse().expect("its own text");
        assert_eq!(&again, set);
    }
    check_index(&summary);
    check_reading_on(&summary, file);
}

/// From any point on the scanner comes to the same end.
fn check_reading_on(summary: &Summary, file: &[u8]) {
    let Some(format) = &summary.index.format else {
        return;
    };
    for point in summary.index.points.iter().take(POINTS_TRIED) {
        let Some(mut scanner) = Scanner::resume((), format, point.position) else {
            panic!("a format description that was read cannot be read again");
        };
        let _ = scanner.push(&file[point.position as usize..]);
        assert_eq!(scanner.last_transaction_end(), summary.last_transaction_end);
    }
}

fn check_index(summary: &Summary) {
    let index = &summary.index;
    assert!(
        index
            .points
            .windows(2)
            .all(|two| two[0].end <= two[1].position && two[0].latest <= two[1].latest)
    );
    assert!(index.points.iter().all(|point| point.position < point.end));
    assert!(
        index
            .points
            .iter()
            .all(|point| point.latest <= summary.latest_commit)
    );
    assert!(index.tables.windows(2).all(|two| two[0] < two[1]));
    let ends = index.points.iter().map(|point| point.position);
    let starts = ends.chain(index.ddl.iter().map(|ddl| ddl.position));
    assert!(
        starts
            .max()
            .is_none_or(|start| start < summary.last_transaction_end)
    );
    let text = serde_json::to_vec(index).expect("an index is JSON");
    let again: SegmentIndex = serde_json::from_slice(&text).expect("its own JSON");
    assert_eq!(&again, index);
}

/// The head, asked for as the lister of a server's files does.
fn probe(file: &[u8]) -> Result<Box<binlogfs::binlog::Head>, Refusal> {
    let mut have = 0;
    loop {
        match probe_head(&file[..have], have == file.len())? {
            HeadProbe::Head(head) => return Ok(head),
            HeadProbe::NeedMore(needed) => {
                assert!(needed > have as u64, "it asks for what it has");
                have = usize::try_from(needed)
                    .unwrap_or(usize::MAX)
                    .min(file.len());
            }
        }
    }
}

/// The input of kind [`built`] that stands for `file`, a whole one or the front of one.
fn as_list(flavour: u8, file: &[u8]) -> Vec<u8> {
    let mut input = vec![2, flavour, 0, 0];
    let crc = scan(std::iter::once(file.len()), file)
        .is_ok_and(|summary| summary.checksum == ChecksumAlgorithm::Crc32);
    let mut events = events_of(file, if crc { 4 } else { 0 });
    // The builder writes the format description.
    events.next();
    for (header, body) in events {
        input.push(header[4]);
        input.extend_from_slice(&header[17..19]);
        input.extend_from_slice(&header[..4]);
        input.extend_from_slice(&header[5..9]);
        let body = &body[..body.len().min(SEED_BODY_MAX)];
        input.extend_from_slice(&(body.len() as u16).to_le_bytes());
        input.extend_from_slice(body);
        if input.len() > SEED_BYTES_MAX {
            break;
        }
    }
    input
}

/// Header and body of each event, checksums left out.
fn events_of(file: &[u8], trailer: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = file.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let size = rest.get(9..13)?.try_into().ok()?;
        let size = u32::from_le_bytes(size) as usize;
        let event = rest.get(..size)?;
        rest = &rest[size..];
        let (header, body) = event.split_at_checked(HEADER_BYTES)?;
        Some((header, body.get(..body.len().checked_sub(trailer)?)?))
    })
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (flavour, file) in [(0, of_mysql()), (1, of_mariadb())] {
        seeds.push(as_list(flavour, &file));
        seeds.push([&[1], &file[..]].concat());
        seeds.push([&[0], &file[..]].concat());
    }
    for file in seeds::binlogs(64 << 10) {
        seeds.push(as_list(0, &file));
        seeds.push([&[1], &file[..file.len().min(SEED_BYTES_MAX)]].concat());
    }
    // Nested lists, which only this target knows.
    let packed: Vec<u8> = as_list(0, &of_mysql())[4..].to_vec();
    let mut nested = vec![2, 0, 1, 7, PACKED, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    nested.extend_from_slice(&(packed.len() as u16).to_le_bytes());
    nested.extend_from_slice(&packed);
    seeds.push(nested);
    seeds
}

fn of_mysql() -> Vec<u8> {
    let time = Some(Micros(1_700_000_123_456_789));
    let GtidSource::MySql { uuid, .. } = mysql_gtid(1, 1).source else {
        unreachable!("it is MySQL's")
    };
    let tag = "blue".parse().expect("a tag");
    let tagged = Gtid {
        source: GtidSource::MySql { uuid, tag },
        number: 7,
    };
    let mut before = GtidSet::new();
    before.insert_run(tagged.source.clone(), 1, 6);
    before.insert_run(mysql_gtid(1, 1).source, 1, 4);
    let mut builder = BinlogBuilder::mysql();
    builder
        .previous_gtids(&before)
        .transaction(&mysql_gtid(1, 5), time, 30)
        .ddl(&mysql_gtid(1, 6), time, "shop", "DROP TABLE orders")
        .transaction(&tagged, time, 10)
        .gtid(&mysql_gtid(1, 9), time)
        .payload(|inner| {
            inner
                .query("", "BEGIN")
                .table_map(7, "a", "b")
                .rows(50)
                .xid();
        })
        .anonymous_gtid(time)
        .query("", "XA START X'31',X'',1")
        .event(kind::XA_PREPARE, 0, &[0; 14])
        .rotate("binlog.000002");
    builder.finish()
}

fn of_mariadb() -> Vec<u8> {
    let gtid = |number| Gtid {
        source: GtidSource::MariaDb {
            domain: 0,
            server: 9,
        },
        number,
    };
    let mut before = GtidSet::new();
    before.insert_run(gtid(1).source, 1, 41);
    let mut builder = BinlogBuilder::mariadb();
    builder
        .previous_gtids(&before)
        .transaction(&gtid(42), None, 50)
        .ddl(&gtid(43), None, "shop", "CREATE TABLE x (a INT)")
        .gtid(&gtid(45), None)
        .query("", "INSERT INTO x VALUES (1)")
        .query("", "COMMIT")
        .stop();
    builder.finish()
}
