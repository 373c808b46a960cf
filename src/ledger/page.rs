//! Ledger pages: a thousand records in one object, so that a long history loads in few requests.

use super::line::{Line, LineError};
use crate::model::{ObjectKey, Seq};

/// Records in a page. Page `k` holds records `1000 k + 1` to `1000 (k + 1)`.
pub const PAGE_RECORDS: u64 = 1000;
/// Level of the page's one zstd frame: pages are written once and read by every first mount.
const PAGE_LEVEL: i32 = 9;
/// Largest page accepted, uncompressed, in bytes: ten times an ordinary one, and readers hold several. A page of larger
/// records is not written; its records are read singly.
pub const PAGE_MAX_BYTES: u64 = 16 << 20;

/// Bytes that are no page, or a page that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ledger page {key}: {reason}")]
pub struct PageError {
    key: String,
    reason: String,
}

/// The key of the page that begins with record `first`.
pub fn page_key(first: Seq) -> ObjectKey {
    let last = first.0.saturating_add(PAGE_RECORDS - 1);
    format!("pages/{:020}-{last:020}.jsonl.zst", first.0)
        .parse()
        .expect("digits make a valid key")
}

/// The first record of the page that record `seq` is in.
pub fn page_start(seq: Seq) -> Seq {
    Seq((seq.0.max(1) - 1) / PAGE_RECORDS * PAGE_RECORDS + 1)
}

/// Writes the page of the thousand lines that begin with `lines[0]`.
///
/// # Errors
/// When they are not exactly one page, or larger than [`PAGE_MAX_BYTES`].
pub fn write_page(lines: &[Line]) -> Result<Vec<u8>, PageError> {
    let first = lines.first().map_or(Seq(0), Line::seq);
    let fail = |reason: &str| PageError {
        key: page_key(first).to_string(),
        reason: reason.to_owned(),
    };
    let consecutive = lines
        .iter()
        .zip(first.0..)
        .all(|(line, seq)| line.seq().0 == seq);
    if lines.len() as u64 != PAGE_RECORDS || page_start(first) != first || !consecutive {
        return Err(fail("its records are not one page"));
    }
    let size: usize = lines.iter().map(|line| line.text().len() + 1).sum();
    if size as u64 > PAGE_MAX_BYTES {
        return Err(fail("its records are too large"));
    }
    let mut text = String::with_capacity(size);
    for line in lines {
        text.push_str(line.text());
        text.push('\n');
    }
    zstd::bulk::compress(text.as_bytes(), PAGE_LEVEL).map_err(|e| fail(&e.to_string()))
}

/// Reads the lines of the page that begins with record `first`. The chain rules are the caller's to check.
///
/// # Errors
/// When the bytes are not such a page. Whoever reads it then reads the records themselves.
pub fn read_page(first: Seq, bytes: &[u8]) -> Result<Vec<Line>, PageError> {
    let fail = |reason: String| PageError {
        key: page_key(first).to_string(),
        reason,
    };
    let size = zstd::zstd_safe::get_frame_content_size(bytes)
        .ok()
        .flatten();
    let size = size
        .filter(|size| *size <= PAGE_MAX_BYTES)
        .ok_or_else(|| fail("its size is missing or too large".to_owned()))?;
    let text = zstd::bulk::decompress(bytes, size as usize).map_err(|e| fail(e.to_string()))?;
    let body = text
        .strip_suffix(b"\n")
        .ok_or_else(|| fail("it does not end in a newline".to_owned()))?;
    let lines: Result<Vec<Line>, LineError> = body
        .split(|b| *b == b'\n')
        .take(PAGE_RECORDS as usize + 1)
        .map(Line::read)
        .collect();
    let lines = lines.map_err(|e| fail(e.to_string()))?;
    let consecutive = lines
        .iter()
        .zip(first.0..)
        .all(|(line, seq)| line.seq().0 == seq);
    if lines.len() as u64 != PAGE_RECORDS || !consecutive {
        return Err(fail("its records are not those of its name".to_owned()));
    }
    Ok(lines)
}
