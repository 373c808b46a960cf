//! Which pages and records to fetch: pure.

use crate::ledger::page::{PAGE_RECORDS, page_key, page_start};
use crate::model::{ObjectKey, Seq};
use std::collections::BTreeMap;

/// Consecutive records, all of one page's range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The first.
    pub(super) from: Seq,
    /// The last, inclusive.
    pub(super) to: Seq,
    /// Size of the page that holds them, in bytes, if there is one to use.
    pub(super) page_bytes: Option<u64>,
}

/// Fewer records than these are fetched one by one even where there is a page: it holds a thousand.
const PAGE_WORTH_RECORDS: u64 = 8;

/// Splits `from..=to` at page borders, with the pages that there are (first seq to size).
pub(super) fn chunks(from: Seq, to: Seq, pages: &BTreeMap<Seq, u64>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut at = from;
    while at <= to {
        let start = page_start(at);
        let end = Seq((start.0 + PAGE_RECORDS - 1).min(to.0));
        let worth = end.0 - at.0 + 1 >= PAGE_WORTH_RECORDS;
        chunks.push(Chunk {
            from: at,
            to: end,
            page_bytes: pages.get(&start).copied().filter(|_| worth),
        });
        at = Seq(end.0 + 1);
    }
    chunks
}

/// The first record of the page that a key names, if it is one.
pub(super) fn page_of_key(key: &ObjectKey) -> Option<Seq> {
    let digits = key.as_str().strip_prefix("pages/")?.get(..20)?;
    let first = Seq(digits.parse().ok()?);
    (first.0 > 0 && page_start(first) == first && page_key(first) == *key).then_some(first)
}

/// The last record of a page.
pub(super) fn page_end(first: Seq) -> Seq {
    Seq(first.0.saturating_add(PAGE_RECORDS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_every_record_once_and_end_at_page_borders() {
        let pages = BTreeMap::from([(Seq(1), 9), (Seq(1001), 10), (Seq(2001), 11)]);
        let chunk = |from, to, page_bytes| Chunk {
            from: Seq(from),
            to: Seq(to),
            page_bytes,
        };
        assert_eq!(
            chunks(Seq(995), Seq(3002), &pages),
            [
                chunk(995, 1000, None),
                chunk(1001, 2000, Some(10)),
                chunk(2001, 3000, Some(11)),
                chunk(3001, 3002, None),
            ]
        );
        assert_eq!(chunks(Seq(5), Seq(4), &pages), []);
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
