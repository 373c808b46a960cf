//! Our scanner against two readers that share no code with it, over every file of the corpus.

mod mysql_common;
pub mod mysqlbinlog;
mod ours;

use crate::corpus;
use binlogfs::binlog::{Ending, Scanner, Sink, Summary};
use binlogfs::model::{GtidSet, Micros};
use std::collections::BTreeSet;
use std::path::Path;

/// Pushed at a time: small and odd, so that events lie across the pieces' borders.
const PIECE_BYTES: usize = 4099;

/// An event, as far as all readers tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    position: u64,
    end: u64,
    kind: &'static str,
    timestamp: u32,
    server_id: u32,
}

/// A GTID event, or an anonymous one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TransactionStart {
    position: u64,
    gtid: Option<String>,
    commit_micros: Option<i64>,
}

/// What a reader says of a file.
#[derive(Debug, Default)]
struct Opinion {
    events: Vec<Event>,
    transactions: Vec<TransactionStart>,
    previous_gtids: Option<GtidSet>,
    /// Of the Table_map events; mysql_common does not look into payloads.
    tables: BTreeSet<String>,
    /// Smallest and largest header or commit time, in microseconds; mysql_common does not tell.
    times: Option<(i64, i64)>,
}

impl Opinion {
    fn saw_time(&mut self, micros: i64) {
        let (min, max) = self.times.unwrap_or((micros, micros));
        self.times = Some((min.min(micros), max.max(micros)));
    }
}

/// Reads `file`, which must be a binlog, into `sink`.
pub fn scanned<S: Sink>(file: &Path, sink: S) -> (Summary, S) {
    let at = file.display();
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{at}: {e}"));
    let mut scanner = Scanner::new(sink);
    for piece in bytes.chunks(PIECE_BYTES) {
        let pushed = scanner.push(piece);
        pushed.unwrap_or_else(|e| panic!("{at}: {e}"));
    }
    let (summary, sink) = scanner.finish();
    (summary.unwrap_or_else(|e| panic!("{at}: {e}")), sink)
}

/// Compares item by item, so that a failure shows the first difference and not two long lists.
pub fn assert_same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    file: &Path,
    ours: &[T],
    theirs: &[T],
) {
    for (n, (one, other)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(one, other, "{what} {n} of {}", file.display());
    }
    assert_eq!(
        ours.len(),
        theirs.len(),
        "number of {what}s of {}",
        file.display()
    );
}

/// Compares what every reader tells.
fn assert_agree(file: &Path, one: &Opinion, other: &Opinion) {
    assert_same("event", file, &one.events, &other.events);
    assert_same("transaction", file, &one.transactions, &other.transactions);
    let at = file.display();
    assert_eq!(one.previous_gtids, other.previous_gtids, "{at}");
}

#[test]
fn the_two_other_readers_agree_with_each_other() {
    for file in corpus_files() {
        let (one, other) = (mysqlbinlog::opinion(&file), mysql_common::opinion(&file));
        assert_agree(&file, &one, &other);
        assert!(one.tables.is_superset(&other.tables), "{}", file.display());
    }
}

#[test]
fn only_a_crash_leaves_a_file_with_a_successor_and_neither_rotate_nor_stop() {
    for name in corpus::names() {
        let open = corpus::snapshot(name).closed().into_iter().filter(|file| {
            let (_, summary) = ours::opinion(file);
            summary.ending == Ending::Open
        });
        let expected = if name.starts_with("crash") { 2 } else { 0 };
        assert_eq!(open.count(), expected, "{name}");
    }
}

#[test]
fn the_corpus_has_every_kind_of_event_a_server_writes() {
    let mut kinds = BTreeSet::new();
    for file in corpus_files() {
        kinds.extend(
            mysql_common::opinion(&file)
                .events
                .iter()
                .map(|event| event.kind),
        );
    }
    let expected = [
        "Anonymous_Gtid",
        "Begin_load_query",
        "Delete_rows",
        "Execute_load_query",
        "Format_desc",
        "Gtid",
        "Intvar",
        "Previous_gtids",
        "Query",
        "RAND",
        "Rotate",
        "Rows_query",
        "Stop",
        "Table_map",
        "Transaction_payload",
        "Update_rows",
        "Update_rows_partial",
        "User var",
        "Write_rows",
        "XA_prepare",
        "Xid",
    ];
    assert_eq!(kinds, BTreeSet::from(expected));
}

#[test]
fn our_scanner_sees_the_events_and_transactions_that_mysqlbinlog_sees() {
    for file in corpus_files() {
        let (ours, summary) = ours::opinion(&file);
        let theirs = mysqlbinlog::opinion(&file);
        assert_agree(&file, &ours, &theirs);
        assert_eq!(ours.tables, theirs.tables, "{}", file.display());
        assert_eq!(ours.times, theirs.times, "{}", file.display());
        assert_summary_fits(&file, &summary, &theirs);
    }
}

#[test]
fn our_scanner_sees_the_events_and_transactions_that_mysql_common_sees() {
    for file in corpus_files() {
        let (ours, _) = ours::opinion(&file);
        let theirs = mysql_common::opinion(&file);
        assert_agree(&file, &ours, &theirs);
    }
}

/// What the summary says in numbers follows from what another reader lists.
fn assert_summary_fits(file: &Path, summary: &Summary, theirs: &Opinion) {
    let at = file.display();
    let size = std::fs::metadata(file)
        .expect("the corpus is readable")
        .len();
    assert_eq!(summary.damage, None, "{at}");
    assert_eq!(summary.size, size, "{at}");
    assert_eq!(summary.last_whole_event_end, size, "{at}");
    assert_eq!(summary.events, theirs.events.len() as u64, "{at}");
    assert_eq!(
        summary.transactions,
        theirs.transactions.len() as u64,
        "{at}"
    );
    let named = theirs
        .transactions
        .iter()
        .filter_map(|start| start.gtid.as_deref());
    let gtids: GtidSet = named.collect::<Vec<_>>().join(",").parse().expect("GTIDs");
    assert_eq!(summary.gtids, gtids, "{at}");
    let first = theirs
        .transactions
        .first()
        .and_then(|start| start.commit_micros);
    if first.is_some() {
        assert_eq!(summary.first_time, first.map(Micros), "{at}");
    }
    let last = theirs.events.last().expect("a file has events");
    match &summary.ending {
        Ending::Rotate { next_file, time } => {
            assert_eq!(last.kind, "Rotate", "{at}");
            assert_eq!(*time, Micros::from_seconds(last.timestamp), "{at}");
            let next = file.with_file_name(next_file);
            assert!(
                next.exists(),
                "{at} names {} as its successor",
                next.display()
            );
        }
        Ending::Stop => assert_eq!(last.kind, "Stop", "{at}"),
        Ending::Open => assert!(!["Rotate", "Stop"].contains(&last.kind), "{at}"),
    }
}

/// Every file of the corpus, the active ones too.
fn corpus_files() -> Vec<std::path::PathBuf> {
    let files = corpus::names().flat_map(|name| corpus::snapshot(name).files());
    files.collect()
}
