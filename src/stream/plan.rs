//! Which pages and records to fetch: pure.

use crate::ledger::page::{page_end, page_start};
use crate::model::Seq;
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
///
/// The newest record is never taken out of a page: it ties the pages' chain to what the bucket's records say.
pub(super) fn chunks(from: Seq, to: Seq, pages: &BTreeMap<Seq, u64>) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut at = from;
    while at <= to {
        let start = page_start(at);
        let mut end = page_end(start).min(to);
        let worth = end.0 - at.0 + 1 >= PAGE_WORTH_RECORDS;
        let page_bytes = pages.get(&start).copied().filter(|_| worth);
        if page_bytes.is_some() && end == to {
            end = Seq(to.0 - 1);
        }
        chunks.push(Chunk {
            from: at,
            to: end,
            page_bytes,
        });
        at = Seq(end.0 + 1);
    }
    chunks
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
        assert_eq!(
            chunks(Seq(2001), Seq(3000), &pages),
            [chunk(2001, 2999, Some(11)), chunk(3000, 3000, None)]
        );
        assert_eq!(chunks(Seq(5), Seq(4), &pages), []);
    }
}
