//! What mysqlbinlog says of a binlog, read out of the text it prints.

use super::{Event, Opinion, TransactionStart};
use crate::mysql;
use std::path::Path;

/// The text of one event's comment line before its type: `#261122 10:40:30 server id 1  end_log_pos 127 CRC32 0x7d7cde32`.
pub struct HeaderLine<'a> {
    /// Seconds since 1970.
    pub timestamp: u32,
    /// The origin.
    pub server_id: u32,
    /// Where the event ends.
    pub end: u64,
    /// Its type and what is said of it.
    pub rest: &'a str,
}

/// Reads `file` with `mysqlbinlog --verify-binlog-checksum`, which must succeed.
pub(super) fn opinion(file: &Path) -> Opinion {
    // Without -vv it leaves out the Rows_query events.
    // LOAD DATA makes it write files: into a directory that goes away.
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut command = mysql::mysqlbinlog();
    command
        .args([
            "--verify-binlog-checksum",
            "--base64-output=decode-rows",
            "-vv",
        ])
        .arg(format!("--local-load={}", scratch.path().display()))
        .arg(file);
    let bytes = crate::tools::run(&mut command);
    // Statements are in the character set of their session, which need not be UTF-8.
    parse(&String::from_utf8_lossy(&bytes))
}

/// Reads mysqlbinlog's text.
fn parse(text: &str) -> Opinion {
    let mut reading = Reading::default();
    for line in text.lines() {
        reading.line(line);
    }
    reading.finish()
}

/// What was read so far.
///
/// Positions and header lines are collected apart: before a statement's INTVAR, RAND and USER_VAR events mysqlbinlog
/// prints all their `# at` lines first. In the order of the file they belong together again.
#[derive(Default)]
struct Reading<'a> {
    positions: Vec<u64>,
    headers: Vec<HeaderLine<'a>>,
    inside_payload: bool,
    /// The text of the set, while its lines come.
    previous_gtids: Option<String>,
    opinion: Opinion,
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a str) {
        match line {
            "# Start of compressed events." => self.inside_payload = true,
            "# End of compressed events." => self.inside_payload = false,
            _ => {}
        }
        self.previous_gtids_line(line);
        if let Some(gtid) = session_gtid(line) {
            let start = self.opinion.transactions.last_mut();
            start.expect("a GTID event comes before").gtid = Some(gtid);
        }
        if let Some(position) = position(line).filter(|_| !self.inside_payload) {
            self.positions.push(position);
        }
        if let Some(header) = header_line(line) {
            self.header(header);
        }
    }

    fn header(&mut self, header: HeaderLine<'a>) {
        self.opinion
            .saw_time(i64::from(header.timestamp) * 1_000_000);
        self.opinion.tables.extend(table(header.rest));
        if self.inside_payload {
            return;
        }
        if header.rest.starts_with("Previous-GTIDs") {
            self.previous_gtids = Some(String::new());
        }
        if let Some(commit_micros) = field(header.rest, "immediate_commit_timestamp=") {
            self.opinion.saw_time(commit_micros);
            self.opinion.transactions.push(TransactionStart {
                position: *self
                    .positions
                    .last()
                    .expect("`# at` comes before the header"),
                commit_micros: Some(commit_micros),
                gtid: None,
            });
        }
        self.headers.push(header);
    }

    /// The set follows its header as comment lines.
    fn previous_gtids_line(&mut self, line: &str) {
        let Some(text) = &mut self.previous_gtids else {
            return;
        };
        match line.strip_prefix("# ").filter(|_| position(line).is_none()) {
            Some("[empty]") => {}
            Some(part) => text.push_str(part),
            None => self.end_previous_gtids(),
        }
    }

    fn end_previous_gtids(&mut self) {
        if let Some(text) = self.previous_gtids.take() {
            let set = text
                .parse()
                .unwrap_or_else(|e| panic!("mysqlbinlog's set: {e}"));
            self.opinion.previous_gtids = Some(set);
        }
    }

    fn finish(mut self) -> Opinion {
        self.end_previous_gtids();
        assert_eq!(
            self.positions.len(),
            self.headers.len(),
            "`# at` and header lines"
        );
        self.positions.sort_unstable();
        self.headers.sort_by_key(|header| header.end);
        let pairs = self.positions.into_iter().zip(self.headers);
        self.opinion.events = pairs
            .map(|(position, header)| Event {
                position,
                end: header.end,
                kind: kind(header.rest),
                timestamp: header.timestamp,
                server_id: header.server_id,
            })
            .collect();
        self.opinion
    }
}

