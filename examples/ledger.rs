//! Makes up a directory store with the ledger of a long history, for measurements.
//!
//! `ledger DIR SEGMENTS` writes `stream.json`, the pages, and under `ledger/` the name of every record. Their bytes are
//! there where a first mount with pages reads them: after the last page, and the last record of each page. The other names
//! are links to one of those, so that a million of them take seconds and no gigabytes. Only the first segment, the one in the
//! middle and the last have objects: whoever looks for something looks into those.

use anyhow::{Context as _, Result, bail};
use binlogfs::binlog::testing::BinlogBuilder;
use binlogfs::binlog::{ChecksumAlgorithm, Flavour, Scanner};
use binlogfs::ledger::page::{PAGE_RECORDS, PageWriter, page_end, page_key, page_start};
use binlogfs::ledger::{Body, Line, SegmentRecord, StreamFile, record_key, testing};
use binlogfs::model::{Gtid, Micros, Sha256};
use binlogfs::segment::{FrameCompressor, ObjectWriter, Recipients};
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, segments] = arguments.as_slice() else {
        bail!("usage: ledger DIR SEGMENTS");
    };
    let segments: u64 = segments.parse().context("SEGMENTS is not a number")?;
    let dir = Path::new(dir);
    for below in ["ledger", "pages", "segments"] {
        fs::create_dir_all(dir.join(below))?;
    }
    put(
        dir.join(StreamFile::key().as_str()),
        &testing::stream_file().write(),
    )?;
    let mut page: Vec<Line> = Vec::new();
    let mut writer = testing::Writer::default();
    for number in 1..=segments {
        let segment = match [1, segments.div_ceil(2), segments].contains(&number) {
            true => with_object(dir, testing::segment(number))?,
            false => testing::segment(number),
        };
        page.push(writer.write(Body::Segment(Box::new(segment))));
        if page.len() as u64 == PAGE_RECORDS {
            write_page(dir, &page)?;
            page.clear();
        }
    }
    page.iter().try_for_each(|line| write_record(dir, line))
}

/// The same segment with an object: a binlog of its transactions, evenly spread over its time.
fn with_object(dir: &Path, mut segment: SegmentRecord) -> Result<SegmentRecord> {
    let number = segment.number.0;
    let (source, first_gtid) = (testing::source(), (number - 1) * testing::TRANSACTIONS + 1);
    let begin = segment.first_time.context("it has a time")?;
    let (begin_seconds, step) = (
        u32::try_from(begin.seconds())?,
        (testing::SEGMENT_SECONDS - 1) * 1_000_000 / testing::TRANSACTIONS.cast_signed(),
    );
    let checksum = ChecksumAlgorithm::Crc32;
    let mut binlog = BinlogBuilder::new(Flavour::MySql, "9.7.4", checksum, begin_seconds);
    binlog.previous_gtids(&testing::executed(number - 1));
    for n in 0..testing::TRANSACTIONS {
        let gtid = Gtid {
            source: source.clone(),
            number: first_gtid + n,
        };
        let time = Micros(begin.0 + n.cast_signed() * step);
        binlog
            .time(u32::try_from(time.seconds())?)
            .transaction(&gtid, Some(time), 2000);
    }
    binlog.rotate(&testing::file(number + 1).to_string());
    let bytes = binlog.finish();
    let mut scanner = Scanner::new(());
    scanner.push(&bytes)?;
    let summary = scanner.finish().0?;
    let (frame_size, mut object) = (segment.object.frame_size, Vec::new());
    let mut compressor = FrameCompressor::new(1, frame_size)?;
    let mut writer = ObjectWriter::new(&Recipients::parse(Vec::<String>::new())?, frame_size)?;
    for frame in bytes.chunks(frame_size as usize) {
        writer.frame(&compressor.compress(frame)?)?;
        object.extend_from_slice(&writer.take_output());
    }
    let (rest, facts) = writer.finish(&summary.index)?;
    object.extend_from_slice(&rest);
    put(dir.join(segment.object.key.as_str()), &object)?;
    segment.size = summary.size;
    segment.sha256 = Sha256::of(&bytes);
    segment.latest_commit = summary.latest_commit;
    (segment.min_time, segment.max_time) = (summary.min_time, summary.max_time);
    segment.object.size = facts.size;
    segment.object.crc32c = facts.crc32c;
    segment.object.crc64nvme = facts.crc64nvme;
    segment.object.header_size = facts.header_size;
    segment.object.tail_offset = facts.tail_offset;
    segment.object.tail_sha256 = facts.tail_sha256;
    segment.object.recipients = Vec::new();
    Ok(segment)
}

fn write_page(dir: &Path, lines: &[Line]) -> Result<()> {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return Ok(());
    };
    let mut page = PageWriter::new(page_start(first.seq()));
    lines.iter().try_for_each(|line| page.push(line))?;
    put(dir.join(page_key(first.seq()).as_str()), &page.finish()?)?;
    write_record(dir, last)?;
    let target = dir.join(record_key(page_end(first.seq())).as_str());
    for line in lines.split_last().map_or(&[][..], |(_, others)| others) {
        fs::hard_link(&target, dir.join(record_key(line.seq()).as_str()))?;
    }
    Ok(())
}

fn write_record(dir: &Path, line: &Line) -> Result<()> {
    let bytes = format!("{}\n", line.text());
    put(dir.join(record_key(line.seq()).as_str()), bytes.as_bytes())
}

fn put(path: PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
