//! What mariadb-binlog says of a binlog, read out of the text it prints, and what our scanner says, in the same terms.

use super::server::mariadb_binlog;
use crate::second_opinion::mysqlbinlog::{HeaderLine, header_line, position, table};
use crate::second_opinion::scanned;
use binlogfs::binlog::{EventRef, Sink, Summary, Transaction};
use binlogfs::model::GtidSet;
use std::collections::BTreeSet;
use std::path::Path;

/// An event, as far as both readers tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Offset of its first byte.
    pub position: u64,
    /// Offset after its last.
    pub end: u64,
    /// Its type in mariadb-binlog's words.
    pub kind: &'static str,
    /// Seconds since 1970.
    pub timestamp: u32,
    /// The origin.
    pub server_id: u32,
}

/// What a reader says of a file.
#[derive(Debug, Default)]
pub struct Opinion {
    /// All events, in order.
    pub events: Vec<Event>,
    /// Offset and GTID of each transaction.
    pub transactions: Vec<(u64, String)>,
    /// The entries of GTID_LIST, as printed.
    pub gtid_list: Vec<String>,
    /// Of the TABLE_MAP events.
    pub tables: BTreeSet<String>,
}

impl Opinion {
    /// The GTIDs of the transactions.
    pub fn gtids(&self) -> GtidSet {
        let named: Vec<&str> = self.transactions.iter().map(|(_, gtid)| &**gtid).collect();
        named.join(",").parse().expect("GTIDs")
    }
}

/// Types in mariadb-binlog's words; longer names stand before those they begin with.
const KINDS: &[(u8, &str)] = &[
    (15, "Start: binlog"),
    (163, "Gtid list"),
    (161, "Binlog checkpoint"),
    (162, "GTID"),
    (165, "Query_compressed"),
    (2, "Query"),
    (17, "Begin_load_query"),
    (18, "Execute_load_query"),
    (5, "Intvar"),
    (13, "Rand"),
    (14, "User_var"),
    (160, "Annotate_rows"),
    (19, "Table_map"),
    (23, "Write_rows"),
    (24, "Update_rows"),
    (25, "Delete_rows"),
    (166, "Write_compressed_rows"),
    (167, "Update_compressed_rows"),
    (168, "Delete_compressed_rows"),
    (16, "Xid"),
    (38, "XID"),
    (4, "Rotate"),
    (3, "Stop"),
];

/// Reads `file` with `mariadb-binlog --verify-binlog-checksum`, which must succeed.
pub fn theirs(file: &Path) -> Opinion {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut command = mariadb_binlog();
    // With it on, a file whose numbers were set back makes it fail at the end.
    command
        .args(["--skip-gtid-strict-mode", "--verify-binlog-checksum"])
        .args(["--base64-output=decode-rows", "-vv"])
        .arg(format!("--local-load={}", scratch.path().display()))
        .arg(file);
    let text = crate::tools::run(&mut command);
    parse(&String::from_utf8_lossy(&text))
}

/// Positions and headers are collected apart: of rows with an annotation both `# at` lines come first. In the order of
/// the file they belong together again.
fn parse(text: &str) -> Opinion {
    let (mut positions, mut headers) = (Vec::new(), Vec::<HeaderLine<'_>>::new());
    let mut opinion = Opinion::default();
    let mut in_list = false;
    for line in text.lines() {
        if let Some(more) = line.strip_prefix("# ").filter(|_| in_list) {
            in_list = opinion.list(more);
        } else if let Some(position) = position(line) {
            positions.push(position);
        } else if let Some(header) = header_line(line) {
            opinion.tables.extend(table(header.rest));
            if let Some(list) = header.rest.strip_prefix("Gtid list [") {
                in_list = opinion.list(list);
            }
            headers.push(header);
        }
    }
    assert_eq!(positions.len(), headers.len(), "`# at` and header lines");
    positions.sort_unstable();
    headers.sort_by_key(|header| header.end);
    for (position, header) in positions.into_iter().zip(headers) {
        if let Some(words) = header.rest.strip_prefix("GTID ") {
            let gtid = words.split_whitespace().next().expect("a GTID");
            opinion.transactions.push((position, gtid.to_owned()));
        }
        let kind = KINDS.iter().find(|(_, name)| header.rest.starts_with(name));
        opinion.events.push(Event {
            position,
            end: header.end,
            kind: kind
                .unwrap_or_else(|| panic!("unknown event of mariadb-binlog: {:?}", header.rest))
                .1,
            timestamp: header.timestamp,
            server_id: header.server_id,
        });
    }
    opinion
}

impl Opinion {
    /// A line of GTID_LIST; whether more follow.
    fn list(&mut self, line: &str) -> bool {
        let entries = line.trim_end_matches([']', ',']);
        if !entries.is_empty() {
            self.gtid_list.push(entries.to_owned());
        }
        !line.ends_with(']')
    }
}

/// What our scanner says of `file`.
pub fn ours(file: &Path) -> (Opinion, Summary) {
    let (summary, Collector(mut opinion)) = scanned(file, Collector::default());
    opinion.tables = summary.index.tables.iter().cloned().collect();
    (opinion, summary)
}

#[derive(Default)]
struct Collector(Opinion);

impl Sink for Collector {
    fn event(&mut self, event: &EventRef) {
        let kind = KINDS.iter().find(|(code, _)| *code == event.type_code);
        self.0.events.push(Event {
            position: event.position,
            end: event.position + u64::from(event.size),
            kind: kind
                .unwrap_or_else(|| panic!("event of type {}: name it here", event.type_code))
                .1,
            timestamp: event.timestamp,
            server_id: event.server_id,
        });
    }

    fn transaction(&mut self, transaction: &Transaction) {
        let gtid = transaction.gtid.as_ref();
        self.0.transactions.push((
            transaction.start,
            gtid.map(ToString::to_string).unwrap_or_default(),
        ));
    }
}
