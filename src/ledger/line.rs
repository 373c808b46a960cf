//! A record as the line of bytes that is stored, with the hash that protects it.

use super::read::KINDS;
use super::record::Record;
use super::{FORMAT, RECORD_MAX_BYTES};
use crate::model::{Seq, Sha256};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// What stands before the 64 digits of `self`, and after them.
const SELF_OPEN: &[u8] = br#","self":""#;
const SELF_CLOSE: &[u8] = br#""}"#;
const SELF_BYTES: usize = SELF_OPEN.len() + 64 + SELF_CLOSE.len();

/// A line whose `self` hash matches its bytes, and the record it holds.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it stands in: the lines of a page share its text.
    within: Arc<String>,
    at: Range<usize>,
    hash: Sha256,
    record: Record,
}

/// Wherever they stand.
impl PartialEq for Line {
    fn eq(&self, other: &Line) -> bool {
        self.text() == other.text() && self.hash == other.hash && self.record == other.record
    }
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The bytes are not those that were written.
    #[error("its bytes do not match its own hash: it was changed after it was written")]
    SelfMismatch,
    /// No record looks like this.
    #[error("it is not a ledger record: {0}")]
    Malformed(String),
    /// It comes from the future.
    #[error("it has format {0}, and this build reads up to {FORMAT}: upgrade binlogfs")]
    NewerFormat(u64),
    /// It says something that this build has no word for.
    #[error("it is of kind {0:?}, which this build does not know: upgrade binlogfs")]
    NewerKind(String),
}

