//! What a file says of all before it: MySQL's PREVIOUS_GTIDS, MariaDB's GTID_LIST.

use super::varint;
use crate::model::{GtidSet, GtidSetBuilder, GtidSource, Tag};
use uuid::Uuid;

/// The longest PREVIOUS_GTIDS or GTID_LIST accepted: four million intervals. It is held whole to be decoded, so this
/// bounds memory; real ones have stayed below 1 MiB.
pub(super) const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The number of GTIDs in MariaDB's list has 28 bits; four bits above it are flags.
const MARIADB_COUNT_MASK: u32 = (1 << 28) - 1;

/// Reads the body of PREVIOUS_GTIDS; `None` if it is malformed.
///
/// `Gtid_set::encode` in `sql/rpl_gtid_set.cc`: the number of sources, whose top byte is the format. In the tagged format
/// (1, MySQL 8.3 and later) the lowest byte repeats it and the number stands between. Then, for each source: UUID, in the
/// tagged format a tag, the number of intervals, and each interval as first number and the number after its last.
pub(super) fn parse(body: &[u8]) -> Option<GtidSet> {
    let mut rest = body;
    let first = take_u64(&mut rest)?;
    let (sources, tagged) = match first >> 56 {
        0 => (first, false),
        1 => ((first << 8) >> 16, true),
        _ => return None,
    };
    let mut set = GtidSetBuilder::default();
    for _ in 0..sources {
        let (uuid, after) = rest.split_first_chunk::<16>()?;
        rest = after;
        let mut tag = Tag::none();
        if tagged {
            let length = usize::try_from(varint::read(&mut rest)?).ok()?;
            let (text, after) = rest.split_at_checked(length)?;
            rest = after;
            tag = std::str::from_utf8(text).ok()?.parse().ok()?;
        }
        let source = GtidSource::MySql {
            uuid: Uuid::from_bytes(*uuid),
            tag,
        };
        for _ in 0..take_u64(&mut rest)? {
            let (start, end) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
            let last = end.checked_sub(1).filter(|last| *last >= start)?;
            if !source.numbers().contains(&start) || !source.numbers().contains(&last) {
                return None;
            }
            set.insert_run(&source, start, last);
        }
    }
    rest.is_empty().then(|| set.finish())
}

/// Reads the body of MariaDB's GTID_LIST as `domain-server-1..n` of each; `None` if it is malformed.
pub(super) fn parse_mariadb(body: &[u8]) -> Option<GtidSet> {
    let (count, mut rest) = body.split_first_chunk::<4>()?;
    let mut set = GtidSetBuilder::default();
    for _ in 0..u32::from_le_bytes(*count) & MARIADB_COUNT_MASK {
        let (ids, after) = rest.split_first_chunk::<8>()?;
        rest = after;
        let both = u64::from_le_bytes(*ids);
        let source = GtidSource::MariaDb {
            domain: both as u32,
            server: (both >> 32) as u32,
        };
        set.insert_run(&source, 1, take_u64(&mut rest)?);
    }
    Some(set.finish())
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{encode_gtid_set, mysql_gtid};
    use super::*;

    #[test]
    fn both_encodings_come_back() {
        let mut set = GtidSet::new();
        for number in [1, 2, 3, 7, 9] {
            set.insert(&mysql_gtid(1, number));
        }
        set.insert(&mysql_gtid(2, i64::MAX as u64 - 1));
        let untagged = encode_gtid_set(&set);
        assert_eq!(untagged[7], 0);
        assert_eq!(parse(&untagged), Some(set.clone()));
        let tag = "nightly".parse().expect("a tag");
        let uuid = Uuid::from_bytes([1; 16]);
        set.insert_run(GtidSource::MySql { uuid, tag }, 4, 8);
        let tagged = encode_gtid_set(&set);
        assert_eq!((tagged[0], tagged[7]), (1, 1));
        assert_eq!(parse(&tagged), Some(set));
    }

    #[test]
    fn descending_intervals_are_the_set_of_the_ascending_ones() {
        const RUNS: u64 = 200_000;
        let runs = |numbers: &mut dyn Iterator<Item = u64>| {
            let mut body = 1_u64.to_le_bytes().to_vec();
            body.extend_from_slice(&[7; 16]);
            body.extend_from_slice(&RUNS.to_le_bytes());
            for n in numbers {
                body.extend_from_slice(&(2 * n + 1).to_le_bytes());
                body.extend_from_slice(&(2 * n + 2).to_le_bytes());
            }
            parse(&body).expect("parses")
        };
        let ascending = runs(&mut (0..RUNS));
        assert_eq!(ascending.count(), RUNS);
        assert_eq!(runs(&mut (0..RUNS).rev()), ascending);
    }

    #[test]
    fn what_is_cut_or_claims_too_much_is_refused() {
        let mut set = GtidSet::new();
        set.insert(&mysql_gtid(1, 5));
        let bytes = encode_gtid_set(&set);
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]), None);
        assert_eq!(parse_mariadb(&[0xff; 20]), None);
    }
}
