//! What mysqlbinlog says of a binlog, read out of the text it prints.

use super::{Event, Opinion, TransactionStart};
use crate::mysql;
use binlogfs::model::GtidSet;
use std::path::Path;

/// The text of one event's comment line before its type: `#261122 10:40:30 server id 1  end_log_pos 127 CRC32 0x7d7cde32`.
struct HeaderLine<'a> {
    timestamp: u32,
    server_id: u32,
    end: u64,
    rest: &'a str,
}

/// Reads `file` with `mysqlbinlog --verify-binlog-checksum`, which must succeed.
pub fn opinion(file: &Path) -> Opinion {
    // LOAD DATA makes it write files: into a directory that goes away.
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut command = mysql::mysqlbinlog();
    command
        .args(["--verify-binlog-checksum", "--base64-output=decode-rows"])
        .arg(format!("--local-load={}", scratch.path().display()))
        .arg(file);
    let bytes = crate::tools::run(&mut command);
    // Statements are in the character set of their session, which need not be UTF-8.
    parse(&String::from_utf8_lossy(&bytes))
}

/// Reads mysqlbinlog's text.
///
/// Positions and header lines are collected apart: before a statement's INTVAR, RAND and USER_VAR events mysqlbinlog
/// prints all their `# at` lines first. In the order of the file they belong together again.
fn parse(text: &str) -> Opinion {
    let mut positions: Vec<u64> = Vec::new();
    let mut headers: Vec<HeaderLine<'_>> = Vec::new();
    let mut opinion = Opinion::default();
    let mut inside_payload = false;
    let mut previous_gtids: Option<String> = None;
    for line in text.lines() {
        if let Some(gtids) = &mut previous_gtids {
            match line
                .strip_prefix("# ")
                .filter(|rest| !rest.starts_with("at "))
            {
                Some(part) if part != "[empty]" => *gtids += part,
                Some(_) => {}
                None => {
                    opinion.previous_gtids = previous_gtids.take().map(|text| gtid_set(&text));
                }
            }
        }
        match line {
            "# Start of compressed events." => inside_payload = true,
            "# End of compressed events." => inside_payload = false,
            _ => {}
        }
        let header = header_line(line);
        if let Some(table) = header.as_ref().and_then(|header| table(header.rest)) {
            opinion.tables.insert(table);
        }
        if let Some(gtid) = session_gtid(line) {
            let start = opinion.transactions.last_mut();
            start.expect("a GTID event comes before").gtid = Some(gtid);
        }
        if inside_payload {
            continue;
        }
        if let Some(position) = line
            .strip_prefix("# at ")
            .and_then(|text| text.parse().ok())
        {
            positions.push(position);
        }
        let Some(header) = header else { continue };
        if header.rest.starts_with("Previous-GTIDs") {
            previous_gtids = Some(String::new());
        }
        if let Some(commit_micros) = field(header.rest, "immediate_commit_timestamp=") {
            opinion.transactions.push(TransactionStart {
                position: *positions.last().expect("`# at` comes before the header"),
                commit_micros: Some(commit_micros),
                gtid: None,
            });
        }
        headers.push(header);
    }
    opinion.events = join(positions, headers);
    opinion
}

fn join(mut positions: Vec<u64>, mut headers: Vec<HeaderLine<'_>>) -> Vec<Event> {
    assert_eq!(positions.len(), headers.len(), "positions and header lines");
    positions.sort_unstable();
    headers.sort_by_key(|header| header.end);
    let pairs = positions.into_iter().zip(headers);
    pairs
        .map(|(position, header)| Event {
            position,
            end: header.end,
            kind: kind(header.rest),
            timestamp: header.timestamp,
            server_id: header.server_id,
        })
        .collect()
}

fn header_line(line: &str) -> Option<HeaderLine<'_>> {
    let (head, rest) = line.strip_prefix('#')?.split_once(" \t")?;
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
fn table(rest: &str) -> Option<String> {
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

fn gtid_set(text: &str) -> GtidSet {
    text.parse()
        .unwrap_or_else(|e| panic!("mysqlbinlog's set: {e}"))
}
