//! The segment index as a section of the tail: compressed JSON within a limit.

use super::INDEX_JSON_MAX_BYTES;
use super::error::SegmentError;
use super::frame::decompress_bounded;
use crate::binlog::SegmentIndex;
use std::borrow::Cow;

/// zstd's default: JSON shrinks to a tenth with it, and more effort gains little.
const LEVEL: i32 = 3;

/// The section's bytes. An index over the limit is thinned until it fits.
pub(super) fn encode(index: &SegmentIndex) -> Result<Vec<u8>, SegmentError> {
    let failed = |reason: String| SegmentError::Encode { reason };
    let json = |index: &SegmentIndex| {
        serde_json::to_vec(index).map_err(|error| failed(format!("segment index: {error}")))
    };
    let mut index = Cow::Borrowed(index);
    let mut text = json(&index)?;
    while text.len() > INDEX_JSON_MAX_BYTES {
        // Each turn halves the largest list: this ends.
        thin(index.to_mut());
        text = json(&index)?;
    }
    let compress = || -> std::io::Result<Vec<u8>> {
        let mut zstd = zstd::bulk::Compressor::new(LEVEL)?;
        zstd.include_checksum(true)?;
        zstd.compress(&text)
    };
    compress().map_err(|error| failed(format!("zstd: {error}")))
}

/// Makes the index smaller: fewer points (the first stays), fewer statements, fewer tables; says so where it matters.
fn thin(index: &mut SegmentIndex) {
    let ddl_bytes: usize = index.ddl.iter().map(|d| d.sql.len() + 200).sum();
    let table_bytes: usize = index.tables.iter().map(String::len).sum();
    let point_bytes = index.points.len() * 250;
    if point_bytes >= ddl_bytes.max(table_bytes) {
        // Points are sparse by nature: fewer of them cost a longer scan, and nothing is missing.
        index.halve_points();
    } else if ddl_bytes >= table_bytes {
        index.ddl.truncate(index.ddl.len() / 2);
        index.ddl_incomplete = true;
    } else {
        index.tables.truncate(index.tables.len() / 2);
        index.tables_incomplete = true;
    }
}

/// Reads the section; `None` is an object without one.
///
/// # Errors
/// [`SegmentError::Corrupt`] if it is not what [`encode`] writes, before more than the limit is allocated.
pub(super) fn decode(section: Option<&[u8]>) -> Result<SegmentIndex, SegmentError> {
    let Some(section) = section else {
        return Ok(SegmentIndex {
            ddl_incomplete: true,
            tables_incomplete: true,
            ..SegmentIndex::default()
        });
    };
    let corrupt = |what: String| SegmentError::corrupt(format!("segment index {what}"), None);
    let text = decompress_bounded(section, INDEX_JSON_MAX_BYTES).map_err(corrupt)?;
    serde_json::from_slice(&text).map_err(|error| corrupt(format!("cannot be parsed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{DdlStatement, Point};
    use crate::model::Micros;

    fn ddl(sql: String) -> DdlStatement {
        DdlStatement {
            position: 4,
            time: Micros(1),
            gtid: None,
            database: "db".into(),
            sql,
            cut: false,
        }
    }

    #[test]
    fn an_index_round_trips() {
        let index = SegmentIndex {
            format: serde_json::from_str("\"0f00\"").expect("bytes"),
            points: vec![Point {
                position: 157,
                end: 400,
                time: Micros(1_700_000_000_000_000),
                latest: Some(Micros(1_700_000_000_000_001)),
                gtid: Some("0-1-7".parse().expect("a GTID")),
                gtids: Some("0-1-7..9".parse().expect("a set")),
            }],
            ddl: vec![ddl("DROP TABLE `t` /* \u{fffd} */".into())],
            tables: vec!["db.t".into()],
            ddl_incomplete: false,
            tables_incomplete: true,
        };
        let section = encode(&index).expect("encodes");
        assert_eq!(decode(Some(&section)).expect("decodes"), index);
    }

    #[test]
    fn an_index_over_the_limit_is_thinned_and_says_so() {
        let index = SegmentIndex {
            points: (0..1000)
                .map(|n| Point {
                    position: n,
                    end: n + 1,
                    time: Micros(0),
                    latest: None,
                    gtid: None,
                    gtids: None,
                })
                .collect(),
            ddl: (0..40).map(|_| ddl("x".repeat(1 << 20))).collect(),
            tables: vec!["a.b".into()],
            ..SegmentIndex::default()
        };
        let kept = decode(Some(&encode(&index).expect("encodes"))).expect("decodes");
        assert_eq!(kept.ddl.len(), 10);
        assert!(kept.ddl_incomplete && !kept.tables_incomplete);
        assert_eq!((kept.points.len(), kept.tables.len()), (1000, 1));
    }

    #[test]
    fn an_absent_index_is_incomplete_not_empty() {
        let index = decode(None).expect("reads");
        assert!(index.ddl_incomplete && index.tables_incomplete);
    }

    #[test]
    fn what_is_no_index_is_an_error() {
        let zstd = |text: &[u8]| zstd::bulk::compress(text, 3).expect("compresses");
        for section in [
            &b""[..],
            b"{}",
            &zstd(b"[]"),
            &zstd(b"{\"points\":1}"),
            &zstd(b"{"),
        ] {
            assert!(decode(Some(section)).expect_err("no index").is_corrupt());
        }
        let bomb = zstd(&vec![b' '; INDEX_JSON_MAX_BYTES + 1]);
        let error = decode(Some(&bomb)).expect_err("too large").to_string();
        assert!(error.contains("at most"), "{error}");
    }
}