/// The offset in `# at 4`.
pub fn position(line: &str) -> Option<u64> {
    line.strip_prefix("# at ")?.parse().ok()
}

/// The comment line of an event.
pub fn header_line(line: &str) -> Option<HeaderLine<'_>> {
    let line = line.strip_prefix('#')?;
    // Begin_load_query alone is named on a line of its own.
    let (head, rest) = line.split_once(" \t").unwrap_or((line, "Begin_load_query"));
    let mut words = head.split_whitespace();
    let timestamp = timestamp(words.next()?, words.next()?)?;
    let mut word_after = |expected: &[&str]| {
        let named = expected.iter().all(|word| words.next() == Some(*word));
        words.next().filter(|_| named)
    };
    Some(HeaderLine {
        timestamp,
        server_id: word_after(&["server", "id"])?.parse().ok()?,
        end: word_after(&["end_log_pos"])?.parse().ok()?,
        rest,
    })
}

/// `261122` and `9:40:30`, in UTC, as [`mysql::mysqlbinlog`] arranges.
fn timestamp(date: &str, time: &str) -> Option<u32> {
    let number = |text: &str| text.parse::<i8>().ok();
    let year = i16::from(number(date.get(..2)?)?);
    // Two digits stand for 1970 to 2069.
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    let mut clock = time.split(':').map(number);
    let at = jiff::civil::DateTime::new(
        year,
        number(date.get(2..4)?)?,
        number(date.get(4..)?)?,
        clock.next()??,
        clock.next()??,
        clock.next()??,
        0,
    );
    let zoned = at.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u32::try_from(zoned.timestamp().as_second()).ok()
}

/// The event's type in MySQL's own words, from mysqlbinlog's.
fn kind(rest: &str) -> &'static str {
    // Longer names stand before those they begin with.
    const KINDS: &[(&str, &str)] = &[
        ("Start: binlog", "Format_desc"),
        ("Previous-GTIDs", "Previous_gtids"),
        ("Anonymous_GTID", "Anonymous_Gtid"),
        ("GTID", "Gtid"),
        ("Query", "Query"),
        ("Begin_load_query", "Begin_load_query"),
        ("Execute_load_query", "Execute_load_query"),
        ("Intvar", "Intvar"),
        ("Rand", "RAND"),
        ("User_var", "User var"),
        ("Table_map", "Table_map"),
        ("Rows_query", "Rows_query"),
        ("Write_rows", "Write_rows"),
        ("Update_rows_partial", "Update_rows_partial"),
        ("Update_rows", "Update_rows"),
        ("Delete_rows", "Delete_rows"),
        ("Xid", "Xid"),
        ("XA PREPARE", "XA_prepare"),
        ("Transaction_Payload", "Transaction_payload"),
        ("Rotate", "Rotate"),
        ("Stop", "Stop"),
    ];
    let found = KINDS.iter().find(|(prefix, _)| rest.starts_with(prefix));
    found
        .unwrap_or_else(|| panic!("unknown event of mysqlbinlog: {rest:?}"))
        .1
}

/// `` `d`.`t` `` of `` Table_map: `d`.`t` mapped to number 106 ``, as `d.t`.
pub fn table(rest: &str) -> Option<String> {
    let (name, _) = rest.strip_prefix("Table_map: ")?.split_once(" mapped to")?;
    let (database, table) = name
        .strip_prefix('`')?
        .strip_suffix('`')?
        .split_once("`.`")?;
    Some(format!(
        "{}.{}",
        database.replace("``", "`"),
        table.replace("``", "`")
    ))
}

fn session_gtid(line: &str) -> Option<String> {
    let (gtid, _) = line
        .strip_prefix("SET @@SESSION.GTID_NEXT= '")?
        .split_once('\'')?;
    // Neither is a GTID: the one closes the text, the other begins an anonymous transaction.
    (!["AUTOMATIC", "ANONYMOUS"].contains(&gtid)).then(|| gtid.to_owned())
}

fn field(rest: &str, name: &str) -> Option<i64> {
    let (_, value) = rest.split_once(name)?;
    value.split_whitespace().next()?.parse().ok()
}