impl Line {
    /// Writes `record` as its line, and reads that line again: a record is created once and for all, and one that cannot be
    /// read back would stop every reader there.
    ///
    /// # Errors
    /// [`LineError::Malformed`] when the line would be longer than [`RECORD_MAX_BYTES`], or would not be read as `record`.
    pub fn write(record: Record) -> Result<Line, LineError> {
        let mut text =
            serde_json::to_string(&record).map_err(|e| LineError::Malformed(e.to_string()))?;
        if text.len() as u64 > RECORD_MAX_BYTES - SELF_BYTES as u64 {
            return Err(LineError::Malformed(format!(
                "{} bytes, over the limit of {RECORD_MAX_BYTES}; its GTID sets are too fragmented",
                text.len()
            )));
        }
        let digest = Sha256::of(text.as_bytes());
        let closing = text.pop();
        assert_eq!(closing, Some('}'), "a record is a JSON object");
        text.push_str(&format!(r#","self":"{digest}"}}"#));
        let line = Line::read(text.as_bytes())?;
        if line.record != record {
            return Err(LineError::Malformed(
                "it would not be read as what it was made of".to_owned(),
            ));
        }
        Ok(line)
    }

    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn read(bytes: &[u8]) -> Result<Line, LineError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        // Not copied before it is known to be short.
        check_length(bytes.len())?;
        let text = std::str::from_utf8(bytes).map_err(|_| LineError::SelfMismatch)?;
        Line::read_within(&Arc::new(text.to_owned()), 0..text.len())
    }

    /// Reads the line that stands at `at` of a text, without its newline, and shares that text: all of it is kept while one of its
    /// lines is.
    ///
    /// # Errors
    /// See [`LineError`].
    ///
    /// # Panics
    /// If `at` is not in the text.
    pub(super) fn read_within(within: &Arc<String>, at: Range<usize>) -> Result<Line, LineError> {
        check_length(at.len())?;
        let text = &within[at.clone()];
        let hash = check_self(text.as_bytes())?;
        match Record::read(text) {
            Ok(record) if record.format == FORMAT => Ok(Line {
                within: Arc::clone(within),
                at,
                hash,
                record,
            }),
            Ok(record) => Err(LineError::NewerFormat(record.format.into())),
            Err(error) => Err(why_unreadable(text, &error)),
        }
    }

    /// The same line with a text of its own, for those who keep it longer than its page.
    pub fn alone(mut self) -> Line {
        self.within = Arc::new(self.text().to_owned());
        self.at = 0..self.within.len();
        self
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record's place.
    pub fn seq(&self) -> Seq {
        self.record.seq
    }

    /// SHA-256 of the whole line: what the next record's `prev` says.
    pub fn hash(&self) -> Sha256 {
        self.hash
    }

    /// The line without a newline.
    pub fn text(&self) -> &str {
        &self.within[self.at.clone()]
    }

    /// The bytes of its object: the line with a newline.
    pub fn stored(&self) -> Bytes {
        format!("{}\n", self.text()).into()
    }
}

fn check_length(bytes: usize) -> Result<(), LineError> {
    match bytes as u64 > RECORD_MAX_BYTES {
        true => Err(LineError::Malformed("it is too long".to_owned())),
        false => Ok(()),
    }
}

/// Why a record whose hash is right cannot be read: a newer one may have a shape that this build does not know.
fn why_unreadable(text: &str, error: &serde_json::Error) -> LineError {
    match serde_json::from_str::<Opening>(text) {
        Ok(opening) if opening.format != u64::from(FORMAT) => {
            LineError::NewerFormat(opening.format)
        }
        Ok(opening) if !KINDS.contains(&opening.kind.as_str()) => {
            LineError::NewerKind(opening.kind)
        }
        Ok(_) => LineError::Malformed(error.to_string()),
        Err(opening) => LineError::Malformed(opening.to_string()),
    }
}

/// What every format has.
#[derive(serde::Deserialize)]
struct Opening {
    format: u64,
    #[serde(default)]
    kind: String,
}

/// Checks that the line ends in `self`, and that it is the SHA-256 of the line without it. Returns the whole line's hash.
fn check_self(bytes: &[u8]) -> Result<Sha256, LineError> {
    let body_len = bytes
        .len()
        .checked_sub(SELF_BYTES)
        .ok_or(LineError::SelfMismatch)?;
    let (body, tail) = bytes.split_at(body_len);
    let digits = tail
        .strip_prefix(SELF_OPEN)
        .and_then(|t| t.strip_suffix(SELF_CLOSE));
    let said: Option<Sha256> = digits
        .and_then(|d| std::str::from_utf8(d).ok())
        .and_then(|d| d.parse().ok());
    // Both hashes begin with the same bytes, which are hashed once.
    let mut whole = crate::model::digest::Hasher::default();
    whole.update(body);
    let mut without_self = whole.clone();
    without_self.update(b"}");
    if said != Some(without_self.finish()) {
        return Err(LineError::SelfMismatch);
    }
    whole.update(tail);
    Ok(whole.finish())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Body, SupersedeReason};
    use super::super::testing::{self, Writer};
    use super::*;
    use crate::binlog::testing::BinlogBuilder;
    use crate::binlog::{Scanner, Summary, kind};
    use crate::model::{Gtid, GtidSet, GtidSource};
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    fn every_kind() -> Vec<Line> {
        let mut writer = Writer::default();
        let mut segment = testing::segment(1);
        segment.damaged = Some(super::super::record::DamagedRecord {
            first_bad_position: 7,
            reason: "a torn \u{1F4A5} \"event\"\n\0".to_owned(),
        });
        segment.whole_until = Some(4);
        [
            Body::Segment(Box::new(segment)),
            Body::Hole(testing::hole(2)),
            Body::Gap(testing::gap(2, 2)),
            Body::Supersede(Box::new(testing::supersede(
                2,
                2,
                SupersedeReason::HoleFilled,
            ))),
            Body::Fence(testing::fence(1, u64::MAX)),
            Body::Prune(testing::prune(1)),
            Body::Supersede(Box::new(testing::rekeyed(1, testing::segment(1)))),
            Body::Moved(testing::moved_to()),
        ]
        .map(|body| writer.write(body))
        .into()
    }

    /// A line with `self` of its own for any JSON object.
    fn seal(json: &str) -> Vec<u8> {
        let digest = Sha256::of(json.as_bytes());
        let body = json.strip_suffix('}').expect("an object");
        format!(r#"{body},"self":"{digest}"}}"#).into_bytes()
    }

    /// The JSON of a line without its `self`.
    fn unseal(line: &Line) -> String {
        let text = line.text();
        format!("{}}}", &text[..text.len() - SELF_BYTES])
    }

    #[test]
    fn every_kind_round_trips_and_is_one_line() {
        for line in every_kind() {
            assert!(!line.text().contains('\n'));
            let with_newline = format!("{}\n", line.text());
            assert_eq!(Line::read(line.text().as_bytes()).expect("reads"), line);
            assert_eq!(Line::read(with_newline.as_bytes()).expect("reads"), line);
            assert_eq!(seal(&unseal(&line)), line.text().as_bytes());
        }
    }

    #[test]
    fn a_flipped_bit_in_any_byte_is_detected() {
        for line in every_kind() {
            let bytes = line.text().as_bytes();
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.to_vec();
                    flipped[at] ^= 1 << bit;
                    assert!(Line::read(&flipped).is_err(), "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_cut_or_lengthened_line_is_detected() {
        let line = &every_kind()[0];
        for len in 0..line.text().len() {
            assert!(Line::read(&line.text().as_bytes()[..len]).is_err(), "{len}");
        }
        for more in [" ", "\n\n", "}", "\0"] {
            assert!(Line::read(format!("{}{more}", line.text()).as_bytes()).is_err());
        }
    }

    #[test]
    fn unknown_fields_are_tolerated_and_still_protected() {
        let line = &every_kind()[0];
        let json = unseal(line).replacen('{', r#"{"colour":{"of":["any","kind"]},"#, 1);
        let sealed = seal(&json);
        let read = Line::read(&sealed).expect("reads");
        assert_eq!(read.record(), line.record());
        assert_ne!(read.hash(), line.hash());
        let changed = String::from_utf8(sealed)
            .expect("text")
            .replace("colour", "color");
        assert_eq!(Line::read(changed.as_bytes()), Err(LineError::SelfMismatch));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage_whatever_its_shape() {
        let sealed = seal(r#"{"format":2,"shape":"unknown"}"#);
        assert_eq!(Line::read(&sealed), Err(LineError::NewerFormat(2)));
    }

    #[test]
    fn a_kind_that_is_not_known_asks_for_an_upgrade() {
        let json = unseal(&every_kind()[0]).replace(r#""kind":"segment""#, r#""kind":"novel""#);
        let error = Line::read(&seal(&json)).expect_err("refused");
        assert!(matches!(&error, LineError::NewerKind(kind) if kind == "novel"));
        assert!(error.to_string().contains("upgrade binlogfs"));
    }

    #[test]
    fn hostile_values_with_a_right_hash_are_refused() {
        let json = unseal(&every_kind()[0]);
        let name = r#""mount_name":"binlog.000001""#;
        assert!(json.contains(name));
        let long = format!(r#""mount_name":"{}""#, "x".repeat(300));
        for (from, to) in [
            (name, r#""mount_name":"../../etc/passwd""#),
            (name, r#""mount_name":"binlog\u0000.000001""#),
            (name, r#""mount_name":".""#),
            (name, r#""mount_name":"a/b""#),
            (name, r#""mount_name":"binlog\n.000001""#),
            (name, r#""mount_name":"""#),
            (name, long.as_str()),
            (r#""file":"binlog.000001""#, r#""file":"../x.000001""#),
            (r#""key":"segments/"#, r#""key":"../"#),
            (r#""key":"segments/"#, r#""key":"/etc/"#),
            (r#""size":4113"#, r#""size":-1"#),
            (r#""size":4113"#, r#""size":1e99"#),
            (r#""timeline":1"#, r#""timeline":4294967296"#),
            (r#""crc32c":"00000001""#, r#""crc32c":"+0000001""#),
            (r#""transactions":1000"#, r#""transactions":"many""#),
        ] {
            assert!(json.contains(from), "{from}");
            let read = Line::read(&seal(&json.replace(from, to)));
            assert!(
                matches!(read, Err(LineError::Malformed(_))),
                "{to}: {read:?}"
            );
        }
        for json in ["{}", r#"{"format":1}"#, r#"{"format":-1}"#] {
            assert!(Line::read(&seal(json)).is_err(), "{json}");
        }
        let deep = format!(r#"{{"format":1,"x":{}}}"#, "[".repeat(100_000));
        assert!(Line::read(&seal(&deep)).is_err());
    }

    /// Numbers of which many lie at the limits of both kinds.
    fn number() -> impl Strategy<Value = u64> {
        let from = |start: u64| (0..4_u64).prop_map(move |n| start.wrapping_add(n));
        prop_oneof![
            from(0),
            from(i64::MAX as u64 - 2),
            from(u64::MAX - 2),
            any::<u64>()
        ]
    }

    /// Records what a scan of `builder`'s file found, and checks that it is read back so.
    fn record_of_scan(builder: BinlogBuilder) -> Result<Summary, TestCaseError> {
        let mut scanner = Scanner::new(());
        scanner.push(builder.bytes()).expect("not refused");
        let summary = scanner.finish().0.expect("not refused");
        let mut segment = testing::segment(1);
        segment.gtids = summary.gtids.clone();
        segment.previous_gtids = summary.previous_gtids.clone();
        for set in [Some(&summary.gtids), summary.previous_gtids.as_ref()]
            .into_iter()
            .flatten()
        {
            let text = set.to_string();
            prop_assert_eq!(&text.parse::<GtidSet>().expect("parses"), set);
        }
        let line = Writer::default().write(Body::Segment(Box::new(segment)));
        prop_assert_eq!(Line::read(line.text().as_bytes()), Ok(line));
        Ok(summary)
    }

    proptest! {
        #[test]
        fn what_a_scan_finds_in_gtid_events_can_be_recorded(
            numbers in proptest::collection::vec((number(), any::<bool>()), 1..5),
            list in proptest::collection::vec((number(), number()), 0..4),
            mariadb: bool,
        ) {
            let mut builder = if mariadb { BinlogBuilder::mariadb() } else { BinlogBuilder::mysql() };
            let mut body = Vec::new();
            if mariadb {
                body.extend_from_slice(&(list.len() as u32).to_le_bytes());
                for (ids, last) in &list {
                    body.extend_from_slice(&[ids.to_le_bytes(), last.to_le_bytes()].concat());
                }
                builder.event(kind::MARIA_GTID_LIST, 0, &body);
            } else {
                body.extend_from_slice(&1_u64.to_le_bytes());
                body.extend_from_slice(&[3; 16]);
                body.extend_from_slice(&(list.len() as u64).to_le_bytes());
                for (start, end) in &list {
                    body.extend_from_slice(&[start.to_le_bytes(), end.to_le_bytes()].concat());
                }
                builder.event(kind::PREVIOUS_GTIDS, 0, &body);
            }
            for &(number, tagged) in &numbers {
                let source = match (mariadb, tagged) {
                    (true, _) => GtidSource::MariaDb { domain: 0, server: 1 },
                    (false, true) => GtidSource::MySql {
                        uuid: testing::server(),
                        tag: "blue".parse().expect("a tag"),
                    },
                    (false, false) => testing::source(),
                };
                builder.transaction(&Gtid { source, number }, None, 8);
            }
            record_of_scan(builder)?;
        }
    }

    #[test]
    fn the_largest_gtids_that_a_server_can_write_are_recorded() {
        let mysql = i64::MAX as u64 - 1;
        let mut builder = BinlogBuilder::mysql();
        let mut before = GtidSet::new();
        before.insert_run(testing::source(), 5, mysql);
        let tag = "blue".parse().expect("a tag");
        let blue = GtidSource::MySql {
            uuid: testing::server(),
            tag,
        };
        builder.previous_gtids(&before);
        for source in [testing::source(), blue] {
            builder.transaction(
                &Gtid {
                    source,
                    number: mysql,
                },
                None,
                8,
            );
        }
        let summary = record_of_scan(builder).expect("recorded");
        assert_eq!((summary.damage, summary.gtids.count()), (None, 2));
        assert_eq!(summary.previous_gtids, Some(before));

        let source = GtidSource::MariaDb {
            domain: 0,
            server: 1,
        };
        let mut builder = BinlogBuilder::mariadb();
        let mut before = GtidSet::new();
        before.insert_run(source.clone(), 1, u64::MAX);
        builder.previous_gtids(&before);
        builder.transaction(
            &Gtid {
                source,
                number: u64::MAX,
            },
            None,
            8,
        );
        let summary = record_of_scan(builder).expect("recorded");
        assert_eq!((summary.damage, summary.gtids.count()), (None, 1));
        assert_eq!(summary.previous_gtids, Some(before));
    }

    #[test]
    fn a_record_that_could_not_be_read_back_is_refused_when_written() {
        let mut segment = testing::segment(1);
        let (no_gtid, source) = (i64::MAX as u64, testing::source());
        segment.gtids.insert_run(source, no_gtid, no_gtid);
        let mut record = every_kind()[0].record().clone();
        record.body = Body::Segment(Box::new(segment));
        let error = Line::write(record).expect_err("no reader takes it");
        assert!(matches!(error, LineError::Malformed(_)), "{error}");
    }

    #[test]
    fn a_huge_gtid_set_fits_and_one_beyond_the_limit_is_refused_when_written() {
        let mut segment = testing::segment(1);
        for n in 0..20_000 {
            segment
                .gtids
                .insert_run(testing::source(), 10_000 + 2 * n, 10_000 + 2 * n);
        }
        let line = Writer::default().write(Body::Segment(Box::new(segment.clone())));
        assert!(line.text().len() > 100_000);
        assert_eq!(Line::read(line.text().as_bytes()).expect("reads"), line);
        segment.archiver = "x".repeat(RECORD_MAX_BYTES as usize);
        let mut record = line.record().clone();
        record.body = Body::Segment(Box::new(segment));
        assert!(matches!(Line::write(record), Err(LineError::Malformed(_))));
    }
}
