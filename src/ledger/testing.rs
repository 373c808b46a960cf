//! A made-up ledger of any length, for tests and measurements.

use super::carried::CarriedHeader;
use super::line::Line;
use super::record::{
    Body, ClosedBy, FenceRecord, GapRecord, HoleRecord, MovedRecord, ObjectRecord, PruneRecord,
    Record, SegmentRecord, SupersedeReason, SupersedeRecord,
};
use super::stream_file::StreamFile;
use crate::binlog::Flavour;
use crate::model::{
    Basename, FileName, GtidSet, GtidSource, Incarnation, Micros, MountName, SegmentNumber, Seq,
    Sha256, Tag, Timeline,
};
use uuid::Uuid;

/// Transactions in each made-up segment.
pub const TRANSACTIONS: u64 = 1000;
/// Seconds that each made-up segment covers.
pub const SEGMENT_SECONDS: i64 = 300;
/// Commit time of the first made-up transaction: 2026-01-01T00:00:00Z.
pub const BEGINNING: Micros = Micros(1_767_225_600_000_000);

/// The server that made it all up.
pub fn server() -> Uuid {
    Uuid::from_u128(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562)
}

/// The stream that the made-up records belong to.
pub fn stream_file() -> StreamFile {
    StreamFile {
        format: super::FORMAT,
        stream_id: Uuid::from_u128(7),
        flavour: Flavour::MySql,
        basename: "binlog".parse().expect("a basename"),
        created_at: BEGINNING,
    }
}

/// Writes records that continue each other.
pub struct Writer {
    /// The next record's seq.
    pub seq: u64,
    /// What its `prev` says.
    pub prev: Sha256,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer {
            seq: 1,
            prev: StreamFile::hash(&stream_file().write()),
        }
    }
}

impl Writer {
    /// The next record.
    pub fn write(&mut self, body: Body) -> Line {
        let record = Record {
            format: super::FORMAT,
            seq: Seq(self.seq),
            prev: self.prev,
            body,
        };
        let line = Line::write(record).expect("a record");
        self.seq += 1;
        self.prev = line.hash();
        line
    }
}

/// GTIDs of the first `n` made-up segments of incarnation 1.
pub fn executed(n: u64) -> GtidSet {
    let mut set = GtidSet::new();
    set.insert_run(source(), 1, n * TRANSACTIONS);
    set
}

/// Whose GTIDs they are.
pub fn source() -> GtidSource {
    GtidSource::MySql {
        uuid: server(),
        tag: Tag::none(),
    }
}

/// The made-up segment `number` of incarnation 1 and timeline 1. Numbers begin at 1.
pub fn segment(number: u64) -> SegmentRecord {
    let basename: Basename = "binlog".parse().expect("a basename");
    let file = FileName::new(basename.clone(), SegmentNumber(number));
    let start = (number - 1) * TRANSACTIONS;
    let mut gtids = GtidSet::new();
    gtids.insert_run(source(), start + 1, start + TRANSACTIONS);
    let first = BEGINNING.0 + (number as i64 - 1) * SEGMENT_SECONDS * 1_000_000;
    let last = first + (SEGMENT_SECONDS - 1) * 1_000_000;
    let digest = |what: &str| Sha256::of(format!("{what} {number}").as_bytes());
    let attempt = hex::encode(&digest("attempt").0[..16]);
    let before = executed(number - 1);
    let full = number % super::page::PAGE_RECORDS == 1;
    SegmentRecord {
        timeline: Timeline(1),
        incarnation: Incarnation(1),
        branch: None,
        server_uuid: Some(server()),
        server_version: "9.7.4".to_owned(),
        number: SegmentNumber(number),
        head: digest("head"),
        mount_name: MountName::of(&file, Incarnation(1), true, &basename),
        size: 4096 + number * 17,
        sha256: digest("content"),
        object: ObjectRecord {
            key: format!("segments/{file}-{attempt}.zst.age")
                .parse()
                .expect("a key"),
            size: 2048 + number * 7,
            crc32c: number as u32,
            crc64nvme: number,
            header_size: 200,
            frame_size: 1 << 20,
            tail_offset: 1024,
            tail_sha256: digest("tail"),
            recipients: vec![
                "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p".to_owned(),
            ],
            header: None,
        },
        file,
        closed_by: ClosedBy::Rotate,
        whole_until: None,
        damaged: None,
        first_time: Some(Micros(first)),
        last_time: Some(Micros(last)),
        min_time: Some(Micros(first)),
        max_time: Some(Micros(last)),
        latest_commit: Some(Micros(last)),
        gtids,
        transactions: TRANSACTIONS,
        previous_gtids: full.then(|| before.clone()),
        previous_gtids_sha256: (!full).then(|| Sha256::of(before.to_string().as_bytes())),
        single_writer: false,
        archived_at: Micros(last + 2_000_000),
        archiver: "db1.example.com binlogfs 0.1.0".to_owned(),
    }
}

