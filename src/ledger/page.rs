//! Ledger pages: a thousand records in one object, so that a long history loads in few requests.

use super::line::{Line, LineError};
use crate::model::{ObjectKey, Seq};
use std::io::BufRead as _;
use std::ops::Range;
use std::sync::Arc;

/// Where pages are.
pub const PAGES_PREFIX: &str = "pages/";
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
    format!("{PAGES_PREFIX}{:020}-{last:020}.jsonl.zst", first.0)
        .parse()
        .expect("digits make a valid key")
}

/// The first record of the page that record `seq` is in.
pub fn page_start(seq: Seq) -> Seq {
    Seq((seq.0.max(1) - 1) / PAGE_RECORDS * PAGE_RECORDS + 1)
}

/// The last record of the page that begins with record `first`.
pub fn page_end(first: Seq) -> Seq {
    Seq(first.0.saturating_add(PAGE_RECORDS - 1))
}

/// The first record of the page that a key names, if it is one.
pub fn page_of_key(key: &ObjectKey) -> Option<Seq> {
    let digits = key.as_str().strip_prefix(PAGES_PREFIX)?.get(..20)?;
    let first = Seq(digits.parse().ok()?);
    (first.0 > 0 && page_start(first) == first && page_key(first) == *key).then_some(first)
}

/// A page that is being written, line by line: no more is held than its text.
#[derive(Debug)]
pub struct PageWriter {
    first: Seq,
    next: Seq,
    text: String,
}

impl PageWriter {
    /// Begins the page whose first record is `first`.
    pub fn new(first: Seq) -> PageWriter {
        PageWriter {
            first,
            next: first,
            text: String::new(),
        }
    }

    fn fail(&self, reason: &str) -> PageError {
        PageError {
            key: page_key(self.first).to_string(),
            reason: reason.to_owned(),
        }
    }

    /// Adds the next line. Whether it names the one before it is the caller's to check.
    ///
    /// # Errors
    /// When it is not the next, or the page becomes larger than [`PAGE_MAX_BYTES`].
    pub fn push(&mut self, line: &Line) -> Result<(), PageError> {
        if line.seq() != self.next {
            return Err(self.fail("its records do not follow each other"));
        }
        if (self.text.len() + line.text().len() + 1) as u64 > PAGE_MAX_BYTES {
            return Err(self.fail("its records are too large"));
        }
        self.text.push_str(line.text());
        self.text.push('\n');
        self.next = Seq(self.next.0 + 1);
        Ok(())
    }

    /// The page's bytes.
    ///
    /// # Errors
    /// When the lines are not exactly one page.
    pub fn finish(self) -> Result<Vec<u8>, PageError> {
        if page_start(self.first) != self.first || self.next.0 != page_end(self.first).0 + 1 {
            return Err(self.fail("its records are not one page"));
        }
        zstd::bulk::compress(self.text.as_bytes(), PAGE_LEVEL)
            .map_err(|e| self.fail(&e.to_string()))
    }
}

/// Writes the page of the thousand lines that begin with `lines[0]`.
///
/// # Errors
/// As [`PageWriter`].
pub fn write_page(lines: &[Line]) -> Result<Vec<u8>, PageError> {
    let mut writer = PageWriter::new(lines.first().map_or(Seq(0), Line::seq));
    lines.iter().try_for_each(|line| writer.push(line))?;
    writer.finish()
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
    let text = String::from_utf8(text).map_err(|e| fail(e.to_string()))?;
    if !text.ends_with('\n') {
        return Err(fail("it does not end in a newline".to_owned()));
    }
    let text = Arc::new(text);
    let lines: Result<Vec<Line>, LineError> = lines(&text)
        .take(PAGE_RECORDS as usize + 1)
        .map(|at| Line::read_within(&text, at))
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

/// Where the lines of a text that ends in a newline stand, without their newlines. The platform looks for those, which a closure would
/// byte by byte.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut rest = text.as_bytes();
    let mut next = 0;
    std::iter::from_fn(move || {
        let bytes = rest.skip_until(b'\n').ok()?;
        let at = next..next + bytes.checked_sub(1)?;
        next += bytes;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_page_round_trips_and_only_under_its_own_name() {
        let lines: Vec<Line> = testing::chain(2 * PAGE_RECORDS).collect();
        let (first, second) = lines.split_at(PAGE_RECORDS as usize);
        let bytes = write_page(first).expect("a page");
        assert_eq!(read_page(Seq(1), &bytes).expect("reads"), first);
        assert!(read_page(Seq(1001), &bytes).is_err());
        let bytes = write_page(second).expect("a page");
        assert_eq!(read_page(Seq(1001), &bytes).expect("reads"), second);
    }

    #[test]
    fn what_is_not_exactly_one_page_is_not_written() {
        let lines: Vec<Line> = testing::chain(1001).collect();
        assert!(write_page(&lines).is_err());
        assert!(write_page(&lines[1..]).is_err());
        assert!(write_page(&lines[..999]).is_err());
        assert!(write_page(&[]).is_err());
        let mut swapped = lines[..1000].to_vec();
        swapped.swap(3, 4);
        assert!(write_page(&swapped).is_err());
    }

    #[test]
    fn a_damaged_page_is_refused_and_never_larger_than_the_limit() {
        let lines: Vec<Line> = testing::chain(PAGE_RECORDS).collect();
        let bytes = write_page(&lines).expect("a page");
        for at in (0..bytes.len()).step_by(19_997) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            // A flip in what zstd does not use changes nothing; any other is found.
            assert!(
                read_page(Seq(1), &flipped).is_ok_and(|read| read == lines)
                    || read_page(Seq(1), &flipped).is_err()
            );
        }
        for len in [0, 1, 4, 100, bytes.len() - 1] {
            assert!(read_page(Seq(1), &bytes[..len]).is_err(), "{len}");
        }
        let bomb = vec![b'\n'; PAGE_MAX_BYTES as usize + 1];
        let bomb = zstd::bulk::compress(&bomb, 1).expect("compresses");
        assert!(read_page(Seq(1), &bomb).is_err());
        let newlines = zstd::bulk::compress(&vec![b'\n'; 100_000], 1).expect("compresses");
        assert!(read_page(Seq(1), &newlines).is_err());
    }

    #[test]
    fn keys_of_pages_follow_their_first_record() {
        assert_eq!(
            page_key(Seq(1)).as_str(),
            "pages/00000000000000000001-00000000000000001000.jsonl.zst"
        );
        for (seq, start) in [(0, 1), (1, 1), (1000, 1), (1001, 1001), (2000, 1001)] {
            assert_eq!(page_start(Seq(seq)), Seq(start));
        }
    }

    #[test]
    fn only_page_keys_are_pages() {
        assert_eq!(page_of_key(&page_key(Seq(2001))), Some(Seq(2001)));
        for bad in [
            "pages/00000000000000000002-00000000000000001001.jsonl.zst",
            "pages/00000000000000000001-00000000000000002000.jsonl.zst",
            "pages/x",
            "ledger/00000000000000000001.json",
            "pages/18446744073709551001-18446744073709551615.jsonl.zst",
        ] {
            let seq = page_of_key(&bad.parse().expect("a key"));
            assert!(seq.is_none_or(|s| s.0 > 1 << 60), "{bad}");
        }
    }
}
