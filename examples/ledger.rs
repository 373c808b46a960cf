//! Makes up a directory store with the ledger of a long history, for measurements.
//!
//! `ledger DIR SEGMENTS` writes `stream.json`, the pages, and under `ledger/` the name of every record. Their bytes are
//! there where a first mount with pages reads them: after the last page, and the last record of each page. The other names
//! are links to one of those, so that a million of them take seconds and no gigabytes. There are no segments' objects.

use anyhow::{Context as _, Result, bail};
use binlogfs::ledger::page::{PAGE_RECORDS, PageWriter, page_end, page_key, page_start};
use binlogfs::ledger::{Line, StreamFile, record_key, testing};
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, segments] = arguments.as_slice() else {
        bail!("usage: ledger DIR SEGMENTS");
    };
    let segments: u64 = segments.parse().context("SEGMENTS is not a number")?;
    let dir = Path::new(dir);
    for below in ["ledger", "pages"] {
        fs::create_dir_all(dir.join(below))?;
    }
    put(
        dir.join(StreamFile::key().as_str()),
        &testing::stream_file().write(),
    )?;
    let mut page: Vec<Line> = Vec::new();
    for line in testing::chain(segments) {
        page.push(line);
        if page.len() as u64 == PAGE_RECORDS {
            write_page(dir, &page)?;
            page.clear();
        }
    }
    page.iter().try_for_each(|line| write_record(dir, line))
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