/// `n` segments of one server, one after another.
pub fn chain(n: u64) -> impl Iterator<Item = Line> {
    let mut writer = Writer::default();
    (1..=n).map(move |number| writer.write(Body::Segment(Box::new(segment(number)))))
}

/// The server's file `number` of incarnation 1.
pub fn file(number: u64) -> FileName {
    FileName::new("binlog".parse().expect("a basename"), SegmentNumber(number))
}

/// A hole in place of the made-up segment `number`.
pub fn hole(number: u64) -> HoleRecord {
    let segment = segment(number);
    HoleRecord {
        timeline: segment.timeline,
        incarnation: segment.incarnation,
        file: segment.file,
        number: segment.number,
        mount_name: segment.mount_name,
        reason: "the server no longer lists it".to_owned(),
        archived_at: segment.archived_at,
        archiver: segment.archiver,
    }
}

/// A gap right after the made-up segment `number`, whose record is `after`.
pub fn gap(number: u64, after: u64) -> GapRecord {
    let segment = segment(number);
    GapRecord {
        timeline: segment.timeline,
        after: Seq(after),
        mount_name: segment.mount_name.gap_after(),
        missing: GtidSet::new(),
        reason: "the archiver was down".to_owned(),
        archived_at: segment.archived_at,
        archiver: segment.archiver,
    }
}

/// The same segment in another incarnation and timeline, in another object.
pub fn moved(number: u64, incarnation: u32, timeline: u32) -> SegmentRecord {
    let mut moved = segment(number);
    moved.incarnation = Incarnation(incarnation);
    moved.timeline = Timeline(timeline);
    let basename = moved.file.basename().clone();
    let first = incarnation == 1 || timeline > 1;
    moved.mount_name = MountName::of(&moved.file, moved.incarnation, first, &basename);
    let what = format!("{number} of {incarnation}");
    moved.head = Sha256::of(what.as_bytes());
    moved.object.key = format!("segments/{}-{incarnation}.zst", moved.file)
        .parse()
        .expect("a key");
    moved.previous_gtids = Some(executed(number - 1));
    moved.previous_gtids_sha256 = None;
    moved
}

/// Says that record `supersedes` is replaced by the made-up segment `number` in an object of its own.
pub fn supersede(supersedes: u64, number: u64, reason: SupersedeReason) -> SupersedeRecord {
    let mut segment = segment(number);
    segment.object.key = format!("segments/{}-again-{supersedes}.zst", segment.file)
        .parse()
        .expect("a key");
    SupersedeRecord {
        supersedes: Seq(supersedes),
        reason,
        made_at: None,
        made_by: None,
        segment,
    }
}

/// Says that record `supersedes` is replaced by `segment` in the same object, for another recipient.
pub fn rekeyed(supersedes: u64, mut segment: SegmentRecord) -> SupersedeRecord {
    segment.object.recipients =
        vec!["age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg".to_owned()];
    let header = format!("header {supersedes} of {}", segment.file);
    segment.object.header = CarriedHeader::new(header.into_bytes()).ok();
    SupersedeRecord {
        supersedes: Seq(supersedes),
        reason: SupersedeReason::Rekeyed,
        made_at: Some(Micros(segment.archived_at.0 + 1)),
        made_by: Some("dba1 binlogfs 0.1.0".to_owned()),
        segment,
    }
}

/// A fence in timeline 1.
pub fn fence(segment: u64, position: u64) -> Box<FenceRecord> {
    Box::new(FenceRecord {
        timeline: Timeline(1),
        segment: Seq(segment),
        position,
        gtids: GtidSet::new(),
        transactions: 0,
        latest_commit: None,
        lost: GtidSet::new(),
        reason: "failover".to_owned(),
        archived_at: BEGINNING,
        archiver: "db1".to_owned(),
    })
}

/// Says that the stream goes on elsewhere.
pub fn moved_to() -> MovedRecord {
    MovedRecord {
        to: "s3://elsewhere/prod/orders".to_owned(),
        stream_id: Uuid::from_u128(8),
        archived_at: BEGINNING,
        archiver: "dba1".to_owned(),
    }
}

/// A prune of timeline 1.
pub fn prune(through: u64) -> PruneRecord {
    PruneRecord {
        timeline: Timeline(1),
        through: Seq(through),
        reason: "older than 90 days".to_owned(),
        archived_at: BEGINNING,
        archiver: "db1".to_owned(),
    }
}
